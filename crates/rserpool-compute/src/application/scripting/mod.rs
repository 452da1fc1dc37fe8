//! The scripting service (PPID 35): an archive with a program goes to an element, which runs it and sends back what it
//! wrote.
//!
//! ```text
//!   NotReady 0 | reason u32 | text          Ready 1 | text              element -> user
//!   Upload   2 | data        Download 3 | data                          empty: the end of the file
//!   KeepAlive 4              KeepAliveAck 5 | [status u32]              either side; only elements send a status
//!   Status   6 | u32                                                    0: it begins; then the exit code
//!   Environment 7 | SHA-1    flag 1 in the answer: please upload it     both
//!
//!   user                                   element
//!    |<------------ Ready ------------------|   or NotReady, and the end
//!    |--- Environment(hash), if any ------->|
//!    |--- Upload ... Upload(empty) -------->|   the archive, without waiting
//!    |<-- Environment(needed?) -------------|
//!    |--- Upload ... Upload(empty) -------->|   the environment, if needed
//!    |<------------ Status(0) --------------|
//!    |<------------ Status(exit code) ------|
//!    |<-- Download ... Download(empty) -----|   and the end of the session
//! ```
//!
//! Nothing of a run survives its element, so there are no cookies: the user begins anew elsewhere. What files and
//! processes are is the world's business; `server.rs` and `client.rs` keep the order of things, `cache.rs` the books of
//! environments that need no second upload.

mod cache;
mod client;
mod server;

pub use cache::Cache;
pub use client::{Submitter, SubmitterConfig, SubmitterEvent, Trouble};
pub use server::{Config, Fact, File, Host, RunId, Wish};

use super::parse_header;
use crate::codec::{WireError, clipped};
use rserpool::Ppid;

/// The payload protocol of its messages.
pub const PPID: Ppid = Ppid(35);

/// Most octets of a file in one message.
pub const DATA_MAX: usize = 16_384;
/// Most octets of a text.
pub const INFO_MAX: usize = 64;

/// What names an environment: its SHA-1. Not a proof of anything, the protocol has no better one.
pub type Hash = [u8; 20];

/// Why an element does not take a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has as many as it wants.
    FullyLoaded,
    /// Something it needs is missing: disk, memory.
    OutOfResources,
    /// A code nobody gave a meaning.
    Other(u32),
}

impl Reason {
    fn code(self) -> u32 {
        match self {
            Self::FullyLoaded => 1,
            Self::OutOfResources => 2,
            Self::Other(code) => code,
        }
    }
}

/// What the two sides say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Not here, not now.
    NotReady {
        /// Why.
        reason: Reason,
        /// The element's name, for people.
        info: String,
    },
    /// Send your work.
    Ready {
        /// The element's name, for people.
        info: String,
    },
    /// A piece of a file of the user's; empty: its end.
    Upload(Vec<u8>),
    /// A piece of the output; empty: its end.
    Download(Vec<u8>),
    /// Are you there?
    KeepAlive,
    /// Yes. Elements add a status, which is 0.
    KeepAliveAck(Option<u32>),
    /// 0: the program begins. Later: how it ended.
    Status(u32),
    /// The environment the program needs.
    Environment {
        /// Its hash.
        hash: Hash,
        /// In the answer: the element does not have it.
        needed: bool,
    },
}

impl Message {
    /// The message these octets are.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (kind, flags, mut body) = parse_header(bytes)?;
        let offset = body.offset();
        let limited = |octets: &[u8], what, limit: usize| {
            let found = octets.len() as u64;
            let error = WireError::TooLarge { offset, what, found, limit: limit as u64 };
            if octets.len() > limit { Err(error) } else { Ok(octets.to_vec()) }
        };
        let text = |octets: &[u8]| {
            limited(octets, "text", INFO_MAX).map(|octets| String::from_utf8_lossy(&octets).into_owned())
        };
        let message = match kind {
            0 => {
                let reason = match body.u32()? {
                    1 => Reason::FullyLoaded,
                    2 => Reason::OutOfResources,
                    other => Reason::Other(other),
                };
                Self::NotReady { reason, info: text(body.rest())? }
            }
            1 => Self::Ready { info: text(body.rest())? },
            2 => Self::Upload(limited(body.rest(), "data", DATA_MAX)?),
            3 => Self::Download(limited(body.rest(), "data", DATA_MAX)?),
            4 => Self::KeepAlive,
            5 if body.is_empty() => Self::KeepAliveAck(None),
            5 => Self::KeepAliveAck(Some(body.u32()?)),
            6 => Self::Status(body.u32()?),
            7 => Self::Environment { hash: body.array()?, needed: flags & 1 != 0 },
            _ => return Err(WireError::Unknown { offset: 0, what: "message", found: kind.into() }),
        };
        body.end()?;
        Ok(message)
    }

    /// Its octets. Texts are clipped, data must not be above [`DATA_MAX`].
    pub fn emit(&self) -> Vec<u8> {
        let text = |info: &'_ str| clipped(info, INFO_MAX).as_bytes().to_vec();
        match self {
            Self::NotReady { reason, info } => {
                super::emit(0, 0, &[&reason.code().to_be_bytes()[..], &text(info)].concat())
            }
            Self::Ready { info } => super::emit(1, 0, &text(info)),
            Self::Upload(data) => super::emit(2, 0, data),
            Self::Download(data) => super::emit(3, 0, data),
            Self::KeepAlive => super::emit(4, 0, &[]),
            Self::KeepAliveAck(None) => super::emit(5, 0, &[]),
            Self::KeepAliveAck(Some(status)) => super::emit(5, 0, &status.to_be_bytes()),
            Self::Status(status) => super::emit(6, 0, &status.to_be_bytes()),
            Self::Environment { hash, needed } => super::emit(7, u8::from(*needed), hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    /// Octets seen between programs of the reference.
    #[test]
    fn messages_are_those_of_the_reference() {
        let hash: Hash = hex("00683e93027e11abf3fc34bed681e76c27ea7da1").try_into().expect("20 octets");
        let none = || "(none)".to_string();
        let name = [0x28, 0x6e, 0x6f, 0x6e, 0x65, 0x29];
        let golden = [
            (Message::Ready { info: none() }, [hex("0100000a"), name.to_vec()].concat()),
            (
                Message::NotReady { reason: Reason::FullyLoaded, info: none() },
                [hex("0000000e 00000001"), name.to_vec()].concat(),
            ),
            (Message::Environment { hash, needed: true }, [hex("07010018"), hash.to_vec()].concat()),
            (Message::Environment { hash, needed: false }, [hex("07000018"), hash.to_vec()].concat()),
            (Message::Upload(Vec::new()), hex("02000004")),
            (Message::Upload(vec![1, 2]), hex("02000006 0102")),
            (Message::Download(vec![3]), hex("03000005 03")),
            (Message::Status(0), hex("06000008 00000000")),
            (Message::KeepAlive, hex("04000004")),
            (Message::KeepAliveAck(Some(0)), hex("05000008 00000000")),
            (Message::KeepAliveAck(None), hex("05000004")),
        ];
        for (message, octets) in golden {
            assert_eq!(message.emit(), octets);
            assert_eq!(Message::parse(&octets), Ok(message.clone()));
            for cut in 0..octets.len() {
                assert!(Message::parse(&octets[..cut]).is_err(), "{message:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let whole = Message::Upload(vec![0; DATA_MAX]).emit();
        assert!(Message::parse(&whole).is_ok());
        let larger = super::super::emit(2, 0, &[0; DATA_MAX + 1]);
        assert!(matches!(Message::parse(&larger), Err(WireError::TooLarge { limit: 16_384, .. })));
        let text = super::super::emit(1, 0, &[b'x'; INFO_MAX + 1]);
        assert!(matches!(Message::parse(&text), Err(WireError::TooLarge { limit: 64, .. })));
        assert!(matches!(Message::parse(&hex("04000005 00")), Err(WireError::Trailing { .. })));
        assert!(matches!(Message::parse(&hex("08000004")), Err(WireError::Unknown { found: 8, .. })));
        assert_eq!(Message::Ready { info: "ä".repeat(40) }.emit().len(), 4 + 64);
    }
}
