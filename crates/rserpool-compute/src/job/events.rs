//! What a job tells its application.

use super::Counts;
use super::transfers::TransferId;
use crate::WireError;
use crate::item::Item;
use crate::protocol::{Attempt, Status, Stream, TaskId};
use crate::resources::Resources;
use rserpool::ElementId;
use rserpool::user::{FailoverCause, Failure};
use std::fmt;

/// Why a task is given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// It was running on this many workers when they died or hung.
    WorkersDied {
        /// How many.
        times: u32,
    },
    /// An item it needs cannot be given.
    NoInput {
        /// Why, for people.
        why: String,
    },
    /// It could not be started.
    CouldNotStart {
        /// How often that was tried, elsewhere if another worker could.
        times: u32,
        /// What the last one said.
        why: String,
    },
}

impl fmt::Display for Cause {
    /// Reads well after "task 7 failed: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkersDied { times } => write!(f, "{times} workers died or hung while it was running"),
            Self::NoInput { why } => f.write_str(why),
            Self::CouldNotStart { times, why } => write!(f, "could not be started, {times} times: {why}"),
        }
    }
}

/// What a job tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A worker takes part from now on.
    WorkerJoined {
        /// Which.
        worker: ElementId,
        /// What it calls itself.
        name: String,
        /// Tasks it runs at a time.
        slots: u32,
    },
    /// A worker is lost; its tasks run elsewhere.
    WorkerLost {
        /// Which.
        worker: ElementId,
        /// Why.
        cause: FailoverCause,
        /// Tasks it had that are not over.
        tasks: usize,
    },
    /// A worker takes no more tasks and has none left.
    WorkerLeft {
        /// Which.
        worker: ElementId,
    },
    /// A worker was given up because it does not speak the protocol (or not our version).
    WorkerRefused {
        /// Which.
        worker: ElementId,
        /// What it said, for people.
        why: String,
    },
    /// There is no worker at the moment. Told when it begins and when the reason changes.
    Waiting {
        /// Why.
        why: Failure,
    },
    /// Tasks wait for something no worker of the pool has, however long they wait. Told when it begins and when there is
    /// more to say about it; it is over when one of them starts.
    Unmet {
        /// What they need.
        needs: Resources,
        /// What of it is missing, for people: "gpu=2 (at most 1)". If nothing, no worker has all of it together.
        lacks: String,
        /// How many tasks wait for it.
        tasks: usize,
        /// Workers that were looked at.
        workers: usize,
    },
    /// An execution came to a bad end and the task is tried again ([`Config::retries`](super::Config::retries)).
    Again {
        /// Which execution.
        attempt: Attempt,
        /// Where.
        worker: ElementId,
        /// How it ended.
        status: Status,
    },
    /// A task runs.
    Started {
        /// Which execution.
        attempt: Attempt,
        /// Where.
        worker: ElementId,
    },
    /// The execution goes on from a checkpoint: the first `octets` octets of output of the attempt before are its own
    /// beginning, the others are to be forgotten. `Started` follows.
    Continued {
        /// Which execution.
        attempt: Attempt,
        /// The number of the attempt before.
        of: u32,
        /// How much of its output stays, all streams together, in the order they came.
        octets: u64,
    },
    /// Output of an execution, in order.
    Chunk {
        /// Which execution.
        attempt: Attempt,
        /// Where it belongs.
        stream: Stream,
        /// At least one octet.
        octets: Vec<u8>,
    },
    /// This execution will not be accepted; what it put out is to be forgotten. Told once for each that started, unless
    /// it is accepted or another one continues it.
    Dropped {
        /// Which execution.
        attempt: Attempt,
    },
    /// The task is over: this is its result, and what this execution put out is its output. Told once per task.
    Accepted {
        /// Which execution.
        attempt: Attempt,
        /// Where.
        worker: ElementId,
        /// [A result](Status::is_result).
        status: Status,
        /// Octets of output in all.
        octets: u64,
    },
    /// The task is given up. Told instead of `Accepted`.
    Failed {
        /// Which task.
        task: TaskId,
        /// Why.
        cause: Cause,
    },
    /// The task was cancelled. Told instead of `Accepted`.
    Cancelled {
        /// Which task.
        task: TaskId,
    },
    /// A result came too late and was discarded: its task is over or runs elsewhere.
    Discarded {
        /// Which execution.
        attempt: Attempt,
        /// Where.
        worker: ElementId,
    },
    /// A worker needs this part of an item: answer with [`Job::provide`](super::Job::provide), or
    /// [`Job::cannot_provide`](super::Job::cannot_provide). Parts of a transfer are asked for one after the other, from
    /// the beginning of the item to its end.
    Wanted {
        /// For which transfer.
        transfer: TransferId,
        /// Of what: an input, or a checkpoint that was saved.
        item: Item,
        /// Octets of it before this part.
        offset: u64,
        /// How many; 1 to [`CHUNK_MAX`](crate::protocol::CHUNK_MAX).
        octets: u32,
    },
    /// A transfer is over: nothing more is asked for by it, nothing more comes.
    TransferEnded {
        /// Which.
        transfer: TransferId,
    },
    /// An execution brings a checkpoint to be kept; [`Event::SavePart`]s follow, until they are as many octets as
    /// announced. Then, if the digest is right and all is on the disk, say [`Job::saved`](super::Job::saved); the
    /// checkpoints of a task before the last but one may go. Or say [`Job::cannot_save`](super::Job::cannot_save).
    Save {
        /// The transfer that brings it.
        transfer: TransferId,
        /// Whose checkpoint.
        attempt: Attempt,
        /// What it is.
        item: Item,
    },
    /// Octets of a checkpoint, in order. Say [`Job::kept`](super::Job::kept) when they are on the disk.
    SavePart {
        /// Of which transfer.
        transfer: TransferId,
        /// At least one.
        octets: Vec<u8>,
    },
    /// [`Job::submit`](super::Job::submit) has room again, after it refused.
    Room,
    /// Every task is over and no more will come. The last event.
    Finished(Counts),
}

/// Why a task was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many tasks as [`Config::tasks_max`](super::Config::tasks_max) are not over yet, or as much work as
    /// `octets_max`: wait for [`Event::Room`].
    Full,
    /// Tasks are numbered upwards, so that none is taken twice.
    NotIncreasing {
        /// The highest task so far.
        last: TaskId,
    },
    /// [`Job::finish`](super::Job::finish) was called.
    Finished,
    /// The tasks of this job need too many different things; those that need the same count once.
    TooManyNeeds {
        /// How many different ones there may be.
        limit: usize,
    },
    /// The work breaks a rule of the protocol.
    Work(WireError),
}

impl fmt::Display for SubmitError {
    /// Reads well after "cannot submit: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many tasks are not over yet"),
            Self::NotIncreasing { last } => write!(f, "its number must be above {last}"),
            Self::TooManyNeeds { limit } => {
                write!(f, "the tasks of this job have more than {limit} different needs")
            }
            Self::Finished => f.write_str("the job takes no more tasks"),
            Self::Work(error) => write!(f, "malformed work: {error}"),
        }
    }
}

impl std::error::Error for SubmitError {}
