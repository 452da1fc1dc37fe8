//! What a registrar tells its application: its log, its metrics, and what the simulator's checkers watch.

use super::Refusal;
use crate::{Door, ElementId, PoolHandle, RegistrarId};
use std::collections::BTreeMap;
use std::fmt;

/// One thing that happened. Displayed, it is one readable log line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Start-up is over: peers and handlespace are known as far as anybody could tell.
    Ready {
        /// Peers known now.
        peers: usize,
        /// Elements known now.
        elements: usize,
    },
    /// An element is new here.
    ElementAdded {
        /// Its pool.
        handle: PoolHandle,
        /// Itself.
        element: ElementId,
        /// The registrar that watches it.
        home: RegistrarId,
    },
    /// An element has another home.
    ElementMoved {
        /// Its pool.
        handle: PoolHandle,
        /// Itself.
        element: ElementId,
        /// The home before.
        from: RegistrarId,
        /// The home now.
        to: RegistrarId,
    },
    /// An element is no longer here.
    ElementRemoved {
        /// Its pool.
        handle: PoolHandle,
        /// Itself.
        element: ElementId,
        /// Its last home.
        home: RegistrarId,
        /// Why.
        why: Removal,
    },
    /// An element of a peer is withheld from selection because nobody could reach it, or given out again.
    ElementSuspected {
        /// Its pool.
        handle: PoolHandle,
        /// Itself.
        element: ElementId,
        /// Withheld from now on.
        suspect: bool,
    },
    /// A registration was refused.
    RegistrationRefused {
        /// The pool asked for.
        handle: PoolHandle,
        /// Who asked.
        element: ElementId,
        /// Why.
        why: Refusal,
    },
    /// An entry of a peer does not fit into the pool as it is defined here: the two registrars will not agree until one
    /// of the definitions is gone.
    ReplicaRefused {
        /// Whose entry.
        peer: RegistrarId,
        /// The pool.
        handle: PoolHandle,
        /// The element.
        element: ElementId,
        /// Why.
        why: Refusal,
    },
    /// A peer spoke for the first time.
    PeerUp {
        /// The peer.
        peer: RegistrarId,
    },
    /// A peer is silent and was asked for a sign of life.
    PeerAsked {
        /// The peer.
        peer: RegistrarId,
    },
    /// A peer is no longer known.
    PeerDown {
        /// The peer.
        peer: RegistrarId,
        /// Why.
        why: PeerLoss,
    },
    /// This registrar asks the others to let it take over the elements of a dead peer.
    TakeoverBegun {
        /// The dead peer.
        target: RegistrarId,
        /// How many have to agree.
        awaited: usize,
    },
    /// The takeover is complete: the target's elements are this registrar's.
    TakeoverWon {
        /// The dead peer.
        target: RegistrarId,
        /// Elements taken over.
        elements: usize,
        /// Another registrar wanted the same.
        contested: bool,
    },
    /// This registrar gave up its takeover in favour of a peer.
    TakeoverYielded {
        /// The dead peer.
        target: RegistrarId,
        /// Who takes it over instead.
        to: RegistrarId,
    },
    /// This registrar gave up its takeover. The elements stay as they were.
    TakeoverAborted {
        /// The peer that was thought dead.
        target: RegistrarId,
        /// Why.
        why: TakeoverEnd,
    },
    /// The copy of a peer's elements differs from what the peer has: its table was asked for.
    ResyncBegun {
        /// The peer.
        peer: RegistrarId,
    },
    /// The comparison is over.
    ResyncEnded {
        /// The peer.
        peer: RegistrarId,
        /// The peer's whole table was received.
        complete: bool,
        /// Entries the peer turned out not to have any more.
        removed: usize,
    },
    /// A mentor could not help; another one is tried, or start-up goes on without.
    MentorFailed,
    /// A message was not obeyed.
    Rejected {
        /// Where it came in; `None`: over an announcement channel.
        door: Option<Door>,
        /// Why.
        reason: Rejection,
    },
}

/// Why an element is no longer in the handlespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Removal {
    /// It asked for it.
    Deregistered,
    /// The link it registered through ended.
    LinkLost,
    /// It did not answer a keep-alive.
    Silent,
    /// Nobody answers where it said registrars reach it.
    Unreachable,
    /// Too many users reported it.
    Reported,
    /// Its registration was not renewed.
    LifeOver,
    /// Its home says so.
    PeerSaid,
    /// Its home's table does not have it.
    Swept,
}

/// Why a peer is no longer known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PeerLoss {
    /// It did not answer.
    Silent,
    /// It could not be reached.
    Unreachable,
    /// Another registrar answers at its endpoint.
    Replaced,
    /// Somebody took over its elements.
    TakenOver,
}

/// Why a takeover was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TakeoverEnd {
    /// The target spoke: it lives.
    TargetLives,
    /// Too few agreed in time; it is tried again later.
    NoMajority,
    /// The target has no elements any more.
    NothingLeft,
}

/// Why a message was not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rejection {
    /// Its octets are not a message.
    Malformed,
    /// It is a message, but not one that belongs there.
    Unexpected,
    /// Its payload protocol does not belong there; the link was aborted.
    WrongProtocol,
    /// There are as many links, peers, elements or downloads as the limits allow.
    LimitReached,
    /// Its sender asks too often.
    RateExceeded,
    /// Its sender does not own what it wants to change.
    NotOwner,
    /// It was meant for another registrar.
    WrongReceiver,
    /// It speaks for a registrar that another sender on this link said it was.
    WrongSender,
}

/// How often what happened since the start: each number only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages that came over links, whatever became of them; signs of life of the links themselves not included.
    pub heard: u64,
    /// Registrations granted, renewals included.
    pub registrations: u64,
    /// Of these, renewals.
    pub reregistrations: u64,
    /// Deregistrations granted.
    pub deregistrations: u64,
    /// Resolutions answered with elements.
    pub resolutions: u64,
    /// Resolutions answered with an error.
    pub resolutions_failed: u64,
    /// Reports of unreachable elements received.
    pub failure_reports: u64,
    /// Handle table requests answered.
    pub synchronizations: u64,
    /// Handle updates received.
    pub handle_updates: u64,
    /// Keep-alives sent to elements.
    pub keep_alives: u64,
    /// Takeovers won.
    pub takeovers: u64,
    /// Messages not obeyed, by reason.
    pub rejected: BTreeMap<Rejection, u64>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { peers, elements } => {
                write!(f, "ready: {} and {} known", counted(*peers, "peer"), counted(*elements, "element"))
            }
            Self::ElementAdded { handle, element, home } => {
                write!(f, "element {element} joined pool '{handle}' at home {home}")
            }
            Self::ElementMoved { handle, element, from, to } => {
                write!(f, "element {element} of pool '{handle}' moved from home {from} to {to}")
            }
            Self::ElementRemoved { handle, element, home, why } => {
                write!(f, "element {element} left pool '{handle}' at home {home}: {why}")
            }
            Self::ElementSuspected { handle, element, suspect: true } => {
                write!(f, "element {element} of pool '{handle}' could not be reached and is withheld")
            }
            Self::ElementSuspected { handle, element, suspect: false } => {
                write!(f, "element {element} of pool '{handle}' is given out again")
            }
            Self::RegistrationRefused { handle, element, why } => {
                write!(f, "element {element} may not join pool '{handle}': {why}")
            }
            Self::ReplicaRefused { peer, handle, element, why } => {
                write!(f, "element {element} of peer {peer} does not fit into pool '{handle}' here: {why}")
            }
            Self::PeerUp { peer } => write!(f, "peer {peer} is up"),
            Self::PeerAsked { peer } => write!(f, "peer {peer} is silent and asked for a sign of life"),
            Self::PeerDown { peer, why } => write!(f, "peer {peer} is down: {why}"),
            Self::TakeoverBegun { target, awaited } => {
                write!(f, "takeover of {target} begun, {} to agree", counted(*awaited, "peer"))
            }
            Self::TakeoverWon { target, elements, contested } => {
                let how = if *contested { " against another initiator" } else { "" };
                write!(f, "takeover of {target} won{how}: {}", counted(*elements, "element"))
            }
            Self::TakeoverYielded { target, to } => write!(f, "takeover of {target} left to {to}"),
            Self::TakeoverAborted { target, why } => write!(f, "takeover of {target} given up: {why}"),
            Self::ResyncBegun { peer } => write!(f, "asking peer {peer} for its elements"),
            Self::ResyncEnded { peer, complete: true, removed } => {
                write!(f, "in step with peer {peer}, {} removed", counted(*removed, "element"))
            }
            Self::ResyncEnded { peer, complete: false, .. } => {
                write!(f, "peer {peer} did not give its whole table")
            }
            Self::MentorFailed => write!(f, "the mentor could not help"),
            Self::Rejected { door: Some(door), reason } => {
                write!(f, "message at door {door:?} rejected: {reason}")
            }
            Self::Rejected { door: None, reason } => write!(f, "announcement rejected: {reason}"),
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deregistered => "it deregistered",
            Self::LinkLost => "its link ended",
            Self::Silent => "it did not answer",
            Self::Unreachable => "it could not be reached",
            Self::Reported => "its users reported it",
            Self::LifeOver => "its registration was not renewed",
            Self::PeerSaid => "its home removed it",
            Self::Swept => "its home does not know it",
        })
    }
}

impl fmt::Display for PeerLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Silent => "it did not answer",
            Self::Unreachable => "it could not be reached",
            Self::Replaced => "another registrar answers in its place",
            Self::TakenOver => "its elements were taken over",
        })
    }
}

impl fmt::Display for TakeoverEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TargetLives => "it lives",
            Self::NoMajority => "too few agreed",
            Self::NothingLeft => "it has no elements any more",
        })
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed",
            Self::Unexpected => "unexpected here",
            Self::WrongProtocol => "wrong payload protocol",
            Self::LimitReached => "limit reached",
            Self::RateExceeded => "too often",
            Self::NotOwner => "not the owner",
            Self::WrongReceiver => "meant for another registrar",
            Self::WrongSender => "speaks for another registrar",
        })
    }
}

impl fmt::Display for Counters {
    /// One line: `heard 12 messages, 3 rejected (2 malformed, 1 unexpected here)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected: u64 = self.rejected.values().sum();
        write!(f, "heard {} messages, {rejected} rejected", self.heard)?;
        let reasons: Vec<String> =
            self.rejected.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, " ({})", reasons.join(", ")) }
    }
}

/// "no peers", "1 peer", "2 peers".
fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_read_as_log_lines() {
        let handle = PoolHandle::new("tiles").expect("legal");
        let (element, home) = (ElementId(7), RegistrarId(9));
        for (event, line) in [
            (Event::Ready { peers: 1, elements: 0 }, "ready: 1 peer and no elements known"),
            (
                Event::ElementRemoved { handle, element, home, why: Removal::Silent },
                "element 00000007 left pool 'tiles' at home 00000009: it did not answer",
            ),
            (
                Event::TakeoverWon { target: home, elements: 2, contested: true },
                "takeover of 00000009 won against another initiator: 2 elements",
            ),
            (
                Event::Rejected { door: Some(Door::Asap), reason: Rejection::NotOwner },
                "message at door Asap rejected: not the owner",
            ),
        ] {
            assert_eq!(event.to_string(), line);
        }
    }

    #[test]
    fn counters_read_as_one_line() {
        let mut counters = Counters { heard: 12, ..Counters::default() };
        assert_eq!(counters.to_string(), "heard 12 messages, 0 rejected");
        counters.rejected.extend([(Rejection::Unexpected, 1), (Rejection::Malformed, 2)]);
        assert_eq!(counters.to_string(), "heard 12 messages, 3 rejected (2 malformed, 1 unexpected here)");
    }
}
