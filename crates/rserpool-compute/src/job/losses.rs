//! What happens to the tasks of a lane that loses its worker.

use super::books::{Kept, Place};
use super::lanes::Stage;
use super::{Cause, Event, Job, Timer};
use crate::cookie::Cookie;
use crate::protocol::{PPID, TaskId};
use rserpool::user::{FailoverCause, SessionId};
use std::collections::BTreeMap;

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
        let tasks = lane.assigned.values().filter(|assigned| !assigned.cancelled).count();
        let checkpoints = self.checkpoints(session);
        self.reclaim(session, cause, &checkpoints);
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        (lane.stage, lane.guest) = (Stage::Seeking, false);
        (lane.slots, lane.credit, lane.credit_max, lane.limit) = (0, 0, 0, 0);
        lane.unsettled.clear();
        lane.batch.take();
        let moving = !lane.moved.is_empty();
        if moving {
            self.timers.set(Timer::Move(session), self.now + self.config.move_patience);
        }
        if let (Some(worker), true) = (worker, stage == Stage::Ready && !guest) {
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

    /// The checkpoints another worker will find in the session's cookie: octets of output before each, by task and
    /// number of the attempt. Only the worker can say whether it goes on from there.
    fn checkpoints(&self, session: SessionId) -> BTreeMap<(TaskId, u32), u64> {
        let cookie = self.user.cookie(session).and_then(|cookie| Cookie::verify(cookie).ok());
        let entries = cookie.filter(|cookie| cookie.job == self.config.job).map(|cookie| cookie.entries);
        let entries = entries.unwrap_or_default().into_iter().filter(|entry| !entry.state.is_empty());
        entries.map(|entry| ((entry.attempt.task, entry.attempt.number), entry.octets)).collect()
    }

    /// Takes all tasks from a lane. Only those that were running are charged (J8): had the worker not said of any that
    /// it runs and yet was lost, it was the oldest, which may have killed it before it could say so.
    fn reclaim(
        &mut self,
        session: SessionId,
        cause: FailoverCause,
        checkpoints: &BTreeMap<(TaskId, u32), u64>,
    ) {
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        let mut assigned: Vec<_> = std::mem::take(&mut lane.assigned).into_iter().collect();
        assigned.sort_by_key(|(_, assigned)| std::cmp::Reverse(assigned.order));
        let silent = matches!(cause, FailoverCause::Lost | FailoverCause::Hung)
            && assigned.iter().all(|(_, assigned)| !assigned.started);
        let oldest = assigned.last().map(|(task, _)| *task).filter(|_| silent);
        for (id, assigned) in assigned {
            if assigned.cancelled {
                continue;
            }
            let Some(task) = self.tasks.get_mut(id) else { continue };
            if assigned.started || oldest == Some(id) {
                task.deaths += 1;
            }
            let deaths = task.deaths;
            let checkpoint = checkpoints.get(&(id, assigned.number));
            if self.tasks.leave(id, session) {
                self.drop_execution(id, &assigned);
            } else if deaths >= self.config.deaths_max {
                self.drop_execution(id, &assigned);
                self.give_up(id, Cause::WorkersDied { times: deaths });
            } else if checkpoint.is_some_and(|octets| (1..=assigned.received).contains(octets)) {
                self.tasks.put(id, Place::Moved(session));
                if let Some(lane) = self.lanes.get_mut(&session) {
                    lane.moved.insert(id, Kept { number: assigned.number, octets: assigned.received });
                }
            } else {
                // From the newest to the oldest, each to the front: they end up in their old order.
                self.drop_execution(id, &assigned);
                self.tasks.requeue(id);
            }
        }
    }

    /// Tasks that waited for their session to move start anew, anywhere.
    pub(super) fn give_up_moving(&mut self, session: SessionId) {
        self.timers.clear(&Timer::Move(session));
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        for (id, kept) in std::mem::take(&mut lane.moved).into_iter().rev() {
            self.dropped(id, kept.number);
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
