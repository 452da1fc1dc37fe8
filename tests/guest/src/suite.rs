//! Rows: tests whose bodies run in a guest.

use crate::hosts::{Hosts, Plan};
use crate::{Boot, Ended, inside, missing, shared};
use std::ffi::OsString;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The rows of one test program. All tests of it whose names begin with `prefix` are rows.
pub struct Suite {
    /// Its folder below `target/guest`.
    pub name: &'static str,
    /// What the names of its rows begin with, and no other test of the program does.
    pub prefix: &'static str,
    /// How many guests share the rows, side by side. A guest has one processor.
    pub guests: usize,
    /// How many rows run at once in each guest: mostly they wait for timers.
    pub rows_at_once: usize,
    /// How long a guest may take for its rows.
    pub bound: Duration,
    ran: OnceLock<Vec<Ended>>,
}

impl Suite {
    /// A suite with these rows.
    pub const fn new(name: &'static str, prefix: &'static str) -> Self {
        let bound = Duration::from_secs(900);
        Self { name, prefix, guests: 2, rows_at_once: 6, bound, ran: OnceLock::new() }
    }

    /// One row. `body` runs in a guest; `after`, outside, when that went well: to look at what the capture holds.
    ///
    /// # Panics
    ///
    /// Like the body.
    pub fn row<F: FnOnce(&Lab)>(&self, body: F, after: impl FnOnce(&Path)) {
        if missing().is_some() {
            return;
        }
        let folder = self.folder().join(row_name::<F>());
        if inside() {
            return run_row(&folder, body);
        }
        let ended = self.ran.get_or_init(|| self.run());
        match fs::read_to_string(folder.join("outcome")).as_deref() {
            Ok("passed") => after(&folder),
            Ok(failure) => panic!("{failure}\n(logs and capture: {})", folder.display()),
            Err(_) => {
                let last = |text: &str| {
                    text.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect::<String>()
                };
                let all: String = ended
                    .iter()
                    .filter(|one| !matches!(one.status, Some(0 | 101)))
                    .map(|one| {
                        format!("status {:?}\n{}\n{}\n", one.status, last(&one.console), last(&one.output))
                    })
                    .collect();
                panic!("the guest ended before this row did\n{all}");
            }
        }
    }

    fn folder(&self) -> PathBuf {
        shared().join(self.name)
    }

    /// Boots the guests and runs in them all rows that this test program was asked for.
    fn run(&self) -> Vec<Ended> {
        let _ = fs::remove_dir_all(self.folder());
        let rows = self.asked_for();
        let guests = self.guests.min(rows.len().div_ceil(self.rows_at_once)).max(1);
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..guests)
                .map(|guest| {
                    let rows: Vec<&String> = rows.iter().skip(guest).step_by(guests).collect();
                    scope.spawn(move || self.guest(guest + 1, &rows))
                })
                .collect();
            running.into_iter().map(|one| one.join().expect("waits for a guest")).collect()
        })
    }

    fn guest(&self, number: usize, rows: &[&String]) -> Ended {
        let mut command = vec![std::env::current_exe().expect("a program has a path").into_os_string()];
        command.extend(["--exact", "--include-ignored", "--test-threads"].map(OsString::from));
        command.push(self.rows_at_once.to_string().into());
        command.extend(rows.iter().map(OsString::from));
        let folder = self.folder().join(format!("guest{number}"));
        let boot = Boot { folder, command, memory: 2048, bound: self.bound };
        boot.run().expect("a guest can be started")
    }

    /// The rows that the command line of this test program selects.
    fn asked_for(&self) -> Vec<String> {
        let mut command = Command::new(std::env::current_exe().expect("a program has a path"));
        command.args(std::env::args_os().skip(1)).args(["--list", "--format", "terse"]);
        let output = command.output().expect("this program can be started");
        assert!(output.status.success(), "--list failed: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let tests = lines.lines().filter_map(|line| line.strip_suffix(": test"));
        tests.filter(|name| name.starts_with(self.prefix)).map(str::to_owned).collect()
    }
}

/// What a row has inside.
pub struct Lab {
    /// Where its logs and its capture are.
    pub folder: PathBuf,
}

impl Lab {
    /// Hosts of this row's own. One set a row.
    pub fn hosts(&self, plan: &Plan) -> Hosts {
        Hosts::new(plan, &self.folder)
    }
}

fn run_row(folder: &Path, body: impl FnOnce(&Lab)) {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).expect("the shared folder can be written to");
    let lab = Lab { folder: folder.into() };
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&lab)));
    let text = match &outcome {
        Ok(()) => "passed",
        Err(cause) => match (cause.downcast_ref::<String>(), cause.downcast_ref::<&str>()) {
            (Some(text), _) => text.as_str(),
            (_, Some(text)) => text,
            _ => "panicked",
        },
    };
    fs::write(folder.join("outcome"), text).expect("the shared folder can be written to");
    if let Err(cause) = outcome {
        resume_unwind(cause);
    }
}

/// The name of the function a closure stands in, as a file name: `registrars.a_row` of
/// `rsplib::registrars::a_row::{{closure}}`.
fn row_name<F>() -> String {
    let path = std::any::type_name::<F>();
    let inner = path.split_once("::").map_or(path, |(_, inner)| inner);
    inner.trim_end_matches("::{{closure}}").replace("::", ".")
}

/// Runs tests of this very test program in a guest: those that these filters select. For suites whose tests need
/// nothing of a guest but its kernel. Outside only; `false`: there can be no guest here.
///
/// # Panics
///
/// If a test fails in there, none is selected, or the guest fails.
pub fn rerun(name: &str, filters: &[&str], bound: Duration) -> bool {
    if missing().is_some() {
        return false;
    }
    assert!(!inside(), "this is inside a guest already");
    let mut command = vec![std::env::current_exe().expect("a program has a path").into_os_string()];
    command.extend(filters.iter().map(OsString::from));
    command.push("--include-ignored".into());
    let boot = Boot { folder: shared().join(name), command, memory: 1024, bound };
    let ended = boot.run().expect("a guest can be started");
    assert!(ended.status == Some(0), "status {:?}\n{}\n{}", ended.status, ended.console, ended.output);
    assert!(!ended.output.contains("running 0 tests"), "no test is selected by {filters:?}");
    true
}
