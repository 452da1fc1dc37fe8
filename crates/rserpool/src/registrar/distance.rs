//! How far elements are away, for the policies that choose by distance (draft-dreibholz-rserpool-delay).
//!
//! ```text
//!   element <--- d1 ---> its home <--- d2 ---> another registrar
//!           keep-alives           presences
//!   the home says d1, the other one d1 + d2, to whoever resolves there
//! ```
//!
//! A distance is half of a smoothed round trip (RFC 6298 §2, with its eighth), in milliseconds, rounded to steps: elements
//! on one network shall be equally far, whatever the moment. What an element says of its own distance does not count. Round
//! trips are those of our own questions, so they include the time that the other side takes to answer, which its users
//! would feel as well; RSPLIB takes its transport's.
//!
//! Each registrar sees another distance, so this is the one part of a policy in which handlespaces differ.

use super::{Key, Registrar, Timer};
use crate::wire::parameter::PoolElement;
use crate::{RegistrarId, Time};
use std::time::Duration;

/// So many heartbeats apart a peer is asked for an answer, to measure the way to it.
const HEARTBEATS: u32 = 8;

/// A smoothed round trip.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrip {
    smoothed: Option<Duration>,
    /// When the question was asked whose answer counts next.
    asked: Option<Time>,
    /// Heartbeats since then.
    heartbeats: u32,
}

impl RoundTrip {
    /// A question was asked.
    pub fn asks(&mut self, now: Time) {
        self.asked = Some(now);
    }

    /// Its answer will not count: it may be one to another question.
    pub fn forget(&mut self) {
        self.asked = None;
    }

    /// An answer came.
    pub fn hears(&mut self, now: Time) {
        let Some(asked) = self.asked.take() else { return };
        let sample = now.since(asked);
        self.smoothed = Some(self.smoothed.map_or(sample, |before| (before * 7 + sample) / 8));
    }

    /// Half of it in milliseconds, rounded to a multiple of `step`; `None`: not measured yet.
    fn distance(&self, step: Duration) -> Option<u32> {
        let step = step.as_nanos().max(1_000_000);
        let steps = (self.smoothed?.as_nanos() / 2 + step / 2) / step;
        Some(u32::try_from(steps * step / 1_000_000).unwrap_or(u32::MAX))
    }
}

impl Registrar {
    /// The element, as far away as it is from here. It registers here, so nobody else knows.
    pub(super) fn at_distance(&self, key: Key, mut element: PoolElement) -> PoolElement {
        if let Some(step) = self.config.distance_step {
            let known = self.watches.get(&key).and_then(|watch| watch.round_trip.distance(step));
            element.policy = element.policy.with_distance(known.unwrap_or(0));
        }
        element
    }

    /// An element whose distance matters and is not known is asked at once, for the sake of the answer.
    pub(super) fn measure(&mut self, now: Time, key: Key) {
        let Some(step) = self.config.distance_step else { return };
        let matters =
            self.handlespace.get(&key.0, key.1).is_some_and(|element| element.policy.distance().is_some());
        let unknown = self.watches.get(&key).is_some_and(|watch| watch.round_trip.distance(step).is_none());
        if matters && unknown {
            self.timers.set(Timer::KeepAlive(key), now);
        }
    }

    /// An element has answered: if it is farther or nearer than before, everybody is told.
    pub(super) fn measured(&mut self, key: Key) {
        let Some(step) = self.config.distance_step else { return };
        let known = self.watches.get(&key).and_then(|watch| watch.round_trip.distance(step));
        let (Some(distance), Some(element)) = (known, self.handlespace.get(&key.0, key.1)) else { return };
        if element.policy.distance().is_none_or(|before| before == distance) {
            return;
        }
        let mut element = element.clone();
        element.policy = element.policy.with_distance(distance);
        if self.handlespace.register(&key.0, element).is_ok() {
            self.announce_own(key);
        }
    }

    /// The element of a peer is as far from here as it is from there, and the way between.
    pub(super) fn farther(&self, from: RegistrarId, mut element: PoolElement) -> PoolElement {
        if let (Some(step), Some(there)) = (self.config.distance_step, element.policy.distance()) {
            let between = self.peers.get(&from).and_then(|peer| peer.round_trip.distance(step));
            element.policy = element.policy.with_distance(there.saturating_add(between.unwrap_or(0)));
        }
        element
    }

    /// A heartbeat for this peer is due. True if it shall ask for an answer, to measure the way.
    pub(super) fn measures_peer(&mut self, now: Time, peer: RegistrarId) -> bool {
        let Some(peer) = self.peers.get_mut(&peer).filter(|peer| peer.confirmed) else { return false };
        let trip = &mut peer.round_trip;
        trip.heartbeats += 1;
        let due = trip.smoothed.is_none() || trip.heartbeats >= HEARTBEATS;
        if self.config.distance_step.is_none() || !due {
            return false;
        }
        trip.heartbeats = 0;
        trip.asks(now);
        true
    }
}
