//! Which addresses are worth telling, and worth believing (RFC 9260 §5.1.2).
//!
//! An address means something within its scope only: 127.0.0.1 is another host's own, 10.0.0.1 may be somebody else's on
//! the other side of the world. So an endpoint lists to a peer only what reaches at least as far as the address it talks
//! to, and believes no more from it: nobody outside can make us look for hosts inside.

use std::net::{IpAddr, Ipv4Addr};

/// How many addresses of one side are told, and how many are kept.
pub(crate) const ADDRESSES_MAX: usize = 16;

/// How far an address reaches. The order matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    /// This host: loopback.
    Host,
    /// This network: link-local addresses.
    Link,
    /// This site: private addresses (RFC 1918), shared ones (RFC 6598), unique local ones (RFC 4193).
    Site,
    Global,
}

fn scope(ip: IpAddr) -> Scope {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Scope::Host,
        IpAddr::V4(v4) if v4.is_link_local() => Scope::Link,
        IpAddr::V4(v4) if v4.is_private() || v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64 => {
            Scope::Site
        }
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Scope::Link,
        IpAddr::V6(v6) if v6.is_unique_local() => Scope::Site,
        _ => Scope::Global,
    }
}

/// True if `listed` may stand in the list between two ends of which one is at `peer`. A link-local address of IPv6 never
/// may: it needs a zone, for which an address parameter has no room.
pub(crate) fn is_useful(listed: IpAddr, peer: IpAddr) -> bool {
    let host =
        !(listed.is_unspecified() || listed.is_multicast() || listed == IpAddr::V4(Ipv4Addr::BROADCAST));
    let zoned = listed.is_ipv6() && scope(listed) == Scope::Link;
    host && !zoned && scope(listed) >= scope(peer)
}

/// How many leading bits two addresses of one family share. Those of one network share most, so this is where a packet
/// to one of them most probably leaves the host of the other.
pub(crate) fn common_bits(a: IpAddr, b: IpAddr) -> u32 {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_list_holds_only_what_reaches_as_far_as_the_peer() {
        let listed =
            |list: &[&str], peer: &str| list.iter().filter(|listed| is_useful(ip(listed), ip(peer))).count();
        let ours =
            ["127.0.0.1", "169.254.1.1", "10.1.0.1", "100.64.0.1", "fd00::1", "192.0.2.1", "2001:db8::1"];
        assert_eq!(listed(&ours, "127.0.0.2"), 7);
        assert_eq!(listed(&ours, "169.254.1.2"), 6);
        assert_eq!(listed(&ours, "172.16.0.9"), 5);
        assert_eq!(listed(&ours, "fd00::9"), 5);
        assert_eq!(listed(&ours, "198.51.100.9"), 2);
        assert_eq!(
            listed(&["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1"], "::1"),
            0
        );
    }

    #[test]
    fn addresses_of_one_network_share_most_bits() {
        assert_eq!(common_bits(ip("10.1.0.1"), ip("10.1.0.2")), 30);
        assert_eq!(common_bits(ip("10.1.0.1"), ip("10.2.0.2")), 14);
        assert_eq!(common_bits(ip("fd01::1"), ip("fd02::1")), 14);
        assert_eq!(common_bits(ip("10.1.0.1"), ip("fd02::1")), 0);
    }
}
