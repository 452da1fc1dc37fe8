//! Parameters by hand, read and written on their own.

use super::super::tests::{hex, ip, sctp};
use super::policy::parse_policy;
use super::*;
use crate::{Load, Policy};

fn transport_is(transport: Transport, octets: &str) {
    let octets = hex(octets);
    assert_eq!(Transport::parse(&mut Reader::new(&octets)), Ok(transport.clone()));
    assert_eq!(Writer::octets_of(|w| transport.emit(w)), octets);
    // The last padding of an inner parameter may be left out; nothing else.
    for cut in 0..usize::from(octets[3]) {
        assert!(Transport::parse(&mut Reader::new(&octets[..cut])).is_err(), "cut at {cut}");
    }
}

fn refused(octets: &str) -> WireError {
    Transport::parse(&mut Reader::new(&hex(octets))).expect_err("refused")
}

#[test]
fn each_transport() {
    let (four, six) = (ip("10.99.0.4"), ip("2001:db8::1"));
    let six_octets = "0002 0014 20010db8 00000000 00000000 00000001";
    transport_is(Transport::Udp { port: 0x14e9, address: four }, "0006 0010 14e9 0000 0001 0008 0a630004");
    transport_is(Transport::UdpLite { port: 1, address: six }, &format!("0007 001c 0001 0000 {six_octets}"));
    let use_of = |transport_use| Transport::Tcp { port: 0x1f90, transport_use, address: four };
    transport_is(use_of(TransportUse::Data), "0005 0010 1f90 0000 0001 0008 0a630004");
    transport_is(use_of(TransportUse::DataAndControl), "0005 0010 1f90 0001 0001 0008 0a630004");
    transport_is(
        Transport::Dccp { port: 5001, service_code: 0x4543_484f, address: four },
        "0003 0014 1389 0000 4543484f 0001 0008 0a630004",
    );
    transport_is(
        Transport::Sctp { port: 3863, transport_use: TransportUse::Data, addresses: vec![six, four] },
        &format!("0004 0024 0f17 0000 {six_octets} 0001 0008 0a630004"),
    );
    transport_is(Transport::Opaque(b"unix:".to_vec()), "0010 0009 756e69783a 000000");
    transport_is(Transport::Opaque(vec![]), "0010 0004");
}

#[test]
fn addresses_of_every_scope_are_read() {
    for address in ["127.0.0.1", "169.254.1.1", "0.0.0.0", "::1", "fe80::1", "::ffff:10.0.0.1"] {
        let transport = sctp(1, TransportUse::Data, address);
        let octets = Writer::octets_of(|w| transport.emit(w));
        assert_eq!(Transport::parse(&mut Reader::new(&octets)), Ok(transport));
    }
}

#[test]
fn sctp_has_1_to_64_addresses_and_the_others_one() {
    let count = |octets: &str| match refused(octets) {
        WireError::Invalid { flaw: Flaw::AddressCount, .. } => {}
        other => panic!("{other:?}"),
    };
    count("0004 0008 0f17 0000");
    count("0005 0008 0f17 0000");
    count("0005 0018 0f17 0000 0001 0008 0a630004 0001 0008 0a630005");
    let many = |count| Transport::Sctp {
        port: 1,
        transport_use: TransportUse::Data,
        addresses: vec![ip("::1"); count],
    };
    let parse = |count| Transport::parse(&mut Reader::new(&Writer::octets_of(|w| many(count).emit(w))));
    assert_eq!(parse(64), Ok(many(64)));
    assert!(matches!(parse(65), Err(WireError::Invalid { flaw: Flaw::AddressCount, .. })));
}

#[test]
fn reserved_fields_and_undefined_uses_are_read_as_0() {
    let read = |octets: &str| Transport::parse(&mut Reader::new(&hex(octets))).expect("legal");
    assert_eq!(read("0004 0010 0001 0002 0001 0008 0a630004"), sctp(1, TransportUse::Data, "10.99.0.4"));
    assert_eq!(
        read("0006 0010 0001 ffff 0001 0008 0a630004"),
        Transport::Udp { port: 1, address: ip("10.99.0.4") }
    );
}

#[test]
fn what_is_no_transport_and_what_is_no_address() {
    assert!(matches!(refused("0009 0005 61 000000"), WireError::Invalid { flaw: Flaw::NotATransport, .. }));
    let unexpected = WireError::Unexpected { offset: 8, parameter: hex("0009 0008 61616161") };
    assert_eq!(refused("0004 0010 0001 0000 0009 0008 61616161"), unexpected);
    let short = hex("0001 0007 0a6300");
    let truncated = WireError::Truncated { offset: 12, needed: 4, available: 3, parameter: short };
    assert_eq!(refused("0004 0010 0001 0000 0001 0007 0a6300 00"), truncated);
    let octets = hex("0005 0010 1f90 0000 0001 0008 0a630004");
    let not_sctp = WireError::Invalid { offset: 4, flaw: Flaw::NotSctp, parameter: octets.clone() };
    assert_eq!(Transport::parse_sctp(&mut Reader::new(&octets)), Err(not_sctp));
}

#[test]
fn each_policy() {
    let (load, degradation, penalty) = (Load(1), Load(0x1999_999a), Load(0x4000_0000));
    let distance = 50;
    let is = |policy: Policy, octets: &str| {
        let octets = hex(octets);
        assert_eq!(parse_policy(&mut Reader::new(&octets)), Ok(policy.clone()));
        assert_eq!(Writer::octets_of(|w| emit_policy(w, &policy)), octets);
        for cut in 0..octets.len() {
            assert!(parse_policy(&mut Reader::new(&octets[..cut])).is_err(), "cut at {cut}");
        }
    };
    is(Policy::RoundRobin, "0008 0008 00000001");
    is(Policy::WeightedRoundRobin { weight: 5 }, "0008 000c 00000002 00000005");
    is(Policy::Random, "0008 0008 00000003");
    is(Policy::WeightedRandom { weight: 77 }, "0008 000c 00000004 0000004d");
    is(Policy::Priority { priority: 7 }, "0008 000c 00000005 00000007");
    is(Policy::LeastUsed { load }, "0008 000c 40000001 00000001");
    is(Policy::LeastUsedDegradation { load, degradation }, "0008 0010 40000002 00000001 1999999a");
    is(Policy::PriorityLeastUsed { load, degradation }, "0008 0010 40000003 00000001 1999999a");
    is(Policy::RandomizedLeastUsed { load }, "0008 000c 40000004 00000001");
    is(Policy::RandomizedPriorityLeastUsed { load, degradation }, "0008 0010 b0001001 00000001 1999999a");
    is(Policy::RandomizedLeastUsedDegradation { load, degradation }, "0008 0010 b0001002 00000001 1999999a");
    is(Policy::PriorityLeastUsedDegradation { load, degradation }, "0008 0010 b0001003 00000001 1999999a");
    is(
        Policy::RandomizedPriorityLeastUsedDegradation { load, degradation },
        "0008 0010 b0001004 00000001 1999999a",
    );
    is(
        Policy::WeightedRandomDpf { weight: 3, penalty, distance },
        "0008 0014 b0002001 00000003 40000000 00000032",
    );
    is(Policy::LeastUsedDpf { load, penalty, distance }, "0008 0014 b0002002 00000001 40000000 00000032");
    is(
        Policy::LeastUsedDegradationDpf { load, degradation, penalty, distance },
        "0008 0018 b0002003 00000001 1999999a 40000000 00000032",
    );
}

#[test]
fn a_policy_nobody_knows_is_kept_as_it_came() {
    let octets = hex("0008 000d 12345678 0102030405 000000");
    let policy = Policy::Other { code: 0x1234_5678, data: vec![1, 2, 3, 4, 5] };
    assert_eq!(parse_policy(&mut Reader::new(&octets)), Ok(policy.clone()));
    assert_eq!(Writer::octets_of(|w| emit_policy(w, &policy)), octets);
    // The reference reserves 0xb0002004 but has no encoding for it.
    let octets = hex("0008 0008 b0002004");
    assert_eq!(
        parse_policy(&mut Reader::new(&octets)),
        Ok(Policy::Other { code: 0xb000_2004, data: vec![] })
    );
}

#[test]
fn more_octets_than_a_policy_has_are_ignored() {
    let octets = hex("0008 0010 00000002 00000005 deadbeef");
    assert_eq!(parse_policy(&mut Reader::new(&octets)), Ok(Policy::WeightedRoundRobin { weight: 5 }));
}

#[test]
fn a_server_information_has_an_identifier_and_an_sctp_transport() {
    let octets = hex("000b 0018 22220002 0004 0010 26ad 0000 0001 0008 0a630002");
    let server = ServerInformation {
        id: crate::RegistrarId(0x2222_0002),
        transport: sctp(9901, TransportUse::Data, "10.99.0.2"),
    };
    assert_eq!(ServerInformation::optional(&mut Reader::new(&octets)), Ok(Some(server.clone())));
    assert_eq!(Writer::octets_of(|w| server.emit(w)), octets);
    let tcp = hex("000b 0018 22220002 0005 0010 26ad 0000 0001 0008 0a630002");
    let error = ServerInformation::optional(&mut Reader::new(&tcp)).expect_err("not SCTP");
    assert!(matches!(error, WireError::Invalid { flaw: Flaw::NotSctp, .. }));
    assert_eq!(error.offender(), &tcp[8..], "the transport is to blame");
}

#[test]
fn causes_show_what_the_pool_has() {
    let policy = ErrorCause::inconsistent_policy(&Policy::WeightedRandom { weight: 77 });
    assert_eq!(policy.info, hex("0008 000c 00000004 0000004d"));
    let transport =
        ErrorCause::inconsistent_transport(&Transport::Udp { port: 0x14e9, address: ip("10.99.0.4") });
    assert_eq!(transport.info, hex("0006 0010 14e9 0000 0001 0008 0a630004"));
}

#[test]
fn details_of_a_cause_are_cut_so_that_the_message_stays_possible() {
    let cause = ErrorCause::about(CauseCode::INVALID_VALUES, &[7; 65_532]);
    assert_eq!(cause.info.len(), ErrorCause::INFO_MAX);
    let octets = Writer::octets_of(|w| emit_causes(w, std::slice::from_ref(&cause)));
    assert_eq!(parse_causes(&mut Reader::new(&octets)), Ok(vec![cause]));
}
