//! What a pull request changes, file by file.

use super::pull_requests::unreadable;
use crate::{http::ApiError, state::App};
use serde::{Deserialize, Serialize};
use syndarix_domain::pull_request::{Phase, PullRequest};
use syndarix_forge::{
    BranchName, ChangeStatus, Diff, DiffLimits, FileChange, ForgeError, ObjectId, Revision,
};
use utoipa::ToSchema;

/// A diff.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Diff)]
pub struct DiffView {
    /// The commit it starts from.
    pub base: String,
    /// The commit it ends at.
    pub head: String,
    /// The branch that it is offered for.
    pub base_branch: String,
    /// The branch that is offered.
    pub head_branch: String,
    /// File by file.
    pub files: Vec<FileView>,
    /// Lines added.
    pub additions: u64,
    /// Lines removed.
    pub deletions: u64,
    /// Files or text were left out because the diff is too large.
    pub truncated: bool,
}

/// A changed file.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = DiffFile)]
pub struct FileView {
    /// The path after the change.
    pub path: String,
    /// The path before it, when renamed or copied.
    pub old_path: Option<String>,
    /// added, modified, deleted, renamed.
    pub status: String,
    /// Lines added.
    pub additions: u64,
    /// Lines removed.
    pub deletions: u64,
    /// Git takes it for binary: it has no text.
    pub binary: bool,
    /// Unified text of this file.
    pub patch: String,
    /// The text was cut.
    pub truncated: bool,
}

/// The diff of a pull request against where it left its base.
pub async fn diff(app: &App, pr: &PullRequest) -> Result<DiffView, ApiError> {
    made(app, pr).await.map_err(unreadable)
}

async fn made(app: &App, pr: &PullRequest) -> Result<DiffView, ForgeError> {
    let project = pr.project.0;
    let head = ObjectId::new(pr.head.clone())?;
    let base = match &pr.phase {
        // The base branch holds the head by now: what came in is seen from the merge's first parent.
        Phase::Merged { commit, .. } => {
            app.forge.resolve(project, &Revision::new(format!("{commit}^1"))?).await?
        }
        _ => match app.forge.head(project, &BranchName::new(pr.base_branch.clone())?).await? {
            Some(base) => base,
            None => app.forge.info(project).await?.head,
        },
    };
    let diff = app.forge.diff(project, &base, &head, &DiffLimits::default()).await?;
    Ok(view(pr, &base, &diff))
}

fn view(pr: &PullRequest, base: &ObjectId, diff: &Diff) -> DiffView {
    let patches = split(&diff.patch);
    let last = patches.len().saturating_sub(1);
    let files: Vec<FileView> = diff
        .files
        .iter()
        .enumerate()
        .map(|(index, file)| {
            let patch = patches.get(index).copied().unwrap_or_default();
            let cut = diff.patch_truncated && index >= last;
            file_view(file, patch, cut)
        })
        .collect();
    DiffView {
        base: base.to_string(),
        head: pr.head.clone(),
        base_branch: pr.base_branch.clone(),
        head_branch: pr.head_branch.clone(),
        additions: files.iter().map(|file| file.additions).sum(),
        deletions: files.iter().map(|file| file.deletions).sum(),
        truncated: diff.files_truncated || diff.patch_truncated,
        files,
    }
}

fn file_view(file: &FileChange, patch: &str, truncated: bool) -> FileView {
    let status = match file.status {
        ChangeStatus::Added => "added",
        ChangeStatus::Deleted => "deleted",
        ChangeStatus::Renamed | ChangeStatus::Copied => "renamed",
        ChangeStatus::Modified | ChangeStatus::TypeChanged | ChangeStatus::Unmerged => "modified",
    };
    FileView {
        path: file.path.clone(),
        old_path: file.old_path.clone(),
        status: status.into(),
        additions: file.additions,
        deletions: file.deletions,
        binary: file.binary,
        patch: patch.to_owned(),
        truncated,
    }
}

/// The text of each file: git lists files and their texts in the same order.
fn split(patch: &str) -> Vec<&str> {
    const START: &str = "diff --git ";
    let mut starts: Vec<usize> = patch.match_indices(START).map(|(at, _)| at).collect();
    // Only at the beginning of a line: the content of a line begins with a sign or a space.
    starts.retain(|&at| at == 0 || patch.as_bytes()[at - 1] == b'\n');
    let ends = starts.iter().skip(1).copied().chain(std::iter::once(patch.len()));
    starts.iter().zip(ends).map(|(&start, end)| &patch[start..end]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_is_split_at_its_files_and_nowhere_else() {
        let patch = "diff --git a/x b/x\n@@ -1 +1 @@\n-a\n+diff --git a/y b/y\ndiff --git a/z b/z\n+z\n";
        assert_eq!(
            split(patch),
            ["diff --git a/x b/x\n@@ -1 +1 @@\n-a\n+diff --git a/y b/y\n", "diff --git a/z b/z\n+z\n"]
        );
        assert!(split("").is_empty());
    }
}
