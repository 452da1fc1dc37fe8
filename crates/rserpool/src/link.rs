//! Link frames: signs of life inside a link, besides ASAP, ENRP and application data.
//!
//! They travel with [`Ppid::LINK`](crate::Ppid::LINK). Ping and Pong are spoken by the nodes themselves, in the same
//! loop that serves: a process that hangs falls silent, although its transport goes on acknowledging. Hello, Bye and
//! Abort belong to the TCP mapping and never reach a node (`rserpool-net`).
//!
//! ```text
//! Type(1) Flags(1)=0 Reserved(2)=0 content      2 Ping, 3 Pong: 8 octets, copied from Ping to Pong
//! ```

/// A link frame that nodes exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    /// "Are you there?", with eight octets of the asker's choice.
    Ping([u8; 8]),
    /// "I am", with the octets of the Ping.
    Pong([u8; 8]),
}

impl Frame {
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
