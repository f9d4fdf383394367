//! Reading a project's audit backwards: its entries and its events, two rows of numbers, merged by time.

use super::list::{EntryView, Filter};
use crate::{
    db::{Error, audit::EventEntry},
    features::workflow::AuthorView,
    http::ApiError,
};
use chrono::{DateTime, Utc};
use sqlx::{FromRow, PgPool, postgres::PgRow};
use std::fmt;
use syndarix_domain::{
    actor::Actor,
    ids::{AgentId, ProjectId, UserId},
};
use uuid::Uuid;

/// A part of the list.
pub(super) struct Page {
    /// Newest first.
    pub(super) items: Vec<EntryView>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<Cursor>,
}

/// What was listed: everything from these numbers on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    entry: i64,
    event: i64,
}

impl Cursor {
    const NEWEST: Self = Self { entry: i64::MAX, event: i64::MAX };

    fn parse(text: Option<&str>) -> Result<Self, ApiError> {
        let Some(text) = text else { return Ok(Self::NEWEST) };
        let read = || {
            let (entry, event) = text.split_once('.')?;
            Some(Self { entry: entry.parse().ok()?, event: event.parse().ok()? })
        };
        read().ok_or_else(|| ApiError::invalid("cursor", "is not one that this API gave"))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.entry, self.event)
    }
}

/// What the filter leaves, newest first.
pub(super) async fn page(
    pool: &PgPool,
    project: ProjectId,
    filter: &Filter,
    limit: i64,
) -> Result<Page, ApiError> {
    let mut cursor = Cursor::parse(filter.cursor.as_deref())?;
    // Each of them may have to fill the page alone, and one more says whether there is a next one.
    let entries: Vec<EntryRow> = read(pool, ENTRIES, (project, cursor.entry), filter, limit + 1).await?;
    let events: Vec<EventRow> = read(pool, EVENTS, (project, cursor.event), filter, limit + 1).await?;
    let (mut entries, mut events) = (entries.into_iter().peekable(), events.into_iter().peekable());
    let mut items = Vec::new();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    while items.len() < limit {
        // Within a project both are in the order of their numbers, whatever the clocks of processes said.
        let later = match (entries.peek(), events.peek()) {
            (None, None) => break,
            (Some(entry), Some(event)) => (entry.at, entry.id) > (event.event.at, event.event.id),
            (entry, _) => entry.is_some(),
        };
        if later {
            items.extend(entries.next().map(|row| {
                cursor.entry = row.ordinal;
                row.view()
            }));
        } else {
            items.extend(events.next().map(|row| {
                cursor.event = row.event.seq;
                row.view()
            }));
        }
    }
    let more = entries.peek().is_some() || events.peek().is_some();
    Ok(Page { items, next: more.then_some(cursor) })
}

/// The seal, and the name of whoever did it.
#[derive(FromRow)]
struct Around {
    actor_name: Option<String>,
    position: Option<i64>,
    hash: Option<Vec<u8>>,
    previous: Option<Vec<u8>>,
}

#[derive(FromRow)]
struct EntryRow {
    id: Uuid,
    ordinal: i64,
    at: DateTime<Utc>,
    #[sqlx(rename = "type")]
    event_type: String,
    category: String,
    severity: String,
    actor_type: String,
    actor_id: Option<Uuid>,
    action: String,
    payload: Option<Vec<u8>>,
    #[sqlx(flatten)]
    around: Around,
}

impl EntryRow {
    fn view(self) -> EntryView {
        let actor = match (self.actor_type.as_str(), self.actor_id) {
            ("agent", Some(id)) => Actor::Agent(AgentId(id)),
            ("user", Some(id)) => Actor::User(UserId(id)),
            _ => Actor::System,
        };
        let around = self.around;
        EntryView {
            id: self.id,
            position: around.position,
            time: self.at,
            event_type: self.event_type,
            category: self.category,
            severity: self.severity,
            actor: AuthorView::of(actor, around.actor_name.as_deref()),
            action: self.action,
            erased: self.payload.is_none(),
            // One that does not read was changed: the check of the chain says so, a list shows what there is.
            data: self.payload.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default(),
            hash: around.hash.map(hex::encode),
            previous_hash: around.previous.map(hex::encode),
        }
    }
}

#[derive(FromRow)]
struct EventRow {
    #[sqlx(flatten)]
    event: EventEntry,
    erased: bool,
    #[sqlx(flatten)]
    around: Around,
}

impl EventRow {
    fn view(self) -> EntryView {
        let Self { event, around, erased } = self;
        EntryView {
            id: event.id,
            position: around.position,
            time: event.at,
            event_type: event.entry_type().to_owned(),
            category: event.kind.clone(),
            severity: event.severity().name().to_owned(),
            actor: AuthorView::of(*event.actor, around.actor_name.as_deref()),
            action: event.action(),
            erased,
            data: serde_json::from_str(&event.data).unwrap_or_default(),
            hash: around.hash.map(hex::encode),
            previous_hash: around.previous.map(hex::encode),
        }
    }
}

const ENTRIES: &str = "select e.id, e.ordinal, e.at, e.type, e.category, e.severity, e.actor_type, e.actor_id, e.action, e.payload,
         s.position, s.hash, s.previous, coalesce(u.name, a.name) as actor_name
    from audit_entry e
    left join audit_seal s on s.entry_id = e.id
    left join app_user u on e.actor_type = 'user' and u.id = e.actor_id
    left join agent a on e.actor_type = 'agent' and a.id = e.actor_id and a.project_id = e.chain
   where e.chain = $1 and e.ordinal < $2
     and ($3::text is null or e.type = $3 or starts_with(e.type, $3 || '.'))
     and ($4::text is null or e.actor_type = $4 or e.actor_id::text = $4
          or strpos(lower(coalesce(u.name, a.name)), lower($4)) > 0)
     and ($5::text is null or strpos(lower(e.action), lower($5)) > 0
          or position(convert_to($5, 'UTF8') in e.payload) > 0)
   order by e.ordinal desc limit $6";

/// The same of events, by the type and the action that [`EventEntry`] gives them. Releases before blocks gave each of
/// them a seal.
const EVENTS: &str = "select e.project_id, e.seq, e.id, e.kind, e.stream_id, e.version, e.type, e.data::text as data, e.actor, e.at,
         coalesce(b.salt = decode(repeat('00', 32), 'hex'), s.entry_id is not null and s.salt is null) as erased,
         coalesce(b.position, s.position) as position, coalesce(b.hash, s.hash) as hash, coalesce(b.previous, s.previous) as previous,
         coalesce(u.name, a.name) as actor_name
    from (select *, regexp_replace(type, '\\.v[0-9]+$', '') as unversioned, actor ->> 'type' as actor_type,
                 (actor ->> 'id')::uuid as actor_id from event) e
    left join audit_seal s on s.entry_id = e.id
    left join lateral (
        select position - event_seq + e.seq as position, substr(hashes, o, 32) as hash, substr(salts, o, 32) as salt,
               case when o = 1 then previous else substr(hashes, o - 32, 32) end as previous
          from (select *, ((events - event_seq + e.seq - 1) * 32 + 1)::integer as o from audit_block
                 where chain = e.project_id and event_seq >= e.seq order by event_seq limit 1) found
         where o > 0
    ) b on true
    left join app_user u on e.actor_type = 'user' and u.id = e.actor_id
    left join agent a on e.actor_type = 'agent' and a.id = e.actor_id and a.project_id = e.project_id
   where e.project_id = $1 and e.seq < $2
     and ($3::text is null or e.unversioned = $3 or starts_with(e.unversioned, $3 || '.'))
     and ($4::text is null or e.actor_type = $4 or e.actor_id::text = $4
          or strpos(lower(coalesce(u.name, a.name)), lower($4)) > 0)
     and ($5::text is null or strpos(translate(e.unversioned, '._', '  ') || ' ' || e.stream_id, lower($5)) > 0
          or strpos(e.data::text, $5) > 0)
   order by e.seq desc limit $6";

/// Rows of the project below a number that the filter leaves, newest first.
async fn read<R>(
    pool: &PgPool,
    sql: &'static str,
    (project, before): (ProjectId, i64),
    filter: &Filter,
    limit: i64,
) -> Result<Vec<R>, Error>
where
    R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
{
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let rows = sqlx::query_as(sql)
        .bind(project.0)
        .bind(before)
        .bind(given(&filter.event_type))
        .bind(given(&filter.actor))
        .bind(given(&filter.q))
        .bind(limit)
        .fetch_all(pool)
        .await?;
    Ok(rows)
}
