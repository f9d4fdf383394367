//! Paths inside a repository.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::GitError;

/// Longest path, in bytes (the usual PATH_MAX of Linux).
const PATH_MAX_BYTES: usize = 4096;

/// A relative path inside a repository, with `/` between its parts: no `.`, `..`, `.git`, empty part, control
/// character, or leading `-`, `"` or `:`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepoPath(String);

impl RepoPath {
    /// Checks and takes a path; one leading `./` and trailing slashes are dropped.
    pub fn new(value: impl Into<String>) -> Result<Self, GitError> {
        let given = value.into();
        let value = given.strip_prefix("./").unwrap_or(&given).trim_end_matches('/').to_owned();
        let part_fits = |part: &str| {
            !part.is_empty() && part != "." && part != ".." && !part.eq_ignore_ascii_case(".git")
        };
        let fits = !value.is_empty()
            && value.len() <= PATH_MAX_BYTES
            && !value.starts_with(['-', '"', ':'])
            && !value.chars().any(char::is_control)
            && value.split('/').all(part_fits);
        if fits {
            Ok(Self(value))
        } else {
            Err(GitError::Invalid(
                "a path is relative to the repository's root, with '/' between its parts and without '..', '.git', \
                 control characters or a leading dash"
                    .into(),
            ))
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RepoPath {
    type Error = GitError;
    fn try_from(value: String) -> Result<Self, GitError> {
        Self::new(value)
    }
}

impl From<RepoPath> for String {
    fn from(path: RepoPath) -> Self {
        path.0
    }
}
