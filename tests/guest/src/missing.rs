//! Whether guests can be had here.

use std::io::Write;
use std::path::Path;
use std::sync::Once;

/// The Debian packages a guest and its programs come from, each with a file that proves that it is there.
const PACKAGES: &str = include_str!("../packages");

/// Why there can be no guest here; `None`: there can. Says so once, on standard error, past the test harness.
///
/// # Panics
///
/// Where `CI` is set: there nothing may be missing.
pub fn missing() -> Option<String> {
    let why = reason()?;
    assert!(std::env::var_os("CI").is_none(), "no guest: {why}");
    static SAID: Once = Once::new();
    SAID.call_once(|| {
        let _ = writeln!(std::io::stderr(), "skipped: everything that needs a guest with kernel SCTP: {why}");
    });
    Some(why)
}

fn reason() -> Option<String> {
    let lines = PACKAGES.lines().filter_map(|line| line.split_once(' '));
    let absent: Vec<&str> =
        lines.filter(|(_, proof)| !Path::new(proof).exists()).map(|(name, _)| name).collect();
    if !absent.is_empty() {
        return Some(format!("apt-get install {}", absent.join(" ")));
    }
    (!rustix::process::geteuid().is_root()).then(|| "it takes the rights of root to fence it in".into())
}
