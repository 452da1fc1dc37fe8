//! The links of a registrar: who is at the other end, and who depends on it.
//!
//! Elements and users open links to the ASAP door; the registrar itself opens links from it only to elements it adopts
//! or probes. Between two peers either may open a link from its ENRP door, even both at once; each sends everything on
//! the one link it has chosen, so that what it says arrives in order.

use super::{Key, Registrar, Rejection, Removal};
use crate::{Cause, Door, Ending, Endpoint, Greeting, LinkId, PoolHandle, Protocol, RegistrarId, Role, Time};
use std::collections::BTreeSet;

/// A link that has not ended.
pub(super) struct Link {
    /// Where it begins here.
    pub door: Door,
    /// Its other end: as the transport knows it, or, before it is up, as it was asked for.
    pub end: Endpoint,
    /// It is not just being opened.
    pub up: bool,
    /// ASAP: elements of ours that are watched over it.
    pub elements: BTreeSet<Key>,
    /// ASAP: elements of peers that are probed over it.
    pub probed: BTreeSet<Key>,
    /// ASAP: elements that once registered over it and whose home is contested.
    pub contested: BTreeSet<Key>,
    /// ENRP: the peer it belongs to: the one that spoke, or the one it was opened to.
    pub peer: Option<RegistrarId>,
    /// ENRP: who spoke on it. It is the same process for as long as the link lives.
    pub speaker: Option<RegistrarId>,
}

impl Link {
    fn new(door: Door, end: Endpoint, up: bool) -> Self {
        Self {
            door,
            end,
            up,
            elements: BTreeSet::new(),
            probed: BTreeSet::new(),
            contested: BTreeSet::new(),
            peer: None,
            speaker: None,
        }
    }
}

impl Registrar {
    pub(super) fn accepted(&mut self, link: LinkId, door: Door, end: Endpoint) {
        let full = self.links.len() >= self.config.limits.links;
        if full || door == Door::Service {
            self.reject(Some(door), if full { Rejection::LimitReached } else { Rejection::Unexpected });
            self.outbox.close(link, Ending::Abort);
            return;
        }
        self.links.insert(link, Link::new(door, end, true));
    }

    pub(super) fn opened(&mut self, now: Time, link: LinkId, end: Endpoint) {
        let Some(known) = self.links.get_mut(&link) else { return };
        known.up = true;
        known.end = end;
        let probed: Vec<Key> = known.probed.iter().copied().collect();
        for key in probed {
            self.probe_link_up(now, key);
        }
    }

    pub(super) fn closed(&mut self, now: Time, link: LinkId, cause: Cause) {
        let Some(gone) = self.links.remove(&link) else { return };
        match gone.door {
            Door::Enrp => self.peer_link_gone(now, link, gone, cause),
            Door::Asap | Door::Service => self.asap_link_gone(now, link, gone),
        }
    }

    /// Ends a link by our own wish, with the same consequences as if it had been lost.
    pub(super) fn end_link(&mut self, now: Time, link: LinkId, how: Ending) {
        self.outbox.close(link, how);
        self.closed(now, link, Cause::Lost);
    }

    /// An element whose link ends is gone (RFC 5352 leaves the detection to the transport; §3.5 the removal), unless
    /// it has registered elsewhere meanwhile: then it is not watched here any more.
    fn asap_link_gone(&mut self, now: Time, link: LinkId, gone: Link) {
        self.held.retain(|held| held.link != link);
        self.held_changed();
        for key in gone.elements {
            if self.hands_over(now, key) {
                continue;
            }
            let why = if self.adopting.contains(&key) { Removal::Unreachable } else { Removal::LinkLost };
            self.remove_own(now, key, why);
        }
        for key in gone.probed {
            self.probe_failed(key);
        }
        for key in gone.contested {
            self.end_contest(key);
        }
    }

    /// The link to an element's own ASAP endpoint: one that is there already, or a new one from the ASAP door (RFC 5353
    /// §3.5.2, wire format 1.3).
    pub(super) fn link_to_element(&mut self, to: &Endpoint, handle: PoolHandle, wanted: u32) -> LinkId {
        let there = self.links.iter().find(|(id, link)| {
            // One over TCP that still greets another element may be refused: a host that began anew has a new identifier.
            let greets = link.elements.iter().chain(&link.probed).any(|key| key.1.0 == wanted);
            let settled = link.up || link.end.protocol != Protocol::Tcp || greets;
            matches!(id, LinkId::Ours(_))
                && link.door == Door::Asap
                && same_endpoint(&link.end, to)
                && settled
        });
        if let Some((&id, _)) = there {
            return id;
        }
        let greeting = Greeting { role: Role::Registrar, own: self.id.0, wanted, pool: Some(handle) };
        self.open(Door::Asap, to.clone(), greeting)
    }

    /// Opens a link to a peer, or to somebody who may become one.
    pub(super) fn link_to_registrar(&mut self, to: Endpoint, wanted: RegistrarId) -> LinkId {
        let greeting = Greeting { role: Role::Registrar, own: self.id.0, wanted: wanted.0, pool: None };
        self.open(Door::Enrp, to, greeting)
    }

    fn open(&mut self, door: Door, to: Endpoint, greeting: Greeting) -> LinkId {
        let id = self.outbox.open(door, to.clone(), greeting);
        self.links.insert(id, Link::new(door, to, false));
        id
    }

    /// Ends a link to an element that we opened and that nobody needs any more.
    pub(super) fn release_link(&mut self, link: LinkId) {
        let unused = self.links.get(&link).is_some_and(|known| {
            known.elements.is_empty() && known.probed.is_empty() && known.contested.is_empty()
        });
        if unused && matches!(link, LinkId::Ours(_)) {
            self.links.remove(&link);
            self.held.retain(|held| held.link != link);
            self.held_changed();
            self.outbox.close(link, Ending::Graceful);
        }
    }
}

/// True if both name the same port of a common address.
pub(super) fn same_endpoint(one: &Endpoint, other: &Endpoint) -> bool {
    one.port == other.port && one.protocol == other.protocol && same_host(one, other)
}

/// True if both have an address in common.
pub(super) fn same_host(one: &Endpoint, other: &Endpoint) -> bool {
    one.addresses.iter().any(|a| other.addresses.iter().any(|b| a.to_canonical() == b.to_canonical()))
}
