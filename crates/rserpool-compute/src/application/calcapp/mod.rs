//! CalcApp (PPID 34): a model of distributed computing with measurable metrics. A job is a number of calculations; an
//! element shares its capacity among its jobs and gives cookies, so a job goes on elsewhere where the last cookie was.
//!
//! ```text
//!   every message: type(1) flags(1)=0 length(2)=24 job id u32, size u64, completed u64
//!
//!   user -- Request(size) --> element       Accept | Reject
//!        <--- cookies ------- (job id, size, completed)
//!        <-- Keep-Alive, Ack --> (either side, per job)
//!        <-- Complete(size, completed) --
//!   a cookie echo stands for a Request with a part completed
//! ```
//!
//! `server.rs` is the element, `client.rs` the user, `statistics.rs` what both measure.

mod client;
mod server;
mod statistics;

pub use client::{Customer, CustomerConfig, CustomerEvent};
pub use server::{Calculator, Completed, Config, Usage};
pub use statistics::{Counts, JobRecord, Spread, Summary};

use super::parse_header;
use crate::codec::{Reader, WireError};
use rserpool::Ppid;

/// The payload protocol of its messages.
pub const PPID: Ppid = Ppid(34);

/// Size of every message.
const LENGTH: usize = 24;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Please compute.
    Request,
    /// It is being computed.
    Accept,
    /// Not here: the element is full.
    Reject,
    /// It is done.
    Complete,
    /// Are you still at it (or: do you still want it)?
    KeepAlive,
    /// Yes.
    KeepAliveAck,
}

impl Kind {
    /// With their codes. 4 is an Abort that nobody sends.
    const CODES: [(u8, Self); 6] = [
        (1, Self::Request),
        (2, Self::Accept),
        (3, Self::Reject),
        (5, Self::Complete),
        (6, Self::KeepAlive),
        (7, Self::KeepAliveAck),
    ];
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub kind: Kind,
    /// The job: a number of the user's, unique within its session.
    pub job: u32,
    /// Its calculations; in Request and Complete only.
    pub size: u64,
    /// How many of them are done; in Complete only.
    pub completed: u64,
}

impl Message {
    /// A message that says nothing of sizes.
    pub fn of(kind: Kind, job: u32) -> Self {
        Self { kind, job, size: 0, completed: 0 }
    }

    /// The message these octets are.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let (code, _, mut body) = parse_header(bytes)?;
        let found = Kind::CODES.iter().find(|(known, _)| *known == code);
        let Some(&(_, kind)) = found else {
            return Err(WireError::Unknown { offset: 0, what: "message", found: code.into() });
        };
        Ok(Self { kind, job: body.u32()?, size: body.u64()?, completed: body.u64()? })
    }

    /// Its octets.
    pub fn emit(&self) -> Vec<u8> {
        let known = Kind::CODES.iter().find(|(_, kind)| *kind == self.kind);
        let code = known.expect("every kind has a code").0;
        let body = [&self.job.to_be_bytes()[..], &self.size.to_be_bytes(), &self.completed.to_be_bytes()];
        let message = super::emit(code, 0, &body.concat());
        debug_assert_eq!(message.len(), LENGTH);
        message
    }
}

/// How far a job got: what a cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The job.
    pub job: u32,
    /// Its calculations.
    pub size: u64,
    /// How many of them are done; never more than `size`.
    pub completed: u64,
}

impl Progress {
    /// What a cookie says. What follows its 20 octets is passed over, as the reference does.
    pub fn parse(cookie: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(cookie);
        let progress = Self { job: reader.u32()?, size: reader.u64()?, completed: reader.u64()? };
        if progress.completed > progress.size {
            return Err(WireError::Invalid { offset: 12, rule: "must not be above the size" });
        }
        Ok(progress)
    }

    /// The cookie that says this.
    pub fn emit(&self) -> Vec<u8> {
        [&self.job.to_be_bytes()[..], &self.size.to_be_bytes(), &self.completed.to_be_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    /// Octets seen between programs of the reference.
    #[test]
    fn messages_are_those_of_the_reference() {
        let request = Message { kind: Kind::Request, job: 1, size: 550_336, completed: 0 };
        let complete = Message { kind: Kind::Complete, completed: 550_336, ..request };
        let golden = [
            (request, "01000018 00000001 00000000000865c0 0000000000000000"),
            (Message::of(Kind::Accept, 1), "02000018 00000001 0000000000000000 0000000000000000"),
            (Message::of(Kind::Reject, 1), "03000018 00000001 0000000000000000 0000000000000000"),
            (complete, "05000018 00000001 00000000000865c0 00000000000865c0"),
            (Message::of(Kind::KeepAlive, 9), "06000018 00000009 0000000000000000 0000000000000000"),
            (Message::of(Kind::KeepAliveAck, 9), "07000018 00000009 0000000000000000 0000000000000000"),
        ];
        for (message, octets) in golden {
            let octets = hex(octets);
            assert_eq!(message.emit(), octets);
            assert_eq!(Message::parse(&octets), Ok(message));
            for cut in 0..octets.len() {
                assert!(Message::parse(&octets[..cut]).is_err(), "{message:?} cut at {cut}");
            }
        }
        let abort = hex("04000018 00000001 0000000000000000 0000000000000000");
        assert!(matches!(Message::parse(&abort), Err(WireError::Unknown { found: 4, .. })));
    }

    #[test]
    fn cookies_are_those_of_the_reference() {
        let octets = hex("00000002 000000000019f7d4 00000000000f4286");
        let progress = Progress { job: 2, size: 1_701_844, completed: 1_000_070 };
        assert_eq!((progress.emit(), Progress::parse(&octets)), (octets.clone(), Ok(progress)));
        for cut in 0..octets.len() {
            assert!(Progress::parse(&octets[..cut]).is_err(), "cut at {cut}");
        }
        let too_far = Progress { completed: 2_000_000, ..progress }.emit();
        assert!(matches!(Progress::parse(&too_far), Err(WireError::Invalid { offset: 12, .. })));
    }
}
