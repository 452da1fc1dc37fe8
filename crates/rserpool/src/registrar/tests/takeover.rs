//! Takeover: arbitration, adoption, and what goes wrong on the way.

use super::*;

const DEAD: u32 = 9;

/// A registrar with peers 7, 8 and the dead-to-be 9, which owns elements 1 and 2.
fn bench(arbitration: Arbitration) -> (TestRegistrar, [LinkId; 3]) {
    let mut r = TestRegistrar::with(Config { arbitration, ..config() });
    let links = [r.meets_later(7), r.meets_later(8), r.meets_later(9)];
    for number in [1, 2] {
        r.hears_enrp(links[2], DEAD, update(UpdateAction::Add, element_of(RegistrarId(DEAD), number)));
    }
    r.take_said();
    r.events.clear();
    (r, links)
}

impl TestRegistrar {
    fn meets_later(&mut self, id: u32) -> LinkId {
        let link = self.accepts(Door::Enrp, id as u8);
        self.hears_enrp(link, id, presence(id, id as u8, 0xffff));
        link
    }

    /// Peers 7 and 8 keep speaking, 9 is silent, until a takeover begins.
    fn notices_death(&mut self, links: [LinkId; 3]) {
        for _ in 0..40 {
            self.pass(Duration::from_millis(50));
            self.keeps_alive(links);
            if self.events.iter().any(|event| matches!(event, Event::TakeoverBegun { .. })) {
                return;
            }
        }
        panic!("no takeover begun");
    }

    fn keeps_alive(&mut self, links: [LinkId; 3]) {
        for (id, link) in [(7, links[0]), (8, links[1])] {
            let sum = self.node.handlespace().checksum(RegistrarId(id));
            self.hears_enrp(link, id, presence(id, id as u8, sum));
        }
    }

    fn asked_about_death(&mut self) -> Vec<LinkId> {
        let target = RegistrarId(DEAD);
        let asked = self.take_enrp().into_iter().filter(|(_, body)| *body == Body::InitTakeover { target });
        asked.map(|(link, _)| link).collect()
    }

    fn state_of(&self, id: u32) -> Option<PeerState> {
        self.node.peers().find(|peer| peer.id.0 == id).map(|peer| peer.state)
    }
}

const INIT: Body = Body::InitTakeover { target: RegistrarId(DEAD) };
const AGREED: Body = Body::InitTakeoverAck { target: RegistrarId(DEAD) };
const DONE: Body = Body::TakeoverServer { target: RegistrarId(DEAD) };

fn begun(awaited: usize) -> Event {
    Event::TakeoverBegun { target: RegistrarId(DEAD), awaited }
}

#[test]
fn a_takeover_asks_all_then_tells_all_then_adopts() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    assert_eq!(r.asked_about_death(), links, "the target itself is asked too");
    assert_eq!(r.events, [Event::PeerAsked { peer: RegistrarId(DEAD) }, begun(2)]);
    r.events.clear();
    r.hears_enrp(links[0], 7, AGREED);
    r.hears_enrp(links[0], 7, AGREED);
    r.says_nothing_more();
    assert_eq!(r.home_of(1), Some(RegistrarId(DEAD)), "nothing moves before all agreed");
    r.hears_enrp(links[1], 8, AGREED);
    r.says_enrp(links[0], 7, &DONE);
    r.says_enrp(links[1], 8, &DONE);
    r.closes(links[2], Ending::Abort);
    let mut adopted = Vec::new();
    for number in [1, 2] {
        let link = r.opens(Door::Asap, &Endpoint::sctp(SocketAddr::new(ip(number), 5000)));
        r.says(link, &keep_alive(number, true));
        assert_eq!(r.home_of(number), Some(ME));
        adopted.push(link);
    }
    r.says_nothing_more();
    r.tells(&Event::TakeoverWon { target: RegistrarId(DEAD), elements: 2, contested: false });
    r.tells(&Event::PeerDown { peer: RegistrarId(DEAD), why: PeerLoss::TakenOver });
    // The first answers and is ours, the second cannot be reached and is gone: both are told to the peers.
    r.events.clear();
    r.fact(Input::Opened { link: adopted[0], peer: Endpoint::sctp(SocketAddr::new(ip(1), 5000)) });
    r.hears(adopted[0], &ack(1));
    for link in [links[0], links[1]] {
        r.says_enrp(link, 0, &update(UpdateAction::Add, element_of(ME, 1)));
    }
    r.fact(Input::Closed { link: adopted[1], cause: Cause::Unreachable });
    for link in [links[0], links[1]] {
        r.says_enrp(link, 0, &update(UpdateAction::Delete, element_of(ME, 2)));
    }
    r.says_nothing_more();
    let (handle, home, why) = (handle("fractal"), ME, Removal::Unreachable);
    r.tells(&Event::ElementRemoved { handle, element: ElementId(2), home, why });
    assert_eq!(r.node.counters().takeovers, 1);
}

#[test]
fn the_targets_word_ends_a_takeover() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    r.hears_enrp(links[0], 7, AGREED);
    r.take_said();
    r.events.clear();
    let sum = r.node.handlespace().checksum(RegistrarId(DEAD));
    r.hears_enrp(links[2], DEAD, presence(DEAD, 9, sum));
    r.tells(&Event::TakeoverAborted { target: RegistrarId(DEAD), why: TakeoverEnd::TargetLives });
    r.hears_enrp(links[1], 8, AGREED);
    r.says_nothing_more();
    assert_eq!((r.state_of(DEAD), r.home_of(1)), (Some(PeerState::Alive), Some(RegistrarId(DEAD))));
}

#[test]
fn the_weaker_initiator_yields_and_the_stronger_ignores_it() {
    // We are 0x50: larger than 7.
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    r.take_said();
    r.hears_enrp(links[0], 7, INIT);
    r.says_nothing_more();
    r.hears_enrp(links[0], 7, AGREED);
    r.hears_enrp(links[1], 8, AGREED);
    assert!(r.events.contains(&Event::TakeoverWon {
        target: RegistrarId(DEAD),
        elements: 2,
        contested: true
    }));

    let (mut r, links) = bench(Arbitration::SmallerWins);
    r.notices_death(links);
    r.take_said();
    r.hears_enrp(links[0], 7, INIT);
    r.says_enrp(links[0], 7, &AGREED);
    r.says_nothing_more();
    assert_eq!(
        r.events.pop(),
        Some(Event::TakeoverYielded { target: RegistrarId(DEAD), to: RegistrarId(7) })
    );
    assert_eq!(r.state_of(DEAD), Some(PeerState::LeftTo(Some(RegistrarId(7)))));
    // It completes.
    r.hears_enrp(links[0], 7, DONE);
    assert_eq!(
        (r.state_of(DEAD), r.home_of(1), r.home_of(2)),
        (None, Some(RegistrarId(7)), Some(RegistrarId(7)))
    );
    r.closes(links[2], Ending::Abort);
    r.says_nothing_more();
}

#[test]
fn who_has_noticed_nothing_agrees_and_looks_away_until_the_target_speaks() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.hears_enrp(links[0], 7, INIT);
    r.says_enrp(links[0], 7, &AGREED);
    assert_eq!(r.state_of(DEAD), Some(PeerState::LeftTo(Some(RegistrarId(7)))));
    let sum = r.node.handlespace().checksum(RegistrarId(DEAD));
    r.hears_enrp(links[2], DEAD, presence(DEAD, 9, sum));
    assert_eq!(r.state_of(DEAD), Some(PeerState::Alive));
    // Now that it has spoken, its end is not believed.
    r.hears_enrp(links[0], 7, DONE);
    r.says_nothing_more();
    assert_eq!((r.state_of(DEAD), r.home_of(1)), (Some(PeerState::Alive), Some(RegistrarId(DEAD))));
    // An unknown target is nobody's business.
    r.hears_enrp(links[0], 7, Body::InitTakeover { target: RegistrarId(77) });
    r.says_enrp(links[0], 7, &Body::InitTakeoverAck { target: RegistrarId(77) });
    r.hears_enrp(links[0], 7, Body::TakeoverServer { target: RegistrarId(77) });
    r.says_nothing_more();
}

#[test]
fn a_false_alarm_about_ourselves_is_answered_to_everybody() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    for body in [Body::InitTakeover { target: ME }, Body::TakeoverServer { target: ME }] {
        r.hears_enrp(links[0], 7, body);
        let said = r.take_enrp();
        assert_eq!(said.iter().map(|(link, _)| *link).collect::<Vec<_>>(), links);
        assert!(said.iter().all(|(_, body)| matches!(body, Body::Presence { .. })));
    }
}

#[test]
fn an_initiator_that_fails_is_replaced() {
    for dies in [true, false] {
        let (mut r, links) = bench(Arbitration::LargerWins);
        r.hears_enrp(links[0], 7, INIT);
        r.take_said();
        r.events.clear();
        if dies {
            r.fact(Input::Closed { link: links[0], cause: Cause::Lost });
            let again = r.opens(Door::Enrp, &enrp_at(7));
            r.fact(Input::Closed { link: again, cause: Cause::Unreachable });
            assert_eq!(r.state_of(DEAD), Some(PeerState::Asked), "at once");
            r.pass(timing().peer_no_response);
        } else {
            // It lives but does nothing; nor does the target.
            let until = r.now + 2 * timing().takeover_expiry + timing().peer_no_response;
            while r.now < until {
                r.pass(Duration::from_millis(100));
                r.keeps_alive(links);
            }
        }
        assert!(
            r.events.iter().any(|event| matches!(event, Event::TakeoverBegun { .. })),
            "dies: {dies}: {:?}",
            r.events
        );
    }
}

#[test]
fn an_awaited_peer_that_dies_has_agreed() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    r.hears_enrp(links[0], 7, AGREED);
    r.take_said();
    r.events.clear();
    r.loses(links[1]);
    let again = r.opens(Door::Enrp, &enrp_at(8));
    r.fact(Input::Closed { link: again, cause: Cause::Unreachable });
    assert!(r.events.contains(&Event::TakeoverWon {
        target: RegistrarId(DEAD),
        elements: 2,
        contested: false
    }));
}

#[test]
fn of_those_that_live_a_majority_is_enough_after_asking_twice() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    r.take_said();
    r.hears_enrp(links[0], 7, AGREED);
    let expiry = timing().takeover_expiry;
    let mut again = Vec::new();
    let until = r.now + 2 * expiry;
    while r.now < until {
        assert_eq!(r.home_of(1), Some(RegistrarId(DEAD)));
        r.pass(Duration::from_millis(50));
        again.extend(r.asked_about_death());
        r.keeps_alive(links);
    }
    assert_eq!(again, [links[1], links[2]], "who has agreed is not asked again");
    assert_eq!(r.home_of(1), Some(ME));
}

#[test]
fn without_a_majority_it_is_tried_again_after_a_pause() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    r.events.clear();
    let until = r.now + 2 * timing().takeover_expiry + Duration::from_millis(50);
    while r.now < until {
        r.pass(Duration::from_millis(50));
        r.keeps_alive(links);
    }
    r.tells(&Event::TakeoverAborted { target: RegistrarId(DEAD), why: TakeoverEnd::NoMajority });
    assert_eq!((r.state_of(DEAD), r.home_of(1)), (Some(PeerState::LeftTo(None)), Some(RegistrarId(DEAD))));
    r.notices_death(links);
}

#[test]
fn a_registrar_that_was_held_up_asks_again_before_it_counts() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    r.hears_enrp(links[0], 7, AGREED);
    r.pass(timing().takeover_expiry);
    r.take_said();
    r.stall(Duration::from_secs(30));
    assert!(!r.events.iter().any(|event| matches!(event, Event::TakeoverWon { .. })));
    assert!(r.asked_about_death().contains(&links[1]));
}

#[test]
fn an_adopted_element_that_hangs_is_gone_and_one_that_registers_is_ours() {
    let (mut r, links) = bench(Arbitration::LargerWins);
    r.notices_death(links);
    r.hears_enrp(links[0], 7, AGREED);
    r.hears_enrp(links[1], 8, AGREED);
    r.take_said();
    r.events.clear();
    // Element 1 came by itself: the link we opened to it is not needed any more.
    let own = r.accepts(Door::Asap, 1);
    r.registers(own, 1);
    let said = r.take_said();
    assert!(
        said.iter()
            .any(|wish| matches!(wish, Output::Close { link: LinkId::Ours(_), how: Ending::Graceful }))
    );
    r.keeps_alive(links);
    r.pass(timing().keep_alive_timeout);
    assert!(r.has(1) && !r.has(2));
    let (handle, home, why) = (handle("fractal"), ME, Removal::Silent);
    assert!(r.events.contains(&Event::ElementRemoved { handle, element: ElementId(2), home, why }));
}

#[test]
fn an_element_that_listens_nowhere_has_one_patience_to_come_by_itself() {
    for comes in [true, false] {
        let mut r = TestRegistrar::alone();
        let link = r.meets(DEAD, 9);
        let orphan =
            PoolElement { asap_tcp: Some(SocketAddr::new(ip(1), 0)), ..element_of(RegistrarId(DEAD), 1) };
        r.hears_enrp(link, DEAD, update(UpdateAction::Add, orphan));
        r.loses(link);
        let again = r.opens(Door::Enrp, &enrp_at(9));
        r.take_said();
        r.fact(Input::Closed { link: again, cause: Cause::Unreachable });
        assert_eq!(r.home_of(1), Some(ME));
        r.says_nothing_more();
        if comes {
            let own = r.accepts_from(Door::Asap, Endpoint::tcp(SocketAddr::new(ip(1), 50_000)));
            r.registers(own, 1);
        }
        r.pass(timing().keep_alive_timeout);
        assert_eq!(r.has(1), comes);
    }
}

#[test]
fn a_takeover_of_many_opens_so_many_links_and_no_more_at_once() {
    let limits = Limits { adoptions: 10, ..Limits::default() };
    let mut r = TestRegistrar::with(Config { limits, ..config() });
    let link = r.meets_later(DEAD);
    for number in 100..200 {
        r.hears_enrp(link, DEAD, update(UpdateAction::Add, element_of(RegistrarId(DEAD), number)));
    }
    r.loses(link);
    let mut pending = Vec::new();
    let mut adopted = 0;
    for _ in 0..1_000 {
        let said = r.take_said();
        let quiet = said.is_empty();
        for wish in said {
            match wish {
                Output::Open { link, to, .. } if to == enrp_at(9) => {
                    r.fact(Input::Closed { link, cause: Cause::Unreachable });
                }
                Output::Open { link, to, .. } => pending.push((link, to)),
                _ => {}
            }
        }
        assert!(pending.len() <= 10);
        let Some((link, to)) = pending.pop() else {
            if quiet {
                break;
            }
            continue;
        };
        let IpAddr::V4(at) = to.addresses[0] else { panic!("an IPv4 address") };
        let number = at.octets()[3];
        r.fact(Input::Opened { link, peer: to });
        r.hears(link, &ack(number));
        adopted += 1;
    }
    assert_eq!((adopted, r.node.handlespace().owned(ME)), (100, 100));
}
