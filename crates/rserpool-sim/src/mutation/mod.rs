//! Mistakes, made on purpose: each breaks one promise, and shows that its check can see.
//!
//! A mistake sits in the skin of a node ([`Tamper`]): the node itself is the real one, but what it is told, or what it
//! wishes, is bent as a fault in its code would bend it. [`MUTATIONS`] says which check has to notice which mistake.
//! A mistake can be limited to the first part of a node's life ([`Scope::mistaken_for`](crate::world::Scope)): so a test
//! shows that being late by twice a bound is noticed.

mod ends;
mod jobs;
mod registrar;

use crate::actor::{Machine, Tamper, Wish};
use crate::errand::Careless;
use crate::world::Scope;
use rserpool::registrar::{Arbitration, Config};
use rserpool::wire::asap::Message;
use rserpool::wire::enrp;
use rserpool::{ElementId, Input, LinkId, Ppid, RegistrarId, Time};
use rserpool_compute::{Attempt, service};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// A mistake in the code or the settings of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // each is said in a sentence in `MUTATIONS`
pub enum Mutation {
    ListsTwice,
    AdaptsContrary,
    AcceptsContrary,
    WrongChecksum,
    WrongCopy,
    LateUpdates,
    MisnamesHome,
    KeepsDead,
    DropsAcks,
    LateAcks,
    OmitsElement,
    DeafToPeers,
    TakesWithoutAsking,
    WrongWinner,
    IgnoresReturn,
    NeverDecides,
    NamesStranger,
    NamesTwice,
    WrongCause,
    HiddenState,
    SelectsBadly,
    BendsEcho,
    SkipsEcho,
    Credulous,
    RepeatsAttempts,
    AcceptsOld,
    FeedsBoth,
    LosesAnswers,
    AcceptsTwice,
    AddsWrong,
    LosesResults,
    AcceptsLate,
    DeafToWelcome,
    BelievesDisk,
    ReadsTooLittle,
    SkipsOutputs,
    SpoilsOutput,
    ChargesAll,
    TooManySlots,
    WidensWindows,
    AcceptsCancelled,
    DeafToCancel,
    BelievesDamage,
    KeepsCookies,
    StaysListed,
    Lingers,
}

/// Every mistake, with the check that has to notice it.
pub const MUTATIONS: [(Mutation, &str, &str); 46] = [
    (Mutation::ListsTwice, "H1", "a table names its first element twice"),
    (Mutation::AdaptsContrary, "H2", "a registration with another policy is admitted with the pool's"),
    (Mutation::AcceptsContrary, "H2", "a registration with another policy is answered with yes"),
    (Mutation::WrongChecksum, "H3", "a presence says another checksum"),
    (Mutation::WrongCopy, "H5", "elements of peers are copied with another life"),
    (Mutation::LateUpdates, "H5", "what peers say of elements already known is heard too late"),
    (Mutation::MisnamesHome, "H6", "an element reads its home's identifier wrongly"),
    (
        Mutation::KeepsDead,
        "H7",
        "a home believes that its elements answer, and does not notice that links end",
    ),
    (Mutation::DropsAcks, "H8", "a home does not hear that its elements answer"),
    (Mutation::LateAcks, "H8", "a home hears too late that its elements answer"),
    (Mutation::OmitsElement, "H10", "an answer leaves the last element out"),
    (Mutation::DeafToPeers, "H10", "what peers say of their elements is not heard"),
    (Mutation::TakesWithoutAsking, "H11", "a takeover believes that everybody agreed, and tells nobody"),
    (Mutation::WrongWinner, "H11", "arbitration is decided the other way around"),
    (Mutation::IgnoresReturn, "H12", "a registrar being taken over is not heard"),
    (Mutation::NeverDecides, "H13", "agreements are not heard, and alarms ring too late"),
    (Mutation::NamesStranger, "H17", "an answer names an element nobody knows"),
    (Mutation::NamesTwice, "H17", "an answer names its first element twice"),
    (Mutation::WrongCause, "H17", "an unknown pool is answered with another error"),
    (Mutation::HiddenState, "H18", "something depends on what happened in another world"),
    (
        Mutation::SelectsBadly,
        "P1",
        "every second selection takes the same element as before, or the worst there is",
    ),
    (Mutation::BendsEcho, "S1", "a cookie changes in the hands of its user"),
    (Mutation::SkipsEcho, "S1", "a cookie is not echoed"),
    (Mutation::Credulous, "S2", "an element believes every cookie"),
    (Mutation::RepeatsAttempts, "S3", "every attempt is called the first"),
    (Mutation::AcceptsOld, "S3", "an answer to an attempt that was given up is accepted"),
    (Mutation::FeedsBoth, "S4", "the element before is not left, and fed as well"),
    (Mutation::LosesAnswers, "S5", "answers are lost in the user"),
    (Mutation::AcceptsTwice, "J2", "a result is accepted twice"),
    (Mutation::AddsWrong, "J7", "an element cannot add"),
    (Mutation::LosesResults, "J1", "a client does not hear that a result was accepted"),
    (Mutation::AcceptsLate, "J2 (jobs)", "a result that comes too late is accepted"),
    (Mutation::DeafToWelcome, "J3", "a client does not hear that workers welcome it"),
    (Mutation::BelievesDisk, "J4", "what was written is taken for synced"),
    (Mutation::ReadsTooLittle, "J5", "the last record of a journal is not read"),
    (Mutation::SkipsOutputs, "J6", "outputs are not synced before the record that names them"),
    (Mutation::SpoilsOutput, "J7 (jobs)", "a worker changes what its tasks put out"),
    (Mutation::ChargesAll, "J8", "tasks that wait at a worker are taken for begun when it dies"),
    (Mutation::TooManySlots, "J10", "a task service has one slot more than it should"),
    (Mutation::WidensWindows, "J10", "a worker takes each window for twice as wide"),
    (Mutation::AcceptsCancelled, "J11", "a cancelled task is accepted"),
    (Mutation::DeafToCancel, "J11", "a worker does not hear that a task is cancelled"),
    (Mutation::BelievesDamage, "S2 (jobs)", "a worker believes cookies that are damaged"),
    (Mutation::KeepsCookies, "S6", "workers give no cookies away"),
    (Mutation::StaysListed, "S9", "a worker that drains does not tell the pool"),
    (Mutation::Lingers, "S9", "a worker that drains stays beyond its deadline"),
];

impl Mutation {
    /// What stands between this node and the world.
    pub fn tamper(self, scope: &Scope) -> Option<Box<dyn Tamper>> {
        Some(Box::new(Mistake {
            mutation: self,
            lasts: scope.mistaken_for,
            late: 2 * scope.timing.settled_max(scope.net.delay_max, scope.net.link_loss),
            late_ack: 2 * scope.timing.hung_element_max(scope.net.delay_max),
            late_alarm: 2 * scope.timing.takeover_max(scope.net.delay_max),
            born: None,
            target: None,
            before: None,
            turn: 0,
            links: Vec::new(),
            unasked: None,
            waiting: BTreeMap::new(),
        }))
    }

    /// Settings of a registrar that somebody got wrong.
    pub fn misconfigures(self, config: &mut Config) {
        if self == Self::WrongWinner {
            config.arbitration = match config.arbitration {
                Arbitration::LargerWins => Arbitration::SmallerWins,
                Arbitration::SmallerWins => Arbitration::LargerWins,
            };
        }
    }

    /// Settings of a task service that somebody got wrong.
    pub fn misconfigures_service(self, config: &mut service::Config) {
        if self == Self::TooManySlots {
            config.slots += 1;
        }
    }

    /// The rest of the world that has to be wrong for the mistake to show.
    pub fn misleads(self, scope: &mut Scope) {
        scope.pace.credulous = self == Self::Credulous;
        scope.demand.careless = self == Self::AcceptsOld;
        scope.toil.careless = match self {
            Self::BelievesDisk => Some(Careless::BelievesDisk),
            Self::ReadsTooLittle => Some(Careless::ReadsTooLittle),
            Self::SkipsOutputs => Some(Careless::SkipsOutputs),
            Self::StaysListed => Some(Careless::StaysListed),
            _ => None,
        };
        scope.mutation = Some(self);
    }
}

/// What the worlds of [`Mutation::HiddenState`] share, and must not.
static HIDDEN: AtomicU64 = AtomicU64::new(0);

struct Mistake {
    mutation: Mutation,
    lasts: Duration,
    late: Duration,
    late_ack: Duration,
    late_alarm: Duration,
    born: Option<Time>,
    /// The takeover under way, and since when.
    target: Option<(RegistrarId, Time)>,
    /// The element selected before.
    before: Option<ElementId>,
    turn: u64,
    /// Links of sessions that should be over.
    links: Vec<LinkId>,
    /// What an element did not answer to a cookie it was not told.
    unasked: Option<(LinkId, Vec<u8>)>,
    /// Tasks that wait at the worker of each link.
    waiting: BTreeMap<LinkId, BTreeSet<Attempt>>,
}

impl Mistake {
    fn is_over(&mut self, now: Time) -> bool {
        now.since(*self.born.get_or_insert(now)) > self.lasts
    }
}

impl Tamper for Mistake {
    fn told(&mut self, now: Time, node: &Machine, input: Input) -> Vec<(Duration, Input)> {
        let at_once = |input| vec![(Duration::ZERO, input)];
        if self.is_over(now) {
            return at_once(input);
        }
        match node {
            Machine::Registrar(registrar) => self.registrar_told(registrar, input),
            Machine::Element(_) => at_once(self.element_told(input)),
            Machine::Customer(_) => self.customer_told(input),
            Machine::Worker(_) => self.worker_told(input),
            Machine::Client(_) => self.client_told(input),
        }
    }

    fn wished(&mut self, now: Time, node: &Machine, wish: Wish) -> (Vec<Wish>, Vec<Input>) {
        if self.is_over(now) {
            return (vec![wish], Vec::new());
        }
        match node {
            Machine::Registrar(registrar) => self.registrar_wished(now, registrar, wish),
            Machine::Element(_) => (vec![self.element_wished(wish)], Vec::new()),
            Machine::Customer(_) => self.customer_wished(wish),
            Machine::Worker(_) => self.worker_wished(wish),
            Machine::Client(_) => self.client_wished(wish),
        }
    }

    fn deadline(&self, deadline: Option<Time>) -> Option<Time> {
        match (self.mutation, self.target) {
            (Mutation::NeverDecides, Some((_, since))) => {
                deadline.map(|due| due.max(since + self.late_alarm))
            }
            _ => deadline,
        }
    }
}

/// The ASAP message in a fact.
fn asap_in(input: &Input) -> Option<Message> {
    match input {
        Input::Message { ppid: Ppid::ASAP, bytes, .. } => Message::parse(bytes).ok(),
        _ => None,
    }
}

/// The ENRP message in a fact.
fn enrp_in(input: &Input) -> Option<enrp::Message> {
    match input {
        Input::Message { ppid: Ppid::ENRP, bytes, .. } | Input::Heard { bytes, .. } => {
            enrp::Message::parse(bytes).ok()
        }
        _ => None,
    }
}

/// The same fact with other octets.
fn with_bytes(mut input: Input, new: Vec<u8>) -> Input {
    if let Input::Message { bytes, .. } = &mut input {
        *bytes = new;
    }
    input
}
