//! Keeping slots busy: what is sent where, and what idle slots are good for at the end of a job.

use super::lanes::{Lane, Stage};
use super::{Event, Job, Timer};
use crate::protocol::{Attempt, Frame, TaskId};
use rserpool::Time;
use rserpool::user::SessionId;
use std::time::Duration;

/// How often a task gets a second worker.
const BACKUPS_MAX: u32 = 2;

/// Most tasks sent ahead of free slots.
const AHEAD_MAX: usize = 1024;

impl Lane {
    /// Slots without a task.
    fn idle_slots(&self) -> usize {
        if !self.is_ready() {
            return 0;
        }
        let busy = self.assigned.len();
        (self.slots.min(self.limit) as usize).saturating_sub(busy)
    }

    /// How many more tasks to send now. `ahead`: also some that have to wait for a slot, for so long.
    ///
    /// The pace of the past is only believed as far as the present bears it out: never more ahead than results have come
    /// (a first short task says little about the second), and none while a task takes its time.
    fn room(&self, now: Time, ahead: Option<Duration>) -> usize {
        let ahead = match (ahead, self.pace) {
            (Some(span), Some(pace)) => {
                let pace = pace.max(now.since(self.last_result)).as_nanos().max(1);
                usize::try_from(span.as_nanos() / pace).unwrap_or(AHEAD_MAX).min(AHEAD_MAX).min(self.results)
            }
            _ => 0,
        };
        let wanted = (self.slots as usize + ahead).saturating_sub(self.assigned.len());
        wanted.min((self.limit as usize).saturating_sub(self.assigned.len() + self.unsettled.len()))
    }

    /// The task that would begin last, if it waits for a slot.
    fn to_recall(&self) -> Option<TaskId> {
        if !self.is_ready() || self.assigned.len() <= self.slots as usize {
            return None;
        }
        let (task, last) = self.assigned.iter().max_by_key(|(_, assigned)| assigned.order)?;
        (!last.started && !last.cancelled && !last.recalled).then_some(*task)
    }
}

impl Job {
    /// Gives lanes with room something to do: free slots first, then some tasks ahead of them.
    pub(super) fn feed(&mut self) {
        let alone = self.worker_count() <= 1;
        for ahead in [None, Some(self.config.ahead)] {
            for (&session, lane) in &mut self.lanes {
                let Some(worker) = lane.element.filter(|_| lane.is_ready()) else { continue };
                for _ in 0..lane.room(self.now, ahead) {
                    let Some(id) = self.tasks.take(worker, alone, session) else { break };
                    let task = self.tasks.get_mut(id).expect("just taken");
                    task.attempts += 1;
                    lane.send(self.now, id, task.attempts, None, &task.work);
                }
            }
        }
        self.release_lanes();
        if self.tasks.queued() == 0 && self.idle_slots() > 0 {
            self.use_idle_slots();
        }
    }

    /// All tasks are at workers, and slots are idle: the end of the job, where one slow worker holds everybody up.
    fn use_idle_slots(&mut self) {
        if self.timers.get(&Timer::Recall).is_none()
            && self.lanes.values().any(|lane| lane.to_recall().is_some())
        {
            self.timers.set(Timer::Recall, self.now + self.config.ahead);
        }
        while let Some((due, id, at)) = self.straggler() {
            if due > self.now {
                self.timers.set(Timer::Backup, due);
                return;
            }
            let idle = |(session, lane): &(&SessionId, &mut Lane)| **session != at && lane.idle_slots() > 0;
            let Some((&session, lane)) = self.lanes.iter_mut().find(idle) else { return };
            let Some(task) = self.tasks.get_mut(id) else { return };
            task.attempts += 1;
            task.backups = task.backups.map(|before| before + 1);
            task.backup = Some(session);
            lane.send(self.now, id, task.attempts, None, &task.work);
        }
    }

    /// Of the tasks that could begin in an idle slot as well, the one that has run for longest: when it should, and
    /// where it runs.
    fn straggler(&self) -> Option<(Time, TaskId, SessionId)> {
        let patience = (self.usual? * 2).max(self.config.backup_after);
        let idle = |but| self.lanes.iter().any(|(&session, lane)| session != but && lane.idle_slots() > 0);
        let lanes = self.lanes.iter().filter(|(session, _)| idle(**session));
        let running = lanes.flat_map(|(&session, lane)| {
            let assigned =
                lane.assigned.iter().filter(|(_, assigned)| assigned.started && !assigned.cancelled);
            assigned.map(move |(&task, assigned)| (assigned.since + patience, task, session))
        });
        let alone = |task: &TaskId| {
            let task = self.tasks.get(*task);
            task.is_some_and(|task| {
                task.backup.is_none() && task.backups.is_some_and(|so_far| so_far < BACKUPS_MAX)
            })
        };
        running.filter(|(_, task, _)| alone(task)).min()
    }

    /// Ends lanes that have nothing left to do: of workers that drain, and guests.
    fn release_lanes(&mut self) {
        let done = |lane: &Lane| {
            lane.stage == Stage::Ready
                && (lane.guest || lane.credit == 0)
                && lane.assigned.is_empty()
                && lane.unsettled.is_empty()
        };
        while let Some((&session, lane)) = self.lanes.iter().find(|(_, lane)| done(lane)) {
            let (guest, worker) = (lane.guest, lane.element);
            self.flush(session);
            self.drop_lane(session);
            if let Some(worker) = worker.filter(|_| !guest) {
                self.shun(worker, false);
                self.event(Event::WorkerLeft { worker });
            }
        }
    }

    fn idle_slots(&self) -> usize {
        self.lanes.values().map(Lane::idle_slots).sum()
    }

    /// Calls tasks back that wait at a busy worker while slots elsewhere are idle.
    pub(super) fn recall(&mut self) {
        for _ in 0..self.idle_slots() {
            let Some((lane, task)) =
                self.lanes.values_mut().find_map(|lane| lane.to_recall().map(|task| (lane, task)))
            else {
                return;
            };
            let assigned = lane.assigned.get_mut(&task).expect("found there");
            assigned.recalled = true;
            let attempt = Attempt { task, number: assigned.number };
            lane.batch.push(&Frame::Recall { attempt });
        }
    }
}
