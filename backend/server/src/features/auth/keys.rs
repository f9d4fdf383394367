//! The key that signs access tokens of people and service tokens of agents.
//!
//! One Ed25519 key for the installation, kept in the database so that every instance accepts what another
//! signed. Whoever can read it can also write every row, so it is not worth more there than its neighbours.

use crate::clock::Clock;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use sqlx::PgPool;
use syndarix_domain::ids::{AgentId, ProjectId, RunId, UserId};
use syndarix_mcp_kit::{BACKEND_AUDIENCE, Claims, ISSUER, TokenError, TokenSigner, TokenVerifier, audience};
use uuid::Uuid;

/// How long an access token is good, in seconds.
pub(super) const ACCESS_SECONDS: i64 = 15 * 60;
/// How long a service token is good, in seconds: it must outlive one tool call, not one run.
const SERVICE_SECONDS: i64 = 15 * 60;
/// Bytes of the key that refresh tokens are derived with: one block of SHA-256, so that HMAC takes it as it is.
const REFRESH_KEY_BYTES: usize = 64;
/// The audience of people's access tokens: a service token must never pass for one.
const ACCESS_AUDIENCE: &str = "syndarix:api";

/// What a person's access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Who made it.
    pub iss: String,
    /// What it is for.
    pub aud: String,
    /// The person.
    pub sub: Uuid,
    /// The person's epoch when it was signed.
    pub epoch: i32,
    /// Until when, in seconds since 1970.
    pub exp: i64,
    /// Since when, in seconds since 1970.
    pub iat: i64,
}

/// What a service token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Capabilities, `<server>:read` or `<server>:write`.
    pub caps: Vec<String>,
    /// The one branch that it may make and move.
    pub branch: Option<String>,
}

/// Signs and checks tokens.
#[derive(Clone)]
pub struct Keys {
    signer: TokenSigner,
    verifier: TokenVerifier,
    encoding: EncodingKey,
    decoding: DecodingKey,
    public_pem: String,
    refresh: [u8; REFRESH_KEY_BYTES],
    clock: Clock,
}

/// The installation's key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The database failed.
    #[error("cannot read the signing key")]
    Database(#[from] sqlx::Error),
    /// What is stored is not a key.
    #[error("the stored signing key is not usable")]
    Key(#[from] TokenError),
    /// The stored key of refresh tokens is not one.
    #[error("the stored key of refresh tokens does not read")]
    Refresh(#[from] hex::FromHexError),
    /// What is stored is not a key of this algorithm.
    #[error("the stored signing key does not read")]
    Jwt(#[from] jsonwebtoken::errors::Error),
}

impl Keys {
    /// Reads the installation's key; the first instance makes it.
    pub async fn load(pool: &PgPool, clock: Clock) -> Result<Self, KeysError> {
        let fresh = TokenSigner::from_seed(rand::random())?.private_pem()?;
        let pem = secret(pool, "signing_key", &fresh).await?;
        let fresh: [u8; REFRESH_KEY_BYTES] = rand::random();
        let stored = secret(pool, "refresh_key", &hex::encode(fresh)).await?;
        let mut refresh = [0; REFRESH_KEY_BYTES];
        hex::decode_to_slice(stored, &mut refresh)?;
        let signer = TokenSigner::from_pem(&pem)?;
        let public_pem = signer.public_pem()?;
        Ok(Self {
            verifier: TokenVerifier::from_pem(&public_pem)?,
            encoding: EncodingKey::from_ed_pem(pem.as_bytes())?,
            decoding: DecodingKey::from_ed_pem(public_pem.as_bytes())?,
            signer,
            public_pem,
            refresh,
            clock,
        })
    }

    /// The refresh token that follows this one: the same each time, so that a lost answer can be given again, and
    /// known to nobody who does not hold both this token and the installation's key.
    pub(super) fn successor_of(&self, refresh_token: &[u8; 32]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new(&self.refresh.into());
        mac.update(b"syndarix refresh successor");
        mac.update(refresh_token);
        mac.finalize().into_bytes().into()
    }

    /// What MCP servers check service tokens with.
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Signs a person in for a quarter of an hour.
    pub fn sign_access(&self, user: UserId, epoch: i32) -> Result<String, KeysError> {
        let iat = self.clock.now().timestamp();
        let claims = AccessClaims {
            iss: ISSUER.into(),
            aud: ACCESS_AUDIENCE.into(),
            sub: user.0,
            epoch,
            exp: iat + ACCESS_SECONDS,
            iat,
        };
        Ok(jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), &claims, &self.encoding)?)
    }

    /// A person's claims, if this is a good access token.
    pub fn access(&self, token: &str) -> Option<AccessClaims> {
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[ACCESS_AUDIENCE]);
        // The platform's clock decides, so that a test can let a token expire.
        rules.validate_exp = false;
        let claims = jsonwebtoken::decode::<AccessClaims>(token, &self.decoding, &rules).ok()?.claims;
        (claims.exp > self.clock.now().timestamp()).then_some(claims)
    }

    /// Signs a token for one agent's calls to one MCP server, and to the backend on its behalf.
    pub fn sign_service(
        &self,
        server: &str,
        agent: AgentId,
        (project, run): (ProjectId, RunId),
        grant: Grant,
        id: Uuid,
    ) -> Result<String, KeysError> {
        let iat = self.clock.now().timestamp();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: vec![audience(server), BACKEND_AUDIENCE.into()],
            sub: agent.0,
            project: project.0,
            run: run.0,
            caps: grant.caps,
            branch: grant.branch,
            exp: u64::try_from(iat + SERVICE_SECONDS).unwrap_or_default(),
            iat: u64::try_from(iat).unwrap_or_default(),
            jti: id,
        };
        Ok(self.signer.sign(&claims)?)
    }

    /// An agent's claims, if this is a good service token for the backend.
    pub fn agent(&self, token: &str) -> Option<Claims> {
        self.verifier.verify(token, BACKEND_AUDIENCE).ok()
    }
}

/// A secret of the installation: what is stored, or `fresh` when this is the first instance.
async fn secret(pool: &PgPool, name: &str, fresh: &str) -> Result<String, sqlx::Error> {
    sqlx::query("insert into instance_secret (name, value) values ($1, $2) on conflict do nothing")
        .bind(name)
        .bind(fresh)
        .execute(pool)
        .await?;
    sqlx::query_scalar("select value from instance_secret where name = $1").bind(name).fetch_one(pool).await
}
