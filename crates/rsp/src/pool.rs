//! `rsp pool ls`, `rsp pool show`, `rsp resolve`: what a registrar knows.

use crate::address::{self, Choice};
use crate::ask::{Answer, Lister, Listing, PATIENCE};
use crate::cli::{ListArgs, PoolCommand, Registrars, ResolveArgs};
use crate::client::{self, no_registrar, unknown_pool};
use crate::dump::Dumper;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_bind};
use comfy_table::{ContentArrangement, Table, presets};
use rserpool::user::{self, Event};
use rserpool::wire::parameter::{Life, PoolElement, Transport};
use rserpool::{Endpoint, Policy, PoolHandle, PoolUser, RegistrarId, Role, Time};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::mpsc;

/// `rsp pool …`.
pub fn run(command: &PoolCommand) -> Result<(), Failure> {
    match command {
        PoolCommand::Ls(args) => list(args, None),
        PoolCommand::Show { pool, list: args } => list(args, Some(*pool)),
    }
}

fn list(args: &ListArgs, only: Option<PoolHandle>) -> Result<(), Failure> {
    let ListArgs { show, enrp } = args;
    let choice = Choice::of(&show.registrars)?;
    let answer = match enrp {
        Some(enrp) => dump(enrp)?,
        None => ask(&show.registrars, &choice, only)?,
    };
    let listing = match answer {
        Answer::Listing(mut listing) => {
            listing.pools.retain(|(handle, _)| only.is_none_or(|only| *handle == only));
            listing
        }
        Answer::NoRegistrar if enrp.is_some() => {
            let enrp = enrp.as_deref().unwrap_or_default();
            let message = format!("no registrar answers at {enrp} (ENRP over SCTP)");
            return Err(Failure::new(Code::NoRegistrar, message));
        }
        Answer::NoRegistrar => return Err(no_registrar(&choice)),
        Answer::Silence(endpoint) => {
            let message = format!(
                "{endpoint} does not tell what it knows; ask it for one pool (rsp resolve POOL), or as a peer at its ENRP \
                 port (--enrp HOST[:PORT])"
            );
            return Err(Failure::new(Code::NoRegistrar, message));
        }
    };
    if let (Some(pool), true) = (only, listing.pools.is_empty()) {
        return Err(unknown_pool(pool, &choice));
    }
    if show.json {
        return print(&listing_document(&listing).to_string());
    }
    match only {
        Some(_) => print(&element_table(listing.pools.iter().flat_map(|(_, elements)| elements))),
        None if listing.pools.is_empty() => print(&format!("registrar {} knows no pools", listing.registrar)),
        None => print(&pool_table(&listing)),
    }
}

/// Asks the first registrar that can be reached.
pub fn ask(registrars: &Registrars, choice: &Choice, only: Option<PoolHandle>) -> Result<Answer, Failure> {
    let net = client::sockets(registrars, choice)?;
    let endpoints = client::endpoints(registrars, choice);
    let (told, answer) = mpsc::channel();
    let make = move |_: &rserpool_net::Bound| {
        let app = move |_: &mut Lister, _: Time, answer| drop(told.send(answer));
        (Lister::new(endpoints, only), app)
    };
    let running = rserpool_net::spawn("lister", net, make).map_err(|error| cannot_bind(&error))?;
    let listen = registrars.discover;
    let _ = running.handle.post_blocking(move |lister, now| lister.begin(now, listen));
    answer.recv().map_err(|_| Failure::new(Code::Failed, "asking the registrar ended without an answer"))
}

/// Asks a registrar at its ENRP port, as a peer.
fn dump(enrp: &str) -> Result<Answer, Failure> {
    let at = address::resolve(enrp, address::ENRP_PORT, "--enrp")?[0];
    let from = rserpool_net::route_address_to(at).map_err(|error| cannot_bind(&error))?;
    let net = rserpool_net::Config {
        enrp: Some(SocketAddr::new(from, 0).into()),
        ..rserpool_net::Config::user(Role::Registrar)
    };
    let (told, answer) = mpsc::channel();
    let id = RegistrarId(process::random().nonzero_u32());
    let make = move |bound: &rserpool_net::Bound| {
        let door = bound.enrp.clone().expect("a door that was asked for is there, or an error");
        let app = move |_: &mut Dumper, _: Time, answer| drop(told.send(answer));
        (Dumper::new(id, door, Endpoint::sctp(at)), app)
    };
    let running = rserpool_net::spawn("dumper", net, make).map_err(|error| cannot_bind(&error))?;
    let _ = running.handle.post_blocking(|dumper, now| dumper.begin(now));
    answer.recv().map_err(|_| Failure::new(Code::Failed, "asking the registrar ended without an answer"))
}

/// `rsp resolve POOL`.
pub fn resolve(args: &ResolveArgs) -> Result<(), Failure> {
    let choice = Choice::of(&args.show.registrars)?;
    let net = client::sockets(&args.show.registrars, &choice)?;
    let config = client::user(&args.show.registrars, &choice);
    let (told, answer) = mpsc::channel();
    let random = process::random();
    let (pool, items) = (args.pool, args.items);
    let make = move |_: &rserpool_net::Bound| {
        let mut patience_ends = None;
        let app = move |user: &mut PoolUser, now: Time, event| {
            if let Event::Resolved { result, .. } = event {
                // A round of the hunt may be short: a registrar on a busy machine needs longer to answer a call.
                if let Err(user::Failure::NoRegistrar { .. }) = result
                    && now < *patience_ends.get_or_insert(now + PATIENCE)
                {
                    user.resolve(now, pool, items);
                    return;
                }
                let _ = told.send(result);
            }
        };
        (PoolUser::new(config, random), app)
    };
    let running = rserpool_net::spawn("user", net, make).map_err(|error| cannot_bind(&error))?;
    let _ = running.handle.post_blocking(move |user, now| {
        user.resolve(now, pool, items);
    });
    let ended = |_| Failure::new(Code::Failed, "asking the registrar ended without an answer");
    let (policy, elements) = match answer.recv().map_err(ended)? {
        Ok(found) => found,
        Err(user::Failure::NoRegistrar { .. }) => return Err(no_registrar(&choice)),
        Err(user::Failure::UnknownPool) => return Err(unknown_pool(pool, &choice)),
        Err(other) => {
            return Err(Failure::new(Code::Failed, format!("cannot resolve pool '{pool}': {other:?}")));
        }
    };
    if args.show.json {
        let elements: Vec<Value> = elements.iter().map(element_document).collect();
        let document = json!({
            "schema": "rsp.resolution/1",
            "pool": pool.to_string(),
            "policy": policy.to_string(),
            "elements": elements,
        });
        return print(&document.to_string());
    }
    print(&element_table(&elements))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // Whoever closed the pipe has seen enough.
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Code::CannotWrite, format!("cannot write to standard output: {cause}")))
        }
        _ => Ok(()),
    }
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    table
}

fn pool_table(listing: &Listing) -> String {
    let mut table = table(&["POOL", "ELEMENTS", "POLICY"]);
    for (handle, elements) in &listing.pools {
        let policy = elements.first().map_or(String::new(), |element| policy_name(&element.policy));
        table.add_row([handle.to_string(), elements.len().to_string(), policy]);
    }
    table.trim_fmt()
}

fn element_table<'a>(elements: impl IntoIterator<Item = &'a PoolElement>) -> String {
    let mut table = table(&["ELEMENT", "POLICY", "HOME", "SERVES AT", "LIFE"]);
    for element in elements {
        let life = seconds(element.life).map_or("infinite".into(), |seconds| format!("{seconds} s"));
        table.add_row([
            element.id.to_string(),
            element.policy.to_string(),
            element.home.to_string(),
            transport(&element.user_transport),
            life,
        ]);
    }
    table.trim_fmt()
}

fn listing_document(listing: &Listing) -> Value {
    let pools: Vec<Value> = listing
        .pools
        .iter()
        .map(|(handle, elements)| {
            let policy = elements.first().map(|element| policy_name(&element.policy));
            let elements: Vec<Value> = elements.iter().map(element_document).collect();
            json!({ "name": handle.to_string(), "policy": policy, "elements": elements })
        })
        .collect();
    json!({ "schema": "rsp.pools/1", "registrar": listing.registrar.to_string(), "pools": pools })
}

fn element_document(element: &PoolElement) -> Value {
    json!({
        "id": element.id.to_string(),
        "home": element.home.to_string(),
        "policy": element.policy.to_string(),
        "transport": transport(&element.user_transport),
        "life": seconds(element.life),
    })
}

fn policy_name(policy: &Policy) -> String {
    policy.name().map_or_else(|| format!("0x{:08x}", policy.code()), str::to_owned)
}

/// A registration life in seconds; `None`: infinite.
fn seconds(life: Life) -> Option<f64> {
    (life.0 != u32::MAX).then_some(f64::from(life.0) / 1000.0)
}

/// A transport as an address with a scheme.
fn transport(transport: &Transport) -> String {
    match transport {
        Transport::Sctp { port, addresses, .. } => {
            let all: Vec<String> =
                addresses.iter().map(|&ip| std::net::SocketAddr::new(ip, *port).to_string()).collect();
            format!("sctp://{}", all.join(","))
        }
        Transport::Tcp { port, address, .. } => {
            format!("tcp://{}", std::net::SocketAddr::new(*address, *port))
        }
        Transport::Udp { port, address } => format!("udp://{}", std::net::SocketAddr::new(*address, *port)),
        Transport::UdpLite { port, address } => {
            format!("udplite://{}", std::net::SocketAddr::new(*address, *port))
        }
        Transport::Dccp { port, address, service_code } => {
            format!("dccp://{}?service={service_code}", std::net::SocketAddr::new(*address, *port))
        }
        Transport::Opaque(octets) => format!("opaque:{}", octets.len()),
    }
}
