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
//!                                      |-----its next life adopts the attempt--> Running, or told once more
//!                                      `-----grace over, or much was sent------> killed
//! ```
//!
//! `clients.rs` obeys what clients say, `slots.rs` starts and ends runs, `held.rs` keeps the books. A task that needs items
//! waits until all of them are here: `stock.rs` knows which are, `transfers.rs` gets the others. A task that needs resources
//! waits until they are free, too. `drain.rs` is how a worker leaves.
//!
//! Everything is bounded: sessions, tasks per session (the credit), output per attempt (the window), output of all
//! that waits for windows (no task starts while it is above [`BACKLOG_MAX`]), work that waits ([`WAITING_MAX`]).

mod clients;
mod drain;
mod held;
mod slots;
mod stock;
#[cfg(test)]
mod tests;
mod transfers;

use crate::cookie::{Cookie, STATE_MAX};
use crate::item::Item;
use crate::protocol::{Attempt, Batch, CREDIT_MAX, Frame, Frames, JobId, PPID, Status, Stream, TaskId};
use crate::resources::Resources;
use crate::work::Work;
pub use drain::DrainFor;
use held::{Books, Owner, Session, State};
use rserpool::element::{Replies, Service, SessionId};
use rserpool::{Endpoint, Load, Ppid, Time, Timers};
use std::collections::BTreeMap;
use std::time::Duration;
use stock::{Stage, Stock};

/// No task starts while this much output waits for the clients' windows.
pub const BACKLOG_MAX: u64 = 64 * 1024 * 1024;

/// No task of a session starts while so much of its own output waits.
pub const SESSION_BACKLOG_MAX: u64 = BACKLOG_MAX / 4;

/// Octets of work that may wait for slots, for all sessions together. Above, a session that holds something already is
/// refused more; one that holds nothing may always have one task.
pub const WAITING_MAX: u64 = 64 * 1024 * 1024;

/// Settings of a task service.
#[derive(Clone, Debug)]
pub struct Config {
    /// Tasks that run at a time, for all sessions together; 0 counts as 1.
    pub slots: u32,
    /// What there is besides slots, for all sessions together.
    pub resources: Resources,
    /// Who may have it drained.
    pub drain_for: DrainFor,
    /// Tasks a session may have waiting besides those that can run. They hide the way to the client and back: a slot
    /// that gets free has its next task at hand. Clients use it for short tasks only.
    pub queue: u32,
    /// Sessions served at a time; more are ended at once.
    pub sessions_max: usize,
    /// What the worker calls itself, for people.
    pub name: String,
    /// How long a running task of a lost session goes on, and a result nobody has safe is kept, in case the client comes
    /// back to this worker, or its next life does.
    pub orphan_grace: Duration,
    /// Octets of items kept for tasks to come. Tasks whose items do not fit together are refused; with 0, all that need
    /// any.
    pub cache: u64,
    /// Shortest time between two cookies of a session. A checkpoint is told at once if the last cookie was given before that:
    /// the work repeated after a fail-over is what was done since the last checkpoint, or in so much time if there are more
    /// checkpoints than that, and what is under way.
    pub cookie_interval: Duration,
    /// How long what runs have to say may wait for more of it, while the client has sent ahead more tasks than that.
    pub tell_within: Duration,
}

impl Default for Config {
    /// One slot, a queue that keeps a slot busy with the shortest tasks, a second of grace, ten cookies per second, no items, 4 ms
    /// for news to come together.
    fn default() -> Self {
        Self {
            slots: 1,
            resources: Resources::NONE,
            drain_for: DrainFor::Loopback,
            queue: 256,
            sessions_max: 64,
            name: String::new(),
            orphan_grace: Duration::from_secs(1),
            cache: 0,
            cookie_interval: Duration::from_millis(100),
            tell_within: Duration::from_millis(4),
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
    /// Keep these octets of an item, behind those before. Answered by `Stored`; after the last of them the item is
    /// checked and answered by `Arrived` instead, or by `NotStored` at any time.
    Store {
        /// What they belong to.
        item: Item,
        /// Empty only for an item without octets.
        octets: Vec<u8>,
    },
    /// Forget an item, or what came of it so far. No run uses it.
    Evict {
        /// This one.
        item: Item,
    },
    /// Tell so many more octets of the checkpoint that was announced by `Large`.
    Send {
        /// Of this run.
        run: RunId,
        /// How many.
        octets: u32,
    },
    /// The checkpoint announced by `Large` is safe, or never will be: the next one may be announced.
    Saved {
        /// Of this run.
        run: RunId,
    },
    /// No more tasks are taken: leave the pool, so that nobody new comes; sessions go on. Said once.
    Draining {
        /// How long what runs may go on.
        patience: Duration,
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
    /// A command completed a checkpoint that is larger than [`inline_max`](crate::cookie::inline_max). One at a time: the
    /// next after `Saved`.
    Large {
        /// Which run.
        run: RunId,
        /// What it is.
        item: Item,
    },
    /// Octets of it, in order, as many as `Send` allowed.
    Saving {
        /// Which run.
        run: RunId,
        /// 1 to [`CHUNK_MAX`](crate::protocol::CHUNK_MAX).
        octets: Vec<u8>,
    },
    /// Octets of an item are on the disk, but not the last.
    Stored {
        /// Which item.
        item: Item,
        /// How many.
        octets: u32,
    },
    /// An item is on the disk, all of it, and its digest is right.
    Arrived {
        /// Which item.
        item: Item,
    },
    /// An item could not be kept, or was lost; what came of it is forgotten.
    NotStored {
        /// Which item.
        item: Item,
        /// Why, for people.
        why: String,
    },
    /// The run is over, its slot free; nothing more is told of it.
    Ended {
        /// Which run.
        run: RunId,
        /// `Exited`, `Signalled`, `OverMemory` or `CouldNotStart`; what a kill makes of it is the service's to say.
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
    /// Runs, or results of theirs, that outlived their session and went on for the next.
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
    /// Items asked for.
    pub fetched: u64,
    /// Wishes to drain from peers that may not.
    pub drains_refused: u64,
}

/// Runs tasks for clients. See the module.
#[derive(Debug)]
pub struct TaskService {
    config: Config,
    books: Books,
    stock: Stock,
    timers: Timers<Timer>,
    counters: Counters,
    draining: Draining,
    last_run: u64,
    /// The session that started a task last: the next one is next.
    turn: SessionId,
    /// The task that waits for resources in use: what it needs is left to it when it gets free, so that smaller tasks do
    /// not keep it waiting for ever.
    claim: Option<(SessionId, Attempt)>,
    /// Frames not yet sent, by session.
    out: BTreeMap<SessionId, Batch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Slept(RunId),
    TimeUp(RunId),
    Grace(JobId, TaskId),
    Cookie(SessionId),
    Tell(SessionId),
    DrainOver,
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
        Self::with_items(config, [])
    }

    /// A service whose world has these items already, the least recently used first.
    pub fn with_items(config: Config, here: impl IntoIterator<Item = Item>) -> Self {
        Self {
            stock: Stock::new(config.cache, here),
            config,
            books: Books::default(),
            timers: Timers::default(),
            counters: Counters::default(),
            draining: Draining::No,
            last_run: 0,
            turn: SessionId(0),
            claim: None,
            out: BTreeMap::new(),
        }
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
        assert!(self.config.resources.bears(self.books.used.values()), "J10: {:?}", self.books.used);
        assert!(
            self.books.used.keys().all(|run| self.books.owners.contains_key(run)),
            "nothing is used by nobody"
        );
        for (&id, batch) in &self.out {
            let waits = batch.waiting().is_some() && self.timers.get(&Timer::Tell(id)).is_some();
            assert!(waits, "every call sends what it said, or sees to it that it will be");
        }
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
        let queued = self.books.sessions.values().flat_map(|session| session.held.values());
        let queued: Vec<_> = queued.filter(|held| !held.needs().is_empty()).collect();
        assert_eq!(queued.len(), self.books.needy, "waiting tasks that need items");
        let pinned: Vec<_> = queued.iter().filter(|held| held.pinned).flat_map(|held| held.needs()).collect();
        self.stock.check(pinned.iter().chain(self.books.pins.values().flatten()));
        assert!(self.books.pins.keys().all(|run| self.books.owners.contains_key(run)), "pins of the dead");
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

    /// Says what a task of a session has to say: see [`Session::pass_on`](held::Session::pass_on).
    fn pass_on(&mut self, id: SessionId, attempt: Attempt, at_once: bool) {
        if let Some(session) = self.books.sessions.get_mut(&id) {
            session.pass_on(attempt, at_once, self.out.entry(id).or_default());
        }
    }

    /// True if a client that hears all this later loses nothing by it: more tasks of it wait here than there is to say. What it
    /// hears costs it a wake, and us.
    fn may_hold(&self, id: SessionId, batch: &Batch) -> bool {
        let waiting = self.books.sessions.get(&id).map_or(0, |session| session.queue.len());
        !self.config.tell_within.is_zero() && batch.waiting().is_some_and(|frames| frames <= waiting)
    }

    /// What every call ends with: free slots are filled, frames sent, the end of draining noticed.
    fn proceed(&mut self, now: Time, replies: &mut Replies<Wish>) {
        self.prepare(replies);
        self.start_waiting(now, replies);
        self.finish(now, replies);
    }

    fn finish(&mut self, now: Time, replies: &mut Replies<Wish>) {
        let drained = self.notice_drained();
        let out = std::mem::take(&mut self.out);
        for (id, mut batch) in out {
            if self.may_hold(id, &batch) {
                if self.timers.get(&Timer::Tell(id)).is_none() {
                    self.timers.set(Timer::Tell(id), now + self.config.tell_within);
                }
                self.out.insert(id, batch);
                continue;
            }
            self.timers.clear(&Timer::Tell(id));
            batch.take().into_iter().for_each(|message| replies.send(id, PPID, message));
        }
        if drained {
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

    fn opened_by(&mut self, now: Time, session: SessionId, peer: &Endpoint, replies: &mut Replies<Wish>) {
        self.opened(now, session, replies);
        if let Some(session) = self.books.sessions.get_mut(&session) {
            let mut addresses = peer.socket_addresses().peekable();
            session.near = addresses.peek().is_some() && addresses.all(|at| at.ip().is_loopback());
        }
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
                    let attempt = held.attempt;
                    if let Some(id) = id {
                        self.pass_on(id, attempt, false);
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
                        self.cookie_of_checkpoint(now, id, replies);
                    }
                }
            }
            Fact::Ended { run, status } => self.ended(run, status, replies),
            Fact::Large { run, item } => self.save(run, item, replies),
            Fact::Saving { run, octets } => self.saving(run, octets),
            Fact::Stored { item, octets } => self.stored(item, octets),
            Fact::Arrived { item } => {
                if self.stock.stage(&item) == Some(Stage::Whole) {
                    self.stock.set(&item, Stage::Here);
                }
            }
            Fact::NotStored { item, why } => self.not_stored(item, &why, replies),
        }
        self.proceed(now, replies);
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn wake(&mut self, now: Time, replies: &mut Replies<Wish>) {
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Slept(run) => self.ended(run, Status::Exited(0), replies),
                Timer::TimeUp(run) => {
                    if let Some((held, _)) = self.books.held_of(run) {
                        held.timed_out = true;
                        self.kill(run, replies);
                    }
                }
                Timer::Grace(job, task) => self.grace_over(job, task, replies),
                Timer::Cookie(id) => self.cookie_due(now, id, replies),
                Timer::Tell(id) => self.out.get_mut(&id).map_or((), Batch::hurry),
                Timer::DrainOver => self.give_back_running(now, replies),
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
