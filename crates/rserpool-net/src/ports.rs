//! Everything a node is connected to: its transports, the groups it listens to, its inbox.

use crate::bind::bind;
use crate::groups::Groups;
use crate::sctp::SctpOverUdp;
use crate::tcp::Tcp;
use crate::transport::{Inbox, Names, Transport};
use crate::{Bound, Clock, Config, Counters, Error};
use rserpool::{Cause, Channel, Door, Input, LinkId, Output, Time};
use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// The world of one node. Made and used inside a tokio runtime.
pub struct Ports {
    clock: Clock,
    counters: Counters,
    transports: Vec<Box<dyn Transport>>,
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
        let groups = if sockets.udp.is_empty() {
            Groups::join(config, |_| None)?
        } else {
            let sctp =
                SctpOverUdp::new(config, names, counters.clone(), sockets.udp).map_err(Error::Reactor)?;
            let groups = Groups::join(config, |channel| match channel {
                Channel::Asap => sctp.socket_of(Door::Asap),
                Channel::Enrp => sctp.socket_of(Door::Enrp),
            })?;
            transports.push(Box::new(sctp));
            groups
        };
        let (inbox, crossed) = (Inbox::new(), HashSet::new());
        let (clock, stop_max) = (config.clock, config.limits.stop_max);
        let ports = Self { clock, counters, transports, groups, inbox, crossed, stop_max };
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

    /// Does what the node wishes. Events are the caller's business and ignored here.
    pub fn carry_out<E>(&mut self, wish: Output<E>) {
        let now = self.clock.now();
        let Self { transports, inbox, crossed, .. } = self;
        match wish {
            Output::Open { link, door, to, greeting } => {
                match transports.iter_mut().find(|transport| transport.carries() == to.protocol) {
                    Some(transport) => transport.open(now, link, door, to, greeting, inbox),
                    None => inbox.push_back(Input::Closed { link, cause: Cause::Unreachable }),
                }
            }
            Output::Send { link, ppid, bytes } => {
                if let Some(transport) = transports.iter_mut().find(|transport| transport.has(link)) {
                    transport.send(now, link, ppid, bytes, inbox);
                }
            }
            Output::Close { link, how } => {
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

    /// The oldest fact not told yet.
    pub fn take(&mut self) -> Option<Input> {
        loop {
            let Some(input) = self.inbox.pop_front() else {
                self.crossed.clear();
                return None;
            };
            if self.crossed.is_empty() || link_of(&input).is_none_or(|link| !self.crossed.contains(&link)) {
                return Some(input);
            }
        }
    }

    /// True if facts are waiting.
    pub fn has_mail(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Gives the system what was queued.
    pub fn flush(&mut self) {
        let now = self.clock.now();
        for transport in &mut self.transports {
            transport.flush(now, &mut self.inbox);
        }
    }

    /// Collects facts from sockets that have some.
    pub fn sweep(&mut self, cx: &mut Context<'_>) {
        let now = self.clock.now();
        for transport in &mut self.transports {
            transport.sweep(now, cx, &mut self.inbox);
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
    pub async fn finish(&mut self) {
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
            let mut alarm = pin!(tokio::time::sleep_until(self.clock.instant(deadline).into()));
            poll_fn(|cx| {
                self.sweep(cx);
                self.inbox.clear();
                if self.is_done() { Poll::Ready(()) } else { alarm.as_mut().poll(cx) }
            })
            .await;
            self.wake(self.clock.now());
        }
    }

    fn is_done(&self) -> bool {
        self.transports.iter().all(|transport| transport.is_done())
    }
}

fn link_of(input: &Input) -> Option<LinkId> {
    match *input {
        Input::Accepted { link, .. }
        | Input::Opened { link, .. }
        | Input::Message { link, .. }
        | Input::Closed { link, .. } => Some(link),
        Input::Heard { .. } | Input::Wake => None,
    }
}
