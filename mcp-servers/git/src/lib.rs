//! syndarix-mcp-git.
