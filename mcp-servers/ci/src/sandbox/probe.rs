//! Finds out what this machine can do, by doing it.

use std::{ffi::OsString, io, path::Path, sync::mpsc::channel, time::Duration};

use tempfile::TempDir;

use super::{
    Attempt, Isolation, Job, Level, SandboxConfig, Setup,
    confine::Enforced,
    identity::{Users, is_root},
    plan::Helpers,
    runner::Raw,
};

/// Longest time for one level; it takes some milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Says `works` when the worktree is writable, neither a file beside it nor its `.git` is in reach, and the network is
/// another one than the server's, if that is named. Where there are no namespaces, the thread that starts the command
/// has tried the network itself.
const SHUT_IN: &str = r#"
echo a > mine && echo b > "$TMPDIR/mine" || exit 1
cat "$1" 2>/dev/null && exit 2
(echo c > "$2") 2>/dev/null
(echo d > .git/config) 2>/dev/null && [ -s "$3" ] && exit 3
if [ -n "$4" ]; then
  network=$(readlink /proc/self/ns/net) && [ "$network" != "$4" ] || exit 4
fi
echo works
"#;
/// The same without walls.
const NOT_SHUT_IN: &str = r#"echo a > mine && echo b > "$TMPDIR/mine" && echo works"#;

/// What was found.
pub(super) struct Found {
    pub(super) setup: Setup,
    /// Why no command may run, if so.
    pub(super) refusal: Option<String>,
}

/// Tries the levels from the strongest down.
pub(super) fn strongest(config: &SandboxConfig, helpers: &Result<Helpers, String>, users: &Users) -> Found {
    let mut failures = Vec::new();
    let helpers = match helpers {
        Ok(helpers) => helpers,
        Err(why) => return nothing(why),
    };
    for level in Level::STRONGEST_FIRST.into_iter().filter(|level| *level <= config.strongest) {
        // A user of its own is the better half of the isolation when the server is root.
        for own_user in if is_root() { &[true, false][..] } else { &[false] } {
            let attempt = Attempt { config, helpers, users, level, own_user: *own_user };
            match works(&attempt) {
                Ok(raw) => {
                    let detail = describe(level, *own_user, raw.enforced, config);
                    let setup = Setup { isolation: Isolation { level, detail }, own_user: *own_user };
                    let refusal = (level < config.minimum).then(|| refusal(level, config.minimum, &failures));
                    return Found { setup, refusal };
                }
                Err(why) => {
                    tracing::debug!(%level, own_user, why, "isolation level not available");
                    failures.push(format!("{level}: {why}"));
                }
            }
        }
    }
    nothing(&failures.join("; "))
}

fn nothing(why: &str) -> Found {
    let isolation = Isolation { level: Level::None, detail: format!("No command can be run here: {why}.") };
    let refusal = Some(format!("Commands cannot be run on this machine ({why}); tell the operator."));
    Found { setup: Setup { isolation, own_user: false }, refusal }
}

fn works(attempt: &Attempt<'_>) -> Result<Raw, String> {
    let (place, job) = job(attempt).map_err(|fault| fault.to_string())?;
    let (sender, receiver) = channel();
    let raw = attempt.run(&job, None, (sender, &receiver)).map_err(|fault| match fault {
        super::SandboxError::Io(fault) => fault.to_string(),
        other => other.to_string(),
    })?;
    let text = raw.output.text.trim();
    if raw.exit_code != 0 || text != "works" {
        let line = text.lines().next().unwrap_or("no output").chars().take(200).collect::<String>();
        return Err(format!("{line} (exit code {})", raw.exit_code));
    }
    // Looked for from outside: within, a private directory may stand where this one lies.
    if attempt.level != Level::None && place.path().join("planted").exists() {
        return Err("a file outside the worktree was written".to_owned());
    }
    Ok(raw)
}

/// A worktree with a secret beside it.
fn job(attempt: &Attempt<'_>) -> io::Result<(TempDir, Job)> {
    use std::os::unix::fs::PermissionsExt as _;
    let place = TempDir::with_prefix("syndarix-probe-")?;
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o711))?;
    let root = place.path().canonicalize()?;
    let (worktree, secret, planted) = (root.join("worktree"), root.join("secret"), root.join("planted"));
    std::fs::create_dir_all(worktree.join(".git"))?;
    std::fs::write(&secret, "secret")?;
    let git_config = worktree.join(".git/config");
    std::fs::write(&git_config, "")?;
    let script = if attempt.level == Level::None { NOT_SHUT_IN } else { SHUT_IN };
    let argument = |path: &Path| OsString::from(path);
    let network = if attempt.level.has_mounts() && !attempt.config.network {
        std::fs::read_link("/proc/self/ns/net")?.into()
    } else {
        OsString::new()
    };
    let command = vec![
        attempt.helpers.sh.clone().into(),
        "-c".into(),
        script.into(),
        "probe".into(),
        argument(&secret),
        argument(&planted),
        argument(&git_config),
        network,
    ];
    Ok((place, Job { worktree, command, timeout: TIMEOUT }))
}

fn describe(level: Level, own_user: bool, enforced: Option<Enforced>, config: &SandboxConfig) -> String {
    let user = if own_user { "a user of its own" } else { "the server's user, without privileges" };
    let network = if config.network { "network allowed" } else { "no network" };
    match level {
        Level::Bubblewrap | Level::Namespaces => {
            format!("Own file tree, processes and IPC; {network}; runs as {user}.")
        }
        Level::Landlock => {
            let mut open = vec!["reading file attributes"];
            let signals = enforced.is_some_and(|enforced| enforced.signals);
            open.extend((!signals && !own_user).then_some("signals to the same user"));
            open.extend((!own_user).then_some("changing modes and times of the same user's files"));
            let network = if config.network { "network allowed" } else { "no network" };
            format!(
                "Files by allow-list; {network}, no Unix sockets; runs as {user}; still open: {}.",
                open.join(", ")
            )
        }
        Level::None => format!("Limits and an empty environment only; the network is open; runs as {user}."),
    }
}

fn refusal(level: Level, minimum: Level, failures: &[String]) -> String {
    format!(
        "Commands must run with at least `{minimum}` isolation and this machine offers `{level}` ({}); the \
         operator can install bubblewrap, allow user namespaces (in a container: a seccomp profile that \
         permits unshare), use Linux 5.13 or later with Landlock, or lower minimum_isolation.",
        failures.join("; ")
    )
}
