//! Several addresses: what goes where, and what happens when a path is cut silently.

mod world;

use rserpool::Ppid;
use rserpool_sctp::{AssocId, Config, ConnectError, Event, PathState, Why};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use world::{MS, Weather, World, network, pattern};

const LEFT: [&str; 2] = ["10.1.0.1", "10.2.0.1"];
const RIGHT: [&str; 2] = ["10.1.0.2", "10.2.0.2"];

const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Both hosts send numbered messages to each other for some time; every one arrives, in order, and none later than this.
fn talk(world: &mut World, sides: [(usize, AssocId); 2], rounds: usize, latest: Duration) {
    for n in 0..rounds {
        let (sent, so_far) = (world.now, [0, 1].map(|host: usize| world.hosts[host].messages().len()));
        for (host, assoc) in sides {
            world.send(host, assoc, 0, Ppid::ASAP, &(n as u64).to_be_bytes());
        }
        world.run_until(|w| (0..2).all(|host| w.hosts[host].messages().len() > so_far[host]));
        let took = world.now.since(sent);
        assert!(took <= latest, "message {n} took {took:?}");
        for host in 0..2 {
            let last = world.hosts[host].messages().last().map(|(_, _, bytes)| bytes.to_vec());
            assert_eq!(last, Some((n as u64).to_be_bytes().to_vec()), "at host {host}");
        }
        world.run_for(20 * MS);
    }
}

fn clear(world: &mut World) {
    world.hosts.iter_mut().for_each(|host| host.events.clear());
    world.log.clear();
}

/// The types of the first chunks of what was sent through a network.
fn kinds_through(world: &World, number: u8) -> Vec<u8> {
    let through = world.log.iter().filter(|(_, _, to, _)| network(to.ip()) == number);
    through.map(|(_, _, _, bytes)| bytes[12]).collect()
}

/// How many packets with data were sent through a network.
fn data_through(world: &World, number: u8) -> usize {
    kinds_through(world, number).into_iter().filter(|&kind| kind == 0).count()
}

fn assert_open(world: &World) {
    assert_eq!(world.hosts.iter().flat_map(|host| host.closed()).collect::<Vec<_>>(), []);
}

#[test]
fn every_listed_address_is_confirmed_by_a_heartbeat_before_anything_else_goes_there() {
    let mut world = World::new(1);
    let (a, b) = (world.host_in(&LEFT), world.host_in(&RIGHT));
    world.logging = true;
    // The way through network 2 is slow to come up: INITs get through network 1 only.
    world.dead.insert(2);
    let ours = world.connect_all(a, b).expect("connects");
    world.run_for(5 * MS);
    let theirs = world.hosts[b].ups()[0].0;
    for (host, other, network) in [(a, &RIGHT, 1), (b, &LEFT, 1)] {
        let Event::Up { peer, .. } = &world.hosts[host].events[0] else { panic!("not up") };
        assert_eq!(peer.addresses, other.map(ip), "the one in use first");
        assert_eq!(world::network(peer.path.remote.ip()), network);
    }
    clear(&mut world);
    for n in 0..10 {
        world.send(a, ours, 0, Ppid::ASAP, &pattern(3_000, n));
        world.send(b, theirs, 0, Ppid::ASAP, &pattern(3_000, n));
    }
    world.run_for(300 * MS);
    let only_heartbeats =
        |world: &World| kinds_through(world, 2).iter().all(|kind| [HEARTBEAT, HEARTBEAT_ACK].contains(kind));
    assert!(only_heartbeats(&world) && !kinds_through(&world, 2).is_empty());
    assert_eq!((world.hosts[a].paths(), world.hosts[b].paths()), (vec![], vec![]));
    assert!(!world.hosts[a].mux.set_primary(ours, ip("10.2.0.2")));

    world.dead.clear();
    world.run_for(3_000 * MS);
    assert!(only_heartbeats(&world));
    for host in [a, b] {
        assert_eq!(world.hosts[host].paths(), [(2, PathState::Confirmed)]);
        assert_eq!(world.hosts[host].messages().len(), 10);
    }
    let status = world.hosts[a].mux.paths(ours);
    assert!(status.iter().all(|path| path.confirmed && path.errors == 0), "{status:?}");
    assert_eq!(status.iter().map(|path| path.round_trip).collect::<Vec<_>>(), [Some(2 * MS), Some(2 * MS)]);
}

#[test]
fn new_data_goes_to_the_primary_path_and_acknowledgements_where_data_came_from() {
    let (mut world, ours, theirs) = World::multi_homed(2, &LEFT, &RIGHT);
    world.logging = true;
    talk(&mut world, [(0, ours), (1, theirs)], 50, 10 * MS);
    assert_eq!(data_through(&world, 2), 0);
    // One side prefers the other path; each side chooses for itself.
    assert!(world.with(0, |mux, _| mux.set_primary(ours, ip("10.2.0.2"))));
    clear(&mut world);
    talk(&mut world, [(0, ours), (1, theirs)], 50, 10 * MS);
    for (_, from, to, bytes) in world.log.iter().filter(|(_, _, _, bytes)| bytes[12] == 0) {
        let own = if from.ip() == ip("10.2.0.1") { "10.2.0.2" } else { "10.1.0.1" };
        assert_eq!(to.ip(), ip(own), "{bytes:?}");
    }
    assert!(data_through(&world, 1) >= 25 && data_through(&world, 2) >= 25);
    assert!(!world.with(0, |mux, _| mux.set_primary(ours, ip("10.3.0.2"))));
    assert_eq!(world.hosts[0].paths(), []);
}

#[test]
fn messages_go_on_when_the_primary_path_is_cut_silently_and_come_back_when_it_heals() {
    let (mut world, ours, theirs) = World::multi_homed(3, &LEFT, &RIGHT);
    let sides = [(0, ours), (1, theirs)];
    talk(&mut world, sides, 10, 10 * MS);
    world.logging = true;
    world.dead.insert(1);
    clear(&mut world);
    // The one that was under way when it happened takes one timeout, no later one takes any.
    talk(&mut world, sides, 1, 250 * MS);
    clear(&mut world);
    talk(&mut world, sides, 300, 10 * MS);
    assert!(kinds_through(&world, 1).iter().all(|&kind| kind == HEARTBEAT));
    for host in 0..2 {
        assert_eq!(world.hosts[host].paths(), [(1, PathState::Unreachable)]);
    }
    world.dead.clear();
    clear(&mut world);
    talk(&mut world, sides, 60, 10 * MS);
    for host in 0..2 {
        assert_eq!(world.hosts[host].paths(), [(1, PathState::Available)]);
    }
    clear(&mut world);
    talk(&mut world, sides, 10, 10 * MS);
    assert_eq!(data_through(&world, 2), 0);
    assert_open(&world);
}

#[test]
fn a_cut_of_the_other_path_delays_nothing_and_is_told() {
    let (mut world, ours, theirs) = World::multi_homed(4, &LEFT, &RIGHT);
    world.dead.insert(2);
    talk(&mut world, [(0, ours), (1, theirs)], 400, 10 * MS);
    for host in 0..2 {
        assert_eq!(world.hosts[host].paths(), [(2, PathState::Unreachable)]);
    }
    world.dead.clear();
    clear(&mut world);
    talk(&mut world, [(0, ours), (1, theirs)], 100, 10 * MS);
    for host in 0..2 {
        assert_eq!(world.hosts[host].paths(), [(2, PathState::Available)]);
    }
    assert_open(&world);
}

#[test]
fn an_idle_association_has_changed_over_before_anybody_speaks() {
    let (mut world, ours, theirs) = World::multi_homed(5, &LEFT, &RIGHT);
    world.dead.insert(1);
    world.run_for(2_000 * MS);
    talk(&mut world, [(0, ours), (1, theirs)], 10, 10 * MS);
    world.run_for(20_000 * MS);
    assert_open(&world);
}

#[test]
fn a_path_that_is_cut_in_one_direction_only_is_as_good_as_dead() {
    for (from, to) in [("10.1.0.1", "10.1.0.2"), ("10.1.0.2", "10.1.0.1")] {
        let (mut world, ours, theirs) = World::multi_homed(6, &LEFT, &RIGHT);
        world.blocked.insert((ip(from), ip(to)));
        talk(&mut world, [(0, ours), (1, theirs)], 2, 500 * MS);
        talk(&mut world, [(0, ours), (1, theirs)], 300, 10 * MS);
        for host in 0..2 {
            assert_eq!(world.hosts[host].paths(), [(1, PathState::Unreachable)], "from {from} to {to}");
        }
        world.blocked.clear();
        clear(&mut world);
        talk(&mut world, [(0, ours), (1, theirs)], 100, 10 * MS);
        for host in 0..2 {
            assert_eq!(world.hosts[host].paths(), [(1, PathState::Available)], "from {from} to {to}");
        }
        assert_open(&world);
    }
}

#[test]
fn an_association_is_lost_when_all_paths_are_dead_and_not_before() {
    for talking in [false, true] {
        let (mut world, ours, theirs) = World::multi_homed(7, &LEFT, &RIGHT);
        world.dead.insert(1);
        world.run_for(20_000 * MS);
        assert_open(&world);
        world.dead.insert(2);
        if talking {
            world.send(0, ours, 0, Ppid::ASAP, b"hello?");
            world.send(1, theirs, 0, Ppid::ASAP, b"hello?");
        }
        world.run_for(2_000 * MS);
        assert_open(&world);
        world.run_for(6_000 * MS);
        assert_eq!(world.hosts[0].closed(), [(ours, Why::Lost)], "talking: {talking}");
        assert_eq!(world.hosts[1].closed(), [(theirs, Why::Lost)], "talking: {talking}");
        assert!(world.hosts.iter().all(|host| host.mux.deadline().is_none() && host.mux.buffered() == 0));
    }
}

#[test]
fn whoever_has_one_address_is_reached_from_both_of_the_other() {
    // Routers lead from each network to the other; then the way from one of them is cut.
    let mut world = World::new(8);
    world.isolated = false;
    let (a, b) = (world.host_in(&LEFT), world.host_in(&["10.1.0.2"]));
    let ours = world.connect_all(a, b).expect("connects");
    world.run_for(100 * MS);
    let theirs = world.hosts[b].ups()[0].0;
    assert_eq!(world.hosts[a].paths(), []);
    assert_eq!(world.hosts[b].paths(), [(2, PathState::Confirmed)]);
    clear(&mut world);
    for pair in [("10.1.0.1", "10.1.0.2"), ("10.1.0.2", "10.1.0.1")] {
        world.blocked.insert((ip(pair.0), ip(pair.1)));
    }
    let sides = [(a, ours), (b, theirs)];
    talk(&mut world, sides, 1, 1_000 * MS);
    talk(&mut world, sides, 300, 10 * MS);
    assert_eq!(world.hosts[b].paths(), [(1, PathState::Unreachable)]);
    world.blocked.clear();
    talk(&mut world, sides, 100, 10 * MS);
    assert_open(&world);
}

#[test]
fn the_families_mix_and_one_that_is_not_spoken_is_passed_over() {
    let (mut world, ours, theirs) = World::multi_homed(9, &["10.1.0.1", "fd02::1"], &["10.1.0.2", "fd02::2"]);
    talk(&mut world, [(0, ours), (1, theirs)], 10, 10 * MS);
    world.dead.insert(1);
    talk(&mut world, [(0, ours), (1, theirs)], 1, 250 * MS);
    talk(&mut world, [(0, ours), (1, theirs)], 10, 10 * MS);
    assert_open(&world);

    let mut world = World::new(10);
    let (a, b) = (world.host_in(&["10.1.0.1"]), world.host_in(&["10.1.0.2", "fd02::2", "10.2.0.2"]));
    world.isolated = false;
    world.logging = true;
    let ours = world.connect_all(a, b).expect("connects");
    world.run_for(5_000 * MS);
    let seen: Vec<IpAddr> = world.hosts[a].mux.paths(ours).iter().map(|path| path.path.remote.ip()).collect();
    assert_eq!(seen, [ip("10.1.0.2"), ip("10.2.0.2")]);
    assert!(world.log.iter().all(|(_, from, to, _)| from.is_ipv4() && to.is_ipv4()));
}

#[test]
fn bulk_survives_a_path_that_loses_much() {
    for (seed, (number, lost)) in [(1, 20), (1, 100), (2, 100)].into_iter().enumerate() {
        let (mut world, ours, theirs) = World::multi_homed(20 + seed as u64, &LEFT, &RIGHT);
        world.lossy.insert(number, lost);
        for n in 0..10 {
            world.send(0, ours, 0, Ppid::ASAP, &pattern(100_000, n));
            world.send(1, theirs, 0, Ppid::ENRP, &pattern(100_000, n));
        }
        world.run_until(|w| w.hosts.iter().all(|host| host.messages().len() == 10));
        for host in &world.hosts {
            for (n, (_, _, bytes)) in host.messages().into_iter().enumerate() {
                assert!(bytes == pattern(100_000, n as u64), "seed {seed}");
            }
        }
        assert_open(&world);
    }
}

#[test]
fn bulk_under_way_changes_over_when_its_path_is_cut() {
    let (mut world, ours, _) = World::multi_homed(25, &LEFT, &RIGHT);
    for n in 0..20 {
        world.send(0, ours, 0, Ppid::ASAP, &pattern(50_000, n));
    }
    world.run_for(8 * MS);
    assert!(world.hosts[1].messages().len() < 20);
    world.dead.insert(1);
    let begun = world.now;
    world.run_until(|w| w.hosts[1].messages().len() == 20);
    assert!(world.now.since(begun) < 1_000 * MS, "{:?}", world.now.since(begun));
    assert_open(&world);
}

#[test]
fn a_flapping_path_disturbs_no_order() {
    for seed in 0..20 {
        let (mut world, ours, theirs) = World::multi_homed(30 + seed, &LEFT, &RIGHT);
        let mut sent = 0u64;
        for round in 0..30 {
            if round % 2 == 0 {
                world.dead.insert(1 + (seed % 2) as u8);
            } else {
                world.dead.clear();
            }
            for _ in 0..10 {
                world.send(0, ours, 0, Ppid::ASAP, &sent.to_be_bytes());
                world.send(1, theirs, 0, Ppid::ASAP, &sent.to_be_bytes());
                sent += 1;
                let pause = Duration::from_millis(world.random.below(60));
                world.run_for(pause);
            }
        }
        world.dead.clear();
        world.run_for(3_000 * MS);
        for host in &world.hosts {
            let heard: Vec<u64> = host
                .messages()
                .iter()
                .map(|(_, _, bytes)| u64::from_be_bytes(bytes[..].try_into().expect("eight octets")))
                .collect();
            assert_eq!(heard, (0..sent).collect::<Vec<_>>(), "seed {seed}");
        }
        assert_open(&world);
    }
}

#[test]
fn both_open_at_once_over_several_addresses_and_it_is_one_association() {
    for seed in 0..40 {
        let mut world = World::new(400 + seed);
        let (a, b) = (world.host_in(&LEFT), world.host_in(&RIGHT));
        world.weather = if seed % 2 == 0 { Weather::fair() } else { Weather::foul(50) };
        world.weather.jitter = Duration::from_millis(seed % 5);
        let left = world.connect_all(a, b).expect("connects");
        world.send(a, left, 0, Ppid::ENRP, b"from a");
        let head_start = Duration::from_micros(world.random.below(2_500));
        world.run_for(head_start);
        let right = match world.connect_all(b, a) {
            Ok(right) | Err(ConnectError::Exists(right)) => right,
            Err(refused) => panic!("seed {seed}: {refused}"),
        };
        world.send(b, right, 0, Ppid::ENRP, b"from b");
        world.run_until(|w| w.hosts.iter().all(|host| !host.messages().is_empty()));
        world.weather = Weather::fair();
        world.run_for(8_000 * MS);
        for (host, assoc, heard) in [(a, left, b"from b"), (b, right, b"from a")] {
            let ups: Vec<_> = world.hosts[host].ups().into_iter().map(|(up, _)| up).collect();
            assert_eq!(ups, [assoc], "seed {seed}");
            assert_eq!(world.hosts[host].messages(), [(0, Ppid::ENRP, &heard[..])], "seed {seed}");
            assert_eq!(world.hosts[host].closed(), [], "seed {seed}");
            let status = world.hosts[host].mux.paths(assoc);
            assert_eq!(status.len(), 2, "seed {seed}");
            assert!(status.iter().all(|path| path.confirmed), "seed {seed}: {status:?}");
        }
    }
}

#[test]
fn an_association_opens_over_the_path_that_works() {
    for dead in [1, 2] {
        let mut world = World::new(11);
        let (a, b) = (world.host_in(&LEFT), world.host_in(&RIGHT));
        world.dead.insert(dead);
        let ours = world.connect_all(a, b).expect("connects");
        world.run_for(10 * MS);
        let theirs = world.hosts[b].ups()[0].0;
        talk(&mut world, [(a, ours), (b, theirs)], 200, 10 * MS);
        world.dead.clear();
        world.run_for(3_000 * MS);
        for host in [a, b] {
            assert_eq!(world.hosts[host].paths(), [(dead, PathState::Confirmed)]);
        }
    }
}

#[test]
fn an_init_that_left_from_the_wrong_socket_leaves_from_another_the_next_time() {
    // The peer's address looks as if it were in network 1, but only what comes from network 2 gets there.
    let mut world = World::new(12);
    world.isolated = false;
    let (a, b) = (world.host_in(&LEFT), world.host_in(&["10.1.0.2"]));
    for pair in [("10.1.0.1", "10.1.0.2"), ("10.1.0.2", "10.1.0.1")] {
        world.blocked.insert((ip(pair.0), ip(pair.1)));
    }
    let ours = world.connect_all(a, b).expect("connects");
    world.run_for(300 * MS);
    assert_eq!(world.hosts[a].ups(), [(ours, false)]);
    let theirs = world.hosts[b].ups()[0].0;
    talk(&mut world, [(a, ours), (b, theirs)], 100, 10 * MS);
}

#[test]
fn a_restart_is_recognised_at_any_of_the_addresses() {
    for dead in [1, 2] {
        let (mut world, ours, theirs) = World::multi_homed(13, &LEFT, &RIGHT);
        world.restart(0);
        world.dead.insert(dead);
        let again = world.connect_all(0, 1).expect("connects");
        world.send(0, again, 0, Ppid::ASAP, b"reborn");
        world.run_for(500 * MS);
        assert_eq!(ours, again, "the first name of a new life");
        assert_eq!(world.hosts[1].closed(), [(theirs, Why::Restarted)], "network {dead} dead");
        assert_eq!(world.hosts[1].messages(), [(0, Ppid::ASAP, &b"reborn"[..])]);
        assert_eq!(world.hosts[1].mux.associations(), 1);
    }
}

#[test]
fn a_restart_that_brings_new_addresses_waits_until_the_old_association_is_gone() {
    // RFC 9260 §5.2.2: it could be anybody who claims an address of the other.
    let (mut world, _, theirs) = World::multi_homed(14, &LEFT, &RIGHT);
    let thief = world.host_at(&[SocketAddr::new(ip("10.1.0.66"), 3863)], Config::default());
    world.hosts[thief].mux.bind(0, 3863, &[ip("10.1.0.66"), ip("10.1.0.1"), ip("10.2.0.1")]);
    world.logging = true;
    let stolen = world.connect_all(thief, 1).expect("connects");
    world.run_for(100 * MS);
    assert_eq!(world.hosts[1].events, []);
    let refusals: Vec<_> =
        world.log.iter().filter(|(_, _, to, bytes)| to.ip() == ip("10.1.0.66") && bytes[12] == 6).collect();
    // An ABORT with cause 11, which names the new address (RFC 9260 §3.3.10.11).
    assert_eq!(refusals[0].3[16..], [0, 11, 0, 12, 0, 5, 0, 8, 10, 1, 0, 66]);
    world.run_for(5_000 * MS);
    assert_eq!(world.hosts[thief].closed(), [(stolen, Why::Unreachable)]);
    assert_open_between(&world, 0, 1);

    // The true owner, with one address more: its old self no longer answers, so soon there is room for the new one.
    let third = SocketAddr::new(ip("10.3.0.1"), 3863);
    world.hosts[0].sockets.push(third);
    world.restart(0);
    clear(&mut world);
    world.run_until(|w| w.hosts[1].closed() == [(theirs, Why::Aborted)]);
    let again = world.connect_all(0, 1).expect("connects");
    world.run_for(100 * MS);
    assert_eq!(world.hosts[0].ups(), [(again, false)]);
}

fn assert_open_between(world: &World, a: usize, b: usize) {
    assert_eq!((world.hosts[a].closed(), world.hosts[b].closed()), (vec![], vec![]));
}

#[test]
fn a_list_that_lies_makes_nobody_send_more_than_a_few_heartbeats() {
    // A hundred associations list fourteen addresses of a victim, who has a stack and says no to everything.
    let mut world = World::new(15);
    world.isolated = false;
    let b = world.host_in(&["10.1.0.2"]);
    let victims: Vec<IpAddr> = (0..14).map(|n| IpAddr::from([10, 9, 0, n])).collect();
    let sockets: Vec<SocketAddr> = victims.iter().map(|&ip| SocketAddr::new(ip, 3863)).collect();
    let victim = world.host_at(&sockets, Config::default());
    for n in 0..100 {
        let own = IpAddr::from([10, 1, 1, n]);
        let liar = world.host_at(&[SocketAddr::new(own, 3863)], Config::default());
        let claims: Vec<IpAddr> = std::iter::once(own).chain(victims.iter().copied()).collect();
        world.hosts[liar].mux.bind(0, 3863, &claims);
        world.connect_all(liar, b).expect("connects");
    }
    world.logging = true;
    world.run_for(1_000 * MS);
    let theirs: Vec<AssocId> = world.hosts[b].ups().into_iter().map(|(up, _)| up).collect();
    assert_eq!(theirs.len(), 100);
    for &assoc in &theirs {
        world.send(b, assoc, 0, Ppid::ASAP, &pattern(5_000, 1));
    }
    world.run_for(1_000 * MS);
    // Then they vanish, with data on its way to them.
    for &assoc in &theirs {
        world.send(b, assoc, 0, Ppid::ASAP, &pattern(5_000, 2));
    }
    let vanished = world.now;
    for n in 0..100 {
        let liar = IpAddr::from([10, 1, 1, n]);
        world.blocked.extend([(ip("10.1.0.2"), liar), (liar, ip("10.1.0.2"))]);
    }
    world.run_until(|w| w.hosts[b].closed().len() == 100);
    let span = world.now.since(vanished) + 2_000 * MS;
    let to_victim: Vec<_> = world.log.iter().filter(|(_, _, to, _)| victims.contains(&to.ip())).collect();
    assert!(to_victim.iter().all(|(_, _, _, bytes)| bytes[12] == HEARTBEAT && bytes.len() <= 48));
    // The bucket holds 100, and one more each 5 ms.
    let most = 100 + span.as_millis() / 5;
    assert!(!to_victim.is_empty() && to_victim.len() as u128 <= most, "{} in {span:?}", to_victim.len());
    assert!(world.hosts[b].closed().iter().all(|&(_, why)| why == Why::Lost));
    assert_eq!(world.hosts[victim].events, []);
}

#[test]
fn an_abort_and_a_shutdown_find_their_way_over_the_other_path() {
    for abort in [true, false] {
        let (mut world, ours, theirs) = World::multi_homed(16, &LEFT, &RIGHT);
        world.dead.insert(1);
        for n in 0..5 {
            world.send(0, ours, 0, Ppid::ASAP, &pattern(20_000, n));
        }
        if abort {
            world.run_until(|w| w.hosts[1].messages().len() == 5);
            world.with(0, |mux, now| mux.abort(now, ours));
            world.run_for(10 * MS);
        } else {
            world.with(0, |mux, now| mux.shutdown(now, ours));
            world.run_until(|w| w.hosts.iter().all(|host| !host.closed().is_empty()));
        }
        let whys = if abort { (Why::Local, Why::Aborted) } else { (Why::Graceful, Why::Graceful) };
        assert_eq!(world.hosts[1].messages().len(), 5);
        assert_eq!(world.hosts[0].closed(), [(ours, whys.0)]);
        assert_eq!(world.hosts[1].closed(), [(theirs, whys.1)]);
        assert!(world.hosts.iter().all(|host| host.mux.deadline().is_none()));
    }
}

#[test]
fn a_shutdown_whose_path_is_cut_in_the_middle_goes_over_the_other() {
    let (mut world, ours, theirs) = World::multi_homed(17, &LEFT, &RIGHT);
    let begun = world.now;
    world.dead.insert(1);
    world.with(0, |mux, now| mux.shutdown(now, ours));
    world.run_until(|w| w.hosts.iter().all(|host| !host.closed().is_empty()));
    assert_eq!(world.hosts[0].closed(), [(ours, Why::Graceful)]);
    assert_eq!(world.hosts[1].closed(), [(theirs, Why::Graceful)]);
    assert!(world.now.since(begun) < 1_000 * MS);
}

#[test]
fn the_udp_port_of_each_path_follows_what_is_heard_there() {
    let (mut world, ours, theirs) = World::multi_homed(18, &LEFT, &RIGHT);
    world.hosts[0].sockets[0].set_port(50_505);
    world.hosts[0].sockets[1].set_port(50_506);
    world.run_for(2_000 * MS);
    world.dead.insert(1);
    talk(&mut world, [(0, ours), (1, theirs)], 1, 500 * MS);
    talk(&mut world, [(0, ours), (1, theirs)], 50, 10 * MS);
    assert_open(&world);
}

#[test]
fn a_process_that_was_held_up_blames_no_path() {
    let (mut world, ours, theirs) = World::multi_homed(19, &LEFT, &RIGHT);
    for _ in 0..5 {
        world.now += Duration::from_secs(60);
        world.run_for(1_000 * MS);
    }
    talk(&mut world, [(0, ours), (1, theirs)], 10, 10 * MS);
    for host in 0..2 {
        assert!(!world.hosts[host].paths().contains(&(1, PathState::Unreachable)));
    }
    assert_open(&world);
}
