//! `rsp run`: commands as tasks on a pool.
//!
//! ```text
//!   values (arguments, stdin) --input thread--> Job (node's thread) --events--> main thread --> stdout, stderr
//!                                  ^ waits while the job is full                  |  spools outputs per attempt
//!                                  '---------------- room ------------------------'
//! ```

mod input;
mod print;
mod spool;

use crate::address::Choice;
use crate::cli::RunArgs;
use crate::client;
use crate::exit::{Code, Failure};
use crate::local::{self, Server};
use crate::process::{self, cannot_bind, say};
use crate::progress::Progress;
use crate::template::{self, Template};
use input::{Input, Submission};
use print::{Finished, Printer};
use rserpool::ElementId;
use rserpool::user;
use rserpool_compute::job::{self, Config, Event, Job};
use rserpool_compute::{Attempt, JobId, Status};
use spool::Spool;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// Complaints about single tasks printed; more are counted.
const COMPLAINTS_MAX: u64 = 20;

/// What the main thread hears.
pub(crate) enum Heard {
    /// The job.
    Event(Event),
    /// A signal.
    Interrupted,
    /// The input thread: a task was made of these values.
    Submitted(u64, Submission),
    /// The input thread: all tasks are submitted; `Err`: it had to stop.
    InputEnded(Result<u64, Failure>),
}

/// Runs the tasks; what it returns is the exit code.
pub fn run(args: &RunArgs) -> Result<Code, Failure> {
    let (command, sources) = template::split(args.words.clone());
    if command.is_empty() {
        return Err(Failure::new(Code::Usage, "there is no command before ':::'; see rsp run --help"));
    }
    let mut choice = Choice::of(&args.registrars)?;
    let private = private_pool(args, &mut choice)?;

    let net = client::sockets(&args.registrars, &choice)?;
    let mut random = process::random();
    let job_id = JobId(std::array::from_fn(|_| random.next_u64() as u8));
    let config = Config::new(client::user(&args.registrars, &choice), args.pool, job_id);
    let (events, mut told) = rserpool_net::events(1024);
    let make = move |_: &rserpool_net::Bound| (Job::new(config, random), events);
    let running = rserpool_net::spawn("job", net, make).map_err(|error| cannot_bind(&error))?;

    let (hear, heard) = mpsc::sync_channel(1024);
    let events_to = hear.clone();
    spawn("events", move || {
        while let Some((_, event)) = told.blocking_recv() {
            if events_to.send(Heard::Event(event)).is_err() {
                return;
            }
        }
    })?;
    let interrupt = hear.clone();
    crate::signals::on_interrupt(move || {
        let _ = interrupt.send(Heard::Interrupted);
    })?;
    let directory = private
        .as_ref()
        .map(|_| std::env::current_dir())
        .transpose()
        .map_err(|cause| Failure::new(Code::Usage, format!("cannot tell the present folder: {cause}")))?;
    let (room, has_room) = mpsc::channel();
    let input = Input {
        template: Template::new(&command),
        sources,
        nul: args.null,
        directory,
        handle: running.handle.clone(),
        has_room,
        hear: hear.clone(),
    };
    spawn("input", move || input.run())?;
    drop(hear);

    let mut run = Run::new(args, &choice, job_id);
    let ended = run.until_over(&heard, &room, &running.handle);
    run.progress.clear();
    // Let what was said last (acknowledgements, cancellations) leave before the process does.
    let _ = running.handle.ask_blocking(|_, _| ());
    drop(private);
    ended
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    match std::thread::Builder::new().name(name.into()).spawn(body) {
        Ok(_) => Ok(()),
        Err(cause) => Err(Failure::new(Code::Failed, format!("cannot start a thread: {cause}"))),
    }
}

/// Starts a registrar and a worker per core of our own, if nobody was named and nobody is there.
fn private_pool(args: &RunArgs, choice: &mut Choice) -> Result<Option<Vec<Server>>, Failure> {
    let is_there = |at: &SocketAddr| TcpStream::connect_timeout(at, Duration::from_millis(500)).is_ok();
    if choice.named || args.registrars.discover || choice.targets.iter().any(|target| is_there(&target.at)) {
        return Ok(None);
    }
    let usual = choice.targets[0].at;
    let profile = args.registrars.profile.name();
    let mut random = process::random();
    let (registrar, at) = local::registrar(random.nonzero_u32(), profile, &[])?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let pool = args.pool.to_string();
    let starting: Result<Vec<_>, _> =
        (0..cores).map(|_| local::worker(random.nonzero_u32(), &pool, 1, profile, &[at.asap])).collect();
    let mut servers = vec![registrar];
    for worker in starting? {
        servers.push(worker.wait()?);
    }
    choice.targets = vec![crate::address::Target { at: at.asap, protocol: None }];
    say(format!(
        "no registrar at {usual}: using a private one with {cores} workers on this machine, gone at the end"
    ));
    Ok(Some(servers))
}

/// The main thread's picture of the job.
struct Run<'a> {
    args: &'a RunArgs,
    choice: &'a Choice,
    printer: Printer,
    spool: Spool,
    begun: Instant,
    /// Tasks that are not over, with what they were made from.
    submitted: BTreeMap<u64, Submission>,
    running: BTreeSet<Attempt>,
    attempts: BTreeMap<u64, u32>,
    workers: usize,
    waiting: Option<user::Failure>,
    /// Since when no task of ours ran.
    idle_since: Instant,
    total: Option<u64>,
    done: u64,
    failed: u64,
    progress: Progress,
    interrupted: bool,
    /// What ends the run early.
    trouble: Option<Failure>,
}

impl<'a> Run<'a> {
    fn new(args: &'a RunArgs, choice: &'a Choice, job: JobId) -> Self {
        let now = Instant::now();
        Self {
            args,
            choice,
            printer: Printer::new(job, args.json, args.keep_order),
            spool: Spool::default(),
            begun: now,
            submitted: BTreeMap::new(),
            running: BTreeSet::new(),
            attempts: BTreeMap::new(),
            workers: 0,
            waiting: None,
            idle_since: now,
            total: None,
            done: 0,
            failed: 0,
            progress: Progress::new("tasks"),
            interrupted: false,
            trouble: None,
        }
    }

    fn until_over(
        &mut self,
        heard: &Receiver<Heard>,
        room: &mpsc::Sender<()>,
        handle: &rserpool_net::Handle<Job>,
    ) -> Result<Code, Failure> {
        let cancel = || {
            let _ = handle.post_blocking(|job, now| job.cancel_all(now));
        };
        loop {
            match heard.recv_timeout(self.wait()) {
                Ok(Heard::Event(Event::Finished(_))) => break,
                Ok(Heard::Event(Event::Room)) => drop(room.send(())),
                Ok(Heard::Event(event)) => self.hear(event),
                Ok(Heard::Submitted(task, submission)) => drop(self.submitted.insert(task, submission)),
                Ok(Heard::InputEnded(Ok(total))) => {
                    self.total = Some(total);
                    self.progress.total(total);
                }
                Ok(Heard::InputEnded(Err(failure))) => self.trouble = Some(failure),
                Ok(Heard::Interrupted) => {
                    self.interrupted = true;
                    break cancel();
                }
                Err(RecvTimeoutError::Timeout) => self.out_of_patience(),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::new(Code::Failed, "the job's thread ended; this is a bug"));
                }
            }
            if self.trouble.is_some() {
                break cancel();
            }
        }
        let flushed = self.printer.flush();
        if let (Err(cause), None) = (flushed, &self.trouble) {
            self.trouble = Some(cannot_print(&cause));
        }
        self.verdict()
    }

    fn verdict(&mut self) -> Result<Code, Failure> {
        let of = self.total.map_or(String::new(), |total| format!(" of {total}"));
        if self.interrupted {
            return Err(Failure::new(
                Code::Interrupted,
                format!("interrupted; {}{of} tasks were done", self.done),
            ));
        }
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        if self.failed > 0 {
            say(format!("{}{of} tasks failed", self.failed));
            return Ok(Code::Failed);
        }
        Ok(Code::Done)
    }

    /// How long to wait for news before patience ends.
    fn wait(&self) -> Duration {
        if self.running.is_empty() && !self.submitted.is_empty() {
            (self.idle_since + Duration::from_secs(self.args.patience))
                .saturating_duration_since(Instant::now())
        } else {
            Duration::from_secs(3600)
        }
    }

    fn out_of_patience(&mut self) {
        if self.running.is_empty() && !self.submitted.is_empty() && self.wait().is_zero() {
            let (pool, seconds) = (self.args.pool, self.args.patience);
            self.trouble = Some(match &self.waiting {
                Some(user::Failure::NoRegistrar { .. }) => client::no_registrar(self.choice),
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

    fn hear(&mut self, event: Event) {
        match event {
            Event::WorkerJoined { .. } => {
                self.workers += 1;
                self.waiting = None;
            }
            Event::WorkerLost { worker, cause, tasks } => {
                self.workers = self.workers.saturating_sub(1);
                self.progress
                    .say(&format!("worker {worker} is lost ({cause:?}); its {tasks} tasks run elsewhere"));
            }
            Event::WorkerLeft { .. } => self.workers = self.workers.saturating_sub(1),
            Event::WorkerRefused { worker, why } => {
                self.progress.say(&format!("worker {worker} cannot be used: {why}"));
            }
            Event::Waiting { why } => self.wait_for_workers(why),
            Event::Started { attempt, .. } => {
                *self.attempts.entry(attempt.task.0).or_default() += 1;
                self.running.insert(attempt);
            }
            Event::Chunk { attempt, stream, octets } => {
                if let Err(cause) = self.spool.write(attempt, stream, &octets) {
                    let message = format!(
                        "cannot keep the output of a task in a temporary file: {cause}; free some space or set TMPDIR"
                    );
                    self.trouble = Some(Failure::new(Code::CannotWrite, message));
                }
            }
            Event::Dropped { attempt } => {
                self.spool.take(attempt);
                self.stopped(attempt);
            }
            Event::Accepted { attempt, worker, status, .. } => {
                self.stopped(attempt);
                let outputs = self.spool.take(attempt);
                self.over(attempt.task.0, Some(worker), Ok(status), outputs);
            }
            Event::Failed { task, cause } => {
                self.over(task.0, None, Err(cause.to_string()), Default::default())
            }
            Event::Continued { .. } | Event::Cancelled { .. } | Event::Discarded { .. } => {}
            _ => {}
        }
    }

    /// An execution is no longer under way.
    fn stopped(&mut self, attempt: Attempt) {
        self.running.remove(&attempt);
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
        let (pool, patience) = (self.args.pool, self.args.patience);
        let reason = match why {
            user::Failure::NoRegistrar { .. } => "no registrar answers".to_string(),
            _ => format!("nobody serves in pool '{pool}'"),
        };
        self.progress.say(&format!("{reason}; waiting up to {patience} s (--patience)"));
        self.waiting = Some(why);
    }

    fn over(
        &mut self,
        task: u64,
        worker: Option<ElementId>,
        status: Result<Status, String>,
        outputs: spool::Outputs,
    ) {
        // Attempts that were given up without an output of theirs end here at the latest.
        self.running.retain(|attempt| attempt.task.0 != task);
        self.idle_since = Instant::now();
        let submission = self.submitted.remove(&task).unwrap_or_default();
        let finished = Finished {
            task,
            values: submission.values,
            arguments: submission.arguments,
            status,
            attempts: self.attempts.remove(&task).unwrap_or_default(),
            worker,
            seconds: self.begun.elapsed().as_secs_f64(),
            outputs,
        };
        self.done += 1;
        if !finished.is_success() {
            self.failed += 1;
            if self.failed <= COMPLAINTS_MAX {
                self.progress.say(&finished.complaint());
            } else if self.failed == COMPLAINTS_MAX + 1 {
                self.progress.say("more tasks fail; they are only counted from here on");
            }
        }
        let printed = self.progress.suspended(|| self.printer.finished(finished));
        if let Err(cause) = printed {
            self.trouble = Some(cannot_print(&cause));
        }
        self.progress.done(self.done);
    }
}

fn cannot_print(cause: &std::io::Error) -> Failure {
    let message = if cause.kind() == std::io::ErrorKind::BrokenPipe {
        "standard output was closed by its reader; the tasks left over were cancelled".to_string()
    } else {
        format!("cannot write to standard output: {cause}; the tasks left over were cancelled")
    };
    Failure::new(Code::CannotWrite, message)
}

/// The way from other threads of the run to the main thread.
pub(crate) type Hear = SyncSender<Heard>;

/// What the job's thread says when it does not take a task.
pub(crate) type Refused = job::SubmitError;
