//! The application services of RSPLIB, both sides: what a scope of its programs speaks, and ours with it.
//!
//! ```text
//!   room          PPID  pool                  element (rsp serve)      user (rsp client)
//!   plain         0     EchoPool ...          plain::Plain             plain::Lines, plain::Listen
//!   pingpong      33    PingPongPool          pingpong::PingPong       pingpong::Pinger
//!   calcapp       34    CalcAppPool           calcapp::Calculator      calcapp::Customer
//!   fractal       32    FractalGeneratorPool  fractal::Generator       fractal::Painter
//!   scripting     35    ScriptingPool         scripting::Host          scripting::Submitter
//! ```
//!
//! An element's half is a [`Service`](rserpool::Service) as everywhere. A user's half is an [`Application`]: it is told
//! what a [`PoolUser`] hears and calls it in return; [`Client`] makes a node of the two. Each room holds its wire form,
//! both halves and what they count. RSPLIB knows none of our link frames, so these services have no heartbeats of ours:
//! silence is found by the time-outs of each protocol.
//!
//! Messages (except of the plain services) begin alike: type (1), flags (1), length (2, of the whole message).

pub mod calcapp;
pub mod fractal;
pub mod pace;
pub mod pingpong;
pub mod plain;
pub mod scripting;

use crate::codec::{Reader, WireError};
use rserpool::user::{self, PoolUser};
use rserpool::{Input, Node, Output, Time};
use std::collections::VecDeque;

/// What is done with a pool user. Pure like a service: told facts, it calls the user and says things to its world.
pub trait Application {
    /// What its world tells it.
    type Fact;
    /// What it tells its world.
    type Event;

    /// The first moment: sessions are opened here.
    fn begin(&mut self, now: Time, desk: &mut Desk<'_, Self::Event>);

    /// The user has heard something of its sessions.
    fn heard(&mut self, now: Time, event: user::Event, desk: &mut Desk<'_, Self::Event>);

    /// The world reports.
    fn informed(&mut self, now: Time, fact: Self::Fact, desk: &mut Desk<'_, Self::Event>);

    /// When it wants [`Self::wake`].
    fn deadline(&self) -> Option<Time>;

    /// The deadline passed.
    fn wake(&mut self, now: Time, desk: &mut Desk<'_, Self::Event>);
}

/// What lies before an application: its pool user, and the way to its world.
pub struct Desk<'a, E> {
    /// The pool user.
    pub user: &'a mut PoolUser,
    said: &'a mut VecDeque<E>,
}

impl<E> Desk<'_, E> {
    /// Tells the world.
    pub fn say(&mut self, event: E) {
        self.said.push_back(event);
    }
}

/// A pool user with its application: a node. It begins with the first fact it is told.
pub struct Client<A: Application> {
    user: PoolUser,
    application: A,
    said: VecDeque<A::Event>,
    wishes: VecDeque<Output<A::Event>>,
    begun: bool,
}

impl<A: Application> Client<A> {
    /// This application with this user.
    pub fn new(user: PoolUser, application: A) -> Self {
        Self { user, application, said: VecDeque::new(), wishes: VecDeque::new(), begun: false }
    }

    /// The application.
    pub fn application(&self) -> &A {
        &self.application
    }

    /// The pool user.
    pub fn user(&self) -> &PoolUser {
        &self.user
    }

    /// Tells the application something its world knows.
    pub fn inform(&mut self, now: Time, fact: A::Fact) {
        self.begin(now);
        self.with(|application, desk| application.informed(now, fact, desk));
        self.settle(now);
    }

    fn begin(&mut self, now: Time) {
        if !std::mem::replace(&mut self.begun, true) {
            self.with(|application, desk| application.begin(now, desk));
            self.settle(now);
        }
    }

    fn with(&mut self, call: impl FnOnce(&mut A, &mut Desk<'_, A::Event>)) {
        call(&mut self.application, &mut Desk { user: &mut self.user, said: &mut self.said });
    }

    /// Hands on what the user wishes, and tells the application what it heard, until both are quiet.
    fn settle(&mut self, now: Time) {
        loop {
            self.wishes.extend(self.said.drain(..).map(Output::Event));
            let Some(wish) = self.user.poll() else { return };
            match wish {
                Output::Event(event) => self.with(|application, desk| application.heard(now, event, desk)),
                Output::Open { link, door, to, greeting } => {
                    self.wishes.push_back(Output::Open { link, door, to, greeting });
                }
                Output::Send { link, ppid, bytes } => {
                    self.wishes.push_back(Output::Send { link, ppid, bytes })
                }
                Output::Close { link, how } => self.wishes.push_back(Output::Close { link, how }),
                Output::Announce { channel, bytes } => {
                    self.wishes.push_back(Output::Announce { channel, bytes });
                }
            }
        }
    }
}

impl<A: Application> Node for Client<A> {
    type Event = A::Event;

    fn handle(&mut self, now: Time, input: Input) {
        self.begin(now);
        let alarm = input == Input::Wake;
        if !alarm || self.user.deadline().is_some_and(|due| due <= now) {
            self.user.handle(now, input);
            self.settle(now);
        }
        if alarm && self.application.deadline().is_some_and(|due| due <= now) {
            self.with(|application, desk| application.wake(now, desk));
            self.settle(now);
        }
    }

    fn poll(&mut self) -> Option<Output<A::Event>> {
        self.wishes.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        if !self.begun {
            return Some(Time::ZERO);
        }
        [self.user.deadline(), self.application.deadline()].into_iter().flatten().min()
    }
}

/// Size of the common header.
const HEADER: usize = 4;

/// Type, flags and body of a message. The length it states may be less than what came (the rest is passed over, as the
/// reference does) but not more, and not below its header.
fn parse_header(bytes: &[u8]) -> Result<(u8, u8, Reader<'_>), WireError> {
    let mut reader = Reader::new(bytes);
    let (kind, flags, length) = (reader.u8()?, reader.u8()?, usize::from(reader.u16()?));
    if length < HEADER {
        return Err(WireError::Invalid { offset: 2, rule: "must count the header" });
    }
    let Some(body) = bytes.get(HEADER..length) else {
        return Err(WireError::Truncated {
            offset: HEADER,
            needed: length - HEADER,
            left: bytes.len() - HEADER,
        });
    };
    Ok((kind, flags, Reader::at(body, HEADER)))
}

/// A message of this type and flags; the body is far below 64 KiB, as the limits of each room see to.
fn emit(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(HEADER + body.len()).expect("bodies are limited far below 64 KiB");
    let mut message = vec![kind, flags];
    message.extend(length.to_be_bytes());
    message.extend(body);
    message
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Octets written as hexadecimal digits, with spaces where they help.
    pub fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        digits.chunks(2).map(pair).collect()
    }

    #[test]
    fn a_header_never_promises_more_than_there_is() {
        let longer = hex("07 01 0006 abcd ff");
        let (kind, flags, mut body) = parse_header(&longer).expect("whole, with one octet more");
        assert_eq!((kind, flags, body.rest()), (7, 1, &hex("abcd")[..]));
        assert!(matches!(
            parse_header(&hex("07 01 0008 abcd")),
            Err(WireError::Truncated { offset: 4, needed: 4, left: 2 })
        ));
        assert!(matches!(parse_header(&hex("07 01 0003")), Err(WireError::Invalid { offset: 2, .. })));
        for cut in 0..4 {
            assert!(parse_header(&hex("07 01 0004")[..cut]).is_err(), "cut at {cut}");
        }
        assert_eq!(emit(7, 1, &[0xab, 0xcd]), hex("07 01 0006 abcd"));
    }
}
