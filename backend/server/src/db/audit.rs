//! Audit entries: written in the business transaction, sealed into the chain later. An event is an entry by itself;
//! what is no event (logins, permissions, settings) is written as one.

mod event;

pub use event::{EventEntry, Place};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use syndarix_domain::{Timestamp, actor::Actor, audit::commitment, ids::ProjectId};
use uuid::Uuid;

/// The chain of what belongs to no project: logins, organisations, configuration.
pub const INSTANCE: Uuid = Uuid::nil();

/// The versions of headers: of entries that were written as such, and of events. Releases before blocks sealed events
/// with headers of version 2, which they stored.
const VERSION_OF_ENTRIES: u8 = 1;
const VERSION_OF_EVENTS: u8 = 3;

/// Of larger payloads their size and their SHA-256 are kept: the rows that they were made of hold the whole, and can be
/// compared.
const MAX_PAYLOAD: usize = 48 * 1024;

/// What is going to be written.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// The project, or none for the instance's own chain.
    pub project: Option<ProjectId>,
    /// `agent.action.completed`.
    pub event_type: String,
    /// The feature it comes from.
    pub category: String,
    /// How much attention it deserves.
    pub severity: Severity,
    /// Who.
    pub actor: Actor,
    /// In plain words.
    pub action: String,
    /// Details; never a secret.
    pub data: Value,
    /// When.
    pub at: Timestamp,
}

/// How much attention an entry deserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The ordinary course of things.
    Info,
    /// Somebody should look.
    Warning,
    /// Permissions, secrets, money.
    Critical,
}

impl Severity {
    /// As it is stored.
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// The hashed part of an entry. Field order is the stored order; the bytes are never made again.
#[derive(Serialize)]
struct Header<'a> {
    v: u8,
    id: Uuid,
    chain: Uuid,
    time: Timestamp,
    r#type: &'a str,
    category: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'a str>,
    actor_type: &'a str,
    actor_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<Place>,
    payload: String,
}

/// An entry as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: Uuid,
    pub(super) chain: Uuid,
    pub(super) at: Timestamp,
    pub(super) event_type: String,
    pub(super) category: String,
    pub(super) severity: Severity,
    pub(super) actor: Actor,
    pub(super) action: String,
    pub(super) header: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) salt: [u8; 32],
}

impl Row {
    pub(super) fn of(entry: Entry) -> Result<Self, sqlx::Error> {
        let payload = payload(&entry.data)?;
        let Entry { id, project, event_type, category, severity, actor, action, at, .. } = entry;
        let salt: [u8; 32] = rand::random();
        let chain = project.map_or(INSTANCE, |project| project.0);
        let header = Header {
            v: VERSION_OF_ENTRIES,
            id,
            chain,
            time: at,
            r#type: &event_type,
            category: &category,
            severity: Some(severity.name()),
            actor_type: actor.kind(),
            actor_id: actor.id(),
            action: Some(&action),
            event: None,
            payload: hex::encode(commitment(&salt, &payload)),
        };
        let header = json(&header)?;
        Ok(Self { id, chain, at, event_type, category, severity, actor, action, header, payload, salt })
    }
}

fn payload(data: &impl Serialize) -> Result<Vec<u8>, sqlx::Error> {
    let payload = json(data)?;
    if payload.len() <= MAX_PAYLOAD {
        return Ok(payload);
    }
    let digest = hex::encode(Sha256::digest(&payload));
    Ok(format!("{{\"omitted_bytes\":{},\"sha256\":\"{digest}\"}}", payload.len()).into_bytes())
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, sqlx::Error> {
    serde_json::to_vec(value).map_err(|error| sqlx::Error::Encode(error.into()))
}
