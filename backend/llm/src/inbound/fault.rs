//! Failures in the words of the client's format, with the status and the hints that its SDK acts upon.
//!
//! Invariants: money is never 429, which SDKs try again; a provider's refusal of our key is never 401, which would
//! blame the client's; every sentence says what to do where something can be done.

use serde_json::{Value, json};

use crate::ask::Endpoint;
use crate::error::{CallError, Cause, ErrorKind, Skipped};

/// After how many milliseconds it is worth asking again where the database was away.
const AGAIN_MS: u64 = 1_000;

/// What went wrong, for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// A stable word for programs, such as `budget_exceeded`.
    pub code: &'static str,
    /// The sentence for people.
    pub message: String,
    /// After how long it is worth asking again, in seconds.
    pub retry_after: Option<u64>,
    /// What SDKs are told of trying again; `None` leaves it to them.
    pub should_retry: Option<bool>,
}

impl Fault {
    /// A failure without hints.
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None, should_retry: None }
    }

    /// The same, not worth trying again.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.should_retry = Some(false);
        self
    }

    /// The same, worth trying again after so many milliseconds.
    #[must_use]
    pub fn after(mut self, milliseconds: Option<u64>) -> Self {
        self.retry_after = milliseconds.map(|wait| wait.div_ceil(1_000).max(1));
        self
    }

    /// 400: the request is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", message)
    }

    /// The document of the answer.
    pub fn body(&self, endpoint: Endpoint) -> Value {
        match endpoint {
            Endpoint::Messages => {
                json!({"type": "error", "error": {"type": self.anthropic_type(), "message": self.message}})
            }
            Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Embeddings => json!({"error": {
                "message": self.message, "type": self.openai_type(), "param": null, "code": self.code}}),
        }
    }

    /// The frame that ends a stream which cannot be finished. Nothing follows it.
    pub(super) fn frame(&self, endpoint: Endpoint) -> String {
        match endpoint {
            Endpoint::Messages => format!("event: error\ndata: {}\n\n", self.body(endpoint)),
            Endpoint::ChatCompletions | Endpoint::Embeddings => format!("data: {}\n\n", self.body(endpoint)),
            Endpoint::Responses => self.event(0),
        }
    }

    /// The same among typed events, of which it is the one of this number. SDKs raise an error over the field `error`.
    pub(super) fn event(&self, sequence: u64) -> String {
        let mut event = json!({"type": "error", "code": self.code, "message": self.message, "param": null,
            "sequence_number": sequence});
        event["error"] = self.body(Endpoint::Responses)["error"].take();
        format!("event: error\ndata: {event}\n\n")
    }

    fn anthropic_type(&self) -> &'static str {
        match self.status {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 => "overloaded_error",
            504 => "timeout_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        }
    }

    fn openai_type(&self) -> &'static str {
        match self.status {
            402 => "insufficient_quota",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        }
    }
}

impl From<&CallError> for Fault {
    fn from(error: &CallError) -> Self {
        match error {
            CallError::Refused { refused, .. } if refused.code == "not_recorded" => {
                Self::new(503, "not_recorded", &refused.reason).after(Some(AGAIN_MS))
            }
            CallError::Refused { refused, .. } => {
                let message = format!("{}; raise the budget, or ask for less", refused.reason);
                Self::new(402, "budget_exceeded", message).for_good()
            }
            CallError::NotRecorded { .. } => {
                let message = "the answer could not be recorded, so it is not given out; what it cost is recorded as soon \
                               as the database can be written again";
                // Another try would be asked, and paid for, anew.
                Self::new(503, "answer_not_recorded", message).for_good()
            }
            CallError::Cancelled { .. } => Self::new(499, "cancelled", "the call was cancelled"),
            CallError::Fatal { causes } => of_fatal(causes.last(), error),
            CallError::Exhausted { causes, retry_after_ms } => of_exhausted(causes, *retry_after_ms, error),
        }
    }
}

fn of_fatal(last: Option<&Cause>, whole: &CallError) -> Fault {
    match last {
        Some(Cause::Failed { error, .. }) if error.kind == ErrorKind::BadRequest => {
            // The provider's own word for it: 400 and 422 mean different things to some clients.
            let status = error.status.filter(|status| (400..500).contains(status)).unwrap_or(400);
            Fault::new(status, "invalid_request", &error.message)
        }
        _ => Fault::new(502, "upstream_error", format!("the answer broke off: {whole}")),
    }
}

fn of_exhausted(causes: &[Cause], retry_after_ms: Option<u64>, whole: &CallError) -> Fault {
    let failed = || {
        causes.iter().filter_map(|cause| match cause {
            Cause::Failed { error, .. } => Some(error),
            Cause::Skipped { .. } => None,
        })
    };
    let all =
        |test: fn(ErrorKind) -> bool| failed().next().is_some() && failed().all(|error| test(error.kind));
    let untranslatable = causes.iter().find_map(|cause| match cause {
        Cause::Skipped { reason: Skipped::Untranslatable { reason }, .. } => Some(reason),
        _ => None,
    });
    if let (None, Some(reason)) = (failed().next(), untranslatable) {
        return Fault::bad_request(reason);
    }
    if let Some(error) = failed().find(|error| error.kind == ErrorKind::ContextTooLong)
        && all(|kind| kind == ErrorKind::ContextTooLong)
    {
        return Fault::new(400, "context_length_exceeded", &error.message);
    }
    if all(|kind| matches!(kind, ErrorKind::RateLimited { .. })) {
        return Fault::new(429, "rate_limit_exceeded", whole.to_string()).after(retry_after_ms);
    }
    if all(|kind| matches!(kind, ErrorKind::Timeout { .. })) {
        return Fault::new(504, "upstream_timeout", whole.to_string());
    }
    if all(|kind| matches!(kind, ErrorKind::Auth | ErrorKind::NotFound)) {
        let message = format!("{whole}; the operator has to correct the deployment");
        return Fault::new(502, "deployment_misconfigured", message).for_good();
    }
    Fault::new(503, "no_deployment_available", whole.to_string()).after(retry_after_ms)
}
