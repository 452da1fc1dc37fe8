//! What rows rely on.

use guest::{Boot, Ended, Plan, Suite, inside, missing, packets, shared};
use std::ffi::OsString;
use std::time::Duration;

static ROWS: Suite = Suite::new("own-rows", "rows::");

/// Runs a shell script in a guest of its own.
fn script(name: &str, seconds: u64, text: &str) -> Option<Ended> {
    if missing().is_some() || inside() {
        return None;
    }
    let command = ["sh", "-c", text].map(OsString::from).to_vec();
    let (folder, bound) = (shared().join(name), Duration::from_secs(seconds));
    let boot = Boot { folder, command, memory: 256, bound };
    Some(boot.run().expect("a guest can be started"))
}

#[test]
fn output_and_exit_status_come_back_and_nothing_else_is_written_outside() {
    let mark = format!("/tmp/guest-{}", std::process::id());
    let text = format!("echo out; echo err >&2; echo >{mark}; ls {mark}; exit 7");
    let Some(ended) = script("own-exit", 60, &text) else { return };
    assert_eq!((ended.status, ended.output), (Some(7), format!("out\nerr\n{mark}\n")));
    assert!(!std::path::Path::new(&mark).exists());
}

#[test]
fn a_command_that_takes_too_long_is_ended_with_everything_it_started() {
    let Some(ended) = script("own-late", 2, "sleep 1000 & trap '' TERM; echo begun; sleep 1001; sleep 1002")
    else {
        return;
    };
    assert_eq!(ended.output, "begun\n");
    assert!(matches!(ended.status, Some(124 | 137)), "{ended:?}");
}

mod rows {
    use super::*;

    #[test]
    fn hosts_hear_each_other_until_the_link_is_cut() {
        let body = |lab: &guest::Lab| {
            let hosts = lab.hosts(&Plan::hosts(2).networks(2));
            let (one, two) = (hosts.host(1).clone(), hosts.host(2).clone());
            let say = |text: &str| {
                let line = format!("echo {text} >/dev/udp/{}/9", two.ip());
                one.run("bash", ["-c", &line]);
            };
            say("before");
            one.cut(1);
            say("lost");
            one.mend(1);
            say("afterwards");
        };
        ROWS.row(body, |row| {
            let said = packets(
                &row.join("capture.pcapng"),
                "udp.port == 9 && ip.src == 10.1.0.1 && !icmp",
                &["udp.length"],
            );
            // With the eight octets of the header and the newline: "before" and "afterwards".
            assert_eq!(said, ["15", "19"]);
        });
    }

    #[test]
    fn the_kernel_of_a_guest_speaks_sctp() {
        ROWS.row(|_| assert!(std::path::Path::new("/proc/net/sctp/assocs").exists()), |_| ());
    }

    #[test]
    #[should_panic(expected = "three is not four")]
    fn what_fails_inside_fails_outside_with_the_same_words() {
        if missing().is_some() {
            panic!("three is not four");
        }
        ROWS.row(|_| panic!("three is not four"), |_| ());
    }
}
