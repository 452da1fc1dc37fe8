//! `rsp worker`: a pool element that runs tasks.

mod crew;
mod programs;

use crate::address::{self, Choice};
use crate::cli::WorkerArgs;
use crate::client::announcements;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_bind, say};
use crew::{Orders, crew};
use rserpool::element::{Config, Event};
use rserpool::wire::parameter::{CauseCode, ErrorCause, Transport, TransportUse};
use rserpool::{ElementId, Endpoint, PoolElement, Protocol, Role, Time, Timing};
use rserpool_compute::TaskService;
use rserpool_compute::service::{self, Wish};
use rserpool_net::{DoorAt, Identity, route_address_to};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};

/// Ends the worker: by an interrupt, or because it cannot go on.
enum End {
    Interrupted,
    Refused(String),
    Deregistered,
}

/// Serves until it is interrupted or refused.
pub fn run(args: &WorkerArgs) -> Result<(), Failure> {
    if args.private {
        process::end_with_parent();
    }
    let choice = Choice::of(&args.registrars)?;
    let at = listen_address(args, &choice)?;
    let slots = match args.slots {
        Some(slots) => slots,
        None => {
            std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1))
        }
    };
    let cannot =
        |cause| Failure::new(Code::CannotWrite, format!("cannot prepare a folder for tasks: {cause}"));
    // Kept: the keeper removes it, also when this process is killed.
    let scratch = tempfile::Builder::new().prefix("rsp-worker-").tempdir().map_err(cannot)?.keep();
    let (orders, crew) = crew(slots, scratch, args.private)
        .map_err(|cause| Failure::new(Code::Failed, format!("cannot start the keeper of tasks: {cause}")))?;

    let (end, ended) = mpsc::channel();
    let interrupt = end.clone();
    crate::signals::on_interrupt(move || {
        let _ = interrupt.send(End::Interrupted);
    })?;

    let mut random = process::random();
    let id = ElementId(args.id.unwrap_or_else(|| random.nonzero_u32()));
    let net = sockets(args, at, id);
    let (args, choice_text) = (args.clone(), choice.display());
    let make = move |bound: &rserpool_net::Bound| {
        let serving = bound.service.first().cloned().expect("an element asks for a service door");
        let user_transport = Transport::Tcp {
            port: serving.port,
            transport_use: TransportUse::DataAndControl,
            address: serving.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into()),
        };
        let protocol = if args.asap_tcp { Protocol::Tcp } else { Protocol::Sctp };
        let registrars = choice.targets.iter().map(|target| target.endpoint(protocol)).collect();
        let config = Config {
            id: Some(id),
            asap_tcp: asap_over_tcp(&args, bound),
            timing: Timing::of(args.registrars.profile),
            ..Config::new(args.pool, args.policy.clone(), user_transport, registrars)
        };
        let tasks =
            TaskService::new(service::Config { slots, name: worker_name(id), ..service::Config::default() });
        let log = Log {
            args: args.clone(),
            choice: choice_text,
            id,
            serving,
            slots,
            said: false,
            complained: false,
            end,
            orders,
        };
        (PoolElement::new(config, tasks, random), log)
    };
    let running = rserpool_net::spawn("worker", net, make).map_err(|error| cannot_bind(&error))?;
    let handle = running.handle.clone();
    let tell = move |facts: Vec<service::Fact>| {
        handle
            .post_blocking(move |node, now| facts.into_iter().for_each(|fact| node.inform(now, fact)))
            .is_ok()
    };
    crew.begin(Arc::new(tell)).map_err(|cause| {
        Failure::new(Code::Failed, format!("cannot start the threads that compute: {cause}"))
    })?;

    match ended.recv() {
        Ok(End::Refused(why)) => return Err(Failure::new(Code::Failed, why)),
        Ok(End::Interrupted) | Ok(End::Deregistered) | Err(_) => {}
    }
    // Leaving politely: the pool hears of it before the sessions end. Whoever has no registrar need not wait for one.
    if running.handle.post_blocking(|node, now| node.deregister(now)).is_ok() {
        while let Ok(end) = ended.recv_timeout(std::time::Duration::from_secs(1)) {
            if matches!(end, End::Deregistered) {
                break;
            }
        }
    }
    Ok(())
}

fn worker_name(id: ElementId) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{id}@{host}")
}

/// Where sessions are accepted: as asked for, else on loopback if the registrar is there too.
fn listen_address(args: &WorkerArgs, choice: &Choice) -> Result<SocketAddr, Failure> {
    if let Some(text) = &args.listen {
        let at = address::listen(text, 0, "--listen")?;
        if let Some(warning) = address::exposure(at, "--listen") {
            say(warning);
        }
        return Ok(at);
    }
    match choice.targets.iter().find(|target| !target.at.ip().is_loopback()) {
        None => Ok(SocketAddr::new(choice.targets[0].at.ip(), 0)),
        Some(far) => {
            let advice = match route_address_to(far.at) {
                Ok(ip) => format!("the way there leaves this machine at {ip}: add --listen {ip}"),
                Err(error) => format!("{error}; add --listen with an address that users can reach"),
            };
            let message = format!(
                "registrar {} is not on this machine, so users have to reach this worker by an address you choose; \
                 {advice}",
                far.at
            );
            Err(Failure::new(Code::Usage, message))
        }
    }
}

fn sockets(args: &WorkerArgs, at: SocketAddr, id: ElementId) -> rserpool_net::Config {
    let asap = SocketAddr::new(at.ip(), 0);
    let mut net = rserpool_net::Config::element(at, asap);
    net.identity = Identity { role: Role::Element, own: id.0, pool: Some(args.pool) };
    if args.asap_tcp {
        net.asap = DoorAt { at: Some(asap), tcp: true, sctp: false };
    }
    net.multicast = args.registrars.discover.then(|| announcements(at.ip()));
    net
}

fn asap_over_tcp(args: &WorkerArgs, bound: &rserpool_net::Bound) -> Option<SocketAddr> {
    let mut doors = bound.asap.iter().filter(|endpoint| endpoint.protocol == Protocol::Tcp);
    args.asap_tcp.then(|| doors.next()?.socket_addresses().next()).flatten()
}

/// Hears what the element tells: wishes go to the crew, the rest to people.
struct Log {
    args: WorkerArgs,
    choice: String,
    id: ElementId,
    serving: Endpoint,
    slots: u32,
    said: bool,
    complained: bool,
    end: Sender<End>,
    orders: Orders,
}

impl rserpool_net::App<PoolElement<TaskService>> for Log {
    fn event(&mut self, _: &mut PoolElement<TaskService>, now: Time, event: Event<Wish>) {
        let line = match event {
            Event::Wish(wish) => return self.orders.obey(wish),
            Event::Registered { home } => {
                let home = home.map_or("its registrar".to_string(), |id| format!("registrar {id}"));
                if !self.said {
                    self.said = true;
                    let (id, pool, at) = (self.id, self.args.pool, &self.serving);
                    let slots = self.slots;
                    return say(format!(
                        "worker {id} serves pool '{pool}' at {at} with {slots} slots, known to {home}"
                    ));
                }
                format!("registered at {home}")
            }
            Event::Refused { causes } => {
                let why = refusal(&self.args, &causes);
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
        if self.args.verbose {
            say(format!("{now} {line}"));
        }
    }
}

/// Why the registrar does not want this worker, and what to do about it.
fn refusal(args: &WorkerArgs, causes: &[ErrorCause]) -> String {
    let pool = args.pool;
    let code = causes.first().map(|cause| cause.code);
    let (why, advice) = match code {
        Some(CauseCode::INCONSISTENT_POLICY) => (
            "the pool has another policy",
            "start it with --policy of the other workers (rsp pool show tells)",
        ),
        Some(CauseCode::INCONSISTENT_TRANSPORT | CauseCode::INCONSISTENT_DATA_CONTROL) => {
            ("the pool is served over another transport", "choose another --pool")
        }
        Some(CauseCode::NON_UNIQUE_ELEMENT_ID) => ("another worker has this identifier", "leave out --id"),
        Some(CauseCode::LACK_OF_RESOURCES) => ("the registrar is full", "use another --registrar"),
        Some(CauseCode::NO_USABLE_ASAP_ADDRESS | CauseCode::NO_USABLE_USER_ADDRESS) => (
            "the registrar does not accept its address",
            "use --listen with the address this machine has towards the registrar",
        ),
        _ => ("the registrar refused it", "see the registrar's log (rsp registrar --verbose)"),
    };
    let code = code.map_or(String::new(), |code| format!(" (cause 0x{:04x})", code.0));
    format!("this worker cannot join pool '{pool}': {why}{code}; {advice}")
}
