//! Pool Member Selection Policy (RFC 5354 §3.8): a type, and words whose meaning depends on it (RFC 5356).

use super::{Reader, WireError, Writer, kind};
use crate::{Load, Policy};

/// Reads a policy, mandatory inside of a Pool Element.
pub(super) fn parse_policy(r: &mut Reader<'_>) -> Result<Policy, WireError> {
    r.parameter(kind::POLICY, policy)
}

/// Reads a policy if there is one.
pub(in super::super) fn optional_policy(r: &mut Reader<'_>) -> Result<Option<Policy>, WireError> {
    r.optional(kind::POLICY, policy)
}

/// The value of the parameter: fewer octets than the policy has are an error, more are ignored.
fn policy(r: &mut Reader<'_>) -> Result<Policy, WireError> {
    let code = r.u32()?;
    let mut load = || r.u32().map(Load);
    Ok(match code {
        0x0000_0001 => Policy::RoundRobin,
        0x0000_0002 => Policy::WeightedRoundRobin { weight: r.u32()? },
        0x0000_0003 => Policy::Random,
        0x0000_0004 => Policy::WeightedRandom { weight: r.u32()? },
        0x0000_0005 => Policy::Priority { priority: r.u32()? },
        0x4000_0001 => Policy::LeastUsed { load: load()? },
        0x4000_0002 => Policy::LeastUsedDegradation { load: load()?, degradation: load()? },
        0x4000_0003 => Policy::PriorityLeastUsed { load: load()?, degradation: load()? },
        0x4000_0004 => Policy::RandomizedLeastUsed { load: load()? },
        0xb000_1001 => Policy::RandomizedPriorityLeastUsed { load: load()?, degradation: load()? },
        0xb000_1002 => Policy::RandomizedLeastUsedDegradation { load: load()?, degradation: load()? },
        0xb000_1003 => Policy::PriorityLeastUsedDegradation { load: load()?, degradation: load()? },
        0xb000_1004 => Policy::RandomizedPriorityLeastUsedDegradation { load: load()?, degradation: load()? },
        0xb000_2001 => {
            Policy::WeightedRandomDpf { weight: r.u32()?, penalty: Load(r.u32()?), distance: r.u32()? }
        }
        0xb000_2002 => Policy::LeastUsedDpf { load: load()?, penalty: load()?, distance: r.u32()? },
        0xb000_2003 => Policy::LeastUsedDegradationDpf {
            load: load()?,
            degradation: load()?,
            penalty: load()?,
            distance: r.u32()?,
        },
        code => Policy::Other { code, data: r.rest().to_vec() },
    })
}

/// Writes a policy.
pub(in super::super) fn emit_policy(w: &mut Writer<'_>, policy: &Policy) {
    w.parameter(kind::POLICY, |w| {
        let mut words = |words: &[u32]| {
            for &word in words {
                w.put_u32(word);
            }
        };
        match *policy {
            Policy::RoundRobin => words(&[0x0000_0001]),
            Policy::WeightedRoundRobin { weight } => words(&[0x0000_0002, weight]),
            Policy::Random => words(&[0x0000_0003]),
            Policy::WeightedRandom { weight } => words(&[0x0000_0004, weight]),
            Policy::Priority { priority } => words(&[0x0000_0005, priority]),
            Policy::LeastUsed { load } => words(&[0x4000_0001, load.0]),
            Policy::LeastUsedDegradation { load, degradation } => {
                words(&[0x4000_0002, load.0, degradation.0])
            }
            Policy::PriorityLeastUsed { load, degradation } => words(&[0x4000_0003, load.0, degradation.0]),
            Policy::RandomizedLeastUsed { load } => words(&[0x4000_0004, load.0]),
            Policy::RandomizedPriorityLeastUsed { load, degradation } => {
                words(&[0xb000_1001, load.0, degradation.0]);
            }
            Policy::RandomizedLeastUsedDegradation { load, degradation } => {
                words(&[0xb000_1002, load.0, degradation.0]);
            }
            Policy::PriorityLeastUsedDegradation { load, degradation } => {
                words(&[0xb000_1003, load.0, degradation.0]);
            }
            Policy::RandomizedPriorityLeastUsedDegradation { load, degradation } => {
                words(&[0xb000_1004, load.0, degradation.0]);
            }
            Policy::WeightedRandomDpf { weight, penalty, distance } => {
                words(&[0xb000_2001, weight, penalty.0, distance]);
            }
            Policy::LeastUsedDpf { load, penalty, distance } => {
                words(&[0xb000_2002, load.0, penalty.0, distance])
            }
            Policy::LeastUsedDegradationDpf { load, degradation, penalty, distance } => {
                words(&[0xb000_2003, load.0, degradation.0, penalty.0, distance]);
            }
            Policy::Other { code, ref data } => {
                w.put_u32(code).put(data);
            }
        }
    });
}
