//! A queue whose places change all the time.
//!
//! A tournament over slots: each inner node names the slot with the lowest place below it, so the first of all is at
//! the root and a changed place plays again only on its way up, and only while that changes a result:
//!
//! ```text
//!            2                winners[1]
//!       2         1           winners[2..4]
//!     2   4     1   7         winners[4..8]   (slots 0 to 7 below)
//! ```
//!
//! Why not an ordered set: a load report moves one element from somewhere to somewhere else, which there is a removal
//! and an insertion with many comparisons; here it is mostly two or three, and never more than log2 of the slots.

/// A place in the queue; no two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// What the policy says: a key, or a [`Deadline`](super::deadline::Deadline) in two parts.
    pub key: (u64, u64),
    /// When its element was selected last, or came: equals take turns.
    pub turn: u64,
}

impl Place {
    /// Behind everything: nobody stands here.
    const NOBODY: Self = Self { key: (u64::MAX, u64::MAX), turn: u64::MAX };

    /// True if this place is lower: by key, then by turn. (The derived order takes three times as many instructions, and
    /// a selection is little else.)
    fn is_before(&self, other: &Self) -> bool {
        if self.key.0 != other.key.0 {
            self.key.0 < other.key.0
        } else if self.key.1 != other.key.1 {
            self.key.1 < other.key.1
        } else {
            self.turn < other.turn
        }
    }
}

/// Slots in order of their places.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// By slot; behind the last one nobody stands.
    places: Vec<Place>,
    /// The tree: node 1 is the root, node `n` has the children `2n` and `2n + 1`, and the nodes from `winners.len()` on
    /// are the slots themselves. As long as `places`: a power of two, or empty.
    winners: Vec<u32>,
}

impl Queue {
    /// The slot with the lowest place, and the place.
    pub fn first(&self) -> Option<(u32, Place)> {
        let &first = self.winners.get(1)?;
        Some((first, self.get(first)?))
    }

    /// The place of a slot, if it stands in the queue.
    pub fn get(&self, slot: u32) -> Option<Place> {
        self.places.get(slot as usize).copied().filter(|&place| place != Place::NOBODY)
    }

    /// Gives a slot a place, or takes it out of the queue.
    pub fn set(&mut self, slot: u32, place: Option<Place>) {
        if slot as usize >= self.places.len() {
            if place.is_none() {
                return;
            }
            self.rebuild(slot as usize + 1);
        }
        let place = place.unwrap_or(Place::NOBODY);
        if std::mem::replace(&mut self.places[slot as usize], place) != place {
            self.play(slot);
        }
    }

    /// Forgets the slots from `slots` on. They must have left the queue.
    pub fn truncate(&mut self, slots: usize) {
        debug_assert!(self.places.iter().skip(slots).all(|&place| place == Place::NOBODY));
        if self.places.len() > 4 * slots.max(16) {
            self.rebuild(slots);
        }
    }

    /// Plays the games of a slot whose place changed, from its leaf up to where the result stays the same.
    fn play(&mut self, slot: u32) {
        let (places, winners) = (&self.places[..], &mut self.winners[..]);
        let (mut winner, mut best) = (slot, &places[slot as usize]);
        let (mut node, mut rival) = ((winners.len() + slot as usize) / 2, slot ^ 1);
        loop {
            let other = &places[rival as usize];
            if other.is_before(best) {
                (winner, best) = (rival, other);
            }
            if winners[node] == winner && winner != slot || node == 1 {
                winners[node] = winner;
                return;
            }
            winners[node] = winner;
            rival = winners[node ^ 1];
            node /= 2;
        }
    }

    /// Plays all games, in a tree that fits so many slots.
    fn rebuild(&mut self, slots: usize) {
        let leaves = slots.next_power_of_two().max(2);
        self.places.resize(leaves, Place::NOBODY);
        self.places.shrink_to_fit();
        self.winners = vec![0; leaves];
        for node in (1..leaves).rev() {
            self.winners[node] = self.game(node);
        }
    }

    /// Who wins at an inner node, judging by its two children.
    fn game(&self, node: usize) -> u32 {
        let winner_of = |child: usize| match self.winners.get(child) {
            Some(&winner) => winner,
            None => (child - self.winners.len()) as u32,
        };
        let (left, right) = (winner_of(2 * node), winner_of(2 * node + 1));
        if self.places[right as usize].is_before(&self.places[left as usize]) { right } else { left }
    }

    /// Panics unless every inner node names a slot with the lowest place below it.
    pub fn check(&self) {
        assert_eq!(self.places.len(), self.winners.len(), "slots and leaves");
        for node in 1..self.winners.len() {
            let [named, played] =
                [self.winners[node], self.game(node)].map(|slot| self.places[slot as usize]);
            assert_eq!(named, played, "node {node} names the wrong winner");
        }
    }
}
