//! ENRP messages (RFC 5353 §2).

use super::WireError;
use super::parameter::{ErrorCause, PoolElement, ServerInformation};
use crate::{PoolHandle, RegistrarId};

/// One ENRP message: who says it, to whom (0: anyone), and what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Message {
    pub sender: RegistrarId,
    pub receiver: RegistrarId,
    pub body: Body,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Body {
    /// 0x01. `reply_required`: the R flag. The checksum covers what the sender owns.
    Presence { reply_required: bool, checksum: Option<u16>, server: Option<ServerInformation> },
    /// 0x02. `own_only`: the W flag.
    HandleTableRequest { own_only: bool },
    /// 0x03. `rejected`: R; `more`: M. Pools with their elements (never empty), in order.
    HandleTableResponse { rejected: bool, more: bool, pools: Vec<(PoolHandle, Vec<PoolElement>)> },
    /// 0x04. `takeover_suggested`: the T flag (draft).
    HandleUpdate { takeover_suggested: bool, action: UpdateAction, handle: PoolHandle, element: PoolElement },
    /// 0x05.
    ListRequest,
    /// 0x06. `rejected`: R.
    ListResponse { rejected: bool, servers: Vec<ServerInformation> },
    /// 0x07.
    InitTakeover { target: RegistrarId },
    /// 0x08.
    InitTakeoverAck { target: RegistrarId },
    /// 0x09.
    TakeoverServer { target: RegistrarId },
    /// 0x0a.
    Error { causes: Vec<ErrorCause> },
}

/// What to do with the element of a handle update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateAction {
    /// 0: add it, or renew it.
    Add,
    /// 1: it is gone.
    Delete,
    /// Anything else is ignored.
    Other(u16),
}

impl Message {
    /// The message these octets are.
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        let _ = bytes;
        Err(WireError::Truncated { offset: 0 })
    }

    /// The octets of this message, padded to a multiple of 4.
    pub fn emit(&self) -> Vec<u8> {
        Vec::new()
    }
}
