//! The registrar.

use crate::{Endpoint, Handlespace, Input, Node, Outbox, Output, Random, RegistrarId, Time, Timing};

/// Settings of a registrar.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its identifier; `None`: drawn at random.
    pub id: Option<RegistrarId>,
    /// Its ASAP endpoints (TCP and SCTP), as announced.
    pub asap: Vec<Endpoint>,
    /// Its ENRP endpoint: SCTP.
    pub enrp: Endpoint,
    /// Peers to find without multicast.
    pub peers: Vec<Endpoint>,
    /// Announce itself and listen to announcements.
    pub multicast: bool,
    /// Addresses below this scope are not admitted into the handlespace (RSPLIB: site-local).
    pub minimum_scope: Scope,
    /// Which of two initiators of a takeover wins: one setting for the whole operational scope.
    pub arbitration: Arbitration,
    /// Timers.
    pub timing: Timing,
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Scope {
    Loopback,
    LinkLocal,
    SiteLocal,
    Global,
}

/// Who wins when two registrars want to take over the same third one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arbitration {
    /// The larger identifier (RFC 5353 §3.5.1).
    #[default]
    LargerWins,
    /// The smaller identifier, as RSPLIB does: for scopes shared with RSPLIB registrars.
    SmallerWins,
}

/// What a registrar tells its application: its log, its metrics, and what the simulator's checkers watch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Start-up is over: peers and handlespace are known.
    Ready,
}

/// A registrar.
pub struct Registrar {
    handlespace: Handlespace,
    outbox: Outbox<Event>,
}

#[allow(missing_docs, unused_variables)]
impl Registrar {
    pub fn new(config: Config, random: Random) -> Self {
        Self { handlespace: Handlespace::new(), outbox: Outbox::default() }
    }
    pub fn id(&self) -> RegistrarId {
        RegistrarId::UNDEFINED
    }
    pub fn handlespace(&self) -> &Handlespace {
        &self.handlespace
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
