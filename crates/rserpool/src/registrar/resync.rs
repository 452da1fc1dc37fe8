//! The audit: is our copy of a peer's elements what the peer has? (RFC 5353 §3.6)
//!
//! Every presence carries the checksum of what its sender owns. If ours differs, every entry of that peer is marked, its
//! table is read, each entry read (or told of meanwhile) loses its mark, and what is still marked at the end is gone.
//! The checksum covers names only; so after a link with the peer was lost, when an update may have been lost with it,
//! the table is read even if the checksums agree.

use super::replication::Told;
use super::{Event, Key, Registrar, Rejection, Removal, Timer, overslept};
use crate::wire::enrp::{Body, UpdateAction};
use crate::wire::parameter::PoolElement;
use crate::{Door, PoolHandle, RegistrarId, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// The audit of one peer.
#[derive(Debug, Default)]
pub(super) struct Audit {
    /// What it last said the checksum of its elements is.
    pub told: Option<u16>,
    /// An update may have been lost: agreement of the checksums proves too little.
    pub doubtful: bool,
    /// Entries not yet seen in the table that is being read; `None`: none is being read.
    marked: Option<BTreeSet<Key>>,
    /// The last difference that a table did not settle: what it said, what we had; and how often in a row.
    stubborn: Option<((u16, u16), u32)>,
    /// Before this moment the same difference is not worth another table.
    not_before: Time,
}

impl Audit {
    /// A table is being read.
    pub fn running(&self) -> bool {
        self.marked.is_some()
    }
}

impl Registrar {
    /// Compares checksums after a presence of this peer came in over a link.
    pub(super) fn audit(&mut self, now: Time, peer: RegistrarId) {
        let ours = self.handlespace.checksum(peer);
        let interval = self.config.timing.presence_interval;
        let Some(audit) = self.peers.get_mut(&peer).map(|peer| &mut peer.audit) else { return };
        let Some(theirs) = audit.told else { return };
        if audit.running() || !self.phase.is_ready() {
            return;
        }
        if theirs == ours {
            audit.stubborn = None;
            if !audit.doubtful {
                return;
            }
        } else {
            // A difference that the last table did not settle (a pool defined twice, say) would cost a table with
            // every presence: the pause between attempts doubles. Any other difference is news.
            let difference = (theirs, ours);
            match audit.stubborn {
                Some((last, _)) if last == difference && now < audit.not_before => return,
                Some((last, times)) if last == difference => {
                    audit.stubborn = Some((last, times.saturating_add(1)));
                    audit.not_before = now + pause(interval, times);
                }
                _ => {
                    audit.stubborn = Some((difference, 1));
                    audit.not_before = now;
                }
            }
        }
        let marked = self.handlespace.elements(Some(peer), None).map(|(handle, e)| (*handle, e.id)).collect();
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.audit.marked = Some(marked);
        }
        self.outbox.event(Event::ResyncBegun { peer });
        self.read_on(now, peer);
    }

    fn read_on(&mut self, now: Time, peer: RegistrarId) {
        self.say(peer, Body::HandleTableRequest { own_only: true });
        self.timers.set(Timer::Resync(peer), now + self.config.timing.peer_no_response);
    }

    /// A part of a table arrived: of the mentor's whole handlespace, or of a peer's own elements.
    pub(super) fn handle_table_response(
        &mut self,
        now: Time,
        from: RegistrarId,
        rejected: bool,
        more: bool,
        pools: Vec<(PoolHandle, Vec<PoolElement>)>,
    ) {
        if self.mentor_table(now, from, rejected, more, &pools) {
            return;
        }
        if !self.peers.get(&from).is_some_and(|peer| peer.audit.running()) {
            self.reject(Some(Door::Enrp), Rejection::Unexpected);
            return;
        }
        if rejected {
            self.end_resync(from, false);
            return;
        }
        for (handle, elements) in pools {
            for element in elements {
                // The request was for the peer's own elements.
                if element.home == from {
                    let element = self.farther(from, element);
                    self.replicate(now, Told::Table, handle, element);
                }
            }
        }
        if more { self.read_on(now, from) } else { self.end_resync(from, true) }
    }

    pub(super) fn resync_patience_over(&mut self, now: Time, at: Time, peer: RegistrarId) {
        let patience = self.config.timing.peer_no_response;
        if overslept(now, at, patience) {
            self.timers.set(Timer::Resync(peer), now + patience);
        } else {
            self.end_resync(peer, false);
        }
    }

    /// The table is read, or will not be. What the peer did not mention is gone, but only if it told all.
    pub(super) fn end_resync(&mut self, peer: RegistrarId, complete: bool) {
        self.timers.clear(&Timer::Resync(peer));
        let Some(audit) = self.peers.get_mut(&peer).map(|peer| &mut peer.audit) else { return };
        let Some(marked) = audit.marked.take() else { return };
        audit.doubtful &= !complete;
        let mut removed = 0;
        for key in marked.into_iter().filter(|_| complete) {
            // It may have found another home while the table was read.
            if self.handlespace.get(&key.0, key.1).is_some_and(|element| element.home == peer) {
                removed += 1;
                self.forget(key, Removal::Swept, UpdateAction::Other(1));
            }
        }
        self.outbox.event(Event::ResyncEnded { peer, complete, removed });
    }

    /// Somebody said something about this element: no audit that is running may sweep it.
    pub(super) fn unmark(&mut self, key: Key) {
        for peer in self.peers.values_mut() {
            if let Some(marked) = &mut peer.audit.marked {
                marked.remove(&key);
            }
        }
    }
}

/// The pause after so many tables in a row did not settle the same difference: the first attempt is repeated at the next
/// presence, then less and less often, at last every 64.
fn pause(interval: Duration, times: u32) -> Duration {
    interval * 2_u32.pow(times.min(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_and_stops_growing() {
        let second = Duration::from_secs(1);
        assert_eq!([0, 1, 2, 6, 7, u32::MAX].map(|n| pause(second, n).as_secs()), [1, 2, 4, 64, 64, 64]);
    }
}
