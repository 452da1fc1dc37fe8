//! `rsp sim`: one simulated world as a story, or many as a verdict.

use crate::cli::{SimArgs, SimCommand};
use crate::exit::{Code, Failure};
use rserpool_sim::swarm::{self, Summary};
use std::io::{self, Write};

/// `rsp sim …`.
pub fn run(args: &SimArgs) -> Result<Code, Failure> {
    match (&args.swarm, args.seed) {
        (Some(SimCommand::Swarm { seeds, start }), _) => judge(*seeds, *start),
        (None, Some(seed)) => tell(seed),
        (None, None) => Err(Failure::new(Code::Usage, "give --seed N, or `swarm`; see rsp sim --help")),
    }
}

/// The story of a seed: the plan, every step, the end. The same text every time.
fn tell(seed: u64) -> Result<Code, Failure> {
    let story = swarm::story(seed);
    print(&story.text)?;
    Ok(if story.is_good { Code::Done } else { Code::Failed })
}

/// Many seeds on all processors, after those that once failed: a line for each failure, and one at the end that says
/// what happened.
fn judge(seeds: u64, start: u64) -> Result<Code, Failure> {
    if seeds == 0 || start.checked_add(seeds).is_none() {
        let why = "--seeds must be at least 1, and --start with --seeds below 2^64";
        return Err(Failure::new(Code::Usage, why));
    }
    // A panic in a world is a finding like any other, told with its seed in the summary.
    std::panic::set_hook(Box::new(|_| {}));
    let summary = swarm::swarm(seeds, start);
    let _ = std::panic::take_hook();
    print(&format!("{summary}\n"))?;
    verdict(&summary)
}

fn verdict(summary: &Summary) -> Result<Code, Failure> {
    match (summary.failures.is_empty(), summary.is_good()) {
        (_, true) => Ok(Code::Done),
        (false, _) => Ok(Code::Failed),
        (true, false) => {
            let missing = summary.missing().join(", ");
            let why = format!("never happened, so nothing is proved about it: {missing}");
            Err(Failure::new(Code::Failed, why))
        }
    }
}

/// Writes to standard output. Nobody reading to the end is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::CannotWrite, format!("cannot write to standard output: {cause}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_gaps_are_told_apart() {
        let mut summary = Summary { seeds: 10, ..Summary::default() };
        assert!(matches!(verdict(&summary), Ok(Code::Done)), "a small swarm may miss what is rare");
        summary.seeds = swarm::PROOF;
        let gaps = verdict(&summary).expect_err("a large one may not");
        assert!(gaps.to_string().contains("takeovers"), "{gaps}");
        summary.failures.push((7, "H1 broken".into()));
        assert!(matches!(verdict(&summary), Ok(Code::Failed)));
    }
}
