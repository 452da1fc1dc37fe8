//! The PE checksum (RFC 5353 §3.6.2): how registrars notice that their handlespaces differ.
//!
//! It is the Internet checksum over "pool handle, PE identifier" of every element a registrar owns, each handle padded
//! to whole words. Sums do not care for order, so one running sum per owner is enough: [`Sum::add`] and
//! [`Sum::remove`] as elements come, go and change owners.

use crate::{ElementId, PoolHandle};

/// A running sum over the elements of one owner.
///
/// The reference sums in 32 bits and goes wrong beyond some 15,000 elements; 64 bits hold for any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// Counts an element in.
    pub fn add(&mut self, handle: &PoolHandle, id: ElementId) {
        self.0 += words(handle, id);
    }

    /// Counts an element out that was counted in.
    pub fn remove(&mut self, handle: &PoolHandle, id: ElementId) {
        let words = words(handle, id);
        debug_assert!(self.0 >= words, "an element is counted out that was not counted in");
        self.0 = self.0.wrapping_sub(words);
    }

    /// The checksum as Presence messages carry it.
    pub fn checksum(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// The sum of an element's words of 16 bits.
fn words(handle: &PoolHandle, id: ElementId) -> u64 {
    let handle = handle.as_bytes().chunks(2).map(|pair| match *pair {
        [high, low] => u64::from(u16::from_be_bytes([high, low])),
        [high] => u64::from(high) << 8,
        _ => 0,
    });
    handle.sum::<u64>() + u64::from(id.0 >> 16) + u64::from(id.0 & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(elements: &[(&str, u32)]) -> Sum {
        let mut sum = Sum::default();
        for &(handle, id) in elements {
            sum.add(&PoolHandle::new(handle).expect("legal"), ElementId(id));
        }
        sum
    }

    #[test]
    fn checksums_are_those_seen_in_captured_presences() {
        let seen = |elements: &[(&str, u32)], words: u64, checksum: u16| {
            assert_eq!(sum(elements), Sum(words), "{elements:?}");
            assert_eq!(sum(elements).checksum(), checksum, "{elements:?}");
        };
        seen(&[], 0, 0xffff);
        seen(&[("EchoPool", 0x401), ("EchoPool", 0x501)], 0x2e45c, 0x1ba1);
        seen(&[("EchoPool", 0x401), ("EchoPool", 0x501), ("DiscardPool", 0x402)], 0x5415b, 0xbe9f);
        seen(&[("PingPongPool", 0x4444_4444)], 0x2c609, 0x39f4);
        seen(&[("OrphanPool", 0x777)], 0x1e89a, 0x1764);
    }

    #[test]
    fn order_does_not_matter_and_removing_undoes_adding() {
        let mut both = sum(&[("a", 1), ("longer", 0xffff_ffff)]);
        assert_eq!(both, sum(&[("longer", 0xffff_ffff), ("a", 1)]));
        both.remove(&PoolHandle::new("longer").expect("legal"), ElementId(0xffff_ffff));
        assert_eq!(both, sum(&[("a", 1)]));
        assert_eq!(both.checksum(), !0x6101);
    }

    #[test]
    fn more_elements_than_32_bits_can_sum_are_summed() {
        let mut sum = Sum(0);
        let handle = PoolHandle::new([0xff; 32]).expect("legal");
        (0..10_000).for_each(|_| sum.add(&handle, ElementId(0xffff_ffff)));
        assert_eq!(sum, Sum(10_000 * 18 * 0xffff));
        sum.0 *= 1_000_000;
        assert_eq!(sum.checksum(), 0, "every word is 0xffff, so is their one's complement sum");
    }
}
