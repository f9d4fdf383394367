//! `Idempotency-Key`: the first answer to a command, given again for the same key for 24 hours.

use super::{ApiError, Caller};
use crate::state::App;
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, request::Parts},
};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use sqlx::{PgPool, types::Json};
use std::future::Future;

/// How long an answer is kept, in hours.
const KEPT_HOURS: i32 = 24;
/// Answers cleared away in one statement: bounds its locks.
const FORGOTTEN_AT_ONCE: i32 = 5_000;
/// The longest key, in bytes.
const MAX_KEY: usize = 200;

/// The key that a caller sent, bound to who and where.
#[derive(Debug, Clone)]
pub struct Idempotency {
    scope: String,
    key: String,
}

impl OptionalFromRequestParts<App> for Idempotency {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Option<Self>, ApiError> {
        let Some(key) = parts.headers.get("idempotency-key") else { return Ok(None) };
        let key = key.to_str().unwrap_or_default().to_owned();
        if key.is_empty() || key.len() > MAX_KEY {
            return Err(ApiError::bad_request(
                "bad_idempotency_key",
                "a key has 1 to 200 visible characters",
            ));
        }
        let caller = Caller::from_request_parts(parts, app).await?;
        let who = caller.actor().id().map(|id| id.to_string()).unwrap_or_default();
        Ok(Some(Self { scope: format!("{who} {} {}", parts.method, parts.uri.path()), key }))
    }
}

/// Runs a command once for its key. The key is taken before the work, so that two at once do not both do it;
/// a failure gives it back.
pub async fn idempotent<B, T, F, Fut>(
    app: &App,
    key: Option<Idempotency>,
    body: &B,
    work: F,
) -> Result<T, ApiError>
where
    B: Serialize + Sync,
    T: Serialize + DeserializeOwned,
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, ApiError>>,
{
    let Some(key) = key else { return work().await };
    let hash = request_hash(body)?;
    if let Some(answer) = key.take(app, &hash).await? {
        return serde_json::from_value(answer).map_err(|error| ApiError::internal(&error));
    }
    match work().await {
        Ok(answer) => {
            key.keep(app, &answer).await?;
            Ok(answer)
        }
        Err(error) => {
            key.give_back(app).await?;
            Err(error)
        }
    }
}

/// Clears away what is kept no longer, some of it if there is much: who calls this comes again.
pub async fn forget_old_answers(pool: &PgPool) -> Result<(), sqlx::Error> {
    let sql = format!(
        "delete from idempotency where (scope, key) in (
            select scope, key from idempotency where created_at < now() - interval '{KEPT_HOURS} hours'
             order by created_at limit {FORGOTTEN_AT_ONCE} for update skip locked)"
    );
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(pool).await.map(drop)
}

fn request_hash<B: Serialize>(body: &B) -> Result<Vec<u8>, ApiError> {
    let bytes = serde_json::to_vec(body).map_err(|error| ApiError::internal(&error))?;
    Ok(Sha256::digest(&bytes).to_vec())
}

/// A key whose first command has not answered yet.
const PENDING: i32 = 0;
const DONE: i32 = 200;
/// A first command that has not answered after this long died with its process: its key is free again.
const ABANDONED: &str = "60 seconds";

impl Idempotency {
    async fn take(&self, app: &App, hash: &[u8]) -> Result<Option<serde_json::Value>, ApiError> {
        let taken = sqlx::query(sqlx::AssertSqlSafe(format!(
            "insert into idempotency (scope, key, request_hash, status, body, created_at)
             values ($1, $2, $3, {PENDING}, 'null', now())
             on conflict (scope, key) do update set request_hash = excluded.request_hash, created_at = now(), status = {PENDING}
             where idempotency.created_at < now() - interval '{KEPT_HOURS} hours'
                or (idempotency.status = {PENDING} and idempotency.created_at < now() - interval '{ABANDONED}')",
        )))
        .bind(&self.scope)
        .bind(&self.key)
        .bind(hash)
        .execute(app.pool())
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(None);
        }
        let (stored, status, Json(body)): (Vec<u8>, i32, Json<serde_json::Value>) = sqlx::query_as(
            "select request_hash, status, body from idempotency where scope = $1 and key = $2",
        )
        .bind(&self.scope)
        .bind(&self.key)
        .fetch_one(app.pool())
        .await?;
        if stored != hash {
            return Err(ApiError::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency_key_reused",
                "this key was used for another request: use a new key",
            ));
        }
        if status == PENDING {
            return Err(ApiError::conflict(
                "in_progress",
                "the first request with this key is still being worked on: ask again in a moment",
            ));
        }
        Ok(Some(body))
    }

    async fn keep<T: Serialize>(&self, app: &App, answer: &T) -> Result<(), ApiError> {
        let body = serde_json::to_value(answer).map_err(|error| ApiError::internal(&error))?;
        sqlx::query("update idempotency set status = $3, body = $4 where scope = $1 and key = $2")
            .bind(&self.scope)
            .bind(&self.key)
            .bind(DONE)
            .bind(body)
            .execute(app.pool())
            .await?;
        Ok(())
    }

    async fn give_back(&self, app: &App) -> Result<(), ApiError> {
        sqlx::query("delete from idempotency where scope = $1 and key = $2 and status = $3")
            .bind(&self.scope)
            .bind(&self.key)
            .bind(PENDING)
            .execute(app.pool())
            .await?;
        Ok(())
    }
}
