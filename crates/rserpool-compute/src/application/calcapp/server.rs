//! The element of CalcApp: processor sharing. With n jobs each gets an n-th of the capacity.
//!
//! ```text
//!   Request --jobs < max--> accepted --completed = size--> Complete, gone
//!      |                      |  due cookie, keep-alive
//!      '--full--> Reject      '--session over, or no answer to a keep-alive--> gone
//! ```
//!
//! Work is counted in calculations times 10⁹, so that capacity × nanoseconds / jobs is exact but for the last unit.
//! Where the reference differs: jobs of a lost session end at once (there they burn capacity until a keep-alive times
//! out), and a repeated Request of a running job is accepted once more instead of computed twice.

use super::{Kind, Message, PPID, Progress};
use rserpool::element::{Replies, Service, SessionId};
use rserpool::{Load, Ppid, Random, Time, Timers};
use std::collections::BTreeMap;
use std::time::Duration;

/// Units of work in a calculation.
const UNITS: u128 = 1_000_000_000;

/// Two cookies of a job are at least this far apart, whatever the settings say.
const COOKIE_GAP: Duration = Duration::from_millis(10);

/// Settings of the element.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Calculations per second, at least 1.
    pub capacity: u64,
    /// Jobs at a time; more are rejected. At least 1.
    pub jobs_max: usize,
    /// Between two keep-alives of a job.
    pub keep_alive_interval: Duration,
    /// How long a user may take to answer one.
    pub keep_alive_timeout: Duration,
    /// A cookie at least this often,
    pub cookie_interval: Duration,
    /// and after this many calculations, whichever is first.
    pub cookie_calculations: u64,
    /// How often in a thousand a shutdown gives every job a last cookie; otherwise what came after the one before is
    /// lost, as in a crash.
    pub clean_shutdown_permille: u32,
}

impl Default for Config {
    /// As the reference.
    fn default() -> Self {
        Self {
            capacity: 1_000_000,
            jobs_max: 10,
            keep_alive_interval: Duration::from_millis(2_500),
            keep_alive_timeout: Duration::from_millis(2_500),
            cookie_interval: Duration::from_secs(5),
            cookie_calculations: 5_000_000,
            clean_shutdown_permille: 1_000,
        }
    }
}

/// What the element has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Since it began.
    pub uptime: Duration,
    /// Calculations it could have done in that time.
    pub available: u64,
    /// Calculations it has done.
    pub used: u64,
    /// Jobs it is at.
    pub jobs: usize,
    /// Jobs accepted, resumed ones included.
    pub accepted: u64,
    /// Jobs that began where a cookie said.
    pub resumed: u64,
    /// Jobs rejected.
    pub rejected: u64,
    /// Jobs completed.
    pub completed: u64,
}

impl Usage {
    /// Used calculations / available ones, 0 to 1.
    pub fn utilisation(&self) -> f64 {
        if self.available == 0 { 0.0 } else { self.used as f64 / self.available as f64 }
    }

    /// Capacity that nobody used. (The reference subtracts from the uptime in microseconds, a slip.)
    pub fn wasted(&self) -> u64 {
        self.available.saturating_sub(self.used)
    }
}

/// Told to the world, for its statistics: a job is complete, and this is the state after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// The job's calculations.
    pub size: u64,
    /// What the element has done so far.
    pub usage: Usage,
}

type Key = (SessionId, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The job is done, unless others come in between.
    Complete(Key),
    Cookie(Key),
    KeepAlive(Key),
    NoAnswer(Key),
}

#[derive(Debug)]
struct Job {
    size: u64,
    /// In units.
    done: u128,
    /// Calculations at the last cookie, and when it was.
    saved: (u64, Time),
}

impl Job {
    fn total(&self) -> u128 {
        u128::from(self.size) * UNITS
    }

    fn completed(&self) -> u64 {
        (self.done / UNITS) as u64
    }
}

/// The service, see the [module](self).
#[derive(Debug)]
pub struct Calculator {
    config: Config,
    random: Random,
    jobs: BTreeMap<Key, Job>,
    timers: Timers<Timer>,
    begun: Option<Time>,
    /// Work is counted up to here.
    counted: Time,
    /// In units.
    used: u128,
    usage: Usage,
}

impl Calculator {
    /// An element without jobs.
    pub fn new(config: Config, random: Random) -> Self {
        let config = Config { capacity: config.capacity.max(1), jobs_max: config.jobs_max.max(1), ..config };
        Self {
            config,
            random,
            jobs: BTreeMap::new(),
            timers: Timers::default(),
            begun: None,
            counted: Time::ZERO,
            used: 0,
            usage: Usage::default(),
        }
    }

    /// What it has done up to the last fact it was told.
    pub fn usage(&self) -> Usage {
        let uptime = self.begun.map_or(Duration::ZERO, |begun| self.counted.since(begun));
        let available = u128::from(self.config.capacity) * uptime.as_nanos() / UNITS;
        Usage {
            uptime,
            available: u64::try_from(available).unwrap_or(u64::MAX),
            used: u64::try_from(self.used / UNITS).unwrap_or(u64::MAX),
            jobs: self.jobs.len(),
            ..self.usage
        }
    }

    /// The element goes: every job gets a current cookie (or, with the chance set for it, none) and is dropped here.
    pub fn shut_down(&mut self, now: Time, replies: &mut Replies<Completed>) {
        self.count(now);
        if self.random.below(1_000) < u64::from(self.config.clean_shutdown_permille) {
            for (&(session, job), state) in &self.jobs {
                let progress = Progress { job, size: state.size, completed: state.completed() };
                replies.cookie(session, progress.emit());
            }
        }
        for key in self.jobs.keys().copied().collect::<Vec<_>>() {
            self.drop_job(key);
        }
    }

    /// Counts the work done since it was counted last.
    fn count(&mut self, now: Time) {
        if self.begun.is_none() {
            self.begun = Some(now);
            self.counted = now;
        }
        let elapsed = now.since(self.counted).as_nanos();
        self.counted = self.counted.max(now);
        if self.jobs.is_empty() {
            return;
        }
        let share = elapsed * u128::from(self.config.capacity) / self.jobs.len() as u128;
        for job in self.jobs.values_mut() {
            let step = share.min(job.total() - job.done);
            job.done += step;
            self.used += step;
        }
    }

    /// The number of jobs has changed: all of them are done at another moment, and their cookies are due at another one.
    fn plan(&mut self, now: Time) {
        let (jobs, capacity) = (self.jobs.len() as u128, u128::from(self.config.capacity));
        let after = |units: u128| now + nanos((units * jobs).div_ceil(capacity));
        for (&key, job) in &self.jobs {
            self.timers.set(Timer::Complete(key), after(job.total() - job.done));
            let (saved, at) = job.saved;
            let next = u128::from(saved.saturating_add(self.config.cookie_calculations)) * UNITS;
            let by_work = after(next.saturating_sub(job.done));
            let due = by_work.min(at + self.config.cookie_interval).max(at + COOKIE_GAP);
            // The first one of a resumed job is due at once.
            self.timers.set(Timer::Cookie(key), if saved == 0 && by_work <= now { now } else { due });
        }
    }

    fn add(
        &mut self,
        now: Time,
        key: Key,
        size: u64,
        completed: u64,
        replies: &mut Replies<Completed>,
    ) -> bool {
        let (session, job) = key;
        let answer = |kind, replies: &mut Replies<Completed>| {
            replies.send(session, PPID, Message::of(kind, job).emit())
        };
        if self.jobs.get(&key).is_some_and(|known| known.size == size) {
            answer(Kind::Accept, replies);
            return false;
        }
        if self.jobs.contains_key(&key) || self.jobs.len() >= self.config.jobs_max {
            self.usage.rejected += 1;
            answer(Kind::Reject, replies);
            return false;
        }
        self.usage.accepted += 1;
        // A resumed job counts its first cookie from zero too, so it gives one at once if it is far advanced: if this
        // element dies soon, the next one shall not begin even further back.
        self.jobs.insert(key, Job { size, done: u128::from(completed) * UNITS, saved: (0, now) });
        self.timers.set(Timer::KeepAlive(key), now + self.config.keep_alive_interval);
        answer(Kind::Accept, replies);
        self.plan(now);
        true
    }

    fn drop_job(&mut self, key: Key) {
        self.jobs.remove(&key);
        for timer in [Timer::Complete, Timer::Cookie, Timer::KeepAlive, Timer::NoAnswer] {
            self.timers.clear(&timer(key));
        }
    }

    fn complete(&mut self, now: Time, key: Key, replies: &mut Replies<Completed>) {
        let Some(job) = self.jobs.get(&key) else { return };
        let (session, id) = key;
        let size = job.size;
        let message = Message { kind: Kind::Complete, job: id, size, completed: size };
        replies.send(session, PPID, message.emit());
        self.usage.completed += 1;
        self.drop_job(key);
        self.plan(now);
        replies.wish(Completed { size, usage: self.usage() });
    }

    fn give_cookie(&mut self, now: Time, key: Key, replies: &mut Replies<Completed>) {
        let (session, id) = key;
        let Some(job) = self.jobs.get_mut(&key) else { return };
        let completed = job.completed();
        job.saved = (completed, now);
        replies.cookie(session, Progress { job: id, size: job.size, completed }.emit());
        self.plan(now);
    }
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

impl Service for Calculator {
    type Wish = Completed;
    type Fact = super::super::pingpong::NoWish;

    fn opened(&mut self, now: Time, _: SessionId, _: &mut Replies<Completed>) {
        self.count(now);
    }

    fn resume(&mut self, now: Time, session: SessionId, cookie: &[u8], replies: &mut Replies<Completed>) {
        self.count(now);
        match Progress::parse(cookie) {
            Ok(Progress { job, size, completed }) => {
                if self.add(now, (session, job), size, completed, replies) {
                    self.usage.resumed += 1;
                }
            }
            Err(_) => replies.abort(session),
        }
    }

    fn message(
        &mut self,
        now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<Completed>,
    ) {
        self.count(now);
        let (PPID, Ok(message)) = (ppid, Message::parse(bytes)) else { return replies.abort(session) };
        let key = (session, message.job);
        match message.kind {
            Kind::Request => {
                self.add(now, key, message.size, 0, replies);
            }
            Kind::KeepAlive if self.jobs.contains_key(&key) => {
                replies.send(session, PPID, Message::of(Kind::KeepAliveAck, message.job).emit());
            }
            Kind::KeepAliveAck if self.jobs.contains_key(&key) => {
                self.timers.clear(&Timer::NoAnswer(key));
                self.timers.set(Timer::KeepAlive(key), now + self.config.keep_alive_interval);
            }
            // Of a job that is not, or is no longer: it crossed with our last word.
            Kind::KeepAlive | Kind::KeepAliveAck => {}
            Kind::Accept | Kind::Reject | Kind::Complete => replies.abort(session),
        }
    }

    fn closed(&mut self, now: Time, session: SessionId, _: &mut Replies<Completed>) {
        self.count(now);
        let range = (session, 0)..=(session, u32::MAX);
        for key in self.jobs.range(range).map(|(key, _)| *key).collect::<Vec<_>>() {
            self.drop_job(key);
        }
        self.plan(now);
    }

    fn informed(&mut self, _: Time, fact: Self::Fact, _: &mut Replies<Completed>) {
        match fact {}
    }

    fn deadline(&self) -> Option<Time> {
        // Its time counts from the first moment on, with jobs or without.
        if self.begun.is_none() { Some(Time::ZERO) } else { self.timers.next() }
    }

    fn wake(&mut self, now: Time, replies: &mut Replies<Completed>) {
        self.count(now);
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Complete(key) => {
                    // The last unit may be missing: shares are rounded down.
                    let missing = self.jobs.get(&key).map(|job| job.total() - job.done);
                    if missing.is_some_and(|units| units < UNITS) {
                        self.used += missing.unwrap_or_default();
                        self.complete(now, key, replies);
                    } else {
                        self.plan(now);
                    }
                }
                Timer::Cookie(key) => self.give_cookie(now, key, replies),
                Timer::KeepAlive((session, job)) => {
                    replies.send(session, PPID, Message::of(Kind::KeepAlive, job).emit());
                    self.timers.set(Timer::NoAnswer((session, job)), now + self.config.keep_alive_timeout);
                }
                Timer::NoAnswer(key) => {
                    self.drop_job(key);
                    self.plan(now);
                }
            }
        }
    }

    fn load(&self) -> Load {
        Load::from_ratio(self.jobs.len() as u64, self.config.jobs_max as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::element::Reply;

    const SESSION: SessionId = SessionId(1);

    struct Stage {
        calculator: Calculator,
        replies: Replies<Completed>,
    }

    impl Stage {
        fn new(config: Config) -> Self {
            Self { calculator: Calculator::new(config, Random::from_seed(1)), replies: Replies::default() }
        }

        fn hears(&mut self, at: u64, message: Message) -> Vec<Said> {
            let now = Time::from_millis(at);
            self.calculator.message(now, SESSION, PPID, &message.emit(), &mut self.replies);
            self.said(now)
        }

        fn requests(&mut self, at: u64, job: u32, size: u64) -> Vec<Said> {
            self.hears(at, Message { kind: Kind::Request, job, size, completed: 0 })
        }

        /// Lets time pass until then; everything said with its millisecond.
        fn until(&mut self, end: u64) -> Vec<Said> {
            let mut said = Vec::new();
            while let Some(due) = self.calculator.deadline().filter(|due| *due <= Time::from_millis(end)) {
                self.calculator.wake(due, &mut self.replies);
                said.extend(self.said(due));
            }
            said
        }

        fn said(&mut self, now: Time) -> Vec<Said> {
            let at = now.as_nanos().div_ceil(1_000_000);
            let say = |reply| match reply {
                Reply::Send(_, PPID, bytes) => {
                    let message = Message::parse(&bytes).expect("its own");
                    Some(Said::Message(at, message.kind, message.job))
                }
                Reply::Cookie(_, cookie) => {
                    let Progress { job, completed, .. } = Progress::parse(&cookie).expect("its own");
                    Some(Said::Cookie(at, job, completed))
                }
                Reply::Wish(_) => None,
                other => panic!("{other:?}"),
            };
            self.replies.take().into_iter().filter_map(say).collect()
        }
    }

    #[derive(Debug, PartialEq, Eq)]
    enum Said {
        Message(u64, Kind, u32),
        Cookie(u64, u32, u64),
    }
    use Said::{Cookie, Message as Sent};

    fn quiet() -> Config {
        let long = Duration::from_secs(1_000);
        Config {
            keep_alive_interval: long,
            cookie_interval: long,
            cookie_calculations: u64::MAX,
            ..Config::default()
        }
    }

    #[test]
    fn jobs_share_the_capacity() {
        let mut stage = Stage::new(quiet());
        assert_eq!(stage.requests(0, 1, 1_000_000), [Sent(0, Kind::Accept, 1)]);
        // Half done; the other half takes twice as long, since there are two.
        assert_eq!(stage.requests(500, 2, 1_000_000), [Sent(500, Kind::Accept, 2)]);
        assert_eq!(stage.until(1_499), []);
        assert_eq!(stage.until(1_500), [Sent(1_500, Kind::Complete, 1)]);
        assert_eq!(stage.until(2_500), [Sent(2_000, Kind::Complete, 2)]);
        let usage = stage.calculator.usage();
        assert_eq!((usage.used, usage.available, usage.completed), (2_000_000, 2_000_000, 2));
        assert_eq!((usage.utilisation(), usage.wasted()), (1.0, 0));
    }

    #[test]
    fn a_full_element_rejects_and_says_so_in_its_load() {
        let mut stage = Stage::new(Config { jobs_max: 2, ..quiet() });
        stage.requests(0, 1, 1_000);
        assert_eq!(stage.calculator.load(), Load::from_ratio(1, 2));
        stage.requests(0, 2, 1_000);
        assert_eq!(stage.calculator.load(), Load::FULL);
        assert_eq!(stage.requests(0, 3, 1_000), [Sent(0, Kind::Reject, 3)]);
        // The same once more is no other job.
        assert_eq!(stage.requests(0, 2, 1_000), [Sent(0, Kind::Accept, 2)]);
        assert_eq!(stage.requests(0, 2, 7), [Sent(0, Kind::Reject, 2)]);
        assert_eq!(stage.calculator.usage().rejected, 2);
    }

    #[test]
    fn cookies_come_by_work_or_by_time_and_continue_elsewhere() {
        let config =
            Config { cookie_calculations: 400_000, cookie_interval: Duration::from_millis(300), ..quiet() };
        let mut stage = Stage::new(config);
        stage.requests(0, 1, 1_000_000);
        // 300 ms come before 400,000 calculations while it is alone.
        let said = stage.until(1_000);
        assert_eq!(said[..2], [Cookie(300, 1, 300_000), Cookie(600, 1, 600_000)]);
        let by_work = Config { cookie_interval: Duration::from_secs(9), ..config };
        let mut stage = Stage::new(by_work);
        stage.requests(0, 1, 1_000_000);
        let said = stage.until(500);
        assert_eq!(said, [Cookie(400, 1, 400_000)]);
        let mut other = Stage::new(by_work);
        let cookie = Progress { job: 1, size: 1_000_000, completed: 400_000 }.emit();
        other.calculator.resume(Time::ZERO, SESSION, &cookie, &mut other.replies);
        // Far advanced, so it is saved here at once, too.
        assert_eq!(other.said(Time::ZERO), [Sent(0, Kind::Accept, 1)]);
        let expected = [Cookie(0, 1, 400_000), Cookie(400, 1, 800_000), Sent(600, Kind::Complete, 1)];
        assert_eq!(other.until(600), expected);
        assert_eq!(other.calculator.usage().resumed, 1);
    }

    #[test]
    fn whoever_does_not_answer_keep_alives_loses_the_job_silently() {
        let config = Config {
            keep_alive_interval: Duration::from_millis(100),
            keep_alive_timeout: Duration::from_millis(50),
            ..quiet()
        };
        let mut stage = Stage::new(config);
        stage.requests(0, 1, 1_000_000);
        assert_eq!(stage.until(140), [Sent(100, Kind::KeepAlive, 1)]);
        assert_eq!(stage.hears(140, Message::of(Kind::KeepAliveAck, 1)), []);
        assert_eq!(stage.until(2_000), [Sent(240, Kind::KeepAlive, 1)]);
        assert_eq!(stage.calculator.usage().jobs, 0);
        assert_eq!(stage.hears(2_000, Message::of(Kind::KeepAlive, 1)), []);
    }

    #[test]
    fn the_end_of_a_session_frees_its_share_at_once() {
        let mut stage = Stage::new(quiet());
        stage.requests(0, 1, 1_000_000);
        let request = Message { kind: Kind::Request, job: 1, size: 1_000_000, completed: 0 };
        stage.calculator.message(Time::ZERO, SessionId(2), PPID, &request.emit(), &mut stage.replies);
        stage.calculator.closed(Time::from_millis(1_000), SessionId(2), &mut stage.replies);
        stage.replies.take();
        assert_eq!(stage.until(2_000), [Sent(1_500, Kind::Complete, 1)]);
    }

    #[test]
    fn a_clean_shutdown_leaves_a_current_cookie_and_an_unclean_one_none() {
        for (permille, expected) in [(1_000, vec![Cookie(250, 1, 250_000)]), (0, vec![])] {
            let mut stage = Stage::new(Config { clean_shutdown_permille: permille, ..quiet() });
            stage.requests(0, 1, 1_000_000);
            let now = Time::from_millis(250);
            stage.calculator.shut_down(now, &mut stage.replies);
            assert_eq!(stage.said(now), expected);
            assert_eq!(stage.until(9_000), []);
        }
    }

    #[test]
    fn nonsense_aborts_the_session() {
        let mut stage = Stage::new(quiet());
        let now = Time::ZERO;
        stage.calculator.message(now, SESSION, PPID, &[1, 0, 0, 24], &mut stage.replies);
        assert_eq!(stage.replies.take(), [Reply::Abort(SESSION)]);
        stage.calculator.message(
            now,
            SESSION,
            Ppid(0),
            &Message::of(Kind::KeepAlive, 1).emit(),
            &mut stage.replies,
        );
        assert_eq!(stage.replies.take(), [Reply::Abort(SESSION)]);
        stage.calculator.resume(now, SESSION, &[0; 19], &mut stage.replies);
        assert_eq!(stage.replies.take(), [Reply::Abort(SESSION)]);
    }

    #[test]
    fn the_largest_job_is_no_trouble() {
        let mut stage = Stage::new(Config { capacity: u64::MAX, ..quiet() });
        stage.requests(0, 1, u64::MAX);
        stage.requests(0, 2, u64::MAX);
        assert_eq!(stage.until(2_000).len(), 2);
        let mut stage = Stage::new(Config { capacity: 0, ..quiet() });
        stage.requests(0, 1, u64::MAX);
        assert_eq!(
            stage.until(1_000_000).iter().filter(|said| matches!(said, Sent(_, Kind::Complete, _))).count(),
            0
        );
    }
}
