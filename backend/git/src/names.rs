//! Branch names and revisions: text from outside that becomes an argument of git only after it was checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::GitError;

/// Longest branch name, in bytes: a ref is a file name plus `.lock`, and file names end at 255 bytes.
const BRANCH_MAX_BYTES: usize = 200;
/// Longest revision expression, in bytes.
const REVISION_MAX_BYTES: usize = 250;

/// A branch name without `refs/heads/`, by the rules of `git check-ref-format` and a few of ours: it does not start
/// with `-`, is not `HEAD` or `@`, and has at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BranchName(String);

impl BranchName {
    /// Checks and takes a branch name; the error is a sentence that says which rule it breaks.
    pub fn new(value: impl Into<String>) -> Result<Self, GitError> {
        let value = value.into();
        match broken_rule(&value) {
            None => Ok(Self(value)),
            Some(rule) => Err(GitError::Invalid(format!(
                "the branch name {:?} cannot be used: {rule}",
                value.chars().take(80).collect::<String>()
            ))),
        }
    }

    /// The name without `refs/heads/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full name of the ref.
    pub fn full_ref(&self) -> String {
        format!("refs/heads/{}", self.0)
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > BRANCH_MAX_BYTES {
        return Some("it is longer than 200 bytes");
    }
    if name.starts_with('-') {
        return Some("it starts with a dash, which git would take for an option");
    }
    if name == "HEAD" || name == "@" {
        return Some("git uses this name for the current commit");
    }
    if name.bytes().any(|b| b <= b' ' || b == 0x7f || b"~^:?*[\\".contains(&b)) {
        return Some("it holds a space, a control character or one of ~ ^ : ? * [ \\");
    }
    if name.contains("..") || name.contains("@{") {
        return Some("it holds \"..\" or \"@{\"");
    }
    if name.ends_with('.') {
        return Some("it ends with a dot");
    }
    if name.split('/').any(str::is_empty) {
        return Some("it starts or ends with a slash, or has two in a row");
    }
    if name.split('/').any(|part| {
        // git's rule is about these exact letters: `.LOCK` is allowed by it.
        part.starts_with('.') || part.as_bytes().ends_with(b".lock")
    }) {
        return Some("a part of it starts with a dot or ends with \".lock\"");
    }
    None
}

impl fmt::Display for BranchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BranchName {
    type Err = GitError;
    fn from_str(value: &str) -> Result<Self, GitError> {
        Self::new(value)
    }
}

impl TryFrom<String> for BranchName {
    type Error = GitError;
    fn try_from(value: String) -> Result<Self, GitError> {
        Self::new(value)
    }
}

impl From<BranchName> for String {
    fn from(name: BranchName) -> Self {
        name.0
    }
}

/// A revision as a person or a model writes it: a branch, a (short) id, `HEAD~2`, `main^`. It names one commit: no
/// ranges, no `rev:path`, no searches (`:/text`, `^{/text}`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// Checks and takes a revision.
    pub fn new(value: impl Into<String>) -> Result<Self, GitError> {
        let value = value.into();
        let allowed = |c: char| c.is_alphanumeric() || "._/~^@{}-+#=%!,".contains(c);
        let fits = !value.is_empty()
            && value.len() <= REVISION_MAX_BYTES
            && !value.starts_with(['-', '^'])
            && !value.contains("..")
            && !value.contains("{/")
            && value.chars().all(allowed);
        if fits {
            Ok(Self(value))
        } else {
            Err(GitError::Invalid(
                "a revision is a branch name, a commit id or a form like HEAD~2; it names one commit, does not start \
                 with a dash and holds no spaces, colons or ranges"
                    .into(),
            ))
        }
    }

    /// The revision as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
