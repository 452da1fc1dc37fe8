//! Settings of a job.

use super::feed::{BEGIN_MAX, CROWDED};
use super::lanes::SHUN;
use crate::protocol::JobId;
use crate::resources::Resources;
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
    /// What its tasks need of a worker, unless something else is said for one of them.
    pub needs: Resources,
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
    /// A task that could not be started so many times is not tried again.
    pub starts_max: u32,
    /// How often a task that came to a bad end (another exit status than 0, a signal, a limit of its own) is tried again,
    /// preferably elsewhere. What dies with its worker is not counted here.
    pub retries: u32,
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
    /// The application keeps results safe by itself: one is acknowledged to its worker only after
    /// [`Job::recorded`](super::Job::recorded). A [`DurableJob`](crate::DurableJob) always does.
    pub journal: bool,
    /// The application says when it has taken output, by [`Job::taken`](super::Job::taken): a disk that is slow holds the
    /// workers up. Else output counts as taken when it is told.
    pub paced: bool,
}

impl Config {
    /// In calm, no task waits for longer than this while a slot is free that the pool's registrars know, in a pool of so
    /// many workers: its worker may be one that is left alone for a while, then the next look around finds it, and a
    /// session has to be opened; or others had its slots a moment ago, and of the other workers, too, each is tried
    /// before. `delay` and `give_up` as in [`Timing::progress_max`](rserpool::Timing::progress_max).
    pub fn idle_slot_max(&self, delay: Duration, give_up: Duration, workers: u32) -> Duration {
        let known = SHUN + self.look_around + self.ahead + self.user.timing.progress_max(delay, give_up);
        known + CROWDED + (BEGIN_MAX + delay * 2) * workers
    }

    /// Settings of a job on this pool, with defaults for everything else.
    pub fn new(user: user::Config, handle: PoolHandle, job: JobId) -> Self {
        Self {
            user,
            handle,
            job,
            needs: Resources::NONE,
            look_around: Duration::from_millis(500),
            tasks_max: 100_000,
            octets_max: 256 * 1024 * 1024,
            lanes_max: 128,
            deaths_max: 5,
            starts_max: 3,
            retries: 0,
            late_patience: Duration::from_secs(30),
            move_patience: Duration::from_secs(1),
            ahead: Duration::from_millis(16),
            backups: Backups::Pure,
            backup_after: Duration::from_millis(500),
            journal: false,
            paced: false,
        }
    }
}
