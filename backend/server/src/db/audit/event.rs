//! An event as the audit entry that it is. Nothing is written beside it: its header is made when it is linked, and when
//! it is checked.

use super::{Header, Severity, VERSION_OF_EVENTS, json};
use crate::db::events::unversioned;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, types::Json};
use syndarix_domain::{
    Timestamp,
    actor::Actor,
    audit::{Hash, commitment},
};
use uuid::Uuid;

/// A stored event, as the audit reads it.
#[derive(Debug, FromRow)]
pub struct EventEntry {
    /// The project, which is the chain.
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
    /// The stored text.
    pub data: String,
    /// Who caused it.
    pub actor: Json<Actor>,
    /// When.
    pub at: Timestamp,
}

/// Where an event stands: the part of a header that only events have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Its number in the project's log.
    pub seq: i64,
    /// The stream.
    pub stream: Uuid,
    /// Its number in the stream.
    pub version: i64,
    /// The type, with its version.
    pub r#type: String,
}

impl EventEntry {
    /// The type without its version, as entries show it.
    pub fn entry_type(&self) -> &str {
        unversioned(&self.event_type)
    }

    /// In plain words.
    pub fn action(&self) -> String {
        format!("{} {}", self.entry_type().replace(['.', '_'], " "), self.stream_id)
    }

    /// How much attention it deserves.
    pub fn severity(&self) -> Severity {
        match self.entry_type() {
            "run.failed"
            | "run.stalled"
            | "story.blocked"
            | "approval.expired"
            | "story.deadline_passed"
            | "cost.alert" => Severity::Warning,
            "approval.decided" | "pr.merged" | "cost.budget_changed" => Severity::Critical,
            _ => Severity::Info,
        }
    }

    /// Where it stands.
    pub fn place(&self) -> Place {
        let (seq, stream, version) = (self.seq, self.stream_id, self.version);
        Place { seq, stream, version, r#type: self.event_type.clone() }
    }

    /// What the header says of the stored text.
    pub fn commitment(&self, salt: &[u8]) -> Hash {
        commitment(salt, self.data.as_bytes())
    }

    /// The bytes that are hashed. They are stored nowhere, and made again for each check: what is written here is what
    /// the columns say and nothing that a later release might say in other words.
    pub fn header(&self, commitment: &[u8]) -> Result<Vec<u8>, sqlx::Error> {
        json(&Header {
            v: VERSION_OF_EVENTS,
            id: self.id,
            chain: self.project_id,
            time: self.at,
            r#type: self.entry_type(),
            category: &self.kind,
            severity: None,
            actor_type: self.actor.kind(),
            actor_id: self.actor.id(),
            action: None,
            event: Some(self.place()),
            payload: hex::encode(commitment),
        })
    }
}
