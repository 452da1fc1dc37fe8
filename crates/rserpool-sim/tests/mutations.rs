//! Every check is shown a world that breaks its promise, because a node in it makes a mistake, and has to notice; and
//! the same world without the mistake, in which there is nothing to notice.

use rserpool::{Load, Policy};
use rserpool_compute::JobId;
use rserpool_compute::job::{self, Backups};
use rserpool_sim::mutation::{MUTATIONS, Mutation};
use rserpool_sim::net::HostId;
use rserpool_sim::world::{Scope, World};
use std::collections::BTreeSet;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

/// Each mistake has a story in which it matters. `mistaken`: whether it is made.
fn story(mutation: Mutation, mistaken: bool, seed: u64, policy: Policy) -> World {
    let mut scope = Scope::new(seed);
    scope.policy = policy;
    scope.demand.numbers = 150;
    if is_of_jobs(mutation) {
        toils(mutation, &mut scope);
    }
    scope.mistaken_for = how_long(mutation, &scope);
    if mistaken {
        mutation.misleads(&mut scope);
    }
    let world = World::new(scope);
    match mutation {
        Mutation::ListsTwice => a_registrar_comes_back(world),
        Mutation::AdaptsContrary | Mutation::AcceptsContrary => a_contrary_element_asks(world),
        Mutation::LateUpdates => an_element_changes_its_weight(world),
        Mutation::KeepsDead => an_element_dies(world),
        Mutation::TakesWithoutAsking | Mutation::WrongWinner | Mutation::NeverDecides => {
            a_registrar_vanishes(world)
        }
        Mutation::IgnoresReturn => a_registrar_returns_while_it_is_taken_over(world),
        Mutation::WrongCause => nobody_serves(world),
        Mutation::FeedsBoth => a_customer_changes_its_element(world),
        Mutation::BendsEcho
        | Mutation::SkipsEcho
        | Mutation::Credulous
        | Mutation::RepeatsAttempts
        | Mutation::AcceptsOld => a_serving_element_dies(world),
        mutation if is_of_jobs(mutation) => a_job(mutation, world),
        _ => nothing_happens(world),
    }
}

/// Mistakes that are about time are made for twice the bound of their promise, and then no more: late, not never. For
/// the others it does not matter.
fn how_long(mutation: Mutation, scope: &Scope) -> Duration {
    let (delay, loss) = (scope.net.delay_max, scope.net.link_loss);
    match mutation {
        Mutation::MisnamesHome => 2 * scope.timing.settled_max(delay, loss),
        Mutation::KeepsDead => 2 * scope.timing.element_gone_max(delay, loss),
        Mutation::DeafToPeers => 2 * scope.timing.resolvable_max(delay, loss),
        Mutation::DeafToWelcome => 2 * idle_slot_max(scope),
        Mutation::LosesAnswers => 2 * scope.timing.progress_max(delay, scope.net.connect_give_up),
        _ => Duration::MAX,
    }
}

/// Mistakes in the world of jobs.
fn is_of_jobs(mutation: Mutation) -> bool {
    mutation >= Mutation::LosesResults
}

fn idle_slot_max(scope: &Scope) -> Duration {
    let mut user = rserpool::user::Config::new(Vec::new());
    user.timing = scope.timing.clone();
    let config = job::Config::new(user, scope.toil.handle, JobId::default());
    config.idle_slot_max(scope.net.delay_max, scope.net.connect_give_up, 2)
}

/// What is to be done in the story of a mistake.
fn toils(mutation: Mutation, scope: &mut Scope) {
    let toil = &mut scope.toil;
    (toil.tasks, toil.think, toil.backups) = (60, Duration::from_millis(50), Backups::Never);
    toil.slots_max = 1;
    match mutation {
        Mutation::BelievesDisk | Mutation::ReadsTooLittle | Mutation::SkipsOutputs => toil.durable = true,
        Mutation::StaysListed | Mutation::Lingers => {
            (toil.unit, toil.drain_deadline) = (8 * SECOND, 30 * SECOND);
            toil.tasks = 20;
        }
        // It shows where output comes faster than what the client grants.
        Mutation::WidensWindows => (toil.tasks, toil.unit) = (200, SECOND / 50),
        Mutation::AcceptsLate => toil.unit = 2 * SECOND,
        _ => {}
    }
}

/// Two clients share two workers of one slot each; half-way something happens that shows the mistake.
fn a_job(mutation: Mutation, world: World) -> World {
    let mut world = world.registrars(2).workers(2).clients(2);
    world.runs_until_or(10 * SECOND, World::all_known);
    world.runs(5 * SECOND);
    let (workers, clients) = (world.roster().workers.clone(), world.roster().clients.clone());
    match mutation {
        Mutation::AcceptsLate => {
            for worker in workers {
                world.pause(worker);
                world.runs(6 * SECOND);
                world.resume(worker);
                world.runs(3 * SECOND);
            }
        }
        Mutation::ReadsTooLittle | Mutation::SkipsOutputs => {
            for client in clients.into_iter().cycle().take(8) {
                world.vanish(client);
                world.start(client);
                world.runs(SECOND);
            }
        }
        Mutation::AcceptsCancelled | Mutation::DeafToCancel => {
            for client in clients.into_iter().cycle().take(40) {
                world.cancels(client);
                world.runs(SECOND / 10);
            }
        }
        Mutation::BelievesDamage => {
            for worker in workers.into_iter().cycle().take(8) {
                world.roster().workers.clone().into_iter().for_each(|worker| world.forges_cookie(worker));
                world.crash(worker);
                world.runs(2 * SECOND);
                world.start(worker);
                world.runs(2 * SECOND);
            }
        }
        Mutation::ChargesAll | Mutation::KeepsCookies => {
            for worker in workers.into_iter().cycle().take(8) {
                world.crash(worker);
                world.runs(2 * SECOND);
                world.start(worker);
                world.runs(2 * SECOND);
            }
        }
        Mutation::StaysListed | Mutation::Lingers => world.drains(workers[0]),
        _ => {}
    }
    world.runs_until_or(120 * SECOND, World::all_content);
    world.runs(SECOND);
    world
}

fn everybody(world: World) -> World {
    let mut world = world.registrars(3).elements(3).customers(2);
    world.runs_until_or(10 * SECOND, World::all_known);
    world
}

fn rest(mut world: World) -> World {
    let content =
        |world: &World| (0..world.roster().customers.len()).all(|number| world.customer(number).is_content());
    world.runs_until_or(60 * SECOND, content);
    let net = world.scope().net.clone();
    let settled = world.scope().timing.settled_max(net.delay_max + net.wake_late_max, net.link_loss);
    world.runs(settled + SECOND);
    for customer in world.roster().customers.clone() {
        world.looks_around(customer);
    }
    world.runs(SECOND);
    world
}

fn nothing_happens(world: World) -> World {
    rest(everybody(world))
}

fn a_registrar_comes_back(world: World) -> World {
    let mut world = everybody(world);
    let host = world.roster().registrars[0];
    world.crash(host);
    world.runs(SECOND);
    world.start(host);
    rest(world)
}

fn a_contrary_element_asks(world: World) -> World {
    let mut world = everybody(world);
    world.contradicts();
    world.runs(SECOND);
    rest(world)
}

fn an_element_changes_its_weight(world: World) -> World {
    let mut world = everybody(world);
    let element = world.roster().elements[0];
    world.changes_policy(element, Policy::WeightedRoundRobin { weight: 9 });
    rest(world)
}

fn an_element_dies(world: World) -> World {
    let mut world = everybody(world);
    let element = world.roster().elements[0];
    world.crash(element);
    rest(world)
}

fn a_serving_element_dies(world: World) -> World {
    let mut world = everybody(world);
    world.runs_until_or(30 * SECOND, |world| world.customer(0).accepted() >= 8);
    for element in world.roster().elements.clone() {
        world.forges_cookie(element);
    }
    if let Some(element) = world.serving(0) {
        world.crash(element);
    }
    rest(world)
}

fn a_customer_changes_its_element(world: World) -> World {
    let mut world = everybody(world);
    world.runs_until_or(30 * SECOND, |world| world.customer(0).accepted() >= 8);
    let customer = world.roster().customers[0];
    world.changes_element(customer);
    rest(world)
}

fn nobody_serves(world: World) -> World {
    let mut world = world.registrars(1).customers(1);
    world.runs(5 * SECOND);
    world
}

/// A registrar that is the home of somebody.
fn some_home(world: &World) -> HostId {
    let homes = (0..3).filter_map(|number| world.element(number)?.home()).find_map(|id| world.host_of(id));
    homes.expect("three elements are registered")
}

fn a_registrar_vanishes(world: World) -> World {
    let mut world = everybody(world);
    world.runs(SECOND);
    let target = some_home(&world);
    world.vanish(target);
    rest(world)
}

/// The target is stopped; so, just in time not to be missed yet, is the one whose consent is wanted.
fn a_registrar_returns_while_it_is_taken_over(world: World) -> World {
    let mut world = everybody(world);
    world.runs(SECOND);
    let target = some_home(&world);
    let others: Vec<HostId> =
        world.roster().registrars.iter().copied().filter(|host| *host != target).collect();
    let timing = world.scope().timing.clone();
    world.pause(target);
    world.runs(timing.peer_silence_max);
    world.pause(others[1]);
    let announced = |world: &World| world.story().contains("TakeoverBegun");
    world.runs_until_or(10 * SECOND, announced);
    world.resume(target);
    world.runs(timing.takeover_expiry * 2);
    world.resume(others[1]);
    rest(world)
}

/// The promise broken in a story, if one was.
fn broken(mutation: Mutation, mistaken: bool, seed: u64, policy: &Policy) -> Option<&'static str> {
    story(mutation, mistaken, seed, policy.clone()).violation().map(|violation| violation.id)
}

/// The story without the mistake keeps every promise; with it, exactly this one is broken, in every world in which the
/// mistake matters, and it matters in at least one of these: who wins a contest, only where two begin within one delay.
fn is_noticed_in(mutation: Mutation, id: &str, policy: &Policy) {
    let mut found = BTreeSet::new();
    for seed in 1..=40 {
        let sound = story(mutation, false, seed, policy.clone());
        sound.must_be_fine();
        found.extend(broken(mutation, true, seed, policy));
        if !found.is_empty() {
            break;
        }
    }
    assert_eq!(found, BTreeSet::from([id]), "{mutation:?}");
}

fn is_noticed(mutation: Mutation) {
    let (_, id, _) = MUTATIONS.iter().find(|(of, ..)| *of == mutation).expect("the table has every mistake");
    let policy = match mutation {
        Mutation::LateUpdates => Policy::WeightedRoundRobin { weight: 1 },
        _ => Policy::RoundRobin,
    };
    is_noticed_in(mutation, id, &policy);
}

macro_rules! noticed {
    ($($sentence:ident: $mutation:ident,)*) => {
        $(#[test]
        fn $sentence() {
            is_noticed(Mutation::$mutation);
        })*

        #[test]
        fn every_mistake_has_its_test() {
            let tested = [$(Mutation::$mutation,)* Mutation::HiddenState, Mutation::SelectsBadly];
            for (mutation, ..) in MUTATIONS {
                assert!(tested.contains(&mutation), "{mutation:?}");
            }
        }
    };
}

noticed! {
    h1_notices_a_table_that_names_an_element_twice: ListsTwice,
    h2_notices_a_registration_that_is_adapted: AdaptsContrary,
    h2_notices_a_refusal_that_says_yes: AcceptsContrary,
    h3_notices_a_wrong_checksum: WrongChecksum,
    h5_notices_copies_that_differ: WrongCopy,
    h5_notices_updates_that_are_late_by_twice_the_bound: LateUpdates,
    h6_notices_an_element_with_another_home_for_twice_the_bound: MisnamesHome,
    h7_notices_a_dead_element_kept_for_twice_the_bound: KeepsDead,
    h8_notices_answers_that_are_not_heard: DropsAcks,
    h8_notices_answers_heard_late_by_twice_the_bound: LateAcks,
    h10_notices_an_element_left_out: OmitsElement,
    h10_notices_an_element_unknown_for_twice_the_bound: DeafToPeers,
    h11_notices_two_takeovers_of_one_target: TakesWithoutAsking,
    h11_notices_the_wrong_winner: WrongWinner,
    h12_notices_a_takeover_of_somebody_who_returned: IgnoresReturn,
    h13_notices_a_decision_that_is_late_by_twice_the_bound: NeverDecides,
    h17_notices_a_stranger_in_an_answer: NamesStranger,
    h17_notices_an_element_twice_in_an_answer: NamesTwice,
    h17_notices_a_wrong_error: WrongCause,
    s1_notices_a_cookie_that_changed: BendsEcho,
    s1_notices_a_cookie_that_is_missing: SkipsEcho,
    s2_notices_an_element_that_believes_anything: Credulous,
    s3_notices_attempts_that_do_not_grow: RepeatsAttempts,
    s3_notices_an_old_answer_that_counts: AcceptsOld,
    s4_notices_two_elements_fed_at_once: FeedsBoth,
    s5_notices_a_session_that_stands_still_for_twice_the_bound: LosesAnswers,
    j2_notices_a_result_accepted_twice: AcceptsTwice,
    j7_notices_a_wrong_sum: AddsWrong,
    j1_notices_a_result_that_is_lost: LosesResults,
    j2_notices_a_late_result_that_counts: AcceptsLate,
    j3_notices_slots_that_are_idle_for_twice_the_bound: DeafToWelcome,
    j4_notices_a_result_acknowledged_too_early: BelievesDisk,
    j5_notices_a_record_that_is_not_read: ReadsTooLittle,
    j6_notices_an_output_that_is_not_there: SkipsOutputs,
    j7_notices_an_output_that_was_changed: SpoilsOutput,
    j8_notices_charges_for_tasks_that_only_waited: ChargesAll,
    j10_notices_a_slot_too_many: TooManySlots,
    j10_notices_output_nobody_permitted: WidensWindows,
    j11_notices_a_cancelled_task_that_is_accepted: AcceptsCancelled,
    j11_notices_a_cancelled_task_that_begins: DeafToCancel,
    s2_notices_a_worker_that_believes_damaged_cookies: BelievesDamage,
    s6_notices_work_that_is_repeated_for_want_of_cookies: KeepsCookies,
    s9_notices_a_draining_worker_that_is_still_found: StaysListed,
    s9_notices_a_draining_worker_that_stays: Lingers,
}

#[test]
fn p1_to_p4_notice_bad_selections() {
    let load = Load::IDLE;
    for (id, policy) in [
        ("P1", Policy::RoundRobin),
        ("P2", Policy::WeightedRoundRobin { weight: 1 }),
        ("P3", Policy::LeastUsed { load }),
        ("P3", Policy::LeastUsedDegradation { load, degradation: Load::FULL }),
        ("P4", Policy::Priority { priority: 1 }),
    ] {
        let curious = |mistaken| {
            let mut scope = Scope::new(1);
            scope.policy = policy.clone();
            scope.demand.curiosity = 1;
            if mistaken {
                Mutation::SelectsBadly.misleads(&mut scope);
            }
            nothing_happens(World::new(scope))
        };
        curious(false).must_be_fine();
        assert_eq!(curious(true).violation().map(|violation| violation.id), Some(id), "{policy:?}");
    }
}

#[test]
fn p2_notices_lots_that_are_not_drawn_fairly() {
    let curious = |mistaken| {
        let mut scope = Scope::new(1);
        scope.policy = Policy::WeightedRandom { weight: 1 };
        (scope.demand.curiosity, scope.demand.numbers, scope.demand.jobs) = (1, 400, 2);
        if mistaken {
            Mutation::SelectsBadly.misleads(&mut scope);
        }
        nothing_happens(World::new(scope))
    };
    curious(false).must_be_fine();
    assert_eq!(curious(true).violation().map(|violation| violation.id), Some("P2"));
}

#[test]
fn h18_notices_that_a_run_differs_from_itself() {
    let hash = |mistaken| story(Mutation::HiddenState, mistaken, 1, Policy::RoundRobin).net().trace().hash();
    assert_eq!(hash(false), hash(false));
    assert_ne!(hash(true), hash(true));
}
