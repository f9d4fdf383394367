//! Starts git: environment, limits, time-out, and the end of the whole process group.

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use crate::{Call, GitError, Input, Output, redact_urls};

/// git processes of one [`Git`] that run at the same time; more wait. Each costs a core and some memory.
const MAX_CONCURRENT: usize = 16;
/// What is kept of standard error, in bytes; the rest is read and dropped.
const MAX_STDERR: usize = 8 * 1024;
/// Where programs are looked for. Fixed, so that the caller's environment has no say.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin";

/// Configuration that wins over the repository's own: nothing is started, nothing is guessed.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.attributesFile=/dev/null",
    "core.excludesFile=/dev/null",
    "core.autocrlf=false",
    "core.quotePath=false",
    "core.logAllRefUpdates=true",
    "core.fsync=committed",
    "core.editor=false",
    "core.pager=cat",
    "core.askPass=",
    // Keys and agents are the operator's, and whoever asks for an import is somebody else.
    "core.sshCommand=ssh -F /dev/null -o BatchMode=yes -o IdentitiesOnly=yes -o IdentityFile=none -o IdentityAgent=none",
    // An address that was looked at must not lead to another one.
    "http.followRedirects=false",
    "credential.helper=",
    "protocol.allow=never",
    "safe.directory=*",
    "gc.auto=0",
    "maintenance.auto=false",
    // For the logs of refs; commits bring their own identities.
    "user.name=Syndarix",
    "user.email=git@syndarix.local",
    "commit.gpgSign=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "branch.autoSetupMerge=false",
    "diff.ignoreSubmodules=all",
    "merge.autoStash=false",
    "i18n.commitEncoding=UTF-8",
    "i18n.logOutputEncoding=UTF-8",
];

/// The hardened way to run git. Cheap to clone; clones share the limit of concurrent runs.
#[derive(Debug, Clone)]
pub struct Git {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    program: PathBuf,
    home: PathBuf,
    slots: Semaphore,
}

impl Git {
    /// Uses the `git` of the machine. `home` becomes git's home directory; it is made if missing, and should hold
    /// nothing else.
    pub fn new(home: &Path) -> Result<Self, GitError> {
        Self::with_program(Path::new("git"), home)
    }

    /// Like [`Git::new`], with the program named.
    pub fn with_program(program: &Path, home: &Path) -> Result<Self, GitError> {
        let failed = || GitError::io("making git's home directory");
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(failed())?;
        std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o700)).map_err(failed())?;
        let home = home.canonicalize().map_err(failed())?;
        // git passes its command-line settings on to no program that serves a fetch from a local path, and that
        // program refuses directories of another owner; this file is the place from which it takes the setting.
        std::fs::write(home.join("gitconfig"), "[safe]\n\tdirectory = *\n").map_err(failed())?;
        let inner = Inner { program: found(program), home, slots: Semaphore::new(MAX_CONCURRENT) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Runs one command to its end, its time-out or its output limit.
    pub async fn run(&self, call: Call) -> Result<Output, GitError> {
        let mut command = self.command(&call)?;
        let Call { verb, input, timeout, max_output, cut_output, accepted, .. } = call;
        let spawn_error = |source| GitError::Spawn { verb, source };
        let stdin_bytes = match input {
            Input::Nothing => None,
            Input::Bytes(bytes) => Some(bytes),
            Input::Lock(file) => {
                command.stdin(Stdio::from(file));
                None
            }
        };
        if stdin_bytes.is_some() {
            command.stdin(Stdio::piped());
        }
        let slot = self.inner.slots.acquire().await.map_err(|e| spawn_error(io::Error::other(e)))?;
        let mut running = Running::start(&mut command).map_err(spawn_error)?;
        // The command keeps the lock file of the child open until it is dropped.
        drop(command);
        let finished = running.finish(stdin_bytes, max_output, timeout).await.map_err(spawn_error)?;
        drop(slot);
        let Some(finished) = finished else {
            return Err(GitError::TimedOut { verb, limit: timeout });
        };
        let stderr = redact_urls(String::from_utf8_lossy(&finished.stderr).trim());
        if finished.over_limit && !cut_output {
            return Err(GitError::TooMuchOutput { verb, limit: max_output });
        }
        if !finished.over_limit && !accepted.contains(&finished.code) {
            return Err(GitError::Failed { verb, code: finished.code, stderr });
        }
        let code = if finished.over_limit { 0 } else { finished.code };
        Ok(Output { code, stdout: finished.stdout, truncated: finished.over_limit, stderr })
    }

    /// The version git reports, such as `2.47.3`.
    pub async fn version(&self) -> Result<String, GitError> {
        let output = self.run(Call::new("version", &crate::Place::nowhere(&self.inner.home))).await?;
        let text = output.text();
        Ok(text.split_whitespace().nth(2).unwrap_or_default().to_owned())
    }

    fn command(&self, call: &Call) -> Result<Command, GitError> {
        let words = call.words()?;
        let mut command = Command::new(&self.inner.program);
        command.arg("--no-pager").arg("--literal-pathspecs");
        for setting in SETTINGS {
            command.arg("-c").arg(setting);
        }
        command.args(words).current_dir(&call.place.cwd);
        command.env_clear().envs(self.fixed_env()).env("GIT_ALLOW_PROTOCOL", call.protocols);
        if let Some(dir) = &call.place.git_dir {
            command.env("GIT_DIR", dir);
        }
        if let Some(tree) = &call.place.work_tree {
            command.env("GIT_WORK_TREE", tree);
        }
        if let Some(index) = &call.place.index {
            command.env("GIT_INDEX_FILE", index);
        }
        command.envs(call.env.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A group of its own, so that helpers started by git (ssh, index-pack) end with it.
        command.process_group(0).kill_on_drop(true);
        Ok(command)
    }

    fn fixed_env(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        let home = &self.inner.home;
        vec![
            ("PATH", SEARCH_PATH.into()),
            ("HOME", home.into()),
            ("XDG_CONFIG_HOME", home.into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", home.join("gitconfig").into()),
            ("GIT_ATTR_NOSYSTEM", "1".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ASKPASS", "".into()),
            ("SSH_ASKPASS", "".into()),
            ("GIT_EDITOR", "false".into()),
            ("GIT_MERGE_AUTOEDIT", "no".into()),
            ("GIT_NO_REPLACE_OBJECTS", "1".into()),
            ("GIT_NO_LAZY_FETCH", "1".into()),
            ("GIT_OPTIONAL_LOCKS", "0".into()),
            ("GIT_ADVICE", "0".into()),
            ("LC_ALL", "C".into()),
            ("TZ", "UTC".into()),
        ]
    }
}

/// Where the program is. Started by a path it shares the memory of this process until it runs; looked up by its name in a
/// `PATH` of its own, the whole address space would be copied for it first.
fn found(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let places = SEARCH_PATH.split(':').map(|place| Path::new(place).join(program));
    // Where there is none, whoever starts it says so.
    places.into_iter().find(|place| place.is_file()).unwrap_or_else(|| program.to_owned())
}

/// A started git whose process group ends with this value, also when the caller is cancelled.
struct Running {
    child: Child,
    group: Option<rustix::process::Pid>,
}

struct Finished {
    code: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    over_limit: bool,
}

impl Running {
    fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        Ok(Self { child, group })
    }

    /// `None` when the time-out passed; the group is gone in every case.
    async fn finish(
        &mut self,
        stdin: Option<Vec<u8>>,
        max_output: usize,
        timeout: Duration,
    ) -> io::Result<Option<Finished>> {
        let work = self.converse(stdin, max_output);
        let result = tokio::time::timeout(timeout, work).await;
        // Before the leader is waited for its id cannot be given to another process: kill first, then reap.
        if !matches!(&result, Ok(Ok(finished)) if !finished.over_limit) {
            self.kill_group();
        }
        let status = self.child.wait().await?;
        self.group = None;
        let Ok(finished) = result else { return Ok(None) };
        let mut finished = finished?;
        finished.code = status.code().unwrap_or(-1);
        Ok(Some(finished))
    }

    async fn converse(&mut self, stdin: Option<Vec<u8>>, max_output: usize) -> io::Result<Finished> {
        let (pipe_in, out, err) =
            (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take());
        let write = async move {
            if let (Some(bytes), Some(mut pipe)) = (stdin, pipe_in) {
                // git may end without reading all of its input; its exit code then tells what happened.
                let _ = pipe.write_all(&bytes).await;
                let _ = pipe.shutdown().await;
            }
        };
        // Ending the conversation at the limit, without waiting for the other pipes, is what stops a long output.
        let read_out = async move {
            let mut kept = Vec::new();
            let over = read_up_to(out, &mut kept, max_output).await?;
            if over { Err(Stop::Limit(kept)) } else { Ok(kept) }
        };
        let read_err = async move {
            let mut kept = Vec::new();
            read_and_drop_rest(err, &mut kept).await?;
            Ok(kept)
        };
        match tokio::try_join!(read_out, read_err, async {
            write.await;
            Ok::<_, Stop>(())
        }) {
            Ok((stdout, stderr, ())) => Ok(Finished { code: 0, stdout, stderr, over_limit: false }),
            Err(Stop::Limit(stdout)) => {
                Ok(Finished { code: 0, stdout, stderr: Vec::new(), over_limit: true })
            }
            Err(Stop::Io(error)) => Err(error),
        }
    }

    fn kill_group(&self) {
        if let Some(group) = self.group {
            // Failing means that no process of the group is left.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

enum Stop {
    Limit(Vec<u8>),
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads at most `limit` bytes; true when there were more.
async fn read_up_to(
    pipe: Option<impl AsyncRead + Unpin>,
    kept: &mut Vec<u8>,
    limit: usize,
) -> io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(false) };
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX - 1) + 1;
    pipe.take(one_more).read_to_end(kept).await?;
    let over = kept.len() > limit;
    kept.truncate(limit);
    Ok(over)
}

async fn read_and_drop_rest(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut pipe) = pipe else { return Ok(()) };
    let mut buffer = [0_u8; 4096];
    loop {
        let count = pipe.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let room = MAX_STDERR.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_up_once_and_a_path_is_taken_as_it_is() {
        assert!(found(Path::new("git")).is_absolute(), "these tests need git");
        for path in ["/opt/git/bin/git", "./git", "no-such-program"] {
            assert_eq!(found(Path::new(path)), Path::new(path));
        }
    }
}
