//! Scenarios of jobs: clients and workers of the compute pool, and what may go wrong between them.
//!
//! As in `scenarios.rs`, every promise is watched at every step, and each is played with several seeds.

use rserpool_compute::job::Backups;
use rserpool_sim::net::HostId;
use rserpool_sim::world::{Scope, World};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const SEEDS: std::ops::Range<u64> = 0..12;

/// A pool of workers with one slot each, and clients with so many tasks at once.
fn toiling(seed: u64, tasks: u64, unit: Duration) -> Scope {
    let mut scope = Scope::new(seed);
    let toil = &mut scope.toil;
    (toil.tasks, toil.think, toil.unit, toil.slots_max) = (tasks, Duration::ZERO, unit, 1);
    toil.backups = Backups::Never;
    scope
}

fn is_over(world: &World) -> bool {
    (0..world.roster().clients.len()).all(|number| world.client(number).is_content())
}

fn workers(world: &World) -> Vec<HostId> {
    world.roster().workers.clone()
}

/// How many tasks wait at workers, and how many slots have nothing to do.
fn waiting_and_idle(world: &World) -> (usize, usize) {
    let services = (0..world.roster().workers.len()).filter_map(|number| world.worker(number));
    services.fold((0, 0), |(waiting, idle), worker| {
        let service = worker.element().service();
        let free = service.slots() as usize - service.running();
        (waiting + service.waiting(), idle + free.saturating_sub(service.waiting()))
    })
}

#[test]
fn no_task_waits_behind_another_job_for_long_while_a_worker_is_idle() {
    let mut beside = 0;
    for seed in SEEDS {
        let mut world = World::new(toiling(seed, 5, 6 * SECOND)).registrars(1).workers(3).clients(3);
        let (look, mut since) = (Duration::from_millis(20), None);
        while !is_over(&world) {
            world.runs(look);
            world.must_be_fine();
            let (waiting, idle) = waiting_and_idle(&world);
            if waiting == 0 || idle == 0 {
                since = None;
                continue;
            }
            beside += 1;
            let since = *since.get_or_insert(world.now());
            // Each of the other two is tried before, and whoever was in the way a moment ago comes last.
            let beside = world.now().since(since);
            assert!(beside < 4 * SECOND, "seed {seed}: {waiting} wait beside {idle} slots for {beside:?}");
        }
    }
    assert!(beside > 0, "it never came to that");
}

#[test]
fn a_client_that_vanishes_right_after_it_came_is_missed_by_its_worker() {
    for seed in SEEDS {
        let mut world = World::new(toiling(seed, 3, 60 * SECOND)).registrars(1).workers(1).clients(1);
        world.runs_until("a task is begun", |world| {
            world.worker(0).is_some_and(|worker| worker.element().service().running() == 1)
        });
        let client = world.roster().clients[0];
        world.vanish(client);
        world.runs(3 * SECOND);
        world.must_be_fine();
        let sessions = world.worker(0).map(|worker| worker.element().session_count());
        assert_eq!(sessions, Some(0), "seed {seed}");
    }
}

#[test]
fn a_worker_that_comes_back_under_a_new_identifier_has_one_session_with_each_client() {
    for seed in SEEDS {
        let mut world = World::new(toiling(seed, 12, SECOND)).registrars(1).workers(2).clients(1);
        world.runs_until("both take part", |world| world.client(0).job().worker_count() == 2);
        let worker = workers(&world)[0];
        world.vanish(worker);
        world.runs(Duration::from_millis(100));
        world.start(worker);
        while !is_over(&world) {
            world.runs(Duration::from_millis(20));
            world.must_be_fine();
            let taking_part = world.client(0).job().worker_count();
            assert!(taking_part <= 2, "seed {seed}: two workers count as {taking_part}");
        }
    }
}
