//! What can go wrong with files on their way: workers that die or hang, disks that are full, caches that are small.

mod common;

use common::{Said, Server, finish, rsp, wait};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn run_at(registrar: &Server, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = rsp();
    command.args(["run", "--registrar", &registrar.asap().to_string()]).args(arguments).current_dir(folder);
    command
}

fn begin(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts")
}

/// A worker with its cache here.
fn worker(registrar: &Server, cache: &Path, more: &[&str]) -> Server {
    Server::worker(registrar, &[&["--cache-dir", cache.to_str().expect("text")], more].concat())
}

/// Octets of items that are on their way into this cache.
fn coming(cache: &Path) -> u64 {
    let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    let new = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("new-"));
    new.filter_map(|entry| entry.path().join("data").metadata().ok()).map(|data| data.len()).sum()
}

/// Octets of all files in this folder.
fn octets_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let octets = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => octets_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(octets).sum()
}

/// Items in this cache.
fn items(cache: &Path) -> usize {
    let entries = std::fs::read_dir(cache).expect("there").flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().len() > 64).count()
}

/// Waits until one of the caches has this much on its way; which one.
fn one_is_coming(caches: &[PathBuf], octets: u64) -> usize {
    let begun = Instant::now();
    loop {
        if let Some(place) = caches.iter().position(|cache| coming(cache) > octets) {
            return place;
        }
        assert!(begun.elapsed() < common::BOUND, "nothing comes");
        std::thread::yield_now();
    }
}

/// Octets that no file system keeps as a hole.
fn large(path: &Path, mebibytes: usize) {
    let portion: Vec<u8> =
        (0..1u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let mut file = std::fs::File::create(path).expect("room");
    (0..mebibytes).for_each(|_| std::io::Write::write_all(&mut file, &portion).expect("room"));
}

/// A command that may write no file larger than so many KiB: a disk that is full, for one process and its children.
fn with_full_disk(command: &Command, kibibytes: u32) -> Command {
    let mut limited = Command::new("bash");
    let words = format!("trap '' XFSZ; ulimit -f {kibibytes}; exec \"$0\" \"$@\"");
    limited
        .args(["-c", &words])
        .arg(command.get_program())
        .args(command.get_args())
        .env_remove("RSP_REGISTRAR");
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
}

/// A large file for a task, two workers; something happens to the one that gets it when it has a part.
fn amid_an_upload(
    happens: impl FnOnce(&mut Server),
) -> (Said, Vec<PathBuf>, usize, Vec<Server>, tempfile::TempDir) {
    let registrar = Server::registrar(&[]);
    let at = folder();
    let caches: Vec<_> = (0..2).map(|number| at.path().join(format!("cache {number}"))).collect();
    let mut workers: Vec<_> = caches.iter().map(|cache| worker(&registrar, cache, &[])).collect();
    large(&at.path().join("big"), 48);
    let child = begin(run_at(
        &registrar,
        at.path(),
        &["--input", "big", "--", "sh", "-c", "wc -c < big", ":::", "x"],
    ));
    let hit = one_is_coming(&caches, 4 << 20);
    happens(&mut workers[hit]);
    let said = wait(child);
    workers.push(registrar);
    (said, caches, hit, workers, at)
}

#[test]
fn a_worker_killed_amid_an_upload_is_replaced_and_its_cache_stays_sound() {
    let (said, caches, hit, mut servers, at) = amid_an_upload(|worker| {
        worker.signal(Signal::KILL);
        let _ = worker.child.wait();
    });
    assert_eq!((said.code(), said.text().trim()), (0, "50331648"), "{}", said.stderr);
    assert_eq!([items(&caches[hit]), items(&caches[1 - hit])], [0, 1]);
    // Its next life clears up, has nothing by halves, and keeps what it gets for the life after.
    let registrar = servers.pop().expect("the last");
    drop(servers);
    for fetched in [true, false] {
        let begun = coming(&caches[hit]);
        let _worker = worker(&registrar, &caches[hit], &[]);
        assert_eq!(coming(&caches[hit]), 0, "{begun} octets were left");
        assert_eq!(items(&caches[hit]), usize::from(!fetched));
        let mut command = run_at(&registrar, at.path(), &["--input", "big", "--", "cmp", "big", ":::"]);
        command.arg(at.path().join("big"));
        let said = finish(command, b"");
        assert_eq!(said.code(), 0, "{}", said.stderr);
        assert_eq!(items(&caches[hit]), 1);
    }
}

#[test]
fn a_worker_that_hangs_amid_an_upload_is_noticed_and_replaced() {
    let (said, _, _, servers, _) = amid_an_upload(|worker| worker.signal(Signal::STOP));
    assert_eq!((said.code(), said.text().trim()), (0, "50331648"), "{}", said.stderr);
    assert!(said.stderr.contains("(Hung)"), "{}", said.stderr);
    drop(servers);
}

#[test]
fn a_client_that_hangs_amid_an_upload_goes_on_when_it_is_back() {
    let registrar = Server::registrar(&[]);
    let at = folder();
    let caches = [at.path().join("cache")];
    let _worker = worker(&registrar, &caches[0], &[]);
    large(&at.path().join("big"), 48);
    let child = begin(run_at(
        &registrar,
        at.path(),
        &["--input", "big", "--", "sh", "-c", "wc -c < big", ":::", "x"],
    ));
    one_is_coming(&caches, 4 << 20);
    let client = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(client, Signal::STOP).expect("it runs");
    // The worker gives the silent client up, and with it what came so far: the client told how often it pings.
    let begun = Instant::now();
    while coming(&caches[0]) > 0 {
        assert!(begun.elapsed() < common::BOUND, "the worker waits for ever");
        std::thread::yield_now();
    }
    rustix::process::kill_process(client, Signal::CONT).expect("it is there");
    let said = wait(child);
    assert_eq!((said.code(), said.text().trim()), (0, "50331648"), "{}", said.stderr);
}

#[test]
fn a_client_killed_amid_the_files_of_a_task_leaves_no_slot_taken() {
    let registrar = Server::registrar(&[]);
    let at = folder();
    let _worker = worker(&registrar, &at.path().join("cache"), &[]);
    // The task has ended, its file has not: there is more of it than anybody waits for.
    let words = ["--out", "out", "--output", "big", "--", "truncate", "-s", "1T", "big", ":::", "x"];
    let mut child = begin(run_at(&registrar, at.path(), &words));
    let begun = Instant::now();
    while octets_below(&at.path().join("out")) < 1 << 20 {
        assert!(begun.elapsed() < common::BOUND, "nothing comes");
        std::thread::yield_now();
    }
    child.kill().expect("ours");
    let _ = child.wait();
    let said = finish(run_at(&registrar, at.path(), &["--", "echo", ":::", "next"]), b"");
    assert_eq!((said.code(), said.text().trim()), (0, "next"), "{}", said.stderr);
}

#[test]
fn files_that_cannot_be_sent_to_their_end_are_an_error_of_their_task_and_of_no_other() {
    let registrar = Server::registrar(&[]);
    let at = folder();
    let _worker = worker(&registrar, &at.path().join("cache"), &[]);
    // The file of the second task is longer than its time.
    let words = ["--timeout", "1", "--out", "out", "--output", "x", "-k", "--", "sh", "-c"];
    let script = "[ $0 = 2 ] && exec truncate -s 1T x; echo $0 > x";
    let said = finish(
        run_at(&registrar, at.path(), &[&words[..], &[script, "{}", ":::", "1", "2", "3"]].concat()),
        b"",
    );
    assert_eq!(said.code(), 1, "{}", said.stderr);
    let mut left: Vec<_> = std::fs::read_dir(at.path().join("out"))
        .expect("there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["1", "3"], "{}", said.stderr);
}

#[test]
fn a_full_disk_at_a_worker_sends_its_tasks_elsewhere_and_is_the_reason_if_there_is_no_other() {
    let registrar = Server::registrar(&[]);
    let at = folder();
    large(&at.path().join("big"), 4);
    let mut command = rsp();
    command.args(["worker", "--registrar", &registrar.asap().to_string(), "--slots", "1"]);
    let _full = Server::of(with_full_disk(&command, 1024));
    let words = &["--input", "big", "--", "sh", "-c", "wc -c < big", ":::", "1", "2", "3"];
    let said = finish(run_at(&registrar, at.path(), words), b"");
    assert_eq!(said.code(), 1, "{}", said.stderr);
    assert!(said.stderr.contains("the worker's cache cannot keep a file: File too large"), "{}", said.stderr);
    let cache = at.path().join("cache");
    let _other = worker(&registrar, &cache, &[]);
    // The first tasks keep both busy, so that both take part.
    let words = &["--input", "big", "--", "sh", "-c", "wc -c < big", ":::", "1"];
    let said =
        (0..20).map(|_| finish(run_at(&registrar, at.path(), words), b"")).find(|said| said.code() == 0);
    assert_eq!(said.expect("the other one did it").text().trim(), "4194304");
}

#[test]
fn a_full_disk_at_the_client_ends_the_job_with_the_reason_and_leaves_nothing_by_halves() {
    let registrar = Server::registrar(&[]);
    let _worker = Server::worker(&registrar, &[]);
    let at = folder();
    let words =
        &["--output", "big", "--out", "got", "--", "sh", "-c", "head -c 4000000 /dev/zero > big", ":::", "1"];
    let said = finish(with_full_disk(&run_at(&registrar, at.path(), words), 1024), b"");
    assert_eq!(said.code(), 6, "{}", said.stderr);
    assert!(
        said.stderr.contains("cannot write the output files of task 1 in got: File too large"),
        "{}",
        said.stderr
    );
    let left: Vec<_> = std::fs::read_dir(at.path().join("got")).expect("there").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_small_cache_serves_one_task_after_the_other_and_refuses_what_never_fits() {
    let registrar = Server::registrar(&[]);
    let at = folder();
    let cache = at.path().join("cache");
    let at_registrar = registrar.asap().to_string();
    let words = ["worker", "--registrar", &at_registrar, "--slots", "4", "--cache", "5M", "--cache-dir"];
    let mut command = rsp();
    command.args(words).arg(&cache);
    let _worker = Server::of(command);
    for number in 0..6 {
        large(&at.path().join(format!("{number}.dat")), 2);
    }
    // All the same content: one item. Then different ones.
    for number in 0..6 {
        let path = at.path().join(format!("{number}.dat"));
        let mut content = std::fs::read(&path).expect("there");
        content[0] = number;
        std::fs::write(&path, content).expect("room");
    }
    let said = finish(
        run_at(&registrar, at.path(), &["--each", "*.dat", "--", "sh", "-c", "wc -c < {in}", "x"]),
        b"",
    );
    assert_eq!((said.code(), said.sorted()), (0, vec!["2097152".to_owned(); 6]), "{}", said.stderr);
    assert!(items(&cache) <= 2, "{}", items(&cache));
    large(&at.path().join("huge"), 6);
    let said = finish(run_at(&registrar, at.path(), &["--input", "huge", "--", "true", ":::", "x"]), b"");
    assert_eq!(said.code(), 1);
    assert!(said.stderr.contains("do not fit into the worker's cache"), "{}", said.stderr);
}

#[test]
fn a_cache_folder_belongs_to_one_worker() {
    let registrar = Server::registrar(&[]);
    let at = folder();
    let cache = at.path().join("cache");
    let _worker = worker(&registrar, &cache, &[]);
    let mut command = rsp();
    command.args(["worker", "--registrar", &registrar.asap().to_string(), "--cache-dir"]).arg(&cache);
    let said = finish(command, b"");
    assert_eq!(said.code(), 6, "{}", said.stderr);
    assert!(said.stderr.contains("give each its own --cache-dir"), "{}", said.stderr);
}
