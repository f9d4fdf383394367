//! Streams that are slow, and clients that leave.

use super::{Desk, PATHS, SOUND, chat, deployment, serve};
use crate::support::TestApp;
use axum::{
    Router,
    body::Body,
    http::{StatusCode, header},
    routing::post,
};
use futures::StreamExt;
use serde_json::json;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use syndarix::http;
use syndarix_llm::{ModelGroup, ModelGroups, ProviderKind, scripted};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

#[tokio::test]
async fn a_silent_stream_is_kept_alive_and_then_answered() {
    let script = format!("{SOUND}fault = {{ kind = 'slow_stream', chunk_ms = 250 }}\n");
    let provider = scripted::router(scripted::Script::from_toml(&script).unwrap());
    let (address, _task) = serve(provider).await;
    let groups = vec![ModelGroup::new("g", vec![deployment("d", ProviderKind::OpenAi, address)])];
    let app = TestApp::with_models_and(ModelGroups::new(groups).unwrap(), |config| {
        config.keep_alive = Duration::from_millis(60);
    })
    .await;
    let token = app.user("maria").await;
    let project = app.project(&token).await;
    let mut desk = Desk { app, token, project, key: String::new(), _provider: JoinSet::new() };
    desk.key = desk.make(json!({ "name": "test" })).await.1;
    for path in PATHS {
        let mut body = chat("g");
        body["stream"] = json!(true);
        let (status, _, answer) = desk.ask(path, &desk.key, &body).await;
        assert_eq!(status, StatusCode::OK);
        assert!(answer.starts_with(": keep-alive\n\n"), "{answer}");
        assert!(answer.contains("[DONE]") || answer.contains("message_stop"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_the_model_and_is_recorded_whether_it_streamed_or_not() {
    let (provider, under_way) = unending();
    let desk = Desk::over(provider).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = desk.app.router.clone().into_make_service_with_connect_info::<http::Peer>();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(http::Sockets(listener), service).await.unwrap() });
    for (streamed, rows) in [(true, 1), (false, 2)] {
        let mut body = chat("anthropic");
        body["stream"] = json!(streamed);
        let body = body.to_string();
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: {}\r\ncontent-length: {}\r\n\r\n{body}",
            desk.key,
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        if streamed {
            let mut seen = String::new();
            while !seen.contains("one") {
                let mut buffer = [0; 4_096];
                let read = socket.read(&mut buffer).await.unwrap();
                seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        }
        until("the model answers", async || under_way.load(Ordering::SeqCst) == 1).await;
        drop(socket);
        // The answer has no end: whoever waited for it would wait for ever.
        until("the model is stopped", async || under_way.load(Ordering::SeqCst) == 0).await;
        let is_ended = async || desk.usage().await.iter().filter(|row| row.1 != "reserved").count() == rows;
        until("the call is recorded", is_ended).await;
        let usage = desk.usage().await;
        let (key, state, tokens_in, _, estimated) = &usage[rows - 1];
        assert!(key.is_some() && *estimated && *tokens_in > 0, "{usage:?}");
        assert_eq!(state, "failed");
    }
}

/// A provider of Anthropic's format that says one word and never another, and how many answers it has under way: those that
/// somebody still reads.
pub(crate) fn unending() -> (Router, Arc<AtomicUsize>) {
    struct UnderWay(Arc<AtomicUsize>);
    impl Drop for UnderWay {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let begun = [
        json!({"type": "message_start", "message": {"id": "m", "model": "m", "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "one"}}),
    ]
    .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default()))
    .concat();
    let under_way = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&under_way);
    let handler = move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let (begun, guard) = (begun.clone(), UnderWay(Arc::clone(&counted)));
        let said = futures::stream::iter([Ok::<_, Infallible>(begun)]).chain(futures::stream::pending());
        let said = said.inspect(move |_| _ = &guard);
        async { ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(said)) }
    };
    (Router::new().route("/v1/messages", post(handler)), under_way)
}

/// Waits for what must come, however long it takes on a busy machine.
pub(crate) async fn until(what: &str, test: impl AsyncFn() -> bool) {
    let came = async {
        while !test().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), came).await.is_ok(), "waited in vain: {what}");
}
