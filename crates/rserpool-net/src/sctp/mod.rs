//! Links over SCTP in user space, carried by UDP (RFC 6951).
//!
//! The protocol is in `rserpool-sctp`; here are its UDP sockets and the names of its associations. Every door has one
//! SCTP port and UDP sockets of the same number, one at each of its addresses. All sockets feed one stack, so a peer may
//! reach any door at any of them, and at 9899 too. Which of a peer's addresses is used, and from which of ours, is the
//! stack's business: a path that fails is not the end of a link.
//!
//! Every message travels ordered on stream 0: session control and data share one order.

mod socket;

use crate::paths::{PathEvent, PathEvents, PathState};
use crate::ready::Ready;
use crate::transport::{Inbox, Names, Refused, Transport};
use crate::{Clock, Config, Counters, Reason, clock, local_addresses};
use rserpool::{Cause, Door, Ending, Endpoint, Greeting, Input, LinkId, Ppid, Protocol, Role, Time};
use rserpool_sctp::{AssocId, CANDIDATES_MAX, ConnectError, Event, Mux, Path, Peer, Why, udp_ports};
use socket::{Buffers, Read, UdpSocket};
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Context;

/// Batches taken from one socket before the others have their turn.
const BATCHES_MAX: usize = 8;
/// The stream of all our messages.
const STREAM: u16 = 0;

/// One of our SCTP ports.
struct Port {
    door: Door,
    number: u16,
    /// Its UDP sockets, one for each address of the door, in the order of preference.
    sockets: Vec<usize>,
}

/// All SCTP links of a node.
pub struct SctpOverUdp {
    mux: Mux,
    counters: Counters,
    names: Names,
    paths: Option<PathEvents>,
    sockets: Vec<UdpSocket>,
    ports: Vec<Port>,
    buffers: Buffers,
    ready: Ready<usize>,
    again: Vec<usize>,
    associations: HashMap<LinkId, AssocId>,
    links: HashMap<AssocId, LinkId>,
    /// Ended by the node, and taking leave.
    leaving: HashSet<AssocId>,
    /// So many stray datagrams are counted.
    strays: u64,
    /// The node stops: nothing new is accepted.
    finishing: bool,
}

impl SctpOverUdp {
    /// A stack on these sockets. A socket with a door is that door's; one without carries whatever comes.
    pub(crate) fn new(
        config: &Config,
        names: Names,
        counters: Counters,
        udp: Vec<(Option<Door>, std::net::UdpSocket)>,
    ) -> io::Result<Self> {
        let limits = config.limits;
        let settings = rserpool_sctp::Config {
            send_buffer: limits.link_queue_max,
            buffered_max: limits.buffers_max,
            associations_max: limits.links_max,
            connecting_max: limits.half_open_max,
            shutdown_max: limits.farewell_max,
            ..rserpool_sctp::Config::default()
        };
        let mut mux = Mux::new(settings, clock::secret());
        let ready = Ready::new();
        let mut sockets = Vec::new();
        let mut ports: Vec<Port> = Vec::new();
        for (number, (door, udp)) in udp.into_iter().enumerate() {
            let socket = UdpSocket::new(udp, ready.waker(number))?;
            let at = socket.local()?;
            mux.bind(number, at.port(), &reachable_at(at.ip()));
            if let Some(door) = door {
                match ports.iter_mut().find(|port| port.door == door) {
                    Some(port) => port.sockets.push(number),
                    None => {
                        let port = at.port();
                        // Nobody has anything to open at a user.
                        if config.identity.role != Role::User {
                            mux.listen(port);
                        }
                        ports.push(Port { door, number: port, sockets: vec![number] });
                    }
                }
            }
            sockets.push(socket);
        }
        Ok(Self {
            mux,
            counters,
            names,
            paths: config.paths.clone(),
            again: (0..sockets.len()).collect(),
            sockets,
            ports,
            buffers: Buffers::new(),
            ready,
            associations: HashMap::new(),
            links: HashMap::new(),
            leaving: HashSet::new(),
            strays: 0,
            finishing: false,
        })
    }

    /// The UDP socket of a door, at its preferred address.
    pub(crate) fn socket_of(&self, door: Door) -> Option<Rc<tokio::net::UdpSocket>> {
        let port = self.ports.iter().find(|port| port.door == door)?;
        Some(self.sockets[*port.sockets.first()?].shared())
    }

    fn connect(&mut self, now: Time, door: Door, to: &Endpoint) -> Result<AssocId, Refused> {
        let port = self.ports.iter().find(|port| port.door == door).ok_or(Refused::Unreachable)?;
        let number = port.number;
        // What a host's addresses are may have changed. Associations that exist keep what they have listed.
        for &socket in &port.sockets {
            let at = self.sockets[socket].local().ok().filter(|at| at.ip().is_unspecified());
            at.inspect(|at| self.mux.bind(socket, number, &reachable_at(at.ip())));
        }
        let mut candidates = Vec::new();
        for remote in to.socket_addresses() {
            let Some(socket) = self.mux.socket_towards(number, remote.ip()) else { continue };
            for udp_port in udp_ports(to.port) {
                candidates.push(Path { socket, remote: (remote.ip(), udp_port).into() });
            }
        }
        candidates.truncate(CANDIDATES_MAX);
        match self.mux.connect(now, number, to.port, &candidates) {
            // Two ports have one association. Where the port of origin does not matter, another one will do; between
            // registrars it does (they check it), and they have a link already.
            Err(ConnectError::Exists(_)) if door != Door::Enrp => {
                let other = self.mux.free_port();
                self.mux.connect(now, other, to.port, &candidates).map_err(|_| Refused::Unreachable)
            }
            Err(ConnectError::Exists(_)) => Err(Refused::Exists),
            result => result.map_err(|_| Refused::Unreachable),
        }
    }

    /// Tells what happened in the stack.
    fn tell(&mut self, now: impl Fn() -> Time, inbox: &mut Inbox) {
        self.counters.add(Reason::Datagram, self.mux.strays() - self.strays);
        self.strays = self.mux.strays();
        while let Some(event) = self.mux.poll_event() {
            match event {
                Event::Up { assoc, local_port, peer, .. } => self.up(now(), assoc, local_port, &peer, inbox),
                Event::Message { assoc, ppid, bytes, .. } => {
                    if let Some(&link) = self.links.get(&assoc) {
                        inbox.push_back(Input::Message { link, ppid, bytes });
                    }
                }
                Event::Closed { assoc, why } => {
                    self.leaving.remove(&assoc);
                    if let Some(link) = self.links.remove(&assoc) {
                        self.associations.remove(&link);
                        if why == Why::Lost {
                            self.counters.count(Reason::Silence);
                        }
                        inbox.push_back(Input::Closed { link, cause: cause_of(why) });
                    }
                }
                Event::Path { assoc, remote, state } => {
                    if let (Some(&link), Some(paths)) = (self.links.get(&assoc), &self.paths) {
                        // Nobody waits for a listener that is slow.
                        let _ = paths.try_send(PathEvent { link, remote: remote.ip(), state: told(state) });
                    }
                }
                // A full queue ends a link here, so nobody waits for room.
                Event::Writable { .. } => {}
            }
        }
    }

    fn up(&mut self, now: Time, assoc: AssocId, local_port: u16, peer: &Peer, inbox: &mut Inbox) {
        if self.leaving.contains(&assoc) {
            return;
        }
        let peer = Endpoint { protocol: Protocol::Sctp, addresses: peer.addresses.clone(), port: peer.port };
        if let Some(&link) = self.links.get(&assoc) {
            return inbox.push_back(Input::Opened { link, peer });
        }
        let door = self.ports.iter().find(|port| port.number == local_port).map(|port| port.door);
        let Some(door) = door.filter(|_| !self.finishing) else {
            self.leaving.insert(assoc);
            return self.mux.abort(now, assoc);
        };
        let link = self.names.next();
        self.links.insert(assoc, link);
        self.associations.insert(link, assoc);
        inbox.push_back(Input::Accepted { link, door, peer });
    }

    /// Gives the sockets what the stack has to send.
    fn transmit(&mut self) {
        while let Some(datagram) = self.mux.poll_output() {
            if let Some(socket) = self.sockets.get_mut(datagram.path.socket) {
                socket.queue(datagram);
            }
        }
        for socket in &mut self.sockets {
            if !socket.is_empty() {
                socket.write(&mut self.buffers);
            }
        }
    }
}

impl Transport for SctpOverUdp {
    fn carries(&self) -> Protocol {
        Protocol::Sctp
    }

    fn has(&self, link: LinkId) -> bool {
        self.associations.contains_key(&link)
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
        let assoc = self.connect(now, door, &to)?;
        self.links.insert(assoc, link);
        self.associations.insert(link, assoc);
        Ok(())
    }

    fn send(&mut self, now: Time, link: LinkId, ppid: Ppid, bytes: Vec<u8>, _more: bool, inbox: &mut Inbox) {
        let Some(&assoc) = self.associations.get(&link) else { return };
        if self.mux.send(now, assoc, STREAM, ppid, bytes).is_err() {
            // Full or too large: either way more than the other side takes.
            self.counters.count(Reason::Overflow);
            self.close(now, link, Ending::Abort);
            inbox.push_back(Input::Closed { link, cause: Cause::Overflow });
        }
    }

    fn close(&mut self, now: Time, link: LinkId, how: Ending) {
        let Some(assoc) = self.associations.remove(&link) else { return };
        self.links.remove(&assoc);
        self.leaving.insert(assoc);
        match how {
            Ending::Graceful => self.mux.shutdown(now, assoc),
            Ending::Abort => self.mux.abort(now, assoc),
        }
    }

    fn flush(&mut self, clock: Clock, inbox: &mut Inbox) {
        self.tell(|| clock.now(), inbox);
        self.transmit();
    }

    fn sweep(&mut self, clock: Clock, cx: &mut Context<'_>, inbox: &mut Inbox) {
        let mut woken = std::mem::take(&mut self.again);
        self.ready.take(cx, &mut woken);
        if woken.is_empty() {
            return;
        }
        let now = clock.now();
        woken.sort_unstable();
        woken.dedup();
        for number in woken {
            let Self { mux, sockets, buffers, again, .. } = self;
            let Some(socket) = sockets.get_mut(number) else { continue };
            socket.write(buffers);
            let mut batches = 0;
            let give = |remote, bytes: &[u8]| mux.input(now, Path { socket: number, remote }, bytes);
            let mut give = give;
            while socket.read(buffers, &mut give) == Read::More {
                batches += 1;
                if batches == BATCHES_MAX {
                    again.push(number);
                    break;
                }
            }
        }
        self.tell(|| clock.now(), inbox);
        if inbox.is_empty() {
            // Nothing for the node, so it will say nothing: acknowledgements leave now.
            self.transmit();
            if !self.again.is_empty() {
                cx.waker().wake_by_ref();
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.mux.deadline()
    }

    fn wake(&mut self, now: Time, inbox: &mut Inbox) {
        self.mux.wake(now);
        self.tell(|| now, inbox);
    }

    fn finish(&mut self, now: Time) {
        self.finishing = true;
        for port in &self.ports {
            self.mux.close_port(port.number);
        }
        let mut links: Vec<LinkId> = self.associations.keys().copied().collect();
        links.sort();
        for link in links {
            self.close(now, link, Ending::Graceful);
        }
    }

    fn is_done(&self) -> bool {
        self.leaving.is_empty() && self.sockets.iter().all(UdpSocket::is_empty)
    }
}

fn told(state: rserpool_sctp::PathState) -> PathState {
    match state {
        rserpool_sctp::PathState::Confirmed => PathState::Confirmed,
        rserpool_sctp::PathState::Unreachable => PathState::Unreachable,
        rserpool_sctp::PathState::Available => PathState::Available,
    }
}

/// Where others reach a socket that is bound to `ip`.
fn reachable_at(ip: IpAddr) -> Vec<IpAddr> {
    // Whoever cannot find out lists nothing, and has the one address that its packets come from.
    if ip.is_unspecified() { local_addresses(ip).unwrap_or_default() } else { vec![ip] }
}

fn cause_of(why: Why) -> Cause {
    match why {
        Why::Graceful => Cause::Ended,
        Why::Aborted | Why::Local => Cause::Aborted,
        Why::Unreachable => Cause::Unreachable,
        Why::Overflow => Cause::Overflow,
        // A peer that began anew (`Restarted`) has forgotten what was under way.
        _ => Cause::Lost,
    }
}
