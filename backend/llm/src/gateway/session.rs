//! Which conversation a call belongs to: its beginning does not change from call to call.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use serde_json::value::RawValue;

use crate::ask::{Ask, Native};
use crate::types::{ChatRequest, Role};

/// What clients say of a conversation in the body, the most exact first.
const SAID: [&str; 3] = ["prompt_cache_key", "safety_identifier", "user"];
/// What stands before the conversation, in the names of all formats.
const STANDING: [&str; 3] = ["system", "instructions", "tools"];

/// The conversation's number: from what the client says of it, else from system prompt, tools and the first message
/// of the user. Without a random key, so that processes of one version agree.
pub(super) fn of(ask: Ask<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    match ask {
        Ask::Neutral(request) => neutral(request, &mut hasher),
        Ask::Native(native) => written(native, &mut hasher),
    }
    hasher.finish()
}

fn neutral(request: &ChatRequest, hasher: &mut DefaultHasher) {
    if let Some(user) = &request.options.user {
        return user.hash(hasher);
    }
    request.system.hash(hasher);
    for tool in &request.tools {
        (&tool.name, &tool.description, tool.input_schema.to_string()).hash(hasher);
    }
    let first = request.messages.iter().find(|message| message.role == Role::User);
    if let Some(first) = first.and_then(|message| serde_json::to_string(message).ok()) {
        first.hash(hasher);
    }
}

fn written(native: &Native, hasher: &mut DefaultHasher) {
    if let Some(session) = native.session() {
        return session.hash(hasher);
    }
    let text = |name: &str| native.raw(name).and_then(|raw| serde_json::from_slice::<String>(raw).ok());
    let user = || {
        let metadata: Value = serde_json::from_slice(native.raw("metadata")?).ok()?;
        Some(metadata.get("user_id")?.as_str()?.to_owned())
    };
    if let Some(said) = SAID.iter().find_map(|name| text(name)).or_else(user).filter(|said| !said.is_empty())
    {
        return said.hash(hasher);
    }
    for name in STANDING {
        native.raw(name).hash(hasher);
    }
    beginning(native.raw("messages").or_else(|| native.raw("input")).unwrap_or_default(), hasher);
}

/// Everything up to the first message of the user. What cannot be read is a beginning as a whole.
fn beginning(messages: &[u8], hasher: &mut DefaultHasher) {
    #[derive(serde::Deserialize)]
    struct Said<'a> {
        #[serde(borrow, default)]
        role: Option<std::borrow::Cow<'a, str>>,
    }
    let Ok(list) = serde_json::from_slice::<Vec<&RawValue>>(messages) else { return messages.hash(hasher) };
    for message in list {
        message.get().hash(hasher);
        let said = serde_json::from_str::<Said<'_>>(message.get()).ok();
        if said.and_then(|said| said.role).is_some_and(|role| role == "user") {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ask::Endpoint;
    use crate::types::{Message, Options};

    fn native(endpoint: Endpoint, body: &Value) -> u64 {
        of(Ask::Native(&Native::parse(endpoint, body.to_string().into()).unwrap()))
    }

    #[test]
    fn a_conversation_that_goes_on_is_the_same_and_one_that_begins_differently_is_another() {
        let first = json!({"role": "user", "content": "fix it"});
        let (system, said) =
            (json!({"role": "system", "content": "s"}), json!({"role": "assistant", "content": "yes"}));
        let chat =
            |messages: Value| native(Endpoint::ChatCompletions, &json!({"model": "m", "messages": messages}));
        let begun = chat(json!([system, first]));
        assert_eq!(begun, chat(json!([system, first, said, {"role": "user", "content": "more"}])));
        assert_ne!(begun, chat(json!([system, {"role": "user", "content": "break it"}])));
        assert_ne!(begun, chat(json!([{"role": "system", "content": "t"}, first])));
        let message = |system: &str| {
            native(Endpoint::Messages, &json!({"model": "m", "system": system, "messages": [first]}))
        };
        assert_ne!(message("a"), message("b"));
    }

    #[test]
    fn what_the_client_says_of_the_conversation_counts_before_its_words() {
        let chat = |extra: Value| {
            let mut body =
                json!({"model": "m", "messages": [{"role": "user", "content": extra.to_string()}]});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            body
        };
        let of_key = |key: &str, n: u32| {
            native(Endpoint::ChatCompletions, &chat(json!({"prompt_cache_key": key, "n": n})))
        };
        assert_eq!(of_key("a", 1), of_key("a", 2));
        assert_ne!(of_key("a", 1), of_key("b", 1));
        let body = chat(json!({"user": "maria"}));
        let with = |session: &str| {
            let native = Native::parse(Endpoint::ChatCompletions, body.to_string().into()).unwrap();
            of(Ask::Native(&native.with_session(Some(session.into()))))
        };
        assert_eq!(with("s1"), with("s1"));
        assert_ne!(with("s1"), with("s2"));
    }

    #[test]
    fn the_same_holds_for_calls_of_agents() {
        let request = |system: &str, later: &[&str]| ChatRequest {
            system: system.into(),
            messages: std::iter::once("first").chain(later.iter().copied()).map(Message::user).collect(),
            tools: Vec::new(),
            max_output_tokens: 1,
            temperature: None,
            stop: Vec::new(),
            options: Options::default(),
        };
        let of = |request: ChatRequest| of(Ask::Neutral(&request));
        assert_eq!(of(request("s", &[])), of(request("s", &["second"])));
        assert_ne!(of(request("s", &[])), of(request("t", &[])));
    }
}
