//! Commands that go on where they were, on another worker, with real processes.

mod common;

use common::{Server, rsp, wait};
use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

/// Counts its steps in a ledger outside of everything, and completes a checkpoint after each. A step takes a second: many
/// times what a cookie takes to the client.
const STEPS: &str = r#"
step=$(head -n 1 "${RSP_RESTORE:-/dev/null}")
while [ "${step:=0}" -lt 6 ]; do
  step=$((step + 1))
  echo "$step $RSP_ATTEMPT" >> "$LEDGER"
  sleep 1
  { echo $step; head -c "$PADDING" /dev/zero; } > "$RSP_CHECKPOINT.new"
  mv "$RSP_CHECKPOINT.new" "$RSP_CHECKPOINT"
done
echo "$step steps, $(ls "$(dirname "$RSP_CHECKPOINT")" | wc -l) files"
"#;

/// The lines of the ledger: step and attempt.
fn ledger(path: &Path) -> Vec<(u32, u32)> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(step, attempt)| Some((step.parse().ok()?, attempt.parse().ok()?))).collect()
}

fn goes_on(padding: usize) {
    let registrar = Server::registrar(&[]);
    let at = registrar.asap().to_string();
    let mut workers: Vec<_> = (0..2).map(|_| Server::worker(&registrar, &[])).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ledger");
    let mut command = rsp();
    command.args(["run", "--registrar", &at, "--", "env"]);
    command.arg(format!("LEDGER={}", path.display())).arg(format!("PADDING={padding}"));
    command.args(["sh", "-c", STEPS, "x", ":::", "x"]);
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let begun = Instant::now();
    for (kills, step) in [(0, 3), (1, 5)] {
        // This step has just begun, so the checkpoint of the one before may still be on its way; older ones are not.
        while !ledger(&path).iter().any(|(its, attempt)| *its == step && *attempt > kills) {
            assert!(begun.elapsed() < common::BOUND, "{:?}", ledger(&path));
            std::thread::yield_now();
        }
        let (_, attempt) = *ledger(&path).last().expect("a line");
        let busy =
            workers.iter().position(|worker| runs_attempt(worker.pid(), attempt)).expect("it runs somewhere");
        let mut killed = workers.remove(busy);
        killed.signal(Signal::KILL);
        let _ = killed.child.wait();
        workers.push(Server::worker(&registrar, &[]));
    }
    let said = wait(child);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let ledger = ledger(&path);
    assert!(said.text().starts_with("6 steps, "), "{}", said.text());
    let mut times = BTreeMap::new();
    ledger.iter().for_each(|(step, _)| *times.entry(*step).or_insert(0) += 1);
    assert_eq!(times.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    let repeated: u32 = times.values().map(|count| count - 1).sum();
    assert!((1..=4).contains(&repeated), "two kills repeat two steps each at most: {ledger:?}");
    let attempts: Vec<_> = ledger.iter().map(|(_, attempt)| *attempt).collect();
    assert!(attempts.is_sorted() && attempts.last() > attempts.first(), "{ledger:?}");
}

/// True if something below this process is that attempt: by its environment.
fn runs_attempt(worker: Pid, attempt: u32) -> bool {
    let id = worker.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).any(|pid| {
        let environment =
            std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
        let wanted = format!("RSP_ATTEMPT={attempt}");
        environment.split(|octet| *octet == 0).any(|one| one == wanted.as_bytes())
            || runs_attempt(pid, attempt)
    })
}

#[test]
fn a_command_goes_on_from_its_checkpoint_in_the_cookie() {
    goes_on(10);
}

#[test]
fn a_command_goes_on_from_a_checkpoint_too_large_for_the_cookie() {
    goes_on(3_000_000);
}
