//! Object ids: the only form in which a commit, tree or blob is handed to git after it was resolved once.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::GitError;

/// The full id of a git object: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(String);

impl ObjectId {
    /// Checks and takes a full object id.
    pub fn new(value: impl Into<String>) -> Result<Self, GitError> {
        let value = value.into();
        let length_fits = value.len() == 40 || value.len() == 64;
        if length_fits && value.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            Ok(Self(value))
        } else {
            Err(GitError::Invalid("a commit id has 40 or 64 lower-case hexadecimal digits".into()))
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ObjectId {
    type Err = GitError;
    fn from_str(value: &str) -> Result<Self, GitError> {
        Self::new(value)
    }
}

impl TryFrom<String> for ObjectId {
    type Error = GitError;
    fn try_from(value: String) -> Result<Self, GitError> {
        Self::new(value)
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.0
    }
}
