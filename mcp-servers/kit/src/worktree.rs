//! The path jail: a run's worktree as a capability, not as a path.
//!
//! Invariants: nothing outside the worktree is ever opened, also while another process swaps
//! directories for symlinks; nothing inside `.git` is reachable, by whatever name a symlink gives it.
//! A path is checked as text, symlinks inside the worktree are resolved once, and the resolved path is
//! then opened component by component without following anything.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path, PathBuf},
};

use cap_fs_ext::{DirExt, FollowSymlinks, OpenOptionsFollowExt};
use cap_std::fs::{Dir, File, Metadata, OpenOptions};

use crate::failure::ToolFailure;

/// Longest path that is accepted, in bytes (the limit of Linux itself).
pub const MAX_PATH_BYTES: usize = 4096;
/// Deepest path that is accepted, in components: each is one open.
pub const MAX_PATH_DEPTH: usize = 64;

/// A relative path inside a worktree, checked as text: no `..`, no root, no NUL, no `.git`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelPath(PathBuf);

impl RelPath {
    /// Checks a caller's path. `.` and the empty string name the worktree itself.
    pub fn parse(text: &str) -> Result<Self, ToolFailure> {
        if text.contains('\0') {
            return Err(ToolFailure::invalid("The path holds a NUL byte; leave it out."));
        }
        if text.len() > MAX_PATH_BYTES {
            return Err(ToolFailure::invalid(format!("The path is longer than {MAX_PATH_BYTES} bytes.")));
        }
        let mut clean = PathBuf::new();
        let mut depth = 0;
        for component in Path::new(text).components() {
            match component {
                Component::Normal(name) => {
                    refuse_git(name)?;
                    clean.push(name);
                    depth += 1;
                }
                Component::CurDir => {}
                Component::ParentDir => {
                    return Err(ToolFailure::forbidden(
                        "The path holds `..`; name files from the top of the worktree, like src/main.rs.",
                    ));
                }
                Component::RootDir | Component::Prefix(_) => {
                    return Err(ToolFailure::forbidden(
                        "The path is absolute; name files from the top of the worktree, like src/main.rs.",
                    ));
                }
            }
        }
        if depth > MAX_PATH_DEPTH {
            return Err(ToolFailure::invalid(format!("The path is deeper than {MAX_PATH_DEPTH} levels.")));
        }
        Ok(Self(clean))
    }

    /// The path, relative, without `.` and `..`.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The directory that holds the entry; none for the worktree itself.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.parent().map(|parent| Self(parent.to_owned()))
    }

    /// Whether it names the worktree itself.
    pub fn is_root(&self) -> bool {
        self.0.as_os_str().is_empty()
    }
}

impl std::fmt::Display for RelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_root() { f.write_str(".") } else { self.0.display().fmt(f) }
    }
}

/// Refuses every spelling of `.git` that some file system takes for it.
fn refuse_git(name: &OsStr) -> Result<(), ToolFailure> {
    if is_git_name(name) {
        return Err(ToolFailure::forbidden(
            "`.git` is out of reach of this tool; use the git tools instead.",
        ));
    }
    Ok(())
}

/// Whether a file name is `.git` to git or to a case-folding or short-name file system.
pub fn is_git_name(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    let visible: String = text.chars().filter(|c| !is_ignorable(*c)).collect();
    let folded = visible.trim_end_matches(['.', ' ']).to_lowercase();
    folded == ".git" || folded == "git~1" || folded.starts_with(".git::")
}

/// The characters HFS+ leaves out of a comparison.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}

/// A place in the worktree: an open directory and a name in it. Nothing about it can be redirected.
#[derive(Debug)]
pub struct Place {
    /// The directory that holds the entry.
    pub parent: Dir,
    /// The entry's own name; it may be missing, or be a symlink that nothing here follows.
    pub name: OsString,
    /// The path from the top of the worktree, symlinks resolved.
    pub path: PathBuf,
}

/// A run's worktree.
#[derive(Debug)]
pub struct Worktree {
    dir: Dir,
    path: PathBuf,
}

impl Worktree {
    pub(crate) fn new(dir: Dir, path: PathBuf) -> Self {
        Self { dir, path }
    }

    /// The open directory. Prefer [`Worktree::place`]: this handle keeps a path inside the worktree but
    /// lets it reach `.git`.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Where the worktree is, for what cannot work with a handle (libgit2, a child's working directory).
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds a place for reading or writing: symlinks on the way are followed within the worktree, and
    /// the entry itself too when `follow`.
    pub fn place(&self, path: &RelPath, follow: bool) -> Result<Place, ToolFailure> {
        if path.is_root() {
            return Err(ToolFailure::invalid("The path names the worktree itself; name something in it."));
        }
        let resolved = self.resolve(path, follow)?;
        let (Some(parent), Some(name)) = (resolved.parent(), resolved.file_name()) else {
            return Err(ToolFailure::invalid("The path names the worktree itself; name something in it."));
        };
        let parent = self.walk(parent).map_err(|e| path_failure(&e, path))?;
        Ok(Place { parent, name: name.to_owned(), path: resolved.clone() })
    }

    /// Opens a directory.
    pub fn open_dir(&self, path: &RelPath) -> Result<Dir, ToolFailure> {
        let resolved = self.resolve(path, true)?;
        self.walk(&resolved).map_err(|e| path_failure(&e, path))
    }

    /// Opens an existing file for reading; refuses what is not a regular file.
    pub fn open_file(&self, path: &RelPath) -> Result<(File, Metadata), ToolFailure> {
        let place = self.place(path, true)?;
        let file = open_nofollow(&place.parent, &place.name).map_err(|e| path_failure(&e, path))?;
        let metadata = file.metadata().map_err(|e| path_failure(&e, path))?;
        if metadata.is_dir() {
            return Err(ToolFailure::invalid(format!("`{path}` is a directory; name a file in it.")));
        }
        if !metadata.is_file() {
            return Err(ToolFailure::invalid(format!("`{path}` is not a regular file.")));
        }
        Ok((file, metadata))
    }

    /// Creates a directory and those above it.
    pub fn create_dirs(&self, path: &RelPath) -> Result<(), ToolFailure> {
        let mut dir = self.dir.try_clone().map_err(|e| path_failure(&e, path))?;
        let resolved = self.resolve(path, true)?;
        for name in &resolved {
            match dir.create_dir(name) {
                Ok(()) => {}
                Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => {}
                Err(fault) => return Err(path_failure(&fault, path)),
            }
            dir = dir.open_dir_nofollow(name).map_err(|e| path_failure(&e, path))?;
        }
        Ok(())
    }

    /// The path with the symlinks of its longest existing part resolved; refuses one that ends in
    /// `.git` or outside.
    fn resolve(&self, path: &RelPath, follow: bool) -> Result<PathBuf, ToolFailure> {
        let mut rest: Vec<&OsStr> = Vec::new();
        let mut head = path.as_path();
        if !follow && let (Some(parent), Some(name)) = (head.parent(), head.file_name()) {
            rest.push(name);
            head = parent;
        }
        let mut resolved = loop {
            if head.as_os_str().is_empty() {
                break PathBuf::new();
            }
            match self.dir.canonicalize(head) {
                Ok(found) => break found,
                Err(fault) if fault.kind() == io::ErrorKind::NotFound && !self.is_link(head) => {
                    rest.extend(head.file_name());
                    head = head.parent().unwrap_or(Path::new(""));
                }
                Err(fault) => return Err(path_failure(&fault, path)),
            }
        };
        for name in &resolved {
            refuse_git(name)?;
        }
        resolved.extend(rest.iter().rev());
        Ok(resolved)
    }

    /// A symlink to nothing must not be taken for a free name: writing would go where it points.
    fn is_link(&self, path: &Path) -> bool {
        self.dir.symlink_metadata(path).is_ok_and(|m| m.is_symlink())
    }

    fn walk(&self, path: &Path) -> io::Result<Dir> {
        let mut dir = self.dir.try_clone()?;
        for name in path {
            dir = dir.open_dir_nofollow(name)?;
        }
        Ok(dir)
    }
}

/// "Too many symbolic links": what opening a symlink without following it answers.
const ELOOP: i32 = if cfg!(target_os = "linux") { 40 } else { 62 };
/// Do not wait when opening.
const O_NONBLOCK: i32 = if cfg!(target_os = "linux") { 0o4000 } else { 0x4 };

/// Opens an entry for reading: follows no symlink, and never waits for the writer of a FIFO.
pub fn open_nofollow(dir: &Dir, name: impl AsRef<Path>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).follow(FollowSymlinks::No);
    #[cfg(unix)]
    {
        use cap_std::fs::OpenOptionsExt as _;
        options.custom_flags(O_NONBLOCK);
    }
    dir.open_with(name, &options)
}

/// An I/O error on a caller's path as a sentence.
pub fn path_failure(fault: &io::Error, path: &RelPath) -> ToolFailure {
    use io::ErrorKind as K;
    match fault.kind() {
        K::NotFound => {
            ToolFailure::not_found(format!("`{path}` does not exist; list its directory to see what does."))
        }
        K::NotADirectory => {
            ToolFailure::invalid(format!("`{path}` goes through something that is not a directory."))
        }
        K::IsADirectory => ToolFailure::invalid(format!("`{path}` is a directory.")),
        K::AlreadyExists => ToolFailure::conflict(format!("`{path}` exists already.")),
        K::DirectoryNotEmpty => ToolFailure::conflict(format!("`{path}` is a directory that is not empty.")),
        K::PermissionDenied => {
            ToolFailure::forbidden(format!("`{path}` leads outside the worktree or may not be opened."))
        }
        _ if fault.raw_os_error() == Some(ELOOP) => {
            ToolFailure::invalid(format!("`{path}` goes through a symlink that cannot be followed."))
        }
        K::InvalidFilename | K::InvalidInput => {
            ToolFailure::invalid(format!("`{path}` is not a usable path."))
        }
        K::StorageFull | K::QuotaExceeded => ToolFailure::unavailable("The disk is full."),
        _ => ToolFailure::internal(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_cleaned_or_refused_as_text() {
        for (text, clean) in
            [("a/./b", "a/b"), ("a//b/", "a/b"), (".", "."), ("", "."), ("./", "."), ("...", "...")]
        {
            assert_eq!(RelPath::parse(text).unwrap().to_string(), clean);
        }
        let long = "a/".repeat(MAX_PATH_DEPTH + 1);
        for text in
            ["..", "a/..", "/", "/a", "a\0", ".git", "a/.Git/b", ".git.", ".g\u{200c}it", "GIT~1", &long]
        {
            assert!(RelPath::parse(text).is_err(), "{text:?}");
        }
        for text in [".github/x", ".gitignore", "git", "x.git"] {
            assert!(RelPath::parse(text).is_ok(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_path_is_relative_and_goes_only_down(text in "[a./\\\\~\\x00G-Zgit]{0,40}") {
            if let Ok(path) = RelPath::parse(&text) {
                prop_assert!(path.as_path().components().all(|c| matches!(c, Component::Normal(n) if !is_git_name(n))));
            }
        }
    }
}
