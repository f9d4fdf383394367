//! Finds processes of a command that got away from its supervisor, and ends them.

use std::{ffi::OsString, fs, path::Path};

use rustix::process::{Pid, Signal, kill_process};

/// Rounds of looking: each found process may have started another meanwhile.
const ROUNDS: usize = 5;

/// The line of their environment that only the processes of one command have.
pub(super) fn variable(scratch: &Path) -> String {
    format!("TMPDIR={}", scratch.join("tmp").display())
}

/// Ends processes whose environment has this line, or that have this file open. The last resort: one that has cleared
/// its environment and closed its files is not found.
pub(super) fn end(line: &str, open: Option<&Path>) {
    for _ in 0..ROUNDS {
        let Ok(entries) = fs::read_dir("/proc") else { return };
        let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        let found =
            pids.filter(|pid| *pid != std::process::id() && (has_line(*pid, line) || has_open(*pid, open)));
        let ended = found
            .filter_map(|pid| Pid::from_raw(pid.cast_signed()))
            .filter(|pid| kill_process(*pid, Signal::KILL).is_ok())
            .count();
        if ended == 0 {
            return;
        }
    }
}

fn has_line(pid: u32, line: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    !line.is_empty() && environment.split(|byte| *byte == 0).any(|entry| entry == line.as_bytes())
}

fn has_open(pid: u32, file: Option<&Path>) -> bool {
    let (Some(file), Ok(open)) = (file, fs::read_dir(format!("/proc/{pid}/fd"))) else { return false };
    // So does the kernel show a file that was removed meanwhile.
    let mut removed: OsString = file.into();
    removed.push(" (deleted)");
    open.flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == file || to == Path::new(&removed)))
}
