//! The answer as events, sent as it comes.

use super::end::{self, PlaygroundEnd};
use crate::{features::llm::Purpose, state::App};
use axum::{
    body::{Body, Bytes},
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::{Stream, stream};
use serde::Serialize;
use serde_json::json;
use std::convert::Infallible;
use syndarix_llm::{
    CallError, Completion, Delta, Event, Head, Piece,
    inbound::{Fault, KEEP_ALIVE},
};
use tokio::sync::mpsc;

/// Tells nginx and its kin not to hold events back.
const BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The events of a call that is under way.
pub(super) fn respond(app: &App, purpose: Purpose, events: mpsc::Receiver<Event>) -> Response {
    let answer = Answer { app: app.clone(), purpose, events };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (BUFFERING, HeaderValue::from_static("no")),
    ];
    (headers, Body::from_stream(answer.into_stream())).into_response()
}

struct Answer {
    app: App,
    purpose: Purpose,
    events: mpsc::Receiver<Event>,
}

impl Answer {
    fn into_stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        stream::unfold(Some(self), |answer| async move {
            let mut answer = answer?;
            let (text, goes_on) = answer.next().await;
            Some((Ok(Bytes::from(text)), goes_on.then_some(answer)))
        })
    }

    /// What is sent next, and whether more may follow.
    async fn next(&mut self) -> (String, bool) {
        loop {
            let event = tokio::select! {
                event = tokio::time::timeout(self.app.config.keep_alive, self.events.recv()) => event,
                () = self.app.gateway.ending.cancelled() => {
                    return (self.cut_off("stopping", "the gateway is stopping: try again in a moment"), false);
                }
            };
            match event {
                Err(_) => return (KEEP_ALIVE.to_owned(), true),
                Ok(Some(Event::Head(head))) => return (self.head(&head), true),
                Ok(Some(Event::Piece(piece))) => {
                    let text = said(&piece);
                    if !text.is_empty() {
                        return (text, true);
                    }
                }
                Ok(Some(Event::End(result))) => return (self.end(&result).await, false),
                Ok(None) => {
                    let detail = "the call was lost on our side; the log has it";
                    return (self.cut_off("internal", detail), false);
                }
            }
        }
    }

    fn head(&self, head: &Head) -> String {
        let said = json!({
            "call_id": self.purpose.call, "deployment": head.deployment, "model": head.model,
            "attempt": head.attempt, "simulated": head.simulated, "dropped": head.dropped,
        });
        frame("head", &said)
    }

    async fn end(&self, result: &Result<Completion, CallError>) -> String {
        match end::end(&self.app, &self.purpose, result).await {
            Ok(end) => last(&end),
            Err(error) => {
                tracing::error!(%error, "cannot read what is recorded of a call");
                self.cut_off("not_read", "the call is recorded, and its record could not be read just now")
            }
        }
    }

    fn cut_off(&self, code: &'static str, detail: &str) -> String {
        last(&end::cut_off(&self.purpose, &Fault::new(503, code, detail)))
    }
}

/// The words in a piece of the answer.
fn said(piece: &Piece) -> String {
    let words = piece.deltas.iter().map(|delta| match delta {
        Delta::Text { text, .. } => frame("text", &json!({ "text": text })),
        Delta::Thinking { text, .. } => frame("thinking", &json!({ "text": text })),
        _ => String::new(),
    });
    words.collect()
}

fn last(end: &PlaygroundEnd) -> String {
    frame("end", end)
}

fn frame(event: &str, data: &impl Serialize) -> String {
    // Numbers and strings: nothing that JSON cannot say.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {event}\ndata: {data}\n\n")
}
