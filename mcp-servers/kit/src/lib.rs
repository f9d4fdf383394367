//! syndarix-mcp-kit.
