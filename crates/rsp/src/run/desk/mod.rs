//! The desk: the main thread, where all news of a job arrive. It knows what runs and what is over, how long to wait for
//! workers, and how the run ends.

mod hearing;

use super::Heard;
use super::clerk::Clerk;
use super::input::{Former, Recipe, Rest};
use super::landing::Landing;
use super::print::Printer;
use crate::address::Choice;
use crate::cli::RunArgs;
use crate::client;
use crate::exit::{Code, Failure};
use crate::jobs::disk::OutputsFile;
use crate::jobs::status::Status as Present;
use crate::process::say;
use crate::progress::Progress;
use hearing::reason;
pub use hearing::{LOST, late};
use rserpool::user;
use rserpool_compute::durable::{DurableJob, Event};
use rserpool_compute::{Attempt, JobId};
use rserpool_net::Handle;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

/// Waking so much later than asked for, this process was stopped meanwhile.
const ASLEEP: Duration = Duration::from_secs(1);

/// How long what was printed may take to reach the disk in the end.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// What is known of the job.
pub(super) struct Desk<'a> {
    args: &'a RunArgs,
    choice: &'a Choice,
    /// The job's name, if it has a journal.
    pub(super) name: Option<String>,
    recipe: Recipe,
    pub(super) outputs: OutputsFile,
    printer: Printer,
    landing: Landing,
    /// Where files of results landed that are not in the journal yet.
    landed: BTreeMap<Attempt, Vec<PathBuf>>,
    clerk: Clerk,
    /// Octets of files taken that the job was not told of yet.
    taken: BTreeMap<Attempt, u32>,
    /// Octets of files taken since it was told of those of all tasks.
    untold: u32,
    pub(super) present: Option<Present>,
    /// Values of tasks that are not over.
    submitted: BTreeMap<u64, Vec<OsString>>,
    running: BTreeSet<Attempt>,
    workers: usize,
    waiting: Option<user::Failure>,
    /// What no worker has, while tasks wait for it: for people.
    unmet: Option<String>,
    /// Since when no task of ours ran.
    idle_since: Instant,
    total: Option<u64>,
    /// Tasks that are over, those of former lives included, and how many of them were no success.
    done: u64,
    failed: u64,
    complaints: u64,
    /// Executions that failed and are tried again.
    again: u64,
    /// Results that came too late.
    late: u64,
    /// The number of the next end.
    ends: u64,
    /// What the job was told to be printed.
    told: u64,
    pub(super) progress: Progress,
    stage: Stage,
    rest: Rest,
    interrupted: bool,
    /// What ends the run early.
    trouble: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// The job was asked to stop; its last event is missing.
    Ending,
    /// All tasks are over.
    Finished,
    Suspended,
    Cancelled,
    /// The disk takes no more.
    Stopped,
}

impl<'a> Desk<'a> {
    pub(super) fn new(
        args: &'a RunArgs,
        choice: &'a Choice,
        job: JobId,
        recipe: Recipe,
        (former, rest): (&Option<Former>, Rest),
        landing: Landing,
        clerk: Clerk,
    ) -> Self {
        let now = Instant::now();
        let state = former.as_ref().map(|former| former.book.state.clone()).unwrap_or_default();
        let again = former.as_ref().map(|former| former.retried.clone()).unwrap_or_default();
        let of_retried = |set: &rserpool_compute::journal::TaskSet| {
            again.iter().filter(|task| set.contains(*task)).count() as u64
        };
        let failed = state.unsuccessful.len() + state.failed.len();
        let again_failed = of_retried(&state.unsuccessful) + of_retried(&state.failed);
        let unprinted = former.as_ref().map(Former::to_be_printed).unwrap_or_default();
        let next = state.last.map_or(0, |last| last.0) + 1;
        let mut progress = Progress::with_lines("tasks", Duration::from_secs(args.progress));
        let total = state.input_ended.then_some(state.submitted);
        if let Some(total) = total {
            progress.total(total);
        }
        let done = state.over.len() - again.len();
        progress.begin_at(done);
        Self {
            args,
            choice,
            name: None,
            recipe,
            outputs: OutputsFile::default(),
            printer: Printer::new(job, args.json, args.keep_order, state.printed, unprinted, next),
            landing,
            landed: BTreeMap::new(),
            clerk,
            taken: BTreeMap::new(),
            untold: 0,
            present: None,
            submitted: BTreeMap::new(),
            running: BTreeSet::new(),
            workers: 0,
            waiting: None,
            unmet: None,
            idle_since: now,
            total,
            done,
            failed: failed - again_failed,
            complaints: 0,
            again: 0,
            late: 0,
            ends: state.ends,
            told: state.printed,
            progress,
            stage: Stage::Running,
            rest,
            interrupted: false,
            trouble: None,
        }
    }

    /// Listens until the job is over, in whatever way. What it returns is the exit code.
    pub(super) fn until_over(
        &mut self,
        heard: &Receiver<Heard>,
        room: &mpsc::Sender<()>,
        handle: &Handle<DurableJob>,
    ) -> Result<Code, Failure> {
        while matches!(self.stage, Stage::Running | Stage::Ending) {
            match self.next(heard, handle) {
                Ok(Heard::Events(events)) => {
                    for event in events {
                        match event {
                            Event::Room => drop(room.send(())),
                            event => self.hear(event, handle),
                        }
                        self.suspend_if_due(handle);
                    }
                }
                Ok(Heard::Submitted(tasks)) => self.submitted.extend(tasks),
                Ok(Heard::Former(index, values, entry)) => self.former(index, values, *entry),
                Ok(Heard::InputEnded(Ok(total))) => {
                    self.total = Some(total);
                    self.progress.total(total);
                }
                Ok(Heard::InputEnded(Err(failure))) => self.trouble = Some(failure),
                Ok(Heard::Interrupted) if self.interrupted => break,
                Ok(Heard::Interrupted) => self.interrupted = true,
                Ok(Heard::CancelAsked) => {
                    let _ = handle.post_blocking(|job, now| job.cancel_all(now));
                    self.stage = Stage::Ending;
                }
                Err(RecvTimeoutError::Timeout) => self.out_of_patience(),
                Ok(Heard::Ended) | Err(RecvTimeoutError::Disconnected) => {
                    let message = format!("the job's thread ended; this is a bug{}", self.hint());
                    return Err(Failure::new(Code::Failed, message));
                }
            }
            self.suspend_if_due(handle);
        }
        // What waits for its turn waits for the next life, if there can be one.
        if (self.name.is_none() || self.stage == Stage::Finished)
            && self.trouble.is_none()
            && let Err(cause) = self.printer.flush()
        {
            self.trouble = Some(self.cannot_print(&cause));
        }
        if self.stage != Stage::Stopped && self.name.is_some() {
            self.store_last_words(heard, handle);
        }
        if let Some(present) = &self.present {
            present.end();
        }
        self.verdict()
    }

    /// There is no going on after a trouble or an interrupt.
    fn suspend_if_due(&mut self, handle: &Handle<DurableJob>) {
        if (self.trouble.is_some() || self.interrupted) && self.stage == Stage::Running {
            let _ = handle.post_blocking(|job, now| job.suspend(now));
            self.stage = Stage::Ending;
        }
    }

    /// The next thing to hear. Whenever there is nothing at once, the job learns what was printed.
    fn next(
        &mut self,
        heard: &Receiver<Heard>,
        handle: &Handle<DurableJob>,
    ) -> Result<Heard, RecvTimeoutError> {
        match heard.try_recv() {
            Ok(heard) => return Ok(heard),
            Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
            Err(TryRecvError::Empty) => {}
        }
        self.tell_printed(handle);
        self.progress.proceed(self.done, self.failed, self.running.len());
        self.say_present();
        let mut wait = self.wait();
        for soon in [self.progress.due(), self.present.as_ref().and_then(Present::due)].into_iter().flatten()
        {
            wait = wait.min(soon);
        }
        let begun = Instant::now();
        let heard = heard.recv_timeout(wait);
        if begun.elapsed() > wait + ASLEEP {
            // It was this process that did not run (stopped by a signal), so the pool had no chance to be heard.
            self.idle_since = Instant::now();
        }
        heard
    }

    fn tell_printed(&mut self, handle: &Handle<DurableJob>) {
        let count = self.printer.printed();
        if self.told != count && self.name.is_some() {
            self.told = count;
            let _ = handle.post_blocking(move |job, now| job.printed(now, count));
        }
    }

    /// Has the journal know what was printed before this life ends.
    fn store_last_words(&mut self, heard: &Receiver<Heard>, handle: &Handle<DurableJob>) {
        self.tell_printed(handle);
        let _ = handle.post_blocking(|job, now| job.flush(now));
        let end = Instant::now() + LAST_WORDS;
        while let Ok(heard) = heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            let Heard::Events(events) = heard else { continue };
            for event in events {
                match event {
                    Event::Flushed => return,
                    Event::Stopped { .. } => return self.hear(event, handle),
                    _ => {}
                }
            }
        }
    }

    fn say_present(&mut self) {
        if let Some(present) = &mut self.present {
            let waiting = self.waiting.as_ref().map(|why| reason(why, self.args.pool));
            let waiting = waiting.or_else(|| self.unmet.clone());
            present.say(self.total, self.done, self.failed, self.submitted.len(), waiting);
        }
    }

    fn verdict(&mut self) -> Result<Code, Failure> {
        let of = self.total.map_or(String::new(), |total| format!(" of {total}"));
        let hint = self.hint();
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble.and(&hint));
        }
        if self.stage == Stage::Cancelled {
            let message = format!("cancelled; {}{of} tasks were done", self.done);
            return Err(Failure::new(Code::Cancelled, message));
        }
        if self.interrupted && self.stage != Stage::Finished {
            let message = format!("interrupted; {}{of} tasks were done{hint}", self.done);
            return Err(Failure::new(Code::Interrupted, message));
        }
        if self.rest == Rest::Missing {
            let name = self.name.as_deref().unwrap_or_default();
            let message = format!(
                "the input of the job had not ended: the {} tasks that are known are done; give the rest with \
                 `rsp resume {name} --stdin`",
                self.done
            );
            return Err(Failure::new(Code::InputMissing, message));
        }
        if self.failed > 0 {
            let advice = match &self.name {
                Some(name) => format!("; see `rsp explain {name}`, try them again with `rsp retry {name}`"),
                None => String::new(),
            };
            say(format!("{}{of} tasks failed{advice}", self.failed));
            return Ok(Code::Failed);
        }
        Ok(Code::Done)
    }

    /// The next step after an early end.
    fn hint(&self) -> String {
        self.name.as_ref().map_or(String::new(), |name| format!("; go on with `rsp resume {name}`"))
    }

    /// How long to wait for news before patience ends.
    fn wait(&self) -> Duration {
        if self.running.is_empty() && !self.submitted.is_empty() && self.stage == Stage::Running {
            (self.idle_since + Duration::from_secs(self.args.patience))
                .saturating_duration_since(Instant::now())
        } else {
            Duration::from_secs(3600)
        }
    }

    fn out_of_patience(&mut self) {
        if self.running.is_empty()
            && !self.submitted.is_empty()
            && self.stage == Stage::Running
            && self.wait().is_zero()
        {
            let (pool, seconds) = (self.args.pool, self.args.patience);
            self.trouble = Some(match &self.waiting {
                Some(user::Failure::NoRegistrar { .. }) => client::no_registrar(self.choice),
                _ if self.workers > 0 && self.unmet.is_some() => {
                    let unmet = self.unmet.take().unwrap_or_default();
                    let message = format!(
                        "{unmet}; start one that has it: rsp worker --pool {pool} with --resource NAME=AMOUNT or --tag NAME"
                    );
                    Failure::new(Code::PoolEmpty, message)
                }
                _ if self.workers > 0 => Failure::new(
                    Code::PoolEmpty,
                    format!(
                        "no slot became free in pool '{pool}' within {seconds} s: its {} workers are busy with other \
                         jobs; start another one with `rsp worker --pool {pool}`, or wait longer with --patience",
                        self.workers
                    ),
                ),
                _ => client::unknown_pool(pool, self.choice),
            });
        }
    }
}
