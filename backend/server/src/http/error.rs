//! One error for the whole API: RFC 9457 problem details with a stable code.

use crate::db;
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use syndarix_domain::machine::Rejection;

/// The member of a problem document that says when to come back, in seconds.
const RETRY_AFTER: &str = "retry_after_seconds";

/// What a caller is told of a fault that is none of theirs.
pub(super) const OUR_FAULT: &str = "something failed on our side; the log has it under this request id";
/// PostgreSQL's codes for a text that it cannot keep: U+0000 in JSON, and bytes that are no UTF-8 or hold a NUL.
const UNSTORABLE: [&str; 2] = ["22P05", "22021"];
/// PostgreSQL's code for a disk that is full.
const DISK_FULL: &str = "53100";
/// A statement, or its wait for a lock, took longer than its session allows.
const TOO_LONG: &str = "57014";
const LOCKED: &str = "55P03";
/// What PostgreSQL says while it ends, after it has crashed, and while it starts: admin_shutdown, crash_shutdown,
/// cannot_connect_now.
const GOING: &str = "57P0";

/// What the caller is told. An internal error is logged once, with its chain, and shown without it.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: String,
    extras: Map<String, Value>,
    conflict: bool,
}

impl ApiError {
    /// An error with its own status and code.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), extras: Map::new(), conflict: false }
    }

    /// 400: the request cannot be understood.
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 401: nobody is signed in.
    pub fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", detail)
    }

    /// 403: signed in, and not allowed to do this here.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 404: not there, or not for this caller.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} with this id here"))
    }

    /// 409: not in this state.
    pub fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    /// 422: understood, and wrong in one field.
    pub fn invalid(field: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", format!("{field}: {message}"))
            .with("errors", json!([{ "field": field, "message": message }]))
    }

    /// 429: too often. The caller is told when to come back, in the header `Retry-After` and in the document.
    pub fn too_many(code: &'static str, detail: impl Into<String>, retry_after_seconds: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, detail).with(RETRY_AFTER, retry_after_seconds)
    }

    /// 500: our fault. The chain goes to the log, not to the caller.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            chain.push_str(": ");
            chain.push_str(&cause.to_string());
            source = cause.source();
        }
        tracing::error!(error = %chain, "internal error");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", OUR_FAULT)
    }

    /// Adds a member to the problem document.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.extras.insert(key.to_owned(), value.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The problem document. The request id is added on the way out.
    pub fn problem(&self) -> Value {
        let mut problem = self.extras.clone();
        problem.insert("type".into(), format!("https://syndarix.dev/problems/{}", self.code).into());
        problem.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        problem.insert("status".into(), self.status.as_u16().into());
        problem.insert("code".into(), self.code.into());
        problem.insert("detail".into(), self.detail.clone().into());
        Value::Object(problem)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.problem().to_string()).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.extras.get(RETRY_AFTER).and_then(Value::as_u64) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let code = if rejection.guard == "phase" { "illegal_transition" } else { "refused" };
        Self::conflict(code, rejection.sentence)
            .with("guard", rejection.guard)
            .with("legal_from", rejection.legal_from)
    }
}

impl From<db::Error> for ApiError {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Conflict => {
                let detail = "changed by someone else meanwhile: reload, then try again";
                Self { conflict: true, ..Self::conflict("changed", detail) }
            }
            db::Error::InProgress | db::Error::Repeated => {
                let detail =
                    "the first request with this key is still being worked on: ask again in a moment";
                let again = matches!(error, db::Error::InProgress);
                Self { conflict: again, ..Self::conflict("in_progress", detail) }
            }
            db::Error::NotFound(what) => Self::not_found(what),
            db::Error::Rejected(rejection) => rejection.into(),
            db::Error::LeaseLost => Self::conflict("lease_lost", error.to_string()),
            db::Error::Database(sqlx::Error::PoolTimedOut) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "the database has no free connection: try again in a moment",
            ),
            db::Error::Database(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| UNSTORABLE.contains(&code.as_ref())) =>
            {
                Self::invalid("body", "holds a character that no text that is kept can hold, such as U+0000")
            }
            db::Error::Database(sqlx::Error::Database(error))
                if error.code().is_some_and(|code| [TOO_LONG, LOCKED].contains(&code.as_ref())) =>
            {
                tracing::warn!(error = &error as &dyn std::error::Error, "a statement was given up");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "the database took too long and wrote nothing of this: try again in a moment",
                )
            }
            db::Error::Database(sqlx::Error::Database(error))
                if error.code().as_deref() == Some(DISK_FULL) =>
            {
                tracing::error!(error = &error as &dyn std::error::Error, "the database's disk is full");
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    "disk_full",
                    "the disk of the database is full, and nothing of this was written: free some space, then try again",
                )
            }
            db::Error::Database(error) if is_cut_off(&error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the database went away meanwhile");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "the database went away before it answered, so nobody knows whether this was done: look, or repeat it with \
                     its Idempotency-Key",
                )
            }
            other => Self::internal(&other),
        }
    }
}

/// Whether the line to the database broke, or its server is ending or starting.
fn is_cut_off(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| code.starts_with(GOING)),
        _ => false,
    }
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        db::Error::from(error).into()
    }
}

impl db::AsConflict for ApiError {
    fn is_conflict(&self) -> bool {
        self.conflict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_goes_away_is_nobodys_mistake_and_comes_back() {
        let cut = sqlx::Error::Io(std::io::ErrorKind::BrokenPipe.into());
        let error = ApiError::from(cut);
        assert_eq!((error.status(), error.code()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"));
        let fault = ApiError::from(sqlx::Error::ColumnNotFound("x".into()));
        assert_eq!(fault.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
