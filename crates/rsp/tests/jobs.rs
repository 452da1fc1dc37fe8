//! Jobs that outlive their client: kill it, fill its disk, tear its journal, and every result is there exactly once.
//!
//! Tasks write each execution into a ledger of their own, so that what ran does not have to be believed.

mod common;

use common::{BOUND, Said, Server, finish, rsp, state_dir};
use rserpool_compute::journal::{Entry, Reader, Writer};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A pool of two workers with two slots each, and a folder for a ledger.
struct Place {
    registrar: Server,
    _workers: Vec<Server>,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let registrar = Server::registrar(&[]);
        let at = registrar.asap().to_string();
        let worker = ["worker", "--registrar", &at, "--slots", "2", "--orphan-grace", "60"];
        let workers = (0..2).map(|_| Server::start(worker)).collect();
        Self { registrar, _workers: workers, folder: tempfile::tempdir().expect("a folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `rsp` with these words, its jobs kept here.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = rsp();
        command
            .args(words)
            .env("RSP_REGISTRAR", self.registrar.asap().to_string())
            .env("RSP_STATE_DIR", self.path("state"))
            .env("LEDGER", self.path("ledger"))
            .current_dir(self.folder.path());
        command
    }

    fn says(&self, words: &[&str]) -> Said {
        finish(self.command(words), b"")
    }

    /// A command that notes its execution and then does this; its value is `$1`.
    fn noted(&self, then: &str) -> String {
        let (ledger, folder) = (self.path("ledger"), self.folder.path().display().to_string());
        format!("cd {folder}; echo $RSP_TASK $RSP_ATTEMPT >> {}; {then}", ledger.display())
    }

    /// Executions by task: the attempts.
    fn ledger(&self) -> BTreeMap<u64, Vec<u32>> {
        let text = std::fs::read_to_string(self.path("ledger")).unwrap_or_default();
        let mut ledger: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
        for line in text.lines() {
            let (task, attempt) = line.split_once(' ').expect("two numbers");
            ledger
                .entry(task.parse().expect("a task"))
                .or_default()
                .push(attempt.parse().expect("an attempt"));
        }
        ledger
    }

    /// Accepted results as the journal has them, by task.
    fn results(&self, job: &str) -> BTreeMap<u64, Value> {
        let said = self.says(&["job", "results", job, "--json"]);
        assert_eq!(said.code(), 0, "{}", said.stderr);
        let mut results = BTreeMap::new();
        for line in said.text().lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(line["schema"], "rsp.task/1");
            let task = line["task"].as_u64().expect("a number");
            assert!(results.insert(task, line).is_none(), "task {task} is told twice");
        }
        results
    }

    /// Makes a journal what it would be if the client had ended while it submitted: behind this task nothing was taken.
    fn ended_behind(&self, job: &str, last: u64) {
        let path = self.path(&format!("state/jobs/{job}/journal"));
        let mut reader = Reader::default();
        reader.push(&std::fs::read(&path).expect("there"));
        let (id, about) = reader.header().expect("a journal").expect("whole");
        let (mut writer, mut octets) = Writer::begin(id, about);
        while let Some(entry) = reader.entry().expect("a journal") {
            let was_there = match &entry {
                Entry::Life { .. } => true,
                entry => entry.task().is_some_and(|task| task.0 <= last),
            };
            if was_there {
                writer.put(&entry, &mut octets);
            }
        }
        std::fs::write(path, octets).expect("writable");
    }

    fn show(&self, job: &str) -> Value {
        let said = self.says(&["job", "show", job, "--json"]);
        assert_eq!(said.code(), 0, "{}", said.stderr);
        serde_json::from_str(&said.text()).expect("JSON")
    }
}

/// A client whose standard output is read line by line.
struct Client {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    said: Vec<String>,
}

impl Client {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line; false if there is none any more.
    fn hears(&mut self) -> bool {
        match self.lines.next() {
            Some(Ok(line)) => {
                self.said.push(line);
                true
            }
            _ => false,
        }
    }

    /// Waits for its end: exit status, what it had said, and its standard error.
    fn end(mut self) -> (Option<i32>, Vec<String>, String) {
        while self.hears() {}
        let mut stderr = String::new();
        let from = self.child.stderr.as_mut().expect("piped");
        from.read_to_string(&mut stderr).expect("a pipe");
        (self.child.wait().expect("our child").code(), self.said, stderr)
    }

    /// SIGKILL; what it had said, all of it.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().expect("our child");
        while self.hears() {}
        self.child.wait().expect("our child");
        self.said
    }
}

/// Waits until there is such a file.
fn appears(path: &Path) {
    let begun = std::time::Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < BOUND, "{} does not appear", path.display());
        std::thread::yield_now();
    }
}

/// A generator for choices of a test.
struct Choices(u64);

impl Choices {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Seeds of lives and deaths. One that ever failed is added.
const SEEDS: [u64; 2] = [1, 20_261_125];

#[test]
fn whenever_the_client_is_killed_every_result_comes_once_and_nothing_accepted_runs_again() {
    const TASKS: u64 = 60;
    for seed in SEEDS {
        println!("seed {seed}");
        let mut choices = Choices(seed);
        let place = Place::new();
        let task = place.noted("echo result $1");
        let values: Vec<String> = (1..=TASKS).map(|number| number.to_string()).collect();
        let mut words = vec!["run", "--name", "j", "--", "sh", "-c", &task, "x", "{}", ":::"];
        words.extend(values.iter().map(String::as_str));
        let mut client = Client::start(place.command(&words));
        let mut printed = Vec::new();
        let mut deaths = 0;
        // How often tasks had run when they were accepted, as far as that was seen.
        let mut accepted: BTreeMap<u64, usize> = BTreeMap::new();
        loop {
            // It dies after so many lines, the first of which proves that it has begun.
            let lines = 1 + choices.below(14);
            if !(0..lines).all(|_| client.hears()) {
                let (code, said, stderr) = client.end();
                printed.extend(said);
                assert_eq!(code, Some(0), "{stderr}");
                break;
            }
            printed.extend(client.kill());
            deaths += 1;
            let (results, ledger) = (place.results("j"), place.ledger());
            for task in results.keys() {
                accepted.entry(*task).or_insert(ledger[task].len());
            }
            client = Client::start(place.command(&["resume", "j"]));
        }
        assert!(deaths >= 4, "seed {seed}: only {deaths} deaths");
        let (results, ledger) = (place.results("j"), place.ledger());
        assert_eq!(results.len() as u64, TASKS, "seed {seed}");
        for (task, times) in accepted {
            assert_eq!(ledger[&task].len(), times, "seed {seed}: task {task} was accepted and ran again");
        }
        for (task, result) in &results {
            assert_eq!(result["stdout"], format!("result {task}\n"));
            let attempts: BTreeSet<_> = ledger[task].iter().collect();
            assert_eq!(attempts.len(), ledger[task].len(), "seed {seed}: an attempt of {task} ran twice");
        }
        let lines: BTreeSet<_> = printed.iter().cloned().collect();
        let expected: BTreeSet<_> = (1..=TASKS).map(|task| format!("result {task}")).collect();
        assert_eq!(lines, expected, "seed {seed}: each result is printed at least once");
    }
}

#[test]
fn a_task_that_outlived_its_client_is_not_run_again() {
    let place = Place::new();
    let task = place.noted("while ! [ -e go ]; do :; done; echo done $1");
    let client =
        Client::start(place.command(&["run", "--name", "j", "--", "sh", "-c", &task, "x", "{}", ":::", "a"]));
    appears(&place.path("ledger"));
    client.kill();
    std::fs::write(place.path("go"), "").expect("writable");
    let said = place.says(&["resume", "j"]);
    assert_eq!((said.code(), said.text().as_str()), (0, "done a\n"), "{}", said.stderr);
    assert_eq!(place.ledger(), BTreeMap::from([(1, vec![1])]), "it ran once");
}

#[test]
fn a_job_has_one_owner_and_who_cancels_it_may_rely_on_it() {
    let place = Place::new();
    let task = place.noted("while ! [ -e go ]; do :; done");
    let client =
        Client::start(place.command(&["run", "--name", "j", "--", "sh", "-c", &task, ":::", "1", "2", "3"]));
    appears(&place.path("ledger"));
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 8, "{}", said.stderr);
    assert!(said.stderr.contains(&format!("process {}", client.child.id())), "{}", said.stderr);
    let said = place.says(&["job", "rm", "j"]);
    assert_eq!(said.code(), 8, "{}", said.stderr);
    assert_eq!(place.show("j")["state"], "running");

    let said = place.says(&["job", "cancel", "j"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let before = place.ledger();
    let (code, _, stderr) = client.end();
    assert_eq!(code, Some(9), "{stderr}");
    std::fs::write(place.path("go"), "").expect("writable");
    assert_eq!(place.show("j")["state"], "cancelled");
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 9, "{}", said.stderr);
    assert_eq!(place.ledger(), before);
    assert!(place.results("j").is_empty());
    // Cancelled once more, it stays cancelled; removed, it is gone.
    assert_eq!(place.says(&["job", "cancel", "j"]).code(), 0);
    assert_eq!(place.says(&["job", "rm", "j"]).code(), 0);
    assert_eq!(place.says(&["job", "show", "j"]).code(), 2);
}

#[test]
fn a_job_whose_input_had_not_ended_says_so_and_takes_the_rest() {
    let place = Place::new();
    let mut command = place.command(&["run", "--name", "j", "--", "echo", "got", "{}"]);
    command.stdin(Stdio::piped());
    let mut client = Client::start(command);
    let mut stdin = client.child.stdin.take().expect("piped");
    stdin.write_all(b"one\ntwo\n").expect("it reads");
    assert!(client.hears() && client.hears());
    client.kill();
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 7, "{}", said.stderr);
    assert!(said.stderr.contains("number 2, 'two'"), "{}", said.stderr);
    assert!(said.stderr.contains("rsp resume j --stdin"), "{}", said.stderr);
    assert_eq!(place.show("j")["state"], "stopped");
    let said = finish(place.command(&["resume", "j", "--stdin"]), b"three\nfour\n");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert!(
        said.sorted().ends_with(&["got three".into()]) && said.text().contains("got four"),
        "{}",
        said.text()
    );
    assert_eq!(place.results("j").len(), 4);
    assert_eq!(place.show("j")["state"], "done");
    // Now it has ended: there is nothing to take, and nothing to do.
    assert_eq!(finish(place.command(&["resume", "j", "--stdin"]), b"five\n").code(), 2);
    let said = place.says(&["resume", "j"]);
    assert_eq!((said.code(), said.text().as_str()), (0, ""), "{}", said.stderr);
}

#[test]
fn the_rest_of_the_input_is_taken_in_whole_where_outputs_depend_on_values() {
    let place = Place::new();
    let words = ["run", "--name", "j", "--output", "{}.png", "--", "sh", "-c", "echo $0 > $0.png", "{}"];
    let said = finish(place.command(&words), b"a\nb\nc\nd\ne\n");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    place.ended_behind("j", 2);
    for name in ["c.png", "d.png", "e.png"] {
        std::fs::remove_file(place.path(name)).expect("it landed");
    }
    // What is in the way of an output of a former life is found, too.
    let said = finish(place.command(&["resume", "j", "--stdin"]), b"c\nd\nb\n");
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("tasks 2 and 5 would both land at b.png"), "{}", said.stderr);

    let said = finish(place.command(&["resume", "j", "--stdin"]), b"c\nd\ne\n");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    for value in ["a", "b", "c", "d", "e"] {
        let landed = std::fs::read_to_string(place.path(&format!("{value}.png")));
        assert_eq!(landed.expect("it landed"), format!("{value}\n"));
    }
    let results = place.results("j");
    assert_eq!((results.len(), &results[&3]["values"][0]), (5, &"c".into()));
}

#[test]
fn the_files_of_a_job_are_those_it_was_begun_with_whatever_is_there_when_it_goes_on() {
    let place = Place::new();
    std::fs::create_dir(place.path("in")).expect("writable");
    let write = |name: &str| std::fs::write(place.path(&format!("in/{name}")), name).expect("writable");
    ["b", "d", "f", "h"].into_iter().for_each(write);
    let words = [
        "run", "--name", "j", "--each", "in/*", "--output", "{in}.out", "--", "cp", "{in}", "{in}.out",
        ":::", "x",
    ];
    let said = place.says(&words);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    place.ended_behind("j", 2);
    // What is over is gone, what comes is before, between and behind what is left, and outputs landed among the inputs.
    for name in ["b", "d", "f.out", "h.out"] {
        std::fs::remove_file(place.path(&format!("in/{name}"))).expect("it was there");
    }
    ["a", "g", "z"].into_iter().for_each(write);
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let values: Vec<_> = place.results("j").into_values().map(|result| result["values"][1].clone()).collect();
    assert_eq!(values, ["in/b", "in/d", "in/f", "in/h"]);
    assert_eq!(std::fs::read_to_string(place.path("in/h.out")).expect("it landed"), "h");

    // One that is gone before it was taken is told, and nothing is passed over in silence.
    place.ended_behind("j", 2);
    std::fs::remove_file(place.path("in/f")).expect("it was there");
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("task 3 cannot be submitted: input in/f"), "{}", said.stderr);
    // A job that does not know its files any more says what to do.
    std::fs::remove_file(place.path("state/jobs/j/each")).expect("it was there");
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("jobs/j/each") && said.stderr.contains("rsp run"), "{}", said.stderr);
}

#[test]
fn a_job_does_not_go_on_with_other_shared_files_than_it_was_begun_with_unless_its_failures_are_tried_again() {
    let place = Place::new();
    std::fs::create_dir(place.path("env")).expect("writable");
    let write = |name: &str, text: &str| std::fs::write(place.path(name), text).expect("writable");
    write("shared", "1");
    write("env/tool", "1");
    let task = "cat shared $RSP_ENV/tool; echo; [ $1 != 4 ] || grep -q 2 shared";
    let said = place.says(&[
        "run", "--name", "j", "--input", "shared", "--env", "env", "--", "sh", "-c", task, "x", ":::", "1",
        "2", "3", "4",
    ]);
    assert_eq!((said.code(), said.sorted()), (1, vec!["11".to_owned(); 4]), "{}", said.stderr);
    let journal = place.path("state/jobs/j/journal");
    let whole = std::fs::read(&journal).expect("there");
    place.ended_behind("j", 2);
    for (name, shown) in [("shared", "shared"), ("env/tool", "env")] {
        write(name, "2");
        let said = place.says(&["resume", "j"]);
        assert_eq!(said.code(), 2, "{}", said.stderr);
        let why = format!("{shown} is not what it was when job 'j' was begun");
        assert!(said.stderr.contains(&why), "{}", said.stderr);
        write(name, "1");
    }
    let said = place.says(&["resume", "j"]);
    assert_eq!((said.code(), said.sorted()), (1, vec!["11".to_owned(); 4]), "{}", said.stderr);

    // Whoever mended what a task failed by tries it again.
    std::fs::write(journal, whole).expect("writable");
    write("shared", "2");
    let said = place.says(&["retry", "j"]);
    assert_eq!((said.code(), said.sorted()), (0, vec!["21".to_owned()]), "{}", said.stderr);
    // That is what it goes on with from then on.
    place.ended_behind("j", 3);
    let said = place.says(&["resume", "j"]);
    assert_eq!((said.code(), said.sorted().pop().as_deref()), (0, Some("21")), "{}", said.stderr);
}

#[test]
fn a_folder_that_is_no_job_is_nobodys_to_take() {
    let place = Place::new();
    let theirs = place.path("state/jobs/j/outputs/theirs");
    std::fs::create_dir_all(theirs.parent().expect("below")).expect("writable");
    std::fs::write(&theirs, "precious").expect("writable");
    let said = place.says(&["run", "--name", "j", "--", "true", ":::", "1"]);
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(theirs).expect("still there"), "precious");
}

#[test]
fn what_is_behind_the_readable_part_of_a_journal_is_told() {
    let place = Place::new();
    let said = place.says(&["run", "--name", "j", "--", "echo", ":::", "1", "2"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let journal = place.path("state/jobs/j/journal");
    let mut octets = std::fs::read(&journal).expect("there");
    let last = octets.len() - 1;
    octets[last] ^= 1;
    std::fs::write(&journal, octets).expect("writable");
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert!(said.stderr.contains("the journal of job j can be read up to octet"), "{}", said.stderr);
}

#[test]
fn a_job_goes_on_wherever_that_is_said_with_its_state_at_a_relative_path() {
    let place = Place::new();
    let at = |folder: &str, words: &[&str], state: &str| {
        std::fs::create_dir_all(place.path(folder)).expect("writable");
        let mut command = rsp();
        command.args(words).env("RSP_STATE_DIR", state).current_dir(place.path(folder));
        finish(command, b"")
    };
    let said =
        at("a", &["run", "--name", "j", "--", "sh", "-c", "[ -e ok ] && echo x", "x", ":::", "1"], "here");
    assert_eq!(said.code(), 1, "{}", said.stderr);
    std::fs::write(place.path("a/ok"), "").expect("writable");
    let said = at("b", &["retry", "j"], "../a/here");
    assert_eq!((said.code(), said.text().trim()), (0, "x"), "{}", said.stderr);
}

#[test]
fn a_job_whose_input_had_ended_needs_only_the_files_of_what_is_left() {
    let place = Place::new();
    std::fs::create_dir(place.path("in")).expect("writable");
    for name in ["a", "b", "c"] {
        std::fs::write(place.path(&format!("in/{name}")), name).expect("writable");
    }
    let task = place.noted("[ $RSP_TASK != 2 ] || [ -e mended ]");
    let said = place.says(&["run", "--name", "j", "--each", "in/*", "--", "sh", "-c", &task, "x", "{in}"]);
    assert_eq!(said.code(), 1, "{}", said.stderr);
    std::fs::write(place.path("mended"), "").expect("writable");
    std::fs::rename(place.path("in"), place.path("old")).expect("writable");
    // It is the task's own file that is missed, not the others.
    let said = place.says(&["retry", "j"]);
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("task 2 cannot be submitted: input in/b"), "{}", said.stderr);
    std::fs::create_dir(place.path("in")).expect("writable");
    std::fs::rename(place.path("old/b"), place.path("in/b")).expect("writable");
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert_eq!((place.results("j").len(), place.show("j")["failed"].as_u64()), (3, Some(0)));
}

#[test]
fn outputs_named_by_values_of_standard_input_hinder_no_later_life() {
    let place = Place::new();
    let task = format!("[ $1 != 2 ] || [ -e {} ] && : > $1", place.path("mended").display());
    let words = ["run", "--name", "j", "--output", "{}", "--", "sh", "-c", &task, "x", "{}"];
    let said = finish(place.command(&words), b"1\n2\n3\n");
    assert_eq!(said.code(), 1, "{}", said.stderr);
    std::fs::write(place.path("mended"), "").expect("writable");
    let said = place.says(&["retry", "j"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert!(place.path("2").exists());
}

#[test]
fn only_failed_tasks_are_tried_again_and_explained_with_their_last_words() {
    let place = Place::new();
    let task = place.noted("[ $1 != 2 ] || [ -e mended ] || { echo broken part >&2; exit 3; }; echo ok $1");
    let said = place.says(&["run", "--name", "j", "--", "sh", "-c", &task, "x", "{}", ":::", "1", "2", "3"]);
    assert_eq!(said.code(), 1);
    assert!(said.stderr.contains("rsp explain j") && said.stderr.contains("rsp retry j"), "{}", said.stderr);

    let said = place.says(&["explain", "j/2"]);
    let text = said.text();
    for part in ["task 2 of job j is failed", "exit status 3", "broken part", "next: ", "rsp retry j"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let said = place.says(&["explain", "j", "--json"]);
    let told: Value = serde_json::from_str(&said.text()).expect("JSON");
    assert_eq!((&told["schema"], &told["state"]), (&"rsp.explanation/1".into(), &"failed".into()));
    assert_eq!(told["failures"][0]["why"], "exit status 3");
    assert_eq!(place.says(&["job", "logs", "j/2"]).text(), "broken part\n");
    assert_eq!(place.says(&["explain", "j/9"]).code(), 2);

    std::fs::write(place.path("mended"), "").expect("writable");
    let said = place.says(&["retry", "j"]);
    assert_eq!((said.code(), said.text().as_str()), (0, "ok 2\n"), "{}", said.stderr);
    let runs: Vec<_> = place.ledger().into_iter().map(|(task, attempts)| (task, attempts.len())).collect();
    assert_eq!(runs, [(1, 1), (2, 2), (3, 1)]);
    let results = place.results("j");
    assert_eq!(results[&2]["stdout"], "ok 2\n");
    assert_eq!((results.len(), place.show("j")["failed"].as_u64()), (3, Some(0)));
    let said = place.says(&["retry", "j"]);
    assert!(said.code() == 0 && said.stderr.contains("no task of job j has failed"), "{}", said.stderr);
    assert!(place.says(&["explain", "j/2"]).text().contains("task 2 of job j is done"));
    assert!(place.says(&["job", "ls"]).text().contains("j"));
}

#[test]
fn a_job_without_workers_is_explained_while_it_waits() {
    let place = Place::new();
    let client = Client::start(
        place.command(&["run", "--name", "j", "--pool", "nobody", "--", "true", ":::", "1", "2"]),
    );
    appears(&place.path("state/jobs/j/status.json"));
    let begun = std::time::Instant::now();
    loop {
        let text = place.says(&["explain", "j"]).text();
        // It is read again and again, so at first its tasks may still be on their way into the journal.
        if text.contains("nobody serves in pool 'nobody'") && text.contains(" 0 of 2") {
            assert!(text.contains("job j is running: 0 of 2"), "{text}");
            assert!(text.contains("next: start a worker"), "{text}");
            break;
        }
        assert!(begun.elapsed() < BOUND, "{text}");
    }
    client.kill();
    let text = place.says(&["explain", "j/1"]).text();
    assert!(text.contains("nobody works on the job") && text.contains("next: rsp resume j"), "{text}");
    assert!(text.contains("its client ended before it was over: it was killed, or its machine"), "{text}");
    // Whoever could say why it ends is believed.
    let said = place.says(&["resume", "j", "--patience", "0"]);
    assert_eq!(said.code(), 4, "{}", said.stderr);
    for job in ["j", "j/1"] {
        let text = place.says(&["explain", job]).text();
        assert!(text.contains("its client ended before it was over: status 4: "), "{text}");
        assert!(text.contains("pool 'nobody'"), "{text}");
    }
}

#[test]
fn order_is_kept_over_the_lives_of_a_client() {
    let place = Place::new();
    // Task 1 waits until it may go, so all others wait for their turn.
    let task = place.noted("while [ $1 = 1 ] && ! [ -e go ]; do :; done; echo $1");
    let words =
        ["run", "-k", "--name", "j", "--", "sh", "-c", &task, "x", "{}", ":::", "1", "2", "3", "4", "5"];
    let client = Client::start(place.command(&words));
    // What runs is in the journal.
    appears(&place.path("ledger"));
    let begun = std::time::Instant::now();
    while place.show("j")["done"] != 4 {
        assert!(begun.elapsed() < BOUND, "the others do not end");
    }
    assert_eq!(client.kill(), [""; 0]);
    std::fs::write(place.path("go"), "").expect("writable");
    let said = place.says(&["resume"]);
    assert_eq!((said.code(), said.text().as_str()), (0, "1\n2\n3\n4\n5\n"), "{}", said.stderr);
}

#[test]
fn large_outputs_survive_their_client() {
    let place = Place::new();
    let task = place
        .noted("head -c 1000000 /dev/zero | tr '\\0' $1; echo; [ $1 != c ] || while ! [ -e go ]; do :; done");
    let client = Client::start(
        place.command(&["run", "--name", "j", "--", "sh", "-c", &task, "x", "{}", ":::", "a", "b", "c"]),
    );
    // What runs is in the journal.
    appears(&place.path("ledger"));
    let begun = std::time::Instant::now();
    while place.show("j")["done"] != 2 {
        assert!(begun.elapsed() < BOUND, "the others do not end");
    }
    let before = client.kill();
    std::fs::write(place.path("go"), "").expect("writable");
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let mut all = before;
    all.extend(said.text().lines().map(str::to_owned));
    let expected = ["a", "b", "c"].map(|letter| letter.repeat(1_000_000));
    // What was cut in the middle of a line by the kill is printed again as a whole.
    let whole: BTreeSet<_> = all.into_iter().filter(|line| line.len() == 1_000_000).collect();
    assert_eq!(whole, BTreeSet::from(expected.clone()));
    let said = place.says(&["job", "results", "j"]);
    assert_eq!(said.sorted(), expected);
}

#[test]
fn a_full_disk_stops_the_job_politely_and_it_goes_on_when_there_is_room() {
    let place = Place::new();
    std::fs::create_dir(place.path("small")).expect("writable");
    // In namespaces of its own, so that nobody else sees the little file system, and no rights are needed.
    let text = "mount -t tmpfs -o size=400k tmpfs small || exit 77
        export RSP_STATE_DIR=$PWD/small
        seq 200 | $RSP run --name j -- sh -c 'head -c 3000 /dev/zero | tr \"\\0\" x; echo $1' x {} >first; echo $?
        mount -o remount,size=20m small
        $RSP resume j >second </dev/null; echo $?
        $RSP job results j --json >results; echo $?";
    let mut command = Command::new("unshare");
    command
        .args(["--map-root-user", "--mount", "sh", "-c", text])
        .env("RSP", env!("CARGO_BIN_EXE_rsp"))
        .env("RSP_REGISTRAR", place.registrar.asap().to_string())
        .current_dir(place.folder.path());
    let said = finish(command, b"");
    if said.code() == 77 || said.stderr.contains("unshare") {
        println!("no namespaces here, so no full disk: {}", said.stderr);
        return;
    }
    let codes: Vec<_> = said.text().lines().map(str::to_owned).collect();
    assert_eq!(codes[0], "6", "{}", said.stderr);
    assert!(said.stderr.contains("cannot write the journal of job 'j': No space left"), "{}", said.stderr);
    assert!(said.stderr.contains("go on with `rsp resume j`"), "{}", said.stderr);
    // How far the input was read decides whether it is known to the end.
    let results = std::fs::read_to_string(place.path("results")).expect("written");
    assert!(codes[1] == "0" || codes[1] == "7", "{codes:?}: {}", said.stderr);
    let tasks: Vec<u64> = results
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["task"].as_u64().expect("a number"))
        .collect();
    let once: BTreeSet<_> = tasks.iter().collect();
    assert_eq!(once.len(), tasks.len(), "each once");
    assert!(tasks.len() > 80, "{} tasks", tasks.len());
    let printed = ["first", "second"].map(|name| std::fs::read_to_string(place.path(name)).expect("written"));
    let lines: BTreeSet<_> = printed.iter().flat_map(|text| text.lines()).map(|line| &line[3000..]).collect();
    assert_eq!(lines.len(), tasks.len());
}

#[test]
fn of_a_job_that_has_just_begun_nothing_is_known_yet() {
    let place = Place::new();
    let folder = place.path("state/jobs/j");
    std::fs::create_dir_all(&folder).expect("a folder");
    // Its client has the lock, and the journal is about to come.
    let owner = std::fs::File::create(folder.join("owner")).expect("a file");
    owner.lock().expect("nobody else has it");
    std::fs::write(folder.join("owner"), format!("{} here\n", std::process::id())).expect("writable");
    std::fs::write(folder.join("journal"), "").expect("writable");
    for words in [&["job", "show", "j"][..], &["explain", "j"], &["job", "results", "j"]] {
        let said = place.says(words);
        let right = "rsp: job 'j' has just begun, and nothing is known of it yet; ask again in a moment\n";
        assert_eq!((said.code(), said.stderr.as_str()), (1, right), "{words:?}");
    }
    let said = place.says(&["job", "ls"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert!(said.stderr.contains("'j' has just begun"), "{}", said.stderr);
    // Neither another job of its name nor who clears up takes its place.
    assert_eq!(place.says(&["run", "--name", "j", "--", "true", ":::", "1"]).code(), 2);
    assert_eq!(place.says(&["job", "rm", "--finished"]).code(), 0);
    assert!(folder.join("journal").exists());
}

#[test]
fn what_a_client_leaves_that_was_killed_before_its_job_began_is_no_job() {
    let place = Place::new();
    let run = |name: &str| place.says(&["run", "--name", name, "--", "echo", "{}", ":::", "1"]);
    assert_eq!(run("real").code(), 0);
    let header = std::fs::read(place.path("state/jobs/real/journal")).expect("there");
    // It had come so far with its folder.
    let leave = |name: &str, files: &[(&str, &[u8])]| {
        let folder = place.path("state/jobs").join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        for (file, octets) in files {
            std::fs::write(folder.join(file), octets).expect("writable");
        }
    };
    let owner: (&str, &[u8]) = ("owner", b"1 here\n");
    leave("a", &[]);
    leave("b", &[owner, ("made", b""), ("outputs", b"")]);
    leave("c", &[owner, ("made", b""), ("outputs", b""), ("journal", b"")]);
    leave("d", &[owner, ("made", b""), ("outputs", b""), ("journal", &header[..60])]);

    let said = place.says(&["job", "ls"]);
    assert_eq!((said.code(), said.stderr.as_str()), (0, ""));
    assert_eq!(said.text().lines().count(), 2, "{}", said.text());
    assert_eq!(place.show("last")["name"], "real");
    for name in ["a", "b", "c", "d"] {
        let said = place.says(&["job", "show", name]);
        assert!(said.code() == 2 && said.stderr.contains("there is no job"), "{name}: {}", said.stderr);
        let said = run(name);
        assert_eq!((said.code(), said.text().as_str()), (0, "1\n"), "{name}: {}", said.stderr);
        assert_eq!(place.results(name).len(), 1);
    }
    // Whoever clears up takes such folders along.
    leave("e", &[owner, ("made", b""), ("outputs", b""), ("journal", b"")]);
    assert_eq!(place.says(&["job", "rm", "--finished"]).code(), 0);
    assert_eq!(std::fs::read_dir(place.path("state/jobs")).expect("a folder").count(), 0);
}

#[test]
fn a_job_without_failures_goes_on_by_retry_with_what_is_left() {
    let place = Place::new();
    let task = place.noted("while ! [ -e go ]; do :; done; echo done $1");
    let words = ["run", "--name", "j", "--", "sh", "-c", &task, "x", "{}", ":::", "a", "b"];
    let client = Client::start(place.command(&words));
    appears(&place.path("ledger"));
    client.kill();
    std::fs::write(place.path("go"), "").expect("writable");
    let said = place.says(&["retry", "j"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert_eq!(said.sorted(), ["done a", "done b"], "{}", said.stderr);
    assert_eq!(place.show("j")["state"], "done");
    let said = place.says(&["retry", "j"]);
    assert_eq!((said.code(), said.stderr.as_str()), (0, "no task of job j has failed\n"));
}

#[test]
fn who_cancels_a_job_is_told_that_its_client_does_not_answer() {
    let place = Place::new();
    let task = place.noted("while ! [ -e go ]; do :; done");
    let client = Client::start(place.command(&["run", "--name", "j", "--", "sh", "-c", &task, ":::", "1"]));
    appears(&place.path("ledger"));
    let pid = Pid::from_child(&client.child);
    kill_process(pid, Signal::STOP).expect("it runs");
    let said = place.says(&["job", "cancel", "j"]);
    kill_process(pid, Signal::CONT).expect("it is there");
    assert_eq!(said.code(), 8, "{}", said.stderr);
    let pid = client.child.id();
    for part in [format!("process {pid}"), "does not answer".into(), format!("kill -CONT {pid}")] {
        assert!(said.stderr.contains(&part), "{part}: {}", said.stderr);
    }
    // It does what it was asked for as soon as it can.
    let (code, _, stderr) = client.end();
    assert_eq!(code, Some(9), "{stderr}");
    assert_eq!(place.says(&["job", "cancel", "j"]).code(), 0);
    assert_eq!(place.show("j")["state"], "cancelled");
}

#[test]
fn a_task_that_is_not_there_has_no_results_and_no_logs() {
    let place = Place::new();
    assert_eq!(place.says(&["run", "--name", "j", "--", "echo", "{}", ":::", "1", "2"]).code(), 0);
    for words in [&["job", "results"][..], &["job", "logs"], &["explain"]] {
        for task in ["j/0", "j/3"] {
            let said = place.says(&[words, &[task]].concat());
            assert_eq!(said.code(), 2, "{words:?} {task}: {}", said.stderr);
            assert!(said.stderr.contains("its tasks are 1 to 2"), "{words:?} {task}: {}", said.stderr);
        }
        assert_eq!(place.says(&[words, &["j/2"]].concat()).code(), 0, "{words:?}");
    }
}

#[test]
fn values_of_the_command_line_are_not_asked_for_once_more() {
    let place = Place::new();
    let said = place.says(&["run", "--name", "j", "--", "echo", "{}", ":::", "1", "2", "3"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    // As if it had been killed between its first record and its first task.
    let journal = place.path("state/jobs/j/journal");
    let whole = std::fs::read(&journal).expect("there");
    let begins = (0..whole.len()).rev().find(|cut| {
        std::fs::write(&journal, &whole[..*cut]).expect("writable");
        let said = place.says(&["job", "show", "j", "--json"]);
        said.text().contains("\"tasks\":0,")
    });
    assert!(begins.is_some());
    let text = place.says(&["explain", "j"]).text();
    assert!(text.contains("next: rsp resume j") && !text.contains("--stdin"), "{text}");
    for verb in ["resume", "retry"] {
        let said = finish(place.command(&[verb, "j", "--stdin"]), b"4\n");
        assert!(said.code() == 2 && said.stderr.contains("command line"), "{verb}: {}", said.stderr);
    }
    let said = place.says(&["resume", "j"]);
    assert_eq!((said.code(), said.sorted()), (0, ["1", "2", "3"].map(str::to_owned).to_vec()));
}

#[test]
fn the_rest_of_values_that_end_with_nul_is_cut_off_at_nul() {
    let place = Place::new();
    let mut command = place.command(&["run", "-0", "--name", "j", "--", "echo", "got", "{}"]);
    command.stdin(Stdio::piped());
    let mut client = Client::start(command);
    let mut stdin = client.child.stdin.take().expect("piped");
    stdin.write_all(b"one\0two\0").expect("it reads");
    assert!(client.hears() && client.hears());
    client.kill();
    let said = place.says(&["resume", "j"]);
    assert_eq!(said.code(), 7, "{}", said.stderr);
    assert!(said.stderr.contains("tail -z -n +3 FILE | rsp resume j --stdin"), "{}", said.stderr);
    assert!(place.says(&["explain", "j"]).text().contains("rsp resume j --stdin"));
}

#[test]
fn the_command_of_a_task_can_be_pasted_into_a_shell() {
    let place = Place::new();
    let value = "it's $HOME `id` \"x\" \\ * ~ #\n&;";
    let script = "printf %s \"$1\"; exit 3";
    let said = place.says(&["run", "--name", "j", "--", "sh", "-c", script, "x", "{}", ":::", value]);
    assert_eq!(said.code(), 1, "{}", said.stderr);
    let told: Value = serde_json::from_str(&place.says(&["explain", "j/1", "--json"]).text()).expect("JSON");
    let command = told["command"].as_str().expect("text");
    let mut shell = Command::new("sh");
    shell.args(["-c", command]);
    let said = finish(shell, b"");
    assert_eq!((said.code(), said.text().as_str()), (3, value), "{command}: {}", said.stderr);
    let text = place.says(&["explain", "j/1"]).text();
    assert!(text.contains(&format!("try it here: {command}; then rsp retry j")), "{text}");
    assert!(text.contains(&format!("command: {command}\n")), "{text}");
}

#[test]
fn the_list_of_jobs_is_as_wide_as_it_has_to_be_and_may_be_cut_off() {
    let place = Place::new();
    let long = "x".repeat(500);
    assert_eq!(place.says(&["run", "--name", "j", "--", "true", &long, ":::", "1"]).code(), 0);
    assert_eq!(place.says(&["run", "--name", "k", "--", "true", ":::", "1"]).code(), 0);
    let text = place.says(&["job", "ls"]).text();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.iter().all(|line| line.chars().count() < 140 && !line.ends_with(' ')), "{text}");
    assert!(lines[1].ends_with('…') && lines[2].ends_with("true"), "{text}");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = place.command(&["job", "ls"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).output().expect("starts");
    let right = "rsp: standard output was closed by its reader\n";
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(6), right));
}

#[test]
fn a_journal_torn_anywhere_is_read_as_far_as_it_is_whole() {
    let place = Place::new();
    let said = place.says(&["run", "--name", "j", "--", "echo", "{}", ":::", "1", "2", "3", "4"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let journal = place.path("state/jobs/j/journal");
    let whole = std::fs::read(&journal).expect("there");
    let full = place.show("j");
    assert_eq!((&full["done"], &full["left"]), (&4.into(), &0.into()));
    // (That every octet is such a place is tried where the journal is made: here, some with the whole program.)
    let mut done = u64::MAX;
    let mut begins = whole.len();
    for cut in (0..whole.len()).rev().step_by(41) {
        std::fs::write(&journal, &whole[..cut]).expect("writable");
        let said = place.says(&["job", "show", "j", "--json"]);
        if said.code() != 0 {
            assert!(said.stderr.contains("there is no job"), "cut at {cut}: {}", said.stderr);
            continue;
        }
        begins = cut;
        let now =
            serde_json::from_str::<Value>(&said.text()).expect("JSON")["done"].as_u64().expect("a number");
        assert!(now <= done, "cut at {cut}");
        done = now;
    }
    assert_eq!(done, 0);
    for cut in [begins, (begins + whole.len()) / 2, whole.len() - 3] {
        std::fs::write(&journal, &whole[..cut]).expect("writable");
        let said = place.says(&["resume", "j"]);
        assert_eq!(said.code(), 0, "cut at {cut}: {}", said.stderr);
        assert_eq!(place.results("j").len(), 4, "cut at {cut}");
    }
}

#[test]
fn a_command_line_of_more_than_a_mebibyte_makes_a_job_as_any_other() {
    let place = Place::new();
    // 1.2 MB in few tasks.
    let values: Vec<String> = ('a'..='l').map(|letter| letter.to_string().repeat(100_000)).collect();
    let mut words = vec!["run", "--name", "j", "--call", "--", "echo", ":::"];
    words.extend(values.iter().map(String::as_str));
    let said = place.says(&words);
    assert_eq!((said.code(), said.sorted() == values), (0, true), "{}", said.stderr);
    assert_eq!((place.says(&["resume", "j"]).code(), place.results("j").len()), (0, values.len()));
    assert_eq!(place.says(&["job", "ls"]).code(), 0);
}

#[test]
fn a_job_that_cannot_begin_leaves_no_folder() {
    let place = Place::new();
    let said =
        place.says(&["run", "--registrar", "sctp://127.0.0.1:1", "--sctp", "off", "--", "true", ":::", "1"]);
    assert_eq!(said.code(), 2, "{}", said.stderr);
    assert_eq!(std::fs::read_dir(place.path("state/jobs")).map_or(0, Iterator::count), 0);
    let said = place.says(&["job", "ls"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
}

#[test]
fn what_is_no_job_is_one_clear_line() {
    let place = Place::new();
    for words in [&["resume"][..], &["resume", "nothing"], &["job", "show", "../x"], &["explain", "x/y"]] {
        let said = place.says(words);
        assert_eq!(said.code(), 2, "{words:?}: {}", said.stderr);
        assert_eq!(said.stderr.lines().count(), 1, "{words:?}: {}", said.stderr);
    }
    let said = place.says(&["run", "--name", "j", "--", "true", ":::", "1"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let said = place.says(&["run", "--name", "j", "--", "true", ":::", "1"]);
    assert!(said.code() == 2 && said.stderr.contains("rsp resume j"), "{}", said.stderr);
    assert!(!state_dir().join("jobs/j").exists(), "it is kept where it should be");
}
