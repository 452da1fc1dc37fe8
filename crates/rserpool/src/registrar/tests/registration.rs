//! Registration, deregistration, resolution, and lists of pools.

use super::*;
use crate::wire::parameter::ErrorCause;

#[test]
fn an_element_registers_and_users_find_it() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Asap, 1);
    r.registers(link, 1);
    r.says(link, &granted(1));
    r.says_nothing_more();
    r.tells(&Event::ElementAdded { handle: handle("fractal"), element: ElementId(1), home: ME });

    let user = r.accepts(Door::Asap, 99);
    r.hears(user, &resolve(Some(1)));
    let found = PoolElement { home: ME, ..element(1) };
    let answer = Resolution::Elements { policy: Some(Policy::RoundRobin), elements: vec![found] };
    r.says(user, &Message::HandleResolutionResponse { accepted: false, handle: handle("fractal"), answer });
    r.says_nothing_more();
    assert_eq!((r.node.counters().registrations, r.node.counters().resolutions), (1, 1));
}

#[test]
fn a_refused_element_is_told_why_and_nothing_else_happens() {
    let mut r = TestRegistrar::alone();
    r.has_element(1);
    let before = r.node.handlespace().digest();
    for (change, cause) in [
        (
            PoolElement { policy: Policy::Random, ..element(2) },
            ErrorCause::inconsistent_policy(&Policy::RoundRobin),
        ),
        (
            PoolElement {
                user_transport: Transport::Tcp {
                    port: 7000,
                    transport_use: TransportUse::DataAndControl,
                    address: ip(2),
                },
                ..element(2)
            },
            ErrorCause::inconsistent_transport(&element(1).user_transport),
        ),
        (
            PoolElement {
                user_transport: Transport::Sctp {
                    port: 7000,
                    transport_use: TransportUse::Data,
                    addresses: vec![ip(2)],
                },
                ..element(2)
            },
            ErrorCause::plain(CauseCode::INCONSISTENT_DATA_CONTROL),
        ),
    ] {
        let link = r.accepts(Door::Asap, 2);
        r.hears(link, &Message::Registration { handle: handle("fractal"), element: change });
        match r.says_next() {
            Output::Send { link: on, bytes, .. } => match Message::parse(&bytes) {
                Ok(Message::RegistrationResponse { rejected: true, causes, .. }) => {
                    assert_eq!((on, causes), (link, vec![cause]));
                }
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
        r.says_nothing_more();
    }
    assert_eq!(r.node.handlespace().digest(), before);
}

#[test]
fn only_addresses_of_the_host_that_registers_are_kept() {
    let mut r = TestRegistrar::alone();
    let host = Endpoint { protocol: Protocol::Sctp, addresses: vec![ip(1), ip(2)], port: 5000 };
    let link = r.accepts_from(Door::Asap, host);
    let claims = |addresses: Vec<IpAddr>| Message::Registration {
        handle: handle("fractal"),
        element: PoolElement {
            user_transport: Transport::Sctp {
                port: 7000,
                transport_use: TransportUse::DataAndControl,
                addresses,
            },
            ..element(1)
        },
    };
    r.hears(link, &claims(vec![ip(66), ip(2)]));
    r.says(link, &granted(1));
    let kept = r.node.handlespace().get(&handle("fractal"), ElementId(1)).expect("registered").clone();
    assert!(matches!(kept.user_transport, Transport::Sctp { addresses, .. } if addresses == [ip(2)]));
    // The registrar itself fills in where it is reached: at all addresses of the link, whatever it claims.
    let asap =
        Transport::Sctp { port: 5000, transport_use: TransportUse::Data, addresses: vec![ip(1), ip(2)] };
    assert_eq!(kept.asap_transport, Some(asap));

    r.hears(link, &claims(vec![ip(66), ip(67)]));
    r.says(link, &refused(1, CauseCode::NO_USABLE_USER_ADDRESS));
    r.says_nothing_more();
}

#[test]
fn addresses_below_the_minimum_scope_are_not_admitted_unless_configured() {
    let at_home = |r: &mut TestRegistrar| {
        let here = IpAddr::from([127, 0, 0, 1]);
        let link = r.accepts_from(Door::Asap, Endpoint::sctp(SocketAddr::new(here, 5000)));
        let user_transport = Transport::Sctp {
            port: 7000,
            transport_use: TransportUse::DataAndControl,
            addresses: vec![here],
        };
        let element = PoolElement { user_transport, ..element(1) };
        r.hears(link, &Message::Registration { handle: handle("fractal"), element });
        link
    };
    let mut r = TestRegistrar::alone();
    let link = at_home(&mut r);
    r.says(link, &refused(1, CauseCode::NO_USABLE_USER_ADDRESS));
    let mut r = TestRegistrar::with(Config { minimum_scope: Scope::Loopback, ..config() });
    let link = at_home(&mut r);
    r.says(link, &granted(1));
}

#[test]
fn an_element_over_tcp_says_where_registrars_find_it() {
    for (listens, told) in [(Some(SocketAddr::new(ip(66), 4444)), 4444), (None, 3863)] {
        let mut r = TestRegistrar::alone();
        let link = r.accepts_from(Door::Asap, Endpoint::tcp(SocketAddr::new(ip(1), 51_000)));
        let element = PoolElement { asap_tcp: listens, ..element(1) };
        r.hears(link, &Message::Registration { handle: handle("fractal"), element });
        r.says(link, &granted(1));
        let kept = r.node.handlespace().get(&handle("fractal"), ElementId(1)).expect("registered");
        // The address is the link's, whatever it claims; peers are also given an SCTP transport, as they insist on one.
        assert_eq!(kept.asap_tcp, Some(SocketAddr::new(ip(1), listens.map_or(0, |at| at.port()))));
        let sctp = Transport::Sctp { port: told, transport_use: TransportUse::Data, addresses: vec![ip(1)] };
        assert_eq!(kept.asap_transport, Some(sctp));
    }
}

#[test]
fn an_identifier_belongs_to_the_host_that_is_connected_with_it() {
    let mut r = TestRegistrar::alone();
    let first = r.has_element(1);
    // Another host drew the same number.
    let other = r.accepts(Door::Asap, 2);
    let drew_1 = PoolElement { id: ElementId(1), ..element(2) };
    let registration = Message::Registration { handle: handle("fractal"), element: drew_1 };
    r.hears(other, &registration);
    r.says(other, &refused(1, CauseCode::NON_UNIQUE_ELEMENT_ID));
    // The same host on a new link: the same element, whose old link has not been noticed dead yet.
    let again = r.accepts(Door::Asap, 1);
    r.registers(again, 1);
    r.says(again, &granted(1));
    r.loses(first);
    assert!(r.has(1), "the old link's end does not matter any more");
    // Once nobody is connected with it, the number is free.
    r.loses(again);
    assert!(!r.has(1));
    r.hears(other, &registration);
    r.says(other, &granted(1));
    r.says_nothing_more();
}

#[test]
fn a_renewal_replaces_life_policy_values_and_transport() {
    let mut r = TestRegistrar::alone();
    let link = r.accepts(Door::Asap, 1);
    let register = |r: &mut TestRegistrar, load, life| {
        let policy = Policy::LeastUsed { load: Load(load) };
        let element = PoolElement { policy, life: Life(life), ..element(1) };
        r.hears(link, &Message::Registration { handle: handle("fractal"), element });
        r.says(link, &granted(1));
    };
    register(&mut r, 5, 60_000);
    register(&mut r, 7, 10_000);
    let kept = r.node.handlespace().get(&handle("fractal"), ElementId(1)).expect("registered").clone();
    assert_eq!((kept.policy, kept.life), (Policy::LeastUsed { load: Load(7) }, Life(10_000)));
    assert_eq!((r.node.counters().registrations, r.node.counters().reregistrations), (2, 1));
    r.events.clear();
    // The new life counts.
    for _ in 0..20 {
        r.pass(Duration::from_millis(400));
        r.hears(link, &ack(1));
    }
    assert!(r.has(1));
    for _ in 0..5 {
        r.hears(link, &ack(1));
        r.pass(Duration::from_millis(400));
    }
    let (handle, element) = (handle("fractal"), ElementId(1));
    r.tells(&Event::ElementRemoved { handle, element, home: ME, why: Removal::LifeOver });
    r.tells_nothing_more();
}

#[test]
fn only_the_link_that_registered_may_deregister() {
    let mut r = TestRegistrar::alone();
    let link = r.has_element(1);
    let stranger = r.accepts(Door::Asap, 1);
    let (handle, element) = (handle("fractal"), ElementId(1));
    let ask = Message::Deregistration { handle, element };
    r.hears(stranger, &ask);
    let causes = vec![CauseCode::SECURITY.into_cause()];
    r.says(stranger, &Message::DeregistrationResponse { handle, element, causes });
    assert!(r.has(1));
    r.hears(link, &ask);
    r.says(link, &Message::DeregistrationResponse { handle, element, causes: vec![] });
    r.says_nothing_more();
    assert_eq!(r.node.handlespace().pool_count(), 0);
    // Unknown elements are removed as they wish.
    r.hears(stranger, &ask);
    r.says(stranger, &Message::DeregistrationResponse { handle, element, causes: vec![] });
    assert_eq!(r.node.counters().rejected[&Rejection::NotOwner], 1);
}

#[test]
fn a_resolution_names_how_many_or_gets_three() {
    let mut r = TestRegistrar::alone();
    for number in 1..=200 {
        r.has_element(number);
    }
    let user = r.accepts(Door::Asap, 250);
    for (asked, expected) in [(None, 3), (Some(0), 3), (Some(1), 1), (Some(7), 7), (Some(u32::MAX), 128)] {
        r.hears(user, &resolve(asked));
        let Output::Send { bytes, .. } = r.says_next() else { panic!("an answer") };
        let Ok(Message::HandleResolutionResponse { answer: Resolution::Elements { elements, .. }, .. }) =
            Message::parse(&bytes)
        else {
            panic!("elements")
        };
        assert_eq!(elements.len(), expected, "{asked:?}");
        assert!(elements.iter().all(|e| e.asap_transport.is_none() && e.asap_tcp.is_none()));
    }
}

#[test]
fn an_unknown_pool_is_an_error_and_never_an_empty_success() {
    let mut r = TestRegistrar::alone();
    let user = r.accepts(Door::Asap, 99);
    r.hears(user, &resolve(None));
    let answer = Resolution::Failed { causes: vec![CauseCode::UNKNOWN_POOL_HANDLE.into_cause()] };
    r.says(user, &Message::HandleResolutionResponse { accepted: false, handle: handle("fractal"), answer });
    r.says_nothing_more();
}

#[test]
fn pools_are_listed_part_by_part() {
    let mut r = TestRegistrar::alone();
    for number in 1..=250 {
        let link = r.accepts(Door::Asap, number);
        for pool in ["b", "a"] {
            let element = element(number);
            r.hears(link, &Message::Registration { handle: handle(pool), element });
        }
    }
    r.take_said();
    let reader = r.accepts(Door::Asap, 251);
    let (mut after, mut seen, mut parts) = (None, Vec::new(), 0);
    loop {
        r.hears(reader, &Message::PoolList { handle: None, after });
        let Output::Send { bytes, .. } = r.says_next() else { panic!("an answer") };
        let Ok(Message::PoolListResponse { more, server, pools }) = Message::parse(&bytes) else {
            panic!("a list")
        };
        assert_eq!(server, ME);
        parts += 1;
        seen.extend(pools.iter().flat_map(|(h, es)| es.iter().map(|e| (*h, e.id))));
        after = seen.last().copied();
        if !more {
            break;
        }
    }
    let all: Vec<Key> =
        r.node.handlespace().elements(None, None).map(|(handle, element)| (*handle, element.id)).collect();
    assert_eq!(seen, all);
    assert!(parts > 1, "500 elements do not fit into one part");

    r.hears(
        reader,
        &Message::PoolList { handle: Some(handle("b")), after: Some((handle("b"), ElementId(249))) },
    );
    let Output::Send { bytes, .. } = r.says_next() else { panic!("an answer") };
    let Ok(Message::PoolListResponse { more: false, pools, .. }) = Message::parse(&bytes) else {
        panic!("a list")
    };
    assert_eq!(pools.len(), 1);
    assert_eq!((pools[0].0, pools[0].1.len(), pools[0].1[0].id), (handle("b"), 1, ElementId(250)));
    r.says_nothing_more();
}

#[test]
fn a_large_answer_is_cut_to_what_every_transport_carries() {
    let mut r = TestRegistrar::alone();
    let many: Vec<IpAddr> = (0..64).map(|n| IpAddr::from([0xfec0, 0, 0, 0, 0, 0, 0, n])).collect();
    let host = Endpoint { protocol: Protocol::Sctp, addresses: many.clone(), port: 5000 };
    let link = r.accepts_from(Door::Asap, host);
    for number in 1..=100 {
        let user_transport = Transport::Sctp {
            port: 7000,
            transport_use: TransportUse::DataAndControl,
            addresses: many.clone(),
        };
        let element = PoolElement { user_transport, ..element(number) };
        r.hears(link, &Message::Registration { handle: handle("fractal"), element });
        r.says(link, &granted(number));
    }
    let user = r.accepts(Door::Asap, 99);
    r.hears(user, &resolve(Some(u32::MAX)));
    let Output::Send { bytes, .. } = r.says_next() else { panic!("an answer") };
    assert!(bytes.len() <= 65_000 && bytes.len() > 30_000, "{}", bytes.len());
    assert!(Message::parse(&bytes).is_ok());
}
