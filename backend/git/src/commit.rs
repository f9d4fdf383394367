//! Making commit objects without touching refs, index or worktree.

use crate::repository::signature_env;
use crate::{GitError, Identity, Input, ObjectId, RepoPath, Repository};

/// A commit to be made. The same values give the same id, so that a repeated attempt makes no second object.
#[derive(Debug, Clone)]
pub struct NewCommit<'a> {
    /// The tree.
    pub tree: &'a ObjectId,
    /// The parents, first parent first.
    pub parents: &'a [ObjectId],
    /// The whole message.
    pub message: &'a str,
    /// Who wrote it.
    pub author: &'a Identity,
    /// Who committed it.
    pub committer: &'a Identity,
    /// When, in seconds since 1970 (UTC); author and committer date alike.
    pub at: i64,
}

impl Repository {
    /// Writes a commit object. Nothing refers to it yet.
    pub async fn write_commit(&self, commit: &NewCommit<'_>) -> Result<ObjectId, GitError> {
        let mut call = self.call("commit-tree");
        for parent in commit.parents {
            call = call.flags(&["-p"]).flag_with("", parent);
        }
        let call = signature_env(call, commit.author, commit.committer, commit.at)
            .operand(commit.tree.as_str())
            .input(Input::Bytes(commit.message.as_bytes().to_vec()));
        ObjectId::new(self.git.run(call).await?.text().trim())
    }

    /// Writes a commit object whose tree is that of the first parent with `files` added or replaced.
    pub async fn write_commit_of_files(
        &self,
        commit: &NewFiles<'_>,
        scratch_index: &std::path::Path,
    ) -> Result<ObjectId, GitError> {
        let index = |call: crate::Call| call.env("GIT_INDEX_FILE", scratch_index);
        if let Some(parent) = commit.parent {
            self.git.run(index(self.call("read-tree").operand(parent.as_str()))).await?;
        }
        let mut entries = Vec::new();
        for (path, content) in commit.files {
            let blob = self.write_blob(content.clone()).await?;
            entries.extend_from_slice(format!("100644 {blob}\t{path}\0").as_bytes());
        }
        let add = self.call("update-index").flags(&["-z", "--index-info"]).input(Input::Bytes(entries));
        self.git.run(index(add)).await?;
        let tree = ObjectId::new(self.git.run(index(self.call("write-tree"))).await?.text().trim())?;
        let parents: Vec<ObjectId> = commit.parent.cloned().into_iter().collect();
        self.write_commit(&NewCommit {
            tree: &tree,
            parents: &parents,
            message: commit.message,
            author: commit.author,
            committer: commit.author,
            at: commit.at,
        })
        .await
    }

    async fn write_blob(&self, content: Vec<u8>) -> Result<ObjectId, GitError> {
        let call = self.call("hash-object").flags(&["-w", "--stdin"]).input(Input::Bytes(content));
        ObjectId::new(self.git.run(call).await?.text().trim())
    }
}

/// A commit made of file contents.
#[derive(Debug, Clone)]
pub struct NewFiles<'a> {
    /// The commit it follows, if any.
    pub parent: Option<&'a ObjectId>,
    /// Files to add or replace, with their contents.
    pub files: &'a [(RepoPath, Vec<u8>)],
    /// The whole message.
    pub message: &'a str,
    /// Who wrote and committed it.
    pub author: &'a Identity,
    /// When, in seconds since 1970 (UTC).
    pub at: i64,
}
