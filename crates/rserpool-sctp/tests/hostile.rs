//! What strangers and enemies can do: send what they like. And what they get for it.

mod world;

use rserpool::{Ppid, Time};
use rserpool_sctp::{AssocId, Config, ConnectError, Event, Path, SendError, Why};
use std::net::SocketAddr;
use std::time::Duration;
use world::{MS, World, address, pattern, reseal};

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four octets"))
}

/// A packet by hand: ports 3863 both, one chunk.
fn packet(tag: u32, kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = [3863u16.to_be_bytes(), 3863u16.to_be_bytes()].concat();
    bytes.extend(tag.to_be_bytes());
    bytes.extend([0, 0, 0, 0, kind, flags]);
    bytes.extend((4 + value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    reseal(&mut bytes);
    bytes
}

/// A piece of a message for stream 0: flags 2 begins, 1 ends it.
fn data(tag: u32, tsn: u32, stream: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut value = tsn.to_be_bytes().to_vec();
    value.extend(stream.to_be_bytes());
    value.extend([0, 0, 0, 0, 0, 11]);
    value.extend(payload);
    packet(tag, 0, flags, &value)
}

/// An association between two hosts whose secrets an enemy on the path of host 0 has read: the tag host 1 wants to
/// see, and host 0's next TSN.
fn overheard(seed: u64, config: Config) -> (World, AssocId, AssocId, u32, u32) {
    let mut world = World::new(seed);
    let (a, b) = (world.host(&[3863]), world.host_with(&[3863], config));
    world.logging = true;
    let ours = world.connect(a, b, 3863);
    world.run_for(100 * MS);
    let theirs = world.hosts[b].ups()[0].0;
    let init = world.log.iter().find(|(_, _, _, bytes)| bytes[12] == 1).expect("an INIT");
    let init_ack = world.log.iter().find(|(_, _, _, bytes)| bytes[12] == 2).expect("an INIT ACK");
    let (tsn, tag) = (be32(&init.3, 28), be32(&init_ack.3, 16));
    world.hosts.iter_mut().for_each(|host| host.events.clear());
    world.log.clear();
    (world, ours, theirs, tag, tsn)
}

fn at(host: usize) -> SocketAddr {
    (address(host), 3863).into()
}

/// Stops the opening of an association between two hosts when the COOKIE ECHO is sent, and hands that out.
fn cookie_echo(world: &mut World) -> Vec<u8> {
    let (a, b) = (world.host(&[3863]), world.host(&[3863]));
    world.logging = true;
    world.connect(a, b, 3863);
    world.run_until(|w| w.log.iter().any(|(_, _, _, bytes)| bytes[12] == 10));
    world.cut = true;
    let echo = world.log.last().expect("just seen").3.clone();
    // The one under way is lost, and whoever sent it forgets.
    world.restart(a);
    world.hosts[b].sockets[0].set_port(1);
    world.run_for(10 * MS);
    world.hosts[b].sockets[0].set_port(3863);
    world.cut = false;
    world.log.clear();
    echo
}

#[test]
fn a_cookie_works_once_shown_by_whom_it_was_made_for() {
    let mut world = World::new(1);
    let echo = cookie_echo(&mut world);
    assert_eq!(world.hosts[1].mux.associations(), 0);
    world.inject(at(0), at(1), echo.clone());
    world.run_for(10 * MS);
    assert_eq!(world.hosts[1].ups().len(), 1);
    // Shown again, it is the old one: its COOKIE ACK may have been lost.
    world.inject(at(0), at(1), echo);
    world.run_for(10 * MS);
    assert_eq!(world.hosts[1].events.len(), 1);
}

#[test]
fn a_cookie_forged_foreign_or_old_leaves_no_trace() {
    let mut world = World::new(2);
    let echo = cookie_echo(&mut world);
    let silent = |world: &mut World, from: SocketAddr, bytes: Vec<u8>| {
        world.log.clear();
        world.inject(from, at(1), bytes);
        world.run_for(2 * MS);
        assert_eq!(world.hosts[1].mux.associations(), 0);
        assert_eq!(world.hosts[1].mux.deadline(), None);
        assert_eq!(world.hosts[1].events, []);
        world.log.iter().filter(|(_, from, _, _)| *from == at(1)).count() == 0
    };
    // All but the chunk's flags and padding, which mean nothing and are ignored.
    let end = 12 + usize::from(u16::from_be_bytes([echo[14], echo[15]]));
    for bit in (12 * 8..13 * 8).chain(14 * 8..end * 8) {
        let mut flipped = echo.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        reseal(&mut flipped);
        // A flip in the chunk's type makes it another chunk: that may be answered, out of the blue.
        let answered = !silent(&mut world, at(0), flipped);
        assert!(!answered || bit < 13 * 8, "bit {bit}");
    }
    assert!(silent(&mut world, (address(7), 3863).into(), echo.clone()), "another address");
    assert!(silent(&mut world, (address(0), 3864).into(), echo.clone()), "another UDP port");
    let mut other_tag = echo.clone();
    other_tag[4] ^= 1;
    reseal(&mut other_tag);
    assert!(silent(&mut world, at(0), other_tag), "another tag");
    world.run_for(Duration::from_secs(61));
    world.log.clear();
    world.inject(at(0), at(1), echo);
    world.run_for(2 * MS);
    assert_eq!(world.hosts[1].mux.associations(), 0);
    // RFC 9260 §5.1.5: an old one of ours is answered with an ERROR, cause 3.
    let answer = &world.log.iter().find(|(_, from, _, _)| *from == at(1)).expect("an answer").3;
    assert_eq!((answer[12], &answer[16..20]), (9, &[0, 3, 0, 8][..]));
}

#[test]
fn a_flood_of_inits_keeps_nothing() {
    let mut world = World::new(3);
    let b = world.host(&[3863]);
    for n in 1..=20_000u32 {
        let mut value = n.to_be_bytes().to_vec();
        value.extend([0, 1, 0, 0, 0, 9, 0, 9, 1, 2, 3, 4]);
        let init = packet(0, 1, 0, &value);
        let from = Path { socket: 0, remote: ([10, 1, (n >> 8) as u8, n as u8], 3863).into() };
        let now = world.now;
        let mux = &mut world.hosts[b].mux;
        mux.input(now, from, &init);
        assert_eq!(mux.poll_output().map(|out| (out.path, out.bytes[12])), Some((from, 2)));
        assert_eq!(mux.poll_output(), None);
        assert_eq!(mux.poll_event(), None);
    }
    let mux = &world.hosts[b].mux;
    assert_eq!((mux.associations(), mux.buffered(), mux.deadline()), (0, 0, None));
}

#[test]
fn whoever_is_not_welcome_is_told_so_but_not_without_end() {
    let mut world = World::new(4);
    let b = world.host(&[3863]);
    let now = world.now;
    let from = Path { socket: 0, remote: (address(9), 3863).into() };
    let mut answers = |bytes: &[u8]| {
        let mux = &mut world.hosts[b].mux;
        mux.input(now, from, bytes);
        std::iter::from_fn(|| mux.poll_output().map(|out| out.bytes)).collect::<Vec<_>>()
    };
    let mut init = packet(0, 1, 0, &[9, 9, 9, 9, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]);
    init[2..4].copy_from_slice(&5000u16.to_be_bytes());
    reseal(&mut init);
    let abort = |bytes: &[u8]| (be32(bytes, 4), bytes[12], bytes[13]);
    // Nobody listens at 5000: an ABORT with the tag of the INIT (RFC 9260 §8.4 (3)).
    assert_eq!(answers(&init).iter().map(|a| abort(a)).collect::<Vec<_>>(), [(0x0909_0909, 6, 0)]);
    // Data for an association that is no more: an ABORT with the tag reflected (8).
    assert_eq!(answers(&data(7, 1, 0, 3, b"?")).iter().map(|a| abort(a)).collect::<Vec<_>>(), [(7, 6, 1)]);
    // A SHUTDOWN ACK is let go in peace (5).
    assert_eq!(answers(&packet(7, 8, 0, &[])).iter().map(|a| abort(a)).collect::<Vec<_>>(), [(7, 14, 1)]);
    // ABORT, SHUTDOWN COMPLETE, COOKIE ACK, ERROR: nothing (2, 6, 7).
    for kind in [6, 14, 11, 9] {
        assert_eq!(answers(&packet(7, kind, 0, &[])), [] as [Vec<u8>; 0]);
    }
    let total: usize = (0..1000).map(|_| answers(&data(7, 1, 0, 3, b"?")).len()).sum();
    assert_eq!(total, 97);
}

#[test]
fn an_enemy_who_cannot_see_the_tag_cannot_harm() {
    let (mut world, ours, _, tag, tsn) = overheard(5, Config::default());
    for guess in [0, 1, tag ^ 1, tag.wrapping_add(1), u32::MAX] {
        for kind in 0..=255 {
            for flags in [0, 1] {
                world.inject(at(0), at(1), packet(guess, kind, flags, &tsn.to_be_bytes()));
            }
        }
        world.inject(at(0), at(1), data(guess, tsn, 0, 3, b"forged"));
    }
    // With the right tag, but from somewhere else.
    world.inject((address(8), 3863).into(), at(1), packet(tag, 6, 0, &[]));
    world.inject((address(8), 3863).into(), at(1), data(tag, tsn, 0, 3, b"forged"));
    world.send(0, ours, 0, Ppid::ASAP, b"true");
    world.run_for(10_000 * MS);
    assert_eq!(world.hosts[1].messages(), [(0, Ppid::ASAP, &b"true"[..])]);
    assert_eq!(world.hosts[1].closed(), []);
}

#[test]
fn random_octets_do_nothing() {
    let (mut world, ours, _, _, _) = overheard(6, Config::default());
    let path = Path { socket: 0, remote: at(0) };
    for n in 0..100_000u32 {
        let length = world.random.below(200) as usize;
        let mut bytes = pattern(length, world.random.next_u64());
        if n % 2 == 0 && length >= 16 {
            // Half of them look like packets for us.
            bytes[..4].copy_from_slice(&[15, 23, 15, 23]);
            bytes[14..16].copy_from_slice(&((length - 12) as u16).to_be_bytes());
            bytes.truncate(length & !3);
            reseal(&mut bytes);
        }
        let now = world.now;
        let mux = &mut world.hosts[1].mux;
        mux.input(now, path, &bytes);
        while mux.poll_output().is_some() {}
        assert_eq!(mux.poll_event(), None);
    }
    assert_eq!(world.hosts[1].mux.associations(), 1);
    assert_eq!(world.hosts[1].mux.buffered(), 0);
    world.send(0, ours, 0, Ppid::ASAP, b"true");
    world.run_for(1_000 * MS);
    assert_eq!(world.hosts[1].messages(), [(0, Ppid::ASAP, &b"true"[..])]);
}

#[test]
fn an_enemy_who_sees_everything_harms_that_association_only() {
    // Real packets of one association, mutated, with good checksums; another association must not notice.
    for seed in 0..3 {
        let mut world = World::new(700 + seed);
        let (a, b, c) = (world.host(&[3863]), world.host(&[3863]), world.host(&[3863]));
        let peaceful = world.connect(c, b, 3863);
        world.run_for(100 * MS);
        world.logging = true;
        let mut packets_sent = 0;
        for round in 0..40 {
            world.log.clear();
            let victim = world.connect(a, b, 3863);
            world.run_for(20 * MS);
            for n in 0..5 {
                let sent = world.with(a, |mux, now| mux.send(now, victim, 0, Ppid::ASAP, pattern(3_000, n)));
                assert!(matches!(sent, Ok(()) | Err(SendError::Gone)));
            }
            world.run_for(20 * MS);
            let real: Vec<Vec<u8>> =
                world.log.drain(..).filter(|(_, from, _, _)| *from == at(a)).map(|l| l.3).collect();
            world.logging = false;
            for _ in 0..400 {
                let mut bytes = real[world.random.below(real.len() as u64) as usize].clone();
                for _ in 0..=world.random.below(3) {
                    let place = 12 + world.random.below(bytes.len() as u64 - 12) as usize;
                    bytes[place] = match world.random.below(3) {
                        0 => world.random.next_u64() as u8,
                        1 => bytes[place] ^ (1 << world.random.below(8)),
                        _ => [0, 1, 0x7f, 0x80, 0xff][world.random.below(5) as usize],
                    };
                }
                if world.random.one_in(10) {
                    let cut = 12 + world.random.below(bytes.len() as u64 - 12) as usize;
                    bytes.truncate(cut & !3);
                }
                reseal(&mut bytes);
                packets_sent += 1;
                world.with(b, |mux, now| mux.input(now, Path { socket: 0, remote: at(a) }, &bytes));
            }
            world.logging = true;
            world.run_for(50 * MS);
            assert!(world.hosts[b].mux.associations() <= 2, "round {round}");
            assert!(world.hosts[b].mux.buffered() < 3 << 20);
            world.with(a, |mux, now| mux.abort(now, victim));
            world.run_for(100 * MS);
        }
        assert_eq!(packets_sent, 16_000);
        world.hosts.iter_mut().for_each(|host| host.events.clear());
        world.send(c, peaceful, 0, Ppid::ASAP, b"still here");
        world.run_for(1_000 * MS);
        assert_eq!(world.hosts[b].messages(), [(0, Ppid::ASAP, &b"still here"[..])], "seed {seed}");
        assert_eq!(world.hosts[c].events, [], "seed {seed}");
    }
}

#[test]
fn a_message_larger_than_the_window_ends_the_association_after_five_seconds() {
    let mut world = World::new(8);
    let generous = Config { message_max: 8 << 20, send_buffer: 8 << 20, ..Config::default() };
    let (a, b) = (world.host_with(&[3863], generous), world.host(&[3863]));
    let ours = world.connect(a, b, 3863);
    world.run_for(100 * MS);
    let theirs = world.hosts[b].ups()[0].0;
    world.send(a, ours, 0, Ppid::ASAP, &pattern(3 << 20, 1));
    let begun = world.now;
    world.run_until(|w| !w.hosts[0].closed().is_empty());
    assert_eq!(world.hosts[b].closed(), [(theirs, Why::Overflow)]);
    assert_eq!(world.hosts[a].closed(), [(ours, Why::Aborted)]);
    let took = world.now.since(begun);
    assert!(took > 5_000 * MS && took < 7_000 * MS, "{took:?}");
    assert_eq!(world.hosts[b].mux.buffered(), 0);
}

#[test]
fn a_heap_of_tiny_fragments_is_not_kept() {
    let (mut world, _, theirs, tag, tsn) = overheard(9, Config::default());
    let mut sent = 0;
    // The beginning of a message that never ends, one octet at a time.
    while world.hosts[1].closed().is_empty() {
        let flags = if sent == 0 { 2 } else { 0 };
        let bytes = data(tag, tsn.wrapping_add(sent), 0, flags, b"x");
        world.with(1, |mux, now| mux.input(now, Path { socket: 0, remote: at(0) }, &bytes));
        sent += 1;
        assert!(sent < 20_000);
    }
    assert_eq!(world.hosts[1].closed(), [(theirs, Why::Overflow)]);
    assert_eq!(world.hosts[1].mux.buffered(), 0);
}

#[test]
fn many_small_messages_are_no_heap() {
    let (mut world, ours, _) = World::pair(10);
    for n in 0..40_000u32 {
        world.send(0, ours, (n % 3) as u16, Ppid::ASAP, &n.to_be_bytes());
        if n % 500 == 0 {
            world.run_for(20 * MS);
        }
    }
    world.run_for(1_000 * MS);
    assert_eq!(world.hosts[1].messages().len(), 40_000);
    assert_eq!(world.hosts.iter().flat_map(|host| host.closed()).count(), 0);
}

#[test]
fn streams_beyond_the_agreed_ones_are_passed_over() {
    let (mut world, _, theirs, tag, tsn) = overheard(11, Config::default());
    for stream in [64, 65, 65_535] {
        world.inject(at(0), at(1), data(tag, tsn, stream, 3, b"beyond"));
    }
    world.inject(at(0), at(1), data(tag, tsn, 63, 3, b"last"));
    world.run_for(10 * MS);
    let last = Event::Message { assoc: theirs, stream: 63, ppid: Ppid::ASAP, bytes: b"last".to_vec() };
    assert_eq!(world.hosts[1].events, [last]);
}

#[test]
fn a_full_sender_is_told_when_there_is_room() {
    let (mut world, ours, _) = World::pair(12);
    let mut taken = 0;
    let refused = loop {
        match world.with(0, |mux, now| mux.send(now, ours, 0, Ppid::ASAP, pattern(100_000, 3))) {
            Ok(()) => taken += 1,
            Err(refused) => break refused,
        }
    };
    // 2 MiB hold twenty messages of 100000 and 64 octets.
    assert_eq!((taken, refused), (20, SendError::Full));
    assert_eq!(world.hosts[0].events, []);
    world.run_for(2_000 * MS);
    assert_eq!(world.hosts[0].events, [Event::Writable { assoc: ours }]);
    assert_eq!(world.hosts[1].messages().len(), 20);
    assert_eq!(world.hosts[0].mux.buffered(), 0);
    for (size, answer) in
        [(1 << 20, Ok(())), ((1 << 20) + 1, Err(SendError::TooLarge)), (0, Err(SendError::TooLarge))]
    {
        let sent = world.with(0, |mux, now| mux.send(now, ours, 0, Ppid::ASAP, vec![1; size]));
        assert_eq!(sent, answer);
    }
    let beyond = world.with(0, |mux, now| mux.send(now, ours, 64, Ppid::ASAP, vec![1]));
    assert_eq!(beyond, Err(SendError::NoSuchStream));
}

#[test]
fn all_together_keep_no_more_than_allowed() {
    let small = Config { buffered_max: 3 << 20, ..Config::default() };
    let mut world = World::new(13);
    let (a, b) = (world.host(&[3863]), world.host_with(&[4000, 4001, 4002, 4003], small));
    let mut opened = Vec::new();
    for port in 4000..4004 {
        opened.push(world.connect(a, b, port));
    }
    world.run_for(100 * MS);
    assert_eq!(world.hosts[b].ups().len(), 4);
    // Sending: refused beyond, and told when there is room.
    let theirs: Vec<AssocId> = world.hosts[b].ups().into_iter().map(|(assoc, _)| assoc).collect();
    world.cut = true;
    for &assoc in &theirs[..3] {
        assert_eq!(world.with(b, |mux, now| mux.send(now, assoc, 0, Ppid::ASAP, vec![1; 1_000_000])), Ok(()));
    }
    world.hosts[b].events.clear();
    let full = world.with(b, |mux, now| mux.send(now, theirs[3], 0, Ppid::ASAP, vec![1; 1_000_000]));
    assert_eq!(full, Err(SendError::Full));
    world.cut = false;
    world.run_for(3_000 * MS);
    assert_eq!(world.hosts[b].events, [Event::Writable { assoc: theirs[3] }]);
    assert_eq!(world.hosts[b].mux.buffered(), 0);
}

#[test]
fn when_too_much_is_received_the_fullest_goes() {
    let small = Config { buffered_max: 2 << 20, ..Config::default() };
    let (mut world, _, theirs, tag, tsn) = overheard(14, small.clone());
    // Another peer has a little under way.
    let c = world.host(&[3863]);
    let modest = world.connect(c, 1, 3863);
    world.run_for(100 * MS);
    let path = Path { socket: 0, remote: at(0) };
    let mut most = 0;
    // 1.8 MB of the window alone would be fine, were it not for what is being sent.
    let own = world.hosts[1].ups()[0].0;
    world.cut = true;
    world.with(1, |mux, now| mux.send(now, own, 0, Ppid::ASAP, vec![1; 900_000])).expect("sends");
    world.hosts[1].events.clear();
    for n in 0..1_400u32 {
        let bytes = data(tag, tsn.wrapping_add(n), 0, if n == 0 { 2 } else { 0 }, &[7; 1000]);
        world.with(1, |mux, now| mux.input(now, path, &bytes));
        most = most.max(world.hosts[1].mux.buffered());
    }
    assert!(most <= 2 << 20, "{most}");
    assert_eq!(world.hosts[1].closed(), [(theirs, Why::Overflow)]);
    world.cut = false;
    world.run_for(3_000 * MS);
    assert_eq!(world.hosts[c].messages().len(), 1);
    assert_eq!(world.hosts[c].closed(), []);
    assert_eq!(world.with(c, |mux, now| mux.send(now, modest, 0, Ppid::ASAP, vec![1])), Ok(()));
}

#[test]
fn associations_are_counted() {
    let few = Config { associations_max: 2, connecting_max: 1, ..Config::default() };
    let mut world = World::new(15);
    let b = world.host_with(&[3863], few.clone());
    let clients: Vec<usize> = (0..3).map(|_| world.host_with(&[3863], few.clone())).collect();
    let opened: Vec<AssocId> = clients
        .iter()
        .map(|&client| {
            let opened = world.connect(client, b, 3863);
            world.run_for(100 * MS);
            opened
        })
        .collect();
    assert_eq!(world.hosts[b].ups().len(), 2);
    assert_eq!(world.hosts[b].mux.associations(), 2);
    // The third is refused by 3863 at once; nobody is at 9899, so it goes on trying there.
    world.run_for(5_000 * MS);
    assert_eq!(world.hosts[clients[2]].closed(), [(opened[2], Why::Unreachable)]);

    let first = clients[2];
    let path = |host, port| [Path { socket: 0, remote: SocketAddr::new(address(host), port) }];
    world.cut = true;
    let one = world.with(first, |mux, now| mux.connect(now, 3863, 1, &path(0, 1))).expect("the first");
    let connect = |world: &mut World, port, paths: &[Path]| {
        world.with(first, |mux, now| mux.connect(now, 3863, port, paths))
    };
    assert_eq!(connect(&mut world, 1, &path(0, 1)), Err(ConnectError::Exists(one)));
    assert_eq!(connect(&mut world, 2, &path(0, 2)), Err(ConnectError::TooMany));
    assert_eq!(connect(&mut world, 2, &[]), Err(ConnectError::NoCandidate));
    world.run_for(5_000 * MS);
    let two = connect(&mut world, 2, &path(0, 2)).expect("room again");
    assert!(two > one);
}

#[test]
fn time_that_stands_still_or_jumps_does_no_harm() {
    let (mut world, ours, _) = World::pair(16);
    world.with(0, |mux, _| mux.wake(Time::ZERO));
    world.with(0, |mux, _| mux.input(Time::ZERO, Path { socket: 0, remote: at(1) }, &[0; 40]));
    world.send(0, ours, 0, Ppid::ASAP, b"x");
    world.run_for(100 * MS);
    assert_eq!(world.hosts[1].messages().len(), 1);
    world.with(0, |mux, _| mux.wake(Time::from_nanos(u64::MAX)));
    assert_eq!(world.hosts[0].closed(), []);
}
