//! `bare.c`: the echo, and the client that asks echo and registrars alike.

use crate::voice::Voice;
use rserpool::wire::asap::Message;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

/// Where everybody is: an address that the guest has.
pub const IP: &str = "10.99.0.1";

fn program() -> PathBuf {
    guest::shared().join("bench-rsplib-bare")
}

/// Compiles it, outside; the guest finds it.
pub fn compile() -> Result<(), String> {
    let source = guest::shared().join("bench-rsplib-bare.c");
    std::fs::create_dir_all(guest::shared())
        .and_then(|()| std::fs::write(&source, include_str!("bare.c")))
        .map_err(|cause| format!("cannot write {}: {cause}", source.display()))?;
    let compiled = Command::new("cc").args(["-O2", "-o"]).args([program(), source]).status();
    match compiled {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cc ended with {status}")),
        Err(cause) => Err(format!("cc: {cause}")),
    }
}

/// Starts an echo at this port.
pub fn echo(port: u16) -> Voice {
    let begun = Instant::now();
    let program = program();
    let echo = Voice::start(&program.display().to_string(), &["echo", IP, &port.to_string()]);
    echo.says(begun, "ready");
    echo
}

/// Something to be asked many times.
#[derive(Clone)]
pub struct Request {
    octets: Vec<u8>,
    /// Where a number stands that counts up.
    step: Option<usize>,
}

impl Request {
    /// Always the same message.
    pub fn new(message: &Message) -> Self {
        Self { octets: message.emit(), step: None }
    }

    /// A message in which these four octets count up.
    pub fn counting(message: &Message, number: u32) -> Self {
        let octets = message.emit();
        let step = octets.windows(4).position(|part| part == number.to_be_bytes());
        assert!(step.is_some(), "the number stands in the message");
        Self { octets, step }
    }

    /// Its length in octets.
    pub fn len(&self) -> usize {
        self.octets.len()
    }

    fn words(&self, what: &str, port: u16, count: usize) -> Vec<String> {
        let hex: String = self.octets.iter().map(|octet| format!("{octet:02x}")).collect();
        let step = self.step.map_or(-1, |place| place as i64);
        vec![what.into(), IP.into(), port.to_string(), count.to_string(), step.to_string(), hex]
    }
}

fn run(words: &[String]) -> (f64, f64) {
    let output = Command::new(program()).args(words).stdin(Stdio::null()).output().expect("compiled");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "bare {words:?}: {}: {complaint}", output.status);
    let mut numbers = said.split_whitespace().filter_map(|word| word.parse().ok());
    (numbers.next().expect("two numbers"), numbers.next().expect("two numbers"))
}

/// The median time of an exchange in seconds, and how long the answers are. Asked of an echo: how long they shall be.
pub fn trips(port: u16, count: usize, request: &Request, answer: Option<usize>) -> (f64, usize) {
    let mut words = request.words("trips", port, count);
    words.extend(answer.map(|length| length.to_string()));
    let (nanoseconds, length) = run(&words);
    (nanoseconds / 1e9, length as usize)
}

/// Registers so many elements at a registrar and answers its keep-alives: what a round of them costs the process, in
/// seconds of processor time.
pub fn keep_alive_cost(port: u16, pid: u32, count: usize, request: &Request, milliseconds: u32) -> f64 {
    let mut words = request.words("watch", port, count);
    words.extend([pid.to_string(), milliseconds.to_string()]);
    let (rounds, nanoseconds) = run(&words);
    assert!(rounds > 0.0, "nobody was asked for a sign of life");
    nanoseconds / 1e9 / rounds
}

/// Registers an element at a registrar: it is there, and answers keep-alives, as long as the value lives.
pub fn present(port: u16, request: &Request) -> Voice {
    let begun = Instant::now();
    let mut words = request.words("watch", port, 1);
    words.extend([std::process::id().to_string(), i32::MAX.to_string()]);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let element = Voice::start(&program().display().to_string(), &words);
    element.says(begun, "ready");
    element
}

/// The seconds of processor time a process of one thread has used.
pub fn computed(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the kernel counts");
    let first = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    first.expect("nanoseconds") / 1e9
}
