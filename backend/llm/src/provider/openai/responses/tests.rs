use serde_json::{Value, json};

use super::*;
use crate::ask::{Ask, Endpoint, Native};
use crate::assemble::Assembler;
use crate::error::TimeoutPhase;
use crate::inbound;
use crate::provider::ProviderKind;
use crate::sse::SseDecoder;
use crate::types::{
    Block, ChatRequest, Effort, Image, Message, Options, Reasoning, Role, ToolChoice, ToolSpec,
};

const TOOLS: &[u8] = include_bytes!("../../../../tests/fixtures/responses_tools.sse");
const TOOLS_WHOLE: &[u8] = include_bytes!("../../../../tests/fixtures/responses_tools.json");
const FAILED: &[u8] = include_bytes!("../../../../tests/fixtures/responses_failed.sse");

fn gpt() -> Deployment {
    Deployment {
        model: "gpt-6-sol".into(),
        max_output: 32_000,
        ..Deployment::new("d", ProviderKind::OpenAi, "http://localhost/v1".parse().unwrap())
    }
}

fn request(messages: Vec<Message>) -> ChatRequest {
    let schema = json!({"type": "object"});
    let tool = ToolSpec { name: "look".into(), description: "looks".into(), input_schema: schema };
    ChatRequest {
        system: "Be brief.".into(),
        messages,
        tools: vec![tool],
        max_output_tokens: 900,
        temperature: None,
        stop: Vec::new(),
        options: Options::default(),
    }
}

fn thought(signature: String) -> Block {
    Block::Thinking { text: "hm".into(), signature: Some(signature), model: None }
}

fn call(id: &str) -> Block {
    Block::ToolUse { id: id.into(), name: "look".into(), input: json!({"at": 1}) }
}

fn result(id: &str, is_error: bool, images: Vec<Image>) -> Block {
    Block::ToolResult { tool_use_id: id.into(), content: "seen".into(), is_error, images }
}

/// A conversation of everything that has a place.
fn everything() -> ChatRequest {
    let picture = Image::Data { media_type: "image/png".into(), data: "aGk=".into() };
    let shown = vec![Block::text("What is it?"), Block::Image { image: picture.clone() }];
    let sealed = thought(format!("{}sealed", seal(&gpt())));
    let calls = vec![sealed, Block::text("I look."), call("a"), call("b")];
    let results = vec![result("a", true, Vec::new()), result("b", false, vec![picture]), Block::text("On.")];
    let mut request = request(vec![
        Message { role: Role::User, content: shown },
        Message::assistant(calls),
        Message::tool_results(results),
    ]);
    request.options = Options {
        tool_choice: Some(ToolChoice::Tool("look".into())),
        parallel_tool_calls: Some(false),
        output_schema: Some(json!({"type": "object"})),
        user: Some("maria".into()),
        reasoning: Some(Reasoning::Effort(Effort::Low)),
        strict_tools: ["look".to_owned()].into(),
        ..Options::default()
    };
    request
}

#[test]
fn a_request_is_said_in_the_words_of_responses() {
    let picture = json!({"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "auto"});
    let call =
        |id| json!({"type": "function_call", "call_id": id, "name": "look", "arguments": "{\"at\":1}"});
    let format =
        json!({"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": true});
    let expected = json!({
        "model": "gpt-6-sol",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, picture]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "sealed"},
            {"role": "assistant", "content": "I look.", "phase": "commentary"},
            call("a"),
            call("b"),
            {"type": "function_call_output", "call_id": "a", "output": "[tool error] seen"},
            {"type": "function_call_output", "call_id": "b",
             "output": [{"type": "input_text", "text": "seen"}, picture]},
            {"role": "user", "content": [{"type": "input_text", "text": "On."}]},
        ],
        "tools": [{"type": "function", "name": "look", "description": "looks",
            "parameters": {"type": "object"}, "strict": true}],
        "tool_choice": {"type": "function", "name": "look"},
        "parallel_tool_calls": false,
        "text": {"format": format},
        "safety_identifier": "maria",
        "reasoning": {"effort": "low"},
        "max_output_tokens": 900,
        "store": false,
        "include": ["reasoning.encrypted_content"],
        "stream": true,
    });

    assert_eq!(Ask::Neutral(&everything()).sent_to(&gpt()), Ok(expected));
}

#[test]
fn what_is_said_is_understood_by_a_server_of_the_same_format() {
    let request = everything();
    let body = encode(&gpt(), &request, 900);

    let read = inbound::responses::parse(&body).unwrap();

    assert!(read.stream && read.model == "gpt-6-sol");
    let mut expected = request;
    // Only who sealed it can read it.
    expected.messages[1].content.remove(0);
    assert_eq!(read.request, expected);
}

#[test]
fn a_tool_that_is_not_strict_and_no_system_prompt_are_said_to_be_so() {
    let mut plain = request(vec![Message::user("go")]);
    plain.system.clear();
    plain.options.reasoning = Some(Reasoning::Off);

    let body = encode(&gpt(), &plain, 900);

    assert_eq!(body["tools"][0]["strict"], false);
    assert_eq!(body["reasoning"], json!({"effort": "none"}));
    assert_eq!((body.get("instructions"), body.get("tool_choice"), body.get("text")), (None, None, None));
}

#[test]
fn thoughts_go_back_only_where_they_were_sealed_and_never_without_what_follows_them() {
    let other = Deployment { api_key: Some(crate::Secret::new("another account's")), ..gpt() };
    let said = |content: Vec<Block>| {
        let messages = vec![Message::user("go"), Message::assistant(content), Message::user("on")];
        let body = encode(&gpt(), &request(messages), 900);
        let items = body["input"].as_array().unwrap();
        items.iter().filter(|item| item["type"] == "reasoning").count()
    };
    let own = || thought(format!("{}sealed", seal(&gpt())));
    assert_eq!(said(vec![own(), Block::text("ok")]), 1);
    assert_eq!(said(vec![own(), call("a")]), 1);
    assert_eq!(said(vec![own()]), 0, "of an answer that was cut");
    assert_eq!(said(vec![thought(format!("{}sealed", seal(&other))), Block::text("ok")]), 0);
    assert_eq!(said(vec![thought("signed by Anthropic".into()), Block::text("ok")]), 0);
}

#[test]
fn what_was_said_goes_back_as_an_answer_or_as_what_stood_before_a_call() {
    let phases = |content: Vec<Block>| {
        let messages = vec![Message::user("go"), Message::assistant(content), Message::user("on")];
        let body = encode(&gpt(), &request(messages), 900);
        let items = body["input"].as_array().unwrap();
        items.iter().filter_map(|item| item["phase"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };

    assert_eq!(phases(vec![Block::text("I look."), call("a")]), ["commentary"]);
    assert_eq!(phases(vec![Block::text("It is here.")]), ["final_answer"]);
    assert_eq!(phases(vec![call("a")]), [""; 0]);
}

#[test]
fn strings_to_stop_at_are_named_as_left_out_and_a_limit_is_no_lower_than_the_api_takes() {
    let body = json!({"model": "m", "max_tokens": 1, "stop_sequences": ["END"],
        "messages": [{"role": "user", "content": "go"}]});
    let native = Native::parse(Endpoint::Messages, body.to_string().into()).unwrap();
    let ask = Ask::Native(&native);

    assert_eq!(ask.dropped(&gpt()), Ok(vec!["stop_sequences".to_owned()]));
    assert_eq!(ask.sent_to(&gpt()).unwrap()["max_output_tokens"], 16);
    assert_eq!(ask.max_output(&gpt()), 16, "which is what is set aside");
}

#[test]
fn an_anthropic_clients_thoughts_of_the_same_model_are_sent_back_and_are_not_left_out() {
    let thinks = |signature: String| {
        let body = json!({"model": "m", "max_tokens": 900, "messages": [{"role": "user", "content": "go"},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm", "signature": signature},
                {"type": "text", "text": "ok"}]}, {"role": "user", "content": "on"}]});
        let native = Native::parse(Endpoint::Messages, body.to_string().into()).unwrap();
        let ask = Ask::Native(&native);
        (ask.sent_to(&gpt()).unwrap()["input"][1]["encrypted_content"].clone(), ask.dropped(&gpt()).unwrap())
    };

    assert_eq!(thinks(format!("{}sealed", seal(&gpt()))), (json!("sealed"), Vec::new()));
    assert_eq!(thinks("Anthropic's".into()), (Value::Null, vec!["messages.thinking".to_owned()]));
}

#[test]
fn a_whole_answer_means_what_the_stream_of_it_does() {
    let read = |deltas: Vec<Delta>| {
        let mut answer = Assembler::default();
        for delta in &deltas {
            answer.push(delta);
        }
        (answer.model().to_owned(), answer.usage(99), answer.finish())
    };
    let mut decoder = ResponsesDecoder::of(&gpt());
    let events = SseDecoder::new(1 << 20).push(TOOLS).unwrap();
    let streamed = events.iter().flat_map(|event| decoder.event(event).unwrap()).collect();

    let (model, usage, (blocks, stop)) = read(whole(TOOLS_WHOLE, ResponsesDecoder::of(&gpt())).unwrap());

    assert!(matches!(&blocks[0], Block::Thinking { signature: Some(signature), .. }
        if *signature == format!("{}gAAAAA-sealed", seal(&gpt()))));
    assert_eq!((model.as_str(), usage.reasoning, &stop), ("gpt-6-sol-2026-09-01", 24, &StopReason::ToolUse));
    assert_eq!(read(streamed), (model, usage, (blocks, stop)));
}

/// The error that a stream ends with.
fn error_of(data: &[Value]) -> ProviderError {
    let mut decoder = ResponsesDecoder::default();
    let events = data.iter().map(|data| SseEvent { event: String::new(), data: data.to_string() });
    events.map(|event| decoder.event(&event)).find_map(Result::err).unwrap()
}

#[test]
fn a_response_that_fails_is_an_error_after_what_was_said_and_may_be_billed() {
    let mut decoder = ResponsesDecoder::default();
    let events = SseDecoder::new(1 << 20).push(FAILED).unwrap();
    let read: Vec<_> = events.iter().map(|event| decoder.event(event)).collect();

    let said = read.iter().flatten().flatten().any(|delta| matches!(delta, Delta::Text { .. }));
    let error = read.last().unwrap().as_ref().unwrap_err();
    assert!(said && error.maybe_billed && !decoder.may_end());
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::ServerError, "The model failed to generate a response.")
    );
}

#[test]
fn what_a_response_used_that_fails_comes_with_its_error() {
    let response = json!({
        "status": "failed",
        "error": {"code": "server_error", "message": "no"},
        "usage": {"input_tokens": 1_112, "input_tokens_details": {"cached_tokens": 1_000},
            "output_tokens": 40, "output_tokens_details": {"reasoning_tokens": 12}, "total_tokens": 1_152},
    });

    let error = error_of(&[json!({"type": "response.failed", "response": response})]);

    let used = Usage { input: 112, output: 40, cache_read: 1_000, reasoning: 12, ..Usage::default() };
    assert_eq!(error.usage, Some(used));
    assert_eq!(whole(response.to_string().as_bytes(), ResponsesDecoder::default()), Err(error));
}

#[test]
fn an_error_has_its_class_whichever_event_says_it() {
    let upstream = ErrorKind::Timeout { phase: TimeoutPhase::Upstream };
    for (code, kind) in [
        ("server_error", ErrorKind::ServerError),
        ("rate_limit_exceeded", ErrorKind::RateLimited { retry_after_ms: None }),
        ("context_length_exceeded", ErrorKind::ContextTooLong),
        ("insufficient_quota", ErrorKind::Auth),
        ("vector_store_timeout", upstream),
        ("invalid_prompt", ErrorKind::BadRequest),
        ("image_parse_error", ErrorKind::BadRequest),
        ("bio_policy", ErrorKind::BadRequest),
    ] {
        let response = json!({"status": "failed", "error": {"code": code, "message": "no"}});
        let failed = json!({"type": "response.failed", "response": response});
        let flat =
            json!({"type": "error", "code": code, "message": "no", "param": null, "sequence_number": 3});
        let nested = json!({"type": "error", "error": {"code": code, "message": "no"}});
        for event in [failed, flat, nested] {
            let error = error_of(&[event]);
            assert_eq!((error.kind, error.message.as_str()), (kind, "no"), "{code}");
        }
    }
}

#[test]
fn an_end_that_is_none_is_no_answer() {
    for (response, kind) in [
        (json!({"status": "cancelled"}), ErrorKind::ServerError),
        (json!({"status": "in_progress"}), ErrorKind::Malformed),
        (json!({}), ErrorKind::Malformed),
    ] {
        let error = error_of(&[json!({"type": "response.completed", "response": response})]);
        assert_eq!(error.kind, kind, "{response}");
        assert_eq!(whole(response.to_string().as_bytes(), ResponsesDecoder::default()), Err(error));
    }
    let far = json!({"type": "response.output_text.delta", "output_index": 4_000_000_000u32, "delta": "x"});
    assert_eq!(error_of(&[far]).kind, ErrorKind::Malformed);
}

#[test]
fn a_clients_response_is_passed_on_in_its_own_words_but_for_what_would_be_kept() {
    let body = json!({
        "model": "code", "stream": true, "unheard_of": {"a": 1.5}, "store": true, "max_output_tokens": 99_000,
        "include": ["message.output_text.logprobs"], "text": {"verbosity": "low"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "go", "cache_control": {"type": "ephemeral"}}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAA-own"},
            {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "thinking:another's"},
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "seen"},
        ],
        "tools": [{"type": "custom", "name": "sh"}],
    });
    let native = Native::parse(Endpoint::Responses, body.to_string().into()).unwrap();
    let mut expected = body.clone();
    expected["model"] = json!("gpt-6-sol");
    expected["max_output_tokens"] = json!(32_000);
    expected["store"] = json!(false);
    expected["include"] = json!(["message.output_text.logprobs", "reasoning.encrypted_content"]);
    expected["input"].as_array_mut().unwrap().remove(2);
    expected["input"][0]["content"][0].as_object_mut().unwrap().remove("cache_control");

    let ask = Ask::Native(&native);

    assert_eq!(ask.sent_to(&gpt()), Ok(expected));
    let dropped = ["cache_control", "input.reasoning", "store"].map(str::to_owned).to_vec();
    assert_eq!(ask.dropped(&gpt()), Ok(dropped));
}

#[test]
fn a_client_that_asks_for_what_was_stored_is_refused_as_by_every_other_deployment() {
    for (more, word) in [
        (json!({"previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"conversation": "conv_1"}), "conversation"),
        (json!({"background": true}), "background"),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), "item_reference"),
    ] {
        let mut body = json!({"model": "m", "input": "go", "background": false});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let native = Native::parse(Endpoint::Responses, body.to_string().into()).unwrap();
        let refused = Ask::Native(&native).dropped(&gpt()).unwrap_err();
        assert!(refused.0.contains(word), "{refused}");
    }
    let body =
        json!({"model": "m", "input": "\"item_reference\"", "background": false, "conversation": null});
    let native = Native::parse(Endpoint::Responses, body.to_string().into()).unwrap();
    assert_eq!(Ask::Native(&native).dropped(&gpt()), Ok(Vec::new()));
}

#[test]
fn a_clients_chat_completion_stays_one() {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "go"}], "seed": 7});
    let native = Native::parse(Endpoint::ChatCompletions, body.to_string().into()).unwrap();

    let sent = Ask::Native(&native).sent_to(&gpt()).unwrap();

    assert_eq!((&sent["seed"], &sent["messages"][0]["content"]), (&json!(7), &json!("go")));
}
