//! Messages in a few words, for the trace.

use rserpool::link::Frame;
use rserpool::wire::{asap, enrp};
use rserpool::{Channel, Ppid};
use rserpool_compute::Cookie;
use rserpool_compute::protocol::{self, Frames, PPID};

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
        PPID => tasks(bytes),
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
        Ok(M::Cookie { cookie }) => format!("Cookie {}", cookie_text(&cookie)),
        Ok(M::CookieEcho { cookie }) => format!("CookieEcho {}", cookie_text(&cookie)),
        Ok(other) => format!("{other:?}"),
        Err(_) => unreadable(bytes),
    }
}

/// How far which attempts had come, if it is a cookie of the task service; else its octets.
fn cookie_text(cookie: &[u8]) -> String {
    let Ok(Cookie { job, sequence, entries }) = Cookie::verify(cookie) else { return hex(cookie, 48) };
    let entries = entries.iter().map(|entry| match entry.state.is_empty() {
        true => entry.attempt.to_string(),
        false => format!("{} at {} in state {}", entry.attempt, entry.octets, hex(&entry.state, 8)),
    });
    format!("{sequence} of job {}: {}", hex(&job.0, 4), entries.collect::<Vec<_>>().join(", "))
}

/// The frames of a message of the task protocol, separated by semicolons.
fn tasks(bytes: &[u8]) -> String {
    use protocol::Frame as F;
    let frames = Frames::of(bytes).map(|frame| match frame {
        Ok(F::Hello { job, .. }) => format!("Hello of job {}", hex(&job.0, 4)),
        Ok(F::Task { attempt, continues: 0, .. }) => format!("Task {attempt}"),
        Ok(F::Task { attempt, continues, .. }) => format!("Task {attempt} continues #{continues}"),
        Ok(F::Window { attempt, octets }) => format!("Window {attempt} {octets}"),
        Ok(F::Ack { attempt }) => format!("Ack {attempt}"),
        Ok(F::Cancel { attempt }) => format!("Cancel {attempt}"),
        Ok(F::Adopt { attempt }) => format!("Adopt {attempt}"),
        Ok(F::Holds { attempt }) => format!("Holds {attempt}"),
        Ok(F::Recall { attempt }) => format!("Recall {attempt}"),
        Ok(F::Welcome { slots, credit, .. }) => format!("Welcome {slots} slots, credit {credit}"),
        Ok(F::Started { attempt, of: 0, .. }) => format!("Started {attempt}"),
        Ok(F::Started { attempt, of, from }) => format!("Started {attempt} from #{of} at {from}"),
        Ok(F::Lineage { cookie }) => format!("Lineage {}", cookie_text(&cookie)),
        Ok(F::Output { attempt, offset, octets, .. }) => {
            format!("Output {attempt} at {offset}: {} octets", octets.len())
        }
        Ok(F::Result { attempt, status, octets }) => format!("Result {attempt} {status}, {octets} octets"),
        Ok(other) => format!("{other:?}"),
        Err(error) => format!("no frame: {error}"),
    });
    frames.collect::<Vec<_>>().join("; ")
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
