//! Announcements: who hears us without being known, and whom we hear.
//!
//! RFC 5352 §3.6 and RFC 5353 §3.4 want multicast; the groups and the ports are those of the reference implementation
//! (IANA's 224.0.1.185 for ASAP is used by nobody). Only a node that asked for it joins a group or sends to one. An
//! announcement leaves from the UDP socket that has the number of its door, so its source says where the door is.

use crate::transport::Inbox;
use crate::{Config, Error, Multicast};
use rserpool::{Channel, Input};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

/// Where registrars announce themselves to elements and users.
pub const ASAP_GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 50), 3863);
/// Where registrars announce themselves to each other.
pub const ENRP_GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 51), 9901);

/// How many routers an announcement passes, as the reference has it.
const TTL: u32 = 30;
/// Announcements taken in one sweep: a flood of them must not keep the node from its links.
const TAKEN_MAX: usize = 64;
/// The largest announcement worth reading: one UDP datagram.
const LENGTH_MAX: usize = 65_535;

/// The announcement channels a node takes part in.
#[derive(Default)]
pub(crate) struct Groups {
    members: Vec<Member>,
    buffer: Vec<u8>,
}

struct Member {
    channel: Channel,
    group: SocketAddr,
    ears: UdpSocket,
    mouth: Rc<UdpSocket>,
}

impl Groups {
    /// Joins the groups of this node: ASAP's, and ENRP's if it has a door for it. `mouths` are the doors' UDP sockets.
    pub(crate) fn join(
        config: &Config,
        mouths: impl Fn(Channel) -> Option<Rc<UdpSocket>>,
    ) -> Result<Self, Error> {
        let Some(Multicast { interface, asap, enrp }) = config.multicast else { return Ok(Self::default()) };
        let mut members = vec![Member::join(Channel::Asap, asap, interface, &mouths)?];
        if config.enrp.is_some() {
            members.push(Member::join(Channel::Enrp, enrp, interface, &mouths)?);
        }
        Ok(Self { members, buffer: vec![0; LENGTH_MAX] })
    }

    /// Sends an announcement, if we take part in the channel. It may be lost, as any.
    pub(crate) fn announce(&self, channel: Channel, bytes: &[u8]) {
        if let Some(member) = self.members.iter().find(|member| member.channel == channel) {
            // Not through tokio, which would first wait to be told that the socket can be written.
            let _ = socket2::SockRef::from(&*member.mouth).send_to(bytes, &member.group.into());
        }
    }

    /// Takes what was announced; has `cx` woken when there is more.
    pub(crate) fn sweep(&mut self, cx: &mut Context<'_>, inbox: &mut Inbox) {
        for member in &self.members {
            let mut taken = 0;
            loop {
                let mut buffer = ReadBuf::new(&mut self.buffer);
                match member.ears.poll_recv_from(cx, &mut buffer) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(from)) => {
                        let bytes = buffer.filled().to_vec();
                        inbox.push_back(Input::Heard { channel: member.channel, from, bytes });
                    }
                    // A report about something else; the next call tells more.
                    Poll::Ready(Err(_)) => {}
                }
                taken += 1;
                if taken == TAKEN_MAX {
                    cx.waker().wake_by_ref();
                    break;
                }
            }
        }
    }
}

impl Member {
    fn join(
        channel: Channel,
        group: SocketAddrV4,
        interface: Ipv4Addr,
        mouths: &impl Fn(Channel) -> Option<Rc<UdpSocket>>,
    ) -> Result<Self, Error> {
        let failed = |cause| Error::Multicast { group: group.into(), cause };
        let mouth = match mouths(channel) {
            Some(mouth) if mouth.local_addr().map_err(failed)?.is_ipv4() => mouth,
            _ => Rc::new(speaker().map_err(failed)?),
        };
        let socket = socket2::SockRef::from(&*mouth);
        socket.set_multicast_ttl_v4(TTL).map_err(failed)?;
        socket.set_multicast_loop_v4(true).map_err(failed)?;
        if !interface.is_unspecified() {
            socket.set_multicast_if_v4(&interface).map_err(failed)?;
        }
        // From now on the group's own socket may have this number as well, if they are equal: nobody else could take
        // it before, and nobody else can without asking for the same.
        socket.set_reuse_address(true).map_err(failed)?;
        let ears = listener(group, interface).map_err(failed)?;
        Ok(Self { channel, group: group.into(), ears, mouth })
    }
}

/// A socket to send from, for nodes without a door.
fn speaker() -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// A socket that hears a group, and only that; any number of processes may have one.
fn listener(group: SocketAddrV4, interface: Ipv4Addr) -> io::Result<UdpSocket> {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    socket.set_multicast_all_v4(false)?;
    // Bound to the group, unicast datagrams to the same port stay with the door that has it.
    #[cfg(unix)]
    socket.bind(&SocketAddr::from(group).into())?;
    #[cfg(not(unix))]
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, group.port())).into())?;
    socket.join_multicast_v4(group.ip(), &interface)?;
    UdpSocket::from_std(socket.into())
}
