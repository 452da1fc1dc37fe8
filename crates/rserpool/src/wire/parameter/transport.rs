//! Transports: where something is reached (RFC 5354 §3.1-3.7, §3.16).

use super::{Flaw, Reader, WireError, Writer, kind};
use std::net::{IpAddr, SocketAddr};

/// The most addresses one transport parameter may have: the reference's limit, generous for multi-homing.
pub const ADDRESSES_MAX: usize = 64;

/// What a transport address is used for (RFC 5354 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportUse {
    /// 0: application data only. Undefined values are read as this one, as the reference does.
    Data,
    /// 1: application data and the ASAP control channel.
    DataAndControl,
}

/// A transport parameter: where a service or a registrar is reached.
///
/// Addresses of any scope are legal here, loopback ones too: what is admitted into a handlespace is the registrar's
/// decision.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Transport {
    /// 0x0003 (RFC 5354 §3.3).
    Dccp { port: u16, service_code: u32, address: IpAddr },
    /// 0x0004 (RFC 5354 §3.4). `addresses`: 1 to [`ADDRESSES_MAX`], in the order given.
    Sctp { port: u16, transport_use: TransportUse, addresses: Vec<IpAddr> },
    /// 0x0005 (RFC 5354 §3.5). The RFC reserves the second field and takes TCP for data only; RFC 5355 §2.16 wants data
    /// and control on one TCP port. We and the reference keep the transport use there.
    Tcp { port: u16, transport_use: TransportUse, address: IpAddr },
    /// 0x0006 (RFC 5354 §3.6).
    Udp { port: u16, address: IpAddr },
    /// 0x0007 (RFC 5354 §3.7).
    UdpLite { port: u16, address: IpAddr },
    /// 0x0010 (RFC 5354 §3.16): an address the application understands.
    Opaque(Vec<u8>),
}

impl Transport {
    /// Where it is reached, the preferred address first; none of an opaque one.
    pub fn addresses(&self) -> &[IpAddr] {
        match self {
            Self::Sctp { addresses, .. } => addresses,
            Self::Dccp { address, .. }
            | Self::Tcp { address, .. }
            | Self::Udp { address, .. }
            | Self::UdpLite { address, .. } => std::slice::from_ref(address),
            Self::Opaque(_) => &[],
        }
    }

    /// Reads the transport parameter that has to come next, of whatever type.
    pub(in super::super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let wanted = kind::SCTP;
        let found =
            r.seek(0)?.ok_or_else(|| WireError::Missing { offset: r.offset(), wanted, found: None })?;
        r.enter(|r| match found {
            kind::DCCP => {
                let (port, _reserved) = (r.u16()?, r.u16()?);
                Ok(Self::Dccp { port, service_code: r.u32()?, address: single_address(r)? })
            }
            kind::SCTP => {
                let (port, transport_use) = (r.u16()?, TransportUse::parse(r)?);
                Ok(Self::Sctp { port, transport_use, addresses: addresses(r)? })
            }
            kind::TCP => {
                let (port, transport_use) = (r.u16()?, TransportUse::parse(r)?);
                Ok(Self::Tcp { port, transport_use, address: single_address(r)? })
            }
            kind::UDP => {
                let (port, _reserved) = (r.u16()?, r.u16()?);
                Ok(Self::Udp { port, address: single_address(r)? })
            }
            kind::UDP_LITE => {
                let (port, _reserved) = (r.u16()?, r.u16()?);
                Ok(Self::UdpLite { port, address: single_address(r)? })
            }
            kind::OPAQUE => Ok(Self::Opaque(r.rest().to_vec())),
            _ => Err(r.invalid(Flaw::NotATransport)),
        })
    }

    /// Reads an SCTP transport; any other is an error: registrars are reached over SCTP only.
    pub(in super::super) fn parse_sctp(r: &mut Reader<'_>) -> Result<Self, WireError> {
        match r.seek(0)? {
            None | Some(kind::SCTP) => Self::parse(r),
            Some(_) => r.enter(|r| Err(r.invalid(Flaw::NotSctp))),
        }
    }

    /// Writes the parameter.
    pub(in super::super) fn emit(&self, w: &mut Writer<'_>) {
        match *self {
            Self::Dccp { port, service_code, address } => w.parameter(kind::DCCP, |w| {
                emit_address(w.put_u16(port).put_u16(0).put_u32(service_code), address);
            }),
            Self::Sctp { port, transport_use, ref addresses } => w.parameter(kind::SCTP, |w| {
                w.put_u16(port).put_u16(transport_use.code());
                addresses.iter().for_each(|&address| emit_address(w, address));
            }),
            Self::Tcp { port, transport_use, address } => w.parameter(kind::TCP, |w| {
                emit_address(w.put_u16(port).put_u16(transport_use.code()), address);
            }),
            Self::Udp { port, address } => w.parameter(kind::UDP, |w| {
                emit_address(w.put_u16(port).put_u16(0), address);
            }),
            Self::UdpLite { port, address } => w.parameter(kind::UDP_LITE, |w| {
                emit_address(w.put_u16(port).put_u16(0), address);
            }),
            Self::Opaque(ref octets) => w.leaf(kind::OPAQUE, octets),
        };
    }
}

impl TransportUse {
    /// The value on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Data => 0,
            Self::DataAndControl => 1,
        }
    }

    fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(if r.u16()? == 1 { Self::DataAndControl } else { Self::Data })
    }
}

/// The rest of an SCTP transport: 1 to [`ADDRESSES_MAX`] address parameters (RFC 5354 §3.1, §3.2).
fn addresses(r: &mut Reader<'_>) -> Result<Vec<IpAddr>, WireError> {
    let mut addresses = Vec::new();
    while let Some(address) = next_address(r)? {
        if addresses.len() == ADDRESSES_MAX {
            return Err(r.invalid(Flaw::AddressCount));
        }
        addresses.push(address);
    }
    if addresses.is_empty() {
        return Err(r.invalid(Flaw::AddressCount));
    }
    Ok(addresses)
}

/// The rest of any other transport: exactly one address parameter. (Two are worse than wrong: they make a reference
/// registrar abort as soon as it hands the element out.)
fn single_address(r: &mut Reader<'_>) -> Result<IpAddr, WireError> {
    match (next_address(r)?, next_address(r)?) {
        (Some(address), None) => Ok(address),
        _ => Err(r.invalid(Flaw::AddressCount)),
    }
}

fn next_address(r: &mut Reader<'_>) -> Result<Option<IpAddr>, WireError> {
    Ok(match r.seek(0)? {
        None => None,
        Some(kind::IPV4) => Some(r.enter(|r| r.array::<4>())?.into()),
        Some(kind::IPV6) => Some(r.enter(|r| r.array::<16>())?.into()),
        Some(_) => return Err(r.unexpected()),
    })
}

fn emit_address(w: &mut Writer<'_>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => w.leaf(kind::IPV4, &address.octets()),
        IpAddr::V6(address) => w.leaf(kind::IPV6, &address.octets()),
    };
}

/// Our parameter 0xbf05 from its value, which is that of a TCP transport for data, or `None` if the value is something
/// else: somebody else may use the number, too, and the parameter is one that may be skipped.
pub(super) fn asap_tcp(value: &[u8]) -> Option<SocketAddr> {
    let (&[a, b, 0, 0, 0, family, 0, length], address) = value.split_first_chunk::<8>()? else { return None };
    let address: IpAddr = match (u16::from(family), length) {
        (kind::IPV4, 8) => <[u8; 4]>::try_from(address).ok()?.into(),
        (kind::IPV6, 20) => <[u8; 16]>::try_from(address).ok()?.into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, u16::from_be_bytes([a, b])))
}

/// Writes our parameter 0xbf05: in one piece, as it is read, so that no stranger gets between.
pub(super) fn emit_asap_tcp(w: &mut Writer<'_>, at: SocketAddr) {
    w.parameter(kind::ASAP_TCP, |w| {
        w.put_u16(at.port()).put_u16(0);
        match at.ip() {
            IpAddr::V4(address) => w.put_u16(kind::IPV4).put_u16(8).put(&address.octets()),
            IpAddr::V6(address) => w.put_u16(kind::IPV6).put_u16(20).put(&address.octets()),
        };
    });
}
