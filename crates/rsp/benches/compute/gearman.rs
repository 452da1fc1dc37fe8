//! The reference: Gearman, with two workers and a client in C, compiled when the benchmark runs.
//!
//! Gearman is what somebody would take instead for short tasks on Linux, and the fastest of its kind we found.

use crate::process::{Process, said_by};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What to do where it is missing (Debian and its relatives).
pub const ADVICE: &str =
    "no Gearman here, its column is missing; `apt-get install gearman-job-server libgearman-dev`";

const SOURCE: &str = include_str!("gearman.c");

/// The compiled program, for workers and clients.
pub struct Gearman {
    folder: TempDir,
}

/// A server and its two workers.
pub struct Pool {
    port: u16,
    processes: Vec<Process>,
}

impl Pool {
    /// One of its workers: dropped, it is killed.
    pub fn take_worker(&mut self) -> Process {
        self.processes.pop().expect("a server and two workers")
    }
}

impl Gearman {
    /// Compiles worker and client; `None` where `gearmand`, the library or a compiler is missing.
    pub fn new() -> Option<Self> {
        Command::new("gearmand")
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .ok()?;
        let folder = tempfile::tempdir().ok()?;
        let source = folder.path().join("gearman.c");
        std::fs::write(&source, SOURCE).ok()?;
        let gearman = Self { folder };
        let compiled = Command::new("cc")
            .args(["-O2", "-o"])
            .args([gearman.program(), source])
            .arg("-lgearman")
            .stderr(Stdio::null())
            .status();
        compiled.is_ok_and(|status| status.success()).then_some(gearman)
    }

    fn program(&self) -> std::path::PathBuf {
        self.folder.path().join("gearman")
    }

    fn client(&self, words: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(words);
        command
    }

    /// Starts the server and, as soon as it listens, the workers.
    pub fn start(&self) -> Pool {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("bound").port();
        drop(free);
        let mut server = Command::new("gearmand");
        server.args(["-L", "127.0.0.1", "--log-file", "none", "-p"]).arg(port.to_string());
        let server = Process::start(server);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let worker = || Process::start(self.client(&["worker", &port.to_string()]));
        Pool { port, processes: vec![server, worker(), worker()] }
    }

    /// From nothing to the first result.
    pub fn cold(&self) -> Duration {
        let begun = Instant::now();
        let pool = self.start();
        said_by(self.client(&["first", &pool.port.to_string()]));
        begun.elapsed()
    }

    /// The time of each of so many no-ops, one at a time.
    pub fn round_trips(&self, pool: &Pool, count: usize) -> Vec<Duration> {
        let said = said_by(self.client(&["trips", &pool.port.to_string(), &count.to_string()]));
        said.lines().map(nanos).collect()
    }

    /// How long so many tasks take; `name` is one the workers serve.
    pub fn many(&self, pool: &Pool, name: &str, count: usize) -> Duration {
        nanos(said_by(self.client(&["many", &pool.port.to_string(), name, &count.to_string()])).trim())
    }
}

fn nanos(line: &str) -> Duration {
    Duration::from_nanos(line.parse().expect("the client prints nanoseconds"))
}
