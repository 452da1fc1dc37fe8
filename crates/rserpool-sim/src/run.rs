//! A whole run of one seed: things go wrong; then everything is made whole, and must come right.
//!
//! ```text
//!   chaos          the schedule of the plan                    safety
//!   healing        paths heal, the stopped go on, some of the dead come back, at least one of each role
//!   work           until every customer is content             safety, liveness
//!   rest           until all must agree                        safety, liveness, convergence
//!   last question  every customer asks for the whole pool
//! ```

use crate::check::Violation;
use crate::count::{Counts, Fault};
use crate::net::{HostId, State};
use crate::plan::{Act, Plan, Who};
use crate::world::World;
use rserpool::{Random, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Everything that happened, as a number.
    pub hash: u64,
    /// The world's time at the end.
    pub lasted: Duration,
    /// What happened how often.
    pub counts: Counts,
    /// In how many steps each check had something to look at, by id.
    pub tried: BTreeMap<&'static str, u64>,
    /// The promise that was broken, if one was.
    pub violation: Option<Violation>,
    /// The last part of the trace, if it was kept.
    pub story: String,
}

/// Runs the plan of a seed, keeping so many lines of its trace.
pub fn run(seed: u64, trace_lines: usize) -> Outcome {
    let mut plan = Plan::of(seed);
    plan.scope.trace_lines = trace_lines;
    run_plan(&plan)
}

/// Runs a plan.
pub fn run_plan(plan: &Plan) -> Outcome {
    let mut world = World::new(plan.scope.clone())
        .registrars(plan.registrars)
        .elements(plan.elements)
        .customers(plan.customers)
        .workers(plan.workers)
        .clients(plan.clients);
    chaos(&mut world, plan);
    healing(&mut world, plan);
    work(&mut world, plan);
    rest(&mut world);
    Outcome {
        seed: plan.scope.seed,
        hash: world.net().trace().hash(),
        lasted: world.now().since(Time::ZERO),
        counts: world.counts().clone(),
        tried: world.checks().iter().map(|check| (check.id, check.tried)).collect(),
        violation: world.violation().cloned(),
        story: world.story(),
    }
}

fn chaos(world: &mut World, plan: &Plan) {
    for (at, act) in &plan.schedule {
        let at = Time::ZERO + *at;
        if at > Time::ZERO + plan.chaos {
            break;
        }
        while world.step(at) {}
        perform(world, act);
    }
    let end = Time::ZERO + plan.chaos;
    while world.step(end) {}
}

fn host(world: &World, who: Who) -> HostId {
    match who {
        Who::Registrar(number) => world.roster().registrars[number],
        Who::Element(number) => world.roster().elements[number],
        Who::Customer(number) => world.roster().customers[number],
        Who::Worker(number) => world.roster().workers[number],
        Who::Client(number) => world.roster().clients[number],
    }
}

fn perform(world: &mut World, act: &Act) {
    match *act {
        Act::Crash(who) => world.crash(host(world, who)),
        Act::Vanish(who) => world.vanish(host(world, who)),
        Act::Start(who) => {
            world.revives(host(world, who));
        }
        Act::Pause(who) => world.pause(host(world, who)),
        Act::Resume(who) => world.resume(host(world, who)),
        Act::Cut(from, to) => world.cut(host(world, from), host(world, to)),
        Act::Heal(a, b) => world.heals(host(world, a), host(world, b)),
        Act::Partition(mask) => {
            let (one, other): (Vec<HostId>, Vec<HostId>) =
                world.net().hosts().partition(|host| mask >> (host.0 % 64) & 1 == 1);
            world.partition(&one, &other);
        }
        Act::HealAll => world.heals_all(),
        Act::Slow(from, to, times) => world.slow(host(world, from), host(world, to), times),
        Act::Reset(a, b) => world.reset(host(world, a), host(world, b)),
        Act::Leave(number) => world.leaves(host(world, Who::Element(number))),
        Act::Join => world.joins_late(),
        Act::Change(number) => world.changes_element(host(world, Who::Customer(number))),
        Act::Contrary => world.contradicts(),
        Act::Silence => world.silences(),
        Act::Forge(who) => world.forges_cookie(host(world, who)),
        Act::Drain(number) => world.drains(host(world, Who::Worker(number))),
        Act::Cancel(number) => world.cancels(host(world, Who::Client(number))),
        Act::FillDisk(number, left) => world.fills_disk(host(world, Who::Client(number)), left),
        Act::SlowDisk(number, times) => world.slows_disk(host(world, Who::Client(number)), times),
        Act::OldCookie(number, foreign) => {
            world.shows_old_cookie(host(world, Who::Worker(number)), foreign);
        }
    }
}

/// Everything is made whole. Some of the dead stay dead, but somebody of each role lives, and every customer and client
/// does.
fn healing(world: &mut World, plan: &Plan) {
    world.heals_all();
    world.silences();
    let mut random = Random::from_seed(plan.scope.seed ^ 0x6865_616c);
    for client in world.roster().clients.clone() {
        world.fills_disk(client, None);
        world.slows_disk(client, 1);
    }
    for host in world.net().hosts().collect::<Vec<_>>() {
        world.resume(host);
        if world.roster().contrary.contains(&host) {
            continue;
        }
        let asks = world.roster().customers.contains(&host) || world.roster().clients.contains(&host);
        if asks || random.one_in(2) {
            world.revives(host);
        }
    }
    let roster = world.roster().clone();
    for of in [roster.registrars, roster.elements, roster.workers] {
        let serves = |world: &World, host: &HostId| {
            world.net().state(*host) == State::Running && !world.roster().leaving.contains(host)
        };
        if of.is_empty() || of.iter().any(|host| serves(world, host)) {
            continue;
        }
        // One that left the pool comes back as a new process.
        let chosen = of[random.below(of.len() as u64) as usize];
        world.crash(chosen);
        world.revives(chosen);
    }
}

/// Runs until customers and clients are content. That they make progress is a promise of its own (S5, J3); the end is only
/// in case that check is broken itself.
fn work(world: &mut World, plan: &Plan) {
    let bound = plan.chaos * 20 + Duration::from_secs(600);
    let done = world.runs_until_or(bound, World::all_content);
    assert!(done || world.violation().is_some(), "the work never ends, and no check noticed");
}

/// Runs until everybody must agree, a little longer, and asks a last question.
fn rest(world: &mut World) {
    let net = world.scope().net.clone();
    let delay = net.delay_max + net.wake_late_max;
    let timing = world.scope().timing.clone();
    world.runs(timing.settled_max(delay, net.link_loss) + timing.presence_interval * 2);
    for host in world.roster().customers.clone() {
        world.looks_around(host);
    }
    world.runs(timing.resolution_timeout + 4 * delay);
}

impl World {
    /// The process of a host that died starts again, empty.
    fn revives(&mut self, host: HostId) {
        if matches!(self.net().state(host), State::Crashed | State::Vanished) {
            self.count(Fault::Join);
            self.start(host);
        }
    }

    /// An element that nobody knew before joins.
    fn joins_late(&mut self) {
        self.count(Fault::Join);
        self.joins();
    }
}
