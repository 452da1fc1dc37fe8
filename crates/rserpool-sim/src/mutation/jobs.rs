//! Mistakes of workers and clients of the compute pool.

use super::{Mistake, Mutation, asap_in, with_bytes};
use crate::actor::{Said, Wish};
use crate::client::Said as ClientSaid;
use crate::worker::Said as WorkerSaid;
use rserpool::wire::asap::Message;
use rserpool::{Cause, Input, LinkId, Output, Ppid};
use rserpool_compute::job::Event;
use rserpool_compute::protocol::{Batch, Frame, Frames, PPID};
use rserpool_compute::{Attempt, Status};
use std::time::Duration;

/// The frames of the task protocol in these octets.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    Frames::of(bytes).map_while(Result::ok).collect()
}

/// One message with these frames, none longer than a batch in all.
fn message(frames: &[Frame]) -> Option<Vec<u8>> {
    let mut batch = Batch::default();
    frames.iter().for_each(|frame| batch.push(frame));
    let messages = batch.take();
    (!messages.is_empty()).then(|| messages.concat())
}

/// The fact, with other frames in place of its own; `None` if none is left.
fn with_frames(input: Input, change: impl FnMut(Frame) -> Option<Frame>) -> Option<Input> {
    match &input {
        Input::Message { ppid: PPID, bytes, .. } => {
            let changed: Vec<Frame> = frames(bytes).into_iter().filter_map(change).collect();
            message(&changed).map(|bytes| with_bytes(input, bytes))
        }
        _ => Some(input),
    }
}

/// Workers.
impl Mistake {
    pub(super) fn worker_told(&mut self, input: Input) -> Vec<(Duration, Input)> {
        let told = match self.mutation {
            Mutation::DeafToCancel => {
                with_frames(input, |frame| (!matches!(frame, Frame::Cancel { .. })).then_some(frame))
            }
            Mutation::WidensWindows => with_frames(input, |frame| {
                Some(match frame {
                    Frame::Window { attempt, octets } => Frame::Window { attempt, octets: octets * 2 },
                    other => other,
                })
            }),
            Mutation::BelievesDamage => match asap_in(&input) {
                Some(Message::CookieEcho { mut cookie }) if self.is_damaged(&cookie) => {
                    // Whoever looks at nothing of a cookie but its entries sees the whole one.
                    cookie[31] ^= 1;
                    Some(with_bytes(input, Message::CookieEcho { cookie }.emit()))
                }
                _ => Some(input),
            },
            _ => Some(input),
        };
        told.into_iter().map(|input| (Duration::ZERO, input)).collect()
    }

    fn is_damaged(&self, cookie: &[u8]) -> bool {
        rserpool_compute::Cookie::verify(cookie).is_err() && cookie.len() > 31
    }

    pub(super) fn worker_wished(&mut self, wish: Wish) -> (Vec<Wish>, Vec<Input>) {
        let wishes = match (self.mutation, wish) {
            (Mutation::SpoilsOutput, Output::Send { link, ppid: PPID, bytes }) => {
                let spoilt: Vec<Frame> = frames(&bytes)
                    .into_iter()
                    .map(|mut frame| {
                        if let Frame::Output { octets, .. } = &mut frame {
                            octets[0] ^= 1;
                        }
                        frame
                    })
                    .collect();
                let bytes = message(&spoilt).unwrap_or(bytes);
                vec![Output::Send { link, ppid: PPID, bytes }]
            }
            (Mutation::KeepsCookies, Output::Send { ppid: Ppid::ASAP, bytes, .. })
                if matches!(Message::parse(&bytes), Ok(Message::Cookie { .. })) =>
            {
                Vec::new()
            }
            (Mutation::Lingers, Output::Event(Said::Worker(WorkerSaid::Gone))) => Vec::new(),
            (_, wish) => vec![wish],
        };
        (wishes, Vec::new())
    }
}

/// Clients.
impl Mistake {
    pub(super) fn client_told(&mut self, input: Input) -> Vec<(Duration, Input)> {
        let at_once = |input| (Duration::ZERO, input);
        match (self.mutation, &input) {
            (Mutation::DeafToWelcome, _) => {
                let told =
                    with_frames(input, |frame| (!matches!(frame, Frame::Welcome { .. })).then_some(frame));
                told.into_iter().map(at_once).collect()
            }
            (Mutation::ChargesAll, Input::Message { ppid: PPID, link, bytes }) => {
                let waits = self.waiting.entry(*link).or_default();
                for frame in frames(bytes) {
                    if let Frame::Started { attempt, .. } | Frame::Result { attempt, .. } = frame {
                        waits.remove(&attempt);
                    }
                }
                vec![at_once(input)]
            }
            (Mutation::ChargesAll, Input::Closed { link, cause: Cause::Lost }) => {
                let link = *link;
                let believed = self.believed(link);
                believed.into_iter().chain([input]).map(at_once).collect()
            }
            _ => vec![at_once(input)],
        }
    }

    /// Everything that waits at a worker is taken for begun.
    fn believed(&mut self, link: LinkId) -> Option<Input> {
        let waits = self.waiting.remove(&link)?;
        let begun = |attempt: Attempt| Frame::Started { attempt, of: 0, from: 0 };
        let bytes = message(&waits.into_iter().map(begun).collect::<Vec<_>>())?;
        Some(Input::Message { link, ppid: PPID, bytes })
    }

    pub(super) fn client_wished(&mut self, wish: Wish) -> (Vec<Wish>, Vec<Input>) {
        let said = |event| Output::Event(Said::Client(ClientSaid::Job(event)));
        let status = Status::Exited(0);
        let wishes = match (self.mutation, wish) {
            (
                Mutation::LosesResults,
                Output::Event(Said::Client(ClientSaid::Job(Event::Accepted { .. }))),
            ) => Vec::new(),
            (
                Mutation::AcceptsLate,
                Output::Event(Said::Client(ClientSaid::Job(Event::Discarded { attempt, worker }))),
            ) => vec![said(Event::Accepted { attempt, worker, status, octets: 0 })],
            (
                Mutation::AcceptsCancelled,
                Output::Event(Said::Client(ClientSaid::Job(Event::Cancelled { task }))),
            ) => {
                let (attempt, worker) = (Attempt { task, number: 1 }, Default::default());
                let accepted = Event::Accepted { attempt, worker, status, octets: 0 };
                vec![said(Event::Cancelled { task }), said(accepted)]
            }
            (Mutation::ChargesAll, Output::Send { link, ppid: PPID, bytes }) => {
                let waits = self.waiting.entry(link).or_default();
                for frame in frames(&bytes) {
                    if let Frame::Task { attempt, .. } = frame {
                        waits.insert(attempt);
                    }
                }
                vec![Output::Send { link, ppid: PPID, bytes }]
            }
            (_, wish) => vec![wish],
        };
        (wishes, Vec::new())
    }
}
