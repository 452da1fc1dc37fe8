//! What tools of one kind show of components of the other.

use crate::parts::*;
use crate::row;
use guest::{Plan, eventually};

#[test]
fn their_dump_reads_ours() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let [us, first, reader] = [1, 2, 3].map(|number| hosts.host(number));
        let mut ours = our_registrar(us, "00000001", &[]);
        let _element = their_element(first, "calcapp", "0a", us, &["-policy=LeastUsed"]);
        ours.says("element 0000000a joined");
        let mut dump = theirs(reader, "hsdump", &[&format!("{}:9901", us.ip())]);
        dump.says("Pool \"CalcAppPool\", Policy \"LeastUsed\", Protocol SCTP, CtrlCh=yes: (1 nodes)");
        dump.says("idx:#0001: $0000000a");
        dump.says("home=$00000001");
        dump.says("$00000001 -> \"CalcAppPool\" / $0000000a");
        dump.ends();
        // It comes as a peer, and goes without a word. Nothing of it is left, and nothing is taken over from it.
        ours.says("is down");
        ours.never_said("takeover");
    });
}

#[test]
fn our_list_reads_theirs() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let [them, first, reader] = [1, 2, 3].map(|number| hosts.host(number));
        let mut theirs = their_registrar(them, "00000002", &[]);
        ready(&mut theirs);
        let _one = their_element(first, "calcapp", "0a", them, &["-policy=LeastUsed"]);
        let _two = their_element(first, "echo", "0b", them, &[]);
        theirs.says("Successfully registered CalcAppPool/$0000000a");
        theirs.says("Successfully registered EchoPool/$0000000b");
        let ip = them.ip();
        let list = ours(reader, &["pool", "ls", "--enrp", &ip]).succeeds();
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = list.lines().map(words).collect();
        assert_eq!(lines[1..], [words("EchoPool 1 RoundRobin"), words("CalcAppPool 1 LeastUsed")], "{list}");
        let shown = ours(reader, &["pool", "show", "CalcAppPool", "--enrp", &ip]).succeeds();
        assert!(
            shown.contains("0000000a") && shown.contains("00000002") && shown.contains("sctp://10.1.0.2:"),
            "{shown}"
        );
        // Asked in ASAP it does not answer, and ours says what to do.
        let at = format!("sctp://{ip}");
        let mut other = ours(reader, &["pool", "ls", "--registrar", &at]);
        assert_eq!(other.ends().code(), Some(3));
        other.says("--enrp");
        theirs.lives();
    });
}

#[test]
fn their_monitor_shows_ours_and_ours_shows_theirs() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(5));
        let [us, them, first, worker, viewer] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
        let (listen, port) = (format!("{}:2960", viewer.ip()), format!("{}:2961", viewer.ip()));
        let mut ours_shows = ours(viewer, &["monitor", "--listen", &listen]);
        ours_shows.says("monitor listens at");
        // Each component reports to one monitor: theirs shows ours, ours shows theirs.
        let theirs_shows =
            viewer.start("cspmonitor", ["-compact", &format!("-localaddress={port}"), "-updateinterval=200"]);
        let csp = ["--csp", &port, "--csp-interval", "300"];
        let mut registrar = our_registrar(us, "00000001", &csp);
        let (server, interval) = (format!("-cspserver={listen}"), "-cspinterval=300");
        let mut other = their_registrar(them, "00000002", &[&their_peer(us), &server, interval]);
        ready(&mut other);
        let mut element =
            their_element(first, "calcapp", "0a", us, &["-policy=LeastUsed", &server, interval]);
        registrar.says("element 0000000a joined");
        let mut ours_too = our_worker(worker, "0000000b", us, &csp);
        registrar.says("element 0000000b joined");

        ours_shows.says("registrar 00000002: 2[0] PEs in 2 Pools, 1 Peer, at guest: 10.1.0.2:3863, with registrar 00000001");
        ours_shows.says("element 0000000a: ");
        ours_shows.says("load 0.0 %");
        let shows = |part: &str| {
            let text = || theirs_shows.log();
            eventually(
                || format!("their monitor shows '{part}': {}", text()),
                || text().contains(part).then_some(()),
            );
        };
        shows("2[2] PEs in 2 Pools, 1 Peer");
        shows("0 Sessions");
        shows("10.1.0.1:3863");

        element.interrupt();
        ours_shows.says("element 0000000a: gone");
        ours_too.interrupt();
        assert!(ours_too.ends().success());
        shows("0[0] PEs in 0 Pools, 1 Peer");
    });
}
