//! One registrar on a bench: tests tell it facts and listen to everything it says, and to its silence.

mod distance;
mod hostile;
mod peers;
mod registration;
mod replication;
mod scope;
mod startup;
mod suggestion;
mod takeover;
mod watching;

use super::*;
use crate::wire::asap::{Message, Resolution};
use crate::wire::enrp::{self, Body, UpdateAction};
use crate::wire::parameter::{CauseCode, Life, PoolElement, ServerInformation, Transport, TransportUse};
use crate::{Cause, Endpoint, Load, Policy, Protocol, Timing};
use std::net::{IpAddr, SocketAddr};

/// The identifier of the registrar on the bench.
pub(super) const ME: RegistrarId = RegistrarId(0x50);

/// A registrar, everything it wishes for, and the hand that moves its clock.
pub(super) struct TestRegistrar {
    pub node: Registrar,
    pub now: Time,
    said: VecDeque<Output<Event>>,
    pub events: Vec<Event>,
    accepted: u64,
}

pub(super) fn handle(text: &str) -> PoolHandle {
    PoolHandle::new(text).expect("a legal handle")
}

pub(super) fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// The ENRP endpoint of the registrar at this host.
pub(super) fn enrp_at(host: u8) -> Endpoint {
    Endpoint::sctp(SocketAddr::new(ip(host), 9901))
}

/// A registrar at 10.0.0.80 that knows of nobody.
pub(super) fn config() -> Config {
    let asap =
        vec![Endpoint::sctp(SocketAddr::new(ip(80), 3863)), Endpoint::tcp(SocketAddr::new(ip(80), 3863))];
    Config { id: Some(ME), ..Config::new(asap, enrp_at(80)) }
}

pub(super) fn timing() -> Timing {
    Timing::default()
}

/// An element of this number as it registers: at host 10.0.0.`number`, over SCTP, for ever.
pub(super) fn element(number: u8) -> PoolElement {
    PoolElement {
        id: ElementId(number.into()),
        home: RegistrarId::UNDEFINED,
        life: Life::INFINITE,
        user_transport: Transport::Sctp {
            port: 7000,
            transport_use: TransportUse::DataAndControl,
            addresses: vec![ip(number)],
        },
        policy: Policy::RoundRobin,
        asap_transport: None,
        asap_tcp: None,
    }
}

/// The same element as its home has it: with its ASAP transport.
pub(super) fn element_of(home: RegistrarId, number: u8) -> PoolElement {
    PoolElement {
        home,
        asap_transport: Some(Transport::Sctp {
            port: 5000,
            transport_use: TransportUse::Data,
            addresses: vec![ip(number)],
        }),
        ..element(number)
    }
}

pub(super) fn server(id: u32, host: u8) -> ServerInformation {
    let transport =
        Transport::Sctp { port: 9901, transport_use: TransportUse::Data, addresses: vec![ip(host)] };
    ServerInformation { id: RegistrarId(id), transport }
}

impl TestRegistrar {
    /// Alone in its scope, so ready at once.
    pub fn alone() -> Self {
        let mut r = Self::with(config());
        r.tells(&Event::Ready { peers: 0, elements: 0 });
        r
    }

    pub fn with(config: Config) -> Self {
        let node = Registrar::new(config, Random::from_seed(1));
        let now = Time::from_millis(10_000);
        let mut r = Self { node, now, said: VecDeque::new(), events: Vec::new(), accepted: 0 };
        r.fact(Input::Wake);
        r
    }

    /// Tells it one fact and collects what it wants.
    pub fn fact(&mut self, fact: Input) {
        self.node.handle(self.now, fact);
        while let Some(wish) = self.node.poll() {
            match wish {
                Output::Event(event) => self.events.push(event),
                wish => self.said.push_back(wish),
            }
        }
        self.node.check();
    }

    /// Time passes; every alarm is served at its moment. (Presences to nobody are silent, so a registrar that is alone
    /// says nothing but what a test is about.)
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.node.deadline().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.fact(Input::Wake);
        }
        self.now = end;
    }

    /// The registrar is held up: its alarms are served late, all at once.
    pub fn stall(&mut self, span: Duration) {
        self.now += span;
        self.fact(Input::Wake);
    }

    /// Somebody at this host opens a link to a door.
    pub fn accepts(&mut self, door: Door, host: u8) -> LinkId {
        let end = match door {
            Door::Enrp => enrp_at(host),
            _ => Endpoint::sctp(SocketAddr::new(ip(host), 5000)),
        };
        self.accepts_from(door, end)
    }

    pub fn accepts_from(&mut self, door: Door, peer: Endpoint) -> LinkId {
        self.accepted += 1;
        let link = LinkId::Theirs(self.accepted);
        self.fact(Input::Accepted { link, door, peer });
        link
    }

    pub fn loses(&mut self, link: LinkId) {
        self.fact(Input::Closed { link, cause: Cause::Lost });
    }

    pub fn hears(&mut self, link: LinkId, message: &Message) {
        self.fact(Input::Message { link, ppid: Ppid::ASAP, bytes: message.emit() });
    }

    pub fn hears_enrp(&mut self, link: LinkId, sender: u32, body: Body) {
        let said = enrp::Message { sender: RegistrarId(sender), receiver: ME, body };
        self.fact(Input::Message { link, ppid: Ppid::ENRP, bytes: said.emit() });
    }

    /// Element `number` registers at pool "fractal" over this link.
    pub fn registers(&mut self, link: LinkId, number: u8) {
        let (handle, element) = (handle("fractal"), element(number));
        self.hears(link, &Message::Registration { handle, element });
    }

    /// A peer opens a link and introduces itself; everything said about that is taken.
    pub fn meets(&mut self, id: u32, host: u8) -> LinkId {
        let link = self.accepts(Door::Enrp, host);
        self.hears_enrp(link, id, presence(id, host, 0xffff));
        self.take_said();
        self.tells(&Event::PeerUp { peer: RegistrarId(id) });
        link
    }

    /// An element registers on its own link; everything said about that is taken.
    pub fn has_element(&mut self, number: u8) -> LinkId {
        let link = self.accepts(Door::Asap, number);
        self.registers(link, number);
        self.take_said();
        self.events.clear();
        link
    }

    /// The oldest wish not yet looked at.
    pub fn says_next(&mut self) -> Output<Event> {
        self.said.pop_front().expect("the registrar says something")
    }

    /// The next wish is this ASAP message on this link.
    pub fn says(&mut self, link: LinkId, message: &Message) {
        match self.says_next() {
            Output::Send { link: on, ppid: Ppid::ASAP, bytes } => {
                assert_eq!((on, Message::parse(&bytes).as_ref()), (link, Ok(message)));
            }
            other => panic!("{message:?} on {link:?} expected, found {other:?}"),
        }
    }

    /// The next wish is this ENRP message to somebody on this link.
    pub fn says_enrp(&mut self, link: LinkId, receiver: u32, body: &Body) {
        match self.says_next() {
            Output::Send { link: on, ppid: Ppid::ENRP, bytes } => {
                let said = enrp::Message::parse(&bytes).expect("what we say can be read");
                assert_eq!((on, said.sender, said.receiver.0, &said.body), (link, ME, receiver, body));
            }
            other => panic!("{body:?} on {link:?} expected, found {other:?}"),
        }
    }

    /// The next wish is a link from this door to this endpoint.
    pub fn opens(&mut self, from: Door, wanted: &Endpoint) -> LinkId {
        match self.says_next() {
            Output::Open { link, door, to, .. } => {
                assert_eq!((door, &to), (from, wanted));
                link
            }
            other => panic!("a link to {wanted} expected, found {other:?}"),
        }
    }

    pub fn closes(&mut self, link: LinkId, how: Ending) {
        assert_eq!(self.says_next(), Output::Close { link, how });
    }

    pub fn quiet(&self) -> bool {
        self.said.is_empty()
    }

    pub fn says_nothing_more(&mut self) {
        assert_eq!(self.said, [], "silence expected");
    }

    /// Everything said so far, for a look at a part of it.
    pub fn take_said(&mut self) -> Vec<Output<Event>> {
        self.said.drain(..).collect()
    }

    /// The ENRP messages among what was said, in order; the rest is dropped.
    pub fn take_enrp(&mut self) -> Vec<(LinkId, Body)> {
        let said = self.take_said();
        said.into_iter()
            .filter_map(|wish| match wish {
                Output::Send { link, ppid: Ppid::ENRP, bytes } => {
                    Some((link, enrp::Message::parse(&bytes).expect("what we say can be read").body))
                }
                _ => None,
            })
            .collect()
    }

    /// It told its application this, as the next thing.
    pub fn tells(&mut self, event: &Event) {
        assert!(!self.events.is_empty(), "{event:?} expected, but nothing was told");
        assert_eq!(&self.events.remove(0), event);
    }

    pub fn tells_nothing_more(&self) {
        assert_eq!(self.events, [], "no further events expected");
    }

    pub fn has(&self, number: u8) -> bool {
        self.home_of(number).is_some()
    }

    /// The home of element `number` of pool "fractal".
    pub fn home_of(&self, number: u8) -> Option<RegistrarId> {
        let space = self.node.handlespace();
        space.get(&handle("fractal"), ElementId(number.into())).map(|element| element.home)
    }
}

/// The presence of a peer with this checksum of its elements.
pub(super) fn presence(id: u32, host: u8, checksum: u16) -> Body {
    Body::Presence { reply_required: false, checksum: Some(checksum), server: Some(server(id, host)) }
}

pub(super) fn granted(number: u8) -> Message {
    let element = ElementId(number.into());
    Message::RegistrationResponse { rejected: false, handle: handle("fractal"), element, causes: vec![] }
}

pub(super) fn refused(number: u8, code: CauseCode) -> Message {
    let (handle, element) = (handle("fractal"), ElementId(number.into()));
    Message::RegistrationResponse { rejected: true, handle, element, causes: vec![code.into_cause()] }
}

pub(super) fn resolve(items: Option<u32>) -> Message {
    Message::HandleResolution { subscribe: false, handle: handle("fractal"), items }
}

pub(super) fn keep_alive(number: u8, home: bool) -> Message {
    let element = Some(ElementId(number.into()));
    Message::EndpointKeepAlive { home, server: ME, handle: handle("fractal"), element }
}

pub(super) fn ack(number: u8) -> Message {
    Message::EndpointKeepAliveAck { handle: handle("fractal"), element: ElementId(number.into()) }
}

pub(super) fn update(action: UpdateAction, element: PoolElement) -> Body {
    Body::HandleUpdate { takeover_suggested: false, action, handle: handle("fractal"), element }
}

trait IntoCause {
    fn into_cause(self) -> crate::wire::parameter::ErrorCause;
}

impl IntoCause for CauseCode {
    fn into_cause(self) -> crate::wire::parameter::ErrorCause {
        crate::wire::parameter::ErrorCause { code: self, info: Vec::new() }
    }
}
