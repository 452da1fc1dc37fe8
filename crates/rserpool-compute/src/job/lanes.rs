//! Lanes: one session to each worker, kept filled.

use super::books::{Class, Kept, Place, Task, Tasks};
use super::transfers::Transfer;
use super::{Event, Job, Timer};
use crate::protocol::{Attempt, Batch, FLIGHT_UNTOLD_MAX, Frame, TaskId, VERSION, WINDOW};
use crate::resources::Resources;
use rserpool::ElementId;
use rserpool::policy::Policy;
use rserpool::time::Time;
use rserpool::user::{Failure, SessionId, SessionOptions};
use rserpool::wire::parameter::PoolElement;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How far a lane has come with its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The session looks for a worker.
    Seeking,
    /// Hello is said.
    Greeting,
    /// Welcome is heard.
    Ready,
}

/// A task at a worker.
#[derive(Clone, Debug)]
pub(super) struct Assigned {
    /// Which execution.
    pub(super) number: u32,
    /// What it needs.
    pub(super) class: Class,
    /// The how-manieth of this lane.
    pub(super) order: u64,
    /// The execution it may continue, until it begins.
    pub(super) continues: Option<Kept>,
    /// The checkpoint it began from.
    pub(super) base: Option<Kept>,
    pub(super) started: bool,
    /// When it began, as we heard it; until then, when it was sent.
    pub(super) since: Time,
    /// Octets of output so far.
    pub(super) received: u64,
    /// Octets of output the worker has not got back for its window.
    pub(super) ungranted: u32,
    /// Octets of those that the application has taken.
    pub(super) taken: u32,
    /// The task is over for us; only the worker's word that it stopped is missing.
    pub(super) cancelled: bool,
    pub(super) recalled: bool,
}

impl Assigned {
    /// Lets the worker send as much again as was taken.
    fn give_back(&mut self, task: TaskId) -> Frame {
        let octets = std::mem::take(&mut self.taken);
        self.ungranted -= octets;
        Frame::Window { attempt: Attempt { task, number: self.number }, octets }
    }
}

/// A session and what is going on in it.
#[derive(Debug)]
pub(super) struct Lane {
    /// The worker it has, or is about to have.
    pub(super) element: Option<ElementId>,
    pub(super) stage: Stage,
    /// Its worker has another lane: it only brings tasks with a checkpoint to their end.
    pub(super) guest: bool,
    pub(super) name: String,
    pub(super) slots: u32,
    /// What the worker has besides slots.
    pub(super) resources: Resources,
    /// When the worker was greeted; then how long its welcome took.
    pub(super) greeted: Time,
    pub(super) reply: Duration,
    /// When a task was last called back because others had the slots we took for free.
    pub(super) crowded: Option<Time>,
    /// What the worker permits.
    pub(super) credit: u32,
    /// The most it ever permitted.
    pub(super) credit_max: u32,
    /// What we dare: below the credit after the worker had no room all the same.
    pub(super) limit: u32,
    pub(super) assigned: BTreeMap<TaskId, Assigned>,
    /// Accepted results the worker still waits to hear of.
    pub(super) unsettled: BTreeSet<Attempt>,
    /// Tasks that go on from a checkpoint when the session has its next worker, with the execution before.
    pub(super) moved: BTreeMap<TaskId, Kept>,
    /// Frames for the worker.
    pub(super) batch: Batch,
    /// Octets of output taken since the worker was last told of all.
    untold: u32,
    /// Items on their way, by the worker's numbers.
    pub(super) transfers: BTreeMap<u32, Transfer>,
    /// The cookie whose checkpoints the worker was told last.
    pub(super) shown: Option<Arc<[u8]>>,
    orders: u64,
    /// Mean time between two results while there were tasks.
    pub(super) pace: Option<Duration>,
    pub(super) last_result: Time,
    /// How many results came so far.
    pub(super) results: usize,
}

/// How long a worker is left alone that drains, cannot be reached, or does not speak our protocol.
pub(super) const SHUN: Duration = Duration::from_secs(2);
const SHUN_STRANGERS: Duration = Duration::from_secs(60);

impl Lane {
    fn to(element: ElementId) -> Self {
        Self {
            element: Some(element),
            stage: Stage::Seeking,
            guest: false,
            name: String::new(),
            slots: 0,
            resources: Resources::NONE,
            greeted: Time::ZERO,
            reply: Duration::ZERO,
            crowded: None,
            credit: 0,
            credit_max: 0,
            limit: 0,
            assigned: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            moved: BTreeMap::new(),
            batch: Batch::default(),
            untold: 0,
            transfers: BTreeMap::new(),
            shown: None,
            orders: 0,
            pace: None,
            results: 0,
            last_result: Time::ZERO,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready && !self.guest
    }

    /// The task this lane has, if it is this execution of it. What a worker says of others changes nothing (S3).
    pub(super) fn assigned_mut(&mut self, attempt: Attempt) -> Option<&mut Assigned> {
        self.assigned.get_mut(&attempt.task).filter(|assigned| assigned.number == attempt.number)
    }

    /// So many octets of an execution's output are taken. Half a window is always on its way, so that a worker with steady
    /// output never waits for us.
    pub(super) fn taken(&mut self, attempt: Attempt, octets: u32) {
        let Some(assigned) = self.assigned_mut(attempt) else { return };
        assigned.taken = (assigned.taken + octets).min(assigned.ungranted);
        if assigned.taken >= WINDOW / 2 {
            let window = assigned.give_back(attempt.task);
            self.batch.push(&window);
        }
        self.untold += octets;
        if self.untold >= FLIGHT_UNTOLD_MAX {
            self.untold = 0;
            for (task, assigned) in self.assigned.iter_mut().filter(|(_, assigned)| assigned.taken > 0) {
                self.batch.push(&assigned.give_back(*task));
            }
        }
    }

    /// Tells the worker to forget a result, when there is more to tell it or some time has passed: what it hears costs it a
    /// wake, and this is no news it waits for.
    pub(super) fn settle(&mut self, attempt: Attempt) {
        self.unsettled.remove(&attempt);
        self.batch.add(&Frame::Ack { attempt });
    }

    /// Notes that so many results came just now, for the pace.
    pub(super) fn results(&mut self, now: Time, count: u32) {
        let sample = now.since(self.last_result) / count.max(1);
        self.results = self.results.saturating_add(count as usize);
        self.last_result = now;
        self.pace = Some(self.pace.map_or(sample, |pace| (pace * 7 + sample) / 8));
    }

    /// Takes over an execution this worker holds.
    pub(super) fn adopt(&mut self, now: Time, attempt: Attempt, class: Class) {
        self.batch.push(&Frame::Adopt { attempt });
        self.assign(now, attempt, class, None);
    }

    /// True if the worker has what tasks of this class need, besides what our tasks there take already.
    pub(super) fn fits(&self, classes: &[super::books::Needing], class: Class) -> bool {
        let needs = &classes[usize::from(class)].needs;
        if needs.is_empty() {
            return true;
        }
        let taken = self.assigned.values().filter(|assigned| assigned.class > 0);
        let taken = taken.map(|assigned| &classes[usize::from(assigned.class)].needs);
        self.resources.without(taken).covers(needs)
    }

    /// Sends a task, as the next attempt of it.
    pub(super) fn send(
        &mut self,
        now: Time,
        id: TaskId,
        continues: Option<Kept>,
        task: &mut Task,
        needs: &Resources,
    ) {
        task.attempts += 1;
        let attempt = Attempt { task: id, number: task.attempts };
        let before = continues.as_ref().map_or(0, |kept| kept.lineage);
        if let Some(kept) = &continues
            && self.shown.as_ref() != Some(&kept.cookie)
        {
            self.batch.push(&Frame::Lineage { cookie: kept.cookie.to_vec() });
            self.shown = Some(kept.cookie.clone());
        }
        let (needs, work) = (needs.clone(), task.work.clone());
        self.batch.push(&Frame::Task { attempt, continues: before, needs, work });
        self.assign(now, attempt, task.class, continues);
    }

    fn assign(&mut self, now: Time, attempt: Attempt, class: Class, continues: Option<Kept>) {
        if self.assigned.is_empty() {
            self.last_result = now;
        }
        self.orders += 1;
        let order = self.orders;
        self.assigned.insert(
            attempt.task,
            Assigned {
                number: attempt.number,
                class,
                order,
                continues,
                base: None,
                started: false,
                since: now,
                received: 0,
                ungranted: 0,
                taken: 0,
                cancelled: false,
                recalled: false,
            },
        );
    }
}

impl Tasks {
    /// Sends a task there is to a lane, as its next attempt. False if it is over.
    pub(super) fn send_to(
        &mut self,
        lane: &mut Lane,
        now: Time,
        id: TaskId,
        continues: Option<Kept>,
    ) -> bool {
        let Some(class) = self.get(id).map(|task| task.class) else { return false };
        let needs = self.needs(class).clone();
        if let Some(task) = self.get_mut(id) {
            lane.send(now, id, continues, task, &needs);
        }
        true
    }
}

impl Job {
    // ----- who is there

    /// Asks who is in the pool.
    pub(super) fn look_around(&mut self) {
        if self.resolution.is_none() && self.tasks.unfinished() > 0 {
            let handle = self.config.handle;
            self.resolution = Some(self.user.resolve(self.now, handle, u32::MAX));
        }
    }

    /// A task came: if there are workers without a lane, or nobody ever looked, it is time to look.
    pub(super) fn look_around_for_more(&mut self) {
        let (at, known) = self.looked;
        match self.timers.get(&Timer::LookAround) {
            None => self.look_around(),
            Some(due) if self.lanes.len() < self.tasks.unfinished().min(known) => {
                self.timers.set(Timer::LookAround, due.min(at + self.config.look_around / 10));
            }
            Some(_) => {}
        }
    }

    /// Opens a lane to everybody who has none, as long as there is work for them.
    pub(super) fn looked_around(&mut self, result: Result<(Policy, Vec<PoolElement>), Failure>) {
        let now = self.now;
        self.shunned.retain(|_, until| *until > now);
        let before = self.looked.1;
        match result {
            Ok((_, elements)) => {
                self.looked = (now, elements.len());
                let asks_all = self.asks_all();
                let useful = if asks_all {
                    // Any of them may hold what a former life began, however few tasks are left.
                    self.config.lanes_max
                } else if self.tasks.classes().iter().any(|class| class.wanting) {
                    self.dismiss_unfit();
                    self.config.lanes_max
                } else {
                    self.tasks.unfinished().min(self.config.lanes_max)
                };
                for element in elements {
                    if self.lanes.len() < useful && !self.shunned.contains_key(&element.id) {
                        self.open_lane(element);
                    }
                }
            }
            Err(why) => {
                self.looked = (now, 0);
                self.wait(why);
            }
        }
        // Workers come in company: after a change the next looks come fast.
        self.vain = if self.looked.1 == before { self.vain + 1 } else { 0 };
        let pause = self.config.look_around;
        let pause = pause.min(pause / 10 * 2u32.saturating_pow(self.vain.min(10)));
        // Without tasks nobody is needed; the next one looks again.
        if self.tasks.unfinished() > 0 {
            self.timers.set(Timer::LookAround, now + pause);
        }
    }

    fn open_lane(&mut self, element: PoolElement) {
        let id = element.id;
        // A worker that was started again has a new identifier; a lane that failed over may have found it by the old one.
        if self.lanes.values().any(|lane| lane.element == Some(id)) || self.user.is_used(&element) {
            return;
        }
        let options = SessionOptions {
            heartbeat: true,
            late_patience: self.config.late_patience,
            avoid: self.elements_in_use(None),
            ..SessionOptions::default()
        };
        let session = self.user.open_at(self.now, self.config.handle, element, options);
        self.lanes.insert(session, Lane::to(id));
    }

    /// The workers of all lanes but one.
    pub(super) fn elements_in_use(&self, but: Option<SessionId>) -> BTreeSet<ElementId> {
        let others = self.lanes.iter().filter(|(session, _)| Some(**session) != but);
        others.filter_map(|(_, lane)| lane.element).collect()
    }

    /// There is no worker; the application is told once per reason.
    pub(super) fn wait(&mut self, why: Failure) {
        if self.worker_count() == 0 && self.waiting.as_ref() != Some(&why) {
            self.waiting = Some(why.clone());
            self.event(Event::Waiting { why });
        }
    }

    // ----- a session and its worker

    /// The session has a worker: greet it.
    pub(super) fn connected(&mut self, session: SessionId, element: ElementId, resumed: bool) {
        let guest = self.elements_in_use(Some(session)).contains(&element) || self.user.is_shared(session);
        if !resumed {
            self.give_up_moving(session);
        }
        let Some(lane) = self.lanes.get_mut(&session) else { return };
        if guest && lane.moved.is_empty() {
            self.drop_lane(session);
            return;
        }
        lane.element = Some(element);
        lane.guest = guest;
        lane.stage = Stage::Greeting;
        (lane.greeted, lane.crowded) = (self.now, None);
        lane.batch.push(&Frame::Hello { version: VERSION, job: self.config.job });
        // A session that goes on has echoed its cookie already.
        lane.shown = self.user.cookie(session).filter(|_| resumed).map(Arc::from);
    }

    /// The session found nobody this time. With other workers at hand, looking around is enough.
    pub(super) fn lane_waits(&mut self, session: SessionId, why: Failure) {
        let Some(lane) = self.lanes.get(&session) else { return };
        if self.worker_count() > 0 && lane.moved.is_empty() {
            self.drop_lane(session);
        } else {
            self.wait(why);
        }
    }

    /// The worker welcomes us.
    pub(super) fn welcomed(
        &mut self,
        session: SessionId,
        slots: u32,
        credit: u32,
        resources: Resources,
        name: String,
    ) -> Result<(), String> {
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        let Some(worker) = lane.element.filter(|_| lane.stage == Stage::Greeting) else {
            return Err("a second welcome".to_owned());
        };
        (lane.stage, lane.slots, lane.name) = (Stage::Ready, slots, name.clone());
        (lane.credit, lane.credit_max, lane.limit) = (credit, credit, credit);
        (lane.resources, lane.reply) = (resources, now.since(lane.greeted));
        self.timers.clear(&Timer::Move(session));
        for (id, before) in std::mem::take(&mut lane.moved) {
            let class = self.tasks.get(id).map_or(0, |task| task.class);
            let goes_on = self.tasks.get(id).is_some()
                && lane.assigned.len() < lane.limit as usize
                && lane.fits(self.tasks.classes(), class);
            if goes_on {
                self.tasks.send_to(lane, now, id, Some(before));
                self.tasks.put(id, Place::At(session));
            } else {
                lane.moved.insert(id, before);
            }
        }
        let guest = lane.guest;
        self.give_up_moving(session);
        if !guest {
            self.waiting = None;
            let known = self.workers.len() < super::WORKERS_MAX || self.workers.contains_key(&worker);
            if known {
                let counts = self.workers.entry(worker).or_default();
                (counts.name, counts.slots) = (name.clone(), slots);
            }
            self.event(Event::WorkerJoined { worker, name, slots });
        }
        Ok(())
    }

    /// Makes room for lanes to other workers, if there are as many as there may be: of one that has nothing to do and
    /// lacks what every waiting task needs.
    fn dismiss_unfit(&mut self) {
        if self.lanes.len() < self.config.lanes_max {
            return;
        }
        let waiting = self.tasks.classes().iter().filter(|class| class.queued > 0);
        let waiting: Vec<_> = waiting.map(|class| &class.needs).collect();
        let unfit = |lane: &Lane| {
            lane.is_ready()
                && lane.assigned.is_empty()
                && lane.unsettled.is_empty()
                && !waiting.iter().any(|needs| lane.resources.covers(needs))
        };
        let found =
            self.lanes.iter().find(|(_, lane)| unfit(lane)).map(|(&session, lane)| (session, lane.element));
        if let Some((session, worker)) = found {
            self.flush(session);
            self.drop_lane(session);
            if let Some(worker) = worker {
                self.shun(worker, true);
                self.event(Event::WorkerLeft { worker });
            }
        }
    }

    /// Leaves a worker that cannot be worked with alone, for a while. Its tasks have to be gone.
    pub(super) fn shun(&mut self, worker: ElementId, stranger: bool) {
        let span = if stranger { SHUN_STRANGERS } else { SHUN };
        self.shunned.insert(worker, self.now + span);
    }
}
