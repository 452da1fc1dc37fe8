//! The pool element: keeps its registration alive and serves sessions (RFC 5352 §3).
//!
//! Two halves that know little of each other. Towards registrars (`membership.rs`) it finds a home, registers there,
//! renews, reports load, answers keep-alives, and follows when the home changes. Towards users (`sessions.rs`) it tells
//! its [`Service`] what they say and sends what the service replies. Registrars may all be gone: sessions go on.

mod membership;
pub mod service;
mod sessions;
#[cfg(test)]
mod tests;

use crate::home::{Home, Ignored};
use crate::wire::parameter::{self, ErrorCause, Transport};
use crate::{
    Door, ElementId, Ending, Endpoint, Input, Node, Outbox, Output, Policy, PoolHandle, Random, RegistrarId,
    Role, Time, Timers, Timing,
};
use membership::Membership;
use sessions::Sessions;
use std::net::SocketAddr;

pub use service::{Replies, Reply, Service, SessionId};

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
    /// The registration ended without being asked to (its life was over); the element registers again at once.
    Expired,
    /// The home was lost; a new one is being sought.
    HomeLost,
    /// No registrar answered in a whole round of the hunt; the hunt goes on, with a longer patience.
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
    config: Config,
    id: ElementId,
    service: S,
    random: Random,
    home: Home,
    membership: Membership,
    sessions: Sessions,
    timers: Timers<Timer>,
    outbox: Outbox<Event<S::Wish>>,
    ignored: Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// T4-reregistration, or the pause before registering at a new home.
    Register,
    /// The pause after a registration during which load is not reported.
    LoadReport,
    /// The user of this session has been silent for too long.
    Silence(SessionId),
}

impl<S: Service> PoolElement<S> {
    /// An element that looks for a registrar and registers as soon as its world wakes it.
    pub fn new(config: Config, service: S, mut random: Random) -> Self {
        let id = config.id.unwrap_or_else(|| ElementId(random.nonzero_u32()));
        let registrars = config.registrars.clone();
        let home = Home::new(Role::Element, id.0, registrars, &config.timing, random.fork());
        Self {
            config,
            id,
            service,
            random,
            home,
            membership: Membership::default(),
            sessions: Sessions::default(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            ignored: Ignored::default(),
        }
    }

    /// Its identifier. Drawn anew if a registrar says that somebody else has it, unless it was configured.
    pub fn id(&self) -> ElementId {
        self.id
    }

    /// The registrar that watches it: known once it announced itself or sent a keep-alive.
    pub fn home(&self) -> Option<RegistrarId> {
        Some(self.home.id()).filter(|id| id.is_defined())
    }

    /// True while a registrar has confirmed it and no failure is known.
    pub fn is_registered(&self) -> bool {
        self.membership.is_registered()
    }

    /// How many sessions it serves.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// What was received and ignored.
    pub fn ignored(&self) -> Ignored {
        let home = self.home.ignored();
        Ignored {
            malformed: self.ignored.malformed + home.malformed,
            unexpected: self.ignored.unexpected + home.unexpected,
            excess: self.ignored.excess + home.excess,
        }
    }

    /// Tells the service something its world knows.
    pub fn inform(&mut self, now: Time, fact: S::Fact) {
        self.serve(now, |service, replies| service.informed(now, fact, replies));
    }

    /// Calls the service with replies at hand, for what its application decides (drain, say).
    pub fn with_service<R>(&mut self, now: Time, call: impl FnOnce(&mut S, &mut Replies<S::Wish>) -> R) -> R {
        self.serve(now, call)
    }

    /// Wants to be chosen differently from now on: registers anew, also after a refusal.
    pub fn set_policy(&mut self, now: Time, policy: Policy) {
        self.config.policy = policy;
        self.changed(now);
    }

    /// Is reached elsewhere from now on: registers anew, also after a refusal.
    pub fn set_user_transport(&mut self, now: Time, transport: Transport) {
        self.config.user_transport = transport;
        self.changed(now);
    }

    /// Its host has other addresses than before, and it is reached at this transport from now on: registers anew without
    /// leaving the pool. Registrars believe only addresses that the link shows them, and a link over SCTP shows those of its
    /// beginning: for addresses that were not there before a new link to the home takes the place of the present one.
    pub fn readdress(&mut self, now: Time, transport: Transport) {
        let before = std::mem::replace(&mut self.config.user_transport, transport);
        let known = before.addresses();
        let new = self.config.user_transport.addresses().iter().any(|address| !known.contains(address));
        if !(new && self.home.renew(&mut self.outbox)) {
            self.changed(now);
        }
    }

    /// Recommends these elements to its users, in this order, should it fail (a business card, RFC 5352 §3.9): to those
    /// connected at once, to later ones first of all. Empty, as at the start: no cards are sent. At most 128 count.
    pub fn recommend(&mut self, now: Time, order: Vec<parameter::PoolElement>) {
        let _ = now; // nothing waits for it
        self.send_cards(order);
    }

    /// Leaves the pool; `Event::Deregistered` follows. Sessions go on.
    pub fn deregister(&mut self, now: Time) {
        self.leave(now);
    }

    /// Audits the structure against itself; panics with the reason if it is inconsistent.
    pub fn check(&self) {
        self.home.check();
        self.sessions.check();
        assert!(self.sessions.len() <= self.config.sessions_max, "no more sessions than allowed");
        self.membership.check();
    }
}

impl<S: Service> Node for PoolElement<S> {
    type Event = Event<S::Wish>;

    fn handle(&mut self, now: Time, input: Input) {
        let out = &mut self.outbox;
        match input {
            Input::Accepted { link, door: Door::Asap, peer } => self.home.accepted(link, peer, out),
            Input::Accepted { link, door: Door::Service, peer } => self.session_opened(now, link, &peer),
            Input::Accepted { link, door: Door::Enrp, .. } => out.close(link, Ending::Abort),
            Input::Opened { link, .. } => self.home.opened(now, link, out),
            Input::Message { link, ppid, bytes } if self.home.owns(link) => {
                self.home.message(now, link, ppid, &bytes, out);
            }
            Input::Message { link, ppid, bytes } => self.session_message(now, link, ppid, &bytes),
            Input::Closed { link, .. } if self.home.owns(link) => self.home.closed(now, link, out),
            Input::Closed { link, .. } => self.session_closed(now, link),
            Input::Heard { channel: crate::Channel::Asap, from, bytes } => {
                self.home.heard(now, from, &bytes, out);
            }
            Input::Heard { channel: crate::Channel::Enrp, .. } => self.ignored.unexpected += 1,
            Input::Wake => {
                self.home.wake(now, out);
                while let Some((due, timer)) = self.timers.take_due(now) {
                    match timer {
                        Timer::Register => self.register(now),
                        Timer::LoadReport => self.report_load(now),
                        Timer::Silence(session) => self.user_silent(now, due, session),
                    }
                }
                if self.service.deadline().is_some_and(|at| at <= now) {
                    self.serve(now, |service, replies| service.wake(now, replies));
                }
            }
            Input::Deaf { span } => {
                self.home.deaf(span);
                self.timers.postpone(span, |timer| matches!(timer, Timer::Silence(_)));
            }
        }
        self.obey_news(now);
    }

    fn poll(&mut self) -> Option<Output<Self::Event>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        [self.home.deadline(), self.timers.next(), self.service.deadline()].into_iter().flatten().min()
    }
}
