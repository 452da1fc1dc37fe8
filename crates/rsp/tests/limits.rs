//! What tasks need and how far they may go, by the options of `rsp run`: with real processes.

mod common;

use common::{Said, Server, ends, finish, processes_with, rsp, run};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

/// Runs `rsp run` on this registrar's pool.
fn on(registrar: &Server, options: &[&str], words: &[&str]) -> Said {
    let at = registrar.asap().to_string();
    run([&["run", "--registrar", &at][..], options, &["--"], words].concat())
}

/// A command whose first execution stops itself (SIGSTOP) and whose second one says so.
fn stops_once(mark: &std::path::Path) -> Vec<String> {
    let script = "[ -e \"$1\" ] && echo rescued || { : >\"$1\"; kill -STOP $$; }";
    ["sh", "-c", script, "sh"].map(str::to_owned).into_iter().chain([mark.display().to_string()]).collect()
}

#[test]
fn a_task_goes_to_the_worker_that_has_what_it_needs_and_a_need_that_nobody_meets_is_said() {
    let registrar = Server::registrar(&[]);
    let plain = Server::worker(&registrar, &["--id", "beef"]);
    let equipped = Server::worker(&registrar, &["--id", "c0ffee", "--resource", "gpu=1", "--tag", "ssd"]);
    assert!(equipped.serving.contains("with 1 slots and gpu=1 tag:ssd"), "{}", equipped.serving);
    let met =
        on(&registrar, &["--json", "--need", "gpu", "--need", "tag:ssd"], &["true", ":::", "1", "2", "3"]);
    assert_eq!(met.code(), 0, "{}", met.stderr);
    let text = met.text();
    assert_eq!(text.matches("\"worker\":\"00c0ffee\"").count(), 3, "{text}");

    let unmet = on(&registrar, &["--patience", "2", "--need", "gpu=2"], &["true", ":::", "x"]);
    assert_eq!(unmet.code(), 4, "{}", unmet.stderr);
    let reason = "1 tasks need gpu=2: none of 2 workers of pool 'compute' has gpu=2 (at most 1)";
    assert!(unmet.stderr.contains(&format!("{reason}; waiting up to 2 s (--patience)")), "{}", unmet.stderr);
    let cure = "start one that has it: rsp worker --pool compute with --resource NAME=AMOUNT or --tag NAME";
    assert!(unmet.stderr.contains(&format!("{reason}; {cure}")), "{}", unmet.stderr);
    drop(plain);
}

#[test]
fn a_private_pool_is_not_asked_for_what_it_cannot_have() {
    let said = run(["run", "--need", "gpu", "--", "true", ":::", "x"]);
    assert_eq!(said.code(), 3, "{}", said.stderr);
    assert!(
        said.stderr.contains("nothing that --need could ask for; start `rsp registrar`"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_stopped_task_on_a_healthy_worker_is_rescued_by_its_timeout() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = stops_once(&folder.path().join("mark"));
    let options = ["run", "--timeout", "1", "--retries", "1", "--"].map(str::to_owned);
    let said = run(options.into_iter().chain(words).chain([":::".into(), "x".into()]));
    assert_eq!((said.code(), said.text()), (0, "rescued\n".to_owned()), "{}", said.stderr);
    assert!(
        said.stderr.contains("ran longer than allowed (--timeout); it is tried again"),
        "{}",
        said.stderr
    );

    let never = run(["run", "--json", "--timeout", "1", "--", "sh", "-c", "kill -STOP $$", ":::", "x"]);
    assert_eq!(never.code(), 1, "{}", never.stderr);
    assert!(never.text().contains("\"status\":\"timeout\""), "{}", never.text());
}

#[test]
fn a_stopped_task_is_overtaken_by_a_backup_if_it_may_run_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let registrar = Server::registrar(&[]);
    let _workers = [Server::worker(&registrar, &[]), Server::worker(&registrar, &[])];
    // Only the last task stops itself: what the others took tells how long is long.
    let script = "[ $2 != 4 ] || [ -e \"$1\" ] && echo $2 || { : >\"$1\"; kill -STOP $$; }";
    let mark = folder.path().join("mark").display().to_string();
    let words = ["sh", "-c", script, "sh", &mark, ":::", "1", "2", "3", "4"];
    let said = on(&registrar, &["--backups", "idempotent"], &words);
    assert_eq!(
        (said.code(), said.sorted()),
        (0, ["1", "2", "3", "4"].map(Into::into).into()),
        "{}",
        said.stderr
    );
}

#[test]
fn a_task_that_uses_too_much_memory_is_ended_with_all_its_processes_and_told_so() {
    let word = format!("greedy-{}", std::process::id());
    // The shell itself is small: it is the sum that counts.
    let script = "head -c 1000000000 /dev/zero | tail; sleep 1000";
    let said =
        run(["run", "--json", "--memory", "64M", "--nice", "5", "--", "sh", "-c", script, &word, ":::", "x"]);
    assert_eq!(said.code(), 1, "{}", said.stderr);
    assert!(said.text().contains("\"status\":\"memory\""), "{}", said.text());
    assert!(said.stderr.contains("used more than 64MiB of memory (--memory)"), "{}", said.stderr);
    processes_with(&word).into_iter().for_each(|pid| assert!(ends(pid), "it goes on"));
}

#[test]
fn a_task_steps_back_as_far_as_it_is_told() {
    let script = "cut -d' ' -f19 /proc/self/stat";
    for nice in ["7", "19"] {
        let said = run(["run", "--nice", nice, "--", "sh", "-c", script, ":::", "x"]);
        let niceness = said.text().trim().parse().unwrap_or(-1);
        // Whoever runs the tests may step back further already.
        let ours = rustix::process::getpriority_process(None).expect("we run");
        assert_eq!(
            (said.code(), niceness),
            (0, ours.max(nice.parse().expect("a number"))),
            "{}",
            said.stderr
        );
    }
}

#[test]
fn a_worker_has_files_for_all_its_slots_and_its_tasks_have_as_many_as_it_was_given() {
    let registrar = Server::registrar(&[]);
    let mut worker = std::process::Command::new("bash");
    worker.args(["-c", "ulimit -Sn 64; exec \"$0\" \"$@\""]).arg(rsp().get_program());
    worker.args(["worker", "--slots", "50", "--registrar", &registrar.asap().to_string(), "--verbose"]);
    let _worker = Server::of(worker);
    // Each waits for all others: two outputs of each are open at once.
    let folder = tempfile::tempdir().expect("room");
    let begun = folder.path().join("begun");
    let task = "echo >>$1; until [ $(wc -l <$1) -ge 50 ]; do sleep 0.1; done; ulimit -Sn";
    let mut job = rsp();
    job.args(["run", "--registrar", &registrar.asap().to_string(), "--", "sh", "-c", task, "{}"]).arg(begun);
    job.arg(":::").args((0..50).map(|number| number.to_string()));
    let said = finish(job, b"");
    assert_eq!((said.code(), said.sorted()), (0, vec!["64".to_owned(); 50]), "{}", said.stderr);
}

#[test]
fn a_task_that_fails_is_tried_as_often_as_it_may_and_not_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = folder.path().join("ledger");
    let script = "echo $RSP_TASK >>\"$1\"; exit 9";
    let path = ledger.to_str().expect("text");
    let said = run(["run", "--json", "--retries", "2", "--", "sh", "-c", script, "sh", path, ":::", "x"]);
    assert_eq!(said.code(), 1, "{}", said.stderr);
    assert!(said.text().contains("\"attempts\":3,"), "{}", said.text());
    assert_eq!(said.stderr.matches("exit status 9; it is tried again").count(), 2, "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(ledger).expect("written"), "1\n1\n1\n");
}

#[test]
fn a_job_keeps_its_limits_in_its_next_life() {
    let folder = tempfile::tempdir().expect("a folder");
    let registrar = Server::registrar(&[]);
    let name = format!("limits-{}", std::process::id());
    let at = registrar.asap().to_string();
    let mut first = rsp();
    first.args(["run", "--registrar", &at, "--name", &name]);
    first.args(["--need", "gpu", "--timeout", "1", "--retries", "1", "--"]);
    first.args(stops_once(&folder.path().join("mark"))).args([":::", "x"]).stderr(Stdio::piped());
    let mut first = first.spawn().expect("starts");
    let lines = BufReader::new(first.stderr.take().expect("piped")).lines().map_while(Result::ok);
    assert!(lines.into_iter().any(|line| line.contains("nobody serves in pool 'compute'")));
    first.kill().expect("it runs");
    first.wait().expect("our child");

    let plain = Server::worker(&registrar, &[]);
    let unmet = run(["resume", &name, "--patience", "2"]);
    assert_eq!(unmet.code(), 4, "{}", unmet.stderr);
    assert!(unmet.stderr.contains("none of 1 workers of pool 'compute' has gpu=1"), "{}", unmet.stderr);
    let equipped = Server::worker(&registrar, &["--resource", "gpu=1"]);
    let said = run(["resume", &name]);
    assert_eq!((said.code(), said.text()), (0, "rescued\n".to_owned()), "{}", said.stderr);
    assert!(said.stderr.contains("(--timeout); it is tried again"), "{}", said.stderr);
    drop((plain, equipped));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_starts() {
    for (option, value, why) in [
        ("--need", "gpu=0", "an amount above 0"),
        ("--need", "GPU", "a name of 1 to 32"),
        ("--need", "tag:", "a name of 1 to 32"),
        ("--timeout", "0", "from 1s to 8760h is meant, such as 90s"),
        ("--timeout", "soon", "that is no time: write 90s, 15m or 2h"),
        ("--memory", "much", "an amount above 0"),
        ("--nice", "20", "write a whole number from 0 to 19"),
        ("--retries", "few", "write a whole number from 0 to 4294967295"),
        ("--backups", "always", "never, idempotent"),
    ] {
        let said = run(["run", option, value, "--", "true", ":::", "x"]);
        assert_eq!(said.code(), 2, "{option} {value}: {}", said.stderr);
        let first = said.stderr.lines().take(2).collect::<Vec<_>>().join(" ");
        assert!(first.contains(option) && first.contains(why), "{option} {value}: {}", said.stderr);
    }
    let twice = run(["run", "--need", "gpu", "--need", "gpu=2", "--", "true", ":::", "x"]);
    assert_eq!((twice.code(), twice.stderr.lines().count()), (2, 1), "{}", twice.stderr);
    assert!(twice.stderr.contains("--need gpu=2 must be given once only"), "{}", twice.stderr);
}
