//! Promises about takeovers: H11, H12, H13 (RFC 5353 §3.5).

use super::{Check, Kind, Scene, Seen};
use crate::actor::Said;
use crate::net::{HostId, State};
use rserpool::registrar::Event;
use rserpool::wire::enrp::Body;
use rserpool::{RegistrarId, Time};
use std::collections::{BTreeMap, BTreeSet};

/// The takeover this step begins to announce.
fn announced(scene: &Scene<'_>) -> BTreeSet<RegistrarId> {
    let said = scene.said_enrp().filter_map(|message| match message.body {
        Body::InitTakeover { target } => Some(target),
        _ => None,
    });
    said.collect()
}

/// The takeovers this step completes: seen on the wire, or, without peers to tell, in the registrar's own words.
fn completed(scene: &Scene<'_>) -> BTreeSet<RegistrarId> {
    let said = scene.said_enrp().filter_map(|message| match message.body {
        Body::TakeoverServer { target } => Some(target),
        _ => None,
    });
    let events = scene.events().filter_map(|said| match said {
        Said::Registrar(Event::TakeoverWon { target, .. }) => Some(*target),
        _ => None,
    });
    said.chain(events).collect()
}

/// The takeovers this step gives up.
fn given_up(scene: &Scene<'_>) -> BTreeSet<RegistrarId> {
    let events = scene.events().filter_map(|said| match said {
        Said::Registrar(Event::TakeoverYielded { target, .. } | Event::TakeoverAborted { target, .. }) => {
            Some(*target)
        }
        _ => None,
    });
    events.collect()
}

/// H11: at most one takeover of a target completes among registrars that can talk, and the arbitration names the winner.
pub fn h11() -> Check {
    // By target: who completed its takeover, when, and since when it had wanted to.
    let mut winners: BTreeMap<RegistrarId, (HostId, RegistrarId, Time)> = BTreeMap::new();
    // By registrar and target: since when it wants the takeover, and who wants it too, as far as it was told.
    let mut wants: BTreeMap<(HostId, RegistrarId), (Time, BTreeSet<RegistrarId>)> = BTreeMap::new();
    Check::new(
        "H11",
        Kind::Safety,
        "at most one takeover of a registrar completes among those that can talk, by the winner that arbitration names",
        move |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            // A target that speaks is alive: what was won before is void, and may be lost again.
            if scene.said_enrp().next().is_some() {
                winners.remove(&registrar.id());
            }
            if let Some(message) = scene.heard_enrp() {
                if let Body::InitTakeover { target } = message.body
                    && let Some((_, rivals)) = wants.get_mut(&(scene.host(), target))
                {
                    rivals.insert(message.sender);
                }
                wants.remove(&(scene.host(), message.sender));
            }
            for target in given_up(scene) {
                wants.remove(&(scene.host(), target));
            }
            for target in announced(scene) {
                wants.entry((scene.host(), target)).or_insert_with(|| (scene.now(), BTreeSet::new()));
            }
            let mut seen = Seen::Nothing;
            for target in completed(scene) {
                seen = Seen::Kept;
                let (since, rivals) =
                    wants.remove(&(scene.host(), target)).unwrap_or((scene.now(), BTreeSet::new()));
                let span = scene.now().since(since) + scene.scope.timing.takeover_max(scene.delay());
                let arbitration = scene.scope.arbitration;
                for rival in rivals {
                    let lives = scene.registrar_host(rival);
                    let here = lives.is_some_and(|host| scene.undisturbed(scene.host(), host, span));
                    if here && arbitration.prefers(rival, registrar.id()) {
                        return Err(format!(
                            "{} took over {target} although {rival} wanted it too",
                            registrar.id()
                        ));
                    }
                }
                let now = (scene.host(), registrar.id(), scene.now());
                let Some((other, id, at)) = winners.insert(target, now) else { continue };
                let span = span + scene.now().since(at);
                if id != registrar.id() && scene.undisturbed(scene.host(), other, span) {
                    return Err(format!("{} and {id} both took over {target}", registrar.id()));
                }
            }
            Ok(seen)
        },
    )
}

/// H12: a target that speaks before the takeover is complete keeps its elements.
pub fn h12() -> Check {
    // By registrar and target: the takeover under way, and whether the target spoke meanwhile.
    let mut under_way: BTreeMap<(HostId, RegistrarId), bool> = BTreeMap::new();
    Check::new(
        "H12",
        Kind::Safety,
        "a registrar that shows itself before its takeover is complete keeps its elements",
        move |scene| {
            if scene.registrar().is_none() {
                return Ok(Seen::Nothing);
            }
            let mut seen = Seen::Nothing;
            if let Some(message) = scene.heard_enrp()
                && matches!(message.body, Body::Presence { .. })
                && let Some(spoke) = under_way.get_mut(&(scene.host(), message.sender))
            {
                *spoke = true;
                seen = Seen::Kept;
            }
            for target in given_up(scene) {
                under_way.remove(&(scene.host(), target));
            }
            for target in announced(scene) {
                under_way.insert((scene.host(), target), false);
            }
            for target in completed(scene) {
                if under_way.remove(&(scene.host(), target)) == Some(true) {
                    return Err(format!("{target} showed itself and was taken over all the same"));
                }
            }
            Ok(seen)
        },
    )
}

/// H13: every arbitration ends in time, whoever does not answer.
pub fn h13() -> Check {
    let mut begun: BTreeMap<(HostId, RegistrarId), Time> = BTreeMap::new();
    Check::new(
        "H13",
        Kind::Liveness,
        "every arbitration ends, won, yielded or aborted, within its bound, whoever stays silent",
        move |scene| {
            let bound = scene.scope.timing.takeover_max(scene.delay());
            // A registrar that died or was held up has another clock to keep to.
            begun.retain(|(host, _), since| {
                let changed = scene.net.changed(*host);
                scene.net.state(*host) == State::Running && changed <= *since
            });
            for ((host, target), since) in &begun {
                let open = scene.now().since(*since);
                if open > bound {
                    let name = scene.net.name(*host);
                    return Err(format!(
                        "{name} has been taking over {target} for {open:?}, more than {bound:?}"
                    ));
                }
            }
            if scene.registrar().is_none() {
                return Ok(Seen::Nothing);
            }
            let mut seen = Seen::Nothing;
            for target in announced(scene) {
                begun.entry((scene.host(), target)).or_insert(scene.now());
            }
            for target in given_up(scene).into_iter().chain(completed(scene)) {
                if begun.remove(&(scene.host(), target)).is_some() {
                    seen = Seen::Kept;
                }
            }
            Ok(seen)
        },
    )
}
