//! Commands that may not take for ever.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(2);

/// Runs the command; when the time is up it and its children are killed and the error is `TimedOut`.
pub(crate) fn status(command: &mut Command, limit: Duration) -> io::Result<ExitStatus> {
    wait(&mut command.process_group(0).spawn()?, limit)
}

/// The same, with what the command writes: little, or the pipe fills and the time runs out.
pub(crate) fn output(command: &mut Command, limit: Duration) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.process_group(0).spawn()?;
    wait(&mut child, limit)?;
    child.wait_with_output()
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                rustix::process::kill_process_group(group, rustix::process::Signal::KILL)?;
            }
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("not done after {} s", limit.as_secs()),
            ));
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
        let error = output(command.args(["-c", "sleep 60 & wait"]), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
