//! An element, heard from both sides: its registrars and its users.

mod membership;
mod sessions;

use super::{Config, Event, PoolElement, Replies, Service, SessionId};
use crate::listen::{Listener, pool, tcp};
use crate::wire::asap::Message;
use crate::wire::parameter::{Transport, TransportUse};
use crate::{ElementId, Endpoint, LinkId, Load, Policy, Ppid, Random, RegistrarId, Time};

/// A service that writes down what it is told, and does what its test told it before.
#[derive(Default)]
struct Probe {
    told: Vec<Told>,
    load: Load,
    /// Replies to the next message.
    next: Vec<Do>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Opened(u64),
    Resume(u64, Vec<u8>),
    Message(u64, Ppid, Vec<u8>),
    Closed(u64),
    Fact(u8),
}

enum Do {
    Send(u64, &'static str),
    Cookie(u64, &'static str),
    Close(u64),
    Wish(u8),
}

impl Service for Probe {
    type Wish = u8;
    type Fact = u8;

    fn opened(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<u8>) {
        self.told.push(Told::Opened(session.0));
    }

    fn resume(&mut self, _now: Time, session: SessionId, cookie: &[u8], _replies: &mut Replies<u8>) {
        self.told.push(Told::Resume(session.0, cookie.to_vec()));
    }

    fn message(
        &mut self,
        _now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<u8>,
    ) {
        self.told.push(Told::Message(session.0, ppid, bytes.to_vec()));
        for wanted in self.next.drain(..) {
            match wanted {
                Do::Send(session, text) => replies.send(SessionId(session), Ppid(7), text),
                Do::Cookie(session, text) => replies.cookie(SessionId(session), text),
                Do::Close(session) => replies.close(SessionId(session)),
                Do::Wish(wish) => replies.wish(wish),
            }
        }
    }

    fn closed(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<u8>) {
        self.told.push(Told::Closed(session.0));
    }

    fn informed(&mut self, _now: Time, fact: u8, _replies: &mut Replies<u8>) {
        self.told.push(Told::Fact(fact));
    }

    fn load(&self) -> Load {
        self.load
    }
}

type TestElement = Listener<PoolElement<Probe>>;

/// Element 5 of the pool, serving over TCP.
fn config(policy: Policy, registrars: Vec<Endpoint>) -> Config {
    let user_transport = Transport::Tcp {
        port: 7000,
        transport_use: TransportUse::DataAndControl,
        address: [10, 0, 1, 5].into(),
    };
    Config { id: Some(ElementId(5)), ..Config::new(pool(), policy, user_transport, registrars) }
}

fn element_with(config: Config) -> TestElement {
    Listener::to(PoolElement::new(config, Probe::default(), Random::from_seed(3)), PoolElement::check)
}

/// Element 5, registered at registrar 10.0.0.1.
fn registered(policy: Policy) -> (TestElement, LinkId) {
    let mut e = element_with(config(policy, vec![tcp(1)]));
    e.wait(0);
    let link = e.opens_to(&tcp(1));
    e.up(link);
    e.says_registration(link);
    e.hears(link, &accepted());
    e.reports(Event::Registered { home: None });
    e.says_nothing_more();
    (e, link)
}

impl TestElement {
    #[track_caller]
    fn says_registration(&mut self, link: LinkId) -> crate::wire::parameter::PoolElement {
        match self.says(link) {
            Message::Registration { handle, element } if handle == pool() => element,
            other => panic!("expected a registration, heard {other:?}"),
        }
    }
}

fn accepted() -> Message {
    Message::RegistrationResponse {
        rejected: false,
        handle: pool(),
        element: ElementId(5),
        causes: Vec::new(),
    }
}

fn keep_alive(server: u32, home: bool) -> Message {
    Message::EndpointKeepAlive {
        home,
        server: RegistrarId(server),
        handle: pool(),
        element: Some(ElementId(5)),
    }
}

fn ack() -> Message {
    Message::EndpointKeepAliveAck { handle: pool(), element: ElementId(5) }
}
