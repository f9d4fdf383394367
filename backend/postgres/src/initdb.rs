//! Makes a new data directory: `initdb` works beside the final place and the result is renamed into it, so that a
//! half-made one is never taken for data.

use crate::account::Account;
use crate::binaries::Binaries;
use crate::home::Home;
use crate::{Error, log};
use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The owner of everything in the server; there is no password, the socket's folder is the fence.
pub(crate) const USER: &str = "syndarix";
/// 0.6 s on a quiet machine; a starved one with a slow disk needs much longer.
const INITDB_LIMIT: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(10);
const NEW_PREFIX: &str = "pgdata.new-";

/// Does nothing when there is data already.
pub(crate) fn ensure(home: &Home, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    remove_half_made(home)?;
    let pgdata = home.pgdata();
    if pgdata.join("PG_VERSION").exists() {
        return Ok(());
    }
    let new = home.dir().join(format!("{NEW_PREFIX}{}", std::process::id()));
    fs::DirBuilder::new().mode(0o700).create(&new).map_err(Error::io("create", &new))?;
    if account.step_down {
        chown(&new, Some(account.uid), Some(account.gid)).map_err(Error::io("hand over", &new))?;
    }
    let result = run(home, binaries, account, &new).and_then(|()| {
        fs::rename(&new, &pgdata).map_err(Error::io("put in place", &pgdata))?;
        File::open(home.dir()).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", home.dir()))
    });
    if result.is_err() {
        // A full disk should not stay full because of us; what cannot be removed is removed at the next start.
        let _ = fs::remove_dir_all(&new);
    }
    result
}

fn remove_half_made(home: &Home) -> Result<(), Error> {
    for entry in fs::read_dir(home.dir()).map_err(Error::io("list", home.dir()))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(NEW_PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(Error::io("remove the half-made", entry.path()))?;
        }
    }
    Ok(())
}

fn run(home: &Home, binaries: &Binaries, account: &Account, into: &Path) -> Result<(), Error> {
    let output = home.dir().join("initdb.log");
    let file = File::create(&output).map_err(Error::io("create", &output))?;
    let both = file.try_clone().map_err(Error::io("open", &output))?;
    let mut command = account.command(&binaries.bin_dir.join("initdb"));
    command.arg("--pgdata").arg(into).args(["--username", USER, "--encoding", "UTF8", "--data-checksums"]);
    command.args(["--auth-local", "trust", "--auth-host", "reject"]);
    // One sort order on every machine and libc, or an index made here is corrupt after a move.
    command.args(["--locale", "C"]);
    if binaries.major >= 17 {
        command.args(["--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]);
    }
    command.stdin(Stdio::null()).stdout(file).stderr(both);
    let failed = |status: String| Error::Initdb { status, log: log::tail(&output, 0) };
    match run_bounded(&mut command, INITDB_LIMIT).map_err(Error::io("run initdb for", into))? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(failed(status.to_string())),
        None => Err(failed(format!("not done after {} s", INITDB_LIMIT.as_secs()))),
    }
}

/// `None` when the time is up; the command and its children are killed then.
fn run_bounded(command: &mut Command, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut child = command.process_group(0).spawn()?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
            }
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_is_killed_with_its_children() {
        let started = Instant::now();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "sleep 60 & wait"]);
        assert_eq!(run_bounded(&mut command, Duration::from_millis(50)).unwrap(), None);
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
