//! What can be wrong with octets, and what the sender of them is told.
//!
//! RFC 5354 §3 and §4 leave three treatments: discard silently, discard and report, or skip and go on. The first two
//! end here as a [`WireError`]; [`WireError::cause`] says which of them it is. The third leaves a
//! [`Skipped`](super::Skipped) parameter behind.

use super::parameter::{CauseCode, ErrorCause};
use std::fmt;

/// Why octets are no message. Offsets count octets from the start of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// A field or a parameter header needs more octets than are left.
    Truncated {
        /// Where the field would begin.
        offset: usize,
        /// Its size.
        needed: usize,
        /// What is left of the message, or of the parameter it belongs to.
        available: usize,
        /// The parameter it belongs to, complete; empty for fields of the message itself.
        parameter: Vec<u8>,
    },
    /// The length announced and the octets received contradict each other: they have to be equal, but for final
    /// padding that the length may leave out.
    MessageLength {
        /// The Message Length field.
        announced: usize,
        /// All octets there are.
        received: usize,
    },
    /// More than [`MESSAGE_MAX`](super::MESSAGE_MAX) octets.
    TooLong {
        /// All octets there are.
        received: usize,
    },
    /// A message type nobody defined (RFC 5354 §4).
    UnknownMessage {
        /// The type.
        kind: u8,
        /// The whole message.
        message: Vec<u8>,
    },
    /// A parameter nobody defined, of the kind that stops the processing of the message (RFC 5354 §3).
    UnknownParameter {
        /// Where it begins.
        offset: usize,
        /// The parameter, complete.
        parameter: Vec<u8>,
    },
    /// A parameter length below 4, or beyond the message or the parameter around it.
    ParameterLength {
        /// Where the parameter begins.
        offset: usize,
        /// The Parameter Length field.
        length: usize,
        /// The octets there are for it.
        room: usize,
        /// The parameter, as far as it is there.
        parameter: Vec<u8>,
    },
    /// A mandatory parameter is not where it has to be.
    Missing {
        /// Where it would begin.
        offset: usize,
        /// The type of the parameter wanted.
        wanted: u16,
        /// The type found instead, or `None` at the end.
        found: Option<u16>,
    },
    /// A known parameter where there must be none, or one too many.
    Unexpected {
        /// Where it begins.
        offset: usize,
        /// The parameter, complete.
        parameter: Vec<u8>,
    },
    /// A value that no message may have.
    Invalid {
        /// Where the value was noticed.
        offset: usize,
        /// What is wrong.
        flaw: Flaw,
        /// The parameter it belongs to, complete; empty for fields of the message itself.
        parameter: Vec<u8>,
    },
}

/// A rule that a value breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Flaw {
    /// A pool handle has 1 to 32 octets.
    HandleSize,
    /// A cookie has at least one octet.
    EmptyCookie,
    /// A parameter of fixed size has another size.
    FixedSize,
    /// A policy needs more words.
    PolicyWords,
    /// An SCTP transport has 1 to 64 addresses, every other transport exactly one.
    AddressCount,
    /// The parameter is no transport.
    NotATransport,
    /// Registrars are reached over SCTP, and so are elements by registrars (RFC 5354 §3.10, §3.11).
    NotSctp,
    /// An ASAP transport has a port and carries no application data.
    AsapTransport,
    /// In ENRP every element has an identifier.
    UndefinedElement,
    /// In ENRP every element has a home.
    UndefinedHome,
    /// An operation error has at least one cause.
    NoCause,
    /// The length of an error cause is below 4 or beyond its parameter.
    CauseLength,
    /// At most 128 elements answer a handle resolution.
    ElementCount,
    /// A status report of another version.
    Version,
}

impl Flaw {
    /// The rule, as a sentence without a capital.
    pub fn rule(self) -> &'static str {
        match self {
            Self::HandleSize => "a pool handle has 1 to 32 octets",
            Self::EmptyCookie => "a cookie has at least one octet",
            Self::FixedSize => "this parameter has a fixed size",
            Self::PolicyWords => "a policy has all words of its type",
            Self::AddressCount => "an SCTP transport has 1 to 64 addresses, every other exactly one",
            Self::NotATransport => "a transport parameter is expected",
            Self::NotSctp => "an SCTP transport is expected",
            Self::AsapTransport => "an ASAP transport has a port and is no data transport",
            Self::UndefinedElement => "an element in ENRP has an identifier",
            Self::UndefinedHome => "an element in ENRP has a home",
            Self::NoCause => "an operation error has at least one cause",
            Self::CauseLength => "an error cause has at least 4 octets and fits its parameter",
            Self::ElementCount => "a handle resolution response has at most 128 elements",
            Self::Version => "the version of a status report is 0x00000200",
        }
    }
}

impl WireError {
    /// Where the trouble is, in octets from the start of the message.
    pub fn offset(&self) -> usize {
        match *self {
            Self::Truncated { offset, .. }
            | Self::UnknownParameter { offset, .. }
            | Self::ParameterLength { offset, .. }
            | Self::Missing { offset, .. }
            | Self::Unexpected { offset, .. }
            | Self::Invalid { offset, .. } => offset,
            Self::MessageLength { .. } => 2,
            Self::TooLong { .. } | Self::UnknownMessage { .. } => 0,
        }
    }

    /// A short name of the variant for reports and statistics: lower case, words joined by hyphens.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Truncated { .. } => "truncated",
            Self::MessageLength { .. } => "message-length",
            Self::TooLong { .. } => "too-long",
            Self::UnknownMessage { .. } => "unknown-message",
            Self::UnknownParameter { .. } => "unknown-parameter",
            Self::ParameterLength { .. } => "parameter-length",
            Self::Missing { .. } => "missing-parameter",
            Self::Unexpected { .. } => "unexpected-parameter",
            Self::Invalid { .. } => "invalid-value",
        }
    }

    /// The offending parameter (or unknown message) as far as it is there; empty if there is none to blame.
    pub fn offender(&self) -> &[u8] {
        match self {
            Self::Truncated { parameter, .. }
            | Self::UnknownParameter { parameter, .. }
            | Self::ParameterLength { parameter, .. }
            | Self::Unexpected { parameter, .. }
            | Self::Invalid { parameter, .. } => parameter,
            Self::UnknownMessage { message, .. } => message,
            Self::MessageLength { .. } | Self::TooLong { .. } | Self::Missing { .. } => &[],
        }
    }

    /// What to tell the sender (RFC 5352 §2.2.14, RFC 5353 §3.7), or `None`: discard silently.
    ///
    /// Everything that is not unknown but wrong is "invalid values" with the offender: the RFC has no other cause for
    /// it. (The reference says 0x0010 or 0x0011, which RFC 5354 does not define.) Nobody answers an error with an
    /// error, and nobody answers an announcement: use [`asap::complaint`](super::asap::complaint) and
    /// [`enrp::complaint`](super::enrp::complaint), which know the message.
    pub fn cause(&self) -> Option<ErrorCause> {
        let code = match self {
            // Action bits 01 report, 00 do not; 10 and 11 never come here for parameters and are reserved for messages.
            Self::UnknownMessage { kind, .. } if kind >> 6 == 0b01 => CauseCode::UNRECOGNIZED_MESSAGE,
            Self::UnknownParameter { parameter, .. }
                if parameter.first().is_some_and(|octet| octet >> 6 == 0b01) =>
            {
                CauseCode::UNRECOGNIZED_PARAMETER
            }
            Self::UnknownMessage { .. } | Self::UnknownParameter { .. } => return None,
            _ => CauseCode::INVALID_VALUES,
        };
        Some(ErrorCause::about(code, self.offender()))
    }
}

impl fmt::Display for WireError {
    /// Reads well after "cannot read the message: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset, needed, available, .. } => {
                write!(f, "{needed} octets needed at offset {offset}, {available} there")
            }
            Self::MessageLength { announced, received } => {
                write!(f, "{announced} octets announced, {received} received")
            }
            Self::TooLong { received } => {
                write!(f, "{received} octets, at most {} are allowed", super::MESSAGE_MAX)
            }
            Self::UnknownMessage { kind, .. } => write!(f, "unknown message type {kind:#04x}"),
            Self::UnknownParameter { offset, .. } => write!(f, "unknown parameter at offset {offset}"),
            Self::ParameterLength { offset, length, room, .. } => {
                write!(f, "parameter at offset {offset} of length {length}, room for {room}")
            }
            Self::Missing { offset, wanted, found: Some(found) } => {
                write!(f, "parameter {wanted:#06x} expected at offset {offset}, found {found:#06x}")
            }
            Self::Missing { offset, wanted, found: None } => {
                write!(f, "parameter {wanted:#06x} expected at offset {offset}, found the end")
            }
            Self::Unexpected { offset, .. } => write!(f, "unexpected parameter at offset {offset}"),
            Self::Invalid { offset, flaw, .. } => write!(f, "{} (offset {offset})", flaw.rule()),
        }
    }
}

impl std::error::Error for WireError {}
