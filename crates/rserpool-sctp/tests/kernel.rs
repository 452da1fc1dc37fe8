//! The words of Linux's kernel SCTP, taken from traffic of real registrars, and our answers to them.

mod world;

use rserpool::{Ppid, Time};
use rserpool_sctp::{Config, Event, Mux, Path, PathState, Peer, SendError, Why};
use world::reseal;

/// Port 55486 to 3863, tag 0: INIT with tag f48937b0, 10 streams out, 65535 in; Supported Address Types,
/// ECN, Forward TSN Supported.
const INIT: &str = "d8be0f170000000000000000 01000024 f48937b0 0001a000 000affff 0d60af6c \
                    000c0008 00060005 80000004 c0000004";

/// Port 3863 to 55486, tag f48937b0: INIT ACK with tag 829ae3cf. The cookie is cut to its first 20 octets (it
/// means nothing to us), and a second address is added.
const INIT_ACK: &str = "0f17d8be f48937b0 00000000 0200003c 829ae3cf 0001a000 000a000a b7b74d31 \
                        00070018 2bdb783997a5f27fa53680d54c4bf65003b52e55 80000004 c0000004 00050008 0a630101";

fn octets(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    let mut bytes: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    reseal(&mut bytes);
    bytes
}

/// Replaces octets and the checksum.
fn patched(mut bytes: Vec<u8>, at: usize, with: &[u8]) -> Vec<u8> {
    bytes[at..at + with.len()].copy_from_slice(with);
    reseal(&mut bytes);
    bytes
}

fn output(mux: &mut Mux) -> Vec<u8> {
    mux.poll_output().expect("something to send").bytes
}

const NOW: Time = Time::from_millis(5_000);

#[test]
fn an_init_of_linux_is_answered_and_its_cookie_accepted() {
    let mut mux = Mux::new(Config::default(), [1; 32]);
    mux.listen(3863);
    let from = Path { socket: 4, remote: "10.99.0.4:9899".parse().unwrap() };
    // As a host with two addresses sends it.
    let mut init = octets(&(INIT.to_owned() + "00050008 0a630004 00050008 0a630104"));
    init[14..16].copy_from_slice(&0x34u16.to_be_bytes());
    reseal(&mut init);
    mux.input(NOW, from, &init);

    let init_ack = output(&mut mux);
    assert_eq!(init_ack[..8], [0x0f, 0x17, 0xd8, 0xbe, 0xf4, 0x89, 0x37, 0xb0]);
    assert_eq!(init_ack[12], 2);
    let cookie_at = init_ack.windows(2).position(|w| w == [0, 7]).expect("a State Cookie parameter");
    let length = usize::from(u16::from_be_bytes([init_ack[cookie_at + 2], init_ack[cookie_at + 3]]));
    // The engine's 48 octets, two addresses, and the trailer.
    assert_eq!(length, 4 + 48 + 2 * 16 + 45);
    assert_eq!((mux.poll_event(), mux.poll_output(), mux.associations()), (None, None, 0));

    let mut echo = init_ack[2..4].to_vec();
    echo.splice(0..0, [0xd8, 0xbe]);
    echo.splice(2..4, [0x0f, 0x17]);
    echo.extend(&init_ack[16..20]);
    echo.extend([0, 0, 0, 0, 10, 0]);
    echo.extend((length as u16).to_be_bytes());
    echo.extend(&init_ack[cookie_at + 4..cookie_at + length]);
    echo.resize(echo.len().next_multiple_of(4), 0);
    reseal(&mut echo);
    mux.input(NOW, from, &echo);
    let peer = Peer {
        addresses: vec!["10.99.0.4".parse().unwrap(), "10.99.1.4".parse().unwrap()],
        port: 55_486,
        path: from,
    };
    let Some(Event::Up { assoc, local_port: 3863, peer: said, inbound: true }) = mux.poll_event() else {
        panic!("not up")
    };
    assert_eq!(said, peer);
    let cookie_ack = output(&mut mux);
    assert_eq!(cookie_ack[4..8], [0xf4, 0x89, 0x37, 0xb0]);
    assert_eq!(cookie_ack[12..], [11, 0, 0, 4]);

    // It takes more streams than we ask for.
    assert_eq!(mux.send(NOW, assoc, 64, Ppid::ASAP, vec![1]), Err(SendError::NoSuchStream));
    assert_eq!(mux.send(NOW, assoc, 63, Ppid::ASAP, vec![1]), Ok(()));
    let first = output(&mut mux);
    // A HEARTBEAT from its second address is answered there, unchanged.
    let mut heartbeat = echo[..12].to_vec();
    heartbeat.extend([4, 0, 0, 16, 0, 1, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8]);
    reseal(&mut heartbeat);
    let second = Path { socket: 4, remote: "10.99.1.4:9899".parse().unwrap() };
    mux.input(NOW, second, &heartbeat);
    let answer = mux.poll_output().expect("an answer");
    assert_eq!((answer.path, &answer.bytes[12..]), (second, &[&[5][..], &heartbeat[13..]].concat()[..]));
    // And from anywhere else not at all.
    mux.input(NOW, Path { socket: 4, remote: "10.99.2.4:9899".parse().unwrap() }, &heartbeat);
    assert_eq!(mux.poll_output(), None);
    // Data goes to the first, although the other side has begun to use the second.
    let mut sack = echo[..12].to_vec();
    sack.extend([3, 0, 0, 16]);
    sack.extend(&first[16..20]);
    sack.extend([0, 1, 0xa0, 0, 0, 0, 0, 0]);
    reseal(&mut sack);
    mux.input(NOW, second, &sack);
    assert_eq!(mux.buffered(), 0);
    assert_eq!(mux.send(NOW, assoc, 0, Ppid::ASAP, vec![2]), Ok(()));
    assert_eq!(mux.poll_output().map(|out| out.path), Some(from));
}

#[test]
fn an_init_ack_of_linux_gets_its_cookie_back() {
    let mut mux = Mux::new(Config::default(), [2; 32]);
    let to = Path { socket: 0, remote: "10.99.0.1:9899".parse().unwrap() };
    let assoc = mux.connect(NOW, 55_486, 3863, &[to]).expect("connects");
    let init = output(&mut mux);
    let init_ack = patched(octets(INIT_ACK), 4, &init[16..20]);
    mux.input(NOW, to, &init_ack);
    let echo = output(&mut mux);
    assert_eq!(echo[4..8], [0x82, 0x9a, 0xe3, 0xcf]);
    assert_eq!(echo[12..16], [10, 0, 0, 24]);
    assert_eq!(echo[16..36], init_ack[36..56]);
    let mut cookie_ack = init_ack[..12].to_vec();
    cookie_ack.extend([11, 0, 0, 4]);
    reseal(&mut cookie_ack);
    mux.input(NOW, to, &cookie_ack);
    let peer = Peer {
        addresses: vec!["10.99.0.1".parse().unwrap(), "10.99.1.1".parse().unwrap()],
        port: 3863,
        path: to,
    };
    assert_eq!(mux.poll_event(), Some(Event::Up { assoc, local_port: 55_486, peer, inbound: false }));

    // Its ABORT with the tag reflected, as from a host that has forgotten us.
    let mut abort = init_ack[..4].to_vec();
    abort.extend([0x82, 0x9a, 0xe3, 0xcf, 0, 0, 0, 0, 6, 1, 0, 4]);
    reseal(&mut abort);
    mux.input(NOW, to, &abort);
    assert_eq!(mux.poll_event(), Some(Event::Closed { assoc, why: Why::Aborted }));
    assert_eq!((mux.poll_event(), mux.poll_output(), mux.deadline()), (None, None, None));
}

#[test]
fn our_addresses_are_listed_and_confirmed_in_the_words_of_the_rfc() {
    let mut mux = Mux::new(Config::default(), [3; 32]);
    mux.bind(0, 55_486, &["10.99.0.2".parse().unwrap(), "fd99::2".parse().unwrap()]);
    mux.bind(1, 55_486, &["10.99.1.2".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
    let to = Path { socket: 0, remote: "10.99.0.1:9899".parse().unwrap() };
    mux.connect(NOW, 55_486, 3863, &[to]).expect("connects");
    let init = output(&mut mux);
    // At the end of the INIT: the socket's own first; loopback means nothing to the other side (RFC 9260 §3.3.2.1).
    let listed = [
        [0, 5, 0, 8, 10, 99, 0, 2].to_vec(),
        [&[0, 6, 0, 20, 0xfd, 0x99][..], &[0; 13], &[2]].concat(),
        [0, 5, 0, 8, 10, 99, 1, 2].to_vec(),
    ]
    .concat();
    assert!(init.ends_with(&listed), "{init:02x?}");
    assert_eq!(usize::from(init[14]) << 8 | usize::from(init[15]), init.len() - 12);

    // Linux lists a second address, which gets a HEARTBEAT from the socket that is nearer to it.
    mux.input(NOW, to, &patched(octets(INIT_ACK), 4, &init[16..20]));
    let _echo = output(&mut mux);
    let mut cookie_ack = octets("0f17d8be 00000000 00000000 0b000004");
    cookie_ack[4..8].copy_from_slice(&init[16..20]);
    reseal(&mut cookie_ack);
    mux.input(NOW, to, &cookie_ack);
    assert!(matches!(mux.poll_event(), Some(Event::Up { .. })));
    mux.wake(NOW);
    let asked = mux.poll_output().expect("a HEARTBEAT");
    assert_eq!(asked.path, Path { socket: 1, remote: "10.99.1.1:9899".parse().unwrap() });
    assert_eq!(asked.bytes[4..8], [0x82, 0x9a, 0xe3, 0xcf]);
    // RFC 9260 §3.3.5: one Heartbeat Info parameter; in it a nonce of 64 bits and the address.
    assert_eq!(asked.bytes[12..20], [4, 0, 0, 32, 0, 1, 0, 28]);
    assert_eq!(asked.bytes[28..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 99, 1, 1]);

    // The answer confirms it; one with another nonce does not.
    let mut answer = [&asked.bytes[2..4], &asked.bytes[..2], &init[16..20], &asked.bytes[8..]].concat();
    answer[12] = 5;
    let wrong = patched(answer.clone(), 20, &[!answer[20]]);
    mux.input(NOW, asked.path, &wrong);
    assert_eq!(mux.poll_event(), None);
    reseal(&mut answer);
    mux.input(NOW, asked.path, &answer);
    let Some(Event::Path { remote, state, .. }) = mux.poll_event() else { panic!("not confirmed") };
    assert_eq!((remote, state), (asked.path.remote, PathState::Confirmed));
}

#[test]
fn a_host_name_in_the_place_of_an_address_is_refused() {
    let mut mux = Mux::new(Config::default(), [4; 32]);
    mux.listen(3863);
    let mut init = octets(&(INIT.to_owned() + "000b0008 612e6200"));
    init[15] += 8;
    reseal(&mut init);
    mux.input(NOW, Path { socket: 0, remote: "10.99.0.4:9899".parse().unwrap() }, &init);
    // An ABORT with the tag of the INIT and cause 5, which shows the name (RFC 9260 §3.3.2.1.4, §3.3.10.5).
    let abort = output(&mut mux);
    assert_eq!(abort[4..8], [0xf4, 0x89, 0x37, 0xb0]);
    assert_eq!(abort[12..], [6, 0, 0, 16, 0, 5, 0, 12, 0, 11, 0, 8, 0x61, 0x2e, 0x62, 0]);
    assert_eq!(mux.associations(), 0);
}
