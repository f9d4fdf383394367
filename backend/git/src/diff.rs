//! Differences between two commits: the files with their counts, and the unified text, both bounded.

use std::collections::HashMap;

use serde::Serialize;

use crate::{Call, GitError, ObjectId, RepoPath, Repository};

/// Most bytes read of the list of files; a list that is longer is cut.
const MAX_LIST_BYTES: usize = 4 * 1024 * 1024;
/// Files above which git looks for exact renames only: the search for similar ones is quadratic.
const RENAME_LIMIT: u32 = 400;

/// Bounds of a diff.
#[derive(Debug, Clone, Copy)]
pub struct DiffLimits {
    /// Most bytes of unified text.
    pub max_patch_bytes: usize,
    /// Most files listed.
    pub max_files: usize,
    /// Unchanged lines around a change.
    pub context_lines: u32,
}

impl Default for DiffLimits {
    fn default() -> Self {
        Self { max_patch_bytes: 512 * 1024, max_files: 2000, context_lines: 3 }
    }
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeStatus {
    /// New file.
    Added,
    /// Content or mode changed.
    Modified,
    /// Removed.
    Deleted,
    /// Moved, perhaps with changes.
    Renamed,
    /// Copied, perhaps with changes.
    Copied,
    /// A file became a link or a submodule, or the other way round.
    TypeChanged,
    /// Left unmerged by a conflict.
    Unmerged,
}

/// One changed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    /// The path after the change (before it, for a deleted file).
    pub path: String,
    /// The path before the change, when it was renamed or copied.
    pub old_path: Option<String>,
    /// What happened.
    pub status: ChangeStatus,
    /// Lines added; 0 for a binary file.
    pub additions: u64,
    /// Lines removed; 0 for a binary file.
    pub deletions: u64,
    /// Whether git takes it for binary.
    pub binary: bool,
    /// The file mode after the change, in octal as git writes it (`000000` when deleted).
    pub mode: String,
}

/// The difference between two commits, or between a commit and a worktree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// The changed files.
    pub files: Vec<FileChange>,
    /// Whether files were left out.
    pub files_truncated: bool,
    /// The unified text.
    pub patch: String,
    /// Whether the unified text was cut (at the end of a line).
    pub patch_truncated: bool,
}

impl Repository {
    /// What `head` changed since it left `base`: the diff from their merge base to `head`.
    pub async fn diff_since_merge_base(
        &self,
        base: &ObjectId,
        head: &ObjectId,
        limits: &DiffLimits,
    ) -> Result<Diff, GitError> {
        let start = self.merge_base(base, head).await?.ok_or(GitError::UnrelatedHistories)?;
        self.diff(&start, Some(head), limits, &[]).await
    }

    /// The diff from `old` to `new`; without `new`, to the files of the worktree.
    pub async fn diff(
        &self,
        old: &ObjectId,
        new: Option<&ObjectId>,
        limits: &DiffLimits,
        paths: &[RepoPath],
    ) -> Result<Diff, GitError> {
        let (mut files, list_cut) = self.changed_files(old, new, paths).await?;
        let call = self
            .diff_call(old, new, paths)
            .flags(&["--patch", "--no-prefix", "--src-prefix=a/", "--dst-prefix=b/"])
            .flag_with("--unified=", limits.context_lines)
            .cut_output_at(limits.max_patch_bytes);
        let output = self.git.run(call).await?;
        let mut patch = output.text();
        if output.truncated {
            patch.truncate(patch.rfind('\n').map_or(0, |end| end + 1));
        }
        let files_truncated = list_cut || files.len() > limits.max_files;
        files.truncate(limits.max_files);
        Ok(Diff { files, files_truncated, patch, patch_truncated: output.truncated })
    }

    /// The changed files without the text; true when the list was cut.
    pub async fn changed_files(
        &self,
        old: &ObjectId,
        new: Option<&ObjectId>,
        paths: &[RepoPath],
    ) -> Result<(Vec<FileChange>, bool), GitError> {
        let call = self
            .diff_call(old, new, paths)
            .flags(&["--raw", "--numstat", "-z"])
            .cut_output_at(MAX_LIST_BYTES);
        let output = self.git.run(call).await?;
        let files = parse_changes(output.fields(), output.truncated)?;
        Ok((files, output.truncated))
    }

    fn diff_call(&self, old: &ObjectId, new: Option<&ObjectId>, paths: &[RepoPath]) -> Call {
        let call = self
            .call("diff")
            .flags(&[
                "--no-color",
                "--no-ext-diff",
                "--no-textconv",
                "--ignore-submodules=all",
                "--find-renames",
                "--full-index",
            ])
            .flag_with("-l", RENAME_LIMIT)
            .operand(old.as_str());
        let call = if let Some(new) = new { call.operand(new.as_str()) } else { call };
        call.paths(paths)
    }
}

/// Parses the fields of `--raw --numstat -z`: first all raw entries, then all counts. When the output was cut, an
/// incomplete last entry is dropped and missing counts are 0.
pub(crate) fn parse_changes(
    fields: impl Iterator<Item = String>,
    cut: bool,
) -> Result<Vec<FileChange>, GitError> {
    let bad = || GitError::unexpected("diff", "the list of changed files cannot be read");
    let mut fields = fields.peekable();
    let mut files: Vec<FileChange> = Vec::new();
    let mut place = HashMap::new();
    while let Some(head) = fields.next_if(|f| f.starts_with(':')) {
        match parse_raw(&head, &mut fields) {
            Some(file) => {
                place.insert(file.path.clone(), files.len());
                files.push(file);
            }
            None if cut => return Ok(files),
            None => return Err(bad()),
        }
    }
    while let Some(counts) = fields.next() {
        let Some((path, counts)) = parse_counts(&counts, &mut fields) else {
            if cut {
                break;
            }
            return Err(bad());
        };
        if let Some(file) = place.get(&path).and_then(|at| files.get_mut(*at)) {
            file.binary = counts.is_none();
            (file.additions, file.deletions) = counts.unwrap_or_default();
        }
    }
    Ok(files)
}

/// `:<old mode> <new mode> <old id> <new id> <status>` and one or two paths.
fn parse_raw(head: &str, fields: &mut impl Iterator<Item = String>) -> Option<FileChange> {
    let mut words = head.split(' ').skip(1);
    let mode = words.next()?.to_owned();
    let status = match words.nth(2)?.chars().next()? {
        'A' => ChangeStatus::Added,
        'D' => ChangeStatus::Deleted,
        'R' => ChangeStatus::Renamed,
        'C' => ChangeStatus::Copied,
        'T' => ChangeStatus::TypeChanged,
        'U' => ChangeStatus::Unmerged,
        _ => ChangeStatus::Modified,
    };
    let first = fields.next()?;
    let moved = matches!(status, ChangeStatus::Renamed | ChangeStatus::Copied);
    let (path, old_path) = if moved { (fields.next()?, Some(first)) } else { (first, None) };
    Some(FileChange { path, old_path, status, additions: 0, deletions: 0, binary: false, mode })
}

/// `<added>\t<removed>\t<path>`, or with an empty path and the two paths after it; `None` counts are of a binary file.
fn parse_counts(
    line: &str,
    fields: &mut impl Iterator<Item = String>,
) -> Option<(String, Option<(u64, u64)>)> {
    let mut parts = line.splitn(3, '\t');
    let (added, removed, path) = (parts.next()?, parts.next()?, parts.next()?);
    let path = if path.is_empty() { fields.nth(1)? } else { path.to_owned() };
    let counts = added.parse().ok().zip(removed.parse().ok());
    if counts.is_none() && (added, removed) != ("-", "-") {
        return None;
    }
    Some((path, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[&str] = &[
        ":100644 100644 a b M",
        "src/a b.rs",
        ":100644 100644 a b R090",
        "old.txt",
        "new.txt",
        ":000000 100644 0 b A",
        "logo.png",
        "3\t1\tsrc/a b.rs",
        "2\t2\t",
        "old.txt",
        "new.txt",
        "-\t-\tlogo.png",
    ];

    #[test]
    fn counts_meet_their_files_also_when_renamed_or_binary() {
        let files = parse_changes(LIST.iter().map(ToString::to_string), false).unwrap();
        assert_eq!(files.len(), 3);
        assert_eq!((files[0].additions, files[0].deletions), (3, 1));
        assert_eq!(files[1].old_path.as_deref(), Some("old.txt"));
        assert_eq!((files[1].status, files[1].additions), (ChangeStatus::Renamed, 2));
        assert!(files[2].binary);
    }

    #[test]
    fn a_list_cut_at_any_place_is_read_as_far_as_it_goes() {
        for end in 0..LIST.len() {
            let files = parse_changes(LIST[..end].iter().map(ToString::to_string), true).unwrap();
            assert!(files.len() <= 3);
        }
    }
}
