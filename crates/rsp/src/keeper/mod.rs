//! The keeper: a small process beside each worker that owns the task processes.
//!
//! A worker may die at any moment, by SIGKILL too, and must not leave anything running. So the tasks are not its own
//! children but the keeper's, and the keeper watches a socket to the worker: when the worker is gone the socket ends,
//! and the keeper ends every descendant, however deep and in whatever session it hides, removes the tasks' folders, and
//! ends itself.
//!
//! ```text
//!   worker --- socket: start, kill (with the write ends of the output pipes) --> keeper --- spawn -------> task
//!          <-- socket: ended, cannot start ------------------------------------         adopts orphans
//!          <== pipes: the task's stdout and stderr, directly ========================================
//! ```
//!
//! Above it stands a guard, the same program, which does nothing but notice that either of the two is gone, and then does
//! the same: so tasks also end when worker and keeper are killed at the same moment.
//!
//! The keeper is a *child subreaper*: descendants whose parent dies become its children, so "everything the tasks ever
//! started" is a set it can always find. What a task leaves running when it ends is ended with it: a tag in the
//! environment tells whose it is, and what hides that is ended as soon as it can belong to nobody else: when no other task
//! runs.
//!
//! A task's memory is what its processes have in core (shared pages shared out), looked at every [`WATCH`]: no limit of a
//! single process, and no privilege is needed.

mod launch;

use launch::Launcher;
use nix::sys::signal::{SigSet, Signal as Caught};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// The environment variable that marks the processes of one task. Its value is unique per worker and attempt.
const TAG: &str = "RSP_PROCESS_TAG";

/// The first word of a keeper's command line.
const WORD: &str = "keeper";

/// The second one of a keeper that has a guard.
const INNER: &str = "--inner";

/// Pause between two looks at the memory of tasks that may use only so much.
const WATCH: Duration = Duration::from_millis(50);

/// How long to wait for a process that was killed: the kernel may keep it as long as it waits for a disk or a file server.
const UNKILLABLE: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// The largest request: the kernel's own limit for arguments and environment is 2 MiB by default.
const REQUEST_MAX: usize = 8 << 20;

/// A program to run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// A number of the worker's choice, not in use by another running task.
    pub id: u64,
    /// The folder to run in.
    pub directory: PathBuf,
    /// The program and its arguments; never empty.
    pub arguments: Vec<OsString>,
    /// Variables added to the keeper's environment.
    pub variables: Vec<(OsString, OsString)>,
    /// Octets of memory its processes may use together.
    pub memory_max: Option<u64>,
    /// How much it steps back: 0 to 19.
    pub nice: u8,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended by itself, with this status.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// It was ended because it used more than these octets of memory.
    OverMemory(u64),
    /// It could not be started, for this reason.
    CannotStart(String),
}

/// The worker's end of the socket.
pub struct Keeper {
    socket: UnixStream,
}

impl Keeper {
    /// Starts a keeper. `scratch` is removed, with everything in it, when the keeper ends.
    pub fn start(scratch: &Path) -> io::Result<Self> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Nobody waits for it: it ends after us.
        Command::new(std::env::current_exe()?)
            .arg(WORD)
            .arg(scratch)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // A terminal's Ctrl-C goes to the worker, which decides; the keeper follows the socket.
            .process_group(0)
            .spawn()?;
        Ok(Self { socket: UnixStream::from(ours) })
    }

    /// Starts a program whose output goes into these pipes.
    pub fn order(&mut self, order: &Order, stdout: BorrowedFd<'_>, stderr: BorrowedFd<'_>) -> io::Result<()> {
        send(&self.socket, &encode_order(order), &[stdout, stderr])
    }

    /// Ends a program and everything it started. Its outcome is still reported.
    pub fn kill(&mut self, id: u64) -> io::Result<()> {
        let mut request = vec![b'K'];
        request.extend(id.to_be_bytes());
        send(&self.socket, &request, &[])
    }

    /// A second hold on the socket, to wait for outcomes on a thread of its own: see [`next_outcome`].
    pub fn outcomes(&self) -> io::Result<UnixStream> {
        self.socket.try_clone()
    }
}

/// Waits for the next outcome; `None` when the keeper is gone. What the program said is in its output pipes by then; that they
/// end may show a moment later, or never, if something still holds them that hides from the keeper.
pub fn next_outcome(socket: &mut UnixStream) -> Option<(u64, Outcome)> {
    let mut length = [0; 4];
    socket.read_exact(&mut length).ok()?;
    let mut report = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut report).ok()?;
    let id = u64::from_be_bytes(report.get(1..9)?.try_into().ok()?);
    let rest = report.get(9..)?;
    let number = || Some(i32::from_be_bytes(rest.try_into().ok()?));
    let outcome = match report[0] {
        b'E' => Outcome::Exited(number()?),
        b'S' => Outcome::Signalled(number()?),
        b'M' => Outcome::OverMemory(u64::from_be_bytes(rest.try_into().ok()?)),
        _ => Outcome::CannotStart(String::from_utf8_lossy(rest).into_owned()),
    };
    Some((id, outcome))
}

fn encode_order(order: &Order) -> Vec<u8> {
    let mut request = vec![b'S'];
    request.extend(order.id.to_be_bytes());
    request.extend(order.memory_max.unwrap_or(0).to_be_bytes());
    request.push(order.nice);
    let mut text = |bytes: &[u8]| {
        request.extend((bytes.len() as u32).to_be_bytes());
        request.extend(bytes);
    };
    text(order.directory.as_os_str().as_bytes());
    text(&(order.arguments.len() as u32).to_be_bytes());
    for argument in &order.arguments {
        text(argument.as_bytes());
    }
    for (name, value) in &order.variables {
        text(name.as_bytes());
        text(value.as_bytes());
    }
    request
}

fn decode_order(request: &[u8]) -> Option<Order> {
    let id = u64::from_be_bytes(request.get(1..9)?.try_into().ok()?);
    let memory_max = u64::from_be_bytes(request.get(9..17)?.try_into().ok()?);
    let nice = *request.get(17)?;
    let mut rest = request.get(18..)?;
    let mut text = || -> Option<Vec<u8>> {
        let (length, behind) = rest.split_at_checked(4)?;
        let (bytes, behind) = behind.split_at_checked(u32::from_be_bytes(length.try_into().ok()?) as usize)?;
        rest = behind;
        Some(bytes.to_vec())
    };
    let directory = PathBuf::from(OsString::from_vec(text()?));
    let count = u32::from_be_bytes(text()?.try_into().ok()?);
    let mut arguments = Vec::new();
    for _ in 0..count {
        arguments.push(OsString::from_vec(text()?));
    }
    let mut variables = Vec::new();
    while let Some(name) = text() {
        variables.push((OsString::from_vec(name), OsString::from_vec(text()?)));
    }
    let memory_max = (memory_max > 0).then_some(memory_max);
    Some(Order { id, directory, arguments, variables, memory_max, nice })
}

/// Sends a request; the descriptors travel with its first octets.
fn send(socket: &UnixStream, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let head = (request.len() as u32).to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    // All at once, as a rule: whoever reads it is woken once.
    let parts = [IoSlice::new(&head), IoSlice::new(request)];
    let sent = rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&head[sent.min(head.len())..])?;
    socket.write_all(&request[sent.saturating_sub(head.len())..])
}

/// A request with its descriptors; `None` at the end of the socket.
fn receive(socket: &UnixStream) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut head = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut head)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let mut socket = socket;
    socket.read_exact(&mut head[received.bytes..])?;
    let length = u32::from_be_bytes(head) as usize;
    if length > REQUEST_MAX {
        return Err(io::Error::other("request too large"));
    }
    let mut request = vec![0; length];
    socket.read_exact(&mut request)?;
    Ok(Some((request, descriptors)))
}

/// What a keeper's command line asks for: the folder, and whether it has a guard. `None` for the command line of anybody
/// else.
pub fn asked(words: impl Iterator<Item = OsString>) -> Option<(PathBuf, bool)> {
    let mut words = words.skip(1);
    words.next().filter(|word| word == WORD)?;
    let last: [Option<OsString>; 3] = std::array::from_fn(|_| words.next());
    match last {
        [Some(scratch), None, _] => Some((scratch.into(), false)),
        [Some(inner), Some(scratch), None] if inner == INNER => Some((scratch.into(), true)),
        _ => None,
    }
}

/// The keeper's own life: `rsp keeper SCRATCH`, with the socket as standard input. `inner`: it has a guard already, which is
/// there as long as its standard output is.
pub fn run(scratch: &Path, inner: bool) -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    // Whoever started us may have had the ends of children ignored, and the kernel then tells nobody: a handler changes that,
    // although it never runs.
    signal_hook::flag::register(Caught::SIGCHLD as i32, Arc::new(AtomicBool::new(false)))?;
    // Politeness towards a whole process group or a service manager must not leave tasks behind: it is heard, like the end of
    // a child, and nothing comes of it.
    let heard =
        [Caught::SIGCHLD, Caught::SIGINT, Caught::SIGTERM, Caught::SIGHUP].into_iter().collect::<SigSet>();
    heard.thread_block()?;
    let signals = SignalFd::with_flags(&heard, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    // Not for programs: they have neither this nor anything else of ours.
    let socket = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?);
    let mut nursery = Nursery::new(socket, scratch.to_owned())?;
    let served = if inner {
        crate::process::allow_many_files();
        nursery.serve(&signals)
    } else {
        nursery.guard(&signals)
    };
    nursery.end_everything();
    crate::files::remove(scratch);
    match served {
        // A worker that is killed leaves the socket as it happens to be: in the middle of a request, or with reports nobody
        // took.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) =>
        {
            Ok(())
        }
        served => served,
    }
}

/// The running programs, by the process that leads each.
struct Nursery {
    socket: UnixStream,
    /// Reports that the worker has not made room for yet.
    unsaid: Vec<u8>,
    running: HashMap<Pid, Running>,
    /// Processes of tasks that ended, which could not be killed.
    stuck: HashSet<Pid>,
    launcher: Launcher,
    scratch: PathBuf,
    /// When memory was looked at last.
    looked: Instant,
}

/// A program that runs.
struct Running {
    id: u64,
    memory_max: Option<u64>,
    /// It used more.
    over: bool,
    /// Holds its output pipes, so that they do not end before its outcome is told: whoever reads them is woken once.
    _outputs: [OwnedFd; 2],
}

impl Nursery {
    fn new(socket: UnixStream, scratch: PathBuf) -> io::Result<Self> {
        let (running, stuck) = (HashMap::new(), HashSet::new());
        let (launcher, looked) = (Launcher::new()?, Instant::now());
        Ok(Self { socket, unsaid: Vec::new(), running, stuck, launcher, scratch, looked })
    }

    /// Starts the keeper proper and waits until it or the worker is gone. What is left then is ours.
    fn guard(&mut self, signals: &SignalFd) -> io::Result<()> {
        let (alive, watched) = UnixStream::pair()?;
        let keeper = Command::new(std::env::current_exe()?)
            .args([WORD.as_ref(), INNER.as_ref(), self.scratch.as_os_str()])
            .stdin(Stdio::from(rustix::io::fcntl_dupfd_cloexec(&self.socket, 3)?))
            .stdout(Stdio::from(OwnedFd::from(watched)))
            .spawn()?;
        let keeper = Pid::from_child(&keeper);
        loop {
            // What the worker says is for the keeper; here only its end is of interest.
            let mut waiting =
                [PollFd::new(&self.socket, PollFlags::empty()), PollFd::new(signals, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let worker_gone = !waiting[0].revents().is_empty();
            drain(signals);
            let mut keeper_gone = false;
            while let Ok(Some((pid, _))) = rustix::process::wait(WaitOptions::NOHANG) {
                keeper_gone |= pid == keeper;
            }
            if worker_gone && !keeper_gone {
                // It ends everything itself, and in better order; we only make sure.
                let mut ends = [PollFd::new(signals, PollFlags::IN)];
                let grace = Timespec { tv_sec: 1, tv_nsec: 0 };
                let _ = poll(&mut ends, Some(&grace));
            }
            if worker_gone || keeper_gone {
                drop(alive);
                return Ok(());
            }
        }
    }

    fn serve(&mut self, signals: &SignalFd) -> io::Result<()> {
        loop {
            let guard = rustix::stdio::stdout();
            let speak = if self.unsaid.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            let mut waiting = [
                PollFd::new(&self.socket, PollFlags::IN | speak),
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(&guard, PollFlags::empty()),
            ];
            let watching = self.running.values().any(|running| running.memory_max.is_some());
            let pause = Timespec { tv_sec: 0, tv_nsec: WATCH.as_nanos() as i64 };
            match poll(&mut waiting, watching.then_some(&pause)) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let [asked, ended, alone] =
                [0, 1, 2].map(|place: usize| waiting[place].revents().intersects(!PollFlags::OUT));
            if alone {
                return Ok(());
            }
            if watching && self.looked.elapsed() >= WATCH {
                self.look_at_memory();
                self.looked = Instant::now();
            }
            if ended {
                drain(signals);
                self.reap();
            }
            self.speak();
            if asked {
                match receive(&self.socket)? {
                    None => return Ok(()),
                    Some((request, descriptors)) => self.obey(&request, descriptors),
                }
            }
        }
    }

    fn obey(&mut self, request: &[u8], descriptors: Vec<OwnedFd>) {
        match request.first() {
            Some(b'S') => {
                if let Some(order) = decode_order(request) {
                    self.start(&order, descriptors);
                }
            }
            Some(b'K') => {
                let id = request.get(1..9).and_then(|id| id.try_into().ok()).map(u64::from_be_bytes);
                let leader =
                    self.running.iter().find(|(_, running)| Some(running.id) == id).map(|(pid, _)| *pid);
                if let (Some(leader), Some(id)) = (leader, id) {
                    self.kill(leader, id);
                }
            }
            _ => {}
        }
    }

    fn kill(&mut self, leader: Pid, id: u64) {
        let _ = rustix::process::kill_process_group(leader, Signal::KILL);
        let _ = rustix::process::kill_process(leader, Signal::KILL);
        self.end_remains(id);
    }

    /// Ends programs that use more memory than they may.
    fn look_at_memory(&mut self) {
        let limited = self.running.iter().filter(|(_, running)| !running.over);
        let limited: Vec<_> =
            limited.filter_map(|(pid, running)| Some((*pid, running.id, running.memory_max?))).collect();
        for (leader, id, limit) in limited {
            let all = self.processes_of(leader, id);
            // Cheap first: pages shared by several processes count several times here.
            if all.iter().map(|pid| resident(*pid)).sum::<u64>() > limit
                && all.iter().map(|pid| proportional(*pid)).sum::<u64>() > limit
            {
                if let Some(running) = self.running.get_mut(&leader) {
                    running.over = true;
                }
                self.kill(leader, id);
            }
        }
    }

    /// The processes of a task: its leader, everything below, and what left it and came to us.
    fn processes_of(&self, leader: Pid, id: u64) -> Vec<Pid> {
        let tag = format!("{TAG}={}", self.tag(id));
        let adopted = children().into_iter().filter(|pid| !self.running.contains_key(pid));
        let mut found: Vec<_> = adopted.filter(|pid| has_tag(*pid, &tag)).collect();
        found.push(leader);
        let mut next = 0;
        while next < found.len() {
            found.extend(children_of(found[next]));
            next += 1;
        }
        found
    }

    fn tag(&self, id: u64) -> String {
        format!("{}-{id}", self.scratch.display())
    }

    fn start(&mut self, order: &Order, descriptors: Vec<OwnedFd>) {
        let Ok(outputs) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return self.report(order.id, &Outcome::CannotStart("its output pipes were lost".into()));
        };
        match self.launcher.start(order, &self.tag(order.id), &outputs) {
            Ok(leader) => {
                let Order { id, memory_max, .. } = *order;
                self.running.insert(leader, Running { id, memory_max, over: false, _outputs: outputs });
            }
            Err(error) => {
                let why = match error.kind() {
                    io::ErrorKind::NotFound if order.directory.is_dir() => "command not found".to_string(),
                    io::ErrorKind::NotFound => {
                        format!("its folder {} does not exist there", order.directory.display())
                    }
                    io::ErrorKind::PermissionDenied => "not executable (permission denied)".to_string(),
                    _ => error.to_string(),
                };
                self.report(order.id, &Outcome::CannotStart(why));
            }
        }
    }

    /// Collects what ended, ends what it left behind, and reports it.
    fn reap(&mut self) {
        let mut ended = Vec::new();
        let has_more = loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    self.stuck.remove(&pid);
                    ended.extend(self.running.remove(&pid).map(|running| (running, status)))
                }
                Err(rustix::io::Errno::INTR) => {}
                other => break other.is_ok(),
            }
        };
        for (Running { id, memory_max, over, .. }, status) in ended {
            // Whoever has no child any more has none to end.
            if has_more {
                self.end_remains(id);
            }
            let outcome = match (status.exit_status(), status.terminating_signal()) {
                _ if over => Outcome::OverMemory(memory_max.unwrap_or_default()),
                (Some(code), _) => Outcome::Exited(code),
                (None, Some(signal)) => Outcome::Signalled(signal),
                (None, None) => Outcome::CannotStart("it ended in an unknown way".into()),
            };
            self.report(id, &outcome);
        }
    }

    /// Ends adopted processes that carry the tag of this task. Looks only if there is any child that is no task itself.
    fn end_remains(&mut self, id: u64) {
        let tag = format!("{TAG}={}", self.tag(id));
        // Whoever took the tag off is found when nobody else can be meant.
        let alone = self.running.values().all(|running| running.id == id);
        // Killing a parent hands its children to us, so another turn finds them.
        for _ in 0..100 {
            let ours = |pid: &Pid| {
                let others = self.running.contains_key(pid) || self.stuck.contains(pid);
                !others && (alone || has_tag(*pid, &tag))
            };
            if !children().iter().any(ours) {
                return;
            }
            let remains: Vec<_> = descendants().into_iter().filter(ours).collect();
            for pid in remains {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
                if !has_ended(pid) {
                    self.stuck.insert(pid);
                }
            }
        }
    }

    fn report(&mut self, id: u64, outcome: &Outcome) {
        let (kind, detail) = match outcome {
            Outcome::Exited(code) => (b'E', code.to_be_bytes().to_vec()),
            Outcome::Signalled(signal) => (b'S', signal.to_be_bytes().to_vec()),
            Outcome::OverMemory(limit) => (b'M', limit.to_be_bytes().to_vec()),
            Outcome::CannotStart(why) => (b'F', why.as_bytes().to_vec()),
        };
        let mut report = ((1 + 8 + detail.len()) as u32).to_be_bytes().to_vec();
        report.push(kind);
        report.extend(id.to_be_bytes());
        report.extend(detail);
        self.unsaid.extend(report);
        self.speak();
    }

    /// Says what is to be said, as far as the worker has room for it: it may itself be waiting for us to take an order.
    fn speak(&mut self) {
        while !self.unsaid.is_empty() {
            match rustix::net::send(&self.socket, &self.unsaid, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => drop(self.unsaid.drain(..count)),
                Err(rustix::io::Errno::INTR) => {}
                // Later. A worker that is gone needs no report; the next turn notices the end of the socket.
                Err(_) => return,
            }
        }
    }

    /// Ends every descendant. Killing a parent hands its children to us, so going round until nobody is left finds all.
    fn end_everything(&mut self) {
        loop {
            for child in children() {
                let _ = rustix::process::kill_process_group(child, Signal::KILL);
                let _ = rustix::process::kill_process(child, Signal::KILL);
            }
            match rustix::process::wait(WaitOptions::empty()) {
                Err(rustix::io::Errno::CHILD) => return,
                _ => continue,
            }
        }
    }
}

/// Our children, adopted ones included. The kernel keeps the list; where it does not show it, we look through them all.
fn children() -> Vec<Pid> {
    let me = rustix::process::getpid();
    let id = me.as_raw_nonzero();
    if let Ok(list) = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")) {
        return list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect();
    }
    processes().filter(|(_, parent)| *parent == Some(me)).map(|(pid, _)| pid).collect()
}

/// Waits a moment for a process that was killed, and collects it if it is a child. False: it cannot be killed now, which
/// must not hold up all others.
fn has_ended(pid: Pid) -> bool {
    if let Ok(held) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        let _ = poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&UNKILLABLE));
    }
    !matches!(rustix::process::waitpid(Some(pid), WaitOptions::NOHANG), Ok(None))
}

/// The children of a process, of all its threads; none where the kernel keeps no such list.
fn children_of(pid: Pid) -> Vec<Pid> {
    let threads =
        std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| {
            list.split_ascii_whitespace()
                .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Octets a process has in core, shared ones in full; 0 if it is gone.
fn resident(pid: Pid) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// Likewise, with shared octets shared out. Where the kernel does not tell, in full.
fn proportional(pid: Pid) -> u64 {
    let told =
        std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).unwrap_or_default();
    let kilo = told
        .lines()
        .find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilo.map_or_else(|| resident(pid), |kilo| kilo * 1024)
}

/// Hears all signals there are: several are as good as one.
fn drain(signals: &SignalFd) {
    while let Ok(Some(_)) = signals.read_signal() {}
}

/// Everything below us.
fn descendants() -> Vec<Pid> {
    let all: Vec<_> = processes().collect();
    let mut found = vec![rustix::process::getpid()];
    let mut next = 0;
    while next < found.len() {
        let parent = Some(found[next]);
        found.extend(all.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// All processes of the machine with their parents.
fn processes() -> impl Iterator<Item = (Pid, Option<Pid>)> {
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read(entry.path().join("stat")).ok()?;
        // pid (name) state parent ...: the name may contain anything, so count from its last parenthesis.
        let behind = &stat[stat.iter().rposition(|&octet| octet == b')')? + 2..];
        let parent = std::str::from_utf8(behind).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some((Pid::from_raw(pid)?, Pid::from_raw(parent)))
    })
}

fn has_tag(pid: Pid, tag: &str) -> bool {
    let environment = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap_or_default();
    environment.split(|&octet| octet == 0).any(|variable| variable == tag.as_bytes())
}

/// The two ends of a pipe for a task's output: ours to read, and the one to hand over.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_survives_the_socket() {
        let order = Order {
            id: 7,
            directory: "/tmp/x y".into(),
            arguments: vec!["./a".into(), OsString::from_vec(b"\xff \n".to_vec()), "".into()],
            variables: vec![("RSP_TASK".into(), "3".into())],
            memory_max: Some(1 << 31),
            nice: 5,
        };
        let encoded = encode_order(&order);
        assert_eq!(decode_order(&encoded), Some(order));
        let no_variables = Order { id: 1, arguments: vec!["true".into()], ..Order::default() };
        assert_eq!(decode_order(&encode_order(&no_variables)), Some(no_variables));
        for cut in 0..29 {
            assert_eq!(decode_order(&encoded[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn reports_wait_for_a_worker_that_does_not_read_and_orders_are_taken_meanwhile() {
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        let mut nursery = Nursery::new(ours, "/nowhere".into()).expect("no limit is reached");
        for id in 0..10_000 {
            nursery.report(id, &Outcome::Exited(0));
        }
        assert!(!nursery.unsaid.is_empty(), "or this shows nothing");
        for id in 0..10_000 {
            nursery.speak();
            assert_eq!(next_outcome(&mut theirs), Some((id, Outcome::Exited(0))));
        }
        assert!(nursery.unsaid.is_empty());
    }

    #[test]
    fn we_see_ourselves_among_the_processes() {
        let me = rustix::process::getpid();
        assert!(processes().any(|(pid, parent)| pid == me && parent == rustix::process::getppid()));
    }
}
