//! How long registrars take to get over a loss (B9, B10), with the timers everybody is shipped with.
//!
//! ```text
//!   registrar 1 <--ENRP--> registrar 2        a watcher asks both every 4 ms
//!        ^   ^
//!        |   `--- an element that stays: it is taken over
//!   3 elements of the same kind, which know both registrars
//! ```

use crate::costs::{our_registrar, their_registrar};
use crate::jobs::{our_element, their_element};
use crate::table::{median, table};
use crate::voice::Voice;
use crate::watcher::{Asking, Faithful, Seen, Watcher, ids};
use rserpool::RegistrarId;
use std::time::Duration;

/// Ports of the two registrars of a kind.
const PORTS: [[u16; 2]; 2] = [[3_863, 3_864], [4_863, 4_864]];
const ROUNDS: usize = 3;
const OURS: usize = 0;
/// How long a takeover is waited for. RSPLIB's registrar does not when it is the only one left.
const PATIENCE: Duration = Duration::from_secs(20);
/// So long an element that was taken over has to be seen.
const SURE: Duration = Duration::from_secs(2);

/// What is measured, in seconds: of ours, of RSPLIB's.
type Figures = [Vec<f64>; 2];

fn registrar(kind: usize, place: usize) -> Voice {
    let (port, other) = (PORTS[kind][place], PORTS[kind][1 - place]);
    let peer = format!("{}:{}", crate::bare::IP, other + 6_038);
    if kind == OURS {
        our_registrar(port, &["--peer", &peer])
    } else {
        their_registrar(port, &[&format!("-peer={peer}")])
    }
}

fn element(kind: usize, id: u32) -> Voice {
    let id = format!("{id:08x}");
    // The first one named is the home of all; the other one is known.
    if kind == OURS {
        our_element("calcapp", &id, &PORTS[kind], &[])
    } else {
        their_element("calcapp", &id, &PORTS[kind], &[])
    }
}

fn lacks(seen: &Seen, id: u32) -> bool {
    seen.as_ref().is_some_and(|all| all.iter().all(|(one, _)| one.0 != id))
}

/// Prints the table.
pub fn measure() {
    let mut figures: [Figures; 6] = Default::default();
    for _ in 0..ROUNDS {
        for kind in [OURS, 1] {
            round(kind, &mut figures);
        }
    }
    let names = [
        ("crashed element leaves the pool", "≤ 20 ms"),
        ("… at a peer registrar", "≤ 50 ms"),
        ("hung element leaves the pool everywhere", "≤ 0.74 s in the mean"),
        ("registrar killed: its element is at home elsewhere", "≤ 2 s"),
        ("… an element that stays is taken over", "≤ 3 s"),
        ("… longest gap between answers to a user that knows both", "≤ 0.2 s"),
    ];
    let mut table = table(["", "ours", "longest", "RSPLIB", "longest", "goal for ours"]);
    for ((name, goal), [ours, theirs]) in names.iter().zip(&figures) {
        let longest = |times: &[f64]| times.iter().copied().fold(0.0, f64::max);
        let cells = [median(ours), longest(ours), median(theirs), longest(theirs)].map(show);
        let [one, two, three, four] = cells;
        table.add_row([(*name).to_owned(), one, two, three, four, (*goal).to_owned()]);
    }
    println!("\n{table}\n\n{ROUNDS} rounds.");
}

/// A time as one reads it.
pub fn show(seconds: f64) -> String {
    match seconds {
        _ if seconds.is_infinite() => "not within 20 s".into(),
        _ if seconds.is_nan() || seconds == 0.0 => "–".into(),
        _ if seconds < 0.995 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{seconds:.2} s"),
    }
}

fn round(kind: usize, figures: &mut [Figures; 6]) {
    let first = registrar(kind, 0);
    let second = registrar(kind, 1);
    let mut elements: Vec<Voice> = (1..=3).map(|id| element(kind, id)).collect();
    let pool = "CalcAppPool";
    let mut watcher = Watcher::start(pool, &PORTS[kind]);
    watcher.until("three elements everywhere", |all| all.iter().all(|seen| ids(seen) == [1, 2, 3]));
    let mut registrars = [first, second];

    let begun = elements[0].kill();
    let gone = |place: usize| move |all: &[Seen]| lacks(&all[place], 1);
    // Whose home it is: both lines of time are looked at, the earlier one is the home's.
    let local = watcher.until("a killed element is gone", |all| gone(0)(all) || gone(1)(all));
    let peer = watcher.until("it is gone everywhere", |all| gone(0)(all) && gone(1)(all)).max(local);
    figures[0][kind].push((local - begun).as_secs_f64());
    figures[1][kind].push((peer - begun).as_secs_f64());

    let begun = elements[1].hang();
    let at = watcher.until("a hung element is gone", |all| all.iter().all(|seen| lacks(seen, 2)));
    figures[2][kind].push((at - begun).as_secs_f64());
    drop(elements.drain(..2));

    // The home of the last one dies: also that of an element that does not look for another one, and of a user that does.
    watcher.until("one element", |all| all.iter().all(|seen| ids(seen) == [3]));
    let _stay = [0, 1].map(|place| Faithful::start("probe", 0x70 + place as u32, PORTS[kind][place]));
    let mut stays = Watcher::start("probe", &PORTS[kind]);
    stays.until("elements that stay", |all| all.iter().all(|seen| ids(seen) == [0x70, 0x71]));
    let homes = [0x70, 0x71].map(|id| home(&stays.last()[0], id));
    let before = home(&watcher.last()[0], 3);
    let victim = homes.iter().position(|home| *home == before).expect("one of the two is its home");
    let other = 1 - victim;
    let asking = Asking::start("CalcAppPool", [PORTS[kind][victim], PORTS[kind][other]]);
    let begun = registrars[victim].kill();
    let moves = |all: &[Seen]| home(&all[other], 3).is_some_and(|at| Some(at) != before);
    let moved = watcher.until("it is at home elsewhere", moves);
    figures[3][kind].push((moved - begun).as_secs_f64());
    let stayed = 0x70 + victim as u32;
    let takes = |all: &[Seen]| home(&all[other], stayed).is_some_and(|at| Some(at) != before);
    let taken = stays.within(PATIENCE, takes);
    // It is asked whether it lives, and stays.
    let taken = taken.filter(|_| stays.within(SURE, |all| lacks(&all[other], stayed)).is_none());
    figures[4][kind].push(taken.map_or(f64::INFINITY, |taken| (taken - begun).as_secs_f64()));
    figures[5][kind].push(asking.longest_gap());
}

fn home(seen: &Seen, id: u32) -> Option<RegistrarId> {
    seen.iter().flatten().find(|(one, _)| one.0 == id).map(|(_, home)| *home)
}
