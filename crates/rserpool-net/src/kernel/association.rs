//! One association: what waits to be sent on it, and what came in so far.

use super::Place;
use super::call::Received;
use super::socket::Socket;
use rserpool::{Door, LinkId, Ppid};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

/// The largest message, both ways: as over the other transports.
const MESSAGE_MAX: usize = 1 << 20;
/// The stream of all our messages.
const STREAM: u16 = 0;
/// What a message costs in our books besides its octets, so that many tiny ones are not free.
const OVERHEAD: usize = 64;

/// An association that is being opened from here.
pub(super) struct Opening {
    /// From this door.
    pub door: Door,
    /// To a peer with these addresses.
    pub to: Vec<SocketAddr>,
    /// The ways not tried yet: as SCTP, or in UDP to this port.
    pub ways: VecDeque<Option<u16>>,
}

/// What the kernel keeps under one name.
pub(super) struct Association {
    /// `None`: ended by the node, and taking leave.
    pub link: Option<LinkId>,
    /// Its socket.
    pub place: Place,
    /// Being opened from here, and not up yet.
    pub opening: Option<Opening>,
    /// It has its socket for itself.
    pub moved_out: bool,
    /// To be ended when everything is said.
    pub ending: bool,
    /// Nothing can be said any more: it is ending, from here or from there.
    hushed: bool,
    waiting: VecDeque<(Ppid, Vec<u8>)>,
    /// Octets of `waiting`.
    queued: usize,
    /// Messages that came in part, by their streams. Few: a sender has one under way at a time, or one per stream.
    parts: Vec<(u16, Ppid, Vec<u8>)>,
}

/// What came of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// All there was.
    Done,
    /// The socket takes no more now.
    Full,
    /// A message is larger than the system takes.
    TooLarge,
}

impl Association {
    pub(super) fn new(link: LinkId, place: Place, opening: Option<Opening>) -> Self {
        Self {
            link: Some(link),
            place,
            opening,
            moved_out: false,
            ending: false,
            hushed: false,
            waiting: VecDeque::new(),
            queued: 0,
            parts: Vec::new(),
        }
    }

    /// Octets kept here.
    pub(super) fn held(&self) -> usize {
        self.queued + self.parts.iter().map(|(_, _, octets)| octets.len()).sum::<usize>()
    }

    /// Queues a message; false if it is too large, or too much waits already.
    pub(super) fn queue(&mut self, ppid: Ppid, bytes: Vec<u8>, most: usize) -> bool {
        if bytes.is_empty()
            || bytes.len() > MESSAGE_MAX
            || (self.queued > 0 && self.queued + bytes.len() > most)
        {
            return false;
        }
        if !self.hushed {
            self.queued += bytes.len();
            self.waiting.push_back((ppid, bytes));
        }
        true
    }

    /// Gives the socket what waits, as far as it takes it; then the end, if that was wished for. `more`: another message
    /// follows at once.
    pub(super) fn write(&mut self, assoc: i32, more: bool, socket: &Socket) -> Written {
        if self.opening.is_some() {
            return Written::Done;
        }
        while let Some((ppid, bytes)) = self.waiting.front() {
            // What is held back for more leaves with the last one, whenever that is taken.
            let more = more || self.waiting.len() > 1;
            match socket.write(assoc, STREAM, ppid.0, bytes, more) {
                Ok(()) => {
                    self.queued -= bytes.len();
                    self.waiting.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Written::Full,
                Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => return Written::TooLarge,
                // It has ended, or is about to: the notification tells how.
                Err(_) => drop(self.hush()),
            }
        }
        if self.ending && !self.hushed {
            self.hushed = true;
            socket.shut_down(assoc);
        }
        Written::Done
    }

    /// Drops what waits: it cannot be sent any more. Returns how many octets that were.
    pub(super) fn hush(&mut self) -> usize {
        self.hushed = true;
        self.waiting.clear();
        std::mem::take(&mut self.queued)
    }

    /// Takes in a message or a part of one; returns the message when it is whole. Fails if it is too large.
    pub(super) fn take(&mut self, received: &Received, octets: &[u8]) -> Result<Option<(Ppid, Vec<u8>)>, ()> {
        let begun = self.parts.iter().position(|(stream, ..)| *stream == received.stream);
        if received.ends && begun.is_none() {
            return Ok(Some((Ppid(received.ppid), octets.to_vec())));
        }
        let place = begun.unwrap_or_else(|| {
            self.parts.push((received.stream, Ppid(received.ppid), Vec::new()));
            self.parts.len() - 1
        });
        let all: usize = self.parts.iter().map(|(_, _, part)| part.len() + OVERHEAD).sum();
        if all + octets.len() > MESSAGE_MAX + OVERHEAD {
            return Err(());
        }
        let part = &mut self.parts[place].2;
        if part.capacity() == 0 {
            // The second part shows that it is a large one.
            part.reserve(octets.len() * 2);
        }
        part.extend_from_slice(octets);
        if !received.ends {
            return Ok(None);
        }
        let (_, ppid, bytes) = self.parts.swap_remove(place);
        Ok(Some((ppid, bytes)))
    }

    /// Drops the parts of messages whose rest will not come. Returns how many octets that were.
    pub(super) fn forget_parts(&mut self) -> usize {
        self.parts.drain(..).map(|(_, _, octets)| octets.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn association() -> Association {
        Association::new(LinkId::Ours(1), 1, None)
    }

    fn part(stream: u16, length: usize, ends: bool) -> Received {
        Received { length, ends, stream, ppid: u32::from(stream) + 11, ..Received::default() }
    }

    #[test]
    fn parts_are_put_together_per_stream() {
        let mut one = association();
        assert_eq!(one.take(&part(0, 2, false), b"ab"), Ok(None));
        assert_eq!(one.take(&part(3, 1, false), b"x"), Ok(None));
        assert_eq!(one.take(&part(5, 1, true), b"!"), Ok(Some((Ppid(16), b"!".to_vec()))));
        assert_eq!(one.held(), 3);
        assert_eq!(one.take(&part(0, 2, true), b"cd"), Ok(Some((Ppid(11), b"abcd".to_vec()))));
        assert_eq!(one.take(&part(3, 1, true), b"y"), Ok(Some((Ppid(14), b"xy".to_vec()))));
        assert_eq!(one.held(), 0);
    }

    #[test]
    fn the_largest_message_is_taken_and_one_octet_more_is_not() {
        let most = vec![7; MESSAGE_MAX - 1];
        let mut one = association();
        assert_eq!(one.take(&part(0, most.len(), false), &most), Ok(None));
        assert!(
            one.take(&part(0, 1, true), b"1").is_ok_and(|m| m.is_some_and(|(_, m)| m.len() == MESSAGE_MAX))
        );
        assert_eq!(one.take(&part(0, most.len(), false), &most), Ok(None));
        assert_eq!(one.take(&part(0, 2, true), b"12"), Err(()));
        assert!(association().queue(Ppid::ASAP, vec![0; MESSAGE_MAX], 10));
        assert!(!association().queue(Ppid::ASAP, vec![0; MESSAGE_MAX + 1], usize::MAX));
    }

    #[test]
    fn a_message_that_will_not_be_finished_leaves_nothing_behind() {
        let mut one = association();
        assert_eq!(one.take(&part(0, 3, false), b"abc"), Ok(None));
        assert_eq!(one.forget_parts(), 3);
        assert_eq!(one.take(&part(0, 1, true), b"d"), Ok(Some((Ppid(11), b"d".to_vec()))));
    }

    #[test]
    fn many_streams_with_parts_share_the_bound_of_one_message() {
        let mut one = association();
        let third = vec![0; MESSAGE_MAX / 3];
        for stream in 0..2 {
            assert_eq!(one.take(&part(stream, third.len(), false), &third), Ok(None));
        }
        assert_eq!(one.take(&part(2, third.len(), false), &third), Err(()));
    }
}
