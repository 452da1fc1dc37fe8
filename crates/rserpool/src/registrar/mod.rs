//! The registrar.

mod admission;
mod config;
mod event;

pub use admission::Refusal;
pub use config::{Arbitration, Config, Limits, Rate, Scope};
pub use event::{Counters, Event, PeerLoss, Rejection, Removal, TakeoverEnd};

use crate::{Endpoint, Handlespace, Input, Node, Outbox, Output, Random, RegistrarId, Time};

/// A registrar.
pub struct Registrar {
    id: RegistrarId,
    config: Config,
    handlespace: Handlespace,
    counters: Counters,
    outbox: Outbox<Event>,
}

/// A peer as [`Registrar::peers`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Its identifier.
    pub id: RegistrarId,
    /// Its ENRP endpoint, if it is known.
    pub endpoint: Option<Endpoint>,
    /// How things stand.
    pub state: PeerState,
    /// Elements it owns according to this registrar's handlespace.
    pub elements: usize,
    /// The last checksum it sent is that of this registrar's copy of its elements; `None`: it sent none yet.
    pub in_step: Option<bool>,
}

/// How things stand with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PeerState {
    /// Somebody mentioned it; it has not spoken itself.
    Unconfirmed,
    /// It spoke recently.
    Alive,
    /// It is silent and was asked for a sign of life.
    Asked,
    /// It is dead, and this registrar wants to take over its elements.
    TakingOver,
    /// Another registrar takes over its elements.
    LeftTo(RegistrarId),
}

impl Registrar {
    /// A registrar with nothing in it. It starts up with the first fact it is told; the deadline until then is the
    /// world's first moment, so an early [`Input::Wake`] is all it needs.
    pub fn new(config: Config, mut random: Random) -> Self {
        let id = config.id.filter(|id| id.is_defined()).unwrap_or_else(|| RegistrarId(random.nonzero_u32()));
        Self {
            id,
            config,
            handlespace: Handlespace::new(),
            counters: Counters::default(),
            outbox: Outbox::default(),
        }
    }

    /// Its identifier: never 0, the same for its whole life.
    pub fn id(&self) -> RegistrarId {
        self.id
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Start-up is over.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// Its copy of the handlespace.
    pub fn handlespace(&self) -> &Handlespace {
        &self.handlespace
    }

    /// The peers it knows, by identifier; never itself.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> + '_ {
        std::iter::empty()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Audits the registrar against itself; panics with the reason if it is inconsistent.
    pub fn check(&self) {
        self.handlespace.check();
    }
}

impl Node for Registrar {
    type Event = Event;
    fn handle(&mut self, _now: Time, _input: Input) {}
    fn poll(&mut self) -> Option<Output<Event>> {
        self.outbox.take()
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}
