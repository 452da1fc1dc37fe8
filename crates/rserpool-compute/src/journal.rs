//! What a client has to remember to go on after its own death: the journal of a job.
//!
//! The job belongs to the client, so the promise "accepted exactly once" lasts as long as this file. Here are only its
//! octets; the application writes them, has them reach the disk, and tells [`Job::recorded`](crate::Job::recorded)
//! after that. A result that was acknowledged to its worker is therefore in the journal, whatever happens.
//!
//! ```text
//!   header  "RSPJ"  version (4) = 1   job (16)   input (8)                                     seal (8)
//!   record  kind (1) status (1) 0 (2)  attempt (4)  task (8)  value (4)  0 (4)  octets (8)     seal (8)
//! ```
//!
//! Both are 40 octets long. A seal covers the seal before it, too, so whatever was written last and only in part, or
//! damaged, ends the journal: what [`replay`] finds is the state after some first records, and each record that
//! reached the disk in whole is among them.

use crate::cookie::seal;
use crate::protocol::{Attempt, JobId, Status, TaskId};
use std::collections::BTreeMap;
use std::fmt;

/// Octets of the header and of each record.
pub const RECORD: usize = 40;

/// Attempts a client may make in one life. Its next life counts on above, so that no number comes twice.
const ATTEMPTS_PER_LIFE: u32 = 1 << 16;

/// How a task ended, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its result was accepted.
    Accepted {
        /// The attempt it came from.
        number: u32,
        /// Exit status, if it ended so.
        exit: Option<i32>,
        /// Octets of its output.
        octets: u64,
    },
    /// It was given up.
    Failed,
    /// It was cancelled.
    Cancelled,
}

/// Writes a journal: remembers the seal the next record goes on from.
#[derive(Clone, Debug)]
pub struct Journal {
    seal: [u8; 8],
}

/// What a journal tells.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// The job.
    pub job: JobId,
    /// What the application made of its input when the job began; another value now means another job.
    pub input: u64,
    /// Clients that worked on it so far.
    pub lives: u32,
    /// The tasks that are over. Each once.
    pub over: BTreeMap<TaskId, Over>,
    /// How many octets are good. Cut the file here before writing on.
    pub good: usize,
    /// Writes on behind them. The first thing to write is [`Journal::life`].
    pub journal: Journal,
}

/// Why octets are no journal at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The header is not all there: the client died before the job began. Begin anew.
    Empty,
    /// It is something else, or damaged where it may not be.
    NotAJournal,
    /// A later version wrote it.
    Version(u32),
}

impl fmt::Display for JournalError {
    /// Reads well after "cannot resume: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the journal is empty"),
            Self::NotAJournal => f.write_str("the file is no journal"),
            Self::Version(version) => {
                write!(f, "the journal has version {version}, this program knows {VERSION}")
            }
        }
    }
}

impl std::error::Error for JournalError {}

impl Journal {
    /// Begins the journal of a job, and the octets to begin the file with. `input`: what the application makes of its
    /// input, a checksum of all tasks say, to know it again.
    pub fn begin(job: JobId, input: u64) -> (Self, Vec<u8>) {
        let mut octets = Vec::with_capacity(2 * RECORD);
        octets.extend(MAGIC);
        octets.extend(VERSION.to_be_bytes());
        octets.extend(job.0);
        octets.extend(input.to_be_bytes());
        octets.extend(seal(&octets));
        let mut journal = Self { seal: last_seal(&octets) };
        octets.extend(journal.life());
        (journal, octets)
    }

    /// A client begins to work on the job. `begin` has the first of these.
    pub fn life(&mut self) -> [u8; RECORD] {
        self.record(LIFE, 0, Attempt::default(), 0, 0)
    }

    /// The result of this attempt is accepted and its output safe. `status` is as the job told it.
    pub fn accepted(&mut self, attempt: Attempt, status: &Status, octets: u64) -> [u8; RECORD] {
        match status {
            Status::Exited(code) => self.record(ACCEPTED, EXITED, attempt, *code, octets),
            _ => self.record(ACCEPTED, 0, attempt, 0, octets),
        }
    }

    /// The task is given up.
    pub fn failed(&mut self, task: TaskId) -> [u8; RECORD] {
        self.record(FAILED, 0, Attempt { task, number: 0 }, 0, 0)
    }

    /// The task is cancelled.
    pub fn cancelled(&mut self, task: TaskId) -> [u8; RECORD] {
        self.record(CANCELLED, 0, Attempt { task, number: 0 }, 0, 0)
    }

    fn record(&mut self, kind: u8, status: u8, attempt: Attempt, value: i32, octets: u64) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        record[..2].copy_from_slice(&[kind, status]);
        record[4..8].copy_from_slice(&attempt.number.to_be_bytes());
        record[8..16].copy_from_slice(&attempt.task.0.to_be_bytes());
        record[16..20].copy_from_slice(&value.to_be_bytes());
        record[24..32].copy_from_slice(&octets.to_be_bytes());
        self.seal = seal(&[&self.seal[..], &record[..SEALED]].concat());
        record[SEALED..].copy_from_slice(&self.seal);
        record
    }
}

impl Replayed {
    /// What to give to [`Job::submit_again`](crate::Job::submit_again) for tasks that are not over: numbers no former
    /// life can have used.
    pub fn attempts(&self) -> u32 {
        self.lives.saturating_mul(ATTEMPTS_PER_LIFE)
    }
}

/// Reads a journal as far as it is whole. Octets behind that are not looked at.
pub fn replay(octets: &[u8]) -> Result<Replayed, JournalError> {
    let (header, mut rest) = octets.split_at_checked(RECORD).ok_or(JournalError::Empty)?;
    let version = u32::from_be_bytes(part(header, 4));
    if header[..4] != MAGIC || seal(&header[..SEALED]) != header[SEALED..] {
        return Err(JournalError::NotAJournal);
    }
    if version != VERSION {
        return Err(JournalError::Version(version));
    }
    let mut told = Replayed {
        job: JobId(part(header, 8)),
        input: u64::from_be_bytes(part(header, 24)),
        lives: 0,
        over: BTreeMap::new(),
        good: RECORD,
        journal: Journal { seal: last_seal(header) },
    };
    while let Some((record, next)) = rest.split_at_checked(RECORD) {
        let sealed = seal(&[&told.journal.seal[..], &record[..SEALED]].concat());
        if sealed != record[SEALED..] {
            break;
        }
        let number = u32::from_be_bytes(part(record, 4));
        let task = TaskId(u64::from_be_bytes(part(record, 8)));
        let over = match record[0] {
            LIFE => {
                told.lives += 1;
                None
            }
            ACCEPTED => Some(Over::Accepted {
                number,
                exit: (record[1] == EXITED).then(|| i32::from_be_bytes(part(record, 16))),
                octets: u64::from_be_bytes(part(record, 24)),
            }),
            FAILED => Some(Over::Failed),
            CANCELLED => Some(Over::Cancelled),
            // Sealed, so written on purpose, by somebody who knows more than we do.
            _ => return Err(JournalError::NotAJournal),
        };
        if let Some(over) = over {
            told.over.entry(task).or_insert(over);
        }
        told.journal.seal = sealed;
        told.good += RECORD;
        rest = next;
    }
    Ok(told)
}

const MAGIC: [u8; 4] = *b"RSPJ";
const VERSION: u32 = 1;
const SEALED: usize = RECORD - 8;
const LIFE: u8 = 1;
const ACCEPTED: u8 = 2;
const FAILED: u8 = 3;
const CANCELLED: u8 = 4;
const EXITED: u8 = 1;

fn part<const N: usize>(octets: &[u8], from: usize) -> [u8; N] {
    octets[from..from + N].try_into().expect("records are longer than their parts")
}

fn last_seal(octets: &[u8]) -> [u8; 8] {
    part(octets, octets.len() - 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: JobId = JobId([3; 16]);

    fn attempt(task: u64, number: u32) -> Attempt {
        Attempt { task: TaskId(task), number }
    }

    /// A journal with five records, and what each prefix of them tells.
    fn written() -> (Vec<u8>, Vec<BTreeMap<TaskId, Over>>) {
        let (mut journal, mut octets) = Journal::begin(JOB, 77);
        let records = [
            journal.accepted(attempt(1, 2), &Status::Exited(-3), 500),
            journal.accepted(attempt(0, 1), &Status::Signalled(9), 0),
            journal.failed(TaskId(7)),
            journal.cancelled(TaskId(2)),
        ];
        let overs = [
            (TaskId(1), Over::Accepted { number: 2, exit: Some(-3), octets: 500 }),
            (TaskId(0), Over::Accepted { number: 1, exit: None, octets: 0 }),
            (TaskId(7), Over::Failed),
            (TaskId(2), Over::Cancelled),
        ];
        octets.extend(records.concat());
        let prefixes = (0..=overs.len()).map(|length| overs[..length].iter().copied().collect());
        (octets, prefixes.collect())
    }

    #[test]
    fn a_record_looks_like_its_picture() {
        let (octets, _) = written();
        assert_eq!(octets.len(), 6 * RECORD);
        assert_eq!(octets[..8], *b"RSPJ\0\0\0\x01");
        assert_eq!(octets[8..32], [&[3; 16][..], &[0, 0, 0, 0, 0, 0, 0, 77]].concat());
        let accepted = [
            2, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0,
            0, 0, 1, 0xf4,
        ];
        assert_eq!(octets[80..112], accepted);
    }

    #[test]
    fn a_journal_cut_anywhere_tells_what_was_whole() {
        let (octets, prefixes) = written();
        for cut in 0..=octets.len() {
            let told = replay(&octets[..cut]);
            if cut < RECORD {
                assert_eq!(told.unwrap_err(), JournalError::Empty, "cut at {cut}");
                continue;
            }
            let told = told.expect("the header is there");
            let records = cut / RECORD - 1;
            assert_eq!((told.job, told.input, told.good), (JOB, 77, (records + 1) * RECORD), "cut at {cut}");
            assert_eq!(told.lives, u32::from(records > 0));
            assert_eq!(told.over, prefixes[records.saturating_sub(1)]);
        }
    }

    #[test]
    fn a_damaged_octet_ends_the_journal_before_its_record() {
        let (octets, prefixes) = written();
        for place in 0..octets.len() {
            let mut damaged = octets.clone();
            damaged[place] ^= 0x10;
            match replay(&damaged) {
                Err(error) => assert!(place < RECORD && error == JournalError::NotAJournal, "at {place}"),
                Ok(told) => {
                    assert_eq!(told.good, place / RECORD * RECORD, "at {place}");
                    assert_eq!(told.over, prefixes[(place / RECORD).saturating_sub(2)], "at {place}");
                }
            }
        }
    }

    #[test]
    fn a_resumed_client_writes_on_behind_the_cut_and_counts_on() {
        let (mut octets, prefixes) = written();
        octets.truncate(octets.len() - 1);
        let mut told = replay(&octets).expect("good");
        assert_eq!(told.over, prefixes[3]);
        octets.truncate(told.good);
        octets.extend(told.journal.life());
        octets.extend(told.journal.accepted(attempt(2, told.attempts() + 1), &Status::Exited(0), 1));
        let again = replay(&octets).expect("good");
        assert_eq!((again.lives, again.attempts(), again.good), (2, 131_072, octets.len()));
        let number = 65_537;
        assert_eq!(again.over[&TaskId(2)], Over::Accepted { number, exit: Some(0), octets: 1 });
    }

    #[test]
    fn what_is_no_journal_is_said_so() {
        assert_eq!(replay(&[0; 400]).unwrap_err(), JournalError::NotAJournal);
        let (_, mut octets) = Journal::begin(JOB, 0);
        octets[7] = 9;
        let resealed = seal(&octets[..SEALED]);
        octets[SEALED..RECORD].copy_from_slice(&resealed);
        assert_eq!(replay(&octets).unwrap_err(), JournalError::Version(9));
    }
}
