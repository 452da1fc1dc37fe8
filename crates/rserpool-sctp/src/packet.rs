//! SCTP packets as seen from outside (RFC 9260 §3): ports, tag, checksum and the framing of chunks.
//!
//! What chunks mean is the engine's business. The stack looks into the few that decide which association a packet
//! belongs to, and writes the few that are said without one.
//!
//! ```text
//!  Source Port(2) Destination Port(2) Verification Tag(4) Checksum(4) | Type(1) Flags(1) Length(2) value, padding | ..
//! ```

/// Chunk types this crate looks at (RFC 9260 §3.2).
pub(crate) mod kind {
    pub const DATA: u8 = 0;
    pub const INIT: u8 = 1;
    pub const INIT_ACK: u8 = 2;
    pub const SACK: u8 = 3;
    pub const HEARTBEAT: u8 = 4;
    pub const HEARTBEAT_ACK: u8 = 5;
    pub const ABORT: u8 = 6;
    pub const SHUTDOWN: u8 = 7;
    pub const SHUTDOWN_ACK: u8 = 8;
    pub const ERROR: u8 = 9;
    pub const COOKIE_ECHO: u8 = 10;
    pub const COOKIE_ACK: u8 = 11;
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// "The Verification Tag is reflected": it is the tag of the receiver's peer (RFC 9260 §3.3.7, §3.3.13).
pub(crate) const REFLECTED: u8 = 1;

const HEADER: usize = 12;

/// The ports of an association, or of a packet, from our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ports {
    pub local: u16,
    pub remote: u16,
}

/// A packet whose checksum and framing are good.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    bytes: &'a [u8],
}

/// One chunk: type, flags, and the value without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    pub kind: u8,
    pub flags: u8,
    pub value: &'a [u8],
}

impl<'a> Packet<'a> {
    /// A packet from the network. `None` if it is too short, its checksum is wrong, or its chunks do not fill it.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < HEADER + 4 || checksum(bytes) != u32::from_le_bytes(array(bytes, 8)?) {
            return None;
        }
        let packet = Self { bytes };
        let mut chunks = packet.chunks();
        while chunks.next().is_some() {}
        chunks.rest.is_empty().then_some(packet)
    }

    /// A packet the engine made: known to be good.
    pub fn trusted(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// From the receiver's point of view.
    pub fn ports(&self) -> Ports {
        Ports { local: be16(self.bytes, 2), remote: be16(self.bytes, 0) }
    }

    pub fn tag(&self) -> u32 {
        be32(self.bytes, 4)
    }

    /// The chunks in order. There is at least one, in a parsed packet.
    pub fn chunks(&self) -> Chunks<'a> {
        Chunks { rest: self.bytes.get(HEADER..).unwrap_or_default() }
    }

    /// The type of the first chunk.
    pub fn first(&self) -> u8 {
        self.bytes.get(HEADER).copied().unwrap_or_default()
    }

    /// The TSNs of its data, in order.
    pub fn tsns(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.chunks().filter(|chunk| chunk.kind == kind::DATA).map(|chunk| be32(chunk.value, 0))
    }

    pub fn has(&self, kind: u8) -> bool {
        self.chunks().any(|chunk| chunk.kind == kind)
    }

    /// This packet with every chunk replaced by what `change` writes; chunks are already padded when it is called.
    pub fn rewritten(&self, mut change: impl FnMut(Chunk<'a>, &mut Vec<u8>)) -> Vec<u8> {
        let mut out = self.bytes[..HEADER].to_vec();
        for chunk in self.chunks() {
            change(chunk, &mut out);
        }
        seal(&mut out);
        out
    }
}

/// The chunks of a packet, in order; ends early where the framing is broken.
pub(crate) struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let (&kind, &flags) = (self.rest.first()?, self.rest.get(1)?);
        let length = usize::from(u16::from_be_bytes(array(self.rest, 2)?));
        let value = self.rest.get(4..length)?;
        // RFC 9260 §3.2: the sender MUST pad.
        self.rest = self.rest.get(length.next_multiple_of(4)..)?;
        Some(Chunk { kind, flags, value })
    }
}

impl Chunk<'_> {
    /// Writes the chunk, padded.
    pub fn emit(self, out: &mut Vec<u8>) {
        out.extend([self.kind, self.flags]);
        out.extend(length_field(4 + self.value.len()));
        out.extend(self.value);
        pad(out);
    }
}

/// Parameters of an INIT or INIT ACK: type, value. They start behind 16 octets of fixed fields (RFC 9260 §3.3.2); the
/// padding of the last one may be missing, as it does not count into the chunk's length.
pub(crate) fn parameters(init_value: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = init_value.get(16..).unwrap_or_default();
    std::iter::from_fn(move || {
        let kind = u16::from_be_bytes(array(rest, 0)?);
        let length = usize::from(u16::from_be_bytes(array(rest, 2)?));
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Writes a parameter or an error cause, padded.
pub(crate) fn emit_parameter(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend(kind.to_be_bytes());
    out.extend(length_field(4 + value.len()));
    out.extend(value);
    pad(out);
}

/// A packet of one chunk.
pub(crate) fn lone(ports: Ports, tag: u32, kind: u8, flags: u8, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + 4 + value.len());
    out.extend(ports.local.to_be_bytes());
    out.extend(ports.remote.to_be_bytes());
    out.extend(tag.to_be_bytes());
    out.extend([0; 4]);
    Chunk { kind, flags, value }.emit(&mut out);
    seal(&mut out);
    out
}

/// Writes the checksum of a whole packet (RFC 9260 §6.8; the CRC is transmitted lowest octet first).
fn seal(packet: &mut [u8]) {
    let sum = checksum(packet);
    packet[8..HEADER].copy_from_slice(&sum.to_le_bytes());
}

/// CRC32c over the packet with its checksum field taken as zero.
fn checksum(packet: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&packet[..8]);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    crc32c::crc32c_append(sum, &packet[HEADER..])
}

fn length_field(length: usize) -> [u8; 2] {
    u16::try_from(length).expect("everything written here fits into one datagram").to_be_bytes()
}

/// Pads to a multiple of four, counted from the start of the packet: everything before is padded already.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The octets from `at`, or `None` if there are fewer.
pub(crate) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// The number at `at`; 0 where there is none. Only for places whose presence is checked.
fn be16(bytes: &[u8], at: usize) -> u16 {
    array(bytes, at).map_or(0, u16::from_be_bytes)
}

/// As [`be16`].
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    array(bytes, at).map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_packet_is_read_again_and_no_flipped_bit_survives() {
        let ports = Ports { local: 3863, remote: 9901 };
        let bytes = lone(ports, 0x0102_0304, kind::SHUTDOWN, 0, &[9, 9, 9, 9, 9]);
        assert_eq!(bytes[..8], [0x0f, 0x17, 0x26, 0xad, 1, 2, 3, 4]);
        assert_eq!(bytes[12..], [7, 0, 0, 9, 9, 9, 9, 9, 9, 0, 0, 0]);
        let packet = Packet::parse(&bytes).expect("just written");
        assert_eq!((packet.ports(), packet.tag()), (Ports { local: 9901, remote: 3863 }, 0x0102_0304));
        assert_eq!(packet.chunks().collect::<Vec<_>>(), [Chunk { kind: 7, flags: 0, value: &[9; 5] }]);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Packet::parse(&flipped).is_none(), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(Packet::parse(&bytes[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn the_checksum_is_the_one_of_rfc_9260() {
        // CRC32c of the nine digits is 0xe3069283 by every description of it.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let bytes = lone(Ports { local: 1, remote: 2 }, 0, kind::COOKIE_ACK, 0, &[]);
        let mut zeroed = bytes.clone();
        zeroed[8..12].fill(0);
        assert_eq!(bytes[8..12], crc32c::crc32c(&zeroed).to_le_bytes());
    }

    #[test]
    fn broken_framing_is_no_packet() {
        for length in [0u16, 3, 5, 8, 0xffff] {
            let mut bytes = lone(Ports { local: 1, remote: 2 }, 3, kind::COOKIE_ACK, 0, &[]);
            bytes[14..16].copy_from_slice(&length.to_be_bytes());
            seal(&mut bytes);
            assert!(Packet::parse(&bytes).is_none(), "length {length}");
        }
    }
}
