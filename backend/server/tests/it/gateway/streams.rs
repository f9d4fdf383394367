//! Streams that are slow, and clients that leave.

use super::{Desk, PATHS, SOUND, chat, deployment, serve};
use crate::support::TestApp;
use axum::http::StatusCode;
use serde_json::json;
use std::time::{Duration, Instant};
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
async fn a_client_that_leaves_is_recorded_whether_it_streamed_or_not() {
    let script = format!("{SOUND}fault = {{ kind = 'slow_stream', chunk_ms = 200 }}\n");
    let desk = Desk::scripted(&script).await;
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
        } else {
            let started = Instant::now();
            while desk.usage().await.len() < rows {
                assert!(started.elapsed() < Duration::from_secs(10));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        drop(socket);
        let started = Instant::now();
        loop {
            let usage = desk.usage().await;
            if usage.len() == rows && usage[rows - 1].1 != "reserved" {
                let (key, state, tokens_in, _, estimated) = &usage[rows - 1];
                assert!(key.is_some() && *estimated && *tokens_in > 0, "{usage:?}");
                assert_eq!(state, "failed");
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(10), "{usage:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The whole answer would take seconds: it was not waited for.
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    }
}
