//! Where a repository may be imported from.
//!
//! The import runs with the rights of this process: it can read what the person who asks for it cannot. So directories of
//! this machine and hosts of its private networks can be named only if the operator has said so.

use crate::config::Config;
use std::{
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
    time::Duration,
};
use syndarix_forge::RemoteSource;

/// How long looking up a host may take.
const LOOK_UP_LIMIT: Duration = Duration::from_secs(10);
/// Any: only the answer's addresses count.
const PORT: u16 = 443;
/// Carrier-grade NAT, RFC 6598: 100.64.0.0/10.
const SHARED: std::ops::RangeInclusive<u8> = 64..=127;

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
    match addresses.map(|address| address.ip()).find(is_private) {
        None => Ok(()),
        Some(_) => Err(format!(
            "{host} is in a private network; the operator can allow it by naming the host in SYNDARIX_IMPORT_FROM"
        )),
    }
}

fn is_private(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_multicast()
                || first == 0
                || (first == 100 && SHARED.contains(&second))
        }
        IpAddr::V6(v6) => {
            let inner = v6.to_ipv4_mapped().map(IpAddr::V4);
            inner.map_or_else(|| is_private_v6(v6), |inner| is_private(&inner))
        }
    }
}

fn is_private_v6(address: &Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_only_this_machine_or_its_network_reaches_are_private() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_private(&private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111"] {
            assert!(!is_private(&public.parse().unwrap()), "{public}");
        }
    }
}
