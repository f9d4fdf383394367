//! Server-sent events as text.

use serde_json::json;
use std::fmt::Write;
use syndarix_bus::Ephemeral;

/// When a client whose stream ended should come back, in milliseconds.
const RETRY_MS: u32 = 1_000;

/// Frames that go out in one write.
#[derive(Debug, Default)]
pub(super) struct Frames(String);

impl Frames {
    /// The first frame of a stream: when to come back, and where this one begins, so that a client that saw no
    /// event yet still resumes from here.
    pub(super) fn opening(id: &str) -> Self {
        Self(format!("retry: {RETRY_MS}\nid: {id}\n\n"))
    }

    /// A comment, so that proxies and clients see that the line is alive.
    pub(super) fn keep_alive() -> Self {
        Self(": still here\n\n".to_owned())
    }

    /// JSON never holds a raw line break, so that one `data` line is always enough.
    pub(super) fn event(&mut self, kind: &str, id: &str, json: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "event: {kind}\nid: {id}\ndata: {json}\n\n");
    }

    pub(super) fn ephemeral(&mut self, item: &Ephemeral) {
        let data = json!({ "type": item.kind, "project_id": item.project.0, "data": item.data });
        let _ = write!(self.0, "event: {}\ndata: {data}\n\n", item.kind);
    }

    pub(super) fn reset(&mut self, id: &str) {
        self.event("reset", id, "{}");
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Frames> for axum::body::Bytes {
    fn from(frames: Frames) -> Self {
        frames.0.into()
    }
}
