//! The element of the scripting service: the order of things. Files and processes are wishes to its world.
//!
//! ```text
//!   Input --Upload(empty)--> Lookup --cached, or no environment------------> Working --Ended--> Download --> Cleaning
//!                              '--not there--> Environment --Upload(empty)--> Check --'
//! ```
//!
//! Each stage has a time limit, or (Working) keep-alives. Whoever breaks the order, is silent, or sends more than allowed
//! is aborted, and what it had here is removed. A keep-alive is answered in any stage: it asks for nothing. (The reference
//! aborts before the program runs.) A user's session is ended only when its files are gone.

use super::super::pace::Pace;
use super::{DATA_MAX, Hash, Message, PPID, Reason};
use rserpool::element::{Replies, Service, SessionId};
use rserpool::{Load, Ppid, Time, Timers};
use std::collections::BTreeMap;
use std::time::Duration;

/// Octets of output per second and session.
const DOWNLOAD_RATE: u64 = 10_000_000;

/// Settings of the element.
#[derive(Clone, Debug)]
pub struct Config {
    /// Runs at a time; more are turned away. At least 1.
    pub sessions_max: usize,
    /// What the element calls itself, for people.
    pub name: String,
    /// How long a user may take for each message of an upload.
    pub transmit_timeout: Duration,
    /// Between two keep-alives while the program runs.
    pub keep_alive_interval: Duration,
    /// How long the user may take to answer one.
    pub keep_alive_timeout: Duration,
    /// Most octets of an archive.
    pub input_max: u64,
    /// Most octets of an environment.
    pub environment_max: u64,
}

impl Default for Config {
    /// One run, the time-outs of the reference, and 64 MiB for each file.
    fn default() -> Self {
        Self {
            sessions_max: 1,
            name: "(none)".into(),
            transmit_timeout: Duration::from_secs(30),
            keep_alive_interval: Duration::from_secs(15),
            keep_alive_timeout: Duration::from_secs(10),
            input_max: 64 << 20,
            environment_max: 64 << 20,
        }
    }
}

/// Names a run between service and world. Never used twice by one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// A file of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum File {
    /// The archive.
    Input,
    /// The environment.
    Environment,
}

/// What the service asks of its world. The wishes of a run are carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A fresh place for this run.
    Prepare(RunId),
    /// Append to a file.
    Store(RunId, File, Vec<u8>),
    /// Is this environment in the cache? If so, give the run a copy. Answered by `Found`.
    Lookup(RunId, Hash),
    /// The environment is complete: has it this hash? Then keep it in the cache. Answered by `Checked`.
    Check(RunId, Hash),
    /// Unpack the archive and run what is in it. Answered by `Ended`.
    Start(RunId),
    /// The next octets of the output, this many at most. Answered by `Output`.
    Read(RunId, usize),
    /// End and remove everything of the run. Answered by `Removed`. Said once for each run, whatever happened.
    Remove(RunId),
}

/// What the world tells. Facts of unknown runs are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The environment is there, or not.
    Found(RunId, bool),
    /// The environment has the hash it should have, or not.
    Checked(RunId, bool),
    /// The program has ended: its exit code, 128 + number if a signal ended it.
    Ended(RunId, u32),
    /// Output; empty: its end.
    Output(RunId, Vec<u8>),
    /// The program wrote no output, or something went wrong here (the disk is full, the archive none).
    Failed(RunId),
    /// Nothing is left of the run.
    Removed(RunId),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Input { hash: Option<Hash>, octets: u64 },
    Lookup { hash: Hash },
    Environment { hash: Hash, octets: u64 },
    Check,
    Working,
    Download,
    Cleaning,
}

#[derive(Debug)]
struct Run {
    id: RunId,
    stage: Stage,
    pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The next message of an upload should have come.
    Upload(SessionId),
    KeepAlive(SessionId),
    NoAnswer(SessionId),
    Read(SessionId),
}

/// The service, see the [module](self).
#[derive(Debug)]
pub struct Host {
    config: Config,
    sessions: BTreeMap<SessionId, Run>,
    runs: BTreeMap<RunId, SessionId>,
    timers: Timers<Timer>,
    begun: u64,
    turned_away: u64,
}

impl Host {
    /// A service without runs.
    pub fn new(config: Config) -> Self {
        let config = Config { sessions_max: config.sessions_max.max(1), ..config };
        Self {
            config,
            sessions: BTreeMap::new(),
            runs: BTreeMap::new(),
            timers: Timers::default(),
            begun: 0,
            turned_away: 0,
        }
    }

    /// Runs begun, and sessions turned away because there were too many.
    pub fn counts(&self) -> (u64, u64) {
        (self.begun, self.turned_away)
    }

    fn start(&mut self, now: Time, session: SessionId, replies: &mut Replies<Wish>) {
        let Some(run) = self.sessions.get_mut(&session) else { return };
        run.stage = Stage::Working;
        replies.send(session, PPID, Message::Status(0).emit());
        replies.wish(Wish::Start(run.id));
        self.timers.clear(&Timer::Upload(session));
        self.timers.set(Timer::KeepAlive(session), now + self.config.keep_alive_interval);
    }

    /// A message of an upload. False: it must not come now, or is too much.
    fn upload(&mut self, now: Time, session: SessionId, data: Vec<u8>, replies: &mut Replies<Wish>) -> bool {
        let (input_max, environment_max) = (self.config.input_max, self.config.environment_max);
        let Some(run) = self.sessions.get_mut(&session) else { return false };
        self.timers.set(Timer::Upload(session), now + self.config.transmit_timeout);
        let (id, count) = (run.id, data.len() as u64);
        match (&mut run.stage, data.is_empty()) {
            (Stage::Input { octets, .. }, false) => {
                *octets += count;
                let fits = *octets <= input_max;
                replies.wish(Wish::Store(id, File::Input, data));
                fits
            }
            (Stage::Input { hash: Some(hash), .. }, true) => {
                let hash = *hash;
                run.stage = Stage::Lookup { hash };
                self.timers.clear(&Timer::Upload(session));
                replies.wish(Wish::Lookup(id, hash));
                true
            }
            (Stage::Input { hash: None, .. }, true) => {
                self.start(now, session, replies);
                true
            }
            (Stage::Environment { octets, .. }, false) => {
                *octets += count;
                let fits = *octets <= environment_max;
                replies.wish(Wish::Store(id, File::Environment, data));
                fits
            }
            (Stage::Environment { hash, .. }, true) => {
                let hash = *hash;
                run.stage = Stage::Check;
                self.timers.clear(&Timer::Upload(session));
                replies.wish(Wish::Check(id, hash));
                true
            }
            _ => false,
        }
    }

    fn read(&mut self, now: Time, session: SessionId, replies: &mut Replies<Wish>) {
        let Some(run) = self.sessions.get_mut(&session) else { return };
        if run.pace.take(now, DATA_MAX) {
            replies.wish(Wish::Read(run.id, DATA_MAX));
        } else {
            self.timers.set(Timer::Read(session), run.pace.next());
        }
    }

    /// The session is over, or has to be.
    fn forget(&mut self, session: SessionId, replies: &mut Replies<Wish>) {
        for timer in [Timer::Upload, Timer::KeepAlive, Timer::NoAnswer, Timer::Read] {
            self.timers.clear(&timer(session));
        }
        if let Some(run) = self.sessions.remove(&session) {
            self.runs.remove(&run.id);
            if run.stage != Stage::Cleaning {
                replies.wish(Wish::Remove(run.id));
            }
        }
    }
}

impl Service for Host {
    type Wish = Wish;
    type Fact = Fact;

    fn opened(&mut self, now: Time, session: SessionId, replies: &mut Replies<Wish>) {
        let info = self.config.name.clone();
        if self.sessions.len() >= self.config.sessions_max {
            self.turned_away += 1;
            let message = Message::NotReady { reason: Reason::FullyLoaded, info };
            replies.send(session, PPID, message.emit());
            return replies.close(session);
        }
        self.begun += 1;
        let id = RunId(self.begun);
        let stage = Stage::Input { hash: None, octets: 0 };
        self.sessions.insert(session, Run { id, stage, pace: Pace::new(DOWNLOAD_RATE) });
        self.runs.insert(id, session);
        replies.wish(Wish::Prepare(id));
        replies.send(session, PPID, Message::Ready { info }.emit());
        self.timers.set(Timer::Upload(session), now + self.config.transmit_timeout);
    }

    /// There are no cookies of this service.
    fn resume(&mut self, _: Time, session: SessionId, _: &[u8], replies: &mut Replies<Wish>) {
        replies.abort(session);
    }

    fn message(
        &mut self,
        now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<Wish>,
    ) {
        let Some(run) = self.sessions.get_mut(&session) else { return };
        let message = Message::parse(bytes).ok().filter(|_| ppid == PPID);
        let fits = match message {
            Some(Message::Environment { hash: theirs, .. }) => match &mut run.stage {
                Stage::Input { hash: hash @ None, .. } => {
                    *hash = Some(theirs);
                    self.timers.set(Timer::Upload(session), now + self.config.transmit_timeout);
                    true
                }
                _ => false,
            },
            Some(Message::Upload(data)) => self.upload(now, session, data, replies),
            Some(Message::KeepAlive) => {
                replies.send(session, PPID, Message::KeepAliveAck(Some(0)).emit());
                true
            }
            Some(Message::KeepAliveAck(_)) => {
                self.timers.clear(&Timer::NoAnswer(session));
                if run.stage == Stage::Working {
                    self.timers.set(Timer::KeepAlive(session), now + self.config.keep_alive_interval);
                }
                true
            }
            _ => false,
        };
        if !fits {
            replies.abort(session);
        }
    }

    fn closed(&mut self, _: Time, session: SessionId, replies: &mut Replies<Wish>) {
        self.forget(session, replies);
    }

    fn informed(&mut self, now: Time, fact: Fact, replies: &mut Replies<Wish>) {
        let (Fact::Found(id, _)
        | Fact::Checked(id, _)
        | Fact::Ended(id, _)
        | Fact::Output(id, _)
        | Fact::Failed(id)
        | Fact::Removed(id)) = fact;
        let Some(&session) = self.runs.get(&id) else { return };
        let Some(run) = self.sessions.get_mut(&session) else { return };
        match (fact, run.stage) {
            (Fact::Found(_, found), Stage::Lookup { hash }) => {
                replies.send(session, PPID, Message::Environment { hash, needed: !found }.emit());
                if found {
                    self.start(now, session, replies);
                } else {
                    run.stage = Stage::Environment { hash, octets: 0 };
                    self.timers.set(Timer::Upload(session), now + self.config.transmit_timeout);
                }
            }
            (Fact::Checked(_, true), Stage::Check) => self.start(now, session, replies),
            (Fact::Ended(_, code), Stage::Working) => {
                run.stage = Stage::Download;
                self.timers.clear(&Timer::KeepAlive(session));
                self.timers.clear(&Timer::NoAnswer(session));
                replies.send(session, PPID, Message::Status(code).emit());
                self.read(now, session, replies);
            }
            (Fact::Output(_, octets), Stage::Download) => {
                let over = octets.is_empty();
                replies.send(session, PPID, Message::Download(octets).emit());
                if over {
                    run.stage = Stage::Cleaning;
                    replies.wish(Wish::Remove(id));
                } else {
                    self.read(now, session, replies);
                }
            }
            (Fact::Removed(_), Stage::Cleaning) => replies.close(session),
            (Fact::Checked(_, false) | Fact::Failed(_), _) => replies.abort(session),
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn wake(&mut self, now: Time, replies: &mut Replies<Wish>) {
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Upload(session) | Timer::NoAnswer(session) => replies.abort(session),
                Timer::KeepAlive(session) => {
                    replies.send(session, PPID, Message::KeepAlive.emit());
                    self.timers.set(Timer::NoAnswer(session), now + self.config.keep_alive_timeout);
                }
                Timer::Read(session) => self.read(now, session, replies),
            }
        }
    }

    fn load(&self) -> Load {
        Load::from_ratio(self.sessions.len() as u64, self.config.sessions_max as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::element::Reply;

    const SESSION: SessionId = SessionId(1);
    const RUN: RunId = RunId(1);
    const HASH: Hash = [7; 20];

    struct Stage {
        host: Host,
        replies: Replies<Wish>,
        now: Time,
    }

    impl Stage {
        fn new() -> Self {
            let mut stage =
                Self { host: Host::new(Config::default()), replies: Replies::default(), now: Time::ZERO };
            stage.host.opened(stage.now, SESSION, &mut stage.replies);
            let info = "(none)".into();
            assert_eq!(stage.said(), [Reply::Wish(Wish::Prepare(RUN)), sent(Message::Ready { info })]);
            stage
        }

        fn hears(&mut self, message: Message) -> Vec<Reply<Wish>> {
            self.host.message(self.now, SESSION, PPID, &message.emit(), &mut self.replies);
            self.said()
        }

        fn learns(&mut self, fact: Fact) -> Vec<Reply<Wish>> {
            self.host.informed(self.now, fact, &mut self.replies);
            self.said()
        }

        fn waits(&mut self) -> Vec<Reply<Wish>> {
            self.now = self.host.deadline().expect("something is waited for");
            self.host.wake(self.now, &mut self.replies);
            self.said()
        }

        fn said(&mut self) -> Vec<Reply<Wish>> {
            self.replies.take()
        }
    }

    fn sent(message: Message) -> Reply<Wish> {
        Reply::Send(SESSION, PPID, message.emit())
    }

    #[test]
    fn a_run_without_environment() {
        let mut stage = Stage::new();
        let store = Wish::Store(RUN, File::Input, b"tar".to_vec());
        assert_eq!(stage.hears(Message::Upload(b"tar".to_vec())), [Reply::Wish(store)]);
        let begins = [sent(Message::Status(0)), Reply::Wish(Wish::Start(RUN))];
        assert_eq!(stage.hears(Message::Upload(Vec::new())), begins);
        assert_eq!(stage.hears(Message::KeepAlive), [sent(Message::KeepAliveAck(Some(0)))]);
        let ended = [sent(Message::Status(3)), Reply::Wish(Wish::Read(RUN, DATA_MAX))];
        assert_eq!(stage.learns(Fact::Ended(RUN, 3)), ended);
        let more = [sent(Message::Download(b"out".to_vec())), Reply::Wish(Wish::Read(RUN, DATA_MAX))];
        assert_eq!(stage.learns(Fact::Output(RUN, b"out".to_vec())), more);
        let over = [sent(Message::Download(Vec::new())), Reply::Wish(Wish::Remove(RUN))];
        assert_eq!(stage.learns(Fact::Output(RUN, Vec::new())), over);
        assert_eq!(stage.learns(Fact::Removed(RUN)), [Reply::Close(SESSION)]);
        stage.host.closed(stage.now, SESSION, &mut stage.replies);
        assert_eq!((stage.said(), stage.host.load()), (vec![], Load::default()));
    }

    #[test]
    fn an_environment_is_uploaded_only_if_it_is_not_there() {
        let asked = || {
            let mut stage = Stage::new();
            assert_eq!(stage.hears(Message::Environment { hash: HASH, needed: false }), []);
            assert_eq!(stage.hears(Message::Upload(Vec::new())), [Reply::Wish(Wish::Lookup(RUN, HASH))]);
            stage
        };
        let begins = [sent(Message::Status(0)), Reply::Wish(Wish::Start(RUN))];
        let answer = |needed| sent(Message::Environment { hash: HASH, needed });
        assert_eq!(asked().learns(Fact::Found(RUN, true)), [&[answer(false)], &begins[..]].concat());
        let mut stage = asked();
        assert_eq!(stage.learns(Fact::Found(RUN, false)), [answer(true)]);
        let store = Wish::Store(RUN, File::Environment, b"env".to_vec());
        assert_eq!(stage.hears(Message::Upload(b"env".to_vec())), [Reply::Wish(store)]);
        assert_eq!(stage.hears(Message::Upload(Vec::new())), [Reply::Wish(Wish::Check(RUN, HASH))]);
        assert_eq!(stage.learns(Fact::Checked(RUN, true)), begins);
        let mut stage = asked();
        stage.learns(Fact::Found(RUN, false));
        stage.hears(Message::Upload(Vec::new()));
        assert_eq!(stage.learns(Fact::Checked(RUN, false)), [Reply::Abort(SESSION)]);
    }

    #[test]
    fn whoever_breaks_the_order_is_aborted_and_its_place_removed() {
        let wrong: [(&[Message], Message); 5] = [
            (&[], Message::Download(vec![1])),
            (&[], Message::Status(0)),
            (&[Message::Upload(Vec::new())], Message::Upload(vec![1])),
            (&[Message::Upload(Vec::new())], Message::Environment { hash: HASH, needed: false }),
            (
                &[Message::Environment { hash: HASH, needed: false }],
                Message::Environment { hash: HASH, needed: false },
            ),
        ];
        for (before, message) in wrong {
            let mut stage = Stage::new();
            before.iter().for_each(|message| drop(stage.hears(message.clone())));
            assert_eq!(stage.hears(message), [Reply::Abort(SESSION)]);
            stage.host.closed(stage.now, SESSION, &mut stage.replies);
            assert_eq!(stage.said(), [Reply::Wish(Wish::Remove(RUN))]);
            assert_eq!(stage.host.deadline(), None);
        }
    }

    #[test]
    fn silence_ends_a_session_in_every_stage_that_waits_for_the_user() {
        let mut stage = Stage::new();
        assert_eq!(stage.waits(), [Reply::Abort(SESSION)]);
        assert_eq!(stage.now, Time::from_millis(30_000));
        let mut stage = Stage::new();
        stage.hears(Message::Upload(Vec::new()));
        assert_eq!(stage.waits(), [sent(Message::KeepAlive)]);
        stage.hears(Message::KeepAliveAck(None));
        assert_eq!(stage.waits(), [sent(Message::KeepAlive)]);
        assert_eq!(stage.waits(), [Reply::Abort(SESSION)]);
        assert_eq!(stage.now, Time::from_millis(40_000));
    }

    #[test]
    fn too_much_is_aborted_and_too_many_are_turned_away() {
        let mut stage = Stage::new();
        stage.host.config.input_max = 3;
        assert_eq!(stage.hears(Message::Upload(b"abc".to_vec())).len(), 1);
        assert_eq!(stage.hears(Message::Upload(b"d".to_vec())).last(), Some(&Reply::Abort(SESSION)));
        let other = SessionId(2);
        stage.host.opened(stage.now, other, &mut stage.replies);
        let not_ready = Message::NotReady { reason: Reason::FullyLoaded, info: "(none)".into() };
        assert_eq!(stage.said(), [Reply::Send(other, PPID, not_ready.emit()), Reply::Close(other)]);
        assert_eq!((stage.host.load(), stage.host.counts()), (Load::FULL, (1, 1)));
    }
}
