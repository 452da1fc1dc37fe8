//! One pool: its elements by id, and in order of selection.

use super::deadline::{Deadline, next_after};
use super::lots::Lots;
use super::queue::{Place, Queue};
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

/// Slots in order of selection, or with their odds. All elements of a pool rank alike, having one policy type.
#[derive(Clone, Debug)]
enum Order {
    Queue(Queue),
    Lots(Lots),
}

/// A slot taken out of its order while an answer is put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    slot: u32,
    standing: Standing,
}

/// How a slot stands in its order.
#[derive(Clone, Copy, Debug)]
enum Standing {
    Place(Option<Place>),
    Weight(u32),
}

/// For which of its points an element waits in weighted turns.
#[derive(Clone, Copy, Debug)]
enum Wait {
    /// This one.
    At(Deadline),
    /// The first behind this one.
    After(Deadline),
}

impl Pool {
    /// A pool for elements that rank like this one.
    pub fn for_element(element: &PoolElement) -> Self {
        let order = match element.policy.rank(0, Load::IDLE) {
            Rank::Queue(_) | Rank::Turns(_) => Order::Queue(Queue::default()),
            Rank::Lots(_) => Order::Lots(Lots::default()),
        };
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

    /// Selects up to `count` elements, best first, shows each to `visit`, and counts the selection. Returns how many.
    ///
    /// Nobody is shown twice. `taken` is room to work in.
    pub fn select(
        &mut self,
        count: usize,
        settings: &Settings,
        random: &mut Random,
        taken: &mut Vec<Taken>,
        mut visit: impl FnMut(&PoolElement),
    ) -> usize {
        let order = if self.ready.is_empty() { &mut self.suspects } else { &mut self.ready };
        taken.clear();
        while taken.len() < count {
            if let Some(&last) = taken.last() {
                order.clear(last.slot);
            }
            let Some(next) = order.first(random) else { break };
            visit(&self.entries[next.slot as usize].element);
            taken.push(next);
        }
        if let Some(&Taken { standing: Standing::Place(Some(first)), .. }) = taken.first() {
            // Only weighted turns look at it.
            self.walk = self.walk.max(first.key);
        }
        for (number, &Taken { slot, standing }) in taken.iter().enumerate() {
            if number < settings.increments_max {
                self.count(slot, standing, settings);
            } else {
                self.order(slot).put_back(slot, standing);
            }
        }
        taken.len()
    }

    /// Counts a selection: the element's turn is over. In weighted turns it goes on from its own point, which is ahead of
    /// the walk if the element was not the first of its answer.
    fn count(&mut self, slot: u32, standing: Standing, settings: &Settings) {
        let entry = &mut self.entries[slot as usize];
        entry.chosen = entry.chosen.saturating_add(1);
        let point = match standing {
            Standing::Place(Some(place)) => place.key.max(self.walk),
            Standing::Place(None) | Standing::Weight(_) => self.walk,
        };
        let turn = self.next_turn();
        self.seat(slot, turn, Wait::After(point), settings);
    }

    /// Seats an element that stood in the queue already: its turn stays, and if its weight is the same, so does the
    /// point it waits for, unless the walk has passed it (it would be selected again and again to make up for lost
    /// rounds).
    fn rejoin(&mut self, slot: u32, place: Option<Place>, same_weight: bool, settings: &Settings) {
        let turn = place.map_or_else(|| self.next_turn(), |place| place.turn);
        let point = place.map(|place| place.key).filter(|&point| same_weight && point >= self.walk);
        self.seat(slot, turn, point.map_or(Wait::After(self.walk), Wait::At), settings);
    }

    /// Puts a slot where its rank belongs; `wait` matters for weighted turns only.
    fn seat(&mut self, slot: u32, turn: u64, wait: Wait, settings: &Settings) {
        let standing = match self.entries[slot as usize].rank(settings) {
            Rank::Queue(key) => Standing::Place(Some(Place { key: (key.into(), 0), turn })),
            Rank::Turns(0) => Standing::Place(None),
            Rank::Turns(weight) => {
                let key = match wait {
                    Wait::At(point) => point,
                    Wait::After(point) => next_after(point, weight),
                };
                Standing::Place(Some(Place { key, turn }))
            }
            Rank::Lots(weight) => Standing::Weight(weight),
        };
        self.order(slot).put_back(slot, standing);
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

impl Order {
    fn is_empty(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.first().is_none(),
            Self::Lots(lots) => lots.total() == 0,
        }
    }

    /// The first in the queue, or one drawn by lot.
    fn first(&self, random: &mut Random) -> Option<Taken> {
        match self {
            Self::Queue(queue) => {
                let slot = queue.first()?;
                Some(Taken { slot, standing: Standing::Place(queue.get(slot)) })
            }
            Self::Lots(lots) => {
                if lots.total() == 0 {
                    return None;
                }
                let slot = lots.owner(random.below(lots.total()));
                Some(Taken { slot, standing: Standing::Weight(lots.get(slot)) })
            }
        }
    }

    /// Where a slot stands, if this is a queue and the slot stands in it.
    fn place(&self, slot: u32) -> Option<Place> {
        match self {
            Self::Queue(queue) => queue.get(slot),
            Self::Lots(_) => None,
        }
    }

    fn put_back(&mut self, slot: u32, standing: Standing) {
        match (self, standing) {
            (Self::Queue(queue), Standing::Place(place)) => queue.set(slot, place),
            (Self::Lots(lots), Standing::Weight(weight)) => lots.set(slot, weight),
            (Self::Queue(_), Standing::Weight(_)) | (Self::Lots(_), Standing::Place(_)) => {
                unreachable!("all elements of a pool have one policy type, and rank alike")
            }
        }
    }

    fn clear(&mut self, slot: u32) {
        match self {
            Self::Queue(queue) => queue.set(slot, None),
            Self::Lots(lots) => lots.set(slot, 0),
        }
    }

    /// The element of slot `from` is in slot `to` now.
    fn renumber(&mut self, from: u32, to: u32) {
        match self {
            Self::Queue(queue) => {
                let place = queue.get(from);
                queue.set(from, None);
                queue.set(to, place);
            }
            Self::Lots(lots) => {
                let weight = lots.get(from);
                lots.set(from, 0);
                lots.set(to, weight);
            }
        }
    }

    fn truncate(&mut self, slots: usize) {
        match self {
            Self::Queue(queue) => queue.truncate(slots),
            Self::Lots(lots) => lots.truncate(slots),
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
