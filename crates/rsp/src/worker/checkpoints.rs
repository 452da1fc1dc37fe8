//! Checkpoints of programs: files that a program completes by renaming onto the name it was given.
//!
//! ```text
//!   SCRATCH/state/RUN             what RSP_CHECKPOINT names; complete whenever it is there
//!   SCRATCH/state/RUN.anything    the program's own, before it is renamed; removed with the run or soon after
//!   SCRATCH/state/RUN.restore     what RSP_RESTORE names, if the checkpoint came in a cookie
//! ```
//!
//! The kernel tells of each rename. A small checkpoint is told at once, whole. A large one is digested by a thread of its
//! own, then told part by part as the client takes it; what is completed meanwhile waits, and only the newest counts.
//!
//! Nobody is told before a program has run for [`LATE`]: what is lost of shorter work is not missed, and the end of a process
//! that watched a folder takes the kernel some 10 ms.

use super::programs::Orders;
use super::store::{READ_AT_ONCE, Shelf, Taken, describe};
use crate::process::say;
use rserpool_compute::Item;
use rserpool_compute::cookie::Checkpoint;
use rserpool_compute::service::{Fact, RunId};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The folder is watched as soon as a program has run for so long.
const LATE: Duration = Duration::from_millis(50);

/// Before the folder is watched, what short programs left there besides a checkpoint is removed after so many of them: to look
/// each time would cost more than to start one.
const UNSEEN_MAX: u32 = 64;

/// The largest checkpoint.
const CHECKPOINT_MAX: u64 = 1 << 30;

/// The checkpoints of all runs.
pub struct Checkpoints {
    folder: PathBuf,
    news: OwnedFd,
    /// The kernel tells of what appears there.
    watched: bool,
    /// Programs that ended since the folder was looked at, while it was not watched.
    unseen: u32,
    inline_max: usize,
    orders: Arc<Orders>,
    runs: BTreeMap<RunId, State>,
}

/// Of one run.
struct State {
    begun: Instant,
    /// A large one is being digested or saved.
    busy: bool,
    /// A newer one waits for that.
    again: bool,
    /// What is being saved, and octets of it left.
    saving: Option<(File, u64)>,
    /// Files to remove with it.
    names: Vec<PathBuf>,
    /// What it goes on from, if that is in the cache.
    restored: Option<Taken>,
    /// It was said that they are too large.
    complained: bool,
}

impl AsFd for Checkpoints {
    /// Readable when there is something to [`look`](Self::look) at.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

impl Checkpoints {
    /// In a folder of their own below this one.
    pub fn new(scratch: &Path, inline_max: usize, orders: Orders) -> io::Result<Self> {
        let folder = scratch.join("state");
        std::fs::create_dir(&folder)?;
        let news = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let (orders, runs) = (Arc::new(orders), BTreeMap::new());
        Ok(Self { folder, news, watched: false, unseen: 0, inline_max, orders, runs })
    }

    /// How long until [`watch`](Self::watch) is to be called; `None`: not as things are.
    pub fn due(&self) -> Option<Duration> {
        let first = self.runs.values().map(|state| state.begun).min().filter(|_| !self.watched)?;
        Some((first + LATE).saturating_duration_since(Instant::now()))
    }

    /// Has the kernel tell from now on, and looks for what there is already.
    pub fn watch(&mut self, facts: &mut Vec<Fact>) {
        self.watched = true;
        if let Err(cause) =
            inotify::add_watch(&self.news, &self.folder, WatchFlags::CREATE | WatchFlags::MOVED_TO)
        {
            say(format!("checkpoints of programs that run now go unnoticed: {}", io::Error::from(cause)));
        }
        self.find().into_iter().for_each(|run| self.completed(run, facts));
    }

    /// Where a run puts its checkpoint.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.folder.join(run.0.to_string())
    }

    /// Lays out what a run goes on from; returns where.
    pub fn prepare(
        &mut self,
        run: RunId,
        state: Option<Vec<u8>>,
        shelf: &Shelf,
    ) -> io::Result<Option<PathBuf>> {
        let known = self.runs.entry(run).or_insert_with(State::new);
        match state.as_deref().and_then(Checkpoint::parse) {
            None => Ok(None),
            Some(Checkpoint::Kept(item)) => {
                let taken = shelf.take(&item).map_err(io::Error::other)?;
                let path = taken.to_path_buf();
                known.restored = Some(taken);
                Ok(Some(path))
            }
            Some(Checkpoint::Inline(octets)) => {
                let path = self.folder.join(format!("{}.restore", run.0));
                known.names.push(path.clone());
                std::fs::write(&path, octets)?;
                Ok(Some(path))
            }
        }
    }

    /// Hears of files that appeared.
    pub fn look(&mut self, facts: &mut Vec<Fact>) {
        let mut space = [MaybeUninit::uninit(); 8192];
        let mut appeared = Vec::new();
        let mut reader = inotify::Reader::new(&self.news, &mut space);
        let mut overflow = false;
        while let Ok(event) = reader.next() {
            // So much may happen that it is not kept.
            overflow |= event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let whole = event.events().contains(ReadFlags::MOVED_TO);
            appeared.extend(event.file_name().map(|name| (name.to_owned(), whole)));
        }
        let mut completed = BTreeSet::new();
        for (name, whole) in appeared {
            let run = self.appeared(OsStr::from_bytes(name.to_bytes()));
            completed.extend(run.filter(|_| whole));
        }
        if overflow {
            completed.extend(self.find());
        }
        completed.into_iter().for_each(|run| self.completed(run, facts));
    }

    /// All that is there: the runs that have one.
    fn find(&mut self) -> BTreeSet<RunId> {
        let there = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        there.filter_map(|entry| self.appeared(&entry.file_name())).collect()
    }

    /// Notes a file, to be removed with its run. The run, if it is its checkpoint.
    fn appeared(&mut self, name: &OsStr) -> Option<RunId> {
        let octets = name.as_bytes();
        let digits = octets.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let run = RunId(std::str::from_utf8(&octets[..digits]).ok()?.parse().ok()?);
        let path = self.folder.join(name);
        let Some(state) = self.runs.get_mut(&run) else {
            // Its program is dead, or as good as.
            let _ = std::fs::remove_file(path);
            return None;
        };
        if !state.names.contains(&path) {
            state.names.push(path);
        }
        (digits == octets.len()).then_some(run)
    }

    fn completed(&mut self, run: RunId, facts: &mut Vec<Fact>) {
        let path = self.path(run);
        let Some(state) = self.runs.get_mut(&run) else { return };
        let Ok(mut file) = crate::files::open(&path) else { return };
        let Ok(size) = file.metadata().map(|metadata| metadata.len()) else { return };
        if size <= self.inline_max as u64 {
            let mut octets = Vec::new();
            if file.by_ref().take(self.inline_max as u64 + 1).read_to_end(&mut octets).is_ok()
                && octets.len() <= self.inline_max
            {
                facts.push(Fact::Checkpoint { run, state: Checkpoint::Inline(octets).emit() });
            }
        } else if size > CHECKPOINT_MAX {
            if !std::mem::replace(&mut state.complained, true) {
                say(format!("a checkpoint of {size} octets is ignored: the most is {CHECKPOINT_MAX}"));
            }
        } else if std::mem::replace(&mut state.busy, true) {
            state.again = true;
        } else {
            let orders = self.orders.clone();
            let digest = move || {
                let found = describe(&mut file).map(|item| (file, item));
                orders.digested(run, found);
            };
            state.busy = std::thread::Builder::new().name("digest".into()).spawn(digest).is_ok();
        }
    }

    /// What a large checkpoint turned out to be.
    pub fn digested(&mut self, run: RunId, found: io::Result<(File, Item)>, facts: &mut Vec<Fact>) {
        let Some(state) = self.runs.get_mut(&run) else { return };
        match found {
            Ok((file, item)) if item.size > 0 => {
                state.saving = Some((file, item.size));
                facts.push(Fact::Large { run, item });
            }
            _ => self.saved(run, facts),
        }
    }

    /// Tells so many more octets of the one that is being saved.
    pub fn send(&mut self, run: RunId, octets: u32, facts: &mut Vec<Fact>) {
        let Some((file, left)) = self.runs.get_mut(&run).and_then(|state| state.saving.as_mut()) else {
            return;
        };
        let mut room = u64::from(octets).min(*left);
        while room > 0 {
            let mut portion = vec![0; READ_AT_ONCE.min(usize::try_from(room).unwrap_or(READ_AT_ONCE))];
            // A program that changes a checkpoint after it completed it has none.
            if file.read_exact(&mut portion).is_err() {
                return;
            }
            room -= portion.len() as u64;
            *left -= portion.len() as u64;
            facts.push(Fact::Saving { run, octets: portion });
        }
    }

    /// The one that was being saved is safe, or never will be.
    pub fn saved(&mut self, run: RunId, facts: &mut Vec<Fact>) {
        let Some(state) = self.runs.get_mut(&run) else { return };
        (state.busy, state.saving) = (false, None);
        if std::mem::take(&mut state.again) {
            self.completed(run, facts);
        }
    }

    /// The run is over.
    pub fn forget(&mut self, run: RunId, facts: &mut Vec<Fact>) {
        // Before the kernel tells of them, nobody knows of its files.
        if !self.watched {
            let path = self.path(run);
            if path.exists() {
                self.completed(run, facts);
                let _ = std::fs::remove_file(path);
            }
            self.unseen += 1;
            if self.unseen >= UNSEEN_MAX {
                self.unseen = 0;
                self.find();
            }
        }
        let names = self.runs.remove(&run).map(|state| state.names);
        for path in names.into_iter().flatten() {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl State {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            busy: false,
            again: false,
            saving: None,
            names: Vec::new(),
            restored: None,
            complained: false,
        }
    }
}
