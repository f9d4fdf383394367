//! Merging in memory: no index, no worktree, no ref is touched.

use crate::{GitError, ObjectId, Repository};

/// Most conflicting paths listed.
const MAX_CONFLICTS: usize = 500;

/// What a merge would give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MergeTree {
    /// It merges without conflict into this tree.
    Clean(ObjectId),
    /// These paths conflict (at most 500 are listed).
    Conflicts(Vec<String>),
}

impl Repository {
    /// Merges `theirs` into `ours` in memory; what is written are objects that nothing refers to.
    pub async fn merge_tree(&self, ours: &ObjectId, theirs: &ObjectId) -> Result<MergeTree, GitError> {
        if self.merge_base(ours, theirs).await?.is_none() {
            return Err(GitError::UnrelatedHistories);
        }
        let call = self
            .call("merge-tree")
            .flags(&["--write-tree", "-z", "--name-only", "--no-messages"])
            .operand(ours.as_str())
            .operand(theirs.as_str())
            .accept(&[0, 1]);
        let output = self.git.run(call).await?;
        let mut fields = output.fields();
        let tree = fields.next().ok_or_else(|| GitError::unexpected("merge-tree", "the answer is empty"))?;
        if output.code == 0 {
            return ObjectId::new(tree).map(MergeTree::Clean);
        }
        let mut paths: Vec<String> = fields.filter(|path| !path.is_empty()).collect();
        paths.dedup();
        paths.truncate(MAX_CONFLICTS);
        Ok(MergeTree::Conflicts(paths))
    }
}
