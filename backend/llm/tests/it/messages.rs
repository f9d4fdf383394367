//! Messages as their clients see them: every event of a stream, in its order and with all that it says.

use serde_json::{Value, json};
use syndarix_llm::inbound::Relay;
use syndarix_llm::{Delta, Endpoint, Piece, ProviderKind, StopReason};

use crate::responses::{completion, events, head};
use crate::streams::{native, stream};
use crate::wires::raw;

fn message_start(id: &str, model: &str, prompt: &Value) -> Value {
    let usage = json!({
        "input_tokens": prompt, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 1,
    });
    json!({"type": "message_start", "message": {
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": usage,
    }})
}

/// A block from its start to its stop.
fn block(index: u32, start: &Value, deltas: &[Value]) -> Vec<Value> {
    let start = json!({"type": "content_block_start", "index": index, "content_block": start});
    let delta = |delta: &Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = json!({"type": "content_block_stop", "index": index});
    std::iter::once(start).chain(deltas.iter().map(delta)).chain([stop]).collect()
}

fn text(index: u32, pieces: &[&str]) -> Vec<Value> {
    let deltas: Vec<Value> = pieces.iter().map(|text| json!({"type": "text_delta", "text": text})).collect();
    block(index, &json!({"type": "text", "text": ""}), &deltas)
}

fn call(index: u32, (id, name): (&str, &str), pieces: &[&str]) -> Vec<Value> {
    let piece = |json: &&str| json!({"type": "input_json_delta", "partial_json": json});
    let deltas: Vec<Value> = pieces.iter().map(piece).collect();
    block(index, &json!({"type": "tool_use", "id": id, "name": name, "input": {}}), &deltas)
}

fn thinking(index: u32, pieces: &[&str], signature: Option<&str>) -> Vec<Value> {
    let thought = |text: &&str| json!({"type": "thinking_delta", "thinking": text});
    let signed = signature.map(|signature| json!({"type": "signature_delta", "signature": signature}));
    let deltas: Vec<Value> = pieces.iter().map(thought).chain(signed).collect();
    block(index, &json!({"type": "thinking", "thinking": "", "signature": ""}), &deltas)
}

fn ending(stop: &str, usage: &Value) -> Vec<Value> {
    let delta = json!({"stop_reason": stop, "stop_sequence": null});
    vec![json!({"type": "message_delta", "delta": delta, "usage": usage}), json!({"type": "message_stop"})]
}

const OPENAI: &str = concat!(
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"First \"}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"think.\"}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"I \"}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"call.\"}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_a\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":\"\"}}]}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"city\\\":\"}}]}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"Rome\\\"}\"}}]}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_b\",\"type\":\"function\",\"function\":{\"name\":\"time\",\"arguments\":\"{}\"}}]}}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    "data: {\"model\":\"gpt-x\",\"choices\":[],\"usage\":{\"prompt_tokens\":1112,\"completion_tokens\":40,\"prompt_tokens_details\":{\"cached_tokens\":1000},\"completion_tokens_details\":{\"reasoning_tokens\":12}}}\n\n",
    "data: [DONE]\n\n",
);
const ANTHROPIC: &str = include_str!("../samples/streams/anthropic-thinking-calls.sse");

#[tokio::test]
async fn an_answer_of_openai_has_every_event_of_a_message() {
    let server = raw(OPENAI, 11).await;

    let chain = vec![server.deployment("d", ProviderKind::OpenAi)];
    let (bytes, _hooks) = stream(chain, native(Endpoint::Messages, true)).await;

    let mut events = events(&bytes);
    // The provider counts when it is done: until then the prompt is as long as it is here.
    let prompt = events[0]["message"]["usage"]["input_tokens"].take();
    assert!(prompt.as_u64().unwrap() > 0, "{bytes}");
    let usage = json!({
        "input_tokens": 112, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 1_000,
        "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 12},
    });
    let expected = [
        vec![message_start("msg_1", "gpt-x", &Value::Null)],
        thinking(0, &["First ", "think."], None),
        text(1, &["I ", "call."]),
        call(2, ("call_a", "weather"), &["{\"city\":", "\"Rome\"}"]),
        call(3, ("call_b", "time"), &["{}"]),
        ending("tool_use", &usage),
    ];
    assert_eq!(events, expected.concat());
}

#[tokio::test]
async fn an_answer_of_anthropic_has_the_very_events_that_it_came_in() {
    for cut in [7, 4_096] {
        let server = raw(ANTHROPIC, cut).await;

        let chain = vec![server.deployment("d", ProviderKind::Anthropic)];
        let (bytes, _hooks) = stream(chain, native(Endpoint::Messages, true)).await;

        assert_eq!(bytes, ANTHROPIC, "in pieces of {cut}");
    }
}

#[test]
fn signed_and_hidden_thoughts_of_another_format_are_blocks_of_their_own() {
    let (thought, said) = (
        |text: &str| Delta::Thinking { index: 0, text: text.into() },
        |text: &str| Delta::Text { index: 2, text: text.into() },
    );
    let signed = |index, signature: &str| Delta::Signature { index, signature: signature.into() };
    let whole = completion(Vec::new(), StopReason::ToolUse);
    let deltas = [
        thought("First "),
        thought("think."),
        signed(0, "sig"),
        signed(1, "redacted_thinking:opaque"),
        said("I "),
        said("call."),
        Delta::ToolUse { index: 3, id: "a".into(), name: "weather".into() },
        Delta::ToolInput { index: 3, json: "{\"city\":".into() },
        Delta::ToolInput { index: 3, json: "\"Rome\"}".into() },
        // Without arguments.
        Delta::ToolUse { index: 4, id: "b".into(), name: "time".into() },
        Delta::Usage { usage: whole.usage },
        Delta::Finished { stop: StopReason::ToolUse },
    ];

    let mut relay = Relay::new(&native(Endpoint::Messages, true), "1".into(), 0);
    let mut frames = relay.head(&head());
    for delta in deltas {
        frames += &relay.piece(&Piece { deltas: vec![delta], raw: None });
    }
    frames += &relay.end(&Ok(whole));

    let usage = json!({
        "input_tokens": 12, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1_000,
        "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 9},
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 0},
    });
    let expected = [
        vec![message_start("msg_1", "claude-x", &json!(5))],
        thinking(0, &["First ", "think."], Some("sig")),
        block(1, &json!({"type": "redacted_thinking", "data": "opaque"}), &[]),
        text(2, &["I ", "call."]),
        call(3, ("a", "weather"), &["{\"city\":", "\"Rome\"}"]),
        call(4, ("b", "time"), &[]),
        ending("tool_use", &usage),
    ];
    assert_eq!(events(&frames), expected.concat());
}
