//! Echo, Discard, Daytime and CharGen: services without a wire form of their own, and the two kinds of users they need.
//!
//! Daytime says the time once and ends the session; CharGen sends its characters until the user has gone (or `messages`
//! are sent). Neither has a state to save, so none of the four sends cookies. Echo answers with the PPID of the question.
//!
//! CharGen keeps a pace, see [`super::pace`]; in RSPLIB 3.4.4 it cannot be started at all.

use super::pace::Pace;
use super::{Application, Desk};
use rserpool::element::{Replies, Service, SessionId};
use rserpool::user::{self, FailoverCause, SessionOptions};
use rserpool::{Load, PoolHandle, Ppid, Time, Timers};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What the plain services use in their own messages.
pub const PPID: Ppid = Ppid(0);

/// A message of CharGen.
pub const CHARGEN_MESSAGE: usize = 1024;

/// Which of the plain services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every message goes back.
    Echo,
    /// Every message is dropped.
    Discard,
    /// The time, then the end of the session.
    Daytime,
    /// Characters without end.
    CharGen,
}

/// Settings of a plain service.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Which one.
    pub kind: Kind,
    /// Sessions CharGen serves at a time; more are ended at once.
    pub sessions_max: usize,
    /// Messages CharGen sends to a session before it ends it; `None`: it never does.
    pub messages: Option<u64>,
    /// Octets per second that CharGen sends to each session.
    pub rate: u64,
}

impl Config {
    /// This service with the defaults of the reference: 4 sessions for CharGen, no end. A megabyte per second each.
    pub fn new(kind: Kind) -> Self {
        Self { kind, sessions_max: 4, messages: None, rate: 1_000_000 }
    }
}

/// Daytime asks its world what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WhatTime(pub SessionId);

/// The answer: a line as the reference writes it, `Sunday, 22-November-2026 07:52:51.229432` and a newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIs(pub SessionId, pub String);

/// The service, see the [module](self).
#[derive(Debug)]
pub struct Plain {
    config: Config,
    /// CharGen's sessions, each with its pace and how many messages it has sent.
    running: BTreeMap<SessionId, (Pace, u64)>,
    due: Timers<SessionId>,
}

impl Plain {
    /// A service without sessions.
    pub fn new(config: Config) -> Self {
        Self { config, running: BTreeMap::new(), due: Timers::default() }
    }

    fn generate(&mut self, now: Time, session: SessionId, replies: &mut Replies<WhatTime>) {
        let Some((pace, sent)) = self.running.get_mut(&session) else { return };
        loop {
            if self.config.messages.is_some_and(|enough| *sent >= enough) {
                return replies.close(session);
            }
            if !pace.take(now, CHARGEN_MESSAGE) {
                return self.due.set(session, pace.next());
            }
            *sent += 1;
            replies.send(session, PPID, characters());
        }
    }
}

/// What CharGen sends: octets 30 to 127, again and again.
pub fn characters() -> Vec<u8> {
    (30..128u8).cycle().take(CHARGEN_MESSAGE).collect()
}

impl Service for Plain {
    type Wish = WhatTime;
    type Fact = TimeIs;

    fn opened(&mut self, now: Time, session: SessionId, replies: &mut Replies<WhatTime>) {
        match self.config.kind {
            Kind::Echo | Kind::Discard => {}
            Kind::Daytime => replies.wish(WhatTime(session)),
            Kind::CharGen if self.running.len() >= self.config.sessions_max => replies.close(session),
            Kind::CharGen => {
                self.running.insert(session, (Pace::new(self.config.rate), 0));
                self.generate(now, session, replies);
            }
        }
    }

    fn resume(&mut self, _: Time, _: SessionId, _: &[u8], _: &mut Replies<WhatTime>) {}

    fn message(
        &mut self,
        _now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<WhatTime>,
    ) {
        if self.config.kind == Kind::Echo {
            replies.send(session, ppid, bytes);
        }
    }

    fn closed(&mut self, _: Time, session: SessionId, _: &mut Replies<WhatTime>) {
        self.running.remove(&session);
        self.due.clear(&session);
    }

    fn informed(&mut self, _: Time, TimeIs(session, line): TimeIs, replies: &mut Replies<WhatTime>) {
        replies.send(session, PPID, line);
        replies.close(session);
    }

    fn deadline(&self) -> Option<Time> {
        self.due.next()
    }

    fn wake(&mut self, now: Time, replies: &mut Replies<WhatTime>) {
        while let Some((_, session)) = self.due.take_due(now) {
            self.generate(now, session, replies);
        }
    }

    fn load(&self) -> Load {
        Load::default()
    }
}

/// Lines that may be under way, unanswered. More are asked for as answers come.
const WINDOW: usize = 64;
/// Octets per second of a user that is not answered.
const UNANSWERED_RATE: u64 = 5_000_000;

/// Settings of a user that sends lines.
#[derive(Clone, Copy, Debug)]
pub struct LinesConfig {
    /// The pool.
    pub handle: PoolHandle,
    /// Lines are answered (Echo); otherwise they are only sent (Discard).
    pub answered: bool,
    /// How long an answer may take before the element counts as hung.
    pub patience: Duration,
}

/// What a user that sends lines tells its world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinesEvent {
    /// It wants another line: answered by [`LinesFact`].
    More,
    /// An answer. `expected`: it is the line it answers.
    Answer {
        /// Its octets.
        bytes: Vec<u8>,
        /// True if it is what an echo of the oldest unanswered line is.
        expected: bool,
    },
    /// What became of the session, for people.
    Session(user::Event),
    /// Everything is sent, and answered where answers come.
    Done,
}

/// What its world tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinesFact {
    /// The line asked for, as it shall be sent; empty ones are passed over.
    Line(Vec<u8>),
    /// There are no more.
    End,
}

/// A user that sends lines: of Echo, Discard, or any service of text. After a fail-over the unanswered lines are sent
/// again, so an echo may run twice, but each line is answered once.
#[derive(Debug)]
pub struct Lines {
    config: LinesConfig,
    session: Option<user::SessionId>,
    connected: bool,
    /// Sent and not answered, the oldest first.
    unanswered: VecDeque<Vec<u8>>,
    /// Not sent yet.
    waiting: VecDeque<Vec<u8>>,
    asked: usize,
    ended: bool,
    done: bool,
    pace: Pace,
    again: Option<Time>,
    patience_ends: Option<Time>,
}

impl Lines {
    /// A user that will ask for lines once it has an element.
    pub fn new(config: LinesConfig) -> Self {
        Self {
            config,
            session: None,
            connected: false,
            unanswered: VecDeque::new(),
            waiting: VecDeque::new(),
            asked: 0,
            ended: false,
            done: false,
            pace: Pace::new(UNANSWERED_RATE),
            again: None,
            patience_ends: None,
        }
    }

    fn proceed(&mut self, now: Time, desk: &mut Desk<'_, LinesEvent>) {
        let Some(session) = self.session.filter(|_| !self.done) else { return };
        while self.connected && !self.waiting.is_empty() {
            let line = &self.waiting[0];
            if !self.config.answered && !self.pace.take(now, line.len()) {
                self.again = Some(self.pace.next());
                break;
            }
            if desk.user.send(now, session, PPID, line.clone()).is_err() {
                self.connected = false; // `Connected` follows
                break;
            }
            let line = self.waiting.pop_front().expect("seen in the condition");
            if self.config.answered {
                self.patience_ends.get_or_insert(now + self.config.patience);
                self.unanswered.push_back(line);
            }
        }
        while !self.ended
            && self.connected
            && self.asked + self.waiting.len() + self.unanswered.len() < WINDOW
        {
            self.asked += 1;
            desk.say(LinesEvent::More);
        }
        // Without any line there is nobody to be reached either: an element is waited for all the same, so that success
        // means that the pool serves.
        if self.ended && self.connected && self.waiting.is_empty() && self.unanswered.is_empty() {
            self.done = true;
            desk.user.close(now, session);
            desk.say(LinesEvent::Done);
        }
    }
}

impl Application for Lines {
    type Fact = LinesFact;
    type Event = LinesEvent;

    fn begin(&mut self, now: Time, desk: &mut Desk<'_, LinesEvent>) {
        self.session = Some(desk.user.open(now, self.config.handle, SessionOptions::default()));
    }

    fn heard(&mut self, now: Time, event: user::Event, desk: &mut Desk<'_, LinesEvent>) {
        match event {
            user::Event::Message { bytes, .. } if self.config.answered => {
                let expected = self.unanswered.pop_front().is_some_and(|line| line == bytes);
                self.patience_ends = (!self.unanswered.is_empty()).then(|| now + self.config.patience);
                desk.say(LinesEvent::Answer { bytes, expected });
            }
            user::Event::Message { .. } => {}
            user::Event::Connected { .. } => {
                self.connected = true;
                desk.say(LinesEvent::Session(event));
            }
            user::Event::FailingOver { .. } => {
                self.connected = false;
                self.patience_ends = None;
                while let Some(line) = self.unanswered.pop_back() {
                    self.waiting.push_front(line);
                }
                desk.say(LinesEvent::Session(event));
            }
            _ => desk.say(LinesEvent::Session(event)),
        }
        self.proceed(now, desk);
    }

    fn informed(&mut self, now: Time, fact: LinesFact, desk: &mut Desk<'_, LinesEvent>) {
        self.asked = self.asked.saturating_sub(1);
        match fact {
            LinesFact::Line(line) if line.is_empty() => {}
            LinesFact::Line(line) => self.waiting.push_back(line),
            LinesFact::End => self.ended = true,
        }
        self.proceed(now, desk);
    }

    fn deadline(&self) -> Option<Time> {
        [self.again, self.patience_ends].into_iter().flatten().min()
    }

    fn wake(&mut self, now: Time, desk: &mut Desk<'_, LinesEvent>) {
        self.again.take_if(|due| *due <= now);
        if self.patience_ends.take_if(|due| *due <= now).is_some()
            && let Some(session) = self.session
        {
            desk.user.fail_over(now, session, true);
        }
        self.proceed(now, desk);
    }
}

/// Settings of a user that only listens.
#[derive(Clone, Copy, Debug)]
pub struct ListenConfig {
    /// The pool.
    pub handle: PoolHandle,
    /// The element ends the session when it has said everything (Daytime). Otherwise a session that ends goes on with
    /// another element (CharGen).
    pub once: bool,
    /// How long an element may be silent before it counts as hung.
    pub patience: Duration,
}

/// What a user that listens tells its world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenEvent {
    /// A message.
    Said(Vec<u8>),
    /// What became of the session, for people.
    Session(user::Event),
    /// The element has said everything.
    Done,
}

/// A user that listens: of Daytime or CharGen.
#[derive(Debug)]
pub struct Listen {
    config: ListenConfig,
    session: Option<user::SessionId>,
    heard: bool,
    patience_ends: Option<Time>,
}

impl Listen {
    /// A user that opens its session at once.
    pub fn new(config: ListenConfig) -> Self {
        Self { config, session: None, heard: false, patience_ends: None }
    }
}

impl Application for Listen {
    type Fact = std::convert::Infallible;
    type Event = ListenEvent;

    fn begin(&mut self, now: Time, desk: &mut Desk<'_, ListenEvent>) {
        self.session = Some(desk.user.open(now, self.config.handle, SessionOptions::default()));
    }

    fn heard(&mut self, now: Time, event: user::Event, desk: &mut Desk<'_, ListenEvent>) {
        match event {
            user::Event::Message { bytes, .. } => {
                self.heard = true;
                self.patience_ends = Some(now + self.config.patience);
                desk.say(ListenEvent::Said(bytes));
            }
            // Who has said everything ends the session: that is no failure, and nobody else is asked.
            user::Event::FailingOver { session, cause: FailoverCause::Ended, .. }
                if self.config.once && self.heard =>
            {
                self.patience_ends = None;
                desk.user.close(now, session);
                desk.say(ListenEvent::Done);
            }
            user::Event::Connected { .. } => {
                self.patience_ends = Some(now + self.config.patience);
                desk.say(ListenEvent::Session(event));
            }
            user::Event::FailingOver { .. } => {
                self.patience_ends = None;
                desk.say(ListenEvent::Session(event));
            }
            _ => desk.say(ListenEvent::Session(event)),
        }
    }

    fn informed(&mut self, _: Time, fact: Self::Fact, _: &mut Desk<'_, ListenEvent>) {
        match fact {}
    }

    fn deadline(&self) -> Option<Time> {
        self.patience_ends
    }

    fn wake(&mut self, now: Time, desk: &mut Desk<'_, ListenEvent>) {
        if self.patience_ends.take_if(|due| *due <= now).is_some()
            && let Some(session) = self.session
        {
            desk.user.fail_over(now, session, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::element::Reply;

    const SESSION: SessionId = SessionId(1);

    fn told(kind: Kind, call: impl FnOnce(&mut Plain, &mut Replies<WhatTime>)) -> Vec<Reply<WhatTime>> {
        let mut replies = Replies::default();
        call(&mut Plain::new(Config::new(kind)), &mut replies);
        replies.take()
    }

    #[test]
    fn echo_answers_with_the_ppid_of_the_question_and_discard_is_silent() {
        let hello = |plain: &mut Plain, replies: &mut Replies<WhatTime>| {
            plain.opened(Time::ZERO, SESSION, replies);
            plain.message(Time::ZERO, SESSION, Ppid(77), b"hello\n", replies);
        };
        assert_eq!(told(Kind::Echo, hello), [Reply::Send(SESSION, Ppid(77), b"hello\n".to_vec())]);
        assert_eq!(told(Kind::Discard, hello), []);
    }

    #[test]
    fn daytime_says_its_line_and_ends_the_session() {
        let line = "Sunday, 22-November-2026 07:52:51.229432\n";
        let said = told(Kind::Daytime, |plain, replies| {
            plain.opened(Time::ZERO, SESSION, replies);
            plain.informed(Time::ZERO, TimeIs(SESSION, line.into()), replies);
        });
        let expected = [
            Reply::Wish(WhatTime(SESSION)),
            Reply::Send(SESSION, PPID, line.as_bytes().to_vec()),
            Reply::Close(SESSION),
        ];
        assert_eq!(said, expected);
    }

    #[test]
    fn chargen_keeps_its_pace_and_stops_with_the_session() {
        let mut plain = Plain::new(Config::new(Kind::CharGen));
        let mut replies = Replies::default();
        plain.opened(Time::ZERO, SESSION, &mut replies);
        let mut sent = replies.take().len();
        while plain.deadline().is_some_and(|due| due < Time::from_millis(1_000)) {
            plain.wake(plain.deadline().expect("seen above"), &mut replies);
            sent += replies.take().len();
        }
        assert!((970..=1_000).contains(&sent), "{sent} messages of 1,024 octets in a second at 1 MB/s");
        plain.closed(Time::ZERO, SESSION, &mut replies);
        assert_eq!(plain.deadline(), None);
        assert_eq!((characters()[0], characters()[97], characters()[98]), (30, 127, 30));
    }

    #[test]
    fn chargen_ends_the_session_after_so_many_messages_and_turns_away_whom_it_cannot_serve() {
        let config = Config { messages: Some(2), sessions_max: 1, ..Config::new(Kind::CharGen) };
        let mut plain = Plain::new(config);
        let mut replies = Replies::default();
        plain.opened(Time::ZERO, SESSION, &mut replies);
        let said = replies.take();
        assert!(matches!(said[..], [Reply::Send(..), Reply::Send(..), Reply::Close(SESSION)]), "{said:?}");
        plain.opened(Time::ZERO, SessionId(2), &mut replies);
        assert_eq!(replies.take(), [Reply::Close(SessionId(2))]);
    }
}
