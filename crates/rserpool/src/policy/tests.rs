use super::*;

const HALF: Load = Load(0x8000_0000);

/// One of each known type, with values that differ from word to word.
fn one_of_each() -> Vec<Policy> {
    Policy::names()
        .map(|(name, _)| {
            let plain: Policy = name.parse().expect("a name of the table");
            let words = plain.parameters().enumerate().map(|(place, _)| 100 + place as u32);
            Policy::from_words(plain.code(), words).expect("as many words as it has")
        })
        .collect()
}

#[test]
fn loads_stop_at_both_ends() {
    assert_eq!(Load::from_ratio(1, 2).plus(HALF), Load::FULL);
    assert_eq!(HALF.minus(Load::FULL), Load::IDLE);
    assert_eq!(HALF.times(3), Load::FULL);
    assert_eq!((Load::from_ratio(3, 2), Load::from_ratio(0, 0)), (Load::FULL, Load::FULL));
    assert_eq!(Load::from_ratio(1, 8).to_string(), "12.5%");
}

#[test]
fn types_and_words_are_those_of_the_rfc_and_the_reference() {
    let expected: [(u32, usize); 16] = [
        (0x0000_0001, 0),
        (0x0000_0002, 1),
        (0x0000_0003, 0),
        (0x0000_0004, 1),
        (0x0000_0005, 1),
        (0x4000_0001, 1),
        (0x4000_0002, 2),
        (0x4000_0003, 2),
        (0x4000_0004, 1),
        (0xb000_1001, 2),
        (0xb000_1002, 2),
        (0xb000_1003, 2),
        (0xb000_1004, 2),
        (0xb000_2001, 3),
        (0xb000_2002, 3),
        (0xb000_2003, 4),
    ];
    let ours: Vec<_> =
        one_of_each().iter().map(|policy| (policy.code(), policy.parameters().count())).collect();
    assert_eq!(ours, expected);
    assert_eq!(
        Policy::from_words(0xb000_2003, [1, 2, 3, 4]),
        Some(Policy::LeastUsedDegradationDpf {
            load: Load(1),
            degradation: Load(2),
            penalty: Load(3),
            distance: 4
        })
    );
}

#[test]
fn words_make_the_policy_they_came_from() {
    for policy in one_of_each() {
        let words: Vec<u32> = policy.parameters().map(|(_, word)| word).collect();
        assert_eq!(Policy::from_words(policy.code(), words.clone()), Some(policy.clone()));
        assert_eq!(Policy::from_words(policy.code(), words.iter().copied().chain([9])), Some(policy.clone()));
        if let Some(short) = words.len().checked_sub(1) {
            assert_eq!(Policy::from_words(policy.code(), words[..short].iter().copied()), None, "{policy}");
        }
    }
    assert_eq!(Policy::from_words(0, []), None);
    assert_eq!(Policy::from_words(0x4000_0000, [1]), None);
    assert_eq!(Policy::from_words(0xb000_2004, [1, 2, 3, 4]), None);
}

#[test]
fn adaptive_policies_are_those_with_a_load() {
    for policy in one_of_each() {
        let loaded = policy.clone().with_load(HALF);
        assert_eq!(policy.is_adaptive(), loaded != policy, "{policy}");
        assert_eq!(loaded.load(), policy.is_adaptive().then_some(HALF));
        // The adaptive bit says the same for the types of the RFC; the reference's own types leave it out.
        if policy.code() < 0x8000_0000 {
            assert_eq!(policy.is_adaptive(), policy.code() & 0x4000_0000 != 0, "{policy}");
        }
    }
}

#[test]
fn names_are_read_in_any_case_long_and_short() {
    for (long, short) in Policy::names() {
        let policy: Policy = long.parse().expect("a name of the table");
        assert_eq!(short.parse(), Ok(policy.clone()));
        assert_eq!(long.to_lowercase().parse(), Ok(policy.clone()));
        assert_eq!(policy.name(), Some(long));
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert_eq!("WeightedRandom:weight=5".parse(), Ok(Policy::WeightedRandom { weight: 5 }));
    assert_eq!("wrr".parse(), Ok(Policy::WeightedRoundRobin { weight: 1 }));
    let degrading = Policy::LeastUsedDegradation { load: Load(0), degradation: Load(0x1999_999a) };
    assert_eq!("lud:degradation=0.1".parse(), Ok(degrading.clone()));
    assert_eq!("LUD:degradation=10%,load=0".parse(), Ok(degrading.clone()));
    assert_eq!(degrading.to_string(), "LeastUsedDegradation:load=0.0%,degradation=10.0%");
    assert_eq!("lu:load=0.5".parse(), Ok(Policy::LeastUsed { load: HALF }));
}

#[test]
fn what_is_no_policy_is_refused_with_its_reason() {
    use ParsePolicyError::{BadValue, UnexpectedParameter, UnknownName};
    let refused = |text: &str| text.parse::<Policy>().expect_err(text);
    assert_eq!(refused("fifo"), UnknownName("fifo".into()));
    assert_eq!(refused(""), UnknownName(String::new()));
    assert_eq!(refused("rr:weight=1"), UnexpectedParameter("weight".into()));
    assert_eq!(refused("wrr:wait=1"), UnexpectedParameter("wait".into()));
    assert_eq!(refused("wrr:weight=1,weight=2"), UnexpectedParameter("weight".into()));
    let bad = |parameter, value: &str| BadValue { parameter, value: value.into() };
    assert_eq!(refused("wrr:weight=-1"), bad(Parameter::Weight, "-1"));
    assert_eq!(refused("wrr:weight"), bad(Parameter::Weight, ""));
    assert_eq!(refused("lu:load=101%"), bad(Parameter::Load, "101%"));
    assert_eq!(refused("lu:load=nan"), bad(Parameter::Load, "nan"));
    assert_eq!(refused("lu:load=2").to_string(), "load must be 0 to 1, or 0% to 100%, not \"2\"");
}

#[test]
fn ranks_of_the_queued_policies() {
    let rank = |policy: &str, chosen| policy.parse::<Policy>().expect(policy).rank(chosen, Load::IDLE);
    let tenth = 0x1999_999a;
    assert_eq!(rank("rr", 7), Rank::Queue(0));
    assert_eq!(rank("wrr:weight=3", 7), Rank::Turns(3));
    assert_eq!(rank("prio:priority=5", 7), Rank::Queue(u32::MAX - 5));
    assert_eq!(rank("lu:load=0.1", 7), Rank::Queue(tenth));
    assert_eq!(rank("lud:load=0.1,degradation=0.1", 0), Rank::Queue(tenth));
    assert_eq!(rank("lud:load=0.1,degradation=0.1", 2), Rank::Queue(3 * tenth));
    assert_eq!(rank("lud:load=0.5,degradation=0.5", 9), Rank::Queue(u32::MAX));
    assert_eq!(rank("plu:load=0.1,degradation=0.1", 2), Rank::Queue(2 * tenth));
    assert_eq!(rank("plud:load=0.1,degradation=0.1", 2), Rank::Queue(4 * tenth));
}

#[test]
fn ranks_of_the_drawn_policies() {
    let rank = |policy: &str, chosen| policy.parse::<Policy>().expect(policy).rank(chosen, Load::IDLE);
    assert_eq!(rank("rand", 7), Rank::Lots(1));
    assert_eq!(rank("wrand:weight=0", 0), Rank::Lots(0));
    assert_eq!(rank("wrand:weight=7", 0), Rank::Lots(7));
    assert_eq!(rank("rlu", 7), Rank::Lots(4_294_967_295));
    assert_eq!(rank("rlu:load=0.5", 0), Rank::Lots(2_147_483_647));
    assert_eq!(rank("rlu:load=1", 0), Rank::Lots(1));
    assert_eq!(rank("rlud:load=0.5,degradation=0.25", 1), Rank::Lots(u32::MAX - 0x8000_0000 - 0x4000_0000));
    assert_eq!(rank("rlud:load=0.5,degradation=0.25", 2), Rank::Lots(1));
    assert_eq!(rank("rplu:load=0.5,degradation=0.25", 9), Rank::Lots(u32::MAX - 0x8000_0000 - 0x4000_0000));
    assert_eq!(rank("rplud:load=0.25,degradation=0.25", 1), Rank::Lots(u32::MAX - 3 * 0x4000_0000));
}

#[test]
fn ranks_of_the_delay_sensitive_policies() {
    let per_ms = Load((0.001 * f64::from(u32::MAX)).round() as u32);
    let far = Policy::LeastUsedDpf { load: Load::from_ratio(10, 100), penalty: per_ms, distance: 100 };
    let near = Policy::LeastUsedDpf { load: Load::from_ratio(15, 100), penalty: per_ms, distance: 0 };
    assert_eq!(far.rank(0, Load::IDLE), Rank::Queue(429_496_729 + 100 * 4_294_967));
    assert_eq!(near.rank(0, Load::IDLE), Rank::Queue(644_245_094));
    let lots =
        |penalty, distance| Policy::WeightedRandomDpf { weight: 100, penalty, distance }.rank(0, Load::IDLE);
    assert_eq!(lots(per_ms, 100), Rank::Lots(90));
    assert_eq!(lots(per_ms, 0), Rank::Lots(100));
    assert_eq!(lots(per_ms, 1000), Rank::Lots(1), "the reference gives 0 here and never selects it again");
    assert_eq!(lots(Load::FULL, 2), Rank::Lots(1));
    let weightless = Policy::WeightedRandomDpf { weight: 0, penalty: Load::IDLE, distance: 0 };
    assert_eq!(weightless.rank(0, Load::IDLE), Rank::Lots(0));
}

#[test]
fn selections_count_for_least_used_only_if_asked() {
    let least_used = Policy::LeastUsed { load: Load(100) };
    assert_eq!(least_used.rank(3, Load(10)), Rank::Queue(130));
    assert_eq!(least_used.rank(3, Load::IDLE), Rank::Queue(100));
    let degrading = Policy::LeastUsedDegradation { load: Load(100), degradation: Load(1) };
    assert_eq!(degrading.rank(3, Load(10)), Rank::Queue(103));
}

#[test]
fn a_strange_type_is_served_in_turn() {
    let strange = Policy::Other { code: 0xc0ff_ee01, data: vec![1, 2, 3, 4] };
    assert_eq!(strange.rank(5, Load::FULL), Rank::Queue(0));
    assert!(!strange.is_known() && !strange.is_adaptive());
    assert_eq!((strange.name(), strange.to_string()), (None, "0xc0ffee01".into()));
}
