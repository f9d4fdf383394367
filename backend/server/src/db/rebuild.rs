//! Replays the events and compares the result with the state rows, which are nothing but that result.
//!
//! Streams and rows are gone through together, page by page, so that neither a row without events nor a stream without
//! a row is passed by. A page is read in one snapshot: what is written meanwhile is in it as a whole or not at all, and
//! a live system shows no difference that is none. A repair locks the row and looks again before it writes.

use super::{
    Error, Recorded,
    pool::without_time_limit,
    store::{replay, table},
};
use serde::Serialize;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, FromRow, PgConnection, PgPool};
use std::collections::BTreeMap;
use syndarix_domain::{
    approval::Approval, machine::Machine, pull_request::PullRequest, run::Run, sprint::Sprint, story::Story,
};
use uuid::Uuid;

/// Streams of one page: bounds memory, and how long a snapshot is held.
const PAGE: i64 = 200;

/// What a rebuild found.
#[derive(Debug, Default, Serialize)]
pub struct Rebuild {
    /// Streams and state rows that were compared.
    pub streams: u64,
    /// Events that were read.
    pub events: u64,
    /// State rows that differed from their replay, as `kind/id: how`.
    pub different: Vec<String>,
    /// Those that differ still, after a repair was asked for: found by a second look.
    pub left: Vec<String>,
}

/// Compares everything and, where asked, repairs it and looks again.
pub(super) async fn rebuild(pool: &PgPool, write: bool) -> Result<Rebuild, Error> {
    let mut conn = without_time_limit(pool).await?;
    let mut report = Rebuild::default();
    each_kind(&mut conn, write, &mut report).await?;
    if write {
        let mut again = Rebuild::default();
        each_kind(&mut conn, false, &mut again).await?;
        report.left = again.different;
    }
    conn.close().await?;
    Ok(report)
}

async fn each_kind(conn: &mut PgConnection, write: bool, report: &mut Rebuild) -> Result<(), Error> {
    of_kind::<Sprint>(conn, write, report).await?;
    of_kind::<Story>(conn, write, report).await?;
    of_kind::<PullRequest>(conn, write, report).await?;
    of_kind::<Run>(conn, write, report).await?;
    of_kind::<Approval>(conn, write, report).await
}

/// A state row as it is stored, whether or not it can be read.
#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    project_id: Uuid,
    version: i64,
    phase: String,
    state: Value,
}

async fn of_kind<M: Machine>(
    conn: &mut PgConnection,
    write: bool,
    report: &mut Rebuild,
) -> Result<(), Error> {
    let mut after = Uuid::nil();
    loop {
        let page = Page::read::<M>(conn, after).await?;
        let Some(last) = page.ids.last() else { return Ok(()) };
        after = *last;
        for id in &page.ids {
            let (row, history) = page.of(*id);
            report.streams += 1;
            report.events += u64::try_from(history.len()).unwrap_or(0);
            let Some(how) = difference::<M>(row, history) else { continue };
            report.different.push(format!("{}/{id}: {how}", M::KIND.name()));
            if write {
                repair::<M>(conn, *id).await?;
            }
        }
    }
}

struct Page {
    ids: Vec<Uuid>,
    rows: BTreeMap<Uuid, Row>,
    events: BTreeMap<Uuid, Vec<Recorded>>,
}

impl Page {
    async fn read<M: Machine>(conn: &mut PgConnection, after: Uuid) -> Result<Self, Error> {
        let mut tx = conn.begin_with("begin isolation level repeatable read read only").await?;
        let ids = ids::<M>(&mut tx, after).await?;
        let rows = rows::<M>(&mut tx, &ids, "").await?;
        let events = events::<M>(&mut tx, &ids).await?;
        tx.commit().await?;
        let mut page =
            Self { ids, rows: rows.into_iter().map(|row| (row.id, row)).collect(), events: BTreeMap::new() };
        for event in events {
            page.events.entry(event.stream_id).or_default().push(event);
        }
        Ok(page)
    }

    fn of(&self, id: Uuid) -> (Option<&Row>, &[Recorded]) {
        (self.rows.get(&id), self.events.get(&id).map_or(&[], Vec::as_slice))
    }
}

/// The next ids that have a row, or events, or both.
async fn ids<M: Machine>(conn: &mut PgConnection, after: Uuid) -> Result<Vec<Uuid>, Error> {
    let sql = format!(
        "select id from (
            (select id from {table} where id > $1 order by id limit $3)
            union
            (select distinct stream_id from event
              where version > 0 and kind = $2 and stream_id > $1 order by stream_id limit $3)
         ) either order by id limit $3",
        table = table(M::KIND)
    );
    let ids = sqlx::query_scalar(AssertSqlSafe(sql)).bind(after).bind(M::KIND.name()).bind(PAGE);
    Ok(ids.fetch_all(conn).await?)
}

async fn rows<M: Machine>(
    conn: &mut PgConnection,
    ids: &[Uuid],
    lock: &'static str,
) -> Result<Vec<Row>, Error> {
    let sql = format!(
        "select id, project_id, version, phase, state from {} where id = any($1) {lock}",
        table(M::KIND)
    );
    Ok(sqlx::query_as(AssertSqlSafe(sql)).bind(ids).fetch_all(conn).await?)
}

async fn events<M: Machine>(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Recorded>, Error> {
    let events = sqlx::query_as(
        "select * from event where version > 0 and stream_id = any($1) and kind = $2 order by stream_id, version",
    );
    Ok(events.bind(ids).bind(M::KIND.name()).fetch_all(conn).await?)
}

/// How a row differs from what its events say, if it does.
fn difference<M: Machine>(row: Option<&Row>, history: &[Recorded]) -> Option<&'static str> {
    match (row, wanted::<M>(history)) {
        (_, Err(_)) => Some("events that do not read"),
        (None, Ok(None)) => None,
        (Some(_), Ok(None)) => Some("a row without events"),
        (None, Ok(Some(_))) => Some("events without a row"),
        (Some(row), Ok(Some(wanted))) => [
            (row.project_id != wanted.project_id, "another project"),
            (row.version != wanted.version, "another version"),
            (row.phase != wanted.phase, "another phase"),
            (row.state != wanted.state, "another state"),
        ]
        .into_iter()
        .find_map(|(differs, how)| differs.then_some(how)),
    }
}

/// The row that these events make.
fn wanted<M: Machine>(history: &[Recorded]) -> Result<Option<Row>, Error> {
    let (Some(last), Some(state)) = (history.last(), replay::<M>(history)?) else { return Ok(None) };
    let json =
        serde_json::to_value(&state).map_err(|source| Error::Corrupt { what: M::KIND.name(), source })?;
    Ok(Some(Row {
        id: last.stream_id,
        project_id: last.project_id,
        version: last.version,
        phase: state.phase().to_owned(),
        state: json,
    }))
}

/// Makes the row what its events say. Whoever moves the stream meanwhile waits for the row's lock, or goes first.
async fn repair<M: Machine>(conn: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    let mut tx = conn.begin().await?;
    let row = rows::<M>(&mut tx, &[id], "for update").await?.pop();
    let history = events::<M>(&mut tx, &[id]).await?;
    if difference::<M>(row.as_ref(), &history).is_some() {
        match wanted::<M>(&history) {
            Ok(Some(wanted)) => overwrite::<M>(&mut tx, &wanted).await?,
            Ok(None) => remove::<M>(&mut tx, id).await?,
            Err(error) => tracing::error!(kind = M::KIND.name(), %id, %error, "beyond repair"),
        }
    }
    tx.commit().await?;
    Ok(())
}

async fn overwrite<M: Machine>(conn: &mut PgConnection, row: &Row) -> Result<(), Error> {
    let sql = format!(
        "insert into {} (id, project_id, version, phase, state, updated_at, def_rev)
         values ($1, $2, $3, $4, $5, now(), $6)
         on conflict (id) do update
            set def_rev = excluded.def_rev, project_id = excluded.project_id, version = excluded.version, phase = excluded.phase,
                state = excluded.state, updated_at = excluded.updated_at",
        table(M::KIND)
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(row.id)
        .bind(row.project_id)
        .bind(row.version)
        .bind(&row.phase)
        .bind(&row.state)
        .bind(M::REVISION)
        .execute(conn)
        .await?;
    Ok(())
}

async fn remove<M: Machine>(conn: &mut PgConnection, id: Uuid) -> Result<(), Error> {
    let sql = format!("delete from {} where id = $1", table(M::KIND));
    sqlx::query(AssertSqlSafe(sql)).bind(id).execute(conn).await?;
    Ok(())
}
