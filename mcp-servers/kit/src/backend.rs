//! Calls to the backend's REST API, with the caller's own token and nothing else.
//!
//! The token's audience names the backend too, so this is not a pass-through of a foreign token. Paths
//! are lists of segments, so that a value chosen by a model can never become another path.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;

use crate::{
    failure::{FailureCode, ToolFailure},
    token::Bearer,
};

/// Longest wait for one answer of the backend.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest wait for a connection to the backend.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After so many milliseconds, once for each, a write is sent again while the first one with its key is still being worked on.
const IN_PROGRESS_PAUSES_MS: [u64; 6] = [50, 200, 500, 1_000, 2_000, 4_000];
/// What the backend says then.
const IN_PROGRESS: &str = "in_progress";
/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Longest error sentence that is passed on to the model, in characters.
const MAX_DETAIL_CHARS: usize = 500;

/// The backend, as one caller sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BackendClient {
    http: reqwest::Client,
    base: Url,
    bearer: Bearer,
    step_key: Option<Arc<str>>,
    writes: Arc<AtomicU32>,
    patience: Duration,
}

/// The part of RFC 9457 that is passed on, or of what the model gateway says in the words of its clients.
#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
    code: Option<String>,
    error: Option<GatewayError>,
}

/// A failure as clients of models know it.
#[derive(Deserialize)]
struct GatewayError {
    message: String,
    code: Option<String>,
}

/// The HTTP client that all calls share.
pub(crate) fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    // The process may have chosen a TLS provider already; any is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .timeout(TIMEOUT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
}

impl BackendClient {
    pub(crate) fn new(http: reqwest::Client, base: Url, bearer: Bearer) -> Self {
        Self { http, base, bearer, step_key: None, writes: Arc::default(), patience: TIMEOUT }
    }

    /// Waits so long for an answer, instead of 20 seconds: a model may think for minutes.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Makes writes carry `Idempotency-Key: <step>/<n>`, the same when the step is tried again.
    pub(crate) fn with_step(mut self, step_key: Option<Arc<str>>, writes: Arc<AtomicU32>) -> Self {
        self.step_key = step_key;
        self.writes = writes;
        self
    }

    /// `GET /<path...>?<query>`.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, ToolFailure> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.send(self.http.get(url)).await?.0)
    }

    /// `POST /<path...>` with a JSON body.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ToolFailure> {
        Ok(self.post_heard(path, body).await?.0)
    }

    /// The same, with what the answer's headers say.
    pub async fn post_heard<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<(T, HeaderMap), ToolFailure> {
        self.write(Method::POST, path, Some(body)).await
    }

    /// `PATCH /<path...>` with a JSON body.
    pub async fn patch<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ToolFailure> {
        Ok(self.write(Method::PATCH, path, Some(body)).await?.0)
    }

    /// `PUT /<path...>` with a JSON body.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, ToolFailure> {
        Ok(self.write(Method::PUT, path, Some(body)).await?.0)
    }

    /// `DELETE /<path...>`; an answer without a body reads as `null`.
    pub async fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, ToolFailure> {
        Ok(self.write(Method::DELETE, path, None::<&Value>).await?.0)
    }

    async fn write<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: Option<&impl Serialize>,
    ) -> Result<(T, HeaderMap), ToolFailure> {
        let mut request = self.http.request(method, self.url(path)?);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(step) = &self.step_key {
            let n = self.writes.fetch_add(1, Ordering::Relaxed);
            request = request.header("idempotency-key", format!("{step}/{n}"));
        }
        for pause in IN_PROGRESS_PAUSES_MS.map(Duration::from_millis) {
            // A body of JSON can always be sent again.
            let Some(again) = request.try_clone() else { break };
            match self.send(request).await {
                Err(failure) if is_in_progress(&failure) => tokio::time::sleep(pause).await,
                outcome => return outcome,
            }
            request = again;
        }
        self.send(request).await
    }

    fn url(&self, path: &[&str]) -> Result<Url, ToolFailure> {
        if path.iter().any(|segment| matches!(*segment, "" | "." | "..")) {
            return Err(ToolFailure::invalid("An id is empty or made of dots."));
        }
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => segments.pop_if_empty().extend(path),
            Err(()) => return Err(ToolFailure::internal(&"the backend's URL cannot have a path")),
        };
        Ok(url)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<(T, HeaderMap), ToolFailure> {
        let request = request.bearer_auth(self.bearer.reveal()).timeout(self.patience);
        let answer = request.send().await.map_err(|fault| {
            tracing::warn!(fault = %fault.without_url(), "the backend did not answer");
            ToolFailure::unavailable("Syndarix did not answer; try again in a moment.")
        })?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let bytes = read_bounded(answer).await?;
        if !status.is_success() {
            return Err(problem(status, &bytes));
        }
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        let body = serde_json::from_slice(bytes).map_err(|fault| ToolFailure::internal(&fault))?;
        Ok((body, headers))
    }
}

/// The call of a worker that was lost is still at work: its answer will be ours.
fn is_in_progress(failure: &ToolFailure) -> bool {
    failure.details().and_then(|details| details.get("code")).and_then(Value::as_str) == Some(IN_PROGRESS)
}

async fn read_bounded(answer: Response) -> Result<Vec<u8>, ToolFailure> {
    let mut bytes = Vec::new();
    let mut stream = answer.bytes_stream();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|fault| {
            tracing::warn!(fault = %fault.without_url(), "the backend's answer broke off");
            ToolFailure::unavailable("Syndarix's answer broke off; try again in a moment.")
        })?;
        if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(ToolFailure::too_large("Syndarix's answer is too large; ask for less."));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn problem(status: StatusCode, body: &[u8]) -> ToolFailure {
    let problem = serde_json::from_slice::<Problem>(body).ok();
    let (code, sentence, for_clients) = match problem {
        Some(Problem { error: Some(error), .. }) => (error.code, Some(error.message), true),
        Some(Problem { title, detail, code, .. }) => (code, detail.or(title), false),
        None => (None, None, false),
    };
    let (kind, fallback) = match status.as_u16() {
        400 | 415 | 422 => (FailureCode::InvalidArgument, "Syndarix refused the arguments."),
        401..=403 => (FailureCode::Forbidden, "This agent may not do that."),
        404 | 410 => (FailureCode::NotFound, "There is no such thing in this project."),
        409 | 412 | 428 => (FailureCode::Conflict, "It changed or is in the wrong state; read it again."),
        413 => (FailureCode::TooLarge, "The request is too large; send less."),
        _ => (FailureCode::Unavailable, "Syndarix could not do it now; try again in a moment."),
    };
    // What the backend says about its own faults is for its log, not for a model; of the providers behind the gateway it
    // says what a client is to know.
    let is_own_fault =
        status.is_server_error() && !(for_clients && status != StatusCode::INTERNAL_SERVER_ERROR);
    let sentence = sentence.filter(|_| !is_own_fault).unwrap_or_else(|| fallback.to_owned());
    let failure = ToolFailure::new(kind, sentence.chars().take(MAX_DETAIL_CHARS).collect::<String>());
    match code {
        Some(code) => failure.with_details(serde_json::json!({ "code": code, "status": status.as_u16() })),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> BackendClient {
        let base = Url::parse("http://127.0.0.1:1/api/v1/").unwrap();
        BackendClient::new(http_client().unwrap(), base, Bearer::new("t"))
    }

    #[test]
    fn a_segment_cannot_become_another_path() {
        assert!(client().url(&["issues", ".."]).is_err());
        assert!(client().url(&["issues", ""]).is_err());
        let url = client().url(&["issues", "a/../b?x=1#y"]).unwrap();
        assert_eq!(url.as_str(), "http://127.0.0.1:1/api/v1/issues/a%2F..%2Fb%3Fx=1%23y");
    }

    #[test]
    fn a_problem_becomes_a_sentence_with_its_code() {
        let body = br#"{"title":"Conflict","detail":"The story moved on.","code":"story.version"}"#;
        let failure = problem(StatusCode::CONFLICT, body);
        assert_eq!(failure.code(), FailureCode::Conflict);
        assert_eq!(failure.message(), "The story moved on.");
        let fault = problem(StatusCode::INTERNAL_SERVER_ERROR, br#"{"detail":"relation missing"}"#);
        assert!(!fault.message().contains("relation"));
    }

    #[test]
    fn what_the_model_gateway_says_reaches_the_model_also_of_its_providers() {
        let body =
            br#"{"error":{"message":"over the limit","type":"insufficient_quota","code":"budget_exceeded"}}"#;
        let failure = problem(StatusCode::PAYMENT_REQUIRED, body);
        assert_eq!((failure.code(), failure.message()), (FailureCode::Forbidden, "over the limit"));
        let body = br#"{"error":{"message":"a: cooling down","type":"server_error","code":null}}"#;
        let failure = problem(StatusCode::SERVICE_UNAVAILABLE, body);
        assert_eq!((failure.code(), failure.message()), (FailureCode::Unavailable, "a: cooling down"));
        let fault = problem(StatusCode::INTERNAL_SERVER_ERROR, body);
        assert!(!fault.message().contains("cooling"));
    }
}
