//! A network of processes in one value: hosts, links, one queue of timed events, one generator.
//!
//! The network knows nodes only by their contract ([`Node`]) and plays the world to them:
//!
//! ```text
//!   step: take the earliest event -> tell one node one fact -> take all its wishes -> carry them out as events
//! ```
//!
//! * Links keep their order; every message has a delay of its own, at most [`Settings::delay_max`] while the path is in
//!   good order. A lost packet is a later one: the transport repeats it.
//! * Announcements are datagrams: lost, doubled, overtaken.
//! * A host can crash (its process dies; the transport tells the other sides a little later), vanish (nobody is told),
//!   pause (links stay up, mail queues; when it goes on, mail comes before `Wake`), and start again, empty.
//! * Paths can be cut, one way or both, slowed down, and healed.
//! * Every host has a clock of its own, which differs from the others by a constant: whoever sends a moment over the
//!   wire, or compares two clocks, is found out.
//!
//! Equal seeds and equal calls give equal runs.

mod faults;
mod link;
mod trace;

#[cfg(test)]
mod tests;

use link::{Frame, Link, Side};
use rserpool::{
    Cause, Channel, Door, Ending, Endpoint, Input, LinkId, Node, Output, Ppid, Protocol, Random, Time,
};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
pub(crate) use trace::Hash;
pub use trace::Trace;

/// A host of the network, in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostId(pub usize);

/// How the network behaves while nothing is broken on purpose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Shortest one-way delay of a message.
    pub delay_min: Duration,
    /// Longest one-way delay of a message on an unbroken path, repetitions of lost packets included.
    pub delay_max: Duration,
    /// Messages in a thousand that lose a packet on the way and arrive near `delay_max`.
    pub loss_permille: u32,
    /// Announcements in a thousand that are lost, for each listener anew.
    pub announce_loss_permille: u32,
    /// Announcements in a thousand that arrive twice.
    pub announce_twice_permille: u32,
    /// How late a node is woken at most: the scheduling of an operating system.
    pub wake_late_max: Duration,
    /// How long the transport takes at most to notice that the process at the other end died.
    pub crash_notice_max: Duration,
    /// How long a path must be cut until the transport gives up its links; each end decides for itself, up to a
    /// quarter earlier.
    pub link_loss: Duration,
    /// How long the transport tries to open a link to somebody who does not answer at all.
    pub connect_give_up: Duration,
    /// Octets on their way in one direction of a link, above which the sender's link is ended (`Cause::Overflow`).
    pub buffer_max: usize,
    /// The canary's: messages of a link overtake one another. No world is like that; checks must notice.
    pub disorder: bool,
}

impl Default for Settings {
    /// A busy local network.
    fn default() -> Self {
        Self {
            delay_min: Duration::from_micros(50),
            delay_max: Duration::from_millis(20),
            loss_permille: 10,
            announce_loss_permille: 50,
            announce_twice_permille: 20,
            wake_late_max: Duration::from_micros(500),
            crash_notice_max: Duration::from_millis(100),
            link_loss: Duration::from_secs(2),
            connect_give_up: Duration::from_secs(3),
            buffer_max: 8 << 20,
            disorder: false,
        }
    }
}

/// What a process listens to.
#[derive(Clone, Debug, Default)]
pub struct Ears {
    /// Doors with their port, the same for all protocols; links are opened from these too.
    pub doors: Vec<(Door, u16)>,
    /// Announcement channels.
    pub channels: Vec<Channel>,
}

/// One thing that happened: a node was told a fact (or called) and made its wishes.
#[derive(Clone, Debug)]
pub struct Step<E> {
    /// When, by the world's clock.
    pub at: Time,
    /// To whom.
    pub host: HostId,
    /// The fact; `None` for a typed call.
    pub input: Option<Input>,
    /// The link the fact is about, if it is about one.
    pub over: Option<Over>,
    /// The wishes, in order, each with the link it is about.
    pub wishes: Vec<(Option<Over>, Output<E>)>,
}

/// A link, as both of its ends and every bystander know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Over {
    /// Its number in the network, the same for both ends; never used twice.
    pub number: u64,
    /// Who is at the other end.
    pub peer: HostId,
    /// What it is for.
    pub door: Door,
    /// True for the end that opened it.
    pub opener: bool,
}

impl Over {
    fn side(self) -> Side {
        if self.opener { Side::Opener } else { Side::Acceptor }
    }
}

/// The state of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its process runs.
    Running,
    /// Its process is stopped (SIGSTOP) and will go on.
    Paused,
    /// Its process died; the host refuses links.
    Crashed,
    /// The host is gone; links to it lead nowhere.
    Vanished,
}

struct Host<N> {
    name: String,
    address: IpAddr,
    state: State,
    node: Option<N>,
    ears: Ears,
    /// Facts that wait for a paused process, oldest first.
    inbox: VecDeque<Input>,
    /// The ends of its links that its node still knows.
    links: BTreeMap<LinkId, Over>,
    accepted: u64,
    incarnation: u64,
    wake_at: Option<Time>,
    /// What its clock shows more than the world's.
    ahead: Duration,
    changed: Time,
    spins: u32,
}

/// One direction between two hosts.
#[derive(Clone, Copy, Debug, Default)]
struct Path {
    cut: Option<Time>,
    slow: u32,
    changed: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The oldest frame of this direction is due.
    Arrival { link: u64, to: Side },
    /// The transport of this end decides whether the link is lost.
    Verdict { link: u64, side: Side, since: Time },
    /// The opener's transport stops trying.
    GiveUp { link: u64 },
    /// A datagram is due; its content waits in `datagrams`.
    Datagram { number: u64 },
    /// A node wanted to be woken now.
    Wake { host: HostId, incarnation: u64 },
    /// A continued process looks at its mail.
    Mail { host: HostId, incarnation: u64 },
}

struct Datagram {
    to: HostId,
    channel: Channel,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// The simulated network, see the [module](self).
pub struct Net<N: Node> {
    now: Time,
    random: Random,
    settings: Settings,
    hosts: Vec<Host<N>>,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    datagrams: BTreeMap<u64, Datagram>,
    paths: BTreeMap<(HostId, HostId), Path>,
    queue: BTreeMap<(Time, u64), Event>,
    /// The identifier by which a process is greeted.
    own: fn(&N) -> u32,
    forgers: BTreeMap<HostId, Forger>,
    forged: Time,
    order: u64,
    steps: u64,
    trace: Trace,
}

/// What becomes of a message on its way; `None`: it passes, the next one is tried.
pub type Forger = Box<dyn FnMut(Ppid, &[u8]) -> Option<Vec<u8>>>;

/// So many `Wake` in one moment, without any other fact, mean that a node's deadline never moves.
const SPINS_MAX: u32 = 1_000;

impl<N: Node> Net<N>
where
    N::Event: Debug,
{
    /// An empty network whose chances come from this generator.
    pub fn new(random: Random, settings: Settings, trace: Trace) -> Self {
        Self {
            now: Time::ZERO,
            random,
            settings,
            hosts: Vec::new(),
            links: BTreeMap::new(),
            next_link: 0,
            datagrams: BTreeMap::new(),
            paths: BTreeMap::new(),
            queue: BTreeMap::new(),
            own: |_| 0,
            forgers: BTreeMap::new(),
            forged: Time::ZERO,
            order: 0,
            steps: 0,
            trace,
        }
    }

    /// Processes know who they are from now on: links over TCP that are meant for somebody else are refused.
    pub fn identify(&mut self, own: fn(&N) -> u32) {
        self.own = own;
    }

    /// A new host, without a process yet. Its address is the next of 10.0.0.1, 10.0.0.2, ...
    pub fn host(&mut self, name: impl Into<String>) -> HostId {
        let number = u32::try_from(self.hosts.len() + 1).expect("far fewer hosts");
        let address = IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number));
        let ahead = Duration::from_micros(self.random.below(86_400_000_000));
        self.hosts.push(Host {
            name: name.into(),
            address,
            state: State::Crashed,
            node: None,
            ears: Ears::default(),
            inbox: VecDeque::new(),
            links: BTreeMap::new(),
            accepted: 0,
            incarnation: 0,
            wake_at: None,
            ahead,
            changed: Time::ZERO,
            spins: 0,
        });
        HostId(self.hosts.len() - 1)
    }

    /// Starts a process on a host, in place of one that died. `make` is given what the host's own clock shows.
    pub fn start(&mut self, host: HostId, ears: Ears, make: impl FnOnce(Time) -> N) -> Step<N::Event> {
        let now = self.now;
        let clock = self.clock(host);
        let of = &mut self.hosts[host.0];
        of.state = State::Running;
        of.ears = ears;
        of.incarnation += 1;
        of.changed = now;
        of.node = Some(make(clock));
        self.trace.note(now, &self.hosts[host.0].name, "starts");
        self.told(host, None)
    }

    /// The world's clock.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The network's settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Facts told so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The trace so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Adds a line to the trace, for what only the caller knows.
    pub fn note(&mut self, who: &str, text: &str) {
        self.trace.note(self.now, who, text);
    }

    /// All hosts, in order.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<N> {
        (0..self.hosts.len()).map(HostId)
    }

    /// The name given at creation.
    pub fn name(&self, host: HostId) -> &str {
        &self.hosts[host.0].name
    }

    /// The address of a host.
    pub fn address(&self, host: HostId) -> IpAddr {
        self.hosts[host.0].address
    }

    /// What the host's own clock shows.
    pub fn clock(&self, host: HostId) -> Time {
        self.now + self.hosts[host.0].ahead
    }

    /// A moment of the host's clock by the world's.
    pub fn world_time(&self, host: HostId, moment: Time) -> Time {
        Time::ZERO + moment.since(Time::ZERO + self.hosts[host.0].ahead)
    }

    /// The process of a host, running or paused; `None` if it died.
    pub fn node(&self, host: HostId) -> Option<&N> {
        self.hosts[host.0].node.as_ref()
    }

    /// Whether the host's process runs.
    pub fn state(&self, host: HostId) -> State {
        self.hosts[host.0].state
    }

    /// When the host's state last changed: started, died, paused or went on.
    pub fn changed(&self, host: HostId) -> Time {
        self.hosts[host.0].changed
    }

    /// How often a process was started on the host.
    pub fn incarnation(&self, host: HostId) -> u64 {
        self.hosts[host.0].incarnation
    }

    /// What a link of a host leads to, as long as its node knows the link.
    pub fn over(&self, host: HostId, link: LinkId) -> Option<Over> {
        self.hosts[host.0].links.get(&link).copied()
    }

    /// Calls a node from outside, as its application does, and carries out its wishes. `None` if no process runs there.
    pub fn call<R>(
        &mut self,
        host: HostId,
        call: impl FnOnce(&mut N, Time) -> R,
    ) -> Option<(R, Step<N::Event>)> {
        let clock = self.clock(host);
        let of = &mut self.hosts[host.0];
        if of.state != State::Running {
            return None;
        }
        let result = call(of.node.as_mut()?, clock);
        Some((result, self.told(host, None)))
    }

    /// Lets time pass until a node has been told something, at the latest until `until`. `None`: nothing happened by
    /// then, and it is `until` now.
    pub fn step(&mut self, until: Time) -> Option<Step<N::Event>> {
        loop {
            let (&(at, order), _) = self.queue.first_key_value().filter(|((at, _), _)| *at <= until)?;
            let event = self.queue.remove(&(at, order)).expect("seen one line above");
            self.now = at;
            if let Some(step) = self.happens(event) {
                return Some(step);
            }
        }
    }

    /// Lets the clock stand at `until`, when [`Self::step`] says that nothing happens before.
    pub fn pass(&mut self, until: Time) {
        debug_assert!(self.queue.first_key_value().is_none_or(|((at, _), _)| *at >= until));
        self.now = self.now.max(until);
    }

    fn at(&mut self, moment: Time, event: Event) {
        self.order += 1;
        self.queue.insert((moment, self.order), event);
    }

    fn happens(&mut self, event: Event) -> Option<Step<N::Event>> {
        match event {
            Event::Arrival { link, to } => self.arrival(link, to),
            Event::Verdict { link, side, since } => self.verdict(link, side, since),
            Event::GiveUp { link } => self.give_up(link),
            Event::Datagram { number } => {
                let datagram = self.datagrams.remove(&number)?;
                let Datagram { to, channel, from, bytes } = datagram;
                self.hosts[to.0].ears.channels.contains(&channel).then_some(())?;
                self.deliver(to, Input::Heard { channel, from, bytes })
            }
            Event::Wake { host, incarnation } => self.wake(host, incarnation),
            Event::Mail { host, incarnation } => {
                let of = &mut self.hosts[host.0];
                if of.incarnation != incarnation || of.state != State::Running {
                    return None;
                }
                let input = of.inbox.pop_front();
                if of.inbox.is_empty() {
                    self.plan_wake(host);
                } else {
                    self.at(self.now, Event::Mail { host, incarnation });
                }
                Some(self.told(host, Some(input?)))
            }
        }
    }

    /// Hands a fact to a node, or leaves it in the mail of a process that does not run.
    fn deliver(&mut self, host: HostId, mut input: Input) -> Option<Step<N::Event>> {
        if let Input::Message { ppid, bytes, .. } = &mut input
            && let Some(forged) = self.forgers.get_mut(&host).and_then(|forger| forger(*ppid, bytes))
        {
            *bytes = forged;
            self.forgers.remove(&host);
            self.forged = self.now;
        }
        let of = &mut self.hosts[host.0];
        match of.state {
            State::Running if of.inbox.is_empty() => Some(self.told(host, Some(input))),
            State::Running | State::Paused => {
                of.inbox.push_back(input);
                None
            }
            State::Crashed | State::Vanished => None,
        }
    }

    fn wake(&mut self, host: HostId, incarnation: u64) -> Option<Step<N::Event>> {
        let clock = self.clock(host);
        let of = &mut self.hosts[host.0];
        if of.incarnation != incarnation || of.state != State::Running {
            return None;
        }
        if of.wake_at == Some(self.now) {
            of.wake_at = None;
        }
        // Mail comes first: the last of it plans the next alarm.
        if !of.inbox.is_empty() {
            return None;
        }
        if of.node.as_ref()?.deadline().is_none_or(|deadline| deadline > clock) {
            self.plan_wake(host);
            return None;
        }
        Some(self.told(host, Some(Input::Wake)))
    }

    /// Tells a node a fact and carries out what it wishes. A link that ended is forgotten before its node is told.
    fn told(&mut self, host: HostId, input: Option<Input>) -> Step<N::Event> {
        let clock = self.clock(host);
        self.steps += 1;
        let over = match &input {
            Some(Input::Accepted { link, .. } | Input::Opened { link, .. } | Input::Message { link, .. }) => {
                self.over(host, *link)
            }
            Some(Input::Closed { link, .. }) => {
                let over = self.over(host, *link);
                self.hosts[host.0].links.remove(link);
                over
            }
            Some(Input::Heard { .. } | Input::Wake | Input::Deaf { .. }) | None => None,
        };
        let of = &mut self.hosts[host.0];
        of.spins = if matches!(input, Some(Input::Wake)) { of.spins + 1 } else { 0 };
        assert!(of.spins < SPINS_MAX, "{} is woken for ever: its deadline does not move", of.name);
        let node = of.node.as_mut().expect("only a process that lives is told anything");
        if let Some(input) = &input {
            node.handle(clock, input.clone());
        }
        let wished: Vec<_> = std::iter::from_fn(|| node.poll()).collect();
        self.trace_step(host, over, &input, &wished);
        let wishes = wished.into_iter().map(|wish| (self.carry_out(host, &wish), wish)).collect();
        self.plan_wake(host);
        Step { at: self.now, host, input, over, wishes }
    }

    /// Sees to it that the node is woken at its deadline, or a moment later.
    fn plan_wake(&mut self, host: HostId) {
        let of = &self.hosts[host.0];
        let Some(deadline) = of.node.as_ref().and_then(Node::deadline) else { return };
        let due = self.world_time(host, deadline).max(self.now);
        if of.state != State::Running || of.wake_at.is_some_and(|planned| planned <= due) {
            return;
        }
        let late = u64::try_from(self.settings.wake_late_max.as_nanos()).unwrap_or(u64::MAX);
        let at = due + Duration::from_nanos(self.random.below(late.saturating_add(1)));
        let of = &mut self.hosts[host.0];
        if at > self.now {
            of.spins = 0;
        }
        of.wake_at = Some(at);
        let incarnation = of.incarnation;
        self.at(at, Event::Wake { host, incarnation });
    }

    /// Does what a node wishes, and says which link that was about.
    fn carry_out(&mut self, host: HostId, wish: &Output<N::Event>) -> Option<Over> {
        match wish {
            Output::Open { link, door, to, greeting } => {
                self.open(host, *link, *door, to, greeting.wanted);
                self.over(host, *link)
            }
            Output::Send { link, ppid, bytes } => {
                let over = self.over(host, *link)?;
                self.put(over.number, over.side(), Frame::Message(*ppid, bytes.clone()));
                Some(over)
            }
            Output::Close { link, how } => {
                let over = self.hosts[host.0].links.remove(link)?;
                let cause = match how {
                    Ending::Graceful => Cause::Ended,
                    Ending::Abort => Cause::Aborted,
                };
                self.leave(over.number, over.side(), cause);
                Some(over)
            }
            Output::Announce { channel, bytes } => {
                self.announce(host, *channel, bytes);
                None
            }
            Output::Event(_) => None,
        }
    }

    fn announce(&mut self, host: HostId, channel: Channel, bytes: &[u8]) {
        let door = match channel {
            Channel::Asap => Door::Asap,
            Channel::Enrp => Door::Enrp,
        };
        let from = SocketAddr::new(self.hosts[host.0].address, self.port_of(host, door));
        for to in self.hosts().collect::<Vec<_>>() {
            let twice = self.random.below(1000) < u64::from(self.settings.announce_twice_permille);
            for _ in 0..=u32::from(twice) {
                let lost = self.random.below(1000) < u64::from(self.settings.announce_loss_permille);
                let delay = self.delay(host, to);
                if lost || self.is_cut(host, to) {
                    continue;
                }
                self.order += 1;
                let number = self.order;
                self.datagrams.insert(number, Datagram { to, channel, from, bytes: bytes.to_vec() });
                self.at(self.now + delay, Event::Datagram { number });
            }
        }
    }

    fn port_of(&self, host: HostId, door: Door) -> u16 {
        let doors = &self.hosts[host.0].ears.doors;
        doors.iter().find(|(of, _)| *of == door).map_or(0, |(_, port)| *port)
    }

    /// The host and door behind an endpoint, if a process listens there.
    fn listener(&self, to: &Endpoint) -> Option<(HostId, Option<Door>)> {
        let host = self.hosts.iter().position(|of| to.addresses.contains(&of.address))?;
        let door = self.hosts[host].ears.doors.iter().find(|(_, port)| *port == to.port);
        Some((HostId(host), door.map(|(door, _)| *door)))
    }

    /// How long the next message from here to there takes.
    fn delay(&mut self, from: HostId, to: HostId) -> Duration {
        let (min, max) =
            (self.settings.delay_min.as_nanos() as u64, self.settings.delay_max.as_nanos() as u64);
        let lossy = self.random.below(1000) < u64::from(self.settings.loss_permille);
        // Most messages are quick, a few are late, a repeated packet is latest.
        let reach = match self.random.below(8) {
            _ if lossy => max,
            0 => max / 2,
            _ => max / 8,
        };
        let drawn =
            if lossy { max / 2 + self.random.below(max / 2 + 1) } else { min + self.random.below(reach) };
        let slow = self.paths.get(&(from, to)).map_or(1, |path| path.slow.max(1));
        Duration::from_nanos(drawn.min(max)) * slow
    }

    fn endpoint(&self, host: HostId, protocol: Protocol, port: u16) -> Endpoint {
        Endpoint { protocol, addresses: vec![self.hosts[host.0].address], port }
    }
}
