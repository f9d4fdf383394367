//! `POST /projects`: a project, with the job that brings its repository.

use super::{
    fields, import,
    repository::{RepositoryBody, Source},
    view::ProjectView,
};
use crate::{
    db::{Author, Error, Uow},
    features::{
        auth,
        costs::{self, Limits, Target},
    },
    http::{ApiError, Caller, Idempotency, ProjectRole, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json as Jsonb;
use syndarix_domain::{
    ids::{OrganisationId, ProjectId, UserId},
    money::MicroUsd,
    policy::{Autonomy, Policy},
};
use utoipa::ToSchema;
use uuid::Uuid;

/// What a project's stories, pull requests and issues are numbered by.
const COUNTERS: [&str; 3] = ["story", "pull_request", "issue"];

/// A project that somebody wants.
#[derive(Debug, Clone)]
pub struct NewProject {
    /// Whose it is. Whether the creator may make projects there is the caller's question.
    pub organisation: OrganisationId,
    /// Its first admin.
    pub creator: UserId,
    /// Unique within the organisation; 1 to 200 characters.
    pub name: String,
    /// Where the repository comes from.
    pub source: Source,
    /// How its tests are run, as a shell takes it.
    pub test_command: Option<String>,
    /// How much agents do alone.
    pub autonomy: Autonomy,
    /// What it may cost at most; without it, nothing is limited.
    pub hard_limit: Option<MicroUsd>,
}

/// Makes a project and everything it begins with. Its repository follows: the events `project.repository_ready` or
/// `project.repository_failed` tell how that went.
pub async fn create(app: &App, author: Author, new: NewProject) -> Result<ProjectId, ApiError> {
    let name = auth::named("name", &new.name)?;
    let test_command = fields::test_command(new.test_command.as_deref())?;
    if new.hard_limit.is_some_and(|limit| limit < MicroUsd::ZERO) {
        return Err(ApiError::invalid("hard_limit_micro_usd", "must not be negative"));
    }
    let new = NewProject { name, test_command, ..new };
    let mut uow = app.store.begin(author);
    let project = ProjectId(uow.new_id());
    write(&mut uow, project, &new).await.map_err(refused)?;
    let data = json!({ "name": new.name, "autonomy": new.autonomy, "location": new.source.shown() });
    uow.announce(project, "project", project, "project.created", data);
    uow.enqueue(import::job(project))?;
    Ok(uow.commit_with(project).await?)
}

async fn write(uow: &mut Uow, project: ProjectId, new: &NewProject) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "insert into project (id, organisation_id, name, autonomy, policy, test_command, repository_state,
                              repository_source, created_at)
         values ($1, $2, $3, $4, $5, $6, 'importing', $7, $8)",
    )
    .bind(project.0)
    .bind(new.organisation.0)
    .bind(&new.name)
    .bind(new.autonomy.name())
    .bind(Jsonb(Policy::default()))
    .bind(&new.test_command)
    .bind(Jsonb(&new.source))
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    sqlx::query("insert into project_log (project_id) values ($1)")
        .bind(project.0)
        .execute(uow.conn().await?)
        .await?;
    sqlx::query(
        "insert into counter (project_id, name, value) select $1, name, 0 from unnest($2::text[]) name",
    )
    .bind(project.0)
    .bind(COUNTERS.map(String::from).to_vec())
    .execute(uow.conn().await?)
    .await?;
    let limits = Limits { hard_micro_usd: new.hard_limit.map(|limit| limit.0), ..Limits::default() };
    costs::set_limits(uow, Target::of_project(project), limits).await?;
    sqlx::query("insert into project_member (project_id, user_id, role, created_at) values ($1, $2, $3, $4)")
        .bind(project.0)
        .bind(new.creator.0)
        .bind(ProjectRole::Admin.name())
        .bind(now)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

/// Says which field is taken or wrong, where the database says it.
pub(super) fn refused(error: Error) -> ApiError {
    match error.constraint() {
        Some("project_name_key") => {
            let message = "this organisation has a project of this name";
            ApiError::conflict("name_taken", message)
                .with("errors", json!([{ "field": "name", "message": message }]))
        }
        Some("project_organisation_id_fkey") => ApiError::not_found("organisation"),
        _ => error.into(),
    }
}

/// A new project.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateProject {
    organisation_id: Uuid,
    /// Unique within the organisation; 1 to 200 characters.
    name: String,
    repository: RepositoryBody,
    /// How its tests are run, at most 500 characters.
    test_command: Option<String>,
    /// `full_control`, `milestone` (when nothing is said) or `autonomous`.
    #[schema(value_type = Option<String>)]
    autonomy: Option<Autonomy>,
    /// What it may cost at most, in millionths of a dollar; when nothing is said, nothing is limited.
    hard_limit_micro_usd: Option<i64>,
}

/// Make a project in an organisation that the caller owns or administers.
#[utoipa::path(post, path = "/projects", operation_id = "create_project", tag = "projects",
    request_body = CreateProject,
    responses(
        (status = 201, description = "The project; its repository is being imported", body = ProjectView),
        (status = 404, description = "No such organisation of the caller"),
        (status = 409, description = "`name_taken`"),
        (status = 422, description = "A field is wrong"),
    ))]
pub(super) async fn create_project(
    State(app): State<App>,
    caller: Caller,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<CreateProject>,
) -> Result<(StatusCode, Json<ProjectView>), ApiError> {
    let creator = caller.user()?;
    let author = keyed(Author::of(caller.actor()), key, &body)?;
    let work = || async {
        let organisation = OrganisationId(body.organisation_id);
        auth::require_manager(app.pool(), organisation, creator).await?;
        let new = NewProject {
            organisation,
            creator,
            name: body.name.clone(),
            source: body.repository.checked(&app.config)?,
            test_command: body.test_command.clone(),
            autonomy: body.autonomy.unwrap_or_default(),
            hard_limit: body.hard_limit_micro_usd.map(MicroUsd),
        };
        create(&app, author, new).await
    };
    let show = |project| ProjectView::of_member(&app, project, creator);
    Ok((StatusCode::CREATED, Json(idempotent(&app, author, work, show).await?)))
}
