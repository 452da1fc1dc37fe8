//! Each message's octets by hand: from captures of the reference, or after the RFC's picture where it has none.

use super::super::tests::*;
use super::*;

const ECHO: &str = "0009 000c 4563686f506f6f6c";
const ID: &str = "000e 0008 00c0ffee";
const ELEMENT: &str = "000a 0028 00c0ffee 00000000 00002ee0
    0004 0010 cb8b 0001 0001 0008 0a630004  0008 0008 00000001";

fn cause(code: CauseCode, info: &str) -> ErrorCause {
    ErrorCause { code, info: hex(info) }
}

#[test]
fn registration() {
    let element = element(0xc0ffee, 0, 12_000, Policy::RoundRobin);
    let message = Message::Registration { handle: handle("EchoPool"), element };
    asap_is(message, &format!("01 00 0038 {ECHO} {ELEMENT}"));
}

#[test]
fn registration_over_tcp_names_where_registrars_connect() {
    let mut element = element(0xc0ffee, 0, 12_000, Policy::RoundRobin);
    element.user_transport = Transport::Tcp {
        port: 0x1f90,
        transport_use: TransportUse::DataAndControl,
        address: ip("10.99.0.4"),
    };
    element.asap_tcp = Some((ip("10.99.0.4"), 0x1f91).into());
    let octets = |port: &str| {
        format!(
            "01 00 0048 {ECHO} 000a 0038 00c0ffee 00000000 00002ee0
             0005 0010 1f90 0001 0001 0008 0a630004  0008 0008 00000001
             bf05 0010 {port} 0000 0001 0008 0a630004"
        )
    };
    asap_is(Message::Registration { handle: handle("EchoPool"), element: element.clone() }, &octets("1f91"));
    element.asap_tcp = Some((ip("10.99.0.4"), 0).into());
    asap_is(Message::Registration { handle: handle("EchoPool"), element }, &octets("0000"));
}

#[test]
fn deregistration() {
    let message = Message::Deregistration { handle: handle("EchoPool"), element: ElementId(0xc0ffee) };
    asap_is(message, &format!("02 00 0018 {ECHO} {ID}"));
}

#[test]
fn registration_response() {
    let response = |rejected, name, id, causes| Message::RegistrationResponse {
        rejected,
        handle: handle(name),
        element: ElementId(id),
        causes,
    };
    let policy = cause(CauseCode::INCONSISTENT_POLICY, "");
    asap_is(response(false, "EchoPool", 0xc0ffee, vec![]), &format!("03 00 0018 {ECHO} {ID}"));
    asap_is(
        response(true, "TcpPool", 0x0aa0_0004, vec![cause(CauseCode(0x100a), "")]),
        "03 01 0020  0009 000b 546370506f6f6c 00  000e 0008 0aa00004  000c 0008 100a 0004",
    );
    asap_is(
        response(true, "abcd", 0x1020_3048, vec![policy.clone()]),
        "03 01 001c  0009 0008 61626364  000e 0008 10203048  000c 0008 0005 0004",
    );
    asap_is(
        response(true, "abcd", 0x1020_3048, vec![]),
        "03 01 0014  0009 0008 61626364  000e 0008 10203048",
    );
    // A granted registration with a warning (RFC 5352 §2.2.3).
    asap_is(
        response(false, "abcd", 0x1020_3048, vec![policy]),
        "03 00 001c  0009 0008 61626364  000e 0008 10203048  000c 0008 0005 0004",
    );
}

#[test]
fn deregistration_response() {
    let response = |causes| Message::DeregistrationResponse {
        handle: handle("EchoPool"),
        element: ElementId(0xc0ffee),
        causes,
    };
    asap_is(response(vec![]), &format!("04 00 0018 {ECHO} {ID}"));
    asap_is(
        response(vec![cause(CauseCode::SECURITY, "")]),
        &format!("04 00 0020 {ECHO} {ID} 000c 0008 000a 0004"),
    );
}

#[test]
fn handle_resolution() {
    let ask = |subscribe, items| Message::HandleResolution { subscribe, handle: handle("EchoPool"), items };
    asap_is(ask(false, None), &format!("05 00 0010 {ECHO}"));
    asap_is(ask(false, Some(1)), &format!("05 00 0018 {ECHO} 803f 0008 00000001"));
    asap_is(ask(true, Some(u32::MAX)), &format!("05 01 0018 {ECHO} 803f 0008 ffffffff"));
}

#[test]
fn handle_resolution_response() {
    let response =
        |name, accepted, answer| Message::HandleResolutionResponse { accepted, handle: handle(name), answer };
    let element = element(0xc0ffee, 0x1a2b_3c4d, 12_000, Policy::RoundRobin);
    let entry = ELEMENT.replacen("00000000", "1a2b3c4d", 1);
    let answer = |policy, times| Resolution::Elements { policy, elements: vec![element.clone(); times] };
    asap_is(
        response("EchoPool", false, answer(Some(Policy::RoundRobin), 1)),
        &format!("06 00 0040 {ECHO} 0008 0008 00000001 {entry}"),
    );
    asap_is(
        response("EchoPool", true, answer(Some(Policy::Random), 2)),
        &format!("06 01 0068 {ECHO} 0008 0008 00000003 {entry} {entry}"),
    );
    // Without a policy: round robin is meant (RFC 5352 §2.2.6).
    asap_is(response("EchoPool", false, answer(None, 1)), &format!("06 00 0038 {ECHO} {entry}"));
    asap_is(
        response(
            "Pool",
            false,
            Resolution::Failed { causes: vec![cause(CauseCode::UNKNOWN_POOL_HANDLE, "")] },
        ),
        "06 00 0014  0009 0008 506f6f6c  000c 0008 0009 0004",
    );
}

#[test]
fn a_selection_is_a_handle_resolution_response_as_far_as_it_fits() {
    let pool = handle("EchoPool");
    let watched = |id, load| PoolElement {
        asap_transport: Some(sctp(3863, TransportUse::Data, "10.0.0.1")),
        asap_tcp: Some(std::net::SocketAddr::new(ip("10.0.0.1"), 3863)),
        ..element(id, 7, 12_000, Policy::LeastUsed { load: crate::Load(load) })
    };
    let elements: Vec<PoolElement> = (1..=200).map(|id| watched(id, id * 1_000)).collect();
    let said = |octets_max, elements: &[PoolElement]| {
        let mut selection = Selection::new(&pool, octets_max);
        elements.iter().for_each(|element| selection.push(element));
        selection.finish()
    };
    let response = |elements: &[PoolElement]| {
        let shown = elements.iter().cloned();
        let elements = shown.map(|one| PoolElement { asap_transport: None, asap_tcp: None, ..one }).collect();
        let answer =
            Resolution::Elements { policy: Some(Policy::LeastUsed { load: crate::Load(1_000) }), elements };
        Message::HandleResolutionResponse { accepted: false, handle: pool, answer }.emit()
    };
    assert_eq!(said(60_000, &[]), None);
    assert_eq!(said(60_000, &elements[..1]), Some(response(&elements[..1])));
    assert_eq!(said(60_000, &elements[..3]), Some(response(&elements[..3])));
    assert_eq!(said(60_000, &elements), Some(response(&elements[..ELEMENTS_MAX])));
    let three = response(&elements[..3]).len();
    assert_eq!(said(three, &elements), Some(response(&elements[..3])));
    assert_eq!(said(three - 1, &elements), Some(response(&elements[..2])));
    assert_eq!(said(40, &elements), None);
}

#[test]
fn a_handle_resolution_response_is_an_error_or_elements_but_never_both() {
    let error = "000c 0008 0009 0004";
    let entry =
        "000a 0028 00c0ffee 1a2b3c4d 00002ee0 0004 0010 cb8b 0001 0001 0008 0a630004 0008 0008 00000001";
    let refused = |octets: String, offset| {
        let error = Message::parse(&hex(&octets)).expect_err("refused");
        assert!(matches!(error, WireError::Unexpected { offset: at, .. } if at == offset), "{error:?}");
    };
    refused(format!("06 00 0040 {ECHO} {error} {entry}"), 24);
    refused(format!("06 00 0040 {ECHO} {entry} {error}"), 56);
}

#[test]
fn a_handle_resolution_response_has_at_most_128_elements() {
    let of = |count| Message::HandleResolutionResponse {
        accepted: false,
        handle: handle("EchoPool"),
        answer: Resolution::Elements {
            policy: Some(Policy::Random),
            elements: vec![element(1, 2, 3, Policy::Random); count],
        },
    };
    assert_eq!(Message::parse(&of(128).emit()), Ok(of(128)));
    let error = Message::parse(&of(129).emit()).expect_err("one too many");
    assert!(matches!(error, WireError::Invalid { flaw: Flaw::ElementCount, .. }), "{error:?}");
}

#[test]
fn endpoint_keep_alive_and_ack() {
    let alive = |home, element| Message::EndpointKeepAlive {
        home,
        server: RegistrarId(0x1a2b_3c4d),
        handle: handle("EchoPool"),
        element,
    };
    asap_is(alive(false, Some(ElementId(0xc0ffee))), &format!("07 00 001c 1a2b3c4d {ECHO} {ID}"));
    asap_is(alive(true, Some(ElementId(0xc0ffee))), &format!("07 01 001c 1a2b3c4d {ECHO} {ID}"));
    asap_is(alive(true, None), &format!("07 01 0014 1a2b3c4d {ECHO}"));
    let ack = Message::EndpointKeepAliveAck { handle: handle("EchoPool"), element: ElementId(0xc0ffee) };
    asap_is(ack, &format!("08 00 0018 {ECHO} {ID}"));
}

#[test]
fn endpoint_unreachable() {
    let message = Message::EndpointUnreachable { handle: handle("TcpPool"), element: ElementId(0x0aa0_0001) };
    asap_is(message, "09 00 0018  0009 000b 546370506f6f6c 00  000e 0008 0aa00001");
}

#[test]
fn server_announce() {
    let announce = |transports| Message::ServerAnnounce { server: RegistrarId(0x1111_0001), transports };
    asap_is(announce(vec![]), "0a 00 0008 11110001");
    let tcp = Transport::Tcp { port: 3863, transport_use: TransportUse::Data, address: ip("10.99.0.1") };
    asap_is(
        announce(vec![tcp, sctp(3863, TransportUse::Data, "10.99.0.1")]),
        "0a 00 0028 11110001  0005 0010 0f17 0000 0001 0008 0a630001  0004 0010 0f17 0000 0001 0008 0a630001",
    );
}

#[test]
fn a_server_information_in_an_announcement_is_passed_over() {
    let octets = hex("0a 00 0030 11110001  0004 0010 0f17 0000 0001 0008 0a630001
        000b 0018 11110001 0004 0010 26ad 0000 0001 0008 0a630001");
    let parsed = Parsed::<Message>::read(&octets).expect("legal");
    let transports = vec![sctp(3863, TransportUse::Data, "10.99.0.1")];
    assert_eq!(parsed.message, Message::ServerAnnounce { server: RegistrarId(0x1111_0001), transports });
    assert_eq!(parsed.skipped.len(), 1);
    assert_eq!(parsed.reports(), []);
    assert_eq!(parsed.emit(), octets);
}

#[test]
fn cookie_and_cookie_echo() {
    let content = "3c50502d5444313e0000000000000002";
    let cookie = hex(content);
    asap_is(Message::Cookie { cookie: cookie.clone() }, &format!("0b 00 0018 000d 0014 {content}"));
    asap_is(Message::CookieEcho { cookie }, &format!("0c 00 0018 000d 0014 {content}"));
    asap_is(Message::Cookie { cookie: vec![7] }, "0b 00 000c 000d 0005 07 000000");
    let empty = WireError::Invalid { offset: 8, flaw: Flaw::EmptyCookie, parameter: hex("000d 0004") };
    assert_eq!(Message::parse(&hex("0b 00 0008 000d 0004")), Err(empty));
}

#[test]
fn business_card_in_three_layouts() {
    let card = |count| Message::BusinessCard {
        handle: handle("EchoPool"),
        elements: vec![element(0xc0ffee, 0, 12_000, Policy::RoundRobin); count],
    };
    asap_is(card(1), &format!("0d 00 0038 {ECHO} {ELEMENT}"));
    asap_is(card(2), &format!("0d 00 0060 {ECHO} {ELEMENT} {ELEMENT}"));
    let policy = "0008 0008 00000001";
    let written = hex(&format!("0d 00 0040 {ECHO} {policy} {ELEMENT}"));
    let expected = hex(&format!("0d 00 004c {ECHO} {ECHO} {policy} {ELEMENT}"));
    for octets in [written, expected] {
        let parsed = Parsed::<Message>::read(&octets).expect("the reference's layout");
        assert_eq!(parsed.message, card(1));
        assert_eq!(parsed.emit(), octets);
    }
    let wanted = kind::POOL_ELEMENT;
    let missing = WireError::Missing { offset: 16, wanted, found: None };
    assert_eq!(Message::parse(&hex(&format!("0d 00 0010 {ECHO}"))), Err(missing));
}

#[test]
fn error() {
    let error = |causes| Message::Error { causes };
    let unknown = cause(CauseCode::UNRECOGNIZED_PARAMETER, "4fff 0008 61626364");
    let handle = cause(CauseCode::INVALID_VALUES, "0009 0004");
    asap_is(error(vec![unknown.clone()]), "0e 00 0014 000c 0010 0001 000c 4fff 0008 61626364");
    asap_is(error(vec![handle.clone()]), "0e 00 0010 000c 000c 0003 0008 0009 0004");
    asap_is(error(vec![cause(CauseCode(0x0010), "")]), "0e 00 000c 000c 0008 0010 0004");
    // Several causes; one that is no multiple of 4 is padded in the middle, and at the end by the parameter.
    let odd = cause(CauseCode(7), "01");
    asap_is(
        error(vec![odd.clone(), handle, odd]),
        "0e 00 0020 000c 0019  0007 0005 01 000000  0003 0008 0009 0004  0007 0005 01 000000",
    );
    let parse = |octets: &str| Message::parse(&hex(octets)).expect_err("no causes");
    assert!(matches!(parse("0e 00 0008 000c 0004"), WireError::Invalid { flaw: Flaw::NoCause, .. }));
    for length in ["0003", "0009"] {
        let octets = format!("0e 00 000c 000c 0008 0003 {length}");
        assert!(matches!(parse(&octets), WireError::Invalid { flaw: Flaw::CauseLength, .. }));
    }
}

#[test]
fn pool_list_says_by_flags_what_follows() {
    let list = |name: Option<&str>, after: Option<(&str, u32)>| Message::PoolList {
        handle: name.map(handle),
        after: after.map(|(name, id)| (handle(name), ElementId(id))),
    };
    let abcd = "0009 0008 61626364";
    asap_is(list(None, None), "41 00 0004");
    asap_is(list(Some("EchoPool"), None), &format!("41 01 0010 {ECHO}"));
    asap_is(list(None, Some(("EchoPool", 0xc0ffee))), &format!("41 02 0018 {ECHO} {ID}"));
    asap_is(list(Some("abcd"), Some(("EchoPool", 0xc0ffee))), &format!("41 03 0020 {abcd} {ECHO} {ID}"));
    let unexpected = WireError::Unexpected { offset: 4, parameter: hex(abcd) };
    assert_eq!(Message::parse(&hex(&format!("41 00 000c {abcd}"))), Err(unexpected));
}

#[test]
fn pool_list_response() {
    let response = |more, pools| Message::PoolListResponse { more, server: RegistrarId(0x1111_0001), pools };
    asap_is(response(false, vec![]), "42 00 0008 11110001");
    let element = element(0xc0ffee, 0, 12_000, Policy::RoundRobin);
    let pools = vec![(handle("EchoPool"), vec![element.clone(); 2]), (handle("abcd"), vec![element])];
    asap_is(
        response(true, pools),
        &format!("42 02 0094 11110001 {ECHO} {ELEMENT} {ELEMENT} 0009 0008 61626364 {ELEMENT}"),
    );
    let wanted = kind::POOL_ELEMENT;
    let octets = hex(&format!("42 00 0020 11110001 {ECHO} {ECHO}"));
    let missing = WireError::Missing { offset: 20, wanted, found: Some(kind::POOL_HANDLE) };
    assert_eq!(Message::parse(&octets), Err(missing));
}

#[test]
fn unknown_types_are_discarded_and_reported_only_if_they_say_so() {
    for (octets, report) in
        [("0f 00 0004", false), ("43 00 0004", true), ("81 00 0004", false), ("c1 00 0004", false)]
    {
        let octets = hex(octets);
        let error = Message::parse(&octets).expect_err("unknown");
        assert_eq!(error, WireError::UnknownMessage { kind: octets[0], message: octets.clone() });
        let about = ErrorCause { code: CauseCode::UNRECOGNIZED_MESSAGE, info: octets.clone() };
        let expected = report.then(|| Message::Error { causes: vec![about] });
        assert_eq!(complaint(&octets, &error), expected);
    }
}

#[test]
fn a_bad_message_is_answered_with_the_offending_parameter_but_a_bad_error_with_silence() {
    let empty_handle = hex("05 00 0008 0009 0004");
    let error = Message::parse(&empty_handle).expect_err("empty handle");
    let answer = complaint(&empty_handle, &error).expect("reported");
    assert_eq!(answer.emit(), hex("0e 00 0010 000c 000c 0003 0008 0009 0004"));
    let bad_error = hex("0e 00 0008 000c 0004");
    let error = Message::parse(&bad_error).expect_err("no cause");
    assert_eq!(complaint(&bad_error, &error), None);
}
