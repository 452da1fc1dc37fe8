//! The floor: a bare TCP echo between two processes, 64 octets a message.

use crate::process::{again, end_with_parent};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const SIZE: usize = 64;

/// What messages are made of, which tells the echo how to answer them: each by itself, or what is there at once.
const SINGLE: u8 = 7;
const WHOLE: u8 = 8;

/// An echo process.
pub struct Echo {
    process: Child,
    at: SocketAddr,
}

impl Echo {
    /// Starts it and waits until it listens.
    pub fn start() -> Self {
        let mut process =
            again(&["echo"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line");
        let at = line.trim().parse().expect("an address");
        Self { process, at }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.at).expect("it listens");
        stream.set_nodelay(true).expect("an option of TCP");
        stream
    }

    /// The time of each of so many messages, one at a time.
    pub fn round_trips(&self, count: usize) -> Vec<Duration> {
        let mut stream = self.connect();
        let mut octets = [SINGLE; SIZE];
        let trip = |_| {
            let begun = Instant::now();
            stream.write_all(&octets).expect("written");
            stream.read_exact(&mut octets).expect("echoed");
            begun.elapsed()
        };
        (0..count).map(trip).collect()
    }

    /// How long so many messages take, 64 under way at a time. `whole`: what is there is read and answered in one piece;
    /// otherwise each message is read and written by itself, on both sides.
    pub fn many(&self, count: usize, whole: bool) -> Duration {
        const UNDER_WAY: usize = 64;
        let mut stream = self.connect();
        let mut octets = [if whole { WHOLE } else { SINGLE }; SIZE * UNDER_WAY];
        let portion = if whole { octets.len() } else { SIZE };
        let begun = Instant::now();
        let (mut sent, mut back) = (UNDER_WAY.min(count), 0);
        stream.write_all(&octets[..sent * SIZE]).expect("written");
        while back < count * SIZE {
            let before = back / SIZE;
            back += stream.read(&mut octets[..portion]).expect("echoed");
            let more = (back / SIZE - before).min(count - sent);
            sent += more;
            stream.write_all(&octets[..more * SIZE]).expect("written");
        }
        begun.elapsed()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The echo process itself.
pub fn serve() {
    end_with_parent();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    println!("{}", listener.local_addr().expect("bound"));
    let mut octets = vec![0; 64 * 1024];
    for stream in listener.incoming() {
        let mut stream = stream.expect("a caller");
        stream.set_nodelay(true).expect("an option of TCP");
        let mut portion = SIZE;
        while let Ok(read @ 1..) = stream.read(&mut octets[..portion]) {
            portion = if octets[0] == WHOLE { octets.len() } else { SIZE };
            if stream.write_all(&octets[..read]).is_err() {
                break;
            }
        }
    }
}
