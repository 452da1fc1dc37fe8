//! Obeying what clients say, and what their sessions leave behind.

use super::held::{Held, Owner, State};
use super::{Draining, TaskService, Timer, WAITING_MAX, Wish};
use crate::cookie::Cookie;
use crate::protocol::{Attempt, Frame, JobId, PPID, Refusal, Status, TaskId, VERSION};
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
            (Frame::Hello { version, job }, None) => self.hello(id, version, job),
            (Frame::Task { attempt, continues, work }, Some(job)) => {
                self.task(id, job, attempt, continues, &work);
                Ok(())
            }
            (Frame::Window { attempt, octets }, Some(_)) => {
                if let Some(held) = session.held.get_mut(&attempt) {
                    held.widen(octets);
                    held.send(self.out.entry(id).or_default());
                    if let Some(run) = held.run() {
                        replies.wish(Wish::Grant { run, octets });
                    }
                }
                Ok(())
            }
            (Frame::Ack { attempt }, Some(_)) => {
                if session.held.get(&attempt).is_some_and(|held| matches!(held.state, State::Told)) {
                    session.held.remove(&attempt);
                    self.cookie_soon(now, id);
                }
                Ok(())
            }
            (Frame::Cancel { attempt }, Some(_)) => {
                self.cancel(id, attempt, replies);
                Ok(())
            }
            (Frame::Recall { attempt }, Some(_)) => {
                self.recall(id, attempt);
                Ok(())
            }
            // A second Hello, anything before the first, and what only workers say.
            _ => Err(Breach),
        }
    }

    fn hello(&mut self, id: SessionId, version: u16, job: JobId) -> Result<(), Breach> {
        let (slots, credit) = (self.slots(), self.credit());
        let credit = if version == VERSION && self.draining == Draining::No { credit } else { 0 };
        let name = self.config.name.clone();
        self.say(id, &Frame::Welcome { version: VERSION, slots, credit, name });
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
        Ok(())
    }

    /// Takes a task, or tells why not.
    fn task(&mut self, id: SessionId, job: JobId, attempt: Attempt, continues: u32, work: &[u8]) {
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
        if let Some(mut orphan) = self.books.orphans.remove(&(job, attempt.task)) {
            // Nothing of it was ever sent, so it can just as well be the new attempt's beginning.
            self.timers.clear(&Timer::Grace(job, attempt.task));
            self.counters.adopted += 1;
            orphan.attempt = attempt;
            if let Some(run) = orphan.run() {
                self.books.owners.insert(run, Owner::Session(id, attempt));
            }
            let batch = self.out.entry(id).or_default();
            batch.push(&Frame::Started { attempt, from: 0 });
            orphan.send(batch);
            session.held.insert(attempt, orphan);
            return;
        }
        let size = work.len() as u64;
        let held = match Work::parse(work) {
            Ok(work) => {
                let checkpoint = session
                    .lineage
                    .remove(&attempt.task)
                    .filter(|entry| entry.attempt.number == continues)
                    .filter(|entry| work.continues_at(entry.octets, &entry.state))
                    .map(|entry| (entry.octets, entry.state));
                session.queue.push_back(attempt);
                self.books.waiting_octets += size;
                Held::new(attempt, State::Waiting(work), size, checkpoint)
            }
            Err(error) => {
                let ended = State::Ended(Status::CouldNotStart(format!("malformed work: {error}")));
                let mut held = Held::new(attempt, ended, size, None);
                held.send(self.out.entry(id).or_default());
                held
            }
        };
        session.held.insert(attempt, held);
    }

    /// Gives a task back that did not begin yet.
    fn recall(&mut self, id: SessionId, attempt: Attempt) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        if session.held.get(&attempt).is_none_or(|held| !matches!(held.state, State::Waiting(_))) {
            return;
        }
        session.queue.retain(|waiting| *waiting != attempt);
        let held = session.held.remove(&attempt).expect("found above");
        self.books.waiting_octets -= held.size;
        self.say(id, &Frame::Result { attempt, status: Status::Refused(Refusal::Recalled), octets: 0 });
    }

    fn cancel(&mut self, id: SessionId, attempt: Attempt, replies: &mut Replies<Wish>) {
        let Some(session) = self.books.sessions.get_mut(&id) else { return };
        // What already ended has told its Result, or does so when the window lets it.
        let Some(held) = session.held.get_mut(&attempt) else { return };
        match held.state {
            State::Waiting(_) => {
                session.queue.retain(|waiting| *waiting != attempt);
                self.books.waiting_octets -= held.size;
                held.state = State::Ended(Status::Cancelled);
                held.send(self.out.entry(id).or_default());
            }
            State::Running(run) if !held.cancelled => {
                held.cancelled = true;
                held.drop_backlog();
                self.kill(run, replies);
            }
            State::Ended(_) => {
                held.drop_backlog();
                held.send(self.out.entry(id).or_default());
            }
            State::Running(_) | State::Told => {}
        }
    }

    // ----- the end of a session

    /// Forgets a session; its running tasks become orphans or are killed.
    pub(super) fn forget(&mut self, now: Time, id: SessionId, replies: &mut Replies<Wish>) {
        self.out.remove(&id);
        self.timers.clear(&Timer::Cookie(id));
        let Some(session) = self.books.sessions.remove(&id) else { return };
        for (attempt, held) in session.held {
            if let State::Waiting(_) = held.state {
                self.books.waiting_octets -= held.size;
            }
            let run = held.run();
            let key = session.job.map(|job| (job, attempt.task));
            let adoptable = held.sent == 0 && !held.cancelled && !held.timed_out;
            match (run, key) {
                (Some(run), Some((job, task)))
                    if adoptable && !self.books.orphans.contains_key(&(job, task)) =>
                {
                    self.books.owners.insert(run, Owner::Orphan(job, task));
                    self.timers.set(Timer::Grace(job, task), now + self.config.orphan_grace);
                    self.books.orphans.insert((job, task), held);
                }
                (Some(run), _) => {
                    self.books.owners.insert(run, Owner::Nobody);
                    self.kill(run, replies);
                }
                (None, _) => {}
            }
        }
    }

    pub(super) fn grace_over(&mut self, job: JobId, task: TaskId, replies: &mut Replies<Wish>) {
        let Some(run) = self.books.orphans.remove(&(job, task)).and_then(|held| held.run()) else { return };
        self.books.owners.insert(run, Owner::Nobody);
        self.kill(run, replies);
    }

    // ----- cookies

    pub(super) fn cookie_soon(&mut self, now: Time, id: SessionId) {
        if self.timers.get(&Timer::Cookie(id)).is_none() {
            self.timers.set(Timer::Cookie(id), now + self.config.cookie_interval);
        }
    }

    pub(super) fn cookie_due(&mut self, id: SessionId, replies: &mut Replies<Wish>) {
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
        replies.cookie(id, Cookie { job, sequence: session.sequence, entries }.emit());
        session.sequence = session.sequence.saturating_add(1);
    }
}
