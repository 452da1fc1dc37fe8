//! Component Status Protocol: one-way reports of registrars, elements and users to a monitor.
//!
//! Not an IETF standard but the reference's, so that its monitor shows our components and ours shows its. Each report
//! is one UDP datagram to port 2960, of fixed fields only:
//!
//! ```text
//! Type(1)=1 Flags(1) Length(2) Version(4)=0x0200 | Sender ID(8) Timestamp(8) Interval(4) |
//! Location(128) Status(128) | Workload(2) Associations(2) | each: Receiver ID(8) Duration(8) Flags(2) Protocol(2) PPID(4)
//! ```

use super::{Flaw, Reader, WireError};
use crate::{ElementId, Load, Ppid, RegistrarId};
use std::fmt;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// The UDP port of monitors.
pub const PORT: u16 = 2960;

const REPORT: u8 = 0x01;
const FINAL: u8 = 0x01;
const VERSION: u32 = 0x0000_0200;
const FIXED_SIZE: usize = 288;
const ASSOCIATION_SIZE: usize = 24;

/// One report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The F flag: the component says good-bye; associations, texts and workload of this report are empty.
    pub last: bool,
    /// Who reports.
    pub sender: ComponentId,
    /// Microseconds since the sender's first report.
    pub timestamp: u64,
    /// Microseconds until the next report is due.
    pub interval: u32,
    /// Where it runs: host name and addresses.
    pub location: Text,
    /// What it does, in words.
    pub status: Text,
    /// How loaded it is, if that means anything for it.
    pub workload: Workload,
    /// With whom it has to do; at most [`Self::ASSOCIATIONS_MAX`].
    pub associations: Vec<Association>,
}

/// A relation of the sender to another component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association {
    /// The other one.
    pub receiver: ComponentId,
    /// Microseconds since it began; `None`: unknown (all ones on the wire).
    pub duration: Option<u64>,
    /// No flag is defined.
    pub flags: u16,
    /// The IP protocol number: 132 SCTP, 6 TCP, 17 UDP.
    pub protocol: u16,
    /// What is spoken there; 0 if unknown.
    pub ppid: Ppid,
}

/// What a component is: its group in the upper 8 bits, its identifier in the lower 56.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComponentId(pub u64);

impl ComponentId {
    /// A registrar.
    pub fn registrar(id: RegistrarId) -> Self {
        Self(1 << 56 | u64::from(id.0))
    }

    /// A pool element.
    pub fn element(id: ElementId) -> Self {
        Self(2 << 56 | u64::from(id.0))
    }

    /// A pool user, by the lower 56 bits of a number it drew.
    pub fn user(number: u64) -> Self {
        Self(3 << 56 | number & 0x00ff_ffff_ffff_ffff)
    }

    /// 1 registrar, 2 pool element, 3 pool user, others undefined.
    pub fn group(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The identifier within the group; 0: not known yet.
    pub fn object(self) -> u64 {
        self.0 & 0x00ff_ffff_ffff_ffff
    }
}

impl fmt::Display for ComponentId {
    /// `registrar 1a2b3c4d`, `element 00000401`, `user 8361b1e13bfd86`, `component …` for other groups.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group() {
            1 => write!(f, "registrar {:08x}", self.object()),
            2 => write!(f, "element {:08x}", self.object()),
            3 => write!(f, "user {:014x}", self.object()),
            _ => write!(f, "component {:016x}", self.0),
        }
    }
}

/// A share of capacity in parts of 65534, or "not available".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload(pub u16);

impl Workload {
    /// Registrars, users, and elements whose policy knows no load.
    pub const NOT_AVAILABLE: Self = Self(0xffff);

    /// From a load, rounded to the nearest part.
    pub fn from_load(load: Load) -> Self {
        let whole = u64::from(u32::MAX);
        Self(((u64::from(load.0) * 65_534 + whole / 2) / whole) as u16)
    }

    /// Between 0 and 1, or `None` if not available.
    pub fn fraction(self) -> Option<f64> {
        (self != Self::NOT_AVAILABLE).then(|| f64::from(self.0) / 65_534.0)
    }
}

/// A text of a report: at most 128 octets, none of them zero. Usually UTF-8, but nobody promised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(Vec<u8>);

impl Text {
    /// The size of the field.
    pub const MAX: usize = 128;

    /// Cut at the first zero, and at 127 octets (not inside of a character) so that monitors find a terminator.
    pub fn new(text: &str) -> Self {
        let text = text.split('\0').next().unwrap_or_default();
        let end = (0..Self::MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        Self(text[..end].into())
    }

    /// The octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let field: [u8; Self::MAX] = r.array()?;
        Ok(Self(field.split(|&octet| octet == 0).next().unwrap_or_default().to_vec()))
    }

    fn emit(&self, octets: &mut Vec<u8>) {
        let end = octets.len() + Self::MAX;
        octets.extend_from_slice(&self.0);
        octets.resize(end, 0);
    }
}

impl fmt::Display for Text {
    /// What is no UTF-8 shows as replacement characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl Report {
    /// As many associations as the length field of a report can count.
    pub const ASSOCIATIONS_MAX: usize = (u16::MAX as usize - FIXED_SIZE) / ASSOCIATION_SIZE;

    /// When the next report is due.
    pub fn due(&self) -> Duration {
        Duration::from_micros(self.interval.into())
    }

    /// The report these octets are: all of them. As the reference, and the Length field has to fit (0, from its older
    /// versions, counts as fitting).
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let (kind, flags) = (r.u8()?, r.u8()?);
        let announced = match usize::from(r.u16()?) {
            0 => bytes.len(),
            announced => announced,
        };
        if kind != REPORT {
            return Err(WireError::UnknownMessage { kind, message: bytes.to_vec() });
        }
        if r.u32()? != VERSION {
            return Err(r.invalid(Flaw::Version));
        }
        let mut report = Self {
            last: flags & FINAL != 0,
            sender: ComponentId(r.u64()?),
            timestamp: r.u64()?,
            interval: r.u32()?,
            location: Text::parse(&mut r)?,
            status: Text::parse(&mut r)?,
            workload: Workload(r.u16()?),
            associations: Vec::new(),
        };
        let count = usize::from(r.u16()?);
        if announced != bytes.len() || r.left() != count * ASSOCIATION_SIZE {
            let announced = announced.max(FIXED_SIZE + count * ASSOCIATION_SIZE);
            return Err(WireError::MessageLength { announced, received: bytes.len() });
        }
        for _ in 0..count {
            report.associations.push(Association::parse(&mut r)?);
        }
        Ok(report)
    }

    /// The datagram. Associations beyond [`Self::ASSOCIATIONS_MAX`] are left out.
    pub fn emit(&self) -> Vec<u8> {
        let count = self.associations.len().min(Self::ASSOCIATIONS_MAX);
        let length = FIXED_SIZE + count * ASSOCIATION_SIZE;
        let mut octets = Vec::with_capacity(length);
        octets.extend([REPORT, if self.last { FINAL } else { 0 }]);
        octets.extend((length as u16).to_be_bytes());
        octets.extend(VERSION.to_be_bytes());
        octets.extend(self.sender.0.to_be_bytes());
        octets.extend(self.timestamp.to_be_bytes());
        octets.extend(self.interval.to_be_bytes());
        self.location.emit(&mut octets);
        self.status.emit(&mut octets);
        octets.extend(self.workload.0.to_be_bytes());
        octets.extend((count as u16).to_be_bytes());
        for association in &self.associations[..count] {
            association.emit(&mut octets);
        }
        octets
    }
}

impl Association {
    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            receiver: ComponentId(r.u64()?),
            duration: Some(r.u64()?).filter(|&duration| duration != u64::MAX),
            flags: r.u16()?,
            protocol: r.u16()?,
            ppid: Ppid(r.u32()?),
        })
    }

    fn emit(&self, octets: &mut Vec<u8>) {
        octets.extend(self.receiver.0.to_be_bytes());
        octets.extend(self.duration.unwrap_or(u64::MAX).to_be_bytes());
        octets.extend(self.flags.to_be_bytes());
        octets.extend(self.protocol.to_be_bytes());
        octets.extend(self.ppid.0.to_be_bytes());
    }
}
