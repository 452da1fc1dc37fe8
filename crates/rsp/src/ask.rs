//! Asking a registrar one question: what is in its handlespace? (Our ASAP extension Pool List, `wire::asap`.)
//!
//! A small node of its own, because it is neither user nor element: it tries the registrars one after the other, asks
//! for the list part by part, and ends. If it listens to announcements, it waits for one when it knows nobody else.

use rserpool::wire::asap::Message;
use rserpool::wire::parameter::{PoolElement, Transport};
use rserpool::{
    Cause, Channel, Door, ElementId, Ending, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output,
    PoolHandle, Ppid, RegistrarId, Time,
};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a registrar may take for each part.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The most elements collected: a list for people and scripts, not a replica.
const ELEMENTS_MAX: usize = 1_000_000;

/// The most announced registrars asked: anybody can announce anything.
const HEARD_MAX: usize = 16;

/// What a registrar knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Who answered.
    pub registrar: RegistrarId,
    /// Pools in order, each with its elements by identifier.
    pub pools: Vec<(PoolHandle, Vec<PoolElement>)>,
}

/// How asking ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Everything asked for.
    Listing(Listing),
    /// No registrar could be reached.
    NoRegistrar,
    /// This one is reached but does not answer: it does not know our extension.
    Silence(Endpoint),
}

/// The asking node.
pub struct Lister {
    registrars: Vec<Endpoint>,
    asking: Option<(LinkId, Endpoint)>,
    only: Option<PoolHandle>,
    listing: Listing,
    elements: usize,
    patience_ends: Option<Time>,
    silent: Option<Endpoint>,
    /// Announcements are waited for until then.
    listens_until: Option<Time>,
    heard: BTreeSet<Endpoint>,
    outbox: Outbox<Answer>,
}

impl Lister {
    /// Will ask the first of these that can be reached, for one pool or for all.
    pub fn new(mut registrars: Vec<Endpoint>, only: Option<PoolHandle>) -> Self {
        registrars.reverse();
        Self {
            registrars,
            asking: None,
            only,
            listing: Listing { registrar: RegistrarId::UNDEFINED, pools: Vec::new() },
            elements: 0,
            patience_ends: None,
            silent: None,
            listens_until: None,
            heard: BTreeSet::new(),
            outbox: Outbox::default(),
        }
    }

    /// Begins; `listen`: registrars that announce themselves are asked, too.
    pub fn begin(&mut self, now: Time, listen: bool) {
        self.listens_until = listen.then_some(now + PATIENCE);
        self.next(now);
    }

    /// Asks the next registrar.
    fn next(&mut self, now: Time) {
        match self.registrars.pop() {
            Some(next) => {
                let link = self.outbox.open(Door::Asap, next.clone(), Greeting::default());
                self.asking = Some((link, next));
                self.listing.pools.clear();
                self.elements = 0;
                self.ask(now, link, None);
            }
            None if self.listens_until.is_some_and(|end| now < end) => {
                self.asking = None;
                self.patience_ends = self.listens_until;
            }
            None => {
                self.asking = None;
                self.patience_ends = None;
                self.outbox.event(self.silent.take().map_or(Answer::NoRegistrar, Answer::Silence));
            }
        }
    }

    /// A registrar announces itself (RFC 5352 §3.6): over TCP where it says so, else where the announcement came from.
    fn heard(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        let Ok(Message::ServerAnnounce { transports, .. }) = Message::parse(bytes) else { return };
        let tcp = transports.iter().find_map(|transport| match transport {
            Transport::Tcp { port, address, .. } => Some(Endpoint::tcp(SocketAddr::new(*address, *port))),
            _ => None,
        });
        let endpoint = tcp.unwrap_or_else(|| Endpoint::tcp(from));
        if self.listens_until.is_none()
            || self.heard.len() >= HEARD_MAX
            || !self.heard.insert(endpoint.clone())
        {
            return;
        }
        self.registrars.insert(0, endpoint);
        if self.asking.is_none() {
            self.next(now);
        }
    }

    fn ask(&mut self, now: Time, link: LinkId, after: Option<(PoolHandle, ElementId)>) {
        let question = Message::PoolList { handle: self.only, after };
        self.outbox.send(link, Ppid::ASAP, question.emit());
        self.patience_ends = Some(now + PATIENCE);
    }

    fn answered(&mut self, now: Time, link: LinkId, message: Message) {
        let Message::PoolListResponse { more, server, pools } = message else { return };
        self.listing.registrar = server;
        let mut last = None;
        for (handle, elements) in pools {
            self.elements += elements.len();
            last = elements.last().map(|element| (handle, element.id)).or(last);
            match self.listing.pools.last_mut() {
                Some((known, list)) if *known == handle => list.extend(elements),
                _ => self.listing.pools.push((handle, elements)),
            }
        }
        match last {
            Some(after) if more && self.elements < ELEMENTS_MAX => self.ask(now, link, Some(after)),
            _ => {
                self.outbox.close(link, Ending::Graceful);
                self.asking = None;
                self.patience_ends = None;
                self.listens_until = None;
                let nothing = Listing { registrar: server, pools: Vec::new() };
                self.outbox.event(Answer::Listing(std::mem::replace(&mut self.listing, nothing)));
            }
        }
    }
}

impl Node for Lister {
    type Event = Answer;

    fn handle(&mut self, now: Time, input: Input) {
        if let Input::Heard { channel: Channel::Asap, from, bytes } = &input {
            return self.heard(now, *from, bytes);
        }
        let Some((current, endpoint)) = self.asking.clone() else {
            if matches!(input, Input::Wake) && self.patience_ends.is_some_and(|end| end <= now) {
                self.next(now);
            }
            return;
        };
        match input {
            Input::Message { link, ppid: Ppid::ASAP, bytes } if link == current => {
                if let Ok(message) = Message::parse(&bytes) {
                    self.answered(now, link, message);
                }
            }
            Input::Closed { link, cause } if link == current => {
                if cause != Cause::Unreachable {
                    self.silent = Some(endpoint);
                }
                self.next(now);
            }
            Input::Wake if self.patience_ends.is_some_and(|end| end <= now) => {
                self.outbox.close(current, Ending::Abort);
                self.silent = Some(endpoint);
                self.next(now);
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output<Answer>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        self.patience_ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::wire::parameter::TransportUse;

    fn at(port: u16) -> Endpoint {
        Endpoint::tcp(([127, 0, 0, 1], port).into())
    }

    fn wishes(lister: &mut Lister) -> Vec<Output<Answer>> {
        std::iter::from_fn(|| lister.poll()).collect()
    }

    fn response(more: bool) -> Vec<u8> {
        Message::PoolListResponse { more, server: RegistrarId(9), pools: Vec::new() }.emit()
    }

    #[test]
    fn the_next_registrar_is_asked_when_one_cannot_be_reached() {
        let mut lister = Lister::new(vec![at(1), at(2)], None);
        lister.begin(Time::ZERO, false);
        assert!(
            matches!(&wishes(&mut lister)[..], [Output::Open { to, .. }, Output::Send { .. }] if *to == at(1))
        );
        lister.handle(Time::ZERO, Input::Closed { link: LinkId::Ours(1), cause: Cause::Unreachable });
        assert!(
            matches!(&wishes(&mut lister)[..], [Output::Open { to, .. }, Output::Send { .. }] if *to == at(2))
        );
        let bytes = response(false);
        lister.handle(Time::ZERO, Input::Message { link: LinkId::Ours(2), ppid: Ppid::ASAP, bytes });
        let listing = Listing { registrar: RegistrarId(9), pools: Vec::new() };
        let close = Output::Close { link: LinkId::Ours(2), how: Ending::Graceful };
        assert_eq!(wishes(&mut lister), [close, Output::Event(Answer::Listing(listing))]);
        assert_eq!(lister.deadline(), None);
    }

    #[test]
    fn a_registrar_that_does_not_answer_is_named() {
        let mut lister = Lister::new(vec![at(1)], None);
        lister.begin(Time::ZERO, false);
        wishes(&mut lister);
        lister.handle(Time::from_millis(2_999), Input::Wake);
        assert!(wishes(&mut lister).is_empty());
        lister.handle(Time::from_millis(3_000), Input::Wake);
        let wished = wishes(&mut lister);
        assert_eq!(wished.last(), Some(&Output::Event(Answer::Silence(at(1)))));
        let bytes = response(false);
        lister.handle(Time::ZERO, Input::Message { link: LinkId::Ours(1), ppid: Ppid::ASAP, bytes });
        assert!(wishes(&mut lister).is_empty(), "an answer that comes too late is nobody's");
    }

    #[test]
    fn nobody_to_reach_is_said_once() {
        let mut lister = Lister::new(Vec::new(), None);
        lister.begin(Time::ZERO, false);
        assert_eq!(wishes(&mut lister), [Output::Event(Answer::NoRegistrar)]);
    }

    #[test]
    fn an_announced_registrar_is_asked_when_nobody_else_is_known() {
        let mut lister = Lister::new(vec![at(1)], None);
        lister.begin(Time::ZERO, true);
        wishes(&mut lister);
        lister.handle(Time::ZERO, Input::Closed { link: LinkId::Ours(1), cause: Cause::Unreachable });
        assert!(wishes(&mut lister).is_empty(), "an announcement may still come");
        let address = [10, 0, 0, 7].into();
        let transports = vec![Transport::Tcp { port: 9, transport_use: TransportUse::Data, address }];
        let bytes = Message::ServerAnnounce { server: RegistrarId(7), transports }.emit();
        let heard = Input::Heard { channel: Channel::Asap, from: ([10, 0, 0, 8], 5).into(), bytes };
        lister.handle(Time::from_millis(1_000), heard.clone());
        let there = Endpoint::tcp((address, 9).into());
        assert!(
            matches!(&wishes(&mut lister)[..], [Output::Open { to, .. }, Output::Send { .. }] if *to == there)
        );
        lister.handle(Time::from_millis(1_100), heard);
        assert!(wishes(&mut lister).is_empty(), "once is enough");
        lister.handle(
            Time::from_millis(1_200),
            Input::Closed { link: LinkId::Ours(2), cause: Cause::Unreachable },
        );
        lister.handle(Time::from_millis(3_000), Input::Wake);
        assert_eq!(wishes(&mut lister), [Output::Event(Answer::NoRegistrar)]);
    }
}
