//! Every policy, from either kind to the other.

use crate::parts::*;
use crate::row;
use guest::{Hosts, Plan, Program, eventually};

/// What RSPLIB's elements are told, and what ours then says.
const THEIRS: &[(&str, &str)] = &[
    ("RoundRobin", "RoundRobin"),
    ("WeightedRoundRobin:5", "WeightedRoundRobin:weight=5"),
    ("Random", "Random"),
    ("WeightedRandom:300", "WeightedRandom:weight=300"),
    ("Priority:7", "Priority:priority=7"),
    ("LeastUsed", "LeastUsed:load=0.0%"),
    ("LeastUsedDegradation:0.25", "LeastUsedDegradation:load=0.0%,degradation=25.0%"),
    ("PriorityLeastUsed:0.5", "PriorityLeastUsed:load=0.0%,degradation=50.0%"),
    ("RandomizedLeastUsed", "RandomizedLeastUsed:load=0.0%"),
    ("PriorityLeastUsedDegradation:0.1", "PriorityLeastUsedDegradation:load=0.0%,degradation=10.0%"),
    ("RandomizedPriorityLeastUsed", "RandomizedPriorityLeastUsed:load=0.0%,degradation=0.0%"),
    ("WeightedRandomDPF:300:0.5", "WeightedRandomDPF:weight=300,penalty=50.0%,distance=0"),
    ("LeastUsedDPF:0.5", "LeastUsedDPF:load=0.0%,penalty=50.0%,distance=0"),
    (
        "LeastUsedDegradationDPF:0.1:0.5",
        "LeastUsedDegradationDPF:load=0.0%,degradation=10.0%,penalty=50.0%,distance=0",
    ),
];

#[test]
fn every_policy_of_theirs_is_known_at_ours_and_their_users_understand_the_answers() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let [us, them, user] = [1, 2, 3].map(|number| hosts.host(number));
        let mut registrar = our_registrar(us, "00000001", &[]);
        let start = |(place, (policy, _)): (usize, &(&str, &str))| -> Program {
            let (pool, policy) = (format!("-poolhandle=pool-{place}"), format!("-policy={policy}"));
            their_element(them, "pingpong", &format!("{:08x}", 16 + place), us, &[&pool, &policy])
        };
        let _elements: Vec<Program> = THEIRS.iter().enumerate().map(start).collect();
        for (place, (_, told)) in THEIRS.iter().enumerate() {
            registrar.says(&format!("element {:08x} joined pool 'pool-{place}'", 16 + place));
            let line = format!("{:08x} 00000001 {told}", 16 + place);
            knows(user, us, &format!("pool-{place}"), &[&line]);
        }
        let at = format!("-registrar={}:3863", us.ip());
        let mut users: Vec<Program> = (0..THEIRS.len())
            .map(|place| {
                let pool = format!("-poolhandle=pool-{place}");
                theirs(user, "pingpongclient", &[&at, &pool, "-interval=100"])
            })
            .collect();
        for (place, user) in users.iter_mut().enumerate() {
            user.says(&format!("from PE ${:08x}", 16 + place));
        }
    });
}

/// All policies of ours, as theirs shall hand them out again.
const OURS: &[&str] = &[
    "RoundRobin",
    "WeightedRoundRobin:weight=5",
    "Random",
    "WeightedRandom:weight=300",
    "Priority:priority=7",
    "LeastUsed:load=0.0%",
    "LeastUsedDegradation:load=0.0%,degradation=25.0%",
    "PriorityLeastUsed:load=0.0%,degradation=50.0%",
    "RandomizedLeastUsed:load=0.0%",
    "RandomizedPriorityLeastUsed:load=0.0%,degradation=10.0%",
    "RandomizedLeastUsedDegradation:load=0.0%,degradation=10.0%",
    "PriorityLeastUsedDegradation:load=0.0%,degradation=10.0%",
    "RandomizedPriorityLeastUsedDegradation:load=0.0%,degradation=10.0%",
    "WeightedRandomDPF:weight=300,penalty=50.0%,distance=0",
    "LeastUsedDPF:load=0.0%,penalty=50.0%,distance=0",
    "LeastUsedDegradationDPF:load=0.0%,degradation=10.0%,penalty=50.0%,distance=0",
];

#[test]
fn every_policy_of_ours_is_stored_by_theirs_and_comes_back_unchanged() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let [them, one, user] = [1, 2, 3].map(|number| hosts.host(number));
        let mut registrar = their_registrar(them, "00000002", &[]);
        ready(&mut registrar);
        let start = |(place, policy): (usize, &&str)| -> Program {
            let (pool, id) = (format!("pool-{place}"), format!("{:08x}", 16 + place));
            our_worker(one, &id, them, &["--pool", &pool, "--policy", policy])
        };
        let _elements: Vec<Program> = OURS.iter().enumerate().map(start).collect();
        for (place, told) in OURS.iter().enumerate() {
            registrar.says(&format!("Successfully registered pool-{place}/${:08x}", 16 + place));
            let line = format!("{:08x} 00000002 {told}", 16 + place);
            knows(user, them, &format!("pool-{place}"), &[&line]);
        }
    });
}

/// CalcApp elements of both kinds in one pool, chosen by their load: of two jobs that outlive the row each gets one. Nobody
/// asks the registrar before: ours counts whom it gave out as loaded until the next report. `registered` is what it says
/// of each element.
fn each_gets_a_job(hosts: &Hosts, mut keeper: Program, registered: &str) {
    let [registrar, one, two, user] = [1, 2, 3, 4].map(|number| hosts.host(number));
    let _ours = our_element(one, "calcapp", "0000000b", registrar, &["--policy", "LeastUsed"]);
    let _theirs = their_element(two, "calcapp", "0a", registrar, &["-policy=LeastUsed"]);
    keeper.says_times(registered, 2);
    let words = ["--jobs", "1", "--job-interval", "0", "--job-size", "1e9"];
    let _users: Vec<Program> = (0..2)
        .map(|_| {
            let mut job = our_user(user, "calcapp", registrar, &words);
            job.says("is accepted");
            job
        })
        .collect();
    let told = || resolved(user, registrar, "CalcAppPool");
    eventually(
        || format!("both are at work: {:?}", told()),
        || {
            let told = told();
            let loaded = told.iter().filter(|line| line.ends_with("LeastUsed:load=10.0%")).count();
            (told.len() == 2 && loaded == 2).then_some(())
        },
    );
    keeper.lives();
}

#[test]
fn our_registrar_gives_the_idle_element_of_both_kinds_under_load() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let registrar = our_registrar(hosts.host(1), "00000001", &[]);
        each_gets_a_job(&hosts, registrar, " joined pool 'CalcAppPool'");
    });
}

#[test]
fn their_registrar_gives_the_idle_element_of_both_kinds_under_load() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let mut registrar = their_registrar(hosts.host(1), "00000002", &[]);
        ready(&mut registrar);
        each_gets_a_job(&hosts, registrar, "Successfully registered CalcAppPool");
    });
}

/// With weights of 1 and 3, one of each kind, ours hands out the one thrice as often; and so does theirs.
#[test]
fn weights_hold_between_elements_of_both_kinds_at_registrars_of_both_kinds() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(5));
        let [us, them, one, two, user] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
        let _ours = our_registrar(us, "00000001", &[]);
        let mut theirs = their_registrar(them, "00000002", &[]);
        ready(&mut theirs);
        for registrar in [us, them] {
            let _light =
                our_element(one, "echo", "0000000b", registrar, &["--policy", "WeightedRoundRobin:weight=1"]);
            let _heavy = their_element(two, "echo", "0a", registrar, &["-policy=WeightedRoundRobin:3"]);
            let pool = "EchoPool";
            eventually(
                || "both are there".into(),
                || (resolved(user, registrar, pool).len() == 2).then_some(()),
            );
            let all: Vec<_> = (0..16).filter_map(|_| chosen(user, registrar, pool)).collect();
            let heavy = all.iter().filter(|id| *id == "0000000a").count();
            assert_eq!((all.len(), heavy), (16, 12), "{all:?}");
        }
    });
}
