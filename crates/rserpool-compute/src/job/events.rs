//! What a job tells its application.

use super::Counts;
use crate::WireError;
use crate::protocol::{Attempt, Status, Stream, TaskId};
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
    /// Workers could not start it.
    CouldNotStart {
        /// How many tried.
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
            Self::CouldNotStart { times, why } => write!(f, "{times} workers could not start it: {why}"),
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
        /// `Exited`, `Signalled` or `TimedOut`.
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
    /// The work breaks a rule of the protocol.
    Work(WireError),
}

impl fmt::Display for SubmitError {
    /// Reads well after "cannot submit: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("too many tasks are not over yet"),
            Self::NotIncreasing { last } => write!(f, "its number must be above {last}"),
            Self::Finished => f.write_str("the job takes no more tasks"),
            Self::Work(error) => write!(f, "malformed work: {error}"),
        }
    }
}

impl std::error::Error for SubmitError {}
