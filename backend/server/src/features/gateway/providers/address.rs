//! Where a provider may be: people give the address, so that it may not lead where only this machine can go.

use crate::config::Config;
use syndarix_llm::{EndpointAccess, leads_inside};
use url::Url;

/// The longest address, in bytes.
const MAX_ADDRESS: usize = 500;

/// What is wrong with an address, if anything is.
pub(super) async fn check(config: &Config, address: &str) -> Result<(), String> {
    if address.len() > MAX_ADDRESS {
        return Err(format!("must have at most {MAX_ADDRESS} characters"));
    }
    let url = Url::parse(address).map_err(|error| format!("is not a web address: {error}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a name or a password: the key has a field of its own".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path: what comes after it is written for each request".into());
    }
    match access(config, &url) {
        Some(EndpointAccess::PrivateNetwork) => Ok(()),
        Some(EndpointAccess::Public) if !leads_inside(&url).await => Ok(()),
        Some(EndpointAccess::Public) => {
            Err("leads into a private network: the operator can allow this host in SYNDARIX_PROVIDER_HOSTS"
                .into())
        }
        None => {
            Err("must begin with https://, so that nobody reads the key and the conversations on their way; \
                     http:// is for hosts that the operator allowed in SYNDARIX_PROVIDER_HOSTS"
                .into())
        }
    }
}

/// Where an address may lead; `None`: it is not asked at all. Looked up each time, since the operator may allow a host
/// no longer.
pub(super) fn access(config: &Config, url: &Url) -> Option<EndpointAccess> {
    let is_web = matches!(url.scheme(), "http" | "https");
    if is_web && is_allowed(&config.provider_hosts, url) {
        return Some(EndpointAccess::PrivateNetwork);
    }
    (url.scheme() == "https").then_some(EndpointAccess::Public)
}

/// Whether the operator named the host, or the host with this port.
fn is_allowed(hosts: &[String], url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
    let with_port = format!("{host}:{port}");
    hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(&with_port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Flags;

    fn config(hosts: &str) -> Config {
        let env = |name: &str| (name == "SYNDARIX_PROVIDER_HOSTS").then(|| hosts.to_owned());
        Config::load(&Flags::default(), env).unwrap()
    }

    #[tokio::test]
    async fn an_address_leads_to_the_internet_or_where_the_operator_allowed_it() {
        let config = config("gpu.internal, 127.0.0.1:8001,[::1]:8001");
        for (address, word) in [
            ("https://8.8.8.8/v1", ""),
            ("http://gpu.internal/v1", ""),
            ("https://GPU.internal:9000/v1", ""),
            ("http://127.0.0.1:8001/v1", ""),
            ("http://[::1]:8001/v1", ""),
            ("http://127.0.0.1:8002/v1", "https"),
            ("https://127.0.0.1:8002/v1", "private network"),
            ("https://localhost:8001/v1", "private network"),
            ("https://169.254.169.254/latest", "private network"),
            ("https://0x7f.1/v1", "private network"),
            ("http://api.openai.com/v1", "https"),
            ("ftp://gpu.internal/v1", "https"),
            ("https://user:secret@8.8.8.8/v1", "password"),
            ("https://8.8.8.8/v1?key=1", "path"),
            ("api.openai.com", "web address"),
        ] {
            let said = check(&config, address).await.err().unwrap_or_default();
            assert!(said.contains(word) && said.is_empty() == word.is_empty(), "{address}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn a_host_that_is_allowed_no_longer_is_not_asked() {
        let url: Url = "http://gpu.internal/v1".parse().unwrap();
        assert_eq!(access(&config("gpu.internal"), &url), Some(EndpointAccess::PrivateNetwork));
        assert_eq!(access(&config(""), &url), None);
    }
}
