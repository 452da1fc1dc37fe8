//! Finding each other by multicast, without IPv4, and over several networks.

use crate::parts::*;
use crate::row;
use guest::Plan;

#[test]
fn registrars_of_both_kinds_and_elements_and_users_of_theirs_find_each_other_by_multicast() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(5));
        let [us, them, element, user, worker] = [1, 2, 3, 4, 5].map(|number| hosts.host(number));
        let mut theirs_one = their_registrar(them, "00000002", &[]);
        let mut ours = our_registrar(us, "00000001", &["--discover"]);
        ours.says("peer 00000002 is up");
        ready(&mut theirs_one);
        // RSPLIB's first hunt by multicast fails always, the second at times.
        let words = ["-pingpong", "-identifier=0x0a", "-rereginterval=1500", "-registrarrequestmaxtrials=10"];
        let mut pe = theirs(element, "rspserver", &words);
        ours.says("element 0000000a joined");
        let mut pu = theirs(user, "pingpongclient", &["-interval=100"]);
        pu.says("Ack #5 from PE $0000000a");
        pe.lives();
        // And one of ours finds whichever of the two.
        let ip = worker.ip();
        let words = [
            "worker",
            "--discover",
            "--listen",
            &ip,
            "--id",
            "0b",
            "--slots",
            "1",
            "--registrar",
            "10.1.0.99",
        ];
        let _worker = crate::parts::ours(worker, &words);
        ours.says("element 0000000b joined");
    });
}

#[test]
fn everything_works_without_ipv4() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4).ipv6_only());
        let [us, them, element, user] = [1, 2, 3, 4].map(|number| hosts.host(number));
        let (asap, enrp) = (format!("-asap=[{}]:3863", them.ip6()), format!("-enrp=[{}]:9901", them.ip6()));
        let words = [
            "-identifier=0x2",
            &asap,
            &enrp,
            "-peerheartbeatcycle=1000",
            "-enrpannounce=off",
            "-asapannounce=off",
        ];
        let mut theirs_one = theirs(them, "rspregistrar", &words);
        ready(&mut theirs_one);
        let (listen, peer) = (us.ip6(), them.ip6());
        let words = ["registrar", "--listen", &listen, "--id", "1", "--peer", &peer, "--verbose"];
        let mut ours_one = ours(us, &words);
        ours_one.says("peer 00000002 is up");
        let words =
            |host: &guest::Host| [format!("-registrar=[{}]:3863", host.ip6()), "-asapannounce=off".into()];
        let start = |registrar: &guest::Host, id: &str, service: &str| {
            let [registrar, off] = words(registrar);
            theirs(element, "rspserver", &[service, &format!("-identifier=0x{id}"), &registrar, &off])
        };
        let _first = start(us, "0a", "-pingpong");
        let _second = start(them, "0b", "-echo");
        ours_one.says("element 0000000a joined pool 'PingPongPool' at home 00000001");
        ours_one.says("element 0000000b joined pool 'EchoPool' at home 00000002");
        for registrar in [us, them] {
            let [registrar, off] = words(registrar);
            let mut pu = theirs(user, "pingpongclient", &["-interval=100", &registrar, &off]);
            pu.says("Ack #5 from PE $0000000a");
        }
    });
}

#[test]
fn a_registrar_of_ours_and_an_element_of_theirs_on_two_networks_do_not_miss_each_other_when_one_is_cut() {
    row(|lab| {
        let plan = on_two_networks(2);
        let hosts = lab.hosts(&plan);
        let [us, element] = [1, 2].map(|number| hosts.host(number));
        // A keep-alive has to come through while the path is changed: not the timers of a tenth of a second.
        let words =
            ["registrar", "--listen", "10.1.0.1,10.2.0.1", "--id", "1", "--profile", "rfc", "--verbose"];
        let mut registrar = ours(us, &words);
        registrar.says("10.2.0.1:3863");
        let words =
            ["-pingpong", "-identifier=0x0a", "-local=10.1.0.2:0,10.2.0.2", "-registrar=10.1.0.1:3863"];
        let more = ["-rereginterval=1000", "-asapannounce=off"];
        let mut pe = theirs(element, "rspserver", &[&words[..], &more].concat());
        registrar.says("element 0000000a joined");
        us.path("10.2.0.2", true);
        element.path("10.2.0.1", true);
        us.cut(1);
        element.cut(1);
        element.path("10.1.0.1", false);
        let before = pe.count("Trying to register");
        pe.says_times("Trying to register", before + 4);
        registrar.never_said("left");
        pe.never_said("Disconnected");
    });
}

#[test]
fn a_registrar_of_theirs_and_an_element_of_ours_on_two_networks_do_not_miss_each_other_when_one_is_cut() {
    crate::row_with(
        |lab| {
            let plan = on_two_networks(3);
            let hosts = lab.hosts(&plan);
            let [them, element, user] = [1, 2, 3].map(|number| hosts.host(number));
            let mut registrar = their_registrar_in_two_networks(them, "00000002");
            ready(&mut registrar);
            let words = ["serve", "pingpong", "--listen", "10.1.0.2,10.2.0.2", "--registrar", "10.1.0.1"];
            let mut pe = ours(element, &[&words[..], &["--id", "0b", "--verbose"]].concat());
            pe.says(" serves pool ");
            them.path("10.2.0.2", true);
            element.path("10.2.0.1", true);
            for host in [them, element] {
                host.cut(1);
            }
            element.path("10.1.0.1", false);
            // A user in the second network finds the element there. Its session needs several keep-alives' time.
            let words = [
                "client",
                "pingpong",
                "--registrar",
                "sctp://10.2.0.1",
                "--count",
                "100",
                "--interval",
                "40",
            ];
            ours(user, &words).succeeds();
            registrar.never_said("Keep-alive timeout");
            registrar.never_said("Removing all pool elements");
            pe.never_said("lost the registrar");
            pe.lives();
        },
        |row| {
            let filter = "asap.message_type == 8 && ip.dst == 10.2.0.1";
            let acks = guest::packets(&row.join("capture.pcapng"), filter, &["frame.number"]);
            assert!(acks.len() >= 2, "signs of life came over the second network: {acks:?}");
        },
    );
}
