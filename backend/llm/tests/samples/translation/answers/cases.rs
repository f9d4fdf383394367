//! Answers of both formats.

use serde_json::{Value, json};
use syndarix_llm::{Endpoint, Wire};

use super::super::with;
use super::Case;

/// An answer of Anthropic's.
pub(super) fn message(more: Value) -> Value {
    let message = json!({
        "id": "msg_u", "type": "message", "role": "assistant", "model": "n", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "ok"}], "usage": {"input_tokens": 12, "output_tokens": 40},
    });
    with(message, more)
}

/// An answer of OpenAI's.
pub(super) fn completion(more: Value) -> Value {
    let completion = json!({
        "id": "chatcmpl-u", "object": "chat.completion", "created": 1_700_000_000, "model": "n",
        "usage": {"prompt_tokens": 12, "completion_tokens": 40},
    });
    with(completion, more)
}

/// One with this choice.
pub(super) fn choice(message: Value, more: Value) -> Value {
    let choice = json!({"index": 0, "message": with(json!({"role": "assistant", "content": "ok"}), message),
        "finish_reason": "stop"});
    completion(json!({"choices": [with(choice, more)]}))
}

/// Thoughts, a text and a call.
pub(super) fn all_of_anthropics() -> Value {
    let content = json!([{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "ok"},
        {"type": "tool_use", "id": "a", "name": "t", "input": {"x": 1}}]);
    message(json!({"content": content, "stop_reason": "tool_use"}))
}

/// The same.
pub(super) fn all_of_openais() -> Value {
    let call = json!({"id": "a", "type": "function", "function": {"name": "t", "arguments": "{\"x\":1}"}});
    choice(json!({"reasoning_content": "hm", "tool_calls": [call]}), json!({"finish_reason": "tool_calls"}))
}

type Places = &'static [&'static str];

fn anthropics(to: Endpoint) -> impl Fn(&'static str, Value, Places, Places) -> Case {
    move |says, more, said, shown| Case { says, by: Wire::Anthropic, body: message(more), said, to, shown }
}

fn openais(to: Endpoint) -> impl Fn(&'static str, Value, Places, Places) -> Case {
    move |says, body, said, shown| Case { says, by: Wire::OpenAi, body, said, to, shown }
}

/// A block and a text after it.
fn before_a_text(first: &Value) -> Value {
    json!({"content": [first, {"type": "text", "text": "ok"}]})
}

fn calling() -> Value {
    let call = |id: &str, input: Value| json!({"type": "tool_use", "id": id, "name": "t", "input": input});
    json!({"stop_reason": "tool_use",
        "content": [{"type": "text", "text": "ok"}, call("a", json!({"x": 1})), call("b", json!({}))]})
}

fn calls(arguments: &[&str]) -> Value {
    let call = |(id, arguments): (&str, &&str)| {
        let function = json!({"name": "t", "arguments": arguments});
        json!({"id": id, "type": "function", "function": function})
    };
    let calls: Vec<Value> = ["a", "b"].into_iter().zip(arguments).map(call).collect();
    choice(json!({"content": null, "tool_calls": calls}), json!({"finish_reason": "tool_calls"}))
}

fn anthropics_tokens() -> Value {
    json!({"usage": {"input_tokens": 12, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 1_000,
        "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 9}}})
}

fn openais_tokens(prompt: &Value) -> Value {
    let usage = json!({"prompt_tokens": 1_112, "completion_tokens": 40, "total_tokens": 1_152,
        "prompt_tokens_details": prompt, "completion_tokens_details": {"reasoning_tokens": 9}});
    with(choice(json!({}), json!({})), json!({"usage": usage}))
}

fn logprobs() -> Value {
    choice(json!({}), json!({"logprobs": {"content": [{"token": "o", "logprob": -0.5}]}}))
}

fn annotated() -> Value {
    choice(
        json!({"annotations": [{"type": "url_citation", "url_citation": {"url": "https://h/"}}]}),
        json!({}),
    )
}

fn signed() -> Value {
    before_a_text(&json!({"type": "thinking", "thinking": "hm", "signature": "s"}))
}

fn encrypted() -> Value {
    before_a_text(&json!({"type": "redacted_thinking", "data": "x"}))
}

fn cited() -> Value {
    json!({"content": [{"type": "text", "text": "ok", "citations": [{"type": "char_location", "cited_text": "c"}]}]})
}

pub(super) fn anthropic_to_chat() -> Vec<Case> {
    let case = anthropics(Endpoint::ChatCompletions);
    let thoughts: Places = &["/choices/0/message/reasoning_content", "/choices/0/message/thinking_blocks"];
    vec![
        case("a text", json!({}), &["/content/0/text"], &["/choices/0/message/content"]),
        case(
            "a text in two blocks",
            json!({"content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]}),
            &["/content/0/text", "/content/1/text"],
            &["/choices/0/message/content"],
        ),
        case("thoughts", signed(), &["/content/0"], thoughts),
        case("thoughts that are encrypted", encrypted(), &["/content/0"], thoughts),
        case("two calls", calling(), &["/content/1", "/content/2"], &["/choices/0/message/tool_calls"]),
        case("tokens", anthropics_tokens(), &["/usage"], &["/usage"]),
        case("its id", json!({}), &["/id"], &["/id"]),
        case("its name", json!({}), &["/model"], &["/model"]),
        case("citations", cited(), &["/content/0/citations"], &["/choices/0/message/annotations"]),
        case(
            "which stop string it was",
            json!({"stop_reason": "stop_sequence", "stop_sequence": "END"}),
            &["/stop_sequence"],
            &[],
        ),
        case(
            "at which tier it was served",
            json!({"usage": {"input_tokens": 12, "output_tokens": 40, "service_tier": "standard"}}),
            &["/usage/service_tier"],
            &["/service_tier"],
        ),
    ]
}

pub(super) fn openai_to_messages() -> Vec<Case> {
    let case = openais(Endpoint::Messages);
    let plain = || choice(json!({}), json!({}));
    let said = |name: &str| choice(json!({name: "hm"}), json!({}));
    let refusal = choice(json!({"content": null, "refusal": "no"}), json!({}));
    let served = with(plain(), json!({"service_tier": "default", "system_fingerprint": "fp"}));
    let kept = json!({"cached_tokens": 1_000});
    let written = json!({"cached_tokens": 1_000, "cache_write_tokens": 100});
    let calls_at: Places = &["/choices/0/message/tool_calls"];
    vec![
        case("a text", plain(), &["/choices/0/message/content"], &["/content"]),
        case(
            "thoughts",
            said("reasoning_content"),
            &["/choices/0/message/reasoning_content"],
            &["/content/0"],
        ),
        case(
            "thoughts, in other servers' word",
            said("reasoning"),
            &["/choices/0/message/reasoning"],
            &["/content/0"],
        ),
        case("a refusal", refusal, &["/choices/0/message/refusal"], &["/content", "/stop_reason"]),
        case("two calls", calls(&["{\"x\":1}", "{}"]), calls_at, &["/content"]),
        case("a call whose arguments are no JSON object", calls(&["{\"x\":"]), calls_at, &["/content"]),
        case("tokens", openais_tokens(&kept), &["/usage"], &["/usage"]),
        case(
            "tokens, where it is said what was written to the cache",
            openais_tokens(&written),
            &["/usage"],
            &["/usage"],
        ),
        case("its id", plain(), &["/id"], &["/id"]),
        case("its name", plain(), &["/model"], &["/model"]),
        case("annotations", annotated(), &["/choices/0/message/annotations"], &["/content/0/citations"]),
        case("`logprobs`", logprobs(), &["/choices/0/logprobs"], &[]),
        case("when it answered", plain(), &["/created"], &[]),
        case(
            "at which tier and by which system it was served",
            served,
            &["/service_tier", "/system_fingerprint"],
            &["/usage/service_tier"],
        ),
    ]
}

pub(super) fn anthropic_to_responses() -> Vec<Case> {
    let case = anthropics(Endpoint::Responses);
    vec![
        case("a text", json!({}), &["/content/0/text"], &["/output"]),
        case("thoughts", signed(), &["/content/0"], &["/output/0"]),
        case("thoughts that are encrypted", encrypted(), &["/content/0"], &["/output/0"]),
        case("two calls", calling(), &["/content/1", "/content/2"], &["/output/1", "/output/2"]),
        case("tokens", anthropics_tokens(), &["/usage"], &["/usage"]),
        case("citations", cited(), &["/content/0/citations"], &["/output/0/content/0/annotations"]),
        case("whether it is stored", json!({}), &[], &["/store"]),
    ]
}

pub(super) fn openai_to_responses() -> Vec<Case> {
    let case = openais(Endpoint::Responses);
    let thought = choice(json!({"reasoning_content": "hm"}), json!({}));
    let refusal = choice(json!({"content": null, "refusal": "no"}), json!({}));
    let kept = json!({"cached_tokens": 1_000});
    let calls_at: Places = &["/choices/0/message/tool_calls"];
    vec![
        case("thoughts", thought, &["/choices/0/message/reasoning_content"], &["/output/0"]),
        case(
            "a refusal",
            refusal,
            &["/choices/0/message/refusal"],
            &["/output/0/content", "/status", "/incomplete_details"],
        ),
        case("a call whose arguments are no JSON object", calls(&["{\"x\":"]), calls_at, &["/output"]),
        case("tokens", openais_tokens(&kept), &["/usage"], &["/usage"]),
        case(
            "annotations",
            annotated(),
            &["/choices/0/message/annotations"],
            &["/output/0/content/0/annotations"],
        ),
        case("`logprobs`", logprobs(), &["/choices/0/logprobs"], &["/output/0/content/0/logprobs"]),
    ]
}
