use super::*;

const A: RegistrarId = RegistrarId(0xa);
const B: RegistrarId = RegistrarId(0xb);

fn owned_by(home: RegistrarId, id: u32) -> PoolElement {
    PoolElement { home, ..element(id, Policy::LeastUsed { load: Load(id) }) }
}

/// `pool/id` of each, in the order given.
fn listed<'a>(elements: impl Iterator<Item = (&'a PoolHandle, &'a PoolElement)>) -> String {
    elements.map(|(handle, element)| format!("{handle}/{}", element.id.0)).collect::<Vec<_>>().join(" ")
}

fn two_owners() -> Handlespace {
    let mut handlespace = Handlespace::new();
    for (pool, home, id) in
        [("zz", A, 9), ("aaa", B, 3), ("zz", B, 4), ("aaa", A, 7), ("b", B, 1), ("aaa", A, 2), ("zz", A, 5)]
    {
        handlespace.register(&handle(pool), owned_by(home, id)).expect("admitted");
        handlespace.check();
    }
    handlespace
}

#[test]
fn elements_are_listed_by_handle_then_id() {
    let handlespace = two_owners();
    assert_eq!(listed(handlespace.elements(None, None)), "b/1 zz/4 zz/5 zz/9 aaa/2 aaa/3 aaa/7");
    assert_eq!(listed(handlespace.elements(Some(A), None)), "zz/5 zz/9 aaa/2 aaa/7");
    assert_eq!(listed(handlespace.elements(Some(B), None)), "b/1 zz/4 aaa/3");
    assert_eq!(listed(handlespace.elements(Some(RegistrarId(0xc)), None)), "");
    let pools: Vec<(String, usize)> =
        handlespace.pools().map(|(handle, elements)| (handle.to_string(), elements.len())).collect();
    assert_eq!(pools, [("b".into(), 1), ("zz".into(), 3), ("aaa".into(), 3)]);
}

#[test]
fn a_listing_goes_on_behind_any_position_whether_it_exists_or_not() {
    let handlespace = two_owners();
    let after = |home, pool: &str, id| {
        listed(handlespace.elements(home, Some((PoolHandle::new(pool).expect("legal"), ElementId(id)))))
    };
    assert_eq!(after(None, "zz", 5), "zz/9 aaa/2 aaa/3 aaa/7");
    assert_eq!(after(None, "zz", 6), "zz/9 aaa/2 aaa/3 aaa/7");
    assert_eq!(after(None, "c", u32::MAX), "zz/4 zz/5 zz/9 aaa/2 aaa/3 aaa/7");
    assert_eq!(after(None, "aaa", 7), "");
    assert_eq!(after(None, "zzzz", 0), "");
    assert_eq!(after(Some(A), "zz", 5), "zz/9 aaa/2 aaa/7");
    assert_eq!(after(Some(B), "b", 1), "zz/4 aaa/3");
}

#[test]
fn a_download_in_parts_gives_everything_once() {
    let handlespace = two_owners();
    for home in [None, Some(A), Some(B)] {
        for size in 1..4 {
            let mut parts = Vec::new();
            let mut after = None;
            loop {
                let part: Vec<_> = handlespace.elements(home, after).take(size).collect();
                let Some(&(last, element)) = part.last() else { break };
                after = Some((*last, element.id));
                parts.push(listed(part.into_iter()));
            }
            assert_eq!(parts.join(" "), listed(handlespace.elements(home, None)), "{home:?} by {size}");
        }
    }
}

#[test]
fn owners_are_counted() {
    let mut handlespace = two_owners();
    assert_eq!(handlespace.owners().collect::<Vec<_>>(), [(A, 4), (B, 3)]);
    assert!(handlespace.set_home(&handle("b"), ElementId(1), A));
    assert_eq!((handlespace.owned(A), handlespace.owned(B)), (5, 2));
    assert_eq!(listed(handlespace.elements(Some(B), None)), "zz/4 aaa/3");
    assert!(!handlespace.set_home(&handle("b"), ElementId(2), A));
    assert!(!handlespace.set_home(&handle("nowhere"), ElementId(1), A));
    handlespace.check();
    // A registration elsewhere moves the element (RFC 5352 §3.1 rule 4).
    let told = handlespace.register(&handle("zz"), owned_by(B, 9));
    assert_eq!(told, Ok(Registered::Renewed { previous_home: A }));
    assert_eq!((handlespace.owned(A), handlespace.owned(B)), (4, 3));
    assert_eq!(handlespace.remove(&handle("aaa"), ElementId(3)), Some(owned_by(B, 3)));
    assert_eq!(handlespace.remove(&handle("aaa"), ElementId(3)), None);
    assert_eq!((handlespace.len(), handlespace.pool_len(&handle("aaa"))), (6, 2));
    handlespace.check();
}

#[test]
fn the_checksum_covers_what_the_registrar_owns() {
    let mut handlespace = Handlespace::new();
    assert_eq!(handlespace.checksum(A), 0xffff);
    handlespace.register(&handle("EchoPool"), owned_by(A, 0xaaaa_0001)).expect("admitted");
    assert_eq!(handlespace.checksum(A), 0xe7a5);
    handlespace.register(&handle("PingPongPool"), owned_by(B, 0xaaaa_0002)).expect("admitted");
    assert_eq!((handlespace.checksum(A), handlespace.checksum(B)), (0xe7a5, 0x17d0));
    assert!(handlespace.set_home(&handle("PingPongPool"), ElementId(0xaaaa_0002), A));
    assert_eq!((handlespace.checksum(A), handlespace.checksum(B)), (0xff75, 0xffff));
    handlespace.remove(&handle("EchoPool"), ElementId(0xaaaa_0001));
    assert_eq!(handlespace.checksum(A), 0x17d0);
}

#[test]
fn checksum_and_digest_know_no_history() {
    let mut random = Random::from_seed(11);
    let all: Vec<(&str, PoolElement)> = (1..60)
        .map(|id| (["one", "two", "three"][id as usize % 3], owned_by([A, B][id as usize % 2], id)))
        .collect();
    let mut reference = Handlespace::new();
    for (pool, element) in &all {
        reference.register(&handle(pool), element.clone()).expect("admitted");
    }
    for _ in 0..20 {
        let mut shuffled = all.clone();
        for place in (1..shuffled.len()).rev() {
            shuffled.swap(place, random.below(place as u64 + 1) as usize);
        }
        let mut other = Handlespace::with_settings(Settings::registrar());
        for (pool, element) in &shuffled {
            // A detour: as somebody else's, with another load, removed now and then, selected and suspected.
            let (pool, detour) = (handle(pool), PoolElement { home: HOME, ..element.clone() });
            other.register(&pool, detour).expect("admitted");
            other.select(&pool, 2, &mut random);
            other.set_suspect(&pool, element.id, random.one_in(2));
            if random.one_in(3) {
                other.remove(&pool, element.id);
            }
            other.register(&pool, element.clone()).expect("admitted");
        }
        other.check();
        assert_eq!(other.digest(), reference.digest());
        assert_eq!((other.checksum(A), other.checksum(B)), (reference.checksum(A), reference.checksum(B)));
    }
}

#[test]
fn the_digest_sees_every_replicated_field() {
    let base = owned_by(A, 1);
    let mut changed = vec![("pool", base.clone()), ("poo1", base.clone()), ("poo", base.clone())];
    let mut with = |change: &dyn Fn(&mut PoolElement)| {
        let mut element = base.clone();
        change(&mut element);
        changed.push(("pool", element));
    };
    with(&|e| e.id = ElementId(2));
    with(&|e| e.home = B);
    with(&|e| e.life = Life(1));
    with(&|e| e.policy = Policy::LeastUsed { load: Load(2) });
    with(&|e| e.policy = Policy::RandomizedLeastUsed { load: Load(1) });
    with(&|e| e.policy = Policy::Other { code: 0x4000_0001, data: vec![0, 0, 0, 1] });
    with(&|e| e.asap_transport = None);
    with(&|e| e.asap_tcp = Some((HERE, 3863).into()));
    with(&|e| e.asap_tcp = Some((HERE, 0).into()));
    for address in
        [HERE, "10.0.0.2".parse().expect("an address"), "::ffff:10.0.0.1".parse().expect("an address")]
    {
        for port in [1, 2] {
            for transport_use in [TransportUse::Data, TransportUse::DataAndControl] {
                with(&|e| e.user_transport = Transport::Tcp { port, transport_use, address });
                with(&|e| {
                    e.user_transport = Transport::Sctp { port, transport_use, addresses: vec![address] };
                });
                with(&|e| {
                    e.user_transport =
                        Transport::Sctp { port, transport_use, addresses: vec![HERE, address] };
                });
            }
            with(&|e| e.user_transport = Transport::Udp { port, address });
            with(&|e| e.user_transport = Transport::UdpLite { port, address });
            with(&|e| e.user_transport = Transport::Dccp { port, service_code: 7, address });
        }
    }
    with(&|e| e.user_transport = Transport::Opaque(vec![1]));
    with(&|e| e.user_transport = Transport::Opaque(vec![1, 0]));
    let digests: std::collections::BTreeSet<u64> = changed
        .iter()
        .map(|(pool, element)| {
            let mut handlespace = Handlespace::new();
            handlespace.replicate(&handle(pool), element.clone()).expect("admitted");
            handlespace.digest()
        })
        .collect();
    assert_eq!(digests.len(), changed.len(), "two different tables have one digest");
    assert!(!digests.contains(&Handlespace::new().digest()));
}
