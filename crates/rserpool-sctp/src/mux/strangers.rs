//! Packets out of the blue: they belong to no association (RFC 9260 §8.4).
//!
//! A polite answer spares a living peer its timeouts. But answers to forged packets hit somebody else, so their number
//! is limited: a bucket of tokens for all strangers together.

use super::{Mux, Transmit};
use crate::Path;
use crate::packet::{Packet, REFLECTED, kind, lone};
use rserpool::Time;

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
        if self.strangers.take(now) {
            self.outputs.push_back(Transmit { path: from, bytes });
        }
    }
}
