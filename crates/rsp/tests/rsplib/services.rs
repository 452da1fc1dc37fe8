//! Services and users of both kinds at a registrar of RSPLIB, in one pool, in one session.

use crate::parts::*;
use crate::{pictures, row, row_with};
use guest::{Host, Hosts, Lab, Plan, Program, eventually, packets};
use std::fs;
use std::path::Path;

/// A registrar of theirs on host 1, ready.
fn registrar(hosts: &Hosts) -> Program {
    let mut registrar = their_registrar(hosts.host(1), "00000002", &[]);
    ready(&mut registrar);
    registrar
}

fn at(registrar: &Host) -> String {
    format!("-registrar={}:3863", registrar.ip())
}

/// Fails if the numbers of replies that a Ping-Pong user of theirs printed ever stand still or go back: over every
/// fail-over they go on. (A question may be lost with its element. Two threads of it share the log; a line of one may be
/// cut by the other, and is not looked at.)
pub fn replies_go_on(user: &Program) {
    let log = user.log();
    let replies =
        log.lines().filter_map(|line| line.split("(reply #").nth(1)?.split(')').next()?.parse::<u64>().ok());
    let mut last = 0;
    for reply in replies {
        assert!(reply > last, "reply {reply} after {last}");
        last = reply;
    }
    assert!(last >= 30, "no more than {last} replies");
}

#[test]
fn their_terminal_talks_to_our_echo() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let _registrar = registrar(&hosts);
        let _element = our_element(hosts.host(2), "echo", "0000000b", hosts.host(1), &[]);
        let mut user = theirs_talking(hosts.host(3), "rspterminal", &[&at(hosts.host(1))]);
        user.says("COMM_UP");
        user.tell("good morning");
        user.says("from PE $0000000b> good morning");
    });
}

#[test]
fn a_session_of_their_pingpong_user_goes_from_their_element_to_ours_and_back_with_its_cookie() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let _registrar = registrar(&hosts);
        let _theirs = their_element(hosts.host(2), "pingpong", "0a", hosts.host(1), &["-pppfailureafter=10"]);
        let _ours =
            our_element(hosts.host(3), "pingpong", "0000000b", hosts.host(1), &["--failure-after", "10"]);
        let mut user = theirs(hosts.host(4), "pingpongclient", &[&at(hosts.host(1)), "-interval=50"]);
        user.says_times("Ack #", 60);
        assert!(user.count("from PE $0000000a") >= 15 && user.count("from PE $0000000b") >= 15);
        replies_go_on(&user);
    });
}

#[test]
fn a_session_of_our_pingpong_user_goes_from_their_element_to_ours_and_back_with_its_cookie() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let _registrar = registrar(&hosts);
        let _theirs = their_element(hosts.host(2), "pingpong", "0a", hosts.host(1), &["-pppfailureafter=10"]);
        let _ours =
            our_element(hosts.host(3), "pingpong", "0000000b", hosts.host(1), &["--failure-after", "10"]);
        let words = ["--interval", "20", "--count", "60", "--json"];
        let said = our_user(hosts.host(4), "pingpong", hosts.host(1), &words).succeeds();
        let answers: Vec<&str> = said.lines().filter(|line| line.starts_with('{')).collect();
        assert_eq!(answers.len(), 60, "{said}");
        assert!(answers.iter().all(|line| line.contains("\"in_order\":true")), "{said}");
        for id in ["0000000a", "0000000b"] {
            assert!(answers.iter().filter(|line| line.contains(id)).count() >= 15, "{said}");
        }
    });
}

#[test]
fn their_calcapp_user_has_jobs_computed_by_ours_and_goes_on_at_theirs_when_it_dies() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let mut registrar = registrar(&hosts);
        let mut element =
            our_element(hosts.host(2), "calcapp", "0000000b", hosts.host(1), &["--policy", "RoundRobin"]);
        let words = [&at(hosts.host(1)), "-runtime=600", "-jobinterval=0.3", "-jobsize=1e6"];
        let mut user = theirs(hosts.host(4), "calcappclient", &words);
        user.says("Job #3 completed");
        let _theirs = their_element(hosts.host(3), "calcapp", "0a", hosts.host(1), &[]);
        registrar.says("Successfully registered CalcAppPool/$0000000a");
        element.kill();
        let next = user.count("completed") + 3;
        user.says(&format!("Job #{next} completed"));
    });
}

#[test]
fn our_calcapp_user_goes_on_from_a_cookie_of_theirs_at_ours() {
    let statistics = |folder: &Path| folder.join("ours.vec");
    row_with(
        |lab| {
            let hosts = lab.hosts(&Plan::hosts(4));
            let _registrar = registrar(&hosts);
            // One long job, with a cookie for each half a second of it.
            let more = ["-capcookiemaxtime=0.5", "-capcookiemaxcalculations=500000"];
            let mut theirs = their_element(hosts.host(2), "calcapp", "0a", hosts.host(1), &more);
            let words =
                ["--jobs", "1", "--job-interval", "0", "--job-size", "40000000", "--seed", "1", "--json"];
            let mut user = our_user(hosts.host(4), "calcapp", hosts.host(1), &words);
            theirs.says("accepted");
            let vector = statistics(&lab.folder);
            let vector = vector.to_str().expect("text");
            let more = ["--policy", "RoundRobin", "--capacity", "20000000", "--vector", vector];
            let _ours = our_element(hosts.host(3), "calcapp", "0000000b", hosts.host(1), &more);
            // ASAP_COOKIE with a CalcApp cookie of 20 octets.
            let said = guest::capture_octets(&lab.folder);
            let cookie = [0x0b, 0, 0, 0x1c, 0, 0x0d, 0, 0x18];
            eventually(
                || "two cookies".into(),
                || (said().windows(8).filter(|part| *part == cookie).count() >= 2).then_some(()),
            );
            theirs.kill();
            let said = user.succeeds();
            assert!(said.contains("\"failovers\":1}"), "{said}");
            let lines = || fs::read_to_string(vector).unwrap_or_default().lines().count();
            eventually(|| "statistics of our element".into(), || (lines() == 2).then_some(()));
        },
        |row| {
            let cookies = |filter: &str| packets(&row.join("capture.pcapng"), filter, &["asap.cookie"]);
            let given = cookies("asap.message_type == 11 && ip.src == 10.1.0.2");
            let echoed = cookies("asap.message_type == 12 && ip.src == 10.1.0.4 && ip.dst == 10.1.0.3");
            let [echoed] = &echoed[..] else { panic!("one echo at ours, not {echoed:?}") };
            assert!(given.contains(echoed), "ours was told {echoed}; theirs gave {given:?}");
            // Job, size, completed.
            let number = |from: usize, to: usize| u64::from_str_radix(&echoed[from..to], 16).expect("hex");
            let (size, completed) = (number(8, 24), number(24, 40));
            assert!(completed > 0 && completed < size, "{completed} of {size} were done");
            // What theirs had done is not done again: ours used just the calculations that were left.
            let lines = fs::read_to_string(statistics(row)).expect("statistics of our element");
            let words: Vec<&str> = lines.lines().last().expect("a line").split_whitespace().collect();
            assert_eq!(words[7], (size - completed).to_string(), "used calculations; {lines}");
        },
    );
}

#[test]
fn their_fractal_user_has_pictures_computed_by_ours() {
    row_with(
        |lab| {
            let hosts = lab.hosts(&Plan::hosts(3));
            let _registrar = registrar(&hosts);
            let _element = our_element(hosts.host(2), "fractal", "0000000b", hosts.host(1), &[]);
            let mut user = their_fractal_user(hosts.host(3), hosts.host(1), &lab.folder);
            // It begins the next one when one is complete.
            user.says_times("Getting parameters from", 3);
        },
        |row| pictures::finished(row, "10.1.0.3", 2),
    );
}

#[test]
fn our_fractal_user_gets_one_picture_from_theirs_and_ours_and_every_point_is_right() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let _registrar = registrar(&hosts);
        let _theirs = their_element(
            hosts.host(2),
            "fractal",
            "0a",
            hosts.host(1),
            &["-policy=RoundRobin", "-fgpfailureafter=3"],
        );
        let _ours = our_element(
            hosts.host(3),
            "fractal",
            "0000000b",
            hosts.host(1),
            &["--policy", "RoundRobin", "--failure-after", "3"],
        );
        let picture = lab.folder.join("picture.png");
        let picture = picture.to_str().expect("text");
        let scene = "/usr/share/fgpconfig";
        let words = ["--scene", scene, "--width", "80", "--height", "60", "--check", "--out", picture];
        let said = our_user(hosts.host(4), "fractal", hosts.host(1), &words).succeeds();
        for id in ["0000000a", "0000000b"] {
            assert!(said.contains(id), "{said}");
        }
        assert!(fs::read(picture).is_ok_and(|octets| octets.starts_with(b"\x89PNG")));
    });
}

/// The output of a script, brought back.
fn script_ran(user: &mut Program, output: &std::path::Path) {
    user.succeeds();
    assert_eq!(fs::read_to_string(output).expect("an output"), "made by a script\n");
}

#[test]
fn their_scripting_user_has_a_script_run_by_ours() {
    row(|lab: &Lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let _registrar = registrar(&hosts);
        let _element = our_element(hosts.host(2), "scripting", "0000000b", hosts.host(1), &[]);
        let (input, output) = script(&lab.folder);
        let words = [&at(hosts.host(1)), &input, &output.0, "-runid=R1"];
        script_ran(&mut theirs(hosts.host(3), "scriptingclient", &words), &output.1);
    });
}

#[test]
fn our_scripting_user_has_a_script_run_by_theirs() {
    row(|lab: &Lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let mut registrar = registrar(&hosts);
        let _element = their_element(hosts.host(2), "scripting", "0a", hosts.host(1), &[]);
        registrar.says("Successfully registered ScriptingPool/$0000000a");
        let (input, output) = script(&lab.folder);
        let (input, out) = (input.replace("-input=", ""), output.1.display().to_string());
        let mut user =
            our_user(hosts.host(3), "scripting", hosts.host(1), &["--input", &input, "--output", &out]);
        script_ran(&mut user, &output.1);
    });
}

#[test]
fn our_users_use_their_echo_and_daytime() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let mut registrar = registrar(&hosts);
        let _echo = their_element(hosts.host(2), "echo", "0a", hosts.host(1), &[]);
        let _daytime = their_element(hosts.host(2), "daytime", "0b", hosts.host(1), &[]);
        registrar.says("Successfully registered EchoPool/$0000000a");
        registrar.says("Successfully registered DaytimePool/$0000000b");
        let at = format!("sctp://{}", hosts.host(1).ip());
        let program = env!("CARGO_BIN_EXE_rsp");
        hosts.host(3).mark("ours");
        let line = format!("printf 'one\\ntwo\\n' | {program} client echo --registrar {at}");
        assert_eq!(hosts.host(3).run("sh", ["-c", &line]), "one\ntwo\n");
        let time = our_user(hosts.host(3), "daytime", hosts.host(1), &[]).succeeds();
        assert!(time.contains("-November-2026") || time.contains("day, "), "{time}");
    });
}

#[test]
fn our_chargen_serves_where_theirs_cannot() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let _registrar = registrar(&hosts);
        let _element = our_element(hosts.host(2), "chargen", "0000000b", hosts.host(1), &[]);
        let said = our_user(hosts.host(3), "chargen", hosts.host(1), &["--octets", "3000"]).succeeds();
        assert!(said.len() >= 3000 && said.contains("0123456789"), "{said}");
    });
}
