//! A bound on guessing: so many attempts to sign in for one e-mail from one network in one window of time.

use crate::{http::ApiError, state::App};
use chrono::Duration;
use sha2::{Digest, Sha256};
use syndarix_domain::Timestamp;

/// Attempts in one window: more than a person with a wrong key layout needs, far fewer than guessing needs.
const ATTEMPTS: i32 = 10;
/// The window, from its first attempt.
const WINDOW: Duration = Duration::minutes(15);

/// The attempts of one e-mail from one network. Kept in the database: all instances count together.
pub(super) struct Throttle(Vec<u8>);

impl Throttle {
    /// Hashed: an e-mail that somebody mistyped is nobody's business.
    pub(super) fn of(email: &str, network: &str) -> Self {
        Self(Sha256::digest(format!("{email}\n{network}")).to_vec())
    }

    /// Counts an attempt, before it is looked at: many at once are all counted.
    pub(super) async fn count(&self, app: &App) -> Result<(), ApiError> {
        let now = app.clock().now();
        let (attempts, since): (i32, Timestamp) = sqlx::query_as(
            "insert into login_attempt as a (key, attempts, since) values ($1, 1, $2)
             on conflict (key) do update set
                attempts = case when a.since <= $3 then 1 else a.attempts + 1 end,
                since = case when a.since <= $3 then $2 else a.since end
             returning attempts, since",
        )
        .bind(&self.0)
        .bind(now)
        .bind(now - WINDOW)
        .fetch_one(app.pool())
        .await?;
        if attempts == 1 {
            forget_old(app, now).await?;
        }
        if attempts <= ATTEMPTS {
            return Ok(());
        }
        let wait = (since + WINDOW - now).num_seconds().max(1).unsigned_abs();
        Err(ApiError::too_many(
            "too_many_attempts",
            format!("too many attempts to sign in: try again in {} min", wait.div_ceil(60)),
            wait,
        ))
    }

    /// A success: the next attempts count from one.
    pub(super) async fn clear(&self, app: &App) -> Result<(), ApiError> {
        sqlx::query("delete from login_attempt where key = $1").bind(&self.0).execute(app.pool()).await?;
        Ok(())
    }
}

async fn forget_old(app: &App, now: Timestamp) -> Result<(), ApiError> {
    sqlx::query("delete from login_attempt where since <= $1").bind(now - WINDOW).execute(app.pool()).await?;
    Ok(())
}
