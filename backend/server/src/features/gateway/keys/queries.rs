//! All SQL about virtual keys.

use super::{secret::Hash, settings::KeySettings, view::KeyView};
use sqlx::{FromRow, PgConnection, PgPool, Result};
use syndarix_domain::{Timestamp, ids::ProjectId};
use uuid::Uuid;

/// Keys `k` as they are shown, with what was spent with each: as its budget counts it where it has one, else the sum of its
/// hours and of what is not summed up yet. However much a key has been used, few rows are read: those of the project's last
/// two hours, once for all keys, and what is under way.
const SHOWN: &str = ", latest as (
        select u.key_id, coalesce(sum(u.cost_micro_usd) filter (where not u.simulated), 0) as spent,
               coalesce(sum(u.cost_micro_usd) filter (where u.simulated), 0) as simulated
          from usage u
         where u.project_id = (select project_id from k limit 1) and u.at >= (select until from usage_hour_until)
           and u.state <> 'reserved' and u.key_id is not null
         group by u.key_id),
    under_way as (
        select u.key_id, sum(u.reserved_micro_usd) as reserved
          from usage u where u.state = 'reserved' and u.project_id = (select project_id from k limit 1)
         group by u.key_id)
    select k.id, k.name, k.prefix, k.agent_id, k.user_id, k.models, k.requests_per_minute,
        k.tokens_per_minute, limits.hard_limit_micro_usd, k.expires_at, k.revoked_at, k.last_used_at, k.created_at,
        case when k.previous_until > now() then k.previous_until end as previous_until, spend.*
    from k
     left join (budget limits join budget_window counted on counted.budget_id = limits.id)
            on limits.scope = 'key' and limits.scope_id = k.id and limits.period = 'total'
     left join latest on latest.key_id = k.id
     left join under_way on under_way.key_id = k.id
     cross join lateral (
        select counted.spent_micro_usd, counted.simulated_micro_usd, counted.reserved_micro_usd
         where counted.budget_id is not null
        union all
        select (hours.spent + coalesce(latest.spent, 0))::bigint, (hours.simulated + coalesce(latest.simulated, 0))::bigint,
               coalesce(under_way.reserved, 0)::bigint
          from (select coalesce(sum(h.cost_micro_usd) filter (where not h.simulated), 0) as spent,
                       coalesce(sum(h.cost_micro_usd) filter (where h.simulated), 0) as simulated
                  from usage_hour h where h.key_id = k.id and h.project_id = k.project_id) hours
         where counted.budget_id is null) spend";

/// Whether the agent of a key `k` is of its project and was not terminated, if it names one.
const AGENT_STAYS: &str = "(k.agent_id is null
    or exists (select from agent a
                where a.project_id = k.project_id and a.id = k.agent_id and a.status <> 'terminated'))";

/// Whether the person of a key `k` is in its project, if it names one.
const PERSON_STAYS: &str = "(k.user_id is null
    or exists (select from project_member pm where pm.project_id = k.project_id and pm.user_id = k.user_id)
    or exists (select from membership m join project o on o.organisation_id = m.organisation_id
                where o.id = k.project_id and m.user_id = k.user_id and m.role in ('owner', 'admin')))";

/// Whether a key of this project may be for the agent, and for the person. A call asks the same of its key, so that none
/// outlives whom it is for.
pub(super) async fn owners(
    pool: &PgPool,
    project: ProjectId,
    agent: Option<Uuid>,
    user: Option<Uuid>,
) -> Result<(bool, bool)> {
    let sql = format!(
        "select {AGENT_STAYS}, {PERSON_STAYS}
           from (select $1::uuid as project_id, $2::uuid as agent_id, $3::uuid as user_id) k"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(project.0).bind(agent).bind(user).fetch_one(pool).await
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

/// Gives a key that is not revoked another secret. The one before stays good for so many seconds, and one before that no
/// longer: a key has two secrets at the most.
pub(super) async fn rotate(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
    (prefix, hash, overlap): (&str, Hash, i32),
) -> Result<Option<KeyView>> {
    let sql = format!(
        "with k as (
            update gateway_key set prefix = $3, hash = $4,
                   previous_hash = case when $5::integer > 0 then hash end,
                   previous_until = case when $5::integer > 0
                                         then clock_timestamp() + make_interval(secs => $5::integer) end
             where project_id = $1 and id = $2 and revoked_at is null returning *) {SHOWN}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(project.0)
        .bind(id)
        .bind(prefix)
        .bind(hash)
        .bind(overlap)
        .fetch_optional(conn)
        .await
}

/// Ends a key with all its secrets; `None`: there is none. One that was revoked before stays as it is.
pub(super) async fn revoke(
    conn: &mut PgConnection,
    project: ProjectId,
    id: Uuid,
    at: Timestamp,
) -> Result<Option<String>> {
    sqlx::query_scalar(
        "update gateway_key set revoked_at = coalesce(revoked_at, $3), previous_hash = null, previous_until = null
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
    pub(super) user_id: Option<Uuid>,
    pub(super) models: Option<Vec<String>>,
    pub(super) requests_per_minute: Option<i32>,
    pub(super) tokens_per_minute: Option<i32>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) gateway_cache_seconds: Option<i32>,
    /// For how long the secret that was sent is good, if it is the one before: by the database's clock.
    pub(super) seconds_left: Option<f64>,
}

/// The key with this hash, of whatever project: who holds the secret holds the key, for as long as whom it is for is there.
pub(super) async fn by_hash(pool: &PgPool, hash: Hash) -> Result<Option<Found>> {
    let sql = format!(
        "select k.id, k.project_id, k.agent_id, k.user_id, k.models, k.requests_per_minute, k.tokens_per_minute,
                k.expires_at, k.revoked_at, p.gateway_cache_seconds,
                case when k.hash <> $1 then extract(epoch from k.previous_until - now())::float8 end as seconds_left
         from gateway_key k join project p on p.id = k.project_id
         where (k.hash = $1 or (k.previous_hash = $1 and k.previous_until > now())) and {AGENT_STAYS} and {PERSON_STAYS}"
    );
    sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(hash).fetch_optional(pool).await
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
