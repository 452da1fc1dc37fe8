//! Every message of the captured traffic is read, and written again to the same octets.
//!
//! The captures are real traffic between unmodified programs of the reference. Only in 09 and 10 one side (10.99.0.5) is
//! a script; its deliberately broken messages are listed one by one with what is wrong with them.

use super::pcap::{self, Captured, Protocol};
use rserpool::wire::{Flaw, Parsed, WireError, asap, csp, enrp};
use std::collections::BTreeMap;

/// Each capture with its numbers of ASAP, ENRP and CSP messages.
const CAPTURES: [(&str, [usize; 3]); 10] = [
    ("01-asap-basic", [18, 0, 0]),
    ("02-asap-policies", [62, 0, 0]),
    ("03-asap-transports-errors", [29, 0, 0]),
    ("04-enrp-two-registrars", [6, 27, 0]),
    ("05-enrp-takeover", [4, 41, 0]),
    ("06-csp", [14, 20, 48]),
    ("07-session-cookie", [25, 0, 0]),
    ("08-multicast-announce", [8, 15, 0]),
    ("09-synthetic-peer", [7, 15, 0]),
    ("10-registrar-vs-crafted-input", [44, 27, 0]),
];

/// The messages of a capture that concern us.
pub fn captured(name: &str) -> Vec<Captured> {
    let path = format!("{}/tests/captures/{name}.pcap", env!("CARGO_MANIFEST_DIR"));
    let mut messages = pcap::messages(&std::fs::read(path).expect("a capture file"));
    messages.retain(|message| !matches!(message.protocol, Protocol::Other(_)));
    messages
}

/// The messages of all captures.
pub fn all() -> Vec<Captured> {
    CAPTURES.iter().flat_map(|(name, _)| captured(name)).collect()
}

/// Reads a message and writes it again, with whatever was skipped.
fn written_again(message: &Captured) -> Result<Vec<u8>, WireError> {
    Ok(match message.protocol {
        Protocol::Asap => Parsed::<asap::Message>::read(&message.octets)?.emit(),
        Protocol::Enrp => Parsed::<enrp::Message>::read(&message.octets)?.emit(),
        Protocol::Csp => csp::Report::parse(&message.octets)?.emit(),
        Protocol::Other(ppid) => unreachable!("filtered out: {ppid}"),
    })
}

#[test]
fn every_captured_message_is_found() {
    for (name, expected) in CAPTURES {
        let mut counts = BTreeMap::new();
        for message in captured(name) {
            *counts.entry(message.protocol).or_insert(0) += 1;
        }
        let found =
            [Protocol::Asap, Protocol::Enrp, Protocol::Csp].map(|of| counts.get(&of).copied().unwrap_or(0));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn every_captured_message_is_written_again_as_it_was() {
    let mut refused = Vec::new();
    for (name, _) in CAPTURES {
        for message in captured(name) {
            match written_again(&message) {
                Ok(octets) => assert_eq!(octets, message.octets, "{name}, {message}"),
                Err(error) => {
                    assert_eq!(
                        message.from.octets(),
                        [10, 99, 0, 5],
                        "sent by the script: {name}, {message}"
                    );
                    refused.push((name, message.frame, error));
                }
            }
        }
    }
    let hex = |text: &str| -> Vec<u8> {
        let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
        (0..text.len()).step_by(2).map(octet).collect()
    };
    let crafted = "10-registrar-vs-crafted-input";
    let element = "000a0028000000210e0e0e0e0000ea60000400101b580000000100080a6300050008000800000001";
    let expected = [
        // An unknown parameter with action bits 00: discarded silently.
        (crafted, 5, WireError::UnknownParameter { offset: 4, parameter: hex("0fff000861626364") }),
        // A pool handle without octets.
        (crafted, 36, WireError::Invalid { offset: 8, flaw: Flaw::HandleSize, parameter: hex("00090004") }),
        // A message length that is too small.
        (crafted, 47, WireError::MessageLength { announced: 8, received: 12 }),
        // Message types nobody defined.
        (crafted, 146, WireError::UnknownMessage { kind: 0x3f, message: hex("3f000004") }),
        (crafted, 233, WireError::UnknownMessage { kind: 0x20, message: hex("2000000c0e0e0e0e00000000") }),
        // A handle update whose element has no ASAP transport.
        (crafted, 280, WireError::Invalid { offset: 68, flaw: Flaw::AsapTransport, parameter: hex(element) }),
    ];
    assert_eq!(refused, expected);
}
