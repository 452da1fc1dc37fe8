//! Starting up: learning from a mentor who else is there and what the handlespace holds (RFC 5353 §3.2).
//!
//! ```text
//!   Unborn --first fact--> Starting: somebody speaks --> list --> table, part by part --> Ready
//!                              '--nobody within the mentor wait, or nobody able to help--'
//! ```
//!
//! Configured peers are greeted at once, and the first to answer is the mentor; whoever else has spoken backs it up. A
//! mentor that refuses (it is starting up itself) or falls silent is replaced by the next. Registrations are served all
//! the while; only what would need the whole picture waits: resolutions of unknown pools (a second at most), requests of
//! peers, announcements.

use super::replication::Told;
use super::{Event, Registrar, Timer, overslept};
use crate::wire::enrp::Body;
use crate::wire::parameter::PoolElement;
use crate::{PoolHandle, RegistrarId, Time};
use std::collections::BTreeSet;

/// How far a registrar has come.
pub(super) enum Phase {
    /// It was told nothing yet.
    Unborn,
    /// It learns.
    Starting(Startup),
    /// It serves.
    Ready,
}

impl Phase {
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready)
    }
}

#[derive(Default)]
pub(super) struct Startup {
    /// Whom it learns from now.
    mentor: Option<RegistrarId>,
    /// The mentor gave its list and is asked for its table.
    listed: bool,
    /// Mentors that could not help.
    tried: BTreeSet<RegistrarId>,
    /// No new round of mentors is begun any more.
    wait_over: bool,
}

impl Registrar {
    /// Start-up is over.
    pub fn is_ready(&self) -> bool {
        self.phase.is_ready()
    }

    /// The first fact: start up.
    pub(super) fn begin(&mut self, now: Time) {
        if !matches!(self.phase, Phase::Unborn) {
            return;
        }
        self.phase = Phase::Starting(Startup::default());
        self.presence_due(now);
        if self.seeds.is_empty() && !self.config.multicast {
            // "If no existing peer server is specified, it MUST assume that it is alone" (RFC 5353 §3.2.2.1).
            self.ready(now);
        } else {
            self.timers.set(Timer::Start, now + self.config.timing.mentor_wait);
        }
    }

    fn ready(&mut self, now: Time) {
        if self.phase.is_ready() {
            return;
        }
        self.phase = Phase::Ready;
        self.timers.clear(&Timer::Start);
        self.timers.clear(&Timer::Mentor);
        let (peers, elements) = (self.peers.len(), self.handlespace.len());
        self.outbox.event(Event::Ready { peers, elements });
        self.answer_held(now);
        if self.config.multicast {
            self.announce_presence();
            self.announce_due(now);
        }
    }

    fn startup(&mut self) -> Option<&mut Startup> {
        match &mut self.phase {
            Phase::Starting(startup) => Some(startup),
            _ => None,
        }
    }

    /// Somebody spoke, or a mentor failed: is there one to learn from?
    pub(super) fn consider_mentor(&mut self, now: Time) {
        let living = self.living_peers();
        let Some(startup) = self.startup() else { return };
        if startup.mentor.is_some() {
            return;
        }
        let Some(mentor) = living.into_iter().find(|peer| !startup.tried.contains(peer)) else { return };
        startup.mentor = Some(mentor);
        startup.listed = false;
        self.ask_list(mentor);
        self.timers.set(Timer::Mentor, now + self.config.timing.peer_no_response);
    }

    /// The mentor's list has been unpacked, or was refused: only then its table is asked for (RFC 5353 §3.2.3).
    pub(super) fn mentor_list(&mut self, now: Time, from: RegistrarId, rejected: bool) {
        let Some(startup) = self.startup().filter(|startup| startup.mentor == Some(from)) else { return };
        if startup.listed {
            return;
        }
        if rejected {
            self.mentor_failed(now);
            return;
        }
        startup.listed = true;
        self.ask_mentor_table(now, from);
    }

    fn ask_mentor_table(&mut self, now: Time, mentor: RegistrarId) {
        self.say(mentor, Body::HandleTableRequest { own_only: false });
        self.timers.set(Timer::Mentor, now + self.config.timing.peer_no_response);
    }

    /// A part of the mentor's table. True if it was one.
    pub(super) fn mentor_table(
        &mut self,
        now: Time,
        from: RegistrarId,
        rejected: bool,
        more: bool,
        pools: &[(PoolHandle, Vec<PoolElement>)],
    ) -> bool {
        if self.startup().is_none_or(|startup| startup.mentor != Some(from) || !startup.listed) {
            return false;
        }
        if rejected {
            self.mentor_failed(now);
            return true;
        }
        for (handle, elements) in pools {
            for element in elements {
                // What a former life of this registrar owned will register anew.
                if element.home != self.id {
                    let element = self.farther(from, element.clone());
                    self.replicate(now, Told::Table, *handle, element);
                }
            }
        }
        if more {
            self.ask_mentor_table(now, from)
        } else {
            self.ready(now)
        }
        true
    }

    fn mentor_failed(&mut self, now: Time) {
        let pause = self.random.jittered(self.config.timing.peer_no_response, 500);
        let Some(startup) = self.startup() else { return };
        let Some(mentor) = startup.mentor.take() else { return };
        startup.tried.insert(mentor);
        self.list_missed(mentor);
        self.timers.clear(&Timer::Mentor);
        self.outbox.event(Event::MentorFailed);
        self.consider_mentor(now);
        match self.startup() {
            Some(startup) if startup.mentor.is_none() && startup.wait_over => self.ready(now),
            // Everybody was tried: after a pause they are tried again (RFC 5353 §3.2.2.2: "wait for a few seconds").
            Some(startup) if startup.mentor.is_none() => self.timers.set(Timer::Mentor, now + pause),
            _ => {}
        }
    }

    /// A mentor is not a peer any more.
    pub(super) fn mentor_lost(&mut self, now: Time, peer: RegistrarId) {
        if self.startup().is_some_and(|startup| startup.mentor == Some(peer)) {
            self.mentor_failed(now);
        }
    }

    pub(super) fn mentor_patience_over(&mut self, now: Time, at: Time) {
        let patience = self.config.timing.peer_no_response;
        let Some(startup) = self.startup() else { return };
        match startup.mentor {
            Some(_) if overslept(now, at, patience) => self.timers.set(Timer::Mentor, now + patience),
            Some(_) => self.mentor_failed(now),
            None => {
                startup.tried.clear();
                self.consider_mentor(now);
            }
        }
    }

    /// Nobody could be found in time, unless somebody is just being helpful.
    pub(super) fn mentor_wait_over(&mut self, now: Time) {
        let Some(startup) = self.startup() else { return };
        startup.wait_over = true;
        if startup.mentor.is_none() {
            self.ready(now);
        }
    }
}
