//! A scope of registrars, elements and customers on one simulated network, with everything that must be true watched at
//! every step.
//!
//! ```no_run
//! use rserpool_sim::world::{Scope, World};
//! # fn main() {
//! let mut world = World::new(Scope::new(7)).registrars(2).elements(3).customers(1);
//! world.runs_until("half of the work is done", |w| w.customer(0).accepted() == 10);
//! let element = world.serving(0).expect("somebody answered ten times");
//! world.crash(element);
//! world.runs_until("all is done", |w| w.customer(0).is_content());
//! world.must_be_fine();
//! # }
//! ```

use crate::actor::{Actor, Machine, Said};
use crate::adder::{Adder, Pace};
use crate::check::{Checks, Violation};
use crate::count::{Counts, Fault};
use crate::customer::{Customer, Demand};
use crate::mutation::Mutation;
use crate::net::{self, Ears, HostId, Net, State, Step, Trace};
use rserpool::registrar::Arbitration;
use rserpool::wire::asap::Message;
use rserpool::wire::parameter::{Transport, TransportUse};
use rserpool::{
    Channel, Door, Endpoint, Load, Output, Policy, PoolElement, PoolHandle, PoolUser, Ppid, Protocol, Random,
    Registrar, Time, Timing, element, registrar, user,
};
use std::net::SocketAddr;
use std::time::Duration;

/// The port of ASAP, of registrars and of elements that registrars come back to.
const ASAP_PORT: u16 = 3863;
/// The port of ENRP.
const ENRP_PORT: u16 = 9901;
/// The port of the elements' service.
const SERVICE_PORT: u16 = 7000;

/// How a simulated scope is made: all its nodes are alike in these things.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Where all chances come from.
    pub seed: u64,
    /// The timers of all nodes.
    pub timing: Timing,
    /// The network.
    pub net: net::Settings,
    /// Registrars announce themselves; otherwise, or besides if `listed`, everybody has a list of them.
    pub multicast: bool,
    /// Everybody is configured with a list of all registrars.
    pub listed: bool,
    /// The pool's policy; values that differ between elements are filled in.
    pub policy: Policy,
    /// What carries sessions.
    pub sessions: Protocol,
    /// What carries the ASAP links of elements and customers.
    pub control: Protocol,
    /// Which of two initiators must win a takeover.
    pub arbitration: Arbitration,
    /// How elements work.
    pub pace: Pace,
    /// What customers want.
    pub demand: Demand,
    /// A mistake built into the world, for tests that want to see a check fire.
    pub mutation: Option<Mutation>,
    /// How long each node makes the mistake, from its first fact on.
    pub mistaken_for: Duration,
    /// Lines of trace to keep.
    pub trace_lines: usize,
}

impl Scope {
    /// A scope with default timers and one round-robin pool, everything over SCTP, no multicast.
    pub fn new(seed: u64) -> Self {
        let handle = PoolHandle::new("adder").expect("1 to 32 octets");
        Self {
            seed,
            timing: Timing::default(),
            net: net::Settings::default(),
            multicast: false,
            listed: true,
            policy: Policy::RoundRobin,
            sessions: Protocol::Sctp,
            control: Protocol::Sctp,
            arbitration: Arbitration::LargerWins,
            pace: Pace::default(),
            demand: Demand {
                handle,
                jobs: 1,
                numbers: 20,
                window: 2,
                think: Duration::from_millis(20),
                curiosity: 0,
                heartbeat: true,
                careless: false,
            },
            mutation: None,
            mistaken_for: Duration::MAX,
            trace_lines: 400,
        }
    }

    /// The policy of the pool's `number`-th element: the same type, with values of its own.
    fn policy_of(&self, number: usize) -> Policy {
        let number = number as u32;
        match &self.policy {
            Policy::WeightedRoundRobin { .. } => Policy::WeightedRoundRobin { weight: 1 + number % 3 },
            Policy::WeightedRandom { .. } => Policy::WeightedRandom { weight: 1 + number % 3 },
            Policy::Priority { .. } => Policy::Priority { priority: number % 2 },
            Policy::LeastUsedDegradation { load, .. } => {
                let degradation = Load::from_ratio(1 + u64::from(number % 3), 30);
                Policy::LeastUsedDegradation { load: *load, degradation }
            }
            other => other.clone(),
        }
    }
}

/// Who is where, in order of creation.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// Registrars.
    pub registrars: Vec<HostId>,
    /// Elements.
    pub elements: Vec<HostId>,
    /// Customers.
    pub customers: Vec<HostId>,
    /// Elements that were asked to leave the pool and may not be missed any more.
    pub leaving: Vec<HostId>,
    /// When an element was last asked to leave, or to be chosen differently.
    pub changed: Time,
    /// Elements that want to join with a policy the pool does not have: nobody may admit them.
    pub contrary: Vec<HostId>,
}

/// The simulated scope, see the [module](self).
pub struct World {
    scope: Scope,
    random: Random,
    net: Net<Actor>,
    roster: Roster,
    checks: Checks,
    counts: Counts,
    violation: Option<Violation>,
}

impl World {
    /// A world without anybody in it.
    pub fn new(scope: Scope) -> Self {
        let mut random = Random::from_seed(scope.seed);
        let net = Net::new(random.fork(), scope.net.clone(), Trace::keeping(scope.trace_lines));
        Self {
            checks: Checks::all(&scope),
            scope,
            random,
            net,
            roster: Roster::default(),
            counts: Counts::default(),
            violation: None,
        }
    }

    /// Adds this many registrars. They know one another only if they are added together, or announce themselves.
    #[must_use]
    pub fn registrars(mut self, count: usize) -> Self {
        for _ in 0..count {
            let host = self.net.host(format!("registrar-{}", self.roster.registrars.len() + 1));
            self.roster.registrars.push(host);
        }
        for host in self.roster.registrars.clone() {
            self.start(host);
        }
        self
    }

    /// Adds this many elements.
    #[must_use]
    pub fn elements(mut self, count: usize) -> Self {
        for _ in 0..count {
            self.joins();
        }
        self
    }

    /// Adds this many customers.
    #[must_use]
    pub fn customers(mut self, count: usize) -> Self {
        for _ in 0..count {
            let host = self.net.host(format!("customer-{}", self.roster.customers.len() + 1));
            self.roster.customers.push(host);
            self.start(host);
        }
        self
    }

    /// A new element joins the pool.
    pub fn joins(&mut self) -> HostId {
        let host = self.net.host(format!("element-{}", self.roster.elements.len() + 1));
        self.roster.elements.push(host);
        self.start(host);
        host
    }

    /// A new element wants to join the pool with a policy that is not the pool's. It goes away once it has its answer.
    ///
    /// Only while the pool is there and everybody can talk, so that it is not the pool that contradicts the newcomer: an
    /// element that was refused does not ask again by itself.
    pub fn contradicts(&mut self) {
        let mut registrars =
            self.roster.registrars.iter().filter_map(|host| self.net.node(*host)?.registrar());
        let handle = &self.scope.demand.handle;
        if !self.net.is_calm() || !registrars.all(|r| r.handlespace().pool_len(handle) > 0) {
            return;
        }
        self.counts.fault(Fault::Contrary);
        let host = self.net.host(format!("contrary-{}", self.roster.contrary.len() + 1));
        self.roster.contrary.push(host);
        self.start(host);
    }

    /// Contrary elements go away, answered or not.
    pub fn silences(&mut self) {
        for host in self.roster.contrary.clone() {
            self.net.crash(host);
        }
    }

    /// Starts a process on a host, with nothing but its settings: a new incarnation.
    pub fn start(&mut self, host: HostId) {
        if matches!(self.net.state(host), State::Running | State::Paused) {
            return;
        }
        let random = self.random.fork();
        let (machine, ears) = if self.roster.registrars.contains(&host) {
            self.registrar_at(host, random)
        } else if self.roster.customers.contains(&host) {
            self.customer_at(random)
        } else {
            self.element_at(host, random)
        };
        self.roster.leaving.retain(|left| *left != host);
        let tamper = self.scope.mutation.and_then(|mutation| mutation.tamper(&self.scope));
        let step = self.net.start(host, ears, |_| Actor::new(machine, tamper));
        self.watched(&step);
    }

    fn registrar_at(&self, host: HostId, random: Random) -> (Machine, Ears) {
        let at = |protocol, port| Endpoint { protocol, addresses: vec![self.net.address(host)], port };
        let asap = vec![at(Protocol::Tcp, ASAP_PORT), at(Protocol::Sctp, ASAP_PORT)];
        let mut config = registrar::Config::new(asap, at(Protocol::Sctp, ENRP_PORT));
        if self.scope.listed {
            let others = self.roster.registrars.iter().filter(|other| **other != host);
            config.peers = others.map(|other| self.endpoint(*other, Protocol::Sctp, ENRP_PORT)).collect();
        }
        config.multicast = self.scope.multicast;
        config.timing = self.scope.timing.clone();
        config.arbitration = self.scope.arbitration;
        if let Some(mutation) = self.scope.mutation {
            mutation.misconfigures(&mut config);
        }
        let mut ears =
            Ears { doors: vec![(Door::Asap, ASAP_PORT), (Door::Enrp, ENRP_PORT)], ..Ears::default() };
        if self.scope.multicast {
            ears.channels = vec![Channel::Asap, Channel::Enrp];
        }
        (Machine::Registrar(Box::new(Registrar::new(config, random))), ears)
    }

    fn element_at(&self, host: HostId, random: Random) -> (Machine, Ears) {
        let address = self.net.address(host);
        let transport_use = TransportUse::DataAndControl;
        let transport = match self.scope.sessions {
            Protocol::Sctp => Transport::Sctp { port: SERVICE_PORT, transport_use, addresses: vec![address] },
            Protocol::Tcp => Transport::Tcp { port: SERVICE_PORT, transport_use, address },
        };
        let policy = match self.roster.elements.iter().position(|other| *other == host) {
            Some(number) => self.scope.policy_of(number),
            None if self.scope.policy == Policy::Random => Policy::RoundRobin,
            None => Policy::Random,
        };
        let mut config =
            element::Config::new(self.scope.demand.handle, policy, transport, self.known_registrars());
        // Whatever it is configured for, it may find a registrar's TCP endpoint in an announcement.
        config.asap_tcp = Some(SocketAddr::new(address, ASAP_PORT));
        config.timing = self.scope.timing.clone();
        let service = Adder::new(self.scope.pace);
        let doors = vec![(Door::Asap, ASAP_PORT), (Door::Service, SERVICE_PORT)];
        let ears = Ears { doors, channels: self.hears_announcements() };
        (Machine::Element(Box::new(PoolElement::new(config, service, random))), ears)
    }

    fn customer_at(&self, mut random: Random) -> (Machine, Ears) {
        let mut config = user::Config::new(self.known_registrars());
        config.timing = self.scope.timing.clone();
        let user = PoolUser::new(config, random.fork());
        let customer = Customer::new(user, self.scope.demand.clone(), random);
        let ears = Ears { doors: Vec::new(), channels: self.hears_announcements() };
        (Machine::Customer(Box::new(customer)), ears)
    }

    fn known_registrars(&self) -> Vec<Endpoint> {
        let all = self.roster.registrars.iter().filter(|_| self.scope.listed);
        all.map(|host| self.endpoint(*host, self.scope.control, ASAP_PORT)).collect()
    }

    fn hears_announcements(&self) -> Vec<Channel> {
        if self.scope.multicast { vec![Channel::Asap] } else { Vec::new() }
    }

    fn endpoint(&self, host: HostId, protocol: Protocol, port: u16) -> Endpoint {
        Endpoint { protocol, addresses: vec![self.net.address(host)], port }
    }

    // --- time

    /// The world's clock.
    pub fn now(&self) -> Time {
        self.net.now()
    }

    /// Lets something happen, at the latest until `until`. False if nothing did, or if a promise was broken before:
    /// a world stops there.
    pub fn step(&mut self, until: Time) -> bool {
        if self.violation.is_some() {
            return false;
        }
        match self.net.step(until) {
            Some(step) => {
                self.watched(&step);
                true
            }
            None => {
                self.net.pass(until);
                false
            }
        }
    }

    /// Lets this much time pass.
    pub fn runs(&mut self, span: Duration) {
        let until = self.now() + span;
        while self.step(until) {}
    }

    /// Lets time pass until something is so; a world where it is not within ten minutes, or that broke a promise before,
    /// fails the test that asked, with its trace.
    pub fn runs_until(&mut self, what: &str, so: impl Fn(&Self) -> bool) {
        let limit = self.now() + Duration::from_secs(600);
        while !so(self) {
            if !self.step(limit) {
                self.must_be_fine();
                panic!("seed {}: it never came about that {what}\n{}", self.scope.seed, self.story());
            }
        }
    }

    /// Lets time pass until something is so, at the latest for `span`. True if it came about.
    pub fn runs_until_or(&mut self, span: Duration, so: impl Fn(&Self) -> bool) -> bool {
        let until = self.now() + span;
        while !so(self) {
            if !self.step(until) {
                return so(self);
            }
        }
        true
    }

    fn watched(&mut self, step: &Step<Said>) {
        self.counts.step(step);
        let found = self.checks.watch(&self.net, &self.scope, &self.roster, step);
        if let Err(violation) = found {
            self.net.note("check", &violation.to_string());
            self.violation.get_or_insert(violation);
        }
        let answered = step.wishes.iter().any(|(_, wish)| {
            let Output::Event(Said::Element(event)) = wish else { return false };
            matches!(event, element::Event::Registered { .. } | element::Event::Refused { .. })
        });
        if answered && self.roster.contrary.contains(&step.host) {
            self.net.crash(step.host);
        }
    }

    // --- faults

    /// A process dies; the transports of the others notice.
    pub fn crash(&mut self, host: HostId) {
        if self.net.node(host).is_some() {
            self.counts.fault(Fault::Crash);
            self.net.crash(host);
        }
    }

    /// A host is gone without a word.
    pub fn vanish(&mut self, host: HostId) {
        if self.net.node(host).is_some() {
            self.counts.fault(Fault::Vanish);
            self.net.vanish(host);
        }
    }

    /// A process stops.
    pub fn pause(&mut self, host: HostId) {
        if self.net.state(host) == State::Running {
            self.counts.fault(Fault::Pause);
            self.net.pause(host);
        }
    }

    /// A stopped process goes on.
    pub fn resume(&mut self, host: HostId) {
        self.net.resume(host);
    }

    /// Nothing gets from the first to the second any more.
    pub fn cut(&mut self, from: HostId, to: HostId) {
        self.counts.fault(Fault::Cut);
        self.net.cut(from, to);
    }

    /// Nothing gets from one group to the other any more, either way.
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        self.counts.fault(Fault::Partition);
        self.net.partition(one, other);
    }

    /// Everything from the first gets to the second this many times slower.
    pub fn slow(&mut self, from: HostId, to: HostId, times: u32) {
        self.counts.fault(Fault::Slow);
        self.net.slow(from, to, times);
    }

    /// The transport loses the links between two hosts that live.
    pub fn reset(&mut self, a: HostId, b: HostId) {
        self.counts.fault(Fault::Reset);
        self.net.reset(a, b);
    }

    /// Both ways between two hosts work again, at their usual speed.
    pub fn heals(&mut self, a: HostId, b: HostId) {
        self.counts.heals += u64::from(self.net.cut_since(a, b).is_some());
        self.net.heal(a, b);
        self.net.heal(b, a);
    }

    /// All paths are whole again.
    pub fn heals_all(&mut self) {
        let cut = |a| self.net.hosts().any(|b| self.net.is_cut(a, b));
        self.counts.heals += u64::from(self.net.hosts().any(cut));
        self.net.heal_all();
    }

    /// An element leaves the pool in good order.
    pub fn leaves(&mut self, host: HostId) {
        if self.net.state(host) == State::Running && !self.roster.leaving.contains(&host) {
            self.counts.fault(Fault::Leave);
            self.roster.leaving.push(host);
            self.roster.changed = self.now();
            self.call(host, |machine, now| {
                if let Machine::Element(element) = machine {
                    element.deregister(now);
                }
            });
        }
    }

    /// An element wants to be chosen differently; the type of its policy must stay that of the pool.
    pub fn changes_policy(&mut self, host: HostId, policy: Policy) {
        self.roster.changed = self.now();
        self.call(host, |machine, now| {
            if let Machine::Element(element) = machine {
                element.set_policy(now, policy);
            }
        });
    }

    /// A customer wants another element.
    pub fn changes_element(&mut self, host: HostId) {
        self.counts.fault(Fault::Change);
        self.call(host, |machine, now| {
            if let Machine::Customer(customer) = machine {
                customer.change_element(now);
            }
        });
    }

    /// The next cookie that is echoed to this element is falsified on its way.
    pub fn forges_cookie(&mut self, host: HostId) {
        self.counts.fault(Fault::Forgery);
        self.net.forge(host, |ppid, bytes| {
            if ppid != Ppid::ASAP {
                return None;
            }
            let Ok(Message::CookieEcho { mut cookie }) = Message::parse(bytes) else { return None };
            // The sum becomes another one; version and length stay right.
            *cookie.get_mut(31)? ^= 1;
            Some(Message::CookieEcho { cookie }.emit())
        });
    }

    /// A customer asks for the whole pool.
    pub fn looks_around(&mut self, host: HostId) {
        self.call(host, |machine, now| {
            if let Machine::Customer(customer) = machine {
                customer.look_around(now);
            }
        });
    }

    fn call(&mut self, host: HostId, call: impl FnOnce(&mut Machine, Time)) {
        let called = self.net.call(host, |actor, now| actor.call(now, |machine| call(machine, now)));
        if let Some(((), step)) = called {
            self.watched(&step);
        }
    }

    pub(crate) fn count(&mut self, fault: Fault) {
        self.counts.fault(fault);
    }

    // --- what there is to see

    /// The network.
    pub fn net(&self) -> &Net<Actor> {
        &self.net
    }

    /// The settings.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Who is where.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// What happened how often.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The checks, with how often each had something to look at.
    pub fn checks(&self) -> &Checks {
        &self.checks
    }

    /// The registrar of this number, from 0, if its process lives.
    pub fn registrar(&self, number: usize) -> Option<&Registrar> {
        self.net.node(self.roster.registrars[number])?.registrar()
    }

    /// The customer of this number, from 0. A test that asks for one that died is wrong.
    pub fn customer(&self, number: usize) -> &Customer {
        let node = self.net.node(self.roster.customers[number]).and_then(Actor::customer);
        node.expect("the test asks for a customer that lives")
    }

    /// The element of this number, from 0, if its process lives.
    pub fn element(&self, number: usize) -> Option<&PoolElement<Adder>> {
        self.net.node(self.roster.elements[number])?.element()
    }

    /// The host of the element that serves a customer now.
    pub fn serving(&self, customer: usize) -> Option<HostId> {
        let wanted = self.customer(customer).element()?;
        self.roster.elements.iter().copied().find(|host| {
            self.net.node(*host).and_then(Actor::element).is_some_and(|element| element.id() == wanted)
        })
    }

    /// The host of the registrar with this identifier.
    pub fn host_of(&self, id: rserpool::RegistrarId) -> Option<HostId> {
        self.roster.registrars.iter().copied().find(|host| {
            self.net.node(*host).and_then(Actor::registrar).is_some_and(|registrar| registrar.id() == id)
        })
    }

    /// True once every element that wants to be is known to every registrar.
    pub fn all_known(&self) -> bool {
        let living = |hosts: &[HostId]| hosts.iter().filter(|host| self.net.node(**host).is_some()).count();
        let wanted = living(&self.roster.elements) - living(&self.roster.leaving);
        let mut registrars =
            self.roster.registrars.iter().filter_map(|host| self.net.node(*host)?.registrar());
        registrars.all(|registrar| registrar.handlespace().len() == wanted)
    }

    /// The promise that was broken, if one was.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The last part of the trace.
    pub fn story(&self) -> String {
        self.net.trace().lines().map(|line| format!("{line}\n")).collect()
    }

    /// Fails the test that asks, with seed and trace, if a promise was broken.
    pub fn must_be_fine(&self) {
        if let Some(violation) = &self.violation {
            panic!("seed {}: {violation}\n{}", self.scope.seed, self.story());
        }
    }
}
