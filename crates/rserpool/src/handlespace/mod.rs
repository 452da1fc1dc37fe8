//! The handlespace: which pools exist and who serves in them (RFC 5351 §2, RFC 5352 §3, RFC 5353 §3).
//!
//! ```text
//!   Handlespace
//!     pools:  handle -> Pool    elements by id, and in order of selection       pool.rs
//!     owners: home -> Owner     how many, in which pools, and the PE checksum   here
//! ```
//!
//! One implementation of selection serves registrars, the caches of users, and the simulator. A policy ranks an element
//! ([`Policy::rank`](crate::Policy::rank)); whoever is ranked by a key waits in a queue (`queue.rs`), weighted turns
//! included (`deadline.rs`), whoever is ranked by a weight is drawn by lot (`lots.rs`); a pool has one such order for the
//! elements that are ready, and one for the suspects (`order.rs`). Registration, removal and
//! selection take time in the logarithm of the pool's size.

mod deadline;
mod digest;
mod lots;
mod order;
mod pool;
mod queue;
mod refusal;
#[cfg(test)]
mod tests;

use crate::wire::checksum::Sum;
use crate::wire::parameter::PoolElement;
use crate::{ElementId, Load, PoolHandle, Random, RegistrarId};
use pool::{Pool, Taken};
pub use refusal::Refusal;
use std::collections::BTreeMap;
use std::ops::Bound;

/// All pools, their elements, who owns them, and whose turn it is.
#[derive(Clone, Debug, Default)]
pub struct Handlespace {
    settings: Settings,
    pools: BTreeMap<PoolHandle, Pool>,
    owners: BTreeMap<RegistrarId, Owner>,
    elements: usize,
    /// Room to work in, so that a selection needs no memory of its own.
    taken: Vec<Taken>,
}

/// What a registrar owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Owner {
    /// By pool, how many elements; never 0.
    pools: BTreeMap<PoolHandle, usize>,
    elements: usize,
    /// Behind the PE checksum.
    sum: Sum,
}

/// How a handlespace selects and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many of an answer's elements, from the first, use up their turn (and count a selection). 1: the first is
    /// used, the others are in reserve. A user, who takes only what it uses, counts all.
    ///
    /// RFC 5356 §5.2.2 counts every element returned; as backups mostly stay unused, this would make degrading policies
    /// believe in load that never comes.
    pub increments_max: usize,
    /// Add an estimate for each own selection to the load of plain Least Used, until the element reports again. The
    /// wire and the values in the answer stay as reported; only the order changes.
    ///
    /// With reports one service time old, plain Least Used sends everybody to the element that looked idle, and is
    /// slower than drawing by lot; counting keeps most of its speed. The estimate for one selection is the smallest
    /// change this element's load has shown so far (most services report used slots out of all slots, so this is one
    /// slot), kept between [`Self::STEP_MIN`] and [`Self::STEP_MAX`]; [`Self::FIRST_STEP`] until a change was seen.
    pub count_selections: bool,
    /// Elements in all pools together; more are refused.
    pub elements_max: usize,
}

impl Settings {
    /// The estimate of one selection before an element's load ever changed: a sixteenth of its capacity.
    pub const FIRST_STEP: Load = Load(1 << 28);
    /// The smallest estimate: a load that changes by less is measured, not counted in slots.
    pub const STEP_MIN: Load = Load(1 << 24);
    /// The largest estimate.
    pub const STEP_MAX: Load = Load(1 << 31);

    /// For registrars: selections are counted.
    pub fn registrar() -> Self {
        Self { count_selections: true, ..Self::default() }
    }

    /// For users: every element taken from the cache is used.
    pub fn user() -> Self {
        Self { increments_max: usize::MAX, ..Self::default() }
    }
}

impl Default for Settings {
    /// What RFC 5356 says (except for backups), and room for a million elements.
    fn default() -> Self {
        Self { increments_max: 1, count_selections: false, elements_max: 1_000_000 }
    }
}

/// What a registration did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The element was not there before.
    New,
    /// It was, homed at this registrar.
    Renewed {
        /// The home before.
        previous_home: RegistrarId,
    },
}

impl Handlespace {
    /// An empty one with the default settings: the plain RFC.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with these settings.
    pub fn with_settings(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Admits an element as its home, or renews it (RFC 5352 §3.1). `element.home` is its owner from now on.
    ///
    /// A renewal replaces everything but the element's turn: what was counted against it is forgotten, and it is no
    /// suspect any more. Refused: nothing changed.
    pub fn register(&mut self, handle: &PoolHandle, element: PoolElement) -> Result<Registered, Refusal> {
        if !element.policy.is_known() {
            return Err(Refusal::UnknownPolicy);
        }
        self.replicate(handle, element)
    }

    /// As [`Self::register`], for what another registrar admitted (a replica, or a user's cache): a policy unknown here
    /// is kept and passed on, and selected in turn.
    pub fn replicate(&mut self, handle: &PoolHandle, element: PoolElement) -> Result<Registered, Refusal> {
        let (id, home) = (element.id, element.home);
        let known = self.pools.get_mut(handle);
        if let Some(refusal) = Refusal::of(&element, known.as_ref().and_then(|pool| pool.any())) {
            return Err(refusal);
        }
        let previous_home = match known {
            Some(pool) if pool.get(id).is_none() && self.elements >= self.settings.elements_max => {
                return Err(Refusal::LackOfResources);
            }
            Some(pool) => pool.put(element, &self.settings).map(|before| before.home),
            None if self.elements >= self.settings.elements_max => return Err(Refusal::LackOfResources),
            None => {
                let mut pool = Pool::for_element(&element);
                pool.put(element, &self.settings);
                self.pools.insert(*handle, pool);
                None
            }
        };
        match previous_home {
            Some(previous_home) => {
                self.change_owner(handle, id, previous_home, home);
                Ok(Registered::Renewed { previous_home })
            }
            None => {
                self.elements += 1;
                self.gain(handle, id, home);
                Ok(Registered::New)
            }
        }
    }

    /// Removes an element; with the last one goes its pool.
    pub fn remove(&mut self, handle: &PoolHandle, id: ElementId) -> Option<PoolElement> {
        let pool = self.pools.get_mut(handle)?;
        let gone = pool.remove(id)?;
        if pool.len() == 0 {
            self.pools.remove(handle);
        }
        self.elements -= 1;
        self.lose(handle, id, gone.home);
        Some(gone)
    }

    /// One element.
    pub fn get(&self, handle: &PoolHandle, id: ElementId) -> Option<&PoolElement> {
        self.pools.get(handle)?.get(id)
    }

    /// Hands an element over to another home. False if it is not there.
    pub fn set_home(&mut self, handle: &PoolHandle, id: ElementId, home: RegistrarId) -> bool {
        let Some(before) = self.pools.get_mut(handle).and_then(|pool| pool.set_home(id, home)) else {
            return false;
        };
        self.change_owner(handle, id, before, home);
        true
    }

    /// Withholds an element from selection while others are there (a suspect), or hands it out again. False if it is
    /// not there.
    pub fn set_suspect(&mut self, handle: &PoolHandle, id: ElementId, suspect: bool) -> bool {
        self.pools.get_mut(handle).is_some_and(|pool| pool.set_suspect(id, suspect, &self.settings))
    }

    /// True if the element is there and a suspect.
    pub fn is_suspect(&self, handle: &PoolHandle, id: ElementId) -> bool {
        self.pools.get(handle).and_then(|pool| pool.is_suspect(id)).unwrap_or(false)
    }

    /// Selects up to `count` elements by the pool's policy, best first, and counts the selection. `None`: no such pool,
    /// or nobody in it can serve (RFC 5352 §2.2.6: a positive answer names at least one element).
    pub fn select(
        &mut self,
        handle: &PoolHandle,
        count: usize,
        random: &mut Random,
    ) -> Option<Vec<PoolElement>> {
        let mut selected = Vec::new();
        self.select_with(handle, count, random, |element| selected.push(element.clone()));
        Some(selected).filter(|selected| !selected.is_empty())
    }

    /// As [`Self::select`], but shows the elements instead of copying them. Returns how many; 0 is `None` there.
    pub fn select_with(
        &mut self,
        handle: &PoolHandle,
        count: usize,
        random: &mut Random,
        visit: impl FnMut(&PoolElement),
    ) -> usize {
        match self.choose(handle, count, random) {
            Some((pool, taken)) => {
                taken.iter().map(|&one| pool.element(one)).for_each(visit);
                taken.len()
            }
            None => 0,
        }
    }

    /// Selects and counts; the selected are yet to be shown.
    fn choose(
        &mut self,
        handle: &PoolHandle,
        count: usize,
        random: &mut Random,
    ) -> Option<(&Pool, &[Taken])> {
        let Self { pools, settings, taken, .. } = self;
        let pool = pools.get_mut(handle)?;
        pool.select(count, settings, random, taken);
        Some((pool, taken))
    }

    /// All pools in order, each with its elements by id (never empty).
    pub fn pools(&self) -> impl Iterator<Item = (&PoolHandle, Vec<&PoolElement>)> {
        self.pools.iter().map(|(handle, pool)| (handle, pool.elements(None).collect()))
    }

    /// All elements in order of handle, then id, behind `after` (exclusive); `home`: of this owner only.
    ///
    /// Costs a step per element seen, and of an owner only the pools are seen that it has elements in.
    pub fn elements(
        &self,
        home: Option<RegistrarId>,
        after: Option<(PoolHandle, ElementId)>,
    ) -> impl Iterator<Item = (&PoolHandle, &PoolElement)> {
        let from = after.map_or(Bound::Unbounded, |(handle, _)| Bound::Included(handle));
        let range = (from, Bound::Unbounded);
        let of_owner = home.map(|home| {
            let pools = self.owners.get(&home).map(|owner| owner.pools.range(range));
            pools.into_iter().flatten().filter_map(|(handle, _)| self.pools.get_key_value(handle))
        });
        let of_all = home.is_none().then(|| self.pools.range(range));
        of_owner
            .into_iter()
            .flatten()
            .chain(of_all.into_iter().flatten())
            .flat_map(move |(handle, pool)| {
                let after = after.filter(|(last, _)| last == handle).map(|(_, id)| id);
                pool.elements(after).map(move |element| (handle, element))
            })
            .filter(move |(_, element)| home.is_none_or(|home| element.home == home))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.elements
    }

    /// True if there is no element, and so no pool.
    pub fn is_empty(&self) -> bool {
        self.elements == 0
    }

    /// Number of pools.
    pub fn pool_count(&self) -> usize {
        self.pools.len()
    }

    /// Number of elements in this pool; 0 if there is none.
    pub fn pool_len(&self, handle: &PoolHandle) -> usize {
        self.pools.get(handle).map_or(0, Pool::len)
    }

    /// Number of elements of this owner.
    pub fn owned(&self, home: RegistrarId) -> usize {
        self.owners.get(&home).map_or(0, |owner| owner.elements)
    }

    /// The owners of elements, each with their number; none without.
    pub fn owners(&self) -> impl Iterator<Item = (RegistrarId, usize)> + '_ {
        self.owners.iter().map(|(&home, owner)| (home, owner.elements))
    }

    /// The PE checksum over what this registrar owns (RFC 5353 §3.6.2). Nothing: 0xffff.
    pub fn checksum(&self, home: RegistrarId) -> u16 {
        self.owners.get(&home).map_or(Sum::default(), |owner| owner.sum).checksum()
    }

    /// A digest over everything replicated (handle, id, home, life, transports, policy values): equal tables, equal
    /// digests, whatever their history. Not the selection state. Reads every element.
    pub fn digest(&self) -> u64 {
        digest::of(self.elements(None, None))
    }

    /// Audits the structure against itself; panics with the reason if it is inconsistent.
    pub fn check(&self) {
        let mut owners: BTreeMap<RegistrarId, Owner> = BTreeMap::new();
        for (handle, element) in self.elements(None, None) {
            let owner = owners.entry(element.home).or_default();
            *owner.pools.entry(*handle).or_default() += 1;
            owner.elements += 1;
            owner.sum.add(handle, element.id);
        }
        assert_eq!(owners, self.owners, "owners, as counted and as found");
        assert_eq!(self.pools.values().map(Pool::len).sum::<usize>(), self.elements, "number of elements");
        self.pools.values().for_each(|pool| pool.check(&self.settings));
    }

    fn change_owner(&mut self, handle: &PoolHandle, id: ElementId, before: RegistrarId, now: RegistrarId) {
        if before != now {
            self.lose(handle, id, before);
            self.gain(handle, id, now);
        }
    }

    fn gain(&mut self, handle: &PoolHandle, id: ElementId, home: RegistrarId) {
        let owner = self.owners.entry(home).or_default();
        *owner.pools.entry(*handle).or_default() += 1;
        owner.elements += 1;
        owner.sum.add(handle, id);
    }

    fn lose(&mut self, handle: &PoolHandle, id: ElementId, home: RegistrarId) {
        let owner = self.owners.get_mut(&home).expect("the home of an element owns it");
        let in_pool = owner.pools.get_mut(handle).expect("an owner knows the pools of its elements");
        *in_pool -= 1;
        if *in_pool == 0 {
            owner.pools.remove(handle);
        }
        owner.elements -= 1;
        owner.sum.remove(handle, id);
        if owner.elements == 0 {
            self.owners.remove(&home);
        }
    }
}
