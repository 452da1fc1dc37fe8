//! Handle updates, tables, audits, and contests about a home.

use super::*;

const PEER: u32 = 7;
const OWN: Body = Body::HandleTableRequest { own_only: true };

fn of_peer(number: u8) -> PoolElement {
    element_of(RegistrarId(PEER), number)
}

fn add(number: u8) -> Body {
    update(UpdateAction::Add, of_peer(number))
}

fn delete(number: u8) -> Body {
    update(UpdateAction::Delete, of_peer(number))
}

fn table(more: bool, elements: Vec<PoolElement>) -> Body {
    let pools = if elements.is_empty() { vec![] } else { vec![(handle("fractal"), elements)] };
    Body::HandleTableResponse { rejected: false, more, pools }
}

/// A checksum that cannot be right.
fn differs(r: &TestRegistrar) -> Body {
    presence(PEER, 7, r.node.handlespace().checksum(RegistrarId(PEER)) ^ 0x1111)
}

#[test]
fn peers_hear_of_an_element_before_the_element_itself() {
    let mut r = TestRegistrar::alone();
    let seven = r.meets(7, 7);
    let eight = r.meets(8, 8);
    let link = r.accepts(Door::Asap, 1);
    r.registers(link, 1);
    let told = update(UpdateAction::Add, element_of(ME, 1));
    // To all with a blank receiver (RFC 5353 §3.3.1).
    r.says_enrp(seven, 0, &told);
    r.says_enrp(eight, 0, &told);
    r.says(link, &granted(1));
    r.says_nothing_more();
    r.loses(link);
    let told = update(UpdateAction::Delete, element_of(ME, 1));
    r.says_enrp(seven, 0, &told);
    r.says_enrp(eight, 0, &told);
    r.says_nothing_more();
}

#[test]
fn a_refused_registration_is_not_told_to_anybody() {
    let mut r = TestRegistrar::alone();
    r.has_element(1);
    r.meets(7, 7);
    let link = r.accepts(Door::Asap, 2);
    let element = PoolElement { policy: Policy::Random, ..element(2) };
    r.hears(link, &Message::Registration { handle: handle("fractal"), element });
    assert!(r.take_enrp().is_empty());
}

#[test]
fn updates_of_a_peer_are_obeyed_and_live_as_long_as_they_say() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(PEER, 7);
    let element = PoolElement { life: Life(1_500), ..of_peer(1) };
    r.hears_enrp(peer, PEER, update(UpdateAction::Add, element.clone()));
    r.tells(&Event::ElementAdded {
        handle: handle("fractal"),
        element: ElementId(1),
        home: RegistrarId(PEER),
    });
    r.hears_enrp(peer, PEER, add(2));
    r.hears_enrp(peer, PEER, delete(2));
    assert!(r.has(1) && !r.has(2));
    // A renewal restarts its life.
    r.pass(Duration::from_millis(900));
    r.hears_enrp(peer, PEER, update(UpdateAction::Add, element));
    r.pass(Duration::from_millis(900));
    assert!(r.has(1));
    r.hears_enrp(peer, PEER, presence(PEER, 7, r.node.handlespace().checksum(RegistrarId(PEER))));
    r.events.clear();
    r.pass(Duration::from_millis(600));
    let (handle, home, why) = (handle("fractal"), RegistrarId(PEER), Removal::LifeOver);
    r.tells(&Event::ElementRemoved { handle, element: ElementId(1), home, why });
    // Of somebody else's element nobody is told.
    assert!(r.take_enrp().iter().all(|(_, body)| !matches!(body, Body::HandleUpdate { .. })));
}

#[test]
fn only_a_home_speaks_for_its_elements() {
    let mut r = TestRegistrar::alone();
    let seven = r.meets(7, 7);
    let eight = r.meets(8, 8);
    r.hears_enrp(seven, 7, add(1));
    let digest = r.node.handlespace().digest();
    // Somebody else adds, or deletes, in its name.
    r.hears_enrp(eight, 8, add(2));
    r.hears_enrp(eight, 8, delete(1));
    r.hears_enrp(eight, 8, update(UpdateAction::Delete, element_of(RegistrarId(8), 1)));
    // An unknown action, and one of our own elements that we do not have.
    r.hears_enrp(seven, 7, update(UpdateAction::Other(2), of_peer(3)));
    r.hears_enrp(seven, 7, update(UpdateAction::Add, element_of(ME, 4)));
    assert_eq!(r.node.handlespace().digest(), digest);
    assert_eq!(r.node.counters().rejected[&Rejection::NotOwner], 3);
}

#[test]
fn an_element_of_ours_that_answers_survives_its_deletion_by_a_peer() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    let peer = r.meets(PEER, 7);
    r.pass(Duration::from_millis(150));
    r.take_said();
    r.hears_enrp(peer, PEER, delete(1));
    r.says(link, &keep_alive(1, false));
    r.says_nothing_more();
    r.hears(link, &ack(1));
    r.says_enrp(peer, 0, &update(UpdateAction::Add, element_of(ME, 1)));
    r.says_nothing_more();
    assert_eq!(r.home_of(1), Some(ME));
}

#[test]
fn a_deregistration_of_a_peers_element_is_told_by_its_new_owner() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(PEER, 7);
    r.hears_enrp(peer, PEER, add(1));
    let (handle, element) = (handle("fractal"), ElementId(1));
    let ask = Message::Deregistration { handle, element };
    // Another host may not.
    let stranger = r.accepts(Door::Asap, 2);
    r.hears(stranger, &ask);
    let causes = vec![CauseCode::SECURITY.into_cause()];
    r.says(stranger, &Message::DeregistrationResponse { handle, element, causes });
    // The element lost its home and came here with its last wish.
    let link = r.accepts(Door::Asap, 1);
    r.hears(link, &ask);
    r.says_enrp(peer, 0, &update(UpdateAction::Add, element_of(ME, 1)));
    r.says_enrp(peer, 0, &update(UpdateAction::Delete, element_of(ME, 1)));
    r.says(link, &Message::DeregistrationResponse { handle, element, causes: vec![] });
    r.says_nothing_more();
}

#[test]
fn an_element_that_registers_elsewhere_moves_and_its_links_end_means_nothing_more() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    let peer = r.meets(PEER, 7);
    r.hears_enrp(peer, PEER, add(1));
    let (handle, element) = (handle("fractal"), ElementId(1));
    r.tells(&Event::ElementMoved { handle, element, from: ME, to: RegistrarId(PEER) });
    r.loses(link);
    r.says_nothing_more();
    r.tells_nothing_more();
    assert_eq!(r.home_of(1), Some(RegistrarId(PEER)));
    // And back it comes (RFC 5352 §3.1 rule 4), from another address even.
    let again = r.accepts(Door::Asap, 2);
    r.hears(
        again,
        &Message::Registration { handle, element: PoolElement { id: element, ..self::element(2) } },
    );
    r.tells(&Event::ElementMoved { handle, element, from: RegistrarId(PEER), to: ME });
}

#[test]
fn an_element_that_keeps_its_link_decides_itself_who_its_home_is() {
    for answers in [true, false] {
        let mut r = TestRegistrar::alone();
        let link = r.has_element(1);
        let peer = r.meets(PEER, 7);
        r.hears_enrp(peer, PEER, add(1));
        r.take_said();
        r.pass(timing().keep_alive_timeout - Duration::from_millis(1));
        r.take_enrp();
        r.pass(Duration::from_millis(1));
        r.says(link, &keep_alive(1, true));
        r.events.clear();
        if answers {
            r.hears(link, &ack(1));
            r.says_enrp(peer, 0, &update(UpdateAction::Add, element_of(ME, 1)));
            assert_eq!(r.home_of(1), Some(ME));
            // It has been asked; the next update counts without further ado.
            r.hears_enrp(peer, PEER, add(1));
            r.take_said();
        }
        r.hears_enrp(peer, PEER, presence(PEER, 7, r.node.handlespace().checksum(RegistrarId(PEER))));
        r.pass(timing().keep_alive_timeout * 3 / 2);
        assert_eq!(r.home_of(1), Some(RegistrarId(PEER)), "answers: {answers}");
        assert!(
            !r.take_said().iter().any(|wish| matches!(wish, Output::Send { link: on, .. } if *on == link))
        );
    }
}

#[test]
fn a_difference_is_settled_by_the_peers_table() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(PEER, 7);
    for number in [1, 2, 3] {
        r.hears_enrp(peer, PEER, add(number));
    }
    r.events.clear();
    let different = differs(&r);
    r.hears_enrp(peer, PEER, different.clone());
    r.says_enrp(peer, PEER, &OWN);
    r.tells(&Event::ResyncBegun { peer: RegistrarId(PEER) });
    // One table at a time.
    r.hears_enrp(peer, PEER, different);
    r.says_nothing_more();
    r.hears_enrp(peer, PEER, table(true, vec![of_peer(1)]));
    r.says_enrp(peer, PEER, &OWN);
    // Told of meanwhile: it needs not be in the table.
    r.hears_enrp(peer, PEER, add(2));
    // Not the peer's own: not believed in this table.
    r.hears_enrp(peer, PEER, table(false, vec![of_peer(4), element_of(RegistrarId(9), 5)]));
    r.says_nothing_more();
    let (handle, home) = (handle("fractal"), RegistrarId(PEER));
    r.tells(&Event::ElementAdded { handle, element: ElementId(4), home });
    r.tells(&Event::ElementRemoved { handle, element: ElementId(3), home, why: Removal::Swept });
    r.tells(&Event::ResyncEnded { peer: RegistrarId(PEER), complete: true, removed: 1 });
    r.tells_nothing_more();
    assert_eq!([1, 2, 3, 4, 5].map(|number| r.has(number)), [true, true, false, true, false]);
}

#[test]
fn a_table_that_is_refused_or_does_not_end_sweeps_nothing() {
    for refused in [true, false] {
        let mut r = TestRegistrar::alone();
        let peer = r.meets(PEER, 7);
        r.hears_enrp(peer, PEER, add(1));
        r.events.clear();
        let different = differs(&r);
        r.hears_enrp(peer, PEER, different);
        if refused {
            r.hears_enrp(
                peer,
                PEER,
                Body::HandleTableResponse { rejected: true, more: false, pools: vec![] },
            );
        } else {
            r.hears_enrp(peer, PEER, table(true, vec![]));
            r.pass(timing().peer_no_response);
        }
        assert_eq!(
            r.events.pop(),
            Some(Event::ResyncEnded { peer: RegistrarId(PEER), complete: false, removed: 0 })
        );
        assert!(r.has(1));
        // A table that comes too late is nobody's.
        r.hears_enrp(peer, PEER, table(false, vec![]));
        assert!(r.has(1));
    }
}

#[test]
fn a_difference_that_no_table_settles_is_asked_about_less_and_less_often() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(PEER, 7);
    let link = r.has_element(1);
    let mut tables = 0;
    for _ in 0..1_000 {
        r.pass(timing().presence_interval);
        r.hears(link, &ack(1));
        // The pool has another policy at the peer: its entry is refused here, for ever.
        let conflicting = PoolElement { policy: Policy::Random, ..of_peer(2) };
        r.hears_enrp(peer, PEER, presence(PEER, 7, 0x1234));
        for (_, body) in r.take_enrp() {
            if body == OWN {
                tables += 1;
                r.hears_enrp(peer, PEER, table(false, vec![conflicting.clone()]));
            }
        }
    }
    assert!((15..=30).contains(&tables), "{tables} tables in 1000 cycles");
    assert!(r.events.iter().any(|event| matches!(event, Event::ReplicaRefused { .. })));
    assert!(!r.has(2));
}

#[test]
fn after_a_lost_link_equal_checksums_prove_too_little() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(PEER, 7);
    r.hears_enrp(peer, PEER, add(1));
    r.loses(peer);
    let again = r.accepts(Door::Enrp, 7);
    r.take_said();
    let same = presence(PEER, 7, r.node.handlespace().checksum(RegistrarId(PEER)));
    r.hears_enrp(again, PEER, same.clone());
    assert!(r.take_enrp().iter().any(|(_, body)| *body == OWN));
    r.hears_enrp(again, PEER, table(false, vec![of_peer(1)]));
    r.hears_enrp(again, PEER, same);
    assert!(r.take_enrp().is_empty());
}

#[test]
fn a_table_is_read_part_by_part_and_forgotten_when_its_reader_falls_silent() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(PEER, 7);
    r.hears_enrp(peer, PEER, add(200));
    for number in 1..=40 {
        r.has_element(number);
    }
    let read = |r: &mut TestRegistrar, own_only| {
        r.hears_enrp(peer, PEER, Body::HandleTableRequest { own_only });
        let Output::Send { bytes, .. } = r.says_next() else { panic!("a table") };
        assert!(bytes.len() <= 1_400, "{}", bytes.len());
        let Ok(said) = enrp::Message::parse(&bytes) else { panic!("a message") };
        let Body::HandleTableResponse { rejected: false, more, pools } = said.body else { panic!("a table") };
        (more, pools.iter().flat_map(|(_, es)| es.iter().map(|e| e.id.0)).collect::<Vec<_>>())
    };
    // Both tables are read in turn; each reader's place is its own.
    let (mut own, mut whole) = (Vec::new(), Vec::new());
    loop {
        let (more_own, part) = read(&mut r, true);
        own.extend(part);
        let (more_whole, part) = read(&mut r, false);
        whole.extend(part);
        assert_eq!(more_own, more_whole);
        if !more_own {
            break;
        }
    }
    assert_eq!(own, (1..=40).collect::<Vec<_>>());
    assert_eq!(whole, (1..=40).chain([200]).collect::<Vec<_>>());
    // A reader that falls silent begins anew.
    let (_, first) = read(&mut r, true);
    r.pass(timing().peer_no_response);
    r.take_said();
    assert_eq!(read(&mut r, true).1, first);
    // So does one whose link ended.
    r.loses(peer);
    assert_eq!(r.node.counters().synchronizations as usize, 2 * own.len().div_ceil(first.len()) + 2);
}

#[test]
fn a_single_large_entry_may_exceed_a_part() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(PEER, 7);
    let many: Vec<IpAddr> = (0..64).map(|n| IpAddr::from([0xfec0, 0, 0, 0, 0, 0, 0, n])).collect();
    let host = Endpoint { protocol: Protocol::Sctp, addresses: many.clone(), port: 5000 };
    let link = r.accepts_from(Door::Asap, host);
    for number in 1..=2 {
        let transport_use = TransportUse::DataAndControl;
        let user_transport = Transport::Sctp { port: 7000, transport_use, addresses: many.clone() };
        let element = PoolElement { user_transport, ..element(number) };
        r.hears(link, &Message::Registration { handle: handle("fractal"), element });
    }
    r.take_said();
    for more in [true, false] {
        r.hears_enrp(peer, PEER, Body::HandleTableRequest { own_only: true });
        match r.take_enrp().as_slice() {
            [(_, Body::HandleTableResponse { more: said, pools, .. })] => {
                assert_eq!((*said, pools[0].1.len()), (more, 1));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_is_just_met_introduces_itself_before_it_reads_a_table() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Enrp, 7);
    r.hears_enrp(link, PEER, OWN);
    r.says_enrp(link, PEER, &Body::HandleTableResponse { rejected: true, more: false, pools: vec![] });
    match r.take_enrp().as_slice() {
        [(_, Body::Presence { reply_required: true, .. })] => {}
        other => panic!("{other:?}"),
    }
    r.hears_enrp(link, PEER, OWN);
    r.says_enrp(link, PEER, &table(false, vec![]));
}

#[test]
fn a_table_entry_does_not_take_a_connected_element_away() {
    let mut r = TestRegistrar::alone();
    r.has_element(1);
    let peer = r.meets(PEER, 7);
    let different = presence(PEER, 7, 0x1234);
    r.hears_enrp(peer, PEER, different);
    r.says_enrp(peer, PEER, &OWN);
    r.hears_enrp(peer, PEER, table(false, vec![of_peer(1)]));
    r.says_enrp(peer, 0, &update(UpdateAction::Add, element_of(ME, 1)));
    assert_eq!(r.home_of(1), Some(ME));
}

#[test]
fn an_entry_with_an_unknown_home_makes_that_home_a_peer_that_has_to_show_itself() {
    let mut r = TestRegistrar::with(Config { peers: vec![enrp_at(7)], ..config() });
    let link = r.opens(Door::Enrp, &enrp_at(7));
    r.fact(Input::Opened { link, peer: enrp_at(7) });
    r.hears_enrp(link, PEER, presence(PEER, 7, 0xffff));
    r.hears_enrp(link, PEER, Body::ListResponse { rejected: false, servers: vec![] });
    r.hears_enrp(link, PEER, table(false, vec![element_of(RegistrarId(9), 1)]));
    let unknown: Vec<_> = r.node.peers().filter(|peer| peer.id.0 == 9).collect();
    assert_eq!((unknown[0].state, unknown[0].endpoint.clone()), (PeerState::Unconfirmed, None));
    // It never does: its element finds a home here.
    r.events.clear();
    let until = r.now + timing().dead_peer_max(Duration::ZERO);
    while r.now < until {
        r.pass(Duration::from_millis(100));
        r.hears_enrp(link, PEER, presence(PEER, 7, 0xffff));
        r.hears_enrp(link, PEER, Body::InitTakeoverAck { target: RegistrarId(9) });
    }
    assert_eq!(r.home_of(1), Some(ME));
}
