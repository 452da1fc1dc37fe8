//! One pool: its elements by id, and in order of selection.

use super::deadline::{Deadline, next_after};
use super::order::{self, Order, Wait};
use super::queue::Place;
use super::{Refusal, Settings};
use crate::policy::Rank;
use crate::wire::parameter::PoolElement;
use crate::{ElementId, Load, Random};
use std::collections::BTreeMap;
use std::ops::Bound;

/// The elements of one pool. Never empty outside of [`super::Handlespace`]'s methods.
///
/// Elements live in slots without gaps; whoever leaves is replaced by the last. The indices name slots.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    entries: Vec<Entry>,
    ids: BTreeMap<ElementId, u32>,
    /// Whom to select.
    ready: Order,
    /// Whom to select when nobody is ready.
    suspects: Order,
    /// The next turn to give; counts insertions and selections.
    turn: u64,
    /// How far the walk of the weighted turns is; nobody ready waits for a point before it.
    walk: Deadline,
}

/// An element, and what the registrar knows about it besides.
#[derive(Clone, Debug)]
struct Entry {
    element: PoolElement,
    /// Selections since the last registration.
    chosen: u32,
    /// The smallest change of its load so far: what one selection seems to add. Idle: no change seen yet.
    step: Load,
    suspect: bool,
}

/// A slot that was selected.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    slot: u32,
    /// Where it stood; of a pool that draws: `None`.
    place: Option<Place>,
}

impl Pool {
    /// A pool for elements that rank like this one.
    pub fn for_element(element: &PoolElement) -> Self {
        let order = Order::of(element.policy.rank(0, Load::IDLE));
        Self {
            entries: Vec::new(),
            ids: BTreeMap::new(),
            ready: order.clone(),
            suspects: order,
            turn: 0,
            walk: (0, 0),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn get(&self, id: ElementId) -> Option<&PoolElement> {
        Some(&self.entry(id)?.element)
    }

    /// Any element: what all have in common can be asked of it.
    pub fn any(&self) -> Option<&PoolElement> {
        Some(&self.entries.first()?.element)
    }

    /// Elements by id, behind `after`.
    pub fn elements(&self, after: Option<ElementId>) -> impl Iterator<Item = &PoolElement> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.ids.range((from, Bound::Unbounded)).map(|(_, &slot)| &self.entries[slot as usize].element)
    }

    /// Adds an element, or renews the one with its id and returns it as it was.
    pub fn put(&mut self, element: PoolElement, settings: &Settings) -> Option<PoolElement> {
        match self.ids.get(&element.id) {
            Some(&slot) => Some(self.renew(slot, element, settings)),
            None => {
                let slot = self.entries.len() as u32;
                self.ids.insert(element.id, slot);
                self.entries.push(Entry { element, chosen: 0, step: Load::IDLE, suspect: false });
                let turn = self.next_turn();
                self.seat(slot, turn, Wait::After(self.walk), settings);
                None
            }
        }
    }

    /// A registration of an element that is there: its turn stays, what was counted since the last one is forgotten
    /// (RFC 5356 §5.2.2), and it is no suspect any more.
    fn renew(&mut self, slot: u32, element: PoolElement, settings: &Settings) -> PoolElement {
        let place = self.order(slot).place(slot);
        let entry = &mut self.entries[slot as usize];
        if std::mem::take(&mut entry.suspect) {
            self.suspects.clear(slot);
        }
        entry.learn_step(element.policy.load());
        entry.chosen = 0;
        let same_policy = entry.element.policy == element.policy;
        let before = std::mem::replace(&mut entry.element, element);
        self.rejoin(slot, place, same_policy, settings);
        before
    }

    /// Removes an element.
    pub fn remove(&mut self, id: ElementId) -> Option<PoolElement> {
        let slot = self.ids.remove(&id)?;
        self.ready.clear(slot);
        self.suspects.clear(slot);
        let gone = self.entries.swap_remove(slot as usize);
        let last = self.entries.len() as u32;
        if slot != last {
            // The last one moved into the gap.
            self.ids.insert(self.entries[slot as usize].element.id, slot);
            self.ready.renumber(last, slot);
            self.suspects.renumber(last, slot);
        }
        self.ready.truncate(self.entries.len());
        self.suspects.truncate(self.entries.len());
        if self.entries.capacity() > 4 * self.entries.len().max(16) {
            self.entries.shrink_to(2 * self.entries.len());
        }
        Some(gone.element)
    }

    /// Changes the home of an element and returns the one before.
    pub fn set_home(&mut self, id: ElementId, home: crate::RegistrarId) -> Option<crate::RegistrarId> {
        let &slot = self.ids.get(&id)?;
        Some(std::mem::replace(&mut self.entries[slot as usize].element.home, home))
    }

    /// `None`: no such element.
    pub fn is_suspect(&self, id: ElementId) -> Option<bool> {
        Some(self.entry(id)?.suspect)
    }

    /// False: no such element.
    pub fn set_suspect(&mut self, id: ElementId, suspect: bool, settings: &Settings) -> bool {
        let Some(&slot) = self.ids.get(&id) else { return false };
        if self.entries[slot as usize].suspect != suspect {
            let place = self.order(slot).place(slot);
            self.order(slot).clear(slot);
            self.entries[slot as usize].suspect = suspect;
            self.rejoin(slot, place, true, settings);
        }
        true
    }

    /// Selects up to `count` elements into `taken`, best first and nobody twice, and counts the selection.
    pub fn select(&mut self, count: usize, settings: &Settings, random: &mut Random, taken: &mut Vec<Taken>) {
        taken.clear();
        let Self { entries, ready, suspects, turn, walk, .. } = self;
        match if ready.is_empty() { suspects } else { ready } {
            Order::Queue(queue) => {
                while taken.len() < count {
                    if let Some(last) = taken.last() {
                        queue.set(last.slot, None);
                    }
                    let Some((slot, place)) = queue.first() else { break };
                    taken.push(Taken { slot, place: Some(place) });
                }
                for (number, &Taken { slot, place: before }) in taken.iter().enumerate() {
                    let point = before.map_or((0, 0), |place| place.key);
                    if number == 0 {
                        // Only weighted turns look at it.
                        *walk = point.max(*walk);
                    }
                    if number < settings.increments_max {
                        // Its turn is over. In weighted turns it goes on from its own point, which is ahead of the walk
                        // unless it was the first of its answer.
                        *turn += 1;
                        let rank = entries[slot as usize].counted().rank(settings);
                        queue.set(slot, order::place(rank, *turn, Wait::After(point.max(*walk))));
                    } else {
                        queue.set(slot, before);
                    }
                }
            }
            Order::Lots(lots) => {
                while taken.len() < count {
                    if let Some(last) = taken.last() {
                        lots.set(last.slot, 0);
                    }
                    if lots.total() == 0 {
                        break;
                    }
                    taken.push(Taken { slot: lots.owner(random.below(lots.total())), place: None });
                }
                for (number, &Taken { slot, .. }) in taken.iter().enumerate() {
                    let entry = &mut entries[slot as usize];
                    let entry = if number < settings.increments_max { entry.counted() } else { entry };
                    lots.set(slot, order::lots(entry.rank(settings)));
                }
            }
        }
    }

    /// The element that was taken.
    pub fn element(&self, taken: Taken) -> &PoolElement {
        &self.entries[taken.slot as usize].element
    }

    /// Seats an element that stood in the queue already: its turn stays, and if its weight is the same, so does the
    /// point it waits for, unless the walk has passed it (it would be selected again and again to make up for lost
    /// rounds).
    fn rejoin(&mut self, slot: u32, place: Option<Place>, same_weight: bool, settings: &Settings) {
        let turn = place.map_or_else(|| self.next_turn(), |place| place.turn);
        let point = place.map(|place| place.key).filter(|&point| same_weight && point >= self.walk);
        self.seat(slot, turn, point.map_or(Wait::After(self.walk), Wait::At), settings);
    }

    /// Puts a slot where its rank belongs.
    fn seat(&mut self, slot: u32, turn: u64, wait: Wait, settings: &Settings) {
        let rank = self.entries[slot as usize].rank(settings);
        self.order(slot).seat(slot, rank, turn, wait);
    }

    fn order(&mut self, slot: u32) -> &mut Order {
        if self.entries[slot as usize].suspect { &mut self.suspects } else { &mut self.ready }
    }

    fn entry(&self, id: ElementId) -> Option<&Entry> {
        self.ids.get(&id).map(|&slot| &self.entries[slot as usize])
    }

    fn next_turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }
}

impl Entry {
    /// Itself, selected once more.
    fn counted(&mut self) -> &mut Self {
        self.chosen = self.chosen.saturating_add(1);
        self
    }

    fn rank(&self, settings: &Settings) -> Rank {
        let step = match (settings.count_selections, self.step) {
            (false, _) => Load::IDLE,
            (true, Load::IDLE) => Settings::FIRST_STEP,
            (true, seen) => seen.clamp(Settings::STEP_MIN, Settings::STEP_MAX),
        };
        self.element.policy.rank(self.chosen, step)
    }

    /// Notes by how much the load changed, if this is the smallest change so far.
    fn learn_step(&mut self, reported: Option<Load>) {
        if let (Some(before), Some(now)) = (self.element.policy.load(), reported)
            && before != now
        {
            let change = before.minus(now).plus(now.minus(before));
            self.step = if self.step == Load::IDLE { change } else { self.step.min(change) };
        }
    }
}

impl Pool {
    /// Panics with the reason if the indices do not say what the elements say.
    pub fn check(&self, settings: &Settings) {
        assert!(!self.entries.is_empty(), "an empty pool");
        assert_eq!(self.ids.len(), self.entries.len(), "ids and elements");
        for (id, &slot) in &self.ids {
            assert_eq!(self.entries[slot as usize].element.id, *id, "the id of slot {slot}");
        }
        let mut turns = std::collections::BTreeSet::new();
        for (slot, entry) in self.entries.iter().enumerate() {
            let element = &entry.element;
            assert_eq!(Refusal::of(element, self.any()), None, "{} is unlike its pool", element.id);
            let (here, elsewhere) =
                if entry.suspect { (&self.suspects, &self.ready) } else { (&self.ready, &self.suspects) };
            let slot = slot as u32;
            assert_eq!(elsewhere.place(slot), None, "{} stands in both orders", element.id);
            let rank = entry.rank(settings);
            match (here, here.place(slot), rank) {
                (Order::Lots(_), None, Rank::Lots(_)) | (Order::Queue(_), None, Rank::Turns(0)) => {}
                (Order::Queue(_), Some(place), Rank::Queue(key)) => {
                    assert_eq!(place.key, (key.into(), 0), "the key of {}", element.id);
                    assert!(turns.insert(place.turn), "{} shares its turn", element.id);
                }
                (Order::Queue(_), Some(place), Rank::Turns(weight)) => {
                    assert!(entry.suspect || place.key >= self.walk, "the walk passed {}", element.id);
                    let (round, part) = place.key;
                    assert_eq!(
                        next_after((round, part - 1), weight),
                        place.key,
                        "no point of {}",
                        element.id
                    );
                    assert!(turns.insert(place.turn), "{} shares its turn", element.id);
                }
                other => panic!("{} stands where it does not belong: {other:?}", element.id),
            }
        }
        assert!(turns.last().is_none_or(|&last| last <= self.turn), "a turn that was never given");
        for (order, suspects) in [(&self.ready, false), (&self.suspects, true)] {
            match order {
                Order::Queue(queue) => queue.check(),
                Order::Lots(lots) => {
                    lots.check(|slot| match self.entries.get(slot as usize) {
                        Some(entry) if entry.suspect == suspects => match entry.rank(settings) {
                            Rank::Lots(weight) => weight,
                            _ => 0,
                        },
                        _ => 0,
                    });
                }
            }
        }
    }
}
