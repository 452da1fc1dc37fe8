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
use crate::client::{Client, Said as ClientSaid};
use crate::count::{Counts, Fault};
use crate::customer::{Customer, Demand};
use crate::disk::Shared;
use crate::errand::Toil;
use crate::mutation::Mutation;
use crate::net::{self, Ears, Forger, HostId, Net, State, Step, Trace};
use crate::worker::{Said as WorkerSaid, Worker};
use rserpool::registrar::Arbitration;
use rserpool::wire::asap::Message;
use rserpool::wire::parameter::{Transport, TransportUse};
use rserpool::{
    Channel, Door, Endpoint, Load, Output, Policy, PoolElement, PoolHandle, PoolUser, Ppid, Protocol, Random,
    Registrar, Time, Timing, element, registrar, user,
};
use rserpool_compute::protocol::JobId;
use rserpool_compute::{Cookie, TaskService, job, service};
use std::collections::BTreeMap;
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
    /// How clients and workers of the compute pool are.
    pub toil: Toil,
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
            toil: Toil::default(),
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
    /// Workers: elements of the compute pool.
    pub workers: Vec<HostId>,
    /// Clients: users of the compute pool.
    pub clients: Vec<HostId>,
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
    /// Hosts whose processes are started again by themselves, and when.
    revivals: BTreeMap<(Time, HostId), ()>,
    /// The disks of clients that keep a journal.
    disks: BTreeMap<HostId, Shared>,
    /// The last cookies of the task service that were given away, oldest first.
    cookies: Vec<(JobId, Vec<u8>)>,
}

impl World {
    /// A world without anybody in it.
    pub fn new(scope: Scope) -> Self {
        let mut random = Random::from_seed(scope.seed);
        let mut net = Net::new(random.fork(), scope.net.clone(), Trace::keeping(scope.trace_lines));
        net.identify(Actor::own);
        Self {
            checks: Checks::all(&scope),
            scope,
            random,
            net,
            roster: Roster::default(),
            counts: Counts::default(),
            violation: None,
            revivals: BTreeMap::new(),
            disks: BTreeMap::new(),
            cookies: Vec::new(),
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

    /// Adds this many workers.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        for _ in 0..count {
            let host = self.net.host(format!("worker-{}", self.roster.workers.len() + 1));
            self.roster.workers.push(host);
            self.start(host);
        }
        self
    }

    /// Adds this many clients, each with a job.
    #[must_use]
    pub fn clients(mut self, count: usize) -> Self {
        for _ in 0..count {
            let host = self.net.host(format!("client-{}", self.roster.clients.len() + 1));
            self.roster.clients.push(host);
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
        } else if self.roster.workers.contains(&host) {
            self.worker_at(host, random)
        } else if self.roster.clients.contains(&host) {
            self.client_at(host, random)
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
        let policy = match self.roster.elements.iter().position(|other| *other == host) {
            Some(number) => self.scope.policy_of(number),
            None if self.scope.policy == Policy::Random => Policy::RoundRobin,
            None => Policy::Random,
        };
        let config = self.element_config(host, self.scope.demand.handle, policy);
        let service = Adder::new(self.scope.pace);
        (Machine::Element(Box::new(PoolElement::new(config, service, random))), self.element_ears())
    }

    fn worker_at(&self, host: HostId, random: Random) -> (Machine, Ears) {
        let toil = &self.scope.toil;
        let number = self.roster.workers.iter().position(|other| *other == host).unwrap_or(0);
        let slots = toil.slots_of(number);
        let config = self.element_config(host, toil.handle, toil.policy.clone());
        let name = self.net.name(host).to_owned();
        let mut settings = service::Config { slots, name, ..service::Config::default() };
        if let Some(mutation) = self.scope.mutation {
            mutation.misconfigures_service(&mut settings);
        }
        let element = PoolElement::new(config, TaskService::new(settings), random);
        (Machine::Worker(Box::new(Worker::new(element, toil.clone(), slots))), self.element_ears())
    }

    fn element_config(&self, host: HostId, handle: PoolHandle, policy: Policy) -> element::Config {
        let address = self.net.address(host);
        let transport_use = TransportUse::DataAndControl;
        let transport = match self.scope.sessions {
            Protocol::Sctp => Transport::Sctp { port: SERVICE_PORT, transport_use, addresses: vec![address] },
            Protocol::Tcp => Transport::Tcp { port: SERVICE_PORT, transport_use, address },
        };
        let mut config = element::Config::new(handle, policy, transport, self.known_registrars());
        // Whatever it is configured for, it may find a registrar's TCP endpoint in an announcement.
        config.asap_tcp = Some(SocketAddr::new(address, ASAP_PORT));
        config.timing = self.scope.timing.clone();
        config
    }

    fn element_ears(&self) -> Ears {
        let doors = vec![(Door::Asap, ASAP_PORT), (Door::Service, SERVICE_PORT)];
        Ears { doors, channels: self.hears_announcements() }
    }

    fn client_at(&mut self, host: HostId, mut random: Random) -> (Machine, Ears) {
        let toil = &self.scope.toil;
        let mut user = user::Config::new(self.known_registrars());
        user.timing = self.scope.timing.clone();
        let id = JobId((u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())).to_be_bytes());
        let mut config = job::Config::new(user, toil.handle, id);
        config.backups = toil.backups;
        config.deaths_max = toil.deaths_max;
        let number = self.roster.clients.iter().position(|other| *other == host).unwrap_or(0) as u64;
        let seed = Random::from_seed(self.scope.seed ^ number << 32).next_u64();
        let toil = toil.clone();
        let client = match toil.durable {
            true => Client::on(self.disks.entry(host).or_default().clone(), config, toil, seed, random),
            false => Client::new(config, toil, seed, random),
        };
        let ears = Ears { doors: Vec::new(), channels: self.hears_announcements() };
        (Machine::Client(Box::new(client)), ears)
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
        let revival = self.revivals.first_key_value().map(|(&key, ())| key).filter(|(at, _)| *at <= until);
        match self.net.step(revival.map_or(until, |(at, _)| at)) {
            Some(step) => {
                self.watched(&step);
                true
            }
            None if revival.is_some() => {
                let ((at, host), ()) = self.revivals.pop_first().expect("seen above");
                self.net.pass(at);
                if matches!(self.net.state(host), State::Crashed | State::Vanished) {
                    self.count(Fault::Join);
                    self.start(host);
                }
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
        for (_, wish) in &step.wishes {
            match wish {
                Output::Event(Said::Worker(WorkerSaid::Poisoned)) => {
                    self.counts.fault(Fault::Poison);
                    self.net.crash(step.host);
                    // Somebody looks after workers and starts them again.
                    let pause = Duration::from_millis(100 + self.random.below(1_000));
                    self.revivals.insert((self.now() + pause, step.host), ());
                }
                Output::Event(Said::Worker(WorkerSaid::Gone) | Said::Client(ClientSaid::Stopped)) => {
                    self.net.crash(step.host)
                }
                Output::Send { ppid: Ppid::ASAP, bytes, .. } if self.roster.workers.contains(&step.host) => {
                    self.remember_cookie(bytes);
                }
                _ => {}
            }
        }
    }

    /// Keeps a cookie a worker gave away, in case it is to be shown out of place.
    fn remember_cookie(&mut self, bytes: &[u8]) {
        let Ok(Message::Cookie { cookie }) = Message::parse(bytes) else { return };
        let Ok(Cookie { job, entries, .. }) = Cookie::verify(&cookie) else { return };
        if entries.iter().any(|entry| !entry.state.is_empty()) {
            if self.cookies.len() == 64 {
                self.cookies.remove(0);
            }
            self.cookies.push((job, cookie));
        }
    }

    // --- faults

    /// A process dies; the transports of the others notice.
    pub fn crash(&mut self, host: HostId) {
        if self.net.node(host).is_some() {
            let client = self.roster.clients.contains(&host);
            self.counts.fault(if client { Fault::ClientCrash } else { Fault::Crash });
            self.net.crash(host);
        }
    }

    /// A host is gone without a word.
    pub fn vanish(&mut self, host: HostId) {
        if self.net.node(host).is_some() {
            let client = self.roster.clients.contains(&host);
            self.counts.fault(if client { Fault::PowerLoss } else { Fault::Vanish });
            self.net.vanish(host);
            if let Some(disk) = self.disks.get(&host) {
                let mut disk = disk.borrow_mut();
                let torn = disk.torn();
                disk.loses_power(&mut self.random);
                self.counts.torn += disk.torn() - torn;
            }
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
        // The sum, or the sequence, becomes another one; version and length stay right.
        self.net.forge(
            host,
            echo_forger(|mut cookie| cookie.get_mut(31).map(|octet| *octet ^= 1).map(|()| cookie)),
        );
    }

    /// The next cookie that is echoed to this worker is replaced by an older one of the same job, or by one of another
    /// job; without such a one it passes.
    pub fn shows_old_cookie(&mut self, host: HostId, foreign: bool) {
        self.counts.fault(if foreign { Fault::ForeignCookie } else { Fault::StaleCookie });
        let kept = self.cookies.clone();
        self.net.forge(
            host,
            echo_forger(move |cookie| {
                let job = Cookie::verify(&cookie).ok()?.job;
                kept.iter()
                    .find(|(of, old)| (*of != job) == foreign && *old != cookie)
                    .map(|(_, old)| old.clone())
            }),
        );
    }

    /// A worker drains: it finishes or hands over what it has, and leaves.
    pub fn drains(&mut self, host: HostId) {
        if self.net.state(host) != State::Running || self.roster.leaving.contains(&host) {
            return;
        }
        self.counts.fault(Fault::Drain);
        self.roster.leaving.push(host);
        self.roster.changed = self.now();
        self.call(host, |machine, now| {
            if let Machine::Worker(worker) = machine {
                worker.drain(now);
            }
        });
    }

    /// A client cancels one of its tasks.
    pub fn cancels(&mut self, host: HostId) {
        self.counts.fault(Fault::Cancel);
        self.call(host, |machine, now| {
            if let Machine::Client(client) = machine {
                client.cancel_one(now);
            }
        });
    }

    /// The disk of a client takes only so many octets more; with `None`, as many as one likes.
    pub fn fills_disk(&mut self, host: HostId, left: Option<usize>) {
        let Some(disk) = self.disks.get(&host) else { return };
        if left.is_some() {
            self.counts.fault(Fault::FullDisk);
        }
        disk.borrow_mut().leaves_room(left);
    }

    /// The disk of a client becomes so many times slower than usual.
    pub fn slows_disk(&mut self, host: HostId, times: u32) {
        let Some(disk) = self.disks.get(&host) else { return };
        if times > 1 {
            self.counts.fault(Fault::SlowDisk);
        }
        disk.borrow_mut().slows(times);
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

    /// The worker of this number, from 0, if its process lives.
    pub fn worker(&self, number: usize) -> Option<&Worker> {
        self.net.node(self.roster.workers[number])?.worker()
    }

    /// The client of this number, from 0. A test that asks for one that died is wrong.
    pub fn client(&self, number: usize) -> &Client {
        let node = self.net.node(self.roster.clients[number]).and_then(Actor::client);
        node.expect("the test asks for a client that lives")
    }

    /// True once nobody wants anything any more.
    pub fn all_content(&self) -> bool {
        let nodes = |hosts: &[HostId]| hosts.iter().map(|host| self.net.node(*host)).collect::<Vec<_>>();
        nodes(&self.roster.customers)
            .into_iter()
            .all(|node| node.and_then(Actor::customer).is_some_and(Customer::is_content))
            && nodes(&self.roster.clients)
                .into_iter()
                .all(|node| node.and_then(Actor::client).is_some_and(Client::is_content))
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
        let wanted =
            living(&self.roster.elements) + living(&self.roster.workers) - living(&self.roster.leaving);
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

/// A forger that leaves everything alone but cookie echoes, and those for which `bend` has nothing better.
fn echo_forger(mut bend: impl FnMut(Vec<u8>) -> Option<Vec<u8>> + 'static) -> Forger {
    Box::new(move |ppid, bytes| {
        if ppid != Ppid::ASAP {
            return None;
        }
        let Ok(Message::CookieEcho { cookie }) = Message::parse(bytes) else { return None };
        Some(Message::CookieEcho { cookie: bend(cookie)? }.emit())
    })
}
