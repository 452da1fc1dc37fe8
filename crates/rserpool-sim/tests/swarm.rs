//! A swarm small enough for every test run, the seeds that once failed, and a canary that has to die.
//!
//! The large swarm is `rsp sim swarm --seeds 2000`.

use rserpool_sim::plan::Plan;
use rserpool_sim::run::run_plan;
use rserpool_sim::swarm::{known_seeds, swarm, swarm_of};

#[test]
fn a_small_swarm_keeps_every_promise() {
    let summary = swarm(120, 10_000);
    assert!(summary.failures.is_empty(), "{summary}");
    // Rare things need more seeds; the common ones must have happened even here.
    let counts = &summary.counts;
    let tasks = &counts.tasks;
    for count in [
        counts.takeovers,
        counts.contested,
        counts.heals,
        counts.failovers,
        counts.duplicates,
        counts.resumed,
        tasks.late,
        tasks.continued,
        tasks.backups,
    ] {
        assert!(count > 0, "{summary}");
    }
}

#[test]
fn seeds_that_once_failed_do_not_fail_again() {
    let seeds: Vec<u64> = known_seeds().iter().map(|(seed, _)| *seed).collect();
    let summary = swarm_of(&seeds);
    assert!(summary.failures.is_empty(), "{summary}");
    assert_eq!(summary.known + summary.seeds, seeds.len() as u64);
}

#[test]
fn the_canary_dies() {
    // In a network that disorders the messages of a link no promise can be kept. A swarm that does not notice is blind.
    let dies = |seed| {
        let mut plan = Plan::of(seed);
        plan.scope.net.disorder = true;
        plan.scope.trace_lines = 0;
        std::panic::catch_unwind(|| run_plan(&plan)).map_or(true, |outcome| outcome.violation.is_some())
    };
    let died = (0..48).filter(|seed| dies(*seed)).count();
    assert!(died >= 6, "only {died} of 48 worlds noticed");
}
