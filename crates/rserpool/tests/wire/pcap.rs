//! Messages out of capture files: just enough of pcap, Ethernet, IPv4, SCTP and UDP for ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

/// What a message is, told by PPID, multicast group or port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Asap,
    Enrp,
    Csp,
    /// Application data, with its PPID.
    Other(u32),
}

/// A message as it was captured.
#[derive(Clone)]
pub struct Captured {
    /// The number of its (last) packet, from 1.
    pub frame: usize,
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub protocol: Protocol,
    pub octets: Vec<u8>,
}

impl fmt::Display for Captured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex: String = self.octets.iter().map(|octet| format!("{octet:02x}")).collect();
        write!(f, "frame {} {} > {} {:?} {hex}", self.frame, self.from, self.to, self.protocol)
    }
}

/// All messages of a capture, in order; fragments are put together, retransmissions left out.
pub fn messages(file: &[u8]) -> Vec<Captured> {
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1], "little endian pcap");
    assert_eq!(u32::from_le_bytes(word(file, 20)), 1, "Ethernet");
    let mut messages = Messages::default();
    let (mut at, mut frame) = (24, 0);
    while at < file.len() {
        frame += 1;
        let (kept, sent) = (u32::from_le_bytes(word(file, at + 8)), u32::from_le_bytes(word(file, at + 12)));
        assert_eq!(kept, sent, "frame {frame} was not captured in full");
        let packet = &file[at + 16..at + 16 + kept as usize];
        at += 16 + kept as usize;
        if packet[12..14] == [0x08, 0x00] {
            messages.ipv4(frame, &packet[14..]);
        }
    }
    messages.found
}

fn word(octets: &[u8], at: usize) -> [u8; 4] {
    octets[at..at + 4].try_into().expect("four octets")
}

fn half(octets: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([octets[at], octets[at + 1]])
}

/// One direction of an association, and one stream of it.
type Direction = (Ipv4Addr, Ipv4Addr, u16, u16, u32);

#[derive(Default)]
struct Messages {
    found: Vec<Captured>,
    /// Transmission sequence numbers seen, against retransmissions.
    seen: BTreeSet<(Direction, u32)>,
    /// Fragments that are not complete yet.
    fragments: BTreeMap<(Direction, u16), Vec<u8>>,
}

impl Messages {
    fn ipv4(&mut self, frame: usize, packet: &[u8]) {
        let header = usize::from(packet[0] & 0x0f) * 4;
        assert_eq!(half(packet, 6) & 0x3fff, 0, "IP fragments are not put together");
        let (from, to) = (Ipv4Addr::from(word(packet, 12)), Ipv4Addr::from(word(packet, 16)));
        let content = &packet[header..usize::from(half(packet, 2))];
        match packet[9] {
            17 => {
                let protocol = match (to.octets(), half(content, 2)) {
                    ([239, 0, 0, 50], _) => Protocol::Asap,
                    ([239, 0, 0, 51], _) => Protocol::Enrp,
                    (_, 2960) => Protocol::Csp,
                    _ => return,
                };
                let octets = content[8..usize::from(half(content, 4))].to_vec();
                self.found.push(Captured { frame, from, to, protocol, octets });
            }
            132 => self.sctp(frame, from, to, content),
            _ => {}
        }
    }

    fn sctp(&mut self, frame: usize, from: Ipv4Addr, to: Ipv4Addr, packet: &[u8]) {
        let tag = u32::from_be_bytes(word(packet, 4));
        let direction = (from, to, half(packet, 0), half(packet, 2), tag);
        let mut at = 12;
        while at + 4 <= packet.len() {
            let (kind, flags, length) = (packet[at], packet[at + 1], usize::from(half(packet, at + 2)));
            if kind == 0 {
                let chunk = &packet[at..at + length];
                self.data(frame, direction, flags, chunk);
            }
            at += length.next_multiple_of(4);
        }
    }

    fn data(&mut self, frame: usize, direction: Direction, flags: u8, chunk: &[u8]) {
        let sequence = u32::from_be_bytes(word(chunk, 4));
        if !self.seen.insert((direction, sequence)) {
            return;
        }
        let stream = half(chunk, 8);
        let mut octets = self.fragments.remove(&(direction, stream)).unwrap_or_default();
        assert_eq!(octets.is_empty(), flags & 0x02 != 0, "fragments in order, frame {frame}");
        octets.extend_from_slice(&chunk[16..]);
        if flags & 0x01 == 0 {
            self.fragments.insert((direction, stream), octets);
            return;
        }
        let protocol = match u32::from_be_bytes(word(chunk, 12)) {
            11 => Protocol::Asap,
            12 => Protocol::Enrp,
            other => Protocol::Other(other),
        };
        let (from, to, ..) = direction;
        self.found.push(Captured { frame, from, to, protocol, octets });
    }
}
