//! What a worker holds for the sessions it serves.

use super::transfers::Save;
use super::{RunId, SESSION_BACKLOG_MAX};
use crate::cookie::{Checkpoint, Progress};
use crate::item::Item;
use crate::protocol::{Attempt, Batch, CHUNK_MAX, FLIGHT_MAX, Frame, JobId, Status, Stream, TaskId, WINDOW};
use crate::resources::Resources;
use crate::work::Work;
use rserpool::Time;
use rserpool::element::SessionId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How far a task has come here.
#[derive(Debug)]
pub(super) enum State {
    /// For a free slot.
    Waiting(Work),
    /// In a slot.
    Running(RunId),
    /// Over; the Result follows when all output is sent.
    Ended(Status),
    /// Over, and the client was told; it stays until the client has it safe.
    Told(Status),
}

/// A task a session holds: from Task to Ack.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) attempt: Attempt,
    pub(super) state: State,
    /// Octets of its work.
    pub(super) size: u64,
    /// What it needs while it runs.
    pub(super) resources: Resources,
    pub(super) cancelled: bool,
    pub(super) timed_out: bool,
    /// The items it needs are pinned; without need from the beginning.
    pub(super) pinned: bool,
    /// The attempt whose checkpoint it goes on from; 0: none.
    pub(super) of: u32,
    /// Its output begins anew with each execution, so no output belongs to a checkpoint.
    repeats_output: bool,
    /// Octets of output the world has told of, those before a continued checkpoint included.
    pub(super) told: u64,
    /// Octets of output that went to the client, likewise.
    pub(super) sent: u64,
    /// Octets of output the client still permits.
    window: u64,
    /// Octets of output that went to the client, of which it has not said that it has them.
    flight: u64,
    /// Output that waits for the window. The world is told the window as well, so it stays short.
    backlog: VecDeque<(Stream, Vec<u8>)>,
    /// What went to the client, as long as it is little: should the client be lost, its next life gets it again. `None`:
    /// it was more, or began elsewhere.
    log: Option<Vec<(Stream, Vec<u8>)>>,
    /// The checkpoint all of whose output is sent: fit for a cookie.
    safe: Option<(u64, Vec<u8>)>,
    /// The newest checkpoint some of whose output is in the backlog.
    unsafe_yet: Option<(u64, Vec<u8>)>,
}

impl Held {
    /// A task that goes on from this checkpoint, if any.
    pub(super) fn new(attempt: Attempt, state: State, size: u64, checkpoint: Option<Progress>) -> Self {
        let from = checkpoint.as_ref().map_or(0, |entry| entry.octets);
        let of = checkpoint.as_ref().map_or(0, |entry| entry.attempt.number);
        let checkpoint = checkpoint.map(|entry| (entry.octets, entry.state));
        let mut held = Self {
            attempt,
            repeats_output: matches!(&state, State::Waiting(work) if work.repeats_output()),
            state,
            size,
            resources: Resources::NONE,
            cancelled: false,
            timed_out: false,
            pinned: false,
            of,
            told: from,
            sent: from,
            window: WINDOW.into(),
            flight: 0,
            backlog: VecDeque::new(),
            log: (from == 0).then(Vec::new),
            safe: checkpoint,
            unsafe_yet: None,
        };
        held.pinned = held.needs().is_empty();
        held
    }

    /// The items it needs before it starts.
    pub(super) fn needs(&self) -> Vec<Item> {
        let State::Waiting(work) = &self.state else { return Vec::new() };
        let mut needs: Vec<_> = work.needs().collect();
        if self.repeats_output
            && let Some((_, state)) = &self.safe
            && let Some(Checkpoint::Kept(item)) = Checkpoint::parse(state)
        {
            needs.push(item);
        }
        needs
    }

    /// Its work from a checkpoint on: state and the octets of output before it.
    pub(super) fn checkpoint(&self) -> Option<&(u64, Vec<u8>)> {
        self.safe.as_ref()
    }

    pub(super) fn run(&self) -> Option<RunId> {
        match self.state {
            State::Running(run) => Some(run),
            _ => None,
        }
    }

    pub(super) fn backlog_octets(&self) -> u64 {
        self.told - self.sent
    }

    pub(super) fn output(&mut self, stream: Stream, octets: Vec<u8>) {
        self.told += octets.len() as u64;
        self.backlog.push_back((stream, octets));
    }

    pub(super) fn checkpointed(&mut self, state: Vec<u8>) {
        let octets = if self.repeats_output { 0 } else { self.told };
        self.unsafe_yet = Some((octets, state));
        self.settle_checkpoint();
    }

    /// Forgets output nobody wants any more.
    pub(super) fn drop_backlog(&mut self) {
        self.backlog.clear();
        self.told = self.sent;
        self.unsafe_yet = None;
    }

    /// It has something to say that its own window permits.
    fn is_held_up(&self) -> bool {
        self.window > 0 && !self.backlog.is_empty()
    }

    /// Nobody waits for word of it in particular. What comes again may have ended a worker before: its client learns at once
    /// that it began, and that it is over.
    pub(super) fn may_wait(&self) -> bool {
        self.attempt.number == 1 && !self.cancelled
    }

    /// Sends what its window and the session's room permit and, after the last output, the result.
    fn add(&mut self, out: &mut Batch, mut room: u64) {
        while self.window.min(room) > 0
            && let Some((stream, mut octets)) = self.backlog.pop_front()
        {
            let permitted = usize::try_from(self.window.min(room)).unwrap_or(CHUNK_MAX);
            let fits = octets.len().min(CHUNK_MAX).min(permitted);
            let rest = octets.split_off(fits);
            if !rest.is_empty() {
                self.backlog.push_front((stream, rest));
            }
            self.sent += fits as u64;
            match &mut self.log {
                Some(log) if self.sent <= LOG_MAX => log.push((stream, octets.clone())),
                log => *log = None,
            }
            let offset = self.sent - fits as u64;
            out.add(&Frame::Output { attempt: self.attempt, stream, offset, octets });
            self.window -= fits as u64;
            self.flight += fits as u64;
            room -= fits as u64;
        }
        self.settle_checkpoint();
        if self.backlog.is_empty()
            && let State::Ended(status) = &self.state
        {
            let status = status.clone();
            self.state = State::Told(status.clone());
            out.add(&Frame::Result { attempt: self.attempt, status, octets: self.sent });
        }
    }

    /// What is left of it when its session is lost: the same from its beginning, or nothing if that is not known any more,
    /// or of no use to anybody.
    pub(super) fn orphaned(mut self) -> Option<Self> {
        let wanted = match &self.state {
            State::Waiting(_) => false,
            State::Running(_) => !self.cancelled && !self.timed_out,
            State::Ended(status) | State::Told(status) => status.is_result(),
        };
        let log = self.log.take().filter(|_| wanted)?;
        log.into_iter().rev().for_each(|piece| self.backlog.push_front(piece));
        self.state = match self.state {
            State::Told(status) => State::Ended(status),
            other => other,
        };
        (self.sent, self.window, self.flight) = (0, WINDOW.into(), 0);
        (self.log, self.unsafe_yet) = (Some(Vec::new()), None);
        // A checkpoint behind output is one of the session that has the output.
        self.safe = self.safe.filter(|(octets, _)| *octets == 0);
        Some(self)
    }

    /// It is over, and no success.
    pub(super) fn failed(&self) -> bool {
        matches!(&self.state, State::Ended(status) | State::Told(status) if !status.is_success())
    }

    fn settle_checkpoint(&mut self) {
        if self.unsafe_yet.as_ref().is_some_and(|(octets, _)| *octets <= self.sent) {
            self.safe = self.unsafe_yet.take();
        }
    }

    fn progress(&self) -> Progress {
        let (octets, state) = self.safe.clone().unwrap_or_default();
        Progress { attempt: self.attempt, octets, state }
    }
}

/// Octets of output of a task that are kept after they were sent.
const LOG_MAX: u64 = 16 * 1024;

/// Tasks of lost sessions that are kept.
pub(super) const ORPHANS_MAX: usize = 4096;

/// A session of a client.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// Known from Hello on.
    pub(super) job: Option<JobId>,
    /// What the cookie of the element before told, until Hello shows whether it is of the same job.
    pub(super) cookie: Option<crate::Cookie>,
    /// Checkpoints of the element before, for tasks that come here to go on.
    pub(super) lineage: BTreeMap<TaskId, Progress>,
    pub(super) held: BTreeMap<Attempt, Held>,
    /// Octets of output of all of them that are on their way, as far as we know.
    flight: u64,
    /// Some wait for this to become less.
    held_up: bool,
    /// Waiting tasks in the order they came.
    pub(super) queue: VecDeque<Attempt>,
    /// The newest attempt of each task seen in this session; the lowest tasks are forgotten first.
    newest: BTreeMap<TaskId, u32>,
    /// Opened from this very machine.
    pub(super) near: bool,
    /// It is not about a job: it hears how far draining is.
    pub(super) watches: bool,
    /// Cookies given away.
    pub(super) sequence: u32,
    /// Items this client sends, by transfer.
    pub(super) fetches: BTreeMap<u32, Item>,
    /// Checkpoints on their way to this client, by transfer.
    pub(super) saves: BTreeMap<u32, Save>,
    /// The last number of a transfer.
    pub(super) transfers: u32,
    /// The last cookie had entries: an empty one has to take its place when the work is done.
    pub(super) cookie_had_entries: bool,
    /// When the last one was given.
    pub(super) cookie_given: Option<Time>,
}

/// Tasks whose newest attempt a session remembers.
const NEWEST_MAX: usize = 16_384;

/// Checkpoints of other workers a session keeps, and their octets together.
const LINEAGE_MAX: usize = 256;
const LINEAGE_OCTETS_MAX: usize = 1024 * 1024;

impl Session {
    /// Sends what a task has to say, as far as there is room. Unless `at_once`, that of a first execution that nobody
    /// cancelled may wait for more.
    pub(super) fn pass_on(&mut self, attempt: Attempt, at_once: bool, out: &mut Batch) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        let before = held.flight;
        held.add(out, FLIGHT_MAX.saturating_sub(self.flight));
        self.flight += held.flight - before;
        self.held_up |= held.is_held_up();
        if at_once || !held.may_wait() {
            out.hurry();
        }
    }

    /// The client has so much of a task's output, and takes as much again.
    pub(super) fn widen(&mut self, attempt: Attempt, octets: u32, out: &mut Batch) {
        let Some(held) = self.held.get_mut(&attempt) else { return };
        held.window = held.window.saturating_add(octets.into());
        let confirmed = held.flight.min(octets.into());
        held.flight -= confirmed;
        self.flight -= confirmed;
        self.pass_on(attempt, true, out);
        self.go_on(out);
    }

    /// Forgets a task that is settled.
    pub(super) fn settle(&mut self, attempt: Attempt, out: &mut Batch) {
        self.flight -= self.held.remove(&attempt).map_or(0, |held| held.flight);
        self.go_on(out);
    }

    /// There is room again: those that are held up say more, the oldest first.
    fn go_on(&mut self, out: &mut Batch) {
        if !std::mem::take(&mut self.held_up) {
            return;
        }
        let held_up: Vec<_> =
            self.held.iter().filter(|(_, held)| held.is_held_up()).map(|(attempt, _)| *attempt).collect();
        for attempt in held_up {
            self.pass_on(attempt, true, out);
            if self.held_up {
                return;
            }
        }
    }

    /// Notes an attempt; false if it or a later one was here before.
    pub(super) fn is_news(&mut self, attempt: Attempt) -> bool {
        let newest = self.newest.entry(attempt.task).or_default();
        if attempt.number <= *newest {
            return false;
        }
        *newest = attempt.number;
        if self.newest.len() > NEWEST_MAX {
            self.newest.pop_first();
        }
        true
    }

    /// Checkpoints of a worker before, from its cookie. Bounded: what finds no room starts from zero.
    pub(super) fn inherit(&mut self, entries: Vec<Progress>) {
        for entry in entries.into_iter().filter(|entry| !entry.state.is_empty()) {
            let octets: usize = self.lineage.values().map(|entry| entry.state.len()).sum();
            if self.lineage.len() < LINEAGE_MAX && octets + entry.state.len() <= LINEAGE_OCTETS_MAX {
                self.lineage.insert(entry.attempt.task, entry);
            }
        }
    }

    /// What the next cookie tells: started attempts that are not over.
    pub(super) fn entries(&self) -> Vec<Progress> {
        self.held.values().filter(|held| held.run().is_some()).map(Held::progress).collect()
    }
}

/// Whom an occupied slot works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    Session(SessionId, Attempt),
    Orphan(JobId, TaskId),
    /// Killed; the slot is free when the world says so.
    Nobody,
}

/// All that is held.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// Tasks of lost sessions that may be asked for again; none of their output was ever sent.
    pub(super) orphans: BTreeMap<(JobId, TaskId), Held>,
    /// The occupied slots.
    pub(super) owners: BTreeMap<RunId, Owner>,
    /// What the runs need, as long as they run.
    pub(super) pins: BTreeMap<RunId, Vec<Item>>,
    /// What runs that need something have taken.
    pub(super) used: BTreeMap<RunId, Resources>,
    /// Octets of all waiting work.
    pub(super) waiting_octets: u64,
    /// Waiting tasks that need items.
    pub(super) needy: usize,
}

impl Books {
    /// The task a run belongs to, and its session unless it is an orphan.
    pub(super) fn held_of(&mut self, run: RunId) -> Option<(&mut Held, Option<SessionId>)> {
        match *self.owners.get(&run)? {
            Owner::Session(id, attempt) => {
                Some((self.sessions.get_mut(&id)?.held.get_mut(&attempt)?, Some(id)))
            }
            Owner::Orphan(job, task) => Some((self.orphans.get_mut(&(job, task))?, None)),
            Owner::Nobody => None,
        }
    }

    /// A waiting task waits no more. Returns what it had pinned; the caller lets go of it, or starts it.
    pub(super) fn unneeded(&mut self, attempt: Attempt, id: SessionId) -> Vec<Item> {
        let held = self.sessions.get_mut(&id).and_then(|session| session.held.get_mut(&attempt));
        let Some(held) = held else { return Vec::new() };
        let needs = held.needs();
        self.needy -= usize::from(!needs.is_empty());
        if std::mem::take(&mut held.pinned) { needs } else { Vec::new() }
    }

    /// Octets of output that wait for windows.
    pub(super) fn backlog(&self) -> u64 {
        let held = self.sessions.values().flat_map(|session| session.held.values());
        held.chain(self.orphans.values()).map(Held::backlog_octets).sum()
    }

    /// The sessions whose clients leave so much output waiting, of all there is, that others should not suffer for it.
    pub(super) fn full_sessions(&self, backlog: u64) -> BTreeSet<SessionId> {
        if backlog < SESSION_BACKLOG_MAX {
            return BTreeSet::new();
        }
        let octets = |session: &Session| session.held.values().map(Held::backlog_octets).sum::<u64>();
        let full = self.sessions.iter().filter(|(_, session)| octets(session) >= SESSION_BACKLOG_MAX);
        full.map(|(id, _)| *id).collect()
    }
}
