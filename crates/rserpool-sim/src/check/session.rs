//! Promises about sessions and what they compute: S1 to S5, J2, J7.

use super::{Check, Kind, Message, Scene, Seen};
use crate::actor::{Actor, Said};
use crate::adder::{Progress, Word};
use crate::customer::{Customer, Said as CustomerSaid};
use crate::net::{HostId, State};
use crate::world::Scope;
use rserpool::wire::asap;
use rserpool::{Door, Registrar, Time};
use std::collections::{BTreeMap, BTreeSet};

/// S1: the last cookie received, unchanged, is the first word to the next element (RFC 5352 §3.8).
pub fn s1() -> Check {
    #[derive(Default)]
    struct Job {
        cookie: Option<Vec<u8>>,
        /// The link the job is on.
        link: u64,
    }
    let mut jobs: BTreeMap<u64, Job> = BTreeMap::new();
    let mut begun: BTreeSet<u64> = BTreeSet::new();
    Check::new(
        "S1",
        Kind::Safety,
        "after a fail-over the last cookie received, unchanged, is the first word to the new element",
        move |scene| {
            if !scene.is_customer() {
                return Ok(Seen::Nothing);
            }
            if let Some((asap::Message::Cookie { cookie }, over)) = scene.heard_asap(Door::Service) {
                // The adder says in the cookie whose it is. What comes on a link that the job left is too late.
                let job = jobs.values_mut().find(|job| job.link == over.number);
                if let Some(job) = job {
                    job.cookie = Some(cookie.clone());
                }
            }
            let mut seen = Seen::Nothing;
            for (over, said) in scene.said() {
                let Some(over) = over.filter(|over| over.door == Door::Service) else { continue };
                let first = match said {
                    Message::Link(_) => continue,
                    Message::Asap(asap::Message::CookieEcho { cookie }) => {
                        if !begun.insert(over.number) {
                            return Err("a cookie echo in the middle of a session".into());
                        }
                        let job = jobs.values_mut().find(|job| job.cookie.as_ref() == Some(cookie));
                        job.ok_or("the cookie echoed is not the last one received")?.link = over.number;
                        seen = Seen::Kept;
                        continue;
                    }
                    Message::Adding(Word::Request { job, .. }) => *job,
                    other => return Err(format!("a customer says {other:?}")),
                };
                let job = jobs.entry(first).or_default();
                if begun.insert(over.number) && job.cookie.is_some() {
                    return Err(format!("job {first:x} had a cookie, and its new element was not told"));
                }
                job.link = over.number;
            }
            Ok(seen)
        },
    )
}

/// S2: an element goes on from a cookie only if it is whole, else from zero.
pub fn s2() -> Check {
    // By link: what the element must say first.
    let mut expected: BTreeMap<(u64, HostId), Progress> = BTreeMap::new();
    Check::new(
        "S2",
        Kind::Safety,
        "an element goes on from a cookie if it is whole, and starts from zero otherwise; never anything else",
        move |scene| {
            if !scene.is_element() {
                return Ok(Seen::Nothing);
            }
            if let Some((asap::Message::CookieEcho { cookie }, over)) = scene.heard_asap(Door::Service) {
                let progress = Progress::verify(cookie).unwrap_or_default();
                expected.insert((over.number, scene.host()), progress);
            }
            let mut seen = Seen::Nothing;
            for (over, said) in scene.said() {
                let (Some(over), Message::Adding(word)) = (over, said) else { continue };
                let Some(right) = expected.remove(&(over.number, scene.host())) else { continue };
                let Progress { job, next, sum, .. } = right;
                if *word != (Word::GoOn { job, next, sum }) {
                    return Err(format!("{word:?} after a cookie that says {right:?}"));
                }
                seen = Seen::Kept;
            }
            Ok(seen)
        },
    )
}

/// S3: attempts only grow, and only the last one counts.
pub fn s3() -> Check {
    let mut attempts: BTreeMap<(u64, u32), u32> = BTreeMap::new();
    Check::new(
        "S3",
        Kind::Safety,
        "attempts of a piece of work only grow, and answers to older ones change nothing",
        move |scene| {
            if !scene.is_customer() {
                return Ok(Seen::Nothing);
            }
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                let Said::Customer(CustomerSaid::Accepted { job, index, attempt, .. }) = said else {
                    continue;
                };
                let last = attempts.get(&(*job, *index)).copied();
                if last != Some(*attempt) {
                    return Err(format!(
                        "attempt {attempt} of {index} was accepted, the last one is {last:?}"
                    ));
                }
                seen = Seen::Kept;
            }
            for (_, said) in scene.said() {
                let Message::Adding(Word::Request { job, index, attempt, .. }) = said else { continue };
                let last = attempts.insert((*job, *index), *attempt);
                if last.is_some_and(|last| last >= *attempt) {
                    return Err(format!("attempt {attempt} of {index} follows attempt {last:?}"));
                }
            }
            Ok(seen)
        },
    )
}

/// S4: a session feeds one element at a time.
pub fn s4() -> Check {
    // The links of each job in the order of their first use.
    let mut links: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    Check::new("S4", Kind::Safety, "a session feeds one element at a time", move |scene| {
        if !scene.is_customer() {
            return Ok(Seen::Nothing);
        }
        let mut seen = Seen::Nothing;
        for (over, said) in scene.said() {
            let (Some(over), Message::Adding(Word::Request { job, .. })) = (over, said) else { continue };
            let of = links.entry(*job).or_default();
            if of.last() == Some(&over.number) {
                continue;
            }
            if of.contains(&over.number) {
                return Err(format!("job {job:x} feeds an element it had left"));
            }
            of.push(over.number);
            if of.len() > 1 {
                seen = Seen::Kept;
            }
        }
        Ok(seen)
    })
}

/// S5: as long as an element is there, every session makes progress.
pub fn s5(scope: &Scope) -> Check {
    let timing = scope.timing.clone();
    let delay = scope.net.delay_max + scope.net.wake_late_max;
    // What a number takes by itself: thinking (half as long again), adding a full window, and the sessions of others.
    let own = scope.demand.think * 2 + scope.pace.work * (scope.demand.window + 1);
    let bound = timing.progress_max(delay, scope.net.connect_give_up) + own;
    let mut moved: BTreeMap<(HostId, u64), Time> = BTreeMap::new();
    let mut served = Time::ZERO;
    Check::new(
        "S5",
        Kind::Liveness,
        "as long as a living element is there, every session makes progress within its bound",
        move |scene| {
            let mut seen = Seen::Nothing;
            if scene.is_customer() {
                let place = scene.process();
                moved.entry(place).or_insert(scene.now());
                for said in scene.events() {
                    if matches!(
                        said,
                        Said::Customer(CustomerSaid::Accepted { .. } | CustomerSaid::Discarded { .. })
                    ) {
                        moved.insert(place, scene.now());
                        seen = Seen::Kept;
                    }
                }
            }
            // An element that no registrar knows yet is not there for anybody: that it becomes known is H10's promise.
            if !reachable(scene) {
                served = scene.now();
            }
            if scene.calm_for().min(scene.now().since(served)) <= bound {
                return Ok(seen);
            }
            for ((host, incarnation), since) in &moved {
                if scene.net.incarnation(*host) != *incarnation || scene.net.state(*host) != State::Running {
                    continue;
                }
                let customer = scene.net.node(*host).and_then(Actor::customer);
                let still = scene.now().since(*since);
                if customer.is_some_and(|customer| !customer.is_content()) && still > bound {
                    let name = scene.net.name(*host);
                    return Err(format!("{name} has not moved for {still:?}, more than {bound:?}"));
                }
            }
            Ok(seen)
        },
    )
}

/// There are registrars, and each knows an element that lives and stays.
fn reachable(scene: &Scene<'_>) -> bool {
    let handle = scene.scope.demand.handle;
    let knows = |registrar: &Registrar| {
        scene
            .willing()
            .any(|(_, pool, id)| pool == handle && registrar.handlespace().get(&handle, id).is_some())
    };
    let mut registrars = scene.registrars().peekable();
    registrars.peek().is_some() && registrars.all(|(_, registrar)| knows(registrar))
}

/// J2: every answer is accepted once, in order.
pub fn j2() -> Check {
    let mut accepted: BTreeMap<u64, u32> = BTreeMap::new();
    Check::new("J2", Kind::Safety, "the result of each piece of work is accepted once", move |scene| {
        let mut seen = Seen::Nothing;
        for said in scene.events() {
            match said {
                Said::Customer(CustomerSaid::Accepted { job, index, .. }) => {
                    let next = accepted.entry(*job).or_insert(0);
                    if index != next {
                        return Err(format!("result {index} of job {job:x} is accepted, {next} comes next"));
                    }
                    *next += 1;
                }
                Said::Customer(CustomerSaid::Discarded { .. }) => seen = Seen::Kept,
                _ => {}
            }
        }
        Ok(seen)
    })
}

/// J7: whatever happened, the sums are right.
pub fn j7() -> Check {
    Check::new(
        "J7",
        Kind::Safety,
        "every accepted result is the one a single process would compute",
        |scene| {
            let mut seen = Seen::Nothing;
            for said in scene.events() {
                let Said::Customer(CustomerSaid::Accepted { job, index, sum, .. }) = said else { continue };
                let right = Customer::right_sum(*job, *index);
                if *sum != right {
                    return Err(format!("sum {index} of job {job:x} is {sum}, not {right}"));
                }
                seen = Seen::Kept;
            }
            Ok(seen)
        },
    )
}
