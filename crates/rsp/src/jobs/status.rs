//! What the owner of a job says of the present, once a second, for `rsp job` and `rsp explain`: `status.json` in the job's
//! folder (schema `rsp.status/1`).

use crate::process;
use rserpool::ElementId;
use rserpool_compute::Attempt;
use rserpool_compute::job::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often it is said.
const EVERY: Duration = Duration::from_secs(1);

/// Executions that are named; more are only counted.
const NAMED_MAX: usize = 1000;

/// Workers lost that are remembered.
const LOST_MAX: usize = 20;

struct Worker {
    name: String,
    slots: u32,
}

/// The owner's picture of its workers.
pub struct Status {
    path: PathBuf,
    workers: BTreeMap<ElementId, Worker>,
    /// Workers that were lost, or cannot be used, and why; the last ones.
    gone: Vec<(ElementId, String)>,
    running: BTreeMap<Attempt, (ElementId, u64)>,
    /// Something changed since it was said.
    changed: bool,
    said: Option<Instant>,
    last: Option<Figures>,
}

/// How many tasks there are, are done and failed, how many are known, and why the job waits.
type Figures = (Option<u64>, u64, u64, usize, Option<String>);

impl Status {
    /// Nothing is known yet.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            workers: BTreeMap::new(),
            gone: Vec::new(),
            running: BTreeMap::new(),
            changed: true,
            said: None,
            last: None,
        }
    }

    /// News of the job.
    pub fn hear(&mut self, event: &Event) {
        match event {
            Event::WorkerJoined { worker, name, slots } => {
                self.workers.insert(*worker, Worker { name: name.clone(), slots: *slots });
            }
            Event::WorkerLost { worker, cause, .. } => self.gone(*worker, format!("{cause:?}")),
            Event::WorkerLeft { worker } => self.gone(*worker, "it takes no more tasks".into()),
            Event::WorkerRefused { worker, why } => self.gone(*worker, why.clone()),
            Event::Started { attempt, worker } => {
                self.running.insert(*attempt, (*worker, process::wall_millis()));
            }
            Event::Dropped { attempt } => drop(self.running.remove(attempt)),
            _ => return,
        }
        self.changed = true;
    }

    /// An execution ended.
    pub fn stopped(&mut self, attempt: Attempt) {
        self.changed |= self.running.remove(&attempt).is_some();
    }

    fn gone(&mut self, worker: ElementId, why: String) {
        self.workers.remove(&worker);
        self.gone.push((worker, why));
        if self.gone.len() > LOST_MAX {
            self.gone.remove(0);
        }
    }

    /// When to say it next, if there is something to say.
    pub fn due(&self) -> Option<Duration> {
        let due = self.said.map_or(Duration::ZERO, |said| EVERY.saturating_sub(said.elapsed()));
        self.changed.then_some(due)
    }

    /// Says it, unless it was said a moment ago.
    pub fn say(&mut self, total: Option<u64>, done: u64, failed: u64, known: usize, waiting: Option<String>) {
        let last = Some((total, done, failed, known, waiting));
        self.changed |= last != self.last;
        self.last = last;
        if self.due() != Some(Duration::ZERO) {
            return;
        }
        (self.changed, self.said) = (false, Some(Instant::now()));
        let Some((total, done, failed, known, waiting)) = &self.last else { return };
        let running: Vec<Value> = self
            .running
            .iter()
            .take(NAMED_MAX)
            .map(|(attempt, (worker, since))| {
                json!({
                    "task": attempt.task.0,
                    "attempt": attempt.number,
                    "worker": worker.to_string(),
                    "since": process::iso(*since),
                })
            })
            .collect();
        let workers: Vec<Value> = self
            .workers
            .iter()
            .map(|(id, worker)| json!({ "id": id.to_string(), "name": worker.name, "slots": worker.slots }))
            .collect();
        let gone: Vec<Value> =
            self.gone.iter().map(|(id, why)| json!({ "id": id.to_string(), "why": why })).collect();
        let document = json!({
            "schema": "rsp.status/1",
            "pid": std::process::id(),
            "time": process::iso(process::wall_millis()),
            "tasks": total,
            "done": done,
            "failed": failed,
            "waiting": known.saturating_sub(self.running.len()),
            "running": self.running.len(),
            "executions": running,
            "workers": workers,
            "gone": gone,
            "why": waiting,
        });
        // It is a convenience: who cannot write it has said so where it matters, at the journal.
        let new = self.path.with_extension("new");
        if std::fs::write(&new, document.to_string()).is_ok() {
            let _ = std::fs::rename(&new, &self.path);
        }
    }

    /// There is no present any more.
    pub fn end(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
