//! `blame`: which commit wrote which lines.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_git::{Call, ObjectId, RepoPath};
use syndarix_mcp_kit::{ProjectCtx, ToolFailure};

use crate::state::{GitTools, commit_of, date, failure, refusal};

/// Lines in one answer unless asked otherwise, and at most.
const DEFAULT_LINES: u32 = 200;
const MAX_LINES: u32 = 500;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlameArguments {
    path: String,
    revision: Option<String>,
    #[schemars(with = "Option<i64>")]
    start_line: Option<u32>,
    #[schemars(with = "Option<i64>")]
    end_line: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Blame {
    blocks: Vec<Block>,
}

/// Neighbouring lines of one commit.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Block {
    commit: String,
    author: String,
    date: String,
    summary: String,
    start_line: u32,
    text: String,
}

pub(crate) async fn blame(
    tools: GitTools,
    ctx: ProjectCtx,
    args: BlameArguments,
) -> Result<Blame, ToolFailure> {
    let worktree = tools.worktree(&ctx)?;
    let path = RepoPath::new(args.path).map_err(failure)?;
    let commit = commit_of(&worktree, args.revision.as_deref()).await?;
    let start = args.start_line.unwrap_or(1).max(1);
    let end = args.end_line.unwrap_or_else(|| start.saturating_add(DEFAULT_LINES - 1));
    if end < start {
        return Err(ToolFailure::invalid("end_line is before start_line."));
    }
    if end - start >= MAX_LINES {
        return Err(ToolFailure::too_large(format!("Ask for at most {MAX_LINES} lines at once.")));
    }
    let call = Call::new("blame", worktree.place())
        .flags(&["--porcelain"])
        .flag_with("-L", format_args!("{start},{end}"))
        .operand(commit.as_str())
        .without_end_of_options()
        .paths([&path]);
    let output = worktree.run(call).await.map_err(|error| refusal(error, &worktree))?;
    Ok(Blame { blocks: parse(&output.text()) })
}

#[derive(Default, Clone)]
struct About {
    author: String,
    at: i64,
    summary: String,
}

/// Reads `--porcelain`: a head line `<commit> <old line> <line> [count]`, facts on a commit where it is met first, and
/// the line itself after a tab.
fn parse(text: &str) -> Vec<Block> {
    let mut known: HashMap<String, About> = HashMap::new();
    let mut lines: Vec<(String, u32, String)> = Vec::new();
    let (mut commit, mut number) = (String::new(), 0);
    for line in text.lines() {
        if let Some(content) = line.strip_prefix('\t') {
            lines.push((commit.clone(), number, content.to_owned()));
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let about = known.entry(commit.clone()).or_default();
        match word {
            "author" => rest.clone_into(&mut about.author),
            "author-time" => about.at = rest.parse().unwrap_or(0),
            "summary" => rest.clone_into(&mut about.summary),
            id if ObjectId::new(id).is_ok() => {
                id.clone_into(&mut commit);
                number = rest.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
            }
            _ => {}
        }
    }
    let mut blocks: Vec<Block> = Vec::new();
    for (commit, number, content) in lines {
        match blocks.last_mut() {
            Some(last) if last.commit == commit => {
                last.text.push('\n');
                last.text.push_str(&content);
            }
            _ => {
                let About { author, at, summary } = known.get(&commit).cloned().unwrap_or_default();
                blocks.push(Block {
                    commit,
                    author,
                    date: date(at),
                    summary,
                    start_line: number,
                    text: content,
                });
            }
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_lines_of_a_commit_are_one_block_and_facts_are_remembered() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let text = format!(
            "{a} 1 1 2\nauthor Ada\nauthor-time 0\nsummary One\nfilename f\n\tx\n{a} 2 2\n\t\n\
             {b} 1 3 1\nauthor Bob\nauthor-time 60\nsummary Two\nfilename f\n\ty\n{a} 3 4 1\n\tz\n"
        );
        let blocks = parse(&text);
        let shown: Vec<_> = blocks.iter().map(|b| (&*b.author, b.start_line, &*b.text)).collect();
        assert_eq!(shown, [("Ada", 1, "x\n"), ("Bob", 3, "y"), ("Ada", 4, "z")]);
        assert_eq!(blocks[1].date, "1970-01-01T00:01:00Z");
    }
}
