//! The hunt for a registrar (RFC 5352 §3.6).
//!
//! A round tries everyone known once, up to three at a time. T5 paces it: who is not up by then is given up, and the
//! patience doubles up to RETRAN-MAX. The hunt never gives up: RFC 5352 §3.1 has an element stop after MAX-REG-ATTEMPT,
//! which would lose it for ever after a short outage; instead the owner is told once per round, and the patience grows.

use super::{Home, LINKS_MAX, Line, News, Stage, Timer};
use crate::{Door, Ending, Endpoint, Greeting, LinkId, Outbox, Protocol, Role, Time};
use std::collections::VecDeque;

/// One round.
#[derive(Debug, Default)]
pub(super) struct Hunt {
    /// Still to be tried in this round, in this order.
    untried: VecDeque<Endpoint>,
    /// How many were tried.
    tried: usize,
    /// The round is over in vain and the owner knows; T5 starts the next one.
    over: bool,
}

impl Hunt {
    /// True if the round was in vain and only T5 is waited for.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }
}

impl Home {
    /// Begins to look for a (new) home, unless that is under way.
    pub(super) fn start_hunt<E>(&mut self, now: Time, out: &mut Outbox<E>) {
        if self.hunt.is_none() && !self.resting {
            self.round(now, out);
        }
    }

    /// Begins to look for a home after one patience.
    pub(super) fn pause_hunt(&mut self, now: Time) {
        self.hunt = Some(Hunt { over: true, ..Hunt::default() });
        self.set_patience(now);
    }

    /// The hunt is over: all attempts are given up.
    pub(super) fn end_hunt<E>(&mut self, out: &mut Outbox<E>) {
        self.hunt = None;
        self.timers.clear(&Timer::Hunt);
        for link in self.trying() {
            self.lines.remove(&link);
            out.close(link, Ending::Abort);
        }
    }

    /// An attempt failed: the next one is tried in its place (SH4).
    pub(super) fn attempt_failed<E>(&mut self, now: Time, out: &mut Outbox<E>) {
        self.fill(now, out);
    }

    /// More registrars became known: a hunt that lacks attempts tries them at once.
    pub(super) fn hunt_also<E>(&mut self, now: Time, new: Vec<Endpoint>, out: &mut Outbox<E>) {
        let Some(hunt) = &mut self.hunt else { return };
        if !new.is_empty() {
            hunt.untried.extend(new);
            hunt.over = false;
            self.fill(now, out);
        }
    }

    /// T5 is over (SH5): whoever has not answered is given up, and the next ones get twice the time.
    pub(super) fn hunt_over<E>(&mut self, now: Time, out: &mut Outbox<E>) {
        if self.hunt.is_none() {
            self.start_hunt(now, out);
            return;
        }
        for link in self.trying() {
            self.lines.remove(&link);
            out.close(link, Ending::Abort);
        }
        self.patience = (self.patience * 2).min(self.timing.hunt_timeout_max);
        self.set_patience(now);
        self.fill(now, out);
        if self.hunt.as_ref().is_some_and(|hunt| hunt.over) && self.trying().is_empty() {
            self.round(now, out);
        }
    }

    fn round<E>(&mut self, now: Time, out: &mut Outbox<E>) {
        self.known.forget_old(now);
        let untried = self.known.order(&mut self.random, self.lost.as_ref(), self.role == Role::Element);
        self.hunt = Some(Hunt { untried, ..Hunt::default() });
        self.set_patience(now);
        self.fill(now, out);
    }

    /// Keeps up to three links going; finds out when a round is over.
    fn fill<E>(&mut self, now: Time, out: &mut Outbox<E>) {
        loop {
            let room = self.lines.values().filter(|line| line.stage != Stage::Visitor).count() < LINKS_MAX;
            let Some(hunt) = &mut self.hunt else { return };
            let Some(to) = hunt.untried.front() else { break };
            // An element turns to TCP only when SCTP does not get through (RFC 5352 §3.1, R3: it uses SCTP; over TCP
            // it is our extension).
            let too_early = self.role == Role::Element
                && to.protocol == Protocol::Tcp
                && self
                    .lines
                    .values()
                    .any(|line| line.stage == Stage::Trying && line.at.protocol == Protocol::Sctp);
            if !room || too_early {
                return;
            }
            let to = hunt.untried.pop_front().expect("looked at two lines above");
            // A home that is suspected is not called a second time: we look for a different one.
            if self.lines.values().any(|line| line.at == to && line.stage != Stage::Visitor) {
                continue;
            }
            hunt.tried += 1;
            // Any registrar there will do: what was announced of its identifier may be from before a restart.
            let greeting = Greeting { role: self.role, own: self.own, wanted: 0, pool: None };
            let link = out.open(Door::Asap, to.clone(), greeting);
            self.lines.insert(link, Line::new(Stage::Trying, to));
        }
        if self.trying().is_empty() {
            self.round_over(now, out);
        }
    }

    /// Nobody in a whole round.
    fn round_over<E>(&mut self, now: Time, out: &mut Outbox<E>) {
        let Some(hunt) = self.hunt.as_mut().filter(|hunt| !hunt.over) else { return };
        hunt.over = true;
        let tried = hunt.tried + usize::from(self.home.is_some());
        self.news.push_back(News::NoRegistrar { tried });
        // A suspected home is still better than none: what only a new home was to be asked is asked again there.
        let waiting: Vec<_> =
            self.requests.iter().filter(|(_, request)| !request.pending).map(|(&id, _)| id).collect();
        for id in waiting {
            self.transmit(now, id, out);
        }
    }

    fn trying(&self) -> Vec<LinkId> {
        self.lines.iter().filter(|(_, line)| line.stage == Stage::Trying).map(|(&link, _)| link).collect()
    }

    /// Starts T5: the patience as it stands, changed by up to an eighth so that many do not hunt in step.
    fn set_patience(&mut self, now: Time) {
        let patience = self.random.jittered(self.patience, 125);
        self.timers.set(Timer::Hunt, now + patience);
    }
}
