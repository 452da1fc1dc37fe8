//! What was said on the switches, and what tshark makes of it.

use rustix::process::{Pid, Signal};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running capture.
pub struct Capture {
    child: Child,
    file: PathBuf,
    namespace: String,
}

impl Capture {
    /// Captures at these interfaces of this namespace, and waits until it does.
    ///
    /// # Panics
    ///
    /// If it cannot.
    pub fn start(namespace: &str, interfaces: &[String], file: &Path) -> Self {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}")).args(["--", "dumpcap", "-q", "-w"]).arg(file);
        for interface in interfaces {
            command.args(["-i", interface]);
        }
        let log =
            std::fs::File::create(file.with_extension("log")).expect("the row's folder can be written to");
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("nsenter is there");
        // It writes its header once it listens.
        let begun = || file.metadata().is_ok_and(|found| found.len() > 0).then_some(());
        crate::eventually(|| format!("dumpcap begins {}", file.display()), begun);
        Self { child, file: file.into(), namespace: namespace.into() }
    }

    /// Ends it; everything said before is in the file then.
    pub fn stop(self) {
        // What the kernel has not handed over when the capture is told to end is lost: so a last packet is sent, by the
        // switch itself, to a group that nobody is in, until it is in the file.
        let last = || {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/run/netns/{}", self.namespace)).args(["--", "bash", "-c"]);
            let _ = command.arg(format!("echo {LAST} >/dev/udp/239.255.0.9/9")).status();
            let octets = std::fs::read(&self.file).unwrap_or_default();
            octets.windows(LAST.len()).any(|part| part == LAST.as_bytes()).then_some(())
        };
        crate::eventually(|| format!("{} holds the last packet", self.file.display()), last);
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), Signal::INT);
        let mut this = self;
        let _ = this.child.wait();
    }
}

/// What was said so far in the row with this folder, as the capture's file has it at each call: to wait for what no log tells.
pub fn capture_octets(folder: &Path) -> impl Fn() -> Vec<u8> + use<> {
    let file = folder.join("capture.pcapng");
    move || std::fs::read(&file).unwrap_or_default()
}

/// What the last packet of a capture holds.
const LAST: &str = "the last packet of this capture";

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The packets of a capture that match a filter of tshark: these fields of each, separated by tabs, a packet a line.
///
/// # Panics
///
/// If tshark fails.
pub fn packets(file: &Path, filter: &str, fields: &[&str]) -> Vec<String> {
    packets_over_udp(file, filter, fields, &[])
}

/// As [`packets`], with what goes to or comes from these UDP ports read as SCTP (RFC 6951).
///
/// # Panics
///
/// If tshark fails.
pub fn packets_over_udp(file: &Path, filter: &str, fields: &[&str], udp_ports: &[u16]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-Y", filter, "-T", "fields"]);
    for port in udp_ports {
        command.arg("-d").arg(format!("udp.port=={port},sctp"));
    }
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.stdin(Stdio::null()).output().expect("tshark is there");
    let (status, complaint) = (output.status, String::from_utf8_lossy(&output.stderr));
    assert!(status.success(), "tshark -Y '{filter}': {status}: {complaint}");
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
