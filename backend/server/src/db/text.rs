//! Text from outside as PostgreSQL can keep it: neither `text` nor `jsonb` takes the character U+0000, and a model's
//! answer, a tool's output or a provider's error may hold one.

use serde::Serialize;
use serde_json::{Value, value::RawValue};

/// What stands in the place of U+0000: the character for what could not be shown.
const INSTEAD: &str = "\u{fffd}";

/// The text without U+0000.
pub fn storable(text: impl Into<String>) -> String {
    let text = text.into();
    if text.contains('\0') { text.replace('\0', INSTEAD) } else { text }
}

/// The document with no U+0000 in any text or key.
pub fn storable_json(value: Value) -> Value {
    if is_storable(&value) { value } else { without_nul(value) }
}

/// The same, as it is written: made in one go where there is no U+0000.
pub(super) fn storable_text(value: &impl Serialize) -> Result<Box<RawValue>, serde_json::Error> {
    let text = serde_json::value::to_raw_value(value)?;
    // An escaped backslash before `u0000` reads the same here, and is looked at again as a document.
    if !text.get().contains(r"\u0000") {
        return Ok(text);
    }
    serde_json::value::to_raw_value(&storable_json(serde_json::from_str(text.get())?))
}

fn is_storable(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.contains('\0'),
        Value::Array(items) => items.iter().all(is_storable),
        Value::Object(fields) => fields.iter().all(|(key, value)| !key.contains('\0') && is_storable(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

fn without_nul(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(text)),
        Value::Array(items) => items.into_iter().map(without_nul).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (storable(key), without_nul(value))).collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_nul_is_replaced_at_every_depth_and_nothing_else_changes() {
        let found = json!({ "a\0": ["x\0y", { "b": "\0" }, 1, null], "c": "é" });
        let kept = json!({ "a\u{fffd}": ["x\u{fffd}y", { "b": "\u{fffd}" }, 1, null], "c": "é" });
        assert_eq!(storable_json(found.clone()), kept);
        assert_eq!(serde_json::from_str::<Value>(storable_text(&found).unwrap().get()).unwrap(), kept);
    }

    #[test]
    fn what_only_looks_like_a_nul_stays_as_it_is() {
        let text = json!({ "a": r"\u0000" });
        assert_eq!(serde_json::from_str::<Value>(storable_text(&text).unwrap().get()).unwrap(), text);
    }
}
