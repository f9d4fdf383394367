//! Messages between agents: persisted first, ordered within their conversation.

use crate::db::{Error, Uow};
use serde_json::json;
use sqlx::types::Json;
use syndarix_domain::ids::ProjectId;
use uuid::Uuid;

/// Sends a message to the agents of a role, or to all. The conversation is the story's.
pub async fn send_message(
    uow: &mut Uow,
    project: ProjectId,
    conversation: Uuid,
    role: Option<&str>,
    text: &str,
) -> Result<(), Error> {
    let id = uow.new_id();
    let routing = if role.is_some() { "role" } else { "broadcast" };
    sqlx::query(
        "insert into message (id, project_id, conversation_id, type, sender, routing, topic, content, at)
         values ($1, $2, $3, 'notification', $4, $5, $6, $7, $8)",
    )
    .bind(id)
    .bind(project.0)
    .bind(conversation)
    .bind(Json(uow.actor()))
    .bind(routing)
    .bind(role)
    .bind(json!({ "text": text }))
    .bind(uow.now())
    .execute(uow.conn())
    .await?;
    let data = json!({ "message_id": id, "conversation_id": conversation, "routing": routing, "role": role, "text": text });
    uow.announce(project, "message", id, "agent.message.v1", data);
    Ok(())
}
