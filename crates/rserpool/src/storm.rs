//! Whatever the world tells in whatever order, a node keeps its books straight and its memory bounded.

use crate::element::{self, PoolElement, Replies, Service};
use crate::listen::{element, pool, sctp, tcp};
use crate::user::{self, PoolUser, SessionOptions};
use crate::wire::asap::{Message, Resolution};
use crate::wire::parameter::{CauseCode, ErrorCause};
use crate::{
    Cause, Channel, Door, ElementId, Endpoint, Input, LinkId, Load, Node, Output, Policy, PoolHandle, Ppid,
    Random, RegistrarId, Time,
};
use std::collections::BTreeSet;
use std::time::Duration;

const STEPS: u64 = 10_000;

fn pick<T: Clone>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len() as u64) as usize].clone()
}

/// Mostly a link that is there.
fn link(random: &mut Random, live: &[LinkId]) -> LinkId {
    if live.is_empty() || random.one_in(16) {
        LinkId::Theirs(random.below(STEPS))
    } else {
        pick(random, live)
    }
}

fn message(random: &mut Random) -> Message {
    let handle = pick(random, &[pool(), pool(), pool(), PoolHandle::new("other").expect("legal")]);
    let id = if random.one_in(4) { ElementId(random.below(8) as u32) } else { ElementId(5) };
    let causes = match random.below(3) {
        0 => vec![],
        1 => vec![ErrorCause { code: CauseCode::UNKNOWN_POOL_HANDLE, info: vec![] }],
        _ => vec![ErrorCause { code: CauseCode::INVALID_VALUES, info: vec![1, 2, 3, 4] }],
    };
    let rejected = random.one_in(4);
    let elements = (0..random.below(4)).map(|_| element(1 + random.below(7) as u8)).collect::<Vec<_>>();
    match random.below(15) {
        0..3 => Message::RegistrationResponse { rejected, handle, element: id, causes },
        3 => Message::DeregistrationResponse { handle, element: id, causes },
        4 if rejected => Message::HandleResolutionResponse {
            accepted: false,
            handle,
            answer: Resolution::Failed { causes },
        },
        4..7 => {
            let policy = Some(Policy::RoundRobin);
            let answer = Resolution::Elements { policy, elements };
            Message::HandleResolutionResponse { accepted: false, handle, answer }
        }
        7..12 => Message::EndpointKeepAlive {
            home: random.one_in(2),
            server: RegistrarId(3),
            handle,
            element: Some(id),
        },
        12 => Message::Cookie { cookie: vec![1; 1 + random.below(9) as usize] },
        13 => Message::CookieEcho { cookie: vec![1; 1 + random.below(9) as usize] },
        _ if elements.is_empty() => Message::Error { causes },
        _ => Message::BusinessCard { handle, elements },
    }
}

fn fact(random: &mut Random, live: &[LinkId], step: u64) -> Input {
    let on = link(random, live);
    match random.below(11) {
        0 => Input::Accepted {
            link: LinkId::Theirs(step), // never used twice
            door: pick(random, &[Door::Asap, Door::Service, Door::Enrp]),
            peer: pick(random, &[tcp(1), sctp(2), tcp(77)]),
        },
        1 | 2 => Input::Opened { link: on, peer: tcp(1) },
        3..7 => {
            let mut bytes = message(random).emit();
            if random.one_in(5) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next_u64() as u8;
            }
            if random.one_in(9) {
                bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
            }
            let ppid = pick(random, &[Ppid::ASAP, Ppid::ASAP, Ppid::ASAP, Ppid::ENRP, Ppid::LINK, Ppid(7)]);
            Input::Message { link: on, ppid, bytes }
        }
        7 if random.one_in(3) => {
            let causes = [Cause::Unreachable, Cause::Ended, Cause::Aborted, Cause::Lost, Cause::Overflow];
            Input::Closed { link: on, cause: pick(random, &causes) }
        }
        8 => Input::Heard {
            channel: pick(random, &[Channel::Asap, Channel::Enrp]),
            from: tcp(random.below(256) as u8).socket_addresses().next().expect("one address"),
            bytes: Message::ServerAnnounce { server: RegistrarId(3), transports: vec![] }.emit(),
        },
        9 => Input::Deaf { span: Duration::from_millis(random.below(3_000)) },
        _ => Input::Wake,
    }
}

/// Tells a node anything; `call` makes a typed call; `check` audits.
fn storm<N: Node>(
    seed: u64,
    mut node: N,
    mut call: impl FnMut(&mut N, Time, &mut Random),
    check: impl Fn(&N),
) {
    let mut random = Random::from_seed(seed);
    let (mut now, mut live) = (Time::ZERO, Vec::new());
    for step in 0..STEPS {
        now += Duration::from_millis(pick(&mut random, &[0, 0, 0, 0, 1, 5, 20, 100, 1_000]));
        if random.one_in(8) {
            call(&mut node, now, &mut random);
        } else {
            let fact = fact(&mut random, &live, step);
            match &fact {
                Input::Accepted { link, .. } => live.push(*link),
                Input::Closed { link, .. } => live.retain(|there| there != link),
                _ => {}
            }
            node.handle(now, fact);
        }
        let mut wishes = 0;
        while let Some(wish) = node.poll() {
            match wish {
                Output::Open { link, .. } => live.push(link),
                Output::Close { link, .. } => live.retain(|there| *there != link),
                _ => {}
            }
            wishes += 1;
            assert!(wishes < 5_000, "one fact, bounded wishes");
        }
        check(&node);
        if let Some(at) = node.deadline().filter(|&at| at <= now) {
            node.handle(now, Input::Wake);
            while let Some(wish) = node.poll() {
                if let Output::Open { link, .. } = wish {
                    live.push(link);
                }
            }
            assert!(node.deadline().is_none_or(|next| next > at), "a wake does what is due");
            check(&node);
        }
    }
}

struct Parrot;

impl Service for Parrot {
    type Wish = ();
    type Fact = ();
    fn opened(&mut self, _: Time, session: element::SessionId, replies: &mut Replies<()>) {
        replies.send(session, Ppid(7), "hello");
    }
    fn resume(&mut self, _: Time, session: element::SessionId, cookie: &[u8], replies: &mut Replies<()>) {
        replies.cookie(session, cookie);
    }
    fn message(&mut self, _: Time, id: element::SessionId, _: Ppid, bytes: &[u8], replies: &mut Replies<()>) {
        replies.send(id, Ppid(7), bytes);
        if bytes.len().is_multiple_of(5) {
            replies.close(id);
        }
    }
    fn closed(&mut self, _: Time, session: element::SessionId, replies: &mut Replies<()>) {
        replies.send(session, Ppid(7), "too late");
    }
    fn informed(&mut self, _: Time, _: (), _: &mut Replies<()>) {}
    fn load(&self) -> Load {
        Load::IDLE
    }
}

fn registrars() -> Vec<Endpoint> {
    vec![tcp(1), tcp(2), sctp(3), sctp(4)]
}

#[test]
fn an_element_survives_any_facts_in_any_order() {
    for seed in 0..6 {
        let transport = element(5).user_transport;
        let config = element::Config::new(pool(), Policy::RoundRobin, transport, registrars());
        let config = element::Config { id: Some(ElementId(5)), sessions_max: 3, ..config };
        let node = PoolElement::new(config, Parrot, Random::from_seed(seed));
        let mut calls = 0;
        let call = |node: &mut PoolElement<Parrot>, now, random: &mut Random| {
            calls += 1;
            if calls == STEPS / 10 {
                return node.deregister(now);
            }
            match random.below(3) {
                0 => node.set_policy(now, pick(random, &[Policy::Random, Policy::RoundRobin])),
                1 => node.recommend(now, vec![element(1), element(2)]),
                _ => node.inform(now, ()),
            }
        };
        storm(seed, node, call, PoolElement::check);
    }
}

#[test]
fn a_user_survives_any_facts_in_any_order() {
    for seed in 0..6 {
        let stale_cache_value = Duration::from_millis(seed * 400);
        let config = user::Config { stale_cache_value, ..user::Config::new(registrars()) };
        let mut open = Vec::new();
        let call = |node: &mut PoolUser, now, random: &mut Random| {
            let options = SessionOptions {
                only: random.one_in(4).then_some(ElementId(3)),
                avoid: BTreeSet::from([ElementId(random.below(8) as u32)]),
                heartbeat: random.one_in(2),
                late_patience: Duration::from_millis(random.below(2) * 500),
            };
            match random.below(6) {
                0 | 1 if open.len() < 12 => open.push(node.open(now, pool(), options)),
                2 if open.len() < 12 => open.push(node.open_at(now, pool(), element(2), options)),
                3 => drop(node.resolve(now, pool(), 3)),
                _ if open.is_empty() => {}
                4 => node.close(now, open.swap_remove(random.below(open.len() as u64) as usize)),
                _ => {
                    let session = pick(random, &open);
                    if node.send(now, session, Ppid(7), vec![1]).is_ok() && random.one_in(3) {
                        node.fail_over(now, session, true);
                    }
                }
            }
        };
        storm(seed, PoolUser::new(config, Random::from_seed(seed)), call, PoolUser::check);
    }
}
