//! Messages between agents: persisted first, ordered within their conversation.

use crate::db::{Error, Uow};
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
    .execute(uow.conn())
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

/// The most messages that an agent is told at the beginning of a run: the newest count.
const TOLD: i64 = 20;

/// What a run's agent is told by its colleagues: the story's conversation as far as it is for its role or for all, and
/// what was sent to the agent itself. Oldest first, with the senders' names.
pub async fn messages_for(
    pool: &PgPool,
    project: ProjectId,
    (story, agent, role): (StoryId, AgentId, Role),
) -> Result<Vec<(String, String)>, Error> {
    let mut newest: Vec<(String, String)> = sqlx::query_as(
        "select coalesce(a.name, u.name, 'Syndarix'), coalesce(m.content ->> 'text', m.content::text)
         from message m
         left join agent a on a.id::text = m.sender ->> 'id'
         left join app_user u on u.id::text = m.sender ->> 'id'
         where m.project_id = $1
           and ((m.conversation_id = $2 and (m.routing = 'broadcast' or (m.routing = 'role' and m.topic = $4)))
                or m.recipient = $3)
         order by m.ordinal desc limit $5",
    )
    .bind(project.0)
    .bind(story.0)
    .bind(agent.0)
    .bind(role.name())
    .bind(TOLD)
    .fetch_all(pool)
    .await?;
    newest.reverse();
    Ok(newest)
}

/// Notes that a run's agent was told: at least once, in the transaction that records the run's first step.
pub async fn mark_delivered(
    uow: &mut Uow,
    project: ProjectId,
    (story, agent, role): (StoryId, AgentId, Role),
) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "update message set delivered_at = $5
         where project_id = $1 and delivered_at is null
           and ((conversation_id = $2 and (routing = 'broadcast' or (routing = 'role' and topic = $4)))
                or recipient = $3)",
    )
    .bind(project.0)
    .bind(story.0)
    .bind(agent.0)
    .bind(role.name())
    .bind(now)
    .execute(uow.conn())
    .await?;
    Ok(())
}
