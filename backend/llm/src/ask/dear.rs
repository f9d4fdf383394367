//! What of a request would cost more than its tokens at their price, which is all that a budget is reserved for: it is
//! refused, since it would pass a limit unseen.
//!
//! Each mention of a field counts, since which of two a provider reads is its own affair. What nobody here knows is passed
//! on: these are the fields that vendors publish a price, a surcharge or another model for.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::Native;
use crate::inbound::WireError;

/// Fields that choose how a request is processed, and the choices that cost no more than usual. Inference in one country
/// only costs a tenth more (<https://docs.aws.amazon.com/claude-platform/latest/userguide/data-residency.html>).
const STANDARD: &[(&str, &[&str])] = &[
    ("service_tier", &["auto", "default", "flex", "standard_only"]),
    ("speed", &["standard"]),
    ("inference_geo", &["global"]),
];

/// Fields that have the provider do more than answer, and what that is.
const MORE: &[(&str, &str)] = &[
    ("web_search_options", SEARCH),
    ("search_parameters", SEARCH),
    ("search_settings", SEARCH),
    ("enable_search", SEARCH),
    ("plugins", "plugins cost by themselves"),
    ("compound_custom", ROUNDS),
    ("mcp_servers", ROUNDS),
    ("container", "containers cost by the hour"),
    ("fallbacks", OTHERS),
    ("models", OTHERS),
    ("preset", OTHERS),
    ("provider", "another host of the model has another price"),
    ("providerOptions", "another host of the model has another price"),
    ("prediction", "what is predicted wrongly is paid for beyond the answer's limit"),
    ("best_of", "answers that are thrown away are paid for"),
];
const SEARCH: &str = "searches cost by themselves, and what they find is one more prompt";
const ROUNDS: &str = "what runs at the provider reads the prompt again in every round";
const OTHERS: &str = "another model has another price: name it in a model group";

/// Tools of Anthropic's that run at the client, by the beginning of their type.
const CLIENTS_OWN: [&str; 4] = ["bash_", "computer_", "memory_", "text_editor_"];

impl Native {
    /// Refuses what has no price to reserve. Gives back how many tools are offered that the provider describes itself.
    pub(super) fn refuse_dear(&self) -> Result<u32, WireError> {
        let mut vendors = 0u32;
        for (name, value) in self.values() {
            match name {
                "tools" => vendors = vendors.saturating_add(refuse_tools(value)?),
                "modalities" => refuse_modalities(value)?,
                "context_management" => refuse_compaction(value)?,
                _ => refuse_processing(name, value)?,
            }
        }
        Ok(vendors)
    }
}

fn refuse_processing(name: &str, value: &[u8]) -> Result<(), WireError> {
    if let Some((_, why)) = MORE.iter().find(|(field, _)| *field == name)
        && is_said(value)
    {
        return Err(WireError(format!("`{name}` has no price to reserve: {why}; leave it out")));
    }
    let Some((_, known)) = STANDARD.iter().find(|(field, _)| *field == name) else { return Ok(()) };
    let is_standard = match serde_json::from_slice::<Value>(value) {
        Ok(Value::Null) => true,
        Ok(Value::String(said)) => known.contains(&said.as_str()),
        _ => false,
    };
    if is_standard {
        return Ok(());
    }
    let known = known.join("`, `");
    Err(WireError(format!(
        "`{name}` may be `{known}` here: what costs more than standard processing has no price to reserve; leave it out"
    )))
}

/// What asks for something.
fn is_said(value: &[u8]) -> bool {
    !matches!(value, b"null" | b"false" | b"[]" | b"{}" | b"\"\"")
}

/// A tool's type; whoever says it twice has said both.
#[derive(Deserialize)]
struct Tool<'a> {
    #[serde(borrow, default, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

/// A tool runs at the client, or the provider charges for its use and asks the model again with what it gave. Gives back how
/// many of the client's it describes itself.
fn refuse_tools(tools: &[u8]) -> Result<u32, WireError> {
    let tools: Option<Vec<Tool<'_>>> =
        serde_json::from_slice(tools).map_err(|error| WireError(format!("`tools`: {error}")))?;
    let mut vendors = 0;
    for kind in tools.iter().flatten().filter_map(|tool| tool.kind.as_deref()) {
        if matches!(kind, "function" | "custom") {
            continue;
        }
        if !CLIENTS_OWN.iter().any(|beginning| kind.starts_with(beginning)) {
            return Err(WireError(format!(
                "the tool `{kind}` runs at the provider only, and its use has no price to reserve: offer a tool of your own"
            )));
        }
        vendors += 1;
    }
    Ok(vendors)
}

/// Pictures in an answer are tokens of a price that is not in the table.
fn refuse_modalities(value: &[u8]) -> Result<(), WireError> {
    let said: Option<Vec<String>> =
        serde_json::from_slice(value).map_err(|error| WireError(format!("`modalities`: {error}")))?;
    match said.iter().flatten().find(|said| !matches!(said.as_str(), "text" | "audio")) {
        Some(said) => {
            Err(WireError(format!("an answer of the kind `{said}` has no price to reserve: leave it out")))
        }
        None => Ok(()),
    }
}

/// To leave out parts of a conversation costs nothing; to have it summed up is one more answer to one more prompt.
fn refuse_compaction(value: &[u8]) -> Result<(), WireError> {
    let said: Value =
        serde_json::from_slice(value).map_err(|error| WireError(format!("`context_management`: {error}")))?;
    let edits = said.get("edits").and_then(Value::as_array).into_iter().flatten();
    let is_cheap = |edit: &Value| edit["type"].as_str().is_some_and(|kind| kind.starts_with("clear_"));
    if edits.clone().all(is_cheap) && (said.is_null() || said.is_object()) {
        return Ok(());
    }
    let message = "`context_management` may clear here: a summary has no price to reserve; leave it out";
    Err(WireError(message.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::Endpoint;

    fn parsed(fields: &str) -> Result<(), String> {
        let body = format!(r#"{{"model": "code", "messages": [], {fields}}}"#);
        Native::parse(Endpoint::Messages, body.into()).map(drop).map_err(|error| error.to_string())
    }

    #[test]
    fn processing_that_costs_more_than_its_price_says_is_refused() {
        for dear in [
            r#""service_tier": "priority""#,
            r#""service_tier": "prior\u0069ty""#,
            r#""service_tier": "priority", "service_tier": "auto""#,
            r#""service_tier": 1"#,
            r#""speed": "fast""#,
            r#""inference_geo": "us""#,
            r#""inference_geo": "not-a-place-of-today""#,
            r#""inference_geo": "global", "inference_geo": "us""#,
            r#""inference\u005fgeo": "us""#,
        ] {
            let said = parsed(dear).unwrap_err();
            assert!(said.contains("leave it out"), "{dear}: {said}");
        }
        for usual in [
            r#""service_tier": "flex""#,
            r#""service_tier": null"#,
            r#""speed": "standard""#,
            r#""inference_geo": "global""#,
            r#""inference_geo": null"#,
        ] {
            parsed(usual).unwrap();
        }
    }

    #[test]
    fn what_a_provider_does_beside_answering_is_refused_by_its_name() {
        for (name, value) in [
            ("web_search_options", "{\"search_context_size\": \"low\"}"),
            ("search_parameters", r#"{"mode": "on"}"#),
            ("plugins", r#"[{"id": "web"}]"#),
            ("mcp_servers", r#"[{"type": "url", "url": "https://h/mcp", "name": "n"}]"#),
            ("container", r#""c""#),
            ("fallbacks", r#""default""#),
            ("models", r#"["dearer"]"#),
            ("prediction", r#"{"type": "content", "content": "x"}"#),
            ("best_of", "4"),
            ("modalities", r#"["text", "image"]"#),
            ("context_management", r#"{"edits": [{"type": "compact_20260112"}]}"#),
        ] {
            let said = parsed(&format!("\"{name}\": {value}")).unwrap_err();
            assert!(said.contains(name) || said.contains("`image`"), "{name}: {said}");
            parsed(&format!("\"{name}\": null")).unwrap();
        }
        parsed(r#""modalities": ["text", "audio"]"#).unwrap();
        parsed(r#""context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}"#).unwrap();
    }

    #[test]
    fn a_tool_that_runs_at_the_provider_is_refused_and_one_that_runs_at_the_client_is_not() {
        for kind in [
            "web_search_20250305",
            "web_fetch_20250910",
            "code_execution_20250825",
            "advisor_20260301",
            "tool_search_tool_regex_20251119",
            "mcp_toolset",
            "web_search",
            "image_generation",
            "$web_search",
        ] {
            let said = parsed(&format!(r#""tools": [{{"name": "own"}}, {{"type": "{kind}"}}]"#)).unwrap_err();
            assert!(said.contains(kind), "{said}");
        }
        parsed(r#""tools": [{"type": "web\u005fsearch"}]"#).unwrap_err();
        parsed(r#""tools": [], "tools": [{"type": "web_search"}], "tools": []"#).unwrap_err();
        parsed(r#""tools": [{"type": "web_search", "type": "function"}]"#).unwrap_err();
        for kind in [
            "function",
            "custom",
            "bash_20250124",
            "text_editor_20250728",
            "computer_20251124",
            "memory_20250818",
        ] {
            parsed(&format!(r#""tools": [{{"type": "{kind}", "name": "n"}}, {{"name": "own"}}]"#)).unwrap();
        }
        parsed(r#""tools": null"#).unwrap();
    }
}
