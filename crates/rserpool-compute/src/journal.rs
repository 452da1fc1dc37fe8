//! What a client has to remember to go on after its own death: the journal of a job.
//!
//! The job belongs to the client, so the promise "accepted exactly once" lasts as long as this file. Here are only its
//! octets: [`Writer`] makes them, [`Reader`] understands them in portions, [`State`] is what they come to.
//! [`DurableJob`](crate::DurableJob) decides what is written when.
//!
//! ```text
//!   header  "RSPJ"  version (4) = 2  job (16)  length (4)  what the application wants to know again  seal (8)
//!   record  kind (1)  length (1 to 4)  content  seal (8)                                         and so on
//!
//!    1 Life       time                                  a client begins to work on the job
//!    2 Task       task, input                           before it starts anywhere
//!    3 InputEnd                                         no more tasks come
//!    4 Accepted   task, attempt, starts, time, span, worker, status, output or where it is
//!    5 Failed     task, starts, why                     given up
//!    6 Cancelled  task
//!    7 CancelAll                                        every task that is not over is cancelled, and no more come
//!    8 Retry      task                                  over as it may be, it is to be done once more
//!    9 Printed    number                                so many results reached their reader
//!   10 Lost       task, attempt, worker                 this execution was given up
//! ```
//!
//! Numbers in records have 7 bits per octet, the lowest first; the eighth says that more follow. A seal covers the seal
//! before it, too, so whatever was written last and only in part, or damaged, ends the journal: what is read is the
//! state after some first records, and each record that reached the disk in whole is among them. A task of little input
//! and output takes about 35 octets besides these.

use crate::codec::{Reader as Octets, WireError};
use crate::protocol::{Attempt, JobId, Status, Stream, TaskId, put_status, status};
use rserpool::ElementId;
use std::collections::BTreeMap;
use std::fmt;

/// Most octets of an input, and of an output inside of a record.
pub const CONTENT_MAX: usize = 1024 * 1024;

/// Most octets of what the application keeps in the header: a command line of 6 MiB, the longest that Linux takes, and
/// what makes text of it, six octets for one at the most.
pub const ABOUT_MAX: usize = 64 * 1024 * 1024;

/// Attempts a client may make in one life. Its next life counts on above, so that no number comes twice.
pub const ATTEMPTS_PER_LIFE: u32 = 1 << 16;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A client begins to work on the job.
    Life {
        /// Milliseconds since 1970.
        time: u64,
    },
    /// A task was taken. Numbers increase.
    Task {
        /// Its number.
        task: TaskId,
        /// What the application makes its work from.
        input: Vec<u8>,
    },
    /// No more tasks come.
    InputEnd,
    /// The task is over: this is its result.
    Accepted(Box<Accepted>),
    /// The task is over: it was given up.
    Failed {
        /// Which.
        task: TaskId,
        /// Executions begun in this life of the client.
        starts: u32,
        /// Why, for people.
        why: String,
    },
    /// The task is over: it was cancelled.
    Cancelled {
        /// Which.
        task: TaskId,
    },
    /// Every task that is not over is cancelled, and no more come.
    CancelAll,
    /// The task is not over after all: it is to be done once more.
    Retry {
        /// Which.
        task: TaskId,
    },
    /// So many of the first results and failures of the journal reached their reader.
    Printed {
        /// In all lives.
        count: u64,
    },
    /// An execution was given up: its worker is lost, or another one was faster.
    Lost {
        /// Which.
        attempt: Attempt,
        /// Where.
        worker: ElementId,
    },
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which execution it comes from.
    pub attempt: Attempt,
    /// Executions begun in this life of the client.
    pub starts: u32,
    /// When it was accepted: milliseconds since this life began.
    pub time: u64,
    /// How long it ran, as the client heard it, in milliseconds. Where more tasks wait at a worker than there is to say, its words
    /// come up to 4 ms late.
    pub span: u64,
    /// Who computed it.
    pub worker: ElementId,
    /// How it ended: `Exited`, `Signalled`, `TimedOut` or `Incomplete`.
    pub status: Status,
    /// Its output.
    pub output: Output,
}

/// The output of an execution, each stream in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Here it is: the streams in the order they spoke, none twice in a row.
    Here(Vec<(Stream, Vec<u8>)>),
    /// In the file of outputs, one block after the other.
    Elsewhere(Vec<Block>),
}

/// A part of an output in the file of outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// The sum over all of it.
    pub digest: [u8; 8],
    /// What of it counts: streams in the order they spoke, and octets of each. What is behind is to be forgotten.
    pub pieces: Vec<(Stream, u64)>,
}

impl Default for Output {
    /// Nothing.
    fn default() -> Self {
        Self::Here(Vec::new())
    }
}

impl Output {
    /// Octets in all.
    pub fn octets(&self) -> u64 {
        match self {
            Self::Here(pieces) => pieces.iter().map(|(_, octets)| octets.len() as u64).sum(),
            Self::Elsewhere(blocks) => {
                blocks.iter().flat_map(|block| &block.pieces).map(|(_, length)| length).sum()
            }
        }
    }
}

impl Block {
    /// The pieces of these octets, which were read where the block says; `None` if they are damaged.
    pub fn pieces_of<'a>(&self, octets: &'a [u8]) -> Option<Vec<(Stream, &'a [u8])>> {
        if octets.len() as u64 != self.length || Digest::of(octets) != self.digest {
            return None;
        }
        let mut rest = octets;
        let mut found = Vec::with_capacity(self.pieces.len());
        for &(stream, length) in &self.pieces {
            let (piece, later) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            found.push((stream, piece));
            rest = later;
        }
        Some(found)
    }
}

/// A sum over octets that come in portions: FNV-1a, 64 bit. Each step is a bijection of the sum so far, so a change of any
/// one octet is always found. It finds damage, not forgery.
#[derive(Clone, Copy, Debug)]
pub struct Digest(u64);

impl Default for Digest {
    /// Of nothing.
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Of these octets.
    pub fn of(octets: &[u8]) -> [u8; 8] {
        let mut digest = Self::default();
        digest.add(octets);
        digest.sum()
    }

    /// Adds octets.
    pub fn add(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The sum so far.
    pub fn sum(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// The seal of octets behind a seal.
fn sealed(before: &[u8], octets: &[u8]) -> [u8; SEAL] {
    let mut digest = Digest::default();
    digest.add(before);
    digest.add(octets);
    digest.sum()
}

/// The octets of entries, each sealed onto the one before.
#[derive(Clone, Debug)]
pub struct Writer {
    seal: [u8; SEAL],
}

impl Writer {
    /// Begins the journal of a job: the octets to begin the file with. `about`: what the application wants to know
    /// again, at most [`ABOUT_MAX`] octets; longer is a mistake of the caller.
    pub fn begin(job: JobId, about: &[u8]) -> (Self, Vec<u8>) {
        assert!(about.len() <= ABOUT_MAX, "{} octets about a job", about.len());
        let mut octets = Vec::with_capacity(HEADER + about.len() + SEAL);
        octets.extend(MAGIC);
        octets.extend(VERSION.to_be_bytes());
        octets.extend(job.0);
        octets.extend((about.len() as u32).to_be_bytes());
        octets.extend(about);
        let seal = sealed(&[], &octets);
        octets.extend(seal);
        (Self { seal }, octets)
    }

    /// Appends an entry. One that is longer than any reader believes is a mistake of the caller: it would end the journal.
    /// (Only results of outputs in many pieces [may be](Accepted::fits_record).)
    pub fn put(&mut self, entry: &Entry, out: &mut Vec<u8>) {
        let mut content = Vec::new();
        let kind = entry.emit(&mut content);
        assert!(content.len() as u64 <= RECORD_MAX, "a record of {} octets", content.len());
        let start = out.len();
        out.push(kind);
        put_number(out, content.len() as u64);
        out.extend(content);
        self.seal = sealed(&self.seal, &out[start..]);
        out.extend(self.seal);
    }
}

impl Entry {
    /// The task it is about, if it is about one.
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::Task { task, .. }
            | Self::Failed { task, .. }
            | Self::Cancelled { task }
            | Self::Retry { task } => Some(*task),
            Self::Accepted(accepted) => Some(accepted.attempt.task),
            Self::Lost { attempt, .. } => Some(attempt.task),
            Self::Life { .. } | Self::InputEnd | Self::CancelAll | Self::Printed { .. } => None,
        }
    }

    /// True if a task is over by it.
    fn is_end(&self) -> bool {
        matches!(self, Self::Accepted(_) | Self::Failed { .. } | Self::Cancelled { .. })
    }

    fn emit(&self, out: &mut Vec<u8>) -> u8 {
        match self {
            Self::Life { time } => {
                put_number(out, *time);
                1
            }
            Self::Task { task, input } => {
                put_number(out, task.0);
                out.extend(input);
                2
            }
            Self::InputEnd => 3,
            Self::Accepted(accepted) => {
                accepted.emit(out);
                4
            }
            Self::Failed { task, starts, why } => {
                put_number(out, task.0);
                put_number(out, (*starts).into());
                out.extend(crate::codec::clipped(why, TEXT_MAX).as_bytes());
                5
            }
            Self::Cancelled { task } => {
                put_number(out, task.0);
                6
            }
            Self::CancelAll => 7,
            Self::Retry { task } => {
                put_number(out, task.0);
                8
            }
            Self::Printed { count } => {
                put_number(out, *count);
                9
            }
            Self::Lost { attempt, worker } => {
                put_attempt(out, *attempt);
                out.extend(worker.0.to_be_bytes());
                10
            }
        }
    }

    fn parse(kind: u8, content: &[u8]) -> Result<Self, WireError> {
        let mut body = Octets::new(content);
        let entry = match kind {
            1 => Self::Life { time: number(&mut body)? },
            2 => Self::Task { task: TaskId(number(&mut body)?), input: body.rest().to_vec() },
            3 => Self::InputEnd,
            4 => Self::Accepted(Box::new(Accepted::parse(&mut body)?)),
            5 => Self::Failed {
                task: TaskId(number(&mut body)?),
                starts: small(&mut body)?,
                why: String::from_utf8_lossy(body.rest()).into_owned(),
            },
            6 => Self::Cancelled { task: TaskId(number(&mut body)?) },
            7 => Self::CancelAll,
            8 => Self::Retry { task: TaskId(number(&mut body)?) },
            9 => Self::Printed { count: number(&mut body)? },
            10 => Self::Lost { attempt: attempt(&mut body)?, worker: ElementId(body.u32()?) },
            _ => return Err(WireError::Unknown { offset: 0, what: "kind of record", found: kind.into() }),
        };
        body.end()?;
        Ok(entry)
    }
}

impl Accepted {
    /// False if its output is in so many pieces that no record can name them.
    pub fn fits_record(&self) -> bool {
        let mut content = Vec::new();
        self.emit(&mut content);
        content.len() as u64 <= RECORD_MAX
    }

    fn emit(&self, out: &mut Vec<u8>) {
        put_attempt(out, self.attempt);
        put_number(out, self.starts.into());
        put_number(out, self.time);
        put_number(out, self.span);
        out.extend(self.worker.0.to_be_bytes());
        // Success is a zero; everything else stands as on the wire, with its length before it.
        let mut status = Vec::new();
        if !self.status.is_success() {
            put_status(&mut status, &self.status, 0);
        }
        put_number(out, status.len() as u64);
        out.extend(status);
        match &self.output {
            Output::Here(pieces) => {
                put_number(out, (pieces.len() as u64) << 1);
                for (stream, octets) in pieces {
                    out.push(stream.0);
                    put_number(out, octets.len() as u64);
                    out.extend(octets);
                }
            }
            Output::Elsewhere(blocks) => {
                put_number(out, (blocks.len() as u64) << 1 | 1);
                for block in blocks {
                    put_number(out, block.offset);
                    put_number(out, block.length);
                    out.extend(block.digest);
                    put_number(out, block.pieces.len() as u64);
                    for (stream, length) in &block.pieces {
                        out.push(stream.0);
                        put_number(out, *length);
                    }
                }
            }
        }
    }

    fn parse(body: &mut Octets<'_>) -> Result<Self, WireError> {
        let attempt = attempt(body)?;
        let starts = small(body)?;
        let (time, span) = (number(body)?, number(body)?);
        let worker = ElementId(body.u32()?);
        let length = usize::try_from(number(body)?).unwrap_or(usize::MAX);
        let status = match body.take(length)? {
            [] => Status::Exited(0),
            octets => {
                let mut octets = Octets::new(octets);
                let (status, _) = status(&mut octets)?;
                octets.end()?;
                status
            }
        };
        // Memory grows with what is really there, not with the numbers announced.
        let shape = number(body)?;
        let output = if shape & 1 == 0 {
            let piece = |body: &mut Octets<'_>| {
                let stream = Stream(body.u8()?);
                let length = usize::try_from(number(body)?).unwrap_or(usize::MAX);
                Ok((stream, body.take(length)?.to_vec()))
            };
            Output::Here((0..shape >> 1).map(|_| piece(body)).collect::<Result<_, WireError>>()?)
        } else {
            let block = |body: &mut Octets<'_>| {
                let (offset, length) = (number(body)?, number(body)?);
                let digest = body.array()?;
                let pieces = (0..number(body)?)
                    .map(|_| Ok((Stream(body.u8()?), number(body)?)))
                    .collect::<Result<_, WireError>>()?;
                Ok(Block { offset, length, digest, pieces })
            };
            Output::Elsewhere((0..shape >> 1).map(|_| block(body)).collect::<Result<_, WireError>>()?)
        };
        Ok(Self { attempt, starts, time, span, worker, status, output })
    }
}

/// Why octets are no journal at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalError {
    /// The header is not all there: the client died before the job began.
    Empty,
    /// It is something else, or damaged where it may not be.
    NotAJournal,
    /// A later version wrote it.
    Version(u32),
    /// A record is whole and yet makes no sense: a later version wrote it, or somebody else.
    Record {
        /// Where it begins.
        offset: u64,
    },
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
            Self::Record { offset } => {
                write!(f, "the journal has a record at octet {offset} that this program does not know")
            }
        }
    }
}

impl std::error::Error for JournalError {}

/// Reads a journal in portions, as far as it is whole.
#[derive(Debug, Default)]
pub struct Reader {
    portion: Vec<u8>,
    /// How much of the portion is read.
    read: usize,
    /// Octets read before the portion.
    before: u64,
    /// The header, once it is read.
    header: Option<(JobId, Vec<u8>)>,
    seal: [u8; SEAL],
    /// A record does not fit its seal: nothing behind it counts.
    torn: bool,
}

impl Reader {
    /// Adds the next octets of the file.
    pub fn push(&mut self, octets: &[u8]) {
        if !self.torn {
            self.portion.drain(..self.read);
            self.before += self.read as u64;
            self.read = 0;
            self.portion.extend(octets);
        }
    }

    /// The job, and what its application wanted to know again; `None` until enough octets came.
    pub fn header(&mut self) -> Result<Option<(JobId, &[u8])>, JournalError> {
        if self.header.is_none() {
            self.read_header()?;
        }
        Ok(self.header.as_ref().map(|(job, about)| (*job, about.as_slice())))
    }

    fn read_header(&mut self) -> Result<(), JournalError> {
        let octets = &self.portion[self.read..];
        let known = octets.len().min(MAGIC.len());
        if octets[..known] != MAGIC[..known] {
            return Err(JournalError::NotAJournal);
        }
        let Some(fixed) = octets.get(..HEADER) else { return Ok(()) };
        let version = u32::from_be_bytes(part(fixed, 4));
        if version != VERSION {
            return Err(JournalError::Version(version));
        }
        let length = u32::from_be_bytes(part(fixed, 24)) as usize;
        if length > ABOUT_MAX {
            return Err(JournalError::NotAJournal);
        }
        let end = HEADER + length;
        let Some(whole) = octets.get(..end + SEAL) else { return Ok(()) };
        if sealed(&[], &whole[..end]) != whole[end..] {
            return Err(JournalError::NotAJournal);
        }
        self.seal = part(whole, end);
        self.header = Some((JobId(part(whole, 8)), whole[HEADER..end].to_vec()));
        self.read += end + SEAL;
        Ok(())
    }

    /// The next entry; `None`: more octets are needed, or the rest is torn.
    pub fn entry(&mut self) -> Result<Option<Entry>, JournalError> {
        if self.torn || self.header()?.is_none() {
            return Ok(None);
        }
        let octets = &self.portion[self.read..];
        let mut head = Octets::new(octets);
        let (Ok(kind), Ok(length)) = (head.u8(), number(&mut head)) else { return Ok(None) };
        let begin = head.offset();
        if length > RECORD_MAX {
            self.torn = true;
            return Ok(None);
        }
        let end = begin + length as usize;
        let Some(found) = octets.get(end..end + SEAL) else { return Ok(None) };
        let sum = sealed(&self.seal, &octets[..end]);
        if sum != found {
            self.torn = true;
            return Ok(None);
        }
        // Sealed, so written on purpose.
        let entry = Entry::parse(kind, &octets[begin..end])
            .map_err(|_| JournalError::Record { offset: self.before + self.read as u64 })?;
        self.seal = sum;
        self.read += end + SEAL;
        Ok(Some(entry))
    }

    /// How many octets are read: where the next entry begins, and where to cut the file before it is written on.
    pub fn good(&self) -> u64 {
        self.before + self.read as u64
    }

    /// Writes on behind what was read.
    pub fn writer(&self) -> Writer {
        Writer { seal: self.seal }
    }
}

/// A set of tasks: a bit for each, in portions, so that a million finished tasks take 125 kB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskSet {
    portions: BTreeMap<u64, Box<[u64; PORTION]>>,
    count: u64,
}

impl TaskSet {
    /// Adds a task; false if it was there.
    pub fn insert(&mut self, task: TaskId) -> bool {
        let (portion, place, bit) = Self::place(task);
        let word = &mut self.portions.entry(portion).or_insert_with(|| Box::new([0; PORTION]))[place];
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    /// Takes a task out; false if it was not there.
    pub fn remove(&mut self, task: TaskId) -> bool {
        let (portion, place, bit) = Self::place(task);
        let Some(words) = self.portions.get_mut(&portion) else { return false };
        let was_there = words[place] & bit != 0;
        words[place] &= !bit;
        self.count -= u64::from(was_there);
        was_there
    }

    /// Whether a task is there.
    pub fn contains(&self, task: TaskId) -> bool {
        let (portion, place, bit) = Self::place(task);
        self.portions.get(&portion).is_some_and(|words| words[place] & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them, upwards.
    pub fn iter(&self) -> impl Iterator<Item = TaskId> + '_ {
        self.portions.iter().flat_map(|(portion, words)| {
            let first = portion * PORTION as u64 * 64;
            let set = |bit: &u64| words[(bit / 64) as usize] & (1 << (bit % 64)) != 0;
            (0..PORTION as u64 * 64).filter(set).map(move |bit| TaskId(first + bit))
        })
    }

    fn place(task: TaskId) -> (u64, usize, u64) {
        let word = task.0 / 64;
        (word / PORTION as u64, (word % PORTION as u64) as usize, 1 << (task.0 % 64))
    }
}

/// What a journal comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Clients that worked on the job so far.
    pub lives: u32,
    /// When the first one began, and the last one: milliseconds since 1970.
    pub times: Option<(u64, u64)>,
    /// Tasks taken.
    pub submitted: u64,
    /// The highest of them.
    pub last: Option<TaskId>,
    /// No more tasks come.
    pub input_ended: bool,
    /// Tasks that are over: accepted, given up or cancelled.
    pub over: TaskSet,
    /// Of those: tasks whose result was accepted, but is no success.
    pub unsuccessful: TaskSet,
    /// Of those: tasks given up.
    pub failed: TaskSet,
    /// Of those: tasks cancelled one by one.
    pub cancelled: TaskSet,
    /// Every task that is not over is cancelled.
    pub all_cancelled: bool,
    /// Results accepted and tasks given up, those of tasks that were tried again included: the last one of each counts.
    pub ends: u64,
    /// Of those, so many of the first reached their reader.
    pub printed: u64,
    /// How often tasks were tried again, those that were.
    pub retries: BTreeMap<TaskId, u32>,
    /// Of those: attempts up to this were made before, and what became of them is known.
    pub settled: BTreeMap<TaskId, u32>,
}

impl State {
    /// Takes the next entry into account. Entries about tasks that are not there, or over twice, change nothing.
    pub fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Life { time } => {
                self.lives = self.lives.saturating_add(1);
                self.times = Some((self.times.map_or(*time, |(first, _)| first), *time));
            }
            Entry::Task { task, .. } if self.last.is_none_or(|last| *task > last) => {
                self.last = Some(*task);
                self.submitted += 1;
            }
            Entry::Task { .. } => {}
            Entry::InputEnd => self.input_ended = true,
            _ if self.all_cancelled && entry.is_end() => {}
            Entry::Accepted(accepted) => {
                self.ends += 1;
                if self.over.insert(accepted.attempt.task) && !accepted.status.is_success() {
                    self.unsuccessful.insert(accepted.attempt.task);
                }
            }
            Entry::Failed { task, .. } => {
                self.ends += 1;
                if self.over.insert(*task) {
                    self.failed.insert(*task);
                }
            }
            Entry::Cancelled { task } => {
                if self.over.insert(*task) {
                    self.cancelled.insert(*task);
                }
            }
            Entry::CancelAll => (self.all_cancelled, self.input_ended) = (true, true),
            Entry::Retry { task } => {
                self.over.remove(*task);
                self.unsuccessful.remove(*task);
                self.failed.remove(*task);
                self.cancelled.remove(*task);
                *self.retries.entry(*task).or_default() += 1;
                let lives = self.lives.saturating_sub(1);
                self.settled.insert(*task, lives.saturating_mul(ATTEMPTS_PER_LIFE));
            }
            Entry::Printed { count } => self.printed = *count,
            Entry::Lost { .. } => {}
        }
    }

    /// Tasks that are neither over nor cancelled.
    pub fn unfinished(&self) -> u64 {
        if self.all_cancelled { 0 } else { self.submitted.saturating_sub(self.over.len()) }
    }

    /// Tasks with exit status 0.
    pub fn succeeded(&self) -> u64 {
        self.over.len() - self.unsuccessful.len() - self.failed.len() - self.cancelled.len()
    }

    /// True if nothing is left to be done.
    pub fn is_finished(&self) -> bool {
        self.input_ended && self.unfinished() == 0
    }

    /// What to give to [`Job::submit_again`](crate::Job::submit_again) for tasks that are not over: numbers no former
    /// life can have used.
    pub fn attempts(&self) -> u32 {
        self.lives.saturating_mul(ATTEMPTS_PER_LIFE)
    }
}

const MAGIC: [u8; 4] = *b"RSPJ";
const VERSION: u32 = 2;
const HEADER: usize = 28;
const SEAL: usize = 8;
const PORTION: usize = 64;
const TEXT_MAX: usize = 4096;

/// Most octets of a record's content: an input or output, and what stands before it. (An output in a file of its own takes
/// some 30 octets for each of its blocks.)
const RECORD_MAX: u64 = 16 * 1024 * 1024;

fn part<const N: usize>(octets: &[u8], from: usize) -> [u8; N] {
    octets[from..from + N].try_into().expect("the caller looked at the length")
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn number(body: &mut Octets<'_>) -> Result<u64, WireError> {
    let offset = body.offset();
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let octet = body.u8()?;
        let bits = u64::from(octet & 0x7f);
        if bits << shift >> shift != bits {
            break;
        }
        number |= bits << shift;
        if octet < 0x80 {
            return Ok(number);
        }
    }
    Err(WireError::Invalid { offset, rule: "must be a number of 64 bits" })
}

fn small(body: &mut Octets<'_>) -> Result<u32, WireError> {
    let offset = body.offset();
    u32::try_from(number(body)?)
        .map_err(|_| WireError::Invalid { offset, rule: "must be a number of 32 bits" })
}

fn put_attempt(out: &mut Vec<u8>, attempt: Attempt) {
    put_number(out, attempt.task.0);
    put_number(out, attempt.number.into());
}

fn attempt(body: &mut Octets<'_>) -> Result<Attempt, WireError> {
    Ok(Attempt { task: TaskId(number(body)?), number: small(body)? })
}

#[cfg(test)]
mod tests;
