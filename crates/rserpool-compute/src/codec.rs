//! Reading and writing octets in network byte order, with bounds.
//!
//! A reader never goes beyond its octets and never allocates more than they are; whatever is wrong is told with the
//! place where it was found.

use std::fmt;

/// Why octets are no frame, no work, or no cookie. `offset` counts from the start of what was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// It ends too early.
    Truncated {
        /// Where the missing octets should begin.
        offset: usize,
        /// How many were needed.
        needed: usize,
        /// How many were left.
        left: usize,
    },
    /// A size or count above its limit.
    TooLarge {
        /// Where the size stands.
        offset: usize,
        /// What is too large.
        what: &'static str,
        /// The value found.
        found: u64,
        /// The largest one allowed.
        limit: u64,
    },
    /// A code nobody gave a meaning.
    Unknown {
        /// Where the code stands.
        offset: usize,
        /// The code of what.
        what: &'static str,
        /// The value found.
        found: u32,
    },
    /// Octets after the end.
    Trailing {
        /// Where they begin.
        offset: usize,
        /// How many there are.
        left: usize,
    },
    /// A value that breaks a rule.
    Invalid {
        /// Where it stands.
        offset: usize,
        /// The rule, as "must …".
        rule: &'static str,
    },
}

impl fmt::Display for WireError {
    /// Reads well after "malformed: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { offset, needed, left } => {
                write!(f, "{needed} octets needed at offset {offset}, {left} left")
            }
            Self::TooLarge { offset, what, found, limit } => {
                write!(f, "{what} {found} at offset {offset} is above {limit}")
            }
            Self::Unknown { offset, what, found } => write!(f, "unknown {what} {found} at offset {offset}"),
            Self::Trailing { offset, left } => write!(f, "{left} octets too many from offset {offset}"),
            Self::Invalid { offset, rule } => write!(f, "value at offset {offset} {rule}"),
        }
    }
}

impl std::error::Error for WireError {}

/// Takes values from the front of octets.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, offset: 0 }
    }

    /// Reads a part of something larger, so that offsets still count from the start of the whole.
    pub(crate) fn at(bytes: &'a [u8], offset: usize) -> Self {
        Self { rest: bytes, offset }
    }

    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, needed: usize) -> Result<&'a [u8], WireError> {
        let Some((taken, rest)) = self.rest.split_at_checked(needed) else {
            return Err(WireError::Truncated { offset: self.offset, needed, left: self.rest.len() });
        };
        self.rest = rest;
        self.offset += needed;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        Ok(self.take(N)?.try_into().expect("N octets were taken"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A count or size of 4 octets, not above `limit`.
    pub(crate) fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, WireError> {
        let offset = self.offset;
        let found = self.u32()?;
        if u64::from(found) > limit as u64 {
            return Err(WireError::TooLarge { offset, what, found: found.into(), limit: limit as u64 });
        }
        Ok(found as usize)
    }

    /// Octets with their number in front, not more than `limit`.
    pub(crate) fn counted(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], WireError> {
        let length = self.count(what, limit)?;
        self.take(length)
    }

    /// Text with the number of its octets in front, not more than `limit`.
    pub(crate) fn text(&mut self, what: &'static str, limit: usize) -> Result<String, WireError> {
        let offset = self.offset;
        let octets = self.counted(what, limit)?;
        match std::str::from_utf8(octets) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(WireError::Invalid { offset, rule: "must be UTF-8" }),
        }
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.offset += self.rest.len();
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(WireError::Trailing { offset: self.offset, left: self.rest.len() })
    }
}

/// Appends octets with their number in front.
pub(crate) fn put_counted(out: &mut Vec<u8>, octets: &[u8]) {
    let length = u32::try_from(octets.len()).expect("the limits of the protocol are far below 4 GiB");
    out.extend(length.to_be_bytes());
    out.extend(octets);
}

/// The part of `text` that fits into `limit` octets without cutting a character.
pub(crate) fn clipped(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
