//! What happens to the tasks of a lane that loses its worker.

use super::books::{Kept, Place};
use super::lanes::{Assigned, Stage};
use super::{Cause, Event, Job, Timer};
use crate::cookie::{Checkpoint, Cookie};
use crate::protocol::{Attempt, PPID, TaskId};
use crate::resources::Resources;
use rserpool::user::{FailoverCause, SessionId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long word of its beginning may take from a task that ends its worker. The word leaves within milliseconds.
const SILENT_MAX: Duration = Duration::from_secs(1);

impl Job {
    /// The session lost its worker and looks for another one. Its tasks wait for a slot again, except those that can
    /// go on from a checkpoint of the cookie: they wait for this session, because the cookie goes with it.
    pub(super) fn lane_lost(&mut self, session: SessionId, cause: FailoverCause) {
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        let (stage, worker) = (lane.stage, lane.element.take());
        if stage == Stage::Seeking && lane.moved.is_empty() {
            // It never had a worker, or lost the one it was to have: whoever else there is is found by looking around.
            if let Some(worker) = worker {
                self.shun(worker, false);
            }
            self.drop_lane(session);
            return;
        }
        if stage == Stage::Seeking {
            return;
        }
        let guest = lane.guest;
        // It said that it drains, and its time is over.
        let left = cause == FailoverCause::Ended && lane.credit == 0;
        let tasks = lane.assigned.values().filter(|assigned| !assigned.cancelled).count();
        let checkpoints = self.checkpoints(session);
        self.reclaim(session, cause, &checkpoints);
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        (lane.stage, lane.guest) = (Stage::Seeking, false);
        (lane.slots, lane.credit, lane.credit_max, lane.limit) = (0, 0, 0, 0);
        lane.resources = Resources::NONE;
        lane.unsettled.clear();
        lane.batch.take();
        self.transfers_lost(session);
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        let moving = !lane.moved.is_empty();
        if moving {
            self.timers.set(Timer::Move(session), self.now + self.config.move_patience);
        }
        if let (Some(worker), true) = (worker, stage == Stage::Ready && !guest && left) {
            self.shun(worker, false);
            self.event(Event::WorkerLeft { worker });
        } else if let (Some(worker), true) = (worker, stage == Stage::Ready && !guest) {
            self.tasks.counts.failovers += 1;
            if let Some(counts) = self.workers.get_mut(&worker) {
                counts.losses += 1;
            }
            self.event(Event::WorkerLost { worker, cause, tasks });
        }
        if let (Some(worker), Stage::Greeting) = (worker, stage) {
            // It would not even welcome us: it may be full.
            self.shun(worker, false);
        }
        if !moving && (guest || self.worker_count() > 0) {
            self.drop_lane(session);
        } else {
            let in_use = self.elements_in_use(Some(session));
            self.user.avoid(session, in_use);
        }
    }

    /// The checkpoints another worker will find in the session's cookie, by attempt. Only the worker can say whether it
    /// goes on from there.
    fn checkpoints(&self, session: SessionId) -> BTreeMap<Attempt, Kept> {
        let Some(octets) = self.user.cookie(session) else { return BTreeMap::new() };
        let cookie = Cookie::verify(octets).ok().filter(|cookie| cookie.job == self.config.job);
        let entries = cookie.map(|cookie| cookie.entries).unwrap_or_default();
        let sealed: Arc<[u8]> = octets.into();
        let with_state = entries.into_iter().filter(|entry| !entry.state.is_empty());
        let kept = with_state.map(|entry| {
            let (number, cookie) = (entry.attempt.number, sealed.clone());
            let item = match Checkpoint::parse(&entry.state) {
                Some(Checkpoint::Kept(item)) => Some(item),
                _ => None,
            };
            let kept = Kept { number, lineage: number, octets: entry.octets, cookie, item, lent: false };
            (entry.attempt, kept)
        });
        kept.collect()
    }

    /// The checkpoint a second execution besides this one may begin from. Only for work whose output begins anew in any
    /// case: the output of an execution that goes on is its own.
    pub(super) fn lent(&self, session: SessionId, id: TaskId) -> Option<Kept> {
        let assigned = self.lanes.get(&session)?.assigned.get(&id)?;
        let attempt = Attempt { task: id, number: assigned.number };
        let newest = self.checkpoints(session).remove(&attempt).or_else(|| assigned.base.clone())?;
        (newest.octets == 0).then_some(Kept { lent: true, ..newest })
    }

    /// An execution is not at its worker any more. The checkpoint it was to begin from serves the next one, unless the
    /// task is over or has another worker.
    pub(super) fn keep_or_drop(&mut self, id: TaskId, assigned: &Assigned, elsewhere: bool) {
        let task = self.tasks.get_mut(id).filter(|_| !elsewhere && !assigned.started);
        match (task, &assigned.continues) {
            (Some(task), Some(kept)) => task.kept = Some(kept.clone()),
            _ => self.drop_execution(id, assigned),
        }
    }

    /// Takes all tasks from a lane. Only those that were running are charged (J8), and only if the worker died or hung. If it
    /// died without a word of any that it runs, soon after it got them, the oldest may have killed it before it could say so;
    /// it may just as well never have arrived, so this is a suspicion, counted apart. One that waits there for long, for a
    /// slot that others have or for its items, has not begun.
    fn reclaim(&mut self, session: SessionId, cause: FailoverCause, checkpoints: &BTreeMap<Attempt, Kept>) {
        self.offers.retain(|_, (at, _)| *at != session);
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        let mut assigned: Vec<_> = std::mem::take(&mut lane.assigned).into_iter().collect();
        assigned.sort_by_key(|(_, assigned)| std::cmp::Reverse(assigned.order));
        let died = matches!(cause, FailoverCause::Lost | FailoverCause::Hung);
        let silent = cause == FailoverCause::Lost
            && lane.transfers.is_empty()
            && assigned.iter().all(|(_, assigned)| !assigned.started);
        let soon = |(task, assigned): &(TaskId, Assigned)| {
            (silent && self.now.since(assigned.since) < SILENT_MAX).then_some(*task)
        };
        let oldest = assigned.last().and_then(soon);
        for (id, assigned) in assigned {
            if assigned.cancelled {
                continue;
            }
            let Some(task) = self.tasks.get_mut(id) else { continue };
            match died {
                true if assigned.started => task.deaths += 1,
                true if oldest == Some(id) => task.suspicions += 1,
                false if assigned.started => task.given_back += 1,
                _ => {}
            }
            let deaths = task.deaths.max(task.suspicions);
            let attempt = Attempt { task: id, number: assigned.number };
            // The newest checkpoint; else the one it began from, whose output is the beginning of its own.
            let newest = checkpoints.get(&attempt).filter(|kept| kept.octets <= assigned.received).cloned();
            let base = assigned.base.clone().map(|base| Kept { number: attempt.number, lent: false, ..base });
            let kept = newest.clone().or(base).filter(|_| assigned.started);
            let is_over = deaths >= self.config.deaths_max;
            let elsewhere = match self.tasks.leave(id, session) {
                // It began later, and is behind what would be lost here.
                Some(other)
                    if !is_over
                        && kept.as_ref().is_some_and(|kept| self.received(other, id) < kept.octets) =>
                {
                    self.cancel_at(other, id);
                    false
                }
                other => other.is_some(),
            };
            if elsewhere {
                self.drop_execution(id, &assigned);
            } else if is_over {
                self.drop_execution(id, &assigned);
                self.give_up(id, Cause::WorkersDied { times: deaths });
            } else if let Some(kept) = kept {
                if newest.is_some() {
                    self.tasks.put(id, Place::Moved(session));
                    if let Some(lane) = self.lanes.get_mut(&session) {
                        lane.moved.insert(id, kept);
                    }
                } else if let Some(task) = self.tasks.get_mut(id) {
                    task.kept = Some(kept);
                    self.tasks.requeue(id);
                }
            } else {
                // From the newest to the oldest, each to the front: they end up in their old order.
                self.keep_or_drop(id, &assigned, false);
                self.tasks.requeue(id);
            }
        }
    }

    /// Octets of output that came of a task at this lane.
    fn received(&self, session: SessionId, id: TaskId) -> u64 {
        let assigned = self.lanes.get(&session).and_then(|lane| lane.assigned.get(&id));
        assigned.map_or(0, |assigned| assigned.received)
    }

    /// Tasks that waited for their session to move go on anywhere.
    pub(super) fn give_up_moving(&mut self, session: SessionId) {
        self.timers.clear(&Timer::Move(session));
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        for (id, kept) in std::mem::take(&mut lane.moved).into_iter().rev() {
            if let Some(task) = self.tasks.get_mut(id) {
                task.kept = Some(kept);
            }
            self.tasks.requeue(id);
        }
    }

    /// Sends what a lane still has to say, before it ends.
    pub(super) fn flush(&mut self, session: SessionId) {
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        for message in lane.batch.take() {
            // A session that lost its worker says so next.
            let _ = self.user.send(self.now, session, PPID, message);
        }
    }

    /// Ends a lane; whatever it still has is done elsewhere.
    pub(super) fn drop_lane(&mut self, session: SessionId) {
        self.give_up_moving(session);
        self.reclaim(session, FailoverCause::Asked, &BTreeMap::new());
        self.transfers_lost(session);
        self.lanes.remove(&session);
        self.user.close(self.now, session);
    }

    /// Gives up a worker that does not speak the protocol.
    pub(super) fn refuse(&mut self, session: SessionId, why: String) {
        let Some(worker) = self.lanes.get(&session).and_then(|lane| lane.element) else { return };
        self.drop_lane(session);
        self.shun(worker, true);
        self.event(Event::WorkerRefused { worker, why });
    }
}
