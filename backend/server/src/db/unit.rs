//! One unit of work: a transaction that moves machines, and everything that follows from it.

use super::{
    Along, Claim, Error, audit,
    claim::Claimed,
    events::{Recorded, stored_event},
    heads::{self, Wanted},
    storable_json,
    store::{Loaded, Store},
    text::storable_text,
    writes::{Head, Held, Writes},
};
use futures::future::BoxFuture;
use serde::Serialize;
use sqlx::{PgConnection, Postgres, Transaction, types::Json};
use syndarix_domain::{
    Timestamp,
    actor::Actor,
    envelope::Envelope,
    ids::ProjectId,
    machine::{Machine, Rejection},
};
use syndarix_jobs::{Lease, NewJob, NewTimer, TimerChange};
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

/// What is going to be written, all of it or nothing.
///
/// As long as it is only machines, events, jobs and timers it is kept as data, and the commit is one statement, shared
/// with whatever else is waiting. A feature's own rows need [`Uow::conn`]: from there on it is a transaction.
pub struct Uow {
    store: Store,
    tx: Option<Transaction<'static, Postgres>>,
    author: Author,
    now: Timestamp,
    completes: bool,
    writes: Writes,
    audit: Vec<audit::Entry>,
}

impl Uow {
    pub(super) fn new(store: Store, author: Author) -> Self {
        let now = store.clock.now();
        let command = author.claim.map(|claim| claim.id.0);
        let writes = Writes { command, claim: author.claim.map(Claimed::of), ..Writes::default() };
        Self { store, tx: None, author, now, completes: false, writes, audit: Vec::new() }
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

    /// The transaction, for a feature's own rows. It sees all that was done before in this unit.
    pub async fn conn(&mut self) -> Result<&mut PgConnection, Error> {
        let tx = match &mut self.tx {
            Some(tx) => tx,
            none => none.insert(self.store.pool.begin().await?),
        };
        let refusals = self.store.refusals();
        if let Some(claimed) = &self.writes.claim {
            refusals.noted(claimed.claim.take(tx).await)?;
            self.writes.claim = None;
        }
        refusals.noted(self.writes.flush(tx).await)?;
        Ok(tx)
    }

    /// A machine's state as this unit sees it, its own changes included.
    pub async fn load<M: Machine>(&mut self, project: ProjectId, id: impl Into<Uuid>) -> Result<M, Error> {
        Ok(self.loaded::<M>(project, id.into()).await?.state)
    }

    async fn loaded<M: Machine>(&mut self, project: ProjectId, id: Uuid) -> Result<Loaded<M>, Error> {
        if let Some(head) = self.writes.heads.iter().find(|head| head.id == id && head.kind == M::KIND) {
            let state = serde_json::from_str(head.state.get())
                .map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
            return Ok(Loaded { version: head.version, state });
        }
        let wanted = Wanted { kind: M::KIND, project: project.0, id };
        let row = match &mut self.tx {
            Some(tx) => heads::load(tx, wanted).await?,
            None => self.store.head(wanted).await?,
        };
        row.ok_or(Error::NotFound(M::KIND.name()))?.read()
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
        let loaded = self.loaded::<M>(project, id).await?;
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
            self.move_head(project, id, expected, version, &state)?;
        }
        for effect in decision.effects {
            M::carry_out(self, &state, effect).await?;
        }
        Ok(state)
    }

    /// A head that this unit has moved before goes on from there: others only see where it ends.
    fn move_head<M: Machine>(
        &mut self,
        project: ProjectId,
        id: Uuid,
        expected: i64,
        version: i64,
        state: &M,
    ) -> Result<(), Error> {
        // As the events are stored, of which it can be made anew.
        let json = storable_text(state).map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
        let heads = &mut self.writes.heads;
        let place = heads.iter().position(|head| head.id == id && head.kind == M::KIND);
        let expected = place.map_or(expected, |place| heads.swap_remove(place).expected);
        let (kind, phase) = (M::KIND, state.phase());
        let (project, revision) = (project.0, M::REVISION);
        heads.push(Head { kind, id, project, expected, version, revision, phase, state: json });
        Ok(())
    }

    pub(super) fn record<M: Machine>(
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
        self.writes.events.push(recorded);
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
        self.announce_as(self.author.actor, project, (kind, id.into()), event_type, data);
    }

    /// The same in another's name: a unit may do the work of many.
    pub fn announce_as(
        &mut self,
        actor: Actor,
        project: ProjectId,
        (kind, stream_id): (&str, Uuid),
        event_type: &str,
        data: serde_json::Value,
    ) {
        let event_id = self.new_id();
        let recorded = Recorded {
            project_id: project.0,
            seq: 0,
            id: event_id,
            kind: kind.to_owned(),
            stream_id,
            version: 0,
            event_type: event_type.to_owned(),
            data: storable_json(data),
            actor: Json(actor),
            at: self.now,
        };
        self.writes.events.push(recorded);
    }

    /// Adds an audit entry for what is no event; an event is one by itself.
    pub fn audit(&mut self, entry: audit::Entry) {
        self.audit.push(entry);
    }

    /// Enqueues a job; its queue is woken after the commit.
    pub fn enqueue(&mut self, job: NewJob) -> Result<(), Error> {
        job.check()?;
        self.writes.wakes.insert(job.queue.clone());
        self.writes.jobs.push(job);
        Ok(())
    }

    /// Sets a timer; one of the same stream and name is replaced.
    pub fn set_timer(&mut self, timer: NewTimer) -> Result<(), Error> {
        timer.job.check()?;
        self.writes.timers.push(TimerChange::Set(Box::new(timer)));
        Ok(())
    }

    /// Clears a stream's timers, or the one of this name.
    pub fn clear_timers(&mut self, stream: impl Into<Uuid>, name: Option<&str>) {
        let (stream, name) = (stream.into(), name.map(str::to_owned));
        self.writes.timers.push(TimerChange::Clear { stream, name });
    }

    /// The job that does this work is done with this commit.
    pub fn complete_job(&mut self) {
        self.completes = true;
    }

    /// Commits everything with what came of it, from which a repeat under the same idempotency key is answered.
    pub async fn commit_with<R: Serialize>(mut self, result: R) -> Result<R, Error> {
        match (&mut self.writes.claim, &mut self.tx, self.author.claim) {
            (Some(claimed), ..) => {
                claimed.result = serde_json::to_value(&result)
                    .map_err(|source| Error::Corrupt { what: "result", source })?;
            }
            (None, Some(tx), Some(claim)) => claim.keep(tx, &result).await?,
            (None, _, _) => {}
        }
        self.commit().await?;
        Ok(result)
    }

    /// Commits everything, with a feature's own rows that nothing before the commit has to see.
    pub(crate) async fn commit_along(mut self, along: Option<Along>) -> Result<Vec<Envelope>, Error> {
        // What has a transaction is never written together with others, nor tried again.
        if self.tx.is_none() {
            self.conn().await?;
        }
        self.writes.along = along;
        self.commit().await
    }

    /// Commits everything, then tells the world. Returns the events with their numbers.
    pub async fn commit(mut self) -> Result<Vec<Envelope>, Error> {
        self.seal()?;
        let Self { store, tx, mut writes, .. } = self;
        let committed = match tx {
            None => store.commit(writes).await?,
            Some(mut tx) => {
                store.refusals().noted(writes.finish(&mut tx).await)?;
                store.refusals().noted(tx.commit().await.map_err(Error::from))?;
                let committed = writes.committed();
                store.world.tell(&committed);
                committed
            }
        };
        Ok(committed.events)
    }

    /// Adds what belongs to every unit: the lease of its job, and its audit entries.
    fn seal(&mut self) -> Result<(), Error> {
        let project = self.writes.events.first().map(|event| event.project_id);
        if self.writes.events.iter().any(|event| Some(event.project_id) != project) {
            return Err(Error::TwoProjects);
        }
        self.writes.lease = self.author.lease.map(|lease| Held { lease, completes: self.completes });
        let entries = std::mem::take(&mut self.audit);
        self.writes.audit = entries.into_iter().map(audit::Row::of).collect::<Result<_, _>>()?;
        Ok(())
    }
}
