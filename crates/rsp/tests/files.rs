//! Files that tasks take along and leave, through real processes and no shared folder.

mod common;

use common::{Said, Server, finish, rsp, wait};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A pool whose workers are not private: tasks run in folders of the workers.
struct Pool {
    registrar: Server,
    workers: Vec<Server>,
}

impl Pool {
    fn of(workers: usize, more: &[&str]) -> Self {
        let registrar = Server::registrar(&[]);
        let workers = (0..workers).map(|_| Server::worker(&registrar, more)).collect();
        Self { registrar, workers }
    }

    /// `rsp run` with these options in this folder.
    fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = rsp();
        let at = self.registrar.asap().to_string();
        command.args(["run", "--registrar", &at]).args(arguments).current_dir(folder);
        command
    }

    fn run(&self, folder: &Path, arguments: &[&str]) -> Said {
        finish(self.command(folder, arguments), b"")
    }
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn write(folder: &Path, name: &str, content: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("inside")).expect("room");
    std::fs::write(path, content).expect("room");
}

fn read(folder: &Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap_or_else(|cause| panic!("{name}: {cause}"))
}

/// What is in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let all = std::fs::read_dir(folder).expect("there").flatten();
    let mut names: Vec<_> = all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn common_and_own_inputs_are_there_and_outputs_land_by_task() {
    let pool = Pool::of(2, &[]);
    let at = folder();
    write(at.path(), "common.txt", "shared ");
    for value in ["a", "b", "c"] {
        write(at.path(), &format!("in/{value}.cfg"), value);
    }
    let said = pool.run(
        at.path(),
        &[
            "--input",
            "common.txt",
            "--input",
            "in/{}.cfg",
            "--output",
            "out.txt",
            "--output",
            "logs",
            "--out",
            "got",
            "-k",
            "--",
            "sh",
            "-c",
            "cat common.txt in/$0.cfg > out.txt; echo >> in/$0.cfg; mkdir -p logs/x; echo $0 > logs/x/1",
            "{}",
            ":::",
            "a",
            "b",
            "c",
        ],
    );
    assert_eq!(said.code(), 0, "{}", said.stderr);
    for (task, value) in [(1, "a"), (2, "b"), (3, "c")] {
        assert_eq!(read(at.path(), &format!("got/{task}/out.txt")), format!("shared {value}"));
        assert_eq!(read(at.path(), &format!("got/{task}/logs/x/1")), format!("{value}\n"));
    }
    assert_eq!(names(&at.path().join("got")), ["1", "2", "3"], "nothing else is left");
}

#[test]
fn each_file_is_a_task_and_outputs_with_places_land_where_they_say() {
    let pool = Pool::of(1, &[]);
    let at = folder();
    for name in ["b.pov", "a.pov", "x.txt"] {
        write(at.path(), &format!("scenes/{name}"), name);
    }
    let said = pool.run(
        at.path(),
        &[
            "--each",
            "scenes/*.pov",
            "--output",
            "{in}.png",
            "--out",
            "images",
            "--json",
            "-k",
            "--",
            "cp",
            "{in}",
            "{in}.png",
        ],
    );
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert_eq!(read(at.path(), "images/scenes/a.pov.png"), "a.pov");
    assert_eq!(read(at.path(), "images/scenes/b.pov.png"), "b.pov");
    let lines: Vec<Value> =
        said.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let values: Vec<_> = lines.iter().map(|line| line["values"][0].as_str().expect("text")).collect();
    assert_eq!(values, ["scenes/a.pov", "scenes/b.pov"], "sorted");
    assert_eq!(lines[0]["outputs"][0], "images/scenes/a.pov.png");
    assert_eq!(lines[0]["argv"][2], "scenes/a.pov.png");
}

#[test]
fn wrong_requests_are_told_before_anything_starts() {
    let at = folder();
    write(at.path(), "a", "");
    std::os::unix::fs::symlink("/etc/passwd", at.path().join("leaves")).expect("room");
    for (arguments, part) in [
        (&["--each", "*.pov", "--", "cat"][..], "matches no file"),
        (&["--input", "missing", "--", "cat", ":::", "1"], "missing"),
        (&["--output", "../x", "--", "cat", ":::", "1"], "must be a relative file name"),
        (&["--output", "/x", "--", "cat", ":::", "1"], "must be a relative file name"),
        (&["--output", "x", "--output", "x", "--", "cat", ":::", "1"], "named twice"),
        (
            &["--output", "{}.png", "--", "cat", ":::", "1", "2", "1"],
            "tasks 1 and 3 would both land at 1.png",
        ),
        (&["--output", "{}/*.png", "--", "cat", ":::", "1", "1"], "would both land"),
        (&["--output", "{1}", "--output", "x", "--", "cat", ":::", "2", "3"], "would both land"),
        (&["--env", "a", "--", "cat", ":::", "1"], "no folder"),
        (&["--env", ".", "--", "cat", ":::", "1"], "leaves is a link to something outside"),
    ] {
        let mut command = rsp();
        command.arg("run").args(arguments).current_dir(at.path());
        let said = finish(command, b"");
        assert_eq!(said.code(), 2, "{arguments:?}: {}", said.stderr);
        assert!(said.stderr.contains(part), "{arguments:?}: {}", said.stderr);
        assert!(!said.stderr.contains("using a private one"), "{arguments:?} started something");
    }
    // Values of standard input are read to their end first, when outputs depend on them.
    let mut command = rsp();
    command.args(["run", "--output", "{}.png", "--", "cat"]).current_dir(at.path());
    assert_eq!(finish(command, b"1\n2\n1\n").code(), 2);
}

#[test]
fn a_missing_output_is_an_error_of_its_task_and_of_no_other() {
    let at = folder();
    let mut command = rsp();
    command.args([
        "run",
        "--output",
        "*.txt",
        "--json",
        "-k",
        "--",
        "sh",
        "-c",
        "[ $0 = 2 ] || echo $0 > $0.txt",
        "{}",
    ]);
    command.args([":::", "1", "2", "3"]).current_dir(at.path());
    let said = finish(command, b"");
    assert_eq!(said.code(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("it left no output like *.txt"), "{}", said.stderr);
    let lines: Vec<Value> =
        said.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines[1]["status"], "no-output");
    assert_eq!(
        (names(&at.path().join("1")), names(&at.path().join("3"))),
        (vec!["1.txt".into()], vec!["3.txt".into()])
    );
    assert!(!at.path().join("2").exists());
}

#[test]
fn unusual_octets_in_names_survive() {
    let pool = Pool::of(1, &[]);
    let at = folder();
    let name = OsStr::from_bytes(b"odd \xff\n'*\\.dat");
    std::fs::write(at.path().join(name), "content").expect("room");
    let mut command = pool.command(at.path(), &["--each", "*.dat", "--output", "o*", "--out", "got", "--"]);
    command.args(["cp", "{in}", "out"]);
    let said = finish(command, b"");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let mut command = pool.command(at.path(), &["--input", "{}", "--output", "{}.out", "--out", "got", "--"]);
    command.args(["sh", "-c", "cat \"$0\" > \"$0.out\"", "{}", ":::"]).arg(name);
    let said = finish(command, b"");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let mut landed = name.to_owned();
    landed.push(".out");
    assert_eq!(std::fs::read(at.path().join("got").join(landed)).expect("there"), b"content");
    assert_eq!(read(at.path(), "got/1/out"), "content");
}

#[test]
fn an_environment_is_a_tree_with_programs_and_links_and_crosses_once() {
    let pool = Pool::of(1, &[]);
    let at = folder();
    write(at.path(), "env/bin/hello", "#!/bin/sh\necho hello $(cat $RSP_ENV/data/link) $1\n");
    std::fs::set_permissions(at.path().join("env/bin/hello"), PermissionsExt::from_mode(0o755))
        .expect("ours");
    write(at.path(), "env/data/text", "world");
    std::os::unix::fs::symlink("text", at.path().join("env/data/link")).expect("room");
    for _ in 0..2 {
        let said = pool.run(at.path(), &["--env", "env", "-k", "--", "hello", "{}", ":::", "1", "2", "3"]);
        assert_eq!(said.text(), "hello world 1\nhello world 2\nhello world 3\n", "{}", said.stderr);
    }
}

fn program(folder: &Path, name: &str, content: &str) {
    write(folder, name, content);
    std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).expect("ours");
}

#[test]
fn many_tasks_that_leave_files_at_once_do_not_hold_each_other_up() {
    let registrar = Server::registrar(&[]);
    let at = registrar.asap().to_string();
    let _worker = Server::start(["worker", "--registrar", &at, "--slots", "120"]);
    let folder = folder();
    // Each waits until all have begun, so that all files are told at the same time.
    let begun = folder.path().join("begun");
    let task =
        "echo >>$1; until [ $(wc -l <$1) -ge 120 ]; do sleep 0.1; done; head -c 180000 /dev/zero >file";
    let mut job = rsp();
    job.args(["run", "--registrar", &at, "--out", "out", "--output", "file", "--", "sh", "-c", task, "{}"]);
    job.arg(begun).arg(":::").args((0..120).map(|number| number.to_string())).current_dir(folder.path());
    let said = finish(job, b"");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    assert!(!said.stderr.contains("is lost"), "{}", said.stderr);
    let octets = |task: u64| folder.path().join(format!("out/{task}/file")).metadata().expect("there").len();
    assert!((1..=120).all(|task| octets(task) == 180_000));
}

#[test]
fn inputs_and_outputs_that_cannot_be_where_they_should_are_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("room");
    std::fs::create_dir(folder.path().join("in")).expect("room");
    std::fs::write(folder.path().join("in/a"), "").expect("room");
    std::fs::write(folder.path().join("file"), "").expect("room");
    let refused = |options: &[&str], code: i32, why: &str| {
        let words = [&["run"], options, &["--", "touch", "began", "o", ":::", "1"]].concat();
        let mut command = rsp();
        command.args(words).current_dir(folder.path());
        let said = finish(command, b"");
        assert_eq!(said.code(), code, "{}", said.stderr);
        assert!(said.stderr.contains(why), "{}", said.stderr);
        assert!(!said.stderr.contains("job "), "{}", said.stderr);
    };
    let inside = "input in/a would be inside of the shared input in";
    refused(&["--input", "in", "--input", "in/a"], 2, inside);
    refused(&["--output", "o", "--out", "file/x"], 6, "cannot write in --out file/x");
}

#[test]
fn a_task_that_changes_a_shared_folder_harms_no_later_one() {
    let pool = Pool::of(1, &[]);
    let at = folder();
    program(at.path(), "env/bin/tool", "#!/bin/sh\necho v1\n");
    write(at.path(), "common/x", "v1\n");
    let poison = "tool; cat common/x; [ $0 = 2 ] || exit 0
        chmod +w $RSP_ENV/bin/tool common/x
        echo 'echo v2' > $RSP_ENV/bin/tool; echo v2 > common/x; touch common/y";
    let words = ["--env", "env", "--input", "common", "-k", "--", "sh", "-c"];
    for _ in 0..2 {
        let said = pool.run(at.path(), &[&words[..], &[poison, "{}", ":::", "1", "2", "3"]].concat());
        assert_eq!((said.code(), said.text()), (0, "v1\n".repeat(6)), "{}", said.stderr);
    }
}

#[test]
fn tasks_that_all_leave_something_in_a_shared_folder_are_not_held_up() {
    let pool = Pool::of(1, &[]);
    let at = folder();
    write(at.path(), "env/module", "x\n");
    let litter = "ls $RSP_ENV; cat $RSP_ENV/module; mkdir -p $RSP_ENV/cache; echo > $RSP_ENV/cache/$0
        echo y > $RSP_ENV/new; mv -f $RSP_ENV/new $RSP_ENV/module";
    let mut words = vec!["--env", "env", "--", "sh", "-c", litter, "{}", ":::"];
    words.extend(["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let said = pool.run(at.path(), &words);
    assert_eq!((said.code(), said.text()), (0, "module\nx\n".repeat(9)), "{}", said.stderr);
}

#[test]
fn a_shared_folder_that_is_fetched_anew_stays_with_the_tasks_that_use_it() {
    let registrar = Server::registrar(&[]);
    let address = registrar.asap().to_string();
    let _worker = Server::start(["worker", "--registrar", &address, "--slots", "2"]);
    let pool = Pool { registrar, workers: vec![] };
    let at = folder();
    program(at.path(), "env/bin/tool", "#!/bin/sh\necho v1\n");
    // The first task is under way while the second one spoils the folder and the third one has it fetched anew.
    let go = at.path().join("go");
    let words = "case $0 in
        1) until [ -e $1 ]; do sleep 0.05; done;;
        2) chmod +w $RSP_ENV/bin/tool; echo > $RSP_ENV/bin/tool; exit;;
        3) touch $1;;
        esac
        tool";
    let mut command = pool.command(at.path(), &["--env", "env", "-k", "--", "sh", "-c", words, "{}"]);
    command.arg(&go).args([":::", "1", "2", "3"]);
    let said = finish(command, b"");
    assert_eq!((said.code(), said.text().as_str()), (0, "v1\nv1\n"), "{}", said.stderr);
}

#[test]
fn empty_folders_among_outputs_come_back() {
    let pool = Pool::of(1, &[]);
    let at = folder();
    let words = ["--output", "d", "--output", "e", "--out", "got", "--", "sh", "-c"];
    let script = "mkdir -p d/empty/deep d/full e; echo x > d/full/x";
    let said = pool.run(at.path(), &[&words[..], &[script, "{}", ":::", "1"]].concat());
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let got = at.path().join("got/1");
    assert_eq!(names(&got), ["d", "e"]);
    assert_eq!(names(&got.join("d")), ["empty", "full"]);
    assert_eq!(names(&got.join("d/empty")), ["deep"]);
    assert_eq!(read(&got, "d/full/x"), "x\n");
}

#[test]
fn an_input_that_changed_after_it_was_described_is_told() {
    let at = folder();
    write(at.path(), "a", "one");
    write(at.path(), "b", "two");
    // No worker takes anything before the file has changed.
    let registrar = Server::registrar(&[]);
    let address = registrar.asap().to_string();
    let mut command = rsp();
    command.args(["run", "--registrar", &address, "--input", "a", "--", "cat", "a", ":::", "1"]);
    let mut child = command
        .current_dir(at.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let stderr = std::io::BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = std::io::BufRead::lines(stderr).map_while(Result::ok);
    let waiting = lines.find(|line| line.contains("waiting up to"));
    assert!(waiting.is_some(), "it waits for workers");
    write(at.path(), "a", "other");
    let _worker = Server::worker(&registrar, &[]);
    let rest: Vec<String> = lines.collect();
    let status = child.wait().expect("our child");
    assert_eq!(status.code(), Some(1), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("a changed after the job began")), "{rest:?}");
}

/// A file of so many MiB that no file system keeps as a hole.
fn large(path: &Path, mebibytes: usize) {
    let mut file = std::fs::File::create(path).expect("room");
    let mut portion = vec![0u8; 1 << 20];
    let mut state = 88_172_645_463_325_252_u64;
    for _ in 0..mebibytes {
        for octets in portion.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            octets.copy_from_slice(&state.to_be_bytes());
        }
        std::io::Write::write_all(&mut file, &portion).expect("room");
    }
}

/// The largest resident memory of a process so far, in KiB.
fn peak(pid: rustix::process::Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Sends a file there and back; neither side may take 64 MiB more for it.
fn there_and_back(mebibytes: usize) {
    let pool = Pool::of(1, &[]);
    let at = folder();
    let small = pool.run(at.path(), &["--", "true", ":::", "x"]);
    assert_eq!(small.code(), 0, "{}", small.stderr);
    let before = peak(pool.workers[0].pid());
    large(&at.path().join("big"), mebibytes);
    let mut command = pool.command(
        at.path(),
        &["--input", "big", "--output", "back", "--out", "got", "--", "sh", "-c", "cp big back", ":::", "x"],
    );
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let client = rustix::process::Pid::from_child(&child);
    // The client's memory as long as it lives; the last look counts.
    let watching = std::thread::spawn(move || {
        let mut largest = 0;
        let path = format!("/proc/{}/status", client.as_raw_nonzero());
        while let Ok(status) = std::fs::read_to_string(&path) {
            let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { break };
            largest = largest.max(line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number"));
            std::thread::yield_now();
        }
        largest
    });
    let said = wait(child);
    let client = watching.join().expect("read");
    assert_eq!(said.code(), 0, "{}", said.stderr);
    let same = Command::new("cmp").arg(at.path().join("big")).arg(at.path().join("got/1/back")).status();
    assert!(same.expect("starts").success());
    let worker = peak(pool.workers[0].pid());
    eprintln!("{mebibytes} MiB: client {client} KiB in all, worker {before} -> {worker} KiB");
    assert!(worker - before < 64 * 1024, "the worker took {} KiB more", worker - before);
    assert!(client < 64 * 1024, "the client took {client} KiB in all");
}

#[test]
fn a_large_file_goes_there_and_back_in_little_memory() {
    there_and_back(256);
}

/// `cargo test --release --test files -- --ignored a_gibibyte`
#[test]
#[ignore = "a GiB there and back takes its time; the test above does the same with less"]
fn a_gibibyte_goes_there_and_back_in_little_memory() {
    there_and_back(1024);
}
