//! The output of an execution until it is decided.
//!
//! It is gathered in memory; what gets long goes to the file of outputs in blocks. A small output never touches that
//! file: it becomes part of its record in the journal, so that one sync makes both safe.

use crate::journal::{Block, Digest, Output};
use crate::protocol::Stream;
use rserpool::{ElementId, Time};

/// Most octets of an output that stand in the journal.
pub(super) const HERE_MAX: usize = 4096;

/// Octets gathered of one execution before they go to the file of outputs.
pub(super) const BLOCK: usize = 256 * 1024;

/// An execution under way.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) worker: ElementId,
    pub(super) since: Time,
    /// The application keeps some of its streams.
    pub(super) elsewhere: bool,
    blocks: Vec<Block>,
    /// What is gathered, no stream twice in a row.
    gathered: Vec<(Stream, Vec<u8>)>,
    octets: usize,
}

impl Spool {
    pub(super) fn new(worker: ElementId, since: Time) -> Self {
        Self { worker, since, elsewhere: false, blocks: Vec::new(), gathered: Vec::new(), octets: 0 }
    }

    /// Octets in memory.
    pub(super) fn gathered(&self) -> usize {
        self.octets
    }

    pub(super) fn push(&mut self, stream: Stream, octets: Vec<u8>) {
        self.octets += octets.len();
        match self.gathered.last_mut() {
            Some((last, before)) if *last == stream => before.extend(octets),
            _ => self.gathered.push((stream, octets)),
        }
    }

    /// Takes what is gathered as the next block of the file, which ends at `end` so far.
    pub(super) fn block(&mut self, end: u64) -> Option<Vec<u8>> {
        if self.octets == 0 {
            return None;
        }
        let gathered = std::mem::take(&mut self.gathered);
        let pieces = gathered.iter().map(|(stream, octets)| (*stream, octets.len() as u64)).collect();
        let octets: Vec<u8> = gathered.into_iter().flat_map(|(_, octets)| octets).collect();
        let length = octets.len() as u64;
        self.octets = 0;
        self.blocks.push(Block { offset: end, length, digest: Digest::of(&octets), pieces });
        Some(octets)
    }

    /// True if all of it is in memory and fits into a record.
    pub(super) fn fits_record(&self) -> bool {
        self.blocks.is_empty() && self.octets <= HERE_MAX
    }

    /// Forgets everything behind the first `keep` octets: a later execution goes on from there.
    pub(super) fn cut(&mut self, keep: u64) {
        let mut left = keep;
        for block in &mut self.blocks {
            for (_, length) in &mut block.pieces {
                *length = (*length).min(left);
                left -= *length;
            }
            block.pieces.retain(|(_, length)| *length > 0);
        }
        self.blocks.retain(|block| !block.pieces.is_empty());
        self.octets = 0;
        for (_, octets) in &mut self.gathered {
            octets.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= octets.len() as u64;
            self.octets += octets.len();
        }
        self.gathered.retain(|(_, octets)| !octets.is_empty());
    }

    /// The output as a whole. All of it is in blocks, or none.
    pub(super) fn output(self) -> Output {
        if self.blocks.is_empty() { Output::Here(self.gathered) } else { Output::Elsewhere(self.blocks) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> Spool {
        Spool::new(ElementId(1), Time::ZERO)
    }

    #[test]
    fn streams_keep_their_order_in_memory_and_in_blocks() {
        let mut kept = spool();
        kept.push(Stream::OUTPUT, b"ab".to_vec());
        kept.push(Stream::OUTPUT, b"c".to_vec());
        kept.push(Stream::ERROR, b"!".to_vec());
        assert!(kept.fits_record());
        assert_eq!(kept.block(100), Some(b"abc!".to_vec()));
        assert_eq!((kept.block(104), kept.gathered()), (None, 0));
        kept.push(Stream::OUTPUT, b"d".to_vec());
        assert!(!kept.fits_record());
        assert_eq!(kept.block(200), Some(b"d".to_vec()));
        let Output::Elsewhere(blocks) = kept.output() else { panic!("it is in blocks") };
        assert_eq!((blocks[0].offset, blocks[1].offset), (100, 200));
        let pieces = blocks[0].pieces_of(b"abc!").expect("whole");
        assert_eq!(pieces, [(Stream::OUTPUT, &b"abc"[..]), (Stream::ERROR, b"!")]);
        assert_eq!(blocks[0].pieces_of(b"abd!"), None);
        assert_eq!(blocks[0].pieces_of(b"abc"), None);
    }

    #[test]
    fn a_later_execution_goes_on_behind_any_octet() {
        for keep in 0..=8 {
            let mut kept = spool();
            for part in [&b"ab"[..], b"cd"] {
                kept.push(Stream::OUTPUT, part.to_vec());
                kept.push(Stream::ERROR, b"!".to_vec());
                if part == b"ab" {
                    kept.block(0);
                }
            }
            kept.cut(keep);
            kept.push(Stream::OUTPUT, b"x".to_vec());
            kept.block(3);
            let Output::Elsewhere(blocks) = kept.output() else { panic!("it is in blocks") };
            let mut told = Vec::new();
            for block in &blocks {
                let written: &[u8] = match (block.offset, keep) {
                    (0, _) => b"ab!",
                    (_, 0..=3) => b"x",
                    (_, 4) => b"cx",
                    (_, 5) => b"cdx",
                    _ => b"cd!x",
                };
                let pieces = block.pieces_of(written).expect("whole");
                told.extend(pieces.into_iter().flat_map(|(_, octets)| octets.to_vec()));
            }
            let mut expected = b"ab!cd!"[..(keep as usize).min(6)].to_vec();
            expected.push(b'x');
            assert_eq!(told, expected, "behind {keep}");
        }
    }
}
