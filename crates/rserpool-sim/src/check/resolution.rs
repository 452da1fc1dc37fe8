//! Promises about the answers of registrars: H10, H17.

use super::{Check, Kind, Seen};
use crate::net::HostId;
use rserpool::wire::asap::{Message, Resolution};
use rserpool::wire::parameter::CauseCode;
use rserpool::{Door, ElementId, Policy, PoolHandle};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// H10: a living element is known to, and answered by, every registrar within a bounded time.
pub fn h10() -> Check {
    Check::new(
        "H10",
        Kind::Liveness,
        "a living element is known to every registrar, and in its answers, within a bounded time",
        |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            let calm = scene.calm_for();
            if calm < scene.scope.timing.resolvable_max(scene.delay(), scene.scope.net.link_loss) {
                return Ok(Seen::Nothing);
            }
            let mut seen = Seen::Nothing;
            for (_, pool, id) in scene.willing() {
                if registrar.handlespace().get(&pool, id).is_none() {
                    return Err(format!("{} does not know {id} after {calm:?}", registrar.id()));
                }
                seen = Seen::Kept;
            }
            let Some((Message::HandleResolution { handle: asked, items: Some(u32::MAX), .. }, _)) =
                scene.heard_asap(Door::Asap)
            else {
                return Ok(seen);
            };
            for (_, said) in scene.said_asap() {
                let Message::HandleResolutionResponse { answer, .. } = said else { continue };
                let told: BTreeSet<ElementId> = match answer {
                    Resolution::Elements { elements, .. } => {
                        elements.iter().map(|element| element.id).collect()
                    }
                    Resolution::Failed { .. } => BTreeSet::new(),
                };
                let missing = scene.willing().find(|(_, pool, id)| pool == asked && !told.contains(id));
                if let Some((_, _, id)) = missing {
                    return Err(format!("{} does not name {id} when asked for all", registrar.id()));
                }
            }
            Ok(seen)
        },
    )
}

/// Elements in any answer (the limit of the reference's users).
const ITEMS_MAX: usize = 128;

/// The pool asked for, and how many elements are wanted.
type Question = (PoolHandle, Option<u32>);

/// H17: an answer is a selection from what the registrar knows, at most as long as wanted, and never an empty success.
pub fn h17() -> Check {
    // By registrar and link: the questions not answered yet.
    let mut asked: BTreeMap<(HostId, u64), VecDeque<Question>> = BTreeMap::new();
    Check::new(
        "H17",
        Kind::Safety,
        "an answer names known elements only, each once, no more than asked for; an unknown pool is an error",
        move |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            if let Some((Message::HandleResolution { handle, items, .. }, over)) =
                scene.heard_asap(Door::Asap)
            {
                asked.entry((scene.host(), over.number)).or_default().push_back((*handle, *items));
            }
            let mut seen = Seen::Nothing;
            for (over, said) in scene.said_asap() {
                let Message::HandleResolutionResponse { handle, answer, .. } = said else { continue };
                seen = Seen::Kept;
                let number = over.map_or(0, |over| over.number);
                let question = asked.get_mut(&(scene.host(), number)).and_then(VecDeque::pop_front);
                let (wanted, items) = question.ok_or("an answer that nobody asked for")?;
                if wanted != *handle {
                    return Err(format!("asked for {wanted}, answered for {handle}"));
                }
                let known = registrar.handlespace().pool_len(handle) > 0;
                match answer {
                    Resolution::Failed { causes } => {
                        let says_unknown = causes.iter().any(|c| c.code == CauseCode::UNKNOWN_POOL_HANDLE);
                        if !known && !says_unknown {
                            return Err(format!("pool {handle} is unknown, and the answer says {causes:?}"));
                        }
                    }
                    Resolution::Elements { elements, .. } if elements.is_empty() => {
                        return Err(format!("an empty success for pool {handle}"));
                    }
                    Resolution::Elements { policy, elements } => {
                        let most = items.filter(|items| *items > 0).map_or(ITEMS_MAX, |items| items as usize);
                        if elements.len() > most.min(ITEMS_MAX) {
                            return Err(format!("{} elements, {most} wanted", elements.len()));
                        }
                        if policy.is_none() && elements.iter().any(|e| e.policy != Policy::RoundRobin) {
                            return Err("the policy is missing".into());
                        }
                        let mut named = BTreeSet::new();
                        for element in elements {
                            if !named.insert(element.id) {
                                return Err(format!("{} is named twice", element.id));
                            }
                            if registrar.handlespace().get(handle, element.id).is_none() {
                                return Err(format!("{} is named and not known", element.id));
                            }
                        }
                    }
                }
            }
            Ok(seen)
        },
    )
}
