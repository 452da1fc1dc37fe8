//! Pool member selection policies (RFC 5356, and the drafts' and the reference's further ones).
//!
//! A policy is one variant with only the fields it has. It is reduced to one [`Rank`] per element, either a place in a
//! queue or a number of lots, and the handlespace selects by ranks alone: the same code serves registrars, users' caches
//! and the simulator.

use std::fmt;

/// Share of a pool element's capacity in use (RFC 5356 §3.3.1).
///
/// `0` is idle, `u32::MAX` is full: loads add and compare as integers, so every node orders alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Load(pub u32);

impl Load {
    /// Nothing to do.
    pub const IDLE: Self = Self(0);
    /// Nothing more can be taken.
    pub const FULL: Self = Self(u32::MAX);

    /// From a part of a whole. A part above the whole, or a whole of zero, counts as full.
    pub fn from_ratio(part: u64, whole: u64) -> Self {
        let scaled = u128::from(part.min(whole)) * u128::from(u32::MAX);
        scaled.checked_div(whole.into()).map_or(Self::FULL, |of_max| Self(of_max as u32))
    }
}

impl fmt::Display for Load {
    /// Per cent with one decimal: `12.5%`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permille = (u64::from(self.0) * 1000 + u64::from(u32::MAX) / 2) / u64::from(u32::MAX);
        write!(f, "{}.{}%", permille / 10, permille % 10)
    }
}

/// How a pool chooses, with the values of one element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// 0x00000001: one after the other.
    RoundRobin,
    /// 0x00000002: one after the other, as often as the weight says. Weight 0 cannot serve.
    WeightedRoundRobin {
        #[allow(missing_docs)]
        weight: u32,
    },
    /// 0x00000003: all equally likely.
    Random,
    /// 0x00000004: likelier with more weight. Weight 0 cannot serve.
    WeightedRandom {
        #[allow(missing_docs)]
        weight: u32,
    },
    /// 0x00000005: highest priority first, equals in turn.
    Priority {
        #[allow(missing_docs)]
        priority: u32,
    },
    /// 0x40000001: lowest load first.
    LeastUsed {
        #[allow(missing_docs)]
        load: Load,
    },
    /// 0x40000002: lowest load first; each selection counts as `degradation` more load until the next report.
    LeastUsedDegradation {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        degradation: Load,
    },
    /// 0x40000003: lowest sum of load and degradation first.
    PriorityLeastUsed {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        degradation: Load,
    },
    /// 0x40000004: likelier with less load.
    RandomizedLeastUsed {
        #[allow(missing_docs)]
        load: Load,
    },
    /// 0xb0001001 (reference): likelier with less load and degradation.
    RandomizedPriorityLeastUsed {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        degradation: Load,
    },
    /// 0xb0001002 (reference): likelier with less load; selections count until the next report.
    RandomizedLeastUsedDegradation {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        degradation: Load,
    },
    /// 0xb0001003 (reference).
    PriorityLeastUsedDegradation {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        degradation: Load,
    },
    /// 0xb0001004 (reference).
    RandomizedPriorityLeastUsedDegradation {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        degradation: Load,
    },
    /// 0xb0002001 (draft delay): weight shrinks with distance in milliseconds times the penalty factor.
    WeightedRandomDpf {
        #[allow(missing_docs)]
        weight: u32,
        #[allow(missing_docs)]
        penalty: Load,
        #[allow(missing_docs)]
        distance: u32,
    },
    /// 0xb0002002 (draft delay): load grows with distance.
    LeastUsedDpf {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        penalty: Load,
        #[allow(missing_docs)]
        distance: u32,
    },
    /// 0xb0002003 (draft delay).
    LeastUsedDegradationDpf {
        #[allow(missing_docs)]
        load: Load,
        #[allow(missing_docs)]
        degradation: Load,
        #[allow(missing_docs)]
        penalty: Load,
        #[allow(missing_docs)]
        distance: u32,
    },
    /// A type this implementation does not know, kept as it came so that it can be passed on to peers; selection falls
    /// back to round robin. `data` is what followed the type; a home registrar refuses such a registration.
    Other {
        #[allow(missing_docs)]
        code: u32,
        #[allow(missing_docs)]
        data: Vec<u8>,
    },
}
