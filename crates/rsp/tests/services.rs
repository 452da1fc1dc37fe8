//! RSPLIB's services as processes, ours at both ends: what each user prints, and that it goes on when its element dies.

mod common;

use common::{Said, Server, finish, rsp, run};
use rustix::process::Signal;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// An element of this service at this registrar.
fn element(registrar: &Server, service: &str, more: &[&str]) -> Server {
    let at = format!("sctp://{}", registrar.asap());
    Server::start([&["serve", service, "--registrar", &at], more].concat())
}

/// The user of this service at this registrar.
fn user(registrar: &Server, service: &str, more: &[&str]) -> Command {
    let mut command = rsp();
    command.args(["client", service, "--registrar", &registrar.asap().to_string()]).args(more);
    command
}

fn done(said: &Said) {
    assert_eq!(said.code(), 0, "{}", said.stderr);
}

#[test]
fn echo_gives_every_line_back_and_fails_where_nobody_serves() {
    let registrar = Server::registrar(&[]);
    let _element = element(&registrar, "echo", &[]);
    let said = finish(user(&registrar, "echo", &[]), b"one\ntwo\n\nfour without an end");
    done(&said);
    assert_eq!(said.text(), "one\ntwo\n\nfour without an end");
    let said = finish(user(&registrar, "echo", &["--pool", "Nobody", "--patience", "0.2"]), b"x\n");
    assert_eq!(said.code(), 4, "{}", said.stderr);
    assert!(said.stderr.contains("nobody in pool 'Nobody'"), "{}", said.stderr);
    let said = run(["client", "echo", "--registrar", "127.0.0.1:1"]);
    assert_eq!(said.code(), 3, "{}", said.stderr);
}

#[test]
fn echo_over_tcp_is_echo_too() {
    let registrar = Server::registrar(&[]);
    let _element = element(&registrar, "echo", &["--tcp"]);
    let said = finish(user(&registrar, "echo", &[]), b"one\n");
    done(&said);
    assert_eq!(said.text(), "one\n");
}

#[test]
fn an_element_with_another_policy_or_transport_is_refused_with_the_reason() {
    let registrar = Server::registrar(&[]);
    let _element = element(&registrar, "echo", &[]);
    let at = format!("sctp://{}", registrar.asap());
    let said = run(["serve", "echo", "--registrar", &at, "--policy", "Random"]);
    assert_eq!(said.code(), 1);
    assert!(said.stderr.contains("the pool has another policy"), "{}", said.stderr);
    let said = run(["serve", "echo", "--registrar", &at, "--tcp"]);
    assert_eq!(said.code(), 1);
    assert!(said.stderr.contains("another transport"), "{}", said.stderr);
}

#[test]
fn discard_daytime_and_chargen_do_what_they_are_for() {
    let registrar = Server::registrar(&[]);
    let _discard = element(&registrar, "discard", &[]);
    let said = finish(user(&registrar, "discard", &[]), "x\n".repeat(1_000).as_bytes());
    done(&said);
    assert!(said.stdout.is_empty());
    let _daytime = element(&registrar, "daytime", &[]);
    let said = finish(user(&registrar, "daytime", &[]), b"");
    done(&said);
    assert!(said.text().contains("day, ") && said.text().lines().count() == 1, "{}", said.text());
    let _chargen = element(&registrar, "chargen", &["--messages", "2"]);
    let said = finish(user(&registrar, "chargen", &["--octets", "5000"]), b"");
    done(&said);
    let expected: Vec<u8> = (30..128u8).cycle().take(1024).collect::<Vec<u8>>().repeat(5);
    assert_eq!(said.stdout, expected[..5000], "over the ends of two sessions");
}

#[test]
fn ping_pong_numbers_go_on_over_the_ends_of_sessions() {
    let registrar = Server::registrar(&[]);
    let _elements = ["00000001", "00000002"]
        .map(|id| element(&registrar, "pingpong", &["--failure-after", "2", "--id", id]));
    let said = finish(user(&registrar, "pingpong", &["--count", "7", "--interval", "10", "--json"]), b"");
    done(&said);
    let lines: Vec<Value> =
        said.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let replies: Vec<u64> = lines.iter().filter_map(|line| line["reply"].as_u64()).collect();
    assert_eq!(replies, [1, 2, 3, 4, 5, 6, 7]);
    assert!(["00000001", "00000002"].iter().all(|id| lines.iter().any(|line| line["element"] == *id)));
}

#[test]
fn a_calcapp_job_goes_on_elsewhere_when_its_element_is_interrupted() {
    let registrar = Server::registrar(&[]);
    let fast = ["--capacity", "1e6", "--cookie-interval", "0.1"];
    let mut elements: Vec<(String, Server)> = ["00000001", "00000002"]
        .map(|id| (id.to_string(), element(&registrar, "calcapp", &[&fast[..], &["--id", id]].concat())))
        .into();
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let more = [
        "--job-interval",
        "0",
        "--job-size",
        "1500000",
        "--jobs",
        "2",
        "--seed",
        "7",
        "--json",
        "--verbose",
        "--vector",
        &file("vector"),
        "--scalar",
        &file("scalar"),
    ];
    let mut client = Server::begin({
        let mut command = user(&registrar, "calcapp", &more);
        command.stdin(std::process::Stdio::null());
        command
    });
    let line = client.line_with("begins with element");
    let id = line.rsplit(' ').next().expect("an element").to_string();
    client.line_with("job 1 is accepted");
    let place = elements.iter().position(|(known, _)| *known == id).expect("one of ours");
    let mut victim = elements.remove(place).1;
    victim.signal(Signal::INT); // the last cookie it gives says how far it has come
    client.line_with("goes on by cookie");
    assert!(victim.child.wait().expect("our child").success());
    assert!(common::ends(client.pid()), "it ends");
    let vector = std::fs::read_to_string(file("vector")).expect("written");
    let lines: Vec<&str> = vector.lines().collect();
    assert!(lines[0].starts_with("ObjectName PID JobID JobSize JobInterval   QueueLength"), "{vector}");
    assert_eq!(lines.len(), 3, "{vector}");
    assert!(lines[1].starts_with("000001 scenario.calcapppooluser[0] "), "{vector}");
    let scalar = std::fs::read_to_string(file("scalar")).expect("written");
    assert!(scalar.starts_with("run 1 \"scenario\"\n"), "{scalar}");
    assert!(scalar.contains("\"CalcAppPU Total Jobs Completed\" 2\n"), "{scalar}");
}

#[test]
fn a_picture_is_right_although_every_session_fails_on_the_way() {
    let registrar = Server::registrar(&[]);
    let _elements = [(); 2].map(|()| element(&registrar, "fractal", &["--failure-after", "20"]));
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("picture.png").display().to_string();
    let more = ["--sessions", "3", "--width", "200", "--height", "150", "--check", "--out", &out];
    let said = finish(user(&registrar, "fractal", &more), b"");
    done(&said);
    assert!(said.stderr.contains("every point is as computed here"), "{}", said.stderr);
    assert!(!said.stderr.contains(" 0 fail-overs"), "{}", said.stderr);
    let picture = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&out).expect("written")));
    let reader = picture.read_info().expect("a picture");
    assert_eq!((reader.info().width, reader.info().height), (200, 150));
}

/// A work package with this program.
fn package(folder: &Path, script: &str) -> String {
    let path = folder.join("work.tar.gz");
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(
        std::fs::File::create(&path).expect("a file"),
        flate2::Compression::default(),
    ));
    let mut header = tar::Header::new_gnu();
    header.set_size(script.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, "ssrun", script.as_bytes()).expect("written");
    archive.into_inner().and_then(|gzip| gzip.finish()).expect("written");
    path.display().to_string()
}

#[test]
fn a_program_is_run_with_its_environment_which_is_uploaded_once() {
    let registrar = Server::registrar(&[]);
    let _element = element(&registrar, "scripting", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let input =
        package(folder.path(), "#!/bin/sh\ncat \"$2\" > \"$1\"; echo \"$#\" >> \"$1\"; ls >> \"$1\"\n");
    let environment = folder.path().join("environment");
    std::fs::write(&environment, "from the environment\n").expect("a file");
    let (environment, output) =
        (environment.display().to_string(), folder.path().join("output").display().to_string());
    let more = ["--input", &input, "--output", &output, "--environment", &environment, "--verbose"];
    for upload in ["is uploaded", "is there already"] {
        let said = finish(user(&registrar, "scripting", &more), b"");
        done(&said);
        assert!(said.stderr.contains(&format!("the environment {upload}")), "{}", said.stderr);
        let output = std::fs::read_to_string(&output).expect("written");
        assert_eq!(output, "from the environment\n4\nenvironment.data\noutput.data\nssrun\n");
    }
}

#[test]
fn a_program_that_fails_is_tried_again_and_leaves_nothing_running() {
    let registrar = Server::registrar(&[]);
    let _element = element(&registrar, "scripting", &[]);
    let folder = tempfile::tempdir().expect("a folder");
    let word = format!("86{:05}", std::process::id() % 100_000);
    // It ends once what it leaves behind is what it shall be.
    let script = format!(
        "#!/bin/sh\nsetsid sleep {word} &\nuntil [ \"$(cat /proc/$!/comm)\" = sleep ]; do :; done\necho partial > \"$1\"; exit 3\n"
    );
    let input = package(folder.path(), &script);
    let output = folder.path().join("output").display().to_string();
    let more = ["--input", &input, "--output", &output, "--trials", "2"];
    let said = finish(user(&registrar, "scripting", &more), b"");
    assert_eq!(said.code(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("ended with status 3; trying again"), "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(&output).expect("the last one is kept"), "partial\n");
    assert!(common::processes_with(&word).is_empty());
    let missing = folder.path().join("missing").display().to_string();
    let said = finish(user(&registrar, "scripting", &["--input", &missing, "--output", &output]), b"");
    assert_eq!(said.code(), 2, "{}", said.stderr);
}
