//! Many elements behind one association: what a table needs to be large, without as many processes.

use guest::Host;
use rserpool::wire::asap::Message;
use rserpool::wire::parameter::{Life, PoolElement, Transport, TransportUse};
use rserpool::{
    Door, ElementId, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, Policy, PoolHandle, Ppid,
    RegistrarId, Role, Time,
};
use rserpool_net::{Config, DoorAt, Running, spawn};
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, channel};

/// The name of a crowd's pool.
pub fn crowd_pool(first: u32, pool: u32) -> String {
    format!("crowd-{first:x}-{pool}")
}

/// `pools` × `each` elements, with identifiers from `first`.
pub struct Crowd {
    _running: Running<Elements>,
    answers: Receiver<bool>,
    size: u32,
}

impl Crowd {
    /// Registers them all.
    pub fn start(host: &Host, registrar: &Host, first: u32, pools: u32, each: u32) -> Self {
        host.mark("ours");
        let ip: IpAddr = host.ip().parse().expect("an address");
        let to = Endpoint::sctp(SocketAddr::new(registrar.ip().parse().expect("an address"), 3863));
        let (told, answers) = channel();
        let running = host.within(|| {
            let asap = DoorAt { at: Some(SocketAddr::new(ip, 0).into()), tcp: false, sctp: true };
            let config = Config { asap, ..Config::user(Role::Element) };
            spawn("crowd", config, move |_| {
                let mut outbox = Outbox::default();
                let link = outbox.open(Door::Asap, to, Greeting::default());
                let tell = move |_: &mut Elements, _: Time, good| {
                    let _ = told.send(good);
                };
                (Elements { outbox, link, ip, first, pools, each }, tell)
            })
            .expect("a port is free")
        });
        Self { _running: running, answers, size: pools * each }
    }

    /// Waits until all of them are registered.
    pub fn registered(&self) {
        for number in 0..self.size {
            let good = self.answers.recv_timeout(guest::BOUND).expect("an answer to each registration");
            assert!(good, "registration {number} was refused");
        }
    }
}

/// Registers once the link stands, then answers keep-alives. Its event: whether a registration was accepted.
struct Elements {
    outbox: Outbox<bool>,
    link: LinkId,
    ip: IpAddr,
    first: u32,
    pools: u32,
    each: u32,
}

impl Elements {
    fn register(&mut self) {
        for pool in 0..self.pools {
            let handle = PoolHandle::new(crowd_pool(self.first, pool)).expect("short");
            for member in 0..self.each {
                let element = PoolElement {
                    id: ElementId(self.first + pool * self.each + member),
                    home: RegistrarId(0),
                    life: Life(600_000),
                    user_transport: Transport::Sctp {
                        port: 7,
                        transport_use: TransportUse::DataAndControl,
                        addresses: vec![self.ip],
                    },
                    policy: Policy::RoundRobin,
                    asap_transport: None,
                    asap_tcp: None,
                };
                self.say(&Message::Registration { handle, element });
            }
        }
    }

    fn say(&mut self, message: &Message) {
        self.outbox.send(self.link, Ppid::ASAP, message.emit());
    }
}

impl Node for Elements {
    type Event = bool;

    fn handle(&mut self, _now: Time, input: Input) {
        match input {
            Input::Opened { .. } => self.register(),
            Input::Message { bytes, .. } => match Message::parse(&bytes) {
                Ok(Message::RegistrationResponse { rejected, .. }) => self.outbox.event(!rejected),
                Ok(Message::EndpointKeepAlive { handle, element: Some(element), .. }) => {
                    self.say(&Message::EndpointKeepAliveAck { handle, element });
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output<bool>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}
