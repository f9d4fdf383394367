//! Answers that are given again: the same question to the same models of the same project, for as long as the project
//! wants that.
//!
//! Invariants: an answer is kept and found with its project's id; only a whole answer is kept, and only under what was
//! asked and of whom; an answer that is given again costs nothing and is recorded; whatever fails here, a model is asked.

mod queries;

pub(in crate::features::gateway) use queries::{forget, forget_expired};

use super::answer::Call;
use crate::state::App;
use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use syndarix_domain::ids::ProjectId;
use syndarix_llm::{Block, Cause, Completion, Event, ModelGroup, Question, Raw, StopReason};
use tokio::sync::mpsc;

/// The largest answer that is kept, in bytes.
const MAX_ANSWER: usize = 256 << 10;

/// What is known of a question.
pub(super) enum Cached {
    /// The project, the client or the question wants no answer twice.
    Off,
    /// An answer.
    Hit(Box<Known>),
    /// None yet: what the model says may be kept.
    Miss(Box<Keeping>),
}

impl Cached {
    /// As the client is told.
    pub(super) fn said(&self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Off => "off",
            Self::Hit(_) => "hit",
            Self::Miss(_) => "miss",
        })
    }
}

/// An answer as it is kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) completion: Completion,
    /// What of the request could not be said to the provider.
    pub(super) dropped: Vec<String>,
    /// The provider's own words, where they say more than ours.
    pub(super) raw: Option<String>,
}

/// Whether a client wants an answer that is new.
pub(super) fn is_refused(headers: &HeaderMap) -> bool {
    let said = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut wishes = said.flat_map(|value| value.split(',')).map(str::trim);
    wishes.any(|wish| wish.eq_ignore_ascii_case("no-cache") || wish.eq_ignore_ascii_case("no-store"))
}

/// Looks for an answer to a call that is let through.
pub(super) async fn look(app: &App, call: &Call, is_refused: bool) -> Cached {
    let Some(lifetime) = call.asker.cache().filter(|_| !is_refused) else { return Cached::Off };
    let Some(question) = call.native.question() else { return Cached::Off };
    let (project, key) = (call.asker.project(), key(&call.group, &question));
    let found = match queries::find(app.pool(), project, key, app.clock().now()).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "cannot look for a kept answer");
            return Cached::Off;
        }
    };
    // What another version has kept in another shape is asked for anew.
    if let Some(known) = found.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
        return Cached::Hit(Box::new(known));
    }
    Cached::Miss(Box::new(Keeping {
        app: app.clone(),
        project,
        key,
        lifetime,
        is_neutral: question.is_neutral,
        group: Arc::clone(&call.group),
        dropped: Vec::new(),
        raw: None,
    }))
}

/// What was asked, and of whom: a group that is served by others is another one.
fn key(group: &ModelGroup, question: &Question) -> [u8; 32] {
    let served = |one: &syndarix_llm::Deployment| {
        json!([one.name, one.vendor(), one.model, one.base_url.as_str(), one.max_output])
    };
    let chain: Vec<_> = group.chain.iter().map(served).collect();
    Sha256::digest(json!([group.name, chain, question.text]).to_string()).into()
}

/// Waits for an answer that may be kept.
pub(super) struct Keeping {
    app: App,
    project: ProjectId,
    key: [u8; 32],
    lifetime: Duration,
    is_neutral: bool,
    group: Arc<ModelGroup>,
    dropped: Vec<String>,
    raw: Option<String>,
}

impl Keeping {
    fn see(&mut self, event: &Event) {
        match event {
            Event::Head(head) => self.dropped.clone_from(&head.dropped),
            Event::Piece(piece) => {
                if let (false, Some(Raw::Whole(bytes))) = (self.is_neutral, &piece.raw) {
                    self.raw = String::from_utf8(bytes.to_vec()).ok();
                }
            }
            Event::End(result) => {
                if let Ok(completion) = &**result {
                    self.keep(completion);
                }
            }
        }
    }

    fn keep(&mut self, completion: &Completion) {
        // A budget near its end may have asked a cheaper group, or a later one of the chain: no answer for better times.
        let is_of_group = self.group.chain.iter().any(|one| one.name == completion.deployment);
        let is_second_best = !is_of_group || completion.before.iter().any(Cause::is_over_budget);
        if !is_whole(completion) || is_second_best || !(self.is_neutral || self.raw.is_some()) {
            return;
        }
        let (dropped, raw) = (std::mem::take(&mut self.dropped), self.raw.take());
        let known = Known { completion: completion.clone(), dropped, raw };
        let answer = match serde_json::to_vec(&known) {
            Ok(answer) if answer.len() <= MAX_ANSWER => answer,
            Ok(_) => return,
            Err(error) => return tracing::error!(%error, "an answer cannot be written down"),
        };
        let (app, project, key, lifetime) = (self.app.clone(), self.project, self.key, self.lifetime);
        self.app.gateway.calls.spawn(async move {
            let until = app.clock().now() + lifetime;
            if let Err(error) = queries::keep(app.pool(), project, (key, &answer), until).await {
                tracing::warn!(%error, "cannot keep an answer");
            }
        });
    }
}

/// Everything that the model had to say: nothing is cut, refused, or unreadable.
fn is_whole(completion: &Completion) -> bool {
    let ended =
        matches!(completion.stop, StopReason::EndTurn | StopReason::ToolUse | StopReason::StopSequence);
    ended && !completion.blocks.iter().any(|block| matches!(block, Block::InvalidToolUse { .. }))
}

/// A call's events on their way to the client.
pub(super) struct Heard {
    events: mpsc::Receiver<Event>,
    keeping: Option<Box<Keeping>>,
}

impl Heard {
    pub(super) fn new(events: mpsc::Receiver<Event>, cached: Cached) -> Self {
        let keeping = match cached {
            Cached::Miss(keeping) => Some(keeping),
            Cached::Off | Cached::Hit(_) => None,
        };
        Self { events, keeping }
    }

    pub(super) async fn recv(&mut self) -> Option<Event> {
        let event = self.events.recv().await;
        self.seen(event)
    }

    /// What is there already.
    pub(super) fn try_recv(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok();
        self.seen(event)
    }

    fn seen(&mut self, event: Option<Event>) -> Option<Event> {
        if let (Some(event), Some(keeping)) = (&event, &mut self.keeping) {
            keeping.see(event);
        }
        event
    }
}
