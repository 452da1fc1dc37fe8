//! `rsp registrar`.

use crate::address::{self, ASAP_PORT, ENRP_PORT};
use crate::cli::{RegistrarArgs, Sctp};
use crate::client::announcements;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_bind, say};
use crate::status::{Reporting, Status};
use rserpool::registrar::{Arbitration, Config, Event, Scope};
use rserpool::wire::csp::ComponentId;
use rserpool::{Endpoint, Registrar, RegistrarId, Role, Time, Timing};
use rserpool_net::{At, Bound, Identity, UdpPort};
use std::time::Duration;

/// Serves until it is interrupted.
pub fn run(args: &RegistrarArgs) -> Result<(), Failure> {
    if args.private {
        process::end_with_parent();
    }
    process::allow_many_files();
    if args.sctp == Sctp::Off {
        let message = "--sctp off: registrars reach each other by SCTP only (RFC 5353 §3.1); --sctp udp needs no kernel \
                       module and no root";
        return Err(Failure::new(Code::Usage, message));
    }
    let asap = address::listen(&args.listen, ASAP_PORT, "--listen")?;
    let enrp = match &args.enrp {
        Some(text) => address::listen(text, ENRP_PORT, "--enrp")?,
        None => At { port: if asap.port == 0 { 0 } else { ENRP_PORT }, ..asap.clone() },
    };
    let mut peers = Vec::new();
    for text in &args.peer {
        peers.extend(address::resolve(text, ENRP_PORT, "--peer")?.into_iter().map(Endpoint::sctp));
    }
    for (at, option) in [(&asap, "--listen"), (&enrp, "--enrp")] {
        if let Some(warning) = address::exposure(at, option) {
            say(warning);
        }
    }

    let mut random = process::random();
    let id = RegistrarId(args.id.unwrap_or_else(|| random.nonzero_u32()));
    let mut net = rserpool_net::Config::registrar(asap.clone(), enrp);
    net.stack = args.sctp.stack();
    net.paths = args.verbose.then(process::say_paths);
    net.identity = Identity { role: Role::Registrar, own: id.0, pool: None };
    net.multicast = args.discover.then(|| announcements(asap.first().ip()));
    if let Some(port) = args.udp {
        net.udp = UdpPort::Exactly(port);
    } else if asap.port == 0 {
        // Who asks for any port wants to share the address; the well-known one is for somebody who asks for it.
        net.udp = UdpPort::None;
    }
    let interrupted = process::until_interrupted()?;
    let make = registrar(args.clone(), id, peers, random);
    let running = rserpool_net::spawn("registrar", net, make).map_err(|error| cannot_bind(&error))?;
    let asked = running.handle.clone();
    let status = move || asked.ask_blocking(|registrar, _| Status::of_registrar(registrar)).ok();
    let reporting = Reporting::begin(&args.status, ComponentId::registrar(id), &running.bound.asap, status)?;
    // Either an interrupt, or the thread that waits for them is gone: both are the end.
    let _ = interrupted.recv();
    drop(reporting);
    if args.verbose
        && let Ok(counters) = running.handle.ask_blocking(|registrar, _| registrar.counters().clone())
    {
        say(counters.to_string());
    }
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
        // Before the node begins, so before anything it has to say.
        for note in &bound.notes {
            say(format!("note: {note}"));
        }
        say(serving(id, bound));
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
            takeover_suggestion: args.suggest_takeovers,
            distance_step: (args.distance_step > 0).then(|| Duration::from_millis(args.distance_step)),
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
    let sctp = match (bound.kernel, udp.is_empty()) {
        (true, true) => "SCTP by the kernel".into(),
        (true, false) => format!("SCTP by the kernel and over UDP {}", udp.join(" ")),
        (false, _) => format!("SCTP over UDP {}", udp.join(" ")),
    };
    format!("registrar {id} serves ASAP {}, ENRP {enrp}, {sctp}", asap.join(" "))
}
