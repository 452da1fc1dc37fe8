//! Where packets come from and go to.

use std::net::SocketAddr;

/// The UDP port of SCTP stacks that follow RFC 6951 §5.1 strictly.
pub const UDP_PORT: u16 = 9899;

/// One way to the other side: from one of our UDP sockets to one of its addresses and UDP ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// Which of our sockets; the numbers are the caller's.
    pub socket: usize,
    /// The other side's address and UDP port.
    pub remote: SocketAddr,
}

/// The UDP ports at which an SCTP endpoint with this port may be: its own number, and 9899. No port twice.
pub fn udp_ports(sctp_port: u16) -> impl Iterator<Item = u16> {
    std::iter::once(sctp_port).chain((sctp_port != UDP_PORT).then_some(UDP_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_sought_at_its_own_number_and_at_9899() {
        assert_eq!(udp_ports(3863).collect::<Vec<_>>(), [3863, 9899]);
        assert_eq!(udp_ports(9899).collect::<Vec<_>>(), [9899]);
    }
}
