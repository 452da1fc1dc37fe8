//! One SCTP socket of the kernel: of a door, for all its associations (one-to-many), or of a single association.

use super::call::{self, BATCH, Batch, How};
use super::{address, notice};
use socket2::{Domain, Protocol, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What the system is asked to keep for a socket, each way. The largest of our messages must fit, for the system takes
/// a message as a whole.
const BUFFER: usize = 2 << 20;
/// Associations the system may keep for us.
const BACKLOG: i32 = 1_024;

/// How patient the kernel is. The numbers are those of SCTP over UDP (`rserpool_sctp::Config`), for a local network.
const RTO: [u32; 3] = [250, 2_000, 200]; // initial, max, min; milliseconds
const INITS_MAX: u16 = 4;
const RETRANSMITS_MAX: u16 = 4;
const HEARTBEAT_INTERVAL: u32 = 1_000; // milliseconds
const SACK_DELAY: u32 = 20; // milliseconds
const STREAMS: u16 = 64;
/// A message larger than this is handed over in parts, as they come.
const PART: u32 = 64 << 10;

/// Tells whether this host's kernel has SCTP: one socket listens at the loopback address for a moment.
///
/// The error is what the system said: usually there is no module for it (EPROTONOSUPPORT, ESOCKTNOSUPPORT), or this
/// process may not use it (EACCES, EPERM).
pub fn detect() -> io::Result<()> {
    let at = |ip: IpAddr| listen(&bind(&[ip], 0, None)?);
    at(Ipv4Addr::LOCALHOST.into()).or_else(|error| at(Ipv6Addr::LOCALHOST.into()).map_err(|_| error))
}

/// A socket at these addresses, with this port; 0 lets the system pick one. It does not listen yet.
///
/// `autoclose` ends associations that carry no message for so long (RFC 6458 §8.1.8).
pub(crate) fn bind(
    addresses: &[IpAddr],
    port: u16,
    autoclose: Option<Duration>,
) -> io::Result<socket2::Socket> {
    let ipv6 = addresses.iter().any(IpAddr::is_ipv6);
    let socket = seqpacket(if ipv6 { Domain::IPV6 } else { Domain::IPV4 })?;
    if ipv6 {
        // Other programs may serve the same port of IPv4.
        socket.set_only_v6(addresses.iter().all(IpAddr::is_ipv6))?;
    }
    tune(&socket, autoclose)?;
    let mut port = port;
    for (place, &ip) in addresses.iter().enumerate() {
        let at = SocketAddr::new(ip, port);
        if place == 0 && (ip.is_ipv6() || !ipv6) {
            socket.bind(&at.into())?;
            port = local_port(&socket)?;
        } else {
            let mut packed = Vec::new();
            address::emit(at, &mut packed);
            call::set(socket.as_fd(), call::BINDX_ADD, &packed)?;
            port = local_port(&socket)?;
        }
    }
    Ok(socket)
}

/// Has a socket accept associations.
pub(crate) fn listen(socket: &socket2::Socket) -> io::Result<()> {
    socket.listen(BACKLOG)
}

/// The port of a socket.
pub(crate) fn local_port(socket: &socket2::Socket) -> io::Result<u16> {
    let at = socket.local_addr()?.as_socket();
    at.map(|at| at.port()).ok_or_else(|| io::Error::other("a socket without an address"))
}

/// The largest message that can be sent on a socket.
pub(crate) fn message_max(socket: &socket2::Socket) -> io::Result<usize> {
    // The system counts its own overhead as well and reports twice what was asked for.
    Ok(socket.send_buffer_size()? / 2)
}

fn seqpacket(domain: Domain) -> io::Result<socket2::Socket> {
    let kind = Type::SEQPACKET.cloexec().nonblocking();
    socket2::Socket::new_raw(domain, kind, Some(Protocol::from(libc::IPPROTO_SCTP)))
}

fn tune(socket: &socket2::Socket, autoclose: Option<Duration>) -> io::Result<()> {
    let fd = socket.as_fd();
    if call::force_buffers(fd, BUFFER as i32).is_err() {
        // Less is granted without a word: `message_max` tells.
        socket.set_send_buffer_size(BUFFER)?;
        socket.set_recv_buffer_size(BUFFER)?;
    }
    // A process that dies must not look as if it had taken its leave: without this the kernel ends the associations of a
    // closed socket in good order. With it, it aborts them (RFC 6458 §8.1.4); graceful ends are asked for one by one.
    socket.set_linger(Some(Duration::ZERO))?;
    for kind in notice::WANTED {
        // struct sctp_event: association (of the future), type, on.
        let mut event = [0; 8];
        event[4..6].copy_from_slice(&kind.to_ne_bytes());
        event[6] = 1;
        call::set(fd, call::EVENT, &event)?;
    }
    let on = 1i32.to_ne_bytes();
    call::set(fd, libc::SCTP_RECVRCVINFO, &on)?;
    call::set(fd, libc::SCTP_NODELAY, &on)?;
    // A message that is handed over in parts must not hold up the other associations of the socket.
    call::set(fd, libc::SCTP_FRAGMENT_INTERLEAVE, &on)?;
    let point = PART.min(socket.recv_buffer_size()? as u32 / 4);
    call::set(fd, libc::SCTP_PARTIAL_DELIVERY_POINT, &point.to_ne_bytes())?;
    if let Some(idle) = autoclose {
        let seconds = u32::try_from(idle.as_secs().max(1)).unwrap_or(u32::MAX);
        call::set(fd, libc::SCTP_AUTOCLOSE, &seconds.to_ne_bytes())?;
    }
    patience(fd)
}

fn patience(fd: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    // struct sctp_initmsg: streams out, streams in, attempts, longest pause between them (0: RTO.Max).
    let init: Vec<u8> =
        [STREAMS, STREAMS, INITS_MAX, 0].iter().flat_map(|number| number.to_ne_bytes()).collect();
    call::set(fd, libc::SCTP_INITMSG, &init)?;
    // struct sctp_rtoinfo: association, initial, max, min.
    let rto: Vec<u8> = [0, RTO[0], RTO[1], RTO[2]].iter().flat_map(|number| number.to_ne_bytes()).collect();
    call::set(fd, libc::SCTP_RTOINFO, &rto)?;
    // struct sctp_assocparams: association, retransmits; the rest is told, or stays as it is at 0.
    let mut params = [0; 20];
    params[4..6].copy_from_slice(&RETRANSMITS_MAX.to_ne_bytes());
    call::set(fd, libc::SCTP_ASSOCINFO, &params)?;
    // struct sctp_paddrparams: association, any address (128), heartbeats, retransmits, MTU, SACKs, which of these hold.
    const HEARTBEATS: u32 = 1;
    const SACKS: u32 = 1 << 5;
    let mut params = [0; 156];
    params[132..136].copy_from_slice(&HEARTBEAT_INTERVAL.to_ne_bytes());
    params[136..138].copy_from_slice(&RETRANSMITS_MAX.to_ne_bytes());
    params[142..146].copy_from_slice(&SACK_DELAY.to_ne_bytes());
    params[146..150].copy_from_slice(&(HEARTBEATS | SACKS).to_ne_bytes());
    call::set(fd, libc::SCTP_PEER_ADDR_PARAMS, &params).map(drop)
}

/// A socket the runtime watches; its waker rings when it has something to say.
pub(super) struct Socket {
    fd: AsyncFd<socket2::Socket>,
    waker: Waker,
    /// It was peeled off: one association has it for itself.
    alone: bool,
}

impl Socket {
    /// A one-to-many socket: it is only watched for what comes in, since whoever cannot write moves out.
    pub(super) fn shared(socket: socket2::Socket, waker: Waker) -> io::Result<Self> {
        Ok(Self { fd: call::watch(socket, Interest::READABLE)?, waker, alone: false })
    }

    /// A socket of its own for an association of this one.
    pub(super) fn peel_off(&self, assoc: i32, waker: Waker) -> io::Result<Self> {
        let own = call::peel_off(self.fd.get_ref().as_fd(), assoc)?.into();
        Ok(Self { fd: call::watch(own, Interest::READABLE | Interest::WRITABLE)?, waker, alone: true })
    }

    /// Reads once; `None` if there is nothing. The waker rings when there is, also after less than a whole batch: that was
    /// all, and the system need not be asked whether it was.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Option<io::Result<Batch>> {
        loop {
            let mut guard = match self.fd.poll_read_ready(&mut Context::from_waker(&self.waker)) {
                Poll::Pending => return None,
                Poll::Ready(Err(error)) => return Some(Err(error)),
                Poll::Ready(Ok(guard)) => guard,
            };
            let read = guard.try_io(|fd| call::receive(fd.get_ref().as_fd(), buffer));
            if let Ok(read) = read {
                if read.as_ref().is_ok_and(|batch| batch.received().len() < BATCH) {
                    guard.clear_ready();
                    // Has the waker ring next time; it does so now if there is something again.
                    if self.fd.poll_read_ready(&mut Context::from_waker(&self.waker)).is_ready() {
                        self.waker.wake_by_ref();
                    }
                }
                return Some(read);
            }
        }
    }

    /// Sends one message; with `more` it may wait for the next one. `WouldBlock`: not now; the waker of a peeled-off socket
    /// rings when it is worth another try.
    pub(super) fn write(
        &self,
        assoc: i32,
        stream: u16,
        ppid: u32,
        bytes: &[u8],
        more: bool,
    ) -> io::Result<()> {
        let how = if more { How::WithMore } else { How::AtOnce };
        let send = |fd: &socket2::Socket| call::send(fd.as_fd(), assoc, stream, how, ppid, bytes);
        if !self.alone {
            return send(self.fd.get_ref());
        }
        loop {
            match self.fd.poll_write_ready(&mut Context::from_waker(&self.waker)) {
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Ready(Ok(mut guard)) => {
                    if let Ok(sent) = guard.try_io(|fd| send(fd.get_ref())) {
                        return sent;
                    }
                }
            }
        }
    }

    /// Begins an association with the peer that has these addresses.
    pub(super) fn connect(&self, to: &[SocketAddr], udp_port: Option<u16>) -> io::Result<i32> {
        let fd = self.fd.get_ref().as_fd();
        let mut packed = Vec::new();
        to.iter().for_each(|&at| address::emit(at, &mut packed));
        if let Some(port) = udp_port {
            encapsulate(fd, port)?;
        }
        let begun = call::connectx(fd, &packed);
        if udp_port.is_some() {
            // For this association only.
            encapsulate(fd, 0)?;
        }
        begun
    }

    /// Ends an association after all that was sent.
    pub(super) fn shut_down(&self, assoc: i32) {
        // One that is ending by itself needs no more.
        let _ = call::send(self.fd.get_ref().as_fd(), assoc, 0, How::End, 0, &[]);
    }

    /// Ends an association at once and tells the peer why. The reason is never empty: that is how the peer knows it from
    /// the end of a process.
    pub(super) fn abort(&self, assoc: i32, reason: &str) {
        let _ = call::send(self.fd.get_ref().as_fd(), assoc, 0, How::Abort, 0, reason.as_bytes());
    }

    /// The addresses of an association's peer, the primary one first; and its port.
    pub(super) fn peer(&self, assoc: i32) -> Option<(Vec<IpAddr>, u16)> {
        // struct sctp_getaddrs: association, count, addresses.
        let mut answer = vec![0; 4_096];
        answer[..4].copy_from_slice(&assoc.to_ne_bytes());
        let length = call::get(self.fd.get_ref().as_fd(), call::PEER_ADDRS, &mut answer).ok()?;
        let count = u32::from_ne_bytes(answer[4..8].try_into().ok()?) as usize;
        let listed = answer.get(8..length.max(8))?;
        let (first, _) = address::parse(listed)?;
        Some((address::parse_all(listed, count), first.port()))
    }

    /// Accepts no more.
    pub(super) fn stop_listening(&self) {
        let _ = self.fd.get_ref().listen(0);
    }

    /// Another socket at the addresses of this one, with a port of its own.
    pub(super) fn sibling(&self, addresses: &[IpAddr], waker: Waker, listens: bool) -> io::Result<Self> {
        let socket = bind(addresses, 0, None)?;
        if listens {
            listen(&socket)?;
        }
        Self::shared(socket, waker)
    }
}

/// The UDP port to which the next association sends (RFC 6951; Linux 5.11); 0: none, SCTP itself.
fn encapsulate(fd: std::os::fd::BorrowedFd<'_>, port: u16) -> io::Result<()> {
    // struct sctp_udpencaps: association, any address (aligned to 8), port in network order.
    let mut value = [0; 144];
    value[136..138].copy_from_slice(&port.to_be_bytes());
    call::set(fd, call::REMOTE_UDP_ENCAPS_PORT, &value).map(drop)
}
