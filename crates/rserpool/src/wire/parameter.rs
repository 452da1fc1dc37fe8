//! Parameters (RFC 5354).

use crate::{ElementId, Policy, RegistrarId};
use std::net::{IpAddr, SocketAddr};

/// What a transport address is used for (RFC 5354 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportUse {
    /// 0: application data only.
    Data,
    /// 1: application data and the ASAP control channel.
    DataAndControl,
}

/// A transport parameter: where a service or a registrar is reached (RFC 5354 §3.3-3.8).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Transport {
    /// 0x0003.
    Dccp { port: u16, service_code: u32, address: IpAddr },
    /// 0x0004. `addresses`: 1 to 64, in the order given.
    Sctp { port: u16, transport_use: TransportUse, addresses: Vec<IpAddr> },
    /// 0x0005. RFC 5354 reserves the second field; we and the reference keep the transport use there (tcp mapping).
    Tcp { port: u16, transport_use: TransportUse, address: IpAddr },
    /// 0x0006.
    Udp { port: u16, address: IpAddr },
    /// 0x0007.
    UdpLite { port: u16, address: IpAddr },
    /// 0x0010: an address the application understands.
    Opaque(Vec<u8>),
}

/// How long a registration lives without renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u32);

/// A pool element (RFC 5354 §3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolElement {
    /// Its identifier. 0 is parsed (a registrar refuses it with a response).
    pub id: ElementId,
    /// The registrar that watches it; undefined in registrations.
    pub home: RegistrarId,
    /// Milliseconds on the wire, as the reference does (RFC 5354: seconds); all ones: infinite.
    pub life: Life,
    /// Where it serves.
    pub user_transport: Transport,
    /// How the pool chooses, with this element's values.
    pub policy: Policy,
    /// Where registrars reach it: an SCTP transport; present in ENRP only.
    pub asap_transport: Option<Transport>,
    /// Our extension 0xbf05 (action "skip"): where it listens for registrars over TCP; port 0 means nowhere.
    pub asap_tcp: Option<SocketAddr>,
}

/// A registrar: its identifier and ENRP endpoint (RFC 5354 §3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInformation {
    /// Its identifier.
    pub id: RegistrarId,
    /// Its ENRP endpoint: SCTP.
    pub transport: Transport,
}

/// One error cause of an Operation Error parameter (RFC 5354 §3.12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCause {
    /// What is wrong.
    pub code: CauseCode,
    /// Details, depending on the code; the offending parameter or message, or empty.
    pub info: Vec<u8>,
}

/// The code of an error cause: RFC 5354 §4, and the reference's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CauseCode(pub u16);

#[allow(missing_docs)]
impl CauseCode {
    pub const UNSPECIFIED: Self = Self(0x0);
    pub const UNRECOGNIZED_PARAMETER: Self = Self(0x1);
    pub const UNRECOGNIZED_MESSAGE: Self = Self(0x2);
    pub const INVALID_VALUES: Self = Self(0x3);
    pub const NON_UNIQUE_ELEMENT_ID: Self = Self(0x4);
    pub const INCONSISTENT_POLICY: Self = Self(0x5);
    pub const LACK_OF_RESOURCES: Self = Self(0x6);
    pub const INCONSISTENT_TRANSPORT: Self = Self(0x7);
    pub const INCONSISTENT_DATA_CONTROL: Self = Self(0x8);
    pub const UNKNOWN_POOL_HANDLE: Self = Self(0x9);
    pub const SECURITY: Self = Self(0xa);
    /// The reference's: no usable ASAP address; its elements answer by reconnecting.
    pub const NO_USABLE_ASAP_ADDRESS: Self = Self(0xf007);
    /// The reference's: no usable user address; its elements answer by reconnecting.
    pub const NO_USABLE_USER_ADDRESS: Self = Self(0xf008);
}
