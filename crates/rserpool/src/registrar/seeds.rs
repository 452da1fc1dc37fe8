//! Endpoints whose registrar is not known: configured peers, and where lost ones were.
//!
//! Each presence also goes there, so that a registrar that starts late, or the other half of a healed network, is found.

use super::Registrar;
use super::config::{Config, LOST_PEER_REMEMBERED};
use super::links::same_endpoint;
use crate::wire::enrp::Message;
use crate::{Endpoint, LinkId, Ppid, RegistrarId, Time};

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
    /// Greets everybody who may have become a peer.
    pub(super) fn greet_seeds(&mut self, now: Time) {
        self.seeds.retain(|seed| seed.link.is_some() || seed.until.is_none_or(|until| until > now));
        for place in 0..self.seeds.len() {
            self.greet_seed(place);
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
    pub(super) fn seed_answered(&mut self, link: LinkId, sender: RegistrarId) {
        if let Some(seed) = self.seeds.iter_mut().find(|seed| seed.link == Some(link)) {
            seed.link = None;
            seed.known_as = Some(sender);
        }
    }

    /// A peer told its endpoint: a seed with this endpoint is no longer a riddle.
    pub(super) fn seed_found(&mut self, peer: RegistrarId) {
        let Some(endpoint) = self.peers.get(&peer).and_then(|peer| peer.endpoint.as_ref()) else { return };
        for seed in &mut self.seeds {
            if same_endpoint(&seed.endpoint, endpoint) {
                seed.known_as = Some(peer);
            }
        }
    }

    /// A peer was lost; where it was is remembered, if it is worth it.
    pub(super) fn seed_lost(&mut self, now: Time, peer: RegistrarId, endpoint: Option<Endpoint>) {
        let mut kept = false;
        for seed in &mut self.seeds {
            if seed.known_as == Some(peer) {
                seed.known_as = None;
                kept = true;
            }
            kept |= endpoint.as_ref().is_some_and(|endpoint| same_endpoint(&seed.endpoint, endpoint));
        }
        let learnt = self.seeds.iter().filter(|seed| seed.until.is_some()).count();
        if let Some(endpoint) = endpoint.filter(|_| !kept && learnt < self.config.limits.peers) {
            let until = Some(now + LOST_PEER_REMEMBERED);
            self.seeds.push(Seed { endpoint, known_as: None, link: None, until });
        }
    }

    /// The link to a seed ended before anybody spoke on it.
    pub(super) fn seed_link_gone(&mut self, link: LinkId) {
        for seed in self.seeds.iter_mut().filter(|seed| seed.link == Some(link)) {
            seed.link = None;
        }
    }
}
