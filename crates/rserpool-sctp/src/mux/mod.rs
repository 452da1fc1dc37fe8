//! The stack: all associations of one process.
//!
//! A packet finds its association by verification tag and ports; where the tag cannot be known yet, or is the other
//! side's, by address, UDP port and ports. Then the association's engine hears it, and what the engine did is settled.
//!
//! ```text
//!            INIT, COOKIE ECHO --> handshake.rs --.
//!  input ->  known tag ----------> delivery.rs ---+--> engine --> settle.rs --> outputs, events, timers
//!            else ---------------> strangers.rs                      '--> paths.rs: where to
//! ```

mod api;
mod association;
mod delivery;
mod handshake;
mod paths;
mod settle;
mod sockets;
mod strangers;
mod tokens;

pub use api::{AssocId, Config, ConnectError, Event, Peer, SendError, Transmit, Why};
pub use paths::{PathState, PathStatus};

use crate::Path;
use crate::packet::{Packet, Ports, kind};
use crate::secret::Secret;
use association::Association;
use rserpool::{Ppid, Time, Timers};
use settle::Occasion;
use sockets::Sockets;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use tokens::Tokens;

/// Most paths tried for one association.
pub const CANDIDATES_MAX: usize = 32;

/// What the stack waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The engine has something to do.
    Engine(AssocId),
    /// A path wants to be looked after.
    Paths(AssocId),
    /// The receive window has been full for too long.
    Stall(AssocId),
    /// The orderly end takes too long.
    Guard(AssocId),
}

/// An SCTP stack over UDP: many associations, several ports, no sockets.
pub struct Mux {
    config: Config,
    secret: Secret,
    listening: BTreeSet<u16>,
    associations: BTreeMap<AssocId, Association>,
    by_tag: BTreeMap<(u32, Ports), AssocId>,
    by_address: BTreeMap<(SocketAddr, Ports), AssocId>,
    timers: Timers<Timer>,
    sockets: Sockets,
    /// Answers to strangers.
    strangers: Tokens,
    /// Heartbeats to addresses that somebody has listed and nobody confirmed.
    probing: Tokens,
    /// The name given last.
    last: u64,
    /// How many associations are being opened from here.
    connecting: usize,
    /// What all associations keep, in octets.
    buffered: usize,
    /// Some were refused a message because all together keep too much.
    all_full: bool,
    /// Datagrams that were nobody's.
    strays: u64,
    outputs: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Mux {
    /// A stack without associations. `secret` must be fresh and unpredictable (from the operating system) in the real
    /// world: cookies, tags and initial sequence numbers are derived from it. Equal secrets and equal inputs give
    /// byte-identical traffic.
    pub fn new(config: Config, secret: [u8; 32]) -> Self {
        Self {
            config,
            secret: Secret::new(secret),
            listening: BTreeSet::new(),
            associations: BTreeMap::new(),
            by_tag: BTreeMap::new(),
            by_address: BTreeMap::new(),
            timers: Timers::default(),
            sockets: Sockets::default(),
            strangers: Tokens::default(),
            probing: Tokens::default(),
            last: 0,
            connecting: 0,
            buffered: 0,
            all_full: false,
            strays: 0,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The settings in use.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How many associations there are, those being opened included.
    pub fn associations(&self) -> usize {
        self.associations.len()
    }

    /// How many datagrams came that were no SCTP packets, or belonged to no association: noise, late packets of ended
    /// associations, and attempts of others.
    pub fn strays(&self) -> u64 {
        self.strays
    }

    /// What all associations together keep, in octets: messages not yet delivered to the other side, and received
    /// fragments that wait for the rest.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Tells where one of our UDP sockets is: its port, and the addresses at which others reach it. Sockets with the same
    /// port are one endpoint with several addresses: it lists them to its peers, at most 16, and uses all of them.
    ///
    /// May be told again when addresses change; associations that exist keep what they have listed. A socket that was
    /// never told about is used as the only one of its endpoint.
    pub fn bind(&mut self, socket: usize, port: u16, addresses: &[IpAddr]) {
        self.sockets.bind(socket, port, addresses);
    }

    /// The socket at this UDP port from which an address is most probably reached: the one whose own address shares most
    /// bits with it. `None` if none at this port has its family.
    pub fn socket_towards(&self, port: u16, remote: IpAddr) -> Option<usize> {
        self.sockets.towards(port, remote)
    }

    /// Accepts associations at this SCTP port from now on.
    pub fn listen(&mut self, port: u16) {
        self.listening.insert(port);
    }

    /// Accepts no more associations at this SCTP port; those that exist stay.
    pub fn close_port(&mut self, port: u16) {
        self.listening.remove(&port);
    }

    /// A random SCTP port of 49152-65535 that nothing here uses: for a second association to the same peer.
    pub fn free_port(&mut self) -> u16 {
        let used: BTreeSet<u16> = self.associations.values().map(|a| a.ports.local).collect();
        let start = self.secret.draw() as u16;
        let mut ports = (0..0x4000).map(|step| start.wrapping_add(step) | 0xc000);
        let free = ports.find(|port| !used.contains(port) && !self.listening.contains(port));
        // With all in use, `connect` finds out whether another association from this one is possible.
        free.unwrap_or(start | 0xc000)
    }

    /// Opens an association from the SCTP port `local_port` to `remote_port`.
    ///
    /// All `candidates` are tried at once, and the first that answers is used (see the crate's documentation for how to
    /// choose them). Ends in [`Event::Up`] or [`Event::Closed`]. Messages may be sent at once, on stream 0. If the
    /// other side opens the same association at the same time, both become one.
    pub fn connect(
        &mut self,
        now: Time,
        local_port: u16,
        remote_port: u16,
        candidates: &[Path],
    ) -> Result<AssocId, ConnectError> {
        let ports = Ports { local: local_port, remote: remote_port };
        let &first = candidates.first().ok_or(ConnectError::NoCandidate)?;
        if candidates.len() > CANDIDATES_MAX {
            return Err(ConnectError::NoCandidate);
        }
        if let Some(&existing) = candidates.iter().find_map(|c| self.by_address.get(&(c.remote, ports))) {
            return Err(ConnectError::Exists(existing));
        }
        if self.associations.len() >= self.config.associations_max
            || self.connecting >= self.config.connecting_max
        {
            return Err(ConnectError::TooMany);
        }
        let mut association = Association::new(&self.config, ports, first, candidates.to_vec());
        self.secret.seed_engine();
        association.engine.connect(now);
        self.connecting += 1;
        let id = self.insert(association);
        self.settle(now, id, Occasion::Wish);
        Ok(id)
    }

    /// Sends a message, reliably and in order within its stream. Nothing is sent if an error is returned.
    pub fn send(
        &mut self,
        now: Time,
        assoc: AssocId,
        stream: u16,
        ppid: Ppid,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        if bytes.is_empty() || bytes.len() > self.config.message_max {
            return Err(SendError::TooLarge);
        }
        let association = self.associations.get_mut(&assoc).ok_or(SendError::Gone)?;
        if association.closing {
            return Err(SendError::Gone);
        }
        if !association.has_stream(stream) {
            return Err(SendError::NoSuchStream);
        }
        let cost = Association::cost(&bytes);
        let own_full = association.unsent > 0 && association.unsent + cost > self.config.send_buffer;
        let all_full = self.buffered + cost > self.config.buffered_max;
        if own_full || all_full {
            association.starved = true;
            self.all_full |= all_full;
            return Err(SendError::Full);
        }
        if !association.send(now, stream, ppid, bytes) {
            return Err(SendError::Gone);
        }
        self.buffered += cost;
        self.settle(now, assoc, Occasion::Wish);
        Ok(())
    }

    /// Ends an association after everything sent has arrived. Then comes [`Event::Closed`], with [`Why::Graceful`] if
    /// all went well. It takes no more messages, but still delivers.
    pub fn shutdown(&mut self, now: Time, assoc: AssocId) {
        let Some(association) = self.associations.get_mut(&assoc) else { return };
        if !association.up && association.unsent == 0 {
            return self.abort(now, assoc);
        }
        association.closing = true;
        self.settle(now, assoc, Occasion::Wish);
    }

    /// Ends an association at once; the other side is told. [`Event::Closed`] with [`Why::Local`] follows.
    pub fn abort(&mut self, now: Time, assoc: AssocId) {
        self.end_because(now, assoc, Why::Local);
    }

    /// How the paths of an association are doing, the one of the handshake first. Empty if there is no such association.
    pub fn paths(&self, assoc: AssocId) -> Vec<PathStatus> {
        self.associations
            .get(&assoc)
            .map_or_else(Vec::new, |association| association.paths.status().collect())
    }

    /// Makes the path to one of the other side's addresses the primary one: new data goes there as long as it works. False
    /// if there is no such association, or the address is not (yet) confirmed to be the other side's; nothing changes
    /// then.
    pub fn set_primary(&mut self, assoc: AssocId, ip: IpAddr) -> bool {
        self.associations.get_mut(&assoc).is_some_and(|association| association.paths.set_primary(ip))
    }

    /// A datagram arrived. What it is worth is found out here; it may be anything.
    pub fn input(&mut self, now: Time, from: Path, bytes: &[u8]) {
        let Some(packet) = Packet::parse(bytes) else {
            self.strays += 1;
            return;
        };
        match packet.first() {
            kind::INIT => self.init(now, from, &packet),
            kind::COOKIE_ECHO => self.cookie_echo(now, from, &packet),
            _ => match self.find(from, &packet) {
                Some(id) => self.deliver(now, from, &packet, id),
                None => {
                    self.strays += 1;
                    self.stranger(now, from, &packet);
                }
            },
        }
    }

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
        self.timers.next()
    }

    /// Time has passed. Waking early does no harm. Datagrams that have arrived should be told first: after a time in
    /// which nobody looked, an answer may be among them.
    pub fn wake(&mut self, now: Time) {
        // Whoever is due again at once waits for the next call, so that this one ends.
        let due: Vec<Timer> =
            std::iter::from_fn(|| self.timers.take_due(now)).map(|(_, timer)| timer).collect();
        for timer in due {
            match timer {
                Timer::Engine(id) => {
                    if let Some(association) = self.associations.get_mut(&id) {
                        association.engine.wake(now);
                        self.settle(now, id, Occasion::Alarm);
                    }
                }
                Timer::Paths(id) => self.watch_paths(now, id),
                Timer::Stall(id) => self.end_because(now, id, Why::Overflow),
                Timer::Guard(id) => self.end_because(now, id, Why::Lost),
            }
        }
    }

    /// From now on the association is found by the addresses that have proved to be the other side's.
    fn find_by_address(&mut self, id: AssocId) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        let ports = association.ports;
        let remotes: Vec<SocketAddr> = association.paths.confirmed().collect();
        for remote in std::mem::replace(&mut association.remotes, remotes.clone()) {
            if self.by_address.get(&(remote, ports)) == Some(&id) {
                self.by_address.remove(&(remote, ports));
            }
        }
        for remote in remotes {
            self.by_address.entry((remote, ports)).or_insert(id);
        }
    }

    /// From now on the association is found by its engine's tag. It may have two: the one of our INIT, and the one we
    /// gave the other side before, statelessly, when both open at once (RFC 9260 §5.2.1).
    fn find_by_tag(&mut self, id: AssocId) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        let tag = association.engine.tag();
        if !association.tags.contains(&tag) {
            association.tags.push(tag);
        }
        // Should the tag be taken at these ports, once in four billion times, the new association finds no packets and
        // is given up by its peer.
        self.by_tag.entry((tag, association.ports)).or_insert(id);
    }

    /// Takes in an association whose engine has a tag.
    fn insert(&mut self, mut association: Association) -> AssocId {
        self.last += 1;
        let id = AssocId(self.last);
        association.remotes = association.candidates.iter().map(|candidate| candidate.remote).collect();
        if association.remotes.is_empty() {
            association.remotes.push(association.paths.current().remote);
        }
        for &remote in &association.remotes {
            self.by_address.entry((remote, association.ports)).or_insert(id);
        }
        self.buffered += association.buffered();
        self.associations.insert(id, association);
        self.find_by_tag(id);
        id
    }

    /// Ends an association from here, telling the other side if it is known.
    fn end_because(&mut self, now: Time, id: AssocId, why: Why) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        association.engine.abort(now);
        for packet in association.engine.turn().packets {
            self.transmit(now, id, Occasion::Wish, None, packet);
        }
        self.end(id, why);
    }

    /// Forgets an association.
    fn end(&mut self, id: AssocId, why: Why) {
        let Some(association) = self.associations.remove(&id) else { return };
        for &tag in &association.tags {
            if self.by_tag.get(&(tag, association.ports)) == Some(&id) {
                self.by_tag.remove(&(tag, association.ports));
            }
        }
        for &remote in &association.remotes {
            if self.by_address.get(&(remote, association.ports)) == Some(&id) {
                self.by_address.remove(&(remote, association.ports));
            }
        }
        for timer in [Timer::Engine(id), Timer::Paths(id), Timer::Stall(id), Timer::Guard(id)] {
            self.timers.clear(&timer);
        }
        self.buffered -= association.buffered();
        let opening = !association.up && !association.inbound;
        self.connecting -= usize::from(opening);
        let why = match why {
            Why::Lost | Why::Aborted if opening => Why::Unreachable,
            why => why,
        };
        self.events.push_back(Event::Closed { assoc: id, why });
        self.refill(id);
    }
}
