//! `run_command`: one program of the operator's allow-list, without a shell.

use std::{ffi::OsString, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::ci::{Ci, IsolationView};

/// Most arguments of a command.
const MAX_ARGUMENTS: usize = 256;
/// Longest single argument, in bytes (the kernel's own limit is 128 KiB).
const MAX_ARGUMENT_BYTES: usize = 16 * 1024;
/// Time a command gets when it asks for none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// What to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunCommand {
    /// Name of an allowed program, without a path.
    program: String,
    /// Its arguments, passed on as they are.
    #[serde(default)]
    args: Vec<String>,
    /// Seconds after which it is ended; 120 by default.
    timeout_seconds: Option<u32>,
}

/// How the command went.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CommandRun {
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

pub(crate) async fn run_command(
    ci: Ci,
    ctx: ProjectCtx,
    args: RunCommand,
) -> Result<CommandRun, ToolFailure> {
    let timeout = args.timeout_seconds.map_or(DEFAULT_TIMEOUT, |seconds| Duration::from_secs(seconds.into()));
    let command = checked(&ci, args)?;
    let finished = ci.run(&ctx, command, timeout.clamp(Duration::from_secs(1), ci.timeout)).await?;
    Ok(CommandRun {
        exit_code: finished.exit_code,
        duration_ms: u64::try_from(finished.duration.as_millis()).unwrap_or(u64::MAX),
        timed_out: finished.timed_out,
        output: finished.output.text,
        output_truncated: finished.output.truncated,
        isolation: finished.isolation.into(),
    })
}

fn checked(ci: &Ci, args: RunCommand) -> Result<Vec<OsString>, ToolFailure> {
    if !ci.commands.contains(&args.program) {
        return Err(ToolFailure::forbidden(format!(
            "`{}` is not an allowed program; there are {}. A shell line must be given as program and args.",
            args.program.chars().take(80).collect::<String>(),
            ci.commands.join(", ")
        )));
    }
    let too_long = |arg: &String| arg.len() > MAX_ARGUMENT_BYTES || arg.contains('\0');
    if args.args.len() > MAX_ARGUMENTS || args.args.iter().any(too_long) {
        return Err(ToolFailure::invalid(format!(
            "At most {MAX_ARGUMENTS} arguments of at most {MAX_ARGUMENT_BYTES} bytes each, without NUL."
        )));
    }
    Ok(std::iter::once(args.program).chain(args.args).map(OsString::from).collect())
}
