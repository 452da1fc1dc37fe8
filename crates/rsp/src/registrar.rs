//! `rsp registrar`.

use crate::address::{self, ASAP_PORT, ENRP_PORT};
use crate::cli::RegistrarArgs;
use crate::client::announcements;
use crate::exit::Failure;
use crate::process::{self, cannot_bind, say};
use rserpool::registrar::{Arbitration, Config, Event, Scope};
use rserpool::{Endpoint, Registrar, RegistrarId, Role, Time, Timing};
use rserpool_net::{Bound, Identity, UdpPort};
use std::net::SocketAddr;

/// Serves until it is interrupted.
pub fn run(args: &RegistrarArgs) -> Result<(), Failure> {
    if args.private {
        process::end_with_parent();
    }
    process::allow_many_links();
    let asap = address::listen(&args.listen, ASAP_PORT, "--listen")?;
    let enrp = match &args.enrp {
        Some(text) => address::listen(text, ENRP_PORT, "--enrp")?,
        None => SocketAddr::new(asap.ip(), if asap.port() == 0 { 0 } else { ENRP_PORT }),
    };
    let mut peers = Vec::new();
    for text in &args.peer {
        peers.extend(address::resolve(text, ENRP_PORT, "--peer")?.into_iter().map(Endpoint::sctp));
    }
    for (at, option) in [(asap, "--listen"), (enrp, "--enrp")] {
        if let Some(warning) = address::exposure(at, option) {
            say(warning);
        }
    }

    let mut random = process::random();
    let id = RegistrarId(args.id.unwrap_or_else(|| random.nonzero_u32()));
    let mut net = rserpool_net::Config::registrar(asap, enrp);
    net.identity = Identity { role: Role::Registrar, own: id.0, pool: None };
    net.multicast = args.discover.then(|| announcements(asap.ip()));
    if let Some(port) = args.udp {
        net.udp = UdpPort::Exactly(port);
    } else if asap.port() == 0 {
        // Who asks for any port wants to share the address; the well-known one is for somebody who asks for it.
        net.udp = UdpPort::None;
    }
    let interrupted = process::until_interrupted()?;
    let make = registrar(args.clone(), id, peers, random);
    let running = rserpool_net::spawn("registrar", net, make).map_err(|error| cannot_bind(&error))?;
    for note in &running.bound.notes {
        say(format!("note: {note}"));
    }
    say(serving(id, &running.bound));
    // Either an interrupt, or the thread that waits for them is gone: both are the end.
    let _ = interrupted.recv();
    running.stop();
    Ok(())
}

type Log = Box<dyn FnMut(&mut Registrar, Time, Event)>;

/// Makes the node once it is known what was bound.
fn registrar(
    args: RegistrarArgs,
    id: RegistrarId,
    peers: Vec<Endpoint>,
    random: rserpool::Random,
) -> impl FnOnce(&Bound) -> (Registrar, Log) + Send {
    move |bound| {
        let enrp = bound.enrp.clone().expect("a registrar asks for an ENRP door and gets it or an error");
        // Whoever serves on loopback serves this machine, whose elements have loopback addresses.
        let local = bound.asap.iter().flat_map(|at| &at.addresses).any(|ip| ip.is_loopback());
        let config = Config {
            id: Some(id),
            peers,
            multicast: args.discover,
            minimum_scope: if local { Scope::Loopback } else { Scope::SiteLocal },
            arbitration: match args.arbitration.as_str() {
                "smaller" => Arbitration::SmallerWins,
                _ => Arbitration::LargerWins,
            },
            timing: Timing::of(args.profile),
            ..Config::new(bound.asap.clone(), enrp)
        };
        let verbose = args.verbose;
        let log: Log = Box::new(move |_, now, event| {
            if verbose {
                say(format!("{now} {event}"));
            }
        });
        (Registrar::new(config, random), log)
    }
}

/// The one line that names everything bound.
fn serving(id: RegistrarId, bound: &Bound) -> String {
    let asap: Vec<String> = bound.asap.iter().map(ToString::to_string).collect();
    let enrp = bound.enrp.as_ref().map(ToString::to_string).unwrap_or_default();
    let udp: Vec<String> = bound.udp.iter().map(ToString::to_string).collect();
    format!("registrar {id} serves ASAP {}, ENRP {enrp}, SCTP over UDP {}", asap.join(" "), udp.join(" "))
}
