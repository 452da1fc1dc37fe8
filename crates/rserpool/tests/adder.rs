//! A whole pool in one function: two elements, one user, a registrar that follows a script, and a clock moved by hand.
//!
//! It is also the smallest world a node can live in: a world drains wishes, carries messages, and wakes nodes.

use rserpool::element::{self, Replies, Service, SessionId};
use rserpool::user::{self, Event, FailoverCause, SessionOptions};
use rserpool::wire::asap::{Message, Resolution};
use rserpool::wire::parameter::{PoolElement as Member, Transport, TransportUse};
use rserpool::{
    Cause, ElementId, Endpoint, Input, LinkId, Load, Node, Output, Policy, PoolElement, PoolHandle, PoolUser,
    Ppid, Random, Time,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const NUMBER: Ppid = Ppid(0x41444421);

/// Sums the numbers each session sends. The cookie is the sum so far, so any element can go on.
#[derive(Default)]
struct Adder {
    sums: BTreeMap<SessionId, u64>,
}

impl Service for Adder {
    type Wish = ();
    type Fact = ();

    fn opened(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<()>) {
        self.sums.insert(session, 0);
    }

    fn resume(&mut self, _now: Time, session: SessionId, cookie: &[u8], _replies: &mut Replies<()>) {
        if let Ok(sum) = cookie.try_into().map(u64::from_be_bytes) {
            self.sums.insert(session, sum);
        }
    }

    fn message(
        &mut self,
        _now: Time,
        session: SessionId,
        _ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<()>,
    ) {
        let Ok(number) = bytes.try_into().map(u64::from_be_bytes) else { return };
        let sum = self.sums.entry(session).or_default();
        *sum = sum.wrapping_add(number);
        replies.send(session, NUMBER, sum.to_be_bytes());
        replies.cookie(session, sum.to_be_bytes()); // after the data it covers
    }

    fn closed(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<()>) {
        self.sums.remove(&session);
    }

    fn informed(&mut self, _now: Time, _fact: (), _replies: &mut Replies<()>) {}

    fn load(&self) -> Load {
        Load::from_ratio(self.sums.len() as u64, 100)
    }
}

/// Who lives in this world, by place: elements 0 and 1, the user, the registrar.
const USER: usize = 2;
const REGISTRAR: usize = 3;

fn pool() -> PoolHandle {
    PoolHandle::new("adder").expect("five octets")
}

fn host(place: usize) -> [u8; 4] {
    [10, 0, 0, place as u8]
}

struct World {
    now: Time,
    elements: [PoolElement<Adder>; 2],
    user: PoolUser,
    /// Registered elements, by id.
    members: BTreeMap<ElementId, Member>,
    /// Both ends of each link, each found by the other.
    wires: BTreeMap<(usize, LinkId), (usize, LinkId)>,
    accepted: u64,
    facts: VecDeque<(usize, Input)>,
    /// What the user told its application.
    told: Vec<Event>,
    /// What the registrar was told besides registrations and resolutions.
    reports: Vec<Message>,
}

impl World {
    fn new() -> Self {
        let registrar = Endpoint::tcp((host(REGISTRAR), 3863).into());
        let element = |place: usize| {
            let address = host(place).into();
            let control = TransportUse::DataAndControl;
            let transport = Transport::Tcp { port: 7000, transport_use: control, address };
            let least_used = Policy::LeastUsed { load: Load::IDLE };
            let config = element::Config::new(pool(), least_used, transport, vec![registrar.clone()]);
            PoolElement::new(config, Adder::default(), Random::from_seed(place as u64))
        };
        let user = PoolUser::new(user::Config::new(vec![registrar.clone()]), Random::from_seed(9));
        Self {
            now: Time::ZERO,
            elements: [element(0), element(1)],
            user,
            members: BTreeMap::new(),
            wires: BTreeMap::new(),
            accepted: 0,
            facts: VecDeque::new(),
            told: Vec::new(),
            reports: Vec::new(),
        }
    }

    /// Drains wishes and carries messages until nobody has anything more to say.
    fn settle(&mut self) {
        loop {
            for place in 0..2 {
                while let Some(wish) = self.elements[place].poll() {
                    self.obey(place, wish.without_event());
                }
            }
            while let Some(wish) = self.user.poll() {
                match wish {
                    Output::Event(event) => self.told.push(event),
                    wish => self.obey(USER, wish.without_event()),
                }
            }
            let Some((place, fact)) = self.facts.pop_front() else { break };
            match place {
                USER => self.user.handle(self.now, fact),
                REGISTRAR => self.registrar(fact),
                place => self.elements[place].handle(self.now, fact),
            }
        }
        self.user.check();
        self.elements.iter().for_each(PoolElement::check);
    }

    fn obey(&mut self, place: usize, wish: Option<Output<()>>) {
        match wish {
            Some(Output::Open { link, door, to, .. }) => {
                let there =
                    (0..4).find(|&p| to.addresses == [std::net::IpAddr::from(host(p))]).expect("a host");
                self.accepted += 1;
                let theirs = LinkId::Theirs(self.accepted);
                self.wires.insert((place, link), (there, theirs));
                self.wires.insert((there, theirs), (place, link));
                let peer = Endpoint::tcp((host(place), 40_000).into());
                self.facts.push_back((there, Input::Accepted { link: theirs, door, peer }));
                self.facts.push_back((place, Input::Opened { link, peer: to }));
            }
            Some(Output::Send { link, ppid, bytes }) => {
                if let Some(&(there, link)) = self.wires.get(&(place, link)) {
                    self.facts.push_back((there, Input::Message { link, ppid, bytes }));
                }
            }
            Some(Output::Close { link, .. }) => self.cut(place, link, Cause::Ended),
            _ => {}
        }
    }

    /// A link ends; the other side is told why.
    fn cut(&mut self, place: usize, link: LinkId, cause: Cause) {
        if let Some((there, link)) = self.wires.remove(&(place, link)) {
            self.wires.remove(&(there, link));
            self.facts.push_back((there, Input::Closed { link, cause }));
        }
    }

    /// The registrar's script: it takes everyone in, and hands out everyone, the least loaded first.
    fn registrar(&mut self, fact: Input) {
        let Input::Message { link, ppid: Ppid::ASAP, bytes } = fact else { return };
        let answer = match Message::parse(&bytes).expect("nodes speak well") {
            Message::Registration { handle, element } => {
                let id = element.id;
                self.members.insert(id, element);
                Message::RegistrationResponse { rejected: false, handle, element: id, causes: vec![] }
            }
            Message::HandleResolution { handle, .. } => {
                let mut elements: Vec<_> = self.members.values().cloned().collect();
                elements.sort_by_key(|element| element.policy.load());
                let answer = Resolution::Elements { policy: Some(elements[0].policy.clone()), elements };
                Message::HandleResolutionResponse { accepted: false, handle, answer }
            }
            other => return self.reports.push(other),
        };
        if let Some(&(there, link)) = self.wires.get(&(REGISTRAR, link)) {
            self.facts.push_back((there, Input::Message { link, ppid: Ppid::ASAP, bytes: answer.emit() }));
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
        for element in &mut self.elements {
            element.handle(self.now, Input::Wake);
        }
        self.user.handle(self.now, Input::Wake);
        self.settle();
    }

    /// The host of an element is gone: whoever had a link to it loses it.
    fn crash(&mut self, place: usize) {
        let id = self.elements[place].id();
        self.members.remove(&id);
        let links: Vec<_> = self.wires.keys().filter(|(at, _)| *at == place).map(|(_, link)| *link).collect();
        for link in links {
            self.cut(place, link, Cause::Lost);
        }
        self.settle();
    }
}

/// Wishes of any node, as far as the world is concerned.
trait WithoutEvent {
    fn without_event(self) -> Option<Output<()>>;
}

impl<E> WithoutEvent for Output<E> {
    fn without_event(self) -> Option<Output<()>> {
        Some(match self {
            Output::Open { link, door, to, greeting } => Output::Open { link, door, to, greeting },
            Output::Send { link, ppid, bytes } => Output::Send { link, ppid, bytes },
            Output::Close { link, how } => Output::Close { link, how },
            Output::Announce { channel, bytes } => Output::Announce { channel, bytes },
            Output::Event(_) => return None,
        })
    }
}

#[test]
fn a_sum_survives_the_element_that_computed_it() {
    let mut world = World::new();
    world.wait(0);
    assert_eq!(world.members.len(), 2, "both elements are registered");

    let session =
        world.user.open(world.now, pool(), SessionOptions { heartbeat: true, ..Default::default() });
    world.settle();
    let first = world.user.element(session).expect("connected at once");
    assert_eq!(
        world.told,
        [Event::Connected { session, element: first, resumed: false, failed_over: false }]
    );

    let add = |world: &mut World, number: u64| {
        let number = number.to_be_bytes().to_vec();
        world.user.send(world.now, session, NUMBER, number).expect("connected");
        world.settle();
    };
    let sum = |sum: u64| Event::Message { session, ppid: NUMBER, bytes: sum.to_be_bytes().to_vec() };
    add(&mut world, 40);
    add(&mut world, 2);
    assert_eq!(world.told[1..], [sum(40), sum(42)]);
    assert_eq!(world.user.cookie(session), Some(&42u64.to_be_bytes()[..]));

    // The session shows in the load that the registrar hands out.
    world.wait(100);
    assert_eq!(world.members[&first].policy, Policy::LeastUsed { load: Load::from_ratio(1, 100) });

    let place = (0..2).find(|&place| world.elements[place].id() == first).expect("one of ours");
    world.crash(place);
    let second = world.elements[1 - place].id();
    let from = Some(first);
    assert_eq!(
        world.told[3..],
        [
            Event::FailingOver { session, from, cause: FailoverCause::Lost },
            Event::Connected { session, element: second, resumed: true, failed_over: true },
        ]
    );
    assert_eq!(world.reports, [Message::EndpointUnreachable { handle: pool(), element: first }]);

    add(&mut world, 100);
    assert_eq!(world.told[5..], [sum(142)]);
    world.user.close(world.now, session);
    world.settle();
    assert_eq!(world.elements[1 - place].session_count(), 0);
    assert_eq!(world.told.len(), 6, "and nothing else happened");
}
