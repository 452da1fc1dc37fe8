//! Files that tasks take along and leave, told by what is in them.
//!
//! An item is the octets of one file, or a whole tree of files as one run of octets ([`crate::tree`]). Its name is its
//! digest, so a worker that has it once has it for every task, job and client, and what arrives damaged is noticed.
//! Computing digests is the world's business; here they are only compared.

use crate::codec::{Reader, WireError};
use std::fmt;

/// Most octets of an item: 1 TiB.
pub const ITEM_MAX: u64 = 1 << 40;

/// SHA-256 of an item's octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    /// 64 hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// What the octets of an item are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// The content of a file.
    File,
    /// A tree of files, see [`crate::tree`].
    Tree,
}

/// Octets that are named by their digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// Of all of them.
    pub digest: Digest,
    /// How many there are; at most [`ITEM_MAX`].
    pub size: u64,
    /// What they are.
    pub form: Form,
}

impl Item {
    pub(crate) fn emit(&self, out: &mut Vec<u8>) {
        out.extend(self.digest.0);
        out.extend(self.size.to_be_bytes());
        out.push(match self.form {
            Form::File => 1,
            Form::Tree => 2,
        });
    }

    pub(crate) fn parse(body: &mut Reader<'_>) -> Result<Self, WireError> {
        let digest = Digest(body.array()?);
        let offset = body.offset();
        let size = body.u64()?;
        if size > ITEM_MAX {
            return Err(WireError::TooLarge {
                offset,
                what: "octets of an item",
                found: size,
                limit: ITEM_MAX,
            });
        }
        let offset = body.offset();
        let form = match body.u8()? {
            1 => Form::File,
            2 => Form::Tree,
            found => return Err(WireError::Unknown { offset, what: "form of an item", found: found.into() }),
        };
        Ok(Self { digest, size, form })
    }
}

/// Why these octets are no name of a file inside of a folder, as "must …"; `None`: they are one. Any octet but zero may
/// be in it; what has a meaning is only `/` between parts, none of which is empty, `.` or `..`.
pub fn wrong_name(name: &[u8]) -> Option<&'static str> {
    if name.len() > NAME_MAX {
        return Some("must have at most 4,096 octets");
    }
    let is_inside = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    if !name.split(|&octet| octet == b'/').all(is_inside) {
        return Some("must be a relative file name that stays inside");
    }
    let is_short = |part: &[u8]| part.len() <= PART_MAX;
    (!name.split(|&octet| octet == b'/').all(is_short)).then_some("must have parts of at most 255 octets")
}

/// Most octets of the name of a file, and of one part of it.
const NAME_MAX: usize = 4096;
const PART_MAX: usize = 255;

/// The name of a file inside of its folder, with the number of its octets in front.
pub(crate) fn name(body: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    let offset = body.offset();
    let name = body.counted("file name", NAME_MAX)?;
    match wrong_name(name) {
        Some(rule) => Err(WireError::Invalid { offset, rule }),
        None => Ok(name.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_have_any_octet_but_stays_inside() {
        for good in [&b"a"[..], b"a/b", b"...", b"..a/b.", b"\xff\n\\:*", b" "] {
            assert_eq!(wrong_name(good), None, "{good:?}");
        }
        for bad in [&b""[..], b"/", b"/a", b"a/", b"a//b", b".", b"..", b"a/../b", b"a/.", b"a\0"] {
            assert!(wrong_name(bad).is_some(), "{bad:?}");
        }
        assert_eq!(wrong_name(&[b'a'; 255]), None);
        assert!(wrong_name(&[b'a'; 256]).is_some());
        assert!(wrong_name(&b"a/".repeat(3000)[..5999]).is_some());
    }

    #[test]
    fn an_item_survives_the_wire() {
        let item = Item { digest: Digest([0xab; 32]), size: 258, form: Form::Tree };
        let mut octets = Vec::new();
        item.emit(&mut octets);
        assert_eq!(octets, [&[0xab; 32][..], &[0, 0, 0, 0, 0, 0, 1, 2, 2]].concat());
        assert_eq!(Item::parse(&mut Reader::new(&octets)), Ok(item));
        assert!(Item::parse(&mut Reader::new(&octets[..40])).is_err());
        octets[40] = 3;
        let unknown = WireError::Unknown { offset: 40, what: "form of an item", found: 3 };
        assert_eq!(Item::parse(&mut Reader::new(&octets)), Err(unknown));
        octets[32] = 1;
        assert!(matches!(
            Item::parse(&mut Reader::new(&octets)),
            Err(WireError::TooLarge { offset: 32, .. })
        ));
        assert_eq!(Digest([0x0f; 32]).to_string(), "0f".repeat(32));
    }
}
