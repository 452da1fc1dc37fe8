//! The keeper: a small process beside each worker that owns the task processes.
//!
//! A worker may die at any moment, by SIGKILL too, and must not leave anything running. So the tasks are not its own
//! children but the keeper's, and the keeper watches a socket to the worker: when the worker is gone the socket ends,
//! and the keeper ends every descendant, however deep and in whatever session it hides, removes the tasks' folders, and
//! ends itself.
//!
//! ```text
//!   worker --- socket: start, kill (with the write ends of the output pipes) --> keeper --- fork, exec --> task
//!          <-- socket: ended, cannot start ------------------------------------         adopts orphans
//!          <== pipes: the task's stdout and stderr, directly ========================================
//! ```
//!
//! The keeper is a *child subreaper*: descendants whose parent dies become its children, so "everything the tasks ever
//! started" is a set it can always find. What a task leaves running when it ends is ended with it: a tag in the
//! environment tells whose it is.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::process::{Pid, Signal, WaitOptions};
use std::collections::HashMap;
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

/// The environment variable that marks the processes of one task. Its value is unique per worker and attempt.
const TAG: &str = "RSP_PROCESS_TAG";

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
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended by itself, with this status.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
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
            .arg("keeper")
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

/// Waits for the next outcome; `None` when the keeper is gone.
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
        _ => Outcome::CannotStart(String::from_utf8_lossy(rest).into_owned()),
    };
    Some((id, outcome))
}

fn encode_order(order: &Order) -> Vec<u8> {
    let mut request = vec![b'S'];
    request.extend(order.id.to_be_bytes());
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
    let mut rest = request.get(9..)?;
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
    Some(Order { id, directory, arguments, variables })
}

/// Sends a request; the descriptors travel with its first octets.
fn send(socket: &UnixStream, request: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let head = (request.len() as u32).to_be_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(&head)], &mut ancillary, SendFlags::NOSIGNAL)?;
    let mut socket = socket;
    socket.write_all(&head[sent..])?;
    socket.write_all(request)
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

/// The keeper's own life: `rsp keeper SCRATCH`, with the socket as standard input.
pub fn run(scratch: &Path) -> io::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let (child_ended, notify) = UnixStream::pair()?;
    child_ended.set_nonblocking(true)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGCHLD, notify)?;
    // Politeness towards a whole process group or a service manager must not leave tasks behind.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let socket = UnixStream::from(rustix::io::dup(rustix::stdio::stdin())?);
    let mut nursery = Nursery { socket, running: HashMap::new(), scratch: scratch.to_owned() };
    let served = nursery.serve(&child_ended);
    nursery.end_everything();
    let _ = std::fs::remove_dir_all(scratch);
    served
}

/// The running programs, by the process that leads each.
struct Nursery {
    socket: UnixStream,
    running: HashMap<Pid, u64>,
    scratch: PathBuf,
}

impl Nursery {
    fn serve(&mut self, child_ended: &UnixStream) -> io::Result<()> {
        loop {
            let mut waiting =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(child_ended, PollFlags::IN)];
            match poll(&mut waiting, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let (asked, ended) = (!waiting[0].revents().is_empty(), !waiting[1].revents().is_empty());
            if ended {
                let mut octets = [0; 64];
                let mut pipe = child_ended;
                while pipe.read(&mut octets).is_ok_and(|count| count > 0) {}
                self.reap();
            }
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
                    self.running.iter().find(|(_, running)| Some(**running) == id).map(|(pid, _)| *pid);
                if let (Some(leader), Some(id)) = (leader, id) {
                    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
                    let _ = rustix::process::kill_process(leader, Signal::KILL);
                    self.end_remains(id);
                }
            }
            _ => {}
        }
    }

    fn tag(&self, id: u64) -> String {
        format!("{}-{id}", self.scratch.display())
    }

    fn start(&mut self, order: &Order, descriptors: Vec<OwnedFd>) {
        let Ok([stdout, stderr]) = <[OwnedFd; 2]>::try_from(descriptors) else {
            return self.report(order.id, &Outcome::CannotStart("its output pipes were lost".into()));
        };
        let started = Command::new(&order.arguments[0])
            .args(&order.arguments[1..])
            .current_dir(&order.directory)
            .envs(order.variables.iter().map(|(name, value)| (name, value)))
            .env(TAG, self.tag(order.id))
            .stdin(Stdio::null())
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .process_group(0)
            .spawn();
        match started {
            Ok(child) => {
                let leader = Pid::from_child(&child);
                self.running.insert(leader, order.id);
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

    /// Collects what ended, reports it, and ends what it left behind.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(id) = self.running.remove(&pid) else { continue };
            self.end_remains(id);
            let outcome = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Outcome::Exited(code),
                (None, Some(signal)) => Outcome::Signalled(signal),
                (None, None) => Outcome::CannotStart("it ended in an unknown way".into()),
            };
            self.report(id, &outcome);
        }
    }

    /// Ends adopted processes that carry the tag of this task. Looks only if there is any child that is no task itself.
    fn end_remains(&self, id: u64) {
        let tag = format!("{TAG}={}", self.tag(id));
        // Killing a parent hands its children to us, so another turn finds them; the bound is for what cannot be killed.
        for _ in 0..100 {
            if !children().iter().any(|child| !self.running.contains_key(child) && has_tag(*child, &tag)) {
                return;
            }
            for pid in descendants() {
                if !self.running.contains_key(&pid) && has_tag(pid, &tag) {
                    let _ = rustix::process::kill_process(pid, Signal::KILL);
                    let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
                }
            }
        }
    }

    fn report(&self, id: u64, outcome: &Outcome) {
        let (kind, detail) = match outcome {
            Outcome::Exited(code) => (b'E', code.to_be_bytes().to_vec()),
            Outcome::Signalled(signal) => (b'S', signal.to_be_bytes().to_vec()),
            Outcome::CannotStart(why) => (b'F', why.as_bytes().to_vec()),
        };
        let mut report = ((1 + 8 + detail.len()) as u32).to_be_bytes().to_vec();
        report.push(kind);
        report.extend(id.to_be_bytes());
        report.extend(detail);
        let mut socket = &self.socket;
        // A worker that is gone needs no report; the next turn notices the end of the socket.
        let _ = socket.write_all(&report);
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
        };
        let encoded = encode_order(&order);
        assert_eq!(decode_order(&encoded), Some(order));
        let no_variables = Order { id: 1, arguments: vec!["true".into()], ..Order::default() };
        assert_eq!(decode_order(&encode_order(&no_variables)), Some(no_variables));
        for cut in 0..20 {
            assert_eq!(decode_order(&encoded[..cut]), None, "cut at {cut}");
        }
    }

    #[test]
    fn we_see_ourselves_among_the_processes() {
        let me = rustix::process::getpid();
        assert!(processes().any(|(pid, parent)| pid == me && parent == rustix::process::getppid()));
    }
}
