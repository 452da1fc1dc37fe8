//! What attempts put out, kept apart until one of them is accepted.
//!
//! Small outputs stay in memory, larger ones go to temporary files without a name, so that nothing is left behind
//! however we end.

use rserpool_compute::{Attempt, Stream};
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, Write};
use tempfile::SpooledTempFile;

/// Octets of one output that stay in memory.
const IN_MEMORY: usize = 64 * 1024;

/// The two outputs of one attempt.
#[derive(Debug, Default)]
pub struct Outputs {
    stdout: Option<SpooledTempFile>,
    stderr: Option<SpooledTempFile>,
}

impl Outputs {
    fn write(&mut self, stream: Stream, octets: &[u8]) -> io::Result<()> {
        let file = if stream == Stream::ERROR { &mut self.stderr } else { &mut self.stdout };
        file.get_or_insert_with(|| SpooledTempFile::new(IN_MEMORY)).write_all(octets)
    }

    /// Copies what was written to standard output.
    pub fn copy_stdout(&mut self, to: &mut impl Write) -> io::Result<()> {
        copy(&mut self.stdout, to)
    }

    /// Copies what was written to standard error.
    pub fn copy_stderr(&mut self, to: &mut impl Write) -> io::Result<()> {
        copy(&mut self.stderr, to)
    }
}

fn copy(file: &mut Option<SpooledTempFile>, to: &mut impl Write) -> io::Result<()> {
    let Some(file) = file else { return Ok(()) };
    file.rewind()?;
    let mut portion = vec![0; IN_MEMORY];
    loop {
        match file.read(&mut portion)? {
            0 => return Ok(()),
            count => to.write_all(&portion[..count])?,
        }
    }
}

/// The outputs of all attempts that are not decided.
#[derive(Debug, Default)]
pub struct Spool {
    attempts: BTreeMap<Attempt, Outputs>,
}

impl Spool {
    /// Keeps a piece of output.
    pub fn write(&mut self, attempt: Attempt, stream: Stream, octets: &[u8]) -> io::Result<()> {
        self.attempts.entry(attempt).or_default().write(stream, octets)
    }

    /// Takes what an attempt put out; nothing, if it was silent.
    pub fn take(&mut self, attempt: Attempt) -> Outputs {
        self.attempts.remove(&attempt).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool_compute::TaskId;

    fn attempt(number: u32) -> Attempt {
        Attempt { task: TaskId(1), number }
    }

    #[test]
    fn outputs_of_attempts_and_streams_stay_apart_and_whole() {
        let mut spool = Spool::default();
        let large = vec![7; 3 * IN_MEMORY + 1];
        spool.write(attempt(1), Stream::OUTPUT, b"dead").expect("memory");
        spool.write(attempt(2), Stream::OUTPUT, b"a").expect("memory");
        spool.write(attempt(2), Stream::ERROR, b"e").expect("memory");
        spool.write(attempt(2), Stream::OUTPUT, &large).expect("disk");
        let mut taken = spool.take(attempt(2));
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        taken.copy_stdout(&mut stdout).expect("readable");
        taken.copy_stderr(&mut stderr).expect("readable");
        assert_eq!(stdout, [&b"a"[..], &large].concat());
        assert_eq!(stderr, b"e");
        let mut again = Vec::new();
        spool.take(attempt(2)).copy_stdout(&mut again).expect("nothing");
        assert!(again.is_empty());
    }
}
