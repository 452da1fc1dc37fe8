//! The subject: `rsp registrar` and `rsp worker` as processes, and a job in this one.

use crate::client::{Client, Engine, News};
use crate::common::{Server, rsp};
use crate::process::{again, said_by};
use rserpool::Time;
use rserpool_compute::Work;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Workers, each with one slot, as many as Gearman has.
const WORKERS: usize = 2;

/// Longer than anything here takes, unless it is broken.
const BOUND: Duration = Duration::from_secs(60);

/// A registrar and its workers.
pub struct Pool {
    registrar: Server,
    workers: Vec<Server>,
}

impl Pool {
    /// Starts as many as Gearman has, and waits until all serve.
    pub fn start() -> Self {
        Self::of(WORKERS)
    }

    /// Starts so many.
    pub fn of(workers: usize) -> Self {
        let registrar = Server::start(["registrar", "--listen", "127.0.0.1:0", "--private"]);
        let at = registrar.asap().to_string();
        // They start side by side, as anybody would start them.
        let starting: Vec<_> = (0..workers).map(|_| Server::begin(worker(&at))).collect();
        let workers = starting.into_iter().map(Server::served).collect();
        Self { registrar, workers }
    }

    /// Where its registrar takes ASAP.
    pub fn registrar(&self) -> SocketAddr {
        self.registrar.asap()
    }

    /// How many workers it has.
    pub fn size(&self) -> usize {
        self.workers.len()
    }

    /// One of its workers.
    pub fn worker(&self, place: usize) -> &Server {
        &self.workers[place]
    }

    /// The time of each of so many no-ops, one at a time: each is handed in when the result of the one before is there.
    pub fn round_trips(&self, journal: bool, count: usize) -> Vec<Duration> {
        let (done, times) = channel();
        let mut taken = Vec::with_capacity(count);
        let mut begun = Instant::now();
        let client = warm(self, journal, move |job, now, task| {
            if task > WARM_UP {
                taken.push(begun.elapsed());
            }
            if taken.len() == count {
                let _ = done.send(std::mem::take(&mut taken));
            } else if task >= WARM_UP {
                begun = Instant::now();
                job.submit(now, task + 1, &no_op());
            }
        });
        let times = times.recv_timeout(BOUND).expect("the client finishes");
        client.stop();
        times
    }

    /// How long so many tasks take, all handed in at once, on a job whose sessions are open.
    pub fn many(&self, journal: bool, work: &Work, count: usize) -> Duration {
        let (is_warm, warmed) = channel();
        let (done, ended) = channel();
        let mut left = count;
        let client = warm(self, journal, move |_, _, task| {
            if task > WARM_UP {
                left -= 1;
            }
            let told: &Sender<Instant> = if left == 0 { &done } else { &is_warm };
            if left == 0 || task == WARM_UP {
                let _ = told.send(Instant::now());
            }
        });
        warmed.recv_timeout(BOUND).expect("warm");
        let work = work.clone();
        let begun = Instant::now();
        client.post(move |job, now| {
            (1..=count as u64).for_each(|task| job.submit(now, WARM_UP + task, &work));
        });
        let ended: Instant = ended.recv_timeout(BOUND).expect("the client finishes");
        client.stop();
        ended - begun
    }
}

fn worker(registrar: &str) -> Command {
    let mut command = rsp();
    command.args(["worker", "--registrar", registrar, "--slots", "1", "--private"]);
    command
}

fn no_op() -> Work {
    Work::Echo(Vec::new())
}

/// The number of the last task of the warm-up, after which every worker has its session.
const WARM_UP: u64 = 1_000_000;

/// Starts a job whose sessions open first. `accepted` hears of each task that is over; of the warm-up it hears only of the
/// last one.
fn warm(
    pool: &Pool,
    journal: bool,
    mut accepted: impl FnMut(&mut dyn Engine, Time, u64) + Send + 'static,
) -> Client {
    let workers = pool.workers.len();
    let first = 2 * workers as u64;
    let (mut next, mut open) = (first, first);
    let client = Client::start(pool.registrar(), journal, move |job, now, news| match news {
        News::Accepted(task) if task >= WARM_UP => accepted(job, now, task),
        News::Accepted(_) => {
            open -= 1;
            if open == 0 {
                // All workers, then one task more: now everything that happens once has happened.
                let last = if job.job().worker_count() == workers { WARM_UP } else { next };
                (next, open) = (next + 1, 1);
                job.submit(now, last, &no_op());
            }
        }
        _ => {}
    });
    client.post(move |job, now| (0..first).for_each(|task| job.submit(now, task, &no_op())));
    client
}

/// From nothing to the first result: registrar, workers, and a client in a process of its own.
pub fn cold(journal: bool) -> Duration {
    let begun = Instant::now();
    let pool = Pool::start();
    let journal = if journal { "journal" } else { "none" };
    said_by(again(&["first", &pool.registrar().to_string(), journal]));
    begun.elapsed()
}

/// The client of [`cold`]: ends with the first result.
pub fn first(at: SocketAddr, journal: bool) {
    let (told, first): (Sender<()>, Receiver<()>) = channel();
    let client = Client::start(at, journal, move |_, _, news| {
        if matches!(news, News::Accepted(_)) {
            let _ = told.send(());
        }
    });
    client.post(|job, now| job.submit(now, 1, &no_op()));
    first.recv_timeout(BOUND).expect("a result");
    println!("first");
}

/// `rsp run` of one `true` with a pool of its own, from its start to its end; `None` if somebody serves as a registrar
/// on this machine, because it would be used instead.
pub fn cold_run(journal: bool) -> Option<Duration> {
    if TcpStream::connect((Ipv4Addr::LOCALHOST, 3863)).is_ok() {
        return None;
    }
    let begun = Instant::now();
    let mut command = rsp();
    command.arg("run").args((!journal).then_some("--no-journal")).args(["--", "true", ":::", "1"]);
    command.stderr(Stdio::null());
    assert!(command.status().expect("starts").success());
    Some(begun.elapsed())
}
