//! Messages over the API: what agents said to each other, and what people say to them.

use super::messages::{NewMessage, Routing, send};
use crate::{
    db::{Author, Error, retry_conflicts},
    features::workflow::{self, AuthorView},
    http::{
        ApiError, Idempotency, List, Page, ProjectScope, ValidJson, ValidQuery, View, Work, idempotent, keyed,
    },
    state::App,
};
use axum::{Json, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{FromRow, types::Json as Stored};
use std::collections::HashMap;
use syndarix_domain::{
    actor::Actor,
    ids::{AgentId, ProjectId},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// The largest content, in bytes of JSON.
const MAX_CONTENT: usize = 64 * 1024;
/// The longest action, role or topic, in characters.
const MAX_WORD: usize = 100;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list_messages, post_message))
}

/// A message.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = Message)]
pub struct MessageView {
    /// Its id.
    pub id: Uuid,
    /// request, response, broadcast, notification.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who sent it.
    pub from: AuthorView,
    /// Whom it is for: an agent, `role:<role>`, `topic:<topic>`; null for everybody.
    pub to: Option<Recipient>,
    /// direct, role, broadcast, topic.
    pub routing: String,
    /// What the recipient should do.
    pub action: String,
    /// low, normal, high, urgent.
    pub priority: String,
    /// Order is kept within it.
    pub conversation_id: Uuid,
    /// The message that this one answers.
    pub correlation_id: Option<Uuid>,
    /// What it says.
    pub content: Value,
    /// When it was sent.
    pub at: DateTime<Utc>,
    /// When an agent was told.
    pub delivered_at: Option<DateTime<Utc>>,
}

/// Whom a message is for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Recipient {
    /// One agent.
    Agent(AuthorView),
    /// `role:<role>` or `topic:<topic>`.
    Group(String),
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    #[sqlx(rename = "type")]
    kind: String,
    sender: Stored<Actor>,
    recipient: Option<Uuid>,
    topic: Option<String>,
    routing: String,
    action: String,
    priority: String,
    conversation_id: Uuid,
    correlation_id: Option<Uuid>,
    content: Value,
    at: DateTime<Utc>,
    delivered_at: Option<DateTime<Utc>>,
}

impl Row {
    fn view(self, names: &HashMap<Uuid, String>) -> MessageView {
        let author = |actor: Actor| {
            AuthorView::of(actor, actor.id().and_then(|id| names.get(&id)).map(String::as_str))
        };
        let to = match (self.recipient, self.topic) {
            (Some(agent), _) => Some(Recipient::Agent(author(Actor::Agent(AgentId(agent))))),
            (None, Some(word)) => Some(Recipient::Group(format!("{}:{word}", self.routing))),
            (None, None) => None,
        };
        MessageView {
            from: author(self.sender.0),
            id: self.id,
            kind: self.kind,
            routing: self.routing,
            action: self.action,
            priority: self.priority,
            conversation_id: self.conversation_id,
            correlation_id: self.correlation_id,
            content: self.content,
            at: self.at,
            delivered_at: self.delivered_at,
            to,
        }
    }
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Of this conversation only: a story's id, or one that a message named.
    conversation_id: Option<Uuid>,
    /// At most this many items, 1 to 200.
    limit: Option<i64>,
    /// Go on where the last answer's `next_cursor` said.
    cursor: Option<String>,
}

#[utoipa::path(get, path = "/projects/{project_id}/messages", operation_id = "list_messages", tag = "agents",
    description = "Newest first; of one conversation, oldest first.",
    params(("project_id" = Uuid, Path), Filter), responses((status = 200, body = List<MessageView>), (status = 404)))]
async fn list_messages(
    State(app): State<App>,
    scope: ProjectScope<View>,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<List<MessageView>>, ApiError> {
    let page = Page { limit: filter.limit, cursor: filter.cursor };
    let rows: Vec<Row> = sqlx::query_as(
        "select * from message where project_id = $1 and ($2::uuid is null or conversation_id = $2)
         order by case when $2 is null then -ordinal else ordinal end limit $3 offset $4",
    )
    .bind(scope.project().0)
    .bind(filter.conversation_id)
    .bind(page.limit()? + 1)
    .bind(page.offset()?)
    .fetch_all(app.pool())
    .await?;
    let items = views(&app, scope.project(), rows).await?;
    Ok(Json(List::page(items, &page)?))
}

async fn views(app: &App, project: ProjectId, rows: Vec<Row>) -> Result<Vec<MessageView>, Error> {
    let ids: Vec<Uuid> =
        rows.iter().flat_map(|row| row.sender.id().into_iter().chain(row.recipient)).collect();
    let names = workflow::names(app.pool(), project, &ids).await?;
    Ok(rows.into_iter().map(|row| row.view(&names)).collect())
}

/// A message to send.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// An agent's id, `role:<role>`, `topic:<topic>`; nothing for everybody.
    #[serde(default)]
    pub to: Option<String>,
    /// request, response, broadcast, notification; what fits the recipient when nothing is said.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What the recipient should do, in a word.
    #[serde(default)]
    pub action: String,
    /// low, normal (when nothing is said), high, urgent.
    #[serde(default)]
    pub priority: Option<String>,
    /// What it says: a text, or an object.
    pub content: Value,
    /// The conversation to go on with: a story's id is the conversation of its agents. A new one when not given.
    #[serde(default)]
    pub conversation_id: Option<Uuid>,
    /// The message that this one answers.
    #[serde(default)]
    pub correlation_id: Option<Uuid>,
}

#[utoipa::path(post, path = "/projects/{project_id}/messages", operation_id = "post_message", tag = "agents",
    params(("project_id" = Uuid, Path)), request_body = PostMessage,
    responses((status = 201, body = MessageView), (status = 403), (status = 404), (status = 422)))]
async fn post_message(
    State(app): State<App>,
    scope: ProjectScope<Work>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<PostMessage>,
) -> Result<(StatusCode, Json<MessageView>), ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || retry_conflicts(|| post(&app, author, project, &body));
    let show = async |id: Uuid| {
        let rows = sqlx::query_as("select * from message where project_id = $1 and id = $2")
            .bind(project.0)
            .bind(id)
            .fetch_all(app.pool())
            .await?;
        views(&app, project, rows).await?.pop().ok_or_else(|| ApiError::not_found("message"))
    };
    Ok((StatusCode::CREATED, Json(idempotent(&app, author, work, show).await?)))
}

async fn post(app: &App, author: Author, project: ProjectId, body: &PostMessage) -> Result<Uuid, ApiError> {
    let mut uow = app.store.begin(author);
    let routing = routing(body.to.as_deref())?;
    if let Routing::Direct(agent) = &routing {
        let known: bool =
            sqlx::query_scalar("select exists (select 1 from agent where id = $1 and project_id = $2)")
                .bind(agent.0)
                .bind(project.0)
                .fetch_one(uow.conn().await?)
                .await?;
        if !known {
            return Err(ApiError::invalid("to", "there is no agent with this id here"));
        }
    }
    let message = NewMessage {
        conversation: body.conversation_id.unwrap_or_else(|| uow.new_id()),
        correlation: body.correlation_id,
        kind: kind(body, &routing)?,
        routing,
        action: word("action", &body.action)?,
        priority: one_of(
            "priority",
            body.priority.as_deref().unwrap_or("normal"),
            &["low", "normal", "high", "urgent"],
        )?,
        content: content(&body.content)?,
    };
    let id = send(&mut uow, project, &message).await?;
    Ok(uow.commit_with(id).await?)
}

fn routing(to: Option<&str>) -> Result<Routing, ApiError> {
    let Some(to) = to.map(str::trim).filter(|to| !to.is_empty()) else { return Ok(Routing::Broadcast) };
    match to.split_once(':') {
        Some(("role", role)) => Ok(Routing::Role(word("to", role)?)),
        Some(("topic", topic)) => Ok(Routing::Topic(word("to", topic)?)),
        _ => match to.parse() {
            Ok(id) => Ok(Routing::Direct(AgentId(id))),
            Err(_) => Err(ApiError::invalid("to", "is an agent's id, `role:<role>` or `topic:<topic>`")),
        },
    }
}

fn kind(body: &PostMessage, routing: &Routing) -> Result<String, ApiError> {
    let fitting = if *routing == Routing::Broadcast { "broadcast" } else { "notification" };
    one_of(
        "type",
        body.kind.as_deref().unwrap_or(fitting),
        &["request", "response", "broadcast", "notification"],
    )
}

fn one_of(field: &str, value: &str, known: &[&str]) -> Result<String, ApiError> {
    if known.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(ApiError::invalid(field, format!("is one of: {}", known.join(", "))))
}

fn word(field: &str, value: &str) -> Result<String, ApiError> {
    if value.chars().count() > MAX_WORD {
        return Err(ApiError::invalid(field, format!("has at most {MAX_WORD} characters")));
    }
    Ok(value.to_owned())
}

fn content(content: &Value) -> Result<Value, ApiError> {
    let empty = match content {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    };
    if empty {
        return Err(ApiError::invalid("content", "say something"));
    }
    if content.to_string().len() > MAX_CONTENT {
        return Err(ApiError::invalid("content", format!("has at most {MAX_CONTENT} bytes")));
    }
    Ok(content.clone())
}
