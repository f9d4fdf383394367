//! A different token with every request of one shared client.
//!
//! rmcp has no header per request. A request's `extensions` travel with it in memory and are never
//! serialised, so the token waits there until the moment of sending.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::stream::BoxStream;
use http::{HeaderName, HeaderValue};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, GetExtensions},
    transport::streamable_http_client::{
        SseError, StreamableHttpClient, StreamableHttpError, StreamableHttpPostResponse,
    },
};
use serde_json::Value;
use sse_stream::Sse;

use crate::post::post;

/// The token of one request.
#[derive(Clone)]
pub(crate) struct CallToken(pub(crate) Arc<str>);

/// The arguments that Syndarix's servers mirror into headers, and those headers.
const MIRRORED: [(&str, HeaderName); 2] = [
    ("project_id", HeaderName::from_static("mcp-param-project-id")),
    ("agent_id", HeaderName::from_static("mcp-param-agent-id")),
];

/// An HTTP client that gives each request the token it carries.
#[derive(Clone)]
pub(crate) struct TokenClient {
    http: reqwest::Client,
    /// For the handshake, which rmcp makes by itself: the token of the call that caused it.
    handshake: Arc<Mutex<Option<Arc<str>>>>,
}

impl TokenClient {
    pub(crate) fn new(http: reqwest::Client) -> Self {
        Self { http, handshake: Arc::default() }
    }

    pub(crate) fn set_handshake_token(&self, token: Option<&str>) {
        *self.handshake.lock().unwrap_or_else(PoisonError::into_inner) = token.map(Arc::from);
    }

    fn handshake_token(&self) -> Option<String> {
        self.handshake.lock().unwrap_or_else(PoisonError::into_inner).as_deref().map(str::to_owned)
    }

    fn token_of(&self, message: &ClientJsonRpcMessage) -> Option<String> {
        match message {
            ClientJsonRpcMessage::Request(request) => {
                let own = request.request.extensions().get::<CallToken>();
                own.map(|token| token.0.to_string()).or_else(|| self.handshake_token())
            }
            _ => self.handshake_token(),
        }
    }
}

/// rmcp mirrors arguments by the tool list it saw last, which another token may have made shorter; so
/// the two that every tool of ours has are mirrored here, whatever the list was.
fn mirror(message: &ClientJsonRpcMessage, headers: &mut HashMap<HeaderName, HeaderValue>) {
    let ClientJsonRpcMessage::Request(request) = message else { return };
    let ClientRequest::CallToolRequest(call) = &request.request else { return };
    let Some(arguments) = &call.params.arguments else { return };
    for (name, header) in MIRRORED {
        let value = arguments.get(name).and_then(Value::as_str);
        let plain = value.filter(|v| v.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
        if let Some(value) = plain.and_then(|v| HeaderValue::from_str(v).ok()) {
            headers.insert(header, value);
        }
    }
}

impl StreamableHttpClient for TokenClient {
    type Error = reqwest::Error;

    async fn post_message(
        &self,
        uri: Arc<str>,
        message: ClientJsonRpcMessage,
        session_id: Option<Arc<str>>,
        _auth_header: Option<String>,
        mut custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<StreamableHttpPostResponse, StreamableHttpError<Self::Error>> {
        mirror(&message, &mut custom_headers);
        let mut request = self.http.post(uri.as_ref()).headers(custom_headers.into_iter().collect());
        if let Some(token) = self.token_of(&message) {
            request = request.bearer_auth(token);
        }
        post(request, message, session_id).await
    }

    async fn delete_session(
        &self,
        uri: Arc<str>,
        session_id: Arc<str>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<(), StreamableHttpError<Self::Error>> {
        self.http.delete_session(uri, session_id, self.handshake_token(), custom_headers).await
    }

    async fn get_stream(
        &self,
        uri: Arc<str>,
        session_id: Option<Arc<str>>,
        last_event_id: Option<String>,
        _auth_header: Option<String>,
        custom_headers: HashMap<HeaderName, HeaderValue>,
    ) -> Result<BoxStream<'static, Result<Sse, SseError>>, StreamableHttpError<Self::Error>> {
        self.http.get_stream(uri, session_id, last_event_id, self.handshake_token(), custom_headers).await
    }
}
