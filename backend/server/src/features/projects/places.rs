//! Where a repository may be imported from.
//!
//! The import runs with the rights of this process: it can read what the person who asks for it cannot. So directories of
//! this machine and hosts of its private networks can be named only if the operator has said so.

use crate::config::Config;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use syndarix_domain::network::is_private;
use syndarix_forge::RemoteSource;

/// How long looking up a host may take.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(10);
/// Any: only the answer's addresses count.
const PORT: u16 = 443;

/// The directory as git takes it, and without links. Not those that hold other people's projects.
pub(super) fn local(path: &Path, config: &Config) -> Result<(RemoteSource, PathBuf), String> {
    let source = RemoteSource::local(path).map_err(|error| error.to_string())?;
    let real = path.canonicalize().map_err(|error| error.to_string())?;
    let own = [config.repositories(), config.workspaces()];
    let inside = own.iter().filter_map(|dir| dir.canonicalize().ok()).any(|dir| real.starts_with(dir));
    if inside { Err("this directory belongs to Syndarix itself".into()) } else { Ok((source, real)) }
}

/// Whether somebody who reaches the API may name this directory. What the data directory holds is reached only through
/// an entry of its own.
pub(super) fn may_name(path: &Path, config: &Config) -> Result<(), String> {
    // Said before the directory is looked at: the answer must not tell strangers what exists.
    let refused =
        "a directory on the server can be imported only if the operator allows it: SYNDARIX_IMPORT_FROM";
    let data = config.data_dir.canonicalize().unwrap_or_else(|_| config.data_dir.clone());
    let allows = |root: &PathBuf, real: &Path| {
        real.starts_with(root) && (!real.starts_with(&data) || (root.starts_with(&data) && *root != data))
    };
    let roots = config.import_from.iter().filter_map(|entry| Path::new(entry).canonicalize().ok());
    let mut roots = roots.filter(|root| root.is_absolute());
    let Ok(real) = path.canonicalize() else { return Err(refused.into()) };
    if roots.any(|root| allows(&root, &real)) { Ok(()) } else { Err(refused.into()) }
}

/// Refuses a host of a private network, unless it is named by the operator.
pub(super) async fn check_host(source: &RemoteSource, config: &Config) -> Result<(), String> {
    let Some(host) = source.host() else { return Ok(()) };
    if config.import_from.iter().any(|entry| entry.eq_ignore_ascii_case(&host)) {
        return Ok(());
    }
    let looked_up = tokio::time::timeout(LOOK_UP_LIMIT, tokio::net::lookup_host((host.as_str(), PORT))).await;
    // Git fails in the same way then, and says why.
    let Ok(Ok(addresses)) = looked_up else { return Ok(()) };
    match addresses.map(|address| address.ip()).find(|address| is_private(*address)) {
        None => Ok(()),
        Some(_) => Err(format!(
            "{host} is in a private network; the operator can allow it by naming the host in SYNDARIX_IMPORT_FROM"
        )),
    }
}
