//! syndarix-mcp.
