//! Handle updates, out and in (RFC 5353 §3.3), and who an element's home is when two registrars disagree.
//!
//! An update that adds an element is the element's own word, passed on by the home it chose: it registered there, or
//! answered a keep-alive with the H flag. So it always counts (RFC 5353 §3.3.1 rule 3), also against this registrar. One
//! thing can make it stale: two moves that cross on the way leave each registrar believing the other is the home. The
//! registrar that still has the element's link therefore waits one keep-alive's patience for that link to end, as it
//! does when the element has moved away, and otherwise lets the element decide with a keep-alive of its own:
//!
//! ```text
//!   mine --update of a peer--> contested --link ends------------------> the peer's
//!                                 `------patience over, asked: answer--> mine, and announced
//!                                                            `-silence-> the peer's
//! ```
//!
//! An entry in a table is no such word. It loses against an element that is connected here; if it is connected to
//! neither (both are adopting it after a partition), the arbitration setting of the scope decides.

use super::config::ELEMENT_OCTETS;
use super::table::element_octets;
use super::{Event, Key, Registrar, Rejection, Removal, Timer, overslept};
use crate::handlespace::Registered;
use crate::wire::enrp::{Body, Message, UpdateAction};
use crate::wire::parameter::PoolElement;
use crate::{Door, LinkId, PoolHandle, Ppid, RegistrarId, Time};

/// An element whose link with this registrar is up while a peer claims to be its home.
#[derive(Debug)]
pub(super) struct Contest {
    link: LinkId,
    /// As it registered here.
    element: PoolElement,
    /// The element was asked.
    asked: bool,
}

/// How an entry of a peer came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// In an update: the element's own word.
    Update,
    /// In a table.
    Table,
}

impl Registrar {
    /// Tells every peer about an element of ours, new or changed (RFC 5353 §3.3.1).
    pub(super) fn announce_own(&mut self, key: Key) {
        let Some(element) = self.handlespace.get(&key.0, key.1).cloned() else { return };
        self.tell_peers(UpdateAction::Add, key.0, element);
    }

    /// Makes this registrar the home of an element that said so, and tells the peers.
    pub(super) fn claim(&mut self, now: Time, key: Key) {
        let Some(from) = self.handlespace.get(&key.0, key.1).map(|element| element.home) else { return };
        if from == self.id {
            return;
        }
        self.handlespace.set_home(&key.0, key.1, self.id);
        self.start_life(now, key);
        self.told_of(key, self.id, &Registered::Renewed { previous_home: from });
        self.announce_own(key);
    }

    /// Says the same to every living peer, encoded once: the receiver stays blank (RFC 5353 §3.3.1, §3.3.2).
    pub(super) fn tell_peers(&mut self, action: UpdateAction, handle: PoolHandle, element: PoolElement) {
        let body = Body::HandleUpdate { takeover_suggested: false, action, handle, element };
        let said = Message { sender: self.id, receiver: RegistrarId::UNDEFINED, body }.emit();
        for peer in self.living_peers() {
            if let Some(link) = self.link_to_peer(peer) {
                self.outbox.send(link, Ppid::ENRP, said.clone());
            }
        }
    }

    /// Tells the application what became of an entry.
    pub(super) fn told_of(&mut self, key: Key, home: RegistrarId, registered: &Registered) {
        let (handle, element) = key;
        match *registered {
            Registered::Renewed { previous_home } if previous_home != home => {
                self.outbox.event(Event::ElementMoved { handle, element, from: previous_home, to: home });
            }
            Registered::Renewed { .. } => {}
            _ => self.outbox.event(Event::ElementAdded { handle, element, home }),
        }
    }

    pub(super) fn handle_update(
        &mut self,
        now: Time,
        from: RegistrarId,
        action: UpdateAction,
        handle: PoolHandle,
        element: PoolElement,
    ) {
        self.counters.handle_updates += 1;
        match action {
            UpdateAction::Add if element.home == self.id => {}
            // Only a home speaks for its elements.
            UpdateAction::Add if element.home != from => self.reject(Some(Door::Enrp), Rejection::NotOwner),
            UpdateAction::Add => {
                let element = self.farther(from, element);
                self.replicate(now, Told::Update, handle, element);
            }
            UpdateAction::Delete => self.peer_deletes(now, from, (handle, element.id)),
            // RFC 5353 §2.4 defines no others.
            UpdateAction::Other(_) => {}
        }
    }

    /// Takes an entry of a peer into the handlespace (RFC 5353 §3.2.3 step 4, §3.3.1, §3.6.3 step 4).
    pub(super) fn replicate(&mut self, now: Time, told: Told, handle: PoolHandle, element: PoolElement) {
        let key = (handle, element.id);
        let home = element.home;
        self.unmark(key);
        let before = self.handlespace.get(&handle, element.id).cloned();
        let mine = before.filter(|before| before.home == self.id);
        if mine.is_some() && told == Told::Table && self.keeps(key, home) {
            return;
        }
        if element_octets(&element) > ELEMENT_OCTETS || !self.knows_home(now, home) {
            self.reject(Some(Door::Enrp), Rejection::LimitReached);
            return;
        }
        match self.handlespace.replicate(&handle, element) {
            Ok(registered) => {
                if let Some(mine) = mine {
                    self.yield_home(now, key, mine);
                }
                self.told_of(key, home, &registered);
                let moved = registered != Registered::Renewed { previous_home: home };
                if told == Told::Update || moved || self.timers.get(&Timer::Life(key)).is_none() {
                    self.start_life(now, key);
                }
                if told == Told::Update {
                    self.end_probe(key);
                    self.suspect(key, false);
                }
            }
            // There is no message to tell the peer. The older definition of the pool stays; the difference shows up
            // in every audit, which slows down until it is gone.
            Err(refusal) => {
                let why = super::Refusal::Inadmissible(refusal);
                self.outbox.event(Event::ReplicaRefused { peer: home, handle, element: key.1, why });
            }
        }
    }

    /// An element of ours is in the table of another registrar. True if it stays ours.
    fn keeps(&mut self, key: Key, other: RegistrarId) -> bool {
        let connected = self
            .watches
            .get(&key)
            .and_then(|watch| self.links.get(&watch.link?))
            .is_some_and(|link| link.up && !self.adopting.contains(&key));
        if connected {
            // Only the other one needs to hear it, but whoever else believes the other one does as well.
            self.announce_own(key);
        }
        connected || self.config.arbitration.prefers(self.id, other)
    }

    /// A peer is the home of one of our elements now.
    fn yield_home(&mut self, now: Time, key: Key, mine: PoolElement) {
        let settled = self.watches.get(&key).is_some_and(|watch| watch.settled);
        let adopting = self.adopting.contains(&key);
        let Some(link) = self.unwatch(now, key) else { return };
        let up = self.links.get(&link).is_some_and(|known| known.up);
        if !up || adopting || settled {
            self.release_link(link);
            return;
        }
        if let Some(known) = self.links.get_mut(&link) {
            known.contested.insert(key);
        }
        self.contests.insert(key, Contest { link, element: mine, asked: false });
        self.timers.set(Timer::Contest(key), now + self.config.timing.keep_alive_timeout);
    }

    /// A peer removed an element. If it is (or became) ours, the element itself is asked: its answer refutes the peer.
    fn peer_deletes(&mut self, now: Time, from: RegistrarId, key: Key) {
        let Some(element) = self.handlespace.get(&key.0, key.1) else { return };
        let home = element.home;
        if home == from {
            if self.woos(key) {
                return; // its word counts, once the element has had the time to say it
            }
            self.unmark(key);
            self.end_contest(key);
            self.forget(key, Removal::PeerSaid, UpdateAction::Other(1));
        } else if home == self.id {
            self.reject(Some(Door::Enrp), Rejection::NotOwner);
            self.doubt(now, key);
        } else {
            // Its former home tells old news: the new one would have said so itself.
            self.reject(Some(Door::Enrp), Rejection::NotOwner);
        }
    }
}

/// Contests.
impl Registrar {
    pub(super) fn contest_due(&mut self, now: Time, at: Time, key: Key) {
        let patience = self.config.timing.keep_alive_timeout;
        let Some(contest) = self.contests.get_mut(&key) else { return };
        let link = contest.link;
        if overslept(now, at, patience) || !contest.asked {
            contest.asked = true;
            self.timers.set(Timer::Contest(key), now + patience);
            self.send_keep_alive(link, key, true);
        } else {
            self.end_contest(key);
        }
    }

    /// The element answered on the link it once registered over: this registrar is its home again. True if the answer
    /// belonged to a contest.
    pub(super) fn contest_answered(&mut self, now: Time, link: LinkId, key: Key) -> bool {
        let Some(contest) = self.contests.get(&key).filter(|contest| contest.link == link) else {
            return false;
        };
        if !contest.asked {
            return true;
        }
        let element = contest.element.clone();
        if let Ok(registered) = self.handlespace.register(&key.0, element) {
            self.told_of(key, self.id, &registered);
            self.watch(now, key, link);
            if let Some(watch) = self.watches.get_mut(&key) {
                watch.settled = true;
            }
            self.announce_own(key);
        }
        // If it is not needed again after all.
        self.end_contest(key);
        true
    }

    /// Ends a contest without a change.
    pub(super) fn end_contest(&mut self, key: Key) {
        let Some(contest) = self.contests.remove(&key) else { return };
        self.timers.clear(&Timer::Contest(key));
        if let Some(known) = self.links.get_mut(&contest.link) {
            known.contested.remove(&key);
        }
        self.release_link(contest.link);
    }
}
