//! A user, heard from both sides: its registrar and the elements of its sessions.

use super::{Config, Event, FailoverCause, Failure, PoolUser, SendError, SessionId, SessionOptions};
use crate::link::Frame;
use crate::listen::{Listener, element, pool, service_of, tcp};
use crate::wire::asap::{Message, Resolution};
use crate::wire::parameter::{CauseCode, ErrorCause, PoolElement, Transport, TransportUse};
use crate::{Cause, Door, ElementId, Ending, LinkId, Node, PoolHandle, Ppid, Random, Role};
use std::collections::BTreeSet;
use std::time::Duration;

const DATA: Ppid = Ppid(7);
const FIRST: SessionId = SessionId(1);

type TestUser = Listener<PoolUser>;

/// A user whose registrar is up, and the link to it.
fn user_with(config: Config) -> (TestUser, LinkId) {
    let mut u = Listener::to(PoolUser::new(config, Random::from_seed(11)), PoolUser::check);
    u.wait(0);
    let home = u.opens_to(&tcp(1));
    u.up(home);
    u.says_nothing_more();
    (u, home)
}

fn user() -> (TestUser, LinkId) {
    user_with(Config::new(vec![tcp(1)]))
}

/// A user with a session at element 1.
fn connected(options: SessionOptions) -> (TestUser, LinkId, LinkId) {
    let (mut u, home) = user();
    let heartbeat = options.heartbeat;
    let id = u.call(|user, now| user.open(now, pool(), options));
    assert_eq!(id, FIRST);
    u.asks(home, 1);
    u.hears(home, &answer(&[1]));
    let link = u.opens_to(&service_of(1));
    u.says_nothing_more();
    u.up(link);
    u.reports(connected_to(1, false, false));
    if heartbeat {
        u.pings(link);
    }
    u.says_nothing_more();
    (u, home, link)
}

impl TestUser {
    #[track_caller]
    fn asks(&mut self, home: LinkId, items: u32) {
        let asked = Message::HandleResolution { subscribe: false, handle: pool(), items: Some(items) };
        assert_eq!(self.says(home), asked);
    }

    #[track_caller]
    fn reports_unreachable(&mut self, home: LinkId, id: u32) {
        let report = Message::EndpointUnreachable { handle: pool(), element: ElementId(id) };
        assert_eq!(self.says(home), report);
    }

    #[track_caller]
    fn fails_over(&mut self, from: u32, cause: FailoverCause) {
        self.reports(Event::FailingOver { session: FIRST, from: Some(ElementId(from)), cause });
    }

    #[track_caller]
    fn pings(&mut self, link: LinkId) {
        let (ppid, bytes) = self.says_bytes(link);
        let Some(Frame::Ping(content)) = Frame::parse(&bytes) else { panic!("no ping: {bytes:?}") };
        assert_eq!((ppid, Frame::pause(content)), (Ppid::LINK, Duration::from_millis(250)));
    }
}

fn answer(ids: &[u8]) -> Message {
    elements(ids.iter().map(|&id| element(id)).collect())
}

fn elements(elements: Vec<PoolElement>) -> Message {
    let answer = Resolution::Elements { policy: None, elements };
    Message::HandleResolutionResponse { accepted: false, handle: pool(), answer }
}

fn unknown() -> Message {
    let causes = vec![ErrorCause { code: CauseCode::UNKNOWN_POOL_HANDLE, info: Vec::new() }];
    Message::HandleResolutionResponse {
        accepted: false,
        handle: pool(),
        answer: Resolution::Failed { causes },
    }
}

fn connected_to(id: u32, resumed: bool, failed_over: bool) -> Event {
    Event::Connected { session: FIRST, element: ElementId(id), resumed, failed_over }
}

fn cookie(text: &str) -> Message {
    Message::Cookie { cookie: text.into() }
}

fn patient() -> SessionOptions {
    SessionOptions::default()
}

fn watchful() -> SessionOptions {
    SessionOptions { heartbeat: true, ..SessionOptions::default() }
}

#[test]
fn a_session_is_greeted_carries_data_and_ends() {
    let (mut u, home) = user();
    let id = u.call(|user, now| user.open(now, pool(), patient()));
    let send = |u: &mut TestUser, ppid, text: &str| u.call(|user, now| user.send(now, id, ppid, text.into()));
    assert_eq!(send(&mut u, DATA, "early"), Err(SendError::NotConnected));
    u.asks(home, 1);
    u.hears(home, &answer(&[1]));
    let (link, to, greeting) = u.opens();
    assert_eq!(
        (to, greeting.role, greeting.wanted, greeting.pool),
        (service_of(1), Role::User, 1, Some(pool()))
    );
    u.up(link);
    u.reports(connected_to(1, false, false));
    assert_eq!(send(&mut u, DATA, "2"), Ok(()));
    assert_eq!(u.says_bytes(link), (DATA, b"2".to_vec()));
    for ppid in [Ppid::ASAP, Ppid::ENRP, Ppid::LINK] {
        assert_eq!(send(&mut u, ppid, "2"), Err(SendError::NotData));
    }
    assert_eq!(send(&mut u, DATA, ""), Err(SendError::NotData));
    u.hears_bytes(link, DATA, "4");
    u.reports(Event::Message { session: id, ppid: DATA, bytes: b"4".to_vec() });
    u.call(|user, now| user.close(now, id));
    u.closes(link, Ending::Graceful);
    u.hears_bytes(link, DATA, "5");
    u.ended(link, Cause::Lost);
    u.wait(60_000);
    u.says_nothing_more();
    assert_eq!(send(&mut u, DATA, "2"), Err(SendError::UnknownSession));
}

#[test]
fn the_newest_cookie_is_the_first_word_to_the_next_element() {
    let (mut u, home, link) = connected(patient());
    u.hears(link, &cookie("1111"));
    u.hears(link, &cookie("22222222"));
    u.hears_bytes(link, Ppid::ASAP, [0x0b, 0, 0, 12, 0x80, 0x0c, 0, 8, 1, 2]); // a cookie cut off: not complete
    assert_eq!(u.node.cookie(FIRST), Some(&b"22222222"[..]));
    u.ended(link, Cause::Lost);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Lost);
    u.asks(home, 2);
    u.hears(home, &answer(&[1, 2]));
    let next = u.opens_to(&service_of(2));
    assert_eq!(u.says(next), Message::CookieEcho { cookie: b"22222222".to_vec() });
    u.says_nothing_more();
    u.hears(link, &cookie("9999")); // from an element that is no longer ours
    u.up(next);
    u.reports(connected_to(2, true, true));
    assert_eq!(u.node.cookie(FIRST), Some(&b"22222222"[..]));
    u.says_nothing_more();
}

#[test]
fn an_element_that_failed_is_chosen_again_only_if_there_is_nobody_else() {
    let (mut u, home, link) = connected(patient());
    u.ended(link, Cause::Lost);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Lost);
    u.asks(home, 2);
    u.hears(home, &answer(&[1]));
    let again = u.opens_to(&service_of(1));
    u.up(again);
    u.reports(connected_to(1, false, true));
    u.says_nothing_more();
}

#[test]
fn several_failures_in_a_row_are_paused_for_and_the_pause_is_forgotten_after_a_useful_second() {
    let (mut u, home, mut link) = connected(patient());
    let mut pauses = Vec::new();
    for failure in 0..5u32 {
        u.ended(link, Cause::Ended); // the element does not want us: no report
        u.fails_over(1, FailoverCause::Ended);
        let mut pause = 0;
        if failure > 0 {
            u.says_nothing_more();
            let before = u.now;
            let retry = u.node.deadline().expect("a pause ends");
            pause = retry.since(before).as_millis();
            u.wait(pause as u64 + 1);
        }
        pauses.push(pause);
        u.asks(home, 2);
        u.hears(home, &answer(&[1]));
        link = u.opens_to(&service_of(1));
        u.up(link);
        u.reports(connected_to(1, false, true));
        u.says_nothing_more();
    }
    for (failure, &pause) in pauses.iter().enumerate().skip(1) {
        let wanted = 50u128 << (failure - 1);
        assert!((wanted * 7 / 8 - 1..=wanted * 9 / 8).contains(&pause), "{pauses:?}");
    }
    u.wait(1_000);
    u.ended(link, Cause::Ended);
    u.fails_over(1, FailoverCause::Ended);
    u.asks(home, 2);
    u.says_nothing_more();
}

#[test]
fn an_element_that_does_not_answer_is_reported_and_left() {
    let (mut u, home) = user();
    u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    u.hears(home, &answer(&[1]));
    let link = u.opens_to(&service_of(1));
    u.wait(999);
    u.says_nothing_more();
    u.wait(1);
    u.closes(link, Ending::Abort);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Unreachable);
    u.asks(home, 2);
    u.hears(home, &answer(&[1, 2]));
    let next = u.opens_to(&service_of(2));
    u.ended(next, Cause::Unreachable);
    u.reports_unreachable(home, 2);
    u.fails_over(2, FailoverCause::Unreachable);
    u.says_nothing_more();
    u.wait(60);
    u.asks(home, 3);
    u.hears(home, &answer(&[1, 2, 3]));
    u.opens_to(&service_of(3));
    u.says_nothing_more();
}

#[test]
fn who_aborts_is_reachable_and_not_reported() {
    let (mut u, home, link) = connected(patient());
    u.ended(link, Cause::Aborted);
    u.fails_over(1, FailoverCause::Ended);
    u.asks(home, 2);
    u.says_nothing_more();
}

#[test]
fn one_dead_element_is_reported_once_whatever_number_of_sessions_it_held() {
    let (mut u, home, link) = connected(patient());
    let second = u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    u.hears(home, &answer(&[1]));
    let other = u.opens_to(&service_of(1));
    u.up(other);
    u.reports(Event::Connected {
        session: second,
        element: ElementId(1),
        resumed: false,
        failed_over: false,
    });
    u.ended(link, Cause::Lost);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Lost);
    u.asks(home, 2);
    u.ended(other, Cause::Lost);
    let (from, cause) = (Some(ElementId(1)), FailoverCause::Lost);
    u.reports(Event::FailingOver { session: second, from, cause });
    u.asks(home, 2);
    u.says_nothing_more();
}

#[test]
fn the_application_may_report_only_an_element_it_has_sent_to() {
    let (mut u, home, link) = connected(patient());
    u.call(|user, now| user.fail_over(now, FIRST, true));
    u.closes(link, Ending::Abort);
    u.fails_over(1, FailoverCause::Asked);
    u.asks(home, 2);
    u.hears(home, &answer(&[1, 2]));
    let next = u.opens_to(&service_of(2));
    u.up(next);
    u.reports(connected_to(2, false, true));
    u.call(|user, now| user.send(now, FIRST, DATA, b"x".to_vec())).expect("connected");
    u.says_bytes(next);
    u.call(|user, now| user.fail_over(now, FIRST, true));
    u.closes(next, Ending::Abort);
    u.reports_unreachable(home, 2);
    u.fails_over(2, FailoverCause::Asked);
    u.says_nothing_more();
}

#[test]
fn an_element_that_stops_answering_is_noticed_by_the_user_itself() {
    let (mut u, home, link) = connected(watchful());
    for _ in 0..3 {
        u.wait(250);
        u.pings(link);
        u.hears_bytes(link, Ppid::LINK, Frame::Pong([0; 8]).emit());
        u.says_nothing_more();
    }
    u.wait(999); // 1 s after the last pong, less one
    for _ in 0..3 {
        u.pings(link);
    }
    u.says_nothing_more();
    u.wait(1);
    u.pings(link);
    u.closes(link, Ending::Abort);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Hung);
    u.asks(home, 2);
    u.says_nothing_more();
}

#[test]
fn whatever_an_element_says_is_a_sign_of_life() {
    let (mut u, _, link) = connected(watchful());
    for _ in 0..10 {
        u.wait(500);
        u.pings(link);
        u.pings(link);
        u.hears(link, &cookie("1111"));
    }
    u.says_nothing_more();
}

#[test]
fn a_user_that_was_held_up_asks_again_before_it_judges() {
    let (mut u, home, link) = connected(watchful());
    u.held_up(30_000);
    u.wait(0);
    u.pings(link);
    u.pings(link);
    u.says_nothing_more();
    u.wait(999);
    for _ in 0..3 {
        u.pings(link);
    }
    u.says_nothing_more();
    u.wait(1);
    u.pings(link);
    u.closes(link, Ending::Abort);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Hung);
    u.asks(home, 2);
}

#[test]
fn nobody_is_called_silent_whose_links_are_not_read() {
    let (mut u, home, link) = connected(watchful());
    // A second session waits for an answer of the registrar, which cannot be read either.
    let second = u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    u.deaf(60_000);
    // It goes on to ask for signs of life: the element may be waiting for them.
    (0..240).for_each(|_| u.pings(link));
    u.says_nothing_more();
    u.hears(home, &answer(&[2]));
    let other = u.opens_to(&service_of(2));
    u.up(other);
    u.reports(Event::Connected {
        session: second,
        element: ElementId(2),
        resumed: false,
        failed_over: false,
    });
    // Then there is as much time for them as ever.
    u.wait(999);
    (0..3).for_each(|_| u.pings(link));
    u.says_nothing_more();
    u.wait(1);
    u.pings(link);
    u.closes(link, Ending::Abort);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Hung);
}

#[test]
fn sessions_without_heartbeats_are_silent() {
    let (mut u, ..) = connected(patient());
    u.wait(3_600_000);
    u.says_nothing_more();
}

#[test]
fn what_a_hung_element_says_late_is_heard_for_a_while() {
    let options = SessionOptions { late_patience: Duration::from_secs(5), ..watchful() };
    let (mut u, home, link) = connected(options);
    u.wait(1_000);
    for _ in 0..4 {
        u.pings(link);
    }
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Hung);
    u.asks(home, 2);
    u.hears(home, &answer(&[2]));
    let next = u.opens_to(&service_of(2));
    u.up(next);
    u.reports(connected_to(2, false, true));
    u.pings(next);
    u.hears_bytes(link, DATA, "late");
    let (session, element) = (FIRST, ElementId(1));
    u.reports(Event::Late { session, element, ppid: DATA, bytes: b"late".to_vec() });
    u.hears(link, &cookie("1111"));
    assert_eq!(u.node.cookie(FIRST), None);
    u.hears_bytes(next, DATA, "now");
    u.reports(Event::Message { session, ppid: DATA, bytes: b"now".to_vec() });
    u.call(|user, now| user.forget_former(now, FIRST));
    u.closes(link, Ending::Abort);
    u.hears_bytes(link, DATA, "too late");
    u.says_nothing_more();
}

#[test]
fn late_links_end_with_their_patience_even_after_their_session() {
    let options = SessionOptions { late_patience: Duration::from_millis(200), ..watchful() };
    for closed in [false, true] {
        let (mut u, home, link) = connected(options.clone());
        u.wait(1_000);
        for _ in 0..4 {
            u.pings(link);
        }
        u.reports_unreachable(home, 1);
        u.fails_over(1, FailoverCause::Hung);
        u.asks(home, 2);
        if closed {
            u.call(|user, now| user.close(now, FIRST));
        }
        u.wait(199);
        u.says_nothing_more();
        u.wait(1);
        u.closes(link, Ending::Abort);
        u.says_nothing_more();
    }
}

#[test]
fn an_unknown_pool_is_waited_for() {
    let (mut u, home) = user();
    u.call(|user, now| user.open(now, pool(), patient()));
    let why = Failure::UnknownPool;
    for _ in 0..4 {
        u.asks(home, 1);
        u.hears(home, &unknown());
        u.reports(Event::Waiting { session: FIRST, why: why.clone() });
        u.says_nothing_more();
        let retry = u.node.deadline().expect("it tries again");
        u.wait(retry.since(u.now).as_millis() as u64 + 1);
    }
    u.asks(home, 1);
    u.hears(home, &answer(&[1]));
    u.opens_to(&service_of(1));
    u.says_nothing_more();
}

#[test]
fn elements_that_hold_no_sessions_with_us_are_passed_over() {
    let (mut u, home) = user();
    u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    let address = [10, 0, 1, 3].into();
    let of = |id, user_transport| PoolElement { user_transport, ..element(id) };
    let plain = of(1, Transport::Tcp { port: 7, transport_use: TransportUse::Data, address });
    let udp = of(2, Transport::Udp { port: 7, address });
    let addresses = vec![address, [10, 0, 2, 3].into()];
    let good = Transport::Sctp { port: 7, transport_use: TransportUse::DataAndControl, addresses };
    u.hears(home, &elements(vec![plain.clone(), udp.clone(), of(3, good)]));
    let (_, to, _) = u.opens();
    assert_eq!(to.to_string(), "sctp://10.0.1.3:7,10.0.2.3:7");
    u.says_nothing_more();

    let (mut u, home) = user();
    u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    u.hears(home, &elements(vec![plain, udp]));
    u.reports(Event::Waiting { session: FIRST, why: Failure::UnknownPool });
    u.says_nothing_more();
}

#[test]
fn while_no_registrar_is_found_sessions_are_told_once_per_round_and_go_on_waiting() {
    let mut u =
        Listener::to(PoolUser::new(Config::new(vec![tcp(1)]), Random::from_seed(11)), PoolUser::check);
    u.call(|user, now| user.open(now, pool(), patient()));
    let attempt = u.opens_to(&tcp(1));
    u.ended(attempt, Cause::Unreachable);
    u.reports(Event::Waiting { session: FIRST, why: Failure::NoRegistrar { tried: 1 } });
    u.says_nothing_more();
    u.wait(600);
    let attempt = u.opens_to(&tcp(1));
    u.says_nothing_more();
    u.up(attempt);
    u.asks(attempt, 1);
    u.says_nothing_more();
}

#[test]
fn a_session_for_one_element_fails_when_that_is_gone() {
    let options = SessionOptions { only: Some(ElementId(2)), ..patient() };
    let (mut u, home) = user();
    u.call(|user, now| user.open(now, pool(), options.clone()));
    u.asks(home, u32::MAX);
    u.hears(home, &answer(&[1, 2, 3]));
    let link = u.opens_to(&service_of(2));
    u.up(link);
    u.reports(connected_to(2, false, false));
    u.ended(link, Cause::Ended);
    u.fails_over(2, FailoverCause::Ended);
    u.asks(home, u32::MAX);
    u.hears(home, &answer(&[1, 2, 3]));
    let link = u.opens_to(&service_of(2)); // still there: the same again
    u.up(link);
    u.reports(connected_to(2, false, true));
    u.ended(link, Cause::Ended);
    u.fails_over(2, FailoverCause::Ended);
    u.wait(60);
    u.asks(home, u32::MAX);
    u.hears(home, &answer(&[1, 3]));
    u.reports(Event::Failed { session: FIRST, why: Failure::ElementGone });
    u.wait(60_000);
    u.says_nothing_more();
    assert_eq!(u.node.session_count(), 0);
}

#[test]
fn avoided_elements_are_taken_only_if_there_is_nobody_else() {
    let avoid = BTreeSet::from([ElementId(1), ElementId(2)]);
    for (named, taken) in [(&[1, 2, 3][..], 3), (&[1, 2], 1)] {
        let (mut u, home) = user();
        let options = SessionOptions { avoid: avoid.clone(), ..patient() };
        u.call(|user, now| user.open(now, pool(), options));
        u.asks(home, 3);
        u.hears(home, &answer(named));
        u.opens_to(&service_of(taken));
        u.says_nothing_more();
    }
}

#[test]
fn a_business_card_gives_the_order_of_fail_over() {
    let (mut u, home, link) = connected(patient());
    let card = |handle| Message::BusinessCard { handle, elements: vec![element(1), element(9), element(3)] };
    u.hears(link, &card(PoolHandle::new("other").expect("legal")));
    u.hears(link, &card(pool()));
    u.ended(link, Cause::Lost);
    u.reports_unreachable(home, 1);
    u.fails_over(1, FailoverCause::Lost);
    u.asks(home, u32::MAX);
    u.hears(home, &answer(&[1, 2, 3]));
    u.opens_to(&service_of(3));
    u.says_nothing_more();
    assert_eq!(u.node.ignored().unexpected, 1);
}

#[test]
fn an_element_known_from_a_resolution_needs_no_registrar() {
    let (mut u, home) = user();
    u.call(|user, now| user.open_at(now, pool(), element(4), patient()));
    let link = u.opens_to(&service_of(4));
    u.says_nothing_more();
    u.ended(link, Cause::Unreachable);
    u.reports_unreachable(home, 4);
    u.fails_over(4, FailoverCause::Unreachable);
    u.asks(home, 2);
    u.says_nothing_more();
}

#[test]
fn a_fresh_cache_is_used_without_asking_and_a_stale_one_is_not() {
    let config = Config { stale_cache_value: Duration::from_secs(3), ..Config::new(vec![tcp(1)]) };
    let (mut u, home) = user_with(config);
    let resolution = u.call(|user, now| user.resolve(now, pool(), 9));
    u.asks(home, 9);
    u.hears(home, &answer(&[1, 2]));
    let result = Ok((crate::Policy::RoundRobin, vec![element(1), element(2)]));
    u.reports(Event::Resolved { resolution, result });
    let open = |u: &mut TestUser| u.call(|user, now| user.open(now, pool(), patient()));
    let close = |u: &mut TestUser, id| u.call(|user, now| user.close(now, id));
    let mut used = Vec::new();
    for _ in 0..4 {
        let id = open(&mut u);
        let (link, to, _) = u.opens();
        used.push(to);
        u.says_nothing_more();
        close(&mut u, id);
        u.closes(link, Ending::Abort);
    }
    assert_eq!(
        used,
        [service_of(1), service_of(2), service_of(1), service_of(2)],
        "in turn, as the policy says"
    );
    // A reported element is forgotten at once.
    open(&mut u);
    let link = u.opens_to(&service_of(1));
    u.ended(link, Cause::Unreachable);
    u.reports_unreachable(home, 1);
    let session = SessionId(6);
    let (from, cause) = (Some(ElementId(1)), FailoverCause::Unreachable);
    u.reports(Event::FailingOver { session, from, cause });
    let link = u.opens_to(&service_of(2));
    close(&mut u, session);
    u.closes(link, Ending::Abort);
    u.wait(3_000);
    open(&mut u);
    assert!(matches!(u.says(home), Message::HandleResolution { .. }));
    u.says_nothing_more();
}

#[test]
fn closing_in_any_stage_leaves_nothing_behind() {
    let (mut u, home) = user();
    let close = |u: &mut TestUser, id| u.call(|user, now| user.close(now, id));
    let resolving = u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    close(&mut u, resolving);
    u.hears(home, &answer(&[1])); // nobody waits for it
    u.says_nothing_more();
    let connecting = u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    u.hears(home, &answer(&[1]));
    let link = u.opens_to(&service_of(1));
    close(&mut u, connecting);
    u.closes(link, Ending::Abort);
    u.up(link);
    let pausing = u.call(|user, now| user.open(now, pool(), patient()));
    u.asks(home, 1);
    u.hears(home, &unknown());
    u.reports(Event::Waiting { session: pausing, why: Failure::UnknownPool });
    close(&mut u, pausing);
    u.wait(60_000);
    u.says_nothing_more();
    assert_eq!(u.node.session_count(), 0);
}

#[test]
fn rubbish_is_counted_and_nobody_may_call_a_user() {
    let (mut u, _, link) = connected(patient());
    u.hears_bytes(link, Ppid::ASAP, [0xff]);
    u.hears_bytes(link, Ppid::LINK, [0xff]);
    u.hears_bytes(link, Ppid::ENRP, [0xff]);
    u.hears(link, &Message::CookieEcho { cookie: b"1111".to_vec() });
    let ignored = u.node.ignored();
    assert_eq!((ignored.malformed, ignored.unexpected), (2, 2));
    for (number, door) in [Door::Asap, Door::Service, Door::Enrp].into_iter().enumerate() {
        let link = u.accepts(number as u64, door, tcp(9));
        u.closes(link, Ending::Abort);
    }
    u.says_nothing_more();
}
