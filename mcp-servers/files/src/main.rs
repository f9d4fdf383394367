//! The filesystem MCP server as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    syndarix_mcp_kit::main_for("syndarix-mcp-files", |_| syndarix_mcp_files::server())
}
