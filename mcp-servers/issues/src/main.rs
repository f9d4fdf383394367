//! The MCP server `issues` as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    syndarix_mcp_kit::main_for("syndarix-mcp-issues", |_| syndarix_mcp_issues::server())
}
