//! syndarix-mcp-knowledge.
