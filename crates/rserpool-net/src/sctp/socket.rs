//! One UDP socket, used in batches.
//!
//! Several datagrams of one flow go to the system, and come from it, in one call where it can (GSO, GRO).

use quinn_udp::{RecvMeta, UdpSocketState};
use rserpool_sctp::{Path, Transmit};
use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Waker};
use tokio::io::Interest;
use tokio::net::UdpSocket as TokioSocket;

/// Datagrams, or runs of datagrams, taken in one call.
const BATCH: usize = 8;
/// Room for one run.
const RUN_MAX: usize = 64 << 10;
/// The largest UDP payload, and so the largest run the system takes apart for us.
const SEND_MAX: usize = 65_000;
/// Datagrams kept while the system takes none. SCTP sends again what is dropped beyond.
const WAITING_MAX: usize = 4_096;

/// Where datagrams are put together and taken apart; one for all sockets.
pub(super) struct Buffers {
    receive: Vec<Vec<u8>>,
    send: Vec<u8>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { receive: vec![vec![0; RUN_MAX]; BATCH], send: Vec::with_capacity(RUN_MAX) }
    }
}

pub(super) struct UdpSocket {
    socket: Rc<TokioSocket>,
    state: UdpSocketState,
    waker: Waker,
    waiting: VecDeque<Transmit>,
}

/// What came of reading once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// There may be more at once.
    More,
    /// The waker rings when there is more.
    Dry,
}

impl UdpSocket {
    pub(super) fn new(socket: std::net::UdpSocket, waker: Waker) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        let socket = Rc::new(TokioSocket::from_std(socket)?);
        Ok(Self { socket, state, waker, waiting: VecDeque::new() })
    }

    /// The socket itself, for announcements, which leave from the same port.
    pub(super) fn shared(&self) -> Rc<TokioSocket> {
        self.socket.clone()
    }

    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Reads one batch and gives each datagram to `take`.
    pub(super) fn read(&mut self, buffers: &mut Buffers, mut take: impl FnMut(SocketAddr, &[u8])) -> Read {
        let waker = self.waker.clone();
        if self.socket.poll_recv_ready(&mut Context::from_waker(&waker)).is_pending() {
            return Read::Dry;
        }
        let mut meta = [RecvMeta::default(); BATCH];
        let mut room: Vec<IoSliceMut<'_>> =
            buffers.receive.iter_mut().map(|one| IoSliceMut::new(one)).collect();
        let read = self
            .socket
            .try_io(Interest::READABLE, || self.state.recv((&*self.socket).into(), &mut room, &mut meta));
        // An error is a report about a datagram sent earlier, or "nothing there": both are no reason to stop reading.
        let Ok(runs) = read else { return Read::More };
        for (run, meta) in buffers.receive.iter().zip(&meta).take(runs) {
            for datagram in run[..meta.len].chunks(meta.stride.max(1)) {
                take(meta.addr, datagram);
            }
        }
        Read::More
    }

    /// Queues a datagram.
    pub(super) fn queue(&mut self, datagram: Transmit) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(datagram);
        }
    }

    /// Sends what is queued, as far as the system takes it; the waker rings when it takes more.
    pub(super) fn write(&mut self, buffers: &mut Buffers) {
        while let Some(first) = self.waiting.front() {
            let path = first.path;
            let size = first.bytes.len();
            let datagrams = gather(&self.waiting, self.state.max_gso_segments(), &mut buffers.send);
            let transmit = quinn_udp::Transmit {
                destination: path.remote,
                ecn: None,
                contents: &buffers.send,
                segment_size: (datagrams > 1).then_some(size),
                src_ip: None,
            };
            let sent = self
                .socket
                .try_io(Interest::WRITABLE, || self.state.try_send((&*self.socket).into(), &transmit));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let waker = self.waker.clone();
                    if self.socket.poll_send_ready(&mut Context::from_waker(&waker)).is_pending() {
                        return;
                    }
                }
                // What the system cannot send is lost, as on any network.
                Ok(()) | Err(_) => drop(self.waiting.drain(..datagrams)),
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// True if the other side is a stack like this one: by our port rule its UDP port has the number of its SCTP port.
///
/// Anything else may be a kernel that takes SCTP out of UDP. On the same host it is handed runs as they were sent, and
/// Linux 6.1 panics when it computes the checksum of such a packet (`sctp_udp_rcv` after `udp_rcv_segment`).
fn takes_runs(datagram: &Transmit) -> bool {
    datagram.bytes.get(2..4) == Some(&datagram.path.remote.port().to_be_bytes())
}

/// Puts the datagrams at the front that may travel as one run into `run`: same path, same size except a shorter last
/// one, no more than `most`. Returns how many.
fn gather(waiting: &VecDeque<Transmit>, most: usize, run: &mut Vec<u8>) -> usize {
    run.clear();
    let most = if waiting.front().is_some_and(takes_runs) { most } else { 1 };
    let mut size = 0;
    let mut path: Option<Path> = None;
    for (count, datagram) in waiting.iter().enumerate() {
        let length = datagram.bytes.len();
        let fits = match path {
            None => true,
            Some(path) => {
                // A shorter one was the last of its run.
                run.len() == count * size
                    && datagram.path == path
                    && length <= size
                    && count < most
                    && run.len() + length <= SEND_MAX
            }
        };
        if !fits {
            return count;
        }
        if path.is_none() {
            (path, size) = (Some(datagram.path), length);
        }
        run.extend_from_slice(&datagram.bytes);
    }
    waiting.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16, length: usize) -> Transmit {
        let remote = SocketAddr::from(([127, 0, 0, 1], port));
        let mut bytes = vec![7; length];
        bytes[2..4].copy_from_slice(&port.to_be_bytes());
        Transmit { path: Path { socket: 0, remote }, bytes }
    }

    #[test]
    fn datagrams_of_one_flow_and_size_travel_together_and_a_shorter_one_ends_the_run() {
        let mut run = Vec::new();
        let mut count = |datagrams: &[Transmit], most| {
            let waiting = datagrams.iter().cloned().collect();
            (gather(&waiting, most, &mut run), run.len())
        };
        assert_eq!(count(&[to(1, 100), to(1, 100), to(1, 50), to(1, 50)], 64), (3, 250));
        assert_eq!(count(&[to(1, 100), to(2, 100)], 64), (1, 100));
        assert_eq!(count(&[to(1, 100), to(1, 101)], 64), (1, 100));
        assert_eq!(count(&[to(1, 100), to(1, 100), to(1, 100)], 2), (2, 200));
        assert_eq!(count(&vec![to(1, 1_400); 100], 64), (46, 64_400));
        assert_eq!(count(&[to(1, 100)], 1), (1, 100));
        // A peer at a UDP port of another number may be a kernel, which takes no runs.
        let mut strict = to(1, 100);
        strict.path.remote.set_port(9_899);
        assert_eq!(count(&[strict.clone(), strict], 64), (1, 100));
    }
}
