//! How long sessions take to get over the loss of their element (B11, B12).
//!
//! Ping-Pong is a session that talks every few milliseconds; CalcApp one that waits for a long computation. Users and
//! elements are of one kind. A time is that from the signal to a line of the user, as it comes out of its pipe.

use crate::bare::{self, IP, Request, trips};
use crate::costs::{our_registrar, their_registrar};
use crate::jobs::{our_element, their_element};
use crate::losses::show;
use crate::table::{median, table};
use crate::voice::Voice;
use crate::watcher::{Watcher, ids};
use rserpool::PoolHandle;
use rserpool::wire::asap::Message;
use std::time::Instant;

const ECHO: u16 = 5_000;
const PORTS: [u16; 2] = [3_863, 4_863];
const ROUNDS: usize = 5;
/// A hung element takes RSPLIB's users long to notice.
const HANG_ROUNDS: usize = 2;
const IDS: [&str; 2] = ["0000000a", "0000000b"];
const OURS: usize = 0;

/// Two elements of a kind, of which the second is there when it is said to come.
struct Pair {
    kind: usize,
    service: &'static str,
    pool: &'static str,
}

impl Pair {
    fn element(&self, id: usize) -> Voice {
        if self.kind == OURS {
            return our_element(self.service, IDS[id], &PORTS[..1], &[]);
        }
        let voice = their_element(self.service, IDS[id], &PORTS[1..], &[]);
        let mut watcher = Watcher::start(self.pool, &PORTS[1..]);
        let id = u32::from_str_radix(IDS[id], 16).expect("hexadecimal");
        watcher.until("an element of RSPLIB", |all| ids(&all[0]).contains(&id));
        voice
    }

    fn user(&self, ours: &[&str], theirs: &[&str]) -> Voice {
        if self.kind == OURS {
            let at = format!("--registrar=sctp://{IP}:{}", PORTS[0]);
            let words = ["client", self.service, &at, "--verbose"];
            return Voice::start(env!("CARGO_BIN_EXE_rsp"), &[&words, ours].concat());
        }
        let at = format!("-registrar={IP}:{}", PORTS[1]);
        let words = [&at[..], "-logcolor=off", "-loglevel=3"];
        Voice::start(&format!("{}client", self.service), &[&words, theirs].concat())
    }

    /// From the crash of the element of a session that talks to the first answer of the other one; and the round trip of
    /// the open session before, where the user tells.
    fn talk(&self) -> (f64, Option<f64>) {
        let mut elements = [self.element(0), self.element(1)];
        let user = self.user(&["--interval", "2", "--json"], &["-interval=2"]);
        let answer = |line: &str| {
            let said = line.contains("Ack #") || line.contains("\"reply\"");
            IDS.iter().position(|id| said && line.contains(id))
        };
        let begun = Instant::now();
        let mut trips = Vec::new();
        let mut count = 0;
        let (_, serving) = user.hear(begun, |line| {
            let at = answer(line)?;
            count += 1;
            trips.extend(
                line.split_once("\"seconds\":")
                    .and_then(|(_, rest)| rest.trim_end_matches('}').parse::<f64>().ok()),
            );
            (count == 100).then_some(at)
        });
        let begun = elements[serving].kill();
        let (at, _) = user.hear(begun, |line| (answer(line)? != serving).then_some(()));
        ((at - begun).as_secs_f64(), (!trips.is_empty()).then(|| median(&trips)))
    }

    /// From the loss of the element that computes until the user knows that work goes on at the other one.
    fn compute(&self, hangs: bool, ours: &[&str], theirs: &[&str]) -> f64 {
        let mut first = self.element(0);
        let words = ["--job-interval", "0.5", "--job-size", "1000000000", "--seed", "1"];
        let user = self.user(
            &[&words, ours].concat(),
            &[&["-jobinterval=0.5", "-jobsize=1e9", "-vector=/tmp/v", "-scalar=/tmp/s"], theirs].concat(),
        );
        let accepted = |line: &str| line.contains("accepted").then_some(());
        user.hear(Instant::now(), accepted);
        let _second = self.element(1);
        let begun = if hangs { first.hang() } else { first.kill() };
        let (at, ()) = user.hear(begun, accepted);
        (at - begun).as_secs_f64()
    }
}

/// Prints the table.
pub fn measure() {
    let _echo = bare::echo(ECHO);
    let _registrars = [our_registrar(PORTS[0], &[]), their_registrar(PORTS[1], &[])];
    let handle = PoolHandle::new("EchoPool").expect("short");
    let like = Request::new(&Message::HandleResolution { subscribe: false, handle, items: Some(1) });
    let (mut floors, mut open) = (Vec::new(), Vec::new());
    let mut figures: [[Vec<f64>; 2]; 4] = Default::default();
    let quick = (
        ["--keep-alive-interval", "0.4", "--keep-alive-timeout", "0.5"],
        ["-keepalivetransmissioninterval=400", "-keepalivetimeoutinterval=500"],
    );
    for round in 0..ROUNDS {
        floors.push(trips(ECHO, 1_000, &like, Some(like.len())).0);
        for kind in [OURS, 1] {
            let talk = Pair { kind, service: "pingpong", pool: "PingPongPool" };
            let compute = Pair { kind, service: "calcapp", pool: "CalcAppPool" };
            let (gap, trip) = talk.talk();
            figures[0][kind].push(gap);
            open.extend(trip);
            figures[1][kind].push(compute.compute(false, &[], &[]));
            if round < HANG_ROUNDS {
                figures[2][kind].push(compute.compute(true, &[], &[]));
                figures[3][kind].push(compute.compute(true, &quick.0, &quick.1));
            }
        }
    }
    let mut table = table(["session", "ours", "longest", "RSPLIB", "longest", "goal for ours"]);
    let names = [
        ("talks every 2 ms, element killed: first answer of the next", "20 round trips"),
        ("waits for a computation, element killed: goes on", "≤ 0.1 s"),
        ("the same, element hung, asked every 5 s with 5 s patience (the defaults of both)", ""),
        ("the same, asked every 0.4 s with 0.5 s patience", "≤ 1.5 s"),
    ];
    for ((name, goal), [ours, theirs]) in names.iter().zip(&figures) {
        let longest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
        let [one, two, three, four] =
            [median(ours), longest(ours), median(theirs), longest(theirs)].map(show);
        table.add_row([(*name).to_owned(), one, two, three, four, (*goal).to_owned()]);
    }
    let (floor, trip) = (median(&floors), median(&open));
    println!("\n{table}\n");
    println!(
        "{ROUNDS} rounds, {HANG_ROUNDS} with hung elements. Echo of 24 octets: {:.0} µs; round trip of our open session: {:.0} \
         µs. B11, the first row: ours {:.1} round trips or {:.1} echoes, RSPLIB {:.1} echoes; of it up to 2 ms are the pause \
         between two Pings.",
        floor * 1e6,
        trip * 1e6,
        median(&figures[0][0]) / trip,
        median(&figures[0][0]) / floor,
        median(&figures[0][1]) / floor,
    );
}
