//! The service of the simulated pools: it sums the numbers of a job.
//!
//! The sum so far is the cookie, so any element can go on where another one stopped. Small as it is, it has all that the
//! promises about sessions are about: work that takes time, an order that must not break, state that must survive.
//!
//! ```text
//!   Request  1 | job(8) index(4) attempt(4) number(4)     add this number, the index-th of the job
//!   Answer   2 | job(8) index(4) attempt(4) sum(8)        the sum up to there
//!   GoOn     3 | job(8) next(4) sum(8)                    the first words after a cookie: send me number `next` next
//!   Cookie   "ADD1" length(4) job(8) next(4) attempts(4) sum(8) check(8)
//! ```

use crate::net::Hash;
use rserpool::element::{Replies, Service, SessionId};
use rserpool::{Load, Ppid, Time, Timers};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The payload protocol of the adder's messages.
pub const ADDING: Ppid = Ppid(0x4144_4431);

/// What user and adder tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Add this number.
    Request {
        /// The job, a random number of the user's.
        job: u64,
        /// Which number of the job, from 0.
        index: u32,
        /// How often it was sent, this time included.
        attempt: u32,
        /// The number.
        number: u32,
    },
    /// The sum of all numbers up to this one.
    Answer {
        /// The job.
        job: u64,
        /// Which number.
        index: u32,
        /// As in the request.
        attempt: u32,
        /// The sum.
        sum: u64,
    },
    /// After a cookie: where the element goes on. `next` 0: it did not believe the cookie and starts from zero.
    GoOn {
        /// The job of the cookie, 0 if it was not believed.
        job: u64,
        /// The number it waits for.
        next: u32,
        /// The sum before that number.
        sum: u64,
    },
}

impl Word {
    /// The word these octets are, if they are one.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = Octets(bytes);
        let word = match rest.number(1)? {
            1 => Self::Request {
                job: rest.number(8)?,
                index: rest.number(4)? as u32,
                attempt: rest.number(4)? as u32,
                number: rest.number(4)? as u32,
            },
            2 => Self::Answer {
                job: rest.number(8)?,
                index: rest.number(4)? as u32,
                attempt: rest.number(4)? as u32,
                sum: rest.number(8)?,
            },
            3 => Self::GoOn { job: rest.number(8)?, next: rest.number(4)? as u32, sum: rest.number(8)? },
            _ => return None,
        };
        rest.0.is_empty().then_some(word)
    }

    /// The octets of this word.
    pub fn emit(self) -> Vec<u8> {
        match self {
            Self::Request { job, index, attempt, number } => {
                [&[1][..], &job.to_be_bytes(), &be(index), &be(attempt), &be(number)].concat()
            }
            Self::Answer { job, index, attempt, sum } => {
                [&[2][..], &job.to_be_bytes(), &be(index), &be(attempt), &sum.to_be_bytes()].concat()
            }
            Self::GoOn { job, next, sum } => {
                [&[3][..], &job.to_be_bytes(), &be(next), &sum.to_be_bytes()].concat()
            }
        }
    }
}

fn be(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

struct Octets<'a>(&'a [u8]);

impl Octets<'_> {
    /// The next octets as a number in network order.
    fn number(&mut self, octets: usize) -> Option<u64> {
        let (head, rest) = self.0.split_at_checked(octets)?;
        self.0 = rest;
        Some(head.iter().fold(0, |number, octet| number << 8 | u64::from(*octet)))
    }
}

/// How far a job got: what a cookie says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The job; 0: none yet.
    pub job: u64,
    /// The number that comes next.
    pub next: u32,
    /// The highest attempt seen: what comes later has a higher or the same one.
    pub attempts: u32,
    /// The sum so far.
    pub sum: u64,
}

impl Progress {
    const LENGTH: usize = 40;

    /// What a cookie says, if it is one and whole: version, length and check value must fit.
    pub fn verify(cookie: &[u8]) -> Option<Self> {
        (cookie.len() == Self::LENGTH).then_some(())?;
        let progress = Self::believe(cookie)?;
        (progress.cookie() == cookie).then_some(progress)
    }

    /// What a cookie says, whether or not it is whole.
    pub fn believe(cookie: &[u8]) -> Option<Self> {
        let mut rest = Octets(cookie.get(8..)?);
        let (job, next, attempts) = (rest.number(8)?, rest.number(4)? as u32, rest.number(4)? as u32);
        Some(Self { job, next, attempts, sum: rest.number(8)? })
    }

    /// The cookie that says this.
    pub fn cookie(&self) -> Vec<u8> {
        let said = [
            &b"ADD1"[..],
            &be(Self::LENGTH as u32),
            &self.job.to_be_bytes(),
            &be(self.next),
            &be(self.attempts),
            &self.sum.to_be_bytes(),
        ]
        .concat();
        let mut check = Hash::default();
        check.bytes(&said);
        [&said[..], &check.0.to_be_bytes()].concat()
    }
}

/// How an adder works.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long it adds one number.
    pub work: Duration,
    /// A cookie after so many answers of a session.
    pub cookie_every: u32,
    /// Sessions at full load.
    pub slots: u64,
    /// Believes every cookie. A mistake made on purpose, for the tests of the checks.
    pub credulous: bool,
}

impl Default for Pace {
    fn default() -> Self {
        Self { work: Duration::from_millis(2), cookie_every: 3, slots: 10, credulous: false }
    }
}

/// The service, see the [module](self).
#[derive(Debug, Default)]
pub struct Adder {
    pace: Pace,
    sessions: BTreeMap<SessionId, Account>,
    due: Timers<SessionId>,
    resumed: u64,
    restarted: u64,
}

#[derive(Debug, Default)]
struct Account {
    progress: Progress,
    waiting: VecDeque<Word>,
    since_cookie: u32,
}

impl Adder {
    /// An adder of this pace.
    pub fn new(pace: Pace) -> Self {
        Self { pace, ..Self::default() }
    }

    /// Sessions that went on from a cookie, and sessions whose cookie was not believed.
    pub fn echoes(&self) -> (u64, u64) {
        (self.resumed, self.restarted)
    }

    /// Sessions at the moment.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn add(&mut self, session: SessionId, replies: &mut Replies<NoWish>) {
        let Some(account) = self.sessions.get_mut(&session) else { return };
        let Some(Word::Request { job, index, attempt, number }) = account.waiting.pop_front() else { return };
        let progress = &mut account.progress;
        if (progress.job, progress.next) == (0, 0) {
            progress.job = job;
        }
        // A number out of turn is none of ours: the user sends each once on a link, in order.
        if progress.job != job || progress.next != index {
            return;
        }
        progress.next += 1;
        progress.attempts = progress.attempts.max(attempt);
        progress.sum = progress.sum.wrapping_add(u64::from(number));
        replies.send(session, ADDING, Word::Answer { job, index, attempt, sum: progress.sum }.emit());
        account.since_cookie += 1;
        if account.since_cookie >= self.pace.cookie_every {
            // After the answers it covers: whoever holds the cookie has them all (RFC 5352 §3.8 leaves the order open).
            account.since_cookie = 0;
            replies.cookie(session, account.progress.cookie());
        }
    }
}

/// The adder wishes for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWish {}

impl Service for Adder {
    type Wish = NoWish;
    type Fact = NoWish;

    fn opened(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<NoWish>) {
        self.sessions.insert(session, Account::default());
    }

    fn resume(&mut self, _now: Time, session: SessionId, cookie: &[u8], replies: &mut Replies<NoWish>) {
        let believed = if self.pace.credulous { Progress::believe(cookie) } else { Progress::verify(cookie) };
        match believed {
            Some(_) => self.resumed += 1,
            None => self.restarted += 1,
        }
        let progress = believed.unwrap_or_default();
        self.sessions.insert(session, Account { progress, ..Account::default() });
        let Progress { job, next, sum, .. } = progress;
        replies.send(session, ADDING, Word::GoOn { job, next, sum }.emit());
    }

    fn message(
        &mut self,
        now: Time,
        session: SessionId,
        _ppid: Ppid,
        bytes: &[u8],
        replies: &mut Replies<NoWish>,
    ) {
        let Some(account) = self.sessions.get_mut(&session) else { return };
        let Some(word @ Word::Request { .. }) = Word::parse(bytes) else { return };
        account.waiting.push_back(word);
        if self.pace.work.is_zero() {
            self.add(session, replies);
        } else if self.due.get(&session).is_none() {
            self.due.set(session, now + self.pace.work);
        }
    }

    fn closed(&mut self, _now: Time, session: SessionId, _replies: &mut Replies<NoWish>) {
        self.sessions.remove(&session);
        self.due.clear(&session);
    }

    fn informed(&mut self, _now: Time, fact: NoWish, _replies: &mut Replies<NoWish>) {
        match fact {}
    }

    fn deadline(&self) -> Option<Time> {
        self.due.next()
    }

    fn wake(&mut self, now: Time, replies: &mut Replies<NoWish>) {
        while let Some((_, session)) = self.due.take_due(now) {
            self.add(session, replies);
            if self.sessions.get(&session).is_some_and(|account| !account.waiting.is_empty()) {
                self.due.set(session, now + self.pace.work);
            }
        }
    }

    fn load(&self) -> Load {
        Load::from_ratio(self.sessions.len() as u64, self.pace.slots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rserpool::element::Reply;

    const S: SessionId = SessionId(1);

    #[test]
    fn words_and_cookies_survive_their_octets_and_nothing_shorter_does() {
        let words = [
            Word::Request { job: 1, index: 2, attempt: 3, number: 4 },
            Word::Answer { job: 1, index: 2, attempt: 3, sum: 1 << 40 },
            Word::GoOn { job: u64::MAX, next: 7, sum: 9 },
        ];
        for word in words {
            let bytes = word.emit();
            assert_eq!(Word::parse(&bytes), Some(word));
            assert!((0..bytes.len()).all(|cut| Word::parse(&bytes[..cut]).is_none()));
        }
        let progress = Progress { job: 5, next: 6, attempts: 7, sum: 8 };
        let cookie = progress.cookie();
        assert_eq!(Progress::verify(&cookie), Some(progress));
        for place in 0..cookie.len() {
            let mut flipped = cookie.clone();
            flipped[place] ^= 1;
            assert_eq!(Progress::verify(&flipped), None, "octet {place}");
            assert_eq!(Progress::verify(&cookie[..place]), None);
        }
    }

    #[test]
    fn another_adder_goes_on_from_the_cookie_and_a_broken_one_starts_from_zero() {
        let pace = Pace { work: Duration::ZERO, cookie_every: 2, ..Pace::default() };
        let (mut first, mut replies) = (Adder::new(pace), Replies::default());
        first.opened(Time::ZERO, S, &mut replies);
        for index in 0..2 {
            let word = Word::Request { job: 9, index, attempt: 1, number: 10 + index };
            first.message(Time::ZERO, S, ADDING, &word.emit(), &mut replies);
        }
        let said = replies.take();
        let sum = |index, sum| Reply::Send(S, ADDING, Word::Answer { job: 9, index, attempt: 1, sum }.emit());
        let cookie = Progress { job: 9, next: 2, attempts: 1, sum: 21 }.cookie();
        assert_eq!(said, [sum(0, 10), sum(1, 21), Reply::Cookie(S, cookie.clone())]);

        let mut second = Adder::new(pace);
        second.opened(Time::ZERO, S, &mut replies);
        second.resume(Time::ZERO, S, &cookie, &mut replies);
        assert_eq!(replies.take(), [Reply::Send(S, ADDING, Word::GoOn { job: 9, next: 2, sum: 21 }.emit())]);
        second.resume(Time::ZERO, S, &cookie[1..], &mut replies);
        assert_eq!(replies.take(), [Reply::Send(S, ADDING, Word::GoOn { job: 0, next: 0, sum: 0 }.emit())]);
        assert_eq!(second.echoes(), (1, 1));
    }
}
