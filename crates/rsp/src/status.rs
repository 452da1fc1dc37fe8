//! Component Status reports: what this process does, told to a monitor (`wire::csp`); and `rsp monitor`, which listens.
//!
//! They are for RSPLIB's monitor as well as for ours, and so is the environment: `CSP_SERVER`, `CSP_INTERVAL`.

use crate::address;
use crate::cli::{MonitorArgs, StatusArgs};
use crate::exit::{Code, Failure};
use crate::process::{self, say};
use rserpool::wire::csp::{self, Association, ComponentId, Report, Text, Workload};
use rserpool::{Endpoint, Ppid, Registrar, RegistrarId};
use std::io::{self, Write};
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// SCTP, as an IP protocol.
const SCTP: u16 = 132;

/// What a component says of itself at a moment.
pub struct Status {
    /// What it does, in words.
    pub text: String,
    /// How loaded it is.
    pub workload: Workload,
    /// With whom it has to do, and what they speak.
    pub others: Vec<(ComponentId, Ppid)>,
}

impl Status {
    /// A registrar, in the words of RSPLIB's.
    pub fn of_registrar(registrar: &Registrar) -> Self {
        let space = registrar.handlespace();
        let owned = space.owned(registrar.id());
        let peers: Vec<RegistrarId> = registrar.peers().map(|peer| peer.id).collect();
        let text = format!(
            "{}[{owned}] PE{} in {} Pool{}, {} Peer{}",
            space.len(),
            plural(space.len()),
            space.pool_count(),
            plural(space.pool_count()),
            peers.len(),
            plural(peers.len())
        );
        let others = peers.into_iter().map(|id| (ComponentId::registrar(id), Ppid::ENRP)).collect();
        Self { text, workload: Workload::NOT_AVAILABLE, others }
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// Sends reports about one component.
struct Reporter {
    socket: UdpSocket,
    to: SocketAddr,
    sender: ComponentId,
    location: Text,
    interval: Duration,
    begun: Instant,
}

impl Reporter {
    /// A reporter if one is wanted. `serves`: where the component is reached.
    fn new(args: &StatusArgs, sender: ComponentId, serves: &[Endpoint]) -> Result<Option<Self>, Failure> {
        let Some(to) = &args.csp else { return Ok(None) };
        let to = address::resolve(to, csp::PORT, "--csp")?[0];
        let from: SocketAddr = if to.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let socket = UdpSocket::bind(from).map_err(|cause| {
            Failure::new(Code::CannotBind, format!("no socket for reports to {to}: {cause}"))
        })?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let addresses = serves.first().map_or(String::new(), |endpoint| {
            let all: Vec<String> = endpoint.socket_addresses().map(|at| at.to_string()).collect();
            all.join(", ")
        });
        let location = Text::new(&format!("{host}: {addresses}"));
        let interval = Duration::from_millis(args.csp_interval);
        Ok(Some(Self { socket, to, sender, location, interval, begun: Instant::now() }))
    }

    /// Reports now. A monitor that is not there misses it.
    fn report(&self, status: &Status) {
        let association =
            |&(receiver, ppid)| Association { receiver, duration: None, flags: 0, protocol: SCTP, ppid };
        self.send(&Report {
            last: false,
            location: self.location.clone(),
            status: Text::new(&status.text),
            workload: status.workload,
            associations: status.others.iter().map(association).collect(),
            ..self.farewell()
        });
    }

    fn farewell(&self) -> Report {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Report {
            last: true,
            sender: self.sender,
            timestamp: micros(self.begun.elapsed()),
            interval: u32::try_from(micros(self.interval)).unwrap_or(u32::MAX),
            location: Text::default(),
            status: Text::default(),
            workload: Workload(0),
            associations: Vec::new(),
        }
    }

    fn send(&self, report: &Report) {
        let _ = self.socket.send_to(&report.emit(), self.to);
    }
}

/// Reports about a component: at once, each interval, and a last time when the value ends.
pub struct Reporting {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporting {
    /// Begins, if reports are wanted. `serves`: where the component is reached; `status`: how it is, asked before each
    /// report in a thread of its own; `None` when there is nobody to ask any more.
    pub fn begin(
        args: &StatusArgs,
        sender: ComponentId,
        serves: &[Endpoint],
        mut status: impl FnMut() -> Option<Status> + Send + 'static,
    ) -> Result<Self, Failure> {
        let Some(reporter) = Reporter::new(args, sender, serves)? else {
            return Ok(Self { stop: None, thread: None });
        };
        let (stop, stopped) = mpsc::channel();
        let life = move || {
            loop {
                if let Some(status) = status() {
                    reporter.report(&status);
                }
                if stopped.recv_timeout(reporter.interval) != Err(RecvTimeoutError::Timeout) {
                    return reporter.send(&reporter.farewell());
                }
            }
        };
        let thread = std::thread::Builder::new().name("reports".into()).spawn(life);
        let thread =
            thread.map_err(|cause| Failure::new(Code::Failed, format!("no thread for reports: {cause}")))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `rsp monitor`: every report as a line, until interrupted.
pub fn monitor(args: &MonitorArgs) -> Result<(), Failure> {
    let at = address::listen(&args.listen, csp::PORT, "--listen")?.first();
    let socket = UdpSocket::bind(at).map_err(|cause| {
        Failure::new(Code::CannotBind, format!("cannot listen for reports at {at}: {cause}"))
    })?;
    say(format!("monitor listens at {}", socket.local_addr().unwrap_or(at)));
    let (ended, json) = (process::until_interrupted()?, args.json);
    let (told, failed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut buffer = vec![0; usize::from(u16::MAX)];
        // What is no report is dropped, as by RSPLIB's monitor: anybody can send anything here.
        while let Ok(size) = socket.recv(&mut buffer) {
            let Ok(report) = Report::parse(&buffer[..size]) else { continue };
            if let Err(failure) = print(&report, json) {
                return drop(told.send(Some(failure)));
            }
        }
    });
    // Whichever comes first: the end of who reads us, or an interrupt.
    loop {
        match failed.recv_timeout(Duration::from_millis(100)) {
            Ok(Some(failure)) => return Err(failure),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {
                if ended.try_recv().is_ok() {
                    return Ok(());
                }
            }
        }
    }
}

fn print(report: &Report, json: bool) -> Result<(), Failure> {
    let line = if json { crate::decode::report(report) } else { line(report) };
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|cause| crate::process::cannot_print(&cause))
}

/// `element 0000000a: 1 Session, load 12.5 %, at host: 10.0.0.1:7, with registrar 00000001`
fn line(report: &Report) -> String {
    let sender = report.sender;
    if report.last {
        return format!("{sender}: gone");
    }
    let load =
        report.workload.fraction().map_or(String::new(), |load| format!(", load {:.1} %", load * 100.0));
    let others: Vec<String> = report.associations.iter().map(|one| one.receiver.to_string()).collect();
    let with = if others.is_empty() { String::new() } else { format!(", with {}", others.join(", ")) };
    let text = format!("{sender}: {}{load}, at {}{with}", report.status, report.location);
    // Texts are anybody's: what could steer a terminal does not get there.
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::ElementId;

    #[test]
    fn a_report_is_one_line_that_cannot_steer_a_terminal() {
        let report = Report {
            last: false,
            sender: ComponentId::element(ElementId(10)),
            timestamp: 1,
            interval: 1_000_000,
            location: Text::new("host: 10.0.0.1:7"),
            status: Text::new("1\u{1b}[31m Session\n"),
            workload: Workload(8_192),
            associations: vec![Association {
                receiver: ComponentId::registrar(RegistrarId(1)),
                duration: None,
                flags: 0,
                protocol: SCTP,
                ppid: Ppid::ASAP,
            }],
        };
        let expected = "element 0000000a: 1\u{fffd}[31m Session\u{fffd}, load 12.5 %, at host: 10.0.0.1:7, with registrar 00000001";
        assert_eq!(line(&report), expected);
        assert_eq!(line(&Report { last: true, ..report }), "element 0000000a: gone");
    }
}
