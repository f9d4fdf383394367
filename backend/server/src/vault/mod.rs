//! Secrets of other systems, encrypted with a key that is not in the database: a dump opens none of them.
//!
//! Invariants:
//! - what is sealed opens only at its own place (what it is, whose, which row, for which address): a row that is moved to
//!   another tenant, or pointed at another address, does not open;
//! - all processes seal with one key, the one whose id is in the database; a process that has another one refuses to seal,
//!   so that no installation ends up with keys of which each process knows a part;
//! - a change of the master key is one transaction, and a crash in it leaves both keys known;
//! - nothing here shows a secret: errors name ids only.

mod key;
mod rotate;
mod source;

pub use rotate::Rotated;

use crate::config::Config;
use key::MasterKey;
use source::Source;
use sqlx::PgConnection;
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};
use syndarix_domain::ids::OrganisationId;
use syndarix_llm::Secret;
use uuid::Uuid;

/// Where the database says which key secrets are sealed with. The id tells nothing of the key.
const CURRENT: &str = "master_key_id";

/// Encrypts and decrypts.
pub struct Vault {
    source: Source,
    ring: RwLock<Arc<[MasterKey]>>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Where a secret belongs; it opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// What it is, in words that never change.
    pub what: &'static str,
    /// Whose.
    pub organisation: OrganisationId,
    /// The row.
    pub id: Uuid,
    /// Where it is sent to.
    pub address: &'a str,
}

/// A secret as it is stored.
#[derive(Clone)]
pub struct Sealed {
    /// The master key that it opens with.
    pub key_id: String,
    /// A nonce, and what it says.
    pub bytes: Vec<u8>,
    /// The same for the same secret of the same organisation, and telling nothing of it to who has no master key.
    pub fingerprint: String,
}

/// A secret can be neither sealed nor opened.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// What was configured is no key.
    #[error(
        "{from} is not a master key: it takes 64 hexadecimal digits, as `openssl rand -hex 32` prints them, and after a \
         comma or on further lines those keys that are still in use"
    )]
    NoKey {
        /// The setting or the file.
        from: String,
    },
    /// The file cannot be read or written.
    #[error("cannot use the file {path} with the master key")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// This process has no such key.
    #[error(
        "keys are encrypted with the master key {id}, which this process does not have: set SYNDARIX_MASTER_KEY or \
         SYNDARIX_MASTER_KEY_FILE to the same in every process"
    )]
    Missing {
        /// The key's id.
        id: String,
    },
    /// It was changed, or moved from where it belongs.
    #[error("the stored secret does not open: it was changed, or moved from where it belongs; set it anew")]
    Tampered,
    /// There is no other key to change to.
    #[error(
        "the first master key is the one in use: put a new one before it, separated by a comma or a line, restart every \
         process with both, and run this again"
    )]
    NothingToDo,
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl Vault {
    /// Reads the keys that there are. None yet is no error: it is made when the first secret comes, where nobody gave one.
    pub fn open(config: &Config) -> Result<Self, VaultError> {
        let source = Source::of(config);
        let ring = RwLock::new(source.read()?.into());
        Ok(Self { source, ring })
    }

    /// Where the keys come from, in words.
    pub fn source(&self) -> String {
        self.source.to_string()
    }

    /// Whether there is no key yet.
    pub fn is_empty(&self) -> bool {
        self.ring().is_empty()
    }

    /// Seals a secret. The transaction holds the key's place until its end, so that no change of keys overlooks it.
    ///
    /// Errors: this process lacks the key that the others use; no key can be made.
    pub async fn seal(
        &self,
        conn: &mut PgConnection,
        place: Place<'_>,
        secret: &Secret,
    ) -> Result<Sealed, VaultError> {
        let id = match current(conn).await? {
            Some(id) => id,
            None => self.begin(conn).await?,
        };
        Ok(self.key(&id)?.seal(place, secret))
    }

    /// Opens what was sealed.
    ///
    /// Errors: this process lacks the key; it is not what was sealed, or not where.
    pub fn unseal(&self, place: Place<'_>, sealed: (&str, &[u8])) -> Result<Secret, VaultError> {
        let (key_id, bytes) = sealed;
        self.key(key_id)?.unseal(place, bytes).ok_or(VaultError::Tampered)
    }

    /// The first secret of the installation decides which key is used; of two processes one is first.
    async fn begin(&self, conn: &mut PgConnection) -> Result<String, VaultError> {
        if self.ring().is_empty() {
            self.keep(self.source.make()?);
        }
        let Some(first) = self.ring().first().map(|key| key.id.clone()) else {
            return Err(VaultError::NoKey { from: self.source.to_string() });
        };
        sqlx::query("insert into instance_secret (name, value) values ($1, $2) on conflict do nothing")
            .bind(CURRENT)
            .bind(&first)
            .execute(&mut *conn)
            .await?;
        Ok(current(conn).await?.unwrap_or(first))
    }

    /// A key by its id. A file is looked at again: it may have been changed since this process began.
    fn key(&self, id: &str) -> Result<MasterKey, VaultError> {
        let known = |ring: &[MasterKey]| ring.iter().find(|key| key.id == id).cloned();
        if let Some(key) = known(&self.ring()) {
            return Ok(key);
        }
        if self.source.may_change() {
            self.keep(self.source.read()?);
        }
        known(&self.ring()).ok_or_else(|| VaultError::Missing { id: id.to_owned() })
    }

    fn ring(&self) -> Arc<[MasterKey]> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, keys: Vec<MasterKey>) {
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }
}

/// The id of the key that is in use, and stays so until the transaction ends.
async fn current(conn: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select value from instance_secret where name = $1 for share")
        .bind(CURRENT)
        .fetch_optional(conn)
        .await
}
