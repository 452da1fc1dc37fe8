//! What the user remembers of resolutions (RFC 5352 §3.3, C1-C4).
//!
//! Elements live as long as the stale cache value says and are not used after that. Selection is the handlespace's: a
//! user and a registrar cannot disagree about a policy.

use crate::handlespace::Settings;
use crate::wire::parameter::PoolElement;
use crate::{ElementId, Handlespace, PoolHandle, Random, Time, Timers};
use std::time::Duration;

/// Elements remembered at the same time; beyond that, new ones are not remembered.
const ELEMENTS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Cache {
    value: Duration,
    handlespace: Handlespace,
    until: Timers<(PoolHandle, ElementId)>,
}

impl Cache {
    /// A cache that remembers for `value`; zero: not at all.
    pub(super) fn new(value: Duration) -> Self {
        Self { value, handlespace: Handlespace::with_settings(Settings::user()), until: Timers::default() }
    }

    /// Merges the answer to a resolution.
    pub(super) fn store(&mut self, now: Time, handle: &PoolHandle, elements: &[PoolElement]) {
        if self.value.is_zero() {
            return;
        }
        self.forget_old(now);
        for element in elements {
            let key = (*handle, element.id);
            if self.until.get(&key).is_none() && self.until.len() >= ELEMENTS_MAX {
                continue;
            }
            let mut stored = self.handlespace.replicate(handle, element.clone());
            if stored.is_err() {
                // The pool has changed its policy or transport since: what we have of it is worth nothing any more.
                self.forget_pool(handle);
                stored = self.handlespace.replicate(handle, element.clone());
            }
            if stored.is_ok() {
                self.until.set(key, now + self.value);
            }
        }
    }

    /// Up to `count` elements that are not stale, chosen by the pool's policy; empty if the pool is not known here.
    pub(super) fn select(
        &mut self,
        now: Time,
        handle: &PoolHandle,
        count: usize,
        random: &mut Random,
    ) -> Vec<PoolElement> {
        self.forget_old(now);
        self.handlespace.select(handle, count, random).unwrap_or_default()
    }

    /// One element, unless it is stale.
    pub(super) fn get(&mut self, now: Time, handle: &PoolHandle, id: ElementId) -> Option<PoolElement> {
        self.forget_old(now);
        self.handlespace.get(handle, id).cloned()
    }

    /// An element failed.
    pub(super) fn remove(&mut self, handle: &PoolHandle, id: ElementId) {
        self.until.clear(&(*handle, id));
        self.handlespace.remove(handle, id);
    }

    fn forget_pool(&mut self, handle: &PoolHandle) {
        let start = Some((*handle, ElementId::UNDEFINED)); // nobody has that identifier
        let pool = self.handlespace.elements(None, start).take_while(|(at, _)| *at == handle);
        let ids: Vec<_> = pool.map(|(_, element)| element.id).collect();
        for id in ids {
            self.remove(handle, id);
        }
    }

    fn forget_old(&mut self, now: Time) {
        while let Some((_, (handle, id))) = self.until.take_due(now) {
            self.handlespace.remove(&handle, id);
        }
    }

    pub(super) fn check(&self) {
        assert_eq!(self.handlespace.len(), self.until.len(), "each remembered element has an end");
        self.handlespace.check();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;
    use crate::listen::{element, pool};

    fn ids(elements: &[PoolElement]) -> Vec<u32> {
        elements.iter().map(|element| element.id.0).collect()
    }

    #[test]
    fn elements_are_remembered_as_long_as_the_stale_cache_value_says() {
        let mut cache = Cache::new(Duration::from_millis(100));
        let mut random = Random::from_seed(1);
        cache.store(Time::ZERO, &pool(), &[element(1)]);
        cache.store(Time::from_millis(60), &pool(), &[element(2)]);
        assert_eq!(ids(&cache.select(Time::from_millis(99), &pool(), 9, &mut random)), [1, 2]);
        assert_eq!(ids(&cache.select(Time::from_millis(100), &pool(), 9, &mut random)), [2]);
        assert_eq!(cache.get(Time::from_millis(160), &pool(), ElementId(2)), None);
        cache.check();
    }

    #[test]
    fn a_pool_that_changed_its_policy_is_learnt_anew() {
        let mut cache = Cache::new(Duration::from_millis(100));
        cache.store(Time::ZERO, &pool(), &[element(1), element(2)]);
        let changed = PoolElement { policy: Policy::Random, ..element(3) };
        cache.store(Time::ZERO, &pool(), &[changed]);
        assert_eq!(ids(&cache.select(Time::ZERO, &pool(), 9, &mut Random::from_seed(1))), [3]);
        cache.check();
    }

    #[test]
    fn without_a_stale_cache_value_nothing_is_remembered() {
        let mut cache = Cache::new(Duration::ZERO);
        cache.store(Time::ZERO, &pool(), &[element(1)]);
        assert_eq!(cache.select(Time::ZERO, &pool(), 9, &mut Random::from_seed(1)), []);
    }
}
