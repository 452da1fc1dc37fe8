//! From octets to facts: what a link understands of its stream.

use super::{ABORT_MAX, Common, Framing, IDLE_PING, Link, Stage, hello_of};
use crate::tcp::frame::{self, AbortCause, BEFORE_HELLO_MAX, Fault, Hello, LinkFrame};
use crate::transport::Inbox;
use crate::{Identity, Reason};
use rserpool::{Cause, Input, Ppid, Time};
use std::time::Duration;

impl Link {
    /// Understands what was read into the scratch buffer, with what was left over before.
    pub(super) fn hear(&mut self, now: Time, read: usize, common: &mut Common, inbox: &mut Inbox) {
        if let Stage::Leaving { .. } = self.stage {
            return;
        }
        let scratch = std::mem::take(&mut common.scratch);
        let mut kept = std::mem::take(&mut self.input);
        let octets = if kept.is_empty() {
            &scratch[..read]
        } else {
            kept.extend_from_slice(&scratch[..read]);
            &kept
        };
        let mut taken = 0;
        loop {
            match self.understand(now, &octets[taken..], common, inbox) {
                Ok(0) => break,
                Ok(more) => {
                    taken += more;
                    self.begun = None;
                }
                Err(fault) => {
                    self.fault(now, fault, common, inbox);
                    break;
                }
            }
        }
        if !matches!(self.stage, Stage::Leaving { .. }) && taken < octets.len() {
            self.begun = self.begun.or(Some(now));
            if kept.is_empty() {
                kept.extend_from_slice(&scratch[taken..read]);
            } else {
                kept.drain(..taken);
            }
            self.input = kept;
        }
        common.scratch = scratch;
    }

    /// Understands one message at the start of `octets`; returns how many octets it took, 0 if it is not complete or
    /// nothing is to be understood any more.
    fn understand(
        &mut self,
        now: Time,
        octets: &[u8],
        common: &Common,
        inbox: &mut Inbox,
    ) -> Result<usize, Fault> {
        let greeting = match self.stage {
            Stage::Greeting { .. } => true,
            Stage::Open => false,
            Stage::Leaving { .. } => return Ok(0),
        };
        let Some(&first) = octets.first() else { return Ok(0) };
        if greeting && self.framing != Framing::Bare {
            // Whoever begins otherwise would not understand an Abort either.
            let may_be_bare = std::mem::replace(&mut self.framing, Framing::Unknown) == Framing::Unknown;
            self.framing = match first {
                0 => Framing::Framed,
                1..=0x0e if may_be_bare => Framing::Bare,
                0x16 => return Err(Fault(Reason::Tls, AbortCause::NotAllowed)),
                _ => return Err(Fault(Reason::FirstOctet, AbortCause::NotAllowed)),
            };
        }
        let understood = if self.framing == Framing::Bare {
            frame::parse_bare(octets)?.map(|(message, taken)| (Ppid::ASAP, message, taken))
        } else {
            frame::parse(octets, self.door, greeting)?
                .map(|(frame, taken)| (frame.ppid, frame.message, taken))
        };
        let Some((ppid, message, taken)) = understood else {
            if greeting && octets.len() > BEFORE_HELLO_MAX {
                return Err(Fault(Reason::HelloMissing, AbortCause::HelloMissing));
            }
            return Ok(0);
        };
        if ppid == Ppid::LINK {
            self.link_frame(now, message, common, inbox)?;
        } else {
            if greeting {
                // The first message of a bare stream is its introduction.
                self.opened(now, inbox);
            }
            self.used = now;
            inbox.push_back(Input::Message { link: self.id, ppid, bytes: message.to_vec() });
        }
        Ok(taken)
    }

    fn link_frame(
        &mut self,
        now: Time,
        message: &[u8],
        common: &Common,
        inbox: &mut Inbox,
    ) -> Result<(), Fault> {
        let greeting = matches!(self.stage, Stage::Greeting { .. });
        let idle = message.get(4..) == Some(&IDLE_PING);
        match LinkFrame::parse(message)? {
            LinkFrame::Hello(hello) if greeting => {
                self.check(&hello, &common.identity)?;
                self.largest = hello.largest as usize;
                self.patience = Duration::from_millis(hello.silence.into());
                if !self.is_ours() {
                    let answer =
                        Hello { wanted: 0, pool: None, ..hello_of(&common.identity, &common.limits) };
                    answer.emit(self.output.queue());
                }
                self.opened(now, inbox);
            }
            LinkFrame::Abort => {
                self.tell_end(Cause::Aborted, inbox);
                self.leave(now + ABORT_MAX, |_| {});
            }
            LinkFrame::Bye if !greeting => {
                self.tell_end(Cause::Ended, inbox);
                self.leave(now + common.limits.farewell_max, frame::emit_bye);
            }
            LinkFrame::Unknown if !greeting => {}
            LinkFrame::Ping | LinkFrame::Pong if !greeting && idle => {}
            LinkFrame::Ping | LinkFrame::Pong if !greeting => {
                inbox.push_back(Input::Message { link: self.id, ppid: Ppid::LINK, bytes: message.to_vec() });
            }
            LinkFrame::Hello(_) => return Err(Fault(Reason::LinkFrame, AbortCause::NotAllowed)),
            _ => return Err(Fault(Reason::HelloMissing, AbortCause::HelloMissing)),
        }
        Ok(())
    }

    /// Another element may by now live at this port: whoever answers, or asks, must be the one that is meant.
    fn check(&self, hello: &Hello, identity: &Identity) -> Result<(), Fault> {
        let fits = if self.is_ours() {
            self.wanted == 0 || self.wanted == hello.own
        } else {
            (hello.wanted == 0 || hello.wanted == identity.own)
                && (hello.pool.is_none() || hello.pool == identity.pool)
        };
        if fits { Ok(()) } else { Err(Fault(Reason::HelloWanted, AbortCause::NotWanted)) }
    }

    fn opened(&mut self, now: Time, inbox: &mut Inbox) {
        self.stage = Stage::Open;
        self.used = now;
        let (link, door, peer) = (self.id, self.door, self.peer.clone());
        inbox.push_back(match self.is_ours() {
            true => Input::Opened { link, peer },
            false => Input::Accepted { link, door, peer },
        });
    }
}
