//! The pool element.

pub mod service;

use crate::wire::parameter::{ErrorCause, Transport};
use crate::{
    ElementId, Endpoint, Input, Node, Outbox, Output, Policy, PoolHandle, Random, RegistrarId, Time, Timing,
};
pub use service::{Replies, Reply, Service, SessionId};
use std::net::SocketAddr;

/// Settings of a pool element.
#[derive(Clone, Debug)]
pub struct Config {
    /// The pool to serve in.
    pub handle: PoolHandle,
    /// Its identifier; `None`: drawn at random.
    pub id: Option<ElementId>,
    /// How it wants to be chosen; for adaptive policies the load is filled in from the service.
    pub policy: Policy,
    /// Where its sessions are accepted.
    pub user_transport: Transport,
    /// Registrars to try, any order; more may be learnt from announcements.
    pub registrars: Vec<Endpoint>,
    /// Where registrars reach this element over TCP (our parameter 0xbf05, told to registrars on TCP links only);
    /// `None`: nowhere. Over SCTP they come back to the endpoint the element registered from.
    pub asap_tcp: Option<SocketAddr>,
    /// Sessions served at the same time; further ones are aborted. The service may want fewer.
    pub sessions_max: usize,
    /// Timers.
    pub timing: Timing,
}

impl Config {
    /// Settings of an element of this pool; what is not said has its default.
    pub fn new(
        handle: PoolHandle,
        policy: Policy,
        user_transport: Transport,
        registrars: Vec<Endpoint>,
    ) -> Self {
        Self {
            handle,
            id: None,
            policy,
            user_transport,
            registrars,
            asap_tcp: None,
            sessions_max: 1024, // more sockets than that is the usual limit of a process
            timing: Timing::default(),
        }
    }
}

/// What a pool element tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<W> {
    /// Registered, or registered anew after a change of home.
    Registered {
        /// The registrar, once it is known.
        home: Option<RegistrarId>,
    },
    /// The registrar refused; the element stays unregistered until something is changed.
    Refused {
        /// Why.
        causes: Vec<ErrorCause>,
    },
    /// The home was lost; a new one is being sought.
    HomeLost,
    /// No registrar answered in a whole round of the hunt; the hunt goes on.
    NoRegistrar {
        /// How many were tried.
        tried: usize,
    },
    /// The deregistration asked for is done (or nobody was there to confirm it).
    Deregistered,
    /// The service asks its world for something.
    Wish(W),
}

/// A pool element: keeps a registration alive and serves sessions.
pub struct PoolElement<S: Service> {
    service: S,
    outbox: Outbox<Event<S::Wish>>,
}

#[allow(missing_docs, unused_variables)]
impl<S: Service> PoolElement<S> {
    pub fn new(config: Config, service: S, random: Random) -> Self {
        Self { service, outbox: Outbox::default() }
    }
    pub fn id(&self) -> ElementId {
        ElementId::UNDEFINED
    }
    pub fn home(&self) -> Option<RegistrarId> {
        None
    }
    pub fn service(&self) -> &S {
        &self.service
    }
    /// Tells the service something its world knows.
    pub fn inform(&mut self, now: Time, fact: S::Fact) {}
    /// Calls the service with replies at hand, for what its application decides (drain, say).
    pub fn with_service<R>(&mut self, now: Time, call: impl FnOnce(&mut S, &mut Replies<S::Wish>) -> R) -> R {
        call(&mut self.service, &mut Replies::default())
    }
    /// Wants to be chosen differently from now on: registers anew, also after a refusal.
    pub fn set_policy(&mut self, now: Time, policy: Policy) {}
    /// Is reached elsewhere from now on: registers anew, also after a refusal.
    pub fn set_user_transport(&mut self, now: Time, transport: Transport) {}
    /// Recommends these elements to its users, in this order, should it fail (a business card, RFC 5352 §3.9): to those
    /// connected at once, to later ones first of all. Empty, as at the start: no cards are sent.
    pub fn recommend(&mut self, now: Time, order: Vec<crate::wire::parameter::PoolElement>) {}
    /// Leaves the pool; `Event::Deregistered` follows. Sessions go on.
    pub fn deregister(&mut self, now: Time) {}
}

impl<S: Service> Node for PoolElement<S> {
    type Event = Event<S::Wish>;
    fn handle(&mut self, _now: Time, _input: Input) {}
    fn poll(&mut self) -> Option<Output<Self::Event>> {
        self.outbox.take()
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}
