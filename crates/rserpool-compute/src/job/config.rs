//! Settings of a job.

use crate::protocol::JobId;
use rserpool::{PoolHandle, user};
use std::time::Duration;

/// Which tasks may run at two workers at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backups {
    /// None.
    Never,
    /// Those that do nothing but give their result ([`Work::is_pure`](crate::Work::is_pure)).
    Pure,
    /// All: commands, too, do no harm when they run twice.
    Always,
}

/// Settings of a job.
#[derive(Clone, Debug)]
pub struct Config {
    /// Registrars and timers.
    pub user: user::Config,
    /// The pool of the workers.
    pub handle: PoolHandle,
    /// The job's name: 128 random bits, never used for other tasks.
    pub job: JobId,
    /// Pause between two looks at who is in the pool. While that changes, they come up to ten times as often.
    pub look_around: Duration,
    /// Tasks held at a time; [`Job::submit`](super::Job::submit) refuses more until some are over.
    pub tasks_max: usize,
    /// Octets of work held at a time, likewise; one task is always taken.
    pub octets_max: usize,
    /// Workers used at a time.
    pub lanes_max: usize,
    /// A task that was running on so many workers when they died (or hung) is not tried again: it may be what kills
    /// them.
    pub deaths_max: u32,
    /// A task that so many workers could not start is not tried again.
    pub starts_max: u32,
    /// How long the late results of a hung worker are listened for, to count them.
    pub late_patience: Duration,
    /// How long tasks with a checkpoint wait for their session to find its next worker, before they start anew
    /// anywhere.
    pub move_patience: Duration,
    /// Tasks are sent ahead of free slots as long as together they take no longer than this: long enough to hide the
    /// way to the worker and back, short enough not to matter at the end of the job.
    pub ahead: Duration,
    /// Which tasks get a second worker at the end of the job, when slots are idle and they take much longer than others
    /// did. The first result counts.
    pub backups: Backups,
    /// A task that runs for less than this gets none.
    pub backup_after: Duration,
    /// The application keeps a [journal](crate::journal): a result is acknowledged to its worker only after [`Job::recorded`](super::Job::recorded).
    pub journal: bool,
}

impl Config {
    /// Settings of a job on this pool, with defaults for everything else.
    pub fn new(user: user::Config, handle: PoolHandle, job: JobId) -> Self {
        Self {
            user,
            handle,
            job,
            look_around: Duration::from_millis(500),
            tasks_max: 100_000,
            octets_max: 256 * 1024 * 1024,
            lanes_max: 128,
            deaths_max: 5,
            starts_max: 3,
            late_patience: Duration::from_secs(30),
            move_patience: Duration::from_secs(1),
            ahead: Duration::from_millis(16),
            backups: Backups::Pure,
            backup_after: Duration::from_millis(500),
            journal: false,
        }
    }
}
