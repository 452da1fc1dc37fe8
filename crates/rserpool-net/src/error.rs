//! The world failing us, in words that name the next step.

use std::io;
use std::net::SocketAddr;

/// Why a node could not be given its sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A port that was asked for is not to be had.
    #[error("cannot listen on {at} ({what}): {cause}; choose another one with {option}")]
    Listen {
        /// Where.
        at: SocketAddr,
        /// Who needs it: "ASAP over TCP".
        what: &'static str,
        /// The option of the command line that moves it.
        option: &'static str,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// No number was free for all sockets that must share one.
    #[error("found no port number on {at} that is free for {what}, after {tried} tries: {cause}")]
    NoCommonPort {
        /// Where; its port is 0.
        at: SocketAddr,
        /// Who needs it.
        what: &'static str,
        /// How many numbers were tried.
        tried: u32,
        /// What the system said to the last one.
        #[source]
        cause: io::Error,
    },
    /// The kernel's SCTP was asked for and is not there.
    #[error("this host's kernel has no SCTP for this process: {cause}; see `rsp doctor`, or use --sctp udp")]
    NoKernelSctp {
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// A multicast group cannot be joined.
    #[error("cannot join the multicast group {group}: {cause}; name the registrars with --registrar instead")]
    Multicast {
        /// Which one.
        group: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// No path leads there.
    #[error("no route to {to}: {cause}")]
    NoRoute {
        /// Where.
        to: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The thread or its loop could not be started.
    #[error("cannot start the node's thread: {0}")]
    Thread(#[source] io::Error),
    /// A socket could not be watched by the runtime.
    #[error("cannot watch a socket: {0}")]
    Reactor(#[source] io::Error),
    /// The network interfaces could not be listed.
    #[error("cannot list the network interfaces: {0}")]
    Interfaces(#[source] io::Error),
    /// The node's thread ended before it was set up.
    #[error("the node's thread ended before it had begun")]
    Ended,
}
