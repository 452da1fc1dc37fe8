//! Drawing by lot: slots with weights, one drawn with the odds of its weight.
//!
//! A tree eight wide: each node holds the running sums of the eight below it, so a draw is one look at one cache line per
//! level, and so is a change:
//!
//! ```text
//!   levels[1]   [ 9 11 .. 11 ]                    slots 0-7 have 9 lots together, slots 8-15 have 2
//!   levels[0]   [ 3 3 4 9 9 9 9 9 ] [ 2 2 .. 2 ]  slot 0 has 3 lots, slot 2 one, slot 3 five, slot 8 two
//! ```

/// Children of a node.
const WIDTH: usize = 8;

/// Weights by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Lots {
    /// From the slots to the root; the last level has one node. At most 2^32 slots of less than 2^32 lots each, so a
    /// sum fits.
    levels: Vec<Vec<[u64; WIDTH]>>,
}

impl Lots {
    /// All weights together.
    pub fn total(&self) -> u64 {
        self.levels.last().map_or(0, |root| root[0][WIDTH - 1])
    }

    /// The weight of a slot; 0 if it never had one.
    pub fn get(&self, slot: u32) -> u32 {
        let (node, child) = (slot as usize / WIDTH, slot as usize % WIDTH);
        let Some(sums) = self.levels.first().and_then(|leaves| leaves.get(node)) else { return 0 };
        let before = if child == 0 { 0 } else { sums[child - 1] };
        (sums[child] - before) as u32
    }

    /// Gives a slot a weight.
    pub fn set(&mut self, slot: u32, weight: u32) {
        let (old, new) = (u64::from(self.get(slot)), u64::from(weight));
        if old == new {
            return;
        }
        self.fit(slot as usize + 1);
        let mut at = slot as usize;
        for level in &mut self.levels {
            let sums = &mut level[at / WIDTH];
            for sum in &mut sums[at % WIDTH..] {
                *sum = *sum - old + new;
            }
            at /= WIDTH;
        }
    }

    /// The slot that owns this one of all lots; `lot` must be below [`Self::total`].
    pub fn owner(&self, mut lot: u64) -> u32 {
        debug_assert!(lot < self.total());
        let mut at = 0;
        for level in self.levels.iter().rev() {
            let sums = &level[at];
            // How many children's sums are not beyond the lot; the last one's always is.
            let mut child = 4 * usize::from(sums[3] <= lot);
            child += 2 * usize::from(sums[child + 1] <= lot);
            child += usize::from(sums[child] <= lot);
            if child > 0 {
                lot -= sums[child - 1];
            }
            at = at * WIDTH + child;
        }
        at as u32
    }

    /// Forgets the slots from `slots` on. Their weights must be 0.
    pub fn truncate(&mut self, slots: usize) {
        let mut nodes = slots;
        for level in &mut self.levels {
            nodes = nodes.div_ceil(WIDTH);
            level.truncate(nodes);
            if level.capacity() > 4 * nodes.max(WIDTH) {
                level.shrink_to(2 * nodes);
            }
        }
        while let [.., below, _] = &self.levels[..]
            && below.len() <= 1
        {
            self.levels.pop();
        }
        self.levels.retain(|level| !level.is_empty());
    }

    /// Makes room for so many slots.
    fn fit(&mut self, slots: usize) {
        let mut nodes = slots.div_ceil(WIDTH);
        for level in &mut self.levels {
            // Every sum of a new node is 0, and so is what it adds to the levels above.
            if level.len() < nodes {
                level.resize(nodes, [0; WIDTH]);
            }
            nodes = level.len().div_ceil(WIDTH);
        }
        while self.levels.last().is_none_or(|top| top.len() > 1) {
            self.levels.push(self.above(slots));
        }
    }

    /// The level above the top one, or the first one for so many slots.
    fn above(&self, slots: usize) -> Vec<[u64; WIDTH]> {
        let Some(top) = self.levels.last() else {
            return vec![[0; WIDTH]; slots.div_ceil(WIDTH)];
        };
        let running = |nodes: &[[u64; WIDTH]]| {
            let mut sum = 0;
            std::array::from_fn(|child| {
                sum += nodes.get(child).map_or(0, |node| node[WIDTH - 1]);
                sum
            })
        };
        top.chunks(WIDTH).map(running).collect()
    }

    /// Panics unless the sums are those of the weights that `expected` gives by slot.
    pub fn check(&self, expected: impl Fn(u32) -> u32) {
        let mut below: Vec<u64> = Vec::new();
        for (height, level) in self.levels.iter().enumerate() {
            if height == 0 {
                below = (0..(level.len() * WIDTH) as u32).map(|slot| expected(slot).into()).collect();
            }
            assert_eq!(level.len(), below.len().div_ceil(WIDTH), "nodes at height {height}");
            for (node, sums) in level.iter().enumerate() {
                let mut sum = 0;
                for (child, &found) in sums.iter().enumerate() {
                    sum += below.get(node * WIDTH + child).unwrap_or(&0);
                    assert_eq!(found, sum, "child {child} of node {node} at height {height}");
                }
            }
            below = level.iter().map(|sums| sums[WIDTH - 1]).collect();
        }
        assert!(below.len() <= 1, "no root");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lot_has_its_owner() {
        let weights = [3, 0, 1, 5, 0, 0, 2, 1, 0, 0, 4];
        let mut lots = Lots::default();
        for (slot, &weight) in weights.iter().enumerate() {
            lots.set(slot as u32, weight);
        }
        lots.check(|slot| weights.get(slot as usize).copied().unwrap_or(0));
        let owners: Vec<u32> = (0..lots.total()).map(|lot| lots.owner(lot)).collect();
        assert_eq!(owners, [0, 0, 0, 2, 3, 3, 3, 3, 3, 6, 6, 7, 10, 10, 10, 10]);
        lots.set(3, 0);
        let owners: Vec<u32> = (0..lots.total()).map(|lot| lots.owner(lot)).collect();
        assert_eq!(owners, [0, 0, 0, 2, 6, 6, 7, 10, 10, 10, 10]);
    }

    #[test]
    fn slots_come_and_go_at_the_end() {
        let mut lots = Lots::default();
        assert_eq!((lots.total(), lots.get(3)), (0, 0));
        lots.set(2_000, 7);
        assert_eq!((lots.total(), lots.owner(6), lots.get(2_000), lots.get(1_999)), (7, 2_000, 7, 0));
        lots.set(1, 2);
        lots.set(2_000, 0);
        lots.truncate(4);
        lots.check(|slot| if slot == 1 { 2 } else { 0 });
        assert_eq!(lots.levels.len(), 1);
        lots.set(70, u32::MAX);
        lots.check(|slot| {
            [0, 2].get(slot as usize).copied().unwrap_or(if slot == 70 { u32::MAX } else { 0 })
        });
        assert_eq!((lots.owner(lots.total() - 1), lots.owner(1)), (70, 1));
        lots.set(70, 0);
        lots.set(1, 0);
        lots.truncate(0);
        assert_eq!((lots.total(), lots.levels.len()), (0, 0));
    }
}
