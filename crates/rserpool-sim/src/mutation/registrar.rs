//! Mistakes of registrars.

use super::{Mistake, Mutation, asap_in, enrp_in, with_bytes};
use crate::actor::{Said, Wish};
use rserpool::registrar::Event;
use rserpool::wire::asap::{Message, Resolution};
use rserpool::wire::enrp::{self, Body};
use rserpool::wire::parameter::{CauseCode, ErrorCause, Life, PoolElement};
use rserpool::{Input, LinkId, Output, Policy, Ppid, Registrar, Time};
use std::time::Duration;

impl Mistake {
    pub(super) fn registrar_told(&mut self, node: &Registrar, input: Input) -> Vec<(Duration, Input)> {
        let nothing = Vec::new();
        let about_elements = |message: &enrp::Message| {
            matches!(message.body, Body::HandleUpdate { .. } | Body::HandleTableResponse { .. })
        };
        match self.mutation {
            Mutation::AdaptsContrary => {
                if let Some(Message::Registration { handle, mut element }) = asap_in(&input)
                    && let Some((_, first)) = node.handlespace().elements(None, None).next()
                {
                    element.policy = first.policy.clone();
                    let adapted = Message::Registration { handle, element };
                    return vec![(Duration::ZERO, with_bytes(input, adapted.emit()))];
                }
            }
            Mutation::WrongCopy => {
                if let Some(mut message) = enrp_in(&input).filter(about_elements) {
                    each_element(&mut message.body, |element| element.life = Life(element.life.0 ^ 1));
                    return vec![(Duration::ZERO, with_bytes(input, message.emit()))];
                }
            }
            Mutation::LateUpdates => {
                if let Some(Body::HandleUpdate { handle, element, .. }) =
                    enrp_in(&input).map(|message| message.body)
                    && node.handlespace().get(&handle, element.id).is_some()
                {
                    return vec![(self.late, input)];
                }
            }
            Mutation::DeafToPeers if enrp_in(&input).is_some_and(|message| about_elements(&message)) => {
                return nothing;
            }
            Mutation::DropsAcks if matches!(asap_in(&input), Some(Message::EndpointKeepAliveAck { .. })) => {
                return nothing;
            }
            Mutation::LateAcks if matches!(asap_in(&input), Some(Message::EndpointKeepAliveAck { .. })) => {
                return vec![(self.late_ack, input)];
            }
            Mutation::KeepsDead if matches!(input, Input::Closed { link: LinkId::Theirs(_), .. }) => {
                return nothing;
            }
            Mutation::TakesWithoutAsking
                if enrp_in(&input).is_some_and(|message| {
                    matches!(message.body, Body::TakeoverServer { .. } | Body::InitTakeover { .. })
                }) =>
            {
                return nothing;
            }
            Mutation::IgnoresReturn => {
                let sender = enrp_in(&input).map(|message| message.sender);
                if self.target.is_some_and(|(target, _)| sender == Some(target)) {
                    return nothing;
                }
            }
            Mutation::NeverDecides
                if enrp_in(&input)
                    .is_some_and(|message| matches!(message.body, Body::InitTakeoverAck { .. })) =>
            {
                return nothing;
            }
            _ => {}
        }
        vec![(Duration::ZERO, input)]
    }

    pub(super) fn registrar_wished(
        &mut self,
        now: Time,
        node: &Registrar,
        wish: Wish,
    ) -> (Vec<Wish>, Vec<Input>) {
        match &wish {
            Output::Event(Said::Registrar(Event::TakeoverBegun { target, .. })) => {
                self.target = Some((*target, now))
            }
            Output::Event(Said::Registrar(Event::TakeoverWon { .. } | Event::TakeoverAborted { .. })) => {
                self.target = None;
            }
            _ => {}
        }
        let unchanged = |wish| (vec![wish], Vec::new());
        let Output::Send { link, ppid, bytes } = wish else {
            return unchanged(match wish {
                Output::Announce { channel, bytes } => {
                    let bytes = self.enrp_said(&bytes).unwrap_or(bytes);
                    Output::Announce { channel, bytes }
                }
                other => other,
            });
        };
        let mut believed = Vec::new();
        let new = match ppid {
            Ppid::ENRP => {
                let message = enrp::Message::parse(&bytes).ok();
                if let (Mutation::TakesWithoutAsking, Some(message)) = (self.mutation, &message) {
                    match message.body {
                        Body::InitTakeover { target } if message.receiver != target => {
                            let body = Body::InitTakeoverAck { target };
                            let (sender, receiver) = (message.receiver, node.id());
                            let ack = enrp::Message { sender, receiver, body }.emit();
                            believed.push(Input::Message { link, ppid, bytes: ack });
                        }
                        _ => {}
                    }
                }
                self.enrp_said(&bytes)
            }
            Ppid::ASAP => match (self.mutation, Message::parse(&bytes)) {
                (
                    Mutation::KeepsDead,
                    Ok(Message::EndpointKeepAlive { handle, element: Some(element), .. }),
                ) => {
                    let ack = Message::EndpointKeepAliveAck { handle, element }.emit();
                    return (Vec::new(), vec![Input::Message { link, ppid, bytes: ack }]);
                }
                (_, Ok(message)) => self.asap_said(node, message).map(|message| message.emit()),
                _ => None,
            },
            _ => None,
        };
        (vec![Output::Send { link, ppid, bytes: new.unwrap_or(bytes) }], believed)
    }

    fn enrp_said(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut message = enrp::Message::parse(bytes).ok()?;
        match (self.mutation, &mut message.body) {
            (Mutation::WrongChecksum, Body::Presence { checksum: Some(checksum), .. }) => *checksum ^= 1,
            (Mutation::ListsTwice, Body::HandleTableResponse { pools, .. }) => {
                let (_, elements) = pools.first_mut()?;
                elements.push(elements.first()?.clone());
            }
            _ => return None,
        }
        Some(message.emit())
    }

    fn asap_said(&mut self, node: &Registrar, mut message: Message) -> Option<Message> {
        match (self.mutation, &mut message) {
            (Mutation::AcceptsContrary, Message::RegistrationResponse { rejected, causes, .. }) => {
                *rejected = false;
                causes.clear();
            }
            (_, Message::HandleResolutionResponse { handle, answer, .. }) => match (self.mutation, answer) {
                (Mutation::WrongCause, Resolution::Failed { causes }) => {
                    *causes = vec![ErrorCause { code: CauseCode::UNSPECIFIED, info: Vec::new() }];
                }
                (Mutation::OmitsElement, Resolution::Elements { elements, .. }) if elements.len() > 1 => {
                    elements.pop();
                }
                (Mutation::NamesStranger, Resolution::Elements { elements, .. }) => elements[0].id.0 ^= 1,
                (Mutation::NamesTwice, Resolution::Elements { elements, .. }) if elements.len() > 1 => {
                    elements[1] = elements[0].clone();
                }
                (Mutation::SelectsBadly, Resolution::Elements { elements, .. }) if elements.len() == 1 => {
                    self.turn += 1;
                    let all = node.handlespace().elements(None, None).filter(|(of, _)| *of == handle);
                    let worst = all.map(|(_, element)| element).max_by_key(|element| badness(element))?;
                    let before = self.before.filter(|_| self.turn.is_multiple_of(2));
                    let again = before.and_then(|id| node.handlespace().get(handle, id));
                    let chosen = if badness(worst) > 0 { Some(worst) } else { again };
                    elements[0] = chosen.unwrap_or(&elements[0]).clone();
                    self.before = Some(elements[0].id);
                }
                _ => return None,
            },
            _ => return None,
        }
        Some(message)
    }
}

/// How bad a choice the element is; 0 where the policy knows no bad ones.
fn badness(element: &PoolElement) -> u32 {
    match element.policy {
        Policy::LeastUsed { load } | Policy::LeastUsedDegradation { load, .. } => load.0,
        Policy::Priority { priority: other } | Policy::WeightedRandom { weight: other } => u32::MAX - other,
        _ => 0,
    }
}

fn each_element(body: &mut Body, mut change: impl FnMut(&mut PoolElement)) {
    match body {
        Body::HandleUpdate { element, .. } => change(element),
        Body::HandleTableResponse { pools, .. } => {
            pools.iter_mut().flat_map(|(_, elements)| elements).for_each(change);
        }
        _ => {}
    }
}
