use super::*;
use crate::wire::parameter::CauseCode;

/// What a registration in a pool with element 1 (round robin, TCP with control channel) is told. Refused or not, the
/// handlespace holds its own; refused, it is untouched.
fn told(newcomer: PoolElement) -> Result<Registered, Refusal> {
    let mut handlespace = Handlespace::new();
    let pool = handle("pool");
    assert_eq!(handlespace.register(&pool, element(1, Policy::RoundRobin)), Ok(Registered::New));
    let before = handlespace.digest();
    let told = handlespace.register(&pool, newcomer.clone());
    handlespace.check();
    if told.is_err() {
        assert_eq!(handlespace.digest(), before);
        assert_eq!((handlespace.len(), handlespace.owned(HOME)), (1, 1));
    } else {
        assert_eq!(handlespace.get(&pool, newcomer.id), Some(&newcomer));
    }
    told
}

fn sctp(port: u16, transport_use: TransportUse, addresses: usize) -> Transport {
    Transport::Sctp { port, transport_use, addresses: vec![HERE; addresses] }
}

#[test]
fn an_element_like_the_others_is_admitted() {
    assert_eq!(told(element(2, Policy::RoundRobin)), Ok(Registered::New));
    assert_eq!(
        told(PoolElement { asap_transport: None, ..element(2, Policy::RoundRobin) }),
        Ok(Registered::New)
    );
    assert_eq!(told(element(1, Policy::RoundRobin)), Ok(Registered::Renewed { previous_home: HOME }));
    let moved = PoolElement { home: RegistrarId(5), ..element(1, Policy::RoundRobin) };
    assert_eq!(told(moved), Ok(Registered::Renewed { previous_home: HOME }));
}

#[test]
fn each_disagreement_is_refused_with_its_reason() {
    let like = |change: &dyn Fn(&mut PoolElement)| {
        let mut newcomer = element(2, Policy::RoundRobin);
        change(&mut newcomer);
        told(newcomer)
    };
    assert_eq!(like(&|e| e.id = ElementId(0)), Err(Refusal::UndefinedElement));
    assert_eq!(like(&|e| e.policy = Policy::Random), Err(Refusal::PolicyMismatch));
    assert_eq!(
        like(&|e| e.policy = Policy::Other { code: 0xdead_0001, data: vec![] }),
        Err(Refusal::UnknownPolicy)
    );
    assert_eq!(
        like(&|e| e.user_transport = sctp(8080, TransportUse::DataAndControl, 1)),
        Err(Refusal::TransportMismatch)
    );
    let tcp = |port, transport_use| Transport::Tcp { port, transport_use, address: HERE };
    assert_eq!(
        like(&|e| e.user_transport = tcp(8080, TransportUse::Data)),
        Err(Refusal::ControlChannelMismatch)
    );
    assert_eq!(
        like(&|e| e.user_transport = tcp(0, TransportUse::DataAndControl)),
        Err(Refusal::UserTransport)
    );
    for unfit in [
        sctp(0, TransportUse::Data, 1),
        sctp(3863, TransportUse::Data, 0),
        sctp(3863, TransportUse::Data, 65),
        sctp(3863, TransportUse::DataAndControl, 1),
        tcp(3863, TransportUse::Data),
    ] {
        assert_eq!(
            like(&|e| e.asap_transport = Some(unfit.clone())),
            Err(Refusal::AsapTransport),
            "{unfit:?}"
        );
    }
}

#[test]
fn of_several_disagreements_the_reference_s_first_is_named() {
    let mut wrong = element(0, Policy::Other { code: 0xdead_0001, data: vec![] });
    wrong.user_transport = sctp(0, TransportUse::Data, 1);
    wrong.asap_transport = Some(sctp(0, TransportUse::Data, 1));
    assert_eq!(told(wrong.clone()), Err(Refusal::UnknownPolicy));
    wrong.policy = Policy::Random;
    assert_eq!(told(wrong.clone()), Err(Refusal::UndefinedElement));
    wrong.id = ElementId(2);
    assert_eq!(told(wrong.clone()), Err(Refusal::TransportMismatch));
    wrong.user_transport = Transport::Tcp { port: 0, transport_use: TransportUse::Data, address: HERE };
    assert_eq!(told(wrong.clone()), Err(Refusal::AsapTransport));
    wrong.asap_transport = None;
    assert_eq!(told(wrong.clone()), Err(Refusal::UserTransport));
    wrong.user_transport = Transport::Tcp { port: 1, transport_use: TransportUse::Data, address: HERE };
    assert_eq!(told(wrong.clone()), Err(Refusal::ControlChannelMismatch));
    wrong.user_transport = element(2, Policy::Random).user_transport;
    assert_eq!(told(wrong), Err(Refusal::PolicyMismatch));
}

#[test]
fn even_the_only_element_leaves_before_it_changes_the_pool() {
    assert_eq!(told(element(1, Policy::Random)), Err(Refusal::PolicyMismatch));
    let mut handlespace = Handlespace::new();
    let pool = handle("pool");
    handlespace.register(&pool, element(1, Policy::RoundRobin)).expect("admitted");
    assert!(handlespace.remove(&pool, ElementId(1)).is_some());
    assert!(handlespace.is_empty() && handlespace.pool_count() == 0);
    assert_eq!(handlespace.register(&pool, element(1, Policy::Random)), Ok(Registered::New));
    handlespace.check();
}

#[test]
fn a_replica_may_have_a_policy_nobody_here_knows() {
    let mut handlespace = Handlespace::new();
    let pool = handle("pool");
    let strange = |id| element(id, Policy::Other { code: 0xdead_0001, data: vec![0, 0, 0, 9] });
    assert_eq!(handlespace.replicate(&pool, strange(1)), Ok(Registered::New));
    assert_eq!(handlespace.replicate(&pool, strange(2)), Ok(Registered::New));
    assert_eq!(handlespace.register(&pool, strange(3)), Err(Refusal::UnknownPolicy));
    let other = element(3, Policy::Other { code: 0xdead_0002, data: vec![0, 0, 0, 9] });
    assert_eq!(handlespace.replicate(&pool, other), Err(Refusal::PolicyMismatch));
    let mut random = Random::from_seed(1);
    let answers: Vec<_> = (0..3).map(|_| handlespace.select(&pool, 1, &mut random)).collect();
    assert_eq!(answers, [Some(vec![strange(1)]), Some(vec![strange(2)]), Some(vec![strange(1)])]);
    handlespace.check();
}

#[test]
fn a_full_handlespace_refuses_newcomers_and_renews_the_others() {
    let mut handlespace = Handlespace::with_settings(Settings { elements_max: 2, ..Settings::default() });
    let pool = handle("pool");
    handlespace.register(&pool, element(1, Policy::RoundRobin)).expect("admitted");
    handlespace.register(&handle("other"), element(1, Policy::Random)).expect("admitted");
    assert_eq!(handlespace.register(&pool, element(2, Policy::RoundRobin)), Err(Refusal::LackOfResources));
    assert_eq!(
        handlespace.register(&handle("new"), element(2, Policy::Random)),
        Err(Refusal::LackOfResources)
    );
    assert_eq!((handlespace.len(), handlespace.pool_count()), (2, 2));
    assert_eq!(
        handlespace.register(&pool, element(1, Policy::RoundRobin)),
        Ok(Registered::Renewed { previous_home: HOME })
    );
    assert!(handlespace.remove(&pool, ElementId(1)).is_some());
    assert_eq!(handlespace.register(&handle("new"), element(2, Policy::Random)), Ok(Registered::New));
    handlespace.check();
}

#[test]
fn every_refusal_has_a_cause_and_a_sentence() {
    let causes = [
        (Refusal::UnknownPolicy, CauseCode::INVALID_VALUES),
        (Refusal::UndefinedElement, CauseCode::INVALID_VALUES),
        (Refusal::TransportMismatch, CauseCode::INCONSISTENT_TRANSPORT),
        (Refusal::AsapTransport, CauseCode::INVALID_VALUES),
        (Refusal::UserTransport, CauseCode::INVALID_VALUES),
        (Refusal::ControlChannelMismatch, CauseCode::INCONSISTENT_DATA_CONTROL),
        (Refusal::PolicyMismatch, CauseCode::INCONSISTENT_POLICY),
        (Refusal::LackOfResources, CauseCode::LACK_OF_RESOURCES),
    ];
    for (refusal, cause) in causes {
        assert_eq!(refusal.cause(), cause, "{refusal}");
    }
    assert_eq!(
        format!("cannot register: {}", Refusal::PolicyMismatch),
        "cannot register: the pool has another policy"
    );
}
