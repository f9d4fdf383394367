//! Faults on purpose: what a real provider does on a bad day.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use futures::Stream;
use serde::Deserialize;

/// Longest hang or pause, in seconds: no client waits longer.
const LONGEST: f64 = 3_600.0;
/// Most conversations that are counted for `times`; beyond it all counts start again.
const MAX_COUNTED: usize = 10_000;

/// One fault.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Fault {
    /// An error status instead of an answer.
    Status {
        status: u16,
        #[serde(default)]
        retry_after_seconds: Option<u64>,
        #[serde(default)]
        message: Option<String>,
    },
    /// No answer for so long.
    Hang { seconds: f64 },
    /// The answer, with a pause before every piece.
    SlowStream { chunk_ms: u32 },
    /// The answer, with tool arguments that are no JSON.
    MalformedToolCall,
    /// The answer, with the connection cut after so many pieces.
    CutStream { after_chunks: usize },
}

impl Fault {
    /// Whether the fault needs an answer to spoil.
    pub(super) fn shapes_an_answer(&self) -> bool {
        matches!(self, Self::SlowStream { .. } | Self::MalformedToolCall | Self::CutStream { .. })
    }
}

/// The seconds of a script as a wait.
pub(super) fn bounded(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, LONGEST)).unwrap_or(Duration::ZERO)
}

/// How often a rule's fault was used in a conversation.
#[derive(Debug, Default)]
pub(super) struct Counters(Mutex<HashMap<(usize, u64), u32>>);

impl Counters {
    /// Takes one of `times` uses; false when there are none left.
    pub(super) fn take(&self, rule: usize, conversation: u64, times: u32) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_COUNTED && !counts.contains_key(&(rule, conversation)) {
            counts.clear();
        }
        let used = counts.entry((rule, conversation)).or_default();
        let free = *used < times;
        *used += u32::from(free);
        free
    }
}

/// The body out of its pieces, slowed down or cut as the fault says.
pub(super) fn body(
    pieces: Vec<String>,
    fault: Option<&Fault>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let pause = match fault {
        Some(Fault::SlowStream { chunk_ms }) => Duration::from_millis((*chunk_ms).into()),
        _ => Duration::ZERO,
    };
    let cut = match fault {
        Some(Fault::CutStream { after_chunks }) => Some(*after_chunks),
        _ => None,
    };
    async_stream::stream! {
        for (number, piece) in pieces.into_iter().enumerate() {
            if cut == Some(number) {
                // Without this the server may drop what it has not flushed, and nothing but the cut is seen.
                tokio::time::sleep(Duration::from_millis(20)).await;
                yield Err(io::Error::new(io::ErrorKind::ConnectionReset, "cut by the script"));
                return;
            }
            if pause.is_zero() {
                // Lets the server send the pieces one by one, as a model's tokens come, instead of all in one packet.
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(pause).await;
            }
            yield Ok(Bytes::from(piece));
        }
    }
}
