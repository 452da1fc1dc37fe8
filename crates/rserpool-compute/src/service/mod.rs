//! The worker: a service that runs tasks.
//!
//! It keeps the slots, the queues and the promises of [`crate::protocol`]; running is a [`Wish`] to its world, which
//! answers with [`Fact`]s. Echo and Sleep need no world and are done here.
//!
//! ```text
//!   Task --> Waiting --slot free--> Running --Ended--> output all sent --> Result --Ack--> forgotten
//!                                      | session lost
//!                                      v
//!                                   orphan --the client brings the task again--> Running, as the new attempt
//!                                      `-----grace over, or output was sent----> killed
//! ```
//!
//! `clients.rs` obeys what clients say, `slots.rs` starts and ends runs, `held.rs` keeps the books.
//!
//! Everything is bounded: sessions, tasks per session (the credit), output per attempt (the window), output of all
//! that waits for windows (no task starts while it is above [`BACKLOG_MAX`]), work that waits ([`WAITING_MAX`]).

mod clients;
mod held;
mod slots;
#[cfg(test)]
mod tests;

use crate::cookie::{Cookie, STATE_MAX};
use crate::protocol::{
    Attempt, Batch, CREDIT_MAX, Frame, Frames, JobId, PPID, Refusal, Status, Stream, TaskId,
};
use crate::work::Work;
use held::{Books, Owner, Session, State};
use rserpool::element::{Replies, Service, SessionId};
use rserpool::{Load, Ppid, Time, Timers};
use std::collections::BTreeMap;
use std::time::Duration;

/// No task starts while this much output waits for the clients' windows.
pub const BACKLOG_MAX: u64 = 64 * 1024 * 1024;

/// Octets of work that may wait for slots, for all sessions together. Above, a session that holds something already is
/// refused more; one that holds nothing may always have one task.
pub const WAITING_MAX: u64 = 64 * 1024 * 1024;

/// Settings of a task service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tasks that run at a time, for all sessions together; 0 counts as 1.
    pub slots: u32,
    /// Tasks a session may have waiting besides those that can run. They hide the way to the client and back: a slot
    /// that gets free has its next task at hand. Clients use it for short tasks only.
    pub queue: u32,
    /// Sessions served at a time; more are ended at once.
    pub sessions_max: usize,
    /// What the worker calls itself, for people.
    pub name: String,
    /// How long a running task of a lost session goes on, in case its client comes back to this worker.
    pub orphan_grace: Duration,
    /// Shortest time between two cookies of a session: the work repeated after a fail-over is at most this, and what
    /// is under way.
    pub cookie_interval: Duration,
}

impl Default for Config {
    /// One slot, a queue that keeps a slot busy with the shortest tasks, a second of grace, ten cookies per second.
    fn default() -> Self {
        Self {
            slots: 1,
            queue: 256,
            sessions_max: 64,
            name: String::new(),
            orphan_grace: Duration::from_secs(1),
            cookie_interval: Duration::from_millis(100),
        }
    }
}

/// Names a run of a task between service and world. Never used twice by one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// What the service asks of its world.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Carry this out. Answered by any number of `Output` and `Checkpoint` and in any case by one `Ended`.
    Start {
        /// The run's name.
        run: RunId,
        /// The job, for the environment of a command.
        job: JobId,
        /// The execution, likewise. A run that outlives its session may continue as a later attempt.
        attempt: Attempt,
        /// What to do: a tile, a spin or a command.
        work: Work,
        /// Where to go on: the state of a checkpoint an earlier run reported, checked by [`Work::continues_at`].
        checkpoint: Option<Vec<u8>>,
        /// Octets of output the world may report before the first `Grant`. A world that cannot stop in between (it has
        /// the whole result at once) may report more.
        window: u32,
    },
    /// That many more octets of output may be reported.
    Grant {
        /// Of this run.
        run: RunId,
        /// How many.
        octets: u32,
    },
    /// Stop it, with all its processes. `Ended` follows as always.
    Kill {
        /// This run.
        run: RunId,
    },
    /// Draining is over: no session holds a task any more. Said once.
    Drained,
}

/// What the world tells the service. Facts of unknown runs are ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The run put something out.
    Output {
        /// Which run.
        run: RunId,
        /// Where it belongs.
        stream: Stream,
        /// At least one octet.
        octets: Vec<u8>,
    },
    /// All output so far is complete up to a point where another worker can go on.
    Checkpoint {
        /// Which run.
        run: RunId,
        /// What it needs: 1 to [`STATE_MAX`] octets.
        state: Vec<u8>,
    },
    /// The run is over, its slot free; nothing more is told of it.
    Ended {
        /// Which run.
        run: RunId,
        /// `Exited`, `Signalled` or `CouldNotStart`; what a kill makes of it is the service's to say.
        status: Status,
    },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Runs begun, Echo and Sleep included.
    pub started: u64,
    /// Runs that ended by themselves.
    pub ended: u64,
    /// Runs killed: cancelled, timed out, or orphaned for too long.
    pub killed: u64,
    /// Runs that outlived their session and went on for the next.
    pub adopted: u64,
    /// Runs begun at a checkpoint of another worker.
    pub continued: u64,
    /// Tasks refused because this or a later attempt had been here.
    pub old_attempts: u64,
    /// Tasks refused because the client had no credit for them.
    pub no_credit: u64,
    /// Cookies that verified and were of the session's job.
    pub cookies_believed: u64,
    /// Cookies that were not.
    pub cookies_rejected: u64,
    /// Sessions ended because what came was not the protocol.
    pub malformed: u64,
    /// Sessions ended because there were too many.
    pub sessions_refused: u64,
}

/// Runs tasks for clients. See the module.
#[derive(Debug)]
pub struct TaskService {
    config: Config,
    books: Books,
    timers: Timers<Timer>,
    counters: Counters,
    draining: Draining,
    last_run: u64,
    /// The session that started a task last: the next one is next.
    turn: SessionId,
    /// Frames not yet sent, by session.
    out: BTreeMap<SessionId, Batch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Slept(RunId),
    TimeUp(RunId),
    Grace(JobId, TaskId),
    Cookie(SessionId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Draining {
    No,
    Yes,
    Done,
}

impl TaskService {
    /// A service without sessions.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            books: Books::default(),
            timers: Timers::default(),
            counters: Counters::default(),
            draining: Draining::No,
            last_run: 0,
            turn: SessionId(0),
            out: BTreeMap::new(),
        }
    }

    /// Takes no more tasks: waiting ones go back to their clients, running ones may end. [`Wish::Drained`] follows when
    /// nobody waits for anything here any more.
    pub fn drain(&mut self, replies: &mut Replies<Wish>) {
        if self.draining != Draining::No {
            return;
        }
        self.draining = Draining::Yes;
        let sessions: Vec<_> = self.books.sessions.keys().copied().collect();
        for id in sessions {
            self.say(id, &Frame::Credit { tasks: 0 });
            let session = self.books.sessions.get_mut(&id).expect("listed above");
            for attempt in std::mem::take(&mut session.queue) {
                let held = session.held.remove(&attempt).expect("what is queued is held");
                self.books.waiting_octets -= held.size;
                let status = Status::Refused(Refusal::Draining);
                self.out.entry(id).or_default().push(&Frame::Result { attempt, status, octets: 0 });
            }
        }
        self.finish(replies);
    }

    /// Slots in use; never above the slots there are.
    pub fn running(&self) -> usize {
        self.books.owners.len()
    }

    /// Tasks that run at a time.
    pub fn slots(&self) -> u32 {
        self.config.slots.max(1)
    }

    /// Tasks waiting for a slot.
    pub fn waiting(&self) -> usize {
        self.books.sessions.values().map(|session| session.queue.len()).sum()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Audits what has to hold between any two calls (J10): slots and credits are kept, everybody in a slot is known,
    /// and every queue holds exactly the waiting tasks. Panics with what is wrong.
    pub fn check(&self) {
        assert!(
            self.books.owners.len() <= self.slots() as usize,
            "{} runs in {} slots",
            self.books.owners.len(),
            self.slots()
        );
        assert!(self.books.sessions.len() <= self.config.sessions_max);
        assert!(self.out.is_empty(), "every call sends what it said");
        for (&id, session) in &self.books.sessions {
            assert!(session.held.len() <= self.credit() as usize, "session {id} holds more than its credit");
            for (attempt, held) in &session.held {
                let in_queue = session.queue.contains(attempt);
                assert_eq!(in_queue, matches!(held.state, State::Waiting(_)), "{attempt}");
                if let State::Running(run) = held.state {
                    assert_eq!(self.books.owners.get(&run), Some(&Owner::Session(id, *attempt)));
                }
            }
        }
        let waiting = self.books.sessions.values().flat_map(|session| session.held.values());
        let octets = waiting.filter(|held| matches!(held.state, State::Waiting(_))).map(|held| held.size);
        assert_eq!(octets.sum::<u64>(), self.books.waiting_octets, "octets of waiting work");
        for (&(job, task), held) in &self.books.orphans {
            assert!(self.timers.get(&Timer::Grace(job, task)).is_some(), "an orphan without end");
            assert_eq!(held.sent, 0, "an orphan that already spoke cannot be adopted");
            if let State::Running(run) = held.state {
                assert_eq!(self.books.owners.get(&run), Some(&Owner::Orphan(job, task)));
            }
        }
    }

    fn credit(&self) -> u32 {
        self.slots().saturating_add(self.config.queue).min(CREDIT_MAX)
    }

    fn say(&mut self, session: SessionId, frame: &Frame) {
        self.out.entry(session).or_default().push(frame);
    }

    /// What every call ends with: free slots are filled, frames sent, the end of draining noticed.
    fn proceed(&mut self, now: Time, replies: &mut Replies<Wish>) {
        self.start_waiting(now, replies);
        self.finish(replies);
    }

    fn finish(&mut self, replies: &mut Replies<Wish>) {
        let out = std::mem::take(&mut self.out);
        for (id, mut batch) in out {
            batch.take().into_iter().for_each(|message| replies.send(id, PPID, message));
        }
        let idle = self.books.orphans.is_empty()
            && self.books.sessions.values().all(|session| session.held.is_empty());
        if self.draining == Draining::Yes && idle && self.books.owners.is_empty() {
            self.draining = Draining::Done;
            replies.wish(Wish::Drained);
        }
    }
}

impl Service for TaskService {
    type Wish = Wish;
    type Fact = Fact;

    fn opened(&mut self, _now: Time, session: SessionId, replies: &mut Replies<Wish>) {
        if self.books.sessions.len() >= self.config.sessions_max {
            self.counters.sessions_refused += 1;
            replies.close(session);
            return;
        }
        self.books.sessions.insert(session, Session::default());
    }

    fn resume(&mut self, _now: Time, session: SessionId, cookie: &[u8], _replies: &mut Replies<Wish>) {
        let Some(session) = self.books.sessions.get_mut(&session) else { return };
        match Cookie::verify(cookie) {
            Ok(cookie) if session.job.is_none() => session.cookie = Some(cookie),
            _ => self.counters.cookies_rejected += 1,
        }
    }

    fn message(
        &mut self,
        now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<Wish>,
    ) {
        if !self.books.sessions.contains_key(&session) {
            return;
        }
        let spoken = ppid == PPID
            && Frames::of(bytes)
                .all(|frame| frame.is_ok_and(|frame| self.frame(now, session, frame, replies).is_ok()));
        if !spoken {
            self.counters.malformed += 1;
            // A Welcome that names our version still goes out; nothing else can be of use.
            for message in self.out.remove(&session).unwrap_or_default().take() {
                replies.send(session, PPID, message);
            }
            replies.close(session);
            self.forget(now, session, replies);
        }
        self.proceed(now, replies);
    }

    fn closed(&mut self, now: Time, session: SessionId, replies: &mut Replies<Wish>) {
        self.forget(now, session, replies);
        self.proceed(now, replies);
    }

    fn informed(&mut self, now: Time, fact: Fact, replies: &mut Replies<Wish>) {
        match fact {
            Fact::Output { run, stream, octets } => {
                if let Some((held, id)) = self.books.held_of(run)
                    && !held.cancelled
                    && !octets.is_empty()
                {
                    held.output(stream, octets);
                    if let Some(id) = id {
                        held.send(self.out.entry(id).or_default());
                    }
                }
            }
            Fact::Checkpoint { run, state } => {
                debug_assert!((1..=STATE_MAX).contains(&state.len()), "a state of {} octets", state.len());
                if let Some((held, id)) = self.books.held_of(run)
                    && (1..=STATE_MAX).contains(&state.len())
                {
                    held.checkpointed(state);
                    if let Some(id) = id {
                        self.cookie_soon(now, id);
                    }
                }
            }
            Fact::Ended { run, status } => self.ended(run, status),
        }
        self.proceed(now, replies);
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn wake(&mut self, now: Time, replies: &mut Replies<Wish>) {
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Slept(run) => self.ended(run, Status::Exited(0)),
                Timer::TimeUp(run) => {
                    if let Some((held, _)) = self.books.held_of(run) {
                        held.timed_out = true;
                        self.kill(run, replies);
                    }
                }
                Timer::Grace(job, task) => self.grace_over(job, task, replies),
                Timer::Cookie(id) => self.cookie_due(id, replies),
            }
        }
        self.proceed(now, replies);
    }

    fn load(&self) -> Load {
        match self.draining {
            Draining::No => Load::from_ratio(self.books.owners.len() as u64, self.slots().into()),
            Draining::Yes | Draining::Done => Load::FULL,
        }
    }
}
