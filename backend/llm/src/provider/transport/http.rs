//! The clients that deployments are reached with.
//!
//! Invariant: a deployment that may not lead into a private network never does, whatever its name resolves to at the
//! moment of the connection, and no redirect is followed.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, redirect};
use syndarix_domain::network::is_private;
use thiserror::Error;
use url::{Host, Url};

use crate::error::{ErrorKind, ProviderError};
use crate::provider::{Deployment, EndpointAccess};

/// Most clients that are kept: one for each way of connecting that deployments name. Beyond it, somebody makes up
/// time-outs.
const MAX_CLIENTS: usize = 64;

/// How long a name may take to resolve before somebody who waits for it is told that it leads nowhere yet.
const PATIENCE: Duration = Duration::from_secs(3);

/// The HTTP client cannot be built.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The program did not install a TLS provider at its start.
    #[error(
        "no TLS provider is installed: call rustls::crypto::ring::default_provider().install_default() first"
    )]
    NoTlsProvider,
    /// The client's own reason.
    #[error("the HTTP client cannot be built")]
    Build(#[from] reqwest::Error),
}

/// How a connection is made; connections are shared by all deployments that are reached in the same way.
type Way = (EndpointAccess, Duration);

/// The clients for calls to providers, and their connections. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Http {
    clients: Arc<Mutex<HashMap<Way, Client>>>,
}

/// Clients for calls to providers: no Nagle delay, no redirects (a key must not follow one), no total time-out (answers
/// stream for minutes; the adapters hold the limits).
pub fn http_client() -> Result<Http, ClientError> {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(ClientError::NoTlsProvider);
    }
    Ok(Http::default())
}

impl Http {
    /// The client that a deployment is reached with.
    pub(crate) fn of(&self, deployment: &Deployment) -> Result<Client, ProviderError> {
        let access = deployment.endpoint_access;
        if access == EndpointAccess::Public && names_private(&deployment.base_url) {
            return Err(refused(&deployment.name));
        }
        let way = (access, deployment.limits.connect());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&way) {
            return Ok(client.clone());
        }
        let client = build(way).map_err(|error| {
            let message = format!("the HTTP client cannot be built: {error}");
            ProviderError::new(ErrorKind::Connection, message)
        })?;
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(way, client.clone());
        Ok(client)
    }
}

fn build((access, connect): Way) -> reqwest::Result<Client> {
    let builder = Client::builder()
        .tcp_nodelay(true)
        .connect_timeout(connect)
        .pool_idle_timeout(Duration::from_secs(60))
        .redirect(redirect::Policy::none())
        .user_agent(concat!("syndarix/", env!("CARGO_PKG_VERSION")));
    match access {
        EndpointAccess::Public => builder.dns_resolver(PublicOnly).build(),
        EndpointAccess::PrivateNetwork => builder.build(),
    }
}

/// Whether an address says already that it leads into a private network. Names are looked at when they are resolved.
pub(crate) fn names_private(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => is_private(address.into()),
        Some(Host::Ipv6(address)) => is_private(address.into()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
        None => false,
    }
}

/// Whether an address leads into a private network, as far as it can be known now: by itself, or by what its name
/// resolves to. A name that does not resolve leads nowhere yet; every connection looks again.
pub async fn leads_inside(url: &Url) -> bool {
    if names_private(url) {
        return true;
    }
    let Some(Host::Domain(name)) = url.host() else { return false };
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await;
    found.is_ok_and(|found| found.is_ok_and(|mut found| found.any(|address| is_private(address.ip()))))
}

/// The kind that says: the operator has to correct the deployment.
fn refused(deployment: &str) -> ProviderError {
    let message = format!(
        "the address of `{deployment}` is in a private network; if that is meant, say \
         endpoint_access = \"private_network\" where it is configured"
    );
    ProviderError::new(ErrorKind::NotFound, message)
}

/// Refuses what a name of the internet must not resolve to.
#[derive(Debug)]
struct PublicOnly;

/// A name leads into a private network.
#[derive(Debug, Error)]
#[error("it leads into a private network")]
pub(super) struct LeadsInside;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is the client's to fill in.
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            if found.iter().any(|address| is_private(address.ip())) {
                return Err(LeadsInside.into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

/// The same refusal where only the connection found it out.
pub(super) fn refused_inside(error: &reqwest::Error, deployment: &str) -> Option<ProviderError> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if error.is::<LeadsInside>() {
            return Some(refused(deployment));
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_names_a_private_network_is_known_without_asking_anybody() {
        for private in [
            "http://127.0.0.1:11434/v1",
            "http://localhost/v1",
            "http://api.localhost./v1",
            "http://[::1]/v1",
            "http://169.254.169.254/latest",
            "http://2130706433/v1",
            "http://0x7f.1/v1",
            "http://[::ffff:10.0.0.1]/v1",
        ] {
            assert!(names_private(&private.parse().unwrap()), "{private}");
        }
        for public in ["https://api.openai.com/v1", "http://1.1.1.1/v1", "http://10.example.com/v1"] {
            assert!(!names_private(&public.parse().unwrap()), "{public}");
        }
    }

    #[tokio::test]
    async fn an_address_is_looked_at_before_it_is_kept() {
        for (url, inside) in [
            ("https://localhost/v1", true),
            ("https://10.1.2.3/v1", true),
            ("https://[fd00::1]/v1", true),
            ("https://8.8.8.8/v1", false),
            ("https://nobody.invalid/v1", false),
        ] {
            assert_eq!(leads_inside(&url.parse().unwrap()).await, inside, "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_refused_when_it_is_resolved() {
        let refused = PublicOnly.resolve("localhost".parse().unwrap()).await.err().unwrap();
        assert!(refused.is::<LeadsInside>(), "{refused}");
    }

    /// The sockets that this process has open; the kernel is asked, for a client shows nothing of its own.
    #[cfg(target_os = "linux")]
    fn open_sockets() -> Vec<std::net::TcpStream> {
        use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
        let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        let numbers = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        // A file that is no socket, or none any more, has no address, and drops out where addresses are compared.
        numbers
            .filter_map(|number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok())
            .map(std::net::TcpStream::from)
            .collect()
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_written_to_a_provider_does_not_wait_to_fill_packets() {
        use tokio::io::AsyncReadExt as _;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let client = build((EndpointAccess::PrivateNetwork, Duration::from_secs(10))).unwrap();
        let provider = async {
            let (mut provider_end, caller) = listener.accept().await.unwrap();
            // The client sets its options once it knows that it is connected, and then writes.
            provider_end.read_u8().await.unwrap();
            let ours = open_sockets().into_iter().find(|socket| socket.local_addr().ok() == Some(caller));
            assert!(ours.expect("the connection is open: its other end is").nodelay().unwrap());
        };
        let (answer, ()) = tokio::join!(client.get(url).send(), provider);
        assert!(answer.is_err(), "it hung up");
    }
}
