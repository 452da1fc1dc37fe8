//! Tests listen to a node: every wish is heard once, in order, and silence is heard too.

use crate::wire::asap::Message;
use crate::wire::parameter::{Life, PoolElement, Transport, TransportUse};
use crate::{
    Cause, Channel, Door, ElementId, Ending, Endpoint, Greeting, Input, LinkId, Node, Output, Policy,
    PoolHandle, Ppid, RegistrarId, Time,
};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::time::Duration;

/// A node, the hand-moved clock, and what the node wished for and nobody has heard yet.
pub(crate) struct Listener<N: Node> {
    pub(crate) node: N,
    pub(crate) now: Time,
    wishes: VecDeque<Output<N::Event>>,
    check: fn(&N),
}

impl<N: Node> Listener<N>
where
    N::Event: Debug + PartialEq,
{
    /// A node at time 0, not woken yet. `check` audits it after each step.
    pub(crate) fn to(node: N, check: fn(&N)) -> Self {
        Self { node, now: Time::ZERO, wishes: VecDeque::new(), check }
    }

    // --- telling

    pub(crate) fn tell(&mut self, input: Input) {
        self.node.handle(self.now, input);
        self.drain();
    }

    /// A typed call.
    pub(crate) fn call<R>(&mut self, call: impl FnOnce(&mut N, Time) -> R) -> R {
        let result = call(&mut self.node, self.now);
        self.drain();
        result
    }

    /// Time passes; the node is woken exactly when it wants to be.
    pub(crate) fn wait(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        let mut wakes = 0;
        while let Some(at) = self.node.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.tell(Input::Wake);
            wakes += 1;
            assert!(wakes < 10_000, "the node wants to be woken without end");
        }
        self.now = end;
    }

    /// Its links are not read for so long: the node is told so before each wake, and of the rest in the end.
    pub(crate) fn deaf(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        let mut told = self.now;
        while let Some(at) = self.node.deadline().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.tell(Input::Deaf { span: self.now.since(told) });
            told = self.now;
            self.tell(Input::Wake);
        }
        self.now = end;
        self.tell(Input::Deaf { span: self.now.since(told) });
    }

    /// The process is held up: time passes, and nobody wakes the node until the end.
    pub(crate) fn held_up(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub(crate) fn up(&mut self, link: LinkId) {
        self.tell(Input::Opened { link, peer: tcp(0) });
    }

    pub(crate) fn ended(&mut self, link: LinkId, cause: Cause) {
        self.tell(Input::Closed { link, cause });
    }

    pub(crate) fn accepts(&mut self, number: u64, door: Door, peer: Endpoint) -> LinkId {
        let link = LinkId::Theirs(number);
        self.tell(Input::Accepted { link, door, peer });
        link
    }

    pub(crate) fn hears(&mut self, link: LinkId, message: &Message) {
        self.hears_bytes(link, Ppid::ASAP, message.emit());
    }

    pub(crate) fn hears_bytes(&mut self, link: LinkId, ppid: Ppid, bytes: impl Into<Vec<u8>>) {
        self.tell(Input::Message { link, ppid, bytes: bytes.into() });
    }

    pub(crate) fn overhears(&mut self, from: SocketAddr, message: &Message) {
        self.tell(Input::Heard { channel: Channel::Asap, from, bytes: message.emit() });
    }

    fn drain(&mut self) {
        while let Some(wish) = self.node.poll() {
            self.wishes.push_back(wish);
        }
        (self.check)(&self.node);
    }

    // --- listening

    /// What was said so far does not matter here.
    pub(crate) fn is_not_listened_to(&mut self) {
        self.wishes.clear();
    }

    fn next(&mut self) -> Output<N::Event> {
        self.wishes.pop_front().expect("the node wishes for something")
    }

    pub(crate) fn opens(&mut self) -> (LinkId, Endpoint, Greeting) {
        match self.next() {
            Output::Open { link, to, greeting, .. } => (link, to, greeting),
            other => panic!("expected an opening, heard {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn opens_to(&mut self, to: &Endpoint) -> LinkId {
        let (link, opened, _) = self.opens();
        assert_eq!(&opened, to);
        link
    }

    #[track_caller]
    pub(crate) fn says(&mut self, on: LinkId) -> Message {
        let (ppid, bytes) = self.says_bytes(on);
        assert_eq!(ppid, Ppid::ASAP);
        Message::parse(&bytes).expect("what a node says is a message")
    }

    #[track_caller]
    pub(crate) fn says_bytes(&mut self, on: LinkId) -> (Ppid, Vec<u8>) {
        match self.next() {
            Output::Send { link, ppid, bytes } if link == on => (ppid, bytes),
            other => panic!("expected a message on {on:?}, heard {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn closes(&mut self, link: LinkId, how: Ending) {
        assert_eq!(self.next(), Output::Close { link, how });
    }

    #[track_caller]
    pub(crate) fn reports(&mut self, event: N::Event) {
        assert_eq!(self.next(), Output::Event(event));
    }

    #[track_caller]
    pub(crate) fn says_nothing_more(&mut self) {
        assert_eq!(self.wishes, []);
    }
}

/// A TCP endpoint of host 10.0.0.`last`.
pub(crate) fn tcp(last: u8) -> Endpoint {
    Endpoint::tcp(SocketAddr::from(([10, 0, 0, last], 3863)))
}

pub(crate) fn sctp(last: u8) -> Endpoint {
    Endpoint::sctp(SocketAddr::from(([10, 0, 0, last], 3863)))
}

pub(crate) fn pool() -> PoolHandle {
    PoolHandle::new("adder").expect("legal")
}

/// The element `id` on host 10.0.1.`id`, serving over TCP.
pub(crate) fn element(id: u8) -> PoolElement {
    let address = [10, 0, 1, id].into();
    PoolElement {
        id: ElementId(id.into()),
        home: RegistrarId(1),
        life: Life(30_000),
        user_transport: Transport::Tcp { port: 7000, transport_use: TransportUse::DataAndControl, address },
        policy: Policy::RoundRobin,
        asap_transport: None,
        asap_tcp: None,
    }
}

/// Where [`element`] takes sessions.
pub(crate) fn service_of(id: u8) -> Endpoint {
    Endpoint::tcp(SocketAddr::from(([10, 0, 1, id], 7000)))
}
