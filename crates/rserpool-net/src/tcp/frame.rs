//! Frames: how messages stand in a TCP stream.
//!
//! ```text
//! Length(4)  without these 8 octets, network order: 1 to 1 MiB, so the first octet is always 0
//! PPID(4)    as in SCTP
//! message    Length octets
//! ```
//!
//! PPID 0xffffffff is a link frame: `Type(1) Flags(1)=0 Reserved(2)=0 content`. The first octet of a stream tells a
//! framed one from a bare ASAP stream (the only reading RFC 5352 §2.1 leaves without a framing: message after message,
//! each padded to 4 octets) and both from TLS.

use crate::Reason;
use rserpool::{Door, PoolHandle, Ppid, Role};

/// Octets before a message.
pub(super) const HEADER: usize = 8;
/// The largest message.
pub(super) const DATA_MAX: usize = 1 << 20;
/// The largest ASAP message: a multiple of 4 that its own 16-bit length can say.
pub(super) const ASAP_MAX: usize = 65_532;
/// The largest link frame.
pub(super) const LINK_MAX: usize = 256;
/// A Hello promises to accept frames at least this large.
pub(super) const LARGEST_MIN: u32 = 64 << 10;
/// What the reader of a stream may hold before Hello.
pub(super) const BEFORE_HELLO_MAX: usize = 8 << 10;

/// Why the other side was told that its link is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum AbortCause {
    Version = 1,
    FrameLength = 2,
    NotAllowed = 3,
    HelloMissing = 4,
    NotWanted = 5,
    Overload = 7,
    Silence = 8,
}

/// What is wrong with a stream: how it is counted, and what the other side is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub Reason, pub AbortCause);

/// One frame, as it stands in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub ppid: Ppid,
    pub message: &'a [u8],
}

/// The first frame in `buffer`, and how many octets it takes; `None` if it is not complete. `door` and `first` (no
/// Hello has come yet) say what is allowed. What is not allowed is refused as soon as its header is there.
pub(super) fn parse(buffer: &[u8], door: Door, first: bool) -> Result<Option<(Frame<'_>, usize)>, Fault> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [a, b, c, d, p, q, r, s] = *header;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let ppid = Ppid(u32::from_be_bytes([p, q, r, s]));
    let max = match ppid {
        Ppid::LINK => LINK_MAX,
        _ if first => return Err(Fault(Reason::HelloMissing, AbortCause::HelloMissing)),
        Ppid::ASAP => ASAP_MAX,
        // ENRP between two registrars is always SCTP (RFC 5353 §3.1), and an ASAP link carries no data.
        Ppid::ENRP => return Err(Fault(Reason::Ppid, AbortCause::NotAllowed)),
        _ if door != Door::Service => return Err(Fault(Reason::Ppid, AbortCause::NotAllowed)),
        _ => DATA_MAX,
    };
    if length == 0 || length > max {
        return Err(Fault(Reason::FrameLength, AbortCause::FrameLength));
    }
    Ok(rest.get(..length).map(|message| (Frame { ppid, message }, HEADER + length)))
}

/// Appends a frame.
pub(super) fn emit(ppid: Ppid, message: &[u8], out: &mut Vec<u8>) {
    out.reserve(HEADER + message.len());
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(&ppid.0.to_be_bytes());
    out.extend_from_slice(message);
}

/// The first message of a bare ASAP stream, and how many octets it takes with its padding; `None` if it is not
/// complete. Only pool users speak so, and they say two things: Handle Resolution (5) and Endpoint Unreachable (9).
pub(super) fn parse_bare(buffer: &[u8]) -> Result<Option<(&[u8], usize)>, Fault> {
    const FAULT: Fault = Fault(Reason::BareAsap, AbortCause::NotAllowed);
    let Some(&[kind, _, a, b]) = buffer.first_chunk::<4>() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([a, b]));
    if !matches!(kind, 5 | 9) || !(4..=ASAP_MAX).contains(&length) {
        return Err(FAULT);
    }
    let padded = length.next_multiple_of(4);
    Ok(buffer.get(..padded).map(|_| (&buffer[..length], padded)))
}

/// A link frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkFrame {
    Hello(Hello),
    /// Ping or Pong: the nodes' own words, see `rserpool::link`.
    Ping,
    Pong,
    /// This side sends nothing more.
    Bye,
    Abort,
    /// A type from 0x80 on: not known here, and no trouble.
    Unknown,
}

/// How each side begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub role: Role,
    /// Registrar or element identifier of the sender; 0 for users.
    pub own: u32,
    /// Who is expected at the other end; 0 for anyone.
    pub wanted: u32,
    /// The largest message the sender accepts.
    pub largest: u32,
    /// The silence it tolerates, in milliseconds.
    pub silence: u32,
    /// The pool a session is meant for.
    pub pool: Option<PoolHandle>,
}

const VERSION: u16 = 1;
const LINK_FAULT: Fault = Fault(Reason::LinkFrame, AbortCause::NotAllowed);

impl LinkFrame {
    pub(super) fn parse(message: &[u8]) -> Result<Self, Fault> {
        let Some((&[kind, flags, _, _], content)) = message.split_first_chunk::<4>() else {
            return Err(LINK_FAULT);
        };
        if kind >= 0x80 {
            return Ok(Self::Unknown);
        }
        match (kind, flags) {
            (1, 0) => Hello::parse(content).map(Self::Hello),
            (2, 0) if content.len() == 8 => Ok(Self::Ping),
            (3, 0) if content.len() == 8 => Ok(Self::Pong),
            (4, 0) => Ok(Self::Bye),
            (5, 0) => Ok(Self::Abort),
            _ => Err(LINK_FAULT),
        }
    }
}

impl Hello {
    fn parse(content: &[u8]) -> Result<Self, Fault> {
        let Some((head, pool)) = content.split_first_chunk::<20>() else { return Err(LINK_FAULT) };
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if u16::from_be_bytes([head[0], head[1]]) != VERSION {
            return Err(Fault(Reason::HelloVersion, AbortCause::Version));
        }
        let role = match u16::from_be_bytes([head[2], head[3]]) {
            0 => Role::User,
            1 => Role::Element,
            2 => Role::Registrar,
            _ => return Err(LINK_FAULT),
        };
        let pool = match pool {
            [] => None,
            octets => {
                // A handle that no pool of ours can have: meant for somebody else.
                let fault = Fault(Reason::HelloWanted, AbortCause::NotWanted);
                Some(PoolHandle::new(octets).ok_or(fault)?)
            }
        };
        let largest = number(12).max(LARGEST_MIN);
        let silence = number(16).clamp(100, 600_000);
        Ok(Self { role, own: number(4), wanted: number(8), largest, silence, pool })
    }

    /// Appends the frame that says this.
    pub(super) fn emit(&self, out: &mut Vec<u8>) {
        let role: u16 = match self.role {
            Role::User => 0,
            Role::Element => 1,
            Role::Registrar => 2,
        };
        let mut message = vec![1, 0, 0, 0];
        message.extend_from_slice(&VERSION.to_be_bytes());
        message.extend_from_slice(&role.to_be_bytes());
        for number in [self.own, self.wanted, self.largest, self.silence] {
            message.extend_from_slice(&number.to_be_bytes());
        }
        message.extend_from_slice(self.pool.as_ref().map_or(&[], |pool| pool.as_bytes()));
        emit(Ppid::LINK, &message, out);
    }
}

/// Appends a Bye.
pub(super) fn emit_bye(out: &mut Vec<u8>) {
    emit(Ppid::LINK, &[4, 0, 0, 0], out);
}

/// Appends an Abort.
pub(super) fn emit_abort(cause: AbortCause, text: &str, out: &mut Vec<u8>) {
    let mut message = vec![5, 0, 0, 0];
    message.extend_from_slice(&(cause as u16).to_be_bytes());
    message.extend_from_slice(&text.as_bytes()[..text.len().min(200)]);
    emit(Ppid::LINK, &message, out);
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
