//! The job's journal, read while its clients write it: what was accepted, when and in which life.

use crate::exit::{Code, Failure};
use rserpool::ElementId;
use rserpool_compute::journal::{Entry, Reader, State};
use rserpool_compute::{Attempt, TaskId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A result that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acceptance {
    /// Of this execution.
    pub attempt: Attempt,
    /// In this life of the client, counted from 0.
    pub life: u32,
    /// When: milliseconds since 1970.
    pub time: u64,
    /// Whose it was.
    pub worker: ElementId,
    /// Exit status 0.
    pub success: bool,
}

/// A journal as far as it is read.
#[derive(Debug, Default)]
pub struct Journal {
    path: PathBuf,
    file: Option<File>,
    reader: Reader,
    /// What it comes to.
    pub state: State,
    /// All results accepted: one for each task, if all is well.
    pub accepted: BTreeMap<TaskId, Vec<Acceptance>>,
    /// Executions given up, and where they were.
    pub lost: BTreeSet<(Attempt, ElementId)>,
    /// Tasks given up, and why; the first.
    pub failed: Option<(TaskId, String)>,
    /// When the present life began.
    life_began: u64,
}

impl Journal {
    /// Reads this file, from its beginning, when it is there.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Begins anew: a new client cuts off what a killed one did not write to its end.
    pub fn again(&mut self) {
        *self = Self::new(&self.path);
    }

    /// Reads what was added.
    pub fn read(&mut self) -> Result<(), Failure> {
        let path = self.path.clone();
        let cannot =
            |why: String| Failure::new(Code::Failed, format!("cannot read {}: {why}", path.display()));
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(cause) => return Err(cannot(cause.to_string())),
            };
        }
        let mut octets = Vec::new();
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut octets).map_err(|cause| cannot(cause.to_string()))?;
        }
        self.reader.push(&octets);
        while let Some(entry) = self.reader.entry().map_err(|error| cannot(error.to_string()))? {
            self.apply(entry);
        }
        Ok(())
    }

    fn apply(&mut self, entry: Entry) {
        self.state.apply(&entry);
        match entry {
            Entry::Life { time } => self.life_began = time,
            Entry::Accepted(accepted) => {
                let acceptance = Acceptance {
                    attempt: accepted.attempt,
                    life: self.state.lives.saturating_sub(1),
                    time: self.life_began + accepted.time,
                    worker: accepted.worker,
                    success: accepted.status.is_success(),
                };
                self.accepted.entry(accepted.attempt.task).or_default().push(acceptance);
            }
            Entry::Failed { task, why, .. } => drop(self.failed.get_or_insert((task, why))),
            Entry::Lost { attempt, worker } => drop(self.lost.insert((attempt, worker))),
            _ => {}
        }
    }
}
