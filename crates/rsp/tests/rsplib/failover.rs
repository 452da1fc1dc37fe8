//! Sessions that go on: when the registrar of their user dies, and when their element hangs.

use crate::parts::*;
use crate::row;
use guest::{Host, Hosts, Lab, Plan, Program};

/// Sessions of a Ping-Pong user of either kind at two elements, one of each kind, which both end a session after ten answers.
/// Both users find their registrar at host 1 while there is no other; then one comes to host 2, and that at host 1 dies.
fn the_users_registrar_dies(lab: &Lab, ours_dies: bool) {
    let hosts = lab.hosts(&Plan::hosts(5));
    let [first, second, element, other, user] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
    let mut dies = if ours_dies {
        our_registrar(first, "00000001", &[])
    } else {
        let mut registrar = their_registrar(first, "00000001", &[]);
        ready(&mut registrar);
        registrar
    };
    let [at_first, at_second] = [first, second].map(|host| format!("-registrar={}:3863", host.ip()));
    let more = [&at_second, "-pppfailureafter=10", "-rereginterval=1500"];
    let _theirs = their_element(element, "pingpong", "0a", first, &more);
    let survivor = second.ip();
    let more = ["--registrar", &survivor, "--failure-after", "10"];
    let _ours = our_element(other, "pingpong", "0000000b", first, &more);
    let both = ["0000000a 00000001 RoundRobin", "0000000b 00000001 RoundRobin"];
    knows(user, first, "PingPongPool", &both);
    let words = [&at_first, &at_second, "-interval=50"];
    let mut their_user = theirs(user, "pingpongclient", &words);
    their_user.says_times("Ack #", 5);
    let survivor = format!("sctp://{}", second.ip());
    let words = ["--registrar", &survivor, "--interval", "20", "--count", "150", "--json"];
    let mut our_user = our_user(user, "pingpong", first, &words);
    our_user.says_times("\"in_order\"", 5);

    let mut survives = if ours_dies {
        let mut registrar = their_registrar(second, "00000002", &[&their_peer(first)]);
        ready(&mut registrar);
        registrar
    } else {
        let mut registrar = our_registrar(second, "00000002", &[&peer(first)]);
        registrar.says("peer 00000001 is up");
        registrar
    };
    // A table of both is with the survivor, whoever is their home.
    guest::eventually(
        || "the second registrar knows both elements".into(),
        || (resolved(user, second, "PingPongPool").len() == 2).then_some(()),
    );
    dies.kill();
    let (ours_so_far, theirs_so_far) = (our_user.count("\"in_order\""), their_user.count("Ack #"));
    // Several fail-overs later, each of which had to ask the survivor.
    their_user.says_times("Ack #", theirs_so_far + 60);
    crate::services::replies_go_on(&their_user);
    if ours_so_far < 150 {
        our_user.says_times("\"in_order\"", (ours_so_far + 60).min(150));
    }
    let said = our_user.succeeds();
    assert_eq!(said.matches("\"in_order\":true").count(), 150, "{said}");
    for id in ["0000000a", "0000000b"] {
        their_user.says(&format!("from PE ${id}"));
        assert!(said.contains(id), "{said}");
    }
    survives.lives();
}

#[test]
fn sessions_of_both_users_go_on_when_their_registrar_of_ours_dies() {
    row(|lab| the_users_registrar_dies(lab, true));
}

#[test]
fn sessions_of_both_users_go_on_when_their_registrar_of_theirs_dies() {
    row(|lab| the_users_registrar_dies(lab, false));
}

/// An element that hangs is left for the other one, by a CalcApp user that asks it for signs of life. Our registrar is on
/// host 1, that user on host 4.
fn an_element_hangs(lab: &Lab, ours_hangs: bool, start_user: impl Fn(&Hosts) -> Program, completed: &str) {
    let hosts = lab.hosts(&Plan::hosts(4));
    let [registrar, one, two] = [1, 2, 3].map(|number| hosts.host(number));
    let mut watcher = our_registrar(registrar, "00000001", &[]);
    let at = |host: &Host, ours: bool| match ours {
        true => our_element(host, "calcapp", "0000000b", registrar, &["--policy", "RoundRobin"]),
        false => their_element(host, "calcapp", "0a", registrar, &[]),
    };
    let mut hangs = at(one, ours_hangs);
    let hanging = if ours_hangs { "0000000b" } else { "0000000a" };
    watcher.says(&format!("element {hanging} joined"));
    let mut user = start_user(&hosts);
    user.says_times(completed, 1);
    let _other = at(two, !ours_hangs);
    watcher.says_times(" joined", 2);
    hangs.hang();
    let line = watcher.says(&format!("element {hanging} left"));
    assert!(line.contains("did not answer"), "{line}");
    let so_far = user.count(completed);
    user.says_times(completed, so_far + 3);
}

fn our_calcapp_user(hosts: &Hosts) -> Program {
    let words = ["--jobs", "100000", "--job-interval", "0", "--job-size", "300000", "--seed", "1", "--json"];
    let more = ["--keep-alive-interval", "0.3", "--keep-alive-timeout", "0.5"];
    our_user(hosts.host(4), "calcapp", hosts.host(1), &[&words[..], &more].concat())
}

fn their_calcapp_user(hosts: &Hosts) -> Program {
    let at = format!("-registrar={}:3863", hosts.host(1).ip());
    let words = [&at, "-runtime=600", "-jobinterval=0.2", "-jobsize=3e5"];
    let more = ["-keepalivetransmissioninterval=500", "-keepalivetimeoutinterval=500"];
    theirs(hosts.host(4), "calcappclient", &[&words[..], &more].concat())
}

#[test]
fn our_user_leaves_an_element_of_theirs_that_hangs_for_ours() {
    row(|lab| an_element_hangs(lab, false, our_calcapp_user, "\"size\""));
}

#[test]
fn our_user_leaves_an_element_of_ours_that_hangs_for_theirs() {
    row(|lab| an_element_hangs(lab, true, our_calcapp_user, "\"size\""));
}

#[test]
fn their_user_leaves_an_element_of_ours_that_hangs_for_theirs() {
    row(|lab| an_element_hangs(lab, true, their_calcapp_user, "completed"));
}

#[test]
fn their_user_leaves_an_element_of_theirs_that_hangs_for_ours() {
    row(|lab| an_element_hangs(lab, false, their_calcapp_user, "completed"));
}
