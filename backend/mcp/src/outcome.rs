//! What a tool answered.

use rmcp::model::CallToolResult;
use serde::Serialize;
use serde_json::Value;

/// The answer of a tool, bounded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolOutcome {
    /// The text parts, one after another.
    pub text: String,
    /// The structured content, when the tool gives one.
    pub structured: Option<Value>,
    /// The tool says no: the text tells the model what to do.
    pub is_error: bool,
    /// The answer was larger than the limit and has been cut.
    pub truncated: bool,
}

impl ToolOutcome {
    pub(crate) fn of(result: CallToolResult, max_bytes: usize) -> Self {
        let parts: Vec<&str> =
            result.content.iter().filter_map(|part| part.as_text().map(|text| text.text.as_str())).collect();
        let mut text = parts.join("\n");
        let mut structured = result.structured_content;
        let size = structured.as_ref().map_or(0, |value| value.to_string().len());
        let mut truncated = false;
        if size > max_bytes {
            // Half a JSON value is none; the text copy says what fits.
            (structured, truncated) = (None, true);
        }
        if text.len() > max_bytes {
            let mut end = max_bytes;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            truncated = true;
        }
        Self { text, structured, is_error: result.is_error == Some(true), truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_over_the_limit_is_cut_between_characters() {
        let outcome = ToolOutcome::of(CallToolResult::structured(json!({ "a": "é".repeat(50) })), 20);
        assert!(outcome.truncated && outcome.structured.is_none() && outcome.text.len() <= 20);
        let small = ToolOutcome::of(CallToolResult::structured(json!({ "a": 1 })), 20);
        assert_eq!(
            (small.text.as_str(), small.structured, small.truncated),
            ("{\"a\":1}", Some(json!({ "a": 1 })), false)
        );
    }
}
