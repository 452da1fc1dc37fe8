//! What a new session costs until it is useful, and a whole package of work, by RSPLIB's own measuring application: CalcApp.
//!
//! Each job is a session of its own: resolution, association, request, acceptance (its "start-up"), result. A job here is so
//! small that computing it is nothing. Both kinds of users write the same file of times, which is read here.

use crate::bare::{self, IP, Request, trips};
use crate::costs::{our_registrar, their_registrar};
use crate::table::{median, ratio, table, verdict};
use crate::voice::Voice;
use crate::watcher::{Watcher, ids};
use rserpool::PoolHandle;
use rserpool::wire::asap::Message;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ECHO: u16 = 5_000;
const OURS: u16 = 3_863;
const THEIRS: u16 = 4_863;
const SPAN: Duration = Duration::from_secs(3);
const ROUNDS_MAX: usize = 5;

/// An element of ours with this service, at these registrars.
pub fn our_element(service: &str, id: &str, registrars: &[u16], more: &[&str]) -> Voice {
    let begun = Instant::now();
    let at: Vec<String> = registrars.iter().map(|port| format!("--registrar={IP}:{port}")).collect();
    let mut words = vec!["serve", service, "--listen", IP, "--id", id];
    words.extend(at.iter().map(String::as_str));
    let voice = Voice::start(env!("CARGO_BIN_EXE_rsp"), &[&words, more].concat());
    voice.says(begun, " serves pool ");
    voice
}

/// An element of RSPLIB. Whoever started its registrar knows when it is there.
pub fn their_element(service: &str, id: &str, registrars: &[u16], more: &[&str]) -> Voice {
    let at: Vec<String> = registrars.iter().map(|port| format!("-registrar={IP}:{port}")).collect();
    let (service, id) = (format!("-{service}"), format!("-identifier=0x{id}"));
    let mut words = vec![&service[..], &id, "-asapannounce=off", "-logcolor=off", "-loglevel=3"];
    words.extend(at.iter().map(String::as_str));
    Voice::start("rspserver", &[&words, more].concat())
}

/// Median start-up, and the time a whole package takes while there always is a next one, in seconds.
fn read(file: &PathBuf) -> (f64, f64) {
    let text = std::fs::read_to_string(file).expect("the user wrote it");
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().expect("a line of names").split_whitespace().collect();
    let place = |name: &str| head.iter().position(|word| *word == name).expect("a column of RSPLIB's");
    // Lines begin with their number, which has no name.
    let jobs: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().skip(1).collect()).collect();
    let number = |job: &[&str], name: &str| job[place(name)].parse::<f64>().expect("a number");
    assert!(jobs.len() >= 20, "only {} jobs in {}", jobs.len(), file.display());
    let startup: Vec<f64> = jobs.iter().map(|job| number(job, "StartupDelay")).collect();
    let (first, last) = (&jobs[0], &jobs[jobs.len() - 1]);
    let span = number(last, "CompleteTimeStamp") - number(first, "StartupTimeStamp");
    (median(&startup), span / jobs.len() as f64)
}

/// Prints the figures of so many rounds, at most five.
pub fn measure(pairs: usize) {
    let rounds = pairs.min(ROUNDS_MAX);
    let _echo = bare::echo(ECHO);
    let _registrars = (our_registrar(OURS, &[]), their_registrar(THEIRS, &[]));
    let _our_element = our_element("calcapp", "0000000a", &[OURS], &["--capacity", "1000000000"]);
    let _their_element = their_element("calcapp", "0b", &[THEIRS], &["-capcapacity=1000000000"]);
    // Both are known; RSPLIB's registrar would only say so at a level at which it says much else.
    let mut watcher = Watcher::start("CalcAppPool", &[OURS, THEIRS]);
    watcher.until("an element of each kind", |all| all.iter().all(|seen| ids(seen).len() == 1));
    drop(watcher);

    // As long as a message of the application, either way.
    let handle = PoolHandle::new("EchoPool").expect("short");
    let like = Request::new(&Message::HandleResolution { subscribe: false, handle, items: Some(1) });
    let (mut floors, mut startup, mut whole) = (Vec::new(), [vec![], vec![]], [vec![], vec![]]);
    let file = guest::shared().join("bench-rsplib").join("jobs");
    let seconds = SPAN.as_secs().to_string();
    for _ in 0..rounds {
        floors.push(trips(ECHO, 1_000, &like, Some(like.len())).0);
        for place in [0, 1] {
            let _ = std::fs::remove_file(&file);
            if place == 0 {
                let (at, path) = (format!("--registrar=sctp://{IP}:{OURS}"), file.display().to_string());
                let words = ["client", "calcapp", &at, "--job-interval", "0", "--job-size", "10", "--vector"];
                let mut user = Voice::start(
                    env!("CARGO_BIN_EXE_rsp"),
                    &[&words[..], &[&path, "--runtime", &seconds]].concat(),
                );
                user.ends();
            } else {
                let (at, path) = (format!("-registrar={IP}:{THEIRS}"), format!("-vector={}", file.display()));
                let run = format!("-runtime={seconds}");
                let words =
                    [&at[..], "-jobinterval=0.001", "-jobsize=10", &path, &run, "-scalar=/tmp/scalars"];
                let mut user = Voice::start("calcappclient", &[&words[..], &["-loglevel=1"]].concat());
                user.ends();
            }
            let (start, package) = read(&file);
            startup[place].push(start);
            whole[place].push(package);
        }
    }
    let mut table = table(["CalcApp", "ours", "by echo (worst pair)", "RSPLIB", "by echo", "must", ""]);
    let millis = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
    for (name, times, must) in
        [("start-up of a session", &startup, Some(12.0)), ("a package, one session each", &whole, None)]
    {
        let [(ours, worst), (theirs, _)] = [0, 1].map(|place| ratio(&times[place], &floors));
        table.add_row([
            name.to_owned(),
            millis(median(&times[0])),
            format!("{ours:.1} ({worst:.1})"),
            millis(median(&times[1])),
            format!("{theirs:.1}"),
            must.map_or(String::new(), |must| format!("≤ {must}")),
            must.map_or("", |must| verdict(ours, must)).to_owned(),
        ]);
    }
    println!(
        "\n{table}\n\n{rounds} rounds of {seconds} s each; echo of 24 octets: {:.0} µs.",
        median(&floors) * 1e6
    );
}
