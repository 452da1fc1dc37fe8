//! Keeping slots busy: what is sent where, and what idle slots are good for at the end of a job.

use super::books::{Class, Others, Task};
use super::lanes::{Assigned, Lane, Stage};
use super::{Event, Job, Timer};
use crate::protocol::{Attempt, Frame, TaskId};
use crate::resources::Resources;
use rserpool::Time;
use rserpool::user::SessionId;
use std::time::Duration;

/// How often a task gets a second worker.
const BACKUPS_MAX: u32 = 2;

/// A task that was sent to a slot which seemed free begins within four times what the welcome took, and this at least;
/// else others have that slot.
const BEGIN_MIN: Duration = Duration::from_millis(250);
pub(super) const BEGIN_MAX: Duration = Duration::from_secs(1);

/// For so long the slots of a worker are the last choice after others had them.
pub(super) const CROWDED: Duration = Duration::from_secs(2);

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
    /// (a first short task says little about the second), and none while a task takes its time. What is ahead is half used up
    /// before there is more, so that it comes together.
    fn room(&self, now: Time, ahead: Option<Duration>) -> usize {
        let ahead = match (ahead, self.pace) {
            (Some(span), Some(pace)) => {
                let pace = pace.max(now.since(self.last_result)).as_nanos().max(1);
                usize::try_from(span.as_nanos() / pace).unwrap_or(AHEAD_MAX).min(AHEAD_MAX).min(self.results)
            }
            _ => 0,
        };
        let beyond = self.assigned.len().saturating_sub(self.slots as usize);
        let wanted = match beyond > ahead / 2 {
            true => 0,
            false => (self.slots as usize + ahead).saturating_sub(self.assigned.len()),
        };
        wanted.min((self.limit as usize).saturating_sub(self.assigned.len() + self.unsettled.len()))
    }

    /// Others had its slots a moment ago.
    fn is_crowded(&self, now: Time) -> bool {
        self.crowded.is_some_and(|at| now.since(at) < CROWDED)
    }

    /// The task that would begin last of those that wait for a slot, and when it should be called back for an idle one.
    /// `None`: at once, because it waits behind our own; else it was sent to a slot that seemed free, and waits behind
    /// those of others, which shows when it takes its time. Items on their way are no sign of that.
    fn to_recall(&self) -> Option<(TaskId, Option<Time>)> {
        if self.stage != Stage::Ready {
            return None;
        }
        let waits = |of: &Assigned| !of.started && !of.cancelled && !of.recalled;
        let waiting = self.assigned.iter().filter(|(_, assigned)| waits(assigned));
        let (task, last) = waiting.max_by_key(|(_, assigned)| assigned.order)?;
        if self.assigned.len() > self.slots as usize {
            return Some((*task, None));
        }
        let patience = (self.reply * 4).clamp(BEGIN_MIN, BEGIN_MAX);
        self.transfers.is_empty().then_some((*task, Some(last.since + patience)))
    }
}

impl Job {
    /// Gives lanes with room something to do: free slots first, then some tasks ahead of them.
    pub(super) fn feed(&mut self) {
        if self.is_asking() {
            return;
        }
        let suited = self.suited();
        for (ahead, crowded) in [(None, false), (None, true), (Some(self.config.ahead), false)] {
            if self.tasks.queued() == 0 {
                break;
            }
            for session in self.in_turn(crowded) {
                let Some(lane) = self.lanes.get_mut(&session) else { continue };
                let Some(worker) = lane.element else { continue };
                for _ in 0..lane.room(self.now, ahead) {
                    let serves = |classes: &[_], class: Class| {
                        let others = if suited[usize::from(class)] > 1 { Others::Some } else { Others::None };
                        lane.fits(classes, class).then_some(others)
                    };
                    let suspect = |task: &TaskId| self.tasks.get(*task).is_some_and(Task::is_suspect);
                    let accompanied = lane.assigned.keys().any(suspect);
                    let Some(id) = self.tasks.take(worker, session, accompanied, serves) else { break };
                    let kept = self.tasks.get_mut(id).and_then(|task| task.kept.take());
                    self.tasks.send_to(lane, self.now, id, kept);
                }
            }
        }
        self.tell_unmet(&suited);
        self.release_lanes();
        // What waits now cannot use them.
        if self.idle_slots() > 0 {
            self.use_idle_slots();
        }
    }

    /// The lanes that take part, whose slots others had a moment ago or not; those where that was longest ago, or never,
    /// come first.
    fn in_turn(&self, crowded: bool) -> Vec<SessionId> {
        let lanes =
            self.lanes.iter().filter(|(_, lane)| lane.is_ready() && lane.is_crowded(self.now) == crowded);
        let mut lanes: Vec<_> = lanes.map(|(&session, lane)| (lane.crowded, session)).collect();
        lanes.sort_unstable();
        lanes.into_iter().map(|(_, session)| session).collect()
    }

    /// How many workers that take part could serve each class.
    fn suited(&self) -> Vec<usize> {
        let ready = || self.lanes.values().filter(|lane| lane.is_ready());
        let suits = |needs: &Resources| match needs.is_empty() {
            true => ready().count(),
            false => ready().filter(|lane| lane.resources.covers(needs)).count(),
        };
        self.tasks.classes().iter().map(|class| suits(&class.needs)).collect()
    }

    /// Tells which tasks wait for what nobody has.
    fn tell_unmet(&mut self, suited: &[usize]) {
        let workers = self.worker_count();
        let ready: Vec<_> =
            self.lanes.values().filter(|lane| lane.is_ready()).map(|lane| &lane.resources).collect();
        // Who was not greeted yet, or is about to register, may have it. Workers that are left alone were looked at.
        let settled = self.lanes.values().all(|lane| lane.stage == Stage::Ready || lane.element.is_none());
        let complete = settled && self.vain >= 2 && self.lanes.len() + self.shunned.len() >= self.looked.1;
        let mut told = Vec::new();
        for (class, suited) in self.tasks.classes_mut().iter_mut().zip(suited) {
            class.wanting = class.queued > 0 && *suited == 0 && workers > 0;
            if !class.wanting {
                class.unmet = None;
            }
            if !class.wanting || !complete {
                continue;
            }
            let lacks = Resources::best(ready.iter().copied()).lacks(&class.needs);
            if class.unmet.as_ref() != Some(&lacks) {
                class.unmet = Some(lacks.clone());
                told.push(Event::Unmet { needs: class.needs.clone(), lacks, tasks: class.queued, workers });
            }
        }
        told.into_iter().for_each(|event| self.event(event));
    }

    /// All tasks are at workers, and slots are idle: the end of the job, where one slow worker holds everybody up.
    fn use_idle_slots(&mut self) {
        if let Some(due) = self.recall_due()
            && self.timers.get(&Timer::Recall).is_none_or(|set| due < set)
        {
            self.timers.set(Timer::Recall, due);
        }
        while let Some((due, id, at)) = self.straggler() {
            if due > self.now {
                self.timers.set(Timer::Backup, due);
                return;
            }
            let kept = self.lent(at, id);
            let Some(session) = self.tasks.get(id).and_then(|task| self.idle_lane(task.class, at)) else {
                return;
            };
            let (Some(lane), Some(task)) = (self.lanes.get_mut(&session), self.tasks.get_mut(id)) else {
                return;
            };
            task.backups = task.backups.map(|before| before + 1);
            task.backup = Some(session);
            self.tasks.send_to(lane, self.now, id, kept);
        }
    }

    /// Of the tasks that could begin in an idle slot as well, the one that has run for longest: when it should, and
    /// where it runs.
    fn straggler(&self) -> Option<(Time, TaskId, SessionId)> {
        let patience = (self.usual? * 2).max(self.config.backup_after);
        let running = self.lanes.iter().flat_map(|(&session, lane)| {
            let assigned = lane.assigned.iter().filter(move |(_, assigned)| {
                assigned.started && !assigned.cancelled && self.idle_lane(assigned.class, session).is_some()
            });
            assigned.map(move |(&task, assigned)| (assigned.since + patience, task, session))
        });
        // Whoever may be what ends workers stays at one, and away from others of that kind.
        let alone = |task: &TaskId| {
            let task = self.tasks.get(*task);
            task.is_some_and(|task| {
                !task.is_suspect()
                    && task.backup.is_none()
                    && task.backups.is_some_and(|so_far| so_far < BACKUPS_MAX)
            })
        };
        running.filter(|(_, task, _)| alone(task)).min()
    }

    /// Another worker that could begin a task of this class at once.
    fn idle_lane(&self, class: Class, but: SessionId) -> Option<SessionId> {
        let idle = |(session, lane): &(&SessionId, &Lane)| {
            **session != but
                && lane.idle_slots() > 0
                && !lane.is_crowded(self.now)
                && lane.fits(self.tasks.classes(), class)
        };
        self.lanes.iter().filter(idle).min_by_key(|(_, lane)| lane.crowded).map(|(session, _)| *session)
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

    pub(crate) fn idle_slots(&self) -> usize {
        self.lanes.values().map(Lane::idle_slots).sum()
    }

    /// When to look for tasks to call back: when one of them is due, or a crowded worker is given another chance.
    fn recall_due(&self) -> Option<Time> {
        let waiting = |(session, lane): (&SessionId, &Lane)| {
            let (task, due) = lane.to_recall()?;
            match self.idle_lane(lane.assigned[&task].class, *session) {
                Some(_) => Some(due.unwrap_or(self.now + self.config.ahead).max(self.now)),
                None => self.less_crowded(),
            }
        };
        self.lanes.iter().filter_map(waiting).min()
    }

    /// When the next idle slot of a crowded worker is like any other again.
    fn less_crowded(&self) -> Option<Time> {
        let idle = self.lanes.values().filter(|lane| lane.idle_slots() > 0 && lane.is_crowded(self.now));
        idle.filter_map(|lane| lane.crowded).min().map(|at| at + CROWDED)
    }

    /// Calls tasks back that wait at a busy worker while slots elsewhere are idle.
    pub(super) fn recall(&mut self) {
        for _ in 0..self.idle_slots() {
            let due = |(session, lane): (&SessionId, &Lane)| {
                let (task, due) =
                    lane.to_recall().filter(|(_, due)| due.is_none_or(|due| due <= self.now))?;
                self.idle_lane(lane.assigned[&task].class, *session).map(|_| (*session, task, due.is_some()))
            };
            let Some((session, task, crowded)) = self.lanes.iter().find_map(due) else { return };
            let Some(lane) = self.lanes.get_mut(&session) else { return };
            if crowded {
                lane.crowded = Some(self.now);
            }
            let assigned = lane.assigned.get_mut(&task).expect("found there");
            assigned.recalled = true;
            let attempt = Attempt { task, number: assigned.number };
            lane.batch.push(&Frame::Recall { attempt });
        }
    }
}
