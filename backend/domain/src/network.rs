//! Which addresses only a machine itself or its network reaches.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Carrier-grade NAT, RFC 6598: 100.64.0.0/10.
const SHARED: std::ops::RangeInclusive<u8> = 64..=127;
/// Addresses of IPv4 as the translators of RFC 6052 write them: 64:ff9b::/96.
const TRANSLATED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];
/// Addresses of IPv4 in 6to4's own network, RFC 3056: 2002::/16.
const SIX_TO_FOUR: u16 = 0x2002;

/// Whether an address leads to this machine, to its private networks, or to what a cloud tells its machines about
/// themselves, however it is written.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => inner(v6).map_or_else(|| is_private_v6(v6), is_private_v4),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_broadcast()
        || address.is_multicast()
        || first == 0
        || (first == 100 && SHARED.contains(&second))
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
}

/// The address of IPv4 that an address of IPv6 stands for.
fn inner(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let parts = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match parts {
        [first @ .., high, low] if first == TRANSLATED => Some(v4(high, low)),
        [SIX_TO_FOUR, high, low, ..] => Some(v4(high, low)),
        _ => address.to_ipv4_mapped(),
    }
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
            "fd00:ec2::254",
            "fe80::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a9fe:a9fe",
            "2002:7f00:1::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }
}
