//! One number for a whole handlespace, to see at a glance whether two registrars agree.
//!
//! Each element is spelt out as 64-bit words, the words are hashed, the hashes are added. It finds accidents, not
//! forgeries: the mixing is SplitMix64's, which anybody can turn back.

use crate::Policy;
use crate::PoolHandle;
use crate::wire::parameter::{PoolElement, Transport, TransportUse};
use std::net::IpAddr;

/// The digest of these elements, in whatever order they come.
pub(super) fn of<'a>(elements: impl Iterator<Item = (&'a PoolHandle, &'a PoolElement)>) -> u64 {
    elements.map(|(handle, element)| of_element(handle, element)).fold(0, u64::wrapping_add)
}

fn of_element(handle: &PoolHandle, element: &PoolElement) -> u64 {
    let mut spelling = Spelling(0);
    spelling.octets(handle.as_bytes());
    spelling.pair(element.id.0, element.home.0);
    spelling.word(element.life.0.into());
    spelling.transport(&element.user_transport);
    spelling.policy(&element.policy);
    match &element.asap_transport {
        Some(transport) => spelling.transport(transport),
        None => spelling.word(NOTHING),
    }
    match element.asap_tcp {
        Some(at) => spelling.address(at.ip(), at.port()),
        None => spelling.word(NOTHING),
    }
    spelling.0
}

/// Stands for an absent transport; no transport begins so.
const NOTHING: u64 = u64::MAX;

/// The hash of the words so far. What has a variable length is preceded by it, so no two elements are spelt alike.
struct Spelling(u64);

impl Spelling {
    fn word(&mut self, word: u64) {
        let mut z = (self.0 ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        self.0 = z ^ (z >> 31);
    }

    fn pair(&mut self, high: u32, low: u32) {
        self.word(u64::from(high) << 32 | u64::from(low));
    }

    fn octets(&mut self, octets: &[u8]) {
        self.word(octets.len() as u64);
        for chunk in octets.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_be_bytes(word));
        }
    }

    fn address(&mut self, ip: IpAddr, port: u16) {
        match ip {
            IpAddr::V4(ip) => self.octets(&ip.octets()),
            IpAddr::V6(ip) => self.octets(&ip.octets()),
        }
        self.word(port.into());
    }

    fn policy(&mut self, policy: &Policy) {
        self.word(policy.code().into());
        for (_, value) in policy.parameters() {
            self.word(value.into());
        }
        if let Policy::Other { data, .. } = policy {
            self.octets(data);
        }
    }

    fn transport(&mut self, transport: &Transport) {
        let usage = |transport_use: &TransportUse| match transport_use {
            TransportUse::Data => 0,
            TransportUse::DataAndControl => 1,
        };
        match transport {
            Transport::Dccp { port, service_code, address } => {
                self.pair(3, *service_code);
                self.address(*address, *port);
            }
            Transport::Sctp { port, transport_use, addresses } => {
                self.pair(4, usage(transport_use));
                self.word(addresses.len() as u64);
                addresses.iter().for_each(|address| self.address(*address, *port));
            }
            Transport::Tcp { port, transport_use, address } => {
                self.pair(5, usage(transport_use));
                self.address(*address, *port);
            }
            Transport::Udp { port, address } => {
                self.pair(6, 0);
                self.address(*address, *port);
            }
            Transport::UdpLite { port, address } => {
                self.pair(7, 0);
                self.address(*address, *port);
            }
            Transport::Opaque(address) => {
                self.pair(16, 0);
                self.octets(address);
            }
        }
    }
}
