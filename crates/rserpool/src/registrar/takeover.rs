//! Taking over the elements of a registrar that fell silent (RFC 5353 §3.5).
//!
//! Every survivor may notice the silence at the same moment, so each first asks the others:
//!
//! ```text
//!   dead --> TakingOver --all agreed, or a majority in the end--> won: the elements are adopted
//!                |--it speaks----------------------------------> Alive
//!                |--a stronger initiator------------------------> LeftTo(it)
//!                '--too few agreed------------------------------> LeftTo(nobody), tried again after a pause
//! ```
//!
//! Which identifier is stronger is one setting for the whole scope: the larger by the RFC, the smaller in a scope shared
//! with RSPLIB, which decides so. Two gaps of the RFC are closed (§3.5.1 waits for *every* peer, for ever): only peers
//! that have spoken are asked, the death of one of them counts as its agreement, and after a second round a majority of
//! those asked, this registrar included, is enough. And who agreed does not look away for ever: if the initiator fails,
//! or the elements are still the dead registrar's after two takeover expiries, it starts itself.

use super::peers::Standing;
use super::{Event, Key, PeerLoss, Registrar, TakeoverEnd, Timer, overslept};
use crate::handlespace::Registered;
use crate::wire::enrp::Body;
use crate::{RegistrarId, Time};
use std::collections::BTreeSet;

/// An attempt of this registrar to take over a dead peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Takeover {
    /// Who has not agreed yet.
    awaited: BTreeSet<RegistrarId>,
    /// How many were asked.
    asked: usize,
    /// They were asked twice.
    again: bool,
    /// Another registrar wants the same.
    contested: bool,
}

impl Registrar {
    /// A peer is dead: what it owned is taken over, if it owned anything (RFC 5353 §3.4.3).
    pub(super) fn dead(&mut self, now: Time, id: RegistrarId, why: PeerLoss) {
        let Some(peer) = self.peers.get(&id) else { return };
        match peer.standing {
            Standing::TakingOver(_) | Standing::LeftTo(_) => return,
            Standing::Alive | Standing::Asked => {}
        }
        if self.handlespace.owned(id) == 0 {
            self.drop_peer(now, id, why);
        } else {
            self.begin_takeover(now, id);
            self.no_longer_awaited(now, id);
        }
        self.mentor_lost(now, id);
    }

    fn begin_takeover(&mut self, now: Time, target: RegistrarId) {
        self.end_resync(target, false);
        let mut awaited: BTreeSet<_> = self.living_peers().into_iter().collect();
        awaited.remove(&target);
        let asked = awaited.len();
        self.outbox.event(Event::TakeoverBegun { target, awaited: asked });
        let takeover = Takeover { awaited, asked, again: false, contested: false };
        if let Some(peer) = self.peers.get_mut(&target) {
            peer.standing = Standing::TakingOver(takeover);
        }
        if asked == 0 {
            self.win(now, target);
        } else {
            self.ask_agreement(now, target);
        }
    }

    /// Asks all who have not agreed, and the target itself: it may want to object (RFC 5353 §3.5.1).
    fn ask_agreement(&mut self, now: Time, target: RegistrarId) {
        let Some(takeover) = self.takeover(target) else { return };
        let asked: Vec<_> = takeover.awaited.iter().copied().chain([target]).collect();
        self.timers.set(Timer::Peer(target), now + self.config.timing.takeover_expiry);
        for peer in asked {
            self.say(peer, Body::InitTakeover { target });
        }
    }

    fn takeover(&mut self, target: RegistrarId) -> Option<&mut Takeover> {
        match &mut self.peers.get_mut(&target)?.standing {
            Standing::TakingOver(takeover) => Some(takeover),
            _ => None,
        }
    }

    /// Somebody wants to take over `target` and asks whether we agree.
    pub(super) fn init_takeover(&mut self, now: Time, from: RegistrarId, target: RegistrarId) {
        if target == self.id {
            // Rule 1: a false alarm.
            self.presence_to_all();
            return;
        }
        let ours_prevails = self.config.arbitration.prefers(self.id, from);
        if let Some(takeover) = self.takeover(target) {
            if ours_prevails {
                // Rule 2B: ignored; the other one hears our own question.
                takeover.contested = true;
                return;
            }
            self.outbox.event(Event::TakeoverYielded { target, to: from });
        }
        // Rules 2A and 3. Its silence is no longer ours to judge; but any word of it makes it a peer again, and there
        // is an end to our patience with the initiator.
        if let Some(peer) = self.peers.get_mut(&target) {
            peer.standing = Standing::LeftTo(Some(from));
            self.timers.set(Timer::Peer(target), now + 2 * self.config.timing.takeover_expiry);
        }
        self.say(from, Body::InitTakeoverAck { target });
    }

    pub(super) fn init_takeover_ack(&mut self, now: Time, from: RegistrarId, target: RegistrarId) {
        if let Some(takeover) = self.takeover(target) {
            takeover.awaited.remove(&from);
            self.settle_takeover(now, target);
        }
    }

    /// A peer that died cannot object to anything; what it was to take over is anybody's again.
    pub(super) fn no_longer_awaited(&mut self, now: Time, gone: RegistrarId) {
        let others: Vec<_> = self.peers.keys().copied().collect();
        for target in others {
            if let Some(takeover) = self.takeover(target) {
                if takeover.awaited.remove(&gone) {
                    self.settle_takeover(now, target);
                }
            } else if self
                .peers
                .get(&target)
                .is_some_and(|peer| peer.standing == Standing::LeftTo(Some(gone)))
            {
                self.ask_peer(now, target);
            }
        }
    }

    fn settle_takeover(&mut self, now: Time, target: RegistrarId) {
        if self.takeover(target).is_some_and(|takeover| takeover.awaited.is_empty()) {
            self.win(now, target);
        }
    }

    pub(super) fn takeover_patience_over(&mut self, now: Time, at: Time, target: RegistrarId) {
        let expiry = self.config.timing.takeover_expiry;
        let Some(takeover) = self.takeover(target) else { return };
        let majority = 2 * (takeover.asked - takeover.awaited.len() + 1) > takeover.asked + 1;
        if !takeover.again || overslept(now, at, expiry) {
            takeover.again = true;
            self.ask_agreement(now, target);
        } else if majority {
            self.win(now, target);
        } else {
            // Later again, not all at the same moment. Its elements are not given up: they may still answer.
            if let Some(peer) = self.peers.get_mut(&target) {
                peer.standing = Standing::LeftTo(None);
            }
            let pause = self.random.jittered(expiry, 500);
            self.timers.set(Timer::Peer(target), now + pause);
            self.outbox.event(Event::TakeoverAborted { target, why: TakeoverEnd::NoMajority });
        }
    }

    /// The target spoke after all (RFC 5353 §3.5.1). The caller has put it back among the living.
    pub(super) fn target_lives(&mut self, target: RegistrarId) {
        self.outbox.event(Event::TakeoverAborted { target, why: TakeoverEnd::TargetLives });
    }

    /// Somebody else was to take it over, or we were to try again: if it still owns elements, it is asked once more,
    /// and then it is our turn.
    pub(super) fn left_too_long(&mut self, now: Time, target: RegistrarId) {
        if self.handlespace.owned(target) == 0 {
            self.drop_peer(now, target, PeerLoss::TakenOver);
        } else {
            self.ask_peer(now, target);
        }
    }

    /// Completes the takeover (RFC 5353 §3.5.2).
    fn win(&mut self, now: Time, target: RegistrarId) {
        let contested = self.takeover(target).is_some_and(|takeover| takeover.contested);
        let keys = self.elements_of(target);
        for peer in self.living_peers() {
            self.say(peer, Body::TakeoverServer { target });
        }
        self.counters.takeovers += 1;
        self.outbox.event(Event::TakeoverWon { target, elements: keys.len(), contested });
        self.drop_peer(now, target, PeerLoss::TakenOver);
        for key in keys {
            self.rehome(key, target, self.id);
            self.adopt(now, key);
        }
    }

    /// Somebody took over `target` (RFC 5353 §3.5.2).
    pub(super) fn takeover_server(&mut self, now: Time, from: RegistrarId, target: RegistrarId) {
        if target == self.id {
            self.presence_to_all();
            return;
        }
        let Some(peer) = self.peers.get(&target) else { return };
        // The RFC has us obey in any case. But a target that has spoken since we agreed lives, and what its elements
        // themselves say will reach us in their new home's updates, if they really moved.
        if peer.standing == Standing::Alive && peer.confirmed {
            return;
        }
        if self.takeover(target).is_some() {
            self.outbox.event(Event::TakeoverYielded { target, to: from });
        }
        for key in self.elements_of(target) {
            self.rehome(key, target, from);
            self.start_life(now, key);
        }
        self.drop_peer(now, target, PeerLoss::TakenOver);
        self.mentor_lost(now, target);
    }

    fn elements_of(&self, home: RegistrarId) -> Vec<Key> {
        self.handlespace.elements(Some(home), None).map(|(handle, element)| (*handle, element.id)).collect()
    }

    fn rehome(&mut self, key: Key, from: RegistrarId, to: RegistrarId) {
        if self.handlespace.set_home(&key.0, key.1, to) {
            self.told_of(key, to, &Registered::Renewed { previous_home: from });
        }
    }
}
