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
    fn a_host_has_an_address() {
        let found = local_addresses(Ipv4Addr::UNSPECIFIED.into()).expect("interfaces can be listed");
        assert!(!found.is_empty() && found.iter().all(|ip| ip.is_ipv4()), "{found:?}");
    }
}
