//! What a worker that dies or hangs costs: a job of sleeps whose ideal is known, and one long computation.

use crate::client::{Client, News};
use crate::common::Server;
use crate::gearman::Gearman;
use crate::pool::Pool;
use rserpool_compute::job::{Counts, Event};
use rserpool_compute::{TaskId, Work};
use rustix::process::Signal;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes, unless it is broken.
const BOUND: Duration = Duration::from_secs(120);

/// A job on both workers of a pool, whose news are told with their time.
struct Watched {
    client: Client,
    heard: Receiver<(Instant, News)>,
}

impl Watched {
    fn start(pool: &Pool, journal: bool) -> Self {
        let (told, heard) = channel();
        let client = Client::start(pool.registrar(), journal, move |_, _, news| {
            let _ = told.send((Instant::now(), news));
        });
        let watched = Self { client, heard };
        // Enough for all workers to take part; then all of it is over.
        let (mut joined, mut left) = (0, 4 * pool.size());
        watched.submit(0..left as u64, Work::Sleep(Duration::from_millis(10)));
        while joined < pool.size() || left > 0 {
            watched.wait(|news| {
                joined += usize::from(matches!(news, News::Other(Event::WorkerJoined { .. })));
                left -= usize::from(matches!(news, News::Accepted(_)));
                true
            });
        }
        watched
    }

    fn submit(&self, tasks: std::ops::Range<u64>, work: Work) {
        self.client.post(move |job, now| tasks.for_each(|task| job.submit(now, task, &work)));
    }

    /// Waits for news; when they came.
    fn wait(&self, mut wanted: impl FnMut(&News) -> bool) -> Instant {
        loop {
            let (at, news) = self.heard.recv_timeout(BOUND).expect("it happens");
            if wanted(&news) {
                return at;
            }
        }
    }
}

/// A job that lost a worker.
pub struct Loss {
    /// From its start to its end.
    pub took: f64,
    /// The same over what all workers, then one less, need at least.
    pub over_ideal: f64,
    /// Likewise, as the difference in seconds.
    pub late: f64,
    /// What happened.
    pub counts: Counts,
}

/// So many sleeps on two workers, one of which gets a signal after a while.
pub fn during(signal: Signal, journal: bool, sleep: Duration, count: usize, after: Duration) -> Loss {
    of(&Pool::start(), signal, journal, sleep, count, after)
}

/// So many sleeps on a pool, one of whose workers gets a signal after a while.
pub fn of(
    pool: &Pool,
    signal: Signal,
    journal: bool,
    sleep: Duration,
    count: usize,
    after: Duration,
) -> Loss {
    let job = Watched::start(pool, journal);
    let begun = Instant::now();
    job.submit(100..100 + count as u64, Work::Sleep(sleep));
    job.client.post(|job, now| job.finish(now));
    std::thread::sleep(after.saturating_sub(begun.elapsed()));
    pool.worker(0).signal(signal);
    let lost = begun.elapsed().as_secs_f64();
    let ended = job.wait(|news| matches!(news, News::Finished));
    let counts = job.client.ask(|job| job.counts());
    // All compute until one is lost, the others do the rest.
    let all = pool.size() as f64;
    let ideal = (sleep.as_secs_f64() * count as f64 - lost) / (all - 1.0);
    let took = (ended - begun).as_secs_f64();
    job.client.stop();
    Loss { took, over_ideal: took / ideal, late: took - ideal, counts }
}

/// The same with Gearman, whose worker is killed; what a hung one costs it cannot be measured: the job does not end.
pub fn during_with(gearman: &Gearman, sleep: Duration, count: usize, after: Duration) -> f64 {
    let mut pool = gearman.start();
    let begun = Instant::now();
    let killer = pool.take_worker();
    let killed = std::thread::spawn(move || {
        std::thread::sleep(after);
        drop(killer);
        begun.elapsed().as_secs_f64()
    });
    let took = gearman.many(&pool, "sleep10", count).as_secs_f64();
    let lost = killed.join().expect("it only waits");
    took / (sleep.as_secs_f64() * count as f64 - lost)
}

/// One long computation: from the end (or stop) of its worker until another one has begun it.
pub fn goes_on(signal: Signal, journal: bool) -> Duration {
    let pool = Pool::start();
    let job = Watched::start(&pool, journal);
    job.submit(100..101, Work::Spin(Duration::from_secs(3600)));
    let begins = |news: &News| matches!(news, News::Other(Event::Started { attempt, .. }) if attempt.task == TaskId(100));
    job.wait(begins);
    let (_, element) = job.client.ask(|job| job.running().next()).expect("it runs");
    let name = element.to_string();
    let worker =
        (0..2).map(|place| pool.worker(place)).find(|worker: &&Server| worker.serving.contains(&name));
    let worker = worker.expect("one of the two");
    let begun = Instant::now();
    worker.signal(signal);
    let again = job.wait(begins);
    job.client.stop();
    again - begun
}
