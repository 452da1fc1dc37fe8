//! Links that are being opened, where two transports carry the same protocol.
//!
//! SCTP of the kernel and SCTP over UDP reach the same endpoints by different packets, and no parameter on the wire
//! tells which of them a peer has. So the first transport tries, and if the peer cannot be reached that way the next one
//! does; the node hears of the last one only. Who was reached how is remembered, so only the first link to a host may
//! take longer.

use rserpool::{Door, Endpoint, Greeting, LinkId, Ppid};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Hosts remembered; all are forgotten when there are more.
const REMEMBERED_MAX: usize = 1_024;

/// A link being opened.
pub(crate) struct Attempt {
    pub door: Door,
    pub to: Endpoint,
    pub greeting: Greeting,
    /// What was said on it so far: it has to be said again.
    pub said: Vec<(Ppid, Vec<u8>)>,
    /// The transport that tries now.
    current: usize,
    /// Those that have not tried yet.
    left: VecDeque<usize>,
}

/// All links being opened that more than one transport may open.
#[derive(Default)]
pub(crate) struct Attempts {
    open: HashMap<LinkId, Attempt>,
    reached: HashMap<IpAddr, usize>,
}

impl Attempts {
    /// The transport that tries first, of those that carry the protocol (by number, the preferred one first).
    pub(crate) fn begin(
        &mut self,
        link: LinkId,
        door: Door,
        to: &Endpoint,
        greeting: Greeting,
        carriers: Vec<usize>,
    ) -> Option<usize> {
        let mut left = VecDeque::from(carriers);
        if left.len() > 1 {
            let known = to.addresses.iter().find_map(|ip| self.reached.get(ip));
            if let Some(place) = known.and_then(|known| left.iter().position(|carrier| carrier == known)) {
                left.rotate_left(place);
            }
            let current = left.pop_front()?;
            let attempt = Attempt { door, to: to.clone(), greeting, said: Vec::new(), current, left };
            self.open.insert(link, attempt);
            return Some(current);
        }
        left.pop_front()
    }

    /// Something is said on a link that may not be open yet.
    pub(crate) fn said(&mut self, link: LinkId, ppid: Ppid, bytes: &[u8]) {
        if self.open.is_empty() {
            return;
        }
        if let Some(attempt) = self.open.get_mut(&link) {
            attempt.said.push((ppid, bytes.to_vec()));
        }
    }

    /// A link is open, or is no longer wanted.
    pub(crate) fn over(&mut self, link: LinkId, opened: bool) {
        if self.open.is_empty() {
            return;
        }
        let Some(attempt) = self.open.remove(&link) else { return };
        if opened {
            if self.reached.len() > REMEMBERED_MAX {
                self.reached.clear();
            }
            self.reached.extend(attempt.to.addresses.iter().map(|&ip| (ip, attempt.current)));
        }
    }

    /// The peer of a link could not be reached: who tries next, and what with. `None` if nobody is left; then the attempt
    /// is over.
    pub(crate) fn next(&mut self, link: LinkId) -> Option<(usize, &Attempt)> {
        let Some(next) = self.open.get_mut(&link)?.left.pop_front() else {
            self.open.remove(&link);
            return None;
        };
        let attempt = self.open.get_mut(&link)?;
        attempt.current = next;
        Some((next, attempt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId::Ours(1);

    fn host(last: u8) -> Endpoint {
        Endpoint::sctp(([10, 0, 0, last], 3863).into())
    }

    #[test]
    fn each_transport_tries_once_and_has_everything_to_say() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.begin(LINK, Door::Asap, &host(1), Greeting::default(), vec![1, 2]), Some(1));
        attempts.said(LINK, Ppid::ASAP, b"one");
        let (next, attempt) = attempts.next(LINK).expect("the second transport");
        assert_eq!((next, &attempt.to, attempt.said.len()), (2, &host(1), 1));
        assert!(attempts.next(LINK).is_none());
        assert!(attempts.open.is_empty());
    }

    #[test]
    fn who_was_reached_is_reached_the_same_way_next_time() {
        let mut attempts = Attempts::default();
        let first = |attempts: &mut Attempts, link, to: Endpoint| {
            attempts.begin(link, Door::Asap, &to, Greeting::default(), vec![1, 2])
        };
        assert_eq!(first(&mut attempts, LINK, host(1)), Some(1));
        attempts.next(LINK);
        attempts.over(LINK, true);
        assert_eq!(first(&mut attempts, LinkId::Ours(2), host(1)), Some(2));
        assert_eq!(first(&mut attempts, LinkId::Ours(3), host(2)), Some(1));
        // What worked once is only tried first.
        assert_eq!(attempts.next(LinkId::Ours(2)).map(|(next, _)| next), Some(1));
    }

    #[test]
    fn a_single_transport_needs_no_memory() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.begin(LINK, Door::Asap, &host(1), Greeting::default(), vec![0]), Some(0));
        assert_eq!(attempts.begin(LINK, Door::Asap, &host(1), Greeting::default(), vec![]), None);
        assert!(attempts.open.is_empty() && attempts.next(LINK).is_none());
    }
}
