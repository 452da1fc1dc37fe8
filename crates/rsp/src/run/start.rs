//! How work on a job begins: anew, or where a former client left it.

use super::input::{Former, Rest};
use super::work;
use crate::cli::{Cli, Command, ResumeArgs, RetryArgs, RunArgs};
use crate::exit::{Code, Failure};
use crate::jobs::book::{About, Book};
use crate::jobs::disk::{Disk, OutputsFile};
use crate::jobs::folder::{Fixed, Folder, Ownership};
use crate::process::say;
use clap::Parser;
use rserpool_compute::journal::{Entry, TaskSet};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// What a life of a client begins with.
pub struct Start {
    /// The job's name, if it has a journal.
    pub name: Option<String>,
    /// The folder of a new job, until it has begun.
    pub unbegun: Unbegun,
    /// Where it is kept, likewise.
    pub folder: Option<Folder>,
    /// Lives as long as we work on the job.
    pub owner: Option<Ownership>,
    /// What the journal's header says.
    pub about: About,
    /// What happened in former lives.
    pub former: Option<Former>,
    /// What comes besides.
    pub rest: Rest,
    /// Where octets go.
    pub disk: Disk,
    /// Where large outputs are read.
    pub outputs: OutputsFile,
    /// How long they are.
    pub outputs_length: u64,
    /// Where to say how things are.
    pub status: Option<PathBuf>,
}

/// The folder of a new job. Of one that cannot begin nothing stays: it would be a job nobody can read, and `last`.
pub struct Unbegun(Option<Folder>);

impl Unbegun {
    /// It has begun: the folder stays.
    pub fn begun(mut self) {
        self.0 = None;
    }
}

impl Drop for Unbegun {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = folder.remove();
        }
    }
}

impl Start {
    /// A new job.
    pub fn new(args: &RunArgs, program: &OsStr, fixed: &Fixed) -> Result<Self, Failure> {
        let outputs = OutputsFile::default();
        let mut start = Self {
            name: None,
            folder: None,
            unbegun: Unbegun(None),
            owner: None,
            about: About::default(),
            former: None,
            rest: Rest::Values,
            disk: Disk::Nowhere { outputs: outputs.clone(), length: 0 },
            outputs,
            outputs_length: 0,
            status: None,
        };
        if args.no_journal {
            return Ok(start);
        }
        let folder = Folder::create(args.name.as_deref(), program)?;
        let cannot = |cause: io::Error| {
            let message = format!(
                "cannot keep the job in {}: {cause}; set RSP_STATE_DIR to another folder, or use --no-journal",
                folder.path.display()
            );
            Failure::new(Code::CannotWrite, message)
        };
        let (owner, journal, file) = folder.begin(fixed).map_err(cannot)?;
        start.unbegun = Unbegun(Some(folder.clone()));
        let _ = start.outputs.set(file);
        start.about = About {
            words: std::env::args_os().collect(),
            directory: std::env::current_dir().map_err(cannot)?,
            registrar: std::env::var("RSP_REGISTRAR").ok(),
        };
        start.disk = Disk::Journal { journal, outputs: start.outputs.clone(), length: 0 };
        start.owner = Some(owner);
        start.status = Some(folder.status());
        say(format!("job {}", folder.name));
        start.name = Some(folder.name.clone());
        start.folder = Some(folder);
        Ok(start)
    }

    /// The journal is written on behind what counts of it.
    fn again(owner: Ownership, former: Former, rest: Rest) -> Result<Self, Failure> {
        let book = &former.book;
        let folder = &book.folder;
        let cannot = |cause: io::Error| {
            Failure::new(Code::CannotWrite, format!("cannot write in {}: {cause}", folder.path.display()))
        };
        let journal = OpenOptions::new().append(true).open(folder.journal()).map_err(cannot)?;
        let behind = journal.metadata().map_err(cannot)?.len().saturating_sub(book.good);
        if behind > 0 {
            say(format!(
                "the journal of job {} can be read up to octet {}: {behind} octets behind that, of a write that was broken \
                 off or of a damage, do not count",
                folder.name, book.good
            ));
        }
        journal.set_len(book.good).map_err(cannot)?;
        let outputs = book.outputs.clone();
        if outputs.get().is_none() {
            let mut new = OpenOptions::new();
            let file = new.read(true).write(true).create(true).truncate(false).open(folder.outputs());
            let _ = outputs.set(file.map_err(cannot)?);
        }
        let file = outputs.get().expect("set above");
        let length = file.metadata().map_err(cannot)?.len();
        folder.ends(None);
        Ok(Self {
            name: Some(folder.name.clone()),
            folder: Some(folder.clone()),
            unbegun: Unbegun(None),
            owner: Some(owner),
            about: book.about.clone(),
            rest,
            disk: Disk::Journal { journal, outputs: outputs.clone(), length },
            outputs,
            outputs_length: length,
            status: Some(folder.status()),
            former: Some(former),
        })
    }
}

impl Former {
    /// The tasks that are still to be printed: those that end in this life, and those that were not printed in a former
    /// one. In their order.
    pub fn to_be_printed(&self) -> BTreeSet<u64> {
        let state = &self.book.state;
        let mut tasks = BTreeSet::new();
        let mut ends = 0;
        // It was read a moment ago; should it fail now, whoever reads it next says so.
        let _ = self.book.entries(|entry| {
            match &entry {
                Entry::Task { task, .. } if !state.over.contains(*task) || self.retried.contains(*task) => {
                    tasks.insert(task.0);
                }
                Entry::Accepted(_) | Entry::Failed { .. } => {
                    ends += 1;
                    if ends > state.printed {
                        tasks.extend(entry.task().map(|task| task.0));
                    }
                }
                _ => {}
            }
            ControlFlow::Continue(())
        });
        tasks
    }
}

/// Goes on with a job.
pub fn resume(args: &ResumeArgs) -> Result<Code, Failure> {
    let (owner, book) = own(&args.job)?;
    let run = changed(args, &book)?;
    what_is_left(args, &run, owner, book)
}

/// The command line the job was begun with, and what is said now.
fn changed(args: &ResumeArgs, book: &Book) -> Result<RunArgs, Failure> {
    let mut run = arguments(book)?;
    args.change(&mut run);
    if args.stdin && has_sources(&run) {
        let name = &book.folder.name;
        let message = format!(
            "the values of job '{name}' are on its command line, so nothing is read from standard input; go on with \
             `rsp resume {name}`"
        );
        return Err(Failure::new(Code::Usage, message));
    }
    Ok(run)
}

/// Does what is not over, and prints what is not printed.
fn what_is_left(args: &ResumeArgs, run: &RunArgs, owner: Ownership, book: Book) -> Result<Code, Failure> {
    let name = book.folder.name.clone();
    let state = &book.state;
    let rest = if state.input_ended {
        Rest::Nothing
    } else if has_sources(run) || args.stdin {
        Rest::Values
    } else {
        let tail = if run.null { "tail -z" } else { "tail" };
        let last = last_value(&book)?;
        say(match &last {
            Some((number, value)) => format!(
                "the input of job '{name}' had not ended: the last value it has is number {number}, '{value}'; to go on \
                 behind it: {tail} -n +{} FILE | rsp resume {name} --stdin",
                number + 1
            ),
            None => format!(
                "the input of job '{name}' had not ended, and it has no value yet; to give it: \
                 rsp resume {name} --stdin < FILE"
            ),
        });
        Rest::Missing
    };
    if args.stdin && state.input_ended {
        let message = format!("the input of job '{name}' had ended, so nothing is read from standard input");
        return Err(Failure::new(Code::Usage, message));
    }
    let left = state.unfinished();
    if left == 0 && rest != Rest::Values && state.printed >= state.ends {
        return Ok(nothing_left(&book, rest));
    }
    say(format!("job {name}: {} of {} tasks are done, {left} are left", state.over.len(), state.submitted));
    go_on(run, owner, book, TaskSet::default(), rest)
}

/// Has failed tasks done once more.
pub fn retry(args: &RetryArgs) -> Result<Code, Failure> {
    let (owner, book) = own(&args.resume.job)?;
    let name = &book.folder.name;
    let run = changed(&args.resume, &book)?;
    let state = &book.state;
    let mut retried = state.failed.clone();
    for task in state.unsuccessful.iter() {
        retried.insert(task);
    }
    if retried.is_empty() {
        say(format!("no task of job {name} has failed"));
        if state.is_finished() && state.printed >= state.ends {
            return Ok(Code::Done);
        }
        return what_is_left(&args.resume, &run, owner, book);
    }
    say(format!("job {name}: {} of {} tasks are tried again", retried.len(), state.submitted));
    let has_sources = has_sources(&run);
    let rest = match (state.input_ended, has_sources || args.resume.stdin) {
        (true, _) => Rest::Nothing,
        (false, true) => Rest::Values,
        (false, false) => Rest::Missing,
    };
    go_on(&run, owner, book, retried, rest)
}

fn go_on(run: &RunArgs, owner: Ownership, book: Book, retried: TaskSet, rest: Rest) -> Result<Code, Failure> {
    let directory = &book.about.directory;
    std::env::set_current_dir(directory).map_err(|cause| {
        let message = format!("cannot go to {}, where the job was begun: {cause}", directory.display());
        Failure::new(Code::Usage, message)
    })?;
    let book = Arc::new(book);
    let former = Former { book: book.clone(), retried };
    work(run, rest, Some(&book), |fixed| {
        // Who has tasks tried again may have mended what they failed by.
        if former.retried.is_empty() {
            book.folder.check_shared(&fixed.shared)?;
        } else if !fixed.shared.is_empty() {
            book.folder.renew_shared(&fixed.shared)?;
        }
        Start::again(owner, former, rest)
    })
}

/// Becomes the owner of a job that is not cancelled, and reads its journal.
fn own(job: &str) -> Result<(Ownership, Book), Failure> {
    let folder = Folder::find(job)?;
    let owner = folder.own_or_refuse()?;
    let book = Book::read(folder)?;
    if book.state.all_cancelled {
        let message = format!("job '{}' is cancelled; run it anew with `rsp run`", book.folder.name);
        return Err(Failure::new(Code::Cancelled, message));
    }
    Ok((owner, book))
}

/// The command line the job was begun with.
pub fn arguments(book: &Book) -> Result<RunArgs, Failure> {
    let name = &book.folder.name;
    match Cli::try_parse_from(&book.about.words).map(|cli| cli.command) {
        Ok(Command::Run(args)) => Ok(args),
        _ => {
            let message =
                format!("job '{name}' was begun by a command line this program does not understand");
            Err(Failure::new(Code::Usage, message))
        }
    }
}

/// Whether the values are on the command line.
pub fn has_sources(run: &RunArgs) -> bool {
    run.words.iter().any(|word| word == ":::") || !run.each.is_empty()
}

/// The last value a job has, and its number.
fn last_value(book: &Book) -> Result<Option<(u64, String)>, Failure> {
    let mut last = None;
    book.entries(|entry| {
        if let Entry::Task { task, input } = entry {
            last = Some((task.0, input));
        }
        ControlFlow::Continue(())
    })?;
    Ok(last.map(|(number, input)| (number, String::from_utf8_lossy(&input).into_owned())))
}

/// Everything is done and printed.
fn nothing_left(book: &Book, rest: Rest) -> Code {
    let (name, state) = (&book.folder.name, &book.state);
    let failed = state.unsuccessful.len() + state.failed.len();
    say(format!(
        "job {name}: nothing is left to do, {} tasks are done, {failed} of them failed; see `rsp job results {name}`",
        state.over.len()
    ));
    match (rest, failed) {
        (Rest::Missing, _) => Code::InputMissing,
        (_, 0) => Code::Done,
        _ => Code::Failed,
    }
}
