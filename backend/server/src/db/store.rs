//! The event store: begins units of work, reads state and history, rebuilds state rows.

use super::{Error, Recorded, storable_json, unit::Author, unit::Uow};
use crate::clock::{Clock, Ids};
use serde::Serialize;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row};
use syndarix_bus::Hub;
use syndarix_domain::{
    ids::ProjectId,
    machine::{Kind, Machine},
};
use syndarix_jobs::Wake;
use uuid::Uuid;

/// Everything a unit of work needs to begin.
#[derive(Clone)]
pub struct Store {
    pub(super) pool: PgPool,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) hub: Hub,
    pub(super) wake: Wake,
}

/// A machine's state with the version it is at.
#[derive(Debug, Clone)]
pub struct Loaded<M> {
    /// The version of its last event.
    pub version: i64,
    /// The state after it.
    pub state: M,
}

/// What a rebuild found.
#[derive(Debug, Default, Serialize)]
pub struct Rebuild {
    /// Streams that were replayed.
    pub streams: u64,
    /// Events that were read.
    pub events: u64,
    /// State rows that differed from their replay, as `kind/id`.
    pub different: Vec<String>,
}

impl Store {
    /// A store over this pool.
    pub fn new(pool: PgPool, clock: Clock, hub: Hub, wake: Wake) -> Self {
        Self { pool, clock, ids: Ids::default(), hub, wake }
    }

    /// The pool, for reads.
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The clock of every decision.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// A new id of this moment.
    pub fn new_id(&self) -> Uuid {
        self.ids.next(self.clock.now())
    }

    /// Begins a unit of work in this author's name.
    pub async fn begin(&self, author: Author) -> Result<Uow, Error> {
        let tx = self.pool.begin().await?;
        Ok(Uow::new(self.clone(), tx, author))
    }

    /// The state of one stream, outside any transaction.
    pub async fn read<M: Machine>(
        &self,
        project: ProjectId,
        id: impl Into<Uuid>,
    ) -> Result<Loaded<M>, Error> {
        let mut conn = self.pool.acquire().await?;
        load(&mut conn, project, id.into()).await?.ok_or(Error::NotFound(M::KIND.name()))
    }

    /// The events of one stream, oldest first, up to a version.
    pub async fn history(
        &self,
        project: ProjectId,
        stream: impl Into<Uuid>,
        up_to: Option<i64>,
    ) -> Result<Vec<Recorded>, Error> {
        let rows = sqlx::query_as(
            "select * from event where project_id = $1 and stream_id = $2 and version <= $3 order by version",
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

    /// Replays every stream, compares the result with the state rows and, where asked, writes it.
    pub async fn rebuild(&self, write: bool) -> Result<Rebuild, Error> {
        use syndarix_domain::{
            approval::Approval, pull_request::PullRequest, run::Run, sprint::Sprint, story::Story,
        };
        let mut report = Rebuild::default();
        self.rebuild_kind::<Sprint>(write, &mut report).await?;
        self.rebuild_kind::<Story>(write, &mut report).await?;
        self.rebuild_kind::<PullRequest>(write, &mut report).await?;
        self.rebuild_kind::<Run>(write, &mut report).await?;
        self.rebuild_kind::<Approval>(write, &mut report).await?;
        Ok(report)
    }

    async fn rebuild_kind<M: Machine>(&self, write: bool, report: &mut Rebuild) -> Result<(), Error> {
        let streams = sqlx::query(
            "select distinct project_id, stream_id from event where kind = $1 order by project_id, stream_id",
        )
        .bind(M::KIND.name())
        .fetch_all(&self.pool)
        .await?;
        for row in streams {
            let (project, stream): (Uuid, Uuid) = (row.get(0), row.get(1));
            self.rebuild_stream::<M>(ProjectId(project), stream, write, report).await?;
        }
        Ok(())
    }

    async fn rebuild_stream<M: Machine>(
        &self,
        project: ProjectId,
        stream: Uuid,
        write: bool,
        report: &mut Rebuild,
    ) -> Result<(), Error> {
        let mut tx = self.pool.begin().await?;
        // The row's lock keeps new events of this stream out while it is compared.
        let stored = lock::<M>(&mut tx, project, stream).await?;
        let history = self.history(project, stream, None).await?;
        let Some(last) = history.last() else { return Ok(()) };
        let Some(state) = replay::<M>(&history)? else { return Ok(()) };
        report.streams += 1;
        report.events += history.len() as u64;
        let same = stored.is_some_and(|stored| stored.version == last.version && stored.state == state);
        if !same {
            report.different.push(format!("{}/{stream}", M::KIND.name()));
            if write {
                overwrite(&mut tx, project, stream, last.version, &state).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }
}

fn replay<M: Machine>(history: &[Recorded]) -> Result<Option<M>, Error> {
    history.iter().try_fold(None, |state, event| Ok(M::evolve(state, &event.decode::<M>()?)))
}

/// The table of a kind. Only names that are written here ever reach a statement.
fn table(kind: Kind) -> &'static str {
    kind.name()
}

/// Reads a state row of this project.
pub(super) async fn load<M: Machine>(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
) -> Result<Option<Loaded<M>>, Error> {
    let sql = format!("select version, state from {} where id = $1 and project_id = $2", table(M::KIND));
    fetch(conn, sql, project, id).await
}

async fn lock<M: Machine>(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
) -> Result<Option<Loaded<M>>, Error> {
    let sql =
        format!("select version, state from {} where id = $1 and project_id = $2 for update", table(M::KIND));
    fetch(conn, sql, project, id).await
}

async fn fetch<M: Machine>(
    conn: &mut PgConnection,
    sql: String,
    project: ProjectId,
    id: Uuid,
) -> Result<Option<Loaded<M>>, Error> {
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id).bind(project.0).fetch_optional(conn).await?;
    let Some(row) = row else { return Ok(None) };
    let state = serde_json::from_value(row.get("state"))
        .map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
    Ok(Some(Loaded { version: row.get("version"), state }))
}

/// Writes a state row if it is still at the expected version; a row that moved is a conflict.
pub(super) async fn compare_and_set<M: Machine>(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
    expected: i64,
    new: &Loaded<M>,
) -> Result<(), Error> {
    // As the events are stored, of which it can be made anew.
    let state = serde_json::to_value(&new.state)
        .map(storable_json)
        .map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
    let sql = if expected == 0 {
        format!(
            "insert into {} (version, phase, state, updated_at, id, project_id)
             select $1, $2, $3, now(), $4, $5 where $6 = 0 on conflict (id) do nothing",
            table(M::KIND)
        )
    } else {
        format!(
            "update {} set version = $1, phase = $2, state = $3, updated_at = now()
             where id = $4 and project_id = $5 and version = $6",
            table(M::KIND)
        )
    };
    let done = sqlx::query(AssertSqlSafe(sql))
        .bind(new.version)
        .bind(new.state.phase())
        .bind(state)
        .bind(id)
        .bind(project.0)
        .bind(expected)
        .execute(conn)
        .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(Error::Conflict) }
}

async fn overwrite<M: Machine>(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
    version: i64,
    state: &M,
) -> Result<(), Error> {
    let json =
        serde_json::to_value(state).map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
    let sql = format!(
        "insert into {} (id, project_id, version, phase, state, updated_at) values ($1, $2, $3, $4, $5, now())
         on conflict (id) do update set version = excluded.version, phase = excluded.phase, state = excluded.state",
        table(M::KIND)
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(id)
        .bind(project.0)
        .bind(version)
        .bind(state.phase())
        .bind(json)
        .execute(conn)
        .await?;
    Ok(())
}
