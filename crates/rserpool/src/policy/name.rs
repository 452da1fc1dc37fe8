//! Policies on a command line: `rr`, `WeightedRandom:weight=5`, `lud:degradation=10%`.

use super::{Load, Policy};
use std::fmt;
use std::str::FromStr;

/// What a word of a policy means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Parameter {
    /// A plain number; 0 cannot serve.
    Weight,
    /// A plain number; larger is preferred.
    Priority,
    /// A [`Load`]: in use now.
    Load,
    /// A [`Load`]: added by each selection.
    Degradation,
    /// A [`Load`] per millisecond of distance.
    Penalty,
    /// Milliseconds.
    Distance,
}

impl Parameter {
    const ALL: [Self; 6] =
        [Self::Weight, Self::Priority, Self::Load, Self::Degradation, Self::Penalty, Self::Distance];

    /// Its name on a command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weight => "weight",
            Self::Priority => "priority",
            Self::Load => "load",
            Self::Degradation => "degradation",
            Self::Penalty => "penalty",
            Self::Distance => "distance",
        }
    }

    /// True for shares of the whole ([`Load`]), false for plain numbers.
    pub const fn is_share(self) -> bool {
        matches!(self, Self::Load | Self::Degradation | Self::Penalty)
    }

    /// What is assumed when a command line does not say: weight 1, otherwise 0.
    const fn default(self) -> u32 {
        match self {
            Self::Weight => 1,
            _ => 0,
        }
    }

    /// A plain number, or a share as a fraction (`0.125`) or per cent (`12.5%`), to the nearest.
    fn parse(self, text: &str) -> Option<u32> {
        if !self.is_share() {
            return text.parse().ok();
        }
        let share: f64 = match text.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().ok()? / 100.0,
            None => text.parse().ok()?,
        };
        (0.0..=1.0).contains(&share).then(|| (share * f64::from(u32::MAX)).round() as u32)
    }
}

/// Type, name and short name of every policy that can be asked for, in the order of the types.
const NAMES: [(u32, &str, &str); 16] = [
    (0x0000_0001, "RoundRobin", "rr"),
    (0x0000_0002, "WeightedRoundRobin", "wrr"),
    (0x0000_0003, "Random", "rand"),
    (0x0000_0004, "WeightedRandom", "wrand"),
    (0x0000_0005, "Priority", "prio"),
    (0x4000_0001, "LeastUsed", "lu"),
    (0x4000_0002, "LeastUsedDegradation", "lud"),
    (0x4000_0003, "PriorityLeastUsed", "plu"),
    (0x4000_0004, "RandomizedLeastUsed", "rlu"),
    (0xb000_1001, "RandomizedPriorityLeastUsed", "rplu"),
    (0xb000_1002, "RandomizedLeastUsedDegradation", "rlud"),
    (0xb000_1003, "PriorityLeastUsedDegradation", "plud"),
    (0xb000_1004, "RandomizedPriorityLeastUsedDegradation", "rplud"),
    (0xb000_2001, "WeightedRandomDPF", "wrand-dpf"),
    (0xb000_2002, "LeastUsedDPF", "lu-dpf"),
    (0xb000_2003, "LeastUsedDegradationDPF", "lud-dpf"),
];

impl Policy {
    /// Name and short name of each policy a command line may ask for.
    pub fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
        NAMES.iter().map(|&(_, name, short)| (name, short))
    }

    /// The name of the policy's type; of an unknown type: `None`.
    pub fn name(&self) -> Option<&'static str> {
        NAMES.iter().find(|&&(code, ..)| code == self.code()).map(|&(_, name, _)| name)
    }
}

impl fmt::Display for Policy {
    /// As [`FromStr`] takes it, with every value: `LeastUsedDegradation:load=12.5%,degradation=10.0%`. Shares are
    /// rounded to a thousandth. An unknown type: `0xc0ffee01`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name)?,
            None => write!(f, "{:#010x}", self.code())?,
        }
        for (place, (parameter, value)) in self.parameters().enumerate() {
            write!(f, "{}{}=", if place == 0 { ':' } else { ',' }, parameter.name())?;
            if parameter.is_share() { write!(f, "{}", Load(value))? } else { write!(f, "{value}")? }
        }
        Ok(())
    }
}

/// Why a text names no policy. Reads well after "cannot use this policy: ".
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParsePolicyError {
    /// No policy has this name.
    UnknownName(String),
    /// The policy has no such parameter, or it was given twice.
    UnexpectedParameter(String),
    /// The value is no number, or out of range.
    BadValue {
        /// Whose value.
        parameter: Parameter,
        /// What was given.
        value: String,
    },
}

impl fmt::Display for ParsePolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownName(name) => {
                write!(f, "there is no policy {name:?}; choose one of")?;
                Policy::names().try_for_each(|(long, short)| write!(f, " {long} ({short})"))
            }
            Self::UnexpectedParameter(name) => write!(f, "it does not take {name:?} (here, or twice)"),
            Self::BadValue { parameter, value } if parameter.is_share() => {
                write!(f, "{} must be 0 to 1, or 0% to 100%, not {value:?}", parameter.name())
            }
            Self::BadValue { parameter, value } => {
                write!(f, "{} must be a number from 0 to {}, not {value:?}", parameter.name(), u32::MAX)
            }
        }
    }
}

impl std::error::Error for ParsePolicyError {}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    /// `NAME` or `NAME:PARAMETER=VALUE,...`: long or short name, in any case. What is not given is 0, the weight 1.
    fn from_str(text: &str) -> Result<Self, ParsePolicyError> {
        let (name, values) = text.split_once(':').unwrap_or((text, ""));
        let &(code, ..) = NAMES
            .iter()
            .find(|(_, long, short)| name.eq_ignore_ascii_case(long) || name.eq_ignore_ascii_case(short))
            .ok_or_else(|| ParsePolicyError::UnknownName(name.to_owned()))?;

        let mut given: Vec<(Parameter, u32)> = Vec::new();
        for pair in values.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let unexpected = || ParsePolicyError::UnexpectedParameter(key.to_owned());
            let parameter = Parameter::ALL
                .into_iter()
                .find(|parameter| parameter.name() == key)
                .ok_or_else(unexpected)?;
            if given.iter().any(|&(before, _)| before == parameter) {
                return Err(unexpected());
            }
            let bad = || ParsePolicyError::BadValue { parameter, value: value.to_owned() };
            given.push((parameter, parameter.parse(value).ok_or_else(bad)?));
        }

        let policy = Self::build(code, |parameter| {
            let at = given.iter().position(|&(named, _)| named == parameter);
            Some(at.map_or(parameter.default(), |at| given.swap_remove(at).1))
        })
        .expect("every type in the table of names can be built");
        match given.first() {
            None => Ok(policy),
            Some((parameter, _)) => Err(ParsePolicyError::UnexpectedParameter(parameter.name().to_owned())),
        }
    }
}
