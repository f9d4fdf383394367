//! syndarix-git: the one way in which Syndarix runs the `git` program, and what it reads from it.
//!
//! Used by the forge (bare repositories, merges) and by the git MCP server (an agent's worktree). Both face
//! content written by strangers and by models, so the rules live here once:
//!
//! - no shell; a fixed, empty environment; no system or user configuration; hooks, fsmonitor, pagers, editors,
//!   credential helpers, external diffs and background maintenance are off ([`Git`]);
//! - a value never becomes a flag: names, revisions, ids and paths are types whose constructors refuse a leading
//!   `-`, and operands are written after `--end-of-options`, paths after `--` ([`Call`]);
//! - the repository directory is always named explicitly (`GIT_DIR`): a `.git` file or directory inside a worktree,
//!   which an agent's command can rewrite, is never read ([`Worktree`]);
//! - a repository whose configuration holds a key that could start a program is refused ([`Repository::open`]);
//! - every run has a time-out that kills the whole process group, and an output limit;
//! - whoever moves a ref holds the repository's [`FileLock`], and the `git` child inherits it: a child that outlives
//!   a killed server still holds the lock, so a `.lock` file met while holding it is stale and may be removed.

mod call;
mod commit;
mod diff;
mod error;
mod guard;
mod history;
mod ids;
mod linking;
mod lock;
mod merge;
mod message;
mod names;
mod objects;
mod paths;
mod redact;
mod refs;
mod repository;
mod runner;
mod source;
mod worktree;

pub use call::{Call, Input, Output, Place};
pub use commit::{NewCommit, NewFiles};
pub use diff::{ChangeStatus, Diff, DiffLimits, FileChange};
pub use error::GitError;
pub use history::{LogEntry, LogQuery, TrailerHit};
pub use ids::ObjectId;
pub use linking::CheckedOut;
pub use lock::FileLock;
pub use merge::MergeTree;
pub use message::{Identity, Key, Trailer, compose_message};
pub use names::{BranchName, Revision};
pub use objects::{EntryKind, FileContent, TreeEntry};
pub use paths::RepoPath;
pub use redact::redact_urls;
pub use refs::{Branch, Expected, RefUpdate};
pub use repository::Repository;
pub use runner::Git;
pub use source::RemoteSource;
pub use worktree::Worktree;
