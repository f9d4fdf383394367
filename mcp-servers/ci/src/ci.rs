//! What both tools share: the sandbox, the limits, and how a refusal becomes a sentence.

use std::{
    ffi::OsString,
    sync::Arc,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use serde::Serialize;
use syndarix_mcp_kit::{FailureCode, ProjectCtx, ToolFailure};

use crate::sandbox::{Finished, Isolation, Job, Sandbox, SandboxConfig, SandboxError};

/// Programs agents may run unless the operator says otherwise: what builds, tests and formats.
pub const DEFAULT_COMMANDS: [&str; 17] = [
    "bun", "cargo", "deno", "eslint", "go", "gofmt", "make", "mypy", "node", "npm", "pnpm", "prettier",
    "pytest", "python3", "ruff", "tsc", "yarn",
];
/// How long a project's tests may take unless the operator says otherwise.
pub const DEFAULT_TEST_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Time a call gets beyond that of its command and of waiting for a free place: to clean up, to answer.
const CALL_MARGIN: Duration = Duration::from_secs(60);
/// A call that took the place of a lost one waits this long for that one's command to be gone.
const HAND_OVER: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the operator decides.
#[derive(Debug, Clone)]
pub struct CiConfig {
    /// How commands are shut in.
    pub sandbox: SandboxConfig,
    /// Programs that `run_command` may run, by name.
    pub commands: Vec<String>,
    /// Longest time of a test run, and of a command.
    pub timeout: Duration,
}

impl Default for CiConfig {
    fn default() -> Self {
        Self {
            sandbox: SandboxConfig::default(),
            commands: DEFAULT_COMMANDS.map(str::to_owned).to_vec(),
            timeout: DEFAULT_TEST_TIMEOUT,
        }
    }
}

/// The state of the server. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ci {
    pub(crate) sandbox: Sandbox,
    pub(crate) commands: Arc<[String]>,
    pub(crate) timeout: Duration,
}

impl Ci {
    /// Probes the machine (blocks for some tenths of a second).
    pub fn probe(config: CiConfig) -> Self {
        Self {
            sandbox: Sandbox::probe(config.sandbox),
            commands: config.commands.into(),
            timeout: config.timeout,
        }
    }

    /// The isolation commands get on this machine.
    pub fn isolation(&self) -> &Isolation {
        self.sandbox.isolation()
    }

    pub(crate) fn call_timeout(&self) -> Duration {
        self.sandbox.queue_limit() + self.timeout + CALL_MARGIN
    }

    /// Runs a command in the call's worktree.
    pub(crate) async fn run(
        &self,
        ctx: &ProjectCtx,
        command: Vec<OsString>,
        timeout: Duration,
    ) -> Result<Finished, ToolFailure> {
        let worktree = ctx.worktree()?.path().to_owned();
        // A link in place of the worktree would hand the sandbox another directory to be writable.
        if worktree.canonicalize().map_err(|fault| ToolFailure::internal(&fault))? != worktree {
            return Err(ToolFailure::forbidden("The run's worktree is not a plain directory."));
        }
        let free_by = Instant::now() + HAND_OVER;
        loop {
            let job = Job { worktree: worktree.clone(), command: command.clone(), timeout };
            match self.sandbox.run(job, ctx.cancel()).await {
                Err(SandboxError::Busy) if Instant::now() < free_by => tokio::time::sleep(LOOK_AGAIN).await,
                ended => return ended.map_err(|fault| failure(&fault)),
            }
        }
    }
}

fn failure(fault: &SandboxError) -> ToolFailure {
    match fault {
        SandboxError::TooWeak(sentence) => ToolFailure::unavailable(sentence.clone()),
        SandboxError::Busy => {
            ToolFailure::conflict("Another command is running in this worktree; wait until it is over.")
        }
        SandboxError::Full { .. } | SandboxError::Unreachable => {
            ToolFailure::unavailable(format!("{fault}."))
        }
        SandboxError::Cancelled => ToolFailure::new(FailureCode::Cancelled, "The command was cancelled."),
        SandboxError::Io(cause) => ToolFailure::internal(cause),
    }
}

/// The isolation that was in force, as results tell it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct IsolationView {
    /// bubblewrap, namespaces, landlock or none.
    level: &'static str,
    /// What it consists of and leaves open.
    detail: String,
}

impl From<Isolation> for IsolationView {
    fn from(isolation: Isolation) -> Self {
        Self { level: isolation.level.as_str(), detail: isolation.detail }
    }
}
