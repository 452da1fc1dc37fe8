//! Promises about selection: P1 to P4 (RFC 5356).
//!
//! The first element of an answer is the selected one; the others are in reserve and keep their turn (`policies.md` §2
//! of the protocol notes). Each check keeps a simple model of its own beside every registrar.

use super::{Check, Kind, Scene, Seen};
use crate::actor::Said;
use crate::net::HostId;
use rserpool::registrar::Event;
use rserpool::wire::asap::{Message, Resolution};
use rserpool::wire::enrp::Body;
use rserpool::wire::parameter::PoolElement;
use rserpool::{ElementId, Handlespace, Policy, PoolHandle};
use std::collections::BTreeMap;

/// A registrar's process and a pool.
type Place = ((HostId, u64), PoolHandle);

/// The elements selected in this step: pool and first element of each answer.
fn selected(scene: &Scene<'_>) -> Vec<(PoolHandle, ElementId)> {
    let answers = scene.said_asap().filter_map(|(_, said)| match said {
        Message::HandleResolutionResponse {
            handle, answer: Resolution::Elements { elements, .. }, ..
        } => Some((*handle, elements.first()?.id)),
        _ => None,
    });
    answers.collect()
}

/// The elements of a pool that may be selected, by id: those with weight that are no suspects, and the suspects if there
/// is nobody else.
fn candidates(space: &Handlespace, handle: &PoolHandle) -> Vec<PoolElement> {
    let has_weight = |policy: &Policy| {
        !matches!(policy, Policy::WeightedRoundRobin { weight: 0 } | Policy::WeightedRandom { weight: 0 })
    };
    let pool =
        space.pools().find(|(name, _)| *name == handle).map(|(_, elements)| elements).unwrap_or_default();
    let able: Vec<PoolElement> =
        pool.into_iter().filter(|element| has_weight(&element.policy)).cloned().collect();
    let trusted: Vec<PoolElement> =
        able.iter().filter(|element| !space.is_suspect(handle, element.id)).cloned().collect();
    if trusted.is_empty() { able } else { trusted }
}

/// Selections since the candidates last changed.
#[derive(Default)]
struct Turns {
    of: Vec<(ElementId, Policy)>,
    counts: BTreeMap<ElementId, u64>,
    since_full: u64,
}

/// Books of selections for pools of one policy type: `judge` is shown the candidates and how often each was selected
/// since they last changed, the newest selection included.
fn counted(
    id: &'static str,
    sentence: &'static str,
    applies: fn(&Policy) -> bool,
    judge: fn(&Turns) -> Result<Seen, String>,
) -> Check {
    let mut books: BTreeMap<Place, Turns> = BTreeMap::new();
    Check::new(id, Kind::Safety, sentence, move |scene| {
        let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
        let space = registrar.handlespace();
        let mut seen = Seen::Nothing;
        // Whoever joins, leaves or changes begins a new count, also between two selections; so does a pool that was empty.
        let there: Vec<_> = space.pools().map(|(handle, _)| *handle).collect();
        books.retain(|(process, handle), _| *process != scene.process() || there.contains(handle));
        for (handle, elements) in
            space.pools().filter(|(_, elements)| elements.iter().all(|e| applies(&e.policy)))
        {
            if elements.is_empty() {
                continue;
            }
            let now: Vec<_> = candidates(space, handle).into_iter().map(|e| (e.id, e.policy)).collect();
            let turns = books.entry((scene.process(), *handle)).or_default();
            if turns.of != now {
                *turns = Turns { of: now, ..Turns::default() };
            }
        }
        for (handle, id) in selected(scene) {
            let Some(turns) = books.get_mut(&(scene.process(), handle)) else { continue };
            if !turns.of.iter().any(|(of, _)| *of == id) {
                continue;
            }
            *turns.counts.entry(id).or_default() += 1;
            turns.since_full += 1;
            match judge(turns).map_err(|how| format!("{} in pool {handle}: {how}", registrar.id()))? {
                Seen::Kept => seen = Seen::Kept,
                Seen::Nothing => {}
            }
        }
        Ok(seen)
    })
}

/// P1: round robin is fair: after k rounds everybody was selected k times.
pub fn p1() -> Check {
    counted(
        "P1",
        "round robin selects each of n elements exactly k times in k·n selections",
        |policy| *policy == Policy::RoundRobin,
        |turns| {
            let (n, all) = (turns.of.len() as u64, turns.since_full);
            let (least, most) = (all / n, all.div_ceil(n));
            for (id, _) in &turns.of {
                let count = turns.counts.get(id).copied().unwrap_or(0);
                if count < least || count > most {
                    return Err(format!("{id} was selected {count} times of {all} among {n}"));
                }
            }
            Ok(if all % n == 0 && n > 1 { Seen::Kept } else { Seen::Nothing })
        },
    )
}

/// P2: weights are kept: exactly in turns, within chance by lot.
pub fn p2() -> Check {
    counted(
        "P2",
        "weighted round robin keeps the weights in every round, weighted random within chance",
        |policy| matches!(policy, Policy::WeightedRoundRobin { .. } | Policy::WeightedRandom { .. }),
        |turns| {
            let weight = |policy: &Policy| match policy {
                Policy::WeightedRoundRobin { weight } | Policy::WeightedRandom { weight } => {
                    u64::from(*weight)
                }
                _ => 0,
            };
            let sum: u64 = turns.of.iter().map(|(_, policy)| weight(policy)).sum();
            let all = turns.since_full;
            let count = |id| turns.counts.get(&id).copied().unwrap_or(0);
            if matches!(turns.of.first(), Some((_, Policy::WeightedRoundRobin { .. }))) {
                if all % sum != 0 {
                    return Ok(Seen::Nothing);
                }
                for (id, policy) in &turns.of {
                    // The count began in the middle of some round: one selection to either side.
                    let (was, right) = (count(*id), weight(policy) * (all / sum));
                    if was.abs_diff(right) > 1 {
                        return Err(format!(
                            "{id} was selected {was} times in {} rounds, not {right}",
                            all / sum
                        ));
                    }
                }
                return Ok(Seen::Kept);
            }
            if all < 20 * sum || turns.of.len() < 2 {
                return Ok(Seen::Nothing);
            }
            let chi: f64 = turns
                .of
                .iter()
                .map(|(id, policy)| {
                    let expected = all as f64 * weight(policy) as f64 / sum as f64;
                    (count(*id) as f64 - expected).powi(2) / expected
                })
                .sum();
            let bound = chi_square_bound(turns.of.len() - 1);
            if chi > bound {
                return Err(format!(
                    "chi square {chi:.1} over {bound:.1} after {all} draws: {:?}",
                    turns.counts
                ));
            }
            Ok(Seen::Kept)
        },
    )
}

/// The value that chi square exceeds once in 10^9 (Wilson and Hilferty's approximation): every draw is tested, in many
/// worlds, so once in 10^6 would be too often.
fn chi_square_bound(degrees: usize) -> f64 {
    let (k, z) = (degrees as f64, 6.0);
    k * (1.0 - 2.0 / (9.0 * k) + z * (2.0 / (9.0 * k)).sqrt()).powi(3)
}

/// P3: least used selects the least used.
pub fn p3() -> Check {
    let mut books: BTreeMap<(Place, ElementId), Usage> = BTreeMap::new();
    Check::new(
        "P3",
        Kind::Safety,
        "least used selects an element of the lowest load; degradation counts own selections until the next update",
        move |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            let space = registrar.handlespace();
            renewed(scene, |handle, id, certain| {
                let usage = books.entry(((scene.process(), handle), id)).or_default();
                *usage =
                    Usage { policy: usage.policy.take().filter(|_| !certain), chosen: 0, unsure: !certain };
            });
            let mut seen = Seen::Nothing;
            for (handle, id) in selected(scene) {
                let all = candidates(space, &handle);
                let adaptive =
                    |p: &Policy| matches!(p, Policy::LeastUsed { .. } | Policy::LeastUsedDegradation { .. });
                if all.is_empty() || !all.iter().all(|element| adaptive(&element.policy)) {
                    continue;
                }
                let mut keys = BTreeMap::new();
                for element in &all {
                    let usage = books.entry(((scene.process(), handle), element.id)).or_default();
                    if usage.policy.as_ref() != Some(&element.policy) {
                        *usage = Usage { policy: Some(element.policy.clone()), ..Usage::default() };
                    }
                    keys.insert(element.id, usage.key());
                }
                let Some(taken) = keys.get(&id) else { continue };
                let best = keys.iter().map(|(of, key)| (key.most, *of)).min();
                if let Some((best, other)) = best.filter(|(best, _)| taken.least > *best) {
                    return Err(format!("{id} with load {} was selected, {other} has {best}", taken.least));
                }
                seen = Seen::Kept;
                if let Some(usage) = books.get_mut(&((scene.process(), handle), id)) {
                    usage.chosen += 1;
                }
            }
            Ok(seen)
        },
    )
}

/// What a registrar must have counted for an element since it last registered.
#[derive(Default)]
struct Usage {
    policy: Option<Policy>,
    chosen: u32,
    /// The registrar was told about the element and may or may not have begun to count anew.
    unsure: bool,
}

/// The range in which the sort key of an element must lie.
struct Key {
    least: u32,
    most: u32,
}

impl Usage {
    fn key(&self) -> Key {
        match self.policy {
            Some(Policy::LeastUsedDegradation { load, degradation }) => {
                let counted = load.0.saturating_add(degradation.0.saturating_mul(self.chosen));
                let most = if self.unsure { u32::MAX } else { counted };
                Key { least: counted, most }
            }
            // Our registrars count their selections for plain Least Used too, by an estimate of their own: an element
            // that was never chosen since it registered has just its load, one that was has that or more.
            Some(Policy::LeastUsed { load }) => {
                let counted = self.chosen > 0 || self.unsure;
                Key { least: load.0, most: if counted { u32::MAX } else { load.0 } }
            }
            _ => Key { least: 0, most: u32::MAX },
        }
    }
}

/// Names the elements about which this step brought news, and whether it is certain that the registrar took them.
fn renewed(scene: &Scene<'_>, mut told: impl FnMut(PoolHandle, ElementId, bool)) {
    if let Some((Message::Registration { handle, element }, _)) = scene.heard_asap(rserpool::Door::Asap) {
        let granted = scene.said_asap().any(|(_, said)| {
            matches!(said, Message::RegistrationResponse { rejected: false, element: id, .. } if *id == element.id)
        });
        told(*handle, element.id, granted);
    }
    // A peer's word may be old news, and answers to questions may settle who the home is.
    match scene.heard_enrp().map(|message| &message.body) {
        Some(Body::HandleUpdate { handle, element, .. }) => told(*handle, element.id, false),
        Some(Body::HandleTableResponse { pools, .. }) => {
            for (handle, elements) in pools {
                elements.iter().for_each(|element| told(*handle, element.id, false));
            }
        }
        _ => {}
    }
    for said in scene.events() {
        match said {
            Said::Registrar(Event::ElementMoved { handle, element, .. }) => told(*handle, *element, false),
            // Whoever was not there has no count.
            Said::Registrar(Event::ElementAdded { handle, element, .. }) => told(*handle, *element, true),
            _ => {}
        }
    }
}

/// P4: nobody of lower priority is selected while somebody of higher priority can be.
pub fn p4() -> Check {
    Check::new(
        "P4",
        Kind::Safety,
        "no element of lower priority is selected while one of higher priority is there",
        |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            let mut seen = Seen::Nothing;
            for (handle, id) in selected(scene) {
                let priority = |element: &PoolElement| match element.policy {
                    Policy::Priority { priority } => Some(priority),
                    _ => None,
                };
                let all = candidates(registrar.handlespace(), &handle);
                let Some(highest) = all.iter().filter_map(priority).max() else { continue };
                let taken = all.iter().find(|element| element.id == id).and_then(priority);
                if taken.is_some_and(|taken| taken < highest) {
                    return Err(format!(
                        "{id} of priority {taken:?} was selected, there is one of {highest}"
                    ));
                }
                seen = Seen::Kept;
            }
            Ok(seen)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::chi_square_bound;

    #[test]
    fn the_bound_of_chi_square_is_that_of_the_tables_or_a_little_more() {
        // Once in 10^9: 37.3 for one degree of freedom, 41.4 for two, 53.8 for six. The approximation errs upwards here.
        for (degrees, table) in [(1, 37.3), (2, 41.4), (6, 53.8)] {
            let bound = chi_square_bound(degrees);
            assert!(bound > table && bound < table * 1.3, "{degrees}: {bound}");
        }
    }
}
