//! What every long-living process of ours needs: randomness from the system, an end with its parent, one line that says
//! what it serves.

use crate::exit::{Code, Failure};
use rserpool::Random;
use rserpool_net::{Error, PathEvents};
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

/// Lets this process, and what it starts from now on, have as many open files as the system's administrator permits: each
/// link and each output of a task is one, and the usual soft limit of 1,024 is meant for programs that use `select`.
pub fn allow_many_files() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is refused stays as it was: further links then wait, and are counted; further tasks cannot be started.
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}

/// Milliseconds since 1970.
pub fn wall_millis() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64)
}

/// A time in milliseconds since 1970 as ISO 8601, in UTC: `2026-01-31T23:59:59Z`.
pub fn iso(millis: u64) -> String {
    let (days, second) = (millis / 86_400_000, millis / 1000 % 86_400);
    // Days since 1 March of year 0, in eras of 400 years: February, the odd one, is last in its year.
    let day = days + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) =
        (era * 400 + year + u64::from(month >= 10), if month < 10 { month + 3 } else { month - 9 });
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Says a line on standard error. Nobody listening is no reason to stop.
pub fn say(line: impl AsRef<str>) {
    let _ = writeln!(io::stderr(), "{}", line.as_ref());
}

/// The failure of a node that could not be given its sockets.
pub fn cannot_bind(error: &Error) -> Failure {
    Failure::new(Code::CannotBind, error.to_string())
}

/// Where path events go that are to be said: to a thread that says them.
pub fn say_paths() -> PathEvents {
    /// Beyond it, events are lost rather than links held up.
    const WAITING_MAX: usize = 256;
    let (events, heard) = std::sync::mpsc::sync_channel(WAITING_MAX);
    // Without the thread nobody says them, which is all that is lost.
    let _ = std::thread::Builder::new()
        .name("paths".into())
        .spawn(move || heard.iter().for_each(|event: rserpool_net::PathEvent| say(event.to_string())));
    events
}

/// The failure of standard output.
pub fn cannot_print(cause: &io::Error) -> Failure {
    let message = if cause.kind() == io::ErrorKind::BrokenPipe {
        "standard output was closed by its reader".to_string()
    } else {
        format!("cannot write to standard output: {cause}")
    };
    Failure::new(Code::CannotWrite, message)
}

/// A channel that ends with the first interrupt.
pub fn until_interrupted() -> Result<std::sync::mpsc::Receiver<()>, Failure> {
    let (sender, receiver) = std::sync::mpsc::channel();
    crate::signals::on_interrupt(move || {
        let _ = sender.send(());
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::iso;

    #[test]
    fn times_are_told_in_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(iso(seconds * 1000), text);
        }
    }
}
