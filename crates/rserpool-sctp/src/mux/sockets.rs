//! Where our own UDP sockets are.
//!
//! An SCTP endpoint with several addresses has a UDP socket at each, all with the same number: they are siblings. Which
//! of them a packet leaves from decides which network it takes, as far as the host routes by source address; and its
//! source address is what the other side answers to. One socket may have several addresses, too, if it is bound to none.

use crate::scope::{ADDRESSES_MAX, common_bits, is_useful};
use std::collections::BTreeMap;
use std::net::IpAddr;

struct Socket {
    port: u16,
    addresses: Vec<IpAddr>,
}

/// What we know of our sockets. One we were never told about stands alone and has no address to list.
#[derive(Default)]
pub(super) struct Sockets {
    known: BTreeMap<usize, Socket>,
}

impl Sockets {
    /// A socket is at this UDP port of these addresses.
    pub fn bind(&mut self, socket: usize, port: u16, addresses: &[IpAddr]) {
        self.known.insert(socket, Socket { port, addresses: addresses.to_vec() });
    }

    /// What to list as our addresses (RFC 9260 §3.3.2.1) to a peer at `peer` who reaches us at `socket`: what is useful
    /// to it of all siblings, the socket's own first. Empty if it would not say more than the packet's source.
    pub fn listed_to(&self, socket: usize, peer: IpAddr) -> Vec<IpAddr> {
        let Some(own) = self.known.get(&socket) else { return Vec::new() };
        let siblings = self.known.values().filter(|sibling| sibling.port == own.port);
        let mut listed: Vec<IpAddr> = Vec::new();
        for &ip in own.addresses.iter().chain(siblings.flat_map(|sibling| &sibling.addresses)) {
            if is_useful(ip, peer) && !listed.contains(&ip) && listed.len() < ADDRESSES_MAX {
                listed.push(ip);
            }
        }
        if listed.len() < 2 { Vec::new() } else { listed }
    }

    /// The socket at this UDP port from which `remote` is most probably reached.
    pub fn towards(&self, port: u16, remote: IpAddr) -> Option<usize> {
        let near = |socket: &Socket| {
            let same = socket.addresses.iter().filter(|ip| ip.is_ipv4() == remote.is_ipv4());
            same.map(|&ip| common_bits(ip, remote)).max()
        };
        let fitting = self.known.iter().filter(|(_, socket)| socket.port == port);
        let near = fitting.filter_map(|(&number, socket)| Some((near(socket)?, std::cmp::Reverse(number))));
        near.max().map(|(_, std::cmp::Reverse(number))| number)
    }

    /// The sibling from which `remote` is most probably reached. None if none has its family.
    pub fn sibling_towards(&self, socket: usize, remote: IpAddr) -> Option<usize> {
        self.towards(self.known.get(&socket)?.port, remote)
    }

    /// The `turns`-th sibling after a socket that can send to `remote`, in a circle; the socket itself if it is alone.
    pub fn after(&self, socket: usize, turns: u32, remote: IpAddr) -> usize {
        let Some(port) = self.known.get(&socket).map(|own| own.port) else { return socket };
        let fits = |other: &Socket| {
            other.port == port && other.addresses.iter().any(|ip| ip.is_ipv4() == remote.is_ipv4())
        };
        let fitting: Vec<usize> =
            self.known.iter().filter(|(_, other)| fits(other)).map(|(&number, _)| number).collect();
        let Some(place) = fitting.iter().position(|&number| number == socket) else { return socket };
        fitting[(place + turns as usize) % fitting.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Two networks at port 3863, one of them with IPv6 as well, and port 9899 besides.
    fn sockets() -> Sockets {
        let mut sockets = Sockets::default();
        sockets.bind(0, 3863, &[ip("10.1.0.1")]);
        sockets.bind(1, 3863, &[ip("10.2.0.1")]);
        sockets.bind(2, 9899, &[ip("10.1.0.1")]);
        sockets.bind(3, 3863, &[ip("fd02::1")]);
        sockets
    }

    #[test]
    fn siblings_are_listed_the_sockets_own_address_first_and_a_lone_one_not_at_all() {
        let sockets = sockets();
        assert_eq!(sockets.listed_to(1, ip("10.2.0.9")), [ip("10.2.0.1"), ip("10.1.0.1"), ip("fd02::1")]);
        assert_eq!(sockets.listed_to(2, ip("10.1.0.9")), [] as [IpAddr; 0]);
        assert_eq!(sockets.listed_to(0, ip("192.0.2.9")), [] as [IpAddr; 0]);
        assert_eq!(sockets.listed_to(7, ip("10.1.0.9")), [] as [IpAddr; 0]);
        let mut many = Sockets::default();
        let addresses: Vec<IpAddr> = (0..40).map(|n| IpAddr::from([10, 0, 0, n])).collect();
        many.bind(0, 3863, &addresses);
        assert_eq!(many.listed_to(0, ip("10.1.0.9")), addresses[..16]);
    }

    #[test]
    fn the_socket_in_the_same_network_is_preferred_and_the_family_must_fit() {
        let sockets = sockets();
        assert_eq!(sockets.towards(3863, ip("10.2.0.9")), Some(1));
        assert_eq!(sockets.towards(3863, ip("10.1.0.9")), Some(0));
        assert_eq!(sockets.towards(3863, ip("127.0.0.1")), Some(0), "a tie: the first");
        assert_eq!(sockets.towards(3863, ip("fd09::9")), Some(3));
        assert_eq!(sockets.towards(9899, ip("fd09::9")), None);
        assert_eq!(sockets.sibling_towards(0, ip("10.2.0.9")), Some(1));
        let circle: Vec<usize> = (0..4).map(|turns| sockets.after(1, turns, ip("10.2.0.9"))).collect();
        assert_eq!(circle, [1, 0, 1, 0]);
        assert_eq!((sockets.after(2, 1, ip("10.1.0.9")), sockets.after(7, 1, ip("10.1.0.9"))), (2, 7));
    }
}
