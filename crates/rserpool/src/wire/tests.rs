//! What the tests of all messages share, and the rules that hold for all of them.

use super::*;
use crate::{ElementId, Policy, PoolHandle, RegistrarId};
use parameter::{CauseCode, ErrorCause, Life, PoolElement, Transport, TransportUse};
use std::net::IpAddr;

/// Octets from hexadecimal digits; spaces and line ends are for the reader.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits");
    let digit = |d: u8| char::from(d).to_digit(16).expect("filtered above") as u8;
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

pub fn handle(text: &str) -> PoolHandle {
    PoolHandle::new(text).expect("1 to 32 octets")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub fn sctp(port: u16, transport_use: TransportUse, address: &str) -> Transport {
    Transport::Sctp { port, transport_use, addresses: vec![ip(address)] }
}

/// An element at 10.99.0.4 behind SCTP port 0xcb8b with control channel.
pub fn element(id: u32, home: u32, life: u32, policy: Policy) -> PoolElement {
    PoolElement {
        id: ElementId(id),
        home: RegistrarId(home),
        life: Life(life),
        user_transport: sctp(0xcb8b, TransportUse::DataAndControl, "10.99.0.4"),
        policy,
        asap_transport: None,
        asap_tcp: None,
    }
}

/// A message is these octets, in both directions; no part of the octets is a message; and nothing is skipped.
pub fn asap_is(message: asap::Message, octets: &str) {
    let octets = hex(octets);
    assert_eq!(message.emit(), octets, "{message:?}");
    assert_eq!(asap::Message::parse(&octets), Ok(message.clone()));
    assert_eq!(Parsed::<asap::Message>::read(&octets), Ok(Parsed { message, skipped: Vec::new() }));
    for cut in 0..octets.len() {
        assert!(asap::Message::parse(&octets[..cut]).is_err(), "cut at {cut}");
    }
    for mut longer in [vec![0], vec![0; 4], octets.clone()] {
        longer.splice(..0, octets.clone());
        let refusal = WireError::MessageLength { announced: octets.len(), received: longer.len() };
        assert_eq!(asap::Message::parse(&longer), Err(refusal));
    }
}

/// As [`asap_is`], for ENRP.
pub fn enrp_is(message: enrp::Message, octets: &str) {
    let octets = hex(octets);
    assert_eq!(message.emit(), octets, "{message:?}");
    assert_eq!(enrp::Message::parse(&octets), Ok(message.clone()));
    assert_eq!(Parsed::<enrp::Message>::read(&octets), Ok(Parsed { message, skipped: Vec::new() }));
    for cut in 0..octets.len() {
        assert!(enrp::Message::parse(&octets[..cut]).is_err(), "cut at {cut}");
    }
}

const ECHO: &str = "0009 000c 4563686f506f6f6c";
const ID: &str = "000e 0008 00c0ffee";

fn deregistration() -> asap::Message {
    asap::Message::Deregistration { handle: handle("EchoPool"), element: ElementId(0xc0ffee) }
}

#[test]
fn a_length_without_the_final_padding_is_read_as_well() {
    let handle = handle("DiscardPool");
    let message = asap::Message::HandleResolution { subscribe: false, handle, items: None };
    let padded = hex("05 00 0014 0009 000f 44697363617264506f6f6c 00");
    let shorter = hex("05 00 0013 0009 000f 44697363617264506f6f6c 00");
    assert_eq!(asap::Message::parse(&padded), Ok(message.clone()));
    assert_eq!(asap::Message::parse(&shorter), Ok(message.clone()));
    assert_eq!(message.emit(), padded, "the reference's form is written");
    // The padding has to be there, though, and the parameter has to end where the message says.
    let absent = WireError::MessageLength { announced: 19, received: 19 };
    assert_eq!(asap::Message::parse(&shorter[..19]), Err(absent));
    let mut too_short = shorter.clone();
    too_short[3] = 0x12;
    let parameter = shorter[4..18].to_vec();
    let beyond = WireError::ParameterLength { offset: 4, length: 15, room: 14, parameter };
    assert_eq!(asap::Message::parse(&too_short), Err(beyond));
}

#[test]
fn the_content_of_padding_does_not_matter() {
    let octets = hex("05 00 0014 0009 000f 44697363617264506f6f6c 7f");
    assert!(asap::Message::parse(&octets).is_ok());
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let parse = |octets: &str| asap::Message::parse(&hex(octets)).expect_err("refused");
    let truncated = WireError::Truncated { offset: 2, needed: 2, available: 0, parameter: vec![] };
    assert_eq!(parse("05 00"), truncated);
    assert_eq!(parse("05 00 0003"), WireError::MessageLength { announced: 3, received: 4 });
    assert_eq!(parse("05 00 0000"), WireError::MessageLength { announced: 0, received: 4 });
    assert_eq!(parse("05 00 0014 00090004"), WireError::MessageLength { announced: 20, received: 8 });
    let below = WireError::ParameterLength { offset: 4, length: 3, room: 4, parameter: hex("00090003") };
    assert_eq!(parse("05 00 0008 00090003"), below);
    let beyond =
        WireError::ParameterLength { offset: 4, length: 9, room: 8, parameter: hex("00090009 61616161") };
    assert_eq!(parse("05 00 000c 00090009 61616161"), beyond);
    let short = WireError::Truncated { offset: 8, needed: 4, available: 2, parameter: vec![] };
    assert_eq!(parse("05 00 000a 00090004 00090000").offset(), 8);
    assert_eq!(parse("05 00 000a 00090005 61 000000 0009 0000").offset(), 2);
    assert_eq!(asap::Message::parse(&hex("05 00 000e 00090005 61000000 0009 0000")), {
        let WireError::Truncated { needed, available, parameter, .. } = short else { unreachable!() };
        Err(WireError::Truncated { offset: 12, needed, available, parameter })
    });
    assert_eq!(
        asap::Message::parse(&vec![5; MESSAGE_MAX + 4]),
        Err(WireError::TooLong { received: MESSAGE_MAX + 4 })
    );
}

#[test]
fn handles_have_1_to_32_octets() {
    let with = |size: usize| {
        let mut octets = vec![5, 0, 0, (8 + size.next_multiple_of(4)) as u8, 0, 9, 0, (4 + size) as u8];
        octets.resize(8 + size.next_multiple_of(4), 0x61);
        octets
    };
    assert!(asap::Message::parse(&with(1)).is_ok());
    assert!(asap::Message::parse(&with(32)).is_ok());
    for size in [0, 33] {
        let octets = with(size);
        let parameter = octets[4..8 + size].to_vec();
        let refusal =
            WireError::Invalid { offset: 8 + size, flaw: Flaw::HandleSize, parameter: parameter.clone() };
        assert_eq!(asap::Message::parse(&octets), Err(refusal.clone()));
        assert_eq!(refusal.cause(), Some(ErrorCause { code: CauseCode::INVALID_VALUES, info: parameter }));
    }
}

#[test]
fn action_bits_decide_about_parameters_nobody_knows() {
    // RFC 5354 §3: 00 discard, 01 discard and report, 10 skip, 11 skip and report.
    let with = |kind: &str| hex(&format!("02 00 0020 {ECHO} {kind} 0008 61626364 {ID}"));
    let unknown = |kind: &str| hex(&format!("{kind} 0008 61626364"));
    let refused = |kind| {
        let error = asap::Message::parse(&with(kind)).expect_err("discarded");
        assert_eq!(error, WireError::UnknownParameter { offset: 16, parameter: unknown(kind) });
        error.cause()
    };
    assert_eq!(refused("0fff"), None);
    let report = ErrorCause { code: CauseCode::UNRECOGNIZED_PARAMETER, info: unknown("4fff") };
    assert_eq!(refused("4fff"), Some(report));
    for (kind, reports) in [("8fff", 0), ("cfff", 1)] {
        assert_eq!(asap::Message::parse(&with(kind)), Ok(deregistration()));
        let parsed = Parsed::<asap::Message>::read(&with(kind)).expect("skipped");
        assert_eq!(parsed.skipped, [Skipped { place: 2, octets: unknown(kind) }]);
        assert_eq!(parsed.reports().len(), reports);
        assert!(parsed.reports().iter().all(|cause| cause.info == unknown(kind)));
        assert_eq!(parsed.emit(), with(kind));
    }
}

#[test]
fn the_padding_of_a_skipped_parameter_is_skipped() {
    let octets = hex(&format!("02 00 0028 8001 0005 61 000000 {ECHO} 8002 0007 616263 00 {ID}"));
    let parsed = Parsed::<asap::Message>::read(&octets).expect("legal");
    assert_eq!(parsed.message, deregistration());
    assert_eq!(parsed.emit(), octets);
}

#[test]
fn an_unknown_parameter_before_an_optional_one_does_not_hide_it() {
    let octets = hex(&format!("05 00 0020 {ECHO} 8123 0008 00000000 803f 0008 00000005"));
    let ask =
        asap::Message::HandleResolution { subscribe: false, handle: handle("EchoPool"), items: Some(5) };
    assert_eq!(asap::Message::parse(&octets), Ok(ask));
}

#[test]
fn our_skippable_parameters_are_skipped_where_they_are_not_wanted() {
    let octets = hex(&format!("02 00 0028 803f 0008 00000001 {ECHO} bf05 0008 00000000 {ID}"));
    let parsed = Parsed::<asap::Message>::read(&octets).expect("legal");
    assert_eq!(parsed.message, deregistration());
    assert_eq!(parsed.emit(), octets);
}

/// Every place where RFC 5354 §3 allows a parameter, also inside of others.
#[test]
fn a_stranger_may_stand_anywhere_and_stays_there() {
    let stranger = |place| Skipped { place, octets: hex("c123 0007 0a0b0c") };
    let mut element = element(0xc0ffee, 7, 12_000, Policy::RoundRobin);
    element.asap_transport = Some(sctp(1, TransportUse::Data, "::1"));
    element.asap_tcp = Some((ip("10.99.0.4"), 3863).into());
    let servers = vec![parameter::ServerInformation {
        id: RegistrarId(9),
        transport: sctp(9901, TransportUse::Data, "fe80::1"),
    }];
    let update = enrp::Body::HandleUpdate {
        takeover_suggested: false,
        action: enrp::UpdateAction::Add,
        handle: handle("DiscardPool"),
        element: element.clone(),
    };
    let list = enrp::Body::ListResponse { rejected: false, servers };
    let request = enrp::Body::ListRequest;
    // Parameters count one place each for their beginning and end. Strangers may stand between them, and inside of
    // those that contain parameters; these are the places inside of all others.
    let leaves: [(enrp::Body, u32, &[u32]); 3] = [
        // handle 0-1, element 2-17: user transport 3-6 with address 4-5, policy 7-8, ASAP transport 9-12 with
        // address 10-11, 0xbf05 13-14.
        (update, 16, &[1, 5, 8, 11, 14]),
        (list, 6, &[3]),
        (request, 0, &[]),
    ];
    for (body, last, leaves) in leaves {
        let message = enrp::Message { sender: RegistrarId(1), receiver: RegistrarId(2), body };
        for place in (0..=last).filter(|place| !leaves.contains(place)) {
            let parsed = Parsed { message: message.clone(), skipped: vec![stranger(place), stranger(place)] };
            let octets = parsed.emit();
            assert_eq!(octets.len(), message.emit().len() + 16);
            assert_eq!(Parsed::<enrp::Message>::read(&octets), Ok(parsed), "place {place}");
        }
    }
}

#[test]
fn what_follows_the_last_parameter_of_an_element_is_skipped_whatever_it_is() {
    let octets = hex(&format!(
        "01 00 0060 {ECHO} 000a 0050 00c0ffee 00000000 00002ee0
         0004 0010 cb8b 0001 0001 0008 0a630004  0008 0008 00000001
         000d 0008 61626364
         bf05 0010 0f17 0000 0001 0008 0a630004
         0004 0010 0001 0000 0001 0008 0a630004"
    ));
    let parsed = Parsed::<asap::Message>::read(&octets).expect("legal");
    let asap::Message::Registration { element, .. } = &parsed.message else { panic!("{parsed:?}") };
    assert_eq!(element.asap_transport, None, "behind 0xbf05 it is no ASAP transport any more");
    assert_eq!(element.asap_tcp, Some((ip("10.99.0.4"), 3863).into()));
    assert_eq!(parsed.skipped.len(), 2);
    assert_eq!(parsed.emit(), octets);
}

#[test]
fn somebody_elses_parameter_of_our_number_is_a_stranger() {
    for value in
        ["", "0f17 0000", "0f17 0001 0001 0008 0a630004", "0f17 0000 0001 0008 0a630004 0001 0008 0a630005"]
    {
        let size = hex(value).len();
        let octets = hex(&format!(
            "01 00 {:04x} {ECHO} 000a {:04x} 00c0ffee 00000000 00002ee0
             0004 0010 cb8b 0001 0001 0008 0a630004  0008 0008 00000001 bf05 {:04x} {value}",
            60 + size,
            44 + size,
            4 + size
        ));
        let parsed = Parsed::<asap::Message>::read(&octets).expect("legal");
        let element = element(0xc0ffee, 0, 12_000, Policy::RoundRobin);
        assert_eq!(parsed.message, asap::Message::Registration { handle: handle("EchoPool"), element });
        assert_eq!(parsed.emit(), octets);
    }
}

#[test]
fn containers_may_leave_the_last_padding_out_of_their_length() {
    // RFC 5354 §2: a length counts the padding between inner parameters, but not behind the last one.
    let octets = |length: &str| {
        hex(&format!(
            "01 00 0040 {ECHO} 000a {length} 00c0ffee 00000000 00002ee0
             0004 0010 cb8b 0001 0001 0008 0a630004  0008 0008 00000001 8123 0005 61 000000"
        ))
    };
    let [rfc, reference] = ["002d", "0030"].map(|length| Parsed::<asap::Message>::read(&octets(length)));
    assert_eq!(rfc, reference);
    assert_eq!(rfc.expect("legal").emit(), octets("0030"));
}

#[test]
fn missing_parameters_are_named() {
    let wanted = parameter::kind::POOL_HANDLE;
    let found = Some(parameter::kind::ELEMENT_ID);
    let missing = WireError::Missing { offset: 4, wanted, found };
    assert_eq!(asap::Message::parse(&hex(&format!("02 00 000c {ID}"))), Err(missing.clone()));
    assert_eq!(missing.to_string(), "parameter 0x0009 expected at offset 4, found 0x000e");
    assert_eq!(missing.cause(), Some(ErrorCause::plain(CauseCode::INVALID_VALUES)));
    let missing = WireError::Missing { offset: 4, wanted, found: None };
    assert_eq!(asap::Message::parse(&hex("02 00 0004")), Err(missing));
}

#[test]
fn identifiers_and_checksums_have_a_fixed_size() {
    let flaw = |octets: &str| match asap::Message::parse(&hex(octets)) {
        Err(WireError::Invalid { flaw, .. }) => flaw,
        other => panic!("{other:?}"),
    };
    assert_eq!(flaw(&format!("02 00 001c {ECHO} 000e 000c 00c0ffee 00000000")), Flaw::FixedSize);
    let short = asap::Message::parse(&hex(&format!("02 00 0018 {ECHO} 000e 0007 00c0ff 00")));
    let parameter = hex("000e 0007 00c0ff");
    assert_eq!(short, Err(WireError::Truncated { offset: 20, needed: 4, available: 3, parameter }));
    let long = enrp::Message::parse(&hex("01 00 0014 00000001 00000000 000f 0008 ffff 0000"));
    assert!(matches!(long, Err(WireError::Invalid { flaw: Flaw::FixedSize, .. })));
}
