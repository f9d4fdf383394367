//! `read_file`: a text file or a range of its lines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use syndarix_mcp_kit::{ProjectCtx, RelPath, ToolFailure, floor_boundary};

use crate::{locks::Locks, text};

/// Bytes of text in one answer unless the caller asks for another limit.
const DEFAULT_BYTES: usize = 32 * 1024;
/// Most bytes of text in one answer: JSON escapes still fit the kit's result budget.
const MAX_BYTES: usize = 48 * 1024;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadFile {
    path: String,
    /// First line, from 1.
    start_line: Option<usize>,
    /// Last line, inclusive.
    end_line: Option<usize>,
    max_bytes: Option<usize>,
}

#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct FileText {
    text: String,
    start_line: usize,
    end_line: usize,
    total_lines: usize,
    hash: String,
    truncated: bool,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_line: Option<usize>,
}

pub(crate) async fn read_file(_: Locks, ctx: ProjectCtx, args: ReadFile) -> Result<FileText, ToolFailure> {
    let path = RelPath::parse(&args.path)?;
    ctx.blocking(move |ctx| {
        let (text, _) = text::read_text(&ctx.worktree()?, &path)?;
        cut(&text, &args)
    })
    .await
}

fn cut(text: &str, args: &ReadFile) -> Result<FileText, ToolFailure> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let total = lines.len();
    let start = args.start_line.unwrap_or(1).max(1);
    let end = args.end_line.unwrap_or(total).min(total);
    if start > total.max(1) {
        return Err(ToolFailure::invalid(format!("start_line is {start}, but the file has {total} lines.")));
    }
    if args.end_line.is_some_and(|end| end < start) {
        return Err(ToolFailure::invalid("end_line is before start_line."));
    }
    let budget = args.max_bytes.unwrap_or(DEFAULT_BYTES).clamp(1, MAX_BYTES);
    let wanted = lines.get(start - 1..end).unwrap_or_default();
    let mut taken = String::new();
    let mut count = 0;
    for line in wanted {
        if taken.len() + line.len() > budget {
            break;
        }
        taken.push_str(line);
        count += 1;
    }
    let mut truncated = count < wanted.len();
    if count == 0
        && let Some(line) = wanted.first()
    {
        // One line longer than the budget: its beginning is better than nothing.
        taken.push_str(&line[..floor_boundary(line, budget)]);
        (count, truncated) = (1, true);
    }
    let last = start - 1 + count;
    Ok(FileText {
        text: taken,
        start_line: start,
        end_line: last,
        total_lines: total,
        hash: text::hash(text.as_bytes()),
        truncated,
        next_line: (truncated && last < total).then_some(last + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn args(start: Option<usize>, end: Option<usize>, max: Option<usize>) -> ReadFile {
        ReadFile { path: String::new(), start_line: start, end_line: end, max_bytes: max }
    }

    #[test]
    fn a_range_of_lines_is_inclusive() {
        let file = cut("a\nb\nc\nd", &args(Some(2), Some(3), None)).unwrap();
        assert_eq!(
            (file.text.as_str(), file.start_line, file.end_line, file.total_lines),
            ("b\nc\n", 2, 3, 4)
        );
        assert!(!file.truncated);
    }

    #[test]
    fn an_empty_file_reads_as_nothing() {
        let file = cut("", &args(None, None, None)).unwrap();
        assert_eq!((file.text.as_str(), file.total_lines, file.end_line), ("", 0, 0));
    }

    #[test]
    fn a_start_after_the_end_is_explained() {
        assert!(cut("a\n", &args(Some(5), None, None)).unwrap_err().message().contains("1 lines"));
        assert!(cut("a\nb\n", &args(Some(2), Some(1), None)).is_err());
    }

    proptest! {
        #[test]
        fn following_next_line_reads_every_short_line(lines in proptest::collection::vec("[a-zé]{0,20}", 0..50), max in 60_usize..200) {
            let text = lines.join("\n");
            let (mut all, mut start) = (String::new(), 1);
            loop {
                let file = cut(&text, &args(Some(start), None, Some(max))).unwrap();
                prop_assert!(file.text.len() <= max);
                all.push_str(&file.text);
                match file.next_line { Some(next) => start = next, None => break }
            }
            prop_assert_eq!(all, text);
        }
    }
}
