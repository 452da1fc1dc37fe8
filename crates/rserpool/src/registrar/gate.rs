//! How often an address may ask for something (RFC 5355 §2.1, §2.13).
//!
//! Each address (of IPv6 the /64, which one host owns as a whole) has a bucket of tokens per kind of request, kept as
//! the moment at which the bucket is full again: asking moves that moment into the future by one token's time, and is
//! refused while it lies further ahead than a whole bucket. A full bucket need not be kept at all, so reconnecting does
//! not help an attacker and idle addresses cost nothing.

use super::config::Rate;
use crate::Time;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Addresses remembered at the same time; beyond it newcomers share one bucket.
const REMEMBERED: usize = 4_096;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Gate {
    Registration,
    Resolution,
    Report,
}

/// All buckets that are not full.
#[derive(Debug, Default)]
pub(super) struct Gates {
    full_again: BTreeMap<(Gate, IpAddr), Time>,
}

impl Gates {
    /// Takes a token of this address, if there is one.
    pub fn pass(&mut self, now: Time, gate: Gate, address: Option<IpAddr>, rate: Option<Rate>) -> bool {
        let Some(rate) = rate else { return true };
        let token = Duration::from_secs(1) / rate.per_second.max(1);
        let mut key = (gate, address.map_or(SHARED, prefix));
        if !self.full_again.contains_key(&key) && self.full_again.len() >= REMEMBERED {
            self.full_again.retain(|_, full| *full > now);
            if self.full_again.len() >= REMEMBERED {
                key.1 = SHARED;
            }
        }
        let full = self.full_again.entry(key).or_default();
        let next = (*full).max(now) + token;
        if next.since(now) > token * rate.burst.max(1) {
            return false;
        }
        *full = next;
        true
    }

    /// How many buckets are kept.
    pub fn len(&self) -> usize {
        self.full_again.len()
    }

    /// The most buckets that are ever kept: one per address, and the shared ones.
    pub const MAX: usize = REMEMBERED + 3;
}

/// Nobody's address.
const SHARED: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Whose bucket an address uses; also who counts as one reporter.
pub(super) fn prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOW: Option<Rate> = Some(Rate { per_second: 2, burst: 3 });

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut gates = Gates::default();
        let mut pass = |millis, who| gates.pass(Time::from_millis(millis), Gate::Report, address(who), SLOW);
        assert_eq!([pass(0, 1), pass(0, 1), pass(0, 1), pass(0, 1)], [true, true, true, false]);
        assert!(pass(0, 2), "another address has its own bucket");
        assert!(!pass(499, 1));
        assert!(pass(500, 1));
        assert!(!pass(500, 1));
    }

    #[test]
    fn what_is_not_limited_is_not_remembered() {
        let mut gates = Gates::default();
        assert!(gates.pass(Time::ZERO, Gate::Resolution, address(1), None));
        assert_eq!(gates.len(), 0);
    }

    #[test]
    fn a_crowd_of_addresses_is_bounded_and_forgotten_when_idle() {
        let mut gates = Gates::default();
        for crowd in 0..10_000_u32 {
            let who = Some(IpAddr::from((0x0a00_0000 + crowd).to_be_bytes()));
            gates.pass(Time::ZERO, Gate::Report, who, SLOW);
        }
        assert!(gates.len() <= Gates::MAX, "{}", gates.len());
        assert!(gates.pass(Time::from_millis(60_000), Gate::Report, address(9), SLOW));
        assert!(gates.len() <= Gates::MAX);
    }

    #[test]
    fn one_host_cannot_escape_within_its_64_bits() {
        let of = |text: &str| prefix(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
