//! Finding and keeping one registrar, the home: shared by pool element and pool user (RFC 5352 §3.1-3.3, 3.6, 3.7).
//!
//! ```text
//!              .-- first link up ----------------------> Home --- link ended ---.
//!   hunting ---|                                          |  ^                  |
//!      ^       '-- nobody in a whole round: told,         |  '- it answered     |
//!      |           and on with a longer patience          |      after all      |
//!      |                                                  | T1, T2 or T3 over   |
//!      |                                                  v                     |
//!      |                                   hunting beside a suspected home      |
//!      '------------------------------------------------------------------------'
//! ```
//!
//! Requests are sent without waiting for earlier answers; a registrar answers in order, so an answer belongs to the
//! oldest question it fits. What becomes known is told as [`News`], which the owner takes after each call. Resolutions
//! still open move to a new home by themselves. Registrations and deregistrations do not, since they say which home
//! they know: their owner makes them anew when it hears of [`News::Found`].
//!
//! A registrar that took over an element opens the link itself. It starts as a visitor, and becomes the home when it
//! says so in a keep-alive and that is plausible ([`Home::adopt`]). The old link then stays up until the new home has
//! accepted the element: closing it earlier makes the old home remove the element everywhere.

mod hunt;
mod known;
#[cfg(test)]
mod tests;

use crate::link::Frame;
use crate::wire::asap::Message;
use crate::wire::parameter::ErrorCause;
use crate::{
    Door, ElementId, Ending, Endpoint, Greeting, LinkId, Outbox, PoolHandle, Ppid, Protocol, Random,
    RegistrarId, Role, Time, Timers, Timing,
};
use hunt::Hunt;
use known::Known;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Links at one time, attempts included (RFC 5352 §3.6, SH1); visitors are not counted, they are not our attempts.
const LINKS_MAX: usize = 3;
/// Links of registrars that came to us. One more ends the oldest.
const VISITORS_MAX: usize = 8;
/// Questions one registrar may leave unanswered for good. One that owes more is no home any more, though its link is up.
const OWED_MAX: usize = 4_096;
/// Reports kept until a home is found; the oldest are dropped.
const REPORTS_MAX: usize = 64;
/// So many homes in succession may hang up within one patience before the hunt pauses: registrars that take links and
/// end them would be called in a busy loop.
const SHORT_HOMES_MAX: u32 = 3;
/// Keep-alives obeyed per link and second. Registrars ask at most some twenty times (`realtime`, and reports).
const KEEP_ALIVES_MAX: u32 = 100;

/// What was received and ignored, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Octets that are no message.
    pub malformed: u64,
    /// Messages that do not fit the moment: answers nobody waits for, a second cookie echo, foreign identifiers, PPIDs
    /// that have no place on the link.
    pub unexpected: u64,
    /// Messages and links beyond a bound.
    pub excess: u64,
}

/// A question sent to the home, by age. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RequestId(u64);

/// What became known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// There is a home, a new one. Registrations and deregistrations have to be made anew.
    Found,
    /// The home is gone; the hunt for another one is on.
    Lost,
    /// A whole round of the hunt found nobody; the hunt goes on.
    NoRegistrar { tried: usize },
    /// The answer.
    Answered { request: RequestId, answer: Message },
    /// The home could not make sense of the question (ASAP_ERROR).
    Failed { request: RequestId, causes: Vec<ErrorCause> },
    /// Asked often enough, at `tried` registrars or times.
    Unanswered { request: RequestId, tried: usize },
    /// A registrar asks for a sign of life, and to be the home (`home`).
    KeepAlive {
        link: LinkId,
        server: RegistrarId,
        home: bool,
        handle: PoolHandle,
        element: Option<ElementId>,
    },
    /// The registration ended without being asked to: its life is over (RFC 5352 §3.2).
    Expired { handle: PoolHandle, element: ElementId },
}

/// The line to one's registrar.
#[derive(Debug)]
pub(crate) struct Home {
    role: Role,
    own: u32,
    timing: Timing,
    random: Random,
    known: Known,
    lines: BTreeMap<LinkId, Line>,
    home: Option<LinkId>,
    leaving: Option<LinkId>,
    hunt: Option<Hunt>,
    /// T5-Serverhunt as it stands: doubled by every vain round.
    patience: Duration,
    /// Where the home was that failed us last: not to be tried first again (RFC 5352 §3.7.1).
    lost: Option<Endpoint>,
    /// Homes in succession that ended the link soon.
    short_homes: u32,
    requests: BTreeMap<RequestId, Request>,
    next_request: u64,
    reports: VecDeque<Message>,
    timers: Timers<Timer>,
    news: VecDeque<News>,
    ignored: Ignored,
    resting: bool,
}

#[derive(Debug)]
struct Line {
    stage: Stage,
    at: Endpoint,
    id: RegistrarId,
    /// Since when it is the home.
    since: Time,
    /// When it last said anything, or came up.
    heard: Time,
    /// Questions sent here and not yet answered, oldest first; some twice, some no longer of interest.
    asked: VecDeque<(RequestId, Question)>,
    /// Keep-alives obeyed in the second that began then.
    keep_alives: (Time, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Being opened by the hunt.
    Trying,
    /// Opened by a registrar.
    Visitor,
    Home,
    /// Another one to the home, about to take its place.
    Renewing,
    /// The home before, until the new one has accepted us.
    Leaving,
}

#[derive(Debug)]
struct Request {
    message: Message,
    question: Question,
    timeouts: u32,
    /// True between sending and the time-out.
    pending: bool,
}

/// What an answer is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Registration(PoolHandle, ElementId),
    Deregistration(PoolHandle, ElementId),
    Resolution(PoolHandle),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// T5.
    Hunt,
    /// T1, T2 or T3.
    Request(RequestId),
    /// The link to the home before is closed at the latest.
    Leave,
}

impl Home {
    /// A node of this role and identifier that knows these registrars. The hunt begins at the first wake or request.
    pub(crate) fn new(
        role: Role,
        own: u32,
        registrars: Vec<Endpoint>,
        timing: &Timing,
        random: Random,
    ) -> Self {
        let mut timers = Timers::default();
        timers.set(Timer::Hunt, Time::ZERO);
        Self {
            role,
            own,
            timing: timing.clone(),
            random,
            known: Known::new(registrars),
            lines: BTreeMap::new(),
            home: None,
            leaving: None,
            hunt: None,
            patience: timing.hunt_timeout,
            lost: None,
            short_homes: 0,
            requests: BTreeMap::new(),
            next_request: 0,
            reports: VecDeque::new(),
            timers,
            news: VecDeque::new(),
            ignored: Ignored::default(),
            resting: false,
        }
    }

    /// What became known, oldest first.
    pub(crate) fn take_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// The home's identifier: undefined while there is none, or as long as it has not told.
    pub(crate) fn id(&self) -> RegistrarId {
        self.line_home().map_or(RegistrarId::UNDEFINED, |line| line.id)
    }

    /// True if there is a home, suspected or not.
    pub(crate) fn is_up(&self) -> bool {
        self.home.is_some()
    }

    /// Where the home is, if there is one.
    pub(crate) fn endpoint(&self) -> Option<&Endpoint> {
        self.line_home().map(|line| &line.at)
    }

    /// What carries the link to the home, if there is one.
    pub(crate) fn protocol(&self) -> Option<Protocol> {
        self.line_home().map(|line| line.at.protocol)
    }

    pub(crate) fn ignored(&self) -> Ignored {
        self.ignored
    }

    pub(crate) fn owns(&self, link: LinkId) -> bool {
        self.lines.contains_key(&link)
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// Changes what the node calls itself in greetings.
    pub(crate) fn rename(&mut self, own: u32) {
        self.own = own;
    }

    // --- what the owner asks for

    /// Asks the home, or whoever becomes the home: a registration, deregistration or resolution. One piece of news
    /// follows, unless the request is cancelled, or is a (de)registration and the home changes.
    pub(crate) fn request<E>(&mut self, now: Time, message: Message, out: &mut Outbox<E>) -> RequestId {
        let question = Question::of(&message).expect("only messages that are answered are requested");
        let id = RequestId(self.next_request);
        self.next_request += 1;
        self.requests.insert(id, Request { message, question, timeouts: 0, pending: false });
        match self.home {
            Some(_) => self.transmit(now, id, out),
            None => self.start_hunt(now, out),
        }
        id
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn cancel(&mut self, request: RequestId) {
        self.requests.remove(&request);
        self.timers.clear(&Timer::Request(request));
    }

    /// Tells a registrar something that is not answered; without a home, the next one.
    pub(crate) fn tell<E>(&mut self, message: Message, out: &mut Outbox<E>) {
        match self.home {
            Some(link) => out.send(link, Ppid::ASAP, message.emit()),
            None => {
                if self.reports.len() == REPORTS_MAX {
                    self.reports.pop_front();
                    self.ignored.excess += 1;
                }
                self.reports.push_back(message);
            }
        }
    }

    /// Makes the registrar on this link, which calls itself `server`, the home (RFC 5352 §3.4, KA2.4). False if it is
    /// that already, or if the claim is not plausible: anybody can reach our port.
    ///
    /// Believed is who announced itself or comes from an address where we know a registrar; and anybody, as long as
    /// there is no home, or the home leaves a request unanswered or falls silent (it should ask for signs of life more
    /// often than every second interval; a second is the least that counts). A registrar with the identifier of the home that
    /// comes over another link has lost the old one, so it is treated alike.
    pub(crate) fn adopt<E>(
        &mut self,
        now: Time,
        link: LinkId,
        server: RegistrarId,
        out: &mut Outbox<E>,
    ) -> bool {
        if self.home == Some(link) || self.resting {
            return false;
        }
        let limit = (self.timing.keep_alive_interval * 2).max(Duration::from_secs(1));
        let silent = self.line_home().is_none_or(|home| now.since(home.heard) >= limit);
        let Some(line) = self.lines.get_mut(&link) else { return false };
        if !silent && self.hunt.is_none() && !self.known.vouches_for(server, &line.at) {
            self.ignored.unexpected += 1;
            return false;
        }
        line.id = server;
        self.settle(now, link, out);
        true
    }

    /// Opens another link to the home, which takes the place of the present one when it is up: a link over SCTP knows the
    /// addresses that this host had when it was opened. False if that is no use now: without a home, over TCP, or while
    /// the home is changed anyway.
    pub(crate) fn renew<E>(&mut self, out: &mut Outbox<E>) -> bool {
        let changes = self.hunt.is_some()
            || self.leaving.is_some()
            || self.lines.values().any(|line| line.stage == Stage::Renewing);
        let Some(home) = self.line_home().filter(|home| home.at.protocol == Protocol::Sctp && !changes)
        else {
            return false;
        };
        let (to, id) = (home.at.clone(), home.id);
        let greeting = Greeting { role: self.role, own: self.own, wanted: 0, pool: None };
        let link = out.open(Door::Asap, to.clone(), greeting);
        self.lines.insert(link, Line { id, ..Line::new(Stage::Renewing, to) });
        true
    }

    /// The home has accepted us: the link to the one before is not needed any more.
    pub(crate) fn settled<E>(&mut self, out: &mut Outbox<E>) {
        if let Some(link) = self.leaving.take() {
            self.timers.clear(&Timer::Leave);
            self.lines.remove(&link);
            out.close(link, Ending::Graceful);
        }
    }

    /// Ends everything: no home is needed any more.
    pub(crate) fn rest<E>(&mut self, out: &mut Outbox<E>) {
        self.resting = true;
        self.hunt = None;
        self.home = None;
        self.leaving = None;
        self.requests.clear();
        self.reports.clear();
        self.timers = Timers::default();
        for (link, line) in std::mem::take(&mut self.lines) {
            let how = if matches!(line.stage, Stage::Trying | Stage::Renewing) {
                Ending::Abort
            } else {
                Ending::Graceful
            };
            out.close(link, how);
        }
    }

    // --- what the world tells

    /// A registrar opened a link to us.
    pub(crate) fn accepted<E>(&mut self, link: LinkId, peer: Endpoint, out: &mut Outbox<E>) {
        if self.resting {
            out.close(link, Ending::Abort);
            return;
        }
        let visitors = || self.lines.iter().filter(|(_, line)| line.stage == Stage::Visitor);
        if visitors().count() >= VISITORS_MAX
            && let Some(oldest) = visitors().map(|(&link, _)| link).min()
        {
            self.lines.remove(&oldest);
            self.ignored.excess += 1;
            out.close(oldest, Ending::Abort);
        }
        self.lines.insert(link, Line::new(Stage::Visitor, peer));
    }

    /// A link of ours is up.
    pub(crate) fn opened<E>(&mut self, now: Time, link: LinkId, out: &mut Outbox<E>) {
        let Some(line) = self.lines.get(&link) else { return };
        match line.stage {
            Stage::Trying => self.settle(now, link, out),
            // The home may have changed meanwhile.
            Stage::Renewing if self.line_home().is_some_and(|home| home.at == line.at) => {
                self.settle(now, link, out);
            }
            Stage::Renewing => {
                self.lines.remove(&link);
                out.close(link, Ending::Graceful);
            }
            _ => {}
        }
    }

    /// A link ended, or could not be opened.
    pub(crate) fn closed<E>(&mut self, now: Time, link: LinkId, out: &mut Outbox<E>) {
        let Some(line) = self.lines.remove(&link) else { return };
        match line.stage {
            Stage::Trying => self.attempt_failed(now, out),
            Stage::Visitor | Stage::Renewing => {}
            Stage::Leaving => {
                self.leaving = None;
                self.timers.clear(&Timer::Leave);
            }
            Stage::Home => {
                self.home = None;
                let ids: Vec<_> = self.requests.keys().copied().collect();
                for id in ids {
                    self.timers.clear(&Timer::Request(id));
                }
                for request in self.requests.values_mut() {
                    request.pending = false;
                }
                self.lost = Some(line.at);
                if let Some(before) = self.leaving.take() {
                    // The one we were about to leave is still there, and knows us.
                    self.timers.clear(&Timer::Leave);
                    self.settle(now, before, out);
                } else {
                    self.news.push_back(News::Lost);
                    // A link that was to take its place is the first attempt of the hunt.
                    let waiting = self.lines.values_mut().filter(|line| line.stage == Stage::Renewing);
                    waiting.for_each(|line| line.stage = Stage::Trying);
                    let short = now.since(line.since) < self.timing.hunt_timeout;
                    self.short_homes = if short { self.short_homes + 1 } else { 0 };
                    if self.short_homes < SHORT_HOMES_MAX {
                        // A round that is over spared the home. Now even that one may be called again.
                        self.hunt.take_if(|hunt| hunt.is_over());
                        self.start_hunt(now, out);
                    } else {
                        self.pause_hunt(now);
                    }
                }
            }
        }
    }

    /// A message came over one of our links.
    pub(crate) fn message<E>(
        &mut self,
        now: Time,
        link: LinkId,
        ppid: Ppid,
        bytes: &[u8],
        out: &mut Outbox<E>,
    ) {
        let Some(line) = self.lines.get_mut(&link) else { return };
        line.heard = now;
        match ppid {
            Ppid::ASAP => match Message::parse(bytes) {
                Ok(message) => self.hear(now, link, message, out),
                Err(_) => self.ignored.malformed += 1,
            },
            Ppid::LINK => match Frame::parse(bytes) {
                Some(Frame::Ping(content)) => out.send(link, Ppid::LINK, Frame::Pong(content).emit()),
                Some(Frame::Pong(_)) => {}
                None => self.ignored.malformed += 1,
            },
            _ => self.ignored.unexpected += 1,
        }
    }

    /// A datagram came over the announcement channel (RFC 5352 §3.6).
    pub(crate) fn heard<E>(&mut self, now: Time, from: SocketAddr, bytes: &[u8], out: &mut Outbox<E>) {
        match Message::parse(bytes) {
            Ok(Message::ServerAnnounce { server, transports }) => {
                let new = self.known.announced(now, from, server, &transports, self.timing.announce_lifetime);
                self.hunt_also(now, new, out);
            }
            Ok(_) => self.ignored.unexpected += 1,
            Err(_) => self.ignored.malformed += 1,
        }
    }

    /// Does what is due.
    pub(crate) fn wake<E>(&mut self, now: Time, out: &mut Outbox<E>) {
        while let Some((_, timer)) = self.timers.take_due(now) {
            match timer {
                Timer::Hunt => self.hunt_over(now, out),
                Timer::Leave => self.settled(out),
                Timer::Request(id) => self.unanswered(now, id, out),
            }
        }
    }

    /// For so long no answer could come.
    pub(crate) fn deaf(&mut self, span: Duration) {
        self.timers.postpone(span, |timer| matches!(timer, Timer::Request(_) | Timer::Hunt));
    }

    // --- inside

    fn line_home(&self) -> Option<&Line> {
        self.lines.get(&self.home?)
    }

    /// This link is the home from now on (RFC 5352 §3.6, SH6).
    fn settle<E>(&mut self, now: Time, link: LinkId, out: &mut Outbox<E>) {
        let line = self.lines.get_mut(&link).expect("only links of our table become home");
        (line.since, line.heard) = (now, now);
        line.stage = Stage::Home; // no attempt any more: the end of the hunt spares it
        if !line.id.is_defined() {
            line.id = self.known.id_at(&line.at);
        }
        self.end_hunt(out);
        if self.leaving.take_if(|leaving| *leaving == link).is_some() {
            // Back to the one we were about to leave: two registrars believe that they are the home.
            self.timers.clear(&Timer::Leave);
        }
        self.settled(out);
        let at = self.lines.get(&link).map(|line| line.at.clone());
        if let Some(before) = self.home.replace(link)
            && let Some(line) = self.lines.get_mut(&before)
        {
            line.stage = Stage::Leaving;
            line.asked.clear();
            self.lost = Some(line.at.clone()).filter(|before| Some(before) != at.as_ref());
            self.leaving = Some(before);
            // Long enough for the pause before the registration, and for the registration itself.
            let patience = registration_jitter(&self.timing) + self.timing.registration_timeout * 2;
            self.timers.set(Timer::Leave, now + patience);
        }
        self.news.push_back(News::Found);
        for report in std::mem::take(&mut self.reports) {
            out.send(link, Ppid::ASAP, report.emit());
        }
        let ids: Vec<_> = self.requests.keys().copied().collect();
        for id in ids {
            if matches!(self.requests.get(&id), Some(Request { question: Question::Resolution(_), .. })) {
                self.transmit(now, id, out);
            } else {
                self.cancel(id);
            }
        }
    }

    /// Sends a request to the home and waits for the answer.
    fn transmit<E>(&mut self, now: Time, id: RequestId, out: &mut Outbox<E>) {
        let Some(link) = self.home else { return };
        let open = self.requests.len();
        let (Some(line), Some(request)) = (self.lines.get_mut(&link), self.requests.get_mut(&id)) else {
            return;
        };
        if line.asked.len() >= open + OWED_MAX {
            out.close(link, Ending::Abort);
            self.closed(now, link, out);
            return;
        }
        request.pending = true;
        line.asked.push_back((id, request.question));
        out.send(link, Ppid::ASAP, request.message.emit());
        let patience = match request.question {
            Question::Registration(..) => self.timing.registration_timeout,
            Question::Deregistration(..) => self.timing.deregistration_timeout,
            Question::Resolution(_) => self.timing.resolution_timeout,
        };
        self.timers.set(Timer::Request(id), now + patience);
    }

    /// T1, T2 or T3 is over. A resolution is repeated at the same registrar while others are sought
    /// (RFC 5352 §3.7.2). A registration or deregistration waits for the new home (§3.1, §3.2): its owner makes it
    /// anew there. A late answer is as good as one in time.
    fn unanswered<E>(&mut self, now: Time, id: RequestId, out: &mut Outbox<E>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.pending = false;
        request.timeouts += 1;
        if let Question::Resolution(_) = request.question {
            if request.timeouts > self.timing.request_retries_max {
                let tried = request.timeouts as usize;
                self.requests.remove(&id);
                self.news.push_back(News::Unanswered { request: id, tried });
            } else {
                self.transmit(now, id, out);
            }
        }
        self.start_hunt(now, out);
    }

    /// A registrar said something.
    fn hear<E>(&mut self, now: Time, link: LinkId, message: Message, out: &mut Outbox<E>) {
        match message {
            Message::EndpointKeepAlive { home, server, handle, element } => {
                self.keep_alive(now, link, server, home, handle, element);
            }
            Message::Error { causes } => self.error(link, causes, out),
            Message::RegistrationResponse { .. }
            | Message::DeregistrationResponse { .. }
            | Message::HandleResolutionResponse { .. } => self.answer(link, message, out),
            _ => self.ignored.unexpected += 1,
        }
    }

    fn keep_alive(
        &mut self,
        now: Time,
        link: LinkId,
        server: RegistrarId,
        home: bool,
        handle: PoolHandle,
        element: Option<ElementId>,
    ) {
        let Some(line) = self.lines.get_mut(&link) else { return };
        if now.since(line.keep_alives.0) >= Duration::from_secs(1) {
            line.keep_alives = (now, 0);
        }
        line.keep_alives.1 += 1;
        if line.keep_alives.1 > KEEP_ALIVES_MAX {
            self.ignored.excess += 1;
            return;
        }
        // What the registrar says of itself on its own link is better than what an announcement said of its address: it
        // may have died and come back under a new identifier since.
        line.id = server;
        self.news.push_back(News::KeepAlive { link, server, home, handle, element });
    }

    /// An answer belongs to the oldest question on its link that it fits; questions before that one were passed over.
    fn answer<E>(&mut self, link: LinkId, answer: Message, out: &mut Outbox<E>) {
        let Some(line) = self.lines.get_mut(&link).filter(|line| line.stage == Stage::Home) else {
            self.ignored.unexpected += 1;
            return;
        };
        let Some(place) = line.asked.iter().position(|(_, question)| question.fits(&answer)) else {
            match answer {
                Message::DeregistrationResponse { handle, element, .. } => {
                    self.news.push_back(News::Expired { handle, element });
                }
                _ => self.ignored.unexpected += 1,
            }
            return;
        };
        let (request, _) =
            line.asked.drain(..=place).next_back().expect("there is an entry at the place found");
        self.patience = self.timing.hunt_timeout;
        if self.requests.contains_key(&request) {
            self.cancel(request);
            self.news.push_back(News::Answered { request, answer });
        }
        self.trust(out);
    }

    /// ASAP_ERROR fails the oldest question; the link stays (RFC 5352 §4 makes handling it a must, not how).
    fn error<E>(&mut self, link: LinkId, causes: Vec<ErrorCause>, out: &mut Outbox<E>) {
        let asked = self
            .lines
            .get_mut(&link)
            .filter(|line| line.stage == Stage::Home)
            .and_then(|line| line.asked.pop_front());
        let Some((request, _)) = asked else {
            self.ignored.unexpected += 1;
            return;
        };
        if self.requests.contains_key(&request) {
            self.cancel(request);
            self.news.push_back(News::Failed { request, causes });
        }
        self.trust(out);
    }

    /// A home that answers is no longer suspected, unless it still owes something that is late.
    fn trust<E>(&mut self, out: &mut Outbox<E>) {
        if self.hunt.is_some()
            && self.requests.values().all(|request| request.pending && request.timeouts == 0)
        {
            self.end_hunt(out);
        }
    }

    /// Audits the structure against itself; panics with the reason if it is inconsistent.
    pub(crate) fn check(&self) {
        let staged = |stage| self.lines.iter().filter(move |(_, line)| line.stage == stage);
        assert!(staged(Stage::Home).map(|(&link, _)| link).eq(self.home), "one home, and it is in the table");
        assert!(staged(Stage::Leaving).map(|(&link, _)| link).eq(self.leaving), "at most one home before");
        assert!(self.lines.len() - staged(Stage::Visitor).count() <= LINKS_MAX, "no more than three links");
        assert!(staged(Stage::Visitor).count() <= VISITORS_MAX, "bounded visitors");
        assert!(self.hunt.is_some() || staged(Stage::Trying).count() == 0, "attempts belong to a hunt");
        for (id, request) in &self.requests {
            let timed = self.timers.get(&Timer::Request(*id)).is_some();
            assert_eq!(request.pending, timed, "a pending request has a timer: {id:?}");
            assert!(!request.pending || self.home.is_some(), "a pending request has a home: {id:?}");
        }
        assert!(
            self.resting || self.home.is_some() || self.timers.get(&Timer::Hunt).is_some(),
            "without a home the hunt goes on"
        );
    }
}

impl Line {
    fn new(stage: Stage, at: Endpoint) -> Self {
        let id = RegistrarId::UNDEFINED;
        let heard = Time::ZERO;
        Self { stage, at, id, since: heard, heard, asked: VecDeque::new(), keep_alives: (Time::ZERO, 0) }
    }
}

impl Question {
    fn of(message: &Message) -> Option<Self> {
        match message {
            Message::Registration { handle, element } => Some(Self::Registration(*handle, element.id)),
            Message::Deregistration { handle, element } => Some(Self::Deregistration(*handle, *element)),
            Message::HandleResolution { handle, .. } => Some(Self::Resolution(*handle)),
            _ => None,
        }
    }

    fn fits(self, answer: &Message) -> bool {
        match answer {
            Message::RegistrationResponse { handle, element, .. } => {
                self == Self::Registration(*handle, *element)
            }
            Message::DeregistrationResponse { handle, element, .. } => {
                self == Self::Deregistration(*handle, *element)
            }
            Message::HandleResolutionResponse { handle, .. } => self == Self::Resolution(*handle),
            _ => false,
        }
    }
}

/// The longest pause before an element registers at a new home: many change their home at the same moment.
pub(crate) fn registration_jitter(timing: &Timing) -> Duration {
    timing.hunt_timeout.min(Duration::from_millis(500))
}
