//! Messages in a few words, for the trace.

use rserpool::link::Frame;
use rserpool::wire::{asap, enrp};
use rserpool::{Channel, Ppid};

/// A message of a link.
pub fn message(ppid: Ppid, bytes: &[u8]) -> String {
    match ppid {
        Ppid::ASAP => asap_message(bytes),
        Ppid::ENRP => enrp_message(bytes),
        Ppid::LINK => match Frame::parse(bytes) {
            Some(Frame::Ping(_)) => "Ping".into(),
            Some(Frame::Pong(_)) => "Pong".into(),
            None => unreadable(bytes),
        },
        Ppid(other) => format!("{} octets of {other:#x}: {}", bytes.len(), hex(bytes, 24)),
    }
}

/// A datagram of an announcement channel.
pub fn announcement(channel: Channel, bytes: &[u8]) -> String {
    match channel {
        Channel::Asap => asap_message(bytes),
        Channel::Enrp => enrp_message(bytes),
    }
}

fn asap_message(bytes: &[u8]) -> String {
    use asap::{Message as M, Resolution};
    match asap::Message::parse(bytes) {
        Ok(M::Registration { handle, element }) => {
            format!("Registration {handle} {} {:?}", element.id, element.policy)
        }
        Ok(M::Deregistration { handle, element }) => format!("Deregistration {handle} {element}"),
        Ok(M::RegistrationResponse { rejected, handle, element, causes }) => {
            let how = if rejected { "rejected" } else { "accepted" };
            format!("RegistrationResponse {handle} {element} {how} {causes:?}")
        }
        Ok(M::DeregistrationResponse { handle, element, causes }) => {
            format!("DeregistrationResponse {handle} {element} {causes:?}")
        }
        Ok(M::HandleResolution { handle, items, .. }) => format!("HandleResolution {handle} items {items:?}"),
        Ok(M::HandleResolutionResponse { handle, answer, .. }) => match answer {
            Resolution::Elements { elements, .. } => {
                let ids: Vec<_> = elements.iter().map(|element| element.id).collect();
                format!("HandleResolutionResponse {handle} {ids:?}")
            }
            Resolution::Failed { causes } => format!("HandleResolutionResponse {handle} failed {causes:?}"),
        },
        Ok(M::EndpointKeepAlive { home, server, handle, element }) => {
            let home = if home { " H" } else { "" };
            let element = element.map_or_else(|| "all".into(), |id| id.to_string());
            format!("EndpointKeepAlive{home} of {server} {handle} {element}")
        }
        Ok(M::EndpointKeepAliveAck { handle, element }) => format!("EndpointKeepAliveAck {handle} {element}"),
        Ok(M::EndpointUnreachable { handle, element }) => format!("EndpointUnreachable {handle} {element}"),
        Ok(M::ServerAnnounce { server, .. }) => format!("ServerAnnounce {server}"),
        Ok(M::Cookie { cookie }) => format!("Cookie {}", hex(&cookie, 48)),
        Ok(M::CookieEcho { cookie }) => format!("CookieEcho {}", hex(&cookie, 48)),
        Ok(other) => format!("{other:?}"),
        Err(_) => unreadable(bytes),
    }
}

fn enrp_message(bytes: &[u8]) -> String {
    use enrp::Body as B;
    let Ok(enrp::Message { sender, receiver, body }) = enrp::Message::parse(bytes) else {
        return unreadable(bytes);
    };
    let what = match body {
        B::Presence { reply_required, checksum, .. } => {
            let checksum = checksum.map_or_else(|| "none".into(), |sum| format!("{sum:04x}"));
            format!("Presence{} checksum {checksum}", if reply_required { " R" } else { "" })
        }
        B::HandleTableResponse { rejected, more, pools } => {
            let elements: usize = pools.iter().map(|(_, elements)| elements.len()).sum();
            let rejected = if rejected { " rejected" } else { "" };
            format!("HandleTableResponse{rejected} {elements} elements{}", if more { ", more" } else { "" })
        }
        B::HandleUpdate { action, handle, element, .. } => {
            format!(
                "HandleUpdate {action:?} {handle} {} home {} {:?}",
                element.id, element.home, element.policy
            )
        }
        B::ListResponse { rejected, servers } => {
            let ids: Vec<_> = servers.iter().map(|server| server.id).collect();
            format!("ListResponse{} {ids:?}", if rejected { " rejected" } else { "" })
        }
        other => format!("{other:?}"),
    };
    format!("{what} ({sender} to {receiver})")
}

fn unreadable(bytes: &[u8]) -> String {
    format!("{} octets that are no message: {}", bytes.len(), hex(bytes, 24))
}

/// The first octets in hexadecimal.
pub(crate) fn hex(bytes: &[u8], most: usize) -> String {
    let mut text: String = bytes.iter().take(most).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > most {
        text.push_str("..");
    }
    text
}
