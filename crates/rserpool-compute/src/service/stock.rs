//! What a worker has of the files that tasks need: a cache by content, bounded in octets.
//!
//! ```text
//!   pinned by a task --> Wanted --Fetch--> Coming --last octet--> Whole --digest is right--> Here
//!                           ^-- session lost --'                    `--- not stored: forgotten
//! ```
//!
//! A task pins all it needs at once or nothing, so tasks that wait for room never wait for each other. What is pinned
//! stays; of the rest, what was used least recently makes room. Here are only the books: the world keeps the octets.

use crate::item::Item;
use rserpool::element::SessionId;
use std::collections::{BTreeMap, BTreeSet};

/// How far an item has come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody was asked for it yet.
    Wanted,
    /// A client sends it.
    Coming {
        session: SessionId,
        transfer: u32,
        /// Octets that came.
        received: u64,
        /// Octets of those that are on the disk.
        stored: u64,
        /// Octets of those the client was told of.
        granted: u64,
    },
    /// All octets came; the world checks them.
    Whole,
    Here,
}

#[derive(Debug)]
struct Entry {
    stage: Stage,
    /// Tasks that pin it.
    users: u32,
    /// When it was used last: a count of all uses.
    used: u64,
}

/// Whether a task's items can be pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Now,
    /// When others let go of theirs.
    Later,
    Never,
}

/// The books of the cache.
#[derive(Debug)]
pub(super) struct Stock {
    capacity: u64,
    /// Of all entries.
    octets: u64,
    entries: BTreeMap<Item, Entry>,
    uses: u64,
}

impl Stock {
    /// With these items already there, the least recently used first.
    pub(super) fn new(capacity: u64, here: impl IntoIterator<Item = Item>) -> Self {
        let mut stock = Self { capacity, octets: 0, entries: BTreeMap::new(), uses: 0 };
        for item in here {
            stock.enter(item, Stage::Here);
        }
        stock
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    fn enter(&mut self, item: Item, stage: Stage) -> &mut Entry {
        self.uses += 1;
        let used = self.uses;
        self.entries.entry(item).or_insert_with(|| {
            self.octets += item.size;
            Entry { stage, users: 0, used }
        })
    }

    fn leave(&mut self, item: &Item) {
        if self.entries.remove(item).is_some() {
            self.octets -= item.size;
        }
    }

    pub(super) fn stage(&self, item: &Item) -> Option<Stage> {
        self.entries.get(item).map(|entry| entry.stage)
    }

    pub(super) fn set(&mut self, item: &Item, stage: Stage) {
        if let Some(entry) = self.entries.get_mut(item) {
            entry.stage = stage;
        }
    }

    pub(super) fn has(&self, item: &Item) -> bool {
        self.stage(item) == Some(Stage::Here)
    }

    /// Items that wait for somebody to be asked.
    pub(super) fn wanted(&self) -> BTreeSet<Item> {
        self.entries.iter().filter(|(_, entry)| entry.stage == Stage::Wanted).map(|(item, _)| *item).collect()
    }

    /// Items under way.
    pub(super) fn coming(&self) -> usize {
        self.entries
            .values()
            .filter(|entry| matches!(entry.stage, Stage::Coming { .. } | Stage::Whole))
            .count()
    }

    pub(super) fn fit(&self, needs: &[Item]) -> Fit {
        if self.capacity == 0 && !needs.is_empty() {
            return Fit::Never; // a world without a disk
        }
        let needs: BTreeSet<&Item> = needs.iter().collect();
        let missing = needs.iter().filter(|item| !self.entries.contains_key(item)).map(|item| item.size);
        let wanted = missing.fold(0u64, u64::saturating_add);
        let others = || self.entries.iter().filter(|(item, _)| !needs.contains(item));
        let free: u64 = others().filter(|(_, entry)| entry.is_idle()).map(|(item, _)| item.size).sum();
        if (self.octets - free).saturating_add(wanted) <= self.capacity {
            Fit::Now
        } else if others().any(|(_, entry)| !entry.is_idle()) {
            Fit::Later
        } else {
            Fit::Never
        }
    }

    /// Pins what fits now. Returns what has to go for it.
    pub(super) fn pin(&mut self, needs: &[Item]) -> Vec<Item> {
        for item in needs {
            let used = self.uses + 1;
            let entry = self.enter(*item, Stage::Wanted);
            entry.users += 1;
            entry.used = used;
        }
        self.shrink()
    }

    /// What has to go so that the rest fits.
    pub(super) fn shrink(&mut self) -> Vec<Item> {
        let mut gone = Vec::new();
        while self.octets > self.capacity {
            let idle = self.entries.iter().filter(|(_, entry)| entry.is_idle());
            let Some(item) = idle.min_by_key(|(_, entry)| entry.used).map(|(item, _)| *item) else { break };
            self.leave(&item);
            gone.push(item);
        }
        gone
    }

    /// A task does not need these any more. Returns what is not waited for any longer, with how far it had come.
    pub(super) fn unpin(&mut self, needs: &[Item]) -> Vec<(Item, Stage)> {
        let mut dropped = Vec::new();
        for item in needs {
            let Some(entry) = self.entries.get_mut(item) else { continue };
            entry.users = entry.users.saturating_sub(1);
            let stage = entry.stage;
            if entry.users == 0 && matches!(stage, Stage::Wanted | Stage::Coming { .. }) {
                self.leave(item);
                dropped.push((*item, stage));
            }
        }
        dropped
    }

    /// The world does not have it, or not any more.
    pub(super) fn forget(&mut self, item: &Item) -> Option<Stage> {
        let stage = self.stage(item);
        self.leave(item);
        stage
    }

    /// What this session was sending has to be asked for again.
    pub(super) fn lost(&mut self, lost: SessionId) -> Vec<Item> {
        let mut items = Vec::new();
        for (item, entry) in &mut self.entries {
            if matches!(entry.stage, Stage::Coming { session, .. } if session == lost) {
                entry.stage = Stage::Wanted;
                items.push(*item);
            }
        }
        items
    }

    /// Audits the books against the pins there are.
    pub(super) fn check<'a>(&self, pins: impl Iterator<Item = &'a Item>) {
        let mut users: BTreeMap<&Item, u32> = BTreeMap::new();
        pins.filter(|item| self.entries.contains_key(item))
            .for_each(|item| *users.entry(item).or_default() += 1);
        for (item, entry) in &self.entries {
            assert_eq!(users.get(item).copied().unwrap_or(0), entry.users, "tasks that pin {item:?}");
            assert!(entry.users > 0 || !matches!(entry.stage, Stage::Wanted), "nobody wants {item:?}");
        }
        assert_eq!(self.entries.keys().map(|item| item.size).sum::<u64>(), self.octets);
        let idle = self.entries.values().any(Entry::is_idle);
        assert!(self.octets <= self.capacity || !idle, "{} octets in {}", self.octets, self.capacity);
    }
}

impl Entry {
    /// It may be evicted.
    fn is_idle(&self) -> bool {
        self.users == 0 && self.stage == Stage::Here
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::{Digest, Form};

    fn item(octet: u8, size: u64) -> Item {
        Item { digest: Digest([octet; 32]), size, form: Form::File }
    }

    #[test]
    fn what_was_used_least_recently_goes_and_never_what_is_in_use() {
        let (a, b, c, d) = (item(1, 40), item(2, 40), item(3, 40), item(4, 60));
        let mut stock = Stock::new(100, [a, b]);
        assert_eq!(stock.pin(&[a]), []); // a is the more recent one now, and in use
        assert_eq!(stock.fit(&[c]), Fit::Now);
        assert_eq!(stock.pin(&[c]), [b]);
        assert_eq!(stock.stage(&c), Some(Stage::Wanted));
        assert_eq!(stock.fit(&[d]), Fit::Later);
        assert_eq!(stock.fit(&[a, c]), Fit::Now);
        assert_eq!(stock.unpin(&[a]), []);
        assert_eq!(stock.fit(&[d]), Fit::Now); // in place of a
        assert_eq!(stock.unpin(&[c]), [(c, Stage::Wanted)]);
        assert_eq!(stock.fit(&[item(9, 101)]), Fit::Never);
        stock.check([].into_iter());
    }

    #[test]
    fn an_item_named_twice_takes_its_room_once() {
        let a = item(1, 60);
        let mut stock = Stock::new(100, []);
        assert_eq!(stock.fit(&[a, a]), Fit::Now);
        stock.pin(&[a, a]);
        stock.check([&a, &a].into_iter());
        assert_eq!(stock.unpin(&[a, a]), [(a, Stage::Wanted)]);
    }

    #[test]
    fn a_cache_that_became_smaller_lets_the_oldest_go() {
        let items = [item(1, 40), item(2, 40), item(3, 40)];
        let mut stock = Stock::new(90, items);
        assert_eq!(stock.shrink(), [items[0]]);
        stock.check([].into_iter());
    }
}
