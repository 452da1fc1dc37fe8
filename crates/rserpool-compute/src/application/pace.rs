//! Sending no faster than a link can be expected to take.
//!
//! Nodes are not told how much of what they sent is still on its way, and a link whose queue is full is ended. The
//! protocols of RSPLIB have no acknowledgements that could hold a sender up, so whoever sends without end keeps a pace.

use rserpool::Time;
use std::time::Duration;

/// How often more may be sent.
const TICK: Duration = Duration::from_millis(10);

/// So many octets per second, in portions.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    portion: u64,
    left: u64,
    next: Time,
}

impl Pace {
    /// At most this many octets per second; at least 100.
    pub fn new(octets_per_second: u64) -> Self {
        let portion = (octets_per_second / 100).max(1);
        Self { portion, left: portion, next: Time::ZERO }
    }

    /// Takes leave to send a message. False: not before [`Self::next`]. A message may be larger than a portion; the
    /// next one then waits for a tick all the same.
    pub fn take(&mut self, now: Time, octets: usize) -> bool {
        if now >= self.next {
            self.left = self.portion;
            self.next = now + TICK;
        }
        if self.left == 0 {
            return false;
        }
        self.left = self.left.saturating_sub(octets as u64);
        true
    }

    /// When more may be sent, after a refusal.
    pub fn next(&self) -> Time {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_hundred_portions() {
        let mut pace = Pace::new(100_000);
        let (mut now, mut sent) = (Time::ZERO, 0);
        while now < Time::from_millis(1_000) {
            if pace.take(now, 500) { sent += 500 } else { now = pace.next() }
        }
        assert_eq!(sent, 100_000);
    }

    #[test]
    fn a_message_above_a_portion_goes_out_alone() {
        let mut pace = Pace::new(1_000);
        assert!(pace.take(Time::ZERO, 5_000));
        assert!(!pace.take(Time::from_millis(9), 1));
        assert!(pace.take(Time::from_millis(10), 5_000));
    }
}
