//! States of earlier releases: looked for at every start, mapped before anything else happens, each with its event.
//!
//! Invariants: nothing is touched while any state has no mapping; a state row is moved in one transaction with the event
//! that says so, so that its replay is the row again; only rows of another revision are looked at, which an index finds.

use super::{Author, Error, Store, Uow, store::table};
use serde_json::Value;
use sqlx::{AssertSqlSafe, FromRow};
use syndarix_domain::{
    approval::Approval,
    ids::ProjectId,
    machine::Machine,
    pull_request::PullRequest,
    revision::{self, Unmapped, Upgraded},
    run::Run,
    sprint::Sprint,
    story::Story,
};
use uuid::Uuid;

/// Rows that are moved in one transaction.
const BATCH: i64 = 200;

/// Why the states that are there cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum RevisionError {
    /// Some have no mapping, or are of a later release.
    #[error(
        "{unmapped} ({rows} rows, such as {example}); start the release that wrote them, or one that maps them"
    )]
    Unmapped {
        /// What has none.
        unmapped: Unmapped,
        /// How many.
        rows: i64,
        /// One of them.
        example: Uuid,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] Error),
}

impl From<sqlx::Error> for RevisionError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Refuses the states that this release cannot take over; changes nothing.
pub async fn check_states(store: &Store) -> Result<(), RevisionError> {
    check::<Sprint>(store).await?;
    check::<Story>(store).await?;
    check::<PullRequest>(store).await?;
    check::<Run>(store).await?;
    check::<Approval>(store).await
}

/// Moves every state of an earlier release to this one's revision. Returns how many were moved.
pub async fn upgrade_states(store: &Store) -> Result<u64, RevisionError> {
    check_states(store).await?;
    let moved = upgrade::<Sprint>(store).await?
        + upgrade::<Story>(store).await?
        + upgrade::<PullRequest>(store).await?
        + upgrade::<Run>(store).await?
        + upgrade::<Approval>(store).await?;
    if moved > 0 {
        tracing::info!(moved, "states of an earlier release were moved to this one");
    }
    Ok(moved)
}

/// The same check for one machine: one grouped query.
pub async fn check<M: Machine>(store: &Store) -> Result<(), RevisionError> {
    let sql = format!(
        "select def_rev, phase, count(*), (array_agg(id order by id))[1] from {}
          where def_rev < $1 or def_rev > $1 group by def_rev, phase order by def_rev, phase",
        table(M::KIND)
    );
    let found: Vec<(i32, String, i64, Uuid)> =
        sqlx::query_as(AssertSqlSafe(sql)).bind(M::REVISION).fetch_all(store.pool()).await?;
    for (revision, phase, rows, example) in found {
        revision::steps::<M>(revision, &phase).map_err(|unmapped| RevisionError::Unmapped {
            unmapped,
            rows,
            example,
        })?;
    }
    Ok(())
}

/// A state of an earlier revision.
#[derive(FromRow)]
struct Old {
    id: Uuid,
    version: i64,
    def_rev: i32,
    phase: String,
    state: Value,
}

/// Moves the states of one machine, batch by batch, each batch of one project.
pub async fn upgrade<M: Machine>(store: &Store) -> Result<u64, RevisionError> {
    let next = format!("select project_id from {} where def_rev < $1 limit 1", table(M::KIND));
    let mut moved = 0;
    loop {
        let project: Option<Uuid> = sqlx::query_scalar(AssertSqlSafe(next.clone()))
            .bind(M::REVISION)
            .fetch_optional(store.pool())
            .await?;
        let Some(project) = project else { return Ok(moved) };
        moved += batch::<M>(store, ProjectId(project)).await?;
    }
}

async fn batch<M: Machine>(store: &Store, project: ProjectId) -> Result<u64, RevisionError> {
    let mut uow = store.begin(Author::system());
    let sql = format!(
        "select id, version, def_rev, phase, state from {} where project_id = $1 and def_rev < $2
          order by id limit $3 for update",
        table(M::KIND)
    );
    let old: Vec<Old> = sqlx::query_as(AssertSqlSafe(sql))
        .bind(project.0)
        .bind(M::REVISION)
        .bind(BATCH)
        .fetch_all(uow.conn().await?)
        .await?;
    let moved = u64::try_from(old.len()).unwrap_or(0);
    for old in old {
        move_one::<M>(&mut uow, project, old).await?;
    }
    uow.commit().await?;
    Ok(moved)
}

async fn move_one<M: Machine>(uow: &mut Uow, project: ProjectId, old: Old) -> Result<(), RevisionError> {
    let state = revision::read::<M>(old.def_rev, &old.phase, old.state)
        .map_err(|unmapped| RevisionError::Unmapped { unmapped, rows: 1, example: old.id })?;
    let json =
        serde_json::to_value(&state).map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
    let (phase, version) = (state.phase(), old.version + 1);
    let upgraded = Upgraded {
        from: old.def_rev,
        to: M::REVISION,
        phase: phase.into(),
        state: json.clone(),
        at: uow.now(),
    };
    uow.record::<M>(project, old.id, version, &M::upgraded(upgraded))?;
    let sql = format!(
        "update {} set version = $2, phase = $3, state = $4, def_rev = $5, updated_at = now() where id = $1",
        table(M::KIND)
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(old.id)
        .bind(version)
        .bind(phase)
        .bind(json)
        .bind(M::REVISION)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}
