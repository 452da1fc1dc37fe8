//! What strangers and enemies send: refused, counted, bounded, and forgotten.

use super::*;

fn bytes(r: &mut TestRegistrar, link: LinkId, ppid: Ppid, bytes: &[u8]) {
    r.fact(Input::Message { link, ppid, bytes: bytes.to_vec() });
}

#[test]
fn octets_that_are_no_message_are_answered_with_their_error_and_change_nothing() {
    let mut r = TestRegistrar::alone();
    r.has_element(1);
    let asap = r.accepts(Door::Asap, 2);
    let enrp = r.meets(7, 7);
    let digest = r.node.handlespace().digest();
    let registration = Message::Registration { handle: handle("fractal"), element: element(2) }.emit();
    let said = enrp::Message { sender: RegistrarId(7), receiver: ME, body: presence(7, 7, 0xffff) }.emit();
    let mut wrong = 0;
    for (link, ppid, whole) in [(asap, Ppid::ASAP, registration), (enrp, Ppid::ENRP, said)] {
        for cut in 0..whole.len() {
            bytes(&mut r, link, ppid, &whole[..cut]);
            wrong += 1;
            match r.says_next() {
                Output::Send { link: on, ppid: Ppid::ASAP, bytes } => {
                    assert_eq!(on, asap);
                    assert!(matches!(Message::parse(&bytes), Ok(Message::Error { .. })), "cut at {cut}");
                }
                Output::Send { link: on, ppid: Ppid::ENRP, bytes } => {
                    assert_eq!(on, enrp);
                    let said = enrp::Message::parse(&bytes).expect("an error");
                    assert!(matches!(said.body, Body::Error { .. }), "cut at {cut}");
                }
                other => panic!("{other:?}"),
            }
            r.says_nothing_more();
        }
    }
    assert_eq!(r.node.handlespace().digest(), digest);
    assert_eq!(r.node.counters().rejected[&Rejection::Malformed], wrong);
    // Nobody answers an error with an error.
    bytes(&mut r, asap, Ppid::ASAP, &[0x0e, 0, 0, 9]);
    bytes(&mut r, enrp, Ppid::ENRP, &[0x0a, 0, 0, 9]);
    r.says_nothing_more();
}

#[test]
fn a_payload_that_does_not_belong_to_the_door_ends_its_link() {
    for (door, ppid) in [(Door::Asap, Ppid::ENRP), (Door::Enrp, Ppid::ASAP), (Door::Asap, Ppid(0))] {
        let mut r = TestRegistrar::alone();
        let link = r.accepts(door, 1);
        bytes(&mut r, link, ppid, &[1, 0, 0, 4]);
        r.closes(link, Ending::Abort);
        r.tells(&Event::Rejected { door: Some(door), reason: Rejection::WrongProtocol });
        // What crosses with the end is ignored.
        bytes(&mut r, link, ppid, &[1, 0, 0, 4]);
        r.loses(link);
        r.says_nothing_more();
        r.tells_nothing_more();
    }
}

#[test]
fn messages_at_the_wrong_door_of_the_right_protocol_are_counted_and_ignored() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Asap, 1);
    let (handle, element) = (handle("fractal"), ElementId(1));
    for message in [
        granted(1),
        Message::DeregistrationResponse { handle, element, causes: vec![] },
        keep_alive(1, true),
        Message::ServerAnnounce { server: RegistrarId(3), transports: vec![] },
        Message::Cookie { cookie: vec![1, 2, 3, 4] },
        Message::CookieEcho { cookie: vec![1, 2, 3, 4] },
    ] {
        r.hears(link, &message);
        r.says_nothing_more();
        r.tells(&Event::Rejected { door: Some(Door::Asap), reason: Rejection::Unexpected });
    }
    assert_eq!(r.node.handlespace().len(), 0);
}

#[test]
fn a_link_speaks_for_one_registrar_only() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(7, 7);
    r.hears_enrp(link, 8, presence(8, 7, 0xffff));
    r.closes(link, Ending::Abort);
    assert_eq!(r.node.peers().map(|peer| peer.id.0).collect::<Vec<_>>(), [7]);
    assert_eq!(r.node.counters().rejected[&Rejection::WrongSender], 1);
    // Nor for nobody; and what seems to be said by ourselves is ignored.
    let link = r.accepts(Door::Enrp, 9);
    r.take_said();
    r.hears_enrp(link, ME.0, presence(ME.0, 9, 0xffff));
    r.says_nothing_more();
    r.hears_enrp(link, 0, Body::ListRequest);
    r.closes(link, Ending::Abort);
}

#[test]
fn a_message_for_another_registrar_is_answered_with_who_we_are() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(7, 7);
    let body = update(UpdateAction::Add, element_of(RegistrarId(7), 1));
    let said = enrp::Message { sender: RegistrarId(7), receiver: RegistrarId(0x51), body };
    bytes(&mut r, link, Ppid::ENRP, &said.emit());
    assert!(!r.has(1));
    assert!(matches!(r.take_enrp().as_slice(), [(_, Body::Presence { reply_required: true, .. })]));
    assert_eq!(r.node.counters().rejected[&Rejection::WrongReceiver], 1);
}

#[test]
fn links_elements_and_peers_are_bounded() {
    let limits = Limits { links: 4, elements: 3, elements_per_link: 2, peers: 2, ..Limits::default() };
    let mut r = TestRegistrar::with(Config { limits, ..config() });
    let one = r.accepts(Door::Asap, 1);
    let number_3 = |r: &mut TestRegistrar, link| {
        let element = PoolElement { id: ElementId(3), ..element(1) };
        r.hears(link, &Message::Registration { handle: handle("fractal"), element });
    };
    r.registers(one, 1);
    r.says(one, &granted(1));
    r.hears(one, &Message::Registration { handle: handle("b"), element: element(1) });
    r.says_next();
    // Two on this link are enough; a renewal is none more.
    number_3(&mut r, one);
    r.says(one, &refused(3, CauseCode::LACK_OF_RESOURCES));
    r.registers(one, 1);
    r.says(one, &granted(1));
    let two = r.accepts(Door::Asap, 1);
    number_3(&mut r, two);
    r.says(two, &granted(3));
    r.hears(two, &Message::Registration { handle: handle("c"), element: element(1) });
    assert!(matches!(r.says_next(), Output::Send { .. }));
    assert_eq!(r.node.handlespace().len(), 3, "three are enough");
    // A peer's elements do not fit either.
    let seven = r.meets_quietly(7);
    r.hears_enrp(seven, 7, update(UpdateAction::Add, element_of(RegistrarId(7), 9)));
    assert_eq!(r.node.handlespace().len(), 3);
    // Links: four are enough.
    let eight = r.meets_quietly(8);
    let nine = r.accepts(Door::Enrp, 9);
    r.closes(nine, Ending::Abort);
    // Peers: two are enough.
    r.loses(one);
    r.take_said();
    let nine = r.accepts(Door::Enrp, 9);
    r.hears_enrp(nine, 9, presence(9, 9, 0xffff));
    r.says_nothing_more();
    r.hears_enrp(eight, 8, Body::ListResponse { rejected: false, servers: vec![server(10, 10)] });
    r.says_nothing_more();
    assert_eq!(r.node.peers().count(), 2);
}

impl TestRegistrar {
    fn meets_quietly(&mut self, id: u32) -> LinkId {
        let link = self.accepts(Door::Enrp, id as u8);
        self.hears_enrp(link, id, presence(id, id as u8, 0xffff));
        self.take_said();
        link
    }
}

#[test]
fn downloads_are_bounded() {
    let limits = Limits { downloads: 1, ..Limits::default() };
    let mut r = TestRegistrar::with(Config { limits, ..config() });
    for number in 1..=60 {
        r.has_element(number);
    }
    let seven = r.meets_quietly(7);
    let eight = r.meets_quietly(8);
    let ask = Body::HandleTableRequest { own_only: true };
    r.hears_enrp(seven, 7, ask.clone());
    r.take_said();
    r.hears_enrp(eight, 8, ask.clone());
    r.says_enrp(eight, 8, &Body::HandleTableResponse { rejected: true, more: false, pools: vec![] });
    // The first reader goes on undisturbed.
    r.hears_enrp(seven, 7, ask);
    assert!(matches!(r.take_enrp().as_slice(), [(_, Body::HandleTableResponse { rejected: false, .. })]));
}

#[test]
fn who_asks_too_often_is_told_or_ignored() {
    let slow = Some(Rate { per_second: 1, burst: 2 });
    let limits = Limits { registrations: slow, resolutions: slow, reports: slow, ..Limits::default() };
    let mut r = TestRegistrar::with(Config { limits, ..config() });
    let link = r.accepts(Door::Asap, 1);
    for _ in 0..2 {
        r.registers(link, 1);
        r.says(link, &granted(1));
        r.hears(link, &resolve(None));
        r.says_next();
    }
    r.registers(link, 1);
    r.says(link, &refused(1, CauseCode::LACK_OF_RESOURCES));
    assert!(r.has(1), "an element is not lost by asking too often");
    r.hears(link, &resolve(None));
    let answer = Resolution::Failed { causes: vec![CauseCode::LACK_OF_RESOURCES.into_cause()] };
    r.says(link, &Message::HandleResolutionResponse { accepted: false, handle: handle("fractal"), answer });
    for _ in 0..5 {
        r.hears(link, &Message::EndpointUnreachable { handle: handle("fractal"), element: ElementId(1) });
    }
    assert_eq!(r.node.counters().failure_reports, 2);
    assert_eq!(r.node.counters().rejected[&Rejection::RateExceeded], 5);
    // A new link does not help, another address does.
    let again = r.accepts(Door::Asap, 1);
    r.take_said();
    r.hears(again, &resolve(None));
    assert!(matches!(r.says_next(), Output::Send { .. }));
    assert_eq!(r.node.counters().resolutions, 2);
    let other = r.accepts(Door::Asap, 2);
    r.hears(other, &resolve(None));
    assert_eq!(r.node.counters().resolutions, 3);
}

#[test]
fn an_element_too_large_to_be_passed_on_is_refused() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Asap, 1);
    let element = PoolElement { user_transport: Transport::Opaque(vec![7; 60_000]), ..element(1) };
    r.hears(link, &Message::Registration { handle: handle("fractal"), element });
    r.says(link, &refused(1, CauseCode::LACK_OF_RESOURCES));
    let peer = r.meets_quietly(7);
    let element =
        PoolElement { user_transport: Transport::Opaque(vec![7; 60_000]), ..element_of(RegistrarId(7), 1) };
    r.hears_enrp(peer, 7, update(UpdateAction::Add, element));
    assert!(!r.has(1));
}

/// Everything a registrar can hear, damaged at random, in any order, between any two of its moments: it stays
/// consistent (`check` runs after every fact), within its limits, and ends with nothing when everybody is gone.
#[test]
fn random_damage_never_makes_it_inconsistent() {
    for seed in 0..30 {
        let mut random = Random::from_seed(seed);
        let limits =
            Limits { links: 40, elements: 60, peers: 6, adoptions: 3, downloads: 2, ..Limits::default() };
        let multicast = seed % 2 == 0;
        let mut r = TestRegistrar::with(Config { limits, multicast, peers: vec![enrp_at(3)], ..config() });
        let mut links: Vec<(LinkId, Door)> = Vec::new();
        for _ in 0..2_000 {
            match random.below(12) {
                0 => {
                    let door = if random.one_in(2) { Door::Asap } else { Door::Enrp };
                    links.push((r.accepts(door, random.below(8) as u8 + 1), door));
                }
                1 if !links.is_empty() => {
                    let (link, _) = links.swap_remove(random.below(links.len() as u64) as usize);
                    r.fact(Input::Closed { link, cause: Cause::Lost });
                }
                2 => r.pass(Duration::from_millis(random.below(700))),
                3 if random.one_in(20) => r.stall(Duration::from_secs(random.below(40))),
                _ if links.is_empty() => {}
                _ => {
                    let (link, door) = links[random.below(links.len() as u64) as usize];
                    let (ppid, mut said) = match door {
                        Door::Enrp => (Ppid::ENRP, any_enrp(&mut random)),
                        _ => (Ppid::ASAP, any_asap(&mut random)),
                    };
                    if random.one_in(8) {
                        let place = random.below(said.len() as u64) as usize;
                        said[place] ^= 1 << random.below(8);
                    }
                    bytes(&mut r, link, ppid, &said);
                }
            }
            // Its own links come up, fail, or hang.
            for wish in r.take_said() {
                match wish {
                    Output::Open { link, to, door, .. } => match random.below(3) {
                        0 => {
                            r.fact(Input::Opened { link, peer: to });
                            links.push((link, door));
                        }
                        1 => r.fact(Input::Closed { link, cause: Cause::Unreachable }),
                        _ => {}
                    },
                    Output::Close { link, .. } => links.retain(|(known, _)| *known != link),
                    _ => {}
                }
            }
        }
        // Everybody leaves.
        for (link, _) in std::mem::take(&mut links) {
            r.fact(Input::Closed { link, cause: Cause::Lost });
        }
        for _ in 0..2_000 {
            for wish in r.take_said() {
                if let Output::Open { link, .. } = wish {
                    r.fact(Input::Closed { link, cause: Cause::Unreachable });
                }
            }
            r.pass(Duration::from_millis(50));
        }
        assert_eq!(r.node.handlespace().len(), 0, "seed {seed}");
        assert_eq!(r.node.peers().count(), 0, "seed {seed}");
    }
}

fn any_element(random: &mut Random) -> PoolElement {
    let number = random.below(8) as u8 + 1;
    let mut element = match random.below(3) {
        0 => element(number),
        _ => element_of(RegistrarId(random.below(8) as u32 + 1), number),
    };
    element.life = [Life::INFINITE, Life(0), Life(300), Life(5_000)][random.below(4) as usize];
    if random.one_in(10) {
        element.policy = Policy::Random;
    }
    if random.one_in(6) {
        element.asap_tcp = Some(SocketAddr::new(ip(number), random.below(2) as u16 * 4_000));
    }
    element
}

fn any_asap(random: &mut Random) -> Vec<u8> {
    let handle = handle(["fractal", "a", "b"][random.below(3) as usize]);
    let element = ElementId(random.below(9) as u32);
    match random.below(7) {
        0 | 1 => Message::Registration { handle, element: any_element(random) },
        2 => Message::Deregistration { handle, element },
        3 => Message::HandleResolution { subscribe: false, handle, items: Some(random.below(5) as u32) },
        4 | 5 => Message::EndpointKeepAliveAck { handle, element },
        _ => Message::EndpointUnreachable { handle, element },
    }
    .emit()
}

fn any_enrp(random: &mut Random) -> Vec<u8> {
    let sender = RegistrarId(random.below(8) as u32 + 1);
    let receiver = if random.one_in(9) { RegistrarId(3) } else { ME };
    let target = RegistrarId([1, 2, 3, 4, ME.0][random.below(5) as usize]);
    let some = |random: &mut Random| {
        let mut pools = Vec::new();
        for pool in ["a", "b", "fractal"] {
            // As sent by a registrar: with an ASAP transport and a home.
            let elements: Vec<_> = (0..random.below(4))
                .map(|_| element_of(RegistrarId(random.below(8) as u32 + 1), random.below(9) as u8 + 1))
                .collect();
            if !elements.is_empty() {
                pools.push((handle(pool), elements));
            }
        }
        pools
    };
    let body = match random.below(11) {
        0 | 1 => Body::Presence {
            reply_required: random.one_in(2),
            checksum: Some(if random.one_in(2) { 0xffff } else { 0x1234 }),
            server: Some(server(sender.0, sender.0 as u8)),
        },
        2 => Body::HandleTableRequest { own_only: random.one_in(2) },
        3 => Body::HandleTableResponse {
            rejected: random.one_in(9),
            more: random.one_in(3),
            pools: some(random),
        },
        4 | 5 => {
            let action =
                [UpdateAction::Add, UpdateAction::Add, UpdateAction::Delete][random.below(3) as usize];
            update(action, element_of(sender, random.below(9) as u8 + 1))
        }
        6 => Body::ListRequest,
        7 => Body::ListResponse { rejected: random.one_in(9), servers: vec![server(4, 4), server(5, 5)] },
        8 => Body::InitTakeover { target },
        9 => Body::InitTakeoverAck { target },
        _ => Body::TakeoverServer { target },
    };
    enrp::Message { sender, receiver, body }.emit()
}
