//! Asking a registrar for its handlespace in the words registrars have for it: for those of RSPLIB, which know no other.
//!
//! There is only one way to be given a handle table: to be a peer (RFC 5353 §3.2.3). So this node introduces itself with
//! a Presence, asks part by part, and leaves. The registrar believes for a while that a peer has died; one of RSPLIB then
//! waits in vain for its agreement to a takeover, which fails. Ask those of our own in ASAP ([`crate::ask`]).

use crate::ask::{Answer, Listing};
use rserpool::wire::enrp::{Body, Message};
use rserpool::wire::parameter::{ServerInformation, Transport, TransportUse};
use rserpool::{
    Door, Ending, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, Ppid, RegistrarId, Time,
};
use std::time::Duration;

/// How long a registrar may take for each part.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most elements collected: a list for people and scripts, not a replica.
const ELEMENTS_MAX: usize = 1_000_000;

/// The checksum of owning nothing (RFC 1071).
const NOTHING: u16 = 0xffff;

/// The asking node.
pub struct Dumper {
    id: RegistrarId,
    door: Endpoint,
    registrar: Endpoint,
    link: Option<LinkId>,
    listing: Listing,
    elements: usize,
    patience_ends: Option<Time>,
    outbox: Outbox<Answer>,
}

impl Dumper {
    /// Will ask this registrar, from this door and under this name.
    pub fn new(id: RegistrarId, door: Endpoint, registrar: Endpoint) -> Self {
        Self {
            id,
            door,
            registrar,
            link: None,
            listing: Listing { registrar: RegistrarId::UNDEFINED, pools: Vec::new() },
            elements: 0,
            patience_ends: None,
            outbox: Outbox::default(),
        }
    }

    /// Begins.
    pub fn begin(&mut self, now: Time) {
        let link = self.outbox.open(Door::Enrp, self.registrar.clone(), Greeting::default());
        self.link = Some(link);
        self.introduce(link, RegistrarId::UNDEFINED);
        self.ask(now, link);
    }

    fn say(&mut self, link: LinkId, receiver: RegistrarId, body: Body) {
        let message = Message { sender: self.id, receiver, body };
        self.outbox.send(link, Ppid::ENRP, message.emit());
    }

    fn introduce(&mut self, link: LinkId, receiver: RegistrarId) {
        let transport = Transport::Sctp {
            port: self.door.port,
            transport_use: TransportUse::Data,
            addresses: self.door.addresses.clone(),
        };
        let server = Some(ServerInformation { id: self.id, transport });
        self.say(link, receiver, Body::Presence { reply_required: false, checksum: Some(NOTHING), server });
    }

    fn ask(&mut self, now: Time, link: LinkId) {
        self.say(link, self.listing.registrar, Body::HandleTableRequest { own_only: false });
        self.patience_ends = Some(now + PATIENCE);
    }

    fn heard(&mut self, now: Time, link: LinkId, message: Message) {
        match message.body {
            Body::Presence { reply_required: true, .. } => self.introduce(link, message.sender),
            Body::ListRequest => {
                self.say(link, message.sender, Body::ListResponse { rejected: false, servers: Vec::new() });
            }
            Body::HandleTableResponse { rejected: true, .. } => {
                self.end(Answer::Silence(self.registrar.clone()));
            }
            Body::HandleTableResponse { more, pools, .. } => {
                self.listing.registrar = message.sender;
                for (handle, elements) in pools {
                    self.elements += elements.len();
                    match self.listing.pools.last_mut() {
                        Some((known, list)) if *known == handle => list.extend(elements),
                        _ => self.listing.pools.push((handle, elements)),
                    }
                }
                if more && self.elements < ELEMENTS_MAX {
                    return self.ask(now, link);
                }
                let nothing = Listing { registrar: message.sender, pools: Vec::new() };
                let listing = std::mem::replace(&mut self.listing, nothing);
                self.end(Answer::Listing(listing));
            }
            _ => {}
        }
    }

    fn end(&mut self, answer: Answer) {
        if let Some(link) = self.link.take() {
            self.outbox.close(link, Ending::Graceful);
        }
        self.patience_ends = None;
        self.outbox.event(answer);
    }
}

impl Node for Dumper {
    type Event = Answer;

    fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Message { link, ppid: Ppid::ENRP, bytes } if self.link == Some(link) => {
                if let Ok(message) = Message::parse(&bytes) {
                    self.heard(now, link, message);
                }
            }
            Input::Closed { link, .. } if self.link == Some(link) => {
                self.link = None;
                self.end(Answer::NoRegistrar);
            }
            Input::Wake if self.patience_ends.is_some_and(|end| end <= now) => {
                self.end(Answer::Silence(self.registrar.clone()));
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

    const THEM: RegistrarId = RegistrarId(2);

    fn endpoint(port: u16) -> Endpoint {
        Endpoint::sctp(([10, 0, 0, 1], port).into())
    }

    fn bodies(dumper: &mut Dumper) -> Vec<Body> {
        let wishes = std::iter::from_fn(|| dumper.poll());
        let sent = wishes.filter_map(|wish| match wish {
            Output::Send { bytes, .. } => Some(Message::parse(&bytes).expect("ours").body),
            _ => None,
        });
        sent.collect()
    }

    fn says(dumper: &mut Dumper, body: Body) {
        let bytes = Message { sender: THEM, receiver: RegistrarId(1), body }.emit();
        dumper.handle(Time::ZERO, Input::Message { link: LinkId::Ours(1), ppid: Ppid::ENRP, bytes });
    }

    #[test]
    fn it_introduces_itself_asks_until_there_is_no_more_and_leaves() {
        let mut dumper = Dumper::new(RegistrarId(1), endpoint(5), endpoint(9901));
        dumper.begin(Time::ZERO);
        let asked = Body::HandleTableRequest { own_only: false };
        let said = bodies(&mut dumper);
        assert!(matches!(said[0], Body::Presence { reply_required: false, checksum: Some(0xffff), .. }));
        assert_eq!(said[1..], *std::slice::from_ref(&asked));

        says(&mut dumper, Body::Presence { reply_required: true, checksum: Some(1), server: None });
        assert!(matches!(bodies(&mut dumper)[..], [Body::Presence { reply_required: false, .. }]));
        says(&mut dumper, Body::HandleTableResponse { rejected: false, more: true, pools: Vec::new() });
        assert_eq!(bodies(&mut dumper), [asked]);
        says(&mut dumper, Body::HandleTableResponse { rejected: false, more: false, pools: Vec::new() });
        let wishes: Vec<_> = std::iter::from_fn(|| dumper.poll()).collect();
        let listing = Listing { registrar: THEM, pools: Vec::new() };
        let close = Output::Close { link: LinkId::Ours(1), how: Ending::Graceful };
        assert_eq!(wishes, [close, Output::Event(Answer::Listing(listing))]);
        assert_eq!(dumper.deadline(), None);
    }

    #[test]
    fn who_cannot_be_reached_refuses_or_says_nothing_is_named() {
        let begun = || {
            let mut dumper = Dumper::new(RegistrarId(1), endpoint(5), endpoint(9901));
            dumper.begin(Time::ZERO);
            bodies(&mut dumper);
            dumper
        };
        let last = |mut dumper: Dumper| std::iter::from_fn(|| dumper.poll()).last();
        let silence = Some(Output::Event(Answer::Silence(endpoint(9901))));

        let mut refused = begun();
        says(&mut refused, Body::HandleTableResponse { rejected: true, more: false, pools: Vec::new() });
        assert_eq!(last(refused), silence);
        let mut silent = begun();
        silent.handle(Time::from_millis(4_999), Input::Wake);
        assert_eq!(silent.poll(), None);
        silent.handle(Time::from_millis(5_000), Input::Wake);
        assert_eq!(last(silent), silence);
        let mut absent = begun();
        let cause = rserpool::Cause::Unreachable;
        absent.handle(Time::ZERO, Input::Closed { link: LinkId::Ours(1), cause });
        assert_eq!(last(absent), Some(Output::Event(Answer::NoRegistrar)));
    }
}
