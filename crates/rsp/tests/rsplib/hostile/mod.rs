//! Messages that nobody should send, over the kernel's SCTP, to each of our roles: what makes RSPLIB abort, and damaged
//! messages of its captured traffic. Nobody falls, nobody else suffers.
//!
//! 100,000 damaged messages that were certainly heard, by default; `RSP_HOSTILE=1000000` says more (docs/rsplib.md). What
//! was said to whom, and what became of it, is left in the row's file `figures`.

mod liar;
mod messages;
mod shouter;

use crate::parts::*;
use crate::row_of_noise;
use guest::{Host, Hosts, Lab, Plan, Program};
use liar::{Liar, Told};
use messages::{Damaged, deadly};
use rserpool::Door;
use shouter::{Enough, Tally, shout};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Instant;

/// Said before a sign of life is asked for: to registrars, who bear with much, and in sessions, which end at the first
/// message that makes no sense.
const PORTION: usize = 200;
const SESSION_PORTION: usize = 4;

/// How many damaged messages a role hears: so many of a hundred of all. Whoever ends a session for each that makes no sense
/// takes longer for them.
fn share(of_hundred: u64) -> u64 {
    let all: u64 = std::env::var("RSP_HOSTILE").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    (all * of_hundred).div_ceil(100)
}

/// The shares of a registrar's ASAP door, its ENRP door, a worker's ASAP door, elements, users.
const SHARES: [u64; 5] = [35, 31, 25, 6, 3];

/// So many heard.
fn heard(heard: u64) -> Enough {
    Enough { heard, said: u64::MAX }
}

fn seed() -> u64 {
    let seed = 20_261_125;
    println!("seed {seed}");
    seed
}

fn socket(host: &Host, port: u16) -> SocketAddr {
    SocketAddr::new(host.ip().parse().expect("an address"), port)
}

/// What a row did, in its folder: a line for each role.
#[derive(Default)]
struct Figures(String);

impl Figures {
    fn add(&mut self, to: &str, begun: Instant, tally: Tally) {
        let Tally { said, heard, links, aborted } = tally;
        let seconds = begun.elapsed().as_secs_f64();
        let _ = writeln!(
            self.0,
            "{to}: {said} messages said on {links} links, {heard} certainly heard, {aborted} links aborted for them, \
             {seconds:.0} s"
        );
    }

    fn keep(&self, lab: &Lab) {
        print!("{}", self.0);
        std::fs::write(lab.folder.join("figures"), &self.0).expect("the row's folder can be written to");
    }
}

/// A registrar of ours on host 1 with a worker on host 2; host 3 is the hostile one.
fn pool(hosts: &Hosts) -> (Program, Program) {
    let mut registrar = our_registrar(hosts.host(1), "00000001", &[]);
    let worker = our_worker(hosts.host(2), "0000abcd", hosts.host(1), &[]);
    registrar.says("element 0000abcd joined");
    (registrar, worker)
}

#[test]
fn a_registrar_lives_through_what_aborts_theirs_and_damaged_messages_at_its_asap_door() {
    row_of_noise(|lab| noise_at_a_registrar(lab, SHARES[0], (3863, Door::Asap), seed()));
}

#[test]
fn a_registrar_lives_through_damaged_messages_at_its_enrp_door() {
    row_of_noise(|lab| noise_at_a_registrar(lab, SHARES[1], (9901, Door::Enrp), seed() + 1));
}

fn noise_at_a_registrar(lab: &Lab, of_hundred: u64, (port, door): (u16, Door), seed: u64) {
    let hosts = lab.hosts(&Plan::hosts(3).uncaptured());
    let (mut registrar, mut worker) = pool(&hosts);
    let (to, begun) = ((socket(hosts.host(1), port), door), Instant::now());
    let first = if door == Door::Asap { deadly() } else { Vec::new() };
    let tally = shout(hosts.host(3), to, first, Damaged::new(door, seed), PORTION, heard(share(of_hundred)));
    still_serves(&hosts, &mut registrar, &mut worker);
    // The registrar's own count: it heard all of it, understood much of it, and turned much of it away.
    registrar.interrupt();
    assert!(registrar.ends().success());
    let counted = registrar.says("rejected (");
    let number = |before: &str| -> u64 {
        let words: Vec<&str> = counted.split([' ', '(', ',']).collect();
        let place = words.iter().position(|word| *word == before).expect("it counts so");
        words[place - 1].parse().expect("a number")
    };
    let (all, rejected, malformed) = (number("messages"), number("rejected"), number("malformed"));
    assert!(all >= tally.heard, "{counted}; it should have heard {}", tally.heard);
    assert!(malformed >= tally.heard / 10, "{counted}; of {} damaged ones", tally.heard);
    assert!(all - rejected >= tally.heard / 20, "{counted}; of {} damaged ones", tally.heard);
    let mut figures = Figures::default();
    figures.add(&format!("registrar's {door:?} door"), begun, tally);
    figures.0 += &format!("  the registrar: {counted}\n");
    figures.keep(lab);
}

/// Fails unless registrar and worker live and the pool computes.
fn still_serves(hosts: &Hosts, registrar: &mut Program, worker: &mut Program) {
    let at = hosts.host(1).ip();
    let said =
        ours(hosts.host(2), &["run", "--registrar", &at, "--", "echo", "{}", ":::", "well"]).succeeds();
    assert!(said.contains("well"), "{said}");
    registrar.lives();
    worker.lives();
    registrar.never_said("panicked");
    worker.never_said("panicked");
}

#[test]
fn a_worker_lives_through_damaged_messages_where_registrars_reach_it() {
    row_of_noise(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3).uncaptured());
        let (mut registrar, mut worker) = pool(&hosts);
        // Where registrars reach it is told to registrars only: what is bound on its host and is SCTP.
        let port = hosts.host(2).run("sh", ["-c", "cat /proc/net/sctp/eps"]);
        let ports = port.lines().skip(1).filter_map(|line| line.split_whitespace().nth(5)?.parse().ok());
        let ports: Vec<u16> = ports.collect();
        assert!(!ports.is_empty(), "{port}");
        let mut figures = Figures::default();
        for (seed, &port) in (seed() + 2..).zip(&ports) {
            let to = (socket(hosts.host(2), port), Door::Asap);
            let (begun, enough) = (Instant::now(), heard(share(SHARES[2]).div_ceil(ports.len() as u64)));
            let tally = shout(hosts.host(3), to, Vec::new(), Damaged::new(Door::Asap, seed), PORTION, enough);
            figures.add("worker's ASAP door", begun, tally);
        }
        still_serves(&hosts, &mut registrar, &mut worker);
        figures.keep(lab);
    });
}

#[test]
fn elements_of_every_service_live_through_damaged_messages_in_their_sessions() {
    row_of_noise(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3).uncaptured());
        let mut registrar = our_registrar(hosts.host(1), "00000001", &[]);
        let services = ["echo", "discard", "daytime", "pingpong", "calcapp", "fractal", "scripting"];
        let at = hosts.host(1).ip();
        let ip = hosts.host(2).ip();
        let mut elements: Vec<(Program, u16)> = services
            .iter()
            .map(|service| {
                let words = ["serve", service, "--listen", &ip, "--registrar", &at, "--verbose"];
                let mut element = ours(hosts.host(2), &words);
                let line = element.says(" serves pool ");
                let behind = line.split(&format!("sctp://{ip}:")).nth(1).expect("its endpoint");
                let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
                let port = digits.parse().expect("a port");
                (element, port)
            })
            .collect();
        let mut figures = Figures::default();
        // Daytime ends each session before anybody can say anything: it is only shouted at, and the others hear more.
        let each = share(SHARES[3]).div_ceil(services.len() as u64 - 1);
        for (seed, (service, (_, port))) in (seed() + 3..).zip(services.iter().zip(&elements)) {
            let to = (socket(hosts.host(2), *port), Door::Service);
            let enough =
                if *service == "daytime" { Enough { heard: u64::MAX, said: each } } else { heard(each) };
            let (begun, damaged) = (Instant::now(), Damaged::new(Door::Service, seed));
            let tally = shout(hosts.host(3), to, Vec::new(), damaged, SESSION_PORTION, enough);
            figures.add(&format!("element of {service}"), begun, tally);
        }
        for (element, _) in &mut elements {
            element.lives();
            element.never_said("panicked");
        }
        registrar.lives();
        let at = format!("sctp://{at}");
        let words = ["client", "pingpong", "--registrar", &at, "--count", "3", "--interval", "20"];
        ours(hosts.host(2), &words).succeeds();
        figures.keep(lab);
    });
}

#[test]
fn users_of_every_service_live_through_damaged_messages_of_their_element() {
    row_of_noise(|lab| {
        let hosts = lab.hosts(&Plan::hosts(3).uncaptured());
        // The liar has better things to do than to answer keep-alives in half a second.
        let mut registrar = our_registrar(hosts.host(1), "00000001", &["--profile", "rfc"]);
        let (input, _) = script(&lab.folder);
        let (input, output) = (input.replace("-input=", ""), lab.folder.join("never").display().to_string());
        // The last number: its part in a hundred. Scripting pauses for seconds when an element fails it.
        let users: &[(&str, &str, &[&str], u64)] = &[
            ("pingpong", "PingPongPool", &["--interval", "5", "--timeout", "0.2"], 40),
            ("calcapp", "CalcAppPool", &["--jobs", "100000", "--job-interval", "0"], 29),
            (
                "fractal",
                "FractalGeneratorPool",
                &["--out", &output, "--count", "1000000", "--pause", "0"],
                30,
            ),
            ("scripting", "ScriptingPool", &["--input", &input, "--output", &output], 1),
        ];
        let mut figures = Figures::default();
        for (seed, (service, pool, more, part)) in (seed() + 20..).zip(users) {
            let each = (share(SHARES[4]) * part).div_ceil(100);
            let (begun, damaged) = (Instant::now(), Damaged::new(Door::Service, seed));
            let (host, at) = (hosts.host(3), hosts.host(1).ip());
            let (_liar, events) =
                Liar::start(host, hosts.host(1), pool, damaged, SESSION_PORTION, heard(each));
            let words = ["client", service, "--registrar", &at, "--patience", "2"];
            // A user may give up, for what it was told was wrong or enough; then there is a next one.
            let start = || ours(hosts.host(2), &[&words[..], more].concat());
            let mut user = start();
            let mut tally = Tally::default();
            let mut users = 1;
            let mut progress = Instant::now();
            while tally.heard < each {
                if let Some(status) = user.ended() {
                    assert!(matches!(status.code(), Some(0..=6)), "{service}: {status}: {}", user.log());
                    user.never_said("panicked");
                    user = start();
                    users += 1;
                }
                // No longer than until the next look at the user.
                let next = events.recv_timeout(std::time::Duration::from_millis(50));
                for event in next.into_iter().chain(events.try_iter()) {
                    let Told::Lied(now) = event else { continue };
                    (tally, progress) = (now, Instant::now());
                }
                assert!(progress.elapsed() < guest::BOUND, "{service} hears no more after {tally:?}");
            }
            user.never_said("panicked");
            figures.add(&format!("{users} users of {service}"), begun, tally);
        }
        registrar.lives();
        registrar.never_said("panicked");
        figures.keep(lab);
    });
}
