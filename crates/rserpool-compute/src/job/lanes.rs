//! Lanes: one session to each worker, kept filled.

use super::books::{Kept, Place};
use super::{Event, Job, Timer};
use crate::protocol::{Attempt, Batch, Frame, TaskId, VERSION};
use rserpool::ElementId;
use rserpool::policy::Policy;
use rserpool::time::Time;
use rserpool::user::{Failure, SessionId, SessionOptions};
use rserpool::wire::parameter::PoolElement;
use std::collections::{BTreeMap, BTreeSet};
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
    /// The how-manieth of this lane.
    pub(super) order: u64,
    /// The execution it may continue, until it begins.
    pub(super) continues: Option<Kept>,
    pub(super) started: bool,
    /// When it began, as we heard it; until then, when it was sent.
    pub(super) since: Time,
    /// Octets of output so far.
    pub(super) received: u64,
    /// Octets of output the worker has not got back for its window.
    pub(super) ungranted: u32,
    /// The task is over for us; only the worker's word that it stopped is missing.
    pub(super) cancelled: bool,
    pub(super) recalled: bool,
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
    orders: u64,
    /// Mean time between two results while there were tasks.
    pub(super) pace: Option<Duration>,
    pub(super) last_result: Time,
    /// How many results came so far.
    pub(super) results: usize,
}

/// How long a worker is left alone that drains, cannot be reached, or does not speak our protocol.
const SHUN: Duration = Duration::from_secs(2);
const SHUN_STRANGERS: Duration = Duration::from_secs(60);

impl Lane {
    fn to(element: ElementId) -> Self {
        Self {
            element: Some(element),
            stage: Stage::Seeking,
            guest: false,
            name: String::new(),
            slots: 0,
            credit: 0,
            credit_max: 0,
            limit: 0,
            assigned: BTreeMap::new(),
            unsettled: BTreeSet::new(),
            moved: BTreeMap::new(),
            batch: Batch::default(),
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

    /// Tells the worker to forget a result.
    pub(super) fn settle(&mut self, attempt: Attempt) {
        self.unsettled.remove(&attempt);
        self.batch.push(&Frame::Ack { attempt });
    }

    /// Notes that so many results came just now, for the pace.
    pub(super) fn results(&mut self, now: Time, count: u32) {
        let sample = now.since(self.last_result) / count.max(1);
        self.results = self.results.saturating_add(count as usize);
        self.last_result = now;
        self.pace = Some(self.pace.map_or(sample, |pace| (pace * 7 + sample) / 8));
    }

    pub(super) fn send(
        &mut self,
        now: Time,
        task: TaskId,
        number: u32,
        continues: Option<Kept>,
        work: &[u8],
    ) {
        if self.assigned.is_empty() {
            self.last_result = now;
        }
        self.orders += 1;
        let order = self.orders;
        let attempt = Attempt { task, number };
        let before = continues.map_or(0, |kept| kept.number);
        self.batch.push(&Frame::Task { attempt, continues: before, work: work.to_vec() });
        self.assigned.insert(
            task,
            Assigned {
                number,
                order,
                continues,
                started: false,
                since: now,
                received: 0,
                ungranted: 0,
                cancelled: false,
                recalled: false,
            },
        );
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
                let useful = self.tasks.unfinished().min(self.config.lanes_max);
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
        if self.lanes.values().any(|lane| lane.element == Some(id)) {
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
        let guest = self.elements_in_use(Some(session)).contains(&element);
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
        lane.batch.push(&Frame::Hello { version: VERSION, job: self.config.job });
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
        name: String,
    ) -> Result<(), String> {
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        let Some(worker) = lane.element.filter(|_| lane.stage == Stage::Greeting) else {
            return Err("a second welcome".to_owned());
        };
        (lane.stage, lane.slots, lane.name) = (Stage::Ready, slots, name.clone());
        (lane.credit, lane.credit_max, lane.limit) = (credit, credit, credit);
        self.timers.clear(&Timer::Move(session));
        for (id, before) in std::mem::take(&mut lane.moved) {
            if lane.assigned.len() < lane.limit as usize
                && let Some(task) = self.tasks.get_mut(id)
            {
                task.attempts += 1;
                lane.send(now, id, task.attempts, Some(before), &task.work);
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

    /// Leaves a worker that cannot be worked with alone, for a while. Its tasks have to be gone.
    pub(super) fn shun(&mut self, worker: ElementId, stranger: bool) {
        let span = if stranger { SHUN_STRANGERS } else { SHUN };
        self.shunned.insert(worker, self.now + span);
    }
}
