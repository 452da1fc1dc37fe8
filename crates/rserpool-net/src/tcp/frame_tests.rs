use super::*;

fn hello() -> Hello {
    Hello {
        role: Role::Element,
        own: 0x0102_0304,
        wanted: 5,
        largest: 1 << 20,
        silence: 3_000,
        pool: PoolHandle::new("tiles"),
    }
}

const HELLO: [u8; 37] = [
    0, 0, 0, 29, 0xff, 0xff, 0xff, 0xff, // length, PPID of link frames
    1, 0, 0, 0, // Hello
    0, 1, 0, 1, // version, element
    1, 2, 3, 4, 0, 0, 0, 5, // own, wanted
    0, 0x10, 0, 0, 0, 0, 0x0b, 0xb8, // largest frame, silence
    b't', b'i', b'l', b'e', b's',
];

#[test]
fn a_hello_is_29_octets_in_a_frame_of_37() {
    let mut out = Vec::new();
    hello().emit(&mut out);
    assert_eq!(out, HELLO);
    let (frame, taken) = parse(&HELLO, Door::Service, true).expect("legal").expect("complete");
    assert_eq!((frame.ppid, taken), (Ppid::LINK, 37));
    assert_eq!(LinkFrame::parse(frame.message), Ok(LinkFrame::Hello(hello())));
}

#[test]
fn a_cut_frame_is_not_complete_and_a_cut_link_frame_is_refused() {
    for cut in 0..HELLO.len() {
        assert_eq!(parse(&HELLO[..cut], Door::Asap, true), Ok(None), "cut at {cut}");
    }
    for cut in 0..24 {
        assert_eq!(LinkFrame::parse(&HELLO[HEADER..HEADER + cut]), Err(LINK_FAULT), "cut at {cut}");
    }
}

#[test]
fn lengths_are_bounded_by_what_is_carried() {
    let header = |length: u32, ppid: u32| [length.to_be_bytes(), ppid.to_be_bytes()].concat();
    let too_long = Err(Fault(Reason::FrameLength, AbortCause::FrameLength));
    for (ppid, max) in [(0, 1 << 20), (11, 65_532), (0xffff_ffff, 256)] {
        assert_eq!(parse(&header(max, ppid), Door::Service, false), Ok(None), "PPID {ppid}");
        assert_eq!(parse(&header(max + 1, ppid), Door::Service, false), too_long, "PPID {ppid}");
        assert_eq!(parse(&header(0, ppid), Door::Service, false), too_long, "PPID {ppid}");
        assert_eq!(parse(&header(u32::MAX, ppid), Door::Service, false), too_long, "PPID {ppid}");
    }
}

#[test]
fn enrp_and_data_on_an_asap_link_are_not_allowed() {
    let refused = Err(Fault(Reason::Ppid, AbortCause::NotAllowed));
    let header = |ppid: u8| [0, 0, 0, 4, 0, 0, 0, ppid];
    assert_eq!(parse(&header(12), Door::Service, false), refused);
    assert_eq!(parse(&header(12), Door::Asap, false), refused);
    assert_eq!(parse(&header(0), Door::Asap, false), refused);
    assert_eq!(parse(&header(11), Door::Asap, false), Ok(None));
    let early = Err(Fault(Reason::HelloMissing, AbortCause::HelloMissing));
    assert_eq!(parse(&header(11), Door::Asap, true), early);
}

#[test]
fn a_hello_of_another_version_role_or_impossible_pool_is_refused() {
    let changed = |at: usize, octet: u8| {
        let mut message = HELLO[HEADER..].to_vec();
        message[at] = octet;
        LinkFrame::parse(&message)
    };
    assert_eq!(changed(5, 2), Err(Fault(Reason::HelloVersion, AbortCause::Version)));
    assert_eq!(changed(7, 3), Err(LINK_FAULT));
    assert_eq!(changed(1, 1), Err(LINK_FAULT));
    let long = [&HELLO[HEADER..], &[b'x'; 28]].concat();
    assert_eq!(LinkFrame::parse(&long), Err(Fault(Reason::HelloWanted, AbortCause::NotWanted)));
}

#[test]
fn a_hello_cannot_promise_too_little() {
    let mut message = HELLO[HEADER..].to_vec();
    message[16..24].fill(0);
    let said = Hello { largest: 65_536, silence: 100, ..hello() };
    assert_eq!(LinkFrame::parse(&message), Ok(LinkFrame::Hello(said)));
}

#[test]
fn link_frames_from_0x80_on_are_skipped_and_others_unknown_refused() {
    assert_eq!(LinkFrame::parse(&[0x80, 9, 9, 9, 9]), Ok(LinkFrame::Unknown));
    assert_eq!(LinkFrame::parse(&[6, 0, 0, 0]), Err(LINK_FAULT));
    assert_eq!(LinkFrame::parse(&[2, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(LinkFrame::Ping));
    assert_eq!(LinkFrame::parse(&[2, 0, 0, 0, 1, 2, 3]), Err(LINK_FAULT));
    assert_eq!(LinkFrame::parse(&[3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(LinkFrame::Pong));
    assert_eq!(LinkFrame::parse(&[3, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), Err(LINK_FAULT));
}

#[test]
fn bye_and_abort_are_short() {
    let mut out = Vec::new();
    emit_bye(&mut out);
    assert_eq!(out, [0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff, 4, 0, 0, 0]);
    out.clear();
    emit_abort(AbortCause::NotWanted, "no", &mut out);
    assert_eq!(out, [0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0, 0, 5, b'n', b'o']);
    assert_eq!(LinkFrame::parse(&out[HEADER..]), Ok(LinkFrame::Abort));
}

#[test]
fn a_bare_stream_is_read_message_by_message_with_padding() {
    let stream = [5, 0, 0, 6, 1, 2, 0, 0, 9, 0, 0, 4, 1];
    assert_eq!(parse_bare(&stream), Ok(Some((&[5, 0, 0, 6, 1, 2][..], 8))));
    assert_eq!(parse_bare(&stream[8..]), Ok(Some((&[9, 0, 0, 4][..], 4))));
    for cut in 0..8 {
        assert_eq!(parse_bare(&stream[..cut]), Ok(None), "cut at {cut}");
    }
    let refused = Err(Fault(Reason::BareAsap, AbortCause::NotAllowed));
    assert_eq!(parse_bare(&[1, 0, 0, 8]), refused, "a registration");
    assert_eq!(parse_bare(&[5, 0, 0, 3]), refused);
    assert_eq!(parse_bare(&[5, 0, 0xff, 0xff]), refused);
}
