//! Leaving in good order: no task is lost, and none is charged for it.
//!
//! ```text
//!   serving --drain--> waiting tasks given back, no new ones --all settled-------------> Drained
//!                      (out of the pool, sessions go on)     `--time over--> given back --'
//! ```
//!
//! What is given back when the time is over runs elsewhere: each session gets a last cookie with the checkpoints of its
//! tasks and is then ended by the worker, which clients tell from a death.

use super::held::Owner;
use super::{Draining, TaskService, Timer, Wish};
use crate::protocol::{Frame, Refusal, Status};
use rserpool::Time;
use rserpool::element::{Replies, SessionId};
use std::time::Duration;

/// Who may have a worker drained, besides its own machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainFor {
    /// Nobody: sessions have to come from a loopback address.
    #[default]
    Loopback,
    /// Everybody who can reach it.
    Anyone,
}

impl TaskService {
    /// Takes no more tasks: waiting ones go back to their clients, running ones may go on for so long; then they are
    /// given back as well. [`Wish::Draining`] says that it begins, [`Wish::Drained`] that nobody waits for anything here
    /// any more. Of several such calls the earliest end counts.
    pub fn drain(&mut self, now: Time, patience: Duration, replies: &mut Replies<Wish>) {
        if self.draining == Draining::Done {
            return;
        }
        if self.draining == Draining::No {
            self.draining = Draining::Yes;
            replies.wish(Wish::Draining { patience });
            self.give_back_waiting(replies);
        }
        let end = now + patience;
        if self.timers.get(&Timer::DrainOver).is_none_or(|due| end < due) {
            self.timers.set(Timer::DrainOver, end);
        }
        if patience.is_zero() {
            self.give_back_running(now, replies);
        }
        self.finish(now, replies);
    }

    /// Tasks that are not settled: held for a session, or in the hope that their client comes back.
    pub fn unsettled(&self) -> usize {
        let held = self.books.sessions.values().map(|session| session.held.len());
        held.sum::<usize>() + self.books.orphans.len()
    }

    /// Somebody who opened a session wants this worker to drain.
    pub(super) fn asked_to_drain(
        &mut self,
        now: Time,
        id: SessionId,
        millis: u32,
        replies: &mut Replies<Wish>,
    ) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let permitted = session.near || self.config.drain_for == DrainFor::Anyone;
        session.watches = permitted;
        if permitted {
            self.drain(now, Duration::from_millis(millis.into()), replies);
        } else {
            self.counters.drains_refused += 1;
        }
        // Draining may be over by now; then its last word is said.
        if self.draining != Draining::Done {
            let left = self.timers.get(&Timer::DrainOver).map_or(Duration::ZERO, |end| end.since(now));
            let millis = u32::try_from(left.as_millis()).unwrap_or(u32::MAX);
            let tasks = u32::try_from(self.unsettled()).unwrap_or(u32::MAX);
            self.say(id, &Frame::Draining { permitted, tasks, millis });
        }
    }

    fn give_back_waiting(&mut self, replies: &mut Replies<Wish>) {
        let sessions: Vec<_> = self.books.sessions.keys().copied().collect();
        for id in sessions {
            let session = self.books.sessions.get_mut(&id).expect("listed above");
            if session.job.is_none() {
                continue; // its Welcome will say so
            }
            let waiting = session.queue.clone();
            self.say(id, &Frame::Credit { tasks: 0 });
            for attempt in waiting {
                let needs = self.leave_queue(id, attempt).unwrap_or_default();
                self.unpin(&needs, replies);
                if let Some(session) = self.books.sessions.get_mut(&id) {
                    session.held.remove(&attempt);
                }
                let status = Status::Refused(Refusal::Draining);
                self.say(id, &Frame::Result { attempt, status, octets: 0 });
            }
        }
    }

    /// The time is over: everything that still runs is stopped and every session ended.
    pub(super) fn give_back_running(&mut self, now: Time, replies: &mut Replies<Wish>) {
        self.timers.clear(&Timer::DrainOver);
        let sessions: Vec<_> = self.books.sessions.keys().copied().collect();
        for id in sessions {
            if self.books.sessions[&id].watches {
                continue;
            }
            self.timers.clear(&Timer::Cookie(id));
            self.cookie_due(now, id, replies);
            let session = self.books.sessions.get_mut(&id).expect("listed above");
            for run in std::mem::take(&mut session.held).into_values().filter_map(|held| held.run()) {
                self.stop_for_nobody(run, replies);
            }
            replies.close(id);
            self.forget(now, id, replies);
        }
        let orphans: Vec<_> = self.books.orphans.keys().copied().collect();
        for (job, task) in orphans {
            self.timers.clear(&Timer::Grace(job, task));
            self.grace_over(job, task, replies);
        }
    }

    pub(super) fn stop_for_nobody(&mut self, run: super::RunId, replies: &mut Replies<Wish>) {
        self.books.owners.insert(run, Owner::Nobody);
        self.kill(run, replies);
    }

    /// Notices the end of draining, and tells those who asked for it.
    pub(super) fn notice_drained(&mut self) -> bool {
        let idle = self.draining == Draining::Yes && self.unsettled() == 0 && self.books.owners.is_empty();
        if idle {
            self.draining = Draining::Done;
            self.timers.clear(&Timer::DrainOver);
            let watching = self.books.sessions.iter().filter(|(_, session)| session.watches);
            for id in watching.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.say(id, &Frame::Draining { permitted: true, tasks: 0, millis: 0 });
            }
        }
        idle
    }
}
