//! The device that a request comes from, and the cookie it keeps its refresh token in.

use crate::{config::Network, http::Peer, state::App};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use std::{convert::Infallible, net::IpAddr};

/// The cookie's name.
const COOKIE: &str = "syndarix_refresh";
/// The only paths that the cookie is sent to.
const PATH: &str = "/api/v1/auth";
/// What is kept of a browser's description of itself, in characters.
const MAX_USER_AGENT: usize = 300;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is known of the device that sends a request.
#[derive(Debug)]
pub(super) struct Device {
    /// The address it connects from. Behind a proxy that the operator trusts, what that proxy says of it; headers that
    /// a caller can write are not asked.
    pub(super) address: String,
    /// The network that address belongs to, as far as one subscriber can move within it.
    pub(super) network: String,
    /// How its browser describes itself.
    pub(super) user_agent: String,
    /// The refresh token that its cookie brought.
    pub(super) cookie: Option<String>,
    secure: bool,
}

impl FromRequestParts<App> for Device {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().map(|peer| peer.0.0.ip().to_canonical());
        let peer = peer.map(|peer| client(peer, &parts.headers, &app.config.trusted_proxies));
        let https = |url: &str| url.starts_with("https:");
        Ok(Self {
            address: peer.map(|peer| peer.to_string()).unwrap_or_default(),
            network: peer.map(network).unwrap_or_default(),
            user_agent: text(&parts.headers, &header::USER_AGENT).chars().take(MAX_USER_AGENT).collect(),
            cookie: cookie(&parts.headers),
            secure: app.config.public_url.as_deref().is_some_and(https)
                || text(&parts.headers, &FORWARDED_PROTO) == "https",
        })
    }
}

/// Whom a request comes from: each trusted proxy, from ours outwards, says who called it. What stands further left in
/// the header than the first address that is no trusted proxy's was written by the caller.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let hops: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let mut client = peer;
    for hop in hops.into_iter().rev() {
        let Ok(address) = hop.parse::<IpAddr>() else { break };
        if !is_trusted(client) {
            break;
        }
        client = address.to_canonical();
    }
    client
}

impl Device {
    /// The operator at the command line.
    pub(super) fn console() -> Self {
        Self {
            address: String::new(),
            network: String::new(),
            user_agent: "syndarix command line".into(),
            cookie: None,
            secure: false,
        }
    }

    /// The header that has a browser keep this refresh token for so many seconds; none of them removes it.
    pub(super) fn set_cookie(&self, token: &str, seconds: i64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{COOKIE}={token}; Path={PATH}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
    }
}

/// An IPv4 address, or the /64 of an IPv6 address: one subscriber has all of its 2^64 addresses.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, token)| token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_subscriber_can_take_at_will_count_as_one() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn behind_trusted_proxies_the_client_is_the_rightmost_hop_that_is_none_of_them() {
        let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()];
        let of = |peer: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_FOR, forwarded.parse().unwrap());
            client(peer.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(of("10.0.0.1", "203.0.113.7"), "203.0.113.7");
        assert_eq!(
            of("10.0.0.1", "198.51.100.1, 203.0.113.7, 10.9.9.9"),
            "203.0.113.7",
            "the left is hearsay"
        );
        assert_eq!(of("203.0.113.9", "198.51.100.1"), "203.0.113.9", "nobody trusts this peer");
        assert_eq!(of("::1", "no address"), "::1");
        assert_eq!(of("10.0.0.1", ""), "10.0.0.1");
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "theme=dark; x=1".parse().unwrap());
        assert_eq!(cookie(&headers), None);
        headers.append(header::COOKIE, "a=b; syndarix_refresh=T0ken; c=d".parse().unwrap());
        assert_eq!(cookie(&headers).as_deref(), Some("T0ken"));
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let device = |secure| Device {
            address: String::new(),
            network: String::new(),
            user_agent: String::new(),
            cookie: None,
            secure,
        };
        let plain = device(false).set_cookie("t", 60);
        assert_eq!(plain, "syndarix_refresh=t; Path=/api/v1/auth; Max-Age=60; HttpOnly; SameSite=Strict");
        assert!(device(true).set_cookie("t", 60).ends_with("; Secure"));
    }
}
