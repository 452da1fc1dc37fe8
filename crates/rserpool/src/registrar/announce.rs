//! Announcements to elements and users (RFC 5352 §3.6).
//!
//! With N other registrars heard, each announces itself every (N + 1) times T6, so that the group hears about one
//! announcement per T6 however many registrars there are.

use super::{Registrar, Rejection, Timer};
use crate::wire::asap::Message;
use crate::wire::parameter::{Transport, TransportUse};
use crate::{Channel, Endpoint, Protocol, Time};

/// Announcers remembered at the same time.
const ANNOUNCERS_MAX: usize = 128;

impl Registrar {
    pub(super) fn announce_due(&mut self, now: Time) {
        let lifetime = self.config.timing.announce_lifetime;
        self.announcers.retain(|_, heard| now.since(*heard) <= lifetime);
        let others = self.announcers.len() as u32;
        let pause = self.random.jittered(self.config.timing.server_announce_interval * (others + 1), 125);
        self.timers.set(Timer::Announce, now + pause);

        let of = |wanted| self.config.asap.iter().filter(move |endpoint| endpoint.protocol == wanted);
        // TCP first, one SCTP transport last: the reference stops reading at the first SCTP transport and trips over
        // anything else behind it.
        let mut transports: Vec<Transport> = of(Protocol::Tcp).flat_map(tcp_transports).collect();
        transports.extend(of(Protocol::Sctp).next().map(|endpoint| Transport::Sctp {
            port: endpoint.port,
            transport_use: TransportUse::Data,
            addresses: endpoint.addresses.clone(),
        }));
        let announce = Message::ServerAnnounce { server: self.id, transports };
        self.outbox.announce(Channel::Asap, announce.emit());
    }

    /// Counts the other registrars that announce themselves.
    pub(super) fn heard_asap(&mut self, now: Time, bytes: &[u8]) {
        if !self.config.multicast {
            return;
        }
        match Message::parse(bytes) {
            Ok(Message::ServerAnnounce { server, .. }) => {
                let room = self.announcers.len() < ANNOUNCERS_MAX || self.announcers.contains_key(&server);
                if server != self.id && room {
                    self.announcers.insert(server, now);
                }
            }
            Ok(_) => self.reject(None, Rejection::Unexpected),
            Err(_) => self.reject(None, Rejection::Malformed),
        }
    }
}

/// A TCP transport has one address (RFC 5354 §3.5).
fn tcp_transports(endpoint: &Endpoint) -> impl Iterator<Item = Transport> + '_ {
    endpoint.addresses.iter().map(|&address| Transport::Tcp {
        port: endpoint.port,
        transport_use: TransportUse::Data,
        address,
    })
}
