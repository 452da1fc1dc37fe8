//! ASAP at the registrar: what elements and users ask, and what they are told (RFC 5352 §3).

use super::admission::{Refusal, lives_at, reachable_through};
use super::config::{ANSWER_OCTETS, ELEMENT_OCTETS, HOLD_MAX};
use super::gate::Gate;
use super::links::same_host;
use super::table::element_octets;
use super::{Event, Key, Registrar, Rejection, Removal, Timer};
use crate::handlespace::Registered;
use crate::wire::asap::{self, Message, Resolution};
use crate::wire::parameter::{CauseCode, ErrorCause, PoolElement};
use crate::{Door, ElementId, LinkId, PoolHandle, Ppid, Time};
use std::net::IpAddr;

/// A resolution that waits for the end of start-up.
pub(super) struct Held {
    pub link: LinkId,
    handle: PoolHandle,
    items: Option<u32>,
    until: Time,
}

impl Registrar {
    /// One ASAP message: the one place that lists them all.
    pub(super) fn asap(&mut self, now: Time, link: LinkId, bytes: &[u8]) {
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.reject(Some(Door::Asap), Rejection::Malformed);
                if let Some(complaint) = asap::complaint(bytes, &error) {
                    self.answer(link, &complaint);
                }
                return;
            }
        };
        match message {
            Message::Registration { handle, element } => self.registration(now, link, handle, element),
            Message::Deregistration { handle, element } => self.deregistration(now, link, handle, element),
            // The S flag (RFC 5352 §2.2.5) is not served: without the A flag in the answer a user does not count on
            // updates, and the reference's users abort when they get one.
            Message::HandleResolution { handle, items, .. } => self.resolution(now, link, handle, items),
            Message::EndpointKeepAliveAck { handle, element } => {
                self.keep_alive_ack(now, link, (handle, element));
            }
            Message::EndpointUnreachable { handle, element } => {
                self.endpoint_unreachable(now, link, (handle, element));
            }
            Message::PoolList { handle, after } => self.pool_list(link, handle, after),
            // Somebody did not understand us. There is nothing to repeat: every answer was made for its question.
            Message::Error { .. } => {}
            Message::RegistrationResponse { .. }
            | Message::DeregistrationResponse { .. }
            | Message::HandleResolutionResponse { .. }
            | Message::EndpointKeepAlive { .. }
            | Message::ServerAnnounce { .. }
            | Message::Cookie { .. }
            | Message::CookieEcho { .. }
            | Message::BusinessCard { .. }
            | Message::PoolListResponse { .. } => self.reject(Some(Door::Asap), Rejection::Unexpected),
        }
    }

    pub(super) fn answer(&mut self, link: LinkId, message: &Message) {
        self.outbox.send(link, Ppid::ASAP, message.emit());
    }

    /// Who is at the other end of a link, as far as an address tells.
    fn host(&self, link: LinkId) -> Option<IpAddr> {
        self.links.get(&link)?.end.addresses.first().copied()
    }

    /// Admits an element to a pool, or tells it why not (RFC 5352 §3.1).
    ///
    /// Admission makes this registrar the element's home (rule 4): it watches the element from now on and tells every
    /// peer, before the element itself, so that whoever hears of the success finds the element everywhere.
    fn registration(&mut self, now: Time, link: LinkId, handle: PoolHandle, asked: PoolElement) {
        let key = (handle, asked.id);
        match self.admit(now, link, key, asked) {
            Err(why) => {
                let causes = vec![self.refusal_cause(&why, &handle)];
                self.outbox.event(Event::RegistrationRefused { handle, element: key.1, why });
                let rejected =
                    Message::RegistrationResponse { rejected: true, handle, element: key.1, causes };
                self.answer(link, &rejected);
            }
            Ok(registered) => {
                self.counters.registrations += 1;
                self.told_of(key, self.id, &registered);
                if registered != Registered::New {
                    self.counters.reregistrations += 1;
                }
                self.watch(now, key, link);
                self.measure(now, key);
                self.announce_own(key);
                self.suggest_takeover(now, key);
                let granted =
                    Message::RegistrationResponse { rejected: false, handle, element: key.1, causes: vec![] };
                self.answer(link, &granted);
            }
        }
    }

    /// The cause of a refusal. Whoever does not fit the pool is shown what the pool has (RFC 5354 §3.12.6, §3.12.8).
    fn refusal_cause(&self, why: &Refusal, handle: &PoolHandle) -> ErrorCause {
        use crate::handlespace::Refusal::{PolicyMismatch, TransportMismatch};
        let mut members = self.handlespace.elements(None, Some((*handle, ElementId::UNDEFINED)));
        let member = members.next().filter(|(pool, _)| *pool == handle).map(|(_, element)| element);
        match (why, member) {
            (Refusal::Inadmissible(PolicyMismatch), Some(member)) => {
                ErrorCause::inconsistent_policy(&member.policy)
            }
            (Refusal::Inadmissible(TransportMismatch), Some(member)) => {
                ErrorCause::inconsistent_transport(&member.user_transport)
            }
            _ => why.cause(),
        }
    }

    fn admit(
        &mut self,
        now: Time,
        link: LinkId,
        key: Key,
        asked: PoolElement,
    ) -> Result<Registered, Refusal> {
        let rate = self.config.limits.registrations;
        let host = self.host(link);
        if !self.gates.pass(now, Gate::Registration, host, rate) {
            self.reject(Some(Door::Asap), Rejection::RateExceeded);
            return Err(Refusal::TooOften);
        }
        let known = self.links.get(&link).ok_or(Refusal::NoUsableAsapAddress)?;
        // Elements are passed on in messages with more around them.
        if element_octets(&asked) > ELEMENT_OCTETS {
            return Err(Refusal::LackOfResources);
        }
        let mut element = reachable_through(&known.end, self.config.minimum_scope, asked)?;
        element.home = self.id;
        let element = self.at_distance(key, element);

        // A second host that registers a connected element's identifier is another element that drew the same number
        // (RFC 5354 §4.5); from the same host it is the same element on a new link, before the old one's end was
        // noticed. An element of another registrar is taken over without asking (RFC 5352 §3.1 rule 4).
        let watched_over = self.watches.get(&key).and_then(|watch| watch.link);
        if let Some(other) =
            watched_over.filter(|other| *other != link).and_then(|other| self.links.get(&other))
            && other.up
            && !same_host(&other.end, &known.end)
        {
            return Err(Refusal::IdentifierInUse);
        }
        let new_on_link = !known.elements.contains(&key);
        if new_on_link && known.elements.len() >= self.config.limits.elements_per_link {
            return Err(Refusal::LackOfResources);
        }
        self.handlespace.register(&key.0, element).map_err(Refusal::Inadmissible)
    }

    /// Removes an element that asks for it over the link it registered through (RFC 5352 §3.2). An unknown element is
    /// removed as it wishes.
    fn deregistration(&mut self, now: Time, link: LinkId, handle: PoolHandle, element: ElementId) {
        let key = (handle, element);
        let causes = match self.may_remove(now, link, key) {
            Ok(()) => {
                self.counters.deregistrations += 1;
                // An element whose home is a peer becomes ours with this wish: the peers then hear of the removal from
                // somebody who may say so.
                self.claim(now, key);
                self.remove_own(now, key, Removal::Deregistered);
                Vec::new()
            }
            Err(why) => {
                if why == Refusal::NotOwner {
                    self.reject(Some(Door::Asap), Rejection::NotOwner);
                }
                vec![why.cause()]
            }
        };
        self.answer(link, &Message::DeregistrationResponse { handle, element, causes });
    }

    fn may_remove(&mut self, now: Time, link: LinkId, key: Key) -> Result<(), Refusal> {
        let rate = self.config.limits.registrations;
        let host = self.host(link);
        if !self.gates.pass(now, Gate::Registration, host, rate) {
            self.reject(Some(Door::Asap), Rejection::RateExceeded);
            return Err(Refusal::TooOften);
        }
        let Some(element) = self.handlespace.get(&key.0, key.1) else { return Ok(()) };
        let owner = match self.watches.get(&key).and_then(|watch| watch.link) {
            // Connected here: only that link speaks for it.
            Some(owner) => owner == link,
            // Not connected here (its home is a peer, or it is being taken over): its host speaks for it.
            None => self.links.get(&link).is_some_and(|known| lives_at(element, &known.end)),
        };
        if owner { Ok(()) } else { Err(Refusal::NotOwner) }
    }

    /// Selects elements of a pool (RFC 5352 §3.3).
    ///
    /// The RFC lists all elements, the reference as many as the request's option says, or three: with thousands of
    /// elements "all" is nobody's wish, and who wants them all can say so.
    fn resolution(&mut self, now: Time, link: LinkId, handle: PoolHandle, items: Option<u32>) {
        let rate = self.config.limits.resolutions;
        let host = self.host(link);
        if !self.gates.pass(now, Gate::Resolution, host, rate) {
            self.reject(Some(Door::Asap), Rejection::RateExceeded);
            self.resolution_failed(link, handle, CauseCode::LACK_OF_RESOURCES);
            return;
        }
        // Before start-up is over an unknown pool is no proof of absence. Later requests of the same link wait behind
        // it: users match answers to requests by their order.
        let unknown = !self.is_ready() && self.handlespace.pool_len(&handle) == 0;
        let behind = self.held.iter().any(|held| held.link == link);
        if (unknown || behind) && self.held.len() < self.config.limits.held_resolutions {
            self.held.push_back(Held { link, handle, items, until: now + HOLD_MAX });
            self.held_changed();
            return;
        }
        self.resolve(link, handle, items);
    }

    fn resolve(&mut self, link: LinkId, handle: PoolHandle, items: Option<u32>) {
        let limits = &self.config.limits;
        let wanted = items.filter(|&items| items > 0).unwrap_or(limits.items_default).min(limits.items_max);
        // Everybody asked for is in the answer as long as one message carries them.
        let mut answer = asap::Selection::new(&handle, ANSWER_OCTETS);
        let show = |element: &PoolElement| answer.push(element);
        self.handlespace.select_with(&handle, wanted as usize, &mut self.random, show);
        match answer.finish() {
            Some(octets) => {
                self.counters.resolutions += 1;
                self.outbox.send(link, Ppid::ASAP, octets);
            }
            None => self.resolution_failed(link, handle, CauseCode::UNKNOWN_POOL_HANDLE),
        }
    }

    fn resolution_failed(&mut self, link: LinkId, handle: PoolHandle, code: CauseCode) {
        self.counters.resolutions_failed += 1;
        let causes = vec![ErrorCause { code, info: Vec::new() }];
        let answer = Resolution::Failed { causes };
        self.answer(link, &Message::HandleResolutionResponse { accepted: false, handle, answer });
    }

    /// Answers the resolutions that were held back: all of them once start-up is over, before only those that have
    /// waited long enough.
    pub(super) fn answer_held(&mut self, now: Time) {
        while let Some(oldest) = self.held.front()
            && (self.phase.is_ready() || oldest.until <= now)
            && let Some(held) = self.held.pop_front()
        {
            self.resolve(held.link, held.handle, held.items);
        }
        self.held_changed();
    }

    /// Keeps the timer at the oldest resolution held back.
    pub(super) fn held_changed(&mut self) {
        match self.held.front() {
            Some(oldest) => self.timers.set(Timer::Held, oldest.until),
            None => {
                self.timers.clear(&Timer::Held);
            }
        }
    }

    /// Lists pools with their elements (our private message 0x41), in order of handle and identifier, as much as fits
    /// into one message: the M flag asks to go on behind the last entry.
    fn pool_list(&mut self, link: LinkId, only: Option<PoolHandle>, after: Option<Key>) {
        // No element has the identifier 0, so everything of a pool lies behind it.
        let start = after.or(only.map(|handle| (handle, ElementId::UNDEFINED)));
        let part = self.part(None, only, start, ANSWER_OCTETS / 4, usize::MAX);
        let (more, server) = (part.more, self.id);
        self.answer(link, &Message::PoolListResponse { more, server, pools: part.pools });
    }
}
