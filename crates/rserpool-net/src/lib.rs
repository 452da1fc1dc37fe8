//! The real world for nodes: sockets, the clock, and the loop that joins them.
//!
//! A node of `rserpool` is a value that is told facts and asked for wishes. Here the facts come from sockets and the
//! wishes go to sockets:
//!
//! ```text
//!             +--------------------------- drive --------------------------+
//!   Handle -->| calls        node.handle(now, fact) / node.poll() -> wish  |--> App (events)
//!             |                       Ports: inbox, clock                  |
//!             |      Tcp        KernelSctp    SctpOverUdp        Groups    |
//!             +-------|--------------|-------------|---------------|-------+
//!               TCP sockets    SCTP sockets   UDP sockets   multicast sockets
//! ```
//!
//! * [`drive`] is the loop; [`spawn`] gives a node a thread of its own with a loop in it.
//! * [`Ports`] carries out wishes and collects facts. It opens what [`Config`] asks for and says in [`Bound`] what it
//!   got.
//! * [`Transport`] is what carries links: TCP with our framing, the kernel's SCTP where there is one, and SCTP over UDP.
//!
//! One node, one loop, one thread: between the socket and the node there is no queue of messages and no other task, so
//! a message costs what its system calls cost. A node that does not return from a call falls silent on all its links,
//! as it should: signs of life are spoken by the loop that serves.

mod alarm;
mod attempts;
mod bind;
pub mod clock;
pub mod config;
pub mod counters;
pub mod driver;
mod error;
pub mod groups;
#[cfg(target_os = "linux")]
pub mod kernel;
#[cfg(not(target_os = "linux"))]
#[path = "no_kernel.rs"]
pub mod kernel;
pub mod paths;
pub mod pool;
pub mod ports;
mod ready;
pub mod route;
pub mod sctp;
pub mod tcp;
pub mod transport;

pub use clock::Clock;
pub use config::{At, Bound, Config, DoorAt, Identity, Limits, Multicast, Stack, UdpPort};
pub use counters::{Counters, Reason};
pub use driver::{App, Call, Events, Handle, Running, Stopped, drive, events, spawn, take_until};
pub use error::Error;
pub use paths::{PathEvent, PathEvents, PathState};
pub use ports::Ports;
pub use route::{local_addresses, present_addresses, route_address_to};
pub use transport::Transport;
