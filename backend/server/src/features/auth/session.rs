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
    Renewed { user: UserId, next: RefreshToken },
    /// It was used before, and its device is signed out now.
    Reused { user: UserId, family: Uuid },
    /// It is unknown, expired, or its device was signed out.
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
}

/// Signs a new device in. What is left of the person's expired ones goes away.
pub(super) async fn open(uow: &mut Uow, user: UserId, user_agent: &str) -> Result<RefreshToken, Error> {
    let now = uow.now();
    sqlx::query("delete from session where user_id = $1 and expires_at <= $2")
        .bind(user.0)
        .bind(now)
        .execute(uow.conn())
        .await?;
    let token = RefreshToken::random();
    let (id, family) = (uow.new_id(), uow.new_id());
    insert(uow, (id, family), user.0, &token, user_agent).await?;
    Ok(token)
}

/// Takes a refresh token and gives the one that follows. The row is locked: of two tabs that present the same token
/// at once, the second finds it used and gets the same successor.
pub(super) async fn present(uow: &mut Uow, keys: &Keys, token: &RefreshToken) -> Result<Presented, Error> {
    let row: Option<Row> = sqlx::query_as(
        "select id, user_id, family, user_agent, expires_at, used_at, successor, revoked_at
         from session where token_hash = $1 for update",
    )
    .bind(token.hash())
    .fetch_optional(uow.conn())
    .await?;
    let Some(row) = row else { return Ok(Presented::Refused) };
    let now = uow.now();
    if row.revoked_at.is_some() || row.expires_at <= now {
        return Ok(Presented::Refused);
    }
    let (user, next) = (UserId(row.user_id), token.successor(keys));
    match row.used_at {
        None => {
            let successor = uow.new_id();
            insert(uow, (successor, row.family), row.user_id, &next, &row.user_agent).await?;
            sqlx::query("update session set used_at = $2, successor = $3 where id = $1")
                .bind(row.id)
                .bind(now)
                .bind(successor)
                .execute(uow.conn())
                .await?;
            Ok(Presented::Renewed { user, next })
        }
        Some(used_at) if now - used_at <= GRACE || unused(uow, row.successor).await? => {
            Ok(Presented::Renewed { user, next })
        }
        Some(_) => {
            revoke(uow, row.family).await?;
            Ok(Presented::Reused { user, family: row.family })
        }
    }
}

/// Signs out the device that a token belongs to, whichever of its tokens it is. None when there is no such device.
pub(super) async fn close(uow: &mut Uow, token: &RefreshToken) -> Result<Option<UserId>, Error> {
    let found: Option<(Uuid, Uuid)> =
        sqlx::query_as("select user_id, family from session where token_hash = $1 and revoked_at is null")
            .bind(token.hash())
            .fetch_optional(uow.conn())
            .await?;
    let Some((user, family)) = found else { return Ok(None) };
    revoke(uow, family).await?;
    Ok(Some(UserId(user)))
}

async fn insert(
    uow: &mut Uow,
    (id, family): (Uuid, Uuid),
    user: Uuid,
    token: &RefreshToken,
    user_agent: &str,
) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query(
        "insert into session (id, user_id, family, token_hash, user_agent, created_at, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(id)
    .bind(user)
    .bind(family)
    .bind(token.hash())
    .bind(user_agent)
    .bind(now)
    .bind(now + LIFETIME)
    .execute(uow.conn())
    .await?;
    Ok(())
}

async fn unused(uow: &mut Uow, session: Option<Uuid>) -> Result<bool, Error> {
    let unused: Option<bool> = sqlx::query_scalar("select used_at is null from session where id = $1")
        .bind(session)
        .fetch_optional(uow.conn())
        .await?;
    Ok(unused.unwrap_or(false))
}

async fn revoke(uow: &mut Uow, family: Uuid) -> Result<(), Error> {
    let now = uow.now();
    sqlx::query("update session set revoked_at = $2 where family = $1 and revoked_at is null")
        .bind(family)
        .bind(now)
        .execute(uow.conn())
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
