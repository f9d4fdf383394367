//! What a conversation carries of another provider: hints and proofs that clients keep, and that a provider of the
//! very same format refuses the whole request over.
//!
//! Invariant: a body without such fields is not touched.

use memchr::memmem;
use serde_json::Value;

use super::Endpoint;
use crate::inbound::responses::PROOF;
use crate::provider::ProviderKind;
use crate::provider::openai::SEAL;

/// Clients' extensions of a chat completion's messages, that OpenAI itself does not know.
const EXTENSIONS: [&str; 4] = ["cache_control", "reasoning_content", "reasoning_details", "thinking_blocks"];

/// Which top fields have to be looked at for this provider.
pub(super) fn fields(endpoint: Endpoint, kind: ProviderKind) -> &'static [&'static str] {
    match (endpoint, kind) {
        (Endpoint::ChatCompletions, kind) if kind.is_openais_own() => &["messages", "tools"],
        (Endpoint::Messages, _) => &["messages"],
        (Endpoint::Responses, _) => &["input", "tools"],
        _ => &[],
    }
}

/// A top field without what is foreign in it.
#[derive(Debug, PartialEq)]
pub(super) struct Cleaned {
    pub(super) field: &'static str,
    pub(super) value: Value,
    /// The names of what was taken out.
    pub(super) lost: Vec<&'static str>,
}

/// `None`: there is nothing foreign in it.
pub(super) fn cleaned(endpoint: Endpoint, field: &'static str, raw: &[u8]) -> Option<Cleaned> {
    let names = |name: &str| memmem::find(raw, format!("\"{name}\"").as_bytes()).is_some();
    let is_suspect = match endpoint {
        Endpoint::ChatCompletions => EXTENSIONS.into_iter().any(names),
        Endpoint::Messages => has_unsigned(raw),
        Endpoint::Responses => names("cache_control") || memmem::find(raw, PROOF.as_bytes()).is_some(),
        Endpoint::Embeddings => false,
    };
    if !is_suspect {
        return None;
    }
    let mut value: Value = serde_json::from_slice(raw).ok()?;
    let mut lost = Vec::new();
    match endpoint {
        Endpoint::Messages => without_unsigned(&mut value, &mut lost),
        Endpoint::Responses => {
            let items = value.as_array_mut()?;
            for item in items.iter_mut() {
                without_extensions(item, &mut lost);
            }
            without_proofs(items, &mut lost);
        }
        _ => value.as_array_mut()?.iter_mut().for_each(|item| without_extensions(item, &mut lost)),
    }
    lost.sort_unstable();
    lost.dedup();
    (!lost.is_empty()).then_some(Cleaned { field, value, lost })
}

/// Of a message or a tool, and of its parts; arguments and schemas are the client's own.
fn without_extensions(item: &mut Value, lost: &mut Vec<&'static str>) {
    let Some(fields) = item.as_object_mut() else { return };
    for name in EXTENSIONS {
        if fields.remove(name).is_some() {
            lost.push(name);
        }
    }
    for name in ["content", "function", "output"] {
        match fields.get_mut(name) {
            Some(Value::Array(parts)) => parts.iter_mut().for_each(|part| without_extensions(part, lost)),
            Some(part @ Value::Object(_)) => without_extensions(part, lost),
            _ => {}
        }
    }
}

/// Items without the thoughts of other providers' models, which this gateway gave in a response.
fn without_proofs(items: &mut Vec<Value>, lost: &mut Vec<&'static str>) {
    let is_proof = |item: &Value| {
        let sealed = item.get("encrypted_content").and_then(Value::as_str).unwrap_or_default();
        item["type"] == "reasoning" && sealed.starts_with(PROOF)
    };
    let before = items.len();
    items.retain(|item| !is_proof(item));
    if items.len() < before {
        lost.push("input.reasoning");
    }
}

/// Whether some signature is empty, as those of thoughts are that another provider's model had, or is OpenAI's.
fn has_unsigned(raw: &[u8]) -> bool {
    let name = b"\"signature\"";
    memmem::find_iter(raw, name).any(|at| {
        let rest = raw[at + name.len()..].iter().filter(|byte| !byte.is_ascii_whitespace());
        let begins = |with: &[u8]| rest.clone().take(with.len()).eq(with);
        begins(b":\"\"") || begins(format!(":\"{SEAL}").as_bytes())
    })
}

/// Messages without thoughts that Anthropic's models did not sign; a message of nothing else goes with them.
fn without_unsigned(messages: &mut Value, lost: &mut Vec<&'static str>) {
    let is_unsigned = |block: &Value| {
        let signature = block["signature"].as_str();
        block["type"] == "thinking" && signature.is_some_and(|said| said.is_empty() || said.starts_with(SEAL))
    };
    let Some(messages) = messages.as_array_mut() else { return };
    messages.retain_mut(|message| {
        let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) else { return true };
        let before = blocks.len();
        blocks.retain(|block| !is_unsigned(block));
        if blocks.len() < before {
            lost.push("messages.thinking");
        }
        !blocks.is_empty() || before == 0
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn extensions_are_taken_out_of_messages_and_parts_and_never_out_of_what_is_said() {
        let raw = json!([
            {"role": "assistant", "content": "a", "reasoning_content": "r", "thinking_blocks": [{"type": "thinking"}]},
            {"role": "user", "content": [{"type": "text", "text": "\"cache_control\"", "cache_control": {"type": "ephemeral"}}]},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "n", "arguments": "{\"cache_control\":1}"}}]},
        ]);
        let clean = cleaned(Endpoint::ChatCompletions, "messages", raw.to_string().as_bytes()).unwrap();
        assert_eq!(clean.lost, ["cache_control", "reasoning_content", "thinking_blocks"]);
        assert_eq!(
            clean.value,
            json!([
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": [{"type": "text", "text": "\"cache_control\""}]},
                {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "n", "arguments": "{\"cache_control\":1}"}}]},
            ])
        );
        let untouched = json!([{"role": "user", "content": "\"thinking_blocks\""}]).to_string();
        assert_eq!(cleaned(Endpoint::ChatCompletions, "messages", untouched.as_bytes()), None);
    }

    #[test]
    fn thoughts_without_a_signature_are_taken_out_and_signed_ones_stay() {
        let raw = br#"[{"role": "assistant", "content": [
            {"type": "thinking", "thinking": "a", "signature" : ""},
            {"type": "thinking", "thinking": "b", "signature": "s"}, {"type": "text", "text": "t"}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "a", "signature": ""}]}]"#;
        let clean = cleaned(Endpoint::Messages, "messages", raw).unwrap();
        assert_eq!(clean.lost, ["messages.thinking"]);
        assert_eq!(clean.value.as_array().unwrap().len(), 1);
        assert_eq!(clean.value[0]["content"][0]["signature"], "s");
        let signed = br#"[{"role": "assistant", "content": [{"type": "thinking", "signature": "s"}]}]"#;
        assert_eq!(cleaned(Endpoint::Messages, "messages", signed), None);
    }
}
