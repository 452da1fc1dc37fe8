//! Drawing by lot: slots with weights, one drawn with the odds of its weight.
//!
//! Partial sums (a Fenwick tree): node `n`, counted from 1, holds the weights of the slots `n - lowbit(n) .. n`, so a
//! changed weight touches the log2 of the slots, and so does a draw.

/// Weights by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Lots {
    /// `sums[n - 1]` is node `n`.
    sums: Vec<u64>,
    /// All weights together: at most 2^32 slots of less than 2^32 each.
    total: u64,
}

impl Lots {
    /// All weights together.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The weight of a slot; 0 if it never had one.
    pub fn get(&self, slot: u32) -> u32 {
        let mut node = slot as usize + 1;
        if node > self.sums.len() {
            return 0;
        }
        let mut weight = self.sums[node - 1];
        let end = node - low_bit(node);
        node -= 1;
        while node > end {
            weight -= self.sums[node - 1];
            node -= low_bit(node);
        }
        weight as u32
    }

    /// Gives a slot a weight.
    pub fn set(&mut self, slot: u32, weight: u32) {
        if slot as usize >= self.sums.len() {
            if weight == 0 {
                return;
            }
            while self.sums.len() <= slot as usize {
                self.push_empty();
            }
        }
        let (old, new) = (u64::from(self.get(slot)), u64::from(weight));
        if old == new {
            return;
        }
        self.total = self.total - old + new;
        let mut node = slot as usize + 1;
        while node <= self.sums.len() {
            self.sums[node - 1] = self.sums[node - 1] - old + new;
            node += low_bit(node);
        }
    }

    /// The slot that owns this one of all lots; `lot` must be below [`Self::total`].
    pub fn owner(&self, mut lot: u64) -> u32 {
        debug_assert!(lot < self.total);
        let mut before = 0;
        let mut stride = self.sums.len().checked_ilog2().map_or(0, |bits| 1 << bits);
        while stride > 0 {
            if let Some(&sum) = self.sums.get(before + stride - 1)
                && sum <= lot
            {
                lot -= sum;
                before += stride;
            }
            stride /= 2;
        }
        before as u32
    }

    /// Forgets the slots from `slots` on. Their weights must be 0.
    pub fn truncate(&mut self, slots: usize) {
        // A node covers only slots up to its own, so what remains stays true.
        self.sums.truncate(slots);
        if self.sums.capacity() > 4 * slots.max(16) {
            self.sums.shrink_to_fit();
        }
    }

    /// Adds a slot of weight 0.
    fn push_empty(&mut self) {
        let node = self.sums.len() + 1;
        let end = node - low_bit(node);
        let (mut below, mut sum) = (node - 1, 0);
        while below > end {
            sum += self.sums[below - 1];
            below -= low_bit(below);
        }
        self.sums.push(sum);
    }

    /// Panics unless the sums are those of the weights that `expected` gives by slot.
    pub fn check(&self, expected: impl Fn(u32) -> u32) {
        let weights: Vec<u64> = (0..self.sums.len() as u32).map(|slot| expected(slot).into()).collect();
        assert_eq!(self.total, weights.iter().sum::<u64>(), "the total of the lots");
        for node in 1..=self.sums.len() {
            let sum: u64 = weights[node - low_bit(node)..node].iter().sum();
            assert_eq!(self.sums[node - 1], sum, "node {node} of the lots");
        }
    }
}

const fn low_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lot_has_its_owner() {
        let weights = [3, 0, 1, 5, 0, 0, 2, 1, 0];
        let mut lots = Lots::default();
        for (slot, &weight) in weights.iter().enumerate() {
            lots.set(slot as u32, weight);
        }
        lots.check(|slot| weights[slot as usize]);
        let owners: Vec<u32> = (0..lots.total()).map(|lot| lots.owner(lot)).collect();
        assert_eq!(owners, [0, 0, 0, 2, 3, 3, 3, 3, 3, 6, 6, 7]);
        lots.set(3, 0);
        let owners: Vec<u32> = (0..lots.total()).map(|lot| lots.owner(lot)).collect();
        assert_eq!(owners, [0, 0, 0, 2, 6, 6, 7]);
    }

    #[test]
    fn slots_come_and_go_at_the_end() {
        let mut lots = Lots::default();
        lots.set(20, 7);
        assert_eq!((lots.total(), lots.owner(6), lots.get(20), lots.get(19)), (7, 20, 7, 0));
        lots.set(20, 0);
        lots.truncate(4);
        lots.set(5, u32::MAX);
        lots.check(|slot| if slot == 5 { u32::MAX } else { 0 });
        assert_eq!(lots.owner(lots.total() - 1), 5);
    }
}
