//! What a node listens on, and what it got.
//!
//! The port rule: an SCTP endpoint over UDP has the same number as SCTP port and as UDP port, so it is reached without
//! being told a UDP port, and any number of processes share one address. TCP of the same door has that number too. A
//! registrar also serves UDP 9899, where peers that follow RFC 6951 §5.1 to the letter look for it.

use crate::Clock;
use crate::groups::{ASAP_GROUP, ENRP_GROUP};
use rserpool::{Endpoint, PoolHandle, Role};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

/// What a node wants of its world.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who the node is, for the greeting of its links.
    pub identity: Identity,
    /// Where elements and users reach it, or where it reaches its registrar from.
    pub asap: DoorAt,
    /// Where registrars reach it: SCTP only (RFC 5353 §3.1).
    pub enrp: Option<SocketAddr>,
    /// Where sessions reach it, or begin.
    pub service: DoorAt,
    /// The UDP port for peers that follow RFC 6951 to the letter.
    pub udp: UdpPort,
    /// Hear and send announcements. `None`: nobody is heard and nobody told, so nobody's commands go to a stranger's
    /// pool by accident.
    pub multicast: Option<Multicast>,
    /// Bounds.
    pub limits: Limits,
    /// The clock; share one to compare moments of several nodes.
    pub clock: Clock,
}

impl Config {
    /// A registrar: ASAP over TCP and SCTP, ENRP over SCTP, and UDP 9899 if it is free.
    pub fn registrar(asap: SocketAddr, enrp: SocketAddr) -> Self {
        Self {
            asap: DoorAt { at: Some(asap), tcp: true, sctp: true },
            enrp: Some(enrp),
            udp: UdpPort::IfFree(9899),
            ..Self::user(Role::Registrar)
        }
    }

    /// An element: sessions over TCP at `service`; at `asap` registrars come back to it, over SCTP or TCP, and its SCTP
    /// links to them begin there.
    pub fn element(service: SocketAddr, asap: SocketAddr) -> Self {
        Self {
            asap: DoorAt { at: Some(asap), tcp: true, sctp: true },
            service: DoorAt { at: Some(service), tcp: true, sctp: false },
            ..Self::user(Role::Element)
        }
    }

    /// Nothing to listen on: links are opened over TCP only. What a user needs.
    pub fn user(role: Role) -> Self {
        Self {
            identity: Identity { role, own: 0, pool: None },
            asap: DoorAt::default(),
            enrp: None,
            service: DoorAt::default(),
            udp: UdpPort::None,
            multicast: None,
            limits: Limits::default(),
            clock: Clock::start(),
        }
    }
}

/// Where one door is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoorAt {
    /// Address and port; port 0 picks a number that is free for all protocols of the door. `None`: nothing is bound,
    /// links are only opened, and only over TCP.
    pub at: Option<SocketAddr>,
    /// Accept TCP.
    pub tcp: bool,
    /// Serve SCTP over UDP: accept, and be able to open.
    pub sctp: bool,
}

/// Where announcements are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multicast {
    /// The address of the interface to do it on; the system's choice if unspecified.
    pub interface: Ipv4Addr,
    /// The group where registrars announce themselves to elements and users.
    pub asap: SocketAddrV4,
    /// The group where registrars announce themselves to each other.
    pub enrp: SocketAddrV4,
}

impl Default for Multicast {
    /// The groups of the reference implementation: what everybody uses.
    fn default() -> Self {
        Self { interface: Ipv4Addr::UNSPECIFIED, asap: ASAP_GROUP, enrp: ENRP_GROUP }
    }
}

/// The UDP port beside those of the doors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpPort {
    /// None.
    #[default]
    None,
    /// This one if nobody has it; without it otherwise, and [`Bound::notes`] says so.
    IfFree(u16),
    /// This one or nothing; 0 picks one.
    Exactly(u16),
}

/// Who a node is, for the greeting (TCP) and for checking the greetings of others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its part.
    pub role: Role,
    /// Its registrar or element identifier; 0 for users. A caller that wants another one is refused.
    pub own: u32,
    /// The pool an element serves in. A session for another pool is refused.
    pub pool: Option<PoolHandle>,
}

/// Bounds on what others, and the node itself, can make this process hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets queued on one link before it is ended with `Overflow`. Room for some of the largest messages.
    pub link_queue_max: usize,
    /// Octets buffered on all links together, in and out.
    pub buffers_max: usize,
    /// Links open at the same time; more are told so and closed.
    pub links_max: usize,
    /// Accepted links whose Hello is missing; the oldest gives way.
    pub half_open_max: usize,
    /// How long a link may take to open, whatever the node's own patience is.
    pub connect_timeout: Duration,
    /// How long a caller may take for its Hello.
    pub hello_timeout: Duration,
    /// The longest silence tolerated on a TCP link, and told to the other side, which then speaks at least three times
    /// as often. It finds hosts that vanished; hung nodes are found by the nodes' own, faster heartbeats.
    pub silence_max: Duration,
    /// An ASAP link without a message for so long is ended. The reference closes after 300 s too.
    pub idle_max: Duration,
    /// How long the farewell of a link may take when it was graceful.
    pub farewell_max: Duration,
    /// How long the farewells of all links may take when the node stops. A hung peer holds up no more than that.
    pub stop_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            link_queue_max: 8 << 20,
            buffers_max: 256 << 20,
            links_max: 16_384,
            half_open_max: 1_024,
            connect_timeout: Duration::from_secs(10),
            hello_timeout: Duration::from_secs(5),
            silence_max: Duration::from_secs(60),
            idle_max: Duration::from_secs(300),
            farewell_max: Duration::from_secs(10),
            stop_max: Duration::from_secs(2),
        }
    }
}

/// What a node got.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// ASAP endpoints to announce: TCP first, SCTP last. Unspecified addresses are replaced by those of this host.
    pub asap: Vec<Endpoint>,
    /// The ENRP endpoint.
    pub enrp: Option<Endpoint>,
    /// Endpoints for sessions, TCP first.
    pub service: Vec<Endpoint>,
    /// UDP sockets that carry SCTP.
    pub udp: Vec<SocketAddr>,
    /// What the user should know: a port one can do without was taken.
    pub notes: Vec<String>,
}

/// Any port at the loopback address: for tests and for pools of one machine.
pub fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}
