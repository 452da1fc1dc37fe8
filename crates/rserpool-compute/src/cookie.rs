//! What a worker gives away so that another one can go on (RFC 5352 §3.8): the cookie of a session.
//!
//! It names the job, the attempts that were under way and, for work that can go on in the middle, how far each had
//! come. The client only keeps it and shows it to the next worker; it comes over the network like everything, so it
//! is verified before it is believed. A cookie either verifies as a whole or counts as none: then work starts from
//! zero. There is no third outcome.
//!
//! ```text
//!    0  "RSPC"
//!    4  version (2) = 1          6  key (2): 0, sealed by a checksum
//!    8  length of all (4)       12  sequence (4): how many cookies this session had before
//!   16  job (16)
//!   32  number of entries (4), then for each:
//!         task (8)  attempt (4)  octets of output (8)  length of state (4)  state
//!       zeros up to a multiple of 4
//!       seal: FNV-1a (64 bit) over everything before
//! ```
//!
//! The seal finds damage, not forgery. A MAC takes its place when workers share a key: another key number says which,
//! and a verifier that does not have that key does not believe the cookie.

use crate::codec::{Reader, WireError, put_counted};
use crate::item::Item;
use crate::protocol::{Attempt, JobId, TaskId};

/// Most octets of a cookie; what the session layer carries.
pub const COOKIE_MAX: usize = 60_000;

/// Most octets of the state in a checkpoint: a command's checkpoint of 32 KiB, and its kind.
pub const STATE_MAX: usize = 32 * 1024 + 1;

/// Most octets of a command's checkpoint that travel in the cookie, if a worker has so many slots: all of them have to
/// find room. Larger ones are brought to the client, and the cookie names them.
pub fn inline_max(slots: u32) -> usize {
    let room = (COOKIE_MAX - FIXED) / slots.max(1) as usize;
    room.saturating_sub(ENTRY + 1).min(STATE_MAX - 1)
}

/// What a command needs to go on: the state in its [`Progress`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checkpoint {
    /// The checkpoint itself.
    Inline(Vec<u8>),
    /// The client keeps it.
    Kept(Item),
}

impl Checkpoint {
    /// Kind (0: inline, 1: kept), then the checkpoint or what it is.
    pub fn emit(&self) -> Vec<u8> {
        match self {
            Self::Inline(octets) => [&[0], octets.as_slice()].concat(),
            Self::Kept(item) => {
                let mut out = vec![1];
                item.emit(&mut out);
                out
            }
        }
    }

    /// The checkpoint these octets are.
    pub fn parse(state: &[u8]) -> Option<Self> {
        match state.split_first()? {
            (0, octets) => Some(Self::Inline(octets.to_vec())),
            (1, described) => {
                let mut body = Reader::new(described);
                let item = Item::parse(&mut body).ok()?;
                body.end().ok()?;
                Some(Self::Kept(item))
            }
            _ => None,
        }
    }
}

/// How far an attempt had come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Which execution.
    pub attempt: Attempt,
    /// Octets of output the client has received, up to the checkpoint; 0 without one.
    pub octets: u64,
    /// What the work needs to go on from there, at most [`STATE_MAX`] octets; empty: there is no checkpoint, only the
    /// knowledge that the attempt existed.
    pub state: Vec<u8>,
}

/// A verified cookie, or one to be given away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cookie {
    /// The job of the session.
    pub job: JobId,
    /// How many cookies the session had before this one.
    pub sequence: u32,
    /// The attempts under way, those with a checkpoint first when there are too many. Each task once.
    pub entries: Vec<Progress>,
}

impl Cookie {
    /// The cookie these octets are, if they verify.
    pub fn verify(bytes: &[u8]) -> Result<Self, WireError> {
        let invalid = |offset, rule| Err(WireError::Invalid { offset, rule });
        let seal_offset = bytes.len().saturating_sub(SEAL);
        if bytes.len() > COOKIE_MAX || !bytes.len().is_multiple_of(4) {
            return invalid(0, "must be at most 60,000 octets, a multiple of 4");
        }
        let mut body = Reader::new(&bytes[..seal_offset]);
        if body.array()? != MAGIC {
            return invalid(0, "must begin with RSPC");
        }
        let version = body.u16()?;
        if version != VERSION {
            return Err(WireError::Unknown { offset: 4, what: "cookie version", found: version.into() });
        }
        let key = body.u16()?;
        if key != CHECKSUM_ONLY {
            return Err(WireError::Unknown { offset: 6, what: "cookie key", found: key.into() });
        }
        if body.u32()? as usize != bytes.len() {
            return invalid(8, "must be the length of the cookie");
        }
        if seal(&bytes[..seal_offset]) != bytes[seal_offset..] {
            return invalid(seal_offset, "must seal what comes before");
        }
        let sequence = body.u32()?;
        let job = JobId(body.array()?);
        let count = body.count("number of entries", COOKIE_MAX / ENTRY)?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let task = TaskId(body.u64()?);
            let attempt = Attempt { task, number: body.u32()? };
            let octets = body.u64()?;
            let state = body.counted("state", STATE_MAX)?.to_vec();
            entries.push(Progress { attempt, octets, state });
        }
        if body.rest().iter().any(|&octet| octet != 0) {
            return invalid(seal_offset, "must follow zeros");
        }
        Ok(Self { job, sequence, entries })
    }

    /// The octets of this cookie: a multiple of 4, at most [`COOKIE_MAX`]. Entries that find no room are left out: their
    /// tasks would start from zero, which is always right.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_be_bytes());
        out.extend(CHECKSUM_ONLY.to_be_bytes());
        out.extend([0; 4]); // length
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.job.0);
        out.extend([0; 4]); // number of entries
        let mut count: u32 = 0;
        let (with_state, without) = self.entries.iter().partition::<Vec<_>, _>(|e| !e.state.is_empty());
        for entry in with_state.into_iter().chain(without) {
            let length = ENTRY + entry.state.len();
            if entry.state.len() > STATE_MAX || out.len() + length + 3 + SEAL > COOKIE_MAX {
                continue;
            }
            out.extend(entry.attempt.task.0.to_be_bytes());
            out.extend(entry.attempt.number.to_be_bytes());
            out.extend(entry.octets.to_be_bytes());
            put_counted(&mut out, &entry.state);
            count += 1;
        }
        out.resize(out.len().next_multiple_of(4), 0);
        let length = u32::try_from(out.len() + SEAL).expect("a cookie has at most 60,000 octets");
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[32..36].copy_from_slice(&count.to_be_bytes());
        out.extend(seal(&out));
        out
    }
}

const MAGIC: [u8; 4] = *b"RSPC";
const VERSION: u16 = 1;
const CHECKSUM_ONLY: u16 = 0;
const SEAL: usize = 8;
const ENTRY: usize = 24;
/// Octets of a cookie that no entry has: header, zeros and seal.
const FIXED: usize = 36 + 3 + SEAL;

/// FNV-1a: each step is a bijection of the sum so far, so a change of any one octet is always found.
pub(crate) fn seal(bytes: &[u8]) -> [u8; SEAL] {
    let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
    for &octet in bytes {
        sum = (sum ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    sum.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(task: u64, state: &[u8]) -> Progress {
        let attempt = Attempt { task: TaskId(task), number: 3 };
        Progress { attempt, octets: 10 * state.len() as u64, state: state.to_vec() }
    }

    fn cookie() -> Cookie {
        let entries = vec![progress(5, b"row 7"), progress(1, b"")];
        Cookie { job: JobId([0xab; 16]), sequence: 2, entries }
    }

    #[test]
    fn a_cookie_looks_like_its_picture() {
        let picture = [
            &b"RSPC\0\x01\0\0\0\0\0\x64\0\0\0\x02"[..],
            &[0xab; 16],
            &[0, 0, 0, 2],
            &[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 50, 0, 0, 0, 5],
            b"row 7",
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0; 3],
        ]
        .concat();
        let emitted = cookie().emit();
        assert_eq!(emitted[..picture.len()], picture);
        assert_eq!(emitted.len(), picture.len() + 8);
        assert_eq!(Cookie::verify(&emitted), Ok(cookie()));
        // The published test vectors of FNV-1a, 64 bit.
        assert_eq!(seal(b""), 0xcbf2_9ce4_8422_2325u64.to_be_bytes());
        assert_eq!(seal(b"foobar"), 0x8594_4171_f739_67e8u64.to_be_bytes());
    }

    #[test]
    fn a_damaged_cookie_is_never_believed() {
        let good = cookie().emit();
        for place in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[place] ^= 1 << bit;
                assert!(Cookie::verify(&bad).is_err(), "bit {bit} of octet {place}");
            }
            assert!(Cookie::verify(&good[..place]).is_err(), "cut at {place}");
        }
        assert!(Cookie::verify(&[&good[..], &[0; 4]].concat()).is_err());
        assert!(Cookie::verify(&[]).is_err());
    }

    #[test]
    fn a_cookie_of_another_version_or_key_is_told_apart() {
        let resealed = |place: usize, value: u8| {
            let mut bytes = cookie().emit();
            bytes[place] = value;
            let body = bytes.len() - 8;
            let sum = seal(&bytes[..body]);
            bytes[body..].copy_from_slice(&sum);
            Cookie::verify(&bytes)
        };
        assert_eq!(resealed(5, 2), Err(WireError::Unknown { offset: 4, what: "cookie version", found: 2 }));
        assert_eq!(resealed(7, 9), Err(WireError::Unknown { offset: 6, what: "cookie key", found: 9 }));
        // A sealed lie about the number of entries is found, too.
        assert!(resealed(35, 3).is_err());
        assert!(resealed(35, 1).is_err());
    }

    #[test]
    fn the_checkpoints_of_all_slots_find_room() {
        assert_eq!(inline_max(1), 32 * 1024);
        for slots in [1, 2, 4, 7, 64, 800] {
            let state = Checkpoint::Inline(vec![7; inline_max(slots).max(41)]).emit();
            let entries = (0..u64::from(slots)).map(|task| progress(task, &state)).collect();
            let verified = Cookie::verify(&Cookie { entries, ..cookie() }.emit()).expect("our own");
            assert_eq!(verified.entries.len(), slots as usize);
        }
    }

    #[test]
    fn a_checkpoint_is_itself_or_a_name() {
        let item = Item { digest: crate::Digest([3; 32]), size: 9, form: crate::Form::File };
        for checkpoint in [Checkpoint::Inline(vec![]), Checkpoint::Inline(vec![1, 2]), Checkpoint::Kept(item)]
        {
            assert_eq!(Checkpoint::parse(&checkpoint.emit()), Some(checkpoint));
        }
        assert_eq!(Checkpoint::Inline(vec![5]).emit(), [0, 5]);
        for wrong in [&[][..], &[2], &[1], &[1, 0]] {
            assert_eq!(Checkpoint::parse(wrong), None);
        }
    }

    #[test]
    fn too_many_entries_leave_out_those_without_a_checkpoint_first() {
        let mut entries: Vec<_> = (0..3000).map(|task| progress(task, b"")).collect();
        entries.push(progress(3000, &[7; STATE_MAX]));
        entries.push(progress(3001, &[7; STATE_MAX + 1]));
        let emitted = Cookie { entries, ..cookie() }.emit();
        assert!(emitted.len() <= COOKIE_MAX);
        let verified = Cookie::verify(&emitted).expect("our own");
        assert_eq!(verified.entries[0], progress(3000, &[7; STATE_MAX]));
        assert_eq!(verified.entries[1], progress(0, b""));
        assert_eq!(verified.entries.len(), 1 + (COOKIE_MAX - 36 - 11 - (24 + STATE_MAX)) / 24);
    }
}
