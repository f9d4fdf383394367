//! `run_tests`: the project's own test command, on the run's worktree.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::ci::{Ci, IsolationView};

/// No arguments: what is run is for people to decide.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunTests {}

/// How the tests went.
#[derive(Debug, Serialize, JsonSchema)]
pub struct TestRun {
    /// The project's test command.
    command: String,
    /// Whether it ended by itself with exit code 0.
    passed: bool,
    /// Exit code; 128 plus the signal when it was ended by one.
    exit_code: i32,
    /// How long it took.
    duration_ms: u64,
    /// Whether it was ended because its time was up.
    timed_out: bool,
    /// Start and end of the output.
    output: String,
    /// Whether the middle of the output was left out.
    output_truncated: bool,
    /// How the command was shut in.
    isolation: IsolationView,
}

/// What of the backend's project is needed.
#[derive(Deserialize)]
struct Project {
    test_command: Option<String>,
}

pub(crate) async fn run_tests(ci: Ci, ctx: ProjectCtx, _: RunTests) -> Result<TestRun, ToolFailure> {
    let command = test_command(&ctx).await?;
    // People write it as they would in a terminal, so a shell reads it, inside the sandbox.
    let argv = ["sh", "-c", &command].map(Into::into).to_vec();
    let finished = ci.run(&ctx, argv, ci.timeout).await?;
    Ok(TestRun {
        command,
        passed: finished.exit_code == 0 && !finished.timed_out,
        exit_code: finished.exit_code,
        duration_ms: u64::try_from(finished.duration.as_millis()).unwrap_or(u64::MAX),
        timed_out: finished.timed_out,
        output: finished.output.text,
        output_truncated: finished.output.truncated,
        isolation: finished.isolation.into(),
    })
}

async fn test_command(ctx: &ProjectCtx) -> Result<String, ToolFailure> {
    let id = ctx.project().to_string();
    let project: Project = ctx.backend()?.get(&["api", "v1", "projects", &id], &[]).await?;
    let command = project.test_command.filter(|command| !command.trim().is_empty());
    command.ok_or_else(|| {
        ToolFailure::conflict(
            "This project has no test command. A person must set it in the project's settings \
             (\"Test command\", e.g. `cargo test`); go on without running tests and say so.",
        )
    })
}
