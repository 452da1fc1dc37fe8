//! Octets in: a cursor that knows where a message, and each parameter inside it, ends.
//!
//! Fields are taken in order; parameters are asked for by type. Whoever asks for one type finds it behind parameters
//! that may be skipped (action bits 10 and 11, RFC 5354 §3), and nobody else has to think of them:
//!
//! ```text
//! message  [ Pool Handle ][ 0x8123 ? ][ PE Identifier ]
//!           parameter()    `--skipped   parameter()     finish()
//! ```

use super::{Flaw, WireError};

/// A parameter that was skipped, and where: enough to write it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// How many beginnings and ends of parameters were read before it. Counting them instead of octets makes the place
    /// independent of the sizes around it.
    pub place: u32,
    /// The parameter: header and value, without padding.
    pub octets: Vec<u8>,
}

impl Skipped {
    /// Its type.
    pub fn kind(&self) -> u16 {
        match self.octets[..] {
            [high, low, ..] => u16::from_be_bytes([high, low]),
            _ => 0,
        }
    }

    /// True if its sender wants to know that we do not know it (action bits 11).
    pub fn wants_report(&self) -> bool {
        self.kind() >> 14 == 0b11
    }
}

/// A parameter's header; its length is at least 4 and not more than there is.
#[derive(Clone, Copy)]
struct Header {
    kind: u16,
    length: usize,
}

/// A cursor over one message. All offsets count from the message's first octet.
pub struct Reader<'a> {
    message: &'a [u8],
    /// What is left of the innermost open parameter, or of the message: without padding.
    rest: &'a [u8],
    /// Where that ends.
    end: usize,
    /// The innermost open parameter as far as it may be shown; empty between parameters of the message.
    open: &'a [u8],
    /// Beginnings and ends of parameters so far.
    place: u32,
    /// Skipped parameters, if anybody wants them.
    skipped: Option<Vec<Skipped>>,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`, forgetting what is skipped.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { message: bytes, rest: bytes, end: bytes.len(), open: &[], place: 0, skipped: None }
    }

    /// At the start of `bytes`, keeping what is skipped for [`Self::into_skipped`].
    pub fn keeping(bytes: &'a [u8]) -> Self {
        Self { skipped: Some(Vec::new()), ..Self::new(bytes) }
    }

    /// What was skipped, in the order of the message.
    pub fn into_skipped(self) -> Vec<Skipped> {
        self.skipped.unwrap_or_default()
    }

    /// Takes the common header of a message (RFC 5354 §4) and gives its type and flags; the cursor stands behind it.
    ///
    /// The RFC leaves final padding out of the length, the reference counts it: both are read. Padding that is not
    /// there, and anything behind it, is refused.
    pub fn message(&mut self) -> Result<(u8, u8), WireError> {
        let received = self.message.len();
        if received > super::MESSAGE_MAX {
            return Err(WireError::TooLong { received });
        }
        let [kind, flags] = self.array()?;
        let announced = usize::from(self.u16()?);
        if announced < 4 || announced.next_multiple_of(4) != received {
            return Err(WireError::MessageLength { announced, received });
        }
        (self.rest, self.end) = (&self.message[4..announced], announced);
        Ok((kind, flags))
    }

    /// The octets left in the innermost parameter, or the message.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Takes `N` octets.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(self.truncated(N)),
        }
    }

    /// Takes `count` octets.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(count) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(self.truncated(count)),
        }
    }

    /// Takes all that is left.
    #[inline]
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    /// Takes one octet.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(u8::from_be_bytes)
    }

    /// Takes two octets.
    #[inline]
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    /// Takes four octets.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    /// Takes eight octets.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Steps over the padding behind `length` octets. The last padding of a parameter in a parameter may be outside of
    /// both (RFC 5354 §2), so there may be less of it than expected.
    #[inline]
    pub fn pad(&mut self, length: usize) {
        let padding = length.wrapping_neg() % 4;
        self.rest = self.rest.get(padding..).unwrap_or_default();
    }

    /// The whole message.
    pub fn message_octets(&self) -> &'a [u8] {
        self.message
    }

    /// Where the cursor is.
    #[inline]
    pub fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// Reads the parameter of type `wanted` that has to come next, but for parameters that may be skipped.
    pub fn parameter<T>(
        &mut self,
        wanted: u16,
        parse: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        match self.find(wanted)? {
            Some(header) if header.kind == wanted => self.open(header, parse),
            found => Err(WireError::Missing {
                offset: self.offset(),
                wanted,
                found: found.map(|header| header.kind),
            }),
        }
    }

    /// Reads the parameter of type `wanted` if it comes next, but for parameters that may be skipped.
    pub fn optional<T>(
        &mut self,
        wanted: u16,
        parse: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<Option<T>, WireError> {
        match self.find(wanted)? {
            Some(header) if header.kind == wanted => self.open(header, parse).map(Some),
            _ => Ok(None),
        }
    }

    /// Finds the next parameter that is `wanted` or may not be skipped, and gives its type; `None` at the end.
    ///
    /// RFC 5354 §3: a parameter nobody knows is skipped (action bits 10 and 11) or stops the message (00 and 01). Our
    /// own skippable types are skipped as well where they are not wanted. 0 wants none of them.
    pub fn seek(&mut self, wanted: u16) -> Result<Option<u16>, WireError> {
        Ok(self.find(wanted)?.map(|header| header.kind))
    }

    /// The value of the next parameter, without moving; empty if there is none.
    pub fn value(&self) -> Result<&'a [u8], WireError> {
        Ok(self.header()?.map_or(&[], |header| &self.rest[4..header.length]))
    }

    /// Reads the next parameter, whatever its type; what `parse` leaves of it is ignored.
    pub fn enter<T>(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        match self.header()? {
            Some(header) => self.open(header, parse),
            None => Err(self.truncated(4)),
        }
    }

    /// Skips the next parameter with its padding. (The reference skips it without: it only understands skippable
    /// parameters whose length is a multiple of 4.)
    pub fn skip(&mut self) -> Result<(), WireError> {
        if let Some(header) = self.header()? {
            let parameter = self.take(header.length)?;
            if let Some(skipped) = &mut self.skipped {
                skipped.push(Skipped { place: self.place, octets: parameter.to_vec() });
            }
            self.pad(header.length);
        }
        Ok(())
    }

    /// Makes sure that nothing but skippable parameters is left.
    pub fn finish(&mut self) -> Result<(), WireError> {
        match self.find(0)? {
            None => Ok(()),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// The next parameter must not be here.
    pub fn unexpected(&self) -> WireError {
        match self.header() {
            Ok(header) => {
                let length = header.map_or(0, |header| header.length);
                WireError::Unexpected { offset: self.offset(), parameter: self.rest[..length].to_vec() }
            }
            Err(error) => error,
        }
    }

    /// The parameter being read has a value that breaks a rule.
    #[cold]
    pub fn invalid(&self, flaw: Flaw) -> WireError {
        WireError::Invalid { offset: self.offset(), flaw, parameter: self.open.to_vec() }
    }

    /// Finds what [`Self::seek`] finds.
    #[inline]
    fn find(&mut self, wanted: u16) -> Result<Option<Header>, WireError> {
        while let Some(header) = self.header()? {
            if header.kind == wanted || super::parameter::is_defined(header.kind) {
                return Ok(Some(header));
            }
            if header.kind >> 15 == 0 {
                let parameter = self.rest[..header.length].to_vec();
                return Err(WireError::UnknownParameter { offset: self.offset(), parameter });
            }
            self.skip()?;
        }
        Ok(None)
    }

    /// Reads the value behind this header.
    #[inline]
    fn open<T>(
        &mut self,
        header: Header,
        parse: impl FnOnce(&mut Self) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let start = self.offset();
        let (parameter, behind) = self.rest.split_at(header.length);
        let (end, open) = (self.end, self.open);
        (self.rest, self.end, self.open) = (&parameter[4..], start + header.length, parameter);
        self.place += 1;
        let value = parse(self)?;
        self.place += 1;
        (self.rest, self.end, self.open) = (behind, end, open);
        self.pad(header.length);
        Ok(value)
    }

    /// The header of the next parameter, checked against its surroundings; `None` at the end.
    #[inline]
    fn header(&self) -> Result<Option<Header>, WireError> {
        match *self.rest {
            [] => Ok(None),
            [a, b, c, d, ..] => {
                let (kind, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
                if length < 4 || length > self.left() {
                    return Err(self.wrong_length(length));
                }
                Ok(Some(Header { kind, length }))
            }
            _ => Err(self.truncated(4)),
        }
    }

    // Errors are made apart: they are rare, and reading is on the way of every answer.

    #[cold]
    fn truncated(&self, needed: usize) -> WireError {
        let (offset, available) = (self.offset(), self.left());
        WireError::Truncated { offset, needed, available, parameter: self.open.to_vec() }
    }

    #[cold]
    fn wrong_length(&self, length: usize) -> WireError {
        let (offset, room) = (self.offset(), self.left());
        WireError::ParameterLength { offset, length, room, parameter: self.rest.to_vec() }
    }
}
