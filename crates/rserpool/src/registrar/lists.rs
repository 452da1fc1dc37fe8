//! Lists of peers: who else is there, as far as somebody knows (RFC 5353 §3.2.2.2).

use super::config::Scope;
use super::peers::List;
use super::{Registrar, Rejection};
use crate::wire::enrp::Body;
use crate::wire::parameter::{ServerInformation, Transport, TransportUse};
use crate::{Door, Endpoint, Protocol, RegistrarId, Time};

impl Registrar {
    /// A peer's list is asked for: everybody it can count on hearing from (RFC 5353 §3.2.2.2). Peers known only from
    /// lists are left out, or the dead would go round for ever.
    pub(super) fn list_request(&mut self, from: RegistrarId) {
        let rejected = !self.is_ready();
        let mut servers = Vec::new();
        for (&id, peer) in self.peers.iter().filter(|_| !rejected) {
            if let (true, Some(endpoint)) = (peer.confirmed && id != from, &peer.endpoint) {
                servers.push(server_information(id, endpoint));
            }
        }
        self.say(from, Body::ListResponse { rejected, servers });
    }

    pub(super) fn list_response(
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
}

/// A registrar and its ENRP endpoint, as ENRP says it (RFC 5354 §3.11).
pub(super) fn server_information(id: RegistrarId, endpoint: &Endpoint) -> ServerInformation {
    let addresses = endpoint.addresses.clone();
    let transport = Transport::Sctp { port: endpoint.port, transport_use: TransportUse::Data, addresses };
    ServerInformation { id, transport }
}

pub(super) fn endpoint_of(transport: &Transport) -> Option<Endpoint> {
    match transport {
        Transport::Sctp { port, addresses, .. } if *port != 0 && !addresses.is_empty() => {
            Some(Endpoint { protocol: Protocol::Sctp, addresses: addresses.clone(), port: *port })
        }
        _ => None,
    }
}
