//! What the way of a task costs, against a bare TCP echo and against Gearman, in the same minutes on the same machine.
//!
//! ```text
//! cargo bench -p rsp --bench compute             all figures (docs/performance.md explains them)
//! cargo bench -p rsp --bench compute -- 9        nine pairs each instead of five
//! cargo bench -p rsp --bench compute -- start    only one part: trips, start, losses, processes, split or million
//! ```
//!
//! Subject and references take turns. A ratio is that of the medians; "worst" is that of the worst pair.

mod client;
#[path = "../../tests/common/mod.rs"]
mod common;
mod echo;
mod gearman;
mod losses;
mod many;
mod millions;
mod pool;
mod process;

use comfy_table::Table;
use echo::Echo;
use gearman::Gearman;
use pool::Pool;
use rserpool_compute::Work;
use rserpool_compute::fractal::{Rect, Scene};
use rustix::process::Signal;
use std::time::Duration;

const PAIRS: usize = 5;

/// What can be measured alone.
const PARTS: [&str; 6] = ["trips", "start", "losses", "processes", "split", "million"];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["echo"] => echo::serve(),
        ["first", at, journal] => pool::first(at.parse().expect("an address"), journal == "journal"),
        _ => {
            // `cargo test` runs benchmarks too, without this word: show that they work, in no time.
            let measured = words.contains(&"--bench");
            let pairs = words.iter().find_map(|word| word.parse().ok()).unwrap_or(PAIRS);
            let size = if measured { Size::FULL } else { Size::SMALL };
            let part = PARTS.into_iter().find(|part| words.contains(part));
            measure(if measured { pairs } else { 1 }, &size, part);
        }
    }
}

/// How much is measured at a time.
struct Size {
    round_trips: usize,
    no_ops: usize,
    sleeps: usize,
    /// Sleeps of the jobs that lose a worker, and when they do.
    lossy: usize,
    loss: Duration,
    processes: usize,
    /// Tiles computed.
    tiles: usize,
    /// Tasks of the one large job.
    tiny: usize,
}

impl Size {
    const FULL: Self = Self {
        round_trips: 5_000,
        no_ops: 10_000,
        sleeps: 1_000,
        lossy: 1_000,
        loss: Duration::from_millis(1500),
        processes: 2_000,
        tiles: 200,
        tiny: 1_000_000,
    };
    const SMALL: Self = Self {
        round_trips: 100,
        no_ops: 100,
        sleeps: 10,
        lossy: 20,
        loss: Duration::from_millis(50),
        processes: 20,
        tiles: 4,
        tiny: 1_000,
    };
}

/// Measures all parts, or one.
fn measure(pairs: usize, size: &Size, part: Option<&str>) {
    let wanted = |this: &str| part.is_none_or(|part| part == this);
    let rounds = |this: &str| if wanted(this) { pairs } else { 0 };
    let reference = Gearman::new();
    if reference.is_none() {
        println!("{}", gearman::ADVICE);
    }
    let mut table = Table::new();
    let head = ["figure", "rsp", "reference", "ratio", "worst", "must", "moonshot"];
    table.set_header(head);
    let mut row = |name: &str, subject: &[f64], reference: (&str, &[f64]), unit: &Unit, goals: [&str; 2]| {
        if !subject.is_empty() {
            let (ratio, worst) = ratios(subject, reference.1, unit.more_is_better);
            let reference = match reference {
                (name, []) => name.to_owned(),
                (name, figures) => format!("{name} {}", (unit.show)(median(figures))),
            };
            let [must, moonshot] = goals.map(str::to_owned);
            let subject = (unit.show)(median(subject));
            let cells = [name.to_owned(), subject, reference, ratio, worst, must, moonshot];
            table.add_row(cells);
        }
    };

    let (mut with, mut without) = (Runs::default(), Runs::default());
    let (mut bare, mut theirs) = (Runs::default(), Runs::default());
    let (mut whole, mut synced) = (Vec::new(), Vec::new());
    if wanted("trips") {
        let (pool, echo) = (Pool::start(), Echo::start());
        let other = reference.as_ref().map(|gearman| (gearman, gearman.start()));
        let no_op = Work::Echo(Vec::new());
        for _ in 0..pairs {
            for (journal, ours) in [(false, &mut without), (true, &mut with)] {
                ours.round_trip.push(middle(pool.round_trips(journal, size.round_trips)));
                let took = pool.many(journal, &no_op, size.no_ops);
                ours.rate.push(size.no_ops as f64 / took.as_secs_f64());
            }
            // A task is recorded before it starts, and its result before it is acknowledged.
            synced.push(2.0 * middle(client::syncs(size.round_trips.min(500))));
            bare.round_trip.push(middle(echo.round_trips(size.round_trips)));
            // Ten times as many: they are over sooner.
            let messages = 10 * size.no_ops;
            bare.rate.push(messages as f64 / echo.many(messages, false).as_secs_f64());
            whole.push(messages as f64 / echo.many(messages, true).as_secs_f64());
            if let Some((gearman, pool)) = &other {
                theirs.round_trip.push(middle(gearman.round_trips(pool, size.round_trips)));
                theirs.rate.push(size.no_ops as f64 / gearman.many(pool, "noop", size.no_ops).as_secs_f64());
            }
        }
        for _ in 0..pairs {
            for (journal, ours) in [(false, &mut without), (true, &mut with)] {
                ours.sleeps.push(pool.many(journal, &Work::Sleep(SLEEP), size.sleeps).as_secs_f64());
            }
            bare.sleeps.push(SLEEP.as_secs_f64() * size.sleeps as f64 / 2.0);
            if let Some((gearman, pool)) = &other {
                theirs.sleeps.push(gearman.many(pool, "sleep10", size.sleeps).as_secs_f64());
            }
        }
    }
    for _ in 0..rounds("start") {
        for (journal, ours) in [(false, &mut without), (true, &mut with)] {
            ours.cold.push(pool::cold(journal).as_secs_f64());
            ours.cold_run.extend(pool::cold_run(journal).map(|span| span.as_secs_f64()));
        }
        theirs.cold.extend(reference.as_ref().map(|gearman| gearman.cold().as_secs_f64()));
    }
    for _ in 0..rounds("losses") {
        for (journal, ours) in [(false, &mut without), (true, &mut with)] {
            ours.lose(journal, size);
        }
        let killed = |gearman| losses::during_with(gearman, SLEEP, size.lossy, size.loss);
        theirs.killed.extend(reference.as_ref().map(killed));
    }
    for (which, ours) in [("no journal", &without), ("journal", &with)] {
        let called = |figure: &str| format!("{figure}, {which}");
        let (trip, echo, gearman) = (&ours.round_trip, ("TCP echo", &bare.round_trip[..]), "Gearman");
        row(&called("round trip of a no-op"), trip, echo, &MICROS, ["5", "2.5"]);
        row("", trip, (gearman, &theirs.round_trip), &MICROS, ["", ""]);
        if which == "journal" {
            row("", trip, ("two syncs of the disk", &synced), &MICROS, ["", ""]);
        }
        row(&called("no-ops per second"), &ours.rate, ("TCP echo", &bare.rate), &RATE, ["0.13", "0.35"]);
        row("", &ours.rate, ("TCP echo in whole portions", &whole), &RATE, ["", ""]);
        row("", &ours.rate, (gearman, &theirs.rate), &RATE, ["3", "8"]);
        row(&called("1,000 x 10 ms"), &ours.sleeps, ("ideal", &bare.sleeps), &SECONDS, ["1.02", "1.003"]);
        row("", &ours.sleeps, (gearman, &theirs.sleeps), &SECONDS, ["", ""]);
        let cold = (gearman, &theirs.cold[..]);
        row(&called("cold start to first result"), &ours.cold, cold, &MILLIS, ["100 ms", "20 ms"]);
        row(&called("rsp run with its own pool"), &ours.cold_run, cold, &MILLIS, ["100 ms", "20 ms"]);
        let killed = (gearman, &theirs.killed[..]);
        row(&called("one of 2 killed, time / ideal"), &ours.killed, killed, &TIMES, ["1.01", ""]);
        let never = ("Gearman never", &[][..]);
        row(&called("one of 2 stopped, over ideal"), &ours.stopped, never, &SECONDS, ["2 s", "0.6 s"]);
        row(&called("killed: work goes on after"), &ours.crash, never, &MILLIS, ["100 ms", "10 ms"]);
        row(&called("stopped: work goes on after"), &ours.hang, never, &MILLIS, ["1.5 s", "0.5 s"]);
    }

    let (mut run, mut plain) = (Vec::new(), Vec::new());
    let (mut xargs, mut parallel) = (Vec::new(), Vec::new());
    for round in 0..rounds("processes") {
        // What ran before matters: each comes in each place.
        for place in 0..4 {
            match (round + place) % 4 {
                0 => run.extend(many::rate(many::ours(true), size.processes)),
                1 => plain.extend(many::rate(many::ours(false), size.processes)),
                2 => xargs.extend(many::rate(many::xargs(), size.processes)),
                _ => parallel.extend(many::rate(many::parallel(), size.processes / 4)),
            }
        }
    }
    for (which, rate) in [("no journal", &plain), ("journal", &run)] {
        let name = format!("processes per second, {which}");
        row(&name, rate, ("xargs -P2", &xargs), &RATE, ["0.9", ""]);
        row("", rate, ("GNU parallel -j2", &parallel), &RATE, ["", ""]);
    }

    // One large job by one worker and by several: real computing, and workers whose capacity is modelled by sleeping.
    let (mut computed, mut split, mut split_killed) = (Vec::new(), Vec::new(), Vec::new());
    if wanted("split") {
        let (one, two, ten) = (Pool::of(1), Pool::of(2), Pool::of(10));
        for _ in 0..pairs {
            let spent = |pool: &Pool, work: &Work, count| pool.many(true, work, count).as_secs_f64();
            computed.push(spent(&one, &tile(), size.tiles) / spent(&two, &tile(), size.tiles));
            let alone = spent(&one, &Work::Sleep(SLEEP), size.sleeps);
            split.push(alone / spent(&ten, &Work::Sleep(SLEEP), size.sleeps));
            let half = SLEEP.mul_f64(size.sleeps as f64 / 20.0);
            let loss = losses::of(&Pool::of(10), Signal::KILL, true, SLEEP, size.sleeps, half);
            split_killed.push(alone / loss.took);
        }
    }
    let no_one = ("one worker", &[][..]);
    row("tiles: speed of 2 workers, 2 cores", &computed, no_one, &TIMES, ["", ""]);
    row("modelled capacity: speed of 10 workers", &split, no_one, &TIMES, ["9", "9.8"]);
    row("the same, one killed half-way", &split_killed, no_one, &TIMES, ["", "8.8"]);

    println!("{table}");
    if wanted("million") {
        million(size.tiny);
    }
    let repeated = with.repeated + without.repeated;
    if wanted("losses") {
        println!(
            "tasks of killed workers repeated: {repeated}; lost: 0. With a stopped worker Gearman does not finish."
        );
    }
    println!("{pairs} pairs; load average {}", load());
}

/// One large job.
fn million(count: usize) {
    let pool = Pool::start();
    let of_million = |journal| millions::whole(&pool, journal, count);
    for (which, job) in [("no journal", of_million(false)), ("journal", of_million(true))] {
        let memory = job.memory as f64 / (1024.0 * 1024.0);
        println!(
            "{} tiny tasks in one job, {which}: {:.2} s ({:.0}/s), client's memory {memory:.1} MiB, journal {:.1} \
             octets per task besides value and result",
            count,
            job.took.as_secs_f64(),
            count as f64 / job.took.as_secs_f64(),
            job.journal,
        );
    }
    let resumed = millions::resumed(&pool, count);
    println!(
        "the same killed half-way: the first new result {:.3} s after `rsp resume`, all that was known after {:.2} s",
        resumed.first.as_secs_f64(),
        resumed.took.as_secs_f64()
    );
}

const SLEEP: Duration = Duration::from_millis(10);

/// A part of the default picture of the demo that takes some 10 ms.
fn tile() -> Work {
    Work::Tile { scene: Scene::default(), rect: Rect { left: 1200, top: 700, width: 64, height: 64 } }
}

/// The figures of one of the three, one per pair.
#[derive(Default)]
struct Runs {
    round_trip: Vec<f64>,
    rate: Vec<f64>,
    sleeps: Vec<f64>,
    cold: Vec<f64>,
    cold_run: Vec<f64>,
    killed: Vec<f64>,
    stopped: Vec<f64>,
    crash: Vec<f64>,
    hang: Vec<f64>,
    repeated: u64,
}

impl Runs {
    /// Jobs that lose a worker.
    fn lose(&mut self, journal: bool, size: &Size) {
        let loss = losses::during(Signal::KILL, journal, SLEEP, size.lossy, size.loss);
        assert_eq!(loss.counts.failed, 0, "a task is lost: {:?}", loss.counts);
        self.repeated += loss.counts.repeated;
        self.killed.push(loss.over_ideal);
        let loss = losses::during(Signal::STOP, journal, SLEEP, size.lossy, size.loss);
        assert_eq!(loss.counts.failed, 0, "a task is lost: {:?}", loss.counts);
        self.stopped.push(loss.late);
        self.crash.push(losses::goes_on(Signal::KILL, journal).as_secs_f64());
        self.hang.push(losses::goes_on(Signal::STOP, journal).as_secs_f64());
    }
}

struct Unit {
    show: fn(f64) -> String,
    more_is_better: bool,
}

const MICROS: Unit = Unit { show: |seconds| format!("{:.1} µs", seconds * 1e6), more_is_better: false };
const MILLIS: Unit = Unit { show: |seconds| format!("{:.1} ms", seconds * 1e3), more_is_better: false };
const SECONDS: Unit = Unit { show: |seconds| format!("{seconds:.3} s"), more_is_better: false };
const TIMES: Unit = Unit { show: |times| format!("{times:.3}"), more_is_better: false };
const RATE: Unit = Unit { show: |rate| format!("{rate:.0}/s"), more_is_better: true };

/// The middle one, in seconds.
fn middle(times: Vec<Duration>) -> f64 {
    median(&times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>())
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The ratio of the medians, and that of the worst pair.
fn ratios(subject: &[f64], reference: &[f64], more_is_better: bool) -> (String, String) {
    if reference.is_empty() {
        return Default::default();
    }
    let pairs = subject.iter().zip(reference).map(|(one, other)| one / other);
    let worst = if more_is_better { pairs.fold(f64::INFINITY, f64::min) } else { pairs.fold(0.0, f64::max) };
    (format!("{:.3}", median(subject) / median(reference)), format!("{worst:.3}"))
}

fn load() -> String {
    let read = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    read.split(' ').take(1).collect()
}
