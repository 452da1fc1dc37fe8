//! Which of our addresses others can reach us at.

use crate::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The local address from which packets to `remote` would leave: the one to announce to it. Sends nothing.
///
/// Fails with [`Error::NoRoute`] if the system knows no way.
pub fn route_address_to(remote: SocketAddr) -> Result<IpAddr, Error> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a UDP socket only asks the routing table.
    let ask = || {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(remote)?;
        socket.local_addr()
    };
    ask().map(|at| at.ip()).map_err(|cause| Error::NoRoute { to: remote, cause })
}

/// Addresses others can reach this host at, those of the family of `like` only: at most 16, in the system's order,
/// without link-local ones. Loopback addresses only if there is nothing else.
pub fn local_addresses(like: IpAddr) -> Result<Vec<IpAddr>, Error> {
    let all = if_addrs::get_if_addrs().map_err(Error::Interfaces)?;
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in all {
        let ip = interface.ip();
        if ip.is_ipv4() == like.is_ipv4() && !is_link_local(ip) && !found.contains(&ip) {
            found.push(ip);
        }
    }
    if found.iter().any(|ip| !ip.is_loopback()) {
        found.retain(|ip| !ip.is_loopback());
    }
    found.truncate(16);
    Ok(found)
}

/// Of the addresses a door is bound to, those at which others can reach it now: those of this host for an unspecified one,
/// and of named ones those that an interface has.
pub fn present_addresses(bound: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    let all = if_addrs::get_if_addrs().map_err(Error::Interfaces)?;
    let here = |ip: &IpAddr| all.iter().any(|interface| interface.ip() == *ip);
    let mut found: Vec<IpAddr> = Vec::new();
    for &ip in bound {
        let now = match ip.is_unspecified() {
            true => local_addresses(ip)?,
            false => Some(ip).filter(here).into_iter().collect(),
        };
        found.extend(now.into_iter().filter(|ip| !found.contains(ip)).collect::<Vec<_>>());
    }
    Ok(found)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_host_leads_from_this_host() {
        let to = SocketAddr::from(([127, 0, 0, 1], 3863));
        assert_eq!(route_address_to(to).expect("loopback is up"), to.ip());
    }

    #[test]
    fn named_addresses_are_present_if_an_interface_has_them() {
        let named = |text: &str| text.parse::<IpAddr>().expect("an address");
        let (here, elsewhere) = (named("127.0.0.1"), named("192.0.2.1"));
        assert_eq!(present_addresses(&[elsewhere, here, here]).expect("interfaces can be listed"), [here]);
        let any = present_addresses(&[Ipv4Addr::UNSPECIFIED.into()]).expect("interfaces can be listed");
        assert_eq!(any, local_addresses(Ipv4Addr::UNSPECIFIED.into()).expect("interfaces can be listed"));
    }

    #[test]
    fn a_host_has_an_address() {
        let found = local_addresses(Ipv4Addr::UNSPECIFIED.into()).expect("interfaces can be listed");
        assert!(!found.is_empty() && found.iter().all(|ip| ip.is_ipv4()), "{found:?}");
    }
}
