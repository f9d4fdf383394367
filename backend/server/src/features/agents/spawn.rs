//! Spawning an instance: at once, or once a human has agreed.

use super::{
    AgentView, Definition,
    assign::{NewAgent, free_place, spawn},
    view,
};
use crate::{
    db::{Author, Error, Uow, retry_conflicts},
    features::approvals,
    http::{ApiError, Edit, Idempotency, ProjectScope, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::types::Json as Stored;
use syndarix_domain::{
    approval::{Approval, Subject},
    ids::{AgentId, ApprovalId, ProjectId},
    money::MicroUsd,
    policy::{Action, Category, Verdict},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// The longest name, in characters.
const MAX_NAME: usize = 60;

/// What to spawn.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SpawnAgent {
    /// From which type, in its newest version.
    pub agent_type_id: Uuid,
    /// A name of its own; one is found when there is none.
    #[serde(default)]
    pub name: Option<String>,
}

#[utoipa::path(post, path = "/projects/{project_id}/agents", operation_id = "spawn_agent", tag = "agents",
    params(("project_id" = Uuid, Path)), request_body = SpawnAgent,
    responses((status = 201, body = AgentView), (status = 403), (status = 404),
        (status = 409, description = "`approval_required` with approval_id: the policy wants a human's leave, which was asked for; `agent_limit`; `name_taken`"),
        (status = 422)))]
pub(super) async fn spawn_agent(
    State(app): State<App>,
    scope: ProjectScope<Edit>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<SpawnAgent>,
) -> Result<(StatusCode, Json<AgentView>), ApiError> {
    let (author, project) = (keyed(Author::of(scope.actor()), key, &body)?, scope.project());
    let work = || retry_conflicts(|| ask_or_spawn(&app, author, project, &body));
    let show = async |spawned: Spawned| match spawned {
        Spawned::Now(agent) => Ok(view(app.pool(), project, agent).await?),
        Spawned::Asked { approval, rule } => Err(ApiError::conflict(
            "approval_required",
            format!("{rule}: the question is in the inbox, and the agent joins when it is approved"),
        )
        .with("approval_id", json!(approval))),
    };
    Ok((StatusCode::CREATED, Json(idempotent(&app, author, work, show).await?)))
}

/// What came of a wish for an instance.
#[derive(Serialize, Deserialize)]
enum Spawned {
    Now(AgentId),
    Asked { approval: ApprovalId, rule: String },
}

async fn ask_or_spawn(
    app: &App,
    author: Author,
    project: ProjectId,
    body: &SpawnAgent,
) -> Result<Spawned, ApiError> {
    let name = body.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    if name.is_some_and(|name| name.chars().count() > MAX_NAME) {
        return Err(ApiError::invalid("name", format!("has at most {MAX_NAME} characters")));
    }
    let mut uow = app.store.begin(author);
    let (new, definition) = newest(&mut uow, project, body.agent_type_id).await?;
    let new = NewAgent { name: name.map(str::to_owned), ..new };
    // The row lock of the project: two wishes at once are counted, and asked, one after the other.
    let free = free_place(&mut uow, project).await?;
    let agent = AgentId(uow.new_id());
    let verdict = approvals::verdict(&mut uow, project, Action::AgentSpawn, None).await?;
    let spawned = match verdict {
        Verdict::Auto { .. } if !free => {
            return Err(ApiError::conflict("agent_limit", "the project has as many agents as it may have"));
        }
        Verdict::Auto { .. } => {
            spawn(&mut uow, project, agent, new, definition).await.map_err(taken)?;
            Spawned::Now(agent)
        }
        Verdict::Ask { category, rule } => {
            let asked = ask(&mut uow, project, agent, &new, &definition, (category, rule.clone())).await?;
            Spawned::Asked { approval: asked, rule }
        }
    };
    Ok(uow.commit_with(spawned).await?)
}

fn taken(error: Error) -> ApiError {
    match error.constraint() {
        Some("agent_name_key") => {
            ApiError::conflict("name_taken", "an agent of this project has this name already")
        }
        _ => error.into(),
    }
}

/// The newest version of a type that this project may use.
async fn newest(uow: &mut Uow, project: ProjectId, id: Uuid) -> Result<(NewAgent, Definition), ApiError> {
    let found: Option<(i32, String, Stored<Definition>, bool)> = sqlx::query_as(
        "select t.version, t.role, v.definition, t.is_active from agent_type t
         join agent_type_version v on v.agent_type_id = t.id and v.version = t.version
         where t.id = $2 and (t.organisation_id is null
                              or t.organisation_id = (select organisation_id from project where id = $1))",
    )
    .bind(project.0)
    .bind(id)
    .fetch_optional(uow.conn().await?)
    .await?;
    match found {
        None => Err(ApiError::invalid("agent_type_id", "there is no such agent type here")),
        Some((.., false)) => Err(ApiError::invalid("agent_type_id", "this agent type is not active")),
        Some((version, role, Stored(definition), true)) => {
            Ok((NewAgent { type_id: id, version, role, name: None }, definition))
        }
    }
}

/// One open question for one wish: who presses twice is shown the first question again.
async fn ask(
    uow: &mut Uow,
    project: ProjectId,
    agent: AgentId,
    new: &NewAgent,
    definition: &Definition,
    (category, rule): (Category, String),
) -> Result<ApprovalId, Error> {
    let arguments = json!({
        "agent_type": definition.name, "agent_type_id": new.type_id, "version": new.version, "name": new.name,
    });
    let open: Option<Uuid> = sqlx::query_scalar(
        "select id from approval where project_id = $1 and phase = 'pending'
           and state -> 'request' ->> 'action' = 'agent_spawn' and state -> 'request' -> 'arguments' = $2 limit 1",
    )
    .bind(project.0)
    .bind(&arguments)
    .fetch_optional(uow.conn().await?)
    .await?;
    if let Some(open) = open {
        return Ok(ApprovalId(open));
    }
    let id = ApprovalId(uow.new_id());
    let named = new.name.as_deref().map(|name| format!(" named {name}")).unwrap_or_default();
    let question = approvals::Question {
        subject: Subject::Agent { agent },
        action: Action::AgentSpawn,
        category,
        rule,
        title: format!("Spawn an agent of type {}{named}", definition.name),
        summary: format!(
            "A new {} would join the project; one run of it may cost up to {}.",
            new.role.replace('_', " "),
            MicroUsd(definition.limits.max_cost_micro_usd)
        ),
        story: None,
        pull_request: None,
        arguments,
        editable: false,
        confidence: None,
        alternatives: Vec::new(),
    };
    approvals::ask(uow, project, id, question).await?;
    Ok(id)
}

/// A human's answer about a new instance. When the project has become full or the name was taken meanwhile, people
/// are told; the answer stands.
pub async fn answer_spawn(
    uow: &mut Uow,
    approval: &Approval,
    agent: AgentId,
    approved: bool,
) -> Result<(), Error> {
    if !approved {
        return Ok(());
    }
    let project = approval.request.project;
    let arguments = &approval.request.arguments;
    let free = free_place(uow, project).await?;
    let found = as_asked(uow, project, arguments).await?;
    let reason = match found {
        None => "its type is gone",
        Some(_) if !free => "the project has as many agents as it may have",
        Some((new, _)) if name_taken(uow, project, new.name.as_deref()).await? => {
            "its name was taken meanwhile"
        }
        Some((new, definition)) => {
            spawn(uow, project, agent, new, definition).await?;
            return Ok(());
        }
    };
    let sentence = format!("The approved agent could not be spawned: {reason}");
    let notice =
        approvals::Notice::about(format!("approval/{}", approval.request.id), "not_spawned", sentence);
    approvals::notify(uow, project, notice).await
}

/// The type in the version that was approved.
async fn as_asked(
    uow: &mut Uow,
    project: ProjectId,
    arguments: &Value,
) -> Result<Option<(NewAgent, Definition)>, Error> {
    #[derive(Deserialize)]
    struct Asked {
        agent_type_id: Uuid,
        version: i32,
        name: Option<String>,
    }
    let asked = Asked::deserialize(arguments)
        .map_err(|source| Error::Corrupt { what: "question about an agent", source })?;
    let found: Option<(String, Stored<Definition>)> = sqlx::query_as(
        "select t.role, v.definition from agent_type t join agent_type_version v on v.agent_type_id = t.id
         where t.id = $2 and v.version = $3
           and (t.organisation_id is null
                or t.organisation_id = (select organisation_id from project where id = $1))",
    )
    .bind(project.0)
    .bind(asked.agent_type_id)
    .bind(asked.version)
    .fetch_optional(uow.conn().await?)
    .await?;
    Ok(found.map(|(role, Stored(definition))| {
        (
            NewAgent { type_id: asked.agent_type_id, version: asked.version, role, name: asked.name },
            definition,
        )
    }))
}

async fn name_taken(uow: &mut Uow, project: ProjectId, name: Option<&str>) -> Result<bool, Error> {
    let taken: bool =
        sqlx::query_scalar("select exists (select 1 from agent where project_id = $1 and name = $2)")
            .bind(project.0)
            .bind(name)
            .fetch_one(uow.conn().await?)
            .await?;
    Ok(taken)
}
