//! Files on their way to tasks and back: what they are called by their content, and trees as runs of octets.
//!
//! ```text
//!   a file ---------- digest ----------.            .--> Store (a worker's cache)
//!                                       > Item, octets
//!   a folder -- scan --> List, Packer -'            `--> Unpacker --> a folder again
//! ```

pub mod names;
mod pack;
pub mod picks;

pub use pack::{For, Packer, Unpacker, copy, is_whole, scan, spares, stored};

use rserpool_compute::{Digest, Form, Item};
use sha2::{Digest as _, Sha256};
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Octets read or written at a time.
pub const PORTION: usize = 256 * 1024;

/// Opens for reading, but follows no link.
pub fn open(path: &Path) -> io::Result<File> {
    let nofollow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new().read(true).custom_flags(nofollow).open(path)
}

/// Removes a folder, as far as it can be: whoever made what is in it may have taken the rights to it from its owner, us.
pub fn remove(folder: &Path) {
    if std::fs::remove_dir_all(folder).is_ok() {
        return;
    }
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if folder.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let _ = std::fs::set_permissions(&folder, Permissions::from_mode(0o700));
            folders.extend(std::fs::read_dir(folder).into_iter().flatten().flatten().map(|one| one.path()));
        }
    }
    let _ = std::fs::remove_dir_all(folder);
}

/// The digest of what was put into it.
pub fn digest(sum: Sha256) -> Digest {
    Digest(sum.finalize().into())
}

/// What a file or folder is by its content, and by what one sees that it changed.
pub fn describe(path: &Path) -> Result<(Item, Stamp), String> {
    let cannot = |cause: io::Error| format!("cannot read {}: {cause}", path.display());
    let metadata = path.metadata().map_err(cannot)?;
    if metadata.is_dir() {
        let scanned = scan(path)?;
        let (size, stamp) = (scanned.list.size(), scanned.stamp());
        let digest = sum(&mut scanned.packer(path)).map_err(cannot)?;
        return Ok((Item { digest, size, form: Form::Tree }, stamp));
    }
    if !metadata.is_file() {
        return Err(format!("{} is neither a file nor a folder", path.display()));
    }
    let mut file = File::open(path).map_err(cannot)?;
    let stamp = Stamp::of(&file.metadata().map_err(cannot)?);
    let digest = sum(&mut file).map_err(cannot)?;
    let after = file.metadata().map_err(cannot)?;
    if Stamp::of(&after) != stamp {
        return Err(format!("{} changes while it is read", path.display()));
    }
    Ok((Item { digest, size: after.len(), form: Form::File }, stamp))
}

/// The digest of all there is to read.
pub fn sum(from: &mut impl Read) -> io::Result<Digest> {
    let mut sum = Sha256::new();
    let mut portion = vec![0; PORTION];
    loop {
        match from.read(&mut portion) {
            Ok(0) => return Ok(digest(sum)),
            Ok(count) => sum.update(&portion[..count]),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
}

/// Tells whether a file or tree is still the same, without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; 32]);

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let mut sum = Sha256::new();
        stamp_into(metadata, &mut sum);
        Self(sum.finalize().into())
    }
}

fn stamp_into(metadata: &Metadata, sum: &mut Sha256) {
    for number in [metadata.dev(), metadata.ino(), metadata.size()] {
        sum.update(number.to_be_bytes());
    }
    for number in [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()] {
        sum.update(number.to_be_bytes());
    }
}

/// The octets of an item, from its beginning.
pub enum Source {
    /// Of a file.
    File(File),
    /// Of a folder.
    Tree(Packer),
}

impl Source {
    /// Opens what was described before. Fails, for people, if it is not the same any more.
    pub fn open(path: &Path, form: Form, stamp: Stamp) -> Result<Self, String> {
        let changed = || format!("input {} changed after the job began", path.display());
        let cannot = |cause: io::Error| format!("cannot read input {}: {cause}", path.display());
        match form {
            Form::File => {
                let file = File::open(path).map_err(cannot)?;
                let same = Stamp::of(&file.metadata().map_err(cannot)?) == stamp;
                if same { Ok(Self::File(file)) } else { Err(changed()) }
            }
            Form::Tree => {
                let scanned = scan(path)?;
                if scanned.stamp() == stamp { Ok(Self::Tree(scanned.packer(path))) } else { Err(changed()) }
            }
        }
    }

    /// The next octets; all that were asked for.
    pub fn next(&mut self, octets: usize) -> io::Result<Vec<u8>> {
        let mut portion = vec![0; octets];
        match self {
            Self::File(file) => file.read_exact(&mut portion)?,
            Self::Tree(packer) => packer.read_exact(&mut portion)?,
        }
        Ok(portion)
    }
}

/// A size in octets as people write it: `500M`, `20G`, `4096`; K, M, G, T are powers of 1024.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size such as 500M or 20G");
    let (number, shift) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        Some(b'T') => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).filter(|octets| *octets > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("500M"), Ok(500 << 20));
        assert_eq!(size("2g"), Ok(2 << 30));
        for wrong in ["", "0", "M", "-1", "1.5G", "99999999999T", "ä"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    /// Shows something only to those who need rights: not to root.
    #[test]
    fn a_folder_goes_whatever_rights_to_it_are_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let (top, outside) = (folder.path().join("top"), folder.path().join("outside"));
        std::fs::create_dir_all(top.join("a/b")).expect("room");
        std::fs::create_dir(&outside).expect("room");
        std::fs::write(top.join("a/b/file"), "x").expect("room");
        std::os::unix::fs::symlink(&outside, top.join("a/link")).expect("room");
        for (name, mode) in [("outside", 0o500), ("top/a/b", 0o500), ("top/a", 0), ("top", 0o100)] {
            std::fs::set_permissions(folder.path().join(name), Permissions::from_mode(mode)).expect("ours");
        }
        remove(&top);
        assert!(!top.exists());
        let mode = outside.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o500, "nobody's business");
    }

    #[test]
    fn a_changed_input_is_told_from_the_described_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        std::fs::write(&path, "abc").expect("room");
        let (item, stamp) = describe(&path).expect("a file");
        assert_eq!(item.size, 3);
        // The published test vector of SHA-256.
        assert!(item.digest.to_string().starts_with("ba7816bf8f01cfea414140de5dae2223b00361a3"));
        assert_eq!(Source::open(&path, Form::File, stamp).expect("same").next(3).expect("there"), b"abc");
        std::fs::write(&path, "abd").expect("room");
        let Err(why) = Source::open(&path, Form::File, stamp) else { panic!("it changed") };
        assert!(why.contains("changed after the job began"), "{why}");
    }
}
