//! Who is where: the tasks of a job and what happened to them.

use crate::item::Item;
use crate::protocol::TaskId;
use crate::resources::Resources;
use rserpool::ElementId;
use rserpool::user::SessionId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

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
    /// Results that were not accepted because the task may be tried again.
    pub retries: u64,
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

/// An execution that may be continued from a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// The execution whose output the application keeps for it.
    pub(super) number: u32,
    /// Octets of that output.
    pub(super) octets: u64,
    /// The execution the cookie tells of: the same, or one that it continued itself.
    pub(super) lineage: u32,
    /// The cookie with the checkpoint, as its worker sealed it.
    pub(super) cookie: Arc<[u8]>,
    /// The checkpoint, if the application keeps it.
    pub(super) item: Option<Item>,
    /// That execution goes on besides: its output is its own.
    pub(super) lent: bool,
}

/// A task that is not over.
#[derive(Debug)]
pub(super) struct Task {
    /// As it goes into the Task frame.
    pub(super) work: Vec<u8>,
    /// What its worker may ask for before it begins.
    pub(super) items: Box<[Item]>,
    /// Attempts of former lives of the client have numbers up to this.
    pub(super) former: u32,
    /// Of those, the ones up to this ended, and the task is to be done once more.
    pub(super) settled: u32,
    /// What it needs, by its place among all that is needed.
    pub(super) class: Class,
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
    /// Workers that were lost before they said of any task that it runs, while this one was the first they should have begun:
    /// it may have killed them at once.
    pub(super) suspicions: u32,
    /// Workers that could not start it.
    pub(super) refusals: u32,
    /// Executions that ended by the will of us or of the worker, without anybody's fault.
    pub(super) given_back: u32,
    /// Executions that failed and were tried again.
    pub(super) retries: u32,
    /// The last worker that could not start it, or where it failed: others are better.
    pub(super) not_at: Option<ElementId>,
    /// Where the next execution may go on, while it is queued.
    pub(super) kept: Option<Kept>,
}

impl Task {
    pub(super) fn new(
        work: Vec<u8>,
        items: Box<[Item]>,
        class: Class,
        attempts: u32,
        may_have_backup: bool,
    ) -> Self {
        Self {
            work,
            items,
            former: attempts,
            settled: 0,
            class,
            attempts,
            place: Place::Queued,
            backup: None,
            backups: may_have_backup.then_some(0),
            starts: 0,
            deaths: 0,
            suspicions: 0,
            refusals: 0,
            given_back: 0,
            retries: 0,
            not_at: None,
            kept: None,
        }
    }

    /// True if it may be what ends its workers.
    pub(super) fn is_suspect(&self) -> bool {
        self.deaths.max(self.suspicions) >= SUSPECT
    }
}

/// A place among all that tasks of a job need; tasks that need the same have the same. 0 needs nothing.
pub(super) type Class = u16;

/// Tasks that need the same.
#[derive(Debug, Default)]
pub(super) struct Needing {
    pub(super) needs: Resources,
    /// In the order they are to start. May name tasks that are not queued any more; `queued` does not count them.
    queue: VecDeque<TaskId>,
    pub(super) queued: usize,
    /// Some wait, and no worker at hand can serve them: others are looked for.
    pub(super) wanting: bool,
    /// What the application was last told about there being nobody for them at all.
    pub(super) unmet: Option<String>,
}

/// How many different needs the tasks of a job may have.
pub(super) const NEEDS_MAX: usize = 256;

/// A task that was at so many workers when they were lost may be what ends them. Such tasks keep apart from one another,
/// so that the one that does fails alone: whoever only stood by is charged so often at most.
const SUSPECT: u32 = 2;

/// How far into the queue a lane looks for a task it could start, past those it could not.
const LOOK_AHEAD: usize = 16;

/// Whether there are other workers that could serve a task as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    None,
    Some,
}

/// The tasks that are not over, and the queues of those that wait.
#[derive(Debug)]
pub(super) struct Tasks {
    tasks: BTreeMap<TaskId, Task>,
    /// By class; the first one needs nothing. Never empty.
    classes: Vec<Needing>,
    queued: usize,
    /// Of work, all tasks together.
    octets: usize,
    /// The highest task so far.
    pub(super) last: Option<TaskId>,
    pub(super) counts: Counts,
}

impl Tasks {
    /// `needs`: what most tasks will need.
    pub(super) fn new(needs: &Resources) -> Self {
        let mut tasks = Self {
            tasks: BTreeMap::new(),
            classes: vec![Needing::default()],
            queued: 0,
            octets: 0,
            last: None,
            counts: Counts::default(),
        };
        tasks.class(needs);
        tasks
    }

    /// The class of tasks that need this; `None` if there are too many different ones.
    pub(super) fn class(&mut self, needs: &Resources) -> Option<Class> {
        let known = self.classes.iter().position(|class| class.needs == *needs);
        let place = known.or_else(|| {
            (self.classes.len() < NEEDS_MAX).then(|| {
                self.classes.push(Needing { needs: needs.clone(), ..Needing::default() });
                self.classes.len() - 1
            })
        });
        place.and_then(|place| Class::try_from(place).ok())
    }

    pub(super) fn classes(&self) -> &[Needing] {
        &self.classes
    }

    pub(super) fn classes_mut(&mut self) -> &mut [Needing] {
        &mut self.classes
    }

    pub(super) fn needs(&self, class: Class) -> &Resources {
        &self.classes[usize::from(class)].needs
    }

    pub(super) fn submit(&mut self, id: TaskId, task: Task) {
        self.last = Some(id);
        self.octets += task.work.len();
        self.counts.submitted += 1;
        let class = &mut self.classes[usize::from(task.class)];
        class.queue.push_back(id);
        class.queued += 1;
        self.queued += 1;
        self.tasks.insert(id, task);
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

    /// The next task for a lane to this worker: of the classes it can serve, the one whose turn came first. Tasks this
    /// worker could not start are left to others, if there are others for their class. `accompanied`: it has a suspect
    /// already, and gets no second one.
    pub(super) fn take(
        &mut self,
        worker: ElementId,
        to: SessionId,
        accompanied: bool,
        serves: impl Fn(&[Needing], Class) -> Option<Others>,
    ) -> Option<TaskId> {
        let mut first: Option<(TaskId, Class, usize)> = None;
        for class in 0..self.classes.len() as Class {
            if self.classes[usize::from(class)].queued > 0
                && let Some(others) = serves(&self.classes, class)
                && let Some((id, place)) = self.next_of(class, worker, others, accompanied)
                && first.is_none_or(|(before, ..)| id < before)
            {
                first = Some((id, class, place));
            }
        }
        let (id, class, place) = first?;
        let class = &mut self.classes[usize::from(class)];
        class.queue.remove(place);
        class.queued -= 1;
        self.queued -= 1;
        self.tasks.get_mut(&id).expect("found a moment ago").place = Place::At(to);
        Some(id)
    }

    fn next_of(
        &mut self,
        class: Class,
        worker: ElementId,
        others: Others,
        accompanied: bool,
    ) -> Option<(TaskId, usize)> {
        let queue = &mut self.classes[usize::from(class)].queue;
        let mut passed = 0;
        while passed < queue.len().min(LOOK_AHEAD) {
            let id = queue[passed];
            match self.tasks.get(&id) {
                Some(task) if task.place != Place::Queued => drop(queue.remove(passed)),
                None => drop(queue.remove(passed)),
                Some(task) if others == Others::Some && task.not_at == Some(worker) => passed += 1,
                Some(task) if accompanied && task.is_suspect() => passed += 1,
                Some(_) => return Some((id, passed)),
            }
        }
        None
    }

    /// A queued task turns out to be at the worker of this session already.
    pub(super) fn adopt(&mut self, id: TaskId, at: SessionId) {
        if let Some(task) = self.tasks.get_mut(&id).filter(|task| task.place == Place::Queued) {
            task.place = Place::At(at);
            let class = &mut self.classes[usize::from(task.class)];
            class.queue.retain(|queued| *queued != id);
            class.queued -= 1;
            self.queued -= 1;
        }
    }

    /// Moves a task between places other than the queue.
    pub(super) fn put(&mut self, id: TaskId, place: Place) {
        debug_assert!(place != Place::Queued);
        if let Some(task) = self.tasks.get_mut(&id) {
            debug_assert!(task.place != Place::Queued, "from the queue it is taken");
            task.place = place;
        }
    }

    /// The worker of this session does not have the task any more. Returns the session whose worker still has it, if
    /// there is one.
    pub(super) fn leave(&mut self, id: TaskId, session: SessionId) -> Option<SessionId> {
        let task = self.tasks.get_mut(&id)?;
        match (task.place, task.backup) {
            (Place::At(at), Some(backup)) if backup == session => {
                task.backup = None;
                Some(at)
            }
            (Place::At(at), Some(backup)) if at == session => {
                (task.place, task.backup) = (Place::At(backup), None);
                Some(backup)
            }
            _ => None,
        }
    }

    /// A task waits again, before all others: it was their turn before.
    pub(super) fn requeue(&mut self, id: TaskId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            debug_assert!(task.place != Place::Queued && task.backup.is_none(), "queued twice");
            task.place = Place::Queued;
            let class = &mut self.classes[usize::from(task.class)];
            class.queue.push_front(id);
            class.queued += 1;
            self.queued += 1;
        }
    }

    /// A task is over. The caller counts how.
    pub(super) fn end(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks.remove(&id)?;
        self.octets -= task.work.len();
        let class = &mut self.classes[usize::from(task.class)];
        let was_queued = usize::from(task.place == Place::Queued);
        class.queued -= was_queued;
        self.queued -= was_queued;
        // Names of ended tasks are skipped when they come up; should they outnumber the others, they are cleared away.
        if class.queue.len() > 2 * class.queued + 1000 {
            let tasks = &self.tasks;
            class.queue.retain(|id| tasks.get(id).is_some_and(|task| task.place == Place::Queued));
        }
        Some(task)
    }

    pub(super) fn check(&self) {
        let queued = self.tasks.values().filter(|task| task.place == Place::Queued).count();
        assert_eq!(queued, self.queued, "queued tasks are counted");
        assert_eq!(self.classes.iter().map(|class| class.queued).sum::<usize>(), queued, "and so by class");
        for (class, needing) in self.classes.iter().enumerate() {
            let mut named: Vec<_> = needing.queue.iter().filter(|id| self.tasks.contains_key(id)).collect();
            named.retain(|id| self.tasks[id].place == Place::Queued);
            named.sort_unstable();
            let once = named.windows(2).all(|pair| pair[0] != pair[1]);
            let ours = named.iter().all(|id| usize::from(self.tasks[id].class) == class);
            assert!(once && ours && named.len() == needing.queued, "each queued task is in its queue once");
        }
        for task in self.tasks.values() {
            let permitted = 1
                + task.deaths
                + task.refusals
                + task.given_back
                + task.retries
                + task.backups.unwrap_or_default();
            assert!(task.starts <= permitted, "J8: {task:?}");
        }
    }
}
