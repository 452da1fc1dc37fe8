//! The TCP mapping octet by octet: a stranger with a bare socket at the doors of a node, and a bare listener that a
//! node calls.

mod common;

use common::*;
use rserpool::{Cause, Door, Endpoint, Greeting, Input, LinkId, PoolHandle, Ppid, Protocol, Role};
use rserpool_net::{Config, Identity, Limits, Reason, config};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const OWN: u32 = 0x0a0b_0c0d;
const DATA: u32 = 7;
const ASAP: u32 = 11;
const LINK: u32 = 0xffff_ffff;
const BYE: [u8; 12] = [0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0];

fn element() -> Config {
    let identity = Identity { role: Role::Element, own: OWN, pool: PoolHandle::new("tiles") };
    Config { identity, ..config(Protocol::Tcp) }
}

fn with(limits: Limits) -> Config {
    Config { limits, ..element() }
}

fn frame(ppid: u32, message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), &ppid.to_be_bytes(), message].concat()
}

fn hello_for(wanted: u32, pool: &[u8]) -> Vec<u8> {
    let head = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let rest = [wanted.to_be_bytes(), (1u32 << 20).to_be_bytes(), 60_000u32.to_be_bytes()].concat();
    frame(LINK, &[&head, &rest[..], pool].concat())
}

fn hello() -> Vec<u8> {
    hello_for(0, b"")
}

/// A stranger's end of a stream.
struct Stranger(TcpStream);

impl Stranger {
    fn calls(at: &Endpoint) -> Self {
        let at = at.socket_addresses().next().expect("an address");
        Self::with(TcpStream::connect(at).expect("it listens"))
    }

    fn with(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_nodelay(true).expect("an option");
        Self(stream)
    }

    fn says(&mut self, octets: &[u8]) {
        self.0.write_all(octets).expect("written");
    }

    /// The next frame.
    fn hears(&mut self) -> (u32, Vec<u8>) {
        let mut header = [0; 8];
        self.0.read_exact(&mut header).expect("a frame");
        let [a, b, c, d, p, q, r, s] = header;
        let mut message = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        self.0.read_exact(&mut message).expect("the rest of the frame");
        (u32::from_be_bytes([p, q, r, s]), message)
    }

    fn hears_hello(&mut self) -> Vec<u8> {
        let (ppid, message) = self.hears();
        assert_eq!((ppid, message[0], message.len()), (LINK, 1, 24));
        message
    }

    /// An Abort for this reason, then the end of the stream.
    fn hears_abort(mut self, cause: u8) {
        let (ppid, message) = self.hears();
        assert_eq!((ppid, &message[..6]), (LINK, &[5, 0, 0, 0, 0, cause][..]), "{message:?}");
        assert!(std::str::from_utf8(&message[6..]).is_ok());
        self.hears_the_end();
    }

    fn hears_the_end(mut self) {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "nothing is said after the farewell"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

/// A stranger who has introduced itself at the service door of a node.
fn introduced(node: &Actor) -> (Stranger, LinkId) {
    let mut stranger = Stranger::calls(&node.service());
    stranger.says(&hello());
    stranger.hears_hello();
    (stranger, node.hears_accepted())
}

#[test]
fn a_stream_cut_at_any_octet_is_put_together_again() {
    let node = Actor::start(element());
    let stream = [hello(), frame(DATA, b"some words"), frame(LINK, &[2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8])];
    let stream = stream.concat();
    for cut in 1..stream.len() {
        let mut stranger = Stranger::calls(&node.service());
        stranger.says(&stream[..cut]);
        // What has arrived is told before the alarm: the node has read the first part then.
        node.tell(|probe, now| probe.deadline = Some(now));
        let mut told: Vec<Input> =
            std::iter::repeat_with(|| node.hears()).take_while(|fact| *fact != Input::Wake).collect();
        stranger.says(&stream[cut..]);
        stranger.says(&BYE);
        while !matches!(told.last(), Some(Input::Closed { .. })) {
            told.push(node.hears());
        }
        let Some(&Input::Accepted { link, .. }) = told.first() else { panic!("cut at {cut}: {told:?}") };
        let message = |ppid, bytes: &[u8]| Input::Message { link, ppid, bytes: bytes.to_vec() };
        let rest = [
            message(Ppid(DATA), b"some words"),
            message(Ppid::LINK, &[2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
            Input::Closed { link, cause: Cause::Ended },
        ];
        assert_eq!(told[1..], rest, "cut at {cut}");
        stranger.hears_hello();
        assert_eq!(stranger.hears(), (LINK, vec![4, 0, 0, 0]), "cut at {cut}");
        stranger.hears_the_end();
    }
    assert_eq!(node.counters.seen().collect::<Vec<_>>(), []);
    node.hears_nothing_more();
}

#[test]
fn both_sides_introduce_themselves() {
    let node = Actor::start(element());
    let mut stranger = Stranger::calls(&node.service());
    stranger.says(&hello_for(OWN, b"tiles"));
    let said = stranger.hears_hello();
    assert_eq!(said[4..12], [0, 1, 0, 1, 0x0a, 0x0b, 0x0c, 0x0d], "version 1, element, its identifier");
    assert_eq!(said[12..16], [0; 4], "whoever calls is welcome");
    assert_eq!(said[16..24], [0, 0x10, 0, 0, 0, 0, 0xea, 0x60], "1 MiB, 60 s");
    node.hears_accepted();

    let listener = TcpListener::bind(config::loopback()).expect("a free port");
    let to = Endpoint::tcp(listener.local_addr().expect("bound"));
    let greeting = Greeting { role: Role::User, own: 0, wanted: 77, pool: PoolHandle::new("tiles") };
    let link = node.opens_saying(&to, greeting);
    node.sends(link, Ppid(DATA), b"at once".to_vec());
    let mut called = Stranger::with(listener.accept().expect("it calls").0);
    let (ppid, said) = called.hears();
    assert_eq!((ppid, &said[4..16]), (LINK, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 77][..]));
    assert_eq!(&said[24..], b"tiles");
    assert_eq!(called.hears(), (DATA, b"at once".to_vec()), "the opener does not wait");
    node.hears_nothing_more();
    // The wrong one answers.
    called.says(&hello());
    node.hears_closed(link, Cause::Unreachable);
    called.hears_abort(5);
    assert_eq!(node.counters.get(Reason::HelloWanted), 1);
}

#[test]
fn what_breaks_the_rules_is_told_why_counted_and_heard_by_nobody() {
    let cases: Vec<(&str, Vec<u8>, u8, Reason)> = vec![
        ("data before Hello", frame(DATA, b"x"), 4, Reason::HelloMissing),
        ("a Bye before Hello", BYE.to_vec(), 4, Reason::HelloMissing),
        ("another element", hello_for(OWN + 1, b"tiles"), 5, Reason::HelloWanted),
        ("another pool", hello_for(OWN, b"titles"), 5, Reason::HelloWanted),
        ("an impossible pool", hello_for(OWN, &[b'x'; 33]), 5, Reason::HelloWanted),
        ("another version", [&hello()[..13], &[2], &hello()[14..]].concat(), 1, Reason::HelloVersion),
        ("an empty frame", [[0; 4], LINK.to_be_bytes()].concat(), 2, Reason::FrameLength),
        ("a long link frame", frame(LINK, &[0; 257]), 2, Reason::FrameLength),
    ];
    let node = Actor::start(element());
    for (name, said, cause, reason) in cases {
        let before = node.counters.get(reason);
        let mut stranger = Stranger::calls(&node.service());
        stranger.says(&said);
        stranger.hears_abort(cause);
        assert_eq!(node.counters.get(reason), before + 1, "{name}");
    }
    node.hears_nothing_more();
}

#[test]
fn an_open_link_ends_at_the_first_frame_that_is_not_allowed() {
    let header = |length: u32, ppid: u32| [length.to_be_bytes(), ppid.to_be_bytes()].concat();
    let cases: Vec<(&str, Vec<u8>, u8, Reason)> = vec![
        ("a second Hello", hello(), 3, Reason::LinkFrame),
        ("ENRP", header(4, 12), 3, Reason::Ppid),
        ("1 MiB and 1", header((1 << 20) + 1, DATA), 2, Reason::FrameLength),
        ("long ASAP", header(65_533, ASAP), 2, Reason::FrameLength),
        ("no octet", header(0, DATA), 2, Reason::FrameLength),
        ("an unknown link frame", frame(LINK, &[6, 0, 0, 0]), 3, Reason::LinkFrame),
    ];
    let node = Actor::start(element());
    for (name, said, cause, reason) in cases {
        let before = node.counters.get(reason);
        let (mut stranger, link) = introduced(&node);
        stranger.says(&[frame(LINK, &[0x80, 1, 2, 3]), frame(DATA, b"fine"), said].concat());
        node.hears_message(link, Ppid(DATA), b"fine");
        node.hears_closed(link, Cause::Lost);
        stranger.hears_abort(cause);
        assert_eq!(node.counters.get(reason), before + 1, "{name}");
    }
    node.hears_nothing_more();
}

#[test]
fn an_asap_door_carries_no_data() {
    let node = Actor::start(element());
    let mut stranger = Stranger::calls(&node.bound.asap[0]);
    stranger.says(&[hello(), frame(ASAP, b"a message"), frame(DATA, b"x")].concat());
    stranger.hears_hello();
    let Input::Accepted { link, door, .. } = node.hears() else { panic!("accepted first") };
    assert_eq!(door, Door::Asap);
    node.hears_message(link, Ppid::ASAP, b"a message");
    node.hears_closed(link, Cause::Lost);
    stranger.hears_abort(3);
    node.hears_nothing_more();
}

#[test]
fn the_first_octet_tells_frames_from_a_bare_stream_from_tls_from_noise() {
    let node = Actor::start(element());
    for (first, reason) in [(0x16, Reason::Tls), (0x47, Reason::FirstOctet), (0xff, Reason::FirstOctet)] {
        for at in [&node.bound.asap[0], &node.service()] {
            let before = node.counters.get(reason);
            let mut stranger = Stranger::calls(at);
            stranger.says(&[first]);
            stranger.hears_the_end();
            assert_eq!(node.counters.get(reason), before + 1);
        }
    }
    // A session is never bare.
    let mut stranger = Stranger::calls(&node.service());
    stranger.says(&[5, 0, 0, 4]);
    stranger.hears_the_end();
    assert_eq!(node.counters.get(Reason::FirstOctet), 5);
    node.hears_nothing_more();
}

#[test]
fn a_bare_asap_stream_is_answered_alike() {
    let node = Actor::start(element());
    let mut stranger = Stranger::calls(&node.bound.asap[0]);
    stranger.says(&[5, 0, 0, 6, 1]);
    node.hears_nothing_more();
    stranger.says(&[2, 0, 0, 9, 0, 0, 4]);
    let link = node.hears_accepted();
    node.hears_message(link, Ppid::ASAP, &[5, 0, 0, 6, 1, 2]);
    node.hears_message(link, Ppid::ASAP, &[9, 0, 0, 4]);
    // What does not exist in a bare stream is not said.
    node.sends(link, Ppid::LINK, [2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    node.sends(link, Ppid::ASAP, [6, 0, 0, 5, 9]);
    let mut answer = [0; 8];
    stranger.0.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [6, 0, 0, 5, 9, 0, 0, 0]);
    // Only users speak so: a registration ends the stream.
    stranger.says(&[1, 0, 0, 4]);
    node.hears_closed(link, Cause::Lost);
    stranger.hears_the_end();
    assert_eq!(node.counters.seen().collect::<Vec<_>>(), [(Reason::BareAsap, 1)]);
    // Another one ends as streams do.
    let mut stranger = Stranger::calls(&node.bound.asap[0]);
    stranger.says(&[5, 0, 0, 4]);
    let link = node.hears_accepted();
    node.hears_message(link, Ppid::ASAP, &[5, 0, 0, 4]);
    drop(stranger);
    node.hears_closed(link, Cause::Ended);
    node.hears_nothing_more();
}

#[test]
fn the_end_without_bye_is_a_loss_and_an_abort_is_an_abort() {
    let node = Actor::start(element());
    let (stranger, link) = introduced(&node);
    drop(stranger);
    node.hears_closed(link, Cause::Lost);
    assert_eq!(node.counters.get(Reason::EndedUnsaid), 1);
    let (mut stranger, link) = introduced(&node);
    stranger.says(&frame(LINK, &[5, 0, 0, 0, 0, 7, b'n', b'o']));
    node.hears_closed(link, Cause::Aborted);
    stranger.hears_the_end();
    node.hears_nothing_more();
}

#[test]
fn a_side_that_accepts_less_is_sent_no_more() {
    let node = Actor::start(element());
    let mut stranger = Stranger::calls(&node.service());
    let mut small = hello();
    small[24..28].copy_from_slice(&65_536u32.to_be_bytes());
    stranger.says(&small);
    stranger.hears_hello();
    let link = node.hears_accepted();
    node.sends(link, Ppid(DATA), vec![1; 65_536]);
    assert_eq!(stranger.hears(), (DATA, vec![1; 65_536]));
    node.sends(link, Ppid(DATA), vec![1; 65_537]);
    node.hears_closed(link, Cause::Overflow);
    stranger.hears_abort(7);
}

#[test]
fn a_hello_that_does_not_come_ends_the_link() {
    let node = Actor::start(with(Limits { hello_timeout: Duration::from_millis(20), ..Limits::default() }));
    let silent = Stranger::calls(&node.service());
    silent.hears_abort(4);
    let mut slow = Stranger::calls(&node.service());
    slow.says(&hello()[..20]);
    slow.hears_abort(4);
    assert_eq!(node.counters.get(Reason::HelloMissing), 2);
    node.hears_nothing_more();
}

#[test]
fn silence_ends_a_link_and_signs_of_life_are_given_in_time() {
    let limits = Limits { silence_max: Duration::from_millis(300), ..Limits::default() };
    let node = Actor::start(with(limits));
    let (mut stranger, link) = introduced(&node);
    // This stranger says nothing more; what it tolerates itself is a minute, so nobody speaks to it.
    node.hears_closed(link, Cause::Lost);
    let (ppid, message) = stranger.hears();
    assert_eq!((ppid, &message[..6]), (LINK, &[5, 0, 0, 0, 0, 8][..]));
    assert_eq!(node.counters.get(Reason::Silence), 1);

    // This one tolerates as little itself, and gets its Pings, which are not the nodes' business.
    let node = Actor::start(element());
    let mut stranger = Stranger::calls(&node.service());
    let mut impatient = hello();
    impatient[28..32].copy_from_slice(&300u32.to_be_bytes());
    stranger.says(&impatient);
    stranger.hears_hello();
    let link = node.hears_accepted();
    for _ in 0..6 {
        let (ppid, mut ping) = stranger.hears();
        assert_eq!((ppid, ping[0], ping.len()), (LINK, 2, 12));
        ping[0] = 3;
        stranger.says(&frame(LINK, &ping));
    }
    node.hears_nothing_more();
    stranger.says(&BYE);
    node.hears_closed(link, Cause::Ended);
}

#[test]
fn two_idle_nodes_keep_their_link() {
    let limits = Limits { silence_max: Duration::from_millis(1_500), ..Limits::default() };
    let (a, ours, b, theirs) = pair_of(with(limits), with(limits));
    a.is_silent_for(Duration::from_millis(4_000));
    a.sends(ours, Ppid(DATA), [1]);
    b.hears_message(theirs, Ppid(DATA), &[1]);
    b.hears_nothing_more();
    a.hears_nothing_more();
}

#[test]
fn an_asap_link_nobody_uses_is_ended_in_good_order() {
    let node = Actor::start(with(Limits { idle_max: Duration::from_millis(50), ..Limits::default() }));
    let mut stranger = Stranger::calls(&node.bound.asap[0]);
    stranger.says(&hello());
    stranger.hears_hello();
    let link = node.hears_accepted();
    node.hears_closed(link, Cause::Ended);
    assert_eq!(stranger.hears(), (LINK, vec![4, 0, 0, 0]));
    assert_eq!(node.counters.get(Reason::Idle), 1);
    // A session may think as long as it likes.
    let (_stranger, _link) = introduced(&node);
    node.is_silent_for(Duration::from_millis(200));
}

#[test]
fn a_frame_that_never_ends_ends_the_link_although_octets_trickle() {
    let limits = Limits { silence_max: Duration::from_millis(200), ..Limits::default() };
    let node = Actor::start(with(limits));
    let (mut stranger, link) = introduced(&node);
    stranger.says(&[0, 0x10, 0, 0, 0, 0, 0, 7]);
    let closed = loop {
        // Each octet is a sign of life, but the frame takes too long.
        if stranger.0.write_all(&[1]).is_err() {
            break node.hears();
        }
        match node.try_hears() {
            Ok(fact) => break fact,
            Err(_) => node.tell(|_, _| {}),
        }
    };
    assert_eq!(closed, Input::Closed { link, cause: Cause::Lost });
    assert_eq!(node.counters.seen().collect::<Vec<_>>(), [(Reason::SlowFrame, 1)]);
}

#[test]
fn many_who_say_nothing_do_not_keep_out_one_who_does() {
    let limits = Limits { half_open_max: 50, hello_timeout: PATIENCE, ..Limits::default() };
    let node = Actor::start(with(limits));
    let silent: Vec<Stranger> = (0..400).map(|_| Stranger::calls(&node.service())).collect();
    let (mut stranger, link) = introduced(&node);
    stranger.says(&frame(DATA, b"heard"));
    node.hears_message(link, Ppid(DATA), b"heard");
    assert_eq!(node.counters.get(Reason::HalfOpen), 351, "all but the youngest 49, and one made room for");
    drop(silent);
    node.hears_nothing_more();
}

#[test]
fn there_is_a_last_link() {
    let node = Actor::start(with(Limits { links_max: 3, ..Limits::default() }));
    let links: Vec<_> = (0..3).map(|_| introduced(&node)).collect();
    let refused = Stranger::calls(&node.service());
    refused.hears_abort(7);
    let to = Endpoint::tcp(SocketAddr::from(([127, 0, 0, 1], 9)));
    let ours = node.opens(&to);
    node.hears_closed(ours, Cause::Unreachable);
    assert_eq!(node.counters.get(Reason::TooManyLinks), 2);
    drop(links);
}

#[test]
fn buffers_of_all_links_together_are_bounded() {
    let node = Actor::start(with(Limits { buffers_max: 1 << 20, ..Limits::default() }));
    let mut links: Vec<_> = (0..4).map(|_| introduced(&node)).collect();
    // Each begins a frame of 1 MiB and sends a part of it. The one that goes over the bound ends, which makes room.
    let part = [&(1u32 << 20).to_be_bytes()[..], &DATA.to_be_bytes(), &vec![0; 300_000]].concat();
    for (stranger, _) in &mut links {
        let _ = stranger.0.write_all(&part);
    }
    let Input::Closed { link, cause } = node.hears() else { panic!("one ends") };
    assert_eq!(cause, Cause::Overflow);
    assert!(links.iter().any(|(_, id)| *id == link));
    assert_eq!(node.counters.get(Reason::Memory), 1);
}

#[test]
fn noise_after_a_sound_hello_ends_that_link_and_no_other() {
    let node = Actor::start(element());
    let (mut well, heard) = introduced(&node);
    let mut random = rserpool::Random::from_seed(4);
    for seed in 0..300 {
        let mut noise = hello();
        for _ in 0..random.below(6) {
            let ppid = [ASAP, DATA, LINK, 12, 0][random.below(5) as usize];
            noise.extend(frame(ppid, &pattern(random.below(40) as usize, random.next_u64())));
        }
        noise.extend(pattern(random.below(100) as usize, seed));
        // It may be closed before everything is written.
        let _ = Stranger::calls(&node.service()).0.write_all(&noise);
        let link = node.hears_accepted();
        let closed = loop {
            match node.hears() {
                Input::Message { link: l, ppid, bytes } => {
                    assert_eq!(l, link);
                    assert!(ppid != Ppid::ENRP && !bytes.is_empty() && bytes.len() < 40);
                }
                other => break other,
            }
        };
        assert!(matches!(closed, Input::Closed { link: l, .. } if l == link), "{closed:?}");
    }
    well.says(&frame(DATA, b"unharmed"));
    node.hears_message(heard, Ppid(DATA), b"unharmed");
    node.hears_nothing_more();
}
