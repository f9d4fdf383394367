//! What only this format has: signatures, ids that are made up, the end without a word.

use serde_json::json;

use super::*;
use crate::assemble::Assembler;
use crate::provider::ProviderKind;
use crate::types::{Block, ChatRequest, Message, Options};

fn deployment(model: &str) -> Deployment {
    let url = "https://generativelanguage.googleapis.com/v1beta".parse().unwrap();
    Deployment { model: model.into(), ..Deployment::new("d", ProviderKind::Gemini, url) }
}

fn asking(messages: Vec<Message>) -> ChatRequest {
    ChatRequest {
        system: String::new(),
        messages,
        tools: Vec::new(),
        max_output_tokens: 9,
        temperature: None,
        stop: Vec::new(),
        options: Options::default(),
    }
}

fn assembled(chunks: &[Value]) -> Vec<Block> {
    let (mut decoder, mut answer) = (GeminiDecoder::default(), Assembler::default());
    for chunk in chunks {
        let event = SseEvent { event: String::new(), data: chunk.to_string() };
        decoder.event(&event).unwrap().iter().for_each(|delta| answer.push(delta));
    }
    assert!(decoder.may_end());
    answer.finish().0
}

fn parts(parts: &Value) -> Value {
    json!({"candidates": [{"content": {"role": "model", "parts": parts}}], "responseId": "r1"})
}

fn end() -> Value {
    json!({"candidates": [{"finishReason": "STOP"}]})
}

#[test]
fn a_signature_goes_back_with_the_call_it_came_with_and_only_to_its_own_model() {
    let mut blocks = assembled(&[
        parts(&json!([{"text": "hm", "thought": true}])),
        parts(&json!([{"functionCall": {"name": "a", "args": {"x": 1}}, "thoughtSignature": "sig-a"},
                      {"functionCall": {"name": "b", "args": {}}}])),
        end(),
    ]);
    let ids: Vec<&str> = blocks
        .iter()
        .filter_map(|block| if let Block::ToolUse { id, .. } = block { Some(id.as_str()) } else { None })
        .collect();
    assert_eq!(ids, ["call_r1_0", "call_r1_1"], "made up, and unique over the conversation");
    for block in &mut blocks {
        if let Block::Thinking { model, .. } = block {
            *model = Some("gemini-3-pro".into());
        }
    }
    let sent = |model: &str| {
        let body = encode(&deployment(model), &asking(vec![Message::assistant(blocks.clone())]), 9);
        let parts = body["contents"][0]["parts"].as_array().unwrap().clone();
        parts.iter().map(|part| part["thoughtSignature"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(sent("gemini-3-pro"), [Some("sig-a".to_owned()), None]);
    assert_eq!(sent("gemini-3-flash"), [Some("skip_thought_signature_validator".to_owned()), None]);
    assert_eq!(sent("gemini-2.5-pro"), [None, None]);
}

#[test]
fn a_result_names_the_tool_of_its_call() {
    let call = Block::ToolUse { id: "c7".into(), name: "read".into(), input: json!({"path": "a"}) };
    let result = |content: &str, is_error| Block::ToolResult {
        tool_use_id: "c7".into(),
        content: content.into(),
        is_error,
        images: Vec::new(),
    };
    for (is_error, key) in [(false, "output"), (true, "error")] {
        let messages = vec![
            Message::assistant(vec![call.clone()]),
            Message::tool_results(vec![result("text", is_error)]),
        ];
        let body = encode(&deployment("gemini-2.5-pro"), &asking(messages), 9);
        let expected = json!({"functionResponse": {"id": "c7", "name": "read", "response": {key: "text"}}});
        assert_eq!(body["contents"][1], json!({"role": "user", "parts": [expected]}));
    }
}

#[test]
fn a_prompt_that_is_kept_back_is_refused_and_its_tokens_are_counted() {
    let stream = include_str!("../../../tests/fixtures/gemini_blocked.sse");
    let data = stream.trim_end().strip_prefix("data: ").unwrap();
    let event = SseEvent { event: String::new(), data: data.to_owned() };
    let mut decoder = GeminiDecoder::default();
    let deltas = decoder.event(&event).unwrap();
    let usage = Usage { input: 12, ..Usage::default() };
    let expected = [Delta::Usage { usage }, Delta::Finished { stop: StopReason::Refusal }];
    assert_eq!(deltas[1..], expected);
    assert!(decoder.may_end());
}

#[test]
fn what_the_filter_keeps_back_is_a_refusal_and_a_call_that_is_none_is_asked_for_again() {
    let stop = |chunk: Value| {
        let event = SseEvent { event: String::new(), data: chunk.to_string() };
        GeminiDecoder::default().event(&event)
    };
    let refusal = [Delta::Finished { stop: StopReason::Refusal }];
    assert_eq!(stop(json!({"promptFeedback": {"blockReason": "SAFETY"}})).unwrap(), refusal);
    for reason in ["SAFETY", "PROHIBITED_CONTENT", "SPII", "RECITATION"] {
        assert_eq!(stop(json!({"candidates": [{"finishReason": reason}]})).unwrap(), refusal);
    }
    let error = stop(json!({
        "candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}],
        "usageMetadata": {"promptTokenCount": 12, "thoughtsTokenCount": 30},
    }))
    .unwrap_err();
    assert!(error.kind.is_transient(), "{error}");
    let used = Usage { input: 12, output: 30, reasoning: 30, ..Usage::default() };
    assert_eq!(error.usage, Some(used), "and its tokens are counted");
}
