//! Verification of the chains in the database, and `POST /projects/{project_id}/audit/verify`.

use super::check::{Bad, ChainReport, Found, Header, Mark, Walk};
use crate::{
    db::{Error, audit::Place},
    http::{ApiError, ProjectScope, View},
    state::App,
};
use axum::{Json, extract::State};
use serde::Serialize;
use sqlx::{FromRow, PgPool, types::Json as Column};
use syndarix_domain::{Timestamp, actor::Actor};
use utoipa::ToSchema;
use uuid::Uuid;

/// Entries that one read brings: no statement runs long, whatever the length of the chain.
const PAGE: i64 = 2_000;

/// A seal with the entry or the event that it is of, as far as that is there.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    pub(super) position: i64,
    entry_id: Uuid,
    entry_xid: Option<String>,
    entry_ordinal: Option<i64>,
    event_seq: Option<i64>,
    event_header: Option<Vec<u8>>,
    event_salt: Option<Vec<u8>>,
    pub(super) previous: Vec<u8>,
    pub(super) hash: Vec<u8>,
    #[sqlx(flatten)]
    entry: Columns,
    #[sqlx(flatten)]
    event: EventColumns,
}

/// The entry's columns; all of them null when there is none.
#[derive(Debug, FromRow)]
struct Columns {
    id: Option<Uuid>,
    chain: Option<Uuid>,
    xid: Option<String>,
    ordinal: Option<i64>,
    at: Option<Timestamp>,
    #[sqlx(rename = "type")]
    event_type: Option<String>,
    category: Option<String>,
    severity: Option<String>,
    actor_type: Option<String>,
    actor_id: Option<Uuid>,
    action: Option<String>,
    header: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    salt: Option<Vec<u8>>,
}

/// The event's columns; all of them null when there is none.
#[derive(Debug, FromRow)]
struct EventColumns {
    #[sqlx(rename = "event_id")]
    id: Option<Uuid>,
    #[sqlx(rename = "event_kind")]
    kind: Option<String>,
    #[sqlx(rename = "event_stream")]
    stream: Option<Uuid>,
    #[sqlx(rename = "event_version")]
    version: Option<i64>,
    #[sqlx(rename = "event_type")]
    event_type: Option<String>,
    #[sqlx(rename = "event_data")]
    data: Option<String>,
    #[sqlx(rename = "event_actor")]
    actor: Option<Column<Actor>>,
    #[sqlx(rename = "event_at")]
    at: Option<Timestamp>,
}

/// The stored bytes of what was sealed.
pub(super) struct Bytes {
    pub(super) header: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) salt: Option<Vec<u8>>,
}

impl Row {
    /// What was hashed, as it is stored now. There is no header where the entry or the event is gone.
    pub(super) fn bytes(&mut self) -> Bytes {
        if self.event_seq.is_none() {
            let Columns { header, payload, salt, .. } = &mut self.entry;
            return Bytes { header: header.take(), payload: payload.take(), salt: salt.take() };
        }
        let salt = self.event_salt.take();
        // An erased event has neither data nor salt; one that never had data keeps its salt.
        let data = self.event.data.take().filter(|data| salt.is_some() || data != "null");
        let header = self.event_header.take().filter(|_| self.event.id.is_some());
        Bytes { header, payload: data.map(String::into_bytes), salt }
    }

    /// The first column that does not say what the header says.
    fn different(&self, header: &Header) -> Option<&'static str> {
        match &header.event {
            None => self.different_entry(header),
            Some(place) => self.different_event(header, place),
        }
    }

    fn different_entry(&self, header: &Header) -> Option<&'static str> {
        let entry = &self.entry;
        let text = |column: &Option<String>, sealed: &str| column.as_deref() == Some(sealed);
        first_different(&[
            (
                "xid, ordinal",
                entry.xid.is_some() && (&entry.xid, entry.ordinal) == (&self.entry_xid, self.entry_ordinal),
            ),
            ("id", entry.id == Some(header.id)),
            ("chain", entry.chain == Some(header.chain)),
            ("at", entry.at == Some(header.time)),
            ("type", text(&entry.event_type, &header.event_type)),
            ("category", text(&entry.category, &header.category)),
            ("severity", text(&entry.severity, &header.severity)),
            ("actor_type", text(&entry.actor_type, &header.actor_type)),
            ("actor_id", entry.actor_id == header.actor_id),
            ("action", text(&entry.action, &header.action)),
        ])
    }

    fn different_event(&self, header: &Header, place: &Place) -> Option<&'static str> {
        let event = &self.event;
        let actor = event.actor.as_ref();
        first_different(&[
            ("entry_id", self.entry_id == header.id),
            ("event_seq", self.event_seq == Some(place.seq)),
            ("xid, ordinal", self.entry_xid.is_none() && self.entry_ordinal.is_none()),
            ("id", event.id == Some(header.id)),
            ("at", event.at == Some(header.time)),
            ("kind", event.kind.as_deref() == Some(&*header.category)),
            ("stream_id", event.stream == Some(place.stream)),
            ("version", event.version == Some(place.version)),
            ("type", event.event_type.as_deref() == Some(&*place.r#type)),
            (
                "actor",
                actor.is_some_and(|actor| {
                    (actor.kind(), actor.id()) == (&*header.actor_type, header.actor_id)
                }),
            ),
        ])
    }
}

fn first_different(columns: &[(&'static str, bool)]) -> Option<&'static str> {
    columns.iter().find_map(|(column, same)| (!same).then_some(*column))
}

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
                "select chain from audit_seal union select chain from audit_entry union select chain from audit_head
                 union select chain from audit_verification union select project_id from project_log where head > 0
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
            if let Err(bad) = check(&mut walk, row) {
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

/// The next seals of a chain with what they are of.
pub(super) async fn page(pool: &PgPool, chain: Uuid, after: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(
        "select s.position, s.entry_id, s.entry_xid::text as entry_xid, s.entry_ordinal, s.event_seq,
                s.header as event_header, s.salt as event_salt, s.previous, s.hash,
                e.id, e.chain, e.xid::text as xid, e.ordinal, e.at, e.type, e.category, e.severity, e.actor_type,
                e.actor_id, e.action, e.header, e.payload, e.salt,
                v.id as event_id, v.kind as event_kind, v.stream_id as event_stream, v.version as event_version,
                v.type as event_type, v.data::text as event_data, v.actor as event_actor, v.at as event_at
           from audit_seal s
           left join audit_entry e on s.event_seq is null and e.id = s.entry_id
           left join event v on v.project_id = s.chain and v.seq = s.event_seq
          where s.chain = $1 and s.position > $2 order by s.position limit $3",
    )
    .bind(chain)
    .bind(after)
    .bind(PAGE)
    .fetch_all(pool)
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

fn check(walk: &mut Walk, mut row: Row) -> Result<(), Bad> {
    let Bytes { header, payload, salt } = row.bytes();
    let position = row.position;
    let Some(header) = header else {
        // A gap comes first: the position that is not there at all is the first bad one.
        let gap = u64::try_from(position).is_ok_and(|position| position > walk.expected());
        return Err(walk.bad(match row.event_seq {
            _ if gap => format!("expected position {}, found {position}", walk.expected()),
            Some(seq) => format!("its event {seq} is missing"),
            None => format!("its entry {} is missing", row.entry_id),
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
