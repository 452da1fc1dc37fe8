//! What our components cost over the kernel's SCTP, and how long they take to get over a loss: beside those of the
//! reference implementation, RSPLIB, in the same guest in the same minutes.
//!
//! ```text
//! cargo bench -p rsp --bench rsplib               everything, about eight minutes (docs/performance.md explains it)
//! cargo bench -p rsp --bench rsplib -- costs      a part: costs (of exchanges), jobs, losses (of registrars), sessions
//! cargo bench -p rsp --bench rsplib -- 9          nine pairs instead of five
//! ```
//!
//! System calls are dear in a guest, so only ratios mean something: to a blocking echo (`bare.c`) whose messages are as
//! long as those of the exchange that is measured, and of ours to RSPLIB's. All take turns; ratios are those of medians.
//! Everybody is at one address of one host, behind no switch, and nothing is captured.

mod bare;
mod costs;
mod jobs;
mod losses;
mod sessions;
mod table;
mod voice;
mod watcher;

use guest::{Boot, inside, missing, shared};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

const PAIRS: usize = 5;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|one| one == word);
    if inside() {
        let pairs = words.iter().find_map(|word| word.parse().ok()).unwrap_or(PAIRS);
        let all = !["costs", "jobs", "losses", "sessions"].into_iter().any(has);
        if all || has("costs") {
            costs::measure(pairs);
        }
        if all || has("jobs") {
            jobs::measure(pairs);
        }
        if all || has("losses") {
            losses::measure();
        }
        if all || has("sessions") {
            sessions::measure();
        }
        return ExitCode::SUCCESS;
    }
    // `cargo test` runs benchmarks too, without this word: that it can be built is all it shows then.
    if !has("--bench") || missing().is_some() {
        return ExitCode::SUCCESS;
    }
    if let Err(why) = bare::compile() {
        eprintln!("no floor to compare with: {why}; apt-get install gcc libc6-dev");
        return ExitCode::FAILURE;
    }
    println!("load average before: {}", load_average());
    let mut command = vec![std::env::current_exe().expect("a program has a path").into_os_string()];
    command.extend(words.iter().map(OsString::from));
    let folder = shared().join("bench-rsplib");
    let ended = Boot { folder, command, memory: 1024, bound: Duration::from_secs(900) }.run();
    let ended = ended.expect("a guest can be started");
    println!("{}load average after: {}", ended.output, load_average());
    if ended.status == Some(0) {
        return ExitCode::SUCCESS;
    }
    eprintln!("the guest ended with {:?}\n{}", ended.status, ended.console);
    ExitCode::FAILURE
}

fn load_average() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').take(1).collect()
}
