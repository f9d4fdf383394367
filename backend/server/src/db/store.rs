//! The event store: begins units of work, reads state and history.

use super::{
    Error, Recorded,
    rebuild::{self, Rebuild},
    storable_json,
    unit::{Author, Uow},
};
use crate::clock::{Clock, Ids};
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

    /// Begins a unit of work in this author's name, and under its idempotency key.
    pub async fn begin(&self, author: Author) -> Result<Uow, Error> {
        let mut tx = self.pool.begin().await?;
        if let Some(claim) = &author.claim {
            claim.take(&mut tx).await?;
        }
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

pub(super) fn replay<M: Machine>(history: &[Recorded]) -> Result<Option<M>, Error> {
    history.iter().try_fold(None, |state, event| Ok(M::evolve(state, &event.decode::<M>()?)))
}

/// The table of a kind. Only names that are written here ever reach a statement.
pub(super) fn table(kind: Kind) -> &'static str {
    kind.name()
}

/// Reads a state row of this project.
pub(super) async fn load<M: Machine>(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
) -> Result<Option<Loaded<M>>, Error> {
    let sql = format!("select version, state from {} where id = $1 and project_id = $2", table(M::KIND));
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
