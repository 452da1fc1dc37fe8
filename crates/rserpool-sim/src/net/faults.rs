//! What can go wrong, and how it gets well again.

use super::link::{Frame, Side};
use super::{Event, HostId, Net, State, Step};
use rserpool::{Cause, Input, Node, Time};
use std::fmt::Debug;

impl<N: Node> Net<N>
where
    N::Event: Debug,
{
    /// The process of a host dies and its state is lost. The transports of the others notice within
    /// [`crash_notice_max`](super::Settings::crash_notice_max).
    pub fn crash(&mut self, host: HostId) {
        self.die(host, State::Crashed);
    }

    /// The host is gone at once: nobody is told, messages to it are lost. (A link of it is noticed dead when it is used
    /// after the host came back.)
    pub fn vanish(&mut self, host: HostId) {
        self.die(host, State::Vanished);
    }

    fn die(&mut self, host: HostId, into: State) {
        let now = self.now;
        let of = &mut self.hosts[host.0];
        if of.node.take().is_none() {
            return;
        }
        (of.state, of.changed, of.wake_at) = (into, now, None);
        // The links of a process that was dead anyway are told by nobody else: a new incarnation has none of them.
        of.incarnation += 1;
        of.inbox.clear();
        let links: Vec<_> = std::mem::take(&mut of.links).into_values().collect();
        for over in links {
            if into == State::Crashed {
                self.leave(over.number, over.side(), Cause::Lost);
            }
        }
        self.trace.note(
            now,
            &self.hosts[host.0].name,
            if into == State::Crashed { "crashes" } else { "vanishes" },
        );
    }

    /// The process of a host stops (SIGSTOP): its links stay up, facts queue as mail.
    pub fn pause(&mut self, host: HostId) {
        let now = self.now;
        let of = &mut self.hosts[host.0];
        if of.state == State::Running {
            (of.state, of.changed, of.wake_at) = (State::Paused, now, None);
            self.trace.note(now, &self.hosts[host.0].name, "pauses");
        }
    }

    /// A paused process goes on (SIGCONT): first its mail in order, then, if one is due, its alarm.
    pub fn resume(&mut self, host: HostId) {
        let now = self.now;
        let of = &mut self.hosts[host.0];
        if of.state != State::Paused {
            return;
        }
        (of.state, of.changed) = (State::Running, now);
        let incarnation = of.incarnation;
        if of.inbox.is_empty() {
            self.plan_wake(host);
        } else {
            self.at(now, Event::Mail { host, incarnation });
        }
        self.trace.note(now, &self.hosts[host.0].name, "goes on");
    }

    /// From now on nothing arrives that is sent from the first to the second. Links over the path wait, and are given
    /// up by either end after [`link_loss`](super::Settings::link_loss).
    pub fn cut(&mut self, from: HostId, to: HostId) {
        let now = self.now;
        let path = self.paths.entry((from, to)).or_default();
        if path.cut.is_some() || from == to {
            return;
        }
        (path.cut, path.changed) = (Some(now), Some(now));
        let over: Vec<u64> =
            self.links.iter().filter(|(_, l)| l.between(from, to)).map(|(n, _)| *n).collect();
        for number in over {
            self.plan_verdict_if_cut(number);
        }
        let there = self.hosts[to.0].name.clone();
        self.trace.note(now, &self.hosts[from.0].name, &format!("is cut off from {there}"));
    }

    /// The path works again, at its usual speed.
    pub fn heal(&mut self, from: HostId, to: HostId) {
        let now = self.now;
        let Some(path) = self.paths.get_mut(&(from, to)) else { return };
        if path.cut.is_none() && path.slow <= 1 {
            return;
        }
        (path.cut, path.slow, path.changed) = (None, 1, Some(now));
        if self.cut_since(from, to).is_none() {
            self.resume_links(from, to);
        }
        let there = self.hosts[to.0].name.clone();
        self.trace.note(now, &self.hosts[from.0].name, &format!("reaches {there} again"));
    }

    /// Cuts every path between the two groups, both ways.
    pub fn partition(&mut self, one: &[HostId], other: &[HostId]) {
        for &a in one {
            for &b in other {
                self.cut(a, b);
                self.cut(b, a);
            }
        }
    }

    /// Heals every path.
    pub fn heal_all(&mut self) {
        for (from, to) in self.paths.keys().copied().collect::<Vec<_>>() {
            self.heal(from, to);
        }
    }

    /// Messages from the first to the second take `times` as long.
    pub fn slow(&mut self, from: HostId, to: HostId, times: u32) {
        let now = self.now;
        let path = self.paths.entry((from, to)).or_default();
        (path.slow, path.changed) = (times.max(1), Some(now));
        let there = self.hosts[to.0].name.clone();
        self.trace.note(now, &self.hosts[from.0].name, &format!("is {times} times slower to {there}"));
    }

    /// The transport loses every link between two hosts, although both live and the path works: both ends are told.
    pub fn reset(&mut self, a: HostId, b: HostId) {
        let over: Vec<u64> = self.links.iter().filter(|(_, l)| l.between(a, b)).map(|(n, _)| *n).collect();
        for number in over {
            for side in [Side::Opener, Side::Acceptor] {
                self.lose(number, side);
            }
        }
        let (path, now) = (self.paths.entry((a, b)).or_default(), self.now);
        path.changed = Some(now);
        let there = self.hosts[b.0].name.clone();
        self.trace.note(now, &self.hosts[a.0].name, &format!("loses its links with {there}"));
    }

    fn lose(&mut self, number: u64, side: Side) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.interrupt(side);
        self.push(number, side, Frame::Bye(Cause::Lost));
    }

    /// The next message to this host that the forger wants to change is changed. One forger at a time.
    pub fn forge(&mut self, to: HostId, forger: super::Forger) {
        self.forgers.insert(to, forger);
    }

    /// True while nothing arrives from the first at the second.
    pub fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.paths.get(&(from, to)).is_some_and(|path| path.cut.is_some())
    }

    /// Since when one of the two directions is cut.
    pub fn cut_since(&self, a: HostId, b: HostId) -> Option<Time> {
        let of = |key| self.paths.get(&key).and_then(|path: &super::Path| path.cut);
        match (of((a, b)), of((b, a))) {
            (Some(there), Some(back)) => Some(there.min(back)),
            (there, back) => there.or(back),
        }
    }

    /// When the path between two hosts was last cut, healed, slowed down or interrupted; `None`: never. While it is cut
    /// or slow, that is now.
    pub fn trouble_between(&self, a: HostId, b: HostId) -> Option<Time> {
        let of = |key| self.paths.get(&key).copied().unwrap_or_default();
        let (there, back) = (of((a, b)), of((b, a)));
        if [there, back].iter().any(|path| path.cut.is_some() || path.slow > 1) {
            return Some(self.now);
        }
        there.changed.max(back.changed)
    }

    /// True if nothing is broken at the moment: no path is cut or slow, no process is paused.
    pub fn is_calm(&self) -> bool {
        self.paths.values().all(|path| path.cut.is_none() && path.slow <= 1)
            && self.hosts.iter().all(|host| host.state != State::Paused)
    }

    /// When something was last broken or repaired: a path, or the state of a host.
    pub fn last_trouble(&self) -> Time {
        let paths = self.paths.values().filter_map(|path| path.changed);
        paths.chain(self.hosts.iter().map(|host| host.changed)).max().unwrap_or(Time::ZERO)
    }

    /// When a message was last changed on its way.
    pub fn last_forgery(&self) -> Time {
        self.forged
    }

    /// When a path was last cut, healed, slowed down or interrupted.
    pub fn last_path_trouble(&self) -> Time {
        self.paths.values().filter_map(|path| path.changed).max().unwrap_or(Time::ZERO)
    }

    /// How many facts wait for a paused process.
    pub fn mail(&self, host: HostId) -> usize {
        self.hosts[host.0].inbox.len()
    }

    /// Puts a fact into the network's hands as if the transport had made it up: for tests of the network's users.
    pub fn tell(&mut self, host: HostId, input: Input) -> Option<Step<N::Event>> {
        self.deliver(host, input)
    }
}
