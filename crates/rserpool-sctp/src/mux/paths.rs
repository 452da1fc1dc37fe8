//! The paths of one association: which address of the other side a packet goes to (RFC 9260 §5.4, §6.4, §8.2, §8.3).
//!
//! The engine knows a single path. It says what to send and when something was not acknowledged in time; where to is
//! decided here. There is one destination per address of the other side:
//!
//! ```text
//!   unconfirmed --heartbeat answered--> good <--answered, or data acknowledged--.
//!   (heartbeats only)                     `--a timeout--> doubtful --too many--> unreachable
//! ```
//!
//! * New data goes to the primary destination if it is good, else to the one with the fewest timeouts in a row. So one
//!   timeout is enough to try elsewhere, and one answer to come back (as RFC 7829 has it with its threshold at 0).
//! * What was not acknowledged in time goes to another one than before.
//! * Idle destinations are asked once per heartbeat interval, doubtful and unconfirmed ones at once and then after
//!   timeouts that double.
//! * While data is under way to a destination, silence counts once: the engine's timer is the one that tells.
//! * The association is lost when every destination that was ever confirmed is unreachable.
//!
//! A destination also has one of our sockets, from which packets to it leave. Where there are several, a destination
//! that does not answer is asked from the others as well, and the one whose heartbeat is answered is used from then on.

use super::Config;
use super::sockets::Sockets;
use crate::Path;
use crate::packet::array;
use crate::scope::{ADDRESSES_MAX, is_useful};
use rserpool::Time;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Destinations that are asked at the same moment when an association begins; the next so many follow after a timeout
/// (RFC 9260 §5.4: HB.Max.Burst).
const BURST: usize = 4;

/// Heartbeats per destination whose answers are still good, however late.
const PROBES_MAX: usize = 8;

/// An address that was listed and never answered is asked so many times less often: it may be somebody else's for good.
const UNPROVEN: u32 = 5;

/// What has become of a path. Told by [`Event::Path`](super::Event::Path).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState {
    /// An address that the other side had listed answered for the first time: packets may go there from now on.
    Confirmed,
    /// It left too many packets unanswered (RFC 9260 §8.2). It goes on being asked.
    Unreachable,
    /// It answers again.
    Available,
}

/// How a path of an association is doing. Told by [`Mux::paths`](super::Mux::paths).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathStatus {
    /// From where to where.
    pub path: Path,
    /// The one that is used as long as it works.
    pub primary: bool,
    /// It answered once. Until then it gets nothing but heartbeats.
    pub confirmed: bool,
    /// Timeouts in a row; more than [`Config::retransmits_max`] make it unreachable.
    pub errors: u32,
    /// The smoothed time between question and answer; `None` before the first.
    pub round_trip: Option<Duration>,
}

/// A heartbeat to send.
pub(super) struct Probe {
    pub path: Path,
    /// The value of its Heartbeat Info parameter.
    pub info: [u8; 24],
}

/// All destinations of an association.
pub(super) struct Paths {
    /// At least one, none twice. The first is where the handshake took place.
    all: Vec<Destination>,
    primary: usize,
    /// Heartbeats are sent: the association is up and nobody has taken leave.
    watching: bool,
    /// Of each TSN sent and not acknowledged, in order: where it went last. The engine keeps more than that of each.
    sent: VecDeque<u8>,
    /// The TSN of the first of them.
    first_sent: u32,
    /// Where the last SHUTDOWN or SHUTDOWN ACK went.
    farewell: Option<usize>,
    /// Where data came from last.
    heard: usize,
    /// The next packet that is sent again goes this way, too.
    beside: Option<Path>,
    changes: Vec<(SocketAddr, PathState)>,
}

struct Destination {
    at: SocketAddr,
    socket: usize,
    confirmed: bool,
    /// Timeouts in a row.
    errors: u32,
    /// TSNs whose last transmission went here.
    outstanding: u32,
    /// When something that tells whether it works went here last.
    used: Time,
    /// When to look after it: the last heartbeat is overdue, or the next one is due.
    due: Time,
    /// The last heartbeat is neither answered nor overdue.
    waiting: bool,
    /// Heartbeats not answered yet, the oldest first: nonce, socket, when.
    probes: VecDeque<(u64, usize, Time)>,
    round_trip: RoundTrip,
}

impl Paths {
    /// One path, the one of the handshake.
    pub fn new(path: Path) -> Self {
        Self {
            all: vec![Destination::new(path.remote, path.socket)],
            primary: 0,
            watching: false,
            sent: VecDeque::new(),
            first_sent: 0,
            farewell: None,
            heard: 0,
            beside: None,
            changes: Vec::new(),
        }
    }

    /// The association is up. It was made over `path`, which is thereby confirmed (RFC 9260 §5.4, rule 2); the other side
    /// has listed more addresses, which are believed to have the same UDP port.
    ///
    /// By rule 1 the addresses that we wanted to connect to would be confirmed, too. But they may be anybody's: they
    /// come from registrations. They can answer like all others.
    pub fn begin(&mut self, now: Time, config: &Config, sockets: &Sockets, path: Path, listed: &[IpAddr]) {
        (self.all[0].at, self.all[0].socket, self.all[0].confirmed) = (path.remote, path.socket, true);
        for &ip in listed {
            if self.all.len() == ADDRESSES_MAX || self.knows(ip) || !is_useful(ip, path.remote.ip()) {
                continue;
            }
            let same_family = ip.is_ipv4() == path.remote.is_ipv4();
            let socket = sockets.sibling_towards(path.socket, ip).or(same_family.then_some(path.socket));
            if let Some(socket) = socket {
                self.all.push(Destination::new(SocketAddr::new(ip, path.remote.port()), socket));
            }
        }
        self.watching = true;
        for (place, destination) in self.all.iter_mut().enumerate() {
            destination.round_trip.timeout = config.rto_initial;
            destination.used = now;
            destination.due = match place {
                0 => now + interval(config),
                other => now + config.rto_initial * ((other - 1) / BURST) as u32,
            };
        }
    }

    /// Where new data goes.
    pub fn current(&self) -> Path {
        self.all[self.best()].path()
    }

    /// True if this is one of the other side's addresses.
    pub fn knows(&self, ip: IpAddr) -> bool {
        self.find(ip).is_some()
    }

    /// True if more than heartbeats may go to this address.
    pub fn has_confirmed(&self, ip: IpAddr) -> bool {
        self.find(ip).is_some_and(|place| self.all[place].confirmed)
    }

    /// The other side's addresses, the one in use first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let best = self.best();
        let others = self.all.iter().enumerate().filter(move |&(place, _)| place != best);
        std::iter::once(self.all[best].at.ip()).chain(others.map(|(_, other)| other.at.ip()))
    }

    /// Where the other side is found by address.
    pub fn confirmed(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().filter(|destination| destination.confirmed).map(|destination| destination.at)
    }

    pub fn status(&self) -> impl Iterator<Item = PathStatus> {
        self.all.iter().enumerate().map(|(place, destination)| PathStatus {
            path: destination.path(),
            primary: place == self.primary,
            confirmed: destination.confirmed,
            errors: destination.errors,
            round_trip: destination.round_trip.smoothed,
        })
    }

    /// New data goes to this address from now on, as long as it works. False if it is not confirmed.
    pub fn set_primary(&mut self, ip: IpAddr) -> bool {
        let place = self.find(ip).filter(|&place| self.all[place].confirmed);
        self.primary = place.unwrap_or(self.primary);
        place.is_some()
    }

    /// Something with the right tag came from there. The UDP port follows what is heard (RFC 6951 §5.4); so does the
    /// socket, unless the one in use works. True if the other side is found elsewhere now.
    pub fn hears(&mut self, from: Path, data: bool) -> bool {
        let Some(place) = self.find(from.remote.ip()) else { return false };
        self.heard = if data { place } else { self.heard };
        let destination = &mut self.all[place];
        if !destination.confirmed || destination.errors > 0 {
            destination.socket = from.socket;
        }
        let moved = destination.at != from.remote;
        destination.at = from.remote;
        moved && destination.confirmed
    }

    /// Where a packet with these TSNs goes, and notes that it went there. `detour` is what [`timed_out`](Self::timed_out)
    /// said.
    pub fn carry(&mut self, now: Time, tsns: impl Iterator<Item = u32>, detour: Option<usize>) -> Path {
        let mut to = None;
        for tsn in tsns {
            let before = tsn.wrapping_sub(self.first_sent) as usize;
            if before < self.sent.len() {
                // A fast retransmission takes the way of the original (RFC 9260 §6.4), if that is beyond doubt.
                let way = usize::from(self.sent[before]);
                let way = detour.unwrap_or(if self.all[way].errors == 0 { way } else { self.best() });
                let to = *to.get_or_insert(way);
                self.resend(before, to);
                self.all[to].used = now;
            } else {
                if before > self.sent.len() || self.sent.is_empty() {
                    self.forget_sent();
                    self.first_sent = tsn;
                }
                let to = *to.get_or_insert(detour.unwrap_or(self.best()));
                self.sent.push_back(to as u8);
                self.all[to].outstanding += 1;
                self.all[to].used = now;
            }
        }
        self.all[to.unwrap_or(self.best())].path()
    }

    /// As [`carry`](Self::carry), but the way is given: to a COOKIE ACK that goes back to where the COOKIE ECHO came from,
    /// data is added.
    pub fn carried_to(&mut self, now: Time, ip: IpAddr, tsns: impl Iterator<Item = u32>) {
        let place = self.find(ip);
        self.carry(now, tsns, place);
    }

    /// Where a SHUTDOWN or SHUTDOWN ACK goes. No heartbeats follow it (RFC 9260 §8.3).
    pub fn take_leave(&mut self, detour: Option<usize>) -> Path {
        self.watching = false;
        let place = detour.unwrap_or(self.best());
        self.farewell = Some(place);
        self.all[place].path()
    }

    /// Where an acknowledgement goes that travels alone: back to where the data came from, unless that is in doubt.
    pub fn acknowledge(&self) -> Path {
        let back = &self.all[self.heard];
        if back.confirmed && back.errors == 0 { back.path() } else { self.current() }
    }

    /// The engine's timer went off and it sends these TSNs again, or a SHUTDOWN if there are none. Whoever did not
    /// acknowledge them has one more timeout. Says where to send them now: `None` if nothing was sent before.
    ///
    /// The engine sends again all that is outstanding; it follows the same way.
    pub fn timed_out(
        &mut self,
        now: Time,
        config: &Config,
        sockets: &Sockets,
        mut tsns: impl Iterator<Item = u32>,
    ) -> Option<usize> {
        let guilty = match tsns.next() {
            Some(tsn) => usize::from(*self.sent.get(tsn.wrapping_sub(self.first_sent) as usize)?),
            None => self.farewell?,
        };
        self.charge(guilty, config);
        let active = |&place: &usize| {
            let other = &self.all[place];
            place != guilty && other.confirmed && other.errors <= config.retransmits_max
        };
        let detour = (0..self.all.len()).filter(active).min_by_key(|&place| self.rank(place));
        let destination = &mut self.all[guilty];
        if detour.is_some() {
            if self.watching && !destination.waiting {
                destination.due = now;
            }
        } else {
            // The only one: from elsewhere as well, where that is possible. What comes back tells which way was good.
            let turns = 1 + destination.errors / 2;
            let socket = sockets.after(destination.socket, turns, destination.at.ip());
            self.beside = (socket != destination.socket).then_some(Path { socket, remote: destination.at });
        }
        let to = detour.unwrap_or(guilty);
        for before in 0..self.sent.len() {
            self.resend(before, to);
        }
        Some(to)
    }

    /// The second way of a packet that is sent again.
    pub fn take_beside(&mut self) -> Option<Path> {
        self.beside.take()
    }

    /// Everything up to this TSN has arrived (RFC 9260 §8.2).
    pub fn acknowledged(&mut self, up_to: u32, config: &Config) {
        let count = up_to.wrapping_sub(self.first_sent).wrapping_add(1) as usize;
        // A SACK that is older than another, or acknowledges what was never sent.
        if count > self.sent.len() {
            return;
        }
        for _ in 0..count {
            let Some(way) = self.sent.pop_front().map(usize::from) else { break };
            self.all[way].outstanding -= 1;
            self.clear(way, config);
        }
        self.first_sent = self.first_sent.wrapping_add(count as u32);
    }

    /// When [`wake`](Self::wake) is wanted.
    pub fn deadline(&self) -> Option<Time> {
        self.all.iter().map(|destination| destination.due).min().filter(|_| self.watching)
    }

    /// Looks after destinations whose time has come. `draw` makes nonces; `may_ask` is asked before each heartbeat to an
    /// address that is not confirmed.
    pub fn wake(
        &mut self,
        now: Time,
        config: &Config,
        sockets: &Sockets,
        mut draw: impl FnMut() -> u64,
        mut may_ask: impl FnMut() -> bool,
    ) -> Vec<Probe> {
        let mut probes = Vec::new();
        for place in 0..self.all.len() {
            if self.all[place].due > now || !self.watching {
                continue;
            }
            let overdue = std::mem::take(&mut self.all[place].waiting);
            if overdue && self.all[place].outstanding == 0 {
                self.charge(place, config);
            }
            let patience = self.patience(place, config);
            let destination = &mut self.all[place];
            let good = destination.confirmed && destination.errors == 0;
            let busy_until = destination.used + interval(config);
            if (good || destination.outstanding > 0) && now < busy_until {
                destination.due = busy_until;
                continue;
            }
            if !destination.confirmed && !may_ask() {
                destination.due = now + interval(config);
                continue;
            }
            probes.push(destination.probe(now, destination.socket, draw()));
            let other = sockets.after(destination.socket, 1 + destination.errors / 2, destination.at.ip());
            if !good && other != destination.socket && (destination.confirmed || may_ask()) {
                probes.push(destination.probe(now, other, draw()));
            }
            destination.waiting = destination.errors <= config.retransmits_max;
            destination.due = now + patience;
        }
        probes
    }

    /// An answer to a heartbeat. True if it is one of ours, and so the destination works.
    pub fn answered(&mut self, now: Time, config: &Config, info: &[u8]) -> bool {
        let (Some(nonce), Some(ip)) = (array(info, 0), array::<16>(info, 8)) else { return false };
        let nonce = u64::from_be_bytes(nonce);
        let Some(place) = self.find(Ipv6Addr::from(ip).to_canonical()) else { return false };
        let destination = &mut self.all[place];
        let Some(&(_, socket, at)) = destination.probes.iter().find(|&&(asked, ..)| asked == nonce) else {
            return false;
        };
        destination.probes.clear();
        destination.waiting = false;
        destination.socket = socket;
        destination.round_trip.observe(now.since(at), config);
        // Some jitter, or all associations would speak at the same moment (RFC 9260 §8.3).
        let timeout = destination.round_trip.timeout;
        let jitter = Duration::from_nanos(nonce % (timeout.as_nanos() as u64).max(1));
        destination.due = now + (interval(config) + jitter).saturating_sub(timeout / 2);
        if !std::mem::replace(&mut destination.confirmed, true) {
            destination.errors = 0;
            self.changes.push((destination.at, PathState::Confirmed));
        } else {
            self.clear(place, config);
        }
        true
    }

    /// True if nothing can be reached any more.
    pub fn lost(&self, config: &Config) -> bool {
        let mut confirmed = self.all.iter().filter(|destination| destination.confirmed);
        self.all[0].confirmed && confirmed.all(|destination| destination.errors > config.retransmits_max)
    }

    /// What has become of paths since this was last asked.
    pub fn take_changes(&mut self) -> Vec<(SocketAddr, PathState)> {
        std::mem::take(&mut self.changes)
    }

    fn find(&self, ip: IpAddr) -> Option<usize> {
        self.all.iter().position(|destination| destination.at.ip() == ip)
    }

    /// The destination for new data.
    fn best(&self) -> usize {
        let confirmed = (0..self.all.len()).filter(|&place| self.all[place].confirmed);
        confirmed.min_by_key(|&place| self.rank(place)).unwrap_or(0)
    }

    /// Fewer timeouts are better; then the primary; then the first.
    fn rank(&self, place: usize) -> (u32, bool, usize) {
        (self.all[place].errors, place != self.primary, place)
    }

    /// The answer to the last packet did not come in time.
    fn charge(&mut self, place: usize, config: &Config) {
        let destination = &mut self.all[place];
        if destination.errors <= config.retransmits_max {
            destination.errors += 1;
            if destination.errors > config.retransmits_max && destination.confirmed {
                self.changes.push((destination.at, PathState::Unreachable));
            }
        }
    }

    /// It works.
    fn clear(&mut self, place: usize, config: &Config) {
        let destination = &mut self.all[place];
        if std::mem::take(&mut destination.errors) > config.retransmits_max {
            self.changes.push((destination.at, PathState::Available));
        }
    }

    /// A TSN goes out again.
    fn resend(&mut self, before: usize, to: usize) {
        let last = std::mem::replace(&mut self.sent[before], to as u8);
        self.all[usize::from(last)].outstanding -= 1;
        self.all[to].outstanding += 1;
    }

    fn forget_sent(&mut self) {
        self.sent.clear();
        self.all.iter_mut().for_each(|destination| destination.outstanding = 0);
    }

    /// How long to wait for the answer to a heartbeat: twice as long after each timeout. An unreachable destination is
    /// asked once per interval, or less often; there it no longer matters when the answer comes.
    fn patience(&self, place: usize, config: &Config) -> Duration {
        let destination = &self.all[place];
        if destination.errors > config.retransmits_max {
            return interval(config) * if destination.confirmed { 1 } else { UNPROVEN };
        }
        destination.round_trip.timeout.saturating_mul(1 << destination.errors.min(16)).min(config.rto_max)
    }
}

/// The pause between heartbeats. Shorter ones would be on their way all together.
fn interval(config: &Config) -> Duration {
    config.heartbeat_interval.max(config.rto_min)
}

impl Destination {
    fn new(at: SocketAddr, socket: usize) -> Self {
        Self {
            at,
            socket,
            confirmed: false,
            errors: 0,
            outstanding: 0,
            used: Time::ZERO,
            due: Time::ZERO,
            waiting: false,
            probes: VecDeque::new(),
            round_trip: RoundTrip::default(),
        }
    }

    fn path(&self) -> Path {
        Path { socket: self.socket, remote: self.at }
    }

    /// A heartbeat from this socket, remembered.
    fn probe(&mut self, now: Time, socket: usize, nonce: u64) -> Probe {
        if self.probes.len() == PROBES_MAX {
            self.probes.pop_front();
        }
        self.probes.push_back((nonce, socket, now));
        let ip = match self.at.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let mut info = [0; 24];
        info[..8].copy_from_slice(&nonce.to_be_bytes());
        info[8..].copy_from_slice(&ip.octets());
        Probe { path: Path { socket, remote: self.at }, info }
    }
}

/// How long an answer takes (RFC 9260 §6.3.1).
#[derive(Default)]
struct RoundTrip {
    smoothed: Option<Duration>,
    variation: Duration,
    /// How long to wait for one.
    timeout: Duration,
}

impl RoundTrip {
    fn observe(&mut self, took: Duration, config: &Config) {
        let smoothed = match self.smoothed {
            None => {
                self.variation = took / 2;
                took
            }
            Some(before) => {
                self.variation = self.variation / 4 * 3 + before.abs_diff(took) / 4;
                before / 8 * 7 + took / 8
            }
        };
        self.smoothed = Some(smoothed);
        self.timeout = (smoothed + 4 * self.variation).max(config.rto_min).min(config.rto_max);
    }
}
