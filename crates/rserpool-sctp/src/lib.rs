//! SCTP over UDP (RFC 9260, RFC 6951) without sockets or clocks, for hosts that have no SCTP in their kernel.
//!
//! One [`Mux`] is one SCTP stack: it serves any number of SCTP ports and associations over one or several UDP sockets,
//! which live elsewhere. The engine of each association is the crate `dcsctp`; what a server on an open network needs
//! besides is here: finding the association of a packet, authenticated cookies that keep no state, learned UDP ports,
//! limits, and a watchdog.
//!
//! ```text
//!   datagrams in:  input(now, path, bytes)  ------>         ------> poll_output(): datagrams out
//!   wishes:        connect, send, shutdown, abort -->  Mux  ------> poll_event(): Up, Message, Writable, Closed
//!   time:          wake(now)                ------>         ------> deadline(): wake me then
//! ```
//!
//! After every call, take all outputs and all events. A `Mux` is not `Send` (the engine uses `Rc`): it lives on one
//! thread, like the sockets it serves.
//!
//! # Which UDP port?
//!
//! RFC 6951 expects every encapsulated SCTP stack at UDP port 9899, one per IP address. Here many processes share an
//! address, and no RSerPool parameter carries a UDP port. So one rule, which needs no word on the wire:
//!
//! * **An SCTP endpoint over UDP has the same number as SCTP port and as UDP port**, unless told otherwise. Whoever
//!   knows the SCTP port (from a registration, a handle resolution, a command line) knows the UDP port.
//! * Hosts that follow RFC 6951 strictly are reached at 9899. A connection whose UDP port is not known tries both
//!   ([`udp_ports`]) at once; the first that answers is used.
//! * From then on the peer's UDP port is learned from packets whose verification tag is right (RFC 6951 §5.4).
//!
//! # Several addresses
//!
//! What is not here yet: sending to more than one address of a peer. Its other addresses are known, what comes from them
//! is heard, HEARTBEATs from there are answered there, and data from there moves the association there; but it is the
//! peer who has to notice that a path is dead.

mod cookie;
mod engine;
mod mux;
mod packet;
mod path;
mod secret;

pub use mux::{AssocId, Config, ConnectError, Event, Mux, Peer, SendError, Transmit, Why};
pub use path::{Path, UDP_PORT, udp_ports};
