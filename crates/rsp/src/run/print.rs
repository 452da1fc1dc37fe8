//! Results on their way out: in the order of completion or of the values, as octets or as JSON.

use super::spool::Outputs;
use crate::template;
use base64::prelude::{BASE64_STANDARD, Engine};
use rserpool::ElementId;
use rserpool_compute::{JobId, Status};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};

/// A task that is over.
#[derive(Debug)]
pub struct Finished {
    /// Counted from 1 in the order of the values.
    pub task: u64,
    /// The values it was made from.
    pub values: Vec<OsString>,
    /// The command and its arguments.
    pub arguments: Vec<OsString>,
    /// How it ended; `Err`: it was given up, for this reason.
    pub status: Result<Status, String>,
    /// Executions begun.
    pub attempts: u32,
    /// Who computed the accepted result.
    pub worker: Option<ElementId>,
    /// Since the start of the job.
    pub seconds: f64,
    /// What it put out.
    pub outputs: Outputs,
}

impl Finished {
    /// True if it did what it should.
    pub fn is_success(&self) -> bool {
        self.status.as_ref().is_ok_and(Status::is_success)
    }

    /// One line for people: `task 7 (./x 7): exit status 3`.
    pub fn complaint(&self) -> String {
        let how = match &self.status {
            Ok(status) => status.to_string(),
            Err(why) => why.clone(),
        };
        format!("task {} ({}): {how}", self.task, template::display(&self.arguments))
    }
}

/// Writes results to standard output and error.
pub struct Printer {
    job: JobId,
    json: bool,
    /// With `--keep-order`: the next task to print, and those that wait for it.
    waiting: Option<(u64, BTreeMap<u64, Finished>)>,
}

impl Printer {
    /// A printer for this job.
    pub fn new(job: JobId, json: bool, keep_order: bool) -> Self {
        Self { job, json, waiting: keep_order.then(|| (1, BTreeMap::new())) }
    }

    /// Prints a task, or keeps it until its turn. Fails if standard output takes no more.
    pub fn finished(&mut self, finished: Finished) -> io::Result<()> {
        let Some((next, waiting)) = &mut self.waiting else { return print(self.job, self.json, finished) };
        waiting.insert(finished.task, finished);
        while let Some(finished) = waiting.remove(next) {
            *next += 1;
            print(self.job, self.json, finished)?;
        }
        Ok(())
    }

    /// Prints what still waits for a turn that never comes, because the job ended early.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some((_, waiting)) = &mut self.waiting {
            for finished in std::mem::take(waiting).into_values() {
                print(self.job, self.json, finished)?;
            }
        }
        io::stdout().flush()
    }
}

fn print(job: JobId, as_json: bool, mut finished: Finished) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if as_json {
        let document = document(job, &mut finished)?;
        writeln!(stdout, "{document}")?;
    } else {
        finished.outputs.copy_stdout(&mut stdout)?;
        // Nobody reading our complaints is no reason to lose results.
        let _ = finished.outputs.copy_stderr(&mut io::stderr().lock());
    }
    stdout.flush()
}

/// Schema `rsp.task/1`, see `docs/json.md`.
fn document(job: JobId, finished: &mut Finished) -> io::Result<Value> {
    let texts = |all: &[OsString]| -> Vec<String> {
        all.iter().map(|one| one.to_string_lossy().into_owned()).collect()
    };
    let (status, exit_code, signal, error) = match &finished.status {
        Ok(Status::Exited(0)) => ("ok", Some(0), None, None),
        Ok(Status::Exited(code)) => ("exit", Some(*code), None, None),
        Ok(Status::Signalled(signal)) => ("signal", None, Some(*signal), None),
        Ok(Status::TimedOut) => ("timeout", None, None, None),
        Ok(Status::Cancelled) => ("cancelled", None, None, None),
        Ok(other) => ("not-started", None, None, Some(other.to_string())),
        Err(why) => ("lost", None, None, Some(why.clone())),
    };
    let mut document = json!({
        "schema": "rsp.task/1",
        "job": job.to_string(),
        "task": finished.task,
        "values": texts(&finished.values),
        "argv": texts(&finished.arguments),
        "status": status,
        "exit_code": exit_code,
        "signal": signal,
        "error": error,
        "attempts": finished.attempts,
        "worker": finished.worker.map(|worker| worker.to_string()),
        "seconds": (finished.seconds * 1e6).round() / 1e6,
    });
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    finished.outputs.copy_stdout(&mut stdout)?;
    finished.outputs.copy_stderr(&mut stderr)?;
    let fields = document.as_object_mut().expect("made as an object above");
    put_output(fields, "stdout", stdout);
    put_output(fields, "stderr", stderr);
    Ok(document)
}

fn put_output(fields: &mut Map<String, Value>, name: &str, octets: Vec<u8>) {
    match String::from_utf8(octets) {
        Ok(text) => fields.insert(name.into(), text.into()),
        Err(error) => {
            fields.insert(format!("{name}_base64"), BASE64_STANDARD.encode(error.as_bytes()).into())
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(status: Result<Status, String>) -> Finished {
        Finished {
            task: 7,
            values: vec!["7".into()],
            arguments: vec!["./x".into(), "7".into()],
            status,
            attempts: 2,
            worker: Some(ElementId(0xc0ffee)),
            seconds: 1.5,
            outputs: Outputs::default(),
        }
    }

    #[test]
    fn every_status_has_its_word() {
        let job = JobId([0xab; 16]);
        for (status, word) in [
            (Ok(Status::Exited(0)), "ok"),
            (Ok(Status::Exited(3)), "exit"),
            (Ok(Status::Signalled(9)), "signal"),
            (Ok(Status::CouldNotStart("x".into())), "not-started"),
            (Err("5 workers died".into()), "lost"),
        ] {
            let is_success = matches!(status, Ok(Status::Exited(0)));
            let mut finished = finished(status);
            assert_eq!(finished.is_success(), is_success);
            let document = document(job, &mut finished).expect("memory");
            assert_eq!(document["status"], word);
            assert_eq!(document["schema"], "rsp.task/1");
            assert_eq!(document["worker"], "00c0ffee");
            assert_eq!(document["stdout"], "");
        }
        let mut fields = Map::new();
        put_output(&mut fields, "stdout", b"f\xff".to_vec());
        assert_eq!(fields["stdout_base64"], "Zv8=");
        assert_eq!(finished(Ok(Status::Exited(3))).complaint(), "task 7 (./x 7): exit status 3");
    }
}
