//! What an issue may hold. The same bounds as the issues MCP server's, so that a model hears of them early.

use crate::http::ApiError;

/// Longest title, in characters.
const MAX_TITLE: usize = 200;
/// Longest text of an issue or a comment, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// Most labels on an issue.
const MAX_LABELS: usize = 20;
/// Longest label, assignee or search, in characters.
pub(super) const MAX_WORD: usize = 200;

/// A title as it is kept: one line, trimmed.
pub(super) fn title(title: &str) -> Result<String, ApiError> {
    let title = title.trim();
    let one_line = !title.chars().any(char::is_control);
    if one_line && (1..=MAX_TITLE).contains(&title.chars().count()) {
        return Ok(title.to_owned());
    }
    Err(ApiError::invalid("title", format!("must be one line of 1 to {MAX_TITLE} characters")))
}

/// A text as it is kept. PostgreSQL's text holds no NUL.
pub(super) fn body(body: &str) -> Result<String, ApiError> {
    if body.len() > MAX_BODY || body.contains('\0') {
        return Err(ApiError::invalid("body", format!("must be text of at most {MAX_BODY} bytes")));
    }
    Ok(body.to_owned())
}

/// Labels as they are kept: trimmed, each once, in the order given.
pub(super) fn labels(labels: &[String]) -> Result<Vec<String>, ApiError> {
    let mut kept: Vec<String> = Vec::with_capacity(labels.len());
    for label in labels {
        let label = word("labels", label)?;
        if !kept.contains(&label) {
            kept.push(label);
        }
    }
    if kept.len() > MAX_LABELS {
        return Err(ApiError::invalid("labels", format!("at most {MAX_LABELS} of them")));
    }
    Ok(kept)
}

/// A label or a name.
pub(super) fn word(field: &str, word: &str) -> Result<String, ApiError> {
    let word = word.trim();
    let plain = !word.chars().any(char::is_control);
    if plain && (1..=MAX_WORD).contains(&word.chars().count()) {
        return Ok(word.to_owned());
    }
    Err(ApiError::invalid(field, format!("must have 1 to {MAX_WORD} characters in one line")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_trimmed_line() {
        assert_eq!(title("  Login fails ").unwrap(), "Login fails");
        for bad in ["", "   ", "two\nlines", "nul\0", &"x".repeat(MAX_TITLE + 1)] {
            assert_eq!(title(bad).unwrap_err().code(), "invalid", "{bad:?}");
        }
        assert!(title(&"é".repeat(MAX_TITLE)).is_ok());
    }

    #[test]
    fn labels_are_kept_once_and_in_order() {
        let given = ["bug ", "ui", "bug"].map(str::to_owned);
        assert_eq!(labels(&given).unwrap(), ["bug", "ui"]);
        assert!(labels(&[String::new()]).is_err());
        let many: Vec<String> = (0..=MAX_LABELS).map(|n| n.to_string()).collect();
        assert!(labels(&many).is_err());
    }
}
