//! What the way of a task costs, against a bare TCP echo and against Gearman, in the same minutes on the same machine.
//!
//! ```text
//! cargo bench -p rsp --bench compute             all figures (docs/performance.md explains them)
//! cargo bench -p rsp --bench compute -- 9        nine pairs each instead of five
//! ```
//!
//! Subject and references take turns. A ratio is that of the medians; "worst" is that of the worst pair.

#[path = "../../tests/common/mod.rs"]
mod common;
mod echo;
mod gearman;
mod pool;
mod process;

use comfy_table::Table;
use echo::Echo;
use gearman::Gearman;
use pool::Pool;
use rserpool_compute::Work;
use std::time::Duration;

const PAIRS: usize = 5;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["echo"] => echo::serve(),
        ["first", at] => pool::first(at.parse().expect("an address")),
        _ => {
            // `cargo test` runs benchmarks too, without this word: show that they work, in no time.
            let measured = words.contains(&"--bench");
            let pairs = words.iter().find_map(|word| word.parse().ok()).unwrap_or(PAIRS);
            let size = if measured { Size::FULL } else { Size::SMALL };
            measure(if measured { pairs } else { 1 }, &size);
        }
    }
}

/// How much is measured at a time.
struct Size {
    round_trips: usize,
    no_ops: usize,
    sleeps: usize,
}

impl Size {
    const FULL: Self = Self { round_trips: 5_000, no_ops: 10_000, sleeps: 1_000 };
    const SMALL: Self = Self { round_trips: 100, no_ops: 100, sleeps: 10 };
}

fn measure(pairs: usize, size: &Size) {
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
                (name, []) => format!("{name} missing"),
                (name, figures) => format!("{name} {}", (unit.show)(median(figures))),
            };
            let [must, moonshot] = goals.map(str::to_owned);
            let subject = (unit.show)(median(subject));
            let cells = [name.to_owned(), subject, reference, ratio, worst, must, moonshot];
            table.add_row(cells);
        }
    };

    let (mut ours, mut bare, mut theirs) = (Runs::default(), Runs::default(), Runs::default());
    let mut whole = Vec::new();
    {
        let (pool, echo) = (Pool::start(), Echo::start());
        let other = reference.as_ref().map(|gearman| (gearman, gearman.start()));
        for _ in 0..pairs {
            ours.round_trip.push(middle(pool.round_trips(size.round_trips)));
            bare.round_trip.push(middle(echo.round_trips(size.round_trips)));
            let no_op = Work::Echo(Vec::new());
            ours.rate.push(size.no_ops as f64 / pool.many(&no_op, size.no_ops).as_secs_f64());
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
            ours.sleeps.push(pool.many(&Work::Sleep(SLEEP), size.sleeps).as_secs_f64());
            bare.sleeps.push(SLEEP.as_secs_f64() * size.sleeps as f64 / 2.0);
            if let Some((gearman, pool)) = &other {
                theirs.sleeps.push(gearman.many(pool, "sleep10", size.sleeps).as_secs_f64());
            }
        }
    }
    for _ in 0..pairs {
        ours.cold.push(pool::cold().as_secs_f64());
        if let Some(gearman) = &reference {
            theirs.cold.push(gearman.cold().as_secs_f64());
        }
        ours.cold_run.extend(pool::cold_run().map(|span| span.as_secs_f64()));
    }

    row("round trip of a no-op", &ours.round_trip, ("TCP echo", &bare.round_trip), &MICROS, ["5", "2.5"]);
    row("", &ours.round_trip, ("Gearman", &theirs.round_trip), &MICROS, ["", ""]);
    row("no-ops per second, 2 workers", &ours.rate, ("TCP echo", &bare.rate), &RATE, ["0.13", "0.35"]);
    row("", &ours.rate, ("TCP echo in whole portions", &whole), &RATE, ["", ""]);
    row("", &ours.rate, ("Gearman", &theirs.rate), &RATE, ["3", "8"]);
    row("1,000 x 10 ms, 2 workers", &ours.sleeps, ("ideal", &bare.sleeps), &SECONDS, ["1.02", "1.003"]);
    row("", &ours.sleeps, ("Gearman", &theirs.sleeps), &SECONDS, ["", ""]);
    row("cold start to first result", &ours.cold, ("Gearman", &theirs.cold), &MILLIS, ["100 ms", "20 ms"]);
    row("rsp run with its own pool", &ours.cold_run, ("Gearman", &theirs.cold), &MILLIS, ["100 ms", "20 ms"]);
    println!("{table}");
    println!("{pairs} pairs; load average {}", load());
}

const SLEEP: Duration = Duration::from_millis(10);

/// The figures of one of the three, one per pair.
#[derive(Default)]
struct Runs {
    round_trip: Vec<f64>,
    rate: Vec<f64>,
    sleeps: Vec<f64>,
    cold: Vec<f64>,
    cold_run: Vec<f64>,
}

struct Unit {
    show: fn(f64) -> String,
    more_is_better: bool,
}

const MICROS: Unit = Unit { show: |seconds| format!("{:.1} µs", seconds * 1e6), more_is_better: false };
const MILLIS: Unit = Unit { show: |seconds| format!("{:.1} ms", seconds * 1e3), more_is_better: false };
const SECONDS: Unit = Unit { show: |seconds| format!("{seconds:.3} s"), more_is_better: false };
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
