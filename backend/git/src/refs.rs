//! Branches: reading them, and moving them by compare-and-set under the repository's lock.

use std::path::PathBuf;

use serde::Serialize;

use crate::{BranchName, FileLock, GitError, ObjectId, Repository};

/// Most branches listed; more are cut.
const MAX_BRANCHES: usize = 2000;

/// A branch and its newest commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Branch {
    /// The name.
    pub name: BranchName,
    /// The newest commit.
    pub head: ObjectId,
    /// When that commit was made, in seconds since 1970 (UTC).
    pub committed_at: i64,
}

/// What a ref must be for an update to take place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// It must not exist.
    Missing,
    /// It must be at this commit.
    At(ObjectId),
}

/// How an update of a ref ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefUpdate {
    /// The ref is at the new commit.
    Done,
    /// The ref was not where it was expected; it is at this commit, or gone.
    Moved(Option<ObjectId>),
}

impl Repository {
    /// The newest commit of a branch, or `None` when there is no such branch.
    pub async fn branch_head(&self, branch: &BranchName) -> Result<Option<ObjectId>, GitError> {
        self.rev_parse(&format!("{}^{{commit}}", branch.full_ref())).await
    }

    /// The branches by name, at most 2000.
    pub async fn branches(&self) -> Result<Vec<Branch>, GitError> {
        let call = self
            .call("for-each-ref")
            .flags(&["--format=%(objectname)%00%(committerdate:unix)%00%(refname:lstrip=2)"])
            .flag_with("--count=", MAX_BRANCHES)
            .operand("refs/heads/");
        let text = self.git.run(call).await?.text();
        Ok(text.lines().filter_map(parse_branch).collect())
    }

    /// The branch that new work starts from: where the bare repository's `HEAD` points.
    pub async fn default_branch(&self) -> Result<BranchName, GitError> {
        let path = self.bare.join("HEAD");
        let text =
            tokio::fs::read_to_string(path).await.map_err(GitError::io("reading the default branch"))?;
        let name = text.trim().strip_prefix("ref: refs/heads/").ok_or_else(|| {
            GitError::unexpected("symbolic-ref", "the repository's HEAD does not name a branch")
        })?;
        BranchName::new(name)
    }

    /// Makes `branch` the default branch.
    pub async fn set_default_branch(&self, branch: &BranchName, lock: &FileLock) -> Result<(), GitError> {
        let call = crate::Call::new("symbolic-ref", &crate::Place::bare(&self.bare))
            .operand("HEAD")
            .operand(branch.full_ref())
            .input(lock.handed_on()?);
        self.git.run(call).await.map(drop)
    }

    /// Moves a branch to `new` if it is where `expected` says.
    pub async fn update_branch(
        &self,
        branch: &BranchName,
        new: &ObjectId,
        expected: &Expected,
        lock: &FileLock,
    ) -> Result<RefUpdate, GitError> {
        let old = match expected {
            // By an id of zeros git says "this ref must not exist".
            Expected::Missing => "0".repeat(new.as_str().len()),
            Expected::At(id) => id.as_str().to_owned(),
        };
        let mut tries = 2;
        loop {
            let call = self
                .call("update-ref")
                .flags(&["-m", "syndarix", "--no-deref"])
                .operand(branch.full_ref())
                .operand(new.as_str())
                .operand(&old)
                .accept(&[0, 1, 128])
                .input(lock.handed_on()?);
            let output = self.git.run(call).await?;
            tries -= 1;
            if output.code == 0 {
                return Ok(RefUpdate::Done);
            }
            let actual = self.branch_head(branch).await?;
            let as_expected = match expected {
                Expected::Missing => actual.is_none(),
                Expected::At(id) => actual.as_ref() == Some(id),
            };
            if !as_expected {
                return Ok(RefUpdate::Moved(actual));
            }
            if tries == 0 || !self.remove_stale_ref_locks(branch, lock) {
                return Err(GitError::Failed {
                    verb: "update-ref",
                    code: output.code,
                    stderr: output.stderr,
                });
            }
        }
    }

    /// Removes the lock files that a killed git left for this branch; true when there were any. Sound only while the
    /// repository's lock is held: every live writer of refs holds it, or inherited it.
    fn remove_stale_ref_locks(&self, branch: &BranchName, _held: &FileLock) -> bool {
        let files: [PathBuf; 3] = [
            self.bare.join(format!("{}.lock", branch.full_ref())),
            self.bare.join("HEAD.lock"),
            self.bare.join("packed-refs.lock"),
        ];
        let removed = files.iter().filter(|file| std::fs::remove_file(file).is_ok()).count();
        if removed > 0 {
            tracing::warn!(branch = %branch, removed, "removed lock files left by a killed git");
        }
        removed > 0
    }
}

fn parse_branch(line: &str) -> Option<Branch> {
    let mut fields = line.split('\0');
    let head = ObjectId::new(fields.next()?).ok()?;
    let committed_at = fields.next()?.parse().ok()?;
    // A branch with a name that we would not accept, pushed by another tool, is not offered.
    let name = BranchName::new(fields.next()?).ok()?;
    Some(Branch { name, head, committed_at })
}
