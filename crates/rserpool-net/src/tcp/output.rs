//! What waits to be written on one stream.

use std::io;
use std::task::Poll;

/// Above this, an emptied buffer is given back.
const KEPT_MAX: usize = 64 << 10;

/// Octets on their way out, one run of memory: what was queued between two writes leaves in one.
#[derive(Default)]
pub(super) struct Output {
    octets: Vec<u8>,
    /// So many of them are written.
    written: usize,
    end: End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// The stream ends after what is queued.
    Wanted,
    Done,
}

impl Output {
    /// Where to append.
    pub(super) fn queue(&mut self) -> &mut Vec<u8> {
        // Moving the rest to the front costs its length, which was paid by writing more than that.
        if self.written > KEPT_MAX && self.written > self.octets.len() / 2 {
            self.octets.drain(..self.written);
            self.written = 0;
        }
        &mut self.octets
    }

    /// Octets not written yet.
    pub(super) fn len(&self) -> usize {
        self.octets.len() - self.written
    }

    /// Ends the stream after what is queued.
    pub(super) fn finish(&mut self) {
        self.end = End::Wanted;
    }

    /// True if all is written and the stream is to be ended now.
    pub(super) fn is_to_be_finished(&self) -> bool {
        self.end == End::Wanted && self.len() == 0
    }

    /// The stream was ended.
    pub(super) fn finished(&mut self) {
        self.end = End::Done;
    }

    /// Writes as much as `write` takes. True if it took anything.
    pub(super) fn write(
        &mut self,
        mut write: impl FnMut(&[u8]) -> Poll<io::Result<usize>>,
    ) -> io::Result<bool> {
        let mut any = false;
        while self.len() > 0 {
            match write(&self.octets[self.written..]) {
                Poll::Pending => return Ok(any),
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(more)) => {
                    self.written += more;
                    any = true;
                }
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        self.written = 0;
        self.octets.clear();
        if self.octets.capacity() > KEPT_MAX {
            self.octets = Vec::new();
        }
        Ok(any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_waits_and_nothing_is_written_twice() {
        let mut out = Output::default();
        out.queue().extend_from_slice(b"abcdef");
        let mut room = 4;
        let mut seen = Vec::new();
        let mut write = |octets: &[u8]| {
            let taken = octets.len().min(room);
            room -= taken;
            seen.extend_from_slice(&octets[..taken]);
            if taken == 0 { Poll::Pending } else { Poll::Ready(Ok(taken)) }
        };
        assert!(out.write(&mut write).expect("no error"));
        assert_eq!(out.len(), 2);
        assert!(!out.write(&mut write).expect("no error"));
        out.queue().extend_from_slice(b"gh");
        out.finish();
        assert!(!out.is_to_be_finished());
        let all = |octets: &[u8]| Poll::Ready(Ok(octets.len()));
        assert!(out.write(all).expect("no error"));
        assert_eq!(seen, b"abcd");
        assert!(out.is_to_be_finished());
        out.finished();
        assert!(!out.is_to_be_finished());
    }

    #[test]
    fn a_large_queue_is_given_back_when_empty() {
        let mut out = Output::default();
        out.queue().resize(1 << 20, 7);
        let mut first = true;
        // Most of it goes, then a little is added: the rest moves to the front.
        out.write(|octets| {
            if std::mem::take(&mut first) { Poll::Ready(Ok(octets.len() - 10)) } else { Poll::Pending }
        })
        .expect("no error");
        out.queue().push(8);
        assert_eq!((out.len(), out.octets.len()), (11, 11));
        out.write(|octets| Poll::Ready(Ok(octets.len()))).expect("no error");
        assert_eq!(out.octets.capacity(), 0);
    }
}
