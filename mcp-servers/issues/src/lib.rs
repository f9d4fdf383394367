//! syndarix-mcp-issues.
