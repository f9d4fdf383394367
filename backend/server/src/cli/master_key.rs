//! `master-key`.

use super::{Failure, Global, local::Local, output};
use crate::features::gateway::{Rotation, rotate_master_key};
use clap::Subcommand;
use serde_json::json;

#[derive(Debug, Subcommand)]
pub(super) enum MasterKey {
    /// Encrypts all stored keys of model providers with the next master key, in one transaction.
    ///
    /// Where the key is a file of the data directory, the next one is made here. Otherwise put it before the present one in
    /// SYNDARIX_MASTER_KEY or its file, and restart every process with both first.
    Rotate,
}

impl MasterKey {
    pub(super) async fn run(self, global: &Global) -> Result<(), Failure> {
        let Self::Rotate = self;
        let local = Local::open(global).await?;
        let done = rotate_master_key(&local.app).await;
        local.close().await;
        match done.map_err(|error| Failure::chain(&error))? {
            None => output::line("nothing is encrypted yet, so there is no master key to change"),
            Some(rotation) => show(global, &rotation),
        }
        Ok(())
    }
}

fn show(global: &Global, rotation: &Rotation) {
    let Rotation { keys, secrets } = rotation;
    if global.json {
        output::json(&json!({ "from": keys.from, "to": keys.to, "secrets": secrets }));
        return;
    }
    output::line(&format!(
        "{secrets} keys are encrypted with the master key {} now, no longer with {}",
        keys.to, keys.from
    ));
}
