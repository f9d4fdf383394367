//! What can go wrong with one attempt, and with a whole call.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::types::Usage;

/// Longest provider message that is kept, in bytes: enough for a sentence, too little for a page of HTML.
const MAX_MESSAGE: usize = 2_000;

/// Which wait ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutPhase {
    /// No connection.
    Connect,
    /// Connected, but no answer began.
    FirstByte,
    /// The answer began, but no content of it came.
    FirstToken,
    /// The answer stalled.
    Idle,
    /// The whole took too long.
    Total,
    /// The provider itself said that it ran out of time.
    Upstream,
}

/// The class of a failure; it decides whether to retry, to fail over or to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ErrorKind {
    /// Too many requests or tokens.
    RateLimited {
        /// The wait the provider asked for, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// The provider has no capacity at the moment.
    Overloaded {
        /// The wait the provider asked for, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// The provider failed.
    ServerError,
    /// A wait ran out.
    Timeout {
        /// Which one.
        phase: TimeoutPhase,
    },
    /// No connection, or it broke before the answer was whole.
    Connection,
    /// The conversation does not fit the model.
    ContextTooLong,
    /// The provider finds the request wrong; another would too.
    BadRequest,
    /// The deployment's model or path does not exist there.
    NotFound,
    /// The key is missing, wrong, not allowed or out of credit.
    Auth,
    /// The answer breaks the wire format.
    Malformed,
    /// The answer is larger than the limit.
    TooLarge,
    /// The caller cancelled.
    Cancelled,
}

impl ErrorKind {
    /// A word for it that stays the same, for what is stored and for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded { .. } => "overloaded",
            Self::ServerError => "server_error",
            Self::Timeout { .. } => "timeout",
            Self::Connection => "connection",
            Self::ContextTooLong => "context_too_long",
            Self::BadRequest => "bad_request",
            Self::NotFound => "not_found",
            Self::Auth => "auth",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Cancelled => "cancelled",
        }
    }

    /// The wait the provider asked for.
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after_ms } | Self::Overloaded { retry_after_ms } => {
                retry_after_ms.map(Duration::from_millis)
            }
            _ => None,
        }
    }

    /// Whether the same deployment may well answer if asked again soon.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::RateLimited { .. }
                | Self::Overloaded { .. }
                | Self::ServerError
                | Self::Connection
                // A proxy that cut a chunk in two: the next answer is whole again.
                | Self::Malformed
        )
    }

    /// Whether time alone may heal it.
    pub fn may_pass(self) -> bool {
        self.is_transient() || matches!(self, Self::Timeout { .. })
    }

    /// Whether another deployment may answer where this one did not.
    pub fn allows_failover(self) -> bool {
        !matches!(self, Self::BadRequest | Self::Cancelled)
    }

    /// Whether this speaks against the deployment's health. What the provider finds wrong with a request (400, 404,
    /// 413, 422) does not: one caller's mistake must not take the deployment from the others.
    pub fn is_unhealthy(self) -> bool {
        self.is_transient() || matches!(self, Self::Timeout { .. } | Self::Auth)
    }
}

/// Why one attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("{}: {message}", kind.name())]
pub struct ProviderError {
    /// The class.
    #[serde(flatten)]
    pub kind: ErrorKind,
    /// The provider's words, or ours; bounded, without the key.
    pub message: String,
    /// The HTTP status, if one came.
    pub status: Option<u16>,
    /// Whether a scripted endpoint failed on purpose.
    pub simulated: bool,
    /// Whether the provider may charge for the attempt although it failed.
    pub maybe_billed: bool,
    /// What the attempt used, in tokens, where the provider says so in the same breath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
}

impl ProviderError {
    /// An error that no tokens were spent on, as far as one can know.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE {
            let end = (0..=MAX_MESSAGE).rev().find(|&at| message.is_char_boundary(at)).unwrap_or(0);
            message.truncate(end);
            message.push_str(" ...");
        }
        Self { kind, message, status: None, simulated: false, maybe_billed: false, usage: None }
    }

    /// The same with the HTTP status.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// The same, marked as one that the provider may charge for.
    #[must_use]
    pub fn billed(mut self) -> Self {
        self.maybe_billed = true;
        self
    }

    /// The same with what the attempt used, where that is known.
    #[must_use]
    pub fn with_usage(mut self, usage: Option<Usage>) -> Self {
        self.usage = usage;
        self
    }

    /// The same, marked as coming from a scripted endpoint or not.
    #[must_use]
    pub fn with_simulated(mut self, simulated: bool) -> Self {
        self.simulated = simulated;
        self
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "the caller cancelled")
    }

    pub(crate) fn timeout(phase: TimeoutPhase, limit: Duration) -> Self {
        Self::new(ErrorKind::Timeout { phase }, format!("nothing within {limit:?}"))
    }

    pub(crate) fn malformed(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Malformed, message).billed()
    }
}

/// `before` does not admit the attempt: a budget is exhausted, the run is parked, the model is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[error("refused ({code}): {reason}")]
pub struct Refused {
    /// Stable code for programs, such as `budget_exceeded`.
    pub code: String,
    /// The reason for people.
    pub reason: String,
}

/// `after` could not store the outcome, so the answer may not be given out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the outcome of the attempt was not recorded: {0}")]
pub struct RecordFailed(pub String);

/// Why a deployment was passed over without an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Error)]
#[serde(tag = "skipped", rename_all = "snake_case")]
pub enum Skipped {
    /// It failed too often of late.
    #[error("cooling down for {}", wait(*for_ms))]
    CoolingDown {
        /// Until it is tried again, in milliseconds.
        for_ms: u64,
    },
    /// The conversation was too long for a window at least as large.
    #[error("its context window of {window} tokens is no larger than one that was too small")]
    WindowTooSmall {
        /// Its window in tokens.
        window: u32,
    },
    /// The request cannot be said in its provider's format.
    #[error("it cannot be asked this: {reason}")]
    Untranslatable {
        /// What cannot be said.
        reason: String,
    },
    /// A budget would not pay for it.
    #[error("it is too dear: {reason}")]
    OverBudget {
        /// Which budget, and by what.
        reason: String,
    },
}

impl Skipped {
    /// A word for it that stays the same, for what is stored and for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CoolingDown { .. } => "cooling_down",
            Self::WindowTooSmall { .. } => "window_too_small",
            Self::Untranslatable { .. } => "untranslatable",
            Self::OverBudget { .. } => "over_budget",
        }
    }
}

/// What one deployment contributed to a failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cause {
    /// It was tried.
    Failed {
        /// The attempt's number within the call, from 1.
        n: u32,
        /// The deployment.
        deployment: String,
        /// What happened.
        error: ProviderError,
    },
    /// It was not tried.
    Skipped {
        /// The deployment.
        deployment: String,
        /// Why not.
        reason: Skipped,
    },
}

impl Cause {
    /// Whether time alone may heal it: the deployment may answer a later call.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Failed { error, .. } => error.kind.may_pass(),
            Self::Skipped { reason, .. } => matches!(reason, Skipped::CoolingDown { .. }),
        }
    }

    /// Whether the deployment was passed over for want of money.
    pub fn is_over_budget(&self) -> bool {
        matches!(self, Self::Skipped { reason: Skipped::OverBudget { .. }, .. })
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Failed { n, deployment, error } => write!(f, "#{n} {deployment}: {error}"),
            Self::Skipped { deployment, reason } => write!(f, "{deployment}: {reason}"),
        }
    }
}

/// Why a whole call failed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// `before` refused an attempt, and whoever could be asked all the same did not answer for a reason that stays.
    #[error("{refused}")]
    Refused {
        /// The reason.
        refused: Refused,
        /// All attempts in order.
        causes: Vec<Cause>,
        /// The shortest wait after which one of those that were asked, or left alone, is worth asking again, in
        /// milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// The caller cancelled.
    #[error("the call was cancelled")]
    Cancelled {
        /// Attempts up to then, the cancelled one included.
        causes: Vec<Cause>,
    },
    /// The last cause is one that no other deployment would answer either: a bad request, or content had
    /// already been passed on.
    #[error("the call cannot be continued: {}", list(.causes))]
    Fatal {
        /// All attempts in order.
        causes: Vec<Cause>,
    },
    /// Every deployment of the group failed or was passed over; some for want of money, where another one may answer later.
    #[error("no deployment of the group answered: {}", list(.causes))]
    Exhausted {
        /// All attempts in order.
        causes: Vec<Cause>,
        /// The shortest wait after which one of them is worth asking again, in milliseconds.
        retry_after_ms: Option<u64>,
    },
    /// An outcome could not be recorded.
    #[error("{failed}")]
    NotRecorded {
        /// The hook's error.
        failed: RecordFailed,
        /// Attempts that had failed by then.
        causes: Vec<Cause>,
    },
}

impl CallError {
    /// Every attempt and every deployment passed over, in order.
    pub fn causes(&self) -> &[Cause] {
        match self {
            Self::Refused { causes, .. }
            | Self::Cancelled { causes }
            | Self::Fatal { causes }
            | Self::Exhausted { causes, .. }
            | Self::NotRecorded { causes, .. } => causes,
        }
    }
}

fn list(causes: &[Cause]) -> String {
    causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A wait as people read it; rounded up, so that nobody comes back too early.
fn wait(ms: u64) -> String {
    if ms < 1_000 { "less than a second".to_owned() } else { format!("another {} s", ms.div_ceil(1_000)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_deployment_is_left_alone_is_said_in_seconds() {
        for (for_ms, words) in [
            (0, "cooling down for less than a second"),
            (999, "cooling down for less than a second"),
            (1_000, "cooling down for another 1 s"),
            (11_001, "cooling down for another 12 s"),
            (12_000, "cooling down for another 12 s"),
        ] {
            assert_eq!(Skipped::CoolingDown { for_ms }.to_string(), words);
        }
    }
}
