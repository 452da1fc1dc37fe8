//! Signs of life, reports, life times, probes.

use super::*;

fn report(number: u8) -> Message {
    Message::EndpointUnreachable { handle: handle("fractal"), element: ElementId(number.into()) }
}

fn gone(number: u8, why: Removal) -> Event {
    Event::ElementRemoved { handle: handle("fractal"), element: ElementId(number.into()), home: ME, why }
}

/// Passes to the next question to element `number` on `link`, which has to come within the jitter's reach.
fn asked(r: &mut TestRegistrar, link: LinkId, number: u8) {
    let pause = timing().keep_alive_interval;
    r.pass(pause / 2 - Duration::from_millis(1));
    assert!(r.take_enrp().is_empty());
    let begun = r.now;
    while r.now.since(begun) <= pause + Duration::from_millis(2) {
        r.pass(Duration::from_millis(1));
        if !r.quiet() {
            r.says(link, &keep_alive(number, false));
            return;
        }
    }
    panic!("no question within the pause and its jitter");
}

#[test]
fn a_silent_element_is_asked_twice_and_then_gone() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    asked(&mut r, link, 1);
    let patience = timing().keep_alive_timeout;
    r.pass(patience / 2 - Duration::from_millis(1));
    r.says_nothing_more();
    r.pass(Duration::from_millis(1));
    r.says(link, &keep_alive(1, false));
    r.pass(patience / 2 - Duration::from_millis(2));
    assert!(r.has(1));
    r.tells_nothing_more();
    r.pass(Duration::from_millis(2));
    r.tells(&gone(1, Removal::Silent));
    // Its process may only hang: the end of the link tells it.
    r.closes(link, Ending::Abort);
    r.says_nothing_more();
}

#[test]
fn an_element_that_answers_stays_for_ever() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    for _ in 0..50 {
        asked(&mut r, link, 1);
        r.hears(link, &ack(1));
    }
    assert!(r.has(1));
    r.says_nothing_more();
    r.tells_nothing_more();
}

#[test]
fn an_answer_counts_only_on_the_link_that_registered() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    let stranger = r.accepts(Door::Asap, 2);
    asked(&mut r, link, 1);
    r.hears(stranger, &ack(1));
    r.tells(&Event::Rejected { door: Some(Door::Asap), reason: Rejection::NotOwner });
    r.pass(timing().keep_alive_timeout);
    r.tells(&gone(1, Removal::Silent));
}

#[test]
fn a_registrar_that_was_held_up_convicts_nobody() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    asked(&mut r, link, 1);
    // It stands still for half a minute; every alarm is late.
    r.stall(Duration::from_secs(30));
    r.says(link, &keep_alive(1, false));
    r.stall(Duration::from_secs(30));
    r.says(link, &keep_alive(1, false));
    r.tells_nothing_more();
    assert!(r.has(1));
    // The answer comes.
    r.hears(link, &ack(1));
    r.pass(timing().keep_alive_interval / 2 - Duration::from_millis(1));
    r.says_nothing_more();
    // It is awake again, and the element really silent.
    r.pass(timing().hung_element_max(Duration::ZERO));
    r.tells(&gone(1, Removal::Silent));
}

#[test]
fn a_lost_link_takes_its_elements_along() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    r.registers(link, 1);
    let (handle, element) = (handle("other"), element(1));
    r.hears(link, &Message::Registration { handle, element });
    let stays = r.has_element(2);
    r.loses(link);
    r.tells(&Event::ElementRemoved { handle, element: ElementId(1), home: ME, why: Removal::LinkLost });
    r.tells(&gone(1, Removal::LinkLost));
    r.tells_nothing_more();
    assert!(r.has(2));
    r.loses(stays);
    assert!(r.node.handlespace().is_empty());
    r.take_said();
    r.pass(Duration::from_secs(60));
    r.says_nothing_more();
}

#[test]
fn a_registration_that_is_not_renewed_ends_and_a_tcp_element_is_told() {
    for (tcp, told) in [(true, true), (false, false)] {
        let mut r = TestRegistrar::alone();
        let at = SocketAddr::new(ip(1), 5000);
        let link = r.accepts_from(Door::Asap, if tcp { Endpoint::tcp(at) } else { Endpoint::sctp(at) });
        let element = PoolElement { life: Life(1_000), ..element(1) };
        r.hears(link, &Message::Registration { handle: handle("fractal"), element });
        r.take_said();
        r.events.clear();
        for _ in 0..3 {
            r.pass(Duration::from_millis(300));
            r.hears(link, &ack(1));
        }
        r.take_said();
        r.pass(Duration::from_millis(99));
        assert!(r.has(1));
        r.pass(Duration::from_millis(1));
        r.tells(&gone(1, Removal::LifeOver));
        if told {
            let (handle, element) = (handle("fractal"), ElementId(1));
            r.says(link, &Message::DeregistrationResponse { handle, element, causes: vec![] });
        }
        r.says_nothing_more();
    }
}

#[test]
fn a_reported_element_is_asked_at_once_and_its_answer_settles_it() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    for user in 90..99 {
        let user = r.accepts(Door::Asap, user);
        r.pass(Duration::from_millis(150));
        r.take_said();
        r.hears(user, &report(1));
        r.says(link, &keep_alive(1, false));
        r.hears(link, &ack(1));
    }
    assert!(r.has(1), "each answer forgets the reports");
    assert_eq!(r.node.counters().failure_reports, 9);
    r.tells_nothing_more();
}

#[test]
fn one_user_cannot_remove_an_element_but_many_can() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    let one = r.accepts(Door::Asap, 90);
    for _ in 0..20 {
        r.hears(one, &report(1));
    }
    r.says(link, &keep_alive(1, false));
    r.says_nothing_more();
    assert!(r.has(1));
    // More than three distinct users, before it answers.
    for user in 91..93 {
        let user = r.accepts(Door::Asap, user);
        r.hears(user, &report(1));
        assert!(r.has(1));
    }
    let fourth = r.accepts(Door::Asap, 93);
    r.hears(fourth, &report(1));
    r.tells(&gone(1, Removal::Reported));
    r.says_nothing_more();
    assert!(!r.has(1));
    // A report of somebody unknown is nothing.
    r.hears(fourth, &report(1));
    r.says_nothing_more();
}

#[test]
fn reports_do_not_make_us_flood_an_element() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    let user = r.accepts(Door::Asap, 90);
    let mut questions = 0;
    for _ in 0..100 {
        r.hears(user, &report(1));
        r.pass(Duration::from_millis(1));
        for said in r.take_said() {
            if matches!(said, Output::Send { link: on, .. } if on == link) {
                questions += 1;
                r.hears(link, &ack(1));
            }
        }
    }
    assert!((1..=2).contains(&questions), "{questions} questions within 100 ms");
}

#[test]
fn an_element_of_a_peer_that_cannot_be_reached_is_withheld_until_its_home_confirms_it() {
    let mut r = TestRegistrar::alone();
    let peer = r.meets(7, 7);
    let foreign = element_of(RegistrarId(7), 1);
    r.hears_enrp(peer, 7, update(UpdateAction::Add, foreign.clone()));
    let user = r.accepts(Door::Asap, 90);
    r.events.clear();
    r.take_said();
    r.hears(user, &report(1));
    let at = Endpoint::sctp(SocketAddr::new(ip(1), 5000));
    let link = r.opens(Door::Asap, &at);
    r.says(link, &keep_alive(1, false));
    // A second report finds the probe under way.
    r.hears(user, &report(1));
    r.says_nothing_more();
    r.fact(Input::Closed { link, cause: Cause::Unreachable });
    let (pool, id) = (handle("fractal"), ElementId(1));
    r.tells(&Event::ElementSuspected { handle: pool, element: id, suspect: true });
    assert!(r.node.handlespace().is_suspect(&pool, id));
    assert!(r.has(1), "it is not ours to remove");
    r.hears_enrp(peer, 7, update(UpdateAction::Add, foreign));
    assert!(!r.node.handlespace().is_suspect(&pool, id));
}

#[test]
fn over_sctp_a_link_that_stands_is_proof_enough_for_an_element_of_a_peer_over_tcp_it_has_to_answer() {
    for (tcp, suspect) in [(false, false), (true, true)] {
        let mut r = TestRegistrar::alone();
        let peer = r.meets(7, 7);
        let mut foreign = element_of(RegistrarId(7), 1);
        foreign.asap_tcp = tcp.then(|| SocketAddr::new(ip(1), 5000));
        r.hears_enrp(peer, 7, update(UpdateAction::Add, foreign));
        r.take_said();
        let user = r.accepts(Door::Asap, 90);
        r.hears(user, &report(1));
        let at = SocketAddr::new(ip(1), 5000);
        let at = if tcp { Endpoint::tcp(at) } else { Endpoint::sctp(at) };
        let link = r.opens(Door::Asap, &at);
        r.fact(Input::Opened { link, peer: at });
        let before = r.now;
        while r.now.since(before) < timing().keep_alive_timeout {
            r.pass(Duration::from_millis(100));
            r.hears_enrp(peer, 7, presence(7, 7, r.node.handlespace().checksum(RegistrarId(7))));
        }
        assert_eq!(r.node.handlespace().is_suspect(&handle("fractal"), ElementId(1)), suspect, "tcp: {tcp}");
        let closed = r.take_said().contains(&Output::Close { link, how: Ending::Graceful });
        assert!(closed, "the probe's link is not kept");
    }
}
