//! `rsp worker`: a pool element that runs tasks.

mod checkpoints;
mod crew;
mod gather;
mod programs;
mod store;

use crate::address::{self, Choice};
use crate::cli::{Sctp, WorkerArgs};
use crate::client::announcements;
use crate::exit::{Code, Failure};
use crate::process::{self, cannot_bind, say};
use crate::status::{Reporting, Status};
use crew::{Orders, crew};
use rserpool::element::Service as _;
use rserpool::element::{Config, Event};
use rserpool::wire::csp::{ComponentId, Workload};
use rserpool::wire::parameter::{CauseCode, ErrorCause, Transport, TransportUse};
use rserpool::{ElementId, Endpoint, PoolElement, Ppid, Protocol, Role, Time, Timing};
use rserpool_compute::Resources;
use rserpool_compute::TaskService;
use rserpool_compute::service::{self, DrainFor, Wish};
use rserpool_net::{At, DoorAt, Identity};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// What the main thread hears.
enum End {
    /// A signal with this number.
    Signal(i32),
    /// The registrar does not want it.
    Refused(String),
    /// It takes no more tasks: so many are left, for so long at most.
    Draining(usize, Duration),
    /// No task is left.
    Drained,
    /// The pool does not name it any more.
    Deregistered,
}

/// How long to wait for the last words of processes and registrar when everything else is done: a process that cannot be
/// killed at the moment, and a registrar that is gone, must not keep a worker.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves until it has drained, on a signal or because it was asked to, or is refused.
pub fn run(args: &WorkerArgs) -> Result<(), Failure> {
    if args.private {
        process::end_with_parent();
    }
    let choice = Choice::of(&args.registrars)?;
    let at = address::serving(args.listen.as_deref(), &choice, "worker")?;
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
    let cache = args.cache_dir.clone().unwrap_or_else(|| scratch.join("cache"));
    let opened = store::Store::open(&cache);
    let (stores, shelf, store, here) = opened.map_err(|why| {
        let _ = std::fs::remove_dir_all(&scratch);
        Failure::new(Code::CannotWrite, why)
    })?;
    let (orders, crew) = crew(slots, scratch, args.private, (stores, shelf, store))
        .map_err(|cause| Failure::new(Code::Failed, format!("cannot start the keeper of tasks: {cause}")))?;
    // Not before: tasks get the limits that the keeper began with.
    process::allow_many_files();

    let (end, ended) = mpsc::channel();
    let signalled = end.clone();
    crate::signals::on_signal(move |signal| {
        let _ = signalled.send(End::Signal(signal));
    })?;

    let mut random = process::random();
    let id = ElementId(args.id.unwrap_or_else(|| random.nonzero_u32()));
    let net = sockets(args, &at, id);
    let patience = Duration::from_secs(args.drain_deadline);
    let resources = resources(args)?;
    let (status_args, verbose) = (args.status.clone(), args.verbose);
    let (args, choice_text) = (args.clone(), choice.display());
    let make = move |bound: &rserpool_net::Bound| {
        let serving = bound.service.first().cloned().expect("an element asks for a service door");
        let user_transport = user_transport(&serving);
        let protocol = if over_tcp(&args) { Protocol::Tcp } else { Protocol::Sctp };
        let registrars = choice.targets.iter().map(|target| target.endpoint(protocol)).collect();
        let config = Config {
            id: Some(id),
            asap_tcp: asap_over_tcp(&args, bound),
            timing: Timing::of(args.registrars.profile),
            ..Config::new(args.pool, args.policy.clone(), user_transport, registrars)
        };
        let tasks = service::Config {
            slots,
            resources: resources.clone(),
            drain_for: if args.allow_drain { DrainFor::Anyone } else { DrainFor::Loopback },
            name: worker_name(id),
            cache: args.cache,
            orphan_grace: std::time::Duration::from_secs(args.orphan_grace),
            ..service::Config::default()
        };
        let tasks = TaskService::with_items(tasks, here);
        let log = Log {
            args: args.clone(),
            choice: choice_text,
            id,
            serving,
            slots,
            resources,
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

    if let Some(serving) = running.bound.service.first().cloned() {
        let handle = running.handle.clone();
        address::watch(at.addresses, serving.addresses.clone(), move |addresses| {
            let serving = Endpoint { addresses, ..serving.clone() };
            if verbose {
                say(address::changed(&serving.addresses));
            }
            handle.post_blocking(move |node, now| node.readdress(now, user_transport(&serving))).is_ok()
        })?;
    }
    let asked = running.handle.clone();
    let status = move || asked.ask_blocking(|element, _| element_status(element)).ok();
    let _reporting =
        Reporting::begin(&status_args, ComponentId::element(id), &running.bound.service, status)?;
    serve_until_left(&ended, &running.handle, patience)
}

/// Waits until there is reason to leave, and leaves in good order: out of the pool first, sessions last.
fn serve_until_left(
    ended: &Receiver<End>,
    node: &rserpool_net::Handle<PoolElement<TaskService>>,
    patience: Duration,
) -> Result<(), Failure> {
    let drain = |patience| {
        let drain =
            move |service: &mut TaskService, now, replies: &mut _| service.drain(now, patience, replies);
        // A node that is gone has nothing to drain.
        let _ = node
            .post_blocking(move |node, now| node.with_service(now, |service, out| drain(service, now, out)));
    };
    let mut leaving = false;
    let (mut drained, mut deregistered) = (false, false);
    // When to go whatever is missing, once that is known.
    let mut last: Option<Instant> = None;
    while !(drained && deregistered) {
        let heard = match last {
            None => ended.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
            Some(last) => ended.recv_timeout(last.saturating_duration_since(Instant::now())),
        };
        match heard {
            Ok(End::Refused(why)) if !leaving => return Err(Failure::new(Code::Failed, why)),
            Ok(End::Signal(signal)) if signal == signal_hook::consts::SIGTERM && !leaving => drain(patience),
            Ok(End::Signal(_)) => {
                last = Some(Instant::now() + LAST_WORDS);
                drain(Duration::ZERO);
            }
            Ok(End::Draining(tasks, patience)) => {
                leaving = true;
                last = Instant::now().checked_add(patience.saturating_add(LAST_WORDS));
                if tasks > 0 && !patience.is_zero() {
                    say(format!(
                        "draining: no new tasks; {tasks} have up to {} s, then they run elsewhere (at once with another \
                         signal)",
                        patience.as_secs()
                    ));
                }
            }
            Ok(End::Drained) => {
                drained = true;
                last = Some(Instant::now() + LAST_WORDS);
            }
            Ok(End::Deregistered) => deregistered = true,
            Ok(End::Refused(_)) => {}
            Err(_) => break,
        }
    }
    // What was said last (cookies, the ends of sessions) leaves before the process does.
    let _ = node.ask_blocking(|_, _| ());
    Ok(())
}

/// What it says it has.
fn resources(args: &WorkerArgs) -> Result<Resources, Failure> {
    let mut resources = Resources::NONE;
    let amounts = args.resource.iter().map(|text| ("--resource", text.clone()));
    let tags = args.tag.iter().map(|tag| ("--tag", format!("tag:{tag}")));
    for (option, text) in amounts.chain(tags) {
        let wrong =
            |why| Failure::new(Code::Usage, format!("{option} {}: {why}", text.trim_start_matches("tag:")));
        resources.add(&text).map_err(wrong)?;
    }
    Ok(resources)
}

/// What a worker reports of itself, in the words of RSPLIB's elements.
fn element_status(element: &PoolElement<TaskService>) -> Status {
    let home = element.home();
    let sessions = element.session_count();
    let text = match (home, sessions) {
        (None, _) => "Looking for Registrar ...".to_string(),
        (Some(_), 1) => "1 Session".to_string(),
        (Some(_), count) => format!("{count} Sessions"),
    };
    let workload = Workload::from_load(element.service().load());
    let others = home.map(|id| (ComponentId::registrar(id), Ppid::ASAP)).into_iter().collect();
    Status { text, workload, others }
}

fn worker_name(id: ElementId) -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{id}@{host}")
}

/// Sessions come over TCP, which has one address.
fn user_transport(serving: &Endpoint) -> Transport {
    Transport::Tcp {
        port: serving.port,
        transport_use: TransportUse::DataAndControl,
        address: serving.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into()),
    }
}

fn sockets(args: &WorkerArgs, at: &At, id: ElementId) -> rserpool_net::Config {
    let asap = At { port: 0, ..at.clone() };
    let mut net = rserpool_net::Config::element(at.clone(), asap.clone());
    net.stack = args.registrars.sctp.stack();
    net.paths = args.verbose.then(process::say_paths);
    net.identity = Identity { role: Role::Element, own: id.0, pool: Some(args.pool) };
    if over_tcp(args) {
        net.asap = DoorAt::tcp(asap);
    }
    net.multicast = args.registrars.discover.then(|| announcements(at.first().ip()));
    net
}

/// The worker registers over TCP.
fn over_tcp(args: &WorkerArgs) -> bool {
    args.asap_tcp || args.registrars.sctp == Sctp::Off
}

fn asap_over_tcp(args: &WorkerArgs, bound: &rserpool_net::Bound) -> Option<SocketAddr> {
    let mut doors = bound.asap.iter().filter(|endpoint| endpoint.protocol == Protocol::Tcp);
    over_tcp(args).then(|| doors.next()?.socket_addresses().next()).flatten()
}

/// Hears what the element tells: wishes go to the crew, the rest to people.
struct Log {
    args: WorkerArgs,
    choice: String,
    id: ElementId,
    serving: Endpoint,
    slots: u32,
    resources: Resources,
    said: bool,
    complained: bool,
    end: Sender<End>,
    orders: Orders,
}

impl rserpool_net::App<PoolElement<TaskService>> for Log {
    fn event(&mut self, node: &mut PoolElement<TaskService>, now: Time, event: Event<Wish>) {
        let line = match event {
            Event::Wish(Wish::Draining { patience }) => {
                node.deregister(now);
                return drop(self.end.send(End::Draining(node.service().unsettled(), patience)));
            }
            Event::Wish(Wish::Drained) => return drop(self.end.send(End::Drained)),
            Event::Wish(wish) => return self.orders.obey(wish),
            Event::Registered { home } => {
                let home = home.map_or("its registrar".to_string(), |id| format!("registrar {id}"));
                if !self.said {
                    self.said = true;
                    let (id, pool, at) = (self.id, self.args.pool, &self.serving);
                    let slots = self.slots;
                    let more = match self.resources.is_empty() {
                        true => String::new(),
                        false => format!(" and {}", self.resources.display()),
                    };
                    return say(format!(
                        "worker {id} serves pool '{pool}' at {at} with {slots} slots{more}, known to {home}"
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
