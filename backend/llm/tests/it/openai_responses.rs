//! OpenAI's models that take tools only over responses: what they are sent, and what agents and clients get. The answers are in
//! the shapes of the documentation, in `tests/fixtures`.

use serde_json::{Value, json};
use syndarix_llm::inbound::Relay;
use syndarix_llm::{
    Block, Deployment, Endpoint, ErrorKind, Event, Message, Native, ProviderKind, StopReason, Usage,
};
use tokio::sync::mpsc;

use crate::harness::{Hooks, Server, call, deployment, gateway, group, kinds, policy, request, tool_use};
use crate::providers::{JSON, SSE, Sent, native, recorded};
use crate::responses::events;

const TEXT: &str = include_str!("../fixtures/responses_text.sse");
const TOOLS: &str = include_str!("../fixtures/responses_tools.sse");
const TOOLS_WHOLE: &str = include_str!("../fixtures/responses_tools.json");
const FAILED: &str = include_str!("../fixtures/responses_failed.sse");
const FAILED_WHOLE: &str = r#"{"id": "resp_1", "object": "response", "status": "failed", "model": "gpt-6-sol-2026-09-01",
    "error": {"code": "server_error", "message": "The model failed to generate a response."}, "output": [],
    "usage": {"input_tokens": 1112, "input_tokens_details": {"cached_tokens": 1000}, "output_tokens": 40,
        "output_tokens_details": {"reasoning_tokens": 12}, "total_tokens": 1152}}"#;

fn gpt(server: &Server) -> Deployment {
    Deployment {
        model: "gpt-6-astra".into(),
        accepts_temperature: false,
        ..deployment("d", ProviderKind::OpenAi, &server.url("/v1"))
    }
}

#[tokio::test]
async fn an_agent_calls_tools_of_a_model_that_takes_them_over_responses_only_and_gives_its_thoughts_back() {
    let (server, sent) = recorded(200, SSE, TOOLS).await;
    let gateway = gateway(policy(0));
    let mut asked = request("go");

    let answer = call(&gateway, vec![gpt(&server)], &asked, &Hooks::default()).await.unwrap();

    assert_eq!(tool_use(&answer.blocks[1]), ("git_branch", &json!({"name": "story/S-7"})));
    assert_eq!(tool_use(&answer.blocks[2]), ("git_commit", &json!({"message": "Zürich"})));
    assert_eq!((answer.model.as_str(), &answer.stop), ("gpt-6-sol-2026-09-01", &StopReason::ToolUse));
    let kept = Usage { input: 110, output: 65, cache_read: 1_000, cache_write: 100, ..Usage::default() };
    assert_eq!(answer.usage, Usage { reasoning: 24, ..kept });

    let result = |id: &str| Block::ToolResult {
        tool_use_id: id.into(),
        content: "ok".into(),
        is_error: false,
        images: Vec::new(),
    };
    asked.messages.push(Message::assistant(answer.blocks));
    asked.messages.push(Message::tool_results(vec![result("call_a"), result("call_b")]));
    call(&gateway, vec![gpt(&server)], &asked, &Hooks::default()).await.unwrap();

    let sent = sent.lock().unwrap().clone();
    for Sent { address, headers, body } in &sent {
        assert_eq!(address, "/v1/responses");
        assert_eq!(headers["authorization"], "Bearer key-of-the-test");
        assert_eq!((&body["store"], &body["stream"]), (&json!(false), &json!(true)));
        assert_eq!(body["tools"][1]["name"], "git_commit");
    }
    let kinds: Vec<&Value> =
        sent[1].body["input"].as_array().unwrap().iter().map(|item| &item["type"]).collect();
    let calls = ["function_call", "function_call", "function_call_output", "function_call_output"];
    assert_eq!(kinds[1..], [&["reasoning"][..], &calls].concat());
    assert_eq!(sent[1].body["input"][1]["encrypted_content"], "gAAAAA-sealed");
}

/// A client's stream, and what was noted of it.
async fn streamed(server: &Server) -> (String, Hooks) {
    let body = json!({"model": "m", "input": "go", "stream": true, "unheard_of": [1.5]});
    let native = Native::parse(Endpoint::Responses, body.to_string().into()).unwrap();
    let (out, mut events) = mpsc::channel(8);
    let (hooks, group) = (Hooks::default(), group(vec![gpt(server)]));
    let mut relay = Relay::new(&native, "1".into(), 0);
    let reading = async {
        let mut bytes = String::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::Head(head) => {
                    assert!(head.native);
                    bytes += &relay.head(&head);
                }
                Event::Piece(piece) => bytes += &relay.piece(&piece),
                Event::End(result) => bytes += &relay.end(&result),
            }
        }
        bytes
    };
    let gateway = gateway(policy(0));
    let (bytes, ()) = tokio::join!(reading, gateway.answer(&group, &native, &hooks, out));
    (bytes, hooks)
}

#[tokio::test]
async fn a_client_of_responses_gets_the_providers_own_events_to_the_last() {
    let (server, sent) = recorded(200, SSE, TEXT).await;

    let (bytes, hooks) = streamed(&server).await;

    assert_eq!(bytes, TEXT);
    let usage = Usage { input: 112, output: 40, cache_read: 1_000, reasoning: 12, ..Usage::default() };
    assert_eq!(hooks.settled()[0].usage, usage);
    let body = sent.lock().unwrap()[0].body.clone();
    assert_eq!((&body["model"], &body["unheard_of"]), (&json!("gpt-6-astra"), &json!([1.5])));
}

#[tokio::test]
async fn a_stream_that_is_cut_ends_with_an_error_that_is_the_next_event_and_is_counted() {
    let cut = &TEXT[..TEXT.find("event: response.output_text.done").unwrap()];
    let (server, _) = recorded(200, SSE, cut).await;

    let (bytes, hooks) = streamed(&server).await;

    assert!(bytes.starts_with(cut), "{bytes}");
    let events = events(&bytes);
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["sequence_number"]), (&json!("error"), &json!(events.len() - 1)));
    let settled = &hooks.settled()[0];
    assert!(settled.usage.estimated && settled.usage.output > 0, "{settled:?}");
}

#[tokio::test]
async fn a_response_that_is_not_streamed_is_passed_on_as_it_is() {
    let (server, sent) = recorded(200, JSON, TOOLS_WHOLE).await;
    let body = json!({"model": "m", "input": "go"});

    let (answer, dropped, usage) = native(gpt(&server), Endpoint::Responses, &body).await.unwrap();

    assert_eq!(answer, serde_json::from_str::<Value>(TOOLS_WHOLE).unwrap());
    assert_eq!((dropped, usage.reasoning), (Vec::new(), 24));
    let Sent { address, body, .. } = sent.lock().unwrap()[0].clone();
    assert_eq!((address.as_str(), &body["store"]), ("/v1/responses", &json!(false)));
}

#[tokio::test]
async fn a_response_that_fails_and_one_that_is_refused_have_the_class_that_the_provider_says() {
    let refused = r#"{"error": {"message": "Unsupported", "type": "invalid_request_error", "param": null, "code": null}}"#;
    for (status, kind, body, expected) in [
        (200, SSE, FAILED, ErrorKind::ServerError),
        (200, SSE, "event: response.created\ndata: nonsense\n\n", ErrorKind::Malformed),
        (400, JSON, refused, ErrorKind::BadRequest),
    ] {
        let (server, _) = recorded(status, kind, body).await;
        let error = call(&gateway(policy(0)), vec![gpt(&server)], &request("go"), &Hooks::default())
            .await
            .unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(expected))], "{body}");
    }
}

#[tokio::test]
async fn what_a_response_used_that_fails_is_booked_as_its_provider_counts_it() {
    let used = Usage { input: 112, output: 40, cache_read: 1_000, reasoning: 12, ..Usage::default() };

    let (server, _) = recorded(200, SSE, FAILED).await;
    let streamed = Hooks::default();
    call(&gateway(policy(0)), vec![gpt(&server)], &request("go"), &streamed).await.unwrap_err();
    let settled = &streamed.settled()[0];
    assert!(settled.usage == used && settled.cost.micro_usd > 0, "{settled:?}");

    let (server, _) = recorded(200, JSON, FAILED_WHOLE).await;
    let body = json!({"model": "m", "input": "go"});
    let native = Native::parse(Endpoint::Responses, body.to_string().into()).unwrap();
    let (out, mut events) = mpsc::channel(8);
    let (plain, group, gateway) = (Hooks::default(), group(vec![gpt(&server)]), gateway(policy(0)));
    let reading = async { while events.recv().await.is_some() {} };
    tokio::join!(reading, gateway.answer(&group, &native, &plain, out));
    let settled = &plain.settled()[0];
    assert!(settled.error.is_some() && settled.usage == used, "{settled:?}");
}
