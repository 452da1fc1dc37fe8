//! Packets for an association: whose they are, and whether they are heard.

use super::association::Verdict;
use super::settle::Occasion;
use super::{AssocId, Mux, Why};
use crate::engine::Turn;
use crate::packet::{Packet, REFLECTED, array, kind};
use crate::{Path, cookie};
use rserpool::Time;

impl Mux {
    /// The association a packet belongs to (RFC 9260 §8.5): by our tag; or by address, if the tag is the other side's.
    pub(super) fn find(&self, from: Path, packet: &Packet<'_>) -> Option<AssocId> {
        let reflected = packet.chunks().any(|chunk| {
            matches!(chunk.kind, kind::ABORT | kind::SHUTDOWN_COMPLETE) && chunk.flags & REFLECTED != 0
        });
        if reflected {
            self.by_address.get(&(from.remote, packet.ports())).copied()
        } else {
            self.by_tag.get(&(packet.tag(), packet.ports())).copied()
        }
    }

    /// A packet with a tag that only the other side can know.
    pub(super) fn deliver(&mut self, now: Time, from: Path, packet: &Packet<'_>, id: AssocId) {
        if self.beyond_streams(packet) {
            return;
        }
        let Some(association) = self.associations.get_mut(&id) else { return };
        match association.judge(from, packet) {
            Verdict::Ignore => return,
            Verdict::Refused => {
                // One of several processes tried may say no while the right one says yes. The engine would ignore it.
                association.candidates.retain(|candidate| candidate.remote != from.remote);
                if association.candidates.is_empty() {
                    self.end_because(now, id, Why::Unreachable);
                }
                return;
            }
            Verdict::Answered => {
                let init_ack = packet.chunks().next().map(|chunk| chunk.value).unwrap_or_default();
                association.answered_from(from, cookie::listed_addresses(init_ack, from.remote.ip()));
                self.secret.seed_engine();
            }
            Verdict::Plain if association.up => {
                let moved = association.paths.hears(from, packet.has(kind::DATA));
                for chunk in packet.chunks().filter(|chunk| chunk.kind == kind::HEARTBEAT_ACK) {
                    // Its first parameter is Heartbeat Info (RFC 9260 §3.3.6): ours, unchanged.
                    let info = chunk.value.get(4..).unwrap_or_default();
                    association.paths.answered(now, &self.config, info);
                }
                if moved {
                    self.find_by_address(id);
                }
            }
            Verdict::Plain => {}
        }
        let turn = self.hear(now, packet, id);
        self.carry_out(now, id, Occasion::Answer(from), turn);
    }

    /// Lets the engine hear a packet. The caller takes its turn.
    pub(super) fn hear(&mut self, now: Time, packet: &Packet<'_>, id: AssocId) -> Turn {
        let Some(association) = self.associations.get_mut(&id) else { return Turn::default() };
        let before = association.buffered();
        association.hear(now, &self.config, packet);
        self.buffered = self.buffered + association.buffered() - before;
        association.engine.turn()
    }

    /// True if a packet has data on streams that we never agreed to. The engine would keep something for each of them.
    pub(super) fn beyond_streams(&self, packet: &Packet<'_>) -> bool {
        let streams = self.config.streams.max(1);
        packet.chunks().filter(|chunk| chunk.kind == kind::DATA).any(|chunk| {
            let stream = array(chunk.value, 4).map(u16::from_be_bytes);
            stream.is_none_or(|stream| stream >= streams)
        })
    }
}
