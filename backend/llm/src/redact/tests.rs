//! Whatever is hidden wherever does not get out, and what hides nothing is not touched.

use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::ask::{Ask, Endpoint};
use crate::provider::{Deployment, ProviderKind};
use crate::types::{Block, Message, ToolSpec};

fn redactor() -> Redactor {
    Redactor::new(&[Secret::new("the-operators-own-key"), Secret::new("short")]).unwrap()
}

fn clean(text: &str) -> (String, Vec<(&'static str, u32)>) {
    let mut found = Found::default();
    let clean = redactor().text(text, &mut found).into_owned();
    (clean, found.iter().collect())
}

/// Credentials of every kind. None of them is one.
fn credential() -> impl Strategy<Value = String> {
    prop_oneof![
        "AKIA[A-Z0-9]{16}",
        "ghp_[A-Za-z0-9]{36}",
        "github_pat_[A-Za-z0-9_]{60}",
        "glpat-[A-Za-z0-9_-]{20}",
        "xoxb-[0-9]{11}-[A-Za-z0-9]{24}",
        "sk-ant-api03-[A-Za-z0-9_-]{80}",
        "sk-proj-[A-Za-z0-9_-]{60}",
        "sk-[A-Za-z0-9]{48}",
        "sk-sdx-[A-Za-z0-9_-]{43}",
        "AIza[A-Za-z0-9_-]{35}",
        "eyJ[A-Za-z0-9_-]{20}\\.eyJ[A-Za-z0-9_-]{40}\\.[A-Za-z0-9_-]{43}",
        "-----BEGIN (RSA |EC |OPENSSH |)PRIVATE KEY-----\n([A-Za-z0-9+/]{64}\n){1,4}-----END PRIVATE KEY-----",
        Just("the-operators-own-key".to_owned()),
    ]
}

/// Text around a credential: nothing that is one, and nothing that could be its beginning or end.
fn around() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ \n\t\"'=:,{}\\[\\]é]{1,6}", "[a-z]{1,8} (key|is|\u{1f600}) [=:] ?\"?"]
}

/// Where it is hidden.
#[derive(Debug, Clone, Copy)]
enum At {
    System,
    Text,
    ToolInput,
    ToolInputName,
    ToolResult,
    JsonInJson,
    Tools,
    Unknown,
}

const PLACES: [At; 8] = [
    At::System,
    At::Text,
    At::ToolInput,
    At::ToolInputName,
    At::ToolResult,
    At::JsonInJson,
    At::Tools,
    At::Unknown,
];

/// A request of either format with a text at one place of it.
fn written(endpoint: Endpoint, at: At, text: &str) -> Value {
    let said = |place: bool| if place { text } else { "plain" };
    let at_input = matches!(at, At::ToolInput);
    let name = if matches!(at, At::ToolInputName) { text } else { "path" };
    let mut input = json!({ name: [said(at_input), 1.50] });
    if matches!(at, At::JsonInJson) {
        input["nested"] = json!(json!({ "inner": json!({ "a": text }).to_string() }).to_string());
    }
    let result = said(matches!(at, At::ToolResult));
    let (system, user) = (said(matches!(at, At::System)), said(matches!(at, At::Text)));
    let (tools, unknown) = (said(matches!(at, At::Tools)), said(matches!(at, At::Unknown)));
    match endpoint {
        Endpoint::Messages => json!({
            "model": "m", "max_tokens": 10, "system": system, "unheard_of": { "deep": [unknown] },
            "tools": [{ "name": "read", "description": tools, "input_schema": { "type": "object" } }],
            "messages": [
                { "role": "user", "content": [{ "type": "text", "text": user }] },
                { "role": "assistant", "content": [{ "type": "tool_use", "id": "t", "name": "read", "input": input }] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": result }] },
            ],
        }),
        _ => json!({
            "model": "m", "max_tokens": 10, "unheard_of": { "deep": [unknown] },
            "tools": [{ "type": "function", "function": { "name": "read", "description": tools } }],
            "messages": [
                { "role": "system", "content": system },
                { "role": "user", "content": [{ "type": "text", "text": user }] },
                { "role": "assistant", "tool_calls": [
                    { "id": "t", "type": "function", "function": { "name": "read", "arguments": input.to_string() } },
                ] },
                { "role": "tool", "tool_call_id": "t", "content": result },
            ],
        }),
    }
}

/// The same JSON with every letter of every string as an escape.
fn escaped(json: &str) -> String {
    let mut out = String::new();
    let (mut inside, mut after) = (false, false);
    for c in json.chars() {
        match c {
            '"' if !after => inside = !inside,
            c if inside && !after && c.is_ascii_alphabetic() => {
                write!(out, "\\u{:04x}", u32::from(c)).unwrap();
                continue;
            }
            _ => {}
        }
        after = c == '\\' && !after;
        out.push(c);
    }
    out
}

fn kinds(at: At) -> &'static [ProviderKind] {
    match at {
        // What nobody knows goes to a provider of the same format only.
        At::Unknown => &[],
        _ => &[
            ProviderKind::OpenAiCompatible,
            ProviderKind::Anthropic,
            ProviderKind::Gemini,
            ProviderKind::Ollama,
        ],
    }
}

/// All that any provider is sent of a request.
fn sent(native: &Native, at: At) -> String {
    let own =
        if native.endpoint() == Endpoint::Messages { ProviderKind::Anthropic } else { ProviderKind::OpenAi };
    let kinds = kinds(at).iter().copied().chain([own]);
    let bodies = kinds.map(|kind| {
        let url = "https://example.org/v1".parse().unwrap();
        let deployment = Deployment { model: "real".into(), ..Deployment::new("d", kind, url) };
        Ask::Native(native).sent_to(&deployment).unwrap().to_string()
    });
    bodies.collect()
}

/// What has to be gone: the credential, as any level of JSON writes it. Of a key in lines, its first line.
fn body_of(credential: &str) -> &str {
    credential.split('\n').nth(1).unwrap_or(credential)
}

proptest! {
    #[test]
    fn a_credential_reaches_no_provider_wherever_it_is_hidden(
        credential in credential(),
        (before, after) in (around(), around()),
        at in prop::sample::select(PLACES.to_vec()),
        endpoint in prop::sample::select(vec![Endpoint::ChatCompletions, Endpoint::Messages]),
        in_escapes in any::<bool>(),
    ) {
        let text = format!("{before}{credential}{after}");
        let plain = written(endpoint, at, &text).to_string();
        let body = if in_escapes { escaped(&plain) } else { plain };
        let native = Native::parse(endpoint, body.into()).unwrap();

        let (redacted, found) = redactor().native(&native).unwrap();

        let redacted = redacted.expect("it is found");
        prop_assert_eq!(found.total(), 1);
        let sent = sent(&redacted, at);
        prop_assert!(!sent.contains(body_of(&credential)), "{}", sent);
        prop_assert!(sent.contains("[redacted: "), "{}", sent);
    }

    #[test]
    fn a_credential_in_an_agents_conversation_is_gone(credential in credential(), at in 0..4usize) {
        let said = |place: usize| if place == at { format!("it is\n{credential}\n") } else { "plain".into() };
        let request = ChatRequest {
            system: said(0),
            messages: vec![
                Message::user(said(1)),
                Message::assistant(vec![Block::ToolUse { id: "t".into(), name: "n".into(), input: json!({ "a": said(2) }) }]),
                Message::tool_results(vec![Block::ToolResult {
                    tool_use_id: "t".into(), content: said(3), is_error: false, images: Vec::new(),
                }]),
            ],
            tools: vec![ToolSpec { name: "n".into(), description: "d".into(), input_schema: json!({}) }],
            max_output_tokens: 7,
            temperature: None,
            stop: Vec::new(),
            options: crate::types::Options::default(),
        };
        let (redacted, found) = redactor().request(&request).unwrap();
        prop_assert_eq!(found.total(), 1);
        let redacted = redacted.unwrap();
        let shown = format!("{redacted:?}");
        prop_assert!(!shown.contains(body_of(&credential)), "{}", shown);
        prop_assert_eq!(redactor().request(&redacted).unwrap().0, None, "and nothing is found a second time");
    }

    #[test]
    fn what_holds_no_credential_is_passed_as_it_came(text in "(\\PC|[ \n\t\"\\\\])*") {
        let mut found = Found::default();
        let kept = matches!(redactor().text(&text, &mut found), Cow::Borrowed(_));
        prop_assert_eq!(kept, found.is_empty());
        let body = format!("{{\"model\": \"m\",  \"messages\": [], \"x\": {}, \"n\": 1.50}}", json!(text));
        let native = Native::parse(Endpoint::ChatCompletions, body.into()).unwrap();
        let (clean, found) = redactor().native(&native).unwrap();
        prop_assert_eq!(clean.is_none(), found.is_empty());
    }
}

#[test]
fn only_the_credential_is_replaced() {
    for (text, expected, kind) in [
        ("export K=AKIAIOSFODNN7EXAMPLE;", "export K=[redacted: AWS key];", "AWS key"),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
            "aws_secret_access_key = [redacted: AWS key]\n",
            "AWS key",
        ),
        (
            "postgres://app:hunter2@db:5432/shop?x=1",
            "postgres://app:[redacted: password in a URL]@db:5432/shop?x=1",
            "password in a URL",
        ),
        ("redis://:p@ss:w@host/0", "redis://:[redacted: password in a URL]@host/0", "password in a URL"),
        (
            r#"{"u": "https:\/\/me:hunter2@host\/x"}"#,
            r#"{"u": "https:\/\/me:[redacted: password in a URL]@host\/x"}"#,
            "password in a URL",
        ),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nafter",
            "[redacted: private key]\nafter",
            "private key",
        ),
        ("-----BEGIN PRIVATE KEY-----\\nMIIEcut off", "[redacted: private key]", "private key"),
        ("use the-operators-own-key.", "use [redacted: model provider key].", "model provider key"),
    ] {
        assert_eq!(clean(text), (expected.to_owned(), vec![(kind, 1)]), "{text}");
    }
}

#[test]
fn ordinary_words_are_left_alone() {
    for text in [
        "task-0123456789abcdef0123456789abcdef01234567 and risk-management-of-the-whole-organisation",
        "https://example.org:8080/a@b and mailto:me@example.org and ssh://git@example.org/x.git",
        "postgres://app:${PASSWORD}@db/shop, postgres://app:$PASSWORD@db, mysql://u:{{ pass }}@h, a://b:***@c",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "AKIA, AIza, ghp_, xoxb-, sk-ant-, eyJhbGciOi and short",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    ] {
        assert_eq!(clean(text), (text.to_owned(), vec![]));
    }
}

#[test]
fn the_arguments_of_a_call_hide_nothing_behind_escapes_of_their_own() {
    for arguments in [
        escaped(r#"{"key": "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa"}"#),
        escaped(&json!([escaped(r#"{"key": "sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa"}"#)]).to_string()),
    ] {
        let call =
            json!({ "id": "t", "type": "function", "function": { "name": "n", "arguments": arguments } });
        let body =
            json!({ "model": "m", "messages": [{ "role": "assistant", "tool_calls": [call] }] }).to_string();
        let native = Native::parse(Endpoint::ChatCompletions, escaped(&body).into()).unwrap();
        let (clean, found) = redactor().native(&native).unwrap();
        assert_eq!(found.total(), 1, "{body}");
        let clean: serde_json::Value = serde_json::from_slice(clean.unwrap().body()).unwrap();
        let said = clean["messages"][0]["tool_calls"][0]["function"]["arguments"].as_str().unwrap();
        assert!(said.contains("[redacted: Anthropic key]"), "{said}");
    }
}

#[test]
fn half_a_character_hides_nothing() {
    let body = br#"{"model": "m", "messages": [], "x": "\ud800 sk-ant-api03-aaaaaaaaaaaaaaaaaaaaaaaa \uD83D\uDE00"}"#;
    let native = Native::parse(Endpoint::Messages, body.to_vec().into()).unwrap();
    let (clean, _) = redactor().native(&native).unwrap();
    let clean = String::from_utf8(clean.unwrap().body().to_vec()).unwrap();
    assert!(clean.contains("[redacted: Anthropic key] \u{1f600}") && !clean.contains("sk-ant"), "{clean}");
}

#[test]
fn many_beginnings_without_an_end_are_each_looked_at_once() {
    let mut found = Found::default();
    let text = "-----BEGIN PRIVATE KEY-----\n\u{1}".repeat(50_000) + &"a://b:".repeat(100_000);
    let clean = redactor().text(&text, &mut found).into_owned();
    assert_eq!(found.total(), 50_000);
    assert!(!clean.contains("BEGIN"));
}
