//! A million messages against a live registrar, from established links of every kind, while an element and users go on
//! as if nothing happened.
//!
//! At least half of the messages are whole ASAP or ENRP messages that reach the state machine: lies, not noise. The rest
//! is the same with octets changed, cut or added. Seeded: a failure can be repeated.
//!
//! Over ASAP the attackers lie about the worker itself: they register in its name, deregister it, call it unreachable.
//! Over ENRP they speak of other pools: what a peer says of an element is law among registrars (RFC 5353), and there is
//! no authentication yet that would keep strangers from being peers.

mod common;

use common::{BOUND, Server, run};
use rserpool::wire::parameter::{
    CauseCode, ErrorCause, Life, PoolElement, ServerInformation, Transport, TransportUse,
};
use rserpool::wire::{asap, enrp};
use rserpool::{
    Door, ElementId, Endpoint, Greeting, Input, LinkId, Load, Node, Outbox, Output, Policy, PoolHandle, Ppid,
    Random, RegistrarId, Role, Time,
};
use rserpool_net::{Config, DoorAt};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

/// Sent between two questions whose answers are awaited: the registrar is kept busy, its queues are not the point.
const PORTION: u64 = 500;

/// The worker that must not suffer, as the attackers know it.
const VICTIM: ElementId = ElementId(0xa);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Speech {
    Asap,
    Enrp,
}

/// A node that says everything that can be said, and more.
struct Attacker {
    speech: Speech,
    to: Endpoint,
    random: Random,
    left: u64,
    link: Option<LinkId>,
    legal: Arc<AtomicU64>,
    outbox: Outbox<Over>,
}

/// All messages were sent and the last question answered.
struct Over;

impl Attacker {
    fn open(&mut self) {
        let door = match self.speech {
            Speech::Asap => Door::Asap,
            Speech::Enrp => Door::Enrp,
        };
        let role = if self.speech == Speech::Enrp { Role::Registrar } else { Role::User };
        self.link = Some(self.outbox.open(door, self.to.clone(), Greeting { role, ..Greeting::default() }));
        self.portion();
    }

    /// The next portion, and a question that will be answered after it.
    fn portion(&mut self) {
        let Some(link) = self.link else { return };
        let count = self.left.min(PORTION);
        self.left -= count;
        let ppid = if self.speech == Speech::Enrp { Ppid::ENRP } else { Ppid::ASAP };
        for _ in 0..count {
            let mut bytes = match self.speech {
                Speech::Asap => asap_message(&mut self.random).emit(),
                Speech::Enrp => enrp_message(&mut self.random).emit(),
            };
            if self.random.one_in(3) {
                mutate(self.speech, &mut bytes, &mut self.random);
            }
            let is_legal = match self.speech {
                Speech::Asap => asap::Message::parse(&bytes).is_ok(),
                Speech::Enrp => enrp::Message::parse(&bytes).is_ok(),
            };
            self.legal.fetch_add(u64::from(is_legal), Ordering::Relaxed);
            self.outbox.send(link, ppid, bytes);
        }
        let question = match self.speech {
            Speech::Asap => {
                let handle = PoolHandle::new("the question").expect("legal");
                asap::Message::HandleResolution { subscribe: false, handle, items: Some(77) }.emit()
            }
            Speech::Enrp => {
                let (sender, receiver) = (RegistrarId(0x0e0e_0e0e), RegistrarId::UNDEFINED);
                enrp::Message { sender, receiver, body: enrp::Body::ListRequest }.emit()
            }
        };
        self.outbox.send(link, ppid, question);
    }

    fn is_answer(&self, bytes: &[u8]) -> bool {
        match self.speech {
            Speech::Asap => matches!(
                asap::Message::parse(bytes),
                Ok(asap::Message::HandleResolutionResponse { handle, .. }) if handle.as_bytes() == b"the question"
            ),
            Speech::Enrp => matches!(
                enrp::Message::parse(bytes),
                Ok(enrp::Message {
                    receiver: RegistrarId(0x0e0e_0e0e),
                    body: enrp::Body::ListResponse { .. },
                    ..
                })
            ),
        }
    }
}

impl Node for Attacker {
    type Event = Over;

    fn handle(&mut self, _: Time, input: Input) {
        match input {
            Input::Message { link, bytes, .. } if Some(link) == self.link && self.is_answer(&bytes) => {
                if self.left == 0 {
                    self.outbox.event(Over);
                } else {
                    self.portion();
                }
            }
            // The registrar has had enough of this link: there are others. What was sent on it counts all the same.
            Input::Closed { link, .. } if Some(link) == self.link => self.open(),
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output<Over>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

fn handle(random: &mut Random) -> PoolHandle {
    PoolHandle::new(["compute", "compute", "a", "another pool"][random.below(4) as usize]).expect("legal")
}

fn foreign_handle(random: &mut Random) -> PoolHandle {
    PoolHandle::new(["a", "another pool", "b"][random.below(3) as usize]).expect("legal")
}

fn element_id(random: &mut Random) -> ElementId {
    if random.one_in(3) { VICTIM } else { ElementId(random.below(50) as u32) }
}

fn registrar_id(random: &mut Random) -> RegistrarId {
    RegistrarId([0, 1, 0x0e0e_0e0e, 0x0f0f_0f0f][random.below(4) as usize])
}

fn element(random: &mut Random, home: RegistrarId) -> PoolElement {
    let address =
        [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::UNSPECIFIED][random.below(3) as usize];
    let port = random.below(3) as u16 * 1000;
    let transport_use = if random.one_in(2) { TransportUse::Data } else { TransportUse::DataAndControl };
    let user_transport = match random.below(3) {
        0 => Transport::Udp { port, address: address.into() },
        1 => Transport::Sctp { port, transport_use, addresses: vec![address.into(); 3] },
        _ => Transport::Tcp { port, transport_use, address: address.into() },
    };
    let policy = match random.below(4) {
        0 => Policy::RoundRobin,
        1 => Policy::WeightedRandom { weight: 0 },
        2 => Policy::LeastUsedDegradation { load: Load::FULL, degradation: Load(random.next_u64() as u32) },
        _ => Policy::LeastUsed { load: Load(random.next_u64() as u32) },
    };
    let asap = Transport::Sctp {
        port: random.below(2) as u16 * 3863,
        transport_use: TransportUse::Data,
        addresses: vec![address.into()],
    };
    PoolElement {
        id: element_id(random),
        home,
        life: Life([0, 1, 30_000, u32::MAX][random.below(4) as usize]),
        user_transport,
        policy,
        asap_transport: home.is_defined().then_some(asap),
        asap_tcp: None,
    }
}

fn asap_message(random: &mut Random) -> asap::Message {
    use asap::Message::*;
    let (handle, element_id) = (handle(random), element_id(random));
    match random.below(11) {
        0 | 1 => Registration { handle, element: element(random, RegistrarId::UNDEFINED) },
        2 => Deregistration { handle, element: element_id },
        3 | 4 => {
            HandleResolution { subscribe: random.one_in(2), handle, items: Some(random.next_u64() as u32) }
        }
        5 => EndpointKeepAliveAck { handle, element: element_id },
        6 => EndpointUnreachable { handle, element: element_id },
        7 => Cookie { cookie: vec![1; 1 + random.below(2000) as usize] },
        8 => Error { causes: vec![ErrorCause { code: CauseCode::UNSPECIFIED, info: vec![0; 8] }] },
        9 => PoolList { handle: None, after: Some((handle, element_id)) },
        _ => {
            EndpointKeepAlive { home: true, server: registrar_id(random), handle, element: Some(element_id) }
        }
    }
}

fn enrp_message(random: &mut Random) -> enrp::Message {
    use enrp::Body::*;
    let (sender, receiver) = (registrar_id(random), registrar_id(random));
    let target = registrar_id(random);
    let body = match random.below(9) {
        0 => Presence {
            reply_required: random.one_in(2),
            checksum: Some(random.next_u64() as u16),
            server: Some(ServerInformation {
                id: sender,
                transport: Transport::Sctp {
                    port: 9,
                    transport_use: TransportUse::Data,
                    addresses: vec![Ipv4Addr::LOCALHOST.into()],
                },
            }),
        },
        1 => HandleTableRequest { own_only: random.one_in(2) },
        2 => HandleTableResponse {
            rejected: random.one_in(8),
            more: random.one_in(2),
            pools: vec![(foreign_handle(random), vec![element(random, sender); 3])],
        },
        3 => {
            let action = if random.one_in(2) { enrp::UpdateAction::Add } else { enrp::UpdateAction::Delete };
            HandleUpdate {
                takeover_suggested: false,
                action,
                handle: handle(random),
                element: element(random, sender),
            }
        }
        4 => ListRequest,
        5 => ListResponse { rejected: false, servers: Vec::new() },
        6 => InitTakeover { target },
        7 => InitTakeoverAck { target },
        _ => TakeoverServer { target },
    };
    enrp::Message { sender, receiver, body }
}

fn mutate(speech: Speech, bytes: &mut Vec<u8>, random: &mut Random) {
    // A changed octet could make another pool the worker's: with peers, only the shape is attacked.
    let kinds = if speech == Speech::Enrp { 2 } else { 4 };
    match random.below(kinds) {
        0 => bytes.truncate(random.below(bytes.len() as u64) as usize),
        1 => bytes.extend(std::iter::repeat_n(0, 1 + random.below(9) as usize)),
        _ => {
            for _ in 0..1 + random.below(4) {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] = random.next_u64() as u8;
            }
        }
    }
    if bytes.is_empty() {
        bytes.push(7); // transports carry no empty messages
    }
}

/// Sends so many messages; returns when the registrar has answered the last question.
fn attack(speech: Speech, to: Endpoint, seed: u64, messages: u64, legal: Arc<AtomicU64>) {
    let (told, over) = mpsc::channel();
    let mut net = Config::user(Role::Registrar);
    // Another host, as far as addresses tell: a registrar lets a host speak for the elements it had before.
    let any = SocketAddr::new(Ipv4Addr::new(127, 0, 0, 2).into(), 0);
    net.asap = DoorAt::sctp(any);
    net.enrp = Some(any.into());
    let make = move |_: &rserpool_net::Bound| {
        let (random, link, outbox) = (Random::from_seed(seed), None, Outbox::default());
        let attacker = Attacker { speech, to, random, left: messages, link, legal, outbox };
        let app = move |_: &mut Attacker, _: Time, _: Over| {
            let _ = told.send(());
        };
        (attacker, app)
    };
    let running = rserpool_net::spawn("attacker", net, make).expect("ports");
    running.handle.post_blocking(|attacker, _| attacker.open()).expect("runs");
    over.recv_timeout(BOUND * 5).unwrap_or_else(|_| panic!("seed {seed}: the registrar no longer answers"));
}

/// Resident memory of a process, in octets.
fn resident(server: &Server) -> u64 {
    let path = format!("/proc/{}/statm", server.child.id());
    let statm = std::fs::read_to_string(path).expect("it lives");
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * rustix::param::page_size() as u64
}

#[test]
fn a_million_hostile_messages_change_nothing_for_others() {
    let registrar = Server::registrar(&["--id", "00000001"]);
    let worker = Server::worker(&registrar, &["--id", "0000000a"]);
    let at = registrar.asap().to_string();
    let legal = Arc::new(AtomicU64::new(0));
    let strike = |seed: u64, portion: u64| {
        let (tcp, sctp) = (Endpoint::tcp(registrar.asap()), Endpoint::sctp(registrar.asap()));
        let enrp = Endpoint::sctp(registrar.enrp());
        // The shares follow from what the transports carry per second; every kind gets its six digits.
        let shares = [(Speech::Asap, tcp, 8), (Speech::Asap, sctp, 1), (Speech::Enrp, enrp, 1)];
        std::thread::scope(|scope| {
            for (place, (speech, to, share)) in shares.into_iter().enumerate() {
                let legal = legal.clone();
                scope.spawn(move || attack(speech, to, seed + place as u64, portion * share, legal));
            }
        });
    };
    // What the first messages of each kind make it hold, buffers and rate limits, is not growth.
    strike(1, 1_000);
    let before = resident(&registrar);
    legal.store(0, Ordering::Relaxed);

    let is_over = AtomicBool::new(false);
    let jobs = std::thread::scope(|scope| {
        let users = scope.spawn(|| {
            let mut jobs = 0;
            while !is_over.load(Ordering::Relaxed) {
                let said = run(["run", "--registrar", &at, "--", "echo", "{}", ":::", "1", "2", "3"]);
                assert_eq!((said.code(), said.stdout.len()), (0, 6), "{}", said.stderr);
                jobs += 1;
            }
            jobs
        });
        strike(100, 100_000);
        is_over.store(true, Ordering::Relaxed);
        users.join().expect("users are served")
    });

    let grown = resident(&registrar).saturating_sub(before);
    assert!(jobs > 3, "only {jobs} jobs were done meanwhile");
    assert!(legal.load(Ordering::Relaxed) >= 500_000, "only {legal:?} messages were legal");
    assert!(grown <= 8 << 20, "resident memory grew by {grown} octets");
    let shown = run(["pool", "show", "compute", "--registrar", &at]);
    assert!(shown.text().contains("0000000a") && shown.text().contains("00000001"), "{}", shown.text());
    drop(worker);
    eprintln!("{jobs} jobs meanwhile; {legal:?} legal messages; {grown} octets more");
}
