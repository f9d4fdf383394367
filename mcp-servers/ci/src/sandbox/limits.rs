//! What one command may use up. Every limit holds at every isolation level.

use std::{ffi::OsString, time::Duration};

use rustix::process::{Resource, getrlimit};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// Bounds of one command. Those on memory, files and CPU hold for each of its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// CPU time of one process, in whole seconds.
    pub cpu: Duration,
    /// Private writable memory of one process, in bytes.
    pub memory_bytes: u64,
    /// Address space of one process, in bytes; far above `memory_bytes`, since JIT compilers reserve
    /// space that they never touch.
    pub address_space_bytes: u64,
    /// Files one process may hold open.
    pub open_files: u64,
    /// Processes and threads of the whole command.
    pub processes: u64,
    /// Largest file a process may write, in bytes.
    pub file_bytes: u64,
    /// Bytes of output that are kept: the first quarter and the last three.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(40 * 60),
            memory_bytes: 4 * GIB,
            address_space_bytes: 64 * GIB,
            open_files: 4096,
            processes: 1024,
            file_bytes: 2 * GIB,
            output_bytes: 32 * 1024,
        }
    }
}

impl Limits {
    /// Arguments of `prlimit`. `others` is the number of tasks that count against the same user without
    /// belonging to the command.
    pub(super) fn prlimit_args(&self, others: u64) -> Vec<OsString> {
        let wanted = [
            ("cpu", Resource::Cpu, self.cpu.as_secs().max(1)),
            ("data", Resource::Data, self.memory_bytes),
            ("as", Resource::As, self.address_space_bytes),
            ("nofile", Resource::Nofile, self.open_files),
            ("nproc", Resource::Nproc, self.processes.saturating_add(others)),
            ("fsize", Resource::Fsize, self.file_bytes),
            ("core", Resource::Core, 0),
        ];
        let arg = |(name, resource, value): (&str, Resource, u64)| {
            // An ordinary user cannot go above a hard limit that is in force already.
            let allowed = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            format!("--{name}={}", value.min(allowed)).into()
        };
        wanted.into_iter().map(arg).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_set_and_core_files_are_off() {
        let args = Limits::default().prlimit_args(10);
        let args: Vec<String> = args.into_iter().map(|a| a.into_string().unwrap()).collect();
        for name in ["cpu", "data", "as", "nofile", "nproc", "fsize"] {
            assert!(args.iter().any(|a| a.starts_with(&format!("--{name}="))), "{name} in {args:?}");
        }
        assert!(args.contains(&"--core=0".to_owned()));
    }
}
