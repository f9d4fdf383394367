//! The git MCP server as a process of its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use syndarix_mcp_git::{DEFAULT_BRANCH_PREFIX, Git, GitTools, server};

/// Flags besides those of every server. Its name is an argument group of its own beside the kit's.
#[derive(Debug, Args)]
struct GitFlags {
    /// Directory that holds the bare repositories, <project>.git.
    #[arg(long, env = "SYNDARIX_MCP_REPOSITORIES")]
    repositories: PathBuf,
    /// Empty directory that git gets as its home; made if missing.
    #[arg(long, env = "SYNDARIX_MCP_GIT_HOME", value_parser = git_with_home)]
    git_home: Git,
    /// What the names of branches that agents make start with.
    #[arg(long, env = "SYNDARIX_MCP_BRANCH_PREFIX", default_value = DEFAULT_BRANCH_PREFIX)]
    branch_prefix: String,
}

fn git_with_home(path: &str) -> Result<Git, String> {
    Git::new(Path::new(path)).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    syndarix_mcp_kit::main_with("syndarix-mcp-git", |_, flags: GitFlags| {
        server(GitTools::new(flags.git_home, &flags.repositories, &flags.branch_prefix))
    })
}
