//! A bucket of tokens: what may be sent to addresses that nobody has confirmed, so that we are no weapon against them.

use rserpool::Time;
use std::time::Duration;

/// Packets that may be sent at once.
const BURST: u32 = 100;

/// One more may be sent after each such pause.
const PAUSE: Duration = Duration::from_millis(5);

/// Packets still free to send.
pub(super) struct Tokens {
    left: u32,
    /// Up to when tokens were handed out.
    since: Time,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { left: BURST, since: Time::ZERO }
    }
}

impl Tokens {
    /// Takes a token if there is one.
    pub fn take(&mut self, now: Time) -> bool {
        let fresh = now.since(self.since).as_nanos() / PAUSE.as_nanos();
        let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
        self.since = if fresh >= BURST { now } else { self.since + PAUSE * fresh };
        self.left = self.left.saturating_add(fresh).min(BURST);
        let may = self.left > 0;
        self.left -= u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_burst_and_then_one_per_pause() {
        let mut tokens = Tokens::default();
        let mut given = |at| (0..1000).filter(|_| tokens.take(at)).count();
        assert_eq!(given(Time::from_millis(1_000_000)), 100);
        assert_eq!(given(Time::from_millis(1_000_004)), 0);
        assert_eq!(given(Time::from_millis(1_000_012)), 2);
        assert_eq!(given(Time::from_millis(1_000_015)), 1);
        assert_eq!(given(Time::from_millis(9_000_000)), 100);
    }
}
