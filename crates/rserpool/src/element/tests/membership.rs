use super::*;
use crate::wire::parameter::{CauseCode, ErrorCause, Life};
use crate::{Cause, Door, Ending};
use std::net::SocketAddr;

const SAFE: Policy = Policy::RoundRobin;

fn refused(code: CauseCode) -> (Message, Vec<ErrorCause>) {
    let causes = vec![ErrorCause { code, info: Vec::new() }];
    let response = Message::RegistrationResponse {
        rejected: true,
        handle: pool(),
        element: ElementId(5),
        causes: causes.clone(),
    };
    (response, causes)
}

fn visitor(last: u8) -> Endpoint {
    Endpoint::tcp(SocketAddr::from(([10, 0, 0, last], 40_000)))
}

#[test]
fn a_registration_says_who_where_and_for_how_long_and_is_renewed_in_time() {
    let mut e = element_with(config(SAFE, vec![tcp(1)]));
    e.wait(0);
    let (link, to, greeting) = e.opens();
    assert_eq!((to, greeting.own), (tcp(1), 5));
    e.up(link);
    let element = e.says_registration(link);
    assert_eq!((element.id, element.home, element.life), (ElementId(5), RegistrarId(0), Life(30_000)));
    assert_eq!(element.asap_tcp, Some(SocketAddr::from(([0, 0, 0, 0], 0))), "over TCP: nowhere to be called");
    assert!(!e.node.is_registered());
    e.hears(link, &accepted());
    e.reports(Event::Registered { home: None });
    e.says_nothing_more();
    e.hears(link, &keep_alive(1, false));
    assert_eq!(e.says(link), ack());
    e.wait(9_999);
    e.says_nothing_more();
    e.wait(1); // T4
    assert_eq!(e.says_registration(link).home, RegistrarId(1));
    e.hears(link, &accepted());
    e.says_nothing_more();
    assert_eq!(e.node.home(), Some(RegistrarId(1)));
}

#[test]
fn sctp_is_tried_before_tcp_and_knows_the_way_back_by_itself() {
    let mut e = element_with(config(SAFE, vec![tcp(1), crate::listen::sctp(1)]));
    e.wait(0);
    let link = e.opens_to(&crate::listen::sctp(1));
    e.says_nothing_more();
    e.ended(link, Cause::Unreachable);
    let link = e.opens_to(&tcp(1));
    e.ended(link, Cause::Unreachable);
    e.reports(Event::NoRegistrar { tried: 2 });
    e.wait(600);
    let link = e.opens_to(&crate::listen::sctp(1));
    e.up(link);
    assert_eq!(e.says_registration(link).asap_tcp, None);
}

#[test]
fn a_refused_element_is_told_why_and_does_not_ask_the_same_again() {
    let mut e = element_with(config(SAFE, vec![tcp(1)]));
    e.wait(0);
    let link = e.opens_to(&tcp(1));
    e.up(link);
    e.says_registration(link);
    let (response, causes) = refused(CauseCode::INCONSISTENT_POLICY);
    e.hears(link, &response);
    e.reports(Event::Refused { causes });
    e.wait(120_000);
    e.says_nothing_more();
    e.call(|element, now| element.set_policy(now, Policy::Random));
    assert_eq!(e.says_registration(link).policy, Policy::Random);
    e.hears(link, &accepted());
    e.reports(Event::Registered { home: None });
    e.says_nothing_more();
}

#[test]
fn a_refused_element_asks_a_new_home() {
    let mut e = element_with(config(SAFE, vec![tcp(1)]));
    e.wait(0);
    let link = e.opens_to(&tcp(1));
    e.up(link);
    e.says_registration(link);
    let (response, causes) = refused(CauseCode::LACK_OF_RESOURCES);
    e.hears(link, &response);
    e.reports(Event::Refused { causes });
    e.ended(link, Cause::Lost);
    let link = e.opens_to(&tcp(1));
    e.reports(Event::HomeLost);
    e.up(link);
    e.wait(500);
    e.says_registration(link);
}

#[test]
fn an_identifier_that_is_taken_is_drawn_anew_unless_it_was_configured() {
    let mut e = element_with(Config { id: None, ..config(SAFE, vec![tcp(1)]) });
    e.wait(0);
    let link = e.opens_to(&tcp(1));
    e.up(link);
    let first = e.says_registration(link).id;
    let causes = vec![ErrorCause { code: CauseCode::NON_UNIQUE_ELEMENT_ID, info: Vec::new() }];
    e.hears(link, &Message::RegistrationResponse { rejected: true, handle: pool(), element: first, causes });
    let second = e.says_registration(link).id;
    assert!(second != first && second.is_defined());
    e.says_nothing_more();

    let mut e = element_with(config(SAFE, vec![tcp(1)]));
    e.wait(0);
    let link = e.opens_to(&tcp(1));
    e.up(link);
    e.says_registration(link);
    let (response, causes) = refused(CauseCode::NON_UNIQUE_ELEMENT_ID);
    e.hears(link, &response);
    e.reports(Event::Refused { causes });
    e.says_nothing_more();
}

#[test]
fn an_unanswered_registration_is_made_anew_at_another_registrar() {
    let mut e = element_with(config(SAFE, vec![tcp(1), tcp(2)]));
    e.wait(0);
    let (one, ..) = e.opens();
    let (two, second, _) = e.opens();
    e.up(one);
    e.closes(two, Ending::Abort);
    e.says_registration(one);
    e.wait(499);
    e.says_nothing_more();
    e.wait(1); // T2: no repetition at the same registrar
    let other = e.opens_to(&second);
    e.says_nothing_more();
    e.up(other);
    e.says_nothing_more();
    e.wait(500); // many may change their home at this moment: a pause
    e.says_registration(other);
    e.says_nothing_more();
    e.hears(other, &accepted());
    e.closes(one, Ending::Graceful);
    e.reports(Event::Registered { home: None });
    e.says_nothing_more();
}

#[test]
fn load_is_reported_when_it_changed_by_a_hundredth_with_a_gap_and_with_its_latest_value() {
    let (mut e, link) = registered(Policy::LeastUsed { load: Load::IDLE });
    let work = |e: &mut TestElement, percent| {
        e.call(|element, now| {
            element.with_service(now, |probe, _| probe.load = Load::from_ratio(percent, 100));
        });
    };
    e.wait(100);
    work(&mut e, 50);
    let reported = e.says_registration(link).policy;
    assert_eq!(reported, Policy::LeastUsed { load: Load::from_ratio(50, 100) });
    e.hears(link, &accepted());
    work(&mut e, 70);
    e.wait(20);
    work(&mut e, 80);
    e.wait(29);
    e.says_nothing_more();
    e.wait(1);
    let reported = e.says_registration(link).policy;
    assert_eq!(reported, Policy::LeastUsed { load: Load::from_ratio(80, 100) });
    work(&mut e, 90); // while it is under way: compared again after the answer
    e.says_nothing_more();
    e.wait(60);
    e.hears(link, &accepted());
    let reported = e.says_registration(link).policy;
    assert_eq!(reported, Policy::LeastUsed { load: Load::from_ratio(90, 100) });
    e.hears(link, &accepted());
    e.wait(100);
    e.call(|element, now| element.with_service(now, |probe, _| probe.load.0 -= u32::MAX / 200));
    e.wait(5_000);
    e.says_nothing_more();
}

#[test]
fn load_that_swings_back_within_the_gap_is_not_reported() {
    let (mut e, _) = registered(Policy::LeastUsed { load: Load::IDLE });
    e.call(|element, now| element.with_service(now, |probe, _| probe.load = Load::FULL));
    e.wait(10);
    e.call(|element, now| element.with_service(now, |probe, _| probe.load = Load::IDLE));
    e.wait(5_000);
    e.says_nothing_more();
}

#[test]
fn a_policy_that_does_not_care_for_load_reports_none() {
    let (mut e, _) = registered(SAFE);
    e.call(|element, now| element.with_service(now, |probe, _| probe.load = Load::FULL));
    e.wait(9_000);
    e.says_nothing_more();
}

#[test]
fn keep_alives_are_answered_on_their_link_and_only_for_us() {
    let (mut e, home) = registered(SAFE);
    let prober = e.accepts(1, Door::Asap, visitor(9));
    e.hears(prober, &keep_alive(9, false));
    assert_eq!(e.says(prober), ack());
    let anyone =
        Message::EndpointKeepAlive { home: false, server: RegistrarId(9), handle: pool(), element: None };
    e.hears(prober, &anyone);
    assert_eq!(e.says(prober), ack());
    let other_pool = crate::PoolHandle::new("other").expect("legal");
    for (handle, element) in
        [(other_pool, Some(ElementId(5))), (pool(), Some(ElementId(6))), (other_pool, None)]
    {
        e.hears(prober, &Message::EndpointKeepAlive { home: true, server: RegistrarId(9), handle, element });
    }
    e.says_nothing_more();
    assert_eq!((e.node.home(), e.node.ignored().unexpected), (None, 3));
    e.hears(home, &keep_alive(1, true));
    assert_eq!(e.says(home), ack());
    e.says_nothing_more();
    assert_eq!(e.node.home(), Some(RegistrarId(1)));
}

#[test]
fn a_flood_of_keep_alives_is_answered_a_hundred_times_a_second() {
    let (mut e, home) = registered(SAFE);
    for _ in 0..150 {
        e.hears(home, &keep_alive(1, false));
    }
    for _ in 0..100 {
        assert_eq!(e.says(home), ack());
    }
    e.says_nothing_more();
    assert_eq!(e.node.ignored().excess, 50);
    e.wait(1_000);
    e.hears(home, &keep_alive(1, false));
    assert_eq!(e.says(home), ack());
}

#[test]
fn a_stranger_that_wants_to_be_home_is_not_believed_while_the_home_answers() {
    let (mut e, _) = registered(SAFE);
    let stranger = e.accepts(1, Door::Asap, visitor(66));
    e.hears(stranger, &keep_alive(66, true));
    assert_eq!(e.says(stranger), ack());
    e.says_nothing_more();
    assert_eq!(e.node.home(), None);
}

#[test]
fn anybody_is_believed_after_the_home_fell_silent() {
    let (mut e, old) = registered(SAFE);
    e.hears(old, &keep_alive(1, false));
    assert_eq!(e.says(old), ack());
    let stranger = e.accepts(1, Door::Asap, visitor(66));
    e.wait(999);
    e.hears(stranger, &keep_alive(66, true));
    assert_eq!(e.says(stranger), ack());
    assert_eq!(e.node.home(), Some(RegistrarId(1)));
    e.wait(1);
    e.hears(stranger, &keep_alive(66, true));
    assert_eq!(e.says(stranger), ack());
    assert_eq!(e.node.home(), Some(RegistrarId(66)));
    e.wait(500);
    e.says_registration(stranger);
    e.hears(stranger, &accepted());
    e.closes(old, Ending::Graceful);
    e.reports(Event::Registered { home: Some(RegistrarId(66)) });
    e.says_nothing_more();
}

#[test]
fn a_new_home_has_the_registration_before_the_old_one_loses_its_link() {
    let (mut e, old) = registered(SAFE);
    let from = SocketAddr::from(([10, 0, 0, 2], 3863));
    e.overhears(from, &Message::ServerAnnounce { server: RegistrarId(2), transports: Vec::new() });
    let new = e.accepts(1, Door::Asap, visitor(2));
    e.hears(new, &keep_alive(2, true));
    assert_eq!(e.says(new), ack());
    e.says_nothing_more();
    e.wait(500);
    assert_eq!(e.says_registration(new).home, RegistrarId(2));
    e.hears(old, &keep_alive(1, false)); // the old one still watches
    assert_eq!(e.says(old), ack());
    e.says_nothing_more();
    e.hears(new, &accepted());
    e.closes(old, Ending::Graceful);
    e.reports(Event::Registered { home: Some(RegistrarId(2)) });
    e.says_nothing_more();
}

#[test]
fn if_the_new_home_dies_before_it_accepted_the_old_one_is_home_again() {
    let (mut e, old) = registered(SAFE);
    let from = SocketAddr::from(([10, 0, 0, 2], 3863));
    e.overhears(from, &Message::ServerAnnounce { server: RegistrarId(2), transports: Vec::new() });
    let new = e.accepts(1, Door::Asap, visitor(2));
    e.hears(new, &keep_alive(2, true));
    assert_eq!(e.says(new), ack());
    e.ended(new, Cause::Lost);
    e.wait(500);
    e.says_registration(old);
    e.hears(old, &accepted());
    e.reports(Event::Registered { home: None });
    e.says_nothing_more();
}

#[test]
fn a_home_that_is_taken_back_while_it_was_being_left_keeps_its_link() {
    let (mut e, old) = registered(SAFE);
    for (id, last) in [(1, 1), (2, 2)] {
        let from = SocketAddr::from(([10, 0, 0, last], 3863));
        e.overhears(from, &Message::ServerAnnounce { server: RegistrarId(id), transports: Vec::new() });
    }
    let new = e.accepts(1, Door::Asap, visitor(2));
    e.hears(new, &keep_alive(2, true));
    assert_eq!(e.says(new), ack());
    e.hears(old, &keep_alive(1, true)); // after a partition both believe that they are the home
    assert_eq!(e.says(old), ack());
    e.says_nothing_more();
    e.wait(500);
    e.says_registration(old);
    e.hears(old, &accepted());
    e.closes(new, Ending::Graceful);
    e.reports(Event::Registered { home: Some(RegistrarId(1)) });
    e.says_nothing_more();
}

#[test]
fn after_its_home_died_an_element_takes_the_registrar_that_took_over() {
    let (mut e, old) = registered(SAFE);
    e.ended(old, Cause::Lost);
    let attempt = e.opens_to(&tcp(1));
    e.reports(Event::HomeLost);
    e.says_nothing_more();
    assert!(!e.node.is_registered());
    let new = e.accepts(1, Door::Asap, visitor(66)); // nobody we know, but there is no home to protect
    e.hears(new, &keep_alive(66, true));
    assert_eq!(e.says(new), ack());
    e.closes(attempt, Ending::Abort);
    e.wait(500);
    e.says_registration(new);
    e.hears(new, &accepted());
    e.reports(Event::Registered { home: Some(RegistrarId(66)) });
    e.says_nothing_more();
}

#[test]
fn deregistration_is_confirmed_and_then_there_is_silence() {
    let (mut e, link) = registered(SAFE);
    e.call(|element, now| element.deregister(now));
    assert_eq!(e.says(link), Message::Deregistration { handle: pool(), element: ElementId(5) });
    e.hears(link, &keep_alive(1, false));
    e.says_nothing_more();
    e.hears(
        link,
        &Message::DeregistrationResponse { handle: pool(), element: ElementId(5), causes: Vec::new() },
    );
    e.closes(link, Ending::Graceful);
    e.reports(Event::Deregistered);
    let session = e.accepts(9, Door::Service, visitor(9));
    e.wait(120_000);
    e.says_nothing_more();
    e.hears_bytes(session, Ppid(7), "x");
    assert_eq!(e.node.session_count(), 1, "sessions go on");
    e.call(|element, now| element.deregister(now));
    e.says_nothing_more();
}

#[test]
fn deregistration_without_any_registrar_ends_with_the_round() {
    let (mut e, link) = registered(SAFE);
    e.ended(link, Cause::Lost);
    let attempt = e.opens_to(&tcp(1));
    e.reports(Event::HomeLost);
    e.call(|element, now| element.deregister(now));
    e.says_nothing_more();
    e.ended(attempt, Cause::Unreachable);
    e.reports(Event::Deregistered);
    e.wait(120_000);
    e.says_nothing_more();
}

#[test]
fn an_element_that_never_registered_has_nothing_to_undo() {
    let mut e = element_with(config(SAFE, vec![tcp(1)]));
    e.wait(0);
    let attempt = e.opens_to(&tcp(1));
    e.call(|element, now| element.deregister(now));
    e.closes(attempt, Ending::Abort);
    e.reports(Event::Deregistered);
    e.says_nothing_more();
}

#[test]
fn a_life_that_ended_unasked_is_told_and_begun_anew() {
    let (mut e, link) = registered(SAFE);
    let gone =
        |id| Message::DeregistrationResponse { handle: pool(), element: ElementId(id), causes: vec![] };
    e.hears(link, &gone(6));
    e.says_nothing_more();
    e.hears(link, &gone(5));
    e.reports(Event::Expired);
    e.says_registration(link);
    e.hears(link, &accepted());
    e.reports(Event::Registered { home: None });
    e.says_nothing_more();
}

#[test]
fn visitors_are_bounded() {
    let (mut e, _) = registered(SAFE);
    for number in 0..8 {
        e.accepts(number, Door::Asap, visitor(9));
    }
    e.says_nothing_more();
    e.accepts(8, Door::Asap, visitor(9));
    e.closes(LinkId::Theirs(0), Ending::Abort);
    e.says_nothing_more();
}

/// Element 5, registered over SCTP at registrar 10.0.0.1.
fn registered_over_sctp() -> (TestElement, LinkId) {
    let mut e = element_with(config(SAFE, vec![crate::listen::sctp(1)]));
    e.wait(0);
    let link = e.opens_to(&crate::listen::sctp(1));
    e.up(link);
    e.says_registration(link);
    e.hears(link, &accepted());
    e.reports(Event::Registered { home: None });
    (e, link)
}

fn at(last: &[u8]) -> Transport {
    let addresses = last.iter().map(|&last| [10, 0, 1, last].into()).collect();
    Transport::Sctp { port: 7000, transport_use: TransportUse::DataAndControl, addresses }
}

#[test]
fn an_address_that_was_not_there_is_registered_over_a_new_link_before_the_old_one_ends() {
    let (mut e, old) = registered_over_sctp();
    e.call(|e, now| e.readdress(now, at(&[5, 6])));
    let new = e.opens_to(&crate::listen::sctp(1));
    // Once is enough.
    e.call(|e, now| e.readdress(now, at(&[5, 6, 7])));
    assert_eq!(e.says_registration(old).user_transport, at(&[5, 6, 7]), "at least what that link knows");
    e.hears(old, &accepted());
    e.up(new);
    e.says_nothing_more();
    e.wait(500);
    assert_eq!(e.says_registration(new).user_transport, at(&[5, 6, 7]));
    e.says_nothing_more();
    e.hears(new, &accepted());
    e.closes(old, Ending::Graceful);
    e.reports(Event::Registered { home: None });
    e.says_nothing_more();
}

#[test]
fn an_address_that_is_gone_is_told_over_the_link_there_is() {
    let (mut e, link) = registered_over_sctp();
    e.call(|e, now| e.readdress(now, at(&[5, 6])));
    let new = e.opens_to(&crate::listen::sctp(1));
    e.ended(new, Cause::Unreachable);
    e.says_nothing_more();
    e.call(|e, now| e.readdress(now, at(&[6])));
    assert_eq!(e.says_registration(link).user_transport, at(&[6]));
    e.says_nothing_more();
}

#[test]
fn a_home_that_is_lost_while_its_link_is_renewed_is_found_again_over_the_new_one() {
    let (mut e, old) = registered_over_sctp();
    e.call(|e, now| e.readdress(now, at(&[6])));
    let new = e.opens_to(&crate::listen::sctp(1));
    e.ended(old, Cause::Lost);
    e.reports(Event::HomeLost);
    e.up(new);
    e.wait(500);
    assert_eq!(e.says_registration(new).user_transport, at(&[6]));
}
