//! A worker of the simulated compute pool: the real element with the real task service, and what carries its wishes
//! out, in virtual time.
//!
//! ```text
//!   PoolElement<TaskService> --Wish: start, grant, kill--> runs --a timer for each--> Fact: output, checkpoint, ended
//!            ^                                                                                        |
//!            '----------------------------------------------------------------------------------------'
//! ```
//!
//! Runs share the fate of the process: it crashes, and they are gone; it stops, and they stand still. A row of a tile is
//! computed when its time has come, so the pixels are real and only the clock is not.

use crate::errand::{Careless, Program, Toil, counted};
use rserpool::element::Event as ElementEvent;
use rserpool::{Input, Node, Output, PoolElement, Time, Timers};
use rserpool_compute::fractal::{Scene, TileRun};
use rserpool_compute::service::{Fact, RunId, Wish};
use rserpool_compute::{Attempt, JobId, Status, Stream, TaskService, Work};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a killed run takes to be gone.
const DYING: Duration = Duration::from_millis(1);

/// How long a worker that has to leave waits for runs that do not end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a worker says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// Its element, or the task service in it.
    Element(ElementEvent<Wish>),
    /// A run has so many rows now.
    Row {
        /// Which run.
        run: RunId,
        /// Rows of its tile, those of its checkpoint included.
        rows: u32,
    },
    /// A run is over, by itself or because it was killed.
    Over {
        /// Which run.
        run: RunId,
    },
    /// A task kills this process.
    Poisoned,
    /// It drained and has left its pool: the process ends.
    Gone,
}

/// A run of a task.
#[derive(Debug)]
struct Run {
    job: JobId,
    attempt: Attempt,
    doing: Doing,
}

#[derive(Debug)]
enum Doing {
    /// Computes to no end until its time is over.
    Spin,
    Tile {
        scene: Scene,
        tile: TileRun,
        rows: u32,
    },
    Count {
        salt: u8,
        put: u64,
        octets: u64,
        permitted: u64,
        pause: Duration,
        code: i32,
    },
    Hang,
    Signal(i32),
    Poison,
    /// There is no such program: that shows a moment later.
    Missing,
    Dying,
}

/// A worker, see the [module](self).
pub struct Worker {
    element: PoolElement<TaskService>,
    toil: Toil,
    slots: u32,
    runs: BTreeMap<RunId, Run>,
    due: Timers<RunId>,
    wishes: VecDeque<Output<Said>>,
    /// Since it was told to drain, by its own clock.
    drains: Option<Time>,
    drained: bool,
    gone: bool,
}

impl Worker {
    /// A worker around this element.
    pub fn new(element: PoolElement<TaskService>, toil: Toil, slots: u32) -> Self {
        Self {
            element,
            toil,
            slots,
            runs: BTreeMap::new(),
            due: Timers::default(),
            wishes: VecDeque::new(),
            drains: None,
            drained: false,
            gone: false,
        }
    }

    /// Its element.
    pub fn element(&self) -> &PoolElement<TaskService> {
        &self.element
    }

    /// Tasks it may run at a time.
    pub fn slots(&self) -> u32 {
        self.slots
    }

    /// Everything that runs, with its job and the execution it began as.
    pub fn runs(&self) -> impl Iterator<Item = (RunId, JobId, Attempt)> + '_ {
        self.runs.iter().map(|(&id, run)| (id, run.job, run.attempt))
    }

    /// True once it was told to drain.
    pub fn is_draining(&self) -> bool {
        self.drains.is_some()
    }

    /// Takes no more tasks, leaves the pool, and ends when nobody needs it any more or the deadline has come.
    pub fn drain(&mut self, now: Time) {
        if self.drains.is_some() {
            return;
        }
        self.drains = Some(now);
        let patience = self.toil.drain_deadline;
        self.element.with_service(now, |service, replies| service.drain(now, patience, replies));
        self.settle(now);
    }

    /// Takes what the element wishes until it wishes nothing more, and carries out what is for the host.
    fn settle(&mut self, now: Time) {
        while let Some(wish) = self.element.poll() {
            let wish = match wish {
                Output::Event(event) => {
                    self.say(Said::Element(event.clone()));
                    match event {
                        ElementEvent::Wish(wish) => self.obey(now, wish),
                        ElementEvent::Deregistered => self.leave_if_done(),
                        _ => {}
                    }
                    continue;
                }
                Output::Open { link, door, to, greeting } => Output::Open { link, door, to, greeting },
                Output::Send { link, ppid, bytes } => Output::Send { link, ppid, bytes },
                Output::Close { link, how } => Output::Close { link, how },
                Output::Announce { channel, bytes } => Output::Announce { channel, bytes },
            };
            self.wishes.push_back(wish);
        }
        self.element.service().check();
    }

    fn say(&mut self, said: Said) {
        self.wishes.push_back(Output::Event(said));
    }

    fn leave_if_done(&mut self) {
        if self.drained && !std::mem::replace(&mut self.gone, true) {
            self.say(Said::Gone);
        }
    }

    fn inform(&mut self, now: Time, fact: Fact) {
        self.element.inform(now, fact);
        self.settle(now);
    }

    fn obey(&mut self, now: Time, wish: Wish) {
        match wish {
            Wish::Start { run, job, attempt, work, checkpoint, window } => {
                self.start(now, run, Execution { job, attempt, work, checkpoint, window });
            }
            Wish::Grant { run, octets } => {
                if let Some(Run { doing: Doing::Count { permitted, .. }, .. }) = self.runs.get_mut(&run) {
                    *permitted += u64::from(octets);
                    let due = self.due.get(&run).unwrap_or(now);
                    self.due.set(run, due);
                }
            }
            Wish::Kill { run } => {
                if let Some(of) = self.runs.get_mut(&run) {
                    of.doing = Doing::Dying;
                    self.due.set(run, now + DYING);
                }
            }
            Wish::Drained => {
                self.drained = true;
                self.leave_if_done();
            }
            // Out of the pool first, sessions last.
            Wish::Draining { .. } if self.toil.careless == Some(Careless::StaysListed) => {
                self.say(Said::Element(ElementEvent::Deregistered));
            }
            Wish::Draining { .. } => self.element.deregister(now),
            // The tasks of this world need no files.
            _ => {}
        }
    }

    fn start(&mut self, now: Time, id: RunId, execution: Execution) {
        let Execution { job, attempt, work, checkpoint, window } = execution;
        let micros = Duration::from_micros;
        let (doing, takes) = match work {
            Work::Spin(span) => (Doing::Spin, Some(span)),
            Work::Tile { scene, rect } => {
                let tile = match checkpoint {
                    Some(state) => TileRun::resume(rect, &state).expect("the service checks checkpoints"),
                    None => TileRun::new(rect),
                };
                let rows = u32::from_be_bytes(tile.state());
                (Doing::Tile { scene, tile, rows }, Some(self.toil.row()))
            }
            Work::Command(command) => match Program::of(&command) {
                Some(Program::Count { salt, octets, micros: time, code }) => {
                    let pause = micros(time / 3);
                    let permitted = window.into();
                    (Doing::Count { salt, put: 0, octets, permitted, pause, code }, Some(pause))
                }
                Some(Program::Hang) => (Doing::Hang, None),
                Some(Program::Signal { number, micros: time }) => (Doing::Signal(number), Some(micros(time))),
                Some(Program::Poison { micros: time }) => (Doing::Poison, Some(micros(time))),
                None => (Doing::Missing, Some(DYING)),
            },
            _ => (Doing::Missing, Some(DYING)),
        };
        self.runs.insert(id, Run { job, attempt, doing });
        if let Some(takes) = takes {
            self.due.set(id, now + takes);
        }
    }

    /// The time of a run has come: it does its next piece.
    fn proceed(&mut self, now: Time, id: RunId) {
        let Some(run) = self.runs.get_mut(&id) else { return };
        match &mut run.doing {
            Doing::Spin => self.over(now, id, Status::Exited(0)),
            Doing::Missing => self.over(now, id, Status::CouldNotStart("no such program".into())),
            Doing::Signal(number) => {
                let status = Status::Signalled(*number);
                self.over(now, id, status);
            }
            Doing::Dying => self.over(now, id, Status::Signalled(9)),
            Doing::Hang => {}
            Doing::Poison => self.say(Said::Poisoned),
            Doing::Tile { scene, tile, rows } => match tile.next_row(scene) {
                Some(octets) => {
                    *rows += 1;
                    let (rows, state) = (*rows, tile.state().to_vec());
                    self.due.set(id, now + self.toil.row());
                    self.say(Said::Row { run: id, rows });
                    self.inform(now, Fact::Output { run: id, stream: Stream::OUTPUT, octets });
                    self.inform(now, Fact::Checkpoint { run: id, state });
                }
                None => self.over(now, id, Status::Exited(0)),
            },
            Doing::Count { salt, put, octets, permitted, pause, code } => {
                let portion = (*octets / 3 + 1).min(*octets - *put).min(*permitted);
                let output = counted(*salt, *put, *put + portion);
                *put += portion;
                *permitted -= portion;
                let (complete, code) = (*put == *octets, *code);
                if !complete && *permitted > 0 {
                    self.due.set(id, now + *pause);
                }
                if portion > 0 {
                    self.inform(now, Fact::Output { run: id, stream: Stream::OUTPUT, octets: output });
                }
                if complete {
                    self.over(now, id, Status::Exited(code));
                }
            }
        }
    }

    fn over(&mut self, now: Time, run: RunId, status: Status) {
        self.runs.remove(&run);
        self.due.clear(&run);
        self.say(Said::Over { run });
        self.inform(now, Fact::Ended { run, status });
    }

    fn deadline_of_drain(&self) -> Option<Time> {
        self.drains.filter(|_| !self.gone).map(|since| since + self.toil.drain_deadline + LAST_WORDS)
    }
}

/// What to carry out.
struct Execution {
    job: JobId,
    attempt: Attempt,
    work: Work,
    checkpoint: Option<Vec<u8>>,
    window: u32,
}

impl Node for Worker {
    type Event = Said;

    fn handle(&mut self, now: Time, input: Input) {
        let alarm = input == Input::Wake;
        if !alarm || self.element.deadline().is_some_and(|due| due <= now) {
            self.element.handle(now, input);
            self.settle(now);
        }
        if !alarm {
            return;
        }
        while let Some((_, run)) = self.due.take_due(now) {
            self.proceed(now, run);
        }
        if self.deadline_of_drain().is_some_and(|due| due <= now) {
            self.gone = true;
            self.say(Said::Gone);
        }
    }

    fn poll(&mut self) -> Option<Output<Said>> {
        self.wishes.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        [self.element.deadline(), self.due.next(), self.deadline_of_drain()].into_iter().flatten().min()
    }
}
