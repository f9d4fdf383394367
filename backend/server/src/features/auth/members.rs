//! `/organisations/{organisation_id}/members`: who belongs to an organisation. Owners stay: nobody makes or removes one.

use super::{credentials, organisations::require_manager};
use crate::{
    db::{Author, Uow, audit},
    http::{ApiError, Caller, Idempotency, List, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::FromRow;
use syndarix_domain::ids::OrganisationId;
use utoipa::ToSchema;
use uuid::Uuid;

/// A member of an organisation.
#[derive(Debug, Serialize, Deserialize, ToSchema, FromRow)]
pub(super) struct OrganisationMember {
    user_id: Uuid,
    email: String,
    name: String,
    /// `owner`, `admin` or `member`.
    role: String,
}

/// Somebody, and the role they are to have.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PutOrganisationMember {
    /// Of somebody with an account here.
    email: String,
    /// `admin` or `member`.
    role: String,
}

/// An organisation's members, for its owners and admins.
#[utoipa::path(get, path = "/organisations/{organisation_id}/members", operation_id = "list_organisation_members",
    tag = "organisations", params(("organisation_id" = Uuid, Path)),
    responses((status = 200, description = "By name", body = List<OrganisationMember>), (status = 403), (status = 404)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
) -> Result<Json<List<OrganisationMember>>, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let rows = sqlx::query_as(
        "select u.id as user_id, u.email, u.name, m.role from membership m join app_user u on u.id = m.user_id
         where m.organisation_id = $1 order by u.name, u.id",
    )
    .bind(organisation.0)
    .fetch_all(app.pool())
    .await?;
    Ok(Json(List::all(rows)))
}

/// Add somebody, or give a member another role. For owners and admins.
#[utoipa::path(post, path = "/organisations/{organisation_id}/members", operation_id = "put_organisation_member",
    tag = "organisations", params(("organisation_id" = Uuid, Path)), request_body = PutOrganisationMember,
    responses(
        (status = 201, description = "The member", body = OrganisationMember), (status = 403), (status = 404),
        (status = 409, description = "`owner_stays`"),
        (status = 422, description = "Nobody has this address, or there is no such role"),
    ))]
pub(super) async fn put(
    State(app): State<App>,
    caller: Caller,
    Path(organisation): Path<OrganisationId>,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<PutOrganisationMember>,
) -> Result<(StatusCode, Json<OrganisationMember>), ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let author = keyed(Author::of(caller.actor()), key, &body)?;
    let work = || async {
        let email = credentials::email_of("email", &body.email)?;
        if !["admin", "member"].contains(&body.role.as_str()) {
            return Err(ApiError::invalid("role", "must be `admin` or `member`"));
        }
        let mut uow = app.store.begin(author);
        let user: Option<(Uuid, String)> = sqlx::query_as("select id, name from app_user where email = $1")
            .bind(&email)
            .fetch_optional(uow.conn().await?)
            .await?;
        let Some((user_id, name)) = user else {
            return Err(ApiError::invalid("email", "nobody with this address has an account here"));
        };
        write(&mut uow, organisation, user_id, &body.role).await?;
        let member = OrganisationMember { user_id, email, name, role: body.role.clone() };
        Ok(uow.commit_with(member).await?)
    };
    let view = idempotent(&app, author, work, |member: OrganisationMember| async { Ok(member) });
    Ok((StatusCode::CREATED, Json(view.await?)))
}

async fn write(uow: &mut Uow, organisation: OrganisationId, user: Uuid, role: &str) -> Result<(), ApiError> {
    let now = uow.now();
    let written = sqlx::query(
        "insert into membership as m (organisation_id, user_id, role, created_at) values ($1, $2, $3, $4)
         on conflict (organisation_id, user_id) do update set role = excluded.role where m.role <> 'owner'",
    )
    .bind(organisation.0)
    .bind(user)
    .bind(role)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    if written.rows_affected() == 0 {
        return Err(owner_stays());
    }
    let data = json!({ "organisation_id": organisation, "user_id": user, "role": role });
    note(uow, "organisation.member_changed", format!("made somebody {role} of the organisation"), data);
    Ok(())
}

/// Remove a member, from the organisation's projects too. For owners and admins.
#[utoipa::path(delete, path = "/organisations/{organisation_id}/members/{user_id}",
    operation_id = "remove_organisation_member", tag = "organisations",
    params(("organisation_id" = Uuid, Path), ("user_id" = Uuid, Path)),
    responses((status = 204, description = "No member any more"), (status = 403), (status = 404),
        (status = 409, description = "`owner_stays`")))]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path((organisation, user)): Path<(OrganisationId, Uuid)>,
) -> Result<StatusCode, ApiError> {
    require_manager(app.pool(), organisation, caller.user()?).await?;
    let mut uow = app.store.begin(Author::of(caller.actor()));
    let role: Option<String> = sqlx::query_scalar(
        "delete from membership where organisation_id = $1 and user_id = $2 returning role",
    )
    .bind(organisation.0)
    .bind(user)
    .fetch_optional(uow.conn().await?)
    .await?;
    match role.as_deref() {
        None => return Err(ApiError::not_found("member")),
        Some("owner") => return Err(owner_stays()),
        Some(_) => {}
    }
    sqlx::query(
        "delete from project_member pm using project p
         where p.id = pm.project_id and p.organisation_id = $1 and pm.user_id = $2",
    )
    .bind(organisation.0)
    .bind(user)
    .execute(uow.conn().await?)
    .await?;
    let data = json!({ "organisation_id": organisation, "user_id": user, "role": role });
    note(&mut uow, "organisation.member_removed", "removed a member of the organisation".into(), data);
    uow.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn owner_stays() -> ApiError {
    ApiError::conflict("owner_stays", "an owner of the organisation keeps this role")
}

fn note(uow: &mut Uow, event_type: &str, action: String, data: Value) {
    let entry = audit::Entry {
        id: uow.new_id(),
        project: None,
        event_type: event_type.into(),
        category: "permission".into(),
        severity: audit::Severity::Critical,
        actor: uow.actor(),
        action,
        data,
        at: uow.now(),
    };
    uow.audit(entry);
}
