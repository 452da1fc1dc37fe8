//! The pool user: resolves pool handles and holds sessions that survive their element (RFC 5352 §3.3, 3.5, 3.8, 3.9).
//!
//! A session is a conversation with a pool, not with one element: `session.rs` finds an element, connects, notices when
//! it fails, and goes on with another one, to which it gives the last cookie of the one before. `cache.rs` remembers
//! resolutions. The way to the registrars is [`crate::home`]'s.

mod cache;
mod session;
#[cfg(test)]
mod tests;

use crate::home::{Home, Ignored, News, RequestId};
use crate::wire::asap::{Message, Resolution};
use crate::wire::parameter::{CauseCode, ErrorCause, PoolElement};
use crate::{
    Channel, ElementId, Ending, Endpoint, Input, LinkId, Node, Outbox, Output, Policy, PoolHandle, Ppid,
    Random, Role, Time, Timers, Timing,
};
use cache::Cache;
use session::{Former, Session, user_endpoint};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Settings of a pool user.
#[derive(Clone, Debug)]
pub struct Config {
    /// Registrars to try; more may be learnt from announcements.
    pub registrars: Vec<Endpoint>,
    /// How long a resolved element may be used without asking again. Zero: ask for every session.
    pub stale_cache_value: Duration,
    /// Timers.
    pub timing: Timing,
}

impl Config {
    /// Settings of a user of these registrars, without a cache and with default timers.
    pub fn new(registrars: Vec<Endpoint>) -> Self {
        Self { registrars, stale_cache_value: Duration::ZERO, timing: Timing::default() }
    }
}

/// A session as its user sees it. Never used twice by one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A resolution asked for with [`PoolUser::resolve`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResolutionId(pub u64);

/// Wishes of a session about its elements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Only this element (RFC 3237 "connect to the same server again"); the session fails if it is gone.
    pub only: Option<ElementId>,
    /// Not these, as long as the pool has others.
    pub avoid: BTreeSet<ElementId>,
    /// Ask the element for signs of life (our link frames) and notice when it hangs. Our own services answer; for
    /// services of others leave it off.
    pub heartbeat: bool,
    /// How long the link of an element that hung stays open after the fail-over, so that what it says late is heard
    /// ([`Event::Late`]) instead of lost without a trace. Nothing more is sent to it. Zero: the link is aborted at once.
    pub late_patience: Duration,
}

/// Why a session changed its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailoverCause {
    /// The link ended: the element died, or its host, or the path to it.
    Lost,
    /// The link is up but the element gave no sign of life.
    Hung,
    /// It could not be reached in the first place.
    Unreachable,
    /// It ended the session itself.
    Ended,
    /// The application asked.
    Asked,
}

/// Why something did not work out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No registrar answered.
    NoRegistrar {
        /// How many were tried.
        tried: usize,
    },
    /// The registrar knows no such pool (or nobody in it can serve).
    UnknownPool,
    /// The registrar answered with another error.
    Refused(Vec<ErrorCause>),
    /// The element asked for with `only` is gone.
    ElementGone,
}

/// What a pool user tells its application.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The answer to [`PoolUser::resolve`].
    Resolved {
        /// As returned by `resolve`.
        resolution: ResolutionId,
        /// The policy of the pool and its elements in order of selection.
        result: Result<(Policy, Vec<PoolElement>), Failure>,
    },
    /// The session has an element. `resumed`: a cookie was echoed to it, so the work goes on; without, the application
    /// repeats what was unanswered. `failed_over`: not the session's first element.
    Connected {
        /// Which session.
        session: SessionId,
        /// Its element now.
        element: ElementId,
        /// The cookie of the element before was echoed.
        resumed: bool,
        /// It had another element before.
        failed_over: bool,
    },
    /// A message of the element.
    Message {
        /// Which session.
        session: SessionId,
        /// What it is.
        ppid: Ppid,
        /// Its octets.
        bytes: Vec<u8>,
    },
    /// A message of an element that hung and was given up, within `late_patience`. Never anything the present element
    /// said; cookies and business cards that come late are dropped.
    Late {
        /// The session that had the element.
        session: SessionId,
        /// The element of then.
        element: ElementId,
        /// What it is.
        ppid: Ppid,
        /// Its octets.
        bytes: Vec<u8>,
    },
    /// The session lost its element; another one is being sought, unless the application closes the session.
    FailingOver {
        /// Which session.
        session: SessionId,
        /// The element lost, if it had one.
        from: Option<ElementId>,
        /// Why.
        cause: FailoverCause,
    },
    /// No element could be found this time. The user tries again, with pauses, until the session is closed.
    Waiting {
        /// Which session.
        session: SessionId,
        /// Why.
        why: Failure,
    },
    /// The session is over: its `only` element is gone.
    Failed {
        /// Which session.
        session: SessionId,
        /// Why.
        why: Failure,
    },
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// No such session.
    UnknownSession,
    /// The session has no element at the moment: wait for `Connected`.
    NotConnected,
    /// Empty, or with a PPID that is not the application's (ASAP, ENRP, link frames).
    NotData,
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::UnknownSession => "there is no such session",
            Self::NotConnected => "the session has no element at the moment",
            Self::NotData => "the message is empty, or its payload protocol is not the application's",
        })
    }
}

impl std::error::Error for SendError {}

/// A pool user.
pub struct PoolUser {
    config: Config,
    random: Random,
    home: Home,
    cache: Cache,
    sessions: BTreeMap<SessionId, Session>,
    /// The links sessions use now.
    links: BTreeMap<LinkId, SessionId>,
    /// The links of elements that hung, kept for what comes late.
    former: BTreeMap<LinkId, Former>,
    /// Who waits for which answer.
    requests: BTreeMap<RequestId, Asker>,
    /// Elements reported lately, and when.
    reports: BTreeMap<(PoolHandle, ElementId), Time>,
    timers: Timers<Timer>,
    outbox: Outbox<Event>,
    /// Sessions and resolutions so far.
    opened: u64,
    /// Pings so far.
    pings: u32,
    ignored: Ignored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    Session(SessionId),
    Application(ResolutionId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A pause is over: look for an element (again).
    Retry(SessionId),
    /// The element should have taken the session by now.
    Connect(SessionId),
    /// Time for a sign of life to be asked.
    Ping(SessionId),
    /// The element should have given a sign of life by now.
    Verdict(SessionId),
    /// The session has been up for long enough to forget earlier failures.
    Useful(SessionId),
    /// What comes over this link of a former element is not waited for any more.
    Late(LinkId),
}

impl PoolUser {
    /// A user that looks for a registrar as soon as its world wakes it, or it needs one.
    pub fn new(config: Config, mut random: Random) -> Self {
        let home = Home::new(Role::User, 0, config.registrars.clone(), &config.timing, random.fork());
        let cache = Cache::new(config.stale_cache_value);
        Self {
            config,
            random,
            home,
            cache,
            sessions: BTreeMap::new(),
            links: BTreeMap::new(),
            former: BTreeMap::new(),
            requests: BTreeMap::new(),
            reports: BTreeMap::new(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            opened: 0,
            pings: 0,
            ignored: Ignored::default(),
        }
    }

    /// Opens a session with some element of the pool. Nothing fails at once: see the events.
    pub fn open(&mut self, now: Time, handle: PoolHandle, options: SessionOptions) -> SessionId {
        let id = self.add(handle, options);
        self.seek(now, id);
        self.obey_news(now);
        id
    }

    /// Opens a session with this element, as known from [`Event::Resolved`], without asking a registrar first. Should
    /// it fail, the session goes on like any other.
    pub fn open_at(
        &mut self,
        now: Time,
        handle: PoolHandle,
        element: PoolElement,
        options: SessionOptions,
    ) -> SessionId {
        let id = self.add(handle, options);
        if !self.connect(now, id, &element) {
            self.seek(now, id);
        }
        self.obey_news(now);
        id
    }

    fn add(&mut self, handle: PoolHandle, options: SessionOptions) -> SessionId {
        self.opened += 1;
        let id = SessionId(self.opened);
        self.sessions.insert(id, Session::new(handle, options));
        id
    }

    /// Sends application data to the session's element.
    pub fn send(
        &mut self,
        now: Time,
        session: SessionId,
        ppid: Ppid,
        bytes: Vec<u8>,
    ) -> Result<(), SendError> {
        let _ = now; // sending waits for nothing: the world keeps what the link does not take yet
        // RFC 5352 §5: messages of the data channel must not use the PPID of ASAP.
        if bytes.is_empty() || matches!(ppid, Ppid::ASAP | Ppid::ENRP | Ppid::LINK) {
            return Err(SendError::NotData);
        }
        let session = self.sessions.get_mut(&session).ok_or(SendError::UnknownSession)?;
        let link = session.data_link().ok_or(SendError::NotConnected)?;
        self.outbox.send(link, ppid, bytes);
        Ok(())
    }

    /// Ends a session gracefully. Nothing more is told of it, except [`Event::Late`]: an application that goes on without
    /// the session may still want to count what its hung element finished. [`Self::forget_former`] ends that, too.
    pub fn close(&mut self, now: Time, session: SessionId) {
        let _ = now; // the end waits for nothing
        self.end(session);
    }

    /// Gives up the session's element; `report`: it was silent, tell the registrar. The report is sent only if the
    /// application has sent something to that element (RFC 5352 §3.5).
    pub fn fail_over(&mut self, now: Time, session: SessionId, report: bool) {
        self.asked_to_fail_over(now, session, report);
        self.obey_news(now);
    }

    /// Replaces the elements the session avoids from its next fail-over on.
    pub fn avoid(&mut self, session: SessionId, elements: BTreeSet<ElementId>) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.options.avoid = elements;
        }
    }

    /// Aborts the links kept open for late messages of the session ([`SessionOptions::late_patience`]).
    pub fn forget_former(&mut self, now: Time, session: SessionId) {
        let _ = now; // the end waits for nothing
        self.forget(session);
    }

    /// The last cookie the session received.
    pub fn cookie(&self, session: SessionId) -> Option<&[u8]> {
        self.sessions.get(&session)?.cookie.as_deref()
    }

    /// The element the session is connected to.
    pub fn element(&self, session: SessionId) -> Option<ElementId> {
        self.sessions.get(&session)?.element()
    }

    /// True if a session is connected, or is about to be, where this element is. Its own identifier does not matter: an
    /// element that died may have had the same address, and over SCTP whoever is there now is taken for it.
    pub fn is_used(&self, element: &PoolElement) -> bool {
        let place = user_endpoint(element);
        place.is_some_and(|place| {
            self.sessions.values().filter_map(Session::place).any(|used| used.is_same_place(&place))
        })
    }

    /// True if another session is connected where this one is.
    pub fn is_shared(&self, session: SessionId) -> bool {
        let Some(place) = self.sessions.get(&session).and_then(Session::place) else { return false };
        let others = self.sessions.iter().filter(|(id, of)| **id != session && of.element().is_some());
        others.filter_map(|(_, of)| of.place()).any(|used| used.is_same_place(place))
    }

    /// Where the registrar is that this user asks at the moment; `None` while it has none.
    pub fn registrar(&self) -> Option<&Endpoint> {
        self.home.endpoint()
    }

    /// How many sessions are open, with an element or without.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// Resolves a pool handle at the registrar: [`Event::Resolved`] follows. `count`: `u32::MAX` is all (of which a
    /// registrar names 128 at most).
    pub fn resolve(&mut self, now: Time, handle: PoolHandle, count: u32) -> ResolutionId {
        self.opened += 1;
        let id = ResolutionId(self.opened);
        self.ask(now, handle, count, Asker::Application(id));
        self.obey_news(now);
        id
    }

    fn ask(&mut self, now: Time, handle: PoolHandle, count: u32, asker: Asker) -> RequestId {
        let message = Message::HandleResolution { subscribe: false, handle, items: Some(count) };
        let request = self.home.request(now, message, &mut self.outbox);
        self.requests.insert(request, asker);
        request
    }

    /// What was received and ignored.
    pub fn ignored(&self) -> Ignored {
        let home = self.home.ignored();
        Ignored {
            malformed: self.ignored.malformed + home.malformed,
            unexpected: self.ignored.unexpected + home.unexpected,
            excess: self.ignored.excess + home.excess,
        }
    }

    /// Obeys what became known about registrars.
    fn obey_news(&mut self, now: Time) {
        while let Some(news) = self.home.take_news() {
            match news {
                // A user has nothing to hand over: the home before is not needed any more.
                News::Found => self.home.settled(&mut self.outbox),
                News::NoRegistrar { tried } => self.no_registrar(tried),
                News::Answered {
                    request,
                    answer: Message::HandleResolutionResponse { handle, answer, .. },
                } => {
                    let result = self.understood(now, &handle, answer);
                    self.resolved(now, request, result);
                }
                News::Failed { request, causes } => {
                    self.resolved(now, request, Err(Failure::Refused(causes)));
                }
                News::Unanswered { request, tried } => {
                    self.resolved(now, request, Err(Failure::NoRegistrar { tried }));
                }
                // A user is no member of a pool: keep-alives and ends of registrations are not its business.
                News::KeepAlive { .. } | News::Expired { .. } => self.ignored.unexpected += 1,
                News::Lost | News::Answered { .. } => {}
            }
        }
    }

    /// What an answer means; good ones are remembered.
    fn understood(
        &mut self,
        now: Time,
        handle: &PoolHandle,
        answer: Resolution,
    ) -> Result<(Policy, Vec<PoolElement>), Failure> {
        match answer {
            Resolution::Elements { elements, .. } if elements.is_empty() => Err(Failure::UnknownPool),
            Resolution::Elements { policy, elements } => {
                self.cache.store(now, handle, &elements);
                // RFC 5352 §3.3: without a policy parameter, round robin is meant, whatever the elements say.
                Ok((policy.unwrap_or(Policy::RoundRobin), elements))
            }
            Resolution::Failed { causes } => {
                let unknown = causes.iter().any(|cause| cause.code == CauseCode::UNKNOWN_POOL_HANDLE);
                Err(if unknown { Failure::UnknownPool } else { Failure::Refused(causes) })
            }
        }
    }

    fn resolved(
        &mut self,
        now: Time,
        request: RequestId,
        result: Result<(Policy, Vec<PoolElement>), Failure>,
    ) {
        match self.requests.remove(&request) {
            Some(Asker::Application(resolution)) => {
                self.outbox.event(Event::Resolved { resolution, result });
            }
            Some(Asker::Session(session)) => self.candidates(now, session, result),
            None => {}
        }
    }

    /// Nobody in a whole round of the hunt. While a home is there that is only slow, its time-outs decide.
    fn no_registrar(&mut self, tried: usize) {
        if self.home.is_up() {
            return;
        }
        let why = Failure::NoRegistrar { tried };
        for (request, asker) in std::mem::take(&mut self.requests) {
            match asker {
                // The session goes on waiting: its request is sent to whoever is found.
                Asker::Session(session) => {
                    self.requests.insert(request, asker);
                    self.outbox.event(Event::Waiting { session, why: why.clone() });
                }
                Asker::Application(resolution) => {
                    self.home.cancel(request);
                    self.outbox.event(Event::Resolved { resolution, result: Err(why.clone()) });
                }
            }
        }
    }

    /// Audits the structure against itself; panics with the reason if it is inconsistent.
    pub fn check(&self) {
        self.home.check();
        self.cache.check();
        for (link, id) in &self.links {
            let session = self.sessions.get(id).expect("a link belongs to a session");
            assert_eq!(session.link(), Some(*link), "link and session {id} agree");
        }
        for (id, session) in &self.sessions {
            assert!(
                session.link().is_none_or(|link| self.links.get(&link) == Some(id)),
                "{id} is found by link"
            );
            session.check(*id, &self.requests, &self.timers);
        }
        for link in self.former.keys() {
            assert!(!self.links.contains_key(link), "a former link is not in use");
            assert!(self.timers.get(&Timer::Late(*link)).is_some(), "a former link has an end");
        }
    }
}

impl Node for PoolUser {
    type Event = Event;

    fn handle(&mut self, now: Time, input: Input) {
        let out = &mut self.outbox;
        match input {
            Input::Accepted { link, .. } => out.close(link, Ending::Abort), // nobody has a reason to call a user
            Input::Opened { link, .. } if self.home.owns(link) => self.home.opened(now, link, out),
            Input::Opened { link, .. } => self.connected(now, link),
            Input::Message { link, ppid, bytes } if self.home.owns(link) => {
                self.home.message(now, link, ppid, &bytes, out);
            }
            Input::Message { link, ppid, bytes } => self.message(now, link, ppid, bytes),
            Input::Closed { link, .. } if self.home.owns(link) => self.home.closed(now, link, out),
            Input::Closed { link, cause } => self.link_ended(now, link, cause),
            Input::Heard { channel: Channel::Asap, from, bytes } => self.home.heard(now, from, &bytes, out),
            Input::Heard { channel: Channel::Enrp, .. } => self.ignored.unexpected += 1,
            Input::Wake => {
                self.home.wake(now, out);
                while let Some((due, timer)) = self.timers.take_due(now) {
                    match timer {
                        Timer::Retry(session) => self.seek(now, session),
                        Timer::Connect(session) => self.connect_timed_out(now, session),
                        Timer::Ping(session) => self.ping(now, session),
                        Timer::Verdict(session) => self.verdict(now, due, session),
                        Timer::Useful(session) => self.useful(session),
                        Timer::Late(link) => self.late_no_more(link),
                    }
                }
            }
            Input::Deaf { span } => {
                self.home.deaf(span);
                let patience =
                    |timer: &Timer| matches!(timer, Timer::Connect(_) | Timer::Verdict(_) | Timer::Late(_));
                self.timers.postpone(span, patience);
            }
        }
        self.obey_news(now);
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        self.outbox.take()
    }

    fn deadline(&self) -> Option<Time> {
        [self.home.deadline(), self.timers.next()].into_iter().flatten().min()
    }
}
