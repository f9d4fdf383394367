//! The MCP server `llm-gateway` as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    syndarix_mcp_kit::main_for("syndarix-mcp-gateway", |_| syndarix_mcp_gateway::server())
}
