//! The registrars a node knows of (RFC 5352 §3.6): configured ones for ever, announced ones until T7 is over.
//!
//! An announcement is a hint, not a proof: it may add candidates for the hunt, and never removes a configured one.

use crate::wire::parameter::Transport;
use crate::{Endpoint, Protocol, Random, RegistrarId, Time};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The well-known port of ASAP (RFC 5352 §8.2).
const ASAP_PORT: u16 = 3863;
/// Announced endpoints remembered at the same time; more are ignored until old ones expire.
const ANNOUNCED_MAX: usize = 64;
/// Transports looked at in one announcement.
const TRANSPORTS_MAX: usize = 8;

/// One place where a registrar is, or is said to be.
#[derive(Clone, Debug)]
struct Entry {
    at: Endpoint,
    /// Undefined until it announced itself.
    id: RegistrarId,
    /// When T7-ENRPoutdate is over; `None`: configured.
    until: Option<Time>,
}

/// The list of RFC 5352 §3.6, configured ones first.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    entries: Vec<Entry>,
}

impl Known {
    pub(crate) fn new(configured: Vec<Endpoint>) -> Self {
        let mut known = Self { entries: Vec::new() };
        for at in configured {
            if known.entries.iter().all(|entry| entry.at != at) {
                known.entries.push(Entry { at, id: RegistrarId::UNDEFINED, until: None });
            }
        }
        known
    }

    /// Obeys a Server Announce that came `from` this source. Returns the endpoints not known before.
    pub(crate) fn announced(
        &mut self,
        now: Time,
        from: SocketAddr,
        id: RegistrarId,
        transports: &[Transport],
        life: Duration,
    ) -> Vec<Endpoint> {
        self.forget_old(now);
        let mut new = Vec::new();
        for at in announced_endpoints(from, transports) {
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.at == at) {
                entry.id = id;
                if let Some(until) = &mut entry.until {
                    *until = now + life;
                }
            } else if self.entries.iter().filter(|entry| entry.until.is_some()).count() < ANNOUNCED_MAX {
                self.entries.push(Entry { at: at.clone(), id, until: Some(now + life) });
                new.push(at);
            }
        }
        new
    }

    /// Forgets what was announced too long ago.
    pub(crate) fn forget_old(&mut self, now: Time) {
        self.entries.retain(|entry| entry.until.is_none_or(|until| until > now));
    }

    /// All of them in the order to try: from a random one on, around the list, `last` at the end. With `sctp_first`,
    /// every SCTP endpoint comes before every TCP endpoint.
    pub(crate) fn order(
        &self,
        random: &mut Random,
        last: Option<&Endpoint>,
        sctp_first: bool,
    ) -> VecDeque<Endpoint> {
        let mut order: Vec<_> = self.entries.iter().map(|entry| entry.at.clone()).collect();
        let start = random.below(order.len() as u64) as usize;
        order.rotate_left(start);
        // Both sorts are stable: they keep the order among equals.
        order.sort_by_key(|at| Some(at) == last);
        if sctp_first {
            order.sort_by_key(|at| at.protocol == Protocol::Tcp);
        }
        order.into()
    }

    /// Who is at this endpoint, as far as announcements told.
    pub(crate) fn id_at(&self, at: &Endpoint) -> RegistrarId {
        self.entries.iter().find(|entry| entry.at == *at).map_or(RegistrarId::UNDEFINED, |entry| entry.id)
    }

    /// True if this registrar announced itself, or speaks from an address where we know a registrar to be.
    pub(crate) fn vouches_for(&self, id: RegistrarId, peer: &Endpoint) -> bool {
        self.entries.iter().any(|entry| {
            (id.is_defined() && entry.id == id)
                || entry.at.addresses.iter().any(|address| peer.addresses.contains(address))
        })
    }
}

/// Where a Server Announce says its sender is.
fn announced_endpoints(from: SocketAddr, transports: &[Transport]) -> Vec<Endpoint> {
    let reachable = |address: IpAddr| if address.is_unspecified() { from.ip() } else { address };
    let endpoints: Vec<_> = transports
        .iter()
        .take(TRANSPORTS_MAX)
        .filter_map(|transport| match transport {
            Transport::Sctp { port, addresses, .. } => Some(Endpoint {
                protocol: Protocol::Sctp,
                addresses: addresses.iter().map(|&address| reachable(address)).collect(),
                port: *port,
            }),
            Transport::Tcp { port, address, .. } => {
                Some(Endpoint::tcp(SocketAddr::new(reachable(*address), *port)))
            }
            _ => None, // RFC 5352 §2.2.10: SCTP and TCP only
        })
        .filter(|at| at.port != 0 && !at.addresses.is_empty())
        .collect();
    if !transports.is_empty() {
        return endpoints;
    }
    // RFC 5352 §3.6: without transports, SCTP at the source address and the well-known port is meant. RSPLIB announces
    // from the port it serves at, so that one is tried as well.
    let mut assumed = vec![Endpoint::sctp(from)];
    if from.port() != ASAP_PORT {
        assumed.push(Endpoint::sctp(SocketAddr::new(from.ip(), ASAP_PORT)));
    }
    assumed.retain(|at| at.port != 0);
    assumed
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(5);

    fn socket(last: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], port))
    }

    fn everyone(known: &Known) -> Vec<Endpoint> {
        let mut all: Vec<_> = known.order(&mut Random::from_seed(1), None, false).into();
        all.sort();
        all
    }

    #[test]
    fn an_announced_registrar_is_forgotten_after_t7_and_a_configured_one_never() {
        let mut known = Known::new(vec![Endpoint::tcp(socket(1, 3863))]);
        let tcp = Transport::Tcp {
            port: 3863,
            transport_use: crate::wire::parameter::TransportUse::Data,
            address: socket(2, 0).ip(),
        };
        let at = Time::from_millis(100);
        let new = known.announced(at, socket(2, 9), RegistrarId(2), std::slice::from_ref(&tcp), LIFE);
        assert_eq!(new, [Endpoint::tcp(socket(2, 3863))]);
        assert_eq!(known.announced(at, socket(2, 9), RegistrarId(2), &[tcp], LIFE), []);
        assert_eq!(known.id_at(&Endpoint::tcp(socket(2, 3863))), RegistrarId(2));
        known.forget_old(Time::from_millis(5_099));
        assert_eq!(everyone(&known), [Endpoint::tcp(socket(1, 3863)), Endpoint::tcp(socket(2, 3863))]);
        known.forget_old(Time::from_millis(5_100));
        assert_eq!(everyone(&known), [Endpoint::tcp(socket(1, 3863))]);
    }

    #[test]
    fn an_announcement_without_transports_means_sctp_at_its_source() {
        let mut known = Known::new(vec![]);
        let new = known.announced(Time::ZERO, socket(3, 14_000), RegistrarId(3), &[], LIFE);
        assert_eq!(new, [Endpoint::sctp(socket(3, 14_000)), Endpoint::sctp(socket(3, ASAP_PORT))]);
    }

    #[test]
    fn the_order_tries_the_one_just_lost_last_and_sctp_first_if_asked() {
        let [a, b] = [Endpoint::sctp(socket(1, 1)), Endpoint::sctp(socket(2, 1))];
        let c = Endpoint::tcp(socket(3, 1));
        let known = Known::new(vec![a.clone(), b.clone(), c.clone(), a.clone()]);
        for seed in 0..10 {
            let mut random = Random::from_seed(seed);
            let order = known.order(&mut random, Some(&b), false);
            assert_eq!((order.len(), order.back()), (3, Some(&b)));
            assert_eq!(known.order(&mut random, Some(&b), true), [a.clone(), b.clone(), c.clone()]);
        }
        assert!(Known::new(vec![]).order(&mut Random::from_seed(1), None, true).is_empty());
    }

    #[test]
    fn a_flood_of_announcements_fills_no_memory() {
        let mut known = Known::new(vec![Endpoint::tcp(socket(1, 3863))]);
        for port in 1..1000 {
            known.announced(Time::ZERO, socket(9, port), RegistrarId(9), &[], LIFE);
        }
        assert_eq!(known.entries.len(), 1 + ANNOUNCED_MAX);
    }

    #[test]
    fn a_registrar_is_vouched_for_by_its_announcement_or_its_address() {
        let mut known = Known::new(vec![Endpoint::tcp(socket(1, 3863))]);
        known.announced(Time::ZERO, socket(2, 3863), RegistrarId(2), &[], LIFE);
        assert!(known.vouches_for(RegistrarId(7), &Endpoint::tcp(socket(1, 40_000))));
        assert!(known.vouches_for(RegistrarId(2), &Endpoint::tcp(socket(8, 40_000))));
        assert!(!known.vouches_for(RegistrarId(7), &Endpoint::tcp(socket(8, 40_000))));
        assert!(!known.vouches_for(RegistrarId::UNDEFINED, &Endpoint::tcp(socket(8, 40_000))));
    }
}
