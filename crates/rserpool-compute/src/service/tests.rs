//! The worker's promises, one sentence each.

use super::*;
use crate::cookie::Progress;
use crate::fractal::{Rect, Scene};
use crate::protocol::WINDOW;
use crate::work::Command;
use rserpool::element::Reply;
use std::collections::VecDeque;

const JOB: JobId = JobId([7; 16]);
const S1: SessionId = SessionId(1);
const S2: SessionId = SessionId(2);

fn attempt(task: u64, number: u32) -> Attempt {
    Attempt { task: TaskId(task), number }
}

fn task(at: Attempt, work: &Work) -> Frame {
    Frame::Task { attempt: at, continues: 0, work: work.emit().expect("legal") }
}

fn echo(task_id: u64, text: &str) -> Frame {
    task(attempt(task_id, 1), &Work::Echo(text.into()))
}

fn spin() -> Work {
    Work::Spin(Duration::from_secs(1))
}

fn result(at: Attempt, status: Status, octets: u64) -> Frame {
    Frame::Result { attempt: at, status, octets }
}

fn done(at: Attempt, octets: u64) -> Frame {
    result(at, Status::Exited(0), octets)
}

fn output(at: Attempt, offset: u64, octets: &[u8]) -> Frame {
    Frame::Output { attempt: at, stream: Stream::OUTPUT, offset, octets: octets.to_vec() }
}

fn started(at: Attempt) -> Frame {
    Frame::Started { attempt: at, from: 0 }
}

fn tile() -> Work {
    Work::Tile { scene: Scene::default(), rect: Rect { left: 0, top: 0, width: 10, height: 4 } }
}

/// A service and everything it said that no test line has named yet.
struct Worker {
    service: TaskService,
    now: Time,
    said: VecDeque<Reply<Wish>>,
}

impl Worker {
    fn with(config: Config) -> Self {
        Self { service: TaskService::new(config), now: Time::ZERO, said: VecDeque::new() }
    }

    fn slots(slots: u32) -> Self {
        Self::with(Config { slots, queue: 4, name: "w".into(), ..Config::default() })
    }

    /// With one session that said Hello and was welcomed.
    fn welcoming(slots: u32) -> Self {
        let mut worker = Self::slots(slots);
        worker.greets(S1, slots);
        worker
    }

    fn call(&mut self, call: impl FnOnce(&mut TaskService, Time, &mut Replies<Wish>)) {
        let mut replies = Replies::default();
        call(&mut self.service, self.now, &mut replies);
        self.said.extend(replies.take());
        self.service.check();
    }

    fn opens(&mut self, session: SessionId) {
        self.call(|service, now, replies| service.opened(now, session, replies));
    }

    fn greets(&mut self, session: SessionId, slots: u32) {
        self.opens(session);
        self.hears(session, &[Frame::Hello { version: 1, job: JOB }]);
        self.says(session, &[Frame::Welcome { version: 1, slots, credit: slots + 4, name: "w".into() }]);
    }

    fn hears(&mut self, session: SessionId, frames: &[Frame]) {
        let mut message = Vec::new();
        frames.iter().for_each(|frame| frame.emit(&mut message));
        self.hears_octets(session, &message);
    }

    fn hears_octets(&mut self, session: SessionId, message: &[u8]) {
        self.call(|service, now, replies| service.message(now, session, PPID, message, replies));
    }

    fn is_told(&mut self, fact: Fact) {
        self.call(|service, now, replies| service.informed(now, fact, replies));
    }

    fn loses(&mut self, session: SessionId) {
        self.call(|service, now, replies| service.closed(now, session, replies));
    }

    fn is_shown(&mut self, session: SessionId, cookie: &[u8]) {
        self.call(|service, now, replies| service.resume(now, session, cookie, replies));
    }

    fn sleeps_until(&mut self, millis: u64) {
        self.now = Time::from_millis(millis);
        self.call(|service, now, replies| service.wake(now, replies));
    }

    #[track_caller]
    fn says(&mut self, session: SessionId, frames: &[Frame]) {
        match self.said.pop_front() {
            Some(Reply::Send(to, PPID, message)) => {
                let said: Vec<_> = Frames::of(&message).map(|frame| frame.expect("our own")).collect();
                assert_eq!((to, said.as_slice()), (session, frames));
            }
            other => panic!("{frames:?} expected, {other:?} said"),
        }
    }

    #[track_caller]
    fn wishes(&mut self, wish: Wish) {
        assert_eq!(self.said.pop_front(), Some(Reply::Wish(wish)));
    }

    #[track_caller]
    fn starts(&mut self, run: u64, at: Attempt, work: Work) {
        let (run, job) = (RunId(run), JOB);
        self.wishes(Wish::Start { run, job, attempt: at, work, checkpoint: None, window: WINDOW });
    }

    #[track_caller]
    fn ends(&mut self, session: SessionId) {
        assert_eq!(self.said.pop_front(), Some(Reply::Close(session)));
    }

    #[track_caller]
    fn gives_a_cookie(&mut self, session: SessionId) -> Vec<u8> {
        match self.said.pop_front() {
            Some(Reply::Cookie(to, cookie)) if to == session => cookie,
            other => panic!("a cookie expected, {other:?} said"),
        }
    }

    #[track_caller]
    fn says_nothing_more(&mut self) {
        assert_eq!(self.said, []);
    }
}

#[test]
fn small_tasks_come_and_go_in_one_message() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[echo(1, "one"), echo(2, ""), echo(3, "three")]);
    let at = |task| attempt(task, 1);
    w.says(
        S1,
        &[
            output(at(1), 0, b"one"),
            done(at(1), 3),
            done(at(2), 0),
            output(at(3), 0, b"three"),
            done(at(3), 5),
        ],
    );
    w.hears(
        S1,
        &[Frame::Ack { attempt: at(1) }, Frame::Ack { attempt: at(2) }, Frame::Ack { attempt: at(3) }],
    );
    w.says_nothing_more();
    assert_eq!((w.service.running(), w.service.load()), (0, Load::IDLE));
    assert_eq!(w.service.counters(), Counters { started: 3, ended: 3, ..Counters::default() });
}

#[test]
fn never_more_run_than_there_are_slots() {
    let mut w = Worker::welcoming(2);
    let tasks: Vec<_> = (1..=4).map(|id| task(attempt(id, 1), &spin())).collect();
    w.hears(S1, &tasks);
    w.starts(1, attempt(1, 1), spin());
    w.starts(2, attempt(2, 1), spin());
    w.says(S1, &[started(attempt(1, 1)), started(attempt(2, 1))]);
    w.says_nothing_more();
    assert_eq!((w.service.running(), w.service.waiting()), (2, 2));
    assert_eq!(w.service.load(), Load::FULL);
    w.is_told(Fact::Ended { run: RunId(2), status: Status::Exited(0) });
    w.starts(3, attempt(3, 1), spin());
    w.says(S1, &[done(attempt(2, 1), 0), started(attempt(3, 1))]);
    w.says_nothing_more();
}

#[test]
fn sessions_take_turns_at_a_slot() {
    let mut w = Worker::welcoming(1);
    w.greets(S2, 1);
    w.hears(S1, &(1..=3).map(|id| task(attempt(id, 1), &spin())).collect::<Vec<_>>());
    w.hears(S2, &[task(attempt(9, 1), &spin())]);
    w.said.clear();
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.starts(2, attempt(9, 1), spin());
    w.says(S1, &[done(attempt(1, 1), 0)]);
    w.says(S2, &[started(attempt(9, 1))]);
    w.is_told(Fact::Ended { run: RunId(2), status: Status::Exited(0) });
    w.starts(3, attempt(2, 1), spin());
}

#[test]
fn a_sleep_holds_its_slot_for_its_time() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &Work::Sleep(Duration::from_millis(10))), echo(2, "")]);
    w.says(S1, &[started(attempt(1, 1))]);
    w.says_nothing_more();
    assert_eq!(w.service.deadline(), Some(Time::from_millis(10)));
    w.sleeps_until(10);
    w.says(S1, &[done(attempt(1, 1), 0), done(attempt(2, 1), 0)]);
    w.says_nothing_more();
}

#[test]
fn output_stops_at_the_window_and_goes_on_when_it_opens() {
    let mut w = Worker::welcoming(1);
    let at = attempt(1, 1);
    w.hears(S1, &[task(at, &spin())]);
    w.said.clear();
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![1; WINDOW as usize - 1] });
    w.said.clear();
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::ERROR, octets: vec![2, 3] });
    let stream = Stream::ERROR;
    let offset = u64::from(WINDOW) - 1;
    w.says(S1, &[Frame::Output { attempt: at, stream, offset, octets: vec![2] }]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(3) });
    w.says_nothing_more();
    assert_eq!(w.service.running(), 0, "its slot is free all the same");
    w.hears(S1, &[Frame::Window { attempt: at, octets: 1 }]);
    let last = Frame::Output { attempt: at, stream, offset: offset + 1, octets: vec![3] };
    w.says(S1, &[last, result(at, Status::Exited(3), offset + 2)]);
    w.says_nothing_more();
}

#[test]
fn a_window_is_passed_on_to_the_world() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin())]);
    w.said.clear();
    w.hears(S1, &[Frame::Window { attempt: attempt(1, 1), octets: 500 }]);
    w.wishes(Wish::Grant { run: RunId(1), octets: 500 });
    w.says_nothing_more();
}

#[test]
fn while_too_much_output_waits_no_task_starts() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin()), task(attempt(2, 1), &spin())]);
    let more = (BACKLOG_MAX + u64::from(WINDOW)) as usize;
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![0; more] });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    assert_eq!((w.service.running(), w.service.waiting()), (0, 1));
    w.hears(S1, &[Frame::Window { attempt: attempt(1, 1), octets: 1 }]);
    assert_eq!((w.service.running(), w.service.waiting()), (1, 0));
}

#[test]
fn an_attempt_that_was_here_is_refused_and_counted() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 2), &spin())]);
    w.said.clear();
    for number in [1, 2] {
        w.hears(S1, &[task(attempt(1, number), &spin())]);
        w.says(S1, &[result(attempt(1, number), Status::Refused(Refusal::OldAttempt), 0)]);
    }
    w.says_nothing_more();
    assert_eq!((w.service.running(), w.service.counters().old_attempts), (1, 2));
}

#[test]
fn more_tasks_than_the_credit_are_refused() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &(1..=6).map(|id| task(attempt(id, 1), &spin())).collect::<Vec<_>>());
    w.starts(1, attempt(1, 1), spin());
    w.says(S1, &[result(attempt(6, 1), Status::Refused(Refusal::NoCredit), 0), started(attempt(1, 1))]);
    w.says_nothing_more();
    assert_eq!(w.service.waiting(), 4);
}

#[test]
fn work_that_waits_is_bounded_in_octets() {
    let mut w = Worker::with(Config { slots: 1, queue: 1000, ..Config::default() });
    w.opens(S1);
    w.hears(S1, &[Frame::Hello { version: 1, job: JOB }]);
    w.hears(S1, &[task(attempt(1, 1), &spin())]);
    let large = Work::Command(Box::new(Command { input: vec![0; 800_000], ..Command::new(["cat"]) }));
    for id in 2..=200 {
        w.hears(S1, &[task(attempt(id, 1), &large)]);
    }
    assert_eq!(w.service.waiting(), 83);
    assert_eq!(w.service.counters().no_credit, 199 - 83);
}

#[test]
fn malformed_work_refuses_one_task_only() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[Frame::Task { attempt: attempt(1, 1), continues: 0, work: vec![77] }, echo(2, "")]);
    let why = "malformed work: unknown kind of work 77 at offset 0".to_owned();
    w.says(S1, &[result(attempt(1, 1), Status::CouldNotStart(why), 0), done(attempt(2, 1), 0)]);
    w.says_nothing_more();
}

#[test]
fn what_is_not_the_protocol_ends_the_session() {
    let hello = Frame::Hello { version: 1, job: JOB };
    let breaches: [&[Frame]; 4] = [
        &[echo(1, "")],
        &[hello.clone(), hello.clone()],
        &[hello.clone(), Frame::Credit { tasks: 1 }],
        &[Frame::Hello { version: 2, job: JOB }],
    ];
    for breach in breaches {
        let mut w = Worker::slots(1);
        w.opens(S1);
        w.hears(S1, breach);
        assert_eq!(w.said.pop_back(), Some(Reply::Close(S1)), "{breach:?}");
        w.said.clear();
        w.hears(S1, std::slice::from_ref(&hello));
        w.loses(S1);
        w.says_nothing_more();
        assert_eq!(w.service.counters().malformed, 1);
    }
    let mut w = Worker::welcoming(1);
    w.hears_octets(S1, &[0x82, 0, 0, 9]);
    w.ends(S1);
    w.says_nothing_more();
}

#[test]
fn another_version_is_told_ours_before_the_session_ends() {
    let mut w = Worker::slots(1);
    w.opens(S1);
    w.hears(S1, &[Frame::Hello { version: 9, job: JOB }]);
    w.says(S1, &[Frame::Welcome { version: 1, slots: 1, credit: 0, name: "w".into() }]);
    w.ends(S1);
    w.says_nothing_more();
}

#[test]
fn a_cancelled_task_ends_as_cancelled_wherever_it_is() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin()), task(attempt(2, 1), &spin())]);
    w.said.clear();
    w.hears(S1, &[Frame::Cancel { attempt: attempt(2, 1) }]);
    w.says(S1, &[result(attempt(2, 1), Status::Cancelled, 0)]);
    w.hears(S1, &[Frame::Cancel { attempt: attempt(1, 1) }, Frame::Cancel { attempt: attempt(1, 1) }]);
    w.wishes(Wish::Kill { run: RunId(1) });
    w.says_nothing_more();
    assert_eq!(w.service.running(), 1, "the slot is free only when the world says so");
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![1] });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Signalled(9) });
    w.says(S1, &[result(attempt(1, 1), Status::Cancelled, 0)]);
    w.hears(S1, &[Frame::Cancel { attempt: attempt(9, 1) }]);
    w.says_nothing_more();
}

#[test]
fn a_task_is_given_back_only_before_it_began() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin()), task(attempt(2, 1), &spin())]);
    w.said.clear();
    w.hears(S1, &[1, 2, 2, 9].map(|id| Frame::Recall { attempt: attempt(id, 1) }));
    w.says(S1, &[result(attempt(2, 1), Status::Refused(Refusal::Recalled), 0)]);
    w.says_nothing_more();
    assert_eq!((w.service.running(), w.service.waiting()), (1, 0));
}

#[test]
fn a_command_that_runs_too_long_is_killed_and_said_so() {
    let mut w = Worker::welcoming(1);
    let command = Command { time_max: Some(Duration::from_millis(500)), ..Command::new(["sleep", "9"]) };
    w.hears(S1, &[task(attempt(1, 1), &command.clone().into())]);
    w.starts(1, attempt(1, 1), command.into());
    w.says(S1, &[started(attempt(1, 1))]);
    w.sleeps_until(499);
    w.gives_a_cookie(S1);
    w.says_nothing_more();
    w.sleeps_until(500);
    w.wishes(Wish::Kill { run: RunId(1) });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Signalled(9) });
    w.says(S1, &[result(attempt(1, 1), Status::TimedOut, 0)]);
    w.says_nothing_more();
}

#[test]
fn an_orphan_is_killed_when_its_grace_is_over() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin()), task(attempt(2, 1), &spin())]);
    w.said.clear();
    w.loses(S1);
    w.says_nothing_more();
    assert_eq!((w.service.running(), w.service.waiting()), (1, 0));
    w.sleeps_until(999);
    w.says_nothing_more();
    w.sleeps_until(1000);
    w.wishes(Wish::Kill { run: RunId(1) });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Signalled(9) });
    w.says_nothing_more();
    assert_eq!(w.service.running(), 0);
}

#[test]
fn an_orphan_is_adopted_by_the_next_attempt() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin())]);
    w.said.clear();
    w.loses(S1);
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![5] });
    w.greets(S2, 1);
    w.hears(S2, &[task(attempt(1, 2), &spin())]);
    w.says(S2, &[started(attempt(1, 2)), output(attempt(1, 2), 0, &[5])]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.says(S2, &[done(attempt(1, 2), 1)]);
    w.says_nothing_more();
    assert_eq!(w.service.counters().adopted, 1);
}

#[test]
fn an_orphan_that_already_spoke_is_killed_at_once() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin())]);
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![5] });
    w.said.clear();
    w.loses(S1);
    w.wishes(Wish::Kill { run: RunId(1) });
    w.says_nothing_more();
}

#[test]
fn the_cookie_covers_what_was_sent_and_another_worker_goes_on_there() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(4, 1), &tile())]);
    w.said.clear();
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![1; 60] });
    w.is_told(Fact::Checkpoint { run: RunId(1), state: vec![0, 0, 0, 2] });
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![2; 10] });
    w.said.clear();
    w.sleeps_until(100);
    let cookie = w.gives_a_cookie(S1);
    w.says_nothing_more();
    let told = Cookie::verify(&cookie).expect("our own");
    assert_eq!((told.job, told.sequence, told.entries.len()), (JOB, 0, 1));
    assert_eq!((told.entries[0].attempt, told.entries[0].octets), (attempt(4, 1), 60));

    let mut other = Worker::slots(1);
    other.opens(S1);
    other.is_shown(S1, &cookie);
    other.hears(S1, &[Frame::Hello { version: 1, job: JOB }]);
    other.said.clear();
    // The attempt of then is old here, too.
    other.hears(S1, &[task(attempt(4, 1), &tile())]);
    other.says(S1, &[result(attempt(4, 1), Status::Refused(Refusal::OldAttempt), 0)]);
    let work = tile().emit().expect("legal");
    other.hears(S1, &[Frame::Task { attempt: attempt(4, 2), continues: 1, work }]);
    other.wishes(Wish::Start {
        run: RunId(1),
        job: JOB,
        attempt: attempt(4, 2),
        work: tile(),
        checkpoint: Some(vec![0, 0, 0, 2]),
        window: WINDOW,
    });
    other.says(S1, &[Frame::Started { attempt: attempt(4, 2), from: 60 }]);
    other.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![3; 60] });
    other.says(S1, &[output(attempt(4, 2), 60, &[3; 60])]);
    other.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    other.says(S1, &[done(attempt(4, 2), 120)]);
    other.says_nothing_more();
    let counters = other.service.counters();
    assert_eq!((counters.cookies_believed, counters.cookies_rejected, counters.continued), (1, 0, 1));
}

#[test]
fn a_cookie_that_does_not_verify_means_starting_from_zero() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(4, 1), &tile())]);
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![1; 60] });
    w.is_told(Fact::Checkpoint { run: RunId(1), state: vec![0, 0, 0, 2] });
    w.said.clear();
    w.sleeps_until(100);
    let cookie = w.gives_a_cookie(S1);
    let mut damaged = cookie.clone();
    damaged[40] ^= 1;
    let wrong_octets = Progress { attempt: attempt(4, 1), octets: 61, state: vec![0, 0, 0, 2] };
    let wrong_octets = Cookie { job: JOB, sequence: 0, entries: vec![wrong_octets] }.emit();
    // What is shown, the job then claimed, the attempt whose output the client holds.
    let cases =
        [(damaged, JOB, 1), (cookie.clone(), JobId([8; 16]), 1), (cookie, JOB, 3), (wrong_octets, JOB, 1)];
    for (shown, job, continues) in cases {
        let mut other = Worker::slots(1);
        other.opens(S1);
        other.is_shown(S1, &shown);
        other.hears(S1, &[Frame::Hello { version: 1, job }]);
        other.said.clear();
        let work = tile().emit().expect("legal");
        other.hears(S1, &[Frame::Task { attempt: attempt(4, 5), continues, work }]);
        let (run, work) = (RunId(1), tile());
        let (checkpoint, window) = (None, WINDOW);
        other.wishes(Wish::Start { run, job, attempt: attempt(4, 5), work, checkpoint, window });
        other.says(S1, &[started(attempt(4, 5))]);
        other.says_nothing_more();
        assert_eq!(other.service.counters().continued, 0);
    }
}

#[test]
fn cookies_come_at_most_once_per_interval_and_the_last_one_is_empty() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &tile())]);
    w.said.clear();
    for row in 1..=3 {
        w.is_told(Fact::Checkpoint { run: RunId(1), state: vec![0, 0, 0, row] });
    }
    w.says_nothing_more();
    w.sleeps_until(100);
    w.gives_a_cookie(S1);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.hears(S1, &[Frame::Ack { attempt: attempt(1, 1) }]);
    w.said.clear();
    w.sleeps_until(200);
    let last = Cookie::verify(&w.gives_a_cookie(S1)).expect("our own");
    assert_eq!((last.sequence, last.entries.len()), (1, 0));
    w.sleeps_until(1000);
    w.says_nothing_more();
    assert_eq!(w.service.deadline(), None);
}

#[test]
fn draining_gives_back_what_waits_and_ends_when_the_rest_is_settled() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin()), task(attempt(2, 1), &spin())]);
    w.said.clear();
    w.call(|service, _, replies| service.drain(replies));
    let draining = Status::Refused(Refusal::Draining);
    w.says(S1, &[Frame::Credit { tasks: 0 }, result(attempt(2, 1), draining.clone(), 0)]);
    assert_eq!(w.service.load(), Load::FULL);
    w.hears(S1, &[task(attempt(3, 1), &spin())]);
    w.says(S1, &[result(attempt(3, 1), draining, 0)]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.says(S1, &[done(attempt(1, 1), 0)]);
    w.says_nothing_more();
    w.hears(S1, &[Frame::Ack { attempt: attempt(1, 1) }]);
    w.wishes(Wish::Drained);
    w.call(|service, _, replies| service.drain(replies));
    w.says_nothing_more();
}

#[test]
fn too_many_sessions_are_ended_at_once() {
    let mut w = Worker::with(Config { sessions_max: 1, ..Config::default() });
    w.opens(S1);
    w.says_nothing_more();
    w.opens(S2);
    w.ends(S2);
    w.hears(S2, &[Frame::Hello { version: 1, job: JOB }]);
    w.says_nothing_more();
    assert_eq!(w.service.counters().sessions_refused, 1);
}

#[test]
fn facts_of_unknown_runs_change_nothing() {
    let mut w = Worker::welcoming(1);
    let run = RunId(99);
    w.is_told(Fact::Output { run, stream: Stream::OUTPUT, octets: vec![1] });
    w.is_told(Fact::Checkpoint { run, state: vec![1] });
    w.is_told(Fact::Ended { run, status: Status::Exited(0) });
    w.loses(S2);
    w.says_nothing_more();
}
