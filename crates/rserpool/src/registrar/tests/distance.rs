//! Distances: measured, announced, added up.

use super::*;

fn measuring() -> TestRegistrar {
    let step = Some(Duration::from_millis(50));
    let mut r = TestRegistrar::with(Config { distance_step: step, ..config() });
    r.events.clear();
    r
}

/// Element 1, which claims to be near.
fn remote(distance: u32) -> PoolElement {
    let policy = Policy::LeastUsedDpf { load: Load(0), penalty: Load(1_000), distance };
    PoolElement { policy, ..element(1) }
}

fn distance(r: &TestRegistrar) -> Option<u32> {
    let known = r.node.handlespace().get(&handle("fractal"), ElementId(1));
    known.and_then(|element| element.policy.distance())
}

fn registers(r: &mut TestRegistrar) -> LinkId {
    let link = r.accepts(Door::Asap, 1);
    r.hears(link, &Message::Registration { handle: handle("fractal"), element: remote(7) });
    r.take_said();
    link
}

#[test]
fn an_element_is_asked_at_once_and_is_as_far_as_its_answer() {
    let mut r = measuring();
    let peer = r.meets(7, 7);
    let link = registers(&mut r);
    assert_eq!(distance(&r), Some(0), "its own word does not count");
    r.pass(Duration::ZERO);
    r.says(link, &keep_alive(1, false));
    r.now += Duration::from_millis(210);
    r.hears(link, &ack(1));
    assert_eq!(distance(&r), Some(100), "half of 210 ms, in steps of 50");
    let told = PoolElement { policy: remote(100).policy, ..element_of(ME, 1) };
    r.says_enrp(peer, 0, &update(UpdateAction::Add, told));
    r.says_nothing_more();
    // It stays so when the element registers again.
    r.hears(link, &Message::Registration { handle: handle("fractal"), element: remote(7) });
    assert_eq!(distance(&r), Some(100));
}

#[test]
fn an_answer_that_may_be_to_either_question_is_not_measured() {
    let mut r = measuring();
    let link = registers(&mut r);
    r.pass(timing().keep_alive_timeout / 2);
    r.hears(link, &ack(1));
    assert_eq!(distance(&r), Some(0));
}

#[test]
fn the_way_to_its_home_is_added() {
    let mut r = measuring();
    let peer = r.meets(7, 7);
    // The next heartbeat asks for an answer.
    while !r.take_enrp().iter().any(|(_, body)| matches!(body, Body::Presence { reply_required: true, .. })) {
        r.now = r.node.deadline().expect("a heartbeat");
        r.fact(Input::Wake);
    }
    r.now += Duration::from_millis(120);
    r.hears_enrp(peer, 7, presence(7, 7, 0xffff));
    let policy = remote(100).policy;
    r.hears_enrp(peer, 7, update(UpdateAction::Add, PoolElement { policy, ..element_of(RegistrarId(7), 1) }));
    assert_eq!(distance(&r), Some(150));
}

#[test]
fn who_does_not_measure_passes_on_what_it_heard() {
    let mut r = TestRegistrar::alone();
    registers(&mut r);
    assert_eq!(distance(&r), Some(7));
    r.pass(Duration::ZERO);
    r.says_nothing_more();
}
