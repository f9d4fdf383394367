//! Nothing unbounded leaves a tool.
//!
//! [`take_text`] is for tools that page through long text; [`bound_value`] is the last guard of the kit
//! for whatever a tool answers.

use serde::Serialize;
use serde_json::{Value, json};

/// Size of a result that a tool may give without asking for more, in bytes of JSON (16 k tokens or so).
pub const DEFAULT_MAX_RESULT_BYTES: usize = 64 * 1024;
/// Fewer bytes than this are not worth cutting a field down to.
const SMALLEST_CUT: usize = 64;

/// A piece of a longer text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TextPiece {
    /// The piece; ends between two characters.
    pub text: String,
    /// Whether more follows.
    pub truncated: bool,
    /// Where to go on, in bytes from the start; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_offset: Option<usize>,
    /// Length of the whole text, in bytes.
    pub total_bytes: usize,
}

/// At most `max_bytes` of `text` from byte `offset` on, never splitting a character.
pub fn take_text(text: &str, offset: usize, max_bytes: usize) -> TextPiece {
    let start = ceil_boundary(text, offset.min(text.len()));
    let wanted = start.saturating_add(max_bytes).min(text.len());
    let mut end = floor_boundary(text, wanted);
    if end == start && wanted < text.len() {
        // Always move on, or a caller that pages would never end.
        end = ceil_boundary(text, start + 1);
    }
    let truncated = end < text.len();
    TextPiece {
        text: text[start..end].to_owned(),
        truncated,
        next_offset: truncated.then_some(end),
        total_bytes: text.len(),
    }
}

/// The last character boundary at or before `at`.
pub fn floor_boundary(text: &str, mut at: usize) -> usize {
    at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn ceil_boundary(text: &str, mut at: usize) -> usize {
    while at < text.len() && !text.is_char_boundary(at) {
        at += 1;
    }
    at
}

/// Cuts the longest strings and lists of an object until it fits `max_bytes` of JSON, and says so with
/// `truncated: true` and `how_to_continue`. True when it had to.
pub(crate) fn bound_value(value: &mut Value, max_bytes: usize) -> bool {
    if json_size(value) <= max_bytes {
        return false;
    }
    // Room for the two fields that are added.
    let target = max_bytes.saturating_sub(160);
    for _ in 0..64 {
        let size = json_size(value);
        if size <= target || !cut_longest(value, size - target) {
            break;
        }
    }
    if json_size(value) > target {
        *value = json!({});
    }
    if let Value::Object(object) = value {
        object.insert("truncated".to_owned(), json!(true));
        object.insert(
            "how_to_continue".to_owned(),
            json!("The result was cut: ask for less, or page with offset and limit."),
        );
    }
    true
}

/// Size of a value as compact JSON, in bytes.
pub fn json_size(value: &Value) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |bytes| bytes.len())
}

/// Shortens the biggest child, going down into objects; false when nothing is left to shorten.
fn cut_longest(value: &mut Value, excess: usize) -> bool {
    match value {
        Value::String(text) => {
            if text.len() <= SMALLEST_CUT {
                return false;
            }
            let keep = text.len().saturating_sub(excess).max(SMALLEST_CUT);
            // Escapes make JSON longer than the text, so always take off at least an eighth.
            text.truncate(floor_boundary(text, keep.min(text.len() - text.len() / 8)));
            true
        }
        Value::Array(items) => {
            if items.len() <= 1 {
                return items.first_mut().is_some_and(|only| cut_longest(only, excess));
            }
            let mut freed = 0;
            while freed < excess && items.len() > 1 {
                freed += items.pop().map_or(0, |item| json_size(&item) + 1);
            }
            true
        }
        Value::Object(object) => {
            let longest = object.values_mut().max_by_key(|child| json_size(child));
            longest.is_some_and(|child| cut_longest(child, excess))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn paging_gives_the_whole_text_back(text in "\\PC{0,300}", max in 1_usize..40) {
            let (mut all, mut offset) = (String::new(), 0);
            loop {
                let piece = take_text(&text, offset, max);
                all.push_str(&piece.text);
                match piece.next_offset { Some(next) => offset = next, None => break }
            }
            prop_assert_eq!(all, text);
        }

        #[test]
        fn a_bounded_value_fits(lines in proptest::collection::vec("[\\PC\"\\n]{0,200}", 0..60), max in 400_usize..4000) {
            let mut value = json!({ "lines": lines, "text": "x".repeat(3000), "nested": { "a": ["b", "c"] } });
            let cut = bound_value(&mut value, max);
            prop_assert!(json_size(&value) <= max);
            prop_assert_eq!(cut, value.get("truncated").is_some());
        }
    }
}
