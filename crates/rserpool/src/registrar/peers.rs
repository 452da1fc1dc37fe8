//! The peer list: who else is a registrar here, and who has fallen silent (RFC 5353 §3.4).
//!
//! ```text
//!   mentioned --> Unconfirmed --speaks--> Alive --silent, or its link ends--> Asked --still silent--> dead
//!                                           ^------------- speaks ------------'                        |
//!                                                                          takeover.rs, if it owns elements;
//!                                                                          otherwise forgotten
//! ```
//!
//! Any message of a peer is a sign of its life. Every peer has exactly one timer, whatever it is expected to do next.

use super::distance::RoundTrip;
use super::lists::{endpoint_of, server_information};
use super::resync::Audit;
use super::takeover::Takeover;
use super::{Event, PeerLoss, Registrar, Timer, overslept};
use crate::wire::enrp::{Body, Message};
use crate::wire::parameter::ServerInformation;
use crate::{Channel, Ending, Endpoint, LinkId, RegistrarId, Time};
use std::collections::BTreeSet;

/// What a registrar knows of a peer.
pub(super) struct Peer {
    /// Its ENRP endpoint; `None`: somebody only named it as the home of an element.
    pub endpoint: Option<Endpoint>,
    /// It spoke to us over a link. Nobody else's word counts: lists may name the dead.
    pub confirmed: bool,
    pub standing: Standing,
    /// The link over which everything is said to it.
    pub link: Option<LinkId>,
    /// All links with it, that one included: it may have opened some, and we others.
    pub links: BTreeSet<LinkId>,
    /// Its list of peers: asked for once.
    pub list: List,
    pub audit: Audit,
    /// How long its answers take.
    pub round_trip: RoundTrip,
}

/// How things stand with a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It spoke recently, or has not had the time to.
    Alive,
    /// It is silent and was asked for a sign of life.
    Asked,
    /// It is dead and this registrar wants its elements.
    TakingOver(Takeover),
    /// "Not active" (RFC 5353 §3.5.1): somebody else wants its elements, or our own attempt failed and pauses.
    LeftTo(Option<RegistrarId>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    Unknown,
    Asked,
    Known,
}

/// A peer as [`Registrar::peers`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Its identifier.
    pub id: RegistrarId,
    /// Its ENRP endpoint, if it is known.
    pub endpoint: Option<Endpoint>,
    /// How things stand.
    pub state: PeerState,
    /// Elements it owns according to this registrar's handlespace.
    pub elements: usize,
    /// The last checksum it sent is that of this registrar's copy of its elements; `None`: it sent none yet.
    pub in_step: Option<bool>,
}

/// How things stand with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PeerState {
    /// Somebody mentioned it; it has not spoken itself.
    Unconfirmed,
    /// It spoke recently.
    Alive,
    /// It is silent and was asked for a sign of life.
    Asked,
    /// It is dead, and this registrar wants to take over its elements.
    TakingOver,
    /// It is thought dead, and another registrar takes over its elements (`None`: a takeover failed and is tried again).
    LeftTo(Option<RegistrarId>),
}

impl Registrar {
    /// The peers it knows, by identifier; never itself.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> + '_ {
        self.peers.iter().map(|(&id, peer)| PeerView {
            id,
            endpoint: peer.endpoint.clone(),
            state: match &peer.standing {
                Standing::TakingOver(_) => PeerState::TakingOver,
                Standing::LeftTo(to) => PeerState::LeftTo(*to),
                _ if !peer.confirmed => PeerState::Unconfirmed,
                Standing::Alive => PeerState::Alive,
                Standing::Asked => PeerState::Asked,
            },
            elements: self.handlespace.owned(id),
            in_step: peer.audit.told.map(|told| told == self.handlespace.checksum(id)),
        })
    }

    /// Peers that have spoken and are not thought dead, by identifier.
    pub(super) fn living_peers(&self) -> Vec<RegistrarId> {
        let living =
            |peer: &Peer| peer.confirmed && matches!(peer.standing, Standing::Alive | Standing::Asked);
        self.peers.iter().filter(|(_, peer)| living(peer)).map(|(&id, _)| id).collect()
    }

    /// Adds a peer that was mentioned or spoke.
    pub(super) fn meet(&mut self, now: Time, id: RegistrarId, endpoint: Option<Endpoint>) {
        let peer = Peer {
            endpoint,
            confirmed: false,
            standing: Standing::Alive,
            link: None,
            links: BTreeSet::new(),
            list: List::Unknown,
            audit: Audit::default(),
            round_trip: RoundTrip::default(),
        };
        self.peers.insert(id, peer);
        self.timers.set(Timer::Peer(id), now + self.config.timing.peer_silence_max);
    }

    /// Makes sure that the home of an entry is watched: a home nobody has met is a peer that never spoke, so its
    /// elements are taken over in time instead of staying for ever. False if there is no room for it.
    pub(super) fn knows_home(&mut self, now: Time, home: RegistrarId) -> bool {
        if home == self.id || self.peers.contains_key(&home) {
            return true;
        }
        if self.peers.len() >= self.config.limits.peers {
            return false;
        }
        self.meet(now, home, None);
        true
    }

    /// A sign of life (RFC 5353 §3.4.3): also ends every attempt to take it over (§3.5.1).
    pub(super) fn refresh(&mut self, now: Time, id: RegistrarId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let before = std::mem::replace(&mut peer.standing, Standing::Alive);
        self.timers.set(Timer::Peer(id), now + self.config.timing.peer_silence_max);
        if let Standing::TakingOver(_) = before {
            self.target_lives(id);
        }
    }

    /// What a peer says of itself (RFC 5353 §2.1, §3.4).
    pub(super) fn presence(
        &mut self,
        now: Time,
        link: LinkId,
        from: RegistrarId,
        reply_required: bool,
        checksum: Option<u16>,
        server: Option<ServerInformation>,
    ) {
        let end = self.links.get(&link).map(|known| known.end.clone());
        let Some(peer) = self.peers.get_mut(&from) else { return };
        // Only addresses that the transport also knows are believed: nobody can point us at a third party. Behind an
        // address translation none agrees; then the link's stand for them.
        if let (Some(told), Some(end)) = (server.and_then(|server| endpoint_of(&server.transport)), end)
            && matches!(link, LinkId::Theirs(_))
        {
            let mut addresses = told.addresses;
            addresses.retain(|a| end.addresses.iter().any(|b| a.to_canonical() == b.to_canonical()));
            let addresses = if addresses.is_empty() { end.addresses } else { addresses };
            peer.endpoint = Some(Endpoint { addresses, ..told });
        }
        peer.audit.told = checksum.or(peer.audit.told);
        peer.round_trip.hears(now);
        let unlisted = peer.list == List::Unknown;
        if reply_required {
            // It may not hear what we say on another link: answer here, and stay here.
            peer.link = Some(link);
        }
        self.seed_found(from);
        if reply_required {
            self.say_presence(from, false);
        }
        if unlisted {
            self.ask_list(from);
        }
        self.audit(now, from);
    }

    pub(super) fn say_presence(&mut self, to: RegistrarId, reply_required: bool) {
        let body = self.own_presence(reply_required);
        self.say(to, body);
    }

    pub(super) fn own_presence(&self, reply_required: bool) -> Body {
        let server = Some(server_information(self.id, &self.config.enrp));
        Body::Presence { reply_required, checksum: Some(self.handlespace.checksum(self.id)), server }
    }

    /// The heartbeat (RFC 5353 §3.4.2): to the group, to every peer, and wherever a peer may be.
    pub(super) fn presence_due(&mut self, now: Time) {
        let pause = self.random.jittered(self.config.timing.presence_interval, 125);
        self.timers.set(Timer::Presence, now + pause);
        if self.is_ready() && self.config.multicast {
            self.announce_presence();
        }
        let peers: Vec<RegistrarId> = self.peers.keys().copied().collect();
        for peer in peers {
            let asks = self.measures_peer(now, peer);
            self.say_presence(peer, asks);
        }
        self.greet_seeds(now);
    }

    pub(super) fn announce_presence(&mut self) {
        let said =
            Message { sender: self.id, receiver: RegistrarId::UNDEFINED, body: self.own_presence(false) };
        self.outbox.announce(Channel::Enrp, said.emit());
    }

    /// Answers a false alarm: "I live" to everybody (RFC 5353 §3.5.1 rule 1).
    pub(super) fn presence_to_all(&mut self) {
        if self.config.multicast {
            self.announce_presence();
        }
        let peers: Vec<RegistrarId> = self.peers.keys().copied().collect();
        for peer in peers {
            self.say_presence(peer, false);
        }
    }

    pub(super) fn ask_peer(&mut self, now: Time, id: RegistrarId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.standing = Standing::Asked;
        let confirmed = peer.confirmed;
        self.timers.set(Timer::Peer(id), now + self.config.timing.peer_no_response);
        if confirmed {
            self.outbox.event(Event::PeerAsked { peer: id });
        }
        self.say_presence(id, true);
    }

    /// The patience with a peer is over.
    pub(super) fn peer_due(&mut self, now: Time, at: Time, id: RegistrarId) {
        let timing = &self.config.timing;
        let Some(peer) = self.peers.get(&id) else { return };
        match &peer.standing {
            Standing::Alive => self.ask_peer(now, id),
            Standing::Asked if overslept(now, at, timing.peer_no_response) => self.ask_peer(now, id),
            Standing::Asked => self.dead(now, id, PeerLoss::Silent),
            Standing::TakingOver(_) => self.takeover_patience_over(now, at, id),
            Standing::LeftTo(_) => self.left_too_long(now, id),
        }
    }

    /// Forgets a peer, but not where it was: if it lives on behind a cut, both will want to meet again.
    pub(super) fn drop_peer(&mut self, now: Time, id: RegistrarId, why: PeerLoss) {
        let Some(peer) = self.peers.remove(&id) else { return };
        self.timers.clear(&Timer::Peer(id));
        self.timers.clear(&Timer::Resync(id));
        self.end_download(id, true);
        self.end_download(id, false);
        for link in peer.links {
            self.links.remove(&link);
            self.outbox.close(link, Ending::Abort);
        }
        self.seed_lost(now, id, peer.endpoint.filter(|_| peer.confirmed && why != PeerLoss::Replaced));
        self.outbox.event(Event::PeerDown { peer: id, why });
        self.no_longer_awaited(now, id);
    }
}
