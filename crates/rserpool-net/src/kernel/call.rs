//! The system calls of kernel SCTP that no library wraps: its socket options, and messages with ancillary data
//! (RFC 6458).
//!
//! All `unsafe` of this crate is here. It is sound for one reason nearly throughout: every pointer given to the system is
//! the start of a Rust value that outlives the call, with that value's own length. What comes back is octets, which are
//! read as such by safe code.
#![allow(unsafe_code)]

use libc::{c_int, c_void};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Option numbers that `libc` does not have (`linux/sctp.h`).
pub(super) const BINDX_ADD: c_int = 100;
pub(super) const PEER_ADDRS: c_int = 108;
const CONNECTX: c_int = 111;
const PEELOFF_FLAGS: c_int = 122;
pub(super) const EVENT: c_int = 127;
pub(super) const REMOTE_UDP_ENCAPS_PORT: c_int = 132;

/// Room for the ancillary data of one message, aligned as its header must be.
type Ancillary = [u64; 8];

/// A message, a part of one, or a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// So many octets of its part of the buffer.
    pub length: usize,
    /// They are a notification, not a message.
    pub notice: bool,
    /// They end their message (or notification).
    pub ends: bool,
    /// The association they belong to; for messages only.
    pub assoc: i32,
    /// Its stream.
    pub stream: u16,
    /// In host order.
    pub ppid: u32,
}

/// So much is read with one call.
pub(super) const BATCH: usize = 8;

/// What one call read: fewer than [`BATCH`] are all there was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch {
    all: [Received; BATCH],
    count: usize,
}

impl Batch {
    /// In the order of the parts of the buffer.
    pub fn received(&self) -> &[Received] {
        &self.all[..self.count]
    }
}

/// Sets an SCTP option to these octets. Returns what the call returned.
pub(super) fn set(fd: BorrowedFd<'_>, option: c_int, value: &[u8]) -> io::Result<c_int> {
    set_at(fd, libc::IPPROTO_SCTP, option, value)
}

/// Asks for buffers beyond the limit for ordinary users; only root is granted them.
pub(super) fn force_buffers(fd: BorrowedFd<'_>, octets: c_int) -> io::Result<()> {
    set_at(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &octets.to_ne_bytes())?;
    set_at(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &octets.to_ne_bytes()).map(drop)
}

fn set_at(fd: BorrowedFd<'_>, level: c_int, option: c_int, value: &[u8]) -> io::Result<c_int> {
    let (start, length) = (value.as_ptr().cast::<c_void>(), length_of(value));
    // SAFETY: `start` and `length` describe `value`, which the call only reads.
    checked(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, start, length) })
}

/// Reads an SCTP option into `value`, whose octets may be a part of the question. Returns how many are the answer.
pub(super) fn get(fd: BorrowedFd<'_>, option: c_int, value: &mut [u8]) -> io::Result<usize> {
    let mut length = length_of(value);
    let start = value.as_mut_ptr().cast::<c_void>();
    // SAFETY: `start` and `length` describe `value`, which nobody else uses; the system writes no more than `length`.
    checked(unsafe { libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_SCTP, option, start, &mut length) })?;
    Ok(length as usize)
}

/// Begins an association with the peer that has these addresses (packed one after the other). Returns its name.
pub(super) fn connectx(fd: BorrowedFd<'_>, addresses: &[u8]) -> io::Result<i32> {
    // struct sctp_getaddrs_old: the association, how many octets of addresses, and where they are.
    let mut asked = [0; 8 + size_of::<usize>()];
    asked[4..8].copy_from_slice(&length_of(addresses).to_ne_bytes());
    asked[8..].copy_from_slice(&(addresses.as_ptr() as usize).to_ne_bytes());
    match get(fd, CONNECTX, &mut asked) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(i32::from_ne_bytes([asked[0], asked[1], asked[2], asked[3]])),
    }
}

/// Gives an association a socket of its own.
pub(super) fn peel_off(fd: BorrowedFd<'_>, assoc: i32) -> io::Result<OwnedFd> {
    let mut asked = [0; 12];
    asked[..4].copy_from_slice(&assoc.to_ne_bytes());
    asked[8..].copy_from_slice(&(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC).to_ne_bytes());
    get(fd, PEELOFF_FLAGS, &mut asked)?;
    let own = c_int::from_ne_bytes([asked[4], asked[5], asked[6], asked[7]]);
    // SAFETY: the call succeeded, so `own` is a descriptor that was made for us and is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(checked(own)?) })
}

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// A message that leaves now, with those that waited.
    AtOnce,
    /// A message that may wait for the next one, to share its packet.
    WithMore,
    /// The end, when all has arrived.
    End,
    /// The end now, with octets that say why.
    Abort,
}

/// Sends one message, or an end. All or nothing.
pub(super) fn send(
    fd: BorrowedFd<'_>,
    assoc: i32,
    stream: u16,
    how: How,
    ppid: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let (snd_flags, more) = match how {
        How::AtOnce => (0, 0),
        How::WithMore => (0, libc::MSG_MORE),
        How::End => (libc::SCTP_EOF, 0),
        How::Abort => (libc::SCTP_ABORT, 0),
    };
    let info = libc::sctp_sndinfo {
        snd_sid: stream,
        snd_flags: snd_flags as u16,
        // The system hands PPIDs through as they are; on the wire they are big-endian.
        snd_ppid: ppid.to_be(),
        snd_context: 0,
        snd_assoc_id: assoc,
    };
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut ancillary: Ancillary = [0; 8];
    // SAFETY: all zeros are a legal `msghdr`: null pointers and no lengths.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &mut part;
    message.msg_iovlen = 1;
    message.msg_control = ancillary.as_mut_ptr().cast();
    let size = size_of::<libc::sctp_sndinfo>() as u32;
    // SAFETY: `CMSG_SPACE` and `CMSG_LEN` only compute. The header and its data lie in `ancillary`, which is aligned for
    // them and has room for both (16 + 16 of 64 octets). The system only reads what the message points to.
    let sent = unsafe {
        message.msg_controllen = libc::CMSG_SPACE(size) as _;
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::IPPROTO_SCTP;
        (*header).cmsg_type = libc::SCTP_SNDINFO;
        (*header).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(header).cast::<libc::sctp_sndinfo>().write_unaligned(info);
        libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_NOSIGNAL | more)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads what there is, but no more than [`BATCH`] messages, parts of messages, or notifications: one into each of as many
/// equal parts of `buffer`. Fewer than that means that there are no more.
pub(super) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Batch> {
    let room = buffer.len() / BATCH;
    let mut parts: [libc::iovec; BATCH] =
        std::array::from_fn(|_| libc::iovec { iov_base: null_mut(), iov_len: room });
    let mut ancillary: [Ancillary; BATCH] = Default::default();
    // SAFETY: all zeros are a legal `mmsghdr`: null pointers and no lengths.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
    for (place, octets) in buffer.chunks_exact_mut(room).take(BATCH).enumerate() {
        parts[place].iov_base = octets.as_mut_ptr().cast();
        let header = &mut messages[place].msg_hdr;
        header.msg_iov = &mut parts[place];
        header.msg_iovlen = 1;
        header.msg_control = ancillary[place].as_mut_ptr().cast();
        header.msg_controllen = size_of::<Ancillary>() as _;
    }
    // SAFETY: there are `BATCH` messages; each points to a part of `buffer` and to ancillary data of its own, with their
    // own lengths, and nobody else uses them.
    let count = unsafe { libc::recvmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), BATCH as _, 0, null_mut()) };
    let count = checked(count)? as usize;
    let read = |message: &libc::mmsghdr| {
        let header = &message.msg_hdr;
        let mut received = Received {
            length: message.msg_len as usize,
            notice: header.msg_flags & libc::SCTP_NOTIFICATION != 0,
            ends: header.msg_flags & libc::MSG_EOR != 0,
            ..Received::default()
        };
        // SAFETY: the system filled the ancillary data with whole headers and set `msg_controllen`; the macros stay
        // inside it, and the data of a header of this kind is one `sctp_rcvinfo`.
        unsafe {
            let mut datum = libc::CMSG_FIRSTHDR(header);
            while !datum.is_null() {
                if (*datum).cmsg_level == libc::IPPROTO_SCTP && (*datum).cmsg_type == libc::SCTP_RCVINFO {
                    let info = libc::CMSG_DATA(datum).cast::<libc::sctp_rcvinfo>().read_unaligned();
                    received.assoc = info.rcv_assoc_id;
                    received.stream = info.rcv_sid;
                    received.ppid = u32::from_be(info.rcv_ppid);
                }
                datum = libc::CMSG_NXTHDR(header, datum);
            }
        }
        received
    };
    let mut batch = Batch { all: [Received::default(); BATCH], count };
    batch.all.iter_mut().zip(&messages[..count]).for_each(|(received, message)| *received = read(message));
    Ok(batch)
}

/// Has the runtime watch a socket.
pub(super) fn watch(socket: socket2::Socket, interest: Interest) -> io::Result<AsyncFd<socket2::Socket>> {
    // SAFETY: a `Socket` owns its descriptor, keeps it open, and names the same one as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

fn checked(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn length_of(value: &[u8]) -> libc::socklen_t {
    value.len() as libc::socklen_t
}
