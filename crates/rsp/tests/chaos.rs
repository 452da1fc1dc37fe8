//! `rsp chaos`: the whole story in small, and the failure when it cannot happen.

mod common;

use common::run;

#[test]
fn every_result_is_accepted_exactly_once_although_everything_around_is_killed() {
    let said = run(["chaos", "--tasks", "500", "--kills", "5"]);
    let text = said.text();
    assert_eq!(said.code(), 0, "{text}{}", said.stderr);
    let figure = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).expect(name);
        line[name.len()..].split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
    };
    assert_eq!(
        (figure("tasks"), figure("results accepted"), figure("kills that hit")),
        (500, 500, 5),
        "{text}"
    );
    assert!(figure("executions begun") >= 505 && figure("results printed") >= 500, "{text}");
    assert!(figure("fail-overs") >= 6 && figure("ended in vain") >= 1, "{text}");
    for what in ["% stopped worker", "% continued worker", "% killed registrar", "at the same place again"] {
        assert_eq!(text.matches(what).count(), 1, "{what}: {text}");
    }
    assert_eq!(text.matches("killed the client").count(), 2, "{text}");
    assert!(text.ends_with("every result is what it should be, and was accepted exactly once\n"), "{text}");
}

#[test]
fn a_fault_that_did_not_happen_is_a_failure_and_the_evidence_stays() {
    let folder = tempfile::tempdir().expect("a folder");
    let kept = folder.path().join("kept");
    let path = kept.to_str().expect("text");
    // No task is hit twice, so twenty cannot be hit twenty-one times.
    let said = run(["chaos", "--tasks", "20", "--kills", "21", "--keep", path]);
    assert_eq!(said.code(), 1, "{}{}", said.text(), said.stderr);
    let last = said.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("rsp: chaos did not show what it should: "), "{last}");
    assert!(last.contains(" instead of 21 workers were killed in the middle of a task"), "{last}");
    assert!(last.contains(path), "{last}");
    assert!(!said.text().contains("exactly once\n"), "{}", said.text());
    for file in ["ledger", "state/jobs/chaos/journal", "results-1", "client-1"] {
        assert!(kept.join(file).exists(), "{file}");
    }
    let again = run(["chaos", "--keep", path]);
    assert_eq!((again.code(), again.stderr.lines().count()), (2, 1), "{}", again.stderr);
    assert!(again.stderr.contains("the folder is not empty; name a new one"), "{}", again.stderr);
}

#[test]
fn calm_leaves_out_the_faults() {
    let said = run(["chaos", "--tasks", "40", "--calm", "--seed", "7"]);
    assert_eq!(said.code(), 0, "{}{}", said.text(), said.stderr);
    let words = said.text().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.starts_with("seed 7 tasks 40 executions begun 40 "), "{words}");
    assert!(words.contains("results printed 40 ") && words.contains("fail-overs 0 "), "{words}");
}
