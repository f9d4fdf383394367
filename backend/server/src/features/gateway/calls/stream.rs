//! An answer as a stream: sent as it comes, kept alive while nothing does, stopped when nobody reads it.

use super::{
    answer::{lost, stopping, told, unix_time},
    cache::Heard,
};
use crate::state::App;
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::Stream;
use std::{convert::Infallible, time::Duration};
use syndarix_llm::{
    Event, Native,
    inbound::{Fault, KEEP_ALIVE, Relay},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What is ready is sent together up to so many bytes: one write instead of many, and nothing waits for it.
const BATCH: usize = 16 << 10;

/// The head of the answer as soon as it is known who answers, or that nobody does: a failure before the first content
/// has its own status. Who takes longer than that is kept waiting with a stream that says nothing yet.
pub(super) async fn respond(
    app: &App,
    native: &Native,
    id: Uuid,
    mut events: Heard,
) -> Result<Response, Fault> {
    let mut relay = Relay::new(native, id.simple().to_string(), unix_time(app));
    let keep_alive = app.config.keep_alive;
    let first = tokio::time::timeout(keep_alive, events.recv()).await;
    let (head, begun) = match first {
        Ok(Some(Event::Head(head))) => (told(&head), relay.head(&head)),
        Ok(Some(Event::End(result))) => return Err(result.err().map_or_else(lost, |e| Fault::from(&e))),
        Ok(Some(Event::Piece(_)) | None) => return Err(lost()),
        Err(_) => (Vec::new(), KEEP_ALIVE.to_owned()),
    };
    let stream = Streaming { events, relay, begun, keep_alive, ending: app.gateway.ending.clone() };
    let mut response = of(Body::from_stream(stream.into_stream()));
    response.headers_mut().extend(head);
    Ok(response)
}

/// A body as a stream of events.
pub(super) fn of(body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Some proxies hold a stream back until it has grown, unless they are told.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Streaming {
    events: Heard,
    relay: Relay,
    /// What is to be sent next.
    begun: String,
    keep_alive: Duration,
    ending: CancellationToken,
}

impl Streaming {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        futures::stream::unfold(Some(self), |state| async move {
            let mut state = state?;
            let (bytes, goes_on) = state.next().await;
            Some((Ok(bytes), goes_on.then_some(state)))
        })
    }

    /// The next bytes, and whether more may follow.
    async fn next(&mut self) -> (Bytes, bool) {
        let mut out = std::mem::take(&mut self.begun);
        loop {
            // Whatever is there already goes along.
            while out.len() < BATCH {
                let Some(event) = self.events.try_recv() else { break };
                if self.write(&mut out, event) {
                    return (out.into(), false);
                }
            }
            if !out.is_empty() {
                return (out.into(), true);
            }
            let event = tokio::select! {
                event = tokio::time::timeout(self.keep_alive, self.events.recv()) => event,
                () = self.ending.cancelled() => return (self.relay.fail(&stopping()).into(), false),
            };
            match event {
                Err(_) => return (KEEP_ALIVE.into(), true),
                Ok(None) => return (self.relay.fail(&lost()).into(), false),
                Ok(Some(event)) => {
                    if self.write(&mut out, event) {
                        return (out.into(), false);
                    }
                }
            }
        }
    }

    /// Adds what an event means to the client; true: that was the end.
    fn write(&mut self, out: &mut String, event: Event) -> bool {
        match event {
            Event::Head(head) => out.push_str(&self.relay.head(&head)),
            Event::Piece(piece) => out.push_str(&self.relay.piece(&piece)),
            Event::End(result) => {
                out.push_str(&self.relay.end(&result));
                return true;
            }
        }
        false
    }
}
