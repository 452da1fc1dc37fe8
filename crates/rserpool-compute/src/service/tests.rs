//! The worker's promises, one sentence each.

use super::*;
use crate::cookie::{Checkpoint, Progress};
use crate::fractal::{Rect, Scene};
use crate::item::{Digest, Form, Item};
use crate::protocol::{FLIGHT_MAX, FLIGHT_UNTOLD_MAX, Refusal, TRANSFER_WINDOW, VERSION, WINDOW};
use crate::work::{Command, Placed};
use rserpool::element::Reply;
use std::collections::{BTreeMap, VecDeque};

const JOB: JobId = JobId([7; 16]);
const S1: SessionId = SessionId(1);
const S2: SessionId = SessionId(2);

fn attempt(task: u64, number: u32) -> Attempt {
    Attempt { task: TaskId(task), number }
}

fn task(at: Attempt, work: &Work) -> Frame {
    task_with(at, work, &[])
}

fn resources(all: &[&str]) -> Resources {
    let mut made = Resources::NONE;
    all.iter().for_each(|one| made.add(one).expect("legal"));
    made
}

fn task_with(at: Attempt, work: &Work, needs: &[&str]) -> Frame {
    Frame::Task { attempt: at, continues: 0, needs: resources(needs), work: work.emit().expect("legal") }
}

fn welcome(slots: u32, credit: u32) -> Frame {
    let (version, resources) = (VERSION, Resources::NONE);
    Frame::Welcome { version, slots, credit, resources, name: "w".into() }
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
    Frame::Started { attempt: at, of: 0, from: 0 }
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
    /// One that says everything at once.
    fn with(config: Config) -> Self {
        Self::holding(Config { tell_within: Duration::ZERO, ..config })
    }

    fn holding(config: Config) -> Self {
        Self { service: TaskService::new(config), now: Time::ZERO, said: VecDeque::new() }
    }

    fn slots(slots: u32) -> Self {
        Self::with(Config { slots, queue: 4, name: "w".into(), cache: 1 << 30, ..Config::default() })
    }

    /// With one session that said Hello and was welcomed.
    fn welcoming(slots: u32) -> Self {
        let mut worker = Self::slots(slots);
        worker.greets(S1, slots);
        worker
    }

    /// Likewise, with these resources.
    fn having(slots: u32, all: &[&str]) -> Self {
        let config =
            Config { slots, queue: 4, name: "w".into(), resources: resources(all), ..Config::default() };
        let mut worker = Self::with(config);
        worker.greets_with(S1, slots, all);
        worker
    }

    fn drains(&mut self, millis: u64) {
        self.call(|service, now, replies| service.drain(now, Duration::from_millis(millis), replies));
    }

    fn opens_from(&mut self, session: SessionId, peer: Endpoint) {
        self.call(|service, now, replies| service.opened_by(now, session, &peer, replies));
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
        self.greets_with(session, slots, &[]);
    }

    fn greets_with(&mut self, session: SessionId, slots: u32, all: &[&str]) {
        self.opens(session);
        self.hears(session, &[Frame::Hello { version: VERSION, job: JOB }]);
        let (version, credit, resources, name) = (VERSION, slots + 4, resources(all), "w".into());
        self.says(session, &[Frame::Welcome { version, slots, credit, resources, name }]);
    }

    /// As `greets`, with one slot, and hears what is left of a lost session.
    fn greets_and_is_offered(&mut self, session: SessionId, attempt: Attempt) {
        self.opens(session);
        self.hears(session, &[Frame::Hello { version: VERSION, job: JOB }]);
        let welcome = welcome(1, 5);
        self.says(session, &[welcome, Frame::Holds { attempt }]);
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

/// A worker that waits for company with what it says, and four tasks behind the one that runs.
fn with_tasks_ahead() -> Worker {
    let mut w = Worker::holding(Config { slots: 1, queue: 4, name: "w".into(), ..Config::default() });
    w.greets(S1, 1);
    w.hears(S1, &(1..=5).map(|id| task(attempt(id, 1), &spin())).collect::<Vec<_>>());
    w.starts(1, attempt(1, 1), spin());
    w
}

#[test]
fn what_runs_say_comes_together_while_more_tasks_wait_than_there_is_to_say() {
    let mut w = with_tasks_ahead();
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.starts(2, attempt(2, 1), spin());
    w.says_nothing_more();
    w.is_told(Fact::Output { run: RunId(2), stream: Stream::OUTPUT, octets: b"x".to_vec() });
    let at = |task| attempt(task, 1);
    w.says(S1, &[started(at(1)), done(at(1), 0), started(at(2)), output(at(2), 0, b"x")]);
    w.is_told(Fact::Ended { run: RunId(2), status: Status::Exited(0) });
    w.starts(3, at(3), spin());
    w.says_nothing_more();
    w.is_told(Fact::Ended { run: RunId(3), status: Status::Exited(0) });
    w.starts(4, at(4), spin());
    w.says(S1, &[done(at(2), 1), started(at(3)), done(at(3), 0), started(at(4))]);
    w.says_nothing_more();
}

#[test]
fn what_runs_say_waits_for_no_longer_than_it_may() {
    let mut w = with_tasks_ahead();
    w.says_nothing_more();
    assert_eq!(w.service.deadline(), Some(Time::from_millis(4)));
    w.sleeps_until(4);
    w.says(S1, &[started(attempt(1, 1))]);
    w.says_nothing_more();
}

#[test]
fn an_answer_takes_along_what_waits() {
    let mut w = with_tasks_ahead();
    w.hears(S1, &[Frame::Cancel { attempt: attempt(5, 1) }]);
    w.says(S1, &[started(attempt(1, 1)), result(attempt(5, 1), Status::Cancelled, 0)]);
    w.says_nothing_more();
}

#[test]
fn a_cookie_comes_behind_what_waits() {
    let mut w = with_tasks_ahead();
    w.is_told(Fact::Checkpoint { run: RunId(1), state: vec![1] });
    w.says(S1, &[started(attempt(1, 1))]);
    w.gives_a_cookie(S1);
    w.says_nothing_more();
}

#[test]
fn a_task_that_comes_again_says_at_once_that_it_began_and_ended() {
    let mut w = Worker::holding(Config { slots: 1, queue: 4, name: "w".into(), ..Config::default() });
    w.greets(S1, 1);
    w.hears(S1, &[(1, 2), (2, 1), (3, 1)].map(|(id, number)| task(attempt(id, number), &spin())));
    w.starts(1, attempt(1, 2), spin());
    w.says(S1, &[started(attempt(1, 2))]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.starts(2, attempt(2, 1), spin());
    w.says(S1, &[done(attempt(1, 2), 0), started(attempt(2, 1))]);
}

#[test]
fn that_a_cancelled_task_has_stopped_is_said_at_once() {
    let mut w = with_tasks_ahead();
    w.hears(S1, &[Frame::Cancel { attempt: attempt(1, 1) }]);
    w.wishes(Wish::Kill { run: RunId(1) });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Signalled(9) });
    w.starts(2, attempt(2, 1), spin());
    let over = result(attempt(1, 1), Status::Cancelled, 0);
    w.says(S1, &[started(attempt(1, 1)), over, started(attempt(2, 1))]);
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
    let more = (SESSION_BACKLOG_MAX + u64::from(WINDOW)) as usize;
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![0; more] });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    assert_eq!((w.service.running(), w.service.waiting()), (0, 1));
    w.hears(S1, &[Frame::Window { attempt: attempt(1, 1), octets: 1 }]);
    assert_eq!((w.service.running(), w.service.waiting()), (1, 0));
}

#[test]
fn a_client_that_takes_no_output_holds_up_nobody_else() {
    let mut w = Worker::welcoming(1);
    w.greets(S2, 1);
    w.hears(S1, &[task(attempt(1, 1), &spin()), task(attempt(2, 1), &spin())]);
    let more = (SESSION_BACKLOG_MAX + u64::from(WINDOW)) as usize;
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![0; more] });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    assert_eq!((w.service.running(), w.service.waiting()), (0, 1));
    w.hears(S2, &[task(attempt(1, 1), &spin())]);
    assert_eq!((w.service.running(), w.service.waiting()), (1, 1), "that of the other session");
    // But all together have their bound, too.
    let rest = (BACKLOG_MAX - SESSION_BACKLOG_MAX + u64::from(WINDOW)) as usize;
    w.is_told(Fact::Output { run: RunId(2), stream: Stream::OUTPUT, octets: vec![0; rest] });
    w.is_told(Fact::Ended { run: RunId(2), status: Status::Exited(0) });
    let third = SessionId(3);
    w.said.clear();
    w.greets(third, 1);
    w.hears(third, &[task(attempt(1, 1), &spin())]);
    assert_eq!((w.service.running(), w.service.waiting()), (0, 2));
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
    w.hears(S1, &[Frame::Hello { version: VERSION, job: JOB }]);
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
    w.hears(
        S1,
        &[
            Frame::Task { attempt: attempt(1, 1), continues: 0, needs: Resources::NONE, work: vec![77] },
            echo(2, ""),
        ],
    );
    let why = "malformed work: unknown kind of work 77 at offset 0".to_owned();
    w.says(S1, &[result(attempt(1, 1), Status::CouldNotStart(why), 0), done(attempt(2, 1), 0)]);
    w.says_nothing_more();
}

#[test]
fn what_is_not_the_protocol_ends_the_session() {
    let hello = Frame::Hello { version: VERSION, job: JOB };
    let breaches: [&[Frame]; 4] = [
        &[echo(1, "")],
        &[hello.clone(), hello.clone()],
        &[hello.clone(), Frame::Credit { tasks: 1 }],
        &[Frame::Hello { version: 3, job: JOB }],
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
    w.says(S1, &[welcome(1, 0)]);
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
    w.greets_and_is_offered(S2, attempt(1, 1));
    w.hears(S2, &[task(attempt(1, 2), &spin())]);
    w.says(S2, &[started(attempt(1, 2)), output(attempt(1, 2), 0, &[5])]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.says(S2, &[done(attempt(1, 2), 1)]);
    w.says_nothing_more();
    assert_eq!(w.service.counters().adopted, 1);
}

#[test]
fn an_execution_that_failed_is_not_told_as_the_next_attempt() {
    let command: Work = Command::new(["x"]).into();
    for (status, again) in [(0, false), (1, true)] {
        let mut w = Worker::welcoming(1);
        w.hears(S1, &[task(attempt(1, 1), &command)]);
        w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(status) });
        // Its client has the result; the word of that does not arrive.
        w.loses(S1);
        w.said.clear();
        w.greets_and_is_offered(S2, attempt(1, 1));
        w.hears(S2, &[task(attempt(1, 2), &command)]);
        assert_eq!(w.service.counters().started, 1 + u64::from(again));
        if again {
            w.sleeps_until(2_000);
            w.said.clear();
            w.is_told(Fact::Ended { run: RunId(2), status: Status::Exited(0) });
            w.says(S2, &[done(attempt(1, 2), 0)]);
        } else {
            w.says(S2, &[started(attempt(1, 2)), done(attempt(1, 2), 0)]);
        }
        w.says_nothing_more();
    }
}

#[test]
fn an_orphan_that_said_little_says_it_again_and_one_that_said_much_is_killed_at_once() {
    for (octets, kept) in [(16 * 1024, true), (16 * 1024 + 1, false)] {
        let mut w = Worker::welcoming(1);
        w.hears(S1, &[task(attempt(1, 1), &spin())]);
        w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![5; octets] });
        w.said.clear();
        w.loses(S1);
        if !kept {
            w.wishes(Wish::Kill { run: RunId(1) });
            w.says_nothing_more();
            continue;
        }
        w.says_nothing_more();
        w.is_told(Fact::Output { run: RunId(1), stream: Stream::ERROR, octets: vec![6] });
        w.greets_and_is_offered(S2, attempt(1, 1));
        w.hears(S2, &[Frame::Adopt { attempt: attempt(1, 1) }]);
        let more = Frame::Output {
            attempt: attempt(1, 1),
            stream: Stream::ERROR,
            offset: octets as u64,
            octets: vec![6],
        };
        w.says(S2, &[started(attempt(1, 1)), output(attempt(1, 1), 0, &vec![5; octets]), more]);
        w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
        w.says(S2, &[done(attempt(1, 1), octets as u64 + 1)]);
        w.says_nothing_more();
    }
}

#[test]
fn a_result_nobody_has_safe_is_kept_for_the_next_life_of_its_client() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[echo(1, "abc"), echo(2, "def")]);
    w.said.clear();
    w.hears(S1, &[Frame::Ack { attempt: attempt(2, 1) }]);
    w.loses(S1);
    w.greets_and_is_offered(S2, attempt(1, 1));
    w.hears(S2, &[Frame::Adopt { attempt: attempt(1, 1) }, Frame::Adopt { attempt: attempt(2, 1) }]);
    w.says(
        S2,
        &[
            started(attempt(1, 1)),
            output(attempt(1, 1), 0, b"abc"),
            done(attempt(1, 1), 3),
            result(attempt(2, 1), Status::Refused(Refusal::NotHeld), 0),
        ],
    );
    w.loses(S2);
    // It is still nobody's, for another grace.
    w.greets_and_is_offered(S2, attempt(1, 1));
    w.hears(S2, &[Frame::Adopt { attempt: attempt(1, 1) }]);
    w.said.clear();
    w.hears(S2, &[Frame::Ack { attempt: attempt(1, 1) }]);
    w.loses(S2);
    w.greets(S1, 1);
    w.says_nothing_more();
    assert_eq!((w.service.counters().started, w.service.counters().adopted), (2, 2));
}

#[test]
fn what_nobody_adopts_in_time_or_wants_is_forgotten() {
    let mut w = Worker::welcoming(2);
    w.hears(S1, &[echo(1, "abc"), task(attempt(2, 1), &spin())]);
    w.said.clear();
    w.loses(S1);
    w.opens(S2);
    w.hears(S2, &[Frame::Hello { version: VERSION, job: JOB }, Frame::Cancel { attempt: attempt(2, 1) }]);
    let welcome = welcome(2, 6);
    let refused = result(attempt(2, 1), Status::Refused(Refusal::NotHeld), 0);
    w.wishes(Wish::Kill { run: RunId(2) });
    let holds = |task| Frame::Holds { attempt: attempt(task, 1) };
    w.says(S2, &[welcome, holds(1), holds(2), refused]);
    w.sleeps_until(1_000);
    w.hears(S2, &[Frame::Adopt { attempt: attempt(1, 1) }]);
    w.says(S2, &[result(attempt(1, 1), Status::Refused(Refusal::NotHeld), 0)]);
    w.says_nothing_more();
}

#[test]
fn another_job_is_offered_nothing() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[echo(1, "abc")]);
    w.said.clear();
    w.loses(S1);
    w.opens(S2);
    w.hears(
        S2,
        &[Frame::Hello { version: VERSION, job: JobId([8; 16]) }, Frame::Adopt { attempt: attempt(1, 1) }],
    );
    let welcome = welcome(1, 5);
    w.says(S2, &[welcome, result(attempt(1, 1), Status::Refused(Refusal::NotHeld), 0)]);
    w.says_nothing_more();
}

#[test]
fn the_cookie_covers_what_was_sent_and_another_worker_goes_on_there() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(4, 1), &tile())]);
    w.said.clear();
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![1; 60] });
    w.said.clear();
    w.is_told(Fact::Checkpoint { run: RunId(1), state: vec![0, 0, 0, 2] });
    let cookie = w.gives_a_cookie(S1);
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![2; 10] });
    w.said.clear();
    w.sleeps_until(1000);
    w.says_nothing_more();
    let told = Cookie::verify(&cookie).expect("our own");
    assert_eq!((told.job, told.sequence, told.entries.len()), (JOB, 0, 1));
    assert_eq!((told.entries[0].attempt, told.entries[0].octets), (attempt(4, 1), 60));

    let mut other = Worker::slots(1);
    other.opens(S1);
    other.is_shown(S1, &cookie);
    other.hears(S1, &[Frame::Hello { version: VERSION, job: JOB }]);
    other.said.clear();
    // The attempt of then is old here, too.
    other.hears(S1, &[task(attempt(4, 1), &tile())]);
    other.says(S1, &[result(attempt(4, 1), Status::Refused(Refusal::OldAttempt), 0)]);
    let work = tile().emit().expect("legal");
    other.hears(S1, &[Frame::Task { attempt: attempt(4, 2), continues: 1, needs: Resources::NONE, work }]);
    other.wishes(Wish::Start {
        run: RunId(1),
        job: JOB,
        attempt: attempt(4, 2),
        work: tile(),
        checkpoint: Some(vec![0, 0, 0, 2]),
        window: WINDOW,
    });
    other.says(S1, &[Frame::Started { attempt: attempt(4, 2), of: 1, from: 60 }]);
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
    w.said.clear();
    w.is_told(Fact::Checkpoint { run: RunId(1), state: vec![0, 0, 0, 2] });
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
        other.hears(S1, &[Frame::Hello { version: VERSION, job }]);
        other.said.clear();
        let work = tile().emit().expect("legal");
        other.hears(S1, &[Frame::Task { attempt: attempt(4, 5), continues, needs: Resources::NONE, work }]);
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
    let checkpoint = |row| Fact::Checkpoint { run: RunId(1), state: vec![0, 0, 0, row] };
    w.is_told(checkpoint(1));
    w.gives_a_cookie(S1);
    for row in 2..=3 {
        w.is_told(checkpoint(row));
    }
    w.sleeps_until(99);
    w.says_nothing_more();
    w.sleeps_until(100);
    let second = Cookie::verify(&w.gives_a_cookie(S1)).expect("our own");
    assert_eq!(second.entries[0].state, [0, 0, 0, 3]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.hears(S1, &[Frame::Ack { attempt: attempt(1, 1) }]);
    w.said.clear();
    w.sleeps_until(200);
    let last = Cookie::verify(&w.gives_a_cookie(S1)).expect("our own");
    assert_eq!((last.sequence, last.entries.len()), (2, 0));
    w.sleeps_until(1000);
    w.says_nothing_more();
    assert_eq!(w.service.deadline(), None);
}

#[test]
fn draining_gives_back_what_waits_and_ends_when_the_rest_is_settled() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin()), task(attempt(2, 1), &spin())]);
    w.said.clear();
    w.drains(5_000);
    w.wishes(Wish::Draining { patience: Duration::from_secs(5) });
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
    w.drains(0);
    w.says_nothing_more();
}

#[test]
fn what_runs_when_the_time_to_drain_is_over_is_given_back_with_its_checkpoint() {
    let mut w = Worker::welcoming(2);
    w.hears(S1, &[task(attempt(1, 1), &tile()), task(attempt(2, 1), &spin())]);
    w.is_told(Fact::Output { run: RunId(1), stream: Stream::OUTPUT, octets: vec![1; 60] });
    w.is_told(Fact::Checkpoint { run: RunId(1), state: vec![0, 0, 0, 2] });
    w.drains(50);
    w.said.clear();
    w.sleeps_until(49);
    w.says_nothing_more();
    w.sleeps_until(50);
    let cookie = Cookie::verify(&w.gives_a_cookie(S1)).expect("our own");
    let told: Vec<_> = cookie.entries.iter().map(|entry| (entry.attempt.task.0, entry.octets)).collect();
    assert_eq!(told, [(1, 60), (2, 0)]);
    w.wishes(Wish::Kill { run: RunId(1) });
    w.wishes(Wish::Kill { run: RunId(2) });
    w.ends(S1);
    w.loses(S1);
    w.says_nothing_more();
    for run in [1, 2] {
        assert_eq!(w.service.running(), 3 - run as usize, "not over before the world says so");
        w.is_told(Fact::Ended { run: RunId(run), status: Status::Signalled(9) });
    }
    w.wishes(Wish::Drained);
    w.says_nothing_more();
}

#[test]
fn a_second_wish_to_drain_can_only_hurry() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &Work::Sleep(Duration::from_secs(9)))]);
    w.drains(2_000);
    w.drains(8_000);
    w.said.clear();
    assert_eq!(w.service.deadline(), Some(Time::from_millis(100)), "a cookie first");
    w.sleeps_until(100);
    w.gives_a_cookie(S1);
    assert_eq!(w.service.deadline(), Some(Time::from_millis(2_000)));
    w.drains(0);
    w.gives_a_cookie(S1);
    w.ends(S1);
    w.wishes(Wish::Drained);
    w.says_nothing_more();
}

#[test]
fn orphans_do_not_hold_up_the_end_of_draining() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin())]);
    w.loses(S1);
    w.drains(10);
    w.said.clear();
    w.sleeps_until(10);
    w.wishes(Wish::Kill { run: RunId(1) });
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Signalled(9) });
    w.wishes(Wish::Drained);
    w.says_nothing_more();
}

fn from(address: [u8; 4]) -> Endpoint {
    Endpoint::tcp((address, 4000).into())
}

#[test]
fn a_worker_drains_for_its_own_machine_and_tells_when_it_has() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &spin())]);
    w.said.clear();
    w.opens_from(S2, from([127, 0, 0, 1]));
    w.hears(S2, &[Frame::Drain { millis: 3_000 }]);
    w.wishes(Wish::Draining { patience: Duration::from_secs(3) });
    w.says(S1, &[Frame::Credit { tasks: 0 }]);
    w.says(S2, &[Frame::Draining { permitted: true, tasks: 1, millis: 3_000 }]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.said.clear();
    w.hears(S1, &[Frame::Ack { attempt: attempt(1, 1) }]);
    w.says(S2, &[Frame::Draining { permitted: true, tasks: 0, millis: 0 }]);
    w.wishes(Wish::Drained);
    w.says_nothing_more();
}

#[test]
fn a_worker_drains_for_others_only_if_it_was_told_to() {
    for (drain_for, permitted) in [(DrainFor::Loopback, false), (DrainFor::Anyone, true)] {
        let mut w = Worker::with(Config { drain_for, ..Config::default() });
        w.opens_from(S1, from([10, 0, 0, 9]));
        w.hears(S1, &[Frame::Drain { millis: 3_000 }]);
        if permitted {
            w.wishes(Wish::Draining { patience: Duration::from_secs(3) });
            // Nothing to do: over at once.
            w.says(S1, &[Frame::Draining { permitted, tasks: 0, millis: 0 }]);
            w.wishes(Wish::Drained);
        } else {
            w.says(S1, &[Frame::Draining { permitted, tasks: 0, millis: 0 }]);
        }
        w.says_nothing_more();
        assert_eq!(w.service.counters().drains_refused, u64::from(!permitted));
    }
}

#[test]
fn a_session_is_about_a_job_or_about_draining() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[Frame::Drain { millis: 0 }]);
    w.ends(S1);
    w.says_nothing_more();
    assert_eq!(w.service.counters().malformed, 1);
}

#[test]
fn the_sum_of_what_runs_never_exceeds_what_there_is() {
    let mut w = Worker::having(4, &["gpu=2", "mem=8G", "tag:ssd"]);
    let all = [&["gpu=1"][..], &["gpu=1", "tag:ssd"], &["gpu=1"], &["mem=8G"], &[]];
    let frames =
        all.iter().enumerate().map(|(id, needs)| task_with(attempt(id as u64 + 1, 1), &spin(), needs));
    w.hears(S1, &frames.collect::<Vec<_>>());
    // The third waits for a gpu; those behind it want nothing of that.
    for (run, task) in [(1, 1), (2, 2), (3, 4), (4, 5)] {
        w.starts(run, attempt(task, 1), spin());
    }
    w.says(S1, &[1, 2, 4, 5].map(|task| started(attempt(task, 1))));
    w.says_nothing_more();
    w.is_told(Fact::Ended { run: RunId(3), status: Status::Exited(0) });
    w.said.clear();
    assert_eq!((w.service.running(), w.service.waiting()), (3, 1), "a slot is no gpu");
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.starts(5, attempt(3, 1), spin());
}

#[test]
fn small_needs_do_not_keep_a_large_one_waiting_for_ever() {
    let mut w = Worker::having(4, &["mem=4"]);
    w.greets_with(S2, 4, &["mem=4"]);
    w.hears(S1, &[1, 2].map(|id| task_with(attempt(id, 1), &spin(), &["mem=1"])));
    w.hears(S2, &[task_with(attempt(1, 1), &spin(), &["mem=4"])]);
    w.hears(S1, &[3, 4].map(|id| task_with(attempt(id, 1), &spin(), &["mem=1"])));
    assert_eq!(w.service.running(), 2, "what is left is kept for the large one");
    for run in [1, 2] {
        w.is_told(Fact::Ended { run: RunId(run), status: Status::Exited(0) });
    }
    w.said.retain(|reply| matches!(reply, Reply::Wish(_)));
    w.said.drain(..2);
    w.starts(3, attempt(1, 1), spin());
    w.says_nothing_more();
    w.is_told(Fact::Ended { run: RunId(3), status: Status::Exited(0) });
    assert_eq!(w.service.running(), 2);
}

#[test]
fn a_claim_ends_with_its_task() {
    let mut w = Worker::having(4, &["mem=4"]);
    w.greets_with(S2, 4, &["mem=4"]);
    w.hears(S1, &[task_with(attempt(1, 1), &spin(), &["mem=1"])]);
    w.hears(S2, &[task_with(attempt(1, 1), &spin(), &["mem=4"])]);
    w.hears(S1, &[task_with(attempt(2, 1), &spin(), &["mem=1"])]);
    assert_eq!(w.service.running(), 1);
    w.loses(S2);
    assert_eq!(w.service.running(), 2);
}

#[test]
fn a_killed_run_keeps_its_resources_until_it_is_over() {
    let mut w = Worker::having(2, &["gpu=1"]);
    w.hears(S1, &[1, 2].map(|id| task_with(attempt(id, 1), &spin(), &["gpu=1"])));
    w.hears(S1, &[Frame::Cancel { attempt: attempt(1, 1) }]);
    assert_eq!((w.service.running(), w.service.waiting()), (1, 1));
    w.said.clear();
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Signalled(9) });
    w.starts(2, attempt(2, 1), spin());
}

#[test]
fn needs_beyond_the_worker_are_told_and_nothing_runs() {
    let mut w = Worker::having(1, &["gpu=1"]);
    w.hears(S1, &[task_with(attempt(1, 1), &spin(), &["gpu=2", "tag:ssd"])]);
    let why = "it needs gpu=2 (at most 1), tag:ssd, which this worker has not".to_owned();
    w.says(S1, &[result(attempt(1, 1), Status::CouldNotStart(why), 0)]);
    w.says_nothing_more();
}

#[test]
fn hours_are_no_trouble() {
    let mut w = Worker::welcoming(3);
    let year = crate::work::TIME_MAX;
    let command = Command { time_max: Some(year), ..Command::new(["sleep", "inf"]) };
    w.hears(S1, &[task(attempt(1, 1), &Work::Sleep(year)), task(attempt(2, 1), &command.into())]);
    w.hears(S1, &[task(attempt(3, 1), &tile())]);
    w.said.clear();
    w.sleeps_until(100);
    // A checkpoint an hour, for a day: a cookie each, and no timer in between.
    for hour in 1..=24 {
        w.sleeps_until(hour * 3_600_000);
        w.is_told(Fact::Output { run: RunId(3), stream: Stream::OUTPUT, octets: vec![hour as u8; 30] });
        w.said.clear();
        w.is_told(Fact::Checkpoint { run: RunId(3), state: vec![0, 0, 0, 1] });
        let cookie = Cookie::verify(&w.gives_a_cookie(S1)).expect("our own");
        let tile = cookie.entries.iter().find(|entry| entry.attempt == attempt(3, 1)).expect("it runs");
        assert_eq!(tile.octets, 30 * hour);
        assert_eq!(w.service.deadline(), Some(Time::ZERO + year), "nothing else to wake up for");
    }
    w.sleeps_until(year.as_millis() as u64 - 1);
    w.says_nothing_more();
    w.sleeps_until(year.as_millis() as u64);
    w.wishes(Wish::Kill { run: RunId(2) });
    w.says(S1, &[done(attempt(1, 1), 0)]);
    w.is_told(Fact::Ended { run: RunId(2), status: Status::Signalled(9) });
    w.says(S1, &[result(attempt(2, 1), Status::TimedOut, 0)]);
}

#[test]
fn too_many_sessions_are_ended_at_once() {
    let mut w = Worker::with(Config { sessions_max: 1, ..Config::default() });
    w.opens(S1);
    w.says_nothing_more();
    w.opens(S2);
    w.ends(S2);
    w.hears(S2, &[Frame::Hello { version: VERSION, job: JOB }]);
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

// ----- items and checkpoints

fn item(octet: u8, size: u64) -> Item {
    Item { digest: Digest([octet; 32]), size, form: Form::File }
}

/// A command that needs these.
fn needing(items: &[Item]) -> Work {
    let placed = |item: &Item| Placed { name: b"in".to_vec(), item: *item, own: false, executable: false };
    Command { inputs: items.iter().map(placed).collect(), ..Command::new(["x"]) }.into()
}

fn part(transfer: u32, octets: usize) -> Frame {
    Frame::Part { transfer, octets: vec![1; octets] }
}

fn store(item: Item, octets: usize) -> Wish {
    Wish::Store { item, octets: vec![1; octets] }
}

#[test]
fn a_task_starts_when_what_it_needs_is_here_and_the_next_one_finds_it() {
    let mut w = Worker::welcoming(1);
    let (a, work) = (item(1, 5), needing(&[item(1, 5)]));
    w.hears(S1, &[task(attempt(1, 1), &work), task(attempt(2, 1), &work)]);
    w.says(S1, &[Frame::Fetch { transfer: 1, item: a }]);
    w.hears(S1, &[part(1, 3), part(1, 2)]);
    w.wishes(store(a, 3));
    w.wishes(store(a, 2));
    w.says_nothing_more();
    w.is_told(Fact::Arrived { item: a });
    w.starts(1, attempt(1, 1), work.clone());
    w.says(S1, &[started(attempt(1, 1))]);
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.starts(2, attempt(2, 1), work);
    w.says(S1, &[done(attempt(1, 1), 0), started(attempt(2, 1))]);
    w.says_nothing_more();
    assert_eq!(w.service.counters().fetched, 1);
}

#[test]
fn tasks_without_needs_do_not_wait_behind_those_with() {
    let mut w = Worker::welcoming(1);
    w.hears(S1, &[task(attempt(1, 1), &needing(&[item(1, 5)])), task(attempt(2, 1), &spin())]);
    w.starts(1, attempt(2, 1), spin());
    w.says(S1, &[Frame::Fetch { transfer: 1, item: item(1, 5) }, started(attempt(2, 1))]);
    w.says_nothing_more();
}

#[test]
fn a_slow_disk_holds_the_client_up_and_more_than_was_asked_for_ends_the_session() {
    let mut w = Worker::welcoming(1);
    let a = item(1, 10 * u64::from(TRANSFER_WINDOW));
    w.hears(S1, &[task(attempt(1, 1), &needing(&[a]))]);
    w.said.clear();
    let half = TRANSFER_WINDOW as usize / 2;
    w.hears(S1, &[part(1, half)]);
    w.hears(S1, &[part(1, half)]);
    w.wishes(store(a, half));
    w.wishes(store(a, half));
    w.says_nothing_more();
    w.is_told(Fact::Stored { item: a, octets: half as u32 });
    w.says(S1, &[Frame::More { transfer: 1, octets: half as u32 }]);
    w.hears(S1, &[part(1, half)]);
    w.wishes(store(a, half));
    w.hears(S1, &[part(1, 1)]);
    assert_eq!(w.said.pop_front(), Some(Reply::Close(S1)));
    // Nobody needs it any more: what came of it goes.
    w.wishes(Wish::Evict { item: a });
    w.says_nothing_more();
}

#[test]
fn an_item_that_cannot_be_kept_sends_its_tasks_elsewhere_with_the_reason() {
    let mut w = Worker::welcoming(1);
    let (a, b) = (item(1, 5), item(2, 5));
    w.hears(S1, &[task(attempt(1, 1), &needing(&[a])), task(attempt(2, 1), &needing(&[a, b]))]);
    w.says(S1, &[Frame::Fetch { transfer: 1, item: a }, Frame::Fetch { transfer: 2, item: b }]);
    w.hears(S1, &[part(1, 3)]);
    w.wishes(store(a, 3));
    w.is_told(Fact::NotStored { item: a, why: "disk full".into() });
    w.wishes(Wish::Evict { item: a });
    w.wishes(Wish::Evict { item: b });
    let why = || Status::CouldNotStart("disk full".into());
    w.says(
        S1,
        &[
            Frame::Stop { transfer: 1 },
            result(attempt(1, 1), why(), 0),
            Frame::Stop { transfer: 2 },
            result(attempt(2, 1), why(), 0),
        ],
    );
    // What was under way is ignored; the item is asked for again when it is needed again.
    w.hears(S1, &[part(1, 2)]);
    w.says_nothing_more();
    w.hears(S1, &[task(attempt(1, 2), &needing(&[a]))]);
    w.says(S1, &[Frame::Fetch { transfer: 3, item: a }]);
}

#[test]
fn what_one_client_was_sending_is_asked_of_another_that_needs_it_too() {
    let mut w = Worker::welcoming(1);
    w.greets(S2, 1);
    let a = item(1, 5);
    w.hears(S1, &[task(attempt(1, 1), &needing(&[a]))]);
    w.hears(S2, &[task(attempt(9, 1), &needing(&[a]))]);
    w.says(S1, &[Frame::Fetch { transfer: 1, item: a }]);
    w.hears(S1, &[part(1, 3)]);
    w.wishes(store(a, 3));
    w.loses(S1);
    w.wishes(Wish::Evict { item: a });
    w.says(S2, &[Frame::Fetch { transfer: 1, item: a }]);
    w.hears(S2, &[part(1, 5)]);
    w.wishes(store(a, 5));
    w.is_told(Fact::Arrived { item: a });
    w.starts(1, attempt(9, 1), needing(&[a]));
}

#[test]
fn what_runs_keeps_its_items_and_the_next_task_waits_for_room() {
    let mut w = Worker::with(Config { slots: 2, queue: 4, cache: 10, name: "w".into(), ..Config::default() });
    w.greets(S1, 2);
    let (a, b) = (item(1, 6), item(2, 6));
    w.hears(S1, &[task(attempt(1, 1), &needing(&[a])), task(attempt(2, 1), &needing(&[b]))]);
    w.says(S1, &[Frame::Fetch { transfer: 1, item: a }]);
    w.hears(S1, &[part(1, 6)]);
    w.wishes(store(a, 6));
    w.is_told(Fact::Arrived { item: a });
    w.starts(1, attempt(1, 1), needing(&[a]));
    w.says(S1, &[started(attempt(1, 1))]);
    w.says_nothing_more();
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.wishes(Wish::Evict { item: a });
    w.says(S1, &[done(attempt(1, 1), 0), Frame::Fetch { transfer: 2, item: b }]);
    w.hears(S1, &[task(attempt(3, 1), &needing(&[item(3, 11)]))]);
    w.says_nothing_more();
    w.hears(S1, &[Frame::Cancel { attempt: attempt(2, 1) }]);
    w.wishes(Wish::Evict { item: b });
    let why = "its files (11 octets) do not fit into the worker's cache (10)".to_owned();
    w.says(
        S1,
        &[
            Frame::Stop { transfer: 2 },
            result(attempt(2, 1), Status::Cancelled, 0),
            result(attempt(3, 1), Status::CouldNotStart(why), 0),
        ],
    );
}

#[test]
fn a_large_checkpoint_is_in_the_cookie_when_the_client_has_it() {
    let mut w = Worker::welcoming(1);
    let command: Work = Command::new(["x"]).into();
    let a = item(7, 5);
    w.hears(S1, &[task(attempt(4, 1), &command)]);
    w.said.clear();
    w.is_told(Fact::Large { run: RunId(1), item: a });
    w.wishes(Wish::Send { run: RunId(1), octets: TRANSFER_WINDOW });
    w.says(S1, &[Frame::Save { transfer: 1, attempt: attempt(4, 1), item: a }]);
    w.is_told(Fact::Saving { run: RunId(1), octets: vec![1; 5] });
    w.says(S1, &[part(1, 5)]);
    w.sleeps_until(200);
    let cookie = Cookie::verify(&w.gives_a_cookie(S1)).expect("our own");
    assert_eq!(cookie.entries[0].state, []);
    w.hears(S1, &[Frame::Saved { transfer: 1 }]);
    w.wishes(Wish::Saved { run: RunId(1) });
    w.sleeps_until(400);
    let cookie = w.gives_a_cookie(S1);
    let told = Cookie::verify(&cookie).expect("our own");
    assert_eq!((told.entries[0].octets, &told.entries[0].state), (0, &Checkpoint::Kept(a).emit()));

    // Another worker is told of it by the client and gets it as an item before it starts.
    let mut other = Worker::welcoming(1);
    let work = command.emit().expect("legal");
    let again = Frame::Task { attempt: attempt(4, 2), continues: 1, needs: Resources::NONE, work };
    other.hears(S1, &[Frame::Lineage { cookie }, again]);
    other.says(S1, &[Frame::Fetch { transfer: 1, item: a }]);
    other.hears(S1, &[part(1, 5)]);
    other.wishes(store(a, 5));
    other.is_told(Fact::Arrived { item: a });
    other.wishes(Wish::Start {
        run: RunId(1),
        job: JOB,
        attempt: attempt(4, 2),
        work: command,
        checkpoint: Some(Checkpoint::Kept(a).emit()),
        window: WINDOW,
    });
    other.says(S1, &[Frame::Started { attempt: attempt(4, 2), of: 1, from: 0 }]);
}

#[test]
fn a_lineage_that_does_not_verify_or_is_of_another_job_means_starting_from_zero() {
    let entries =
        vec![Progress { attempt: attempt(4, 1), octets: 0, state: Checkpoint::Inline(vec![3]).emit() }];
    let good = Cookie { job: JOB, sequence: 0, entries: entries.clone() }.emit();
    let mut damaged = good.clone();
    damaged[50] ^= 1;
    let stranger = Cookie { job: JobId([8; 16]), sequence: 0, entries }.emit();
    for (cookie, of) in [(good, 1), (damaged, 0), (stranger, 0)] {
        let mut w = Worker::welcoming(1);
        let work = Work::from(Command::new(["x"])).emit().expect("legal");
        let again = Frame::Task { attempt: attempt(4, 2), continues: 1, needs: Resources::NONE, work };
        w.hears(S1, &[Frame::Lineage { cookie }, again]);
        assert!(matches!(w.said.pop_front(), Some(Reply::Wish(Wish::Start { checkpoint, .. }))
            if checkpoint.is_some() == (of == 1)));
        w.says(S1, &[Frame::Started { attempt: attempt(4, 2), of, from: 0 }]);
        assert_eq!(w.service.counters().cookies_rejected, 1 - u64::from(of));
    }
}

#[test]
fn a_run_that_ends_or_loses_its_session_saves_nothing_more() {
    let mut w = Worker::welcoming(2);
    for number in [1, 2] {
        w.hears(S1, &[task(attempt(number, 1), &Command::new(["x"]).into())]);
        w.is_told(Fact::Large { run: RunId(number), item: item(7, 5) });
    }
    w.said.clear();
    w.is_told(Fact::Ended { run: RunId(1), status: Status::Exited(0) });
    w.says(S1, &[Frame::Stop { transfer: 1 }, done(attempt(1, 1), 0)]);
    w.loses(S1);
    w.wishes(Wish::Saved { run: RunId(2) });
    w.is_told(Fact::Saving { run: RunId(2), octets: vec![1; 5] });
    w.says_nothing_more();
}

/// A client that has taken so much of the output of each attempt since it confirmed some.
#[derive(Default)]
struct Taking {
    taken: BTreeMap<Attempt, u32>,
    results: usize,
}

impl Taking {
    /// Takes all that was said: how many octets of output that was, and what the client answers. It confirms a half window of
    /// one attempt, or `FLIGHT_UNTOLD_MAX` of all.
    fn hears(&mut self, w: &mut Worker) -> (u64, Vec<Frame>) {
        let (mut octets, mut answers) = (0, Vec::new());
        let frames: Vec<_> = w
            .said
            .drain(..)
            .filter_map(|reply| match reply {
                Reply::Send(S1, PPID, message) => {
                    Some(Frames::of(&message).map(|frame| frame.expect("our own")).collect::<Vec<_>>())
                }
                _ => None,
            })
            .flatten()
            .collect();
        for frame in frames {
            match frame {
                Frame::Output { attempt, octets: part, .. } => {
                    octets += part.len() as u64;
                    *self.taken.entry(attempt).or_default() += part.len() as u32;
                }
                Frame::Result { attempt, .. } => {
                    self.taken.remove(&attempt);
                    self.results += 1;
                    answers.push(Frame::Ack { attempt });
                }
                _ => {}
            }
        }
        let all = self.taken.values().sum::<u32>() >= FLIGHT_UNTOLD_MAX;
        let confirmed = |(_, taken): &(&Attempt, &mut u32)| **taken >= WINDOW / 2 || all && **taken > 0;
        for (attempt, taken) in self.taken.iter_mut().filter(confirmed) {
            answers.push(Frame::Window { attempt: *attempt, octets: std::mem::take(taken) });
        }
        (octets, answers)
    }
}

#[test]
fn no_more_output_is_on_its_way_than_a_link_takes_and_all_of_it_arrives() {
    const EACH: usize = 400_000;
    let mut w = Worker::welcoming(60);
    let mut client = Taking::default();
    for task_id in 1..=60 {
        w.hears(S1, &[task(attempt(task_id, 1), &spin())]);
    }
    for run in (1..=60).map(RunId) {
        w.is_told(Fact::Output { run, stream: Stream::OUTPUT, octets: vec![0; EACH] });
    }
    let (mut all, mut heard) = (0, 0);
    for turn in 0.. {
        let (octets, answers) = client.hears(&mut w);
        heard += octets;
        assert!(octets <= FLIGHT_MAX, "{octets} octets at once");
        // Half of them end while others have not said all, the rest when there is nothing else to do.
        if turn < 30 || answers.is_empty() && all < 60 {
            all += 1;
            w.is_told(Fact::Ended { run: RunId(all), status: Status::Exited(0) });
        } else if answers.is_empty() {
            break;
        }
        w.hears(S1, &answers);
    }
    assert_eq!((client.results, heard), (60, 60 * EACH as u64));
}

#[test]
fn many_tasks_that_say_a_little_each_do_not_hold_each_other_up() {
    let mut w = Worker::welcoming(60);
    let mut client = Taking::default();
    let mut heard = 0;
    for task_id in 1..=60 {
        w.hears(S1, &[task(attempt(task_id, 1), &spin())]);
    }
    // None of them has said half a window in the end, together they have said much more than may be on its way.
    for _ in 0..20 {
        for run in (1..=60).map(RunId) {
            w.is_told(Fact::Output { run, stream: Stream::OUTPUT, octets: vec![0; 10_000] });
        }
        let (octets, answers) = client.hears(&mut w);
        heard += octets;
        w.hears(S1, &answers);
    }
    heard += client.hears(&mut w).0;
    assert_eq!(heard, 60 * 20 * 10_000);
}
