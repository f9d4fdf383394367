//! Tool schemas as every client can read them.
//!
//! schemars writes formats that JSON Schema 2020-12 does not know (`uint32`) and keys that only cost
//! bytes (`$schema`, `title`); strict clients warn or refuse. [`input_schema`] strips them, closes the
//! object, and adds the `project_id` and `agent_id` that every tool takes, so that no tool can forget them.

use rmcp::model::JsonObject;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

/// The argument that repeats the token's project.
pub const PROJECT_ARGUMENT: &str = "project_id";
/// The argument that repeats the token's agent instance.
pub const AGENT_ARGUMENT: &str = "agent_id";

/// The formats that JSON Schema 2020-12 defines and our types use.
const KNOWN_FORMATS: [&str; 6] = ["uuid", "uri", "date-time", "date", "email", "regex"];

/// The input schema of a tool whose own arguments are `A`.
pub(crate) fn input_schema<A: JsonSchema>() -> JsonObject {
    let mut object = sanitised::<A>();
    object.insert("type".to_owned(), json!("object"));
    object.insert("additionalProperties".to_owned(), json!(false));
    let properties = object.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    if let Some(properties) = properties.as_object_mut() {
        properties.insert(PROJECT_ARGUMENT.to_owned(), scope_argument("Project-Id"));
        properties.insert(AGENT_ARGUMENT.to_owned(), scope_argument("Agent-Id"));
    }
    let required = object.entry("required").or_insert_with(|| json!([]));
    if let Some(required) = required.as_array_mut() {
        required.insert(0, json!(PROJECT_ARGUMENT));
        required.insert(1, json!(AGENT_ARGUMENT));
    }
    object
}

/// The output schema of a tool that answers `O`.
pub(crate) fn output_schema<O: JsonSchema>() -> JsonObject {
    let mut object = sanitised::<O>();
    object.insert("type".to_owned(), json!("object"));
    for property in object.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        // Bounds tell a caller what to send; of an answer they are only bytes.
        property.1.as_object_mut().and_then(|property| property.remove("minimum"));
    }
    object
}

fn scope_argument(header: &str) -> Value {
    json!({ "type": "string", "format": "uuid", "x-mcp-header": header })
}

fn sanitised<T: JsonSchema>() -> JsonObject {
    // Inlined: a `$ref` costs a lookup that some clients do not make.
    let settings = SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
    let mut value = settings.into_generator().into_root_schema_for::<T>().to_value();
    sanitise(&mut value, true);
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// Removes what not every client understands. `is_schema` is false for a map from names to schemas,
/// where `title` and `format` would be the names of arguments.
fn sanitise(value: &mut Value, is_schema: bool) {
    match value {
        Value::Object(object) => {
            if is_schema {
                object.remove("$schema");
                object.remove("title");
                if object.get("format").and_then(Value::as_str).is_some_and(|f| !KNOWN_FORMATS.contains(&f)) {
                    object.remove("format");
                }
                flatten_optional(object);
            }
            for (key, child) in object.iter_mut() {
                match key.as_str() {
                    "properties" | "$defs" | "patternProperties" if is_schema => sanitise(child, false),
                    "default" | "const" | "enum" | "examples" if is_schema => {}
                    _ => sanitise(child, true),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| sanitise(item, true)),
        _ => {}
    }
}

/// `"type": ["string", "null"], "default": null` of an `Option` says no more than an argument that is
/// not required, in more bytes; and some clients cannot read a list of types.
fn flatten_optional(object: &mut Map<String, Value>) {
    let Some(types) = object.get("type").and_then(Value::as_array) else { return };
    let rest: Vec<Value> = types.iter().filter(|t| t.as_str() != Some("null")).cloned().collect();
    if let [only] = rest.as_slice() {
        object.insert("type".to_owned(), only.clone());
        if object.get("default").is_some_and(Value::is_null) {
            object.remove("default");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Sample {
        /// A page.
        page: Option<u32>,
        format: String,
        title: u64,
        inner: Vec<Inner>,
    }

    #[derive(JsonSchema)]
    #[expect(dead_code, reason = "only its schema is looked at")]
    struct Inner {
        count: usize,
    }

    #[test]
    fn a_schema_holds_no_unknown_format_and_no_type_list() {
        let schema = Value::Object(input_schema::<Sample>());
        let text = schema.to_string();
        for gone in ["uint", "$schema", "$ref", "\"null\""] {
            assert!(!text.contains(gone), "{gone} in {text}");
        }
        assert_eq!(schema["properties"]["page"]["type"], "integer");
        assert_eq!(schema["properties"]["page"]["description"], "A page.");
        assert!(schema["properties"]["format"].is_object() && schema["properties"]["title"].is_object());
    }

    #[test]
    fn every_schema_takes_project_and_agent_and_nothing_unknown() {
        let schema = Value::Object(input_schema::<Sample>());
        assert_eq!(schema["properties"]["project_id"]["x-mcp-header"], "Project-Id");
        assert_eq!(schema["required"][0], "project_id");
        assert_eq!(schema["required"][1], "agent_id");
        assert_eq!(schema["additionalProperties"], false);
    }
}
