//! The `git` MCP server: a run's own worktree, its branch, and the project's pull requests.
//!
//! The worktrees of the local forge are linked to the project's bare repository: what is committed is there at once.
//! So there is no push, fetch or clone, and nothing here speaks to a network but the backend's REST API.
//!
//! git runs as a program, not in process, through [`syndarix_git`]. That is safe although the worktree is full of what
//! models wrote, because nothing in a worktree can make git start a program: filters, text converters and merge
//! drivers need a configuration besides `.gitattributes`, and the only one read is that of the bare repository, which
//! agents cannot write and which is checked all the same; hooks and fsmonitor are off; the worktree's `.git` is never
//! read (the administrative directory is named to git, see [`syndarix_git::Worktree`]); submodules and nested
//! repositories, in which git would start itself with *their* configuration, are ignored by every command and refused
//! by `commit`.
//!
//! Invariants:
//! - a step commits once: the commit carries the step's id, and a repeated step finds it;
//! - a run makes and moves one branch, which its token names: never the default branch, nor another story's;
//! - a commit either happens whole or leaves index and branch as they were.

mod blame;
mod branches;
mod commit;
mod diff;
mod history;
mod merging;
mod pull_requests;
mod read;
mod stage;
mod state;
mod status;

use std::time::Duration;

pub use syndarix_git::Git;
use syndarix_mcp_kit::{ToolServer, ToolSpec};

pub use crate::state::{DEFAULT_BRANCH_PREFIX, GitTools};

/// The server's name: its audience is `mcp:git`, its capabilities `git:read` and `git:write`.
pub const NAME: &str = "git";

/// For tools that read or write all files of a worktree.
const SLOW: Duration = Duration::from_secs(120);

// What is said here once need not be said in the schema of every tool, whose list has a budget of bytes.
const INSTRUCTIONS: &str = "The git worktree of this run. Work on the branch that \
    your task names (create_branch makes it; other branches are only looked at), commit with a subject and a body that says why, then open a pull request that says what changed, \
    why, and how it was tested; people or reviewers decide about merging. Commits need no push. A revision is a branch, \
    a commit id or a form like HEAD~2, and HEAD when left out; paths are relative to the top of the worktree. To go \
    on in a cut answer, call again with its next_offset as offset.";

/// The server with all its tools.
pub fn server(state: GitTools) -> ToolServer<GitTools> {
    with_pull_requests(with_changes(with_looks(ToolServer::new(NAME, INSTRUCTIONS, state))))
}

fn with_looks(server: ToolServer<GitTools>) -> ToolServer<GitTools> {
    server
        .tool(ToolSpec::read("status", "Branch and changed files.").timeout(SLOW), status::status)
        .tool(ToolSpec::read("diff", "The worktree's changes, new files too.").timeout(SLOW), diff::diff)
        .tool(ToolSpec::read("log", "Commits, newest first."), history::log)
        .tool(ToolSpec::read("show", "A commit and its diff."), history::show)
        .tool(ToolSpec::read("read_file", "A file at a revision."), read::read_file)
        .tool(ToolSpec::read("blame", "Who wrote which lines."), blame::blame)
        .tool(ToolSpec::read("list_branches", "The branches."), branches::list_branches)
        .tool(ToolSpec::read("merge_preview", "Whether a branch merges cleanly."), merging::merge_preview)
}

fn with_changes(server: ToolServer<GitTools>) -> ToolServer<GitTools> {
    server
        .tool(
            ToolSpec::write("create_branch", "Make a branch and switch to it.").idempotent(),
            branches::create_branch,
        )
        .tool(
            ToolSpec::write("checkout", "Switch to a branch or revision.").idempotent().timeout(SLOW),
            branches::checkout,
        )
        .tool(
            ToolSpec::write("commit", "Commit all changes, or only paths; also ends a merge.")
                .idempotent()
                .timeout(SLOW),
            commit::commit,
        )
        .traced("commit", commit::trace_commit)
        .tool(
            ToolSpec::write(
                "update_branch",
                "Merge the default branch in. Conflicts: edit the files, then commit; or abort.",
            )
            .idempotent()
            .timeout(SLOW),
            merging::update_branch,
        )
}

fn with_pull_requests(server: ToolServer<GitTools>) -> ToolServer<GitTools> {
    server
        .tool(
            ToolSpec::write("create_pull_request", "Submit the current branch.").idempotent(),
            pull_requests::create_pull_request,
        )
        .traced("create_pull_request", pull_requests::trace_pull_request)
        .tool(ToolSpec::read("list_pull_requests", "Pull requests."), pull_requests::list_pull_requests)
        .tool(
            ToolSpec::read("get_pull_request", "A pull request with its reviews."),
            pull_requests::get_pull_request,
        )
        .tool(
            ToolSpec::write("comment_on_pull_request", "Add a comment.").idempotent(),
            pull_requests::comment_on_pull_request,
        )
}
