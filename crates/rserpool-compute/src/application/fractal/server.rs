//! The element of the fractal generator.
//!
//! It keeps the state of each session and has points computed by its world, a slice at a time ([`Compute`]), so that it
//! goes on listening. Slices keep a pace: see [`super::super::pace`].
//!
//! Cookies come before the first point, after every 10 messages of data, or after a second. A cookie follows the data it
//! covers, so nothing is computed twice unless data was lost with the element. (In the reference the number of messages
//! alone never triggers one, and the point it names has been sent already.)

use super::{Algorithm, Message, POINTS_MAX, PPID, Parameter, Progress};
use rserpool::element::{Replies, Service, SessionId};
use rserpool::{Load, Ppid, Time, Timers};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Points asked of the world at a time: 64 messages.
const SLICE: u32 = 64 * POINTS_MAX as u32;
/// Octets of data per second and session: 10 MB/s, two and a half million points.
const SLICE_PAUSE: Duration = Duration::from_nanos(SLICE as u64 * 4 * 100);
/// Pictures a session may have waiting while one is computed.
const WAITING_MAX: usize = 16;

/// Settings of the element.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Sessions at a time; more are ended at once. At least 1.
    pub sessions_max: usize,
    /// Data is sent at least this often, be it a point only.
    pub data_interval: Duration,
    /// A cookie at least this often while points are computed,
    pub cookie_interval: Duration,
    /// and after this many messages of data. At least 1.
    pub cookie_packets: u32,
    /// Ends each session after so many messages of data, to try fail-over; `None`: never.
    pub failure_after: Option<u64>,
    /// Sends a pattern instead of the picture.
    pub test_mode: bool,
}

impl Default for Config {
    /// As the reference.
    fn default() -> Self {
        Self {
            sessions_max: 4,
            data_interval: Duration::from_secs(1),
            cookie_interval: Duration::from_secs(1),
            cookie_packets: 10,
            failure_after: None,
            test_mode: false,
        }
    }
}

/// Names a computation between service and world. Never used twice by one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(pub u64);

/// Asks the world for points. Answered by [`Computed`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compute {
    /// Which computation.
    pub run: RunId,
    /// The picture.
    pub parameter: Parameter,
    /// The first point wanted, counted row by row.
    pub from: u64,
    /// How many at most. The world may stop earlier, after a tenth of a second say, but not before the first.
    pub count: u32,
}

impl Compute {
    /// Computes until all are there or `enough` says so.
    pub fn carry_out(&self, mut enough: impl FnMut() -> bool) -> Computed {
        let mut values = Vec::new();
        for value in super::Points::new(self.parameter, self.from).take(self.count as usize) {
            values.push(value);
            if enough() {
                break;
            }
        }
        Computed { run: self.run, values }
    }
}

/// The world has computed points. Those of unknown computations are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// Which computation.
    pub run: RunId,
    /// Points from the first one wanted on; at least one, unless there are no more.
    pub values: Vec<u32>,
}

#[derive(Debug, Default)]
struct Session {
    run: Option<Run>,
    waiting: VecDeque<Parameter>,
    packets: u64,
}

#[derive(Debug)]
struct Run {
    id: RunId,
    parameter: Parameter,
    /// The next point to compute.
    next: u64,
    /// Computed and not sent yet: the points before `next`.
    pending: Vec<u32>,
    data_at: Time,
    cookie_at: Time,
    packets_since_cookie: u32,
    /// When the next slice may be asked for.
    slice_at: Time,
}

impl Run {
    fn place(&self, point: u64) -> (u32, u32) {
        let width = u64::from(self.parameter.width);
        ((point % width) as u32, (point / width) as u32)
    }

    /// The next point to send.
    fn unsent(&self) -> u64 {
        self.next - self.pending.len() as u64
    }
}

/// The service, see the [module](self).
#[derive(Debug)]
pub struct Generator {
    config: Config,
    sessions: BTreeMap<SessionId, Session>,
    runs: BTreeMap<RunId, SessionId>,
    begun: u64,
    slices: Timers<RunId>,
}

impl Generator {
    /// A service without sessions.
    pub fn new(config: Config) -> Self {
        let config = Config {
            sessions_max: config.sessions_max.max(1),
            cookie_packets: config.cookie_packets.max(1),
            ..config
        };
        Self { config, sessions: BTreeMap::new(), runs: BTreeMap::new(), begun: 0, slices: Timers::default() }
    }

    /// The element goes: every session gets what is computed and a last cookie.
    pub fn shut_down(&mut self, now: Time, replies: &mut Replies<Compute>) {
        for (id, session) in &mut self.sessions {
            if let Some(run) = &mut session.run {
                while send_packet(now, *id, run, replies) {}
                give_cookie(now, *id, run, replies);
            }
            replies.close(*id);
        }
    }

    fn start(&mut self, now: Time, id: SessionId, progress: Progress, replies: &mut Replies<Compute>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Progress { mut parameter, at } = progress;
        if self.config.test_mode {
            parameter.algorithm = Algorithm::Other(0);
        }
        self.begun += 1;
        let run = RunId(self.begun);
        // A place outside of the picture, at its end say, leaves nothing to do.
        let next = u64::from(at.1) * u64::from(parameter.width) + u64::from(at.0.min(parameter.width));
        let mut state = Run {
            id: run,
            parameter,
            next: next.min(parameter.points()),
            pending: Vec::new(),
            data_at: now,
            cookie_at: now,
            packets_since_cookie: 0,
            slice_at: now,
        };
        give_cookie(now, id, &mut state, replies);
        session.run = Some(state);
        self.runs.insert(run, id);
        self.proceed(now, run, replies);
    }

    /// Asks for the next slice, now or at its time; or ends the picture.
    fn proceed(&mut self, now: Time, run: RunId, replies: &mut Replies<Compute>) {
        let Some(&id) = self.runs.get(&run) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(state) = &mut session.run else { return };
        if state.next < state.parameter.points() {
            if now < state.slice_at {
                return self.slices.set(run, state.slice_at);
            }
            state.slice_at = now + SLICE_PAUSE;
            let (parameter, from) = (state.parameter, state.next);
            return replies.wish(Compute { run, parameter, from, count: SLICE });
        }
        while send_packet(now, id, state, replies) {}
        replies.send(id, PPID, Message::End.emit());
        session.run = None;
        self.runs.remove(&run);
        if let Some(parameter) = session.waiting.pop_front() {
            self.start(now, id, Progress { parameter, at: (0, 0) }, replies);
        }
    }

    fn forget(&mut self, id: SessionId) {
        if let Some(run) = self.sessions.remove(&id).and_then(|session| session.run) {
            self.runs.remove(&run.id);
            self.slices.clear(&run.id);
        }
    }
}

/// Sends the oldest points that are computed; false if there are none.
fn send_packet(now: Time, id: SessionId, run: &mut Run, replies: &mut Replies<Compute>) -> bool {
    if run.pending.is_empty() {
        return false;
    }
    let at = run.place(run.unsent());
    let rest = run.pending.split_off(run.pending.len().min(POINTS_MAX));
    let values = std::mem::replace(&mut run.pending, rest);
    replies.send(id, PPID, Message::Data { at, values }.emit());
    run.data_at = now;
    run.packets_since_cookie += 1;
    true
}

fn give_cookie(now: Time, id: SessionId, run: &mut Run, replies: &mut Replies<Compute>) {
    run.cookie_at = now;
    run.packets_since_cookie = 0;
    replies.cookie(id, Progress { parameter: run.parameter, at: run.place(run.unsent()) }.emit());
}

impl Service for Generator {
    type Wish = Compute;
    type Fact = Computed;

    fn opened(&mut self, _: Time, session: SessionId, replies: &mut Replies<Compute>) {
        if self.sessions.len() >= self.config.sessions_max {
            return replies.close(session);
        }
        self.sessions.insert(session, Session::default());
    }

    fn resume(&mut self, now: Time, session: SessionId, cookie: &[u8], replies: &mut Replies<Compute>) {
        match Progress::parse(cookie) {
            Ok(progress) => self.start(now, session, progress, replies),
            Err(_) => replies.abort(session),
        }
    }

    fn message(
        &mut self,
        now: Time,
        id: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<Compute>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (PPID, Ok(Message::Parameter(parameter))) = (ppid, Message::parse(bytes)) else {
            return replies.abort(id);
        };
        if session.run.is_none() {
            self.start(now, id, Progress { parameter, at: (0, 0) }, replies);
        } else if session.waiting.len() < WAITING_MAX {
            session.waiting.push_back(parameter);
        } else {
            replies.abort(id);
        }
    }

    fn closed(&mut self, _: Time, session: SessionId, _: &mut Replies<Compute>) {
        self.forget(session);
    }

    fn informed(&mut self, now: Time, fact: Computed, replies: &mut Replies<Compute>) {
        let Some(&id) = self.runs.get(&fact.run) else { return };
        let config = self.config;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Some(run) = &mut session.run else { return };
        let left = run.parameter.points() - run.next;
        let values = &fact.values[..fact.values.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        debug_assert!(!values.is_empty(), "the world computes at least a point");
        run.next += values.len() as u64;
        run.pending.extend(values);
        loop {
            let is_due = run.pending.len() >= POINTS_MAX || now >= run.data_at + config.data_interval;
            if !is_due || !send_packet(now, id, run, replies) {
                break;
            }
            session.packets += 1;
            let fails = config.failure_after.is_some_and(|enough| session.packets >= enough);
            if fails || run.packets_since_cookie >= config.cookie_packets {
                give_cookie(now, id, run, replies);
            }
            if fails {
                return replies.close(id);
            }
        }
        if now >= run.cookie_at + config.cookie_interval {
            give_cookie(now, id, run, replies);
        }
        self.proceed(now, fact.run, replies);
    }

    fn deadline(&self) -> Option<Time> {
        self.slices.next()
    }

    fn wake(&mut self, now: Time, replies: &mut Replies<Compute>) {
        while let Some((_, run)) = self.slices.take_due(now) {
            self.proceed(now, run, replies);
        }
    }

    fn load(&self) -> Load {
        Load::from_ratio(self.runs.len() as u64, self.config.sessions_max as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::element::Reply;

    const SESSION: SessionId = SessionId(1);

    #[derive(Debug, PartialEq)]
    enum Said {
        Data((u32, u32), usize),
        End,
        Cookie((u32, u32)),
        Closed,
    }
    use Said::{Closed, Cookie, Data, End};

    /// Lets the generator compute until it has nothing to say any more; a slice takes `span`.
    fn computed(
        generator: &mut Generator,
        replies: &mut Replies<Compute>,
        span: Duration,
        most: usize,
    ) -> Vec<Said> {
        let (mut said, mut now) = (Vec::new(), Time::ZERO);
        loop {
            let mut wishes = Vec::new();
            for reply in replies.take() {
                match reply {
                    Reply::Wish(wish) => wishes.push(wish),
                    Reply::Cookie(_, cookie) => {
                        said.push(Cookie(Progress::parse(&cookie).expect("its own").at))
                    }
                    Reply::Close(_) => said.push(Closed),
                    Reply::Send(_, _, bytes) => said.push(match Message::parse(&bytes).expect("its own") {
                        Message::Data { at, values } => Data(at, values.len()),
                        Message::End => End,
                        other => panic!("{other:?}"),
                    }),
                    other => panic!("{other:?}"),
                }
            }
            now += span;
            if let Some(wish) = wishes.pop() {
                let mut left = most;
                let fact = wish.carry_out(|| {
                    left -= 1;
                    left == 0
                });
                generator.informed(now, fact, replies);
            } else if let Some(due) = generator.deadline() {
                now = now.max(due);
                generator.wake(now, replies);
            } else {
                return said;
            }
        }
    }

    fn asked(config: Config, parameter: Parameter) -> (Generator, Replies<Compute>) {
        let (mut generator, mut replies) = (Generator::new(config), Replies::default());
        generator.opened(Time::ZERO, SESSION, &mut replies);
        generator.message(Time::ZERO, SESSION, PPID, &Message::Parameter(parameter).emit(), &mut replies);
        (generator, replies)
    }

    fn small() -> Parameter {
        Parameter { width: 100, height: 40, iterations: 5, ..Parameter::default() }
    }

    #[test]
    fn a_picture_is_a_cookie_data_with_cookies_and_an_end() {
        let (mut generator, mut replies) = asked(Config::default(), small());
        assert_eq!(generator.load(), Load::from_ratio(1, 4));
        let said = computed(&mut generator, &mut replies, Duration::from_millis(1), usize::MAX);
        assert_eq!(said[..3], [Cookie((0, 0)), Data((0, 0), 324), Data((24, 3), 324)]);
        // 10 messages have 3,240 points.
        assert_eq!(said[11], Cookie((40, 32)));
        assert_eq!(said[said.len() - 2..], [Data((88, 38), 112), End]);
        assert_eq!(said.len(), 1 + 12 + 1 + 1 + 1);
        assert_eq!(generator.load(), Load::default());
    }

    #[test]
    fn slow_points_are_sent_every_second_with_a_cookie_that_covers_them() {
        let (mut generator, mut replies) = asked(Config::default(), small());
        let said = computed(&mut generator, &mut replies, Duration::from_millis(400), 10);
        assert_eq!(
            said[..5],
            [Cookie((0, 0)), Data((0, 0), 30), Cookie((30, 0)), Data((30, 0), 30), Cookie((60, 0))]
        );
    }

    #[test]
    fn another_element_goes_on_where_the_cookie_says() {
        let (mut generator, mut replies) = (Generator::new(Config::default()), Replies::default());
        generator.opened(Time::ZERO, SESSION, &mut replies);
        let cookie = Progress { parameter: small(), at: (90, 39) }.emit();
        generator.resume(Time::ZERO, SESSION, &cookie, &mut replies);
        let said = computed(&mut generator, &mut replies, Duration::ZERO, usize::MAX);
        assert_eq!(said, [Cookie((90, 39)), Data((90, 39), 10), End]);
        for beyond in [(0, 40), (7, u32::MAX), (u32::MAX, 39)] {
            let cookie = Progress { parameter: small(), at: beyond }.emit();
            generator.resume(Time::ZERO, SESSION, &cookie, &mut replies);
            let said = computed(&mut generator, &mut replies, Duration::ZERO, usize::MAX);
            assert_eq!(said[1..], [End], "{beyond:?}");
        }
    }

    #[test]
    fn it_fails_on_purpose_with_a_cookie() {
        let config = Config { failure_after: Some(2), ..Config::default() };
        let (mut generator, mut replies) = asked(config, small());
        let said = computed(&mut generator, &mut replies, Duration::ZERO, usize::MAX);
        assert_eq!(said, [Cookie((0, 0)), Data((0, 0), 324), Data((24, 3), 324), Cookie((48, 6)), Closed]);
    }

    #[test]
    fn pictures_wait_for_one_another_and_nonsense_aborts() {
        let (mut generator, mut replies) = asked(Config::default(), small());
        let again = Message::Parameter(small()).emit();
        generator.message(Time::ZERO, SESSION, PPID, &again, &mut replies);
        let said = computed(&mut generator, &mut replies, Duration::ZERO, usize::MAX);
        assert_eq!(said.iter().filter(|said| **said == End).count(), 2);
        generator.message(Time::ZERO, SESSION, PPID, &Message::End.emit(), &mut replies);
        assert_eq!(replies.take(), [Reply::Abort(SESSION)]);
    }

    #[test]
    fn the_end_of_a_session_ends_its_computing() {
        let (mut generator, mut replies) = asked(Config::default(), small());
        let wish = replies.take().pop();
        generator.closed(Time::ZERO, SESSION, &mut replies);
        let Some(Reply::Wish(wish)) = wish else { panic!("{wish:?}") };
        generator.informed(Time::ZERO, wish.carry_out(|| false), &mut replies);
        assert_eq!(replies.take(), []);
        assert_eq!((generator.load(), generator.deadline()), (Load::default(), None));
    }
}
