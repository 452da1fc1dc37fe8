//! Hosts and the networks between them: network namespaces, switches, and links that can be made worse or cut.
//!
//! Host `i` has the addresses `10.n.0.i` and `fd0n::i` at its interface `ethn` in network `n`, each from 1. Every set of
//! hosts is a world of its own: several rows run at once and never hear each other.

use crate::program::Program;
use crate::{Capture, eventually};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many hosts, 1 to 99.
    pub hosts: usize,
    /// How many networks each of them is in, 1 to 9.
    pub networks: usize,
    /// Kernel parameters of each host, such as `net/sctp/rto_min` and `200`.
    pub parameters: Vec<(&'static str, u32)>,
    /// Whether hosts have IPv4 addresses.
    pub ipv4: bool,
    /// Whether hosts have IPv6 addresses.
    pub ipv6: bool,
    /// Whether what they say is captured.
    pub captured: bool,
}

impl Plan {
    /// So many hosts in one network, with IPv4 addresses.
    pub fn hosts(hosts: usize) -> Self {
        Self { hosts, networks: 1, parameters: Vec::new(), ipv4: true, ipv6: false, captured: true }
    }

    /// Each of them in so many networks.
    pub fn networks(self, networks: usize) -> Self {
        Self { networks, ..self }
    }

    /// With this kernel parameter on each host.
    pub fn parameter(mut self, name: &'static str, value: u32) -> Self {
        self.parameters.push((name, value));
        self
    }

    /// Without a capture: for rows that say so much that its time counts, and look at nothing of it.
    pub fn uncaptured(self) -> Self {
        Self { captured: false, ..self }
    }

    /// With IPv6 addresses instead.
    pub fn ipv6_only(self) -> Self {
        Self { ipv4: false, ipv6: true, ..self }
    }
}

/// Hosts joined by switches. They vanish with the guest; the value should outlive the programs on them.
pub struct Hosts {
    all: Vec<Host>,
    capture: Option<Capture>,
}

/// A host.
#[derive(Clone)]
pub struct Host {
    /// Its number, from 1.
    pub number: usize,
    namespace: String,
    folder: PathBuf,
}

impl Hosts {
    /// Makes them, and captures what they say into `capture.pcapng` of this folder, if that is planned.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn new(plan: &Plan, folder: &Path) -> Self {
        static WORLDS: AtomicU32 = AtomicU32::new(0);
        let world = format!("w{}", WORLDS.fetch_add(1, Ordering::Relaxed));
        let switch = format!("{world}s");
        let all: Vec<Host> = (1..=plan.hosts)
            .map(|number| Host { number, namespace: format!("{world}h{number}"), folder: folder.into() })
            .collect();

        let mut root = format!("netns add {switch}\n");
        let mut switches = String::from("link set lo up\n");
        for n in 1..=plan.networks {
            // Without snooping a switch passes multicast on to everybody.
            let _ = writeln!(switches, "link add br{n} type bridge mcast_snooping 0\nlink set br{n} up");
            let _ = writeln!(switches, "addr add 10.{n}.0.254/24 dev br{n}");
        }
        for host in &all {
            let (number, namespace) = (host.number, &host.namespace);
            let _ = writeln!(root, "netns add {namespace}");
            for n in 1..=plan.networks {
                let _ = writeln!(
                    root,
                    "link add h{number}.{n} netns {switch} type veth peer name eth{n} netns {namespace}"
                );
                let _ = writeln!(switches, "link set h{number}.{n} addrgenmode none up master br{n}");
            }
        }
        switches += "route add 224.0.0.0/4 dev br1\n";
        batch(None, &root);
        batch(Some(&switch), &switches);
        for host in &all {
            host.set_up(plan);
        }
        let networks: Vec<String> = (1..=plan.networks).map(|n| format!("br{n}")).collect();
        let capture =
            plan.captured.then(|| Capture::start(&switch, &networks, &folder.join("capture.pcapng")));
        Self { all, capture }
    }

    /// The host with this number, from 1.
    pub fn host(&self, number: usize) -> &Host {
        &self.all[number - 1]
    }
}

impl Drop for Hosts {
    /// Everything that was said up to now is in the capture's file then, unless the row failed.
    fn drop(&mut self) {
        if let Some(capture) = self.capture.take().filter(|_| !std::thread::panicking()) {
            capture.stop();
        }
    }
}

impl Host {
    fn set_up(&self, plan: &Plan) {
        let number = self.number;
        let mut links = String::from("link set lo up multicast on\n");
        for n in 1..=plan.networks {
            // A batch of datagrams sent at once (UDP GSO) would reach the other host in one piece, as no real cable
            // does it; Linux 6.1 with SCTP over UDP (RFC 6951) panics when it gets one.
            let _ = writeln!(links, "link set eth{n} addrgenmode none up multicast on gso_max_segs 1");
            if plan.ipv4 {
                let _ = writeln!(links, "addr add 10.{n}.0.{number}/24 dev eth{n}");
            }
            if plan.ipv6 {
                let _ = writeln!(links, "addr add fd0{n}::{number}/64 dev eth{n} nodad");
            }
        }
        links += if plan.ipv4 { "route add 224.0.0.0/4 dev eth1\n" } else { "" };
        batch(Some(&self.namespace), &links);
        self.set(&plan.parameters);
    }

    /// Sets kernel parameters of this host, such as `net/sctp/rto_min`.
    pub fn set(&self, parameters: &[(&str, u32)]) {
        let lines: Vec<String> =
            parameters.iter().map(|(name, value)| format!("echo {value} >/proc/sys/{name}")).collect();
        if !lines.is_empty() {
            self.run("sh", ["-c", &lines.join(" && ")]);
        }
    }

    /// Its address in the first network.
    pub fn ip(&self) -> String {
        self.ip_in(1)
    }

    /// Its address in this network.
    pub fn ip_in(&self, network: usize) -> String {
        format!("10.{network}.0.{}", self.number)
    }

    /// Its IPv6 address in the first network.
    pub fn ip6(&self) -> String {
        format!("fd01::{}", self.number)
    }

    /// Leaves a file of this name in the row's folder with a line for each address of this host. True the first time.
    pub fn mark(&self, name: &str) -> bool {
        let path = self.folder.join(name);
        let mut lines: BTreeSet<String> =
            fs::read_to_string(&path).unwrap_or_default().lines().map(str::to_owned).collect();
        let before = lines.len();
        for n in 1..=9 {
            lines.extend([self.ip_in(n), format!("fd0{n}::{}", self.number)]);
        }
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(path, text).expect("the row's folder can be written to");
        lines.len() > before
    }

    /// A command on this host.
    pub fn command<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg("--").arg(program).args(arguments);
        command
    }

    /// Runs a program on this host to its end, which must be a good one, and gives its standard output.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn run<A: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = A>) -> String {
        let output =
            self.command(program, arguments).stdin(Stdio::null()).output().expect("nsenter is there");
        succeeded(program, &output);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts a program on this host.
    pub fn start<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Program {
        let program = program.as_ref();
        let command = self.command(program, arguments);
        let name = Path::new(program).file_name().unwrap_or(program).display().to_string();
        self.spawn(&name, command)
    }

    /// Runs this in a thread on this host: the sockets it opens, and the threads it starts, are there.
    ///
    /// # Panics
    ///
    /// If it does.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let namespace = fs::File::open(format!("/run/netns/{}", self.namespace)).expect("it was made");
        std::thread::scope(|scope| {
            let there = scope.spawn(move || {
                let kind = rustix::thread::LinkNameSpaceType::Network;
                rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))
                    .expect("permitted in a guest");
                body()
            });
            there.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
        })
    }

    /// Starts a command made by [`Self::command`]. Its output goes to a file of the row's folder.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn spawn(&self, name: &str, mut command: Command) -> Program {
        command.stdin(Stdio::null());
        self.launch(name, command)
    }

    /// As [`Self::start`], for a program that is told something on its standard input.
    pub fn talk_to<A: AsRef<OsStr>>(&self, program: &str, arguments: impl IntoIterator<Item = A>) -> Program {
        let mut command = self.command(program, arguments);
        command.stdin(Stdio::piped());
        self.launch(program, command)
    }

    fn launch(&self, name: &str, mut command: Command) -> Program {
        let log = (1..)
            .map(|count| self.folder.join(format!("h{}-{name}-{count}.log", self.number)))
            .find(|path| !path.exists())
            .expect("numbers do not end");
        let out = fs::File::create(&log).expect("the row's folder can be written to");
        let err = out.try_clone().expect("a file");
        let child = command.stdout(out).stderr(err).spawn().expect("nsenter is there");
        Program { name: format!("{name} on host {}", self.number), child, log }
    }

    /// Takes away its IPv4 address in this network (or, `present` true, gives it back).
    pub fn renumber(&self, network: usize, present: bool) {
        let verb = if present { "add" } else { "del" };
        let (at, device) = (format!("{}/24", self.ip_in(network)), format!("eth{network}"));
        self.run("ip", ["addr", verb, &at, "dev", &device]);
    }

    /// From now on nothing that this host sends into this network arrives, and nobody is told. For both directions cut
    /// at both ends.
    pub fn cut(&self, network: usize) {
        self.impair(network, "loss 100%");
    }

    /// Ends what [`Self::cut`] and [`Self::impair`] began.
    pub fn mend(&self, network: usize) {
        self.tc(&format!("qdisc del dev eth{network} root"));
    }

    /// What this host sends into this network suffers this, in the words of `tc-netem(8)`.
    pub fn impair(&self, network: usize, how: &str) {
        self.tc(&format!("qdisc replace dev eth{network} root netem {how}"));
    }

    fn tc(&self, words: &str) {
        self.run("tc", words.split_whitespace());
    }

    /// Waits until the kernel's SCTP holds the path to this address for confirmed (or, `up` false, for failed).
    pub fn path(&self, address: &str, up: bool) {
        // Columns of the file: address, association, ..., state at its end: 2 active, 0 inactive.
        let state = if up { "2" } else { "0" };
        eventually(
            || {
                format!(
                    "host {} holds the path to {address} for {}",
                    self.number,
                    if up { "up" } else { "down" }
                )
            },
            || {
                let paths = self.run("cat", ["/proc/net/sctp/remaddr"]);
                let mut lines = paths.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                lines
                    .any(|words| words.first() == Some(&address) && words.last() == Some(&state))
                    .then_some(())
            },
        );
    }
}

/// Runs commands of `ip`, one a line, in this namespace: a program started costs more in a guest than outside.
fn batch(namespace: Option<&str>, lines: &str) {
    let mut command = Command::new("ip");
    if let Some(name) = namespace {
        command.args(["-n", name]);
    }
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("iproute2 is there");
    child.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("ip reads");
    succeeded(&format!("ip -batch of\n{lines}"), &child.wait_with_output().expect("our child"));
}

fn succeeded(what: &str, output: &Output) {
    let status = output.status;
    assert!(status.success(), "{what}: {status}: {}", String::from_utf8_lossy(&output.stderr));
}
