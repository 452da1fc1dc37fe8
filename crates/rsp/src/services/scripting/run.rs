//! One run: a folder, the files of its user, a program, its output.
//!
//! ```text
//!   SCRATCH/NUMBER/input.data          the archive
//!   SCRATCH/NUMBER/environment.data    the environment, moved into work/ before the program runs
//!   SCRATCH/NUMBER/work/               unpacked; `ssrun output.data environment.data '' ''` runs here
//! ```
//!
//! Trouble that is the package's own is told as a status, so that its user hears of it and does not try for ever.

use super::archive::unpack;
use super::lock;
use super::store::Store;
use crate::keeper::{Keeper, Order, Outcome};
use crate::process::say;
use rserpool_compute::application::scripting::{Fact, File as Which, RunId, Wish};
use rustix::fs::{Mode, OFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The status of a package that cannot be unpacked, or has no executable `ssrun` (as a shell says "not executable").
const NOT_EXECUTABLE: u32 = 126;
/// The status of a program that ended well and wrote no output, or one that is too large (EX_CANTCREAT).
const NO_OUTPUT: u32 = 73;
/// How long the end of a killed program is waited for before its folder is removed.
const END_MAX: Duration = Duration::from_secs(10);

/// What all runs share.
pub struct Workshop {
    pub scratch: PathBuf,
    pub keeper: Mutex<Keeper>,
    pub store: Mutex<Store>,
    pub time_limit: Duration,
    pub unpacked_max: u64,
    pub output_max: u64,
    /// Programs' own words go to standard error instead of nowhere.
    pub verbose: bool,
}

/// What a run's thread is told.
pub enum Task {
    Wish(Wish),
    Outcome(Outcome),
}

/// A run, in its thread.
pub struct Run {
    id: RunId,
    workshop: Arc<Workshop>,
    folder: PathBuf,
    /// When the running program is killed.
    ends: Option<Instant>,
    output: Option<File>,
}

impl Run {
    pub fn new(id: RunId, workshop: Arc<Workshop>) -> Self {
        let folder = workshop.scratch.join(id.0.to_string());
        Self { id, workshop, folder, ends: None, output: None }
    }

    /// Does what it is told until the run is removed.
    pub fn serve(mut self, tasks: &Receiver<Task>, tell: &dyn Fn(Fact) -> bool) {
        if let Err(cause) = std::fs::create_dir_all(self.folder.join("work")) {
            say(format!("cannot prepare a folder for a run: {cause}"));
            tell(Fact::Failed(self.id));
        }
        loop {
            let task = match self.ends {
                Some(ends) => tasks.recv_timeout(ends.saturating_duration_since(Instant::now())),
                None => tasks.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let fact = match task {
                Ok(Task::Wish(Wish::Remove(_))) => {
                    self.remove(tasks);
                    tell(Fact::Removed(self.id));
                    return;
                }
                Ok(Task::Wish(wish)) => self.obey(wish),
                Ok(Task::Outcome(outcome)) => Ok(Some(self.ended(&outcome))),
                Err(RecvTimeoutError::Timeout) => {
                    self.ends = None;
                    say(format!(
                        "run {}: killed after {} s (--time-limit)",
                        self.id.0,
                        self.workshop.time_limit.as_secs()
                    ));
                    lock(&self.workshop.keeper).kill(self.id.0).map(|()| None)
                }
                Err(RecvTimeoutError::Disconnected) => return self.remove(tasks),
            };
            match fact {
                Ok(Some(fact)) => drop(tell(fact)),
                Ok(None) => {}
                Err(cause) => {
                    say(format!("run {}: {cause}", self.id.0));
                    tell(Fact::Failed(self.id));
                }
            }
        }
    }

    fn obey(&mut self, wish: Wish) -> io::Result<Option<Fact>> {
        let id = self.id;
        match wish {
            Wish::Store(_, which, octets) => {
                let name = match which {
                    Which::Input => "input.data",
                    Which::Environment => "environment.data",
                };
                let mut file = OpenOptions::new().create(true).append(true).open(self.folder.join(name))?;
                file.write_all(&octets)?;
                Ok(None)
            }
            Wish::Lookup(_, hash) => {
                let found = lock(&self.workshop.store).copy(&hash, &self.folder.join("environment.data"))?;
                Ok(Some(Fact::Found(id, found)))
            }
            Wish::Check(_, hash) => {
                let path = self.folder.join("environment.data");
                // An empty environment was never stored.
                OpenOptions::new().create(true).append(true).open(&path)?;
                let good = lock(&self.workshop.store).keep(hash, &path)?;
                Ok(Some(Fact::Checked(id, good)))
            }
            Wish::Start(_) => self.start(),
            Wish::Read(_, most) => {
                let mut octets = vec![0; most];
                let count = match &mut self.output {
                    Some(file) => file.read(&mut octets)?,
                    None => 0,
                };
                octets.truncate(count);
                Ok(Some(Fact::Output(id, octets)))
            }
            Wish::Prepare(_) | Wish::Remove(_) => Ok(None),
        }
    }

    fn start(&mut self) -> io::Result<Option<Fact>> {
        let work = self.folder.join("work");
        let unpacked = unpack(&self.folder.join("input.data"), &work, self.workshop.unpacked_max);
        if let Err(cause) = unpacked {
            say(format!("run {}: the archive cannot be unpacked: {cause}", self.id.0));
            return Ok(Some(Fact::Ended(self.id, NOT_EXECUTABLE)));
        }
        let environment = self.folder.join("environment.data");
        let has_environment = environment.exists();
        if has_environment {
            std::fs::rename(environment, work.join("environment.data"))?;
        }
        let environment = if has_environment { "environment.data" } else { "" };
        let arguments =
            vec![work.join("ssrun").into(), "output.data".into(), environment.into(), "".into(), "".into()];
        let order = Order { id: self.id.0, directory: work, arguments, ..Order::default() };
        let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
        let own = io::stderr();
        let out = if self.workshop.verbose { own.as_fd() } else { nowhere.as_fd() };
        lock(&self.workshop.keeper).order(&order, out, out)?;
        self.ends = Some(Instant::now() + self.workshop.time_limit);
        Ok(None)
    }

    fn ended(&mut self, outcome: &Outcome) -> Fact {
        self.ends = None;
        let mut code = match outcome {
            Outcome::Exited(code) => *code as u32 & 0xff,
            Outcome::Signalled(signal) => 128 + *signal as u32,
            Outcome::OverMemory(_) => 128 + 9, // no limit is set here
            Outcome::CannotStart(why) => {
                say(format!("run {}: ssrun cannot be started: {why}", self.id.0));
                NOT_EXECUTABLE
            }
        };
        match self.open_output() {
            Ok(file) => self.output = Some(file),
            Err(why) if code == 0 => {
                say(format!("run {}: {why}", self.id.0));
                code = NO_OUTPUT;
            }
            // Whoever failed need not have an output.
            Err(_) => {}
        }
        Fact::Ended(self.id, code)
    }

    fn open_output(&self) -> Result<File, String> {
        let path = self.folder.join("work").join("output.data");
        // No link to anything else of this machine, and nothing one could wait at for ever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(
            rustix::fs::open(&path, flags, Mode::empty()).map_err(|cause| format!("no output: {cause}"))?,
        );
        let about = file.metadata().map_err(|cause| format!("no output: {cause}"))?;
        if !about.is_file() {
            return Err("the output is no file".into());
        }
        if about.len() > self.workshop.output_max {
            return Err(format!("an output of {} octets is above the limit (--file-limit)", about.len()));
        }
        Ok(file)
    }

    /// Ends the program if it runs, and removes everything.
    fn remove(&mut self, tasks: &Receiver<Task>) {
        if self.ends.take().is_some() && lock(&self.workshop.keeper).kill(self.id.0).is_ok() {
            let patience = Instant::now() + END_MAX;
            // Wishes said before the removal; then the outcome comes.
            while let Ok(Task::Wish(_)) =
                tasks.recv_timeout(patience.saturating_duration_since(Instant::now()))
            {}
        }
        self.output = None;
        if let Err(cause) = std::fs::remove_dir_all(&self.folder) {
            say(format!("cannot remove {}: {cause}", self.folder.display()));
        }
    }
}
