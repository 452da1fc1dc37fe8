//! What a worker holds for the sessions it serves.

use super::RunId;
use crate::cookie::Progress;
use crate::protocol::{Attempt, Batch, CHUNK_MAX, Frame, JobId, Status, Stream, TaskId, WINDOW};
use crate::work::Work;
use rserpool::element::SessionId;
use std::collections::{BTreeMap, VecDeque};

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
    Told,
}

/// A task a session holds: from Task to Ack.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) attempt: Attempt,
    pub(super) state: State,
    /// Octets of its work.
    pub(super) size: u64,
    pub(super) cancelled: bool,
    pub(super) timed_out: bool,
    /// Octets of output the world has told of, those before a continued checkpoint included.
    pub(super) told: u64,
    /// Octets of output that went to the client, likewise.
    pub(super) sent: u64,
    /// Octets of output the client still permits.
    window: u64,
    /// Output that waits for the window. The world is told the window as well, so it stays short.
    backlog: VecDeque<(Stream, Vec<u8>)>,
    /// The checkpoint all of whose output is sent: fit for a cookie.
    safe: Option<(u64, Vec<u8>)>,
    /// The newest checkpoint some of whose output is in the backlog.
    unsafe_yet: Option<(u64, Vec<u8>)>,
}

impl Held {
    pub(super) fn new(attempt: Attempt, state: State, size: u64, checkpoint: Option<(u64, Vec<u8>)>) -> Self {
        let from = checkpoint.as_ref().map_or(0, |(octets, _)| *octets);
        Self {
            attempt,
            state,
            size,
            cancelled: false,
            timed_out: false,
            told: from,
            sent: from,
            window: WINDOW.into(),
            backlog: VecDeque::new(),
            safe: checkpoint,
            unsafe_yet: None,
        }
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
        self.unsafe_yet = Some((self.told, state));
        self.settle_checkpoint();
    }

    pub(super) fn widen(&mut self, octets: u32) {
        self.window = self.window.saturating_add(octets.into());
    }

    /// Forgets output nobody wants any more.
    pub(super) fn drop_backlog(&mut self) {
        self.backlog.clear();
        self.told = self.sent;
        self.unsafe_yet = None;
    }

    /// Sends what the window permits and, after the last output, the result.
    pub(super) fn send(&mut self, out: &mut Batch) {
        while self.window > 0
            && let Some((stream, mut octets)) = self.backlog.pop_front()
        {
            let fits = octets.len().min(CHUNK_MAX).min(usize::try_from(self.window).unwrap_or(CHUNK_MAX));
            let rest = octets.split_off(fits);
            if !rest.is_empty() {
                self.backlog.push_front((stream, rest));
            }
            out.push(&Frame::Output { attempt: self.attempt, stream, offset: self.sent, octets });
            self.sent += fits as u64;
            self.window -= fits as u64;
        }
        self.settle_checkpoint();
        if self.backlog.is_empty()
            && let State::Ended(status) = &self.state
        {
            let status = status.clone();
            out.push(&Frame::Result { attempt: self.attempt, status, octets: self.sent });
            self.state = State::Told;
        }
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
    /// Waiting tasks in the order they came.
    pub(super) queue: VecDeque<Attempt>,
    /// The newest attempt of each task seen in this session; the lowest tasks are forgotten first.
    newest: BTreeMap<TaskId, u32>,
    /// Cookies given away.
    pub(super) sequence: u32,
    /// The last cookie had entries: an empty one has to take its place when the work is done.
    pub(super) cookie_had_entries: bool,
}

/// Tasks whose newest attempt a session remembers.
const NEWEST_MAX: usize = 16_384;

impl Session {
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
    /// Octets of all waiting work.
    pub(super) waiting_octets: u64,
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

    /// Octets of output that wait for windows.
    pub(super) fn backlog(&self) -> u64 {
        let held = self.sessions.values().flat_map(|session| session.held.values());
        held.chain(self.orphans.values()).map(Held::backlog_octets).sum()
    }
}
