//! The README keeps its word: its commands run, and say what they should.

mod common;

use common::finish;
use std::path::Path;
use std::process::Command;

/// The lines of the README's shell blocks that begin with this.
fn lines(start: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = std::fs::read_to_string(path).expect("the README is there");
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let all = blocks.flat_map(str::lines).filter(|line| line.contains(start));
    all.map(str::to_owned).collect()
}

fn shell(line: &str) -> common::Said {
    let program = Path::new(env!("CARGO_BIN_EXE_rsp")).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("PATH", format!("{}:{path}", program.display()))
        .env("RSP_STATE_DIR", common::state_dir())
        .env_remove("RSP_REGISTRAR");
    finish(command, b"")
}

#[test]
fn the_examples_of_rsp_run_do_what_they_say() {
    let lines = lines("rsp run");
    assert_eq!(lines.len(), 4, "{lines:#?}");
    let said: Vec<_> = lines.iter().map(|line| shell(line)).collect();
    for (line, said) in lines.iter().zip(&said) {
        assert_eq!(said.code(), 0, "{line}: {}", said.stderr);
    }
    assert_eq!(said[0].sorted(), ["frame 1", "frame 2", "frame 3"]);
    assert_eq!(said[1].sorted().len(), 5);
    assert_eq!(said[2].text(), "6\n60\n7\n70\n");
    assert!(said[3].text().contains("\"schema\":\"rsp.task/1\""));
}

#[test]
fn the_example_of_the_swarm_passes() {
    let lines = lines("rsp sim swarm");
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let said = shell(&lines[0]);
    assert_eq!(said.code(), 0, "{}{}", said.text(), said.stderr);
}
