//! `rsp run`: values, outputs, exit codes, and what is left behind (nothing).

mod common;

use common::{Said, Server, ends, finish, processes_with, rsp, run, wait};
use rustix::process::{Pid, Signal};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

fn run_in(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = rsp();
    command.args(arguments).current_dir(folder);
    finish(command, b"")
}

/// An executable script in this folder.
fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(path);
    file.as_mut().expect("writable").write_all(text.as_bytes()).expect("room");
}

#[test]
fn each_value_is_a_task_and_without_registrar_a_private_pool_does_it() {
    let said = run(["run", "--", "echo", "frame", "{}.png", ":::", "1", "2", "3"]);
    assert_eq!(said.sorted(), ["frame 1.png", "frame 2.png", "frame 3.png"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert_eq!(said.stderr.lines().count(), 2, "{}", said.stderr);
    assert!(said.stderr.contains("using a private one with"), "{}", said.stderr);
    assert!(said.stderr.contains("job echo-"), "{}", said.stderr);
    let said = run(["run", "--no-journal", "--", "echo", "{}", ":::", "1"]);
    assert_eq!((said.code(), said.text().as_str()), (0, "1\n"), "{}", said.stderr);
    assert!(!said.stderr.contains("job "), "{}", said.stderr);
}

#[test]
fn a_program_has_the_files_and_signals_of_whoever_ran_it_and_no_more() {
    let script = "cd /proc/self/fd; echo *; grep ^SigCgt /proc/self/status";
    // Signals 32 and 33 are the C library's own; that a child ended is never ignored.
    let ignored = "printf 'ignored %x\\n' $(( 0x$(sed -n 's/^SigIgn:[^0-9a-f]*//p' /proc/self/status) & ~0x180010000 ))";
    let script = format!("{script}; {ignored}");
    let mut direct = std::process::Command::new("sh");
    direct.args(["-c", &script]).stdin(Stdio::null());
    let direct = String::from_utf8(direct.output().expect("there is a shell").stdout).expect("text");
    let said = run(["run", "--no-journal", "--", "sh", "-c", &script, ":::", "1"]);
    assert_eq!(said.text(), direct, "{}", said.stderr);
    assert!(direct.contains("ignored"), "{direct}");
    let mut deaf = std::process::Command::new("sh");
    let words = ["-c", "trap '' HUP CHLD; exec \"$0\" run --no-journal -- sh -c \"$1\" ::: 1"];
    let script = format!("grep ^SigBlk /proc/self/status; {script}");
    deaf.args(words).arg(env!("CARGO_BIN_EXE_rsp")).arg(&script).stdin(Stdio::null());
    let said = finish(deaf, b"");
    assert!(said.text().starts_with("SigBlk:\t0000000000000000\n"), "nothing is blocked: {}", said.text());
    let ignored =
        said.text().lines().last().and_then(|line| line.strip_prefix("ignored ").map(str::to_owned));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(&mask, 16).ok()).unwrap_or_default();
    assert_eq!(ignored & 1, 1, "SIGHUP stays ignored: {}", said.text());
}

#[test]
fn who_leaves_out_the_dashes_or_the_command_is_told_where_it_belongs() {
    for words in [&["run"][..], &["run", "echo", "hi"], &["run", ":::", "1"], &["run", "--no-journal"]] {
        let said = run(words.iter().copied());
        assert_eq!((said.code(), said.stderr.lines().count()), (2, 1), "{}", said.stderr);
        assert!(said.stderr.contains("rsp run [OPTIONS] -- COMMAND"), "{}", said.stderr);
    }
    let said = run(["run", "--no-jornal", "--", "true"]);
    assert_eq!(said.code(), 2);
    assert!(said.stderr.contains("'--no-journal'"), "a slip has its own advice: {}", said.stderr);
}

#[test]
fn values_come_from_standard_input_by_line_or_by_nul() {
    let mut command = rsp();
    command.args(["run", "-k", "--", "printf", "[%s]\\n", "{}"]);
    assert_eq!(finish(command, b"a b\nc\n").text(), "[a b]\n[c]\n");
    let mut command = rsp();
    command.args(["run", "-k", "-0", "--", "printf", "[%s]\\n", "{}"]);
    assert_eq!(finish(command, b"a\nb\0c\0").text(), "[a\nb]\n[c]\n");
}

#[test]
fn keep_order_is_the_order_of_the_values_even_if_the_first_is_the_slowest() {
    let folder = tempfile::tempdir().expect("a folder");
    // The first task waits for what the last one makes, so that it ends last for certain.
    script(
        folder.path(),
        "task",
        "#!/bin/sh\nif [ \"$1\" = 1 ]; then while ! [ -e made ]; do :; done; fi\n[ \"$1\" = 4 ] && : > made\necho $1\n",
    );
    let said =
        run_in(folder.path(), &["run", "--keep-order", "--", "./task", "{}", ":::", "1", "2", "3", "4"]);
    assert_eq!(said.text(), "1\n2\n3\n4\n", "{}", said.stderr);
}

#[test]
fn a_task_runs_in_the_submitters_folder_with_empty_standard_input_and_knows_its_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().canonicalize().expect("there");
    let said =
        run_in(&path, &["run", "--", "sh", "-c", "pwd; wc -c; echo $RSP_TASK $RSP_ATTEMPT", ":::", "x"]);
    assert_eq!(said.text(), format!("{}\n0\n1 1\n", path.display()), "{}", said.stderr);
}

#[test]
fn outputs_are_whole_and_unchanged_whatever_their_size_and_octets() {
    // Each task writes 3 MB of one octet, in small pieces, on both outputs.
    let text = "import os\nfor _ in range(3000):\n  os.write(1, bytes([int(os.sys.argv[1])]) * 1000)\n  os.write(2, b'#')";
    let said = run(["run", "--", "python3", "-c", text, "{}", ":::", "0", "10", "200", "255"]);
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert_eq!(said.stdout.len(), 4 * 3_000_000);
    let mut seen: Vec<u8> = said.stdout.chunks(3_000_000).map(|task| task[0]).collect();
    assert!(said.stdout.chunks(3_000_000).all(|task| task.iter().all(|octet| *octet == task[0])), "mixed");
    seen.sort();
    assert_eq!(seen, [0, 10, 200, 255]);
    assert_eq!(said.stderr.matches('#').count(), 4 * 3000);
}

#[test]
fn json_tells_each_task_by_a_versioned_schema() {
    let said = run([
        "run",
        "--json",
        "-k",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit $1",
        "x",
        ":::",
        "0",
        "3",
    ]);
    assert_eq!(said.code(), 1);
    let lines: Vec<Value> =
        said.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    for (line, (status, code)) in lines.iter().zip([("ok", 0), ("exit", 3)]) {
        assert_eq!((&line["schema"], &line["status"]), (&"rsp.task/1".into(), &status.into()));
        assert_eq!(line["exit_code"], code);
        assert_eq!((&line["stdout"], &line["stderr"]), (&"out\n".into(), &"err\n".into()));
        assert_eq!(line["attempts"], 1);
        assert_eq!(line["argv"].as_array().map(Vec::len), Some(5));
    }
    assert_eq!(lines[1]["values"][0], "3");
}

#[test]
fn failed_tasks_are_named_with_their_reason_and_the_others_are_done() {
    let said = run([
        "run",
        "--",
        "sh",
        "-c",
        "echo $0; [ $0 != 9 ] || kill -9 $$; exit $0",
        "{}",
        ":::",
        "0",
        "3",
        "9",
    ]);
    assert_eq!(said.code(), 1);
    assert_eq!(said.sorted(), ["0", "3", "9"]);
    assert!(
        said.stderr.contains("exit status 3") && said.stderr.contains("ended by signal 9"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("2 of 3 tasks failed"), "{}", said.stderr);
}

#[test]
fn a_command_that_is_not_there_is_one_clear_line() {
    let said = run(["run", "--", "./no-such-program", ":::", "1"]);
    assert_eq!(said.code(), 1);
    assert!(said.stderr.contains("task 1 (./no-such-program 1): "), "{}", said.stderr);
    assert!(said.stderr.contains("command not found"), "{}", said.stderr);
}

#[test]
fn a_script_that_does_not_say_whose_it_is_is_the_shells() {
    let folder = tempfile::tempdir().expect("room");
    let script = folder.path().join("script");
    std::fs::write(&script, "echo \"$0 got $1\"").expect("ours");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let script = script.to_str().expect("a name of letters");
    let said = run(["run", "--", script, ":::", "x y"]);
    assert_eq!((said.code(), said.sorted()), (0, vec![format!("{script} got x y")]), "{}", said.stderr);
}

#[test]
fn a_private_pool_outlives_a_task_that_ends_its_workers() {
    let folder = tempfile::tempdir().expect("room");
    let poison = r#"
        [ $1 = poison ] || { echo $1; exit; }
        above=$$
        until tr '\0' ' ' </proc/$above/cmdline | grep -q ' worker '; do
            above=$(sed 's/.*) . //; s/ .*//' /proc/$above/stat)
        done
        kill -9 $above
        exec sleep 60
    "#;
    script(folder.path(), "task", &format!("#!/bin/sh{poison}"));
    let said = run_in(folder.path(), &["run", "--", "./task", "{}", ":::", "poison", "1", "2", "3"]);
    assert_eq!(
        (said.code(), said.sorted()),
        (1, ["1", "2", "3"].map(str::to_owned).to_vec()),
        "{}",
        said.stderr
    );
    let why = "task 1 (./task poison): 5 workers died or hung while it was running";
    assert!(said.stderr.contains(why), "{}", said.stderr);
}

#[test]
fn a_reader_that_pauses_costs_no_worker_its_good_name() {
    let folder = tempfile::tempdir().expect("room");
    let begun = folder.path().join("begun");
    let mut command = rsp();
    command.args(["run", "--no-journal", "--", "sh", "-c", "echo >>$1; head -c 1000000 /dev/zero", "{}"]);
    command.arg(&begun).arg(":::").args((0..150).map(|number| number.to_string()));
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // Longer than workers may be silent; the client, which cannot print, does not hear them meanwhile.
    std::thread::sleep(Duration::from_secs(3));
    let executions = || std::fs::read(&begun).unwrap_or_default().len();
    assert!(executions() < 150, "the client waits for its reader, or this shows nothing");
    let said = wait(child);
    assert_eq!((said.code(), said.stdout.len()), (0, 150_000_000), "{}", said.stderr);
    assert_eq!(executions(), 150, "each once: {}", said.stderr);
}

#[test]
fn wrong_words_are_usage_errors() {
    for words in [&["run"][..], &["run", "--", ":::", "1"], &["run", "--nonsense", "--", "true"]] {
        assert_eq!(run(words).code(), 2, "{words:?}");
    }
    let said = run(["run", "--registrar", "127.0.0.1:none", "--", "true", ":::", "1"]);
    assert_eq!(said.code(), 2);
    assert!(said.stderr.contains("--registrar 127.0.0.1:none"), "{}", said.stderr);
    let said = run(["worker", "--slots", "many"]);
    assert_eq!(said.code(), 2);
    assert!(said.stderr.contains("'--slots <N>': write a whole number from 1 to 1024"), "{}", said.stderr);
}

#[test]
fn no_registrar_is_status_3_and_names_the_next_step() {
    // Bound, so that nobody else gets it, but nobody listens.
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let at = taken.local_addr().expect("bound").to_string();
    for command in
        [&["run", "--registrar", &at, "--", "true", ":::", "1"][..], &["pool", "ls", "--registrar", &at]]
    {
        let said = run(command);
        assert_eq!(said.code(), 3, "{}", said.stderr);
        assert!(said.stderr.contains(&at) && said.stderr.contains("rsp registrar"), "{}", said.stderr);
        assert!(said.stdout.is_empty());
    }
}

#[test]
fn an_unknown_pool_is_status_4_and_names_the_next_step() {
    let registrar = Server::registrar(&[]);
    let at = registrar.asap().to_string();
    let commands = [
        &["run", "--pool", "nobody", "--patience", "1", "--registrar", &at, "--", "true", ":::", "1"][..],
        &["pool", "show", "nobody", "--registrar", &at],
        &["resolve", "nobody", "--registrar", &at],
    ];
    for command in commands {
        let said = run(command);
        assert_eq!(said.code(), 4, "{}", said.stderr);
        assert!(said.stderr.contains("rsp worker --pool nobody"), "{}", said.stderr);
    }
}

#[test]
fn no_free_slot_is_status_4_and_names_the_next_step() {
    let registrar = Server::registrar(&[]);
    let worker = Server::worker(&registrar, &[]);
    let at = registrar.asap().to_string();
    let mut busy = rsp();
    let word = word("busy");
    busy.args(["run", "--registrar", &at, "--", "sh", "-c", "sleep 1000; :", &word, ":::", "x"]);
    let mut busy = busy.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    appears(&word);
    let said = run(["run", "--patience", "1", "--registrar", &at, "--", "true", ":::", "1"]);
    let _ = busy.kill();
    let _ = busy.wait();
    drop(worker);
    assert_eq!(said.code(), 4, "{}", said.stderr);
    assert!(
        said.stderr.contains("no slot became free") && said.stderr.contains("rsp worker"),
        "{}",
        said.stderr
    );
}

#[test]
fn a_full_disk_behind_standard_output_is_status_6() {
    let mut command = rsp();
    command.args(["run", "--", "echo", ":::", "1", "2"]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("there");
    let said = wait_with_stdout(command, full);
    assert_eq!(said.0, Some(6), "{}", said.1);
    assert!(said.1.contains("standard output") && said.1.contains("No space left"), "{}", said.1);
}

fn wait_with_stdout(mut command: std::process::Command, stdout: std::fs::File) -> (Option<i32>, String) {
    let output = command.stdout(stdout).stderr(Stdio::piped()).output().expect("starts");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_closed_pipe_ends_the_job_without_a_panic() {
    let mut command = rsp();
    command.args(["run", "--", "echo", "{}", ":::"]).args((0..200).map(|n| n.to_string()));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    child.stdout = None;
    let output = child.wait_with_output().expect("ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// A word that no other test (nor an earlier run of this one) has on a command line.
fn word(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// Waits until a task with this word on its command line is there.
fn appears(word: &str) -> Vec<Pid> {
    let begun = std::time::Instant::now();
    loop {
        let found = processes_with(word);
        if !found.is_empty() {
            return found;
        }
        assert!(begun.elapsed() < common::BOUND, "no process with {word}");
        std::thread::yield_now();
    }
}

#[test]
fn ctrl_c_ends_everything_that_was_started() {
    let word = word("interrupted");
    let mut command = rsp();
    command.args(["run", "--", "sh", "-c", "sleep 1000 & sleep 1000", &word, ":::", "1", "2", "3"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let run_itself = Pid::from_child(&child);
    let tasks = appears(&word);
    rustix::process::kill_process(run_itself, Signal::INT).expect("it runs");
    let said = wait(child);
    assert_eq!(said.code(), 130, "{}", said.stderr);
    assert!(
        said.stderr.contains("interrupted; 0 of 3 tasks were done; go on with `rsp resume "),
        "{}",
        said.stderr
    );
    for pid in tasks {
        assert!(ends(pid), "a task goes on");
    }
    for pid in processes_with(&word) {
        assert!(ends(pid), "something goes on");
    }
}

#[test]
fn a_killed_run_leaves_no_process_behind() {
    let word = word("killed-run");
    let mut command = rsp();
    command.args(["run", "--", "sh", "-c", "sleep 1000; :", &word, ":::", "1"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    let me = Pid::from_child(&child);
    let started: Vec<Pid> = appears(&word);
    let servers = children_of(me);
    child.kill().expect("it runs");
    child.wait().expect("our child");
    for pid in started.into_iter().chain(servers) {
        assert!(ends(pid), "{pid:?} goes on");
    }
}

fn children_of(parent: Pid) -> Vec<Pid> {
    let id = parent.as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

#[test]
fn a_killed_worker_leaves_no_task_behind_however_deep_it_hides() {
    let word = word("hidden");
    let registrar = Server::registrar(&[]);
    let mut worker = Server::worker(&registrar, &[]);
    let at = registrar.asap().to_string();
    let text = format!(
        "setsid sh -c 'sleep 1000; :' {word} & (setsid setsid sh -c 'sleep 1000; :' {word} &) ; sleep 1000"
    );
    let mut job = rsp();
    job.args(["run", "--registrar", &at, "--", "sh", "-c", &text, ":::", "x"]);
    let mut job = job.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts");
    while processes_with(&word).len() < 2 {
        std::thread::yield_now();
    }
    let hidden = processes_with(&word);
    worker.child.kill().expect("it runs");
    worker.child.wait().expect("our child");
    for pid in hidden {
        assert!(ends(pid), "{pid:?} goes on");
    }
    let _ = job.kill();
    let _ = job.wait();
}

#[test]
fn what_a_task_leaves_running_ends_with_it() {
    let word = word("left");
    let text = format!("setsid sh -c 'sleep 1000; :' {word} >/dev/null 2>&1 & echo done");
    let said = run(["run", "--", "sh", "-c", &text, ":::", "x"]);
    assert_eq!((said.code(), said.text()), (0, "done\n".into()), "{}", said.stderr);
    for pid in processes_with(&word) {
        assert!(ends(pid), "{pid:?} goes on");
    }
}
