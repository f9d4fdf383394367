//! Why a call has no answer.

use std::{error::Error, time::Duration};

use rmcp::{
    model::ErrorCode,
    service::{ClientInitializeError, ServiceError},
    transport::streamable_http_client::{
        AuthRequiredError, HttpStatusError, InsufficientScopeError, StreamableHttpError,
    },
};

/// JSON-RPC code with which Syndarix's servers refuse what a token does not allow.
const SCOPE_REFUSED: ErrorCode = ErrorCode(-32090);
/// Longest sentence of a server that is passed on, in characters.
const MAX_SENTENCE_CHARS: usize = 500;

/// Why a call has no answer. A tool that says no is an answer: see `ToolOutcome::is_error`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no server of that name.
    #[error("there is no MCP server called {0}")]
    UnknownServer(String),
    /// The server does not answer, or not now. It may have done the work, if `sent`.
    #[error("the MCP server is unreachable: {reason}")]
    Unreachable {
        /// What happened.
        reason: String,
        /// Whether the request may have reached the server.
        sent: bool,
    },
    /// No answer within the limit; the server was told to stop.
    #[error("the MCP server gave no answer within {0:?}")]
    Timeout(Duration),
    /// The token does not allow it, or was not accepted.
    #[error("the MCP server refused: {0}")]
    Refused(String),
    /// The server's answer is not one.
    #[error("the MCP server broke the protocol: {0}")]
    Protocol(String),
    /// The caller gave up; the server was told to stop.
    #[error("the call was cancelled")]
    Cancelled,
}

impl CallError {
    /// Whether the same call may succeed later without anything changing on this side.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout(_))
    }

    pub(crate) fn from_service(fault: ServiceError) -> Self {
        match fault {
            ServiceError::McpError(error) if error.code == SCOPE_REFUSED => {
                Self::Refused(short(&error.message))
            }
            ServiceError::McpError(error) => {
                Self::Protocol(short(&format!("{} ({})", error.message, error.code.0)))
            }
            ServiceError::TransportSend(fault) => from_transport(fault.error.as_ref()),
            ServiceError::TransportClosed => {
                Self::Unreachable { reason: "the connection was closed".to_owned(), sent: true }
            }
            ServiceError::Timeout { timeout } => Self::Timeout(timeout),
            ServiceError::Cancelled { .. } => Self::Cancelled,
            other => Self::Protocol(short(&other.to_string())),
        }
    }

    pub(crate) fn from_handshake(fault: ClientInitializeError) -> Self {
        match fault {
            ClientInitializeError::TransportError { error, .. } => from_transport(error.error.as_ref()),
            ClientInitializeError::ConnectionClosed(reason) => {
                Self::Unreachable { reason: short(&reason), sent: false }
            }
            ClientInitializeError::JsonRpcError(error) if error.code == SCOPE_REFUSED => {
                Self::Refused(short(&error.message))
            }
            other => Self::Protocol(short(&other.to_string())),
        }
    }
}

fn short(sentence: &str) -> String {
    sentence.chars().take(MAX_SENTENCE_CHARS).collect()
}

/// Finds the cause that decides, wherever in the chain rmcp has wrapped it.
fn from_transport(fault: &(dyn Error + 'static)) -> CallError {
    let mut next = Some(fault);
    while let Some(cause) = next {
        if let Some(found) = decisive(cause) {
            return found;
        }
        next = cause.source();
    }
    CallError::Unreachable { reason: short(&fault.to_string()), sent: true }
}

fn decisive(cause: &(dyn Error + 'static)) -> Option<CallError> {
    if let Some(challenge) = cause.downcast_ref::<AuthRequiredError>() {
        return Some(CallError::Refused(short(&challenge.www_authenticate_header)));
    }
    if let Some(challenge) = cause.downcast_ref::<InsufficientScopeError>() {
        return Some(CallError::Refused(short(&challenge.www_authenticate_header)));
    }
    if let Some(status) = cause.downcast_ref::<HttpStatusError>() {
        let busy = matches!(status.status, 429 | 503);
        return Some(CallError::Unreachable { reason: status.to_string(), sent: !busy });
    }
    if let Some(fault) = cause.downcast_ref::<reqwest::Error>() {
        return Some(broken_off(fault));
    }
    match cause.downcast_ref::<StreamableHttpError<reqwest::Error>>() {
        Some(StreamableHttpError::Client(fault)) => Some(broken_off(fault)),
        Some(StreamableHttpError::AuthRequired(challenge)) => {
            Some(CallError::Refused(short(&challenge.www_authenticate_header)))
        }
        Some(StreamableHttpError::InsufficientScope(challenge)) => {
            Some(CallError::Refused(short(&challenge.www_authenticate_header)))
        }
        Some(StreamableHttpError::UnexpectedServerResponse(text)) => {
            let refused = text.starts_with("HTTP 401") || text.starts_with("HTTP 403");
            let sentence = short(text);
            Some(if refused { CallError::Refused(sentence) } else { CallError::Protocol(sentence) })
        }
        Some(StreamableHttpError::UnexpectedContentType(kind)) => {
            Some(CallError::Protocol(format!("content type {kind:?}")))
        }
        Some(StreamableHttpError::Deserialize(fault)) => Some(CallError::Protocol(short(&fault.to_string()))),
        _ => None,
    }
}

fn broken_off(fault: &reqwest::Error) -> CallError {
    // The URL may hold a key of the user's; the kind of fault is enough.
    let reason = if fault.is_connect() { "cannot connect" } else { "the exchange broke off" };
    CallError::Unreachable { reason: reason.to_owned(), sent: !fault.is_connect() }
}
