//! What an engine did, carried out: packets, events, timers, and room made or found.

use super::{AssocId, Event, Mux, Peer, Timer, Transmit, Why};
use crate::engine::Turn;
use crate::mux::association::Association;
use crate::packet::{Packet, emit_parameter, kind, lone};
use crate::{Path, cookie};
use rserpool::Time;

/// Parameter type of Heartbeat Info (RFC 9260 §3.3.5).
const HEARTBEAT_INFO: u16 = 1;

/// What an engine was told before it did something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// A wish of ours.
    Wish,
    /// A packet that came this way.
    Answer(Path),
    /// The time.
    Alarm,
}

impl Mux {
    /// Carries out what an engine did.
    pub(super) fn settle(&mut self, now: Time, id: AssocId, occasion: Occasion) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        let turn = association.engine.turn();
        self.carry_out(now, id, occasion, turn);
    }

    /// Carries out what an engine did, and lets it go on as long as it can.
    pub(super) fn carry_out(&mut self, now: Time, id: AssocId, mut occasion: Occasion, mut turn: Turn) {
        loop {
            let Some(association) = self.associations.get_mut(&id) else { return };
            let before = association.buffered();
            association.account(&self.config, &turn);
            self.buffered = self.buffered + association.buffered() - before;
            let detour = self.detour(now, id, occasion, &turn);
            if self.is_lost(id) {
                return self.end_because(now, id, Why::Lost);
            }
            for packet in turn.packets {
                self.transmit(now, id, occasion, detour, packet);
            }
            if turn.connected {
                self.established(now, id);
            }
            for (stream, ppid, bytes) in turn.messages {
                self.events.push_back(Event::Message { assoc: id, stream, ppid, bytes });
            }
            if let Some(why) = turn.ended {
                return self.end(id, why);
            }
            let Some(association) = self.associations.get_mut(&id) else { return };
            if association.overrun() {
                return self.end_because(now, id, Why::Overflow);
            }
            if !association.proceed(now) {
                break;
            }
            turn = association.engine.turn();
            occasion = Occasion::Wish;
        }
        self.tell_paths(id);
        self.set_timers(now, id);
        self.refill(id);
        self.shed(now);
    }

    /// What an alarm makes the engine send again goes another way than before; this one.
    fn detour(&mut self, now: Time, id: AssocId, occasion: Occasion, turn: &Turn) -> Option<usize> {
        let association = self.associations.get_mut(&id).filter(|_| occasion == Occasion::Alarm)?;
        let tells = [kind::DATA, kind::SHUTDOWN, kind::SHUTDOWN_ACK];
        let mut packets = turn.packets.iter().map(|bytes| Packet::trusted(bytes));
        let again = packets.find(|packet| tells.into_iter().any(|kind| packet.has(kind)))?;
        association.paths.timed_out(now, &self.config, &self.sockets, again.tsns())
    }

    /// True if none of its paths works any more.
    fn is_lost(&self, id: AssocId) -> bool {
        self.associations.get(&id).is_some_and(|association| association.paths.lost(&self.config))
    }

    /// Sends a packet of an engine to where it belongs.
    pub(super) fn transmit(
        &mut self,
        now: Time,
        id: AssocId,
        occasion: Occasion,
        detour: Option<usize>,
        bytes: Vec<u8>,
    ) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        let packet = Packet::trusted(&bytes);
        let first = packet.first();
        if first == kind::INIT {
            return self.introduce(id, occasion, &packet);
        }
        if matches!(first, kind::COOKIE_ECHO | kind::COOKIE_ACK) {
            association.peer_tag = packet.tag();
        }
        let paths = &mut association.paths;
        let path = match (first, occasion) {
            // RFC 9260 §8.3: a HEARTBEAT is answered to where it came from, whoever that is.
            (kind::HEARTBEAT_ACK, Occasion::Answer(from)) => from,
            // A cookie is good for one address only, so it was indeed there.
            (kind::COOKIE_ACK, Occasion::Answer(from)) => {
                paths.carried_to(now, from.remote.ip(), packet.tsns());
                from
            }
            _ if packet.has(kind::DATA) => paths.carry(now, packet.tsns(), detour),
            _ if packet.has(kind::SHUTDOWN) || packet.has(kind::SHUTDOWN_ACK) => paths.take_leave(detour),
            (kind::SACK, _) => paths.acknowledge(),
            // RFC 9260 §6.4: replies go to where the request came from.
            (_, Occasion::Answer(from)) if paths.has_confirmed(from.remote.ip()) => from,
            _ => paths.current(),
        };
        if let Some(path) = paths.take_beside().filter(|_| detour.is_some()) {
            self.outputs.push_back(Transmit { path, bytes: bytes.clone() });
        }
        self.outputs.push_back(Transmit { path, bytes });
    }

    /// Sends an INIT everywhere, with our addresses in it. When it is sent again, each goes from another of our sockets:
    /// we may have been wrong about which one leads there.
    fn introduce(&mut self, id: AssocId, occasion: Occasion, packet: &Packet<'_>) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        association.inits_repeated += u32::from(occasion == Occasion::Alarm);
        for &Path { socket, remote } in &association.candidates {
            let socket = self.sockets.after(socket, association.inits_repeated, remote.ip());
            let ours = self.sockets.listed_to(socket, remote.ip());
            let bytes = packet.rewritten(|chunk, out| {
                let mut value = chunk.value.to_vec();
                value.resize(value.len().next_multiple_of(4), 0);
                cookie::list_addresses(&ours, &mut value);
                crate::packet::Chunk { value: &value, ..chunk }.emit(out);
            });
            self.outputs.push_back(Transmit { path: Path { socket, remote }, bytes });
        }
    }

    /// An association came up.
    fn established(&mut self, now: Time, id: AssocId) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        if !association.established(now, &self.config, &self.sockets) {
            return;
        }
        if !association.inbound {
            self.connecting -= 1;
        }
        self.find_by_tag(id);
        self.find_by_address(id);
        let Some(association) = self.associations.get(&id) else { return };
        self.events.push_back(Event::Up {
            assoc: id,
            local_port: association.ports.local,
            peer: Peer {
                addresses: association.paths.addresses().collect(),
                port: association.ports.remote,
                path: association.paths.current(),
            },
            inbound: association.inbound,
        });
    }

    /// Looks after the paths of an association whose time has come.
    pub(super) fn watch_paths(&mut self, now: Time, id: AssocId) {
        let Self { associations, config, sockets, secret, probing, .. } = self;
        let Some(association) = associations.get_mut(&id) else { return };
        let draw = || secret.draw();
        let probes = association.paths.wake(now, config, sockets, draw, || probing.take(now));
        for probe in probes {
            let mut value = Vec::new();
            emit_parameter(HEARTBEAT_INFO, &probe.info, &mut value);
            let bytes = lone(association.ports, association.peer_tag, kind::HEARTBEAT, 0, &value);
            self.outputs.push_back(Transmit { path: probe.path, bytes });
        }
        if self.is_lost(id) {
            return self.end_because(now, id, Why::Lost);
        }
        self.tell_paths(id);
        self.set_timers(now, id);
    }

    /// Tells what has become of paths.
    fn tell_paths(&mut self, id: AssocId) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        let changes = association.paths.take_changes();
        if changes.is_empty() {
            return;
        }
        let told = changes.into_iter().map(|(remote, state)| Event::Path { assoc: id, remote, state });
        self.events.extend(told);
        self.find_by_address(id);
    }

    /// Sets the timers to what is waited for now.
    pub(super) fn set_timers(&mut self, now: Time, id: AssocId) {
        let Some(association) = self.associations.get(&id) else { return };
        let stall = association.full.then_some(now + self.config.stall_max);
        let guard = association.closing.then_some(now + self.config.shutdown_max);
        for (timer, at) in [
            (Timer::Engine(id), association.engine.deadline()),
            (Timer::Paths(id), association.paths.deadline()),
        ] {
            match at {
                Some(at) if self.timers.get(&timer) != Some(at) => self.timers.set(timer, at),
                Some(_) => {}
                None => {
                    self.timers.clear(&timer);
                }
            }
        }
        self.keep_timer(Timer::Stall(id), stall);
        self.keep_timer(Timer::Guard(id), guard);
    }

    /// Sets a timer that is wanted and not set; clears one that is not wanted.
    fn keep_timer(&mut self, timer: Timer, wanted: Option<Time>) {
        match wanted {
            Some(at) if self.timers.get(&timer).is_none() => self.timers.set(timer, at),
            Some(_) => {}
            None => {
                self.timers.clear(&timer);
            }
        }
    }

    /// Tells whoever was refused a message that there is room again.
    pub(super) fn refill(&mut self, id: AssocId) {
        let room = |association: &Association| association.unsent <= self.config.send_buffer / 2;
        let all_room = self.buffered <= self.config.buffered_max / 4 * 3;
        if self.all_full && all_room {
            self.all_full = false;
            for (&assoc, association) in &mut self.associations {
                if association.starved && room(association) {
                    association.starved = false;
                    self.events.push_back(Event::Writable { assoc });
                }
            }
        } else if let Some(association) = self.associations.get_mut(&id)
            && association.starved
            && !self.all_full
            && room(association)
        {
            association.starved = false;
            self.events.push_back(Event::Writable { assoc: id });
        }
    }

    /// Makes room when all together keep too much: the one that received most goes first.
    fn shed(&mut self, now: Time) {
        while self.buffered > self.config.buffered_max {
            let fullest = self.associations.iter().max_by_key(|(id, a)| (a.held, std::cmp::Reverse(**id)));
            let Some((&id, _)) = fullest.filter(|(_, association)| association.held > 0) else { return };
            self.end_because(now, id, Why::Overflow);
        }
    }
}
