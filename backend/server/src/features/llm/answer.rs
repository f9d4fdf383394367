//! A call of the gateway's client, passed on while it is made.

use super::{
    call::{Purpose, Request, cheaper_than},
    hooks::Recorder,
    screen,
};
use crate::{db::Error, state::App};
use async_trait::async_trait;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use syndarix_llm::{
    Ask, AttemptHooks, AttemptIntent, AttemptOutcome, CallError, Completion, Delta, Event, Grant, ModelGroup,
    Native, RecordFailed, Refused,
};
use tokio::sync::mpsc;

/// Asks the group's deployments in order and tells the reader; reserves, records and settles every attempt, also when
/// the reader goes away, so that this must be let run to its end. Gives back the tokens that all attempts used.
pub async fn answer(
    app: &App,
    purpose: Purpose,
    (group, native): (&ModelGroup, &Native),
    out: mpsc::Sender<Event>,
) -> Result<u32, Error> {
    let groups = app.gateway.groups_of(app, purpose.project).await?;
    // Before anything else sees it: what a project wants hidden is in no span either.
    let clean = screen::native(app, &purpose, native).await?;
    let native = clean.as_ref().unwrap_or(native);
    let asked = (Request::of_client(&group.name, native), Ask::Native(native));
    let recorder = Recorder::new(app, purpose, asked, cheaper_than(&groups, group)).await?;
    let cheaper = recorder.known_to_yield();
    let counting = Counting { recorder, used: AtomicU32::new(0) };
    app.models.gateway.answer(cheaper.as_deref().unwrap_or(group), native, &counting, out).await;
    Ok(counting.used.into_inner())
}

/// Counts the tokens beside recording them.
struct Counting {
    recorder: Recorder,
    used: AtomicU32,
}

#[async_trait]
impl AttemptHooks for Counting {
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<Grant, Refused> {
        self.recorder.before(intent).await
    }

    fn instead(&self, refused: &Refused) -> Option<Arc<ModelGroup>> {
        self.recorder.instead(refused)
    }

    async fn after(&self, outcome: &AttemptOutcome<'_>) -> Result<(), RecordFailed> {
        let tokens = outcome.usage.prompt().saturating_add(outcome.usage.output);
        self.used.fetch_add(tokens, Ordering::AcqRel);
        self.recorder.after(outcome).await
    }

    async fn delta(&self, delta: &Delta) {
        self.recorder.delta(delta).await;
    }
    fn ended(&self, result: Result<&Completion, &CallError>) {
        self.recorder.ended(result);
    }
}
