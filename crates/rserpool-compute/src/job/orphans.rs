//! What a former life of the client left at its workers: executions that run, or ended without anybody having their
//! result safe.
//!
//! A worker names them after its welcome. A task that did not begin in this life takes the one of its own, but not one from
//! before it was tried again; everything else is not wanted any more, except that a task which lost its session a moment ago
//! may still be sent there again.

use super::books::Place;
use super::{Job, Stage};
use crate::protocol::{Attempt, Frame, TaskId};
use rserpool::user::SessionId;
use std::time::Duration;

/// How long a job that goes on waits for workers to name what they hold, before it starts anything anew elsewhere.
const ASKING: Duration = Duration::from_millis(500);

/// Offers kept for tasks that are not handed in again yet.
const OFFERS_MAX: usize = 65_536;

impl Job {
    /// A worker holds this execution.
    pub(super) fn offered(&mut self, session: SessionId, attempt: Attempt) {
        let is_known = self.tasks.last.is_some_and(|last| attempt.task <= last);
        if !is_known && self.input == Stage::Open && self.offers.len() < OFFERS_MAX {
            self.offers.insert(attempt.task, (session, attempt.number));
            return;
        }
        let Some(task) = self.tasks.get(attempt.task) else { return self.decline(session, attempt) };
        if attempt.number <= task.settled {
            // What became of it is not to be accepted once more: the task is tried again.
            return self.decline(session, attempt);
        }
        if task.starts > 0 || attempt.number > task.former {
            return;
        }
        match task.place {
            Place::Queued => self.adopt(session, attempt),
            Place::At(_) | Place::Moved(_) => self.decline(session, attempt),
        }
    }

    /// What became of attempts of this task up to this one is known.
    #[cfg(test)]
    pub(crate) fn settled(&self, id: TaskId) -> Option<u32> {
        self.tasks.get(id).map(|task| task.settled)
    }

    /// A task is handed in: perhaps a worker has it already.
    pub(super) fn take_offer(&mut self, id: TaskId) {
        if let Some((session, number)) = self.offers.remove(&id) {
            self.offered(session, Attempt { task: id, number });
        }
    }

    /// No more tasks come: what is offered for others is not wanted.
    pub(super) fn decline_offers(&mut self) {
        for (task, (session, number)) in std::mem::take(&mut self.offers) {
            self.decline(session, Attempt { task, number });
        }
    }

    fn adopt(&mut self, session: SessionId, attempt: Attempt) {
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        if lane.assigned.len() + lane.unsettled.len() >= lane.limit as usize {
            return;
        }
        let class = self.tasks.get(attempt.task).map_or(0, |task| task.class);
        lane.adopt(self.now, attempt, class);
        self.tasks.adopt(attempt.task, session);
    }

    fn decline(&mut self, session: SessionId, attempt: Attempt) {
        if let Some(lane) = self.lanes.get_mut(&session) {
            lane.batch.push(&Frame::Cancel { attempt });
        }
    }

    /// Tasks of a former life came: for a moment nothing is started before everybody was asked.
    pub(super) fn ask_around(&mut self) {
        if self.asking.is_none() {
            self.asking = Some(self.now + ASKING);
        }
    }

    /// True if everybody in the pool is to be asked what it holds. The time for it begins with the first look that shows
    /// workers: before, nobody could be asked.
    pub(super) fn asks_all(&mut self) -> bool {
        if self.asking.is_some() && self.lanes.is_empty() {
            self.asking = Some(self.now + ASKING);
        }
        self.asking.is_some_and(|until| until > self.now)
    }

    /// True if a worker that is being greeted may still hold what would be started elsewhere.
    pub(super) fn is_asking(&mut self) -> bool {
        let Some(until) = self.asking.filter(|until| *until > self.now) else { return false };
        let waiting = self.lanes.values().any(|lane| lane.stage != super::lanes::Stage::Ready);
        if waiting {
            self.timers.set(super::Timer::Asking, until);
        }
        waiting
    }
}
