//! The clerk: a thread that reads what workers need and keeps the checkpoints they bring, so that a slow disk holds up
//! nobody but those it is for.
//!
//! Checkpoints are files without a name: whatever ends this process, they are gone with it.

use super::files::Files;
use crate::files::{Source, digest};
use crate::process::say;
use rserpool_compute::job::{Event, TransferId};
use rserpool_compute::{Attempt, Item};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::sync::mpsc::{self, Receiver, Sender};

/// Checkpoints kept of a task: the newest, and the one before, which a cookie may still name.
const KEPT: usize = 2;

/// What the job is told.
pub enum Word {
    /// [`Job::provide`](rserpool_compute::Job::provide)
    Provide(TransferId, Vec<u8>),
    /// [`Job::cannot_provide`](rserpool_compute::Job::cannot_provide)
    CannotProvide(Item, String),
    /// [`Job::kept`](rserpool_compute::Job::kept)
    Kept(TransferId, u32),
    /// [`Job::saved`](rserpool_compute::Job::saved)
    Saved(TransferId),
    /// [`Job::cannot_save`](rserpool_compute::Job::cannot_save)
    CannotSave(TransferId),
}

enum Asked {
    Event(Event),
    Over(u64),
}

/// The way to the clerk.
pub struct Clerk {
    asked: Sender<Asked>,
    /// Tasks that brought a checkpoint.
    keeps: BTreeSet<u64>,
}

impl Clerk {
    /// Begins. `post` tells the job.
    pub fn begin(files: Files, post: impl Fn(Word) + Send + 'static) -> io::Result<Self> {
        let (sender, asked) = mpsc::channel();
        let office = Office {
            files,
            post,
            given: BTreeMap::new(),
            taken: BTreeMap::new(),
            kept: BTreeMap::new(),
            complained: false,
        };
        std::thread::Builder::new().name("files".into()).spawn(move || office.work(&asked))?;
        Ok(Self { asked: sender, keeps: BTreeSet::new() })
    }

    /// Passes an event of transfers on.
    pub fn hear(&mut self, event: Event) {
        if let Event::Save { attempt, .. } = &event {
            self.keeps.insert(attempt.task.0);
        }
        // It lives as long as we do.
        let _ = self.asked.send(Asked::Event(event));
    }

    /// A task is over.
    pub fn over(&mut self, task: u64) {
        if self.keeps.remove(&task) {
            let _ = self.asked.send(Asked::Over(task));
        }
    }
}

struct Office<P> {
    files: Files,
    post: P,
    given: BTreeMap<TransferId, Source>,
    taken: BTreeMap<TransferId, Taking>,
    /// By task, the newest last.
    kept: BTreeMap<u64, VecDeque<(Item, File)>>,
    complained: bool,
}

/// A checkpoint on its way to us.
struct Taking {
    attempt: Attempt,
    item: Item,
    file: File,
    sum: Sha256,
    received: u64,
}

impl<P: Fn(Word)> Office<P> {
    fn work(mut self, asked: &Receiver<Asked>) {
        while let Ok(asked) = asked.recv() {
            match asked {
                Asked::Event(Event::Wanted { transfer, item, offset, octets }) => {
                    self.give(transfer, item, offset, octets as usize);
                }
                Asked::Event(Event::TransferEnded { transfer }) => {
                    self.given.remove(&transfer);
                    self.taken.remove(&transfer);
                }
                Asked::Event(Event::Save { transfer, attempt, item }) => match tempfile::tempfile() {
                    Ok(file) => {
                        let (sum, received) = (Sha256::new(), 0);
                        self.taken.insert(transfer, Taking { attempt, item, file, sum, received });
                    }
                    Err(cause) => self.cannot_save(transfer, &cause),
                },
                Asked::Event(Event::SavePart { transfer, octets }) => self.take(transfer, &octets),
                Asked::Event(_) => {}
                Asked::Over(task) => drop(self.kept.remove(&task)),
            }
        }
    }

    fn give(&mut self, transfer: TransferId, item: Item, offset: u64, octets: usize) {
        let given = self.portion(transfer, item, offset, octets);
        (self.post)(match given {
            Ok(octets) => Word::Provide(transfer, octets),
            Err(why) => {
                self.given.remove(&transfer);
                Word::CannotProvide(item, why)
            }
        });
    }

    fn portion(
        &mut self,
        transfer: TransferId,
        item: Item,
        offset: u64,
        octets: usize,
    ) -> Result<Vec<u8>, String> {
        if offset == 0 {
            let source = match self.checkpoint(item) {
                Some(file) => Source::File(file),
                None => self.files.open(&item)?,
            };
            self.given.insert(transfer, source);
        }
        let source =
            self.given.get_mut(&transfer).ok_or("a transfer goes on that never began; this is a bug")?;
        let portion = source.next(octets).map_err(|cause| format!("cannot read an input: {cause}"))?;
        if offset + octets as u64 == item.size {
            self.given.remove(&transfer);
        }
        Ok(portion)
    }

    /// A checkpoint that was brought to us.
    fn checkpoint(&self, item: Item) -> Option<File> {
        let (_, file) = self.kept.values().flatten().find(|(kept, _)| *kept == item)?;
        // One offset for all holds on a file without a name: it is opened anew by way of its descriptor.
        let again = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file));
        File::open(again).ok()
    }

    fn take(&mut self, transfer: TransferId, octets: &[u8]) {
        let Some(taking) = self.taken.get_mut(&transfer) else { return };
        if let Err(cause) = taking.file.write_all(octets) {
            return self.cannot_save(transfer, &cause);
        }
        taking.sum.update(octets);
        taking.received += octets.len() as u64;
        (self.post)(Word::Kept(transfer, octets.len() as u32));
        if taking.received < taking.item.size {
            return;
        }
        let Some(Taking { attempt, item, mut file, sum, .. }) = self.taken.remove(&transfer) else { return };
        if digest(sum) != item.digest || file.rewind().is_err() {
            // Its program changed it after it had completed it; the next one will do.
            return (self.post)(Word::CannotSave(transfer));
        }
        let kept = self.kept.entry(attempt.task.0).or_default();
        kept.push_back((item, file));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        (self.post)(Word::Saved(transfer));
    }

    fn cannot_save(&mut self, transfer: TransferId, cause: &io::Error) {
        self.taken.remove(&transfer);
        if !std::mem::replace(&mut self.complained, true) {
            say(format!(
                "cannot keep checkpoints: {cause}; free some space or set TMPDIR (the job goes on without them)"
            ));
        }
        (self.post)(Word::CannotSave(transfer));
    }
}
