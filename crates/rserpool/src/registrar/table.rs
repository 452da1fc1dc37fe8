//! Whole tables, part by part: what a registrar that starts up, or is out of step, reads here (RFC 5353 §3.2.3,
//! §3.6.3).
//!
//! The wire has no word for "from the beginning": each request goes on where the last response ended. How far a reader
//! got is kept per reader and kind of table, until it has everything, or falls silent, or its link ends.

use super::config::{TABLE_ITEMS, TABLE_OCTETS};
use super::{Key, Registrar, Rejection, Timer};
use crate::wire::enrp::Body;
use crate::wire::parameter::{PoolElement, Transport};
use crate::{Door, Policy, PoolHandle, RegistrarId, Time};
use std::net::IpAddr;

/// A part of a table: pools in order, each with elements in order, never empty.
pub(super) struct Part {
    pub pools: Vec<(PoolHandle, Vec<PoolElement>)>,
    /// Something is left behind the last entry.
    pub more: bool,
    /// The last entry.
    pub last: Option<Key>,
}

impl Registrar {
    /// The entries behind `after` that fit into so many octets; at least one, however large it is, if there is any. Only
    /// those of one home, or of one pool, if asked so.
    pub(super) fn part(
        &self,
        home: Option<RegistrarId>,
        only: Option<PoolHandle>,
        after: Option<Key>,
        octets_max: usize,
        items_max: usize,
    ) -> Part {
        let mut part = Part { pools: Vec::new(), more: false, last: None };
        let (mut octets, mut items) = (0, 0);
        for (&handle, element) in self.handlespace.elements(home, after) {
            if only.is_some_and(|only| only != handle) {
                break;
            }
            octets += octets_of(handle, element);
            if part.last.is_some() && (octets > octets_max || items >= items_max) {
                part.more = true;
                break;
            }
            items += 1;
            part.last = Some((handle, element.id));
            match part.pools.last_mut().filter(|(last, _)| *last == handle) {
                Some((_, elements)) => elements.push(element.clone()),
                None => part.pools.push((handle, vec![element.clone()])),
            }
        }
        part
    }

    pub(super) fn handle_table_request(
        &mut self,
        now: Time,
        from: RegistrarId,
        newcomer: bool,
        own_only: bool,
    ) {
        let reader = (from, own_only);
        let known = self.downloads.contains_key(&reader);
        let full = self.downloads.len() >= self.config.limits.downloads && !known;
        // Who is just met has to introduce itself first, as with the reference; who starts up has nothing to offer
        // (RFC 5353 §3.2.3).
        if newcomer || full || !self.is_ready() {
            if full {
                self.reject(Some(Door::Enrp), Rejection::LimitReached);
            }
            let pools = Vec::new();
            self.say(from, Body::HandleTableResponse { rejected: true, more: false, pools });
            return;
        }
        self.counters.synchronizations += 1;
        let home = own_only.then_some(self.id);
        let after = self.downloads.get(&reader).copied();
        // 12 octets of header and identifiers.
        let part = self.part(home, None, after, TABLE_OCTETS - 12, TABLE_ITEMS);
        match part.last.filter(|_| part.more) {
            Some(last) => {
                self.downloads.insert(reader, last);
                let patience = self.config.timing.peer_no_response;
                self.timers.set(Timer::Download(from, own_only), now + patience);
            }
            None => self.end_download(from, own_only),
        }
        self.say(from, Body::HandleTableResponse { rejected: false, more: part.more, pools: part.pools });
    }

    pub(super) fn end_download(&mut self, from: RegistrarId, own_only: bool) {
        self.downloads.remove(&(from, own_only));
        self.timers.clear(&Timer::Download(from, own_only));
    }
}

/// Octets of an entry in a table, its pool handle included (a little too many if it shares the handle with the entry
/// before). Never too few.
fn octets_of(handle: PoolHandle, element: &PoolElement) -> usize {
    4 + padded(handle.as_bytes().len()) + element_octets(element)
}

/// Octets of an element with everything that may come with it; never too few.
pub(super) fn element_octets(element: &PoolElement) -> usize {
    let transport = |transport: &Transport| match transport {
        Transport::Sctp { addresses, .. } => 8 + addresses.iter().copied().map(address_octets).sum::<usize>(),
        Transport::Tcp { address, .. }
        | Transport::Udp { address, .. }
        | Transport::UdpLite { address, .. } => 8 + address_octets(*address),
        Transport::Dccp { address, .. } => 12 + address_octets(*address),
        Transport::Opaque(octets) => 4 + padded(octets.len()),
    };
    let policy = match &element.policy {
        Policy::Other { data, .. } => 8 + padded(data.len()),
        // The largest that is defined has four values behind its type.
        _ => 24,
    };
    let asap = element.asap_transport.as_ref().map_or(0, transport);
    let asap_tcp = element.asap_tcp.map_or(0, |listens| 8 + address_octets(listens.ip()));
    16 + transport(&element.user_transport) + policy + asap + asap_tcp
}

fn address_octets(address: IpAddr) -> usize {
    if address.is_ipv4() { 8 } else { 20 }
}

fn padded(octets: usize) -> usize {
    octets.next_multiple_of(4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registrar::tests::{element_of, handle};
    use crate::wire::enrp::Message;

    #[test]
    fn an_entry_is_measured_exactly_or_a_little_too_large() {
        let home = RegistrarId(1);
        let mut six = element_of(home, 1);
        six.asap_tcp = Some("[fec0::1]:4000".parse().expect("an address"));
        six.policy = Policy::WeightedRandom { weight: 3 };
        for element in [element_of(home, 1), six] {
            let measured = octets_of(handle("fractal"), &element);
            let pools = vec![(handle("fractal"), vec![element])];
            let body = Body::HandleTableResponse { rejected: false, more: false, pools };
            let said = Message { sender: home, receiver: home, body };
            let spare = measured - (said.emit().len() - 12);
            assert!(spare <= 16, "{spare} octets too many");
        }
    }
}
