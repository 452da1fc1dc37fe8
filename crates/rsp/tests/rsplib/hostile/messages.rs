//! What nobody should send: what makes RSPLIB abort, and damaged messages of its captured traffic.

use crate::pcap::{self, Protocol};
use rserpool::{Door, Ppid, Random};
use std::path::Path;

/// A message with its payload protocol.
pub type Said = (Ppid, Vec<u8>);

/// Every message of the captures of RSPLIB, that of its services included.
fn captured() -> Vec<Said> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rserpool/tests/captures");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).expect("captures").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let files = files.iter().filter(|path| path.extension().is_some_and(|end| end == "pcap"));
    let messages = files.flat_map(|path| pcap::messages(&std::fs::read(path).expect("a capture")));
    let with_ppid = messages.map(|message| {
        let ppid = match message.protocol {
            Protocol::Asap => Ppid::ASAP,
            Protocol::Enrp => Ppid::ENRP,
            Protocol::Csp => Ppid(0),
            Protocol::Other(ppid) => Ppid(ppid),
        };
        (ppid, message.octets)
    });
    with_ppid.collect()
}

/// Damaged messages without end, for one door: by far most get past the first look, so that the damage gets as far as
/// possible.
pub struct Damaged {
    all: Vec<Said>,
    door: Door,
    random: Random,
}

/// Who a hostile registrar says it is, and whom it speaks to (row's `pool`).
const PEERS: [u32; 2] = [0x666, 1];

impl Damaged {
    pub fn new(door: Door, seed: u64) -> Self {
        Self { all: captured(), door, random: Random::from_seed(seed) }
    }

    /// At most so many. Of those whose payload protocol may end the link there is none but the last one.
    pub fn portion(&mut self, most: usize) -> Vec<Said> {
        let mut portion = Vec::new();
        while portion.len() < most {
            let (ppid, bytes) = self.one();
            let foreign = match self.door {
                Door::Asap => ppid != Ppid::ASAP,
                Door::Enrp => ppid != Ppid::ENRP,
                Door::Service => false,
            };
            portion.push((ppid, bytes));
            if foreign {
                break;
            }
        }
        portion
    }

    /// Bits, lengths, ends, and parameters twice or gone.
    fn one(&mut self) -> Said {
        let random = &mut self.random;
        let own = match self.door {
            Door::Asap => Some(Ppid::ASAP),
            Door::Enrp => Some(Ppid::ENRP),
            Door::Service => None,
        };
        let mut pick = || self.all[random.below(self.all.len() as u64) as usize].clone();
        let (mut ppid, mut bytes) = pick();
        // What is spoken at this door, mostly.
        for _ in 0..8 {
            if own.is_some_and(|own| ppid != own) {
                (ppid, bytes) = pick();
            }
        }
        for _ in 0..=random.below(2) {
            let at = random.below(bytes.len().max(1) as u64) as usize;
            let word = at - at % 4;
            match random.below(12) {
                0..4 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
                4..8 if at < bytes.len() => bytes[at] = random.next_u64() as u8,
                8 => bytes.truncate(at),
                9 => drop(bytes.drain(word..(word + 4 * random.below(5) as usize).min(bytes.len()))),
                10 => {
                    let end = (word + 4 * random.below(12) as usize).min(bytes.len());
                    let twice = bytes[word..end].to_vec();
                    drop(bytes.splice(end..end, twice));
                }
                _ => bytes.extend(std::iter::repeat_n(0x61, random.below(64) as usize)),
            }
        }
        ppid = match own {
            Some(_) if random.one_in(1_000) => Ppid(33),
            Some(own) => own,
            None if random.one_in(20) => {
                [Ppid::ASAP, Ppid::ENRP, Ppid(0), Ppid(33), Ppid(34)][random.below(5) as usize]
            }
            None => ppid,
        };
        if !random.one_in(8) && bytes.len() >= 4 {
            let length = bytes.len() as u16;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
        }
        // A registrar does not listen to somebody who says to be two.
        if self.door == Door::Enrp && bytes.len() >= 12 {
            bytes[4..8].copy_from_slice(&PEERS[0].to_be_bytes());
            if !random.one_in(8) {
                bytes[8..12].copy_from_slice(&PEERS[1].to_be_bytes());
            }
        }
        if bytes.is_empty() {
            bytes.push(7); // transports carry no empty messages
        }
        (ppid, bytes)
    }
}

/// A parameter: type, length, value, padding.
fn parameter(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut octets = kind.to_be_bytes().to_vec();
    octets.extend((4 + value.len() as u16).to_be_bytes());
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// A message of this type.
fn message(kind: u8, body: &[Vec<u8>]) -> Vec<u8> {
    let body = body.concat();
    let mut octets = vec![kind, 0];
    octets.extend((4 + body.len() as u16).to_be_bytes());
    octets.extend(body);
    octets
}

/// What makes a process of RSPLIB abort (each is a registration; the first is repeated with every message that names a
/// pool).
pub fn deadly() -> Vec<(Ppid, Vec<u8>)> {
    let ipv4 = |last: u8| parameter(1, &[10, 1, 0, last]);
    let transport =
        |kind: u16, addresses: &[Vec<u8>]| parameter(kind, &[vec![0, 7, 0, 0], addresses.concat()].concat());
    let policy =
        |words: &[u32]| parameter(8, &words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
    let element = |transport: Vec<u8>, policy: Vec<u8>| {
        let fixed = [0, 0, 0, 9, 0, 0, 0, 0, 0, 1, 0, 0];
        parameter(0xa, &[fixed.to_vec(), transport, policy].concat())
    };
    let (handle, long) = (parameter(9, b"deadly"), parameter(9, &[b'x'; 33]));
    let usual = || element(transport(4, &[ipv4(9)]), policy(&[1]));
    let mut all = Vec::new();
    for kind in [1, 2, 5, 6, 7, 8, 9, 0xd] {
        all.push(message(kind, &[long.clone(), usual()]));
    }
    // Two TCP addresses, an unknown parameter among addresses, a weight of zero, a business card as RSPLIB writes it.
    all.push(message(1, &[handle.clone(), element(transport(5, &[ipv4(9), ipv4(10)]), policy(&[1]))]));
    for kind in [0x8123, 0xc123] {
        let among = [ipv4(9), parameter(kind, &[1, 2, 3, 4]), ipv4(10)];
        all.push(message(1, &[handle.clone(), element(transport(4, &among), policy(&[1]))]));
    }
    all.push(message(1, &[handle.clone(), element(transport(4, &[ipv4(9)]), policy(&[4, 0]))]));
    all.push(message(5, std::slice::from_ref(&handle)));
    all.push(message(0xd, &[handle.clone(), policy(&[1]), usual()]));
    // Sixty-five addresses, and a port of zero.
    let many: Vec<Vec<u8>> = (0..65).map(ipv4).collect();
    all.push(message(1, &[handle.clone(), element(transport(4, &many), policy(&[1]))]));
    all.push(message(1, &[handle, element(parameter(4, &[vec![0; 4], ipv4(9)].concat()), policy(&[1]))]));
    all.into_iter().map(|octets| (Ppid::ASAP, octets)).collect()
}
