//! A worker: a pool element that calls functions.

use super::crew::{Crew, Erased, erased};
use super::{Error, Function, addresses, endpoints, handle, listed};
use crate::{Config, Handle, Identity, Running, clock, route_address_to};
use rserpool::element::{self, Event};
use rserpool::wire::parameter::{Transport, TransportUse};
use rserpool::{ElementId, Policy, PoolElement, Protocol, Role, Time, Timing};
use rserpool_compute::TaskService;
use rserpool_compute::service::{self, Fact, Wish};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// A worker to be: which pool, which functions, how many at a time.
pub struct Worker {
    pool: String,
    registrars: Vec<String>,
    listen: Option<String>,
    slots: Option<u32>,
    timing: Timing,
    patience: Duration,
    functions: BTreeMap<&'static str, Erased>,
}

impl Worker {
    /// A worker of this pool, for the registrar of this machine, with a slot per core.
    pub fn new(pool: &str) -> Self {
        Self {
            pool: pool.to_owned(),
            registrars: Vec::new(),
            listen: None,
            slots: None,
            timing: Timing::default(),
            patience: Duration::from_secs(10),
            functions: BTreeMap::new(),
        }
    }

    /// Registers at this registrar, `HOST` or `HOST:PORT`; may be said several times: if one dies, another is home.
    #[must_use]
    pub fn registrar(mut self, at: impl Into<String>) -> Self {
        self.registrars.push(at.into());
        self
    }

    /// Serves at this address of this machine, `HOST` or `HOST:PORT`. Without it: on loopback if the registrar is
    /// there, else at the address of the route to it.
    #[must_use]
    pub fn listen(mut self, at: impl Into<String>) -> Self {
        self.listen = Some(at.into());
        self
    }

    /// Calls so many functions at a time, at least one.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots.max(1));
        self
    }

    /// Uses these timers.
    #[must_use]
    pub fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// How long [`start`](Self::start) waits for a registrar: 10 seconds unless said otherwise.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Has this function. One of the same name replaces it.
    #[must_use]
    pub fn function<F: Function>(mut self, function: F) -> Self {
        self.functions.insert(F::NAME, erased(function));
        self
    }

    /// Serves from now on: returns when the registrar knows the worker.
    pub fn start(self) -> Result<Serving, Error> {
        if self.functions.is_empty() {
            return Err(Error::NoFunction);
        }
        let pool = handle(&self.pool)?;
        let named = if self.registrars.is_empty() { "127.0.0.1".into() } else { self.registrars.join(",") };
        let registrars = addresses(&named)?;
        let at = self.address(&registrars)?;
        let slots = self.slots.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
        });

        let (mut random, _) = clock::seeded();
        let id = ElementId(random.nonzero_u32());
        let mut net = Config::element(at, SocketAddr::new(at.ip(), 0));
        net.identity = Identity { role: Role::Element, own: id.0, pool: Some(pool) };
        let timing = self.timing;
        let known = endpoints(&registrars, Protocol::Sctp);
        let (told, news) = mpsc::channel();
        let crew = Arc::new(OnceLock::<Crew>::new());
        let orders = crew.clone();
        let running = crate::spawn("worker", net, move |bound| {
            let serving = bound.service.first().cloned().expect("an element asks for a service door");
            let transport = Transport::Tcp {
                port: serving.port,
                transport_use: TransportUse::DataAndControl,
                address: serving.addresses.first().copied().unwrap_or(Ipv4Addr::LOCALHOST.into()),
            };
            let config = element::Config {
                id: Some(id),
                timing,
                ..element::Config::new(
                    pool,
                    Policy::LeastUsed { load: rserpool::Load::IDLE },
                    transport,
                    known,
                )
            };
            let tasks = TaskService::new(service::Config {
                slots,
                name: id.to_string(),
                ..service::Config::default()
            });
            (PoolElement::new(config, tasks, random), Log { crew: orders, told })
        })?;
        // The node lives as long as somebody can call it; the crew, which it owns, must not keep it alive.
        let caller = Arc::new(Mutex::new(Some(running.handle.clone())));
        let theirs = caller.clone();
        let tell = move |facts: Vec<Fact>| {
            let handle = theirs.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let call = move |node: &mut PoolElement<TaskService>, now: Time| {
                facts.into_iter().for_each(|fact| node.inform(now, fact));
            };
            handle.is_some_and(|handle| handle.post_blocking(call).is_ok())
        };
        // Nobody knows the worker yet, so nothing was asked of it in the meantime.
        let _ = crew.set(Crew::start(slots, self.functions, Arc::new(tell)).map_err(Error::Thread)?);
        let serving = Serving { id, running: Some(running), caller, crew, news };
        serving.registered(self.patience, &registrars)?;
        Ok(serving)
    }

    fn address(&self, registrars: &[SocketAddr]) -> Result<SocketAddr, Error> {
        if let Some(text) = &self.listen {
            let has_port = text.parse::<SocketAddr>().is_ok()
                || text.rsplit_once(':').is_some() && text.parse::<IpAddr>().is_err();
            let mut at = addresses(text)?[0];
            if !has_port {
                at.set_port(0);
            }
            return Ok(at);
        }
        let ip = match registrars.iter().find(|at| !at.ip().is_loopback()) {
            Some(&far) => route_address_to(far)?,
            None => registrars[0].ip(),
        };
        Ok(SocketAddr::new(ip, 0))
    }
}

/// A worker that serves. Dropped, it leaves the pool; what its functions compute at that moment is computed elsewhere.
pub struct Serving {
    id: ElementId,
    running: Option<Running<PoolElement<TaskService>>>,
    /// The crew's way to the node.
    caller: Arc<Mutex<Option<Handle<PoolElement<TaskService>>>>>,
    crew: Arc<OnceLock<Crew>>,
    news: Receiver<News>,
}

impl Serving {
    /// Its identifier in the pool.
    pub fn id(&self) -> ElementId {
        self.id
    }

    /// Waits for ever, or until the registrars do not want this worker any more, or somebody on this machine has it
    /// drained (`rsp drain`).
    pub fn serve(self) -> Result<(), Error> {
        loop {
            match self.news.recv() {
                Ok(News::Refused(why)) => return Err(Error::Refused(why)),
                Ok(News::Drained) | Err(_) => return Ok(()),
                Ok(_) => {}
            }
        }
    }

    /// Leaves: finishes what it has begun and takes nothing more, for at most this long. What is left then is computed
    /// elsewhere.
    pub fn leave(self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let drained = move |node: &mut PoolElement<TaskService>, now: Time| {
            node.with_service(now, |tasks, replies| tasks.drain(now, deadline, replies));
        };
        let Some(running) = &self.running else { return };
        if running.handle.post_blocking(drained).is_err() {
            return;
        }
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            match self.news.recv_timeout(left) {
                Ok(News::Drained) | Err(_) => break,
                Ok(_) => {}
            }
        }
    }

    fn registered(&self, patience: Duration, registrars: &[SocketAddr]) -> Result<(), Error> {
        let end = Instant::now() + patience;
        loop {
            match self.news.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(News::Registered) => return Ok(()),
                Ok(News::Refused(why)) => return Err(Error::Refused(why)),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::NoRegistrar { tried: listed(registrars) });
                }
                Err(RecvTimeoutError::Disconnected) => return Err(crate::Error::Ended.into()),
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        // The pool hears of it before the sessions end. Whoever has no registrar need not wait for one.
        if running.handle.post_blocking(|node, now| node.deregister(now)).is_ok() {
            let end = Instant::now() + Duration::from_secs(1);
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                if matches!(self.news.recv_timeout(left), Ok(News::Deregistered) | Err(_)) {
                    break;
                }
            }
        }
        if let Some(crew) = self.crew.get() {
            crew.give_up();
        }
        *self.caller.lock().unwrap_or_else(PoisonError::into_inner) = None;
        running.stop();
    }
}

/// What the application above the node passes on.
enum News {
    Registered,
    Refused(String),
    Drained,
    Deregistered,
}

/// In the node's thread: wishes go to the crew, news to whoever waits.
struct Log {
    crew: Arc<OnceLock<Crew>>,
    told: Sender<News>,
}

impl crate::App<PoolElement<TaskService>> for Log {
    fn event(&mut self, node: &mut PoolElement<TaskService>, now: Time, event: Event<Wish>) {
        let news = match event {
            Event::Wish(Wish::Draining { .. }) => return node.deregister(now),
            Event::Wish(Wish::Drained) => News::Drained,
            Event::Wish(wish) => match self.crew.get() {
                Some(crew) => return crew.obey(wish),
                None => return,
            },
            Event::Registered { .. } => News::Registered,
            Event::Refused { causes } => {
                let causes: Vec<String> =
                    causes.iter().map(|cause| format!("cause 0x{:04x}", cause.code.0)).collect();
                News::Refused(causes.join(", "))
            }
            Event::Deregistered => News::Deregistered,
            _ => return,
        };
        // Whoever stopped waiting does not care.
        let _ = self.told.send(news);
    }
}
