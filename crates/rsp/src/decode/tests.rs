//! Answers as a program would read them.

use super::*;

fn answer(input: &str) -> Value {
    serde_json::from_str(&line(input)).expect("one JSON value")
}

fn error(input: &str) -> Value {
    let answer = answer(input);
    assert_eq!(answer["schema"], "rsp.decode/1");
    assert_eq!(answer["octets"], Value::Null, "no octets beside an error");
    answer["error"].clone()
}

const REGISTRATION: &str = "asap 01000038 0009000c4563686f506f6f6c 000a002800c0ffee0000000000002ee0
    00040010cb8b0001000100080a630004 0008000800000001";

#[test]
fn a_registration_has_all_fields_by_name_in_one_line() {
    let line = line(REGISTRATION);
    assert!(!line.contains('\n'));
    assert_eq!(
        line,
        concat!(
            r#"{"schema":"rsp.decode/1","protocol":"asap","message":"ASAP_REGISTRATION","type":1,"#,
            r#""pool_handle":"EchoPool","pool_element":{"pe_identifier":"00c0ffee","home_identifier":"00000000","#,
            r#""life_ms":12000,"user_transport":{"type":"sctp","port":52107,"use":"data-and-control","#,
            r#""addresses":["10.99.0.4"]},"policy":{"type":"0x00000001","name":"RoundRobin"},"#,
            r#""asap_transport":null,"asap_tcp":null},"skipped":[],"#,
            r#""octets":"010000380009000c4563686f506f6f6c000a002800c0ffee0000000000002ee000040010cb8b0001"#,
            r#"000100080a6300040008000800000001"}"#,
        )
    );
}

#[test]
fn an_enrp_message_says_who_speaks_to_whom() {
    let octets = "0100002c2222000211110001000f0006ffff0000000b0018222200020004001026ad0000000100080a630002";
    let answer = answer(&format!("enrp {octets}"));
    assert_eq!(answer["message"], "ENRP_PRESENCE");
    assert_eq!(answer["sender_identifier"], "22220002");
    assert_eq!(answer["receiver_identifier"], "11110001");
    assert_eq!(answer["reply_required"], false);
    assert_eq!(answer["pe_checksum"], "ffff");
    assert_eq!(answer["server_information"]["transport"]["port"], 9901);
    assert_eq!(answer["octets"], octets);
}

#[test]
fn a_status_report_shows_its_association() {
    let mut octets = "01000138000002000200000000000401000000000000000a000f4240".to_owned();
    octets += &format!("{:0<256}{:0<256}", "686f7374", "6f6b");
    octets += "199900010100000011110001ffffffffffffffff000000840000000b";
    let answer = answer(&format!("csp {octets}"));
    assert_eq!(answer["message"], "CSP_REPORT");
    assert_eq!(answer["sender"], "element 00000401");
    assert_eq!((&answer["location"], &answer["status"]), (&json!("host"), &json!("ok")));
    assert_eq!(answer["associations"][0]["receiver"], "registrar 11110001");
    assert_eq!(answer["associations"][0]["duration_us"], Value::Null);
    assert_eq!(answer["octets"], octets);
}

#[test]
fn policies_show_their_words_and_unknown_ones_their_octets() {
    let with = |policy: &str, size: usize| {
        let octets = format!(
            "asap 0600{:04x}0009000c4563686f506f6f6c0008{:04x}{policy}",
            20 + size.next_multiple_of(4),
            4 + size
        );
        answer(&octets)["policy"].clone()
    };
    assert_eq!(
        with("400000020000000140000000", 12),
        json!({ "type": "0x40000002", "name": "LeastUsedDegradation", "load": 1, "degradation": 0x4000_0000 })
    );
    assert_eq!(with("1234567801000000", 5), json!({ "type": "0x12345678", "name": null, "data": "01" }));
}

#[test]
fn the_octets_are_those_of_the_fields_and_not_the_input() {
    // Flags that nobody defined, a length without padding, and padding that is not zero are written anew.
    let answer = answer("asap 02fe001f 0009000b546370506f6f6cff 000e00080aa00001 c12300076162637f");
    assert_eq!(answer["octets"], "020000200009000b546370506f6f6c00000e00080aa00001c123000761626300");
    let skipped = json!([{ "place": 4, "type": "0xc123", "report": true, "parameter": "c1230007616263" }]);
    assert_eq!(answer["skipped"], skipped);
}

#[test]
fn octets_that_are_no_message_are_answered_with_an_error() {
    assert_eq!(
        error("asap 0500000800090004"),
        json!({
            "offset": 8,
            "reason": "invalid-value",
            "text": "a pool handle has 1 to 32 octets (offset 8)",
            "flaw": "HandleSize",
            "rule": "a pool handle has 1 to 32 octets",
            "offender": "00090004",
            "answer": { "code": 3, "name": "invalid-values", "info": "00090004" },
        })
    );
    let truncated = error("enrp 0500000800000001");
    assert_eq!(truncated["reason"], "truncated");
    assert_eq!((&truncated["needed"], &truncated["available"]), (&json!(4), &json!(0)));
    let length = error("asap 05000009");
    assert_eq!((&length["announced"], &length["received"]), (&json!(9), &json!(4)));
    let nothing = error("asap");
    assert_eq!((&nothing["reason"], &nothing["offset"]), (&json!("truncated"), &json!(0)));
    assert_eq!(error("csp 00")["answer"], Value::Null);
    assert_eq!(error("asap 3f000004")["answer"], Value::Null, "discarded silently");
    assert_eq!(error("asap 43000004")["answer"]["code"], 2);
    let missing = error("asap 0200000c000e000800c0ffee");
    assert_eq!((&missing["wanted"], &missing["found"]), (&json!("0x0009"), &json!("0x000e")));
}

#[test]
fn lines_that_are_none_are_answered_with_an_error() {
    assert_eq!(error("asap 0a0")["reason"], "odd-hexadecimal");
    assert_eq!(error("asap 0g")["reason"], "not-hexadecimal");
    assert_eq!(error("asap 0x0a")["reason"], "not-hexadecimal");
    for unknown in ["", "tcp 00", "ASAP 00", "0a00000811110001"] {
        assert_eq!(error(unknown)["reason"], "unknown-protocol", "{unknown}");
    }
    assert_eq!(error("sctp 00")["text"], "'sctp' is none of asap, enrp, csp");
}

#[test]
fn every_line_is_answered_in_order_also_the_last_one_without_end() {
    let mut output = Vec::new();
    run(&b"asap 0a00000811110001\r\n\nnonsense\xff\nenrp 00"[..], &mut output).expect("memory");
    let answers: Vec<Value> = String::from_utf8(output)
        .expect("text")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let reasons: Vec<_> =
        answers.iter().map(|answer| answer["error"]["reason"].as_str().unwrap_or("-")).collect();
    assert_eq!(reasons, ["-", "unknown-protocol", "unknown-protocol", "truncated"]);
    assert_eq!(answers[0]["server_identifier"], "11110001");
}

/// Counts what is asked of it, and gives a line of `size` zeros, then `asap 0a00000811110001`.
struct Endless {
    size: usize,
    rest: &'static [u8],
    chunk: [u8; 4096],
}

impl BufRead for Endless {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(if self.size > 0 { &self.chunk[..self.size.min(4096)] } else { self.rest })
    }
    fn consume(&mut self, used: usize) {
        if self.size > 0 { self.size -= used } else { self.rest = &self.rest[used..] }
    }
}

impl io::Read for Endless {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!("lines are read through the buffer")
    }
}

#[test]
fn a_line_without_end_is_not_held() {
    let input = || Endless { size: 1 << 28, rest: b"\nasap 0a00000811110001\n", chunk: [b'0'; 4096] };
    let mut kept = Vec::new();
    assert_eq!(next_line(&mut input(), &mut kept).expect("memory"), Some(1 << 28));
    assert_eq!(kept.len(), LINE_MAX);
    let mut output = Vec::new();
    run(input(), &mut output).expect("memory");
    let output = String::from_utf8(output).expect("text");
    let (first, second) = output.split_once('\n').expect("two lines");
    assert!(first.contains(r#""reason":"line-too-long""#), "{first}");
    assert!(second.contains(r#""message":"ASAP_SERVER_ANNOUNCE""#), "{second}");
}

#[test]
fn the_largest_message_fits_a_line() {
    let cookie = rserpool::wire::asap::Message::Cookie { cookie: vec![7; MESSAGE_MAX - 8] }.emit();
    let octets = values::hex(&cookie);
    assert!(octets.len() < LINE_MAX);
    assert_eq!(answer(&format!("asap {octets}"))["octets"], octets);
}
