//! Registrars, elements and users, real ones over real sockets of this machine: what the simulator shows for thousands
//! of worlds must hold in this one too.

mod common;

use common::*;
use rserpool::element::{self, Replies, Service, SessionId};
use rserpool::registrar::{self, Scope};
use rserpool::user::{self, SessionOptions};
use rserpool::wire::parameter::{Transport, TransportUse};
use rserpool::{
    ElementId, Endpoint, Load, Policy, PoolElement, PoolHandle, PoolUser, Ppid, Protocol, Registrar,
    RegistrarId, Role, Time,
};
use rserpool_net::{Bound, Config, DoorAt, Identity, UdpPort, clock, config};
use std::collections::BTreeMap;
use std::net::SocketAddr;

const NUMBERS: Ppid = Ppid(0x4e55_4d42);

/// Sums what each session sends. The cookie is the sum so far, so any element can go on.
#[derive(Default)]
struct Adder(BTreeMap<SessionId, u64>);

impl Service for Adder {
    type Wish = ();
    type Fact = ();
    fn opened(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<()>) {
        self.0.insert(session, 0);
    }
    fn resume(&mut self, _now: Time, session: SessionId, cookie: &[u8], _replies: &mut Replies<()>) {
        let sum = cookie.try_into().map(u64::from_be_bytes).expect("our own cookie");
        self.0.insert(session, sum);
    }
    fn message(
        &mut self,
        _now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<()>,
    ) {
        let number = bytes.try_into().map(u64::from_be_bytes).expect("a number");
        let sum = self.0.get_mut(&session).expect("opened before");
        *sum += number;
        replies.cookie(session, sum.to_be_bytes());
        replies.send(session, ppid, sum.to_be_bytes());
    }
    fn closed(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<()>) {
        self.0.remove(&session);
    }
    fn informed(&mut self, _now: Time, _fact: (), _replies: &mut Replies<()>) {}
    fn load(&self) -> Load {
        Load::from_ratio(self.0.len() as u64, 100)
    }
}

fn pool() -> PoolHandle {
    PoolHandle::new("adder").expect("a legal handle")
}

/// A registrar with this identifier and these peers, on numbers of its own.
fn registrar(id: u32, peers: Vec<Endpoint>) -> Living<Registrar> {
    let identity = Identity { role: Role::Registrar, own: id, pool: None };
    let ports =
        Config { identity, udp: UdpPort::None, ..Config::registrar(config::loopback(), config::loopback()) };
    Living::with(ports, move |bound: &Bound| {
        let enrp = bound.enrp.clone().expect("asked for");
        let new = registrar::Config::new(bound.asap.clone(), enrp);
        let id = Some(RegistrarId(id));
        let config = registrar::Config { id, peers, minimum_scope: Scope::Loopback, ..new };
        Registrar::new(config, clock::seeded().0)
    })
}

/// An element of the pool that knows these registrars, serving sessions over this protocol.
fn element(id: u32, sessions: Protocol, registrars: Vec<Endpoint>) -> Living<PoolElement<Adder>> {
    let identity = Identity { role: Role::Element, own: id, pool: Some(pool()) };
    let door = DoorAt {
        at: Some(config::loopback().into()),
        tcp: sessions == Protocol::Tcp,
        sctp: sessions == Protocol::Sctp,
    };
    let ports = Config { identity, service: door, ..Config::element(config::loopback(), config::loopback()) };
    Living::with(ports, move |bound: &Bound| {
        let at = &bound.service[0];
        let (port, transport_use) = (at.port, TransportUse::DataAndControl);
        let transport = match sessions {
            Protocol::Tcp => Transport::Tcp { port, transport_use, address: at.addresses[0] },
            Protocol::Sctp => Transport::Sctp { port, transport_use, addresses: at.addresses.clone() },
        };
        let new = element::Config::new(pool(), Policy::RoundRobin, transport, registrars);
        let asap = &bound.asap[0];
        let asap_tcp = Some(SocketAddr::new(asap.addresses[0], asap.port));
        let config = element::Config { id: Some(ElementId(id)), asap_tcp, ..new };
        PoolElement::new(config, Adder::default(), clock::seeded().0)
    })
}

fn user(registrars: Vec<Endpoint>) -> Living<PoolUser> {
    let door = DoorAt::sctp(config::loopback());
    let ports = Config { asap: door.clone(), service: door, ..Config::user(Role::User) };
    Living::with(ports, move |_| PoolUser::new(user::Config::new(registrars), clock::seeded().0))
}

/// Its home, as far as it is known by then: the answer to a registration does not name it (RFC 5352 §2.2.3).
fn is_registered(element: &Living<PoolElement<Adder>>) -> Option<RegistrarId> {
    element.hears_at_last("a registration", |event| match event {
        element::Event::Registered { home } => Some(home),
        _ => None,
    })
}

/// Opens a session; returns it with its element.
fn opens(user: &Living<PoolUser>) -> (user::SessionId, ElementId) {
    let options = SessionOptions { heartbeat: true, ..SessionOptions::default() };
    let session = user.tell(move |user, now| user.open(now, pool(), options));
    let element = user.hears_at_last("an element", |event| match event {
        user::Event::Connected { session: s, element, failed_over, .. } => {
            assert_eq!((s, failed_over), (session, false));
            Some(element)
        }
        _ => None,
    });
    (session, element)
}

fn adds(user: &Living<PoolUser>, session: user::SessionId, number: u64) -> u64 {
    let said = number.to_be_bytes().to_vec();
    user.tell(move |user, now| user.send(now, session, NUMBERS, said)).expect("connected");
    user.hears_at_last("a sum", |event| match event {
        user::Event::Message { session: s, ppid, bytes } => {
            assert_eq!((s, ppid), (session, NUMBERS));
            Some(u64::from_be_bytes(bytes.try_into().expect("a sum")))
        }
        _ => None,
    })
}

/// A pool of two on one registrar; the one that serves vanishes in the middle of a session.
fn a_session_goes_on(asap: Protocol, sessions: Protocol) {
    let home = registrar(0x11, vec![]);
    let at: Vec<Endpoint> = home.bound.asap.iter().filter(|end| end.protocol == asap).cloned().collect();
    let mut elements: BTreeMap<ElementId, Living<PoolElement<Adder>>> =
        [1, 2].into_iter().map(|id| (ElementId(id), element(id, sessions, at.clone()))).collect();
    for element in elements.values() {
        is_registered(element);
    }
    let user = user(at);
    let (session, first) = opens(&user);
    assert_eq!(adds(&user, session, 5), 5);
    assert_eq!(adds(&user, session, 7), 12);
    elements.remove(&first).expect("one of the two").vanishes();
    let second = user.hears_at_last("another element", |event| match event {
        user::Event::Connected { element, resumed, failed_over, .. } => {
            assert!(resumed && failed_over);
            Some(element)
        }
        _ => None,
    });
    assert_ne!(second, first);
    assert_eq!(adds(&user, session, 30), 42, "the cookie brought the sum along");
    // The registrar finds out as well.
    home.hears_at_last("the removal", |event| match event {
        registrar::Event::ElementRemoved { element, .. } if element == first => Some(()),
        _ => None,
    });
    let left = elements.remove(&second).expect("the other one");
    left.tell(|element, now| element.deregister(now));
    left.hears_at_last("the end", |event| (event == element::Event::Deregistered).then_some(()));
    user.stops();
    left.stops();
    home.stops();
}

#[test]
fn a_session_over_tcp_goes_on_when_its_element_vanishes() {
    a_session_goes_on(Protocol::Tcp, Protocol::Tcp);
}

#[test]
fn a_session_over_sctp_goes_on_when_its_element_vanishes() {
    a_session_goes_on(Protocol::Sctp, Protocol::Sctp);
}

#[test]
fn registration_over_sctp_and_sessions_over_tcp_go_together() {
    a_session_goes_on(Protocol::Sctp, Protocol::Tcp);
}

/// Two registrars, an element at the first one; whoever asks the second one finds it. The first one vanishes.
fn a_pool_survives_its_registrar(asap: Protocol) {
    let first = registrar(0x21, vec![]);
    let second = registrar(0x22, vec![first.bound.enrp.clone().expect("asked for")]);
    let asap_of = |registrar: &Living<Registrar>| -> Vec<Endpoint> {
        registrar.bound.asap.iter().filter(|end| end.protocol == asap).cloned().collect()
    };
    let element = element(7, Protocol::Tcp, asap_of(&first));
    is_registered(&element);
    second.hears_at_last("the element", |event| match event {
        registrar::Event::ElementAdded { element, home, .. } => {
            assert_eq!((element, home), (ElementId(7), RegistrarId(0x21)));
            Some(())
        }
        _ => None,
    });
    let user = user(asap_of(&second));
    let (session, served_by) = opens(&user);
    assert_eq!(served_by, ElementId(7));
    assert_eq!(adds(&user, session, 1), 1);
    first.vanishes();
    second.hears_at_last("the takeover", |event| match event {
        registrar::Event::ElementMoved { element, to, .. } => {
            assert_eq!((element, to), (ElementId(7), RegistrarId(0x22)));
            Some(())
        }
        _ => None,
    });
    // The element hears of its new home from the home itself, which comes to where the element said it listens.
    assert_eq!(is_registered(&element), Some(RegistrarId(0x22)));
    assert_eq!(adds(&user, session, 2), 3, "the session noticed nothing");
    let (another, served_by) = opens(&user);
    assert_eq!((served_by, adds(&user, another, 9)), (ElementId(7), 9));
}

#[test]
fn a_pool_over_tcp_survives_its_registrar() {
    a_pool_survives_its_registrar(Protocol::Tcp);
}

#[test]
fn a_pool_over_sctp_survives_its_registrar() {
    a_pool_survives_its_registrar(Protocol::Sctp);
}
