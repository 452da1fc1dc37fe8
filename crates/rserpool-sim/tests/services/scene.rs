//! A registrar, elements of one service and one user of it, on a simulated network. What the service asks of its world
//! is carried out by the test.

use rserpool::element::{self, Service};
use rserpool::wire::parameter::{Transport, TransportUse};
use rserpool::{
    Door, Endpoint, Input, Node, Output, Policy, PoolElement, PoolHandle, PoolUser, Protocol, Random,
    Registrar, Time, registrar, user,
};
use rserpool_compute::application::{Application, Client};
use rserpool_sim::net::{Ears, HostId, Net, Settings, Step, Trace};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

const ASAP_PORT: u16 = 3863;
const ENRP_PORT: u16 = 9901;
const SERVICE_PORT: u16 = 7000;

/// Who lives on a host.
pub enum Party<S: Service, A: Application> {
    Registrar(Box<Registrar>),
    Element(Box<PoolElement<S>>),
    Client(Box<Client<A>>),
}

/// What they tell, as far as it matters.
#[derive(Clone, Debug)]
pub enum Said<W, E> {
    Wish(W),
    Client(E),
    Other,
}

impl<S: Service, A: Application> Node for Party<S, A> {
    type Event = Said<S::Wish, A::Event>;

    fn handle(&mut self, now: Time, input: Input) {
        match self {
            Self::Registrar(node) => node.handle(now, input),
            Self::Element(node) => node.handle(now, input),
            Self::Client(node) => node.handle(now, input),
        }
    }

    fn poll(&mut self) -> Option<Output<Self::Event>> {
        Some(match self {
            Self::Registrar(node) => with(node.poll()?, |_| Said::Other),
            Self::Element(node) => with(node.poll()?, |event| match event {
                element::Event::Wish(wish) => Said::Wish(wish),
                _ => Said::Other,
            }),
            Self::Client(node) => with(node.poll()?, Said::Client),
        })
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Registrar(node) => node.deadline(),
            Self::Element(node) => node.deadline(),
            Self::Client(node) => node.deadline(),
        }
    }
}

fn with<A, B>(wish: Output<A>, say: impl FnOnce(A) -> B) -> Output<B> {
    match wish {
        Output::Open { link, door, to, greeting } => Output::Open { link, door, to, greeting },
        Output::Send { link, ppid, bytes } => Output::Send { link, ppid, bytes },
        Output::Close { link, how } => Output::Close { link, how },
        Output::Announce { channel, bytes } => Output::Announce { channel, bytes },
        Output::Event(event) => Output::Event(say(event)),
    }
}

/// How a test carries out a wish of the element with this number: what it tells the service, and after how long. Without
/// it nothing is carried out.
pub type World<S> = Box<dyn FnMut(usize, <S as Service>::Wish) -> Vec<(Duration, <S as Service>::Fact)>>;

/// The scene.
pub struct Scene<S: Service, A: Application>
where
    S::Wish: Clone + Debug,
    A::Event: Clone + Debug,
{
    net: Net<Party<S, A>>,
    pub elements: Vec<HostId>,
    client: HostId,
    world: Option<World<S>>,
    /// Facts to be told, by moment.
    facts: BTreeMap<(Time, u64), (HostId, S::Fact)>,
    order: u64,
    /// What the client told, with the moment.
    pub told: Vec<(Time, A::Event)>,
}

impl<S: Service, A: Application> Scene<S, A>
where
    S::Wish: Clone + Debug,
    A::Event: Clone + Debug,
{
    /// So many elements of a service, and an application.
    pub fn new(
        seed: u64,
        count: usize,
        service: impl Fn(usize) -> S,
        application: impl FnOnce(PoolHandle) -> A,
        world: Option<World<S>>,
    ) -> Self {
        let mut random = Random::from_seed(seed);
        let mut net = Net::new(random.fork(), Settings::default(), Trace::keeping(100));
        let at = |net: &Net<Party<S, A>>, host, protocol, port| Endpoint {
            protocol,
            addresses: vec![net.address(host)],
            port,
        };
        let handle = PoolHandle::new("pool").expect("1 to 32 octets");

        let registrar = net.host("registrar");
        let asap = vec![
            at(&net, registrar, Protocol::Tcp, ASAP_PORT),
            at(&net, registrar, Protocol::Sctp, ASAP_PORT),
        ];
        let config = registrar::Config::new(asap.clone(), at(&net, registrar, Protocol::Sctp, ENRP_PORT));
        let node = Party::Registrar(Box::new(Registrar::new(config, random.fork())));
        let doors = vec![(Door::Asap, ASAP_PORT), (Door::Enrp, ENRP_PORT)];
        net.start(registrar, Ears { doors, ..Ears::default() }, |_| node);
        let known = vec![asap[1].clone()];

        let mut elements = Vec::new();
        for number in 0..count {
            let host = net.host(format!("element-{number}"));
            let transport = Transport::Sctp {
                port: SERVICE_PORT,
                transport_use: TransportUse::DataAndControl,
                addresses: vec![net.address(host)],
            };
            let config = element::Config::new(handle, Policy::RoundRobin, transport, known.clone());
            let node = Party::Element(Box::new(PoolElement::new(config, service(number), random.fork())));
            let doors = vec![(Door::Asap, ASAP_PORT), (Door::Service, SERVICE_PORT)];
            net.start(host, Ears { doors, ..Ears::default() }, |_| node);
            elements.push(host);
        }
        let client = net.host("client");
        let mut scene =
            Self { net, elements, client, world, facts: BTreeMap::new(), order: 0, told: Vec::new() };
        // The registrar serves alone after a while, and everybody is registered, before the user comes.
        scene.passes(Duration::from_secs(20));
        let user = PoolUser::new(user::Config::new(known), random.fork());
        let node = Party::Client(Box::new(Client::new(user, application(handle))));
        let step = scene.net.start(client, Ears::default(), |_| node);
        scene.watch(step);
        scene
    }

    pub fn now(&self) -> Time {
        self.net.now()
    }

    /// The numbers of the living elements that serve somebody.
    pub fn serving(&self) -> Vec<usize> {
        let serves = |host: &HostId| match self.net.node(*host) {
            Some(Party::Element(element)) => element.session_count() > 0,
            _ => false,
        };
        (0..self.elements.len()).filter(|number| serves(&self.elements[*number])).collect()
    }

    pub fn service(&self, number: usize) -> &S {
        match self.net.node(self.elements[number]) {
            Some(Party::Element(element)) => element.service(),
            _ => panic!("element {number} is not alive"),
        }
    }

    /// The process of this element dies.
    pub fn crash(&mut self, number: usize) {
        self.net.crash(self.elements[number]);
    }

    /// It hangs.
    pub fn pause(&mut self, number: usize) {
        self.net.pause(self.elements[number]);
    }

    /// The application is told something.
    pub fn informs(&mut self, fact: A::Fact) {
        let call = |node: &mut Party<S, A>, now| match node {
            Party::Client(client) => client.inform(now, fact),
            _ => unreachable!("the client lives on its host"),
        };
        if let Some(((), step)) = self.net.call(self.client, call) {
            self.watch(step);
        }
    }

    /// Lets something happen until it is enough; at most ten minutes.
    pub fn until(&mut self, what: &str, enough: impl Fn(&Self) -> bool) {
        let end = self.net.now() + Duration::from_secs(600);
        while !enough(self) {
            let last = self.told.last().map(|(at, event)| format!("{at} {event:?}"));
            assert!(self.step(end), "'{what}' does not come true; last {last:?}");
        }
    }

    /// Lets time pass.
    pub fn passes(&mut self, span: Duration) {
        let end = self.net.now() + span;
        while self.step(end) {}
    }

    /// One thing happens; false: nothing until then, and it is then.
    fn step(&mut self, end: Time) -> bool {
        let due = self.facts.first_key_value().map(|((at, _), _)| *at).filter(|at| *at <= end);
        if let Some(step) = self.net.step(due.unwrap_or(end)) {
            self.watch(step);
            return true;
        }
        self.net.pass(due.unwrap_or(end));
        let Some(_) = due else { return false };
        let (_, (host, fact)) = self.facts.pop_first().expect("one is due");
        let call = |node: &mut Party<S, A>, now| match node {
            Party::Element(element) => element.inform(now, fact),
            _ => unreachable!("only elements have wishes"),
        };
        if let Some(((), step)) = self.net.call(host, call) {
            self.watch(step);
        }
        true
    }

    fn watch(&mut self, step: Step<Said<S::Wish, A::Event>>) {
        for (_, wish) in step.wishes {
            match wish {
                Output::Event(Said::Wish(wish)) => {
                    let number = self.elements.iter().position(|host| *host == step.host);
                    let Some(world) = &mut self.world else { continue };
                    for (after, fact) in world(number.expect("an element"), wish) {
                        self.order += 1;
                        self.facts.insert((self.net.now() + after, self.order), (step.host, fact));
                    }
                }
                Output::Event(Said::Client(event)) => self.told.push((self.net.now(), event)),
                _ => {}
            }
        }
    }
}
