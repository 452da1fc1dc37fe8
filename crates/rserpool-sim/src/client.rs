//! A client of the simulated compute pool: the real job engine, and an application that hands tasks in one by one and
//! keeps what comes of them.
//!
//! It has a job that ends with it, or one that outlives it ([`DurableJob`]) with its journal on a [disk](crate::disk): then
//! this is the world of that disk, too. What is written is there at once, and survives once a sync, which takes its time,
//! is over. A new process on the same disk goes on with the job.

use crate::disk::Shared;
use crate::errand::{Careless, Toil};
use crate::net::Hash;
use rserpool::{Input, Node, Output, Random, Time};
use rserpool_compute::durable::{self, DurableJob, File};
use rserpool_compute::job::{self, Event, SubmitError};
use rserpool_compute::journal::{self, Accepted, Entry, Reader, State};
use rserpool_compute::{Attempt, Job, JobId, Status, Stream, TaskId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// Octets that are worth a look by those who check, and not by those who read.
#[derive(Clone, PartialEq, Eq)]
pub struct Octets(pub Vec<u8>);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} octets, digest {:016x}", self.0.len(), digest(&self.0))
    }
}

/// An output: its length and its digest.
pub type Summary = (usize, u64);

/// What a client says.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A task was taken, or taken again by a client that goes on.
    Submitted {
        /// Of this job.
        job: JobId,
        /// Which.
        task: TaskId,
    },
    /// Output came. (A durable job keeps it to itself.)
    Chunk {
        /// Of this execution.
        attempt: Attempt,
        /// Where it belongs.
        stream: Stream,
        /// How much.
        octets: usize,
    },
    /// What the job says, output excepted.
    Job(Event),
    /// A result as the application has it.
    Result {
        /// Of this job.
        job: JobId,
        /// Of this task.
        task: TaskId,
        /// How it ended.
        status: Status,
        /// Its output.
        output: Summary,
    },
    /// A client goes on with the job of one that died.
    Recovered {
        /// The job.
        job: JobId,
        /// So much of its journal is good.
        good: usize,
        /// Tasks it knows to be over.
        over: Vec<TaskId>,
        /// Tasks it knows not to be over.
        open: Vec<TaskId>,
        /// Results that are there: their tasks, how they ended, their outputs; `None` if one cannot be read.
        results: Vec<(TaskId, Status, Option<Summary>)>,
    },
    /// It appended to its journal.
    Wrote(Octets),
    /// So much of a file is synced.
    Synced(File, usize),
    /// The disk failed it: the process ends.
    Stopped,
}

/// The digest of an output.
pub fn digest(octets: &[u8]) -> u64 {
    let mut hash = Hash::default();
    hash.bytes(octets);
    hash.0
}

enum Engine {
    Plain(Box<Job>),
    Durable(Box<DurableJob>, Shared),
}

/// A sync under way.
struct Sync {
    due: Time,
    file: File,
    length: usize,
    mark: u64,
}

/// A client, see the [module](self).
pub struct Client {
    engine: Engine,
    id: JobId,
    toil: Toil,
    /// Its tasks follow from this.
    seed: u64,
    random: Random,
    /// Tasks of a former life to be handed in again.
    again: VecDeque<TaskId>,
    /// Tasks handed in so far, in all lives.
    submitted: u64,
    next_submit: Option<Time>,
    started: bool,
    finished: bool,
    /// Output of executions that are not over.
    spools: BTreeMap<Attempt, Vec<u8>>,
    /// Tasks that are not over.
    open: BTreeSet<TaskId>,
    syncs: VecDeque<Sync>,
    wishes: VecDeque<Output<Said>>,
}

impl Client {
    /// A client with a job that ends with it, at work from its first fact on.
    pub fn new(config: job::Config, toil: Toil, seed: u64, mut random: Random) -> Self {
        let id = config.job;
        let engine = Engine::Plain(Box::new(Job::new(config, random.fork())));
        Self::with(engine, id, toil, seed, random)
    }

    /// A client whose job is on this disk, or is begun there.
    pub fn on(disk: Shared, mut config: job::Config, toil: Toil, seed: u64, mut random: Random) -> Self {
        let mut octets = disk.borrow().file(File::Journal).to_vec();
        if toil.careless == Some(Careless::ReadsTooLittle) {
            octets.pop();
        }
        let mut reader = Reader::default();
        reader.push(&octets);
        // A header that is not whole is one that was never synced: nothing was begun.
        let header = reader.header().ok().flatten().map(|(job, _)| job);
        let Some(job) = header else {
            disk.borrow_mut().cut(File::Journal, 0);
            disk.borrow_mut().cut(File::Outputs, 0);
            let id = config.job;
            let durable = DurableJob::begin(config, b"", 0, random.fork());
            return Self::with(Engine::Durable(Box::new(durable), disk), id, toil, seed, random);
        };
        let (mut state, mut tasks, mut accepted) = (State::default(), BTreeSet::new(), BTreeMap::new());
        while let Some(entry) = reader.entry().expect("what is sealed is understood") {
            match &entry {
                Entry::Task { task, .. } => drop(tasks.insert(*task)),
                Entry::Accepted(of) => drop(accepted.insert(of.attempt.task, of.clone())),
                _ => {}
            }
            state.apply(&entry);
        }
        let good = usize::try_from(reader.good()).expect("it is in memory");
        disk.borrow_mut().cut(File::Journal, good);
        let outputs = disk.borrow().file(File::Outputs).len() as u64;
        let open: Vec<TaskId> = tasks.iter().copied().filter(|task| !state.over.contains(*task)).collect();
        let results = accepted.into_values().map(|accepted| {
            let output = output_of(&disk, &accepted).map(|octets| (octets.len(), digest(&octets)));
            (accepted.attempt.task, accepted.status, output)
        });
        let recovered = Said::Recovered {
            job,
            good,
            over: state.over.iter().collect(),
            open: open.clone(),
            results: results.collect(),
        };
        config.job = job;
        let submitted = state.last.map_or(0, |last| last.0 + 1);
        let durable = DurableJob::resume(config, state, reader.writer(), outputs, 0, random.fork());
        let mut client = Self::with(Engine::Durable(Box::new(durable), disk), job, toil, seed, random);
        (client.again, client.submitted) = (open.into(), submitted);
        client.say(recovered);
        client
    }

    fn with(engine: Engine, id: JobId, toil: Toil, seed: u64, random: Random) -> Self {
        Self {
            engine,
            id,
            toil,
            seed,
            random,
            again: VecDeque::new(),
            submitted: 0,
            next_submit: None,
            started: false,
            finished: false,
            spools: BTreeMap::new(),
            open: BTreeSet::new(),
            syncs: VecDeque::new(),
            wishes: VecDeque::new(),
        }
    }

    /// Its job.
    pub fn job(&self) -> &Job {
        match &self.engine {
            Engine::Plain(job) => job,
            Engine::Durable(durable, _) => durable.job(),
        }
    }

    /// Its disk, if it has one.
    pub fn disk(&self) -> Option<&Shared> {
        match &self.engine {
            Engine::Plain(_) => None,
            Engine::Durable(_, disk) => Some(disk),
        }
    }

    /// The name of its job.
    pub fn id(&self) -> JobId {
        self.id
    }

    /// What its tasks follow from.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// True once every task is over.
    pub fn is_content(&self) -> bool {
        self.finished
    }

    /// Cancels one of the tasks that are not over.
    pub fn cancel_one(&mut self, now: Time) {
        let place = self.random.below(self.open.len().max(1) as u64) as usize;
        let Some(&task) = self.open.iter().nth(place) else { return };
        match &mut self.engine {
            Engine::Plain(job) => drop(job.cancel(now, task)),
            Engine::Durable(durable, _) => drop(durable.cancel(now, task)),
        }
        self.settle(now);
    }

    /// Hands in what was not over, then the next task, and sets the moment for the one after it.
    fn submit(&mut self, now: Time) {
        while let Some(&task) = self.again.front() {
            let Engine::Durable(durable, _) = &mut self.engine else { unreachable!("only they go on") };
            match durable.again(now, task, &self.toil.task(self.seed, task.0)) {
                Ok(()) => drop(self.again.pop_front()),
                Err(SubmitError::Full) => return self.settle(now),
                Err(error) => unreachable!("the client's own tasks are legal: {error}"),
            }
            self.taken(task);
        }
        while self.submitted < self.toil.tasks {
            let task = TaskId(self.submitted);
            let work = self.toil.task(self.seed, task.0);
            let taken = match &mut self.engine {
                Engine::Plain(job) => job.submit(now, task, &work),
                Engine::Durable(durable, _) => durable.submit(now, task, &task.0.to_be_bytes(), &work),
            };
            match taken {
                Ok(()) => {}
                // It says when there is room.
                Err(SubmitError::Full) => return self.settle(now),
                Err(SubmitError::Finished) => return,
                Err(error) => unreachable!("the client's own tasks are legal: {error}"),
            }
            self.submitted += 1;
            self.taken(task);
            if !self.toil.think.is_zero() {
                self.next_submit = Some(now + self.random.jittered(self.toil.think, 500));
                return self.settle(now);
            }
        }
        match &mut self.engine {
            Engine::Plain(job) => job.finish(now),
            Engine::Durable(durable, _) => durable.finish(now),
        }
        self.settle(now);
    }

    fn taken(&mut self, task: TaskId) {
        self.open.insert(task);
        self.say(Said::Submitted { job: self.id, task });
    }

    fn say(&mut self, said: Said) {
        self.wishes.push_back(Output::Event(said));
    }

    fn settle(&mut self, now: Time) {
        loop {
            let wish = match &mut self.engine {
                Engine::Plain(job) => {
                    job.poll().map(|wish| self.passed(wish, |client, event| client.hears(now, event)))
                }
                Engine::Durable(durable, _) => durable
                    .poll()
                    .map(|wish| self.passed(wish, |client, event| client.hears_durable(now, event))),
            };
            if wish.is_none() {
                break;
            }
        }
        match &self.engine {
            Engine::Plain(job) => job.check(),
            Engine::Durable(durable, _) => durable.check(),
        }
    }

    /// Passes a wish on, or hears an event.
    fn passed<E>(&mut self, wish: Output<E>, hear: impl FnOnce(&mut Self, E)) {
        self.wishes.push_back(match wish {
            Output::Event(event) => return hear(self, event),
            Output::Open { link, door, to, greeting } => Output::Open { link, door, to, greeting },
            Output::Send { link, ppid, bytes } => Output::Send { link, ppid, bytes },
            Output::Close { link, how } => Output::Close { link, how },
            Output::Announce { channel, bytes } => Output::Announce { channel, bytes },
        });
    }

    /// Keeps output apart by execution, as told, and insists on being told everything once.
    fn hears(&mut self, now: Time, event: Event) {
        assert!(!self.finished, "{event:?} after the end");
        if let Event::Chunk { attempt, stream, octets } = event {
            self.say(Said::Chunk { attempt, stream, octets: octets.len() });
            self.spools.get_mut(&attempt).expect("output comes after the start").extend(octets);
            return;
        }
        self.say(Said::Job(event.clone()));
        match event {
            Event::Started { attempt, .. } => drop(self.spools.entry(attempt).or_default()),
            Event::Continued { attempt, of, octets } => {
                let mut kept = self.spools.remove(&Attempt { number: of, ..attempt }).expect("it was kept");
                assert!(kept.len() as u64 >= octets, "{attempt} continues more than there is");
                kept.truncate(octets as usize);
                self.spools.insert(attempt, kept);
            }
            Event::Dropped { attempt } => drop(self.spools.remove(&attempt).expect("it had started")),
            Event::Accepted { attempt, status, octets, .. } => {
                let output = self.spools.remove(&attempt).expect("it had started");
                assert_eq!(output.len() as u64, octets, "{attempt} is as long as the job says");
                self.result(attempt.task, status, &output);
            }
            Event::Failed { task, .. } | Event::Cancelled { task } => drop(self.open.remove(&task)),
            Event::Room => self.next_submit = Some(now),
            Event::Finished(_) => self.finished = true,
            _ => {}
        }
    }

    fn result(&mut self, task: TaskId, status: Status, output: &[u8]) {
        self.open.remove(&task);
        let output = (output.len(), digest(output));
        self.say(Said::Result { job: self.id, task, status, output });
    }

    /// The same news in the words of the job inside, and what is for the disk.
    fn hears_durable(&mut self, now: Time, event: durable::Event) {
        assert!(!self.finished, "{event:?} after the end");
        match event {
            durable::Event::Disk(wish) => self.obey(now, wish),
            durable::Event::Job(event) => self.say(Said::Job(event)),
            durable::Event::Accepted(accepted) => {
                let Accepted { attempt, worker, ref status, ref output, .. } = *accepted;
                let (status, octets) = (status.clone(), output.octets());
                self.say(Said::Job(Event::Accepted { attempt, worker, status: status.clone(), octets }));
                let disk = self.disk().expect("a durable job has one").clone();
                let output = output_of(&disk, &accepted).expect("what was just written can be read");
                self.result(attempt.task, status, &output);
            }
            durable::Event::Failed { task, cause, .. } => {
                self.open.remove(&task);
                self.say(Said::Job(Event::Failed { task, cause }));
            }
            durable::Event::Cancelled { task } => {
                self.open.remove(&task);
                self.say(Said::Job(Event::Cancelled { task }));
            }
            durable::Event::Room => self.next_submit = Some(now),
            durable::Event::Finished(counts) => {
                self.finished = true;
                self.say(Said::Job(Event::Finished(counts)));
            }
            durable::Event::Stopped { .. } => {
                (self.next_submit, self.syncs) = (None, VecDeque::new());
                self.say(Said::Stopped);
            }
            other => unreachable!("nobody asked for {other:?}"),
        }
    }

    /// Carries out what is for the disk.
    fn obey(&mut self, now: Time, wish: durable::Wish) {
        let Engine::Durable(durable, disk) = &mut self.engine else { unreachable!("only they have one") };
        match wish {
            durable::Wish::Append { file, octets } => {
                // Of what does not fit some may be there all the same.
                if let Err(why) = disk.borrow_mut().append(file, &octets) {
                    durable.disk_failed(now, why);
                }
                if file == File::Journal {
                    self.say(Said::Wrote(Octets(octets)));
                }
            }
            durable::Wish::Sync { file, mark } => {
                let careless = match self.toil.careless {
                    Some(Careless::BelievesDisk) => true,
                    Some(Careless::SkipsOutputs) => file == File::Outputs,
                    _ => false,
                };
                if careless {
                    return durable.stored(now, mark);
                }
                let length = disk.borrow().file(file).len();
                let takes = disk.borrow().latency(&mut self.random);
                let due = self.syncs.back().map_or(now, |before| before.due.max(now)) + takes;
                self.syncs.push_back(Sync { due, file, length, mark });
            }
        }
    }

    /// A sync is over.
    fn synced(&mut self, now: Time, sync: Sync) {
        let Engine::Durable(durable, disk) = &mut self.engine else { unreachable!("only they have one") };
        disk.borrow_mut().sync(sync.file, sync.length);
        durable.stored(now, sync.mark);
        self.say(Said::Synced(sync.file, sync.length));
        self.settle(now);
    }

    fn engine_deadline(&self) -> Option<Time> {
        match &self.engine {
            Engine::Plain(job) => job.deadline(),
            Engine::Durable(durable, _) => durable.deadline(),
        }
    }
}

/// The output of a result, from its record or from where the record says; `None` if it is not there.
fn output_of(disk: &Shared, accepted: &Accepted) -> Option<Vec<u8>> {
    let disk = disk.borrow();
    let mut output = Vec::new();
    match &accepted.output {
        journal::Output::Here(pieces) => pieces.iter().for_each(|(_, octets)| output.extend(octets)),
        journal::Output::Elsewhere(blocks) => {
            for block in blocks {
                let (from, length) = (block.offset as usize, block.length as usize);
                let octets = disk.file(File::Outputs).get(from..from + length)?;
                block.pieces_of(octets)?.iter().for_each(|(_, octets)| output.extend(*octets));
            }
        }
    }
    Some(output)
}

impl Node for Client {
    type Event = Said;

    fn handle(&mut self, now: Time, input: Input) {
        if !std::mem::replace(&mut self.started, true) {
            self.submit(now);
        }
        let alarm = input == Input::Wake;
        if !alarm || self.engine_deadline().is_some_and(|due| due <= now) {
            match &mut self.engine {
                Engine::Plain(job) => job.handle(now, input),
                Engine::Durable(durable, _) => durable.handle(now, input),
            }
            self.settle(now);
        }
        if !alarm {
            return;
        }
        while let Some(sync) = self.syncs.pop_front_if(|sync| sync.due <= now) {
            self.synced(now, sync);
        }
        if self.next_submit.take_if(|due| *due <= now).is_some() {
            self.submit(now);
        }
    }

    fn poll(&mut self) -> Option<Output<Said>> {
        self.wishes.pop_front()
    }

    fn deadline(&self) -> Option<Time> {
        if !self.started {
            return Some(Time::ZERO);
        }
        let sync = self.syncs.front().map(|sync| sync.due);
        [self.engine_deadline(), self.next_submit, sync].into_iter().flatten().min()
    }
}
