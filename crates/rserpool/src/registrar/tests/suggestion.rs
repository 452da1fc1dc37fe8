//! Suggested takeovers: who suggests, who obeys, and what an element's old link is worth meanwhile.

use super::*;

/// Larger than ours, xor element 1: the element belongs to it. (0x150 ^ 1 > 0x50 ^ 1.)
const RIGHTFUL: u32 = 0x150;

fn willing() -> TestRegistrar {
    let mut r = TestRegistrar::with(Config { takeover_suggestion: true, ..config() });
    r.events.clear();
    r
}

fn suggested(home: u32, number: u8) -> Body {
    Body::HandleUpdate {
        takeover_suggested: true,
        action: UpdateAction::Add,
        handle: handle("fractal"),
        element: element_of(RegistrarId(home), number),
    }
}

#[test]
fn an_element_is_offered_to_the_peer_it_belongs_to() {
    let mut r = willing();
    let peer = r.meets(RIGHTFUL, 7);
    let link = r.accepts(Door::Asap, 1);
    r.registers(link, 1);
    r.says_enrp(peer, 0, &update(UpdateAction::Add, element_of(ME, 1)));
    r.says_enrp(peer, RIGHTFUL, &suggested(ME.0, 1));
    r.says(link, &granted(1));
    r.says_nothing_more();
}

#[test]
fn nothing_is_offered_to_whom_it_does_not_belong_or_who_has_enough() {
    // 7 ^ 1 is less than 0x50 ^ 1.
    let mut r = willing();
    r.meets(7, 7);
    let link = r.accepts(Door::Asap, 1);
    r.registers(link, 1);
    assert_eq!(r.take_enrp().len(), 1, "the update alone");
    let mut r = willing();
    let peer = r.meets(RIGHTFUL, 7);
    r.hears_enrp(peer, RIGHTFUL, update(UpdateAction::Add, element_of(RegistrarId(RIGHTFUL), 9)));
    r.take_said();
    let link = r.accepts(Door::Asap, 1);
    r.registers(link, 1);
    assert_eq!(r.take_enrp().len(), 1, "it has as many as we");
    let mut r = TestRegistrar::alone();
    r.meets(RIGHTFUL, 7);
    let link = r.accepts(Door::Asap, 1);
    r.registers(link, 1);
    assert_eq!(r.take_enrp().len(), 1, "switched off");
}

#[test]
fn the_end_of_its_link_is_taken_for_the_hand_over_for_one_patience() {
    let offered = || {
        let mut r = willing();
        let peer = r.meets(RIGHTFUL, 7);
        let link = r.has_element(1);
        r.loses(link);
        r.says_nothing_more();
        assert_eq!(r.home_of(1), Some(ME));
        (r, peer)
    };
    let (mut r, peer) = offered();
    r.hears_enrp(peer, RIGHTFUL, update(UpdateAction::Add, element_of(RegistrarId(RIGHTFUL), 1)));
    assert_eq!(r.home_of(1), Some(RegistrarId(RIGHTFUL)));
    r.pass(timing().keep_alive_timeout * 2);
    assert!(r.has(1));
    // Nobody has it: it is gone, and that is told.
    let (mut r, peer) = offered();
    r.pass(timing().keep_alive_timeout);
    assert!(!r.has(1));
    let gone = update(UpdateAction::Delete, element_of(ME, 1));
    assert!(r.take_enrp().contains(&(peer, gone)));
}

/// A registrar to which a peer has suggested element 1, and the link on which it asks that.
fn asks() -> (TestRegistrar, LinkId, LinkId) {
    let mut r = willing();
    let peer = r.meets(7, 7);
    r.hears_enrp(peer, 7, update(UpdateAction::Add, element_of(RegistrarId(7), 1)));
    r.take_said();
    r.hears_enrp(peer, 7, suggested(7, 1));
    let to = Endpoint::sctp(SocketAddr::new(ip(1), 5000));
    let link = r.opens(Door::Asap, &to);
    r.says(link, &keep_alive(1, true));
    r.says_nothing_more();
    r.fact(Input::Opened { link, peer: to });
    assert_eq!(r.home_of(1), Some(RegistrarId(7)), "not without its consent");
    (r, peer, link)
}

#[test]
fn an_element_that_agrees_is_taken_over_and_everybody_told() {
    let (mut r, peer, link) = asks();
    r.hears(link, &ack(1));
    assert_eq!(r.home_of(1), Some(ME));
    r.says_enrp(peer, 0, &update(UpdateAction::Add, element_of(ME, 1)));
    r.says_nothing_more();
    // It is watched like any other.
    r.pass(timing().keep_alive_interval * 2);
    assert!(
        r.take_said()
            .iter()
            .any(|wish| matches!(wish, Output::Send { link: on, ppid: Ppid::ASAP, .. } if *on == link))
    );
}

#[test]
fn an_old_home_that_calls_it_gone_is_not_believed_while_it_may_still_agree() {
    let gone = update(UpdateAction::Delete, element_of(RegistrarId(7), 1));
    let (mut r, peer, link) = asks();
    r.hears_enrp(peer, 7, gone.clone());
    assert!(r.has(1));
    r.hears(link, &ack(1));
    assert_eq!(r.home_of(1), Some(ME));
    let (mut r, peer, _) = asks();
    r.hears_enrp(peer, 7, gone);
    r.pass(timing().keep_alive_timeout);
    assert!(!r.has(1), "it has not agreed");
}

#[test]
fn an_element_that_does_not_answer_stays_where_it_was() {
    let (mut r, _, link) = asks();
    r.pass(timing().keep_alive_timeout);
    assert_eq!(r.home_of(1), Some(RegistrarId(7)));
    assert!(r.take_said().contains(&Output::Close { link, how: Ending::Graceful }));
}

#[test]
fn whoever_has_more_elements_declines() {
    let mut r = willing();
    let peer = r.meets(7, 7);
    r.has_element(2);
    r.has_element(3);
    r.hears_enrp(peer, 7, suggested(7, 1));
    assert_eq!(r.home_of(1), Some(RegistrarId(7)));
    r.says_nothing_more();
}
