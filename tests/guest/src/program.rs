//! A program on a host: its log, its signals, its end. Every wait is for a fact, with a bound that only a failure reaches.

use rustix::process::{Pid, Signal};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How long a fact may take before a row fails. A loaded machine slows a guest several-fold.
pub const BOUND: Duration = Duration::from_secs(90);

/// How often a fact is looked for.
const PAUSE: Duration = Duration::from_millis(40);

/// Waits until this gives something.
///
/// # Panics
///
/// If it does not within [`BOUND`]: with the text of `what`.
pub fn eventually<T>(what: impl Fn() -> String, mut fact: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + BOUND;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < end, "not within {} s: {}", BOUND.as_secs(), what());
        std::thread::sleep(PAUSE);
    }
}

/// A program on a host. It ends, killed, with the value.
pub struct Program {
    pub(crate) name: String,
    pub(crate) child: Child,
    pub(crate) log: PathBuf,
}

impl Program {
    /// Everything it said so far, on standard output and error.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// How many lines of it contain this.
    pub fn count(&self, part: &str) -> usize {
        self.log().lines().filter(|line| line.contains(part)).count()
    }

    /// Waits for a line that contains this, and gives the first one.
    pub fn says(&mut self, part: &str) -> String {
        self.says_times(part, 1)
    }

    /// Waits for so many lines that contain this, and gives the last of them.
    ///
    /// # Panics
    ///
    /// If the program ends without it, or time runs out.
    pub fn says_times(&mut self, part: &str, times: usize) -> String {
        let end = Instant::now() + BOUND;
        loop {
            // Asked before the log is read: what a program said before its end counts.
            let ended = self.child.try_wait().expect("our child");
            let log = self.log();
            if let Some(line) = log.lines().filter(|line| line.contains(part)).nth(times - 1) {
                return line.to_owned();
            }
            let why = match ended {
                Some(status) => format!("ended ({status}) without saying"),
                None if Instant::now() >= end => format!("did not say within {} s", BOUND.as_secs()),
                None => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
            };
            panic!("{} {why} {times} times '{part}'; its last lines:\n{}", self.name, tail(&log));
        }
    }

    /// Waits for one of these, and gives the place of it in the list.
    pub fn says_one_of(&mut self, parts: &[&str]) -> usize {
        let what = || format!("{} says one of {parts:?}; its last lines:\n{}", self.name, tail(&self.log()));
        eventually(what, || parts.iter().position(|part| self.count(part) > 0))
    }

    /// Fails if it ever said this.
    pub fn never_said(&self, part: &str) {
        let log = self.log();
        let line = log.lines().find(|line| line.contains(part));
        assert!(line.is_none(), "{} said: {}", self.name, line.unwrap_or_default());
    }

    /// Fails unless it still runs.
    pub fn lives(&mut self) {
        let ended = self.child.try_wait().expect("our child");
        assert!(ended.is_none(), "{} ended: {ended:?}; its last lines:\n{}", self.name, tail(&self.log()));
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Waits for its end.
    pub fn ends(&mut self) -> ExitStatus {
        let (name, log) = (self.name.clone(), self.log.clone());
        let text = move || String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        eventually(
            move || format!("{name} ends; its last lines:\n{}", tail(&text())),
            || self.child.try_wait().expect("our child"),
        )
    }

    /// Waits for its end, which must be a good one, and gives what it said.
    pub fn succeeds(&mut self) -> String {
        let status = self.ends();
        let log = self.log();
        assert!(status.success(), "{} ended with {status}; its last lines:\n{}", self.name, tail(&log));
        log
    }

    /// Ends it without a farewell, as a crash does. Its kernel still ends its associations.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Writes a line to its standard input, if it was started to be talked to.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("started to be talked to");
        writeln!(input, "{line}").and_then(|()| input.flush()).expect("it reads");
    }

    /// Asks it to end in good order.
    pub fn interrupt(&mut self) {
        self.signal(Signal::INT);
    }

    /// Makes it hang: its kernel still answers for it.
    pub fn hang(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        self.lives();
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].iter().map(|line| format!("    {line}\n")).collect()
}
