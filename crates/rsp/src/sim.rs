//! `rsp sim`: one simulated world as a story, or many as a verdict.

use crate::cli::{SimArgs, SimCommand};
use crate::exit::{Code, Failure};
use rserpool_sim::check::Violation;
use rserpool_sim::count::Counts;
use rserpool_sim::plan::Plan;
use rserpool_sim::run;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that once failed: always run, before all others.
const ONCE_FAILED: &str = include_str!("../../rserpool-sim/seeds.txt");

/// One seed in so many is run twice, and both runs have to be the same, step by step (H18).
const TWICE: u64 = 8;

/// `rsp sim …`.
pub fn run(args: &SimArgs) -> Result<Code, Failure> {
    match (&args.swarm, args.seed) {
        (Some(SimCommand::Swarm { seeds, start }), _) => swarm(*seeds, *start),
        (None, Some(seed)) => replay(seed),
        (None, None) => Err(Failure::new(Code::Usage, "give --seed N, or `swarm`; see rsp sim --help")),
    }
}

/// Tells the story of a seed: the plan, every step, the end. The same text every time.
fn replay(seed: u64) -> Result<Code, Failure> {
    let outcome = run::run(seed, usize::MAX);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = write!(out, "{}{}", Plan::of(seed), outcome.story)
        .and_then(|()| {
            writeln!(
                out,
                "{} steps in {:?}, trace {:016x}",
                outcome.counts.steps, outcome.lasted, outcome.hash
            )
        })
        .and_then(|()| match &outcome.violation {
            Some(violation) => writeln!(out, "BROKEN: {violation}"),
            None => writeln!(out, "every promise was kept"),
        })
        .and_then(|()| out.flush());
    match written {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::CannotWrite, format!("cannot write to standard output: {cause}")))
        }
        _ => Ok(if outcome.violation.is_some() { Code::Failed } else { Code::Done }),
    }
}

/// What a swarm found.
#[derive(Default)]
struct Found {
    counts: Counts,
    tried: BTreeMap<&'static str, u64>,
    failed: BTreeMap<u64, String>,
}

/// Runs many seeds on all processors; one line per failure, and one at the end that says what happened.
fn swarm(seeds: u64, start: u64) -> Result<Code, Failure> {
    let Some(end) = start.checked_add(seeds).filter(|_| seeds > 0) else {
        return Err(Failure::new(
            Code::Usage,
            "--seeds must be at least 1, and --start with --seeds below 2^64",
        ));
    };
    let mut all: Vec<u64> = once_failed().map(|(seed, _)| seed).collect();
    let regressions = all.len();
    all.extend(start..end);
    let next = AtomicU64::new(0);
    let found = Mutex::new(Found::default());
    // A panic in a world is a finding like any other, told with its seed below.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(|| {
                while let Some(&seed) = all.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let outcome = catch_unwind(|| try_seed(seed));
                    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                    match outcome {
                        Ok((outcome, same)) => found.note(seed, &outcome, same),
                        Err(panic) => drop(found.failed.insert(seed, format!("panic: {}", text(&*panic)))),
                    }
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (seed, why) in &found.failed {
        println!("seed {seed}: {why} (rsp sim --seed {seed})");
    }
    let happened = found.counts.table();
    let never: Vec<&str> =
        happened.iter().filter(|(_, count)| *count == 0).map(|(name, _)| name.as_str()).collect();
    let idle: Vec<&str> = found.tried.iter().filter(|(_, count)| **count == 0).map(|(id, _)| *id).collect();
    let list: Vec<String> = happened.iter().map(|(name, count)| format!("{count} {name}")).collect();
    println!(
        "{seeds} seeds from {start} and {regressions} that once failed, {} steps: {}; {} failed",
        found.counts.steps,
        list.join(", "),
        found.failed.len()
    );
    if !found.failed.is_empty() {
        return Ok(Code::Failed);
    }
    // A small swarm may miss what is rare; one that is to prove something may not.
    if seeds >= PROOF && !(never.is_empty() && idle.is_empty()) {
        let missed = [never, idle].concat().join(", ");
        return Err(Failure::new(
            Code::Failed,
            format!("never happened, so nothing is proved about it: {missed}"),
        ));
    }
    Ok(Code::Done)
}

/// The smallest swarm in which everything has to happen.
const PROOF: u64 = 1_000;

/// Runs a seed; true if a second run, where there is one, was the same.
fn try_seed(seed: u64) -> (run::Outcome, bool) {
    let outcome = run::run(seed, 0);
    let same = !seed.is_multiple_of(TWICE) || run::run(seed, 0).hash == outcome.hash;
    (outcome, same)
}

impl Found {
    fn note(&mut self, seed: u64, outcome: &run::Outcome, same: bool) {
        self.counts.add(&outcome.counts);
        for (id, count) in &outcome.tried {
            *self.tried.entry(id).or_default() += count;
        }
        if let Some(violation) = &outcome.violation {
            self.failed.insert(seed, Violation::to_string(violation));
        } else if !same {
            self.failed.insert(seed, "H18: a second run of the seed was another one".into());
        }
    }
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").lines().next().unwrap_or_default().to_owned()
}

/// The seeds of the list, each with the reason it is there.
fn once_failed() -> impl Iterator<Item = (u64, &'static str)> {
    let lines = ONCE_FAILED.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.filter_map(|line| {
        let (seed, why) = line.split_once(char::is_whitespace)?;
        Some((seed.parse().ok()?, why.trim()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::AssertUnwindSafe;

    #[test]
    fn every_line_of_the_list_has_a_seed_and_a_reason() {
        let lines =
            ONCE_FAILED.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).count();
        assert_eq!(once_failed().filter(|(_, why)| !why.is_empty()).count(), lines);
    }

    #[test]
    fn a_seed_tells_the_same_story_twice() {
        let (one, other) = (run::run(7, usize::MAX), run::run(7, usize::MAX));
        assert_eq!(one.story, other.story);
        assert!(one.story.lines().count() > 100, "{}", one.story);
    }

    #[test]
    fn a_panic_is_told_by_its_first_line() {
        let panic = catch_unwind(AssertUnwindSafe(|| panic!("first\nsecond"))).expect_err("it panics");
        assert_eq!(text(&*panic), "first");
    }
}
