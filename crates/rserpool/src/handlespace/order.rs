//! Elements in order of selection: waiting in a queue, or with lots to be drawn.

use super::deadline::{Deadline, next_after};
use super::lots::Lots;
use super::queue::{Place, Queue};
use crate::policy::Rank;

/// Slots in order of selection. All elements of a pool rank alike, having one policy type.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// Ranks [`Rank::Queue`] and [`Rank::Turns`].
    Queue(Queue),
    /// Ranks [`Rank::Lots`].
    Lots(Lots),
}

/// For which of its points an element waits in weighted turns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    /// This one.
    At(Deadline),
    /// The first behind this one.
    After(Deadline),
}

/// The place in a queue of an element with this rank; `None`: it cannot serve. `wait` matters for weighted turns only.
pub(super) fn place(rank: Rank, turn: u64, wait: Wait) -> Option<Place> {
    match rank {
        Rank::Queue(key) => Some(Place { key: (key.into(), 0), turn }),
        Rank::Turns(0) => None,
        Rank::Turns(weight) => {
            let key = match wait {
                Wait::At(point) => point,
                Wait::After(point) => next_after(point, weight),
            };
            Some(Place { key, turn })
        }
        Rank::Lots(_) => unreachable!("a pool of queued elements has no lots"),
    }
}

/// The lots of an element with this rank.
pub(super) fn lots(rank: Rank) -> u32 {
    match rank {
        Rank::Lots(lots) => lots,
        Rank::Queue(_) | Rank::Turns(_) => unreachable!("a pool of drawn elements has no queue"),
    }
}

impl Order {
    /// An empty order for elements that rank like this.
    pub fn of(rank: Rank) -> Self {
        match rank {
            Rank::Queue(_) | Rank::Turns(_) => Self::Queue(Queue::default()),
            Rank::Lots(_) => Self::Lots(Lots::default()),
        }
    }

    /// True if nobody in it can serve.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Queue(queue) => queue.first().is_none(),
            Self::Lots(lots) => lots.total() == 0,
        }
    }

    /// Where a slot stands, if this is a queue and the slot stands in it.
    pub fn place(&self, slot: u32) -> Option<Place> {
        match self {
            Self::Queue(queue) => queue.get(slot),
            Self::Lots(_) => None,
        }
    }

    /// Seats a slot where its rank belongs.
    pub fn seat(&mut self, slot: u32, rank: Rank, turn: u64, wait: Wait) {
        match self {
            Self::Queue(queue) => queue.set(slot, place(rank, turn, wait)),
            Self::Lots(drawn) => drawn.set(slot, lots(rank)),
        }
    }

    /// Takes a slot out.
    pub fn clear(&mut self, slot: u32) {
        match self {
            Self::Queue(queue) => queue.set(slot, None),
            Self::Lots(lots) => lots.set(slot, 0),
        }
    }

    /// The element of slot `from` is in slot `to` now.
    pub fn renumber(&mut self, from: u32, to: u32) {
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

    /// Forgets the slots from `slots` on, which are empty.
    pub fn truncate(&mut self, slots: usize) {
        match self {
            Self::Queue(queue) => queue.truncate(slots),
            Self::Lots(lots) => lots.truncate(slots),
        }
    }
}
