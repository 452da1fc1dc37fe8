//! The real program, as processes of their own, for tests of the command line.
//!
//! Every wait is for an event (a line, the end of a process) with a bound that only a failure reaches.
#![allow(dead_code)] // each test program uses a part

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// A failure reaches this bound, nothing else does: machines that run tests are slow at times.
pub const BOUND: Duration = Duration::from_secs(60);

/// The program under test, with a clean environment.
pub fn rsp() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rsp"));
    command.env_remove("RSP_REGISTRAR").env("RSP_STATE_DIR", state_dir()).stdin(Stdio::null());
    command
}

/// Where the jobs of this test program are kept.
pub fn state_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("state-{}", std::process::id()))
}

/// What a finished run said.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Said {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("text")
    }

    /// The lines of standard output, sorted: tasks end in any order.
    pub fn sorted(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.text().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// Runs a command to its end, with this on its standard input.
pub fn finish(mut command: Command, input: &[u8]) -> Said {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let said = wait(child);
    writing.join().expect("a thread that only writes");
    said
}

/// Waits for a process whose outputs are piped.
pub fn wait(mut child: Child) -> Said {
    let mut stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let reading = std::thread::spawn(move || {
        let mut octets = Vec::new();
        stdout.read_to_end(&mut octets).expect("a pipe");
        octets
    });
    let complaining = std::thread::spawn(move || {
        let mut octets = Vec::new();
        stderr.read_to_end(&mut octets).expect("a pipe");
        String::from_utf8_lossy(&octets).into_owned()
    });
    let pid = Pid::from_child(&child);
    if !ends(pid) {
        let _ = child.kill();
        panic!("the process did not end within {BOUND:?}: {}", complaining.join().expect("read"));
    }
    let status = child.wait().expect("our child");
    Said { status, stdout: reading.join().expect("read"), stderr: complaining.join().expect("read") }
}

/// Runs `rsp` with these arguments to its end.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Said {
    let mut command = rsp();
    command.args(arguments);
    finish(command, b"")
}

/// Waits until a process is gone (or a zombie); false if it is not within the bound.
pub fn ends(pid: Pid) -> bool {
    let Ok(descriptor) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else { return true };
    let mut waiting = [PollFd::new(&descriptor, PollFlags::IN)];
    let bound = Timespec { tv_sec: BOUND.as_secs() as i64, tv_nsec: 0 };
    poll(&mut waiting, Some(&bound)).is_ok_and(|ready| ready > 0)
}

/// Processes whose command line contains this word, zombies excepted, and `rsp` itself: a process of it that is about to
/// become something else still shows the command line of its parent.
pub fn processes_with(word: &str) -> Vec<Pid> {
    let me = std::process::id();
    let all = std::fs::read_dir("/proc").expect("proc").flatten();
    all.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let mut words = line.split(|&octet| octet == 0);
        let is_ours = words.next() == Some(env!("CARGO_BIN_EXE_rsp").as_bytes());
        let has_word = words.any(|one| one == word.as_bytes());
        (has_word && !is_ours && pid as u32 != me).then(|| Pid::from_raw(pid)).flatten()
    })
    .collect()
}

/// A registrar or worker that serves. Ends with the value.
pub struct Server {
    pub child: Child,
    pub serving: String,
    lines: Receiver<String>,
}

impl Server {
    /// Starts `rsp` with these arguments and waits until it says what it serves.
    pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = rsp();
        command.args(arguments);
        Self::of(command)
    }

    /// Starts this command and waits until it says what it serves.
    pub fn of(command: Command) -> Self {
        Self::begin(command).served()
    }

    /// Starts this command.
    pub fn begin(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let (told, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if told.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, serving: String::new(), lines }
    }

    /// Waits until it says what it serves.
    pub fn served(mut self) -> Self {
        self.serving = self.line_with(" serves ");
        self
    }

    /// A registrar on loopback, on ports of its own.
    pub fn registrar(more: &[&str]) -> Self {
        Self::start([&["registrar", "--listen", "127.0.0.1:0", "--verbose"], more].concat())
    }

    /// A worker of this registrar with one slot.
    pub fn worker(registrar: &Self, more: &[&str]) -> Self {
        let at = registrar.asap().to_string();
        Self::start([&["worker", "--registrar", &at, "--slots", "1", "--verbose"], more].concat())
    }

    /// What it says from now on, for somebody else to listen to.
    pub fn lines(&mut self) -> Receiver<String> {
        std::mem::replace(&mut self.lines, mpsc::channel().1)
    }

    /// Waits for a line that contains this.
    pub fn line_with(&mut self, part: &str) -> String {
        let mut before = Vec::new();
        loop {
            match self.lines.recv_timeout(BOUND) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => before.push(line),
                Err(_) => panic!("no line with '{part}' after {before:#?}"),
            }
        }
    }

    fn address(&self, section: &str, scheme: &str) -> SocketAddr {
        let behind = self.serving.split(section).nth(1).expect("the section");
        let text = behind.split(scheme).nth(1).expect("the scheme");
        text.split([' ', ',']).next().and_then(|at| at.parse().ok()).expect("an address")
    }

    /// Where a registrar takes ASAP.
    pub fn asap(&self) -> SocketAddr {
        self.address(" ASAP ", "tcp://")
    }

    /// Where a registrar takes ENRP.
    pub fn enrp(&self) -> SocketAddr {
        self.address(" ENRP ", "sctp://")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("it runs");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
