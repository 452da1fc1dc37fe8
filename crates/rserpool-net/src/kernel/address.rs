//! Addresses as the kernel reads and writes them: `sockaddr_in` and `sockaddr_in6`, octet by octet.

use libc::{AF_INET, AF_INET6};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Octets of a `sockaddr_in` and of a `sockaddr_in6`.
const LENGTHS: (usize, usize) = (16, 28);

/// Appends an address.
pub(super) fn emit(at: SocketAddr, out: &mut Vec<u8>) {
    let start = out.len();
    let family = if at.is_ipv4() { AF_INET } else { AF_INET6 };
    out.extend_from_slice(&(family as u16).to_ne_bytes());
    out.extend_from_slice(&at.port().to_be_bytes());
    match at {
        SocketAddr::V4(at) => {
            out.extend_from_slice(&at.ip().octets());
            out.resize(start + LENGTHS.0, 0);
        }
        SocketAddr::V6(at) => {
            out.extend_from_slice(&at.flowinfo().to_be_bytes());
            out.extend_from_slice(&at.ip().octets());
            out.extend_from_slice(&at.scope_id().to_ne_bytes());
        }
    }
}

/// Reads an address from the front, and how many octets it takes. An IPv4 address that a socket of IPv6 shows as one of
/// its own is an IPv4 address here. `None` for anything else.
pub(super) fn parse(octets: &[u8]) -> Option<(SocketAddr, usize)> {
    let family = i32::from(u16::from_ne_bytes(octets.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(octets.get(2..4)?.try_into().ok()?);
    if family == AF_INET {
        let ip: [u8; 4] = octets.get(4..8)?.try_into().ok()?;
        octets.get(..LENGTHS.0)?;
        return Some(((ip, port).into(), LENGTHS.0));
    }
    if family == AF_INET6 {
        let ip: [u8; 16] = octets.get(8..24)?.try_into().ok()?;
        octets.get(..LENGTHS.1)?;
        return Some(((Ipv6Addr::from(ip).to_canonical(), port).into(), LENGTHS.1));
    }
    None
}

/// Reads so many addresses, one after the other; stops at the first that is none.
pub(super) fn parse_all(octets: &[u8], count: usize) -> Vec<IpAddr> {
    let mut rest = octets;
    let mut all = Vec::new();
    while all.len() < count
        && let Some((at, length)) = parse(rest)
    {
        all.push(at.ip());
        rest = &rest[length..];
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_were_and_are_never_read_beyond_their_end() {
        let several: Vec<SocketAddr> = ["10.1.0.1:9901", "[fd01::2]:9901", "127.0.0.1:7"]
            .map(|text| text.parse().expect("legal"))
            .into();
        let mut octets = Vec::new();
        several.iter().for_each(|&at| emit(at, &mut octets));
        assert_eq!(octets.len(), 16 + 28 + 16);
        assert_eq!(parse(&octets), Some((several[0], 16)));
        assert_eq!(parse_all(&octets, 3), several.iter().map(SocketAddr::ip).collect::<Vec<_>>());
        assert_eq!(parse_all(&octets, 2).len(), 2);
        assert_eq!(parse_all(&octets[..59], 3).len(), 2);
        assert_eq!(parse(&[0; 28]), None);
    }

    #[test]
    fn an_ipv4_address_in_ipv6_clothes_is_an_ipv4_address() {
        let mut octets = Vec::new();
        emit("[::ffff:10.1.0.1]:5".parse().expect("legal"), &mut octets);
        assert_eq!(parse(&octets), Some(("10.1.0.1:5".parse().expect("legal"), 28)));
    }
}
