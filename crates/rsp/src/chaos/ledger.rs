//! What was executed, as the tasks themselves wrote it down: a shell script per task, nothing of ours.
//!
//! ```text
//!   begin 17 2 00c0ffee 1764061413123      task, attempt, worker, milliseconds since 1970
//!   end 17 2
//! ```
//!
//! Each line is written at once, at the end of the file (O_APPEND), so lines of different processes never mix.

use rserpool::ElementId;
use rserpool_compute::{Attempt, TaskId};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The variable by which a task knows its worker: workers are started with it.
pub const WORKER: &str = "RSP_CHAOS_WORKER";

/// What a task does. Its arguments: the ledger, the seed, the value. [`result`] and [`millis`] say the same in Rust.
pub const SCRIPT: &str = r#"set -e
date "+begin $RSP_TASK $RSP_ATTEMPT $RSP_CHAOS_WORKER %s%3N" >>"$1"
x=$((($3 * 1103515245 + $2 * 12345 + 54321) % 2147483647))
x=$(((x * 48271 + $3) % 2147483647))
ms=$((1020 + x % 81))
sleep "0.${ms#1}"
echo "end $RSP_TASK $RSP_ATTEMPT" >>"$1"
echo "$3 $x""#;

fn number(task: u64, seed: u32) -> u64 {
    let x = (task * 1_103_515_245 + u64::from(seed) * 12_345 + 54_321) % 2_147_483_647;
    (x * 48_271 + task) % 2_147_483_647
}

/// What the task should put out.
pub fn result(task: u64, seed: u32) -> String {
    format!("{task} {}\n", number(task, seed))
}

/// How long it sleeps: 20 to 100 ms.
pub fn millis(task: u64, seed: u32) -> u64 {
    20 + number(task, seed) % 81
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// Where.
    pub worker: ElementId,
    /// When it began: milliseconds since 1970.
    pub begun: u64,
    /// How often it was begun; more than once would be an attempt that was given out twice.
    pub times: u32,
    /// It came to its end.
    pub ended: bool,
}

/// The ledger, read as it grows.
#[derive(Debug, Default)]
pub struct Ledger {
    file: Option<File>,
    /// The beginning of a line.
    partial: Vec<u8>,
    /// Every execution.
    pub executions: BTreeMap<Attempt, Execution>,
    /// Those that have not ended, as far as is known.
    open: BTreeMap<Attempt, (ElementId, u64)>,
    /// A line nobody could have written on purpose, the first of them.
    pub nonsense: Option<String>,
}

impl Ledger {
    /// An empty one in this new file.
    pub fn new(path: &Path) -> io::Result<Self> {
        File::create_new(path)?;
        Ok(Self { file: Some(File::open(path)?), ..Self::default() })
    }

    /// Reads what was added.
    pub fn read(&mut self) -> io::Result<()> {
        let mut octets = std::mem::take(&mut self.partial);
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut octets)?;
        }
        let whole = octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |last| last + 1);
        self.partial = octets.split_off(whole);
        for line in String::from_utf8_lossy(&octets).lines() {
            if self.line(line).is_none() {
                self.nonsense.get_or_insert_with(|| line.to_owned());
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let task = TaskId(words.next()?.parse().ok()?);
        let attempt = Attempt { task, number: words.next()?.parse().ok()? };
        match kind {
            "begin" => {
                let worker = ElementId(u32::from_str_radix(words.next()?, 16).ok()?);
                let begun = words.next()?.parse().ok()?;
                let new = Execution { worker, begun, times: 0, ended: false };
                self.executions.entry(attempt).or_insert(new).times += 1;
                self.open.insert(attempt, (worker, begun));
            }
            "end" => {
                self.executions.get_mut(&attempt)?.ended = true;
                self.open.remove(&attempt);
            }
            _ => return None,
        }
        words.next().is_none().then_some(())
    }

    /// Executions that began and did not end, with their workers and beginnings.
    pub fn open(&self) -> impl Iterator<Item = (Attempt, ElementId, u64)> + '_ {
        self.open.iter().map(|(attempt, (worker, begun))| (*attempt, *worker, *begun))
    }

    /// This worker is dead: what it had open will never end.
    pub fn close(&mut self, worker: ElementId) {
        self.open.retain(|_, (at, _)| *at != worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::Command;

    #[test]
    fn the_script_writes_and_puts_out_what_is_expected_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger");
        let mut ledger = Ledger::new(&path).expect("room");
        for (task, seed) in [(1, 0), (17, 4_294_967_295), (1_000_000, 7)] {
            let mut command = Command::new("sh");
            command.args(["-c", SCRIPT, "sh"]).arg(&path).args([seed.to_string(), task.to_string()]);
            command.env("RSP_TASK", task.to_string()).env("RSP_ATTEMPT", "2").env(WORKER, "00c0ffee");
            let said = command.output().expect("sh is there");
            assert_eq!(String::from_utf8(said.stdout).expect("text"), result(task, seed));
            assert!(said.stderr.is_empty() && said.status.success());
            assert!((20..=100).contains(&millis(task, seed)));
        }
        ledger.read().expect("there");
        assert_eq!((ledger.executions.len(), &ledger.nonsense, ledger.open().count()), (3, &None, 0));
        let one = &ledger.executions[&Attempt { task: TaskId(17), number: 2 }];
        assert_eq!((one.worker, one.times, one.ended), (ElementId(0xc0ffee), 1, true));
    }

    #[test]
    fn lines_are_taken_whole_and_nonsense_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ledger");
        let mut ledger = Ledger::new(&path).expect("room");
        let mut file = File::options().append(true).open(&path).expect("there");
        let mut say = |text: &str| {
            file.write_all(text.as_bytes()).expect("room");
            ledger.read().expect("there");
            (ledger.open().count(), ledger.executions.len(), ledger.nonsense.clone())
        };
        assert_eq!(say("begin 1 1 a 5\nbegin 2 1 b"), (1, 1, None));
        assert_eq!(say(" 6\nend 1 1\n"), (1, 2, None));
        assert_eq!(say("begin 2 1 b 7\n"), (1, 2, None));
        assert_eq!(say("end 9 1\n"), (1, 2, Some("end 9 1".into())));
        assert_eq!(say("begin 3 1 c 5 6\n").2, Some("end 9 1".into()));
        assert_eq!(ledger.executions[&Attempt { task: TaskId(2), number: 1 }].times, 2);
        ledger.close(ElementId(0xb));
        assert!(ledger.open().all(|(_, worker, _)| worker == ElementId(0xc)));
    }
}
