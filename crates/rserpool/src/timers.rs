//! Timers are named moments.
//!
//! A node names what it waits for (`Timer::KeepAlive(id)`), sets the moment, and takes what is due when it is woken.
//! Setting a timer again moves it; clearing one that is not set does nothing; waking early finds nothing due. Timers
//! due at the same moment are taken in the order of their names, so equal runs are equal.

use crate::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A set of named moments. Setting, clearing and taking cost O(log n).
#[derive(Clone, Debug)]
pub struct Timers<K> {
    moments: BTreeMap<K, Time>,
    order: BTreeSet<(Time, K)>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { moments: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets or moves a timer.
    pub fn set(&mut self, timer: K, at: Time) {
        if let Some(before) = self.moments.insert(timer.clone(), at) {
            self.order.remove(&(before, timer.clone()));
        }
        self.order.insert((at, timer));
    }

    /// Forgets a timer. True if it was set.
    pub fn clear(&mut self, timer: &K) -> bool {
        match self.moments.remove(timer) {
            Some(at) => self.order.remove(&(at, timer.clone())),
            None => false,
        }
    }

    /// Takes the earliest timer that is due, with the moment it was set for: `now` may be later if the node was held up.
    pub fn take_due(&mut self, now: Time) -> Option<(Time, K)> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (at, timer) = self.order.pop_first()?;
        self.moments.remove(&timer);
        Some((at, timer))
    }

    /// Moves these timers by so much. Costs O(n).
    pub fn postpone(&mut self, span: Duration, which: impl Fn(&K) -> bool) {
        let these = self.order.iter().filter(|(_, timer)| which(timer));
        let postponed: Vec<_> = these.map(|(at, timer)| (*at + span, timer.clone())).collect();
        for (at, timer) in postponed {
            self.set(timer, at);
        }
    }

    /// When the earliest timer is due.
    pub fn next(&self) -> Option<Time> {
        self.order.first().map(|(at, _)| *at)
    }

    /// When this timer is due, if it is set.
    pub fn get(&self, timer: &K) -> Option<Time> {
        self.moments.get(timer).copied()
    }

    /// How many timers are set.
    pub fn len(&self) -> usize {
        self.moments.len()
    }

    /// True if none is set.
    pub fn is_empty(&self) -> bool {
        self.moments.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn timers_are_taken_in_order_of_moment_then_name() {
        let mut timers = Timers::default();
        timers.set("b", at(5));
        timers.set("a", at(5));
        timers.set("c", at(1));
        assert_eq!(timers.next(), Some(at(1)));
        assert_eq!(timers.take_due(at(0)), None);
        let taken: Vec<_> = std::iter::from_fn(|| timers.take_due(at(9))).collect();
        assert_eq!(taken, [(at(1), "c"), (at(5), "a"), (at(5), "b")]);
        assert!(timers.is_empty());
    }

    #[test]
    fn postponing_moves_what_is_meant() {
        let mut timers = Timers::default();
        for (timer, moment) in [(1, 5), (2, 6), (3, 9)] {
            timers.set(timer, at(moment));
        }
        timers.postpone(Duration::from_millis(4), |timer| *timer != 2);
        assert_eq!([1, 2, 3].map(|timer| timers.get(&timer)), [9, 6, 13].map(|moment| Some(at(moment))));
    }

    #[test]
    fn setting_again_moves_and_clearing_forgets() {
        let mut timers = Timers::default();
        timers.set(1, at(5));
        timers.set(1, at(7));
        assert_eq!(timers.take_due(at(6)), None);
        assert_eq!((timers.get(&1), timers.len()), (Some(at(7)), 1));
        assert!(timers.clear(&1));
        assert!(!timers.clear(&1));
        assert_eq!(timers.next(), None);
    }
}
