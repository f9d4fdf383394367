//! Responses as their clients see them: the events in their order, the whole, and failures.

use serde_json::{Value, json};
use syndarix_llm::inbound::{Fault, Relay, whole};
use syndarix_llm::{Block, Completion, Delta, Endpoint, Head, Native, Piece, StopReason, Usage};

fn native(more: &Value) -> Native {
    let mut body = json!({"model": "m", "input": "go", "stream": true});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Native::parse(Endpoint::Responses, body.to_string().into()).unwrap()
}

pub(crate) fn completion(blocks: Vec<Block>, stop: StopReason) -> Completion {
    Completion {
        blocks,
        stop,
        usage: Usage {
            input: 12,
            output: 40,
            cache_read: 1_000,
            cache_write: 100,
            reasoning: 9,
            ..Usage::default()
        },
        deployment: "d".into(),
        provider: "p".into(),
        model: "claude-x".into(),
        simulated: false,
        latency_ms: 1,
        cost_micro_usd: 1,
        price_unknown: false,
        before: Vec::new(),
    }
}

pub(crate) fn head() -> Head {
    Head {
        deployment: "d".into(),
        model: "claude-x".into(),
        native: false,
        attempt: 1,
        simulated: false,
        dropped: Vec::new(),
        prompt_tokens: 5,
    }
}

/// The events of frames; each frame's name is that of its document.
pub(crate) fn events(frames: &str) -> Vec<Value> {
    let event = |frame: &str| {
        let (name, data) = frame.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"]);
        data
    };
    frames.split_terminator("\n\n").map(event).collect()
}

fn stream(native: &Native, deltas: &[Delta], stop: StopReason) -> Vec<Value> {
    let mut relay = Relay::new(native, "1".into(), 7);
    let mut frames = relay.head(&head());
    let completion = completion(Vec::new(), stop.clone());
    let end = [Delta::Usage { usage: completion.usage }, Delta::Finished { stop }];
    for delta in deltas.iter().chain(&end) {
        frames += &relay.piece(&Piece { deltas: vec![delta.clone()], raw: None });
    }
    frames += &relay.end(&Ok(completion));
    events(&frames)
}

fn answer() -> Vec<Delta> {
    let text = |index, text: &str| Delta::Text { index, text: text.into() };
    let input = |index, json: &str| Delta::ToolInput { index, json: json.into() };
    vec![
        Delta::Thinking { index: 0, text: "First ".into() },
        Delta::Thinking { index: 0, text: "think.".into() },
        Delta::Signature { index: 0, signature: "sig".into() },
        text(1, "I "),
        text(1, "call."),
        Delta::ToolUse { index: 2, id: "a".into(), name: "weather".into() },
        input(2, "{\"city\":"),
        input(2, "\"Rome\"}"),
        Delta::ToolUse { index: 3, id: "b".into(), name: "time".into() },
        input(3, "{}"),
    ]
}

#[test]
fn the_events_of_a_response_come_in_the_order_of_the_format() {
    let events = stream(&native(&json!({})), &answer(), StopReason::ToolUse);

    let names: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "{numbers:?}");
}

#[test]
fn the_last_event_holds_what_the_events_before_it_said() {
    let events = stream(&native(&json!({})), &answer(), StopReason::ToolUse);

    let done: Vec<&Value> =
        events.iter().filter(|event| event["type"] == "response.output_item.done").collect();
    let response = &events.last().unwrap()["response"];
    let items: Vec<&Value> = done.iter().map(|event| &event["item"]).collect();
    assert_eq!(response["output"].as_array().unwrap().iter().collect::<Vec<_>>(), items);
    for (place, event) in done.iter().enumerate() {
        assert_eq!(event["output_index"], place);
        let of_item = |other: &&Value| other["output_index"] == place && other.get("item_id").is_some();
        assert!(events.iter().filter(of_item).all(|other| other["item_id"] == event["item"]["id"]));
    }
    assert_eq!(items[0]["encrypted_content"], "thinking:sig");
    assert_eq!(items[1]["content"][0]["text"], "I call.");
    assert_eq!((&items[2]["call_id"], &items[2]["arguments"]), (&json!("a"), &json!("{\"city\":\"Rome\"}")));
    assert_eq!(response["status"], "completed");
    let usage = &response["usage"];
    assert_eq!((&usage["input_tokens"], &usage["total_tokens"]), (&json!(1_112), &json!(1_152)));
    assert_eq!(usage["input_tokens_details"]["cached_tokens"], 1_000);
    assert_eq!(usage["output_tokens_details"]["reasoning_tokens"], 9);
}

#[test]
fn a_whole_response_has_the_items_that_a_stream_of_it_has() {
    let asked = json!({"instructions": "Be brief.", "temperature": 0.5, "metadata": {"k": "v"}});
    let blocks = vec![
        Block::Thinking { text: "First think.".into(), signature: Some("sig".into()), model: None },
        Block::text("I call."),
        Block::ToolUse { id: "a".into(), name: "weather".into(), input: json!({"city": "Rome"}) },
        Block::ToolUse { id: "b".into(), name: "time".into(), input: json!({}) },
    ];

    let whole = whole(&native(&asked), "1", 7, &completion(blocks, StopReason::ToolUse));

    let events = stream(&native(&asked), &answer(), StopReason::ToolUse);
    assert_eq!(whole, events.last().unwrap()["response"]);
    assert_eq!((&whole["id"], &whole["created_at"]), (&json!("resp_1"), &json!(7)));
    assert_eq!((&whole["instructions"], &whole["store"]), (&json!("Be brief."), &json!(false)));
}

#[test]
fn an_answer_that_is_cut_or_refused_is_incomplete_and_says_why() {
    for (stop, reason) in
        [(StopReason::MaxTokens, "max_output_tokens"), (StopReason::Refusal, "content_filter")]
    {
        let events = stream(&native(&json!({})), &[Delta::Text { index: 0, text: "I".into() }], stop);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["incomplete_details"]["reason"], reason);
    }
}

#[test]
fn a_stream_that_fails_ends_with_an_error_that_is_the_next_event() {
    let mut relay = Relay::new(&native(&json!({})), "1".into(), 7);
    let begun = relay.head(&head());

    let failed = events(&(begun + &relay.fail(&Fault::new(503, "stopping", "the gateway is stopping"))));

    let last = failed.last().unwrap();
    assert_eq!((&last["type"], &last["sequence_number"]), (&json!("error"), &json!(2)));
    assert_eq!((&last["code"], &last["error"]["code"]), (&json!("stopping"), &json!("stopping")));
}

#[test]
fn encrypted_thoughts_come_back_as_they_went_out() {
    let redacted = [Delta::Signature { index: 0, signature: "redacted_thinking:opaque".into() }];
    let events = stream(&native(&json!({})), &redacted, StopReason::EndTurn);
    let item = events.last().unwrap()["response"]["output"][0].clone();

    let input = json!([{"role": "user", "content": "go"}, item, {"role": "assistant", "content": "ok"}]);
    let again = native(&json!({"input": input}));
    let request = syndarix_llm::Ask::Native(&again).neutral().unwrap();

    let Block::Thinking { signature, .. } = &request.messages[1].content[0] else { panic!("{request:?}") };
    assert_eq!(signature.as_deref(), Some("redacted_thinking:opaque"));
}
