//! Pool Member Selection Policy (RFC 5354 §3.8): a type, and words whose meaning depends on it (RFC 5356).

use super::{Flaw, Reader, WireError, Writer, kind};
use crate::Policy;
use std::iter;

/// Reads a policy, mandatory inside of a Pool Element.
pub(super) fn parse_policy(r: &mut Reader<'_>) -> Result<Policy, WireError> {
    r.parameter(kind::POLICY, policy)
}

/// Reads a policy if there is one.
pub(in super::super) fn optional_policy(r: &mut Reader<'_>) -> Result<Option<Policy>, WireError> {
    r.optional(kind::POLICY, policy)
}

/// The value of the parameter: fewer words than the policy has are an error, more are ignored.
fn policy(r: &mut Reader<'_>) -> Result<Policy, WireError> {
    let code = r.u32()?;
    let data = r.rest();
    let (words, _) = data.as_chunks::<4>();
    if let Some(policy) = Policy::from_words(code, words.iter().map(|&word| u32::from_be_bytes(word))) {
        return Ok(policy);
    }
    let known = Policy::from_words(code, iter::repeat(0)).is_some();
    if known { Err(r.invalid(Flaw::PolicyWords)) } else { Ok(Policy::Other { code, data: data.to_vec() }) }
}

/// Writes a policy.
pub(in super::super) fn emit_policy(w: &mut Writer<'_>, policy: &Policy) {
    w.parameter(kind::POLICY, |w| {
        w.put_u32(policy.code());
        for (_, word) in policy.parameters() {
            w.put_u32(word);
        }
        if let Policy::Other { data, .. } = policy {
            w.put(data);
        }
    });
}
