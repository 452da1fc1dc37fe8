//! The user of the scripting service: sends its work to an element and brings the output back, elsewhere if need be.
//!
//! ```text
//!   Opening --Ready--> Uploading --Status(0)--> Working --Status(code)--> Downloading --empty--> done
//!      ^                                                    |
//!      '---- pause <---- not ready, silence, nonsense, session lost; code ≠ 0 and trials left
//! ```
//!
//! A trial is an execution that ended with a code other than 0; after the last one its output is brought back all the
//! same, for whoever looks for the reason. What had come of an output is void when a session is lost
//! ([`SubmitterEvent::Again`]).

use super::super::pingpong::NoWish;
use super::{DATA_MAX, Hash, Message, PPID, Reason};
use crate::application::{Application, Desk};
use rserpool::user::{self, SessionOptions};
use rserpool::{ElementId, PoolHandle, Random, Time, Timers};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Elements that failed and are avoided as long as there are others.
const AVOIDED_MAX: usize = 16;

/// An element that is lost sooner than this is a reason to pause.
const WORKED: Duration = Duration::from_secs(1);

/// Settings of a user.
#[derive(Clone, Debug)]
pub struct SubmitterConfig {
    /// The pool.
    pub handle: PoolHandle,
    /// The archive.
    pub input: Arc<[u8]>,
    /// The environment and its hash.
    pub environment: Option<(Hash, Arc<[u8]>)>,
    /// Executions that may end with a code other than 0 in all; at least 1.
    pub trials: u32,
    /// Before the next element is tried.
    pub retry_delay: Duration,
    /// How long an element may take for its next message while files are on their way.
    pub transmit_timeout: Duration,
    /// A silence of this length is broken with a keep-alive,
    pub keep_alive_interval: Duration,
    /// which has to be answered within this.
    pub keep_alive_timeout: Duration,
}

impl SubmitterConfig {
    /// The settings of the reference.
    pub fn new(handle: PoolHandle, input: Arc<[u8]>) -> Self {
        Self {
            handle,
            input,
            environment: None,
            trials: 3,
            retry_delay: Duration::from_secs(10),
            transmit_timeout: Duration::from_millis(59_500),
            keep_alive_interval: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(10),
        }
    }
}

/// Why the work begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The element has no room.
    NotReady(Reason, String),
    /// The element said something that makes no sense now.
    Nonsense,
    /// It was silent for too long.
    Silence,
    /// The session is lost.
    Lost,
    /// The program ended with this code, and there are trials left.
    Code(u32),
}

/// What a user tells its world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubmitterEvent {
    /// An element has taken the work: its name.
    Taken(Option<ElementId>, String),
    /// The environment was in its cache, or had to be uploaded.
    Environment {
        /// It had to be uploaded.
        needed: bool,
    },
    /// The program runs.
    Working,
    /// The program has ended with this code; its output follows.
    Ended(u32),
    /// A piece of the output.
    Output(Vec<u8>),
    /// It begins anew; output so far is void.
    Again(Trouble),
    /// The output is complete; the code of the program.
    Done(u32),
    /// What became of the session, for people.
    Session(user::Event),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Uploading { environment: bool },
    Working,
    Downloading { code: u32 },
    Pausing,
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Again,
    /// The next message should have come.
    Silence,
    KeepAlive,
}

/// A user, see the [module](self).
#[derive(Debug)]
pub struct Submitter {
    config: SubmitterConfig,
    random: Random,
    session: Option<user::SessionId>,
    stage: Stage,
    trials: u32,
    avoided: BTreeSet<ElementId>,
    /// When the element of now said that it was ready.
    taken: Option<Time>,
    timers: Timers<Timer>,
}

impl Submitter {
    /// A user that opens its session at once.
    pub fn new(config: SubmitterConfig, random: Random) -> Self {
        Self {
            config,
            random,
            session: None,
            stage: Stage::Pausing,
            trials: 0,
            avoided: BTreeSet::new(),
            taken: None,
            timers: Timers::default(),
        }
    }

    fn open(&mut self, now: Time, desk: &mut Desk<'_, SubmitterEvent>) {
        let options = SessionOptions { avoid: self.avoided.clone(), ..SessionOptions::default() };
        self.session = Some(desk.user.open(now, self.config.handle, options));
        self.stage = Stage::Opening;
    }

    /// Gives the session up and begins anew, after a pause or at once.
    fn again(&mut self, now: Time, why: Trouble, desk: &mut Desk<'_, SubmitterEvent>) {
        let Some(session) = self.session.take() else { return };
        if let Some(element) = desk.user.element(session) {
            if self.avoided.len() >= AVOIDED_MAX {
                self.avoided.clear();
            }
            self.avoided.insert(element);
        }
        desk.user.close(now, session);
        for timer in [Timer::Silence, Timer::KeepAlive] {
            self.timers.clear(&timer);
        }
        // An element that died at work says nothing about the others: the next one is asked at once. Unless it died soon,
        // which may be the work's fault.
        let worked = self.taken.take().is_some_and(|at| now.since(at) >= WORKED);
        let at_once = matches!(why, Trouble::Code(_)) || (why == Trouble::Lost && worked);
        desk.say(SubmitterEvent::Again(why));
        if at_once {
            return self.open(now, desk);
        }
        self.stage = Stage::Pausing;
        let pause = self.random.jittered(self.config.retry_delay, 125);
        self.timers.set(Timer::Again, now + pause);
    }

    fn upload(&mut self, now: Time, file: &[u8], desk: &mut Desk<'_, SubmitterEvent>) {
        for data in file.chunks(DATA_MAX).chain([&[][..]]) {
            self.send(now, Message::Upload(data.to_vec()), desk);
        }
    }

    /// A session that is lost meanwhile is told as `FailingOver`.
    fn send(&mut self, now: Time, message: Message, desk: &mut Desk<'_, SubmitterEvent>) {
        if let Some(session) = self.session {
            let _ = desk.user.send(now, session, PPID, message.emit());
        }
    }

    fn message(&mut self, now: Time, message: Message, desk: &mut Desk<'_, SubmitterEvent>) {
        self.expect(now);
        match (message, self.stage) {
            (Message::KeepAlive, _) => self.send(now, Message::KeepAliveAck(None), desk),
            (Message::KeepAliveAck(_), _) => {}
            (Message::NotReady { reason, info }, Stage::Opening) => {
                self.again(now, Trouble::NotReady(reason, info), desk);
            }
            (Message::Ready { info }, Stage::Opening) => {
                let element = self.session.and_then(|session| desk.user.element(session));
                desk.say(SubmitterEvent::Taken(element, info));
                self.taken = Some(now);
                let environment = self.config.environment.as_ref().map(|(hash, _)| *hash);
                self.stage = Stage::Uploading { environment: environment.is_some() };
                if let Some(hash) = environment {
                    self.send(now, Message::Environment { hash, needed: false }, desk);
                }
                let input = self.config.input.clone();
                self.upload(now, &input, desk);
                self.expect(now);
            }
            (Message::Environment { hash, needed }, Stage::Uploading { environment: true }) => {
                let Some((ours, file)) = self.config.environment.clone().filter(|(ours, _)| *ours == hash)
                else {
                    return self.again(now, Trouble::Nonsense, desk);
                };
                debug_assert_eq!(ours, hash);
                desk.say(SubmitterEvent::Environment { needed });
                self.stage = Stage::Uploading { environment: false };
                if needed {
                    self.upload(now, &file, desk);
                }
            }
            (Message::Status(0), Stage::Uploading { environment: false }) => {
                self.stage = Stage::Working;
                desk.say(SubmitterEvent::Working);
                self.expect(now);
            }
            (Message::Status(code), Stage::Working) => {
                if code != 0 {
                    self.trials += 1;
                    if self.trials < self.config.trials {
                        return self.again(now, Trouble::Code(code), desk);
                    }
                }
                self.stage = Stage::Downloading { code };
                desk.say(SubmitterEvent::Ended(code));
                self.expect(now);
            }
            (Message::Download(data), Stage::Downloading { code }) if data.is_empty() => {
                self.stage = Stage::Done;
                for timer in [Timer::Silence, Timer::KeepAlive] {
                    self.timers.clear(&timer);
                }
                if let Some(session) = self.session.take() {
                    desk.user.close(now, session);
                }
                desk.say(SubmitterEvent::Done(code));
            }
            (Message::Download(data), Stage::Downloading { .. }) => desk.say(SubmitterEvent::Output(data)),
            _ => self.again(now, Trouble::Nonsense, desk),
        }
    }

    /// The element is to be heard again in time: what is waited for in this stage.
    fn expect(&mut self, now: Time) {
        self.timers.clear(&Timer::Silence);
        self.timers.clear(&Timer::KeepAlive);
        match self.stage {
            Stage::Working => self.timers.set(Timer::KeepAlive, now + self.config.keep_alive_interval),
            Stage::Opening | Stage::Uploading { .. } | Stage::Downloading { .. } => {
                self.timers.set(Timer::Silence, now + self.config.transmit_timeout);
            }
            Stage::Pausing | Stage::Done => {}
        }
    }
}

impl Application for Submitter {
    type Fact = NoWish;
    type Event = SubmitterEvent;

    fn begin(&mut self, now: Time, desk: &mut Desk<'_, SubmitterEvent>) {
        self.open(now, desk);
    }

    fn heard(&mut self, now: Time, event: user::Event, desk: &mut Desk<'_, SubmitterEvent>) {
        match &event {
            user::Event::Message { ppid, bytes, .. } => {
                return match Message::parse(bytes) {
                    Ok(message) if *ppid == PPID => self.message(now, message, desk),
                    _ => self.again(now, Trouble::Nonsense, desk),
                };
            }
            user::Event::Connected { .. } => self.expect(now),
            user::Event::FailingOver { from, .. } => {
                let (from, reached) = (*from, self.stage != Stage::Opening);
                desk.say(SubmitterEvent::Session(event));
                // An element that was not reached, or that ended before its first word, is replaced by the session
                // itself; what was begun elsewhere is begun anew here.
                if reached {
                    self.avoided.extend(from);
                    self.again(now, Trouble::Lost, desk);
                } else {
                    self.timers.clear(&Timer::Silence);
                }
                return;
            }
            _ => {}
        }
        desk.say(SubmitterEvent::Session(event));
    }

    fn informed(&mut self, _: Time, fact: NoWish, _: &mut Desk<'_, SubmitterEvent>) {
        match fact {}
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn wake(&mut self, now: Time, desk: &mut Desk<'_, SubmitterEvent>) {
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Again => self.open(now, desk),
                Timer::Silence => self.again(now, Trouble::Silence, desk),
                Timer::KeepAlive => {
                    self.send(now, Message::KeepAlive, desk);
                    self.timers.set(Timer::Silence, now + self.config.keep_alive_timeout);
                }
            }
        }
    }
}
