//! What a unit of work is going to write, as data: it can be written by itself or together with others.

use super::{
    Along, Error, audit,
    claim::Claimed,
    combine::Combine,
    events::Recorded,
    statement::{self, Fate, Locked, Part},
};
use serde_json::value::RawValue;
use sqlx::{Acquire, PgConnection, PgPool};
use std::collections::{BTreeSet, HashMap, HashSet};
use syndarix_domain::{envelope::Envelope, machine::Kind};
use syndarix_jobs::{EnqueueError, Finished, Lease, NewJob, TimerChange};
use uuid::Uuid;

/// Everything that one unit of work writes.
#[derive(Debug, Default)]
pub(super) struct Writes {
    pub(super) heads: Vec<Head>,
    pub(super) events: Vec<Recorded>,
    pub(super) audit: Vec<audit::Row>,
    /// The command that it comes from, kept on every event.
    pub(super) command: Option<Uuid>,
    /// The key that it uses up, as long as no transaction has taken it.
    pub(super) claim: Option<Claimed>,
    pub(super) lease: Option<Held>,
    /// The job that ends with it, once that is written: it is counted when it is committed.
    pub(super) finished: Option<Finished>,
    pub(super) jobs: Vec<NewJob>,
    /// In the order in which they were asked for.
    pub(super) timers: Vec<TimerChange>,
    /// Queues that got a job, to be woken after the commit.
    pub(super) wakes: BTreeSet<String>,
    /// A feature's own rows that are written with the events: only where it is a transaction, which is written once.
    pub(super) along: Option<Along>,
}

/// What the world is told of once it is committed.
#[derive(Debug)]
pub(super) struct Committed {
    pub(super) events: Vec<Envelope>,
    pub(super) wakes: BTreeSet<String>,
}

/// A state row, from one version to another.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) id: Uuid,
    pub(super) project: Uuid,
    /// The version that was decided on; 0: there must be none yet.
    pub(super) expected: i64,
    pub(super) version: i64,
    /// Of the machine that decided: a row of another is nobody's to change but an upgrade's.
    pub(super) revision: i32,
    pub(super) phase: &'static str,
    pub(super) state: Box<RawValue>,
}

/// The job that does the work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// It is done with this commit.
    pub(super) completes: bool,
}

/// What became of a unit that was written together with others.
#[derive(Debug)]
pub(super) enum Answer {
    /// It is committed.
    Committed(Committed),
    /// Nothing of it is.
    Failed(Error),
    /// Nothing of it is, and it is to be tried by itself: something would have kept the others waiting, or failed them.
    Alone(Box<Writes>),
}

impl Combine for Writes {
    type Answer = Answer;

    fn alone_on(&self) -> Vec<Uuid> {
        let key = self.claim.as_ref().map(|claimed| claimed.claim.id.0);
        self.heads.iter().map(|head| head.id).chain(key).collect()
    }
}

impl Writes {
    /// One statement writes it all, so that it needs no transaction around it.
    fn is_one_statement(&self) -> bool {
        self.lease.is_none() && self.jobs.is_empty() && self.timers.is_empty()
    }

    /// Writes what must come before the events, and forgets it.
    pub(super) async fn flush(&mut self, conn: &mut PgConnection) -> Result<(), Error> {
        if !self.heads.is_empty() {
            let fates = statement::write(conn, &mut [self], Part::Heads, Locked::Wait).await?;
            all_written(&fates)?;
            self.heads.clear();
        }
        follow_up(conn, &[self]).await?;
        self.jobs.clear();
        self.timers.clear();
        Ok(())
    }

    fn has_rows(&self) -> bool {
        self.has_heads() || !(self.events.is_empty() && self.audit.is_empty())
    }

    /// What the first part of the statement writes.
    fn has_heads(&self) -> bool {
        !self.heads.is_empty() || self.claim.is_some()
    }

    /// Writes what is left of it, in the caller's transaction.
    pub(super) async fn finish(&mut self, conn: &mut PgConnection) -> Result<(), Error> {
        if !lost_leases(conn, &[self]).await?.is_empty() {
            return Err(Error::LeaseLost);
        }
        complete(conn, &mut [self]).await?;
        let mut rest = Part::Both;
        if !self.jobs.is_empty() || !self.timers.is_empty() {
            if self.has_heads() {
                all_written(&statement::write(conn, &mut [self], Part::Heads, Locked::Wait).await?)?;
            }
            follow_up(conn, &[self]).await?;
            rest = Part::Record;
        }
        let is_over = self.events.is_empty() && self.audit.is_empty() && self.along.is_none();
        if is_over && (rest == Part::Record || !self.has_heads()) {
            return Ok(());
        }
        all_written(&statement::write(conn, &mut [self], rest, Locked::Wait).await?)
    }

    /// Commits it by itself: waits for whoever holds its rows.
    pub(super) async fn commit_alone(mut self, pool: &PgPool) -> Result<Committed, Error> {
        self.write_alone(pool).await?;
        Ok(self.committed())
    }

    /// The same; it stays what it is, for another try.
    async fn write_alone(&mut self, pool: &PgPool) -> Result<(), Error> {
        if self.is_one_statement() && !self.has_rows() {
            return Ok(());
        }
        let mut conn = pool.acquire().await?;
        if self.is_one_statement() {
            return all_written(&statement::write(&mut conn, &mut [self], Part::Both, Locked::Wait).await?);
        }
        let mut tx = conn.begin().await?;
        self.finish(&mut tx).await?;
        Ok(tx.commit().await?)
    }

    /// The projects whose logs it writes to.
    pub(super) fn projects(&self) -> BTreeSet<Uuid> {
        self.events.iter().map(|event| event.project_id).collect()
    }

    /// What is told of it, once it is committed.
    pub(super) fn committed(self) -> Committed {
        for event in self.events.iter().filter(|event| event.version > 0) {
            metrics::counter!("syndarix_transitions_total", "kind" => event.kind.clone()).increment(1);
        }
        if let Some(finished) = self.finished {
            finished.committed();
        }
        let events = self.events.into_iter().map(Recorded::into_envelope).collect();
        Committed { events, wakes: self.wakes }
    }
}

/// Commits units together. None waits for another's lock for long, and none fails for another's fault.
pub(super) async fn commit_together(pool: &PgPool, mut units: Vec<Writes>) -> Vec<Answer> {
    metrics::histogram!("syndarix_commit_batch_size")
        .record(f64::from(u32::try_from(units.len()).unwrap_or(u32::MAX)));
    if units.len() == 1
        && let Some(mut unit) = units.pop()
    {
        return vec![match unit.write_alone(pool).await {
            Ok(()) => Answer::Committed(unit.committed()),
            // Whoever waits in here keeps others waiting.
            Err(error) if error.is_lock_timeout() => Answer::Alone(Box::new(unit)),
            Err(error) => Answer::Failed(error),
        }];
    }
    match write_together(pool, &mut units).await {
        Ok(fates) => units.into_iter().zip(fates).map(|(unit, fate)| fate.answer(unit)).collect(),
        // The server refused the statement for one of them, and wrote none.
        Err(Error::Database(sqlx::Error::Database(_)) | Error::Conflict | Error::Jobs(_)) => {
            units.into_iter().map(|unit| Answer::Alone(Box::new(unit))).collect()
        }
        Err(error) => units.iter().map(|_| Answer::Failed(error.again())).collect(),
    }
}

async fn write_together(pool: &PgPool, units: &mut [Writes]) -> Result<Vec<Outcome>, Error> {
    let mut conn = pool.acquire().await?;
    if units.iter().all(Writes::is_one_statement) {
        let mut all: Vec<&mut Writes> = units.iter_mut().collect();
        let fates = statement::write(&mut conn, &mut all, Part::Both, Locked::Skip).await?;
        return Ok(fates.into_iter().map(Outcome::Of).collect());
    }
    let mut outcomes = vec![Outcome::Of(Fate::Written); units.len()];
    let mut tx = conn.begin().await?;
    let all: Vec<&mut Writes> = units.iter_mut().collect();
    for unit in lost_leases(&mut tx, &all).await? {
        outcomes[unit] = Outcome::LeaseLost;
    }
    let (mut places, mut left): (Vec<usize>, Vec<&mut Writes>) =
        all.into_iter().enumerate().filter(|(unit, _)| outcomes[*unit].is_written()).unzip();
    let fates = statement::write(&mut tx, &mut left, Part::Heads, Locked::Skip).await?;
    for (unit, fate) in places.iter().zip(&fates) {
        outcomes[*unit] = Outcome::Of(*fate);
    }
    let mut kept = fates.iter().map(|fate| *fate == Fate::Written);
    left.retain(|_| kept.next().unwrap_or(false));
    places.retain(|unit| outcomes[*unit].is_written());
    // A job ends with what it was done for, and not with what came to nothing.
    complete(&mut tx, &mut left).await?;
    follow_up(&mut tx, &left).await?;
    statement::write(&mut tx, &mut left, Part::Record, Locked::Skip).await?;
    tx.commit().await?;
    Ok(outcomes)
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Of(Fate),
    LeaseLost,
}

impl Outcome {
    fn is_written(self) -> bool {
        matches!(self, Self::Of(Fate::Written))
    }

    fn answer(self, unit: Writes) -> Answer {
        match self {
            Self::Of(Fate::Written) => Answer::Committed(unit.committed()),
            Self::Of(Fate::Conflict) => Answer::Failed(conflict()),
            Self::Of(Fate::Repeated) => Answer::Failed(Error::Repeated),
            Self::Of(Fate::Busy) => Answer::Alone(Box::new(unit)),
            Self::LeaseLost => Answer::Failed(Error::LeaseLost),
        }
    }
}

/// Locks the rows of the units' jobs. Says whose job was taken over.
async fn lost_leases(conn: &mut PgConnection, units: &[&mut Writes]) -> Result<Vec<usize>, sqlx::Error> {
    let leases: Vec<Lease> = units.iter().filter_map(|unit| unit.lease).map(|of| of.lease).collect();
    if leases.is_empty() {
        return Ok(Vec::new());
    }
    let held: HashSet<i64> = Lease::hold_all(conn, &leases).await?.into_iter().collect();
    let lost = units
        .iter()
        .enumerate()
        .filter(|(_, unit)| unit.lease.is_some_and(|of| !held.contains(&of.lease.job)));
    Ok(lost.map(|(unit, _)| unit).collect())
}

/// Ends the jobs that end with their units. Their rows are locked.
async fn complete(conn: &mut PgConnection, units: &mut [&mut Writes]) -> Result<(), sqlx::Error> {
    let done = units.iter().filter_map(|unit| unit.lease).filter(|of| of.completes);
    let leases: Vec<Lease> = done.map(|of| of.lease).collect();
    if leases.is_empty() {
        return Ok(());
    }
    let finished = Lease::complete_all(conn, &leases).await?;
    let mut finished: HashMap<i64, Finished> = finished.into_iter().map(|job| (job.id, job)).collect();
    for unit in units {
        unit.finished = unit.lease.and_then(|of| finished.remove(&of.lease.job));
    }
    Ok(())
}

/// Writes the units' jobs and timers. They stay what they are: a unit may have to be written again, by itself.
async fn follow_up(conn: &mut PgConnection, units: &[&mut Writes]) -> Result<(), Error> {
    let jobs: Vec<NewJob> = units.iter().flat_map(|unit| &unit.jobs).cloned().collect();
    if !jobs.is_empty() {
        syndarix_jobs::enqueue_many(conn, &jobs).await?;
    }
    let timers: Vec<&TimerChange> = units.iter().flat_map(|unit| &unit.timers).collect();
    if !timers.is_empty() {
        syndarix_jobs::change_timers(conn, &timers).await.map_err(of_timers)?;
    }
    Ok(())
}

/// Who gives way to another, or waits for it too long, is told so as for any other row.
fn of_timers(error: EnqueueError) -> Error {
    match error {
        EnqueueError::Database(error) => error.into(),
        other => other.into(),
    }
}

fn all_written(fates: &[Fate]) -> Result<(), Error> {
    match fates.iter().find(|fate| **fate != Fate::Written) {
        None => Ok(()),
        Some(Fate::Repeated) => Err(Error::Repeated),
        Some(_) => Err(conflict()),
    }
}

fn conflict() -> Error {
    metrics::counter!("syndarix_transition_conflicts_total").increment(1);
    Error::Conflict
}
