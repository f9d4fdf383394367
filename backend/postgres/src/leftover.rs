//! Ends what an earlier start left behind: a server whose parent was killed, or backends whose server was.
//!
//! Processes are recognised by their command line, not by a number in a file: after a reboot or in a new container
//! the number in `postmaster.pid` may be anybody's.

use crate::home::Home;
use crate::{Error, bounded};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Fast shutdown is asked for at once, immediate shutdown after this.
const FAST_LIMIT: Duration = Duration::from_secs(30);
/// After this we give up and name the processes.
const GIVE_UP: Duration = Duration::from_secs(45);
const PS_LIMIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    postmaster: Option<u32>,
    backends: Vec<u32>,
}

/// Returns when no process works on this home any more. The caller holds the home's lock.
pub(crate) fn end(home: &Home, cluster: &str) -> Result<(), Error> {
    let pgdata = home.pgdata();
    if !pgdata.join("postmaster.pid").exists() {
        return Ok(());
    }
    let started = Instant::now();
    let mut sent = None;
    loop {
        let found = scan(&pgdata, cluster);
        let pids: Vec<u32> = found.postmaster.into_iter().chain(found.backends.iter().copied()).collect();
        if pids.is_empty() {
            return remove_misleading_pid_file(&pgdata);
        }
        if started.elapsed() >= GIVE_UP {
            return Err(Error::Leftover { data_dir: home.dir().to_owned(), pids });
        }
        // Backends without a server notice by themselves, unless they are busy.
        let wanted = match found.postmaster {
            Some(_) if started.elapsed() < FAST_LIMIT => Some(Signal::INT),
            None if started.elapsed() < FAST_LIMIT / 3 => None,
            _ => Some(Signal::QUIT),
        };
        if wanted != sent {
            tracing::warn!(?pids, "ending a PostgreSQL that an earlier start left behind");
            let targets = found.postmaster.map_or(found.backends, |postmaster| vec![postmaster]);
            send(&targets, wanted);
            sent = wanted;
        }
        std::thread::sleep(POLL);
    }
}

fn send(pids: &[u32], signal: Option<Signal>) {
    for pid in pids {
        if let (Some(pid), Some(signal)) = (Pid::from_raw(pid.cast_signed()), signal)
            && let Err(error) = kill_process(pid, signal)
        {
            tracing::debug!(%error, ?pid, "signal not delivered");
        }
    }
}

/// PostgreSQL refuses to start while the process named in `postmaster.pid` lives, and by now that may be anybody.
/// A number that nobody has stays: then PostgreSQL itself checks the shared memory the file also names.
fn remove_misleading_pid_file(pgdata: &Path) -> Result<(), Error> {
    let path = pgdata.join("postmaster.pid");
    let pid = recorded_postmaster(pgdata).and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let alive = pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH));
    if alive {
        fs::remove_file(&path).map_err(Error::io("remove", path))?;
    }
    Ok(())
}

fn recorded_postmaster(pgdata: &Path) -> Option<u32> {
    fs::read_to_string(pgdata.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// Whether `postmaster.pid` says that process `pid` owns the data and takes connections (its eighth line).
pub(crate) fn is_recorded_ready(pgdata: &Path, pid: u32) -> bool {
    let text = fs::read_to_string(pgdata.join("postmaster.pid")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.first().is_some_and(|line| *line == pid.to_string()) && lines.get(7) == Some(&"ready")
}

fn scan(pgdata: &Path, cluster: &str) -> Found {
    let mut found = Found::default();
    for (pid, command) in process_list() {
        if is_postmaster(&command, pgdata) {
            found.postmaster = Some(pid);
        } else if is_backend(&command, cluster) {
            found.backends.push(pid);
        }
    }
    found
}

fn is_postmaster(command: &str, pgdata: &Path) -> bool {
    command.split_once(" -D ").is_some_and(|(program, rest)| {
        program.ends_with("/postgres") && rest.starts_with(&format!("{} -c ", pgdata.display()))
    })
}

fn is_backend(command: &str, cluster: &str) -> bool {
    command.strip_prefix("postgres: ").is_some_and(|rest| rest.starts_with(&format!("{cluster}: ")))
}

/// Every process we can see with its command line; zombies have none and do not count.
fn process_list() -> Vec<(u32, String)> {
    if !Path::new("/proc/self/cmdline").exists() {
        return from_ps();
    }
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let bytes = fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&bytes).replace('\0', " ")))
        })
        .collect()
}

fn from_ps() -> Vec<(u32, String)> {
    let output = bounded::output(Command::new("/bin/ps").args(["-axww", "-o", "pid=,command="]), PS_LIMIT);
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            let (pid, command) = line.trim_start().split_once(' ')?;
            Some((pid.parse().ok()?, command.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_of_this_home_are_recognised() {
        let pgdata = Path::new("/srv/x/pgdata");
        assert!(is_postmaster(
            "/opt/pg/bin/postgres -D /srv/x/pgdata -c listen_addresses= -c port=5432 ",
            pgdata
        ));
        assert!(!is_postmaster("/opt/pg/bin/postgres -D /srv/x/pgdata2 -c port=5432 ", pgdata));
        assert!(!is_postmaster("vim /opt/pg/bin/postgres /srv/x/pgdata -c ", pgdata));
        assert!(is_backend("postgres: syndarix-1-2: checkpointer ", "syndarix-1-2"));
        assert!(!is_backend("postgres: syndarix-1-23: checkpointer ", "syndarix-1-2"));
        assert!(!is_backend("postgres: checkpointer ", "syndarix-1-2"));
    }

    #[test]
    fn a_number_that_somebody_else_has_by_now_does_not_block_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::open(dir.path()).unwrap();
        let file = home.pgdata().join("postmaster.pid");
        fs::create_dir(home.pgdata()).unwrap();
        fs::write(&file, format!("{}\n/somewhere\n", std::process::id())).unwrap();
        end(&home, "syndarix-test").unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn our_own_process_is_in_the_list() {
        assert!(process_list().iter().any(|(pid, _)| *pid == std::process::id()));
    }
}
