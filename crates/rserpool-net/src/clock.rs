//! The clock and the dice: the two things a node is never allowed to reach for itself.

use rserpool::{Random, Time};
use std::time::{Duration, Instant};

/// A monotonic clock with a zero of its own. Copies share the zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock that shows [`Time::ZERO`] now.
    pub fn start() -> Self {
        Self { zero: Instant::now() }
    }

    /// The moment it is.
    pub fn now(&self) -> Time {
        Time::ZERO + self.zero.elapsed()
    }

    /// The system's name for a moment.
    pub(crate) fn instant(&self, at: Time) -> Instant {
        // Far moments are cut to a day: whoever sleeps so long looks at the clock again and goes on sleeping.
        self.zero + at.since(Time::ZERO).min(self.zero.elapsed() + Duration::from_secs(86_400))
    }
}

/// A generator seeded by the operating system. The seed is returned too, for the log.
pub fn seeded() -> (Random, u64) {
    let seed = u64::from_le_bytes(secret());
    (Random::from_seed(seed), seed)
}

/// Octets nobody can guess, for keys.
pub(crate) fn secret<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).expect("every supported system has a random source");
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_clock_share_their_zero() {
        let clock = Clock::start();
        let copy = clock;
        let early = clock.now();
        assert!(copy.now() >= early);
        assert_eq!(clock.instant(Time::from_millis(5)), copy.instant(Time::from_millis(5)));
    }

    #[test]
    fn moments_beyond_all_timers_have_an_instant_too() {
        let clock = Clock::start();
        let far = clock.instant(Time::from_nanos(u64::MAX));
        assert!(far > Instant::now() + Duration::from_secs(80_000));
    }

    #[test]
    fn two_seeds_differ() {
        assert_ne!(seeded().1, seeded().1);
    }
}
