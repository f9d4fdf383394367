//! The MCP server `cicd`: runs a project's tests and commands for agents, shut in.
//!
//! Tools: `run_tests` runs the test command that people have set for the project, which the server asks the
//! backend for; `run_command` runs a program of the operator's allow-list. Both run in the run's own worktree,
//! inside the [`sandbox`], and say which isolation was in force.
//!
//! Invariants: no command line for tests ever comes from a model; no shell interprets a model's words; what
//! keeps a command from doing harm is the sandbox, not its name; below the configured isolation nothing
//! runs; when the caller goes, the command and all it has started go too.
//!
//! Pipelines of a code host (`trigger_pipeline`, `list_runs`, `get_run`, `get_logs`, `cancel_run`) are
//! not here: they name runs that only a pipeline system has, and none is attached. A test run's log is in
//! its result, and cancelling the call cancels the run.

mod ci;
mod run_command;
mod run_tests;
pub mod sandbox;

use syndarix_mcp_kit::{ToolServer, ToolSpec};

pub use crate::{
    ci::{Ci, CiConfig, DEFAULT_COMMANDS, DEFAULT_TEST_TIMEOUT, IsolationView},
    run_command::CommandRun,
    run_tests::TestRun,
};

/// The server's name: its path, its audience, and the prefix of its capabilities.
pub const NAME: &str = "cicd";
/// Largest result, in bytes of JSON: the kept output, escaped at its worst.
const MAX_RESULT_BYTES: usize = 256 * 1024;

/// The server over a probed [`Ci`].
pub fn server(ci: Ci) -> ToolServer<Ci> {
    let limit = ci.call_timeout();
    let instructions = "Runs the project's tests and allowed programs in your own worktree, shut in: no \
                        network, nothing writable but the worktree.";
    ToolServer::new(NAME, instructions, ci)
        .tool_with_output(
            ToolSpec::write(
                "run_tests",
                "Run the project's test command on your worktree as it is now. Says whether it passed, with the \
                 end of the output.",
            )
            // Run twice, they say it twice; one report is kept for each step.
            .idempotent()
            .timeout(limit)
            .max_result_bytes(MAX_RESULT_BYTES),
            run_tests::run_tests,
        )
        .tool_with_output(
            ToolSpec::write(
                "run_command",
                "Run one allowed program (no shell) in your worktree, e.g. a formatter or a single test.",
            )
            .destructive()
            .timeout(limit)
            .max_result_bytes(MAX_RESULT_BYTES),
            run_command::run_command,
        )
}
