//! Verification of the chains in the database, and `POST /projects/{project_id}/audit/verify`.

use super::{
    check::{Bad, ChainReport, Found, Mark, Walk},
    links::{Bytes, Row, page},
};
use crate::{
    db::Error,
    http::{ApiError, ProjectScope, View},
    state::App,
};
use axum::{Json, extract::State};
use serde::Serialize;
use sqlx::{FromRow, PgPool};
use syndarix_domain::Timestamp;
use utoipa::ToSchema;
use uuid::Uuid;

/// Checks the chains, or one of them: every sealed entry against its seal, its header, its payload, its columns.
pub async fn verify(pool: &PgPool, chain: Option<Uuid>) -> Result<Vec<ChainReport>, sqlx::Error> {
    let mut reports = Vec::new();
    for chain in chains(pool, chain).await? {
        reports.push(verify_chain(pool, chain).await?);
    }
    Ok(reports)
}

/// Remembers what a check found, so that people see when a chain was last verified.
pub async fn note(pool: &PgPool, report: &ChainReport, at: Timestamp) -> Result<(), sqlx::Error> {
    // A check that fails keeps what the last good one saw: the next one must fail for the same reason.
    sqlx::query(
        "insert into audit_verification as v (chain, verified_at, entries, ok, head) values ($1, $2, $3, $4, $5)
         on conflict (chain) do update
            set verified_at = excluded.verified_at, ok = excluded.ok,
                entries = case when excluded.ok then excluded.entries else v.entries end,
                head = case when excluded.ok then excluded.head else v.head end",
    )
    .bind(report.chain)
    .bind(at)
    .bind(if report.is_ok() { i64::try_from(report.entries).unwrap_or(i64::MAX) } else { 0 })
    .bind(report.is_ok())
    .bind(hex::decode(&report.head).ok().filter(|_| report.is_ok()))
    .execute(pool)
    .await
    .map(drop)
}

/// The one that is asked for, or all that there are or must be, the instance's own first.
pub(super) async fn chains(pool: &PgPool, chain: Option<Uuid>) -> Result<Vec<Uuid>, sqlx::Error> {
    match chain {
        Some(chain) => Ok(vec![chain]),
        None => {
            sqlx::query_scalar(
                "select chain from audit_seal union select chain from audit_block union select chain from audit_entry
                 union select chain from audit_head union select chain from audit_verification union select project_id from project_log where head > 0
                 order by chain",
            )
            .fetch_all(pool)
            .await
        }
    }
}

async fn verify_chain(pool: &PgPool, chain: Uuid) -> Result<ChainReport, sqlx::Error> {
    // Read first: the chain may grow while it is read, and does not shrink.
    let mut walk = Walk::new(chain).through(marks(pool, chain).await?);
    // A position below 1 is as wrong as any other: the walk begins before all of them.
    let mut after = i64::MIN;
    loop {
        let rows = page(pool, chain, after).await?;
        let Some(last) = rows.last() else { break };
        after = last.position;
        for row in rows {
            if let Err(bad) = check(&mut walk, chain, row) {
                return Ok(walk.report(outside(pool, chain).await?.waiting(), Some(bad)));
            }
        }
    }
    let outside = outside(pool, chain).await?;
    let gone = || walk.bad("the project has a history, and there is no audit of it");
    let first_bad = match outside.passed {
        Some(id) => Some(walk.bad(format!("the entry {id} was sealed, and its seal is gone"))),
        None if walk.expected() == 1 => walk.ended().or(lost_its_audit(pool, chain).await?.then(gone)),
        None => walk.ended(),
    };
    Ok(walk.report(outside.waiting(), first_bad))
}

/// Where the chain was when it was last sealed, and when it was last checked and found good.
async fn marks(pool: &PgPool, chain: Uuid) -> Result<Vec<Mark>, sqlx::Error> {
    let rows: Vec<(bool, i64, Option<Vec<u8>>)> = sqlx::query_as(
        "select true, position, hash from audit_head where chain = $1
         union all
         select false, entries, head from audit_verification where chain = $1",
    )
    .bind(chain)
    .fetch_all(pool)
    .await?;
    let mark = |(sealer, position, hash): (bool, i64, Option<Vec<u8>>)| Mark {
        position: u64::try_from(position).unwrap_or_default(),
        hash,
        source: if sealer { "the sealer" } else { "an earlier check" },
    };
    Ok(rows.into_iter().map(mark).collect())
}

/// A project has the beginning of its chain from its first moment.
async fn lost_its_audit(pool: &PgPool, chain: Uuid) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select exists (select from project_log where project_id = $1)
                and not exists (select from audit_head where chain = $1)",
    )
    .bind(chain)
    .fetch_one(pool)
    .await
}

/// Entries without a seal.
#[derive(FromRow)]
pub(super) struct Outside {
    /// How many wait for the sealer.
    count: i64,
    /// When the oldest of those was written.
    since: Option<Timestamp>,
    /// The first that the sealer has passed already.
    passed: Option<Uuid>,
}

impl Outside {
    pub(super) fn waiting(&self) -> (u64, Option<Timestamp>) {
        (self.count.unsigned_abs(), self.since)
    }
}

/// The entries and events of a chain that have no seal.
pub(super) async fn outside(pool: &PgPool, chain: Uuid) -> Result<Outside, sqlx::Error> {
    sqlx::query_as(
        "with unsealed as (
            select e.id, e.ordinal, e.at, h.entry_id is null
                   and ((e.xid, e.ordinal) <= (c.xid, c.ordinal) or e.ordinal <= c.restored_to) as passed
              from audit_cursor c, audit_entry e left join audit_held h on h.entry_id = e.id
             where e.chain = $1 and not exists (select from audit_seal s where s.entry_id = e.id and s.chain = e.chain)
         ), events as (
            select l.head - h.event_seq as count,
                   (select at from event where project_id = $1 and seq = h.event_seq + 1) as since
              from project_log l join audit_head h on h.chain = l.project_id where l.project_id = $1
         )
         select count(*) filter (where not passed) + coalesce((select count from events), 0) as count,
                least(min(at) filter (where not passed), (select since from events)) as since,
                (select id from unsealed where passed order by ordinal limit 1) as passed
           from unsealed",
    )
    .bind(chain)
    .fetch_one(pool)
    .await
}

fn check(walk: &mut Walk, chain: Uuid, mut row: Row) -> Result<(), Bad> {
    let position = row.position;
    let Bytes { header, payload, salt } = row.bytes(chain);
    let Some(header) = header else {
        // A gap comes first: the position that is not there at all is the first bad one.
        let gap = u64::try_from(position).is_ok_and(|position| position > walk.expected());
        return Err(walk.bad(match row.event_seq {
            _ if gap => format!("expected position {}, found {position}", walk.expected()),
            Some(seq) => format!("its event {seq} is missing"),
            None => format!("its entry {} is missing", row.entry_id.unwrap_or_default()),
        }));
    };
    let (previous, hash) = (std::mem::take(&mut row.previous), std::mem::take(&mut row.hash));
    walk.check(Found { position, header, payload, salt, previous, hash }, |header| {
        row.different(header).map(|column| format!("the column `{column}` is not what was sealed"))
    })
}

/// What a check of a project's chain found.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Verdict {
    /// The chain is whole.
    ok: bool,
    /// Sealed entries that were found good, from the first on.
    entries: u64,
    /// Those of them whose payload was erased.
    erased: u64,
    /// Entries of the last moments that wait for the sealer.
    unsealed: u64,
    /// The hash of the last good entry, in hex.
    head: String,
    /// Where the chain is broken.
    first_bad: Option<BadView>,
}

/// Where a chain is broken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditFault)]
struct BadView {
    /// The first bad position.
    position: u64,
    /// What is wrong there.
    reason: String,
}

/// Check a project's chain from its first entry on. What is found is kept, and shown with the audit.
#[utoipa::path(post, path = "/projects/{project_id}/audit/verify", operation_id = "verify_audit", tag = "audit",
    params(("project_id" = Uuid, Path)),
    responses(
        (status = 200, description = "What was found; `ok` says whether the chain is whole", body = Verdict),
        (status = 403, description = "Agents do not check the record of what they did"),
        (status = 404, description = "No such project here"),
    ))]
pub(super) async fn verify_audit(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Json<Verdict>, ApiError> {
    scope.caller().user()?;
    let report = verify_chain(app.pool(), scope.project().0).await.map_err(Error::from)?;
    note(app.pool(), &report, app.clock().now()).await?;
    let first_bad = report.first_bad.map(|bad| BadView { position: bad.position, reason: bad.reason });
    Ok(Json(Verdict {
        ok: first_bad.is_none(),
        entries: report.entries,
        erased: report.erased,
        unsealed: report.unsealed,
        head: report.head,
        first_bad,
    }))
}
