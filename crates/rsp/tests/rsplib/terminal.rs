//! RSPLIB's terminal at our plain services.

use crate::parts::*;
use crate::{row, row_with};
use guest::{Hosts, Lab, Plan, Program, packets};

/// RSPLIB's registrar on host 1, our element of this service on host 2, RSPLIB's terminal on host 3.
fn terminal(lab: &Lab, service: &str, pool: &str) -> (Hosts, [Program; 2], Program) {
    let hosts = lab.hosts(&Plan::hosts(3));
    let [them, us, user] = [1, 2, 3].map(|number| hosts.host(number));
    let mut registrar = their_registrar(them, "00000002", &[]);
    ready(&mut registrar);
    let element = our_element(us, service, "0000000b", them, &[]);
    let (at, pool) = (format!("-registrar={}:3863", them.ip()), format!("-poolhandle={pool}"));
    let terminal = theirs_talking(user, "rspterminal", &[&at, &pool]);
    (hosts, [registrar, element], terminal)
}

#[test]
fn their_terminal_is_told_the_time_by_our_daytime() {
    row(|lab| {
        let (_hosts, _others, mut terminal) = terminal(lab, "daytime", "DaytimePool");
        let line = terminal.says("from PE $0000000b> ");
        assert!(line.contains("day, ") && line.contains("-20"), "{line}");
    });
}

#[test]
fn their_terminal_gets_characters_from_our_chargen() {
    row(|lab| {
        let (_hosts, _others, mut terminal) = terminal(lab, "chargen", "CharGenPool");
        terminal.says("0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    });
}

#[test]
fn their_terminal_talks_to_our_discard_which_says_nothing() {
    row_with(
        |lab| {
            let (_hosts, mut others, mut terminal) = terminal(lab, "discard", "DiscardPool");
            terminal.says("COMM_UP");
            for line in ["one", "two", "three"] {
                terminal.tell(line);
            }
            let said = guest::capture_octets(&lab.folder);
            guest::eventually(
                || "the last line is under way".into(),
                || said().windows(5).any(|part| part == b"three").then_some(()),
            );
            others[1].lives();
            terminal.lives();
            terminal.never_said("FAILOVER");
        },
        |row| {
            let data = |from: u8| {
                let filter = format!("sctp.data_payload_proto_id == 0 && ip.src == 10.1.0.{from}");
                packets(&row.join("capture.pcapng"), &filter, &["frame.number"]).len()
            };
            assert!(data(3) >= 1, "the terminal spoke");
            assert_eq!(data(2), 0, "discard says nothing");
        },
    );
}
