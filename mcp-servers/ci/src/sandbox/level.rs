//! The isolation levels, strongest last, and what is in force.

use std::{fmt, str::FromStr};

use serde::Serialize;

/// How strongly a command is shut in. Ordered: a later level is stronger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Limits and an empty environment only: the command can read and write what the server can.
    None,
    /// Landlock and seccomp: files by allow-list, no sockets; from Linux 6.12 on no signals to the outside. `stat`
    /// stays possible.
    Landlock,
    /// Own mounts, processes, network, IPC: nothing else of the machine can even be named.
    Namespaces,
    /// The same, set up by bubblewrap.
    Bubblewrap,
}

impl Level {
    /// All levels, strongest first.
    pub const STRONGEST_FIRST: [Self; 4] = [Self::Bubblewrap, Self::Namespaces, Self::Landlock, Self::None];

    /// The name used in configuration and results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Landlock => "landlock",
            Self::Namespaces => "namespaces",
            Self::Bubblewrap => "bubblewrap",
        }
    }

    /// Whether the command gets a file tree of its own.
    pub(super) fn has_mounts(self) -> bool {
        self >= Self::Namespaces
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::STRONGEST_FIRST.into_iter().find(|level| level.as_str() == text);
        found.ok_or_else(|| format!("{text:?} is none of bubblewrap, namespaces, landlock, none"))
    }
}

/// The isolation in force, as every result tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Isolation {
    /// The level.
    pub level: Level,
    /// One sentence: what it consists of here, and what it leaves open.
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_and_read_back_by_name() {
        assert!(Level::STRONGEST_FIRST.is_sorted_by(|a, b| a > b));
        for level in Level::STRONGEST_FIRST {
            assert_eq!(level.as_str().parse::<Level>(), Ok(level));
        }
        assert!("full".parse::<Level>().unwrap_err().contains("landlock"));
    }
}
