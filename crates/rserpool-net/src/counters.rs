//! What came in and was turned away, by reason.
//!
//! Hostile or broken bytes end a link at most, never the process, and nobody is told line by line: they are counted.
//! Counters may be read from any thread.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Why something that came in was turned away.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];
        }

        impl fmt::Display for Reason {
            /// A few words: "frame length".
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)+ })
            }
        }
    };
}

reasons! {
    /// The first octet was neither a frame nor a bare ASAP message.
    FirstOctet = "first octet",
    /// TLS on the port without TLS.
    Tls = "TLS on the plain port",
    /// A frame of length 0 or above the limit.
    FrameLength = "frame length",
    /// A PPID that is not allowed at this door.
    Ppid = "PPID not allowed",
    /// A link frame that makes no sense here: a second Hello, an unknown type, a wrong length.
    LinkFrame = "link frame",
    /// Something else came before Hello, or no Hello in time.
    HelloMissing = "Hello late or missing",
    /// A Hello of another version.
    HelloVersion = "Hello version",
    /// A Hello for somebody else: another element, another pool.
    HelloWanted = "Hello for somebody else",
    /// A bare ASAP message that pool users do not send, or one that is too short or too long.
    BareAsap = "bare ASAP message",
    /// A link ended without Bye, by reset or by the end of its stream.
    EndedUnsaid = "ended without Bye",
    /// A link that fell silent.
    Silence = "silence",
    /// A frame that was begun and not finished in time.
    SlowFrame = "frame never finished",
    /// An ASAP link nobody used.
    Idle = "idle",
    /// Too many half-open links: the oldest one was ended.
    HalfOpen = "too many half-open links",
    /// Too many links: the new one was not taken.
    TooManyLinks = "too many links",
    /// The node sent more than the other side took.
    Overflow = "send queue overflow",
    /// The memory for buffers was used up.
    Memory = "buffer memory",
    /// A datagram that belongs to no association, or is none.
    Datagram = "stray datagram",
    /// An error report of an SCTP peer.
    PeerError = "error reported by the peer",
    /// A message, or a fragment of one, that SCTP gave up on.
    Undelivered = "not delivered",
    /// A socket that could not be accepted.
    Accept = "accept failed",
}

/// Counts by reason. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    counts: Arc<[AtomicU64; 32]>,
}

impl Counters {
    /// One more.
    pub(crate) fn count(&self, reason: Reason) {
        self.add(reason, 1);
    }

    /// So many more.
    pub(crate) fn add(&self, reason: Reason, more: u64) {
        if more == 0 {
            return;
        }
        self.counts[reason as usize].fetch_add(more, Ordering::Relaxed);
    }

    /// How often this happened.
    pub fn get(&self, reason: Reason) -> u64 {
        self.counts[reason as usize].load(Ordering::Relaxed)
    }

    /// All reasons that happened, with how often.
    pub fn seen(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|&reason| (reason, self.get(reason))).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_count_together_and_every_reason_has_a_place() {
        let counters = Counters::default();
        let copy = counters.clone();
        for &reason in Reason::ALL {
            copy.count(reason);
        }
        copy.add(Reason::Silence, 2);
        assert_eq!(counters.get(Reason::Silence), 3);
        assert_eq!(counters.seen().count(), Reason::ALL.len());
        assert_eq!(Reason::Tls.to_string(), "TLS on the plain port");
    }
}
