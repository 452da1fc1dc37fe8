//! `rsp decode`: says what octets mean, one JSON line for each line of input.
//!
//! A line is a protocol and a message in hexadecimal digits: `asap 0a00000811110001`. White space between digits is for
//! the reader. The answer has all fields by name and the octets that the fields give when they are written again,
//! alone: whoever compares them with the input compares parser and writer with the world. `docs/decode.md` describes
//! the names; they only grow within schema 1.
//!
//! Nothing in the input is fatal: what is no message, and what is no line, becomes an answer with an `error`.

mod values;

use rserpool::wire::{MESSAGE_MAX, Parsed, WireError, asap, csp, enrp};
use serde_json::{Map, Value, json};
use std::io::{self, BufRead, Write};

/// The version of the answers.
pub const SCHEMA: &str = "rsp.decode/1";

/// The longest line that is looked at, in octets: the largest message, and as much white space as digits.
pub const LINE_MAX: usize = 4 * MESSAGE_MAX + 16;

/// Answers every line of `input`, each at once. Lines beyond [`LINE_MAX`] are answered with an error and never held.
pub fn run(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut kept = Vec::new();
    while let Some(size) = next_line(&mut input, &mut kept)? {
        let mut answer = if size > LINE_MAX {
            no_line("line-too-long", format!("a line of {size} octets, at most {LINE_MAX} are looked at"))
        } else {
            line(&String::from_utf8_lossy(&kept))
        };
        answer.push('\n');
        output.write_all(answer.as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

/// The answer to one line, without line end.
pub fn line(input: &str) -> String {
    let input = input.trim();
    let (protocol, digits) = input.split_once(char::is_whitespace).unwrap_or((input, ""));
    if !["asap", "enrp", "csp"].contains(&protocol) {
        let shown: String = protocol.chars().take(40).collect();
        return no_line("unknown-protocol", format!("'{shown}' is none of asap, enrp, csp"));
    }
    let octets = match octets(digits) {
        Ok(octets) => octets,
        Err((reason, text)) => return no_line(reason, text),
    };
    let decoded = match protocol {
        "asap" => Parsed::<asap::Message>::read(&octets).map(|parsed| values::asap(&parsed)),
        "enrp" => Parsed::<enrp::Message>::read(&octets).map(|parsed| values::enrp(&parsed)),
        _ => csp::Report::parse(&octets).map(|report| values::csp(&report)),
    };
    let mut answer = Map::new();
    answer.insert("schema".into(), SCHEMA.into());
    answer.insert("protocol".into(), protocol.into());
    match decoded {
        Ok(fields) => answer.extend(fields),
        Err(error) => drop(answer.insert("error".into(), wire_error(protocol, &octets, &error))),
    }
    Value::Object(answer).to_string()
}

/// The answer to a report that was read already.
pub fn report(report: &csp::Report) -> String {
    let mut answer = Map::new();
    answer.insert("schema".into(), SCHEMA.into());
    answer.insert("protocol".into(), "csp".into());
    answer.extend(values::csp(report));
    Value::Object(answer).to_string()
}

/// What is wrong with octets, and what a node would answer to them.
fn wire_error(protocol: &str, octets: &[u8], error: &WireError) -> Value {
    let mut fields = json!({ "offset": error.offset(), "reason": error.reason(), "text": error.to_string() });
    let more = match *error {
        WireError::Truncated { needed, available, .. } => json!({ "needed": needed, "available": available }),
        WireError::MessageLength { announced, received } => {
            json!({ "announced": announced, "received": received })
        }
        WireError::TooLong { received } => json!({ "received": received, "most": MESSAGE_MAX }),
        WireError::UnknownMessage { kind, .. } => json!({ "type": kind }),
        WireError::ParameterLength { length, room, .. } => json!({ "length": length, "room": room }),
        WireError::Missing { wanted, found, .. } => {
            json!({ "wanted": values::hex16(wanted), "found": found.map(values::hex16) })
        }
        WireError::Invalid { flaw, .. } => json!({ "flaw": format!("{flaw:?}"), "rule": flaw.rule() }),
        _ => json!({}),
    };
    values::extend(&mut fields, more);
    if !error.offender().is_empty() {
        values::extend(&mut fields, json!({ "offender": values::hex(error.offender()) }));
    }
    let answer = match protocol {
        "asap" => asap::complaint(octets, error).and(error.cause()),
        "enrp" => enrp::complaint(rserpool::RegistrarId::UNDEFINED, octets, error).and(error.cause()),
        _ => None,
    };
    values::extend(&mut fields, json!({ "answer": answer.as_ref().map(values::cause) }));
    fields
}

/// The answer to what is not even octets.
fn no_line(reason: &str, text: String) -> String {
    json!({ "schema": SCHEMA, "error": { "reason": reason, "text": text } }).to_string()
}

/// Octets from hexadecimal digits, or why they are none: reason and text.
fn octets(digits: &str) -> Result<Vec<u8>, (&'static str, String)> {
    let mut octets = Vec::with_capacity(digits.len() / 2);
    let mut half = None;
    for (place, character) in digits.chars().filter(|c| !c.is_whitespace()).enumerate() {
        let Some(digit) = character.to_digit(16).map(|digit| digit as u8) else {
            return Err(("not-hexadecimal", format!("{character:?} at digit {place} is not hexadecimal")));
        };
        match half.take() {
            Some(high) => octets.push(high << 4 | digit),
            None => half = Some(digit),
        }
    }
    match half {
        None => Ok(octets),
        Some(_) => Err(("odd-hexadecimal", format!("{} digits are no whole octets", 2 * octets.len() + 1))),
    }
}

/// Reads the next line, keeps the first [`LINE_MAX`] octets of it, and gives its size; `None` at the end of input.
fn next_line(input: &mut impl BufRead, kept: &mut Vec<u8>) -> io::Result<Option<usize>> {
    kept.clear();
    let mut size = 0;
    loop {
        let buffer = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            buffer => buffer?,
        };
        if buffer.is_empty() {
            return Ok((size > 0).then_some(size));
        }
        let end = buffer.iter().position(|&octet| octet == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        kept.extend_from_slice(&part[..part.len().min(LINE_MAX - kept.len())]);
        size += part.len();
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(size));
        }
    }
}

#[cfg(test)]
mod tests;
