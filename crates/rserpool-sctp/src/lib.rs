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
//! Both ends may have several addresses, ours by having a UDP socket at each ([`Mux::bind`]). They list them to each other
//! when they meet (RFC 9260 §5.1.2), as far as an address means something to the other. Then:
//!
//! * An address gets nothing but heartbeats with a nonce until it has answered one (§5.4), and all of these together have a
//!   limit: a list that lies makes nobody flood a victim. Of the addresses of a `connect`, too, only the one that
//!   answered is believed; §5.4 would believe all, but they come from registrations.
//! * New data takes the primary path; what is not acknowledged in time takes another one, and after that first timeout
//!   so does new data. So a path that is cut silently costs one timeout (0.2 s with the default settings). Acknowledgements
//!   go back to where the data came from, and answers to where the question came from.
//! * Idle and doubtful paths are asked by heartbeats. One that leaves too many unanswered is unreachable, one that
//!   answers is used again: [`Event::Path`] tells. The association is lost when all its paths are.
//! * A new INIT is an old acquaintance if any of its addresses is known to be that one's (§5.1.2 D), but it may not bring
//!   new addresses along (§5.2.2), or anybody could end the association of another.
//!
//! All of this is outside of the engine, which knows a single path: round-trip times of data, and the congestion window,
//! are common to all paths. On a change-over it starts slowly, as after any timeout. A path that lets small packets
//! through and drops large ones is used again and again, at one timeout per attempt. Addresses cannot change while an
//! association lives (RFC 5061 is not spoken).

mod cookie;
mod engine;
mod mux;
mod packet;
mod path;
mod scope;
mod secret;

pub use mux::{
    AssocId, CANDIDATES_MAX, Config, ConnectError, Event, Mux, PathState, PathStatus, Peer, SendError,
    Transmit, Why,
};
pub use path::{Path, UDP_PORT, udp_ports};
