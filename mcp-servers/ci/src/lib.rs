//! syndarix-mcp-ci.
