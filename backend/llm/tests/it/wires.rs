//! Both wire formats, answered by the scripted endpoint and by raw bytes.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use futures::stream;
use serde_json::{Value, json};
use syndarix_llm::{Block, Delta, ErrorKind, Message, ProviderKind, Rates, StopReason, Usage};

use crate::harness::{Hooks, KINDS, Server, call, gateway, kinds, policy, request, tool_use};

const ANSWER: &str = r#"
[[rule]]
name = "work"
answer.thinking = "First the branch, then the commit."
answer.text = "I create a branch and commit: naïve café."
answer.tool = [
  { name = "git_branch", arguments = { name = "story/S-7", nested = { list = [1, "two", true] } } },
  { name = "git_commit", arguments = { message = "Add \"quotes\"\nand lines" } },
]
answer.usage = { input = 1200, output = 80, cache_read = 300 }
"#;

#[tokio::test]
async fn text_and_tool_calls_split_over_many_chunks_arrive_whole_on_both_wires() {
    let server = Server::scripted(ANSWER).await;
    for kind in KINDS {
        let hooks = Hooks::default();
        let answer = call(&gateway(policy(0)), vec![server.deployment("d", kind)], &request("go"), &hooks)
            .await
            .unwrap();
        assert_eq!(answer.text(), "I create a branch and commit: naïve café.");
        assert_eq!(answer.stop, StopReason::ToolUse);
        let calls: Vec<_> =
            answer.blocks.iter().filter(|b| matches!(b, Block::ToolUse { .. })).map(tool_use).collect();
        assert_eq!(
            calls[0],
            ("git_branch", &json!({"name": "story/S-7", "nested": {"list": [1, "two", true]}}))
        );
        assert_eq!(calls[1], ("git_commit", &json!({"message": "Add \"quotes\"\nand lines"})));
        assert_eq!(answer.usage, Usage { input: 1200, output: 80, cache_read: 300, ..Usage::default() });
        assert_eq!((answer.model.as_str(), answer.simulated), ("scripted-test", true));
        let fragments =
            hooks.deltas().iter().filter(|delta| matches!(delta, Delta::ToolInput { .. })).count();
        assert!(fragments > 4, "the arguments came in {fragments} pieces");
        assert!(hooks.deltas().iter().all(|d| !matches!(d, Delta::Started { simulated: false, .. })));
    }
}

#[tokio::test]
async fn reasoning_keeps_its_signature_and_model_on_the_wire_that_has_it() {
    let server = Server::scripted(ANSWER).await;
    let chain = || vec![server.deployment("d", ProviderKind::Anthropic)];
    let answer = call(&gateway(policy(0)), chain(), &request("go"), &Hooks::default()).await.unwrap();
    let Block::Thinking { text, signature: Some(_), model: Some(model) } = &answer.blocks[0] else {
        panic!("{:?}", answer.blocks)
    };
    assert_eq!((text.as_str(), model.as_str()), ("First the branch, then the commit.", "scripted-test"));
    let mut next = request("go");
    next.messages.push(Message::assistant(answer.blocks.clone()));
    let results = answer.blocks.iter().filter_map(|block| match block {
        Block::ToolUse { id, .. } => Some(Block::ToolResult {
            tool_use_id: id.clone(),
            content: "ok".into(),
            is_error: false,
            images: Vec::new(),
        }),
        _ => None,
    });
    next.messages.push(Message::tool_results(results.collect()));
    call(&gateway(policy(0)), chain(), &next, &Hooks::default()).await.unwrap();
}

#[tokio::test]
async fn an_answer_without_streaming_has_the_shape_of_its_wire() {
    let server = Server::scripted(ANSWER).await;
    let http = crate::harness::plain_client();
    let openai: Value = http
        .post(server.url("/v1/chat/completions"))
        .json(&json!({"model": "gpt-x", "messages": [{"role": "user", "content": "go"}]}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(openai["model"], "scripted-gpt-x");
    assert_eq!(openai["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(openai["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "git_branch");
    assert_eq!(openai["usage"]["prompt_tokens"], 1500);
    let anthropic: Value = http
        .post(server.url("/v1/messages"))
        .json(&json!({"model": "claude-x", "max_tokens": 9, "messages": [{"role": "user", "content": "go"}]}))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(anthropic["model"], "scripted-claude-x");
    assert_eq!(anthropic["stop_reason"], "tool_use");
    assert_eq!(anthropic["content"][2]["input"]["name"], "story/S-7");
    assert_eq!(anthropic["usage"]["cache_read_input_tokens"], 300);
}

#[tokio::test]
async fn pieces_are_passed_on_as_they_come_and_not_at_the_end() {
    let script = format!("{ANSWER}\nfault = {{ kind = \"slow_stream\", chunk_ms = 15 }}");
    let server = Server::scripted(&script).await;
    for kind in KINDS {
        let hooks = Hooks::default();
        call(&gateway(policy(0)), vec![server.deployment("d", kind)], &request("go"), &hooks).await.unwrap();
        let settled = &hooks.settled()[0];
        assert!(settled.first_content_ms.unwrap() * 2 < settled.latency_ms, "{settled:?}");
    }
}

/// A server that answers every request with these bytes, in chunks of `cut` bytes.
pub(crate) async fn raw(body: &'static str, cut: usize) -> Server {
    let answer = move || async move {
        let chunks: Vec<_> =
            body.as_bytes().chunks(cut).map(|c| Ok::<_, Infallible>(Bytes::copy_from_slice(c))).collect();
        ([("content-type", "text/event-stream")], Body::from_stream(stream::iter(chunks)))
    };
    Server::of(Router::new().route("/v1/chat/completions", post(answer)).route("/v1/messages", post(answer)))
        .await
}

#[tokio::test]
async fn a_compatible_server_without_usage_ids_or_done_is_understood_and_its_usage_marked_estimated() {
    let body = concat!(
        ": a comment\n\n",
        "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"hé\",\"reasoning\":\"hm\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{\"name\":\"a\",\"arguments\":{\"x\":1}}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
    );
    for cut in [1, 3, 1000] {
        let server = raw(body, cut).await;
        let chain = vec![server.deployment("d", ProviderKind::OpenAiCompatible)];
        let answer = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap();
        assert_eq!(answer.stop, StopReason::ToolUse);
        assert_eq!(answer.text(), "hé");
        assert_eq!(tool_use(&answer.blocks[2]), ("a", &json!({"x": 1})));
        assert!(answer.usage.estimated && answer.usage.input > 0 && answer.usage.output > 0);
        assert!(!answer.simulated);
    }
}

#[tokio::test]
async fn two_calls_that_a_server_gives_one_number_stay_two() {
    let body = concat!(
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"a\",\"arguments\":\"{\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\",\"function\":{\"name\":\"a\",\"arguments\":\"}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"y\",\"function\":{\"name\":\"b\",\"arguments\":\"{}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
    );
    let server = raw(body, 1000).await;
    let chain = vec![server.deployment("d", ProviderKind::OpenAiCompatible)];
    let answer = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap();
    let calls: Vec<_> = answer.blocks.iter().map(tool_use).collect();
    assert_eq!(calls, [("a", &json!({})), ("b", &json!({}))]);
}

#[tokio::test]
async fn a_null_where_others_leave_a_field_out_is_understood() {
    let body = concat!(
        "data: {\"model\":\"m\",\"choices\":[{\"index\":null,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":null,\"usage\":{\"prompt_tokens\":null,\"completion_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );
    let server = raw(body, 1000).await;
    let chain = vec![server.deployment("d", ProviderKind::OpenAiCompatible)];
    let answer = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap();
    assert_eq!((answer.text().as_str(), answer.usage.output), ("hi", 3));
    assert!(answer.usage.estimated && answer.usage.input > 0);
}

#[tokio::test]
async fn a_broken_chunk_is_asked_for_again_and_then_of_the_next_deployment() {
    let broken = raw("data: {not json\n\n", 1000).await;
    let sound = raw("data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\n", 1000).await;
    let chain = vec![
        broken.deployment("broken", ProviderKind::OpenAiCompatible),
        sound.deployment("sound", ProviderKind::OpenAiCompatible),
    ];
    let hooks = Hooks::default();
    let answer = call(&gateway(policy(1)), chain, &request("go"), &hooks).await.unwrap();
    assert_eq!(answer.deployment, "sound");
    let failed: Vec<bool> = hooks.settled().iter().map(|settled| settled.error.is_some()).collect();
    assert_eq!(failed, [true, true, false]);
}

#[tokio::test]
async fn pings_and_unknown_events_are_ignored_and_later_usage_replaces_earlier() {
    let body = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude\",\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":4,\"cache_creation\":{\"ephemeral_5m_input_tokens\":1,\"ephemeral_1h_input_tokens\":3},\"output_tokens\":1}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: news\ndata: {\"type\":\"news\",\"x\":1}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"redacted_thinking\",\"data\":\"xyz\"}}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"hi\"}}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );
    let server = raw(body, 5).await;
    let chain = vec![server.deployment("d", ProviderKind::Anthropic)];
    let answer = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap();
    assert_eq!(
        answer.usage,
        Usage { input: 10, output: 7, cache_write: 4, cache_write_1h: 3, ..Usage::default() }
    );
    assert!(matches!(&answer.blocks[0], Block::Thinking { signature: Some(s), .. } if s.ends_with("xyz")));
    assert_eq!(answer.text(), "hi");
}

#[tokio::test]
async fn what_breaks_the_format_is_an_error_and_never_a_panic() {
    for (body, kind) in [
        ("data: {not json\n\n", ErrorKind::Malformed),
        ("data: [DONE]\n\n", ErrorKind::Malformed),
        (
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"x\"}]}}]}\n\n",
            ErrorKind::Malformed,
        ),
        (
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":4000000000,\"id\":\"x\"}]}}]}\n\n",
            ErrorKind::Malformed,
        ),
        ("data: {\"choices\":[]}\n\n", ErrorKind::Connection),
        ("data: {\"error\":{\"message\":\"m\",\"code\":502}}\n\n", ErrorKind::ServerError),
        (
            "data: {\"error\":{\"message\":\"m\",\"type\":\"overloaded_error\"}}\n\n",
            ErrorKind::Overloaded { retry_after_ms: None },
        ),
    ] {
        let server = raw(body, 7).await;
        let chain = vec![server.deployment("d", ProviderKind::OpenAiCompatible)];
        let error = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(kind))], "{body}");
    }
    for body in ["data: {}\n\n", "data: {\"type\":\"message_stop\"}\n\n", "data: [1]\n\n"] {
        let server = raw(body, 7).await;
        let chain = vec![server.deployment("d", ProviderKind::Anthropic)];
        let error = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(ErrorKind::Malformed))], "{body}");
    }
}

#[tokio::test]
async fn statuses_are_classified_and_a_key_that_the_provider_echoes_is_blanked() {
    let echo = |headers: HeaderMap| async move {
        let key = headers["authorization"].to_str().unwrap().to_owned();
        (StatusCode::UNAUTHORIZED, format!("{{\"error\":{{\"message\":\"bad {key}\"}}}}"))
    };
    let server = Server::of(Router::new().route("/v1/chat/completions", post(echo))).await;
    let chain = vec![server.deployment("d", ProviderKind::OpenAi)];
    let error = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
    assert_eq!(kinds(&error), [("d".to_owned(), Some(ErrorKind::Auth))]);
    assert!(error.to_string().contains("bad Bearer [redacted]"), "{error}");
    for (status, body, kind) in [
        (400, r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, ErrorKind::ContextTooLong),
        (400, r#"{"error":{"message":"prompt is too long: 9 > 8"}}"#, ErrorKind::ContextTooLong),
        (400, r#"{"error":{"message":"no such field"}}"#, ErrorKind::BadRequest),
        (404, "<html>", ErrorKind::NotFound),
        (429, r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, ErrorKind::Auth),
        (
            400,
            r#"{"error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}"#,
            ErrorKind::Auth,
        ),
        (529, "", ErrorKind::Overloaded { retry_after_ms: None }),
        (307, "", ErrorKind::NotFound),
    ] {
        let answer = move || async move { (StatusCode::from_u16(status).unwrap(), body) };
        let server = Server::of(Router::new().route("/v1/messages", post(answer))).await;
        let chain = vec![server.deployment("d", ProviderKind::Anthropic)];
        let error = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(kind))], "{status} {body}");
    }
}

#[tokio::test]
async fn an_error_with_status_200_is_an_error() {
    let answer = || async { axum::Json(json!({"error": {"message": "upstream is gone", "code": 503}})) };
    let server = Server::of(Router::new().route("/v1/chat/completions", post(answer))).await;
    let chain = vec![server.deployment("d", ProviderKind::OpenAiCompatible)];
    let error = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap_err();
    assert_eq!(kinds(&error), [("d".to_owned(), Some(ErrorKind::Overloaded { retry_after_ms: None }))]);
}

#[tokio::test]
async fn an_answer_beyond_the_size_limits_is_refused() {
    let server = Server::scripted(ANSWER).await;
    for (body, event) in [(600, 8 << 20), (64 << 20, 100)] {
        let mut deployment = server.deployment("d", ProviderKind::OpenAi);
        deployment.limits.max_body_bytes = body;
        deployment.limits.max_event_bytes = event;
        let error =
            call(&gateway(policy(0)), vec![deployment], &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(ErrorKind::TooLarge))]);
    }
}

#[tokio::test]
async fn an_unknown_model_is_flagged_and_never_free_while_configured_prices_hold() {
    let body = "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":10}}\n\n";
    let server = raw(body, 1000).await;
    let mut deployment = server.deployment("d", ProviderKind::OpenAiCompatible);
    deployment.model = "somebody's-model".to_owned();
    let chain = vec![deployment.clone()];
    let unknown = call(&gateway(policy(0)), chain, &request("go"), &Hooks::default()).await.unwrap();
    assert!(unknown.price_unknown && unknown.cost_micro_usd >= 4_800, "{unknown:?}");
    deployment.prices = Some(Rates { input: 1_000_000, output: 2_000_000, ..Rates::default() });
    let known = call(&gateway(policy(0)), vec![deployment], &request("go"), &Hooks::default()).await.unwrap();
    assert_eq!((known.price_unknown, known.cost_micro_usd), (false, 120));
}

#[tokio::test]
async fn what_is_sent_has_the_limit_and_the_fields_that_the_provider_takes() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<(HeaderMap, Value)>();
    let record = move |headers: HeaderMap, axum::Json(body): axum::Json<Value>| {
        let sender = sender.clone();
        async move {
            sender.send((headers, body)).unwrap();
            StatusCode::BAD_REQUEST
        }
    };
    let router =
        Router::new().route("/v1/chat/completions", post(record.clone())).route("/v1/messages", post(record));
    let server = Server::of(router).await;
    let mut asked = request("go");
    asked.max_output_tokens = 9_999;
    for kind in KINDS {
        let mut deployment = server.deployment("d", kind);
        deployment.accepts_temperature = kind != ProviderKind::OpenAi;
        let mut sent = async |hooks: Hooks| {
            call(&gateway(policy(0)), vec![deployment.clone()], &asked, &hooks).await.unwrap_err();
            tokio::time::timeout(Duration::from_secs(5), receiver.recv()).await.unwrap().unwrap()
        };
        let (headers, body) = sent(Hooks::default()).await;
        let (_, for_less) = sent(Hooks { grant: Some(70), ..Hooks::default() }).await;
        let limit = if kind == ProviderKind::OpenAi { "max_completion_tokens" } else { "max_tokens" };
        assert_eq!((&body[limit], &for_less[limit]), (&json!(4_000), &json!(70)));
        assert_eq!(body.get("temperature").is_some(), kind != ProviderKind::OpenAi);
        assert_eq!(body["stream"], true);
        if kind == ProviderKind::Anthropic {
            assert_eq!(headers["x-api-key"], "key-of-the-test");
            assert_eq!(body["system"][0]["cache_control"]["type"], "ephemeral");
        } else {
            assert_eq!(headers["authorization"], "Bearer key-of-the-test");
            assert_eq!(body["stream_options"]["include_usage"], true);
        }
    }
}
