//! The end: everything is compared, and an account is given of what was done and what became of it.

use super::Chaos;
use super::cast::NAME;
use super::verdict::{Evidence, Figures, Told};
use crate::exit::{Code, Failure};
use crate::run::LOST;
use rserpool::ElementId;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How long the registrars may take in the end to know the living workers, and nobody else.
const CONVERGENCE_MAX: Duration = Duration::from_secs(30);

impl Chaos<'_> {
    /// Compares everything and prints the account.
    pub fn conclude(&mut self, ended: ExitStatus) -> Result<Code, Failure> {
        let span = self.begun.elapsed();
        let mut complaints = if self.args.calm { Vec::new() } else { self.story.complaints() };
        if !ended.success() {
            let said = std::fs::read_to_string(self.cast.said(self.cast.lives)).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default();
            complaints.push(format!("the client ended with {ended}: {last}"));
        }
        self.read_ledger()?;
        self.journal.again();
        self.journal.read()?;
        // Whoever is stopped still may be known or not: then there is nothing to agree on.
        let agreement = if complaints.is_empty() { Some(self.agree()?) } else { None };
        if let Some(Err(why)) = &agreement {
            complaints.push(why.clone());
        }
        let printed: Vec<Vec<Told>> = (1..=self.cast.lives).map(|life| self.printed(life)).collect();
        let printed = printed.concat();
        let results = self.results()?;
        let evidence = Evidence {
            tasks: self.args.tasks,
            seed: self.seed,
            ledger: &self.ledger,
            journal: &self.journal,
            results: &results,
            printed: &printed,
        };
        let (figures, more) = evidence.compare();
        complaints.extend(more);
        self.account(&figures, span);
        if let Some(Ok(known)) = agreement {
            println!("both registrars know the {known} living workers, and nobody else");
        }
        if complaints.is_empty() {
            println!("every result is what it should be, and was accepted exactly once");
            return Ok(Code::Done);
        }
        let message = format!("chaos did not show what it should: {}", complaints.join("; "));
        Err(Failure::new(Code::Failed, message))
    }

    fn account(&self, figures: &Figures, span: Duration) {
        for done in &self.done {
            let then = done
                .attempt
                .and_then(|attempt| self.journal.accepted.get(&attempt.task))
                .and_then(|all| all.first());
            let then = then.map_or(String::new(), |accepted| {
                format!("; accepted: attempt {} on {}", accepted.attempt.number, accepted.worker)
            });
            println!("{} {}{then}", done.moment, done.what);
        }
        if !self.done.is_empty() {
            println!();
        }
        let lives = self.cast.lives;
        let late = self.story.hang.is_some_and(|hang| hang.late);
        let said = (1..=lives).map(|life| std::fs::read_to_string(self.cast.said(life)).unwrap_or_default());
        let failovers: usize = said.map(|said| said.matches(LOST).count()).sum();
        let failovers = failovers as u64;
        let figure = |what: &'static str, count: u64, more: String| (what, count.to_string(), more);
        let rows = [
            figure("seed", self.seed.into(), String::new()),
            figure("tasks", self.args.tasks, String::new()),
            figure("executions begun", figures.executions, "by the ledger".into()),
            figure("of those again", figures.again, "because of faults".into()),
            figure("results accepted", figures.accepted, "exactly once, by the journal".into()),
            figure(
                "results printed",
                figures.printed,
                format!("at least once each, in {lives} lives of the client"),
            ),
            figure(
                "results taken over",
                figures.taken_over,
                "from executions that a former client began".into(),
            ),
            figure(
                "kills that hit",
                self.story.hits().into(),
                format!("a task, of {} workers killed", self.story.kills.len()),
            ),
            figure("fail-overs", failovers, format!("with {} executions given up", figures.given_up)),
            figure(
                "ended in vain",
                figures.in_vain,
                format!(
                    "results that nobody took, or too late: that of the stopped worker {}",
                    if late { "included" } else { "not" }
                ),
            ),
            ("time", format!("{:.1}", span.as_secs_f64()), "s".into()),
        ];
        for (what, count, more) in rows {
            println!("{}", format!("{what:<20} {count:>10}  {more}").trim_end());
        }
    }

    /// Waits until both registrars know the living workers and nobody else; how many those are.
    fn agree(&self) -> Result<Result<usize, String>, Failure> {
        let expected: Vec<ElementId> = self.cast.workers.keys().copied().collect();
        let since = Instant::now();
        for place in 0..2 {
            loop {
                let known = self.cast.known_at(place)?.map(|known| known.into_keys().collect::<Vec<_>>());
                if known.as_ref() == Some(&expected) {
                    break;
                }
                if since.elapsed() > CONVERGENCE_MAX {
                    let known = known.map_or("nothing".into(), |known| format!("{known:?}"));
                    return Ok(Err(format!("a registrar knows {known} instead of {expected:?}")));
                }
                self.wait();
            }
        }
        Ok(Ok(expected.len()))
    }

    /// What the client printed in this life. A line that was torn when it was killed does not count.
    fn printed(&self, life: u32) -> Vec<Told> {
        let octets = std::fs::read(self.cast.printed(life)).unwrap_or_default();
        String::from_utf8_lossy(&octets).lines().filter_map(Told::parse).collect()
    }

    /// The results as a user asks for them in the end.
    fn results(&self) -> Result<Vec<Told>, Failure> {
        let cannot =
            |why: String| Failure::new(Code::Failed, format!("cannot read the results of the job: {why}"));
        let said = self.cast.rsp().and_then(|mut rsp| rsp.args(["job", "results", NAME, "--json"]).output());
        let said = said.map_err(|cause| cannot(cause.to_string()))?;
        if !said.status.success() {
            return Err(cannot(String::from_utf8_lossy(&said.stderr).trim_end().to_owned()));
        }
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let told =
            text.lines().map(|line| Told::parse(line).ok_or_else(|| cannot(format!("a line is '{line}'"))));
        told.collect()
    }
}
