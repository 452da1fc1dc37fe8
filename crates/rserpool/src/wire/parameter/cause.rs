//! Operation Error (RFC 5354 §3.12): one or more causes.

use super::{Flaw, Reader, Transport, WireError, Writer, emit_policy, kind};
use crate::Policy;

/// One error cause of an Operation Error parameter (RFC 5354 §3.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCause {
    /// What is wrong.
    pub code: CauseCode,
    /// Details, depending on the code: the offending parameter or message, the pool's policy, or nothing. At most
    /// [`ErrorCause::INFO_MAX`] octets.
    pub info: Vec<u8>,
}

impl ErrorCause {
    /// The most details one cause can carry so that the message around it stays possible.
    pub const INFO_MAX: usize = 65_000;

    /// A cause without details.
    pub fn plain(code: CauseCode) -> Self {
        Self { code, info: Vec::new() }
    }

    /// A cause that shows these octets, cut at [`Self::INFO_MAX`].
    pub fn about(code: CauseCode, octets: &[u8]) -> Self {
        Self { code, info: octets[..octets.len().min(Self::INFO_MAX)].to_vec() }
    }

    /// "The pool's policy is another one": shows it (RFC 5354 §3.12.6).
    pub fn inconsistent_policy(of_the_pool: &Policy) -> Self {
        let policy = Writer::octets_of(|w| emit_policy(w, of_the_pool));
        Self::about(CauseCode::INCONSISTENT_POLICY, &policy)
    }

    /// "The pool is served over another transport": shows one of them (RFC 5354 §3.12.8).
    pub fn inconsistent_transport(of_the_pool: &Transport) -> Self {
        let transport = Writer::octets_of(|w| of_the_pool.emit(w));
        Self::about(CauseCode::INCONSISTENT_TRANSPORT, &transport)
    }
}

/// The code of an error cause: RFC 5354 §3.12, and the reference's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CauseCode(pub u16);

#[allow(missing_docs)]
impl CauseCode {
    pub const UNSPECIFIED: Self = Self(0x0);
    pub const UNRECOGNIZED_PARAMETER: Self = Self(0x1);
    pub const UNRECOGNIZED_MESSAGE: Self = Self(0x2);
    pub const INVALID_VALUES: Self = Self(0x3);
    pub const NON_UNIQUE_ELEMENT_ID: Self = Self(0x4);
    pub const INCONSISTENT_POLICY: Self = Self(0x5);
    pub const LACK_OF_RESOURCES: Self = Self(0x6);
    pub const INCONSISTENT_TRANSPORT: Self = Self(0x7);
    pub const INCONSISTENT_DATA_CONTROL: Self = Self(0x8);
    pub const UNKNOWN_POOL_HANDLE: Self = Self(0x9);
    pub const SECURITY: Self = Self(0xa);
    /// The reference's: no usable ASAP address; its elements answer by reconnecting.
    pub const NO_USABLE_ASAP_ADDRESS: Self = Self(0xf007);
    /// The reference's: no usable user address; its elements answer by reconnecting.
    pub const NO_USABLE_USER_ADDRESS: Self = Self(0xf008);
}

/// Reads an Operation Error: never empty.
pub(in super::super) fn parse_causes(r: &mut Reader<'_>) -> Result<Vec<ErrorCause>, WireError> {
    r.parameter(kind::OPERATION_ERROR, causes)
}

/// Reads an Operation Error if there is one; none gives no causes.
pub(in super::super) fn optional_causes(r: &mut Reader<'_>) -> Result<Vec<ErrorCause>, WireError> {
    Ok(r.optional(kind::OPERATION_ERROR, causes)?.unwrap_or_default())
}

/// Writes an Operation Error. The causes are padded between each other; behind the last one is the parameter's own
/// padding, which its length leaves out.
pub(in super::super) fn emit_causes(w: &mut Writer<'_>, causes: &[ErrorCause]) {
    w.parameter(kind::OPERATION_ERROR, |w| {
        for cause in causes {
            let length = 4 + cause.info.len().min(ErrorCause::INFO_MAX);
            w.pad().put_u16(cause.code.0).put_u16(length as u16).put(&cause.info[..length - 4]);
        }
    });
}

/// The value of an Operation Error. The reference reads the first cause only; we read all.
fn causes(r: &mut Reader<'_>) -> Result<Vec<ErrorCause>, WireError> {
    let mut causes = Vec::new();
    while r.left() > 0 {
        let (code, length) = (CauseCode(r.u16()?), usize::from(r.u16()?));
        match length.checked_sub(4) {
            Some(size) if size <= r.left() => {
                causes.push(ErrorCause { code, info: r.take(size)?.to_vec() });
            }
            _ => return Err(r.invalid(Flaw::CauseLength)),
        }
        r.pad(length);
    }
    if causes.is_empty() {
        return Err(r.invalid(Flaw::NoCause));
    }
    Ok(causes)
}
