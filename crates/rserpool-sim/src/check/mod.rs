//! What must be true, each promise one function: its id, its kind, its sentence, and how to tell.
//!
//! Checks stand outside. They see the bytes on links, what nodes tell their applications, and the public views of nodes;
//! they keep their own books. Each looks at every step of the world ([`Scene`]) and says whether it found something to
//! look at ([`Seen`]), so that a promise nobody ever tried is noticed as well.
//!
//! | kind | holds |
//! | --- | --- |
//! | safety | after every step |
//! | convergence | when nothing was broken, and nobody did anything, for a bounded time |
//! | liveness | when nothing was broken for a bounded time |
//!
//! The bounds are formulas of the timers (`rserpool::timing`).

mod arbitration;
mod handlespace;
mod jobs;
mod journal;
mod policy;
mod progress;
mod resolution;
mod session;

use crate::actor::{Actor, Said};
use crate::adder::{ADDING, Word};
use crate::client::Client;
use crate::net::{HostId, Net, Over, State, Step};
use crate::worker::Worker;
use crate::world::{Roster, Scope};
use rserpool::link;
use rserpool::wire::parameter::PoolElement;
use rserpool::wire::{asap, enrp};
use rserpool::{
    Channel, Door, ElementId, Input, LinkId, Output, PoolHandle, Ppid, Registrar, RegistrarId, Time,
};
use rserpool_compute::protocol::{Frame, Frames, PPID};
use std::cell::OnceCell;
use std::fmt;
use std::time::Duration;

/// When a promise holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// After every step.
    Safety,
    /// When nothing was broken and nobody did anything for a bounded time.
    Convergence,
    /// When nothing was broken for a bounded time.
    Liveness,
}

/// What a check found in a step that breaks no promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing it is about.
    Nothing,
    /// Its promise was tried, and kept.
    Kept,
}

/// `Err`: the promise is broken, and how.
pub type Verdict = Result<Seen, String>;

/// A promise and how to tell whether it is kept.
pub struct Check {
    /// As in the table of invariants.
    pub id: &'static str,
    /// When it holds.
    pub kind: Kind,
    /// What it says.
    pub sentence: &'static str,
    watch: Box<dyn FnMut(&Scene<'_>) -> Verdict>,
    /// In how many steps it was tried.
    pub tried: u64,
}

impl Check {
    fn new(
        id: &'static str,
        kind: Kind,
        sentence: &'static str,
        watch: impl FnMut(&Scene<'_>) -> Verdict + 'static,
    ) -> Self {
        Self { id, kind, sentence, watch: Box::new(watch), tried: 0 }
    }
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub id: &'static str,
    /// What it says.
    pub sentence: &'static str,
    /// When.
    pub at: Time,
    /// How it was broken.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} broken at {}: {} (\"{}\")", self.id, self.at, self.how, self.sentence)
    }
}

/// All checks of a world, each with its books.
pub struct Checks {
    checks: Vec<Check>,
    /// When a customer last did something, or was told something by its element.
    busy: Time,
}

impl Checks {
    /// Every check there is.
    pub fn all(scope: &Scope) -> Self {
        let checks = vec![
            handlespace::h1(),
            handlespace::h2(),
            handlespace::h3(),
            handlespace::h5(),
            handlespace::h6(),
            handlespace::h7(),
            handlespace::h8(),
            resolution::h17(),
            resolution::h10(),
            arbitration::h11(),
            arbitration::h12(),
            arbitration::h13(),
            policy::p1(),
            policy::p2(),
            policy::p3(),
            policy::p4(),
            session::s1(),
            session::s2(),
            session::s3(),
            session::s4(),
            session::s5(scope),
            session::j2(),
            session::j7(),
            jobs::j2(),
            jobs::j7(),
            journal::j4(),
            journal::j5(),
            journal::j6(),
            jobs::j11(),
            jobs::j1(),
            jobs::j8(),
            jobs::j10(),
            progress::s2(),
            progress::s6(),
            progress::s9(),
            jobs::j3(),
        ];
        Self { checks, busy: Time::ZERO }
    }

    /// The checks, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter()
    }

    /// Shows a step to every check; the first broken promise is the answer.
    pub fn watch(
        &mut self,
        net: &Net<Actor>,
        scope: &Scope,
        roster: &Roster,
        step: &Step<Said>,
    ) -> Result<(), Violation> {
        let asks = roster.customers.contains(&step.host) || roster.clients.contains(&step.host);
        if asks && step.over.is_none_or(|over| over.door == Door::Service) {
            let works = matches!(step.input, Some(Input::Message { ppid: ADDING | PPID, .. }))
                || step.wishes.iter().any(|(_, wish)| !matches!(wish, Output::Send { ppid: Ppid::LINK, .. }));
            if works {
                self.busy = step.at;
            }
        }
        // What a worker does besides shows in the load it reports.
        if step.wishes.iter().any(|(_, wish)| matches!(wish, Output::Event(Said::Worker(_)))) {
            self.busy = step.at;
        }
        let scene = Scene::new(net, scope, roster, step, self.busy);
        for check in &mut self.checks {
            match (check.watch)(&scene) {
                Ok(Seen::Nothing) => {}
                Ok(Seen::Kept) => check.tried += 1,
                Err(how) => {
                    let (id, sentence) = (check.id, check.sentence);
                    return Err(Violation { id, sentence, at: step.at, how });
                }
            }
        }
        Ok(())
    }
}

/// A message, understood.
#[derive(Clone, Debug)]
pub enum Message {
    /// ASAP, cookies included.
    Asap(asap::Message),
    /// ENRP.
    Enrp(enrp::Message),
    /// The adder's.
    Adding(Word),
    /// The task protocol's.
    Tasks(Vec<Frame>),
    /// A sign of life within a link.
    Link(link::Frame),
    /// None of them.
    Unreadable,
}

impl Message {
    fn read(ppid: Ppid, bytes: &[u8]) -> Self {
        match ppid {
            Ppid::ASAP => asap::Message::parse(bytes).map_or(Self::Unreadable, Self::Asap),
            Ppid::ENRP => enrp::Message::parse(bytes).map_or(Self::Unreadable, Self::Enrp),
            Ppid::LINK => link::Frame::parse(bytes).map_or(Self::Unreadable, Self::Link),
            ADDING => Word::parse(bytes).map_or(Self::Unreadable, Self::Adding),
            PPID => Frames::of(bytes).collect::<Result<_, _>>().map_or(Self::Unreadable, Self::Tasks),
            _ => Self::Unreadable,
        }
    }
}

/// An entry of a registrar's handlespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its pool.
    pub handle: PoolHandle,
    /// The element.
    pub element: PoolElement,
}

impl Entry {
    /// Pool and identifier: what must be unique.
    pub fn key(&self) -> (PoolHandle, ElementId) {
        (self.handle, self.element.id)
    }
}

/// A step, and all there is to see around it.
pub struct Scene<'a> {
    /// The network.
    pub net: &'a Net<Actor>,
    /// How the world is made.
    pub scope: &'a Scope,
    /// Who is where.
    pub roster: &'a Roster,
    /// What happened.
    pub step: &'a Step<Said>,
    heard: Option<Message>,
    said: Vec<(Option<Over>, Message)>,
    busy: Time,
    entries: OnceCell<Vec<Entry>>,
    calm_for: OnceCell<Duration>,
}

impl<'a> Scene<'a> {
    fn new(
        net: &'a Net<Actor>,
        scope: &'a Scope,
        roster: &'a Roster,
        step: &'a Step<Said>,
        busy: Time,
    ) -> Self {
        let heard = match &step.input {
            Some(Input::Message { ppid, bytes, .. }) => Some(Message::read(*ppid, bytes)),
            Some(Input::Heard { channel: Channel::Asap, bytes, .. }) => {
                Some(Message::read(Ppid::ASAP, bytes))
            }
            Some(Input::Heard { channel: Channel::Enrp, bytes, .. }) => {
                Some(Message::read(Ppid::ENRP, bytes))
            }
            _ => None,
        };
        let said = step.wishes.iter().filter_map(|(over, wish)| match wish {
            Output::Send { ppid, bytes, .. } => Some((*over, Message::read(*ppid, bytes))),
            Output::Announce { channel: Channel::Asap, bytes } => {
                Some((None, Message::read(Ppid::ASAP, bytes)))
            }
            Output::Announce { channel: Channel::Enrp, bytes } => {
                Some((None, Message::read(Ppid::ENRP, bytes)))
            }
            _ => None,
        });
        let said = said.collect();
        let (entries, calm_for) = (OnceCell::new(), OnceCell::new());
        Self { net, scope, roster, step, heard, said, busy, entries, calm_for }
    }

    /// Who was told something.
    pub fn host(&self) -> HostId {
        self.step.host
    }

    /// When, by the world's clock.
    pub fn now(&self) -> Time {
        self.step.at
    }

    /// The host and its incarnation: books are kept by process.
    pub fn process(&self) -> (HostId, u64) {
        (self.step.host, self.net.incarnation(self.step.host))
    }

    /// The registrar that was told something, if it was one.
    pub fn registrar(&self) -> Option<&'a Registrar> {
        self.net.node(self.step.host)?.registrar()
    }

    /// The worker that was told something, if it was one.
    pub fn worker(&self) -> Option<&'a Worker> {
        self.net.node(self.step.host)?.worker()
    }

    /// The client that was told something, if it was one.
    pub fn client(&self) -> Option<&'a Client> {
        self.net.node(self.step.host)?.client()
    }

    /// The frames of the task protocol that came, with their link.
    pub fn heard_frames(&self) -> impl Iterator<Item = (&Frame, Over)> {
        let heard = match (&self.heard, self.step.over) {
            (Some(Message::Tasks(frames)), Some(over)) => Some((frames, over)),
            _ => None,
        };
        heard.into_iter().flat_map(|(frames, over)| frames.iter().map(move |frame| (frame, over)))
    }

    /// The frames of the task protocol that were sent, in order, each with its link.
    pub fn said_frames(&self) -> impl Iterator<Item = (&Frame, Over)> {
        self.said()
            .filter_map(|(over, message)| match (message, over) {
                (Message::Tasks(frames), Some(over)) => Some(frames.iter().map(move |frame| (frame, over))),
                _ => None,
            })
            .flatten()
    }

    /// True if a customer was told something.
    pub fn is_customer(&self) -> bool {
        self.roster.customers.contains(&self.step.host)
    }

    /// True if an element was told something.
    pub fn is_element(&self) -> bool {
        self.net.node(self.step.host).is_some_and(|actor| actor.element().is_some())
    }

    /// The ASAP message that came over a link to this door.
    pub fn heard_asap(&self, door: Door) -> Option<(&asap::Message, Over)> {
        match (&self.heard, self.step.over) {
            (Some(Message::Asap(message)), Some(over)) if over.door == door => Some((message, over)),
            _ => None,
        }
    }

    /// The ENRP message that came, over a link or an announcement.
    pub fn heard_enrp(&self) -> Option<&enrp::Message> {
        match &self.heard {
            Some(Message::Enrp(message)) => Some(message),
            _ => None,
        }
    }

    /// The adder's word that came.
    pub fn heard_word(&self) -> Option<(Word, Over)> {
        match (&self.heard, self.step.over) {
            (Some(Message::Adding(word)), Some(over)) => Some((*word, over)),
            _ => None,
        }
    }

    /// Everything that was sent, in order, with its link; announcements without.
    pub fn said(&self) -> impl Iterator<Item = (Option<Over>, &Message)> {
        self.said.iter().map(|(over, message)| (*over, message))
    }

    /// The ASAP messages among it.
    pub fn said_asap(&self) -> impl Iterator<Item = (Option<Over>, &asap::Message)> {
        self.said().filter_map(|(over, message)| match message {
            Message::Asap(message) => Some((over, message)),
            _ => None,
        })
    }

    /// The ENRP messages among it.
    pub fn said_enrp(&self) -> impl Iterator<Item = &enrp::Message> {
        self.said().filter_map(|(_, message)| match message {
            Message::Enrp(message) => Some(message),
            _ => None,
        })
    }

    /// What the node told its application.
    pub fn events(&self) -> impl Iterator<Item = &Said> {
        self.step.wishes.iter().filter_map(|(_, wish)| match wish {
            Output::Event(said) => Some(said),
            _ => None,
        })
    }

    /// Links that ended in this step for the node, by the world or by itself.
    pub fn ended(&self) -> impl Iterator<Item = LinkId> {
        let closed = match self.step.input {
            Some(Input::Closed { link, .. }) => Some(link),
            _ => None,
        };
        closed.into_iter().chain(self.step.wishes.iter().filter_map(|(_, wish)| match wish {
            Output::Close { link, .. } => Some(*link),
            _ => None,
        }))
    }

    /// The handlespace of the registrar that was told something, in order.
    pub fn entries(&self) -> &[Entry] {
        self.entries.get_or_init(|| self.registrar().map(entries_of).unwrap_or_default())
    }

    /// All registrars whose processes run.
    pub fn registrars(&self) -> impl Iterator<Item = (HostId, &'a Registrar)> {
        let running = self.roster.registrars.iter().filter(|host| self.net.state(**host) == State::Running);
        running.filter_map(|host| Some((*host, self.net.node(*host)?.registrar()?)))
    }

    /// Where an element's process lives, if it does.
    pub fn element_host(&self, id: ElementId) -> Option<HostId> {
        let roster = self.roster;
        let mut all = roster.elements.iter().chain(&roster.workers).chain(&roster.contrary).copied();
        all.find(|host| self.net.node(*host).and_then(Actor::member).is_some_and(|member| member.id == id))
    }

    /// Where a registrar's process lives, if it does.
    pub fn registrar_host(&self, id: RegistrarId) -> Option<HostId> {
        self.roster.registrars.iter().copied().find(|host| {
            self.net.node(*host).and_then(Actor::registrar).is_some_and(|registrar| registrar.id() == id)
        })
    }

    /// Every element that runs and wants to be in its pool, with the pool.
    pub fn willing(&self) -> impl Iterator<Item = (HostId, PoolHandle, ElementId)> {
        let adders = self.roster.elements.iter().map(|host| (*host, self.scope.demand.handle));
        let workers = self.roster.workers.iter().map(|host| (*host, self.scope.toil.handle));
        adders.chain(workers).filter_map(|(host, pool)| {
            let wants = self.net.state(host) == State::Running && !self.roster.leaving.contains(&host);
            let member = self.net.node(host)?.member().filter(|_| wants)?;
            Some((host, pool, member.id))
        })
    }

    /// The longest one-way delay.
    pub fn delay(&self) -> Duration {
        self.scope.net.delay_max + self.scope.net.wake_late_max
    }

    /// For how long nothing has been broken, repaired, started or stopped, and nobody asked to leave or to change.
    pub fn calm_for(&self) -> Duration {
        *self.calm_for.get_or_init(|| match self.net.is_calm() {
            true => self.now().since(self.net.last_trouble().max(self.roster.changed)),
            false => Duration::ZERO,
        })
    }

    /// For how long, besides, no customer did anything.
    pub fn idle_for(&self) -> Duration {
        self.calm_for().min(self.now().since(self.busy))
    }

    /// True if these two processes run, and have for `span`, without trouble on the path between them.
    pub fn undisturbed(&self, a: HostId, b: HostId, span: Duration) -> bool {
        let long_ago = |moment: Time| self.now().since(moment) > span;
        let runs = |host| self.net.state(host) == State::Running && long_ago(self.net.changed(host));
        runs(a) && runs(b) && self.net.trouble_between(a, b).is_none_or(long_ago)
    }
}

/// The handlespace of a registrar as a list, in order.
pub fn entries_of(registrar: &Registrar) -> Vec<Entry> {
    let all = registrar.handlespace().elements(None, None);
    all.map(|(handle, element)| Entry { handle: *handle, element: element.clone() }).collect()
}
