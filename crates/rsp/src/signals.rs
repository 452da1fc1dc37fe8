//! Ctrl-C and its kin.

use crate::exit::{Code, Failure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

/// Calls `ask` in a thread of its own for each SIGINT, SIGTERM or SIGHUP: see [`on_signal`].
pub fn on_interrupt(mut ask: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    on_signal(move |_| ask())
}

/// Calls `ask` in a thread of its own for each SIGINT, SIGTERM or SIGHUP, with its number. A third one ends the process at once: whoever
/// insists shall not depend on our manners.
pub fn on_signal(mut ask: impl FnMut(i32) + Send + 'static) -> Result<(), Failure> {
    let cannot =
        |cause: std::io::Error| Failure::new(Code::Failed, format!("cannot listen to signals: {cause}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let listen = move || {
        for (count, signal) in signals.forever().enumerate() {
            if count >= 2 {
                std::process::exit(Code::Interrupted as i32);
            }
            ask(signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(cannot)?;
    Ok(())
}

/// Calls `ask` in a thread of its own for each SIGUSR1, by which `rsp job cancel` asks a job's owner.
pub fn on_cancel(mut ask: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    let cannot =
        |cause: std::io::Error| Failure::new(Code::Failed, format!("cannot listen to signals: {cause}"));
    let mut signals = Signals::new([SIGUSR1]).map_err(cannot)?;
    let listen = move || signals.forever().for_each(|_| ask());
    std::thread::Builder::new().name("cancel".into()).spawn(listen).map_err(cannot)?;
    Ok(())
}
