//! The event store: begins units of work, reads state and history.

use super::{
    Error, Recorded,
    combine::{Combiner, Limits},
    heads::{self, Wanted},
    locked::LockedLogs,
    pool::{apart, apart_for_many},
    rebuild::{self, Rebuild},
    refusals::Refusals,
    unit::{Author, Uow},
    writes::{self, Answer, Committed, Writes},
};
use crate::clock::{Clock, Ids};
use sqlx::PgPool;
use std::{sync::Arc, time::Duration};
use syndarix_bus::Hub;
use syndarix_domain::{
    ids::ProjectId,
    machine::{Kind, Machine},
};
use syndarix_jobs::Wake;
use uuid::Uuid;

/// Two at a time: while one batch waits for the disk, the next is on its way.
const COMMITS: Limits = Limits { workers: 2, batch: 256, patience: PATIENCE };
const READS: Limits = Limits { workers: 2, batch: 256, patience: PATIENCE };
/// Longer than the server lets a statement take: where it can, it says itself what was too slow.
const PATIENCE: Duration = Duration::from_secs(35);

/// Everything a unit of work needs to begin.
#[derive(Clone)]
pub struct Store {
    pub(super) pool: PgPool,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) world: World,
    reads: Combiner<Wanted>,
    commits: Combiner<Writes>,
    locked: Arc<LockedLogs>,
    refusals: Arc<Refusals>,
}

/// Whoever is to know of what is committed.
#[derive(Clone)]
pub(super) struct World {
    hub: Hub,
    wake: Wake,
}

/// A machine's state with the version it is at.
#[derive(Debug, Clone)]
pub struct Loaded<M> {
    /// The version of its last event.
    pub version: i64,
    /// The state after it.
    pub state: M,
}

impl Store {
    /// A store over this pool.
    pub fn new(pool: PgPool, clock: Clock, hub: Hub, wake: Wake) -> Self {
        let world = World { hub, wake };
        let (locked, refusals) = (Arc::default(), Arc::<Refusals>::default());
        let reads = Combiner::new(READS, {
            let pool = apart(&pool, connections(READS));
            move |wanted| {
                let pool = pool.clone();
                Box::pin(async move { heads::load_together(&pool, wanted).await })
            }
        });
        let commits = Combiner::new(COMMITS, {
            let pool = apart_for_many(&pool, connections(COMMITS));
            let (world, refusals) = (world.clone(), Arc::clone(&refusals));
            move |units| {
                let (pool, world, refusals) = (pool.clone(), world.clone(), Arc::clone(&refusals));
                Box::pin(async move {
                    let answers = writes::commit_together(&pool, units).await;
                    // Here, and not where it is waited for: who asked may have gone away meanwhile.
                    for answer in &answers {
                        match answer {
                            Answer::Committed(committed) => world.tell(committed),
                            Answer::Failed(error) => refusals.note_unit(error),
                            Answer::Alone(_) => {}
                        }
                    }
                    answers
                })
            }
        });
        Self { pool, clock, ids: Ids::default(), world, reads, commits, locked, refusals }
    }

    /// The pool, for reads.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// What writes the database refuses.
    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The clock of every decision.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A new id of this moment.
    pub fn new_id(&self) -> Uuid {
        self.ids.next(self.clock.now())
    }

    /// Begins a unit of work in this author's name, and under its idempotency key.
    pub fn begin(&self, author: Author) -> Uow {
        Uow::new(self.clone(), author)
    }

    /// Commits a unit that needs no transaction of its own: at once when nothing else is under way, else together with
    /// what waits.
    pub(super) async fn commit(&self, unit: Writes) -> Result<Committed, Error> {
        if self.locked.concern(&unit) {
            return Box::pin(self.commit_alone(unit)).await;
        }
        match self.commits.ask(unit).await.ok_or_else(unanswered)? {
            Answer::Committed(committed) => Ok(committed),
            Answer::Failed(error) => Err(error),
            Answer::Alone(unit) => Box::pin(self.commit_alone(*unit)).await,
        }
    }

    async fn commit_alone(&self, unit: Writes) -> Result<Committed, Error> {
        let projects = unit.projects();
        let done = self.locked.watch(projects, unit.commit_alone(&self.pool)).await;
        let committed = self.refusals.noted(done)?;
        self.world.tell(&committed);
        Ok(committed)
    }

    /// A state row, outside any transaction.
    pub(super) async fn head(&self, wanted: Wanted) -> Result<Option<heads::Row>, Error> {
        self.reads.ask(wanted).await.ok_or_else(unanswered)?
    }

    /// The state of one stream, outside any transaction.
    pub async fn read<M: Machine>(
        &self,
        project: ProjectId,
        id: impl Into<Uuid>,
    ) -> Result<Loaded<M>, Error> {
        let wanted = Wanted { kind: M::KIND, project: project.0, id: id.into() };
        self.head(wanted).await?.ok_or(Error::NotFound(M::KIND.name()))?.read()
    }

    /// The events of one stream, oldest first, up to a version.
    pub async fn history(
        &self,
        project: ProjectId,
        stream: impl Into<Uuid>,
        up_to: Option<i64>,
    ) -> Result<Vec<Recorded>, Error> {
        let rows = sqlx::query_as(
            // `version > 0` is what lets the index of streams be used: it leaves announcements out.
            "select * from event
              where project_id = $1 and stream_id = $2 and version > 0 and version <= $3 order by version",
        )
        .bind(project.0)
        .bind(stream.into())
        .bind(up_to.unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await?;
        Ok(rows)
    }

    /// The state of one stream as it was at a version.
    pub async fn at_version<M: Machine>(
        &self,
        project: ProjectId,
        stream: impl Into<Uuid>,
        version: i64,
    ) -> Result<Loaded<M>, Error> {
        let history = self.history(project, stream, Some(version)).await?;
        let reached = history.last().map_or(0, |event| event.version);
        if reached != version {
            return Err(Error::NotFound("version"));
        }
        let state = replay::<M>(&history)?.ok_or(Error::NotFound(M::KIND.name()))?;
        Ok(Loaded { version, state })
    }

    /// Replays every stream, compares the result with the state rows and, where asked, repairs them.
    pub async fn rebuild(&self, write: bool) -> Result<Rebuild, Error> {
        rebuild::rebuild(&self.pool, write).await
    }
}

impl World {
    /// What is committed is told to those who watch, and the queues that got a job are woken.
    pub(super) fn tell(&self, committed: &Committed) {
        self.hub.committed(&committed.events);
        for queue in &committed.wakes {
            self.wake.poke(queue);
        }
    }
}

/// As many as there are workers: none of them ever waits for one.
fn connections(of: Limits) -> u32 {
    u32::try_from(of.workers).unwrap_or(1)
}

fn unanswered() -> Error {
    Error::Outside("the database did not answer in time; whether this was written is unknown".into())
}

pub(super) fn replay<M: Machine>(history: &[Recorded]) -> Result<Option<M>, Error> {
    history.iter().try_fold(None, |state, event| Ok(M::evolve(state, &event.decode::<M>()?)))
}

/// The table of a kind. Only names that are written here ever reach a statement.
pub(super) fn table(kind: Kind) -> &'static str {
    kind.name()
}
