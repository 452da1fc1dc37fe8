//! Registrars and workers as processes: several registrars, killed and stopped workers, what the tools show.

mod common;

use common::{Server, finish, rsp, run};
use rustix::process::Signal;
use serde_json::Value;

fn numbers(count: u32) -> Vec<String> {
    let mut all: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    all.sort();
    all
}

/// `seq COUNT | rsp run` on this registrar, with a victim that a script of the first task names on the way.
fn survives(signal: Signal) {
    let registrar = Server::registrar(&[]);
    let mut workers: Vec<Server> = (0..3).map(|_| Server::worker(&registrar, &[])).collect();
    let victim = workers.pop().expect("three");
    let folder = tempfile::tempdir().expect("a folder");
    let flag = folder.path().join("hit").display().to_string();
    let pid = victim.pid().as_raw_nonzero();
    // Whoever runs on the victim first hits it, once, from inside: so it holds an unfinished task for certain. Between
    // a task and its worker stand keepers, so we look for the victim among all that is above.
    let text = format!(
        "above=$$; while [ $above -gt 1 ] && [ $above != {pid} ]; do above=$(($(ps -o ppid= -p $above))); done; \
         if [ $above = {pid} ] && mkdir {flag} 2>/dev/null; then kill -{} {pid}; sleep 3; fi; echo $0",
        signal.as_raw()
    );
    let mut command = rsp();
    command.args(["run", "--registrar", &registrar.asap().to_string(), "--", "sh", "-c", &text, "{}"]);
    let said = finish(command, numbers(40).join("\n").as_bytes());
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert_eq!(said.sorted(), numbers(40));
    assert!(folder.path().join("hit").exists(), "the fault hit nothing");
    assert!(said.stderr.contains("is lost"), "{}", said.stderr);
}

#[test]
fn a_job_survives_a_killed_worker_with_every_result_once() {
    survives(Signal::KILL);
}

#[test]
fn a_job_survives_a_stopped_worker_with_every_result_once() {
    survives(Signal::STOP);
}

#[test]
fn two_registrars_on_one_address_know_the_same() {
    let first = Server::registrar(&["--id", "00000001"]);
    let mut second = Server::registrar(&["--id", "00000002", "--peer", &first.enrp().to_string()]);
    second.line_with("ready");
    let _worker = Server::worker(&first, &["--id", "0000000a"]);
    second.line_with("element 0000000a joined");
    let shown = |registrar: &Server| -> Value {
        let said = run(["pool", "show", "compute", "--json", "--registrar", &registrar.asap().to_string()]);
        assert_eq!(said.code(), 0, "{}", said.stderr);
        serde_json::from_str(&said.text()).expect("JSON")
    };
    let (at_first, at_second) = (shown(&first), shown(&second));
    assert_eq!(at_first["registrar"], "00000001");
    assert_eq!(at_second["registrar"], "00000002");
    assert_eq!(at_first["pools"], at_second["pools"]);
    let element = &at_second["pools"][0]["elements"][0];
    assert_eq!((&element["id"], &element["home"]), (&"0000000a".into(), &"00000001".into()));
}

#[test]
fn the_survivor_takes_over_and_the_job_goes_on() {
    let mut first = Server::registrar(&["--id", "00000001"]);
    let mut second = Server::registrar(&["--id", "00000002", "--peer", &first.enrp().to_string()]);
    second.line_with("ready");
    let both = [first.asap().to_string(), second.asap().to_string()];
    let _worker = Server::worker(&first, &["--id", "0000000a", "--registrar", &both[1]]);
    first.child.kill().expect("it runs");
    first.child.wait().expect("our child");
    let said =
        run(["run", "--registrar", &both[0], "--registrar", &both[1], "--", "echo", "{}", ":::", "1", "2"]);
    assert_eq!((said.code(), said.sorted()), (0, vec!["1".into(), "2".into()]), "{}", said.stderr);
}

#[test]
fn pools_are_listed_and_resolved_as_table_and_as_json() {
    let registrar = Server::registrar(&[]);
    let at = registrar.asap().to_string();
    assert!(run(["pool", "ls", "--registrar", &at]).text().contains("knows no pools"));
    let _a = Server::worker(&registrar, &["--pool", "tiles", "--id", "0000000a", "--policy", "RoundRobin"]);
    let _b = Server::worker(&registrar, &["--pool", "tiles", "--id", "0000000b", "--policy", "RoundRobin"]);
    let table = run(["pool", "ls", "--registrar", &at]).text();
    assert_eq!(
        table.lines().nth(1).map(|line| line.split_whitespace().collect()),
        Some(vec!["tiles", "2", "RoundRobin"])
    );
    let json = |arguments: &[&str]| -> Value {
        let said = run([arguments, &["--json", "--registrar", &at]].concat());
        assert_eq!(said.code(), 0, "{}", said.stderr);
        serde_json::from_str(&said.text()).expect("JSON")
    };
    assert_eq!(json(&["pool", "ls"])["schema"], "rsp.pools/1");
    let mut chosen: Vec<Value> =
        (0..4).map(|_| json(&["resolve", "tiles", "--items", "1"])["elements"][0]["id"].clone()).collect();
    assert_eq!(chosen[..2], chosen[2..], "round robin goes round");
    chosen.truncate(2);
    chosen.sort_by_key(Value::to_string);
    assert_eq!(chosen, ["0000000a", "0000000b"]);
}

#[test]
fn a_worker_that_does_not_fit_is_told_why_and_ends() {
    let registrar = Server::registrar(&[]);
    let _first = Server::worker(&registrar, &["--policy", "RoundRobin"]);
    let at = registrar.asap().to_string();
    let said = run(["worker", "--registrar", &at, "--policy", "LeastUsed"]);
    assert_eq!(said.code(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("another policy") && said.stderr.contains("--policy"), "{}", said.stderr);
}

#[test]
fn a_port_in_use_is_status_5_and_names_the_option() {
    let registrar = Server::registrar(&[]);
    let said = run(["registrar", "--listen", &registrar.asap().to_string()]);
    assert_eq!(said.code(), 5, "{}", said.stderr);
    let (at, stderr) = (registrar.asap().to_string(), said.stderr);
    assert!(stderr.contains(&at) && stderr.contains("--listen") && stderr.contains("in use"), "{stderr}");
}

#[test]
fn a_registrar_elsewhere_needs_an_address_to_listen_on() {
    // TEST-NET-1: nobody is there, and nothing is sent.
    let said = run(["worker", "--registrar", "192.0.2.1"]);
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("--listen"), "{}", said.stderr);
}

#[test]
fn opening_a_service_to_others_is_warned_about() {
    let mut command = rsp();
    command.args(["registrar", "--listen", "0.0.0.0:0"]);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("starts");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().expect("piped")));
    let first = lines.next().expect("a line").expect("text");
    assert!(first.starts_with("warning: --listen 0.0.0.0:0") && first.contains("no encryption"), "{first}");
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn an_interrupted_worker_leaves_the_pool_politely() {
    let mut registrar = Server::registrar(&[]);
    let mut worker = Server::worker(&registrar, &["--id", "0000000a"]);
    worker.signal(Signal::TERM);
    let line = registrar.line_with("0000000a left");
    assert!(line.contains("deregistered"), "{line}");
    assert!(worker.child.wait().expect("our child").success());
}
