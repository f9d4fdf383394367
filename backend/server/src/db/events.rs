//! Events as stored, and the one place where old versions are brought up to date.

use serde::Serialize;
use serde_json::Value;
use sqlx::{FromRow, types::Json};
use syndarix_domain::{Timestamp, actor::Actor, envelope::Envelope, ids::ProjectId, machine::Machine};
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
        self.clone().into_envelope()
    }

    /// The same, of an event that is needed no more.
    pub fn into_envelope(self) -> Envelope {
        let (mut kind, data) = upcast(&self.event_type, self.data);
        kind.truncate(unversioned(&kind).len());
        Envelope {
            id: self.id,
            kind,
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

/// The type of an event without its version.
pub(super) fn unversioned(event_type: &str) -> &str {
    event_type.rsplit_once(".v").map_or(event_type, |(name, _)| name)
}
