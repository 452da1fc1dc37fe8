//! Bytes and values: ASAP (RFC 5352), ENRP (RFC 5353), their parameters (RFC 5354) and the Component Status Protocol.
//!
//! `parse` yields values that can only be legal; `emit` writes them back. Malformed bytes never reach a state machine.
//!
//! ```text
//!   octets --Message::parse--> Message --emit--> octets         what state machines use
//!   octets --Parsed::read----> Parsed  --emit--> the same octets   what observers use: strangers are kept
//! ```
//!
//! Reading is liberal where the RFC or the reference ask for it, writing is strict and in the reference's form. Written
//! again, a message that was read is the same octets but for: reserved fields, unused flags and padding (zero again),
//! final padding (counted in the length again), undefined transport uses, and octets behind the end of a policy or an
//! address.

pub mod asap;
pub mod checksum;
pub mod csp;
pub mod enrp;
mod error;
pub mod parameter;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use error::{Flaw, WireError};
pub use reader::{Reader, Skipped};
pub use writer::Writer;

use parameter::{CauseCode, ErrorCause};

/// The largest message, in octets: what a 16 bit length can say in multiples of 4.
pub const MESSAGE_MAX: usize = 65_532;

/// A message with everything that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<M> {
    /// The message.
    pub message: M,
    /// Parameters that were skipped, in the order of the message.
    pub skipped: Vec<Skipped>,
}

impl<M> Parsed<M> {
    /// A cause for each skipped parameter whose sender wants to know (action bits 11, RFC 5354 §3 and §3.12.2), in the
    /// order of the message. Elements and users of the reference give up their registrar when they get an error, so
    /// reporting is a choice.
    pub fn reports(&self) -> Vec<ErrorCause> {
        let wanted = self.skipped.iter().filter(|skipped| skipped.wants_report());
        wanted.map(|skipped| ErrorCause::about(CauseCode::UNRECOGNIZED_PARAMETER, &skipped.octets)).collect()
    }
}
