//! The values of the tasks, and the thread that turns them into tasks as fast as the job takes them.

use super::files::Files;
use super::{Hear, Heard, Refused};
use crate::cli::LimitArgs;
use crate::exit::{Code, Failure};
use crate::jobs::book::{Book, input_of, values_of};
use crate::template::{self, Template};
use rserpool::Time;
use rserpool_compute::journal::{Entry, TaskSet};
use rserpool_compute::work::NAME_MAX;
use rserpool_compute::{Command, DurableJob, TaskId, Work};
use rserpool_net::Handle;
use rserpool_net::pool::JSON;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

/// The longest value on standard input, in octets: the kernel takes no longer argument.
const VALUE_MAX: usize = 128 * 1024;

/// Most tasks handed in at a time.
const PORTION: usize = 256;

/// What makes work of values, the same in every life of the client.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The command.
    pub template: Template,
    /// Where the tasks run, if the workers are on this machine and ours.
    pub directory: Option<PathBuf>,
    /// What they take along and leave.
    pub files: Files,
    /// How far each may go.
    pub limits: LimitArgs,
    /// It is a function, not a program.
    pub call: bool,
}

impl Recipe {
    /// The command and its arguments.
    pub fn arguments(&self, values: &[OsString]) -> Vec<OsString> {
        self.template.fill(values)
    }

    /// Fails, for people, if one of its files cannot be read.
    fn work(&self, values: &[OsString]) -> Result<Work, String> {
        let arguments = self.arguments(values).into_iter().map(OsString::into_vec);
        if self.call {
            return call(arguments.collect());
        }
        let directory = self.directory.clone().map(|path| path.into_os_string().into_vec());
        let mut command = Command {
            directory,
            time_max: self.limits.timeout.map(Duration::from_secs),
            memory_max: self.limits.memory,
            nice: self.limits.nice,
            ..Command::new(arguments)
        };
        self.files.dress(values, &mut command)?;
        Ok(command.into())
    }
}

/// The call of a function: its name, then its input in JSON; several words are a list. The built-in `echo` takes words as
/// they are.
fn call(mut words: Vec<Vec<u8>>) -> Result<Work, String> {
    let name = words.remove(0);
    if name == b"echo" {
        let mut line = words.join(&b' ');
        line.push(b'\n');
        return Ok(Work::Echo(line));
    }
    let name = String::from_utf8(name).map_err(|_| "the name of a function is a text in UTF-8")?;
    let function = name + JSON;
    if function.len() > NAME_MAX {
        return Err(format!("the name of a function has at most {} octets", NAME_MAX - JSON.len()));
    }
    let input = match &mut words[..] {
        [one] => std::mem::take(one),
        several => [b"[".to_vec(), several.join(&b','), b"]".to_vec()].concat(),
    };
    Ok(Work::Call { function, input })
}

/// What a job had before this life of its client.
pub struct Former {
    /// Its journal.
    pub book: Arc<Book>,
    /// Tasks that are over and to be done once more.
    pub retried: TaskSet,
}

/// Where tasks come from after those of former lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// From the command line, or from standard input if it has none.
    Values,
    /// From nowhere: the input had ended.
    Nothing,
    /// From nowhere, although the input had not ended.
    Missing,
}

/// Everything the input thread needs.
pub struct Input {
    /// Makes work of values.
    pub recipe: Recipe,
    /// All values there are, those of former lives included; none: they come from standard input.
    pub sources: Vec<Vec<OsString>>,
    /// Values on standard input end with NUL.
    pub nul: bool,
    /// Tasks of former lives.
    pub former: Option<Former>,
    /// And then.
    pub rest: Rest,
    /// The job.
    pub handle: Handle<DurableJob>,
    /// Told when a job that was full has room again.
    pub has_room: Receiver<()>,
    /// The main thread.
    pub hear: Hear,
}

/// A task on its way in: its number and its values.
type Coming = (u64, Vec<OsString>);

impl Input {
    /// Submits everything. Ends early if the job or the main thread has ended.
    pub fn run(mut self) {
        let submitted = self.former().and_then(|last| self.rest(last));
        match submitted {
            Err(Stop::Trouble(failure)) => drop(self.hear.send(Heard::InputEnded(Err(failure)))),
            Err(Stop::Nobody) => {}
            Ok(count) => {
                // The total first: the last event of the job may follow at once.
                let _ = self.hear.send(Heard::InputEnded(Ok(count)));
                let complete = self.rest != Rest::Missing;
                let end =
                    move |job: &mut DurableJob, now| if complete { job.finish(now) } else { job.pause(now) };
                let _ = self.handle.post_blocking(end);
            }
        }
    }

    /// Hands in again what is not over, and tells results that were not printed. Returns the number of the last task.
    fn former(&mut self) -> Result<u64, Stop> {
        let Some(former) = self.former.take() else { return Ok(0) };
        let state = &former.book.state;
        let mut ends = 0;
        let mut unprinted: BTreeMap<u64, Vec<OsString>> = BTreeMap::new();
        let mut portion = Vec::new();
        let mut stopped = Ok(());
        let mut each = |entry: Entry| -> Result<(), Stop> {
            match entry {
                Entry::Task { task, input } => {
                    let values = values_of(&input);
                    if state.printed < state.ends {
                        unprinted.insert(task.0, values.clone());
                    }
                    if !state.over.contains(task) || former.retried.contains(task) {
                        portion.push((task.0, values));
                        if portion.len() == PORTION {
                            self.again(std::mem::take(&mut portion), &former.retried)?;
                        }
                    }
                }
                Entry::Accepted(_) | Entry::Failed { .. } => {
                    ends += 1;
                    if ends > state.printed {
                        let values = entry.task().and_then(|task| unprinted.get(&task.0)).cloned();
                        let former = Heard::Former(ends - 1, values.unwrap_or_default(), Box::new(entry));
                        self.hear.send(former).map_err(|_| Stop::Nobody)?;
                    }
                }
                _ => {}
            }
            Ok(())
        };
        former
            .book
            .entries(|entry| match each(entry) {
                Ok(()) => ControlFlow::Continue(()),
                Err(stop) => {
                    stopped = Err(stop);
                    ControlFlow::Break(())
                }
            })
            .map_err(Stop::Trouble)?;
        stopped?;
        self.again(portion, &former.retried)?;
        Ok(state.last.map_or(0, |last| last.0))
    }

    /// Hands in what comes after the tasks up to this number. Returns how many there are in all.
    fn rest(&self, last: u64) -> Result<u64, Stop> {
        let mut count = last;
        if self.rest != Rest::Values {
            return Ok(count);
        }
        if self.sources.is_empty() {
            self.lines(&mut count)?;
        } else {
            let mut all =
                template::combinations(&self.sources).skip(usize::try_from(last).unwrap_or(usize::MAX));
            loop {
                let portion: Vec<_> = all.by_ref().take(PORTION).collect();
                if portion.is_empty() {
                    break;
                }
                self.submit(portion, &mut count)?;
            }
        }
        Ok(count)
    }

    fn lines(&self, count: &mut u64) -> Result<(), Stop> {
        let end = if self.nul { 0 } else { b'\n' };
        let mut stdin = io::BufReader::with_capacity(64 * 1024, io::stdin().lock());
        loop {
            let mut portion = Vec::new();
            let ended = loop {
                match next_value(&mut stdin, end) {
                    Ok(Some(value)) => portion.push(vec![OsString::from_vec(value)]),
                    Ok(None) => break Ok(true),
                    Err(cause) => break Err(cause),
                }
                // What is there already goes together; nobody waits for what is not.
                if portion.len() == PORTION || !stdin.buffer().contains(&end) {
                    break Ok(false);
                }
            };
            let read = *count + portion.len() as u64;
            self.submit(portion, count)?;
            match ended {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(cause) => {
                    let message = format!("cannot read value {} from standard input: {cause}", read + 1);
                    return Err(Stop::Trouble(Failure::new(Code::Usage, message)));
                }
            }
        }
    }

    /// Hands in new tasks.
    fn submit(&self, portion: Vec<Vec<OsString>>, count: &mut u64) -> Result<(), Stop> {
        let numbered: Vec<Coming> = (*count + 1..).zip(portion).collect();
        *count += numbered.len() as u64;
        self.hand_in(numbered, |job, now, task, input, work| job.submit(now, task, input, work))
    }

    /// Hands in tasks of a former life.
    fn again(&self, portion: Vec<Coming>, retried: &TaskSet) -> Result<(), Stop> {
        let once_more: Vec<_> =
            portion.iter().map(|(task, _)| TaskId(*task)).filter(|task| retried.contains(*task)).collect();
        let retry = move |job: &mut DurableJob, now| {
            for task in once_more {
                job.retry(now, task);
            }
        };
        self.handle.post_blocking(retry).map_err(|_| Stop::Nobody)?;
        self.hand_in(portion, |job, now, task, _, work| job.again(now, task, work))
    }

    fn hand_in(
        &self,
        portion: Vec<Coming>,
        how: impl Fn(&mut DurableJob, Time, TaskId, &[u8], &Work) -> Result<(), Refused> + Copy + Send + 'static,
    ) -> Result<(), Stop> {
        if portion.is_empty() {
            return Ok(());
        }
        let made = |(task, values): &Coming| match self.recipe.work(values) {
            Ok(work) => Ok((TaskId(*task), input_of(values), work)),
            Err(why) => {
                let message = format!("task {task} cannot be submitted: {why}");
                Err(Stop::Trouble(Failure::new(Code::Usage, message)))
            }
        };
        let mut left = portion.iter().map(made).collect::<Result<Vec<_>, _>>()?;
        // The main thread knows tasks before it can hear of them.
        self.hear.send(Heard::Submitted(portion)).map_err(|_| Stop::Nobody)?;
        loop {
            let hand_in = move |job: &mut DurableJob, now| {
                for (taken, (task, input, work)) in left.iter().enumerate() {
                    if let Err(refused) = how(job, now, *task, input, work) {
                        return (left.split_off(taken), Some(refused));
                    }
                }
                (Vec::new(), None)
            };
            let (rest, refused) = self.handle.ask_blocking(hand_in).map_err(|_| Stop::Nobody)?;
            match refused {
                None => return Ok(()),
                Some(Refused::Full) => self.has_room.recv().map_err(|_| Stop::Nobody)?,
                Some(Refused::Finished) => return Err(Stop::Nobody),
                Some(error) => {
                    let task = rest.first().map(|(task, ..)| task.0).unwrap_or_default();
                    let message = format!("task {task} cannot be submitted: {error}");
                    return Err(Stop::Trouble(Failure::new(Code::Usage, message)));
                }
            }
            left = rest;
        }
    }
}

/// All values on standard input.
pub fn all_values(nul: bool) -> Result<Vec<OsString>, Failure> {
    let end = if nul { 0 } else { b'\n' };
    let mut stdin = io::stdin().lock();
    let mut values = Vec::new();
    loop {
        match next_value(&mut stdin, end) {
            Ok(Some(value)) => values.push(OsString::from_vec(value)),
            Ok(None) => return Ok(values),
            Err(cause) => {
                let number = values.len() + 1;
                let message = format!("cannot read value {number} from standard input: {cause}");
                return Err(Failure::new(Code::Usage, message));
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
    if value.contains(&0) {
        return Err(io::Error::other("it contains a zero octet, which no argument can"));
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

    #[test]
    fn a_value_no_argument_can_be_is_refused() {
        assert!(next_value(&mut &b"a\0b\n"[..], b'\n').is_err());
    }
}
