//! Obeying what clients say, and what their sessions leave behind.

use super::held::{Held, ORPHANS_MAX, Owner, State};
use super::{Draining, TaskService, Timer, WAITING_MAX, Wish};
use crate::cookie::Cookie;
use crate::protocol::{Attempt, Frame, JobId, PPID, Refusal, Status, TaskId, VERSION};
use crate::resources::Resources;
use crate::work::Work;
use rserpool::Time;
use rserpool::element::{Replies, SessionId};

/// What came is not the protocol: the session ends.
pub(super) struct Breach;

impl TaskService {
    pub(super) fn frame(
        &mut self,
        now: Time,
        id: SessionId,
        frame: Frame,
        replies: &mut Replies<Wish>,
    ) -> Result<(), Breach> {
        let session = self.books.sessions.get_mut(&id).ok_or(Breach)?;
        match (frame, session.job) {
            (Frame::Hello { version, job }, None) if !session.watches => self.hello(id, version, job),
            (Frame::Task { attempt, continues, needs, work }, Some(job)) => {
                self.task(now, id, job, (attempt, continues), needs, &work);
                Ok(())
            }
            (Frame::Drain { millis }, None) => {
                self.asked_to_drain(now, id, millis, replies);
                Ok(())
            }
            (Frame::Part { transfer, octets }, Some(_)) => self.part(id, transfer, octets, replies),
            (Frame::More { transfer, octets }, Some(_)) => {
                self.more(id, transfer, octets, replies);
                Ok(())
            }
            (Frame::Saved { transfer }, Some(_)) => {
                self.save_over(now, id, transfer, true, replies);
                Ok(())
            }
            (Frame::Stop { transfer }, Some(_)) => {
                self.save_over(now, id, transfer, false, replies);
                Ok(())
            }
            (Frame::Lineage { cookie }, Some(job)) => {
                match Cookie::verify(&cookie) {
                    Ok(cookie) if cookie.job == job => session.inherit(cookie.entries),
                    _ => self.counters.cookies_rejected += 1,
                }
                Ok(())
            }
            (Frame::Window { attempt, octets }, Some(_)) => {
                session.widen(attempt, octets, self.out.entry(id).or_default());
                if let Some(run) = session.held.get(&attempt).and_then(Held::run) {
                    replies.wish(Wish::Grant { run, octets });
                }
                Ok(())
            }
            (Frame::Ack { attempt }, Some(_)) => {
                if session.held.get(&attempt).is_some_and(|held| matches!(held.state, State::Told(_))) {
                    session.settle(attempt, self.out.entry(id).or_default());
                    self.cookie_soon(now, id);
                }
                Ok(())
            }
            (Frame::Cancel { attempt }, Some(_)) => {
                self.cancel(id, attempt, replies);
                Ok(())
            }
            (Frame::Recall { attempt }, Some(_)) => {
                self.recall(id, attempt, replies);
                Ok(())
            }
            (Frame::Adopt { attempt }, Some(job)) => {
                self.adopt(now, id, job, attempt);
                Ok(())
            }
            // A second Hello, anything before the first, and what only workers say.
            _ => Err(Breach),
        }
    }

    fn hello(&mut self, id: SessionId, version: u16, job: JobId) -> Result<(), Breach> {
        let (slots, credit) = (self.slots(), self.credit());
        let credit = if version == VERSION && self.draining == Draining::No { credit } else { 0 };
        let (resources, name) = (self.config.resources.clone(), self.config.name.clone());
        self.say(id, &Frame::Welcome { version: VERSION, slots, credit, resources, name });
        if version != VERSION {
            return Err(Breach);
        }
        let session = self.books.sessions.get_mut(&id).ok_or(Breach)?;
        session.job = Some(job);
        match session.cookie.take() {
            // The cookie binds the checkpoints to their job (S2): another job starts from zero.
            Some(cookie) if cookie.job == job => {
                self.counters.cookies_believed += 1;
                session.sequence = cookie.sequence.saturating_add(1);
                for entry in cookie.entries {
                    session.is_news(entry.attempt);
                    session.lineage.insert(entry.attempt.task, entry);
                }
            }
            Some(_) => self.counters.cookies_rejected += 1,
            None => {}
        }
        let of_job = (job, TaskId(0))..=(job, TaskId(u64::MAX));
        let held: Vec<_> = self.books.orphans.range(of_job).map(|(_, held)| held.attempt).collect();
        held.into_iter().for_each(|attempt| self.say(id, &Frame::Holds { attempt }));
        Ok(())
    }

    /// A session takes over what a lost one left: whoever leads the job now wants this very execution.
    fn adopt(&mut self, now: Time, id: SessionId, job: JobId, attempt: Attempt) {
        let credit = self.credit();
        let key = (job, attempt.task);
        let is_held = self.books.orphans.get(&key).is_some_and(|held| held.attempt == attempt);
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let refusal = if !is_held {
            Some(Refusal::NotHeld)
        } else if session.held.len() >= credit as usize {
            Some(Refusal::NoCredit)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.say(id, &Frame::Result { attempt, status: Status::Refused(refusal), octets: 0 });
            return;
        }
        session.is_news(attempt);
        let orphan = self.books.orphans.remove(&key).expect("found above");
        self.take_over(now, id, job, orphan);
    }

    /// An orphan belongs to this session from now on.
    fn take_over(&mut self, now: Time, id: SessionId, job: JobId, orphan: Held) {
        let attempt = orphan.attempt;
        self.timers.clear(&Timer::Grace(job, attempt.task));
        self.counters.adopted += 1;
        if let Some(run) = orphan.run() {
            self.books.owners.insert(run, Owner::Session(id, attempt));
        }
        let batch = self.out.entry(id).or_default();
        batch.push(&Frame::Started { attempt, of: 0, from: 0 });
        if let Some(session) = self.books.sessions.get_mut(&id) {
            session.held.insert(attempt, orphan);
            session.pass_on(attempt, true, batch);
        }
        self.cookie_soon(now, id);
    }

    /// Takes a task, or tells why not.
    fn task(
        &mut self,
        now: Time,
        id: SessionId,
        job: JobId,
        (attempt, continues): (Attempt, u32),
        needs: Resources,
        work: &[u8],
    ) {
        let credit = self.credit();
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let refusal = if self.draining != Draining::No {
            Some(Refusal::Draining)
        } else if session.held.len() >= credit as usize
            || (!session.held.is_empty() && self.books.waiting_octets + work.len() as u64 > WAITING_MAX)
        {
            self.counters.no_credit += 1;
            Some(Refusal::NoCredit)
        } else if !session.is_news(attempt) {
            self.counters.old_attempts += 1;
            Some(Refusal::OldAttempt)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            self.say(id, &Frame::Result { attempt, status: Status::Refused(refusal), octets: 0 });
            return;
        }
        match self.books.orphans.remove(&(job, attempt.task)) {
            // The client may know, and try again because of it.
            Some(orphan) if orphan.failed() => drop(self.timers.clear(&Timer::Grace(job, attempt.task))),
            Some(mut orphan) => {
                // It goes on, or is told, from its beginning, so it can just as well be the new attempt.
                orphan.attempt = attempt;
                return self.take_over(now, id, job, orphan);
            }
            None => {}
        }
        let size = work.len() as u64;
        let unfit = match Work::parse(work) {
            Ok(_) if !self.config.resources.covers(&needs) => {
                Err(format!("it needs {}, which this worker has not", self.config.resources.lacks(&needs)))
            }
            Ok(work) => Ok(work),
            Err(error) => Err(format!("malformed work: {error}")),
        };
        let over = unfit.is_err();
        let held = match unfit {
            Ok(work) => {
                let checkpoint = session
                    .lineage
                    .remove(&attempt.task)
                    .filter(|entry| entry.attempt.number == continues)
                    .filter(|entry| work.continues_at(entry.octets, &entry.state));
                session.queue.push_back(attempt);
                self.books.waiting_octets += size;
                let mut held = Held::new(attempt, State::Waiting(work), size, checkpoint);
                self.books.needy += usize::from(!held.pinned);
                held.resources = needs;
                held
            }
            Err(why) => Held::new(attempt, State::Ended(Status::CouldNotStart(why)), size, None),
        };
        session.held.insert(attempt, held);
        if over {
            session.pass_on(attempt, true, self.out.entry(id).or_default());
        }
    }

    /// Gives a task back that did not begin yet.
    fn recall(&mut self, id: SessionId, attempt: Attempt, replies: &mut Replies<Wish>) {
        let Some(session) = self.books.sessions.get(&id) else { return };
        if session.held.get(&attempt).is_none_or(|held| !matches!(held.state, State::Waiting(_))) {
            return;
        }
        let needs = self.leave_queue(id, attempt).unwrap_or_default();
        self.unpin(&needs, replies);
        if let Some(session) = self.books.sessions.get_mut(&id) {
            session.held.remove(&attempt);
        }
        self.say(id, &Frame::Result { attempt, status: Status::Refused(Refusal::Recalled), octets: 0 });
    }

    fn cancel(&mut self, id: SessionId, attempt: Attempt, replies: &mut Replies<Wish>) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        // What already ended has told its Result, or does so when the window lets it.
        let Some(held) = session.held.get_mut(&attempt) else {
            return self.disown(id, attempt, replies);
        };
        match held.state {
            State::Waiting(_) => {
                let needs = self.leave_queue(id, attempt).unwrap_or_default();
                self.unpin(&needs, replies);
                let Some(session) = self.books.sessions.get_mut(&id) else { return };
                if let Some(held) = session.held.get_mut(&attempt) {
                    held.state = State::Ended(Status::Cancelled);
                }
                session.pass_on(attempt, true, self.out.entry(id).or_default());
            }
            State::Running(run) if !held.cancelled => {
                held.cancelled = true;
                held.drop_backlog();
                self.kill(run, replies);
            }
            State::Ended(_) => {
                held.drop_backlog();
                session.pass_on(attempt, true, self.out.entry(id).or_default());
            }
            State::Running(_) | State::Told(_) => {}
        }
    }

    /// Nobody wants what a lost session left.
    fn disown(&mut self, id: SessionId, attempt: Attempt, replies: &mut Replies<Wish>) {
        let Some(job) = self.books.sessions.get(&id).and_then(|session| session.job) else { return };
        let key = (job, attempt.task);
        if self.books.orphans.get(&key).is_some_and(|held| held.attempt == attempt) {
            self.timers.clear(&Timer::Grace(job, attempt.task));
            self.grace_over(job, attempt.task, replies);
            let status = Status::Refused(Refusal::NotHeld);
            self.say(id, &Frame::Result { attempt, status, octets: 0 });
        }
    }

    // ----- the end of a session

    /// Forgets a session; its running tasks become orphans or are killed.
    pub(super) fn forget(&mut self, now: Time, id: SessionId, replies: &mut Replies<Wish>) {
        self.out.remove(&id);
        self.timers.clear(&Timer::Cookie(id));
        self.timers.clear(&Timer::Tell(id));
        let queued = self.books.sessions.get(&id).map(|session| session.queue.clone()).unwrap_or_default();
        let needs: Vec<_> = queued.into_iter().flat_map(|attempt| self.books.unneeded(attempt, id)).collect();
        let Some(session) = self.books.sessions.remove(&id) else { return };
        self.transfers_lost(id, replies);
        self.unpin(&needs, replies);
        session.saves.values().for_each(|save| replies.wish(Wish::Saved { run: save.run }));
        for (attempt, held) in session.held {
            if let State::Waiting(_) = held.state {
                self.books.waiting_octets -= held.size;
            }
            let run = held.run();
            let key = session.job.map(|job| (job, attempt.task)).filter(|key| {
                !self.books.orphans.contains_key(key) && self.books.orphans.len() < ORPHANS_MAX
            });
            match (key, held.orphaned()) {
                (Some(key), Some(orphan)) => {
                    if let Some(run) = run {
                        self.books.owners.insert(run, Owner::Orphan(key.0, key.1));
                    }
                    self.timers.set(Timer::Grace(key.0, key.1), now + self.config.orphan_grace);
                    self.books.orphans.insert(key, orphan);
                }
                _ => {
                    if let Some(run) = run {
                        self.stop_for_nobody(run, replies);
                    }
                }
            }
        }
    }

    pub(super) fn grace_over(&mut self, job: JobId, task: TaskId, replies: &mut Replies<Wish>) {
        let Some(run) = self.books.orphans.remove(&(job, task)).and_then(|held| held.run()) else { return };
        self.stop_for_nobody(run, replies);
    }

    // ----- cookies

    pub(super) fn cookie_soon(&mut self, now: Time, id: SessionId) {
        if self.timers.get(&Timer::Cookie(id)).is_none() {
            self.timers.set(Timer::Cookie(id), now + self.config.cookie_interval);
        }
    }

    /// There is a new checkpoint: a cookie says so at once, unless the last one was given a moment ago.
    pub(super) fn cookie_of_checkpoint(&mut self, now: Time, id: SessionId, replies: &mut Replies<Wish>) {
        let Some(session) = self.books.sessions.get(&id) else { return };
        let due = session.cookie_given.map_or(now, |given| given + self.config.cookie_interval);
        if due <= now {
            self.timers.clear(&Timer::Cookie(id));
            self.cookie_due(now, id, replies);
        } else if self.timers.get(&Timer::Cookie(id)).is_none_or(|set| due < set) {
            self.timers.set(Timer::Cookie(id), due);
        }
    }

    pub(super) fn cookie_due(&mut self, now: Time, id: SessionId, replies: &mut Replies<Wish>) {
        // The cookie covers output that may still be in the batch: data first (RFC 5352 §3.8 leaves the order to us).
        for message in self.out.remove(&id).unwrap_or_default().take() {
            replies.send(id, PPID, message);
        }
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        let (Some(job), entries) = (session.job, session.entries()) else { return };
        if entries.is_empty() && !session.cookie_had_entries {
            return;
        }
        session.cookie_had_entries = !entries.is_empty();
        session.cookie_given = Some(now);
        replies.cookie(id, Cookie { job, sequence: session.sequence, entries }.emit());
        session.sequence = session.sequence.saturating_add(1);
    }
}
