//! The least that a gateway of these libraries can do: axum in front, reqwest behind, and what comes is passed on. It checks
//! no key, counts nothing and reserves nothing: what Syndarix takes beyond it, it takes for that.

use crate::{Failure, say};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{
        StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use reqwest::Client;
use serde_json::json;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Longest request, in bytes.
const MAX_BODY: usize = 16 << 20;

struct Relay {
    client: Client,
    /// `http://127.0.0.1:PORT`
    upstream: String,
}

/// Passes on to this address, from a free port, until the process is killed.
pub(crate) async fn serve(upstream: String) -> Result<(), Failure> {
    // Nothing here is encrypted, but the client asks for a provider when it is made.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().tcp_nodelay(true).build()?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    say(&json!({ "port": listener.local_addr()?.port() }))?;
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let router = Router::new().fallback(pass_on).with_state(Arc::new(Relay { client, upstream }));
    Ok(axum::serve(listener, router).await?)
}

async fn pass_on(State(relay): State<Arc<Relay>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::BAD_REQUEST.into_response() };
    let mut request = relay.client.post(format!("{}{}", relay.upstream, head.uri.path())).body(body);
    for name in [AUTHORIZATION, CONTENT_TYPE] {
        if let Some(value) = head.headers.get(&name) {
            request = request.header(name, value);
        }
    }
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    };
    let (status, kind) = (answer.status(), answer.headers().get(CONTENT_TYPE).cloned());
    let mut passed = (status, Body::from_stream(answer.bytes_stream())).into_response();
    if let Some(kind) = kind {
        passed.headers_mut().insert(CONTENT_TYPE, kind);
    }
    passed
}
