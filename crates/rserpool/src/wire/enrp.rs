//! ENRP messages (RFC 5353 §2): what registrars say to each other.
//!
//! Each begins with who says it and to whom. As in [`asap`](super::asap), two `match`es list every message once, and
//! `tests.rs` has each message's octets by hand.

use super::parameter::*;
use super::{Parsed, Reader, Skipped, WireError, Writer};
use crate::{PoolHandle, RegistrarId};

#[cfg(test)]
mod tests;

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
    /// 0x01. `reply_required`: the R flag. The checksum covers what the sender owns. Always send checksum and server:
    /// the reference ignores a Presence without.
    Presence { reply_required: bool, checksum: Option<u16>, server: Option<ServerInformation> },
    /// 0x02. `own_only`: the W flag.
    HandleTableRequest { own_only: bool },
    /// 0x03. `rejected`: R; `more`: M. Pools with their elements (never empty), in order; a pool may come more than
    /// once.
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
    /// 0x0a. `causes`: at least one.
    Error { causes: Vec<ErrorCause> },
}

/// What to do with the element of a handle update (RFC 5353 §2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpdateAction {
    /// 0: add it, or renew it.
    Add,
    /// 1: it is gone.
    Delete,
    /// Anything else is ignored.
    Other(u16),
}

const PRESENCE: u8 = 0x01;
const HANDLE_TABLE_REQUEST: u8 = 0x02;
const HANDLE_TABLE_RESPONSE: u8 = 0x03;
const HANDLE_UPDATE: u8 = 0x04;
const LIST_REQUEST: u8 = 0x05;
const LIST_RESPONSE: u8 = 0x06;
const INIT_TAKEOVER: u8 = 0x07;
const INIT_TAKEOVER_ACK: u8 = 0x08;
const TAKEOVER_SERVER: u8 = 0x09;
const ERROR: u8 = 0x0a;

impl Message {
    /// The message these octets are: all of them, one message. Unknown parameters are treated by the rule of their
    /// action bits (RFC 5354 §3); those that are skipped are forgotten, see [`Parsed::read`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        Self::read(&mut Reader::new(bytes))
    }

    /// The octets of this message, a multiple of 4. See [`Writer::finish`] about messages that are too long.
    pub fn emit(&self) -> Vec<u8> {
        self.emit_with(&[])
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let (kind, flags) = r.message()?;
        if !(PRESENCE..=ERROR).contains(&kind) {
            return Err(WireError::UnknownMessage { kind, message: r.message_octets().to_vec() });
        }
        let low = flags & 0x01 != 0;
        let (sender, receiver) = (RegistrarId(r.u32()?), RegistrarId(r.u32()?));
        let body = match kind {
            PRESENCE => Body::Presence {
                reply_required: low,
                checksum: optional_checksum(r)?,
                server: ServerInformation::optional(r)?,
            },
            HANDLE_TABLE_REQUEST => Body::HandleTableRequest { own_only: low },
            HANDLE_TABLE_RESPONSE => Body::HandleTableResponse {
                rejected: low,
                more: flags & 0x02 != 0,
                pools: parse_pools(r, PoolElement::parse_enrp)?,
            },
            HANDLE_UPDATE => {
                let (action, _reserved) = (UpdateAction::from_code(r.u16()?), r.u16()?);
                let (handle, element) = (parse_handle(r)?, PoolElement::parse_enrp(r)?);
                Body::HandleUpdate { takeover_suggested: low, action, handle, element }
            }
            LIST_REQUEST => Body::ListRequest,
            LIST_RESPONSE => {
                let mut servers = Vec::new();
                while let Some(server) = ServerInformation::optional(r)? {
                    servers.push(server);
                }
                Body::ListResponse { rejected: low, servers }
            }
            INIT_TAKEOVER => Body::InitTakeover { target: RegistrarId(r.u32()?) },
            INIT_TAKEOVER_ACK => Body::InitTakeoverAck { target: RegistrarId(r.u32()?) },
            TAKEOVER_SERVER => Body::TakeoverServer { target: RegistrarId(r.u32()?) },
            _ => Body::Error { causes: parse_causes(r)? },
        };
        r.finish()?;
        Ok(Self { sender, receiver, body })
    }

    fn emit_with(&self, skipped: &[Skipped]) -> Vec<u8> {
        let start = |kind, flags| {
            let mut w = Writer::message(kind, flags, skipped);
            w.put_u32(self.sender.0).put_u32(self.receiver.0);
            w
        };
        let mut w;
        match &self.body {
            Body::Presence { reply_required, checksum, server } => {
                w = start(PRESENCE, u8::from(*reply_required));
                if let Some(checksum) = checksum {
                    emit_checksum(&mut w, *checksum);
                }
                if let Some(server) = server {
                    server.emit(&mut w);
                }
            }
            Body::HandleTableRequest { own_only } => w = start(HANDLE_TABLE_REQUEST, u8::from(*own_only)),
            Body::HandleTableResponse { rejected, more, pools } => {
                w = start(HANDLE_TABLE_RESPONSE, u8::from(*rejected) | u8::from(*more) << 1);
                emit_pools(&mut w, pools);
            }
            Body::HandleUpdate { takeover_suggested, action, handle, element } => {
                w = start(HANDLE_UPDATE, u8::from(*takeover_suggested));
                w.put_u16(action.code()).put_u16(0);
                emit_handle(&mut w, handle);
                element.emit(&mut w);
            }
            Body::ListRequest => w = start(LIST_REQUEST, 0),
            Body::ListResponse { rejected, servers } => {
                w = start(LIST_RESPONSE, u8::from(*rejected));
                servers.iter().for_each(|server| server.emit(&mut w));
            }
            Body::InitTakeover { target } => {
                w = start(INIT_TAKEOVER, 0);
                w.put_u32(target.0);
            }
            Body::InitTakeoverAck { target } => {
                w = start(INIT_TAKEOVER_ACK, 0);
                w.put_u32(target.0);
            }
            Body::TakeoverServer { target } => {
                w = start(TAKEOVER_SERVER, 0);
                w.put_u32(target.0);
            }
            Body::Error { causes } => {
                w = start(ERROR, 0);
                emit_causes(&mut w, causes);
            }
        }
        w.finish()
    }
}

impl Parsed<Message> {
    /// Like [`Message::parse`], and keeps what was skipped.
    pub fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::keeping(bytes);
        let message = Message::read(&mut r)?;
        Ok(Self { message, skipped: r.into_skipped() })
    }

    /// The octets of the message with what was skipped at its places.
    pub fn emit(&self) -> Vec<u8> {
        self.message.emit_with(&self.skipped)
    }
}

impl UpdateAction {
    /// The action of this value.
    pub fn from_code(code: u16) -> Self {
        match code {
            0 => Self::Add,
            1 => Self::Delete,
            other => Self::Other(other),
        }
    }

    /// The value on the wire.
    pub fn code(self) -> u16 {
        match self {
            Self::Add => 0,
            Self::Delete => 1,
            Self::Other(code) => code,
        }
    }
}

/// What `sender` answers to octets that are no ENRP message (RFC 5353 §3.7), or `None` where silence is due: for
/// unknown things that do not want a report, and for errors, lest two registrars complain for ever. It goes to whoever
/// the octets say they are from.
pub fn complaint(sender: RegistrarId, bytes: &[u8], error: &WireError) -> Option<Message> {
    if bytes.first() == Some(&ERROR) {
        return None;
    }
    let causes = vec![error.cause()?];
    let from = bytes.get(4..8).and_then(|octets| octets.try_into().ok());
    let receiver = from.map_or(RegistrarId::UNDEFINED, |octets| RegistrarId(u32::from_be_bytes(octets)));
    Some(Message { sender, receiver, body: Body::Error { causes } })
}
