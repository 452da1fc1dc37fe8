//! One job of very many tiny tasks, as a user has it: `rsp run --call -- echo`, with and without a journal; and how long it
//! takes to go on after the client was killed half-way.

use crate::common::{rsp, state_dir};
use crate::pool::Pool;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// What a job of so many tasks took.
pub struct Job {
    pub took: Duration,
    /// The client's resident memory at its largest, in octets.
    pub memory: u64,
    /// Octets of the journal per task, besides the values and the results.
    pub journal: f64,
}

/// A job killed half-way.
pub struct Resumed {
    /// From the start of `rsp resume` to the first result it prints.
    pub first: Duration,
    /// To the end of what was known.
    pub took: Duration,
}

/// The exit status of a job whose input had not ended.
const INPUT_MISSING: i32 = 7;

/// All of it in one life.
pub fn whole(pool: &Pool, journal: bool, count: usize) -> Job {
    let name = format!("whole-{}", std::process::id());
    let begun = Instant::now();
    let mut child = start(pool, journal.then_some(&name), count);
    let memory = std::thread::spawn({
        let id = child.id();
        move || peak(id)
    });
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    let printed = lines(&mut out, usize::MAX);
    assert!(child.wait().expect("our child").success());
    let took = begun.elapsed();
    assert_eq!(printed, count);
    let mut octets = 0;
    if journal {
        let at = state_dir().join("jobs").join(&name).join("journal");
        octets = at.metadata().expect("a journal").len();
        remove(&name);
    }
    // The value, and the result: the same with a newline.
    let given: u64 = (1..=count).map(|task| 2 * task.to_string().len() as u64 + 1).sum();
    let journal = (octets as f64 - given as f64).max(0.0) / count as f64;
    Job { took, memory: memory.join().expect("it only reads"), journal }
}

/// Killed when half of the results are printed, and resumed.
pub fn resumed(pool: &Pool, count: usize) -> Resumed {
    let name = format!("half-{}", std::process::id());
    let mut child = start(pool, Some(&name), count);
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    lines(&mut out, count / 2);
    child.kill().expect("our child");
    child.wait().expect("our child");
    let begun = Instant::now();
    let mut command = rsp();
    let at = pool.registrar().to_string();
    command.args(["resume", &name, "--registrar", &at]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("starts");
    let mut out = BufReader::new(child.stdout.take().expect("piped"));
    lines(&mut out, 1);
    let first = begun.elapsed();
    lines(&mut out, usize::MAX);
    // The client had not read all values; what it had read is done, and it says so.
    let code = child.wait().expect("our child").code();
    assert!(matches!(code, Some(0 | INPUT_MISSING)), "{code:?}");
    let took = begun.elapsed();
    remove(&name);
    Resumed { first, took }
}

fn start(pool: &Pool, name: Option<&String>, count: usize) -> Child {
    let mut values = tempfile::tempfile().expect("room");
    {
        let mut all = std::io::BufWriter::new(&mut values);
        (1..=count).for_each(|task| writeln!(all, "{task}").expect("room"));
    }
    values.rewind().expect("a file");
    let mut command = rsp();
    command.args(["run", "--registrar", &pool.registrar().to_string()]);
    match name {
        Some(name) => command.args(["--name", name]),
        None => command.arg("--no-journal"),
    };
    command.args(["--call", "--", "echo"]);
    command.stdin(Stdio::from(values)).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("starts")
}

/// Reads up to so many lines; how many there were.
fn lines(out: &mut BufReader<ChildStdout>, most: usize) -> usize {
    let (mut count, mut line) = (0, Vec::new());
    while count < most && out.read_until(b'\n', &mut line).expect("a pipe") > 0 {
        count += 1;
        line.clear();
    }
    count
}

/// Looks at a process until it ends.
fn peak(process: u32) -> u64 {
    let mut most = 0;
    loop {
        let Ok(status) = File::open(format!("/proc/{process}/status")) else { return most };
        let line =
            BufReader::new(status).lines().map_while(Result::ok).find(|line| line.starts_with("VmHWM:"));
        let kilo = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        let Some(kilo) = kilo else { return most };
        most = most.max(kilo * 1024);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn remove(name: &str) {
    let mut command: Command = rsp();
    let _ = command.args(["job", "rm", name]).stderr(Stdio::null()).stdout(Stdio::null()).status();
}
