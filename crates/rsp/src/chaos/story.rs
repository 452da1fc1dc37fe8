//! What is to happen, and what did: by progress, in thousandths of the tasks accepted.
//!
//! ```text
//!   30 … 970   a worker that is in the middle of a task is killed and replaced; so often as is planned
//!   200        the client is killed while tasks run, and resumed
//!   350        a worker is stopped in the middle of a task; continued when the client has noticed and 30 more are accepted
//!   550        the registrar that is home to most workers is killed, after the late result of that worker was discarded;
//!              started again when 50 more are accepted
//!   750        the client is killed once more
//! ```

use rserpool::{ElementId, RegistrarId};
use rserpool_compute::Attempt;

/// A worker that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill {
    /// Who.
    pub worker: ElementId,
    /// What it was executing.
    pub attempt: Attempt,
    /// It was in the middle of it: when it was dead, there was no end in the ledger.
    pub hit: bool,
}

/// The worker that was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hang {
    /// Who.
    pub worker: ElementId,
    /// What it was executing.
    pub attempt: Attempt,
    /// When.
    pub at: u64,
    /// The client gave up what it had.
    pub noticed: bool,
    /// It was continued.
    pub continued: bool,
    /// Its result came too late and was discarded.
    pub late: bool,
}

/// The registrar that was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacancy {
    /// Who.
    pub registrar: RegistrarId,
    /// Where: its place among the two.
    pub place: usize,
    /// To how many living workers it was home.
    pub homes: usize,
    /// When.
    pub at: u64,
    /// It was started again.
    pub restarted: bool,
}

/// The story.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// How many workers are to die in the middle of a task.
    pub planned: u32,
    /// Workers killed.
    pub kills: Vec<Kill>,
    /// For each time the client was killed: how many executions were under way.
    pub clients: Vec<usize>,
    /// The worker that hung.
    pub hang: Option<Hang>,
    /// The registrar that was away.
    pub vacancy: Option<Vacancy>,
}

/// What is to be done besides killing workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing at this point.
    Wait,
    /// Kill and resume the client.
    KillClient,
    /// Stop a worker.
    Stop,
    /// Continue it.
    Continue,
    /// Kill a registrar.
    KillRegistrar,
    /// Start it again.
    RestartRegistrar,
}

impl Story {
    /// How many kills hit.
    pub fn hits(&self) -> u32 {
        self.kills.iter().filter(|kill| kill.hit).count() as u32
    }

    /// Whether a worker is to be killed now.
    pub fn kill_is_due(&self, permille: u64) -> bool {
        let hits = self.hits();
        hits < self.planned && permille >= 30 + u64::from(hits) * 940 / u64::from(self.planned)
    }

    /// True if this execution may be hit: no other one of its task was, so that no task is given up for killing its
    /// workers.
    pub fn may_hit(&self, attempt: Attempt, worker: ElementId) -> bool {
        let hung = |hang: &Hang| hang.attempt.task == attempt.task || (hang.worker == worker && !hang.late);
        !self.kills.iter().any(|kill| kill.attempt.task == attempt.task)
            && !self.hang.as_ref().is_some_and(hung)
    }

    /// What else is due.
    pub fn next(&self, permille: u64) -> Next {
        match (self.clients.len(), &self.hang, &self.vacancy) {
            (0, ..) if permille >= 200 => Next::KillClient,
            (1.., None, _) if permille >= 350 => Next::Stop,
            (_, Some(hang), _) if !hang.continued && hang.noticed && permille >= hang.at + 30 => {
                Next::Continue
            }
            (_, Some(Hang { late: true, .. }), None) if permille >= 550 => Next::KillRegistrar,
            (_, _, Some(vacancy)) if !vacancy.restarted && permille >= vacancy.at + 50 => {
                Next::RestartRegistrar
            }
            (1, _, Some(Vacancy { restarted: true, .. })) if permille >= 750 => Next::KillClient,
            _ => Next::Wait,
        }
    }

    /// What did not happen, or hit nothing.
    pub fn complaints(&self) -> Vec<String> {
        let mut all = Vec::new();
        let (hits, planned) = (self.hits(), self.planned);
        if hits < planned {
            all.push(format!("{hits} instead of {planned} workers were killed in the middle of a task"));
        }
        match self.clients.len() {
            0 => all.push("the client was not killed".into()),
            1 => all.push("the client was killed once instead of twice".into()),
            _ => {}
        }
        if self.clients.contains(&0) {
            all.push("the client was killed when nothing ran".into());
        }
        match self.hang {
            None => all.push("no worker was stopped".into()),
            Some(Hang { noticed: false, worker, .. }) => {
                all.push(format!("the client did not notice that worker {worker} was stopped"));
            }
            Some(Hang { continued: false, worker, .. }) => {
                all.push(format!("worker {worker} was stopped and not continued"));
            }
            Some(Hang { late: false, worker, .. }) => {
                all.push(format!("no late result of worker {worker} was discarded after it was continued"));
            }
            Some(_) => {}
        }
        match self.vacancy {
            None => all.push("no registrar was killed".into()),
            Some(Vacancy { homes: 0, registrar, .. }) => {
                all.push(format!("registrar {registrar} was home to no worker when it was killed"));
            }
            Some(Vacancy { restarted: false, registrar, .. }) => {
                all.push(format!("registrar {registrar} was killed and not started again"));
            }
            Some(_) => {}
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool_compute::TaskId;

    const A: ElementId = ElementId(1);
    const B: ElementId = ElementId(2);

    fn attempt(task: u64) -> Attempt {
        Attempt { task: TaskId(task), number: 1 }
    }

    fn complete() -> Story {
        Story {
            planned: 1,
            kills: vec![
                Kill { worker: A, attempt: attempt(1), hit: false },
                Kill { worker: A, attempt: attempt(2), hit: true },
            ],
            clients: vec![1, 4],
            hang: Some(Hang {
                worker: B,
                attempt: attempt(3),
                at: 350,
                noticed: true,
                continued: true,
                late: true,
            }),
            vacancy: Some(Vacancy {
                registrar: RegistrarId(1),
                place: 0,
                homes: 1,
                at: 550,
                restarted: true,
            }),
        }
    }

    #[test]
    fn each_step_waits_for_the_one_before() {
        let whole = complete();
        let mut story = Story { planned: 2, ..Story::default() };
        assert_eq!((story.next(199), story.next(1000)), (Next::Wait, Next::KillClient));
        story.clients.push(1);
        assert_eq!((story.next(349), story.next(1000)), (Next::Wait, Next::Stop));
        story.hang = whole.hang.map(|hang| Hang { noticed: false, continued: false, late: false, ..hang });
        assert_eq!(story.next(1000), Next::Wait, "nobody noticed");
        story.hang.as_mut().expect("set").noticed = true;
        assert_eq!((story.next(379), story.next(380)), (Next::Wait, Next::Continue));
        story.hang.as_mut().expect("set").continued = true;
        assert_eq!(story.next(1000), Next::Wait, "its late result did not come");
        story.hang = whole.hang;
        assert_eq!((story.next(549), story.next(550)), (Next::Wait, Next::KillRegistrar));
        story.vacancy = whole.vacancy.map(|vacancy| Vacancy { restarted: false, ..vacancy });
        assert_eq!((story.next(599), story.next(600)), (Next::Wait, Next::RestartRegistrar));
        story.vacancy = whole.vacancy;
        assert_eq!((story.next(749), story.next(750)), (Next::Wait, Next::KillClient));
        story.clients.push(1);
        assert_eq!(story.next(1000), Next::Wait);
    }

    #[test]
    fn workers_are_killed_all_along_and_no_task_is_hit_twice() {
        let mut story = Story { planned: 2, ..Story::default() };
        assert_eq!((story.kill_is_due(29), story.kill_is_due(30)), (false, true));
        story.kills.push(Kill { worker: A, attempt: attempt(1), hit: false });
        assert!(story.kill_is_due(30), "that one hit nothing");
        story.kills.push(Kill { worker: A, attempt: attempt(2), hit: true });
        assert_eq!((story.kill_is_due(499), story.kill_is_due(500)), (false, true));
        assert!(!story.may_hit(attempt(2), B) && story.may_hit(attempt(3), B));
        story.hang = complete().hang.map(|hang| Hang { late: false, ..hang });
        assert!(
            !story.may_hit(attempt(4), B) && story.may_hit(attempt(4), A) && !story.may_hit(attempt(3), A)
        );
        story.kills.push(Kill { worker: A, attempt: attempt(5), hit: true });
        assert!(!story.kill_is_due(1000));
    }

    #[test]
    fn what_did_not_happen_is_complained_about() {
        assert_eq!(complete().complaints(), Vec::<String>::new());
        type Spoil = fn(&mut Story);
        let spoilt: [(Spoil, &str); 11] = [
            (|s| s.planned = 2, "1 instead of 2 workers"),
            (|s| s.clients.clear(), "the client was not killed"),
            (|s| s.clients.truncate(1), "once instead of twice"),
            (|s| s.clients[1] = 0, "when nothing ran"),
            (|s| s.hang = None, "no worker was stopped"),
            (|s| s.hang.as_mut().expect("there").noticed = false, "did not notice"),
            (|s| s.hang.as_mut().expect("there").continued = false, "not continued"),
            (|s| s.hang.as_mut().expect("there").late = false, "no late result"),
            (|s| s.vacancy = None, "no registrar was killed"),
            (|s| s.vacancy.as_mut().expect("there").homes = 0, "home to no worker"),
            (|s| s.vacancy.as_mut().expect("there").restarted = false, "not started again"),
        ];
        for (spoil, complaint) in spoilt {
            let mut story = complete();
            spoil(&mut story);
            let complaints = story.complaints();
            assert!(complaints.len() == 1 && complaints[0].contains(complaint), "{complaints:?}");
        }
    }
}
