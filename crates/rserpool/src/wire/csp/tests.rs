//! A report by hand, and what is no report.

use super::super::tests::hex;
use super::*;

/// An element with one association, after the table of the protocol; the texts are padded by hand here.
fn octets() -> Vec<u8> {
    let mut octets = hex("01 00 0138 00000200 0200000000000401 00000000000f4240 000f4240");
    octets.extend(b"host: 10.99.0.4:1234");
    octets.resize(28 + 128, 0);
    octets.extend(b"1 Session");
    octets.resize(284, 0);
    octets.extend(hex("1999 0001 0100000011110001 ffffffffffffffff 0000 0084 0000000b"));
    octets
}

fn report() -> Report {
    Report {
        last: false,
        sender: ComponentId::element(ElementId(0x401)),
        timestamp: 1_000_000,
        interval: 1_000_000,
        location: Text::new("host: 10.99.0.4:1234"),
        status: Text::new("1 Session"),
        workload: Workload(0x1999),
        associations: vec![Association {
            receiver: ComponentId::registrar(RegistrarId(0x1111_0001)),
            duration: None,
            flags: 0,
            protocol: 132,
            ppid: Ppid::ASAP,
        }],
    }
}

#[test]
fn a_report_is_fixed_fields_and_24_octets_for_each_association() {
    assert_eq!(report().emit(), octets());
    assert_eq!(Report::parse(&octets()), Ok(report()));
    for cut in 0..octets().len() {
        assert!(Report::parse(&octets()[..cut]).is_err(), "cut at {cut}");
    }
    let longer = [octets(), vec![0]].concat();
    assert_eq!(Report::parse(&longer), Err(WireError::MessageLength { announced: 312, received: 313 }));
}

#[test]
fn older_reports_say_length_0() {
    let mut octets = octets();
    octets[2..4].fill(0);
    assert_eq!(Report::parse(&octets), Ok(report()));
}

#[test]
fn other_types_versions_and_counts_are_no_reports() {
    let changed = |at: usize, octet| {
        let mut octets = octets();
        octets[at] = octet;
        Report::parse(&octets)
    };
    assert!(matches!(changed(0, 2), Err(WireError::UnknownMessage { kind: 2, .. })));
    assert!(matches!(changed(6, 3), Err(WireError::Invalid { flaw: Flaw::Version, .. })));
    assert_eq!(changed(3, 0x39), Err(WireError::MessageLength { announced: 313, received: 312 }));
    assert_eq!(changed(287, 2), Err(WireError::MessageLength { announced: 336, received: 312 }));
    assert!(changed(286, 0xff).is_err(), "a count beyond any datagram");
}

#[test]
fn texts_end_at_127_octets_or_the_first_zero_but_may_arrive_with_128() {
    assert_eq!(Text::new("a\0b").as_bytes(), b"a");
    assert_eq!(Text::new(&"x".repeat(200)).as_bytes().len(), 127);
    assert_eq!(Text::new(&"é".repeat(100)).as_bytes().len(), 126, "no half characters");
    let mut full = octets();
    full[28..156].fill(b'y');
    let parsed = Report::parse(&full).expect("legal");
    assert_eq!(parsed.location.as_bytes(), [b'y'; 128]);
    assert_eq!(parsed.emit(), full);
}

#[test]
fn workload_counts_parts_of_65534() {
    assert_eq!(Workload::from_load(Load::IDLE), Workload(0));
    assert_eq!(Workload::from_load(Load::FULL), Workload(0xfffe));
    assert_eq!(Workload::from_load(Load::from_ratio(1, 10)), Workload(0x1999));
    assert_eq!(Workload(0x7fff).fraction(), Some(0.5));
    assert_eq!(Workload::NOT_AVAILABLE.fraction(), None);
}

#[test]
fn components_are_known_by_group_and_identifier() {
    assert_eq!(ComponentId::registrar(RegistrarId(0x1111_0001)).to_string(), "registrar 11110001");
    assert_eq!(ComponentId::element(ElementId(0x401)).to_string(), "element 00000401");
    assert_eq!(ComponentId::user(0x0383_61b1_e13b_fd86), ComponentId(0x0383_61b1_e13b_fd86));
    assert_eq!(ComponentId(0x0383_61b1_e13b_fd86).to_string(), "user 8361b1e13bfd86");
    assert_eq!(ComponentId(9).to_string(), "component 0000000000000009");
}

#[test]
fn no_report_is_longer_than_its_length_can_say() {
    let mut report = report();
    report.associations = vec![report.associations[0]; Report::ASSOCIATIONS_MAX + 1];
    let parsed = Report::parse(&report.emit()).expect("legal");
    assert_eq!(parsed.associations.len(), Report::ASSOCIATIONS_MAX);
}
