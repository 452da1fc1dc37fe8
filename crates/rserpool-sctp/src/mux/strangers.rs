//! Packets out of the blue: they belong to no association (RFC 9260 §8.4).
//!
//! A polite answer spares a living peer its timeouts. But answers to forged packets hit somebody else, so their number
//! is limited: a bucket of tokens for all strangers together.

use super::{Mux, Transmit};
use crate::Path;
use crate::packet::{Packet, REFLECTED, kind, lone};
use rserpool::Time;
use std::time::Duration;

/// Answers that may be given at once.
const BURST: u32 = 100;

/// One more may be given after each such pause.
const PAUSE: Duration = Duration::from_millis(5);

/// Answers still free to give.
pub(super) struct Strangers {
    tokens: u32,
    /// Up to when tokens were handed out.
    since: Time,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { tokens: BURST, since: Time::ZERO }
    }
}

impl Strangers {
    /// Takes a token if there is one.
    fn may_answer(&mut self, now: Time) -> bool {
        let fresh = now.since(self.since).as_nanos() / PAUSE.as_nanos();
        let fresh = u32::try_from(fresh).unwrap_or(u32::MAX);
        self.since = if fresh >= BURST { now } else { self.since + PAUSE * fresh };
        self.tokens = self.tokens.saturating_add(fresh).min(BURST);
        let may = self.tokens > 0;
        self.tokens -= u32::from(may);
        may
    }
}

impl Mux {
    /// Answers a packet that belongs to nothing, as RFC 9260 §8.4 (2)-(8) says.
    pub(super) fn stranger(&mut self, now: Time, from: Path, packet: &Packet<'_>) {
        // Every ERROR is passed over, not only a stale cookie: two strangers must not answer each other's complaints.
        // Tag 0 is for INIT alone: nobody waits for an answer that carries it.
        let silent = [kind::ABORT, kind::SHUTDOWN_COMPLETE, kind::COOKIE_ACK, kind::ERROR, kind::INIT];
        if packet.tag() == 0 || silent.into_iter().any(|kind| packet.has(kind)) {
            return;
        }
        let answer = if packet.has(kind::SHUTDOWN_ACK) { kind::SHUTDOWN_COMPLETE } else { kind::ABORT };
        self.tell_stranger(now, from, lone(packet.ports(), packet.tag(), answer, REFLECTED, &[]));
    }

    /// Sends an answer to somebody we have no association with, if there were not too many already.
    pub(super) fn tell_stranger(&mut self, now: Time, from: Path, bytes: Vec<u8>) {
        if self.strangers.may_answer(now) {
            self.outputs.push_back(Transmit { path: from, bytes });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_a_burst_of_answers_and_then_one_per_pause() {
        let mut strangers = Strangers::default();
        let mut given = |at| (0..1000).filter(|_| strangers.may_answer(at)).count();
        assert_eq!(given(Time::from_millis(1_000_000)), 100);
        assert_eq!(given(Time::from_millis(1_000_004)), 0);
        assert_eq!(given(Time::from_millis(1_000_012)), 2);
        assert_eq!(given(Time::from_millis(1_000_015)), 1);
        assert_eq!(given(Time::from_millis(9_000_000)), 100);
    }
}
