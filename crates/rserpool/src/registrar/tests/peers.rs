//! The peer list: meeting, presence, silence, lists, links.

use super::*;

const PEER: u32 = 7;

fn own_presence(r: &TestRegistrar, reply_required: bool) -> Body {
    let checksum = Some(r.node.handlespace().checksum(ME));
    Body::Presence { reply_required, checksum, server: Some(server(ME.0, 80)) }
}

fn up(peer: u32) -> Event {
    Event::PeerUp { peer: RegistrarId(peer) }
}

#[test]
fn whoever_speaks_is_a_peer_and_is_asked_who_it_is() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Enrp, 7);
    r.hears_enrp(link, PEER, presence(PEER, 7, 0xffff));
    r.says_enrp(link, PEER, &Body::ListRequest);
    let introduction = own_presence(&r, true);
    r.says_enrp(link, PEER, &introduction);
    r.says_nothing_more();
    r.tells(&up(PEER));
    r.tells_nothing_more();
    let view: Vec<_> = r.node.peers().collect();
    assert_eq!(view.len(), 1);
    assert_eq!((view[0].state, view[0].in_step), (PeerState::Alive, Some(true)));
    assert_eq!(view[0].endpoint, Some(enrp_at(7)));
}

#[test]
fn a_presence_that_wants_an_answer_gets_one_on_its_own_link() {
    let mut r = TestRegistrar::alone();
    let first = r.meets(PEER, 7);
    let second = r.accepts(Door::Enrp, 7);
    let ask = Body::Presence { reply_required: true, checksum: Some(0xffff), server: Some(server(PEER, 7)) };
    r.hears_enrp(second, PEER, ask);
    let answer = own_presence(&r, false);
    r.says_enrp(second, PEER, &answer);
    r.says_nothing_more();
    // And there we stay: it may not hear us on the first.
    r.has_element(1);
    let said = r.node.handlespace().get(&handle("fractal"), ElementId(1)).expect("registered").clone();
    r.registers(LinkId::Theirs(3), 1);
    match r.take_enrp().as_slice() {
        [(link, Body::HandleUpdate { element, .. })] => assert_eq!((*link, element), (second, &said)),
        other => panic!("{other:?}"),
    }
    r.loses(first);
    assert!(r.node.peers().all(|peer| peer.state == PeerState::Asked));
}

#[test]
fn every_peer_hears_a_presence_each_cycle() {
    let mut r = TestRegistrar::alone();
    let links = [r.meets(7, 7), r.meets(8, 8)];
    let cycle = timing().presence_interval;
    let mut heard = [0, 0];
    for _ in 0..100 {
        r.pass(cycle / 10);
        for (link, body) in r.take_enrp() {
            assert!(matches!(body, Body::Presence { reply_required: false, .. }));
            let place = links.iter().position(|known| *known == link).expect("a known link");
            heard[place] += 1;
        }
        for (id, link) in [(7, links[0]), (8, links[1])] {
            r.hears_enrp(link, id, presence(id, id as u8, 0xffff));
        }
    }
    // Ten cycles, each jittered by an eighth.
    assert!(heard.iter().all(|count| (8..=12).contains(count)), "{heard:?}");
    r.events.clear();
}

#[test]
fn a_silent_peer_is_asked_and_then_forgotten_if_it_owns_nothing() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(PEER, 7);
    let silence = timing().peer_silence_max;
    r.pass(silence - Duration::from_millis(1));
    r.take_said();
    r.tells_nothing_more();
    r.pass(Duration::from_millis(1));
    r.tells(&Event::PeerAsked { peer: RegistrarId(PEER) });
    let question = own_presence(&r, true);
    r.says_enrp(link, PEER, &question);
    r.pass(timing().peer_no_response - Duration::from_millis(1));
    r.tells_nothing_more();
    r.pass(Duration::from_millis(1));
    r.tells(&Event::PeerDown { peer: RegistrarId(PEER), why: PeerLoss::Silent });
    assert!(r.take_said().contains(&Output::Close { link, how: Ending::Abort }));
    assert_eq!(r.node.peers().count(), 0);
}

#[test]
fn any_message_is_a_sign_of_life() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(PEER, 7);
    for _ in 0..10 {
        r.pass(timing().peer_silence_max - Duration::from_millis(1));
        r.hears_enrp(link, PEER, Body::InitTakeoverAck { target: RegistrarId(99) });
    }
    r.tells_nothing_more();
    assert_eq!(r.node.peers().count(), 1);
}

#[test]
fn a_registrar_that_was_held_up_asks_again_before_it_calls_a_peer_dead() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(PEER, 7);
    r.pass(timing().peer_silence_max);
    r.stall(Duration::from_secs(30));
    r.stall(Duration::from_secs(30));
    assert_eq!(r.node.peers().next().map(|peer| peer.state), Some(PeerState::Asked));
    r.hears_enrp(link, PEER, presence(PEER, 7, 0xffff));
    assert_eq!(r.node.peers().next().map(|peer| peer.state), Some(PeerState::Alive));
    assert!(!r.events.iter().any(|event| matches!(event, Event::PeerDown { .. })));
}

#[test]
fn a_lost_link_makes_us_ask_at_once_and_a_refused_one_is_proof() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(PEER, 7);
    r.loses(link);
    r.tells(&Event::PeerAsked { peer: RegistrarId(PEER) });
    let again = r.opens(Door::Enrp, &enrp_at(7));
    let question = own_presence(&r, true);
    r.says_enrp(again, PEER, &question);
    r.says_nothing_more();
    r.fact(Input::Closed { link: again, cause: Cause::Unreachable });
    r.tells(&Event::PeerDown { peer: RegistrarId(PEER), why: PeerLoss::Unreachable });
    r.says_nothing_more();
    // It is not forgotten where it was: with every presence somebody knocks there.
    r.pass(timing().presence_interval * 2);
    r.opens(Door::Enrp, &enrp_at(7));
}

#[test]
fn another_registrar_in_a_peers_place_is_proof_of_its_death() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(PEER, 7);
    r.loses(link);
    let again = r.opens(Door::Enrp, &enrp_at(7));
    r.take_said();
    r.events.clear();
    r.fact(Input::Opened { link: again, peer: enrp_at(7) });
    r.hears_enrp(again, 8, presence(8, 7, 0xffff));
    r.tells(&up(8));
    r.tells(&Event::PeerDown { peer: RegistrarId(PEER), why: PeerLoss::Replaced });
    assert_eq!(r.node.peers().map(|peer| peer.id.0).collect::<Vec<_>>(), [8]);
}

#[test]
fn lists_name_only_who_has_spoken() {
    let mut r = TestRegistrar::alone();
    let seven = r.meets(7, 7);
    let eight = r.meets(8, 8);
    // A list names a stranger, ourselves, nobody, and somebody unreachable from here.
    let local = Transport::Sctp {
        port: 9901,
        transport_use: TransportUse::Data,
        addresses: vec![IpAddr::from([127, 0, 0, 1])],
    };
    let servers = vec![
        server(9, 9),
        server(ME.0, 80),
        server(0, 10),
        ServerInformation { id: RegistrarId(11), transport: local },
    ];
    r.hears_enrp(seven, 7, Body::ListResponse { rejected: false, servers });
    let nine = r.opens(Door::Enrp, &enrp_at(9));
    let introduction = own_presence(&r, true);
    r.says_enrp(nine, 9, &introduction);
    r.says_nothing_more();
    assert_eq!(r.node.peers().map(|peer| peer.id.0).collect::<Vec<_>>(), [7, 8, 9]);

    r.hears_enrp(eight, 8, Body::ListRequest);
    r.says_enrp(eight, 8, &Body::ListResponse { rejected: false, servers: vec![server(7, 7)] });
    // Once the third has spoken itself, it is named as well.
    r.fact(Input::Opened { link: nine, peer: enrp_at(9) });
    r.hears_enrp(nine, 9, presence(9, 9, 0xffff));
    r.take_said();
    r.hears_enrp(eight, 8, Body::ListRequest);
    r.says_enrp(eight, 8, &Body::ListResponse { rejected: false, servers: vec![server(7, 7), server(9, 9)] });
}

#[test]
fn a_list_nobody_asked_for_is_ignored() {
    let mut r = TestRegistrar::alone();
    let link = r.meets(7, 7);
    r.hears_enrp(link, 7, Body::ListResponse { rejected: false, servers: vec![] });
    r.hears_enrp(link, 7, Body::ListResponse { rejected: false, servers: vec![server(9, 9)] });
    r.tells(&Event::Rejected { door: Some(Door::Enrp), reason: Rejection::Unexpected });
    assert_eq!(r.node.peers().count(), 1);
}

#[test]
fn a_peers_addresses_are_believed_only_if_the_transport_knows_them_too() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Enrp, 7);
    let claims = ServerInformation {
        id: RegistrarId(PEER),
        transport: Transport::Sctp {
            port: 9901,
            transport_use: TransportUse::Data,
            addresses: vec![ip(66), ip(7)],
        },
    };
    let body = Body::Presence { reply_required: false, checksum: Some(0xffff), server: Some(claims) };
    r.hears_enrp(link, PEER, body);
    assert_eq!(r.node.peers().next().expect("a peer").endpoint, Some(enrp_at(7)));
    // All false: the link's own address stands for them.
    r.hears_enrp(link, PEER, presence(PEER, 66, 0xffff));
    assert_eq!(r.node.peers().next().expect("a peer").endpoint, Some(enrp_at(7)));
}

#[test]
fn a_presence_over_the_announcement_channel_is_a_hint_to_introduce_ourselves() {
    let mut r = TestRegistrar::with(Config { multicast: true, ..config() });
    r.pass(timing().mentor_wait);
    r.take_said();
    r.events.clear();
    let hear = |r: &mut TestRegistrar, id: u32, host: u8, body: Body| {
        let said = enrp::Message { sender: RegistrarId(id), receiver: RegistrarId::UNDEFINED, body };
        let from = SocketAddr::new(ip(host), 9901);
        r.fact(Input::Heard { channel: Channel::Enrp, from, bytes: said.emit() });
    };
    hear(&mut r, PEER, 7, presence(PEER, 7, 0));
    let link = r.opens(Door::Enrp, &enrp_at(7));
    let introduction = own_presence(&r, true);
    r.says_enrp(link, PEER, &introduction);
    r.says_nothing_more();
    assert_eq!(r.node.peers().next().map(|peer| peer.state), Some(PeerState::Unconfirmed));
    r.tells_nothing_more();
    // Nothing but a presence is believed there, and nothing of ourselves.
    hear(&mut r, ME.0, 80, presence(ME.0, 80, 0));
    hear(&mut r, PEER, 7, Body::TakeoverServer { target: RegistrarId(1) });
    r.fact(Input::Heard { channel: Channel::Enrp, from: SocketAddr::new(ip(7), 1), bytes: vec![1, 2, 3] });
    r.says_nothing_more();
    assert_eq!(r.node.counters().rejected.len(), 2);
}

#[test]
fn announcements_name_tcp_first_and_slow_down_with_company() {
    let mut r = TestRegistrar::with(Config { multicast: true, ..config() });
    r.pass(timing().mentor_wait);
    let said = r.take_said();
    let bytes = said.iter().find_map(|wish| match wish {
        Output::Announce { channel: Channel::Asap, bytes } => Some(bytes),
        _ => None,
    });
    let transports = vec![
        Transport::Tcp { port: 3863, transport_use: TransportUse::Data, address: ip(80) },
        Transport::Sctp { port: 3863, transport_use: TransportUse::Data, addresses: vec![ip(80)] },
    ];
    let announce = Message::ServerAnnounce { server: ME, transports };
    assert_eq!(Message::parse(bytes.expect("announced with the end of start-up")), Ok(announce));

    let count = |r: &mut TestRegistrar, others: u32| {
        let mut announced = 0;
        for _ in 0..300 {
            for other in 1..=others {
                let announce = Message::ServerAnnounce { server: RegistrarId(other), transports: vec![] };
                let from = SocketAddr::new(ip(7), 3863);
                r.fact(Input::Heard { channel: Channel::Asap, from, bytes: announce.emit() });
            }
            r.pass(timing().server_announce_interval / 10);
            announced += r
                .take_said()
                .iter()
                .filter(|wish| matches!(wish, Output::Announce { channel: Channel::Asap, .. }))
                .count();
        }
        announced
    };
    // Thirty intervals: alone one announcement each, with two others every third.
    assert!((27..=33).contains(&count(&mut r, 0)));
    let third = count(&mut r, 2);
    assert!((9..=12).contains(&third), "{third}");
}

#[test]
fn a_ping_is_answered_in_the_loop_that_serves() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Asap, 1);
    let bytes = Frame::Ping([1, 2, 3, 4, 5, 6, 7, 8]).emit();
    r.fact(Input::Message { link, ppid: Ppid::LINK, bytes });
    let bytes = Frame::Pong([1, 2, 3, 4, 5, 6, 7, 8]).emit();
    assert_eq!(r.says_next(), Output::Send { link, ppid: Ppid::LINK, bytes });
    r.says_nothing_more();
}
