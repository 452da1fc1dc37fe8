//! Carrying out what a job asks of its disk, in a thread of its own, and reading outputs back.

use super::queue::Listener;
use crate::run::{Hear, Heard};
use rserpool_compute::Stream;
use rserpool_compute::durable::{DurableJob, Event, File as Which, Wish};
use rserpool_compute::journal::{Block, Output};
use rserpool_net::Handle;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

/// The file of large outputs: read by whoever prints, written by the disk's thread.
pub type OutputsFile = Arc<OnceLock<File>>;

/// Where a job's octets go.
pub enum Disk {
    /// Two files that survive.
    Journal {
        /// The journal, at its end.
        journal: File,
        /// The outputs.
        outputs: OutputsFile,
        /// How long they are.
        length: u64,
    },
    /// Nowhere: outputs that are too long for a record go to a file without a name.
    Nowhere {
        /// The outputs, once there are any.
        outputs: OutputsFile,
        /// How long they are.
        length: u64,
    },
}

impl Disk {
    /// Carries out a wish; tells the mark of a sync.
    fn carry_out(&mut self, wish: Wish) -> io::Result<Option<u64>> {
        match (self, wish) {
            (Self::Journal { journal, .. }, Wish::Append { file: Which::Journal, octets }) => {
                journal.write_all(&octets)?;
            }
            (Self::Journal { journal, .. }, Wish::Sync { file: Which::Journal, mark }) => {
                journal.sync_data()?;
                return Ok(Some(mark));
            }
            (Self::Journal { outputs, .. }, Wish::Sync { file: Which::Outputs, mark }) => {
                if let Some(file) = outputs.get() {
                    file.sync_data()?;
                }
                return Ok(Some(mark));
            }
            // A job without a journal appends nothing to it.
            (Self::Nowhere { .. }, Wish::Append { file: Which::Journal, .. }) => {}
            (Self::Nowhere { .. }, Wish::Sync { mark, .. }) => return Ok(Some(mark)),
            (
                Self::Journal { outputs, length, .. } | Self::Nowhere { outputs, length },
                Wish::Append { file: Which::Outputs, octets },
            ) => {
                if outputs.get().is_none() {
                    // Only without a journal: the outputs of a job have their file from the beginning.
                    let _ = outputs.set(tempfile::tempfile()?);
                }
                let file = outputs.get().expect("set above");
                file.write_all_at(&octets, *length)?;
                *length += octets.len() as u64;
            }
        }
        Ok(None)
    }
}

/// Octets, about, that are passed on together.
const AT_ONCE: usize = 64 * 1024;

/// The life of the disk's thread: what is for the disk is done, everything else passed on in its order.
pub fn run(mut disk: Disk, events: &Listener, handle: &Handle<DurableJob>, hear: &Hear) {
    let mut failed = false;
    loop {
        let portion = events.take();
        if portion.is_empty() {
            return;
        }
        let (mut handled, mut others) = (0, Vec::new());
        for event in portion {
            handled += Listener::weight(&event);
            let is_slow = matches!(event, Event::Disk(Wish::Sync { .. }));
            if (is_slow || handled >= AT_ONCE)
                && !others.is_empty()
                && hear.send(Heard::Events(std::mem::take(&mut others))).is_err()
            {
                return;
            }
            match event {
                Event::Disk(_) if failed => {}
                Event::Disk(wish) => match disk.carry_out(wish) {
                    Ok(None) => {}
                    Ok(Some(mark)) => {
                        let _ = handle.post_blocking(move |job, now| job.stored(now, mark));
                    }
                    Err(cause) => {
                        failed = true;
                        let _ = handle.post_blocking(move |job, now| job.disk_failed(now, cause.to_string()));
                    }
                },
                event => others.push(event),
            }
            if handled >= AT_ONCE {
                events.done(std::mem::take(&mut handled));
            }
        }
        if !others.is_empty() && hear.send(Heard::Events(others)).is_err() {
            return;
        }
        events.done(handled);
    }
}

/// The output of a task, and where to read it.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// What the record tells.
    pub output: Output,
    /// The file of the blocks.
    pub file: OutputsFile,
    /// Nobody needs the blocks once they are printed.
    pub temporary: bool,
}

impl Outputs {
    /// Copies one stream.
    pub fn copy(&self, stream: Stream, to: &mut impl Write) -> io::Result<()> {
        match &self.output {
            Output::Here(pieces) => {
                pieces.iter().filter(|(of, _)| *of == stream).try_for_each(|(_, octets)| to.write_all(octets))
            }
            Output::Elsewhere(blocks) => {
                let wanted = |block: &&Block| block.pieces.iter().any(|(of, _)| *of == stream);
                blocks.iter().filter(wanted).try_for_each(|block| self.copy_block(block, stream, to))
            }
        }
    }

    fn copy_block(&self, block: &Block, stream: Stream, to: &mut impl Write) -> io::Result<()> {
        let damaged =
            || io::Error::other(format!("the outputs of the job are damaged at octet {}", block.offset));
        let file = self.file.get().ok_or_else(damaged)?;
        let length = usize::try_from(block.length).ok().filter(|length| *length <= BLOCK_MAX);
        let mut octets = vec![0; length.ok_or_else(damaged)?];
        file.read_exact_at(&mut octets, block.offset).map_err(|cause| match cause.kind() {
            io::ErrorKind::UnexpectedEof => damaged(),
            _ => cause,
        })?;
        let pieces = block.pieces_of(&octets).ok_or_else(damaged)?;
        pieces.into_iter().filter(|(of, _)| *of == stream).try_for_each(|(_, octets)| to.write_all(octets))
    }

    /// One stream as a whole.
    pub fn read(&self, stream: Stream) -> io::Result<Vec<u8>> {
        let mut octets = Vec::new();
        self.copy(stream, &mut octets)?;
        Ok(octets)
    }

    /// It is printed: without a journal its place on the disk is free again.
    pub fn forget(&self) {
        if let (true, Output::Elsewhere(blocks), Some(file)) = (self.temporary, &self.output, self.file.get())
        {
            let how = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            for block in blocks {
                // A file system that cannot do it keeps the octets until the end of the job.
                let _ = rustix::fs::fallocate(file, how, block.offset, block.length);
            }
        }
    }
}

/// Longer than any block that is written.
const BLOCK_MAX: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool_compute::journal::Digest;

    #[test]
    fn outputs_come_back_by_stream_and_damage_is_found() {
        let outputs = OutputsFile::default();
        let mut disk = Disk::Nowhere { outputs: outputs.clone(), length: 0 };
        for octets in [b"abc".to_vec(), b"def!".to_vec()] {
            disk.carry_out(Wish::Append { file: Which::Outputs, octets }).expect("room");
        }
        let block = |offset, octets: &[u8], pieces: &[(Stream, u64)]| Block {
            offset,
            length: octets.len() as u64,
            digest: Digest::of(octets),
            pieces: pieces.to_vec(),
        };
        let blocks = vec![
            block(0, b"abc", &[(Stream::OUTPUT, 2)]),
            block(3, b"def!", &[(Stream::OUTPUT, 3), (Stream::ERROR, 1)]),
        ];
        let whole = Outputs { output: Output::Elsewhere(blocks), file: outputs.clone(), temporary: true };
        assert_eq!(whole.read(Stream::OUTPUT).expect("whole"), b"abdef");
        assert_eq!(whole.read(Stream::ERROR).expect("whole"), b"!");
        outputs.get().expect("written").write_all_at(b"X", 4).expect("room");
        let error = whole.read(Stream::OUTPUT).expect_err("damaged");
        assert!(error.to_string().contains("damaged at octet 3"), "{error}");
        whole.forget();
        let mut octets = [7; 7];
        outputs.get().expect("there").read_exact_at(&mut octets, 0).expect("there");
        assert_eq!(octets, [0; 7], "the blocks are given back");
    }
}
