//! The scenarios of failure, each by its name: what happens, and what must have come of it.
//!
//! Every world watches all promises at every step, so a scenario only says what is special about it. The bounds are
//! those of the timers. Each is played with several seeds: delays, identifiers and the order of things differ.

use rserpool::{Profile, RegistrarId, Timing};
use rserpool_sim::net::HostId;
use rserpool_sim::world::{Scope, World};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const SEEDS: std::ops::Range<u64> = 0..12;

/// A scope with work for some seconds.
fn busy(seed: u64) -> Scope {
    let mut scope = Scope::new(seed);
    scope.demand.numbers = 120;
    scope.demand.think = Duration::from_millis(40);
    scope
}

fn settled(world: &World) -> Duration {
    let net = &world.scope().net;
    world.scope().timing.settled_max(net.delay_max + net.wake_late_max, net.link_loss) + SECOND
}

fn all_content(world: &World) -> bool {
    (0..world.roster().customers.len()).all(|number| world.customer(number).is_content())
}

/// Lets all work end and everybody agree: no promise may be broken on the way.
fn ends_well(mut world: World) -> World {
    world.runs_until("all work is done", all_content);
    let rest = settled(&world);
    world.runs(rest);
    world.must_be_fine();
    world
}

fn registrars(world: &World) -> Vec<HostId> {
    world.roster().registrars.clone()
}

/// The host of the registrar that is the home of an element.
fn home_of(world: &World, element: usize) -> HostId {
    let home = world.element(element).and_then(|element| element.home()).expect("it is registered");
    world.host_of(home).expect("the home lives")
}

/// The registrars' views of who is the home of every element; empty if they differ.
fn homes(world: &World) -> Vec<RegistrarId> {
    let views: Vec<Vec<RegistrarId>> = (0..world.roster().registrars.len())
        .filter_map(|number| world.registrar(number))
        .map(|registrar| {
            registrar.handlespace().elements(None, None).map(|(_, element)| element.home).collect()
        })
        .collect();
    if views.iter().all(|view| *view == views[0]) { views[0].clone() } else { Vec::new() }
}

#[test]
fn a_session_survives_its_element() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(2).elements(3).customers(1);
        world.runs_until("half of the work is done", |world| world.customer(0).accepted() >= 60);
        let element = world.serving(0).expect("somebody answered");
        world.crash(element);
        let world = ends_well(world);
        assert_eq!(world.counts().failovers, 1, "seed {seed}");
        assert_eq!(world.counts().accepted, 120, "seed {seed}");
    }
}

#[test]
fn a_session_survives_an_element_that_hangs_and_does_not_go_back_to_it() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(2).elements(3).customers(1);
        world.runs_until("half of the work is done", |world| world.customer(0).accepted() >= 60);
        let element = world.serving(0).expect("somebody answered");
        world.pause(element);
        world.runs_until("the session is elsewhere", |world| {
            world.serving(0).is_some_and(|other| other != element)
        });
        world.resume(element);
        let world = ends_well(world);
        assert_eq!(world.counts().failovers, 1, "seed {seed}");
    }
}

#[test]
fn r1_the_home_dies_right_after_it_accepted_an_element() {
    for seed in SEEDS {
        let mut world = World::new(Scope::new(seed)).registrars(2);
        world.runs(5 * SECOND);
        world.joins();
        world.runs_until("the element is registered", |world| {
            world.element(0).is_some_and(|element| element.is_registered())
        });
        let home = (0..2).find(|number| {
            world
                .registrar(*number)
                .is_some_and(|registrar| registrar.handlespace().owned(registrar.id()) == 1)
        });
        let host = registrars(&world)[home.expect("one of them accepted it")];
        // Its peer may not have heard of the element at all.
        world.crash(host);
        world.runs_until("the other one knows the element", |world| {
            (0..2).any(|number| {
                world.registrar(number).is_some_and(|registrar| !registrar.handlespace().is_empty())
            })
        });
        ends_well(world);
    }
}

#[test]
fn r2_one_registrar_of_four_is_enough() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(4).elements(4).customers(2);
        world.runs_until("everybody is known", World::all_known);
        for host in &registrars(&world)[..3] {
            world.crash(*host);
            world.runs(SECOND / 10);
        }
        let world = ends_well(world);
        assert_eq!(
            world.registrar(3).map(|registrar| registrar.handlespace().owned(registrar.id())),
            Some(4)
        );
    }
}

#[test]
fn r3_all_registrars_come_back_empty_and_the_work_goes_on() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(3).elements(3).customers(2);
        world.runs_until("everybody is known", World::all_known);
        world.runs_until("work has begun", |world| world.customer(0).accepted() > 5);
        for host in registrars(&world) {
            world.crash(host);
        }
        let before = world.counts().accepted;
        world.runs(SECOND);
        // Sessions do not need registrars.
        assert!(world.counts().accepted > before, "seed {seed}");
        for host in registrars(&world) {
            world.start(host);
        }
        world.runs_until("everybody is known again", World::all_known);
        let world = ends_well(world);
        assert_eq!(world.counts().failovers, 0, "seed {seed}");
    }
}

#[test]
fn r4_a_contested_takeover_has_one_winner() {
    let mut contested = 0;
    for seed in 0..40 {
        let mut world = World::new(Scope::new(seed)).registrars(4).elements(4);
        world.runs_until("everybody is known", World::all_known);
        world.runs(SECOND);
        let target = home_of(&world, 0);
        world.vanish(target);
        let world = ends_well(world);
        // Several may have won in succession, one after the other failed; never two at once (H11).
        assert!(world.counts().takeovers >= 1, "seed {seed}");
        contested += world.counts().contested;
    }
    assert!(contested > 0, "in no world two registrars wanted the same");
}

#[test]
fn r5_a_registrar_that_returns_during_or_after_its_takeover_is_a_peer_again() {
    for seed in SEEDS {
        let timing = Timing::default();
        for absent in [timing.peer_silence_max, timing.dead_peer_max(Duration::ZERO), 10 * SECOND] {
            let mut world = World::new(Scope::new(seed)).registrars(3).elements(3);
            world.runs_until("everybody is known", World::all_known);
            world.runs(SECOND);
            let target = home_of(&world, 0);
            world.pause(target);
            world.runs(absent);
            world.resume(target);
            let world = ends_well(world);
            let peers: Vec<usize> =
                (0..3).filter_map(|number| Some(world.registrar(number)?.peers().count())).collect();
            assert_eq!(peers, [2, 2, 2], "seed {seed}, absent for {absent:?}");
        }
    }
}

#[test]
fn r6_a_takeover_does_not_wait_for_a_third_registrar_that_is_silent() {
    for seed in SEEDS {
        let mut world = World::new(Scope::new(seed)).registrars(3).elements(3);
        world.runs_until("everybody is known", World::all_known);
        world.runs(SECOND);
        let target = home_of(&world, 0);
        let others: Vec<HostId> = registrars(&world).into_iter().filter(|host| *host != target).collect();
        world.crash(target);
        world.vanish(others[1]);
        let bound = {
            let net = &world.scope().net;
            let delay = net.delay_max + net.wake_late_max;
            world.scope().timing.dead_peer_max(delay) + world.scope().timing.takeover_max(delay)
        };
        let survivor =
            registrars(&world).iter().position(|host| *host == others[0]).expect("one of the three");
        world.runs(bound);
        let own = world.registrar(survivor).map(|registrar| registrar.handlespace().owned(registrar.id()));
        assert_eq!(own, Some(3), "seed {seed}");
        ends_well(world);
    }
}

#[test]
fn r7_both_halves_of_a_parted_network_take_over_and_agree_again_after_it_healed() {
    for seed in SEEDS {
        let mut world = World::new(Scope::new(seed)).registrars(2).elements(4);
        world.runs_until("everybody is known", World::all_known);
        world.runs(SECOND);
        let hosts = registrars(&world);
        let elements = world.roster().elements.clone();
        world.partition(&[hosts[0], elements[0], elements[1]], &[hosts[1], elements[2], elements[3]]);
        world.runs(15 * SECOND);
        let owned = |world: &World, number| {
            world.registrar(number).map(|registrar| registrar.handlespace().owned(registrar.id()))
        };
        // Each half knows exactly its own elements.
        assert_eq!((owned(&world, 0), owned(&world, 1)), (Some(2), Some(2)), "seed {seed}");
        world.heals_all();
        let world = ends_well(world);
        assert_eq!(homes(&world).len(), 4, "seed {seed}");
    }
}

#[test]
fn r7_a_one_sided_cut_removes_nobody_for_good() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(2).elements(3).customers(1);
        world.runs_until("everybody is known", World::all_known);
        let hosts = registrars(&world);
        world.cut(hosts[0], hosts[1]);
        world.runs(8 * SECOND);
        world.heals_all();
        let world = ends_well(world);
        assert_eq!(homes(&world).len(), 3, "seed {seed}");
    }
}

#[test]
fn r8_links_stop_one_by_one_and_come_back_one_by_one() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(3).elements(3).customers(1);
        world.runs_until("everybody is known", World::all_known);
        let hosts: Vec<HostId> = world.net().hosts().collect();
        let pairs: Vec<(HostId, HostId)> =
            hosts.iter().flat_map(|a| hosts.iter().map(move |b| (*a, *b))).filter(|(a, b)| a < b).collect();
        for (a, b) in pairs.iter().step_by(2) {
            world.partition(&[*a], &[*b]);
            world.runs(SECOND / 5);
        }
        for (a, b) in pairs.iter().step_by(2).rev() {
            world.heals(*a, *b);
            world.runs(SECOND / 5);
        }
        ends_well(world);
    }
}

#[test]
fn r10_a_registrar_stopped_for_half_a_minute_convicts_nobody_when_it_wakes() {
    for seed in SEEDS {
        // Alone: nobody takes its elements over meanwhile, all of them answer as soon as they are asked (H8).
        let mut world = World::new(busy(seed)).registrars(1).elements(4).customers(1);
        world.runs_until("everybody is known", World::all_known);
        let host = registrars(&world)[0];
        world.pause(host);
        world.runs(20 * SECOND);
        world.resume(host);
        let before = world.element(0).map(|element| element.id());
        world.runs(2 * SECOND);
        assert_eq!(world.registrar(0).map(|registrar| registrar.handlespace().len()), Some(4), "seed {seed}");
        assert_eq!(world.element(0).map(|element| element.id()), before);
        ends_well(world);

        // Among others: they took its elements over, and it learns so.
        let mut world = World::new(busy(seed)).registrars(3).elements(4).customers(1);
        world.runs_until("everybody is known", World::all_known);
        let host = home_of(&world, 0);
        world.pause(host);
        world.runs(30 * SECOND);
        world.resume(host);
        let world = ends_well(world);
        assert_eq!(homes(&world).len(), 4, "seed {seed}");
    }
}

#[test]
fn r12_a_newcomer_survives_the_death_of_its_mentor() {
    for seed in SEEDS {
        let mut world = World::new(Scope::new(seed)).registrars(3).elements(40);
        world.runs_until("everybody is known", World::all_known);
        let newcomer = registrars(&world)[2];
        world.crash(newcomer);
        world.runs(5 * SECOND);
        world.start(newcomer);
        // The first of its list is its mentor; a table of forty does not fit into one message.
        world.runs(Duration::from_millis(3 + seed * 3));
        let mentor = registrars(&world)[0];
        world.crash(mentor);
        let world = ends_well(world);
        assert_eq!(
            world.registrar(2).map(|registrar| registrar.handlespace().len()),
            Some(40),
            "seed {seed}"
        );
    }
}

#[test]
fn r13_a_herd_of_elements_that_all_come_back_at_once_is_let_in() {
    for seed in 0..3 {
        let mut world = World::new(Scope::new(seed)).registrars(1).elements(300);
        world.runs_until("everybody is known", World::all_known);
        let host = registrars(&world)[0];
        world.crash(host);
        world.runs(SECOND);
        world.start(host);
        let bound = world.scope().timing.hunt_timeout_max * 2;
        assert!(world.runs_until_or(bound, World::all_known), "seed {seed}");
        world.must_be_fine();
    }
}

#[test]
fn r18_announcements_that_are_lost_doubled_and_late_still_lead_to_one_scope() {
    for seed in SEEDS {
        let mut scope = busy(seed);
        (scope.multicast, scope.listed) = (true, false);
        (scope.net.announce_loss_permille, scope.net.announce_twice_permille) = (300, 300);
        let mut world = World::new(scope).registrars(3).elements(3).customers(1);
        world.runs_until("everybody is known", World::all_known);
        let world = ends_well(world);
        assert_eq!(homes(&world).len(), 3, "seed {seed}");
    }
}

#[test]
fn an_element_with_another_policy_is_refused_and_the_pool_stays_as_it_was() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(2).elements(2).customers(1);
        world.runs_until("everybody is known", World::all_known);
        world.contradicts();
        world.runs(SECOND);
        let tried = world.checks().iter().find(|check| check.id == "H2").map(|check| check.tried);
        assert_eq!(tried, Some(1), "seed {seed}");
        ends_well(world);
    }
}

#[test]
fn a_falsified_cookie_starts_the_work_from_zero_and_every_sum_is_right() {
    for seed in SEEDS {
        let mut world = World::new(busy(seed)).registrars(1).elements(2).customers(1);
        world.runs_until("half of the work is done", |world| world.customer(0).accepted() >= 60);
        let elements = world.roster().elements.clone();
        elements.iter().for_each(|element| world.forges_cookie(*element));
        let serving = world.serving(0).expect("somebody answered");
        world.crash(serving);
        let world = ends_well(world);
        let restarted: u64 =
            (0..2).filter_map(|number| Some(world.element(number)?.service().echoes().1)).sum();
        assert_eq!(restarted, 1, "seed {seed}");
        assert!(world.counts().duplicates >= 59, "seed {seed}: {}", world.counts().duplicates);
    }
}

#[test]
fn every_profile_keeps_its_bounds_when_a_home_and_a_serving_element_die_together() {
    for (profile, seeds) in [(Profile::Realtime, 8), (Profile::Default, 8), (Profile::Rfc, 1)] {
        for seed in 0..seeds {
            let mut scope = busy(seed);
            scope.timing = Timing::of(profile);
            scope.net.delay_max = Duration::from_millis(5);
            scope.demand.think = scope.timing.keep_alive_interval / 4;
            let mut world = World::new(scope).registrars(3).elements(3).customers(1);
            world.runs_until("everybody is known", World::all_known);
            world.runs_until("work has begun, and an element knows its home", |world| {
                world.customer(0).accepted() > 5
                    && world.element(0).is_some_and(|element| element.home().is_some())
            });
            let (home, element) = (home_of(&world, 0), world.serving(0).expect("somebody answered"));
            world.crash(element);
            world.vanish(home);
            ends_well(world);
        }
    }
}
