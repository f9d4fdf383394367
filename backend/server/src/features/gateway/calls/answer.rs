//! One call: who asks, for what, within which limits; then the answer, streamed or whole.

use super::{
    MAX_BODY, door,
    refusal::{Refusal, exceeded, limits},
    stream,
};
use crate::{
    features::{
        gateway::{self, keys::Key},
        llm::Purpose,
    },
    state::App,
};
use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use syndarix_domain::ids::CallId;
use syndarix_llm::{
    CallError, Completion, Endpoint, Event, Head, ModelGroup, Native, Raw, TraceContext,
    inbound::{self, Fault},
};
use tokio::sync::mpsc;
use uuid::Uuid;

const DEPLOYMENT: HeaderName = HeaderName::from_static("x-syndarix-deployment");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-syndarix-attempts");
const DROPPED: HeaderName = HeaderName::from_static("x-syndarix-dropped");
const SIMULATED: HeaderName = HeaderName::from_static("x-syndarix-simulated");
const CALL: HeaderName = HeaderName::from_static("x-syndarix-call-id");
/// Refuse what cannot be said in the provider's format, instead of leaving it out.
const STRICT: &str = "x-syndarix-strict";
/// The conversation that a call belongs to, in the client's own words.
const SESSION: &str = "x-syndarix-session";
/// Where the call stands in a trace that the client has begun, as the W3C writes it.
const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";
/// Features in trial that an Anthropic client asks for.
const BETA: &str = "anthropic-beta";

/// A call that is let through.
struct Call {
    id: Uuid,
    key: Arc<Key>,
    group: Arc<ModelGroup>,
    native: Arc<Native>,
}

/// Answers at one of the paths.
pub(super) async fn answer(app: App, endpoint: Endpoint, request: Request) -> Response {
    let mut headers = HeaderMap::new();
    match handle(&app, endpoint, request, &mut headers).await {
        Ok(mut response) => {
            response.headers_mut().extend(headers);
            response
        }
        Err(refusal) => refusal.at(endpoint).with(&headers).into_response(),
    }
}

async fn handle(
    app: &App,
    endpoint: Endpoint,
    request: Request,
    headers: &mut HeaderMap,
) -> Result<Response, Refusal> {
    let key = door::admit(app, request.headers()).await?;
    let (quota, admitted) = key.meter.admit();
    headers.extend(limits(endpoint, &quota, app.clock().now()));
    admitted.map_err(|refused| exceeded(&refused))?;
    let native = read(endpoint, request).await?;
    let group = door::model(&*door::groups(app, &key).await?, &key, native.model())?;
    let call = Call { id: app.store.new_id(), key, group, native: Arc::new(native) };
    headers.insert(CALL, value(&call.id.to_string()));
    let answered = if call.native.is_streamed() && endpoint != Endpoint::Embeddings {
        stream::respond(app, &call.native, call.id, call.begin(app)).await
    } else {
        whole(app, &call).await
    };
    answered.map_err(Refusal::from)
}

/// The body, and what the headers say beside it.
pub(super) async fn read(endpoint: Endpoint, request: Request) -> Result<Native, Fault> {
    let beta = said(&request, BETA).filter(|_| endpoint == Endpoint::Messages).map(str::to_owned);
    let strict = said(&request, STRICT).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let session = said(&request, SESSION).filter(|session| !session.is_empty()).map(str::to_owned);
    let trace = said(&request, TRACE_PARENT)
        .and_then(|parent| TraceContext::read(parent, said(&request, TRACE_STATE)));
    let body = body(request).await?;
    let native = Native::parse(endpoint, body).map_err(|error| Fault::bad_request(error.to_string()))?;
    Ok(native.with_headers(beta, strict).with_session(session).with_trace(trace))
}

fn said<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

async fn body(request: Request) -> Result<Bytes, Fault> {
    Bytes::from_request(request, &()).await.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("a request has at most {} MiB", MAX_BODY >> 20);
            Fault::new(413, "request_too_large", message).for_good()
        }
        _ => Fault::bad_request(error.body_text()),
    })
}

impl Call {
    /// Lets the call run beside its client, at the cost of its key.
    fn begin(&self, app: &App) -> mpsc::Receiver<Event> {
        gateway::run(app, self.purpose(), self.question(), self.metered())
    }

    fn purpose(&self) -> Purpose {
        let key = &self.key;
        Purpose { agent: key.agent, key: Some(key.id), ..Purpose::of_project(key.project, CallId(self.id)) }
    }

    fn question(&self) -> gateway::Question {
        (Arc::clone(&self.group), Arc::clone(&self.native))
    }

    fn metered(&self) -> impl FnOnce(u32) + Send + 'static {
        let key = Arc::clone(&self.key);
        move |tokens| key.meter.used(tokens)
    }
}

/// An answer that is not streamed.
async fn whole(app: &App, call: &Call) -> Result<Response, Fault> {
    let (mut attended, mut events) = gateway::attend(app, call.purpose(), call.question(), call.metered());
    let (mut head, mut written, mut goes_on) = (None, None, true);
    let result = loop {
        let event = tokio::select! {
            biased;
            event = events.recv() => event,
            () = &mut attended, if goes_on => {
                goes_on = false;
                continue;
            }
            () = app.gateway.ending.cancelled() => return Err(stopping()),
        };
        match event {
            Some(Event::Head(known)) => head = Some(known),
            Some(Event::Piece(piece)) => {
                if let Some(Raw::Whole(bytes)) = piece.raw {
                    written = Some(bytes);
                }
            }
            Some(Event::End(result)) => break *result,
            None => return Err(lost()),
        }
    };
    let completion = result.map_err(|error: CallError| Fault::from(&error))?;
    let body = written.unwrap_or_else(|| translated(app, call, &completion));
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend(head.iter().flat_map(told));
    Ok(response)
}

fn translated(app: &App, call: &Call, completion: &Completion) -> Bytes {
    let unique = call.id.simple().to_string();
    inbound::whole(&call.native, &unique, unix_time(app), completion).to_string().into()
}

/// Seconds since 1970.
pub(super) fn unix_time(app: &App) -> u64 {
    u64::try_from(app.clock().now().timestamp()).unwrap_or_default()
}

/// Who answers, for whoever looks into it.
pub(super) fn told(head: &Head) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers =
        vec![(DEPLOYMENT, value(&head.deployment)), (ATTEMPTS, HeaderValue::from(head.attempt))];
    if !head.dropped.is_empty() {
        headers.push((DROPPED, value(&head.dropped.join(", "))));
    }
    if head.simulated {
        headers.push((SIMULATED, HeaderValue::from_static("true")));
    }
    headers
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unprintable"))
}

/// The process stops; what was used is recorded.
pub(super) fn stopping() -> Fault {
    Fault::new(503, "stopping", "the gateway is stopping: try again in a moment").after(Some(1_000))
}

/// The call's task is gone without a word.
pub(super) fn lost() -> Fault {
    Fault::new(500, "internal", "the call was lost on our side; the log has it under this request id")
}
