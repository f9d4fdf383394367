//! Agent types: list, import from a file, show, export.

use super::{Definition, Limits, Personality, file::Wrong};
use crate::{
    db::{
        Author, Error, Uow,
        audit::{Entry, Severity},
        retry_conflicts,
    },
    features::auth,
    http::{ApiError, Caller, CallerKind, Idempotency, List, ValidJson, ValidQuery, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{AssertSqlSafe, FromRow, types::Json as Stored};
use syndarix_domain::ids::OrganisationId;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

/// The most types that are listed: a team is ten.
const MAX_TYPES: i64 = 500;
/// The most versions that are listed, newest first.
const MAX_VERSIONS: i64 = 200;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list_agent_types, import_agent_type))
        .routes(routes!(show_agent_type))
        .routes(routes!(agent_type_versions))
        .routes(routes!(export_agent_type))
}

/// An agent type, in one of its versions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = AgentType)]
pub struct AgentTypeView {
    /// Its id.
    pub id: Uuid,
    /// The organisation that it belongs to; null for those that ship with the product.
    pub organisation_id: Option<Uuid>,
    /// Unique within the organisation.
    pub name: String,
    /// What it is for.
    pub role: String,
    /// 1, 2, 3 ...; an instance keeps the version that it was spawned from.
    pub version: i32,
    /// The model group that its calls go to.
    pub model_group: String,
    /// What it knows well.
    pub expertise: Vec<String>,
    /// How it speaks.
    pub personality: Personality,
    /// Its standing instructions.
    pub system_prompt: String,
    /// Which tools it may use.
    pub capabilities: Vec<String>,
    /// What one run may use up.
    pub limits: Limits,
    /// New instances are spawned from it.
    pub is_active: bool,
    /// When this version was stored.
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, FromRow)]
struct Row {
    id: Uuid,
    organisation_id: Option<Uuid>,
    version: i32,
    is_active: bool,
    created_at: DateTime<Utc>,
    definition: Stored<Definition>,
}

impl From<Row> for AgentTypeView {
    fn from(row: Row) -> Self {
        let Stored(definition) = row.definition;
        Self {
            id: row.id,
            organisation_id: row.organisation_id,
            role: definition.role.name().into(),
            name: definition.name,
            version: row.version,
            model_group: definition.model_group,
            expertise: definition.expertise,
            personality: definition.personality,
            system_prompt: definition.system_prompt,
            capabilities: definition.capabilities,
            limits: definition.limits,
            is_active: row.is_active,
            created_at: row.created_at,
        }
    }
}

const TYPE: &str = "
    select t.id, t.organisation_id, v.version, t.is_active, v.created_at, v.definition
    from agent_type t join agent_type_version v on v.agent_type_id = t.id";

/// What a person sees: what ships with the product, and what belongs to the organisations of theirs and of their
/// projects.
const SEEN: &str = "
    (t.organisation_id is null
     or t.organisation_id in (select organisation_id from membership where user_id = $1)
     or t.organisation_id in (select p.organisation_id from project p join project_member pm on pm.project_id = p.id
                              where pm.user_id = $1))";

/// Which types.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Filter {
    /// Only those that this project can spawn from.
    project_id: Option<Uuid>,
}

#[utoipa::path(get, path = "/agent-types", operation_id = "list_agent_types", tag = "agents", params(Filter),
    responses((status = 200, body = List<AgentTypeView>), (status = 401)))]
async fn list_agent_types(
    State(app): State<App>,
    caller: Caller,
    ValidQuery(filter): ValidQuery<Filter>,
) -> Result<Json<List<AgentTypeView>>, ApiError> {
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "{TYPE} and v.version = t.version
         where {SEEN} and ($2::uuid is null or t.organisation_id is null
                           or t.organisation_id = (select organisation_id from project where id = $2))
         order by t.organisation_id nulls first, t.role, t.name limit $3"
    )))
    .bind(person(&caller))
    .bind(filter.project_id)
    .bind(MAX_TYPES)
    .fetch_all(app.pool())
    .await?;
    Ok(Json(List::all(rows.into_iter().map(AgentTypeView::from).collect())))
}

/// Agents see only what ships with the product.
fn person(caller: &Caller) -> Option<Uuid> {
    match caller.kind {
        CallerKind::User(user) => Some(user.0),
        CallerKind::Agent { .. } => None,
    }
}

/// A file to import.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportAgentType {
    /// The organisation that it is for.
    pub organisation_id: Uuid,
    /// An agent type file.
    pub toml: String,
}

#[utoipa::path(post, path = "/agent-types", operation_id = "import_agent_type", tag = "agents", request_body = ImportAgentType,
    responses((status = 201, body = AgentTypeView), (status = 403), (status = 404),
        (status = 422, description = "every error names its field and line", body = [Wrong])))]
async fn import_agent_type(
    State(app): State<App>,
    caller: Caller,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<ImportAgentType>,
) -> Result<(StatusCode, Json<AgentTypeView>), ApiError> {
    let user = caller.user()?;
    let organisation = OrganisationId(body.organisation_id);
    auth::require_manager(app.pool(), organisation, user).await?;
    let definition = Definition::parse(&body.toml).map_err(|wrong| refusal(&wrong))?;
    let author = keyed(Author::of(caller.actor()), key, &body)?;
    let work = || import(&app, author, organisation, &definition);
    let view = idempotent(&app, author, work, |id| one(&app, Some(user.0), id)).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

fn refusal(wrong: &[Wrong]) -> ApiError {
    let lines = wrong.iter().map(|one| match one.line {
        Some(line) => format!("line {line}, {}: {}", one.field, one.message),
        None => format!("{}: {}", one.field, one.message),
    });
    let errors = wrong.iter().map(|one| {
        let message = match one.line {
            Some(line) => format!("line {line}: {}", one.message),
            None => one.message.clone(),
        };
        json!({ "field": one.field, "message": message, "line": one.line })
    });
    let detail = lines.collect::<Vec<_>>().join("; ");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
        .with("errors", errors.collect::<Vec<_>>())
}

/// Stores a type, or a new version of the one with this name; the same definition again changes nothing.
pub async fn import(
    app: &App,
    author: Author,
    organisation: OrganisationId,
    definition: &Definition,
) -> Result<Uuid, ApiError> {
    retry_conflicts(|| async {
        let mut uow = app.store.begin(author);
        let (id, version) = upsert(&mut uow, organisation, definition).await?;
        if let Some(version) = version {
            store_version(&mut uow, id, version, definition).await?;
            note(&mut uow, organisation, id, version, definition);
        }
        Ok::<_, ApiError>(uow.commit_with(id).await?)
    })
    .await
}

/// The type's row, locked; the version to be stored, or none when the newest is the same.
async fn upsert(
    uow: &mut Uow,
    organisation: OrganisationId,
    definition: &Definition,
) -> Result<(Uuid, Option<i32>), Error> {
    let (id, now) = (uow.new_id(), uow.now());
    let (id, version): (Uuid, i32) = sqlx::query_as(
        "insert into agent_type (id, organisation_id, name, role, version, updated_at) values ($1, $2, $3, $4, 0, $5)
         on conflict (coalesce(organisation_id, '00000000-0000-0000-0000-000000000000'), name)
         do update set updated_at = agent_type.updated_at returning id, version",
    )
    .bind(id)
    .bind(organisation.0)
    .bind(&definition.name)
    .bind(definition.role.name())
    .bind(now)
    .fetch_one(uow.conn().await?)
    .await?;
    let newest: Option<Stored<serde_json::Value>> = sqlx::query_scalar(
        "select definition from agent_type_version where agent_type_id = $1 and version = $2",
    )
    .bind(id)
    .bind(version)
    .fetch_optional(uow.conn().await?)
    .await?;
    let same =
        newest.is_some_and(|Stored(newest)| serde_json::to_value(definition).is_ok_and(|new| new == newest));
    Ok((id, (!same).then_some(version + 1)))
}

async fn store_version(uow: &mut Uow, id: Uuid, version: i32, definition: &Definition) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query("update agent_type set version = $2, role = $3, updated_at = $4 where id = $1")
        .bind(id)
        .bind(version)
        .bind(definition.role.name())
        .bind(now)
        .execute(uow.conn().await?)
        .await?;
    sqlx::query(
        "insert into agent_type_version (agent_type_id, version, definition, created_at) values ($1, $2, $3, $4)",
    )
    .bind(id)
    .bind(version)
    .bind(Stored(definition))
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

fn note(uow: &mut Uow, organisation: OrganisationId, id: Uuid, version: i32, definition: &Definition) {
    let entry = Entry {
        id: uow.new_id(),
        project: None,
        event_type: "agent_type.imported".into(),
        category: "agents".into(),
        severity: Severity::Info,
        actor: uow.actor(),
        action: format!("imported version {version} of the agent type {}", definition.name),
        data: json!({ "organisation_id": organisation, "agent_type_id": id, "version": version, "definition": definition }),
        at: uow.now(),
    };
    uow.audit(entry);
}

async fn one(app: &App, user: Option<Uuid>, id: Uuid) -> Result<AgentTypeView, ApiError> {
    let row: Option<Row> =
        sqlx::query_as(AssertSqlSafe(format!("{TYPE} and v.version = t.version where {SEEN} and t.id = $2")))
            .bind(user)
            .bind(id)
            .fetch_optional(app.pool())
            .await?;
    row.map(AgentTypeView::from).ok_or_else(|| ApiError::not_found("agent type"))
}

#[utoipa::path(get, path = "/agent-types/{agent_type_id}", operation_id = "show_agent_type", tag = "agents",
    params(("agent_type_id" = Uuid, Path)), responses((status = 200, body = AgentTypeView), (status = 404)))]
async fn show_agent_type(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<AgentTypeView>, ApiError> {
    Ok(Json(one(&app, person(&caller), id).await?))
}

#[utoipa::path(get, path = "/agent-types/{agent_type_id}/versions", operation_id = "agent_type_versions", tag = "agents",
    params(("agent_type_id" = Uuid, Path)), responses((status = 200, body = List<AgentTypeView>), (status = 404)))]
async fn agent_type_versions(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Json<List<AgentTypeView>>, ApiError> {
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "{TYPE} where {SEEN} and t.id = $2 order by v.version desc limit $3"
    )))
    .bind(person(&caller))
    .bind(id)
    .bind(MAX_VERSIONS)
    .fetch_all(app.pool())
    .await?;
    if rows.is_empty() {
        return Err(ApiError::not_found("agent type"));
    }
    Ok(Json(List::all(rows.into_iter().map(AgentTypeView::from).collect())))
}

#[utoipa::path(get, path = "/agent-types/{agent_type_id}/export", operation_id = "export_agent_type", tag = "agents",
    params(("agent_type_id" = Uuid, Path)),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404)))]
async fn export_agent_type(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let row: Option<Row> =
        sqlx::query_as(AssertSqlSafe(format!("{TYPE} and v.version = t.version where {SEEN} and t.id = $2")))
            .bind(person(&caller))
            .bind(id)
            .fetch_optional(app.pool())
            .await?;
    let Stored(definition) = row.ok_or_else(|| ApiError::not_found("agent type"))?.definition;
    let file = definition.to_file().map_err(|error| ApiError::internal(&error))?;
    let mut response = file.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}
