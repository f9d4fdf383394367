//! A call of the gateway's client, passed on while it is made.

use super::{
    call::{Purpose, Request, within_means},
    hooks::Recorder,
};
use crate::{db::Error, state::App};
use async_trait::async_trait;
use std::sync::atomic::{AtomicU32, Ordering};
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
    let mut recorder =
        Recorder::new(app, purpose, Request::of_client(&group.name, native), Ask::Native(native)).await?;
    let groups = app.gateway.groups_of(app, purpose.project).await?;
    let group = within_means(app, &mut recorder, (&groups, group));
    let counting = Counting { recorder, used: AtomicU32::new(0) };
    app.models.gateway.answer(group, native, &counting, out).await;
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
