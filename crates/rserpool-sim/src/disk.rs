//! The disk of a client: two files that grow, and what becomes of them when the power fails.
//!
//! What was synced survives. Of what was only written, a loss of power leaves any first part, down to a single octet, and
//! sometimes nonsense in place of its end. A process that dies alone loses nothing it wrote. A disk may be full, in the
//! middle of a write, and it may be slow.

use rserpool::Random;
use rserpool_compute::durable::File;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// A disk that outlives the process that writes on it.
pub type Shared = Rc<RefCell<Disk>>;

/// A file: its octets, and how many of them survive everything.
#[derive(Clone, Debug, Default)]
pub struct Content {
    /// All octets written.
    pub octets: Vec<u8>,
    /// The first so many are synced.
    pub synced: usize,
}

/// A disk, see the [module](self).
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<File, Content>,
    /// Octets that still fit; `None`: as many as one likes.
    left: Option<usize>,
    /// How many times slower than usual it is; 0 counts as 1.
    slow: u32,
    /// How often a loss of power cut a write in two.
    torn: u64,
}

impl Disk {
    /// The octets of a file.
    pub fn file(&self, file: File) -> &[u8] {
        self.files.get(&file).map_or(&[], |content| &content.octets)
    }

    /// Those of them that are synced.
    pub fn synced(&self, file: File) -> &[u8] {
        self.files.get(&file).map_or(&[], |content| &content.octets[..content.synced])
    }

    /// Appends octets, or as many as fit; then it is full.
    pub fn append(&mut self, file: File, octets: &[u8]) -> Result<(), String> {
        let fits = self.left.map_or(octets.len(), |left| left.min(octets.len()));
        if let Some(left) = &mut self.left {
            *left -= fits;
        }
        self.files.entry(file).or_default().octets.extend(&octets[..fits]);
        if fits < octets.len() { Err("no space left on device".into()) } else { Ok(()) }
    }

    /// The first so many octets of a file survive from now on.
    pub fn sync(&mut self, file: File, length: usize) {
        let content = self.files.entry(file).or_default();
        content.synced = content.synced.max(length.min(content.octets.len()));
    }

    /// Cuts a file before it is written on.
    pub fn cut(&mut self, file: File, length: usize) {
        let content = self.files.entry(file).or_default();
        content.octets.truncate(length);
        content.synced = content.synced.min(length);
    }

    /// How long a sync takes.
    pub fn latency(&self, random: &mut Random) -> Duration {
        let longest = if random.one_in(8) { 20_000 } else { 2_000 };
        let usual = 50 + random.below(longest);
        Duration::from_micros(usual) * self.slow.max(1)
    }

    /// The power fails: of what is not synced any first part survives, and some of it may be nonsense.
    pub fn loses_power(&mut self, random: &mut Random) {
        for content in self.files.values_mut() {
            let tail = content.octets.len() - content.synced;
            let kept = random.below(tail as u64 + 1) as usize;
            content.octets.truncate(content.synced + kept);
            if random.one_in(3) {
                let good = content.synced + random.below(kept as u64 + 1) as usize;
                content.octets[good..].fill_with(|| random.next_u64() as u8);
            }
            self.torn += u64::from(kept > 0 && kept < tail);
            content.synced = content.octets.len();
        }
    }

    /// From now on only so many octets more fit; `None`: as many as one likes.
    pub fn leaves_room(&mut self, left: Option<usize>) {
        self.left = left;
    }

    /// From now on it is so many times slower than usual.
    pub fn slows(&mut self, times: u32) {
        self.slow = times;
    }

    /// How often a loss of power cut a write in two.
    pub fn torn(&self) -> u64 {
        self.torn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_of_the_rest_a_first_part() {
        let mut random = Random::from_seed(1);
        let mut lengths = std::collections::BTreeSet::new();
        for _ in 0..300 {
            let mut disk = Disk::default();
            disk.append(File::Journal, b"safe").expect("there is room");
            disk.sync(File::Journal, 4);
            disk.append(File::Journal, b"12345678").expect("there is room");
            disk.loses_power(&mut random);
            assert_eq!(&disk.file(File::Journal)[..4], b"safe");
            lengths.insert(disk.file(File::Journal).len());
        }
        assert_eq!(lengths, (4..=12).collect());
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_says_so() {
        let mut disk = Disk::default();
        disk.leaves_room(Some(3));
        assert!(disk.append(File::Outputs, b"abcd").is_err());
        assert_eq!(disk.file(File::Outputs), b"abc");
        disk.leaves_room(None);
        assert!(disk.append(File::Outputs, b"d").is_ok());
    }
}
