//! The faults of the demo: real signals to real processes, triggered by progress, each checked to have hit something.
//!
//! ```text
//!   20 % accepted   SIGKILL to a worker that has just begun a tile
//!   40 %            SIGSTOP to another one; continued at 80 %, when its tile has long been computed elsewhere
//!   60 %            SIGKILL to the registrar that the client asks, home of at least one living worker
//! ```

use super::pool::Pool;
use rserpool::ElementId;
use rustix::process::Signal;
use std::net::SocketAddr;

/// What was done, and whether it hit anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    killed: Option<Victim>,
    stopped: Option<Victim>,
    continued: bool,
    registrar: Option<SocketAddr>,
    registrar_homes: usize,
    late: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Victim {
    worker: ElementId,
    /// Unfinished tiles it had, by the job's own account; `None`: the loss is not noticed yet.
    tiles: Option<usize>,
}

/// What the story needs next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing at this point.
    Wait,
    /// A worker that has just begun a tile, to be killed.
    Kill,
    /// A worker that has just begun a tile, to be stopped.
    Stop,
    /// The client's registrar, to be killed.
    KillRegistrar,
    /// The stopped worker, to be continued.
    Continue,
}

impl Faults {
    /// What is due when this part of the tiles, in per cent, is accepted.
    pub fn next(&self, percent: u64) -> Next {
        match self {
            Self { killed: None, .. } if percent >= 20 => Next::Kill,
            Self { stopped: None, .. } if percent >= 40 => Next::Stop,
            Self { registrar: None, .. } if percent >= 60 => Next::KillRegistrar,
            Self { continued: false, stopped: Some(Victim { tiles: Some(_), .. }), .. } if percent >= 80 => {
                Next::Continue
            }
            _ => Next::Wait,
        }
    }

    /// True if this worker was killed or stopped.
    pub fn has_hit(&self, worker: ElementId) -> bool {
        [self.killed, self.stopped].into_iter().flatten().any(|victim| victim.worker == worker)
    }

    /// True if this worker was killed.
    pub fn has_killed(&self, worker: ElementId) -> bool {
        self.killed.is_some_and(|victim| victim.worker == worker)
    }

    /// True if this is the registrar that was killed.
    pub fn killed_registrar(&self, at: SocketAddr) -> bool {
        self.registrar == Some(at)
    }

    /// What became of a worker, in a few words.
    pub fn fate(&self, worker: ElementId) -> String {
        match (self.killed, self.stopped) {
            (Some(victim), _) if victim.worker == worker => "killed".into(),
            (_, Some(victim)) if victim.worker == worker => {
                format!("stopped, continued; {} late results discarded", self.late)
            }
            _ => "served throughout".into(),
        }
    }

    /// Kills a worker.
    pub fn kill(&mut self, pool: &Pool, worker: ElementId) -> Option<String> {
        let pid = pool.signal(worker, Signal::KILL)?;
        self.killed = Some(Victim { worker, tiles: None });
        Some(format!("killed worker {worker} (SIGKILL to process {pid})"))
    }

    /// Stops a worker.
    pub fn stop(&mut self, pool: &Pool, worker: ElementId) -> Option<String> {
        let pid = pool.signal(worker, Signal::STOP)?;
        self.stopped = Some(Victim { worker, tiles: None });
        Some(format!("stopped worker {worker} (SIGSTOP to process {pid})"))
    }

    /// Continues the stopped worker.
    pub fn resume(&mut self, pool: &Pool) -> Option<String> {
        let worker = self.stopped?.worker;
        pool.signal(worker, Signal::CONT)?;
        self.continued = true;
        Some(format!("continued worker {worker} (SIGCONT)"))
    }

    /// Kills a registrar that is the home of so many living workers.
    pub fn kill_registrar(&mut self, pool: &Pool, at: SocketAddr, homes: usize) -> Option<String> {
        let (id, pid) = pool.kill_registrar(at)?;
        (self.registrar, self.registrar_homes) = (Some(at), homes);
        Some(format!(
            "killed registrar {id} (SIGKILL to process {pid}): the client's, and the home of {homes} living workers"
        ))
    }

    /// The job noticed the loss of a worker. True if that was our doing.
    pub fn noticed(&mut self, worker: ElementId, tiles: usize) -> bool {
        for victim in [&mut self.killed, &mut self.stopped].into_iter().flatten() {
            if victim.worker == worker && victim.tiles.is_none() {
                victim.tiles = Some(tiles);
                return true;
            }
        }
        false
    }

    /// The job discarded a result that came too late. Counted if the stopped worker computed it.
    pub fn discarded(&mut self, worker: ElementId) {
        self.late += u64::from(self.continued && self.stopped.is_some_and(|victim| victim.worker == worker));
    }

    /// True when everything has happened that will happen, so that the job may end.
    pub fn is_over(&self) -> bool {
        self.complaints().is_empty()
    }

    /// What did not happen, or hit nothing.
    pub fn complaints(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (victim, what) in [(self.killed, "killed"), (self.stopped, "stopped")] {
            match victim {
                None => all.push(format!("no worker was {what}")),
                Some(Victim { worker, tiles: None }) => {
                    all.push(format!("nobody noticed that {worker} was {what}"))
                }
                Some(Victim { worker, tiles: Some(0) }) => {
                    all.push(format!("worker {worker} held no unfinished tile when it was {what}"));
                }
                Some(_) => {}
            }
        }
        if self.registrar.is_none() {
            all.push("no registrar was killed".into());
        } else if self.registrar_homes == 0 {
            all.push("the registrar killed was no living worker's home".into());
        }
        if !self.continued {
            all.push("the stopped worker was not continued".into());
        } else if self.late == 0 {
            all.push("no late result of the continued worker was discarded".into());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ElementId = ElementId(1);
    const B: ElementId = ElementId(2);

    fn complete() -> Faults {
        Faults {
            killed: Some(Victim { worker: A, tiles: Some(1) }),
            stopped: Some(Victim { worker: B, tiles: Some(1) }),
            continued: true,
            registrar: Some(([127, 0, 0, 1], 1).into()),
            registrar_homes: 1,
            late: 1,
        }
    }

    #[test]
    fn the_story_goes_by_progress_and_waits_for_what_was_hit() {
        let mut faults = Faults::default();
        assert_eq!((faults.next(19), faults.next(20)), (Next::Wait, Next::Kill));
        faults.killed = Some(Victim { worker: A, tiles: None });
        assert_eq!((faults.next(39), faults.next(40)), (Next::Wait, Next::Stop));
        faults.stopped = Some(Victim { worker: B, tiles: None });
        assert_eq!((faults.next(59), faults.next(60)), (Next::Wait, Next::KillRegistrar));
        faults.registrar = Some(([127, 0, 0, 1], 1).into());
        assert_eq!(faults.next(100), Next::Wait, "the stop is not noticed yet");
        assert!(faults.noticed(B, 1) && !faults.noticed(B, 1) && !faults.noticed(ElementId(3), 1));
        assert_eq!((faults.next(79), faults.next(80)), (Next::Wait, Next::Continue));
    }

    #[test]
    fn a_fault_that_hit_nothing_is_complained_about() {
        assert!(complete().is_over());
        type Spoil = fn(&mut Faults);
        let spoilt: [(Spoil, &str); 7] = [
            (|f| f.killed = None, "no worker was killed"),
            (|f| f.killed = Some(Victim { worker: A, tiles: Some(0) }), "held no unfinished tile"),
            (|f| f.stopped = Some(Victim { worker: B, tiles: None }), "nobody noticed"),
            (|f| f.continued = false, "was not continued"),
            (|f| f.late = 0, "no late result"),
            (|f| f.registrar = None, "no registrar was killed"),
            (|f| f.registrar_homes = 0, "no living worker's home"),
        ];
        for (spoil, complaint) in spoilt {
            let mut faults = complete();
            spoil(&mut faults);
            let complaints = faults.complaints();
            assert!(complaints.len() == 1 && complaints[0].contains(complaint), "{complaints:?}");
        }
    }

    #[test]
    fn only_the_continued_workers_late_results_count() {
        let mut faults = Faults { late: 0, ..complete() };
        faults.discarded(A);
        assert!(!faults.is_over());
        faults.discarded(B);
        assert!(faults.is_over());
    }
}
