//! The environment cache: files named by their hash.
//!
//! A file is kept only after its hash was found to be what its user said, and is verified again with every copy. SHA-1 is
//! the protocol's; files that were made to collide are recognised and refused.

use rserpool_compute::application::scripting::{Cache, Hash};
use sha1_checked::{Digest, Sha1};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The cache on disk.
pub struct Store {
    folder: PathBuf,
    books: Cache,
}

impl Store {
    /// Opens a folder, which is made if it is not there. Files of earlier times are taken in if they are whole.
    pub fn open(folder: PathBuf, size_max: u64, entries_max: usize) -> io::Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let mut store = Self { folder, books: Cache::new(size_max, entries_max) };
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(&store.folder)?.flatten().map(|entry| entry.path()).collect();
        names.sort();
        for path in names {
            let Some(named) = hash_of_name(&path) else { continue };
            let whole = hash_of_file(&path, None).ok().flatten().filter(|(hash, _)| *hash == named);
            match whole {
                Some((hash, size)) => store.admit(hash, size)?,
                None => std::fs::remove_file(&path)?,
            }
        }
        Ok(store)
    }

    /// Copies an environment to `to`; false if it is not there, or not whole any more.
    pub fn copy(&mut self, hash: &Hash, to: &Path) -> io::Result<bool> {
        if !self.books.find(hash) {
            return Ok(false);
        }
        let path = self.path(hash);
        let copied = File::create(to).and_then(|mut copy| hash_of_file(&path, Some(&mut copy)));
        if matches!(copied, Ok(Some((found, _))) if found == *hash) {
            return Ok(true);
        }
        self.books.remove(hash);
        let _ = std::fs::remove_file(path); // it may be gone already
        std::fs::remove_file(to)?;
        Ok(false)
    }

    /// Keeps a copy of `file` if its hash is this one; false if it is not. A file too large for the cache is good all
    /// the same.
    pub fn keep(&mut self, hash: Hash, file: &Path) -> io::Result<bool> {
        let Some((found, size)) = hash_of_file(file, None)? else { return Ok(false) };
        if found != hash {
            return Ok(false);
        }
        let mut copy = tempfile::NamedTempFile::new_in(&self.folder)?;
        io::copy(&mut File::open(file)?, &mut copy)?;
        copy.persist(self.path(&hash)).map_err(|error| error.error)?;
        self.admit(hash, size)?;
        Ok(true)
    }

    fn admit(&mut self, hash: Hash, size: u64) -> io::Result<()> {
        for gone in self.books.admit(hash, size).unwrap_or_else(|| vec![hash]) {
            std::fs::remove_file(self.path(&gone))?;
        }
        Ok(())
    }

    fn path(&self, hash: &Hash) -> PathBuf {
        let name: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
        self.folder.join(format!("{name}.data"))
    }
}

/// The hash of octets. Two users' files are told apart by it, so it need not resist anybody.
pub fn hash(octets: &[u8]) -> Hash {
    Sha1::digest(octets).into()
}

/// Hash and size of a file, which is copied on the way if wanted. `None`: it was made to collide with another one.
fn hash_of_file(path: &Path, mut copy: Option<&mut File>) -> io::Result<Option<(Hash, u64)>> {
    let (mut file, mut hasher, mut size) = (File::open(path)?, Sha1::new(), 0);
    let mut portion = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut portion)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        hasher.update(&portion[..count]);
        if let Some(copy) = &mut copy {
            copy.write_all(&portion[..count])?;
        }
    }
    let result = hasher.try_finalize();
    Ok((!result.has_collision()).then(|| ((*result.hash()).into(), size)))
}

fn hash_of_name(path: &Path) -> Option<Hash> {
    let name = path.file_name()?.to_str()?.strip_suffix(".data")?;
    (name.len() == 40 && name.is_ascii()).then_some(())?;
    let octet = |place| u8::from_str_radix(&name[place..place + 2], 16).ok();
    let octets: Option<Vec<u8>> = (0..40).step_by(2).map(octet).collect();
    octets?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_kept_copied_and_found_again() {
        let place = tempfile::tempdir().expect("a folder");
        let (file, copy, folder) =
            (place.path().join("file"), place.path().join("copy"), place.path().join("cache"));
        std::fs::write(&file, b"abc").expect("a file");
        let abc = hash(b"abc");
        assert_eq!(abc[..4], [0xa9, 0x99, 0x3e, 0x36], "FIPS 180-1, appendix A");
        let mut store = Store::open(folder.clone(), 100, 2).expect("a folder");
        assert!(!store.copy(&abc, &copy).expect("readable"));
        assert!(!store.keep([0; 20], &file).expect("readable"), "a false hash");
        assert!(store.keep(abc, &file).expect("readable"));
        assert!(store.copy(&abc, &copy).expect("readable"));
        assert_eq!(std::fs::read(&copy).expect("copied"), b"abc");
        // Another process finds it; a damaged one is thrown away.
        let mut store = Store::open(folder.clone(), 100, 2).expect("a folder");
        assert!(store.copy(&abc, &copy).expect("readable"));
        std::fs::write(store.path(&abc), b"abd").expect("a file");
        assert!(!store.copy(&abc, &copy).expect("readable"));
        assert!(!store.path(&abc).exists() && !copy.exists());
    }

    #[test]
    fn what_goes_out_of_the_books_goes_from_the_disk() {
        let place = tempfile::tempdir().expect("a folder");
        let mut store = Store::open(place.path().join("cache"), 100, 1).expect("a folder");
        for content in ["one", "two"] {
            let file = place.path().join(content);
            std::fs::write(&file, content).expect("a file");
            assert!(store.keep(hash(content.as_bytes()), &file).expect("readable"));
        }
        assert!(!store.path(&hash(b"one")).exists() && store.path(&hash(b"two")).exists());
        let large = place.path().join("large");
        std::fs::write(&large, [0; 101]).expect("a file");
        assert!(store.keep(hash(&[0; 101]), &large).expect("readable"), "good, though not kept");
        assert!(!store.path(&hash(&[0; 101])).exists());
    }
}
