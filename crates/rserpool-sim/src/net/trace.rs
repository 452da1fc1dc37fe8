//! The story of a run, as a number and, if wanted, as text.
//!
//! Every fact told, every wish and every fault goes into a hash: two runs are the same if their hashes are. The text has
//! one line for each fact that a reader cares about, with the world's time in seconds:
//!
//! ```text
//!     1.204113 registrar-1   <- element-2    Registration adder 0c0ffee0
//!     1.204113 registrar-1   says ElementAdded { .. }
//!     7.000000 element-2     crashes
//! ```

use super::{HostId, Net, Over};
use crate::describe;
use rserpool::{Input, Node, Output, Time};
use std::collections::VecDeque;
use std::fmt::{Debug, Write};

/// The record of a run, see the [module](self).
#[derive(Clone, Debug)]
pub struct Trace {
    hash: Hash,
    lines: VecDeque<String>,
    keep: usize,
}

impl Trace {
    /// A trace that keeps the last `lines` lines of text; 0: only the hash.
    pub fn keeping(lines: usize) -> Self {
        Self { hash: Hash::default(), lines: VecDeque::new(), keep: lines }
    }

    /// The hash of everything that happened so far. Equal for equal runs.
    pub fn hash(&self) -> u64 {
        self.hash.0
    }

    /// The last lines, oldest first.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    /// Adds what `who` does or suffers.
    pub fn note(&mut self, at: Time, who: &str, text: &str) {
        self.hash.number(at.as_nanos());
        self.hash.bytes(who.as_bytes());
        self.hash.bytes(text.as_bytes());
        if self.keep > 0 {
            self.line(format!("{at:>12} {who:<12} {text}"));
        }
    }

    fn line(&mut self, line: String) {
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl<N: Node> Net<N>
where
    N::Event: Debug,
{
    pub(super) fn trace_step(
        &mut self,
        host: HostId,
        over: Option<Over>,
        input: &Option<Input>,
        wishes: &[Output<N::Event>],
    ) {
        let hash = &mut self.trace.hash;
        hash.number(self.now.as_nanos());
        hash.number(host.0 as u64);
        match input {
            Some(Input::Message { link, ppid, bytes }) => {
                let _ = write!(hash, "{link:?}");
                hash.number(ppid.0.into());
                hash.bytes(bytes);
            }
            Some(Input::Heard { channel, bytes, .. }) => {
                hash.number(*channel as u64);
                hash.bytes(bytes);
            }
            Some(other) => drop(write!(hash, "{other:?}")),
            None => hash.number(0),
        }
        for wish in wishes {
            match wish {
                Output::Send { link, ppid, bytes } => {
                    let _ = write!(hash, "{link:?}");
                    hash.number(ppid.0.into());
                    hash.bytes(bytes);
                }
                Output::Announce { channel, bytes } => {
                    hash.number(*channel as u64);
                    hash.bytes(bytes);
                }
                other => drop(write!(hash, "{other:?}")),
            }
        }
        if self.trace.keep > 0 {
            self.trace_text(host, over, input, wishes);
        }
    }

    fn trace_text(
        &mut self,
        host: HostId,
        over: Option<Over>,
        input: &Option<Input>,
        wishes: &[Output<N::Event>],
    ) {
        let name = self.hosts[host.0].name.clone();
        let from = over.map_or("?", |over| self.name(over.peer)).to_owned();
        let heard = match input {
            Some(Input::Accepted { door, .. }) => Some(format!("<- {from:<12} opens {door:?} link")),
            Some(Input::Opened { .. }) => Some(format!("<- {from:<12} link is up")),
            Some(Input::Message { ppid, bytes, .. }) => {
                Some(format!("<- {from:<12} {}", describe::message(*ppid, bytes)))
            }
            Some(Input::Closed { cause, .. }) => Some(format!("<- {from:<12} link is over: {cause:?}")),
            Some(Input::Heard { channel, from: source, bytes }) => {
                Some(format!("<~ {source} {}", describe::announcement(*channel, bytes)))
            }
            Some(Input::Wake | Input::Deaf { .. }) | None => None,
        };
        let at = self.now;
        if let Some(heard) = heard {
            self.trace.line(format!("{at:>12} {name:<12} {heard}"));
        }
        for wish in wishes {
            match wish {
                Output::Event(event) => self.trace.line(format!("{at:>12} {name:<12} says {event:?}")),
                Output::Open { door, to, .. } => {
                    self.trace.line(format!("{at:>12} {name:<12} -> {to} opens {door:?} link"));
                }
                _ => {}
            }
        }
    }
}

/// FNV-1a with 64 bits: small, well known, and the same everywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hash(pub(crate) u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }
}

impl Write for Hash {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}
