//! What a node listens on, and what it got.
//!
//! The port rule: an SCTP endpoint over UDP has the same number as SCTP port and as UDP port, so it is reached without
//! being told a UDP port, and any number of processes share one address. TCP of the same door has that number too, and
//! so has the kernel's SCTP. A
//! registrar also serves UDP 9899, where peers that follow RFC 6951 §5.1 to the letter look for it.
//!
//! A door may be at several addresses ([`At`]), all with that one number: SCTP links of it are multi-homed, and TCP is
//! accepted at each of them.

use crate::Clock;
use crate::groups::{ASAP_GROUP, ENRP_GROUP};
use crate::paths::PathEvents;
use rserpool::{Endpoint, PoolHandle, Role};
use std::fmt;
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
    pub enrp: Option<At>,
    /// Where sessions reach it, or begin.
    pub service: DoorAt,
    /// Which SCTP serves the doors that have SCTP.
    pub stack: Stack,
    /// The UDP port for peers that follow RFC 6951 to the letter.
    pub udp: UdpPort,
    /// Who wants to hear what becomes of the paths of multi-homed links.
    pub paths: Option<PathEvents>,
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
    pub fn registrar(asap: impl Into<At>, enrp: impl Into<At>) -> Self {
        Self {
            asap: DoorAt { at: Some(asap.into()), tcp: true, sctp: true },
            enrp: Some(enrp.into()),
            udp: UdpPort::IfFree(9899),
            ..Self::user(Role::Registrar)
        }
    }

    /// An element: sessions over TCP at `service`; at `asap` registrars come back to it, over SCTP or TCP, and its SCTP
    /// links to them begin there.
    pub fn element(service: impl Into<At>, asap: impl Into<At>) -> Self {
        Self {
            asap: DoorAt { at: Some(asap.into()), tcp: true, sctp: true },
            service: DoorAt { at: Some(service.into()), tcp: true, sctp: false },
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
            stack: Stack::default(),
            udp: UdpPort::None,
            paths: None,
            multicast: None,
            limits: Limits::default(),
            clock: Clock::start(),
        }
    }
}

/// One port at one or several addresses of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The preferred one first; never empty. An unspecified address stands for all of its family and is best alone.
    pub addresses: Vec<IpAddr>,
    /// 0 picks a number that is free at all of them.
    pub port: u16,
}

impl At {
    /// Each address with the port, in order.
    pub fn socket_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.addresses.iter().map(|&ip| SocketAddr::new(ip, self.port))
    }

    /// The preferred address with the port.
    pub fn first(&self) -> SocketAddr {
        SocketAddr::new(self.addresses.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into()), self.port)
    }
}

impl From<SocketAddr> for At {
    fn from(at: SocketAddr) -> Self {
        Self { addresses: vec![at.ip()], port: at.port() }
    }
}

impl fmt::Display for At {
    /// `10.1.0.1:3863,10.2.0.1:3863`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, at) in self.socket_addresses().enumerate() {
            write!(f, "{}{at}", if place > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

/// Where one door is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoorAt {
    /// Addresses and port; port 0 picks a number that is free for all protocols of the door. `None`: nothing is bound,
    /// links are only opened, and only over TCP.
    pub at: Option<At>,
    /// Accept TCP.
    pub tcp: bool,
    /// Serve SCTP: accept, and be able to open.
    pub sctp: bool,
}

impl DoorAt {
    /// A door for TCP alone.
    pub fn tcp(at: impl Into<At>) -> Self {
        Self { at: Some(at.into()), tcp: true, sctp: false }
    }

    /// A door for SCTP alone.
    pub fn sctp(at: impl Into<At>) -> Self {
        Self { at: Some(at.into()), tcp: false, sctp: true }
    }
}

/// Whose SCTP it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stack {
    /// The kernel's where there is one, and SCTP over UDP beside it: a door is reached by both, and its links are opened
    /// over the first that reaches the peer.
    #[default]
    Auto,
    /// The kernel's alone; without one, [`Error::NoKernelSctp`](crate::Error::NoKernelSctp).
    Kernel,
    /// SCTP over UDP alone.
    Udp,
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
    /// The kernel's SCTP serves the SCTP endpoints, alone or beside UDP.
    pub kernel: bool,
    /// What the user should know: a port one can do without was taken.
    pub notes: Vec<String>,
}

/// Any port at the loopback address: for tests and for pools of one machine.
pub fn loopback() -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
}
