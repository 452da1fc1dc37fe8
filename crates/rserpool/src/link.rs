//! Link frames: signs of life inside a link, besides ASAP, ENRP and application data.
//!
//! They travel with [`Ppid::LINK`](crate::Ppid::LINK). Ping and Pong are spoken by the nodes themselves, in the same
//! loop that serves: a process that hangs falls silent, although its transport goes on acknowledging. Hello, Bye and
//! Abort belong to the TCP mapping and never reach a node (`rserpool-net`).
//!
//! ```text
//! Type(1) Flags(1)=0 Reserved(2)=0 content      2 Ping, 3 Pong: 8 octets, copied from Ping to Pong
//! ```
//!
//! A user of a session says in the first four octets after how many milliseconds its next Ping follows, so that its
//! element knows from the first one on what silence means ([`Frame::ping`]). 0, as in Pings of other kinds: not told.

use std::time::Duration;

/// A link frame that nodes exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// "Are you there?", with eight octets of the asker's choice.
    Ping([u8; 8]),
    /// "I am", with the octets of the Ping.
    Pong([u8; 8]),
}

impl Frame {
    /// The Ping with this number, of somebody who pings so often. A pause above 49 days counts as that.
    pub fn ping(number: u32, pause: Duration) -> Self {
        let millis = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
        Self::Ping((u64::from(millis) << 32 | u64::from(number)).to_be_bytes())
    }

    /// After what pause the next one follows a Ping with this content; zero: it does not tell.
    pub fn pause(content: [u8; 8]) -> Duration {
        Duration::from_millis(u64::from_be_bytes(content) >> 32)
    }

    /// The frame these octets are, or `None` if they are none that a node understands.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let content = <[u8; 8]>::try_from(bytes.get(4..)?).ok()?;
        match bytes[..4] {
            [2, 0, 0, 0] => Some(Self::Ping(content)),
            [3, 0, 0, 0] => Some(Self::Pong(content)),
            _ => None,
        }
    }

    /// The octets of this frame.
    pub fn emit(self) -> Vec<u8> {
        let (kind, content) = match self {
            Self::Ping(content) => (2, content),
            Self::Pong(content) => (3, content),
        };
        [&[kind, 0, 0, 0], &content[..]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_tells_when_the_next_one_comes() {
        let ping = Frame::ping(7, Duration::from_millis(250));
        assert_eq!(ping, Frame::Ping([0, 0, 0, 250, 0, 0, 0, 7]));
        let Frame::Ping(content) = ping else { unreachable!() };
        assert_eq!(Frame::pause(content), Duration::from_millis(250));
        assert_eq!(Frame::pause(*b"\0\0\0\0idle"), Duration::ZERO);
        assert_eq!(Frame::ping(1, Duration::MAX), Frame::Ping([255, 255, 255, 255, 0, 0, 0, 1]));
    }

    #[test]
    fn a_pong_copies_its_ping() {
        let ping = [2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(Frame::parse(&ping), Some(Frame::Ping([1, 2, 3, 4, 5, 6, 7, 8])));
        assert_eq!(Frame::Pong([1, 2, 3, 4, 5, 6, 7, 8]).emit(), [3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        for cut in 0..ping.len() {
            assert_eq!(Frame::parse(&ping[..cut]), None, "cut at {cut}");
        }
        assert_eq!(Frame::parse(&[2, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), None);
    }
}
