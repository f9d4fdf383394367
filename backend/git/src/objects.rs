//! Trees and file contents at a commit.

use serde::Serialize;

use crate::{GitError, Input, ObjectId, RepoPath, Repository};

/// Most bytes read of a file list: some 400,000 paths.
const MAX_TREE_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of all files read in one run.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

/// What a tree entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// A file.
    File,
    /// A file with the executable bit.
    Executable,
    /// A symbolic link; its content is the target.
    Link,
    /// A commit of another repository.
    Submodule,
    /// A directory (only in lists that do not go down into directories).
    Directory,
}

/// One entry of a commit's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TreeEntry {
    /// The path from the repository's root.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its content's id: equal ids, equal content.
    pub id: ObjectId,
    /// Size in bytes; 0 for submodules and directories.
    pub size: u64,
}

/// A file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// The content's id.
    pub id: ObjectId,
    /// The content, whole or cut.
    pub bytes: Vec<u8>,
    /// Whether `bytes` was cut at the limit.
    pub truncated: bool,
}

impl Repository {
    /// All files of a commit.
    pub async fn tree(&self, commit: &ObjectId) -> Result<Vec<TreeEntry>, GitError> {
        let call = self
            .call("ls-tree")
            .flags(&["-r", "-z", "-l", "--full-tree"])
            .max_output(MAX_TREE_BYTES)
            .operand(commit.as_str());
        let output = self.git.run(call).await?;
        output.fields().map(|entry| parse_entry(&entry)).collect()
    }

    /// The content of a file at a commit, at most `max_bytes` of it.
    pub async fn file(
        &self,
        commit: &ObjectId,
        path: &RepoPath,
        max_bytes: usize,
    ) -> Result<FileContent, GitError> {
        let not_there = || GitError::NotFound(format!("the file {path} at commit {commit}"));
        let id = self.rev_parse(&format!("{commit}:{path}")).await?.ok_or_else(not_there)?;
        let call = self
            .call("cat-file")
            .flags(&["blob"])
            .cut_output_at(max_bytes)
            .accept(&[0, 128])
            .operand(id.as_str());
        let output = self.git.run(call).await?;
        if output.code == 0 {
            Ok(FileContent { id, bytes: output.stdout, truncated: output.truncated })
        } else {
            Err(GitError::Invalid(format!("{path} is a directory or a submodule, not a file")))
        }
    }

    /// The tree without entries, to compare a first commit with.
    pub async fn empty_tree(&self) -> Result<ObjectId, GitError> {
        ObjectId::new(self.git.run(self.call("mktree")).await?.text().trim())
    }

    /// The contents of several files by their ids, in the order asked; together at most 64 MiB.
    pub async fn blobs(&self, ids: &[ObjectId]) -> Result<Vec<Vec<u8>>, GitError> {
        let asked: String = ids.iter().flat_map(|id| [id.as_str(), "\n"]).collect();
        let call = self
            .call("cat-file")
            .flags(&["--batch"])
            .max_output(MAX_BATCH_BYTES + ids.len() * 100)
            .input(Input::Bytes(asked.into_bytes()));
        let output = self.git.run(call).await?;
        parse_batch(&output.stdout, ids.len())
    }
}

/// `<mode> <type> <id> <size>\t<path>`; the size is padded, and `-` for what has none.
fn parse_entry(entry: &str) -> Result<TreeEntry, GitError> {
    let bad = || GitError::unexpected("ls-tree", "an entry cannot be read");
    let (head, path) = entry.split_once('\t').ok_or_else(bad)?;
    let words: Vec<&str> = head.split_whitespace().collect();
    let [mode, kind, id, size] = words[..] else { return Err(bad()) };
    let kind = match (kind, mode) {
        ("blob", "120000") => EntryKind::Link,
        ("blob", "100755") => EntryKind::Executable,
        ("blob", _) => EntryKind::File,
        ("commit", _) => EntryKind::Submodule,
        ("tree", _) => EntryKind::Directory,
        _ => return Err(bad()),
    };
    Ok(TreeEntry { path: path.to_owned(), kind, id: ObjectId::new(id)?, size: size.parse().unwrap_or(0) })
}

/// For every object: `<id> <type> <size>\n<content>\n`, or `<id> missing\n`.
fn parse_batch(mut rest: &[u8], count: usize) -> Result<Vec<Vec<u8>>, GitError> {
    let bad = || GitError::unexpected("cat-file", "the batch cannot be read");
    let mut contents = Vec::with_capacity(count);
    for _ in 0..count {
        let end = rest.iter().position(|b| *b == b'\n').ok_or_else(bad)?;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 1..];
        let size: usize = match head.split(' ').collect::<Vec<_>>()[..] {
            [_, "blob", size] => size.parse().map_err(|_| bad())?,
            _ => return Err(GitError::NotFound(format!("the file content {head}"))),
        };
        if rest.len() <= size {
            return Err(bad());
        }
        contents.push(rest[..size].to_vec());
        rest = &rest[size + 1..];
    }
    Ok(contents)
}
