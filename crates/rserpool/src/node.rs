//! The contract between a node and its world.
//!
//! A registrar, an element and a user are each a value. The world tells it one fact ([`Node::handle`]), then takes
//! what it wants done ([`Node::poll`]) until there is nothing more, and comes back at the latest at
//! [`Node::deadline`]. That is all: the same node runs on sockets and in the simulator, and equal facts give equal
//! wishes.
//!
//! ```text
//!            facts: Input                      wishes: Output
//!   world ------------------->  node  -------------------------> world
//!            handle(now, ..)          poll() until None, deadline()
//! ```
//!
//! Typed calls (`user.open(now, ..)`) are ordinary methods that change the node and fill its outbox; the world drains
//! after them as well. Rules for worlds:
//!
//! * Within a link, messages arrive whole and in order. Order between links means nothing.
//! * A link has one end: after `Closed`, or after the node asked to `Close` it, its name never comes back. The node
//!   that asked for the end is told nothing more; facts that crossed with its wish are ignored.
//! * Facts that already happened are told before `Wake`: a node that was held up finds its mail before its alarms.

use crate::{PoolHandle, Time};
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A protocol machine: told facts, asked for wishes.
pub trait Node {
    /// What the node has to tell the application above it.
    type Event;

    /// Tells the node one fact. Never blocks, never fails: a bad peer is a fact too.
    fn handle(&mut self, now: Time, input: Input);

    /// The next thing the node wants done. Call until `None` before telling the next fact.
    fn poll(&mut self) -> Option<Output<Self::Event>>;

    /// When the node wants [`Input::Wake`] if nothing happens earlier.
    fn deadline(&self) -> Option<Time>;
}

/// The name of a link (an SCTP association or a TCP connection). Who opened it is part of the name, so world and node
/// never need to agree on a counter. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkId {
    /// Opened by the node, with a number of its own.
    Ours(u64),
    /// Accepted by the world, with a number of the world's.
    Theirs(u64),
}

/// Where links of a node begin or end. Each door is one local endpoint (or one per protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// ASAP: elements and users at their registrar.
    Asap,
    /// ENRP: registrars among themselves. Links are opened *from* the announced ENRP port (the reference checks it).
    Enrp,
    /// Sessions between users and elements.
    Service,
}

/// What carries a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// SCTP, native or over UDP (RFC 9260, RFC 6951).
    Sctp,
    /// TCP with our framing.
    Tcp,
}

/// One end of a link: a port, at one address or (multi-homed SCTP) at several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// What carries links to this endpoint.
    pub protocol: Protocol,
    /// Its addresses, the preferred one first; never empty for an endpoint one can open a link to.
    pub addresses: Vec<IpAddr>,
    /// The SCTP or TCP port.
    pub port: u16,
}

impl Endpoint {
    /// An SCTP endpoint with one address.
    pub fn sctp(at: SocketAddr) -> Self {
        Self { protocol: Protocol::Sctp, addresses: vec![at.ip()], port: at.port() }
    }

    /// A TCP endpoint.
    pub fn tcp(at: SocketAddr) -> Self {
        Self { protocol: Protocol::Tcp, addresses: vec![at.ip()], port: at.port() }
    }

    /// True if links to the one and to the other lead to the same process: protocol, port and an address are the same.
    pub fn is_same_place(&self, other: &Self) -> bool {
        (self.protocol, self.port) == (other.protocol, other.port)
            && self.addresses.iter().any(|address| other.addresses.contains(address))
    }

    /// Each address with the port, in order.
    pub fn socket_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().map(|&ip| SocketAddr::new(ip, self.port))
    }
}

impl fmt::Display for Endpoint {
    /// `sctp://10.0.0.1:9901`; further addresses follow after commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Sctp => "sctp",
            Protocol::Tcp => "tcp",
        };
        write!(f, "{protocol}://")?;
        for (place, at) in self.socket_addresses().enumerate() {
            write!(f, "{}{at}", if place > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// The SCTP payload protocol identifier of a message; the other transports carry it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ppid(pub u32);

impl Ppid {
    /// ASAP (RFC 5352 §8.3), also the control channel of sessions.
    pub const ASAP: Self = Self(11);
    /// ENRP (RFC 5353 §5.2).
    pub const ENRP: Self = Self(12);
    /// Our link frames: [`Ping`](crate::link::Frame::Ping) and its kin, see [`crate::link`].
    pub const LINK: Self = Self(0xffff_ffff);
}

/// What the opener of a link says of itself and of whom it expects. Transports without a greeting of their own ignore
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// Who opens.
    pub role: Role,
    /// The opener's registrar or element identifier; 0 for users.
    pub own: u32,
    /// The registrar or element expected there; 0 for anyone.
    pub wanted: u32,
    /// The pool a session is meant for.
    pub pool: Option<PoolHandle>,
}

/// The part a node plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Pool user (PU).
    #[default]
    User,
    /// Pool element (PE).
    Element,
    /// Registrar (PR).
    Registrar,
}

/// Why a link is no more (or never was).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// It could not be opened: nobody answers there, or the greeting was refused.
    Unreachable,
    /// The other side ended it in good order.
    Ended,
    /// The other side aborted it: it lives, but wants no more of this link.
    Aborted,
    /// The other side fell silent, or its end vanished.
    Lost,
    /// More was sent than the other side took; the world's bound was reached.
    Overflow,
}

/// How to end a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    /// After everything sent so far has arrived.
    Graceful,
    /// At once; the other side is told.
    Abort,
}

/// The announcement channels: multicast groups in the real world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// ASAP_SERVER_ANNOUNCE, heard by elements, users and registrars (RFC 5352 §3.6).
    Asap,
    /// ENRP_PRESENCE, heard by registrars (RFC 5353 §3.4).
    Enrp,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Somebody opened a link to this door. `peer` has all addresses the transport knows of the other side.
    Accepted {
        /// The new link.
        link: LinkId,
        /// Where it came in.
        door: Door,
        /// The other end.
        peer: Endpoint,
    },
    /// A link this node asked for is up.
    Opened {
        /// As named in [`Output::Open`].
        link: LinkId,
        /// The other end, as the transport knows it now.
        peer: Endpoint,
    },
    /// A whole message arrived.
    Message {
        /// On this link.
        link: LinkId,
        /// What it is.
        ppid: Ppid,
        /// Its octets.
        bytes: Vec<u8>,
    },
    /// A link ended, or could not be opened.
    Closed {
        /// This one.
        link: LinkId,
        /// For this reason.
        cause: Cause,
    },
    /// A datagram came over an announcement channel. `from` is a hint, not a proof.
    Heard {
        /// The channel.
        channel: Channel,
        /// Source address and port.
        from: SocketAddr,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// The deadline passed (or the world wakes early, which does no harm).
    Wake,
    /// The world did not read the links, for lack of room in the application: what others said may wait there. This is no
    /// silence of theirs, so patience with them is as much longer; what the node itself has to do goes on meanwhile.
    Deaf {
        /// For so long up to now.
        span: Duration,
    },
}

/// One wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output<E> {
    /// Open a link. Answered by `Opened` or `Closed`; messages may be sent on it at once, the world keeps them.
    Open {
        /// Its name from now on, of the form [`LinkId::Ours`].
        link: LinkId,
        /// The local endpoint to open it from.
        door: Door,
        /// Where to.
        to: Endpoint,
        /// What to say first, where the transport has a greeting.
        greeting: Greeting,
    },
    /// Send a whole message, in order.
    Send {
        /// On this link.
        link: LinkId,
        /// What it is.
        ppid: Ppid,
        /// Its octets; never empty.
        bytes: Vec<u8>,
    },
    /// End a link; nothing more is told of it.
    Close {
        /// This one.
        link: LinkId,
        /// In this way.
        how: Ending,
    },
    /// Tell everyone who listens.
    Announce {
        /// The channel.
        channel: Channel,
        /// One datagram.
        bytes: Vec<u8>,
    },
    /// Tell the application.
    Event(E),
}

/// Wishes in the order they were made. Every node keeps one.
#[derive(Clone, Debug)]
pub struct Outbox<E> {
    wishes: VecDeque<Output<E>>,
    opened: u64,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self { wishes: VecDeque::new(), opened: 0 }
    }
}

impl<E> Outbox<E> {
    /// Wishes for a new link and names it.
    pub fn open(&mut self, door: Door, to: Endpoint, greeting: Greeting) -> LinkId {
        self.opened += 1;
        let link = LinkId::Ours(self.opened);
        self.wishes.push_back(Output::Open { link, door, to, greeting });
        link
    }

    /// Wishes for a message to be sent.
    pub fn send(&mut self, link: LinkId, ppid: Ppid, bytes: Vec<u8>) {
        self.wishes.push_back(Output::Send { link, ppid, bytes });
    }

    /// Wishes for a link to end.
    pub fn close(&mut self, link: LinkId, how: Ending) {
        self.wishes.push_back(Output::Close { link, how });
    }

    /// Wishes for an announcement.
    pub fn announce(&mut self, channel: Channel, bytes: Vec<u8>) {
        self.wishes.push_back(Output::Announce { channel, bytes });
    }

    /// Tells the application.
    pub fn event(&mut self, event: E) {
        self.wishes.push_back(Output::Event(event));
    }

    /// The oldest wish not yet taken.
    pub fn take(&mut self) -> Option<Output<E>> {
        self.wishes.pop_front()
    }

    /// True if nothing is wished for.
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty()
    }
}
