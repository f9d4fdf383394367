//! Organisations: the tenants that people belong to and that projects are in.

use super::credentials;
use crate::{
    db::{Author, Error, Uow, audit},
    http::{ApiError, Caller, Idempotency, List, ValidJson, idempotent, keyed},
    state::App,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{FromRow, PgPool};
use syndarix_domain::ids::{OrganisationId, UserId};
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that a person belongs to.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, FromRow)]
pub struct MembershipView {
    /// Of the organisation, or of the project.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// The person's role there.
    pub role: String,
}

/// A new organisation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrganisation {
    /// 1 to 200 characters.
    name: String,
}

/// The caller's organisations.
#[utoipa::path(get, path = "/organisations", operation_id = "list_organisations", tag = "organisations",
    responses((status = 200, description = "All of them, by name", body = List<MembershipView>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<List<MembershipView>>, ApiError> {
    Ok(Json(List::all(organisations_of(app.pool(), caller.user()?).await?)))
}

/// Found an organisation; the caller owns it.
#[utoipa::path(post, path = "/organisations", operation_id = "create_organisation", tag = "organisations",
    request_body = NewOrganisation,
    responses(
        (status = 201, description = "The organisation", body = MembershipView),
        (status = 422, description = "The name is wrong"),
    ))]
pub(super) async fn found(
    State(app): State<App>,
    caller: Caller,
    key: Option<Idempotency>,
    ValidJson(body): ValidJson<NewOrganisation>,
) -> Result<(StatusCode, Json<MembershipView>), ApiError> {
    let user = caller.user()?;
    let author = keyed(Author::of(caller.actor()), key, &body)?;
    let work = || async {
        let name = credentials::named("name", &body.name)?;
        let mut uow = app.store.begin(author);
        let id = write(&mut uow, &name, user).await?;
        Ok(uow.commit_with(MembershipView { id: id.0, name, role: "owner".into() }).await?)
    };
    let view = idempotent(&app, author, work, |membership: MembershipView| async { Ok(membership) });
    Ok((StatusCode::CREATED, Json(view.await?)))
}

/// Writes an organisation with its owner.
pub(super) async fn write(uow: &mut Uow, name: &str, owner: UserId) -> Result<OrganisationId, Error> {
    let (id, now) = (OrganisationId(uow.new_id()), uow.now());
    sqlx::query("insert into organisation (id, name, created_at) values ($1, $2, $3)")
        .bind(id.0)
        .bind(name)
        .bind(now)
        .execute(uow.conn().await?)
        .await?;
    sqlx::query(
        "insert into membership (organisation_id, user_id, role, created_at) values ($1, $2, 'owner', $3)",
    )
    .bind(id.0)
    .bind(owner.0)
    .bind(now)
    .execute(uow.conn().await?)
    .await?;
    let entry = audit::Entry {
        id: uow.new_id(),
        project: None,
        event_type: "organisation.created".into(),
        category: "permission".into(),
        severity: audit::Severity::Info,
        actor: uow.actor(),
        action: format!("founded the organisation {name}"),
        data: json!({ "organisation_id": id, "name": name, "owner": owner }),
        at: now,
    };
    uow.audit(entry);
    Ok(id)
}

/// A person's organisations, by name.
pub async fn organisations_of(pool: &PgPool, user: UserId) -> Result<Vec<MembershipView>, ApiError> {
    let rows = sqlx::query_as(
        "select o.id, o.name, m.role from membership m join organisation o on o.id = m.organisation_id
         where m.user_id = $1 order by o.name, o.id",
    )
    .bind(user.0)
    .fetch_all(pool)
    .await?;
    Ok(rows)
}

/// Whether a person manages an organisation, as its owners and admins do; none where they do not belong to it.
pub async fn manages(
    pool: &PgPool,
    organisation: OrganisationId,
    user: UserId,
) -> Result<Option<bool>, sqlx::Error> {
    let role: Option<String> =
        sqlx::query_scalar("select role from membership where organisation_id = $1 and user_id = $2")
            .bind(organisation.0)
            .bind(user.0)
            .fetch_optional(pool)
            .await?;
    Ok(role.map(|role| matches!(role.as_str(), "owner" | "admin")))
}

/// Refuses whoever may not make things in an organisation: 404 for a stranger, 403 for a plain member.
pub async fn require_manager(
    pool: &PgPool,
    organisation: OrganisationId,
    user: UserId,
) -> Result<(), ApiError> {
    match manages(pool, organisation, user).await? {
        Some(true) => Ok(()),
        Some(false) => Err(ApiError::forbidden("this needs the role owner or admin in the organisation")),
        None => Err(ApiError::not_found("organisation")),
    }
}
