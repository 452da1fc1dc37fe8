//! Those who do a worker's work: threads that compute, and one that looks after programs.
//!
//! ```text
//!   node's thread --- Task: start, grant, kill ---> computing threads (tiles, spins), one per slot
//!                                              |--> programs thread --- keeper --- processes
//!                                              `--> cache thread (files that tasks need)
//!   node <----------- facts, in portions ----------+ (a post to the node's loop)
//! ```
//!
//! Nothing here waits while the node's thread does: wishes go into a queue whose length the slots bound.

use super::programs::{Programs, Start};
use super::store::{self, Shelf, Store};
use rserpool_compute::cookie::inline_max;
use rserpool_compute::fractal::TileRun;
use rserpool_compute::service::{Fact, RunId, Wish};
use rserpool_compute::{Status, Stream, Work};
use rserpool_net::pool::JSON;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tells the service facts, from any thread; false if the node is gone.
pub type Tell = Arc<dyn Fn(Vec<Fact>) -> bool + Send + Sync>;

/// How much of a tile is computed before it is told: a tenth of a second is far below what a failure costs anyway.
const TILE_PORTION: Duration = Duration::from_millis(100);

/// The way to the crew. Cheap to use from the node's thread: it only queues.
pub struct Orders {
    computing: Sender<Computation>,
    killed: Killed,
    programs: super::programs::Orders,
    store: store::Orders,
}

type Killed = Arc<Mutex<BTreeSet<RunId>>>;

struct Computation {
    run: RunId,
    work: Work,
    checkpoint: Option<Vec<u8>>,
}

/// A crew that has not begun: it needs to know whom to tell.
pub struct Crew {
    computations: Receiver<Computation>,
    killed: Killed,
    programs: Programs,
    store: Store,
    slots: u32,
}

/// A worker's cache: the way to it, where its files are, and who writes them.
pub type Cache = (store::Orders, Shelf, Store);

/// A crew for a worker. `scratch`: a folder for those of the programs. `honour`: a submitter's folder is this machine's
/// too (private workers).
pub fn crew(slots: u32, scratch: PathBuf, honour: bool, cache: Cache) -> std::io::Result<(Orders, Crew)> {
    let (computing, computations) = mpsc::channel();
    let killed = Killed::default();
    let (store_orders, shelf, store) = cache;
    let (programs_orders, programs) = Programs::new(scratch, honour, shelf, inline_max(slots))?;
    let orders = Orders { computing, killed: killed.clone(), programs: programs_orders, store: store_orders };
    Ok((orders, Crew { computations, killed, programs, store, slots }))
}

impl Orders {
    /// Carries out a wish of the service. What is said about draining is not for the crew.
    pub fn obey(&self, wish: Wish) {
        match wish {
            Wish::Start { run, job, attempt, work: Work::Command(command), checkpoint, window } => {
                self.programs.start(Start { run, job, attempt, command: *command, checkpoint, window });
            }
            Wish::Start { run, work, checkpoint, .. } => {
                // The computing threads live as long as the process.
                let _ = self.computing.send(Computation { run, work, checkpoint });
            }
            Wish::Grant { run, octets } => self.programs.grant(run, octets),
            Wish::Kill { run } => {
                lock(&self.killed).insert(run);
                self.programs.kill(run);
            }
            Wish::Store { item, octets } => self.store.store(item, octets),
            Wish::Evict { item } => self.store.evict(item),
            Wish::Send { run, octets } => self.programs.send(run, octets),
            Wish::Saved { run } => self.programs.saved(run),
            Wish::Draining { .. } | Wish::Drained => {}
        }
    }
}

impl Crew {
    /// Begins to work.
    pub fn begin(self, tell: Tell) -> std::io::Result<()> {
        let computations = Arc::new(Mutex::new(self.computations));
        for number in 0..self.slots {
            let (computations, killed, tell) = (computations.clone(), self.killed.clone(), tell.clone());
            std::thread::Builder::new().name(format!("compute {number}")).spawn(move || {
                loop {
                    let next = lock(&computations).recv();
                    let Ok(computation) = next else { return };
                    let run = computation.run;
                    let status = compute(computation, &killed, &tell);
                    lock(&killed).remove(&run);
                    if !tell(vec![Fact::Ended { run, status }]) {
                        return;
                    }
                }
            })?;
        }
        self.store.begin(tell.clone())?;
        self.programs.begin(tell)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The values stay whole whatever a panicking thread did: nothing is changed in several steps.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Computes a tile or spins, in pieces, and stops when it is killed.
fn compute(computation: Computation, killed: &Killed, tell: &Tell) -> Status {
    let run = computation.run;
    let is_killed = || lock(killed).contains(&run);
    match computation.work {
        Work::Spin(span) => {
            let start = Instant::now();
            while start.elapsed() < span && !is_killed() {
                for _ in 0..10_000 {
                    std::hint::spin_loop();
                }
            }
        }
        Work::Tile { scene, rect } => {
            let resumed = computation.checkpoint.and_then(|state| TileRun::resume(rect, &state));
            let mut tile = resumed.unwrap_or_else(|| TileRun::new(rect));
            let mut portion = Vec::new();
            let mut begun = Instant::now();
            while let Some(row) = tile.next_row(&scene) {
                portion.extend(row);
                if is_killed() {
                    break;
                }
                if begun.elapsed() >= TILE_PORTION {
                    begun = Instant::now();
                    let octets = std::mem::take(&mut portion);
                    let output = Fact::Output { run, stream: Stream::OUTPUT, octets };
                    tell(vec![output, Fact::Checkpoint { run, state: tile.state().to_vec() }]);
                }
            }
            if !portion.is_empty() {
                tell(vec![Fact::Output { run, stream: Stream::OUTPUT, octets: portion }]);
            }
        }
        Work::Call { function, .. } => {
            let name = function.strip_suffix(JSON).unwrap_or(&function);
            let why = format!("this worker runs programs and has no function '{name}'");
            return Status::CouldNotStart(why);
        }
        _ => return Status::CouldNotStart("this worker does not know such work".into()),
    }
    Status::Exited(0)
}
