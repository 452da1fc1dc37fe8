//! What every client of a pool needs: sockets, and its failures in words.

use crate::address::Choice;
use crate::cli::{Registrars, Sctp};
use crate::exit::{Code, Failure};
use crate::process::cannot_bind;
use rserpool::user::Config;
use rserpool::{Endpoint, PoolHandle, Protocol, Role, Timing};
use rserpool_net::{DoorAt, Multicast, route_address_to};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// How a client reaches its registrars: over TCP, unless it was told whose SCTP to use or another transport was insisted
/// on (RFC 5352 §2.1 lets users choose).
pub fn endpoints(args: &Registrars, choice: &Choice) -> Vec<Endpoint> {
    let usual = match args.sctp {
        Sctp::Kernel | Sctp::Udp => Protocol::Sctp,
        Sctp::Auto | Sctp::Off => Protocol::Tcp,
    };
    choice.targets.iter().map(|target| target.endpoint(usual)).collect()
}

/// Settings of a pool user.
pub fn user(args: &Registrars, choice: &Choice) -> Config {
    Config { timing: Timing::of(args.profile), ..Config::new(endpoints(args, choice)) }
}

/// The sockets of a client. It listens nowhere; SCTP needs a port of its own to speak from.
pub fn sockets(args: &Registrars, choice: &Choice) -> Result<rserpool_net::Config, Failure> {
    let mut net = rserpool_net::Config { stack: args.sctp.stack(), ..rserpool_net::Config::user(Role::User) };
    let over_sctp = endpoints(args, choice).into_iter().find(|endpoint| endpoint.protocol == Protocol::Sctp);
    if let Some(at) = over_sctp.as_ref().and_then(|endpoint| endpoint.socket_addresses().next()) {
        if args.sctp == Sctp::Off {
            let message = format!(
                "--sctp off, but registrar {at} is to be reached over sctp://; leave out one of them"
            );
            return Err(Failure::new(Code::Usage, message));
        }
        let from = route_address_to(at).map_err(|error| cannot_bind(&error))?;
        net.asap = DoorAt::sctp(SocketAddr::new(from, 0));
    }
    if args.discover {
        // A registrar that was named tells the interface; otherwise the system's choice is better than loopback's.
        let named = choice.targets.first().filter(|_| choice.named);
        let from = named.and_then(|target| route_address_to(target.at).ok());
        net.multicast = Some(announcements(from.unwrap_or(Ipv4Addr::UNSPECIFIED.into())));
    }
    Ok(net)
}

/// Announcements on the interface with this address; on the system's choice if it has none of IPv4.
pub fn announcements(at: IpAddr) -> Multicast {
    let interface = match at {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    };
    Multicast { interface, ..Multicast::default() }
}

/// Nobody answers.
pub fn no_registrar(choice: &Choice) -> Failure {
    let message = format!(
        "no registrar answers at {}; start one with `rsp registrar`, or name one with --registrar HOST[:PORT]",
        choice.display()
    );
    Failure::new(Code::NoRegistrar, message)
}

/// Somebody answers but knows no such pool.
pub fn unknown_pool(pool: PoolHandle, choice: &Choice) -> Failure {
    let message = format!(
        "the registrar at {} knows no pool '{pool}' with anybody who can serve; start a worker with \
         `rsp worker --pool {pool}`, or see `rsp pool ls`",
        choice.display()
    );
    Failure::new(Code::PoolEmpty, message)
}
