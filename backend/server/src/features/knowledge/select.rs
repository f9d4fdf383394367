//! Which files of a repository are worth indexing.

use syndarix_forge::{EntryKind, TreeEntry};

/// Files of one project that are indexed, at most; the first ones by path.
pub(super) const MAX_FILES: usize = 20_000;
/// Largest file that is indexed, in bytes: larger ones are data or generated.
pub(super) const MAX_FILE: u64 = 512 * 1024;

/// Directories of other people's code and of what tools make.
const SKIPPED_DIRS: &[&str] =
    &["node_modules", "vendor", "third_party", "dist", "target", "__pycache__", ".venv", ".idea"];
/// Files that tools write, full of names that drown what people wrote.
const SKIPPED_FILES: &[&str] = &[
    "cargo.lock",
    "package-lock.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "pipfile.lock",
    "composer.lock",
    "gemfile.lock",
    "go.sum",
];
/// Endings of what holds no text, or none that a person wrote.
const SKIPPED_ENDINGS: &[&str] = &[
    ".min.js",
    ".min.css",
    ".map",
    ".svg",
    ".png",
    ".jpg",
    ".jpeg",
    ".gif",
    ".webp",
    ".ico",
    ".pdf",
    ".zip",
    ".gz",
    ".tar",
    ".xz",
    ".zst",
    ".7z",
    ".jar",
    ".wasm",
    ".so",
    ".dll",
    ".dylib",
    ".exe",
    ".o",
    ".a",
    ".class",
    ".pyc",
    ".woff",
    ".woff2",
    ".ttf",
    ".otf",
    ".eot",
    ".mp3",
    ".mp4",
    ".webm",
    ".mov",
    ".wav",
    ".sqlite",
    ".db",
    ".bin",
    ".parquet",
    ".onnx",
    ".safetensors",
];

/// What a tree offers to the index.
#[derive(Debug)]
pub(super) struct Selection {
    /// The files, by path.
    pub(super) files: Vec<TreeEntry>,
    /// Files that were left out because there are too many.
    pub(super) left_out: usize,
}

/// Chooses from a commit's tree.
pub(super) fn select(tree: Vec<TreeEntry>) -> Selection {
    let mut files: Vec<TreeEntry> = tree.into_iter().filter(is_wanted).collect();
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let left_out = files.len().saturating_sub(MAX_FILES);
    files.truncate(MAX_FILES);
    Selection { files, left_out }
}

fn is_wanted(entry: &TreeEntry) -> bool {
    let path = entry.path.to_lowercase();
    let (dirs, file) = path.rsplit_once('/').unwrap_or(("", &path));
    matches!(entry.kind, EntryKind::File | EntryKind::Executable)
        && entry.size > 0
        && !entry.path.contains('\0')
        && !dirs.split('/').any(|dir| SKIPPED_DIRS.contains(&dir))
        && !SKIPPED_FILES.contains(&file)
        && !SKIPPED_ENDINGS.iter().any(|ending| file.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;
    use syndarix_forge::ObjectId;

    fn entry(path: &str, kind: EntryKind, size: u64) -> TreeEntry {
        TreeEntry { path: path.into(), kind, id: ObjectId::new("a".repeat(40)).unwrap(), size }
    }

    #[test]
    fn files_that_people_write_are_chosen_and_sorted() {
        let tree = vec![
            entry("src/vendor.rs", EntryKind::File, 9),
            entry("README.md", EntryKind::File, 9),
            entry("run.sh", EntryKind::Executable, 9),
            entry("Cargo.lock", EntryKind::File, 9),
            entry("web/node_modules/a/index.js", EntryKind::File, 9),
            entry("web/app.min.js", EntryKind::File, 9),
            entry("logo.PNG", EntryKind::File, 9),
            entry("empty.rs", EntryKind::File, 0),
            entry("link", EntryKind::Link, 9),
            entry("module", EntryKind::Submodule, 0),
        ];
        let selection = select(tree);
        let paths: Vec<&str> = selection.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["README.md", "run.sh", "src/vendor.rs"]);
        assert_eq!(selection.left_out, 0);
    }

    #[test]
    fn too_many_files_are_counted_not_indexed() {
        let tree = (0..MAX_FILES + 3).map(|n| entry(&format!("{n}.rs"), EntryKind::File, 1)).collect();
        let selection = select(tree);
        assert_eq!((selection.files.len(), selection.left_out), (MAX_FILES, 3));
    }
}
