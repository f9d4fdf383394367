//! Text from outside as PostgreSQL can keep it: neither `text` nor `jsonb` takes the character U+0000, and a model's
//! answer, a tool's output or a provider's error may hold one.

use serde_json::Value;

/// What stands in the place of U+0000: the character for what could not be shown.
const INSTEAD: &str = "\u{fffd}";

/// The text without U+0000.
pub fn storable(text: impl Into<String>) -> String {
    let text = text.into();
    if text.contains('\0') { text.replace('\0', INSTEAD) } else { text }
}

/// The document with no U+0000 in any text or key.
pub fn storable_json(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(storable(text)),
        Value::Array(items) => items.into_iter().map(storable_json).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, value)| (storable(key), storable_json(value))).collect()
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
        assert_eq!(storable_json(found), kept);
    }
}
