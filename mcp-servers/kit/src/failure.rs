//! How a tool says no.
//!
//! A [`ToolFailure`] is something the model can act on: it reaches it as a result with
//! `isError: true` and one sentence that says what was wrong and what to do. Faults of the token or
//! the scope never take this way; they are refused before the tool runs.

use std::fmt;

use serde_json::{Value, json};

/// A mistake or a condition that the caller can act on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ToolFailure {
    code: FailureCode,
    message: String,
    details: Option<Value>,
}

/// What kind of failure it is; stable, for programs and for the call log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCode {
    /// An argument is wrong.
    InvalidArgument,
    /// The named thing does not exist.
    NotFound,
    /// The thing changed, exists already, or is in the wrong state.
    Conflict,
    /// Not allowed here, whatever the arguments.
    Forbidden,
    /// Larger than a limit.
    TooLarge,
    /// Took longer than allowed.
    TimedOut,
    /// Given up because the caller went away.
    Cancelled,
    /// Something this server needs did not answer; trying again may help.
    Unavailable,
    /// A fault of the server; the cause is in its log, not in the answer.
    Internal,
}

impl FailureCode {
    /// The name used in results and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too_large",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ToolFailure {
    /// A failure of any kind; `message` is one sentence for the model.
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    /// An argument is wrong; say which and what would be right.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureCode::InvalidArgument, message)
    }

    /// The named thing does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureCode::NotFound, message)
    }

    /// The thing changed, exists already, or is in the wrong state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Conflict, message)
    }

    /// Not allowed here, whatever the arguments.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Forbidden, message)
    }

    /// Larger than a limit; say the limit and how to ask for less.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(FailureCode::TooLarge, message)
    }

    /// Something this server needs did not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(FailureCode::Unavailable, message)
    }

    /// A fault of the server: `cause` is logged here, once, and the model only learns that it happened.
    pub fn internal(cause: &dyn fmt::Display) -> Self {
        tracing::error!(%cause, "tool failed inside the server");
        Self::new(FailureCode::Internal, "The server failed inside; it is logged. Try another way.")
    }

    /// Adds facts for a program, e.g. the hash a file has now.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The facts for a program.
    pub(crate) fn details(&self) -> Option<&Value> {
        self.details.as_ref()
    }

    /// The kind of the failure.
    pub fn code(&self) -> FailureCode {
        self.code
    }

    /// The sentence for the model.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The structured form: `{"error": code, "message": ..., "details": ...}`.
    pub(crate) fn to_value(&self) -> Value {
        let mut value = json!({ "error": self.code.as_str(), "message": self.message });
        if let (Some(details), Some(object)) = (&self.details, value.as_object_mut()) {
            object.insert("details".to_owned(), details.clone());
        }
        value
    }
}
