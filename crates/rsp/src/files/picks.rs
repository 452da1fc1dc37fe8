//! Which files of a folder are meant: names and patterns.

use super::pack::look;
use globset::{GlobBuilder, GlobMatcher};
use rserpool_compute::Pick;
use rserpool_compute::tree::{Entry, Kind, List};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// True if this text has a meaning as a pattern.
pub fn is_pattern(text: &[u8]) -> bool {
    text.iter().any(|octet| matches!(octet, b'*' | b'?' | b'['))
}

/// A pattern in which `*` and `?` stop at `/`, `**` does not, and `[…]` is one of some octets.
pub fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("'{pattern}' is no pattern: {}", error.kind()))
}

enum One {
    Named(Vec<u8>),
    Like(GlobMatcher, String),
}

/// Names and patterns, ready to be compared.
pub struct Picks(Vec<One>);

impl Picks {
    /// Fails, for people, if a pattern is none.
    pub fn new(picks: &[Pick]) -> Result<Self, String> {
        let one = |pick: &Pick| match pick {
            Pick::Named(name) => Ok(One::Named(name.clone())),
            Pick::Like(pattern) => Ok(One::Like(matcher(pattern)?, pattern.clone())),
        };
        picks.iter().map(one).collect::<Result<_, String>>().map(Self)
    }

    /// The first pick that means this file.
    pub fn place(&self, name: &[u8]) -> Option<usize> {
        self.0.iter().position(|one| one.means(name))
    }

    /// What is meant in a folder. Fails, for people, if there is nothing for one of the picks, or one is neither a file nor a
    /// folder.
    pub fn gather(&self, top: &Path) -> Result<List, String> {
        let mut entries = Vec::new();
        let mut wanted = |name: &[u8]| self.place(name).is_some();
        look(top, &[], &mut entries, &mut Sha256::new(), &mut wanted)
            .map_err(|why| why.replace(&format!("{}/", top.display()), ""))?;
        if let Some(link) = entries.iter().find(|entry| matches!(entry.kind, Kind::Link { .. })) {
            return Err(format!("output {} is a link, not a file", String::from_utf8_lossy(&link.name)));
        }
        let there = |one: &One| entries.iter().any(|entry| one.means_entry(entry));
        if let Some(missing) = self.0.iter().find(|one| !there(one)) {
            return Err(missing.complaint());
        }
        // Folders only if they are meant, or something in them is.
        let mut kept = BTreeSet::new();
        for entry in entries.iter().filter(|entry| self.0.iter().any(|one| one.means_entry(entry))) {
            let ends = entry.name.iter().enumerate().filter(|(_, octet)| **octet == b'/').map(|(end, _)| end);
            kept.extend(ends.chain([entry.name.len()]).map(|end| entry.name[..end].to_vec()));
        }
        entries.retain(|entry| kept.contains(&entry.name));
        List::new(entries).map_err(|error| format!("its output cannot be sent: {error}"))
    }
}

impl One {
    fn means(&self, name: &[u8]) -> bool {
        match self {
            Self::Named(own) => {
                name == own || name.strip_prefix(&own[..]).is_some_and(|rest| rest.first() == Some(&b'/'))
            }
            Self::Like(glob, _) => glob.is_match(Path::new(OsStr::from_bytes(name))),
        }
    }

    /// Patterns are for files, names for folders, too.
    fn means_entry(&self, entry: &Entry) -> bool {
        (entry.kind != Kind::Folder || matches!(self, Self::Named(_))) && self.means(&entry.name)
    }

    fn complaint(&self) -> String {
        match self {
            Self::Named(name) => format!("it did not leave its output {}", String::from_utf8_lossy(name)),
            Self::Like(_, pattern) => format!("it left no output like {pattern}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picks(names: &[&str]) -> Picks {
        let pick = |name: &&str| match is_pattern(name.as_bytes()) {
            true => Pick::Like((*name).to_owned()),
            false => Pick::Named(name.as_bytes().to_vec()),
        };
        Picks::new(&names.iter().map(pick).collect::<Vec<_>>()).expect("patterns")
    }

    #[test]
    fn stars_stop_at_folders_and_a_folder_means_all_in_it() {
        let picks = picks(&["*.png", "logs", "deep/**/x?"]);
        for (name, place) in [
            ("a.png", Some(0)),
            ("d/a.png", None),
            ("logs/1/2", Some(1)),
            ("logs2", None),
            ("deep/a/b/x1", Some(2)),
            ("deep/x12", None),
        ] {
            assert_eq!(picks.place(name.as_bytes()), place, "{name}");
        }
        assert_eq!(picks.place(b"\xff.png"), Some(0));
        assert!(matcher("[").is_err());
    }

    #[test]
    fn a_named_folder_is_there_without_files_too_and_a_pattern_means_files() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("a/b/c")).expect("room");
        std::fs::create_dir_all(folder.path().join("other")).expect("room");
        let list = picks(&["a/b"]).gather(folder.path()).expect("there");
        let names: Vec<_> = list.entries().iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c"]);
        let missing = picks(&["o*"]).gather(folder.path()).expect_err("no file");
        assert_eq!(missing, "it left no output like o*");
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("logs/a")).expect("room");
        std::fs::create_dir_all(folder.path().join("other")).expect("room");
        std::fs::write(folder.path().join("logs/a/1"), "x").expect("room");
        std::fs::write(folder.path().join("other/1"), "x").expect("room");
        let list = picks(&["logs"]).gather(folder.path()).expect("there");
        let names: Vec<_> = list.entries().iter().map(|entry| String::from_utf8_lossy(&entry.name)).collect();
        assert_eq!(names, ["logs", "logs/a", "logs/a/1"]);
        let missing = |name| picks(&[name]).gather(folder.path()).expect_err("missing");
        assert_eq!(missing("out.png"), "it did not leave its output out.png");
        assert_eq!(missing("*.png"), "it left no output like *.png");
        std::os::unix::fs::symlink("logs/a/1", folder.path().join("l.png")).expect("room");
        assert_eq!(missing("l.png"), "output l.png is a link, not a file");
    }
}
