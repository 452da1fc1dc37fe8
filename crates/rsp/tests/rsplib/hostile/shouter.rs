//! Somebody who says what nobody should, and knows how much of it was heard.
//!
//! After each portion it asks for a sign of life, which the loop that serves gives in its turn: a portion whose question is
//! answered was heard as a whole. When the other side ends a link, it heard at least the message it did it for.

use super::messages::{Damaged, Said};
use guest::Host;
use rserpool::link::Frame;
use rserpool::{Cause, Door, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, Ppid, Role, Time};
use rserpool_net::{Config, DoorAt, spawn};
use std::net::SocketAddr;
use std::sync::mpsc::channel;

/// What was said, and what became of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages handed to links.
    pub said: u64,
    /// Of these, messages that were certainly heard.
    pub heard: u64,
    /// Links opened.
    pub links: u64,
    /// Of these, links the other side aborted.
    pub aborted: u64,
}

impl Tally {
    /// The next portion is under way.
    pub fn says(&mut self, portion: &[Said]) {
        self.said += portion.len() as u64;
    }

    /// A link was aborted with a portion of so many messages under way.
    pub fn aborted(&mut self, under_way: u64) {
        self.aborted += 1;
        self.heard += under_way.min(1);
    }
}

/// The question after the `number`-th portion.
pub fn question(number: u64) -> Said {
    (Ppid::LINK, Frame::Ping(number.to_be_bytes()).emit())
}

/// True for the answer to that question.
pub fn answers(number: u64, ppid: Ppid, bytes: &[u8]) -> bool {
    ppid == Ppid::LINK && Frame::parse(bytes) == Some(Frame::Pong(number.to_be_bytes()))
}

struct Shouter {
    outbox: Outbox<Tally>,
    to: Endpoint,
    door: Door,
    first: Vec<Said>,
    damaged: Damaged,
    portion: usize,
    enough: Enough,
    link: Option<LinkId>,
    /// Messages of the portion that is not answered yet.
    under_way: u64,
    asked: u64,
    tally: Tally,
}

/// When to stop: so many messages heard, or so many said.
#[derive(Clone, Copy, Debug)]
pub struct Enough {
    pub heard: u64,
    pub said: u64,
}

impl Enough {
    pub fn is_reached(self, tally: Tally) -> bool {
        tally.heard >= self.heard || tally.said >= self.said
    }
}

impl Shouter {
    fn open(&mut self) {
        self.under_way = 0;
        self.tally.links += 1;
        self.link = Some(self.outbox.open(self.door, self.to.clone(), Greeting::default()));
    }

    fn speak(&mut self, link: LinkId) {
        let portion = match self.first.is_empty() {
            true => self.damaged.portion(self.portion),
            false => std::mem::take(&mut self.first),
        };
        self.tally.says(&portion);
        self.under_way = portion.len() as u64;
        self.asked += 1;
        for (ppid, bytes) in portion.into_iter().chain([question(self.asked)]) {
            self.outbox.send(link, ppid, bytes);
        }
    }

    /// Tells how far it is; true if that is not enough.
    fn goes_on(&mut self) -> bool {
        self.outbox.event(self.tally);
        !self.enough.is_reached(self.tally)
    }
}

impl Node for Shouter {
    type Event = Tally;

    fn handle(&mut self, _: Time, input: Input) {
        match input {
            Input::Opened { link, .. } if self.link == Some(link) => self.speak(link),
            Input::Message { link, ppid, bytes }
                if self.link == Some(link) && answers(self.asked, ppid, &bytes) =>
            {
                self.tally.heard += std::mem::take(&mut self.under_way);
                if self.goes_on() {
                    self.speak(link);
                }
            }
            Input::Closed { link, cause } if self.link == Some(link) => {
                if cause == Cause::Aborted {
                    self.tally.aborted(self.under_way);
                }
                if self.goes_on() {
                    self.open();
                }
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output<Tally>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Says, from this host, first this, then damaged messages in portions of this size, until it is enough.
pub fn shout(
    host: &Host,
    (to, door): (SocketAddr, Door),
    first: Vec<Said>,
    damaged: Damaged,
    portion: usize,
    enough: Enough,
) -> Tally {
    let at = SocketAddr::new(host.ip().parse().expect("an address"), 0);
    let (told, tallies) = channel();
    let running = host.within(|| {
        let net = Config {
            asap: DoorAt::sctp(at),
            enrp: Some(at.into()),
            service: DoorAt::sctp(at),
            ..Config::user(Role::Registrar)
        };
        spawn("shouter", net, move |_| {
            let mut shouter = Shouter {
                outbox: Outbox::default(),
                to: Endpoint::sctp(to),
                door,
                first,
                damaged,
                portion,
                enough,
                link: None,
                under_way: 0,
                asked: 0,
                tally: Tally::default(),
            };
            shouter.open();
            let tell = move |_: &mut Shouter, _: Time, tally| {
                let _ = told.send(tally);
            };
            (shouter, tell)
        })
        .expect("ports are free")
    });
    loop {
        let tally: Tally =
            tallies.recv_timeout(guest::BOUND).expect("each portion is heard, or its link ended");
        if enough.is_reached(tally) {
            running.stop();
            return tally;
        }
    }
}
