//! `rsp doctor`: what hinders SCTP on this host, each with its cure.
//!
//! Looks and tries, changes nothing, needs no root (with root it can name more owners of ports). Every check is one
//! line; a pool that works in spite of a finding makes it a hint, one that cannot makes it a hindrance.

mod checks;
mod owner;

use crate::cli::DoctorArgs;
use crate::exit::{Code, Failure};
use serde_json::json;
use std::fmt;
use std::io::{self, Write};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Fine,
    /// Something is not there that one can do without.
    Hint,
    /// Something does not work.
    Hinders,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fine => "ok",
            Self::Hint => "hint",
            Self::Hinders => "hinders",
        })
    }
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the check; stable.
    pub check: &'static str,
    pub state: State,
    /// What is so, in one clause.
    pub found: String,
    /// What to do about it, if there is something to do.
    pub cure: Option<String>,
}

impl Finding {
    fn fine(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Fine, found: found.into(), cure: None }
    }

    fn hint(check: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { check, state: State::Hint, found: found.into(), cure: Some(cure.into()) }
    }

    fn hinders(check: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { state: State::Hinders, ..Self::hint(check, found, cure) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<8} {:<15} {}", self.state, self.check, self.found)?;
        if let Some(cure) = &self.cure {
            write!(f, "; {cure}")?;
        }
        Ok(())
    }
}

/// Looks, and says what it found. [`Code::Failed`] if something hinders.
pub fn run(args: &DoctorArgs) -> Result<Code, Failure> {
    let findings = checks::all();
    let hinders = findings.iter().any(|finding| finding.state == State::Hinders);
    print(&findings, hinders, args.json, io::stdout().lock()).map_err(|cause| {
        Failure::new(Code::CannotWrite, format!("the findings cannot be written: {cause}"))
    })?;
    Ok(if hinders { Code::Failed } else { Code::Done })
}

fn print(findings: &[Finding], hinders: bool, json: bool, mut out: impl Write) -> io::Result<()> {
    if !json {
        return findings.iter().try_for_each(|finding| writeln!(out, "{finding}"));
    }
    let all: Vec<_> = findings
        .iter()
        .map(|one| {
            json!({"check": one.check, "state": one.state.to_string(), "found": one.found, "cure": one.cure})
        })
        .collect();
    writeln!(out, "{}", json!({"schema": "rsp.doctor/1", "hinders": hinders, "findings": all}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_with_its_cure_at_the_end() {
        let findings = [
            Finding::fine("ipv6", "there are addresses"),
            Finding::hinders("port-3863-tcp", "taken by 7 (nc)", "stop it"),
        ];
        let mut text = Vec::new();
        print(&findings, true, false, &mut text).expect("memory takes everything");
        let lines = "ok       ipv6            there are addresses\nhinders  port-3863-tcp   taken by 7 (nc); stop it\n";
        assert_eq!(String::from_utf8(text).expect("text"), lines);
        let mut text = Vec::new();
        print(&findings, true, true, &mut text).expect("memory takes everything");
        let document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(document["schema"], "rsp.doctor/1");
        assert_eq!(document["hinders"], true);
        assert_eq!(document["findings"][0]["cure"], serde_json::Value::Null);
        assert_eq!(document["findings"][1]["check"], "port-3863-tcp");
    }

    #[test]
    fn every_check_says_something_and_has_a_name_of_its_own() {
        let findings = checks::all();
        let mut names: Vec<&str> = findings.iter().map(|finding| finding.check).collect();
        names.dedup();
        assert_eq!(names.len(), findings.len(), "{names:?}");
        assert!(findings.iter().all(|one| !one.found.is_empty()));
        assert!(findings.iter().all(|one| one.state == State::Fine || one.cure.is_some()));
    }
}
