//! `rsp job …`: looking at jobs, cancelling and removing them.

use super::book::{Book, values_of};
use super::folder::{Folder, host};
use crate::cli::JobCommand;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_print, say};
use crate::run::{Finished, arguments, document, template_of};
use crate::template;
use comfy_table::{ContentArrangement, Table, presets};
use rserpool_compute::journal::{Entry, State, TaskSet};
use rserpool_compute::{Stream, TaskId};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Duration;

/// How long the client of a job may take to cancel it: a sync, and some words to its workers.
const ANSWER: Duration = Duration::from_secs(10);

/// Characters of a command in the list of jobs.
const COMMAND_MAX: usize = 60;

/// `rsp job …`.
pub fn run(command: &JobCommand) -> Result<Code, Failure> {
    match command {
        JobCommand::Ls { json } => list(*json),
        JobCommand::Show { job, json } => show(job, *json),
        JobCommand::Cancel { job } => cancel(job),
        JobCommand::Logs { job } => logs(job),
        JobCommand::Results { job, json } => results(job, *json),
        JobCommand::Rm { jobs, finished } => remove(jobs, *finished),
    }
}

/// In one word, how a job is.
pub fn word(state: &State, is_owned: bool) -> &'static str {
    match state {
        _ if state.all_cancelled => "cancelled",
        _ if is_owned => "running",
        _ if !state.is_finished() => "stopped",
        _ if state.failed.is_empty() && state.unsuccessful.is_empty() => "done",
        _ => "failed",
    }
}

/// Schema `rsp.job/1`.
fn job_document(book: &Book) -> Value {
    let state = &book.state;
    let owner = book.folder.owner();
    let times = state.times.map(|(first, last)| (process::iso(first), process::iso(last)));
    json!({
        "schema": "rsp.job/1",
        "name": book.folder.name,
        "job": book.job.to_string(),
        "state": word(state, owner.is_some()),
        "owner": owner.map(|owner| json!({ "pid": owner.pid, "host": owner.host })),
        "begun": times.as_ref().map(|(first, _)| first),
        "resumed": times.as_ref().map(|(_, last)| last),
        "lives": state.lives,
        "tasks": state.submitted,
        "input_ended": state.input_ended,
        "done": state.over.len(),
        "succeeded": state.succeeded(),
        "failed": state.unsuccessful.len() + state.failed.len(),
        "left": state.unfinished(),
        "printed": state.printed,
        "words": texts(&book.about.words),
        "directory": book.about.directory.to_string_lossy(),
        "folder": book.folder.path.to_string_lossy(),
    })
}

fn texts(words: &[OsString]) -> Vec<String> {
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
}

fn list(as_json: bool) -> Result<Code, Failure> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["JOB", "STATE", "DONE", "FAILED", "BEGUN", "COMMAND"]);
    let folders = Folder::all()?;
    let mut code = Code::Done;
    let mut rows = 0;
    for folder in folders {
        // One that cannot be read is said so, and hides no other. That one is just beginning is no failure.
        let is_beginning = folder.is_beginning();
        let book = match Book::read(folder) {
            Ok(book) => book,
            Err(failure) => {
                say(format!("rsp: {failure}"));
                code = if is_beginning { code } else { Code::Failed };
                continue;
            }
        };
        if as_json {
            print(&job_document(&book).to_string())?;
            continue;
        }
        rows += 1;
        let state = &book.state;
        let of =
            if state.input_ended { state.submitted.to_string() } else { format!("{}+", state.submitted) };
        let (command, _) = arguments(&book).map(|args| template::split(args.words)).unwrap_or_default();
        table.add_row([
            book.folder.name.clone(),
            word(state, book.folder.owner().is_some()).to_owned(),
            format!("{}/{of}", state.over.len()),
            (state.unsuccessful.len() + state.failed.len()).to_string(),
            state.times.map_or(String::new(), |(first, _)| process::iso(first)),
            shortened(&template::display(&command)),
        ]);
    }
    if rows > 0 {
        print(&table.trim_fmt())?;
    } else if !as_json {
        say("there is no job yet; `rsp run` makes one");
    }
    Ok(code)
}

fn shortened(command: &str) -> String {
    match command.char_indices().nth(COMMAND_MAX) {
        Some((end, _)) => format!("{}…", &command[..end]),
        None => command.to_owned(),
    }
}

fn show(job: &str, as_json: bool) -> Result<Code, Failure> {
    let book = Book::read(Folder::find(job)?)?;
    if as_json {
        print(&job_document(&book).to_string())?;
        return Ok(Code::Done);
    }
    let state = &book.state;
    let owner = book.folder.owner();
    let mut lines = vec![
        ("job", format!("{} ({})", book.folder.name, book.job)),
        ("state", word(state, owner.is_some()).to_owned()),
    ];
    if let Some(owner) = owner {
        lines.push(("owner", format!("process {} on {}", owner.pid, owner.host)));
    }
    if let Some((first, last)) = state.times {
        lines.push(("begun", process::iso(first)));
        if state.lives > 1 {
            lines.push(("resumed", format!("{} (life {})", process::iso(last), state.lives)));
        }
    }
    let more = if state.input_ended { "" } else { ", and more to come: its input had not ended" };
    lines.push(("tasks", format!("{}{more}", state.submitted)));
    let (failed, given_up) = (state.unsuccessful.len(), state.failed.len());
    lines.push((
        "done",
        format!(
            "{} ({} with success, {failed} with failure, {given_up} given up, {} cancelled)",
            state.over.len(),
            state.succeeded(),
            state.cancelled.len()
        ),
    ));
    lines.push(("left", state.unfinished().to_string()));
    lines.push(("command", template::for_shell(&book.about.words)));
    lines.push(("in", book.about.directory.display().to_string()));
    lines.push(("kept in", book.folder.path.display().to_string()));
    let text: Vec<_> = lines.iter().map(|(name, value)| format!("{name:8} {value}")).collect();
    print(&text.join("\n"))?;
    Ok(Code::Done)
}

/// A job, or one task of it.
pub fn job_and_task(text: &str) -> Result<(Folder, Option<TaskId>), Failure> {
    let Some((job, task)) = text.split_once('/') else { return Ok((Folder::find(text)?, None)) };
    match task.parse() {
        Ok(task) => Ok((Folder::find(job)?, Some(TaskId(task)))),
        Err(_) => Err(Failure::new(Code::Usage, format!("'{task}' in '{text}' is no number of a task"))),
    }
}

/// Fails if the job has no such task.
pub fn must_have(book: &Book, task: Option<TaskId>) -> Result<(), Failure> {
    let (Some(task), name, last) = (task, &book.folder.name, book.state.last) else { return Ok(()) };
    // They are numbered from 1, without gaps.
    if task.0 > 0 && last.is_some_and(|last| task <= last) {
        return Ok(());
    }
    let message = match last {
        Some(last) => format!("job '{name}' has no task {task}; its tasks are 1 to {last} so far"),
        None => format!("job '{name}' has no task yet"),
    };
    Err(Failure::new(Code::Usage, message))
}

/// Tells the last end of each task that is over, with its values, in the order of the journal.
pub fn ends(
    book: &Book,
    only: Option<TaskId>,
    mut each: impl FnMut(u64, Vec<u8>, Entry) -> io::Result<()>,
) -> Result<(), Failure> {
    let state = &book.state;
    let wanted = |task: TaskId| only.is_none_or(|only| only == task);
    let mut inputs: BTreeMap<TaskId, Vec<u8>> = BTreeMap::new();
    let mut retries: BTreeMap<TaskId, u32> = BTreeMap::new();
    let mut told = TaskSet::default();
    let mut index = 0;
    let mut outcome = Ok(());
    book.entries(|entry| {
        let Some(task) = entry.task().filter(|task| wanted(*task)) else {
            return ControlFlow::Continue(());
        };
        match entry {
            Entry::Task { input, .. } if state.over.contains(task) => drop(inputs.insert(task, input)),
            Entry::Retry { .. } => *retries.entry(task).or_default() += 1,
            Entry::Accepted(_) | Entry::Failed { .. } => {
                // Only what was not tried again counts, and only the first of that.
                if retries.get(&task) == state.retries.get(&task)
                    && state.over.contains(task)
                    && told.insert(task)
                {
                    outcome = each(index, inputs.remove(&task).unwrap_or_default(), entry);
                }
                index += 1;
            }
            _ => {}
        }
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    outcome.map_err(|cause| cannot_print(&cause))
}

fn results(job: &str, as_json: bool) -> Result<Code, Failure> {
    let (folder, task) = job_and_task(job)?;
    let book = Book::read(folder)?;
    must_have(&book, task)?;
    let template = template_of(&arguments(&book)?);
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    ends(&book, task, |index, input, entry| {
        let Entry::Accepted(accepted) = &entry else { return Ok(()) };
        if as_json {
            let values = values_of(&input);
            let arguments = template.fill(&values);
            let finished = Finished::of(index, arguments, values, entry, |output| book.outputs_of(output));
            writeln!(stdout, "{}", document(book.job, &finished)?)
        } else {
            book.outputs_of(accepted.output.clone()).copy(Stream::OUTPUT, &mut stdout)
        }
    })?;
    stdout.flush().map_err(|cause| cannot_print(&cause))?;
    Ok(Code::Done)
}

fn logs(job: &str) -> Result<Code, Failure> {
    let (folder, task) = job_and_task(job)?;
    let book = Book::read(folder)?;
    must_have(&book, task)?;
    let mut stdout = io::BufWriter::new(io::stdout().lock());
    ends(&book, task, |_, _, entry| match entry {
        Entry::Accepted(accepted) => {
            let octets = book.outputs_of(accepted.output).read(Stream::ERROR)?;
            if task.is_some() {
                return stdout.write_all(&octets);
            }
            let text = String::from_utf8_lossy(&octets);
            text.lines().try_for_each(|line| writeln!(stdout, "{}: {line}", accepted.attempt.task))
        }
        Entry::Failed { task, why, .. } => writeln!(stdout, "{task}: rsp: {why}"),
        _ => Ok(()),
    })?;
    stdout.flush().map_err(|cause| cannot_print(&cause))?;
    Ok(Code::Done)
}

/// Cancels a job: asks its owner, or does it where there is none.
fn cancel(job: &str) -> Result<Code, Failure> {
    let folder = Folder::find(job)?;
    let name = folder.name.clone();
    let cannot =
        |cause: io::Error| Failure::new(Code::Failed, format!("cannot cancel job '{name}': {cause}"));
    loop {
        let owner = match folder.own().map_err(cannot)? {
            Ok(_owner) => return cancel_alone(folder),
            Err(owner) => owner,
        };
        if owner.host != host() {
            let message = format!(
                "job '{name}' belongs to process {} on {}; cancel it there: rsp job cancel {name}",
                owner.pid, owner.host
            );
            return Err(Failure::new(Code::Owned, message));
        }
        // Its number might be somebody else's by now: so the process is held first, then asked for once more.
        let pid = i32::try_from(owner.pid).ok().and_then(Pid::from_raw);
        let Some(held) = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        if folder.owner().as_ref() != Some(&owner) {
            continue;
        }
        rustix::process::pidfd_send_signal(&held, Signal::USR1).map_err(|errno| cannot(errno.into()))?;
        if !folder.wait_for_owner(ANSWER).map_err(cannot)? {
            let (pid, seconds) = (owner.pid, ANSWER.as_secs());
            let message = format!(
                "process {pid}, which works on job '{name}', does not answer within {seconds} s: let it go on (kill -CONT \
                 {pid}) or end it (kill -KILL {pid}), then cancel again: rsp job cancel {name}"
            );
            return Err(Failure::new(Code::Owned, message));
        }
        // It may have ended by itself a moment before, or a new owner came: then once more.
    }
}

fn cancel_alone(folder: Folder) -> Result<Code, Failure> {
    let name = folder.name.clone();
    let mut book = Book::read(folder)?;
    let state = &book.state;
    if state.all_cancelled {
        say(format!("job {name} is cancelled; {} of {} tasks were done", state.over.len(), state.submitted));
        return Ok(Code::Done);
    }
    if state.is_finished() {
        say(format!("job {name} was over already: {} tasks are done", state.over.len()));
        return Ok(Code::Done);
    }
    let cannot =
        |cause: io::Error| Failure::new(Code::CannotWrite, format!("cannot cancel job '{name}': {cause}"));
    let mut octets = Vec::new();
    book.writer.put(&Entry::CancelAll, &mut octets);
    let mut journal = OpenOptions::new().append(true).open(book.folder.journal()).map_err(cannot)?;
    journal.set_len(book.good).map_err(cannot)?;
    journal.write_all(&octets).map_err(cannot)?;
    journal.sync_data().map_err(cannot)?;
    say(format!("job {name} is cancelled; {} of {} tasks were done", state.over.len(), state.submitted));
    Ok(Code::Done)
}

fn remove(jobs: &[String], finished: bool) -> Result<Code, Failure> {
    if jobs.is_empty() && !finished {
        return Err(Failure::new(Code::Usage, "which jobs? name them, or say --finished"));
    }
    let folders: Vec<Folder> = match finished {
        false => jobs.iter().map(|job| Folder::find(job)).collect::<Result<_, _>>()?,
        true => {
            let is_over = |folder: &Folder| {
                let book = Book::read(folder.clone());
                book.is_ok_and(|book| {
                    matches!(word(&book.state, folder.owner().is_some()), "done" | "cancelled")
                })
            };
            Folder::all()?.into_iter().filter(is_over).collect()
        }
    };
    for folder in folders {
        let _owner = folder.own_or_refuse()?;
        remove_all_of(&folder)?;
    }
    for folder in if finished { Folder::leftovers()? } else { Vec::new() } {
        // Somebody may have begun a job of that name meanwhile.
        if let Ok(Ok(_owner)) = folder.own()
            && !folder.has_begun()
        {
            remove_all_of(&folder)?;
        }
    }
    Ok(Code::Done)
}

fn remove_all_of(folder: &Folder) -> Result<(), Failure> {
    folder.remove().map_err(|cause| {
        Failure::new(Code::CannotWrite, format!("cannot remove {}: {cause}", folder.path.display()))
    })
}

pub fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(|cause| cannot_print(&cause))
}
