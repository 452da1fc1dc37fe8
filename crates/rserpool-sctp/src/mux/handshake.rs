//! INIT and COOKIE ECHO: how associations begin without keeping anything for those that do not (RFC 9260 §5).
//!
//! ```text
//!   INIT         -->  a throw-away engine answers; the cookie in its INIT ACK is wrapped, and all is forgotten
//!   COOKIE ECHO  -->  opened; only a cookie of ours makes an association: an engine that accepts its own cookie
//! ```
//!
//! If there is an association already, its engine answers instead: it knows the tags that tell a collision (both sides
//! open at once: one association) from a restart (RFC 9260 §5.2). A restart ends the old association and begins a new
//! one under a new name, since what was under way is lost.

use super::association::Association;
use super::settle::Occasion;
use super::{AssocId, Mux, Transmit, Why};
use crate::Path;
use crate::cookie::{self, Holder, Opened};
use crate::engine::Engine;
use crate::packet::{Chunk, Packet, Ports, be32, emit_parameter, kind, lone, parameters};
use rserpool::Time;
use std::net::{IpAddr, SocketAddr};

/// Parameter type of a State Cookie (RFC 9260 §3.3.3.1).
const STATE_COOKIE: u16 = 7;
/// Error causes (RFC 9260 §3.3.10).
const STALE_COOKIE: u16 = 3;
const OUT_OF_RESOURCE: u16 = 4;
const UNRESOLVABLE_ADDRESS: u16 = 5;
const NEW_ADDRESSES: u16 = 11;
/// Parameter type of a Host Name Address (RFC 9260 §3.3.2.1.4), which nobody may send any more.
const HOST_NAME: u16 = 11;

impl Mux {
    /// Somebody wants an association.
    pub(super) fn init(&mut self, now: Time, from: Path, packet: &Packet<'_>) {
        let ports = packet.ports();
        let mut chunks = packet.chunks();
        let Some(init) = chunks.next().map(|chunk| chunk.value) else { return };
        let peer_tag = be32(init, 0);
        // RFC 9260 §8.5.1 A: tag 0 and no other chunk. §3.3.2: 16 octets of fixed fields, and a tag that is not 0.
        if packet.tag() != 0 || chunks.next().is_some() || init.len() < 16 || peer_tag == 0 {
            return;
        }
        if let Some((kind, name)) = parameters(init).find(|&(kind, _)| kind == HOST_NAME) {
            let (mut parameter, mut cause) = (Vec::new(), Vec::new());
            emit_parameter(kind, name, &mut parameter);
            emit_parameter(UNRESOLVABLE_ADDRESS, &parameter, &mut cause);
            return self.refuse(now, from, ports, peer_tag, &cause);
        }
        self.secret.seed_engine();
        // RFC 9260 §5.1.2 D: one of its addresses is enough to know it; but only those count that have proved to be its.
        let listed = cookie::listed_addresses(init, from.remote.ip());
        let known_by = |ip: &IpAddr| self.by_address.get(&(SocketAddr::new(*ip, from.remote.port()), ports));
        let existing =
            self.by_address.get(&(from.remote, ports)).or_else(|| listed.iter().find_map(known_by));
        if let Some(&id) = existing {
            let Some(association) = self.associations.get_mut(&id) else { return };
            // RFC 9260 §5.2.1, §5.2.2: or anybody could restart the association of another by claiming its address.
            let all = listed.iter().copied().filter(|&ip| ip != from.remote.ip());
            let all = std::iter::once(from.remote.ip()).chain(all);
            let added: Vec<IpAddr> = all.filter(|&ip| !association.knows(ip)).collect();
            if association.answered && !added.is_empty() {
                let (mut addresses, mut cause) = (Vec::new(), Vec::new());
                cookie::list_addresses(&added, &mut addresses);
                emit_parameter(NEW_ADDRESSES, &addresses, &mut cause);
                return self.refuse(now, from, ports, peer_tag, &cause);
            }
            association.engine.input(now, packet.bytes());
            for answer in association.engine.turn().packets {
                self.answer_init(now, from, ports, init, answer);
            }
        } else if let Err(causes) = self.admits(ports) {
            self.refuse(now, from, ports, peer_tag, &causes);
        } else {
            let mut throw_away = Engine::new(&self.config, ports);
            throw_away.input(now, packet.bytes());
            for answer in throw_away.turn().packets {
                self.answer_init(now, from, ports, init, answer);
            }
        }
    }

    /// Sends what an engine answers to an INIT, the cookie wrapped.
    fn answer_init(&mut self, now: Time, from: Path, ports: Ports, init: &[u8], answer: Vec<u8>) {
        let holder = Holder { remote: from.remote, ports };
        let ours = self.sockets.listed_to(from.socket, from.remote.ip());
        let wrapped = Packet::trusted(&answer).rewritten(|chunk, out| {
            if chunk.kind != kind::INIT_ACK {
                return chunk.emit(out);
            }
            let mut value = chunk.value[..16].to_vec();
            for (kind, content) in parameters(chunk.value) {
                if kind == STATE_COOKIE {
                    let cookie = cookie::wrap(&self.secret, now, holder, init, content);
                    emit_parameter(kind, &cookie, &mut value);
                } else {
                    emit_parameter(kind, content, &mut value);
                }
            }
            cookie::list_addresses(&ours, &mut value);
            Chunk { value: &value, ..chunk }.emit(out);
        });
        self.outputs.push_back(Transmit { path: from, bytes: wrapped });
    }

    /// Somebody shows a cookie, hopefully ours. Anything else is ignored (RFC 9260 §5.1.5).
    pub(super) fn cookie_echo(&mut self, now: Time, from: Path, packet: &Packet<'_>) {
        let ports = packet.ports();
        let holder = Holder { remote: from.remote, ports };
        let echoed = packet.chunks().next().map(|chunk| chunk.value).unwrap_or_default();
        let Some(opened) = cookie::open(&self.secret, now, holder, echoed) else { return };
        let existing =
            self.by_tag.get(&(packet.tag(), ports)).or(self.by_address.get(&(from.remote, ports))).copied();
        // A stale cookie is still good for the association it made (RFC 9260 §5.2.4 step 3): its COOKIE ACK was lost.
        let made_it = self.by_tag.contains_key(&(packet.tag(), ports));
        if let Some(over) = opened.stale.filter(|_| !made_it) {
            let micros = u32::try_from(over.as_micros()).unwrap_or(u32::MAX);
            let mut cause = Vec::new();
            emit_parameter(STALE_COOKIE, &micros.to_be_bytes(), &mut cause);
            return self.tell_stranger(now, from, lone(ports, opened.peer_tag, kind::ERROR, 0, &cause));
        }
        let plain = packet.rewritten(|chunk, out| match chunk.kind {
            kind::COOKIE_ECHO => Chunk { value: &opened.inner, ..chunk }.emit(out),
            _ => chunk.emit(out),
        });
        let plain = Packet::trusted(&plain);
        if self.beyond_streams(&plain) {
            return;
        }
        match existing {
            Some(id) => self.cookie_for(now, from, &plain, id, opened),
            None => self.accept(now, from, &plain, opened),
        }
    }

    /// A good cookie for an association that exists: a collision, a lost COOKIE ACK, or a restart.
    fn cookie_for(&mut self, now: Time, from: Path, plain: &Packet<'_>, id: AssocId, opened: Opened) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        let was_up = association.up;
        if !was_up {
            association.answered_from(from, opened.addresses.clone());
        }
        self.secret.seed_engine();
        let turn = self.hear(now, plain, id);
        if was_up && turn.connected {
            // The engine compared the tags and agreed that the other side is new. So is the association: a fresh
            // engine takes the same cookie as its first.
            self.end(id, Why::Restarted);
            self.accept(now, from, plain, opened);
        } else {
            self.carry_out(now, id, Occasion::Answer(from), turn);
        }
    }

    /// A good cookie makes an association, if there is room.
    fn accept(&mut self, now: Time, from: Path, plain: &Packet<'_>, opened: Opened) {
        let ports = plain.ports();
        if let Err(causes) = self.admits(ports) {
            return self.refuse(now, from, ports, opened.peer_tag, &causes);
        }
        let mut association = Association::new(&self.config, ports, from, Vec::new());
        association.listed = opened.addresses;
        association.answered = true;
        self.secret.seed_engine();
        association.hear(now, &self.config, plain);
        if association.engine.is_closed() {
            return;
        }
        let id = self.insert(association);
        self.settle(now, id, Occasion::Answer(from));
    }

    /// Whether one more association is welcome; if not, the error causes to say so with.
    fn admits(&self, ports: Ports) -> Result<(), Vec<u8>> {
        let mut causes = Vec::new();
        if !self.listening.contains(&ports.local) {
            return Err(causes);
        }
        if self.associations.len() >= self.config.associations_max {
            emit_parameter(OUT_OF_RESOURCE, &[], &mut causes);
            return Err(causes);
        }
        Ok(())
    }

    /// Says no to whoever sent an INIT or a cookie (RFC 9260 §8.4 (3)). `peer_tag` is the tag it wants to see.
    fn refuse(&mut self, now: Time, from: Path, ports: Ports, peer_tag: u32, causes: &[u8]) {
        self.tell_stranger(now, from, lone(ports, peer_tag, kind::ABORT, 0, causes));
    }
}
