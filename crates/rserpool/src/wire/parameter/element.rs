//! Pool Element (RFC 5354 §3.10) and Server Information (§3.11).

use super::policy::{emit_policy, parse_policy};
use super::transport::{asap_tcp, emit_asap_tcp};
use super::{Flaw, Reader, Transport, TransportUse, WireError, Writer, kind};
use crate::{ElementId, Policy, RegistrarId};
use std::net::SocketAddr;

/// How long a registration lives without renewal: milliseconds, all ones for ever.
///
/// RFC 5354 §3.10 counts signed seconds with -1 for ever; the reference counts unsigned milliseconds, and so do we:
/// who takes the one for the other is wrong by a factor of 1000. For ever is the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u32);

impl Life {
    /// No end.
    pub const INFINITE: Self = Self(u32::MAX);
}

/// A pool element (RFC 5354 §3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolElement {
    /// Its identifier. 0 is parsed in ASAP (a registrar refuses it with a response) and refused in ENRP.
    pub id: ElementId,
    /// The registrar that watches it; undefined in registrations, never in ENRP.
    pub home: RegistrarId,
    /// Milliseconds on the wire, as the reference does (RFC 5354: seconds); all ones: infinite.
    pub life: Life,
    /// Where it serves.
    pub user_transport: Transport,
    /// How the pool chooses, with this element's values.
    pub policy: Policy,
    /// Where registrars reach it: an SCTP transport. Needed in ENRP, where it also has a port and is no data transport;
    /// ignored in ASAP.
    pub asap_transport: Option<Transport>,
    /// Our extension 0xbf05 (action "skip"): where it listens for registrars over TCP; port 0 means nowhere. (A flow
    /// label or scope of an IPv6 address does not travel.)
    pub asap_tcp: Option<SocketAddr>,
}

impl PoolElement {
    /// Reads a Pool Element. Its parameters have one order; what follows them is skipped, whatever its type, because
    /// that is where extensions were put before there were rules for them.
    pub(in super::super) fn parse(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.parameter(kind::POOL_ELEMENT, Self::value)
    }

    /// Reads a Pool Element that stands in an ENRP message: registrars tell each other only of elements that can be
    /// watched and taken over (RFC 5354 §3.10).
    pub(in super::super) fn parse_enrp(r: &mut Reader<'_>) -> Result<Self, WireError> {
        r.parameter(kind::POOL_ELEMENT, |r| {
            let element = Self::value(r)?;
            match element.asap_transport {
                Some(Transport::Sctp { port: 1.., transport_use: TransportUse::Data, .. }) => {}
                _ => return Err(r.invalid(Flaw::AsapTransport)),
            }
            if !element.id.is_defined() {
                return Err(r.invalid(Flaw::UndefinedElement));
            }
            if !element.home.is_defined() {
                return Err(r.invalid(Flaw::UndefinedHome));
            }
            Ok(element)
        })
    }

    fn value(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let mut element = Self {
            id: ElementId(r.u32()?),
            home: RegistrarId(r.u32()?),
            life: Life(r.u32()?),
            user_transport: Transport::parse(r)?,
            policy: parse_policy(r)?,
            asap_transport: None,
            asap_tcp: None,
        };
        while let Some(found) = r.seek(kind::ASAP_TCP)? {
            match found {
                kind::SCTP if element.asap_transport.is_none() && element.asap_tcp.is_none() => {
                    element.asap_transport = Some(Transport::parse_sctp(r)?);
                }
                kind::ASAP_TCP if element.asap_tcp.is_none() => match asap_tcp(r.value()?) {
                    Some(at) => element.asap_tcp = r.enter(|_| Ok(Some(at)))?,
                    None => r.skip()?,
                },
                _ => r.skip()?,
            }
        }
        Ok(element)
    }

    /// Writes the parameter as users get it: where registrars reach the element is not for them.
    pub(in super::super) fn emit_for_users(&self, w: &mut Writer<'_>) {
        w.parameter(kind::POOL_ELEMENT, |w| self.emit_service(w));
    }

    fn emit_service(&self, w: &mut Writer<'_>) {
        w.put_u32(self.id.0).put_u32(self.home.0).put_u32(self.life.0);
        self.user_transport.emit(w);
        emit_policy(w, &self.policy);
    }

    /// Writes the parameter.
    pub(in super::super) fn emit(&self, w: &mut Writer<'_>) {
        w.parameter(kind::POOL_ELEMENT, |w| {
            self.emit_service(w);
            if let Some(transport) = &self.asap_transport {
                transport.emit(w);
            }
            if let Some(at) = self.asap_tcp {
                emit_asap_tcp(w, at);
            }
        });
    }
}

/// A registrar: its identifier and ENRP endpoint (RFC 5354 §3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInformation {
    /// Its identifier; undefined in lists of registrars that know a peer by its address only.
    pub id: RegistrarId,
    /// Its ENRP endpoint: SCTP.
    pub transport: Transport,
}

impl ServerInformation {
    /// Reads a Server Information if there is one; what follows the transport in it is skipped.
    pub(in super::super) fn optional(r: &mut Reader<'_>) -> Result<Option<Self>, WireError> {
        r.optional(kind::SERVER_INFORMATION, Self::value)
    }

    fn value(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let server = Self { id: RegistrarId(r.u32()?), transport: Transport::parse_sctp(r)? };
        while r.seek(0)?.is_some() {
            r.skip()?;
        }
        Ok(server)
    }

    /// Writes the parameter.
    pub(in super::super) fn emit(&self, w: &mut Writer<'_>) {
        w.parameter(kind::SERVER_INFORMATION, |w| {
            w.put_u32(self.id.0);
            self.transport.emit(w);
        });
    }
}
