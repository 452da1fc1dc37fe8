//! The pool user: resolves pool handles and holds sessions that survive their element.

use crate::wire::parameter::{ErrorCause, PoolElement};
use crate::{
    ElementId, Endpoint, Input, Node, Outbox, Output, Policy, PoolHandle, Ppid, Random, Time, Timing,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// Settings of a pool user.
#[derive(Clone, Debug)]
pub struct Config {
    /// Registrars to try; more may be learnt from announcements.
    pub registrars: Vec<Endpoint>,
    /// How long a resolved element may be used without asking again. Zero: ask for every session.
    pub stale_cache_value: Duration,
    /// Timers.
    pub timing: Timing,
}

impl Config {
    /// Settings of a user of these registrars, without a cache and with default timers.
    pub fn new(registrars: Vec<Endpoint>) -> Self {
        Self { registrars, stale_cache_value: Duration::ZERO, timing: Timing::default() }
    }
}

/// A session as its user sees it. Never used twice by one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A resolution asked for with [`PoolUser::resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResolutionId(pub u64);

/// Wishes of a session about its elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Only this element (RFC 3237 "connect to the same server again"); the session fails if it is gone.
    pub only: Option<ElementId>,
    /// Not these, as long as the pool has others.
    pub avoid: BTreeSet<ElementId>,
    /// Ask the element for signs of life (our link frames) and notice when it hangs. Our own services answer; for
    /// services of others leave it off.
    pub heartbeat: bool,
    /// How long the link of an element that hung stays open after the fail-over, so that what it says late is heard
    /// ([`Event::Late`]) instead of lost without a trace. Nothing more is sent to it. Zero: the link is aborted at once.
    pub late_patience: Duration,
}

/// Why a session changed its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailoverCause {
    /// The link ended: the element died, or its host, or the path to it.
    Lost,
    /// The link is up but the element gave no sign of life.
    Hung,
    /// It could not be reached in the first place.
    Unreachable,
    /// It ended the session itself.
    Ended,
    /// The application asked.
    Asked,
}

/// Why something did not work out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No registrar answered.
    NoRegistrar {
        /// How many were tried.
        tried: usize,
    },
    /// The registrar knows no such pool (or nobody in it can serve).
    UnknownPool,
    /// The registrar answered with another error.
    Refused(Vec<ErrorCause>),
    /// The element asked for with `only` is gone.
    ElementGone,
}

/// What a pool user tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The answer to [`PoolUser::resolve`].
    Resolved {
        /// As returned by `resolve`.
        resolution: ResolutionId,
        /// The policy of the pool and its elements in order of selection.
        result: Result<(Policy, Vec<PoolElement>), Failure>,
    },
    /// The session has an element. `resumed`: a cookie was echoed to it, so the work goes on; without, the application
    /// repeats what was unanswered. `failed_over`: not the session's first element.
    Connected {
        /// Which session.
        session: SessionId,
        /// Its element now.
        element: ElementId,
        /// The cookie of the element before was echoed.
        resumed: bool,
        /// It had another element before.
        failed_over: bool,
    },
    /// A message of the element.
    Message {
        /// Which session.
        session: SessionId,
        /// What it is.
        ppid: Ppid,
        /// Its octets.
        bytes: Vec<u8>,
    },
    /// A message of an element that hung and was given up, within `late_patience`. Never anything the present element
    /// said; cookies and business cards that come late are dropped.
    Late {
        /// The session that had the element.
        session: SessionId,
        /// The element of then.
        element: ElementId,
        /// What it is.
        ppid: Ppid,
        /// Its octets.
        bytes: Vec<u8>,
    },
    /// The session lost its element; another one is being sought, unless the application closes the session.
    FailingOver {
        /// Which session.
        session: SessionId,
        /// The element lost, if it had one.
        from: Option<ElementId>,
        /// Why.
        cause: FailoverCause,
    },
    /// No element could be found this time. The user tries again, with pauses, until the session is closed.
    Waiting {
        /// Which session.
        session: SessionId,
        /// Why.
        why: Failure,
    },
    /// The session is over: its `only` element is gone.
    Failed {
        /// Which session.
        session: SessionId,
        /// Why.
        why: Failure,
    },
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No such session.
    UnknownSession,
    /// The session has no element at the moment: wait for `Connected`.
    NotConnected,
    /// Empty, or with a PPID that is not the application's (ASAP, ENRP, link frames).
    NotData,
}

/// A pool user.
pub struct PoolUser {
    outbox: Outbox<Event>,
}

#[allow(missing_docs, unused_variables)]
impl PoolUser {
    pub fn new(config: Config, random: Random) -> Self {
        Self { outbox: Outbox::default() }
    }
    /// Opens a session with some element of the pool. Nothing fails at once: see the events.
    pub fn open(&mut self, now: Time, handle: PoolHandle, options: SessionOptions) -> SessionId {
        SessionId(0)
    }
    /// Opens a session with this element, as known from [`Event::Resolved`], without asking a registrar first. Should
    /// it fail, the session goes on like any other.
    pub fn open_at(
        &mut self,
        now: Time,
        handle: PoolHandle,
        element: PoolElement,
        options: SessionOptions,
    ) -> SessionId {
        SessionId(0)
    }
    /// Sends application data.
    pub fn send(
        &mut self,
        now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        Err(SendError::UnknownSession)
    }
    /// Ends a session gracefully.
    pub fn close(&mut self, now: Time, session: SessionId) {}
    /// Gives up the session's element; `report`: it was silent, tell the registrar.
    pub fn fail_over(&mut self, now: Time, session: SessionId, report: bool) {}
    /// Replaces the elements the session avoids from its next fail-over on.
    pub fn avoid(&mut self, session: SessionId, elements: BTreeSet<ElementId>) {}
    /// Aborts the links kept open for late messages of the session ([`SessionOptions::late_patience`]).
    pub fn forget_former(&mut self, now: Time, session: SessionId) {}
    /// The last cookie the session received.
    pub fn cookie(&self, session: SessionId) -> Option<&[u8]> {
        None
    }
    /// Resolves a pool handle: `Event::Resolved` follows. `count`: `u32::MAX` is all.
    pub fn resolve(&mut self, now: Time, handle: PoolHandle, count: u32) -> ResolutionId {
        ResolutionId(0)
    }
}

impl Node for PoolUser {
    type Event = Event;
    fn handle(&mut self, _now: Time, _input: Input) {}
    fn poll(&mut self) -> Option<Output<Event>> {
        self.outbox.take()
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}
