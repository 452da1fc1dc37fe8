//! The protocol itself, without tasks: a session that survives its element.
//!
//! Two elements add up what a session sends them, and leave a cookie with the user after every number (RFC 5352 §3.8).
//! One of them vanishes; the session goes on with the other, which finds the sum so far in the cookie.
//!
//! `cargo run -p rserpool-net --example session`

use rserpool::element::{self, Replies, Service, SessionId};
use rserpool::user::{self, SessionOptions};
use rserpool::wire::parameter::{Transport, TransportUse};
use rserpool::{
    ElementId, Endpoint, Load, Policy, PoolElement, PoolHandle, PoolUser, Ppid, Protocol, Role, Time,
};
use rserpool_net::pool::{Problem, Registrar};
use rserpool_net::{Bound, Config, Handle, Identity, clock, config, events, spawn};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Sums the numbers each session sends. The cookie is the sum so far, so any element can go on.
#[derive(Default)]
struct Adder {
    sums: BTreeMap<SessionId, u64>,
}

const NUMBERS: Ppid = Ppid(0x4e55_4d42);

impl Service for Adder {
    type Wish = ();
    type Fact = ();

    fn opened(&mut self, _: Time, session: SessionId, _: &mut Replies<()>) {
        self.sums.insert(session, 0);
    }

    fn resume(&mut self, _: Time, session: SessionId, cookie: &[u8], _: &mut Replies<()>) {
        if let Ok(sum) = cookie.try_into().map(u64::from_be_bytes) {
            self.sums.insert(session, sum);
        }
    }

    fn message(&mut self, _: Time, session: SessionId, ppid: Ppid, bytes: &[u8], replies: &mut Replies<()>) {
        let Ok(number) = bytes.try_into().map(u64::from_be_bytes) else { return };
        let sum = self.sums.entry(session).or_default();
        *sum = sum.wrapping_add(number);
        replies.cookie(session, sum.to_be_bytes());
        replies.send(session, ppid, sum.to_be_bytes());
    }

    fn closed(&mut self, _: Time, session: SessionId, _: &mut Replies<()>) {
        self.sums.remove(&session);
    }

    fn informed(&mut self, _: Time, _: (), _: &mut Replies<()>) {}

    fn load(&self) -> Load {
        Load::from_ratio(self.sums.len() as u64, 100)
    }
}

/// An element in a thread of its own. It lives as long as its handle; here it says where it registered.
fn element(id: u32, registrar: SocketAddr) -> Result<Handle<PoolElement<Adder>>, Problem> {
    let pool = PoolHandle::new("adders").expect("six octets");
    let (registered, is_registered) = std::sync::mpsc::channel();
    // Users say whom they expect; whoever is somebody else refuses the link.
    let identity = Identity { role: Role::Element, own: id, pool: Some(pool) };
    let sockets = Config { identity, ..Config::element(config::loopback(), config::loopback()) };
    let running = spawn("element", sockets, move |bound: &Bound| {
        let at = &bound.service[0];
        let (port, transport_use) = (at.port, TransportUse::DataAndControl);
        let transport = Transport::Tcp { port, transport_use, address: at.addresses[0] };
        let registrars = vec![Endpoint::sctp(registrar)];
        let settings = element::Config {
            id: Some(ElementId(id)),
            ..element::Config::new(pool, Policy::RoundRobin, transport, registrars)
        };
        let node = PoolElement::new(settings, Adder::default(), clock::seeded().0);
        let told = move |_: &mut PoolElement<Adder>, _: Time, event: element::Event<()>| {
            if matches!(event, element::Event::Registered { .. }) {
                println!("element {} is registered", ElementId(id));
                let _ = registered.send(());
            }
        };
        (node, told)
    })?;
    is_registered.recv()?;
    Ok(running.handle)
}

fn main() -> Result<(), Problem> {
    let registrar = Registrar::start("127.0.0.1:0")?;
    let at: SocketAddr = registrar.address().parse()?;
    let mut elements = BTreeMap::from([(1, element(1, at)?), (2, element(2, at)?)]);

    let (told, mut hears) = events(64);
    let user = spawn("user", Config::user(Role::User), move |_| {
        let registrars =
            vec![Endpoint { protocol: Protocol::Tcp, addresses: vec![at.ip()], port: at.port() }];
        (PoolUser::new(user::Config::new(registrars), clock::seeded().0), told)
    })?;
    let pool = PoolHandle::new("adders").expect("six octets");
    let session = user.handle.ask_blocking(move |user, now| {
        user.open(now, pool, SessionOptions { heartbeat: true, ..SessionOptions::default() })
    })?;

    let mut numbers = 1..=10_u64;
    while let Some((_, event)) = hears.blocking_recv() {
        match event {
            user::Event::Connected { element, resumed, failed_over, .. } => {
                println!(
                    "the session is at element {element}; failed over: {failed_over}, by cookie: {resumed}"
                );
            }
            user::Event::Message { bytes, .. } => {
                let sum = u64::from_be_bytes(bytes.as_slice().try_into()?);
                println!("the sum is {sum}");
                if sum == 55 {
                    break;
                }
                if sum == 15 {
                    // Whichever serves (the policy chose): its node stops, its links end.
                    let serves = |handle: &Handle<PoolElement<Adder>>| {
                        handle.ask_blocking(|node, _| node.session_count() > 0).unwrap_or(false)
                    };
                    println!("it vanishes");
                    elements.retain(|_, handle| !serves(handle));
                    continue;
                }
            }
            _ => continue,
        }
        let Some(number) = numbers.next() else { continue };
        user.handle.ask_blocking(move |user, now| {
            user.send(now, session, NUMBERS, number.to_be_bytes().to_vec())
        })??;
    }
    Ok(())
}
