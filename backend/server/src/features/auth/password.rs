//! Password hashes: Argon2id, off the async threads, a bounded number at once.

use crate::http::ApiError;
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use axum::http::StatusCode;
use std::time::Duration;
use tokio::sync::Semaphore;

/// Memory of one hash in KiB: OWASP's first choice for Argon2id, enough to make guessing on a graphics card slow and
/// small enough for a machine that does other work.
const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory, as OWASP pairs it with 19 MiB.
const PASSES: u32 = 2;
/// Lanes: one, because several log-ins at once use the other cores already.
const LANES: u32 = 1;
/// Hashes at once: bounds memory (76 MiB) and leaves the other blocking threads to the rest of the platform.
const AT_ONCE: usize = 4;
/// How long a log-in waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A hash that no password has, with the parameters of real ones: checked when there is no such account, so that the
/// time of an answer does not say whether there is.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// A hash failed that no password can make fail.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
struct HashFailed(#[source] argon2::password_hash::Error);

fn argon2() -> Result<Argon2<'static>, ApiError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None)
        .map_err(|error| ApiError::internal(&HashFailed(error.into())))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Hashes a new password.
pub(super) async fn hash(password: &str) -> Result<String, ApiError> {
    let (argon2, password) = (argon2()?, password.to_owned());
    in_turn(move || argon2.hash_password(password.as_bytes()).map(|hash: PasswordHash| hash.to_string()))
        .await?
        .map_err(|error| ApiError::internal(&HashFailed(error)))
}

/// Whether the password is the one of this hash. Without a hash the same work is done, and the answer is no.
pub(super) async fn matches(password: &str, hash: Option<&str>) -> Result<bool, ApiError> {
    let (argon2, password) = (argon2()?, password.to_owned());
    let (known, hash) = (hash.is_some(), hash.unwrap_or(NOBODY).to_owned());
    let verified = in_turn(move || {
        let parsed = PasswordHash::new(&hash)?;
        argon2.verify_password(password.as_bytes(), &parsed)
    });
    match verified.await? {
        Ok(()) => Ok(known),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(ApiError::internal(&HashFailed(error))),
    }
}

async fn in_turn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
    let busy =
        || ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many people sign in now: try again");
    let turn = tokio::time::timeout(MAX_WAIT, TURNS.acquire()).await.map_err(|_| busy())?;
    let _turn = turn.map_err(|_| busy())?;
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::internal(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_with_the_named_parameters_and_matches_its_password_only() {
        let stored = hash("correct horse battery").await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(matches("correct horse battery", Some(&stored)).await.unwrap());
        assert!(!matches("correct horse batterz", Some(&stored)).await.unwrap());
        assert_ne!(stored, hash("correct horse battery").await.unwrap(), "a salt of its own");
    }

    #[tokio::test]
    async fn nobody_has_a_hash_that_is_as_much_work_and_that_nothing_matches() {
        let parsed = PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&parsed).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
        assert!(!matches("correct horse battery", None).await.unwrap());
    }

    #[tokio::test]
    async fn a_stored_hash_that_does_not_read_is_an_error_and_not_a_wrong_password() {
        assert!(matches("correct horse battery", Some("plain")).await.is_err());
    }
}
