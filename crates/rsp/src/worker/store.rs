//! A worker's cache of files by content, on its disk. Which of them stay is the service's to say; here is only what it
//! wishes.
//!
//! ```text
//!   CACHE/lock                          held by the one process the folder belongs to
//!   CACHE/DIGEST-SIZE-f/data            a file, for reading
//!   CACHE/DIGEST-SIZE-t/data/…          a tree
//!   CACHE/DIGEST-SIZE-t/list            what is in it
//!   CACHE/DIGEST-SIZE-t/spares/N        its files once more, should they be removed there
//!   CACHE/new-N/data                    what is on its way: renamed when it is complete, right and on the disk
//! ```
//!
//! Whoever is killed in between leaves a `new-N` behind, which the next life removes. The folder's time is that of its
//! last use; that of a file, in a tree too, is a constant, so a task that wrote to one all the same is found out. It is
//! fetched anew then, and replaced in one step: other tasks may be using what is still good of it.

use super::crew::Tell;
use crate::files::{For, PORTION, Unpacker, digest, is_whole, remove, spares, stored};
use rserpool_compute::service::Fact;
use rserpool_compute::tree::List;
use rserpool_compute::{Digest, Form, Item};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::ops::Deref;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

enum Asked {
    Store(Item, Vec<u8>),
    Evict(Item),
    /// Nobody uses this any more, which was to go.
    Unused(Item),
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
pub struct Shelf {
    folder: PathBuf,
    uses: Arc<Mutex<Uses>>,
    asked: Sender<Asked>,
}

/// Who needs what to stay where it is.
#[derive(Debug, Default)]
struct Uses {
    users: BTreeMap<Item, u32>,
    /// Forgotten, but still in use.
    left: BTreeSet<Item>,
}

/// An item in use, by its path: it stays there until this is dropped, unless the same comes anew.
#[derive(Debug)]
pub struct Taken {
    path: PathBuf,
    item: Item,
    shelf: Shelf,
}

impl Deref for Taken {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.path
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut uses = self.shelf.uses();
        let users = uses.users.get_mut(&self.item).expect("counted when it was taken");
        *users -= 1;
        if *users == 0 {
            uses.users.remove(&self.item);
            if uses.left.contains(&self.item) {
                // The thread that removes it may be gone with the process.
                let _ = self.shelf.asked.send(Asked::Unused(self.item));
            }
        }
    }
}

impl Shelf {
    fn folder(&self, item: &Item) -> PathBuf {
        let form = match item.form {
            Form::File => 'f',
            Form::Tree => 't',
        };
        self.folder.join(format!("{}-{}-{form}", item.digest, item.size))
    }

    fn uses(&self) -> MutexGuard<'_, Uses> {
        // The values stay whole whatever a panicking thread did.
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file, or the top of the tree. Notes that it is used now. Fails, for people, if it is not as it was stored.
    pub fn take(&self, item: &Item) -> Result<Taken, String> {
        let folder = self.folder(item);
        let path = folder.join("data");
        let cannot = |cause: io::Error| format!("the worker's cache lost a file: {cause}");
        let metadata = path.symlink_metadata().map_err(cannot)?;
        let whole = match item.form {
            Form::Tree => {
                let list = std::fs::read(folder.join("list")).map_err(cannot)?;
                let list = List::parse(&list).map_err(|error| cannot(io::Error::other(error.to_string())))?;
                metadata.is_dir() && is_whole(&path, &list, &folder.join("spares")).map_err(cannot)?
            }
            Form::File => {
                metadata.len() == item.size && metadata.modified().is_ok_and(|time| time == stored())
            }
        };
        if !whole {
            return Err("a file in the worker's cache was changed by a task".to_owned());
        }
        // Only the order of eviction in the next life hangs on it.
        let _ = File::open(folder).and_then(|folder| folder.set_modified(SystemTime::now()));
        *self.uses().users.entry(*item).or_default() += 1;
        Ok(Taken { path, item: *item, shelf: self.clone() })
    }
}

/// The cache, before it begins.
pub struct Store {
    shelf: Shelf,
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
                remove(&entry.path());
            }
        }
        here.sort();
        let items = here.into_iter().map(|(_, item)| item).collect();
        let (sender, asked) = mpsc::channel();
        let (coming, failed) = (BTreeMap::new(), BTreeSet::new());
        let shelf = Shelf { folder, uses: Arc::default(), asked: sender.clone() };
        let store = Self { shelf: shelf.clone(), asked, coming, failed, numbers: 0, _lock: lock };
        Ok((Orders(sender), shelf, store, items))
    }

    /// Begins, in a thread of its own: a slow disk holds up nobody but those who need it.
    pub fn begin(mut self, tell: Tell) -> io::Result<()> {
        std::thread::Builder::new().name("cache".into()).spawn(move || {
            while let Ok(asked) = self.asked.recv() {
                if self.obey(asked).is_some_and(|fact| !tell(vec![fact])) {
                    return;
                }
            }
        })?;
        Ok(())
    }

    fn obey(&mut self, asked: Asked) -> Option<Fact> {
        match asked {
            Asked::Store(item, octets) => self.store(item, &octets),
            Asked::Evict(item) => self.evict(item),
            Asked::Unused(item) => self.unused(item),
        }
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
            let folder = self.shelf.folder.join(format!("new-{}", self.numbers));
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
            remove(&coming.folder);
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
                let (list, digest) = unpacker.finish()?;
                std::fs::write(folder.join("list"), list.emit())?;
                // A file system may not know second names: then what was removed is fetched anew.
                let _ = spares(&folder.join("data"), &list, &folder.join("spares"));
                rustix::fs::syncfs(File::open(folder)?)?;
                digest
            }
        };
        if found != item.digest {
            return Err(io::Error::other("it did not arrive as it was sent (its digest differs)"));
        }
        let place = self.shelf.folder(&item);
        // Whoever still uses what was changed finds something at any moment.
        if renameat_with(CWD, folder, CWD, &place, RenameFlags::EXCHANGE).is_ok() {
            remove(folder);
        } else {
            remove(&place);
            std::fs::rename(folder, place)?;
        }
        self.shelf.uses().left.remove(&item);
        File::open(&self.shelf.folder)?.sync_all()
    }

    fn evict(&mut self, item: Item) -> Option<Fact> {
        self.failed.remove(&item);
        self.drop_coming(item);
        self.shelf.uses().left.insert(item);
        self.unused(item)
    }

    /// Removes what was forgotten, as soon as nobody uses it.
    fn unused(&mut self, item: Item) -> Option<Fact> {
        let mut uses = self.shelf.uses();
        if !uses.users.contains_key(&item) && uses.left.remove(&item) {
            drop(uses);
            remove(&self.shelf.folder(&item));
        }
        None
    }

    fn drop_coming(&mut self, item: Item) {
        if let Some(coming) = self.coming.remove(&item) {
            remove(&coming.folder);
        }
    }
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
        assert_eq!(std::fs::read(&*shelf.take(&a).expect("there")).expect("readable"), b"hello world");
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
        std::fs::set_permissions(&*path, Permissions::from_mode(0o644)).expect("ours");
        std::fs::write(&*path, "jello").expect("room");
        assert!(shelf.take(&a).is_err());
    }

    /// A folder with a program, a file and an empty folder, in the cache.
    fn a_tree(store: &mut Store) -> Item {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("bin")).expect("room");
        std::fs::create_dir_all(folder.path().join("empty")).expect("room");
        std::fs::write(folder.path().join("bin/tool"), "v1").expect("room");
        std::fs::set_permissions(folder.path().join("bin/tool"), Permissions::from_mode(0o755))
            .expect("ours");
        std::fs::write(folder.path().join("data"), "abc").expect("room");
        std::os::unix::fs::symlink("data", folder.path().join("link")).expect("room");
        keep(store, folder.path())
    }

    fn keep(store: &mut Store, folder: &Path) -> Item {
        let (item, _) = crate::files::describe(folder).expect("readable");
        let mut octets = Vec::new();
        let scanned = crate::files::scan(folder).expect("legal");
        io::Read::read_to_end(&mut scanned.packer(folder), &mut octets).expect("readable");
        assert_eq!(store.store(item, &octets), Some(Fact::Arrived { item }));
        item
    }

    #[test]
    fn a_tree_in_which_a_task_wrote_to_something_is_found_out() {
        type Change = fn(&Path) -> io::Result<()>;
        let changes: [(&str, Change); 3] = [
            ("written", |top| {
                std::fs::set_permissions(top.join("data"), Permissions::from_mode(0o644))?;
                std::fs::write(top.join("data"), "xyz")
            }),
            ("longer", |top| {
                std::fs::set_permissions(top.join("data"), Permissions::from_mode(0o644))?;
                std::fs::write(top.join("data"), "abcd")?;
                File::options().write(true).open(top.join("data"))?.set_modified(stored())
            }),
            ("no program any more", |top| {
                std::fs::set_permissions(top.join("bin/tool"), Permissions::from_mode(0o444))
            }),
        ];
        let folder = tempfile::tempdir().expect("a folder");
        let (_, mut shelf, mut store, _) = Store::open(folder.path()).expect("free");
        for (what, change) in changes {
            let tree = a_tree(&mut store);
            change(&shelf.take(&tree).expect("whole")).expect("ours");
            assert!(shelf.take(&tree).is_err(), "{what}");
            // Nor does it become right by a new life.
            drop(store);
            let (_, again, next, here) = Store::open(folder.path()).expect("free again");
            assert_eq!(here, [tree]);
            assert!(again.take(&tree).is_err(), "{what}, in the next life");
            (shelf, store) = (again, next);
            store.evict(tree);
        }
        let tree = a_tree(&mut store);
        assert!(shelf.take(&tree).is_ok(), "it came anew");
    }

    #[test]
    fn what_a_task_added_to_a_tree_replaced_or_removed_is_as_before_when_the_tree_is_needed_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, shelf, mut store, _) = Store::open(folder.path()).expect("free");
        let tree = a_tree(&mut store);
        let top = shelf.take(&tree).expect("whole");
        let changes: [&dyn Fn() -> io::Result<()>; 8] = [
            &|| std::fs::write(top.join("bin/ls"), "poison"),
            &|| std::fs::create_dir_all(top.join("empty/cache/deep")),
            &|| std::os::unix::fs::symlink("/etc", top.join("etc")),
            &|| {
                std::fs::write(top.join("new"), "v2")
                    .and_then(|()| std::fs::rename(top.join("new"), top.join("bin/tool")))
            },
            &|| std::fs::remove_file(top.join("data")),
            &|| std::fs::remove_file(top.join("data")).and_then(|()| std::fs::create_dir(top.join("data"))),
            &|| {
                std::fs::remove_file(top.join("link"))
                    .and_then(|()| std::os::unix::fs::symlink("bin", top.join("link")))
            },
            &|| {
                std::fs::read_dir(&*top)?.flatten().try_for_each(|one| match one.file_type()?.is_dir() {
                    true => std::fs::remove_dir_all(one.path()),
                    false => std::fs::remove_file(one.path()),
                })
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            change().expect("ours");
            let top = shelf.take(&tree).expect("it is as it was sent again");
            assert_eq!(crate::files::describe(&top).expect("readable").0, tree, "change {number}");
        }
        assert!(Path::new("/etc").is_dir());
    }

    #[test]
    fn a_tree_is_set_right_while_somebody_writes_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, shelf, mut store, _) = Store::open(folder.path()).expect("free");
        let tree = a_tree(&mut store);
        let top = shelf.take(&tree).expect("whole").to_path_buf();
        let over = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let cache = top.join("bin/cache/deep");
                    // It may be gone between any two of these.
                    let _ = std::fs::create_dir_all(&cache);
                    for number in 0..20 {
                        let _ = std::fs::write(cache.join(number.to_string()), "x");
                    }
                }
            });
            let failed = (0..300).find_map(|_| shelf.take(&tree).err());
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(failed.is_none(), "{failed:?}");
        });
    }

    #[test]
    fn what_is_in_use_stays_until_it_is_not_or_comes_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (_, shelf, mut store, _) = Store::open(folder.path()).expect("free");
        let tree = a_tree(&mut store);
        let (one, other) = (shelf.take(&tree).expect("whole"), shelf.take(&tree).expect("whole"));
        store.evict(tree);
        drop(one);
        assert!(store.asked.try_recv().is_err() && other.join("bin/tool").is_file(), "the other one uses it");
        let path = other.to_path_buf();
        drop(other);
        let asked = store.asked.try_recv().expect("it may go now");
        store.obey(asked);
        assert!(!path.exists());

        let tree = a_tree(&mut store);
        let user = shelf.take(&tree).expect("whole");
        std::fs::set_permissions(user.join("data"), Permissions::from_mode(0o644)).expect("ours");
        std::fs::write(user.join("data"), "xyz").expect("room");
        assert!(shelf.take(&tree).is_err());
        store.evict(tree);
        assert!(user.join("bin/tool").is_file() && user.join("data").is_file(), "better than nothing");
        assert_eq!(a_tree(&mut store), tree);
        assert_eq!(std::fs::read(user.join("data")).expect("at the same place"), b"abc");
        drop(user);
        assert!(store.asked.try_recv().is_err(), "what came anew stays");
        assert!(shelf.take(&tree).is_ok());
        let left = std::fs::read_dir(folder.path()).expect("there").count();
        assert_eq!(left, 2, "the item and the lock");
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
