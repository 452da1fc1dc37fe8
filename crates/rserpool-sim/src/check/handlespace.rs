//! Promises about handlespaces: H1, H2, H3, H5, H6, H7, H8.

use super::{Check, Entry, Kind, Scene, Seen, entries_of};
use crate::actor::Said;
use crate::net::HostId;
use rserpool::registrar::{Event, Removal};
use rserpool::wire::asap::Message;
use rserpool::wire::checksum::Sum;
use rserpool::wire::enrp::Body;
use rserpool::wire::parameter::{PoolElement, Transport, TransportUse};
use rserpool::{Door, ElementId, PoolHandle, RegistrarId};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::Discriminant;

/// H1: an element is in a pool at most once, and a pool has at least one element (RFC 5353 §3.3.2).
pub fn h1() -> Check {
    Check::new(
        "H1",
        Kind::Safety,
        "an element is in a pool at most once, and a pool has at least one element",
        |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            if let Some(entry) = twice(scene.entries().iter().map(Entry::key)) {
                return Err(format!("{} has {entry:?} twice", registrar.id()));
            }
            if let Some((handle, _)) =
                registrar.handlespace().pools().find(|(_, elements)| elements.is_empty())
            {
                return Err(format!("{} has the empty pool {handle}", registrar.id()));
            }
            // What it tells others about pools must be as tidy.
            let tables = scene.said_enrp().filter_map(|message| match &message.body {
                Body::HandleTableResponse { pools, .. } => Some(pools),
                _ => None,
            });
            let lists = scene.said_asap().filter_map(|(_, message)| match message {
                Message::PoolListResponse { pools, .. } => Some(pools),
                _ => None,
            });
            for pools in tables.chain(lists) {
                let keys =
                    pools.iter().flat_map(|(handle, of)| of.iter().map(|element| (*handle, element.id)));
                if let Some(entry) = twice(keys) {
                    return Err(format!("{} lists {entry:?} twice", registrar.id()));
                }
                if let Some((handle, _)) = pools.iter().find(|(_, elements)| elements.is_empty()) {
                    return Err(format!("{} lists the empty pool {handle}", registrar.id()));
                }
            }
            Ok(if scene.entries().is_empty() { Seen::Nothing } else { Seen::Kept })
        },
    )
}

fn twice<T: Ord + Copy>(keys: impl Iterator<Item = T>) -> Option<T> {
    let mut seen = BTreeSet::new();
    keys.into_iter().find(|key| !seen.insert(*key))
}

/// What all elements of a pool have in common.
type Nature = (u32, Discriminant<Transport>, Option<TransportUse>);

fn nature(element: &PoolElement) -> Nature {
    let transport = &element.user_transport;
    let used = match transport {
        Transport::Sctp { transport_use, .. } | Transport::Tcp { transport_use, .. } => Some(*transport_use),
        _ => None,
    };
    (element.policy.code(), std::mem::discriminant(transport), used)
}

/// H2: all elements of a pool share policy type, transport and its use; whoever differs is refused, and nothing changes
/// (RFC 5352 §3.1).
pub fn h2() -> Check {
    let mut before: BTreeMap<(HostId, u64), (BTreeMap<PoolHandle, Nature>, u64)> = BTreeMap::new();
    Check::new(
        "H2",
        Kind::Safety,
        "all elements of a pool share policy type, transport and its use; whoever differs is refused and changes nothing",
        move |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            let mut natures = BTreeMap::new();
            for Entry { handle, element } in scene.entries() {
                let first = *natures.entry(*handle).or_insert_with(|| nature(element));
                if first != nature(element) {
                    return Err(format!("{} of pool {handle} differs from the others", element.id));
                }
            }
            let digest = registrar.handlespace().digest();
            let old = before.insert(scene.process(), (natures, digest));
            let Some((Message::Registration { handle, element }, _)) = scene.heard_asap(Door::Asap) else {
                return Ok(Seen::Nothing);
            };
            let Some((natures, old_digest)) = old else { return Ok(Seen::Nothing) };
            if natures.get(handle).is_none_or(|pool| *pool == nature(element)) {
                return Ok(Seen::Nothing);
            }
            let refused = scene.said_asap().any(|(_, said)| {
                matches!(said, Message::RegistrationResponse { rejected: true, element: id, causes, .. }
                    if *id == element.id && !causes.is_empty())
            });
            match (refused, digest == old_digest) {
                (true, true) => Ok(Seen::Kept),
                (false, _) => Err(format!("{} differs from pool {handle} and is not refused", element.id)),
                (_, false) => Err(format!("refusing {} changed the handlespace", element.id)),
            }
        },
    )
}

/// The PE checksum from scratch, as RFC 5353 §3.6.2 and RFC 1071 describe it: words of the handle, padded, and of the
/// identifier; one's complement of their one's complement sum.
fn checksum<'a>(entries: impl Iterator<Item = &'a Entry>) -> u16 {
    let mut sum: u64 = 0;
    for Entry { handle, element } in entries {
        for pair in handle.as_bytes().chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0));
        }
        sum += u64::from(element.id.0 >> 16) + u64::from(element.id.0 & 0xffff);
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// H3: checksums are what the handlespace says, whatever its history (RFC 5353 §3.6.2).
///
/// A presence says what was true when it was said: where a step changes what the registrar owns, before or after it (two
/// alarms at one moment do), each state in between is true for a while.
pub fn h3() -> Check {
    let mut owned: BTreeMap<(HostId, u64), BTreeSet<(PoolHandle, ElementId)>> = BTreeMap::new();
    Check::new(
        "H3",
        Kind::Safety,
        "the checksum kept for a registrar, and the one it sends, is that of its entries, whatever the history",
        move |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            let own = registrar.id();
            let now =
                scene.entries().iter().filter(|entry| entry.element.home == own).map(Entry::key).collect();
            let mut then = owned.insert(scene.process(), now).unwrap_or_default();
            let mut true_for_a_while = BTreeSet::from([sum(&then)]);
            for event in scene.events() {
                change(&mut then, own, event);
                true_for_a_while.insert(sum(&then));
            }
            let of = |home| checksum(scene.entries().iter().filter(|entry| entry.element.home == home));
            let mut homes: BTreeSet<RegistrarId> =
                scene.entries().iter().map(|entry| entry.element.home).collect();
            homes.insert(registrar.id());
            for home in homes {
                let (kept, right) = (registrar.handlespace().checksum(home), of(home));
                if kept != right {
                    return Err(format!("{} keeps {kept:04x} for {home}, not {right:04x}", registrar.id()));
                }
            }
            let mut seen = Seen::Nothing;
            for message in scene.said_enrp() {
                let Body::Presence { checksum: Some(sent), .. } = message.body else { continue };
                let right = of(registrar.id());
                if sent != right && !true_for_a_while.contains(&sent) {
                    return Err(format!("{} sends {sent:04x}, not {right:04x}", registrar.id()));
                }
                seen = Seen::Kept;
            }
            Ok(seen)
        },
    )
}

/// What a registrar owns, after it said this.
fn change(owned: &mut BTreeSet<(PoolHandle, ElementId)>, own: RegistrarId, said: &Said) {
    match said {
        Said::Registrar(Event::ElementAdded { handle, element, home }) if *home == own => {
            owned.insert((*handle, *element));
        }
        Said::Registrar(Event::ElementMoved { handle, element, to, .. }) if *to == own => {
            owned.insert((*handle, *element));
        }
        Said::Registrar(
            Event::ElementMoved { handle, element, .. } | Event::ElementRemoved { handle, element, .. },
        ) => {
            owned.remove(&(*handle, *element));
        }
        _ => {}
    }
}

/// The checksum over these elements.
fn sum(owned: &BTreeSet<(PoolHandle, ElementId)>) -> u16 {
    let mut sum = Sum::default();
    owned.iter().for_each(|(handle, element)| sum.add(handle, *element));
    sum.checksum()
}

/// H5: after some quiet all registrars hold the same handlespace (RFC 5353 §3.6).
pub fn h5() -> Check {
    Check::new(
        "H5",
        Kind::Convergence,
        "after some quiet all registrars hold the same handlespace",
        |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            if scene.idle_for() < scene.scope.timing.settled_max(scene.delay(), scene.scope.net.link_loss) {
                return Ok(Seen::Nothing);
            }
            let mut seen = Seen::Nothing;
            for (_, other) in scene.registrars().filter(|(host, _)| *host != scene.host()) {
                if other.handlespace().digest() != registrar.handlespace().digest() {
                    return Err(format!(
                        "{} and {} differ: {}",
                        registrar.id(),
                        other.id(),
                        difference(scene, other)
                    ));
                }
                seen = Seen::Kept;
            }
            Ok(seen)
        },
    )
}

fn difference(scene: &Scene<'_>, other: &rserpool::Registrar) -> String {
    let theirs = entries_of(other);
    let only = |a: &[Entry], b: &[Entry]| -> Vec<String> {
        let missing = a.iter().filter(|entry| !b.contains(entry));
        missing
            .map(|Entry { handle, element }| {
                format!("{handle} {} home {} {:?}", element.id, element.home, element.policy)
            })
            .collect()
    };
    format!("{:?} against {:?}", only(scene.entries(), &theirs), only(&theirs, scene.entries()))
}

/// H6: after some quiet every entry has one home, which agrees, and so does the element.
pub fn h6() -> Check {
    Check::new(
        "H6",
        Kind::Convergence,
        "after some quiet every entry has one home, that registrar agrees, and the element names it too",
        |scene| {
            if scene.registrar().is_none()
                || scene.idle_for() < scene.scope.timing.settled_max(scene.delay(), scene.scope.net.link_loss)
            {
                return Ok(Seen::Nothing);
            }
            let mut seen = Seen::Nothing;
            for Entry { handle, element } in scene.entries() {
                let (id, home) = (element.id, element.home);
                let registrar = scene.registrars().find(|(_, registrar)| registrar.id() == home);
                let Some((_, registrar)) = registrar else {
                    return Err(format!("{id} has the home {home}, which is nobody"));
                };
                if registrar.handlespace().get(handle, id).map(|own| own.home) != Some(home) {
                    return Err(format!("{home} does not agree to be the home of {id}"));
                }
                let named = scene.element_host(id).and_then(|host| scene.net.node(host)?.member()?.home);
                if named != Some(home) {
                    return Err(format!("{id} names {named:?} as its home, not {home}"));
                }
                seen = Seen::Kept;
            }
            Ok(seen)
        },
    )
}

/// H7: a dead element is nowhere after some time.
pub fn h7() -> Check {
    Check::new(
        "H7",
        Kind::Convergence,
        "an element that is dead or has left is in no handlespace after some time",
        |scene| {
            if scene.registrar().is_none() {
                return Ok(Seen::Nothing);
            }
            let calm = scene.calm_for();
            let bound = scene.scope.timing.element_gone_max(scene.delay(), scene.scope.net.link_loss);
            if calm < bound {
                return Ok(Seen::Nothing);
            }
            let alive: BTreeSet<ElementId> = scene.willing().map(|(_, _, id)| id).collect();
            match scene.entries().iter().find(|entry| !alive.contains(&entry.element.id)) {
                Some(entry) => {
                    Err(format!("{} is still there after {calm:?}, more than {bound:?}", entry.element.id))
                }
                None => Ok(Seen::Kept),
            }
        },
    )
}

/// H8: an element that answers and renews in time is never removed for silence, even if its registrar was held up.
pub fn h8() -> Check {
    Check::new(
        "H8",
        Kind::Safety,
        "an element that answered and renewed in time is not removed by its home for silence",
        |scene| {
            let Some(registrar) = scene.registrar() else { return Ok(Seen::Nothing) };
            let timing = &scene.scope.timing;
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                let Said::Registrar(Event::ElementRemoved { element, home, why, .. }) = said else {
                    continue;
                };
                let span = match why {
                    Removal::Silent | Removal::Unreachable => timing.hung_element_max(scene.delay()),
                    Removal::LifeOver => timing.registration_life,
                    _ => continue,
                };
                seen = Seen::Kept;
                let Some(host) = scene.element_host(*element).filter(|_| *home == registrar.id()) else {
                    continue;
                };
                let stays = !scene.roster.leaving.contains(&host);
                if stays && healthy(scene, host, span) {
                    return Err(format!("{element} answered all the time and is removed: {why:?}"));
                }
            }
            // A registrar that was held up and removes nobody keeps the promise as well.
            let awake = scene.now().since(scene.net.changed(scene.host()));
            Ok(if awake < timing.hung_element_max(scene.delay()) { Seen::Kept } else { seen })
        },
    )
}

/// The element's process ran, and the path to this registrar was whole, for all this time. Whether the registrar ran
/// does not matter.
fn healthy(scene: &Scene<'_>, element: HostId, span: std::time::Duration) -> bool {
    let long_ago = |moment| scene.now().since(moment) > span;
    scene.net.state(element) == crate::net::State::Running
        && long_ago(scene.net.changed(element))
        && scene.net.trouble_between(scene.host(), element).is_none_or(long_ago)
}
