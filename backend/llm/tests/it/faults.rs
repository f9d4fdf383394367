//! Every fault of the scripted endpoint, and what the gateway makes of it.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use futures::{StreamExt, stream};
use serde_json::json;
use syndarix_llm::{Block, CallError, Delta, ErrorKind, GatewayPolicy, Limits, ProviderKind, TimeoutPhase};
use tokio_util::sync::CancellationToken;

use crate::harness::{Hooks, KINDS, Server, call, gateway, group, kinds, policy, request};

fn script(fault: &str, times: &str) -> String {
    format!(
        "[[rule]]\nname = 'faulty'\nfault = {{ {fault} }}\n{times}\nanswer.text = 'one two three four five six seven \
         eight nine ten eleven twelve'\nanswer.tool = [{{ name = 'git_commit', arguments = {{ message = 'm' }} }}]\n"
    )
}

fn text_of(delta: &Delta) -> &str {
    match delta {
        Delta::Text { text, .. } => text,
        _ => "",
    }
}

fn limits(first_byte_ms: u64, idle_ms: u64, total_ms: u64) -> Limits {
    Limits { first_byte_ms, idle_ms, total_ms, ..Limits::default() }
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_as_long_as_the_provider_asked() {
    let server =
        Server::scripted(&script("kind = 'status', status = 429, retry_after_seconds = 1", "times = 1"))
            .await;
    let hooks = Hooks::default();
    let start = Instant::now();
    call(&gateway(policy(1)), vec![server.deployment("d", ProviderKind::OpenAi)], &request("go"), &hooks)
        .await
        .unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    let settled = hooks.settled();
    let error = settled[0].error.clone().unwrap();
    assert_eq!(error.kind, ErrorKind::RateLimited { retry_after_ms: Some(1_000) });
    assert_eq!((settled[0].cost.micro_usd, settled[0].simulated), (0, true));
    assert_eq!((settled.len(), settled[1].error.is_none()), (2, true));
}

#[tokio::test]
async fn server_errors_recover_within_the_retries_and_are_all_recorded() {
    let server = Server::scripted(&script("kind = 'status', status = 500", "times = 2")).await;
    for kind in KINDS {
        let hooks = Hooks::default();
        let asked = request(&format!("go {kind:?}"));
        call(&gateway(policy(2)), vec![server.deployment("d", kind)], &asked, &hooks).await.unwrap();
        let numbers: Vec<_> =
            hooks.settled().iter().map(|settled| (settled.n, settled.error.is_some())).collect();
        assert_eq!(numbers, [(1, true), (2, true), (3, false)]);
    }
}

#[tokio::test]
async fn a_hanging_provider_runs_into_the_first_byte_limit() {
    let server = Server::scripted(&script("kind = 'hang', seconds = 30", "")).await;
    for kind in KINDS {
        let mut deployment = server.deployment("d", kind);
        deployment.limits = limits(60, 10_000, 10_000);
        let hooks = Hooks::default();
        let error = call(&gateway(policy(2)), vec![deployment], &request("go"), &hooks).await.unwrap_err();
        let phase = TimeoutPhase::FirstByte;
        assert_eq!(
            kinds(&error),
            [("d".to_owned(), Some(ErrorKind::Timeout { phase }))],
            "no retry after a time-out"
        );
        let settled = &hooks.settled()[0];
        assert!(
            settled.usage.estimated && settled.cost.micro_usd > 0,
            "the provider may charge: {settled:?}"
        );
    }
}

#[tokio::test]
async fn a_stream_without_content_runs_into_the_limit_of_the_first_token_whatever_else_comes() {
    use axum::{
        Router,
        body::{Body, Bytes},
        routing::post,
    };
    let pings = || async {
        let pings = futures::stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((
                Ok::<_, std::convert::Infallible>(Bytes::from("event: ping\ndata: {\"type\":\"ping\"}\n\n")),
                (),
            ))
        });
        ([("content-type", "text/event-stream")], Body::from_stream(pings))
    };
    let server = Server::of(Router::new().route("/v1/messages", post(pings))).await;
    let mut deployment = server.deployment("d", ProviderKind::Anthropic);
    deployment.limits = Limits { first_token_ms: 250, ..limits(5_000, 5_000, 20_000) };
    let hooks = Hooks::default();
    let error = call(&gateway(policy(0)), vec![deployment], &request("go"), &hooks).await.unwrap_err();
    let phase = TimeoutPhase::FirstToken;
    assert_eq!(kinds(&error), [("d".to_owned(), Some(ErrorKind::Timeout { phase }))]);
    assert!(hooks.settled()[0].usage.estimated, "the provider may charge");
}

#[tokio::test]
async fn a_host_that_does_not_accept_runs_into_the_limit_of_connecting() {
    // A listener whose queue is full answers no further connection.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), tokio::net::TcpStream::connect(address)).await
    {
        waiting.push(stream);
    }
    let mut deployment =
        crate::harness::deployment("d", ProviderKind::OpenAi, &format!("http://{address}/v1"));
    deployment.limits = Limits { connect_ms: 150, ..limits(5_000, 5_000, 20_000) };
    let hooks = Hooks::default();
    let error = call(&gateway(policy(0)), vec![deployment], &request("go"), &hooks).await.unwrap_err();
    let phase = TimeoutPhase::Connect;
    assert_eq!(kinds(&error), [("d".to_owned(), Some(ErrorKind::Timeout { phase }))]);
    assert_eq!(hooks.settled()[0].cost.micro_usd, 0, "nothing was sent");
}

#[tokio::test]
async fn a_stream_that_stalls_runs_into_the_idle_limit_and_a_slow_one_into_the_total() {
    let server = Server::scripted(&script("kind = 'slow_stream', chunk_ms = 400", "")).await;
    for (limits, phase) in
        [(limits(5_000, 100, 10_000), TimeoutPhase::Idle), (limits(5_000, 5_000, 900), TimeoutPhase::Total)]
    {
        let mut deployment = server.deployment("d", ProviderKind::Anthropic);
        deployment.limits = limits;
        let error =
            call(&gateway(policy(0)), vec![deployment], &request("go"), &Hooks::default()).await.unwrap_err();
        assert_eq!(kinds(&error), [("d".to_owned(), Some(ErrorKind::Timeout { phase }))]);
    }
}

#[tokio::test]
async fn a_malformed_tool_call_is_marked_and_can_be_handed_back() {
    let server = Server::scripted(&script("kind = 'malformed_tool_call'", "times = 1")).await;
    for kind in KINDS {
        let mut asked = request(&format!("go {kind:?}"));
        let answer = call(&gateway(policy(0)), vec![server.deployment("d", kind)], &asked, &Hooks::default())
            .await
            .unwrap();
        let bad = answer.blocks.iter().find(|block| matches!(block, Block::InvalidToolUse { .. })).unwrap();
        let rejection = bad.rejection().unwrap();
        asked.messages.push(syndarix_llm::Message::assistant(answer.blocks.clone()));
        asked.messages.push(syndarix_llm::Message::tool_results(vec![rejection]));
        let better = call(&gateway(policy(0)), vec![server.deployment("d", kind)], &asked, &Hooks::default())
            .await
            .unwrap();
        assert!(better.blocks.iter().any(|block| matches!(block, Block::ToolUse { .. })), "{better:?}");
    }
}

#[tokio::test]
async fn a_stream_cut_before_any_content_is_tried_again() {
    let server = Server::scripted(&script("kind = 'cut_stream', after_chunks = 1", "times = 1")).await;
    for kind in KINDS {
        let hooks = Hooks::default();
        let asked = request(&format!("go {kind:?}"));
        call(&gateway(policy(1)), vec![server.deployment("d", kind)], &asked, &hooks).await.unwrap();
        assert_eq!(hooks.settled()[0].error.clone().unwrap().kind, ErrorKind::Connection);
        assert_eq!(hooks.settled().len(), 2);
    }
}

#[tokio::test]
async fn a_stream_cut_after_content_ends_the_call_and_settles_what_was_seen() {
    let broken = Server::scripted(&script("kind = 'cut_stream', after_chunks = 4", "")).await;
    let sound = Server::scripted(&script("kind = 'slow_stream', chunk_ms = 0", "")).await;
    for kind in KINDS {
        let hooks = Hooks::default();
        let chain = vec![broken.deployment("first", kind), sound.deployment("second", kind)];
        let error = call(&gateway(policy(2)), chain, &request("go"), &hooks).await.unwrap_err();
        assert!(matches!(error, CallError::Fatal { .. }), "{error:?}");
        assert_eq!(kinds(&error), [("first".to_owned(), Some(ErrorKind::Connection))]);
        let settled = &hooks.settled()[0];
        assert!(
            settled.usage.estimated && settled.usage.output > 0 && settled.cost.micro_usd > 0,
            "{settled:?}"
        );
        assert_eq!(hooks.reserved().len(), 1, "the second was never asked");
    }
}

#[tokio::test]
async fn cancelling_mid_stream_stops_at_once_and_is_recorded_with_its_usage() {
    let server = Server::scripted(&script("kind = 'slow_stream', chunk_ms = 100", "")).await;
    for kind in KINDS {
        let cancel = CancellationToken::new();
        let hooks = Hooks { cancel_on_content: Some(cancel.clone()), ..Hooks::default() };
        let chain = group(vec![server.deployment("a", kind), server.deployment("b", kind)]);
        let error = gateway(policy(2)).complete(&chain, &request("go"), &hooks, &cancel).await.unwrap_err();
        assert!(matches!(error, CallError::Cancelled { .. }), "{error:?}");
        let said: String = hooks.deltas().iter().map(text_of).collect();
        assert!(said.starts_with("one") && !said.contains("twelve"), "the rest is not waited for: {said}");
        let settled = hooks.settled();
        assert_eq!(settled.len(), 1);
        assert_eq!(settled[0].error.clone().unwrap().kind, ErrorKind::Cancelled);
        assert!(settled[0].usage.estimated && settled[0].usage.output > 0);
    }
}

/// Says so many words in events that are all sent at once, and then nothing more.
async fn at_once(events: usize) -> Server {
    let said = move || async move {
        let event = json!({ "choices": [{ "index": 0, "delta": { "content": "one two three four " } }] });
        let events = stream::repeat(Ok::<_, Infallible>(format!("data: {event}\n\n"))).take(events);
        ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events.chain(stream::pending())))
    };
    Server::of(Router::new().route("/v1/chat/completions", post(said))).await
}

#[tokio::test]
async fn what_a_provider_had_sent_when_its_caller_left_is_counted_though_nobody_read_it() {
    let counted = async |events: usize| {
        let cancel = CancellationToken::new();
        let hooks = Hooks { cancel_on_content: Some(cancel.clone()), ..Hooks::default() };
        let server = at_once(events).await;
        let chain = group(vec![server.deployment("a", ProviderKind::OpenAi)]);
        let error = gateway(policy(0)).complete(&chain, &request("go"), &hooks, &cancel).await.unwrap_err();
        assert!(matches!(error, CallError::Cancelled { .. }), "{error:?}");
        let said: Vec<String> = hooks.deltas().iter().map(|delta| text_of(delta).to_owned()).collect();
        assert_eq!(said.concat(), "one two three four ", "the caller is told of the first only");
        let usage = hooks.settled()[0].usage;
        assert!(usage.estimated, "{usage:?}");
        usage.output
    };
    let (one, two) = (counted(1).await, counted(2).await);
    assert_eq!(counted(40).await, one + 39 * (two - one));
}

#[tokio::test]
async fn cancelling_a_pause_ends_the_call() {
    let server =
        Server::scripted(&script("kind = 'status', status = 429, retry_after_seconds = 3600", "")).await;
    let cancel = CancellationToken::new();
    let hooks = Hooks::default();
    let chain = group(vec![server.deployment("d", ProviderKind::OpenAi)]);
    let patient = GatewayPolicy { max_pause: Duration::from_secs(7_200), ..policy(2) };
    let (gateway, asked) = (gateway(patient), request("go"));
    let (result, ()) = tokio::join!(gateway.complete(&chain, &asked, &hooks, &cancel), async {
        while hooks.settled().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        cancel.cancel();
    });
    assert!(matches!(result, Err(CallError::Cancelled { ref causes }) if causes.len() == 1), "{result:?}");
}
