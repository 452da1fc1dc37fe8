//! Bytes and values: ASAP (RFC 5352), ENRP (RFC 5353), their parameters (RFC 5354) and the Component Status Protocol.
//!
//! `parse` yields values that can only be legal; `emit` writes them back. Malformed bytes never reach a state machine.

pub mod asap;
pub mod enrp;
pub mod parameter;

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// Fewer octets than announced or needed.
    Truncated {
        /// Where, from the start of the message.
        offset: usize,
    },
}
