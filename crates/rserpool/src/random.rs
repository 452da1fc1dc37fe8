//! Randomness that is given, not taken.
//!
//! One generator of our own (xoshiro256++, seeded through SplitMix64: both public domain, by Blackman and Vigna), so
//! that the stream behind a seed never changes with a dependency. The real world seeds it from the operating system,
//! the simulated one from the run's seed. It draws identifiers, jitter and lots; it is not for keys or MACs.

use std::time::Duration;

/// A seeded generator. Equal seeds give equal streams, on every machine and in every version.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream of this seed.
    pub fn from_seed(seed: u64) -> Self {
        let mut split = seed;
        let mut next = || {
            split = split.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = split;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// A generator of its own for a part of the whole; drawing from one does not move the other.
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.next_u64())
    }

    /// 64 fresh bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let mut s = [a, b, c ^ a, d ^ b];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= b << 17;
        s[3] = s[3].rotate_left(45);
        self.state = s;
        result
    }

    /// A number below `bound`, all equally likely (Lemire's multiply and reject). `bound` 0 gives 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            let low = wide as u64;
            // The threshold is below the bound, so the division is mostly not needed.
            if low >= bound || low >= bound.wrapping_neg() % bound {
                return (wide >> 64) as u64;
            }
        }
    }

    /// A number in `1..=u32::MAX`: server and element identifiers are random and never 0 (RFC 5352 §2.2.1).
    pub fn nonzero_u32(&mut self) -> u32 {
        self.below(u64::from(u32::MAX)) as u32 + 1
    }

    /// True once in `of` on average; never if `of` is 0.
    pub fn one_in(&mut self, of: u64) -> bool {
        of != 0 && self.below(of) == 0
    }

    /// `span` changed by at most `permille` thousandths of itself, up or down.
    pub fn jittered(&mut self, span: Duration, permille: u32) -> Duration {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        let reach = (u128::from(nanos) * u128::from(permille.min(1000)) / 1000) as u64;
        Duration::from_nanos(nanos - reach + self.below(2 * reach + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        // Computed independently, from the authors' published description: SplitMix64(7) fills xoshiro256++.
        let mut random = Random::from_seed(7);
        let first = [random.next_u64(), random.next_u64(), random.next_u64()];
        assert_eq!(first, [0x0e2c_1a00_2aae_913d, 0x2c0f_c8dd_fa4e_9e14, 0xb7b3_11b3_b0d4_5872]);
        assert_ne!(first[0], Random::from_seed(8).next_u64());
    }

    #[test]
    fn draws_below_a_bound_are_even_and_stay_below() {
        let mut random = Random::from_seed(1);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_500..10_500).contains(&c)), "{counts:?}");
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }

    #[test]
    fn jitter_keeps_its_distance() {
        let mut random = Random::from_seed(3);
        let span = Duration::from_millis(1000);
        for _ in 0..1000 {
            let drawn = random.jittered(span, 125);
            assert!(drawn >= Duration::from_millis(875) && drawn <= Duration::from_millis(1125), "{drawn:?}");
        }
        assert_eq!(random.jittered(span, 0), span);
    }
}
