//! Giving elements to other registrars (draft-dreibholz-rserpool-enrp-takeover): after a failure all elements are with the
//! survivors, and a registrar that comes back would stay idle for ever.
//!
//! ```text
//!   home                                   candidate                        element
//!    |-- Update(add) to all                    |                               |
//!    |-- Update(add, T) to the candidate ----->|-- Keep-Alive(H) ------------->|
//!    |                                         |<------------- Ack ------------|
//!    |<------------- Update(add): it is mine --|
//! ```
//!
//! The candidate is the living peer whose identifier, xor the element's, is largest, if that is larger than the home's:
//! so all agree where an element belongs, RSPLIB included, and nothing goes round in circles. It is asked only if it has
//! fewer elements, and takes one only if it has no more than the giver.
//!
//! RSPLIB's elements abort their old link before they answer the new home, and RSPLIB's registrars take that for the
//! element's end: they delete it everywhere, until it registers anew. So a home that has suggested a takeover keeps an
//! element whose link ends for one more keep-alive's patience, and a candidate that has asked an element does not
//! believe its old home that it is gone.

use super::admission::asap_endpoint;
use super::{Key, Registrar, Removal};
use crate::wire::enrp::{Body, Message, UpdateAction};
use crate::{LinkId, Ppid, RegistrarId, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Suggestions per second: a registrar that comes back shall not be overrun.
const SUGGESTIONS_MAX: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// What this registrar has suggested, and what it was suggested.
#[derive(Debug, Default)]
pub(super) struct Suggestions {
    /// Own elements that a peer may take over now, and since when.
    made: BTreeMap<Key, Time>,
    /// Elements that were asked whether they want this registrar as their home (each is probed, too), and whether their
    /// old home has said meanwhile that they are gone.
    pub wooed: BTreeMap<Key, bool>,
}

impl Registrar {
    /// An element has registered here: perhaps it belongs elsewhere.
    pub(super) fn suggest_takeover(&mut self, now: Time, key: Key) {
        if !self.config.takeover_suggestion {
            return;
        }
        let kept = self.hand_over_patience().max(SECOND);
        self.suggestions.made.retain(|_, at| now.since(*at) <= kept);
        let recent = self.suggestions.made.values().filter(|at| now.since(**at) < SECOND).count();
        let Some(candidate) = self.candidate(key).filter(|_| recent < SUGGESTIONS_MAX) else { return };
        let Some(element) = self.handlespace.get(&key.0, key.1).cloned() else { return };
        self.suggestions.made.insert(key, now);
        let body = Body::HandleUpdate {
            takeover_suggested: true,
            action: UpdateAction::Add,
            handle: key.0,
            element,
        };
        if let Some(link) = self.link_to_peer(candidate) {
            let said = Message { sender: self.id, receiver: candidate, body };
            self.outbox.send(link, Ppid::ENRP, said.emit());
        }
    }

    /// The peer to which an element of ours rather belongs.
    fn candidate(&self, key: Key) -> Option<RegistrarId> {
        let rank = |id: RegistrarId| id.0 ^ key.1.0;
        let best = self.living_peers().into_iter().max_by_key(|id| rank(*id))?;
        let fewer = self.handlespace.owned(best) < self.handlespace.owned(self.id);
        (rank(best) > rank(self.id) && fewer).then_some(best)
    }

    /// How long a hand-over may take, from the suggestion to the word of the new home.
    fn hand_over_patience(&self) -> Duration {
        self.config.timing.keep_alive_timeout * 2
    }

    /// The link of an element of ours ended. True if that may be the hand-over we have suggested: then its entry stays
    /// for one more patience.
    pub(super) fn hands_over(&mut self, now: Time, key: Key) -> bool {
        let patience = self.hand_over_patience();
        let suggested = self.suggestions.made.remove(&key).is_some_and(|at| now.since(at) <= patience);
        suggested && self.keep_for_a_while(now, key)
    }

    /// A peer suggests that we take over one of its elements: the element is asked. It stays the peer's until it agrees.
    pub(super) fn takeover_suggested(&mut self, now: Time, from: RegistrarId, key: Key) {
        let ours = self.handlespace.owned(self.id);
        if !self.config.takeover_suggestion || ours > self.handlespace.owned(from) {
            return;
        }
        let Some(element) = self.handlespace.get(&key.0, key.1).filter(|element| element.home == from) else {
            return;
        };
        let Some(to) = asap_endpoint(element) else { return };
        if self.begin_probe(now, key, &to, true) {
            self.suggestions.wooed.insert(key, false);
        }
    }

    /// An element that was asked has agreed: it is ours from now on.
    pub(super) fn wooing_answered(&mut self, now: Time, link: LinkId, key: Key) -> bool {
        if !self.suggestions.wooed.contains_key(&key) || self.probes.get(&key) != Some(&link) {
            return false;
        }
        self.handlespace.set_home(&key.0, key.1, self.id);
        self.watch(now, key, link);
        self.suspect(key, false);
        self.announce_own(key);
        true
    }

    /// An element that was asked has not agreed in time, or cannot be reached. True if there was one.
    pub(super) fn wooing_over(&mut self, key: Key) -> bool {
        let Some(gone) = self.suggestions.wooed.get(&key).copied() else { return false };
        self.end_probe(key);
        if gone {
            self.forget(key, Removal::PeerSaid, UpdateAction::Other(0));
        }
        true
    }

    /// The old home of an element says that it is gone. True if it is not believed yet: the element was asked.
    pub(super) fn woos(&mut self, key: Key) -> bool {
        self.suggestions.wooed.get_mut(&key).map(|gone| *gone = true).is_some()
    }
}
