//! Results on their way out: in the order of completion or of the values, as octets or as JSON.

use crate::jobs::disk::Outputs;
use crate::template;
use base64::prelude::{BASE64_STANDARD, Engine};
use rserpool::ElementId;
use rserpool_compute::journal::{Accepted, Entry, Output};
use rserpool_compute::{JobId, Status, Stream};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

/// A task that is over.
#[derive(Debug)]
pub struct Finished {
    /// The how-manieth end in the journal, over all lives, from 0.
    pub index: u64,
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
    /// Its output files.
    pub landed: Vec<PathBuf>,
}

impl Finished {
    /// What an entry of the journal tells of a task. Only results and failures end one.
    pub fn of(
        index: u64,
        arguments: Vec<OsString>,
        values: Vec<OsString>,
        entry: Entry,
        outputs: impl FnOnce(Output) -> Outputs,
    ) -> Self {
        let task = entry.task().unwrap_or_default().0;
        let of = |status, attempts, worker, millis: u64, outputs| Self {
            index,
            task,
            values,
            arguments,
            status,
            attempts,
            worker,
            seconds: millis as f64 / 1000.0,
            outputs,
            landed: Vec::new(),
        };
        match entry {
            Entry::Accepted(a) => {
                let Accepted { starts, time, worker, status, output, .. } = *a;
                of(Ok(status), starts, Some(worker), time, outputs(output))
            }
            Entry::Failed { starts, why, .. } => of(Err(why), starts, None, 0, Outputs::default()),
            _ => of(Err("it has not ended".into()), 0, None, 0, Outputs::default()),
        }
    }

    /// True if it did what it should.
    pub fn is_success(&self) -> bool {
        self.status.as_ref().is_ok_and(Status::is_success)
    }

    /// One line for people: `task 7 (./x 7): exit status 3`.
    pub fn complaint(&self) -> String {
        let how = match &self.status {
            Ok(status) => in_words(status),
            Err(why) => why.clone(),
        };
        format!("task {} ({}): {how}", self.task, template::display(&self.arguments))
    }
}

/// How an execution ended, and by which of our options if one ended it.
pub fn in_words(status: &Status) -> String {
    match status {
        Status::TimedOut => format!("{status} (--timeout)"),
        Status::OverMemory { .. } => format!("{status} (--memory)"),
        _ => status.to_string(),
    }
}

/// Writes results to standard output and error.
pub struct Printer {
    job: JobId,
    json: bool,
    /// With `--keep-order`: whose turn it is, and those that wait for theirs.
    order: Option<(Turns, BTreeMap<u64, Finished>)>,
    printed: Printed,
}

/// In which order tasks are printed.
struct Turns {
    /// Tasks of former lives, in their order.
    former: VecDeque<u64>,
    /// Then all from this on.
    next: u64,
}

impl Turns {
    fn now(&self) -> u64 {
        self.former.front().copied().unwrap_or(self.next)
    }

    fn go_on(&mut self) {
        if self.former.pop_front().is_none() {
            self.next += 1;
        }
    }
}

/// How far printing has come: the first `count` ends of the journal, and some later ones.
#[derive(Debug, Default)]
struct Printed {
    count: u64,
    later: BTreeSet<u64>,
}

impl Printed {
    fn note(&mut self, index: u64) {
        if index >= self.count {
            self.later.insert(index);
        }
        while self.later.remove(&self.count) {
            self.count += 1;
        }
    }
}

impl Printer {
    /// A printer for this job. `printed`: so many of the first ends were printed in former lives. `former`: the tasks of
    /// former lives that are to be printed still; new ones begin at `next`.
    pub fn new(
        job: JobId,
        json: bool,
        keep_order: bool,
        printed: u64,
        former: impl IntoIterator<Item = u64>,
        next: u64,
    ) -> Self {
        let turns = || Turns { former: former.into_iter().collect(), next };
        let order = keep_order.then(|| (turns(), BTreeMap::new()));
        Self { job, json, order, printed: Printed { count: printed, later: BTreeSet::new() } }
    }

    /// So many of the first ends of the journal are printed.
    pub fn printed(&self) -> u64 {
        self.printed.count
    }

    /// Prints a task, or keeps it until its turn. Fails if standard output takes no more.
    pub fn finished(&mut self, finished: Finished) -> io::Result<()> {
        let Some((turns, waiting)) = &mut self.order else {
            return print(self.job, self.json, finished, &mut self.printed);
        };
        waiting.insert(finished.task, finished);
        while let Some(finished) = waiting.remove(&turns.now()) {
            turns.go_on();
            print(self.job, self.json, finished, &mut self.printed)?;
        }
        Ok(())
    }

    /// Prints what still waits for a turn that never comes, because the job ended early.
    pub fn flush(&mut self) -> io::Result<()> {
        if let Some((_, waiting)) = &mut self.order {
            for finished in std::mem::take(waiting).into_values() {
                print(self.job, self.json, finished, &mut self.printed)?;
            }
        }
        io::stdout().flush()
    }
}

fn print(job: JobId, as_json: bool, finished: Finished, printed: &mut Printed) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    if as_json {
        let document = document(job, &finished)?;
        writeln!(stdout, "{document}")?;
    } else {
        finished.outputs.copy(Stream::OUTPUT, &mut stdout)?;
        // Nobody reading our complaints is no reason to lose results.
        let _ = finished.outputs.copy(Stream::ERROR, &mut io::stderr().lock());
    }
    stdout.flush()?;
    finished.outputs.forget();
    printed.note(finished.index);
    Ok(())
}

/// Schema `rsp.task/1`, see `docs/json.md`.
pub fn document(job: JobId, finished: &Finished) -> io::Result<Value> {
    let texts = |all: &[OsString]| -> Vec<String> {
        all.iter().map(|one| one.to_string_lossy().into_owned()).collect()
    };
    let (status, exit_code, signal, error) = match &finished.status {
        Ok(Status::Exited(0)) => ("ok", Some(0), None, None),
        Ok(Status::Exited(code)) => ("exit", Some(*code), None, None),
        Ok(Status::Signalled(signal)) => ("signal", None, Some(*signal), None),
        Ok(Status::Incomplete(why)) => ("no-output", Some(0), None, Some(why.clone())),
        Ok(Status::TimedOut) => ("timeout", None, None, None),
        Ok(over @ Status::OverMemory { .. }) => ("memory", None, None, Some(over.to_string())),
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
        "outputs": finished.landed.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "seconds": (finished.seconds * 1e6).round() / 1e6,
    });
    let (stdout, stderr) = (finished.outputs.read(Stream::OUTPUT)?, finished.outputs.read(Stream::ERROR)?);
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
            index: 0,
            task: 7,
            values: vec!["7".into()],
            arguments: vec!["./x".into(), "7".into()],
            status,
            attempts: 2,
            worker: Some(ElementId(0xc0ffee)),
            seconds: 1.5,
            outputs: Outputs::default(),
            landed: vec!["out/7/x".into()],
        }
    }

    #[test]
    fn every_status_has_its_word() {
        let job = JobId([0xab; 16]);
        for (status, word) in [
            (Ok(Status::Exited(0)), "ok"),
            (Ok(Status::Exited(3)), "exit"),
            (Ok(Status::Signalled(9)), "signal"),
            (Ok(Status::OverMemory { limit: 2 << 30 }), "memory"),
            (Ok(Status::TimedOut), "timeout"),
            (Ok(Status::CouldNotStart("x".into())), "not-started"),
            (Ok(Status::Incomplete("no x".into())), "no-output"),
            (Err("5 workers died".into()), "lost"),
        ] {
            let is_success = matches!(status, Ok(Status::Exited(0)));
            let finished = finished(status);
            assert_eq!(finished.is_success(), is_success);
            let document = document(job, &finished).expect("memory");
            assert_eq!(document["status"], word);
            assert_eq!(document["schema"], "rsp.task/1");
            assert_eq!(document["worker"], "00c0ffee");
            assert_eq!(document["stdout"], "");
            assert_eq!(document["outputs"][0], "out/7/x");
        }
        let mut printed = Printed { count: 3, later: BTreeSet::new() };
        for (index, count) in [(5, 3), (2, 3), (3, 4), (4, 6), (7, 6), (6, 8)] {
            printed.note(index);
            assert_eq!(printed.count, count);
        }
        let mut fields = Map::new();
        put_output(&mut fields, "stdout", b"f\xff".to_vec());
        assert_eq!(fields["stdout_base64"], "Zv8=");
        assert_eq!(finished(Ok(Status::Exited(3))).complaint(), "task 7 (./x 7): exit status 3");
    }
}
