//! Starts a planned command, reads it, and ends it with everything it has started.
//!
//! A thread of its own restricts itself, starts the command and waits: Landlock binds the thread and what
//! it starts, so the server stays free, and no code runs between fork and exec. When the command ends, is
//! cancelled or runs out of time, its process group and whatever left that group are killed; only then is
//! the exit status collected, so that no id can have been given to somebody else.

use std::{
    ffi::OsString,
    io::{self, PipeReader, PipeWriter, Read},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use super::{
    confine::Enforced,
    leftover,
    output::{Capture, Output},
    plan::Plan,
};

/// Longest wait for a killed command to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a command that is to end is killed again: it may just be starting.
const KILL_AGAIN: Duration = Duration::from_millis(20);
/// Longest wait for output after the end: something else may hold the pipe.
const OUTPUT_GRACE: Duration = Duration::from_secs(2);

/// How processes that left the command's process group are found.
#[derive(Debug)]
pub(super) enum Sweep {
    /// The kernel ends them with the namespace.
    Namespace,
    /// By their user, which nothing else has: a command that becomes it and kills all it may.
    User { argv: Vec<OsString>, sh: PathBuf },
    /// By the Landlock domain, which signals cannot leave; where there is none, by their environment.
    Domain { sh: PathBuf, marker: String },
}

/// What reaches the supervisor of a command.
#[derive(Debug)]
pub(super) enum Event {
    /// The command has ended, or could not be started.
    Ended(io::Result<Ended>),
    /// Nobody waits for it any more.
    Cancel,
}

/// How the starting thread found the end.
#[derive(Debug)]
pub(super) struct Ended {
    status: ExitStatus,
    enforced: Option<Enforced>,
}

/// A command that is over.
#[derive(Debug)]
pub(super) struct Raw {
    /// The exit code; 128 plus the signal when it was killed by one.
    pub(super) exit_code: i32,
    pub(super) timed_out: bool,
    pub(super) cancelled: bool,
    pub(super) duration: Duration,
    pub(super) output: Output,
    pub(super) enforced: Option<Enforced>,
}

/// The running command, while its id is certain to be its own.
type Live = Arc<Mutex<Option<Pid>>>;

/// Runs a plan to its end. Blocks; [`Event::Cancel`] ends it early.
pub(super) fn execute(
    plan: Plan,
    timeout: Duration,
    events: (Sender<Event>, &Receiver<Event>),
) -> io::Result<Raw> {
    let started = Instant::now();
    let (reader, writer) = io::pipe()?;
    let over = Arc::new(AtomicBool::new(false));
    let output = read_in_thread(reader, plan.output_bytes, Arc::clone(&over))?;
    let live = Live::default();
    let (sender, receiver) = events;
    let child_live = Arc::clone(&live);
    thread::Builder::new().name("sandbox".to_owned()).spawn(move || {
        let ended = run(&plan, writer, &child_live);
        // The supervisor may have given up on it.
        let _ = sender.send(Event::Ended(ended));
    })?;
    let outcome = supervise(receiver, &live, started + timeout);
    over.store(true, Ordering::Release);
    let output = output.join().map_err(|_| io::Error::other("the output reader failed"))?;
    let (ended, timed_out, cancelled) = outcome?;
    let exit_code = ended.status.code().unwrap_or_else(|| 128 + ended.status.signal().unwrap_or(0));
    let duration = started.elapsed();
    Ok(Raw { exit_code, timed_out, cancelled, duration, output, enforced: ended.enforced })
}

fn supervise(events: &Receiver<Event>, live: &Live, deadline: Instant) -> io::Result<(Ended, bool, bool)> {
    let (mut timed_out, mut cancelled) = (false, false);
    let mut give_up: Option<Instant> = None;
    loop {
        let patience = match give_up {
            None => deadline.saturating_duration_since(Instant::now()),
            Some(_) => KILL_AGAIN,
        };
        match events.recv_timeout(patience) {
            Ok(Event::Ended(ended)) => return Ok((ended?, timed_out, cancelled)),
            Ok(Event::Cancel) => cancelled = true,
            Err(RecvTimeoutError::Timeout) if give_up.is_none() => timed_out = true,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("the sandbox thread failed")),
        }
        if let Some(pid) = *live.lock().unwrap_or_else(PoisonError::into_inner) {
            // It may be gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        if Instant::now() >= *give_up.get_or_insert_with(|| Instant::now() + END_TIMEOUT) {
            return Err(io::Error::other("the command does not end though it was killed"));
        }
    }
}

/// The starting thread: restrict, start, wait, clean up.
fn run(plan: &Plan, writer: PipeWriter, live: &Live) -> io::Result<Ended> {
    let enforced = match &plan.confinement {
        Some(confinement) => Some(confinement.restrict_this_thread().map_err(io::Error::other)?),
        None => None,
    };
    let mut child = start(plan, writer)?;
    let pid = Pid::from_child(&child);
    *live.lock().unwrap_or_else(PoisonError::into_inner) = Some(pid);
    wait_without_collecting(pid)?;
    let _ = kill_process_group(pid, Signal::KILL);
    sweep(&plan.sweep, enforced);
    *live.lock().unwrap_or_else(PoisonError::into_inner) = None;
    Ok(Ended { status: child.wait()?, enforced })
}

fn start(plan: &Plan, writer: PipeWriter) -> io::Result<Child> {
    let (program, args) = plan.argv.split_first().ok_or_else(|| io::Error::other("an empty command"))?;
    let mark = match &plan.mark {
        Some(mark) => Stdio::from(mark.try_clone()?),
        None => Stdio::null(),
    };
    Command::new(program)
        .args(args)
        .env_clear()
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&plan.directory)
        .stdin(mark)
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0)
        .spawn()
}

fn wait_without_collecting(pid: Pid) -> io::Result<()> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(fault) => return Err(fault.into()),
        }
    }
}

fn sweep(sweep: &Sweep, enforced: Option<Enforced>) {
    match sweep {
        Sweep::Namespace => {}
        Sweep::User { argv, sh } => {
            let kill = ["--no-new-privs".into(), "--".into(), sh.into(), "-c".into(), "kill -KILL -1".into()];
            quietly(&argv.iter().cloned().chain(kill).collect::<Vec<_>>());
        }
        Sweep::Domain { sh, marker } => {
            if enforced.is_some_and(|enforced| enforced.signals) {
                // Started by this thread, hence in its domain. Should it be able to signal the server,
                // the domain does not hold and killing all would be a disaster.
                let script = "kill -0 \"$1\" 2>/dev/null && exit 1; kill -KILL -1";
                let server = std::process::id().to_string();
                let argv = [sh.into(), "-c".into(), script.into(), "sweep".into(), server.into()];
                quietly(&argv);
            }
            leftover::end(marker, None);
        }
    }
}

fn quietly(line: &[OsString]) {
    let Some((program, args)) = line.split_first() else { return };
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(fault) = command.status() {
        tracing::warn!(%fault, "could not look for processes that the command left behind");
    }
}

fn read_in_thread(
    mut reader: PipeReader,
    limit: usize,
    over: Arc<AtomicBool>,
) -> io::Result<thread::JoinHandle<Output>> {
    const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    thread::Builder::new().name("sandbox-output".to_owned()).spawn(move || {
        let mut capture = Capture::new(limit);
        let mut buffer = vec![0_u8; 64 * 1024];
        let mut until: Option<Instant> = None;
        loop {
            if over.load(Ordering::Acquire) {
                let until = *until.get_or_insert_with(|| Instant::now() + OUTPUT_GRACE);
                if Instant::now() >= until {
                    break;
                }
            }
            let mut fds = [PollFd::new(&reader, PollFlags::IN)];
            match poll(&mut fds, Some(&STEP)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(_) => break,
            }
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => capture.push(&buffer[..n]),
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        capture.finish()
    })
}
