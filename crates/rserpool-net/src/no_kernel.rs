//! Links over the kernel's SCTP: not on this system. The option numbers and notifications differ from system to system,
//! and only Linux's are known here.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// Tells whether this host's kernel has SCTP that can be used here.
pub fn detect() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn bind(_: &[IpAddr], _: u16, _: Option<Duration>) -> io::Result<socket2::Socket> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn local_port(_: &socket2::Socket) -> io::Result<u16> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn message_max(_: &socket2::Socket) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The UDP port at which the kernel takes SCTP in UDP: none.
pub fn encapsulation_port() -> Option<u16> {
    None
}
