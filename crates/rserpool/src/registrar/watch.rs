//! Watching over elements: signs of life, reports, life times, and the adoption of orphans (RFC 5352 §3.4, §3.5).
//!
//! ```text
//!   registered --> Idle --pause over, or reported--> Asked --half the patience--> asked again --the rest--> gone
//!                   ^                                  |                               |
//!                   '------------ answer --------------'-------------------------------'
//! ```
//!
//! The pause is jittered by half of itself, so that the questions to many elements spread (RFC 5352 §3.5). An element
//! taken over begins in Asked, with the H flag set: its answer makes this registrar its home (RFC 5353 §3.5.2).

use super::admission::asap_endpoint;
use super::config::PROBE_GAP;
use super::distance::RoundTrip;
use super::gate::{Gate, prefix};
use super::{Event, Key, Registrar, Rejection, Removal, Timer, overslept};
use crate::wire::asap::Message;
use crate::wire::enrp::UpdateAction;
use crate::wire::parameter::Life;
use crate::{Door, Ending, Endpoint, LinkId, Protocol, Time};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// The questions of one pause are asked in so many groups.
const KEEP_ALIVE_GROUPS: u32 = 32;

/// What a registrar knows of an element it is home of, besides the entry in its handlespace.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The link it registered over, or over which it is being adopted; `None`: it waits for its turn to be adopted, or
    /// has nowhere to be reached.
    pub link: Option<LinkId>,
    /// The question it has not answered yet.
    asked: Option<Asked>,
    /// When it was last asked.
    last_asked: Option<Time>,
    /// How long its answers take.
    pub round_trip: RoundTrip,
    /// Who reported it, and when; forgotten when it answers.
    reports: BTreeMap<IpAddr, Time>,
    /// A peer said it was gone: if it answers, the peers are told that it is not.
    pub deny: bool,
    /// Its home was contested since it registered last, and decided by its own answer: that is enough.
    pub settled: bool,
}

/// A question under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Once,
    Twice,
}

impl Registrar {
    /// Watches over an element from now on: it registered over this link.
    pub(super) fn watch(&mut self, now: Time, key: Key, link: LinkId) {
        self.adopted(now, key);
        // Over another link it may be another way.
        let known = self.watches.get(&key).filter(|watch| watch.link == Some(link));
        let round_trip = known.map(|watch| watch.round_trip).unwrap_or_default();
        let before = self.watches.insert(key, Watch { link: Some(link), round_trip, ..Watch::default() });
        if let Some(old) = before.and_then(|watch| watch.link).filter(|old| *old != link) {
            self.unbind(key, old);
        }
        if let Some(known) = self.links.get_mut(&link) {
            known.elements.insert(key);
        }
        // Only now that the link is needed: ending what was asked over it would close it, if it is one of ours.
        self.end_contest(key);
        self.end_probe(key);
        self.start_pause(now, key);
        self.start_life(now, key);
    }

    /// Takes the element away from a link it is no longer watched over.
    fn unbind(&mut self, key: Key, link: LinkId) {
        if let Some(known) = self.links.get_mut(&link) {
            known.elements.remove(&key);
        }
        self.release_link(link);
    }

    fn start_pause(&mut self, now: Time, key: Key) {
        let interval = self.config.timing.keep_alive_interval;
        let due = now + self.random.jittered(interval, 500);
        // A little earlier, together with others: a registrar that asks them at one waking hears them at one, too.
        self.timers.set(Timer::KeepAlive(key), due.floor(interval / KEEP_ALIVE_GROUPS));
    }

    /// (Re)starts the life of a registration (RFC 5352 §2.2.1): at its home it ends with the next missed renewal, at
    /// other registrars when the home stopped telling of renewals.
    pub(super) fn start_life(&mut self, now: Time, key: Key) {
        match self.handlespace.get(&key.0, key.1).and_then(|element| life(element.life)) {
            Some(span) => self.timers.set(Timer::Life(key), now + span),
            None => {
                self.timers.clear(&Timer::Life(key));
            }
        }
    }

    /// Stops watching over an element, whatever becomes of it. Its link, if it is still up.
    pub(super) fn unwatch(&mut self, now: Time, key: Key) -> Option<LinkId> {
        self.timers.clear(&Timer::KeepAlive(key));
        self.adopted(now, key);
        let link = self.watches.remove(&key)?.link?;
        let known = self.links.get_mut(&link)?;
        known.elements.remove(&key);
        Some(link)
    }

    /// Removes an element this registrar is home of and tells the peers (RFC 5353 §3.3.2).
    pub(super) fn remove_own(&mut self, now: Time, key: Key, why: Removal) {
        let link = self.unwatch(now, key);
        self.forget(key, why, UpdateAction::Delete);
        if let Some(link) = link {
            self.release_link(link);
        }
    }

    /// Removes an entry and everything that waits for it.
    pub(super) fn forget(&mut self, key: Key, why: Removal, tell: UpdateAction) {
        self.timers.clear(&Timer::Life(key));
        self.end_probe(key);
        let Some(element) = self.handlespace.remove(&key.0, key.1) else { return };
        self.outbox.event(Event::ElementRemoved { handle: key.0, element: key.1, home: element.home, why });
        if tell == UpdateAction::Delete && element.home == self.id {
            self.tell_peers(UpdateAction::Delete, key.0, element);
        }
    }

    /// Asks an element for a sign of life over the link it is watched over.
    fn ask(&mut self, now: Time, key: Key) {
        let Some(watch) = self.watches.get_mut(&key) else { return };
        watch.last_asked = Some(now);
        let Some(link) = watch.link else { return };
        let home = self.adopting.contains(&key);
        self.send_keep_alive(link, key, home);
    }

    pub(super) fn send_keep_alive(&mut self, link: LinkId, key: Key, home: bool) {
        self.counters.keep_alives += 1;
        let (handle, element) = key;
        let ask = Message::EndpointKeepAlive { home, server: self.id, handle, element: Some(element) };
        self.answer(link, &ask);
    }

    pub(super) fn keep_alive_due(&mut self, now: Time, at: Time, key: Key) {
        let patience = self.config.timing.keep_alive_timeout;
        let Some(watch) = self.watches.get_mut(&key) else { return };
        let half = patience / 2;
        let late = overslept(now, at, half);
        let (asked, patience) = match watch.asked {
            // A link is reliable, but a question may have crossed with the element's change of links.
            Some(Asked::Once) if !late => (Asked::Twice, patience - half),
            Some(Asked::Twice) if !late => return self.convict(now, key),
            // Nothing was asked yet, or we slept over the answer: all its patience is before it.
            _ => (Asked::Once, half),
        };
        watch.asked = Some(asked);
        // The answer to one of two questions tells nothing of the way.
        if asked == Asked::Once {
            watch.round_trip.asks(now)
        } else {
            watch.round_trip.forget()
        }
        self.timers.set(Timer::KeepAlive(key), now + patience);
        self.ask(now, key);
    }

    /// An element did not answer: it is gone (RFC 5352 §3.5). If its process only hung, the end of its link tells it.
    fn convict(&mut self, now: Time, key: Key) {
        let link = self.watches.get(&key).and_then(|watch| watch.link);
        let why = if link.is_some() { Removal::Silent } else { Removal::Unreachable };
        self.remove_own(now, key, why);
        let Some(link) = link else { return };
        if self.links.get(&link).is_some_and(|known| known.elements.is_empty() && known.probed.is_empty()) {
            self.end_link(now, link, Ending::Abort);
        }
    }

    /// An element lives. Only the link it is watched over can say so.
    pub(super) fn keep_alive_ack(&mut self, now: Time, link: LinkId, key: Key) {
        if self.contest_answered(now, link, key)
            || self.wooing_answered(now, link, key)
            || self.probe_answered(link, key)
        {
            return;
        }
        let Some(watch) = self.watches.get_mut(&key) else { return };
        if watch.link != Some(link) {
            self.reject(Some(Door::Asap), Rejection::NotOwner);
            return;
        }
        watch.asked = None;
        watch.round_trip.hears(now);
        watch.reports.clear();
        let deny = std::mem::take(&mut watch.deny);
        self.start_pause(now, key);
        // The first answer to a question with the H flag is the element's word that this is its home now.
        if self.adopted(now, key) || deny {
            self.announce_own(key);
        }
        self.measured(key);
    }

    pub(super) fn life_over(&mut self, now: Time, at: Time, key: Key) {
        let Some(element) = self.handlespace.get(&key.0, key.1) else { return };
        let Some(span) = life(element.life) else { return };
        if overslept(now, at, span) {
            self.timers.set(Timer::Life(key), now + span);
            return;
        }
        if element.home != self.id {
            // Its home said nothing for a whole life. A peer that lives and still has it heals this by the audit.
            self.forget(key, Removal::LifeOver, UpdateAction::Other(0));
            return;
        }
        let link = self.watches.get(&key).and_then(|watch| watch.link);
        self.remove_own(now, key, Removal::LifeOver);
        // RFC 5352 §3.2 tells the element with an unasked response. The reference's elements abort their link and lose
        // all their registrations when they hear one, so it is said over TCP only, where they never are.
        let over_tcp = |link: &LinkId| {
            self.links.get(link).is_some_and(|known| known.end.protocol == Protocol::Tcp && known.up)
        };
        if let Some(link) = link.filter(over_tcp) {
            let (handle, element) = key;
            self.answer(link, &Message::DeregistrationResponse { handle, element, causes: Vec::new() });
        }
    }

    /// A user could not reach an element (RFC 5352 §3.5): it is asked at once. Reports alone remove it only when more
    /// than [`bad_reports_max`](crate::Timing::bad_reports_max) users agree within the window and it has not answered
    /// since.
    pub(super) fn endpoint_unreachable(&mut self, now: Time, link: LinkId, key: Key) {
        let reporter = self.links.get(&link).and_then(|known| known.end.addresses.first().copied());
        if !self.gates.pass(now, Gate::Report, reporter, self.config.limits.reports) {
            self.reject(Some(Door::Asap), Rejection::RateExceeded);
            return;
        }
        self.counters.failure_reports += 1;
        let timing = &self.config.timing;
        let Some(watch) = self.watches.get_mut(&key) else {
            self.probe(now, key);
            return;
        };
        watch.reports.retain(|_, reported| now.since(*reported) <= timing.bad_reports_window);
        watch.reports.insert(reporter.map_or(IpAddr::from([0; 4]), prefix), now);
        if watch.reports.len() > timing.bad_reports_max as usize {
            self.remove_own(now, key, Removal::Reported);
            return;
        }
        self.ask_soon(now, key);
    }

    /// A peer says that an element of ours is gone: the element is asked, and its answer passed on.
    pub(super) fn doubt(&mut self, now: Time, key: Key) {
        if let Some(watch) = self.watches.get_mut(&key) {
            watch.deny = true;
            self.ask_soon(now, key);
        }
    }

    /// Asks an element at once, unless it was asked a moment ago: nobody makes us flood it.
    fn ask_soon(&mut self, now: Time, key: Key) {
        let Some(watch) =
            self.watches.get(&key).filter(|watch| watch.link.is_some() && watch.asked.is_none())
        else {
            return;
        };
        match watch.last_asked.map(|last| last + PROBE_GAP).filter(|next| *next > now) {
            Some(next) => self.timers.set(Timer::KeepAlive(key), next),
            None => self.keep_alive_due(now, now, key),
        }
    }
}

/// The adoption of orphans: elements whose home was taken over by this registrar.
impl Registrar {
    /// Makes this registrar the home of a dead peer's element; its answer will confirm it. Many at once wait for their
    /// turn, so that a takeover opens no more links than it may.
    pub(super) fn adopt(&mut self, now: Time, key: Key) {
        self.end_probe(key);
        self.watches.insert(key, Watch::default());
        self.start_life(now, key);
        self.unadopted.push_back(key);
        self.adopt_next(now);
    }

    fn adopt_next(&mut self, now: Time) {
        while self.adopting.len() < self.config.limits.adoptions
            && let Some(key) = self.unadopted.pop_front()
        {
            // It may have registered, or vanished, while it waited.
            let Some(element) = self.handlespace.get(&key.0, key.1) else { continue };
            let to = asap_endpoint(element);
            let Some(watch) = self.watches.get_mut(&key).filter(|watch| watch.link.is_none()) else {
                continue;
            };
            self.adopting.insert(key);
            let patience = self.config.timing.keep_alive_timeout;
            match to {
                Some(to) => {
                    watch.asked = Some(Asked::Once);
                    let link = self.link_to_element(&to, key.0, key.1.0);
                    if let Some(watch) = self.watches.get_mut(&key) {
                        watch.link = Some(link);
                    }
                    if let Some(known) = self.links.get_mut(&link) {
                        known.elements.insert(key);
                    }
                    self.timers.set(Timer::KeepAlive(key), now + patience / 2);
                    self.ask(now, key);
                }
                // Nobody can reach it (TCP mapping 5): it notices its home's death itself and registers anew.
                None => {
                    watch.asked = Some(Asked::Twice);
                    self.timers.set(Timer::KeepAlive(key), now + patience);
                }
            }
        }
    }

    /// Keeps the entry of an element whose link has ended, until somebody says that he has it, or one patience is over.
    /// False: there is no room for it.
    pub(super) fn keep_for_a_while(&mut self, now: Time, key: Key) -> bool {
        if self.adopting.len() >= self.config.limits.adoptions {
            return false;
        }
        let Some(watch) = self.watches.get_mut(&key) else { return false };
        watch.link = None;
        watch.asked = Some(Asked::Twice);
        self.adopting.insert(key);
        self.timers.set(Timer::KeepAlive(key), now + self.config.timing.keep_alive_timeout);
        true
    }

    /// The adoption of this element is over, one way or the other. True if it was being adopted.
    fn adopted(&mut self, now: Time, key: Key) -> bool {
        if !self.adopting.remove(&key) {
            return false;
        }
        self.adopt_next(now);
        true
    }
}

/// Probing the element of a peer, because a user here could not reach it.
///
/// RFC 5352 §3.5 has any registrar probe, and remove what it cannot reach. Removing somebody else's element would only
/// break the audit with its home, which would bring it back at once; so it is withheld from selection instead, until
/// its home confirms or removes it. An element of the reference answers its home only, so over SCTP an element counts
/// as reached if the link to it stands; over TCP, which only our elements use, it has to answer.
impl Registrar {
    fn probe(&mut self, now: Time, key: Key) {
        let known = self.handlespace.get(&key.0, key.1);
        let Some(to) = known.and_then(asap_endpoint) else { return };
        self.begin_probe(now, key, &to, false);
    }

    /// Asks the element of a peer; with `home`, whether it wants this registrar as its home. False: it is asked already,
    /// or too many are.
    pub(super) fn begin_probe(&mut self, now: Time, key: Key, to: &Endpoint, home: bool) -> bool {
        if self.probes.contains_key(&key) || self.probes.len() >= self.config.limits.adoptions {
            return false;
        }
        let link = self.link_to_element(to, key.0, key.1.0);
        self.probes.insert(key, link);
        if let Some(known) = self.links.get_mut(&link) {
            known.probed.insert(key);
        }
        self.send_keep_alive(link, key, home);
        self.timers.set(Timer::Probe(key), now + self.config.timing.keep_alive_timeout);
        true
    }

    /// The link of a probe is up: what is delivered now counts only if it also stays up, so the timer decides.
    pub(super) fn probe_link_up(&mut self, now: Time, key: Key) {
        if self.probes.contains_key(&key) {
            self.timers.set(Timer::Probe(key), now + self.config.timing.keep_alive_timeout);
        }
    }

    fn probe_answered(&mut self, link: LinkId, key: Key) -> bool {
        if self.probes.get(&key) != Some(&link) {
            return false;
        }
        self.end_probe(key);
        self.suspect(key, false);
        true
    }

    pub(super) fn probe_over(&mut self, now: Time, at: Time, key: Key) {
        let patience = self.config.timing.keep_alive_timeout;
        let Some(link) = self.probes.get(&key).and_then(|link| self.links.get(link)) else { return };
        if overslept(now, at, patience) {
            self.timers.set(Timer::Probe(key), now + patience);
            return;
        }
        let reached = link.up && link.end.protocol == Protocol::Sctp;
        if self.wooing_over(key) {
            return;
        }
        self.end_probe(key);
        self.suspect(key, !reached);
    }

    pub(super) fn probe_failed(&mut self, key: Key) {
        if self.wooing_over(key) {
            return;
        }
        self.end_probe(key);
        self.suspect(key, true);
    }

    /// Ends a probe without a verdict.
    pub(super) fn end_probe(&mut self, key: Key) {
        self.suggestions.wooed.remove(&key);
        let Some(link) = self.probes.remove(&key) else { return };
        self.timers.clear(&Timer::Probe(key));
        if let Some(known) = self.links.get_mut(&link) {
            known.probed.remove(&key);
        }
        self.release_link(link);
    }

    pub(super) fn suspect(&mut self, key: Key, suspect: bool) {
        if self.handlespace.is_suspect(&key.0, key.1) != suspect
            && self.handlespace.set_suspect(&key.0, key.1, suspect)
        {
            self.outbox.event(Event::ElementSuspected { handle: key.0, element: key.1, suspect });
        }
    }
}

/// How long a registration lives: milliseconds on the wire, as the reference has it (RFC 5354 §3.10: seconds); all ones
/// is for ever.
fn life(life: Life) -> Option<Duration> {
    (life.0 != u32::MAX).then(|| Duration::from_millis(life.0.into()))
}
