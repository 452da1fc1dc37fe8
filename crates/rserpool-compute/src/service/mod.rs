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
//! Everything is bounded: sessions, tasks per session (the credit), output per attempt (the window), output of all
//! that waits for windows (no task starts while it is above [`BACKLOG_MAX`]), work that waits ([`WAITING_MAX`]).

mod held;
#[cfg(test)]
mod tests;

use crate::cookie::{Cookie, STATE_MAX};
use crate::protocol::{
    Attempt, Batch, CREDIT_MAX, Frame, Frames, JobId, PPID, Refusal, Status, Stream, TaskId, VERSION, WINDOW,
};
use crate::work::Work;
use held::{Books, Held, Owner, Session, State};
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

    // ----- what clients say

    fn frame(
        &mut self,
        now: Time,
        id: SessionId,
        frame: Frame,
        replies: &mut Replies<Wish>,
    ) -> Result<(), Breach> {
        let session = self.books.sessions.get_mut(&id).ok_or(Breach)?;
        match (frame, session.job) {
            (Frame::Hello { version, job }, None) => self.hello(id, version, job),
            (Frame::Task { attempt, continues, work }, Some(job)) => {
                self.task(id, job, attempt, continues, &work);
                Ok(())
            }
            (Frame::Window { attempt, octets }, Some(_)) => {
                if let Some(held) = session.held.get_mut(&attempt) {
                    held.widen(octets);
                    held.send(self.out.entry(id).or_default());
                    if let Some(run) = held.run() {
                        replies.wish(Wish::Grant { run, octets });
                    }
                }
                Ok(())
            }
            (Frame::Ack { attempt }, Some(_)) => {
                if session.held.get(&attempt).is_some_and(|held| matches!(held.state, State::Told)) {
                    session.held.remove(&attempt);
                    self.cookie_soon(now, id);
                }
                Ok(())
            }
            (Frame::Cancel { attempt }, Some(_)) => {
                self.cancel(id, attempt, replies);
                Ok(())
            }
            (Frame::Recall { attempt }, Some(_)) => {
                self.recall(id, attempt);
                Ok(())
            }
            // A second Hello, anything before the first, and what only workers say.
            _ => Err(Breach),
        }
    }

    fn hello(&mut self, id: SessionId, version: u16, job: JobId) -> Result<(), Breach> {
        let (slots, credit) = (self.slots(), self.credit());
        let credit = if version == VERSION && self.draining == Draining::No { credit } else { 0 };
        let name = self.config.name.clone();
        self.say(id, &Frame::Welcome { version: VERSION, slots, credit, name });
        if version != VERSION {
            return Err(Breach);
        }
        let session = self.books.sessions.get_mut(&id).ok_or(Breach)?;
        session.job = Some(job);
        match session.cookie.take() {
            // The cookie binds the checkpoints to their job (S2): another job starts from zero.
            Some(cookie) if cookie.job == job => {
                self.counters.cookies_believed += 1;
                session.sequence = cookie.sequence.saturating_add(1);
                for entry in cookie.entries {
                    session.is_news(entry.attempt);
                    session.lineage.insert(entry.attempt.task, entry);
                }
            }
            Some(_) => self.counters.cookies_rejected += 1,
            None => {}
        }
        Ok(())
    }

    /// Takes a task, or tells why not.
    fn task(&mut self, id: SessionId, job: JobId, attempt: Attempt, continues: u32, work: &[u8]) {
        let credit = self.credit();
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let refusal = if self.draining != Draining::No {
            Some(Refusal::Draining)
        } else if session.held.len() >= credit as usize
            || (!session.held.is_empty() && self.books.waiting_octets + work.len() as u64 > WAITING_MAX)
        {
            self.counters.no_credit += 1;
            Some(Refusal::NoCredit)
        } else if !session.is_news(attempt) {
            self.counters.old_attempts += 1;
            Some(Refusal::OldAttempt)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.say(id, &Frame::Result { attempt, status: Status::Refused(refusal), octets: 0 });
            return;
        }
        if let Some(mut orphan) = self.books.orphans.remove(&(job, attempt.task)) {
            // Nothing of it was ever sent, so it can just as well be the new attempt's beginning.
            self.timers.clear(&Timer::Grace(job, attempt.task));
            self.counters.adopted += 1;
            orphan.attempt = attempt;
            if let Some(run) = orphan.run() {
                self.books.owners.insert(run, Owner::Session(id, attempt));
            }
            let batch = self.out.entry(id).or_default();
            batch.push(&Frame::Started { attempt, from: 0 });
            orphan.send(batch);
            session.held.insert(attempt, orphan);
            return;
        }
        let size = work.len() as u64;
        let held = match Work::parse(work) {
            Ok(work) => {
                let checkpoint = session
                    .lineage
                    .remove(&attempt.task)
                    .filter(|entry| entry.attempt.number == continues)
                    .filter(|entry| work.continues_at(entry.octets, &entry.state))
                    .map(|entry| (entry.octets, entry.state));
                session.queue.push_back(attempt);
                self.books.waiting_octets += size;
                Held::new(attempt, State::Waiting(work), size, checkpoint)
            }
            Err(error) => {
                let ended = State::Ended(Status::CouldNotStart(format!("malformed work: {error}")));
                let mut held = Held::new(attempt, ended, size, None);
                held.send(self.out.entry(id).or_default());
                held
            }
        };
        session.held.insert(attempt, held);
    }

    /// Gives a task back that did not begin yet.
    fn recall(&mut self, id: SessionId, attempt: Attempt) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        if session.held.get(&attempt).is_none_or(|held| !matches!(held.state, State::Waiting(_))) {
            return;
        }
        session.queue.retain(|waiting| *waiting != attempt);
        let held = session.held.remove(&attempt).expect("found above");
        self.books.waiting_octets -= held.size;
        self.say(id, &Frame::Result { attempt, status: Status::Refused(Refusal::Recalled), octets: 0 });
    }

    fn cancel(&mut self, id: SessionId, attempt: Attempt, replies: &mut Replies<Wish>) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        // What already ended has told its Result, or does so when the window lets it.
        let Some(held) = session.held.get_mut(&attempt) else { return };
        match held.state {
            State::Waiting(_) => {
                session.queue.retain(|waiting| *waiting != attempt);
                self.books.waiting_octets -= held.size;
                held.state = State::Ended(Status::Cancelled);
                held.send(self.out.entry(id).or_default());
            }
            State::Running(run) if !held.cancelled => {
                held.cancelled = true;
                held.drop_backlog();
                self.kill(run, replies);
            }
            State::Ended(_) => {
                held.drop_backlog();
                held.send(self.out.entry(id).or_default());
            }
            State::Running(_) | State::Told => {}
        }
    }

    // ----- slots

    /// Fills free slots, each session in its turn.
    fn start_waiting(&mut self, now: Time, replies: &mut Replies<Wish>) {
        let mut backlog = self.books.backlog();
        while self.books.owners.len() < self.slots() as usize && backlog < BACKLOG_MAX {
            let later =
                self.books.sessions.range((std::ops::Bound::Excluded(self.turn), std::ops::Bound::Unbounded));
            let waiting = |(id, session): (&SessionId, &Session)| (!session.queue.is_empty()).then_some(*id);
            let Some(id) = later.chain(&self.books.sessions).find_map(waiting) else { return };
            self.turn = id;
            backlog += self.start_next(now, id, replies);
        }
    }

    /// Starts the first waiting task of a session. Returns the octets of output it has at once.
    fn start_next(&mut self, now: Time, id: SessionId, replies: &mut Replies<Wish>) -> u64 {
        let Some(session) = self.books.sessions.get_mut(&id) else { return 0 };
        let (Some(job), Some(attempt)) = (session.job, session.queue.pop_front()) else { return 0 };
        let held = session.held.get_mut(&attempt).expect("what is queued is held");
        self.last_run += 1;
        let run = RunId(self.last_run);
        let State::Waiting(work) = std::mem::replace(&mut held.state, State::Running(run)) else {
            unreachable!("what is queued waits");
        };
        self.books.waiting_octets -= held.size;
        self.counters.started += 1;
        let batch = self.out.entry(id).or_default();
        if let Work::Echo(octets) = work {
            // Over as soon as begun: its Result says that it ran, and no slot has to be found for it.
            self.counters.ended += 1;
            let length = octets.len() as u64;
            if length > 0 {
                held.output(Stream::OUTPUT, octets);
            }
            held.state = State::Ended(Status::Exited(0));
            held.send(batch);
            return length;
        }
        let from = held.checkpoint().map_or(0, |(octets, _)| *octets);
        batch.push(&Frame::Started { attempt, from });
        self.books.owners.insert(run, Owner::Session(id, attempt));
        match work {
            Work::Sleep(span) => self.timers.set(Timer::Slept(run), now + span),
            work => {
                if let Work::Command(command) = &work
                    && let Some(span) = command.time_max
                {
                    self.timers.set(Timer::TimeUp(run), now + span);
                }
                let checkpoint = held.checkpoint().map(|(_, state)| state.clone());
                self.counters.continued += u64::from(checkpoint.is_some());
                replies.wish(Wish::Start { run, job, attempt, work, checkpoint, window: WINDOW });
            }
        }
        self.cookie_soon(now, id);
        0
    }

    /// Stops a run. A sleep is over at once; else the slot is free when the world says so.
    fn kill(&mut self, run: RunId, replies: &mut Replies<Wish>) {
        self.counters.killed += 1;
        self.timers.clear(&Timer::TimeUp(run));
        if self.timers.clear(&Timer::Slept(run)) {
            self.ended(run, Status::Cancelled);
        } else {
            replies.wish(Wish::Kill { run });
        }
    }

    /// Frees the slot of a run and notes how it ended.
    fn ended(&mut self, run: RunId, status: Status) {
        self.timers.clear(&Timer::TimeUp(run));
        let Some((held, id)) = self.books.held_of(run) else {
            self.books.owners.remove(&run);
            return;
        };
        held.state = State::Ended(if held.cancelled {
            Status::Cancelled
        } else if held.timed_out {
            Status::TimedOut
        } else {
            self.counters.ended += 1;
            status
        });
        if let Some(id) = id {
            held.send(self.out.entry(id).or_default());
        }
        self.books.owners.remove(&run);
    }

    // ----- sessions that end

    /// Forgets a session; its running tasks become orphans or are killed.
    fn forget(&mut self, now: Time, id: SessionId, replies: &mut Replies<Wish>) {
        self.out.remove(&id);
        self.timers.clear(&Timer::Cookie(id));
        let Some(session) = self.books.sessions.remove(&id) else { return };
        for (attempt, held) in session.held {
            if let State::Waiting(_) = held.state {
                self.books.waiting_octets -= held.size;
            }
            let run = held.run();
            let key = session.job.map(|job| (job, attempt.task));
            let adoptable = held.sent == 0 && !held.cancelled && !held.timed_out;
            match (run, key) {
                (Some(run), Some((job, task)))
                    if adoptable && !self.books.orphans.contains_key(&(job, task)) =>
                {
                    self.books.owners.insert(run, Owner::Orphan(job, task));
                    self.timers.set(Timer::Grace(job, task), now + self.config.orphan_grace);
                    self.books.orphans.insert((job, task), held);
                }
                (Some(run), _) => {
                    self.books.owners.insert(run, Owner::Nobody);
                    self.kill(run, replies);
                }
                (None, _) => {}
            }
        }
    }

    fn grace_over(&mut self, job: JobId, task: TaskId, replies: &mut Replies<Wish>) {
        let Some(run) = self.books.orphans.remove(&(job, task)).and_then(|held| held.run()) else { return };
        self.books.owners.insert(run, Owner::Nobody);
        self.kill(run, replies);
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

    // ----- cookies

    fn cookie_soon(&mut self, now: Time, id: SessionId) {
        if self.timers.get(&Timer::Cookie(id)).is_none() {
            self.timers.set(Timer::Cookie(id), now + self.config.cookie_interval);
        }
    }

    fn cookie_due(&mut self, id: SessionId, replies: &mut Replies<Wish>) {
        // The cookie covers output that may still be in the batch: data first (RFC 5352 §3.8 leaves the order to us).
        for message in self.out.remove(&id).unwrap_or_default().take() {
            replies.send(id, PPID, message);
        }
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let (Some(job), entries) = (session.job, session.entries()) else { return };
        if entries.is_empty() && !session.cookie_had_entries {
            return;
        }
        session.cookie_had_entries = !entries.is_empty();
        replies.cookie(id, Cookie { job, sequence: session.sequence, entries }.emit());
        session.sequence = session.sequence.saturating_add(1);
    }
}

/// What came is not the protocol: the session ends.
struct Breach;

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
