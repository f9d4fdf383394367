//! The `filesystem` MCP server: files of a run's own git worktree.
//!
//! Invariants: every open goes through the kit's path jail, so nothing outside the worktree and nothing
//! in a `.git` is read or written; a file is replaced whole or not at all; with `expected_hash` nothing
//! is lost that somebody else wrote in between; every answer is bounded and says how to go on.

mod edit;
mod list;
mod locks;
mod manage;
mod read;
mod search;
mod text;
mod trace;
mod tree;
mod walk;
mod write;

use syndarix_mcp_kit::{ToolServer, ToolSpec};

use crate::locks::Locks;

/// The server's name: its audience is `mcp:filesystem`, its capabilities `filesystem:read` and `:write`.
pub const NAME: &str = "filesystem";

const INSTRUCTIONS: &str = "Files of this run's git worktree. Paths are relative to its top. Read before you edit; \
    give the hash you have seen as expected_hash, so that no other change is lost. `.git` is out of reach.";

/// The server with all its tools.
pub fn server() -> ToolServer<Locks> {
    ToolServer::new(NAME, INSTRUCTIONS, Locks::default())
        .tool_with_output(
            ToolSpec::read("read_file", "Read a text file, or a range of its lines, with its hash."),
            read::read_file,
        )
        .tool_with_output(
            ToolSpec::write("write_file", "Create or replace a whole file; makes directories as needed.")
                .destructive()
                .idempotent(),
            write::write_file,
        )
        .traced("write_file", trace::trace_write)
        .tool_with_output(
            ToolSpec::write("edit_file", "Replace exact text. old_text must occur once, unless replace_all.")
                .destructive(),
            edit::edit_file,
        )
        .traced("edit_file", trace::trace_edit)
        .tool_with_output(ToolSpec::read("list_directory", "List a directory."), list::list_directory)
        .tool_with_output(
            ToolSpec::read("tree", "The files under a directory as a tree, without what git ignores."),
            tree::tree,
        )
        .tool_with_output(
            ToolSpec::read("search_files", "Find lines by regular expression, not in what git ignores."),
            search::search_files,
        )
        .tool_with_output(
            ToolSpec::write("move_path", "Move or rename a path.").destructive(),
            manage::move_path,
        )
        .traced("move_path", trace::trace_move)
        .tool_with_output(
            ToolSpec::write("delete_path", "Delete a file, or a directory with recursive.").destructive(),
            manage::delete_path,
        )
        .traced("delete_path", trace::trace_delete)
        .tool_with_output(ToolSpec::read("stat", "Kind, size, time and hash of a path."), manage::stat)
}
