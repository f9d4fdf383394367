//! Runs a command so that it can harm nothing but the worktree it runs in.
//!
//! Invariants, at every level above `none`: the environment is empty but for a short list; only the
//! worktree (not its `.git`) and a private temporary directory are writable; only the system and the
//! toolchains of `PATH` are readable; there is no network unless it was allowed, and never a socket of another
//! program on this machine; processes, CPU, memory, files and output are bounded; and when the command ends, is
//! cancelled or runs out of time, everything it has started ends too, and so it does after a server that was killed. Every result says which [`Isolation`] was in force. Below the configured
//! minimum nothing runs at all.
//!
//! Which level is possible is found out by doing it: [`Sandbox::probe`] runs a real command at each level.

mod claim;
mod confine;
mod guard;
mod identity;
mod leftover;
mod level;
mod limits;
mod output;
mod plan;
mod probe;
mod runner;
mod syscalls;
mod toolchain;

use std::{
    ffi::OsString,
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::{
    claim::Claim,
    guard::GitAside,
    identity::Users,
    plan::{Helpers, Order},
    runner::{Event, Raw},
};
pub use self::{
    level::{Isolation, Level},
    limits::Limits,
    output::Output,
    toolchain::Toolchains,
};

/// What the operator decides about commands. No agent can change it.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The weakest isolation with which a command may run.
    pub minimum: Level,
    /// The strongest isolation that is tried; lower only for tests of the weaker ones.
    pub strongest: Level,
    /// Whether commands may use the network.
    pub network: bool,
    /// Bounds of one command.
    pub limits: Limits,
    /// What commands may read besides the system; by default what this process finds its programs in.
    pub toolchains: Toolchains,
    /// Where bubblewrap is, if not in a system directory.
    pub bubblewrap: Option<PathBuf>,
    /// Commands under way at one time; more wait.
    pub max_jobs: usize,
    /// Longest wait for one of these places. The command's own time begins after it.
    pub queue_limit: Duration,
}

impl Default for SandboxConfig {
    fn default() -> Self {
        Self {
            minimum: Level::Landlock,
            strongest: Level::Bubblewrap,
            network: false,
            limits: Limits::default(),
            toolchains: Toolchains::of_this_process(),
            bubblewrap: None,
            max_jobs: std::thread::available_parallelism().map_or(2, usize::from),
            queue_limit: Duration::from_secs(4 * 60),
        }
    }
}

/// A command to run.
#[derive(Debug, Clone)]
pub struct Job {
    /// The directory it runs in, and the only one it may change. Absolute, without symlinks.
    pub worktree: PathBuf,
    /// The program and its arguments; the program is looked for in `PATH`.
    pub command: Vec<OsString>,
    /// Time after which it is ended.
    pub timeout: Duration,
}

/// A command that is over.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit code; 128 plus the signal when it was ended by one.
    pub exit_code: i32,
    /// Whether it was ended because its time was up.
    pub timed_out: bool,
    /// How long it took.
    pub duration: Duration,
    /// What it wrote.
    pub output: Output,
    /// How it was shut in.
    pub isolation: Isolation,
}

/// Why a command was not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine offers less than the configured minimum.
    #[error("{0}")]
    TooWeak(String),
    /// Another command runs in the same worktree.
    #[error("another command is running in this worktree; wait until it is over")]
    Busy,
    /// All places for commands were taken for too long.
    #[error("other commands took all {places} places of this machine for {} s; try again later", waited.as_secs())]
    Full {
        /// How many run at one time.
        places: usize,
        /// How long this one waited.
        waited: Duration,
    },
    /// The user that commands get cannot get to the worktree.
    #[error(
        "the worktree lies below a directory that is closed to other users; keep the workspaces where \
         others may pass (mode 711 on each directory above), or run Syndarix as an ordinary user"
    )]
    Unreachable,
    /// Nobody waits for the answer any more.
    #[error("the command was cancelled and ended")]
    Cancelled,
    /// The machine would not do it.
    #[error("the sandbox failed")]
    Io(#[from] io::Error),
}

/// A level that was tried and works here.
#[derive(Debug, Clone)]
struct Setup {
    isolation: Isolation,
    /// Whether commands get a user of their own.
    own_user: bool,
}

/// Runs commands. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sandbox(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: SandboxConfig,
    helpers: Result<Helpers, String>,
    setup: Setup,
    refusal: Option<String>,
    users: Users,
    slots: Arc<tokio::sync::Semaphore>,
}

impl Sandbox {
    /// Finds the strongest level that works here by running a command at each. Blocks for some tenths of
    /// a second; never fails: where too little works, [`Sandbox::run`] refuses and says why.
    pub fn probe(config: SandboxConfig) -> Self {
        let helpers = Helpers::find(config.bubblewrap.clone());
        let users = Users::default();
        let found = probe::strongest(&config, &helpers, &users);
        let slots = Arc::new(tokio::sync::Semaphore::new(config.max_jobs.max(1)));
        tracing::info!(level = %found.setup.isolation.level, detail = found.setup.isolation.detail, "command isolation");
        Self(Arc::new(Inner { config, helpers, setup: found.setup, refusal: found.refusal, users, slots }))
    }

    /// The isolation that commands get on this machine.
    pub fn isolation(&self) -> &Isolation {
        &self.0.setup.isolation
    }

    /// Longest wait for a free place.
    pub(crate) fn queue_limit(&self) -> Duration {
        self.0.config.queue_limit
    }

    /// Why commands are refused on this machine, if they are.
    pub fn refusal(&self) -> Option<&str> {
        self.0.refusal.as_deref()
    }

    /// Runs a command to its end. Dropping the future, like `cancel`, ends the command.
    pub async fn run(&self, job: Job, cancel: &CancellationToken) -> Result<Finished, SandboxError> {
        if let Some(refusal) = &self.0.refusal {
            return Err(SandboxError::TooWeak(refusal.clone()));
        }
        let claim = Claim::take(&job.worktree)?;
        let slot = tokio::select! {
            slot = self.0.slot() => slot?,
            () = cancel.cancelled() => return Err(SandboxError::Cancelled),
        };
        let inner = Arc::clone(&self.0);
        let (sender, receiver) = channel();
        let stop = CancelOnDrop(sender.clone());
        let mut work = tokio::task::spawn_blocking(move || {
            // Held until the command is gone, even when nobody waits for it any more.
            let (claim, _slot) = (claim, slot);
            inner.run_blocking(&job, &claim, (sender, &receiver))
        });
        let joined = tokio::select! {
            joined = &mut work => joined,
            () = cancel.cancelled() => {
                drop(stop);
                work.await
            }
        };
        joined.map_err(io::Error::other)?
    }
}

struct CancelOnDrop(Sender<Event>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // Nobody listens any more when the command is over.
        let _ = self.0.send(Event::Cancel);
    }
}

impl Inner {
    /// A place among those that run at one time.
    async fn slot(&self) -> Result<tokio::sync::OwnedSemaphorePermit, SandboxError> {
        let waited = self.config.queue_limit;
        match tokio::time::timeout(waited, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(slot) => slot.map_err(|_| SandboxError::Cancelled),
            Err(_) => Err(SandboxError::Full { places: self.config.max_jobs.max(1), waited }),
        }
    }

    fn run_blocking(
        &self,
        job: &Job,
        claim: &Claim,
        events: (Sender<Event>, &Receiver<Event>),
    ) -> Result<Finished, SandboxError> {
        let helpers = self.helpers.as_ref().map_err(|why| SandboxError::TooWeak(why.clone()))?;
        let attempt = Attempt {
            config: &self.config,
            helpers,
            users: &self.users,
            level: self.setup.isolation.level,
            own_user: self.setup.own_user,
        };
        let raw = attempt.run(job, Some(claim), events)?;
        if raw.cancelled {
            return Err(SandboxError::Cancelled);
        }
        Ok(Finished {
            exit_code: raw.exit_code,
            timed_out: raw.timed_out,
            duration: raw.duration,
            output: raw.output,
            isolation: self.setup.isolation.clone(),
        })
    }
}

/// One run at one level.
struct Attempt<'a> {
    config: &'a SandboxConfig,
    helpers: &'a Helpers,
    users: &'a Users,
    level: Level,
    own_user: bool,
}

impl Attempt<'_> {
    /// Prepares the surroundings, runs, and puts everything back.
    fn run(
        &self,
        job: &Job,
        claim: Option<&Claim>,
        events: (Sender<Event>, &Receiver<Event>),
    ) -> Result<Raw, SandboxError> {
        let scratch = scratch()?;
        // Before anything else: what an earlier server left would go on changing what is prepared here.
        let mark = claim.map(|claim| claim.mark(scratch.path())).transpose()?;
        let user = self.own_user.then(|| self.users.take(&job.worktree));
        let mut aside = None;
        if let Some(user) = &user {
            let reachable = |path: &Path| self.level.has_mounts() || identity::is_reachable_by_others(path);
            if !reachable(&job.worktree) || !reachable(scratch.path()) {
                return Err(SandboxError::Unreachable);
            }
            identity::give(&scratch.path().join("tmp"), user)?;
            identity::hand_over(&job.worktree, user)?;
        } else if !self.level.has_mounts() {
            aside = GitAside::take(&job.worktree)?;
        }
        let id = user.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), |user| user.id);
        name_the_user(scratch.path(), id)?;
        let order = Order {
            level: self.level,
            helpers: self.helpers,
            limits: &self.config.limits,
            toolchains: &self.config.toolchains,
            network: self.config.network,
            user: user.as_ref().map(|user| user.id),
            worktree: &job.worktree,
            scratch: scratch.path(),
            command: &job.command,
        };
        let mut plan = order.plan().map_err(io::Error::other)?;
        plan.mark = mark;
        let raw = runner::execute(plan, job.timeout, events)?;
        drop(aside);
        Ok(raw)
    }
}

/// What a command finds as the lists of users and groups.
fn name_the_user(scratch: &Path, id: u32) -> io::Result<()> {
    let root = ("root:x:0:0::/tmp:/bin/sh\n", "root:x:0:\n");
    let own = match id {
        0 => (String::new(), String::new()),
        id => (format!("sandbox:x:{id}:{id}::/tmp:/bin/sh\n"), format!("sandbox:x:{id}:\n")),
    };
    let files = [("passwd", root.0.to_owned() + &own.0), ("group", root.1.to_owned() + &own.1)];
    for (name, text) in files {
        std::fs::write(scratch.join(name), text)?;
        // Whatever the server's umask says.
        std::fs::set_permissions(scratch.join(name), std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// The private directories of one run; gone when dropped.
fn scratch() -> io::Result<TempDir> {
    let scratch = TempDir::with_prefix("syndarix-run-")?;
    std::fs::create_dir(scratch.path().join("root"))?;
    let tmp = scratch.path().join("tmp");
    std::fs::create_dir(&tmp)?;
    std::fs::set_permissions(&tmp, std::fs::Permissions::from_mode(0o700))?;
    // The command's user must be able to pass, not to look.
    std::fs::set_permissions(scratch.path(), std::fs::Permissions::from_mode(0o711))?;
    Ok(scratch)
}

#[cfg(test)]
mod tests;
