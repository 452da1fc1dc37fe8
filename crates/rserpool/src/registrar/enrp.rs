//! ENRP at the registrar: what peers say, over which link, and who may say it (RFC 5353 §2, §3.1).
//!
//! A link belongs to the one registrar that speaks on it. Everything said to a peer goes over one link, the first that
//! was there, so that it arrives in the order it was said; only a peer that asks for an answer elsewhere moves it, for it
//! may not hear us on the other.

use super::links::{Link, same_host};
use super::lists::endpoint_of;
use super::peers::Standing;
use super::{Event, PeerLoss, Registrar, Rejection};
use crate::wire::enrp::{self, Body, Message, UpdateAction};
use crate::{Cause, Door, Ending, Endpoint, LinkId, Ppid, RegistrarId, Time};
use std::net::SocketAddr;

impl Registrar {
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
            Body::HandleUpdate { action, handle, element, takeover_suggested } => {
                let key = (handle, element.id);
                self.handle_update(now, sender, action, handle, element);
                if takeover_suggested && action == UpdateAction::Add {
                    self.takeover_suggested(now, sender, key);
                }
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

    /// Introduces this registrar to one that just spoke for the first time.
    fn introduce(&mut self, to: RegistrarId, link: LinkId) {
        if self.links.contains_key(&link) && self.peers.contains_key(&to) {
            self.say_presence(to, true);
        }
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

    /// A link with a peer ended: it is asked at once (RFC 5353 §3.4.3; the transport notices much earlier than we do).
    pub(super) fn peer_link_gone(&mut self, now: Time, link: LinkId, gone: Link, cause: Cause) {
        self.seed_link_gone(link);
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
