//! Being a member of a pool (RFC 5352 §3.1, 3.2, 3.4).
//!
//! ```text
//!   Joining --- accepted ---> Registered --- home lost, life over ---> Joining
//!      |                          |
//!      '-------- refused ---------'---> Refused --- something changed, or a new home ---> Joining
//!   any --- deregister ---> Leaving --- confirmed, or nobody there ---> Left
//! ```
//!
//! At most one registration is under way. What changes meanwhile is told with the next one.

use super::{Event, PoolElement, Service, Timer};
use crate::home::{News, RequestId, registration_jitter};
use crate::wire::asap::Message;
use crate::wire::parameter::{self, CauseCode, ErrorCause, Life};
use crate::{ElementId, Load, Ppid, Protocol, RegistrarId, Time};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// A load that differs by less from the one reported is not worth a message.
const LOAD_STEP: u32 = u32::MAX / 100;
/// Identifiers drawn anew in a row because a registrar said they are taken. Chance needs two at most.
const REDRAWS_MAX: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Membership {
    state: State,
    /// The registration or deregistration under way.
    request: Option<RequestId>,
    /// When the last registration was sent, and with which load; `None`: there was none.
    told: Option<(Time, Load)>,
    /// Something changed while a registration was under way.
    again: bool,
    /// The application knows that it is registered at this home.
    known: bool,
    redraws: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Joining,
    Registered,
    Refused,
    Leaving,
    Left,
}

impl Membership {
    pub(super) fn is_registered(&self) -> bool {
        self.state == State::Registered
    }

    pub(super) fn check(&self) {
        assert!(self.state != State::Left || self.request.is_none(), "who left asks nothing");
        assert!(self.state != State::Registered || self.told.is_some(), "who is registered asked for it");
    }
}

impl<S: Service> PoolElement<S> {
    /// Obeys what became known about registrars.
    pub(super) fn obey_news(&mut self, now: Time) {
        while let Some(news) = self.home.take_news() {
            match news {
                News::Found => self.home_found(now),
                News::Lost => self.home_lost(),
                News::NoRegistrar { tried } => self.no_registrar(tried),
                News::Answered { request, answer } if self.membership.request == Some(request) => {
                    self.membership.request = None;
                    self.answered(now, answer);
                }
                News::Failed { request, causes } if self.membership.request == Some(request) => {
                    self.membership.request = None;
                    self.refused(causes);
                }
                News::KeepAlive { link, server, home, handle, element } => {
                    // KA1: a pool handle that is not ours is passed over in silence; a PE identifier likewise.
                    let mine = handle == self.config.handle && element.is_none_or(|id| id == self.id);
                    if !mine || matches!(self.membership.state, State::Leaving | State::Left) {
                        self.ignored.unexpected += 1;
                        continue;
                    }
                    // KA2: first the sign of life, on the link of the one who asked; then, if it wants to, it is home.
                    let ack = Message::EndpointKeepAliveAck { handle, element: self.id };
                    self.outbox.send(link, Ppid::ASAP, ack.emit());
                    if home {
                        self.home.adopt(now, link, server, &mut self.outbox);
                    }
                }
                News::Expired { handle, element } => self.expired(now, handle == self.config.handle, element),
                News::Answered { .. } | News::Failed { .. } | News::Unanswered { .. } => {}
            }
        }
    }

    /// Registers, or renews (RFC 5352 §3.1, R2-R4), unless that is under way.
    pub(super) fn register(&mut self, now: Time) {
        if !matches!(self.membership.state, State::Joining | State::Registered) {
            return;
        }
        if self.membership.request.is_some() {
            self.membership.again = true;
            return;
        }
        let load = self.service.load();
        let element = self.description(load);
        let message = Message::Registration { handle: self.config.handle, element };
        self.membership.again = false;
        self.membership.told = Some((now, load));
        self.membership.request = Some(self.home.request(now, message, &mut self.outbox));
        self.timers.clear(&Timer::Register);
        self.timers.clear(&Timer::LoadReport);
    }

    /// Compares the load with the one reported last; reports it if it changed enough, at the earliest one gap after
    /// the last report, then with the value of that moment.
    pub(super) fn report_load(&mut self, now: Time) {
        let (State::Registered, None, Some((at, reported))) =
            (self.membership.state, self.membership.request, self.membership.told)
        else {
            return; // looked at again when the registration under way is answered
        };
        let changed =
            self.config.policy.is_adaptive() && self.service.load().0.abs_diff(reported.0) >= LOAD_STEP;
        if !changed {
            self.timers.clear(&Timer::LoadReport);
        } else if now >= at + self.config.timing.load_report_gap {
            self.register(now);
        } else {
            self.timers.set(Timer::LoadReport, at + self.config.timing.load_report_gap);
        }
    }

    /// The application changed what is registered: an error may be corrected by it, so a refusal is forgotten.
    pub(super) fn changed(&mut self, now: Time) {
        if self.membership.state == State::Refused {
            self.membership.state = State::Joining;
        }
        self.register(now);
        self.obey_news(now);
    }

    /// Leaves the pool (RFC 5352 §3.2).
    pub(super) fn leave(&mut self, now: Time) {
        if matches!(self.membership.state, State::Leaving | State::Left) {
            return;
        }
        if let Some(request) = self.membership.request.take() {
            self.home.cancel(request);
        }
        self.timers.clear(&Timer::Register);
        self.timers.clear(&Timer::LoadReport);
        self.membership.state = State::Leaving;
        if self.membership.told.is_some() {
            self.deregister_at_home(now);
        } else {
            self.left();
        }
        self.obey_news(now);
    }

    fn deregister_at_home(&mut self, now: Time) {
        let message = Message::Deregistration { handle: self.config.handle, element: self.id };
        self.membership.request = Some(self.home.request(now, message, &mut self.outbox));
    }

    /// What is registered. The registration life is in milliseconds, as RSPLIB has it (RFC 5354 §3.10: seconds).
    fn description(&self, load: Load) -> parameter::PoolElement {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let over_tcp = self.home.protocol() == Some(Protocol::Tcp);
        let life = self.config.timing.registration_life.as_millis().min(u128::from(u32::MAX - 1)) as u32;
        parameter::PoolElement {
            id: self.id,
            home: self.home.id(),
            life: Life(life),
            user_transport: self.config.user_transport.clone(),
            policy: self.config.policy.clone().with_load(load),
            asap_transport: None,
            asap_tcp: over_tcp.then(|| self.config.asap_tcp.unwrap_or(nowhere)),
        }
    }

    /// T4, and in any case well within the life promised.
    fn renewal_pause(&self) -> Duration {
        let timing = &self.config.timing;
        timing.reregistration_interval.min(timing.registration_life / 2)
    }

    /// There is a (new) home: it is told about us at once if nobody knows us yet. Otherwise after a random pause, since
    /// everyone who had the old home changes at the same moment. A refusal may have been that registrar's own view, so
    /// the new one is asked.
    fn home_found(&mut self, now: Time) {
        self.membership.request = None; // dropped with the old home
        self.membership.known = false;
        match self.membership.state {
            State::Leaving => self.deregister_at_home(now),
            State::Left => {}
            State::Joining | State::Registered | State::Refused => {
                if self.membership.state == State::Refused {
                    self.membership.state = State::Joining;
                }
                if self.membership.told.is_none() {
                    self.register(now);
                } else {
                    let reach = registration_jitter(&self.config.timing).as_nanos() as u64;
                    let pause = Duration::from_nanos(self.random.below(reach + 1));
                    self.timers.set(Timer::Register, now + pause);
                }
            }
        }
    }

    fn home_lost(&mut self) {
        if self.membership.state == State::Registered {
            self.membership.state = State::Joining;
        }
        self.membership.known = false;
        self.timers.clear(&Timer::Register);
        if self.membership.state != State::Leaving {
            self.outbox.event(Event::HomeLost);
        }
    }

    fn no_registrar(&mut self, tried: usize) {
        match self.membership.state {
            State::Leaving => self.left(),
            State::Left => {}
            _ => self.outbox.event(Event::NoRegistrar { tried }),
        }
    }

    fn answered(&mut self, now: Time, answer: Message) {
        match answer {
            // Causes without the R flag are a warning: the registrar changed values, the registration stands.
            Message::RegistrationResponse { rejected: false, .. } => self.registered(now),
            Message::RegistrationResponse { causes, .. } => {
                let taken = causes.iter().any(|cause| cause.code == CauseCode::NON_UNIQUE_ELEMENT_ID);
                if taken && self.config.id.is_none() && self.membership.redraws < REDRAWS_MAX {
                    // Another identifier corrects the error, so asking again is allowed (RFC 5352 §3.1).
                    self.membership.redraws += 1;
                    self.id = ElementId(self.random.nonzero_u32());
                    self.home.rename(self.id.0);
                    self.register(now);
                } else {
                    self.refused(causes);
                }
            }
            Message::DeregistrationResponse { causes, .. } => {
                // A refusal to forget us changes nothing: the registration is not renewed, so its life will end.
                if !causes.is_empty() {
                    self.outbox.event(Event::Refused { causes });
                }
                self.left();
            }
            _ => {}
        }
    }

    fn registered(&mut self, now: Time) {
        self.membership.state = State::Registered;
        self.membership.redraws = 0;
        self.home.settled(&mut self.outbox);
        if !self.membership.known {
            self.membership.known = true;
            let home: Option<RegistrarId> = self.home();
            self.outbox.event(Event::Registered { home });
        }
        self.timers.set(Timer::Register, now + self.renewal_pause());
        if self.membership.again {
            self.register(now);
        } else {
            self.report_load(now);
        }
    }

    /// The registrar does not want us as we are. The same is not asked again (RFC 5352 §3.1).
    fn refused(&mut self, causes: Vec<ErrorCause>) {
        self.outbox.event(Event::Refused { causes });
        if self.membership.state == State::Leaving {
            self.left();
        } else {
            self.membership.state = State::Refused;
            self.membership.known = false;
            self.timers.clear(&Timer::Register);
        }
    }

    /// The home says that our registration is over, though we did not ask (RFC 5352 §3.2): it came too late.
    fn expired(&mut self, now: Time, our_pool: bool, element: ElementId) {
        if !our_pool || element != self.id || self.membership.state != State::Registered {
            self.ignored.unexpected += 1;
            return;
        }
        self.membership.state = State::Joining;
        self.membership.known = false;
        self.outbox.event(Event::Expired);
        self.register(now);
    }

    fn left(&mut self) {
        self.membership.state = State::Left;
        self.membership.request = None;
        self.home.rest(&mut self.outbox);
        self.outbox.event(Event::Deregistered);
    }
}
