//! Workers that leave, tasks that go too far, and what must not be left behind: with real processes.

mod common;

use common::{Server, ends, processes_with, rsp, run, wait};
use rustix::process::{Pid, Signal};
use std::process::Stdio;

/// A word that no other test (nor an earlier run of this one) has on a command line.
fn word(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Waits until so many tasks with this word on their command line are there.
fn appear(word: &str, count: usize) -> Vec<Pid> {
    let begun = std::time::Instant::now();
    loop {
        let found = processes_with(word);
        if found.len() >= count {
            return found;
        }
        assert!(begun.elapsed() < common::BOUND, "no {count} processes with {word}");
        std::thread::yield_now();
    }
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let id = parent.as_raw_nonzero();
    let threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace().map(|pid| pid.parse().expect("a number")).collect::<Vec<i32>>()
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// A job on this registrar's pool, with these words.
fn begin(registrar: &Server, words: &[&str]) -> std::process::Child {
    let mut job = rsp();
    job.args(["run", "--registrar", &registrar.asap().to_string()]).args(words);
    job.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
}

fn gone(server: &mut Server) -> i32 {
    assert!(ends(server.pid()), "it does not leave");
    server.child.wait().expect("our child").code().expect("no signal")
}

/// A fifo: opening it to read waits until somebody writes, so a task ends when the test wants.
fn gate(folder: &std::path::Path) -> String {
    let path = folder.join("gate");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    path.to_str().expect("text").to_owned()
}

#[test]
fn a_worker_told_to_end_finishes_its_task_takes_no_other_and_leaves_with_status_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let (word, gate) = (word("finishes"), gate(folder.path()));
    let registrar = Server::registrar(&[]);
    let mut worker = Server::worker(&registrar, &[]);
    let script = "cat \"$2\"; echo done $3";
    let job = begin(&registrar, &["--", "sh", "-c", script, "sh", &word, &gate, ":::", "1", "2"]);
    appear(&word, 1);
    worker.signal(Signal::TERM);
    worker.line_with("draining: no new tasks; 1 have up to 60 s");
    let other = Server::worker(&registrar, &[]);
    std::fs::write(&gate, "").expect("the task reads");
    assert_eq!(gone(&mut worker), 0);
    appear(&word, 1);
    std::fs::write(&gate, "").expect("the task reads");
    let said = wait(job);
    assert_eq!(
        (said.code(), said.sorted()),
        (0, vec!["done 1".to_owned(), "done 2".into()]),
        "{}",
        said.stderr
    );
    drop(other);
}

#[test]
fn what_does_not_end_in_time_runs_elsewhere_and_a_second_signal_hurries() {
    for hurry in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let (word, gate) = (word(&format!("elsewhere-{hurry}")), gate(folder.path()));
        let registrar = Server::registrar(&[]);
        let deadline = if hurry { "600" } else { "0" };
        let mut worker = Server::worker(&registrar, &["--drain-deadline", deadline]);
        let job =
            begin(&registrar, &["--json", "--", "sh", "-c", "cat \"$2\"; :", "sh", &word, &gate, ":::", "1"]);
        let first = appear(&word, 1);
        let other = Server::worker(&registrar, &[]);
        worker.signal(Signal::TERM);
        if hurry {
            worker.line_with("draining");
            worker.signal(Signal::TERM);
        }
        assert_eq!(gone(&mut worker), 0);
        first.into_iter().for_each(|pid| assert!(ends(pid), "it goes on"));
        appear(&word, 1);
        std::fs::write(&gate, "").expect("the task reads");
        let said = wait(job);
        assert_eq!(said.code(), 0, "{}", said.stderr);
        assert!(said.text().contains("\"attempts\":2"), "{}", said.text());
        assert!(!said.stderr.contains("is lost"), "leaving is no loss: {}", said.stderr);
        drop(other);
    }
}

#[test]
fn a_worker_is_drained_over_the_network_by_its_identifier() {
    let registrar = Server::registrar(&[]);
    let at = registrar.asap().to_string();
    let mut worker = Server::worker(&registrar, &["--id", "c0ffee"]);
    let mut stays = Server::worker(&registrar, &["--id", "beef"]);
    let said = run(["drain", "00c0ffee", "--wait", "--registrar", &at]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert!(said.stderr.contains("worker 00c0ffee has left"), "{}", said.stderr);
    assert_eq!(gone(&mut worker), 0);
    let listed = run(["pool", "show", "compute", "--registrar", &at]);
    assert!(!listed.text().contains("00c0ffee") && listed.text().contains("0000beef"), "{}", listed.text());
    let unknown = run(["drain", "00c0ffee", "--registrar", &at]);
    assert_eq!(unknown.code(), 4, "{}", unknown.stderr);
    assert!(unknown.stderr.contains("knows no worker 00c0ffee"), "{}", unknown.stderr);
    let all = run(["drain", "--pool", "compute", "--all", "--wait", "--registrar", &at]);
    assert_eq!(all.code(), 0, "{}", all.stderr);
    assert_eq!(gone(&mut stays), 0);
}

#[test]
fn no_task_outlives_its_worker_killed_together_with_either_of_its_keepers() {
    for deep in [false, true] {
        let word = word(&format!("together-{deep}"));
        let registrar = Server::registrar(&[]);
        let worker = Server::worker(&registrar, &[]);
        let script = format!(
            "env -i setsid sh -c 'sleep 1000; :' {word} & (setsid sh -c 'sleep 1000; :' {word} &) ; sleep 1000"
        );
        let mut job = begin(&registrar, &["--", "sh", "-c", &script, ":::", "x"]);
        let hidden = appear(&word, 2);
        let guard = children_of(worker.pid())[0];
        let keeper = children_of(guard)[0];
        for pid in [worker.pid(), if deep { keeper } else { guard }] {
            rustix::process::kill_process(pid, Signal::KILL).expect("it runs");
        }
        for pid in hidden {
            assert!(ends(pid), "{pid:?} goes on");
        }
        let _ = job.kill();
        let _ = job.wait();
    }
}

#[test]
fn what_hides_from_its_task_ends_with_it_all_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let (word, gate) = (word("hides"), gate(folder.path()));
    // The task ends only when what hides says that it is there.
    let hides = r#"sh -c 'echo $$ >"$1"; sleep 1000; :' sh"#;
    let script =
        format!("env -i setsid {hides} {gate} {word} >/dev/null 2>&1 & read there <{gate}; echo $there");
    let said = run(["run", "--", "sh", "-c", &script, ":::", "x"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let hidden = said.text().trim().parse().ok().and_then(Pid::from_raw).expect("it says who it is");
    assert!(ends(hidden), "{hidden:?} goes on");
    assert_eq!(processes_with(&word), [], "something with its word goes on");
}
