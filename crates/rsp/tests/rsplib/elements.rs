//! Elements and users of RSPLIB at our registrar.

use crate::parts::*;
use crate::{pictures, row, row_with};
use guest::{Host, Plan, Program};

/// The services of RSPLIB, their pools, and the identifiers they get here.
const SERVICES: &[(&str, &str, &str)] = &[
    ("echo", "EchoPool", "00000010"),
    ("discard", "DiscardPool", "00000011"),
    ("daytime", "DaytimePool", "00000012"),
    ("pingpong", "PingPongPool", "00000013"),
    ("fractal", "FractalGeneratorPool", "00000014"),
    ("calcapp", "CalcAppPool", "00000015"),
    ("scripting", "ScriptingPool", "00000016"),
];

#[test]
fn every_service_of_theirs_registers_is_watched_registers_again_and_deregisters() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(2));
        let [us, them] = [1, 2].map(|number| hosts.host(number));
        let mut registrar = our_registrar(us, "00000001", &[]);
        let start = |service: &str, id: &str| their_element(them, service, id, us, &["-rereginterval=1500"]);
        let mut elements: Vec<Program> =
            SERVICES.iter().map(|&(service, _, id)| start(service, id)).collect();
        for (element, (_, pool, id)) in elements.iter_mut().zip(SERVICES) {
            registrar.says(&format!("element {id} joined pool '{pool}' at home 00000001"));
            element.says("Home registrar is $00000001");
            // Registers again, by its own timer, and stays the same element.
            element.says_times("Trying to register", 3);
        }
        registrar.never_said("left");
        for element in &mut elements {
            element.interrupt();
            element.ends();
        }
        for (_, pool, id) in SERVICES {
            let line = registrar.says(&format!("element {id} left pool '{pool}'"));
            assert!(line.contains("deregistered"), "{line}");
        }
    });
}

#[test]
fn their_chargen_refuses_its_own_option_and_nobody_is_registered() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(2));
        let [us, them] = [1, 2].map(|number| hosts.host(number));
        let registrar = our_registrar(us, "00000001", &[]);
        let mut element = their_element(them, "chargen", "10", us, &[]);
        assert!(!element.ends().success());
        registrar.never_said("joined");
    });
}

#[test]
fn an_element_of_theirs_that_dies_or_hangs_is_missed_and_one_that_wakes_up_comes_back() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3));
        let [us, one, two] = [1, 2, 3].map(|number| hosts.host(number));
        let mut registrar = our_registrar(us, "00000001", &[]);
        let mut dies = their_element(one, "echo", "0a", us, &["-rereginterval=2000"]);
        let mut hangs = their_element(two, "echo", "0b", us, &["-rereginterval=2000"]);
        registrar.says("element 0000000a joined");
        registrar.says("element 0000000b joined");
        knows(us, us, "EchoPool", &["0000000a 00000001 RoundRobin", "0000000b 00000001 RoundRobin"]);
        dies.kill();
        // Its kernel ends the association: nobody has to miss an answer.
        let line = registrar.says("element 0000000a left");
        assert!(line.contains("link"), "{line}");
        hangs.hang();
        let line = registrar.says("element 0000000b left");
        assert!(line.contains("did not answer"), "{line}");
        hangs.go_on();
        registrar.says_times("element 0000000b joined", 2);
    });
}

/// Two elements of theirs with one service, each on a host, at our registrar on host 1; users are on host 4.
fn pair(hosts: &guest::Hosts, service: &str, more: &[&str]) -> (Program, [Program; 2]) {
    let mut registrar = our_registrar(hosts.host(1), "00000001", &[]);
    let elements = ["0a", "0b"].map(|id| {
        let host = hosts.host(if id == "0a" { 2 } else { 3 });
        their_element(host, service, id, hosts.host(1), more)
    });
    registrar.says("element 0000000a joined");
    registrar.says("element 0000000b joined");
    (registrar, elements)
}

fn at(registrar: &Host) -> String {
    format!("-registrar={}:3863", registrar.ip())
}

#[test]
fn their_calcapp_user_goes_on_at_the_other_element_when_one_dies() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let (_registrar, mut elements) = pair(&hosts, "calcapp", &[]);
        let words = [&at(hosts.host(1)), "-runtime=600", "-jobinterval=0.3", "-jobsize=1e6"];
        let mut user = theirs(hosts.host(4), "calcappclient", &words);
        user.says("Job #2 completed");
        // Whoever computes now dies.
        let busy = |element: &Program| element.count("accepted") > element.count("is complete");
        let at_work = guest::eventually(|| "a job is under way".into(), || elements.iter().position(busy));
        elements[at_work].kill();
        user.says("FAILOVER");
        let next = user.count("completed") + 2;
        user.says(&format!("Job #{next} completed"));
    });
}

#[test]
fn their_pingpong_session_goes_on_with_its_cookie_from_element_to_element() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let (_registrar, elements) = pair(&hosts, "pingpong", &["-pppfailureafter=10"]);
        let mut user = theirs(hosts.host(4), "pingpongclient", &[&at(hosts.host(1)), "-interval=50"]);
        user.says_times("Ack #", 35);
        for id in ["0000000a", "0000000b"] {
            user.says(&format!("from PE ${id}"));
        }
        // Numbers of replies never start again: the cookie had them.
        crate::services::replies_go_on(&user);
        drop(elements);
    });
}

#[test]
fn their_terminal_talks_to_their_echo_through_our_registrar() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let (_registrar, _elements) = pair(&hosts, "echo", &[]);
        let mut user = theirs_talking(hosts.host(4), "rspterminal", &[&at(hosts.host(1))]);
        user.says("COMM_UP");
        user.tell("good morning");
        user.says("> good morning");
    });
}

#[test]
fn their_scripting_user_has_a_script_run_through_our_registrar() {
    row(|lab| {
        let hosts = lab.hosts(&Plan::hosts(4));
        let (_registrar, _elements) = pair(&hosts, "scripting", &[]);
        let (input, output) = script(&lab.folder);
        let words = [&at(hosts.host(1)), &input, &output.0, "-runid=R1"];
        let mut user = theirs(hosts.host(4), "scriptingclient", &words);
        user.succeeds();
        let result = std::fs::read_to_string(&output.1).expect("an output");
        assert_eq!(result, "made by a script\n");
    });
}

#[test]
fn their_fractal_user_has_pictures_computed_through_our_registrar() {
    row_with(
        |lab| {
            let hosts = lab.hosts(&Plan::hosts(4));
            let (_registrar, elements) = pair(&hosts, "fractal", &[]);
            let mut user = their_fractal_user(hosts.host(4), hosts.host(1), &lab.folder);
            // It begins the next one when one is complete.
            user.says_times("Getting parameters from", 3);
            drop(elements);
        },
        // Computed by theirs; our formula gives the same points.
        |row| pictures::finished(row, "10.1.0.4", 2),
    );
}
