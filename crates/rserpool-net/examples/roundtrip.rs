//! How much a message costs on the way through two nodes, against a bare TCP echo of the same machine and minute.
//!
//! `cargo run --release -p rserpool-net --example roundtrip`

use rserpool::{Door, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, Ppid, Protocol, Role, Time};
use rserpool_net::{Config, DoorAt, config, spawn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

const SIZE: usize = 200;
const ROUNDS: usize = 20_000;

/// Sends back what it gets.
struct Echo(Outbox<()>);

impl Node for Echo {
    type Event = ();
    fn handle(&mut self, _now: Time, input: Input) {
        if let Input::Message { link, ppid, bytes } = input {
            self.0.send(link, ppid, bytes);
        }
    }
    fn poll(&mut self) -> Option<Output<()>> {
        self.0.take()
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}

/// Keeps so many messages under way, and tells the time of each round.
struct Caller {
    outbox: Outbox<()>,
    outstanding: usize,
    left: usize,
    sent: Time,
    times: Vec<Duration>,
    done: Sender<Vec<Duration>>,
}

impl Caller {
    fn say(&mut self, now: Time, link: LinkId) {
        self.sent = now;
        self.outbox.send(link, Ppid(0), vec![7; SIZE]);
    }
}

impl Node for Caller {
    type Event = ();
    fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Opened { link, .. } => (0..self.outstanding).for_each(|_| self.say(now, link)),
            Input::Message { link, .. } => {
                self.times.push(now.since(self.sent));
                self.left -= 1;
                match self.left {
                    0 => self.done.send(std::mem::take(&mut self.times)).expect("main waits"),
                    left if left >= self.outstanding => self.say(now, link),
                    _ => {}
                }
            }
            _ => {}
        }
    }
    fn poll(&mut self) -> Option<Output<()>> {
        self.outbox.take()
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}

fn ports(protocol: Protocol) -> Config {
    let at = Some(config::loopback().into());
    let service = DoorAt { at, tcp: protocol == Protocol::Tcp, sctp: protocol == Protocol::Sctp };
    Config { service, ..Config::user(Role::Element) }
}

/// The sorted times of rounds through two nodes, and how long all of them took.
fn nodes(protocol: Protocol, outstanding: usize) -> (Vec<Duration>, Duration) {
    let nothing = |_: &mut Echo, _: Time, ()| {};
    let echo = spawn("echo", ports(protocol), move |_| (Echo(Outbox::default()), nothing)).expect("ports");
    let to: Endpoint = echo.bound.service[0].clone();
    let (done, times) = channel();
    let start = Instant::now();
    let caller = spawn("caller", ports(protocol), move |_| {
        let mut outbox = Outbox::default();
        outbox.open(Door::Service, to, Greeting::default());
        let times = Vec::with_capacity(ROUNDS);
        let caller = Caller { outbox, outstanding, left: ROUNDS, sent: Time::ZERO, times, done };
        (caller, |_: &mut Caller, _: Time, ()| {})
    })
    .expect("ports");
    let mut times = times.recv().expect("the caller finishes");
    let all = start.elapsed();
    caller.stop();
    echo.stop();
    times.sort();
    (times, all)
}

fn bare() -> Vec<Duration> {
    let listener = TcpListener::bind(config::loopback()).expect("a free port");
    let at = listener.local_addr().expect("bound");
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        stream.set_nodelay(true).expect("an option");
        let mut octets = [0; SIZE];
        while stream.read_exact(&mut octets).is_ok() {
            stream.write_all(&octets).expect("written");
        }
    });
    let mut stream = TcpStream::connect(at).expect("it listens");
    stream.set_nodelay(true).expect("an option");
    let mut octets = [7; SIZE];
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let sent = Instant::now();
        stream.write_all(&octets).expect("written");
        stream.read_exact(&mut octets).expect("echoed");
        times.push(sent.elapsed());
    }
    drop(stream);
    echo.join().expect("ended");
    times.sort();
    times
}

fn main() {
    let show = |name: &str, times: &[Duration]| {
        let at = |percent: usize| times[times.len() * percent / 100];
        println!("{name:<28} p50 {:>10.1?}  p99 {:>10.1?}", at(50), at(99));
    };
    show("bare TCP echo", &bare());
    for protocol in [Protocol::Tcp, Protocol::Sctp] {
        let (times, _) = nodes(protocol, 1);
        show(&format!("nodes, {protocol:?}"), &times);
        let (_, all) = nodes(protocol, 64);
        let rate = ROUNDS as f64 / all.as_secs_f64();
        println!("{:<28} {rate:>10.0} round trips/s", format!("nodes, {protocol:?}, 64 at once"));
    }
}
