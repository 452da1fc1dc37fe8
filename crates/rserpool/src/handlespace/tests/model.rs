//! The handlespace against a model of itself: a list per pool that is searched from end to end, in the words of RFC 5356
//! and nothing else. Both go through the same random histories, and must agree after each step (P1-P4).

use super::*;

/// An element as the model remembers it.
#[derive(Clone, Debug)]
struct Member {
    element: PoolElement,
    /// The number of the event that gave it its place among equals: its insertion, or its last selection.
    turn: u64,
    chosen: u32,
    /// All differences between successive loads that were not 0.
    changes: Vec<u32>,
    /// Weighted round robin: the point it waits for, as an exact fraction of a round after `round`.
    round: u64,
    nth: u64,
    suspect: bool,
}

#[derive(Clone, Debug, Default)]
struct Model {
    /// In the order of slots: newcomers last, whoever leaves is replaced by the last. Only draws by lot depend on it.
    members: Vec<Member>,
    events: u64,
    /// The last point of the walk: round, and a fraction `.1 / .2` of it.
    walk: (u64, u64, u64),
}

/// What a random policy of this kind might say.
fn policy(kind: usize, random: &mut Random) -> Policy {
    let (name, _) = Policy::names().nth(kind).expect("a kind below the number of names");
    let plain: Policy = name.parse().expect("a name of the table");
    // Few different values, so that equals meet often, and the extremes.
    let words: Vec<u32> = plain
        .parameters()
        .map(|_| match random.below(8) {
            0 => 0,
            1 => u32::MAX,
            2 => 0x4000_0000,
            _ => random.below(4) as u32,
        })
        .collect();
    Policy::from_words(plain.code(), words).expect("as many words as it has")
}

impl Model {
    fn find(&mut self, id: ElementId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.element.id == id)
    }

    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn weight_of_turns(member: &Member) -> Option<u64> {
        match member.element.policy {
            Policy::WeightedRoundRobin { weight } => Some(weight.into()),
            _ => None,
        }
    }

    /// Compares two points of the walk exactly: a/b < c/d if ad < cb.
    fn point_is_behind(a: (u64, u64, u64), b: (u64, u64, u64)) -> bool {
        (a.0, u128::from(a.1) * u128::from(b.2)) <= (b.0, u128::from(b.1) * u128::from(a.2))
    }

    /// Lets a member wait for its first point behind the walk: points are (2n + 1) / 2w.
    fn wait(walk: (u64, u64, u64), member: &mut Member) {
        let Some(weight @ 1..) = Self::weight_of_turns(member) else { return };
        member.round = walk.0;
        // Near the answer, then step by step.
        member.nth = (u128::from(walk.1) * u128::from(weight) / u128::from(walk.2)).saturating_sub(2) as u64;
        while Self::point_is_behind((member.round, 2 * member.nth + 1, 2 * weight), walk) {
            member.nth += 1;
            if member.nth == weight {
                (member.round, member.nth) = (member.round + 1, 0);
            }
        }
    }

    fn put(&mut self, element: PoolElement) {
        let walk = self.walk;
        let event = self.events + 1;
        if let Some(member) = self.find(element.id) {
            let before = std::mem::replace(&mut member.element, element);
            if let (Some(old), Some(new)) = (before.policy.load(), member.element.policy.load())
                && old != new
            {
                member.changes.push(old.0.abs_diff(new.0));
            }
            member.chosen = 0;
            let cleared = std::mem::take(&mut member.suspect);
            // Whoever could not be selected before has no turn to keep.
            if before.policy == (Policy::WeightedRoundRobin { weight: 0 }) {
                member.turn = event;
                self.events += 1;
            }
            let member = self.find(before.id).expect("found above");
            if before.policy != member.element.policy || cleared && Self::is_passed(walk, member) {
                Self::wait(walk, member);
            }
        } else {
            let turn = self.event();
            let mut member =
                Member { element, turn, chosen: 0, changes: vec![], round: 0, nth: 0, suspect: false };
            Self::wait(walk, &mut member);
            self.members.push(member);
        }
    }

    /// True if the walk is beyond the member's point (not just at it).
    fn is_passed(walk: (u64, u64, u64), member: &Member) -> bool {
        let Some(weight @ 1..) = Self::weight_of_turns(member) else { return false };
        !Self::point_is_behind(walk, (member.round, 2 * member.nth + 1, 2 * weight))
    }

    fn remove(&mut self, id: ElementId) -> Option<PoolElement> {
        let place = self.members.iter().position(|member| member.element.id == id)?;
        Some(self.members.swap_remove(place).element)
    }

    fn set_suspect(&mut self, id: ElementId, suspect: bool) -> bool {
        let walk = self.walk;
        let Some(member) = self.find(id) else { return false };
        if member.suspect != suspect && Self::is_passed(walk, member) {
            Self::wait(walk, member);
        }
        member.suspect = suspect;
        true
    }

    /// Order of selection: lower first. `None`: by lot.
    fn key(member: &Member, settings: &Settings) -> Option<(u64, u128, u64)> {
        let sum = |parts: &[u64]| parts.iter().sum::<u64>().min(u32::MAX.into());
        let product = |a: u32, b: Load| u64::from(a) * u64::from(b.0).min(u32::MAX.into());
        let chosen = member.chosen;
        let estimate = match (settings.count_selections, member.changes.iter().min()) {
            (false, _) => Load(0),
            (true, None) => Settings::FIRST_STEP,
            (true, Some(&least)) => Load(least).clamp(Settings::STEP_MIN, Settings::STEP_MAX),
        };
        let key = match member.element.policy {
            Policy::RoundRobin => 0,
            Policy::Priority { priority } => u64::from(u32::MAX - priority),
            Policy::LeastUsed { load } => sum(&[load.0.into(), product(chosen, estimate)]),
            Policy::LeastUsedDegradation { load, degradation } => {
                sum(&[load.0.into(), product(chosen, degradation)])
            }
            Policy::PriorityLeastUsed { load, degradation } => sum(&[load.0.into(), degradation.0.into()]),
            Policy::PriorityLeastUsedDegradation { load, degradation } => {
                sum(&[load.0.into(), product(chosen, degradation), degradation.0.into()])
            }
            Policy::LeastUsedDpf { load, penalty, distance } => {
                sum(&[load.0.into(), product(chosen, estimate), product(distance, penalty).min(1 << 40)])
            }
            Policy::LeastUsedDegradationDpf { load, degradation, penalty, distance } => sum(&[
                load.0.into(),
                product(chosen, degradation).min(1 << 40),
                product(distance, penalty).min(1 << 40),
            ]),
            Policy::WeightedRoundRobin { weight } => {
                // Exact points on a grid fine enough for all weights of these histories.
                let grid = u128::from(GRID / (2 * u64::from(weight)));
                return Some((member.round, (2 * u128::from(member.nth) + 1) * grid, member.turn));
            }
            _ => return None,
        };
        Some((0, key.into(), member.turn))
    }

    /// Lots of a member of a pool that draws.
    fn lots(member: &Member) -> u64 {
        let free = |used: &[u64]| u64::from(u32::MAX).saturating_sub(used.iter().sum()).max(1);
        let product = |a: u32, b: Load| u64::from(a) * u64::from(b.0);
        let chosen = member.chosen;
        match member.element.policy {
            Policy::Random => 1,
            Policy::WeightedRandom { weight } => weight.into(),
            Policy::RandomizedLeastUsed { load } => free(&[load.0.into()]),
            Policy::RandomizedLeastUsedDegradation { load, degradation } => {
                free(&[load.0.into(), product(chosen, degradation)])
            }
            Policy::RandomizedPriorityLeastUsed { load, degradation } => {
                free(&[load.0.into(), degradation.0.into()])
            }
            Policy::RandomizedPriorityLeastUsedDegradation { load, degradation } => {
                free(&[load.0.into(), degradation.0.into(), product(chosen, degradation)])
            }
            Policy::WeightedRandomDpf { weight, penalty, distance } => {
                let per_lot = u128::from(penalty.0) * u128::from(distance);
                let max = u128::from(u32::MAX);
                let lost = (per_lot * u128::from(weight) * 2 + max) / (2 * max);
                u128::from(weight).saturating_sub(lost).max(u128::from(weight.min(1))) as u64
            }
            _ => panic!("{} does not draw", member.element.policy),
        }
    }

    fn can_serve(member: &Member) -> bool {
        !matches!(
            member.element.policy,
            Policy::WeightedRoundRobin { weight: 0 }
                | Policy::WeightedRandom { weight: 0 }
                | Policy::WeightedRandomDpf { weight: 0, .. }
        )
    }

    fn select(&mut self, count: usize, settings: &Settings, random: &mut Random) -> Vec<PoolElement> {
        let able = |member: &Member, suspects: bool| member.suspect == suspects && Self::can_serve(member);
        let suspects = !self.members.iter().any(|member| able(member, false));
        let mut left: Vec<usize> =
            (0..self.members.len()).filter(|&place| able(&self.members[place], suspects)).collect();
        let mut selected = Vec::new();
        while selected.len() < count && !left.is_empty() {
            let first = match Self::key(&self.members[left[0]], settings) {
                Some(_) => {
                    let by_key = |&&place: &&usize| Self::key(&self.members[place], settings);
                    *left.iter().min_by_key(by_key).expect("not empty")
                }
                None => {
                    let total: u64 = left.iter().map(|&place| Self::lots(&self.members[place])).sum();
                    let mut lot = random.below(total);
                    let owner = left.iter().find(|&&place| {
                        let lots = Self::lots(&self.members[place]);
                        let found = lot < lots;
                        lot = lot.wrapping_sub(lots);
                        found
                    });
                    *owner.expect("the lot is below the total")
                }
            };
            left.retain(|&place| place != first);
            selected.push(first);
        }
        if let Some(&place) = selected.first()
            && let Some(weight @ 1..) = Self::weight_of_turns(&self.members[place])
        {
            let member = &self.members[place];
            let point = (member.round, 2 * member.nth + 1, 2 * weight);
            if !Self::point_is_behind(point, self.walk) {
                self.walk = point;
            }
        }
        for &place in selected.iter().take(settings.increments_max) {
            let turn = self.event();
            let member = &mut self.members[place];
            member.chosen = member.chosen.saturating_add(1);
            member.turn = turn;
            if let Some(weight @ 1..) = Self::weight_of_turns(member) {
                let point = (member.round, 2 * member.nth + 1, 2 * weight);
                let from = if Self::point_is_behind(point, self.walk) { self.walk } else { point };
                Self::wait(from, member);
            }
        }
        selected.into_iter().map(|place| self.members[place].element.clone()).collect()
    }
}

/// A multiple of twice every weight that weighted round robin gets in the histories.
const GRID: u64 = 2 * 2 * 3 * 5 * 7 * 8;

/// The weights of weighted round robin must divide the model's grid.
fn tamed(policy: Policy, random: &mut Random) -> Policy {
    match policy {
        Policy::WeightedRoundRobin { .. } => {
            Policy::WeightedRoundRobin { weight: [0, 1, 1, 2, 3, 5, 7, 8][random.below(8) as usize] }
        }
        other => other,
    }
}

/// One history of a pool of this kind. `audit`: after how many steps each to check the handlespace against itself.
fn history(seed: u64, kind: usize, steps: usize, elements: u64, audit: usize) {
    let mut random = Random::from_seed(seed);
    let settings = Settings {
        increments_max: [1, 1, 2, usize::MAX][random.below(4) as usize],
        count_selections: random.one_in(2),
        ..Settings::default()
    };
    let pool = handle("pool");
    let mut real = Handlespace::with_settings(settings.clone());
    let mut model = Model { walk: (0, 0, 1), ..Model::default() };
    let mut lots = (random.fork(), Random::from_seed(0));
    lots.1 = lots.0.clone();
    let mut waiting: BTreeMap<ElementId, u64> = BTreeMap::new();
    for step in 0..steps {
        let place = || format!("seed {seed}, kind {kind}, step {step}");
        let id = ElementId(1 + random.below(elements) as u32);
        match random.below(16) {
            0..=4 => {
                let policy = policy(kind, &mut random);
                let policy = tamed(policy, &mut random);
                let fresh = PoolElement { home: RegistrarId(1 + id.0 % 3), ..element(id.0, policy) };
                real.register(&pool, fresh.clone())
                    .unwrap_or_else(|refusal| panic!("{}: {refusal}", place()));
                model.put(fresh);
            }
            5 => {
                assert_eq!(real.remove(&pool, id), model.remove(id), "{}", place());
                waiting.remove(&id);
            }
            6 => {
                let suspect = random.one_in(2);
                let there = real.set_suspect(&pool, id, suspect);
                assert_eq!(there, model.set_suspect(id, suspect), "{}", place());
            }
            _ => {
                let count = [1, 1, 1, 2, 3, elements as usize + 1][random.below(6) as usize];
                let answer = real.select(&pool, count, &mut lots.0).unwrap_or_default();
                assert_eq!(answer, model.select(count, &settings, &mut lots.1), "{}", place());
                if kind == ROUND_ROBIN && !answer.is_empty() {
                    let used = &answer[..answer.len().min(settings.increments_max)];
                    nobody_waits_long(&mut waiting, &model, used, elements, &place());
                }
            }
        }
        if model.members.is_empty() {
            // The pool ended, and with it its walk and its turns.
            model = Model { walk: (0, 0, 1), ..Model::default() };
            waiting.clear();
        }
        if step % audit == 0 {
            real.check();
        }
    }
    real.check();
    let by_id: BTreeMap<ElementId, &PoolElement> =
        model.members.iter().map(|member| (member.element.id, &member.element)).collect();
    assert!(real.elements(None, None).map(|(_, element)| element).eq(by_id.into_values()), "seed {seed}");
}

/// The kind of policies that is round robin.
const ROUND_ROBIN: usize = 0;

/// P1: in round robin nobody waits for more selections than there are others.
fn nobody_waits_long(
    waiting: &mut BTreeMap<ElementId, u64>,
    model: &Model,
    used: &[PoolElement],
    elements: u64,
    place: &str,
) {
    let ready: Vec<&Member> = model.members.iter().filter(|member| !member.suspect).collect();
    waiting.retain(|id, _| ready.iter().any(|member| member.element.id == *id));
    for member in ready {
        let waited = waiting.entry(member.element.id).or_default();
        let selected = used.iter().any(|element| element.id == member.element.id);
        *waited = if selected { 0 } else { *waited + 1 };
        assert!(*waited < elements, "{place}: {} waits", member.element.id);
    }
}

/// Elements of the largest pools here.
const LARGEST: u64 = 40;

#[test]
fn every_policy_selects_as_its_model_does() {
    // 16 kinds, a million steps in all; most in small pools, where equals, ends and empty pools are met often.
    for kind in 0..Policy::names().count() {
        for seed in 0..20 {
            history(seed, kind, 2_500, [2, 4, 9, LARGEST][seed as usize % 4], 50);
        }
        history(1_000, kind, 12_500, LARGEST, 500);
    }
}

#[test]
fn every_step_of_a_history_leaves_a_sound_structure() {
    for kind in 0..Policy::names().count() {
        for seed in 2_000..2_004 {
            history(seed, kind, 500, 7, 1);
        }
    }
}
