//! What becomes of interrupted calls is in the documentation, as the tools' own definitions say it.

use std::{collections::BTreeMap, fmt::Write as _};
use syndarix_forge::Git;
use syndarix_mcp_ci::{Ci, CiConfig};
use syndarix_mcp_git::{DEFAULT_BRANCH_PREFIX, GitTools};

const DOCUMENT: &str = include_str!("../../../../docs/TOOLS.md");

#[tokio::test]
async fn the_class_of_every_tool_is_documented_as_it_is_published() {
    let dir = tempfile::tempdir().unwrap();
    let git = GitTools::new(Git::new(dir.path()).unwrap(), dir.path(), DEFAULT_BRANCH_PREFIX);
    let ci = tokio::task::spawn_blocking(|| Ci::probe(CiConfig::default())).await.unwrap();
    let servers: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::from([
        (syndarix_mcp_ci::NAME, syndarix_mcp_ci::server(ci).recoveries()),
        (syndarix_mcp_files::NAME, syndarix_mcp_files::server().recoveries()),
        (syndarix_mcp_git::NAME, syndarix_mcp_git::server(git).recoveries()),
        (syndarix_mcp_gateway::NAME, syndarix_mcp_gateway::server().recoveries()),
        (syndarix_mcp_issues::NAME, syndarix_mcp_issues::server().recoveries()),
        (syndarix_mcp_knowledge::NAME, syndarix_mcp_knowledge::server().recoveries()),
    ]);
    let mut table = String::new();
    for (server, tools) in servers {
        for (tool, class) in tools {
            writeln!(table, "| {server} | `{tool}` | {class} |").unwrap();
        }
    }
    assert!(DOCUMENT.ends_with(&table), "docs/TOOLS.md must end with:\n{table}");
}
