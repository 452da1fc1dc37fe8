//! Selection by table (policies by RFC 5356), admission, ownership and order.

mod admission;
mod model;
mod owners;

use super::*;
use crate::Policy;
use crate::wire::parameter::{Life, Transport, TransportUse};
use std::net::{IpAddr, Ipv4Addr};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const HOME: RegistrarId = RegistrarId(0x1111_1111);

fn handle(name: &str) -> PoolHandle {
    PoolHandle::new(name).expect("a test's handle is legal")
}

fn element(id: u32, policy: Policy) -> PoolElement {
    PoolElement {
        id: ElementId(id),
        home: HOME,
        life: Life(90_000),
        user_transport: Transport::Tcp {
            port: 8080,
            transport_use: TransportUse::DataAndControl,
            address: HERE,
        },
        policy,
        asap_transport: Some(Transport::Sctp {
            port: 3863,
            transport_use: TransportUse::Data,
            addresses: vec![HERE],
        }),
        asap_tcp: None,
    }
}

/// One pool whose elements have letters for names; `check()` after each step.
struct Letters {
    handlespace: Handlespace,
    random: Random,
}

impl Letters {
    /// By the plain RFC: `A` and so on, with these policies, registered in this order.
    fn with(policies: &[&str]) -> Self {
        Self::with_settings(Settings::default(), policies)
    }

    fn with_settings(settings: Settings, policies: &[&str]) -> Self {
        let handlespace = Handlespace::with_settings(settings);
        let mut pool = Self { handlespace, random: Random::from_seed(1) };
        for (letter, policy) in ('A'..).zip(policies) {
            pool.register(letter, policy);
        }
        pool
    }

    fn register(&mut self, letter: char, policy: &str) {
        let element = element(letter.into(), policy.parse().expect(policy));
        self.handlespace.register(&handle("letters"), element).expect("admitted");
        self.handlespace.check();
    }

    fn remove(&mut self, letter: char) {
        self.handlespace.remove(&handle("letters"), ElementId(letter.into())).expect("it is there");
        self.handlespace.check();
    }

    fn suspect(&mut self, letter: char, suspect: bool) {
        let id = ElementId(letter.into());
        assert!(self.handlespace.set_suspect(&handle("letters"), id, suspect));
        assert_eq!(self.handlespace.is_suspect(&handle("letters"), id), suspect);
        self.handlespace.check();
    }

    /// So many answers of up to `items` elements: `"A B | B C"`; an answer without elements is `-`.
    fn answers(&mut self, items: usize, times: usize) -> String {
        let mut answers = Vec::new();
        for _ in 0..times {
            let answer = self.handlespace.select(&handle("letters"), items, &mut self.random);
            self.handlespace.check();
            let letters = answer.unwrap_or_default();
            let letters: Vec<String> = letters
                .iter()
                .map(|element| char::from_u32(element.id.0).expect("a letter").to_string())
                .collect();
            answers.push(if letters.is_empty() { "-".to_owned() } else { letters.join(" ") });
        }
        answers.join(if items == 1 { " " } else { " | " })
    }

    /// How often each of `letters` comes first in so many answers of one.
    fn counts(&mut self, letters: &str, times: usize) -> Vec<usize> {
        let answers = self.answers(1, times);
        letters.chars().map(|letter| answers.matches(letter).count()).collect()
    }
}

fn unlimited() -> Settings {
    Settings::user()
}

// ----- RFC 5356 §4.1 -----

#[test]
fn round_robin_takes_everyone_in_turn() {
    assert_eq!(Letters::with(&["rr", "rr", "rr"]).answers(1, 4), "A B C A");
    assert_eq!(Letters::with(&["rr", "rr", "rr"]).answers(2, 4), "A B | B C | C A | A B");
    let two = Settings { increments_max: 2, ..Settings::default() };
    assert_eq!(Letters::with_settings(two, &["rr", "rr", "rr"]).answers(2, 4), "A B | C A | B C | A B");
}

#[test]
fn round_robin_keeps_the_turn_of_the_renewed_and_puts_newcomers_last() {
    let mut pool = Letters::with(&["rr", "rr", "rr"]);
    assert_eq!(pool.answers(1, 1), "A");
    pool.register('A', "rr");
    pool.register('B', "rr");
    assert_eq!(pool.answers(3, 1), "B C A");
    pool.register('D', "rr");
    assert_eq!(pool.answers(4, 1), "C A B D");
    pool.remove('A');
    assert_eq!(pool.answers(4, 2), "B D C | D C B");
}

#[test]
fn asking_for_more_than_there_are_gives_all_and_for_nothing_gives_nothing() {
    let mut pool = Letters::with(&["rr", "rr"]);
    assert_eq!(pool.answers(usize::MAX, 1), "A B");
    assert_eq!(pool.answers(0, 1), "-");
    assert_eq!(pool.answers(2, 1), "B A", "asking for nothing moved nobody");
    assert_eq!(pool.handlespace.select(&handle("nowhere"), 1, &mut pool.random), None);
}

// ----- RFC 5356 §4.2 -----

#[test]
fn weighted_round_robin_spreads_turns_evenly() {
    let mut pool = Letters::with(&["wrr:weight=1", "wrr:weight=2", "wrr:weight=4"]);
    assert_eq!(pool.answers(1, 14), "C B C A C B C C B C A C B C");
    let mut pool = Letters::with(&["wrr:weight=3", "wrr:weight=6"]);
    assert_eq!(pool.answers(1, 18), "B A B B A B B A B B A B B A B B A B");
}

#[test]
fn weighted_round_robin_with_equal_weights_of_one_is_round_robin() {
    let (mut weighted, mut plain) = (Letters::with(&["wrr"; 5]), Letters::with(&["rr"; 5]));
    for step in 0..40 {
        assert_eq!(weighted.answers(1, 3), plain.answers(1, 3), "step {step}");
        let newcomer = char::from(b'F' + step);
        weighted.register(newcomer, "wrr");
        plain.register(newcomer, "rr");
        if step % 3 == 0 {
            let gone = char::from(b'A' + step);
            weighted.remove(gone);
            plain.remove(gone);
        }
    }
}

#[test]
fn weighted_round_robin_lists_who_would_be_next_without_moving_them() {
    let mut pool = Letters::with(&["wrr:weight=1", "wrr:weight=2", "wrr:weight=4"]);
    assert_eq!(pool.answers(3, 3), "C B A | B C A | C A B");
}

#[test]
fn weighted_round_robin_never_selects_weight_zero() {
    let mut pool = Letters::with(&["wrr:weight=0", "wrr:weight=2"]);
    assert_eq!(pool.answers(2, 2), "B | B");
    pool.register('B', "wrr:weight=0");
    assert_eq!(pool.answers(2, 1), "-");
    pool.register('A', "wrr:weight=1");
    assert_eq!(pool.answers(2, 1), "A");
}

#[test]
fn a_changed_weight_counts_from_the_next_selection_on() {
    let mut pool = Letters::with(&["wrr:weight=5", "wrr:weight=1"]);
    assert_eq!(pool.counts("AB", 6), [5, 1]);
    pool.register('A', "wrr:weight=1");
    assert_eq!(pool.counts("AB", 10), [5, 5]);
}

#[test]
fn a_newcomer_has_no_rounds_to_make_up_for() {
    let mut pool = Letters::with(&["wrr:weight=3"]);
    pool.answers(1, 3 * 100);
    pool.register('B', "wrr:weight=3");
    assert_eq!(pool.counts("AB", 6), [3, 3]);
    pool.suspect('B', true);
    pool.answers(1, 3 * 100);
    pool.suspect('B', false);
    assert_eq!(pool.counts("AB", 6), [3, 3]);
}

// ----- RFC 5356 §4.3, §4.4, §5.4 -----

#[test]
fn lots_fall_as_the_weights_say() {
    let near = |count: usize, expected: usize| {
        // Six standard deviations of a binomial distribution; one in 10^8 seeds would miss it, this one does not.
        let spread = 6.0 * (expected as f64).sqrt();
        assert!((count as f64 - expected as f64).abs() <= spread, "{count}, expected about {expected}");
    };
    let counts = Letters::with(&["rand"; 3]).counts("ABC", 30_000);
    counts.into_iter().for_each(|count| near(count, 10_000));
    let mut pool = Letters::with(&["wrand:weight=1", "wrand:weight=2", "wrand:weight=7"]);
    let counts = pool.counts("ABC", 30_000);
    counts.into_iter().zip([3_000, 6_000, 21_000]).for_each(|(count, expected)| near(count, expected));
    let counts = Letters::with(&["rlu", "rlu:load=0.5", "rlu:load=1"]).counts("ABC", 30_000);
    counts.into_iter().zip([20_000, 10_000, 0]).for_each(|(count, expected)| near(count, expected));
}

#[test]
fn a_draw_of_all_shows_everyone_once() {
    let mut pool = Letters::with(&["rand"; 3]);
    for _ in 0..20 {
        let answer = pool.answers(9, 1);
        let mut letters: Vec<&str> = answer.split(' ').collect();
        letters.sort_unstable();
        assert_eq!(letters, ["A", "B", "C"]);
    }
}

#[test]
fn weight_zero_is_never_drawn_and_only_zeros_give_no_answer() {
    let mut pool = Letters::with(&["wrand:weight=0", "wrand:weight=1"]);
    assert_eq!(pool.answers(2, 3), "B | B | B");
    pool.remove('B');
    assert_eq!(pool.answers(1, 1), "-");
}

#[test]
fn a_pool_of_full_elements_still_answers() {
    let mut pool = Letters::with(&["rlu:load=1", "rlu:load=1"]);
    assert!(pool.counts("AB", 100).into_iter().all(|count| count > 20));
}

#[test]
fn randomised_degradation_counts_and_a_registration_forgets() {
    // The first selection fills either, so the other is drawn next, but for one lot in 2^32.
    let full = "rlud:degradation=1";
    let mut pool = Letters::with(&[full, full]);
    let first = pool.answers(1, 1);
    let second = pool.answers(1, 1);
    assert_ne!(first, second);
    let renewed = first.chars().next().expect("one letter");
    pool.register(renewed, full);
    assert_eq!(pool.answers(1, 1), first);
}

// ----- RFC 5356 §4.5 -----

#[test]
fn priority_takes_the_highest_and_equals_in_turn() {
    let mut pool = Letters::with(&["prio:priority=1", "prio:priority=5", "prio:priority=5"]);
    assert_eq!(pool.answers(1, 4), "B C B C");
    assert_eq!(pool.answers(3, 1), "B C A");
}

// ----- RFC 5356 §5.1 -----

#[test]
fn least_used_takes_the_lowest_load_and_equals_in_turn() {
    let mut pool = Letters::with(&["lu:load=0.1", "lu:load=0.2", "lu:load=0.1"]);
    assert_eq!(pool.answers(1, 4), "A C A C");
    pool.register('A', "lu:load=0.3");
    assert_eq!(pool.answers(1, 1), "C");
    assert_eq!(pool.answers(3, 1), "C B A");

    let mut pool = Letters::with(&["lu:load=0.1", "lu:load=0.1", "lu:load=0.1", "lu:load=0.9"]);
    assert_eq!(pool.answers(2, 4), "A B | B C | C A | A B");
}

#[test]
fn a_user_that_uses_all_it_takes_goes_on_behind_them() {
    let mut pool = Letters::with_settings(unlimited(), &["lu:load=0.1"; 3]);
    assert_eq!(pool.answers(1, 1), "A");
    assert_eq!(pool.answers(2, 4), "B C | A B | C A | B C");
}

#[test]
fn counted_selections_make_the_idle_look_busier_until_they_report() {
    let counting = Settings::registrar();
    // Nothing learnt yet: a selection is worth a sixteenth, so B (3/16) is level after three and comes in its turn.
    let mut pool = Letters::with_settings(counting.clone(), &["lu", "lu:load=0.1875"]);
    assert_eq!(pool.answers(1, 8), "A A A B A B A B");
    pool.register('A', "lu");
    assert_eq!(pool.answers(1, 3), "A A A", "a report replaces what was counted, even if it says the same");
    assert_eq!(Letters::with(&["lu", "lu:load=0.1875"]).answers(1, 8), "A A A A A A A A");

    // A has shown that its load goes by quarters, so it is given two before it looks busier than B.
    let mut pool = Letters::with_settings(counting, &["lu", "lu:load=0.49"]);
    pool.register('A', "lu:load=0.75");
    pool.register('A', "lu:load=0.5");
    pool.register('A', "lu");
    assert_eq!(pool.answers(1, 4), "A A B A");
}

// ----- RFC 5356 §5.2 -----

#[test]
fn degradation_counts_selections_until_the_next_registration() {
    let lud = |load: u32, degradation: u32| format!("lud:load={load}%,degradation={degradation}%");
    let mut pool = Letters::with(&[&lud(0, 1), &lud(0, 2), &lud(0, 3)]);
    assert_eq!(pool.answers(1, 12), "A B C A B A C A B A A C");
    let mut pool = Letters::with(&[&lud(50, 10), &lud(20, 10)]);
    assert_eq!(pool.answers(1, 3), "B B B");
    pool.register('B', &lud(20, 10));
    assert_eq!(pool.answers(1, 3), "B B B");
}

#[test]
fn degradation_in_exact_numbers() {
    let lud =
        |load, degradation| Policy::LeastUsedDegradation { load: Load(load), degradation: Load(degradation) };
    let mut pool = Letters::with(&[]);
    for (letter, policy) in [('A', lud(50, 10)), ('B', lud(20, 10))] {
        pool.handlespace.register(&handle("letters"), element(letter.into(), policy)).expect("admitted");
    }
    assert_eq!(pool.answers(1, 10), "B B B A B A B A B A");
}

// ----- RFC 5356 §5.3 and the reference's further policies -----

#[test]
fn priority_least_used_looks_at_the_load_to_come_and_stays_there() {
    let mut pool = Letters::with(&[
        "plu:load=0,degradation=10%",
        "plu:load=0,degradation=20%",
        "plu:load=5%,degradation=10%",
    ]);
    assert_eq!(pool.answers(1, 6), "A A A A A A");
    assert_eq!(pool.answers(3, 1), "A C B");
}

#[test]
fn priority_least_used_with_degradation_moves_on() {
    let mut pool = Letters::with(&[]);
    for (letter, degradation) in [('A', Load(10)), ('B', Load(20))] {
        let policy = Policy::PriorityLeastUsedDegradation { load: Load(0), degradation };
        pool.handlespace.register(&handle("letters"), element(letter.into(), policy)).expect("admitted");
    }
    assert_eq!(pool.answers(1, 6), "A B A A B A");
}

#[test]
fn distance_is_load() {
    let mut pool = Letters::with(&[
        "lu-dpf:load=10%,penalty=0.1%,distance=100",
        "lu-dpf:load=15%,penalty=0.1%,distance=0",
    ]);
    assert_eq!(pool.answers(2, 1), "B A");
}

// ----- Suspects -----

#[test]
fn suspects_are_withheld_while_others_are_there() {
    for policy in ["rr", "wrr:weight=2", "rand", "wrand:weight=3", "prio", "lu", "lud", "rlu"] {
        let mut pool = Letters::with(&[policy; 3]);
        pool.suspect('A', true);
        pool.suspect('B', true);
        assert_eq!(pool.answers(3, 3), "C | C | C", "{policy}");
        pool.suspect('C', true);
        assert_eq!(pool.answers(3, 1).len(), "A B C".len(), "{policy}: nobody else is left");
        pool.suspect('B', false);
        assert_eq!(pool.answers(3, 2), "B | B", "{policy}");
        pool.register('A', policy);
        assert!(!pool.handlespace.is_suspect(&handle("letters"), ElementId('A'.into())), "{policy}");
        assert_eq!(pool.answers(3, 1).len(), "A B".len(), "{policy}: a registration clears the name");
    }
}

#[test]
fn a_suspect_is_better_than_one_that_cannot_serve() {
    for policy in ["wrr", "wrand"] {
        let mut pool = Letters::with(&[&format!("{policy}:weight=0"), policy]);
        pool.suspect('B', true);
        assert_eq!(pool.answers(2, 2), "B | B", "{policy}");
    }
}

#[test]
fn a_cleared_suspect_has_its_turn_back() {
    let mut pool = Letters::with(&["rr"; 3]);
    pool.suspect('A', true);
    assert_eq!(pool.answers(1, 3), "B C B");
    pool.suspect('A', false);
    assert_eq!(pool.answers(3, 1), "A C B");
    let unknown = ElementId(7);
    assert!(!pool.handlespace.set_suspect(&handle("letters"), unknown, true));
    assert!(!pool.handlespace.set_suspect(&handle("nowhere"), unknown, true));
}
