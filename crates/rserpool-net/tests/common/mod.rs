//! A node that only reports and obeys, and what a test needs to watch it: every wait ends as soon as the fact is
//! there, and fails the test after [`PATIENCE`].
#![allow(dead_code)]

use rserpool::{
    Cause, Door, Ending, Endpoint, Greeting, Input, LinkId, Node, Outbox, Output, Ppid, Protocol, Time,
};
use rserpool_net::{Bound, Config, Counters, DoorAt, Handle, Ports, Stack, config, drive};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a test waits for something that must happen. Only a failing test ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the test every fact, and wishes what the test wants.
pub struct Probe {
    pub outbox: Outbox<Input>,
    /// Sends every message back.
    pub echoes: bool,
    /// When it wants to be woken.
    pub deadline: Option<Time>,
}

impl Node for Probe {
    type Event = Input;
    fn handle(&mut self, _now: Time, input: Input) {
        if let (true, Input::Message { link, ppid, bytes }) = (self.echoes, &input) {
            return self.outbox.send(*link, *ppid, bytes.clone());
        }
        match input {
            // Nothing here has patience.
            Input::Deaf { .. } => return,
            Input::Wake => self.deadline = None,
            _ => {}
        }
        self.outbox.event(input);
    }
    fn poll(&mut self) -> Option<Output<Input>> {
        self.outbox.take()
    }
    fn deadline(&self) -> Option<Time> {
        self.deadline
    }
}

/// A probe in a thread of its own.
pub type Actor = Living<Probe>;

/// A node in a thread of its own, which may end in good order or vanish.
pub struct Living<N: Node> {
    pub handle: Handle<N>,
    pub bound: Bound,
    pub counters: Counters,
    facts: Receiver<N::Event>,
    kill: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What carries the links of a test, from the side that opens them to the side that accepts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    Tcp,
    SctpOverUdp,
    /// The kernel's SCTP.
    Kernel,
    /// SCTP over UDP, to the kernel's that takes it out of UDP.
    UdpToKernel,
    /// The kernel's SCTP that puts it into UDP, to SCTP over UDP.
    KernelToUdp,
}

impl Over {
    pub fn protocol(self) -> Protocol {
        if self == Self::Tcp { Protocol::Tcp } else { Protocol::Sctp }
    }

    pub fn opener(self) -> Config {
        self.config(matches!(self, Self::Kernel | Self::KernelToUdp))
    }

    pub fn acceptor(self) -> Config {
        self.config(self.kernel_accepts())
    }

    pub fn kernel_accepts(self) -> bool {
        matches!(self, Self::Kernel | Self::UdpToKernel)
    }

    fn config(self, kernel: bool) -> Config {
        if matches!(self, Self::UdpToKernel | Self::KernelToUdp) {
            encapsulate();
        }
        Config { stack: if kernel { Stack::Kernel } else { Stack::Udp }, ..config(self.protocol()) }
    }
}

/// Has the kernel take SCTP out of UDP, for this guest.
fn encapsulate() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::fs::write("/proc/sys/net/sctp/udp_port", "9899").expect("root in a guest may say so");
    });
}

/// All doors at loopback, over this protocol; SCTP over UDP.
pub fn config(protocol: Protocol) -> Config {
    let at = DoorAt {
        at: Some(config::loopback().into()),
        tcp: protocol == Protocol::Tcp,
        sctp: protocol == Protocol::Sctp,
    };
    Config { stack: Stack::Udp, asap: at.clone(), service: at, ..Config::user(rserpool::Role::Element) }
}

impl<N: Node + 'static> Living<N>
where
    N::Event: Send + std::fmt::Debug,
{
    /// Gives life to the node that `make` makes, once it is known where it listens.
    pub fn with(config: Config, make: impl FnOnce(&Bound) -> N + Send + 'static) -> Self {
        let (handle, calls) = Handle::new();
        let (told, bound) = sync_channel(1);
        let (tell, facts) = channel();
        let (kill, killed) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                let (ports, bound) = Ports::open(&config).expect("ports on loopback");
                let node = make(&bound);
                told.send((bound, ports.counters())).expect("the test waits for it");
                let app = move |_: &mut N, _: Time, fact| drop(tell.send(fact));
                tokio::select! {
                    _ = drive(node, ports, calls, app) => {}
                    Ok(()) = killed => {}
                }
            });
        });
        let (bound, counters) = bound.recv().expect("the thread opens its ports");
        Self { handle, bound, counters, facts, kill: Some(kill), thread: Some(thread) }
    }

    /// The next event.
    pub fn hears(&self) -> N::Event {
        self.facts.recv_timeout(PATIENCE).expect("the next fact")
    }

    /// The next event, if it is there already.
    pub fn try_hears(&self) -> Result<N::Event, TryRecvError> {
        self.facts.try_recv()
    }

    /// What `wanted` makes of the first event it wants; others are passed over.
    pub fn hears_at_last<R>(&self, what: &str, mut wanted: impl FnMut(N::Event) -> Option<R>) -> R {
        let start = Instant::now();
        while let Ok(event) = self.facts.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            if let Some(found) = wanted(event) {
                return found;
            }
        }
        panic!("waited in vain: {what}");
    }

    /// Has something done in the node's thread.
    pub fn tell<R: Send + 'static>(&self, call: impl FnOnce(&mut N, Time) -> R + Send + 'static) -> R {
        self.handle.ask_blocking(call).expect("the node lives")
    }

    /// Ends in good order.
    pub fn stops(mut self) {
        let thread = self.thread.take().expect("started");
        let kill = self.kill.take();
        drop(self);
        thread.join().expect("ends in good order");
        drop(kill);
    }

    /// Vanishes without a word: its sockets are gone, nobody is told.
    pub fn vanishes(mut self) {
        let _ = self.kill.take().map(|kill| kill.send(()));
        self.thread.take().expect("started").join().expect("vanishes in good order");
    }
}

impl Actor {
    pub fn start(config: Config) -> Self {
        Self::with(config, |_| Probe { outbox: Outbox::default(), echoes: false, deadline: None })
    }

    /// Where its service door is.
    pub fn service(&self) -> Endpoint {
        self.bound.service[0].clone()
    }

    pub fn opens(&self, to: &Endpoint) -> LinkId {
        self.opens_saying(to, Greeting::default())
    }

    pub fn opens_saying(&self, to: &Endpoint, greeting: Greeting) -> LinkId {
        let to = to.clone();
        self.tell(move |probe, _| probe.outbox.open(Door::Service, to, greeting))
    }

    pub fn sends(&self, link: LinkId, ppid: Ppid, bytes: impl Into<Vec<u8>>) {
        let bytes = bytes.into();
        self.tell(move |probe, _| probe.outbox.send(link, ppid, bytes));
    }

    pub fn closes(&self, link: LinkId, how: Ending) {
        self.tell(move |probe, _| probe.outbox.close(link, how));
    }

    pub fn echoes(&self) {
        self.tell(|probe, _| probe.echoes = true);
    }

    pub fn hears_accepted(&self) -> LinkId {
        match self.hears() {
            Input::Accepted { link, .. } => link,
            other => panic!("expected Accepted, not {other:?}"),
        }
    }

    pub fn hears_opened(&self, link: LinkId) {
        match self.hears() {
            Input::Opened { link: heard, .. } if heard == link => {}
            other => panic!("expected Opened {link:?}, not {other:?}"),
        }
    }

    pub fn hears_message(&self, link: LinkId, ppid: Ppid, bytes: &[u8]) {
        match self.hears() {
            Input::Message { link: l, ppid: p, bytes: b } => {
                assert_eq!((l, p, b.len()), (link, ppid, bytes.len()));
                assert!(b == bytes, "octets changed on the way");
            }
            other => panic!("expected a message, not {other:?}"),
        }
    }

    pub fn hears_closed(&self, link: LinkId, cause: Cause) {
        assert_eq!(self.hears(), Input::Closed { link, cause });
    }

    /// Everything told so far has been heard. What has arrived at the sockets of this node is told first, because mail
    /// comes before alarms; what it wished for is on its way.
    pub fn hears_nothing_more(&self) {
        self.tell(|probe, now| probe.deadline = Some(now));
        assert_eq!(self.hears(), Input::Wake, "silence expected");
    }

    /// Nothing at all for a while; for ends of which nothing else tells that they have come.
    pub fn is_silent_for(&self, while_: Duration) {
        assert_eq!(self.facts.recv_timeout(while_), Err(RecvTimeoutError::Timeout));
    }

    /// Stands still until the sender is used or dropped.
    pub fn hangs(&self) -> Sender<()> {
        self.hangs_wanting(None)
    }

    /// Stands still, with an alarm that was due when it began.
    pub fn hangs_until_due(&self) -> Sender<()> {
        self.hangs_wanting(Some(()))
    }

    fn hangs_wanting(&self, alarm: Option<()>) -> Sender<()> {
        let (release, released) = channel();
        let (hanging, hangs) = channel();
        self.handle
            .post_blocking(move |probe, now| {
                probe.deadline = alarm.map(|()| now);
                hanging.send(()).expect("the test waits for it");
                let _ = released.recv();
            })
            .expect("the probe lives");
        hangs.recv().expect("it hangs");
        release
    }
}

/// Two probes and a link between them: the opener, its name for the link; the acceptor, its name.
pub fn pair(over: Over) -> (Actor, LinkId, Actor, LinkId) {
    pair_of(over.opener(), over.acceptor())
}

pub fn pair_of(opener: Config, acceptor: Config) -> (Actor, LinkId, Actor, LinkId) {
    let (a, b) = (Actor::start(opener), Actor::start(acceptor));
    let ours = a.opens(&b.service());
    let theirs = b.hears_accepted();
    a.hears_opened(ours);
    (a, ours, b, theirs)
}

/// Waits until `ready` holds; for counters, which nobody announces.
pub fn until(what: &str, ready: impl Fn() -> bool) {
    let start = Instant::now();
    while !ready() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

/// Octets that differ along the way, so that lost, doubled or swapped parts show.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut random = rserpool::Random::from_seed(seed);
    let mut octets = Vec::with_capacity(length + 8);
    while octets.len() < length {
        octets.extend_from_slice(&random.next_u64().to_le_bytes());
    }
    octets.truncate(length);
    octets
}
