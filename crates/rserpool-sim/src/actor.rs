//! Who lives on the hosts: registrars, elements and customers, workers and clients, the real code, each behind the same
//! thin skin.
//!
//! The skin does nothing, unless a test wants to see a check fire: then a [`Tamper`] sits in it and changes what the
//! node is told or wishes, as a mistake in its code would.

use crate::adder::{Adder, NoWish};
use crate::client::{Client, Said as ClientSaid};
use crate::customer::{Customer, Said as CustomerSaid};
use crate::worker::{Said as WorkerSaid, Worker};
use rserpool::{
    ElementId, Input, Node, Output, PoolElement, Registrar, RegistrarId, Time, element, registrar,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// One of the kinds of nodes.
pub enum Machine {
    /// A registrar.
    Registrar(Box<Registrar>),
    /// An element that adds.
    Element(Box<PoolElement<Adder>>),
    /// A user that has sums added up.
    Customer(Box<Customer>),
    /// An element that runs tasks.
    Worker(Box<Worker>),
    /// A user that has tasks run.
    Client(Box<Client>),
}

/// What a node tells its application.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A registrar.
    Registrar(registrar::Event),
    /// An element.
    Element(element::Event<NoWish>),
    /// A customer.
    Customer(CustomerSaid),
    /// A worker.
    Worker(WorkerSaid),
    /// A client.
    Client(ClientSaid),
}

/// A wish of any of them.
pub type Wish = Output<Said>;

impl Machine {
    fn handle(&mut self, now: Time, input: Input) {
        match self {
            Self::Registrar(node) => node.handle(now, input),
            Self::Element(node) => node.handle(now, input),
            Self::Customer(node) => node.handle(now, input),
            Self::Worker(node) => node.handle(now, input),
            Self::Client(node) => node.handle(now, input),
        }
    }

    fn poll(&mut self) -> Option<Wish> {
        match self {
            Self::Registrar(node) => Some(with(node.poll()?, Said::Registrar)),
            Self::Element(node) => Some(with(node.poll()?, Said::Element)),
            Self::Customer(node) => Some(with(node.poll()?, Said::Customer)),
            Self::Worker(node) => Some(with(node.poll()?, Said::Worker)),
            Self::Client(node) => Some(with(node.poll()?, Said::Client)),
        }
    }

    fn deadline(&self) -> Option<Time> {
        match self {
            Self::Registrar(node) => node.deadline(),
            Self::Element(node) => node.deadline(),
            Self::Customer(node) => node.deadline(),
            Self::Worker(node) => node.deadline(),
            Self::Client(node) => node.deadline(),
        }
    }
}

/// The same wish, its event in other words.
fn with<A, B>(wish: Output<A>, say: impl FnOnce(A) -> B) -> Output<B> {
    match wish {
        Output::Open { link, door, to, greeting } => Output::Open { link, door, to, greeting },
        Output::Send { link, ppid, bytes } => Output::Send { link, ppid, bytes },
        Output::Close { link, how } => Output::Close { link, how },
        Output::Announce { channel, bytes } => Output::Announce { channel, bytes },
        Output::Event(event) => Output::Event(say(event)),
    }
}

/// An element as registrars see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its identifier.
    pub id: ElementId,
    /// The registrar it takes for its home.
    pub home: Option<RegistrarId>,
}

impl Member {
    fn of<S: rserpool::Service>(element: &PoolElement<S>) -> Self {
        Self { id: element.id(), home: element.home() }
    }
}

/// A mistake: it stands between a node and the world. What it does not change passes.
pub trait Tamper {
    /// The world tells the node this. What is left of it, each fact after a delay?
    fn told(&mut self, _now: Time, _node: &Machine, input: Input) -> Vec<(Duration, Input)> {
        vec![(Duration::ZERO, input)]
    }

    /// The node wants to be woken then. When is it woken?
    fn deadline(&self, deadline: Option<Time>) -> Option<Time> {
        deadline
    }

    /// The node wishes this. What is left of it, and what does the node believe to hear in return?
    fn wished(&mut self, _now: Time, _node: &Machine, wish: Wish) -> (Vec<Wish>, Vec<Input>) {
        (vec![wish], Vec::new())
    }
}

/// A node in its skin.
pub struct Actor {
    machine: Machine,
    tamper: Option<Box<dyn Tamper>>,
    wishes: VecDeque<Wish>,
    late: BTreeMap<(Time, u64), Input>,
    order: u64,
}

impl Actor {
    /// This node, with a mistake or without.
    pub fn new(machine: Machine, tamper: Option<Box<dyn Tamper>>) -> Self {
        Self { machine, tamper, wishes: VecDeque::new(), late: BTreeMap::new(), order: 0 }
    }

    /// The registrar, if it is one.
    pub fn registrar(&self) -> Option<&Registrar> {
        match &self.machine {
            Machine::Registrar(node) => Some(node),
            _ => None,
        }
    }

    /// The element, if it is one.
    pub fn element(&self) -> Option<&PoolElement<Adder>> {
        match &self.machine {
            Machine::Element(node) => Some(node),
            _ => None,
        }
    }

    /// The customer, if it is one.
    pub fn customer(&self) -> Option<&Customer> {
        match &self.machine {
            Machine::Customer(node) => Some(node),
            _ => None,
        }
    }

    /// The worker, if it is one.
    pub fn worker(&self) -> Option<&Worker> {
        match &self.machine {
            Machine::Worker(node) => Some(node),
            _ => None,
        }
    }

    /// The client, if it is one.
    pub fn client(&self) -> Option<&Client> {
        match &self.machine {
            Machine::Client(node) => Some(node),
            _ => None,
        }
    }

    /// The identifier by which it is greeted; 0: anybody may have been meant.
    pub fn own(&self) -> u32 {
        match &self.machine {
            Machine::Registrar(node) => node.id().0,
            _ => self.member().map_or(0, |member| member.id.0),
        }
    }

    /// What registrars have to do with, if it is an element of whatever pool.
    pub fn member(&self) -> Option<Member> {
        match &self.machine {
            Machine::Element(node) => Some(Member::of(node)),
            Machine::Worker(node) => Some(Member::of(node.element())),
            _ => None,
        }
    }

    /// Calls the node as its application does.
    pub fn call(&mut self, now: Time, call: impl FnOnce(&mut Machine)) {
        call(&mut self.machine);
        self.drain(now);
    }

    /// Hands a fact to the node itself. Its wishes are taken before it is told the next one.
    fn tell(&mut self, now: Time, input: Input) {
        self.machine.handle(now, input);
        self.drain(now);
    }

    fn drain(&mut self, now: Time) {
        while let Some(wish) = self.machine.poll() {
            let Some(tamper) = &mut self.tamper else {
                self.wishes.push_back(wish);
                continue;
            };
            let (wishes, believed) = tamper.wished(now, &self.machine, wish);
            self.wishes.extend(wishes);
            for input in believed {
                self.order += 1;
                self.late.insert((now, self.order), input);
            }
        }
    }
}

impl Node for Actor {
    type Event = Said;

    fn handle(&mut self, now: Time, input: Input) {
        let Some(tamper) = &mut self.tamper else { return self.tell(now, input) };
        let mut at_once = Vec::new();
        for (delay, input) in tamper.told(now, &self.machine, input) {
            if delay.is_zero() {
                at_once.push(input);
            } else {
                self.order += 1;
                self.late.insert((now + delay, self.order), input);
            }
        }
        for input in at_once {
            self.tell(now, input);
        }
        while let Some(entry) = self.late.first_entry().filter(|entry| entry.key().0 <= now) {
            let input = entry.remove();
            self.tell(now, input);
        }
    }

    fn poll(&mut self) -> Option<Wish> {
        self.wishes.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        let late = self.late.first_key_value().map(|((at, _), _)| *at);
        let own = self.machine.deadline();
        let own = self.tamper.as_ref().map_or(own, |tamper| tamper.deadline(own));
        [own, late].into_iter().flatten().min()
    }
}
