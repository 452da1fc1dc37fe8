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
//! Endpoints whose registrar is not known (configured ones, and those of peers that were lost) are *seeds*: each
//! presence also goes there, so that a registrar that starts late, or the other half of a healed network, is found.

use super::config::{Config, LOST_PEER_REMEMBERED, Scope};
use super::links::{Link, same_endpoint, same_host};
use super::resync::Audit;
use super::takeover::Takeover;
use super::{Event, PeerLoss, Registrar, Rejection, Timer, overslept};
use crate::wire::enrp::{self, Body, Message};
use crate::wire::parameter::{ServerInformation, Transport, TransportUse};
use crate::{Cause, Channel, Door, Ending, Endpoint, LinkId, Ppid, Protocol, RegistrarId, Time};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// What a registrar knows of a peer.
pub(super) struct Peer {
    /// Its ENRP endpoint; `None`: somebody only named it as the home of an element.
    pub endpoint: Option<Endpoint>,
    /// It spoke to us over a link. Nobody else's word counts: lists may name the dead.
    pub confirmed: bool,
    pub standing: Standing,
    /// The link over which everything is said to it.
    link: Option<LinkId>,
    /// All links with it, that one included: it may have opened some, and we others.
    links: BTreeSet<LinkId>,
    /// Its list of peers: asked for once.
    list: List,
    pub audit: Audit,
}

impl Peer {
    /// All links with it.
    pub fn links(&self) -> impl Iterator<Item = &LinkId> {
        self.links.iter()
    }
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
enum List {
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

/// An endpoint where a registrar is or was, whose identifier is not known.
#[derive(Clone, Debug)]
pub(super) struct Seed {
    endpoint: Endpoint,
    /// The registrar that turned out to be there.
    known_as: Option<RegistrarId>,
    /// The link being opened to it.
    link: Option<LinkId>,
    /// Learnt, not configured: forgotten at this moment.
    until: Option<Time>,
}

impl Seed {
    /// The configured peers, without this registrar itself.
    pub fn configured(config: &Config) -> Vec<Self> {
        let others = config.peers.iter().filter(|peer| !same_endpoint(peer, &config.enrp));
        others.map(|peer| Self { endpoint: peer.clone(), known_as: None, link: None, until: None }).collect()
    }
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

    /// One ENRP message over a link: the one place that lists them all.
    pub(super) fn enrp(&mut self, now: Time, link: LinkId, bytes: &[u8]) {
        let Message { sender, receiver, body } = match Message::parse(bytes) {
            Ok(message) => message,
            Err(error) => {
                self.reject(Some(Door::Enrp), Rejection::Malformed);
                if let Some(complaint) = enrp::complaint(self.id, bytes, &error) {
                    self.outbox.send(link, Ppid::ENRP, complaint.emit());
                }
                return;
            }
        };
        // An error names whom it likes (the reference copies both identifiers) and asks for nothing.
        if matches!(body, Body::Error { .. }) || sender == self.id {
            return;
        }
        let Some(newcomer) = self.heard_from(now, link, sender) else { return };
        if receiver.is_defined() && receiver != self.id {
            // Its registrar before us at this endpoint is dead; the sender learns that from our presence.
            self.reject(Some(Door::Enrp), Rejection::WrongReceiver);
            self.introduce(sender, link);
            return;
        }
        match body {
            Body::Presence { reply_required, checksum, server } => {
                self.presence(now, link, sender, reply_required, checksum, server);
            }
            Body::HandleTableRequest { own_only } => {
                self.handle_table_request(now, sender, newcomer, own_only)
            }
            Body::HandleTableResponse { rejected, more, pools } => {
                self.handle_table_response(now, sender, rejected, more, pools);
            }
            Body::HandleUpdate { action, handle, element, takeover_suggested: _ } => {
                self.handle_update(now, sender, action, handle, element);
            }
            Body::ListRequest => self.list_request(sender),
            Body::ListResponse { rejected, servers } => self.list_response(now, sender, rejected, servers),
            Body::InitTakeover { target } => self.init_takeover(now, sender, target),
            Body::InitTakeoverAck { target } => self.init_takeover_ack(now, sender, target),
            Body::TakeoverServer { target } => self.takeover_server(now, sender, target),
            Body::Error { .. } => {}
        }
        if newcomer {
            // RFC 5353 §3.4.1: whoever speaks is a peer, and is asked who it is.
            self.introduce(sender, link);
        }
        self.consider_mentor(now);
    }

    /// A registrar spoke over a link: it lives. Says whether it is new, or `None` if it must not be believed.
    fn heard_from(&mut self, now: Time, link: LinkId, sender: RegistrarId) -> Option<bool> {
        let known = self.links.get(&link)?;
        let (end, expected, speaker) = (known.end.clone(), known.peer, known.speaker);
        if !sender.is_defined() || speaker.is_some_and(|speaker| speaker != sender) {
            self.reject(Some(Door::Enrp), Rejection::WrongSender);
            self.end_link(now, link, Ending::Abort);
            return None;
        }
        let newcomer = !self.peers.contains_key(&sender);
        if newcomer && self.peers.len() >= self.config.limits.peers {
            self.reject(Some(Door::Enrp), Rejection::LimitReached);
            return None;
        }
        if speaker.is_none() {
            if let Some(known) = self.links.get_mut(&link) {
                known.speaker = Some(sender);
                known.peer = Some(sender);
            }
            self.seed_answered(link, sender);
        }
        if newcomer {
            let ours = matches!(link, LinkId::Ours(_));
            self.meet(now, sender, ours.then(|| end.clone()));
        }
        let peer = self.peers.get_mut(&sender)?;
        peer.links.insert(link);
        peer.link.get_or_insert(link);
        if !std::mem::replace(&mut peer.confirmed, true) {
            peer.endpoint.get_or_insert(end);
            self.outbox.event(Event::PeerUp { peer: sender });
        }
        self.refresh(now, sender);
        // Somebody else answers where we expected a peer: that process is no more.
        if let Some(replaced) = expected.filter(|expected| *expected != sender) {
            if let Some(peer) = self.peers.get_mut(&replaced) {
                peer.links.remove(&link);
                peer.link = peer.link.filter(|used| *used != link);
            }
            self.dead(now, replaced, PeerLoss::Replaced);
        }
        Some(newcomer)
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
    fn refresh(&mut self, now: Time, id: RegistrarId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let before = std::mem::replace(&mut peer.standing, Standing::Alive);
        self.timers.set(Timer::Peer(id), now + self.config.timing.peer_silence_max);
        if let Standing::TakingOver(_) = before {
            self.target_lives(id);
        }
    }

    /// What a peer says of itself (RFC 5353 §2.1, §3.4).
    fn presence(
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

    /// Introduces this registrar to one that just spoke for the first time.
    fn introduce(&mut self, to: RegistrarId, link: LinkId) {
        if self.links.contains_key(&link) && self.peers.contains_key(&to) {
            self.say_presence(to, true);
        }
    }

    fn say_presence(&mut self, to: RegistrarId, reply_required: bool) {
        let body = self.own_presence(reply_required);
        self.say(to, body);
    }

    fn own_presence(&self, reply_required: bool) -> Body {
        let server = Some(server_information(self.id, &self.config.enrp));
        Body::Presence { reply_required, checksum: Some(self.handlespace.checksum(self.id)), server }
    }

    /// Says something to a peer, over its link or a new one.
    pub(super) fn say(&mut self, to: RegistrarId, body: Body) {
        if let Some(link) = self.link_to_peer(to) {
            let said = Message { sender: self.id, receiver: to, body };
            self.outbox.send(link, Ppid::ENRP, said.emit());
        }
    }

    /// The link over which everything is said to a peer.
    pub(super) fn link_to_peer(&mut self, to: RegistrarId) -> Option<LinkId> {
        let peer = self.peers.get(&to)?;
        if peer.link.is_some() {
            return peer.link;
        }
        let link = self.link_to_registrar(peer.endpoint.clone()?, to);
        if let Some(known) = self.links.get_mut(&link) {
            known.peer = Some(to);
        }
        let peer = self.peers.get_mut(&to)?;
        peer.link = Some(link);
        peer.links.insert(link);
        Some(link)
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
            self.say_presence(peer, false);
        }
        self.seeds.retain(|seed| seed.link.is_some() || seed.until.is_none_or(|until| until > now));
        for place in 0..self.seeds.len() {
            self.greet_seed(place);
        }
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

    fn greet_seed(&mut self, place: usize) {
        let seed = &self.seeds[place];
        if seed.known_as.is_some_and(|id| self.peers.contains_key(&id)) {
            return;
        }
        let link = match seed.link {
            Some(link) => link,
            None => self.link_to_registrar(seed.endpoint.clone(), RegistrarId::UNDEFINED),
        };
        // A link that is still being opened holds one greeting already.
        let greeted = self.seeds[place].link.replace(link).is_some();
        if !greeted || self.links.get(&link).is_some_and(|known| known.up) {
            let body = self.own_presence(true);
            let said = Message { sender: self.id, receiver: RegistrarId::UNDEFINED, body };
            self.outbox.send(link, Ppid::ENRP, said.emit());
        }
    }

    /// Somebody spoke on a link: if it was opened to a seed, that is who it is.
    fn seed_answered(&mut self, link: LinkId, sender: RegistrarId) {
        if let Some(seed) = self.seeds.iter_mut().find(|seed| seed.link == Some(link)) {
            seed.link = None;
            seed.known_as = Some(sender);
        }
    }

    /// A peer told its endpoint: a seed with this endpoint is no longer a riddle.
    fn seed_found(&mut self, peer: RegistrarId) {
        let Some(endpoint) = self.peers.get(&peer).and_then(|peer| peer.endpoint.as_ref()) else { return };
        for seed in &mut self.seeds {
            if same_endpoint(&seed.endpoint, endpoint) {
                seed.known_as = Some(peer);
            }
        }
    }

    /// A link with a peer ended: it is asked at once (RFC 5353 §3.4.3; the transport notices much earlier than we do).
    pub(super) fn peer_link_gone(&mut self, now: Time, link: LinkId, gone: Link, cause: Cause) {
        for seed in &mut self.seeds {
            if seed.link == Some(link) {
                seed.link = None;
            }
        }
        let Some(id) = gone.peer else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.links.remove(&link);
        if peer.link == Some(link) {
            // What was said on it, in either direction, may be lost; so may the end of a table.
            peer.link = peer.links.last().copied();
            peer.audit.doubtful = true;
            self.end_resync(id, false);
            self.end_download(id, true);
            self.end_download(id, false);
        }
        let Some(peer) = self.peers.get(&id) else { return };
        match peer.standing {
            Standing::Alive => self.ask_peer(now, id),
            // The question could not even be delivered, and no other link is left to ask on.
            Standing::Asked if cause == Cause::Unreachable && peer.link.is_none() => {
                self.dead(now, id, PeerLoss::Unreachable);
            }
            Standing::Asked if peer.link.is_none() && gone.up => self.say_presence(id, true),
            _ => {}
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
        let mut found = false;
        for seed in &mut self.seeds {
            let same = peer.endpoint.as_ref().is_some_and(|endpoint| same_endpoint(&seed.endpoint, endpoint));
            if seed.known_as == Some(id) || same {
                found = true;
                if seed.known_as == Some(id) {
                    seed.known_as = None;
                }
            }
        }
        for link in peer.links {
            self.links.remove(&link);
            self.outbox.close(link, Ending::Abort);
        }
        let learnt = self.seeds.iter().filter(|seed| seed.until.is_some()).count();
        if let Some(endpoint) = peer.endpoint
            && peer.confirmed
            && !found
            && why != PeerLoss::Replaced
            && learnt < self.config.limits.peers
        {
            let until = Some(now + LOST_PEER_REMEMBERED);
            self.seeds.push(Seed { endpoint, known_as: None, link: None, until });
        }
        self.outbox.event(Event::PeerDown { peer: id, why });
        self.no_longer_awaited(now, id);
    }

    /// A peer's list is asked for: everybody it can count on hearing from (RFC 5353 §3.2.2.2). Peers known only from
    /// lists are left out, or the dead would go round for ever.
    fn list_request(&mut self, from: RegistrarId) {
        let rejected = !self.is_ready();
        let mut servers = Vec::new();
        for (&id, peer) in self.peers.iter().filter(|_| !rejected) {
            if let (true, Some(endpoint)) = (peer.confirmed && id != from, &peer.endpoint) {
                servers.push(server_information(id, endpoint));
            }
        }
        self.say(from, Body::ListResponse { rejected, servers });
    }

    fn list_response(
        &mut self,
        now: Time,
        from: RegistrarId,
        rejected: bool,
        servers: Vec<ServerInformation>,
    ) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        if peer.list != List::Asked {
            self.reject(Some(Door::Enrp), Rejection::Unexpected);
            return;
        }
        // Who refuses because it starts up itself is asked again when it shows that it lives.
        peer.list = if rejected { List::Unknown } else { List::Known };
        for server in servers {
            let Some(mut endpoint) = endpoint_of(&server.transport) else { continue };
            let minimum = self.config.minimum_scope;
            endpoint.addresses.retain(|a| Scope::of(*a).is_some_and(|scope| scope >= minimum));
            let usable = server.id.is_defined() && server.id != self.id && !endpoint.addresses.is_empty();
            if !usable || self.peers.len() >= self.config.limits.peers {
                continue;
            }
            match self.peers.get_mut(&server.id) {
                // It was only named so far; now it is known where.
                Some(peer) if peer.endpoint.is_none() => peer.endpoint = Some(endpoint),
                Some(_) => continue,
                None => self.meet(now, server.id, Some(endpoint)),
            }
            self.seed_found(server.id);
            self.say_presence(server.id, true);
        }
        self.mentor_list(now, from, rejected);
    }

    /// Asks a peer for its list, unless that is under way.
    pub(super) fn ask_list(&mut self, peer: RegistrarId) {
        if let Some(known) = self.peers.get_mut(&peer).filter(|known| known.list != List::Asked) {
            known.list = List::Asked;
            self.say(peer, Body::ListRequest);
        }
    }

    /// Its list did not come: it may be asked for again.
    pub(super) fn list_missed(&mut self, peer: RegistrarId) {
        if let Some(known) = self.peers.get_mut(&peer) {
            known.list = List::Unknown;
        }
    }

    /// A presence over the announcement channel: a hint that somebody is there (RFC 5353 §3.4.1, §3.4.3).
    pub(super) fn heard_enrp(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        if !self.config.multicast {
            return;
        }
        let Ok(Message { sender, body, .. }) = Message::parse(bytes) else {
            self.reject(None, Rejection::Malformed);
            return;
        };
        let Body::Presence { server, .. } = body else {
            self.reject(None, Rejection::Unexpected);
            return;
        };
        if sender == self.id || !sender.is_defined() {
            return;
        }
        // The source address, with the port of the ENRP endpoint, which RSPLIB's datagrams come from as well.
        let port =
            server.and_then(|server| endpoint_of(&server.transport)).map_or(from.port(), |told| told.port);
        let endpoint = Endpoint::sctp(SocketAddr::new(from.ip(), port));
        match self.peers.get(&sender) {
            Some(peer) => {
                let theirs = peer.endpoint.as_ref().is_some_and(|known| same_host(known, &endpoint));
                if theirs && peer.confirmed {
                    self.refresh(now, sender);
                }
            }
            None if self.peers.len() >= self.config.limits.peers => {
                self.reject(None, Rejection::LimitReached)
            }
            None => {
                self.meet(now, sender, Some(endpoint));
                self.seed_found(sender);
                self.say_presence(sender, true);
            }
        }
    }
}

/// A registrar and its ENRP endpoint, as ENRP says it (RFC 5354 §3.11).
fn server_information(id: RegistrarId, endpoint: &Endpoint) -> ServerInformation {
    let addresses = endpoint.addresses.clone();
    let transport = Transport::Sctp { port: endpoint.port, transport_use: TransportUse::Data, addresses };
    ServerInformation { id, transport }
}

fn endpoint_of(transport: &Transport) -> Option<Endpoint> {
    match transport {
        Transport::Sctp { port, addresses, .. } if *port != 0 && !addresses.is_empty() => {
            Some(Endpoint { protocol: Protocol::Sctp, addresses: addresses.clone(), port: *port })
        }
        _ => None,
    }
}
