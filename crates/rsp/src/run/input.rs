//! The values of the tasks, and the thread that turns them into tasks as fast as the job takes them.

use super::{Hear, Heard, Refused};
use crate::exit::{Code, Failure};
use crate::template::{self, Template};
use rserpool_compute::{Command, Job, TaskId, Work};
use rserpool_net::Handle;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

/// The longest value on standard input, in octets: the kernel takes no longer argument.
const VALUE_MAX: usize = 128 * 1024;

/// What a task was made from.
#[derive(Clone, Debug, Default)]
pub struct Submission {
    /// Its values.
    pub values: Vec<OsString>,
    /// Its command and arguments.
    pub arguments: Vec<OsString>,
}

/// Everything the input thread needs.
pub struct Input {
    /// The command.
    pub template: Template,
    /// The values behind `:::`; none: they come from standard input.
    pub sources: Vec<Vec<OsString>>,
    /// Values on standard input end with NUL.
    pub nul: bool,
    /// Where the tasks run, if the workers are on this machine and ours.
    pub directory: Option<PathBuf>,
    /// The job.
    pub handle: Handle<Job>,
    /// Told when a job that was full has room again.
    pub has_room: Receiver<()>,
    /// The main thread.
    pub hear: Hear,
}

impl Input {
    /// Submits everything. Ends early if the job or the main thread has ended.
    pub fn run(self) {
        let mut count = 0;
        let submitted = if self.sources.is_empty() {
            self.lines(&mut count)
        } else {
            template::combinations(&self.sources).try_for_each(|values| self.submit(values, &mut count))
        };
        if let Err(Stop::Trouble(failure)) = submitted {
            let _ = self.hear.send(Heard::InputEnded(Err(failure)));
        } else {
            // The total first: the last event of the job may follow at once.
            let _ = self.hear.send(Heard::InputEnded(Ok(count)));
            let _ = self.handle.post_blocking(|job, now| job.finish(now));
        }
    }

    fn lines(&self, count: &mut u64) -> Result<(), Stop> {
        let end = if self.nul { 0 } else { b'\n' };
        let mut stdin = io::stdin().lock();
        loop {
            match next_value(&mut stdin, end) {
                Ok(Some(value)) => self.submit(vec![OsString::from_vec(value)], count)?,
                Ok(None) => return Ok(()),
                Err(cause) => {
                    let message = format!("cannot read value {} from standard input: {cause}", *count + 1);
                    return Err(Stop::Trouble(Failure::new(Code::Usage, message)));
                }
            }
        }
    }

    fn submit(&self, values: Vec<OsString>, count: &mut u64) -> Result<(), Stop> {
        *count += 1;
        let task = *count;
        let arguments = self.template.fill(&values);
        let directory = self.directory.clone().map(|path| path.into_os_string().into_vec());
        let command = Command {
            directory,
            ..Command::new(arguments.iter().map(|argument| argument.clone().into_vec()))
        };
        let work = Work::Command(Box::new(command));
        // The main thread knows a task before it can hear of it.
        let submission = Submission { values, arguments };
        self.hear.send(Heard::Submitted(task, submission)).map_err(|_| Stop::Nobody)?;
        loop {
            let again = work.clone();
            let taken = self.handle.ask_blocking(move |job, now| job.submit(now, TaskId(task), &again));
            match taken.map_err(|_| Stop::Nobody)? {
                Ok(()) => return Ok(()),
                Err(Refused::Full) => self.has_room.recv().map_err(|_| Stop::Nobody)?,
                Err(Refused::Finished) => return Err(Stop::Nobody),
                Err(error) => {
                    let message = format!("task {task} cannot be submitted: {error}");
                    return Err(Stop::Trouble(Failure::new(Code::Usage, message)));
                }
            }
        }
    }
}

/// Why the input ends early.
enum Stop {
    /// Nobody takes tasks any more.
    Nobody,
    /// Something to tell the user.
    Trouble(Failure),
}

/// The next value, without the octet that ends it. A last value without that octet counts unless it is empty.
fn next_value(from: &mut impl BufRead, end: u8) -> io::Result<Option<Vec<u8>>> {
    let mut value = Vec::new();
    let read = io::Read::take(&mut *from, VALUE_MAX as u64 + 1).read_until(end, &mut value)?;
    if read == 0 {
        return Ok(None);
    }
    if value.last() == Some(&end) {
        value.pop();
    } else if read > VALUE_MAX {
        return Err(io::Error::other(format!("it is longer than {VALUE_MAX} octets")));
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &[u8], end: u8) -> Vec<Vec<u8>> {
        let mut from = text;
        std::iter::from_fn(|| next_value(&mut from, end).expect("memory")).collect()
    }

    #[test]
    fn values_end_with_newline_or_nul_and_the_last_may_do_without() {
        assert_eq!(values(b"a\nb c\n", b'\n'), [b"a".to_vec(), b"b c".to_vec()]);
        assert_eq!(values(b"a\n\nb", b'\n'), [b"a".to_vec(), b"".to_vec(), b"b".to_vec()]);
        assert_eq!(values(b"a\nb\0c\xff\0", 0), [b"a\nb".to_vec(), b"c\xff".to_vec()]);
        assert!(values(b"", b'\n').is_empty());
    }

    #[test]
    fn a_value_without_end_is_refused_before_memory_is_full() {
        let endless = vec![b'x'; VALUE_MAX + 10];
        assert!(next_value(&mut &endless[..], b'\n').is_err());
        assert_eq!(values(&endless[..VALUE_MAX], b'\n').len(), 1);
    }
}
