//! What an application implements to serve sessions.
//!
//! A service is pure like everything here: it is told facts and answers through [`Replies`]. What only its world can do
//! (compute for a second, run a program) it asks for as a [`Service::Wish`]; the outcome comes back as a
//! [`Service::Fact`]. The same service runs in the simulator and on a real machine.
//!
//! A whole service, which sums numbers. The cookie is the sum so far, so any element of the pool can go on:
//!
//! ```
//! use rserpool::element::{Replies, Service, SessionId};
//! use rserpool::{Load, Ppid, Time};
//! use std::collections::BTreeMap;
//!
//! #[derive(Default)]
//! pub struct Adder {
//!     sums: BTreeMap<SessionId, u64>,
//! }
//!
//! impl Service for Adder {
//!     type Wish = ();
//!     type Fact = ();
//!
//!     fn opened(&mut self, _: Time, session: SessionId, _: &mut Replies<()>) {
//!         self.sums.insert(session, 0);
//!     }
//!     fn resume(&mut self, _: Time, session: SessionId, cookie: &[u8], _: &mut Replies<()>) {
//!         if let Ok(sum) = cookie.try_into().map(u64::from_be_bytes) {
//!             self.sums.insert(session, sum);
//!         }
//!     }
//!     fn message(&mut self, _: Time, session: SessionId, ppid: Ppid, bytes: &[u8], replies: &mut Replies<()>) {
//!         let Ok(number) = bytes.try_into().map(u64::from_be_bytes) else { return };
//!         let sum = self.sums.entry(session).or_default();
//!         *sum = sum.wrapping_add(number);
//!         replies.send(session, ppid, sum.to_be_bytes());
//!         replies.cookie(session, sum.to_be_bytes()); // after the data it covers
//!     }
//!     fn closed(&mut self, _: Time, session: SessionId, _: &mut Replies<()>) {
//!         self.sums.remove(&session);
//!     }
//!     fn informed(&mut self, _: Time, _: (), _: &mut Replies<()>) {}
//!     fn load(&self) -> Load {
//!         Load::from_ratio(self.sums.len() as u64, 100)
//!     }
//! }
//! ```

use crate::{Endpoint, Load, Ppid, Time};
use std::fmt;

/// A session as its element sees it. Never used twice by one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An application behind a pool element.
pub trait Service {
    /// What it asks of its world.
    type Wish;
    /// What its world tells it.
    type Fact;

    /// A user began a session. A cookie echo, if there is one, comes next, before any message.
    fn opened(&mut self, now: Time, session: SessionId, replies: &mut Replies<Self::Wish>);

    /// The same, for services that want to know where the user is: `peer` has all addresses the transport knows of it.
    /// This one is called.
    fn opened_by(
        &mut self,
        now: Time,
        session: SessionId,
        peer: &Endpoint,
        replies: &mut Replies<Self::Wish>,
    ) {
        let _ = peer;
        self.opened(now, session, replies);
    }

    /// The user continues what another element began: this is the last cookie it received (RFC 5352 §3.8). The cookie
    /// came over the network: the service verifies it before it believes it.
    fn resume(&mut self, now: Time, session: SessionId, cookie: &[u8], replies: &mut Replies<Self::Wish>);

    /// The user sent a message.
    fn message(
        &mut self,
        now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<Self::Wish>,
    );

    /// The session is over; nothing can be sent any more. Told once for every session, also after [`Replies::close`] and
    /// [`Replies::abort`].
    fn closed(&mut self, now: Time, session: SessionId, replies: &mut Replies<Self::Wish>);

    /// The world reports.
    fn informed(&mut self, now: Time, fact: Self::Fact, replies: &mut Replies<Self::Wish>);

    /// When the service wants [`Self::wake`].
    fn deadline(&self) -> Option<Time> {
        None
    }

    /// The deadline passed.
    fn wake(&mut self, _now: Time, _replies: &mut Replies<Self::Wish>) {}

    /// The share of its capacity in use; reported to the registrar when it changes and the policy is adaptive.
    fn load(&self) -> Load;
}

/// What a service wants done, in order.
#[derive(Debug)]
pub struct Replies<W> {
    pub(crate) replies: Vec<Reply<W>>,
}

impl<W> Default for Replies<W> {
    fn default() -> Self {
        Self { replies: Vec::new() }
    }
}

/// One reply. Public so that a service can be tested on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<W> {
    /// A message to the user.
    Send(SessionId, Ppid, Vec<u8>),
    /// A cookie: what another element needs to go on from here. Send it after the data it covers.
    Cookie(SessionId, Vec<u8>),
    /// End the session gracefully.
    Close(SessionId),
    /// End the session at once, with what was sent before lost: what came is not the service's protocol.
    Abort(SessionId),
    /// A wish to the world.
    Wish(W),
}

impl<W> Replies<W> {
    /// Sends a message to the user. PPID 11 is the control channel's and refused by debug assertion.
    pub fn send(&mut self, session: SessionId, ppid: Ppid, bytes: impl Into<Vec<u8>>) {
        debug_assert!(ppid != Ppid::ASAP && ppid != Ppid::LINK, "application data must not use {ppid:?}");
        self.replies.push(Reply::Send(session, ppid, bytes.into()));
    }

    /// Gives the user a new cookie: 1 to 60,000 octets, better a multiple of 4 (the reference needs that).
    pub fn cookie(&mut self, session: SessionId, cookie: impl Into<Vec<u8>>) {
        self.replies.push(Reply::Cookie(session, cookie.into()));
    }

    /// Ends the session after what was sent so far.
    pub fn close(&mut self, session: SessionId) {
        self.replies.push(Reply::Close(session));
    }

    /// Ends the session at once; what was sent before may be lost.
    pub fn abort(&mut self, session: SessionId) {
        self.replies.push(Reply::Abort(session));
    }

    /// Asks the world for something.
    pub fn wish(&mut self, wish: W) {
        self.replies.push(Reply::Wish(wish));
    }

    /// Takes everything said so far, in order.
    pub fn take(&mut self) -> Vec<Reply<W>> {
        std::mem::take(&mut self.replies)
    }
}
