//! A job's journal, read from the disk.

use super::disk::{Outputs, OutputsFile};
use super::folder::Folder;
use crate::exit::{Code, Failure};
use base64::prelude::{BASE64_STANDARD, Engine};
use rserpool_compute::JobId;
use rserpool_compute::journal::{Entry, JournalError, Output, Reader, State, Writer};
use serde_json::{Value, json};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// How much is read at a time.
const PORTION: usize = 256 * 1024;

/// What stands in the journal's header: how the job was begun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// The words of the command line, the program's name first.
    pub words: Vec<OsString>,
    /// Where it was said.
    pub directory: PathBuf,
    /// What `RSP_REGISTRAR` was.
    pub registrar: Option<String>,
}

impl About {
    /// As it stands in the header.
    pub fn emit(&self) -> Vec<u8> {
        let words: Vec<Value> = self.words.iter().map(|word| text(word)).collect();
        let document = json!({
            "schema": "rsp.about/1",
            "words": words,
            "directory": text(self.directory.as_os_str()),
            "registrar": self.registrar,
        });
        document.to_string().into_bytes()
    }

    /// What the header says; `None` if it is of another kind.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        let document: Value = serde_json::from_slice(octets).ok()?;
        if document["schema"] != "rsp.about/1" {
            return None;
        }
        Some(Self {
            words: document["words"].as_array()?.iter().map(word).collect::<Option<_>>()?,
            directory: word(&document["directory"])?.into(),
            registrar: document["registrar"].as_str().map(str::to_owned),
        })
    }
}

/// Text, or what is none as `{"base64": …}`.
fn text(word: &OsStr) -> Value {
    match word.to_str() {
        Some(text) => text.into(),
        None => json!({ "base64": BASE64_STANDARD.encode(word.as_bytes()) }),
    }
}

fn word(value: &Value) -> Option<OsString> {
    match value.as_str() {
        Some(text) => Some(text.into()),
        None => Some(OsString::from_vec(BASE64_STANDARD.decode(value["base64"].as_str()?).ok()?)),
    }
}

/// What a journal comes to.
pub struct Book {
    /// Where it is.
    pub folder: Folder,
    /// The job.
    pub job: JobId,
    /// How it was begun.
    pub about: About,
    /// What happened so far.
    pub state: State,
    /// How much of the file counts, and how to write on behind that.
    pub good: u64,
    /// Writes on there.
    pub writer: Writer,
    /// The outputs that are not in the journal.
    pub outputs: OutputsFile,
}

impl Book {
    /// Reads a journal to its end.
    pub fn read(folder: Folder) -> Result<Self, Failure> {
        if folder.is_beginning() {
            let message = format!(
                "job '{}' has just begun, and nothing is known of it yet; ask again in a moment",
                folder.name
            );
            return Err(Failure::new(Code::Failed, message));
        }
        let mut state = State::default();
        let reader = walk(&folder, |entry| {
            state.apply(&entry);
            ControlFlow::Continue(())
        })?;
        let mut reader = reader;
        let cannot = |error: JournalError| refused(&folder, &error.to_string());
        let Some((job, about)) = reader.header().map_err(cannot)? else {
            let why =
                format!("{}: its client ended before the job began, so run it anew", JournalError::Empty);
            return Err(refused(&folder, &why));
        };
        let Some(about) = About::parse(about) else {
            return Err(refused(&folder, "its header is of another version"));
        };
        let outputs = OutputsFile::default();
        if let Ok(file) = File::options().read(true).write(true).open(folder.outputs()) {
            let _ = outputs.set(file);
        }
        let (good, writer) = (reader.good(), reader.writer());
        Ok(Self { job, about, state, good, writer, outputs, folder })
    }

    /// Reads it once more, entry by entry, as far as it counted.
    pub fn entries(&self, mut each: impl FnMut(Entry) -> ControlFlow<()>) -> Result<(), Failure> {
        let mut left = self.good;
        // What was written behind it meanwhile is another reading's.
        walk_to(&self.folder, &mut left, &mut each).map(drop)
    }

    /// The values of all tasks, in their order.
    pub fn values(&self) -> Result<Vec<Vec<OsString>>, Failure> {
        let mut all = Vec::new();
        self.entries(|entry| {
            if let Entry::Task { input, .. } = entry {
                all.push(values_of(&input));
            }
            ControlFlow::Continue(())
        })?;
        Ok(all)
    }

    /// Where this output is to be read.
    pub fn outputs_of(&self, output: Output) -> Outputs {
        Outputs { output, file: self.outputs.clone(), temporary: false }
    }
}

fn refused(folder: &Folder, why: &str) -> Failure {
    let message = format!("cannot read {}: {why}", folder.journal().display());
    Failure::new(Code::Failed, message)
}

fn walk(folder: &Folder, mut each: impl FnMut(Entry) -> ControlFlow<()>) -> Result<Reader, Failure> {
    walk_to(folder, &mut u64::MAX.clone(), &mut each)
}

fn walk_to(
    folder: &Folder,
    left: &mut u64,
    each: &mut impl FnMut(Entry) -> ControlFlow<()>,
) -> Result<Reader, Failure> {
    let cannot = |cause: io::Error| refused(folder, &cause.to_string());
    let mut file = File::open(folder.journal()).map_err(cannot)?;
    let mut reader = Reader::default();
    let mut portion = vec![0; PORTION];
    loop {
        let room = portion.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let count = match file.read(&mut portion[..room]) {
            Ok(0) => return Ok(reader),
            Ok(count) => count,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(cannot(cause)),
        };
        *left -= count as u64;
        reader.push(&portion[..count]);
        while let Some(entry) = reader.entry().map_err(|error| refused(folder, &error.to_string()))? {
            if each(entry).is_break() {
                return Ok(reader);
            }
        }
    }
}

/// The values of a task as its input stands in the journal: one, or several with NUL between.
pub fn values_of(input: &[u8]) -> Vec<OsString> {
    input.split(|&octet| octet == 0).map(|value| OsStr::from_bytes(value).to_owned()).collect()
}

/// The other way round. No value contains NUL: no argument can.
pub fn input_of(values: &[OsString]) -> Vec<u8> {
    let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
    values.join(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_job_is_about_survives_whatever_its_octets() {
        let about = About {
            words: vec!["rsp".into(), "run".into(), OsString::from_vec(b"\xff\n".to_vec())],
            directory: "/tmp/x y".into(),
            registrar: Some("10.0.0.1".into()),
        };
        assert_eq!(About::parse(&about.emit()), Some(about));
        assert_eq!(About::parse(&About::default().emit()), Some(About::default()));
        assert_eq!(About::parse(b"{}"), None);
    }

    #[test]
    fn values_survive_as_they_are() {
        for values in [vec![""], vec!["a b"], vec!["a", "", "b\n"]] {
            let values: Vec<OsString> = values.into_iter().map(Into::into).collect();
            assert_eq!(values_of(&input_of(&values)), values);
        }
    }
}
