//! Messages between agents: persisted first, ordered within their conversation.

use crate::db::{Error, Uow};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{PgPool, types::Json};
use syndarix_domain::{
    actor::Actor,
    ids::{AgentId, ProjectId, StoryId},
    stage::Role,
};
use uuid::Uuid;

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Routing {
    /// One agent.
    Direct(AgentId),
    /// Whoever has this role.
    Role(String),
    /// Whoever follows this topic.
    Topic(String),
    /// Everybody in the project.
    Broadcast,
}

impl Routing {
    /// As stored: routing, recipient, topic.
    fn columns(&self) -> (&'static str, Option<Uuid>, Option<&str>) {
        match self {
            Self::Direct(agent) => ("direct", Some(agent.0), None),
            Self::Role(role) => ("role", None, Some(role)),
            Self::Topic(topic) => ("topic", None, Some(topic)),
            Self::Broadcast => ("broadcast", None, None),
        }
    }
}

/// A message that is going to be sent.
#[derive(Debug, Clone)]
pub(super) struct NewMessage {
    /// Order is kept within it.
    pub(super) conversation: Uuid,
    /// The message that this one answers.
    pub(super) correlation: Option<Uuid>,
    /// request, response, broadcast, notification.
    pub(super) kind: String,
    /// Whom it is for.
    pub(super) routing: Routing,
    /// What the recipient should do, in a word.
    pub(super) action: String,
    /// low, normal, high, urgent.
    pub(super) priority: String,
    /// What it says.
    pub(super) content: Value,
}

/// Sends a message to the agents of a role, or to all. The conversation is the story's.
pub async fn send_message(
    uow: &mut Uow,
    project: ProjectId,
    conversation: Uuid,
    role: Option<&str>,
    text: &str,
) -> Result<(), Error> {
    let message = NewMessage {
        conversation,
        correlation: None,
        kind: "notification".into(),
        routing: role.map_or(Routing::Broadcast, |role| Routing::Role(role.into())),
        action: String::new(),
        priority: "normal".into(),
        content: json!({ "text": text }),
    };
    send(uow, project, &message).await.map(drop)
}

/// Stores a message and tells the project's listeners; its id.
pub(super) async fn send(uow: &mut Uow, project: ProjectId, message: &NewMessage) -> Result<Uuid, Error> {
    let id = uow.new_id();
    let sender: Actor = uow.actor();
    let (routing, recipient, topic) = message.routing.columns();
    sqlx::query(
        "insert into message (id, project_id, conversation_id, correlation_id, type, sender, recipient, routing, topic, action, priority, content, at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
    )
    .bind(id)
    .bind(project.0)
    .bind(message.conversation)
    .bind(message.correlation)
    .bind(&message.kind)
    .bind(Json(sender))
    .bind(recipient)
    .bind(routing)
    .bind(topic)
    .bind(&message.action)
    .bind(&message.priority)
    .bind(&message.content)
    .bind(uow.now())
    .execute(uow.conn().await?)
    .await?;
    let role = matches!(message.routing, Routing::Role(_)).then_some(topic).flatten();
    let data = json!({
        "message_id": id, "conversation_id": message.conversation, "routing": routing, "role": role,
        "to": recipient, "type": message.kind, "action": message.action, "priority": message.priority,
        "text": message.content.get("text").or(Some(&message.content)).and_then(Value::as_str),
    });
    uow.announce(project, "message", id, "agent.message.v1", data);
    Ok(id)
}

/// The most messages that an agent is told at once: the newest count.
const TOLD: i64 = 20;

/// What an agent is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Who wrote it, by name.
    pub from: String,
    /// What.
    pub text: String,
}

impl Told {
    /// For a model: what a colleague wrote is data, like everything else that a model produced.
    pub fn quoted(&self) -> String {
        format!("Message from {}:\n> {}", self.from, self.text.replace('\n', "\n> "))
    }
}

/// The story's conversation as far as it is for this agent's role or for all, and what was sent to the agent itself.
/// Oldest first, with the ids.
pub async fn conversation_of(
    pool: &PgPool,
    project: ProjectId,
    reader: (StoryId, AgentId, Role),
) -> Result<(Vec<Uuid>, Vec<Told>), Error> {
    newest(pool, project, reader, false).await
}

/// What of it nobody was told yet, and the agent did not write itself.
pub async fn unread_by(
    pool: &PgPool,
    project: ProjectId,
    reader: (StoryId, AgentId, Role),
) -> Result<(Vec<Uuid>, Vec<Told>), Error> {
    newest(pool, project, reader, true).await
}

async fn newest(
    pool: &PgPool,
    project: ProjectId,
    (story, agent, role): (StoryId, AgentId, Role),
    unread: bool,
) -> Result<(Vec<Uuid>, Vec<Told>), Error> {
    let newest: Vec<(Uuid, String, String)> = sqlx::query_as(
        "select m.id, coalesce(a.name, u.name, 'Syndarix'), coalesce(m.content ->> 'text', m.content #>> '{}')
         from message m
         left join agent a on a.id::text = m.sender ->> 'id'
         left join app_user u on u.id::text = m.sender ->> 'id'
         where m.project_id = $1
           and ((m.conversation_id = $2 and (m.routing = 'broadcast' or (m.routing = 'role' and m.topic = $4)))
                or m.recipient = $3)
           and (not $6 or (m.delivered_at is null and m.sender ->> 'id' is distinct from $3::text))
         order by m.ordinal desc limit $5",
    )
    .bind(project.0)
    .bind(story.0)
    .bind(agent.0)
    .bind(role.name())
    .bind(TOLD)
    .bind(unread)
    .fetch_all(pool)
    .await?;
    Ok(newest.into_iter().rev().map(|(id, from, text)| (id, Told { from, text })).unzip())
}

/// Notes that an agent was told, in the transaction that records the step it is told with.
pub async fn mark_delivered(uow: &mut Uow, project: ProjectId, messages: &[Uuid]) -> Result<(), Error> {
    if messages.is_empty() {
        return Ok(());
    }
    let now = uow.now();
    sqlx::query(
        "update message set delivered_at = $3 where project_id = $1 and id = any($2) and delivered_at is null",
    )
    .bind(project.0)
    .bind(messages)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}
