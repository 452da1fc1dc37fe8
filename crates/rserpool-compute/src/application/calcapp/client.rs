//! The user of CalcApp: jobs come at random moments, wait in a queue, and are computed one at a time, each in a session of
//! its own.
//!
//! ```text
//!   Idle --next job--> Connecting --Request--> Asked --Accept--> Processing --Complete--> Idle
//!                        ^   \                   |                   |
//!                        |    '--cookie echoed---'                   |
//!                        '-- Reject, silence, session lost: another element; without a cookie the job is asked anew
//! ```
//!
//! A timer runs in every stage, also after a fail-over, whether it was one by cookie or not: a silent new element holds
//! nobody up for ever, as it does in the reference. The pause after a Reject blocks nothing.

use super::statistics::{Counts, JobRecord};
use super::{Kind, Message, PPID};
use crate::application::pingpong::NoWish;
use crate::application::{Application, Desk};
use rserpool::user::{self, SessionOptions};
use rserpool::{PoolHandle, Random, Time, Timers};
use std::collections::VecDeque;
use std::time::Duration;

/// Before a job that was rejected is asked of the next element.
const REJECT_PAUSE: Duration = Duration::from_secs(1);
/// Jobs that may wait. More than that come only if the pool serves nobody; they are not even made.
const QUEUE_MAX: usize = 100_000;

/// Settings of a user.
#[derive(Clone, Debug)]
pub struct CustomerConfig {
    /// The pool.
    pub handle: PoolHandle,
    /// Mean of the negative exponential pauses between jobs; zero: each job comes when the one before is complete.
    pub job_interval: Duration,
    /// Mean of the negative exponential sizes, in calculations; at least 1.
    pub job_size: u64,
    /// Jobs in all; `None`: without end.
    pub jobs: Option<u64>,
    /// Between two keep-alives.
    pub keep_alive_interval: Duration,
    /// How long an element may take to answer a Request, a cookie echo or a keep-alive.
    pub keep_alive_timeout: Duration,
}

impl CustomerConfig {
    /// The settings of the reference for this pool.
    pub fn new(handle: PoolHandle) -> Self {
        Self {
            handle,
            job_interval: Duration::from_secs(15),
            job_size: 5_000_000,
            jobs: None,
            keep_alive_interval: Duration::from_secs(5),
            keep_alive_timeout: Duration::from_secs(5),
        }
    }
}

/// What a user tells its world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomerEvent {
    /// An element is at this job now.
    Accepted(u32),
    /// A job is complete.
    Completed(JobRecord, Counts),
    /// What became of the session, for people.
    Session(user::Event),
    /// All jobs are complete.
    Done(Counts),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    NextJob,
    /// The pause after a Reject is over.
    Ask,
    /// The answer to a Request, an echo or a keep-alive is missing.
    Answer,
    KeepAlive,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    job: u32,
    size: u64,
    interval: Duration,
    queue_length: usize,
    queued: Time,
}

#[derive(Debug)]
struct Running {
    job: Waiting,
    session: user::SessionId,
    started: Time,
    /// By the element of now.
    accepted: Option<Time>,
    rejected: Option<Time>,
    failovers: u32,
}

/// A user, see the [module](self).
#[derive(Debug)]
pub struct Customer {
    config: CustomerConfig,
    random: Random,
    queue: VecDeque<Waiting>,
    running: Option<Running>,
    timers: Timers<Timer>,
    counts: Counts,
    interval: Duration,
}

impl Customer {
    /// A user whose first job comes after a first random pause. All chances come from `random`.
    pub fn new(config: CustomerConfig, random: Random) -> Self {
        Self {
            config,
            random,
            queue: VecDeque::new(),
            running: None,
            timers: Timers::default(),
            counts: Counts::default(),
            interval: Duration::ZERO,
        }
    }

    /// What it has gone through so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn plan_job(&mut self, now: Time) {
        if self.config.jobs.is_some_and(|jobs| self.counts.queued >= jobs) {
            return;
        }
        let mean = self.config.job_interval.as_secs_f64();
        self.interval = Duration::try_from_secs_f64(mean * self.exponential()).unwrap_or(Duration::MAX);
        self.timers.set(Timer::NextJob, now + self.interval);
    }

    /// A negative exponential number of mean 1.
    fn exponential(&mut self) -> f64 {
        // In (0, 1]: the logarithm of 0 is not a number of jobs.
        let chance = (self.random.below(1 << 53) + 1) as f64 / (1u64 << 53) as f64;
        -chance.ln()
    }

    fn job_comes(&mut self, now: Time, desk: &mut Desk<'_, CustomerEvent>) {
        if self.queue.len() < QUEUE_MAX {
            let size = (self.config.job_size as f64 * self.exponential()).round().max(1.0) as u64;
            self.counts.queued += 1;
            self.counts.size_queued = self.counts.size_queued.saturating_add(size);
            let queue_length = self.queue.len() + usize::from(self.running.is_some());
            let job = self.counts.queued as u32;
            self.queue.push_back(Waiting { job, size, interval: self.interval, queue_length, queued: now });
        }
        if !self.config.job_interval.is_zero() {
            self.plan_job(now);
        }
        self.next_job(now, desk);
    }

    fn next_job(&mut self, now: Time, desk: &mut Desk<'_, CustomerEvent>) {
        if self.running.is_some() {
            return;
        }
        let Some(job) = self.queue.pop_front() else { return };
        self.counts.started += 1;
        self.counts.size_started = self.counts.size_started.saturating_add(job.size);
        let session = desk.user.open(now, self.config.handle, SessionOptions::default());
        self.running =
            Some(Running { job, session, started: now, accepted: None, rejected: None, failovers: 0 });
    }

    fn ask(&mut self, now: Time, desk: &mut Desk<'_, CustomerEvent>) {
        let Some(running) = &self.running else { return };
        let Waiting { job, size, .. } = running.job;
        let request = Message { kind: Kind::Request, job, size, completed: 0 };
        // Without an element `Connected` comes, and asks.
        if desk.user.send(now, running.session, PPID, request.emit()).is_ok() {
            self.counts.requests += 1;
            self.timers.set(Timer::Answer, now + self.config.keep_alive_timeout);
        }
    }

    fn connected(&mut self, now: Time, resumed: bool, desk: &mut Desk<'_, CustomerEvent>) {
        let Some(running) = &mut self.running else { return };
        self.counts.selections += 1;
        let not_before = running.rejected.take().map_or(now, |at| at + REJECT_PAUSE);
        if resumed {
            self.counts.cookie_echoes += 1;
            // RSPLIB's elements do not notice an echo until another message comes, so one comes at once.
            let message = Message::of(Kind::KeepAlive, running.job.job);
            if desk.user.send(now, running.session, PPID, message.emit()).is_ok() {
                self.counts.keep_alives += 1;
            }
            self.timers.set(Timer::Answer, now + self.config.keep_alive_timeout);
        } else if not_before > now {
            self.timers.set(Timer::Ask, not_before);
        } else {
            self.ask(now, desk);
        }
    }

    fn message(&mut self, now: Time, bytes: &[u8], desk: &mut Desk<'_, CustomerEvent>) {
        let Some(running) = &mut self.running else { return };
        let session = running.session;
        let Some(message) = Message::parse(bytes).ok().filter(|message| message.job == running.job.job)
        else {
            return self.confused(now, desk);
        };
        match message.kind {
            Kind::Accept => {
                self.counts.accepts += 1;
                running.accepted = Some(now);
                self.timers.clear(&Timer::Answer);
                self.timers.set(Timer::KeepAlive, now + self.config.keep_alive_interval);
                desk.say(CustomerEvent::Accepted(message.job));
            }
            Kind::Reject => {
                self.counts.rejects += 1;
                running.rejected = Some(now);
                desk.user.fail_over(now, session, false);
            }
            Kind::Complete if message.size == running.job.size && message.completed == message.size => {
                self.counts.completes += 1;
                self.completed(now, desk);
            }
            Kind::KeepAlive => {
                let ack = Message::of(Kind::KeepAliveAck, message.job);
                // A session that is just failing over needs no answer.
                let _ = desk.user.send(now, session, PPID, ack.emit());
            }
            Kind::KeepAliveAck => {
                self.counts.keep_alive_acks += 1;
                // Before the Accept it is no answer to what was asked.
                if running.accepted.is_some() {
                    self.timers.clear(&Timer::Answer);
                    self.timers.set(Timer::KeepAlive, now + self.config.keep_alive_interval);
                }
            }
            Kind::Complete | Kind::Request => self.confused(now, desk),
        }
    }

    fn completed(&mut self, now: Time, desk: &mut Desk<'_, CustomerEvent>) {
        let Some(running) = self.running.take() else { return };
        self.clear_timers();
        desk.user.close(now, running.session);
        let Waiting { job, size, interval, queue_length, queued } = running.job;
        let record = JobRecord {
            job,
            size,
            interval,
            queue_length,
            queued,
            started: running.started,
            accepted: running.accepted.unwrap_or(now),
            completed: now,
            failovers: running.failovers,
        };
        desk.say(CustomerEvent::Completed(record, self.counts));
        if self.config.jobs.is_some_and(|jobs| self.counts.completes >= jobs) {
            return desk.say(CustomerEvent::Done(self.counts));
        }
        if self.config.job_interval.is_zero() {
            self.plan_job(now);
        }
        self.next_job(now, desk);
    }

    /// The element speaks of another job, or not at all our language: the job is tried anew, in a session without a past.
    fn confused(&mut self, now: Time, desk: &mut Desk<'_, CustomerEvent>) {
        let Some(running) = &mut self.running else { return };
        self.counts.confused += 1;
        running.accepted = None;
        desk.user.close(now, running.session);
        running.session = desk.user.open(now, self.config.handle, SessionOptions::default());
        // Whoever talks nonsense at once, again and again, is asked at a leisurely pace.
        running.rejected = Some(now);
        self.clear_timers();
    }

    fn clear_timers(&mut self) {
        for timer in [Timer::Ask, Timer::Answer, Timer::KeepAlive] {
            self.timers.clear(&timer);
        }
    }
}

impl Application for Customer {
    type Fact = NoWish;
    type Event = CustomerEvent;

    fn begin(&mut self, now: Time, _: &mut Desk<'_, CustomerEvent>) {
        self.plan_job(now);
    }

    fn heard(&mut self, now: Time, event: user::Event, desk: &mut Desk<'_, CustomerEvent>) {
        match &event {
            user::Event::Message { bytes, .. } => return self.message(now, bytes, desk),
            user::Event::Connected { resumed, .. } => self.connected(now, *resumed, desk),
            user::Event::FailingOver { .. } => {
                self.clear_timers();
                self.counts.failovers += 1;
                if let Some(running) = &mut self.running {
                    running.accepted = None;
                    running.failovers += 1;
                }
            }
            _ => {}
        }
        desk.say(CustomerEvent::Session(event));
    }

    fn informed(&mut self, _: Time, fact: NoWish, _: &mut Desk<'_, CustomerEvent>) {
        match fact {}
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn wake(&mut self, now: Time, desk: &mut Desk<'_, CustomerEvent>) {
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::NextJob => self.job_comes(now, desk),
                Timer::Ask => self.ask(now, desk),
                Timer::Answer => {
                    if let Some(running) = &self.running {
                        self.counts.unreachables += 1;
                        desk.user.fail_over(now, running.session, true);
                    }
                }
                Timer::KeepAlive => {
                    let Some(running) = &self.running else { continue };
                    let message = Message::of(Kind::KeepAlive, running.job.job);
                    if desk.user.send(now, running.session, PPID, message.emit()).is_ok() {
                        self.counts.keep_alives += 1;
                        self.timers.set(Timer::Answer, now + self.config.keep_alive_timeout);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chances_have_the_mean_they_should_and_are_those_of_the_seed() {
        let config = CustomerConfig::new(PoolHandle::new("CalcAppPool").expect("legal"));
        let draw = |seed| {
            let mut customer = Customer::new(config.clone(), Random::from_seed(seed));
            (0..20_000).map(|_| customer.exponential()).collect::<Vec<f64>>()
        };
        let chances = draw(7);
        let mean = chances.iter().sum::<f64>() / chances.len() as f64;
        assert!((0.97..1.03).contains(&mean), "a mean of {mean}");
        assert!(chances.iter().all(|chance| chance.is_finite() && *chance >= 0.0));
        assert_eq!(chances, draw(7));
        assert_ne!(chances, draw(8));
    }
}
