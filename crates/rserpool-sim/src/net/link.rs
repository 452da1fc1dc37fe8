//! Links: two directions, each a queue that keeps its order.
//!
//! ```text
//!   opener                                      acceptor
//!     Open ---- Knock ------------------------> Accepted
//!   Opened <--- Welcome ----------------------    |
//!     messages wait here until Opened, then flow both ways
//!   Close ----- Bye(cause) -------------------> Closed(cause)
//! ```
//!
//! A frame whose path is cut stays in its queue and goes on when the path heals, as a transport that repeats does;
//! unless one end lost patience before.

use super::{Event, HostId, Net, Over, State, Step};
use rserpool::{Cause, Door, Endpoint, Input, LinkId, Node, Ppid, Protocol, Time};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::time::Duration;

/// One end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Opener,
    Acceptor,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Opener => Self::Acceptor,
            Self::Acceptor => Self::Opener,
        }
    }
}

/// What travels in a direction.
#[derive(Clone, Debug)]
pub(super) enum Frame {
    /// "May I come in?", at this endpoint, to whoever has this identifier; 0: to anybody.
    Knock(Endpoint, u32),
    /// "You may."
    Welcome,
    /// A message of a node.
    Message(Ppid, Vec<u8>),
    /// The end.
    Bye(Cause),
}

impl Frame {
    fn size(&self) -> usize {
        match self {
            Self::Message(_, bytes) => bytes.len(),
            _ => 0,
        }
    }
}

pub(super) struct End {
    pub host: HostId,
    incarnation: u64,
    /// Its name for its node; the acceptor's is given when the knock arrives.
    id: Option<LinkId>,
    /// True as long as this end may still be told something.
    present: bool,
    port: u16,
    /// Frames towards this end, with the moment each is due; the first is scheduled unless `stalled`.
    coming: VecDeque<(Time, Frame)>,
    scheduled: bool,
    octets: usize,
}

pub(super) struct Link {
    protocol: Protocol,
    ends: [End; 2],
    opened: bool,
    /// What the opener sent before the link was up.
    early: Vec<Frame>,
}

impl Link {
    pub(super) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// The transport drops what was on its way to this side.
    pub(super) fn interrupt(&mut self, side: Side) {
        let end = self.end_mut(side);
        end.coming.retain(|(_, frame)| matches!(frame, Frame::Knock(..) | Frame::Welcome));
        end.octets = 0;
    }

    pub(super) fn between(&self, a: HostId, b: HostId) -> bool {
        let hosts = (self.ends[0].host, self.ends[1].host);
        hosts == (a, b) || hosts == (b, a)
    }
}

impl<N: Node> Net<N>
where
    N::Event: Debug,
{
    pub(super) fn open(&mut self, host: HostId, id: LinkId, door: Door, to: &Endpoint, wanted: u32) {
        let number = self.next_link;
        self.next_link += 1;
        // SCTP links are opened from the door's own port, TCP ones from any.
        let port = match to.protocol {
            Protocol::Sctp => self.port_of(host, door),
            Protocol::Tcp => 49_152 + (number % 16_384) as u16,
        };
        let end = |host: HostId, incarnation, id, port| End {
            host,
            incarnation,
            id,
            present: true,
            port,
            coming: VecDeque::new(),
            scheduled: false,
            octets: 0,
        };
        // An address nobody has leads into the void: the opener's own host stands in, and never answers.
        let target = self.listener(to).map(|(target, _)| target);
        let over = Over { number, peer: target.unwrap_or(host), door, opener: true };
        self.hosts[host.0].links.insert(id, over);
        let mut acceptor = end(target.unwrap_or(host), 0, None, to.port);
        acceptor.present = target.is_some();
        let opener = end(host, self.hosts[host.0].incarnation, Some(id), port);
        let link = Link { protocol: to.protocol, ends: [opener, acceptor], opened: false, early: Vec::new() };
        self.links.insert(number, link);
        self.at(self.now + self.settings.connect_give_up, Event::GiveUp { link: number });
        if target.is_some() {
            self.push(number, Side::Acceptor, Frame::Knock(to.clone(), wanted));
            self.plan_verdict_if_cut(number);
        }
    }

    /// Sends a frame from this side.
    pub(super) fn put(&mut self, number: u64, from: Side, frame: Frame) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if from == Side::Opener && !link.opened {
            link.early.push(frame);
            return;
        }
        let waiting = link.end(from.other()).octets + frame.size();
        if waiting > self.settings.buffer_max {
            let (host, id) = (link.end(from).host, link.end(from).id);
            self.leave(number, from, Cause::Aborted);
            if let Some(id) = id {
                self.tell_later(host, Input::Closed { link: id, cause: Cause::Overflow });
            }
            return;
        }
        self.push(number, from.other(), frame);
    }

    /// Tells a node something at once, but not within the step under way.
    fn tell_later(&mut self, host: HostId, input: Input) {
        let incarnation = self.hosts[host.0].incarnation;
        self.hosts[host.0].inbox.push_back(input);
        self.at(self.now, Event::Mail { host, incarnation });
    }

    /// This side is done with the link: nothing more is told to it, and the other side learns the cause.
    pub(super) fn leave(&mut self, number: u64, side: Side, cause: Cause) {
        let Some(link) = self.links.get_mut(&number) else { return };
        if !std::mem::replace(&mut link.end_mut(side).present, false) {
            return;
        }
        if side == Side::Opener && !link.opened && cause == Cause::Ended {
            // What was said before the link was up still has to arrive: the end waits behind it.
            link.early.push(Frame::Bye(cause));
            return;
        }
        link.end_mut(side).coming.clear();
        self.push(number, side.other(), Frame::Bye(cause));
        self.drop_if_over(number);
    }

    /// Queues a frame towards a side, behind all that is on its way there.
    pub(super) fn push(&mut self, number: u64, to: Side, frame: Frame) {
        let Some(link) = self.links.get(&number) else { return };
        let (from_host, to_host) = (link.end(to.other()).host, link.end(to).host);
        let mut due = self.now + self.delay(from_host, to_host);
        if matches!(frame, Frame::Bye(Cause::Lost)) {
            let notice = u64::try_from(self.settings.crash_notice_max.as_nanos()).unwrap_or(u64::MAX);
            due += Duration::from_nanos(self.random.below(notice.saturating_add(1)));
        }
        let shuffled = self.settings.disorder && self.random.one_in(4);
        let link = self.links.get_mut(&number).expect("looked up above");
        let end = link.end_mut(to);
        // An opener that left before the link was up still owes what it said early.
        if !end.present && !matches!(frame, Frame::Welcome) {
            return;
        }
        end.octets += frame.size();
        let behind = end.coming.back().map_or(Time::ZERO, |(due, _)| *due);
        match end.coming.len() {
            // The canary: this one overtakes the message before it.
            length @ 2.. if shuffled => end.coming.insert(length - 1, (behind, frame)),
            _ => end.coming.push_back((due.max(behind), frame)),
        }
        self.plan_arrival(number, to);
    }

    fn plan_arrival(&mut self, number: u64, to: Side) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let end = link.end_mut(to);
        let Some((due, _)) = end.coming.front() else { return };
        if !std::mem::replace(&mut end.scheduled, true) {
            let due = (*due).max(self.now);
            self.at(due, Event::Arrival { link: number, to });
        }
    }

    pub(super) fn arrival(&mut self, number: u64, to: Side) -> Option<Step<N::Event>> {
        let link = self.links.get_mut(&number)?;
        let (from_host, host) = (link.end(to.other()).host, link.end(to).host);
        link.end_mut(to).scheduled = false;
        if self.is_cut(from_host, host) {
            // Stays queued: `heal` goes on with it, a verdict may end it.
            return None;
        }
        let link = self.links.get_mut(&number)?;
        let (_, frame) = link.end_mut(to).coming.pop_front()?;
        let end = link.end_mut(to);
        end.octets = end.octets.saturating_sub(frame.size());
        self.plan_arrival(number, to);
        self.arrived(number, to, frame)
    }

    fn arrived(&mut self, number: u64, to: Side, frame: Frame) -> Option<Step<N::Event>> {
        let link = self.links.get(&number)?;
        let end = link.end(to);
        let host = end.host;
        let here = &self.hosts[host.0];
        match frame {
            Frame::Knock(at, wanted) => return self.knocked(number, &at, wanted),
            Frame::Welcome => return self.welcomed(number),
            _ if !end.present => return None,
            _ if here.state == State::Vanished => return None,
            // The process this was meant for is gone. Its host, if it is up, says so.
            Frame::Message(..) if here.incarnation != end.incarnation => {
                self.leave(number, to, Cause::Lost);
                return None;
            }
            _ if here.incarnation != end.incarnation => return None,
            _ => {}
        }
        let id = end.id?;
        match frame {
            Frame::Knock(..) | Frame::Welcome => None,
            Frame::Message(ppid, bytes) => self.deliver(host, Input::Message { link: id, ppid, bytes }),
            Frame::Bye(cause) => self.end(number, to, cause),
        }
    }

    /// Somebody knocks: the host lets him in if a process listens, refuses if none does, and is silent if it vanished.
    /// Over TCP the process is greeted by its identifier, and refuses as well if that is not its own: another one may by
    /// now live at that port.
    fn knocked(&mut self, number: u64, at: &Endpoint, wanted: u32) -> Option<Step<N::Event>> {
        let (host, door) = self.listener(at)?;
        if self.hosts[host.0].state == State::Vanished {
            return None;
        }
        let dead = self.hosts[host.0].state == State::Crashed;
        let link = self.links.get(&number)?;
        if !link.end(Side::Opener).present && link.early.is_empty() {
            self.links.remove(&number);
            return None;
        }
        let own = self.hosts[host.0].node.as_ref().map_or(0, self.own);
        let strange = link.protocol == Protocol::Tcp && wanted != 0 && wanted != own;
        let Some(door) = door.filter(|_| !dead && !strange) else {
            self.push(number, Side::Opener, Frame::Bye(Cause::Unreachable));
            self.links.get_mut(&number)?.end_mut(Side::Acceptor).present = false;
            return None;
        };
        let (opener, protocol, port) =
            (link.end(Side::Opener).host, link.protocol, link.end(Side::Opener).port);
        let over = Over { number, peer: opener, door, opener: false };
        let of = &mut self.hosts[host.0];
        of.accepted += 1;
        let id = LinkId::Theirs(of.accepted);
        of.links.insert(id, over);
        let incarnation = of.incarnation;
        let link = self.links.get_mut(&number)?;
        link.end_mut(Side::Acceptor).id = Some(id);
        link.end_mut(Side::Acceptor).incarnation = incarnation;
        self.push(number, Side::Opener, Frame::Welcome);
        let peer = self.endpoint(opener, protocol, port);
        self.deliver(host, Input::Accepted { link: id, door, peer })
    }

    /// The link is up for its opener, and what it said early is on its way.
    fn welcomed(&mut self, number: u64) -> Option<Step<N::Event>> {
        let link = self.links.get_mut(&number)?;
        link.opened = true;
        let (protocol, end) = (link.protocol, link.end(Side::Opener));
        let (host, id, present, incarnation) = (end.host, end.id?, end.present, end.incarnation);
        let (other, port) = (link.end(Side::Acceptor).host, link.end(Side::Acceptor).port);
        for frame in std::mem::take(&mut link.early) {
            self.put(number, Side::Opener, frame);
        }
        if !present || self.hosts[host.0].incarnation != incarnation {
            return None;
        }
        let peer = self.endpoint(other, protocol, port);
        self.deliver(host, Input::Opened { link: id, peer })
    }

    /// This side's transport says that the link is over.
    pub(super) fn end(&mut self, number: u64, side: Side, cause: Cause) -> Option<Step<N::Event>> {
        let link = self.links.get_mut(&number)?;
        let end = link.end_mut(side);
        if !std::mem::replace(&mut end.present, false) {
            return None;
        }
        end.coming.clear();
        let (host, id, incarnation) = (end.host, end.id, end.incarnation);
        self.drop_if_over(number);
        let id = id?;
        if self.hosts[host.0].incarnation != incarnation {
            return None;
        }
        self.deliver(host, Input::Closed { link: id, cause })
    }

    /// The transport lost patience with a cut path, unless it healed meanwhile.
    pub(super) fn verdict(&mut self, number: u64, side: Side, since: Time) -> Option<Step<N::Event>> {
        let link = self.links.get(&number)?;
        let (here, there) = (link.end(side).host, link.end(side.other()).host);
        if self.cut_since(here, there).is_none_or(|began| began > since) {
            return None;
        }
        let cause = if side == Side::Opener && !link.opened { Cause::Unreachable } else { Cause::Lost };
        self.end(number, side, cause)
    }

    /// The opener's transport stops trying. If the other end had let it in meanwhile, it learns that this was in vain.
    pub(super) fn give_up(&mut self, number: u64) -> Option<Step<N::Event>> {
        let link = self.links.get(&number)?;
        if link.opened {
            return None;
        }
        self.push(number, Side::Acceptor, Frame::Bye(Cause::Lost));
        self.end(number, Side::Opener, Cause::Unreachable)
    }

    /// Each end of a link over a cut path decides for itself when to give up.
    pub(super) fn plan_verdict_if_cut(&mut self, number: u64) {
        let Some(link) = self.links.get(&number) else { return };
        let (a, b) = (link.end(Side::Opener).host, link.end(Side::Acceptor).host);
        if self.cut_since(a, b).is_none() {
            return;
        }
        for side in [Side::Opener, Side::Acceptor] {
            let patience = self.settings.link_loss;
            let spread = u64::try_from(patience.as_nanos() / 4).unwrap_or(0);
            let early = self.random.below(spread + 1);
            let at = self.now + (patience - Duration::from_nanos(early));
            self.at(at, Event::Verdict { link: number, side, since: self.now });
        }
    }

    /// After a path healed: frames go on, and an end whose other end gave up learns it.
    pub(super) fn resume_links(&mut self, a: HostId, b: HostId) {
        let numbers: Vec<u64> =
            self.links.iter().filter(|(_, link)| link.between(a, b)).map(|(n, _)| *n).collect();
        for number in numbers {
            for side in [Side::Opener, Side::Acceptor] {
                let Some(link) = self.links.get_mut(&number) else { continue };
                let gone = !link.end(side.other()).present;
                let said = link.end(side).coming.iter().any(|(_, frame)| matches!(frame, Frame::Bye(_)));
                if gone && !said && link.end(side).present {
                    self.push(number, side, Frame::Bye(Cause::Lost));
                }
                let delay = self.delay(a, b);
                if let Some(link) = self.links.get_mut(&number) {
                    let earliest = self.now + delay;
                    for (due, _) in &mut link.end_mut(side).coming {
                        *due = (*due).max(earliest);
                    }
                }
                self.plan_arrival(number, side);
            }
        }
    }

    fn drop_if_over(&mut self, number: u64) {
        if self.links.get(&number).is_some_and(|link| link.ends.iter().all(|end| !end.present)) {
            self.links.remove(&number);
        }
    }
}
