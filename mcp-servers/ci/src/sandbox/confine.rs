//! Landlock and seccomp: restrict one thread, and so all that it starts.

use std::path::{Path, PathBuf};

use super::syscalls;

/// What a confined thread may touch.
#[derive(Debug, Clone, Default)]
pub(super) struct Confinement {
    /// Readable and executable.
    pub(super) read: Vec<PathBuf>,
    /// Writable too.
    pub(super) write: Vec<PathBuf>,
    /// Whether the internet is open.
    pub(super) network: bool,
}

/// What the kernel really enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Enforced {
    /// Whether signals cannot leave (Linux 6.12).
    pub(super) signals: bool,
}

/// What of `/proc` programs ask for to count processors and memory; nothing about other processes.
const PROC: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/filesystems",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/uptime",
    "/proc/version",
    "/sys/devices/system/cpu",
];
/// Devices without state.
const DEVICES: [&str; 5] = ["/dev/full", "/dev/null", "/dev/random", "/dev/urandom", "/dev/zero"];

impl Confinement {
    /// The allow-list of a command in `worktree` with a private `tmp`.
    pub(super) fn new(readable: Vec<PathBuf>, worktree: &Path, tmp: &Path, network: bool) -> Self {
        let mut read = readable;
        read.extend(PROC.map(PathBuf::from));
        Self { read, write: vec![worktree.to_owned(), tmp.to_owned()], network }
    }

    /// Restricts the calling thread for good. Fails when the kernel enforces nothing, or leaves a socket open.
    #[cfg(target_os = "linux")]
    pub(super) fn restrict_this_thread(&self) -> Result<Enforced, String> {
        use landlock::{
            ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, Ruleset, RulesetAttr,
            RulesetCreatedAttr, Scope, path_beneath_rules,
        };
        let abi = ABI::V9;
        let restrict = || {
            let mut rules = Ruleset::default()
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(abi))?;
            if !self.network {
                rules = rules.handle_access(AccessNet::from_all(abi))?;
            }
            rules
                .scope(Scope::from_all(abi))?
                .create()?
                .add_rules(path_beneath_rules(&self.read, AccessFs::from_read(abi)))?
                .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
                .add_rules(path_beneath_rules(&self.write, AccessFs::from_all(abi)))?
                .restrict_self()
        };
        let status = restrict().map_err(|fault: landlock::RulesetError| fault.to_string())?;
        match status.landlock {
            LandlockStatus::Available { effective_abi, .. } => {
                syscalls::close_sockets(self.network)?;
                Ok(Enforced { signals: effective_abi >= ABI::V6 })
            }
            _ => Err("the kernel has no Landlock".to_owned()),
        }
    }

    /// Only Linux has Landlock.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn restrict_this_thread(&self) -> Result<Enforced, String> {
        let _ = (DEVICES, &self.read, &self.write, self.network, syscalls::close_sockets);
        Err("only Linux has Landlock".to_owned())
    }
}
