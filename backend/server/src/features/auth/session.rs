//! Devices: families of refresh tokens, each good once.

use super::Keys;
use crate::db::{Error, Uow};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::Duration;
use sha2::{Digest, Sha256};
use sqlx::FromRow;
use syndarix_domain::{Timestamp, ids::UserId};
use uuid::Uuid;

/// How long a device stays signed in without being used.
pub(super) const LIFETIME: Duration = Duration::days(30);
/// How long a device stays signed in at most, however much it is used: then its person signs in again.
const ABSOLUTE_LIFETIME: Duration = Duration::days(180);
/// How long after its use a token may come back: two tabs that refresh at once must not sign each other out.
const GRACE: Duration = Duration::seconds(10);

/// A refresh token: 32 random bytes, or derived from the one before it. Not `Debug`: it must not reach a log.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RefreshToken([u8; 32]);

impl RefreshToken {
    /// The first token of a device.
    pub(super) fn random() -> Self {
        Self(rand::random())
    }

    /// Reads what a caller sent.
    pub(super) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text.trim()).ok()?.try_into().ok().map(Self)
    }

    /// As callers get it.
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// As it is stored.
    fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0).to_vec()
    }

    fn successor(&self, keys: &Keys) -> Self {
        Self(keys.successor_of(&self.0))
    }
}

/// What came of presenting a refresh token.
pub(super) enum Presented {
    /// It was good: this one follows it.
    Renewed { user: UserId, epoch: i32, next: RefreshToken },
    /// It was used before, and its device is signed out now.
    Reused { user: UserId, family: Uuid },
    /// It is unknown, expired, or its device or its person was signed out.
    Refused,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    user_id: Uuid,
    family: Uuid,
    user_agent: String,
    expires_at: Timestamp,
    used_at: Option<Timestamp>,
    successor: Option<Uuid>,
    revoked_at: Option<Timestamp>,
    token_epoch: i32,
    signed_in_at: Timestamp,
    /// The person's epoch now.
    epoch: i32,
}

/// What all tokens of a device have in common.
struct Family<'a> {
    id: Uuid,
    user: Uuid,
    user_agent: &'a str,
    epoch: i32,
    signed_in_at: Timestamp,
}

/// Signs a new device in, in the epoch in which the person's password was checked. Everybody's expired tokens go away.
pub(super) async fn open(
    uow: &mut Uow,
    user: UserId,
    epoch: i32,
    user_agent: &str,
) -> Result<RefreshToken, Error> {
    let now = uow.now();
    sqlx::query("delete from session where expires_at <= $1").bind(now).execute(uow.conn().await?).await?;
    let token = RefreshToken::random();
    let (id, family) = (uow.new_id(), uow.new_id());
    let family = Family { id: family, user: user.0, user_agent, epoch, signed_in_at: now };
    insert(uow, id, &family, &token).await?;
    Ok(token)
}

/// Signs a person out of every device: sessions and access tokens of the epoch before are refused from now on.
/// Gives the new epoch.
pub(super) async fn end_all(uow: &mut Uow, user: UserId) -> Result<i32, Error> {
    sqlx::query_scalar(
        "update app_user set token_epoch = token_epoch + 1 where id = $1 returning token_epoch",
    )
    .bind(user.0)
    .fetch_optional(uow.conn().await?)
    .await?
    .ok_or(Error::NotFound("user"))
}

/// The family of a token, with nobody else at work on it until the end of the transaction. Whoever revokes it would
/// otherwise miss the successor that a rotation beside it is about to write.
async fn hold_family(uow: &mut Uow, token: &RefreshToken) -> Result<Option<Uuid>, Error> {
    let family: Option<Uuid> = sqlx::query_scalar("select family from session where token_hash = $1")
        .bind(token.hash())
        .fetch_optional(uow.conn().await?)
        .await?;
    let Some(family) = family else { return Ok(None) };
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("session {family}"))
        .execute(uow.conn().await?)
        .await?;
    Ok(Some(family))
}

/// Takes a refresh token and gives the one that follows. One at a time in a family: of two tabs that present the same
/// token at once, the second finds it used and gets the same successor.
pub(super) async fn present(uow: &mut Uow, keys: &Keys, token: &RefreshToken) -> Result<Presented, Error> {
    if hold_family(uow, token).await?.is_none() {
        return Ok(Presented::Refused);
    }
    let row: Option<Row> = sqlx::query_as(
        "select s.id, s.user_id, s.family, s.user_agent, s.expires_at, s.used_at, s.successor, s.revoked_at,
                s.token_epoch, coalesce(s.signed_in_at, s.created_at) as signed_in_at, u.token_epoch as epoch
         from session s join app_user u on u.id = s.user_id where s.token_hash = $1",
    )
    .bind(token.hash())
    .fetch_optional(uow.conn().await?)
    .await?;
    let Some(row) = row else { return Ok(Presented::Refused) };
    let now = uow.now();
    if row.revoked_at.is_some() || row.expires_at <= now || row.token_epoch != row.epoch {
        return Ok(Presented::Refused);
    }
    let (user, epoch, next) = (UserId(row.user_id), row.epoch, token.successor(keys));
    match row.used_at {
        None => {
            let successor = uow.new_id();
            let family = Family {
                id: row.family,
                user: row.user_id,
                user_agent: &row.user_agent,
                epoch,
                signed_in_at: row.signed_in_at,
            };
            insert(uow, successor, &family, &next).await?;
            sqlx::query("update session set used_at = $2, successor = $3 where id = $1")
                .bind(row.id)
                .bind(now)
                .bind(successor)
                .execute(uow.conn().await?)
                .await?;
            Ok(Presented::Renewed { user, epoch, next })
        }
        Some(used_at) if now - used_at <= GRACE || unused(uow, row.successor).await? => {
            Ok(Presented::Renewed { user, epoch, next })
        }
        Some(_) => {
            revoke(uow, row.family).await?;
            Ok(Presented::Reused { user, family: row.family })
        }
    }
}

/// Signs out the device that a token belongs to, whichever of its tokens it is. None when there is no such device.
pub(super) async fn close(uow: &mut Uow, token: &RefreshToken) -> Result<Option<UserId>, Error> {
    let Some(family) = hold_family(uow, token).await? else { return Ok(None) };
    let user: Option<Uuid> =
        sqlx::query_scalar("select user_id from session where token_hash = $1 and revoked_at is null")
            .bind(token.hash())
            .fetch_optional(uow.conn().await?)
            .await?;
    let Some(user) = user else { return Ok(None) };
    revoke(uow, family).await?;
    Ok(Some(UserId(user)))
}

async fn insert(uow: &mut Uow, id: Uuid, family: &Family<'_>, token: &RefreshToken) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "insert into session
            (id, user_id, family, token_hash, user_agent, created_at, expires_at, token_epoch, signed_in_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id)
    .bind(family.user)
    .bind(family.id)
    .bind(token.hash())
    .bind(family.user_agent)
    .bind(now)
    .bind((now + LIFETIME).min(family.signed_in_at + ABSOLUTE_LIFETIME))
    .bind(family.epoch)
    .bind(family.signed_in_at)
    .execute(uow.conn().await?)
    .await?;
    Ok(())
}

async fn unused(uow: &mut Uow, session: Option<Uuid>) -> Result<bool, Error> {
    let unused: Option<bool> = sqlx::query_scalar("select used_at is null from session where id = $1")
        .bind(session)
        .fetch_optional(uow.conn().await?)
        .await?;
    Ok(unused.unwrap_or(false))
}

async fn revoke(uow: &mut Uow, family: Uuid) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query("update session set revoked_at = $2 where family = $1 and revoked_at is null")
        .bind(family)
        .bind(now)
        .execute(uow.conn().await?)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_and_what_is_none_is_refused() {
        let token = RefreshToken::random();
        assert!(RefreshToken::parse(&token.text()) == Some(token));
        for wrong in ["", "short", "!!!!", &"A".repeat(44)] {
            assert!(RefreshToken::parse(wrong).is_none(), "{wrong}");
        }
    }
}
