//! syndarix-llm.
