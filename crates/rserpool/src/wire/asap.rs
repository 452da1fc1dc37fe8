//! ASAP messages (RFC 5352 §2.2): what elements and users say to registrars and to each other.
//!
//! Two `match`es list every message once, [`Message::parse`] and [`Message::emit`]: the same parameters in the same
//! order. `tests.rs` has each message's octets by hand.

use super::parameter::*;
use super::{Flaw, Parsed, Reader, Skipped, WireError, Writer};
use crate::{ElementId, Policy, PoolHandle, RegistrarId};

#[cfg(test)]
mod tests;

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
    /// wanted; `Some(u32::MAX)`: all; absent or 0: what the registrar likes to give.
    HandleResolution { subscribe: bool, handle: PoolHandle, items: Option<u32> },
    /// 0x06. `accepted`: the A flag.
    HandleResolutionResponse { accepted: bool, handle: PoolHandle, answer: Resolution },
    /// 0x07. `home`: the H flag, the sender wants to be the home. `element`: absent means every element of the pool
    /// behind this link. (The RFC has no element here; the reference always adds it.)
    EndpointKeepAlive { home: bool, server: RegistrarId, handle: PoolHandle, element: Option<ElementId> },
    /// 0x08.
    EndpointKeepAliveAck { handle: PoolHandle, element: ElementId },
    /// 0x09.
    EndpointUnreachable { handle: PoolHandle, element: ElementId },
    /// 0x0a. No transports: look at where the datagram came from.
    ServerAnnounce { server: RegistrarId, transports: Vec<Transport> },
    /// 0x0b: at least one octet.
    Cookie { cookie: Vec<u8> },
    /// 0x0c: at least one octet.
    CookieEcho { cookie: Vec<u8> },
    /// 0x0d. `elements`: in the order of fail-over, at least one.
    BusinessCard { handle: PoolHandle, elements: Vec<PoolElement> },
    /// 0x0e. `causes`: at least one.
    Error { causes: Vec<ErrorCause> },
    /// 0x41, ours (type bits 01: a stranger discards it and may report it): what is in your handlespace? With a
    /// handle: of this pool only. `after`: go on behind this entry. Flags say which of the two are there (0x01 the
    /// handle, 0x02 after), then they follow in this order: Pool Handle; Pool Handle, PE Identifier.
    PoolList { handle: Option<PoolHandle>, after: Option<(PoolHandle, ElementId)> },
    /// 0x42, ours: the answer, by handle, then element; `more`: the M flag (0x02), ask again with `after` the last one.
    /// Server Identifier (4 octets), then pools as in a handle table response; the elements are as the registrar has
    /// them, with or without ASAP transport.
    PoolListResponse { more: bool, server: RegistrarId, pools: Vec<(PoolHandle, Vec<PoolElement>)> },
}

/// The answer to a handle resolution.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Resolution {
    /// The pool's policy and at most [`ELEMENTS_MAX`] elements in order of selection. An absent policy is round robin
    /// (RFC 5352 §2.2.6); the reference needs it: always give it.
    Elements { policy: Option<Policy>, elements: Vec<PoolElement> },
    /// Why not: at least one cause.
    Failed { causes: Vec<ErrorCause> },
}

/// The most elements in one handle resolution response: the reference reads no more.
pub const ELEMENTS_MAX: usize = 128;

const REGISTRATION: u8 = 0x01;
const DEREGISTRATION: u8 = 0x02;
const REGISTRATION_RESPONSE: u8 = 0x03;
const DEREGISTRATION_RESPONSE: u8 = 0x04;
const HANDLE_RESOLUTION: u8 = 0x05;
const HANDLE_RESOLUTION_RESPONSE: u8 = 0x06;
const ENDPOINT_KEEP_ALIVE: u8 = 0x07;
const ENDPOINT_KEEP_ALIVE_ACK: u8 = 0x08;
const ENDPOINT_UNREACHABLE: u8 = 0x09;
const SERVER_ANNOUNCE: u8 = 0x0a;
const COOKIE: u8 = 0x0b;
const COOKIE_ECHO: u8 = 0x0c;
const BUSINESS_CARD: u8 = 0x0d;
const ERROR: u8 = 0x0e;
const POOL_LIST: u8 = 0x41;
const POOL_LIST_RESPONSE: u8 = 0x42;

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
        let low = flags & 0x01 != 0;
        let message = match kind {
            REGISTRATION => Self::Registration { handle: parse_handle(r)?, element: PoolElement::parse(r)? },
            DEREGISTRATION => {
                Self::Deregistration { handle: parse_handle(r)?, element: parse_element_id(r)? }
            }
            REGISTRATION_RESPONSE => Self::RegistrationResponse {
                rejected: low,
                handle: parse_handle(r)?,
                element: parse_element_id(r)?,
                causes: optional_causes(r)?,
            },
            DEREGISTRATION_RESPONSE => Self::DeregistrationResponse {
                handle: parse_handle(r)?,
                element: parse_element_id(r)?,
                causes: optional_causes(r)?,
            },
            HANDLE_RESOLUTION => {
                Self::HandleResolution { subscribe: low, handle: parse_handle(r)?, items: optional_items(r)? }
            }
            HANDLE_RESOLUTION_RESPONSE => Self::HandleResolutionResponse {
                accepted: low,
                handle: parse_handle(r)?,
                answer: Resolution::read(r)?,
            },
            ENDPOINT_KEEP_ALIVE => Self::EndpointKeepAlive {
                home: low,
                server: RegistrarId(r.u32()?),
                handle: parse_handle(r)?,
                element: optional_element_id(r)?,
            },
            ENDPOINT_KEEP_ALIVE_ACK => {
                Self::EndpointKeepAliveAck { handle: parse_handle(r)?, element: parse_element_id(r)? }
            }
            ENDPOINT_UNREACHABLE => {
                Self::EndpointUnreachable { handle: parse_handle(r)?, element: parse_element_id(r)? }
            }
            SERVER_ANNOUNCE => {
                Self::ServerAnnounce { server: RegistrarId(r.u32()?), transports: announced_transports(r)? }
            }
            COOKIE => Self::Cookie { cookie: parse_cookie(r)? },
            COOKIE_ECHO => Self::CookieEcho { cookie: parse_cookie(r)? },
            BUSINESS_CARD => Self::BusinessCard { handle: parse_handle(r)?, elements: carded_elements(r)? },
            ERROR => Self::Error { causes: parse_causes(r)? },
            POOL_LIST => Self::PoolList {
                handle: if low { Some(parse_handle(r)?) } else { None },
                after: if flags & 0x02 != 0 { Some((parse_handle(r)?, parse_element_id(r)?)) } else { None },
            },
            POOL_LIST_RESPONSE => Self::PoolListResponse {
                more: flags & 0x02 != 0,
                server: RegistrarId(r.u32()?),
                pools: parse_pools(r, PoolElement::parse)?,
            },
            kind => return Err(WireError::UnknownMessage { kind, message: r.message_octets().to_vec() }),
        };
        r.finish()?;
        Ok(message)
    }

    fn emit_with(&self, skipped: &[Skipped]) -> Vec<u8> {
        let start = |kind, flags| Writer::message(kind, flags, skipped);
        let mut w;
        match self {
            Self::Registration { handle, element } => {
                w = start(REGISTRATION, 0);
                emit_handle(&mut w, handle);
                element.emit(&mut w);
            }
            Self::Deregistration { handle, element } => {
                w = start(DEREGISTRATION, 0);
                emit_handle(&mut w, handle);
                emit_element_id(&mut w, *element);
            }
            Self::RegistrationResponse { rejected, handle, element, causes } => {
                w = start(REGISTRATION_RESPONSE, u8::from(*rejected));
                emit_handle(&mut w, handle);
                emit_element_id(&mut w, *element);
                emit_optional_causes(&mut w, causes);
            }
            Self::DeregistrationResponse { handle, element, causes } => {
                w = start(DEREGISTRATION_RESPONSE, 0);
                emit_handle(&mut w, handle);
                emit_element_id(&mut w, *element);
                emit_optional_causes(&mut w, causes);
            }
            Self::HandleResolution { subscribe, handle, items } => {
                w = start(HANDLE_RESOLUTION, u8::from(*subscribe));
                emit_handle(&mut w, handle);
                if let Some(items) = items {
                    emit_items(&mut w, *items);
                }
            }
            Self::HandleResolutionResponse { accepted, handle, answer } => {
                w = start(HANDLE_RESOLUTION_RESPONSE, u8::from(*accepted));
                emit_handle(&mut w, handle);
                answer.emit(&mut w);
            }
            Self::EndpointKeepAlive { home, server, handle, element } => {
                w = start(ENDPOINT_KEEP_ALIVE, u8::from(*home));
                w.put_u32(server.0);
                emit_handle(&mut w, handle);
                if let Some(element) = element {
                    emit_element_id(&mut w, *element);
                }
            }
            Self::EndpointKeepAliveAck { handle, element } => {
                w = start(ENDPOINT_KEEP_ALIVE_ACK, 0);
                emit_handle(&mut w, handle);
                emit_element_id(&mut w, *element);
            }
            Self::EndpointUnreachable { handle, element } => {
                w = start(ENDPOINT_UNREACHABLE, 0);
                emit_handle(&mut w, handle);
                emit_element_id(&mut w, *element);
            }
            Self::ServerAnnounce { server, transports } => {
                w = start(SERVER_ANNOUNCE, 0);
                w.put_u32(server.0);
                transports.iter().for_each(|transport| transport.emit(&mut w));
            }
            Self::Cookie { cookie } => {
                w = start(COOKIE, 0);
                emit_cookie(&mut w, cookie);
            }
            Self::CookieEcho { cookie } => {
                w = start(COOKIE_ECHO, 0);
                emit_cookie(&mut w, cookie);
            }
            Self::BusinessCard { handle, elements } => {
                w = start(BUSINESS_CARD, 0);
                emit_handle(&mut w, handle);
                elements.iter().for_each(|element| element.emit(&mut w));
            }
            Self::Error { causes } => {
                w = start(ERROR, 0);
                emit_causes(&mut w, causes);
            }
            Self::PoolList { handle, after } => {
                w = start(POOL_LIST, u8::from(handle.is_some()) | u8::from(after.is_some()) << 1);
                if let Some(handle) = handle {
                    emit_handle(&mut w, handle);
                }
                if let Some((handle, element)) = after {
                    emit_handle(&mut w, handle);
                    emit_element_id(&mut w, *element);
                }
            }
            Self::PoolListResponse { more, server, pools } => {
                w = start(POOL_LIST_RESPONSE, u8::from(*more) << 1);
                w.put_u32(server.0);
                emit_pools(&mut w, pools);
            }
        }
        w.finish()
    }
}

/// A positive answer to a handle resolution, written from the elements where they are: a registrar says hardly anything
/// else, so nothing is copied on the way.
///
/// The octets are those of [`Message::HandleResolutionResponse`] with the policy of the first element, and the elements
/// without their ASAP transports.
pub struct Selection {
    w: Writer<'static>,
    octets_max: usize,
    elements: usize,
    is_full: bool,
}

impl Selection {
    /// An answer about this pool, of at most so many octets.
    pub fn new(handle: &PoolHandle, octets_max: usize) -> Self {
        let mut w = Writer::message(HANDLE_RESOLUTION_RESPONSE, 0, &[]);
        emit_handle(&mut w, handle);
        Self { w, octets_max, elements: 0, is_full: false }
    }

    /// The next element; left out, as are those behind it, if there is no room for it.
    pub fn push(&mut self, element: &PoolElement) {
        if self.is_full || self.elements == ELEMENTS_MAX {
            return;
        }
        let before = self.w.written();
        if self.elements == 0 {
            // The policy is always there, with the values of the first element: the RFC wants it for all but round
            // robin, the reference's users for all.
            emit_policy(&mut self.w, &element.policy);
        }
        element.emit_for_users(&mut self.w);
        self.is_full = self.w.written() > self.octets_max;
        if self.is_full {
            self.w.truncate(before);
        } else {
            self.elements += 1;
        }
    }

    /// The octets of the message; `None` without elements: that is no answer (RFC 5352 §2.2.6).
    pub fn finish(self) -> Option<Vec<u8>> {
        (self.elements > 0).then(|| self.w.finish())
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

/// What to answer to octets that are no ASAP message (RFC 5352 §2.2.14), or `None` where silence is due: for unknown
/// things that do not want a report, and for errors, lest two nodes complain for ever.
pub fn complaint(bytes: &[u8], error: &WireError) -> Option<Message> {
    if bytes.first() == Some(&ERROR) {
        return None;
    }
    Some(Message::Error { causes: vec![error.cause()?] })
}

impl Resolution {
    /// Either an Operation Error and nothing else, or a policy and elements.
    fn read(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let causes = optional_causes(r)?;
        if !causes.is_empty() {
            return Ok(Self::Failed { causes });
        }
        let policy = optional_policy(r)?;
        let mut elements = Vec::new();
        while r.seek(0)? == Some(kind::POOL_ELEMENT) {
            if elements.len() == ELEMENTS_MAX {
                return Err(r.invalid(Flaw::ElementCount));
            }
            elements.push(PoolElement::parse(r)?);
        }
        Ok(Self::Elements { policy, elements })
    }

    fn emit(&self, w: &mut Writer<'_>) {
        match self {
            Self::Elements { policy, elements } => {
                if let Some(policy) = policy {
                    emit_policy(w, policy);
                }
                elements.iter().for_each(|element| element.emit(w));
            }
            Self::Failed { causes } => emit_causes(w, causes),
        }
    }
}

/// The transports of a Server Announce. RFC 5352 §2.2.10 allows SCTP and TCP only; others do no harm. A Server
/// Information, which the reference accepts here but nobody sends, is skipped.
fn announced_transports(r: &mut Reader<'_>) -> Result<Vec<Transport>, WireError> {
    let mut transports = Vec::new();
    while let Some(found) = r.seek(0)? {
        match found {
            kind::SERVER_INFORMATION => r.skip()?,
            _ => transports.push(Transport::parse(r)?),
        }
    }
    Ok(transports)
}

/// The elements of a Business Card: at least one. The RFC has them behind the Pool Handle (RFC 5352 §2.2.13), the
/// reference writes a policy in between and expects a second Pool Handle before that. All three are read, the first is
/// written.
fn carded_elements(r: &mut Reader<'_>) -> Result<Vec<PoolElement>, WireError> {
    for stray in [kind::POOL_HANDLE, kind::POLICY] {
        if r.seek(0)? == Some(stray) {
            r.skip()?;
        }
    }
    let mut elements = vec![PoolElement::parse(r)?];
    while r.seek(0)? == Some(kind::POOL_ELEMENT) {
        elements.push(PoolElement::parse(r)?);
    }
    Ok(elements)
}

fn emit_optional_causes(w: &mut Writer<'_>, causes: &[ErrorCause]) {
    if !causes.is_empty() {
        emit_causes(w, causes);
    }
}
