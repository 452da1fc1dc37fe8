//! Mistakes of elements and customers.

use super::{HIDDEN, Mistake, Mutation, asap_in, with_bytes};
use crate::actor::{Said, Wish};
use crate::adder::{ADDING, Progress, Word};
use crate::customer::Said as CustomerSaid;
use rserpool::wire::asap::Message;
use rserpool::{Input, LinkId, Output, Ppid, RegistrarId};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Elements.
impl Mistake {
    pub(super) fn element_told(&mut self, input: Input) -> Input {
        match (self.mutation, asap_in(&input)) {
            (Mutation::MisnamesHome, Some(Message::EndpointKeepAlive { home, server, handle, element })) => {
                let server = RegistrarId(server.0 ^ 1);
                let misread = Message::EndpointKeepAlive { home, server, handle, element };
                with_bytes(input, misread.emit())
            }
            _ => input,
        }
    }

    pub(super) fn element_wished(&mut self, wish: Wish) -> Wish {
        let Output::Send { link, ppid: ADDING, bytes } = &wish else { return wish };
        match (self.mutation, Word::parse(bytes)) {
            (Mutation::AddsWrong, Some(Word::Answer { job, index, attempt, sum })) => {
                let bytes = Word::Answer { job, index, attempt, sum: sum + 1 }.emit();
                Output::Send { link: *link, ppid: ADDING, bytes }
            }
            _ => wish,
        }
    }
}

/// Customers.
impl Mistake {
    pub(super) fn customer_told(&mut self, input: Input) -> Vec<(Duration, Input)> {
        if let Input::Opened { link, .. } = input
            && let Some((_, bytes)) = self.unasked.take_if(|(of, _)| *of == link)
        {
            let answer = Input::Message { link, ppid: ADDING, bytes };
            return vec![(Duration::ZERO, input), (Duration::ZERO, answer)];
        }
        let word = match &input {
            Input::Message { ppid: ADDING, bytes, .. } => Word::parse(bytes),
            _ => None,
        };
        match (self.mutation, word) {
            (Mutation::LosesAnswers, Some(_)) => Vec::new(),
            (Mutation::HiddenState, Some(_)) => {
                let hidden = HIDDEN.fetch_add(1, Ordering::Relaxed);
                vec![(Duration::from_nanos(hidden), input)]
            }
            (Mutation::AcceptsOld, Some(Word::Answer { job, index, attempt: 2.., sum })) => {
                let old = Word::Answer { job, index, attempt: 1, sum };
                vec![(Duration::ZERO, with_bytes(input, old.emit()))]
            }
            _ => vec![(Duration::ZERO, input)],
        }
    }

    pub(super) fn customer_wished(&mut self, wish: Wish) -> (Vec<Wish>, Vec<Input>) {
        let wishes = match (self.mutation, wish) {
            (Mutation::AcceptsTwice, Output::Event(Said::Customer(said @ CustomerSaid::Accepted { .. }))) => {
                let said = Said::Customer(said);
                vec![Output::Event(said.clone()), Output::Event(said)]
            }
            (Mutation::BendsEcho | Mutation::SkipsEcho, Output::Send { link, ppid: Ppid::ASAP, bytes }) => {
                return self.echoes(link, bytes);
            }
            (Mutation::RepeatsAttempts, Output::Send { link, ppid: ADDING, bytes }) => {
                let bytes = match Word::parse(&bytes) {
                    Some(Word::Request { job, index, number, .. }) => {
                        Word::Request { job, index, attempt: 1, number }.emit()
                    }
                    _ => bytes,
                };
                vec![Output::Send { link, ppid: ADDING, bytes }]
            }
            (Mutation::FeedsBoth, Output::Close { link, .. }) if self.links.contains(&link) => Vec::new(),
            (Mutation::FeedsBoth, Output::Send { link, ppid: ADDING, bytes }) => {
                if !self.links.contains(&link) {
                    self.links.push(link);
                }
                self.feeds_all(&bytes)
            }
            (_, wish) => vec![wish],
        };
        (wishes, Vec::new())
    }

    fn echoes(&mut self, link: LinkId, bytes: Vec<u8>) -> (Vec<Wish>, Vec<Input>) {
        let ppid = Ppid::ASAP;
        let Ok(Message::CookieEcho { cookie }) = Message::parse(&bytes) else {
            return (vec![Output::Send { link, ppid, bytes }], Vec::new());
        };
        let mut progress = Progress::believe(&cookie).unwrap_or_default();
        if self.mutation == Mutation::SkipsEcho {
            // Once the link is up, it goes on as if the element had answered.
            let Progress { job, next, sum, .. } = progress;
            let bytes = Word::GoOn { job, next, sum }.emit();
            self.unasked = Some((link, bytes));
            return (Vec::new(), Vec::new());
        }
        // Still a good cookie: only the sum in it is too high.
        progress.sum += 1;
        let bytes = Message::CookieEcho { cookie: progress.cookie() }.emit();
        (vec![Output::Send { link, ppid, bytes }], Vec::new())
    }

    /// The same number to every element the session ever had, each as an attempt of its own.
    fn feeds_all(&self, bytes: &[u8]) -> Vec<Wish> {
        let Some(Word::Request { job, index, attempt, number }) = Word::parse(bytes) else {
            return Vec::new();
        };
        let each = (attempt..).zip(&self.links).map(|(attempt, link)| {
            let bytes = Word::Request { job, index, attempt, number }.emit();
            Output::Send { link: *link, ppid: ADDING, bytes }
        });
        each.collect()
    }
}
