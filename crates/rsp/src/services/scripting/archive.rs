//! Unpacking a work package: a tar archive, plain, by gzip or by bzip2. Nothing is written outside of its folder, and not
//! more than allowed.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;
use tar::EntryType;

/// Files in an archive at most.
const ENTRIES_MAX: usize = 100_000;

/// Unpacks into a folder that is there. At most `octets_max` octets come out of the compression, a bomb's as well.
pub fn unpack(archive: &Path, folder: &Path, octets_max: u64) -> io::Result<()> {
    let mut file = File::open(archive)?;
    let mut magic = [0; 3];
    let read = file.read(&mut magic)?;
    file.rewind()?;
    let file = BufReader::new(file);
    match &magic[..read] {
        [0x1f, 0x8b, ..] => unpack_tar(flate2::read::MultiGzDecoder::new(file), folder, octets_max),
        b"BZh" => unpack_tar(bzip2::read::MultiBzDecoder::new(file), folder, octets_max),
        _ => unpack_tar(file, folder, octets_max),
    }
}

fn unpack_tar(octets: impl Read, folder: &Path, octets_max: u64) -> io::Result<()> {
    let mut archive = tar::Archive::new(Bounded { octets, left: octets_max });
    archive.set_preserve_permissions(false);
    archive.set_overwrite(true);
    for (number, entry) in archive.entries()?.enumerate() {
        if number >= ENTRIES_MAX {
            return Err(io::Error::other(format!("the archive has more than {ENTRIES_MAX} entries")));
        }
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if !matches!(kind, EntryType::Regular | EntryType::Directory | EntryType::Symlink | EntryType::Link) {
            continue; // devices and the like are no part of anybody's work
        }
        // A path that leads out of the folder, by itself or by a link before it, is passed over or refused.
        entry.unpack_in(folder).map_err(with_causes)?;
    }
    Ok(())
}

/// The error with all that is behind it: by itself it only says what could not be unpacked.
fn with_causes(error: io::Error) -> io::Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(behind) = cause {
        text = format!("{text}: {behind}");
        cause = behind.source();
    }
    io::Error::new(error.kind(), text)
}

/// Octets with an end.
struct Bounded<R> {
    octets: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.octets.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("the archive is larger than allowed when unpacked"))?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            // Written by hand: the library would refuse a name that leads elsewhere.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            header.set_cksum();
            builder.append(&header, *content).expect("in memory");
        }
        builder.into_inner().expect("in memory")
    }

    fn unpacked(archive: &[u8], octets_max: u64) -> (tempfile::TempDir, io::Result<()>) {
        let place = tempfile::tempdir().expect("a folder");
        std::fs::write(place.path().join("archive"), archive).expect("a file");
        let folder = place.path().join("work");
        std::fs::create_dir(&folder).expect("a folder");
        let result = unpack(&place.path().join("archive"), &folder, octets_max);
        (place, result)
    }

    #[test]
    fn three_kinds_of_archives_are_understood() {
        let plain = tar_of(&[("ssrun", b"#!/bin/sh\n"), ("a/b", b"x")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&plain).expect("in memory");
        let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bzip.write_all(&plain).expect("in memory");
        for archive in [plain.clone(), gzip.finish().expect("in memory"), bzip.finish().expect("in memory")] {
            let (place, result) = unpacked(&archive, 1 << 20);
            result.expect("an archive");
            assert_eq!(std::fs::read(place.path().join("work/ssrun")).expect("unpacked"), b"#!/bin/sh\n");
            assert_eq!(std::fs::read(place.path().join("work/a/b")).expect("unpacked"), b"x");
        }
    }

    #[test]
    fn nothing_comes_out_of_the_folder() {
        let (place, _) = unpacked(&tar_of(&[("../escaped", b"x"), ("inside", b"y")]), 1 << 20);
        assert!(!place.path().join("escaped").exists());
        assert!(place.path().join("work/inside").exists());
    }

    #[test]
    fn a_bomb_is_stopped() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&tar_of(&[("zeros", &vec![0; 4 << 20])])).expect("in memory");
        let bomb = gzip.finish().expect("in memory");
        assert!(bomb.len() < 1 << 16);
        let (_, result) = unpacked(&bomb, 1 << 20);
        assert!(result.is_err_and(|error| error.to_string().contains("larger than allowed")));
    }

    #[test]
    fn what_is_no_archive_is_an_error() {
        let (_, result) = unpacked(&[7; 2_000], 1 << 20);
        assert!(result.is_err());
    }
}
