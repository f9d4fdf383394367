//! syndarix-mcp-files.
