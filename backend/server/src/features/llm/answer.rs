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

/// The tokens of a minute that were set aside for a call. What is dropped before anything is sent was not used.
#[async_trait]
pub trait SetAside: Send + Sync {
    /// An attempt goes to its provider: from now on tokens may be used, whether or not anybody hears how many.
    fn sent(&self) {}

    /// The call is over, and whoever waits for its answer is told after this: so many tokens did all its attempts use.
    async fn used(&self, _tokens: u32) {}
}

/// Nothing is set aside.
impl SetAside for () {}

/// Asks the group's deployments in order and tells the reader; reserves, records and settles every attempt, also when
/// the reader goes away, so that this must be let run to its end.
pub async fn answer(
    app: &App,
    purpose: Purpose,
    (group, native): (&ModelGroup, &Native),
    (tokens, out): (impl SetAside, mpsc::Sender<Event>),
) -> Result<(), Error> {
    let groups = app.gateway.groups_of(app, purpose.project).await?;
    // Before anything else sees it: what a project wants hidden is in no span either.
    let clean = screen::native(app, &purpose, native).await?;
    let native = clean.as_ref().unwrap_or(native);
    let asked = (Request::of_client(&group.name, native), Ask::Native(native));
    let recorder = Recorder::new(app, purpose, asked, cheaper_than(&groups, group)).await?;
    let cheaper = recorder.known_to_yield();
    let counting = Counting { recorder, tokens, used: AtomicU32::new(0) };
    app.models.gateway.answer(cheaper.as_deref().unwrap_or(group), native, &counting, out).await;
    Ok(())
}

/// More than can be counted stays that: from nothing on again, it would all be given back.
fn add(used: &AtomicU32, tokens: u32) {
    let more = |used: u32| Some(used.saturating_add(tokens));
    let _before = used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
}

/// Counts the tokens beside recording them.
struct Counting<T> {
    recorder: Recorder,
    tokens: T,
    used: AtomicU32,
}

#[async_trait]
impl<T: SetAside> AttemptHooks for Counting<T> {
    async fn before(&self, intent: &AttemptIntent<'_>) -> Result<Grant, Refused> {
        let leave = self.recorder.before(intent).await;
        if leave.is_ok() {
            self.tokens.sent();
        }
        leave
    }

    fn passes_on(&self, refused: &Refused) -> bool {
        self.recorder.passes_on(refused)
    }

    fn instead(&self, refused: &Refused) -> Option<Arc<ModelGroup>> {
        self.recorder.instead(refused)
    }

    async fn after(&self, outcome: &AttemptOutcome<'_>) -> Result<(), RecordFailed> {
        let tokens = outcome.usage.prompt().saturating_add(outcome.usage.output);
        add(&self.used, tokens);
        self.recorder.after(outcome).await
    }

    async fn delta(&self, delta: &Delta) {
        self.recorder.delta(delta).await;
    }

    async fn ended(&self, result: Result<&Completion, &CallError>) {
        self.recorder.ended(result).await;
        self.tokens.used(self.used.load(Ordering::Acquire)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_beyond_all_counting_do_not_begin_anew() {
        let used = AtomicU32::new(70);
        add(&used, 20);
        assert_eq!(used.load(Ordering::Acquire), 90);
        add(&used, u32::MAX);
        assert_eq!(used.load(Ordering::Acquire), u32::MAX);
    }
}
