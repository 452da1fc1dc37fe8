//! Our elements and users at registrars of RSPLIB.

use crate::parts::*;
use crate::row;
use guest::{Plan, eventually};

#[test]
fn a_job_of_ours_is_computed_by_workers_of_ours_in_a_pool_that_theirs_keeps() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let [them, one, two, client] = [1, 2, 3, 4].map(|number| hosts.host(number));
        let mut registrar = their_registrar(them, "00000002", &[]);
        ready(&mut registrar);
        let _first = our_worker(one, "0000000a", them, &[]);
        let mut second = our_worker(two, "0000000b", them, &[]);
        registrar.says("Successfully registered compute/$0000000a");
        registrar.says("Successfully registered compute/$0000000b");
        let at = format!("sctp://{}", them.ip());
        let words = ["run", "--registrar", &at, "--", "sh", "-c", "sleep 0.2; echo did $1", "x", ":::"];
        let numbers: Vec<String> = (1..=40).map(|number| number.to_string()).collect();
        let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
        let mut job = ours(client, &[&words[..], &numbers].concat());
        job.says_times("did ", 6);
        second.kill();
        registrar.says("Removing all pool elements registered by user");
        let said = job.succeeds();
        for number in numbers {
            assert_eq!(said.lines().filter(|line| *line == format!("did {number}")).count(), 1, "{number}");
        }
    });
}

#[test]
fn theirs_watches_our_element_and_misses_it_when_it_hangs_and_when_it_leaves() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let [them, one, two, user] = [1, 2, 3, 4].map(|number| hosts.host(number));
        let mut registrar = their_registrar(them, "00000002", &[]);
        ready(&mut registrar);
        let mut hangs = our_worker(one, "0000000a", them, &[]);
        let mut leaves = our_worker(two, "0000000b", them, &[]);
        let [a, b] = ["0000000a", "0000000b"].map(|id| format!("{id} 00000002 LeastUsed:load=0.0%"));
        knows(user, them, "compute", &[&a, &b]);
        leaves.interrupt();
        assert!(leaves.ends().success());
        knows(user, them, "compute", &[&a]);
        registrar.never_said("Keep-alive timeout");
        hangs.hang();
        registrar.says("Keep-alive timeout expired for pool element $0000000a");
        knows(user, them, "compute", &[]);
        // It finds its link gone, and comes back by itself.
        hangs.go_on();
        knows(user, them, "compute", &[&a]);
    });
}

#[test]
fn our_element_refused_by_theirs_says_why() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let [them, one, two] = [1, 2, 3].map(|number| hosts.host(number));
        let mut registrar = their_registrar(them, "00000002", &[]);
        ready(&mut registrar);
        let mut first = our_worker(one, "0000000a", them, &[]);
        first.says(" serves pool 'compute'");
        let mut other = our_worker(two, "0000000b", them, &["--policy", "Random"]);
        assert_eq!(other.ends().code(), Some(1));
        other.says("the pool has another policy");
        // A service of theirs in that pool would be another transport.
        let mut theirs =
            their_element(two, "echo", "0c", them, &["-poolhandle=compute", "-policy=LeastUsed"]);
        registrar.says("$0000000c");
        theirs.lives();
        knows(one, them, "compute", &["0000000a 00000002 LeastUsed:load=0.0%"]);
    });
}

#[test]
fn our_element_that_only_loopback_reaches_is_refused_with_the_reason() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(1));
        let host = hosts.host(1);
        let registrar = our_registrar(host, "00000001", &[]);
        let mut worker = ours(host, &["worker", "--listen", "127.0.0.1", "--registrar", &host.ip()]);
        assert_eq!(worker.ends().code(), Some(1));
        worker.says("the registrar does not accept its address");
        registrar.never_said("joined");
    });
}

#[test]
fn an_element_known_by_tcp_only_is_stored_by_theirs_and_nobody_synchronises_for_ever() {
    crate::row_with(
        |lab| {
            let hosts = lab.hosts(&Plan::hosts(4));
            let [us, them, one, user] = [1, 2, 3, 4].map(|number| hosts.host(number));
            let mut theirs = their_registrar(them, "00000002", &[]);
            ready(&mut theirs);
            let mut ours = our_registrar(us, "00000001", &[&peer(them)]);
            ours.says("peer 00000002 is up");
            let both = format!("--registrar={}", them.ip());
            let mut worker = our_worker(one, "0000000a", us, &["--asap-tcp", &both]);
            ours.says("element 0000000a joined");
            knows(user, them, "compute", &["0000000a 00000001 LeastUsed:load=0.0%"]);
            // Several presences later nothing has been asked again.
            theirs.says_times("Handle Resolution request for pool compute", 1);
            ours.never_said("asking peer");
            worker.interrupt();
            worker.ends();
            knows(user, them, "compute", &[]);
        },
        crate::registrars::always_in_step,
    );
}

#[test]
fn theirs_cannot_take_over_an_element_known_by_tcp_only_and_drops_it_until_it_registers_again() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(6));
        let [us, two, three, one, user, again] = [1, 2, 3, 4, 5, 6].map(|number| hosts.host(number));
        let mut ours = our_registrar(us, "00000001", &[]);
        let mut second = their_registrar(two, "00000002", &[&their_peer(us), &their_peer(three)]);
        let mut third = their_registrar(three, "00000003", &[&their_peer(us), &their_peer(two)]);
        ready(&mut second);
        ready(&mut third);
        ours.says("peer 00000002 is up");
        ours.says("peer 00000003 is up");
        let third_one = format!("--registrar={}", again.ip());
        let _worker = our_worker(one, "0000000a", us, &["--asap-tcp", &third_one]);
        for registrar in [two, three] {
            knows(user, registrar, "compute", &["0000000a 00000001 LeastUsed:load=0.0%"]);
        }
        ours.kill();
        let done = "Takeover of peer $00000001 completed";
        eventually(
            || "one of theirs takes over".into(),
            || (second.count(done) + third.count(done) > 0).then_some(()),
        );
        for registrar in [two, three] {
            knows(user, registrar, "compute", &[]);
        }
        // The element has been looking for another registrar of ours all the time.
        let (two, three) = (peer(two), peer(three));
        let mut ours = our_registrar(again, "00000005", &[&two, &three]);
        ours.says("element 0000000a joined");
        knows(user, hosts.host(2), "compute", &["0000000a 00000005 LeastUsed:load=0.0%"]);
    });
}
