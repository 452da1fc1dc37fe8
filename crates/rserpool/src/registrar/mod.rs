//! The registrar: keeps the handlespace, watches the elements it is home of, and agrees with its peers.
//!
//! ```text
//!   elements, users ---- ASAP ----> asap.rs        registration, resolution, reports
//!                                     |  admission.rs: who may register what from where
//!                                   watch.rs       keep-alives, life times, adoption, probes
//!                                     |
//!                                  handlespace
//!                                     |
//!   peers <------------- ENRP ----- enrp.rs        who says what over which link
//!                                   replication.rs updates out and in, contests about a home
//!                                   table.rs       whole tables, part by part
//!                                   resync.rs      the audit, and what follows a difference
//!                                   peers.rs       presence and silence; lists.rs, seeds.rs: who else may be there
//!                                   startup.rs     learning from a mentor
//!                                   takeover.rs    what becomes of the elements of a dead peer
//!                                   suggestion.rs  giving elements to others
//!                                   distance.rs    how far elements are away
//!   everybody <-- announcements --- announce.rs
//! ```
//!
//! This file holds the state and the one place where facts become calls. An element is named by its pool and its
//! identifier everywhere here ([`Key`]). Two rules explain most of the rest:
//!
//! * *The element's own word decides.* A home is changed at once by what the element itself said last (its registration,
//!   or its answer to a keep-alive with the H flag, both of which its new home announces); a table, a takeover or a
//!   removal by somebody else counts for less.
//! * *Who convicts must have been awake.* A timer served late by more than a quarter of its span proves nothing about
//!   the other side: the question is asked again, and one more span waited.

mod admission;
mod announce;
mod asap;
mod audit;
mod config;
mod distance;
mod enrp;
mod event;
mod gate;
mod links;
mod lists;
mod peers;
mod replication;
mod resync;
mod seeds;
mod startup;
mod suggestion;
mod table;
mod takeover;
#[cfg(test)]
mod tests;
mod watch;

pub use admission::Refusal;
pub use config::{Arbitration, Config, Limits, Rate, Scope};
pub use event::{Counters, Event, PeerLoss, Rejection, Removal, TakeoverEnd};
pub use peers::{PeerState, PeerView};

use crate::handlespace::Settings;
use crate::link::Frame;
use crate::{
    Channel, Door, ElementId, Ending, Handlespace, Input, LinkId, Node, Outbox, Output, PoolHandle, Ppid,
    Random, RegistrarId, Time, Timers,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The name of an element in the scope.
type Key = (PoolHandle, ElementId);

/// A registrar.
pub struct Registrar {
    id: RegistrarId,
    config: Config,
    random: Random,
    phase: startup::Phase,
    handlespace: Handlespace,
    timers: Timers<Timer>,
    links: BTreeMap<LinkId, links::Link>,
    outbox: Outbox<Event>,
    counters: Counters,
    gates: gate::Gates,

    /// What it knows of each element it is home of.
    watches: BTreeMap<Key, watch::Watch>,
    /// Elements taken over that wait for their turn to be adopted.
    unadopted: VecDeque<Key>,
    /// Elements being adopted: the question with the H flag is under way.
    adopting: BTreeSet<Key>,
    /// Elements of peers being probed because a user reported them.
    probes: BTreeMap<Key, LinkId>,
    /// Elements that a peer claims although their link with this registrar is up.
    contests: BTreeMap<Key, replication::Contest>,
    suggestions: suggestion::Suggestions,
    /// Resolutions of pools that are unknown while starting up, oldest first.
    held: VecDeque<asap::Held>,

    peers: BTreeMap<RegistrarId, peers::Peer>,
    /// Where registrars are, or were, whose identifier is not known.
    seeds: Vec<seeds::Seed>,
    /// How far each table download got: by peer, and whether it wanted this registrar's own elements only.
    downloads: BTreeMap<(RegistrarId, bool), Key>,
    /// Registrars heard on the ASAP announcement channel, and when.
    announcers: BTreeMap<RegistrarId, Time>,
}

/// What this registrar waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// The end of the patience for finding a mentor.
    Start,
    /// The end of the patience with the mentor, or of the pause before the next attempt.
    Mentor,
    /// The next presence.
    Presence,
    /// The next announcement.
    Announce,
    /// The oldest resolution held back has waited long enough.
    Held,
    /// The next question to an element, or the end of the patience for its answer.
    KeepAlive(Key),
    /// The end of a registration.
    Life(Key),
    /// The end of the patience with the element of a peer.
    Probe(Key),
    /// The next step of a contest.
    Contest(Key),
    /// The end of the patience with a peer, whatever it is expected to do.
    Peer(RegistrarId),
    /// The end of the patience with a table that a peer sends.
    Resync(RegistrarId),
    /// The end of the patience with a peer that reads a table here.
    Download(RegistrarId, bool),
}

impl Registrar {
    /// A registrar with nothing in it. It starts up with the first fact it is told; until then its deadline is the
    /// world's first moment, so an early [`Input::Wake`] is all it needs.
    pub fn new(config: Config, mut random: Random) -> Self {
        let id = config.id.filter(|id| id.is_defined()).unwrap_or_else(|| RegistrarId(random.nonzero_u32()));
        let seeds = seeds::Seed::configured(&config);
        let handlespace = Handlespace::with_settings(Settings {
            elements_max: config.limits.elements,
            count_selections: config.count_selections,
            ..Settings::registrar()
        });
        Self {
            id,
            config,
            random,
            phase: startup::Phase::Unborn,
            handlespace,
            timers: Timers::default(),
            links: BTreeMap::new(),
            outbox: Outbox::default(),
            counters: Counters::default(),
            gates: gate::Gates::default(),
            watches: BTreeMap::new(),
            unadopted: VecDeque::new(),
            adopting: BTreeSet::new(),
            probes: BTreeMap::new(),
            contests: BTreeMap::new(),
            suggestions: suggestion::Suggestions::default(),
            held: VecDeque::new(),
            peers: BTreeMap::new(),
            seeds,
            downloads: BTreeMap::new(),
            announcers: BTreeMap::new(),
        }
    }

    /// Its identifier: never 0, the same for its whole life.
    pub fn id(&self) -> RegistrarId {
        self.id
    }

    /// Its settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Its copy of the handlespace.
    pub fn handlespace(&self) -> &Handlespace {
        &self.handlespace
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    fn message(&mut self, now: Time, link: LinkId, ppid: Ppid, bytes: &[u8]) {
        // A message may cross with our wish to end its link: then the link is no longer known, and that is all.
        let Some(door) = self.links.get(&link).map(|link| link.door) else { return };
        self.counters.heard += u64::from(ppid != Ppid::LINK);
        match (door, ppid) {
            (Door::Asap, Ppid::ASAP) => self.asap(now, link, bytes),
            (Door::Enrp, Ppid::ENRP) => self.enrp(now, link, bytes),
            (_, Ppid::LINK) => match Frame::parse(bytes) {
                Some(Frame::Ping(content)) => {
                    self.outbox.send(link, Ppid::LINK, Frame::Pong(content).emit());
                }
                Some(Frame::Pong(_)) | None => {}
            },
            _ => {
                self.reject(Some(door), Rejection::WrongProtocol);
                self.end_link(now, link, Ending::Abort);
            }
        }
    }

    fn due(&mut self, now: Time, at: Time, timer: Timer) {
        match timer {
            Timer::Start => self.mentor_wait_over(now),
            Timer::Mentor => self.mentor_patience_over(now, at),
            Timer::Presence => self.presence_due(now),
            Timer::Announce => self.announce_due(now),
            Timer::Held => self.answer_held(now),
            Timer::KeepAlive(key) => self.keep_alive_due(now, at, key),
            Timer::Life(key) => self.life_over(now, at, key),
            Timer::Probe(key) => self.probe_over(now, at, key),
            Timer::Contest(key) => self.contest_due(now, at, key),
            Timer::Peer(peer) => self.peer_due(now, at, peer),
            Timer::Resync(peer) => self.resync_patience_over(now, at, peer),
            Timer::Download(peer, own_only) => {
                self.downloads.remove(&(peer, own_only));
            }
        }
    }

    /// Counts a message that was not obeyed.
    fn reject(&mut self, door: Option<Door>, reason: Rejection) {
        *self.counters.rejected.entry(reason).or_default() += 1;
        self.outbox.event(Event::Rejected { door, reason });
    }
}

/// True if a timer was served so late that its end proves nothing about the other side.
fn overslept(now: Time, at: Time, span: Duration) -> bool {
    now.since(at) > span / 4
}

impl Node for Registrar {
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input) {
        self.begin(now);
        match input {
            Input::Accepted { link, door, peer } => self.accepted(link, door, peer),
            Input::Opened { link, peer } => self.opened(now, link, peer),
            Input::Message { link, ppid, bytes } => self.message(now, link, ppid, &bytes),
            Input::Closed { link, cause } => self.closed(now, link, cause),
            Input::Heard { channel: Channel::Asap, bytes, .. } => self.heard_asap(now, &bytes),
            Input::Heard { channel: Channel::Enrp, from, bytes } => self.heard_enrp(now, from, &bytes),
            // Alarms are served here only: a registrar that was held up finds its mail first, and a peer whose presence
            // lies in that mail is not silent.
            Input::Wake => {
                while let Some((at, timer)) = self.timers.take_due(now) {
                    self.due(now, at, timer);
                }
            }
            // What it tells is for people; nothing waits for them.
            Input::Deaf { .. } => {}
        }
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        match self.phase {
            startup::Phase::Unborn => Some(Time::ZERO),
            _ => self.timers.next(),
        }
    }
}
