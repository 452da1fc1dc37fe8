//! Where jobs are kept: a folder for each, named as the job.
//!
//! ```text
//!   $RSP_STATE_DIR, else $XDG_STATE_HOME/rsp, else ~/.local/state/rsp
//!     jobs/NAME/journal      what happened (rserpool_compute::journal)
//!               outputs      outputs too long for the journal
//!               each         files that --each matched: each with NUL behind it, and one more behind those of a pattern
//!               shared       likewise: each path of --env and of a common --input, and the digest of what was there
//!               owner        locked by the process that works on the job; its number and host
//!               status.json  what it last said of the present (rsp.status/1)
//!               ended        why the last life of the client ended before the job was over, if it could say so
//! ```

use crate::exit::{Code, Failure};
use crate::process;
use rserpool_compute::journal::Reader;
use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

/// The longest name of a job, in octets.
const NAME_MAX: usize = 64;

/// All files of a job's folder.
const FILES: [&str; 10] = [
    "journal",
    "outputs",
    "each",
    "shared",
    "shared.new",
    "made",
    "owner",
    "status.json",
    "status.new",
    "ended",
];

/// What a job is begun with and goes on with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fixed {
    /// What each pattern of `--each` matched.
    pub each: Vec<Vec<OsString>>,
    /// What all tasks share: path and digest.
    pub shared: Vec<Vec<OsString>>,
}

/// Where all jobs are.
pub fn jobs_folder() -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A job goes on in the folder where it was begun, wherever that is said. Relative paths of the other variable do not
    // count, as the XDG Base Directory Specification has it.
    let state = variable("RSP_STATE_DIR")
        .map(|path| std::path::absolute(&path).unwrap_or(path))
        .or_else(|| variable("XDG_STATE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("rsp")))
        .or_else(|| variable("HOME").map(|path| path.join(".local/state/rsp")));
    state.map(|path| path.join("jobs")).ok_or_else(|| {
        let message = "cannot tell where to keep jobs: set RSP_STATE_DIR to a folder, or use --no-journal";
        Failure::new(Code::Usage, message)
    })
}

/// A job's folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// The job's name.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Keeps everybody else from working on the job as long as it lives, however this process ends.
pub struct Ownership {
    // Held for its lock.
    _file: File,
}

/// Who works on a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its process.
    pub pid: u32,
    /// On this machine, by the name it gives itself.
    pub host: String,
}

impl Owner {
    /// False if it is known to be gone. Of other machines nothing is known.
    fn is_alive(&self) -> bool {
        self.host != host() || Path::new("/proc").join(self.pid.to_string()).exists()
    }
}

/// This machine's name.
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A legal name: it is a part of a path and stands on command lines.
pub fn is_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+');
    (1..=NAME_MAX).contains(&name.len())
        && name.chars().all(legal)
        && !name.starts_with(['.', '-'])
        && name != "last"
}

impl Folder {
    /// Makes the folder of a new job; without a name, one made of the command and some digits.
    pub fn create(name: Option<&str>, command: &OsStr) -> Result<Self, Failure> {
        let jobs = jobs_folder()?;
        let cannot = |path: &Path, cause: io::Error| {
            let message = format!(
                "cannot keep the job in {}: {cause}; set RSP_STATE_DIR to another folder, or use --no-journal",
                path.display()
            );
            Failure::new(Code::CannotWrite, message)
        };
        std::fs::create_dir_all(&jobs).map_err(|cause| cannot(&jobs, cause))?;
        if let Some(name) = name {
            let path = jobs.join(name);
            let folder = Self { name: name.into(), path: path.clone() };
            return match std::fs::create_dir(&path) {
                Ok(()) => Ok(folder),
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists && folder.is_leftover() => {
                    Ok(folder)
                }
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                    let message = format!(
                        "there is a job '{name}' already: go on with it by `rsp resume {name}`, remove it by \
                         `rsp job rm {name}`, or choose another --name"
                    );
                    Err(Failure::new(Code::Usage, message))
                }
                Err(cause) => Err(cannot(&path, cause)),
            };
        }
        let base = Path::new(command).file_name().unwrap_or_default().to_string_lossy();
        let legal = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let base: String = base.chars().filter(legal).take(24).collect();
        let base = if base.is_empty() || base.starts_with('-') { "job".to_owned() } else { base };
        let mut random = process::random();
        loop {
            let name = format!("{base}-{:05x}", random.next_u64() & 0xf_ffff);
            let path = jobs.join(&name);
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self { name, path }),
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {}
                Err(cause) => return Err(cannot(&path, cause)),
            }
        }
    }

    /// The folder of a job there is. `last`: of the one begun last.
    pub fn find(name: &str) -> Result<Self, Failure> {
        if name == "last" {
            let newest = Self::all()?.into_iter().max_by_key(|folder| folder.begun());
            return newest
                .ok_or_else(|| Failure::new(Code::Usage, "there is no job yet; `rsp run` makes one"));
        }
        let folder = Self { name: name.into(), path: jobs_folder()?.join(name) };
        if !is_name(name) || !folder.is_job() {
            let message = format!("there is no job '{name}'; `rsp job ls` shows those there are");
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(folder)
    }

    /// All there are, by name.
    pub fn all() -> Result<Vec<Self>, Failure> {
        let mut all = Self::with_journals()?;
        all.retain(|folder| !folder.is_leftover());
        Ok(all)
    }

    /// What is left of clients that ended before their job began. (A folder without a journal may be somebody's who is
    /// about to own it.)
    pub fn leftovers() -> Result<Vec<Self>, Failure> {
        let mut all = Self::with_journals()?;
        all.retain(Self::is_leftover);
        Ok(all)
    }

    fn with_journals() -> Result<Vec<Self>, Failure> {
        let jobs = jobs_folder()?;
        let entries = match std::fs::read_dir(&jobs) {
            Ok(entries) => entries,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(cause) => {
                return Err(Failure::new(Code::Failed, format!("cannot read {}: {cause}", jobs.display())));
            }
        };
        let mut all: Vec<Self> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let folder = Self { name, path: entry.path() };
                (is_name(&folder.name) && folder.journal().exists()).then_some(folder)
            })
            .collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(all)
    }

    /// True if there is a job, or somebody who is about to begin it.
    fn is_job(&self) -> bool {
        self.journal().exists() && !self.is_leftover()
    }

    /// True if its client ended before the job began: nothing was promised to anybody, so there is no job, and the
    /// name is free. A folder with anything else in it is not ours to take.
    pub fn is_leftover(&self) -> bool {
        let is_ours = |entry: io::Result<DirEntry>| {
            entry.is_ok_and(|entry| {
                FILES.iter().any(|name| entry.file_name() == *name)
                    && entry.file_type().is_ok_and(|kind| kind.is_file())
            })
        };
        let is_ours = || std::fs::read_dir(&self.path).is_ok_and(|entries| entries.into_iter().all(is_ours));
        !self.has_begun() && self.owner().is_none() && is_ours()
    }

    /// Removes it with all that is in it. Whoever does has its lock, or has made it: it is out of the way of the next of its
    /// name in one step, since a lock is worth nothing once its file is gone.
    pub fn remove(&self) -> io::Result<()> {
        let gone = self.path.with_file_name(format!(".gone-{}-{}", std::process::id(), self.name));
        std::fs::rename(&self.path, &gone)?;
        std::fs::remove_dir_all(gone)
    }

    /// True if the header of the journal is all there, or something that is none.
    pub fn has_begun(&self) -> bool {
        let mut file = match File::open(self.journal()) {
            Ok(file) => file,
            Err(cause) => return cause.kind() != io::ErrorKind::NotFound,
        };
        let mut reader = Reader::default();
        let mut portion = [0; 4096];
        loop {
            match file.read(&mut portion) {
                Ok(0) => return false,
                Ok(count) => reader.push(&portion[..count]),
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
            if !matches!(reader.header(), Ok(None)) {
                return true;
            }
        }
    }

    /// When it was begun: the owner's file is made once.
    fn begun(&self) -> Option<std::time::SystemTime> {
        let made = std::fs::metadata(self.path.join("made")).or_else(|_| std::fs::metadata(&self.path));
        made.and_then(|data| data.modified()).ok()
    }

    /// Its journal.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Its outputs.
    pub fn outputs(&self) -> PathBuf {
        self.path.join("outputs")
    }

    /// What its owner last said of the present.
    pub fn status(&self) -> PathBuf {
        self.path.join("status.json")
    }

    /// Says, for `rsp explain`, why this life ends before the job is over; `None`: it begins, or the job is over.
    pub fn ends(&self, why: Option<&str>) {
        let path = self.path.join("ended");
        // Whoever asks without it is told as much as can be known.
        let _ = match why {
            Some(why) => std::fs::write(path, why),
            None => std::fs::remove_file(path),
        };
    }

    /// Why the last life of its client ended before the job was over, as far as that is known.
    pub fn ended(&self) -> String {
        match std::fs::read_to_string(self.path.join("ended")) {
            Ok(why) => why,
            Err(_) => "it was killed, or its machine went down".into(),
        }
    }

    fn each(&self) -> PathBuf {
        self.path.join("each")
    }

    fn shared(&self) -> PathBuf {
        self.path.join("shared")
    }

    /// The files that each of so many patterns of `--each` matched when the job was begun.
    pub fn matched(&self, patterns: usize) -> Result<Vec<Vec<OsString>>, Failure> {
        let path = self.each();
        let sources = lists(&path).and_then(|sources| {
            if sources.len() == patterns { Ok(sources) } else { Err(io::Error::other("it is damaged")) }
        });
        sources.map_err(|cause| {
            let message = format!(
                "cannot read {}: {cause}; which files --each matched is not known without it, so begin the job anew by \
                 `rsp run`",
                path.display()
            );
            Failure::new(Code::Failed, message)
        })
    }

    /// From now on the job goes on with these files.
    pub fn renew_shared(&self, present: &[Vec<OsString>]) -> Result<(), Failure> {
        // Whoever is killed in between leaves the former ones.
        let new = self.path.join("shared.new");
        let renewed = write_lists(&new, present).and_then(|()| std::fs::rename(&new, self.shared()));
        renewed.map_err(|cause| {
            Failure::new(Code::CannotWrite, format!("cannot write in {}: {cause}", self.path.display()))
        })
    }

    /// Refuses to go on with other files than those the job was begun with: nobody could tell which results are of which.
    pub fn check_shared(&self, present: &[Vec<OsString>]) -> Result<(), Failure> {
        let path = self.shared();
        // A job of a former version, or one that shares nothing.
        if !path.exists() {
            return Ok(());
        }
        let former = lists(&path).map_err(|cause| {
            Failure::new(Code::Failed, format!("cannot read {}: {cause}", path.display()))
        })?;
        let Some(other) = present.iter().find(|one| !former.contains(one)) else { return Ok(()) };
        let message = format!(
            "{} is not what it was when job '{}' was begun: put it back as it was, or begin the job anew by `rsp run`",
            Path::new(&other[0]).display(),
            self.name
        );
        Err(Failure::new(Code::Usage, message))
    }

    /// Makes the files of a new job so that they survive, and owns it.
    pub fn begin(&self, fixed: &Fixed) -> io::Result<(Ownership, File, File)> {
        let ownership = match self.own() {
            Ok(Ok(ownership)) => ownership,
            Ok(Err(owner)) => return Err(io::Error::other(format!("process {} was faster", owner.pid))),
            Err(cause) => return Err(cause),
        };
        // Only now nobody else can begin here.
        if self.has_begun() {
            return Err(io::Error::other("another process was faster"));
        }
        let made = self.lay_out(fixed);
        if made.is_err() {
            let _ = self.remove();
        }
        made.map(|(journal, outputs)| (ownership, journal, outputs))
    }

    /// The files of a new job: its journal, and its outputs.
    fn lay_out(&self, fixed: &Fixed) -> io::Result<(File, File)> {
        for left in [self.outputs(), self.journal(), self.each(), self.shared()] {
            match std::fs::remove_file(left) {
                Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
                _ => {}
            }
        }
        let new = |path: PathBuf| OpenOptions::new().read(true).append(true).create_new(true).open(path);
        File::create(self.path.join("made"))?;
        // Safe before the journal has its first octet: a job that can be read knows its files.
        for (path, lists) in [(self.each(), &fixed.each), (self.shared(), &fixed.shared)] {
            if !lists.is_empty() {
                write_lists(&path, lists)?;
            }
        }
        let outputs = OpenOptions::new().read(true).write(true).create_new(true).open(self.outputs())?;
        let journal = new(self.journal())?;
        File::open(&self.path)?.sync_all()?;
        if let Some(above) = self.path.parent() {
            File::open(above)?.sync_all()?;
        }
        Ok((journal, outputs))
    }

    /// Becomes the owner, or tells who is.
    pub fn own(&self) -> io::Result<Result<Ownership, Owner>> {
        let path = self.path.join("owner");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                let owner = parse_owner(&text);
                if owner.is_alive() {
                    return Ok(Err(owner));
                }
                // Somebody who only looks holds it for a moment, or another new owner has not written yet.
                file.lock()?;
            }
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{} {}", std::process::id(), host())?;
        Ok(Ok(Ownership { _file: file }))
    }

    /// Becomes the owner, or fails with who is.
    pub fn own_or_refuse(&self) -> Result<Ownership, Failure> {
        match self.own() {
            Ok(Ok(ownership)) => Ok(ownership),
            Ok(Err(owner)) => {
                let name = &self.name;
                let message = format!(
                    "process {} on {} works on job '{name}' already; wait for it, or stop it by `rsp job cancel {name}`",
                    owner.pid, owner.host
                );
                Err(Failure::new(Code::Owned, message))
            }
            Err(cause) => {
                Err(Failure::new(Code::CannotWrite, format!("cannot own {}: {cause}", self.path.display())))
            }
        }
    }

    /// Who works on it, if anybody does.
    pub fn owner(&self) -> Option<Owner> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.path.join("owner")).ok()?;
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => {}
            _ => return None,
        }
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        Some(parse_owner(&text))
    }

    /// True if its client is about to write the first words of its journal.
    pub fn is_beginning(&self) -> bool {
        // Before the journal comes the lock, and before the lock the folder.
        let others = || self.owner().is_some_and(|owner| owner.pid != std::process::id());
        !self.has_begun() && (!self.path.join("owner").exists() || others())
    }

    /// Waits until nobody works on it; false if somebody still does after this time.
    pub fn wait_for_owner(&self, longest: Duration) -> io::Result<bool> {
        let file = OpenOptions::new().read(true).write(true).open(self.path.join("owner"))?;
        // Locks know no time, so somebody else waits for this one, until the end of the process if need be.
        let (tell, told) = mpsc::channel();
        std::thread::Builder::new().name("owner".into()).spawn(move || tell.send(file.lock_shared()))?;
        match told.recv_timeout(longest) {
            Ok(locked) => locked.map(|()| true),
            Err(_) => Ok(false),
        }
    }
}

fn parse_owner(text: &str) -> Owner {
    let (pid, host) = text.trim().split_once(' ').unwrap_or_default();
    Owner { pid: pid.parse().unwrap_or_default(), host: host.to_owned() }
}

/// Puts lists of names on the disk.
fn write_lists(path: &Path, lists: &[Vec<OsString>]) -> io::Result<()> {
    let mut octets = Vec::new();
    for list in lists {
        list.iter().for_each(|name| octets.extend([name.as_bytes(), &[0]].concat()));
        octets.push(0);
    }
    let mut file = File::create(path)?;
    file.write_all(&octets)?;
    file.sync_all()
}

/// Lists of names: NUL behind each name, and one more behind each list.
fn lists(path: &Path) -> io::Result<Vec<Vec<OsString>>> {
    let octets = std::fs::read(path)?;
    let (mut lists, mut list) = (Vec::new(), Vec::new());
    for name in octets.split_inclusive(|&octet| octet == 0) {
        match name.strip_suffix(&[0]) {
            Some([]) => lists.push(std::mem::take(&mut list)),
            Some(name) => list.push(OsStr::from_bytes(name).to_owned()),
            None => return Err(io::Error::other("it is damaged")),
        }
    }
    if list.is_empty() { Ok(lists) } else { Err(io::Error::other("it is damaged")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_and_on_command_lines() {
        for name in ["a", "render-0f3a9", "x.y_z+1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", "a/b", "-x", "last", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_job_knows_the_files_it_was_begun_with_whatever_their_names_and_notices_damage() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = Folder { name: "x".into(), path: folder.path().into() };
        let matched = vec![vec!["a\n".into(), OsStr::from_bytes(b"\xff").into()], vec!["b c".into()]];
        drop(job.begin(&Fixed { each: matched.clone(), ..Fixed::default() }).expect("new"));
        assert_eq!(job.matched(2).expect("readable"), matched);
        let whole = std::fs::read(job.path.join("each")).expect("there");
        for cut in 0..whole.len() {
            std::fs::write(job.path.join("each"), &whole[..cut]).expect("writable");
            assert!(job.matched(2).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_job_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = Folder { name: "x".into(), path: folder.path().into() };
        assert_eq!(job.owner(), None);
        let (first, ..) = job.begin(&Fixed::default()).expect("new");
        let me = Owner { pid: std::process::id(), host: host() };
        assert_eq!(job.own().expect("readable").err(), Some(me.clone()));
        assert_eq!(job.owner(), Some(me));
        drop(first);
        assert_eq!(job.owner(), None);
        assert!(job.own_or_refuse().is_ok());
    }
}
