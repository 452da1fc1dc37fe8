//! Promises about work that goes on elsewhere: S2 of the task service, S6, S9.

use super::jobs::wished;
use super::{Check, Kind, Scene, Seen};
use crate::actor::Said;
use crate::net::{Hash, HostId, State};
use crate::worker::{Said as WorkerSaid, Worker};
use rserpool::element::Event as ElementEvent;
use rserpool::wire::asap;
use rserpool::{Door, Input, Time};
use rserpool_compute::protocol::Frame;
use rserpool_compute::service::{self, RunId, Wish};
use rserpool_compute::{Attempt, JobId, Status, TaskId, Work};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a cookie of the task service says, read by its picture alone; `None` unless version, key, length and seal fit.
struct Cookie {
    job: JobId,
    /// By task: attempt, octets of output, state.
    entries: BTreeMap<TaskId, (u32, u64, Vec<u8>)>,
}

fn read_cookie(octets: &[u8]) -> Option<Cookie> {
    let number = |from: usize, length: usize| {
        let part = octets.get(from..from + length)?;
        Some(part.iter().fold(0u64, |number, octet| number << 8 | u64::from(*octet)))
    };
    let sealed = octets.len().checked_sub(8)?;
    let mut seal = Hash::default();
    seal.bytes(&octets[..sealed]);
    let fits = octets.get(..4)? == b"RSPC"
        && number(4, 2)? == 1
        && number(6, 2)? == 0
        && number(8, 4)? == octets.len() as u64
        && number(sealed, 8)? == seal.0;
    if !fits {
        return None;
    }
    let job = JobId(octets.get(16..32)?.try_into().ok()?);
    let (mut at, mut entries) = (36, BTreeMap::new());
    for _ in 0..number(32, 4)? {
        let (task, attempt) = (TaskId(number(at, 8)?), number(at + 8, 4)? as u32);
        let (output, length) = (number(at + 12, 8)?, number(at + 20, 4)? as usize);
        entries.insert(task, (attempt, output, octets.get(at + 24..at + 24 + length)?.to_vec()));
        at += 24 + length;
    }
    Some(Cookie { job, entries })
}

/// The octets of output before this state of a tile, if it is one.
fn octets_before(work: &Work, state: &[u8]) -> Option<u64> {
    let Work::Tile { rect, .. } = work else { return None };
    let rows = u32::from_be_bytes(state.try_into().ok()?);
    (rows <= rect.height).then_some(u64::from(rows) * u64::from(rect.width) * 3)
}

/// S2: a worker goes on from a checkpoint if cookie, job, task and attempt fit, else from zero.
pub fn s2() -> Check {
    /// The attempt whose checkpoint it is, octets of output before, state.
    type Start = (u32, u64, Vec<u8>);
    #[derive(Default)]
    struct Session {
        cookie: Option<Cookie>,
        echoed: bool,
        job: Option<JobId>,
        /// Where each attempt has to begin: octets of output and state.
        expected: BTreeMap<Attempt, Start>,
    }
    let mut sessions: BTreeMap<(u64, HostId), Session> = BTreeMap::new();
    Check::new(
        "S2 (jobs)",
        Kind::Safety,
        "a worker goes on from a checkpoint if version, length, seal, job, task and attempt fit, and else from zero; \
         never anything else",
        move |scene| {
            if scene.worker().is_none() {
                return Ok(Seen::Nothing);
            }
            if let Some((asap::Message::CookieEcho { cookie }, over)) = scene.heard_asap(Door::Service) {
                let session = sessions.entry((over.number, scene.host())).or_default();
                if session.job.is_none() && !std::mem::replace(&mut session.echoed, true) {
                    session.cookie = read_cookie(cookie);
                }
            }
            let mut taken = BTreeMap::new();
            for (frame, over) in scene.heard_frames() {
                let session = sessions.entry((over.number, scene.host())).or_default();
                match frame {
                    Frame::Hello { job, .. } => {
                        session.job = Some(*job);
                        session.cookie = session.cookie.take().filter(|cookie| cookie.job == *job);
                    }
                    Frame::Lineage { cookie } => {
                        // What another session's worker gave away, for tasks that come here.
                        let more = read_cookie(cookie).filter(|cookie| Some(cookie.job) == session.job);
                        session.echoed = true;
                        if let Some(more) = more {
                            let job = more.job;
                            let known =
                                session.cookie.get_or_insert(Cookie { job, entries: BTreeMap::new() });
                            known.entries.extend(
                                more.entries.into_iter().filter(|(_, (_, _, state))| !state.is_empty()),
                            );
                        }
                    }
                    Frame::Task { attempt, continues, work, .. } => {
                        let entry =
                            session.cookie.as_mut().and_then(|cookie| cookie.entries.remove(&attempt.task));
                        if let Some(entry) = &entry {
                            taken.insert(*attempt, entry.clone());
                        }
                        let fits = entry.filter(|(number, octets, state)| {
                            let before = Work::parse(work).ok().and_then(|work| octets_before(&work, state));
                            number == continues && before == Some(*octets)
                        });
                        session.expected.insert(*attempt, fits.unwrap_or_default());
                    }
                    _ => {}
                }
            }
            let begun: BTreeMap<Attempt, &Option<Vec<u8>>> = wished(scene)
                .filter_map(|wish| match wish {
                    Wish::Start { attempt, checkpoint, .. } => Some((*attempt, checkpoint)),
                    _ => None,
                })
                .collect();
            let mut seen = Seen::Nothing;
            for (frame, over) in scene.said_frames() {
                let Some(session) = sessions.get_mut(&(over.number, scene.host())) else { continue };
                if let Frame::Result { attempt, status: Status::Refused(_), .. } = frame
                    && let (Some(entry), Some(cookie)) = (taken.remove(attempt), &mut session.cookie)
                {
                    // A task that is not taken leaves its checkpoint where it was.
                    cookie.entries.insert(attempt.task, entry);
                }
                let Frame::Started { attempt, of, from } = frame else { continue };
                let Some((number, octets, state)) = session.expected.remove(attempt) else { continue };
                // What ran on while its session was lost goes on from where it is, which is zero for the client.
                let Some(checkpoint) = begun.get(attempt) else { continue };
                let state_of = checkpoint.as_deref().unwrap_or_default();
                let right = (*of, *from) == (number, octets) && state_of == state;
                if !right {
                    return Err(format!(
                        "{attempt} begins at {from} of #{of} in state {checkpoint:?}, and has to at {octets} of #{number} \
                         in {state:?}"
                    ));
                }
                if session.echoed {
                    seen = Seen::Kept;
                }
            }
            Ok(seen)
        },
    )
}

/// S6: what a fail-over costs is bounded by the pause between cookies.
pub fn s6() -> Check {
    /// How far an execution of a tile came.
    #[derive(Clone, Copy)]
    struct Reached {
        rows: u32,
        began: Time,
        host: HostId,
        incarnation: u64,
    }
    let mut runs: BTreeMap<((HostId, u64), RunId), (JobId, TaskId)> = BTreeMap::new();
    let mut reached: BTreeMap<(JobId, TaskId), Reached> = BTreeMap::new();
    Check::new(
        "S6",
        Kind::Safety,
        "a fail-over repeats no more work than was done since the last cookie, and what was under way",
        move |scene| {
            if scene.worker().is_none() {
                return Ok(Seen::Nothing);
            }
            let (process, now) = (scene.process(), scene.now());
            let toil = &scene.scope.toil;
            let interval = service::Config::default().cookie_interval;
            // The row under way when the cookie was due, and the one under way at the end.
            let bound = interval + toil.row() * 2 + scene.delay() * 2;
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                match said {
                    Said::Worker(WorkerSaid::Element(ElementEvent::Wish(Wish::Start {
                        run,
                        job,
                        attempt,
                        work: work @ Work::Tile { .. },
                        checkpoint,
                        ..
                    }))) => {
                        let key = (*job, attempt.task);
                        let client = scene.clients().find(|(_, client)| client.id() == *job);
                        let running = client.map(|(_, client)| {
                            let running = client.job().running().map(|(of, _)| of);
                            running.filter(|of| of.task == attempt.task).collect::<Vec<_>>()
                        });
                        // Its client meanwhile has the task go on from elsewhere: this one is about to be stopped.
                        if running.as_ref().is_some_and(|running| !running.contains(attempt)) {
                            continue;
                        }
                        let rows = checkpoint.as_ref().map_or(0, |state| rows_of(work, state));
                        let new = Reached { rows, began: now, host: process.0, incarnation: process.1 };
                        let before = reached.insert(key, new);
                        runs.insert((process, *run), key);
                        let Some(before) = before.filter(|before| {
                            only_it_died(scene, before.host, before.incarnation, before.began)
                        }) else {
                            continue;
                        };
                        // A second execution besides one that goes on is no fail-over.
                        if running.is_some_and(|running| running.len() > 1) {
                            continue;
                        }
                        let repeated = toil.row() * before.rows.saturating_sub(rows);
                        if repeated > bound {
                            return Err(format!(
                                "{attempt} repeats {repeated:?} of the work done before, more than {bound:?}"
                            ));
                        }
                        seen = Seen::Kept;
                    }
                    Said::Worker(WorkerSaid::Row { run, rows }) => {
                        let Some(key) = runs.get(&(process, *run)) else { continue };
                        if let Some(of) = reached.get_mut(key)
                            && (of.host, of.incarnation) == process
                        {
                            of.rows = *rows;
                        }
                    }
                    Said::Worker(WorkerSaid::Over { run }) => drop(runs.remove(&(process, *run))),
                    _ => {}
                }
            }
            Ok(seen)
        },
    )
}

fn rows_of(work: &Work, state: &[u8]) -> u32 {
    octets_before(work, state).and_then(|_| Some(u32::from_be_bytes(state.try_into().ok()?))).unwrap_or(0)
}

/// That this process died is the only thing that happened since, and for a while before, it began to work. Anything else
/// may have kept its cookies from its client, or its client from finding somebody else in time.
fn only_it_died(scene: &Scene<'_>, host: HostId, incarnation: u64, began: Time) -> bool {
    let died = scene.net.incarnation(host) != incarnation;
    let others = scene.net.hosts().filter(|other| *other != host);
    // The one that goes on was there all the time.
    let spare = scene.host() != host;
    died && spare
        && scene.net.is_calm()
        && scene.net.last_path_trouble() < began
        && scene.net.last_forgery() < began
        && others.into_iter().all(|other| scene.net.changed(other) < began)
        && scene.roster.changed < began
}

/// S9: who drains gets nothing new, and is gone in time, with nothing lost.
pub fn s9() -> Check {
    let mut drains: BTreeMap<(HostId, u64), Draining> = BTreeMap::new();
    struct Draining {
        since: Time,
        /// The pool knows.
        known: Option<Time>,
    }
    Check::new(
        "S9",
        Kind::Safety,
        "a worker that drains gets no new session once the pool knows, hands over or finishes what it has, and is gone \
         by its deadline",
        move |scene| {
            let now = scene.now();
            for ((host, incarnation), of) in &drains {
                let alive = scene.net.state(*host) == State::Running
                    && scene.net.incarnation(*host) == *incarnation
                    && now.since(scene.net.changed(*host)) > Duration::from_secs(1);
                // What is stopped at the deadline takes a moment to be gone.
                let by = of.since + scene.scope.toil.drain_deadline + Duration::from_millis(100);
                if alive && now > by {
                    let name = scene.net.name(*host);
                    return Err(format!("{name} drains since {}, and is still there", of.since));
                }
            }
            if !scene.worker().is_some_and(Worker::is_draining) {
                return Ok(Seen::Nothing);
            }
            let process = scene.process();
            let of = drains.entry(process).or_insert(Draining { since: now, known: None });
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                match said {
                    Said::Worker(WorkerSaid::Element(ElementEvent::Deregistered)) => {
                        of.known.get_or_insert(now);
                    }
                    Said::Worker(WorkerSaid::Gone) => seen = Seen::Kept,
                    _ => {}
                }
            }
            let spread = scene.scope.timing.convergence_max(scene.delay());
            if let (Some(known), Some(Input::Accepted { door: Door::Service, .. })) =
                (of.known, &scene.step.input)
                && now.since(known).min(scene.calm_for()) > spread
            {
                return Err(format!("a new session, and the pool has known since {known} that it drains"));
            }
            Ok(seen)
        },
    )
}
