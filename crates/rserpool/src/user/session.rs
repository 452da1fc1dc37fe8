//! A session: one conversation with a pool that goes on when its element fails (RFC 5352 §3.5, 3.8, 3.9).
//!
//! ```text
//!   Resolving --- an element ---> Connecting --- up ---> Connected
//!      ^  \                          |                       |
//!      |   nobody: told              | no answer: reported   | lost or hung: reported; ended, or asked to: not
//!      |    \                        v                       v
//!      '--- Pausing <----------- told, the first time without a pause
//! ```
//!
//! The cookie is the newest that arrived whole over the link of its time; it is echoed as the first message to the next
//! element, and kept until that one has sent its own. Which elements failed is remembered until a session has been up
//! for a second: they are chosen again only when there is nobody else.

use super::{Asker, Event, FailoverCause, Failure, PoolUser, SessionId, SessionOptions, Timer};
use crate::home::RequestId;
use crate::link::Frame;
use crate::wire::asap::Message;
use crate::wire::parameter::{PoolElement, Transport, TransportUse};
use crate::{
    Cause, Door, ElementId, Ending, Endpoint, Greeting, LinkId, Policy, PoolHandle, Ppid, Protocol, Role,
    Time, Timers,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

/// Elements named in one answer at most (the reference's limit, and ours).
const ITEMS_MAX: usize = 128;
/// Failed elements remembered per session, the latest ones.
const FAILED_MAX: usize = 64;
/// A session that has been up for so long was useful: earlier failures are forgotten.
const USEFUL: Duration = Duration::from_secs(1);
/// An element is reported once in this time at most, whatever number of sessions it held: it is one event.
const REPORT_GAP: Duration = Duration::from_secs(5);
/// Reports remembered for that.
const REPORTS_MAX: usize = 1_024;
/// Links of former elements kept for late messages, over all sessions.
const FORMER_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct Session {
    handle: PoolHandle,
    pub(super) options: SessionOptions,
    stage: Stage,
    pub(super) cookie: Option<Vec<u8>>,
    /// It was connected before: the next element takes over from another one.
    served: bool,
    /// Elements that failed since it was last useful, the latest one at the end.
    failed: Vec<ElementId>,
    /// The order of a business card (RFC 5352 §3.9, BC2).
    preferred: Vec<ElementId>,
    /// Elements lost in a row.
    failures: u32,
    /// Resolutions in vain in a row.
    vain: u32,
}

#[derive(Debug)]
enum Stage {
    /// Waiting for an answer; the number is how many elements were asked for.
    Resolving(RequestId, usize),
    /// Waiting for a moment to try again (or newborn).
    Pausing,
    Connecting(Line),
    Connected(Line),
}

/// The link to an element.
#[derive(Debug)]
struct Line {
    link: LinkId,
    element: ElementId,
    /// Where it leads.
    to: Endpoint,
    /// The cookie was echoed on it.
    echoed: bool,
    /// The application sent something on it.
    sent: bool,
    /// The element's last sign of life.
    heard: Time,
}

/// The link of an element that hung and was given up.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) session: SessionId,
    element: ElementId,
}

impl Session {
    pub(super) fn new(handle: PoolHandle, options: SessionOptions) -> Self {
        Self {
            handle,
            options,
            stage: Stage::Pausing,
            cookie: None,
            served: false,
            failed: Vec::new(),
            preferred: Vec::new(),
            failures: 0,
            vain: 0,
        }
    }

    fn line(&self) -> Option<&Line> {
        match &self.stage {
            Stage::Connecting(line) | Stage::Connected(line) => Some(line),
            Stage::Resolving(..) | Stage::Pausing => None,
        }
    }

    /// The link in use, up or not yet.
    pub(super) fn link(&self) -> Option<LinkId> {
        self.line().map(|line| line.link)
    }

    /// Where its element is, connected or not yet.
    pub(super) fn place(&self) -> Option<&Endpoint> {
        self.line().map(|line| &line.to)
    }

    /// The element it is connected to.
    pub(super) fn element(&self) -> Option<ElementId> {
        match &self.stage {
            Stage::Connected(line) => Some(line.element),
            _ => None,
        }
    }

    /// The link to send data on; remembers that data was sent.
    pub(super) fn data_link(&mut self) -> Option<LinkId> {
        let Stage::Connected(line) = &mut self.stage else { return None };
        line.sent = true;
        Some(line.link)
    }

    pub(super) fn check(&self, id: SessionId, requests: &BTreeMap<RequestId, Asker>, timers: &Timers<Timer>) {
        let timed = |timer| timers.get(&timer).is_some();
        match &self.stage {
            Stage::Resolving(request, _) => {
                assert_eq!(requests.get(request), Some(&Asker::Session(id)), "{id} waits for its own answer");
            }
            Stage::Pausing => assert!(timed(Timer::Retry(id)), "{id} pauses for a time"),
            Stage::Connecting(_) => assert!(timed(Timer::Connect(id)), "{id} connects for a time"),
            Stage::Connected(_) => {
                let asks = self.options.heartbeat;
                assert_eq!(timed(Timer::Ping(id)), asks, "{id} asks for signs of life if told to");
                assert_eq!(timed(Timer::Verdict(id)), asks, "{id} judges if told to");
            }
        }
        assert!(self.failed.len() <= FAILED_MAX, "{id} remembers a bounded number of failures");
    }

    /// The element to try next. Those in `tired` only if the answer has nobody else: first those who failed longest
    /// ago, since they may be back.
    fn choose<'e>(
        &self,
        elements: &'e [PoolElement],
        tired: &BTreeSet<ElementId>,
    ) -> Option<&'e PoolElement> {
        let usable = || elements.iter().filter(|element| user_endpoint(element).is_some());
        if let Some(only) = self.options.only {
            return usable().find(|element| element.id == only);
        }
        let fresh = || usable().filter(|element| !tired.contains(&element.id));
        self.preferred
            .iter()
            .find_map(|id| fresh().find(|element| element.id == *id))
            .or_else(|| fresh().next())
            .or_else(|| {
                let failed = |id| self.failed.iter().position(|failed| *failed == id).map_or(0, |at| at + 1);
                usable().min_by_key(|element| failed(element.id))
            })
    }
}

impl PoolUser {
    // --- finding an element

    /// Looks for an element: in the cache first (RFC 5352 §3.3, C1, C4), else at the registrar.
    pub(super) fn seek(&mut self, now: Time, id: SessionId) {
        let tired = self.tired(now, id);
        let Some(session) = self.sessions.get(&id) else { return };
        let remembered = match session.options.only {
            Some(only) => self.cache.get(now, &session.handle, only).into_iter().collect(),
            None => self.cache.select(now, &session.handle, 1 + tired.len(), &mut self.random),
        };
        let chosen = session
            .choose(&remembered, &tired)
            .filter(|element| session.options.only.is_some() || !tired.contains(&element.id))
            .cloned();
        if let Some(element) = chosen
            && self.connect(now, id, &element)
        {
            return;
        }
        // Enough that one of them is new to us; after a failure at least two; everyone if we have an order of our own.
        let all = session_wants_all(&self.sessions[&id]);
        let after_failure = 1 + usize::from(self.sessions[&id].failures > 0);
        let count = if all { ITEMS_MAX } else { (1 + tired.len()).max(after_failure).min(ITEMS_MAX) };
        let items = if all { u32::MAX } else { count as u32 };
        let handle = self.sessions[&id].handle;
        let request = self.ask(now, handle, items, Asker::Session(id));
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stage = Stage::Resolving(request, count);
        }
    }

    /// The answer for a session is there.
    pub(super) fn candidates(
        &mut self,
        now: Time,
        id: SessionId,
        result: Result<(Policy, Vec<PoolElement>), Failure>,
    ) {
        let tired = self.tired(now, id);
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Stage::Resolving(_, count) = session.stage else { return };
        session.stage = Stage::Pausing;
        let only = session.options.only.is_some();
        let elements = match result {
            Ok((_, elements)) => elements,
            Err(Failure::UnknownPool) if only => return self.failed(id, Failure::ElementGone),
            Err(why) => return self.wait(now, id, why),
        };
        match session.choose(&elements, &tired).cloned() {
            Some(element) => {
                session.vain = 0;
                let usable = self.connect(now, id, &element);
                debug_assert!(usable, "only usable elements are chosen");
            }
            // A full answer may have left it out.
            None if only && elements.len() < count => self.failed(id, Failure::ElementGone),
            None => self.wait(now, id, Failure::UnknownPool),
        }
    }

    /// Who is chosen only if nobody else is there: whom the application avoids, whom this session lost, and whom any
    /// session reported lately.
    fn tired(&self, now: Time, id: SessionId) -> BTreeSet<ElementId> {
        let Some(session) = self.sessions.get(&id) else { return BTreeSet::new() };
        let pool = (session.handle, ElementId(0))..=(session.handle, ElementId(u32::MAX));
        let reported = self
            .reports
            .range(pool)
            .filter(|(_, at)| now.since(**at) < REPORT_GAP)
            .map(|((_, element), _)| *element);
        session.options.avoid.iter().copied().chain(session.failed.iter().copied()).chain(reported).collect()
    }

    /// No element this time.
    fn wait(&mut self, now: Time, id: SessionId, why: Failure) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.vain += 1;
        let vain = session.vain;
        self.pause(now, id, vain);
        self.outbox.event(Event::Waiting { session: id, why });
    }

    /// A pause that doubles with `times`, which is at least 1.
    fn pause(&mut self, now: Time, id: SessionId, times: u32) {
        let timing = &self.config.timing;
        let span = timing.failover_pause * 2u32.saturating_pow((times - 1).min(16));
        let span = self.random.jittered(span.min(timing.failover_pause_max), 125);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.stage = Stage::Pausing;
            self.timers.set(Timer::Retry(id), now + span);
        }
    }

    /// The session cannot go on.
    fn failed(&mut self, id: SessionId, why: Failure) {
        self.end(id);
        self.outbox.event(Event::Failed { session: id, why });
    }

    // --- connecting

    /// Opens the link. The cookie echo goes first (RFC 5352 §3.8): it is on its way before the link is up. False if
    /// the element cannot be reached by us at all.
    pub(super) fn connect(&mut self, now: Time, id: SessionId, element: &PoolElement) -> bool {
        let Some(session) = self.sessions.get_mut(&id) else { return false };
        let Some(to) = user_endpoint(element) else { return false };
        let greeting =
            Greeting { role: Role::User, own: 0, wanted: element.id.0, pool: Some(session.handle) };
        let link = self.outbox.open(Door::Service, to.clone(), greeting);
        if let Some(cookie) = session.cookie.clone() {
            self.outbox.send(link, Ppid::ASAP, Message::CookieEcho { cookie }.emit());
        }
        let echoed = session.cookie.is_some();
        let line = Line { link, element: element.id, to, echoed, sent: false, heard: now };
        session.stage = Stage::Connecting(line);
        self.links.insert(link, id);
        self.timers.set(Timer::Connect(id), now + self.config.timing.connect_timeout);
        true
    }

    /// The link is up.
    pub(super) fn connected(&mut self, now: Time, link: LinkId) {
        let Some(&id) = self.links.get(&link) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match std::mem::replace(&mut session.stage, Stage::Pausing) {
            Stage::Connecting(mut line) => {
                line.heard = now;
                let (element, resumed, failed_over) = (line.element, line.echoed, session.served);
                session.stage = Stage::Connected(line);
                session.served = true;
                self.timers.clear(&Timer::Connect(id));
                self.timers.set(Timer::Useful(id), now + USEFUL);
                let heartbeat = session.options.heartbeat;
                self.outbox.event(Event::Connected { session: id, element, resumed, failed_over });
                if heartbeat {
                    // At once, so that the element knows what silence of ours means, however soon it begins.
                    self.ping(now, id);
                    self.timers.set(Timer::Verdict(id), now + self.config.timing.heartbeat_timeout);
                }
            }
            other => session.stage = other,
        }
    }

    pub(super) fn connect_timed_out(&mut self, now: Time, id: SessionId) {
        self.lose(now, id, FailoverCause::Unreachable, true, Some(Ending::Abort));
    }

    /// It has been up for long enough.
    pub(super) fn useful(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.failures = 0;
            session.failed.clear();
        }
    }

    // --- listening

    /// The element says something: a sign of life, whatever it is.
    pub(super) fn message(&mut self, now: Time, link: LinkId, ppid: Ppid, bytes: Vec<u8>) {
        if let Some(former) = self.former.get(&link) {
            if !matches!(ppid, Ppid::ASAP | Ppid::ENRP | Ppid::LINK) {
                let (session, element) = (former.session, former.element);
                self.outbox.event(Event::Late { session, element, ppid, bytes });
            }
            return;
        }
        let Some(&id) = self.links.get(&link) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let Stage::Connected(line) = &mut session.stage else { return };
        line.heard = now;
        match ppid {
            Ppid::ASAP => match Message::parse(&bytes) {
                Ok(Message::Cookie { cookie }) => session.cookie = Some(cookie),
                // BC2: the order is kept. BC1 asks to resolve a pool that is not known; this one is.
                Ok(Message::BusinessCard { handle, elements }) if handle == session.handle => {
                    session.preferred = elements.iter().take(ITEMS_MAX).map(|element| element.id).collect();
                }
                Ok(_) => self.ignored.unexpected += 1,
                Err(_) => self.ignored.malformed += 1,
            },
            Ppid::LINK => match Frame::parse(&bytes) {
                Some(Frame::Ping(content)) => {
                    self.outbox.send(link, Ppid::LINK, Frame::Pong(content).emit());
                }
                Some(Frame::Pong(_)) => {}
                None => self.ignored.malformed += 1,
            },
            Ppid::ENRP => self.ignored.unexpected += 1,
            _ => self.outbox.event(Event::Message { session: id, ppid, bytes }),
        }
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self, now: Time, id: SessionId) {
        let Some(link) = self.sessions.get(&id).and_then(Session::link) else { return };
        self.pings = self.pings.wrapping_add(1);
        let pause = self.config.timing.heartbeat_interval;
        self.outbox.send(link, Ppid::LINK, Frame::ping(self.pings, pause).emit());
        self.timers.set(Timer::Ping(id), now + pause);
    }

    /// The element should have been heard by now. If this moment itself comes late, we were the ones held up: the
    /// element's signs of life may still be under way, so it is asked again and gets one more span.
    pub(super) fn verdict(&mut self, now: Time, due: Time, id: SessionId) {
        let Some(Session { stage: Stage::Connected(line), .. }) = self.sessions.get(&id) else { return };
        let span = self.config.timing.heartbeat_timeout;
        if line.heard + span > now {
            self.timers.set(Timer::Verdict(id), line.heard + span);
        } else if now.since(due) > span / 4 {
            self.ping(now, id);
            self.timers.set(Timer::Verdict(id), now + span);
        } else {
            self.lose(now, id, FailoverCause::Hung, true, Some(Ending::Abort));
        }
    }

    // --- losing an element

    /// The link ended, or could not be opened.
    pub(super) fn link_ended(&mut self, now: Time, link: LinkId, cause: Cause) {
        if self.former.remove(&link).is_some() {
            self.timers.clear(&Timer::Late(link));
            return;
        }
        let Some(&id) = self.links.get(&link) else { return };
        let connecting = matches!(self.sessions.get(&id), Some(Session { stage: Stage::Connecting(_), .. }));
        // Who ends or aborts a session is reachable, perhaps full: it is not reported. Nor is one that we overwhelmed.
        let (why, report) = match cause {
            Cause::Unreachable => (FailoverCause::Unreachable, true),
            Cause::Lost if connecting => (FailoverCause::Unreachable, true),
            Cause::Lost => (FailoverCause::Lost, true),
            Cause::Overflow => (FailoverCause::Lost, false),
            Cause::Ended | Cause::Aborted => (FailoverCause::Ended, false),
        };
        self.lose(now, id, why, report, None);
    }

    pub(super) fn asked_to_fail_over(&mut self, now: Time, id: SessionId, report: bool) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (Stage::Connecting(line) | Stage::Connected(line)) = &session.stage else { return };
        // RFC 5352 §3.5: no report unless the application has sent something to that element.
        let report = report && line.sent;
        self.lose(now, id, FailoverCause::Asked, report, Some(Ending::Abort));
    }

    /// The session has no element any more, for this reason; it goes on with another one. `how`: the link is still
    /// there and to be ended so.
    fn lose(&mut self, now: Time, id: SessionId, cause: FailoverCause, report: bool, how: Option<Ending>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let line = match std::mem::replace(&mut session.stage, Stage::Pausing) {
            Stage::Connecting(line) | Stage::Connected(line) => line,
            other => {
                session.stage = other;
                return;
            }
        };
        session.failed.retain(|element| *element != line.element);
        if session.failed.len() == FAILED_MAX {
            session.failed.remove(0);
        }
        session.failed.push(line.element);
        session.failures = session.failures.saturating_add(1);
        let (handle, failures, patience) = (session.handle, session.failures, session.options.late_patience);
        self.links.remove(&line.link);
        self.clear_timers(id);
        if cause == FailoverCause::Hung && !patience.is_zero() {
            self.keep_former(now + patience, line.link, Former { session: id, element: line.element });
        } else if let Some(how) = how {
            self.outbox.close(line.link, how);
        }
        if report {
            self.report(now, handle, line.element);
        }
        self.outbox.event(Event::FailingOver { session: id, from: Some(line.element), cause });
        if failures == 1 {
            self.seek(now, id);
        } else {
            self.pause(now, id, failures - 1);
        }
    }

    /// Tells a registrar that an element cannot be reached (RFC 5352 §3.5: once per event). Several sessions that lose
    /// the same element see one event.
    fn report(&mut self, now: Time, handle: PoolHandle, element: ElementId) {
        self.cache.remove(&handle, element);
        let key = (handle, element);
        if self.reports.get(&key).is_some_and(|at| now.since(*at) < REPORT_GAP) {
            return;
        }
        if self.reports.len() >= REPORTS_MAX {
            self.reports.retain(|_, at| now.since(*at) < REPORT_GAP);
        }
        if self.reports.len() < REPORTS_MAX {
            self.reports.insert(key, now);
        }
        self.home.tell(Message::EndpointUnreachable { handle, element }, &mut self.outbox);
    }

    /// Keeps a given-up link for a while.
    fn keep_former(&mut self, until: Time, link: LinkId, former: Former) {
        if self.former.len() >= FORMER_MAX
            && let Some(oldest) = self.former.keys().next().copied()
        {
            self.late_no_more(oldest);
            self.timers.clear(&Timer::Late(oldest));
        }
        self.former.insert(link, former);
        self.timers.set(Timer::Late(link), until);
    }

    pub(super) fn late_no_more(&mut self, link: LinkId) {
        if self.former.remove(&link).is_some() {
            self.outbox.close(link, Ending::Abort);
        }
    }

    /// Gives up what the session's former elements may still say.
    pub(super) fn forget(&mut self, id: SessionId) {
        let links: Vec<_> =
            self.former.iter().filter(|(_, former)| former.session == id).map(|(&link, _)| link).collect();
        for link in links {
            self.timers.clear(&Timer::Late(link));
            self.late_no_more(link);
        }
    }

    /// Ends a session and everything that belongs to it, except what its former elements may still say.
    pub(super) fn end(&mut self, id: SessionId) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.clear_timers(id);
        match session.stage {
            Stage::Resolving(request, _) => {
                self.requests.remove(&request);
                self.home.cancel(request);
            }
            Stage::Pausing => {}
            Stage::Connecting(line) => {
                self.links.remove(&line.link);
                self.outbox.close(line.link, Ending::Abort);
            }
            Stage::Connected(line) => {
                self.links.remove(&line.link);
                self.outbox.close(line.link, Ending::Graceful);
            }
        }
    }

    fn clear_timers(&mut self, id: SessionId) {
        for timer in [Timer::Retry, Timer::Connect, Timer::Ping, Timer::Verdict, Timer::Useful] {
            self.timers.clear(&timer(id));
        }
    }
}

/// True if the few the policy would give are not enough to find whom the session wants.
fn session_wants_all(session: &Session) -> bool {
    session.options.only.is_some() || (session.failures > 0 && !session.preferred.is_empty())
}

/// Where to open a session with this element: SCTP or TCP with a control channel. Others hold no sessions (a TCP
/// transport use of 0 is a plain stream of octets).
pub(super) fn user_endpoint(element: &PoolElement) -> Option<Endpoint> {
    match &element.user_transport {
        Transport::Sctp { port, transport_use: TransportUse::DataAndControl, addresses }
            if !addresses.is_empty() && *port != 0 =>
        {
            Some(Endpoint { protocol: Protocol::Sctp, addresses: addresses.clone(), port: *port })
        }
        Transport::Tcp { port, transport_use: TransportUse::DataAndControl, address } if *port != 0 => {
            Some(Endpoint::tcp(SocketAddr::new(*address, *port)))
        }
        _ => None,
    }
}
