//! Events as stored, and the one place where old versions are brought up to date.

use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, PgConnection, types::Json};
use syndarix_domain::{
    Timestamp,
    actor::Actor,
    envelope::Envelope,
    ids::{CommandId, ProjectId},
    machine::Machine,
};
use uuid::Uuid;

use super::{Error, storable_json};

/// A stored event.
#[derive(Debug, Clone, FromRow)]
pub struct Recorded {
    /// Whose event it is.
    pub project_id: Uuid,
    /// Dense within the project.
    pub seq: i64,
    /// Unique over all events.
    pub id: Uuid,
    /// The kind of its stream.
    pub kind: String,
    /// The stream.
    pub stream_id: Uuid,
    /// Dense within the stream.
    pub version: i64,
    /// With its version: `story.moved.v1`.
    #[sqlx(rename = "type")]
    pub event_type: String,
    /// As it was written.
    pub data: Value,
    /// Who caused it.
    pub actor: Json<Actor>,
    /// When.
    pub at: Timestamp,
}

impl Recorded {
    /// The event as its machine reads it today.
    pub fn decode<M: Machine>(&self) -> Result<M::Event, Error> {
        let (event_type, data) = upcast(&self.event_type, self.data.clone());
        serde_json::from_value(serde_json::json!({ "type": event_type, "data": data }))
            .map_err(|source| Error::Corrupt { what: "event", source })
    }

    /// The event as clients see it.
    pub fn envelope(&self) -> Envelope {
        let (event_type, data) = upcast(&self.event_type, self.data.clone());
        Envelope {
            id: self.id,
            kind: unversioned(&event_type).to_owned(),
            time: self.at,
            project_id: ProjectId(self.project_id),
            actor_id: self.actor.id(),
            actor_type: self.actor.kind().to_owned(),
            subject: format!("{}/{}", self.kind, self.stream_id),
            seq: self.seq,
            data,
        }
    }
}

/// Brings a stored payload to the newest version of its type. Every event is in its first version today; the
/// first type that changes gets its step here, and its old golden file stays.
pub fn upcast(event_type: &str, data: Value) -> (String, Value) {
    (event_type.to_owned(), data)
}

/// Splits an event into its type and its payload.
pub fn stored_event<E: Serialize>(event: &E) -> Result<(String, Value), Error> {
    #[derive(serde::Deserialize)]
    struct Parts {
        #[serde(rename = "type")]
        event_type: String,
        #[serde(default)]
        data: Value,
    }
    serde_json::to_value(event)
        .and_then(serde_json::from_value::<Parts>)
        .map(|parts| (parts.event_type, storable_json(parts.data)))
        .map_err(|source| Error::Corrupt { what: "event", source })
}

fn unversioned(event_type: &str) -> &str {
    event_type.rsplit_once(".v").map_or(event_type, |(name, _)| name)
}

/// Gives the events their dense numbers. The last statement but one of a transaction: it serialises the
/// commits of a project, so nothing slow may come after it.
pub(super) async fn number(conn: &mut PgConnection, pending: &mut [Recorded]) -> Result<(), Error> {
    let Some(project) = pending.first().map(|event| event.project_id) else { return Ok(()) };
    if pending.iter().any(|event| event.project_id != project) {
        return Err(Error::TwoProjects);
    }
    let count = i64::try_from(pending.len()).unwrap_or(i64::MAX);
    let head: i64 =
        sqlx::query_scalar("update project_log set head = head + $2 where project_id = $1 returning head")
            .bind(project)
            .bind(count)
            .fetch_one(conn)
            .await?;
    for (event, seq) in pending.iter_mut().zip(head - count + 1..) {
        event.seq = seq;
    }
    Ok(())
}

/// Writes the events.
pub(super) async fn insert(
    conn: &mut PgConnection,
    events: &[Recorded],
    command: Option<CommandId>,
) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into event (project_id, seq, id, kind, stream_id, version, type, data, actor, command_id, at)
         select e.project_id, e.seq, e.id, e.kind, e.stream_id, e.version, e.type, e.data, e.actor, $11, e.at
         from unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::text[], $5::uuid[], $6::bigint[], $7::text[],
                     $8::jsonb[], $9::jsonb[], $10::timestamptz[])
              as e(project_id, seq, id, kind, stream_id, version, type, data, actor, at)",
    )
    .bind(column(events, |event| event.project_id))
    .bind(column(events, |event| event.seq))
    .bind(column(events, |event| event.id))
    .bind(column(events, |event| event.kind.clone()))
    .bind(column(events, |event| event.stream_id))
    .bind(column(events, |event| event.version))
    .bind(column(events, |event| event.event_type.clone()))
    .bind(column(events, |event| event.data.clone()))
    .bind(column(events, |event| event.actor))
    .bind(column(events, |event| event.at))
    .bind(command.map(|command| command.0))
    .execute(conn)
    .await?;
    Ok(())
}

fn column<T>(events: &[Recorded], field: impl Fn(&Recorded) -> T) -> Vec<T> {
    events.iter().map(field).collect()
}
