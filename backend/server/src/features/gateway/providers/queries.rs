//! All SQL about providers of organisations.

use super::settings::{Deployment, Kind, Settings};
use crate::vault::Sealed;
use sqlx::{FromRow, PgConnection, PgPool, Result, types::Json};
use syndarix_domain::{
    Timestamp,
    ids::{OrganisationId, ProjectId},
};
use uuid::Uuid;

/// A provider as it is stored. Says nothing of its key, sealed as it is.
#[derive(FromRow)]
pub(super) struct Stored {
    pub(super) id: Uuid,
    organisation_id: Uuid,
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) base_url: String,
    pub(super) vendor: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) deployments: Json<Vec<Deployment>>,
    pub(super) key_id: Option<String>,
    pub(super) key_sealed: Option<Vec<u8>>,
    pub(super) key_last_four: Option<String>,
    pub(super) key_fingerprint: Option<String>,
    pub(super) key_set_at: Option<Timestamp>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

impl Stored {
    pub(super) fn organisation(&self) -> OrganisationId {
        OrganisationId(self.organisation_id)
    }

    /// The key, as it is sealed, with the id of what it opens with.
    pub(super) fn sealed(&self) -> Option<(&str, &[u8])> {
        self.key_id.as_deref().zip(self.key_sealed.as_deref())
    }
}

/// A key that is going to be stored.
pub(super) struct NewKey {
    pub(super) sealed: Sealed,
    pub(super) last_four: Option<String>,
}

/// The providers of the organisation that a project is in.
pub(super) async fn of_project(pool: &PgPool, project: ProjectId) -> Result<Vec<Stored>> {
    sqlx::query_as(
        "select m.* from model_provider m join project p on p.organisation_id = m.organisation_id
          where p.id = $1 order by m.name",
    )
    .bind(project.0)
    .fetch_all(pool)
    .await
}

/// An organisation's providers, by name.
pub(super) async fn of_organisation(
    conn: &mut PgConnection,
    organisation: OrganisationId,
) -> Result<Vec<Stored>> {
    sqlx::query_as("select * from model_provider where organisation_id = $1 order by name")
        .bind(organisation.0)
        .fetch_all(conn)
        .await
}

/// One of them, which nobody else changes until the transaction ends.
pub(super) async fn find(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    id: Uuid,
) -> Result<Option<Stored>> {
    sqlx::query_as("select * from model_provider where organisation_id = $1 and id = $2 for update")
        .bind(organisation.0)
        .bind(id)
        .fetch_optional(conn)
        .await
}

/// Errors: the constraint `model_provider_name_key`.
pub(super) async fn insert(
    conn: &mut PgConnection,
    (organisation, id): (OrganisationId, Uuid),
    settings: &Settings,
    at: Timestamp,
) -> Result<Stored> {
    sqlx::query_as(
        "insert into model_provider (id, organisation_id, name, kind, base_url, vendor, api_version, deployments,
                                     created_at, updated_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) returning *",
    )
    .bind(id)
    .bind(organisation.0)
    .bind(&settings.name)
    .bind(settings.kind)
    .bind(&settings.base_url)
    .bind(&settings.vendor)
    .bind(&settings.api_version)
    .bind(Json(&settings.deployments))
    .bind(at)
    .fetch_one(conn)
    .await
}

/// Everything but the name and the key.
pub(super) async fn update(
    conn: &mut PgConnection,
    (organisation, id): (OrganisationId, Uuid),
    settings: &Settings,
    at: Timestamp,
) -> Result<Stored> {
    sqlx::query_as(
        "update model_provider set kind = $3, base_url = $4, vendor = $5, api_version = $6, deployments = $7,
                                   updated_at = $8
          where organisation_id = $1 and id = $2 returning *",
    )
    .bind(organisation.0)
    .bind(id)
    .bind(settings.kind)
    .bind(&settings.base_url)
    .bind(&settings.vendor)
    .bind(&settings.api_version)
    .bind(Json(&settings.deployments))
    .bind(at)
    .fetch_one(conn)
    .await
}

pub(super) async fn set_key(
    conn: &mut PgConnection,
    (organisation, id): (OrganisationId, Uuid),
    key: &NewKey,
    at: Timestamp,
) -> Result<Stored> {
    sqlx::query_as(
        "update model_provider set key_id = $3, key_sealed = $4, key_fingerprint = $5, key_last_four = $6,
                                   key_set_at = $7, updated_at = $7
          where organisation_id = $1 and id = $2 returning *",
    )
    .bind(organisation.0)
    .bind(id)
    .bind(&key.sealed.key_id)
    .bind(&key.sealed.bytes)
    .bind(&key.sealed.fingerprint)
    .bind(&key.last_four)
    .bind(at)
    .fetch_one(conn)
    .await
}

pub(super) async fn remove(
    conn: &mut PgConnection,
    organisation: OrganisationId,
    id: Uuid,
) -> Result<Option<Stored>> {
    sqlx::query_as("delete from model_provider where organisation_id = $1 and id = $2 returning *")
        .bind(organisation.0)
        .bind(id)
        .fetch_optional(conn)
        .await
}

/// Every provider of the installation that has a key, for a change of the master key.
pub(super) async fn with_keys(conn: &mut PgConnection) -> Result<Vec<Stored>> {
    sqlx::query_as("select * from model_provider where key_id is not null order by id for update")
        .fetch_all(conn)
        .await
}

/// The same key, sealed anew.
pub(super) async fn reseal(
    conn: &mut PgConnection,
    (organisation, id): (OrganisationId, Uuid),
    sealed: &Sealed,
) -> Result<()> {
    sqlx::query(
        "update model_provider set key_id = $3, key_sealed = $4, key_fingerprint = $5
          where organisation_id = $1 and id = $2",
    )
    .bind(organisation.0)
    .bind(id)
    .bind(&sealed.key_id)
    .bind(&sealed.bytes)
    .bind(&sealed.fingerprint)
    .execute(conn)
    .await?;
    Ok(())
}
