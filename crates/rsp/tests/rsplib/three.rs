//! Three registrars of both kinds: each learns what the others are told, each dies once, and one of the others takes over.

use crate::parts::*;
use crate::row;
use guest::{Host, Hosts, Lab, Plan, Program, eventually};

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    Theirs,
}
use Kind::{Ours, Theirs};

/// A registrar of this kind that knows the others of hosts 1 to 3, and is ready.
fn registrar(hosts: &Hosts, kind: Kind, number: usize, id: &str) -> Program {
    let host = hosts.host(number);
    let others = (1..=3).filter(|other| *other != number).map(|other| hosts.host(other));
    let option = if kind == Ours { peer } else { their_peer };
    let peers: Vec<String> = others.map(option).collect();
    let peers: Vec<&str> = peers.iter().map(String::as_str).collect();
    match kind {
        Ours => our_registrar(host, id, &peers),
        Theirs => their_registrar(host, id, &peers),
    }
}

/// Each of these registrars tells the same about a pool: one element, with one of these homes. Gives the home.
fn agreed(user: &Host, registrars: &[&Host], pool: &str, homes: &[&str]) -> String {
    let told = || -> Vec<Vec<String>> { registrars.iter().map(|one| resolved(user, one, pool)).collect() };
    eventually(
        || format!("all tell the same about {pool}, with a home of {homes:?}; now {:?}", told()),
        || {
            let told = told();
            let [line] = &told[0][..] else { return None };
            let home = line.split(' ').nth(1)?.to_owned();
            (told.iter().all(|one| *one == told[0]) && homes.contains(&home.as_str())).then_some(home)
        },
    )
}

/// Registrars of these kinds on hosts 1 to 3, an element of RSPLIB at each on hosts 4 to 6. Each dies once and comes back
/// as another one.
fn each_dies_once(lab: &Lab, kinds: [Kind; 3]) {
    let hosts = lab.hosts(&Plan::hosts(7));
    let user = hosts.host(7);
    let mut ids = ["00000001", "00000002", "00000003"];
    let start = |number: usize, id: &str| registrar(&hosts, kinds[number - 1], number, id);
    let mut registrars: Vec<Program> = (1..=3).map(|number| start(number, ids[number - 1])).collect();
    for (kind, one) in kinds.iter().zip(&mut registrars) {
        match kind {
            Ours => drop(one.says_times(" is up", 2)),
            Theirs => ready(one),
        }
    }
    // They are told of the elements one by one.
    let elements = ["0a", "0b", "0c"];
    let pools = ["pool-1", "pool-2", "pool-3"];
    let _elements: Vec<Program> = (0..3)
        .map(|place| {
            let pool = format!("-poolhandle={}", pools[place]);
            let more = [pool.as_str(), "-rereginterval=60000"];
            their_element(hosts.host(4 + place), "echo", elements[place], hosts.host(1 + place), &more)
        })
        .collect();
    let all = [1, 2, 3].map(|number| hosts.host(number));
    for (pool, home) in pools.iter().zip(ids) {
        agreed(user, &all, pool, &[home]);
    }
    for (kind, one) in kinds.iter().zip(&registrars) {
        if *kind == Ours {
            // Every presence of the others had the checksum of what it knew.
            one.never_said("asking peer");
        }
    }
    for (place, number) in (1..=3).enumerate() {
        registrars[place].kill();
        let living: Vec<&Host> = all.iter().copied().filter(|host| host.number != number).collect();
        let homes: Vec<&str> = ids.iter().copied().filter(|id| *id != ids[place]).collect();
        for pool in pools {
            agreed(user, &living, pool, &homes);
        }
        // Another one in its place learns everything from a mentor of whatever kind.
        ids[place] = ["00000004", "00000005", "00000006"][place];
        registrars[place] = start(number, ids[place]);
        match kinds[place] {
            Ours => drop(registrars[place].says_times(" is up", 2)),
            Theirs => ready(&mut registrars[place]),
        }
        for pool in pools {
            agreed(user, &all, pool, &ids);
        }
    }
    registrars.iter_mut().for_each(Program::lives);
}

#[test]
fn two_of_ours_and_one_of_theirs_agree_and_each_dies_once() {
    row(|lab| each_dies_once(lab, [Ours, Theirs, Ours]));
}

#[test]
fn one_of_ours_and_two_of_theirs_agree_and_each_dies_once() {
    row(|lab| each_dies_once(lab, [Theirs, Ours, Theirs]));
}
