//! Somebody who asks registrars about a pool, again and again, and notes every change of the answer; an element that stays
//! where it registered, whatever becomes of its registrar; and a user that is never told of more than the answer.

use crate::bare::IP;
use crate::costs::element;
use rserpool::wire::asap::{Message, Resolution};
use rserpool::{
    Door, ElementId, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, PoolHandle, PoolUser, Ppid,
    RegistrarId, Role, Time, user,
};
use rserpool_net::{Config, DoorAt, Running, spawn};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two questions to one registrar.
const PAUSE: Duration = Duration::from_millis(4);
/// How long a change is waited for.
const BOUND: Duration = Duration::from_secs(60);

/// The elements of the pool, each with its home; `None`: the registrar is gone.
pub type Seen = Option<Vec<(ElementId, RegistrarId)>>;

/// The identifiers of the elements.
pub fn ids(seen: &Seen) -> Vec<u32> {
    seen.iter().flatten().map(|(ElementId(id), _)| *id).collect()
}

/// A node that asks, or registers.
struct Asker {
    outbox: Outbox<(usize, Seen)>,
    links: Vec<LinkId>,
    handle: PoolHandle,
    /// To be registered at the first registrar instead of asking.
    registers: Option<u32>,
    next: Option<Time>,
}

impl Asker {
    fn say(&mut self, link: LinkId, message: &Message) {
        self.outbox.send(link, Ppid::ASAP, message.emit());
    }
}

impl Node for Asker {
    type Event = (usize, Seen);

    fn handle(&mut self, now: Time, input: Input) {
        match input {
            Input::Opened { link, .. } => {
                if let Some(id) = self.registers {
                    let handle = self.handle;
                    self.say(link, &Message::Registration { handle, element: element(id) });
                } else {
                    self.next = Some(now);
                }
            }
            Input::Message { link, bytes, .. } => match Message::parse(&bytes) {
                Ok(Message::EndpointKeepAlive { handle, element: Some(element), .. }) => {
                    self.say(link, &Message::EndpointKeepAliveAck { handle, element });
                }
                Ok(Message::RegistrationResponse { rejected, .. }) => {
                    assert!(!rejected, "nobody refuses it");
                    self.outbox.event((0, Some(Vec::new())));
                }
                Ok(Message::HandleResolutionResponse { answer, .. }) => {
                    let mut all = match answer {
                        Resolution::Elements { elements, .. } => {
                            elements.iter().map(|element| (element.id, element.home)).collect()
                        }
                        _ => Vec::new(),
                    };
                    all.sort();
                    if let Some(place) = self.links.iter().position(|one| *one == link) {
                        self.outbox.event((place, Some(all)));
                    }
                }
                _ => {}
            },
            Input::Closed { link, .. } => {
                if let Some(place) = self.links.iter().position(|one| *one == link) {
                    self.outbox.event((place, None));
                }
            }
            Input::Wake => {
                self.next = Some(now + PAUSE);
                for link in self.links.clone() {
                    let handle = self.handle;
                    self.say(link, &Message::HandleResolution { subscribe: false, handle, items: Some(16) });
                }
            }
            _ => {}
        }
    }

    fn poll(&mut self) -> Option<Output<(usize, Seen)>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        self.next
    }
}

fn start(
    pool: &str,
    registrars: &[u16],
    registers: Option<u32>,
) -> (Running<Asker>, Receiver<(Instant, usize, Seen)>) {
    let ip: IpAddr = IP.parse().expect("an address");
    let to: Vec<Endpoint> =
        registrars.iter().map(|&port| Endpoint::sctp(SocketAddr::new(ip, port))).collect();
    let handle = PoolHandle::new(pool).expect("short");
    let asap = DoorAt { at: Some(SocketAddr::new(ip, 0).into()), tcp: false, sctp: true };
    // Whoever registers is visited: by the registrar that takes it over.
    let role = if registers.is_some() { Role::Element } else { Role::User };
    let config = Config { asap, ..Config::user(role) };
    let (count, (told, news)) = (registrars.len(), channel());
    let running = spawn("watcher", config, move |_| {
        let mut outbox = Outbox::default();
        let links = to.into_iter().map(|to| outbox.open(Door::Asap, to, Greeting::default())).collect();
        let mut last: Vec<Option<Seen>> = vec![None; count];
        let tell = move |_: &mut Asker, _: Time, (place, seen): (usize, Seen)| {
            if last[place].as_ref() != Some(&seen) {
                last[place] = Some(seen.clone());
                let _ = told.send((Instant::now(), place, seen));
            }
        };
        (Asker { outbox, links, handle, registers, next: None }, tell)
    });
    (running.expect("a port is free"), news)
}

/// Asks so long as it lives.
pub struct Watcher {
    _running: Running<Asker>,
    news: Receiver<(Instant, usize, Seen)>,
    /// What each registrar said last.
    last: Vec<Seen>,
}

impl Watcher {
    /// Asks these registrars about this pool.
    pub fn start(pool: &str, registrars: &[u16]) -> Self {
        let (running, news) = start(pool, registrars, None);
        Self { _running: running, news, last: vec![Some(Vec::new()); registrars.len()] }
    }

    /// What each registrar said last, as far as it was waited for.
    pub fn last(&self) -> &[Seen] {
        &self.last
    }

    /// Waits until the answers are like this; gives the moment of the change that made them so.
    ///
    /// # Panics
    ///
    /// If that does not come in time.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&[Seen]) -> bool) -> Instant {
        let seen = self.within(BOUND, wanted);
        seen.unwrap_or_else(|| panic!("{what}: not seen; {:?}", self.last))
    }

    /// The same, if it comes within this time.
    pub fn within(&mut self, bound: Duration, wanted: impl Fn(&[Seen]) -> bool) -> Option<Instant> {
        let end = Instant::now() + bound;
        let mut at = Instant::now();
        while !wanted(&self.last) {
            let left = end.saturating_duration_since(Instant::now());
            let (moment, place, seen) = self.news.recv_timeout(left).ok()?;
            (at, self.last[place]) = (moment, seen);
        }
        Some(at)
    }
}

/// An element that answers keep-alives, and registers once.
pub struct Faithful {
    _running: Running<Asker>,
}

impl Faithful {
    /// Registers at this registrar.
    pub fn start(pool: &str, id: u32, registrar: u16) -> Self {
        let (running, news) = start(pool, &[registrar], Some(id));
        news.recv_timeout(BOUND).expect("an answer to the registration");
        Self { _running: running }
    }
}

/// A pool user of ours that knows two registrars and asks for one element after the other.
pub struct Asking {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Asking {
    /// Starts it, at the first of these registrars; returns once it has got an answer.
    pub fn start(pool: &str, registrars: [u16; 2]) -> Self {
        let ip: IpAddr = IP.parse().expect("an address");
        let at = registrars.map(|port| Endpoint::sctp(SocketAddr::new(ip, port)));
        let asap = DoorAt { at: Some(SocketAddr::new(ip, 0).into()), tcp: false, sctp: true };
        let config = Config { asap, ..Config::user(Role::User) };
        let (told, answers) = channel();
        let running = spawn("asking", config, move |_| {
            let user = PoolUser::new(user::Config::new(at.into()), rserpool_net::clock::seeded().0);
            let tell = move |_: &mut PoolUser, _: Time, event: user::Event| {
                if let user::Event::Resolved { result, .. } = event {
                    let _ = told.send((Instant::now(), result.is_ok()));
                }
            };
            (user, tell)
        });
        let running = running.expect("a port is free");
        let handle = PoolHandle::new(pool).expect("short");
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, (begun, begins)) = (stop.clone(), channel());
        let thread = std::thread::spawn(move || {
            let (mut last, mut longest) = (None::<Instant>, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                running
                    .handle
                    .post_blocking(move |user, now| _ = user.resolve(now, handle, 1))
                    .expect("it lives");
                let (at, good) = answers.recv_timeout(BOUND).expect("an answer");
                if good {
                    longest = longest.max(last.map_or(Duration::ZERO, |last| at - last));
                    last = Some(at);
                    let _ = begun.send(());
                }
                std::thread::sleep(PAUSE);
            }
            longest
        });
        begins.recv_timeout(BOUND).expect("an answer");
        Self { stop, thread }
    }

    /// Ends it: the longest time between two good answers, in seconds.
    pub fn longest_gap(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it does not panic").as_secs_f64()
    }
}
