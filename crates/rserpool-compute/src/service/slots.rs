//! Slots: what starts next, and how it ends.

use super::held::{Held, Owner, Session, State};
use super::{BACKLOG_MAX, RunId, TaskService, Timer, Wish};
use crate::protocol::{Attempt, Frame, Status, Stream, WINDOW};
use crate::resources::Resources;
use crate::work::Work;
use rserpool::Time;
use rserpool::element::{Replies, SessionId};
use std::ops::Bound;

/// How far into a session's queue a task is looked for that can start although those before it lack resources.
const LOOK_AHEAD: usize = 64;

impl TaskService {
    /// Fills free slots, each session in its turn.
    pub(super) fn start_waiting(&mut self, now: Time, replies: &mut Replies<Wish>) {
        let mut backlog = self.books.backlog();
        let full = self.books.full_sessions(backlog);
        while self.books.owners.len() < self.slots() as usize && backlog < BACKLOG_MAX {
            let later = self.books.sessions.range((Bound::Excluded(self.turn), Bound::Unbounded));
            let fits = |(&id, session): (&SessionId, &Session)| {
                if full.contains(&id) { None } else { Some((id, self.startable(id, session)?)) }
            };
            let Some((id, place)) = later.chain(&self.books.sessions).find_map(fits) else { break };
            self.turn = id;
            backlog += self.start(now, id, place, replies);
        }
        self.stake_claim();
    }

    /// The place in its queue of the first task of this session that can start now: all items it needs are here, the
    /// resources it needs are free, and no task before it waits for the same ones. Most tasks need nothing.
    fn startable(&self, id: SessionId, session: &Session) -> Option<usize> {
        let mut before: Vec<&Resources> = Vec::new();
        let prepared = if self.books.needy == 0 { usize::MAX } else { self.prepared() };
        for (place, attempt) in session.queue.iter().enumerate().take(prepared.min(LOOK_AHEAD)) {
            let held = session.held.get(attempt).expect("what is queued is held");
            if self.books.needy > 0 && !self.is_complete(held) {
                continue;
            }
            let needs = &held.resources;
            if needs.is_empty() {
                return Some(place);
            }
            let claimed =
                self.claim.filter(|claim| *claim != (id, *attempt)).and_then(|claim| self.needs_of(claim));
            let in_turn =
                !claimed.into_iter().chain(before.iter().copied()).any(|other| other.competes_with(needs));
            if in_turn && self.config.resources.without(self.books.used.values()).covers(needs) {
                return Some(place);
            }
            before.push(needs);
        }
        None
    }

    /// True if every item it needs is here.
    fn is_complete(&self, held: &Held) -> bool {
        held.pinned && held.needs().iter().all(|item| self.stock.has(item))
    }

    /// What a waiting task needs; `None` if it does not wait (any more).
    fn needs_of(&self, (id, attempt): (SessionId, Attempt)) -> Option<&Resources> {
        let held = self.books.sessions.get(&id)?.held.get(&attempt)?;
        matches!(held.state, State::Waiting(_)).then_some(&held.resources)
    }

    /// If nobody has a claim on resources, the next session whose first task waits for some gets it.
    fn stake_claim(&mut self) {
        if self.claim.is_some_and(|claim| self.needs_of(claim).is_some()) {
            return;
        }
        let later = self.books.sessions.range((Bound::Excluded(self.turn), Bound::Unbounded));
        let first = |(&id, session): (&SessionId, &Session)| {
            let needy = |attempt: &&Attempt| {
                let held = session.held.get(attempt).filter(|held| !held.resources.is_empty());
                held.is_some_and(|held| self.books.needy == 0 || self.is_complete(held))
            };
            Some((id, *session.queue.front().filter(needy)?))
        };
        self.claim = later.chain(&self.books.sessions).find_map(first);
    }

    /// Starts a waiting task of a session. Returns the octets of output it has at once.
    fn start(&mut self, now: Time, id: SessionId, place: usize, replies: &mut Replies<Wish>) -> u64 {
        let Some(session) = self.books.sessions.get_mut(&id) else { return 0 };
        let (Some(job), Some(attempt)) = (session.job, session.queue.remove(place)) else { return 0 };
        self.last_run += 1;
        let run = RunId(self.last_run);
        let needs = self.books.unneeded(attempt, id);
        if !needs.is_empty() {
            self.books.pins.insert(run, needs);
        }
        let Some(session) = self.books.sessions.get_mut(&id) else { return 0 };
        let held = session.held.get_mut(&attempt).expect("what is queued is held");
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
            session.pass_on(attempt, true, batch);
            return length;
        }
        let from = held.checkpoint().map_or(0, |(octets, _)| *octets);
        batch.add(&Frame::Started { attempt, of: held.of, from });
        if !held.may_wait() {
            batch.hurry();
        }
        self.books.owners.insert(run, Owner::Session(id, attempt));
        if !held.resources.is_empty() {
            self.books.used.insert(run, held.resources.clone());
        }
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
    pub(super) fn kill(&mut self, run: RunId, replies: &mut Replies<Wish>) {
        self.counters.killed += 1;
        self.timers.clear(&Timer::TimeUp(run));
        if self.timers.clear(&Timer::Slept(run)) {
            self.ended(run, Status::Cancelled, replies);
        } else {
            replies.wish(Wish::Kill { run });
        }
    }

    /// Frees the slot of a run and notes how it ended.
    pub(super) fn ended(&mut self, run: RunId, status: Status, replies: &mut Replies<Wish>) {
        self.books.used.remove(&run);
        self.timers.clear(&Timer::TimeUp(run));
        if let Some(needs) = self.books.pins.remove(&run) {
            self.unpin(&needs, replies);
        }
        if let Some(Owner::Session(id, _)) = self.books.owners.get(&run).copied()
            && let Some(session) = self.books.sessions.get_mut(&id)
            && let Some(&transfer) =
                session.saves.iter().find(|(_, save)| save.run == run).map(|(number, _)| number)
        {
            session.saves.remove(&transfer);
            self.say(id, &Frame::Stop { transfer });
        }
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
        let attempt = held.attempt;
        if let Some(id) = id {
            self.pass_on(id, attempt, false);
        }
        self.books.owners.remove(&run);
    }
}
