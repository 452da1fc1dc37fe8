//! One TCP link, from connect or accept to the last farewell.
//!
//! ```text
//!   Greeting --Hello of the other side, fitting--> Open --Bye, Abort, fault, our close--> Leaving --> gone
//!       `------------- refused, late, reset: gone, or Leaving to say why ------------------^
//! ```
//!
//! The opener's Hello and whatever follows it are queued before the connection stands, so they leave together. The
//! node knows a link from its own `Open`, or from `Accepted`; it is told of the end exactly once, unless it asked for
//! it.

mod hear;

use super::frame::{self, AbortCause, DATA_MAX, Fault, Hello};
use super::output::Output;
use crate::transport::Inbox;
use crate::{Counters, Identity, Limits, Reason};
use rserpool::{Cause, Door, Ending, Endpoint, Input, LinkId, Ppid, Time};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The content of the Pings this transport sends when a link is idle. Neither they nor their Pongs are the nodes'
/// business: each side's transport gives signs of life of its own, so these Pings need no answer.
const IDLE_PING: [u8; 8] = *b"\0\0\0\0idle";
/// How long an Abort may take.
const ABORT_MAX: Duration = Duration::from_secs(1);

/// What all links of a transport share.
pub(super) struct Common {
    pub identity: Identity,
    pub limits: Limits,
    pub counters: Counters,
    /// Every read goes here first, so that idle links hold no memory.
    pub scratch: Box<[u8]>,
}

pub(super) type Connecting = Pin<Box<dyn Future<Output = io::Result<(TcpStream, SocketAddr)>>>>;

enum Socket {
    Connecting(Connecting),
    Up(TcpStream),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Until this moment the other side has time for its Hello (and, if we open, for being there at all).
    Greeting {
        until: Time,
    },
    Open,
    /// The node knows nothing of it any more; what is queued may go out until this moment.
    Leaving {
        until: Time,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// The first octet will tell.
    Unknown,
    Framed,
    /// A bare ASAP stream.
    Bare,
}

/// What came of looking at a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Its waker rings when there is more.
    Done,
    /// There may be more to read at once; this many octets were read.
    More,
    /// It is over: forget it.
    Gone,
}

/// What every link begins with.
pub(super) struct Birth {
    pub now: Time,
    pub id: LinkId,
    pub door: Door,
    /// When its Greeting must be over.
    pub until: Time,
    pub waker: Waker,
}

/// One link.
pub(super) struct Link {
    id: LinkId,
    door: Door,
    socket: Socket,
    stage: Stage,
    framing: Framing,
    waker: Waker,
    peer: Endpoint,
    /// Identifier the other side must have; 0 for anyone.
    wanted: u32,
    /// Octets not yet understood: less than one message.
    input: Vec<u8>,
    /// When the message in `input` began.
    begun: Option<Time>,
    output: Output,
    /// Largest message the other side accepts.
    largest: usize,
    /// Silence the other side tolerates.
    patience: Duration,
    heard: Time,
    said: Time,
    /// The last message of the node or for it.
    used: Time,
    /// What of its buffers is in the transport's sum.
    pub accounted: usize,
    /// When the transport's timer for it is set to.
    pub armed: Option<Time>,
}

impl Link {
    /// A link being opened. Its Hello is queued.
    pub(super) fn opening(birth: Birth, to: Endpoint, hello: &Hello, connecting: Connecting) -> Self {
        let mut link = Self::new(birth, Socket::Connecting(connecting), to);
        link.wanted = hello.wanted;
        hello.emit(link.output.queue());
        link
    }

    /// A link just accepted.
    pub(super) fn accepted(birth: Birth, stream: TcpStream, from: SocketAddr) -> Self {
        let mut link = Self::new(birth, Socket::Up(stream), canonical(from));
        if link.door == Door::Asap {
            // Only pool users at a registrar may do without frames.
            link.framing = Framing::Unknown;
        }
        link
    }

    fn new(birth: Birth, socket: Socket, peer: Endpoint) -> Self {
        let Birth { now, id, door, until, waker } = birth;
        Self {
            id,
            door,
            socket,
            stage: Stage::Greeting { until },
            framing: Framing::Framed,
            waker,
            peer,
            wanted: 0,
            input: Vec::new(),
            begun: None,
            output: Output::default(),
            largest: DATA_MAX,
            patience: Duration::MAX,
            heard: now,
            said: now,
            used: now,
            accounted: 0,
            armed: None,
        }
    }

    fn is_ours(&self) -> bool {
        matches!(self.id, LinkId::Ours(_))
    }

    /// True if the node knows this link.
    pub(super) fn is_known(&self) -> bool {
        match self.stage {
            Stage::Greeting { .. } => self.is_ours(),
            Stage::Open => true,
            Stage::Leaving { .. } => false,
        }
    }

    /// True if it was accepted and has not introduced itself.
    pub(super) fn is_half_open(&self) -> bool {
        matches!(self.stage, Stage::Greeting { .. }) && !self.is_ours()
    }

    /// Octets it holds.
    pub(super) fn held(&self) -> usize {
        self.input.len() + self.output.len()
    }

    /// Queues a message of the node.
    pub(super) fn send(&mut self, now: Time, ppid: Ppid, bytes: &[u8], common: &Common, inbox: &mut Inbox) {
        let limit = if ppid == Ppid::ASAP { frame::ASAP_MAX } else { DATA_MAX }.min(self.largest);
        if bytes.is_empty() || bytes.len() > limit || self.output.len() > common.limits.link_queue_max {
            common.counters.count(Reason::Overflow);
            return self.give_up(now, Cause::Overflow, AbortCause::Overload, "send queue overflow", inbox);
        }
        self.used = now;
        match self.framing {
            Framing::Bare if ppid == Ppid::ASAP => {
                let out = self.output.queue();
                out.extend_from_slice(bytes);
                out.resize(out.len().next_multiple_of(4), 0);
            }
            // Other words do not exist in a bare stream.
            Framing::Bare => {}
            Framing::Framed | Framing::Unknown => frame::emit(ppid, bytes, self.output.queue()),
        }
    }

    /// Ends the link as the node wishes; tells it nothing more.
    pub(super) fn close(&mut self, now: Time, how: Ending, common: &Common) -> Look {
        match how {
            // Nobody is there who could be told.
            Ending::Abort if matches!(self.socket, Socket::Connecting(_)) => return Look::Gone,
            Ending::Graceful => self.leave(now + common.limits.farewell_max, frame::emit_bye),
            Ending::Abort => {
                let abort = |out: &mut Vec<u8>| frame::emit_abort(AbortCause::NotWanted, "aborted", out);
                self.leave(now + ABORT_MAX, abort);
            }
        }
        Look::Done
    }

    /// Ends the link for a reason of ours; the node is told `cause`, the other side why.
    pub(super) fn give_up(
        &mut self,
        now: Time,
        cause: Cause,
        why: AbortCause,
        text: &str,
        inbox: &mut Inbox,
    ) {
        self.tell_end(cause, inbox);
        self.leave(now + ABORT_MAX, |out| frame::emit_abort(why, text, out));
    }

    fn leave(&mut self, until: Time, farewell: impl FnOnce(&mut Vec<u8>)) {
        if let Stage::Leaving { .. } = self.stage {
            return;
        }
        if self.framing == Framing::Framed {
            farewell(self.output.queue());
        }
        self.output.finish();
        self.stage = Stage::Leaving { until };
        self.input = Vec::new();
        self.begun = None;
    }

    fn tell_end(&self, cause: Cause, inbox: &mut Inbox) {
        if self.is_known() {
            // A link that never stood was never lost.
            let greeting = matches!(self.stage, Stage::Greeting { .. }) && cause != Cause::Overflow;
            let cause = if greeting { Cause::Unreachable } else { cause };
            inbox.push_back(Input::Closed { link: self.id, cause });
        }
    }

    /// The stream ended or broke.
    fn broken(&mut self, common: &Common, inbox: &mut Inbox) -> Look {
        if self.stage == Stage::Open && self.framing == Framing::Bare {
            // The end of the stream is the only farewell a bare one has.
            self.tell_end(Cause::Ended, inbox);
        } else if !matches!(self.stage, Stage::Leaving { .. }) {
            if !matches!(self.socket, Socket::Connecting(_)) {
                common.counters.count(Reason::EndedUnsaid);
            }
            self.tell_end(Cause::Lost, inbox);
        }
        Look::Gone
    }

    fn fault(&mut self, now: Time, Fault(reason, why): Fault, common: &Common, inbox: &mut Inbox) {
        common.counters.count(reason);
        let text = reason.to_string();
        self.give_up(now, Cause::Lost, why, &text, inbox);
    }

    /// Looks at the socket: writes what waits, reads once. Facts go to the inbox.
    pub(super) fn look(&mut self, now: Time, common: &mut Common, inbox: &mut Inbox) -> Look {
        let waker = self.waker.clone();
        let cx = &mut Context::from_waker(&waker);
        if let Socket::Connecting(connecting) = &mut self.socket {
            match connecting.as_mut().poll(cx) {
                Poll::Pending => return Look::Done,
                Poll::Ready(Err(_)) => return self.broken(common, inbox),
                Poll::Ready(Ok((stream, at))) => {
                    self.socket = Socket::Up(stream);
                    self.peer = canonical(at);
                    self.heard = now;
                }
            }
        }
        if self.write(now, cx).is_err() {
            return self.broken(common, inbox);
        }
        let Socket::Up(stream) = &mut self.socket else { return Look::Done };
        let mut buffer = ReadBuf::new(&mut common.scratch);
        match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Look::Done,
            Poll::Ready(Err(_)) => self.broken(common, inbox),
            Poll::Ready(Ok(())) => match buffer.filled().len() {
                0 => self.broken(common, inbox),
                read => {
                    self.heard = now;
                    self.hear(now, read, common, inbox);
                    if self.write(now, cx).is_err() { self.broken(common, inbox) } else { Look::More }
                }
            },
        }
    }

    /// Writes what is queued, as far as the system takes it.
    pub(super) fn flush(&mut self, now: Time, common: &Common, inbox: &mut Inbox) -> Look {
        let waker = self.waker.clone();
        match self.write(now, &mut Context::from_waker(&waker)) {
            Ok(()) => Look::Done,
            Err(_) => self.broken(common, inbox),
        }
    }

    fn write(&mut self, now: Time, cx: &mut Context<'_>) -> io::Result<()> {
        let Socket::Up(stream) = &mut self.socket else { return Ok(()) };
        if self.output.write(|octets| Pin::new(&mut *stream).poll_write(cx, octets))? {
            self.said = now;
        }
        if self.output.is_to_be_finished()
            && let Poll::Ready(done) = Pin::new(stream).poll_shutdown(cx)
        {
            self.output.finished();
            done?;
        }
        Ok(())
    }

    /// When [`check_time`](Self::check_time) has something to do, if nothing happens before.
    pub(super) fn due(&self, limits: &Limits) -> Time {
        match self.stage {
            Stage::Greeting { until } | Stage::Leaving { until } => until,
            Stage::Open => {
                let slow = self.begun.map(|begun| begun + limits.silence_max);
                let idle = (self.door == Door::Asap && !self.is_ours()).then(|| self.used + limits.idle_max);
                let framed = self.framing == Framing::Framed;
                let silent = framed.then(|| self.heard + limits.silence_max);
                let ping = framed.then(|| self.said + self.patience / 3);
                [slow, idle, silent, ping].into_iter().flatten().min().unwrap_or(Time::from_nanos(u64::MAX))
            }
        }
    }

    /// Does what the time asks for: a sign of life, or an end.
    pub(super) fn check_time(&mut self, now: Time, common: &Common, inbox: &mut Inbox) -> Look {
        let limits = &common.limits;
        match self.stage {
            Stage::Leaving { until } if until <= now => return Look::Gone,
            Stage::Greeting { until } if until <= now => {
                if self.is_ours() {
                    self.tell_end(Cause::Unreachable, inbox);
                    return Look::Gone;
                }
                self.fault(now, Fault(Reason::HelloMissing, AbortCause::HelloMissing), common, inbox);
            }
            Stage::Open => {
                if self.begun.is_some_and(|begun| begun + limits.silence_max <= now) {
                    self.fault(now, Fault(Reason::SlowFrame, AbortCause::Silence), common, inbox);
                } else if self.framing == Framing::Framed && self.heard + limits.silence_max <= now {
                    self.fault(now, Fault(Reason::Silence, AbortCause::Silence), common, inbox);
                } else if self.door == Door::Asap && !self.is_ours() && self.used + limits.idle_max <= now {
                    common.counters.count(Reason::Idle);
                    self.tell_end(Cause::Ended, inbox);
                    self.leave(now + limits.farewell_max, frame::emit_bye);
                } else if self.framing == Framing::Framed && self.said + self.patience / 3 <= now {
                    self.said = now;
                    // With something queued already, the system will not take a Ping either.
                    if self.output.len() == 0 {
                        let ping = rserpool::link::Frame::Ping(IDLE_PING).emit();
                        frame::emit(Ppid::LINK, &ping, self.output.queue());
                    }
                }
            }
            Stage::Leaving { .. } | Stage::Greeting { .. } => {}
        }
        self.flush(now, common, inbox)
    }
}

/// How a node introduces itself.
pub(super) fn hello_of(identity: &Identity, limits: &Limits) -> Hello {
    Hello {
        role: identity.role,
        own: identity.own,
        wanted: 0,
        largest: DATA_MAX as u32,
        silence: u32::try_from(limits.silence_max.as_millis()).unwrap_or(u32::MAX).clamp(100, 600_000),
        pool: None,
    }
}

/// An IPv4 address is one, also on a socket that takes both families.
fn canonical(at: SocketAddr) -> Endpoint {
    Endpoint::tcp(SocketAddr::new(at.ip().to_canonical(), at.port()))
}
