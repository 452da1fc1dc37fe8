//! The stack: all associations of one process.

mod api;

pub use api::{AssocId, Config, ConnectError, Event, Peer, SendError, Transmit, Why};

use crate::Path;
use rserpool::{Ppid, Time};
use std::collections::{BTreeSet, VecDeque};

/// An SCTP stack over UDP: many associations, several ports, no sockets.
pub struct Mux {
    config: Config,
    listening: BTreeSet<u16>,
    outputs: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Mux {
    /// A stack without associations. `secret` must be fresh and unpredictable (from the operating system) in the real
    /// world: cookies, tags and initial sequence numbers are derived from it. Equal secrets and equal inputs give
    /// byte-identical traffic.
    pub fn new(config: Config, _secret: [u8; 32]) -> Self {
        Self { config, listening: BTreeSet::new(), outputs: VecDeque::new(), events: VecDeque::new() }
    }

    /// Accepts associations at this SCTP port from now on.
    pub fn listen(&mut self, port: u16) {
        self.listening.insert(port);
    }

    /// Accepts no more associations at this SCTP port; those that exist stay.
    pub fn close_port(&mut self, port: u16) {
        self.listening.remove(&port);
    }

    /// Opens an association from the SCTP port `local_port` to `remote_port`. All `candidates` are tried at once, the
    /// first that answers is used. Ends in [`Event::Up`] or [`Event::Closed`]; messages may be sent at once.
    pub fn connect(
        &mut self,
        _now: Time,
        _local_port: u16,
        _remote_port: u16,
        _candidates: &[Path],
    ) -> Result<AssocId, ConnectError> {
        Err(ConnectError::NoCandidate)
    }

    /// A random SCTP port of 49152-65535 that nothing here uses: for a second association to the same peer.
    pub fn free_port(&mut self) -> u16 {
        49_152
    }

    /// Sends a message, reliably and in order within its stream. Nothing is sent if an error is returned.
    pub fn send(
        &mut self,
        _now: Time,
        _assoc: AssocId,
        _stream: u16,
        _ppid: Ppid,
        _bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        Err(SendError::Gone)
    }

    /// Ends an association after everything sent has arrived. Then comes [`Event::Closed`] with [`Why::Graceful`].
    pub fn shutdown(&mut self, _now: Time, _assoc: AssocId) {}

    /// Ends an association at once; the other side is told. [`Event::Closed`] with [`Why::Local`] follows.
    pub fn abort(&mut self, _now: Time, _assoc: AssocId) {}

    /// While reading is paused, messages of this association stay inside, and the other side is slowed down when our
    /// window is full.
    pub fn pause_reading(&mut self, _now: Time, _assoc: AssocId, _paused: bool) {}

    /// A datagram arrived.
    pub fn input(&mut self, _now: Time, _from: Path, _bytes: &[u8]) {}

    /// The next datagram to send.
    pub fn poll_output(&mut self) -> Option<Transmit> {
        self.outputs.pop_front()
    }

    /// The next thing to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Mux::wake`] is wanted at the latest.
    pub fn deadline(&self) -> Option<Time> {
        None
    }

    /// Time has passed. Waking early does no harm.
    pub fn wake(&mut self, _now: Time) {}

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
