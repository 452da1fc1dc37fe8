//! Links over TCP: our mapping, because no RFC defines one (RFC 5352 §2.1 only allows TCP between users and
//! registrars).
//!
//! * `frame`: how messages stand in the stream, and what is refused.
//! * `link`: one connection, from the first Hello to the last Bye.
//! * here: listeners, the table of links, timers and bounds.
//!
//! Who may speak so: users with registrars; elements with registrars where SCTP does not get through (an extension: RFC
//! 5352 §2.1 has SCTP there); sessions with our own services. Registrars never among themselves (RFC 5353 §3.1).

mod frame;
mod link;
mod output;

use crate::ready::Ready;
use crate::transport::{Inbox, Names, Refused, Transport};
use crate::{Clock, Config, Counters, Reason};
use frame::{AbortCause, Hello};
use link::{Birth, Common, Connecting, Link, Look};
use rserpool::{Cause, Door, Ending, Endpoint, Greeting, LinkId, Ppid, Protocol, Time, Timers};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// One read takes at most so much.
const READ_MAX: usize = 64 << 10;
/// One sweep looks at so many links at most before the node gets its mail.
const LOOKS_MAX: usize = 256;
/// One sweep accepts so many links of one listener at most.
const ACCEPTS_MAX: usize = 64;
/// Pause of a listener when the system has no room for another socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Links the system may keep for us to accept.
const BACKLOG: i32 = 1_024;

/// Whose waker rang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Listener(usize),
    Link(LinkId),
}

struct Listener {
    door: Door,
    socket: TcpListener,
    waker: Waker,
}

/// All TCP links of a node.
pub struct Tcp {
    common: Common,
    names: Names,
    listeners: Vec<Listener>,
    links: HashMap<LinkId, Link>,
    half_open: BTreeSet<LinkId>,
    timers: Timers<Key>,
    ready: Ready<Key>,
    /// Keys to look at in the next sweep, besides those whose waker rings.
    again: Vec<Key>,
    /// Links with octets queued since the last flush.
    dirty: Vec<LinkId>,
    /// Octets all links hold.
    held: usize,
    /// Where links to registrars begin: at an address of the ASAP door, which the registrar compares with the address
    /// of the service (RFC 5352 §3.1: the ASAP endpoint is bound to the addresses the service will use).
    asap_from: Vec<IpAddr>,
}

impl Tcp {
    /// A transport that accepts on these listening sockets.
    pub(crate) fn new(
        config: &Config,
        names: Names,
        counters: Counters,
        listening: Vec<(Door, StdListener)>,
    ) -> io::Result<Self> {
        let ready = Ready::new();
        let mut listeners = Vec::new();
        for (place, (door, socket)) in listening.into_iter().enumerate() {
            socket.set_nonblocking(true)?;
            let socket = TcpListener::from_std(socket)?;
            listeners.push(Listener { door, socket, waker: ready.waker(Key::Listener(place)) });
        }
        let again = (0..listeners.len()).map(Key::Listener).collect();
        let scratch = vec![0; READ_MAX].into_boxed_slice();
        let asap_from = config.asap.at.iter().flat_map(|at| at.addresses.clone());
        Ok(Self {
            common: Common { identity: config.identity, limits: config.limits, counters, scratch },
            names,
            listeners,
            links: HashMap::new(),
            half_open: BTreeSet::new(),
            timers: Timers::default(),
            ready,
            again,
            dirty: Vec::new(),
            held: 0,
            asap_from: asap_from.filter(|ip| !ip.is_unspecified()).collect(),
        })
    }

    /// Looks at one listener or link.
    fn look(&mut self, now: Time, key: Key, inbox: &mut Inbox) {
        match key {
            Key::Listener(place) => self.accept(now, place),
            Key::Link(id) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                let look = link.look(now, &mut self.common, inbox);
                if look == Look::More {
                    self.again.push(key);
                }
                self.after(now, id, look, inbox);
            }
        }
    }

    /// Keeps the books after something happened to a link: its buffers, its timer, its end.
    fn after(&mut self, now: Time, id: LinkId, look: Look, inbox: &mut Inbox) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if !link.is_half_open() {
            self.half_open.remove(&id);
        }
        if look == Look::Gone {
            self.held -= link.accounted;
            self.links.remove(&id);
            self.timers.clear(&Key::Link(id));
            return;
        }
        let others = self.held - link.accounted;
        if others + link.held() > self.common.limits.buffers_max && link.is_known() {
            self.common.counters.count(Reason::Memory);
            link.give_up(now, Cause::Overflow, AbortCause::Overload, "out of buffers", inbox);
        }
        link.accounted = link.held();
        self.held = others + link.accounted;
        // Most moments only move away: the timer is left where it is and asks again when it fires.
        let due = link.due(&self.common.limits);
        if link.armed.is_none_or(|armed| due < armed) {
            self.timers.set(Key::Link(id), due);
            link.armed = Some(due);
        }
    }

    fn accept(&mut self, now: Time, place: usize) {
        for _ in 0..ACCEPTS_MAX {
            let Some(listener) = self.listeners.get(place) else { return };
            let door = listener.door;
            match listener.socket.poll_accept(&mut Context::from_waker(&listener.waker)) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, from))) => self.accepted(now, door, stream, from),
                Poll::Ready(Err(error)) => {
                    self.common.counters.count(Reason::Accept);
                    // A caller that has gone already is no reason to pause; having no socket left is.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        self.timers.set(Key::Listener(place), now + ACCEPT_PAUSE);
                        return;
                    }
                }
            }
        }
        self.again.push(Key::Listener(place));
    }

    fn accepted(&mut self, now: Time, door: Door, stream: TcpStream, from: SocketAddr) {
        let limits = self.common.limits;
        if self.links.len() >= limits.links_max {
            self.common.counters.count(Reason::TooManyLinks);
            let mut abort = Vec::new();
            frame::emit_abort(AbortCause::Overload, "too many links", &mut abort);
            // What one write takes is all the explanation there is.
            let _ = stream.try_write(&abort);
            return;
        }
        if self.half_open.len() >= limits.half_open_max
            && let Some(oldest) = self.half_open.pop_first()
            && let Some(link) = self.links.remove(&oldest)
        {
            // Callers who mean it introduce themselves at once, so the oldest of the silent ones goes.
            self.common.counters.count(Reason::HalfOpen);
            self.held -= link.accounted;
            self.timers.clear(&Key::Link(oldest));
        }
        tune(&stream, limits.silence_max);
        let id = self.names.next();
        let waker = self.ready.waker(Key::Link(id));
        let birth = Birth { now, id, door, until: now + limits.hello_timeout, waker };
        let mut link = Link::accepted(birth, stream, from);
        let due = link.due(&limits);
        link.armed = Some(due);
        self.timers.set(Key::Link(id), due);
        self.links.insert(id, link);
        self.half_open.insert(id);
        self.again.push(Key::Link(id));
    }

    fn soil(&mut self, id: LinkId) {
        if self.dirty.last() != Some(&id) {
            self.dirty.push(id);
        }
    }
}

impl Transport for Tcp {
    fn carries(&self) -> Protocol {
        Protocol::Tcp
    }

    fn has(&self, link: LinkId) -> bool {
        self.links.get(&link).is_some_and(Link::is_known)
    }

    fn open(
        &mut self,
        now: Time,
        id: LinkId,
        door: Door,
        to: Endpoint,
        greeting: Greeting,
        inbox: &mut Inbox,
    ) -> Result<(), Refused> {
        let limits = self.common.limits;
        if self.links.len() >= limits.links_max {
            self.common.counters.count(Reason::TooManyLinks);
            return Err(Refused::Unreachable);
        }
        let hello = Hello {
            role: greeting.role,
            own: greeting.own,
            wanted: greeting.wanted,
            pool: greeting.pool,
            ..link::hello_of(&self.common.identity, &limits)
        };
        let to_try: Vec<SocketAddr> = to.socket_addresses().collect();
        let suits = |from: &&IpAddr| to_try.first().is_some_and(|to| to.is_ipv4() == from.is_ipv4());
        let from = self.asap_from.iter().find(suits).copied().filter(|_| door == Door::Asap);
        let connecting: Connecting = Box::pin(connect(from, to_try, limits.silence_max));
        let waker = self.ready.waker(Key::Link(id));
        let birth = Birth { now, id, door, until: now + limits.connect_timeout, waker };
        let link = Link::opening(birth, to, &hello, connecting);
        self.links.insert(id, link);
        self.again.push(Key::Link(id));
        self.after(now, id, Look::Done, inbox);
        Ok(())
    }

    fn send(&mut self, now: Time, id: LinkId, ppid: Ppid, bytes: Vec<u8>, _more: bool, inbox: &mut Inbox) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_known()) else { return };
        link.send(now, ppid, &bytes, &self.common, inbox);
        self.after(now, id, Look::Done, inbox);
        self.soil(id);
    }

    fn close(&mut self, now: Time, id: LinkId, how: Ending) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_known()) else { return };
        let look = link.close(now, how, &self.common);
        // The node is told nothing more of this link, so nothing can come into this inbox.
        self.after(now, id, look, &mut Inbox::new());
        self.soil(id);
    }

    fn flush(&mut self, clock: Clock, inbox: &mut Inbox) {
        if self.dirty.is_empty() {
            return;
        }
        let now = clock.now();
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            if let Some(link) = self.links.get_mut(&id) {
                let look = link.flush(now, &self.common, inbox);
                self.after(now, id, look, inbox);
            }
        }
        self.dirty = dirty;
    }

    fn sweep(&mut self, clock: Clock, cx: &mut Context<'_>, inbox: &mut Inbox) {
        let mut keys = std::mem::take(&mut self.again);
        self.ready.take(cx, &mut keys);
        if keys.is_empty() {
            return;
        }
        let now = clock.now();
        let later = keys.split_off(keys.len().min(LOOKS_MAX));
        for key in keys {
            self.look(now, key, inbox);
        }
        // Those that had to wait come first the next time.
        if !later.is_empty() {
            let seen = std::mem::replace(&mut self.again, later);
            self.again.extend(seen);
        }
        // With mail in the inbox the loop comes again by itself.
        if !self.again.is_empty() && inbox.is_empty() {
            cx.waker().wake_by_ref();
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn wake(&mut self, now: Time, inbox: &mut Inbox) {
        while let Some((_, key)) = self.timers.take_due(now) {
            match key {
                Key::Listener(_) => self.again.push(key),
                Key::Link(id) => {
                    let Some(link) = self.links.get_mut(&id) else { continue };
                    link.armed = None;
                    let look = link.check_time(now, &self.common, inbox);
                    self.after(now, id, look, inbox);
                }
            }
        }
    }

    fn finish(&mut self, now: Time) {
        self.listeners.clear();
        let mut known: Vec<LinkId> = self.links.keys().copied().collect();
        known.sort();
        for id in known {
            if self.has(id) {
                self.close(now, id, Ending::Graceful);
            } else if self.half_open.remove(&id) {
                self.after(now, id, Look::Gone, &mut Inbox::new());
            }
        }
    }

    fn is_done(&self) -> bool {
        self.links.is_empty()
    }
}

/// Connects to the first of these addresses that answers, in order.
async fn connect(
    from: Option<IpAddr>,
    to: Vec<SocketAddr>,
    silence_max: Duration,
) -> io::Result<(TcpStream, SocketAddr)> {
    let mut error = io::ErrorKind::AddrNotAvailable.into();
    for at in to {
        match connect_from(from, at).await {
            // Where nobody listens, a port of this host may by chance connect to itself.
            Ok(stream) if stream.local_addr()? == stream.peer_addr()? => {
                error = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => {
                tune(&stream, silence_max);
                return Ok((stream, at));
            }
            Err(cause) => error = cause,
        }
    }
    Err(error)
}

/// Connects from this address if it is of the same family; else from the one the system chooses.
async fn connect_from(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let Some(from) = from.filter(|ip| ip.is_ipv4() == to.is_ipv4()) else {
        return TcpStream::connect(to).await;
    };
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// Messages leave when they are said; and what was sent must be acknowledged within the silence limit, where the system
/// can watch that. Both are improvements only: a system that refuses them is used as it is.
fn tune(stream: &TcpStream, silence_max: Duration) {
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(silence_max));
    #[cfg(not(target_os = "linux"))]
    let _ = silence_max;
}

/// A listening socket. An address in use by connections that ended is free; one in use by a listener is not.
pub(crate) fn listen(at: SocketAddr) -> io::Result<StdListener> {
    let domain = socket2::Domain::for_address(at);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
    if at.is_ipv6() {
        // IPv4 has a socket of its own, if wanted; so both may share a number.
        socket.set_only_v6(true)?;
    }
    #[cfg(not(windows))]
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
