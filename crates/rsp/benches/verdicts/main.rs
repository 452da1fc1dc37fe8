//! No false verdict: real processes on a machine with more to do than it can, and nobody may be called dead.
//!
//! ```text
//! cargo bench -p rsp --bench verdicts                          ten minutes at load 8, then one with `realtime`
//! cargo bench -p rsp --bench verdicts -- --minutes 1 --load 4
//! ```
//!
//! ```text
//!   2 registrars <--- 4 workers <--- one job with sessions to all, whose tasks trickle
//!   8 processes that only burn processor time
//! ```
//!
//! Registrars and workers say what they notice; any line about somebody who is silent, lost, removed or taken over
//! counts, and so does every worker the job loses. Exit status 1 if there was any with the `default` profile. What
//! `realtime` does is printed for information: it promises its times on machines with processors to spare.

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "../compute/process.rs"]
mod process;

use common::{Server, rsp};
use process::{Process, again, end_with_parent};
use rserpool::{Endpoint, PoolHandle, Profile, Random, Role, Time, Timing, user};
use rserpool_compute::job::{Config, Event, Job};
use rserpool_compute::{JobId, TaskId, Work};
use rserpool_net::Running;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

/// Tasks handed in at a time: two for each worker.
const TRICKLE: u64 = 2 * WORKERS as u64;

/// Long enough to be little work, short enough that every session always has something to say soon.
const TASK: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "burn") {
        end_with_parent();
        loop {
            std::hint::spin_loop();
        }
    }
    let number = |name: &str, usual: u64| {
        let mut behind = words.iter().skip_while(|word| *word != name).skip(1);
        behind.next().map_or(usual, |word| word.parse().expect("a number behind it"))
    };
    // `cargo test` runs benchmarks too, without this word: show that it works, in no time.
    let measured = words.iter().any(|word| word == "--bench");
    let minute = Duration::from_secs(60);
    let (span, also) = match measured {
        true => (minute * number("--minutes", 10) as u32, minute * number("--realtime-minutes", 1) as u32),
        false => (Duration::from_secs(1), Duration::ZERO),
    };
    let load: Vec<_> = (0..number("--load", 8)).map(|_| Process::start(again(&["burn"]))).collect();
    println!("{} processes burn; load average before: {}", load.len(), load_average());
    let verdicts = watch(Profile::Default, span);
    if !also.is_zero() {
        watch(Profile::Realtime, also);
    }
    ExitCode::from(u8::from(verdicts > 0))
}

/// Watches a pool for so long; returns how many verdicts there were.
fn watch(profile: Profile, span: Duration) -> usize {
    let (say, said) = channel();
    let pool = Pool::start(profile, &say);
    let begun = Instant::now();
    let job = pool.job(&say);
    let mut heard = Heard::default();
    while let Some(left) = span.checked_sub(begun.elapsed()) {
        match said.recv_timeout(left) {
            Ok(line) => heard.hear(begun.elapsed(), line),
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => unreachable!("one end is ours"),
        }
    }
    let (counts, workers) =
        job.handle.ask_blocking(|job, _| (job.counts(), job.worker_count())).expect("the node lives");
    let all_there = workers == WORKERS;
    println!(
        "{}: {:.0} s, load average {}: {} verdicts; {} tasks done, {} repeated, longest pause between results \
         {:.0} ms, {workers} of {WORKERS} workers in use at the end",
        profile.name(),
        begun.elapsed().as_secs_f64(),
        load_average(),
        heard.verdicts,
        counts.accepted,
        counts.repeated,
        heard.pause.as_secs_f64() * 1e3,
    );
    job.stop();
    heard.verdicts + usize::from(!all_there || counts.accepted == 0)
}

/// Two registrars and the workers, all of which say what they notice.
struct Pool {
    registrars: Vec<Server>,
    _workers: Vec<Server>,
    profile: Profile,
}

/// What is heard from everybody.
enum Said {
    /// A line of a process.
    Line(String, String),
    /// An event of the job.
    Event(Event),
}

impl Pool {
    fn start(profile: Profile, say: &Sender<Said>) -> Self {
        let start = |name: String, words: &[&str]| {
            let mut command = rsp();
            command.args(words).args(["--profile", profile.name(), "--verbose", "--private"]);
            let mut server = Server::begin(command).served();
            let lines = server.lines();
            let say = say.clone();
            std::thread::spawn(move || {
                lines.into_iter().try_for_each(|line| say.send(Said::Line(name.clone(), line)))
            });
            server
        };
        let listen = ["registrar", "--listen", "127.0.0.1:0"];
        let first = start("registrar 1".into(), &listen);
        let second =
            start("registrar 2".into(), &[&listen[..], &["--peer", &first.enrp().to_string()]].concat());
        let registrars = vec![first, second];
        let at = registrars.iter().map(|registrar| registrar.asap().to_string()).collect::<Vec<_>>();
        let words = ["worker", "--registrar", &at[0], "--registrar", &at[1], "--slots", "2"];
        let workers = (1..=WORKERS).map(|number| start(format!("worker {number}"), &words)).collect();
        Self { registrars, _workers: workers, profile }
    }

    /// A job that never ends: each task that is over is followed by another one.
    fn job(&self, say: &Sender<Said>) -> Running<Job> {
        let at = self.registrars.iter().map(|registrar| Endpoint::tcp(registrar.asap())).collect();
        let user = user::Config { timing: Timing::of(self.profile), ..user::Config::new(at) };
        let mut random = Random::from_seed(u64::from(std::process::id()));
        let job = JobId(std::array::from_fn(|_| random.next_u64() as u8));
        let config = Config::new(user, PoolHandle::new("compute").expect("short"), job);
        let say = say.clone();
        let make = move |_: &rserpool_net::Bound| {
            let mut last = TRICKLE;
            let app = move |job: &mut Job, now: Time, event: Event| {
                if matches!(event, Event::Accepted { .. }) {
                    last += 1;
                    job.submit(now, TaskId(last), &Work::Sleep(TASK)).expect("room for one");
                }
                let _ = say.send(Said::Event(event));
            };
            (Job::new(config, random), app)
        };
        let running =
            rserpool_net::spawn("client", rserpool_net::Config::user(Role::User), make).expect("no ports");
        let begin = |job: &mut Job, now| {
            for task in 1..=TRICKLE {
                job.submit(now, TaskId(task), &Work::Sleep(TASK)).expect("room for a few");
            }
        };
        running.handle.post_blocking(begin).expect("the node lives");
        running
    }
}

/// What was heard, and what of it was a verdict.
#[derive(Default)]
struct Heard {
    verdicts: usize,
    result: Option<Duration>,
    pause: Duration,
}

impl Heard {
    fn hear(&mut self, at: Duration, said: Said) {
        match said {
            // How a line of `--verbose` reads when somebody was found wanting.
            Said::Line(name, line) => {
                let bad = [
                    "is down",
                    "left pool",
                    "withheld",
                    "takeover",
                    "moved from",
                    "lost the",
                    "no registrar",
                ];
                let is_verdict = bad.iter().any(|part| line.contains(part));
                let is_doubt = line.contains("silent and asked");
                if is_verdict || is_doubt {
                    println!("{:.1} s: {name}: {line}", at.as_secs_f64());
                }
                self.verdicts += usize::from(is_verdict);
            }
            Said::Event(Event::Accepted { .. }) => {
                self.pause = self.pause.max(at - self.result.unwrap_or(at));
                self.result = Some(at);
            }
            Said::Event(
                event @ (Event::WorkerLost { .. }
                | Event::WorkerLeft { .. }
                | Event::WorkerRefused { .. }
                | Event::Waiting { .. }
                | Event::Dropped { .. }
                | Event::Failed { .. }
                | Event::Discarded { .. }),
            ) => {
                println!("{:.1} s: job: {event:?}", at.as_secs_f64());
                self.verdicts += 1;
            }
            Said::Event(_) => {}
        }
    }
}

fn load_average() -> String {
    let read = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    read.split(' ').take(1).collect()
}
