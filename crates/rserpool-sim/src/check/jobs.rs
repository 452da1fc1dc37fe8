//! Promises about jobs: J1, J2, J3, J7, J8, J10, J11.

use super::{Check, Kind, Scene, Seen};
use crate::actor::{Actor, Said};
use crate::client::{Client, Said as ClientSaid, digest};
use crate::errand::{Right, right};
use crate::net::{HostId, Over, State};
use crate::worker::{Said as WorkerSaid, Worker};
use rserpool::Time;
use rserpool::element::Event as ElementEvent;
use rserpool_compute::job::{Cause, Event};
use rserpool_compute::protocol::{Frame, WINDOW};
use rserpool_compute::service::Wish;
use rserpool_compute::{Attempt, JobId, TaskId};
use std::collections::{BTreeMap, BTreeSet};

/// A host and its incarnation.
type Process = (HostId, u64);

/// What the client that was told something says of its job.
fn told<'s>(scene: &'s Scene<'_>) -> impl Iterator<Item = &'s Event> {
    scene.events().filter_map(|said| match said {
        Said::Client(ClientSaid::Job(event)) => Some(event),
        _ => None,
    })
}

/// J1: every task is in one place.
pub fn j1() -> Check {
    #[derive(Default)]
    struct Books {
        submitted: u64,
        open: BTreeSet<TaskId>,
        accepted: u64,
        failed: u64,
        cancelled: u64,
    }
    let mut books: BTreeMap<Process, Books> = BTreeMap::new();
    Check::new(
        "J1",
        Kind::Safety,
        "the tasks submitted are those that wait, run, are accepted, were given up or cancelled, at every step",
        move |scene| {
            let Some(client) = scene.client() else { return Ok(Seen::Nothing) };
            let books = books.entry(scene.process()).or_default();
            for said in scene.events() {
                let over = match said {
                    Said::Client(ClientSaid::Submitted { task, .. }) => {
                        books.submitted += 1;
                        books.open.insert(*task);
                        continue;
                    }
                    Said::Client(ClientSaid::Job(Event::Accepted { attempt, .. })) => {
                        books.accepted += 1;
                        attempt.task
                    }
                    Said::Client(ClientSaid::Job(Event::Failed { task, .. })) => {
                        books.failed += 1;
                        *task
                    }
                    Said::Client(ClientSaid::Job(Event::Cancelled { task })) => {
                        books.cancelled += 1;
                        *task
                    }
                    _ => continue,
                };
                if !books.open.remove(&over) {
                    return Err(format!("task {over} is over and was not open"));
                }
            }
            let (job, counts) = (client.job(), client.job().counts());
            if counts.submitted != job.unfinished() as u64 + counts.over() {
                return Err(format!("{} tasks are not over, and {counts:?}", job.unfinished()));
            }
            // What a journal has to have first is told later, and at the latest in the end.
            let told = [books.submitted, books.accepted, books.failed, books.cancelled];
            let counted = [counts.submitted, counts.accepted, counts.failed, counts.cancelled];
            let late = client.disk().is_some() && !client.is_content();
            let fits = match late {
                true => told[0] >= counted[0] && told[1..].iter().zip(&counted[1..]).all(|(t, c)| t <= c),
                false => told == counted,
            };
            if !fits {
                return Err(format!(
                    "{told:?} submitted, accepted, failed, cancelled were told, not {counts:?}"
                ));
            }
            let running: BTreeSet<TaskId> = job.running().map(|(attempt, _)| attempt.task).collect();
            let placed = job.queued() + running.len();
            if job.unfinished() > books.open.len()
                || (!late && job.unfinished() < books.open.len())
                || placed > books.open.len()
            {
                return Err(format!(
                    "{} tasks are open, the job says {}, {placed} of them somewhere",
                    books.open.len(),
                    job.unfinished()
                ));
            }
            if let Some(stranger) = running.iter().find(|task| !books.open.contains(task)) {
                return Err(format!("task {stranger} runs and is over"));
            }
            Ok(Seen::Kept)
        },
    )
}

/// J2: a result is accepted once.
pub fn j2() -> Check {
    let mut accepted: BTreeMap<JobId, BTreeSet<TaskId>> = BTreeMap::new();
    let mut discarded: BTreeMap<Process, u64> = BTreeMap::new();
    Check::new(
        "J2 (jobs)",
        Kind::Safety,
        "the result of each task is accepted once; what comes later is discarded and counted",
        move |scene| {
            let Some(client) = scene.client() else { return Ok(Seen::Nothing) };
            let accepted = accepted.entry(client.id()).or_default();
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                // What a former life had in its journal is accepted, told or not.
                if let Said::Client(ClientSaid::Recovered { results, .. }) = said {
                    accepted.extend(results.iter().map(|(task, ..)| *task));
                }
            }
            for event in told(scene) {
                match event {
                    Event::Accepted { attempt, .. } if !accepted.insert(attempt.task) => {
                        return Err(format!("{attempt} is accepted after another attempt was"));
                    }
                    Event::Discarded { .. } => {
                        *discarded.entry(scene.process()).or_default() += 1;
                        seen = Seen::Kept;
                    }
                    _ => {}
                }
            }
            let (late, counted) =
                (discarded.get(&scene.process()).copied().unwrap_or(0), client.job().counts().late);
            if late != counted {
                return Err(format!("{late} results were discarded, {counted} are counted"));
            }
            Ok(seen)
        },
    )
}

/// A worker that could take a task at once.
fn has_free_slot(worker: &Worker) -> bool {
    let service = worker.element().service();
    !worker.is_draining() && service.waiting() == 0 && service.running() < service.slots() as usize
}

/// J3: no task waits while a slot is free, and every job comes to its end.
pub fn j3() -> Check {
    #[derive(Default)]
    struct Books {
        open: BTreeSet<TaskId>,
        /// Executions that began and are not known to be over.
        live: BTreeSet<Attempt>,
        moved: Time,
    }
    let mut books: BTreeMap<Process, Books> = BTreeMap::new();
    // Since when this client had a task waiting while this worker had a free slot.
    let mut idle: BTreeMap<(Process, Process), Time> = BTreeMap::new();
    let mut served = Time::ZERO;
    Check::new(
        "J3",
        Kind::Liveness,
        "no task waits while a slot that can be reached is free, and every job moves until each of its tasks is over",
        move |scene| {
            let now = scene.now();
            let mut seen = Seen::Nothing;
            if let Some(client) = scene.client() {
                let of =
                    books.entry(scene.process()).or_insert_with(|| Books { moved: now, ..Books::default() });
                for said in scene.events() {
                    let Said::Client(said) = said else { continue };
                    of.moved = now;
                    match said {
                        ClientSaid::Submitted { task, .. } => drop(of.open.insert(*task)),
                        ClientSaid::Job(Event::Started { attempt, .. }) => drop(of.live.insert(*attempt)),
                        ClientSaid::Job(Event::Dropped { attempt }) => drop(of.live.remove(attempt)),
                        ClientSaid::Job(Event::Continued { attempt, of: before, .. }) => {
                            of.live.remove(&Attempt { number: *before, ..*attempt });
                        }
                        ClientSaid::Job(Event::Accepted { attempt, .. }) => {
                            of.open.remove(&attempt.task);
                            of.live.remove(attempt);
                        }
                        ClientSaid::Job(Event::Failed { task, .. } | Event::Cancelled { task }) => {
                            of.open.remove(task);
                        }
                        ClientSaid::Job(Event::Finished(_)) => {
                            if let Some(task) = of.open.first() {
                                return Err(format!("the job {} ended without task {task}", client.id()));
                            }
                            seen = Seen::Kept;
                        }
                        _ => {}
                    }
                }
            } else if scene.worker().is_none() && scene.registrar().is_none() {
                return Ok(Seen::Nothing);
            }
            let (delay, give_up) = (scene.delay(), scene.scope.net.connect_give_up);
            let Some(config) = scene.clients().next().map(|(_, client)| client.job().config()) else {
                return Ok(seen);
            };
            let workers: Vec<_> = scene.workers().collect();
            let bound = config.idle_slot_max(delay, give_up, workers.len() as u32);
            let moving = bound + scene.scope.toil.longest() * 4;
            let known = |worker: &Worker| {
                let (handle, id) = (&scene.scope.toil.handle, worker.element().id());
                let mut registrars = scene.registrars().peekable();
                registrars.peek().is_some()
                    && registrars.all(|(_, registrar)| registrar.handlespace().get(handle, id).is_some())
            };
            if !workers.iter().any(|(_, worker)| !worker.is_draining() && known(worker)) {
                served = now;
            }
            let calm = scene.calm_for();
            for (host, client) in scene.clients() {
                let process = (host, scene.net.incarnation(host));
                let Some(of) = books.get(&process) else { continue };
                let begun: BTreeSet<TaskId> = of.live.iter().map(|attempt| attempt.task).collect();
                // Those that may have ended workers run one by one.
                let suspects: BTreeSet<TaskId> = client
                    .job()
                    .charges()
                    .filter(|(_, charges)| *charges > 1)
                    .map(|(task, _)| task)
                    .collect();
                let waiting = of.open.difference(&begun).copied().find(|task| !suspects.contains(task));
                for (at, worker) in &workers {
                    let key = (process, (*at, scene.net.incarnation(*at)));
                    let Some(task) = waiting.filter(|_| has_free_slot(worker) && known(worker)) else {
                        idle.remove(&key);
                        continue;
                    };
                    let since = *idle.entry(key).or_insert(now);
                    if now.since(since).min(calm) > bound {
                        let (client, worker) = (scene.net.name(host), scene.net.name(*at));
                        return Err(format!(
                            "task {task} of {client} waits while {worker} has had a free slot for more than {bound:?}"
                        ));
                    }
                }
                let still = now.since(of.moved).min(now.since(served)).min(calm);
                if still > moving && !client.is_content() && !of.open.is_empty() {
                    let name = scene.net.name(host);
                    return Err(format!("{name} has not moved for {still:?}, more than {moving:?}"));
                }
            }
            Ok(seen)
        },
    )
}

/// J7: whatever happened, the results are right, and all there.
pub fn j7() -> Check {
    let mut results: BTreeMap<JobId, BTreeSet<TaskId>> = BTreeMap::new();
    let mut cancelled: BTreeMap<JobId, BTreeSet<TaskId>> = BTreeMap::new();
    let mut failed: BTreeMap<JobId, BTreeSet<TaskId>> = BTreeMap::new();
    Check::new(
        "J7 (jobs)",
        Kind::Safety,
        "every result is, octet for octet, the one of a single process, and in the end every task has one",
        move |scene| {
            let Some(client) = scene.client() else { return Ok(Seen::Nothing) };
            let mut seen = Seen::Nothing;
            let id = client.id();
            let what = |task: TaskId| right(&scene.scope.toil.task(client.seed(), task.0));
            for said in scene.events() {
                match said {
                    Said::Client(ClientSaid::Result { task, status, output, .. }) => {
                        let Right::Result(wanted, octets) = what(*task) else {
                            return Err(format!("task {task} cannot have a result, and has {status:?}"));
                        };
                        if (status, output) != (&wanted, &(octets.len(), digest(&octets))) {
                            return Err(format!(
                                "task {task} is {status:?} with {} octets, not {wanted:?} with {} octets, or other ones",
                                output.0,
                                octets.len()
                            ));
                        }
                        results.entry(id).or_default().insert(*task);
                        seen = Seen::Kept;
                    }
                    Said::Client(ClientSaid::Recovered { over, .. }) => {
                        results.entry(id).or_default().extend(over);
                    }
                    Said::Client(ClientSaid::Job(Event::Cancelled { task })) => {
                        cancelled.entry(id).or_default().insert(*task);
                    }
                    Said::Client(ClientSaid::Job(Event::Failed { task, cause })) => {
                        if matches!(cause, Cause::CouldNotStart { .. }) && what(*task) != Right::Missing {
                            return Err(format!("task {task} can be started, and was given up: {cause}"));
                        }
                        failed.entry(id).or_default().insert(*task);
                    }
                    Said::Client(ClientSaid::Job(Event::Finished(_))) => {
                        let of = |sets: &BTreeMap<JobId, BTreeSet<TaskId>>| sets.get(&id).cloned();
                        let over: BTreeSet<TaskId> = [of(&results), of(&cancelled), of(&failed)]
                            .into_iter()
                            .flatten()
                            .flatten()
                            .collect();
                        if over.len() as u64 != scene.scope.toil.tasks {
                            return Err(format!(
                                "{} tasks of {} are over",
                                over.len(),
                                scene.scope.toil.tasks
                            ));
                        }
                    }
                    _ => {}
                }
            }
            Ok(seen)
        },
    )
}

/// How often a task may be at a worker that another one kills.
const STOOD_BY_MAX: u32 = 2;

/// J8: a task is charged for the death of a worker only if it was being executed there.
pub fn j8() -> Check {
    // A session with a worker has a link of its own, so what began where is told by links: a worker that was started
    // again has another identifier, and may be found by its old one.
    let mut begun: BTreeMap<u64, BTreeSet<TaskId>> = BTreeMap::new();
    let mut charges: BTreeMap<(Process, TaskId), u32> = BTreeMap::new();
    // Executions that began, as the client heard it, and over which link.
    let mut live: BTreeMap<(Process, TaskId, u32), u64> = BTreeMap::new();
    // Links of workers that a task killed, and how often a task was charged for one of them.
    let mut links: BTreeMap<Process, BTreeSet<u64>> = BTreeMap::new();
    let mut poisoned: BTreeSet<u64> = BTreeSet::new();
    let mut by_poison: BTreeMap<(Process, TaskId), u32> = BTreeMap::new();
    Check::new(
        "J8",
        Kind::Safety,
        "only tasks that were being executed on a dead worker are charged for it; a poison task fails at its limit, alone",
        move |scene| {
            let process = scene.process();
            if scene.worker().is_some() {
                for (frame, over) in scene.said_frames() {
                    links.entry(process).or_default().insert(over.number);
                    if let Frame::Started { attempt, .. } = frame {
                        begun.entry(over.number).or_default().insert(attempt.task);
                    }
                }
                if scene.events().any(|said| *said == Said::Worker(WorkerSaid::Poisoned)) {
                    poisoned.extend(links.remove(&process).unwrap_or_default());
                }
                return Ok(Seen::Nothing);
            }
            let Some(client) = scene.client() else { return Ok(Seen::Nothing) };
            let limit = scene.scope.toil.deaths_max;
            let mut seen = Seen::Nothing;
            // Where each task was being executed before this step, as far as the client knew and it was true.
            let ran: BTreeMap<TaskId, u64> = live
                .iter()
                .filter(|((of, task, _), link)| {
                    *of == process && begun.get(link).is_some_and(|begun| begun.contains(task))
                })
                .map(|((_, task, _), link)| (*task, *link))
                .collect();
            for event in told(scene) {
                match event {
                    Event::Started { attempt, .. } => {
                        let Some(link) = scene.step.over else { continue };
                        live.insert((process, attempt.task, attempt.number), link.number);
                    }
                    Event::Dropped { attempt } | Event::Accepted { attempt, .. } => {
                        live.remove(&(process, attempt.task, attempt.number));
                    }
                    Event::Continued { attempt, of, .. } => drop(live.remove(&(process, attempt.task, *of))),
                    _ => {}
                }
            }
            for (task, now) in client.job().charges() {
                let before = charges.insert((process, task), now).unwrap_or(0);
                if now > before {
                    let Some(link) = ran.get(&task) else {
                        return Err(format!(
                            "task {task} is charged for the end of a worker that did not execute it"
                        ));
                    };
                    let stood_by = by_poison.entry((process, task)).or_insert(0);
                    *stood_by += u32::from(poisoned.contains(link));
                    let work = scene.scope.toil.task(client.seed(), task.0);
                    if *stood_by > STOOD_BY_MAX && right(&work) != Right::Poison {
                        return Err(format!(
                            "task {task} was {stood_by} times with one that kills its worker"
                        ));
                    }
                    seen = Seen::Kept;
                }
            }
            for event in told(scene) {
                let Event::Failed { task, cause: Cause::WorkersDied { times } } = event else { continue };
                let before = charges.get(&(process, *task)).copied().unwrap_or(0);
                if *times < limit {
                    return Err(format!(
                        "task {task} failed after {before} charges, with {times} of {limit}"
                    ));
                }
                seen = Seen::Kept;
            }
            Ok(seen)
        },
    )
}

/// J10: nobody does more at a time than it may.
pub fn j10() -> Check {
    // By worker, job and attempt: octets sent, and permitted.
    let mut sent: BTreeMap<(Process, u64, Attempt), (u64, u64)> = BTreeMap::new();
    Check::new(
        "J10",
        Kind::Safety,
        "a worker runs no more tasks than it has slots, and sends no more output than it was permitted",
        move |scene| {
            let Some(worker) = scene.worker() else { return Ok(Seen::Nothing) };
            let slots = worker.slots() as usize;
            let (runs, counted) = (worker.runs().count(), worker.element().service().running());
            if runs > slots || counted > slots {
                return Err(format!("{runs} runs, {counted} of them counted, in {slots} slots"));
            }
            for (frame, over) in scene.heard_frames() {
                if let Frame::Window { attempt, octets } = frame {
                    let key = (scene.process(), over.number, *attempt);
                    sent.entry(key).or_insert((0, WINDOW.into())).1 += u64::from(*octets);
                }
            }
            for (frame, over) in scene.said_frames() {
                let key = |attempt: &Attempt| (scene.process(), over.number, *attempt);
                match frame {
                    Frame::Output { attempt, octets, .. } => {
                        let (sent, permitted) = sent.entry(key(attempt)).or_insert((0, WINDOW.into()));
                        *sent += octets.len() as u64;
                        if sent > permitted {
                            return Err(format!("{attempt} sent {sent} octets, {permitted} were permitted"));
                        }
                    }
                    Frame::Result { attempt, .. } => drop(sent.remove(&key(attempt))),
                    _ => {}
                }
            }
            Ok(if runs == slots { Seen::Kept } else { Seen::Nothing })
        },
    )
}

/// J11: what was cancelled is neither started nor accepted.
pub fn j11() -> Check {
    let mut cancelled: BTreeSet<(JobId, TaskId)> = BTreeSet::new();
    // By link: what its worker was told to leave before it began, and what had begun.
    let mut called_off: BTreeSet<(u64, Attempt)> = BTreeSet::new();
    let mut begun: BTreeSet<(u64, Attempt)> = BTreeSet::new();
    Check::new(
        "J11",
        Kind::Safety,
        "once a task is cancelled it is not sent to a worker, not begun by one that knows, and not accepted",
        move |scene| {
            let mut seen = Seen::Nothing;
            if let Some(client) = scene.client() {
                let id = client.id();
                for event in told(scene) {
                    match event {
                        Event::Cancelled { task } => {
                            cancelled.insert((id, *task));
                            seen = Seen::Kept;
                        }
                        Event::Accepted { attempt, .. } if cancelled.contains(&(id, attempt.task)) => {
                            return Err(format!("{attempt} is accepted, and its task was cancelled"));
                        }
                        _ => {}
                    }
                }
                for (frame, _) in scene.said_frames() {
                    let Frame::Task { attempt, .. } = frame else { continue };
                    if cancelled.contains(&(id, attempt.task)) {
                        return Err(format!("{attempt} is sent to a worker, and its task was cancelled"));
                    }
                }
            }
            if scene.worker().is_some() {
                for (frame, over) in scene.heard_frames() {
                    if let Frame::Cancel { attempt } = frame
                        && !begun.contains(&(over.number, *attempt))
                    {
                        called_off.insert((over.number, *attempt));
                    }
                }
                for (frame, Over { number, .. }) in scene.said_frames() {
                    let Frame::Started { attempt, .. } = frame else { continue };
                    begun.insert((number, *attempt));
                    if called_off.contains(&(number, *attempt)) {
                        return Err(format!("{attempt} begins after it was called off"));
                    }
                }
            }
            Ok(seen)
        },
    )
}

/// The wishes of the task service of the worker that was told something.
pub(super) fn wished<'s>(scene: &'s Scene<'_>) -> impl Iterator<Item = &'s Wish> {
    scene.events().filter_map(|said| match said {
        Said::Worker(WorkerSaid::Element(ElementEvent::Wish(wish))) => Some(wish),
        _ => None,
    })
}

impl<'a> Scene<'a> {
    /// All workers whose processes run.
    pub fn workers(&self) -> impl Iterator<Item = (HostId, &'a Worker)> {
        let running = self.roster.workers.iter().filter(|host| self.net.state(**host) == State::Running);
        running.filter_map(|host| Some((*host, self.net.node(*host).and_then(Actor::worker)?)))
    }

    /// All clients whose processes run.
    pub fn clients(&self) -> impl Iterator<Item = (HostId, &'a Client)> {
        let running = self.roster.clients.iter().filter(|host| self.net.state(**host) == State::Running);
        running.filter_map(|host| Some((*host, self.net.node(*host).and_then(Actor::client)?)))
    }
}
