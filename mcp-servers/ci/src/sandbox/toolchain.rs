//! Which parts of the machine a command may read: the system, and the toolchains that `PATH` names.
//!
//! Invariants: no home directory as a whole, no directory that holds the workspaces, no credentials file
//! of a package manager is ever on the list.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// System directories with programs and libraries.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64"];
/// What of `/etc` programs need to start, to know users, time zone and certificates. No secrets.
const ETC: [&str; 19] = [
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/ca-certificates.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/passwd",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
];
/// The parts of `$CARGO_HOME` without its credentials.
const CARGO_PARTS: [&str; 5] = ["bin", "config.toml", "env", "git", "registry"];

/// The read allow-list and the variables that lead programs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Toolchains {
    /// Directories of `PATH` that exist.
    pub(super) path: Vec<PathBuf>,
    /// Directories and files to read besides the system's.
    pub(super) readable: Vec<PathBuf>,
    /// Variables a toolchain needs to find itself once `HOME` is another.
    pub(super) variables: Vec<(&'static str, PathBuf)>,
}

impl Toolchains {
    /// Reads `PATH`, `HOME`, `CARGO_HOME`, `RUSTUP_HOME` and `PYENV_ROOT` of this process.
    pub fn of_this_process() -> Self {
        Self::find(&|name| std::env::var_os(name))
    }

    /// Adds a directory or file to read, e.g. a shared package cache.
    #[must_use]
    pub fn with_readable(mut self, path: impl Into<PathBuf>) -> Self {
        self.readable.push(path.into());
        self
    }

    fn find(variable: &dyn Fn(&str) -> Option<OsString>) -> Self {
        let home = variable("HOME").map_or_else(|| PathBuf::from("/nonexistent"), PathBuf::from);
        let root = |name: &str, default: &str| {
            let path = variable(name).map_or_else(|| home.join(default), PathBuf::from);
            path.is_dir().then_some(path)
        };
        let mut found = Self::default();
        let (cargo, rustup) = (root("CARGO_HOME", ".cargo"), root("RUSTUP_HOME", ".rustup"));
        let pyenv = root("PYENV_ROOT", ".pyenv");
        let paths = variable("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
        for dir in std::env::split_paths(&paths).filter(|dir| dir.is_absolute() && dir.is_dir()) {
            if found.path.contains(&dir) {
                continue;
            }
            if let Some(cargo) = cargo.as_deref().filter(|root| dir.starts_with(root)) {
                found.add("CARGO_HOME", cargo, CARGO_PARTS.map(|part| cargo.join(part)));
                if let Some(rustup) = &rustup {
                    found.add("RUSTUP_HOME", rustup, [rustup.clone()]);
                }
            } else if let Some(pyenv) = pyenv.as_deref().filter(|root| dir.starts_with(root)) {
                found.add("PYENV_ROOT", pyenv, [pyenv.to_owned()]);
            } else if !SYSTEM.iter().any(|system| dir.starts_with(system)) {
                found.readable.push(prefix_of(&dir, &home));
            }
            found.path.push(dir);
        }
        found.readable.sort();
        found.readable.dedup();
        found
    }

    fn add(&mut self, name: &'static str, root: &Path, parts: impl IntoIterator<Item = PathBuf>) {
        if !self.variables.iter().any(|(known, _)| *known == name) {
            self.variables.push((name, root.to_owned()));
            self.readable.extend(parts);
        }
    }

    /// All that exists and may be read, for a command in `worktree`; nothing that holds the worktree.
    pub(super) fn readable(&self, worktree: &Path) -> Vec<PathBuf> {
        let system = SYSTEM.iter().chain(&ETC).map(PathBuf::from);
        let all = system.chain(self.readable.iter().cloned());
        all.filter(|path| path.exists() && !worktree.starts_with(path)).collect()
    }
}

/// The installation a `bin` directory belongs to, e.g. `~/.nvm/versions/node/v20`; the directory alone
/// when that would be a home, something above one, or the place where programs keep private data.
fn prefix_of(dir: &Path, home: &Path) -> PathBuf {
    let prefix = match (dir.file_name(), dir.parent()) {
        (Some(name), Some(parent)) if name == "bin" || name == "shims" => parent,
        _ => return dir.to_owned(),
    };
    let too_much = home.starts_with(prefix) || prefix == home.join(".local") || prefix.parent().is_none();
    if too_much { dir.to_owned() } else { prefix.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toolchain_is_readable_whole_and_a_home_never() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for dir in [".cargo/bin", ".rustup", ".nvm/v20/bin", "bin", ".local/bin"] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        let path = ["bin", ".local/bin", ".nvm/v20/bin", ".cargo/bin", "missing"].map(at);
        let path = std::env::join_paths(path).unwrap();
        let found = Toolchains::find(&|name| match name {
            "HOME" => Some(home.path().into()),
            "PATH" => Some(path.clone()),
            _ => None,
        });
        assert!(!found.path.contains(&at("missing")));
        assert!(found.readable.contains(&at(".nvm/v20")));
        assert!(found.readable.contains(&at("bin")) && found.readable.contains(&at(".local/bin")));
        assert!(found.readable.contains(&at(".cargo/registry")));
        for secret in [at(""), at(".cargo"), at(".local")] {
            assert!(!found.readable.contains(&secret), "{}", secret.display());
        }
        assert!(found.variables.contains(&("RUSTUP_HOME", at(".rustup"))));
    }

    #[test]
    fn nothing_that_holds_the_worktree_is_readable() {
        let root = tempfile::tempdir().unwrap();
        let worktree = root.path().join("project/run");
        let toolchains = Toolchains::default().with_readable(root.path());
        assert!(!toolchains.readable(&worktree).contains(&root.path().to_owned()));
        assert!(toolchains.readable(Path::new("/elsewhere")).contains(&root.path().to_owned()));
    }
}
