//! Settings of a registrar, each with its reason.

use crate::{Endpoint, RegistrarId, Timing};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Settings of a registrar. [`Config::new`] fills in what most scopes want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its identifier; `None` (or 0): drawn at random. It must be new for each life of a process (RFC 5353 §3.2.1 wants
    /// it as unique as possible): peers cannot tell a restarted registrar with its old identifier from one that lost
    /// all its elements.
    pub id: Option<RegistrarId>,
    /// Its ASAP endpoints (TCP and SCTP), as announced.
    pub asap: Vec<Endpoint>,
    /// Its ENRP endpoint: SCTP. Links to peers are opened from it.
    pub enrp: Endpoint,
    /// Peers to find without multicast. The first is the mentor, the others back it up (RFC 5353 §3.2.2.1). An entry
    /// that names this registrar itself is skipped.
    pub peers: Vec<Endpoint>,
    /// Announce itself and listen to announcements.
    pub multicast: bool,
    /// Addresses below this scope are not admitted into the handlespace (RSPLIB: site-local).
    pub minimum_scope: Scope,
    /// Which of two initiators of a takeover wins: one setting for the whole operational scope.
    pub arbitration: Arbitration,
    /// Count own selections as load until an element reports again: without it, old reports make plain Least Used send
    /// everybody to the same element. The wire stays as the RFC has it.
    pub count_selections: bool,
    /// Suggest takeovers of elements that belong to other registrars, and obey suggestions (draft
    /// enrp-takeover): then a registrar that comes back gets its share again. One setting for the whole scope.
    pub takeover_suggestion: bool,
    /// Measure how far elements are away, in steps of this (RSPLIB: 50 ms), for the policies that choose by distance
    /// (draft delay). `None`: elements are as far as they say.
    pub distance_step: Option<Duration>,
    /// Timers.
    pub timing: Timing,
    /// Bounds on everything that others could make grow.
    pub limits: Limits,
}

impl Config {
    /// A registrar with these endpoints: alone, without multicast, admitting site-local and global addresses.
    pub fn new(asap: Vec<Endpoint>, enrp: Endpoint) -> Self {
        Self {
            id: None,
            asap,
            enrp,
            peers: Vec::new(),
            multicast: false,
            minimum_scope: Scope::SiteLocal,
            arbitration: Arbitration::default(),
            count_selections: true,
            takeover_suggestion: false,
            distance_step: None,
            timing: Timing::default(),
            limits: Limits::default(),
        }
    }
}

/// How far an address reaches, nearest first. Unspecified, multicast and broadcast addresses have no scope at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This host only: 127/8, ::1.
    Loopback,
    /// This link only: 169.254/16, fe80::/10.
    LinkLocal,
    /// This site: 10/8, 172.16/12, 192.168/16, fec0::/10.
    SiteLocal,
    /// Anywhere; also fc00::/7, as RSPLIB classifies it.
    Global,
}

impl Scope {
    /// The scope of an address; `None` if nobody can be reached there. An IPv4-mapped IPv6 address is judged by the
    /// IPv4 address in it.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::of_v4(v4),
            IpAddr::V6(v6) => Self::of_v6(v6),
        }
    }

    fn of_v4(v4: Ipv4Addr) -> Option<Self> {
        if v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() {
            None
        } else if v4.is_loopback() {
            Some(Self::Loopback)
        } else if v4.is_link_local() {
            Some(Self::LinkLocal)
        } else if v4.is_private() {
            Some(Self::SiteLocal)
        } else {
            Some(Self::Global)
        }
    }

    fn of_v6(v6: Ipv6Addr) -> Option<Self> {
        if v6.is_unspecified() || v6.is_multicast() {
            None
        } else if v6.is_loopback() {
            Some(Self::Loopback)
        } else if v6.is_unicast_link_local() {
            Some(Self::LinkLocal)
        } else if v6.segments()[0] & 0xffc0 == 0xfec0 {
            Some(Self::SiteLocal)
        } else {
            Some(Self::Global)
        }
    }
}

/// Who wins when two registrars want to take over the same third one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arbitration {
    /// The larger identifier (RFC 5353 §3.5.1).
    #[default]
    LargerWins,
    /// The smaller identifier, as RSPLIB does: for scopes shared with RSPLIB registrars.
    SmallerWins,
}

impl Arbitration {
    /// True if `one` prevails over `other`.
    pub fn prefers(self, one: RegistrarId, other: RegistrarId) -> bool {
        match self {
            Self::LargerWins => one > other,
            Self::SmallerWins => one < other,
        }
    }
}

/// Bounds on everything that others could make grow. What does not fit is refused with a reason, or dropped and
/// counted; nothing else changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Links accepted at the same time, both doors together; one more is aborted.
    pub links: usize,
    /// Elements in the handlespace; one more is refused for lack of resources.
    pub elements: usize,
    /// Elements registered through one link.
    pub elements_per_link: usize,
    /// Peers known at the same time.
    pub peers: usize,
    /// Handle table downloads served at the same time; one more is rejected (RFC 5353 §3.2.3).
    pub downloads: usize,
    /// Resolutions held back while starting up.
    pub held_resolutions: usize,
    /// Links to elements being opened at the same time: after a takeover the others wait for their turn.
    pub adoptions: usize,
    /// Elements in the answer to a resolution that names no number (the reference: 3).
    pub items_default: u32,
    /// Elements in any answer to a resolution (the reference's users accept no more than 128).
    pub items_max: u32,
    /// Registrations and deregistrations of one address (IPv6: one /64); `None`: no bound.
    pub registrations: Option<Rate>,
    /// Resolutions of one address; `None`: no bound.
    pub resolutions: Option<Rate>,
    /// Reports of unreachable elements of one address; `None`: no bound.
    pub reports: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links: 16_384,
            elements: 1_000_000,
            elements_per_link: 1_024,
            peers: 128,
            downloads: 32,
            held_resolutions: 1_024,
            adoptions: 256,
            items_default: 3,
            items_max: 128,
            // A thousand elements of one host that all come back at once must pass; a flood must not.
            registrations: Some(Rate { per_second: 1_000, burst: 10_000 }),
            // A user may ask as fast as it can on its own link; the address alone does not tell a crowd from a flood.
            resolutions: None,
            // Every report makes the registrar probe: a few per second are many.
            reports: Some(Rate { per_second: 10, burst: 100 }),
        }
    }
}

/// A token bucket: so many per second, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Tokens that come back each second; at least 1.
    pub per_second: u32,
    /// Tokens in a full bucket; at least 1.
    pub burst: u32,
}

/// How long a lost peer's endpoint is remembered, so that the two halves of a healed network find each other again.
pub(super) const LOST_PEER_REMEMBERED: Duration = Duration::from_secs(3_600);

/// How long resolutions of unknown pools wait for the end of start-up: a user of the reference gives up after 3 s.
pub(super) const HOLD_MAX: Duration = Duration::from_secs(1);

/// The smallest pause between two keep-alives to one element, whoever asks for them (RFC 5355 §2.14: a registrar limits
/// its keep-alives).
pub(super) const PROBE_GAP: Duration = Duration::from_millis(100);

/// Octets of a handle table response, as the reference sends them; a single large entry may exceed it.
pub(super) const TABLE_OCTETS: usize = 1_400;

/// Elements in one handle table response, as the reference sends them.
pub(super) const TABLE_ITEMS: usize = 128;

/// Octets of the elements in any ASAP answer: the largest message of every transport (wire format 8.1, TCP mapping 6),
/// less what stands around them.
pub(super) const ANSWER_OCTETS: usize = 60_000;

/// Octets of one element: two transports of 64 addresses take 2,600, so this leaves room for any policy or opaque address
/// that is meant seriously, and for what messages put around an element.
pub(super) const ELEMENT_OCTETS: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_class_has_its_scope() {
        for (address, scope) in [
            ("0.0.0.0", None),
            ("239.0.0.50", None),
            ("255.255.255.255", None),
            ("127.0.0.1", Some(Scope::Loopback)),
            ("169.254.7.7", Some(Scope::LinkLocal)),
            ("10.1.2.3", Some(Scope::SiteLocal)),
            ("172.31.0.1", Some(Scope::SiteLocal)),
            ("172.32.0.1", Some(Scope::Global)),
            ("192.168.1.1", Some(Scope::SiteLocal)),
            ("::", None),
            ("ff02::1", None),
            ("::1", Some(Scope::Loopback)),
            ("fe80::1", Some(Scope::LinkLocal)),
            ("fec0::1", Some(Scope::SiteLocal)),
            ("fc00::1", Some(Scope::Global)),
            ("2001:db8::1", Some(Scope::Global)),
            ("::ffff:10.0.0.1", Some(Scope::SiteLocal)),
        ] {
            assert_eq!(Scope::of(address.parse().expect("an address")), scope, "{address}");
        }
    }

    #[test]
    fn arbitration_is_one_setting_and_nobody_beats_itself() {
        let (small, large) = (RegistrarId(1), RegistrarId(2));
        assert!(Arbitration::LargerWins.prefers(large, small));
        assert!(!Arbitration::LargerWins.prefers(small, large));
        assert!(Arbitration::SmallerWins.prefers(small, large));
        assert!(!Arbitration::SmallerWins.prefers(small, small));
    }
}
