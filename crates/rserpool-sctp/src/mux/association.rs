//! What the stack knows of one association besides its engine.

use super::Config;
use super::paths::Paths;
use super::sockets::Sockets;
use crate::Path;
use crate::engine::{Engine, Turn, watermark};
use crate::packet::{Chunk, Packet, Ports, be32, kind, lone};
use rserpool::{Ppid, Time};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// What a message costs besides its octets while it waits: its place in queues, and that of its first fragment.
const MESSAGE_COST: usize = 64;

/// Fragments with fewer octets count as small: they cost more than they carry.
const SMALL: usize = 128;

/// How many small fragments may wait for their message.
const SMALL_MAX: usize = 16_384;

/// The window told to a peer's data while it is already saying goodbye, see [`Association::hear`].
const FAREWELL_WINDOW: u32 = 1 << 16;

/// What a packet with the right tag means, before the engine hears it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing; the engine must not hear it.
    Ignore,
    /// Nobody is there, at one of the places we tried.
    Refused,
    /// The first answer to our INIT.
    Answered,
    /// No more than its content.
    Plain,
}

/// One association, being opened or up.
pub(super) struct Association {
    pub ports: Ports,
    pub engine: Engine,
    /// Where packets go. While being opened: the path of the handshake, meaningful once `answered`.
    pub paths: Paths,
    /// The paths that were tried and have not refused. Empty if the other side opened it.
    pub candidates: Vec<Path>,
    /// INITs sent, the first one not counted.
    pub inits_repeated: u32,
    /// Somebody sent an INIT ACK.
    pub answered: bool,
    pub up: bool,
    pub inbound: bool,
    /// What the other side listed as its addresses.
    pub listed: Vec<IpAddr>,
    /// The tag that its packets carry.
    pub peer_tag: u32,
    /// The tags it is found by.
    pub tags: Vec<u32>,
    /// The addresses it is found by.
    pub remotes: Vec<SocketAddr>,
    /// Messages that wait for it to be up. The engine is not given them: when both sides open at once, it loses what
    /// it sent along with its COOKIE ECHO.
    waiting: VecDeque<(Ppid, Vec<u8>)>,
    /// Costs of messages not yet delivered to the other side.
    pub unsent: usize,
    /// Octets received that wait for the rest of their message or for their turn; never less than there are.
    pub held: usize,
    /// Small fragments among them, at most.
    small: usize,
    /// The window is so full that only the last fragments of a message can still make room.
    pub full: bool,
    /// A message was refused with `Full`.
    pub starved: bool,
    /// No more messages are taken.
    pub closing: bool,
    /// The engine was told to shut down.
    parting: bool,
    /// The other side's SHUTDOWN, kept back until all we sent is delivered.
    goodbye: Option<Vec<u8>>,
    streams: u16,
}

impl Association {
    pub fn new(config: &Config, ports: Ports, path: Path, candidates: Vec<Path>) -> Self {
        Self {
            ports,
            engine: Engine::new(config, ports),
            paths: Paths::new(path),
            inits_repeated: 0,
            answered: false,
            up: false,
            inbound: candidates.is_empty(),
            candidates,
            listed: Vec::new(),
            peer_tag: 0,
            tags: Vec::new(),
            remotes: Vec::new(),
            waiting: VecDeque::new(),
            unsent: 0,
            held: 0,
            small: 0,
            full: false,
            starved: false,
            closing: false,
            parting: false,
            goodbye: None,
            streams: 1,
        }
    }

    /// What it keeps, in octets.
    pub fn buffered(&self) -> usize {
        self.unsent + self.held
    }

    /// What a packet with the right tag means.
    pub fn judge(&self, from: Path, packet: &Packet<'_>) -> Verdict {
        let (abort, answer) = (packet.has(kind::ABORT), packet.first() == kind::INIT_ACK);
        if !self.knows(from.remote.ip()) {
            return Verdict::Ignore;
        }
        if !self.up && !self.answered {
            return match (abort, answer) {
                (true, _) => Verdict::Refused,
                (_, true) => Verdict::Answered,
                _ => Verdict::Plain,
            };
        }
        // A second answer; a late refusal from a place that was tried in vain; or somebody says no who was listed as the
        // other side and is not.
        let usual = from.remote == self.paths.current().remote
            || self.paths.confirmed().any(|confirmed| confirmed == from.remote);
        let tried = self.candidates.iter().any(|candidate| candidate.remote == from.remote);
        let foreign = tried || self.up && !self.paths.has_confirmed(from.remote.ip());
        if answer || abort && !usual && foreign {
            return Verdict::Ignore;
        }
        if !self.up {
            // Data that overtook the COOKIE ACK is discarded (RFC 9260 §6); the engine would take it.
            let early = packet.has(kind::DATA) && packet.first() != kind::COOKIE_ACK;
            return if early { Verdict::Ignore } else { Verdict::Plain };
        }
        Verdict::Plain
    }

    /// Somebody answered our INIT, or showed a cookie we gave to an INIT of its own. It listed these addresses.
    pub fn answered_from(&mut self, from: Path, listed: Vec<IpAddr>) {
        self.paths = Paths::new(from);
        self.listed = listed;
        self.answered = true;
    }

    /// True if this is one of the other side's addresses, as far as we know them.
    pub fn knows(&self, ip: IpAddr) -> bool {
        self.paths.knows(ip)
            || self.listed.contains(&ip)
            || self.candidates.iter().any(|candidate| candidate.remote.ip() == ip)
    }

    /// What a message of this size counts while it waits.
    pub fn cost(bytes: &[u8]) -> usize {
        bytes.len() + MESSAGE_COST
    }

    /// Which streams exist. Before it is up, only the first is certain.
    pub fn has_stream(&self, stream: u16) -> bool {
        stream < self.streams
    }

    /// Takes a message whose limits are checked.
    pub fn send(&mut self, now: Time, stream: u16, ppid: Ppid, bytes: Vec<u8>) -> bool {
        let cost = Self::cost(&bytes);
        let taken = if self.up {
            self.engine.send(now, stream, ppid, bytes, cost)
        } else {
            self.waiting.push_back((ppid, bytes));
            true
        };
        self.unsent += if taken { cost } else { 0 };
        taken
    }

    /// It is established. True the first time.
    pub fn established(&mut self, now: Time, config: &Config, sockets: &Sockets) -> bool {
        if !self.up {
            let path = self.paths.current();
            self.paths.begin(now, config, sockets, path, &self.listed);
        }
        self.streams = self.engine.streams().max(1);
        !std::mem::replace(&mut self.up, true)
    }

    /// Hears a packet with the right tag.
    ///
    /// A SHUTDOWN is kept back while messages of ours wait: the engine would answer it as soon as what is in flight is
    /// acknowledged, and forget what is queued, although RFC 9260 §9.2 wants everything delivered first. It becomes a
    /// SACK until then, for the other side may acknowledge our data in no other way (RFC 9260 §9.2).
    pub fn hear(&mut self, now: Time, config: &Config, packet: &Packet<'_>) {
        for chunk in packet.chunks().filter(|chunk| matches!(chunk.kind, kind::SACK | kind::SHUTDOWN)) {
            // Both begin with the Cumulative TSN Ack.
            self.paths.acknowledged(be32(chunk.value, 0), config);
        }
        for chunk in packet.chunks().filter(|chunk| chunk.kind == kind::DATA) {
            let octets = chunk.value.len().saturating_sub(12);
            self.held += octets;
            self.small += usize::from(octets < SMALL);
        }
        let with_sack = packet.has(kind::SACK);
        if self.unsent > 0 && packet.has(kind::SHUTDOWN) {
            let still_hears = packet.rewritten(|chunk, out| match chunk.kind {
                kind::SHUTDOWN => {
                    let reversed = Ports { local: self.ports.remote, remote: self.ports.local };
                    self.goodbye =
                        Some(lone(reversed, packet.tag(), kind::SHUTDOWN, chunk.flags, chunk.value));
                    if !with_sack {
                        let mut sack = [0; 12];
                        sack[..4].copy_from_slice(&be32(chunk.value, 0).to_be_bytes());
                        sack[4..8].copy_from_slice(&FAREWELL_WINDOW.to_be_bytes());
                        Chunk { kind: kind::SACK, flags: 0, value: &sack }.emit(out);
                    }
                }
                _ => chunk.emit(out),
            });
            self.closing = true;
            self.engine.input(now, &still_hears);
        } else {
            self.engine.input(now, packet.bytes());
        }
    }

    /// True if the other side made us keep more small fragments than any message needs.
    pub fn overrun(&self) -> bool {
        self.small > SMALL_MAX
    }

    /// Keeps account of what a turn of the engine delivered and received.
    pub fn account(&mut self, config: &Config, turn: &Turn) {
        self.unsent = self.unsent.saturating_sub(turn.delivered);
        // The window is announced before the messages of this turn are taken out.
        if let Some(left) = turn.window_left {
            self.held = watermark(config).saturating_sub(left);
        }
        let taken: usize = turn.messages.iter().map(|(_, _, bytes)| bytes.len()).sum();
        self.held = self.held.saturating_sub(taken);
        // The end of each message may be a small fragment; nobody needs to send more of them.
        self.small = if self.held == 0 { 0 } else { self.small.saturating_sub(turn.messages.len()) };
        let margin = (config.window / 32).max(2 * config.mtu);
        self.full = self.held + margin >= watermark(config) && turn.messages.is_empty();
    }

    /// Gives the engine what it can take now. True if it did something.
    pub fn proceed(&mut self, now: Time) -> bool {
        if !self.up {
            return false;
        }
        if let Some((ppid, bytes)) = self.waiting.pop_front() {
            let cost = Self::cost(&bytes);
            self.engine.send(now, 0, ppid, bytes, cost);
            return true;
        }
        if self.unsent > 0 {
            return false;
        }
        if let Some(goodbye) = self.goodbye.take() {
            self.parting = true;
            self.engine.input(now, &goodbye);
            return true;
        }
        if self.closing && !std::mem::replace(&mut self.parting, true) {
            self.engine.shutdown(now);
            return true;
        }
        false
    }
}
