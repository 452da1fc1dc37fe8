//! Any service as a pool element: registered, served over SCTP, and taken out of the pool politely.
//!
//! ```text
//!   main thread        node's thread                    backstage thread
//!   waits for the end  PoolElement<S> -- wishes ------> does what only a machine can do
//!                                     <-- facts ------- and tells what came of it
//! ```

use super::Line;
use super::cli::ServeArgs;
use crate::address::{self, Choice};
use crate::cli::Sctp;
use crate::client::announcements;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_bind, say};
use rserpool::element::{Config, Event, Service};
use rserpool::wire::parameter::{CauseCode, ErrorCause, Transport, TransportUse};
use rserpool::{ElementId, Endpoint, Policy, PoolElement, PoolHandle, Protocol, Role, Time, Timing};
use rserpool_net::{At, DoorAt, Identity, Limits};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

/// How a service wants to be run.
pub struct Plan {
    /// What it is called in messages: "echo".
    pub name: &'static str,
    /// The pool.
    pub pool: PoolHandle,
    /// How it is chosen unless the command line says otherwise.
    pub policy: Policy,
    /// Bounds on its links.
    pub limits: Limits,
}

impl Plan {
    /// A service of this name in this pool, chosen in turn.
    pub fn new(name: &'static str, pool: PoolHandle) -> Self {
        Self { name, pool, policy: Policy::RoundRobin, limits: Limits::default() }
    }
}

enum End {
    Interrupted,
    Refused(String),
    Deregistered,
}

/// Tells the service facts, from any thread; false if the node is gone.
pub struct Tell<S: Service>(Line<PoolElement<S>>);

impl<S: Service> Clone for Tell<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: Service + 'static> Tell<S>
where
    S::Fact: Send,
{
    /// Tells one fact.
    pub fn tell(&self, fact: S::Fact) -> bool {
        self.0.post(move |node, now| node.inform(now, fact))
    }
}

/// Serves until it is interrupted or refused. `backstage` carries out wishes in a thread of its own until there are no
/// more; `farewell` is the service's last word before its sessions end.
pub fn run<S, B, F>(
    args: &ServeArgs,
    plan: Plan,
    service: S,
    backstage: B,
    farewell: F,
) -> Result<(), Failure>
where
    S: Service + Send + 'static,
    S::Wish: Send + 'static,
    S::Fact: Send + 'static,
    B: FnOnce(Receiver<S::Wish>, Tell<S>) + Send + 'static,
    F: FnOnce(&mut PoolElement<S>, Time) + Send + 'static,
{
    let choice = Choice::of(&args.registrars)?;
    let at = listen_address(args, &choice)?;
    let (end, ended) = mpsc::channel();
    let interrupt = end.clone();
    crate::signals::on_interrupt(move || {
        let _ = interrupt.send(End::Interrupted);
    })?;

    let mut random = process::random();
    let id = ElementId(args.id.unwrap_or_else(|| random.nonzero_u32()));
    let net = sockets(args, &plan, &at, id);
    let policy = args.policy.clone().unwrap_or_else(|| plan.policy.clone());
    let timing = Timing::of(args.registrars.profile);
    let (wishes, wished) = mpsc::channel();
    let (pool, name, verbose, tcp) = (plan.pool, plan.name, args.verbose, args.tcp);
    let choice_text = choice.display();
    let make = move |bound: &rserpool_net::Bound| {
        let serving = bound.service.first().cloned().expect("an element asks for a service door");
        let registrars = choice.targets.iter().map(|target| target.endpoint(Protocol::Sctp)).collect();
        let config = Config {
            id: Some(id),
            timing,
            ..Config::new(pool, policy, user_transport(&serving, tcp), registrars)
        };
        let log = Log {
            name,
            pool,
            id,
            serving,
            choice: choice_text,
            verbose,
            said: false,
            complained: false,
            end,
            wishes,
        };
        (PoolElement::new(config, service, random), log)
    };
    let running = rserpool_net::spawn(name, net, make).map_err(|error| cannot_bind(&error))?;
    let line = Line::new(running.handle.clone());
    let tell = Tell(line.clone());
    if let Some(serving) = running.bound.service.first().cloned() {
        let (line, verbose) = (line.clone(), args.verbose);
        address::watch(at.addresses, serving.addresses.clone(), move |addresses| {
            if verbose {
                say(address::changed(&addresses));
            }
            let serving = Endpoint { addresses, ..serving.clone() };
            line.post(move |node, now| node.readdress(now, user_transport(&serving, tcp)))
        })?;
    }
    std::thread::Builder::new()
        .name("backstage".into())
        .spawn(move || backstage(wished, tell))
        .map_err(|cause| Failure::new(Code::Failed, format!("cannot start a thread: {cause}")))?;

    if let Ok(End::Refused(why)) = ended.recv() {
        return Err(Failure::new(Code::Failed, why));
    }
    // Leaving politely: the pool hears of it before the sessions end, so nobody is sent here any more.
    let leaves = running.handle.post_blocking(|node, now| {
        node.deregister(now);
        farewell(node, now);
    });
    if leaves.is_ok() {
        while let Ok(end) = ended.recv_timeout(Duration::from_secs(1)) {
            if matches!(end, End::Deregistered) {
                break;
            }
        }
    }
    // Over UDP nobody but us can tell the users that their sessions are over.
    line.cut();
    running.stop();
    Ok(())
}

fn user_transport(serving: &Endpoint, tcp: bool) -> Transport {
    let transport_use = TransportUse::DataAndControl;
    if tcp {
        let address = serving.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into());
        Transport::Tcp { port: serving.port, transport_use, address }
    } else {
        Transport::Sctp { port: serving.port, transport_use, addresses: serving.addresses.clone() }
    }
}

/// Where sessions are accepted.
fn listen_address(args: &ServeArgs, choice: &Choice) -> Result<At, Failure> {
    if args.registrars.sctp == Sctp::Off {
        let message = "--sctp off: these services register over SCTP; use auto, kernel or udp";
        return Err(Failure::new(Code::Usage, message));
    }
    address::serving(args.listen.as_deref(), choice, "element")
}

fn sockets(args: &ServeArgs, plan: &Plan, at: &At, id: ElementId) -> rserpool_net::Config {
    let asap = At { port: 0, ..at.clone() };
    let mut net = rserpool_net::Config::element(at.clone(), asap);
    net.service = if args.tcp { DoorAt::tcp(at.clone()) } else { DoorAt::sctp(at.clone()) };
    net.stack = args.registrars.sctp.stack();
    net.paths = args.verbose.then(process::say_paths);
    net.identity = Identity { role: Role::Element, own: id.0, pool: Some(plan.pool) };
    net.multicast = args.registrars.discover.then(|| announcements(multicast_interface(at.first().ip())));
    net.limits = plan.limits;
    net
}

fn multicast_interface(ip: IpAddr) -> IpAddr {
    if ip.is_loopback() { Ipv4Addr::UNSPECIFIED.into() } else { ip }
}

/// Hears what the element tells: wishes go backstage, the rest to people.
struct Log<W> {
    name: &'static str,
    pool: PoolHandle,
    id: ElementId,
    serving: Endpoint,
    choice: String,
    verbose: bool,
    said: bool,
    complained: bool,
    end: Sender<End>,
    wishes: Sender<W>,
}

impl<S: Service> rserpool_net::App<PoolElement<S>> for Log<S::Wish> {
    fn event(&mut self, _: &mut PoolElement<S>, now: Time, event: Event<S::Wish>) {
        let line = match event {
            // The backstage may have ended with the process.
            Event::Wish(wish) => return drop(self.wishes.send(wish)),
            Event::Registered { home } => {
                let home = home.map_or("its registrar".to_string(), |id| format!("registrar {id}"));
                if !self.said {
                    self.said = true;
                    let Self { name, id, pool, serving, .. } = self;
                    return say(format!("{name} {id} serves pool '{pool}' at {serving}, known to {home}"));
                }
                format!("registered at {home}")
            }
            Event::Refused { causes } => {
                let why = refusal(self.name, self.pool, &causes);
                return drop(self.end.send(End::Refused(why)));
            }
            Event::NoRegistrar { .. } if !self.said && !self.complained => {
                self.complained = true;
                let choice = &self.choice;
                return say(format!(
                    "no registrar answers at {choice}; still trying. Start one: rsp registrar"
                ));
            }
            Event::NoRegistrar { tried } => format!("no registrar answers ({tried} tried); still trying"),
            Event::HomeLost => "lost the registrar; looking for another one".into(),
            Event::Deregistered => return drop(self.end.send(End::Deregistered)),
            _ => return,
        };
        if self.verbose {
            say(format!("{now} {line}"));
        }
    }
}

/// Why the registrar does not want this element, and what to do about it.
fn refusal(name: &str, pool: PoolHandle, causes: &[ErrorCause]) -> String {
    let code = causes.first().map(|cause| cause.code);
    let (why, advice) = match code {
        Some(CauseCode::INCONSISTENT_POLICY) => (
            "the pool has another policy",
            "start it with --policy of the other elements (rsp pool show tells)",
        ),
        Some(CauseCode::INCONSISTENT_TRANSPORT | CauseCode::INCONSISTENT_DATA_CONTROL) => {
            ("the pool is served over another transport", "add or leave out --tcp, or choose another --pool")
        }
        Some(CauseCode::NON_UNIQUE_ELEMENT_ID) => ("another element has this identifier", "leave out --id"),
        Some(CauseCode::LACK_OF_RESOURCES) => ("the registrar is full", "use another --registrar"),
        Some(CauseCode::NO_USABLE_ASAP_ADDRESS | CauseCode::NO_USABLE_USER_ADDRESS) => (
            "the registrar does not accept its address",
            "use --listen with the address this machine has towards the registrar",
        ),
        _ => ("the registrar refused it", "see the registrar's log (rsp registrar --verbose)"),
    };
    let code = code.map_or(String::new(), |code| format!(" (cause 0x{:04x})", code.0));
    format!("this {name} element cannot join pool '{pool}': {why}{code}; {advice}")
}
