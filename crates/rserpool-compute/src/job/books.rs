//! Who is where: the tasks of a job and what happened to them.

use crate::protocol::TaskId;
use rserpool::ElementId;
use rserpool::user::SessionId;
use std::collections::{BTreeMap, VecDeque};

/// What happened in a job. Each task is counted once in `submitted` and, when it is over, once in one of `accepted`,
/// `failed` and `cancelled`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tasks taken.
    pub submitted: u64,
    /// Tasks whose result was accepted.
    pub accepted: u64,
    /// Of those: tasks with exit status 0.
    pub succeeded: u64,
    /// Tasks given up.
    pub failed: u64,
    /// Tasks cancelled.
    pub cancelled: u64,
    /// Executions that began, as far as the workers could say so.
    pub started: u64,
    /// Of those: executions of tasks that had begun before.
    pub repeated: u64,
    /// Of those: executions that went on from a checkpoint.
    pub continued: u64,
    /// Of those: executions besides another one that took long.
    pub backups: u64,
    /// Workers lost.
    pub failovers: u64,
    /// Results that came too late and were discarded.
    pub late: u64,
    /// Octets of output accepted.
    pub octets: u64,
}

impl Counts {
    /// Tasks that are over.
    pub fn over(&self) -> u64 {
        self.accepted + self.failed + self.cancelled
    }
}

/// What one worker did for a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// What it calls itself.
    pub name: String,
    /// Tasks it runs at a time.
    pub slots: u32,
    /// Results accepted from it.
    pub accepted: u64,
    /// Executions begun by it.
    pub started: u64,
    /// How often it was lost.
    pub losses: u64,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Queued,
    /// At the worker of this session.
    At(SessionId),
    /// Between two workers of this session: it goes on from a checkpoint when the session has found the next one.
    Moved(SessionId),
}

/// An execution that came to an end elsewhere and may be continued from a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) number: u32,
    /// Octets of output the application keeps for it.
    pub(super) octets: u64,
}

/// A task that is not over.
#[derive(Debug)]
pub(super) struct Task {
    /// As it goes into the Task frame.
    pub(super) work: Vec<u8>,
    /// The number of the present attempt, or of the last one.
    pub(super) attempts: u32,
    pub(super) place: Place,
    /// A second worker that has it as well, because the one of `place` takes so long.
    pub(super) backup: Option<SessionId>,
    /// How often it got one, or `None` if it may not.
    pub(super) backups: Option<u32>,
    /// Executions that began.
    pub(super) starts: u32,
    /// Workers that died or hung while it was running there.
    pub(super) deaths: u32,
    /// Workers that could not start it.
    pub(super) refusals: u32,
    /// The last of them: others are better.
    pub(super) not_at: Option<ElementId>,
}

impl Task {
    pub(super) fn new(work: Vec<u8>, attempts: u32, may_have_backup: bool) -> Self {
        Self {
            work,
            attempts,
            place: Place::Queued,
            backup: None,
            backups: may_have_backup.then_some(0),
            starts: 0,
            deaths: 0,
            refusals: 0,
            not_at: None,
        }
    }
}

/// How far into the queue a lane looks for a task it could start, past those it could not.
const LOOK_AHEAD: usize = 16;

/// The tasks that are not over, and the queue of those that wait.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    tasks: BTreeMap<TaskId, Task>,
    /// In the order they are to start. May name tasks that are not queued any more; `queued` does not count them.
    queue: VecDeque<TaskId>,
    queued: usize,
    /// Of work, all tasks together.
    octets: usize,
    /// The highest task so far.
    pub(super) last: Option<TaskId>,
    pub(super) counts: Counts,
}

impl Tasks {
    pub(super) fn submit(&mut self, id: TaskId, task: Task) {
        self.last = Some(id);
        self.octets += task.work.len();
        self.counts.submitted += 1;
        self.tasks.insert(id, task);
        self.queue.push_back(id);
        self.queued += 1;
    }

    pub(super) fn get(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// For everything but its place.
    pub(super) fn get_mut(&mut self, id: TaskId) -> Option<&mut Task> {
        self.tasks.get_mut(&id)
    }

    pub(super) fn unfinished(&self) -> usize {
        self.tasks.len()
    }

    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    pub(super) fn ids(&self) -> Vec<TaskId> {
        self.tasks.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TaskId, &Task)> {
        self.tasks.iter().map(|(&id, task)| (id, task))
    }

    /// The next task for a lane to this worker. Tasks this worker could not start are left to others, if there are
    /// others.
    pub(super) fn take(&mut self, worker: ElementId, alone: bool, to: SessionId) -> Option<TaskId> {
        let mut passed = 0;
        while passed < self.queue.len().min(LOOK_AHEAD) {
            let id = self.queue[passed];
            match self.tasks.get_mut(&id) {
                Some(task) if task.place != Place::Queued => drop(self.queue.remove(passed)),
                None => drop(self.queue.remove(passed)),
                Some(task) if !alone && task.not_at == Some(worker) => passed += 1,
                Some(task) => {
                    task.place = Place::At(to);
                    self.queue.remove(passed);
                    self.queued -= 1;
                    return Some(id);
                }
            }
        }
        None
    }

    /// Moves a task between places other than the queue.
    pub(super) fn put(&mut self, id: TaskId, place: Place) {
        debug_assert!(place != Place::Queued);
        if let Some(task) = self.tasks.get_mut(&id) {
            debug_assert!(task.place != Place::Queued, "from the queue it is taken");
            task.place = place;
        }
    }

    /// The worker of this session does not have the task any more. True if another one still has it.
    pub(super) fn leave(&mut self, id: TaskId, session: SessionId) -> bool {
        let Some(task) = self.tasks.get_mut(&id) else { return false };
        match (task.place, task.backup) {
            (_, Some(backup)) if backup == session => task.backup = None,
            (Place::At(at), Some(backup)) if at == session => {
                (task.place, task.backup) = (Place::At(backup), None);
            }
            _ => return false,
        }
        true
    }

    /// A task waits again, before all others: it was their turn before.
    pub(super) fn requeue(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            debug_assert!(task.place != Place::Queued && task.backup.is_none(), "queued twice");
            task.place = Place::Queued;
            self.queue.push_front(id);
            self.queued += 1;
        }
    }

    /// A task is over. The caller counts how.
    pub(super) fn end(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        self.octets -= task.work.len();
        self.queued -= usize::from(task.place == Place::Queued);
        // Names of ended tasks are skipped when they come up; should they outnumber the others, they are cleared away.
        if self.queue.len() > 2 * self.queued + 1000 {
            let tasks = &self.tasks;
            self.queue.retain(|id| tasks.get(id).is_some_and(|task| task.place == Place::Queued));
        }
        Some(task)
    }

    pub(super) fn check(&self) {
        let queued = self.tasks.values().filter(|task| task.place == Place::Queued).count();
        assert_eq!(queued, self.queued, "queued tasks are counted");
        let mut named: Vec<_> = self.queue.iter().filter(|id| self.tasks.contains_key(id)).collect();
        named.retain(|id| self.tasks[id].place == Place::Queued);
        named.sort_unstable();
        let once = named.windows(2).all(|pair| pair[0] != pair[1]);
        assert!(once && named.len() == queued, "each queued task is in the queue once");
        for task in self.tasks.values() {
            let permitted = 1 + task.deaths + task.refusals + task.backups.unwrap_or_default();
            assert!(task.starts <= permitted, "J8: {task:?}");
        }
    }
}
