//! Registrars of both kinds that keep one handlespace.

use crate::crowd::{Crowd, crowd_pool};
use crate::parts::*;
use crate::{row, row_with};
use guest::{Host, Plan, Program, eventually, packets};
use std::path::Path;

#[test]
fn ours_learns_from_a_mentor_of_theirs_and_both_follow_each_others_updates() {
    row_with(
        |lab| {
            let hosts = lab.hosts(&Plan::hosts(4));
            let [us, them, first, second] = [1, 2, 3, 4].map(|number| hosts.host(number));
            let mut theirs = their_registrar(them, "00000002", &[]);
            ready(&mut theirs);
            let mut one = their_element(first, "echo", "0a", them, &["-rereginterval=2000"]);
            theirs.says("Successfully registered EchoPool/$0000000a");
            let mut ours = our_registrar(us, "00000001", &[&peer(them)]);
            ours.says("ready: 1 peer and 1 element known");
            knows(us, us, "EchoPool", &["0000000a 00000002 RoundRobin"]);

            let mut two = their_element(second, "pingpong", "0b", us, &["-rereginterval=2000"]);
            ours.says("element 0000000b joined pool 'PingPongPool' at home 00000001");
            knows(us, them, "PingPongPool", &["0000000b 00000001 RoundRobin"]);
            theirs.says_times("Successfully registered", 4);

            one.interrupt();
            ours.says("element 0000000a left pool 'EchoPool' at home 00000002");
            two.interrupt();
            ours.says("element 0000000b left pool 'PingPongPool' at home 00000001");
            knows(us, them, "PingPongPool", &[]);
            knows(us, them, "EchoPool", &[]);
            // What theirs said it owns has always been what ours knew.
            ours.never_said("asking peer");
            ours.never_said("rejected");
        },
        always_in_step,
    );
}

/// Fails if the registrar on host 2, of theirs, ever asked that of ours on host 1 for what it owns, but when they met:
/// their checksums agreed at every presence.
pub fn always_in_step(row: &Path) {
    let asked = "enrp.message_type == 2 && (enrp.message_flags & 1) && ip.src == 10.1.0.2";
    let asked = packets(&row.join("capture.pcapng"), asked, &["frame.number"]);
    assert!(asked.len() <= 1, "theirs asked for the table of ours in frames {asked:?}");
}

#[test]
fn theirs_learns_from_a_mentor_of_ours() {
    row_with(
        |lab| {
            let hosts = lab.hosts(&Plan::hosts(3));
            let [us, them, first] = [1, 2, 3].map(|number| hosts.host(number));
            let mut ours = our_registrar(us, "00000001", &[]);
            let _one = their_element(first, "echo", "0a", us, &["-rereginterval=2000"]);
            ours.says("element 0000000a joined");
            let mut theirs = their_registrar(them, "00000002", &[&their_peer(us)]);
            ready(&mut theirs);
            ours.says("peer 00000002 is up");
            knows(us, them, "EchoPool", &["0000000a 00000001 RoundRobin"]);
            ours.never_said("asking peer");
        },
        always_in_step,
    );
}

#[test]
fn ours_takes_over_the_elements_of_a_registrar_of_theirs_that_dies() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let [us, them, first] = [1, 2, 3].map(|number| hosts.host(number));
        let mut theirs = their_registrar(them, "00000002", &[]);
        ready(&mut theirs);
        let mut ours = our_registrar(us, "00000001", &[&peer(them)]);
        ours.says("peer 00000002 is up");
        let mut element = their_element(first, "echo", "0a", them, &["-rereginterval=60000"]);
        ours.says("element 0000000a joined");
        theirs.kill();
        ours.says("takeover of 00000002 won: 1 element");
        element.says("Home registrar is $00000001");
        knows(us, us, "EchoPool", &["0000000a 00000001 RoundRobin"]);
    });
}

/// Survivors: ours on host 1, theirs on hosts 2 and 3. All know each other and the victim on host 4, whose element they
/// know, too; then the victim is killed.
fn three_survive(hosts: &guest::Hosts, victim_is_ours: bool) -> (Program, [Program; 2], Program) {
    let [us, two, three, victim, first] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
    let all = [us, two, three, victim];
    let peers = |me: &Host, option: fn(&Host) -> String| -> Vec<String> {
        all.iter().filter(|host| host.number != me.number).map(|host| option(host)).collect()
    };
    let ours_at = |host: &Host, id: &str| {
        let peers = peers(host, peer);
        our_registrar(host, id, &peers.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let theirs_at = |host: &Host, id: &str| {
        let peers = peers(host, their_peer);
        their_registrar(host, id, &peers.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let mut theirs = [theirs_at(two, "00000002"), theirs_at(three, "00000003")];
    let mut dies = if victim_is_ours { ours_at(victim, "00000004") } else { theirs_at(victim, "00000004") };
    theirs.iter_mut().for_each(ready);
    let mut ours = ours_at(us, "00000001");
    for id in ["00000002", "00000003", "00000004"] {
        ours.says(&format!("peer {id} is up"));
    }
    let element = their_element(first, "echo", "0a", victim, &["-rereginterval=60000"]);
    for host in [us, two, three] {
        knows(us, host, "EchoPool", &["0000000a 00000004 RoundRobin"]);
    }
    dies.kill();
    (ours, theirs, element)
}

/// All three survivors end with the same new home of the element, and it is one of them.
fn one_owner(hosts: &guest::Hosts) -> String {
    let homes = || -> Vec<Vec<String>> {
        (1..=3).map(|number| resolved(hosts.host(1), hosts.host(number), "EchoPool")).collect()
    };
    eventually(
        || format!("one owner that all agree on; now {:?}", homes()),
        || {
            let homes = homes();
            let line = homes[0].first()?.clone();
            let settled = homes.iter().all(|one| *one == [line.clone()]) && !line.contains(" 00000004 ");
            settled.then_some(line)
        },
    )
}

#[test]
fn of_three_mixed_survivors_one_takes_over_the_elements_of_a_dead_registrar_of_theirs() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(5));
        let (ours, _theirs, mut element) = three_survive(&hosts, false);
        let line = one_owner(&hosts);
        // Ours notices first by far, and the others agree.
        assert_eq!(line, "0000000a 00000001 RoundRobin");
        element.says("Home registrar is $00000001");
        ours.never_said("against another initiator");
    });
}

#[test]
fn of_three_mixed_survivors_one_takes_over_the_elements_of_a_dead_registrar_of_ours() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(5));
        let (_ours, _theirs, mut element) = three_survive(&hosts, true);
        assert_eq!(one_owner(&hosts), "0000000a 00000001 RoundRobin");
        element.says("Home registrar is $00000001");
    });
}

#[test]
fn theirs_take_over_the_elements_of_a_registrar_of_ours_that_dies() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(5));
        let [us, two, three, first, user] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
        let mut ours = our_registrar(us, "00000001", &[]);
        let mut second = their_registrar(two, "00000002", &[&their_peer(us), &their_peer(three)]);
        let mut third = their_registrar(three, "00000003", &[&their_peer(us), &their_peer(two)]);
        ready(&mut second);
        ready(&mut third);
        ours.says("peer 00000002 is up");
        ours.says("peer 00000003 is up");
        let mut element = their_element(first, "echo", "0a", us, &["-rereginterval=60000"]);
        ours.says("element 0000000a joined");
        for registrar in [two, three] {
            knows(user, registrar, "EchoPool", &["0000000a 00000001 RoundRobin"]);
        }
        ours.kill();
        let done = "Takeover of peer $00000001 completed";
        let home = eventually(
            || "one of theirs takes over".into(),
            || {
                [(&second, "00000002"), (&third, "00000003")]
                    .iter()
                    .find(|(one, _)| one.count(done) > 0)
                    .map(|one| one.1)
            },
        );
        element.says(&format!("Home registrar is ${home}"));
        for registrar in [two, three] {
            knows(user, registrar, "EchoPool", &[&format!("0000000a {home} RoundRobin")]);
        }
    });
}

#[test]
fn theirs_as_the_only_survivor_never_takes_over_and_our_element_comes_by_itself() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(5));
        let [us, them, first, second, user] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
        let mut theirs = their_registrar(them, "00000002", &[]);
        ready(&mut theirs);
        let mut ours = our_registrar(us, "00000001", &[&peer(them)]);
        ours.says("peer 00000002 is up");
        let both = format!("--registrar={}", them.ip());
        let _worker = our_worker(first, "0000000a", us, &[&both]);
        let _element = their_element(second, "echo", "0b", us, &["-rereginterval=60000"]);
        // It registers at whichever of the two answered first.
        ours.says("element 0000000a joined pool 'compute'");
        knows(user, them, "EchoPool", &["0000000b 00000001 RoundRobin"]);
        ours.kill();
        theirs.says("Initiating takeover of dead peer $00000001");
        theirs.says("has expired");
        theirs.never_said("Takeover of peer $00000001 completed");
        // Ours is registered at the survivor by now; the other element still has a dead home.
        knows(user, them, "compute", &["0000000a 00000002 LeastUsed:load=0.0%"]);
        knows(user, them, "EchoPool", &["0000000b 00000001 RoundRobin"]);
    });
}

#[test]
fn tables_of_many_pools_and_elements_reach_the_other_kind_whole() {
    row_with(
        |lab| {
            let hosts = lab.hosts(&Plan::hosts(5));
            let [us, them, one, two, user] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
            // Signs of life of hundreds of elements each second would be all that a guest has time for.
            let slow =
                ["-endpointkeepalivetransmissioninterval=10000", "-endpointkeepalivetimeoutinterval=30000"];
            let mut theirs = their_registrar(them, "00000002", &slow);
            ready(&mut theirs);
            // 30 pools of 4 elements at theirs, before ours is there: ours downloads them in several messages.
            let at_theirs = Crowd::start(one, them, 0x1000, 30, 4);
            at_theirs.registered();
            let mut ours = our_registrar(us, "00000001", &["--profile", "rfc", &peer(them)]);
            ours.says("ready: 1 peer and 120 elements known");
            // As many at ours, told one by one.
            let at_ours = Crowd::start(two, us, 0x2000, 30, 4);
            at_ours.registered();
            for pool in [0, 17, 29] {
                let pool = crowd_pool(0x2000, pool);
                eventually(
                    || format!("theirs knows all of '{pool}'"),
                    || (resolved(user, them, &pool).len() == 4).then_some(()),
                );
            }
            // A third one, of theirs, has ours as its mentor, and gets everything.
            let mut third = their_registrar(one, "00000003", &[&their_peer(us), slow[0], slow[1]]);
            ready(&mut third);
            for pool in
                [crowd_pool(0x1000, 0), crowd_pool(0x1000, 29), crowd_pool(0x2000, 0), crowd_pool(0x2000, 29)]
            {
                eventually(
                    || format!("the third one knows all of '{pool}'"),
                    || (resolved(user, one, &pool).len() == 4).then_some(()),
                );
            }
            ours.never_said("asking peer");
            ours.never_said("does not fit");
        },
        always_in_step,
    );
}
