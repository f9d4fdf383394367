//! `Idempotency-Key`: the first answer to a command, given again for the same key for 24 hours.
//!
//! Invariants: the key is used up in the transaction in which the command takes effect (`db::Claim`), so that no crash
//! lets a command run twice; an answer that nobody lived to keep is made again from what that transaction did.

use super::{ApiError, Caller};
use crate::{
    db::{Author, CLAIMS_KEPT, Claim},
    state::App,
};
use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    http::{StatusCode, request::Parts},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use std::future::Future;
use syndarix_domain::ids::CommandId;
use uuid::Uuid;

/// Keys forgotten in one statement: bounds its locks.
const FORGOTTEN_AT_ONCE: i32 = 5_000;
/// The longest key, in bytes.
const MAX_KEY: usize = 200;

/// The key that a caller sent, bound to who and where.
#[derive(Debug, Clone, Copy)]
pub struct Idempotency(CommandId);

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
        Ok(Some(Self(id_of(&format!("{who} {} {}\n{key}", parts.method, parts.uri.path())))))
    }
}

/// The first half of the SHA-256: nobody finds two keys of the same half.
fn id_of(scope_and_key: &str) -> CommandId {
    let hash: [u8; 32] = Sha256::digest(scope_and_key).into();
    CommandId(Uuid::from_bytes(std::array::from_fn(|n| hash[n])))
}

/// The author of a command that came with this key and this body.
pub fn keyed<B: Serialize>(author: Author, key: Option<Idempotency>, body: &B) -> Result<Author, ApiError> {
    let Some(Idempotency(id)) = key else { return Ok(author) };
    let body = serde_json::to_vec(body).map_err(|error| ApiError::internal(&error))?;
    Ok(author.claiming(Claim { id, request: Sha256::digest(&body).into() }))
}

/// What is known of a key.
enum First<R, T> {
    /// The command took effect; this came of it.
    Done(R),
    /// And this was answered.
    Answered(T),
}

/// Does a command once for its author's key, and shows what came of it. `work` must write through a unit of work of this
/// author and commit what it returns with `commit_with`, unless that is nothing; `show` makes the answer from that alone.
pub async fn idempotent<R, T, W, S>(
    app: &App,
    author: Author,
    work: impl FnOnce() -> W,
    show: impl FnOnce(R) -> S,
) -> Result<T, ApiError>
where
    R: DeserializeOwned,
    T: Serialize + DeserializeOwned,
    W: Future<Output = Result<R, ApiError>>,
    S: Future<Output = Result<T, ApiError>>,
{
    let Some(claim) = author.claim else { return show(work().await?).await };
    let first = match stored(app, &claim).await? {
        Some(first) => first,
        None => match work().await {
            Ok(result) => First::Done(result),
            // A twin was quicker, or the failure came after the commit: then that is what counts.
            Err(error) => stored(app, &claim).await?.ok_or(error)?,
        },
    };
    match first {
        First::Answered(answer) => Ok(answer),
        First::Done(result) => {
            let answer = show(result).await?;
            keep(app, &claim, &answer).await;
            Ok(answer)
        }
    }
}

async fn stored<R: DeserializeOwned, T: DeserializeOwned>(
    app: &App,
    claim: &Claim,
) -> Result<Option<First<R, T>>, ApiError> {
    let row: Option<(Vec<u8>, Value, Option<Value>)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select request_hash, result, answer from idempotency
         where id = $1 and created_at >= now() - interval '{CLAIMS_KEPT}'"
    )))
    .bind(claim.id.0)
    .fetch_optional(app.pool())
    .await?;
    let Some((request, result, answer)) = row else { return Ok(None) };
    if request != claim.request {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this key was used for another request: use a new key",
        ));
    }
    let first = match answer {
        Some(answer) => serde_json::from_value(answer).map(First::Answered),
        None => serde_json::from_value(result).map(First::Done),
    };
    first.map(Some).map_err(|error| ApiError::internal(&error))
}

/// Keeps the answer. A command that had nothing to write has no row yet. What cannot be kept can be made again, so this is
/// no reason to tell the caller that a command failed which was done.
async fn keep<T: Serialize>(app: &App, claim: &Claim, answer: &T) {
    let kept = sqlx::query(
        "insert into idempotency (id, request_hash, answer, created_at) values ($1, $2, $3, now())
         on conflict (id) do update set answer = excluded.answer
         where idempotency.answer is null and idempotency.request_hash = excluded.request_hash",
    )
    .bind(claim.id.0)
    .bind(claim.request.as_slice())
    .bind(sqlx::types::Json(answer))
    .execute(app.pool())
    .await;
    if let Err(error) = kept {
        tracing::warn!(%error, "an answer could not be kept for its idempotency key");
    }
}

/// Forgets what is kept no longer, some of it if there is much: who calls this comes again.
pub async fn forget_old_answers(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "delete from idempotency where id in (
            select id from idempotency where created_at < now() - interval '{CLAIMS_KEPT}'
             order by created_at limit {FORGOTTEN_AT_ONCE} for update skip locked)"
    )))
    .execute(pool)
    .await
    .map(drop)
}
