//! Another master key: every secret is opened with the old and sealed with the new one, in one transaction.
//!
//! The new key is known before anything is sealed with it, and the old one until nothing is: a crash at any moment leaves
//! both, and doing it again ends it.

use super::{CURRENT, Place, Sealed, Vault, VaultError};
use sqlx::PgConnection;

/// What was done.
#[derive(Debug, Clone)]
pub struct Rotated {
    /// The key before.
    pub from: String,
    /// The key from now on.
    pub to: String,
}

impl Vault {
    /// Decides which keys are changed for which, and keeps everybody else from sealing until the transaction ends. `None`:
    /// nothing was ever sealed.
    pub async fn begin_rotation(&self, conn: &mut PgConnection) -> Result<Option<Rotated>, VaultError> {
        let from: Option<String> =
            sqlx::query_scalar("select value from instance_secret where name = $1 for update")
                .bind(CURRENT)
                .fetch_optional(&mut *conn)
                .await?;
        let Some(from) = from else { return Ok(None) };
        self.key(&from)?;
        if self.first().as_deref() == Some(&*from) && self.source.is_ours() {
            self.source.prepend()?;
            self.keep(self.source.read()?);
        }
        let to = self.first().filter(|first| *first != from).ok_or(VaultError::NothingToDo)?;
        sqlx::query("update instance_secret set value = $2 where name = $1")
            .bind(CURRENT)
            .bind(&to)
            .execute(conn)
            .await?;
        Ok(Some(Rotated { from, to }))
    }

    /// The same secret under the other key.
    pub fn reseal(
        &self,
        rotated: &Rotated,
        place: Place<'_>,
        sealed: (&str, &[u8]),
    ) -> Result<Sealed, VaultError> {
        let secret = self.unseal(place, sealed)?;
        Ok(self.key(&rotated.to)?.seal(place, &secret))
    }

    /// Forgets the old key, where the file is ours. Only once the change is committed.
    pub fn end_rotation(&self, rotated: &Rotated) -> Result<(), VaultError> {
        let new = self.key(&rotated.to)?;
        self.source.replace(std::slice::from_ref(&new))
    }

    fn first(&self) -> Option<String> {
        self.ring().first().map(|key| key.id.clone())
    }
}
