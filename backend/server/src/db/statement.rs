//! The statement that writes units of work: one or many, in one round trip.
//!
//! It compares and sets every head (state row), uses up the idempotency keys, drops the units that lost, gives the events
//! of the others their dense numbers, and writes events, and audit entries of what is no event. Of a unit everything is
//! written or nothing, also where it moves several heads: they are all locked and compared before the first one is changed,
//! and only a unit whose heads are up to date uses up its key.

use super::{
    Along,
    claim::{Claimed, KEPT},
    events::Recorded,
    writes::Writes,
};
use sqlx::{PgConnection, Postgres, QueryBuilder, Row, types::Json};
use std::collections::BTreeSet;
use syndarix_domain::machine::Kind;
use uuid::Uuid;

/// What to do about a head that another transaction has locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    /// Wait for that transaction, and see then.
    Wait,
    /// Leave its unit out: others in the batch are not to wait for one.
    Skip,
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written once the transaction commits.
    Written,
    /// Another change came first.
    Conflict,
    /// Its idempotency key was used up before.
    Repeated,
    /// A head is locked by another transaction, or is not there. Only where locked heads are skipped.
    Busy,
}

/// Which parts of the units are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// State rows and idempotency keys.
    Heads,
    /// Events and audit entries, and a feature's own rows that go along. Serialises the commits of a project: nothing slow
    /// may come after it.
    Record,
    /// All of it.
    Both,
}

/// Writes a part of the units, and their events' numbers into them. Says what became of each.
pub(super) async fn write(
    conn: &mut PgConnection,
    units: &mut [&mut Writes],
    part: Part,
    locked: Locked,
) -> Result<Vec<Fate>, sqlx::Error> {
    let (heads, record) = (part != Part::Record, part != Part::Heads);
    let along = if record { units.iter_mut().find_map(|unit| unit.along.take()) } else { None };
    let mut before: Vec<String> = along.iter().map(|_| "along".to_owned()).collect();
    let mut sql = along.map_or_else(|| QueryBuilder::new("with "), Along::begin);
    let kinds = if heads { kinds(units) } else { BTreeSet::new() };
    for kind in &kinds {
        compare(&mut sql, *kind, units, locked);
    }
    if heads && units.iter().any(|unit| unit.claim.is_some()) {
        lost(&mut sql, "outrun", &kinds);
        claim(&mut sql, units);
    } else {
        lost(&mut sql, "lost", &kinds);
    }
    for kind in &kinds {
        set(&mut sql, *kind, units);
    }
    before.extend(kinds.iter().map(|kind| format!("set_{}", kind.name())));
    if record && units.iter().any(|unit| !unit.audit.is_empty()) {
        note(&mut sql, units);
        before.push("noted".to_owned());
    }
    let recorded = record && units.iter().any(|unit| !unit.events.is_empty());
    if recorded {
        number(&mut sql, units, &before);
    }
    sql.push(
        " select array (select unit from lost where not absent and not repeated) as outdated,
                 array (select unit from lost where absent) as busy,
                 array (select unit from lost where repeated) as repeated,",
    );
    sql.push(if recorded { " array (select seq from numbered order by nth)" } else { " '{}'::bigint[]" });
    sql.push(" as numbers");
    let row = sql.build().fetch_one(conn).await?;
    let mut fates = vec![Fate::Written; units.len()];
    for (lost, fate) in [("outdated", Fate::Conflict), ("busy", Fate::Busy), ("repeated", Fate::Repeated)] {
        for unit in row.try_get::<Vec<i32>, _>(lost)? {
            if let Some(of) = usize::try_from(unit).ok().and_then(|unit| fates.get_mut(unit)) {
                *of = fate;
            }
        }
    }
    let written = units.iter_mut().zip(&fates).filter(|(_, fate)| **fate == Fate::Written);
    let events = written.flat_map(|(unit, _)| &mut unit.events);
    for (event, seq) in events.zip(row.try_get::<Vec<i64>, _>("numbers")?) {
        event.seq = seq;
    }
    Ok(fates)
}

fn kinds(units: &[&mut Writes]) -> BTreeSet<Kind> {
    units.iter().flat_map(|unit| &unit.heads).map(|head| head.kind).collect()
}

/// Locks the rows of a kind, in one order for everybody, and finds the units that are not up to date.
fn compare(sql: &mut QueryBuilder<Postgres>, kind: Kind, units: &[&mut Writes], locked: Locked) {
    let heads: Vec<_> = units
        .iter()
        .enumerate()
        .flat_map(|(unit, writes)| writes.heads.iter().map(move |head| (unit, head)))
        .filter(|(_, head)| head.kind == kind)
        .collect();
    let name = kind.name();
    sql.push(format_args!("want_{name} as materialized (select * from unnest("));
    sql.push_bind(heads.iter().map(|(unit, _)| number_of(*unit)).collect::<Vec<_>>()).push(", ");
    sql.push_bind(heads.iter().map(|(_, head)| head.id).collect::<Vec<_>>()).push(", ");
    sql.push_bind(heads.iter().map(|(_, head)| head.project).collect::<Vec<_>>()).push(", ");
    sql.push_bind(heads.iter().map(|(_, head)| head.expected).collect::<Vec<_>>()).push(", ");
    sql.push_bind(heads.iter().map(|(_, head)| head.version).collect::<Vec<_>>()).push(", ");
    sql.push_bind(heads.iter().map(|(_, head)| head.revision).collect::<Vec<_>>()).push(", ");
    sql.push_bind(heads.iter().map(|(_, head)| head.phase).collect::<Vec<_>>()).push(", ");
    sql.push_bind(heads.iter().map(|(_, head)| Json(&*head.state)).collect::<Vec<_>>());
    sql.push(") as w (unit, id, project_id, expected, version, def_rev, phase, state)), ");
    let skip = if locked == Locked::Skip { " skip locked" } else { "" };
    sql.push(format_args!(
        "have_{name} as materialized (
            select id, project_id, version, def_rev from {name} where id = any ("
    ));
    sql.push_bind(heads.iter().map(|(_, head)| head.id).collect::<Vec<_>>());
    sql.push(format_args!(
        ") order by id for update{skip}),
         lost_{name} as (
            select w.unit, h.id is null as absent from want_{name} w left join have_{name} h on h.id = w.id
             where case when w.expected = 0 then h.id is not null
                        else h.id is null or h.version <> w.expected or h.def_rev <> w.def_rev
                             or h.project_id <> w.project_id end), "
    ));
}

/// The units whose heads are not up to date.
fn lost(sql: &mut QueryBuilder<Postgres>, name: &str, kinds: &BTreeSet<Kind>) {
    if kinds.is_empty() {
        sql.push(format_args!(
            "{name} as (select 0 as unit, false as absent, false as repeated where false)"
        ));
        return;
    }
    let each: Vec<String> = kinds.iter().map(|kind| format!("select * from lost_{}", kind.name())).collect();
    sql.push(format_args!(
        "{name} as materialized (
            select unit, bool_and(absent) as absent, false as repeated from ({}) l group by unit)",
        each.join(" union all ")
    ));
}

/// Uses up the keys of the units that were not outrun, in one order for everybody; a unit whose key was used up before is
/// lost as well. A twin that is not committed yet is waited for.
fn claim(sql: &mut QueryBuilder<Postgres>, units: &[&mut Writes]) {
    let claims: Vec<(usize, &Claimed)> = units
        .iter()
        .enumerate()
        .filter_map(|(unit, writes)| writes.claim.as_ref().map(|claimed| (unit, claimed)))
        .collect();
    sql.push(", asked as materialized (select * from unnest(");
    sql.push_bind(claims.iter().map(|(unit, _)| number_of(*unit)).collect::<Vec<_>>()).push(", ");
    sql.push_bind(claims.iter().map(|(_, of)| of.claim.id.0).collect::<Vec<_>>()).push(", ");
    sql.push_bind(claims.iter().map(|(_, of)| of.claim.request.as_slice()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(claims.iter().map(|(_, of)| Json(&of.result)).collect::<Vec<_>>());
    sql.push(format_args!(
        ") as a (unit, id, request_hash, result) where unit not in (select unit from outrun)),
         claimed as (
            insert into idempotency (id, request_hash, result, created_at)
            select id, request_hash, result, now() from asked order by id
            on conflict (id) do update
                set request_hash = excluded.request_hash, result = excluded.result, answer = null, created_at = now()
             where idempotency.created_at < now() - interval '{KEPT}' returning id),
         lost as materialized (
            select * from outrun
            union all select unit, false, true from asked where id not in (select id from claimed))"
    ));
}

/// Changes the rows of the units that are up to date, and adds new ones.
fn set(sql: &mut QueryBuilder<Postgres>, kind: Kind, units: &[&mut Writes]) {
    let name = kind.name();
    let any = |new: bool| {
        let mut heads = units.iter().flat_map(|unit| &unit.heads);
        heads.any(|head| head.kind == kind && (head.expected == 0) == new)
    };
    let mut set = Vec::new();
    if any(false) {
        set.push(format!("select * from moved_{name}"));
        sql.push(format_args!(
            ", moved_{name} as (
                update {name} h set version = w.version, phase = w.phase, state = w.state, updated_at = now()
                  from want_{name} w
                 where h.id = w.id and w.expected > 0 and w.unit not in (select unit from lost) returning 1)"
        ));
    }
    if any(true) {
        set.push(format!("select * from made_{name}"));
        sql.push(format_args!(
            ", made_{name} as (
                insert into {name} (id, project_id, version, def_rev, phase, state, updated_at)
                select w.id, w.project_id, w.version, w.def_rev, w.phase, w.state, now() from want_{name} w
                 where w.expected = 0 and w.unit not in (select unit from lost) returning 1)"
        ));
    }
    sql.push(format_args!(", set_{name} as ({})", set.join(" union all ")));
}

/// Numbers the events of each project without a gap, and writes them. An event of a project without a log has no number,
/// which the table refuses.
///
/// The logs are locked after everything in `before` is written, which their condition asks for: who holds them keeps all
/// others of the project waiting until its commit is on the disk.
fn number(sql: &mut QueryBuilder<Postgres>, units: &[&mut Writes], before: &[String]) {
    let events: Vec<(usize, Option<Uuid>, &Recorded)> = units
        .iter()
        .enumerate()
        .flat_map(|(unit, writes)| writes.events.iter().map(move |event| (unit, writes.command, event)))
        .collect();
    sql.push(", happened as materialized (select * from unnest(");
    sql.push_bind(events.iter().map(|(unit, ..)| number_of(*unit)).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(_, command, _)| *command).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.project_id).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.id).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.kind.as_str()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.stream_id).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.version).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.event_type.as_str()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.data.to_string()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.actor).collect::<Vec<_>>()).push(", ");
    sql.push_bind(events.iter().map(|(.., event)| event.at).collect::<Vec<_>>());
    sql.push(
        ") with ordinality as e (unit, command_id, project_id, id, kind, stream_id, version, type, data, actor, at, nth)
           where unit not in (select unit from lost)),
         logs as materialized (
            select project_id from project_log where project_id in (select project_id from happened)",
    );
    for part in before {
        sql.push(format_args!(" and (select count(*) from {part}) >= 0"));
    }
    sql.push(
        " order by project_id for update),
         grown as (
            update project_log l set head = l.head + c.events
              from (select h.project_id, count(*) as events from happened h join logs using (project_id) group by 1) c
             where l.project_id = c.project_id returning l.project_id, l.head - c.events as base),
         numbered as materialized (
            select h.*, g.base + row_number() over (partition by h.project_id order by h.nth) as seq
              from happened h left join grown g using (project_id)),
         put as (
            insert into event (project_id, seq, id, kind, stream_id, version, type, data, actor, command_id, at)
            select project_id, seq, id, kind, stream_id, version, type, data::json, actor, command_id, at from numbered)",
    );
}

/// Writes the audit entries, in order.
fn note(sql: &mut QueryBuilder<Postgres>, units: &[&mut Writes]) {
    let rows: Vec<_> = units
        .iter()
        .enumerate()
        .flat_map(|(unit, writes)| writes.audit.iter().map(move |row| (unit, row)))
        .collect();
    sql.push(
        ", noted as (
            insert into audit_entry (id, chain, at, type, category, severity, actor_type, actor_id, action, header, payload, salt)
            select id, chain, at, type, category, severity, actor_type, actor_id, action, header, payload, salt from unnest(",
    );
    sql.push_bind(rows.iter().map(|(unit, _)| number_of(*unit)).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.id).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.chain).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.at).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.event_type.as_str()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.category.as_str()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.severity.name()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.actor.kind()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.actor.id()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.action.as_str()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.header.as_slice()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.payload.as_slice()).collect::<Vec<_>>()).push(", ");
    sql.push_bind(rows.iter().map(|(_, row)| row.salt.as_slice()).collect::<Vec<_>>());
    sql.push(
        ") with ordinality as a (unit, id, chain, at, type, category, severity, actor_type, actor_id, action, header, payload, salt, nth)
           where unit not in (select unit from lost) order by nth returning 1)",
    );
}

/// A unit's place in the batch, as PostgreSQL gets it: a batch is small.
fn number_of(unit: usize) -> i32 {
    i32::try_from(unit).unwrap_or(i32::MAX)
}
