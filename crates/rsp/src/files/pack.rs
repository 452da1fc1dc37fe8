//! Folders as runs of octets ([`rserpool_compute::tree`]), and back.

use super::{PORTION, Stamp, digest, stamp_into};
use rserpool_compute::Digest;
use rserpool_compute::tree::{self, Entry, HEAD, Kind, List};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// What is in a folder.
pub struct Scanned {
    /// Names and kinds.
    pub list: List,
    stamps: Sha256,
}

impl Scanned {
    /// Changes when something in the folder does.
    pub fn stamp(&self) -> Stamp {
        let mut sum = self.stamps.clone();
        sum.update(self.list.emit());
        Stamp(sum.finalize().into())
    }

    /// Its octets.
    pub fn packer(&self, top: &Path) -> Packer {
        Packer::new(top, &self.list)
    }
}

/// Looks through a folder. The errors are for people.
pub fn scan(top: &Path) -> Result<Scanned, String> {
    let mut entries = Vec::new();
    let mut stamps = Sha256::new();
    look(top, &[], &mut entries, &mut stamps, &mut |_| true)?;
    let list = List::new(entries).map_err(|error| format!("cannot take {}: {error}", top.display()))?;
    Ok(Scanned { list, stamps })
}

/// Adds what is in one folder and below, as far as it is wanted; folders always.
pub(super) fn look(
    folder: &Path,
    below: &[u8],
    entries: &mut Vec<Entry>,
    stamps: &mut Sha256,
    wanted: &mut impl FnMut(&[u8]) -> bool,
) -> Result<(), String> {
    let cannot = |at: &Path, cause: io::Error| format!("cannot read {}: {cause}", at.display());
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|cause| cannot(folder, cause))?;
    found.sort_by_key(std::fs::DirEntry::file_name);
    for one in found {
        if entries.len() >= tree::ENTRIES_MAX {
            return Err(format!("{} holds more than {} files", folder.display(), tree::ENTRIES_MAX));
        }
        let path = one.path();
        let mut name = below.to_vec();
        name.extend(one.file_name().as_bytes());
        let metadata = one.metadata().map_err(|cause| cannot(&path, cause))?;
        let kind = if metadata.is_dir() {
            entries.push(Entry { name: name.clone(), kind: Kind::Folder });
            name.push(b'/');
            look(&path, &name, entries, stamps, wanted)?;
            continue;
        } else if !wanted(&name) {
            continue;
        } else if metadata.is_file() {
            Kind::File { size: metadata.len(), executable: metadata.permissions().mode() & 0o111 != 0 }
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(&path).map_err(|cause| cannot(&path, cause))?;
            let target = target.into_os_string().into_vec();
            if !tree::stays_inside(&name, &target) {
                return Err(format!("{} is a link to something outside of its tree", path.display()));
            }
            Kind::Link { target }
        } else {
            return Err(format!("{} is neither a file, a folder nor a link", path.display()));
        };
        stamp_into(&metadata, stamps);
        entries.push(Entry { name, kind });
    }
    Ok(())
}

/// Reads a folder as a run of octets.
pub struct Packer {
    top: PathBuf,
    list: io::Cursor<Vec<u8>>,
    files: VecDeque<(Vec<u8>, u64)>,
    open: Option<Opened>,
}

/// A file that is being read.
struct Opened {
    name: Vec<u8>,
    file: File,
    left: u64,
}

impl Packer {
    /// Of what this list names in this folder.
    pub fn new(top: &Path, list: &List) -> Self {
        let sized = list.entries().iter().filter_map(|entry| match entry.kind {
            Kind::File { size, .. } if size > 0 => Some((entry.name.clone(), size)),
            _ => None,
        });
        let files = sized.collect();
        Self { top: top.to_owned(), list: io::Cursor::new(list.emit()), files, open: None }
    }
}

impl Read for Packer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.list.read(into)?;
        if count > 0 || into.is_empty() {
            return Ok(count);
        }
        loop {
            if let Some(Opened { name, file, left }) = &mut self.open {
                let room = into.len().min(usize::try_from(*left).unwrap_or(into.len()));
                let count = file.read(&mut into[..room]).map_err(|cause| cannot_read(name, &cause))?;
                if count == 0 {
                    return Err(cannot_read(name, &io::Error::other("it became shorter meanwhile")));
                }
                *left -= count as u64;
                if *left == 0 {
                    self.open = None;
                }
                return Ok(count);
            }
            let Some((name, left)) = self.files.pop_front() else { return Ok(0) };
            let file = super::open(&self.top.join(OsStr::from_bytes(&name)));
            let file = file.map_err(|cause| cannot_read(&name, &cause))?;
            self.open = Some(Opened { name, file, left });
        }
    }
}

/// For people, with the name in the tree.
fn cannot_read(name: &[u8], cause: &io::Error) -> io::Error {
    io::Error::new(cause.kind(), format!("cannot read {}: {cause}", String::from_utf8_lossy(name)))
}

/// The time of every file that is for reading: who writes to one all the same changes it.
pub fn stored() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1)
}

/// How often a tree is looked at again in which somebody changes something at the same time.
const LOOKS: usize = 3;

/// Whether a tree that was unpacked for reading is what this list says, if need be again: what somebody added to it is
/// removed, what was removed or replaced comes from its [`spares`]. Only what was written to has no other copy.
pub fn is_whole(top: &Path, list: &List, spares: &Path) -> io::Result<bool> {
    // Tasks that use it may be adding and removing meanwhile: then once more.
    for _ in 0..LOOKS {
        match set_right(top, list, spares) {
            Err(cause) if matches!(cause.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {}
            seen => return seen,
        }
    }
    set_right(top, list, spares)
}

fn set_right(top: &Path, list: &List, spares: &Path) -> io::Result<bool> {
    let mut missing: BTreeSet<usize> = (0..list.entries().len()).collect();
    look_after(top, &[], list.entries(), spares, &mut missing)?;
    // Folders come before what is in them.
    for place in missing {
        let entry = &list.entries()[place];
        let path = top.join(OsStr::from_bytes(&entry.name));
        match &entry.kind {
            Kind::Folder => DirBuilder::new().mode(0o755).create(path)?,
            Kind::Link { target } => std::os::unix::fs::symlink(OsStr::from_bytes(target), path)?,
            Kind::File { .. } => {
                let spare = spares.join(place.to_string());
                if !is_as_listed(&spare, &spare.symlink_metadata()?, &entry.kind)? {
                    return Ok(false);
                }
                // In one step: other tasks may be using it.
                let new = spares.join("new");
                let _ = std::fs::remove_file(&new);
                std::fs::hard_link(spare, &new)?;
                std::fs::rename(new, path)?;
            }
        }
    }
    Ok(true)
}

/// Second names of the files in a tree, by their place in its list: they outlive the first ones, and take no room.
pub fn spares(top: &Path, list: &List, spares: &Path) -> io::Result<()> {
    std::fs::create_dir(spares)?;
    for (place, entry) in list.entries().iter().enumerate() {
        if matches!(entry.kind, Kind::File { .. }) {
            std::fs::hard_link(top.join(OsStr::from_bytes(&entry.name)), spares.join(place.to_string()))?;
        }
    }
    Ok(())
}

/// Removes what is not as listed, files with the name of one excepted, and strikes what is from the missing ones.
fn look_after(
    folder: &Path,
    below: &[u8],
    entries: &[Entry],
    spares: &Path,
    missing: &mut BTreeSet<usize>,
) -> io::Result<()> {
    for one in std::fs::read_dir(folder)? {
        let one = one?;
        let path = one.path();
        let mut name = below.to_vec();
        name.extend(one.file_name().as_bytes());
        let metadata = match one.metadata() {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue, // a task tidies up behind itself
            metadata => metadata?,
        };
        let listed = entries.binary_search_by(|entry| entry.name.cmp(&name)).ok();
        if let Some(place) = listed
            && is_as_listed(&path, &metadata, &entries[place].kind)?
        {
            missing.remove(&place);
            if metadata.is_dir() {
                name.push(b'/');
                look_after(&path, &name, entries, spares, missing)?;
            }
            continue;
        }
        if listed.is_some_and(|place| matches!(entries[place].kind, Kind::File { .. })) && metadata.is_file()
        {
            continue; // of some use until there is a better one
        }
        // Out of the tree in one step: a folder that a task writes into is never empty for sure.
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let aside = spares.join(format!("old-{}", NUMBER.fetch_add(1, Ordering::Relaxed)));
        match std::fs::rename(&path, &aside) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            renamed => renamed?,
        }
        let _ = std::fs::remove_file(&aside);
        super::remove(&aside);
    }
    Ok(())
}

fn is_as_listed(path: &Path, metadata: &Metadata, kind: &Kind) -> io::Result<bool> {
    let mode = metadata.permissions().mode();
    Ok(match kind {
        Kind::Folder => metadata.is_dir(),
        Kind::File { size, executable } => {
            metadata.is_file()
                && metadata.len() == *size
                && metadata.modified()? == stored()
                && mode & 0o400 != 0
                && (mode & 0o111 != 0) == *executable
        }
        Kind::Link { target } => {
            metadata.is_symlink() && std::fs::read_link(path)?.as_os_str().as_bytes() == target
        }
    })
}

/// What is unpacked is for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// A worker's cache: nobody writes to it. Its files have the time [`stored`].
    Reading,
    /// Its owner. Each file reaches the disk.
    Keeping,
}

/// Makes a folder from the octets of one, as they come.
pub struct Unpacker {
    top: PathBuf,
    purpose: For,
    sum: Sha256,
    /// Octets of the list so far, until it is complete.
    head: Vec<u8>,
    list: Option<List>,
    /// The next entry.
    next: usize,
    open: Option<(File, u64)>,
    /// Octets after the tree: a digest, at most.
    trailer: Vec<u8>,
}

impl Unpacker {
    /// Into this folder, which is made here.
    pub fn new(top: &Path, purpose: For) -> io::Result<Self> {
        DirBuilder::new().mode(0o755).create(top)?;
        Ok(Self {
            top: top.to_owned(),
            purpose,
            sum: Sha256::new(),
            head: Vec::new(),
            list: None,
            next: 0,
            open: None,
            trailer: Vec::new(),
        })
    }

    /// The next octets.
    pub fn push(&mut self, mut octets: &[u8]) -> io::Result<()> {
        while !octets.is_empty() {
            let used = if self.list.is_none() {
                self.push_head(octets)?
            } else if let Some((file, left)) = &mut self.open {
                let count = octets.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                file.write_all(&octets[..count])?;
                self.sum.update(&octets[..count]);
                *left -= count as u64;
                count
            } else if self.trailer.len() + octets.len() <= 32 {
                self.trailer.extend(octets);
                octets.len()
            } else {
                return Err(io::Error::other("octets behind a tree"));
            };
            octets = &octets[used..];
            self.advance()?;
        }
        Ok(())
    }

    fn push_head(&mut self, octets: &[u8]) -> io::Result<usize> {
        let wrong = |error| io::Error::other(format!("malformed tree: {error}"));
        let wanted = match self.head.first_chunk::<HEAD>() {
            Some(head) => tree::length(head).map_err(wrong)?,
            None => HEAD,
        };
        let count = octets.len().min(wanted - self.head.len());
        self.head.extend(&octets[..count]);
        if let Some(head) = self.head.first_chunk::<HEAD>()
            && self.head.len() == tree::length(head).map_err(wrong)?
        {
            self.list = Some(List::parse(&self.head).map_err(wrong)?);
            self.sum.update(&self.head);
            self.head = Vec::new();
        }
        Ok(count)
    }

    /// Makes everything that needs no more octets.
    fn advance(&mut self) -> io::Result<()> {
        loop {
            if let Some((file, left)) = &self.open {
                if *left > 0 {
                    return Ok(());
                }
                match self.purpose {
                    For::Reading => file.set_modified(stored())?,
                    For::Keeping => file.sync_all()?,
                }
                self.open = None;
            }
            let Some(entry) = self.list.as_ref().and_then(|list| list.entries().get(self.next)) else {
                return Ok(());
            };
            self.next += 1;
            let path = self.top.join(OsStr::from_bytes(&entry.name));
            match &entry.kind {
                Kind::Folder => DirBuilder::new().mode(0o755).create(path)?,
                Kind::Link { target } => std::os::unix::fs::symlink(OsStr::from_bytes(target), path)?,
                Kind::File { size, executable } => {
                    let mode = match (self.purpose, executable) {
                        (For::Reading, true) => 0o555,
                        (For::Reading, false) => 0o444,
                        (For::Keeping, true) => 0o755,
                        (For::Keeping, false) => 0o644,
                    };
                    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
                    self.open = Some((file, *size));
                }
            }
        }
    }

    /// The end. What was unpacked, and its digest; fails if something is missing, or another digest came behind it.
    pub fn finish(self) -> io::Result<(List, Digest)> {
        let digest = digest(self.sum);
        let complete = self.open.is_none() && (self.trailer.is_empty() || self.trailer == digest.0);
        match self.list {
            Some(list) if complete && self.next == list.entries().len() => Ok((list, digest)),
            _ => Err(io::Error::other("it did not arrive as it was sent")),
        }
    }
}

/// Copies a tree for somebody who may write to it.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let scanned = scan(from).map_err(io::Error::other)?;
    let mut packer = scanned.packer(from);
    let mut unpacker = Unpacker::new(to, For::Keeping)?;
    let mut portion = vec![0; PORTION];
    loop {
        match packer.read(&mut portion)? {
            0 => return unpacker.finish().map(drop),
            count => unpacker.push(&portion[..count])?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn sample(top: &Path) {
        std::fs::create_dir_all(top.join("bin/deep")).expect("room");
        std::fs::write(top.join("bin/run"), "#!/bin/sh\n").expect("room");
        std::fs::set_permissions(top.join("bin/run"), PermissionsExt::from_mode(0o700)).expect("ours");
        std::fs::write(top.join("empty"), "").expect("room");
        std::fs::write(top.join(OsStr::from_bytes(b"odd \xff\n*")), vec![7; 700_000]).expect("room");
        std::os::unix::fs::symlink("../../empty", top.join("bin/deep/link")).expect("room");
    }

    fn octets(top: &Path) -> Vec<u8> {
        let mut octets = Vec::new();
        scan(top).expect("legal").packer(top).read_to_end(&mut octets).expect("readable");
        octets
    }

    #[test]
    fn a_tree_survives_the_way_in_portions_of_any_size() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().join("top");
        sample(&top);
        let sent = octets(&top);
        assert_eq!(sent.len() as u64, scan(&top).expect("legal").list.size());
        for portion in [1_000, 65_536, 3_000_000] {
            let there = folder.path().join(format!("there {portion}"));
            let mut unpacker = Unpacker::new(&there, For::Keeping).expect("room");
            sent.chunks(portion).for_each(|octets| unpacker.push(octets).expect("room"));
            let (list, digest) = unpacker.finish().expect("complete");
            assert_eq!(list.entries().len(), 6);
            assert_eq!(digest, super::super::sum(&mut &sent[..]).expect("memory"));
            assert_eq!(octets(&there), sent);
            let mode = there.join("bin/run").metadata().expect("there").permissions().mode();
            assert_eq!(mode & 0o111, 0o111);
        }
    }

    #[test]
    fn what_is_cut_or_damaged_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        let top = folder.path().join("top");
        sample(&top);
        let sent = octets(&top);
        for (number, cut) in [0, 10, 40, sent.len() - 1].into_iter().enumerate() {
            let there = folder.path().join(format!("cut {number}"));
            let mut unpacker = Unpacker::new(&there, For::Keeping).expect("room");
            unpacker.push(&sent[..cut]).expect("room");
            assert!(unpacker.finish().is_err(), "cut at {cut}");
        }
        let there = folder.path().join("other digest");
        let mut unpacker = Unpacker::new(&there, For::Keeping).expect("room");
        unpacker.push(&sent).expect("room");
        unpacker.push(&[1; 32]).expect("a digest");
        assert!(unpacker.finish().is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_to_its_end_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        sample(folder.path());
        let why = |spoil: fn(&Path)| {
            let mut packer = scan(folder.path()).expect("legal").packer(folder.path());
            spoil(&folder.path().join("bin/run"));
            packer.read_to_end(&mut Vec::new()).expect_err("it is not there as it was").to_string()
        };
        let shorter = why(|path| std::fs::write(path, "#!").expect("ours"));
        assert_eq!(shorter, "cannot read bin/run: it became shorter meanwhile");
        let gone = why(|path| std::fs::remove_file(path).expect("ours"));
        assert!(gone.starts_with("cannot read bin/run: No such file"), "{gone}");
    }

    #[test]
    fn links_that_leave_the_tree_and_special_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("out")).expect("room");
        let Err(why) = scan(folder.path()) else { panic!("it leaves") };
        assert!(why.contains("out is a link to something outside"), "{why}");
        std::fs::remove_file(folder.path().join("out")).expect("there");
        std::os::unix::net::UnixListener::bind(folder.path().join("socket")).expect("room");
        let Err(why) = scan(folder.path()) else { panic!("a socket is no file") };
        assert!(why.contains("socket is neither"), "{why}");
    }
}
