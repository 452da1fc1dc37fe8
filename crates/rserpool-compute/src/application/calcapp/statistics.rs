//! What CalcApp measures of the jobs of a user.
//!
//! ```text
//!   queued ---- queuing ----> started ---- startup ----> accepted ---- processing ----> completed
//!      '------------------------------- handling ---------------------------------------'
//! ```
//!
//! `accepted` is the last Accept: the time lost by a fail-over counts as startup. Average speeds are sums of sizes over
//! sums of times, so long jobs count as much as they took.

use rserpool::Time;
use std::time::Duration;

/// A job that is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobRecord {
    /// Its number, from 1.
    pub job: u32,
    /// Its calculations.
    pub size: u64,
    /// The pause before it came.
    pub interval: Duration,
    /// Jobs ahead of it when it came, the running one included.
    pub queue_length: usize,
    /// It came.
    pub queued: Time,
    /// It was its turn.
    pub started: Time,
    /// The last element accepted it.
    pub accepted: Time,
    /// It was complete.
    pub completed: Time,
    /// Elements it lost on its way.
    pub failovers: u32,
}

impl JobRecord {
    /// The time it waited for its turn.
    pub fn queuing(&self) -> Duration {
        self.started.since(self.queued)
    }

    /// From its turn to the last Accept.
    pub fn startup(&self) -> Duration {
        self.accepted.since(self.started)
    }

    /// From the last Accept to the end.
    pub fn processing(&self) -> Duration {
        self.completed.since(self.accepted)
    }

    /// All of it.
    pub fn handling(&self) -> Duration {
        self.completed.since(self.queued)
    }

    /// Calculations per second of processing.
    pub fn processing_speed(&self) -> f64 {
        speed(self.size as f64, self.processing().as_secs_f64())
    }

    /// Calculations per second of handling.
    pub fn handling_speed(&self) -> f64 {
        speed(self.size as f64, self.handling().as_secs_f64())
    }
}

fn speed(size: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { size / seconds } else { 0.0 }
}

/// What a user has said, heard and gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs that came.
    pub queued: u64,
    /// Calculations of these.
    pub size_queued: u64,
    /// Jobs whose turn it was.
    pub started: u64,
    /// Calculations of these.
    pub size_started: u64,
    /// Requests sent.
    pub requests: u64,
    /// Accepts heard.
    pub accepts: u64,
    /// Rejects heard.
    pub rejects: u64,
    /// Completes heard.
    pub completes: u64,
    /// Keep-alives sent.
    pub keep_alives: u64,
    /// Answers to these.
    pub keep_alive_acks: u64,
    /// Times that an element was chosen and connected.
    pub selections: u64,
    /// Elements reported as unreachable by the application.
    pub unreachables: u64,
    /// Cookies echoed.
    pub cookie_echoes: u64,
    /// Fail-overs.
    pub failovers: u64,
    /// Jobs begun anew because an element spoke of another job.
    pub confused: u64,
}

/// Sum, extremes and deviation of a span over all jobs, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spread {
    count: u64,
    /// Sum of all.
    pub total: f64,
    squares: f64,
    /// The smallest; 0 of none.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    fn add(&mut self, span: Duration) {
        let value = span.as_secs_f64();
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        self.total += value;
        self.squares += value * value;
    }

    /// The mean; 0 of none.
    pub fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.total / self.count as f64 }
    }

    /// The variance of all values (not of a sample).
    pub fn variance(&self) -> f64 {
        if self.count == 0 { 0.0 } else { (self.squares / self.count as f64 - self.mean().powi(2)).max(0.0) }
    }

    /// Its square root.
    pub fn deviation(&self) -> f64 {
        self.variance().sqrt()
    }
}

/// The jobs of a user, summed up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Jobs completed.
    pub jobs: u64,
    /// Their calculations.
    pub size: u64,
    /// Queuing delays.
    pub queuing: Spread,
    /// Startup delays.
    pub startup: Spread,
    /// Processing times.
    pub processing: Spread,
    /// Handling times.
    pub handling: Spread,
}

impl Summary {
    /// Adds a completed job.
    pub fn add(&mut self, job: &JobRecord) {
        self.jobs += 1;
        self.size = self.size.saturating_add(job.size);
        self.queuing.add(job.queuing());
        self.startup.add(job.startup());
        self.processing.add(job.processing());
        self.handling.add(job.handling());
    }

    /// Calculations per second of processing, over all jobs.
    pub fn processing_speed(&self) -> f64 {
        speed(self.size as f64, self.processing.total)
    }

    /// Calculations per second of handling, over all jobs: what a pool is worth to its user.
    pub fn handling_speed(&self) -> f64 {
        speed(self.size as f64, self.handling.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(size: u64, times: [u64; 4]) -> JobRecord {
        let [queued, started, accepted, completed] = times.map(Time::from_millis);
        JobRecord {
            job: 1,
            size,
            interval: Duration::ZERO,
            queue_length: 0,
            queued,
            started,
            accepted,
            completed,
            failovers: 0,
        }
    }

    #[test]
    fn the_parts_of_a_job_add_up_to_its_handling() {
        let job = job(1_000, [0, 100, 250, 1_250]);
        assert_eq!(
            [job.queuing(), job.startup(), job.processing()].map(|span| span.as_millis()),
            [100, 150, 1_000]
        );
        assert_eq!(job.queuing() + job.startup() + job.processing(), job.handling());
        assert_eq!((job.processing_speed(), job.handling_speed()), (1_000.0, 800.0));
    }

    #[test]
    fn averages_of_speeds_are_sums_over_sums() {
        let mut summary = Summary::default();
        summary.add(&job(1_000, [0, 0, 0, 1_000]));
        summary.add(&job(1_000, [0, 0, 0, 3_000]));
        assert_eq!(summary.handling_speed(), 500.0);
        let Spread { min, max, .. } = summary.handling;
        assert_eq!((min, max, summary.handling.mean(), summary.handling.deviation()), (1.0, 3.0, 2.0, 1.0));
        assert_eq!(Summary::default().handling_speed(), 0.0);
    }
}
