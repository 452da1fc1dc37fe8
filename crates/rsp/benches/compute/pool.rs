//! The subject: `rsp registrar` and `rsp worker` as processes, and a job in this one.

use crate::common::{Server, rsp};
use crate::process::{again, said_by};
use rserpool::user;
use rserpool::{Endpoint, PoolHandle, Random, Role, Time};
use rserpool_compute::job::{Config, Event, Job};
use rserpool_compute::{JobId, TaskId, Work};
use rserpool_net::Running;
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
    _workers: Vec<Server>,
}

impl Pool {
    /// Starts them and waits until all serve.
    pub fn start() -> Self {
        let registrar = Server::start(["registrar", "--listen", "127.0.0.1:0", "--private"]);
        let at = registrar.asap().to_string();
        // They start side by side, as anybody would start them.
        let starting: Vec<_> = (0..WORKERS).map(|_| Server::begin(worker(&at))).collect();
        let workers = starting.into_iter().map(Server::served).collect();
        Self { registrar, _workers: workers }
    }

    /// The time of each of so many no-ops, one at a time: each is handed in when the result of the one before is there.
    pub fn round_trips(&self, count: usize) -> Vec<Duration> {
        let (done, times) = channel();
        let mut taken = Vec::with_capacity(count);
        let mut begun = Instant::now();
        let client = Client::start(self.registrar.asap(), move |job, now, task| {
            if task > Client::WARM_UP {
                taken.push(begun.elapsed());
            }
            if taken.len() == count {
                let _ = done.send(std::mem::take(&mut taken));
            } else if task >= Client::WARM_UP {
                begun = Instant::now();
                job.submit(now, TaskId(task + 1), &no_op()).expect("room for one");
            }
        });
        let times = times.recv_timeout(BOUND).expect("the client finishes");
        client.0.stop();
        times
    }

    /// How long so many tasks take, all handed in at once, on a job whose sessions are open.
    pub fn many(&self, work: &Work, count: usize) -> Duration {
        let (warm, is_warm) = channel();
        let (done, ended) = channel();
        let mut left = count;
        let client = Client::start(self.registrar.asap(), move |_, _, task| {
            if task > Client::WARM_UP {
                left -= 1;
            }
            let told: &Sender<Instant> = if left == 0 { &done } else { &warm };
            if left == 0 || task == Client::WARM_UP {
                let _ = told.send(Instant::now());
            }
        });
        is_warm.recv_timeout(BOUND).expect("warm");
        let work = work.clone();
        let begun = Instant::now();
        let submit = move |job: &mut Job, now| {
            for task in 1..=count as u64 {
                job.submit(now, TaskId(Client::WARM_UP + task), &work).expect("room for all");
            }
        };
        client.0.handle.post_blocking(submit).expect("the node lives");
        let ended: Instant = ended.recv_timeout(BOUND).expect("the client finishes");
        client.0.stop();
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

/// A job on the pool, in a thread of its own.
struct Client(Running<Job>);

impl Client {
    /// The number of the last task of the warm-up, after which every worker has its session.
    const WARM_UP: u64 = 1_000_000;

    /// Starts it. `accepted` hears of each task that is over; of the warm-up it hears only of the last one.
    fn start(at: SocketAddr, mut accepted: impl FnMut(&mut Job, Time, u64) + Send + 'static) -> Self {
        let handle = PoolHandle::new("compute").expect("short");
        let mut random = Random::from_seed(u64::from(std::process::id()));
        let job = JobId(std::array::from_fn(|_| random.next_u64() as u8));
        let config = Config::new(user::Config::new(vec![Endpoint::tcp(at)]), handle, job);
        let make = move |_: &rserpool_net::Bound| {
            let app = move |job: &mut Job, now: Time, event: Event| match event {
                Event::Accepted { attempt, .. } if attempt.task.0 >= Self::WARM_UP => {
                    accepted(job, now, attempt.task.0);
                }
                Event::Accepted { .. } if job.unfinished() == 0 => {
                    // All workers, then one task more: now everything that happens once has happened.
                    let last =
                        if job.worker_count() == WORKERS { Self::WARM_UP } else { job.counts().submitted };
                    job.submit(now, TaskId(last), &no_op()).expect("room for one");
                }
                _ => {}
            };
            (Job::new(config, random), app)
        };
        let running =
            rserpool_net::spawn("client", rserpool_net::Config::user(Role::User), make).expect("no ports");
        let begin = |job: &mut Job, now| {
            for task in 0..2 * WORKERS as u64 {
                job.submit(now, TaskId(task), &no_op()).expect("room for a few");
            }
        };
        running.handle.post_blocking(begin).expect("the node lives");
        Self(running)
    }
}

/// From nothing to the first result: registrar, workers, and a client in a process of its own.
pub fn cold() -> Duration {
    let begun = Instant::now();
    let pool = Pool::start();
    said_by(again(&["first", &pool.registrar.asap().to_string()]));
    begun.elapsed()
}

/// The client of [`cold`]: ends with the first result.
pub fn first(at: SocketAddr) {
    let (told, first): (Sender<()>, Receiver<()>) = channel();
    let handle = PoolHandle::new("compute").expect("short");
    let config = Config::new(user::Config::new(vec![Endpoint::tcp(at)]), handle, JobId([7; 16]));
    let make = move |_: &rserpool_net::Bound| {
        let app = move |_: &mut Job, _: Time, event: Event| {
            if matches!(event, Event::Accepted { .. }) {
                let _ = told.send(());
            }
        };
        (Job::new(config, Random::from_seed(7)), app)
    };
    let running =
        rserpool_net::spawn("client", rserpool_net::Config::user(Role::User), make).expect("no ports");
    let submit = |job: &mut Job, now| job.submit(now, TaskId(1), &no_op()).expect("room for one");
    running.handle.post_blocking(submit).expect("the node lives");
    first.recv_timeout(BOUND).expect("a result");
    println!("first");
}

/// `rsp run` of one `true` with a pool of its own, from its start to its end; `None` if somebody serves as a registrar
/// on this machine, because it would be used instead.
pub fn cold_run() -> Option<Duration> {
    if TcpStream::connect((Ipv4Addr::LOCALHOST, 3863)).is_ok() {
        return None;
    }
    let begun = Instant::now();
    let mut command = rsp();
    command.args(["run", "--", "true", ":::", "1"]).stderr(Stdio::null());
    assert!(command.status().expect("starts").success());
    Some(begun.elapsed())
}
