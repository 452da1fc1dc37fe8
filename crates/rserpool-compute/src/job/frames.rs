//! Obeying what workers say.

use super::books::{Kept, Place};
use super::lanes::{Assigned, Stage};
use super::{Cause, Event, Job, Timer};
use crate::protocol::{Attempt, Frame, Frames, PPID, Refusal, Status, Stream, TaskId, VERSION, WINDOW};
use rserpool::user::SessionId;
use rserpool::{ElementId, Ppid};
use std::time::Duration;

/// A hung worker that is back says what it has to say at once; after this it is not listened to any more.
const LATE_SPEECH: Duration = Duration::from_secs(1);

impl Job {
    /// A message of a lane's worker. If it is not the protocol, the worker is given up.
    pub(super) fn message(&mut self, session: SessionId, ppid: Ppid, bytes: &[u8]) {
        let mut results = 0;
        let outcome = if ppid == PPID {
            Frames::of(bytes).try_for_each(|frame| {
                let frame = frame.map_err(|error| format!("malformed message: {error}"))?;
                results += u32::from(matches!(frame, Frame::Result { .. }));
                self.frame(session, frame)
            })
        } else {
            Err(format!("a message of protocol {}", ppid.0))
        };
        match outcome {
            Ok(()) if results > 0 => {
                if let Some(lane) = self.lanes.get_mut(&session) {
                    lane.results(self.now, results);
                }
            }
            Ok(()) => {}
            Err(why) => self.refuse(session, why),
        }
    }

    fn frame(&mut self, session: SessionId, frame: Frame) -> Result<(), String> {
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        match frame {
            Frame::Welcome { version, .. } if version != VERSION => {
                Err(format!("it speaks version {version}, we speak {VERSION}"))
            }
            Frame::Welcome { slots, credit, resources, name, .. } => {
                self.welcomed(session, slots, credit, resources, name)
            }
            _ if lane.stage != Stage::Ready => Err("no welcome first".to_owned()),
            Frame::Credit { tasks } => {
                (lane.credit, lane.limit) = (tasks, tasks);
                lane.credit_max = lane.credit_max.max(tasks);
                Ok(())
            }
            Frame::Started { attempt, of, from } => self.started(session, attempt, of, from),
            Frame::Output { attempt, stream, offset, octets } => {
                self.output(session, attempt, stream, offset, octets)
            }
            Frame::Result { attempt, status, octets } => self.result(session, attempt, status, octets),
            Frame::Holds { attempt } => {
                self.offered(session, attempt);
                Ok(())
            }
            Frame::Fetch { transfer, item } => self.fetch(session, transfer, item),
            Frame::More { transfer, octets } => {
                self.more(session, transfer, octets);
                Ok(())
            }
            Frame::Stop { transfer } => {
                self.stop(session, transfer);
                Ok(())
            }
            Frame::Save { transfer, attempt, item } => self.save(session, transfer, attempt, item),
            Frame::Part { transfer, octets } => self.part(session, transfer, octets),
            Frame::Hello { .. }
            | Frame::Saved { .. }
            | Frame::Lineage { .. }
            | Frame::Task { .. }
            | Frame::Window { .. }
            | Frame::Ack { .. }
            | Frame::Cancel { .. }
            | Frame::Recall { .. }
            | Frame::Adopt { .. }
            | Frame::Drain { .. } => Err("it speaks like a client".to_owned()),
            Frame::Draining { .. } => Err("it answers what nobody asked".to_owned()),
        }
    }

    /// An execution began, from the beginning or from a checkpoint.
    fn started(&mut self, session: SessionId, attempt: Attempt, of: u32, from: u64) -> Result<(), String> {
        let now = self.now;
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        let Some(assigned) = lane.assigned_mut(attempt) else { return Ok(()) };
        if assigned.started {
            return Err(format!("{attempt} started twice"));
        }
        let fits = |kept: &Kept| kept.lineage == of && from <= kept.octets;
        if (of == 0 && from > 0) || (of > 0 && !assigned.continues.as_ref().is_some_and(fits)) {
            return Err(format!("{attempt} continues what we do not have"));
        }
        let before = assigned.continues.take();
        (assigned.started, assigned.since, assigned.received) = (true, now, from);
        assigned.base = before.clone().filter(|_| of > 0);
        if assigned.cancelled {
            return Ok(());
        }
        let (Some(worker), Some(task)) = (lane.element, self.tasks.get_mut(attempt.task)) else {
            return Ok(());
        };
        let backs_up = task.backup == Some(session);
        task.starts += 1;
        let repeated = task.starts > 1;
        self.tasks.counts.continued += u64::from(of > 0);
        match before {
            Some(kept) if kept.lent => {}
            Some(kept) if of > 0 => {
                self.event(Event::Continued { attempt, of: kept.number, octets: from });
            }
            Some(kept) => self.dropped(attempt.task, kept.number),
            None => {}
        }
        self.tasks.counts.backups += u64::from(backs_up);
        self.tasks.counts.started += 1;
        self.tasks.counts.repeated += u64::from(repeated);
        if let Some(counts) = self.workers.get_mut(&worker) {
            counts.started += 1;
        }
        self.event(Event::Started { attempt, worker });
        Ok(())
    }

    /// What is over as soon as it began is not announced first.
    fn surely_started(&mut self, session: SessionId, attempt: Attempt) -> Result<(), String> {
        let assigned = self.lanes.get(&session).and_then(|lane| lane.assigned.get(&attempt.task));
        if assigned.is_some_and(|assigned| assigned.number == attempt.number && !assigned.started) {
            return self.started(session, attempt, 0, 0);
        }
        Ok(())
    }

    fn output(
        &mut self,
        session: SessionId,
        attempt: Attempt,
        stream: Stream,
        offset: u64,
        octets: Vec<u8>,
    ) -> Result<(), String> {
        self.surely_started(session, attempt)?;
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        let Some(assigned) = lane.assigned_mut(attempt) else { return Ok(()) };
        let length = octets.len() as u64;
        if offset != assigned.received {
            return Err(format!("output of {attempt} at {offset}, not at {}", assigned.received));
        }
        assigned.received += length;
        assigned.ungranted = assigned.ungranted.saturating_add(octets.len() as u32);
        if assigned.ungranted > WINDOW {
            return Err(format!("more output of {attempt} than its window"));
        }
        if assigned.cancelled {
            return Ok(());
        }
        if !self.config.paced {
            lane.taken(attempt, length as u32);
        }
        self.event(Event::Chunk { attempt, stream, octets });
        Ok(())
    }

    fn result(
        &mut self,
        session: SessionId,
        attempt: Attempt,
        status: Status,
        octets: u64,
    ) -> Result<(), String> {
        let accepts = status.is_result();
        let again = accepts && !status.is_success() && self.may_try_again(attempt.task);
        if accepts {
            self.surely_started(session, attempt)?;
        }
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        let Some(worker) = lane.element else { return Ok(()) };
        let Some(assigned) = lane.assigned_mut(attempt).cloned() else {
            // J2: of another attempt than the one this worker has, or once more. It may forget it; so do we.
            if !matches!(status, Status::Refused(_)) {
                lane.settle(attempt);
                self.discard(attempt, worker);
            }
            return Ok(());
        };
        if assigned.received != octets {
            return Err(format!("{octets} octets of {attempt} announced, {} came", assigned.received));
        }
        lane.assigned.remove(&attempt.task);
        self.no_more_saves(session, attempt);
        let Some(lane) = self.lanes.get_mut(&session) else { return Ok(()) };
        if matches!(status, Status::Refused(_)) {
            // What was refused the worker does not hold.
        } else if accepts && !again && self.config.journal && !assigned.cancelled {
            lane.unsettled.insert(attempt);
            self.unrecorded.insert(attempt, session);
        } else {
            lane.settle(attempt);
        }
        if assigned.cancelled {
            // J11: the task is over; what it did all the same is of no interest.
            if accepts {
                self.discard(attempt, worker);
            }
            return Ok(());
        }
        if accepts {
            lane.limit = (lane.limit + 1).min(lane.credit);
            if again {
                self.try_again(session, attempt, worker, &assigned, status);
                return Ok(());
            }
            self.accept(session, attempt, &assigned, status, octets);
            return Ok(());
        }
        if status == Status::Refused(Refusal::NoCredit) {
            lane.limit = (lane.assigned.len() as u32).max(1).min(lane.credit);
        }
        if let (true, Status::Refused(_), Some(task)) =
            (assigned.started, &status, self.tasks.get_mut(attempt.task))
        {
            task.given_back += 1;
        }
        let elsewhere = self.tasks.leave(attempt.task, session).is_some();
        self.keep_or_drop(attempt.task, &assigned, elsewhere);
        match status {
            Status::Refused(Refusal::OldAttempt) => {
                self.not_started(attempt.task, worker, "it had seen a later attempt".to_owned(), elsewhere);
            }
            Status::Refused(_) if !elsewhere => self.tasks.requeue(attempt.task),
            Status::Refused(_) => {}
            Status::CouldNotStart(why) => self.not_started(attempt.task, worker, why, elsewhere),
            _ => self.not_started(attempt.task, worker, "it cancelled by itself".to_owned(), elsewhere),
        }
        Ok(())
    }

    /// The task is over.
    fn accept(
        &mut self,
        session: SessionId,
        attempt: Attempt,
        assigned: &Assigned,
        status: Status,
        octets: u64,
    ) {
        let task = self.tasks.end(attempt.task).expect("what is at a lane and not cancelled is not over");
        let counts = &mut self.tasks.counts;
        counts.accepted += 1;
        counts.succeeded += u64::from(status.is_success());
        counts.octets += octets;
        let worker = self.lanes.get(&session).and_then(|lane| lane.element).unwrap_or_default();
        if let Some(counts) = self.workers.get_mut(&worker) {
            counts.accepted += 1;
        }
        let took = self.now.since(assigned.since);
        self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
        self.event(Event::Accepted { attempt, worker, status, octets });
        // The first result counts; who else has the task may stop.
        let other = match task.place {
            Place::At(at) if at != session => Some(at),
            _ => task.backup.filter(|backup| *backup != session),
        };
        if let Some(other) = other {
            self.cancel_at(other, attempt.task);
        }
    }

    fn may_try_again(&self, id: TaskId) -> bool {
        self.tasks.get(id).is_some_and(|task| task.retries < self.config.retries)
    }

    /// The execution came to a bad end, and the task has another chance.
    fn try_again(
        &mut self,
        session: SessionId,
        attempt: Attempt,
        worker: ElementId,
        assigned: &Assigned,
        status: Status,
    ) {
        if let Some(task) = self.tasks.get_mut(attempt.task) {
            task.retries += 1;
            task.not_at = Some(worker);
        }
        self.tasks.counts.retries += 1;
        self.event(Event::Again { attempt, worker, status });
        self.drop_execution(attempt.task, assigned);
        if self.tasks.leave(attempt.task, session).is_none() {
            self.tasks.requeue(attempt.task);
        }
    }

    /// This worker cannot do it; perhaps another one can, or already does (`elsewhere`).
    fn not_started(&mut self, id: TaskId, worker: ElementId, why: String, elsewhere: bool) {
        let Some(task) = self.tasks.get_mut(id) else { return };
        task.refusals += 1;
        task.not_at = Some(worker);
        let times = task.refusals;
        if elsewhere {
            return;
        }
        if times >= self.config.starts_max {
            self.give_up(id, Cause::CouldNotStart { times, why });
        } else {
            self.tasks.requeue(id);
        }
    }

    /// The task is not tried again. No worker has it.
    pub(super) fn give_up(&mut self, id: TaskId, cause: Cause) {
        if let Some(task) = self.tasks.end(id) {
            if let Some(kept) = task.kept.filter(|kept| !kept.lent) {
                self.dropped(id, kept.number);
            }
            self.tasks.counts.failed += 1;
            self.event(Event::Failed { task: id, cause });
        }
    }

    fn discard(&mut self, attempt: Attempt, worker: ElementId) {
        self.tasks.counts.late += 1;
        self.event(Event::Discarded { attempt, worker });
    }

    /// A worker that hung and was given up is back. Its tasks run elsewhere or are over: its results are counted and
    /// nothing else (S3, J2). The end of its link, a little later, tells it to forget them.
    pub(super) fn late(&mut self, session: SessionId, worker: ElementId, ppid: Ppid, bytes: &[u8]) {
        if ppid != PPID || self.input == super::Stage::Over {
            return;
        }
        for frame in Frames::of(bytes).map_while(Result::ok) {
            if let Frame::Result { attempt, status, .. } = frame
                && status.is_result()
            {
                self.discard(attempt, worker);
            }
        }
        if self.timers.get(&Timer::Former(session)).is_none() {
            self.timers.set(Timer::Former(session), self.now + LATE_SPEECH);
        }
    }
}
