//! Spans to an OpenTelemetry collector: OTLP over HTTP, as JSON, which every collector takes at `/v1/traces`.
//!
//! Invariants: a call never waits for the collector, and what the collector does not take is dropped and counted; what is
//! kept for it is bounded in number; without an address nothing of this is made.
//!
//! Written here, and not taken from the SDK's crates: three attributes and an envelope are all that is needed of them.

use super::settings::Tracing;
use reqwest::{
    Client, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde_json::{Value, json};
use std::time::Duration;
use syndarix_llm::{SpanId, TraceId};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Spans that wait for their batch; what comes beyond is dropped.
const WAITING: usize = 4_096;
/// Spans of one request.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector has for a batch.
const PATIENCE: Duration = Duration::from_secs(10);
/// The last batch of a process that stops has this long.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// Attempts at a batch while the collector is away or busy, and the pause after the first; it doubles.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// What the other end of a span is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nobody outside.
    Internal = 1,
    /// Whoever asks us.
    Server = 2,
    /// Whom we ask.
    Client = 3,
}

/// One span that has ended.
#[derive(Debug, Clone)]
pub struct Span {
    /// The trace that it belongs to.
    pub trace: TraceId,
    /// Itself.
    pub id: SpanId,
    /// The span that it is part of.
    pub parent: Option<SpanId>,
    /// What is done.
    pub name: String,
    /// What the other end is.
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub started: u64,
    /// Nanoseconds since 1970.
    pub ended: u64,
    /// What is known of it.
    pub attributes: Vec<Value>,
    /// Why it failed.
    pub error: Option<String>,
}

/// An attribute with a text, a number, a truth or a list of texts.
pub fn attribute(key: &str, value: impl Into<Value>) -> Value {
    json!({ "key": key, "value": any(&value.into()) })
}

/// OTLP's JSON writes whole numbers of 64 bits as text.
fn any(value: &Value) -> Value {
    match value {
        Value::Bool(truth) => json!({ "boolValue": truth }),
        Value::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::Array(values) => {
            json!({ "arrayValue": { "values": values.iter().map(any).collect::<Vec<_>>() } })
        }
        Value::String(text) => json!({ "stringValue": text }),
        other => json!({ "stringValue": other.to_string() }),
    }
}

impl Span {
    fn json(&self) -> Value {
        let status = match &self.error {
            Some(message) => json!({ "code": 2, "message": message }),
            None => json!({}),
        };
        let mut span = json!({
            "traceId": self.trace.to_string(), "spanId": self.id.to_string(), "name": self.name,
            "kind": self.kind as u8, "startTimeUnixNano": self.started.to_string(),
            "endTimeUnixNano": self.ended.to_string(), "attributes": self.attributes, "status": status,
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = parent.to_string().into();
        }
        span
    }
}

/// Takes spans. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Spans {
    out: Sender<Span>,
    /// Prompts and answers are told, too.
    pub content: bool,
}

impl Spans {
    /// Hands a span over. Never waits.
    pub fn put(&self, span: Span) {
        if self.out.try_send(span).is_err() {
            dropped(1);
        }
    }
}

/// What sends spans, until it is told to end.
pub struct Exporter {
    spans: Receiver<Span>,
    client: Client,
    url: String,
    headers: HeaderMap,
    resource: Value,
}

/// The two ends. Errors: an address or headers that do not read, in a sentence.
pub fn exporter(settings: &Tracing, instance: &str) -> Result<Option<(Spans, Exporter)>, String> {
    let Some(endpoint) = &settings.endpoint else { return Ok(None) };
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let fault = |error: &dyn std::fmt::Display| format!("SYNDARIX_OTLP_ENDPOINT is wrong: {error}");
    let parsed: url::Url = url.parse().map_err(|error: url::ParseError| fault(&error))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(fault(
            &"it begins with http:// or https://, and the port is that of OTLP over HTTP (4318)",
        ));
    }
    let headers = settings.headers.as_ref().map(|headers| headers_of(headers.expose())).transpose()?;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build();
    let (out, spans) = mpsc::channel(WAITING);
    let exporter = Exporter {
        spans,
        client: client.map_err(|error| fault(&error))?,
        url,
        headers: headers.unwrap_or_default(),
        resource: json!({ "attributes": [
            attribute("service.name", "syndarix"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("service.instance.id", instance),
        ] }),
    };
    Ok(Some((Spans { out, content: settings.content }, exporter)))
}

/// As OpenTelemetry writes them: `name=value,name=value`.
fn headers_of(text: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        // The value is a secret, as a rule: it is not repeated.
        let wrong = || "SYNDARIX_OTLP_HEADERS is wrong: write it like `name=value,name=value`".to_owned();
        let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

impl Exporter {
    /// Sends what is put, until `ending`; then what is left, once, within a second.
    pub fn spawn(self, tasks: &TaskTracker, ending: CancellationToken) {
        tasks.spawn(self.run(ending));
    }

    async fn run(mut self, ending: CancellationToken) {
        let mut batch = Vec::new();
        let mut told = false;
        while !ending.is_cancelled() {
            tokio::select! {
                () = ending.cancelled() => break,
                taken = self.spans.recv_many(&mut batch, BATCH) => if taken == 0 { return },
            }
            self.gather(&mut batch, &ending).await;
            let sent = tokio::select! {
                sent = self.send(&batch) => sent,
                // The last words are said below, in a shorter time.
                () = ending.cancelled() => break,
            };
            tell(&mut told, sent);
            batch.clear();
        }
        while let Ok(span) = self.spans.try_recv() {
            batch.push(span);
        }
        if !batch.is_empty()
            && !matches!(tokio::time::timeout(LAST_PATIENCE, self.post(&batch)).await, Ok(Ok(())))
        {
            dropped(batch.len());
        }
    }

    /// Waits a moment for more.
    async fn gather(&mut self, batch: &mut Vec<Span>, ending: &CancellationToken) {
        let until = tokio::time::Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                taken = self.spans.recv_many(batch, room) => if taken == 0 { return },
                () = tokio::time::sleep_until(until) => return,
                () = ending.cancelled() => return,
            }
        }
    }

    async fn send(&self, batch: &[Span]) -> Result<(), String> {
        for attempt in 1.. {
            match self.post(batch).await {
                Ok(()) => break,
                Err(fault) if attempt < ATTEMPTS && fault.may_pass => {
                    tokio::time::sleep(PAUSE * 2u32.pow(attempt - 1)).await;
                }
                Err(fault) => {
                    dropped(batch.len());
                    return Err(fault.detail);
                }
            }
        }
        Ok(())
    }

    async fn post(&self, batch: &[Span]) -> Result<(), Fault> {
        let spans: Vec<Value> = batch.iter().map(Span::json).collect();
        let scope = json!({ "name": "syndarix", "version": env!("CARGO_PKG_VERSION") });
        let body = json!({ "resourceSpans": [
            { "resource": self.resource, "scopeSpans": [{ "scope": scope, "spans": spans }] }
        ] });
        let request = self.client.post(&self.url).headers(self.headers.clone()).timeout(PATIENCE).json(&body);
        let answer = request
            .send()
            .await
            .map_err(|error| Fault { detail: error.without_url().to_string(), may_pass: true })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(Fault {
                detail: format!("the collector answered {status}"),
                // Those that OTLP names as worth another attempt.
                may_pass: matches!(
                    status,
                    StatusCode::TOO_MANY_REQUESTS
                        | StatusCode::BAD_GATEWAY
                        | StatusCode::SERVICE_UNAVAILABLE
                        | StatusCode::GATEWAY_TIMEOUT
                ),
            }),
        }
    }
}

/// Why a batch was not taken.
struct Fault {
    detail: String,
    may_pass: bool,
}

/// One line when spans begin to be lost, and one when they are taken again.
fn tell(told: &mut bool, sent: Result<(), String>) {
    match sent {
        Err(reason) if !*told => {
            *told = true;
            tracing::warn!(
                reason,
                "spans are lost: the collector at SYNDARIX_OTLP_ENDPOINT does not take them"
            );
        }
        Ok(()) if *told => {
            *told = false;
            tracing::info!("the collector takes spans again");
        }
        _ => {}
    }
}

fn dropped(count: usize) {
    metrics::counter!("syndarix_spans_dropped_total").increment(u64::try_from(count).unwrap_or(u64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_opentelemetry_writes_them_and_a_wrong_one_is_not_repeated() {
        let headers = headers_of("authorization=Bearer a=b, x-team = blue").unwrap();
        assert_eq!(
            (&headers["authorization"], &headers["x-team"]),
            (&"Bearer a=b".parse().unwrap(), &"blue".parse().unwrap())
        );
        assert!(!headers_of("s3cret").unwrap_err().contains("s3cret"));
        assert!(headers_of("").unwrap().is_empty());
    }

    #[test]
    fn what_is_no_address_is_said_with_the_name_of_the_setting() {
        let of = |endpoint: &str| {
            let settings = Tracing { endpoint: Some(endpoint.into()), ..Tracing::default() };
            exporter(&settings, "i").err()
        };
        assert!(of("collector:4317").unwrap().contains("SYNDARIX_OTLP_ENDPOINT"));
        assert!(exporter(&Tracing::default(), "i").unwrap().is_none());
    }

    #[test]
    fn attributes_are_of_the_types_that_the_format_has() {
        assert_eq!(attribute("n", 7), json!({ "key": "n", "value": { "intValue": "7" } }));
        let list = json!({ "arrayValue": { "values": [{ "stringValue": "stop" }] } });
        assert_eq!(attribute("l", json!(["stop"]))["value"], list);
    }
}
