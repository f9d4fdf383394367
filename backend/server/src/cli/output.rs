//! What commands print: results to standard output, everything about them to standard error.

use serde_json::Value;
use std::io::Write;

/// A line of the result. A reader that went away (`| head`) is no error.
pub(super) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}"));
}

/// A line for the person who watches.
pub(super) fn note(text: &str) {
    let mut err = std::io::stderr().lock();
    drop(writeln!(err, "{text}"));
}

/// A value as JSON, for programs.
pub(super) fn json(value: &Value) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// A column of a table: its head, and the field that it shows, as `a.b`.
pub(super) type Column = (&'static str, &'static str);

/// The widest a column gets, in characters.
const WIDEST: usize = 60;

/// Rows as a table for people.
pub(super) fn table(columns: &[Column], rows: &[Value]) {
    if rows.is_empty() {
        note("nothing found");
        return;
    }
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| columns.iter().map(|(_, path)| cell(row, path)).collect()).collect();
    let width = |index: usize| {
        let longest = cells.iter().map(|row| row[index].chars().count()).max().unwrap_or_default();
        longest.max(columns[index].0.len())
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let put = |row: &[String]| {
        let padded: Vec<String> =
            row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    put(&columns.iter().map(|(head, _)| (*head).to_owned()).collect::<Vec<_>>());
    for row in &cells {
        put(row);
    }
}

/// The fields of one thing, a line each.
pub(super) fn fields(columns: &[Column], value: &Value) {
    let widest = columns.iter().map(|(head, _)| head.len()).max().unwrap_or_default();
    for (head, path) in columns {
        line(&format!("{head:<widest$}  {}", whole(value, path)));
    }
}

fn cell(row: &Value, path: &str) -> String {
    let text = whole(row, path);
    let first = text.lines().next().unwrap_or_default();
    if first.chars().count() <= WIDEST {
        return first.to_owned();
    }
    let cut: String = first.chars().take(WIDEST - 1).collect();
    format!("{cut}…")
}

fn whole(row: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(row, |value, key| value.get(key));
    match found {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => shown(text),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), shown))
            .collect::<Vec<_>>()
            .join("; "),
        Some(Value::Number(number)) if path.ends_with("_micro_usd") => {
            money(number.as_i64().unwrap_or_default())
        }
        Some(other) => other.to_string(),
    }
}

/// What others have written, without what a terminal would take as a command.
fn shown(text: &str) -> String {
    let commands = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if commands(c) { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Money for people.
fn money(micro_usd: i64) -> String {
    syndarix_domain::money::MicroUsd(micro_usd).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_cell_shows_the_first_line_cut_to_its_width() {
        let row = json!({ "a": { "b": "one\ntwo" }, "long": "x".repeat(100), "list": ["p", "q"] });
        assert_eq!(cell(&row, "a.b"), "one");
        assert_eq!(cell(&row, "long").chars().count(), WIDEST);
        assert_eq!((cell(&row, "list").as_str(), cell(&row, "none").as_str()), ("p; q", "-"));
    }

    #[test]
    fn what_others_have_written_gives_the_terminal_no_commands() {
        let row = json!({ "reason": "a\u{1b}[31mred\u{7}", "list": ["\u{9b}2J"] });
        assert_eq!(cell(&row, "reason"), "a\u{fffd}[31mred\u{fffd}");
        assert_eq!(cell(&row, "list"), "\u{fffd}2J");
    }
}
