//! What every transport must do, run on each of them over loopback: one suite, and the transports cannot be told apart.
//!
//! `kernel::` and `mixed::` need a kernel with SCTP, and root: two tests run them in a guest.

mod common;

use common::*;
use rserpool::{Cause, Door, Ending, Endpoint, Greeting, Input, LinkId, Ppid, Protocol};
use rserpool_net::{Config, DoorAt, Limits, Reason, UdpPort};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

macro_rules! on_every_transport {
    ($($name:ident),+ $(,)?) => {
        mod tcp {
            $(#[test] fn $name() { super::$name(super::Over::Tcp); })+
        }
        mod sctp_over_udp {
            $(#[test] fn $name() { super::$name(super::Over::SctpOverUdp); })+
        }
        mod kernel {
            $(#[test] #[ignore = "runs in a guest"] fn $name() { super::$name(super::Over::Kernel); })+
        }
        mod mixed {
            mod udp_to_kernel {
                $(#[test] #[ignore = "runs in a guest"] fn $name() { crate::$name(crate::Over::UdpToKernel); })+
            }
            mod kernel_to_udp {
                $(#[test] #[ignore = "runs in a guest"] fn $name() { crate::$name(crate::Over::KernelToUdp); })+
            }
        }
    };
}

#[test]
fn the_suite_passes_on_the_kernels_sctp_in_a_guest() {
    guest::rerun("transports-kernel", &["kernel::", "--skip", "mixed::"], Duration::from_secs(300));
}

#[test]
fn the_suite_passes_between_the_kernels_sctp_and_ours_over_udp_in_a_guest() {
    guest::rerun("transports-mixed", &["mixed::"], Duration::from_secs(300));
}

on_every_transport! {
    both_ends_learn_of_a_link_and_who_is_there,
    messages_of_all_sizes_arrive_whole_in_order_and_with_their_ppid,
    what_is_said_before_the_link_stands_is_not_lost,
    both_sides_talk_at_once,
    a_graceful_end_comes_after_everything_that_was_said,
    an_abort_tells_the_other_side,
    a_node_that_stops_takes_its_leave,
    a_node_that_stops_does_not_wait_for_ever_for_one_that_hangs,
    a_vanished_process_is_lost,
    nobody_there_is_unreachable,
    a_link_closed_by_its_node_is_never_heard_of_again,
    many_links_stay_apart,
    a_side_that_does_not_read_overflows_and_others_do_not_suffer,
    hostile_bytes_are_counted_and_change_nothing,
    a_hung_node_finds_its_mail_before_its_alarm,
}

const DATA: Ppid = Ppid(0x5253_5031);

fn both_ends_learn_of_a_link_and_who_is_there(over: Over) {
    let (a, b) = (Actor::start(over.opener()), Actor::start(over.acceptor()));
    let link = a.opens(&b.service());
    let Input::Accepted { link: theirs, door, peer } = b.hears() else { panic!("accepted first") };
    assert_eq!((door, peer.protocol), (Door::Service, over.protocol()));
    assert_eq!(peer.addresses, [Ipv4Addr::LOCALHOST]);
    assert!(matches!(theirs, LinkId::Theirs(_)));
    if over != Over::Tcp {
        // SCTP links come from the door's own port.
        assert_eq!(peer.port, a.service().port);
    }
    assert_eq!(a.hears(), Input::Opened { link, peer: b.service() });
    a.hears_nothing_more();
    b.hears_nothing_more();
}

fn messages_of_all_sizes_arrive_whole_in_order_and_with_their_ppid(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    let around = |size: usize| [size - 1, size, size + 1];
    let mut sizes = vec![1, 2, 3, 4, 5, 7, 8, 9, 16, 100];
    for size in [256, 1_400, 4_096, 65_532, 65_536, 262_144] {
        sizes.extend(around(size));
    }
    sizes.extend([(1 << 20) - 1, 1 << 20]);
    for (place, &size) in sizes.iter().enumerate() {
        let ppid = if place % 2 == 0 && size <= 65_532 { Ppid::ASAP } else { Ppid(place as u32) };
        a.sends(ours, ppid, pattern(size, place as u64));
        b.hears_message(theirs, ppid, &pattern(size, place as u64));
        b.sends(theirs, ppid, pattern(size, !(place as u64)));
        a.hears_message(ours, ppid, &pattern(size, !(place as u64)));
    }
    // And all of them one after the other, without waiting.
    for (place, &size) in sizes.iter().enumerate() {
        a.sends(ours, DATA, pattern(size, place as u64));
    }
    for (place, &size) in sizes.iter().enumerate() {
        b.hears_message(theirs, DATA, &pattern(size, place as u64));
    }
    a.hears_nothing_more();
    b.hears_nothing_more();
}

fn what_is_said_before_the_link_stands_is_not_lost(over: Over) {
    let (a, b) = (Actor::start(over.opener()), Actor::start(over.acceptor()));
    let to = b.service();
    let link = a.tell(move |probe, _| {
        let link = probe.outbox.open(Door::Service, to, Greeting::default());
        for number in 0..100u8 {
            probe.outbox.send(link, DATA, vec![number; 10]);
        }
        link
    });
    let theirs = b.hears_accepted();
    for number in 0..100u8 {
        b.hears_message(theirs, DATA, &[number; 10]);
    }
    a.hears_opened(link);
    a.hears_nothing_more();
    b.hears_nothing_more();
}

fn both_sides_talk_at_once(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    let talk = |from: &Actor, link: LinkId, seed: u64| {
        from.tell(move |probe, _| {
            for number in 0..2_000 {
                probe.outbox.send(link, DATA, pattern(1 + number as usize % 700, seed + number));
            }
        });
    };
    talk(&a, ours, 0);
    talk(&b, theirs, 1 << 32);
    for number in 0..2_000 {
        b.hears_message(theirs, DATA, &pattern(1 + number as usize % 700, number));
        a.hears_message(ours, DATA, &pattern(1 + number as usize % 700, (1 << 32) + number));
    }
    a.hears_nothing_more();
    b.hears_nothing_more();
}

fn a_graceful_end_comes_after_everything_that_was_said(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    a.tell(move |probe, _| {
        for number in 0..20u64 {
            probe.outbox.send(ours, DATA, pattern(50_000, number));
        }
        probe.outbox.close(ours, Ending::Graceful);
    });
    for number in 0..20 {
        b.hears_message(theirs, DATA, &pattern(50_000, number));
    }
    b.hears_closed(theirs, Cause::Ended);
    // A link that ended is no trouble for those who still speak of it.
    b.sends(theirs, DATA, [1]);
    b.closes(theirs, Ending::Graceful);
    a.sends(ours, DATA, [1]);
    a.hears_nothing_more();
    b.hears_nothing_more();
}

fn an_abort_tells_the_other_side(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    a.closes(ours, Ending::Abort);
    b.hears_closed(theirs, Cause::Aborted);
    let (again, back) = (a.opens(&b.service()), b.hears_accepted());
    a.hears_opened(again);
    b.closes(back, Ending::Abort);
    a.hears_closed(again, Cause::Aborted);
    a.hears_nothing_more();
    b.hears_nothing_more();
}

fn a_node_that_stops_takes_its_leave(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    a.sends(ours, DATA, pattern(300_000, 1));
    a.stops();
    b.hears_message(theirs, DATA, &pattern(300_000, 1));
    b.hears_closed(theirs, Cause::Ended);
    b.hears_nothing_more();
}

fn a_node_that_stops_does_not_wait_for_ever_for_one_that_hangs(over: Over) {
    let limits = Limits { stop_max: Duration::from_millis(100), ..Limits::default() };
    let a = Actor::start(Config { limits, ..over.opener() });
    let b = Actor::start(over.acceptor());
    let ours = a.opens(&b.service());
    let theirs = b.hears_accepted();
    a.hears_opened(ours);
    let release = b.hangs();
    a.sends(ours, DATA, [1]);
    a.stops();
    drop(release);
    b.hears_message(theirs, DATA, &[1]);
    assert!(matches!(b.hears(), Input::Closed { .. }));
}

fn a_vanished_process_is_lost(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    b.sends(theirs, DATA, [1]);
    a.hears_message(ours, DATA, &[1]);
    a.vanishes();
    // The kernel aborts for a process that is gone, without a reason; SCTP over UDP does not tell that from other aborts.
    b.hears_closed(theirs, if over == Over::KernelToUdp { Cause::Aborted } else { Cause::Lost });
    b.hears_nothing_more();
}

fn nobody_there_is_unreachable(over: Over) {
    // Held until the end, so that nobody else gets the number; a UDP socket that is not read answers nothing either.
    let (tcp, udp) = loop {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let at = udp.local_addr().expect("bound");
        if let Ok(tcp) = TcpListener::bind(at) {
            break (tcp, udp);
        }
    };
    let at: SocketAddr = udp.local_addr().expect("bound");
    drop(tcp);
    let a = Actor::start(over.opener());
    let to = Endpoint { protocol: over.protocol(), addresses: vec![at.ip()], port: at.port() };
    let link = a.opens(&to);
    a.sends(link, DATA, [1]);
    a.hears_closed(link, Cause::Unreachable);
    a.hears_nothing_more();
}

fn a_link_closed_by_its_node_is_never_heard_of_again(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    b.tell(move |probe, _| {
        for number in 0..500u64 {
            probe.outbox.send(theirs, DATA, pattern(1_000, number));
        }
    });
    a.hears_message(ours, DATA, &pattern(1_000, 0));
    a.closes(ours, Ending::Graceful);
    b.hears_closed(theirs, Cause::Ended);
    // What came before the wish was heard in order; after it nothing comes.
    let mut number = 1;
    while let Ok(fact) = a.try_hears() {
        assert_eq!(fact, Input::Message { link: ours, ppid: DATA, bytes: pattern(1_000, number) });
        number += 1;
    }
    a.hears_nothing_more();
}

fn many_links_stay_apart(over: Over) {
    const LINKS: u64 = 300;
    let b = Actor::start(over.acceptor());
    b.echoes();
    // An SCTP port has one association with another port, so each opener has one of its own (a TCP one needs none).
    // Of SCTP over UDP only the door's number is nobody else's on this host. Two of ours tell themselves apart by their UDP
    // ports; a kernel does not look at those (RFC 6951 §5.3), so it may only meet one opener with many ports here.
    let openers = if matches!(over, Over::Tcp | Over::UdpToKernel) { 1 } else { 3 };
    let openers: Vec<Actor> = (0..openers).map(|_| Actor::start(over.opener())).collect();
    for a in &openers {
        let mut expected = BTreeMap::new();
        for number in 0..LINKS / openers.len() as u64 {
            let link = a.opens(&b.service());
            let said = pattern(200, number);
            a.sends(link, DATA, said.clone());
            expected.insert(link, (false, said));
        }
        while !expected.is_empty() {
            match a.hears() {
                Input::Opened { link, .. } => expected.get_mut(&link).expect("asked for").0 = true,
                Input::Message { link, ppid, bytes } => {
                    assert_eq!(expected.remove(&link), Some((true, bytes)));
                    assert_eq!(ppid, DATA);
                }
                other => panic!("{other:?}"),
            }
        }
        a.hears_nothing_more();
    }
    let mut accepted = std::collections::BTreeSet::new();
    for _ in 0..LINKS {
        assert!(accepted.insert(b.hears_accepted()), "no name is given twice");
    }
    b.hears_nothing_more();
}

fn a_side_that_does_not_read_overflows_and_others_do_not_suffer(over: Over) {
    let limits = Limits { link_queue_max: 3 << 20, ..Limits::default() };
    let a = Actor::start(Config { limits, ..over.opener() });
    let (hung, well) = (Actor::start(over.acceptor()), Actor::start(over.acceptor()));
    let (to_hung, to_well) = (a.opens(&hung.service()), a.opens(&well.service()));
    hung.hears_accepted();
    let heard = well.hears_accepted();
    for _ in 0..2 {
        assert!(matches!(a.hears(), Input::Opened { .. }));
    }
    let release = hung.hangs();
    let mut sent = 0;
    let closed = loop {
        if let Ok(fact) = a.try_hears() {
            break fact;
        }
        assert!(sent < 64, "64 MiB are queued");
        a.sends(to_hung, DATA, pattern(1 << 20, 0));
        sent += 1;
    };
    assert_eq!(closed, Input::Closed { link: to_hung, cause: Cause::Overflow });
    assert!(sent >= 3, "only {sent} MiB were taken");
    assert_eq!(a.counters.get(Reason::Overflow), 1);
    a.sends(to_well, DATA, [7; 7]);
    well.hears_message(heard, DATA, &[7; 7]);
    a.hears_nothing_more();
    drop(release);
}

fn hostile_bytes_are_counted_and_change_nothing(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    let at = b.service().socket_addresses().next().expect("an address");
    let mut random = rserpool::Random::from_seed(99);
    match over {
        Over::Tcp => {
            for seed in 0..200 {
                let mut stream = std::net::TcpStream::connect(at).expect("it listens");
                let mut octets = pattern(1 + random.below(3_000) as usize, seed);
                if seed % 2 == 0 {
                    octets[0] = 0;
                }
                // It may be closed before everything is written.
                let _ = std::io::Write::write_all(&mut stream, &octets);
            }
            // Some are ended by a Hello that never comes, the others at once.
            until("all are counted", || b.counters.seen().map(|(_, count)| count).sum::<u64>() >= 200);
        }
        // The kernel counts for itself.
        Over::Kernel => {
            let raw = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, Some(132.into()));
            let raw = raw.expect("root in a guest may have one");
            for seed in 0..200 {
                let mut octets = pattern(12 + random.below(1_400) as usize, seed);
                octets[..2].copy_from_slice(&a.service().port.to_be_bytes());
                octets[2..4].copy_from_slice(&at.port().to_be_bytes());
                raw.send_to(&octets, &at.into()).expect("sent");
            }
        }
        Over::SctpOverUdp | Over::UdpToKernel | Over::KernelToUdp => {
            let at = if over.kernel_accepts() { (Ipv4Addr::LOCALHOST, 9899).into() } else { at };
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            for seed in 0..200 {
                let mut octets = pattern(1 + random.below(1_400) as usize, seed);
                if seed % 2 == 0 && octets.len() > 4 {
                    octets[..2].copy_from_slice(&at.port().to_be_bytes());
                    octets[2..4].copy_from_slice(&at.port().to_be_bytes());
                }
                socket.send_to(&octets, at).expect("sent");
            }
            if !over.kernel_accepts() {
                until("all are counted", || b.counters.get(Reason::Datagram) == 200);
            }
        }
    }
    a.sends(ours, DATA, pattern(10_000, 5));
    b.hears_message(theirs, DATA, &pattern(10_000, 5));
    b.hears_nothing_more();
}

#[test]
fn both_protocols_run_over_ipv6_alike() {
    let at: SocketAddr = (std::net::Ipv6Addr::LOCALHOST, 0).into();
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        let door = DoorAt { at: Some(at.into()), ..config(protocol).service };
        let (a, ours, b, theirs) = {
            let config = Config { asap: door.clone(), service: door, ..config(protocol) };
            pair_of(config.clone(), config)
        };
        assert_eq!(b.service().addresses, [at.ip()]);
        a.sends(ours, DATA, pattern(100_000, 6));
        b.hears_message(theirs, DATA, &pattern(100_000, 6));
        b.closes(theirs, Ending::Graceful);
        a.hears_closed(ours, Cause::Ended);
    }
}

#[test]
fn a_strict_peer_finds_a_door_at_the_encapsulation_port() {
    // What goes to a UDP port of the same number is lost here, so only the other candidate can answer.
    let registrar = Actor::start(Config {
        udp: UdpPort::Exactly(0),
        ..Config::registrar(rserpool_net::config::loopback(), rserpool_net::config::loopback())
    });
    let [_, _, strict] = registrar.bound.udp[..] else { panic!("{:?}", registrar.bound) };
    let mut peer = rserpool_sctp::Mux::new(rserpool_sctp::Config::default(), [7; 32]);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let path = rserpool_sctp::Path { socket: 0, remote: strict };
    let to = registrar.bound.enrp.as_ref().expect("asked for").port;
    peer.connect(rserpool::Time::ZERO, 55_555, to, &[path]).expect("one candidate");
    let mut buffer = [0; 2_000];
    let up = loop {
        while let Some(datagram) = peer.poll_output() {
            socket.send_to(&datagram.bytes, datagram.path.remote).expect("sent");
        }
        if let Some(event) = peer.poll_event() {
            break event;
        }
        let (length, from) = socket.recv_from(&mut buffer).expect("an answer");
        assert_eq!(from, strict, "the answer comes from where the question went");
        peer.input(rserpool::Time::ZERO, path, &buffer[..length]);
    };
    assert!(matches!(up, rserpool_sctp::Event::Up { .. }), "{up:?}");
    let Input::Accepted { door, peer, .. } = registrar.hears() else { panic!("accepted") };
    assert_eq!((door, peer.port), (Door::Enrp, 55_555));
}

fn a_hung_node_finds_its_mail_before_its_alarm(over: Over) {
    let (a, ours, b, theirs) = pair(over);
    b.tell(|probe, now| probe.deadline = Some(now));
    assert_eq!(b.hears(), Input::Wake);
    let release = b.hangs_until_due();
    for number in 0..10u64 {
        a.sends(ours, DATA, pattern(100, number));
    }
    a.hears_nothing_more();
    drop(release);
    for number in 0..10 {
        b.hears_message(theirs, DATA, &pattern(100, number));
    }
    assert_eq!(b.hears(), Input::Wake);
    b.hears_nothing_more();
}

#[test]
fn two_registrars_that_call_each_other_at_once_share_one_link() {
    for round in 0..20u8 {
        let start = || {
            let ports = Config::registrar(rserpool_net::config::loopback(), rserpool_net::config::loopback());
            Actor::start(Config { udp: UdpPort::None, ..ports })
        };
        let (a, b) = (start(), start());
        let at = |actor: &Actor| actor.bound.enrp.clone().expect("asked for");
        let (to_a, to_b) = (at(&a), at(&b));
        let calls = |actor: &Actor, to: Endpoint| {
            let call = move |probe: &mut Probe, _| {
                probe.outbox.open(Door::Enrp, to, Greeting::default());
            };
            actor.handle.post_blocking(call).expect("it lives");
        };
        calls(&a, to_b);
        calls(&b, to_a);
        // Whoever was called before it called itself has its own call refused, and the link of the other.
        let up = |actor: &Actor| {
            actor.hears_at_last("a link", |fact| match fact {
                Input::Accepted { link, door, .. } => {
                    assert_eq!(door, Door::Enrp);
                    Some(link)
                }
                Input::Opened { link, .. } => Some(link),
                Input::Closed { cause, .. } => {
                    assert_eq!(cause, Cause::Unreachable);
                    None
                }
                other => panic!("{other:?}"),
            })
        };
        let (at_a, at_b) = (up(&a), up(&b));
        let hears = |actor: &Actor, link: LinkId| {
            let message = Input::Message { link, ppid: Ppid::ENRP, bytes: vec![round] };
            actor.hears_at_last("the other's words", |fact| match fact {
                Input::Closed { cause: Cause::Unreachable, .. } => None,
                fact => {
                    assert_eq!(fact, message);
                    Some(())
                }
            });
        };
        a.sends(at_a, Ppid::ENRP, [round]);
        b.sends(at_b, Ppid::ENRP, [round]);
        hears(&a, at_a);
        hears(&b, at_b);
        a.stops();
        b.hears_closed(at_b, Cause::Ended);
    }
}
