//! `/projects/{project_id}/members`: who is in a project, with which role.

use super::journal::{Category, changed};
use crate::{
    db::{Author, Error, Uow},
    features::auth,
    http::{
        Admin, ApiError, Idempotency, List, ProjectRole, ProjectScope, ValidJson, View, idempotent, keyed,
    },
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;
use syndarix_domain::ids::ProjectId;
use utoipa::ToSchema;
use uuid::Uuid;

/// A member of a project.
#[derive(Debug, Serialize, Deserialize, ToSchema, FromRow)]
pub(super) struct MemberView {
    user_id: Uuid,
    email: String,
    name: String,
    /// `admin`, `editor`, `approver` or `viewer`.
    role: String,
}

/// Somebody, and the role they are to have.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutMember {
    /// Of somebody with an account here.
    email: String,
    /// `admin`, `editor`, `approver` or `viewer`.
    role: String,
}

/// A project's members. Owners and admins of its organisation are admins of it without being named.
#[utoipa::path(get, path = "/projects/{project_id}/members", operation_id = "list_members", tag = "projects",
    params(("project_id" = String, Path, description = "The project")),
    responses((status = 200, description = "By name", body = List<MemberView>)))]
pub(super) async fn list(
    State(app): State<App>,
    scope: ProjectScope<View>,
) -> Result<Json<List<MemberView>>, ApiError> {
    let rows = sqlx::query_as(
        "select u.id as user_id, u.email, u.name, pm.role from project_member pm join app_user u on u.id = pm.user_id
         where pm.project_id = $1 order by u.name, u.id",
    )
    .bind(scope.project().0)
    .fetch_all(app.pool())
    .await?;
    Ok(Json(List::all(rows)))
}

/// Add somebody, or give a member another role.
#[utoipa::path(post, path = "/projects/{project_id}/members", operation_id = "put_member", tag = "projects",
    params(("project_id" = String, Path, description = "The project")),
    request_body = PutMember,
    responses(
        (status = 201, description = "The member", body = MemberView),
        (status = 409, description = "`last_admin`: somebody else must be admin first"),
        (status = 422, description = "Nobody has this address, or there is no such role"),
    ))]
pub(super) async fn put(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<PutMember>,
) -> Result<(StatusCode, Json<MemberView>), ApiError> {
    let author = keyed(Author::of(scope.actor()), key, &body)?;
    let work = || async {
        let email = auth::email_of("email", &body.email)?;
        let role = ProjectRole::parse(&body.role)
            .ok_or_else(|| ApiError::invalid("role", "must be `admin`, `editor`, `approver` or `viewer`"))?;
        let mut uow = app.store.begin(author);
        lock(&mut uow, scope.project()).await?;
        let user: Option<(Uuid, String)> = sqlx::query_as("select id, name from app_user where email = $1")
            .bind(&email)
            .fetch_optional(uow.conn().await?)
            .await?;
        let Some((user_id, name)) = user else {
            return Err(ApiError::invalid("email", "nobody with this address has an account here"));
        };
        write(&mut uow, scope.project(), user_id, role).await?;
        Ok(uow.commit_with(MemberView { user_id, email, name, role: role.name().into() }).await?)
    };
    let view = idempotent(&app, author, work, |member: MemberView| async { Ok(member) });
    Ok((StatusCode::CREATED, Json(view.await?)))
}

/// Remove a member.
#[utoipa::path(delete, path = "/projects/{project_id}/members/{user_id}", operation_id = "remove_member",
    tag = "projects",
    params(
        ("project_id" = String, Path, description = "The project"),
        ("user_id" = String, Path, description = "The member"),
    ),
    responses(
        (status = 204, description = "No member any more"),
        (status = 409, description = "`last_admin`: somebody else must be admin first"),
    ))]
pub(super) async fn remove(
    State(app): State<App>,
    scope: ProjectScope<Admin>,
    Path(path): Path<(String, String)>,
    key: Option<Idempotency>,
) -> Result<StatusCode, ApiError> {
    let user: Uuid = path.1.parse().map_err(|_| ApiError::not_found("member"))?;
    let author = keyed(Author::of(scope.actor()), key, &user)?;
    let work = || async {
        let mut uow = app.store.begin(author);
        lock(&mut uow, scope.project()).await?;
        let role: Option<String> = sqlx::query_scalar(
            "delete from project_member where project_id = $1 and user_id = $2 returning role",
        )
        .bind(scope.project().0)
        .bind(user)
        .fetch_optional(uow.conn().await?)
        .await?;
        let role = role.ok_or_else(|| ApiError::not_found("member"))?;
        require_admin(&mut uow, scope.project()).await?;
        let what = ("members", "project.member_removed", "removed a member".to_owned());
        let data = json!({ "user_id": user, "role": role });
        changed(&mut uow, scope.project(), Category::Permission, what, data);
        uow.commit().await?;
        Ok(())
    };
    idempotent(&app, author, work, |()| async { Ok(()) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn write(uow: &mut Uow, project: ProjectId, user: Uuid, role: ProjectRole) -> Result<(), ApiError> {
    let before: Option<String> =
        sqlx::query_scalar("select role from project_member where project_id = $1 and user_id = $2")
            .bind(project.0)
            .bind(user)
            .fetch_optional(uow.conn().await?)
            .await?;
    let now = uow.now();
    sqlx::query(
        "insert into project_member (project_id, user_id, role, created_at) values ($1, $2, $3, $4)
         on conflict (project_id, user_id) do update set role = excluded.role",
    )
    .bind(project.0)
    .bind(user)
    .bind(role.name())
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    require_admin(uow, project).await?;
    let action = format!("made somebody {} of the project", role.name());
    let data = json!({ "user_id": user, "before": before, "after": role.name() });
    let what = ("members", "project.member_changed", action);
    changed(uow, project, Category::Permission, what, data);
    Ok(())
}

/// Two admins who remove each other at once must not both succeed.
async fn lock(uow: &mut Uow, project: ProjectId) -> Result<(), Error> {
    sqlx::query("select 1 from project where id = $1 for no key update")
        .bind(project.0)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

async fn require_admin(uow: &mut Uow, project: ProjectId) -> Result<(), ApiError> {
    let admins: i64 =
        sqlx::query_scalar("select count(*) from project_member where project_id = $1 and role = 'admin'")
            .bind(project.0)
            .fetch_one(uow.conn().await?)
            .await?;
    if admins > 0 {
        return Ok(());
    }
    Err(ApiError::conflict(
        "last_admin",
        "this is the last admin of the project: make somebody else admin first",
    ))
}
