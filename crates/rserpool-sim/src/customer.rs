//! The application of the simulated users: it has jobs added up, one number after the other, and keeps its own books.
//!
//! A customer knows what every sum must be. It sends each number with an attempt that only grows, accepts each answer
//! once, and after a fail-over goes on where the element says, or from the first number if the cookie did not help.

use crate::adder::{ADDING, Word};
use rserpool::user::{Event as UserEvent, SessionId, SessionOptions};
use rserpool::{Input, Node, Output, PoolHandle, PoolUser, Random, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// What a customer wants.
#[derive(Clone, Debug)]
pub struct Demand {
    /// The pool.
    pub handle: PoolHandle,
    /// Jobs, one after the other.
    pub jobs: u32,
    /// Numbers in each.
    pub numbers: u32,
    /// Requests under way at the same time.
    pub window: u32,
    /// Pause before each further number.
    pub think: Duration,
    /// Asks a registrar who would be next, after so many accepted answers; 0: never. It has no use for the answer.
    pub curiosity: u32,
    /// Ask elements for signs of life.
    pub heartbeat: bool,
    /// Accepts whatever comes. A mistake made on purpose, for the tests of the checks.
    pub careless: bool,
}

/// What a customer says of its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Its pool user says something.
    User(UserEvent),
    /// The answer to a number counts.
    Accepted {
        /// The job.
        job: u64,
        /// Which number.
        index: u32,
        /// The attempt that was answered.
        attempt: u32,
        /// The sum.
        sum: u64,
    },
    /// The answer to a number that has been accepted before, or to an attempt that is no longer the last.
    Discarded {
        /// The job.
        job: u64,
        /// Which number.
        index: u32,
    },
    /// A job is done.
    Finished {
        /// The job.
        job: u64,
    },
}

/// A user and its application in one process.
pub struct Customer {
    user: PoolUser,
    demand: Demand,
    random: Random,
    wishes: VecDeque<Output<Said>>,
    job: Option<Job>,
    done: u32,
    started: bool,
    next_send: Option<Time>,
}

struct Job {
    id: u64,
    session: SessionId,
    /// Sums accepted, by index.
    accepted: Vec<u64>,
    /// How often each number was sent.
    attempts: BTreeMap<u32, u32>,
    /// The next number to send on the present link; `None` while there is no element to send to.
    position: Option<u32>,
    /// Answered on the present link.
    answered: u32,
    /// The element of the session.
    element: Option<rserpool::ElementId>,
}

impl Customer {
    /// A customer with this demand, at work from its first fact on.
    pub fn new(user: PoolUser, demand: Demand, random: Random) -> Self {
        Self {
            user,
            demand,
            random,
            wishes: VecDeque::new(),
            job: None,
            done: 0,
            started: false,
            next_send: None,
        }
    }

    /// Its pool user.
    pub fn user(&self) -> &PoolUser {
        &self.user
    }

    /// Jobs finished.
    pub fn done(&self) -> u32 {
        self.done
    }

    /// True once nothing is left to do.
    pub fn is_content(&self) -> bool {
        self.done >= self.demand.jobs
    }

    /// Answers accepted in the present job.
    pub fn accepted(&self) -> u32 {
        self.job.as_ref().map_or(0, |job| job.accepted.len() as u32)
    }

    /// The element of the present job.
    pub fn element(&self) -> Option<rserpool::ElementId> {
        self.job.as_ref()?.element
    }

    /// The job under way.
    pub fn job(&self) -> Option<u64> {
        self.job.as_ref().map(|job| job.id)
    }

    /// The number at this place of a job: anybody can compute it, so anybody can check the sums.
    pub fn number(job: u64, index: u32) -> u32 {
        Random::from_seed(job ^ u64::from(index)).next_u64() as u32
    }

    /// The right sum of a job up to and including this number.
    pub fn right_sum(job: u64, index: u32) -> u64 {
        (0..=index).map(|index| u64::from(Self::number(job, index))).sum()
    }

    /// Wants another element for the present job.
    pub fn change_element(&mut self, now: Time) {
        if let Some(job) = &self.job {
            self.user.fail_over(now, job.session, false);
            self.settle(now);
        }
    }

    /// Asks for the whole pool: the answer is an event of the user.
    pub fn look_around(&mut self, now: Time) {
        self.user.resolve(now, self.demand.handle, u32::MAX);
        self.settle(now);
    }

    fn begin(&mut self, now: Time) {
        if self.is_content() || self.job.is_some() {
            return;
        }
        let options = SessionOptions { heartbeat: self.demand.heartbeat, ..SessionOptions::default() };
        let session = self.user.open(now, self.demand.handle, options);
        self.job = Some(Job {
            id: self.random.next_u64() | 1,
            session,
            accepted: Vec::new(),
            attempts: BTreeMap::new(),
            position: None,
            answered: 0,
            element: None,
        });
    }

    /// Takes what the user wishes until it wishes nothing more; its events go through the application.
    fn settle(&mut self, now: Time) {
        while let Some(wish) = self.user.poll() {
            match wish {
                Output::Event(event) => {
                    self.say(Said::User(event.clone()));
                    self.hears(now, event);
                }
                Output::Open { link, door, to, greeting } => {
                    self.wishes.push_back(Output::Open { link, door, to, greeting });
                }
                Output::Send { link, ppid, bytes } => {
                    self.wishes.push_back(Output::Send { link, ppid, bytes });
                }
                Output::Close { link, how } => self.wishes.push_back(Output::Close { link, how }),
                Output::Announce { channel, bytes } => {
                    self.wishes.push_back(Output::Announce { channel, bytes });
                }
            }
        }
    }

    fn say(&mut self, said: Said) {
        self.wishes.push_back(Output::Event(said));
    }

    fn hears(&mut self, now: Time, event: UserEvent) {
        let Some(job) = &mut self.job else { return };
        match event {
            UserEvent::Connected { session, element, resumed, .. } if session == job.session => {
                job.element = Some(element);
                job.answered = 0;
                // With a cookie the element says where it goes on; without, it knows nothing.
                job.position = (!resumed).then_some(0);
                self.send(now);
            }
            UserEvent::FailingOver { session, .. } if session == job.session => {
                job.position = None;
                self.next_send = None;
            }
            UserEvent::Message { session, bytes, .. } if session == job.session => {
                match Word::parse(&bytes) {
                    Some(Word::GoOn { job: id, next, .. }) if job.position.is_none() => {
                        // A cookie can be older than the last answer, never newer; a stranger's is none.
                        let known = id == job.id && next as usize <= job.accepted.len();
                        job.position = Some(if known { next } else { 0 });
                        job.answered = job.position.unwrap_or(0);
                        self.send(now);
                    }
                    Some(Word::Answer { job: id, index, attempt, sum }) if id == job.id => {
                        self.answered(now, index, attempt, sum);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn answered(&mut self, now: Time, index: u32, attempt: u32, sum: u64) {
        let Some(job) = &mut self.job else { return };
        let id = job.id;
        let current = job.attempts.get(&index) == Some(&attempt) || self.demand.careless;
        if current {
            job.answered = job.answered.max(index + 1);
        }
        let counts = current && index as usize == job.accepted.len();
        if counts {
            job.accepted.push(sum);
        }
        let (session, over) = (job.session, job.accepted.len() as u32 == self.demand.numbers);
        self.say(match counts {
            true => Said::Accepted { job: id, index, attempt, sum },
            false => Said::Discarded { job: id, index },
        });
        if counts && self.demand.curiosity > 0 && index.is_multiple_of(self.demand.curiosity) {
            self.user.resolve(now, self.demand.handle, 1);
        }
        if over {
            self.user.close(now, session);
            self.job = None;
            self.done += 1;
            self.next_send = None;
            self.say(Said::Finished { job: id });
            self.begin(now);
        } else if self.demand.think.is_zero() {
            self.send(now);
        } else {
            let pause = self.random.jittered(self.demand.think, 500);
            self.next_send.get_or_insert(now + pause);
        }
    }

    /// Sends as many numbers as the window allows.
    fn send(&mut self, now: Time) {
        let Some(job) = &mut self.job else { return };
        while let Some(index) = job.position {
            if index >= self.demand.numbers || index >= job.answered + self.demand.window {
                return;
            }
            let attempt = job.attempts.entry(index).or_insert(0);
            *attempt += 1;
            let number = Self::number(job.id, index);
            let word = Word::Request { job: job.id, index, attempt: *attempt, number };
            if self.user.send(now, job.session, ADDING, word.emit()).is_err() {
                // The element is gone already: `Connected` will begin anew.
                job.position = None;
                return;
            }
            job.position = Some(index + 1);
        }
    }
}

impl Node for Customer {
    type Event = Said;

    fn handle(&mut self, now: Time, input: Input) {
        if !std::mem::replace(&mut self.started, true) {
            self.begin(now);
            self.settle(now);
        }
        let alarm = input == Input::Wake;
        if !alarm || self.user.deadline().is_some_and(|due| due <= now) {
            self.user.handle(now, input);
            self.settle(now);
        }
        if alarm && self.next_send.take_if(|due| *due <= now).is_some() {
            self.send(now);
            self.settle(now);
        }
    }

    fn poll(&mut self) -> Option<Output<Said>> {
        self.wishes.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        if !self.started {
            return Some(Time::ZERO);
        }
        [self.user.deadline(), self.next_send].into_iter().flatten().min()
    }
}
