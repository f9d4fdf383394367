//! What the caller decides about the embedded server, and the defaults of the platform.

use std::path::PathBuf;

/// Longest folder that leaves room for `/<16+1+16 hex>/.s.PGSQL.5432` in a socket address (103 bytes on macOS).
const RUN_BASE_LIMIT: usize = 50;

/// Where the embedded server lives and how big it may get.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// Home of the server: `pgdata`, logs and the lock lie in it. Created when missing.
    pub data_dir: PathBuf,
    /// Folder that holds `postgres-<version>`, put there by `.ci/fetch-postgres` or unpacked from the binary.
    /// Must be readable for the user the server runs as.
    pub cache_dir: PathBuf,
    /// Short folder in which a private folder for the socket is made (a socket address holds about 100 bytes).
    pub run_base: PathBuf,
    /// Folder with `postgres` and `initdb`. When set, nothing else is tried.
    pub binaries: Option<PathBuf>,
    /// Folders of the caller's `PATH`, searched for a system PostgreSQL after the usual places.
    pub search_path: Vec<PathBuf>,
    /// Connections the server accepts.
    pub max_connections: u32,
    /// PostgreSQL's own page cache in MiB.
    pub shared_buffers_mb: u32,
    /// Further settings (name, value); they win over ours.
    pub settings: Vec<(String, String)>,
}

impl EmbeddedOptions {
    /// Defaults of the platform, read from the environment that `env` hands out (`HOME`, `PATH`, the XDG folders,
    /// `SYNDARIX_CACHE_DIR`). Root gets `/var/lib`, `/var/cache` and `/run`, since PostgreSQL runs as another
    /// user then, who cannot enter root's home.
    pub fn platform_default(env: impl Fn(&str) -> Option<String>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let folder = |name: &str| env(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = folder("HOME").unwrap_or_else(|| PathBuf::from("/"));
        let (data, cache, run) = if uid == 0 {
            ("/var/lib/syndarix".into(), "/var/cache/syndarix".into(), Some("/run/syndarix".into()))
        } else if cfg!(target_os = "macos") {
            let library = home.join("Library");
            (library.join("Application Support/syndarix"), library.join("Caches/syndarix"), None)
        } else {
            let data = folder("XDG_DATA_HOME").unwrap_or_else(|| home.join(".local/share"));
            let cache = folder("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
            let run = folder("XDG_RUNTIME_DIR").filter(|path| path.is_dir());
            (data.join("syndarix"), cache.join("syndarix"), run.map(|path| path.join("syndarix")))
        };
        Self {
            data_dir: data.join("postgres"),
            cache_dir: folder("SYNDARIX_CACHE_DIR").unwrap_or(cache),
            run_base: run
                .filter(|path: &PathBuf| path.as_os_str().len() <= RUN_BASE_LIMIT)
                .unwrap_or_else(|| PathBuf::from(format!("/tmp/syndarix-{uid}"))),
            binaries: None,
            search_path: env("PATH").map(|path| std::env::split_paths(&path).collect()).unwrap_or_default(),
            max_connections: 100,
            shared_buffers_mb: 256,
            settings: Vec::new(),
        }
    }

    /// The same with another home, for a second instance on one machine.
    #[must_use]
    pub fn in_dir(self, data_dir: impl Into<PathBuf>) -> Self {
        Self { data_dir: data_dir.into(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn as_if(pairs: &[(&str, &str)]) -> EmbeddedOptions {
        EmbeddedOptions::platform_default(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_default_path_is_absolute_even_without_an_environment() {
        for options in [as_if(&[]), as_if(&[("HOME", "relative"), ("XDG_CACHE_HOME", "also/relative")])] {
            assert!(options.data_dir.is_absolute());
            assert!(options.cache_dir.is_absolute());
            assert!(options.run_base.is_absolute());
        }
    }

    #[test]
    fn the_cache_folder_can_be_chosen() {
        let options = as_if(&[("HOME", "/home/ann"), ("SYNDARIX_CACHE_DIR", "/srv/cache")]);
        assert_eq!(options.cache_dir, Path::new("/srv/cache"));
    }

    #[test]
    fn the_default_socket_folder_is_short() {
        let long = format!("/{}", "x".repeat(90));
        let options = as_if(&[("HOME", &long), ("XDG_RUNTIME_DIR", &long)]);
        assert!(options.run_base.as_os_str().len() <= RUN_BASE_LIMIT);
    }
}
