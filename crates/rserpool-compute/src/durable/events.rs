//! What a durable job asks of its disk, and what it tells its application.

use crate::job::{self, Cause, Counts};
use crate::journal::Accepted;
use crate::protocol::{Attempt, TaskId};

/// One of the two files of a job. Both only grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum File {
    /// The [journal](crate::journal).
    Journal,
    /// Large outputs, block behind block.
    Outputs,
}

/// What a durable job asks of its disk. Wishes are carried out in their order; when one fails, no further one is, and
/// [`DurableJob::disk_failed`](super::DurableJob::disk_failed) is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Append these octets.
    Append {
        /// To this file.
        file: File,
        /// At least one.
        octets: Vec<u8>,
    },
    /// Let everything appended to this file so far survive a loss of power, then call
    /// [`DurableJob::stored`](super::DurableJob::stored) with this mark.
    Sync {
        /// This file.
        file: File,
        /// Counts up with each `Sync` of either file.
        mark: u64,
    },
}

/// What a durable job tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The disk has something to do.
    Disk(Wish),
    /// News of the job inside: workers, executions, and output of streams that the application keeps itself (collected
    /// files). Ends of tasks are told by the events below instead.
    Job(job::Event),
    /// This execution is about to be accepted, and the application keeps streams of it: it makes them as safe as it wants
    /// them, then calls [`DurableJob::kept`](super::DurableJob::kept). Should it be [dropped](job::Event::Dropped)
    /// meanwhile, they are to be forgotten.
    Keep {
        /// Which execution.
        attempt: Attempt,
        /// It ended well. Else its streams may break off anywhere: nobody sends the rest of them.
        success: bool,
    },
    /// The task is over, and its result is in the journal. Told once per task and life, in the order of the journal.
    Accepted(Box<Accepted>),
    /// The task is given up, and that is in the journal.
    Failed {
        /// Which task.
        task: TaskId,
        /// Executions begun in this life.
        starts: u32,
        /// Why. The journal keeps its words.
        cause: Cause,
    },
    /// The task was cancelled by itself, and that is in the journal.
    Cancelled {
        /// Which task.
        task: TaskId,
    },
    /// [`submit`](super::DurableJob::submit) has room again, after it refused.
    Room,
    /// All that was told before is in the journal. Answers [`DurableJob::flush`](super::DurableJob::flush).
    Flushed,
    /// The job is cancelled, and that is in the journal: nothing of it starts or is accepted any more. The last event.
    AllCancelled,
    /// Nothing runs any more, and what was accepted is in the journal. Answers
    /// [`DurableJob::suspend`](super::DurableJob::suspend). The last event.
    Suspended,
    /// Every task handed in is over and no more come in this life. The last event but `Flushed`.
    Finished(Counts),
    /// The disk failed: nothing is started, acknowledged or told any more. What runs goes on at its workers for a while,
    /// so that the next life may have it. The last event.
    Stopped {
        /// What the disk said.
        why: String,
    },
}
