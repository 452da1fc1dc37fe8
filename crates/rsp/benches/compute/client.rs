//! A job in this process, with a journal on the disk or without one.

use rserpool::{Endpoint, PoolHandle, Random, Role, Time, user};
use rserpool_compute::durable::{self, DurableJob, File as Which, Wish};
use rserpool_compute::job::{Config, Event, Job};
use rserpool_compute::{JobId, TaskId, Work};
use rserpool_net::{Handle, Running};
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// A job, whichever it is.
pub trait Engine {
    /// Takes a task.
    fn submit(&mut self, now: Time, task: u64, work: &Work);
    /// No more come.
    fn finish(&mut self, now: Time);
    /// The job itself.
    fn job(&self) -> &Job;
}

impl Engine for Job {
    fn submit(&mut self, now: Time, task: u64, work: &Work) {
        Job::submit(self, now, TaskId(task), work).expect("room for all");
    }

    fn finish(&mut self, now: Time) {
        Job::finish(self, now);
    }

    fn job(&self) -> &Job {
        self
    }
}

impl Engine for DurableJob {
    fn submit(&mut self, now: Time, task: u64, work: &Work) {
        DurableJob::submit(self, now, TaskId(task), b"", work).expect("room for all");
    }

    fn finish(&mut self, now: Time) {
        DurableJob::finish(self, now);
    }

    fn job(&self) -> &Job {
        DurableJob::job(self)
    }
}

/// What the application hears, with a journal when it is on the disk.
#[derive(Debug)]
pub enum News {
    Accepted(u64),
    Finished,
    Other(Event),
}

impl From<Event> for News {
    fn from(event: Event) -> Self {
        match event {
            Event::Accepted { attempt, .. } => Self::Accepted(attempt.task.0),
            Event::Finished(_) => Self::Finished,
            other => Self::Other(other),
        }
    }
}

/// A job under way, in a thread of its own.
pub enum Client {
    Plain(Running<Job>),
    Durable(Running<DurableJob>, Sender<Option<Wish>>),
}

impl Client {
    /// Starts it; `hear` is called in its thread.
    pub fn start(
        at: SocketAddr,
        journal: bool,
        mut hear: impl FnMut(&mut dyn Engine, Time, News) + Send + 'static,
    ) -> Self {
        let handle = PoolHandle::new("compute").expect("short");
        let since = std::time::UNIX_EPOCH.elapsed().expect("a clock that is set");
        let mut random = Random::from_seed(since.as_nanos() as u64);
        let job = JobId(std::array::from_fn(|_| random.next_u64() as u8));
        let config = Config::new(user::Config::new(vec![Endpoint::tcp(at)]), handle, job);
        let net = rserpool_net::Config::user(Role::User);
        if !journal {
            let make = move |_: &rserpool_net::Bound| {
                let app = move |job: &mut Job, now: Time, event: Event| hear(job, now, event.into());
                (Job::new(config, random), app)
            };
            return Self::Plain(rserpool_net::spawn("client", net, make).expect("no ports"));
        }
        let (wish, wishes) = channel();
        let end = wish.clone();
        let make = move |_: &rserpool_net::Bound| {
            let app = move |job: &mut DurableJob, now: Time, event: durable::Event| match event {
                durable::Event::Disk(what) => drop(wish.send(Some(what))),
                durable::Event::Accepted(accepted) => hear(job, now, News::Accepted(accepted.attempt.task.0)),
                durable::Event::Finished(_) => hear(job, now, News::Finished),
                durable::Event::Job(event) => hear(job, now, News::Other(event)),
                _ => {}
            };
            (DurableJob::begin(config, b"", 0, random), app)
        };
        let running = rserpool_net::spawn("client", net, make).expect("no ports");
        let handle = running.handle.clone();
        std::thread::spawn(move || write(&wishes, handle));
        Self::Durable(running, end)
    }

    /// Calls the job in its thread.
    pub fn post(&self, call: impl FnOnce(&mut dyn Engine, Time) + Send + 'static) {
        let posted = match self {
            Self::Plain(running) => running.handle.post_blocking(move |job, now| call(job, now)),
            Self::Durable(running, _) => running.handle.post_blocking(move |job, now| call(job, now)),
        };
        posted.expect("the node lives");
    }

    /// Asks the job.
    pub fn ask<T: Send + 'static>(&self, call: impl FnOnce(&Job) -> T + Send + 'static) -> T {
        let (told, answer): (Sender<T>, Receiver<T>) = channel();
        self.post(move |engine, _| drop(told.send(call(engine.job()))));
        answer.recv().expect("the node lives")
    }

    /// Ends it.
    pub fn stop(self) {
        match self {
            Self::Plain(running) => running.stop(),
            Self::Durable(running, disk) => {
                // The node lives as long as somebody may call it, and the disk's thread does.
                let _ = disk.send(None);
                running.stop();
            }
        }
    }
}

/// The disk's thread: as that of `rsp run`, on a file system of this machine.
fn write(wishes: &Receiver<Option<Wish>>, handle: Handle<DurableJob>) {
    let (mut journal, mut outputs) = (disk(), disk());
    while let Ok(Some(wish)) = wishes.recv() {
        let (file, mark) = match wish {
            Wish::Append { file: Which::Journal, octets } => {
                journal.write_all(&octets).expect("room");
                continue;
            }
            Wish::Append { file: Which::Outputs, octets } => {
                outputs.write_all(&octets).expect("room");
                continue;
            }
            Wish::Sync { file: Which::Journal, mark } => (&journal, mark),
            Wish::Sync { file: Which::Outputs, mark } => (&outputs, mark),
        };
        file.sync_data().expect("a disk that works");
        if handle.post_blocking(move |job, now| job.stored(now, mark)).is_err() {
            return;
        }
    }
}

/// The time of each of so many small appends that are made safe, one after the other: what a journal cannot be faster than.
pub fn syncs(count: usize) -> Vec<Duration> {
    let mut file = disk();
    let mut one = || {
        let begun = Instant::now();
        file.write_all(&[0; 64]).expect("room");
        file.sync_data().expect("a disk that works");
        begun.elapsed()
    };
    (0..count).map(|_| one()).collect()
}

/// A file beside the build's, on a disk rather than in memory.
fn disk() -> File {
    tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder of this build")
}
