//! A bound on guessing: so many attempts in one window of time, for one e-mail from one network and for a network as a
//! whole.

use super::device::Device;
use crate::{http::ApiError, state::App};
use chrono::Duration;
use sha2::{Digest, Sha256};
use syndarix_domain::Timestamp;

/// Attempts for one e-mail: more than a person with a wrong key layout needs, far fewer than guessing needs.
const ATTEMPTS: i32 = 10;
/// Failures from one network, whatever the e-mail: an office behind one address on a Monday morning, and no list of
/// leaked passwords.
const NETWORK_ATTEMPTS: i32 = 100;
/// Registrations from one network.
const REGISTRATIONS: i32 = 50;
/// The window, from its first attempt.
const WINDOW: Duration = Duration::minutes(15);

/// The attempts of one kind. Kept in the database: all instances count together.
pub(super) struct Throttle {
    /// None: nothing is counted, because it is not known where the request comes from.
    key: Option<Vec<u8>>,
    attempts: i32,
}

impl Throttle {
    /// Attempts to prove to be somebody. Hashed: an e-mail that somebody mistyped is nobody's business.
    pub(super) fn account(who: &str, device: &Device) -> Self {
        Self { key: Some(hashed(who, &device.network)), attempts: ATTEMPTS }
    }

    /// Attempts to sign in from a network.
    pub(super) fn sign_ins(device: &Device) -> Self {
        Self::network("\nsign-ins", device, NETWORK_ATTEMPTS)
    }

    /// Registrations from a network.
    pub(super) fn registrations(device: &Device) -> Self {
        Self::network("\nregistrations", device, REGISTRATIONS)
    }

    fn network(what: &str, device: &Device, attempts: i32) -> Self {
        let known = !device.network.is_empty();
        Self { key: known.then(|| hashed(what, &device.network)), attempts }
    }

    /// Counts an attempt, before it is looked at: many at once are all counted.
    pub(super) async fn count(&self, app: &App) -> Result<(), ApiError> {
        let Some(key) = &self.key else { return Ok(()) };
        let now = app.clock().now();
        let (attempts, since): (i32, Timestamp) = sqlx::query_as(
            "insert into login_attempt as a (key, attempts, since) values ($1, 1, $2)
             on conflict (key) do update set
                attempts = case when a.since <= $3 then 1 else a.attempts + 1 end,
                since = case when a.since <= $3 then $2 else a.since end
             returning attempts, since",
        )
        .bind(key)
        .bind(now)
        .bind(now - WINDOW)
        .fetch_one(app.pool())
        .await?;
        if attempts == 1 {
            forget_old(app, now).await?;
        }
        if attempts <= self.attempts {
            return Ok(());
        }
        let wait = (since + WINDOW - now).num_seconds().max(1).unsigned_abs();
        Err(ApiError::too_many(
            "too_many_attempts",
            format!("too many attempts: try again in {} min", wait.div_ceil(60)),
            wait,
        ))
    }

    /// A success: the next attempts count from one.
    pub(super) async fn clear(&self, app: &App) -> Result<(), ApiError> {
        sqlx::query("delete from login_attempt where key = $1").bind(&self.key).execute(app.pool()).await?;
        Ok(())
    }

    /// Takes one attempt back that was a success: a busy network is no attack.
    pub(super) async fn uncount(&self, app: &App) -> Result<(), ApiError> {
        sqlx::query("update login_attempt set attempts = attempts - 1 where key = $1 and attempts > 0")
            .bind(&self.key)
            .execute(app.pool())
            .await?;
        Ok(())
    }
}

fn hashed(what: &str, network: &str) -> Vec<u8> {
    Sha256::digest(format!("{what}\n{network}")).to_vec()
}

async fn forget_old(app: &App, now: Timestamp) -> Result<(), ApiError> {
    sqlx::query("delete from login_attempt where since <= $1").bind(now - WINDOW).execute(app.pool()).await?;
    Ok(())
}
