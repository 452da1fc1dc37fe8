//! What a seed means: who is there, what they want, and what goes wrong when.
//!
//! Uniform faults hide bugs behind one another, so every seed draws its own mixture and switches some kinds of faults
//! off altogether (swarm testing). A plan can be printed; equal seeds give equal plans.

use crate::count::Fault;
use crate::world::Scope;
use rserpool::{Load, Policy, Profile, Protocol, Random, Timing};
use rserpool_compute::job::Backups;
use std::fmt;
use std::time::Duration;

/// Somebody, by number within the role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A registrar.
    Registrar(usize),
    /// An element.
    Element(usize),
    /// A customer.
    Customer(usize),
    /// A worker.
    Worker(usize),
    /// A client.
    Client(usize),
}

/// Something that is done to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A process dies.
    Crash(Who),
    /// A host is gone.
    Vanish(Who),
    /// It starts again, empty.
    Start(Who),
    /// A process stops.
    Pause(Who),
    /// It goes on.
    Resume(Who),
    /// A path is cut one way.
    Cut(Who, Who),
    /// Both ways between these two work again.
    Heal(Who, Who),
    /// The hosts whose bit is set, in order of creation, are parted from the others.
    Partition(u64),
    /// All paths work again.
    HealAll,
    /// A path becomes slow.
    Slow(Who, Who, u32),
    /// Links are lost.
    Reset(Who, Who),
    /// An element leaves.
    Leave(usize),
    /// A new element joins.
    Join,
    /// A customer wants another element.
    Change(usize),
    /// An element wants another policy than the pool's.
    Contrary,
    /// Elements that wanted another policy go away.
    Silence,
    /// The next cookie to this element or worker is falsified.
    Forge(Who),
    /// A worker drains.
    Drain(usize),
    /// A client cancels a task.
    Cancel(usize),
    /// The next cookie to this worker is replaced by an older one, of another job if this is true.
    OldCookie(usize, bool),
    /// The disk of a client takes so many octets more, or as many as one likes.
    FillDisk(usize, Option<usize>),
    /// The disk of a client becomes so many times slower.
    SlowDisk(usize, u32),
}

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The world.
    pub scope: Scope,
    /// The profile its timers come from.
    pub profile: Profile,
    /// Registrars, 1 to 4.
    pub registrars: usize,
    /// Elements at the start, 1 to 6; 0 in a world of nothing but jobs.
    pub elements: usize,
    /// Customers, 1 to 3; 0 in a world of nothing but jobs.
    pub customers: usize,
    /// Workers, 1 to 5; 0 in a world without jobs.
    pub workers: usize,
    /// Clients, 1 or 2; 0 in a world without jobs.
    pub clients: usize,
    /// How long things go wrong.
    pub chaos: Duration,
    /// The kinds of faults that may happen.
    pub kinds: Vec<Fault>,
    /// What is done, and when after the start; in order.
    pub schedule: Vec<(Duration, Act)>,
}

impl Plan {
    /// The plan of a seed.
    pub fn of(seed: u64) -> Self {
        // Not the world's own stream: the plan may change without changing what chances do within the world.
        let mut random = Random::from_seed(seed ^ 0x706c_616e);
        let profile = match random.below(40) {
            0 => Profile::Rfc,
            1..=14 => Profile::Realtime,
            _ => Profile::Default,
        };
        let (chaos, delay_max) = match profile {
            Profile::Realtime => (8, 2 + random.below(6)),
            Profile::Default => (25, 5 + random.below(25)),
            Profile::Rfc => (300, 5 + random.below(100)),
        };
        let chaos = Duration::from_secs(chaos);
        let mut plan = Self {
            scope: scope(seed, profile, delay_max, &mut random),
            profile,
            registrars: 1 + random.below(4) as usize,
            elements: 1 + random.below(6) as usize,
            customers: 1 + random.below(3) as usize,
            workers: 0,
            clients: 0,
            chaos,
            kinds: Fault::OF_ALL.into_iter().filter(|_| random.one_in(2)).collect(),
            schedule: Vec::new(),
        };
        plan.work_lasts(&mut random);
        plan.draw_schedule(&mut random);
        plan.draw_jobs(seed);
        plan
    }

    /// Work for about as long as things go wrong, in one job or several.
    fn work_lasts(&mut self, random: &mut Random) {
        let jobs = 1 + random.below(6) as u32;
        let each = self.chaos / jobs;
        let demand = &mut self.scope.demand;
        demand.jobs = jobs;
        demand.window = 1 + random.below(4) as u32;
        demand.numbers = 10 + random.below(60) as u32;
        demand.think = each / demand.numbers;
        demand.curiosity = random.below(5) as u32;
        self.scope.pace.work = Duration::from_millis(random.below(5));
        self.scope.pace.cookie_every = 1 + random.below(8) as u32;
        self.scope.pace.slots = 2 + random.below(10);
    }

    fn draw_schedule(&mut self, random: &mut Random) {
        let faults = if self.kinds.is_empty() { 0 } else { 2 + random.below(18) };
        for _ in 0..faults {
            let kind = self.kinds[random.below(self.kinds.len() as u64) as usize];
            let at = self.moment(self.chaos, random);
            let lasts = self.lasting(random);
            self.draw(kind, at, lasts, random);
        }
        // Stable: what is drawn first is done first.
        self.schedule.sort_by_key(|(at, _)| *at);
    }

    fn moment(&self, within: Duration, random: &mut Random) -> Duration {
        Duration::from_nanos(random.below(u64::try_from(within.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Mostly about as long as detection takes, sometimes much shorter or longer: the interesting lengths.
    fn lasting(&self, random: &mut Random) -> Duration {
        let unit = self.scope.timing.peer_silence_max;
        match random.below(4) {
            0 => self.moment(unit / 4, random),
            1 => self.moment(unit * 8, random),
            _ => self.moment(unit * 3, random),
        }
    }

    fn anybody(&self, random: &mut Random) -> Who {
        let of = |count: usize, random: &mut Random| random.below(count as u64) as usize;
        match random.below(8) {
            0..=3 => Who::Registrar(of(self.registrars, random)),
            4..=6 => Who::Element(of(self.elements, random)),
            _ => Who::Customer(of(self.customers, random)),
        }
    }

    fn draw(&mut self, kind: Fault, at: Duration, lasts: Duration, random: &mut Random) {
        let (one, other) = (self.anybody(random), self.anybody(random));
        let element = random.below(self.elements as u64) as usize;
        let (act, undo) = match kind {
            Fault::Crash => (Act::Crash(one), Some(Act::Start(one))),
            Fault::Vanish => (Act::Vanish(one), Some(Act::Start(one))),
            Fault::Pause => (Act::Pause(one), Some(Act::Resume(one))),
            Fault::Cut => (Act::Cut(one, other), Some(Act::Heal(one, other))),
            Fault::Partition => (Act::Partition(random.next_u64()), Some(Act::HealAll)),
            Fault::Slow => (Act::Slow(one, other, 2 + random.below(20) as u32), Some(Act::Heal(one, other))),
            Fault::Reset => (Act::Reset(one, other), None),
            Fault::Leave => (Act::Leave(element), None),
            Fault::Join => (Act::Join, None),
            Fault::Change => (Act::Change(random.below(self.customers as u64) as usize), None),
            Fault::Contrary => (Act::Contrary, Some(Act::Silence)),
            Fault::Forgery => (Act::Forge(Who::Element(element)), None),
            other => unreachable!("{other} only happen where there are jobs"),
        };
        self.schedule.push((at, act));
        if let Some(undo) = undo {
            self.schedule.push((at + lasts, undo));
        }
    }

    /// In some worlds there are jobs, beside the sums or in their place. Drawn last and from a stream of its own, so that
    /// worlds without jobs are what they were before there were any.
    fn draw_jobs(&mut self, seed: u64) {
        let mut random = Random::from_seed(seed ^ 0x6a6f_6273);
        let (jobs, sums) = match random.below(5) {
            0..=1 => (false, true),
            2..=3 => (true, false),
            _ => (true, true),
        };
        if !jobs {
            return;
        }
        if !sums {
            (self.elements, self.customers) = (0, 0);
            (self.schedule, self.kinds) = (Vec::new(), Vec::new());
        }
        self.workers = 1 + random.below(5) as usize;
        self.clients = 1 + random.below(2) as usize;
        self.toil_lasts(&mut random);
        self.draw_job_schedule(&mut random);
    }

    /// Tasks for about as long as things go wrong.
    fn toil_lasts(&mut self, random: &mut Random) {
        let toil = &mut self.scope.toil;
        toil.tasks = 8 + random.below(40);
        toil.think = self.chaos / (toil.tasks as u32 * (1 + random.below(4) as u32));
        toil.unit = self.chaos / (10 + random.below(40) as u32);
        toil.slots_max = 1 + random.below(4) as u32;
        toil.backups = [Backups::Never, Backups::Pure, Backups::Always][random.below(3) as usize];
        toil.drain_deadline = toil.unit * random.below(8) as u32;
        toil.durable = !random.one_in(3);
        if random.one_in(2) {
            toil.policy = Policy::LeastUsed { load: Load::IDLE };
        }
    }

    fn draw_job_schedule(&mut self, random: &mut Random) {
        let net = [
            Fault::Crash,
            Fault::Vanish,
            Fault::Pause,
            Fault::Cut,
            Fault::Partition,
            Fault::Slow,
            Fault::Reset,
            Fault::Forgery,
        ];
        let all = net.into_iter().chain(Fault::OF_JOBS);
        let kinds: Vec<Fault> = all.filter(|_| random.one_in(2)).collect();
        // Whoever shares workers with a poisoned client suffers with it, and cannot know.
        self.scope.toil.poison = kinds.contains(&Fault::Poison) && self.clients == 1;
        let faults = if kinds.is_empty() { 0 } else { 2 + random.below(18) };
        for _ in 0..faults {
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            let at = self.moment(self.chaos, random);
            let lasts = self.lasting(random);
            self.draw_job_fault(kind, at, lasts, random);
        }
        self.schedule.sort_by_key(|(at, _)| *at);
        self.kinds.extend(kinds);
        self.kinds.sort_unstable();
        self.kinds.dedup();
    }

    /// Somebody who has to do with jobs.
    fn any_toiler(&self, random: &mut Random) -> Who {
        let of = |count: usize, random: &mut Random| random.below(count as u64) as usize;
        match random.below(8) {
            0..=1 => Who::Registrar(of(self.registrars, random)),
            2..=5 => Who::Worker(of(self.workers, random)),
            _ => Who::Client(of(self.clients, random)),
        }
    }

    fn draw_job_fault(&mut self, kind: Fault, at: Duration, lasts: Duration, random: &mut Random) {
        let (one, other) = (self.any_toiler(random), self.any_toiler(random));
        let (worker, client) =
            (random.below(self.workers as u64) as usize, random.below(self.clients as u64) as usize);
        let (act, undo) = match (kind, one) {
            // They have kinds of their own.
            (Fault::Crash | Fault::Vanish, Who::Client(_)) => (Act::Pause(one), Some(Act::Resume(one))),
            (Fault::Crash, _) => (Act::Crash(one), Some(Act::Start(one))),
            (Fault::Vanish, _) => (Act::Vanish(one), Some(Act::Start(one))),
            (Fault::Pause, _) => (Act::Pause(one), Some(Act::Resume(one))),
            (Fault::Cut, _) => (Act::Cut(one, other), Some(Act::Heal(one, other))),
            (Fault::Partition, _) => (Act::Partition(random.next_u64()), Some(Act::HealAll)),
            (Fault::Slow, _) => {
                (Act::Slow(one, other, 2 + random.below(20) as u32), Some(Act::Heal(one, other)))
            }
            (Fault::Reset, _) => (Act::Reset(one, other), None),
            (Fault::Forgery, _) => (Act::Forge(Who::Worker(worker)), None),
            (Fault::Drain, _) => (Act::Drain(worker), Some(Act::Start(Who::Worker(worker)))),
            (Fault::Cancel, _) => (Act::Cancel(client), None),
            (Fault::StaleCookie, _) => (Act::OldCookie(worker, false), None),
            (Fault::ForeignCookie, _) => (Act::OldCookie(worker, true), None),
            // A client that keeps no journal stays alive.
            _ if !self.scope.toil.durable => return,
            (Fault::ClientCrash, _) => {
                (Act::Crash(Who::Client(client)), Some(Act::Start(Who::Client(client))))
            }
            (Fault::PowerLoss, _) => {
                (Act::Vanish(Who::Client(client)), Some(Act::Start(Who::Client(client))))
            }
            (Fault::FullDisk, _) => {
                self.schedule.push((at + lasts, Act::FillDisk(client, None)));
                let left = random.below(400) as usize;
                (Act::FillDisk(client, Some(left)), Some(Act::Start(Who::Client(client))))
            }
            (Fault::SlowDisk, _) => {
                (Act::SlowDisk(client, 5 + random.below(50) as u32), Some(Act::SlowDisk(client, 1)))
            }
            // The poison is there from the beginning.
            _ => return,
        };
        self.schedule.push((at, act));
        if let Some(undo) = undo {
            self.schedule.push((at + lasts, undo));
        }
    }
}

fn scope(seed: u64, profile: Profile, delay_max: u64, random: &mut Random) -> Scope {
    let mut scope = Scope::new(seed);
    scope.timing = Timing::of(profile);
    scope.net.delay_max = Duration::from_millis(delay_max);
    scope.net.loss_permille = random.below(50) as u32;
    scope.net.link_loss = scope.timing.peer_silence_max * (1 + random.below(3) as u32);
    scope.net.crash_notice_max = scope.net.delay_max * random.below(4) as u32;
    scope.multicast = random.one_in(2);
    scope.listed = !scope.multicast || random.one_in(2);
    // Whoever has nothing but announcements needs most of them.
    scope.net.announce_loss_permille = random.below(if scope.listed { 300 } else { 30 }) as u32;
    scope.net.announce_twice_permille = random.below(100) as u32;
    scope.sessions = protocol(random);
    scope.control = protocol(random);
    let (load, degradation) = (Load::IDLE, Load::from_ratio(1, 20));
    scope.policy = match random.below(9) {
        0 => Policy::RoundRobin,
        1 => Policy::WeightedRoundRobin { weight: 1 },
        2 => Policy::Random,
        3 => Policy::WeightedRandom { weight: 1 },
        4 => Policy::Priority { priority: 1 },
        5 => Policy::LeastUsed { load },
        6 => Policy::LeastUsedDegradation { load, degradation },
        7 => Policy::PriorityLeastUsed { load, degradation },
        _ => Policy::RandomizedLeastUsed { load },
    };
    scope
}

fn protocol(random: &mut Random) -> Protocol {
    if random.one_in(2) { Protocol::Tcp } else { Protocol::Sctp }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = &self.scope;
        writeln!(
            f,
            "seed {}: {} registrars, {} elements, {} customers, {} workers, {} clients; {:?} timers, {:?}; sessions over {:?}, ASAP over {:?}",
            scope.seed,
            self.registrars,
            self.elements,
            self.customers,
            self.workers,
            self.clients,
            self.profile,
            scope.policy,
            scope.sessions,
            scope.control,
        )?;
        let found = match (scope.listed, scope.multicast) {
            (true, true) => "a list and announcements",
            (true, false) => "a list",
            _ => "announcements",
        };
        writeln!(
            f,
            "registrars are found by {found}; delays up to {:?}, {} of 1000 packets and {} of 1000 announcements lost",
            scope.net.delay_max, scope.net.loss_permille, scope.net.announce_loss_permille
        )?;
        if self.clients > 0 {
            let toil = &scope.toil;
            writeln!(
                f,
                "{} tasks of each client, up to {:?} long; {:?} backups; {}; {}",
                toil.tasks,
                toil.longest(),
                toil.backups,
                if toil.poison { "one task is poison" } else { "no task is poison" },
                if toil.durable { "clients keep a journal" } else { "clients keep no journal" },
            )?;
        }
        let kinds: Vec<String> = self.kinds.iter().map(Fault::to_string).collect();
        writeln!(f, "for {:?} there may be: {}", self.chaos, kinds.join(", "))?;
        for (at, act) in &self.schedule {
            writeln!(f, "{:>12.6} {act:?}", at.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_a_function_of_its_seed() {
        assert_eq!(Plan::of(5).to_string(), Plan::of(5).to_string());
        assert_ne!(Plan::of(5).to_string(), Plan::of(6).to_string());
    }

    #[test]
    fn plans_differ_in_everything_and_switch_kinds_of_faults_off() {
        let plans: Vec<Plan> = (0..300).map(Plan::of).collect();
        for registrars in 1..=4 {
            assert!(plans.iter().any(|plan| plan.registrars == registrars));
        }
        for profile in [Profile::Realtime, Profile::Default, Profile::Rfc] {
            assert!(plans.iter().any(|plan| plan.profile == profile));
        }
        for kind in Fault::OF_ALL.into_iter().chain(Fault::OF_JOBS) {
            let with = plans.iter().filter(|plan| plan.kinds.contains(&kind)).count();
            assert!((50..225).contains(&with), "{kind} in {with} of 300 plans");
        }
        for (sums, jobs) in [(true, false), (false, true), (true, true)] {
            let such = |plan: &&Plan| (plan.customers > 0, plan.clients > 0) == (sums, jobs);
            assert!(plans.iter().filter(such).count() > 30, "sums: {sums}, jobs: {jobs}");
        }
        assert!(plans.iter().all(|plan| plan.schedule.is_sorted_by_key(|(at, _)| *at)));
    }
}
