//! Service tokens: who is calling, for which project and run, and what they may do.
//!
//! An EdDSA (Ed25519) JWT signed by the backend. Servers hold the public key only. A token names the
//! servers it is meant for (`aud`), lives at most [`MAX_LIFETIME`], and is the only authority: the
//! arguments of a call may repeat the project and the agent, never change them.

use std::{fmt, sync::Arc, time::Duration};

use ed25519_dalek::{
    SigningKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, spki::der::pem::LineEnding},
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use uuid::Uuid;

/// The `iss` of every service token.
pub const ISSUER: &str = "syndarix";
/// The audience under which the backend itself accepts a service token.
pub const BACKEND_AUDIENCE: &str = "backend";
/// Longest time between `iat` and `exp`: a leaked token is useless soon.
pub const MAX_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Clock difference between backend and server that is forgiven, in seconds.
const LEEWAY_SECONDS: u64 = 5;
/// Longest token that is looked at, in bytes: verification must not be a way to burn CPU.
const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The audience of the MCP server called `server`, e.g. `mcp:git`.
pub fn audience(server: &str) -> String {
    format!("mcp:{server}")
}

/// What a service token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Always [`ISSUER`].
    pub iss: String,
    /// The services that may accept the token (`mcp:<server>`, [`BACKEND_AUDIENCE`]).
    #[serde(deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// The agent instance that acts.
    pub sub: Uuid,
    /// The project it acts in.
    pub project: Uuid,
    /// The run it acts for; names the worktree.
    pub run: Uuid,
    /// Capabilities, `<server>:read` or `<server>:write`.
    pub caps: Vec<String>,
    /// The one branch of the project's repository that the token may make and move; none when it may only look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Expiry, seconds since the Unix epoch.
    pub exp: u64,
    /// Issue time, seconds since the Unix epoch.
    pub iat: u64,
    /// Unique name of the token, for the audit log.
    pub jti: Uuid,
}

impl Claims {
    /// Whether the token carries the capability `<server>:<access>`; write includes read.
    pub fn allows(&self, server: &str, access: Access) -> bool {
        allows(&self.caps, server, access)
    }
}

/// Whether capabilities hold `<server>:<access>`; write includes read.
pub fn allows(capabilities: &[String], server: &str, access: Access) -> bool {
    capabilities.iter().filter_map(|cap| cap.split_once(':')).any(|(name, held)| {
        name == server && (held == access.as_str() || (held == "write" && access == Access::Read))
    })
}

/// What a tool does to the world, and so which capability it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Looks only.
    Read,
    /// Changes something.
    Write,
}

impl Access {
    /// The second half of a capability: `read` or `write`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Audience {
        One(String),
        Many(Vec<String>),
    }
    match Audience::deserialize(deserializer).map_err(|_| D::Error::custom("aud"))? {
        Audience::One(one) => Ok(vec![one]),
        Audience::Many(many) => Ok(many),
    }
}

/// Why a token or a key was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// The key is not an Ed25519 key in PEM.
    #[error("the key is not an Ed25519 key in PEM")]
    BadKey,
    /// Not a token, or not signed by the backend.
    #[error("the token is not a valid service token")]
    Invalid,
    /// Past its expiry.
    #[error("the token has expired")]
    Expired,
    /// Meant for another service.
    #[error("the token is meant for another service")]
    WrongAudience,
    /// Lives longer than [`MAX_LIFETIME`].
    #[error("the token lives too long")]
    TooLongLived,
}

/// Signs service tokens; lives in the backend only.
#[derive(Clone)]
pub struct TokenSigner {
    key: SigningKey,
    encoding: EncodingKey,
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenSigner(..)")
    }
}

impl TokenSigner {
    /// A signer for 32 secret bytes, which must come from a cryptographic random source.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, TokenError> {
        Self::of(SigningKey::from_bytes(&seed))
    }

    /// Reads a private key in PKCS#8 PEM.
    pub fn from_pem(pem: &str) -> Result<Self, TokenError> {
        Self::of(SigningKey::from_pkcs8_pem(pem).map_err(|_| TokenError::BadKey)?)
    }

    fn of(key: SigningKey) -> Result<Self, TokenError> {
        let der = key.to_pkcs8_der().map_err(|_| TokenError::BadKey)?;
        let encoding = EncodingKey::from_ed_der(der.as_bytes());
        Ok(Self { key, encoding })
    }

    /// The private key in PKCS#8 PEM, to be kept by the backend.
    pub fn private_pem(&self) -> Result<String, TokenError> {
        let pem = self.key.to_pkcs8_pem(LineEnding::LF).map_err(|_| TokenError::BadKey)?;
        Ok(pem.to_string())
    }

    /// The public key in SPKI PEM, to be given to the servers.
    pub fn public_pem(&self) -> Result<String, TokenError> {
        self.key.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|_| TokenError::BadKey)
    }

    /// Signs `claims` as they are; the caller keeps `exp - iat` within [`MAX_LIFETIME`].
    pub fn sign(&self, claims: &Claims) -> Result<String, TokenError> {
        jsonwebtoken::encode(&Header::new(Algorithm::EdDSA), claims, &self.encoding)
            .map_err(|_| TokenError::Invalid)
    }
}

/// Verifies service tokens with the backend's public key. Cheap to clone.
#[derive(Clone)]
pub struct TokenVerifier {
    key: Arc<DecodingKey>,
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenVerifier(..)")
    }
}

impl TokenVerifier {
    /// Reads the backend's public key in SPKI PEM.
    pub fn from_pem(pem: &str) -> Result<Self, TokenError> {
        let key = DecodingKey::from_ed_pem(pem.as_bytes()).map_err(|_| TokenError::BadKey)?;
        Ok(Self { key: Arc::new(key) })
    }

    /// Checks signature, issuer, expiry, lifetime and that `audience` is among the token's audiences.
    pub fn verify(&self, token: &str, audience: &str) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let mut rules = Validation::new(Algorithm::EdDSA);
        rules.leeway = LEEWAY_SECONDS;
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[audience]);
        rules.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        let data = jsonwebtoken::decode::<Claims>(token, &self.key, &rules).map_err(|e| match e.kind() {
            ErrorKind::ExpiredSignature => TokenError::Expired,
            ErrorKind::InvalidAudience => TokenError::WrongAudience,
            _ => TokenError::Invalid,
        })?;
        let claims = data.claims;
        let latest = claims.iat.min(jsonwebtoken::get_current_timestamp() + LEEWAY_SECONDS);
        // Not only `exp - iat`: an `iat` of next year must not make a token for next year.
        if claims.exp.saturating_sub(latest) > MAX_LIFETIME.as_secs() {
            return Err(TokenError::TooLongLived);
        }
        Ok(claims)
    }
}

/// The raw token of a request, kept to call the backend with. Never printed.
#[derive(Clone)]
pub struct Bearer(Arc<str>);

impl Bearer {
    /// Wraps the text after `Bearer `.
    pub fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    /// The token, for an `Authorization` header and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(..)")
    }
}
