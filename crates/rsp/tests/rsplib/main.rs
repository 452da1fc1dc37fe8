//! The matrix: our components and those of the reference implementation, RSPLIB 3.4.4, in one pool, in every role, over
//! the kernel's SCTP. `docs/rsplib.md` lists the rows and what they show.

mod addresses;
mod contests;
mod crowd;
mod elements;
mod failover;
mod foreign;
mod hostile;
mod networks;
mod parts;
#[path = "../../../rserpool/tests/wire/pcap.rs"]
mod pcap;
mod pictures;
mod policies;
mod registrars;
mod rows;
mod services;
mod terminal;
mod three;
mod tools;

use guest::{Lab, Suite};
use std::path::Path;
use std::time::Duration;

/// All rows. Each of their waits has a bound of its own; a million hostile messages take most of an hour on a busy machine.
static MATRIX: Suite = {
    let mut all = Suite::new("rsplib", "");
    all.bound = Duration::from_secs(3_600);
    all
};

/// One row: its body runs in a guest, then its capture is looked at.
fn row<F: FnOnce(&Lab)>(body: F) {
    MATRIX.row(body, parts::nothing_malformed_of_ours);
}

/// One row with more to look for in its capture.
fn row_with<F: FnOnce(&Lab)>(body: F, after: impl FnOnce(&Path)) {
    MATRIX.row(body, |row| {
        parts::nothing_malformed_of_ours(row);
        after(row);
    });
}

/// One row full of what is malformed on purpose: in what we are told, and in what our echo and our reports of errors repeat
/// of it. It leaves figures of what was said.
fn row_of_noise<F: FnOnce(&Lab)>(body: F) {
    MATRIX.row(body, |row| {
        print!("{}", std::fs::read_to_string(row.join("figures")).expect("figures of the row"));
    });
}
