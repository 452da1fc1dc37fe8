//! Each field of each message counts: whoever changes one changes the octets, and reads the change back.

use rserpool::wire::csp::{Association, ComponentId, Report, Text, Workload};
use rserpool::wire::enrp::UpdateAction;
use rserpool::wire::parameter::{
    CauseCode, ErrorCause, Life, PoolElement, ServerInformation, Transport, TransportUse,
};
use rserpool::wire::{asap, enrp};
use rserpool::{ElementId, Load, Policy, PoolHandle, Ppid, RegistrarId};
use std::collections::BTreeSet;
use std::net::IpAddr;

fn handle(text: &str) -> PoolHandle {
    PoolHandle::new(text).expect("legal")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn sctp(port: u16, transport_use: TransportUse, addresses: &[&str]) -> Transport {
    Transport::Sctp { port, transport_use, addresses: addresses.iter().map(|address| ip(address)).collect() }
}

/// Transports that differ in one field each, the first one from all others.
fn transports() -> Vec<Transport> {
    use TransportUse::{Data, DataAndControl};
    let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
    vec![
        sctp(1, Data, &["10.0.0.1"]),
        sctp(2, Data, &["10.0.0.1"]),
        sctp(1, DataAndControl, &["10.0.0.1"]),
        sctp(1, Data, &["10.0.0.2"]),
        sctp(1, Data, &["::1"]),
        sctp(1, Data, &["10.0.0.1", "10.0.0.2"]),
        sctp(1, Data, &["10.0.0.2", "10.0.0.1"]),
        Transport::Tcp { port: 1, transport_use: Data, address: a },
        Transport::Tcp { port: 2, transport_use: Data, address: a },
        Transport::Tcp { port: 1, transport_use: DataAndControl, address: a },
        Transport::Tcp { port: 1, transport_use: Data, address: b },
        Transport::Udp { port: 1, address: a },
        Transport::Udp { port: 2, address: a },
        Transport::Udp { port: 1, address: b },
        Transport::UdpLite { port: 1, address: a },
        Transport::UdpLite { port: 2, address: a },
        Transport::UdpLite { port: 1, address: b },
        Transport::Dccp { port: 1, service_code: 1, address: a },
        Transport::Dccp { port: 2, service_code: 1, address: a },
        Transport::Dccp { port: 1, service_code: 2, address: a },
        Transport::Dccp { port: 1, service_code: 1, address: b },
        Transport::Opaque(vec![]),
        Transport::Opaque(vec![1]),
        Transport::Opaque(vec![2]),
    ]
}

/// Policies that differ in one field each.
fn policies() -> Vec<Policy> {
    let codes = [
        0x1,
        0x2,
        0x3,
        0x4,
        0x5,
        0x4000_0001,
        0x4000_0002,
        0x4000_0003,
        0x4000_0004,
        0xb000_1001,
        0xb000_1002,
        0xb000_1003,
        0xb000_1004,
        0xb000_2001,
        0xb000_2002,
        0xb000_2003,
    ];
    let mut policies = Vec::new();
    for code in codes {
        let words = [10, 20, 30, 40];
        let base = Policy::from_words(code, words).expect("known");
        for changed in 0..base.parameters().count() {
            let mut words = words;
            words[changed] += 1;
            policies.push(Policy::from_words(code, words).expect("known"));
        }
        policies.push(base);
    }
    policies.push(Policy::Other { code: 77, data: vec![] });
    policies.push(Policy::Other { code: 78, data: vec![] });
    policies.push(Policy::Other { code: 77, data: vec![1] });
    policies
}

fn element() -> PoolElement {
    PoolElement {
        id: ElementId(1),
        home: RegistrarId(2),
        life: Life(3),
        user_transport: sctp(4, TransportUse::Data, &["10.0.0.1"]),
        policy: Policy::LeastUsed { load: Load(5) },
        asap_transport: Some(sctp(6, TransportUse::Data, &["10.0.0.1"])),
        asap_tcp: None,
    }
}

/// Elements that differ in one field each, legal in ENRP.
fn elements() -> Vec<PoolElement> {
    let base = element;
    let asap = |port, address| Some(sctp(port, TransportUse::Data, &[address]));
    let mut elements = vec![
        base(),
        PoolElement { id: ElementId(9), ..base() },
        PoolElement { home: RegistrarId(9), ..base() },
        PoolElement { life: Life::INFINITE, ..base() },
        PoolElement { asap_transport: asap(7, "10.0.0.1"), ..base() },
        PoolElement { asap_transport: asap(6, "10.0.0.2"), ..base() },
        PoolElement { asap_tcp: Some((ip("10.0.0.1"), 0).into()), ..base() },
        PoolElement { asap_tcp: Some((ip("10.0.0.1"), 1).into()), ..base() },
        PoolElement { asap_tcp: Some((ip("::1"), 0).into()), ..base() },
    ];
    elements.extend(transports().into_iter().map(|user_transport| PoolElement { user_transport, ..base() }));
    elements.extend(policies().into_iter().map(|policy| PoolElement { policy, ..base() }));
    elements.dedup();
    elements
}

fn causes() -> Vec<Vec<ErrorCause>> {
    let cause = |code, info: &[u8]| ErrorCause { code: CauseCode(code), info: info.to_vec() };
    vec![
        vec![cause(1, &[])],
        vec![cause(2, &[])],
        vec![cause(1, &[1])],
        vec![cause(1, &[2])],
        vec![cause(1, &[]), cause(2, &[])],
        vec![cause(2, &[]), cause(1, &[])],
    ]
}

fn servers() -> Vec<Vec<ServerInformation>> {
    let server = |id, port| ServerInformation {
        id: RegistrarId(id),
        transport: sctp(port, TransportUse::Data, &["10.0.0.1"]),
    };
    vec![vec![server(1, 1)], vec![server(2, 1)], vec![server(1, 2)], vec![server(1, 1), server(2, 1)]]
}

fn pools() -> Vec<Vec<(PoolHandle, Vec<PoolElement>)>> {
    vec![
        vec![],
        vec![(handle("a"), vec![element()])],
        vec![(handle("b"), vec![element()])],
        vec![(handle("a"), vec![element(), element()])],
        vec![(handle("a"), vec![element()]), (handle("b"), vec![element()])],
        vec![(handle("a"), vec![element()]), (handle("a"), vec![element()])],
    ]
}

fn asap_messages() -> Vec<asap::Message> {
    use asap::{Message as M, Resolution as R};
    let (a, b) = (handle("a"), handle("b"));
    let (one, two) = (ElementId(1), ElementId(2));
    let (home, other) = (RegistrarId(1), RegistrarId(2));
    let mut all = vec![M::Registration { handle: b, element: element() }];
    all.extend(elements().into_iter().map(|element| M::Registration { handle: a, element }));
    let home_unknown = PoolElement { home: RegistrarId(0), asap_transport: None, ..element() };
    all.push(M::Registration { handle: a, element: home_unknown });
    for (handle, element) in [(a, one), (b, one), (a, two)] {
        all.push(M::Deregistration { handle, element });
        all.push(M::EndpointKeepAliveAck { handle, element });
        all.push(M::EndpointUnreachable { handle, element });
        for causes in causes().into_iter().chain([vec![]]) {
            for rejected in [false, true] {
                all.push(M::RegistrationResponse { rejected, handle, element, causes: causes.clone() });
            }
            all.push(M::DeregistrationResponse { handle, element, causes });
        }
        for (server, home) in [(home, true), (home, false), (other, true)] {
            for element in [Some(element), None] {
                all.push(M::EndpointKeepAlive { home, server, handle, element });
            }
        }
        for of in [None, Some(a), Some(b)] {
            all.push(M::PoolList { handle: of, after: Some((handle, element)) });
        }
    }
    for handle in [a, b] {
        for (subscribe, items) in [(false, None), (true, None), (false, Some(0)), (false, Some(1))] {
            all.push(M::HandleResolution { subscribe, handle, items });
        }
        all.push(M::PoolList { handle: Some(handle), after: None });
        all.push(M::BusinessCard { handle, elements: vec![element()] });
        all.push(M::BusinessCard { handle, elements: vec![element(), element()] });
        let mut answers: Vec<R> = causes().into_iter().map(|causes| R::Failed { causes }).collect();
        for policy in policies().into_iter().map(Some).chain([None]) {
            answers.push(R::Elements { policy: policy.clone(), elements: vec![element()] });
            answers.push(R::Elements { policy, elements: vec![] });
        }
        for answer in answers {
            for accepted in [false, true] {
                all.push(M::HandleResolutionResponse { accepted, handle, answer: answer.clone() });
            }
        }
    }
    all.push(M::PoolList { handle: None, after: None });
    for server in [home, other] {
        all.push(M::ServerAnnounce { server, transports: vec![] });
        all.push(M::ServerAnnounce { server, transports: transports() });
        all.extend(transports().into_iter().map(|one| M::ServerAnnounce { server, transports: vec![one] }));
        for pools in pools() {
            all.push(M::PoolListResponse { more: false, server, pools: pools.clone() });
            all.push(M::PoolListResponse { more: true, server, pools });
        }
    }
    for cookie in [vec![1], vec![2], vec![1, 0]] {
        all.push(M::Cookie { cookie: cookie.clone() });
        all.push(M::CookieEcho { cookie });
    }
    all.extend(causes().into_iter().map(|causes| M::Error { causes }));
    all
}

fn enrp_bodies() -> Vec<enrp::Body> {
    use enrp::Body as B;
    let mut all = vec![B::ListRequest];
    for flag in [false, true] {
        all.push(B::HandleTableRequest { own_only: flag });
        for checksum in [None, Some(1), Some(2)] {
            all.push(B::Presence { reply_required: flag, checksum, server: None });
            for server in servers().into_iter().filter_map(|list| (list.len() == 1).then(|| list[0].clone()))
            {
                all.push(B::Presence { reply_required: flag, checksum, server: Some(server) });
            }
        }
        for servers in servers().into_iter().chain([vec![]]) {
            all.push(B::ListResponse { rejected: flag, servers });
        }
        for pools in pools() {
            all.push(B::HandleTableResponse { rejected: flag, more: false, pools: pools.clone() });
            all.push(B::HandleTableResponse { rejected: flag, more: true, pools });
        }
        for action in [UpdateAction::Add, UpdateAction::Delete, UpdateAction::Other(2)] {
            for handle in [handle("a"), handle("b")] {
                all.push(B::HandleUpdate { takeover_suggested: flag, action, handle, element: element() });
            }
        }
    }
    for element in elements().into_iter().skip(1) {
        let (takeover_suggested, action, handle) = (false, UpdateAction::Add, handle("a"));
        all.push(B::HandleUpdate { takeover_suggested, action, handle, element });
    }
    for target in [RegistrarId(1), RegistrarId(2)] {
        all.extend([B::InitTakeover { target }, B::InitTakeoverAck { target }, B::TakeoverServer { target }]);
    }
    all.extend(causes().into_iter().map(|causes| B::Error { causes }));
    all
}

#[test]
fn asap_messages_that_differ_have_different_octets() {
    let mut messages = asap_messages();
    messages.sort_by_key(|message| format!("{message:?}"));
    messages.dedup();
    let mut octets = BTreeSet::new();
    for message in &messages {
        let written = message.emit();
        assert_eq!(asap::Message::parse(&written).as_ref(), Ok(message));
        assert!(octets.insert(written), "as another one: {message:?}");
    }
    let types: BTreeSet<u8> = octets.iter().map(|octets| octets[0]).collect();
    assert_eq!(types, (0x01..=0x0e).chain([0x41, 0x42]).collect(), "every type is here");
}

#[test]
fn enrp_messages_that_differ_have_different_octets() {
    let mut octets = BTreeSet::new();
    for body in enrp_bodies() {
        for (sender, receiver) in [(1, 0), (1, 2), (2, 0)] {
            let message = enrp::Message {
                sender: RegistrarId(sender),
                receiver: RegistrarId(receiver),
                body: body.clone(),
            };
            let written = message.emit();
            assert_eq!(enrp::Message::parse(&written).as_ref(), Ok(&message));
            assert!(octets.insert(written), "as another one: {message:?}");
        }
    }
    let types: BTreeSet<u8> = octets.iter().map(|octets| octets[0]).collect();
    assert_eq!(types, (0x01..=0x0a).collect(), "every type is here");
}

#[test]
fn status_reports_that_differ_have_different_octets() {
    let association =
        Association { receiver: ComponentId(1), duration: Some(2), flags: 3, protocol: 4, ppid: Ppid(5) };
    let base = || Report {
        last: false,
        sender: ComponentId(1),
        timestamp: 2,
        interval: 3,
        location: Text::new("a"),
        status: Text::new("b"),
        workload: Workload(4),
        associations: vec![association],
    };
    let with = |association| Report { associations: vec![association], ..base() };
    let reports = [
        base(),
        Report { last: true, ..base() },
        Report { sender: ComponentId(9), ..base() },
        Report { timestamp: 9, ..base() },
        Report { interval: 9, ..base() },
        Report { location: Text::new("c"), ..base() },
        Report { status: Text::new("c"), ..base() },
        Report { workload: Workload::NOT_AVAILABLE, ..base() },
        Report { associations: vec![], ..base() },
        Report { associations: vec![association; 2], ..base() },
        with(Association { receiver: ComponentId(9), ..association }),
        with(Association { duration: None, ..association }),
        with(Association { flags: 9, ..association }),
        with(Association { protocol: 9, ..association }),
        with(Association { ppid: Ppid(9), ..association }),
    ];
    let mut octets = BTreeSet::new();
    for report in reports {
        let written = report.emit();
        assert_eq!(Report::parse(&written).as_ref(), Ok(&report));
        assert!(octets.insert(written), "as another one: {report:?}");
    }
}
