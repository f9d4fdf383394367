//! The key that signs access tokens of people and service tokens of agents.
//!
//! One Ed25519 key for the installation, kept in the database so that every instance accepts what another
//! signed. Whoever can read it can also write every row, so it is not worth more there than its neighbours.

use crate::clock::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use syndarix_domain::ids::{AgentId, ProjectId, RunId, UserId};
use syndarix_mcp_kit::{BACKEND_AUDIENCE, Claims, ISSUER, TokenError, TokenSigner, TokenVerifier, audience};
use uuid::Uuid;

/// How long an access token is good, in seconds.
pub(super) const ACCESS_SECONDS: i64 = 15 * 60;
/// How long a service token is good, in seconds: it must outlive one tool call, not one run.
const SERVICE_SECONDS: i64 = 15 * 60;
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

/// Signs and checks tokens.
#[derive(Clone)]
pub struct Keys {
    signer: TokenSigner,
    verifier: TokenVerifier,
    encoding: EncodingKey,
    decoding: DecodingKey,
    public_pem: String,
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
    /// What is stored is not a key of this algorithm.
    #[error("the stored signing key does not read")]
    Jwt(#[from] jsonwebtoken::errors::Error),
}

impl Keys {
    /// Reads the installation's key; the first instance makes it.
    pub async fn load(pool: &PgPool, clock: Clock) -> Result<Self, KeysError> {
        let fresh = TokenSigner::from_seed(rand::random())?.private_pem()?;
        sqlx::query(
            "insert into instance_secret (name, value) values ('signing_key', $1) on conflict do nothing",
        )
        .bind(&fresh)
        .execute(pool)
        .await?;
        let pem: String = sqlx::query_scalar("select value from instance_secret where name = 'signing_key'")
            .fetch_one(pool)
            .await?;
        Self::from_pem(&pem, clock)
    }

    fn from_pem(pem: &str, clock: Clock) -> Result<Self, KeysError> {
        let signer = TokenSigner::from_pem(pem)?;
        let public_pem = signer.public_pem()?;
        Ok(Self {
            verifier: TokenVerifier::from_pem(&public_pem)?,
            encoding: EncodingKey::from_ed_pem(pem.as_bytes())?,
            decoding: DecodingKey::from_ed_pem(public_pem.as_bytes())?,
            signer,
            public_pem,
            clock,
        })
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
        caps: Vec<String>,
        id: Uuid,
    ) -> Result<String, KeysError> {
        let iat = self.clock.now().timestamp();
        let claims = Claims {
            iss: ISSUER.into(),
            aud: vec![audience(server), BACKEND_AUDIENCE.into()],
            sub: agent.0,
            project: project.0,
            run: run.0,
            caps,
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
