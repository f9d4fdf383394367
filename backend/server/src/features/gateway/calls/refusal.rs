//! A failure, and what a caller is told of its limits, in the headers that its format has for it.

use crate::features::gateway::keys::{Exceeded, Left, Quota};
use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{SecondsFormat, TimeDelta};
use std::time::Duration;
use syndarix_domain::Timestamp;
use syndarix_llm::{Endpoint, inbound::Fault};

/// What SDKs look at before anything else when they decide whether to try again.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// A failure on its way out.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) endpoint: Endpoint,
    pub(super) fault: Fault,
    pub(super) headers: HeaderMap,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { endpoint: Endpoint::ChatCompletions, fault, headers: HeaderMap::new() }
    }
}

/// A failure that is no call's.
pub(super) fn plain(status: u16, code: &'static str, message: &str) -> Refusal {
    Fault::new(status, code, message).into()
}

impl Refusal {
    /// The same in the format of those who ask here.
    pub(super) fn at(self, endpoint: Endpoint) -> Self {
        Self { endpoint, ..self }
    }

    /// The same with headers beside it.
    pub(super) fn with(self, headers: &HeaderMap) -> Self {
        Self { headers: headers.clone(), ..self }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { endpoint, fault, headers } = self;
        let status = StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, fault.body(endpoint).to_string()).into_response();
        let out = response.headers_mut();
        out.extend(headers);
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = fault.retry_after {
            out.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(should) = fault.should_retry {
            out.insert(SHOULD_RETRY, HeaderValue::from_static(if should { "true" } else { "false" }));
        }
        response
    }
}

/// Too many in a minute.
pub(super) fn exceeded(exceeded: &Exceeded) -> Fault {
    let Exceeded { what, limit, needed, wait } = exceeded;
    let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let too_few = match needed {
        0 | 1 => String::new(),
        _ => format!(", and fewer than the {needed} that this call needs are left"),
    };
    let seconds = wait.as_secs_f64().ceil();
    let message = format!("this key may take {limit} {what} in a minute{too_few}: try again in {seconds} s");
    Fault::new(429, "rate_limit_exceeded", message).after(Some(milliseconds))
}

/// What is left of a key's limits, as each format says it.
pub(super) fn limits(endpoint: Endpoint, quota: &Quota, now: Timestamp) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (what, left) in [("requests", quota.requests), ("tokens", quota.tokens)] {
        let Some(Left { limit, remaining, reset }) = left else { continue };
        let said: [(String, String); 3] = if endpoint == Endpoint::Messages {
            let at = now + TimeDelta::from_std(reset).unwrap_or_default();
            let name = |kind: &str| format!("anthropic-ratelimit-{what}-{kind}");
            [
                (name("limit"), limit.to_string()),
                (name("remaining"), remaining.to_string()),
                (name("reset"), at.to_rfc3339_opts(SecondsFormat::Secs, true)),
            ]
        } else {
            let name = |kind: &str| format!("x-ratelimit-{kind}-{what}");
            [
                (name("limit"), limit.to_string()),
                (name("remaining"), remaining.to_string()),
                (name("reset"), seconds(reset)),
            ]
        };
        for (name, value) in said {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
    }
    headers
}

/// As OpenAI writes a wait: `1.5s`.
fn seconds(wait: Duration) -> String {
    format!("{:.3}s", wait.as_secs_f64())
}
