//! A tree of files as one run of octets: what is in it, then the contents of the files one after the other.
//!
//! ```text
//!    0  "RSPT"   4  version (4) = 1   8  number of entries (4)   12  octets of all entries (4)
//!   16  entries: kind (1), name (counted), then
//!                file, executable: size (8)      link: target (counted)      folder: nothing
//!       contents, in the order of the entries
//! ```
//!
//! The same tree always gives the same octets, so their digest is the tree's: names, kinds and contents, and nothing
//! else (no times, no owners). Entries come in the order of their names, each folder before what is in it. A list that
//! parses can be carried out inside of an empty folder without ever leaving it: nothing lies below a file or a link, and
//! a link goes up (`..`) only at the beginning of its target and never above the tree.

use crate::codec::{Reader, WireError, put_counted};
use crate::item::{self, ITEM_MAX};
use std::collections::BTreeSet;

/// Octets before the entries.
pub const HEAD: usize = 16;

/// Most entries of a tree.
pub const ENTRIES_MAX: usize = 100_000;

/// Most octets of all entries.
pub const LIST_MAX: usize = 16 * 1024 * 1024;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file.
    File {
        /// Octets of its content.
        size: u64,
        /// It is a program.
        executable: bool,
    },
    /// A symbolic link to something in the tree.
    Link {
        /// Relative to the folder it is in.
        target: Vec<u8>,
    },
}

/// One name in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the top of the tree, see [`item::wrong_name`].
    pub name: Vec<u8>,
    /// What it is.
    pub kind: Kind,
}

/// What is in a tree. After `parse` or `new` it is legal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    entries: Vec<Entry>,
}

/// How long the list is that these [`HEAD`] octets begin, themselves included.
pub fn length(head: &[u8; HEAD]) -> Result<usize, WireError> {
    let mut body = Reader::new(head);
    if body.array()? != *b"RSPT" {
        return Err(WireError::Invalid { offset: 0, rule: "must begin with RSPT" });
    }
    match body.u32()? {
        VERSION => {}
        found => return Err(WireError::Unknown { offset: 4, what: "version of a tree", found }),
    }
    body.count("number of entries", ENTRIES_MAX)?;
    Ok(HEAD + body.count("octets of entries", LIST_MAX)?)
}

impl List {
    /// A list of these entries, in any order; or what is wrong with them.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, WireError> {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let list = Self { entries };
        // One set of rules, kept in `parse`.
        Self::parse(&list.emit()).map(|_| list)
    }

    /// The list these octets are, all of them.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut body = Reader::new(bytes);
        let head: [u8; HEAD] = body.array()?;
        let length = length(&head)?;
        if length != bytes.len() {
            let rule = "must be the octets of the entries";
            return Err(WireError::Invalid { offset: 12, rule });
        }
        let count = u32::from_be_bytes([head[8], head[9], head[10], head[11]]);
        let mut entries: Vec<Entry> = Vec::new();
        let mut folders = BTreeSet::new();
        let mut octets: u64 = 0;
        for _ in 0..count {
            let offset = body.offset();
            let invalid = |rule| Err(WireError::Invalid { offset, rule });
            let code = body.u8()?;
            let name = item::name(&mut body)?;
            if entries.last().is_some_and(|before| before.name >= name) {
                return invalid("must come in the order of names, each once");
            }
            let folder = name.iter().rposition(|&octet| octet == b'/').map(|end| &name[..end]);
            if folder.is_some_and(|folder| !folders.contains(folder)) {
                return invalid("must be in a folder that comes before");
            }
            let kind = match code {
                1 => {
                    folders.insert(name.clone());
                    Kind::Folder
                }
                2 | 3 => {
                    let size = body.u64()?;
                    octets = octets.saturating_add(size);
                    if octets > ITEM_MAX {
                        return invalid("must not make the tree larger than 1 TiB");
                    }
                    Kind::File { size, executable: code == 3 }
                }
                4 => {
                    let target = body.counted("target of a link", 4096)?.to_vec();
                    if !stays_inside(&name, &target) {
                        return invalid("must be a link to something inside of the tree");
                    }
                    Kind::Link { target }
                }
                found => {
                    let what = "kind of entry";
                    return Err(WireError::Unknown { offset, what, found: found.into() });
                }
            };
            entries.push(Entry { name, kind });
        }
        body.end()?;
        Ok(Self { entries })
    }

    /// The octets of this list.
    pub fn emit(&self) -> Vec<u8> {
        let mut out = b"RSPT".to_vec();
        out.extend(VERSION.to_be_bytes());
        out.extend(u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend([0; 4]);
        for entry in &self.entries {
            out.push(match entry.kind {
                Kind::Folder => 1,
                Kind::File { executable: false, .. } => 2,
                Kind::File { executable: true, .. } => 3,
                Kind::Link { .. } => 4,
            });
            put_counted(&mut out, &entry.name);
            match &entry.kind {
                Kind::Folder => {}
                Kind::File { size, .. } => out.extend(size.to_be_bytes()),
                Kind::Link { target } => put_counted(&mut out, target),
            }
        }
        let length = u32::try_from(out.len() - HEAD).unwrap_or(u32::MAX);
        out[12..HEAD].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// In the order of their names.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Octets of the whole tree: list and contents.
    pub fn size(&self) -> u64 {
        let contents = self.entries.iter().map(|entry| match entry.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        });
        self.emit().len() as u64 + contents.sum::<u64>()
    }
}

const VERSION: u32 = 1;

/// True if a link of this name to this target leads to somewhere inside of its tree. Going up is only allowed from the
/// folder the link is in, which is no link itself: after a name, `..` might be somewhere else than it seems.
pub fn stays_inside(name: &[u8], target: &[u8]) -> bool {
    let depth = name.iter().filter(|&&octet| octet == b'/').count();
    let mut parts = target.split(|&octet| octet == b'/').peekable();
    let mut ups = 0;
    while parts.next_if(|part| *part == b"..").is_some() {
        ups += 1;
    }
    let rest: Vec<&[u8]> = parts.collect();
    let is_name = |part: &&[u8]| !matches!(*part, b"" | b"." | b"..") && !part.contains(&0);
    ups <= depth && (ups > 0 || !rest.is_empty()) && rest.iter().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::Random;

    fn entry(name: &str, kind: Kind) -> Entry {
        Entry { name: name.into(), kind }
    }

    fn file(name: &str) -> Entry {
        entry(name, Kind::File { size: 258, executable: name.ends_with('x') })
    }

    fn link(name: &str, target: &str) -> Entry {
        entry(name, Kind::Link { target: target.into() })
    }

    #[test]
    fn a_list_looks_like_its_picture_whatever_the_order() {
        let entries = vec![link("b/l", "../a"), file("b/x"), entry("b", Kind::Folder), file("a")];
        let list = List::new(entries).expect("legal");
        let picture = [
            &b"RSPT\0\0\0\x01\0\0\0\x04\0\0\0\x33"[..],
            b"\x02\0\0\0\x01a\0\0\0\0\0\0\x01\x02",
            b"\x01\0\0\0\x01b",
            b"\x04\0\0\0\x03b/l\0\0\0\x04../a",
            b"\x03\0\0\0\x03b/x\0\0\0\0\0\0\x01\x02",
        ]
        .concat();
        let mut emitted = list.emit();
        assert_eq!(emitted[..8], picture[..8]);
        assert_eq!(emitted[16..], picture[16..]);
        assert_eq!(emitted[12..16], ((picture.len() - 16) as u32).to_be_bytes());
        assert_eq!(List::parse(&emitted), Ok(list.clone()));
        assert_eq!(list.size(), emitted.len() as u64 + 2 * 258);
        for cut in 0..emitted.len() {
            assert!(List::parse(&emitted[..cut]).is_err(), "cut at {cut}");
        }
        emitted.push(0);
        assert!(List::parse(&emitted).is_err());
    }

    #[test]
    fn what_would_leave_the_tree_is_refused() {
        let refused = [
            vec![file("../a")],
            vec![file("/a")],
            vec![file("a/b")],
            vec![file("a"), file("a/b")],
            vec![link("a", "b"), file("a/b")],
            vec![file("a"), file("a")],
            vec![link("a", "/etc")],
            vec![link("a", "..")],
            vec![link("a", "b/../../c")],
            vec![link("a", "")],
            vec![entry("d", Kind::Folder), link("d/a", "../../b")],
        ];
        for entries in refused {
            assert!(List::new(entries.clone()).is_err(), "{entries:?}");
        }
        let fine = vec![entry("d", Kind::Folder), link("d/a", ".."), link("d/b", "../x/y"), link("l", "d/a")];
        assert!(List::new(fine).is_ok());
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let head = |count: u32, length: u32| {
            let mut head = *b"RSPT\0\0\0\x01\0\0\0\0\0\0\0\0";
            head[8..12].copy_from_slice(&count.to_be_bytes());
            head[12..].copy_from_slice(&length.to_be_bytes());
            head
        };
        assert_eq!(length(&head(1, 9)), Ok(25));
        assert!(length(&head(ENTRIES_MAX as u32 + 1, 9)).is_err());
        assert!(length(&head(1, LIST_MAX as u32 + 1)).is_err());
        assert!(List::parse(&head(ENTRIES_MAX as u32, 0)).is_err());
    }

    #[test]
    fn mutated_lists_never_panic_and_what_parses_is_canonical() {
        let seed = 23;
        let mut random = Random::from_seed(seed);
        let entries = vec![entry("b", Kind::Folder), file("b/x"), link("b/y", "../a"), file("a")];
        let good = List::new(entries).expect("legal").emit();
        for _ in 0..50_000 {
            let mut bytes = good.clone();
            for _ in 0..=random.below(3) {
                let place = random.below(bytes.len() as u64) as usize;
                bytes[place] = random.next_u64() as u8;
            }
            if let Ok(list) = List::parse(&bytes) {
                assert_eq!(list.emit(), bytes, "seed {seed}");
            }
        }
    }
}
