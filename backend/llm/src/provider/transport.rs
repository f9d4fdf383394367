//! The HTTP below both adapters: send, classify what is refused, and read events within the limits.

mod failure;
mod http;

use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{RequestBuilder, Response};
use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Deployment, Limits, Piece, PieceStream, Raw};
use crate::ask::Ask;
use crate::error::{ErrorKind, ProviderError, TimeoutPhase};
use crate::gateway::Grant;
use crate::sse::{SseDecoder, SseEvent};
use crate::types::{ChatRequest, Delta};
use failure::{chain, explain, read_error, refused};
use http::refused_inside;

pub(crate) use failure::stream_error;
pub(crate) use http::names_private;
pub use http::{ClientError, Http, http_client, leads_inside};

/// Set by the scripted endpoint on everything it answers.
pub(crate) const SIMULATED_HEADER: &str = "x-syndarix-simulated";

/// How long after a call's end what its provider has sent already is still read: it was written, and is paid for.
pub(crate) const LEFT_OVER: Duration = Duration::from_millis(50);

/// As the W3C writes where a request stands in a trace.
const TRACE_PARENT: &str = "traceparent";
const TRACE_STATE: &str = "tracestate";

/// Longest error body that is read, in bytes: an explanation, not a page.
const MAX_ERROR_BODY: usize = 64 << 10;

/// Longest wait that a provider is taken at its word for, in milliseconds: an hour. A mistake in a header must not
/// switch a deployment off for good.
const MAX_RETRY_AFTER_MS: u64 = 3_600_000;

/// Turns the events of one wire format into deltas. Pure, so that it can be tested without a network.
pub(crate) trait Decoder: Send + 'static {
    /// Takes one event.
    fn event(&mut self, event: &SseEvent) -> Result<Vec<Delta>, ProviderError>;
    /// How events are told apart.
    fn framing(&self) -> Framing {
        Framing::ServerSentEvents
    }
    /// Whether the answer is whole; what comes after is ignored.
    fn is_done(&self) -> bool;
    /// Whether the answer may count as whole when the body ends here.
    fn may_end(&self) -> bool;
    /// Whether the event that ends the answer says more than that it ends.
    fn ends_in_its_own_words(&self) -> bool {
        false
    }
}

/// How the events of a stream are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As browsers read them.
    ServerSentEvents,
    /// One JSON document on each line.
    Lines,
}

/// What a whole answer means, and how it is put for whoever wants its bytes.
pub(crate) type Whole = (Vec<Delta>, Bytes);

/// What an attempt needs besides its request.
pub(crate) struct Exchange<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) grant: &'a Grant,
    pub(crate) cancel: &'a CancellationToken,
    /// Whether the answer's own bytes are wanted beside their meaning.
    pub(crate) raw: bool,
}

impl Exchange<'_> {
    /// Sends the request and streams what the decoder makes of the answer.
    pub(crate) async fn run(
        &self,
        request: RequestBuilder,
        decoder: impl Decoder,
    ) -> Result<PieceStream, ProviderError> {
        let start = Instant::now();
        let limits = self.deployment.limits;
        let (response, simulated) = self.accepted(request, limits.first_byte(), start).await?;
        if !is_stream(response.headers(), decoder.framing()) {
            let error = not_a_stream(response, start + limits.first_byte()).await;
            return Err(self.redact(error.with_simulated(simulated)));
        }
        let started = Piece::of(self.started(simulated));
        let pieces = decode(self.body(response, start), decoder, started, self.raw);
        let key = self.deployment.api_key.clone();
        Ok(pieces
            .map(move |item| match item {
                Ok(piece) => Ok(labelled(piece, simulated)),
                Err(error) => {
                    let message = key.as_ref().map(|key| key.redact_in(&error.message));
                    Err(ProviderError { message: message.unwrap_or(error.message), simulated, ..error })
                }
            })
            .boxed())
    }

    /// Sends the request and reads the answer, of at most so many tokens, as one document: nothing of it comes before it is
    /// done.
    pub(crate) async fn run_whole(
        &self,
        request: RequestBuilder,
        max_output: u32,
        read: impl FnOnce(Bytes) -> Result<Whole, ProviderError>,
    ) -> Result<PieceStream, ProviderError> {
        let start = Instant::now();
        let patience = self.deployment.limits.whole(max_output);
        let (response, simulated) = self.accepted(request, patience, start).await?;
        let fail = |error: ProviderError| self.redact(error.with_simulated(simulated));
        let mut body = self.body(response, start);
        // Some servers send the head at once.
        body.limits.first_byte_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let whole = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(ProviderError::cancelled().billed()),
            whole = body.whole() => whole.map_err(fail)?,
        };
        let (meaning, whole) = read(whole).map_err(fail)?;
        let deltas = std::iter::once(self.started(simulated)).chain(meaning).collect();
        let piece = labelled(Piece { deltas, raw: Some(Raw::Whole(whole)) }, simulated);
        Ok(futures::stream::iter([Ok(piece)]).boxed())
    }

    /// The head of a success, and whether a scripted endpoint answers.
    async fn accepted(
        &self,
        request: RequestBuilder,
        patience: Duration,
        start: Instant,
    ) -> Result<(Response, bool), ProviderError> {
        let limits = &self.deployment.limits;
        let sent = self.send(request, patience.min(limits.total()), start).await;
        let response = sent.map_err(|error| self.redact(error))?;
        let simulated = is_simulated(response.headers());
        if let Some(error) = refused(response.status()) {
            let until = start + limits.first_byte().max(patience);
            let error = explain(error, response, until, self.cancel).await;
            return Err(self.redact(error.with_simulated(simulated)));
        }
        Ok((response, simulated))
    }

    async fn send(
        &self,
        request: RequestBuilder,
        patience: Duration,
        start: Instant,
    ) -> Result<Response, ProviderError> {
        let mut sending = pin!(timeout_at(start + patience, self.traced(request).send()));
        let sent = tokio::select! {
            biased;
            () = self.cancel.cancelled() => timeout(LEFT_OVER, sending)
                .await
                .map_err(|_| ProviderError::cancelled().billed())?,
            sent = &mut sending => sent,
        };
        let Ok(sent) = sent else {
            return Err(ProviderError::timeout(TimeoutPhase::FirstByte, patience).billed());
        };
        sent.map_err(|error| {
            if let Some(refused) = refused_inside(&error, &self.deployment.name) {
                return refused;
            }
            if error.is_connect() && error.is_timeout() {
                return ProviderError::timeout(TimeoutPhase::Connect, self.deployment.limits.connect());
            }
            let connecting = error.is_connect() || error.is_builder();
            let error = ProviderError::new(ErrorKind::Connection, chain(&error));
            if connecting { error } else { error.billed() }
        })
    }

    /// The request with the headers of its trace, where it is part of one.
    fn traced(&self, request: RequestBuilder) -> RequestBuilder {
        let Some(trace) = &self.grant.trace else { return request };
        let request = request.header(TRACE_PARENT, trace.to_string());
        match trace.state() {
            Some(state) => request.header(TRACE_STATE, state),
            None => request,
        }
    }

    fn body(&self, response: Response, start: Instant) -> Body {
        let bytes = Box::pin(response.bytes_stream());
        Body { bytes, limits: self.deployment.limits, start, read: 0 }
    }

    fn started(&self, simulated: bool) -> Delta {
        Delta::Started { model: self.deployment.model.clone(), simulated }
    }

    fn redact(&self, error: ProviderError) -> ProviderError {
        match &self.deployment.api_key {
            Some(key) => ProviderError { message: key.redact_in(&error.message), ..error },
            None => error,
        }
    }
}

/// A body that is JSON text already.
pub(crate) fn written(request: RequestBuilder, body: Vec<u8>) -> RequestBuilder {
    request.header(CONTENT_TYPE, "application/json").body(body)
}

/// The request in the neutral vocabulary, for a provider of another format than the client's.
pub(crate) fn neutral(ask: Ask<'_>) -> Result<&ChatRequest, ProviderError> {
    ask.neutral().map_err(|error| ProviderError::new(ErrorKind::BadRequest, error.to_string()))
}

/// The header speaks for the whole answer: nothing in the body can take the label off.
fn labelled(mut piece: Piece, header: bool) -> Piece {
    for delta in &mut piece.deltas {
        if let Delta::Started { simulated, .. } = delta {
            *simulated |= header;
        }
    }
    piece
}

/// Whether the scripted endpoint answered. Header names compare without case by themselves.
pub(crate) fn is_simulated(headers: &HeaderMap) -> bool {
    headers
        .get(SIMULATED_HEADER)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn is_stream(headers: &HeaderMap, framing: Framing) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let expected = match framing {
        Framing::ServerSentEvents => "text/event-stream",
        Framing::Lines => "application/x-ndjson",
    };
    // Some compatible servers forget the header; what they send is then judged as it is read.
    kind.is_none_or(|kind| kind.to_ascii_lowercase().starts_with(expected))
}

/// A success that is none: some gateways report an upstream's failure with status 200.
async fn not_a_stream(response: Response, until: Instant) -> ProviderError {
    let body = timeout_at(until, read_error(response)).await.unwrap_or_default();
    match serde_json::from_slice::<Value>(&body).ok().and_then(|value| value.get("error").cloned()) {
        Some(error) => stream_error(&error),
        None => ProviderError::malformed("the answer is no event stream"),
    }
}

struct Body {
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    limits: Limits,
    start: Instant,
    read: usize,
}

impl Body {
    /// The next chunk; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ProviderError> {
        let total = self.start + self.limits.total();
        let (step, phase, limit) = if self.read == 0 {
            (self.start + self.limits.first_byte(), TimeoutPhase::FirstByte, self.limits.first_byte())
        } else {
            (Instant::now() + self.limits.idle(), TimeoutPhase::Idle, self.limits.idle())
        };
        let chunk = match timeout_at(step.min(total), self.bytes.next()).await {
            Err(_) if step > total => {
                return Err(ProviderError::timeout(TimeoutPhase::Total, self.limits.total()).billed());
            }
            Err(_) => return Err(ProviderError::timeout(phase, limit).billed()),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                return Err(ProviderError::new(ErrorKind::Connection, chain(&error)).billed());
            }
            Ok(Some(Ok(chunk))) => chunk,
        };
        self.read += chunk.len();
        if self.read > self.limits.max_body_bytes {
            let message = format!("the answer is larger than {} bytes", self.limits.max_body_bytes);
            return Err(ProviderError::new(ErrorKind::TooLarge, message).billed());
        }
        Ok(Some(chunk))
    }

    /// Everything. An answer in one chunk, the usual case, is not copied.
    async fn whole(mut self) -> Result<Bytes, ProviderError> {
        let Some(first) = self.next().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.next().await? else { return Ok(first) };
        let mut all = Vec::from(first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.next().await? {
            all.extend_from_slice(&chunk);
        }
        Ok(all.into())
    }
}

fn decode(
    mut body: Body,
    mut decoder: impl Decoder,
    started: Piece,
    raw: bool,
) -> impl Stream<Item = Result<Piece, ProviderError>> + Send {
    async_stream::try_stream! {
        yield started;
        let mut events = match decoder.framing() {
            Framing::ServerSentEvents => SseDecoder::new(body.limits.max_event_bytes),
            Framing::Lines => SseDecoder::of_lines(body.limits.max_event_bytes),
        };
        while let Some(chunk) = body.next().await? {
            let batch = events.push(&chunk)
                .map_err(|error| ProviderError::new(ErrorKind::TooLarge, error.to_string()).billed())?;
            for event in batch {
                let deltas = decoder.event(&event)?;
                if decoder.is_done() {
                    // The event that ends an answer is the gateway's to give, once the answer is recorded.
                    let is_wanted = raw && decoder.ends_in_its_own_words();
                    yield Piece { deltas, raw: is_wanted.then_some(Raw::End(event)) };
                    return;
                }
                yield Piece { deltas, raw: raw.then_some(Raw::Event(event)) };
            }
        }
        if !decoder.may_end() {
            Err(ProviderError::new(ErrorKind::Connection, "the answer ended before it was whole").billed())?;
        }
    }
}
