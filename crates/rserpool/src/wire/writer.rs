//! Octets out: fields in order, parameters with their lengths and padding filled in.

use super::Skipped;

/// A message being written.
///
/// Skipped parameters are given at the start and come back at their places: the writer counts beginnings and ends of
/// parameters as the reader did.
pub struct Writer<'a> {
    octets: Vec<u8>,
    place: u32,
    skipped: &'a [Skipped],
}

impl<'a> Writer<'a> {
    /// A message of this type, with these flags, into which `skipped` is put back: in the order of the message.
    pub fn message(kind: u8, flags: u8, skipped: &'a [Skipped]) -> Self {
        let mut octets = Vec::with_capacity(128);
        octets.extend([kind, flags, 0, 0]);
        Self { octets, place: 0, skipped }
    }

    /// What `emit` writes, on its own.
    pub fn octets_of(emit: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut w = Self { octets: Vec::new(), place: 0, skipped: &[] };
        emit(&mut w);
        w.octets
    }

    /// The whole message, its length filled in. Padding counts into the length, as the reference does it: every
    /// receiver accepts that, and some need it.
    ///
    /// A message beyond [`MESSAGE_MAX`](super::MESSAGE_MAX) octets cannot be said: that is a mistake of the caller,
    /// who limits what goes into it. It is caught in debug builds; otherwise every receiver refuses the message.
    pub fn finish(mut self) -> Vec<u8> {
        self.put_skipped();
        self.set_length(0);
        debug_assert!(self.octets.len() <= super::MESSAGE_MAX, "a message of {} octets", self.octets.len());
        self.octets
    }

    /// How much is written so far, in octets.
    pub fn written(&self) -> usize {
        self.octets.len()
    }

    /// Takes back everything behind the first `length` octets: whole parameters, of a message without skipped ones.
    pub fn truncate(&mut self, length: usize) {
        debug_assert!(self.skipped.is_empty(), "what was skipped would be lost");
        self.octets.truncate(length);
    }

    /// One octet.
    #[inline]
    pub fn put_u8(&mut self, value: u8) -> &mut Self {
        self.put(&[value])
    }

    /// Two octets.
    #[inline]
    pub fn put_u16(&mut self, value: u16) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Four octets.
    #[inline]
    pub fn put_u32(&mut self, value: u32) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// Eight octets.
    #[inline]
    pub fn put_u64(&mut self, value: u64) -> &mut Self {
        self.put(&value.to_be_bytes())
    }

    /// These octets.
    #[inline]
    pub fn put(&mut self, octets: &[u8]) -> &mut Self {
        self.octets.extend_from_slice(octets);
        self
    }

    /// Zero octets up to a multiple of 4. Everything before a parameter is padded, so this is a multiple of 4 from
    /// whatever encloses us, too.
    #[inline]
    pub fn pad(&mut self) -> &mut Self {
        let over = self.octets.len() % 4;
        if over > 0 {
            self.octets.extend_from_slice(&[0; 4][over..]);
        }
        self
    }

    /// A parameter with this value, and its padding.
    #[inline]
    pub fn leaf(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.put_skipped();
        self.place += 2;
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        let ([a, b], [c, d]) = (kind.to_be_bytes(), length.to_be_bytes());
        self.put(&[a, b, c, d]).put(value).pad()
    }

    /// A parameter that contains others, or whose value `emit` writes piece by piece. Its length counts the padding of
    /// what is inside, not its own.
    pub fn parameter(&mut self, kind: u16, emit: impl FnOnce(&mut Self)) -> &mut Self {
        self.put_skipped();
        self.place += 1;
        let start = self.octets.len();
        let [a, b] = kind.to_be_bytes();
        self.put(&[a, b, 0, 0]);
        emit(self);
        self.put_skipped();
        self.place += 1;
        self.set_length(start);
        self.pad()
    }

    /// Puts back what was skipped at this place. What belongs to a place that no longer exists, because the message
    /// was changed in between, goes to the next one.
    #[inline]
    fn put_skipped(&mut self) {
        while let Some((first, others)) = self.skipped.split_first() {
            if first.place > self.place {
                return;
            }
            self.octets.extend_from_slice(&first.octets);
            self.pad();
            self.skipped = others;
        }
    }

    /// Fills in the length of what began at `start`: two octets behind its type (or its type and flags).
    fn set_length(&mut self, start: usize) {
        let length = u16::try_from(self.octets.len() - start).unwrap_or(u16::MAX);
        self.octets[start + 2..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}
