//! All SQL about model groups.

use super::settings::{GroupMember, GroupRouting, GroupSettings};
use crate::features::llm::SecretsInPrompts;
use sqlx::{FromRow, PgConnection, PgPool, Result, types::Json};
use syndarix_domain::{
    Timestamp,
    ids::{OrganisationId, ProjectId},
};

/// A group as it is stored.
#[derive(Debug, FromRow)]
pub(super) struct Stored {
    pub(super) name: String,
    routing: GroupRouting,
    hedge_after_ms: Option<i32>,
    cheaper: Option<String>,
    chain: Json<Vec<GroupMember>>,
    pub(super) updated_at: Timestamp,
}

impl Stored {
    pub(super) fn settings(&self) -> GroupSettings {
        GroupSettings {
            routing: self.routing,
            hedge_after_ms: self.hedge_after_ms,
            cheaper: self.cheaper.clone(),
            chain: self.chain.0.clone(),
        }
    }
}

/// The groups of the organisation that a project is in.
pub(super) async fn of_project(pool: &PgPool, project: ProjectId) -> Result<Vec<Stored>> {
    sqlx::query_as(
        "select g.name, g.routing, g.hedge_after_ms, g.cheaper, g.chain, g.updated_at
           from model_group g join project p on p.organisation_id = g.organisation_id
          where p.id = $1 order by g.name",
    )
    .bind(project.0)
    .fetch_all(pool)
    .await
}

/// What a project wants done about credentials in its prompts; of one that is gone, nothing.
pub(super) async fn secrets_in_prompts(pool: &PgPool, project: ProjectId) -> Result<SecretsInPrompts> {
    let mode = sqlx::query_scalar("select secrets_in_prompts from project where id = $1");
    Ok(mode.bind(project.0).fetch_optional(pool).await?.unwrap_or_default())
}

/// An organisation's own groups, by name. Within a transaction nobody else changes them until its end.
pub(super) async fn of_organisation(
    conn: &mut PgConnection,
    organisation: OrganisationId,
) -> Result<Vec<Stored>> {
    sqlx::query_as(
        "select name, routing, hedge_after_ms, cheaper, chain, updated_at
           from model_group where organisation_id = $1 order by name",
    )
    .bind(organisation.0)
    .fetch_all(conn)
    .await
}

/// Lets one change of an organisation's groups in at a time: each is checked against the others.
pub(in crate::features::gateway) async fn lock(
    conn: &mut PgConnection,
    organisation: OrganisationId,
) -> Result<()> {
    sqlx::query("select from organisation where id = $1 for no key update")
        .bind(organisation.0)
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) async fn put(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    (name, settings): (&str, &GroupSettings),
    at: Timestamp,
) -> Result<Stored> {
    sqlx::query_as(
        "insert into model_group (organisation_id, name, routing, hedge_after_ms, cheaper, chain, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict (organisation_id, name) do update set
            routing = excluded.routing, hedge_after_ms = excluded.hedge_after_ms, cheaper = excluded.cheaper,
            chain = excluded.chain, updated_at = excluded.updated_at
         returning name, routing, hedge_after_ms, cheaper, chain, updated_at",
    )
    .bind(organisation.0)
    .bind(name)
    .bind(settings.routing)
    .bind(settings.hedge_after_ms)
    .bind(&settings.cheaper)
    .bind(Json(&settings.chain))
    .bind(at)
    .fetch_one(conn)
    .await
}

/// Whether there was one.
pub(super) async fn remove(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    name: &str,
) -> Result<bool> {
    let removed = sqlx::query("delete from model_group where organisation_id = $1 and name = $2")
        .bind(organisation.0)
        .bind(name)
        .execute(conn)
        .await?;
    Ok(removed.rows_affected() == 1)
}
