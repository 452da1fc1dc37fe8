//! A small world for tests: a job, workers and a registrar in one function, with ordered links, a hand-moved clock,
//! and workers that die, stop and come late. Job, users and elements are the real ones; the registrar only keeps a
//! list. (The simulated world of the project is `rserpool-sim`; this one knows tasks.)

use crate::cookie::Checkpoint;
use crate::fractal::TileRun;
use crate::item::{Digest, Form, Item};
use crate::job::{Backups, Config, Event, Job, TransferId};
use crate::protocol::{Attempt, Batch, CHUNK_MAX, Frame, JobId, PPID, Status, Stream, TaskId, VERSION};
use crate::resources::Resources;
use crate::service::{self, Fact, RunId, TaskService, Wish};
use crate::work::{Command, Placed, Work};
use rserpool::element::{self, PoolElement};
use rserpool::wire::asap::{Message, Resolution};
use rserpool::wire::parameter::{self, CauseCode, ErrorCause, Transport, TransportUse};
use rserpool::{
    Cause, Door, ElementId, Ending, Endpoint, Input, LinkId, Node, Output, Policy, PoolHandle, Ppid, Random,
    Time, user,
};
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Job,
    Registrar,
    Worker(usize),
}

/// Sees a message before it leaves and may change it; false: it never arrives.
pub type Tamper = dyn FnMut(&mut Vec<u8>) -> bool;

/// Something that is going to happen to somebody.
enum Coming {
    Input(Input),
    Fact(Fact),
    /// The run goes on computing.
    Step(RunId),
}

struct Wire {
    ends: [(Who, LinkId); 2],
    /// Nothing overtakes: when the last message in each direction arrives.
    last: [Time; 2],
}

/// A run of a worker's host.
struct Run {
    work: Work,
    tile: Option<TileRun>,
    /// Octets still to put out, and octets permitted.
    left: u64,
    permitted: u64,
    task: TaskId,
    /// Steps done, of a command that makes checkpoints.
    step: u8,
    /// The checkpoint that is being saved, and how much of it was told.
    saving: Option<(Item, u64)>,
    /// The first execution of its task.
    first: bool,
}

pub struct Worker {
    element: PoolElement<TaskService>,
    runs: BTreeMap<RunId, Run>,
    stopped: bool,
    /// What happened while it was stopped.
    held: VecDeque<Coming>,
    pub drained: bool,
    /// The files it has, or has in part.
    items: BTreeMap<Item, Vec<u8>>,
    pub full_disk: bool,
}

/// A result as the application has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    pub status: Status,
    pub output: Vec<u8>,
    pub worker: ElementId,
    pub number: u32,
}

pub struct World {
    pub now: Time,
    pub job: Job,
    pub workers: Vec<Option<Worker>>,
    registered: BTreeMap<ElementId, (parameter::PoolElement, LinkId)>,
    wires: Vec<Option<Wire>>,
    /// The wire and the end of it behind each link.
    ends: BTreeMap<(Who, LinkId), (usize, usize)>,
    coming: BTreeMap<(Time, u64), (Who, Coming)>,
    sequence: u64,
    random: Random,
    /// Messages take from a tenth of this up to all of it.
    pub delay: Duration,
    /// Everything the job told.
    pub events: Vec<Event>,
    spools: BTreeMap<Attempt, Vec<u8>>,
    pub results: BTreeMap<TaskId, Result>,
    pub failed: BTreeMap<TaskId, crate::job::Cause>,
    pub finished: bool,
    /// How often each step of a command with checkpoints was done.
    pub steps: BTreeMap<(TaskId, u8), u32>,
    saves: BTreeMap<TransferId, (Item, u64)>,
    /// The application cannot give this.
    pub lost_input: Option<Item>,
    /// The application's disk is slow: what is wanted lies here until the test reads it.
    pub reads: Option<Vec<(TransferId, Vec<u8>)>>,
    /// How often the registrar was asked who is there.
    pub resolutions: usize,
    /// For messages of the task protocol, in both directions.
    pub tamper: Option<Box<Tamper>>,
}

pub fn pool() -> PoolHandle {
    PoolHandle::new("compute").expect("legal")
}

fn registrar() -> Endpoint {
    Endpoint::tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 3863))
}

fn address(worker: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 1, worker as u8))
}

/// The element identifier of the worker with this number.
pub fn id(worker: usize) -> ElementId {
    ElementId(worker as u32 + 1)
}

pub fn spin(millis: u64) -> Work {
    Work::Spin(Duration::from_millis(millis))
}

/// `stuck`: does not end the first time; `big N`: puts N octets out; `steps N [large]`: so many steps, with a checkpoint
/// after each; `greedy`: uses too much memory; `exit C`: ends with this status; `forever`: does not end;
/// `poison`: kills its worker; `missing`: cannot start.
pub fn command(words: &str) -> Work {
    Command::new(words.split(' ')).into()
}

/// Files in this world consist of one octet, their digest too.
pub fn item(octet: u8, size: u64) -> Item {
    Item { digest: Digest([octet; 32]), size, form: Form::File }
}

fn content_of(item: Item) -> Vec<u8> {
    vec![item.digest.0[0]; item.size as usize]
}

/// `exit 0`, and it needs these.
pub fn needing(items: &[Item]) -> Work {
    let placed = |item: &Item| Placed { name: b"in".to_vec(), item: *item, own: false, executable: false };
    Command { inputs: items.iter().map(placed).collect(), ..Command::new(["exit", "0"]) }.into()
}

/// Resources as people write them.
pub fn these(all: &[&str]) -> Resources {
    let mut made = Resources::NONE;
    all.iter().for_each(|one| made.add(one).expect("legal"));
    made
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self::with(seed, |_| {})
    }

    pub fn with(seed: u64, change: impl FnOnce(&mut Config)) -> Self {
        let mut random = Random::from_seed(seed);
        let mut config = Config::new(user::Config::new(vec![registrar()]), pool(), JobId([1; 16]));
        config.backups = Backups::Never;
        change(&mut config);
        Self {
            now: Time::ZERO,
            job: Job::new(config, random.fork()),
            workers: Vec::new(),
            registered: BTreeMap::new(),
            wires: Vec::new(),
            ends: BTreeMap::new(),
            coming: BTreeMap::new(),
            sequence: 0,
            random,
            delay: Duration::from_micros(200),
            events: Vec::new(),
            spools: BTreeMap::new(),
            results: BTreeMap::new(),
            failed: BTreeMap::new(),
            finished: false,
            steps: BTreeMap::new(),
            saves: BTreeMap::new(),
            lost_input: None,
            reads: None,
            resolutions: 0,
            tamper: None,
        }
    }

    /// Starts a worker and returns its number.
    pub fn worker(&mut self, slots: u32) -> usize {
        self.worker_with(slots, &[])
    }

    /// Starts a worker that has more than slots.
    pub fn worker_with(&mut self, slots: u32, resources: &[&str]) -> usize {
        let number = self.workers.len();
        let transport = Transport::Tcp {
            port: 9000,
            transport_use: TransportUse::DataAndControl,
            address: address(number),
        };
        let config = element::Config {
            id: Some(id(number)),
            ..element::Config::new(pool(), Policy::RoundRobin, transport, vec![registrar()])
        };
        let name = format!("worker {number}");
        let service = TaskService::new(service::Config {
            slots,
            resources: these(resources),
            name,
            cache: 1 << 30,
            ..service::Config::default()
        });
        let element = PoolElement::new(config, service, self.random.fork());
        self.workers.push(Some(Worker {
            element,
            runs: BTreeMap::new(),
            stopped: false,
            held: VecDeque::new(),
            drained: false,
            items: BTreeMap::new(),
            full_disk: false,
        }));
        self.happen(Who::Worker(number), Coming::Input(Input::Wake));
        number
    }

    /// A worker dies; the others hear of it when its links are reset.
    pub fn kill(&mut self, worker: usize) {
        self.workers[worker] = None;
        self.coming.retain(|_, (who, _)| *who != Who::Worker(worker));
        for place in 0..self.wires.len() {
            let Some(wire) = &self.wires[place] else { continue };
            if let Some(end) = wire.ends.iter().position(|(who, _)| *who == Who::Worker(worker)) {
                self.cut(place, end, Cause::Lost);
            }
        }
    }

    /// A worker is stopped: its links stay, it says and hears nothing.
    pub fn stop(&mut self, worker: usize) {
        self.workers[worker].as_mut().expect("alive").stopped = true;
    }

    /// A stopped worker goes on: what happened meanwhile is told it first.
    pub fn go_on(&mut self, worker: usize) {
        let held = {
            let worker = self.workers[worker].as_mut().expect("alive");
            worker.stopped = false;
            std::mem::take(&mut worker.held)
        };
        for coming in held {
            self.tell(Who::Worker(worker), coming);
        }
        self.tell(Who::Worker(worker), Coming::Input(Input::Wake));
        // As its registrar would after a keep-alive is answered.
        self.call_worker(worker, |element, now| element.set_policy(now, Policy::RoundRobin));
    }

    pub fn drain(&mut self, worker: usize, patience: Duration) {
        let drain = |service: &mut TaskService, now, out: &mut _| service.drain(now, patience, out);
        self.call_worker(worker, |element, now| {
            element.with_service(now, |service, out| drain(service, now, out))
        });
    }

    /// Another job has so many of its slots, for so long.
    pub fn occupy(&mut self, worker: usize, slots: u64, millis: u64) {
        let link = LinkId::Theirs(u64::MAX - slots);
        let mut batch = Batch::default();
        batch.push(&Frame::Hello { version: VERSION, job: JobId([2; 16]) });
        for task in 0..slots {
            let attempt = Attempt { task: TaskId(task), number: 1 };
            let work = spin(millis).emit().expect("legal");
            batch.push(&Frame::Task { attempt, continues: 0, needs: Resources::NONE, work });
        }
        let peer = Endpoint::tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1)), 1));
        self.call_worker(worker, |element, now| {
            element.handle(now, Input::Accepted { link, door: Door::Service, peer });
            for bytes in batch.take() {
                element.handle(now, Input::Message { link, ppid: PPID, bytes });
            }
        });
        assert_eq!(self.service(worker).running() as u64, slots);
    }

    pub fn service(&self, worker: usize) -> &TaskService {
        self.workers[worker].as_ref().expect("alive").element.service()
    }

    pub fn submit(&mut self, task: u64, work: &Work) {
        self.job.submit(self.now, TaskId(task), work).expect("taken");
        self.drain_job();
    }

    pub fn submit_needing(&mut self, task: u64, work: &Work, needs: &[&str]) {
        let needs = these(needs);
        self.job.submit_needing(self.now, TaskId(task), work, 0, &needs).expect("taken");
        self.drain_job();
    }

    pub fn call<R>(&mut self, call: impl FnOnce(&mut Job, Time) -> R) -> R {
        let result = call(&mut self.job, self.now);
        self.drain_job();
        result
    }

    /// Runs until nothing but waiting is left at this moment, or the moment is reached.
    pub fn run_until(&mut self, millis: u64) {
        let end = Time::from_millis(millis);
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until the condition holds; a minute is long enough for everything.
    #[track_caller]
    pub fn run_until_that(&mut self, mut condition: impl FnMut(&Self) -> bool) {
        let end = self.now + Duration::from_secs(60);
        while !condition(self) {
            assert!(self.step(end), "it did not come true within a minute; counts: {:?}", self.job.counts());
        }
    }

    #[track_caller]
    pub fn run_to_the_end(&mut self) {
        self.call(Job::finish);
        self.run_until_that(|world| world.finished);
    }

    /// One thing happens. False if nothing does before `end`.
    fn step(&mut self, end: Time) -> bool {
        let first = self.coming.keys().next().map(|(at, _)| *at);
        let deadlines = self.workers.iter().enumerate().filter_map(|(number, worker)| {
            let worker = worker.as_ref().filter(|worker| !worker.stopped)?;
            worker.element.deadline().map(|at| (at, Who::Worker(number)))
        });
        let alarm = deadlines.chain(self.job.deadline().map(|at| (at, Who::Job))).min();
        let next = [first, alarm.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(at) = next.filter(|at| *at <= end) else { return false };
        self.now = self.now.max(at);
        // Mail before alarms.
        if first == Some(at) {
            let ((_, _), (who, coming)) = self.coming.pop_first().expect("seen above");
            self.tell(who, coming);
        } else if let Some((_, who)) = alarm {
            self.tell(who, Coming::Input(Input::Wake));
        }
        true
    }

    fn happen(&mut self, who: Who, coming: Coming) {
        self.happen_at(self.now, who, coming);
    }

    fn happen_at(&mut self, at: Time, who: Who, coming: Coming) {
        self.sequence += 1;
        self.coming.insert((at, self.sequence), (who, coming));
    }

    fn tell(&mut self, who: Who, coming: Coming) {
        match (who, coming) {
            (Who::Job, Coming::Input(input)) => {
                self.job.handle(self.now, input);
                self.drain_job();
            }
            (Who::Registrar, Coming::Input(input)) => self.registrar_hears(input),
            (Who::Worker(number), coming) => {
                let Some(worker) = &mut self.workers[number] else { return };
                if worker.stopped {
                    worker.held.push_back(coming);
                    return;
                }
                match coming {
                    Coming::Input(input) => {
                        self.call_worker(number, |element, now| element.handle(now, input))
                    }
                    Coming::Fact(fact) => self.call_worker(number, |element, now| element.inform(now, fact)),
                    Coming::Step(run) => self.compute(number, run),
                }
            }
            (Who::Job | Who::Registrar, _) => unreachable!("only workers compute"),
        }
    }

    // ----- links

    /// Sends something over a wire from one of its ends.
    fn carry(&mut self, place: usize, from: usize, input: impl FnOnce(LinkId) -> Input) {
        let jitter = self.random.below(self.delay.as_nanos() as u64 * 9 / 10);
        let delay = self.delay / 10 + Duration::from_nanos(jitter);
        let Some(wire) = &mut self.wires[place] else { return };
        let at = wire.last[from].max(self.now + delay);
        wire.last[from] = at;
        let (to, link) = wire.ends[1 - from];
        self.happen_at(at, to, Coming::Input(input(link)));
    }

    /// Ends a wire from one of its ends.
    fn cut(&mut self, place: usize, from: usize, cause: Cause) {
        self.carry(place, from, |link| Input::Closed { link, cause });
        let Some(wire) = self.wires[place].take() else { return };
        for end in wire.ends {
            self.ends.remove(&end);
        }
    }

    fn wire_of(&self, who: Who, link: LinkId) -> Option<(usize, usize)> {
        self.ends.get(&(who, link)).copied()
    }

    fn obey<E>(&mut self, who: Who, output: Output<E>) -> Option<E> {
        match output {
            Output::Open { link, door, to, .. } => self.open(who, link, door, &to),
            Output::Send { link, ppid, mut bytes } => {
                let arrives = ppid != crate::protocol::PPID
                    || self.tamper.as_mut().is_none_or(|tamper| tamper(&mut bytes));
                if let (Some((place, end)), true) = (self.wire_of(who, link), arrives) {
                    self.carry(place, end, |link| Input::Message { link, ppid, bytes });
                }
            }
            Output::Close { link, how } => {
                if let Some((place, end)) = self.wire_of(who, link) {
                    let cause = match how {
                        Ending::Graceful => Cause::Ended,
                        Ending::Abort => Cause::Aborted,
                    };
                    self.cut(place, end, cause);
                }
            }
            Output::Announce { .. } => {}
            Output::Event(event) => return Some(event),
        }
        None
    }

    fn open(&mut self, who: Who, link: LinkId, door: Door, to: &Endpoint) {
        let peer = match to.addresses[0] {
            at if at == registrar().addresses[0] => Some(Who::Registrar),
            at => (0..self.workers.len())
                .find(|worker| address(*worker) == at && self.workers[*worker].is_some())
                .map(Who::Worker),
        };
        let place = self.wires.len();
        let theirs = LinkId::Theirs(place as u64);
        let ends = [(who, link), (peer.unwrap_or(Who::Registrar), theirs)];
        self.wires.push(Some(Wire { ends, last: [Time::ZERO; 2] }));
        self.ends.insert(ends[0], (place, 0));
        self.ends.insert(ends[1], (place, 1));
        if peer.is_none() {
            self.cut(place, 1, Cause::Unreachable);
            return;
        }
        let from = Endpoint::tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), 5000));
        self.carry(place, 0, |link| Input::Accepted { link, door, peer: from });
        let to = to.clone();
        self.carry(place, 1, |link| Input::Opened { link, peer: to });
    }

    // ----- the registrar

    fn registrar_hears(&mut self, input: Input) {
        match input {
            Input::Message { link, ppid: Ppid::ASAP, bytes } => {
                let answer = match Message::parse(&bytes).expect("our own") {
                    Message::Registration { handle, element } => {
                        let id = element.id;
                        self.registered.insert(id, (element, link));
                        Message::RegistrationResponse { rejected: false, handle, element: id, causes: vec![] }
                    }
                    Message::Deregistration { handle, element } => {
                        self.registered.remove(&element);
                        Message::DeregistrationResponse { handle, element, causes: vec![] }
                    }
                    Message::HandleResolution { handle, .. } => {
                        self.resolutions += 1;
                        self.resolution(handle)
                    }
                    Message::EndpointUnreachable { element, .. } => {
                        self.registered.remove(&element);
                        return;
                    }
                    other => panic!("{other:?} is not in this play"),
                };
                if let Some((place, end)) = self.wire_of(Who::Registrar, link) {
                    let bytes = answer.emit();
                    self.carry(place, end, |link| Input::Message { link, ppid: Ppid::ASAP, bytes });
                }
            }
            Input::Closed { link, .. } => self.registered.retain(|_, (_, of)| *of != link),
            _ => {}
        }
    }

    fn resolution(&self, handle: PoolHandle) -> Message {
        let elements: Vec<_> = self.registered.values().map(|(element, _)| element.clone()).collect();
        let answer = if elements.is_empty() {
            let cause = ErrorCause { code: CauseCode::UNKNOWN_POOL_HANDLE, info: vec![] };
            Resolution::Failed { causes: vec![cause] }
        } else {
            Resolution::Elements { policy: Some(Policy::RoundRobin), elements }
        };
        Message::HandleResolutionResponse { accepted: false, handle, answer }
    }

    // ----- workers and their hosts

    fn call_worker<R>(&mut self, number: usize, call: impl FnOnce(&mut PoolElement<TaskService>, Time) -> R) {
        let Some(worker) = &mut self.workers[number] else { return };
        call(&mut worker.element, self.now);
        while let Some(worker) = &mut self.workers[number]
            && let Some(output) = worker.element.poll()
        {
            if let Some(element::Event::Wish(wish)) = self.obey(Who::Worker(number), output) {
                self.grant(number, wish);
            }
        }
        if let Some(worker) = &self.workers[number] {
            worker.element.service().check();
        }
    }

    fn grant(&mut self, number: usize, wish: Wish) {
        let who = Who::Worker(number);
        let Some(worker) = &mut self.workers[number] else { return };
        match wish {
            Wish::Start { run, attempt, work, checkpoint, window, .. } => {
                let tile = match &work {
                    Work::Tile { rect, .. } => Some(match checkpoint {
                        Some(ref state) => TileRun::resume(*rect, state).expect("checked by the service"),
                        None => TileRun::new(*rect),
                    }),
                    _ => None,
                };
                for item in work.needs() {
                    assert_eq!(worker.items.get(&item), Some(&content_of(item)), "a task starts without");
                }
                let step = match checkpoint.filter(|_| tile.is_none()).map(|state| Checkpoint::parse(&state))
                {
                    None => 0,
                    Some(Some(Checkpoint::Inline(state))) => state[0],
                    Some(Some(Checkpoint::Kept(item))) => {
                        assert!(worker.items.contains_key(&item), "the checkpoint is there");
                        item.digest.0[0]
                    }
                    Some(None) => panic!("checked by the service"),
                };
                let task = attempt.task;
                let permitted = window.into();
                let first = attempt.number == 1;
                worker
                    .runs
                    .insert(run, Run { work, tile, left: 0, permitted, task, step, saving: None, first });
                self.begin(number, run);
            }
            Wish::Grant { run, octets } => {
                if let Some(held) = worker.runs.get_mut(&run) {
                    held.permitted += u64::from(octets);
                    self.put_out(number, run);
                }
            }
            Wish::Kill { run } => {
                if worker.runs.remove(&run).is_some() {
                    self.happen(who, Coming::Fact(Fact::Ended { run, status: Status::Signalled(9) }));
                }
            }
            Wish::Store { item, octets } => {
                let content = worker.items.entry(item).or_default();
                let length = octets.len() as u32;
                content.extend(octets);
                let fact = if (content.len() as u64) < item.size {
                    Fact::Stored { item, octets: length }
                } else if *content == content_of(item) && !worker.full_disk {
                    Fact::Arrived { item }
                } else {
                    Fact::NotStored { item, why: "it arrived damaged".into() }
                };
                self.happen(who, Coming::Fact(fact));
            }
            Wish::Evict { item } => drop(worker.items.remove(&item)),
            Wish::Send { run, octets } => {
                if let Some(held) = worker.runs.get_mut(&run)
                    && let Some((item, sent)) = &mut held.saving
                {
                    let octets = u64::from(octets).min(item.size - *sent);
                    *sent += octets;
                    let content = vec![item.digest.0[0]; octets as usize];
                    for octets in content.chunks(CHUNK_MAX).map(<[u8]>::to_vec) {
                        self.happen(who, Coming::Fact(Fact::Saving { run, octets }));
                    }
                }
            }
            Wish::Saved { run } => {
                if let Some(held) = worker.runs.get_mut(&run) {
                    held.saving = None;
                }
            }
            Wish::Drained => worker.drained = true,
            Wish::Draining { .. } => self.call_worker(number, |element, now| element.deregister(now)),
        }
    }

    fn begin(&mut self, number: usize, run: RunId) {
        let who = Who::Worker(number);
        let Some(held) = self.workers[number].as_mut().and_then(|worker| worker.runs.get_mut(&run)) else {
            return;
        };
        match &held.work {
            Work::Spin(span) => {
                let at = self.now + *span;
                self.happen_at(at, who, Coming::Step(run));
            }
            Work::Tile { .. } => self.happen_at(self.now + ROW, who, Coming::Step(run)),
            Work::Command(command) => {
                let words: Vec<_> =
                    command.arguments.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
                match words[0].as_str() {
                    "big" => {
                        held.left = words[1].parse().expect("a number");
                        self.put_out(number, run);
                    }
                    "exit" => {
                        let status = Status::Exited(words[1].parse().expect("a number"));
                        self.end(number, run, status);
                    }
                    "poison" => {
                        self.happen_at(self.now + ROW, who, Coming::Step(run));
                    }
                    "forever" => {}
                    "steps" => self.happen_at(self.now + STEP, who, Coming::Step(run)),
                    "stuck" if held.first => {}
                    "stuck" => self.end(number, run, Status::Exited(0)),
                    "greedy" => self.end(number, run, Status::OverMemory { limit: 1 << 20 }),
                    _ => self.end(number, run, Status::CouldNotStart("no such program".into())),
                }
            }
            other => panic!("{other:?} is the service's own business"),
        }
    }

    fn end(&mut self, number: usize, run: RunId, status: Status) {
        if let Some(worker) = &mut self.workers[number] {
            worker.runs.remove(&run);
            self.happen(Who::Worker(number), Coming::Fact(Fact::Ended { run, status }));
        }
    }

    fn compute(&mut self, number: usize, run: RunId) {
        let who = Who::Worker(number);
        let Some(held) = self.workers[number].as_mut().and_then(|worker| worker.runs.get_mut(&run)) else {
            return;
        };
        match (&held.work, &mut held.tile) {
            (Work::Tile { scene, .. }, Some(tile)) => match tile.next_row(scene) {
                Some(octets) => {
                    let state = tile.state().to_vec();
                    self.happen(who, Coming::Fact(Fact::Output { run, stream: Stream::OUTPUT, octets }));
                    self.happen(who, Coming::Fact(Fact::Checkpoint { run, state }));
                    self.happen_at(self.now + ROW, who, Coming::Step(run));
                }
                None => self.end(number, run, Status::Exited(0)),
            },
            (Work::Command(command), _) if command.arguments[0] == b"steps" => {
                let all: u8 =
                    std::str::from_utf8(&command.arguments[1]).expect("text").parse().expect("a number");
                let large = command.arguments.len() > 2;
                held.step += 1;
                let (step, task) = (held.step, held.task);
                *self.steps.entry((task, step)).or_default() += 1;
                if step == all {
                    return self.end(number, run, Status::Exited(0));
                }
                if !large {
                    let state = Checkpoint::Inline(vec![step]).emit();
                    self.happen(who, Coming::Fact(Fact::Checkpoint { run, state }));
                } else if held.saving.is_none() {
                    let item = item(step, 700_000);
                    held.saving = Some((item, 0));
                    self.happen(who, Coming::Fact(Fact::Large { run, item }));
                }
                self.happen_at(self.now + STEP, who, Coming::Step(run));
            }
            (Work::Command(_), _) => self.kill(number),
            _ => self.end(number, run, Status::Exited(0)),
        }
    }

    /// Puts out what is permitted of a big output: octets counting upwards.
    fn put_out(&mut self, number: usize, run: RunId) {
        let who = Who::Worker(number);
        let Some(held) = self.workers[number].as_mut().and_then(|worker| worker.runs.get_mut(&run)) else {
            return;
        };
        if !matches!(held.work, Work::Command(_)) {
            return;
        }
        let now = held.left.min(held.permitted);
        (held.left, held.permitted) = (held.left - now, held.permitted - now);
        let over = held.left == 0;
        if now > 0 {
            let octets = (0..now).map(|place| place as u8).collect();
            self.happen(who, Coming::Fact(Fact::Output { run, stream: Stream::OUTPUT, octets }));
        }
        if over {
            self.end(number, run, Status::Exited(0));
        }
    }

    // ----- the application

    fn drain_job(&mut self) {
        while let Some(output) = self.job.poll() {
            if let Some(event) = self.obey(Who::Job, output) {
                self.application_hears(&event);
                self.events.push(event);
            }
        }
        self.job.check();
    }

    /// Keeps output apart by execution, as told, and insists on being told everything once.
    fn application_hears(&mut self, event: &Event) {
        assert!(!self.finished, "{event:?} after the end");
        match event.clone() {
            Event::Started { attempt, .. } => drop(self.spools.entry(attempt).or_default()),
            Event::Chunk { attempt, octets, .. } => {
                self.spools.get_mut(&attempt).expect("started").extend(octets)
            }
            Event::Continued { attempt, of, octets } => {
                let before = self.spools.remove(&Attempt { number: of, ..attempt }).expect("kept");
                assert!(before.len() as u64 >= octets);
                self.spools.insert(attempt, before[..octets as usize].to_vec());
            }
            Event::Dropped { attempt } => {
                self.spools.remove(&attempt).expect("started");
            }
            Event::Accepted { attempt, worker, status, octets } => {
                let output = self.spools.remove(&attempt).expect("started");
                assert_eq!(output.len() as u64, octets);
                let result = Result { status, output, worker, number: attempt.number };
                assert_eq!(self.results.insert(attempt.task, result), None, "J2: accepted twice");
            }
            Event::Wanted { transfer, item, offset, octets } => {
                assert!(offset + u64::from(octets) <= item.size);
                let (now, read) = (self.now, vec![item.digest.0[0]; octets as usize]);
                match (self.lost_input, &mut self.reads) {
                    (Some(lost), _) if lost == item => {
                        self.job.cannot_provide(now, item, "input 'x' changed")
                    }
                    (_, Some(reads)) => reads.push((transfer, read)),
                    _ => self.job.provide(now, transfer, read),
                }
            }
            Event::Save { transfer, item, .. } => drop(self.saves.insert(transfer, (item, 0))),
            Event::SavePart { transfer, octets } => {
                let (item, received) = self.saves.get_mut(&transfer).expect("announced");
                assert!(octets.iter().all(|octet| *octet == item.digest.0[0]));
                *received += octets.len() as u64;
                let (now, done) = (self.now, *received == item.size);
                self.job.kept(now, transfer, octets.len() as u32);
                if done {
                    self.job.saved(now, transfer);
                }
            }
            Event::Failed { task, cause } => {
                assert_eq!(self.failed.insert(task, cause), None);
            }
            Event::Finished(_) => {
                assert!(self.spools.is_empty(), "neither accepted nor dropped: {:?}", self.spools.keys());
                self.finished = true;
            }
            _ => {}
        }
    }
}

/// How long a step of a command with checkpoints takes: longer than the service waits before it gives a cookie away.
const STEP: Duration = Duration::from_millis(150);

/// How long a row of a tile takes.
const ROW: Duration = Duration::from_millis(1);
