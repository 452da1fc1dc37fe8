//! For tests: a throw-away Linux guest with what the machine may lack, kernel SCTP above all; in it hosts, switches that
//! capture, links that can be cut, and programs that are waited for.
//!
//! ```text
//!  cargo test                                          guest: User-Mode Linux, booted in about a second
//!  ┌──────────────┐ boots, once for all rows           ┌─────────────────────────────────────────┐
//!  │ test program ├───────────────────────────────────►│ the same test program: the same tests   │
//!  │  rows        │ target/guest/SUITE/ROW/:           │  row: hosts h1, h2, .. and programs     │
//!  │              │◄───────────────────────────────────┤                                         │
//!  └──────────────┘ outcomes, logs, captures           └─────────────────────────────────────────┘
//! ```
//!
//! A row of a [`Suite`] is an ordinary test whose body runs inside. Outside, the first row boots guests for all rows that
//! were asked for; each row then reports what became of it. Where the guest cannot be had (packages, rights) the tests
//! say so in one line and pass; where `CI` is set that is a failure.

mod boot;
mod capture;
mod hosts;
mod missing;
mod program;
mod suite;

pub use boot::{Boot, Ended, INSIDE, inside, shared};
pub use capture::{Capture, capture_octets, packets, packets_over_udp};
pub use hosts::{Host, Hosts, Plan};
pub use missing::missing;
pub use program::{BOUND, Program, eventually};
pub use suite::{Lab, Suite, rerun};
