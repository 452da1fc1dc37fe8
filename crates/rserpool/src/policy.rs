//! Pool member selection policies (RFC 5356, and the drafts' and the reference's further ones).
//!
//! A policy is one variant with only the fields it has. It is reduced to one [`Rank`] per element, either a place in a
//! queue or a number of lots, and the handlespace selects by ranks alone: the same code serves registrars, users' caches
//! and the simulator.
//!
//! On the wire a policy is its type and some words of 32 bits ([`Policy::code`], [`Policy::parameters`],
//! [`Policy::from_words`]); on a command line it is a name and some values (`name.rs`).

mod name;
#[cfg(test)]
mod tests;

pub use name::{Parameter, ParsePolicyError};

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

    /// This and the other together; full is the most there is.
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is free; full minus full is idle.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This so many times; full is the most there is.
    pub const fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(count))
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

/// Where an element stands in its pool's selection: the lowest key first, or by lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// In a queue, the lowest key first; equal keys in turn, the one not selected for longest first.
    Queue(u32),
    /// In a queue, this many times per round, spread evenly over it. 0: never.
    Turns(u32),
    /// Drawn by lot with this many lots. 0: never.
    Lots(u32),
}

impl Policy {
    /// The rank of an element with these values that was selected `chosen` times since its last registration.
    ///
    /// `step` is what a selection is assumed to add to the load where the policy itself does not say: idle is the plain
    /// RFC, anything else counts selections for Least Used as well (see
    /// [`Settings::count_selections`](crate::handlespace::Settings::count_selections)).
    pub fn rank(&self, chosen: u32, step: Load) -> Rank {
        let queue = |load: Load| Rank::Queue(load.0);
        // Full elements keep one lot, although RFC 5356 §5.4.2 leaves them none: a pool of full elements must still
        // resolve, for a positive answer names at least one element (RFC 5352 §2.2.6).
        let lots = |load: Load| Rank::Lots(Load::FULL.minus(load).0.max(1));
        match *self {
            // RFC 5356 §4. A type we do not know is passed on, and served as the default policy.
            Self::RoundRobin | Self::Other { .. } => Rank::Queue(0),
            Self::WeightedRoundRobin { weight } => Rank::Turns(weight),
            Self::Random => Rank::Lots(1),
            Self::WeightedRandom { weight } => Rank::Lots(weight),
            Self::Priority { priority } => Rank::Queue(u32::MAX - priority),
            // RFC 5356 §5.1-5.3. §5.2.2 counts every element returned; we count those that are likely used, the first
            // of each answer (`Settings::increments_max`).
            Self::LeastUsed { load } => queue(load.plus(step.times(chosen))),
            Self::LeastUsedDegradation { load, degradation } => queue(load.plus(degradation.times(chosen))),
            Self::PriorityLeastUsed { load, degradation } => queue(load.plus(degradation)),
            Self::PriorityLeastUsedDegradation { load, degradation } => {
                queue(load.plus(degradation).plus(degradation.times(chosen)))
            }
            // RFC 5356 §5.4, and the reference's relatives of it. The reference never counts for the two that degrade;
            // we do, as for their queued counterparts.
            Self::RandomizedLeastUsed { load } => lots(load),
            Self::RandomizedLeastUsedDegradation { load, degradation } => {
                lots(load.plus(degradation.times(chosen)))
            }
            Self::RandomizedPriorityLeastUsed { load, degradation } => lots(load.plus(degradation)),
            Self::RandomizedPriorityLeastUsedDegradation { load, degradation } => {
                lots(load.plus(degradation).plus(degradation.times(chosen)))
            }
            // Draft delay: the penalty factor is load (or share of the weight) per millisecond of distance.
            Self::LeastUsedDpf { load, penalty, distance } => {
                queue(load.plus(step.times(chosen)).plus(penalty.times(distance)))
            }
            Self::LeastUsedDegradationDpf { load, degradation, penalty, distance } => {
                queue(load.plus(degradation.times(chosen)).plus(penalty.times(distance)))
            }
            // Far away is unlikely, not impossible: whoever has weight keeps one lot (the reference takes it away from
            // an element whose penalty is exactly 1).
            Self::WeightedRandomDpf { weight, penalty, distance } => {
                let full = u128::from(u32::MAX);
                let lost =
                    (u128::from(weight) * u128::from(penalty.0) * u128::from(distance) + full / 2) / full;
                let left = u128::from(weight).saturating_sub(lost) as u32;
                Rank::Lots(left.max(u32::from(weight > 0)))
            }
        }
    }

    /// True if the element reports its load: it registers anew when its load changes.
    pub fn is_adaptive(&self) -> bool {
        self.load().is_some()
    }

    /// The load it carries, if its policy has one.
    pub fn load(&self) -> Option<Load> {
        self.parameters().find(|&(parameter, _)| parameter == Parameter::Load).map(|(_, value)| Load(value))
    }

    /// The same with this load; policies without a load stay as they are.
    #[must_use]
    pub fn with_load(mut self, reported: Load) -> Self {
        match &mut self {
            Self::LeastUsed { load }
            | Self::LeastUsedDegradation { load, .. }
            | Self::PriorityLeastUsed { load, .. }
            | Self::RandomizedLeastUsed { load }
            | Self::RandomizedPriorityLeastUsed { load, .. }
            | Self::RandomizedLeastUsedDegradation { load, .. }
            | Self::PriorityLeastUsedDegradation { load, .. }
            | Self::RandomizedPriorityLeastUsedDegradation { load, .. }
            | Self::LeastUsedDpf { load, .. }
            | Self::LeastUsedDegradationDpf { load, .. } => *load = reported,
            Self::RoundRobin
            | Self::WeightedRoundRobin { .. }
            | Self::Random
            | Self::WeightedRandom { .. }
            | Self::Priority { .. }
            | Self::WeightedRandomDpf { .. }
            | Self::Other { .. } => {}
        }
        self
    }

    /// How far away the element is, in milliseconds; `None`: the policy does not care.
    pub fn distance(&self) -> Option<u32> {
        match self {
            Self::WeightedRandomDpf { distance, .. }
            | Self::LeastUsedDpf { distance, .. }
            | Self::LeastUsedDegradationDpf { distance, .. } => Some(*distance),
            _ => None,
        }
    }

    /// The same at this distance; policies that do not care stay as they are.
    #[must_use]
    pub fn with_distance(mut self, milliseconds: u32) -> Self {
        if let Self::WeightedRandomDpf { distance, .. }
        | Self::LeastUsedDpf { distance, .. }
        | Self::LeastUsedDegradationDpf { distance, .. } = &mut self
        {
            *distance = milliseconds;
        }
        self
    }

    /// True unless the type is one this implementation only passes on.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Other { .. })
    }

    /// The policy type (RFC 5356 §7.1).
    pub fn code(&self) -> u32 {
        match *self {
            Self::RoundRobin => 0x0000_0001,
            Self::WeightedRoundRobin { .. } => 0x0000_0002,
            Self::Random => 0x0000_0003,
            Self::WeightedRandom { .. } => 0x0000_0004,
            Self::Priority { .. } => 0x0000_0005,
            Self::LeastUsed { .. } => 0x4000_0001,
            Self::LeastUsedDegradation { .. } => 0x4000_0002,
            Self::PriorityLeastUsed { .. } => 0x4000_0003,
            Self::RandomizedLeastUsed { .. } => 0x4000_0004,
            Self::RandomizedPriorityLeastUsed { .. } => 0xb000_1001,
            Self::RandomizedLeastUsedDegradation { .. } => 0xb000_1002,
            Self::PriorityLeastUsedDegradation { .. } => 0xb000_1003,
            Self::RandomizedPriorityLeastUsedDegradation { .. } => 0xb000_1004,
            Self::WeightedRandomDpf { .. } => 0xb000_2001,
            Self::LeastUsedDpf { .. } => 0xb000_2002,
            Self::LeastUsedDegradationDpf { .. } => 0xb000_2003,
            Self::Other { code, .. } => code,
        }
    }

    /// The policy of this type with these words, or `None` if the type is unknown or words are missing. Words too many
    /// are ignored, as the reference does.
    pub fn from_words(code: u32, words: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut words = words.into_iter();
        // Fields of a struct expression are evaluated as written: in the order of the words.
        Self::build(code, |_| words.next())
    }

    /// The words behind the type in wire order, each with its meaning; of an unknown type: none.
    pub fn parameters(&self) -> impl Iterator<Item = (Parameter, u32)> + use<> {
        use Parameter::{Degradation, Distance, Load, Penalty, Priority, Weight};
        let words: [Option<(Parameter, u32)>; 4] = match *self {
            Self::RoundRobin | Self::Random | Self::Other { .. } => [None; 4],
            Self::WeightedRoundRobin { weight } | Self::WeightedRandom { weight } => {
                [Some((Weight, weight)), None, None, None]
            }
            Self::Priority { priority } => [Some((Priority, priority)), None, None, None],
            Self::LeastUsed { load } | Self::RandomizedLeastUsed { load } => {
                [Some((Load, load.0)), None, None, None]
            }
            Self::LeastUsedDegradation { load, degradation }
            | Self::PriorityLeastUsed { load, degradation }
            | Self::RandomizedPriorityLeastUsed { load, degradation }
            | Self::RandomizedLeastUsedDegradation { load, degradation }
            | Self::PriorityLeastUsedDegradation { load, degradation }
            | Self::RandomizedPriorityLeastUsedDegradation { load, degradation } => {
                [Some((Load, load.0)), Some((Degradation, degradation.0)), None, None]
            }
            Self::WeightedRandomDpf { weight, penalty, distance } => {
                [Some((Weight, weight)), Some((Penalty, penalty.0)), Some((Distance, distance)), None]
            }
            Self::LeastUsedDpf { load, penalty, distance } => {
                [Some((Load, load.0)), Some((Penalty, penalty.0)), Some((Distance, distance)), None]
            }
            Self::LeastUsedDegradationDpf { load, degradation, penalty, distance } => [
                Some((Load, load.0)),
                Some((Degradation, degradation.0)),
                Some((Penalty, penalty.0)),
                Some((Distance, distance)),
            ],
        };
        words.into_iter().flatten()
    }

    /// The policy of this type with the values `of` gives, asked for in wire order.
    fn build(code: u32, mut of: impl FnMut(Parameter) -> Option<u32>) -> Option<Self> {
        use Parameter as P;
        Some(match code {
            0x0000_0001 => Self::RoundRobin,
            0x0000_0002 => Self::WeightedRoundRobin { weight: of(P::Weight)? },
            0x0000_0003 => Self::Random,
            0x0000_0004 => Self::WeightedRandom { weight: of(P::Weight)? },
            0x0000_0005 => Self::Priority { priority: of(P::Priority)? },
            0x4000_0001 => Self::LeastUsed { load: Load(of(P::Load)?) },
            0x4000_0002 => Self::LeastUsedDegradation {
                load: Load(of(P::Load)?),
                degradation: Load(of(P::Degradation)?),
            },
            0x4000_0003 => {
                Self::PriorityLeastUsed { load: Load(of(P::Load)?), degradation: Load(of(P::Degradation)?) }
            }
            0x4000_0004 => Self::RandomizedLeastUsed { load: Load(of(P::Load)?) },
            0xb000_1001 => Self::RandomizedPriorityLeastUsed {
                load: Load(of(P::Load)?),
                degradation: Load(of(P::Degradation)?),
            },
            0xb000_1002 => Self::RandomizedLeastUsedDegradation {
                load: Load(of(P::Load)?),
                degradation: Load(of(P::Degradation)?),
            },
            0xb000_1003 => Self::PriorityLeastUsedDegradation {
                load: Load(of(P::Load)?),
                degradation: Load(of(P::Degradation)?),
            },
            0xb000_1004 => Self::RandomizedPriorityLeastUsedDegradation {
                load: Load(of(P::Load)?),
                degradation: Load(of(P::Degradation)?),
            },
            0xb000_2001 => Self::WeightedRandomDpf {
                weight: of(P::Weight)?,
                penalty: Load(of(P::Penalty)?),
                distance: of(P::Distance)?,
            },
            0xb000_2002 => Self::LeastUsedDpf {
                load: Load(of(P::Load)?),
                penalty: Load(of(P::Penalty)?),
                distance: of(P::Distance)?,
            },
            0xb000_2003 => Self::LeastUsedDegradationDpf {
                load: Load(of(P::Load)?),
                degradation: Load(of(P::Degradation)?),
                penalty: Load(of(P::Penalty)?),
                distance: of(P::Distance)?,
            },
            _ => return None,
        })
    }
}
