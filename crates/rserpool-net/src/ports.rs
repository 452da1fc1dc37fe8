//! Everything a node is connected to: its transports, the groups it listens to, its inbox.

use crate::alarm::Alarm;
use crate::attempts::Attempts;
use crate::bind::bind;
use crate::groups::Groups;
#[cfg(target_os = "linux")]
use crate::kernel::KernelSctp;
use crate::sctp::SctpOverUdp;
use crate::tcp::Tcp;
use crate::transport::{Inbox, Names, Refused, Transport};
use crate::{Bound, Clock, Config, Counters, Error};
use rserpool::{Cause, Channel, Door, Input, LinkId, Output, Time};
use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

/// The world of one node. Made and used inside a tokio runtime.
pub struct Ports {
    clock: Clock,
    counters: Counters,
    /// In the order of preference.
    transports: Vec<Box<dyn Transport>>,
    attempts: Attempts,
    groups: Groups,
    inbox: Inbox,
    /// Links the node ended while facts about them waited: these facts crossed with its wish and are not told.
    crossed: HashSet<LinkId>,
    stop_max: Duration,
}

impl Ports {
    /// Opens what the configuration asks for, and says what it got.
    pub fn open(config: &Config) -> Result<(Self, Bound), Error> {
        let counters = Counters::default();
        let names = Names::default();
        let (sockets, bound) = bind(config)?;
        let tcp = Tcp::new(config, names.clone(), counters.clone(), sockets.tcp).map_err(Error::Reactor)?;
        let mut transports: Vec<Box<dyn Transport>> = vec![Box::new(tcp)];
        #[cfg(target_os = "linux")]
        if bound.kernel {
            let (names, counters, substitute) = (names.clone(), counters.clone(), !sockets.udp.is_empty());
            let kernel = KernelSctp::new(config, names, counters, sockets.kernel, substitute);
            transports.push(Box::new(kernel.map_err(Error::Reactor)?));
        }
        let groups = if sockets.udp.is_empty() {
            let mut mouths = HashMap::new();
            for (door, mouth) in sockets.mouths {
                let mouth = tokio::net::UdpSocket::from_std(mouth).map_err(Error::Reactor)?;
                mouths.insert(door, Rc::new(mouth));
            }
            Groups::join(config, |channel| mouths.get(&door_of(channel)).cloned())?
        } else {
            let sctp =
                SctpOverUdp::new(config, names, counters.clone(), sockets.udp).map_err(Error::Reactor)?;
            let groups = Groups::join(config, |channel| sctp.socket_of(door_of(channel)))?;
            transports.push(Box::new(sctp));
            groups
        };
        let (inbox, crossed) = (Inbox::new(), HashSet::new());
        let (clock, stop_max) = (config.clock, config.limits.stop_max);
        let attempts = Attempts::default();
        let ports = Self { clock, counters, transports, attempts, groups, inbox, crossed, stop_max };
        Ok((ports, bound))
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What was turned away so far.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Does what the node wishes. Events are the caller's business and ignored here. `more`: its next wish is another
    /// message on the same link.
    pub fn carry_out<E>(&mut self, now: Time, wish: Output<E>, more: bool) {
        let Self { transports, attempts, inbox, crossed, .. } = self;
        match wish {
            Output::Open { link, door, to, greeting } => {
                let carriers = (0..transports.len()).filter(|&one| transports[one].carries() == to.protocol);
                let begun = match attempts.begin(link, door, &to, greeting, carriers.collect()) {
                    Some(first) => transports[first].open(now, link, door, to, greeting, inbox),
                    None => Err(Refused::Unreachable),
                };
                self.after_opening(link, begun);
            }
            Output::Send { link, ppid, bytes } => {
                attempts.said(link, ppid, &bytes);
                if let Some(transport) = transports.iter_mut().find(|transport| transport.has(link)) {
                    transport.send(now, link, ppid, bytes, more, inbox);
                }
            }
            Output::Close { link, how } => {
                attempts.over(link, false);
                if !inbox.is_empty() {
                    crossed.insert(link);
                }
                if let Some(transport) = transports.iter_mut().find(|transport| transport.has(link)) {
                    transport.close(now, link, how);
                }
            }
            Output::Announce { channel, bytes } => self.groups.announce(channel, &bytes),
            Output::Event(_) => {}
        }
    }

    /// A link that could not even be begun is over, unless another transport can begin it.
    fn after_opening(&mut self, link: LinkId, begun: Result<(), Refused>) {
        match begun {
            Ok(()) => {}
            Err(Refused::Exists) => {
                self.attempts.over(link, false);
                self.inbox.push_back(Input::Closed { link, cause: Cause::Unreachable });
            }
            Err(Refused::Unreachable) => {
                if !self.tries_again(link) {
                    self.inbox.push_back(Input::Closed { link, cause: Cause::Unreachable });
                }
            }
        }
    }

    /// Opens a link over the next transport; false if there is none.
    fn tries_again(&mut self, link: LinkId) -> bool {
        let now = self.clock.now();
        let Some((next, attempt)) = self.attempts.next(link) else { return false };
        let (door, to, greeting, said) =
            (attempt.door, attempt.to.clone(), attempt.greeting, attempt.said.clone());
        let transport = &mut self.transports[next];
        let begun = transport.open(now, link, door, to, greeting, &mut self.inbox);
        if begun.is_ok() {
            for (ppid, bytes) in said {
                transport.send(now, link, ppid, bytes, false, &mut self.inbox);
            }
        }
        self.after_opening(link, begun);
        true
    }

    /// The oldest fact not told yet.
    pub fn take(&mut self) -> Option<Input> {
        loop {
            let Some(input) = self.inbox.pop_front() else {
                self.crossed.clear();
                return None;
            };
            if !self.crossed.is_empty() && link_of(&input).is_some_and(|link| self.crossed.contains(&link)) {
                continue;
            }
            match input {
                Input::Opened { link, .. } => self.attempts.over(link, true),
                Input::Closed { link, cause: Cause::Unreachable } if self.tries_again(link) => continue,
                Input::Closed { link, .. } => self.attempts.over(link, false),
                _ => {}
            }
            return Some(input);
        }
    }

    /// True if facts are waiting.
    pub fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Gives the system what was queued.
    pub fn flush(&mut self) {
        for transport in &mut self.transports {
            transport.flush(self.clock, &mut self.inbox);
        }
    }

    /// Collects facts from sockets that have some.
    pub fn sweep(&mut self, cx: &mut Context<'_>) {
        for transport in &mut self.transports {
            transport.sweep(self.clock, cx, &mut self.inbox);
        }
        self.groups.sweep(cx, &mut self.inbox);
    }

    /// When [`wake`](Self::wake) is due.
    pub fn deadline(&self) -> Option<Time> {
        self.transports.iter().filter_map(|transport| transport.deadline()).min()
    }

    /// Does what is due.
    pub fn wake(&mut self, now: Time) {
        for transport in &mut self.transports {
            if transport.deadline().is_some_and(|deadline| deadline <= now) {
                transport.wake(now, &mut self.inbox);
            }
        }
    }

    /// Ends all links gracefully and waits for the farewells, but not longer than [`Limits::stop_max`].
    ///
    /// [`Limits::stop_max`]: crate::Limits::stop_max
    pub(crate) async fn finish(&mut self, alarm: &mut Alarm) {
        let now = self.clock.now();
        let end = now + self.stop_max;
        for transport in &mut self.transports {
            transport.finish(now);
        }
        while !self.is_done() {
            self.flush();
            if self.clock.now() >= end {
                return;
            }
            let deadline = self.deadline().map_or(end, |deadline| deadline.min(end));
            alarm.set(self.clock.instant(deadline));
            poll_fn(|cx| {
                self.sweep(cx);
                self.inbox.clear();
                if self.is_done() { Poll::Ready(()) } else { alarm.poll(cx, true) }
            })
            .await;
            self.wake(self.clock.now());
        }
    }

    fn is_done(&self) -> bool {
        self.transports.iter().all(|transport| transport.is_done())
    }
}

fn door_of(channel: Channel) -> Door {
    match channel {
        Channel::Asap => Door::Asap,
        Channel::Enrp => Door::Enrp,
    }
}

fn link_of(input: &Input) -> Option<LinkId> {
    match *input {
        Input::Accepted { link, .. }
        | Input::Opened { link, .. }
        | Input::Message { link, .. }
        | Input::Closed { link, .. } => Some(link),
        Input::Heard { .. } | Input::Wake | Input::Deaf { .. } => None,
    }
}
