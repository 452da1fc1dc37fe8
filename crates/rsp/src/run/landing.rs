//! Outputs on their way to where they land.
//!
//! What an attempt sends is written into a folder of its own inside OUT, so that it is on the right disk. When the attempt
//! is accepted its files, complete and on the disk, are renamed to their places; when it is dropped they go. A client that
//! is killed leaves that folder behind; the next one that lands something in OUT clears it away.

use super::files::Files;
use crate::files::{For, Unpacker};
use rserpool_compute::tree::{Kind, List};
use rserpool_compute::{Attempt, JobId};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What folders of clients in OUT are called.
const PREFIX: &str = ".rsp-landing-";

/// Outputs of all attempts that are not decided.
pub struct Landing {
    files: Files,
    job: JobId,
    /// Ours in OUT, and the lock that says that we live.
    folder: Option<(PathBuf, File)>,
    coming: BTreeMap<Attempt, Unpacker>,
}

impl Landing {
    /// Nothing yet.
    pub fn new(files: Files, job: JobId) -> Self {
        Self { files, job, folder: None, coming: BTreeMap::new() }
    }

    fn folder(&mut self) -> io::Result<PathBuf> {
        if let Some((folder, _)) = &self.folder {
            return Ok(folder.clone());
        }
        let out = self.files.out();
        std::fs::create_dir_all(out)?;
        for entry in std::fs::read_dir(out)?.flatten() {
            if entry.file_name().as_bytes().starts_with(PREFIX.as_bytes())
                && File::open(entry.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok())
            {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = out.join(format!("{PREFIX}{}-{}", self.job, std::process::id()));
        std::fs::create_dir(&folder)?;
        let lock = OpenOptions::new().create(true).truncate(true).write(true).open(folder.join("lock"))?;
        lock.lock()?;
        self.folder = Some((folder.clone(), lock));
        Ok(folder)
    }

    fn place(folder: &Path, attempt: Attempt) -> PathBuf {
        folder.join(format!("{}.{}", attempt.task, attempt.number))
    }

    /// Octets of an attempt's files.
    pub fn write(&mut self, attempt: Attempt, octets: &[u8]) -> io::Result<()> {
        if !self.coming.contains_key(&attempt) {
            let place = Self::place(&self.folder()?, attempt);
            self.coming.insert(attempt, Unpacker::new(&place, For::Keeping)?);
        }
        self.coming.get_mut(&attempt).expect("inserted above").push(octets)
    }

    /// The attempt will not be accepted.
    pub fn drop(&mut self, attempt: Attempt) {
        if self.coming.remove(&attempt).is_some()
            && let Some((folder, _)) = &self.folder
        {
            let _ = std::fs::remove_dir_all(Self::place(folder, attempt));
        }
    }

    /// The attempt is accepted: its files go to their places. Returns these; none without files.
    pub fn land(&mut self, attempt: Attempt, values: &[OsString]) -> io::Result<Vec<PathBuf>> {
        let Some(unpacker) = self.coming.remove(&attempt) else { return Ok(Vec::new()) };
        let from = Self::place(&self.folder()?, attempt);
        let (list, _) = unpacker.finish()?;
        let mut landed = Vec::new();
        let mut folders = BTreeSet::new();
        for entry in list.entries() {
            let is_folder = entry.kind == Kind::Folder;
            // What is in a folder makes it on its way.
            if !(is_folder && is_empty(&list, &entry.name) || matches!(entry.kind, Kind::File { .. })) {
                continue;
            }
            let target = self.files.target(attempt.task.0, values, &entry.name).map_err(io::Error::other)?;
            let Some(target) = target else { continue };
            let at =
                |cause: io::Error| io::Error::new(cause.kind(), format!("{}: {cause}", target.display()));
            for folder in target.ancestors().skip(1).take_while(|folder| folder.starts_with(self.files.out()))
            {
                folders.insert(folder.to_owned());
            }
            if is_folder {
                std::fs::create_dir_all(&target).map_err(at)?;
                folders.insert(target);
                continue;
            }
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(at)?;
            }
            std::fs::rename(from.join(OsStr::from_bytes(&entry.name)), &target).map_err(at)?;
            landed.push(target);
        }
        for folder in folders {
            let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            File::open(shown)?.sync_all()?;
        }
        let _ = std::fs::remove_dir_all(from);
        Ok(landed)
    }
}

/// True if nothing is in this folder.
fn is_empty(list: &List, name: &[u8]) -> bool {
    let inside = [name, b"/"].concat();
    let next = list.entries().partition_point(|entry| entry.name < inside);
    !list.entries().get(next).is_some_and(|entry| entry.name.starts_with(&inside))
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some((folder, _)) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}
