//! What goes into a [`Mux`](super::Mux) and comes out of it.

use super::PathState;
use crate::Path;
use rserpool::Ppid;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The name of an association. Never used twice in one [`Mux`](super::Mux).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssocId(pub u64);

/// The other end of an association.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its addresses: first the one in use, then others it listed when it introduced itself (RFC 9260 §5.1.2), as far as
    /// they may mean something here. Never empty; at most 16. That the others are its own is not certain before
    /// [`PathState::Confirmed`] says so.
    pub addresses: Vec<IpAddr>,
    /// Its SCTP port.
    pub port: u16,
    /// The path in use; `path.remote.port()` is its UDP port.
    pub path: Path,
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From this socket to this address.
    pub path: Path,
    /// One UDP payload.
    pub bytes: Vec<u8>,
}

/// Something to know. Every association that was opened or came `Up` ends with exactly one `Closed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// An association is established.
    Up {
        /// Its name: new if `inbound`, else as given by [`Mux::connect`](super::Mux::connect).
        assoc: AssocId,
        /// Our SCTP port.
        local_port: u16,
        /// The other end.
        peer: Peer,
        /// True if the other side opened it. If both opened at once, it is one association and `inbound` is false on
        /// both sides.
        inbound: bool,
    },
    /// A whole message arrived, in order within its stream.
    Message {
        /// On this association.
        assoc: AssocId,
        /// On this stream.
        stream: u16,
        /// What it is.
        ppid: Ppid,
        /// Its octets, never empty.
        bytes: Vec<u8>,
    },
    /// After [`SendError::Full`]: there is room again.
    Writable {
        /// On this association.
        assoc: AssocId,
    },
    /// Something has become of one of the paths. The association goes on.
    Path {
        /// On this association.
        assoc: AssocId,
        /// The path to this address of the other side.
        remote: SocketAddr,
        /// What it is now.
        state: PathState,
    },
    /// The association is no more.
    Closed {
        /// This one.
        assoc: AssocId,
        /// For this reason.
        why: Why,
    },
}

/// Why an association is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// Both sides took leave in order (RFC 9260 §9.2), whoever began.
    Graceful,
    /// We aborted it.
    Local,
    /// The other side aborted it, does not know it (RFC 9260 §9.1, §8.4), or broke the protocol.
    Aborted,
    /// The other side fell silent, on all paths (RFC 9260 §8.1).
    Lost,
    /// It could not be opened: nobody answered, or everybody refused.
    Unreachable,
    /// The other side started anew from the same port (RFC 9260 §5.2.2). If we listen there, the new association comes
    /// `Up` right after, under a new name: what was under way is lost, so it is not the same link.
    Restarted,
    /// Our limits were hit: its receive window was full without a whole message in it, or it kept too much.
    Overflow,
}

/// Why no association was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// There is one between these ports and a candidate already: this one.
    Exists(AssocId),
    /// There are as many as the settings allow.
    TooMany,
    /// No candidate was given, or more than 32.
    NoCandidate,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(_) => write!(f, "an association between these ports exists"),
            Self::TooMany => write!(f, "too many associations"),
            Self::NoCandidate => write!(f, "no address to connect to"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// Too much is waiting to be sent; [`Event::Writable`] tells when it is worth trying again.
    Full,
    /// Larger than [`Config::message_max`]. Empty messages are refused as well.
    TooLarge,
    /// The other side has fewer streams.
    NoSuchStream,
    /// There is no such association, or it is being closed.
    Gone,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "too much is waiting to be sent",
            Self::TooLarge => "the message is empty or too large",
            Self::NoSuchStream => "the other side has fewer streams",
            Self::Gone => "the association is closed",
        })
    }
}

impl std::error::Error for SendError {}

/// Settings of a [`Mux`](super::Mux). The defaults suit a local network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Largest SCTP packet in octets, without UDP and IP headers.
    pub mtu: usize,
    /// Largest message to send, in octets. At most half of `window` is useful between two of us: a message that does
    /// not fit into nine tenths of the receiver's window never arrives.
    pub message_max: usize,
    /// Receive window of an association in octets: what may wait for the rest of its message or for its turn.
    pub window: usize,
    /// What may wait to be sent or acknowledged per association, in octets. A single message is taken when nothing
    /// waits, whatever its size.
    pub send_buffer: usize,
    /// What all associations together may keep, sent and received, in octets. Beyond, sending is refused, and the
    /// association that received most is aborted.
    pub buffered_max: usize,
    /// Most associations at a time, those being opened included.
    pub associations_max: usize,
    /// Most associations being opened from here at a time.
    pub connecting_max: usize,
    /// Streams we accept and ask for.
    pub streams: u16,
    /// Retransmission timeout before the first measurement (RTO.Initial), also between two INITs.
    pub rto_initial: Duration,
    /// Shortest retransmission timeout (RTO.Min). Must exceed the delay with which peers acknowledge.
    pub rto_min: Duration,
    /// Longest retransmission timeout (RTO.Max).
    pub rto_max: Duration,
    /// INITs sent again before giving up (Max.Init.Retransmits); each waits twice as long as the one before.
    pub init_retransmits_max: u32,
    /// Timeouts in a row, of data or heartbeats, that a path may have (Path.Max.Retrans). With one more it is unreachable;
    /// when all paths are, the other side counts as lost. A path with a single timeout is avoided already while another
    /// has none.
    pub retransmits_max: u32,
    /// Pause between heartbeats on an idle path (HB.interval). Never shorter than `rto_min`.
    pub heartbeat_interval: Duration,
    /// Longest delay of an acknowledgement.
    pub sack_delay: Duration,
    /// How long an orderly end may take before it becomes an abort (T5-shutdown-guard, RFC 9260 §9.2).
    pub shutdown_max: Duration,
    /// How long a full receive window may go without delivering a message before the association is aborted.
    pub stall_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mtu: 1400,
            message_max: 1 << 20,
            window: 2 << 20,
            send_buffer: 2 << 20,
            buffered_max: 256 << 20,
            associations_max: 10_000,
            connecting_max: 1_000,
            streams: 64,
            rto_initial: Duration::from_millis(250),
            // Linux acknowledges after at most 200 ms; the engine asks it not to wait while its window is small.
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(2),
            init_retransmits_max: 3,
            retransmits_max: 4,
            heartbeat_interval: Duration::from_secs(1),
            sack_delay: Duration::from_millis(20),
            shutdown_max: Duration::from_secs(10),
            stall_max: Duration::from_secs(5),
        }
    }
}
