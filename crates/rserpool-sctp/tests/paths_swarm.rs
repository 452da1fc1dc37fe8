//! Random worlds with several addresses: whatever happens to the networks, as long as one works everything arrives, in
//! order and once, and when all work again the primary paths are used again.

mod world;

use rserpool::{Ppid, Random};
use rserpool_sctp::{AssocId, ConnectError, SendError};
use std::time::Duration;
use world::{MS, World, pattern};

/// Worlds played each time; set SCTP_SEEDS to play more, SCTP_SEED to play one.
const SEEDS: u64 = 200;

/// Seeds that failed once. They are played each time.
const ONCE_FAILED: [u64; 1] = [316];

#[test]
fn whatever_happens_to_the_networks_everything_arrives_while_one_of_them_works() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SCTP_SEED") {
        return play(seed);
    }
    for seed in ONCE_FAILED.into_iter().chain(0..number("SCTP_SEEDS").unwrap_or(SEEDS)) {
        if std::panic::catch_unwind(|| play(seed)).is_err() {
            panic!("seed {seed} failed: run again with SCTP_SEED={seed}");
        }
    }
}

/// One of these at an address: 10.N.0.x or fd0N::x.
fn addresses(random: &mut Random, networks: u8, host: u8) -> Vec<String> {
    let six = random.below(4) == 0;
    let at = |n| if six && n == networks { format!("fd0{n}::{host}") } else { format!("10.{n}.0.{host}") };
    (1..=networks).map(at).collect()
}

fn play(seed: u64) {
    let mut random = Random::from_seed(seed ^ 0x5c7b);
    let networks = 1 + random.below(3) as u8;
    let mut world = World::new(seed);
    let family = random.next_u64();
    for host in 1..=2 {
        let own = addresses(&mut Random::from_seed(family), networks, host);
        world.host_in(&own.iter().map(String::as_str).collect::<Vec<_>>());
    }
    world.weather.jitter = Duration::from_micros(random.below(3_000));
    world.weather.doubled = random.below(20) as u32;
    for network in 1..=networks {
        if random.one_in(3) {
            world.lossy.insert(network, random.below(101) as u32);
        }
    }
    let left = world.connect_all(0, 1).expect("connects");
    let right = if random.one_in(3) {
        let head_start = Duration::from_micros(random.below(3_000));
        world.run_for(head_start);
        match world.connect_all(1, 0) {
            Ok(assoc) | Err(ConnectError::Exists(assoc)) => Some(assoc),
            Err(refused) => panic!("{refused}"),
        }
    } else {
        None
    };
    world.run_until(|w| w.hosts.iter().all(|host| !host.ups().is_empty()));
    let right = right.unwrap_or(world.hosts[1].ups()[0].0);

    let mut sent: [Vec<usize>; 2] = Default::default();
    for _ in 0..25 {
        // One network, another each time, is never cut.
        let spared = 1 + random.below(networks.into()) as u8;
        let spared_pair = |world: &World| {
            let in_it = |host: usize| {
                world.hosts[host].sockets.iter().map(|at| at.ip()).find(|&ip| world::network(ip) == spared)
            };
            (in_it(0).expect("in every network"), in_it(1).expect("in every network"))
        };
        world.dead.remove(&spared);
        let (here, there) = spared_pair(&world);
        world.blocked.remove(&(here, there));
        world.blocked.remove(&(there, here));
        for network in (1..=networks).filter(|&network| network != spared) {
            match random.below(6) {
                0 => drop(world.dead.insert(network)),
                1 => drop(world.dead.remove(&network)),
                2 => {
                    let ends =
                        [0, 1].map(|host: usize| world.hosts[host].sockets[usize::from(network) - 1].ip());
                    let (from, to) = if random.one_in(2) { (ends[0], ends[1]) } else { (ends[1], ends[0]) };
                    world.blocked.insert((from, to));
                }
                3 => world.blocked.clear(),
                _ => {}
            }
        }
        for (host, assoc) in [(0, left), (1, right)] {
            if random.one_in(8) {
                let to = world.hosts[1 - host].sockets[random.below(networks.into()) as usize].ip();
                world.with(host, |mux, _| mux.set_primary(assoc, to));
            }
            for _ in 0..random.below(4) {
                let most = if random.one_in(5) { 60_000 } else { 300 };
                let size = 1 + random.below(most) as usize;
                say(&mut world, host, assoc, size, &mut sent[host]);
            }
        }
        let pause = Duration::from_millis(random.below(400));
        world.run_for(pause);
    }
    world.dead.clear();
    world.blocked.clear();
    world.lossy.clear();
    world.run_until(|w| (0..2).all(|host| w.hosts[host].messages().len() >= sent[1 - host].len()));
    world.run_for(8_000 * MS);
    for host in 0..2 {
        assert_eq!(world.hosts[host].closed(), [], "host {host}");
        assert_eq!(world.hosts[host].ups().len(), 1, "host {host}");
        let heard = world.hosts[host].messages();
        assert_eq!(heard.len(), sent[1 - host].len(), "host {host}");
        for (n, ((_, _, bytes), &size)) in heard.iter().zip(&sent[1 - host]).enumerate() {
            assert!(*bytes == pattern(size, n as u64), "host {host}, message {n}");
        }
        assert_eq!(world.hosts[host].mux.buffered(), 0, "host {host}");
    }
    // All is well again: every path works, and the primary ones carry what is said.
    world.logging = true;
    world.log.clear();
    for (host, assoc) in [(0, left), (1, right)] {
        let status = world.hosts[host].mux.paths(assoc);
        assert_eq!(status.len(), usize::from(networks), "host {host}");
        assert!(status.iter().all(|path| path.confirmed && path.errors == 0), "host {host}: {status:?}");
        let primary = status.iter().find(|path| path.primary).expect("there is one").path.remote;
        world.send(host, assoc, 0, Ppid::ASAP, b"well");
        let (_, _, to, bytes) = world.log.last().expect("just sent");
        assert_eq!((*to, bytes[12]), (primary, 0), "host {host}");
        world.run_for(100 * MS);
    }
}

/// Sends a message; a full queue is given time.
fn say(world: &mut World, host: usize, assoc: AssocId, size: usize, sent: &mut Vec<usize>) {
    let whole = pattern(size, sent.len() as u64);
    while let Err(refused) = world.with(host, |mux, now| mux.send(now, assoc, 0, Ppid::ASAP, whole.clone())) {
        assert_eq!(refused, SendError::Full);
        world.run_for(50 * MS);
    }
    sent.push(size);
}
