//! Passing an answer on while it is made.
//!
//! Invariants: what comes before the first content is held back, since a failed attempt must leave no trace; from the
//! first content on every piece is passed on at once; a reader that takes nothing slows the provider down, and one that
//! went away stops it.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::ask::Ask;
use crate::error::{CallError, ErrorKind, ProviderError};
use crate::provider::{Deployment, Piece, Raw};
use crate::types::{Completion, Delta};

/// What the reader of an answer is told, in this order: a head, pieces, and always an end.
#[derive(Debug)]
pub enum Event {
    /// Who answers. From here on nobody else will.
    Head(Head),
    /// More of the answer.
    Piece(Piece),
    /// The answer is whole and recorded, or it failed. After pieces, a failure means that what was passed on is a part
    /// and must not be taken for the whole.
    End(Box<Result<Completion, CallError>>),
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The deployment's name.
    pub deployment: String,
    /// The model's name as the provider gives it.
    pub model: String,
    /// Whether it speaks the client's own format, so that the pieces carry its own bytes.
    pub native: bool,
    /// Which attempt of the call it is, from 1.
    pub attempt: u32,
    /// Whether a scripted endpoint answers.
    pub simulated: bool,
    /// What of the request could not be said in the provider's format.
    pub dropped: Vec<String>,
    /// The prompt's tokens as far as they are known now; 0 where the provider has not said and its own bytes are passed on.
    pub prompt_tokens: u32,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) out: &'a mpsc::Sender<Event>,
    pub(super) ask: Ask<'a>,
}

/// One attempt's way to the reader.
#[derive(Debug)]
pub(super) struct Passing<'a> {
    reader: &'a Reader<'a>,
    deployment: &'a Deployment,
    attempt: u32,
    patience: Duration,
    held: Vec<Piece>,
    open: bool,
}

impl<'a> Passing<'a> {
    pub(super) fn new(reader: &'a Reader<'a>, deployment: &'a Deployment, attempt: u32) -> Self {
        let patience = Duration::from_millis(deployment.limits.total_ms);
        Self { reader, deployment, attempt, patience, held: Vec::new(), open: false }
    }

    /// Whether the reader has seen any of it.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Passes a piece on, or holds it back before the first content. An answer that is not streamed is passed on as a
    /// whole, by [`Self::finish`].
    pub(super) async fn take(&mut self, piece: Piece, seen: Seen<'_>) -> Result<(), ProviderError> {
        if self.open {
            return self.send(Event::Piece(piece)).await;
        }
        // Pings say nothing that is worth keeping.
        if piece.deltas.is_empty() && !is_opening(&piece) {
            return Ok(());
        }
        let begins = self.reader.ask.streams() && piece.deltas.iter().any(Delta::is_content);
        if self.reader.ask.streams() || matches!(piece.raw, Some(Raw::Whole(_))) {
            self.held.push(piece);
        }
        if begins { self.open(seen).await } else { Ok(()) }
    }

    /// The provider has said everything: what is still held is the answer.
    pub(super) async fn finish(&mut self, seen: Seen<'_>) -> Result<(), ProviderError> {
        if self.open { Ok(()) } else { self.open(seen).await }
    }

    async fn open(&mut self, seen: Seen<'_>) -> Result<(), ProviderError> {
        self.open = true;
        let dropped = self.reader.ask.dropped(self.deployment).unwrap_or_default();
        let native = self.reader.ask.native(self.deployment).is_some();
        let prompt_tokens = match seen.prompt {
            // Counting reads the whole request; whoever gets the provider's own bytes does not look.
            0 if native => 0,
            0 => self.reader.ask.estimate(),
            counted => counted,
        };
        let head = Head {
            deployment: self.deployment.name.clone(),
            model: seen.model.to_owned(),
            native,
            attempt: self.attempt,
            simulated: seen.simulated,
            dropped,
            prompt_tokens,
        };
        self.send(Event::Head(head)).await?;
        for piece in std::mem::take(&mut self.held) {
            self.send(Event::Piece(piece)).await?;
        }
        Ok(())
    }

    /// Waits for a reader that is slow; one that takes nothing as long as a whole answer may take is none.
    async fn send(&self, event: Event) -> Result<(), ProviderError> {
        let gone = |message: &str| ProviderError::new(ErrorKind::Cancelled, message).billed();
        match tokio::time::timeout(self.patience, self.reader.out.send(event)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(gone("the reader went away")),
            Err(_) => Err(gone("the reader takes nothing")),
        }
    }
}

/// What is known of an answer when it is passed on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) model: &'a str,
    /// The prompt's tokens as the provider counts them; 0: not said yet.
    pub(super) prompt: u32,
    pub(super) simulated: bool,
}

/// An event without meaning of its own that clients of its format wait for, such as the role of who answers.
fn is_opening(piece: &Piece) -> bool {
    matches!(&piece.raw, Some(Raw::Event(event)) if event.event != "ping")
}
