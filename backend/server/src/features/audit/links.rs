//! The links of a chain as they are stored, each with the entry or the event that it is of.

use super::check::Header;
use crate::db::audit::{EventEntry, Place};
use sqlx::{FromRow, PgPool, types::Json};
use syndarix_domain::{Timestamp, actor::Actor};
use uuid::Uuid;

/// Entries that one read brings: no statement runs long, whatever the length of the chain.
const PAGE: i64 = 2_000;

/// A link of a chain with the entry or the event that it is of, as far as that is there.
#[derive(Debug, FromRow)]
pub(super) struct Row {
    pub(super) position: i64,
    /// None of a link in a block.
    pub(super) entry_id: Option<Uuid>,
    entry_xid: Option<String>,
    entry_ordinal: Option<i64>,
    pub(super) event_seq: Option<i64>,
    /// Of a seal that a release before blocks wrote.
    event_header: Option<Vec<u8>>,
    /// Of a link in a block: it has no header, which is made again of the event.
    event_commitment: Option<Vec<u8>>,
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
    actor: Option<Json<Actor>>,
    #[sqlx(rename = "event_at")]
    at: Option<Timestamp>,
}

impl EventColumns {
    /// The event, if there is one.
    fn take(&mut self, project_id: Uuid, seq: i64) -> Option<EventEntry> {
        Some(EventEntry {
            project_id,
            seq,
            id: self.id.take()?,
            kind: self.kind.take()?,
            stream_id: self.stream.take()?,
            version: self.version.take()?,
            event_type: self.event_type.take()?,
            data: self.data.take()?,
            actor: self.actor.take()?,
            at: self.at.take()?,
        })
    }
}

/// The stored bytes of what was sealed.
pub(super) struct Bytes {
    pub(super) header: Option<Vec<u8>>,
    pub(super) payload: Option<Vec<u8>>,
    pub(super) salt: Option<Vec<u8>>,
}

impl Row {
    /// What was hashed, as it is stored now. There is no header where the entry or the event is gone.
    pub(super) fn bytes(&mut self, chain: Uuid) -> Bytes {
        let Some(seq) = self.event_seq else {
            let Columns { header, payload, salt, .. } = &mut self.entry;
            return Bytes { header: header.take(), payload: payload.take(), salt: salt.take() };
        };
        let salt = self.event_salt.take();
        let (header, data) = if let Some(commitment) = &self.event_commitment {
            let event = self.event.take(chain, seq);
            let header = event.as_ref().and_then(|event| event.header(commitment).ok());
            (header, event.map(|event| event.data))
        } else {
            (self.event_header.take().filter(|_| self.event.id.is_some()), self.event.data.take())
        };
        // An erased event has neither data nor salt; one that never had data keeps its salt.
        let data = data.filter(|data| salt.is_some() || data != "null");
        Bytes { header, payload: data.map(String::into_bytes), salt }
    }

    /// The first column that does not say what the header says.
    pub(super) fn different(&self, header: &Header) -> Option<&'static str> {
        match &header.event {
            // The header was made of the columns.
            _ if self.event_commitment.is_some() => None,
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
            ("severity", entry.severity.is_some() && entry.severity == header.severity),
            ("actor_type", text(&entry.actor_type, &header.actor_type)),
            ("actor_id", entry.actor_id == header.actor_id),
            ("action", entry.action.is_some() && entry.action == header.action),
        ])
    }

    fn different_event(&self, header: &Header, place: &Place) -> Option<&'static str> {
        let event = &self.event;
        let actor = event.actor.as_ref();
        first_different(&[
            ("entry_id", self.entry_id == Some(header.id)),
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

/// The next links of a chain with what they are of.
pub(super) async fn page(pool: &PgPool, chain: Uuid, after: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as(LINKS).bind(chain).bind(after).bind(PAGE).fetch_all(pool).await
}

/// Seals and blocks are each read for a whole page, so that none between the first and the last of it is left out; of
/// blocks only the links that the page has room for.
const LINKS: &str =
    "select s.position, s.entry_id, s.entry_xid::text as entry_xid, s.entry_ordinal, s.event_seq,
        s.header as event_header, s.commitment as event_commitment, s.event_salt, s.previous, s.hash,
        e.id, e.chain, e.xid::text as xid, e.ordinal, e.at, e.type, e.category, e.severity, e.actor_type,
        e.actor_id, e.action, e.header, e.payload, e.salt,
        v.id as event_id, v.kind as event_kind, v.stream_id as event_stream, v.version as event_version,
        v.type as event_type, v.data::text as event_data, v.actor as event_actor, v.at as event_at
   from ((
        select position, entry_id, entry_xid, entry_ordinal, event_seq, header, null::bytea as commitment,
               salt as event_salt, previous, hash
          from audit_seal where chain = $1 and position > $2 order by position limit $3
    ) union all (
        select p, null, null, null, b.event_seq - b.position + p, null, substr(b.commitments, o, 32),
               nullif(substr(b.salts, o, 32), decode(repeat('00', 32), 'hex')),
               case when o = 1 then b.previous else substr(b.hashes, o - 32, 32) end, substr(b.hashes, o, 32)
          from (select *, sum(position - skip) over (order by position) - (position - skip) as before
                  from (select *, greatest(position - events, $2) as skip
                          from audit_block where chain = $1 and position > $2 order by position limit $3) b) b
         cross join lateral generate_series(b.skip + 1, least(b.position, b.skip + $3)) p
         cross join lateral (select ((p - b.position + b.events - 1) * 32 + 1)::integer as o) o
         where b.before < $3
    )) s
   left join audit_entry e on s.event_seq is null and e.id = s.entry_id
   left join event v on v.project_id = $1 and v.seq = s.event_seq
  order by s.position limit $3";
