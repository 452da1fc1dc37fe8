//! Many seeds, one verdict.
//!
//! Worlds are single-threaded and know nothing of one another; only here seeds are dealt out to threads. The summary
//! does not depend on how: outcomes are put in the order of their seeds.

use crate::count::Counts;
use crate::plan::Plan;
use crate::run::{Outcome, run};
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Every so many seeds one is run twice: the two runs must be the same (H18).
const TWICE_EVERY: u64 = 16;

/// The smallest swarm in which everything has to happen: a smaller one may miss what is rare.
pub const PROOF: u64 = 1_000;

/// What became of many seeds.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many were run, besides those that once failed.
    pub seeds: u64,
    /// How many of those that once failed.
    pub known: u64,
    /// The first of them.
    pub start: u64,
    /// What happened how often, in all of them together.
    pub counts: Counts,
    /// In how many steps each check had something to look at, by id.
    pub tried: BTreeMap<&'static str, u64>,
    /// Simulated time.
    pub simulated: Duration,
    /// The seeds that failed, in order, each with the reason.
    pub failures: Vec<(u64, String)>,
}

impl Summary {
    /// No seed failed, and, in a swarm that is to prove something, everything that has to be tried was.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && (self.seeds < PROOF || self.missing().is_empty())
    }

    /// What never happened, and the promises that were never tried: so they prove nothing.
    pub fn missing(&self) -> Vec<String> {
        let counts = self.counts.table().into_iter().filter(|(_, count)| *count == 0).map(|(name, _)| name);
        let tried =
            self.tried.iter().filter(|(_, count)| **count == 0).map(|(id, _)| format!("tests of {id}"));
        counts.chain(tried).collect()
    }

    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.counts.add(&outcome.counts);
        self.simulated += outcome.lasted;
        for (id, tried) in &outcome.tried {
            *self.tried.entry(id).or_default() += tried;
        }
        if let Some(violation) = &outcome.violation {
            self.failures.push((outcome.seed, violation.to_string()));
        }
    }
}

impl fmt::Display for Summary {
    /// The failures, one a line; how often each promise was tried; and everything else in one line at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (seed, reason) in &self.failures {
            writeln!(f, "seed {seed} failed: {reason}")?;
        }
        let tried: Vec<String> = self.tried.iter().map(|(id, count)| format!("{id} {count}")).collect();
        writeln!(f, "promises tried: {}", tried.join(", "))?;
        if !self.missing().is_empty() {
            writeln!(f, "nothing of: {}", self.missing().join(", "))?;
        }
        let counts: Vec<String> =
            self.counts.table().into_iter().map(|(name, count)| format!("{count} {name}")).collect();
        write!(
            f,
            "{} seeds from {} and {} that once failed, {} failed, {} s simulated, {} results accepted: {}",
            self.seeds,
            self.start,
            self.known,
            self.failures.len(),
            self.simulated.as_secs(),
            self.counts.accepted,
            counts.join(", ")
        )
    }
}

/// Runs the seeds that once failed, and these many from `start` on, on all processors.
pub fn swarm(seeds: u64, start: u64) -> Summary {
    let once: Vec<u64> = known_seeds().iter().map(|(seed, _)| *seed).collect();
    let all: Vec<u64> = once.iter().copied().chain(start..start.saturating_add(seeds)).collect();
    Summary { start, known: once.len() as u64, seeds, ..swarm_of(&all) }
}

/// Runs these seeds.
pub fn swarm_of(seeds: &[u64]) -> Summary {
    let next = AtomicU64::new(0);
    let outcomes: Mutex<BTreeMap<usize, Result<Outcome, String>>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(seeds.len().max(1));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(&seed) = seeds.get(place) else { return };
                    let outcome = run_safely(seed, (place as u64).is_multiple_of(TWICE_EVERY));
                    outcomes.lock().expect("nobody panics while holding it").insert(place, outcome);
                }
            });
        }
    });
    let mut summary = Summary { start: seeds.first().copied().unwrap_or(0), ..Summary::default() };
    for (place, outcome) in outcomes.into_inner().expect("all threads have ended") {
        match outcome {
            Ok(outcome) => summary.add(&outcome),
            Err(reason) => {
                summary.seeds += 1;
                summary.failures.push((seeds[place], reason));
            }
        }
    }
    summary
}

/// A run whose panic is a failure of its seed, not of the swarm. `twice`: it must equal a second run.
fn run_safely(seed: u64, twice: bool) -> Result<Outcome, String> {
    let once = || {
        catch_unwind(AssertUnwindSafe(|| run(seed, 0))).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            format!("panicked: {}", text.lines().next().unwrap_or_default())
        })
    };
    let outcome = once()?;
    if twice && once()?.hash != outcome.hash {
        return Err("H18 broken: two runs of the seed differ (\"equal seeds give equal runs\")".into());
    }
    Ok(outcome)
}

/// A run to read.
pub struct Story {
    /// Its plan, its trace, and how it ended: always the same text.
    pub text: String,
    /// Every promise was kept.
    pub is_good: bool,
}

/// The story of a seed.
pub fn story(seed: u64) -> Story {
    let Outcome { counts, lasted, hash, violation, story, .. } = run(seed, usize::MAX);
    let end = violation.as_ref().map_or_else(|| "every promise was kept".into(), ToString::to_string);
    let text = format!(
        "{}\n{story}\nafter {lasted:?} and {} steps: {end}\nhash {hash:016x}\n",
        Plan::of(seed),
        counts.steps
    );
    Story { text, is_good: violation.is_none() }
}

/// The seeds that once failed, from the text of their list: a line each, the seed first, then the reason. Lines that
/// begin with `#` say more.
pub fn known_seeds() -> Vec<(u64, &'static str)> {
    let lines = include_str!("../seeds.txt").lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (seed, reason) = line.split_once(' ').expect("a seed, a space, a reason");
            (seed.parse().expect("a seed is a number"), reason.trim())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_seed_has_a_reason_and_is_listed_once() {
        let listed = known_seeds();
        let mut seeds: Vec<u64> = listed.iter().map(|(seed, _)| *seed).collect();
        assert!(listed.iter().all(|(_, reason)| reason.len() > 10));
        let all = seeds.len();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), all);
    }

    #[test]
    fn a_summary_does_not_depend_on_threads() {
        let summary = swarm(6, 100).to_string();
        assert_eq!(summary, swarm(6, 100).to_string());
        let known = known_seeds().len();
        let line = format!("6 seeds from 100 and {known} that once failed, 0 failed");
        assert!(summary.lines().last().is_some_and(|last| last.starts_with(&line)), "{summary}");
    }

    #[test]
    fn what_never_happened_is_missing() {
        let tried = BTreeMap::from([("H1", 1), ("H2", 0)]);
        let summary = Summary { seeds: PROOF, tried, ..Summary::default() };
        assert!(!summary.is_good());
        assert!(Summary { seeds: PROOF - 1, ..summary.clone() }.is_good());
        let missing = summary.missing();
        assert!(missing.contains(&"takeovers".to_owned()) && missing.contains(&"tests of H2".to_owned()));
        assert!(!missing.contains(&"tests of H1".to_owned()));
    }

    #[test]
    fn a_story_is_the_same_text_every_time() {
        let text = story(3).text;
        assert_eq!(text, story(3).text);
        assert!(text.starts_with("seed 3: ") && text.contains("hash "), "{text}");
    }
}
