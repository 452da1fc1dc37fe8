//! An element that answers everything with damaged messages, and knows how much of it was heard.

use super::messages::Damaged;
use super::shouter::{Enough, Tally, answers, question};
use super::socket;
use guest::Host;
use rserpool::wire::asap::Message;
use rserpool::wire::parameter::{Life, PoolElement, Transport, TransportUse};
use rserpool::{
    Cause, Door, ElementId, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, Policy, PoolHandle,
    Ppid, RegistrarId, Role, Time,
};
use rserpool_net::{Config, DoorAt, Running, spawn};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};

pub struct Liar {
    outbox: Outbox<Told>,
    home: LinkId,
    pool: PoolHandle,
    at: SocketAddr,
    damaged: Damaged,
    portion: usize,
    enough: Enough,
    /// Of each session, how many messages are not known to be heard.
    under_way: BTreeMap<LinkId, u64>,
    asked: u64,
    tally: Tally,
}

/// What became known.
#[derive(Clone, Copy, Debug)]
pub enum Told {
    Registered,
    /// So far.
    Lied(Tally),
}

impl Liar {
    /// Begins to serve on this host in this pool of this registrar, and waits until it is known. Every session hears
    /// damaged messages, a portion of this size after each answer, until it is enough.
    pub fn start(
        host: &Host,
        registrar: &Host,
        pool: &str,
        damaged: Damaged,
        portion: usize,
        enough: Enough,
    ) -> (Running<Self>, Receiver<Told>) {
        let ip = host.ip().parse().expect("an address");
        let (to, pool) = (Endpoint::sctp(socket(registrar, 3863)), PoolHandle::new(pool).expect("short"));
        let (told, events) = channel();
        let running = host.within(|| {
            let any = SocketAddr::new(ip, 0);
            let net =
                Config { asap: DoorAt::sctp(any), service: DoorAt::sctp(any), ..Config::user(Role::Element) };
            spawn("liar", net, move |bound| {
                let mut outbox = Outbox::default();
                let home = outbox.open(Door::Asap, to, Greeting::default());
                let at = SocketAddr::new(ip, bound.service[0].port);
                let tell = move |_: &mut Self, _: Time, event| {
                    let _ = told.send(event);
                };
                let (under_way, asked, tally) = (BTreeMap::new(), 0, Tally::default());
                (Self { outbox, home, pool, at, damaged, portion, enough, under_way, asked, tally }, tell)
            })
            .expect("ports are free")
        });
        assert!(matches!(events.recv_timeout(guest::BOUND), Ok(Told::Registered)));
        (running, events)
    }

    fn register(&mut self) {
        let transport_use = TransportUse::DataAndControl;
        let user_transport =
            Transport::Sctp { port: self.at.port(), transport_use, addresses: vec![self.at.ip()] };
        let element = PoolElement {
            id: ElementId(0x666),
            home: RegistrarId::UNDEFINED,
            // Nobody renews it, and a million messages take their time.
            life: Life::INFINITE,
            user_transport,
            policy: Policy::RoundRobin,
            asap_transport: None,
            asap_tcp: None,
        };
        let message = Message::Registration { handle: self.pool, element };
        self.outbox.send(self.home, Ppid::ASAP, message.emit());
    }

    fn lie(&mut self, session: LinkId) {
        let portion = self.damaged.portion(self.portion);
        self.tally.says(&portion);
        *self.under_way.entry(session).or_default() += portion.len() as u64;
        self.asked += 1;
        for (ppid, bytes) in portion.into_iter().chain([question(self.asked)]) {
            self.outbox.send(session, ppid, bytes);
        }
    }

    fn tell(&mut self) -> bool {
        self.outbox.event(Told::Lied(self.tally));
        !self.enough.is_reached(self.tally)
    }
}

impl Node for Liar {
    type Event = Told;

    fn handle(&mut self, _: Time, input: Input) {
        match input {
            Input::Opened { .. } => self.register(),
            Input::Message { link, bytes, .. } if link == self.home => match Message::parse(&bytes) {
                Ok(Message::RegistrationResponse { rejected: false, .. }) => {
                    self.outbox.event(Told::Registered);
                }
                Ok(Message::EndpointKeepAlive { handle, element: Some(element), .. }) => {
                    let answer = Message::EndpointKeepAliveAck { handle, element };
                    self.outbox.send(self.home, Ppid::ASAP, answer.emit());
                }
                _ => {}
            },
            Input::Accepted { link, .. } => {
                self.tally.links += 1;
                self.lie(link);
            }
            Input::Message { link, ppid, bytes } if answers(self.asked, ppid, &bytes) => {
                self.tally.heard += self.under_way.remove(&link).unwrap_or_default();
                if self.tell() {
                    self.lie(link);
                }
            }
            Input::Closed { link, cause } => {
                let under_way = self.under_way.remove(&link).unwrap_or_default();
                if cause == Cause::Aborted {
                    self.tally.aborted(under_way);
                }
                self.tell();
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output<Told>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
