//! What happened how often: a swarm in which something never happened has not tested it.

use crate::actor::Said;
use crate::customer::Said as CustomerSaid;
use crate::net::Step;
use rserpool::{Output, registrar, user};
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
}

impl Fault {
    /// All kinds, in order.
    pub const ALL: [Self; 12] = [
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
    }

    /// Everything that must happen in a swarm, by name, in the order of the summary.
    pub fn table(&self) -> Vec<(String, u64)> {
        let faults =
            Fault::ALL.iter().map(|fault| (fault.to_string(), self.faults.get(fault).copied().unwrap_or(0)));
        let rest = [
            ("takeovers", self.takeovers),
            ("contested takeovers", self.contested),
            ("heals", self.heals),
            ("fail-overs", self.failovers),
            ("duplicates", self.duplicates),
        ];
        faults.chain(rest.map(|(name, count)| (name.to_owned(), count))).collect()
    }
}
