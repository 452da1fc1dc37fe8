//! The hunt and the requests, heard through a user that resolves: the plainest node with a home.

use crate::listen::{Listener, element, pool, sctp, tcp};
use crate::user::{Config, Event, Failure, PoolUser};
use crate::wire::asap::{Message, Resolution};
use crate::wire::parameter::{CauseCode, ErrorCause};
use crate::{Cause, ElementId, Ending, Endpoint, LinkId, Policy, Ppid, Random, RegistrarId};
use std::net::SocketAddr;

type TestUser = Listener<PoolUser>;

fn user_of(registrars: Vec<Endpoint>) -> TestUser {
    Listener::to(PoolUser::new(Config::new(registrars), Random::from_seed(5)), PoolUser::check)
}

/// A user whose only registrar is up.
fn at_home() -> (TestUser, LinkId) {
    let mut u = user_of(vec![tcp(1)]);
    u.wait(0);
    let link = u.opens_to(&tcp(1));
    u.up(link);
    u.says_nothing_more();
    (u, link)
}

fn asked(items: u32) -> Message {
    Message::HandleResolution { subscribe: false, handle: pool(), items: Some(items) }
}

fn answer(id: u8) -> Message {
    let answer = Resolution::Elements { policy: None, elements: vec![element(id)] };
    Message::HandleResolutionResponse { accepted: false, handle: pool(), answer }
}

fn resolve(u: &mut TestUser) -> crate::user::ResolutionId {
    u.call(|user, now| user.resolve(now, pool(), 3))
}

#[test]
fn the_hunt_begins_at_the_first_wake_with_three_links_at_most() {
    let mut u = user_of((1..=5).map(tcp).collect());
    u.says_nothing_more();
    u.wait(0);
    let first = [u.opens(), u.opens(), u.opens()];
    u.says_nothing_more();
    // One fails: another is tried in its place (SH4). One comes up: the others are given up.
    u.ended(first[1].0, Cause::Unreachable);
    let fourth = u.opens();
    u.says_nothing_more();
    u.up(first[2].0);
    u.closes(first[0].0, Ending::Abort);
    u.closes(fourth.0, Ending::Abort);
    u.wait(100_000);
    u.says_nothing_more();
}

#[test]
fn a_round_in_vain_is_told_once_and_the_patience_doubles_up_to_its_limit() {
    let mut u = user_of(vec![tcp(1), tcp(2)]);
    let resolution = resolve(&mut u);
    let mut rounds = Vec::new();
    for round in 0..7 {
        let links = [u.opens().0, u.opens().0];
        u.says_nothing_more();
        let begun = u.now;
        u.ended(links[0], Cause::Unreachable);
        u.says_nothing_more();
        u.ended(links[1], Cause::Unreachable);
        if round == 0 {
            let result = Err(Failure::NoRegistrar { tried: 2 });
            u.reports(Event::Resolved { resolution, result });
        }
        u.says_nothing_more();
        let next = crate::Node::deadline(&u.node).expect("the hunt goes on");
        rounds.push(next.since(begun).as_millis());
        u.wait(next.since(u.now).as_millis() as u64 + 1);
    }
    for (round, &pause) in rounds.iter().enumerate() {
        let patience = (500u128 << round).min(5_000);
        assert!(
            (patience * 7 / 8..=patience * 9 / 8).contains(&pause),
            "round {round} lasted {pause} ms: {rounds:?}"
        );
    }
}

#[test]
fn whoever_does_not_answer_in_time_is_given_up_for_the_next_three() {
    let mut u = user_of((1..=4).map(tcp).collect());
    u.wait(0);
    let first = [u.opens(), u.opens(), u.opens()];
    u.says_nothing_more();
    u.wait(600);
    for (link, ..) in &first {
        u.closes(*link, Ending::Abort);
    }
    let (last, to, _) = u.opens();
    assert!(first.iter().all(|(_, tried, _)| *tried != to), "a different one (SH5)");
    u.says_nothing_more();
    u.up(last);
    u.says_nothing_more();
}

#[test]
fn requests_wait_for_the_home_and_answers_come_in_order() {
    let mut u = user_of(vec![tcp(1)]);
    let [first, second] = [resolve(&mut u), resolve(&mut u)];
    let link = u.opens_to(&tcp(1));
    u.says_nothing_more();
    u.up(link);
    assert_eq!([u.says(link), u.says(link)], [asked(3), asked(3)]);
    u.hears(link, &answer(1));
    u.reports(Event::Resolved { resolution: first, result: Ok((Policy::RoundRobin, vec![element(1)])) });
    u.hears(link, &answer(2));
    u.reports(Event::Resolved { resolution: second, result: Ok((Policy::RoundRobin, vec![element(2)])) });
    u.hears(link, &answer(3));
    u.says_nothing_more();
    assert_eq!(u.node.ignored().unexpected, 1);
}

#[test]
fn an_unanswered_resolution_is_repeated_beside_a_hunt_and_whoever_comes_up_is_the_new_home() {
    let mut u = user_of(vec![tcp(1), tcp(2)]);
    u.wait(0);
    let (one, first, _) = u.opens();
    let (two, second, _) = u.opens();
    u.up(one);
    u.closes(two, Ending::Abort);
    let resolution = resolve(&mut u);
    assert_eq!(u.says(one), asked(3));
    u.wait(299);
    u.says_nothing_more();
    u.wait(1); // T1
    assert_eq!(u.says(one), asked(3));
    let other = u.opens_to(&second);
    u.says_nothing_more();
    u.up(other);
    assert_eq!(u.says(other), asked(3));
    u.closes(one, Ending::Graceful);
    u.hears(other, &answer(1));
    u.reports(Event::Resolved { resolution, result: Ok((Policy::RoundRobin, vec![element(1)])) });
    u.wait(60_000);
    u.says_nothing_more();
    assert_ne!(first, second);
}

#[test]
fn a_home_that_answers_late_is_kept_and_answers_only_once() {
    let mut u = user_of(vec![tcp(1), tcp(2)]);
    u.wait(0);
    let (one, _, _) = u.opens();
    let (two, second, _) = u.opens();
    u.up(one);
    u.closes(two, Ending::Abort);
    let resolution = resolve(&mut u);
    u.says(one);
    u.wait(300);
    u.says(one);
    let other = u.opens_to(&second);
    u.hears(one, &answer(1));
    u.closes(other, Ending::Abort);
    u.reports(Event::Resolved { resolution, result: Ok((Policy::RoundRobin, vec![element(1)])) });
    u.hears(one, &answer(1)); // to the repeated question
    u.wait(60_000);
    u.says_nothing_more();
    assert_eq!(u.node.ignored().unexpected, 0);
}

#[test]
fn after_two_repetitions_the_application_is_told() {
    let (mut u, link) = at_home();
    let resolution = resolve(&mut u);
    for _ in 0..3 {
        assert_eq!(u.says(link), asked(3));
        u.says_nothing_more();
        u.wait(300);
    }
    u.reports(Event::Resolved { resolution, result: Err(Failure::NoRegistrar { tried: 3 }) });
    u.wait(60_000);
    u.says_nothing_more();
}

#[test]
fn what_a_lost_home_did_not_answer_is_asked_elsewhere() {
    let mut u = user_of(vec![tcp(1), tcp(2)]);
    u.wait(0);
    let (one, first, _) = u.opens();
    let (two, second, _) = u.opens();
    u.up(one);
    u.closes(two, Ending::Abort);
    let resolution = resolve(&mut u);
    u.says(one);
    u.ended(one, Cause::Lost);
    // RFC 5352 §3.7.1: not at the same registrar first.
    let next = u.opens_to(&second);
    let last = u.opens_to(&first);
    u.up(next);
    u.closes(last, Ending::Abort);
    assert_eq!(u.says(next), asked(3));
    u.hears(next, &answer(4));
    u.reports(Event::Resolved { resolution, result: Ok((Policy::RoundRobin, vec![element(4)])) });
    u.says_nothing_more();
}

#[test]
fn an_asap_error_fails_the_oldest_request_and_keeps_the_link() {
    let (mut u, link) = at_home();
    let resolution = resolve(&mut u);
    u.says(link);
    let causes = vec![ErrorCause { code: CauseCode::INVALID_VALUES, info: vec![] }];
    u.hears(link, &Message::Error { causes: causes.clone() });
    u.reports(Event::Resolved { resolution, result: Err(Failure::Refused(causes.clone())) });
    u.hears(link, &Message::Error { causes });
    u.says_nothing_more();
    assert_eq!(u.node.ignored().unexpected, 1);
}

#[test]
fn an_announced_registrar_is_called_at_once_by_a_hunt_that_has_nobody() {
    let mut u = user_of(vec![]);
    let resolution = resolve(&mut u);
    u.reports(Event::Resolved { resolution, result: Err(Failure::NoRegistrar { tried: 0 }) });
    u.says_nothing_more();
    let from = SocketAddr::from(([10, 0, 0, 9], 3863));
    u.overhears(from, &Message::ServerAnnounce { server: RegistrarId(9), transports: vec![] });
    let (link, to, greeting) = u.opens();
    assert_eq!((to, greeting.wanted), (sctp(9), 0), "whoever is there now");
    u.overhears(from, &Message::ServerAnnounce { server: RegistrarId(9), transports: vec![] });
    u.says_nothing_more();
    u.up(link);
    u.wait(60_000);
    u.says_nothing_more();
}

#[test]
fn a_home_that_owes_too_many_answers_is_given_up() {
    let (mut u, link) = at_home();
    for _ in 0..1_400 {
        resolve(&mut u);
    }
    u.wait(900); // all asked three times, none answered
    u.is_not_listened_to();
    resolve(&mut u);
    u.closes(link, Ending::Abort);
    let again = u.opens_to(&tcp(1));
    u.says_nothing_more();
    u.up(again);
    assert_eq!(u.says(again), asked(3));
    u.says_nothing_more();
}

#[test]
fn registrars_that_hang_up_at_once_are_not_called_in_a_busy_loop() {
    let mut u = user_of(vec![tcp(1)]);
    u.wait(0);
    for _ in 0..3 {
        let link = u.opens_to(&tcp(1));
        u.up(link);
        u.ended(link, Cause::Ended);
    }
    u.says_nothing_more();
    u.wait(400);
    u.says_nothing_more();
    u.wait(200);
    u.opens_to(&tcp(1));
    u.says_nothing_more();
}

#[test]
fn rubbish_is_counted_and_pings_are_answered() {
    let (mut u, link) = at_home();
    u.hears_bytes(link, Ppid::ASAP, [1, 2, 3]);
    u.hears_bytes(link, Ppid::LINK, [9; 12]);
    u.hears_bytes(link, Ppid(0), [1]);
    u.hears_bytes(LinkId::Ours(99), Ppid::ASAP, [1]);
    u.hears(link, &Message::EndpointKeepAliveAck { handle: pool(), element: ElementId(1) });
    u.says_nothing_more();
    let ignored = u.node.ignored();
    assert_eq!((ignored.malformed, ignored.unexpected), (2, 2));
    u.hears_bytes(link, Ppid::LINK, crate::link::Frame::Ping([7; 8]).emit());
    assert_eq!(u.says_bytes(link), (Ppid::LINK, crate::link::Frame::Pong([7; 8]).emit()));
    u.says_nothing_more();
}
