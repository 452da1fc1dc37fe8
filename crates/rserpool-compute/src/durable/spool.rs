//! The output of an execution until it is decided.
//!
//! It is gathered in memory; what gets long goes to the file of outputs in blocks. A small output never touches that
//! file: it becomes part of its record in the journal, so that one sync makes both safe.

use crate::journal::{Block, Digest, Output};
use crate::protocol::Stream;
use rserpool::{ElementId, Time};
use std::collections::BTreeMap;

/// Most octets of an output that stand in the journal.
pub(super) const HERE_MAX: usize = 4096;

/// Octets gathered of one execution before they go to the file of outputs.
pub(super) const BLOCK: usize = 256 * 1024;

/// Changes of stream that are remembered of one execution, so that it can be cut where several streams took turns. That
/// happens only to work with checkpoints behind output, which has one stream as a rule; commands begin theirs anew.
const TURNS_MAX: usize = 64 * 1024;

/// An execution under way.
#[derive(Debug)]
pub(super) struct Spool {
    pub(super) worker: ElementId,
    pub(super) since: Time,
    /// The application keeps some of its streams.
    pub(super) elsewhere: bool,
    /// Of one stream each.
    blocks: Vec<Block>,
    /// In which order the octets in the blocks were spoken; `None`: in more turns than are remembered.
    turns: Option<Vec<(Stream, u64)>>,
    /// It was cut where nobody knows any more: it is no beginning of anything.
    torn: bool,
    /// What is gathered, no stream twice in a row.
    gathered: Vec<(Stream, Vec<u8>)>,
    octets: usize,
}

impl Spool {
    pub(super) fn new(worker: ElementId, since: Time) -> Self {
        let (blocks, turns, gathered) = (Vec::new(), Some(Vec::new()), Vec::new());
        Self { worker, since, elsewhere: false, blocks, turns, torn: false, gathered, octets: 0 }
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

    /// Takes what is gathered as the next blocks of the file, which ends at `end` so far: one for each stream, however often
    /// they took turns, since each takes its place in the record of the result.
    pub(super) fn blocks(&mut self, end: u64) -> Option<Vec<u8>> {
        if self.octets == 0 {
            return None;
        }
        let mut streams: BTreeMap<Stream, Vec<u8>> = BTreeMap::new();
        for (stream, octets) in std::mem::take(&mut self.gathered) {
            if let Some(turns) = &mut self.turns {
                let length = octets.len() as u64;
                match turns.last_mut() {
                    Some((last, before)) if *last == stream => *before += length,
                    _ => turns.push((stream, length)),
                }
            }
            streams.entry(stream).or_default().extend(octets);
        }
        self.turns.take_if(|turns| turns.len() > TURNS_MAX);
        let mut all = Vec::with_capacity(std::mem::take(&mut self.octets));
        for (stream, octets) in streams {
            let (offset, length) = (end + all.len() as u64, octets.len() as u64);
            self.blocks.push(Block {
                offset,
                length,
                digest: Digest::of(&octets),
                pieces: vec![(stream, length)],
            });
            all.extend(octets);
        }
        Some(all)
    }

    /// True if all of it is in memory and fits into a record.
    pub(super) fn fits_record(&self) -> bool {
        self.blocks.is_empty() && self.octets <= HERE_MAX
    }

    /// Forgets everything behind the first `keep` octets: a later execution goes on from there.
    pub(super) fn cut(&mut self, keep: u64) {
        let mut left = keep;
        self.torn &= keep > 0;
        self.cut_blocks(&mut left);
        self.octets = 0;
        for (_, octets) in &mut self.gathered {
            octets.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= octets.len() as u64;
            self.octets += octets.len();
        }
        self.gathered.retain(|(_, octets)| !octets.is_empty());
    }

    /// Forgets what is in blocks behind so many octets; what is left of them counts for what is gathered.
    fn cut_blocks(&mut self, left: &mut u64) {
        let written = self.blocks.iter().flat_map(|block| &block.pieces).map(|(_, length)| length).sum();
        if *left >= written {
            *left -= written;
            return;
        }
        let mut kept: BTreeMap<Stream, u64> = BTreeMap::new();
        self.torn |= self.turns.is_none() && *left > 0;
        let turns = self.turns.get_or_insert_default();
        for (stream, length) in turns.iter_mut() {
            *length = (*length).min(*left);
            *left -= *length;
            *kept.entry(*stream).or_default() += *length;
        }
        turns.retain(|(_, length)| *length > 0);
        for block in &mut self.blocks {
            for (stream, length) in &mut block.pieces {
                let kept = kept.entry(*stream).or_default();
                *length = (*length).min(*kept);
                *kept -= *length;
            }
            block.pieces.retain(|(_, length)| *length > 0);
        }
        self.blocks.retain(|block| !block.pieces.is_empty());
        *left = 0;
    }

    /// The output as a whole, if it is whole. All of it is in blocks, or none.
    pub(super) fn output(self) -> Option<Output> {
        if self.torn {
            return None;
        }
        Some(if self.blocks.is_empty() {
            Output::Here(self.gathered)
        } else {
            Output::Elsewhere(self.blocks)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool() -> Spool {
        Spool::new(ElementId(1), Time::ZERO)
    }

    /// What each stream said, read from a file.
    fn read(output: Option<Output>, file: &[u8]) -> BTreeMap<Stream, Vec<u8>> {
        let Some(Output::Elsewhere(blocks)) = output else { panic!("it is in blocks") };
        let mut told: BTreeMap<Stream, Vec<u8>> = BTreeMap::new();
        for block in &blocks {
            let octets = &file[block.offset as usize..][..block.length as usize];
            for (stream, octets) in block.pieces_of(octets).expect("whole") {
                told.entry(stream).or_default().extend(octets);
            }
        }
        told
    }

    #[test]
    fn streams_keep_their_order_in_memory_and_each_its_own_in_blocks() {
        let mut kept = spool();
        kept.push(Stream::OUTPUT, b"ab".to_vec());
        kept.push(Stream::ERROR, b"!".to_vec());
        kept.push(Stream::OUTPUT, b"c".to_vec());
        assert!(kept.fits_record());
        assert_eq!(kept.blocks(100), Some(b"abc!".to_vec()));
        assert_eq!((kept.blocks(104), kept.gathered()), (None, 0));
        kept.push(Stream::OUTPUT, b"d".to_vec());
        assert!(!kept.fits_record());
        assert_eq!(kept.blocks(200), Some(b"d".to_vec()));
        let Some(Output::Elsewhere(blocks)) = kept.output() else { panic!("it is in blocks") };
        assert_eq!(blocks.iter().map(|block| block.offset).collect::<Vec<_>>(), [100, 103, 200]);
        assert_eq!(blocks[0].pieces_of(b"abc"), Some(vec![(Stream::OUTPUT, &b"abc"[..])]));
        assert_eq!(blocks[1].pieces_of(b"!"), Some(vec![(Stream::ERROR, &b"!"[..])]));
        assert_eq!(blocks[0].pieces_of(b"abd"), None);
        assert_eq!(blocks[0].pieces_of(b"ab"), None);
    }

    /// Says this letter by letter, capitals as errors.
    fn say(kept: &mut Spool, words: &[u8]) {
        for letter in words {
            let stream = if letter.is_ascii_uppercase() { Stream::ERROR } else { Stream::OUTPUT };
            kept.push(stream, vec![*letter]);
        }
    }

    fn spoken(words: &[u8]) -> BTreeMap<Stream, Vec<u8>> {
        let mut told: BTreeMap<Stream, Vec<u8>> = BTreeMap::new();
        for letter in words {
            let stream = if letter.is_ascii_uppercase() { Stream::ERROR } else { Stream::OUTPUT };
            told.entry(stream).or_default().push(*letter);
        }
        told
    }

    #[test]
    fn a_later_execution_goes_on_behind_any_octet() {
        let words = b"aAbcBCdDefEgGh";
        for (first, second) in [(5, 9), (0, 14), (14, 14), (7, 7)] {
            for keep in 0..=words.len() {
                let (mut kept, mut file) = (spool(), Vec::new());
                let mut write = |kept: &mut Spool| {
                    let end = file.len() as u64;
                    file.extend(kept.blocks(end).unwrap_or_default());
                };
                say(&mut kept, &words[..first]);
                write(&mut kept);
                say(&mut kept, &words[first..second]);
                write(&mut kept);
                say(&mut kept, &words[second..]);
                kept.cut(keep as u64);
                say(&mut kept, b"xXyY");
                write(&mut kept);
                // And once more, behind what both have said.
                let again = keep + usize::from(keep > 2);
                kept.cut(again as u64);
                say(&mut kept, b"z");
                write(&mut kept);
                let expected = [&[&words[..keep], b"xXyY"].concat()[..again], b"z"].concat();
                assert_eq!(read(kept.output(), &file), spoken(&expected), "behind {keep}, {first}, {second}");
            }
        }
    }

    #[test]
    fn what_takes_too_many_turns_to_be_cut_is_not_taken_for_whole() {
        let words: Vec<u8> = b"aB".iter().copied().cycle().take(TURNS_MAX + 2).collect();
        for (keep, whole) in [(0, true), (7, false), (words.len() as u64, true)] {
            let mut kept = spool();
            say(&mut kept, &words);
            let file = kept.blocks(0).expect("some");
            kept.cut(keep);
            assert_eq!(kept.blocks.len(), if keep == 0 || !whole { 0 } else { 2 });
            say(&mut kept, b"z");
            let end = file.len() as u64;
            let file = [file, kept.blocks(end).expect("some")].concat();
            let expected = spoken(&[&words[..keep as usize], b"z"].concat());
            let output = kept.output();
            assert_eq!(output.is_some(), whole);
            assert!(!whole || read(output, &file) == expected);
        }
    }
}
