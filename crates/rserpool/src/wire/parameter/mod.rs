//! Parameters (RFC 5354 §3): the TLVs that ASAP and ENRP messages are made of.
//!
//! Each one reads itself where it has to come next and writes itself. Lengths, padding and skippable strangers are the
//! reader's and the writer's business.

mod cause;
mod element;
mod policy;
#[cfg(test)]
mod tests;
mod transport;

pub use cause::{CauseCode, ErrorCause};
pub use element::{Life, PoolElement, ServerInformation};
pub use transport::{ADDRESSES_MAX, Transport, TransportUse};

pub(super) use cause::{emit_causes, optional_causes, parse_causes};
pub(super) use policy::{emit_policy, optional_policy};

use super::{Flaw, Reader, WireError, Writer};
use crate::{ElementId, PoolHandle};

/// Parameter types (RFC 5354 §3, table 1; the last two are not the RFC's). Their upper two bits say what somebody who
/// does not know the type has to do.
pub mod kind {
    /// IPv4 Address.
    pub const IPV4: u16 = 0x0001;
    /// IPv6 Address.
    pub const IPV6: u16 = 0x0002;
    /// DCCP Transport.
    pub const DCCP: u16 = 0x0003;
    /// SCTP Transport.
    pub const SCTP: u16 = 0x0004;
    /// TCP Transport.
    pub const TCP: u16 = 0x0005;
    /// UDP Transport.
    pub const UDP: u16 = 0x0006;
    /// UDP-Lite Transport.
    pub const UDP_LITE: u16 = 0x0007;
    /// Pool Member Selection Policy.
    pub const POLICY: u16 = 0x0008;
    /// Pool Handle.
    pub const POOL_HANDLE: u16 = 0x0009;
    /// Pool Element.
    pub const POOL_ELEMENT: u16 = 0x000a;
    /// Server Information.
    pub const SERVER_INFORMATION: u16 = 0x000b;
    /// Operation Error.
    pub const OPERATION_ERROR: u16 = 0x000c;
    /// Cookie.
    pub const COOKIE: u16 = 0x000d;
    /// PE Identifier.
    pub const ELEMENT_ID: u16 = 0x000e;
    /// PE Checksum.
    pub const CHECKSUM: u16 = 0x000f;
    /// Opaque Transport.
    pub const OPAQUE: u16 = 0x0010;
    /// Handle Resolution Option (draft-dreibholz-rserpool-asap-hropt): how many elements are wanted.
    pub const RESOLUTION_OPTION: u16 = 0x803f;
    /// Ours: where an element that registered over TCP listens for registrars.
    pub const ASAP_TCP: u16 = 0xbf05;
}

/// True for the types of RFC 5354. The other two are to be skipped wherever they are not looked for.
pub(super) fn is_defined(kind: u16) -> bool {
    (kind::IPV4..=kind::OPAQUE).contains(&kind)
}

/// Reads a Pool Handle (RFC 5354 §3.9).
pub(super) fn parse_handle(r: &mut Reader<'_>) -> Result<PoolHandle, WireError> {
    r.parameter(kind::POOL_HANDLE, |r| {
        let octets = r.rest();
        PoolHandle::new(octets).ok_or_else(|| r.invalid(Flaw::HandleSize))
    })
}

/// Writes a Pool Handle.
pub(super) fn emit_handle(w: &mut Writer<'_>, handle: &PoolHandle) {
    w.leaf(kind::POOL_HANDLE, handle.as_bytes());
}

/// Reads a PE Identifier (RFC 5354 §3.14).
pub(super) fn parse_element_id(r: &mut Reader<'_>) -> Result<ElementId, WireError> {
    r.parameter(kind::ELEMENT_ID, |r| fixed(r).map(|id| ElementId(u32::from_be_bytes(id))))
}

/// Reads a PE Identifier if there is one.
pub(super) fn optional_element_id(r: &mut Reader<'_>) -> Result<Option<ElementId>, WireError> {
    r.optional(kind::ELEMENT_ID, |r| fixed(r).map(|id| ElementId(u32::from_be_bytes(id))))
}

/// Writes a PE Identifier.
pub(super) fn emit_element_id(w: &mut Writer<'_>, id: ElementId) {
    w.leaf(kind::ELEMENT_ID, &id.0.to_be_bytes());
}

/// Reads a PE Checksum (RFC 5354 §3.15) if there is one.
pub(super) fn optional_checksum(r: &mut Reader<'_>) -> Result<Option<u16>, WireError> {
    r.optional(kind::CHECKSUM, |r| fixed(r).map(u16::from_be_bytes))
}

/// Writes a PE Checksum.
pub(super) fn emit_checksum(w: &mut Writer<'_>, checksum: u16) {
    w.leaf(kind::CHECKSUM, &checksum.to_be_bytes());
}

/// Reads a Handle Resolution Option if there is one: the number of elements wanted.
pub(super) fn optional_items(r: &mut Reader<'_>) -> Result<Option<u32>, WireError> {
    r.optional(kind::RESOLUTION_OPTION, |r| fixed(r).map(u32::from_be_bytes))
}

/// Writes a Handle Resolution Option.
pub(super) fn emit_items(w: &mut Writer<'_>, items: u32) {
    w.leaf(kind::RESOLUTION_OPTION, &items.to_be_bytes());
}

/// Reads a Cookie (RFC 5354 §3.13): at least one octet.
pub(super) fn parse_cookie(r: &mut Reader<'_>) -> Result<Vec<u8>, WireError> {
    r.parameter(kind::COOKIE, |r| match r.rest() {
        [] => Err(r.invalid(Flaw::EmptyCookie)),
        cookie => Ok(cookie.to_vec()),
    })
}

/// Writes a Cookie. (The reference does not step over its padding and then wonders about the length of the message:
/// cookies of a multiple of 4 octets are safe everywhere.)
pub(super) fn emit_cookie(w: &mut Writer<'_>, cookie: &[u8]) {
    w.leaf(kind::COOKIE, cookie);
}

/// All of the open parameter: exactly `N` octets.
fn fixed<const N: usize>(r: &mut Reader<'_>) -> Result<[u8; N], WireError> {
    let value = r.array()?;
    if r.left() > 0 {
        return Err(r.invalid(Flaw::FixedSize));
    }
    Ok(value)
}

/// Reads pools to the end: each a Pool Handle and at least one element, read by `element` (RFC 5353 §2.3).
pub(super) fn parse_pools(
    r: &mut Reader<'_>,
    element: fn(&mut Reader<'_>) -> Result<PoolElement, WireError>,
) -> Result<Vec<(PoolHandle, Vec<PoolElement>)>, WireError> {
    let mut pools = Vec::new();
    while r.seek(0)? == Some(kind::POOL_HANDLE) {
        let handle = parse_handle(r)?;
        let mut elements = vec![element(r)?];
        while r.seek(0)? == Some(kind::POOL_ELEMENT) {
            elements.push(element(r)?);
        }
        pools.push((handle, elements));
    }
    Ok(pools)
}

/// Writes pools. One without elements is left out: nobody could read it.
pub(super) fn emit_pools(w: &mut Writer<'_>, pools: &[(PoolHandle, Vec<PoolElement>)]) {
    for (handle, elements) in pools.iter().filter(|(_, elements)| !elements.is_empty()) {
        emit_handle(w, handle);
        elements.iter().for_each(|element| element.emit(w));
    }
}
