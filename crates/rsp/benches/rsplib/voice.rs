//! Programs whose lines are heard at once, each with the moment it came.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long a line is waited for before the bench fails.
const BOUND: Duration = Duration::from_secs(60);

type Lines = Arc<(Mutex<Vec<(Instant, String)>>, Condvar)>;

/// A running program. It ends, killed, with the value.
pub struct Voice {
    name: String,
    child: Child,
    lines: Lines,
}

impl Voice {
    /// Starts it. Standard output and error are read as one, line by line.
    pub fn start(program: &str, words: &[&str]) -> Self {
        // Output to a pipe comes in blocks by default, far too late.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "-eL", program]).args(words);
        let (heard, said) = std::io::pipe().expect("a descriptor is free");
        command.stdin(Stdio::null()).stdout(said.try_clone().expect("a descriptor")).stderr(said);
        let child = command.spawn().unwrap_or_else(|cause| panic!("{program}: {cause}"));
        let lines = Lines::default();
        let told = lines.clone();
        std::thread::spawn(move || {
            let mut heard = BufReader::new(heard);
            let mut line = Vec::new();
            while heard.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let now = Instant::now();
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                told.0.lock().expect("nobody panics with it").push((now, text));
                told.1.notify_all();
                line.clear();
            }
        });
        Self { name: format!("{program} {}", words.join(" ")), child, lines }
    }

    /// Waits for a line said after this moment for which this gives something; gives that, and when it was said.
    ///
    /// # Panics
    ///
    /// If there is none in time.
    pub fn hear<T>(&self, since: Instant, mut wanted: impl FnMut(&str) -> Option<T>) -> (Instant, T) {
        let end = Instant::now() + BOUND;
        let mut seen = 0;
        let mut lines = self.lines.0.lock().expect("nobody panics with it");
        loop {
            for (at, line) in &lines[seen..] {
                if *at >= since
                    && let Some(found) = wanted(line)
                {
                    return (*at, found);
                }
            }
            seen = lines.len();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last: Vec<&str> =
                    lines.iter().rev().take(15).rev().map(|(_, line)| line.as_str()).collect();
                panic!("{} does not say what is waited for; its last lines:\n{}", self.name, last.join("\n"));
            }
            lines = self.lines.1.wait_timeout(lines, left).expect("nobody panics with it").0;
        }
    }

    /// Waits for a line with this part, said after this moment.
    pub fn says(&self, since: Instant, part: &str) -> Instant {
        self.hear(since, |line| line.contains(part).then_some(())).0
    }

    /// Waits for its end.
    pub fn ends(&mut self) {
        self.child.wait().expect("our child");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does; gives the moment before.
    pub fn kill(&mut self) -> Instant {
        let now = Instant::now();
        let _ = self.child.kill();
        let _ = self.child.wait();
        now
    }

    /// Makes it hang; gives the moment before.
    pub fn hang(&self) -> Instant {
        let now = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("it runs");
        now
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.kill();
    }
}
