//! The books of the environment cache: which environments an element has, and which go when there are too many.

use super::Hash;
use std::collections::BTreeMap;

/// What is in the cache. The files themselves are the world's.
#[derive(Clone, Debug)]
pub struct Cache {
    size_max: u64,
    entries_max: usize,
    entries: BTreeMap<Hash, Entry>,
    size: u64,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    size: u64,
    /// The number of the use that was its last one.
    used: u64,
}

impl Cache {
    /// An empty cache for so many octets in so many files.
    pub fn new(size_max: u64, entries_max: usize) -> Self {
        Self { size_max, entries_max, entries: BTreeMap::new(), size: 0, uses: 0 }
    }

    /// True if it is there; it counts as used.
    pub fn find(&mut self, hash: &Hash) -> bool {
        self.uses += 1;
        let used = self.uses;
        self.entries.get_mut(hash).map(|entry| entry.used = used).is_some()
    }

    /// Takes a file in. Returns those that have to go for it, the one unused for longest first; `None`: it is too large
    /// to be kept at all, and nothing changes.
    pub fn admit(&mut self, hash: Hash, size: u64) -> Option<Vec<Hash>> {
        if size > self.size_max || self.entries_max == 0 {
            return None;
        }
        self.remove(&hash);
        let mut gone = Vec::new();
        while self.entries.len() >= self.entries_max || self.size + size > self.size_max {
            let (&oldest, _) =
                self.entries.iter().min_by_key(|(_, entry)| entry.used).expect("something is there");
            self.remove(&oldest);
            gone.push(oldest);
        }
        self.uses += 1;
        self.size += size;
        self.entries.insert(hash, Entry { size, used: self.uses });
        Some(gone)
    }

    /// Forgets a file: it was found damaged, or is gone.
    pub fn remove(&mut self, hash: &Hash) {
        if let Some(entry) = self.entries.remove(hash) {
            self.size -= entry.size;
        }
    }

    /// How many files there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_unused_for_longest_goes_first() {
        let [a, b, c, d] = [1, 2, 3, 4].map(|octet| [octet; 20]);
        let mut cache = Cache::new(100, 3);
        for hash in [a, b, c] {
            assert_eq!(cache.admit(hash, 30), Some(vec![]));
        }
        assert!(cache.find(&a));
        assert_eq!(cache.admit(d, 30), Some(vec![b]), "by number");
        assert_eq!(cache.admit(b, 50), Some(vec![c, a]), "by size");
        assert!(!cache.find(&a) && !cache.find(&c) && cache.find(&d) && cache.find(&b));
        assert_eq!(cache.admit(a, 101), None);
        assert_eq!(cache.admit(b, 60), Some(vec![]), "the same once more takes its own place");
        cache.remove(&b);
        assert_eq!((cache.len(), cache.size), (1, 30));
    }
}
