//! One call: who asks, for what, within which limits; then the answer, streamed or whole.

use super::{
    asker::Asker,
    body::{self, Place},
    cache::{self, Cached, Heard, Known},
    door, looked_up,
    refusal::Refusal,
    stream, tokens,
    turns::Turn,
};
use crate::{
    features::{
        gateway::{self, keys::Held},
        llm::{self, Purpose, SetAside},
    },
    state::App,
};
use async_trait::async_trait;
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use syndarix_llm::{
    CallError, Completion, Endpoint, Event, Head, ModelGroup, Native, Raw, TraceContext,
    inbound::{self, Fault},
};
use syndarix_mcp_kit::Access;
use uuid::Uuid;

const DEPLOYMENT: HeaderName = HeaderName::from_static("x-syndarix-deployment");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-syndarix-attempts");
const DROPPED: HeaderName = HeaderName::from_static("x-syndarix-dropped");
const SIMULATED: HeaderName = HeaderName::from_static("x-syndarix-simulated");
/// `hit`, `miss` or `off`: whether the answer was known already.
const CACHE: HeaderName = HeaderName::from_static("x-syndarix-cache");
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
pub(super) struct Call {
    id: Uuid,
    pub(super) asker: Asker,
    pub(super) group: Arc<ModelGroup>,
    pub(super) native: Arc<Native>,
}

impl Call {
    fn is_streamed(&self) -> bool {
        self.native.is_streamed() && self.native.endpoint() != Endpoint::Embeddings
    }

    fn purpose(&self) -> Purpose {
        self.asker.purpose(self.id)
    }

    fn question(&self) -> gateway::Question {
        (Arc::clone(&self.group), Arc::clone(&self.native))
    }
}

/// What a call holds until all its attempts are over: tokens of the minute, its place and its turn.
struct Holds {
    tokens: Held,
    _places: (Place, Turn),
}

#[async_trait]
impl SetAside for Holds {
    fn sent(&self) {
        self.tokens.sent();
    }

    async fn used(&self, tokens: u32) {
        self.tokens.used(tokens).await;
    }
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
    let asker = door::admit(app, request.headers(), Access::Write).await?;
    door::count(app, &asker, (endpoint, &mut *headers)).await?;
    let turn = app.gateway.turns.take(asker.id())?;
    let is_refused = cache::is_refused(request.headers());
    let (native, place) = read(app, endpoint, request).await?;
    let group = door::model(&*door::groups(app, &asker).await?, &asker, native.model())?;
    let call = Call { id: app.store.new_id(), asker, group, native: Arc::new(native) };
    headers.insert(CALL, value(&call.id.to_string()));
    let cached = cache::look(app, &call, is_refused).await;
    headers.insert(CACHE, cached.said());
    if let Cached::Hit(known) = &cached {
        return again(app, &call, known).await;
    }
    let holds = Holds { tokens: tokens::set_aside(app, &call, headers).await?, _places: (place, turn) };
    let answered = if call.is_streamed() {
        let events = gateway::run(app, call.purpose(), call.question(), holds);
        stream::respond(app, &call.native, call.id, Heard::new(events, cached)).await
    } else {
        whole(app, &call, cached, holds).await
    };
    answered.map_err(Refusal::from)
}

/// The body, and what the headers say beside it.
pub(super) async fn read(
    app: &App,
    endpoint: Endpoint,
    request: Request,
) -> Result<(Native, Place), Refusal> {
    let beta = said(&request, BETA).filter(|_| endpoint == Endpoint::Messages).map(str::to_owned);
    let strict = said(&request, STRICT).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let session = said(&request, SESSION).filter(|session| !session.is_empty()).map(str::to_owned);
    let trace = said(&request, TRACE_PARENT)
        .and_then(|parent| TraceContext::read(parent, said(&request, TRACE_STATE)));
    let (head, body) = request.into_parts();
    let (body, place) = body::read(&app.gateway.bodies, &head.headers, body).await?;
    let native = Native::parse(endpoint, body).map_err(|error| Fault::bad_request(error.to_string()))?;
    Ok((native.with_headers(beta, strict).with_session(session).with_trace(trace), place))
}

fn said<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.headers().get(name).and_then(|value| value.to_str().ok())
}

/// An answer that is known already, at no cost.
async fn again(app: &App, call: &Call, known: &Known) -> Result<Response, Refusal> {
    let Known { completion, dropped, raw } = known;
    let asked = (call.group.name.as_str(), completion);
    looked_up(llm::record_known(app, &call.purpose(), asked)).await?;
    let mut response = if call.is_streamed() {
        let unique = call.id.simple().to_string();
        stream::of(Body::from(inbound::replay(&call.native, &unique, unix_time(app), completion)))
    } else {
        document(raw.clone().map_or_else(|| translated(app, call, completion), Bytes::from))
    };
    let head = Head {
        deployment: completion.deployment.clone(),
        model: completion.model.clone(),
        native: raw.is_some(),
        attempt: 0,
        simulated: completion.simulated,
        dropped: dropped.clone(),
        prompt_tokens: completion.usage.prompt(),
    };
    response.headers_mut().extend(told(&head));
    Ok(response)
}

/// An answer that is not streamed.
async fn whole(app: &App, call: &Call, cached: Cached, holds: Holds) -> Result<Response, Fault> {
    let (mut attended, events) = gateway::attend(app, call.purpose(), call.question(), holds);
    let mut events = Heard::new(events, cached);
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
    let mut response = document(body);
    response.headers_mut().extend(head.iter().flat_map(told));
    Ok(response)
}

fn document(body: Bytes) -> Response {
    let mut response = Body::from(body).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
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
