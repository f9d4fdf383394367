//! One unit of work: a transaction that moves machines, and everything that follows from it.

use super::{
    Claim, Error, audit,
    events::{self, Recorded, stored_event},
    storable_json,
    store::{Loaded, Store, compare_and_set, load},
};
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::{PgConnection, Postgres, Transaction, types::Json};
use std::collections::BTreeSet;
use syndarix_domain::{
    Timestamp,
    actor::Actor,
    envelope::Envelope,
    ids::ProjectId,
    machine::{Machine, Rejection},
};
use syndarix_jobs::{Lease, LeaseLost, NewJob, NewTimer};
use uuid::Uuid;

/// In whose name a unit of work is done.
#[derive(Debug, Clone, Copy)]
pub struct Author {
    /// Kept on every event and audit entry.
    pub actor: Actor,
    /// What makes the command safe to repeat; its id is kept on every event.
    pub claim: Option<Claim>,
    /// The job that does the work: when its lease is gone, nothing is written.
    pub lease: Option<Lease>,
}

impl Author {
    /// The platform itself.
    pub fn system() -> Self {
        Self::of(Actor::System)
    }

    /// Somebody.
    pub fn of(actor: Actor) -> Self {
        Self { actor, claim: None, lease: None }
    }

    /// Once only, under an idempotency key.
    #[must_use]
    pub fn claiming(mut self, claim: Claim) -> Self {
        self.claim = Some(claim);
        self
    }

    /// As part of a job.
    #[must_use]
    pub fn within(mut self, lease: Lease) -> Self {
        self.lease = Some(lease);
        self
    }
}

/// What a machine's effects do: jobs, timers, commands to other machines, all in the same transaction.
pub trait Effects: Machine {
    /// Carries out one effect of a decision that has just been written.
    fn carry_out<'u>(
        uow: &'u mut Uow,
        state: &'u Self,
        effect: Self::Effect,
    ) -> BoxFuture<'u, Result<(), Error>>;
}

/// A transaction with what it is going to tell the world once it is committed.
pub struct Uow {
    store: Store,
    tx: Transaction<'static, Postgres>,
    author: Author,
    now: Timestamp,
    completes: bool,
    pending: Vec<Recorded>,
    audit: Vec<audit::Entry>,
    wake: BTreeSet<String>,
}

impl Uow {
    pub(super) fn new(store: Store, tx: Transaction<'static, Postgres>, author: Author) -> Self {
        let now = store.clock.now();
        Self {
            store,
            tx,
            author,
            now,
            completes: false,
            pending: Vec::new(),
            audit: Vec::new(),
            wake: BTreeSet::new(),
        }
    }

    /// The moment of every decision in this unit.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// In whose name it is done.
    pub fn actor(&self) -> Actor {
        self.author.actor
    }

    /// A new id of this moment.
    pub fn new_id(&self) -> Uuid {
        self.store.ids.next(self.now)
    }

    /// The transaction, for a feature's own rows.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// A machine's state as this transaction sees it, its own changes included.
    pub async fn load<M: Machine>(&mut self, project: ProjectId, id: impl Into<Uuid>) -> Result<M, Error> {
        let loaded = load::<M>(&mut self.tx, project, id.into()).await?;
        loaded.map(|loaded| loaded.state).ok_or(Error::NotFound(M::KIND.name()))
    }

    /// Creates a stream with its first command.
    pub async fn create<M: Effects>(
        &mut self,
        project: ProjectId,
        id: impl Into<Uuid>,
        command: &M::Command,
    ) -> Result<M, Error> {
        let id = id.into();
        let decision = M::decide(None, command, self.now)?;
        self.write(project, id, None, decision).await
    }

    /// Gives a command to an existing stream; a refusal is an error.
    pub async fn execute<M: Effects>(
        &mut self,
        project: ProjectId,
        id: impl Into<Uuid>,
        command: &M::Command,
    ) -> Result<M, Error> {
        Ok(self.ask(project, id, command).await??)
    }

    /// Gives a command to an existing stream; a refusal is an answer that the caller looks at.
    pub async fn ask<M: Effects>(
        &mut self,
        project: ProjectId,
        id: impl Into<Uuid>,
        command: &M::Command,
    ) -> Result<Result<M, Rejection>, Error> {
        let id = id.into();
        let loaded = load::<M>(&mut self.tx, project, id).await?.ok_or(Error::NotFound(M::KIND.name()))?;
        match M::decide(Some(&loaded.state), command, self.now) {
            Ok(decision) => self.write(project, id, Some(loaded), decision).await.map(Ok),
            Err(rejection) => Ok(Err(rejection)),
        }
    }

    /// Gives a command that may have become moot: a refusal is noted and forgotten.
    pub async fn tell<M: Effects>(
        &mut self,
        project: ProjectId,
        id: impl Into<Uuid>,
        command: &M::Command,
    ) -> Result<(), Error> {
        if let Err(rejection) = self.ask::<M>(project, id, command).await? {
            tracing::debug!(kind = M::KIND.name(), guard = %rejection.guard, reason = %rejection, "moot command");
        }
        Ok(())
    }

    async fn write<M: Effects>(
        &mut self,
        project: ProjectId,
        id: Uuid,
        before: Option<Loaded<M>>,
        decision: syndarix_domain::machine::Decision<M>,
    ) -> Result<M, Error> {
        let expected = before.as_ref().map_or(0, |loaded| loaded.version);
        let mut version = expected;
        let mut state = before.map(|loaded| loaded.state);
        for event in &decision.events {
            version += 1;
            state = M::evolve(state, event);
            self.record::<M>(project, id, version, event)?;
        }
        let state = state.ok_or(Error::NotFound(M::KIND.name()))?;
        if version > expected {
            let new = Loaded { version, state: state.clone() };
            compare_and_set(&mut self.tx, project, id, expected, &new).await?;
        }
        for effect in decision.effects {
            M::carry_out(self, &state, effect).await?;
        }
        Ok(state)
    }

    fn record<M: Machine>(
        &mut self,
        project: ProjectId,
        stream: Uuid,
        version: i64,
        event: &M::Event,
    ) -> Result<(), Error> {
        let (event_type, data) = stored_event(event)?;
        let recorded = Recorded {
            project_id: project.0,
            seq: 0,
            id: self.new_id(),
            kind: M::KIND.name().to_owned(),
            stream_id: stream,
            version,
            event_type,
            data,
            actor: Json(self.author.actor),
            at: self.now,
        };
        self.pending.push(recorded);
        Ok(())
    }

    /// Adds an event of something that is not a machine: an agent, a budget, a message.
    pub fn announce(
        &mut self,
        project: ProjectId,
        kind: &str,
        id: impl Into<Uuid>,
        event_type: &str,
        data: serde_json::Value,
    ) {
        let event_id = self.new_id();
        let recorded = Recorded {
            project_id: project.0,
            seq: 0,
            id: event_id,
            kind: kind.to_owned(),
            stream_id: id.into(),
            version: 0,
            event_type: event_type.to_owned(),
            data: storable_json(data),
            actor: Json(self.author.actor),
            at: self.now,
        };
        self.pending.push(recorded);
    }

    /// Adds an audit entry beside those that every event gets.
    pub fn audit(&mut self, entry: audit::Entry) {
        self.audit.push(entry);
    }

    /// Enqueues a job; its queue is woken after the commit.
    pub async fn enqueue(&mut self, job: &NewJob) -> Result<(), Error> {
        syndarix_jobs::enqueue(&mut self.tx, job).await?;
        self.wake.insert(job.queue.clone());
        Ok(())
    }

    /// Sets a timer; one of the same stream and name is replaced.
    pub async fn set_timer(&mut self, timer: &NewTimer) -> Result<(), Error> {
        syndarix_jobs::schedule_timer(&mut self.tx, timer).await?;
        Ok(())
    }

    /// Clears a stream's timers, or the one of this name.
    pub async fn clear_timers(&mut self, stream: impl Into<Uuid>, name: Option<&str>) -> Result<(), Error> {
        syndarix_jobs::cancel_timers(&mut self.tx, stream.into(), name).await?;
        Ok(())
    }

    /// The job that does this work is done with this commit.
    pub fn complete_job(&mut self) {
        self.completes = true;
    }

    /// Commits everything with what came of it, from which a repeat under the same idempotency key is answered.
    pub async fn commit_with<R: Serialize>(mut self, result: R) -> Result<R, Error> {
        if let Some(claim) = self.author.claim {
            claim.keep(&mut self.tx, &result).await?;
        }
        self.commit().await?;
        Ok(result)
    }

    /// Commits everything, then tells the world. Returns the events with their numbers.
    pub async fn commit(mut self) -> Result<Vec<Envelope>, Error> {
        self.hold_lease().await?;
        let entries = self.entries();
        audit::write(&mut self.tx, &entries).await?;
        events::number(&mut self.tx, &mut self.pending).await?;
        events::insert(&mut self.tx, &self.pending, self.author.claim.map(|claim| claim.id)).await?;
        self.tx.commit().await?;
        let envelopes: Vec<Envelope> = self.pending.iter().map(Recorded::envelope).collect();
        self.store.hub.committed(&envelopes);
        for queue in &self.wake {
            self.store.wake.poke(queue);
        }
        Ok(envelopes)
    }

    async fn hold_lease(&mut self) -> Result<(), Error> {
        let Some(lease) = self.author.lease else { return Ok(()) };
        let held =
            if self.completes { lease.complete(&mut self.tx).await } else { lease.hold(&mut self.tx).await };
        held.map_err(|lost| match lost {
            LeaseLost::Database(error) => Error::from(error),
            LeaseLost::Moved { .. } => Error::LeaseLost,
        })
    }

    /// One audit entry for each event, then the explicit ones.
    fn entries(&mut self) -> Vec<audit::Entry> {
        let mut entries: Vec<audit::Entry> = self.pending.iter().map(|event| self.entry(event)).collect();
        entries.append(&mut self.audit);
        entries
    }

    fn entry(&self, event: &Recorded) -> audit::Entry {
        let envelope = event.envelope();
        audit::Entry {
            id: self.new_id(),
            project: Some(envelope.project_id),
            category: event.kind.clone(),
            severity: severity(&envelope.kind),
            actor: self.author.actor,
            action: format!("{} {}", envelope.kind.replace(['.', '_'], " "), event.stream_id),
            event_type: envelope.kind,
            data: envelope.data,
            at: event.at,
        }
    }
}

fn severity(event_type: &str) -> audit::Severity {
    match event_type {
        "run.failed"
        | "run.stalled"
        | "story.blocked"
        | "approval.expired"
        | "story.deadline_passed"
        | "cost.alert" => audit::Severity::Warning,
        "approval.decided" | "pr.merged" | "cost.budget_changed" => audit::Severity::Critical,
        _ => audit::Severity::Info,
    }
}
