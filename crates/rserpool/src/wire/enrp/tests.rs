//! Each message's octets by hand: from captures of the reference, or after the RFC's picture where it has none.

use super::super::Flaw;
use super::super::tests::*;
use super::*;
use crate::{Load, Policy};

const IDS: &str = "22220002 11110001";

fn says(body: Body) -> Message {
    Message { sender: RegistrarId(0x2222_0002), receiver: RegistrarId(0x1111_0001), body }
}

fn says_to(sender: u32, receiver: u32, body: Body) -> Message {
    Message { sender: RegistrarId(sender), receiver: RegistrarId(receiver), body }
}

fn server() -> ServerInformation {
    ServerInformation { id: RegistrarId(0x2222_0002), transport: sctp(9901, TransportUse::Data, "10.99.0.2") }
}

const SERVER: &str = "000b 0018 22220002 0004 0010 26ad 0000 0001 0008 0a630002";

/// An element as registrars tell it.
fn known(id: u32, home: u32, user: (u16, &str), policy: Policy, asap_port: u16) -> PoolElement {
    PoolElement {
        user_transport: sctp(user.0, TransportUse::DataAndControl, user.1),
        asap_transport: Some(sctp(asap_port, TransportUse::Data, user.1)),
        ..element(id, home, 90_000, policy)
    }
}

#[test]
fn presence() {
    let presence =
        |reply_required, checksum, server| says(Body::Presence { reply_required, checksum, server });
    enrp_is(
        presence(true, Some(0xffff), Some(server())),
        &format!("01 01 002c {IDS} 000f 0006 ffff 0000 {SERVER}"),
    );
    enrp_is(
        presence(false, Some(0x1ba1), Some(server())),
        &format!("01 00 002c {IDS} 000f 0006 1ba1 0000 {SERVER}"),
    );
    // Both parameters may be missing (RFC 5353 §2.1).
    enrp_is(presence(false, None, Some(server())), &format!("01 00 0024 {IDS} {SERVER}"));
    enrp_is(presence(false, Some(1), None), &format!("01 00 0014 {IDS} 000f 0006 0001 0000"));
    enrp_is(presence(true, None, None), &format!("01 01 000c {IDS}"));
}

#[test]
fn handle_table_request() {
    enrp_is(says(Body::HandleTableRequest { own_only: false }), &format!("02 00 000c {IDS}"));
    let own = says_to(0x3333_0003, 0x1111_0001, Body::HandleTableRequest { own_only: true });
    enrp_is(own, "02 01 000c 33330003 11110001");
}

#[test]
fn handle_table_response() {
    let response = |rejected, more, pools| Body::HandleTableResponse { rejected, more, pools };
    let rejected = says_to(0x1a2b_3c4d, 0x0e0e_0e0e, response(true, false, vec![]));
    enrp_is(rejected, "03 01 000c 1a2b3c4d 0e0e0e0e");
    let to = |body| says_to(0x1111_0001, 0x2222_0002, body);
    enrp_is(to(response(false, false, vec![])), "03 00 000c 11110001 22220002");
    enrp_is(to(response(false, true, vec![])), "03 02 000c 11110001 22220002");
    let home = 0x1111_0001;
    let pools = vec![
        (
            handle("EchoPool"),
            vec![
                known(0x401, home, (0x9bd1, "10.99.0.4"), Policy::RoundRobin, 0xbb9c),
                known(0x501, home, (0xa8e7, "10.99.0.5"), Policy::RoundRobin, 0x93ae),
            ],
        ),
        (
            handle("DiscardPool"),
            vec![known(0x402, home, (0xcc4f, "10.99.0.4"), Policy::LeastUsed { load: Load::IDLE }, 0xb964)],
        ),
    ];
    enrp_is(
        to(response(false, false, pools)),
        "03 00 00d4 11110001 22220002
         0009 000c 4563686f506f6f6c
         000a 0038 00000401 11110001 00015f90  0004 0010 9bd1 0001 0001 0008 0a630004
                   0008 0008 00000001          0004 0010 bb9c 0000 0001 0008 0a630004
         000a 0038 00000501 11110001 00015f90  0004 0010 a8e7 0001 0001 0008 0a630005
                   0008 0008 00000001          0004 0010 93ae 0000 0001 0008 0a630005
         0009 000f 44697363617264506f6f6c 00
         000a 003c 00000402 11110001 00015f90  0004 0010 cc4f 0001 0001 0008 0a630004
                   0008 000c 40000001 00000000 0004 0010 b964 0000 0001 0008 0a630004",
    );
}

#[test]
fn a_pool_without_elements_is_neither_read_nor_written() {
    let octets = hex(&format!("03 00 0018 {IDS} 0009 000c 4563686f506f6f6c"));
    let wanted = kind::POOL_ELEMENT;
    assert_eq!(Message::parse(&octets), Err(WireError::Missing { offset: 24, wanted, found: None }));
    let pools = vec![(handle("EchoPool"), vec![])];
    let body = Body::HandleTableResponse { rejected: false, more: false, pools };
    assert_eq!(says(body).emit(), hex(&format!("03 00 000c {IDS}")));
}

const UPDATE: &str = "0009 000f 44617974696d65506f6f6c 00
    000a 003c 00000502 22220002 00015f90  0004 0010 d669 0001 0001 0008 0a630005  0008 000c 00000004 00000009
              0004 0010 affa 0000 0001 0008 0a630005";

fn update(takeover_suggested: bool, action: UpdateAction) -> Message {
    let policy = Policy::WeightedRandom { weight: 9 };
    let element = known(0x502, 0x2222_0002, (0xd669, "10.99.0.5"), policy, 0xaffa);
    says(Body::HandleUpdate { takeover_suggested, action, handle: handle("DaytimePool"), element })
}

#[test]
fn handle_update() {
    enrp_is(update(false, UpdateAction::Add), &format!("04 00 005c {IDS} 0000 0000 {UPDATE}"));
    enrp_is(update(true, UpdateAction::Add), &format!("04 01 005c {IDS} 0000 0000 {UPDATE}"));
    enrp_is(update(false, UpdateAction::Delete), &format!("04 00 005c {IDS} 0001 0000 {UPDATE}"));
    enrp_is(update(false, UpdateAction::Other(0xfffe)), &format!("04 00 005c {IDS} fffe 0000 {UPDATE}"));
}

#[test]
fn the_reserved_field_of_a_handle_update_is_ignored() {
    let octets = hex(&format!("04 00 005c {IDS} 0001 beef {UPDATE}"));
    assert_eq!(Message::parse(&octets), Ok(update(false, UpdateAction::Delete)));
}

#[test]
fn registrars_tell_only_of_elements_they_can_reach() {
    let text = format!("04 00 005c {IDS} 0000 0000 {UPDATE}");
    let flaw = |octets: String| match Message::parse(&hex(&octets)) {
        Err(error @ WireError::Invalid { flaw, .. }) => {
            assert_eq!(error.offender()[..2], [0, 0x0a], "the element is to blame");
            flaw
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(flaw(text.replace("00000502", "00000000")), Flaw::UndefinedElement);
    assert_eq!(flaw(text.replace("00000502 22220002", "00000502 00000000")), Flaw::UndefinedHome);
    assert_eq!(flaw(text.replace("affa 0000", "0000 0000")), Flaw::AsapTransport);
    assert_eq!(flaw(text.replace("affa 0000", "affa 0001")), Flaw::AsapTransport);
    assert_eq!(flaw(text.replace("0004 0010 affa", "0005 0010 affa")), Flaw::AsapTransport);
    let without =
        text.replace("0004 0010 affa 0000 0001 0008 0a630005", "").replace("04 00 005c", "04 00 004c");
    assert_eq!(flaw(without.replace("000a 003c", "000a 002c")), Flaw::AsapTransport);
}

#[test]
fn list_request_and_response() {
    enrp_is(says(Body::ListRequest), &format!("05 00 000c {IDS}"));
    let list =
        |rejected, servers| says_to(0x1111_0001, 0x2222_0002, Body::ListResponse { rejected, servers });
    enrp_is(list(false, vec![server()]), &format!("06 00 0024 11110001 22220002 {SERVER}"));
    enrp_is(
        list(false, vec![server(), server()]),
        &format!("06 00 003c 11110001 22220002 {SERVER} {SERVER}"),
    );
    enrp_is(list(false, vec![]), "06 00 000c 11110001 22220002");
    enrp_is(list(true, vec![]), "06 01 000c 11110001 22220002");
}

#[test]
fn takeover_messages_are_three_identifiers() {
    let target = RegistrarId(0x2222_0002);
    enrp_is(
        says_to(0x1111_0001, 0x2222_0002, Body::InitTakeover { target }),
        "07 00 0010 11110001 22220002 22220002",
    );
    enrp_is(
        says_to(0x3333_0003, 0x1111_0001, Body::InitTakeoverAck { target }),
        "08 00 0010 33330003 11110001 22220002",
    );
    let target = RegistrarId(0x0f0f_0f0f);
    enrp_is(
        says_to(0x0e0e_0e0e, 0x1a2b_3c4d, Body::TakeoverServer { target }),
        "09 00 0010 0e0e0e0e 1a2b3c4d 0f0f0f0f",
    );
}

#[test]
fn error() {
    let causes = vec![ErrorCause::plain(CauseCode(0xf006))];
    enrp_is(
        says_to(0x0e0e_0e0e, 0x1a2b_3c4d, Body::Error { causes }),
        "0a 00 0014 0e0e0e0e 1a2b3c4d 000c 0008 f006 0004",
    );
}

#[test]
fn a_complaint_goes_to_whoever_sent_the_bad_message() {
    let own = RegistrarId(0x1111_0001);
    let octets = hex(&format!("01 00 0010 {IDS} 4fff 0004"));
    let error = Message::parse(&octets).expect_err("unknown parameter");
    let answer = complaint(own, &octets, &error).expect("bits 01");
    assert_eq!(answer.emit(), hex("0a 00 0018 11110001 22220002 000c 000c 0001 0008 4fff 0004"));
    let silent = hex(&format!("01 00 0010 {IDS} 0fff 0004"));
    let error = Message::parse(&silent).expect_err("unknown parameter");
    assert_eq!(complaint(own, &silent, &error), None);
    let short = hex("01 00 0008");
    let error = Message::parse(&short).expect_err("short");
    let answer = complaint(own, &short, &error).expect("reported");
    assert_eq!(answer.emit(), hex("0a 00 0014 11110001 00000000 000c 0008 0003 0004"));
    let bad_error = hex(&format!("0a 00 000c {IDS}"));
    let error = Message::parse(&bad_error).expect_err("no cause");
    assert_eq!(complaint(own, &bad_error, &error), None);
}
