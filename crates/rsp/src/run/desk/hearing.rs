//! What each piece of news means: for the books, for people, and for what is printed.

use super::{Desk, Stage};
use crate::client;
use crate::exit::{Code, Failure};
use crate::jobs::disk::Outputs;
use crate::process;
use crate::run::print::{self, Finished};
use rserpool::{ElementId, user};
use rserpool_compute::durable::{DurableJob, Event};
use rserpool_compute::journal::{Entry, Output};
use rserpool_compute::{Attempt, Stream, job};
use rserpool_net::Handle;
use std::ffi::OsString;
use std::time::Instant;

/// Complaints about single tasks printed; more are counted.
const COMPLAINTS_MAX: u64 = 20;

/// Octets of output after which the job is told that they are taken.
const TOLD_AT: u32 = 64 * 1024;

/// Likewise, of all tasks together: a worker waits with everything while too much of it is on its way
/// ([`FLIGHT_MAX`](rserpool_compute::protocol::FLIGHT_MAX)).
const UNTOLD_MAX: u32 = 512 * 1024;

impl Desk<'_> {
    /// One piece of news.
    pub(super) fn hear(&mut self, event: Event, handle: &Handle<DurableJob>) {
        match event {
            Event::Job(event) => self.hear_job(event, handle),
            Event::Keep { attempt, success } => self.keep(attempt, success, handle),
            Event::Accepted(accepted) => {
                self.stopped(accepted.attempt);
                let values = self.submitted.remove(&accepted.attempt.task.0).unwrap_or_default();
                self.over(values, Entry::Accepted(accepted));
            }
            Event::Failed { task, starts, cause } => {
                let values = self.submitted.remove(&task.0).unwrap_or_default();
                self.over(values, Entry::Failed { task, starts, why: cause.to_string() });
            }
            Event::Finished(_) => self.stage = Stage::Finished,
            Event::Suspended => self.stage = Stage::Suspended,
            Event::AllCancelled => self.stage = Stage::Cancelled,
            Event::Stopped { why } => {
                self.stage = Stage::Stopped;
                let message = match &self.name {
                    Some(name) => format!(
                        "cannot write the journal of job '{name}': {why}; what was accepted is safe, so make room there"
                    ),
                    None => format!(
                        "cannot keep the output of a task in a temporary file: {why}; free some space or set TMPDIR"
                    ),
                };
                // An earlier trouble may be why we end; this one is why nothing more is safe.
                self.trouble = Some(Failure::new(Code::CannotWrite, message));
            }
            Event::Cancelled { task } => drop(self.submitted.remove(&task.0)),
            Event::Disk(_) | Event::Room | Event::Flushed => {}
            _ => {}
        }
    }

    fn hear_job(&mut self, event: job::Event, handle: &Handle<DurableJob>) {
        use job::Event as E;
        if let Some(present) = &mut self.present {
            present.hear(&event);
        }
        match event {
            E::WorkerJoined { .. } => {
                self.workers += 1;
                self.waiting = None;
            }
            E::WorkerLost { worker, cause, tasks } => {
                self.workers = self.workers.saturating_sub(1);
                self.progress
                    .say(&format!("worker {worker}{LOST}{cause:?}); its {tasks} tasks run elsewhere"));
            }
            E::WorkerLeft { .. } => self.workers = self.workers.saturating_sub(1),
            E::WorkerRefused { worker, why } => {
                self.progress.say(&format!("worker {worker} cannot be used: {why}"));
            }
            E::Waiting { why } => self.wait_for_workers(why),
            E::Unmet { needs, lacks, tasks, workers } => {
                let (pool, needs) = (self.args.pool, needs.display());
                let lacks = if lacks.is_empty() { "all of it together".into() } else { lacks };
                let unmet = format!(
                    "{tasks} tasks need {needs}: none of {workers} workers of pool '{pool}' has {lacks}"
                );
                self.progress.say(&format!("{unmet}; waiting up to {} s (--patience)", self.args.patience));
                self.unmet = Some(unmet);
            }
            E::Again { attempt, worker, status } => {
                self.again += 1;
                if self.again <= COMPLAINTS_MAX {
                    let task = attempt.task;
                    self.progress.say(&format!(
                        "task {task}, attempt {} on worker {worker}: {}; it is tried again",
                        attempt.number,
                        print::in_words(&status)
                    ));
                } else if self.again == COMPLAINTS_MAX + 1 {
                    self.progress.say("more tasks are tried again; that is not said from here on");
                }
            }
            E::Discarded { attempt, worker } => {
                self.late += 1;
                if self.late <= COMPLAINTS_MAX {
                    self.progress.say(&late(attempt, worker));
                } else if self.late == COMPLAINTS_MAX + 1 {
                    self.progress.say("more results come too late; that is not said from here on");
                }
            }
            E::Started { attempt, .. } => {
                self.unmet = None;
                self.running.insert(attempt);
            }
            E::Dropped { attempt } => {
                self.landing.drop(attempt);
                self.landed.remove(&attempt);
                self.stopped(attempt);
            }
            E::Chunk { attempt, stream: Stream::FILES, octets } => {
                if let Err(cause) = self.landing.write(attempt, &octets) {
                    self.trouble = Some(self.cannot_land(attempt, &cause));
                }
                self.taken(attempt, octets.len(), handle);
            }
            E::Wanted { .. } | E::TransferEnded { .. } | E::Save { .. } | E::SavePart { .. } => {
                // Files on their way to a task are as good as a slot: patience begins anew.
                self.idle_since = Instant::now();
                self.clerk.hear(event);
            }
            _ => {}
        }
    }

    /// The files of a result go to their places; then it may be recorded. Those of a failure are not wanted, and may have
    /// broken off.
    fn keep(&mut self, attempt: Attempt, success: bool, handle: &Handle<DurableJob>) {
        if !success {
            self.landing.drop(attempt);
        }
        let values = self.submitted.get(&attempt.task.0).map(Vec::as_slice).unwrap_or_default();
        match self.landing.land(attempt, values) {
            Ok(landed) => {
                self.landed.insert(attempt, landed);
                let _ = handle.post_blocking(move |job, now| job.kept(now, attempt));
            }
            Err(cause) => self.trouble = Some(self.cannot_land(attempt, &cause)),
        }
    }

    /// Files are on the disk: the worker may send more.
    fn taken(&mut self, attempt: Attempt, octets: usize, handle: &Handle<DurableJob>) {
        let of_it = self.taken.entry(attempt).or_default();
        *of_it = of_it.saturating_add(octets as u32);
        self.untold = self.untold.saturating_add(octets as u32);
        // Little fits into a window and needs no word; little of many tasks together does.
        let told: Vec<_> = if self.untold >= UNTOLD_MAX {
            self.untold = 0;
            std::mem::take(&mut self.taken).into_iter().collect()
        } else if *of_it >= TOLD_AT {
            vec![(attempt, std::mem::take(of_it))]
        } else {
            return;
        };
        let _ = handle.post_blocking(move |job, now| {
            told.into_iter().for_each(|(attempt, octets)| job.transfers().taken(now, attempt, octets));
        });
    }

    fn cannot_land(&self, attempt: Attempt, cause: &std::io::Error) -> Failure {
        let (task, out) = (attempt.task, self.args.out.display());
        let message = format!("cannot write the output files of task {task} in {out}: {cause}");
        Failure::new(Code::CannotWrite, message)
    }

    /// An execution is no longer under way.
    fn stopped(&mut self, attempt: Attempt) {
        self.running.remove(&attempt);
        self.taken.remove(&attempt);
        if let Some(present) = &mut self.present {
            present.stopped(attempt);
        }
        if self.running.is_empty() {
            self.idle_since = Instant::now();
        }
    }

    fn wait_for_workers(&mut self, why: user::Failure) {
        let is_first = self.workers == 0 && self.done == 0 && !self.args.registrars.discover;
        if is_first && matches!(why, user::Failure::NoRegistrar { .. }) {
            self.trouble = Some(client::no_registrar(self.choice));
            return;
        }
        let patience = self.args.patience;
        let reason = reason(&why, self.args.pool);
        self.progress.say(&format!("{reason}; waiting up to {patience} s (--patience)"));
        self.waiting = Some(why);
    }

    /// A task ended in a former life, and was not printed.
    pub(super) fn former(&mut self, index: u64, values: Vec<OsString>, entry: Entry) {
        let finished = self.finished(index, values, entry);
        self.print(finished);
    }

    /// A task ended.
    fn over(&mut self, values: Vec<OsString>, entry: Entry) {
        let index = self.ends;
        self.ends += 1;
        let landed = match &entry {
            Entry::Accepted(accepted) => self.landed.remove(&accepted.attempt),
            _ => None,
        };
        let finished = Finished { landed: landed.unwrap_or_default(), ..self.finished(index, values, entry) };
        self.clerk.over(finished.task);
        // Attempts that were given up without an output of theirs end here at the latest.
        self.running.retain(|attempt| attempt.task.0 != finished.task);
        self.idle_since = Instant::now();
        self.done += 1;
        if !finished.is_success() {
            self.failed += 1;
            self.complaints += 1;
            if self.complaints <= COMPLAINTS_MAX {
                self.progress.say(&finished.complaint());
            } else if self.complaints == COMPLAINTS_MAX + 1 {
                self.progress.say("more tasks fail; they are only counted from here on");
            }
        }
        self.print(finished);
        self.progress.done(self.done);
    }

    fn finished(&self, index: u64, values: Vec<OsString>, entry: Entry) -> Finished {
        let outputs =
            |output: Output| Outputs { output, file: self.outputs.clone(), temporary: self.name.is_none() };
        Finished::of(index, self.recipe.arguments(&values), values, entry, outputs)
    }

    fn print(&mut self, finished: Finished) {
        if self.trouble.is_some() && self.stage != Stage::Running {
            return; // standard output may be what the trouble is about; it is printed in the next life
        }
        let printed = self.progress.suspended(|| self.printer.finished(finished));
        if let Err(cause) = printed {
            self.trouble = Some(self.cannot_print(&cause));
        }
    }

    pub(super) fn cannot_print(&self, cause: &std::io::Error) -> Failure {
        let then = if self.name.is_some() { "" } else { "; the tasks left over were cancelled" };
        process::cannot_print(cause).and(then)
    }
}

/// What is said of a worker that was lost, between its name and the cause.
pub const LOST: &str = " is lost (";

/// What is said of a result that came too late.
pub fn late(attempt: Attempt, worker: ElementId) -> String {
    let (task, number) = (attempt.task, attempt.number);
    format!("worker {worker} delivered task {task}, attempt {number}, too late: discarded")
}

/// Why there is no worker.
pub(super) fn reason(why: &user::Failure, pool: rserpool::PoolHandle) -> String {
    match why {
        user::Failure::NoRegistrar { .. } => "no registrar answers".to_string(),
        _ => format!("nobody serves in pool '{pool}'"),
    }
}
