//! Learning from a mentor.

use super::*;

/// A registrar that was told of peers at hosts 7 and 8; the links it opens to them.
fn starting() -> (TestRegistrar, LinkId, LinkId) {
    let mut r = TestRegistrar::with(Config { peers: vec![enrp_at(7), enrp_at(8), enrp_at(80)], ..config() });
    let seven = r.opens(Door::Enrp, &enrp_at(7));
    r.says_next();
    let eight = r.opens(Door::Enrp, &enrp_at(8));
    r.says_next();
    r.says_nothing_more();
    r.tells_nothing_more();
    (r, seven, eight)
}

/// The peer at this link answers our greeting; it is asked for its list.
fn answers(r: &mut TestRegistrar, link: LinkId, id: u32) {
    r.fact(Input::Opened { link, peer: enrp_at(id as u8) });
    r.hears_enrp(link, id, presence(id, id as u8, 0xffff));
    r.says_enrp(link, id, &Body::ListRequest);
    r.take_said();
}

const WHOLE: Body = Body::HandleTableRequest { own_only: false };

fn list(rejected: bool) -> Body {
    Body::ListResponse { rejected, servers: vec![] }
}

fn table(rejected: bool, more: bool, numbers: &[u8]) -> Body {
    let elements: Vec<_> = numbers.iter().map(|&number| element_of(RegistrarId(7), number)).collect();
    let pools = if elements.is_empty() { vec![] } else { vec![(handle("fractal"), elements)] };
    Body::HandleTableResponse { rejected, more, pools }
}

#[test]
fn without_anybody_to_ask_service_starts_at_once() {
    let mut r = TestRegistrar::alone();
    assert!(r.node.is_ready());
    r.says_nothing_more();
}

#[test]
fn the_first_to_answer_is_the_mentor_list_first_then_table_until_the_end() {
    let (mut r, seven, eight) = starting();
    answers(&mut r, seven, 7);
    r.hears_enrp(seven, 7, list(false));
    r.says_enrp(seven, 7, &WHOLE);
    // The other one is a peer like any other.
    answers(&mut r, eight, 8);
    r.events.clear();
    r.hears_enrp(seven, 7, table(false, true, &[1, 2]));
    r.says_enrp(seven, 7, &WHOLE);
    assert!(!r.node.is_ready());
    r.hears_enrp(seven, 7, table(false, false, &[3]));
    r.says_nothing_more();
    assert_eq!(r.events.pop(), Some(Event::Ready { peers: 2, elements: 3 }));
    assert!(r.node.is_ready());
}

#[test]
fn an_empty_table_also_ends_it() {
    let (mut r, seven, _) = starting();
    answers(&mut r, seven, 7);
    r.hears_enrp(seven, 7, list(false));
    r.hears_enrp(seven, 7, table(false, false, &[]));
    assert!(r.node.is_ready());
}

#[test]
fn a_mentor_that_refuses_falls_silent_or_dies_is_replaced_by_the_next() {
    for way in 0..4 {
        let (mut r, seven, eight) = starting();
        answers(&mut r, seven, 7);
        answers(&mut r, eight, 8);
        r.events.clear();
        match way {
            0 => r.hears_enrp(seven, 7, list(true)),
            1 => {
                r.hears_enrp(seven, 7, list(false));
                r.says_enrp(seven, 7, &WHOLE);
                r.hears_enrp(seven, 7, table(true, false, &[]));
            }
            2 => {
                // Half a table, and no more.
                r.hears_enrp(seven, 7, list(false));
                r.hears_enrp(seven, 7, table(false, true, &[1]));
                r.take_said();
                r.events.clear();
                r.pass(timing().peer_no_response);
            }
            _ => {
                r.fact(Input::Closed { link: seven, cause: Cause::Lost });
                let again = r.opens(Door::Enrp, &enrp_at(7));
                r.fact(Input::Closed { link: again, cause: Cause::Unreachable });
            }
        }
        assert!(r.events.contains(&Event::MentorFailed), "way {way}");
        // The next one's list was asked for when it answered, and comes now.
        r.take_said();
        r.hears_enrp(eight, 8, list(false));
        r.says_enrp(eight, 8, &WHOLE);
        r.hears_enrp(eight, 8, table(false, false, &[1, 2, 3]));
        assert!(r.node.is_ready(), "way {way}");
        assert_eq!(r.node.handlespace().len(), 3, "way {way}");
    }
}

#[test]
fn a_single_mentor_that_refuses_is_asked_again_after_a_pause() {
    let (mut r, seven, _) = starting();
    answers(&mut r, seven, 7);
    r.hears_enrp(seven, 7, list(true));
    assert!(r.take_enrp().is_empty(), "not at once");
    r.pass(timing().peer_no_response * 3 / 2);
    assert!(r.take_enrp().contains(&(seven, Body::ListRequest)));
    r.hears_enrp(seven, 7, list(false));
    r.hears_enrp(seven, 7, table(false, false, &[1]));
    assert!(r.node.is_ready());
}

#[test]
fn if_nobody_answers_service_starts_after_the_mentor_wait() {
    let (mut r, seven, _) = starting();
    r.fact(Input::Closed { link: seven, cause: Cause::Unreachable });
    r.pass(timing().mentor_wait - Duration::from_millis(1));
    assert!(!r.node.is_ready());
    r.pass(Duration::from_millis(1));
    r.tells(&Event::Ready { peers: 0, elements: 0 });
}

#[test]
fn a_download_under_way_is_not_cut_short_by_the_mentor_wait() {
    let (mut r, seven, _) = starting();
    r.pass(timing().mentor_wait - Duration::from_millis(100));
    r.take_said();
    answers(&mut r, seven, 7);
    r.hears_enrp(seven, 7, list(false));
    r.pass(Duration::from_millis(200));
    assert!(!r.node.is_ready());
    r.hears_enrp(seven, 7, table(false, false, &[1]));
    assert!(r.node.is_ready());
}

#[test]
fn who_starts_up_has_nothing_to_offer_and_says_so() {
    let (mut r, seven, eight) = starting();
    answers(&mut r, seven, 7);
    answers(&mut r, eight, 8);
    r.hears_enrp(eight, 8, Body::ListRequest);
    r.says_enrp(eight, 8, &Body::ListResponse { rejected: true, servers: vec![] });
    for own_only in [false, true] {
        r.hears_enrp(eight, 8, Body::HandleTableRequest { own_only });
        r.says_enrp(eight, 8, &Body::HandleTableResponse { rejected: true, more: false, pools: vec![] });
    }
    r.says_nothing_more();
}

#[test]
fn registrations_are_served_while_starting_and_resolutions_of_unknown_pools_wait_for_its_end() {
    let (mut r, seven, _) = starting();
    answers(&mut r, seven, 7);
    r.hears_enrp(seven, 7, list(false));
    r.take_said();
    let user = r.accepts(Door::Asap, 99);
    r.hears(user, &resolve(Some(1)));
    r.says_nothing_more();
    let other = handle("other");
    let link = r.accepts(Door::Asap, 1);
    r.hears(link, &Message::Registration { handle: other, element: element(1) });
    let element = ElementId(1);
    let granted = Message::RegistrationResponse { rejected: false, handle: other, element, causes: vec![] };
    r.take_enrp();
    // (The grant was among what take_enrp dropped; ask again to see it.)
    r.hears(link, &Message::Registration { handle: other, element: self::element(1) });
    r.says_next();
    r.says(link, &granted);
    // A later request of the same user waits behind the first one, so that the answers keep their order.
    r.hears(user, &Message::HandleResolution { subscribe: false, handle: other, items: None });
    r.says_nothing_more();
    r.hears_enrp(seven, 7, table(false, false, &[5]));
    for pool in [handle("fractal"), other] {
        let Output::Send { link, bytes, .. } = r.says_next() else { panic!("an answer") };
        assert_eq!(link, user);
        match Message::parse(&bytes) {
            Ok(Message::HandleResolutionResponse { handle, answer: Resolution::Elements { .. }, .. }) => {
                assert_eq!(handle, pool);
            }
            other => panic!("{other:?}"),
        }
    }
    r.says_nothing_more();
}

#[test]
fn a_resolution_is_held_for_a_second_at_most() {
    let (mut r, seven, _) = starting();
    r.pass(timing().mentor_wait - Duration::from_millis(100));
    answers_late(&mut r, seven);
    let user = r.accepts(Door::Asap, 99);
    r.take_said();
    r.hears(user, &resolve(None));
    let begun = r.now;
    while r.now.since(begun) < Duration::from_millis(999) {
        // The mentor sends its table drop by drop.
        r.pass(Duration::from_millis(111));
        let none: Vec<_> = r
            .take_said()
            .into_iter()
            .filter(|w| matches!(w, Output::Send { link, .. } if *link == user))
            .collect();
        assert_eq!(none, []);
        r.hears_enrp(seven, 7, table(false, true, &[]));
    }
    r.take_said();
    r.pass(Duration::from_millis(1));
    let answer = Resolution::Failed { causes: vec![CauseCode::UNKNOWN_POOL_HANDLE.into_cause()] };
    r.says(user, &Message::HandleResolutionResponse { accepted: false, handle: handle("fractal"), answer });
}

fn answers_late(r: &mut TestRegistrar, link: LinkId) {
    r.take_said();
    answers(r, link, 7);
    r.hears_enrp(link, 7, list(false));
    r.take_said();
    r.events.clear();
}
