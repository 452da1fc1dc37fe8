//! Who may register what from where (RFC 5352 §3.1), and where registrars will find it.
//!
//! A registration speaks for the host behind its link, for nobody else: of the addresses an element claims for its
//! service, only those stay that the transport saw on the other side of the link. This is the one protection against
//! registering somebody else's address, so it also holds for services over TCP and UDP. Ports are not compared: the
//! service runs on another one.

use super::config::Scope;
use crate::handlespace;
use crate::wire::parameter::{CauseCode, ErrorCause, PoolElement, Transport, TransportUse};
use crate::{Endpoint, Protocol};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Why a registrar declines a wish of an element. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The pool does not take such an element.
    Inadmissible(handlespace::Refusal),
    /// None of the addresses of its service belongs to the host that registers, or none reaches far enough.
    NoUsableUserAddress,
    /// The host that registers has no address that reaches far enough.
    NoUsableAsapAddress,
    /// An element of another host has this identifier and is connected.
    IdentifierInUse,
    /// The wish came over another link than the registration.
    NotOwner,
    /// No room for one more.
    LackOfResources,
    /// Too many wishes in a short time.
    TooOften,
}

impl Refusal {
    /// The wire's word for it (RFC 5354 §4; the two address codes are the reference's, whose elements reconnect on them).
    pub fn cause(&self) -> ErrorCause {
        let code = match self {
            Self::Inadmissible(refusal) => refusal.cause(),
            Self::NoUsableUserAddress => CauseCode::NO_USABLE_USER_ADDRESS,
            Self::NoUsableAsapAddress => CauseCode::NO_USABLE_ASAP_ADDRESS,
            Self::IdentifierInUse => CauseCode::NON_UNIQUE_ELEMENT_ID,
            Self::NotOwner => CauseCode::SECURITY,
            Self::LackOfResources | Self::TooOften => CauseCode::LACK_OF_RESOURCES,
        };
        ErrorCause { code, info: Vec::new() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inadmissible(refusal) => refusal.fmt(f),
            Self::NoUsableUserAddress => {
                f.write_str("no address of the service belongs to the host that registers")
            }
            Self::NoUsableAsapAddress => {
                f.write_str("the host that registers has no address of sufficient scope")
            }
            Self::IdentifierInUse => f.write_str("a connected element of another host has this identifier"),
            Self::NotOwner => f.write_str("another link registered it"),
            Self::LackOfResources => f.write_str("no room for one more"),
            Self::TooOften => f.write_str("too many registrations in a short time"),
        }
    }
}

/// The element as it goes into the handlespace when it registers over a link whose other end is `link`: the addresses
/// of its service reduced to those of that host, and its ASAP transport taken from the link (RFC 5352 §3.1 rule 4).
pub(super) fn reachable_through(
    link: &Endpoint,
    minimum: Scope,
    asked: PoolElement,
) -> Result<PoolElement, Refusal> {
    let hosts: Vec<IpAddr> = link.addresses.iter().map(|a| a.to_canonical()).collect();
    let usable = |address: &IpAddr| Scope::of(*address).is_some_and(|scope| scope >= minimum);
    let belongs = |address: &IpAddr| usable(address) && hosts.contains(&address.to_canonical());

    let one = |address: IpAddr| belongs(&address).then_some(address).ok_or(Refusal::NoUsableUserAddress);
    let user_transport = match asked.user_transport {
        Transport::Sctp { port, transport_use, mut addresses } => {
            addresses.retain(belongs);
            if addresses.is_empty() {
                return Err(Refusal::NoUsableUserAddress);
            }
            Transport::Sctp { port, transport_use, addresses }
        }
        Transport::Tcp { port, transport_use, address } => {
            Transport::Tcp { port, transport_use, address: one(address)? }
        }
        Transport::Udp { port, address } => Transport::Udp { port, address: one(address)? },
        Transport::UdpLite { port, address } => Transport::UdpLite { port, address: one(address)? },
        Transport::Dccp { port, service_code, address } => {
            Transport::Dccp { port, service_code, address: one(address)? }
        }
        // Only the application understands it (RFC 5354 §3.8), so there is nothing to compare and nobody to misdirect.
        opaque @ Transport::Opaque(_) => opaque,
    };

    let addresses: Vec<IpAddr> = hosts.into_iter().filter(usable).collect();
    let Some(&first) = addresses.first() else { return Err(Refusal::NoUsableAsapAddress) };
    let (asap_transport, asap_tcp) = match link.protocol {
        Protocol::Sctp => {
            (Transport::Sctp { port: link.port, transport_use: TransportUse::Data, addresses }, None)
        }
        // Our extension (TCP mapping 5): the element says at which port it listens; the address is the link's. Peers
        // insist on an SCTP transport, so one with the same address and port goes along for their sake.
        Protocol::Tcp => {
            let port = asked.asap_tcp.map_or(0, |listens| listens.port());
            let told = if port == 0 { ASAP_PORT } else { port };
            (
                Transport::Sctp { port: told, transport_use: TransportUse::Data, addresses: vec![first] },
                Some(SocketAddr::new(first, port)),
            )
        }
    };
    Ok(PoolElement { user_transport, asap_transport: Some(asap_transport), asap_tcp, ..asked })
}

/// Where a registrar other than the home finds the element (RFC 5352 §2.2.1, TCP mapping 5); `None`: nowhere.
pub(super) fn asap_endpoint(element: &PoolElement) -> Option<Endpoint> {
    match (&element.asap_tcp, &element.asap_transport) {
        (Some(listens), _) => (listens.port() != 0).then(|| Endpoint::tcp(*listens)),
        (None, Some(Transport::Sctp { port, addresses, .. })) if *port != 0 && !addresses.is_empty() => {
            Some(Endpoint { protocol: Protocol::Sctp, addresses: addresses.clone(), port: *port })
        }
        _ => None,
    }
}

/// True if the other end of a link is at the host where registrars reach the element.
pub(super) fn lives_at(element: &PoolElement, link: &Endpoint) -> bool {
    match &element.asap_transport {
        Some(Transport::Sctp { addresses, .. }) => addresses
            .iter()
            .any(|one| link.addresses.iter().any(|other| one.to_canonical() == other.to_canonical())),
        _ => false,
    }
}

/// The IANA-registered ASAP port.
const ASAP_PORT: u16 = 3863;
