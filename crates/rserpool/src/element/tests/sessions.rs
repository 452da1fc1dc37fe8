use super::*;
use crate::link::Frame;
use crate::listen;
use crate::{Cause, Door, Ending};
use std::time::Duration;

const DATA: Ppid = Ppid(7);

/// An element with one session, whose registrar wants to hear nothing for a day.
fn serving() -> (TestElement, LinkId) {
    let mut config = config(Policy::RoundRobin, vec![tcp(1)]);
    config.timing.reregistration_interval = Duration::from_secs(86_400);
    config.timing.registration_life = Duration::from_secs(3 * 86_400);
    let mut e = element_with(config);
    e.wait(0);
    let home = e.opens_to(&tcp(1));
    e.up(home);
    e.says_registration(home);
    e.hears(home, &accepted());
    e.reports(Event::Registered { home: None });
    let link = e.accepts(1, Door::Service, tcp(50));
    e.says_nothing_more();
    (e, link)
}

fn told(e: &TestElement) -> &[Told] {
    &e.node.service().told
}

fn echo(text: &str) -> Message {
    Message::CookieEcho { cookie: text.into() }
}

/// A ping of a user that does not tell when the next one comes.
fn ping(e: &mut TestElement, link: LinkId) {
    e.hears_bytes(link, Ppid::LINK, Frame::Ping([0, 0, 0, 0, 1, 2, 3, 4]).emit());
    assert_eq!(e.says_bytes(link), (Ppid::LINK, Frame::Pong([0, 0, 0, 0, 1, 2, 3, 4]).emit()));
}

/// A ping of one that does.
fn ping_of(e: &mut TestElement, link: LinkId, pause: Duration) {
    let bytes = Frame::ping(1, pause).emit();
    let Some(Frame::Ping(content)) = Frame::parse(&bytes) else { unreachable!() };
    e.hears_bytes(link, Ppid::LINK, bytes);
    assert_eq!(e.says_bytes(link), (Ppid::LINK, Frame::Pong(content).emit()));
}

#[test]
fn a_session_is_told_from_beginning_to_end() {
    let (mut e, link) = serving();
    e.hears_bytes(link, DATA, "two");
    e.ended(link, Cause::Ended);
    e.hears_bytes(link, DATA, "late");
    e.ended(link, Cause::Lost);
    assert_eq!(told(&e), [Told::Opened(1), Told::Message(1, DATA, b"two".to_vec()), Told::Closed(1)]);
    e.says_nothing_more();
}

#[test]
fn a_cookie_echo_counts_once_and_only_before_data() {
    let (mut e, link) = serving();
    e.hears(link, &echo("work"));
    e.hears(link, &echo("more"));
    assert_eq!(told(&e), [Told::Opened(1), Told::Resume(1, b"work".to_vec())]);
    let late = e.accepts(2, Door::Service, tcp(51));
    e.hears_bytes(late, DATA, "x");
    e.hears(late, &echo("late"));
    assert_eq!(told(&e)[2..], [Told::Opened(2), Told::Message(2, DATA, b"x".to_vec())]);
    assert_eq!(e.node.ignored().unexpected, 2);
    e.says_nothing_more();
}

#[test]
fn replies_are_sent_in_order_and_closing_tells_the_service() {
    let (mut e, link) = serving();
    let next =
        vec![Do::Send(1, "sum"), Do::Cookie(1, "4444"), Do::Wish(9), Do::Close(1), Do::Send(1, "lost")];
    e.call(|element, now| element.with_service(now, |probe, _| probe.next = next));
    e.hears_bytes(link, DATA, "x");
    assert_eq!(e.says_bytes(link), (DATA, b"sum".to_vec()));
    assert_eq!(e.says(link), Message::Cookie { cookie: b"4444".to_vec() });
    e.reports(Event::Wish(9));
    e.closes(link, Ending::Graceful);
    e.says_nothing_more();
    assert_eq!(told(&e).last(), Some(&Told::Closed(1)));
    assert_eq!(e.node.session_count(), 0);
}

#[test]
fn where_there_is_no_control_channel_no_cookie_is_sent() {
    let mut config = config(Policy::RoundRobin, vec![]);
    config.user_transport = Transport::Sctp {
        port: 7000,
        transport_use: TransportUse::Data,
        addresses: vec![[10, 0, 1, 5].into()],
    };
    let mut e = element_with(config);
    let link = e.accepts(1, Door::Service, tcp(50));
    e.call(|element, now| element.with_service(now, |probe, _| probe.next = vec![Do::Cookie(1, "4444")]));
    e.hears_bytes(link, DATA, "x");
    e.call(|element, now| element.recommend(now, vec![listen::element(2)]));
    e.says_nothing_more();
}

#[test]
fn rubbish_on_a_session_is_counted_and_the_session_goes_on() {
    let (mut e, link) = serving();
    e.hears_bytes(link, Ppid::ASAP, [0x0c, 0, 0, 9]);
    e.hears_bytes(link, Ppid::LINK, [2, 0, 0, 0, 1]);
    e.hears_bytes(link, Ppid::ENRP, [1, 0, 0, 4]);
    e.hears(link, &Message::Cookie { cookie: b"4444".to_vec() });
    e.hears(link, &keep_alive(1, true));
    e.says_nothing_more();
    let ignored = e.node.ignored();
    assert_eq!((ignored.malformed, ignored.unexpected), (2, 3));
    e.hears(link, &echo("work"));
    assert_eq!(told(&e).last(), Some(&Told::Resume(1, b"work".to_vec())), "an echo may still come");
}

#[test]
fn more_sessions_than_allowed_are_aborted() {
    let mut e = element_with(Config { sessions_max: 1, ..config(Policy::RoundRobin, vec![]) });
    e.accepts(1, Door::Service, tcp(50));
    let second = e.accepts(2, Door::Service, tcp(51));
    e.closes(second, Ending::Abort);
    e.says_nothing_more();
    assert_eq!(told(&e), [Told::Opened(1)]);
    let enrp = e.accepts(3, Door::Enrp, tcp(51));
    e.closes(enrp, Ending::Abort);
}

#[test]
fn facts_of_the_world_reach_the_service() {
    let (mut e, _) = serving();
    e.call(|element, now| element.inform(now, 7));
    assert_eq!(told(&e).last(), Some(&Told::Fact(7)));
}

#[test]
fn pings_are_answered_and_a_user_that_stops_pinging_is_gone() {
    let (mut e, link) = serving();
    for _ in 0..3 {
        ping(&mut e, link);
        e.wait(250);
    }
    // It pings every 250 ms, so four missed ones are as long as the smallest limit, a second after the last.
    e.wait(749);
    assert_eq!(e.node.session_count(), 1);
    e.wait(1);
    e.closes(link, Ending::Abort);
    e.says_nothing_more();
    assert_eq!(told(&e), [Told::Opened(1), Told::Closed(1)]);
}

#[test]
fn a_user_with_slow_pings_is_given_four_of_its_own_pauses() {
    let (mut e, link) = serving();
    ping(&mut e, link);
    e.wait(5_000);
    ping(&mut e, link);
    e.wait(19_999);
    assert_eq!(e.node.session_count(), 1);
    e.wait(1);
    assert_eq!(e.node.session_count(), 0);
}

#[test]
fn a_user_that_tells_its_habit_is_missed_after_its_first_ping() {
    for (told, limit) in [(250, 1_000), (5_000, 20_000), (u64::MAX, 240_000)] {
        let (mut e, link) = serving();
        ping_of(&mut e, link, Duration::from_millis(told));
        e.wait(limit - 1);
        assert_eq!(e.node.session_count(), 1, "{told}");
        e.wait(1);
        e.closes(link, Ending::Abort);
        e.says_nothing_more();
        assert_eq!(self::told(&e), [Told::Opened(1), Told::Closed(1)]);
    }
}

#[test]
fn a_user_that_pings_once_and_does_not_tell_its_habit_may_be_silent() {
    let (mut e, link) = serving();
    ping(&mut e, link);
    e.wait(3_600_000);
    assert_eq!(e.node.session_count(), 1);
}

#[test]
fn a_user_that_never_pings_may_be_silent_for_ever() {
    let (mut e, link) = serving();
    e.hears_bytes(link, DATA, "x");
    e.wait(3_600_000);
    assert_eq!(e.node.session_count(), 1);
}

#[test]
fn an_element_that_was_held_up_does_not_blame_its_user() {
    let (mut e, link) = serving();
    ping(&mut e, link);
    e.wait(250);
    ping(&mut e, link);
    e.held_up(60_000);
    e.wait(0);
    assert_eq!(e.node.session_count(), 1);
    e.wait(999);
    assert_eq!(e.node.session_count(), 1);
    e.wait(1);
    assert_eq!(e.node.session_count(), 0);
}

#[test]
fn a_recommended_order_reaches_present_and_later_users_first_of_all() {
    let (mut e, first) = serving();
    let order = vec![listen::element(2), listen::element(3)];
    e.call(|element, now| element.recommend(now, order.clone()));
    let card = Message::BusinessCard { handle: pool(), elements: order };
    assert_eq!(e.says(first), card);
    let second = e.accepts(2, Door::Service, tcp(51));
    assert_eq!(e.says(second), card);
    e.says_nothing_more();
    e.call(|element, now| element.recommend(now, Vec::new()));
    e.accepts(3, Door::Service, tcp(52));
    e.says_nothing_more();
}
