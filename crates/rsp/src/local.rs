//! Processes of our own on this machine: registrars and workers that end with us.

use crate::exit::{Code, Failure};
use crate::process::{PARENT, say};
use rustix::process::{Pid, Signal};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a process of ours may take to say what it serves.
const START_MAX: Duration = Duration::from_secs(20);

/// A process of ours that serves. Dropping it ends it.
pub struct Server {
    process: Child,
    /// Its first line: what it serves.
    pub serving: String,
}

impl Server {
    /// Starts `rsp` with these arguments, without waiting for it to serve. Must be called on a thread that lives as long
    /// as the process should: its end is the signal for it to end (see `process::end_with_parent`). `variables` are added to
    /// its environment.
    pub fn start(
        arguments: &[String],
        variables: &[(&str, String)],
        name: &str,
    ) -> Result<Starting, Failure> {
        let cannot =
            |cause: std::io::Error| Failure::new(Code::Failed, format!("cannot start {name}: {cause}"));
        let mut process = Command::new(std::env::current_exe().map_err(cannot)?)
            .args(arguments)
            .arg("--private")
            .env(PARENT, std::process::id().to_string())
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(cannot)?;
        let stderr = process.stderr.take().expect("piped two lines above");
        let (told, lines) = mpsc::channel();
        let prefix = name.to_owned();
        std::thread::Builder::new()
            .name(format!("stderr of {name}"))
            .spawn(move || listen(stderr, &prefix, &told))
            .map_err(cannot)?;
        Ok(Starting { server: Self { process, serving: String::new() }, lines, name: name.to_owned() })
    }

    /// The first address behind `scheme://` in what it serves; `None` if there is none.
    pub fn address(&self, section: &str, scheme: &str) -> Option<SocketAddr> {
        let behind = self.serving.split(section).nth(1)?;
        let text = behind.split(scheme).nth(1)?;
        text.split([' ', ',']).next()?.parse().ok()
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// How it ended; `None`: it did not.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().ok().flatten()
    }

    /// Sends it a signal. One that is gone already is no trouble.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process(self.pid(), signal);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGKILL ends a stopped process too; its keeper clears up behind it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Ends them all. Each may take a while to be gone (the kernel waits before it lets go of some things), so they do it side
/// by side.
pub fn end(servers: Vec<Server>) {
    for server in &servers {
        server.signal(Signal::KILL);
    }
    drop(servers);
}

/// A process of ours that does not serve yet.
pub struct Starting {
    server: Server,
    lines: mpsc::Receiver<String>,
    name: String,
}

impl Starting {
    /// Waits until it serves.
    pub fn wait(mut self) -> Result<Server, Failure> {
        match self.lines.recv_timeout(START_MAX) {
            Ok(line) => {
                self.server.serving = line;
                Ok(self.server)
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Failure::new(
                Code::Failed,
                format!("{} ended before it served; see its line above", self.name),
            )),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                Err(Failure::new(Code::Failed, format!("{} did not serve within {START_MAX:?}", self.name)))
            }
        }
    }
}

/// Takes the line that says what it serves; repeats all others on our standard error.
fn listen(stderr: ChildStderr, name: &str, told: &mpsc::Sender<String>) {
    let mut waiting = true;
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if waiting && line.contains(" serves ") {
            waiting = told.send(line).is_err();
        } else {
            say(format!("{name}: {line}"));
        }
    }
}

/// Where a registrar takes ASAP over TCP and SCTP (one number), and ENRP.
#[derive(Clone, Copy, Debug)]
pub struct RegistrarAt {
    /// ASAP.
    pub asap: SocketAddr,
    /// ENRP.
    pub enrp: SocketAddr,
}

/// Starts a registrar on loopback, on ports of its own, as a peer of `peers`.
pub fn registrar(id: u32, profile: &str, peers: &[SocketAddr]) -> Result<(Server, RegistrarAt), Failure> {
    start_registrar(id, profile, &["--listen".into(), "127.0.0.1:0".into()], peers)
}

/// Starts a registrar where there was one before.
pub fn registrar_again(
    id: u32,
    profile: &str,
    at: RegistrarAt,
    peers: &[SocketAddr],
) -> Result<(Server, RegistrarAt), Failure> {
    let doors = ["--listen".into(), at.asap.to_string(), "--enrp".into(), at.enrp.to_string()];
    start_registrar(id, profile, &doors, peers)
}

fn start_registrar(
    id: u32,
    profile: &str,
    doors: &[String],
    peers: &[SocketAddr],
) -> Result<(Server, RegistrarAt), Failure> {
    let mut arguments: Vec<String> = ["registrar", "--profile", profile].map(Into::into).into();
    arguments.extend_from_slice(doors);
    arguments.extend(["--id".into(), format!("{id:08x}")]);
    for peer in peers {
        arguments.extend(["--peer".into(), peer.to_string()]);
    }
    let server = Server::start(&arguments, &[], "registrar")?.wait()?;
    let found = (server.address(" ASAP ", "tcp://"), server.address(" ENRP ", "sctp://"));
    let (Some(asap), Some(enrp)) = found else {
        let message = format!("the registrar does not say where it serves: {}", server.serving);
        return Err(Failure::new(Code::Failed, message));
    };
    Ok((server, RegistrarAt { asap, enrp }))
}

/// Begins to start a worker for these registrars. Its tasks inherit its `variables`.
pub fn worker(
    id: u32,
    pool: &str,
    slots: u32,
    profile: &str,
    registrars: &[SocketAddr],
    variables: &[(&str, String)],
) -> Result<Starting, Failure> {
    let mut arguments: Vec<String> = ["worker", "--pool", pool, "--profile", profile].map(Into::into).into();
    arguments.extend(["--slots".into(), slots.to_string(), "--id".into(), format!("{id:08x}")]);
    for registrar in registrars {
        arguments.extend(["--registrar".into(), registrar.to_string()]);
    }
    Server::start(&arguments, variables, &format!("worker {id:08x}"))
}
