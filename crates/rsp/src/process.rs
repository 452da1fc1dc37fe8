//! What every long-living process of ours needs: randomness from the system, an end with its parent, one line that says
//! what it serves.

use crate::exit::{Code, Failure};
use rserpool::Random;
use rserpool_net::Error;
use rustix::process::{Pid, Resource, Signal};
use std::io::{self, Write};

/// The environment variable that names the process a private one belongs to.
pub const PARENT: &str = "RSP_PARENT";

/// A generator seeded by the operating system.
pub fn random() -> Random {
    let mut seed = [0; 8];
    // Linux gives up to 256 octets at once, interrupted or not.
    match rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()) {
        Ok(8) => Random::from_seed(u64::from_ne_bytes(seed)),
        _ => {
            // A kernel without getrandom: the clock and the process are the best there is; identifiers collide at worst.
            let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
            Random::from_seed(now ^ u64::from(std::process::id()).rotate_left(32))
        }
    }
}

/// Ends this process when the one that started it ends, however that happens.
pub fn end_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The parent may have ended before the line above: then nobody will send the signal.
    let expected = std::env::var(PARENT).ok().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    if expected.is_some() && rustix::process::getppid() != expected {
        std::process::exit(Code::Failed as i32);
    }
}

/// Lets this process (not a worker: its tasks would inherit it) have as many open files as the system's administrator permits: each link is one, and the usual soft
/// limit of 1,024 is meant for programs that use `select`.
pub fn allow_many_links() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is refused stays as it was: further links then wait, and are counted.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// Says a line on standard error. Nobody listening is no reason to stop.
pub fn say(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", line.as_ref());
}

/// The failure of a node that could not be given its sockets.
pub fn cannot_bind(error: &Error) -> Failure {
    Failure::new(Code::CannotBind, error.to_string())
}

/// A channel that ends with the first interrupt.
pub fn until_interrupted() -> Result<std::sync::mpsc::Receiver<()>, Failure> {
    let (sender, receiver) = std::sync::mpsc::channel();
    crate::signals::on_interrupt(move || {
        let _ = sender.send(());
    })?;
    Ok(receiver)
}
