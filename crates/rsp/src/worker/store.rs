//! A worker's cache of files by content, on its disk. Which of them stay is the service's to say; here is only what it
//! wishes.
//!
//! ```text
//!   CACHE/lock                          held by the one process the folder belongs to
//!   CACHE/DIGEST-SIZE-f/data            a file, for reading
//!   CACHE/DIGEST-SIZE-t/data/…          a tree
//!   CACHE/new-N/data                    what is on its way: renamed when it is complete, right and on the disk
//! ```
//!
//! Whoever is killed in between leaves a `new-N` behind, which the next life removes. The folder's time is that of its
//! last use; that of a file is a constant, so a task that changed one all the same is found out.

use super::crew::Tell;
use crate::files::{For, PORTION, Unpacker, digest};
use rserpool_compute::service::Fact;
use rserpool_compute::{Digest, Form, Item};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, SystemTime};

enum Asked {
    Store(Item, Vec<u8>),
    Evict(Item),
}

/// The way to the thread that writes.
pub struct Orders(Sender<Asked>);

impl Orders {
    /// Keeps octets of an item.
    pub fn store(&self, item: Item, octets: Vec<u8>) {
        // The thread lives as long as the process.
        let _ = self.0.send(Asked::Store(item, octets));
    }

    /// Forgets an item.
    pub fn evict(&self, item: Item) {
        let _ = self.0.send(Asked::Evict(item));
    }
}

/// Where items are. Cheap to copy; says nothing about whether they are there.
#[derive(Clone, Debug)]
pub struct Shelf(PathBuf);

impl Shelf {
    fn folder(&self, item: &Item) -> PathBuf {
        let form = match item.form {
            Form::File => 'f',
            Form::Tree => 't',
        };
        self.0.join(format!("{}-{}-{form}", item.digest, item.size))
    }

    /// The file, or the top of the tree. Notes that it is used now. Fails, for people, if it is not as it was stored.
    pub fn take(&self, item: &Item) -> Result<PathBuf, String> {
        let folder = self.folder(item);
        let path = folder.join("data");
        let cannot = |cause: io::Error| format!("the worker's cache lost a file: {cause}");
        let metadata = path.symlink_metadata().map_err(cannot)?;
        let whole = match item.form {
            Form::Tree => metadata.is_dir(),
            Form::File => {
                metadata.len() == item.size && metadata.modified().is_ok_and(|time| time == stored())
            }
        };
        if !whole {
            return Err("a file in the worker's cache was changed by a task".to_owned());
        }
        // Only the order of eviction in the next life hangs on it.
        let _ = File::open(folder).and_then(|folder| folder.set_modified(SystemTime::now()));
        Ok(path)
    }
}

/// The time of every file in a cache.
fn stored() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

/// The cache, before it begins.
pub struct Store {
    folder: PathBuf,
    asked: Receiver<Asked>,
    coming: BTreeMap<Item, Coming>,
    /// Could not be kept: what is still on its way is ignored until the service knows.
    failed: BTreeSet<Item>,
    numbers: u64,
    /// Held as long as we live.
    _lock: File,
}

struct Coming {
    folder: PathBuf,
    received: u64,
    sink: Sink,
}

enum Sink {
    File(File, Sha256),
    Tree(Unpacker),
}

impl Store {
    /// Takes possession of a folder. Also tells what is in it, the least recently used first.
    pub fn open(folder: &Path) -> Result<(Orders, Shelf, Self, Vec<Item>), String> {
        let cannot = |cause: io::Error| format!("cannot use {} as cache: {cause}", folder.display());
        std::fs::create_dir_all(folder).map_err(cannot)?;
        let folder = folder.canonicalize().map_err(cannot)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"));
        let lock = lock.map_err(cannot)?;
        if let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock() {
            return Err(format!(
                "another worker uses {} as its cache; give each its own --cache-dir",
                folder.display()
            ));
        }
        let mut here = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(cannot)?.flatten() {
            let name = entry.file_name();
            if let Some(item) = name.to_str().and_then(named) {
                let used = entry.metadata().and_then(|metadata| metadata.modified());
                here.push((used.unwrap_or(SystemTime::UNIX_EPOCH), item));
            } else if name.to_str().is_some_and(|name| name.starts_with("new-")) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        here.sort();
        let items = here.into_iter().map(|(_, item)| item).collect();
        let (sender, asked) = mpsc::channel();
        let (coming, failed) = (BTreeMap::new(), BTreeSet::new());
        let store = Self { folder: folder.clone(), asked, coming, failed, numbers: 0, _lock: lock };
        Ok((Orders(sender), Shelf(folder), store, items))
    }

    /// Begins, in a thread of its own: a slow disk holds up nobody but those who need it.
    pub fn begin(mut self, tell: Tell) -> io::Result<()> {
        std::thread::Builder::new().name("cache".into()).spawn(move || {
            while let Ok(asked) = self.asked.recv() {
                let fact = match asked {
                    Asked::Store(item, octets) => self.store(item, &octets),
                    Asked::Evict(item) => self.evict(item),
                };
                if fact.is_some_and(|fact| !tell(vec![fact])) {
                    return;
                }
            }
        })?;
        Ok(())
    }

    fn store(&mut self, item: Item, octets: &[u8]) -> Option<Fact> {
        if self.failed.contains(&item) {
            return None;
        }
        match self.write(item, octets) {
            Ok(true) => Some(Fact::Arrived { item }),
            Ok(false) => Some(Fact::Stored { item, octets: octets.len() as u32 }),
            Err(cause) => {
                self.failed.insert(item);
                self.drop_coming(item);
                Some(Fact::NotStored { item, why: format!("the worker's cache cannot keep a file: {cause}") })
            }
        }
    }

    /// True if that was all of it.
    fn write(&mut self, item: Item, octets: &[u8]) -> io::Result<bool> {
        if !self.coming.contains_key(&item) {
            self.numbers += 1;
            let folder = self.folder.join(format!("new-{}", self.numbers));
            std::fs::create_dir(&folder)?;
            let data = folder.join("data");
            let sink = match item.form {
                Form::Tree => Sink::Tree(Unpacker::new(&data, For::Reading)?),
                // Executable for whoever shares it; whether its owner meant that is told where it is placed.
                Form::File => {
                    let file = OpenOptions::new().write(true).create_new(true).mode(0o555).open(data)?;
                    Sink::File(file, Sha256::new())
                }
            };
            self.coming.insert(item, Coming { folder, received: 0, sink });
        }
        let coming = self.coming.get_mut(&item).expect("inserted above");
        coming.received += octets.len() as u64;
        match &mut coming.sink {
            Sink::File(file, sum) => {
                file.write_all(octets)?;
                sum.update(octets);
            }
            Sink::Tree(unpacker) => unpacker.push(octets)?,
        }
        if coming.received < item.size {
            return Ok(false);
        }
        let coming = self.coming.remove(&item).expect("found above");
        let kept = self.complete(item, coming.sink, &coming.folder);
        if kept.is_err() {
            let _ = std::fs::remove_dir_all(&coming.folder);
        }
        kept.map(|()| true)
    }

    fn complete(&self, item: Item, sink: Sink, folder: &Path) -> io::Result<()> {
        let found = match sink {
            Sink::File(file, sum) => {
                file.set_modified(stored())?;
                file.sync_all()?;
                digest(sum)
            }
            Sink::Tree(unpacker) => {
                let digest = unpacker.finish()?.1;
                rustix::fs::syncfs(File::open(folder)?)?;
                digest
            }
        };
        if found != item.digest {
            return Err(io::Error::other("it did not arrive as it was sent (its digest differs)"));
        }
        let place = Shelf(self.folder.clone()).folder(&item);
        remove(&place);
        std::fs::rename(folder, place)?;
        File::open(&self.folder)?.sync_all()
    }

    fn evict(&mut self, item: Item) -> Option<Fact> {
        self.failed.remove(&item);
        self.drop_coming(item);
        remove(&Shelf(self.folder.clone()).folder(&item));
        None
    }

    fn drop_coming(&mut self, item: Item) {
        if let Some(coming) = self.coming.remove(&item) {
            remove(&coming.folder);
        }
    }
}

/// Removes a folder, as far as it can be.
fn remove(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

/// The item a folder of this name holds.
fn named(name: &str) -> Option<Item> {
    let mut parts = name.split('-');
    let (hex, size, form) = (parts.next()?, parts.next()?, parts.next()?);
    if hex.len() != 64 || parts.next().is_some() {
        return None;
    }
    let mut octets = [0; 32];
    for (place, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(hex.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    let form = match form {
        "f" => Form::File,
        "t" => Form::Tree,
        _ => return None,
    };
    Some(Item { digest: Digest(octets), size: size.parse().ok()?, form })
}

/// A copy of a file in the cache, for somebody who may write to it.
pub fn copy(from: &Path, to: &Path, executable: bool) -> io::Result<()> {
    if from.is_dir() {
        return crate::files::copy(from, to);
    }
    std::fs::copy(from, to)?;
    std::fs::set_permissions(to, Permissions::from_mode(if executable { 0o755 } else { 0o644 }))
}

/// Reads a file for a digest, for instance of a checkpoint.
pub fn describe(file: &mut File) -> io::Result<Item> {
    let digest = crate::files::sum(file)?;
    let size = io::Seek::stream_position(file)?;
    io::Seek::rewind(file)?;
    Ok(Item { digest, size, form: Form::File })
}

/// How much is read at a time.
pub const READ_AT_ONCE: usize = PORTION;

#[cfg(test)]
mod tests {
    use super::*;

    fn item(content: &[u8]) -> Item {
        let digest = crate::files::sum(&mut &content[..]).expect("memory");
        Item { digest, size: content.len() as u64, form: Form::File }
    }

    #[test]
    fn an_item_is_there_when_it_is_complete_and_survives_the_process() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, shelf, mut store, here) = Store::open(folder.path()).expect("free");
        assert!(here.is_empty());
        let (a, b) = (item(b"hello world"), item(b"other"));
        assert_eq!(store.store(a, b"hello "), Some(Fact::Stored { item: a, octets: 6 }));
        assert!(shelf.take(&a).is_err());
        assert_eq!(store.store(a, b"world"), Some(Fact::Arrived { item: a }));
        assert_eq!(std::fs::read(shelf.take(&a).expect("there")).expect("readable"), b"hello world");
        assert_eq!(store.store(b, b"oth"), Some(Fact::Stored { item: b, octets: 3 }));
        drop(store); // as if killed: what was on its way is nothing
        let (_, shelf, _store, here) = Store::open(folder.path()).expect("free again");
        assert_eq!(here, [a]);
        assert!(shelf.take(&a).is_ok() && shelf.take(&b).is_err());
        let left = std::fs::read_dir(folder.path()).expect("there").count();
        assert_eq!(left, 2, "the item and the lock");
    }

    #[test]
    fn what_arrives_damaged_is_not_kept_and_may_come_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, shelf, mut store, _) = Store::open(folder.path()).expect("free");
        let a = item(b"hello");
        let Some(Fact::NotStored { why, .. }) = store.store(a, b"hellO") else { panic!("it is damaged") };
        assert!(why.contains("digest"), "{why}");
        assert_eq!(store.store(a, b"hello"), None, "what was under way is ignored");
        assert_eq!(store.evict(a), None);
        assert_eq!(store.store(a, b"hello"), Some(Fact::Arrived { item: a }));
        store.evict(a);
        assert!(shelf.take(&a).is_err());
    }

    #[test]
    fn a_file_that_a_task_changed_is_found_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, shelf, mut store, _) = Store::open(folder.path()).expect("free");
        let a = item(b"hello");
        store.store(a, b"hello");
        let path = shelf.take(&a).expect("there");
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("ours");
        std::fs::write(&path, "jello").expect("room");
        assert!(shelf.take(&a).is_err());
    }

    #[test]
    fn a_folder_belongs_to_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Store::open(folder.path()).expect("free");
        let Err(why) = Store::open(folder.path()) else { panic!("it is taken") };
        assert!(why.contains("--cache-dir"), "{why}");
        drop(first);
        assert!(Store::open(folder.path()).is_ok());
    }
}
