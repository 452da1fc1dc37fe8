//! The examples run, and give what they say.

use std::process::Command;

/// What an example prints. They are built already when all tests are; else this builds them.
fn example(name: &str) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--package", "rserpool-net", "--example", name]);
    let ran = cargo.output().expect("cargo runs this test, so it is there");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("text")
}

#[test]
fn darts_find_pi() {
    let said = example("montecarlo");
    let last = said.lines().last().expect("five lines");
    let value: f64 = last.strip_prefix(" 100 throws: ").and_then(|pi| pi.parse().ok()).expect("a number");
    // A hundred million darts miss by 0.0005 once in a hundred thousand times; these are the same darts each time.
    assert!((value - std::f64::consts::PI).abs() < 0.0005, "{said}");
}

#[test]
fn a_session_survives_its_element() {
    let said = example("session");
    let sums: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("the sum is ")).collect();
    assert_eq!(sums, ["1", "3", "6", "10", "15", "21", "28", "36", "45", "55"], "{said}");
    assert!(said.contains("failed over: true, by cookie: true"), "{said}");
}
