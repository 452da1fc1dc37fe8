//! `rsp explain`: why a job or a task waits or failed, with the evidence, and what to do next.
//!
//! The past is in the journal, the present in what the job's owner said last. What is told is found once, as the document of
//! `--json`; people get the same in sentences.

use super::book::{Book, values_of};
use super::commands::{ends, job_and_task, must_have, print, word};
use crate::cli::ExplainArgs;
use crate::exit::{Code, Failure};
use crate::process;
use crate::run::{arguments, has_sources, template_of};
use crate::template;
use rserpool_compute::journal::{Accepted, Entry};
use rserpool_compute::{Stream, TaskId};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Lines of standard error shown.
const TAIL: usize = 10;

/// Reasons of failures told apart.
const REASONS_MAX: usize = 20;

/// `rsp explain JOB[/TASK]`.
pub fn explain(args: &ExplainArgs) -> Result<Code, Failure> {
    let (folder, task) = job_and_task(&args.job)?;
    let book = Book::read(folder)?;
    let present = present(&book);
    let document = match task {
        None => job(&book, present)?,
        Some(task) => one(&book, task, present)?,
    };
    let text = if args.json { document.to_string() } else { sentences(&document) };
    print(&text)?;
    Ok(Code::Done)
}

/// What the owner said last; null without an owner.
fn present(book: &Book) -> Value {
    if book.folder.owner().is_none() {
        return Value::Null;
    }
    let said = std::fs::read(book.folder.status()).ok();
    said.and_then(|octets| serde_json::from_slice(&octets).ok()).unwrap_or(Value::Null)
}

/// Schema `rsp.explanation/1`, of a job.
fn job(book: &Book, present: Value) -> Result<Value, Failure> {
    let state = &book.state;
    let name = &book.folder.name;
    let owner = book.folder.owner();
    let state_word = word(state, owner.is_some());
    let mut reasons: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    ends(book, None, |_, _, entry| {
        let why = match &entry {
            Entry::Accepted(accepted) if accepted.status.is_success() => return Ok(()),
            Entry::Accepted(accepted) => accepted.status.to_string(),
            Entry::Failed { why, .. } => why.clone(),
            _ => return Ok(()),
        };
        let task = entry.task().unwrap_or_default().0;
        if reasons.len() < REASONS_MAX || reasons.contains_key(&why) {
            reasons.entry(why).or_default().push(task);
        }
        Ok(())
    })?;
    let failures: Vec<Value> = reasons
        .iter()
        .map(|(why, tasks)| json!({ "why": why, "tasks": tasks.len(), "for_example": tasks.first() }))
        .collect();
    let first = reasons.values().flatten().min();
    let (why, next) = match state_word {
        "running" => waiting(&present, name),
        "stopped" if !state.input_ended && state.unfinished() == 0 && !has_values(book) => (
            format!("its input had not ended after {} tasks, and all of those are done", state.submitted),
            format!("give the rest: rsp resume {name} --stdin"),
        ),
        "stopped" => {
            let why =
                format!("nobody works on it: its client ended before it was over: {}", book.folder.ended());
            (why, format!("rsp resume {name}"))
        }
        "failed" => (
            "some of its tasks failed".into(),
            first.map_or(String::new(), |task| format!("rsp explain {name}/{task}; rsp retry {name}")),
        ),
        "cancelled" => ("somebody cancelled it".into(), "run it anew with rsp run".into()),
        _ => ("every task is done".into(), format!("rsp job results {name}")),
    };
    Ok(json!({
        "schema": "rsp.explanation/1",
        "name": name,
        "job": book.job.to_string(),
        "task": null,
        "state": state_word,
        "owner": owner.map(|owner| json!({ "pid": owner.pid, "host": owner.host })),
        "tasks": state.submitted,
        "input_ended": state.input_ended,
        "done": state.over.len(),
        "failed": state.unsuccessful.len() + state.failed.len(),
        "left": state.unfinished(),
        "failures": failures,
        "present": present,
        "why": why,
        "next": next,
    }))
}

/// Whether its values are in the journal, whether they became tasks already or not.
fn has_values(book: &Book) -> bool {
    arguments(book).is_ok_and(|run| has_sources(&run))
}

/// Why a job that is worked on has tasks that wait, and what to do.
fn waiting(present: &Value, name: &str) -> (String, String) {
    let number = |field: &str| present[field].as_u64().unwrap_or_default();
    let workers = present["workers"].as_array().map_or(0, Vec::len);
    let slots: u64 = present["workers"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|worker| worker["slots"].as_u64())
        .sum();
    if present.is_null() {
        return ("its owner has not said anything of the present yet".into(), format!("rsp explain {name}"));
    }
    match (present["why"].as_str(), number("running"), number("waiting")) {
        (Some(why), ..) => (
            format!("{why}, so nothing can run"),
            "start a worker: rsp worker, with --registrar and --pool of the job, and with --resource or --tag if its tasks \
             need any; see rsp pool ls"
                .into(),
        ),
        (None, 0, waiting) if waiting > 0 && workers > 0 => (
            format!(
                "{waiting} tasks wait: the {slots} slots of its {workers} workers are busy with other jobs"
            ),
            "start another worker (rsp worker), or wait".into(),
        ),
        (None, 0, waiting) if waiting > 0 => {
            (format!("{waiting} tasks wait for the first worker"), "see rsp pool ls".into())
        }
        (None, running, waiting) if waiting > 0 => (
            format!(
                "{running} tasks run in {slots} slots of {workers} workers, and {waiting} wait for a free one"
            ),
            "more workers would make it faster: rsp worker".into(),
        ),
        (None, running, _) => (format!("{running} tasks run on {workers} workers"), "wait".into()),
    }
}

/// Schema `rsp.explanation/1`, of a task.
fn one(book: &Book, task: TaskId, present: Value) -> Result<Value, Failure> {
    must_have(book, Some(task))?;
    let state = &book.state;
    let name = &book.folder.name;
    let mut input = Vec::new();
    let mut lost = Vec::new();
    let mut retries = 0;
    book.entries(|entry| {
        match entry {
            Entry::Task { task: of, input: its } if of == task => input = its,
            Entry::Lost { attempt, worker } if attempt.task == task => {
                lost.push(json!({ "attempt": attempt.number, "worker": worker.to_string() }));
            }
            Entry::Retry { task: of } if of == task => retries += 1,
            _ => {}
        }
        ControlFlow::Continue(())
    })?;
    let values = values_of(&input);
    let words = template_of(&arguments(book)?).fill(&values);
    let mut end = None;
    ends(book, Some(task), |_, _, entry| {
        end = Some(entry);
        Ok(())
    })?;
    let is_owned = book.folder.owner().is_some();
    let running: Vec<Value> = present["executions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|execution| execution["task"].as_u64() == Some(task.0))
        .cloned()
        .collect();
    let mut document = json!({
        "schema": "rsp.explanation/1",
        "name": name,
        "job": book.job.to_string(),
        "task": task.0,
        "values": values.iter().map(|value| value.to_string_lossy()).collect::<Vec<_>>(),
        "command": template::for_shell(&words),
        "retries": retries,
        "lost": lost,
        "running": running,
    });
    let died = if lost.is_empty() {
        String::new()
    } else {
        format!("; {} executions before did not count", lost.len())
    };
    let (task_state, why, next) = match end {
        Some(Entry::Accepted(accepted)) => {
            let next = if accepted.status.is_success() {
                format!("rsp job results {name}/{task}")
            } else {
                format!("try it here: {}; then rsp retry {name}", template::for_shell(&words))
            };
            let told = format!(
                "{}, after {:.3} s on worker {}{died}",
                accepted.status,
                accepted.span as f64 / 1e3,
                accepted.worker
            );
            document["attempt"] = accepted.attempt.number.into();
            document["worker"] = accepted.worker.to_string().into();
            document["ran"] = (accepted.span as f64 / 1e3).into();
            document["stderr_tail"] = tail(book, &accepted).into();
            (if accepted.status.is_success() { "done" } else { "failed" }, told, next)
        }
        Some(Entry::Failed { why, .. }) => {
            let next = format!("mend that, then rsp retry {name}");
            ("given up", format!("{why}{died}"), next)
        }
        _ if state.cancelled.contains(task) || state.all_cancelled => {
            ("cancelled", "it was cancelled before it was over".into(), String::new())
        }
        _ if !is_owned => (
            "waiting",
            format!(
                "nobody works on the job: its client ended before it was over: {}{died}",
                book.folder.ended()
            ),
            format!("rsp resume {name}"),
        ),
        _ if !running.is_empty() => {
            let (worker, since) = (running[0]["worker"].as_str(), running[0]["since"].as_str());
            let told = format!(
                "it runs on worker {} since {}{died}",
                worker.unwrap_or_default(),
                since.unwrap_or_default()
            );
            ("running", told, "wait; should it hang, rsp job cancel ends the job".into())
        }
        _ => {
            let (why, next) = waiting(&present, name);
            ("waiting", format!("{why}{died}"), next)
        }
    };
    document["state"] = task_state.into();
    document["why"] = why.into();
    document["next"] = next.into();
    document["workers"] = present["workers"].clone();
    document["gone"] = present["gone"].clone();
    document["time"] = process::iso(process::wall_millis()).into();
    Ok(document)
}

/// The last lines of what it wrote on standard error.
fn tail(book: &Book, accepted: &Accepted) -> Vec<String> {
    let octets = match book.outputs_of(accepted.output.clone()).read(Stream::ERROR) {
        Ok(octets) => octets,
        Err(cause) => return vec![format!("(rsp: {cause})")],
    };
    let text = String::from_utf8_lossy(&octets);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].iter().map(|line| (*line).to_owned()).collect()
}

/// The document for people.
fn sentences(document: &Value) -> String {
    let text = |field: &str| document[field].as_str().unwrap_or_default();
    let number = |field: &str| document[field].as_u64().unwrap_or_default();
    let list = |field: &str| document[field].as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    if document["task"].is_null() {
        let more = if document["input_ended"] == false { " so far" } else { "" };
        lines.push(format!(
            "job {} is {}: {} of {}{more} tasks are done, {} failed, {} left",
            text("name"),
            text("state"),
            number("done"),
            number("tasks"),
            number("failed"),
            number("left")
        ));
        lines.push(format!("why: {}", text("why")));
        for failure in list("failures") {
            lines.push(format!(
                "  {} tasks: {} (task {}, for example)",
                failure["tasks"],
                failure["why"].as_str().unwrap_or_default(),
                failure["for_example"]
            ));
        }
        workers(&document["present"], &mut lines);
    } else {
        lines.push(format!("task {} of job {} is {}", document["task"], text("name"), text("state")));
        lines.push(format!("command: {}", text("command")));
        lines.push(format!("why: {}", text("why")));
        for lost in list("lost") {
            let worker = lost["worker"].as_str().unwrap_or_default();
            // Which of these it was is not in the journal.
            lines.push(format!(
                "  attempt {} on worker {worker} did not count: lost with its worker, failed and tried again, or overtaken",
                lost["attempt"]
            ));
        }
        let tail = list("stderr_tail");
        if !tail.is_empty() {
            lines.push("its last words on standard error:".into());
            lines.extend(tail.iter().map(|line| format!("  {}", line.as_str().unwrap_or_default())));
        }
        if matches!(text("state"), "waiting" | "running") {
            workers(document, &mut lines);
        }
    }
    if !text("next").is_empty() {
        lines.push(format!("next: {}", text("next")));
    }
    lines.join("\n")
}

fn workers(document: &Value, lines: &mut Vec<String>) {
    for worker in document["workers"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  worker {} ({}) has {} slots",
            worker["id"].as_str().unwrap_or_default(),
            worker["name"].as_str().unwrap_or_default(),
            worker["slots"]
        ));
    }
    for gone in document["gone"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  worker {} is gone: {}",
            gone["id"].as_str().unwrap_or_default(),
            gone["why"].as_str().unwrap_or_default()
        ));
    }
}
