//! What the tests of all messages share, and the rules that hold for all of them.

use super::*;
use crate::{ElementId, Policy, PoolHandle, RegistrarId};
use parameter::{Life, PoolElement, Transport, TransportUse};
use std::net::IpAddr;

/// Octets from hexadecimal digits; spaces and line ends are for the reader.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits");
    let digit = |d: u8| char::from(d).to_digit(16).expect("filtered above") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

pub fn handle(text: &str) -> PoolHandle {
    PoolHandle::new(text).expect("1 to 32 octets")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn sctp(port: u16, transport_use: TransportUse, address: &str) -> Transport {
    Transport::Sctp { port, transport_use, addresses: vec![ip(address)] }
}

/// An element at 10.99.0.4 behind SCTP port 0xcb8b with control channel.
pub fn element(id: u32, home: u32, life: u32, policy: Policy) -> PoolElement {
    PoolElement {
        id: ElementId(id),
        home: RegistrarId(home),
        life: Life(life),
        user_transport: sctp(0xcb8b, TransportUse::DataAndControl, "10.99.0.4"),
        policy,
        asap_transport: None,
        asap_tcp: None,
    }
}

/// A message is these octets, in both directions; no part of the octets is a message; and nothing is skipped.
pub fn asap_is(message: asap::Message, octets: &str) {
    let octets = hex(octets);
    assert_eq!(message.emit(), octets, "{message:?}");
    assert_eq!(asap::Message::parse(&octets), Ok(message.clone()));
    assert_eq!(Parsed::<asap::Message>::read(&octets), Ok(Parsed { message, skipped: Vec::new() }));
    for cut in 0..octets.len() {
        assert!(asap::Message::parse(&octets[..cut]).is_err(), "cut at {cut}");
    }
    for mut longer in [vec![0], vec![0; 4], octets.clone()] {
        longer.splice(..0, octets.clone());
        let refusal = WireError::MessageLength { announced: octets.len(), received: longer.len() };
        assert_eq!(asap::Message::parse(&longer), Err(refusal));
    }
}

/// As [`asap_is`], for ENRP.
pub fn enrp_is(message: enrp::Message, octets: &str) {
    let octets = hex(octets);
    assert_eq!(message.emit(), octets, "{message:?}");
    assert_eq!(enrp::Message::parse(&octets), Ok(message.clone()));
    assert_eq!(Parsed::<enrp::Message>::read(&octets), Ok(Parsed { message, skipped: Vec::new() }));
    for cut in 0..octets.len() {
        assert!(enrp::Message::parse(&octets[..cut]).is_err(), "cut at {cut}");
    }
}
