//! The comparison of ledger, journal and results: whether every task's result was accepted exactly once, is what it should
//! be, and came from an execution there was; and whether nothing was executed again after that.

use super::journal::{Acceptance, Journal};
use super::ledger::{self, Execution, Ledger};
use rserpool_compute::journal::ATTEMPTS_PER_LIFE;
use rserpool_compute::{Attempt, TaskId};
use serde_json::Value;
use std::collections::BTreeMap;

/// How far the clocks by which ledger and journal tell the time may be apart, in milliseconds: the ledger's is the wall's,
/// the journal counts from the start of its client, a moment after it looked there.
const CLOCKS_APART: u64 = 250;

/// What there is to compare.
pub struct Evidence<'a> {
    /// How many tasks there were.
    pub tasks: u64,
    /// What their results depend on.
    pub seed: u32,
    /// What they wrote.
    pub ledger: &'a Ledger,
    /// What the clients wrote.
    pub journal: &'a Journal,
    /// What `rsp job results` tells in the end.
    pub results: &'a [Told],
    /// What the clients printed, one after the other.
    pub printed: &'a [Told],
}

/// A result as it was told, in a line of `rsp.task/1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Of this task.
    pub task: u64,
    /// Its status is `ok`.
    pub success: bool,
    /// Its output.
    pub output: String,
}

impl Told {
    /// What this line tells; `None` if it is not whole.
    pub fn parse(line: &str) -> Option<Self> {
        let document: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            task: document["task"].as_u64()?,
            success: document["status"] == "ok",
            output: document["stdout"].as_str()?.to_owned(),
        })
    }
}

/// How much of everything there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Executions begun.
    pub executions: u64,
    /// Of those: of tasks that had been begun before.
    pub again: u64,
    /// Executions that came to their end without being accepted.
    pub in_vain: u64,
    /// Tasks with exactly one accepted result.
    pub accepted: u64,
    /// Results that a later life of the client took over from an execution of a former one.
    pub taken_over: u64,
    /// Results printed.
    pub printed: u64,
    /// Executions that were given up, with the workers that were lost.
    pub given_up: u64,
}

/// Tasks with the same trouble.
#[derive(Default)]
struct Troubles(BTreeMap<&'static str, (u64, String)>);

impl Troubles {
    fn note(&mut self, what: &'static str, example: impl FnOnce() -> String) {
        self.0.entry(what).or_insert_with(|| (0, example())).0 += 1;
    }

    fn told(self) -> Vec<String> {
        let told = |(what, (count, example))| format!("{count} {what} ({example}, for example)");
        self.0.into_iter().map(told).collect()
    }
}

impl Evidence<'_> {
    /// What there was, and what is wrong with it.
    pub fn compare(&self) -> (Figures, Vec<String>) {
        let mut troubles = Troubles::default();
        let mut complaints = Vec::new();
        if let Some(line) = &self.ledger.nonsense {
            complaints.push(format!("a line of the ledger makes no sense: '{line}'"));
        }
        if let Some((task, why)) = &self.journal.failed {
            complaints.push(format!("task {task} was given up: {why}"));
        }
        if !self.journal.state.is_finished() {
            complaints.push("the job is not over, by its journal".into());
        }
        self.told(self.results, true, &mut troubles);
        self.told(self.printed, false, &mut troubles);
        let accepted =
            (1..=self.tasks).filter(|task| self.accepted_once(TaskId(*task), &mut troubles)).count();
        for (attempt, execution) in &self.ledger.executions {
            self.executed(*attempt, execution, &mut troubles);
        }
        complaints.extend(troubles.told());
        (self.figures(accepted as u64), complaints)
    }

    fn figures(&self, accepted: u64) -> Figures {
        let executions = &self.ledger.executions;
        let mut begun: Vec<_> = executions.keys().map(|attempt| attempt.task).collect();
        begun.dedup();
        let all = || self.journal.accepted.values().flatten();
        let ended = executions.values().filter(|execution| execution.ended).count();
        Figures {
            executions: executions.len() as u64,
            again: (executions.len() - begun.len()) as u64,
            in_vain: ended.saturating_sub(all().count()) as u64,
            accepted,
            taken_over: all().filter(|accepted| life_of(accepted.attempt) < accepted.life).count() as u64,
            printed: self.printed.len() as u64,
            given_up: self.journal.lost.len() as u64,
        }
    }

    /// Each task's result is told (once, or at least once), and is what it should be.
    fn told(&self, told: &[Told], once: bool, troubles: &mut Troubles) {
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for one in told {
            *times.entry(one.task).or_default() += 1;
            if !one.success || one.output != ledger::result(one.task, self.seed) {
                troubles.note("results are not what they should be", || format!("{one:?}"));
            }
        }
        for task in 1..=self.tasks {
            match (times.remove(&task), once) {
                (None, true) => troubles.note("tasks have no result in the end", || format!("task {task}")),
                (None, false) => troubles.note("results were never printed", || format!("task {task}")),
                (Some(2..), true) => {
                    troubles.note("tasks have two results in the end", || format!("task {task}"))
                }
                _ => {}
            }
        }
        for task in times.into_keys() {
            troubles.note("results are of tasks there never were", || format!("task {task}"));
        }
    }

    /// The journal has one result of it, of an execution that the ledger has from its beginning to its end.
    fn accepted_once(&self, task: TaskId, troubles: &mut Troubles) -> bool {
        let accepted = match self.journal.accepted.get(&task).map(Vec::as_slice) {
            Some([one]) => one,
            None | Some([]) => {
                troubles.note("tasks were lost: no result is in the journal", || format!("task {task}"));
                return false;
            }
            Some(_) => {
                troubles.note("tasks were accepted twice", || format!("task {task}"));
                return false;
            }
        };
        let attempt = accepted.attempt;
        if !accepted.success {
            troubles.note("tasks did not succeed", || attempt.to_string());
        }
        match self.ledger.executions.get(&attempt) {
            Some(Execution { ended: true, worker, .. }) if *worker == accepted.worker => {}
            Some(Execution { ended: true, .. }) => {
                troubles.note("results came from another worker than executed them", || attempt.to_string());
            }
            Some(_) => {
                troubles
                    .note("results are of executions that did not come to their end", || attempt.to_string());
            }
            None => troubles.note("results are of executions there never were", || attempt.to_string()),
        }
        true
    }

    /// An execution is the only one of its number, of a task there is, and did not begin after its result was accepted.
    fn executed(&self, attempt: Attempt, execution: &Execution, troubles: &mut Troubles) {
        if execution.times > 1 {
            troubles.note("attempts were given out twice", || attempt.to_string());
        }
        if !(1..=self.tasks).contains(&attempt.task.0) {
            troubles.note("executions are of tasks there never were", || attempt.to_string());
        }
        let accepted = self.journal.accepted.get(&attempt.task).and_then(|all| all.first());
        let again = |accepted: &&Acceptance| {
            let in_later_life = life_of(attempt) > accepted.life;
            accepted.attempt != attempt && (in_later_life || execution.begun > accepted.time + CLOCKS_APART)
        };
        if let Some(accepted) = accepted.filter(again) {
            troubles.note("tasks were executed again after their results were accepted", || {
                format!("{attempt} after {}", accepted.attempt)
            });
        }
    }
}

/// In which life of the client an attempt was made, counted from 0: each has numbers of its own.
fn life_of(attempt: Attempt) -> u32 {
    attempt.number / ATTEMPTS_PER_LIFE
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::ElementId;
    use rserpool_compute::journal::{Entry, State};

    const SEED: u32 = 7;
    const W: ElementId = ElementId(9);

    fn attempt(task: u64, number: u32) -> Attempt {
        Attempt { task: TaskId(task), number }
    }

    struct Scene {
        ledger: Ledger,
        journal: Journal,
        results: Vec<Told>,
        printed: Vec<Told>,
    }

    /// Two tasks: the second one was begun, lost, and done by the next life of the client.
    fn good() -> Scene {
        let mut scene = Scene {
            ledger: Ledger::default(),
            journal: Journal::default(),
            results: vec![],
            printed: vec![],
        };
        let mut executed = |attempt, begun, ended| {
            let execution = Execution { worker: W, begun, times: 1, ended };
            scene.ledger.executions.insert(attempt, execution);
        };
        executed(attempt(1, 1), 1000, true);
        executed(attempt(2, 1), 1000, false);
        executed(attempt(2, 65_537), 3000, true);
        let accepted =
            |attempt, life, time| vec![Acceptance { attempt, life, time, worker: W, success: true }];
        scene.journal.accepted.insert(TaskId(1), accepted(attempt(1, 1), 0, 1100));
        scene.journal.accepted.insert(TaskId(2), accepted(attempt(2, 65_537), 1, 3100));
        let mut state = State::default();
        for task in [1, 2].map(TaskId) {
            state.apply(&Entry::Task { task, input: vec![] });
            state.over.insert(task);
        }
        state.apply(&Entry::InputEnd);
        scene.journal.state = state;
        let told = |task| Told { task, success: true, output: ledger::result(task, SEED) };
        scene.results = vec![told(1), told(2)];
        scene.printed = vec![told(1), told(1), told(2)];
        scene
    }

    fn compare(scene: &Scene) -> (Figures, Vec<String>) {
        let Scene { ledger, journal, results, printed } = scene;
        Evidence { tasks: 2, seed: SEED, ledger, journal, results, printed }.compare()
    }

    #[test]
    fn what_is_as_it_should_be_is_counted() {
        let (figures, complaints) = compare(&good());
        assert_eq!(complaints, Vec::<String>::new());
        let expected = Figures { executions: 3, again: 1, accepted: 2, printed: 3, ..Figures::default() };
        assert_eq!(figures, expected);
    }

    #[test]
    fn whatever_is_lost_doubled_or_different_is_complained_about() {
        type Spoil = fn(&mut Scene);
        fn first(scene: &mut Scene) -> &mut Acceptance {
            &mut scene.journal.accepted.get_mut(&TaskId(1)).expect("there")[0]
        }
        fn begun(scene: &mut Scene, attempt: Attempt, begun: u64) {
            let execution = Execution { worker: W, begun, times: 1, ended: true };
            scene.ledger.executions.insert(attempt, execution);
        }
        let spoilt: [(Spoil, &str); 18] = [
            (|s| drop(s.results.pop()), "1 tasks have no result in the end (task 2"),
            (|s| s.results.push(s.results[0].clone()), "two results in the end"),
            (|s| s.results[1].output.push('x'), "not what they should be"),
            (|s| s.results[1].success = false, "not what they should be"),
            (|s| drop(s.printed.pop()), "never printed (task 2"),
            (|s| s.printed[1].output.clear(), "not what they should be"),
            (|s| drop(s.journal.accepted.remove(&TaskId(2))), "tasks were lost"),
            (
                |s| s.journal.accepted.get_mut(&TaskId(2)).expect("there").extend_from_within(..),
                "accepted twice",
            ),
            (|s| first(s).success = false, "did not succeed"),
            (|s| first(s).worker = ElementId(1), "another worker"),
            (|s| s.journal.failed = Some((TaskId(1), "it died".into())), "task 1 was given up: it died"),
            (|s| s.journal.state.input_ended = false, "not over"),
            (|s| s.ledger.executions.retain(|of, _| *of != attempt(1, 1)), "executions there never were"),
            (
                |s| s.ledger.executions.get_mut(&attempt(1, 1)).expect("there").ended = false,
                "come to their end",
            ),
            (|s| s.ledger.executions.get_mut(&attempt(1, 1)).expect("there").times = 2, "given out twice"),
            (|s| begun(s, attempt(1, 2), 1351), "executed again after"),
            (|s| begun(s, attempt(1, 65_537), 1000), "1#65537 after 1#1"),
            (|s| s.ledger.nonsense = Some("x".into()), "makes no sense: 'x'"),
        ];
        for (spoil, complaint) in spoilt {
            let mut scene = good();
            spoil(&mut scene);
            let (_, complaints) = compare(&scene);
            assert!(
                complaints.len() == 1 && complaints[0].contains(complaint),
                "{complaint}: {complaints:?}"
            );
        }
        let mut overlap = good();
        begun(&mut overlap, attempt(1, 2), 1350);
        let (figures, complaints) = compare(&overlap);
        assert_eq!((figures.again, figures.in_vain, complaints), (2, 1, vec![]));
    }

    #[test]
    fn a_torn_line_tells_nothing() {
        let whole = r#"{"schema":"rsp.task/1","task":7,"status":"ok","stdout":"7 1\n"}"#;
        assert_eq!(Told::parse(whole), Some(Told { task: 7, success: true, output: "7 1\n".into() }));
        assert!((0..whole.len()).all(|cut| Told::parse(&whole[..cut]).is_none()));
    }
}
