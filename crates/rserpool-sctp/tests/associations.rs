//! What an association does: begin, carry, end.

mod world;

use rserpool::Ppid;
use rserpool_sctp::{Config, ConnectError, Event, Path, Peer, SendError, Why};
use std::time::Duration;
use world::{MS, Weather, World, address, pattern};

#[test]
fn an_association_comes_up_on_both_sides_with_the_ports_of_the_rule() {
    let mut world = World::new(1);
    let (a, b) = (world.host(&[40_000]), world.host(&[3863]));
    let ours = world.connect(a, b, 3863);
    world.run_for(100 * MS);

    let peer = |host: usize, port: u16| Peer {
        addresses: vec![address(host)],
        port,
        path: Path { socket: 0, remote: (address(host), port).into() },
    };
    let up = Event::Up { assoc: ours, local_port: 40_000, peer: peer(b, 3863), inbound: false };
    assert_eq!(world.hosts[a].events, [up]);
    let theirs = world.hosts[b].ups()[0].0;
    let up = Event::Up { assoc: theirs, local_port: 3863, peer: peer(a, 40_000), inbound: true };
    assert_eq!(world.hosts[b].events, [up]);
}

#[test]
fn a_stack_at_9899_is_found_although_only_its_sctp_port_is_known() {
    let mut world = World::new(2);
    let (a, b) = (world.host(&[40_000]), world.host(&[9899]));
    world.with(b, |mux, _| mux.listen(3863));
    let ours = world.connect(a, b, 3863);
    world.run_for(100 * MS);
    assert_eq!(world.hosts[a].ups(), [(ours, false)]);
    assert!(matches!(&world.hosts[a].events[0], Event::Up { peer, .. } if peer.path.remote.port() == 9899));
}

#[test]
fn a_stack_at_both_ports_is_one_peer() {
    let mut world = World::new(3);
    let (a, b) = (world.host(&[40_000]), world.host(&[3863, 9899]));
    let ours = world.connect(a, b, 3863);
    world.run_for(5_000 * MS);
    assert_eq!(world.hosts[a].events.len(), 1);
    assert_eq!(world.hosts[a].ups(), [(ours, false)]);
    assert_eq!(world.hosts[b].events.len(), 1);
}

#[test]
fn a_refusal_from_one_candidate_does_not_hide_the_other() {
    let mut world = World::new(4);
    let (a, b) = (world.host(&[40_000]), world.host(&[3863]));
    // Another stack on the same machine, at 9899, does not listen at 3863: it refuses, and it is quicker.
    let c = world.host(&[9899]);
    world.hosts[c].sockets = vec![(address(b), 9899).into()];
    world.weather.jitter = 2 * MS;
    for _ in 0..20 {
        let ours = world.connect(a, b, 3863);
        world.run_for(1_000 * MS);
        assert_eq!(world.hosts[a].ups(), [(ours, false)]);
        world.with(a, |mux, now| mux.abort(now, ours));
        world.run_for(1_000 * MS);
        assert_eq!(world.hosts[a].closed(), [(ours, Why::Local)]);
        world.hosts[a].events.clear();
    }
    assert_eq!(world.hosts[c].events, []);
}

#[test]
fn refused_by_all_is_unreachable_at_once_and_silence_after_the_last_init() {
    let mut world = World::new(5);
    let (a, b) = (world.host(&[40_000]), world.host(&[9899, 7777]));
    let refused = world.connect(a, b, 7000);
    world.with(b, |mux, _| mux.listen(9899));
    // 9899 says no; nobody is at 7000, so the attempt goes on until the INITs are used up.
    world.run_for(1_000 * MS);
    assert_eq!(world.hosts[a].events, []);
    world.run_for(3_000 * MS);
    assert_eq!(world.hosts[a].closed(), [(refused, Why::Unreachable)]);

    world.hosts[a].events.clear();
    let path = Path { socket: 0, remote: (address(b), 7777).into() };
    let refused = world.with(a, |mux, now| mux.connect(now, 40_000, 7000, &[path])).expect("connects");
    world.run_for(10 * MS);
    assert_eq!(world.hosts[a].closed(), [(refused, Why::Unreachable)]);
    assert_eq!(world.hosts[b].events, []);
}

#[test]
fn messages_keep_octets_ppid_stream_and_order_in_both_directions() {
    let (mut world, ours, theirs) = World::pair(6);
    let sizes = [1, 2, 3, 200, 1_355, 1_356, 1_357, 4_096, 65_536, 262_144, 1 << 20];
    for (n, &size) in sizes.iter().enumerate() {
        world.send(0, ours, 0, Ppid(11 + n as u32), &pattern(size, 1));
        world.run_until(|w| w.hosts[1].messages().len() == n + 1);
        world.send(1, theirs, 3, Ppid(u32::MAX - n as u32), &pattern(size, 2));
        world.run_until(|w| w.hosts[0].messages().len() == n + 1);
    }
    world.run_for(5_000 * MS);
    for (host, stream, seed) in [(1, 0, 1), (0, 3, 2)] {
        let heard = world.hosts[host].messages();
        assert_eq!(heard.len(), sizes.len());
        for (n, (&size, message)) in sizes.iter().zip(heard).enumerate() {
            let ppid = if host == 1 { Ppid(11 + n as u32) } else { Ppid(u32::MAX - n as u32) };
            assert_eq!(message, (stream, ppid, &pattern(size, seed)[..]), "size {size}");
        }
    }
    assert_eq!(world.hosts.iter().flat_map(|host| host.closed()).count(), 0);
}

#[test]
fn messages_sent_before_the_association_is_up_arrive_first() {
    let mut world = World::new(7);
    let (a, b) = (world.host(&[40_000]), world.host(&[3863]));
    let ours = world.connect(a, b, 3863);
    world.send(a, ours, 0, Ppid::ASAP, b"one");
    world.send(a, ours, 0, Ppid::ASAP, b"two");
    let other_stream = world.with(a, |mux, now| mux.send(now, ours, 1, Ppid::ASAP, b"no".to_vec()));
    assert_eq!(other_stream, Err(SendError::NoSuchStream));
    world.run_until(|w| !w.hosts[0].ups().is_empty());
    world.send(a, ours, 0, Ppid::ASAP, b"three");
    world.run_for(1_000 * MS);
    let heard: Vec<_> = world.hosts[b].messages().into_iter().map(|(_, _, bytes)| bytes).collect();
    assert_eq!(heard, [&b"one"[..], b"two", b"three"]);
}

#[test]
fn bulk_in_both_directions_survives_foul_weather() {
    for seed in 0..4 {
        let (mut world, ours, theirs) = World::pair(100 + seed);
        world.weather = Weather::foul(20);
        let sizes: Vec<usize> = (0..12).map(|_| world.random.below(200_000) as usize + 1).collect();
        for &size in &sizes {
            world.send(0, ours, 0, Ppid::ASAP, &pattern(size, 1));
            world.send(1, theirs, 0, Ppid::ENRP, &pattern(size, 2));
        }
        world.run_until(|w| w.hosts.iter().all(|host| host.messages().len() == sizes.len()));
        for (host, content) in [(1, 1), (0, 2)] {
            for (&size, (_, _, bytes)) in sizes.iter().zip(world.hosts[host].messages()) {
                assert!(bytes == pattern(size, content), "seed {seed}, size {size}");
            }
        }
        assert_eq!(world.hosts.iter().flat_map(|host| host.closed()).count(), 0, "seed {seed}");
    }
}

#[test]
fn the_largest_messages_never_meet_the_end_of_the_window() {
    // Two of them fill the window, on streams that overtake each other, with holes in between.
    let (mut world, ours, theirs) = World::pair(21);
    world.weather = Weather::foul(30);
    for n in 0..3 {
        for (host, assoc) in [(0, ours), (1, theirs)] {
            for stream in 0..2 {
                let whole = pattern(1_000_000, n);
                while world.with(host, |mux, now| mux.send(now, assoc, stream, Ppid::ASAP, whole.clone()))
                    == Err(SendError::Full)
                {
                    world.run_for(20 * MS);
                }
            }
        }
    }
    world.run_until(|w| w.hosts.iter().all(|host| host.events.len() >= 6 && host.mux.buffered() == 0));
    for host in &world.hosts {
        assert_eq!(host.messages().len(), 6);
        assert_eq!(host.closed(), []);
    }
}

#[test]
fn a_shutdown_delivers_everything_first() {
    for seed in 0..8 {
        let (mut world, ours, theirs) = World::pair(200 + seed);
        if seed % 2 == 1 {
            world.weather = Weather::foul(30);
        }
        for n in 0..10 {
            world.send(0, ours, 0, Ppid::ASAP, &pattern(60_000, n));
        }
        world.with(0, |mux, now| mux.shutdown(now, ours));
        let late = world.with(0, |mux, now| mux.send(now, ours, 0, Ppid::ASAP, b"late".to_vec()));
        assert_eq!(late, Err(SendError::Gone));
        world.run_until(|w| w.hosts.iter().all(|host| !host.closed().is_empty()));
        assert_eq!(world.hosts[1].messages().len(), 10, "seed {seed}");
        assert_eq!(world.hosts[0].closed(), [(ours, Why::Graceful)], "seed {seed}");
        assert_eq!(world.hosts[1].closed(), [(theirs, Why::Graceful)], "seed {seed}");
    }
}

#[test]
fn a_shutdown_of_the_other_side_waits_for_what_we_said_before() {
    for seed in 0..8 {
        let (mut world, ours, theirs) = World::pair(300 + seed);
        if seed % 2 == 1 {
            world.weather = Weather::foul(30);
        }
        for n in 0..10 {
            world.send(1, theirs, 0, Ppid::ASAP, &pattern(60_000, n));
        }
        world.with(0, |mux, now| mux.shutdown(now, ours));
        world.run_until(|w| w.hosts.iter().all(|host| !host.closed().is_empty()));
        assert_eq!(world.hosts[0].messages().len(), 10, "seed {seed}");
        assert_eq!(world.hosts[0].closed(), [(ours, Why::Graceful)], "seed {seed}");
        assert_eq!(world.hosts[1].closed(), [(theirs, Why::Graceful)], "seed {seed}");
    }
}

#[test]
fn both_sides_may_take_leave_at_once() {
    let (mut world, ours, theirs) = World::pair(8);
    world.send(0, ours, 0, Ppid::ASAP, &pattern(100_000, 0));
    world.send(1, theirs, 0, Ppid::ASAP, &pattern(100_000, 0));
    world.with(0, |mux, now| mux.shutdown(now, ours));
    world.with(1, |mux, now| mux.shutdown(now, theirs));
    world.run_for(5_000 * MS);
    assert_eq!(world.hosts[0].closed(), [(ours, Why::Graceful)]);
    assert_eq!(world.hosts[1].closed(), [(theirs, Why::Graceful)]);
    assert!(world.hosts.iter().all(|host| host.messages().len() == 1 && host.mux.deadline().is_none()));
}

#[test]
fn a_shutdown_before_anything_was_said_is_quiet() {
    let mut world = World::new(9);
    let (a, b) = (world.host(&[40_000]), world.host(&[3863]));
    let ours = world.connect(a, b, 3863);
    world.with(a, |mux, now| mux.shutdown(now, ours));
    world.run_for(5_000 * MS);
    assert_eq!(world.hosts[a].events, [Event::Closed { assoc: ours, why: Why::Local }]);
    assert!(world.hosts.iter().all(|host| host.mux.deadline().is_none()));
}

#[test]
fn an_orderly_end_that_takes_too_long_becomes_an_abort() {
    let (mut world, ours, theirs) =
        World::pair_with(10, Config { retransmits_max: 1000, ..Config::default() });
    world.cut = true;
    world.send(0, ours, 0, Ppid::ASAP, b"nobody hears this");
    world.with(0, |mux, now| mux.shutdown(now, ours));
    world.run_for(9_990 * MS);
    assert_eq!(world.hosts[0].events, []);
    world.cut = false;
    world.with(0, |mux, now| mux.wake(now + 20 * MS));
    assert_eq!(world.hosts[0].closed(), [(ours, Why::Lost)]);
    world.run_for(10 * MS);
    assert_eq!(world.hosts[1].closed(), [(theirs, Why::Aborted)]);
}

#[test]
fn an_abort_is_told_to_the_other_side() {
    let (mut world, ours, theirs) = World::pair(11);
    world.with(1, |mux, now| mux.abort(now, theirs));
    world.run_for(10 * MS);
    assert_eq!(world.hosts[1].events, [Event::Closed { assoc: theirs, why: Why::Local }]);
    assert_eq!(world.hosts[0].events, [Event::Closed { assoc: ours, why: Why::Aborted }]);
    let gone = world.with(0, |mux, now| mux.send(now, ours, 0, Ppid::ASAP, b"x".to_vec()));
    assert_eq!(gone, Err(SendError::Gone));
}

#[test]
fn a_silent_peer_is_noticed_idle_or_not() {
    for (talking, patience) in [(false, 6_000 * MS), (true, 5_500 * MS)] {
        let (mut world, ours, theirs) = World::pair(12);
        world.run_for(3_000 * MS);
        assert_eq!(world.hosts[0].events, []);
        world.cut = true;
        if talking {
            world.send(0, ours, 0, Ppid::ASAP, b"hello?");
        }
        world.run_for(1_000 * MS);
        assert_eq!(world.hosts[0].events, []);
        world.run_for(patience);
        assert_eq!(world.hosts[0].closed(), [(ours, Why::Lost)], "talking: {talking}");
        assert_eq!(world.hosts[1].closed(), [(theirs, Why::Lost)]);
    }
}

#[test]
fn a_process_that_was_held_up_does_not_blame_its_peer() {
    let (mut world, ours, _) = World::pair(13);
    world.send(0, ours, 0, Ppid::ASAP, b"under way when time stood still");
    // Neither clock nor mail for a minute; then the mail is read first, then the alarms.
    world.now += Duration::from_secs(60);
    world.run_for(20_000 * MS);
    assert_eq!(world.hosts[1].messages().len(), 1);
    assert_eq!(world.hosts.iter().flat_map(|host| host.closed()).count(), 0);
}

#[test]
fn a_restart_from_the_same_port_is_a_new_association() {
    let (mut world, ours, theirs) = World::pair(14);
    world.restart(0);
    let again = world.connect(0, 1, 3863);
    world.send(0, again, 0, Ppid::ASAP, b"reborn");
    world.run_for(1_000 * MS);
    assert_eq!(world.hosts[0].events.len(), 1);
    assert_eq!(world.hosts[0].ups(), [(again, false)]);
    let new = world.hosts[1].ups()[0].0;
    assert_ne!(new, theirs);
    assert_eq!(world.hosts[1].closed(), [(theirs, Why::Restarted)]);
    assert_eq!(world.hosts[1].events[0], Event::Closed { assoc: theirs, why: Why::Restarted });
    assert_eq!(world.hosts[1].messages(), [(0, Ppid::ASAP, &b"reborn"[..])]);
    // The name of the first life means nothing in the second.
    assert_eq!(ours, again);
    world.send(1, new, 0, Ppid::ASAP, b"welcome");
    world.run_for(100 * MS);
    assert_eq!(world.hosts[0].messages(), [(0, Ppid::ASAP, &b"welcome"[..])]);
}

#[test]
fn a_restarted_peer_that_does_not_know_us_says_so() {
    let (mut world, ours, _) = World::pair(15);
    world.restart(1);
    world.send(0, ours, 0, Ppid::ASAP, b"still there?");
    world.run_for(10 * MS);
    assert_eq!(world.hosts[0].closed(), [(ours, Why::Aborted)]);
    assert_eq!(world.hosts[1].events, []);
}

#[test]
fn both_open_at_once_and_it_is_one_association() {
    for seed in 0..40 {
        let mut world = World::new(400 + seed);

        let (a, b) = (world.host(&[9901]), world.host(&[9901]));
        world.weather = if seed % 2 == 0 { Weather::fair() } else { Weather::foul(50) };
        world.weather.jitter = Duration::from_millis(seed % 5);
        let left = world.connect(a, b, 9901);
        world.send(a, left, 0, Ppid::ENRP, b"from a");
        let head_start = Duration::from_micros(world.random.below(2_500));
        world.run_for(head_start);
        let right = world.with(b, |mux, now| {
            let path = Path { socket: 0, remote: (address(0), 9901).into() };
            mux.connect(now, 9901, 9901, &[path])
        });
        // If the first was quicker, the association exists already.
        let right = match right {
            Ok(right) => right,
            Err(ConnectError::Exists(right)) => right,
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
        }
    }
}

#[test]
fn the_udp_port_follows_what_is_heard() {
    let (mut world, ours, theirs) = World::pair(16);
    // A box in between gives the first host another UDP port.
    world.hosts[0].sockets[0].set_port(50_505);
    world.send(0, ours, 0, Ppid::ASAP, b"I moved");
    world.run_for(10 * MS);
    world.send(1, theirs, 0, Ppid::ASAP, b"I noticed");
    world.run_for(5_000 * MS);
    assert_eq!(world.hosts[0].messages(), [(0, Ppid::ASAP, &b"I noticed"[..])]);
    assert_eq!(world.hosts.iter().flat_map(|host| host.closed()).count(), 0);
}

#[test]
fn alarms_are_heard_through_incessant_mail() {
    // Whoever is busy reading is late for every alarm; it must go off all the same.
    let (mut world, ours, _) = World::pair(19);
    world.cut = true;
    world.send(0, ours, 0, Ppid::ASAP, b"to be sent again");
    world.logging = true;
    let from = Path { socket: 0, remote: (address(1), 3863).into() };
    for _ in 0..100 {
        world.now += 30 * MS;
        world.with(0, |mux, now| mux.input(now, from, b"mail that means nothing"));
        if world.hosts[0].mux.deadline() <= Some(world.now) {
            world.with(0, |mux, now| mux.wake(now));
        }
    }
    let again = world.log.iter().filter(|(_, _, _, bytes)| bytes[12] == 0).count();
    assert_eq!(again, 4, "after 200, 600, 1400 and 3000 ms at the earliest");
}

#[test]
fn a_stack_that_calls_itself_comes_to_an_end() {
    let mut world = World::new(20);
    let a = world.host(&[9901]);
    let ours = world.connect(a, a, 9901);
    world.run_for(10_000 * MS);
    world.with(a, |mux, now| mux.abort(now, ours));
    world.run_for(60_000 * MS);
    assert_eq!(world.hosts[a].mux.associations(), 0);
    assert_eq!(world.hosts[a].mux.deadline(), None);
}

#[test]
fn equal_seeds_give_equal_traffic() {
    let traffic = |seed| {
        // What others drew from the thread's generator makes no difference.
        fastrand::seed(fastrand::u64(..));
        let mut world = World::new(seed);
        world.logging = true;
        world.weather = Weather::foul(30);
        let (a, b) = (world.host(&[3863]), world.host(&[3863]));
        let ours = world.connect(a, b, 3863);
        for n in 0..5 {
            world.send(a, ours, 0, Ppid::ASAP, &pattern(50_000, n));
        }
        world.run_until(|w| w.hosts[1].messages().len() == 5);
        world.with(a, |mux, now| mux.shutdown(now, ours));
        world.run_for(30_000 * MS);
        world.log
    };
    let first = traffic(17);
    assert!(first.len() > 200);
    assert!(first == traffic(17));
    assert!(first != traffic(18));
}
