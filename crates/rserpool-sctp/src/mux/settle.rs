//! What an engine did, carried out: packets, events, timers, and room made or found.

use super::{AssocId, Event, Mux, Peer, Timer, Transmit, Why};
use crate::Path;
use crate::engine::Turn;
use crate::mux::association::Association;
use crate::packet::{Packet, kind};
use rserpool::Time;

impl Mux {
    /// Carries out what an engine did.
    pub(super) fn settle(&mut self, now: Time, id: AssocId, answering: Option<Path>) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        let turn = association.engine.turn();
        self.carry_out(now, id, answering, turn);
    }

    /// Carries out what an engine did, and lets it go on as long as it can.
    pub(super) fn carry_out(&mut self, now: Time, id: AssocId, answering: Option<Path>, mut turn: Turn) {
        loop {
            let Some(association) = self.associations.get_mut(&id) else { return };
            let before = association.buffered();
            association.account(&self.config, &turn);
            self.buffered = self.buffered + association.buffered() - before;
            for packet in turn.packets {
                self.transmit(id, answering, packet);
            }
            if turn.connected {
                self.established(id, answering);
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
        }
        self.set_timers(now, id);
        self.refill(id);
        self.shed(now);
    }

    /// Sends a packet of an engine to where it belongs.
    pub(super) fn transmit(&mut self, id: AssocId, answering: Option<Path>, bytes: Vec<u8>) {
        let Some(association) = self.associations.get(&id) else { return };
        match (Packet::trusted(&bytes).first(), answering) {
            (kind::INIT, _) => {
                let everywhere = association.candidates.iter();
                self.outputs.extend(everywhere.map(|&path| Transmit { path, bytes: bytes.clone() }));
            }
            // RFC 9260 §8.3: a HEARTBEAT is answered to where it came from.
            (kind::HEARTBEAT_ACK, Some(from)) => self.outputs.push_back(Transmit { path: from, bytes }),
            _ => self.outputs.push_back(Transmit { path: association.path, bytes }),
        }
    }

    /// An association came up.
    fn established(&mut self, id: AssocId, from: Option<Path>) {
        let Some(association) = self.associations.get_mut(&id) else { return };
        if !association.established() {
            return;
        }
        if !association.inbound {
            self.connecting -= 1;
        }
        let path = from.unwrap_or(association.path);
        self.find_by_tag(id);
        self.move_to(id, path);
        let Some(association) = self.associations.get(&id) else { return };
        self.events.push_back(Event::Up {
            assoc: id,
            local_port: association.ports.local,
            peer: Peer { addresses: association.addresses(), port: association.ports.remote, path },
            inbound: association.inbound,
        });
    }

    /// Sets the timers to what is waited for now.
    fn set_timers(&mut self, now: Time, id: AssocId) {
        let Some(association) = self.associations.get(&id) else { return };
        match association.engine.deadline() {
            Some(at) if self.timers.get(&Timer::Engine(id)) != Some(at) => {
                self.timers.set(Timer::Engine(id), at)
            }
            Some(_) => {}
            None => {
                self.timers.clear(&Timer::Engine(id));
            }
        }
        let stall = association.full.then_some(now + self.config.stall_max);
        let guard = association.closing.then_some(now + self.config.shutdown_max);
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
