//! The client: inputs in, outputs out.
//!
//! ```text
//!   inputs --feeding thread--> Tray --> Job (node's thread) --> Collected --bounded queue--> Map, in the caller's thread
//!                                        ^    | nobody there, somebody there
//!                                        '----'-- watching thread: cancels the job when patience is over
//! ```

use super::{Error, Function, addresses, decode, endpoints, handle, listed};
use crate::{Config, Handle, clock, driver};
use futures_core::Stream as AsyncStream;
use rserpool::{ElementId, PoolHandle, Protocol, Role, Time, Timing, user};
use rserpool_compute::job::{self, Backups, Event, Job, SubmitError};
use rserpool_compute::protocol::WORK_MAX;
use rserpool_compute::{JobId, Status, Stream, TaskId, Work};
use std::collections::{BTreeMap, VecDeque};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// Results that may wait for the caller before the workers are held up.
const RESULTS_MAX: usize = 1024;

/// A pool to compute on. Cheap to keep: every [`map`](Self::map) is a job of its own.
#[derive(Clone, Debug)]
pub struct Pool {
    registrars: Vec<SocketAddr>,
    handle: PoolHandle,
    timing: Timing,
    patience: Duration,
}

impl Pool {
    /// The pool of this name, known to these registrars: `HOST` or `HOST:PORT`, several separated by commas. At least
    /// one of them has to answer now; the pool itself may still be empty.
    pub fn connect(registrars: impl AsRef<str>, pool: &str) -> Result<Self, Error> {
        let registrars = addresses(registrars.as_ref())?;
        let answers = |at: &SocketAddr| TcpStream::connect_timeout(at, Duration::from_secs(2)).is_ok();
        if !registrars.iter().any(answers) {
            return Err(Error::NoRegistrar { tried: listed(&registrars) });
        }
        let patience = Duration::from_secs(30);
        Ok(Self { registrars, handle: handle(pool)?, timing: Timing::default(), patience })
    }

    /// How long a job waits for a worker while there is none: 30 seconds unless said otherwise. After that its
    /// unfinished inputs fail with [`Failure::NoWorkers`].
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Uses these timers.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Has the function called with every input, on all workers of the pool that have it. Results come as they complete,
    /// one per input, each with its place: iterate, or take them as a `Stream`. Inputs are taken as there is room, so
    /// there may be more than fit into memory. Dropping the results cancels what is not done.
    pub fn map<F: Function>(
        &self,
        inputs: impl IntoIterator<Item = F::Input, IntoIter: Send + 'static>,
    ) -> Map<F> {
        let (mut random, _) = clock::seeded();
        let job = JobId(std::array::from_fn(|_| random.next_u64() as u8));
        let known = user::Config {
            timing: self.timing.clone(),
            ..user::Config::new(endpoints(&self.registrars, Protocol::Tcp))
        };
        let config = job::Config {
            backups: if F::PURE { Backups::Always } else { Backups::Never },
            ..job::Config::new(known, self.handle, job)
        };
        let (events, results) = driver::events(RESULTS_MAX);
        let told = events.sender();
        let (signal, signals) = mpsc::channel();
        let (over, tray) = (Arc::default(), Arc::<Tray>::default());
        let collected = Collected {
            events,
            outputs: BTreeMap::new(),
            signal,
            tray: tray.clone(),
            over: Arc::clone(&over),
        };
        let net = Config::user(Role::User);
        let started = crate::spawn("job", net, move |_| (Job::new(config, random), collected));
        let mut map = Map { results, handle: None, trouble: None, function: PhantomData };
        match started {
            Ok(running) => {
                let inputs = inputs.into_iter();
                let (feeding, watching) = (running.handle.clone(), running.handle.clone());
                let (patience, tried) = (self.patience, listed(&self.registrars));
                let feed = move || feed::<F>(inputs, &feeding, &tray, &told);
                let watch = move || watch(&watching, &signals, patience, &over, &tried);
                for (name, body) in
                    [("inputs", Box::new(feed) as Box<dyn FnOnce() + Send>), ("patience", Box::new(watch))]
                {
                    if let Err(cause) = std::thread::Builder::new().name(name.into()).spawn(body) {
                        map.trouble = Some(Failure::World(format!("cannot start a thread: {cause}")));
                        return map;
                    }
                }
                map.handle = Some(running.handle);
            }
            Err(error) => map.trouble = Some(Failure::World(error.to_string())),
        }
        map
    }
}

/// Why there is no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The function said so, or panicked. It is not tried again.
    #[error("{0}")]
    Function(String),
    /// The workers cannot do it: they died again and again while they computed it, or do not have the function.
    #[error("{0}")]
    GivenUp(String),
    /// For as long as patience lasts there was nobody in the pool.
    #[error("{0}")]
    NoWorkers(String),
    /// The input cannot be sent: it cannot be encoded or is too large.
    #[error("the input cannot be sent: {0}")]
    Input(String),
    /// The output is not of the type expected: client and worker have different functions of this name.
    #[error("the output is not of the expected type: {0}")]
    Output(String),
    /// The job could not begin.
    #[error("{0}")]
    World(String),
}

/// What became of one input.
#[derive(Clone, Debug)]
pub struct MapResult<O> {
    /// Which input, from 0.
    pub place: u64,
    /// The worker that computed it.
    pub worker: Option<ElementId>,
    /// Executions that began.
    pub attempts: u32,
    /// The output.
    pub output: Result<O, Failure>,
}

/// The results of a job, as they complete: an iterator that waits, and a stream that does not.
pub struct Map<F: Function> {
    results: Results,
    /// Kept while somebody is interested.
    handle: Option<Handle<Job>>,
    /// What kept the job from beginning; told once.
    trouble: Option<Failure>,
    function: PhantomData<fn() -> F>,
}

impl<F: Function> Map<F> {
    /// All outputs in the order of the inputs, or the first failure there was; then the rest is cancelled.
    pub fn in_order(self) -> Result<Vec<F::Output>, Failure> {
        let mut outputs = BTreeMap::new();
        for result in self {
            outputs.insert(result.place, result.output?);
        }
        Ok(outputs.into_values().collect())
    }

    fn told(&mut self, raw: Option<(Time, Told)>) -> Option<MapResult<F::Output>> {
        match raw {
            Some((_, Told::Result(raw))) => Some(MapResult {
                place: raw.task.0,
                worker: raw.worker,
                attempts: raw.attempts,
                output: raw
                    .output
                    .and_then(|octets| decode(&octets).map_err(|error| Failure::Output(error.to_string()))),
            }),
            _ => {
                self.handle = None;
                self.results.close();
                let trouble = self.trouble.take()?;
                Some(MapResult { place: 0, worker: None, attempts: 0, output: Err(trouble) })
            }
        }
    }
}

/// Waits for results. Not for async code, which takes them as a `Stream`.
impl<F: Function> Iterator for Map<F> {
    type Item = MapResult<F::Output>;

    fn next(&mut self) -> Option<Self::Item> {
        let raw = self.results.blocking_recv();
        self.told(raw)
    }
}

impl<F: Function> AsyncStream for Map<F> {
    type Item = MapResult<F::Output>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let raw = ready!(this.results.poll_recv(cx));
        Poll::Ready(this.told(raw))
    }
}

impl<F: Function> Drop for Map<F> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // Cancelled, so that workers turn to somebody else's tasks at once. In a thread of its own, since this may be
            // async code, which must not wait for room in the queue of calls.
            std::thread::spawn(move || handle.post_blocking(|job, now| job.cancel_all(now)));
        }
    }
}

type Results = tokio::sync::mpsc::Receiver<(Time, Told)>;

/// What the job's thread tells the caller.
enum Told {
    Result(Raw),
    /// No more results come. (The queue itself stays open as long as the node lives.)
    End,
}

/// What became of a task, in octets.
struct Raw {
    task: TaskId,
    worker: Option<ElementId>,
    attempts: u32,
    output: Result<Vec<u8>, Failure>,
}

/// What the threads beside the job hear.
enum Signal {
    /// Nobody is in the pool.
    Waiting(user::Failure),
    /// Somebody is.
    Joined,
    Over,
}

/// In the job's thread: gathers outputs, and queues what is over.
struct Collected {
    events: driver::Events<Told>,
    outputs: BTreeMap<TaskId, Gathered>,
    signal: Sender<Signal>,
    tray: Arc<Tray>,
    /// Why the rest is cancelled, once it is.
    over: Arc<Mutex<Option<Failure>>>,
}

/// What is known of a task that is not over.
#[derive(Default)]
struct Gathered {
    attempts: u32,
    /// By number of the execution: its output, and what it said went wrong.
    streams: BTreeMap<u32, [Vec<u8>; 2]>,
}

impl Collected {
    fn over(
        &mut self,
        now: Time,
        task: TaskId,
        worker: Option<ElementId>,
        number: Option<(u32, Status)>,
        why: Option<Failure>,
    ) {
        let mut gathered = self.outputs.remove(&task).unwrap_or_default();
        let output = match (number, why) {
            (Some((number, status)), _) => {
                let [output, error] = gathered.streams.remove(&number).unwrap_or_default();
                match status {
                    Status::Exited(0) => Ok(output),
                    Status::Exited(_) => Err(Failure::Function(String::from_utf8_lossy(&error).into_owned())),
                    status => Err(Failure::GivenUp(status.to_string())),
                }
            }
            (None, why) => {
                let reason = self.over.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Err(why.or(reason).unwrap_or_else(|| Failure::GivenUp("the job was cancelled".into())))
            }
        };
        self.events.give(now, Told::Result(Raw { task, worker, attempts: gathered.attempts, output }));
    }
}

impl crate::App<Job> for Collected {
    fn event(&mut self, job: &mut Job, now: Time, event: Event) {
        match event {
            Event::Started { attempt, .. } => self.outputs.entry(attempt.task).or_default().attempts += 1,
            Event::Chunk { attempt, stream, octets } => {
                let streams = self.outputs.entry(attempt.task).or_default().streams.entry(attempt.number);
                streams.or_default()[usize::from(stream != Stream::OUTPUT)].extend(octets);
            }
            Event::Dropped { attempt } => {
                if let Some(gathered) = self.outputs.get_mut(&attempt.task) {
                    gathered.streams.remove(&attempt.number);
                }
            }
            Event::Accepted { attempt, worker, status, .. } => {
                self.over(now, attempt.task, Some(worker), Some((attempt.number, status)), None);
            }
            Event::Failed { task, cause } => {
                self.over(now, task, None, None, Some(Failure::GivenUp(cause.to_string())));
            }
            Event::Cancelled { task } => self.over(now, task, None, None, None),
            Event::Room => self.tray.hand_over(job, now),
            Event::Waiting { why } => drop(self.signal.send(Signal::Waiting(why))),
            Event::WorkerJoined { .. } => drop(self.signal.send(Signal::Joined)),
            Event::Finished(_) => {
                self.tray.close();
                let _ = self.signal.send(Signal::Over);
                self.events.give(now, Told::End);
            }
            _ => {}
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        driver::Events::poll_room(&mut self.events, cx)
    }
}

/// Tasks on their way from the feeding thread to the job: so that neither waits for the other at every single one.
#[derive(Default)]
struct Tray {
    on_it: Mutex<OnTray>,
    room: Condvar,
}

#[derive(Default)]
struct OnTray {
    tasks: VecDeque<(TaskId, Work)>,
    /// A call that takes them away is under way, or the job will do so when it has room.
    called: bool,
    /// No more come.
    all: bool,
    /// The job takes no more.
    closed: bool,
}

/// Tasks on a tray.
const TRAY: usize = 256;

impl Tray {
    /// In the feeding thread: puts a task on it, when there is room. False: the job takes no more.
    fn put(self: &Arc<Self>, task: TaskId, work: Work, handle: &Handle<Job>) -> bool {
        let full = |on_it: &mut OnTray| on_it.tasks.len() >= TRAY && !on_it.closed;
        let on_it = self.room.wait_while(self.lock(), full);
        let mut on_it = on_it.unwrap_or_else(PoisonError::into_inner);
        on_it.tasks.push_back((task, work));
        self.call(on_it, handle)
    }

    /// In the feeding thread: that was the last one.
    fn finish(self: &Arc<Self>, handle: &Handle<Job>) {
        let mut on_it = self.lock();
        on_it.all = true;
        self.call(on_it, handle);
    }

    fn call(self: &Arc<Self>, mut on_it: MutexGuard<'_, OnTray>, handle: &Handle<Job>) -> bool {
        if on_it.closed || std::mem::replace(&mut on_it.called, true) {
            return !on_it.closed;
        }
        drop(on_it);
        let tray = self.clone();
        handle.post_blocking(move |job, now| tray.hand_over(job, now)).is_ok()
    }

    /// In the job's thread: the job takes what it has room for; when it has room again, it says so.
    fn hand_over(&self, job: &mut Job, now: Time) {
        let mut on_it = self.lock();
        while let Some((task, work)) = on_it.tasks.pop_front() {
            match job.submit(now, task, &work) {
                Ok(()) => {}
                Err(SubmitError::Full) => {
                    on_it.tasks.push_front((task, work));
                    return;
                }
                // Cancelled: the results end, too.
                Err(_) => on_it.closed = true,
            }
        }
        on_it.called = false;
        if on_it.all {
            job.finish(now);
        }
        self.room.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, OnTray> {
        self.on_it.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hands the inputs to the job, as it has room.
fn feed<F: Function>(
    inputs: impl Iterator<Item = F::Input>,
    handle: &Handle<Job>,
    tray: &Arc<Tray>,
    told: &tokio::sync::mpsc::Sender<(Time, Told)>,
) {
    // What is in work besides the input: its kind, and the name with its length.
    let input_max = WORK_MAX - 5 - F::NAME.len();
    for (place, input) in (0..).zip(inputs) {
        let task = TaskId(place);
        let why = match postcard::to_allocvec(&input) {
            Ok(input) if input.len() <= input_max => {
                let work = Work::Call { function: F::NAME.to_owned(), input };
                if tray.put(task, work, handle) {
                    continue;
                }
                return;
            }
            Ok(input) => format!("it has {} octets, more than {input_max}", input.len()),
            Err(error) => error.to_string(),
        };
        let raw = Raw { task, worker: None, attempts: 0, output: Err(Failure::Input(why)) };
        if told.blocking_send((Time::ZERO, Told::Result(raw))).is_err() {
            return;
        }
    }
    tray.finish(handle);
}

/// Ends a job for which there is nobody.
fn watch(
    handle: &Handle<Job>,
    signals: &Receiver<Signal>,
    patience: Duration,
    over: &Mutex<Option<Failure>>,
    tried: &str,
) {
    let mut end: Option<(Instant, user::Failure)> = None;
    loop {
        let wait = end
            .as_ref()
            .map_or(Duration::from_secs(3600), |(end, _)| end.saturating_duration_since(Instant::now()));
        match signals.recv_timeout(wait) {
            Ok(Signal::Waiting(why)) => {
                end = Some((end.map_or(Instant::now() + patience, |(end, _)| end), why))
            }
            Ok(Signal::Joined) => end = None,
            Ok(Signal::Over) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let Some((_, why)) = end.take() else { continue };
                let why = match why {
                    user::Failure::NoRegistrar { .. } => format!("no registrar answers at {tried}"),
                    _ => format!("nobody serves in the pool (registrar {tried})"),
                };
                *over.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure::NoWorkers(why));
                if handle.post_blocking(|job, now| job.cancel_all(now)).is_err() {
                    return;
                }
            }
        }
    }
}
