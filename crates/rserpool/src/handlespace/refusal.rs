//! Who is admitted (RFC 5352 §3.1), and why others are not.

use crate::wire::parameter::{CauseCode, PoolElement, Transport, TransportUse};
use std::fmt;
use std::mem::discriminant;

/// Why an element is not admitted. Nothing changed. (Who may register it from where is for the registrar to judge.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// Its policy type is not known here, so it cannot be at home here.
    UnknownPolicy,
    /// Its identifier is 0.
    UndefinedElement,
    /// The pool is served over another transport protocol.
    TransportMismatch,
    /// Its ASAP transport is not SCTP for ASAP alone, or has no address or no port.
    AsapTransport,
    /// Its user transport has no address, too many of them, or no port.
    UserTransport,
    /// The pool disagrees about the control channel.
    ControlChannelMismatch,
    /// The pool has another policy type.
    PolicyMismatch,
    /// The handlespace is full.
    LackOfResources,
}

impl Refusal {
    /// The wire's word for it (RFC 5354 §4).
    pub fn cause(self) -> CauseCode {
        match self {
            Self::UnknownPolicy | Self::UndefinedElement | Self::AsapTransport | Self::UserTransport => {
                CauseCode::INVALID_VALUES
            }
            Self::TransportMismatch => CauseCode::INCONSISTENT_TRANSPORT,
            Self::ControlChannelMismatch => CauseCode::INCONSISTENT_DATA_CONTROL,
            Self::PolicyMismatch => CauseCode::INCONSISTENT_POLICY,
            Self::LackOfResources => CauseCode::LACK_OF_RESOURCES,
        }
    }

    /// Why an element cannot be in the pool of this member (`None`: the pool is new), in the reference's order.
    ///
    /// All elements of a pool agree about transport protocol, control channel and policy type; this holds for a renewal
    /// as well, so even a pool's only element leaves first to change one of them (RFC 5352 §3.1, rule 3).
    pub(super) fn of(element: &PoolElement, member: Option<&PoolElement>) -> Option<Self> {
        let differs =
            |differ: fn(&PoolElement, &PoolElement) -> bool| member.is_some_and(|m| differ(m, element));
        if !element.id.is_defined() {
            Some(Self::UndefinedElement)
        } else if differs(|m, e| discriminant(&m.user_transport) != discriminant(&e.user_transport)) {
            Some(Self::TransportMismatch)
        } else if !element.asap_transport.as_ref().is_none_or(is_asap_transport) {
            Some(Self::AsapTransport)
        } else if !has_address_and_port(&element.user_transport) {
            Some(Self::UserTransport)
        } else if differs(|m, e| {
            has_control_channel(&m.user_transport) != has_control_channel(&e.user_transport)
        }) {
            Some(Self::ControlChannelMismatch)
        } else if differs(|m, e| m.policy.code() != e.policy.code()) {
            Some(Self::PolicyMismatch)
        } else {
            None
        }
    }
}

impl fmt::Display for Refusal {
    /// Reads well after "cannot register: ".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownPolicy => "this registrar does not know the policy",
            Self::UndefinedElement => "the element identifier is 0",
            Self::TransportMismatch => "the pool is served over another transport protocol",
            Self::AsapTransport => "the ASAP transport is not usable",
            Self::UserTransport => "the user transport has no usable address and port",
            Self::ControlChannelMismatch => "the pool disagrees about the control channel",
            Self::PolicyMismatch => "the pool has another policy",
            Self::LackOfResources => "there is no room for another element",
        })
    }
}

impl std::error::Error for Refusal {}

/// Addresses of one transport, at most (wire format: 64).
const ADDRESSES_MAX: usize = 64;

fn is_asap_transport(transport: &Transport) -> bool {
    matches!(transport, Transport::Sctp { transport_use: TransportUse::Data, .. })
        && has_address_and_port(transport)
}

fn has_address_and_port(transport: &Transport) -> bool {
    match transport {
        Transport::Sctp { port, addresses, .. } => {
            *port != 0 && (1..=ADDRESSES_MAX).contains(&addresses.len())
        }
        Transport::Dccp { port, .. }
        | Transport::Tcp { port, .. }
        | Transport::Udp { port, .. }
        | Transport::UdpLite { port, .. } => *port != 0,
        Transport::Opaque(address) => !address.is_empty(),
    }
}

fn has_control_channel(transport: &Transport) -> bool {
    match transport {
        Transport::Sctp { transport_use, .. } | Transport::Tcp { transport_use, .. } => {
            *transport_use == TransportUse::DataAndControl
        }
        Transport::Dccp { .. } | Transport::Udp { .. } | Transport::UdpLite { .. } | Transport::Opaque(_) => {
            false
        }
    }
}
