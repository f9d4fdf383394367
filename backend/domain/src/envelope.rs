//! The one envelope that events travel in: CloudEvents names, plus the project and its dense sequence.

use crate::{Timestamp, ids::ProjectId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// An event as clients see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Unique over all events.
    pub id: Uuid,
    /// Without its version: `story.moved`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When it was committed, by the application's clock.
    pub time: Timestamp,
    /// Whose event it is.
    pub project_id: ProjectId,
    /// Who caused it; the system has no id.
    pub actor_id: Option<Uuid>,
    /// `agent`, `user` or `system`.
    pub actor_type: String,
    /// What it happened to: `story/0198...`.
    pub subject: String,
    /// 1, 2, 3 ... without a gap within the project.
    pub seq: i64,
    /// The payload, in its newest version.
    pub data: Value,
}
