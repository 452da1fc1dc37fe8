//! What a job promises, one sentence each; then many jobs with many faults.

mod world;

use super::{Backups, Cause, Event, Job, SubmitError};
use crate::fractal::{Rect, Scene};
use crate::protocol::{Attempt, Batch, Frame, Frames, Status, TaskId};
use crate::work::Work;
use rserpool::user::{FailoverCause, Failure};
use rserpool::{Random, Time};
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use world::{World, command, id, item, needing, spin, these};

fn echo(text: &str) -> Work {
    Work::Echo(text.into())
}

/// 300 rows of four pixels, 12 octets each.
fn tile() -> Work {
    let scene = Scene { width: 4, height: 300, iterations: 20, samples: 1, ..Scene::default() };
    Work::Tile { scene, rect: Rect { left: 0, top: 0, width: 4, height: 300 } }
}

fn pixels() -> Vec<u8> {
    let Work::Tile { scene, rect } = tile() else { unreachable!() };
    scene.render(&rect)
}

fn attempt(task: u64, number: u32) -> Attempt {
    Attempt { task: TaskId(task), number }
}

impl World {
    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    fn joined(&self) -> usize {
        self.count(|event| matches!(event, Event::WorkerJoined { .. }))
    }
}

#[test]
fn every_task_gets_its_own_result() {
    let mut world = World::new(1);
    world.worker(1);
    world.worker(2);
    for task in 0..100 {
        world.submit(task, &echo(&format!("task {task}")));
    }
    world.run_to_the_end();
    assert_eq!(world.results.len(), 100);
    for (task, result) in &world.results {
        assert_eq!(result.output, format!("task {task}").into_bytes());
        assert_eq!((&result.status, result.number), (&Status::Exited(0), 1));
    }
    let counts = world.job.counts();
    assert_eq!((counts.submitted, counts.accepted, counts.succeeded), (100, 100, 100));
    assert_eq!((counts.started, counts.repeated, counts.failovers, counts.late), (100, 0, 0, 0));
    assert_eq!(world.events.last(), Some(&Event::Finished(counts)));
}

#[test]
fn an_empty_job_finishes_without_a_word() {
    let mut world = World::new(1);
    world.run_to_the_end();
    assert_eq!(world.events, [Event::Finished(super::Counts::default())]);
}

#[test]
fn all_slots_of_all_workers_are_used() {
    let mut world = World::new(2);
    for slots in [1, 2, 3] {
        world.worker(slots);
    }
    world.run_until(10);
    for task in 0..60 {
        world.submit(task, &spin(100));
    }
    world.run_to_the_end();
    // Six slots, sixty tasks: ten rounds of 100 ms, and the ways between them.
    assert!(world.now.since(Time::from_millis(10)) < Duration::from_millis(1050), "{}", world.now);
    let shares: Vec<_> = world.job.workers().values().map(|worker| worker.accepted).collect();
    assert_eq!(shares, [10, 20, 30]);
}

#[test]
fn short_tasks_hide_the_way_to_the_worker() {
    let mut world = World::new(3);
    world.worker(1);
    world.worker(1);
    world.run_until(10);
    for task in 0..1000 {
        world.submit(task, &Work::Sleep(Duration::from_millis(10)));
    }
    world.run_to_the_end();
    // Ideal: 5,000 ms.
    let took = world.now.since(Time::from_millis(10));
    assert!(took < Duration::from_millis(5_015), "{took:?}");
}

#[test]
fn an_exit_status_is_a_result_and_not_tried_again() {
    let mut world = World::new(4);
    world.worker(1);
    world.submit(1, &command("exit 3"));
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(1)].status, Status::Exited(3));
    let counts = world.job.counts();
    assert_eq!((counts.accepted, counts.succeeded, counts.started), (1, 0, 1));
}

#[test]
fn the_tasks_of_a_dead_worker_run_elsewhere() {
    let mut world = World::new(5);
    world.worker(1);
    world.worker(1);
    for task in 0..20 {
        world.submit(task, &spin(50));
    }
    world.run_until(200);
    let before = world.results.len();
    world.kill(0);
    world.run_to_the_end();
    assert_eq!(world.results.len(), 20);
    let lost = world.count(|event| {
        matches!(event, Event::WorkerLost { worker, cause: FailoverCause::Lost, .. } if *worker == id(0))
    });
    assert_eq!(lost, 1);
    let counts = world.job.counts();
    assert_eq!((counts.failovers, counts.repeated, counts.late), (1, 1, 0));
    // One worker left: the rest, one after the other.
    let took = world.now.since(Time::from_millis(200));
    let ideal = Duration::from_millis(50) * (20 - before as u32);
    assert!(took < ideal + Duration::from_millis(60), "{took:?} for {before} less than 20");
}

#[test]
fn a_hung_worker_is_noticed_and_its_late_result_is_discarded_and_counted() {
    let mut world = World::new(6);
    world.worker(1);
    world.worker(1);
    for task in 0..40 {
        world.submit(task, &spin(100));
    }
    world.run_until(350);
    world.stop(0);
    world.run_until(2_000);
    let hung = Event::WorkerLost { worker: id(0), cause: FailoverCause::Hung, tasks: 1 };
    assert_eq!(world.count(|event| *event == hung), 1);
    world.go_on(0);
    world.run_to_the_end();
    assert_eq!(world.results.len(), 40);
    let counts = world.job.counts();
    assert_eq!((counts.failovers, counts.late, counts.repeated), (1, 1, 1));
    let late = world.events.iter().find(|event| matches!(event, Event::Discarded { .. })).expect("counted");
    let Event::Discarded { attempt, worker } = late else { unreachable!() };
    assert_eq!((attempt.number, *worker), (1, id(0)));
    assert_eq!(world.results[&attempt.task].number, 2);
    assert_eq!(world.results[&attempt.task].worker, id(1));
    // It takes part again.
    assert_eq!(world.joined(), 3);
    assert!(world.job.workers()[&id(0)].accepted > 5, "{:?}", world.job.workers());
}

#[test]
fn the_only_worker_may_hang_and_come_back() {
    let mut world = World::new(7);
    world.worker(1);
    for task in 0..5 {
        world.submit(task, &spin(100));
    }
    world.run_until(250);
    world.stop(0);
    world.run_until(5_000);
    assert_eq!(world.results.len(), 2);
    world.go_on(0);
    world.run_to_the_end();
    assert_eq!(world.results.len(), 5);
    assert_eq!(world.job.counts().late, 1);
}

#[test]
fn a_worker_that_joins_gets_work_at_once() {
    let mut world = World::new(8);
    world.worker(1);
    for task in 0..40 {
        world.submit(task, &spin(100));
    }
    world.run_until(1_000);
    let late = world.worker(1);
    world.run_until(1_700);
    assert!(world.job.running().any(|(_, worker)| worker == id(late)));
    world.run_to_the_end();
    assert!(world.job.workers()[&id(late)].accepted > 10);
}

#[test]
fn without_workers_the_job_waits_says_so_once_and_goes_on_when_one_comes() {
    let mut world = World::new(9);
    world.submit(1, &echo("a"));
    world.run_until(3_000);
    assert_eq!(world.events, [Event::Waiting { why: Failure::UnknownPool }]);
    world.worker(1);
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(1)].output, b"a");
}

#[test]
fn all_workers_die_and_new_ones_finish_the_job() {
    let mut world = World::new(10);
    world.worker(2);
    world.worker(2);
    for task in 0..20 {
        world.submit(task, &spin(100));
    }
    world.run_until(250);
    world.kill(0);
    world.kill(1);
    world.run_until(3_000);
    assert_eq!(world.results.len(), 8);
    assert_eq!(world.events.last(), Some(&Event::Waiting { why: Failure::UnknownPool }));
    world.worker(4);
    world.run_to_the_end();
    assert_eq!(world.results.len(), 20);
    assert_eq!(world.job.counts().repeated, 4);
}

#[test]
fn a_poison_task_fails_alone() {
    let mut world = World::new(11);
    for _ in 0..8 {
        world.worker(1);
    }
    world.submit(0, &command("poison"));
    for task in 1..40 {
        world.submit(task, &spin(20));
    }
    world.run_to_the_end();
    let poison = Cause::WorkersDied { times: 5 };
    assert_eq!(world.failed.iter().collect::<Vec<_>>(), [(&TaskId(0), &poison)]);
    assert_eq!(poison.to_string(), "5 workers died or hung while it was running");
    assert_eq!(world.results.len(), 39);
    assert_eq!(world.job.counts().failovers, 5);
}

#[test]
fn a_task_no_worker_can_start_fails_with_the_reason() {
    let mut world = World::new(12);
    world.worker(1);
    world.worker(1);
    world.submit(0, &command("missing"));
    world.submit(1, &echo("x"));
    world.run_to_the_end();
    let why = "no such program".to_owned();
    assert_eq!(world.failed[&TaskId(0)], Cause::CouldNotStart { times: 3, why });
    assert_eq!(world.results.len(), 1);
}

#[test]
fn large_output_streams_with_bounded_memory() {
    let mut world = World::new(13);
    world.worker(1);
    world.submit(0, &command("big 10000000"));
    world.run_to_the_end();
    let result = &world.results[&TaskId(0)];
    assert_eq!(result.output.len(), 10_000_000);
    let upwards = result.output.chunks(1 << 18).all(|part| part.len() > (1 << 17) || !part.is_empty());
    assert!(upwards && world.job.counts().octets == 10_000_000);
    // Windows are granted as output is taken: many chunks, none above the limit.
    let mut chunks = 0;
    for event in &world.events {
        if let Event::Chunk { octets, .. } = event {
            chunks += 1;
            assert!(octets.len() <= crate::protocol::CHUNK_MAX);
        }
    }
    assert!(chunks >= 39, "{chunks}");
}

#[test]
fn output_of_an_attempt_that_dies_is_dropped_and_comes_once() {
    let mut world = World::new(14);
    world.worker(1);
    world.worker(1);
    // Slow enough to be caught in the middle: a message takes up to 20 ms.
    world.delay = Duration::from_millis(20);
    world.submit(0, &command("big 5000000"));
    world.run_until_that(|world| world.count(|event| matches!(event, Event::Chunk { .. })) >= 5);
    let (_, worker) = world.job.running().next().expect("it runs");
    world.kill(worker.0 as usize - 1);
    world.run_to_the_end();
    assert_eq!(world.count(|event| *event == Event::Dropped { attempt: attempt(0, 1) }), 1);
    assert_eq!((world.results[&TaskId(0)].number, world.results[&TaskId(0)].output.len()), (2, 5_000_000));
}

#[test]
fn a_tile_goes_on_from_its_checkpoint_on_the_next_worker() {
    let mut world = World::new(15);
    world.worker(1);
    world.worker(1);
    world.submit(0, &tile());
    world.run_until(250);
    let (_, worker) = world.job.running().next().expect("it runs");
    world.kill(worker.0 as usize - 1);
    world.run_to_the_end();
    let continued = world.events.iter().find_map(|event| match event {
        Event::Continued { attempt, of: 1, octets } if attempt.number == 2 => Some(*octets),
        _ => None,
    });
    let octets = continued.expect("it went on");
    // At least up to the last cookie but one: 100 ms, 100 rows.
    assert!(octets >= 100 * 12 && octets % 12 == 0, "{octets}");
    assert_eq!(world.results[&TaskId(0)].output, pixels());
    let counts = world.job.counts();
    assert_eq!((counts.continued, counts.repeated, counts.late), (1, 1, 0));
    assert!(world.now < Time::from_millis(460), "{}: no more than a cookie's time is repeated", world.now);
}

#[test]
fn a_cancelled_task_is_not_started_and_not_accepted() {
    let mut world = World::new(16);
    world.worker(1);
    world.run_until(10);
    for task in 0..4 {
        world.submit(task, &spin(100));
    }
    world.run_until(50);
    let (running, _) = world.job.running().next().expect("one runs");
    assert!(world.call(|job, now| job.cancel(now, running.task)));
    assert!(!world.call(|job, now| job.cancel(now, running.task)));
    assert!(world.call(|job, now| job.cancel(now, TaskId(3))));
    assert!(!world.call(|job, now| job.cancel(now, TaskId(99))));
    world.run_to_the_end();
    assert_eq!(world.results.len(), 2);
    let counts = world.job.counts();
    assert_eq!((counts.cancelled, counts.accepted, counts.started), (2, 2, 3));
    assert_eq!(world.count(|event| *event == Event::Cancelled { task: TaskId(3) }), 1);
    assert!(world.now < Time::from_millis(300), "the slot is free at once");
}

#[test]
fn after_cancel_all_nothing_more_happens_but_the_end() {
    let mut world = World::new(17);
    world.worker(2);
    for task in 0..10 {
        world.submit(task, &spin(1000));
    }
    world.run_until(100);
    world.call(Job::cancel_all);
    assert!(world.finished);
    world.run_until(2_000);
    assert_eq!((world.results.len(), world.service(0).running()), (0, 0));
    let refused = world.call(|job, now| job.submit(now, TaskId(100), &echo("")));
    assert_eq!(refused, Err(SubmitError::Finished));
}

#[test]
fn a_draining_worker_gives_its_waiting_tasks_back_and_leaves() {
    let mut world = World::new(18);
    world.worker(1);
    world.worker(1);
    for task in 0..20 {
        world.submit(task, &spin(50));
    }
    world.run_until(130);
    world.drain(0, Duration::from_secs(60));
    world.run_until(300);
    assert!(world.workers[0].as_ref().expect("alive").drained);
    assert_eq!(world.count(|event| *event == Event::WorkerLeft { worker: id(0) }), 1);
    world.run_to_the_end();
    assert_eq!((world.results.len(), world.job.counts().repeated), (20, 0));
    assert!(world.results.values().all(|result| result.status.is_success()));
}

#[test]
fn what_a_worker_gives_back_goes_on_elsewhere_and_is_not_charged() {
    let mut world = World::with(31, |config| config.deaths_max = 1);
    world.worker(2);
    world.worker(2);
    world.run_until(10);
    world.submit(0, &tile());
    world.submit(1, &spin(400));
    world.submit(2, &tile());
    world.submit(3, &spin(400));
    world.run_until(250);
    world.drain(0, Duration::ZERO);
    world.run_to_the_end();
    assert_eq!(world.results.len(), 4, "{:?}", world.failed);
    let counts = world.job.counts();
    assert_eq!(
        (counts.failovers, counts.repeated, counts.continued),
        (0, 2, 1),
        "the tile went on, the spin began anew"
    );
    assert_eq!(world.count(|event| *event == Event::WorkerLeft { worker: id(0) }), 1);
    assert!(world.workers[0].as_ref().expect("alive").drained);
    assert!(world.results.values().all(|result| result.status.is_success()));
}

#[test]
fn a_drained_worker_gets_no_new_session() {
    let mut world = World::new(32);
    world.worker(1);
    world.worker(1);
    for task in 0..10 {
        world.submit(task, &spin(300));
    }
    world.run_until(100);
    world.drain(0, Duration::from_secs(60));
    world.run_to_the_end();
    // S9: one session, and none after it left; its own task it brought to its end.
    let by_worker = |worker| world.results.values().filter(|result| result.worker == id(worker)).count();
    assert_eq!((by_worker(0), by_worker(1)), (1, 9));
    assert_eq!(world.joined(), 2);
}

#[test]
fn tasks_run_only_where_what_they_need_is() {
    let mut world = World::new(33);
    world.worker(4);
    world.worker_with(4, &["gpu=1", "tag:ssd"]);
    world.worker_with(4, &["gpu=2"]);
    for task in 0..30 {
        let needs: &[&str] = [&[][..], &["gpu=1"], &["gpu=1", "tag:ssd"]][task as usize % 3];
        world.submit_needing(task, &spin(100), needs);
    }
    world.run_to_the_end();
    assert_eq!((world.results.len(), world.failed.len()), (30, 0));
    for (task, result) in &world.results {
        match task.0 % 3 {
            1 => assert_ne!(result.worker, id(0), "task {task}"),
            2 => assert_eq!(result.worker, id(1), "task {task}"),
            _ => {}
        }
    }
    assert_eq!(world.count(|event| matches!(event, Event::Unmet { .. })), 0);
}

#[test]
fn tasks_without_needs_do_not_wait_behind_those_with() {
    let mut world = World::new(34);
    world.worker_with(2, &["gpu=1"]);
    for task in 0..100 {
        world.submit_needing(task, &spin(100), &["gpu=1"]);
    }
    for task in 100..110 {
        world.submit(task, &spin(100));
    }
    world.run_until(1_300);
    assert_eq!((100..110).filter(|task| world.results.contains_key(&TaskId(*task))).count(), 10);
}

#[test]
fn a_need_nobody_can_meet_is_told_and_met_by_who_comes_later() {
    let mut world = World::new(35);
    world.worker_with(1, &["gpu=1"]);
    world.worker(1);
    world.submit_needing(1, &echo("a"), &["gpu=4", "tag:ssd"]);
    world.submit(2, &echo("b"));
    world.run_until(5_000);
    let needs = these(&["gpu=4", "tag:ssd"]);
    let lacks = "gpu=4 (at most 1), tag:ssd".to_owned();
    let told: Vec<_> = world.events.iter().filter(|event| matches!(event, Event::Unmet { .. })).collect();
    assert_eq!(told.last(), Some(&&Event::Unmet { needs, lacks, tasks: 1, workers: 2 }));
    assert!(told.len() <= 2, "told when it changes, not again and again: {told:?}");
    assert_eq!(world.results.len(), 1);
    let late = world.worker_with(1, &["gpu=4", "tag:ssd"]);
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(1)].worker, id(late));
}

#[test]
fn the_one_suitable_worker_is_found_behind_any_number_of_others() {
    let mut world = World::with(36, |config| config.lanes_max = 2);
    for _ in 0..5 {
        world.worker(1);
    }
    let last = world.worker_with(1, &["gpu=1"]);
    world.submit_needing(1, &echo("a"), &["gpu=1"]);
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(1)].worker, id(last));
}

#[test]
fn a_task_that_fails_is_tried_again_elsewhere_as_often_as_it_may() {
    let mut world = World::with(37, |config| config.retries = 2);
    world.worker(1);
    world.worker(1);
    world.submit(0, &spin(200));
    world.submit(1, &spin(200));
    world.run_until(100);
    assert_eq!(world.joined(), 2);
    world.submit(5, &command("exit 7"));
    world.submit(6, &command("greedy"));
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(5)].status, Status::Exited(7));
    assert_eq!(world.results[&TaskId(6)].status, Status::OverMemory { limit: 1 << 20 });
    assert_eq!(world.results[&TaskId(5)].number, 3);
    let counts = world.job.counts();
    assert_eq!((counts.retries, counts.started, counts.accepted, counts.succeeded), (4, 8, 4, 2));
    let tried = world.events.iter().filter_map(|event| match event {
        Event::Again { attempt, worker, .. } if attempt.task == TaskId(5) => Some(*worker),
        _ => None,
    });
    let tried: Vec<_> = tried.collect();
    assert!(tried.len() == 2 && tried[0] != tried[1], "{tried:?}");
}

#[test]
fn a_stopped_task_is_rescued_by_a_backup() {
    let mut world = World::with(38, |config| config.backups = Backups::Always);
    world.worker(2);
    world.worker(2);
    for task in 0..20 {
        world.submit(task, &spin(50));
    }
    world.submit(20, &command("stuck"));
    world.run_to_the_end();
    assert_eq!(world.results.len(), 21);
    assert_eq!((world.results[&TaskId(20)].number, world.job.counts().backups), (2, 1));
    assert_eq!(world.job.counts().late, 0, "the loser was cancelled before it could say anything");
}

#[test]
fn a_job_of_hours_keeps_its_promises() {
    let hour = 3_600_000;
    let mut world = World::with(39, |config| config.backups = Backups::Pure);
    world.worker(1);
    world.worker(1);
    for task in 0..6 {
        world.submit(task, &spin(10 * hour));
    }
    for at in 1..=31 {
        world.run_until(at * hour);
        let running = world.job.running().count();
        assert!(running == 2 || at >= 30, "{running} run after {at} hours");
    }
    world.run_until(hour * 31);
    world.call(Job::finish);
    assert!(world.finished);
    assert_eq!((world.results.len(), world.job.counts().repeated), (6, 0));
}

#[test]
fn tasks_waiting_at_a_busy_worker_are_called_back_for_an_idle_one() {
    let mut world = World::new(19);
    world.worker(1);
    world.worker(1);
    world.run_until(10);
    // Many short tasks make the job send some ahead; then one long task has them wait behind it.
    for task in 0..400 {
        world.submit(task, &spin(1));
    }
    world.submit(400, &spin(2000));
    for task in 401..420 {
        world.submit(task, &spin(1));
    }
    world.run_until(600);
    assert_eq!(world.results.len(), 419, "all but the long one");
    world.run_to_the_end();
    assert_eq!(world.job.counts().repeated, 0);
}

#[test]
fn words_about_short_tasks_share_messages_and_those_about_long_ones_do_not_wait() {
    let mut world = World::new(44);
    world.worker(1);
    world.run_until(10);
    let said = Rc::new(Cell::new([0, 0]));
    let counts = said.clone();
    world.tamper = Some(Box::new(move |bytes| {
        let [to_worker, from_worker] = counts.get();
        counts.set(if bytes[0] < 0x80 { [to_worker + 1, from_worker] } else { [to_worker, from_worker + 1] });
        true
    }));
    for task in 0..400 {
        world.submit(task, &spin(1));
    }
    world.run_until_that(|world| world.results.len() == 400);
    let [to_worker, from_worker] = said.get();
    assert!(to_worker < 100 && from_worker < 200, "{to_worker} and {from_worker} messages for 400 tasks");
    world.run_to_the_end();

    let mut world = World::new(45);
    world.worker(1);
    world.run_until(10);
    let begun = world.now;
    for task in 0..4 {
        world.submit(task, &spin(100));
    }
    let starts = |event: &&Event| matches!(event, Event::Started { .. });
    world.run_until_that(|world| world.events.iter().filter(starts).count() == 4);
    let late = world.now.since(begun).saturating_sub(Duration::from_millis(300));
    assert!(late <= world.delay * 8, "each is asked for, begun and heard of without a pause, not {late:?}");
    world.run_to_the_end();
}

#[test]
fn the_last_acknowledgement_leaves_although_a_cancelled_task_has_not_stopped() {
    let mut world = World::new(46);
    world.worker(2);
    world.submit(0, &spin(10_000));
    world.submit(1, &spin(50));
    world.run_until_that(|world| world.job.counts().started == 2);
    // That it stopped does not arrive.
    world.tamper = Some(Box::new(|bytes| bytes[0] != 0x85 || bytes[4..12] != [0; 8]));
    world.call(|job, now| job.cancel(now, TaskId(0)));
    world.call(Job::finish);
    world.run_until_that(|world| world.finished);
    let later = world.now.since(Time::ZERO).as_millis() as u64 + 100;
    world.run_until(later);
    assert_eq!(world.service(0).unsettled(), 0, "it keeps nothing for a client that has everything");
}

#[test]
fn a_task_does_not_wait_behind_another_job_while_a_worker_is_idle() {
    let mut world = World::new(42);
    world.worker(1);
    world.worker(1);
    world.run_until(10);
    world.occupy(0, 1, 10_000);
    world.submit(0, &spin(10));
    world.submit(1, &spin(10));
    world.run_until(600);
    assert_eq!(world.results.len(), 2, "{:?}", world.job.running().collect::<Vec<_>>());
    assert!(world.results.values().all(|result| result.worker == id(1)));
    // Where others were in the way comes last from then on.
    for task in 2..6 {
        world.submit(task, &spin(10));
        world.run_until(600 + task * 20);
        assert_eq!(world.results[&TaskId(task)].worker, id(1));
    }
    world.run_to_the_end();
    let counts = world.job.counts();
    assert_eq!((counts.started, counts.repeated), (6, 0), "what is called back did not begin");
}

#[test]
fn a_task_finds_the_one_idle_worker_among_many_that_others_have() {
    let mut world = World::new(43);
    for _ in 0..12 {
        world.worker(2);
    }
    world.submit(0, &spin(1));
    world.run_until(100);
    assert_eq!(world.job.worker_count(), 1, "a single task needs no more of them");
    let found = world.results[&TaskId(0)].worker.0 as usize - 1;
    (0..12).filter(|worker| *worker != found).for_each(|worker| world.occupy(worker, 2, 60_000));
    for task in 1..=24 {
        world.submit(task, &spin(10));
    }
    world.run_until(4_000);
    assert_eq!(world.results.len(), 25, "{:?}", world.job.counts());
    assert_eq!(world.job.counts().repeated, 0);
}

#[test]
fn where_all_slots_are_taken_by_others_a_task_waits_and_is_begun_soon_after_one_is_free() {
    let mut world = World::new(44);
    for (worker, millis) in [60_000, 5_000, 60_000].into_iter().enumerate() {
        assert_eq!(world.worker(1), worker);
        world.run_until(10 * (worker as u64 + 1));
        world.occupy(worker, 1, millis);
    }
    for task in 0..3 {
        world.submit(task, &spin(10));
    }
    world.run_until(5_000);
    assert_eq!(world.results.len(), 0);
    world.run_until(9_000);
    assert_eq!(world.results.len(), 3, "{:?}", world.job.counts());
    assert!(world.results.values().all(|result| result.worker == id(1)));
}

#[test]
fn a_task_whose_input_is_on_its_way_is_not_called_back() {
    let mut world = World::new(45);
    world.worker(1);
    world.worker(1);
    world.delay = Duration::from_millis(40);
    world.run_until(400);
    world.submit(0, &needing(&[item(7, 8 << 20)]));
    world.run_until(1_000);
    assert_eq!(world.results.len(), 0, "it takes longer than a task may take to begin");
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(0)].number, 1, "its first attempt is the one that ran");
}

#[test]
fn a_straggler_gets_a_backup_and_the_first_result_counts() {
    let mut world = World::with(28, |config| config.backups = Backups::Pure);
    world.worker(1);
    world.worker(1);
    world.run_until(10);
    for task in 0..20 {
        world.submit(task, &spin(100));
    }
    world.run_until(960);
    // Too short for the heartbeat to notice, long enough to hold the job up.
    let (slow, _) = world.job.running().find(|(_, worker)| *worker == id(0)).expect("it has one");
    world.stop(0);
    world.run_until(1_700);
    assert_eq!(world.results.len(), 20);
    let result = &world.results[&slow.task];
    assert_eq!((result.number, result.worker), (2, id(1)));
    assert_eq!(world.count(|event| *event == Event::Dropped { attempt: slow }), 1);
    world.go_on(0);
    world.run_until(1_710);
    let counts = world.job.counts();
    // It was told to stop before it could tell its result.
    assert_eq!((counts.backups, counts.repeated, counts.late, counts.failovers), (1, 1, 0, 0));
    world.run_to_the_end();
    assert_eq!(world.service(0).running() + world.service(1).running(), 0);
}

#[test]
fn a_backup_goes_on_alone_when_the_first_worker_dies() {
    let mut world = World::with(29, |config| config.backups = Backups::Pure);
    world.worker(1);
    world.worker(1);
    world.run_until(10);
    world.submit(0, &spin(10));
    world.submit(1, &spin(2_000));
    world.run_until(1_000);
    let running: Vec<_> = world.job.running().collect();
    assert_eq!(running.len(), 2, "the straggler and its backup: {running:?}");
    let first = running.iter().find(|(attempt, _)| attempt.number == 1).expect("the straggler").1;
    world.kill(first.0 as usize - 1);
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(1)].number, 2);
    let counts = world.job.counts();
    assert_eq!((counts.started, counts.backups, counts.failovers), (3, 1, 1));
}

#[test]
fn a_backup_that_is_behind_the_last_checkpoint_gives_way_to_it() {
    let mut world = World::with(41, |config| {
        (config.backups, config.backup_after) = (Backups::Pure, Duration::from_millis(230));
    });
    world.worker(1);
    world.worker(1);
    world.run_until(10);
    world.submit(0, &spin(1));
    world.submit(1, &tile());
    world.run_until_that(|world| world.job.counts().backups == 1);
    let first = world.job.running().find(|(attempt, _)| attempt.number == 1).expect("the straggler").1;
    world.kill(first.0 as usize - 1);
    world.run_to_the_end();
    let continued = world.events.iter().find_map(|event| match event {
        Event::Continued { attempt, of: 1, octets } if attempt.number == 3 => Some(*octets),
        _ => None,
    });
    let octets = continued.expect("it went on from where the first one was");
    assert!(octets >= 100 * 12, "{octets}");
    let result = &world.results[&TaskId(1)];
    assert_eq!((result.number, &result.output), (3, &pixels()));
    let counts = world.job.counts();
    assert_eq!((counts.backups, counts.continued, counts.failovers), (1, 1, 1));
    assert_eq!(world.count(|event| *event == Event::Dropped { attempt: attempt(1, 2) }), 1);
    assert!(world.now < Time::from_millis(460), "{}: no more than a cookie's time is repeated", world.now);
}

#[test]
fn commands_get_no_backup_unless_the_application_says_so() {
    for (backups, begun) in [(Backups::Pure, 0), (Backups::Always, 1)] {
        let mut world = World::with(30, |config| config.backups = backups);
        world.worker(1);
        world.worker(1);
        world.run_until(10);
        world.submit(0, &spin(10));
        world.submit(1, &command("forever"));
        world.run_until(1_000);
        assert_eq!(world.job.counts().backups, begun);
        world.call(Job::cancel_all);
        world.run_until(1_100);
        assert_eq!(world.service(0).running() + world.service(1).running(), 0);
    }
}

#[test]
fn with_a_journal_a_worker_waits_for_the_record() {
    let mut world = World::with(20, |config| config.journal = true);
    world.worker(1);
    world.submit(1, &echo("x"));
    world.call(Job::finish);
    world.run_until(1_000);
    assert_eq!(world.results.len(), 1);
    assert!(!world.finished, "the result is not safe yet");
    world.call(|job, now| job.recorded(now, attempt(1, 1)));
    assert!(world.finished);
}

#[test]
fn a_result_said_twice_or_of_another_attempt_is_discarded_and_counted() {
    let mut world = World::new(24);
    world.worker(1);
    world.tamper = Some(Box::new(|bytes| {
        if bytes[0] == 0x85 {
            let result = bytes[..32].to_vec();
            let mut other = result.clone();
            other[15] = 9; // the number of the attempt
            bytes.splice(0..0, other);
            bytes.extend(result);
        }
        true
    }));
    for task in 0..3 {
        // One after the other: each result has a message of its own.
        world.submit(task, &Work::Sleep(Duration::from_millis(1)));
        world.run_until(1_000 * (task + 1));
    }
    world.run_to_the_end();
    assert_eq!(world.results.len(), 3);
    assert!(world.results.values().all(|result| result.number == 1));
    assert_eq!((world.job.counts().late, world.job.counts().accepted), (6, 3));
}

#[test]
fn a_task_that_kills_its_worker_before_it_can_say_so_is_charged() {
    let mut world = World::new(25);
    for _ in 0..6 {
        world.worker(1);
    }
    // Nothing a worker says of running tasks arrives.
    world.tamper = Some(Box::new(|bytes| bytes[0] != 0x83));
    world.submit(0, &command("poison"));
    world.run_to_the_end();
    assert_eq!(world.failed[&TaskId(0)], Cause::WorkersDied { times: 5 });
    assert_eq!(world.job.counts().started, 0);
}

#[test]
fn a_task_that_waits_for_a_slot_of_others_is_not_charged_with_the_end_of_its_worker() {
    let mut world = World::with(27, |config| config.deaths_max = 1);
    world.worker(1);
    world.run_until(10);
    world.occupy(0, 1, 60_000);
    world.submit(0, &echo("x"));
    world.run_until(5_000);
    world.kill(0);
    world.worker(1);
    world.run_to_the_end();
    assert_eq!((world.results.len(), world.failed.len()), (1, 0), "{:?}", world.failed);
}

#[test]
fn work_that_is_held_is_bounded_in_octets() {
    let mut world = World::with(26, |config| config.octets_max = 1000);
    world.submit(0, &Work::Echo(vec![0; 5000]));
    let full = world.call(|job, now| job.submit(now, TaskId(1), &echo("")));
    assert_eq!(full, Err(SubmitError::Full));
    world.worker(1);
    world.run_until(1_000);
    world.submit(1, &echo(""));
    world.run_to_the_end();
    assert_eq!(world.results.len(), 2);
}

#[test]
fn without_tasks_nobody_is_asked_for_workers() {
    let mut world = World::new(27);
    world.worker(1);
    world.submit(0, &echo(""));
    world.run_until(2_000);
    assert_eq!(world.results.len(), 1);
    let asked = world.resolutions;
    world.run_until(20_000);
    assert_eq!(world.resolutions, asked);
    world.submit(1, &echo(""));
    world.run_to_the_end();
    assert_eq!(world.results.len(), 2);
}

#[test]
fn a_full_job_takes_no_more_until_it_has_room() {
    let mut world = World::with(21, |config| config.tasks_max = 4);
    for task in 0..4 {
        world.submit(task, &echo(""));
    }
    let full = world.call(|job, now| job.submit(now, TaskId(4), &echo("")));
    assert_eq!(full, Err(SubmitError::Full));
    world.worker(1);
    world.run_until(1_000);
    assert_eq!(world.count(|event| *event == Event::Room), 1);
    world.submit(4, &echo(""));
    let again = world.call(|job, now| job.submit(now, TaskId(4), &echo("")));
    assert_eq!(again, Err(SubmitError::NotIncreasing { last: TaskId(4) }));
    world.run_to_the_end();
    assert_eq!(world.results.len(), 5);
}

#[test]
fn a_task_submitted_again_goes_on_counting() {
    let mut world = World::new(22);
    world.worker(1);
    world.call(|job, now| job.submit_again(now, TaskId(3), &echo("x"), 7)).expect("taken");
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(3)].number, 8);
}

#[test]
fn a_task_that_is_tried_again_does_not_take_what_was_before() {
    for (settled, adopted) in [(0, true), (70_000, true), (70_001, false)] {
        let mut world = World::new(50);
        let held = attempt(3, 70_001);
        let mut adding = adding(0x81, vec![Frame::Holds { attempt: held }]);
        let said = Rc::new(Cell::new((0, 0)));
        let heard = said.clone();
        world.tamper = Some(Box::new(move |bytes| {
            for frame in Frames::of(bytes).map_while(Result::ok) {
                let (adopts, cancels) = heard.get();
                match frame {
                    Frame::Adopt { attempt } if attempt == held => heard.set((adopts + 1, cancels)),
                    Frame::Cancel { attempt } if attempt == held => heard.set((adopts, cancels + 1)),
                    _ => {}
                }
            }
            adding(bytes)
        }));
        world.worker(1);
        let work = (echo("x").emit().expect("legal"), Box::default());
        world.call(|job, now| job.take(now, TaskId(3), work, false, (131_072, settled)));
        world.run_to_the_end();
        assert_eq!(said.get(), if adopted { (1, 0) } else { (0, 1) }, "{settled}");
        assert!(world.results[&TaskId(3)].number > 131_072);
    }
}

type Tamper = fn(&mut Vec<u8>) -> bool;

#[test]
fn a_worker_that_talks_nonsense_is_refused_and_the_others_go_on() {
    for (tamper, why) in [
        (
            (|bytes: &mut Vec<u8>| {
                if bytes[0] == 0x81 && bytes.ends_with(b"worker 0") {
                    bytes[5] = 9;
                }
                true
            }) as Tamper,
            "it speaks version 9, we speak 2",
        ),
        (
            |bytes| {
                if bytes[0] == 0x81 && bytes.ends_with(b"worker 0") {
                    bytes[0] = 0x77;
                }
                true
            },
            "malformed message: unknown frame type 119 at offset 0",
        ),
        (
            |bytes| {
                if bytes[0] == 0x81 && bytes.ends_with(b"worker 0") {
                    bytes.truncate(0);
                    bytes.extend([4, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
                }
                true
            },
            "no welcome first",
        ),
    ] {
        let mut world = World::new(23);
        world.tamper = Some(Box::new(tamper));
        world.worker(1);
        world.worker(1);
        world.run_until(10);
        for task in 0..10 {
            world.submit(task, &spin(10));
        }
        world.run_to_the_end();
        assert_eq!(world.results.len(), 10);
        assert!(world.results.values().all(|result| result.worker == id(1)));
        let refused = Event::WorkerRefused { worker: id(0), why: why.into() };
        assert_eq!(world.count(|event| *event == refused), 1, "{why}: {:?}", world.events);
    }
}

/// Has the first message that begins with a frame of this type, a worker's, end with these frames.
fn adding(kind: u8, frames: Vec<Frame>) -> Box<world::Tamper> {
    let mut batch = Batch::default();
    frames.iter().for_each(|frame| batch.push(frame));
    let mut added = batch.take().concat();
    Box::new(move |bytes| {
        if bytes[0] == kind {
            bytes.append(&mut added);
        }
        true
    })
}

#[test]
fn a_worker_that_asks_for_more_than_it_may_or_saves_too_much_is_refused_and_the_others_go_on() {
    let needed: Vec<_> = (1..=20).map(|octet| item(octet, 10)).collect();
    let fetch = |transfer| Frame::Fetch { transfer, item: needed[transfer as usize % 20] };
    let save = |transfer| Frame::Save { transfer, attempt: attempt(0, 1), item: item(99, 10) };
    for (kind, added, why) in [
        (
            0x83,
            vec![Frame::Fetch { transfer: 100, item: item(99, 10) }],
            "it asks for an item that none of its tasks needs",
        ),
        // It began, so it has what it needs.
        (0x83, vec![fetch(100)], "it asks for an item that none of its tasks needs"),
        (0x87, (100..120).map(fetch).collect(), "it asks for more than 16 items at a time"),
        (0x83, vec![save(100), save(101)], "two checkpoints of 0#1 at a time"),
    ] {
        let mut world = World::new(47);
        world.tamper = Some(adding(kind, added));
        world.reads = (kind == 0x87).then(Vec::new);
        world.worker(1);
        world.worker(1);
        world.submit(0, &needing(&needed));
        let refused = |event: &Event| matches!(event, Event::WorkerRefused { why: its, .. } if its == why);
        world.run_until(100);
        assert_eq!(world.count(refused), 1, "{why}");
        let strange =
            |event: &Event| matches!(event, Event::Wanted { item: its, .. } if *its == item(99, 10));
        assert_eq!(world.count(strange), 0);
        for (transfer, octets) in world.reads.take().into_iter().flatten() {
            world.call(|job, now| job.provide(now, transfer, octets));
        }
        world.run_to_the_end();
        assert_eq!(world.results[&TaskId(0)].number, 2);
    }
}

#[test]
fn a_worker_that_asks_for_what_a_task_cancelled_just_now_needs_is_not_refused() {
    let mut world = World::new(48);
    world.worker(1);
    let asked = Rc::new(Cell::new(false));
    let seen = asked.clone();
    world.tamper = Some(Box::new(move |bytes| {
        seen.set(seen.get() || bytes[0] == 0x87);
        true
    }));
    world.submit(0, &needing(&[item(1, 10)]));
    world.run_until_that(|_| asked.get());
    assert!(world.call(|job, now| job.cancel(now, TaskId(0))));
    world.submit(1, &needing(&[item(1, 10)]));
    world.run_to_the_end();
    assert_eq!(world.results[&TaskId(1)].number, 1);
    assert_eq!(world.count(|event| matches!(event, Event::WorkerRefused { .. })), 0);
}

#[test]
fn what_a_worker_saves_of_an_execution_is_let_go_of_when_that_is_over() {
    let mut world = World::new(49);
    world.worker(1);
    let save = Frame::Save { transfer: 100, attempt: attempt(0, 1), item: item(99, 10) };
    world.tamper = Some(adding(0x83, vec![save]));
    world.submit(0, &spin(10));
    world.submit(1, &spin(1000));
    world.run_until_that(|world| world.results.contains_key(&TaskId(0)));
    let begun = |event: &Event| matches!(event, Event::Save { .. });
    let ended = |event: &Event| matches!(event, Event::TransferEnded { .. });
    assert_eq!((world.count(begun), world.count(ended)), (1, 1));
    world.run_to_the_end();
    assert_eq!(world.count(|event| matches!(event, Event::WorkerRefused { .. })), 0);
}

/// Damaged, cut and lost messages in both directions: nobody panics, the books of both sides balance after every step
/// (`check`), no result is accepted twice. (Transports find damage; the job need not end in such a world.)
#[test]
fn damaged_messages_confuse_nobody() {
    let mut refused = 0;
    for seed in 0..60 {
        let mut world = World::new(seed);
        let mut random = Random::from_seed(seed ^ 0xdead);
        world.tamper = Some(Box::new(move |bytes| {
            match random.below(40) {
                0 => return false,
                1 => bytes.truncate(random.below(bytes.len() as u64) as usize + 1),
                2 => bytes.extend(bytes.clone()),
                3..6 => {
                    let place = random.below(bytes.len().min(64) as u64) as usize;
                    bytes[place] = random.next_u64() as u8;
                }
                _ => {}
            }
            true
        }));
        for slots in 1..4 {
            world.worker(slots);
        }
        for task in 0..60 {
            world.submit(task, &if task % 3 == 0 { spin(20) } else { echo("hello") });
        }
        world.run_until(3_000);
        refused += world.count(|event| matches!(event, Event::WorkerRefused { .. }));
    }
    assert!(refused > 20, "{refused}");
}

#[test]
fn what_all_tasks_need_crosses_once_to_each_worker() {
    let mut world = World::new(40);
    world.worker(2);
    world.worker(2);
    for task in 0..40 {
        world.submit(task, &needing(&[item(1, 2_000_000), item(2, 10)]));
    }
    world.run_to_the_end();
    assert_eq!(world.results.len(), 40);
    assert_eq!([0, 1].map(|worker| world.service(worker).counters().fetched), [2, 2]);
}

#[test]
fn a_worker_that_dies_amid_an_upload_costs_nothing_but_the_upload() {
    let mut world = World::new(41);
    world.worker(1);
    world.worker(1);
    for task in 0..4 {
        world.submit(task, &needing(&[item(1, 20_000_000)]));
    }
    let half = |event: &Event| matches!(event, Event::Wanted { offset, .. } if *offset > 10_000_000);
    world.run_until_that(|world| world.count(half) > 1);
    world.kill(0);
    world.run_to_the_end();
    assert_eq!(world.results.len(), 4);
    assert!(world.results.values().all(|result| result.worker == id(1)));
    assert_eq!(world.service(1).counters().fetched, 1);
}

#[test]
fn what_was_read_for_a_worker_that_died_is_not_taken_for_its_successors() {
    let mut world = World::new(46);
    world.worker(1);
    // The last part is a short one, so it shows what is taken for what.
    world.submit(0, &needing(&[item(1, 100_000)]));
    world.reads = Some(Vec::new());
    world.run_until_that(|world| !world.reads.as_ref().expect("slow").is_empty());
    world.kill(0);
    world.worker(1);
    world.run_until_that(|world| world.reads.as_ref().expect("slow").len() == 2);
    let reads = world.reads.take().expect("slow");
    assert_ne!(reads[0].0, reads[1].0);
    // Twice what was read for the dead one: nobody is asked for more, nothing leaves.
    for octets in [reads[0].1.clone(), vec![7]] {
        world.call(|job, now| job.provide(now, reads[0].0, octets));
    }
    world.call(|job, now| job.provide(now, reads[1].0, reads[1].1.clone()));
    world.run_to_the_end();
    assert_eq!(world.results.len(), 1);
    assert_eq!(world.service(1).counters().fetched, 1);
}

#[test]
fn an_input_that_cannot_be_given_fails_its_tasks_with_the_reason_and_no_other() {
    let mut world = World::new(42);
    world.worker(1);
    world.lost_input = Some(item(1, 10));
    world.submit(0, &needing(&[item(1, 10)]));
    world.submit(1, &needing(&[item(2, 10)]));
    world.submit(2, &needing(&[item(2, 10), item(1, 10)]));
    world.run_to_the_end();
    let why = Cause::NoInput { why: "input 'x' changed".into() };
    assert_eq!(world.failed.values().collect::<Vec<_>>(), [&why, &why]);
    assert_eq!(world.results.len(), 1);
}

#[test]
fn a_worker_with_a_full_disk_leaves_its_tasks_to_others() {
    let mut world = World::new(43);
    world.worker(1);
    world.worker(1);
    world.workers[0].as_mut().expect("alive").full_disk = true;
    // Both take part before it comes to files.
    world.submit(0, &spin(300));
    world.submit(1, &spin(300));
    world.run_until_that(|world| world.joined() == 2);
    for task in 2..12 {
        world.submit(task, &needing(&[item(1, 10)]));
    }
    world.run_to_the_end();
    assert_eq!(world.results.len(), 12);
    assert!(world.results.range(TaskId(2)..).all(|(_, result)| result.worker == id(1)));
}

#[test]
fn after_a_death_a_command_goes_on_from_its_checkpoint_however_large_it_is() {
    for (seed, words) in [(44, "steps 12"), (45, "steps 12 large")] {
        let mut world = World::new(seed);
        world.worker(1);
        world.worker(1);
        world.submit(0, &command(words));
        for step in [3, 6, 9] {
            world.run_until_that(|world| world.steps.contains_key(&(TaskId(0), step)));
            // The cookie of this step is not under way yet, that of the step before is there.
            let (_, at) = world.job.running().next().expect("it runs");
            world.kill(at.0 as usize - 1);
            world.worker(1);
        }
        world.run_to_the_end();
        let repeated: u32 = world.steps.values().map(|times| times - 1).sum();
        assert_eq!(world.steps.len(), 12);
        assert!(repeated <= 3, "{words}: {:?}", world.steps);
        assert_eq!(world.job.counts().continued, 3);
    }
}

#[test]
fn a_backup_begins_at_the_last_checkpoint() {
    let mut world = World::with(46, |config| config.backups = Backups::Always);
    world.worker(1);
    world.worker(1);
    world.run_until(10);
    world.submit(0, &spin(10));
    world.submit(1, &command("steps 20"));
    world.run_until_that(|world| world.job.counts().backups > 0);
    let done = world.steps.len() as u8;
    assert!(done > 1, "{:?}", world.steps);
    world.run_to_the_end();
    // The steps of the first worker before the last checkpoint are done once.
    for step in 1..done {
        assert_eq!(world.steps[&(TaskId(1), step)], 1, "{:?}", world.steps);
    }
    assert!(world.steps[&(TaskId(1), done + 1)] > 1);
    assert_eq!(world.job.counts().continued, 1);
}

/// Many jobs, each with its own faults. Whatever happens, every task gets its own result once (J2, J3), the books
/// balance after every step (J1, J8, J10: `check`), and the pixels are right (J7).
#[test]
fn whatever_dies_every_task_is_accepted_once() {
    let pixels = pixels();
    let mut happened = super::Counts::default();
    for seed in 0..150 {
        let mut plan = Random::from_seed(seed);
        let backups = [Backups::Never, Backups::Pure, Backups::Always][plan.below(3) as usize];
        let mut world = World::with(seed, |config| {
            config.deaths_max = 1000;
            config.backups = backups;
        });
        world.delay = Duration::from_micros(50 + plan.below(5_000));
        for _ in 0..=plan.below(4) {
            world.worker(1 + plan.below(3) as u32);
        }
        let tasks = 20 + plan.below(60);
        for task in 0..tasks {
            let work = match plan.below(8) {
                5 => needing(&[item(1, 900_000), item(2 + plan.below(20) as u8, 300_000)]),
                6 => command("steps 6"),
                7 => command("steps 6 large"),
                0 => echo(&format!("{task}")),
                1 => tile(),
                2 => command("big 600000"),
                3 => Work::Sleep(Duration::from_millis(plan.below(100))),
                _ => spin(plan.below(300)),
            };
            world.submit(task, &work);
        }
        let mut stopped = Vec::new();
        for _ in 0..plan.below(12) {
            world.run_until(world.now.as_nanos() / 1_000_000 + plan.below(700));
            let alive: Vec<_> =
                (0..world.workers.len()).filter(|worker| world.workers[*worker].is_some()).collect();
            let worker = alive.get(plan.below(alive.len().max(1) as u64) as usize).copied();
            match (plan.below(5), worker) {
                (0, Some(worker)) => world.kill(worker),
                (1, Some(worker)) if !stopped.contains(&worker) => {
                    world.stop(worker);
                    stopped.push(worker);
                }
                (2, _) if !stopped.is_empty() => {
                    let worker = stopped.remove(0);
                    if world.workers[worker].is_some() {
                        world.go_on(worker);
                    }
                }
                (3, Some(worker)) if !stopped.contains(&worker) => {
                    world.drain(worker, Duration::from_millis(plan.below(400)))
                }
                _ => drop(world.worker(1 + plan.below(2) as u32)),
            }
        }
        for worker in stopped {
            if world.workers[worker].is_some() {
                world.go_on(worker);
            }
        }
        world.worker(2);
        world.run_to_the_end();
        assert_eq!(world.results.len() as u64, tasks, "seed {seed}: {:?}", world.job.counts());
        for (task, result) in &world.results {
            assert_eq!(result.status, Status::Exited(0), "seed {seed}, task {task}");
            let right = match result.output.len() {
                3_600 => result.output == pixels,
                600_000 | 0 => true,
                _ => result.output == task.to_string().into_bytes(),
            };
            assert!(right, "seed {seed}, task {task}");
        }
        let counts = world.job.counts();
        happened.failovers += counts.failovers;
        happened.repeated += counts.repeated;
        happened.continued += counts.continued;
        happened.late += counts.late;
        happened.backups += counts.backups;
    }
    // A swarm in which nothing happens proves nothing.
    let counts = [happened.failovers, happened.repeated, happened.continued, happened.late, happened.backups];
    let least = counts.into_iter().min().expect("five");
    assert!(least > 10, "{happened:?}");
}
