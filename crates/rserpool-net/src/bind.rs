//! Getting sockets, so that all of one door have the same port number.

use crate::config::{Bound, Config, DoorAt, UdpPort};
use crate::{Error, local_addresses, tcp};
use rserpool::{Door, Endpoint, Protocol};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// How many numbers are tried until one is free for all sockets of a door.
const TRIES_MAX: u32 = 64;
/// What the system is asked to keep for an SCTP socket while we are busy; it may grant less.
const UDP_BUFFER: usize = 4 << 20;

/// What was opened.
#[derive(Default)]
pub(crate) struct Sockets {
    /// Listening, with their doors.
    pub tcp: Vec<(Door, TcpListener)>,
    /// For SCTP; the doors whose SCTP port has the number of the socket. 9899 belongs to no door.
    pub udp: Vec<(Option<Door>, UdpSocket)>,
}

/// Opens everything the configuration asks for.
pub(crate) fn bind(config: &Config) -> Result<(Sockets, Bound), Error> {
    let mut sockets = Sockets::default();
    let enrp = DoorAt { at: config.enrp, tcp: false, sctp: true };
    let mut bound = Bound {
        asap: one_door(Door::Asap, &config.asap, &mut sockets)?,
        enrp: one_door(Door::Enrp, &enrp, &mut sockets)?.pop(),
        service: one_door(Door::Service, &config.service, &mut sockets)?,
        ..Bound::default()
    };
    encapsulation_port(config, &mut sockets, &mut bound)?;
    for (_, socket) in &sockets.udp {
        bound.udp.push(socket.local_addr().map_err(Error::Reactor)?);
    }
    Ok((sockets, bound))
}

/// Opens the sockets of a door and says where it is: TCP first.
fn one_door(door: Door, wanted: &DoorAt, sockets: &mut Sockets) -> Result<Vec<Endpoint>, Error> {
    let Some(at) = wanted.at.filter(|_| wanted.tcp || wanted.sctp) else { return Ok(Vec::new()) };
    let (tcp, udp) = if at.port() == 0 { free_number(door, wanted, at)? } else { pair(door, wanted, at)? };
    let mut endpoints = Vec::new();
    let mut port = at.port();
    if let Some(tcp) = tcp {
        port = tcp.local_addr().map_err(Error::Reactor)?.port();
        endpoints.push(Endpoint { protocol: Protocol::Tcp, addresses: announced(at.ip())?, port });
        sockets.tcp.push((door, tcp));
    }
    if let Some(udp) = udp {
        port = udp.local_addr().map_err(Error::Reactor)?.port();
        endpoints.push(Endpoint { protocol: Protocol::Sctp, addresses: announced(at.ip())?, port });
        sockets.udp.push((Some(door), udp));
    }
    debug_assert!(port != 0, "the system gave a number");
    Ok(endpoints)
}

type Pair = (Option<TcpListener>, Option<UdpSocket>);

fn pair(door: Door, wanted: &DoorAt, at: SocketAddr) -> Result<Pair, Error> {
    let option = option_of(door);
    let failed = |what| move |cause| Error::Listen { at, what, option, cause };
    let (by_tcp, by_sctp) = words(door);
    let tcp = wanted.tcp.then(|| tcp::listen(at).map_err(failed(by_tcp))).transpose()?;
    let udp = wanted.sctp.then(|| udp_socket(at).map_err(failed(by_sctp))).transpose()?;
    Ok((tcp, udp))
}

/// Lets the system pick a number for one socket and takes it for the other, until that works.
fn free_number(door: Door, wanted: &DoorAt, at: SocketAddr) -> Result<Pair, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        // UDP numbers are the scarcer ones: nobody else shares them.
        let first = if wanted.sctp {
            udp_socket(at).map(|udp| (udp.local_addr(), None, Some(udp)))
        } else {
            tcp::listen(at).map(|tcp| (tcp.local_addr(), Some(tcp), None))
        };
        let cause = match first {
            Ok((Ok(picked), tcp, udp)) if wanted.tcp && tcp.is_none() => match tcp::listen(picked) {
                Ok(tcp) => return Ok((Some(tcp), udp)),
                Err(cause) => cause,
            },
            Ok((Ok(_), tcp, udp)) => return Ok((tcp, udp)),
            Ok((Err(cause), ..)) | Err(cause) => cause,
        };
        if tries == TRIES_MAX || cause.kind() != io::ErrorKind::AddrInUse {
            let what = if wanted.sctp { words(door).1 } else { words(door).0 };
            return Err(Error::NoCommonPort { at, what, tried: tries, cause });
        }
    }
}

/// The UDP port at which RFC 6951 §5.1 expects SCTP, besides those of the doors: at every address a door is at.
fn encapsulation_port(config: &Config, sockets: &mut Sockets, bound: &mut Bound) -> Result<(), Error> {
    let (port, must) = match config.udp {
        UdpPort::None => return Ok(()),
        UdpPort::IfFree(port) => (port, false),
        UdpPort::Exactly(port) => (port, true),
    };
    let mut at: Vec<IpAddr> = Vec::new();
    for (_, socket) in &sockets.udp {
        let local = socket.local_addr().map_err(Error::Reactor)?;
        // A door may have that number itself.
        if local.port() != port && !at.contains(&local.ip()) {
            at.push(local.ip());
        }
    }
    for ip in at {
        let at = SocketAddr::new(ip, port);
        match udp_socket(at) {
            Ok(socket) => sockets.udp.push((None, socket)),
            Err(cause) if must => {
                return Err(Error::Listen { at, what: "SCTP over UDP", option: "--udp", cause });
            }
            Err(cause) => bound.notes.push(format!(
                "UDP {at} is not free ({cause}): peers that expect SCTP over UDP there will not find this registrar; \
                 everyone else will"
            )),
        }
    }
    Ok(())
}

/// A UDP socket for SCTP. Its number is its own: nobody else can take it as well.
fn udp_socket(at: SocketAddr) -> io::Result<UdpSocket> {
    let domain = socket2::Domain::for_address(at);
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    #[cfg(target_os = "linux")]
    if at.is_ipv4() {
        // Or a socket bound to all addresses would hear every group that anybody on this host has joined.
        socket.set_multicast_all_v4(false)?;
    }
    // Smaller buffers lose packets at full speed, which SCTP repairs; no reason to fail.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    let _ = socket.set_send_buffer_size(UDP_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}

/// Where others reach a door that is bound to `ip`.
fn announced(ip: IpAddr) -> Result<Vec<IpAddr>, Error> {
    if ip.is_unspecified() { local_addresses(ip) } else { Ok(vec![ip]) }
}

fn words(door: Door) -> (&'static str, &'static str) {
    match door {
        Door::Asap => ("ASAP over TCP", "ASAP over SCTP, UDP port of the same number"),
        Door::Enrp => ("ENRP over TCP", "ENRP over SCTP, UDP port of the same number"),
        Door::Service => ("sessions over TCP", "sessions over SCTP, UDP port of the same number"),
    }
}

fn option_of(door: Door) -> &'static str {
    match door {
        Door::Asap => "--listen",
        Door::Enrp => "--enrp",
        Door::Service => "--listen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::loopback;

    #[test]
    fn a_door_has_one_number_for_all_its_protocols() {
        let (sockets, bound) = bind(&Config::registrar(loopback(), loopback())).expect("ports are free");
        let [tcp, sctp] = &bound.asap[..] else { panic!("{bound:?}") };
        assert_eq!((tcp.protocol, sctp.protocol), (Protocol::Tcp, Protocol::Sctp));
        assert_eq!(tcp.port, sctp.port);
        assert_ne!(tcp.port, bound.enrp.as_ref().expect("asked for").port);
        assert_eq!(sockets.tcp.len(), 1);
        assert!(bound.udp.contains(&SocketAddr::new(loopback().ip(), sctp.port)));
    }

    #[test]
    fn a_port_in_use_is_named_with_its_need_and_its_option() {
        let taken = UdpSocket::bind(loopback()).expect("a port is free");
        let at = taken.local_addr().expect("bound");
        let error = bind(&Config::registrar(loopback(), at)).map(|_| ()).expect_err("the port is taken");
        let text = error.to_string();
        assert!(text.starts_with(&format!("cannot listen on {at} (ENRP over SCTP")), "{text}");
        assert!(text.ends_with("choose another one with --enrp"), "{text}");
    }

    #[test]
    fn the_encapsulation_port_can_be_missed_unless_it_was_asked_for() {
        let taken = UdpSocket::bind(loopback()).expect("a port is free");
        let at = taken.local_addr().expect("bound");
        let config = |udp| Config { udp, ..Config::registrar(loopback(), loopback()) };
        let (sockets, bound) = bind(&config(UdpPort::IfFree(at.port()))).expect("one goes on without");
        assert_eq!((sockets.udp.len(), bound.notes.len()), (2, 1), "{bound:?}");
        let error = bind(&config(UdpPort::Exactly(at.port()))).map(|_| ()).expect_err("asked for and taken");
        assert!(error.to_string().ends_with("choose another one with --udp"), "{error}");
        let (sockets, bound) = bind(&config(UdpPort::Exactly(0))).expect("some port is free");
        assert_eq!((sockets.udp.len(), bound.udp.len()), (3, 3));
    }

    #[test]
    fn two_listeners_cannot_share_a_number() {
        let (_first, bound) = bind(&Config::registrar(loopback(), loopback())).expect("ports are free");
        let at = SocketAddr::new(loopback().ip(), bound.asap[0].port);
        assert!(bind(&Config::registrar(at, loopback())).is_err());
    }

    #[test]
    fn an_unspecified_address_is_announced_as_those_of_this_host() {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let (_sockets, bound) = bind(&Config::element(any, any)).expect("ports are free");
        assert!(bound.service[0].addresses.iter().all(|ip| !ip.is_unspecified()), "{bound:?}");
        assert!(!bound.service[0].addresses.is_empty());
    }
}
