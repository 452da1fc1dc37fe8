//! Getting sockets, so that all of one door have the same port number.

use crate::config::{At, Bound, Config, DoorAt, Stack, UdpPort};
use crate::{Error, kernel, local_addresses, tcp};
use rserpool::{Door, Endpoint, Protocol, Role};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

/// How many numbers are tried until one is free for all sockets of a door.
const TRIES_MAX: u32 = 64;
/// What the system is asked to keep for an SCTP socket while we are busy; it may grant less.
const UDP_BUFFER: usize = 4 << 20;
/// The largest message of ours.
const MESSAGE_MAX: usize = 1 << 20;

/// What was opened.
#[derive(Default)]
pub(crate) struct Sockets {
    /// Listening, with their doors: one for each address of a door.
    pub tcp: Vec<(Door, TcpListener)>,
    /// For SCTP, one for each address of a door; the doors whose SCTP port has the number of the socket. 9899 belongs to
    /// no door.
    pub udp: Vec<(Option<Door>, UdpSocket)>,
    /// The kernel's SCTP: one socket of a door, at all its addresses.
    pub kernel: Vec<(Door, Vec<IpAddr>, socket2::Socket)>,
    /// To announce from, for doors whose number has no other UDP socket.
    pub mouths: Vec<(Door, UdpSocket)>,
}

/// What the doors of this node get.
struct Plan {
    /// The kernel's SCTP.
    kernel: bool,
    /// SCTP over UDP.
    udp: bool,
    /// A UDP socket to announce from, where no other has the number of the door.
    mouths: bool,
    /// When the kernel ends an idle association at the ASAP door.
    autoclose: Option<Duration>,
}

impl Plan {
    fn of(config: &Config) -> Result<Self, Error> {
        let mut doors = [&config.asap, &config.service].into_iter();
        let any = config.enrp.is_some() || doors.any(|door| door.sctp && door.at.is_some());
        let (kernel, udp) = match config.stack {
            Stack::Udp => (false, true),
            Stack::Auto => (any && kernel::detect().is_ok(), true),
            Stack::Kernel if !any => (false, false),
            Stack::Kernel => match kernel::detect() {
                Ok(()) => (true, false),
                Err(cause) => return Err(Error::NoKernelSctp { cause }),
            },
        };
        let registrar = config.identity.role == Role::Registrar;
        let autoclose = registrar.then_some(config.limits.idle_max);
        Ok(Self { kernel, udp, mouths: !udp && config.multicast.is_some(), autoclose })
    }
}

/// Opens everything the configuration asks for.
pub(crate) fn bind(config: &Config) -> Result<(Sockets, Bound), Error> {
    let mut sockets = Sockets::default();
    let plan = Plan::of(config)?;
    let enrp = DoorAt { at: config.enrp.clone(), tcp: false, sctp: true };
    let mut bound = Bound {
        asap: one_door(Door::Asap, &config.asap, &plan, &mut sockets)?,
        enrp: one_door(Door::Enrp, &enrp, &plan, &mut sockets)?.pop(),
        service: one_door(Door::Service, &config.service, &plan, &mut sockets)?,
        kernel: plan.kernel,
        ..Bound::default()
    };
    encapsulation_port(config, &mut sockets, &mut bound)?;
    for (_, socket) in &sockets.udp {
        bound.udp.push(socket.local_addr().map_err(Error::Reactor)?);
    }
    for (.., socket) in &sockets.kernel {
        let most = kernel::message_max(socket).map_err(Error::Reactor)?;
        if most < MESSAGE_MAX {
            bound.notes.push(format!(
                "the kernel's SCTP takes messages of up to {most} octets here; for larger ones: \
                 sysctl -w net.core.wmem_max={MESSAGE_MAX}"
            ));
            break;
        }
    }
    Ok((sockets, bound))
}

/// Opens the sockets of a door and says where it is: TCP first.
fn one_door(door: Door, wanted: &DoorAt, plan: &Plan, sockets: &mut Sockets) -> Result<Vec<Endpoint>, Error> {
    let Some(at) = wanted.at.as_ref().filter(|_| wanted.tcp || wanted.sctp) else { return Ok(Vec::new()) };
    let opened =
        if at.port == 0 { free_number(door, wanted, at, plan)? } else { open(door, wanted, at, plan)? };
    let addresses = announced(&at.addresses)?;
    let mut endpoints = Vec::new();
    for (served, protocol) in [(wanted.tcp, Protocol::Tcp), (wanted.sctp, Protocol::Sctp)] {
        if served {
            endpoints.push(Endpoint { protocol, addresses: addresses.clone(), port: opened.port });
        }
    }
    sockets.tcp.extend(opened.tcp.into_iter().map(|tcp| (door, tcp)));
    sockets.udp.extend(opened.udp.into_iter().map(|udp| (Some(door), udp)));
    sockets.kernel.extend(opened.kernel.map(|socket| (door, at.addresses.clone(), socket)));
    sockets.mouths.extend(opened.mouth.map(|mouth| (door, mouth)));
    debug_assert!(opened.port != 0, "the system gave a number");
    Ok(endpoints)
}

/// The sockets of one door, all with one number.
#[derive(Default)]
struct Opened {
    port: u16,
    /// One for each address.
    tcp: Vec<TcpListener>,
    /// One for each address.
    udp: Vec<UdpSocket>,
    /// One at all addresses.
    kernel: Option<socket2::Socket>,
    mouth: Option<UdpSocket>,
}

/// Opens the sockets of a door. With port 0 the first one decides the number for all.
fn open(door: Door, wanted: &DoorAt, at: &At, plan: &Plan) -> Result<Opened, Error> {
    let failed = |at, what| move |cause| Error::Listen { at, what, option: option_of(door), cause };
    let words = words(door);
    let mut opened = Opened { port: at.port, ..Opened::default() };
    // UDP numbers are the scarcer ones, since nobody else shares them: they come first.
    for &ip in at.addresses.iter().filter(|_| wanted.sctp && plan.udp) {
        let at = SocketAddr::new(ip, opened.port);
        let udp = udp_socket(at).map_err(failed(at, words.udp))?;
        opened.port = udp.local_addr().map_err(Error::Reactor)?.port();
        opened.udp.push(udp);
    }
    for &ip in at.addresses.iter().filter(|_| wanted.tcp) {
        let at = SocketAddr::new(ip, opened.port);
        let tcp = tcp::listen(at).map_err(failed(at, words.tcp))?;
        opened.port = tcp.local_addr().map_err(Error::Reactor)?.port();
        opened.tcp.push(tcp);
    }
    if wanted.sctp && plan.kernel {
        let autoclose = plan.autoclose.filter(|_| door == Door::Asap);
        let first = SocketAddr::new(at.first().ip(), opened.port);
        let socket =
            kernel::bind(&at.addresses, opened.port, autoclose).map_err(failed(first, words.kernel))?;
        opened.port = kernel::local_port(&socket).map_err(Error::Reactor)?;
        opened.kernel = Some(socket);
        if plan.mouths && door != Door::Service {
            // Announcements can do with another number, if somebody else has this one.
            opened.mouth = udp_socket(SocketAddr::new(at.first().ip(), opened.port)).ok();
        }
    }
    Ok(opened)
}

/// Lets the system pick a number for one socket and takes it for the others, until that works.
fn free_number(door: Door, wanted: &DoorAt, at: &At, plan: &Plan) -> Result<Opened, Error> {
    let mut tried = 0;
    loop {
        tried += 1;
        match open(door, wanted, at, plan) {
            Err(Error::Listen { cause, .. })
                if cause.kind() == io::ErrorKind::AddrInUse && tried < TRIES_MAX => {}
            Err(Error::Listen { what, cause, .. }) => {
                return Err(Error::NoCommonPort { at: at.first(), what, tried, cause });
            }
            result => return result,
        }
    }
}

/// The UDP port at which RFC 6951 §5.1 expects SCTP, besides those of the doors: at every address a door is at.
fn encapsulation_port(config: &Config, sockets: &mut Sockets, bound: &mut Bound) -> Result<(), Error> {
    let (port, must) = match config.udp {
        UdpPort::None => return Ok(()),
        // The kernel takes SCTP in UDP there, for the same doors.
        UdpPort::IfFree(port) if bound.kernel && kernel::encapsulation_port() == Some(port) => return Ok(()),
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

/// Where others reach a door that is bound to these addresses.
fn announced(bound: &[IpAddr]) -> Result<Vec<IpAddr>, Error> {
    let mut all = Vec::new();
    for &ip in bound {
        let here = if ip.is_unspecified() { local_addresses(ip)? } else { vec![ip] };
        all.extend(here.into_iter().filter(|ip| !all.contains(ip)).collect::<Vec<_>>());
    }
    Ok(all)
}

/// What a socket of a door is for.
struct Words {
    tcp: &'static str,
    udp: &'static str,
    kernel: &'static str,
}

fn words(door: Door) -> Words {
    match door {
        Door::Asap => Words {
            tcp: "ASAP over TCP",
            udp: "ASAP over SCTP, UDP port of the same number",
            kernel: "ASAP over SCTP",
        },
        Door::Enrp => Words {
            tcp: "ENRP over TCP",
            udp: "ENRP over SCTP, UDP port of the same number",
            kernel: "ENRP over SCTP",
        },
        Door::Service => Words {
            tcp: "sessions over TCP",
            udp: "sessions over SCTP, UDP port of the same number",
            kernel: "sessions over SCTP",
        },
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
    fn a_door_at_several_addresses_has_one_number_at_all_of_them() {
        let several = |port| At { addresses: [1, 2, 3].map(|last| [127, 0, 0, last].into()).into(), port };
        let (sockets, bound) = bind(&Config::registrar(several(0), several(0))).expect("ports are free");
        let [tcp, sctp] = &bound.asap[..] else { panic!("{bound:?}") };
        assert_eq!((tcp.addresses.len(), &tcp.addresses), (3, &sctp.addresses));
        assert_eq!(tcp.port, sctp.port);
        assert_eq!(sockets.tcp.len(), 3);
        let numbers = sockets.udp.iter().filter(|(door, _)| *door == Some(Door::Asap));
        assert!(numbers.clone().all(|(_, udp)| udp.local_addr().expect("bound").port() == sctp.port));
        assert_eq!(numbers.count(), 3);
        let error = bind(&Config::registrar(several(sctp.port), loopback())).map(|_| ()).expect_err("taken");
        assert!(error.to_string().contains(&format!("127.0.0.1:{}", sctp.port)), "{error}");
    }

    #[test]
    fn an_unspecified_address_is_announced_as_those_of_this_host() {
        let any = SocketAddr::from(([0, 0, 0, 0], 0));
        let (_sockets, bound) = bind(&Config::element(any, any)).expect("ports are free");
        assert!(bound.service[0].addresses.iter().all(|ip| !ip.is_unspecified()), "{bound:?}");
        assert!(!bound.service[0].addresses.is_empty());
    }
}
