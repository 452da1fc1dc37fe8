//! ASAP messages (RFC 5352 §2.2).

use super::WireError;
use super::parameter::{ErrorCause, PoolElement, Transport};
use crate::{ElementId, Policy, PoolHandle, RegistrarId};

/// One ASAP message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Message {
    /// 0x01, element to registrar.
    Registration { handle: PoolHandle, element: PoolElement },
    /// 0x02, element to registrar.
    Deregistration { handle: PoolHandle, element: ElementId },
    /// 0x03. `rejected`: the R flag. Causes without R are a warning.
    RegistrationResponse { rejected: bool, handle: PoolHandle, element: ElementId, causes: Vec<ErrorCause> },
    /// 0x04. With causes: refused.
    DeregistrationResponse { handle: PoolHandle, element: ElementId, causes: Vec<ErrorCause> },
    /// 0x05. `subscribe`: the S flag. `items`: the handle resolution option (draft asap-hropt), how many elements are
    /// wanted; `Some(u32::MAX)`: all.
    HandleResolution { subscribe: bool, handle: PoolHandle, items: Option<u32> },
    /// 0x06.
    HandleResolutionResponse { accepted: bool, handle: PoolHandle, answer: Resolution },
    /// 0x07. `home`: the H flag, the sender wants to be the home. `element`: absent means every element of the pool
    /// behind this link.
    EndpointKeepAlive { home: bool, server: RegistrarId, handle: PoolHandle, element: Option<ElementId> },
    /// 0x08.
    EndpointKeepAliveAck { handle: PoolHandle, element: ElementId },
    /// 0x09.
    EndpointUnreachable { handle: PoolHandle, element: ElementId },
    /// 0x0a.
    ServerAnnounce { server: RegistrarId, transports: Vec<Transport> },
    /// 0x0b: at least one octet.
    Cookie { cookie: Vec<u8> },
    /// 0x0c: at least one octet.
    CookieEcho { cookie: Vec<u8> },
    /// 0x0d.
    BusinessCard { handle: PoolHandle, elements: Vec<PoolElement> },
    /// 0x0e.
    Error { causes: Vec<ErrorCause> },
    /// 0x41, ours (type bits 01: a stranger discards it and may report it): what is in your handlespace? With a
    /// handle: of this pool only. `after`: go on behind this entry.
    PoolList { handle: Option<PoolHandle>, after: Option<(PoolHandle, ElementId)> },
    /// 0x42, ours: the answer, by handle, then element; `more`: the M flag (0x02), ask again with `after` the last one.
    PoolListResponse { more: bool, server: RegistrarId, pools: Vec<(PoolHandle, Vec<PoolElement>)> },
}

/// The answer to a handle resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Resolution {
    /// The pool's policy (absent: round robin) and the elements in order of selection.
    Elements { policy: Option<Policy>, elements: Vec<PoolElement> },
    /// Why not.
    Failed { causes: Vec<ErrorCause> },
}

impl Message {
    /// The message these octets are: all of them, one message. Unknown parameters are treated by the rule of their
    /// action bits (RFC 5354 §3).
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let _ = bytes;
        Err(WireError::Truncated { offset: 0 })
    }

    /// The octets of this message, padded to a multiple of 4.
    pub fn emit(&self) -> Vec<u8> {
        Vec::new()
    }
}
