//! What the user remembers of resolutions (RFC 5352 §3.3, C1-C4).
//!
//! Elements live as long as the stale cache value says and are not used after that. Selection is the handlespace's: a
//! user and a registrar cannot disagree about a policy.

use crate::handlespace::Settings;
use crate::wire::parameter::PoolElement;
use crate::{ElementId, Handlespace, PoolHandle, Random, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Elements remembered at the same time; beyond that, new ones are not remembered.
const ELEMENTS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Cache {
    value: Duration,
    handlespace: Handlespace,
    until: BTreeMap<(PoolHandle, ElementId), Time>,
}

impl Cache {
    /// A cache that remembers for `value`; zero: not at all.
    pub(super) fn new(value: Duration) -> Self {
        Self { value, handlespace: Handlespace::with_settings(Settings::user()), until: BTreeMap::new() }
    }

    /// Merges the answer to a resolution.
    pub(super) fn store(&mut self, now: Time, handle: &PoolHandle, elements: &[PoolElement]) {
        if self.value.is_zero() {
            return;
        }
        self.forget_old(now);
        for element in elements {
            let known = self.until.contains_key(&(*handle, element.id));
            if !known && self.until.len() >= ELEMENTS_MAX {
                continue;
            }
            let mut stored = self.handlespace.replicate(handle, element.clone());
            if stored.is_err() {
                // The pool has changed its policy or transport since: what we have of it is worth nothing any more.
                self.forget_pool(handle);
                stored = self.handlespace.replicate(handle, element.clone());
            }
            if stored.is_ok() {
                self.until.insert((*handle, element.id), now + self.value);
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
        if self.until.remove(&(*handle, id)).is_some() {
            self.handlespace.remove(handle, id);
        }
    }

    fn forget_pool(&mut self, handle: &PoolHandle) {
        let pool = (*handle, ElementId(0))..=(*handle, ElementId(u32::MAX));
        let ids: Vec<_> = self.until.range(pool).map(|((_, id), _)| *id).collect();
        for id in ids {
            self.remove(handle, id);
        }
    }

    fn forget_old(&mut self, now: Time) {
        let old: Vec<_> =
            self.until.iter().filter(|(_, until)| **until <= now).map(|(key, _)| *key).collect();
        for (handle, id) in old {
            self.remove(&handle, id);
        }
    }

    pub(super) fn check(&self) {
        assert_eq!(self.handlespace.len(), self.until.len(), "each remembered element has an end");
        self.handlespace.check();
    }
}
