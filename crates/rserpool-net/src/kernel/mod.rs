//! Links over the kernel's SCTP (RFC 9260, RFC 6458), where the system has it.
//!
//! Every door has one socket, one-to-many, for all its associations: at all addresses of the door, so every association
//! is multi-homed. Another socket is made where it cannot be avoided:
//!
//! * **Two ports have one association with each other.** A second link to the same endpoint leaves from a socket with a
//!   port of its own (a spare one). Between registrars the port of origin matters, so they share the link they have.
//! * **Associations of a socket share its send buffer**, and whoever is not read fills it. An association that finds it
//!   full moves out (`peeloff`): it gets a socket with a buffer of its own, and nobody waits for it.
//!
//! ```text
//!   door  ----- socket ---+--- association ------ link         read: all share a socket's events
//!                         +--- association ------ link         write: full -> peeled off
//!   spare ----- socket -------- association ----- link
//!   peeled off: socket -------- association ----- link
//! ```
//!
//! Every message travels ordered on stream 0. Messages larger than the receive buffer come in parts, which are put
//! together per association and stream. What cannot be handed to the kernel waits in a bounded queue of the link.

mod address;
mod association;
mod call;
mod notice;
mod socket;

use crate::paths::{PathEvent, PathEvents};
use crate::ready::Ready;
use crate::transport::{Inbox, Names, Refused, Transport};
use crate::{Clock, Config, Counters, Limits, Reason};
use association::{Association, Opening, Written};
use call::BATCH;
use notice::{Loss, Notice};
use rserpool::{Cause, Door, Ending, Endpoint, Greeting, Input, LinkId, Ppid, Protocol, Role, Time, Timers};
use socket::Socket;
pub use socket::detect;
pub(crate) use socket::{bind, local_port, message_max};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Context;
use std::time::Duration;

/// A message larger than this is read in parts.
const READ_MAX: usize = 64 << 10;
const _: () = assert!(notice::LENGTH_MAX <= READ_MAX, "notifications come whole");
/// How long one way of reaching a peer is tried while there is another one.
const TRY_MAX: Duration = Duration::from_secs(1);
/// The UDP port where RFC 6951 expects everybody.
const UDP_PORT: u16 = 9899;

/// The names of sockets here. Never used twice.
type Place = usize;

/// One of our SCTP ports.
struct Port {
    door: Door,
    addresses: Vec<IpAddr>,
    place: Place,
    /// Sockets with other ports, for further links to peers that have one already.
    spares: Vec<Place>,
}

struct Held {
    socket: Socket,
    door: Door,
    /// Associations on it. A socket that is no door's goes with its last one.
    associations: usize,
    /// The one that moved here and has it for itself.
    alone: Option<i32>,
}

/// All links of a node over the kernel's SCTP.
pub struct KernelSctp {
    limits: Limits,
    counters: Counters,
    names: Names,
    paths: Option<PathEvents>,
    ports: Vec<Port>,
    sockets: BTreeMap<Place, Held>,
    /// The name given last.
    last: Place,
    ready: Ready<Place>,
    again: Vec<Place>,
    buffer: Vec<u8>,
    /// By the kernel's names, which are unique on this host and not used again soon.
    associations: HashMap<i32, Association>,
    links: HashMap<LinkId, i32>,
    /// Ends of patience: with a peer that does not answer, and with a farewell.
    timers: Timers<i32>,
    /// Associations that came up, or are to end: what waited for that is said at the next flush.
    dirty: Vec<i32>,
    /// Octets all links hold.
    held: usize,
    /// The ways to a peer: as SCTP (`None`), and in UDP to this port where the kernel does that.
    encapsulates: bool,
    /// Another transport stands in for this one where it does not reach a peer.
    has_substitute: bool,
    /// Registrars come back to where an element speaks from, so a spare of it listens, too.
    visited: bool,
    /// The node stops: nothing new is accepted.
    finishing: bool,
}

impl KernelSctp {
    /// A transport on these bound sockets, each at the door's addresses. `has_substitute`: whom this one does not reach
    /// soon is tried over another one.
    pub(crate) fn new(
        config: &Config,
        names: Names,
        counters: Counters,
        bound: Vec<(Door, Vec<IpAddr>, socket2::Socket)>,
        has_substitute: bool,
    ) -> io::Result<Self> {
        let mut this = Self {
            limits: config.limits,
            counters,
            names,
            paths: config.paths.clone(),
            ports: Vec::new(),
            sockets: BTreeMap::new(),
            last: 0,
            ready: Ready::new(),
            again: Vec::new(),
            buffer: vec![0; BATCH * READ_MAX],
            associations: HashMap::new(),
            links: HashMap::new(),
            timers: Timers::default(),
            dirty: Vec::new(),
            held: 0,
            encapsulates: encapsulation_port().is_some(),
            has_substitute,
            visited: config.identity.role == Role::Element,
            finishing: false,
        };
        for (door, addresses, socket) in bound {
            // Nobody has anything to open at a user.
            if config.identity.role != Role::User {
                socket::listen(&socket)?;
            }
            let place = this.next_place();
            let socket = Socket::shared(socket, this.ready.waker(place))?;
            this.keep(place, socket, door);
            this.ports.push(Port { door, addresses, place, spares: Vec::new() });
        }
        Ok(this)
    }

    fn next_place(&mut self) -> Place {
        self.last += 1;
        self.last
    }

    fn keep(&mut self, place: Place, socket: Socket, door: Door) {
        self.sockets.insert(place, Held { socket, door, associations: 0, alone: None });
        self.again.push(place);
    }

    /// Begins an association on the first socket of the door that has none with this peer. Fails with `AddrInUse` if it
    /// has to be the door's own, and that has one.
    fn connect(&mut self, door: Door, to: &[SocketAddr], udp_port: Option<u16>) -> io::Result<(Place, i32)> {
        let port = self.ports.iter().find(|port| port.door == door).ok_or(io::ErrorKind::NotFound)?;
        let ipv6 = port.addresses.iter().any(IpAddr::is_ipv6);
        let ipv4 = port.addresses.iter().any(IpAddr::is_ipv4);
        let to: Vec<SocketAddr> =
            to.iter().copied().filter(|at| if at.is_ipv4() { ipv4 } else { ipv6 }).collect();
        if to.is_empty() {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        // Where the port of origin does not matter, another one will do; between registrars it does (they check it), and
        // they have a link already.
        let others = port.spares.iter().filter(|_| door != Door::Enrp);
        for &place in std::iter::once(&port.place).chain(others) {
            match self.sockets[&place].socket.connect(&to, udp_port) {
                Err(error) if exists(&error) => {}
                begun => return begun.map(|assoc| (place, assoc)),
            }
        }
        if door == Door::Enrp {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let (like, addresses) = (port.place, port.addresses.clone());
        let place = self.next_place();
        let spare = self.sockets[&like].socket.sibling(&addresses, self.ready.waker(place), self.visited)?;
        let assoc = spare.connect(&to, udp_port)?;
        self.keep(place, spare, door);
        if let Some(port) = self.ports.iter_mut().find(|port| port.door == door) {
            port.spares.push(place);
        }
        Ok((place, assoc))
    }

    /// Tries the next way to a peer. An association that has none left is dropped.
    fn attempt(&mut self, now: Time, mut association: Association) -> Result<(), Refused> {
        let mut refused = Refused::Unreachable;
        let Some(opening) = association.opening.as_mut() else { return Err(refused) };
        while let Some(way) = opening.ways.pop_front() {
            let last = opening.ways.is_empty() && !self.has_substitute;
            let (place, assoc) = match self.connect(opening.door, &opening.to, way) {
                Ok(begun) => begun,
                Err(error) => {
                    if error.kind() == io::ErrorKind::AddrInUse {
                        refused = Refused::Exists;
                    }
                    continue;
                }
            };
            let patience =
                if last { self.limits.connect_timeout } else { TRY_MAX.min(self.limits.connect_timeout) };
            self.timers.set(assoc, now + patience);
            association.place = place;
            if let Some(link) = association.link {
                self.links.insert(link, assoc);
            }
            self.insert(assoc, association);
            return Ok(());
        }
        Err(refused)
    }

    fn insert(&mut self, assoc: i32, association: Association) {
        if let Some(held) = self.sockets.get_mut(&association.place) {
            held.associations += 1;
        }
        self.held += association.held();
        self.associations.insert(assoc, association);
    }

    /// Forgets an association, and its socket if nobody else is there.
    fn remove(&mut self, assoc: i32) -> Option<Association> {
        let association = self.associations.remove(&assoc)?;
        self.timers.clear(&assoc);
        self.held -= association.held();
        if let Some(link) = association.link {
            self.links.remove(&link);
        }
        self.let_go(association.place);
        Some(association)
    }

    /// One association less on this socket.
    fn let_go(&mut self, place: Place) {
        let Some(held) = self.sockets.get_mut(&place) else { return };
        held.associations -= 1;
        if held.associations == 0 && self.ports.iter().all(|port| port.place != place) {
            self.sockets.remove(&place);
            self.ports.iter_mut().for_each(|port| port.spares.retain(|&spare| spare != place));
        }
    }

    /// An association could not be brought about this way: the next one, or the end.
    fn failed(&mut self, now: Time, assoc: i32, inbox: &mut Inbox) {
        let Some(association) = self.remove(assoc) else { return };
        let link = association.link;
        if self.attempt(now, association).is_err()
            && let Some(link) = link
        {
            inbox.push_back(Input::Closed { link, cause: Cause::Unreachable });
        }
    }

    /// Ends a link for a reason of ours.
    fn give_up(&mut self, assoc: i32, cause: Cause, why: Reason, reason: &str, inbox: &mut Inbox) {
        self.counters.count(why);
        self.abort(assoc, reason, cause, inbox);
    }

    fn abort(&mut self, assoc: i32, reason: &str, cause: Cause, inbox: &mut Inbox) {
        let Some(association) = self.associations.get(&assoc) else { return };
        if let Some(held) = self.sockets.get(&association.place) {
            held.socket.abort(assoc, reason);
        }
        if let Some(link) = self.remove(assoc).and_then(|association| association.link) {
            inbox.push_back(Input::Closed { link, cause });
        }
    }

    /// Takes note of what happened on a socket.
    fn noticed(&mut self, clock: Clock, place: Place, assoc: i32, notice: Notice, inbox: &mut Inbox) {
        let known = self.associations.contains_key(&assoc);
        match notice {
            Notice::Up if known => self.up(assoc, inbox),
            Notice::Up => self.accepted(place, assoc, inbox),
            Notice::Restarted => {
                let Some(held) = self.sockets.get_mut(&place) else { return };
                // The socket stays between the old link and the new one.
                held.associations += 1;
                self.ended(assoc, Cause::Lost, inbox);
                self.accepted(place, assoc, inbox);
                self.let_go(place);
            }
            Notice::CannotStart => self.failed(clock.now(), assoc, inbox),
            Notice::Ended => self.ended(assoc, Cause::Ended, inbox),
            Notice::Lost(loss) => {
                let Some(association) = self.associations.get(&assoc) else { return };
                if association.opening.is_some() {
                    return self.failed(clock.now(), assoc, inbox);
                }
                if loss == Loss::Silence {
                    self.counters.count(Reason::Silence);
                }
                let cause = if loss == Loss::Aborted { Cause::Aborted } else { Cause::Lost };
                self.ended(assoc, cause, inbox);
            }
            Notice::Path { remote, state } => {
                let link = self.associations.get(&assoc).and_then(|association| association.link);
                if let (Some(link), Some(paths)) = (link, &self.paths) {
                    // Nobody waits for a listener that is slow.
                    let _ = paths.try_send(PathEvent { link, remote, state });
                }
            }
            Notice::Shutdown => {
                // What waits cannot be said any more. The end follows when what was said has arrived.
                if let Some(association) = self.associations.get_mut(&assoc) {
                    self.held -= association.hush();
                }
            }
            Notice::PartAbandoned => {
                if let Some(association) = self.associations.get_mut(&assoc) {
                    self.held -= association.forget_parts();
                }
            }
            Notice::RemoteError => self.counters.count(Reason::PeerError),
            Notice::SendFailed => self.counters.count(Reason::Undelivered),
        }
    }

    fn up(&mut self, assoc: i32, inbox: &mut Inbox) {
        let Some(association) = self.associations.get_mut(&assoc) else { return };
        // Calls that crossed each other become one association, and are told of it twice.
        if association.opening.take().is_none() {
            return;
        }
        let (link, place) = (association.link, association.place);
        if link.is_some() {
            self.timers.clear(&assoc);
        }
        self.dirty.push(assoc);
        if let (Some(link), Some(peer)) = (link, self.peer(place, assoc)) {
            inbox.push_back(Input::Opened { link, peer });
        }
    }

    fn accepted(&mut self, place: Place, assoc: i32, inbox: &mut Inbox) {
        let Some(held) = self.sockets.get(&place) else { return };
        let peer = self.peer(place, assoc);
        let (Some(peer), false) = (peer, self.finishing) else { return held.socket.abort(assoc, "stopping") };
        if self.associations.len() >= self.limits.links_max {
            self.counters.count(Reason::TooManyLinks);
            return held.socket.abort(assoc, "too many links");
        }
        let (link, door, moved_out) = (self.names.next(), held.door, held.alone.is_some());
        self.links.insert(link, assoc);
        let mut new = Association::new(link, place, None);
        new.moved_out = moved_out;
        self.insert(assoc, new);
        inbox.push_back(Input::Accepted { link, door, peer });
    }

    fn ended(&mut self, assoc: i32, cause: Cause, inbox: &mut Inbox) {
        if let Some(link) = self.remove(assoc).and_then(|association| association.link) {
            inbox.push_back(Input::Closed { link, cause });
        }
    }

    fn peer(&self, place: Place, assoc: i32) -> Option<Endpoint> {
        let (addresses, port) = self.sockets.get(&place)?.socket.peer(assoc)?;
        Some(Endpoint { protocol: Protocol::Sctp, addresses, port })
    }

    /// Takes what a socket has to say, a bounded portion of it.
    fn read(&mut self, clock: Clock, place: Place, inbox: &mut Inbox) {
        let Some(held) = self.sockets.get(&place) else { return };
        let batch = match held.socket.read(&mut self.buffer) {
            None => return,
            // A report about an association that ended; its notification follows.
            Some(Err(_)) => return self.again.push(place),
            Some(Ok(batch)) => batch,
        };
        if batch.received().len() == BATCH {
            self.again.push(place);
        }
        for (number, received) in batch.received().iter().enumerate() {
            let octets = &self.buffer[number * READ_MAX..][..received.length];
            if received.notice {
                if let Some((assoc, notice)) = Notice::parse(octets) {
                    self.noticed(clock, place, assoc, notice, inbox);
                }
                continue;
            }
            let Some(association) = self.associations.get_mut(&received.assoc) else { continue };
            let before = association.held();
            let message = association.take(received, octets);
            self.held = self.held - before + association.held();
            let (assoc, link) = (received.assoc, association.link);
            match message {
                Err(()) => {
                    self.give_up(assoc, Cause::Overflow, Reason::FrameLength, "message too large", inbox);
                }
                Ok(None) if self.held > self.limits.buffers_max => {
                    self.give_up(assoc, Cause::Overflow, Reason::Memory, "out of buffers", inbox);
                }
                Ok(None) => {}
                Ok(Some((ppid, bytes))) => {
                    if let Some(link) = link {
                        inbox.push_back(Input::Message { link, ppid, bytes });
                    }
                }
            }
        }
    }

    /// Gives the system what an association has to send; moves it out if its socket is full. `more`: another message
    /// follows at once.
    fn write(&mut self, assoc: i32, more: bool, inbox: &mut Inbox) {
        loop {
            let Some(association) = self.associations.get_mut(&assoc) else { return };
            let Some(held) = self.sockets.get(&association.place) else { return };
            let before = association.held();
            let written = association.write(assoc, more, &held.socket);
            self.held = self.held - before + association.held();
            match written {
                Written::Done => return,
                Written::TooLarge => {
                    return self.give_up(
                        assoc,
                        Cause::Overflow,
                        Reason::Overflow,
                        "message too large",
                        inbox,
                    );
                }
                Written::Full if association.moved_out => return,
                Written::Full => {
                    if !self.move_out(assoc) {
                        return self.give_up(
                            assoc,
                            Cause::Overflow,
                            Reason::Overflow,
                            "no socket left",
                            inbox,
                        );
                    }
                }
            }
        }
    }

    fn move_out(&mut self, assoc: i32) -> bool {
        let Some(from) = self.associations.get(&assoc).map(|association| association.place) else {
            return false;
        };
        let place = self.next_place();
        let waker = self.ready.waker(place);
        let Some(held) = self.sockets.get(&from) else { return false };
        let Ok(socket) = held.socket.peel_off(assoc, waker) else { return false };
        let door = held.door;
        self.let_go(from);
        self.sockets.insert(place, Held { socket, door, associations: 1, alone: Some(assoc) });
        self.again.push(place);
        if let Some(association) = self.associations.get_mut(&assoc) {
            (association.place, association.moved_out) = (place, true);
        }
        true
    }
}

/// What the kernel says if a socket has an association with that peer.
fn exists(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EISCONN | libc::EALREADY | libc::EADDRNOTAVAIL))
}

/// The UDP port at which the kernel takes SCTP in UDP (RFC 6951), if root had it do so: sysctl `net.sctp.udp_port`.
pub fn encapsulation_port() -> Option<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/sctp/udp_port").ok()?;
    text.trim().parse().ok().filter(|&port| port != 0)
}

impl Transport for KernelSctp {
    fn carries(&self) -> Protocol {
        Protocol::Sctp
    }

    fn has(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }

    fn open(
        &mut self,
        now: Time,
        link: LinkId,
        door: Door,
        to: Endpoint,
        _: Greeting,
        _: &mut Inbox,
    ) -> Result<(), Refused> {
        if self.associations.len() >= self.limits.links_max {
            self.counters.count(Reason::TooManyLinks);
            return Err(Refused::Unreachable);
        }
        let mut ways = vec![None];
        if self.encapsulates && !self.has_substitute {
            ways.extend([Some(to.port), Some(UDP_PORT)]);
        }
        let to = to.socket_addresses().collect();
        let opening = Opening { door, to, ways: ways.into() };
        self.attempt(now, Association::new(link, 0, Some(opening)))
    }

    fn send(&mut self, _: Time, link: LinkId, ppid: Ppid, bytes: Vec<u8>, more: bool, inbox: &mut Inbox) {
        let Some(&assoc) = self.links.get(&link) else { return };
        let Some(association) = self.associations.get_mut(&assoc) else { return };
        let length = bytes.len();
        if !association.queue(ppid, bytes, self.limits.link_queue_max) {
            return self.give_up(assoc, Cause::Overflow, Reason::Overflow, "send queue full", inbox);
        }
        self.held += length;
        if self.held > self.limits.buffers_max {
            return self.give_up(assoc, Cause::Overflow, Reason::Memory, "out of buffers", inbox);
        }
        // At once: each message is a system call of its own in any case, and so it leaves before the application is told
        // what happened, which may wake other threads. The kernel may wait for more, and send one packet.
        self.write(assoc, more, inbox);
    }

    fn close(&mut self, now: Time, link: LinkId, how: Ending) {
        let Some(assoc) = self.links.remove(&link) else { return };
        let Some(association) = self.associations.get_mut(&assoc) else { return };
        association.link = None;
        match how {
            Ending::Abort => self.abort(assoc, "link ended", Cause::Aborted, &mut Inbox::new()),
            Ending::Graceful => {
                association.ending = true;
                self.timers.set(assoc, now + self.limits.farewell_max);
                self.dirty.push(assoc);
            }
        }
    }

    fn flush(&mut self, _: Clock, inbox: &mut Inbox) {
        for assoc in std::mem::take(&mut self.dirty) {
            self.write(assoc, false, inbox);
        }
    }

    fn sweep(&mut self, clock: Clock, cx: &mut Context<'_>, inbox: &mut Inbox) {
        let mut woken = std::mem::take(&mut self.again);
        self.ready.take(cx, &mut woken);
        woken.sort_unstable();
        woken.dedup();
        for place in woken {
            self.read(clock, place, inbox);
            // There may be room again.
            if let Some(assoc) = self.sockets.get(&place).and_then(|held| held.alone) {
                self.write(assoc, false, inbox);
            }
        }
        if inbox.is_empty() && !self.again.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn wake(&mut self, now: Time, inbox: &mut Inbox) {
        while let Some((_, assoc)) = self.timers.take_due(now) {
            let Some(association) = self.associations.get(&assoc) else { continue };
            if association.opening.is_none() || association.ending {
                self.abort(assoc, "farewell took too long", Cause::Aborted, inbox);
                continue;
            }
            if let Some(held) = self.sockets.get(&association.place) {
                held.socket.abort(assoc, "no answer in time");
            }
            self.failed(now, assoc, inbox);
        }
    }

    fn finish(&mut self, now: Time) {
        self.finishing = true;
        for place in self.ports.iter().flat_map(|port| std::iter::once(&port.place).chain(&port.spares)) {
            if let Some(held) = self.sockets.get(place) {
                held.socket.stop_listening();
            }
        }
        let mut links: Vec<LinkId> = self.links.keys().copied().collect();
        links.sort();
        for link in links {
            self.close(now, link, Ending::Graceful);
        }
    }

    fn is_done(&self) -> bool {
        self.associations.is_empty()
    }
}
