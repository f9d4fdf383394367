//! The MCP server `knowledge-base` as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    syndarix_mcp_kit::main_for("syndarix-mcp-knowledge", |_| syndarix_mcp_knowledge::server())
}
