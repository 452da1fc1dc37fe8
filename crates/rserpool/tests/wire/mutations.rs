//! Messages that nobody ever sent: captured ones with random damage. None may panic, and whatever is still a message
//! has one meaning: written and read again it stays what it is.

use super::captures;
use super::pcap::Protocol;
use rserpool::Random;
use rserpool::wire::{MESSAGE_MAX, Parsed, Skipped, asap, csp, enrp};

const SEED: u64 = 20_260_101;
const ROUNDS: usize = 600_000;

/// Values at which lengths, types and counts change their meaning.
const EDGES: [u8; 16] = [0, 1, 3, 4, 5, 7, 8, 9, 12, 20, 0x3f, 0x40, 0x7f, 0x80, 0xbf, 0xff];

fn damaged(octets: &[u8], others: &[u8], random: &mut Random) -> Vec<u8> {
    let mut octets = octets.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(octets.len() as u64 + 1) as usize;
        match random.below(8) {
            // A bit, an octet, or the high octet of a word is changed.
            0 if at < octets.len() => octets[at] ^= 1 << random.below(8),
            1 if at < octets.len() => octets[at] = random.next_u64() as u8,
            2 | 3 if at < octets.len() => octets[at] = EDGES[random.below(16) as usize],
            // A parameter is slipped in, taken out, or doubled: whole words, and mostly with a fitting length.
            4 => {
                let kind =
                    (random.below(4) << 14) as u16 | [0x0123, 4, 8, 9, 0xc, 0x3f05][random.below(6) as usize];
                let length = random.below(9) as usize;
                let mut parameter = kind.to_be_bytes().to_vec();
                parameter.extend((length as u16 + 4).to_be_bytes());
                parameter.resize((length + 4).next_multiple_of(4), 0x61);
                let at = at - at % 4;
                octets.splice(at..at, parameter);
            }
            5 => {
                let at = at - at % 4;
                let end = (at + 4 * random.below(5) as usize).min(octets.len());
                octets.drain(at..end);
            }
            6 => {
                let at = at - at % 4;
                let end = (at + 4 * random.below(12) as usize).min(octets.len());
                let twice = octets[at..end].to_vec();
                octets.splice(end..end, twice);
            }
            // The end is another message's.
            _ => {
                octets.truncate(at);
                octets.extend_from_slice(&others[at.min(others.len())..]);
            }
        }
    }
    // Mostly with a length that fits, so that the damage gets as far as possible.
    if random.below(8) != 0 && octets.len() >= 4 {
        let length = (octets.len() as u16).saturating_sub(random.one_in(8).into());
        octets[2..4].copy_from_slice(&length.to_be_bytes());
    }
    octets
}

/// Reads the octets, and if they are a message makes sure that it stays what it is. True if they are.
fn means_one_thing(protocol: Protocol, octets: &[u8]) -> bool {
    match protocol {
        Protocol::Asap => {
            let parsed = Parsed::<asap::Message>::read(octets);
            assert_eq!(asap::Message::parse(octets), parsed.clone().map(|parsed| parsed.message));
            let Ok(parsed) = parsed else { return false };
            let written = parsed.emit();
            fits(&written, octets);
            assert_eq!(Parsed::<asap::Message>::read(&written), Ok(parsed.clone()));
            let alone = parsed.message.emit();
            assert_eq!(asap::Message::parse(&alone), Ok(parsed.message));
        }
        Protocol::Enrp => {
            let parsed = Parsed::<enrp::Message>::read(octets);
            assert_eq!(enrp::Message::parse(octets), parsed.clone().map(|parsed| parsed.message));
            let Ok(parsed) = parsed else { return false };
            let written = parsed.emit();
            fits(&written, octets);
            assert_eq!(Parsed::<enrp::Message>::read(&written), Ok(parsed.clone()));
            let alone = parsed.message.emit();
            assert_eq!(enrp::Message::parse(&alone), Ok(parsed.message));
        }
        Protocol::Csp => {
            let Ok(report) = csp::Report::parse(octets) else { return false };
            assert_eq!(csp::Report::parse(&report.emit()), Ok(report));
        }
        Protocol::Other(ppid) => unreachable!("filtered out: {ppid}"),
    }
    true
}

fn fits(written: &[u8], read: &[u8]) {
    assert!(written.len().is_multiple_of(4) && written.len() <= MESSAGE_MAX);
    assert!(written.len() <= read.len(), "nothing is added");
}

#[test]
fn damaged_messages_are_refused_or_mean_one_thing() {
    println!("seed {SEED}");
    let mut random = Random::from_seed(SEED);
    let messages = captures::all();
    let (mut legal, mut refused) = (0, 0);
    for _ in 0..ROUNDS {
        let [one, other] = [(); 2].map(|()| &messages[random.below(messages.len() as u64) as usize]);
        let octets = damaged(&one.octets, &other.octets, &mut random);
        let outcome = std::panic::catch_unwind(|| means_one_thing(one.protocol, &octets));
        match outcome {
            Ok(true) => legal += 1,
            Ok(false) => refused += 1,
            Err(_) => panic!("seed {SEED}: {:?} {octets:02x?}", one.protocol),
        }
    }
    // Both happen often, or the damage is of the wrong kind.
    assert!(legal > ROUNDS / 10 && refused > ROUNDS / 10, "{legal} legal, {refused} refused");
}

#[test]
fn the_largest_message_is_read_and_one_octet_more_is_not() {
    let cookie = |size| asap::Message::Cookie { cookie: vec![7; size] };
    let largest = cookie(MESSAGE_MAX - 8);
    assert_eq!(asap::Message::parse(&largest.emit()), Ok(largest));
    let mut longer = cookie(MESSAGE_MAX - 8).emit();
    longer.push(0);
    assert!(asap::Message::parse(&longer).is_err());
}

#[test]
fn a_message_of_nothing_but_strangers_is_read_in_bounds() {
    let handle = rserpool::PoolHandle::new("p").expect("legal");
    let message = asap::Message::HandleResolution { subscribe: false, handle, items: None };
    let count = (MESSAGE_MAX - message.emit().len()) / 4;
    let stranger = |_| Skipped { place: 2, octets: vec![0xff, 0xff, 0, 4] };
    let crowded = Parsed { message, skipped: (0..count).map(stranger).collect() };
    let octets = crowded.emit();
    assert_eq!(octets.len(), MESSAGE_MAX);
    assert_eq!(Parsed::<asap::Message>::read(&octets), Ok(crowded));
}
