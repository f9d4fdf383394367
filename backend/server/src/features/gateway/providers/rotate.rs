//! Another master key for everything that is sealed.

use super::{place, queries};
use crate::{
    db::{Author, Error, audit},
    state::App,
    vault::{Rotated, VaultError},
};
use serde_json::json;

/// What a change of the master key has done.
#[derive(Debug)]
pub struct Rotation {
    /// From which to which.
    pub keys: Rotated,
    /// How many secrets were sealed anew.
    pub secrets: usize,
}

/// The master key cannot be changed. Everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// The keys.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// One of the secrets does not open.
    #[error(
        "the key of the model provider {provider} does not open, so nothing was changed: replace or delete it first"
    )]
    Unreadable {
        /// Which.
        provider: uuid::Uuid,
        /// Why.
        source: VaultError,
    },
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Seals everything with the next master key, in one transaction. `None`: nothing was ever sealed.
pub async fn rotate(app: &App) -> Result<Option<Rotation>, RotateError> {
    let mut uow = app.store.begin(Author::system());
    let conn = uow.conn().await?;
    // Whoever stores a key holds its row first, and then the master key's place: here it is the same order. What was stored
    // meanwhile is seen by the second look.
    queries::with_keys(conn).await.map_err(Error::from)?;
    let Some(keys) = app.vault.begin_rotation(conn).await? else { return Ok(None) };
    let providers = queries::with_keys(conn).await.map_err(Error::from)?;
    for provider in &providers {
        let row = (provider.organisation(), provider.id);
        let place = place(row.0, row.1, &provider.base_url);
        let Some(sealed) = provider.sealed() else { continue };
        let resealed = app.vault.reseal(&keys, place, sealed);
        let resealed =
            resealed.map_err(|source| RotateError::Unreadable { provider: provider.id, source })?;
        queries::reseal(conn, row, &resealed).await.map_err(Error::from)?;
    }
    let secrets = providers.len();
    let entry = audit::Entry {
        id: uow.new_id(),
        project: None,
        event_type: "master_key.rotated".into(),
        category: "gateway".into(),
        severity: audit::Severity::Critical,
        actor: uow.actor(),
        action: format!("changed the master key and encrypted {secrets} keys anew"),
        data: json!({ "from": keys.from, "to": keys.to, "secrets": secrets }),
        at: uow.now(),
    };
    uow.audit(entry);
    uow.commit().await?;
    app.vault.end_rotation(&keys)?;
    Ok(Some(Rotation { keys, secrets }))
}
