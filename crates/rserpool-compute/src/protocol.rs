//! What client and worker say to each other: the task protocol.
//!
//! Payload protocol identifier `0x52535031` ("RSP1"). A message is one or more frames, one after the other, so that
//! many small tasks or results travel together; a frame is
//!
//! ```text
//!   0        1                 4
//!   | type   | length of what follows, 24 bit | content …
//! ```
//!
//! Numbers are in network byte order. One session carries one job:
//!
//! ```text
//!   client                                   worker
//!     Hello(version, job)  --------------->           first, on every new element of the session
//!                          <---------------  Welcome(version, slots, credit, resources, name)
//!     Task(task, attempt, needs, work) --->           never more unsettled tasks than the credit
//!                          <---------------  Started(task, attempt, of, from)
//!                          <---------------  Output(task, attempt, stream, offset, octets)*
//!     Window(task, attempt, octets) ------>           each attempt may begin with `WINDOW` octets of output, and all
//!                                                     together have `FLIGHT_MAX` on their way
//!                          <---------------  Result(task, attempt, status, octets)
//!     Ack(task, attempt)   --------------->           settled: the worker forgets it
//!     Cancel(task, attempt) -------------->           answered by a Result in any case
//!     Recall(task, attempt) -------------->           give it back if it did not begin
//!                          <---------------  Credit(tasks)     0: the worker drains
//!                          <---------------  Holds(task, attempt)    of a lost session of this job, after Welcome
//!     Adopt(task, attempt) -------------->           this session takes it over, from its beginning; or Cancel
//! ```
//!
//! Work may need items (files and trees of files, see [`crate::item`]). The worker asks for those it does not have, before
//! it starts the task, each once for all that need it; a task that was started needs nothing more. The other way, a
//! checkpoint that is too large for a cookie is brought to the client, and the cookie names it as an item:
//!
//! ```text
//!   client                                   worker
//!                          <---------------  Fetch(transfer, item)      numbers of transfers are the worker's: 1, 2, …
//!     Part(transfer, octets) ------------>*          never more than `TRANSFER_WINDOW` that are not asked for again:
//!                          <---------------  More(transfer, octets)*    they are on the worker's disk
//!                          <---------------  Stop(transfer)             not needed any more; or Part by Part to its end
//!
//!                          <---------------  Save(transfer, attempt, item)
//!                          <---------------  Part(transfer, octets)*
//!     More(transfer, octets) ------------>*
//!     Saved(transfer)      --------------->           on the client's disk, as announced: the next cookie names it
//!     Stop(transfer)       --------------->           or: cannot be kept
//!
//!     Lineage(cookie)      --------------->           before a Task that continues what another session's worker began
//! ```
//!
//! A worker asks only for what tasks need that it has and that did not begin, for 16 items at a time at most, and saves one
//! checkpoint of an attempt at a time. Who does otherwise is refused.
//!
//! A session can also be about the worker itself; it carries no job then:
//!
//! ```text
//!   whoever may                              worker
//!     Drain(milliseconds)  --------------->           instead of Hello
//!                          <---------------  Draining(permitted, tasks, milliseconds)      again when the tasks are 0
//! ```
//!
//! What nobody waits for may wait for company, since each message costs both sides a wake: an Ack until there is more to say, or
//! for as long as the tasks sent ahead of the slots may take; Started, Output and Result for a few milliseconds, as long as the
//! client has sent ahead more tasks than there is to say. Only of first attempts, and never an answer.
//!
//! Attempts of a task strictly increase and are numbered by the client before anything is sent, so a frame always says
//! which execution it belongs to. A side that receives octets that are no frames ends the session: everything it
//! promised is repeated elsewhere. Unknown frame types are such octets too; versions are what keeps the sides together.

pub use crate::codec::WireError;
use crate::codec::{Reader, clipped, put_counted};
use crate::cookie::COOKIE_MAX;
use crate::item::Item;
use crate::resources::{Amount, Resources};
use rserpool::Ppid;
use std::fmt;

/// Identifies messages of the task protocol: "RSP1".
pub const PPID: Ppid = Ppid(0x5253_5031);

/// The version spoken here. A worker that is told another one does not welcome.
pub const VERSION: u16 = 2;

/// Most octets of a message. Every transport carries 1 MiB.
pub const MESSAGE_MAX: usize = 960 * 1024;

/// Frames are gathered into one message until it has this many octets; a longer frame travels alone.
pub const BATCH: usize = 64 * 1024;

/// Most octets of the work in a Task frame.
pub const WORK_MAX: usize = 896 * 1024;

/// Most octets of output in one Output frame.
pub const CHUNK_MAX: usize = 256 * 1024;

/// Octets of output every attempt may send before the first Window frame.
pub const WINDOW: u32 = 512 * 1024;

/// Octets of output of all attempts of a session that may be on their way: sent, and neither given back by a Window nor
/// settled by an Ack. A link takes no more than some MiB, and a network may be slower than all tasks together.
pub const FLIGHT_MAX: u64 = 4 * 1024 * 1024;

/// The client gives back whatever it has at the latest when it is so much, of all attempts together: else many that said a
/// little each would hold each other up.
pub const FLIGHT_UNTOLD_MAX: u32 = 1024 * 1024;

/// Most octets a Window frame may add.
pub const WINDOW_MAX: u32 = 16 * 1024 * 1024;

/// Octets of a transfer that may be under way before the first More frame.
pub const TRANSFER_WINDOW: u32 = 512 * 1024;

/// Most tasks a worker lets a session have unsettled.
pub const CREDIT_MAX: u32 = 4096;

/// Most octets of the reason in a Result, and of the name in a Welcome.
pub const TEXT_MAX: usize = 1024;

/// A job: 128 random bits, drawn by the client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub [u8; 16]);

impl fmt::Display for JobId {
    /// 32 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A task, unique in its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One execution of a task. Numbers begin at 1 and strictly increase per task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Of this task.
    pub task: TaskId,
    /// The how-manieth execution.
    pub number: u32,
}

impl fmt::Display for Attempt {
    /// `17#2`: the second attempt of task 17.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.number)
    }
}

/// Where output of a task belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(pub u8);

impl Stream {
    /// Standard output; the pixels of a tile; the echo.
    pub const OUTPUT: Self = Self(1);
    /// Standard error.
    pub const ERROR: Self = Self(2);

    /// What [`Command::collect`](crate::Command::collect) found: a [tree](crate::tree), then its digest (32 octets).
    pub const FILES: Self = Self(3);
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It ran to its end with this exit status; built-in work ends with 0.
    Exited(i32),
    /// A signal ended it (by another hand than ours).
    Signalled(i32),
    /// It ran longer than it may and was killed.
    TimedOut,
    /// It ended with exit status 0 but did not leave the files it should; the reason is for people.
    Incomplete(String),
    /// It used more memory than it may, all its processes together, and was killed.
    OverMemory {
        /// Octets it may use.
        limit: u64,
    },
    /// It never ran; the reason is for people. Another worker may be able to.
    CouldNotStart(String),
    /// The worker would not take it; nothing ran, nothing is charged.
    Refused(Refusal),
    /// The client cancelled it.
    Cancelled,
}

impl Status {
    /// True if the execution came to an end of its own or met a limit of the task's own: a result, good or bad. Otherwise
    /// the task has to run elsewhere.
    pub fn is_result(&self) -> bool {
        matches!(
            self,
            Self::Exited(_)
                | Self::Signalled(_)
                | Self::TimedOut
                | Self::Incomplete(_)
                | Self::OverMemory { .. }
        )
    }

    /// Exit status 0, and everything there that should be.
    pub fn is_success(&self) -> bool {
        *self == Self::Exited(0)
    }
}

impl fmt::Display for Status {
    /// Reads well after "task 7: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut => write!(f, "ran longer than allowed"),
            Self::Incomplete(why) => write!(f, "{why}"),
            Self::OverMemory { limit } if limit % 1024 == 0 => {
                write!(f, "used more than {}iB of memory", Amount(*limit))
            }
            Self::OverMemory { limit } => write!(f, "used more than {limit} octets of memory"),
            Self::CouldNotStart(why) => write!(f, "could not start: {why}"),
            Self::Refused(refusal) => write!(f, "refused: {refusal}"),
            Self::Cancelled => write!(f, "cancelled"),
        }
    }
}

/// Why a worker would not take a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// It drains. Tells so also of a task that ran and was given back because the time to drain is over.
    Draining,
    /// The session has as many unsettled tasks as its credit.
    NoCredit,
    /// It has seen this attempt or a later one of the task.
    OldAttempt,
    /// It was called back before it began.
    Recalled,
    /// It does not hold what is to be adopted.
    NotHeld,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Draining => "the worker drains",
            Self::NoCredit => "more tasks than the credit",
            Self::OldAttempt => "an older attempt",
            Self::Recalled => "called back",
            Self::NotHeld => "not held any more",
        })
    }
}

/// One frame. After [`Frames`] yields it, it is legal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// 0x01: the client's first word.
    Hello {
        /// The version it speaks.
        version: u16,
        /// The job of this session.
        job: JobId,
    },
    /// 0x02: run this.
    Task {
        /// Which execution.
        attempt: Attempt,
        /// The attempt whose output the client still holds, so that a worker that has its checkpoint may go on from
        /// there; 0: none.
        continues: u32,
        /// What it needs of the worker while it runs.
        needs: Resources,
        /// What to do, as [`Work::emit`](crate::Work::emit) wrote it: 1 to [`WORK_MAX`] octets. Parsed by itself, so
        /// that work unknown to the worker refuses one task, not the session.
        work: Vec<u8>,
    },
    /// 0x03: that many more octets of output may come.
    Window {
        /// Of this execution.
        attempt: Attempt,
        /// 1 to [`WINDOW_MAX`].
        octets: u32,
    },
    /// 0x04: the result is safe; forget it.
    Ack {
        /// Of this execution.
        attempt: Attempt,
    },
    /// 0x05: stop it, or do not begin.
    Cancel {
        /// This execution.
        attempt: Attempt,
    },
    /// 0x06: another worker has time for it: refuse it after all, unless it runs already.
    Recall {
        /// This execution.
        attempt: Attempt,
    },
    /// 0x07: this session takes over what a lost one of the same job left here. Answered by `Started`, then as if the
    /// attempt began in this session; by a Result that refuses it if it is not here any more.
    Adopt {
        /// This execution.
        attempt: Attempt,
    },
    /// 0x0a: take no more tasks, leave the pool, give back what still runs after a while, and end. The only word of its
    /// session.
    Drain {
        /// How long tasks may go on.
        millis: u32,
    },
    /// 0x08: that item is safe.
    Saved {
        /// Which transfer brought it.
        transfer: u32,
    },
    /// 0x09: checkpoints of another session's worker, for tasks that continue them. Believed if it verifies and is of
    /// this job, like a cookie echo.
    Lineage {
        /// As the other worker sealed it; at most [`COOKIE_MAX`] octets.
        cookie: Vec<u8>,
    },
    /// 0x40: some of an item, in order, from either side.
    Part {
        /// Of this transfer.
        transfer: u32,
        /// 1 to [`CHUNK_MAX`] octets.
        octets: Vec<u8>,
    },
    /// 0x41: that many more octets of an item may come, from either side.
    More {
        /// Of this transfer.
        transfer: u32,
        /// 1 to [`WINDOW_MAX`].
        octets: u32,
    },
    /// 0x42: no more of it, from the side that receives.
    Stop {
        /// This transfer.
        transfer: u32,
    },
    /// 0x81: the worker's first word.
    Welcome {
        /// The version it speaks.
        version: u16,
        /// How many tasks it runs at a time, for all its sessions.
        slots: u32,
        /// How many unsettled tasks this session may have; at most [`CREDIT_MAX`].
        credit: u32,
        /// What it has besides slots, for all its sessions together.
        resources: Resources,
        /// What it calls itself; at most [`TEXT_MAX`] octets.
        name: String,
    },
    /// 0x82: the credit is this now.
    Credit {
        /// At most [`CREDIT_MAX`]; 0: no more tasks, the worker drains.
        tasks: u32,
    },
    /// 0x83: it runs.
    Started {
        /// Which execution.
        attempt: Attempt,
        /// The number of the attempt whose checkpoint it goes on from; 0: it begins anew.
        of: u32,
        /// Its output goes on after this many octets of that attempt.
        from: u64,
    },
    /// 0x84: output, in order.
    Output {
        /// Of this execution.
        attempt: Attempt,
        /// Where it belongs.
        stream: Stream,
        /// Octets of output before this, all streams together.
        offset: u64,
        /// 1 to [`CHUNK_MAX`] octets.
        octets: Vec<u8>,
    },
    /// 0x85: it ended; nothing more comes of it.
    Result {
        /// Which execution.
        attempt: Attempt,
        /// How.
        status: Status,
        /// Octets of output in all, all streams together.
        octets: u64,
    },
    /// 0x86: it runs here, or ended here, for a lost session of the same job.
    Holds {
        /// Which execution.
        attempt: Attempt,
    },
    /// 0x87: a task needs it and it is not here.
    Fetch {
        /// The number of the transfer, above those before.
        transfer: u32,
        /// What is needed.
        item: Item,
    },
    /// 0x88: a checkpoint to be kept; its parts follow.
    Save {
        /// The number of the transfer, above those before.
        transfer: u32,
        /// Whose checkpoint.
        attempt: Attempt,
        /// What comes.
        item: Item,
    },
    /// 0x89: how far it has come with draining.
    Draining {
        /// False: it does not drain for this peer.
        permitted: bool,
        /// Tasks that are not settled yet.
        tasks: u32,
        /// After this time at most it ends.
        millis: u32,
    },
}

impl Frame {
    /// Appends the octets of this frame. What a limit forbids is a mistake of ours, caught in debug builds.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([self.kind(), 0, 0, 0]);
        match self {
            Self::Hello { version, job } => {
                out.extend(version.to_be_bytes());
                out.extend([0, 0]);
                out.extend(job.0);
            }
            Self::Task { attempt, continues, needs, work } => {
                debug_assert!((1..=WORK_MAX).contains(&work.len()), "work of {} octets", work.len());
                put_attempt(out, *attempt);
                out.extend(continues.to_be_bytes());
                put_resources(out, needs);
                out.extend(work);
            }
            Self::Window { attempt, octets } => {
                put_attempt(out, *attempt);
                out.extend(octets.to_be_bytes());
            }
            Self::Ack { attempt }
            | Self::Cancel { attempt }
            | Self::Recall { attempt }
            | Self::Adopt { attempt }
            | Self::Holds { attempt } => put_attempt(out, *attempt),
            Self::Drain { millis } => out.extend(millis.to_be_bytes()),
            Self::Draining { permitted, tasks, millis } => {
                out.extend([u8::from(*permitted), 0, 0, 0]);
                out.extend(tasks.to_be_bytes());
                out.extend(millis.to_be_bytes());
            }
            Self::Welcome { version, slots, credit, resources, name } => {
                out.extend(version.to_be_bytes());
                out.extend([0, 0]);
                out.extend(slots.to_be_bytes());
                out.extend(credit.to_be_bytes());
                put_resources(out, resources);
                out.extend(clipped(name, TEXT_MAX).as_bytes());
            }
            Self::Credit { tasks } => out.extend(tasks.to_be_bytes()),
            Self::Started { attempt, of, from } => {
                put_attempt(out, *attempt);
                out.extend(of.to_be_bytes());
                out.extend(from.to_be_bytes());
            }
            Self::Output { attempt, stream, offset, octets } => {
                debug_assert!((1..=CHUNK_MAX).contains(&octets.len()), "{} octets of output", octets.len());
                put_attempt(out, *attempt);
                out.extend([stream.0, 0, 0, 0]);
                out.extend(offset.to_be_bytes());
                out.extend(octets);
            }
            Self::Result { attempt, status, octets } => {
                put_attempt(out, *attempt);
                put_status(out, status, *octets);
            }
            Self::Saved { transfer } | Self::Stop { transfer } => out.extend(transfer.to_be_bytes()),
            Self::Lineage { cookie } => out.extend(cookie),
            Self::Part { transfer, octets } => {
                debug_assert!((1..=CHUNK_MAX).contains(&octets.len()), "a part of {} octets", octets.len());
                out.extend(transfer.to_be_bytes());
                out.extend(octets);
            }
            Self::More { transfer, octets } => {
                out.extend(transfer.to_be_bytes());
                out.extend(octets.to_be_bytes());
            }
            Self::Fetch { transfer, item } => {
                out.extend(transfer.to_be_bytes());
                item.emit(out);
            }
            Self::Save { transfer, attempt, item } => {
                out.extend(transfer.to_be_bytes());
                put_attempt(out, *attempt);
                item.emit(out);
            }
        }
        let length = u32::try_from(out.len() - start - HEADER).expect("a frame is shorter than a message");
        out[start + 1..start + HEADER].copy_from_slice(&length.to_be_bytes()[1..]);
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Hello { .. } => 0x01,
            Self::Task { .. } => 0x02,
            Self::Window { .. } => 0x03,
            Self::Ack { .. } => 0x04,
            Self::Cancel { .. } => 0x05,
            Self::Recall { .. } => 0x06,
            Self::Adopt { .. } => 0x07,
            Self::Saved { .. } => 0x08,
            Self::Lineage { .. } => 0x09,
            Self::Part { .. } => 0x40,
            Self::More { .. } => 0x41,
            Self::Stop { .. } => 0x42,
            Self::Drain { .. } => 0x0a,
            Self::Welcome { .. } => 0x81,
            Self::Credit { .. } => 0x82,
            Self::Started { .. } => 0x83,
            Self::Output { .. } => 0x84,
            Self::Result { .. } => 0x85,
            Self::Holds { .. } => 0x86,
            Self::Fetch { .. } => 0x87,
            Self::Save { .. } => 0x88,
            Self::Draining { .. } => 0x89,
        }
    }

    fn parse(kind: u8, kind_offset: usize, body: &mut Reader<'_>) -> Result<Self, WireError> {
        let frame = match kind {
            0x01 => Self::Hello { version: version(body)?, job: JobId(body.array()?) },
            0x02 => Self::Task {
                attempt: attempt(body)?,
                continues: body.u32()?,
                needs: Resources::parse(body)?,
                work: rest(body, "work of a task", WORK_MAX)?,
            },
            0x03 => Self::Window { attempt: attempt(body)?, octets: size(body, "window", 1, WINDOW_MAX)? },
            0x04 => Self::Ack { attempt: attempt(body)? },
            0x05 => Self::Cancel { attempt: attempt(body)? },
            0x06 => Self::Recall { attempt: attempt(body)? },
            0x07 => Self::Adopt { attempt: attempt(body)? },
            0x08 => Self::Saved { transfer: body.u32()? },
            0x09 => Self::Lineage { cookie: rest(body, "cookie", COOKIE_MAX)? },
            0x40 => Self::Part { transfer: body.u32()?, octets: rest(body, "part", CHUNK_MAX)? },
            0x41 => Self::More { transfer: body.u32()?, octets: size(body, "window", 1, WINDOW_MAX)? },
            0x42 => Self::Stop { transfer: body.u32()? },
            0x0a => Self::Drain { millis: body.u32()? },
            0x81 => Self::Welcome {
                version: version(body)?,
                slots: body.u32()?,
                credit: size(body, "credit", 0, CREDIT_MAX)?,
                resources: Resources::parse(body)?,
                name: text(body, "name")?,
            },
            0x82 => Self::Credit { tasks: size(body, "credit", 0, CREDIT_MAX)? },
            0x83 => Self::Started { attempt: attempt(body)?, of: body.u32()?, from: body.u64()? },
            0x84 => Self::Output {
                attempt: attempt(body)?,
                stream: stream(body)?,
                offset: body.u64()?,
                octets: rest(body, "output", CHUNK_MAX)?,
            },
            0x85 => {
                let attempt = attempt(body)?;
                let (status, octets) = status(body)?;
                Self::Result { attempt, status, octets }
            }
            0x86 => Self::Holds { attempt: attempt(body)? },
            0x87 => Self::Fetch { transfer: body.u32()?, item: Item::parse(body)? },
            0x88 => Self::Save { transfer: body.u32()?, attempt: attempt(body)?, item: Item::parse(body)? },
            0x89 => Self::Draining { permitted: permitted(body)?, tasks: body.u32()?, millis: body.u32()? },
            _ => {
                return Err(WireError::Unknown {
                    offset: kind_offset,
                    what: "frame type",
                    found: kind.into(),
                });
            }
        };
        Ok(frame)
    }
}

/// The frames of a message, one by one, so that memory stays bounded by one frame. Ends after the first error.
pub struct Frames<'a> {
    message: Option<Reader<'a>>,
}

impl<'a> Frames<'a> {
    /// The frames in these octets.
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { message: Some(Reader::new(bytes)) }
    }

    fn one(message: &mut Reader<'_>) -> Result<Frame, WireError> {
        let kind_offset = message.offset();
        let kind = message.u8()?;
        let [a, b, c] = message.array()?;
        let content_offset = message.offset();
        let content = message.take(u32::from_be_bytes([0, a, b, c]) as usize)?;
        let mut body = Reader::at(content, content_offset);
        let frame = Frame::parse(kind, kind_offset, &mut body)?;
        body.end()?;
        Ok(frame)
    }
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.message.as_mut().filter(|message| !message.is_empty())?;
        let frame = Self::one(message);
        if frame.is_err() {
            self.message = None;
        }
        Some(frame)
    }
}

/// Gathers frames into messages of about [`BATCH`] octets.
#[derive(Debug, Default)]
pub struct Batch {
    full: Vec<Vec<u8>>,
    open: Vec<u8>,
    frames: usize,
    urgent: bool,
}

impl Batch {
    /// Adds a frame behind the others.
    pub fn push(&mut self, frame: &Frame) {
        self.urgent = true;
        self.add(frame);
    }

    /// Likewise, one that may wait for others.
    pub fn add(&mut self, frame: &Frame) {
        self.frames += 1;
        let start = self.open.len();
        frame.emit(&mut self.open);
        if self.open.len() <= BATCH {
            return;
        }
        // The frame that made it too long begins the next message; alone it may be longer than a batch.
        let next = self.open.split_off(start);
        let before = std::mem::replace(&mut self.open, next);
        if !before.is_empty() {
            self.full.push(before);
        }
    }

    /// How many frames there are, if all of them may wait for others.
    pub fn waiting(&self) -> Option<usize> {
        (self.frames > 0 && !self.urgent && self.full.is_empty()).then_some(self.frames)
    }

    /// What there is waits no longer.
    pub fn hurry(&mut self) {
        self.urgent = true;
    }

    /// The messages gathered, in order; none is empty.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        (self.frames, self.urgent) = (0, false);
        let mut messages = std::mem::take(&mut self.full);
        if !self.open.is_empty() {
            messages.push(std::mem::take(&mut self.open));
        }
        messages
    }
}

const HEADER: usize = 4;

fn put_attempt(out: &mut Vec<u8>, attempt: Attempt) {
    out.extend(attempt.task.0.to_be_bytes());
    out.extend(attempt.number.to_be_bytes());
}

fn attempt(body: &mut Reader<'_>) -> Result<Attempt, WireError> {
    let task = TaskId(body.u64()?);
    let offset = body.offset();
    match body.u32()? {
        0 => Err(WireError::Invalid { offset, rule: "must not be 0: attempts begin at 1" }),
        number => Ok(Attempt { task, number }),
    }
}

fn version(body: &mut Reader<'_>) -> Result<u16, WireError> {
    let version = body.u16()?;
    body.u16()?; // reserved
    Ok(version)
}

fn permitted(body: &mut Reader<'_>) -> Result<bool, WireError> {
    let offset = body.offset();
    let [permitted, _, _, _] = body.array()?;
    match permitted {
        0 | 1 => Ok(permitted == 1),
        _ => Err(WireError::Unknown { offset, what: "permission", found: permitted.into() }),
    }
}

fn stream(body: &mut Reader<'_>) -> Result<Stream, WireError> {
    let stream = body.u8()?;
    body.array::<3>()?; // reserved
    Ok(Stream(stream))
}

fn size(body: &mut Reader<'_>, what: &'static str, least: u32, limit: u32) -> Result<u32, WireError> {
    let offset = body.offset();
    let found = body.count(what, limit as usize)? as u32;
    if found < least {
        return Err(WireError::Invalid { offset, rule: "must not be 0" });
    }
    Ok(found)
}

fn rest(body: &mut Reader<'_>, what: &'static str, limit: usize) -> Result<Vec<u8>, WireError> {
    let offset = body.offset();
    let octets = body.rest();
    match octets.len() {
        0 => Err(WireError::Truncated { offset, needed: 1, left: 0 }),
        found if found > limit => {
            Err(WireError::TooLarge { offset, what, found: found as u64, limit: limit as u64 })
        }
        _ => Ok(octets.to_vec()),
    }
}

fn text(body: &mut Reader<'_>, what: &'static str) -> Result<String, WireError> {
    let offset = body.offset();
    let octets = body.rest();
    if octets.len() > TEXT_MAX {
        let (found, limit) = (octets.len() as u64, TEXT_MAX as u64);
        return Err(WireError::TooLarge { offset, what, found, limit });
    }
    match std::str::from_utf8(octets) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(WireError::Invalid { offset, rule: "must be UTF-8" }),
    }
}

fn put_resources(out: &mut Vec<u8>, resources: &Resources) {
    if resources.is_empty() {
        out.extend([0; 4]);
    } else {
        put_counted(out, resources.to_string().as_bytes());
    }
}

/// Kind (1), refusal (1), reserved (2), exit status or signal (4), octets of output (8), reason or limit.
pub(crate) fn put_status(out: &mut Vec<u8>, status: &Status, octets: u64) {
    let (kind, refusal, value, why) = match status {
        Status::Exited(code) => (1, 0, *code, ""),
        Status::Signalled(signal) => (2, 0, *signal, ""),
        Status::TimedOut => (3, 0, 0, ""),
        Status::CouldNotStart(why) => (4, 0, 0, why.as_str()),
        Status::Refused(Refusal::Draining) => (5, 1, 0, ""),
        Status::Refused(Refusal::NoCredit) => (5, 2, 0, ""),
        Status::Refused(Refusal::OldAttempt) => (5, 3, 0, ""),
        Status::Refused(Refusal::Recalled) => (5, 4, 0, ""),
        Status::Refused(Refusal::NotHeld) => (5, 5, 0, ""),
        Status::Cancelled => (6, 0, 0, ""),
        Status::Incomplete(why) => (7, 0, 0, why.as_str()),
        Status::OverMemory { .. } => (8, 0, 0, ""),
    };
    out.extend([kind, refusal, 0, 0]);
    out.extend(value.to_be_bytes());
    out.extend(octets.to_be_bytes());
    out.extend(clipped(why, TEXT_MAX).as_bytes());
    if let Status::OverMemory { limit } = status {
        out.extend(limit.to_be_bytes());
    }
}

pub(crate) fn status(body: &mut Reader<'_>) -> Result<(Status, u64), WireError> {
    let offset = body.offset();
    let [kind, refusal, _, _] = body.array()?;
    let value = i32::from_be_bytes(body.array()?);
    let octets = body.u64()?;
    let status = match (kind, refusal) {
        (1, _) => Status::Exited(value),
        (2, _) => Status::Signalled(value),
        (3, _) => Status::TimedOut,
        (4, _) => Status::CouldNotStart(text(body, "reason")?),
        (5, 1) => Status::Refused(Refusal::Draining),
        (5, 2) => Status::Refused(Refusal::NoCredit),
        (5, 3) => Status::Refused(Refusal::OldAttempt),
        (5, 4) => Status::Refused(Refusal::Recalled),
        (5, 5) => Status::Refused(Refusal::NotHeld),
        (5, _) => {
            return Err(WireError::Unknown { offset: offset + 1, what: "refusal", found: refusal.into() });
        }
        (6, _) => Status::Cancelled,
        (7, _) => Status::Incomplete(text(body, "reason")?),
        (8, _) => Status::OverMemory { limit: body.u64()? },
        _ => return Err(WireError::Unknown { offset, what: "status", found: kind.into() }),
    };
    Ok((status, octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::Random;

    fn emitted(frame: &Frame) -> Vec<u8> {
        let mut out = Vec::new();
        frame.emit(&mut out);
        out
    }

    fn parsed(bytes: &[u8]) -> Result<Vec<Frame>, WireError> {
        Frames::of(bytes).collect()
    }

    const A: Attempt = Attempt { task: TaskId(7), number: 2 };
    const A_OCTETS: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2];

    fn item() -> Item {
        Item { digest: crate::item::Digest([0xcd; 32]), size: 7, form: crate::item::Form::File }
    }

    fn needs() -> Resources {
        let mut needs = Resources::NONE;
        needs.add("gpu=1").expect("legal");
        needs
    }

    /// Every frame with its octets by hand.
    fn pictures() -> Vec<(Frame, Vec<u8>)> {
        let with_attempt = |head: [u8; 4], tail: &[u8]| [&head[..], &A_OCTETS, tail].concat();
        vec![
            (
                Frame::Hello { version: 2, job: JobId([9; 16]) },
                [&[1, 0, 0, 20, 0, 2, 0, 0][..], &[9; 16]].concat(),
            ),
            (
                Frame::Task { attempt: A, continues: 1, needs: Resources::NONE, work: vec![0, 65] },
                with_attempt([2, 0, 0, 22], &[0, 0, 0, 1, 0, 0, 0, 0, 0, 65]),
            ),
            (
                Frame::Task { attempt: A, continues: 0, needs: needs(), work: vec![0, 65] },
                with_attempt([2, 0, 0, 27], &[0, 0, 0, 0, 0, 0, 0, 5, b'g', b'p', b'u', b'=', b'1', 0, 65]),
            ),
            (Frame::Window { attempt: A, octets: 258 }, with_attempt([3, 0, 0, 16], &[0, 0, 1, 2])),
            (Frame::Ack { attempt: A }, with_attempt([4, 0, 0, 12], &[])),
            (Frame::Cancel { attempt: A }, with_attempt([5, 0, 0, 12], &[])),
            (Frame::Recall { attempt: A }, with_attempt([6, 0, 0, 12], &[])),
            (Frame::Adopt { attempt: A }, with_attempt([7, 0, 0, 12], &[])),
            (Frame::Holds { attempt: A }, with_attempt([0x86, 0, 0, 12], &[])),
            (
                Frame::Welcome {
                    version: 2,
                    slots: 4,
                    credit: 20,
                    resources: Resources::NONE,
                    name: "w1".into(),
                },
                vec![0x81, 0, 0, 18, 0, 2, 0, 0, 0, 0, 0, 4, 0, 0, 0, 20, 0, 0, 0, 0, b'w', b'1'],
            ),
            (Frame::Drain { millis: 3000 }, vec![0x0a, 0, 0, 4, 0, 0, 11, 184]),
            (
                Frame::Draining { permitted: true, tasks: 2, millis: 258 },
                vec![0x89, 0, 0, 12, 1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 2],
            ),
            (
                Frame::Result { attempt: A, status: Status::OverMemory { limit: 258 }, octets: 8 },
                with_attempt(
                    [0x85, 0, 0, 36],
                    &[8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2],
                ),
            ),
            (Frame::Credit { tasks: 3 }, vec![0x82, 0, 0, 4, 0, 0, 0, 3]),
            (
                Frame::Started { attempt: A, of: 3, from: 256 },
                with_attempt([0x83, 0, 0, 24], &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 1, 0]),
            ),
            (
                Frame::Output { attempt: A, stream: Stream::ERROR, offset: 5, octets: vec![1, 2, 3] },
                with_attempt([0x84, 0, 0, 27], &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5, 1, 2, 3]),
            ),
            (
                Frame::Result { attempt: A, status: Status::Exited(-1), octets: 8 },
                with_attempt([0x85, 0, 0, 28], &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 8]),
            ),
            (
                Frame::Result { attempt: A, status: Status::Refused(Refusal::OldAttempt), octets: 0 },
                with_attempt([0x85, 0, 0, 28], &[5, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ),
            (
                Frame::Result { attempt: A, status: Status::CouldNotStart("no".into()), octets: 0 },
                with_attempt([0x85, 0, 0, 30], &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'n', b'o']),
            ),
            (
                Frame::Result { attempt: A, status: Status::Incomplete("x".into()), octets: 0 },
                with_attempt([0x85, 0, 0, 29], &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'x']),
            ),
            (Frame::Saved { transfer: 5 }, vec![8, 0, 0, 4, 0, 0, 0, 5]),
            (Frame::Lineage { cookie: vec![1, 2] }, vec![9, 0, 0, 2, 1, 2]),
            (Frame::Part { transfer: 5, octets: vec![9, 8] }, vec![0x40, 0, 0, 6, 0, 0, 0, 5, 9, 8]),
            (Frame::More { transfer: 5, octets: 258 }, vec![0x41, 0, 0, 8, 0, 0, 0, 5, 0, 0, 1, 2]),
            (Frame::Stop { transfer: 5 }, vec![0x42, 0, 0, 4, 0, 0, 0, 5]),
            (
                Frame::Fetch { transfer: 5, item: item() },
                [&[0x87, 0, 0, 45, 0, 0, 0, 5][..], &[0xcd; 32], &[0, 0, 0, 0, 0, 0, 0, 7, 1]].concat(),
            ),
            (
                Frame::Save { transfer: 5, attempt: A, item: item() },
                [&[0x88, 0, 0, 57, 0, 0, 0, 5][..], &A_OCTETS, &[0xcd; 32], &[0, 0, 0, 0, 0, 0, 0, 7, 1]]
                    .concat(),
            ),
        ]
    }

    #[test]
    fn every_frame_looks_like_its_picture() {
        for (frame, picture) in pictures() {
            assert_eq!(emitted(&frame), picture, "{frame:?}");
            assert_eq!(parsed(&picture), Ok(vec![frame]));
        }
    }

    #[test]
    fn every_truncated_frame_is_refused() {
        for (frame, picture) in pictures() {
            for cut in 1..picture.len() {
                assert!(parsed(&picture[..cut]).is_err(), "{frame:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_content_cut_or_stretched_inside_its_frame_is_refused() {
        for (frame, picture) in pictures() {
            // These end in octets of any number.
            let open_end = matches!(
                frame,
                Frame::Task { .. }
                    | Frame::Output { .. }
                    | Frame::Welcome { .. }
                    | Frame::Part { .. }
                    | Frame::Lineage { .. }
                    | Frame::Result { status: Status::CouldNotStart(_) | Status::Incomplete(_), .. }
            );
            let mut longer = [&picture[..], &[0]].concat();
            longer[3] += 1;
            let mut shorter = picture[..picture.len() - 1].to_vec();
            shorter[3] -= 1;
            assert_eq!(parsed(&longer).is_ok(), open_end, "{frame:?} longer");
            assert_eq!(parsed(&shorter).is_ok(), open_end, "{frame:?} shorter");
        }
    }

    #[test]
    fn errors_name_what_and_where() {
        assert_eq!(
            parsed(&[0x70, 0, 0, 0]),
            Err(WireError::Unknown { offset: 0, what: "frame type", found: 0x70 })
        );
        assert_eq!(
            parsed(&[0x82, 0, 0, 4, 0, 0, 0x10, 1]),
            Err(WireError::TooLarge { offset: 4, what: "credit", found: 4097, limit: 4096 })
        );
        assert_eq!(parsed(&[0x82, 0, 0, 5, 0, 0, 0, 1, 9]), Err(WireError::Trailing { offset: 8, left: 1 }));
        let zeroth = [&[4, 0, 0, 12][..], &[0; 12]].concat();
        let rule = "must not be 0: attempts begin at 1";
        assert_eq!(parsed(&zeroth), Err(WireError::Invalid { offset: 12, rule }));
        let empty_work = [&[2, 0, 0, 20][..], &A_OCTETS, &[0; 8]].concat();
        assert_eq!(parsed(&empty_work), Err(WireError::Truncated { offset: 24, needed: 1, left: 0 }));
        let needs = [&[2, 0, 0, 23][..], &A_OCTETS, &[0, 0, 0, 0, 0, 0, 0, 2, b'g', b'!', 65]].concat();
        let rule = "must be resources in their one form";
        assert_eq!(parsed(&needs), Err(WireError::Invalid { offset: 20, rule }));
        let mut huge = emitted(&Frame::Output {
            attempt: A,
            stream: Stream::OUTPUT,
            offset: 0,
            octets: vec![0; CHUNK_MAX],
        });
        huge.push(0);
        let length = (huge.len() - 4) as u32;
        huge[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
        let limit = CHUNK_MAX as u64;
        assert_eq!(
            parsed(&huge),
            Err(WireError::TooLarge { offset: 28, what: "output", found: limit + 1, limit })
        );
    }

    #[test]
    fn frames_before_an_error_are_told_and_nothing_after_it() {
        let mut message = emitted(&Frame::Credit { tasks: 1 });
        message.extend([0xee, 0, 0, 0]);
        message.extend(emitted(&Frame::Credit { tasks: 2 }));
        let mut frames = Frames::of(&message);
        assert_eq!(frames.next(), Some(Ok(Frame::Credit { tasks: 1 })));
        assert!(matches!(frames.next(), Some(Err(_))));
        assert_eq!(frames.next(), None);
        assert_eq!(parsed(&[]), Ok(vec![]));
    }

    #[test]
    fn small_frames_share_a_message_and_long_ones_travel_alone() {
        let mut batch = Batch::default();
        let small = Frame::Ack { attempt: A };
        let long = Frame::Task { attempt: A, continues: 0, needs: Resources::NONE, work: vec![0; WORK_MAX] };
        for _ in 0..3 {
            batch.push(&small);
        }
        batch.push(&long);
        batch.push(&small);
        let messages = batch.take();
        let frames: Vec<_> = messages.iter().map(|m| parsed(m).expect("our own").len()).collect();
        assert_eq!(frames, [3, 1, 1]);
        assert!(messages.iter().all(|m| m.len() <= MESSAGE_MAX));
        assert!(batch.take().is_empty());
        for _ in 0..10_000 {
            batch.push(&small);
        }
        let messages = batch.take();
        assert_eq!(messages.len(), 3);
        assert_eq!(messages.iter().map(|m| parsed(m).expect("our own").len()).sum::<usize>(), 10_000);
    }

    #[test]
    fn mutated_messages_never_panic_and_what_parses_is_canonical() {
        let mut random = Random::from_seed(11);
        let pictures = pictures();
        for _ in 0..100_000 {
            let mut message = Vec::new();
            for _ in 0..=random.below(3) {
                message.extend(&pictures[random.below(pictures.len() as u64) as usize].1);
            }
            for _ in 0..random.below(4) {
                let place = random.below(message.len() as u64) as usize;
                message[place] = random.next_u64() as u8;
            }
            message.truncate(random.below(message.len() as u64 * 4) as usize + 1);
            for frame in Frames::of(&message).map_while(Result::ok) {
                assert_eq!(parsed(&emitted(&frame)), Ok(vec![frame]));
            }
        }
    }
}
