//! What a durable job asks of its disk, and in which order. (What becomes of it in a world that crashes is tried in the
//! simulator, with workers and real losses.)

use super::*;
use crate::journal::Reader;
use crate::protocol::JobId;
use rserpool::{Endpoint, PoolHandle, user};

/// A job without anybody to talk to, and what it asked of its disk.
struct Desk {
    job: DurableJob,
    now: Time,
    journal: Vec<u8>,
    marks: Vec<(File, u64)>,
    told: Vec<Event>,
    /// Links it wished for: it looks for workers.
    opened: usize,
    /// Nobody stands in for the job inside, so the books have to agree.
    whole: bool,
}

fn config() -> job::Config {
    let registrar = Endpoint::tcp("10.0.0.1:3863".parse().expect("an address"));
    let handle = PoolHandle::new("compute").expect("legal");
    job::Config::new(user::Config::new(vec![registrar]), handle, JobId([7; 16]))
}

fn echo() -> Work {
    Work::Echo(b"x".to_vec())
}

impl Desk {
    fn with(job: DurableJob) -> Self {
        let (journal, marks, told) = (vec![], vec![], vec![]);
        let mut desk = Self { job, now: Time::ZERO, journal, marks, told, opened: 0, whole: true };
        desk.settle();
        desk
    }

    fn new() -> Self {
        Self::with(DurableJob::begin(config(), b"about", 5, Random::from_seed(1)))
    }

    fn settle(&mut self) {
        while let Some(wish) = self.job.poll() {
            match wish {
                Output::Event(Event::Disk(Wish::Append { file: File::Journal, octets })) => {
                    self.journal.extend(octets);
                }
                Output::Event(Event::Disk(Wish::Sync { file, mark })) => self.marks.push((file, mark)),
                Output::Event(event) => self.told.push(event),
                Output::Open { .. } => self.opened += 1,
                _ => {}
            }
        }
        if self.whole {
            self.job.check();
        }
    }

    fn call<R>(&mut self, call: impl FnOnce(&mut DurableJob, Time) -> R) -> R {
        let result = call(&mut self.job, self.now);
        self.settle();
        result
    }

    /// The disk has done everything it was asked for.
    fn stores(&mut self) {
        for (_, mark) in std::mem::take(&mut self.marks) {
            self.call(|job, now| job.stored(now, mark));
        }
    }

    fn entries(&self) -> (Vec<Entry>, Reader) {
        let mut reader = Reader::default();
        reader.push(&self.journal);
        let entries = std::iter::from_fn(|| reader.entry().expect("our own")).collect();
        (entries, reader)
    }
}

fn task(number: u64) -> Entry {
    Entry::Task { task: TaskId(number), input: vec![number as u8] }
}

#[test]
fn nobody_is_looked_for_before_the_input_is_safe() {
    let mut desk = Desk::new();
    desk.call(|job, now| job.submit(now, TaskId(1), &[1], &echo())).expect("taken");
    assert_eq!((desk.opened, desk.marks.len()), (0, 1), "the header comes first");
    desk.stores();
    assert_eq!((desk.opened, desk.entries().0), (0, vec![Entry::Life { time: 5 }, task(1)]));
    desk.stores();
    assert_eq!(desk.opened, 1);
}

#[test]
fn one_sync_is_under_way_at_a_time_and_what_gathers_goes_with_the_next() {
    let mut desk = Desk::new();
    for number in 1..=100 {
        desk.call(|job, now| job.submit(now, TaskId(number), &[number as u8], &echo())).expect("taken");
    }
    desk.call(DurableJob::finish);
    assert_eq!(desk.marks, [(File::Journal, 1)]);
    desk.stores();
    assert_eq!(desk.marks, [(File::Journal, 2)]);
    let (entries, _) = desk.entries();
    assert_eq!(entries.len(), 102);
    assert_eq!(entries.last(), Some(&Entry::InputEnd));
    desk.stores();
    assert_eq!(desk.marks, []);
    assert_eq!(desk.job.job().unfinished(), 100);
}

/// A job whose task waits for a worker.
fn with_a_backlog() -> Desk {
    let mut desk = Desk::new();
    desk.stores();
    desk.call(|job, now| job.submit(now, TaskId(1), &[1], &echo())).expect("taken");
    assert_eq!(desk.marks.len(), 1, "nothing waits for a slot yet, so it does not wait either");
    desk.stores();
    assert_eq!(desk.job.job().queued(), 1);
    desk
}

#[test]
fn while_tasks_wait_for_slots_records_gather_for_a_while() {
    let mut desk = with_a_backlog();
    for (number, millis) in [(2, 0), (3, 5)] {
        desk.now = Time::from_millis(millis);
        desk.call(|job, now| job.submit(now, TaskId(number), &[number as u8], &echo())).expect("taken");
    }
    assert_eq!((desk.marks.len(), desk.job.deadline()), (0, Some(Time::from_millis(16))));
    desk.now = Time::from_millis(16);
    desk.call(|job, now| job.handle(now, Input::Wake));
    assert_eq!(desk.marks.len(), 1);
    assert!(
        desk.job.deadline() > Some(Time::from_millis(16)),
        "what is under way is waited for by nobody else"
    );
    desk.stores();
    assert_eq!(desk.job.job().unfinished(), 3);
}

#[test]
fn many_records_and_what_ends_a_job_do_not_wait() {
    let mut desk = with_a_backlog();
    for number in 2..2 + GATHER_MAX as u64 {
        assert_eq!(desk.marks, []);
        desk.call(|job, now| job.submit(now, TaskId(number), &[number as u8], &echo())).expect("taken");
    }
    assert_eq!(desk.marks.len(), 1);
    desk.stores();
    desk.call(|job, now| job.submit(now, TaskId(100), &[100], &echo())).expect("taken");
    assert_eq!(desk.marks, []);
    desk.call(DurableJob::finish);
    assert_eq!(desk.marks.len(), 1);
}

#[test]
fn what_was_printed_goes_along_or_is_flushed() {
    let mut desk = Desk::new();
    desk.stores();
    desk.call(|job, now| job.printed(now, 3));
    assert_eq!(desk.marks, [], "it does not need a sync of its own");
    desk.call(DurableJob::flush);
    assert_eq!((desk.marks.len(), desk.told.len()), (1, 0));
    desk.stores();
    assert_eq!(desk.told, [Event::Flushed]);
    assert_eq!(desk.entries().0.last(), Some(&Entry::Printed { count: 3 }));
}

#[test]
fn the_next_life_makes_safe_what_it_believes_and_counts_on() {
    let mut desk = Desk::new();
    for number in [1, 2] {
        desk.call(|job, now| job.submit(now, TaskId(number), &[number as u8], &echo())).expect("taken");
    }
    desk.stores();
    let (entries, reader) = desk.entries();
    let mut state = State::default();
    entries.iter().for_each(|entry| state.apply(entry));
    assert_eq!((state.unfinished(), state.attempts()), (2, 65_536));
    let resumed = DurableJob::resume(config(), state, reader.writer(), 100, 6, Random::from_seed(2));
    let mut next = Desk { journal: desk.journal.clone(), ..Desk::with(resumed) };
    // (The first wishes came before the octets of the former life were put in front.)
    assert_eq!(next.marks, [(File::Outputs, 1), (File::Journal, 2)]);
    next.call(|job, now| job.again(now, TaskId(1), &echo())).expect("taken");
    next.call(|job, now| job.again(now, TaskId(2), &echo())).expect("taken");
    let last = next.call(|job, now| job.submit(now, TaskId(2), &[2], &echo()));
    assert_eq!(last, Err(SubmitError::NotIncreasing { last: TaskId(2) }));
    assert_eq!(next.opened, 0);
    // The sync under way began before they came; they go with the next.
    next.stores();
    assert_eq!(next.job.job().unfinished(), 0);
    next.stores();
    assert_eq!(next.job.job().unfinished(), 2);
    assert_eq!(next.opened, 1);
}

#[test]
fn a_task_tried_again_wants_nothing_of_the_lives_before() {
    let (mut desk, attempt, worker) = with_a_run();
    desk.call(|job, now| job.submit(now, TaskId(2), &[2], &echo())).expect("taken");
    desk.call(|job, _| job.result(attempt, worker, crate::Status::Exited(1)));
    desk.call(DurableJob::flush);
    let (entries, reader) = desk.entries();
    let mut state = State::default();
    entries.iter().for_each(|entry| state.apply(entry));
    let resumed = DurableJob::resume(config(), state, reader.writer(), 0, 6, Random::from_seed(2));
    let mut next = Desk::with(resumed);
    assert!(next.call(|job, now| job.retry(now, TaskId(1))));
    for task in [1, 2] {
        next.call(|job, now| job.again(now, TaskId(task), &echo())).expect("taken");
    }
    next.stores();
    next.stores();
    let settled = [1, 2].map(|task| next.job.job().settled(TaskId(task)));
    assert_eq!(settled, [Some(journal::ATTEMPTS_PER_LIFE), Some(0)]);
}

#[test]
fn a_job_is_cancelled_when_that_is_in_the_journal_and_nothing_is_started_from_then_on() {
    let mut desk = Desk::new();
    desk.stores();
    desk.call(|job, now| job.submit(now, TaskId(1), &[1], &echo())).expect("taken");
    desk.call(DurableJob::cancel_all);
    assert_eq!(desk.told, []);
    desk.stores();
    desk.stores();
    assert_eq!(desk.told, [Event::AllCancelled]);
    assert_eq!(desk.entries().0[1..], [task(1), Entry::CancelAll]);
    assert_eq!((desk.opened, desk.job.job().unfinished()), (0, 0));
    let late = desk.call(|job, now| job.submit(now, TaskId(2), &[2], &echo()));
    assert_eq!(late, Err(SubmitError::Finished));
}

#[test]
fn a_disk_that_fails_is_told_once_and_asked_for_nothing_more() {
    let mut desk = Desk::new();
    desk.call(|job, now| job.submit(now, TaskId(1), &[1], &echo())).expect("taken");
    desk.call(|job, now| job.disk_failed(now, "No space left".into()));
    desk.call(|job, now| job.disk_failed(now, "No space left".into()));
    assert_eq!(desk.told, [Event::Stopped { why: "No space left".into() }]);
    desk.marks.clear();
    desk.call(DurableJob::finish);
    desk.call(|job, now| job.printed(now, 1));
    desk.call(DurableJob::flush);
    desk.call(|job, now| job.stored(now, 1));
    assert_eq!((desk.marks.len(), desk.told.len(), desk.opened), (0, 1, 0));
}

#[test]
fn a_full_job_counts_what_waits_for_the_disk() {
    let mut small = config();
    small.tasks_max = 2;
    let mut desk = Desk::with(DurableJob::begin(small, b"", 5, Random::from_seed(1)));
    let submit = |desk: &mut Desk, number| {
        desk.call(|job, now| job.submit(now, TaskId(number), &[number as u8], &echo()))
    };
    submit(&mut desk, 1).expect("room");
    submit(&mut desk, 2).expect("room");
    assert_eq!(submit(&mut desk, 3), Err(SubmitError::Full));
    desk.call(|job, now| job.cancel(now, TaskId(1)));
    desk.stores();
    desk.stores();
    assert!(desk.call(|job, now| job.cancel(now, TaskId(1))));
    assert_eq!(desk.told, [Event::Room]);
}

#[test]
fn without_a_journal_nothing_waits_for_the_disk() {
    let mut desk = Desk::with(DurableJob::unrecorded(config(), Random::from_seed(1)));
    desk.call(|job, now| job.submit(now, TaskId(1), &[1], &echo())).expect("taken");
    assert_eq!(desk.opened, 1, "somebody is looked for at once");
    desk.call(DurableJob::finish);
    desk.call(|job, now| job.printed(now, 0));
    desk.call(DurableJob::flush);
    assert_eq!(desk.told, [Event::Flushed]);
    assert_eq!((desk.journal.len(), desk.marks.len()), (0, 0));
}

#[test]
fn without_a_journal_only_large_outputs_are_waited_for() {
    let mut desk = Desk::with(DurableJob::unrecorded(config(), Random::from_seed(1)));
    let attempt = Attempt { task: TaskId(1), number: 1 };
    let worker = ElementId(3);
    desk.call(|job, now| job.submit(now, TaskId(1), &[1], &echo())).expect("taken");
    // In the place of the job inside, whose workers are in the simulator.
    desk.whole = false;
    desk.call(|job, _| {
        job.hear(job::Event::Started { attempt, worker });
        job.output(attempt, Stream::OUTPUT, vec![0; BLOCK]);
        job.result(attempt, worker, crate::Status::Exited(0));
    });
    assert_eq!(desk.marks, [(File::Outputs, 1)]);
    let accepted = |told: &Event| matches!(told, Event::Accepted(_));
    assert!(!desk.told.iter().any(accepted), "its output is on its way");
    // What comes meanwhile waits its turn, and for no second sync.
    desk.call(|job, now| job.flush(now));
    assert!(!desk.told.contains(&Event::Flushed));
    desk.stores();
    let place = desk.told.iter().position(accepted).expect("accepted");
    let flushed = desk.told.iter().position(|told| *told == Event::Flushed).expect("flushed");
    assert!(place < flushed);
    assert_eq!((desk.journal.len(), desk.marks.len()), (0, 0));
}

/// A job whose task runs, and what its execution and worker are called. In the place of the job inside, whose workers are
/// in the simulator, stands the test.
fn with_a_run() -> (Desk, Attempt, ElementId) {
    let mut desk = Desk::new();
    desk.whole = false;
    desk.call(|job, now| job.submit(now, TaskId(1), &[1], &echo())).expect("taken");
    desk.stores();
    desk.stores();
    let (attempt, worker) = (Attempt { task: TaskId(1), number: 1 }, ElementId(3));
    desk.call(|job, _| job.hear(job::Event::Started { attempt, worker }));
    (desk, attempt, worker)
}

/// The result as the journal has it, which can be read behind it.
fn recorded(mut desk: Desk) -> Box<Accepted> {
    desk.call(DurableJob::finish);
    let (mut entries, _) = desk.entries();
    assert_eq!(entries.pop(), Some(Entry::InputEnd));
    let Some(Entry::Accepted(accepted)) = entries.pop() else { panic!("{entries:?}") };
    accepted
}

#[test]
fn a_record_is_short_however_often_the_streams_take_turns() {
    let (mut desk, attempt, worker) = with_a_run();
    let turns = 3 * BLOCK;
    desk.call(|job, _| {
        for turn in 0..turns {
            let stream = [Stream::OUTPUT, Stream::ERROR][turn % 2];
            job.output(attempt, stream, vec![b'x']);
        }
        job.result(attempt, worker, crate::Status::Exited(0));
    });
    desk.stores();
    let journal::Output::Elsewhere(blocks) = recorded(desk).output else { panic!("it is in blocks") };
    assert_eq!(blocks.iter().map(|block| block.length).sum::<u64>(), turns as u64);
    let pieces: usize = blocks.iter().map(|block| block.pieces.len()).sum();
    assert!(blocks.len() <= 6 && pieces <= 6, "{} blocks, {pieces} pieces", blocks.len());
}

#[test]
fn blocks_are_no_smaller_because_others_fill_the_memory() {
    let (mut desk, attempt, worker) = with_a_run();
    desk.call(|job, _| {
        for task in 2.. {
            let left = GATHERED_MAX - job.gathered;
            if left == 0 {
                break;
            }
            let attempt = Attempt { task: TaskId(task), number: 1 };
            job.hear(job::Event::Started { attempt, worker });
            job.output(attempt, Stream::OUTPUT, vec![b'x'; left.min(BLOCK - 1)]);
        }
        for _ in 0..2 * BLOCK / 20 {
            job.output(attempt, Stream::OUTPUT, vec![b'x'; 20]);
            assert!(job.gathered <= GATHERED_MAX);
        }
        job.result(attempt, worker, crate::Status::Exited(0));
    });
    desk.stores();
    let journal::Output::Elsewhere(blocks) = recorded(desk).output else { panic!("it is in blocks") };
    assert!(blocks.len() <= 4, "{} blocks", blocks.len());
}

#[test]
fn a_result_that_no_record_can_hold_is_a_bad_one_and_the_journal_goes_on() {
    // More blocks than a record can name, of a worker that has many streams to its name.
    let (mut desk, attempt, worker) = with_a_run();
    desk.call(|job, _| {
        for _ in 0..5000 {
            (4..=255).for_each(|stream| job.output(attempt, Stream(stream), vec![b'x']));
            job.write(attempt);
        }
        job.result(attempt, worker, crate::Status::Exited(0));
    });
    desk.stores();
    let many = recorded(desk);
    // And one that goes on where nobody knows how to cut what was before.
    let (mut desk, attempt, worker) = with_a_run();
    let next = Attempt { number: 2, ..attempt };
    desk.call(|job, _| {
        for turn in 0..BLOCK {
            let stream = [Stream::OUTPUT, Stream::ERROR][turn % 2];
            job.output(attempt, stream, vec![b'x']);
        }
        job.hear(job::Event::Continued { attempt: next, of: 1, octets: 7 });
        job.result(next, worker, crate::Status::Exited(3));
    });
    desk.stores();
    let torn = recorded(desk);
    for (accepted, status) in [(many, 0), (torn, 3)] {
        let why = format!("exit status {status}, but its output is in too many pieces to be kept");
        assert_eq!(accepted.status, crate::Status::Incomplete(why));
        assert_eq!(accepted.output, journal::Output::default());
    }
}
