//! Slots: what starts next, and how it ends.

use super::held::{Owner, Session, State};
use super::{BACKLOG_MAX, RunId, TaskService, Timer, Wish};
use crate::protocol::{Frame, Status, Stream, WINDOW};
use crate::work::Work;
use rserpool::Time;
use rserpool::element::{Replies, SessionId};
use std::ops::Bound;

impl TaskService {
    /// Fills free slots, each session in its turn.
    pub(super) fn start_waiting(&mut self, now: Time, replies: &mut Replies<Wish>) {
        let mut backlog = self.books.backlog();
        while self.books.owners.len() < self.slots() as usize && backlog < BACKLOG_MAX {
            let later = self.books.sessions.range((Bound::Excluded(self.turn), Bound::Unbounded));
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
    pub(super) fn kill(&mut self, run: RunId, replies: &mut Replies<Wish>) {
        self.counters.killed += 1;
        self.timers.clear(&Timer::TimeUp(run));
        if self.timers.clear(&Timer::Slept(run)) {
            self.ended(run, Status::Cancelled);
        } else {
            replies.wish(Wish::Kill { run });
        }
    }

    /// Frees the slot of a run and notes how it ended.
    pub(super) fn ended(&mut self, run: RunId, status: Status) {
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
}
