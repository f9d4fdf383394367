//! One POST to a server, with bounds on what comes back.
//!
//! rmcp's own HTTP client reads an answer to its end, however long; a server of somebody else's must
//! not fill our memory.

use std::{borrow::Cow, io, sync::Arc};

use futures::{StreamExt, TryStreamExt};
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE},
};
use reqwest::{RequestBuilder, Response};
use rmcp::{
    model::{ClientJsonRpcMessage, ClientRequest, ErrorData, ServerJsonRpcMessage},
    transport::streamable_http_client::{
        AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpError,
        StreamableHttpPostResponse,
    },
};
use sse_stream::SseStream;

/// Largest answer that is read, in bytes: of JSON, or of a whole event stream.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Most of a refusal's text that is kept, in bytes.
const MAX_REFUSAL_BYTES: usize = 4 * 1024;
/// The session of servers of the older era.
const SESSION_HEADER: HeaderName = HeaderName::from_static("mcp-session-id");
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

type Fault = StreamableHttpError<reqwest::Error>;

/// Sends `message` and sorts the answer.
pub(crate) async fn post(
    request: RequestBuilder,
    message: ClientJsonRpcMessage,
    session: Option<Arc<str>>,
) -> Result<StreamableHttpPostResponse, Fault> {
    let mut request = request.header(ACCEPT, format!("{EVENTS}, {JSON}"));
    if let Some(session) = &session {
        request = request.header(SESSION_HEADER, session.as_ref());
    }
    let answer = request.json(&message).send().await.map_err(StreamableHttpError::Client)?;
    let status = answer.status();
    if !status.is_success() {
        return refused(answer, &message, session.is_some()).await;
    }
    if matches!(status, StatusCode::ACCEPTED | StatusCode::NO_CONTENT) {
        return Ok(StreamableHttpPostResponse::Accepted);
    }
    let session = text_of(answer.headers(), &SESSION_HEADER);
    let kind = text_of(answer.headers(), &CONTENT_TYPE);
    match kind.as_deref() {
        Some(kind) if kind.starts_with(EVENTS) => {
            let events = SseStream::from_bytes_stream(bounded(answer)).boxed();
            Ok(StreamableHttpPostResponse::Sse(events, session))
        }
        Some(kind) if kind.starts_with(JSON) => {
            let bytes = read(answer, MAX_ANSWER_BYTES).await?;
            match serde_json::from_slice(&bytes) {
                Ok(parsed) => Ok(StreamableHttpPostResponse::Json(parsed, session)),
                // Nobody waits for the answer to a notification.
                Err(_) if !expects_answer(&message) => Ok(StreamableHttpPostResponse::Accepted),
                Err(fault) => Err(unexpected(format!("not JSON-RPC: {fault}"))),
            }
        }
        _ if !expects_answer(&message) => Ok(StreamableHttpPostResponse::Accepted),
        _ => Err(StreamableHttpError::UnexpectedContentType(kind)),
    }
}

/// An answer that is no success: a challenge, a lost session, a JSON-RPC error, or a fault.
async fn refused(
    answer: Response,
    message: &ClientJsonRpcMessage,
    in_session: bool,
) -> Result<StreamableHttpPostResponse, Fault> {
    let status = answer.status();
    let challenge = text_of(answer.headers(), &WWW_AUTHENTICATE);
    match (status, challenge) {
        (StatusCode::UNAUTHORIZED, Some(challenge)) => {
            return Err(StreamableHttpError::AuthRequired(AuthRequiredError::new(challenge)));
        }
        (StatusCode::FORBIDDEN, Some(challenge)) => {
            let fault = InsufficientScopeError::new(challenge, None);
            return Err(StreamableHttpError::InsufficientScope(fault));
        }
        (StatusCode::NOT_FOUND, _) if in_session => return Err(StreamableHttpError::SessionExpired),
        _ => {}
    }
    let retry_after = text_of(answer.headers(), &RETRY_AFTER);
    let text = read(answer, MAX_REFUSAL_BYTES).await.unwrap_or_default();
    let error = match serde_json::from_slice(&text) {
        Ok(ServerJsonRpcMessage::Error(error)) => Some(error),
        _ => None,
    };
    let is_auth = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if !is_auth
        && status.is_client_error()
        && !in_session
        && let Some(id) = discovery(message)
    {
        // A server of the older era does not know the method; that is how rmcp tells.
        let error = error.map_or_else(|| ErrorData::invalid_request("no server/discover", None), |e| e.error);
        return Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::error(error, Some(id)), None));
    }
    match error {
        Some(error) if !is_auth => {
            Ok(StreamableHttpPostResponse::Json(ServerJsonRpcMessage::Error(error), None))
        }
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Err(HttpStatusError::new(status.as_u16(), retry_after).into())
        }
        _ => Err(unexpected(format!("HTTP {}: {}", status.as_u16(), String::from_utf8_lossy(&text)))),
    }
}

fn discovery(message: &ClientJsonRpcMessage) -> Option<rmcp::model::RequestId> {
    match message {
        ClientJsonRpcMessage::Request(request)
            if matches!(request.request, ClientRequest::DiscoverRequest(_)) =>
        {
            Some(request.id.clone())
        }
        _ => None,
    }
}

fn expects_answer(message: &ClientJsonRpcMessage) -> bool {
    matches!(message, ClientJsonRpcMessage::Request(_))
}

fn unexpected(text: String) -> Fault {
    StreamableHttpError::UnexpectedServerResponse(Cow::Owned(text))
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

async fn read(answer: Response, max: usize) -> Result<Vec<u8>, Fault> {
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.try_next().await.map_err(StreamableHttpError::Client)? {
        if bytes.len() + chunk.len() > max {
            return Err(unexpected(format!("the answer is longer than {max} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The body as it comes, until it is too much.
fn bounded(answer: Response) -> impl futures::Stream<Item = io::Result<bytes::Bytes>> + Send {
    let mut room = MAX_ANSWER_BYTES;
    answer.bytes_stream().map(move |chunk| {
        let chunk = chunk.map_err(io::Error::other)?;
        room = room
            .checked_sub(chunk.len())
            .ok_or_else(|| io::Error::other("the stream is longer than an answer may be"))?;
        Ok(chunk)
    })
}
