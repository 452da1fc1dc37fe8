//! What happened how often: a swarm in which something never happened has not tested it.

use crate::actor::Said;
use crate::client::Said as ClientSaid;
use crate::customer::Said as CustomerSaid;
use crate::net::Step;
use rserpool::{Output, registrar, user};
use rserpool_compute::job::{self, Event};
use std::collections::BTreeMap;
use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process died, noticed by the transport of the others.
    Crash,
    /// A host was gone without a word.
    Vanish,
    /// A process stopped for a while.
    Pause,
    /// A path was cut one way.
    Cut,
    /// The network fell into two parts.
    Partition,
    /// A path became slow.
    Slow,
    /// The links between two living hosts were lost.
    Reset,
    /// An element left the pool.
    Leave,
    /// An element joined the pool, or a process that had died came back empty.
    Join,
    /// A customer wanted another element.
    Change,
    /// An element wanted to join with another policy.
    Contrary,
    /// A cookie was falsified on its way.
    Forgery,
    /// A worker was told to drain.
    Drain,
    /// A task killed its worker.
    Poison,
    /// A client cancelled a task.
    Cancel,
    /// An old cookie was shown in place of the last.
    StaleCookie,
    /// A cookie of another job was shown.
    ForeignCookie,
    /// The process of a client died; its disk kept what was written.
    ClientCrash,
    /// The host of a client lost its power, and what its disk had not synced.
    PowerLoss,
    /// The disk of a client was full.
    FullDisk,
    /// The disk of a client was slow.
    SlowDisk,
}

impl Fault {
    /// The kinds of every world, in order.
    pub const OF_ALL: [Self; 12] = [
        Self::Crash,
        Self::Vanish,
        Self::Pause,
        Self::Cut,
        Self::Partition,
        Self::Slow,
        Self::Reset,
        Self::Leave,
        Self::Join,
        Self::Change,
        Self::Contrary,
        Self::Forgery,
    ];

    /// The kinds that only worlds with jobs have.
    pub const OF_JOBS: [Self; 9] = [
        Self::Drain,
        Self::Poison,
        Self::Cancel,
        Self::StaleCookie,
        Self::ForeignCookie,
        Self::ClientCrash,
        Self::PowerLoss,
        Self::FullDisk,
        Self::SlowDisk,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Crash => "crashes",
            Self::Vanish => "vanished hosts",
            Self::Pause => "pauses",
            Self::Cut => "one-way cuts",
            Self::Partition => "partitions",
            Self::Slow => "slow paths",
            Self::Reset => "link resets",
            Self::Leave => "leaves",
            Self::Join => "joins",
            Self::Change => "asked fail-overs",
            Self::Contrary => "contrary elements",
            Self::Forgery => "forged cookies",
            Self::Drain => "drains",
            Self::Poison => "poisoned workers",
            Self::Cancel => "cancellations",
            Self::StaleCookie => "stale cookies",
            Self::ForeignCookie => "foreign cookies",
            Self::ClientCrash => "client crashes",
            Self::PowerLoss => "power losses",
            Self::FullDisk => "full disks",
            Self::SlowDisk => "slow disks",
        })
    }
}

/// How often what happened.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Faults by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// Takeovers completed.
    pub takeovers: u64,
    /// Of these, those that another registrar wanted as well; and those that were yielded.
    pub contested: u64,
    /// Times a cut or parted network became whole.
    pub heals: u64,
    /// Sessions that moved to another element.
    pub failovers: u64,
    /// Answers that had been accepted before, or came too late to count.
    pub duplicates: u64,
    /// Answers accepted.
    pub accepted: u64,
    /// Jobs done.
    pub jobs: u64,
    /// What happened in jobs, those that are not over excepted.
    pub tasks: job::Counts,
    /// Writes cut in two by a loss of power.
    pub torn: u64,
    /// Clients that went on with a job.
    pub resumed: u64,
    /// Facts told to nodes.
    pub steps: u64,
}

impl Counts {
    /// One more of these.
    pub fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// Counts what a step shows.
    pub fn step(&mut self, step: &Step<Said>) {
        self.steps += 1;
        for (_, wish) in &step.wishes {
            let Output::Event(said) = wish else { continue };
            match said {
                Said::Registrar(registrar::Event::TakeoverWon { contested, .. }) => {
                    self.takeovers += 1;
                    self.contested += u64::from(*contested);
                }
                Said::Registrar(registrar::Event::TakeoverYielded { .. }) => self.contested += 1,
                Said::Customer(CustomerSaid::User(user::Event::Connected { failed_over: true, .. })) => {
                    self.failovers += 1;
                }
                Said::Customer(CustomerSaid::Accepted { .. }) => self.accepted += 1,
                Said::Customer(CustomerSaid::Discarded { .. }) => self.duplicates += 1,
                Said::Customer(CustomerSaid::Finished { .. }) => self.jobs += 1,
                Said::Client(ClientSaid::Recovered { .. }) => self.resumed += 1,
                Said::Client(ClientSaid::Job(Event::Finished(counts))) => {
                    self.jobs += 1;
                    add_tasks(&mut self.tasks, counts);
                }
                _ => {}
            }
        }
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        self.takeovers += other.takeovers;
        self.contested += other.contested;
        self.heals += other.heals;
        self.failovers += other.failovers;
        self.duplicates += other.duplicates;
        self.accepted += other.accepted;
        self.jobs += other.jobs;
        self.steps += other.steps;
        self.torn += other.torn;
        self.resumed += other.resumed;
        add_tasks(&mut self.tasks, &other.tasks);
    }

    /// Everything that must happen in a swarm, by name, in the order of the summary.
    pub fn table(&self) -> Vec<(String, u64)> {
        let kinds = Fault::OF_ALL.iter().chain(&Fault::OF_JOBS);
        let faults = kinds.map(|fault| (fault.to_string(), self.faults.get(fault).copied().unwrap_or(0)));
        let rest = [
            ("takeovers", self.takeovers),
            ("contested takeovers", self.contested),
            ("heals", self.heals),
            ("fail-overs", self.failovers),
            ("duplicates", self.duplicates),
            ("tasks accepted", self.tasks.accepted),
            ("given up", self.tasks.failed),
            ("lost workers", self.tasks.failovers),
            ("late results", self.tasks.late),
            ("repeated executions", self.tasks.repeated),
            ("continued executions", self.tasks.continued),
            ("backups", self.tasks.backups),
            ("torn writes", self.torn),
            ("resumed jobs", self.resumed),
        ];
        faults.chain(rest.map(|(name, count)| (name.to_owned(), count))).collect()
    }
}

fn add_tasks(to: &mut job::Counts, other: &job::Counts) {
    to.submitted += other.submitted;
    to.accepted += other.accepted;
    to.succeeded += other.succeeded;
    to.failed += other.failed;
    to.cancelled += other.cancelled;
    to.started += other.started;
    to.repeated += other.repeated;
    to.continued += other.continued;
    to.backups += other.backups;
    to.failovers += other.failovers;
    to.late += other.late;
    to.octets += other.octets;
}
