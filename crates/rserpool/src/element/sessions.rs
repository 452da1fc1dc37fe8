//! The sessions an element serves: the control channel (PPID 11), link frames, and data (RFC 5352 §3.8, 3.9, 5).
//!
//! Control and data share one ordered link, so a cookie echo that comes first is told first, before any data. Pings are
//! answered here, in the loop that serves: an element that hangs falls silent although its transport goes on.

use super::service::{Replies, Reply, SessionId};
use super::{Event, PoolElement, Service, Timer};
use crate::link::Frame;
use crate::wire::asap::Message;
use crate::wire::parameter::{self, Transport, TransportUse};
use crate::{Ending, Endpoint, LinkId, Ppid, Time};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The largest cookie, in octets: with its headers it fits the reference's buffer of 64 KiB.
const COOKIE_MAX: usize = 60_000;
/// The most elements on a business card, as in a resolution.
const CARD_MAX: usize = 128;
/// A user may miss so many of its own pings before it counts as gone.
const PINGS_MISSED_MAX: u32 = 4;
/// A longer pause between two pings does not count as the user's habit.
const PING_PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Sessions {
    by_link: BTreeMap<LinkId, Session>,
    links: BTreeMap<SessionId, LinkId>,
    opened: u64,
    /// The fail-over order recommended to users.
    card: Vec<parameter::PoolElement>,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    /// Nothing but link frames and business cards so far: a cookie echo may still come.
    fresh: bool,
    /// The user's last sign of life.
    heard: Time,
    /// The moment of the last ping, and the longest pause between two of them, seen or told; zero: neither yet. Only for
    /// users that ping.
    pinged: Option<(Time, Duration)>,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.by_link.len()
    }

    pub(super) fn check(&self) {
        assert_eq!(self.by_link.len(), self.links.len(), "each session has one link");
        for (link, session) in &self.by_link {
            assert_eq!(self.links.get(&session.id), Some(link), "link and session agree");
        }
    }

    fn remove(&mut self, id: SessionId) -> Option<LinkId> {
        let link = self.links.remove(&id)?;
        self.by_link.remove(&link);
        Some(link)
    }
}

impl<S: Service> PoolElement<S> {
    /// A user opened a session.
    pub(super) fn session_opened(&mut self, now: Time, link: LinkId, peer: &Endpoint) {
        if self.sessions.len() >= self.config.sessions_max {
            self.ignored.excess += 1;
            self.outbox.close(link, Ending::Abort);
            return;
        }
        self.sessions.opened += 1;
        let id = SessionId(self.sessions.opened);
        self.sessions.links.insert(id, link);
        self.sessions.by_link.insert(link, Session { id, fresh: true, heard: now, pinged: None });
        if !self.sessions.card.is_empty() {
            self.send_card(link);
        }
        self.serve(now, |service, replies| service.opened_by(now, id, peer, replies));
    }

    /// A user says something. Messages on links that ended meanwhile are ignored.
    pub(super) fn session_message(&mut self, now: Time, link: LinkId, ppid: Ppid, bytes: &[u8]) {
        let Some(session) = self.sessions.by_link.get_mut(&link) else { return };
        session.heard = now;
        match ppid {
            Ppid::LINK => self.link_frame(now, link, bytes),
            Ppid::ASAP => self.control(now, link, bytes),
            Ppid::ENRP => self.ignored.unexpected += 1,
            _ => {
                let id = session.id;
                session.fresh = false;
                self.serve(now, |service, replies| service.message(now, id, ppid, bytes, replies));
            }
        }
    }

    /// The link ended.
    pub(super) fn session_closed(&mut self, now: Time, link: LinkId) {
        let Some(id) = self.sessions.by_link.get(&link).map(|session| session.id) else { return };
        self.sessions.remove(id);
        self.timers.clear(&Timer::Silence(id));
        self.serve(now, |service, replies| service.closed(now, id, replies));
    }

    /// Calls the service, then does what it replies.
    pub(super) fn serve<R>(&mut self, now: Time, call: impl FnOnce(&mut S, &mut Replies<S::Wish>) -> R) -> R {
        let mut replies = Replies::default();
        let result = call(&mut self.service, &mut replies);
        let mut wanted = VecDeque::from(replies.take());
        while let Some(reply) = wanted.pop_front() {
            match reply {
                Reply::Send(session, ppid, bytes) => {
                    // A session may have ended while the service was at work for it.
                    if let Some(&link) = self.sessions.links.get(&session)
                        && !bytes.is_empty()
                    {
                        self.outbox.send(link, ppid, bytes);
                    }
                }
                Reply::Cookie(session, cookie) => self.send_cookie(session, cookie),
                Reply::Close(session) | Reply::Abort(session) => {
                    let how = if matches!(reply, Reply::Abort(_)) { Ending::Abort } else { Ending::Graceful };
                    if let Some(link) = self.sessions.remove(session) {
                        self.timers.clear(&Timer::Silence(session));
                        self.outbox.close(link, how);
                        self.service.closed(now, session, &mut replies);
                        wanted.extend(replies.take());
                    }
                }
                Reply::Wish(wish) => self.outbox.event(Event::Wish(wish)),
            }
        }
        self.report_load(now);
        result
    }

    /// Remembers the recommended fail-over order, and tells everyone connected.
    pub(super) fn send_cards(&mut self, mut order: Vec<parameter::PoolElement>) {
        order.truncate(CARD_MAX);
        self.sessions.card = order;
        if !self.sessions.card.is_empty() {
            let links: Vec<_> = self.sessions.by_link.keys().copied().collect();
            for link in links {
                self.send_card(link);
            }
        }
    }

    /// The user of this session should have said something by now. Whoever pings tells by it how often it speaks, and
    /// is gone after four missed pings. Others may be silent as long as they like.
    pub(super) fn user_silent(&mut self, now: Time, due: Time, id: SessionId) {
        let Some(&link) = self.sessions.links.get(&id) else { return };
        let Some(session) = self.sessions.by_link.get(&link) else { return };
        let Some((_, pause)) = session.pinged else { return };
        let limit = self.silence_limit(pause);
        if session.heard + limit > now {
            self.timers.set(Timer::Silence(id), session.heard + limit);
        } else if now.since(due) > limit / 4 {
            // We were held up ourselves, and what the user said meanwhile may still be under way.
            self.timers.set(Timer::Silence(id), now + limit);
        } else {
            self.sessions.remove(id);
            self.outbox.close(link, Ending::Abort);
            self.serve(now, |service, replies| service.closed(now, id, replies));
        }
    }

    fn silence_limit(&self, pause: Duration) -> Duration {
        self.config.timing.heartbeat_timeout.max(pause * PINGS_MISSED_MAX)
    }

    fn link_frame(&mut self, now: Time, link: LinkId, bytes: &[u8]) {
        match Frame::parse(bytes) {
            Some(Frame::Ping(content)) => {
                self.outbox.send(link, Ppid::LINK, Frame::Pong(content).emit());
                let Some(session) = self.sessions.by_link.get_mut(&link) else { return };
                let id = session.id;
                let (before, longest) = session.pinged.unwrap_or((now, Duration::ZERO));
                let pause = longest.max(now.since(before)).max(Frame::pause(content)).min(PING_PAUSE_MAX);
                session.pinged = Some((now, pause));
                // Who does not tell shows its habit with the second one.
                if !pause.is_zero() && self.timers.get(&Timer::Silence(id)).is_none() {
                    let limit = self.silence_limit(pause);
                    self.timers.set(Timer::Silence(id), now + limit);
                }
            }
            Some(Frame::Pong(_)) => self.ignored.unexpected += 1,
            None => self.ignored.malformed += 1,
        }
    }

    /// The control channel: of what exists there (RFC 5352 §3.8, 3.9) a user sends only echoes and business cards.
    fn control(&mut self, now: Time, link: LinkId, bytes: &[u8]) {
        let Some(session) = self.sessions.by_link.get_mut(&link) else { return };
        match Message::parse(bytes) {
            Ok(Message::CookieEcho { cookie }) if session.fresh => {
                let id = session.id;
                session.fresh = false;
                self.serve(now, |service, replies| service.resume(now, id, &cookie, replies));
            }
            Ok(Message::BusinessCard { .. }) => {} // we never call a user back, so where it is does not matter
            Ok(_) => self.ignored.unexpected += 1,
            Err(_) => self.ignored.malformed += 1,
        }
    }

    /// True if users may be told anything but data (RFC 5352 §3.8, 3.9: only where a control channel exists).
    fn has_control_channel(&self) -> bool {
        match self.config.user_transport {
            Transport::Sctp { transport_use, .. } | Transport::Tcp { transport_use, .. } => {
                transport_use == TransportUse::DataAndControl
            }
            _ => false,
        }
    }

    fn send_cookie(&mut self, session: SessionId, cookie: Vec<u8>) {
        debug_assert!((1..=COOKIE_MAX).contains(&cookie.len()), "a cookie of {} octets", cookie.len());
        if !(1..=COOKIE_MAX).contains(&cookie.len()) || !self.has_control_channel() {
            return;
        }
        if let Some(&link) = self.sessions.links.get(&session) {
            self.outbox.send(link, Ppid::ASAP, Message::Cookie { cookie }.emit());
        }
    }

    fn send_card(&mut self, link: LinkId) {
        if self.has_control_channel() {
            let elements = self.sessions.card.clone();
            let card = Message::BusinessCard { handle: self.config.handle, elements };
            self.outbox.send(link, Ppid::ASAP, card.emit());
        }
    }
}
