//! What went wrong, from a response that is no answer.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{MAX_ERROR_BODY, MAX_RETRY_AFTER_MS};
use crate::error::{ErrorKind, ProviderError, TimeoutPhase};

/// The error and what it wraps, without the address: a base URL may carry a token.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        match error.downcast_ref::<reqwest::Error>() {
            Some(outer) if outer.is_connect() => words.push("cannot connect".to_owned()),
            Some(_) => words.push("the exchange broke".to_owned()),
            None => words.push(error.to_string()),
        }
        next = error.source();
    }
    words.dedup();
    words.join(": ")
}

/// The class of a status that is not a success; its wait is filled in from the headers.
pub(super) fn refused(status: StatusCode) -> Option<ErrorKind> {
    Some(match status.as_u16() {
        200..=299 => return None,
        401..=403 => ErrorKind::Auth,
        404 | 405 | 410 | 300..=399 => ErrorKind::NotFound,
        408 => ErrorKind::Timeout { phase: TimeoutPhase::Upstream },
        413 => ErrorKind::ContextTooLong,
        429 => ErrorKind::RateLimited { retry_after_ms: None },
        503 | 529 => ErrorKind::Overloaded { retry_after_ms: None },
        409 | 500..=599 => ErrorKind::ServerError,
        _ => ErrorKind::BadRequest,
    })
}

pub(super) async fn explain(
    kind: ErrorKind,
    response: Response,
    until: Instant,
    cancel: &CancellationToken,
) -> ProviderError {
    let status = response.status().as_u16();
    let wait = retry_after(response.headers(), SystemTime::now()).map(|wait| wait.min(MAX_RETRY_AFTER_MS));
    let body = tokio::select! {
        biased;
        () = cancel.cancelled() => Vec::new(),
        body = timeout_at(until, read_error(response)) => body.unwrap_or_default(),
    };
    let (message, code) = words_of(&body);
    let kind = match kind {
        // OpenAI says so with 429, Anthropic with 400.
        ErrorKind::RateLimited { .. } | ErrorKind::BadRequest if is_quota(&code, &message) => ErrorKind::Auth,
        // Google says so with 400.
        ErrorKind::BadRequest if message.starts_with("API key not valid") => ErrorKind::Auth,
        ErrorKind::RateLimited { .. } => {
            let wait = wait.or_else(|| retry_delay(&body)).map(|wait| wait.min(MAX_RETRY_AFTER_MS));
            ErrorKind::RateLimited { retry_after_ms: wait }
        }
        ErrorKind::Overloaded { .. } => ErrorKind::Overloaded { retry_after_ms: wait },
        ErrorKind::BadRequest if is_context(&code, &message) => ErrorKind::ContextTooLong,
        kind => kind,
    };
    let message = if message.is_empty() { format!("status {status} without a reason") } else { message };
    ProviderError::new(kind, message).with_status(status)
}

pub(super) async fn read_error(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BODY {
            body.truncate(MAX_ERROR_BODY);
            break;
        }
    }
    body
}

/// Message and code out of `{"error": {...}}` of either dialect, or the body itself.
fn words_of(body: &[u8]) -> (String, String) {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return (String::from_utf8_lossy(body).trim().to_owned(), String::new());
    };
    error_words(error_of(&value))
}

/// The error of a document; Google's streams wrap it in a list.
fn error_of(value: &Value) -> &Value {
    let value = value.get(0).unwrap_or(value);
    value.get("error").unwrap_or(value)
}

/// The wait in milliseconds that Google names within the error, as in `"retryDelay": "7.5s"`.
fn retry_delay(body: &[u8]) -> Option<u64> {
    let value = serde_json::from_slice::<Value>(body).ok()?;
    let details = error_of(&value).get("details")?.as_array()?;
    let delay = details.iter().find_map(|detail| detail.get("retryDelay")?.as_str())?;
    let seconds: f64 = delay.strip_suffix('s')?.parse().ok()?;
    u64::try_from(Duration::try_from_secs_f64(seconds).ok()?.as_millis()).ok()
}

/// Message and code of an error object. Voyage calls its message the detail.
pub(crate) fn error_words(error: &Value) -> (String, String) {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let said = || ["message", "detail"].into_iter().map(text).find(|said| !said.is_empty());
    let message = error.as_str().map(str::to_owned).or_else(said).unwrap_or_else(|| error.to_string());
    (message, format!("{} {}", text("code"), text("type")))
}

/// The class of an error that comes as an event within a stream.
pub(crate) fn stream_error(error: &Value) -> ProviderError {
    let (message, code) = error_words(error);
    let numeric = error.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let by_status = numeric.and_then(|code| StatusCode::from_u16(code).ok()).and_then(refused);
    let kind = if is_context(&code, &message) {
        ErrorKind::ContextTooLong
    } else if code.contains("overloaded") {
        ErrorKind::Overloaded { retry_after_ms: None }
    } else if code.contains("rate_limit") {
        ErrorKind::RateLimited { retry_after_ms: None }
    } else if code.contains("authentication") || code.contains("permission") || is_quota(&code, &message) {
        ErrorKind::Auth
    } else if code.contains("timeout") {
        ErrorKind::Timeout { phase: TimeoutPhase::Upstream }
    } else if code.contains("invalid_request") {
        ErrorKind::BadRequest
    } else {
        by_status.unwrap_or(ErrorKind::ServerError)
    };
    ProviderError::new(kind, message).billed()
}

/// Providers have no common code for this; these are the words of the ones that are supported.
fn is_context(code: &str, message: &str) -> bool {
    const WORDS: [&str; 6] = [
        "context_length",
        "context length",
        "context window",
        "prompt is too long",
        "maximum number of tokens",
        "request_too_large",
    ];
    let message = message.to_ascii_lowercase();
    WORDS.iter().any(|word| code.contains(word) || message.contains(word))
}

fn is_quota(code: &str, message: &str) -> bool {
    code.contains("insufficient_quota") || message.to_ascii_lowercase().contains("credit balance is too low")
}

/// The wait in milliseconds: `retry-after-ms`, seconds (whole or not), or an HTTP date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    if let Some(ms) = text("retry-after-ms").and_then(|value| value.parse().ok()) {
        return Some(ms);
    }
    let value = text(RETRY_AFTER.as_str())?;
    if let Some(wait) =
        value.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    {
        return u64::try_from(wait.as_millis()).ok();
    }
    let at = DateTime::parse_from_rfc2822(value).ok()?.with_timezone(&Utc);
    u64::try_from((at - DateTime::<Utc>::from(now)).num_milliseconds()).ok().or(Some(0))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn a_wait_is_read_as_seconds_as_milliseconds_and_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let wait = |name: &'static str, value: &'static str| {
            let headers =
                HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            retry_after(&headers, now)
        };
        assert_eq!(wait("retry-after", "7"), Some(7_000));
        assert_eq!(wait("retry-after", " 0.25 "), Some(250));
        assert_eq!(wait("retry-after-ms", "80"), Some(80));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT"), Some(3_000));
        assert_eq!(wait("retry-after", "Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "a date that has passed");
        for nonsense in ["soon", "-3", "NaN", "inf", ""] {
            assert_eq!(wait("retry-after", nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn the_words_of_an_error_are_found_where_its_provider_puts_them() {
        let voyage = include_bytes!("../../../tests/fixtures/voyage_error.json");
        assert_eq!(words_of(voyage).0, "Provided API key is invalid.");
        assert_eq!(words_of(br#"{"error": {"message": "m", "detail": "d"}}"#).0, "m");
        assert_eq!(words_of(br#"{"error": "plain"}"#).0, "plain");
        assert_eq!(words_of(br#"{"detail": [{"msg": "m"}]}"#).0, r#"{"detail":[{"msg":"m"}]}"#);
    }
}
