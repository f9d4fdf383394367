//! All SQL about virtual keys.

use super::{secret::Hash, settings::KeySettings, view::KeyView};
use sqlx::{FromRow, PgConnection, PgPool, Result};
use syndarix_domain::{Timestamp, ids::ProjectId};
use uuid::Uuid;

/// Keys `k` as they are shown, with what was spent with each.
const SHOWN: &str = "select k.id, k.name, k.prefix, k.agent_id, k.user_id, k.models, k.requests_per_minute,
        k.tokens_per_minute, limits.hard_limit_micro_usd, k.expires_at, k.revoked_at, k.last_used_at, k.created_at, spend.*
    from k
     left join budget limits on limits.scope = 'key' and limits.scope_id = k.id and limits.period = 'total'
     cross join lateral (
        select coalesce(sum(u.cost_micro_usd) filter (where not u.simulated), 0)::bigint as spent_micro_usd,
               coalesce(sum(u.cost_micro_usd) filter (where u.simulated), 0)::bigint as simulated_micro_usd,
               coalesce(sum(u.reserved_micro_usd) filter (where u.state = 'reserved'), 0)::bigint as reserved_micro_usd
          from usage u where u.key_id = k.id and u.project_id = k.project_id) spend";

/// Whether the agent, and the person, are of this project; nobody is.
pub(super) async fn owners(
    pool: &PgPool,
    project: ProjectId,
    agent: Option<Uuid>,
    user: Option<Uuid>,
) -> Result<(bool, bool)> {
    sqlx::query_as(
        "select $2::uuid is null or exists (select from agent where project_id = $1 and id = $2),
                $3::uuid is null
                or exists (select from project_member where project_id = $1 and user_id = $3)
                or exists (select from membership m join project p on p.organisation_id = m.organisation_id
                            where p.id = $1 and m.user_id = $3 and m.role in ('owner', 'admin'))",
    )
    .bind(project.0)
    .bind(agent)
    .bind(user)
    .fetch_one(pool)
    .await
}

/// What a new key's row needs besides its settings.
pub(super) struct New<'a> {
    pub(super) id: Uuid,
    pub(super) prefix: &'a str,
    pub(super) hash: Hash,
    pub(super) at: Timestamp,
}

pub(super) async fn insert(
    conn: &mut PgConnection,
    project: ProjectId,
    new: New<'_>,
    settings: &KeySettings,
) -> Result<KeyView> {
    let sql = format!(
        "with k as (
            insert into gateway_key (id, project_id, prefix, hash, created_at, name, agent_id, user_id, models,
                                     requests_per_minute, tokens_per_minute, expires_at)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) returning *) {SHOWN}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(new.id)
        .bind(project.0)
        .bind(new.prefix)
        .bind(new.hash)
        .bind(new.at)
        .bind(settings.name.trim())
        .bind(settings.agent_id)
        .bind(settings.user_id)
        .bind(&settings.models)
        .bind(settings.requests_per_minute)
        .bind(settings.tokens_per_minute)
        .bind(settings.expires_at)
        .fetch_one(conn)
        .await
}

/// Whether the project has this key.
pub(super) async fn exists(pool: &PgPool, project: ProjectId, id: Uuid) -> Result<bool> {
    sqlx::query_scalar("select exists (select from gateway_key where project_id = $1 and id = $2)")
        .bind(project.0)
        .bind(id)
        .fetch_one(pool)
        .await
}

/// Replaces the settings of a key that is not revoked.
pub(super) async fn replace(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
    settings: &KeySettings,
) -> Result<Option<KeyView>> {
    let sql = format!(
        "with k as (
            update gateway_key set name = $3, agent_id = $4, user_id = $5, models = $6, requests_per_minute = $7,
                   tokens_per_minute = $8, expires_at = $9
             where project_id = $1 and id = $2 and revoked_at is null returning *) {SHOWN}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(project.0)
        .bind(id)
        .bind(settings.name.trim())
        .bind(settings.agent_id)
        .bind(settings.user_id)
        .bind(&settings.models)
        .bind(settings.requests_per_minute)
        .bind(settings.tokens_per_minute)
        .bind(settings.expires_at)
        .fetch_optional(conn)
        .await
}

/// Gives a key that is not revoked another secret.
pub(super) async fn rotate(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
    (prefix, hash): (&str, Hash),
) -> Result<Option<KeyView>> {
    let sql = format!(
        "with k as (
            update gateway_key set prefix = $3, hash = $4
             where project_id = $1 and id = $2 and revoked_at is null returning *) {SHOWN}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(project.0)
        .bind(id)
        .bind(prefix)
        .bind(hash)
        .fetch_optional(conn)
        .await
}

/// Ends a key; `None`: there is none. One that was revoked before stays as it is.
pub(super) async fn revoke(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
    at: Timestamp,
) -> Result<Option<String>> {
    sqlx::query_scalar(
        "update gateway_key set revoked_at = coalesce(revoked_at, $3)
         where project_id = $1 and id = $2 returning name",
    )
    .bind(project.0)
    .bind(id)
    .bind(at)
    .fetch_optional(conn)
    .await
}

/// A page of a project's keys, the newest first.
pub(super) async fn list(
    pool: &PgPool,
    project: ProjectId,
    after: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<KeyView>> {
    let (at, id) = after.unzip();
    let sql = format!(
        "with k as (
            select * from gateway_key
             where project_id = $1 and ($2::timestamptz is null or (created_at, id) < ($2, $3))
             order by created_at desc, id desc limit $4)
         {SHOWN} order by k.created_at desc, k.id desc"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(project.0)
        .bind(at)
        .bind(id)
        .bind(limit)
        .fetch_all(pool)
        .await
}

/// What a call needs to know of its key.
#[derive(Debug, FromRow)]
pub(super) struct Found {
    pub(super) id: Uuid,
    pub(super) project_id: Uuid,
    pub(super) agent_id: Option<Uuid>,
    pub(super) models: Option<Vec<String>>,
    pub(super) requests_per_minute: Option<i32>,
    pub(super) tokens_per_minute: Option<i32>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) gateway_cache_seconds: Option<i32>,
}

/// The key with this hash, of whatever project: who holds the secret holds the key.
pub(super) async fn by_hash(pool: &PgPool, hash: Hash) -> Result<Option<Found>> {
    sqlx::query_as(
        "select k.id, k.project_id, k.agent_id, k.models, k.requests_per_minute, k.tokens_per_minute, k.expires_at,
                k.revoked_at, p.gateway_cache_seconds
         from gateway_key k join project p on p.id = k.project_id where k.hash = $1",
    )
    .bind(hash)
    .fetch_optional(pool)
    .await
}

pub(super) async fn used(pool: &PgPool, project: ProjectId, id: Uuid, at: Timestamp) -> Result<()> {
    sqlx::query("update gateway_key set last_used_at = $3 where project_id = $1 and id = $2")
        .bind(project.0)
        .bind(id)
        .bind(at)
        .execute(pool)
        .await?;
    Ok(())
}
