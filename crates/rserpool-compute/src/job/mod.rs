//! The client: runs a job on a pool.
//!
//! A [`Job`] is a node around a [`PoolUser`]. Tasks are handed in with [`Job::submit`], at any time; it looks around
//! in the pool, holds one session ("lane") to every worker it can use, and keeps their slots busy:
//!
//! ```text
//!   submit --> Queued --a lane has room--> At(lane) --Result--> accepted, failed or back to Queued
//!                ^                            |
//!                '------- lane lost ----------'  (or Moved: the session goes on elsewhere, from a checkpoint)
//! ```
//!
//! Execution is at least once, acceptance exactly once: each execution is an attempt with a number of its own, and
//! the first result of one that was not given up counts. What else arrives is late: discarded and counted. Output
//! belongs to an attempt as well: the application keeps it apart until [`Event::Accepted`] or [`Event::Dropped`].
//!
//! `lanes.rs` holds the sessions, `feed.rs` keeps their slots busy, `frames.rs` obeys what workers say, `losses.rs` what
//! happens when they fall silent, `orphans.rs` what a former life of the client left with them, `transfers.rs` items on
//! their way. Near the end of a job a task that takes long gets a second worker (a backup); the first
//! result counts.

mod books;
mod config;
mod events;
mod feed;
mod frames;
mod lanes;
mod losses;
mod orphans;
#[cfg(test)]
mod tests;
mod transfers;

use crate::item::Item;
use crate::protocol::{Attempt, Frame, PPID, TaskId};
use crate::resources::Resources;
use crate::work::Work;
pub use books::{Counts, WorkerCounts};
use books::{Place, Task, Tasks};
pub use config::{Backups, Config};
pub use events::{Cause, Event, SubmitError};
use lanes::{Assigned, Lane};
use rserpool::user::{self, Failure, ResolutionId, SessionId};
use rserpool::{ElementId, Input, Node, Output, PoolUser, Random, Time, Timers};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use transfers::Giving;
pub use transfers::TransferId;

/// A job on its pool. See the module.
pub struct Job {
    config: Config,
    user: PoolUser,
    /// The moment of the last call: what it started is finished in `poll`.
    now: Time,
    tasks: Tasks,
    lanes: BTreeMap<SessionId, Lane>,
    /// Workers left alone until then: they drain, cannot be reached or do not speak our protocol.
    shunned: BTreeMap<ElementId, Time>,
    /// Accepted results that are not recorded yet, and where their workers wait for the word.
    unrecorded: BTreeMap<Attempt, SessionId>,
    /// What workers hold of tasks that were not handed in again yet: where, and the number of the attempt.
    offers: BTreeMap<TaskId, (SessionId, u32)>,
    /// Nothing is started until then while a worker may still hold it.
    asking: Option<Time>,
    /// Items being given, and those whose turn comes later.
    giving: Giving,
    workers: BTreeMap<ElementId, WorkerCounts>,
    /// How long accepted executions took, later ones weighing more.
    usual: Option<Duration>,
    timers: Timers<Timer>,
    wishes: VecDeque<Output<Event>>,
    resolution: Option<ResolutionId>,
    /// When the last answer came, and how many workers it named.
    looked: (Time, usize),
    /// Looks that showed nothing new, one after the other.
    vain: u32,
    /// The reason last told for there being no worker.
    waiting: Option<Failure>,
    refused_full: bool,
    input: Stage,
}

/// How far the job as a whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// More tasks may come.
    Open,
    /// No more tasks come.
    Closed,
    /// All are over and the application knows.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    LookAround,
    /// Tasks with a checkpoint have waited long enough for their session.
    Move(SessionId),
    /// A hung worker is back and had time to say what it had to say.
    Former(SessionId),
    /// A worker should hear what it may forget, although there is nothing else to tell it.
    Settle(SessionId),
    /// Slots are idle while tasks wait at a busy worker: call them back.
    Recall,
    /// A task takes so long that an idle slot should begin it, too.
    Backup,
    /// Workers had time to name what they hold.
    Asking,
}

impl Job {
    /// A job without tasks. It looks around when the first task comes.
    pub fn new(config: Config, random: Random) -> Self {
        Self {
            user: PoolUser::new(config.user.clone(), random),
            now: Time::ZERO,
            tasks: Tasks::new(&config.needs),
            config,
            lanes: BTreeMap::new(),
            shunned: BTreeMap::new(),
            unrecorded: BTreeMap::new(),
            offers: BTreeMap::new(),
            asking: None,
            giving: Giving::default(),
            workers: BTreeMap::new(),
            usual: None,
            timers: Timers::default(),
            wishes: VecDeque::new(),
            resolution: None,
            looked: (Time::ZERO, 0),
            vain: 0,
            waiting: None,
            refused_full: false,
            input: Stage::Open,
        }
    }

    /// Takes a task. Its number has to be above those of all tasks before.
    pub fn submit(&mut self, now: Time, task: TaskId, work: &Work) -> Result<(), SubmitError> {
        self.submit_again(now, task, work, 0)
    }

    /// Takes a task that had attempts up to this number before, in a former life of the client: the next attempt has a
    /// higher number, so that what workers may still hold of the former ones is told apart.
    pub fn submit_again(
        &mut self,
        now: Time,
        task: TaskId,
        work: &Work,
        attempts: u32,
    ) -> Result<(), SubmitError> {
        let needs = self.config.needs.clone();
        self.submit_needing(now, task, work, attempts, &needs)
    }

    /// Takes a task that runs only where these resources are, and free; otherwise those of [`Config::needs`] count.
    pub fn submit_needing(
        &mut self,
        now: Time,
        task: TaskId,
        work: &Work,
        attempts: u32,
        needs: &Resources,
    ) -> Result<(), SubmitError> {
        self.now = now;
        if self.input != Stage::Open {
            return Err(SubmitError::Finished);
        }
        if let Some(last) = self.tasks.last
            && task <= last
        {
            return Err(SubmitError::NotIncreasing { last });
        }
        let (items, may_have_backup) = (work.needs().collect(), self.may_have_backup(work));
        let work = work.emit().map_err(SubmitError::Work)?;
        let octets = self.tasks.octets() + work.len();
        let unfinished = self.tasks.unfinished();
        if unfinished >= self.config.tasks_max || (unfinished > 0 && octets > self.config.octets_max) {
            self.refused_full = true;
            return Err(SubmitError::Full);
        }
        let class = self.tasks.class(needs).ok_or(SubmitError::TooManyNeeds { limit: books::NEEDS_MAX })?;
        self.take_into(now, task, Task::new(work, items, class, attempts, may_have_backup));
        Ok(())
    }

    pub(crate) fn may_have_backup(&self, work: &Work) -> bool {
        match self.config.backups {
            Backups::Never => false,
            Backups::Pure => work.is_pure(),
            Backups::Always => true,
        }
    }

    /// Takes a task whose work is emitted, with the items it needs, and whose number is above those before. Of its attempts in
    /// former lives those up to `settled` are over, and it is to be done once more.
    pub(crate) fn take(
        &mut self,
        now: Time,
        task: TaskId,
        (work, items): (Vec<u8>, Box<[Item]>),
        may_have_backup: bool,
        (attempts, settled): (u32, u32),
    ) {
        let needs = self.config.needs.clone();
        let class = self.tasks.class(&needs).expect("known from the start");
        let taken = Task::new(work, items, class, attempts, may_have_backup);
        self.take_into(now, task, Task { settled, ..taken });
    }

    fn take_into(&mut self, now: Time, id: TaskId, task: Task) {
        self.now = now;
        let is_of_former = task.former > 0;
        self.tasks.submit(id, task);
        if is_of_former {
            self.ask_around();
            self.take_offer(id);
        }
        self.look_around_for_more();
    }

    /// Octets of the work of tasks that are not over.
    pub(crate) fn work_octets(&self) -> usize {
        self.tasks.octets()
    }

    /// Ends all sessions and does nothing more. What runs goes on for a while, as orphans of its workers.
    pub(crate) fn leave(&mut self, now: Time) {
        self.now = now;
        self.input = Stage::Over;
        self.resolution = None;
        let sessions: Vec<_> = self.lanes.keys().copied().collect();
        for session in sessions {
            self.flush(session);
            self.drop_lane(session);
        }
        self.timers = Timers::default();
    }

    /// No more tasks come: when all are over, [`Event::Finished`] follows.
    pub fn finish(&mut self, now: Time) {
        self.now = now;
        if self.input == Stage::Open {
            self.input = Stage::Closed;
            self.decline_offers();
        }
    }

    /// Cancels a task that is not over. False if it is over, or never was. From now on it is not started and no result
    /// of it accepted.
    pub fn cancel(&mut self, now: Time, task: TaskId) -> bool {
        self.now = now;
        let Some(cancelled) = self.tasks.end(task) else { return false };
        self.tasks.counts.cancelled += 1;
        match cancelled.place {
            Place::Queued => {
                if let Some(kept) = cancelled.kept {
                    self.dropped(task, kept.number);
                }
            }
            Place::At(session) => self.cancel_at(session, task),
            Place::Moved(session) => {
                let lane = self.lanes.get_mut(&session).expect("a task is at a lane there is");
                if let Some(kept) = lane.moved.remove(&task) {
                    self.dropped(task, kept.number);
                }
            }
        }
        if let Some(session) = cancelled.backup {
            self.cancel_at(session, task);
        }
        self.event(Event::Cancelled { task });
        true
    }

    /// Cancels every task that is not over and takes no more.
    pub fn cancel_all(&mut self, now: Time) {
        self.finish(now);
        for task in self.tasks.ids() {
            self.cancel(now, task);
        }
    }

    /// An accepted result is safe: its worker may forget it. Needed only with [`Config::journal`].
    pub fn recorded(&mut self, now: Time, attempt: Attempt) {
        self.now = now;
        // A worker that is gone meanwhile waits for nothing.
        let Some(session) = self.unrecorded.remove(&attempt) else { return };
        if let Some(lane) = self.lanes.get_mut(&session) {
            lane.settle(attempt);
        }
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.tasks.counts
    }

    /// Where the registrar is that this job asks at the moment; `None` while it has none.
    pub fn registrar(&self) -> Option<&rserpool::Endpoint> {
        self.user.registrar()
    }

    /// Tasks that wait for a slot.
    pub fn queued(&self) -> usize {
        self.tasks.queued()
    }

    /// Tasks that are not over.
    pub fn unfinished(&self) -> usize {
        self.tasks.unfinished()
    }

    /// What each worker did; at most [`WORKERS_MAX`] are told apart.
    pub fn workers(&self) -> &BTreeMap<ElementId, WorkerCounts> {
        &self.workers
    }

    /// Workers that take part now.
    pub fn worker_count(&self) -> usize {
        self.lanes.values().filter(|lane| lane.is_ready()).count()
    }

    /// Where every task is that is at a worker: by task, the number of the execution and the worker.
    pub fn running(&self) -> impl Iterator<Item = (Attempt, ElementId)> + '_ {
        self.lanes.values().filter_map(|lane| lane.element.map(|worker| (lane, worker))).flat_map(
            |(lane, worker)| {
                let live = lane.assigned.iter().filter(|(_, assigned)| !assigned.cancelled);
                live.map(move |(&task, assigned)| (Attempt { task, number: assigned.number }, worker))
            },
        )
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Of each task that is not over: how many workers died or hung while it was running there.
    pub fn charges(&self) -> impl Iterator<Item = (TaskId, u32)> + '_ {
        self.tasks.iter().map(|(id, task)| (id, task.deaths))
    }

    /// Audits what has to hold between any two calls. Panics with what is wrong.
    ///
    /// J1: submitted = queued + at workers + accepted + failed + cancelled. J10: no lane has more tasks than its
    /// credit. And each task is in one place, which knows of it.
    pub fn check(&self) {
        let counts = self.tasks.counts;
        let over = counts.accepted + counts.failed + counts.cancelled;
        assert_eq!(counts.submitted, self.tasks.unfinished() as u64 + over, "J1: {counts:?}");
        self.tasks.check();
        for (&id, lane) in &self.lanes {
            let credit = lane.credit_max as usize;
            assert!(
                lane.assigned.len() + lane.unsettled.len() <= credit,
                "J10: {} tasks",
                lane.assigned.len()
            );
            for (&task, assigned) in &lane.assigned {
                let held = self.tasks.get(task);
                let here = held.is_some_and(|held| {
                    (held.place == Place::At(id) || held.backup == Some(id))
                        && assigned.number <= held.attempts
                });
                assert!(here != assigned.cancelled, "S4: task {task} at {id}: {held:?}, {assigned:?}");
            }
            for task in lane.moved.keys() {
                let held = self.tasks.get(*task);
                assert_eq!(held.map(|held| held.place), Some(Place::Moved(id)), "task {task}");
            }
        }
        for (task, held) in self.tasks.iter() {
            match held.place {
                Place::Queued => {}
                Place::At(session) => {
                    assert!(self.lanes[&session].assigned.contains_key(&task), "task {task}")
                }
                Place::Moved(session) => {
                    assert!(self.lanes[&session].moved.contains_key(&task), "task {task}")
                }
            }
            if let Some(backup) = held.backup {
                // S4: two workers at most, each with an attempt of its own.
                let Place::At(first) = held.place else { panic!("a backup of nothing: {held:?}") };
                let numbers = [first, backup].map(|session| self.lanes[&session].assigned[&task].number);
                assert!(first != backup && numbers[0] != numbers[1], "task {task}: {held:?}");
            }
        }
    }

    fn event(&mut self, event: Event) {
        self.wishes.push_back(Output::Event(event));
    }

    /// Stops a task that is over at a worker that still has it.
    fn cancel_at(&mut self, session: SessionId, task: TaskId) {
        let lane = self.lanes.get_mut(&session).expect("a task is at a lane there is");
        let assigned = lane.assigned.get_mut(&task).expect("lane and task know of each other");
        assigned.cancelled = true;
        let attempt = Attempt { task, number: assigned.number };
        lane.batch.push(&Frame::Cancel { attempt });
        let assigned = assigned.clone();
        self.drop_execution(task, &assigned);
    }

    /// This execution will not be accepted. If it did not begin, the one it was to continue is meant.
    fn drop_execution(&mut self, task: TaskId, assigned: &Assigned) {
        if assigned.started {
            self.dropped(task, assigned.number);
        } else if let Some(kept) = assigned.continues.as_ref().filter(|kept| !kept.lent) {
            self.dropped(task, kept.number);
        }
    }

    fn dropped(&mut self, task: TaskId, number: u32) {
        self.event(Event::Dropped { attempt: Attempt { task, number } });
    }

    /// Brings everything forward that the last calls made possible. True if something happened.
    fn proceed(&mut self) -> bool {
        let mut moved = false;
        while let Some(output) = self.user.poll() {
            moved = true;
            if let Some(event) = self.told(output) {
                self.hear(event);
            }
        }
        self.feed();
        for (&id, lane) in &mut self.lanes {
            if lane.batch.waiting().is_some() && !lane.assigned.is_empty() {
                if self.timers.get(&Timer::Settle(id)).is_none() {
                    self.timers.set(Timer::Settle(id), self.now + self.config.ahead);
                }
                continue;
            }
            let messages = lane.batch.take();
            if !messages.is_empty() {
                self.timers.clear(&Timer::Settle(id));
            }
            for message in messages {
                moved = true;
                // A lane that is losing its worker learns so from the next event; its tasks are sent again then.
                let _ = self.user.send(self.now, id, PPID, message);
            }
        }
        self.close_finished() || moved
    }

    /// Passes the user's wishes on; its events are for us.
    fn told(&mut self, output: Output<user::Event>) -> Option<user::Event> {
        self.wishes.push_back(match output {
            Output::Event(event) => return Some(event),
            Output::Open { link, door, to, greeting } => Output::Open { link, door, to, greeting },
            Output::Send { link, ppid, bytes } => Output::Send { link, ppid, bytes },
            Output::Close { link, how } => Output::Close { link, how },
            Output::Announce { channel, bytes } => Output::Announce { channel, bytes },
        });
        None
    }

    fn hear(&mut self, event: user::Event) {
        match event {
            user::Event::Resolved { resolution, result } if self.resolution == Some(resolution) => {
                self.resolution = None;
                self.looked_around(result);
            }
            user::Event::Connected { session, element, resumed, .. } => {
                self.connected(session, element, resumed)
            }
            user::Event::Message { session, ppid, bytes } => self.message(session, ppid, &bytes),
            user::Event::Late { session, element, ppid, bytes } => self.late(session, element, ppid, &bytes),
            user::Event::FailingOver { session, cause, .. } => self.lane_lost(session, cause),
            user::Event::Waiting { session, why } => self.lane_waits(session, why),
            user::Event::Failed { session, why } => {
                self.drop_lane(session);
                self.wait(why);
            }
            // A resolution we no longer wait for, or news of a kind that came after this was written.
            _ => {}
        }
    }

    fn close_finished(&mut self) -> bool {
        if self.refused_full
            && self.tasks.unfinished() <= self.config.tasks_max / 2
            && self.tasks.octets() <= self.config.octets_max / 2
        {
            self.refused_full = false;
            self.event(Event::Room);
        }
        let over = self.tasks.unfinished() == 0 && self.unrecorded.is_empty();
        if self.input != Stage::Closed || !over {
            return false;
        }
        self.input = Stage::Over;
        let sessions: Vec<_> = self.lanes.keys().copied().collect();
        for session in sessions {
            // Acknowledgements may still wait, beside a task whose worker has not said yet that it stopped.
            self.flush(session);
            self.drop_lane(session);
        }
        self.timers = Timers::default();
        // An answer that is still under way is for nobody: `Finished` is the last word.
        self.resolution = None;
        self.event(Event::Finished(self.tasks.counts));
        true
    }
}

/// Workers whose counts are kept.
pub const WORKERS_MAX: usize = 10_000;

impl Node for Job {
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input) {
        self.now = now;
        let is_wake = matches!(input, Input::Wake);
        if let Input::Deaf { span } = input {
            self.timers.postpone(span, |timer| matches!(timer, Timer::Move(_) | Timer::Former(_)));
        }
        self.user.handle(now, input);
        if !is_wake {
            return;
        }
        // What the user found out goes first: it may make a timer of ours pointless.
        self.proceed();
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::LookAround => self.look_around(),
                Timer::Move(session) => self.give_up_moving(session),
                Timer::Former(session) => self.user.forget_former(now, session),
                Timer::Settle(session) => {
                    if let Some(lane) = self.lanes.get_mut(&session) {
                        lane.batch.hurry();
                    }
                }
                Timer::Recall => self.recall(),
                // What is due is found by `feed`.
                Timer::Backup | Timer::Asking => {}
            }
        }
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        while self.wishes.is_empty() && self.proceed() {}
        self.wishes.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        [self.user.deadline(), self.timers.next()].into_iter().flatten().min()
    }
}
