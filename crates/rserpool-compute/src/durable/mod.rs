//! The client that outlives itself: a [`Job`] with a [`journal`].
//!
//! A [`DurableJob`] is a node like the job inside it. Its disk is part of its world: what is to be written is a wish among
//! the others, and that it was written is a fact.
//!
//! ```text
//!   application  -- submit(input, work), finish, printed -->  +------------+ -- Event::Disk(Append, Sync) --> disk
//!                <-- Accepted, Failed, Finished, Stopped ---  | DurableJob | <-- stored(mark), disk_failed -- (two files
//!   network      <------------- as any node --------------->  +------------+                                that grow)
//! ```
//!
//! **The order that makes it safe.** A task is handed to the job inside when the sync that contains its input is done; a
//! result is acknowledged to its worker, and told as [`Event::Accepted`], when the sync that contains its record is done.
//! Blocks of large outputs are synced before the record that names them is appended. While one sync of the journal is
//! under way, records gather; they go with the next (group commit), so there is never more than one. While tasks wait for
//! busy slots, nobody waits for a particular one of them: then records gather for [`GATHER`] in any case, or until there are
//! [`GATHER_MAX`] of them.
//!
//! **Worlds** carry the wishes of [`Event::Disk`] out in their order, tell [`stored`](DurableJob::stored) after each
//! `Sync`, and [`disk_failed`](DurableJob::disk_failed) at the first that fails. Octets appended but not synced may
//! survive a crash, in whole or in part, or not; what was synced always does, in both files. Before the first wish both
//! files have to exist, empty, in a way that survives.
//!
//! **Going on.** The next life reads the journal with a [`Reader`](journal::Reader) into a [`State`], cuts the file at
//! [`good`](journal::Reader::good), and makes the node with [`resume`](DurableJob::resume). Then it hands in
//! [`again`](DurableJob::again), upwards, every task of the journal that is not over, and goes on with
//! [`submit`](DurableJob::submit) and [`finish`](DurableJob::finish) as in the first life. All calls may be made at once.

mod events;
mod spool;
#[cfg(test)]
mod tests;

use crate::WireError;
use crate::item::Item;
use crate::job::{self, Counts, Job, SubmitError, TransferId};
use crate::journal::{self, Accepted, Entry, State, Writer};
use crate::protocol::{Attempt, Stream, TaskId};
use crate::work::Work;
pub use events::{Event, File, Wish};
use rserpool::{ElementId, Input, Node, Output, Random, Time};
use spool::{BLOCK, Spool};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Octets of outputs in memory, all executions together, before the longest go to the file.
const GATHERED_MAX: usize = 16 * 1024 * 1024;

/// How long inputs and results gather before they go to the disk, while tasks wait for busy slots.
const GATHER: Duration = Duration::from_millis(16);

/// As many go at once.
const GATHER_MAX: usize = 32;

/// A job that goes on after the death of its client. See the module.
pub struct DurableJob {
    job: Job,
    tasks_max: usize,
    octets_max: usize,
    now: Time,
    /// Attempts of former lives end here.
    attempts: u32,
    stage: Stage,
    /// The disk failed: nothing more is for it.
    failed: bool,
    /// `None`: there is no journal.
    writer: Option<Writer>,
    state: State,
    /// Tasks of former lives that are not over and were not handed in again yet.
    awaited: u64,
    /// Records that are not on their way to the disk, and what is to be done when they are stored.
    records: Vec<u8>,
    then: Vec<Then>,
    /// They should go as soon as possible; others go along with those.
    urgent: bool,
    /// They should go then at the latest.
    due: Option<Time>,
    /// The sync under way, and what waits for it.
    under_way: Option<(u64, Vec<Then>)>,
    mark: u64,
    /// How long the file of outputs is, and whether some of it is not on its way to be synced.
    outputs: (u64, bool),
    /// Tasks and octets of work in `then` and `under_way`.
    held: (usize, usize),
    /// Executions under way.
    spools: BTreeMap<Attempt, Spool>,
    gathered: usize,
    /// How often tasks that are not over began in this life.
    starts: BTreeMap<TaskId, u32>,
    /// Results whose other streams the application is making safe.
    keeping: BTreeMap<Attempt, Box<Accepted>>,
    refused_full: bool,
    wishes: VecDeque<Output<Event>>,
}

/// How far this life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    /// Everything that is not over is cancelled or given up for now; what is recorded still gets stored.
    Ending,
    /// The last event is told.
    Over,
}

/// What is to be done when records are stored.
#[derive(Debug)]
enum Then {
    Take {
        task: TaskId,
        work: Vec<u8>,
        items: Box<[Item]>,
        may_have_backup: bool,
    },
    Finish,
    /// Acknowledge a result, and tell of it.
    Accepted(Box<Accepted>),
    Tell(Event),
    /// Tell of it as the last event.
    End(Event),
}

impl DurableJob {
    /// A new job. `about`: what the application wants to find in the journal, at most
    /// [`ABOUT_MAX`](journal::ABOUT_MAX) octets. `time`: milliseconds since 1970.
    pub fn begin(config: job::Config, about: &[u8], time: u64, random: Random) -> Self {
        let (writer, header) = Writer::begin(config.job, about);
        let mut durable = Self::new(config, Some(writer), State::default(), 0, random);
        durable.records = header;
        durable.live(time);
        durable
    }

    /// A new job without a journal: it ends with its client, and there is nothing on the disk to wait for but outputs that are
    /// too long for a record.
    pub fn unrecorded(config: job::Config, random: Random) -> Self {
        Self::new(config, None, State::default(), 0, random)
    }

    /// Goes on with a job: the state its journal came to, a writer behind it, and the length of the file of outputs.
    pub fn resume(
        config: job::Config,
        state: State,
        writer: Writer,
        outputs: u64,
        time: u64,
        random: Random,
    ) -> Self {
        let mut durable = Self::new(config, Some(writer), state, outputs, random);
        // What a former life wrote and did not sync is believed now, so it has to be made safe first.
        durable.outputs.1 = true;
        durable.live(time);
        durable
    }

    fn new(config: job::Config, writer: Option<Writer>, state: State, outputs: u64, random: Random) -> Self {
        let (tasks_max, octets_max) = (config.tasks_max, config.octets_max);
        // What there is room for is decided here, where tasks wait for the disk as well.
        let inside = job::Config { tasks_max: usize::MAX, octets_max: usize::MAX, journal: true, ..config };
        Self {
            job: Job::new(inside, random),
            tasks_max,
            octets_max,
            now: Time::ZERO,
            attempts: state.attempts(),
            stage: Stage::Running,
            failed: false,
            writer,
            awaited: state.unfinished(),
            state,
            records: Vec::new(),
            then: Vec::new(),
            urgent: false,
            due: None,
            under_way: None,
            mark: 0,
            outputs: (outputs, false),
            held: (0, 0),
            spools: BTreeMap::new(),
            gathered: 0,
            starts: BTreeMap::new(),
            keeping: BTreeMap::new(),
            refused_full: false,
            wishes: VecDeque::new(),
        }
    }

    fn live(&mut self, time: u64) {
        self.record(&Entry::Life { time });
        self.urgent = true;
    }

    /// Takes a new task. Its number has to be above those of all tasks before, former lives included. `input` is what
    /// the application needs to make the same work again; at most [`CONTENT_MAX`](journal::CONTENT_MAX) octets.
    pub fn submit(&mut self, now: Time, task: TaskId, input: &[u8], work: &Work) -> Result<(), SubmitError> {
        self.now = now;
        if self.stage != Stage::Running || self.state.input_ended {
            return Err(SubmitError::Finished);
        }
        if let Some(last) = self.state.last.filter(|last| task <= *last) {
            return Err(SubmitError::NotIncreasing { last });
        }
        if input.len() > journal::CONTENT_MAX {
            let (found, limit) = (input.len() as u64, journal::CONTENT_MAX as u64);
            return Err(SubmitError::Work(WireError::TooLarge { offset: 0, what: "input", found, limit }));
        }
        let taken = self.taken(task, work)?;
        self.record(&Entry::Task { task, input: input.to_vec() });
        self.hold(taken);
        Ok(())
    }

    /// Takes a task of a former life again that is not over. Upwards, and before new ones.
    pub fn again(&mut self, now: Time, task: TaskId, work: &Work) -> Result<(), SubmitError> {
        self.now = now;
        if self.stage != Stage::Running {
            return Err(SubmitError::Finished);
        }
        debug_assert!(!self.state.over.contains(task), "task {task} is over");
        let taken = self.taken(task, work)?;
        self.awaited = self.awaited.saturating_sub(1);
        self.hold(taken);
        Ok(())
    }

    /// A task of a former life that is over is to be done once more: from now on it is one that is not, and has to be
    /// handed in [`again`](Self::again). False if it is not over.
    pub fn retry(&mut self, now: Time, task: TaskId) -> bool {
        self.now = now;
        if self.stage != Stage::Running || !self.state.over.contains(task) {
            return false;
        }
        self.record(&Entry::Retry { task });
        self.urgent = true;
        self.awaited += 1;
        true
    }

    /// No more tasks come, ever. [`Event::Finished`] follows when all are over.
    pub fn finish(&mut self, now: Time) {
        self.now = now;
        if self.stage == Stage::Running && !self.state.input_ended {
            self.record(&Entry::InputEnd);
            self.urgent = true;
        }
        self.pause(now);
    }

    /// No more tasks come in this life. [`Event::Finished`] follows when all are over; a later life may go on with more.
    pub fn pause(&mut self, now: Time) {
        self.now = now;
        if self.stage == Stage::Running {
            self.then(Then::Finish);
        }
    }

    /// Cancels a task. False if it is over, or was not handed in, or its input is still on its way to the disk.
    pub fn cancel(&mut self, now: Time, task: TaskId) -> bool {
        self.now = now;
        self.stage == Stage::Running && self.job.cancel(now, task)
    }

    /// Cancels the job: from now on nothing is started or accepted. [`Event::AllCancelled`] follows when that is in the
    /// journal.
    pub fn cancel_all(&mut self, now: Time) {
        self.end(now, Some(&Entry::CancelAll), Event::AllCancelled);
    }

    /// Stops working on the job for now: what runs is stopped; what was accepted gets stored. [`Event::Suspended`]
    /// follows.
    pub fn suspend(&mut self, now: Time) {
        self.end(now, None, Event::Suspended);
    }

    fn end(&mut self, now: Time, entry: Option<&Entry>, last: Event) {
        self.now = now;
        if self.stage != Stage::Running {
            return;
        }
        self.stage = Stage::Ending;
        self.job.cancel_all(now);
        for attempt in std::mem::take(&mut self.keeping).into_keys() {
            self.tell(Event::Job(job::Event::Dropped { attempt }));
        }
        if let Some(entry) = entry {
            self.record(entry);
        }
        self.then(Then::End(last));
    }

    /// The streams the application keeps of this execution are safe.
    pub fn kept(&mut self, now: Time, attempt: Attempt) {
        self.now = now;
        if let Some(accepted) = self.keeping.remove(&attempt) {
            self.accept(accepted);
        }
    }

    /// The job inside, for what has no part in the journal: items on their way ([`Job::provide`] and its kin).
    pub fn transfers(&mut self) -> Transfers<'_> {
        Transfers(&mut self.job)
    }

    /// So many of the first results and failures, in the order they were told and in all lives, reached their reader; the
    /// next life finds the number in [`State::printed`]. It is
    /// stored with the next record that has to be.
    pub fn printed(&mut self, now: Time, count: u64) {
        self.now = now;
        if count != self.state.printed && !self.failed {
            self.record(&Entry::Printed { count });
        }
    }

    /// Stores what is not yet, such as what was [`printed`](Self::printed). Answered by [`Event::Flushed`], also after
    /// [`Event::Finished`].
    pub fn flush(&mut self, now: Time) {
        self.now = now;
        self.then(Then::Tell(Event::Flushed));
    }

    /// The disk has carried out everything up to the `Sync` with this mark.
    pub fn stored(&mut self, now: Time, mark: u64) {
        self.now = now;
        let Some((_, then)) = self.under_way.take_if(|(of, _)| *of == mark) else { return };
        for next in then {
            self.proceed(next);
        }
    }

    /// The disk could not carry out a wish: `why`, for people. See [`Event::Stopped`].
    pub fn disk_failed(&mut self, now: Time, why: String) {
        self.now = now;
        if std::mem::replace(&mut self.failed, true) {
            return;
        }
        self.stage = Stage::Over;
        self.under_way = None;
        self.then.clear();
        self.job.leave(now);
        self.tell(Event::Stopped { why });
    }

    /// What the journal comes to when everything recorded is stored.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The job inside, to look at.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What happened in this life.
    pub fn counts(&self) -> Counts {
        self.job.counts()
    }

    /// Audits what has to hold between any two calls. Panics with what is wrong.
    pub fn check(&self) {
        self.job.check();
        if self.stage == Stage::Running {
            let unfinished = self.job.unfinished() + self.held.0 + self.keeping.len();
            assert_eq!(self.state.unfinished(), unfinished as u64 + self.awaited, "J1");
        }
        let gathered = self.spools.values().map(Spool::gathered).sum::<usize>();
        assert_eq!(gathered, self.gathered, "octets gathered");
    }

    // ----- tasks on their way in

    fn taken(&mut self, task: TaskId, work: &Work) -> Result<Then, SubmitError> {
        let (items, may_have_backup) = (work.needs().collect(), self.job.may_have_backup(work));
        let work = work.emit().map_err(SubmitError::Work)?;
        let tasks = self.job.unfinished() + self.held.0;
        let octets = self.job.work_octets() + self.held.1 + work.len();
        if tasks >= self.tasks_max || (tasks > 0 && octets > self.octets_max) {
            self.refused_full = true;
            return Err(SubmitError::Full);
        }
        Ok(Then::Take { task, work, items, may_have_backup })
    }

    fn hold(&mut self, taken: Then) {
        if let Then::Take { work, .. } = &taken {
            self.held = (self.held.0 + 1, self.held.1 + work.len());
        }
        self.then(taken);
    }

    fn room(&mut self) {
        let (tasks, octets) = (self.job.unfinished() + self.held.0, self.job.work_octets() + self.held.1);
        if self.refused_full && tasks <= self.tasks_max / 2 && octets <= self.octets_max / 2 {
            self.refused_full = false;
            self.tell(Event::Room);
        }
    }

    // ----- the disk

    fn tell(&mut self, event: Event) {
        self.wishes.push_back(Output::Event(event));
    }

    fn record(&mut self, entry: &Entry) {
        if let Some(writer) = &mut self.writer {
            writer.put(entry, &mut self.records);
        }
        self.state.apply(entry);
    }

    /// Does something when everything recorded so far is stored, and sees to it that it is.
    fn then(&mut self, next: Then) {
        if self.failed {
            return;
        }
        // Without a journal, outputs in their file are all there is to wait for.
        let unwritten = self.writer.is_none() && self.outputs.1;
        if self.records.is_empty() && self.under_way.is_none() && self.then.is_empty() && !unwritten {
            self.proceed(next);
        } else {
            match next {
                Then::Accepted(_) | Then::Take { .. } if self.writer.is_some() => {
                    self.due.get_or_insert(self.now + GATHER);
                }
                _ => self.urgent = true,
            }
            self.then.push(next);
        }
    }

    fn proceed(&mut self, next: Then) {
        match next {
            Then::Take { task, work, items, may_have_backup } => {
                self.held = (self.held.0 - 1, self.held.1 - work.len());
                if self.stage == Stage::Running {
                    let settled = self.state.settled.get(&task).copied().unwrap_or_default();
                    let attempts = (self.attempts, settled);
                    self.job.take(self.now, task, (work, items), may_have_backup, attempts);
                }
            }
            Then::Finish => self.job.finish(self.now),
            Then::Accepted(accepted) => {
                self.job.recorded(self.now, accepted.attempt);
                self.tell(Event::Accepted(accepted));
            }
            Then::Tell(event) => self.tell(event),
            Then::End(event) => {
                self.stage = Stage::Over;
                self.tell(event);
            }
        }
    }

    /// Sends what is recorded to the disk, unless it is busy with what was before. True if something was done that did not
    /// have to wait for it.
    fn commit(&mut self) -> bool {
        let is_busy = || self.job.queued() > 0 && self.job.idle_slots() == 0;
        let gathered = |due| due <= self.now || self.then.len() >= GATHER_MAX || !is_busy();
        let wanted = self.urgent || self.due.is_some_and(gathered);
        if !wanted || self.failed || self.under_way.is_some() {
            return false;
        }
        (self.urgent, self.due) = (false, None);
        let outputs = std::mem::take(&mut self.outputs.1);
        if outputs {
            self.sync(File::Outputs);
        }
        if !self.records.is_empty() {
            let octets = std::mem::take(&mut self.records);
            self.tell(Event::Disk(Wish::Append { file: File::Journal, octets }));
        }
        if self.writer.is_some() {
            self.sync(File::Journal);
        }
        let then = std::mem::take(&mut self.then);
        if outputs || self.writer.is_some() {
            self.under_way = Some((self.mark, then));
            return false;
        }
        let waited = !then.is_empty();
        then.into_iter().for_each(|next| self.proceed(next));
        waited
    }

    fn sync(&mut self, file: File) {
        self.mark += 1;
        self.tell(Event::Disk(Wish::Sync { file, mark: self.mark }));
    }

    // ----- what the job inside tells

    fn hear(&mut self, event: job::Event) {
        use job::Event as E;
        match event {
            E::Started { attempt, worker } => {
                let now = self.now;
                let spool = self.spools.entry(attempt).or_insert_with(|| Spool::new(worker, now));
                (spool.worker, spool.since) = (worker, now);
                *self.starts.entry(attempt.task).or_default() += 1;
                self.tell(Event::Job(event));
            }
            E::Chunk { attempt, stream, octets } if is_ours(stream) => {
                self.job.taken(self.now, attempt, octets.len() as u32);
                self.output(attempt, stream, octets);
            }
            E::Chunk { attempt, .. } => {
                if let Some(spool) = self.spools.get_mut(&attempt) {
                    spool.elsewhere = true;
                }
                self.tell(Event::Job(event));
            }
            E::Continued { attempt, of, octets } => {
                if let Some(mut spool) = self.spools.remove(&Attempt { number: of, ..attempt }) {
                    self.gathered -= spool.gathered();
                    spool.cut(octets);
                    self.gathered += spool.gathered();
                    self.spools.insert(attempt, spool);
                }
                self.tell(Event::Job(event));
            }
            E::Dropped { attempt } => {
                if let Some(spool) = self.spools.remove(&attempt) {
                    self.gathered -= spool.gathered();
                    if self.stage == Stage::Running {
                        self.record(&Entry::Lost { attempt, worker: spool.worker });
                    }
                }
                self.tell(Event::Job(event));
            }
            E::Accepted { attempt, worker, status, .. } => self.result(attempt, worker, status),
            E::Failed { task, cause } => {
                let starts = self.starts.remove(&task).unwrap_or_default();
                self.record(&Entry::Failed { task, starts, why: cause.to_string() });
                self.then(Then::Tell(Event::Failed { task, starts, cause }));
            }
            E::Cancelled { task } => {
                self.starts.remove(&task);
                if self.stage == Stage::Running {
                    self.record(&Entry::Cancelled { task });
                    self.then(Then::Tell(Event::Cancelled { task }));
                }
            }
            E::Finished(counts) if self.stage == Stage::Running => {
                // What is not over for us yet is on its way to the disk, before this.
                self.then(Then::End(Event::Finished(counts)));
            }
            E::Finished(_) => {}
            E::Room => {}
            other => self.tell(Event::Job(other)),
        }
    }

    fn output(&mut self, attempt: Attempt, stream: Stream, octets: Vec<u8>) {
        let Some(spool) = self.spools.get_mut(&attempt) else { return };
        self.gathered += octets.len();
        spool.push(stream, octets);
        if spool.gathered() >= BLOCK {
            self.write(attempt);
        }
        if self.gathered > GATHERED_MAX {
            // Whoever speaks may have next to nothing, and each block takes its place in a record. Those with less than half
            // of the mean have less than half of all.
            let half = self.gathered / self.spools.len() / 2;
            let long = self.spools.iter().filter(|(_, spool)| spool.gathered() >= half);
            let long: Vec<_> = long.map(|(attempt, _)| *attempt).collect();
            long.into_iter().for_each(|attempt| self.write(attempt));
        }
    }

    fn write(&mut self, attempt: Attempt) {
        let Some(octets) = self.spools.get_mut(&attempt).and_then(|spool| spool.blocks(self.outputs.0))
        else {
            return;
        };
        self.gathered -= octets.len();
        self.outputs = (self.outputs.0 + octets.len() as u64, true);
        self.tell(Event::Disk(Wish::Append { file: File::Outputs, octets }));
    }

    /// The job inside accepted a result.
    fn result(&mut self, attempt: Attempt, worker: ElementId, status: crate::Status) {
        if self.spools.get(&attempt).is_some_and(|spool| !spool.fits_record()) {
            self.write(attempt);
        }
        let Some(spool) = self.spools.remove(&attempt) else { return };
        self.gathered -= spool.gathered();
        let (elsewhere, since) = (spool.elsewhere, spool.since);
        let output = spool.output();
        let whole = output.is_some();
        let mut accepted = Box::new(Accepted {
            attempt,
            starts: self.starts.remove(&attempt.task).unwrap_or_default(),
            time: self.now.since(Time::ZERO).as_millis() as u64,
            span: self.now.since(since).as_millis() as u64,
            worker,
            status,
            output: output.unwrap_or_default(),
        });
        if !whole || (self.writer.is_some() && !accepted.fits_record()) {
            // Of a worker that means no good, or as good as: whoever waits for the task hears of it.
            let why = format!("{}, but its output is in too many pieces to be kept", accepted.status);
            (accepted.status, accepted.output) = (crate::Status::Incomplete(why), journal::Output::default());
        }
        if elsewhere {
            let success = accepted.status.is_success();
            self.keeping.insert(attempt, accepted);
            self.tell(Event::Keep { attempt, success });
        } else {
            self.accept(accepted);
        }
    }

    fn accept(&mut self, accepted: Box<Accepted>) {
        if self.stage == Stage::Running {
            let entry = Entry::Accepted(accepted);
            self.record(&entry);
            let Entry::Accepted(accepted) = entry else { unreachable!("made three lines above") };
            self.then(Then::Accepted(accepted));
        }
    }
}

/// What an application says about items on their way; see the methods of [`Job`] of the same names.
pub struct Transfers<'a>(&'a mut Job);

impl Transfers<'_> {
    /// The octets a worker wanted.
    pub fn provide(&mut self, now: Time, transfer: TransferId, octets: Vec<u8>) {
        self.0.provide(now, transfer, octets);
    }

    /// An item cannot be given.
    pub fn cannot_provide(&mut self, now: Time, item: Item, why: &str) {
        self.0.cannot_provide(now, item, why);
    }

    /// So many octets of an execution's output, of streams the application keeps itself, are taken.
    pub fn taken(&mut self, now: Time, attempt: Attempt, octets: u32) {
        self.0.taken(now, attempt, octets);
    }

    /// So many octets of a checkpoint are on the disk.
    pub fn kept(&mut self, now: Time, transfer: TransferId, octets: u32) {
        self.0.kept(now, transfer, octets);
    }

    /// A checkpoint is on the disk.
    pub fn saved(&mut self, now: Time, transfer: TransferId) {
        self.0.saved(now, transfer);
    }

    /// A checkpoint cannot be kept.
    pub fn cannot_save(&mut self, now: Time, transfer: TransferId) {
        self.0.cannot_save(now, transfer);
    }
}

/// Streams that are kept here; others, collected files, the application keeps.
fn is_ours(stream: Stream) -> bool {
    stream != Stream::FILES
}

impl Node for DurableJob {
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input) {
        self.now = now;
        self.job.handle(now, input);
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        loop {
            if let Some(wish) = self.wishes.pop_front() {
                return Some(wish);
            }
            match self.job.poll() {
                Some(Output::Event(event)) => self.hear(event),
                Some(Output::Open { link, door, to, greeting }) => {
                    return Some(Output::Open { link, door, to, greeting });
                }
                Some(Output::Send { link, ppid, bytes }) => return Some(Output::Send { link, ppid, bytes }),
                Some(Output::Close { link, how }) => return Some(Output::Close { link, how }),
                Some(Output::Announce { channel, bytes }) => {
                    return Some(Output::Announce { channel, bytes });
                }
                None => {
                    // Everything this moment brought is recorded: it goes to the disk together.
                    self.room();
                    if !self.commit() && self.wishes.is_empty() {
                        return None;
                    }
                }
            }
        }
    }

    fn deadline(&self) -> Option<Time> {
        let due = self.due.filter(|_| self.under_way.is_none() && !self.failed);
        [self.job.deadline(), due].into_iter().flatten().min()
    }
}
