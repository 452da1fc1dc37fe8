//! `rsp run`, `rsp resume`, `rsp retry`: commands as tasks on a pool, in a job that outlives its client.
//!
//! ```text
//!   values (arguments, stdin) --input thread--> DurableJob (node's thread) --> disk's thread --> main thread --> stdout
//!                                  ^ waits while the job is full        ^------ stored -----'        |       stderr
//!                                  '---------------- room -------------------------------------------'
//! ```
//!
//! A result is printed after it is in the journal. How many are printed is in the journal, too, a little later: so every
//! result is printed at least once over all lives, and a client that is killed may print some twice.

mod clerk;
mod files;
mod input;
mod landing;
mod print;
mod private;
mod start;

use crate::address::Choice;
use crate::cli::RunArgs;
use crate::client;
use crate::exit::{Code, Failure};
use crate::jobs::disk::{self, Outputs, OutputsFile};
use crate::jobs::queue;
use crate::jobs::status::Status as Present;
use crate::process::{self, cannot_bind, say};
use crate::progress::Progress;
use crate::template::{self, Template};
use clerk::{Clerk, Word};
use files::Files;
use input::{Former, Input, Recipe, Rest};
use landing::Landing;
use print::Printer;
pub use print::{Finished, document};
use private::Private;
use rserpool::{ElementId, user};
use rserpool_compute::durable::{DurableJob, Event};
use rserpool_compute::job::{self, Backups, Config};
use rserpool_compute::journal::{Entry, Output};
use rserpool_compute::{Attempt, JobId, Stream};
use rserpool_net::Handle;
use start::Start;
pub use start::{arguments, resume, retry};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

/// Complaints about single tasks printed; more are counted.
const COMPLAINTS_MAX: u64 = 20;

/// Octets of output after which the job is told that they are taken.
const TOLD_AT: u32 = 64 * 1024;

/// Waking so much later than asked for, this process was stopped meanwhile.
const ASLEEP: Duration = Duration::from_secs(1);

/// How long what was printed may take to reach the disk in the end.
const LAST_WORDS: Duration = Duration::from_secs(20);

/// What the main thread hears.
pub enum Heard {
    /// The job, in order.
    Events(Vec<Event>),
    /// The job's thread ended.
    Ended,
    /// A signal: stop for now.
    Interrupted,
    /// A signal: cancel the job.
    CancelAsked,
    /// The input thread: tasks are made of these values.
    Submitted(Vec<(u64, Vec<OsString>)>),
    /// The input thread: an end of a former life that was not printed, its place among all, and the task's values.
    Former(u64, Vec<OsString>, Box<Entry>),
    /// The input thread: all tasks are submitted; `Err`: it had to stop.
    InputEnded(Result<u64, Failure>),
}

/// Runs the tasks; what it returns is the exit code.
pub fn run(args: &RunArgs) -> Result<Code, Failure> {
    let (command, _) = template::split(args.words.clone());
    if command.is_empty() {
        return Err(Failure::new(Code::Usage, "there is no command before ':::'; see rsp run --help"));
    }
    work(args, Rest::Values, || Start::new(args, &command[0]))
}

/// What makes argument lists of values.
pub fn template_of(args: &RunArgs) -> Template {
    let (command, sources) = template::split(args.words.clone());
    Template::new(&command).with_each((!args.each.is_empty()).then_some(sources.len()))
}

/// Works on a job, with values from there. `start` is asked how it begins when it is known that there is a pool.
fn work(args: &RunArgs, rest: Rest, start: impl FnOnce() -> Result<Start, Failure>) -> Result<Code, Failure> {
    let (_, mut sources) = template::split(args.words.clone());
    let mut choice = Choice::of(&args.registrars)?;
    let needs = args.limits.needs().map_err(|why| Failure::new(Code::Usage, why))?;
    let files = Files::prepare(args, &mut sources, rest == Rest::Values)?;
    let private = private::pool(args, &mut choice)?;
    // The journal is laid out while the workers start.
    let start = start()?;
    let private = match private.map(Private::wait).transpose() {
        Ok(private) => private,
        Err(failure) => {
            start.take_back();
            return Err(failure);
        }
    };

    let net = client::sockets(&args.registrars, &choice)?;
    let mut random = process::random();
    let job_id = match &start.former {
        Some(former) => former.book.job,
        None => JobId(std::array::from_fn(|_| random.next_u64() as u8)),
    };
    let config = Config {
        paced: true,
        needs,
        retries: args.limits.retries,
        backups: if args.limits.backups == "idempotent" { Backups::Always } else { Backups::Never },
        ..Config::new(client::user(&args.registrars, &choice), args.pool, job_id)
    };
    let (teller, listener) = queue::queue();
    let (about, now, recorded) = (start.about.emit(), process::wall_millis(), start.name.is_some());
    let begun = start.former.as_ref().map(|former| {
        let book = &former.book;
        (book.state.clone(), book.writer.clone(), start.outputs_length)
    });
    let make = move |_: &rserpool_net::Bound| {
        let job = match begun {
            None if !recorded => DurableJob::unrecorded(config, random),
            None => DurableJob::begin(config, &about, now, random),
            Some((state, writer, outputs)) => DurableJob::resume(config, state, writer, outputs, now, random),
        };
        (job, teller)
    };
    let running = rserpool_net::spawn("job", net, make).map_err(|error| cannot_bind(&error))?;

    let (hear, heard) = mpsc::sync_channel(64);
    let (events_to, handle, store) = (hear.clone(), running.handle.clone(), start.disk);
    spawn("disk", move || {
        disk::run(store, &listener, &handle, &events_to);
        let _ = events_to.send(Heard::Ended);
    })?;
    let interrupt = hear.clone();
    crate::signals::on_interrupt(move || {
        let _ = interrupt.send(Heard::Interrupted);
    })?;
    let cancel = hear.clone();
    crate::signals::on_cancel(move || {
        let _ = cancel.send(Heard::CancelAsked);
    })?;
    // Tasks with files of their own have folders of their own, too.
    let directory = private
        .as_ref()
        .filter(|_| !files.need_folder())
        .map(|_| std::env::current_dir())
        .transpose()
        .map_err(|cause| Failure::new(Code::Usage, format!("cannot tell the present folder: {cause}")))?;
    let (room, has_room) = mpsc::channel();
    let recipe = Recipe {
        template: template_of(args),
        directory,
        files: files.clone(),
        limits: args.limits.clone(),
        call: args.call,
    };
    let clerk = Clerk::begin(files.clone(), post(running.handle.clone()));
    let clerk =
        clerk.map_err(|cause| Failure::new(Code::Failed, format!("cannot start a thread: {cause}")))?;
    let landing = Landing::new(files, job_id);
    let mut run =
        Run::new(args, &choice, job_id, recipe.clone(), (&start.former, start.rest), landing, clerk);
    run.name = start.name;
    run.outputs = start.outputs;
    run.present = start.status.map(Present::new);
    let input = Input {
        recipe,
        sources,
        nul: args.null,
        former: start.former,
        rest: start.rest,
        handle: running.handle.clone(),
        has_room,
        hear: hear.clone(),
    };
    spawn("input", move || input.run())?;
    drop(hear);

    let ended = run.until_over(&heard, &room, &running.handle);
    run.progress.clear();
    // Let what was said last (acknowledgements, cancellations) leave before the process does.
    let _ = running.handle.ask_blocking(|_, _| ());
    drop(private);
    drop(start.owner);
    ended
}

/// The way from the clerk to the job.
fn post(handle: Handle<DurableJob>) -> impl Fn(Word) + Send + 'static {
    move |word| {
        // A job that has ended wants to hear nothing more.
        let _ = handle.post_blocking(move |job, now| {
            let mut job = job.transfers();
            match word {
                Word::Provide(transfer, octets) => job.provide(now, transfer, octets),
                Word::CannotProvide(item, why) => job.cannot_provide(now, item, &why),
                Word::Kept(transfer, octets) => job.kept(now, transfer, octets),
                Word::Saved(transfer) => job.saved(now, transfer),
                Word::CannotSave(transfer) => job.cannot_save(now, transfer),
            }
        });
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    match std::thread::Builder::new().name(name.into()).spawn(body) {
        Ok(_) => Ok(()),
        Err(cause) => Err(Failure::new(Code::Failed, format!("cannot start a thread: {cause}"))),
    }
}

/// The main thread's picture of the job.
struct Run<'a> {
    args: &'a RunArgs,
    choice: &'a Choice,
    /// The job's name, if it has a journal.
    name: Option<String>,
    recipe: Recipe,
    outputs: OutputsFile,
    printer: Printer,
    landing: Landing,
    /// Where files of results landed that are not in the journal yet.
    landed: BTreeMap<Attempt, Vec<PathBuf>>,
    clerk: Clerk,
    /// Octets of files taken that the job was not told of yet.
    taken: BTreeMap<Attempt, u32>,
    present: Option<Present>,
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
    progress: Progress,
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

impl<'a> Run<'a> {
    fn new(
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

    fn until_over(
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

    fn hear(&mut self, event: Event, handle: &Handle<DurableJob>) {
        match event {
            Event::Job(event) => self.hear_job(event, handle),
            Event::Keep { attempt } => self.keep(attempt, handle),
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

    /// The files of a result go to their places; then it may be recorded.
    fn keep(&mut self, attempt: Attempt, handle: &Handle<DurableJob>) {
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
        let taken = self.taken.entry(attempt).or_default();
        *taken = taken.saturating_add(octets as u32);
        // Small ones fit into their window and need no word.
        if *taken >= TOLD_AT {
            let octets = std::mem::take(taken);
            let _ = handle.post_blocking(move |job, now| job.transfers().taken(now, attempt, octets));
        }
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
    fn former(&mut self, index: u64, values: Vec<OsString>, entry: Entry) {
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

    fn cannot_print(&self, cause: &std::io::Error) -> Failure {
        let then = if self.name.is_some() { "" } else { "; the tasks left over were cancelled" };
        let message = if cause.kind() == std::io::ErrorKind::BrokenPipe {
            format!("standard output was closed by its reader{then}")
        } else {
            format!("cannot write to standard output: {cause}{then}")
        };
        Failure::new(Code::CannotWrite, message)
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
fn reason(why: &user::Failure, pool: rserpool::PoolHandle) -> String {
    match why {
        user::Failure::NoRegistrar { .. } => "no registrar answers".to_string(),
        _ => format!("nobody serves in pool '{pool}'"),
    }
}

/// The way from other threads of the run to the main thread.
pub type Hear = SyncSender<Heard>;

/// What the job's thread says when it does not take a task.
pub(crate) type Refused = job::SubmitError;
