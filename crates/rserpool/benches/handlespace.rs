//! What the handlespace costs, held against insertion and look-up in a `BTreeMap` of the same keys.
//!
//! ```text
//! cargo bench -p rserpool                          all tables (docs/performance.md explains them)
//! cargo bench -p rserpool -- resolve               one table: resolve, select, change, memory
//! cargo bench -p rserpool -- once WHAT POLICY ELEMENTS TIMES
//!                                                  one operation that often, for counting instructions;
//!                                                  benches/instructions does that with valgrind
//! ```
//!
//! Subject and reference run alternately in the same process; a figure is the median of the pairs.

// The core is told the time; what measures it may look at the clock.
#![allow(clippy::disallowed_methods)]

use rserpool::handlespace::Settings;
use rserpool::wire::asap::{Message, Selection};
use rserpool::wire::parameter::{Life, PoolElement, Transport, TransportUse};
use rserpool::{ElementId, Handlespace, Policy, PoolHandle, Random, RegistrarId};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Command, ExitCode};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const PAIRS: usize = 5;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let measured = std::env::args().any(|argument| argument == "--bench");
    match arguments[..] {
        // `cargo test` runs benchmarks too: show that they work, in no time.
        [] | ["--test"] if !measured => {
            select(&[10], &["lu", "rand"], 10);
            change(&[10], &["lu", "rand"]);
        }
        [] => {
            resolve(&SIZES, &all());
            select(&SIZES, &all(), 300_000);
            change(&SIZES, &all());
            memory(&["lu", "wrr", "rand"]);
        }
        ["resolve"] => resolve(&SIZES, &all()),
        ["select"] => select(&SIZES, &all(), 300_000),
        ["change"] => change(&SIZES, &all()),
        ["memory"] => memory(&["lu", "wrr", "rand"]),
        ["growth", policy] => growth(policy),
        ["once", what, policy, elements, times] => {
            let numbers = elements.parse().ok().zip(times.parse().ok());
            let Some((elements, times)) = numbers else { return usage() };
            return once(what, policy, elements, times);
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: cargo bench -p rserpool [-- resolve|select|change|memory|once WHAT POLICY ELEMENTS TIMES]"
    );
    ExitCode::FAILURE
}

/// The short name of every policy.
fn all() -> Vec<&'static str> {
    Policy::names().map(|(_, short)| short).collect()
}

// ----- The subject -----

fn pool() -> PoolHandle {
    PoolHandle::new("benchmarked").expect("eleven octets")
}

/// An element as registrars hold it: one IPv4 address per transport, a policy with values as elements have them.
fn element(id: u32, policy: &str, random: &mut Random) -> PoolElement {
    let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 | id & 0x00ff_ffff));
    PoolElement {
        id: ElementId(id),
        home: RegistrarId(1),
        life: Life(90_000),
        user_transport: Transport::Sctp {
            port: 8080,
            transport_use: TransportUse::DataAndControl,
            addresses: vec![address],
        },
        policy: values(policy, random),
        asap_transport: Some(Transport::Sctp {
            port: 3863,
            transport_use: TransportUse::Data,
            addresses: vec![address],
        }),
        asap_tcp: None,
    }
}

/// Loads of 24 random bits, weights of 1 to 100, degradations of a hundredth.
fn values(policy: &str, random: &mut Random) -> Policy {
    let plain: Policy = policy.parse().expect("a name of the table");
    let words: Vec<u32> = plain
        .parameters()
        .map(|(parameter, _)| match parameter.name() {
            "load" => (random.below(1 << 24) as u32) << 8,
            "degradation" => u32::MAX / 100,
            "penalty" => u32::MAX / 1_000,
            _ => 1 + random.below(100) as u32,
        })
        .collect();
    Policy::from_words(plain.code(), words).expect("as many words as it has")
}

/// Different identifiers in random order.
fn identifiers(elements: usize, random: &mut Random) -> Vec<u32> {
    let mut drawn = BTreeMap::new();
    while drawn.len() < elements {
        drawn.insert(random.nonzero_u32(), ());
    }
    let mut ids: Vec<u32> = drawn.into_keys().collect();
    for place in (1..ids.len()).rev() {
        ids.swap(place, random.below(place as u64 + 1) as usize);
    }
    ids
}

/// A pool and what is needed to use it.
struct Subject {
    handlespace: Handlespace,
    ids: Vec<u32>,
    policy: String,
    random: Random,
}

impl Subject {
    fn new(policy: &str, elements: usize) -> Self {
        let mut random = Random::from_seed(elements as u64);
        let ids = identifiers(elements, &mut random);
        let mut handlespace = Handlespace::with_settings(Settings::registrar());
        for &id in &ids {
            handlespace.register(&pool(), element(id, policy, &mut random)).expect("admitted");
        }
        Self { handlespace, ids, policy: policy.to_owned(), random }
    }

    fn select(&mut self, items: usize) {
        let handle = pool();
        let selected = self.handlespace.select_with(&handle, items, &mut self.random, |element| {
            black_box(element.id);
        });
        black_box(selected);
    }

    /// A whole resolution, but for transport: the request is parsed, the answer written.
    fn resolve(&mut self, request: &[u8]) -> Vec<u8> {
        let Ok(Message::HandleResolution { handle, items, .. }) = Message::parse(request) else {
            panic!("the request is a handle resolution")
        };
        let items = items.unwrap_or(3) as usize;
        let mut answer = Selection::new(&handle, 60_000);
        self.handlespace.select_with(&handle, items, &mut self.random, |element| answer.push(element));
        answer.finish().expect("a pool")
    }

    fn request(items: u32) -> Vec<u8> {
        Message::HandleResolution { subscribe: false, handle: pool(), items: Some(items) }.emit()
    }

    /// Elements with new values, in random order, for `update`.
    fn updates(&mut self, times: usize) -> Vec<PoolElement> {
        (0..times)
            .map(|_| {
                let id = self.ids[self.random.below(self.ids.len() as u64) as usize];
                element(id, &self.policy, &mut self.random)
            })
            .collect()
    }

    fn update(&mut self, updates: Vec<PoolElement>) {
        let handle = pool();
        for update in updates {
            black_box(self.handlespace.register(&handle, update)).expect("admitted");
        }
    }
}

// ----- Measuring -----

/// Nanoseconds per time of what is done `times` times in `work`: those spent computing, so that neighbours on the machine
/// disturb little.
fn nanoseconds(times: usize, work: impl FnOnce()) -> f64 {
    let begun = computing();
    work();
    (computing() - begun) as f64 / times as f64
}

/// Nanoseconds this thread has spent on a processor.
fn computing() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Insertion and look-up in a `BTreeMap` of as many keys: nanoseconds each.
fn reference(elements: usize, seed: u64) -> (f64, f64) {
    let ids = identifiers(elements, &mut Random::from_seed(seed));
    let rounds = (100_000 / elements).max(1);
    let mut map = BTreeMap::new();
    let insert = nanoseconds(rounds * elements, || {
        for _ in 0..rounds {
            map = ids.iter().map(|&id| (id, id)).fold(BTreeMap::new(), |mut map, (key, value)| {
                map.insert(key, value);
                map
            });
        }
    });
    let get = nanoseconds(rounds * elements, || {
        for _ in 0..rounds {
            for id in ids.iter().rev() {
                black_box(map.get(id));
            }
        }
    });
    (insert, get)
}

/// Pairs of (subject, reference) figures: the median of each and of their ratios.
fn paired(mut pair: impl FnMut(u64) -> (f64, f64)) -> (f64, f64, f64) {
    let pairs: Vec<(f64, f64)> = (0..PAIRS as u64).map(&mut pair).collect();
    let subject = median(pairs.iter().map(|pair| pair.0).collect());
    let reference = median(pairs.iter().map(|pair| pair.1).collect());
    (subject, reference, median(pairs.iter().map(|pair| pair.0 / pair.1).collect()))
}

fn resolve(sizes: &[usize], policies: &[&str]) {
    println!("\nresolution: parse the request, select, write the answer; ns (ratio to one BTreeMap look-up)");
    println!("{:<10} {:>8} {:>18} {:>18}", "policy", "elements", "1 item", "3 items");
    for policy in policies {
        for &size in sizes {
            let mut subject = Subject::new(policy, size);
            let figures = [1, 3].map(|items| {
                let request = Subject::request(items);
                paired(|seed| {
                    let times = 100_000;
                    let ours = nanoseconds(times, || {
                        for _ in 0..times {
                            black_box(subject.resolve(black_box(&request)));
                        }
                    });
                    (ours, reference(size, seed).1)
                })
            });
            let [one, three] = figures.map(|(ours, _, ratio)| format!("{ours:.0} ({ratio:.1})"));
            println!("{policy:<10} {size:>8} {one:>18} {three:>18}");
        }
    }
}

fn select(sizes: &[usize], policies: &[&str], times: usize) {
    println!("\nselection alone; ns (ratio to one BTreeMap look-up), and how it grows from the size before");
    println!("{:<10} {:>8} {:>18} {:>18} {:>8}", "policy", "elements", "1 item", "3 items", "growth");
    for policy in policies {
        let mut before = None;
        for &size in sizes {
            let mut subject = Subject::new(policy, size);
            let [one, three] = [1, 3].map(|items| {
                paired(|seed| {
                    let ours = nanoseconds(times, || (0..times).for_each(|_| subject.select(items)));
                    (ours, reference(size, seed).1)
                })
            });
            let growth = before.map_or(String::new(), |before| format!("{:.2}", one.0 / before));
            before = Some(one.0);
            let [one, three] = [one, three].map(|(ours, _, ratio)| format!("{ours:.0} ({ratio:.1})"));
            println!("{policy:<10} {size:>8} {one:>18} {three:>18} {growth:>8}");
        }
    }
}

fn change(sizes: &[usize], policies: &[&str]) {
    println!("\nchanges; ns (ratio to one BTreeMap insertion), and all registrations together");
    println!(
        "{:<10} {:>8} {:>18} {:>18} {:>18} {:>10}",
        "policy", "elements", "register", "new values", "remove", "all, ms"
    );
    for policy in policies {
        for &size in sizes {
            let rounds = (10_000 / size).max(1);
            let (register, _, register_ratio) = paired(|seed| {
                let mut random = Random::from_seed(seed);
                let newcomers: Vec<Vec<PoolElement>> = (0..rounds)
                    .map(|_| {
                        let ids = identifiers(size, &mut random);
                        ids.into_iter().map(|id| element(id, policy, &mut random)).collect()
                    })
                    .collect();
                let mut spaces = vec![Handlespace::with_settings(Settings::registrar()); rounds];
                let ours = nanoseconds(size * rounds, || {
                    let handle = pool();
                    for (space, newcomers) in spaces.iter_mut().zip(newcomers) {
                        for newcomer in newcomers {
                            black_box(space.register(&handle, newcomer)).expect("admitted");
                        }
                    }
                });
                (ours, reference(size, seed).0)
            });
            let (update, _, update_ratio) = paired(|seed| {
                let mut subject = Subject::new(policy, size);
                let updates = subject.updates(100_000);
                (nanoseconds(100_000, || subject.update(updates)), reference(size, seed).0)
            });
            let (remove, _, remove_ratio) = paired(|seed| {
                let mut subjects = vec![Subject::new(policy, size)];
                subjects.resize_with(rounds, || Subject::new(policy, size));
                let ours = nanoseconds(size * rounds, || {
                    let handle = pool();
                    for subject in &mut subjects {
                        for &id in &subject.ids {
                            black_box(subject.handlespace.remove(&handle, ElementId(id)));
                        }
                    }
                });
                (ours, reference(size, seed).0)
            });
            let cell = |ours: f64, ratio: f64| format!("{ours:.0} ({ratio:.1})");
            println!(
                "{policy:<10} {size:>8} {:>18} {:>18} {:>18} {:>10.2}",
                cell(register, register_ratio),
                cell(update, update_ratio),
                cell(remove, remove_ratio),
                register * size as f64 / 1e6
            );
        }
    }
}

// ----- Memory -----

/// Octets by which the process grows per element, from 1,000 to 100,000; each policy in a process of its own.
fn memory(policies: &[&str]) {
    println!("\nmemory: octets per element, by growth of the resident set from 1,000 to 100,000 elements");
    for policy in policies {
        let itself = std::env::current_exe().expect("a running program has a file");
        let grown = Command::new(itself).args(["growth", policy]).output().expect("it runs once more");
        print!("{policy:<10} {}", String::from_utf8_lossy(&grown.stdout));
    }
}

fn growth(policy: &str) {
    let mut random = Random::from_seed(1);
    let ids = identifiers(100_000, &mut random);
    let mut handlespace = Handlespace::with_settings(Settings::registrar());
    let mut before = 0;
    for (number, &id) in ids.iter().enumerate() {
        handlespace.register(&pool(), element(id, policy, &mut random)).expect("admitted");
        if number + 1 == 1_000 {
            before = resident();
        }
    }
    println!("{}", (resident() - before) / 99_000);
    black_box(&handlespace);
}

/// Octets of memory the process has now. (Linux; 0 elsewhere.)
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|line| line.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()));
    pages.unwrap_or(0) * 4096
}

// ----- Counting instructions -----

/// One operation so many times, and nothing else that depends on how often.
fn once(what: &str, policy: &str, elements: usize, times: usize) -> ExitCode {
    if policy.parse::<Policy>().is_err() {
        return usage();
    }
    // Prepared for the larger of the two counts whatever this one is, so that only the operation differs.
    let prepared = 20_000.max(times);
    match what {
        "select1" | "select3" => {
            let mut subject = Subject::new(policy, elements);
            let items = if what == "select1" { 1 } else { 3 };
            (0..times).for_each(|_| subject.select(items));
        }
        "resolve1" | "resolve3" => {
            let mut subject = Subject::new(policy, elements);
            let request = Subject::request(if what == "resolve1" { 1 } else { 3 });
            (0..times).for_each(|_| drop(black_box(subject.resolve(&request))));
        }
        "update" => {
            let mut subject = Subject::new(policy, elements);
            let mut updates = subject.updates(prepared);
            drop(updates.split_off(times));
            subject.update(updates);
        }
        _ => return usage(),
    }
    ExitCode::SUCCESS
}
