//! What the clients of the simulated compute pool want done: tasks of many sizes, and what must come of each.
//!
//! A task is real [`Work`], so the real code carries it around, checks it and continues it; only the time it takes is
//! the world's. Commands are words of a small language that [`worker`](crate::worker) understands:
//!
//! ```text
//!   count SALT OCTETS MICROS STATUS   puts octets out, in three portions over this time, and ends with this status
//!   hang                              never ends: its permitted time has to
//!   signal NUMBER MICROS              is ended by a signal
//!   poison MICROS                     kills its worker
//!   missing                           no worker can start it
//! ```
//!
//! Anybody can compute what a single process would have got of a task ([`right`]), so anybody can check results.

use rserpool::{Policy, PoolHandle, Random};
use rserpool_compute::fractal::{Rect, Scene, Set};
use rserpool_compute::job::Backups;
use rserpool_compute::{Command, Status, Work};
use std::time::Duration;

/// How clients and workers of the compute pool are, and what is to be done.
#[derive(Clone, Debug)]
pub struct Toil {
    /// The pool.
    pub handle: PoolHandle,
    /// Its policy.
    pub policy: Policy,
    /// Tasks of each client.
    pub tasks: u64,
    /// Pause between two submissions.
    pub think: Duration,
    /// A long task takes about as long; the shortest take microseconds.
    pub unit: Duration,
    /// Slots of the worker with the most; the others have fewer.
    pub slots_max: u32,
    /// Among the tasks of each client there is one that kills its worker.
    pub poison: bool,
    /// Which tasks get a second worker at the end.
    pub backups: Backups,
    /// A task that was running on so many workers when they died is given up.
    pub deaths_max: u32,
    /// A worker that drains has so long to hand over what it holds.
    pub drain_deadline: Duration,
    /// Clients keep a journal, and go on with their jobs when they come back.
    pub durable: bool,
    /// What clients and workers do wrong. A mistake made on purpose, for the tests of the checks.
    pub careless: Option<Careless>,
}

/// A mistake of clients with their disks, or of workers with their hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Careless {
    /// What was written is taken for stored.
    BelievesDisk,
    /// So are outputs; the journal is synced.
    SkipsOutputs,
    /// The last octet of the journal is not read.
    ReadsTooLittle,
    /// A worker that drains believes that it left its pool, and did not.
    StaysListed,
}

impl Default for Toil {
    fn default() -> Self {
        Self {
            handle: PoolHandle::new("compute").expect("1 to 32 octets"),
            policy: Policy::RoundRobin,
            tasks: 30,
            think: Duration::from_millis(20),
            unit: Duration::from_millis(500),
            slots_max: 3,
            poison: false,
            backups: Backups::Pure,
            deaths_max: 5,
            drain_deadline: Duration::from_secs(2),
            durable: false,
            careless: None,
        }
    }
}

impl Toil {
    /// The slots of the worker with this number.
    pub fn slots_of(&self, worker: usize) -> u32 {
        1 + worker as u32 % self.slots_max.max(1)
    }

    /// The task of this number, from 0, of the client with this seed: always the same.
    pub fn task(&self, client: u64, number: u64) -> Work {
        let mut random = Random::from_seed(client ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let poison = Random::from_seed(client).below(self.tasks.max(1));
        if self.poison && number == poison {
            return Program::Poison { micros: random.below(2_000) }.command().into();
        }
        let micros = u64::try_from(self.unit.as_micros()).unwrap_or(u64::MAX);
        match random.below(20) {
            0..=2 => Work::Echo(number.to_be_bytes()[..random.below(9) as usize].to_vec()),
            3..=5 => Work::Sleep(Duration::from_micros(random.below(micros))),
            6..=8 => Work::Spin(Duration::from_micros(random.below(50))),
            9..=10 => Work::Spin(Duration::from_micros(random.below(2 * micros))),
            11..=14 => tile(&mut random),
            15..=17 => {
                // A few are larger than a window, so that they have to wait in the middle.
                // Others are too large for a record of a journal.
                let octets = match random.below(16) {
                    0 => 600_000 + random.below(400_000),
                    1..=3 => 4_000 + random.below(20_000),
                    _ => random.below(3_000),
                };
                let code = if random.one_in(4) { random.below(3) as i32 } else { 0 };
                Program::Count { salt: number as u8, octets, micros: random.below(micros), code }
                    .command()
                    .into()
            }
            18 => Program::Signal { number: 11, micros: random.below(micros / 4) }.command().into(),
            _ if random.one_in(4) => Command::new(["missing"]).into(),
            _ => {
                let mut command = Program::Hang.command();
                command.time_max = Some(Duration::from_micros(1 + random.below(micros / 2)));
                command.into()
            }
        }
    }

    /// How long a row of a tile takes.
    pub fn row(&self) -> Duration {
        self.unit / 16
    }

    /// The longest a single execution takes on a worker that is left alone.
    pub fn longest(&self) -> Duration {
        (self.unit * 2).max(self.row() * (ROWS_MAX + 1))
    }
}

/// The most rows of a tile.
const ROWS_MAX: u32 = 32;

fn tile(random: &mut Random) -> Work {
    let (width, height) = (4, 1 + random.below(ROWS_MAX.into()) as u32);
    let (left, top) = (random.below(12) as u32, random.below(32) as u32);
    let scene = Scene {
        set: Set::Mandelbrot,
        width: 16,
        height: 64,
        center: (-0.5, 0.0),
        span: 3.0,
        iterations: 30,
        samples: 1,
    };
    Work::Tile { scene, rect: Rect { left, top, width, height } }
}

/// A command, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // see the table of the module
pub enum Program {
    Count { salt: u8, octets: u64, micros: u64, code: i32 },
    Hang,
    Signal { number: i32, micros: u64 },
    Poison { micros: u64 },
}

impl Program {
    /// As a command.
    pub fn command(self) -> Command {
        let words = match self {
            Self::Count { salt, octets, micros, code } => format!("count {salt} {octets} {micros} {code}"),
            Self::Hang => "hang".to_owned(),
            Self::Signal { number, micros } => format!("signal {number} {micros}"),
            Self::Poison { micros } => format!("poison {micros}"),
        };
        Command::new(words.split(' '))
    }

    /// What a command means; `None`: there is no such program.
    pub fn of(command: &Command) -> Option<Self> {
        let words: Vec<&str> =
            command.arguments.iter().map(|word| std::str::from_utf8(word).ok()).collect::<Option<_>>()?;
        Some(match words[..] {
            ["count", salt, octets, micros, code] => Self::Count {
                salt: salt.parse().ok()?,
                octets: octets.parse().ok()?,
                micros: micros.parse().ok()?,
                code: code.parse().ok()?,
            },
            ["hang"] => Self::Hang,
            ["signal", number, micros] => {
                Self::Signal { number: number.parse().ok()?, micros: micros.parse().ok()? }
            }
            ["poison", micros] => Self::Poison { micros: micros.parse().ok()? },
            _ => return None,
        })
    }
}

/// The octets that `count` puts out, from one place to another.
pub fn counted(salt: u8, from: u64, to: u64) -> Vec<u8> {
    (from..to).map(|place| place as u8 ^ salt).collect()
}

/// What must come of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Right {
    /// This result.
    Result(Status, Vec<u8>),
    /// No worker survives it.
    Poison,
    /// No worker can start it.
    Missing,
}

/// What a single process would get of this work.
pub fn right(work: &Work) -> Right {
    let done = |output| Right::Result(Status::Exited(0), output);
    match work {
        Work::Echo(octets) => done(octets.clone()),
        Work::Tile { scene, rect } => done(scene.render(rect)),
        Work::Command(command) => match Program::of(command) {
            Some(Program::Count { salt, octets, code, .. }) => {
                Right::Result(Status::Exited(code), counted(salt, 0, octets))
            }
            Some(Program::Hang) => Right::Result(Status::TimedOut, Vec::new()),
            Some(Program::Signal { number, .. }) => Right::Result(Status::Signalled(number), Vec::new()),
            Some(Program::Poison { .. }) => Right::Poison,
            None => Right::Missing,
        },
        _ => done(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_understood_as_they_were_meant() {
        let programs = [
            Program::Count { salt: 7, octets: 9, micros: 11, code: -1 },
            Program::Hang,
            Program::Signal { number: 11, micros: 3 },
            Program::Poison { micros: 5 },
        ];
        for program in programs {
            assert_eq!(Program::of(&program.command()), Some(program));
        }
        assert_eq!(Program::of(&Command::new(["missing"])), None);
    }

    #[test]
    fn there_is_every_kind_of_task_and_each_is_legal() {
        let toil = Toil { poison: true, tasks: 400, ..Toil::default() };
        let tasks: Vec<Work> = (0..400).map(|number| toil.task(9, number)).collect();
        assert!(tasks.iter().all(|work| work.emit().is_ok()));
        assert_eq!(tasks, (0..400).map(|number| toil.task(9, number)).collect::<Vec<_>>());
        let rights: Vec<Right> = tasks.iter().map(right).collect();
        assert_eq!(rights.iter().filter(|right| **right == Right::Poison).count(), 1);
        assert!(rights.contains(&Right::Missing));
        for status in [Status::Exited(0), Status::Exited(1), Status::TimedOut, Status::Signalled(11)] {
            assert!(rights.iter().any(|right| matches!(right, Right::Result(of, _) if *of == status)));
        }
        assert!(
            rights.iter().any(|right| matches!(right, Right::Result(_, octets) if octets.len() > 600_000))
        );
    }
}
