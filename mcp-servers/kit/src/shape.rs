//! What a call log may say about arguments: their names and sizes, never their values.

use rmcp::model::JsonObject;
use serde_json::Value;

/// Most arguments that are described; more are counted.
const MAX_DESCRIBED: usize = 16;
/// Longest argument name that is written out: a name comes from the caller, too.
const MAX_NAME_BYTES: usize = 40;

/// For instance `content:str(120) path:str(9) replace_all:bool`.
pub(crate) fn shape(arguments: &JsonObject) -> String {
    let described = arguments.iter().take(MAX_DESCRIBED).map(|(name, value)| {
        let plain =
            name.len() <= MAX_NAME_BYTES && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        format!("{}:{}", if plain { name } else { "?" }, kind(value))
    });
    let mut parts: Vec<String> = described.collect();
    if arguments.len() > MAX_DESCRIBED {
        parts.push(format!("+{}", arguments.len() - MAX_DESCRIBED));
    }
    parts.join(" ")
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(_) => "num".to_owned(),
        Value::String(text) => format!("str({})", text.len()),
        Value::Array(items) => format!("list({})", items.len()),
        Value::Object(fields) => format!("obj({})", fields.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_holds_no_value() {
        let value = serde_json::json!({ "path": "secret.txt", "n": 42, "se cret": null, "list": ["s3cret"] });
        let text = shape(value.as_object().unwrap());
        assert_eq!(text, "list:list(1) n:num path:str(10) ?:null");
    }
}
