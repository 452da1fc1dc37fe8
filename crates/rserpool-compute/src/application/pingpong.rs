//! Ping-Pong (PPID 33): numbered questions and numbered answers, the smallest service with a state worth a cookie.
//!
//! ```text
//!   Ping    1 | message number u64 | data                             user -> element
//!   Pong    2 | message number u64 | reply number u64 | data          element -> user
//!   Cookie    "<PP-TD1>" | next reply number u64                      in ASAP_COOKIE, after each Pong
//! ```
//!
//! Reply numbers begin at 1 and go on by one, over fail-overs as well: that is what the cookie is for, and what a user
//! can see of it. A Pong that the failing element had sent but whose cookie was lost shows as a repeated number.

use super::{Application, Desk, emit, parse_header};
use crate::codec::WireError;
use rserpool::element::{Replies, Service, SessionId};
use rserpool::user::{self, SessionOptions};
use rserpool::{ElementId, Load, PoolHandle, Ppid, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// The payload protocol of its messages.
pub const PPID: Ppid = Ppid(33);

/// Most octets of data in a message.
pub const DATA_MAX: usize = 60_000;

const COOKIE_NAME: &[u8; 8] = b"<PP-TD1>";

/// What the two sides say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A question.
    Ping {
        /// Its number, the user's choice.
        number: u64,
        /// Anything, to be sent back.
        data: Vec<u8>,
    },
    /// The answer.
    Pong {
        /// The number of the Ping.
        number: u64,
        /// How many answers the session has had, this one included.
        reply: u64,
        /// The data of the Ping.
        data: Vec<u8>,
    },
}

impl Message {
    /// The message these octets are.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (kind, _, mut body) = parse_header(bytes)?;
        let message = match kind {
            1 => Self::Ping { number: body.u64()?, data: body.rest().to_vec() },
            2 => Self::Pong { number: body.u64()?, reply: body.u64()?, data: body.rest().to_vec() },
            _ => return Err(WireError::Unknown { offset: 0, what: "message", found: kind.into() }),
        };
        match &message {
            Self::Ping { data, .. } | Self::Pong { data, .. } if data.len() > DATA_MAX => {
                let found = data.len() as u64;
                Err(WireError::TooLarge { offset: 2, what: "data", found, limit: DATA_MAX as u64 })
            }
            _ => Ok(message),
        }
    }

    /// Its octets. Data above [`DATA_MAX`] is cut off.
    pub fn emit(&self) -> Vec<u8> {
        let clipped = |data: &Vec<u8>| data[..data.len().min(DATA_MAX)].to_vec();
        match self {
            Self::Ping { number, data } => emit(1, 0, &[&number.to_be_bytes()[..], &clipped(data)].concat()),
            Self::Pong { number, reply, data } => {
                emit(2, 0, &[&number.to_be_bytes()[..], &reply.to_be_bytes(), &clipped(data)].concat())
            }
        }
    }
}

/// The reply number a cookie says comes next; `None` if it is no cookie of this service.
fn parse_cookie(cookie: &[u8]) -> Option<u64> {
    let (name, next) = cookie.split_first_chunk::<8>()?;
    (name == COOKIE_NAME).then_some(())?;
    Some(u64::from_be_bytes(next.try_into().ok()?))
}

fn emit_cookie(next: u64) -> Vec<u8> {
    [&COOKIE_NAME[..], &next.to_be_bytes()].concat()
}

/// Settings of the service.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Sessions at a time; more are ended at once.
    pub sessions_max: usize,
    /// Ends each session after so many replies, to try fail-over; `None`: never.
    pub failure_after: Option<u64>,
}

impl Default for Config {
    /// As the reference: 4 sessions, no failure.
    fn default() -> Self {
        Self { sessions_max: 4, failure_after: None }
    }
}

/// The service, see the [module](self).
#[derive(Debug)]
pub struct PingPong {
    config: Config,
    /// The next reply number, and how many replies there were here.
    sessions: BTreeMap<SessionId, (u64, u64)>,
}

/// It asks nothing of its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWish {}

impl PingPong {
    /// A service without sessions.
    pub fn new(config: Config) -> Self {
        Self { config, sessions: BTreeMap::new() }
    }
}

impl Service for PingPong {
    type Wish = NoWish;
    type Fact = NoWish;

    fn opened(&mut self, _: Time, session: SessionId, replies: &mut Replies<NoWish>) {
        if self.sessions.len() >= self.config.sessions_max {
            return replies.close(session);
        }
        self.sessions.insert(session, (1, 0));
    }

    fn resume(&mut self, _: Time, session: SessionId, cookie: &[u8], replies: &mut Replies<NoWish>) {
        let Some((next, _)) = self.sessions.get_mut(&session) else { return };
        match parse_cookie(cookie) {
            Some(number) => *next = number,
            None => replies.abort(session),
        }
    }

    fn message(
        &mut self,
        _now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<NoWish>,
    ) {
        let Some((next, served)) = self.sessions.get_mut(&session) else { return };
        let (PPID, Ok(Message::Ping { number, data })) = (ppid, Message::parse(bytes)) else {
            return replies.abort(session);
        };
        replies.send(session, PPID, Message::Pong { number, reply: *next, data }.emit());
        *next = next.wrapping_add(1);
        *served += 1;
        replies.cookie(session, emit_cookie(*next));
        if self.config.failure_after.is_some_and(|enough| *served >= enough) {
            replies.close(session);
        }
    }

    fn closed(&mut self, _: Time, session: SessionId, _: &mut Replies<NoWish>) {
        self.sessions.remove(&session);
    }

    fn informed(&mut self, _: Time, fact: NoWish, _: &mut Replies<NoWish>) {
        match fact {}
    }

    fn load(&self) -> Load {
        Load::default()
    }
}

/// Settings of a user.
#[derive(Clone, Debug)]
pub struct PingerConfig {
    /// The pool.
    pub handle: PoolHandle,
    /// Between two Pings.
    pub interval: Duration,
    /// Ends after so many Pongs; `None`: never.
    pub count: Option<u64>,
    /// Silence after a Ping that makes the element count as hung. (The reference waits for ever.)
    pub patience: Duration,
    /// The data of each Ping.
    pub data: Vec<u8>,
}

/// What a user tells its world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PingerEvent {
    /// An answer.
    Pong {
        /// Who answered.
        element: Option<ElementId>,
        /// The number of the Ping.
        number: u64,
        /// The reply number.
        reply: u64,
        /// It follows the one before.
        in_order: bool,
        /// Since its Ping; `None` if that one is not the last.
        after: Option<Duration>,
    },
    /// What came is no Pong.
    Nonsense(WireError),
    /// What became of the session, for people.
    Session(user::Event),
    /// As many answers as were wanted.
    Done,
}

/// A user: sends Pings at an interval and watches the reply numbers.
#[derive(Debug)]
pub struct Pinger {
    config: PingerConfig,
    session: Option<user::SessionId>,
    /// The number of the last Ping sent, and when.
    sent: (u64, Time),
    last_reply: u64,
    pongs: u64,
    next: Option<Time>,
    patience_ends: Option<Time>,
}

impl Pinger {
    /// A user that opens its session at once.
    pub fn new(config: PingerConfig) -> Self {
        Self {
            config,
            session: None,
            sent: (0, Time::ZERO),
            last_reply: 0,
            pongs: 0,
            next: None,
            patience_ends: None,
        }
    }

    /// Answers so far.
    pub fn pongs(&self) -> u64 {
        self.pongs
    }
}

impl Application for Pinger {
    type Fact = NoWish;
    type Event = PingerEvent;

    fn begin(&mut self, now: Time, desk: &mut Desk<'_, PingerEvent>) {
        self.session = Some(desk.user.open(now, self.config.handle, SessionOptions::default()));
        self.next = Some(now);
    }

    fn heard(&mut self, now: Time, event: user::Event, desk: &mut Desk<'_, PingerEvent>) {
        match event {
            user::Event::Message { session, ppid, bytes } => match Message::parse(&bytes) {
                Ok(Message::Pong { number, reply, .. }) if ppid == PPID => {
                    self.patience_ends = None;
                    let in_order = reply == self.last_reply + 1;
                    self.last_reply = reply;
                    self.pongs += 1;
                    let element = desk.user.element(session);
                    let after = (number == self.sent.0).then(|| now.since(self.sent.1));
                    desk.say(PingerEvent::Pong { element, number, reply, in_order, after });
                    if self.config.count == Some(self.pongs) {
                        self.next = None;
                        self.session = None;
                        desk.user.close(now, session);
                        desk.say(PingerEvent::Done);
                    }
                }
                Ok(_) => {
                    let rule = "must be a Pong";
                    desk.say(PingerEvent::Nonsense(WireError::Invalid { offset: 0, rule }));
                }
                Err(error) => desk.say(PingerEvent::Nonsense(error)),
            },
            user::Event::FailingOver { .. } => {
                self.patience_ends = None;
                desk.say(PingerEvent::Session(event));
            }
            _ => desk.say(PingerEvent::Session(event)),
        }
    }

    fn informed(&mut self, _: Time, fact: NoWish, _: &mut Desk<'_, PingerEvent>) {
        match fact {}
    }

    fn deadline(&self) -> Option<Time> {
        [self.next, self.patience_ends].into_iter().flatten().min()
    }

    fn wake(&mut self, now: Time, desk: &mut Desk<'_, PingerEvent>) {
        let Some(session) = self.session else { return };
        if self.patience_ends.take_if(|due| *due <= now).is_some() {
            desk.user.fail_over(now, session, true);
        }
        if self.next.is_some_and(|due| due <= now) {
            self.next = Some(now + self.config.interval);
            let number = self.sent.0 + 1;
            let ping = Message::Ping { number, data: self.config.data.clone() };
            // A number counts only if it could be sent; without an element the next moment tries it again.
            if desk.user.send(now, session, PPID, ping.emit()).is_ok() {
                self.sent = (number, now);
                self.patience_ends.get_or_insert(now + self.config.patience);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;
    use rserpool::element::Reply;

    const SESSION: SessionId = SessionId(1);

    /// Octets seen between programs of the reference.
    #[test]
    fn messages_are_those_of_the_reference() {
        let text = b"Nachricht: 1, Zeitstempel: 1795333975701295".to_vec();
        let ping = Message::Ping { number: 1, data: text.clone() };
        let bytes = [hex("0100 0037 0000000000000001"), text.clone()].concat();
        assert_eq!((ping.emit(), Message::parse(&bytes)), (bytes, Ok(ping)));
        let pong = Message::Pong { number: 1, reply: 1, data: text.clone() };
        let bytes = [hex("0200 003f 0000000000000001 0000000000000001"), text].concat();
        assert_eq!((pong.emit(), Message::parse(&bytes)), (bytes.clone(), Ok(pong)));
        for cut in 0..bytes.len() {
            assert!(Message::parse(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(matches!(Message::parse(&hex("0300 0004")), Err(WireError::Unknown { found: 3, .. })));
        assert_eq!(emit_cookie(2), hex("3c50502d5444313e 0000000000000002"));
        assert_eq!(parse_cookie(&hex("3c50502d5444313e 0000000000000006")), Some(6));
        assert_eq!(parse_cookie(&hex("3c50502d5444313e 00000000000000")), None);
        assert_eq!(parse_cookie(&hex("3c50502d5444323e 0000000000000006")), None);
    }

    fn ping(number: u64) -> Vec<u8> {
        Message::Ping { number, data: b"x".to_vec() }.emit()
    }

    #[test]
    fn reply_numbers_go_on_where_the_cookie_says() {
        let mut service = PingPong::new(Config::default());
        let mut replies = Replies::default();
        service.opened(Time::ZERO, SESSION, &mut replies);
        service.resume(Time::ZERO, SESSION, &emit_cookie(6), &mut replies);
        service.message(Time::ZERO, SESSION, PPID, &ping(40), &mut replies);
        let pong = Message::Pong { number: 40, reply: 6, data: b"x".to_vec() }.emit();
        let expected = [Reply::Send(SESSION, PPID, pong), Reply::Cookie(SESSION, emit_cookie(7))];
        assert_eq!(replies.take(), expected);
    }

    #[test]
    fn nonsense_aborts_the_session_and_nothing_else_is_said() {
        let said = |cookie: Option<&[u8]>, message: &[u8]| {
            let mut service = PingPong::new(Config::default());
            let mut replies = Replies::default();
            service.opened(Time::ZERO, SESSION, &mut replies);
            match cookie {
                Some(cookie) => service.resume(Time::ZERO, SESSION, cookie, &mut replies),
                None => service.message(Time::ZERO, SESSION, PPID, message, &mut replies),
            }
            replies.take()
        };
        assert_eq!(said(None, &hex("0100 0004")), [Reply::Abort(SESSION)]);
        assert_eq!(said(None, &hex("0100 ffff 0000000000000001")), [Reply::Abort(SESSION)]);
        let pong = Message::Pong { number: 1, reply: 1, data: Vec::new() }.emit();
        assert_eq!(said(None, &pong), [Reply::Abort(SESSION)]);
        assert_eq!(said(Some(b"<PP-TD2>12345678"), &[]), [Reply::Abort(SESSION)]);
    }

    #[test]
    fn it_fails_on_purpose_after_the_cookie() {
        let mut service = PingPong::new(Config { failure_after: Some(2), ..Config::default() });
        let mut replies = Replies::default();
        service.opened(Time::ZERO, SESSION, &mut replies);
        service.message(Time::ZERO, SESSION, PPID, &ping(1), &mut replies);
        service.message(Time::ZERO, SESSION, PPID, &ping(2), &mut replies);
        let said = replies.take();
        assert_eq!(said.len(), 5, "{said:?}");
        assert_eq!(said[3..], [Reply::Cookie(SESSION, emit_cookie(3)), Reply::Close(SESSION)]);
    }
}
