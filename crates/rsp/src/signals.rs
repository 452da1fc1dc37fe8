//! Ctrl-C and its kin.

use crate::exit::{Code, Failure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::sync::mpsc::{self, Sender};

/// Calls `ask` in a thread of its own for each SIGINT, SIGTERM or SIGHUP: see [`on_signal`].
pub fn on_interrupt(mut ask: impl FnMut() + Send + 'static) -> Result<(), Failure> {
    on_signal(move |_| ask())
}

/// Calls `ask` in a thread of its own for each SIGINT, SIGTERM or SIGHUP, with its number. A third one ends the process at
/// once, also while `ask` waits: whoever insists shall not depend on our manners.
pub fn on_signal(ask: impl FnMut(i32) + Send + 'static) -> Result<(), Failure> {
    let cannot =
        |cause: std::io::Error| Failure::new(Code::Failed, format!("cannot listen to signals: {cause}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cannot)?;
    let (pass, passed) = mpsc::channel();
    let listen = move || {
        let third = pass_two(signals.forever(), &pass);
        if third.is_some() {
            std::process::exit(Code::Interrupted as i32);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map_err(cannot)?;
    let ask = move || passed.iter().for_each(ask);
    std::thread::Builder::new().name("interrupts".into()).spawn(ask).map_err(cannot)?;
    Ok(())
}

/// Passes two signals on, whether they are taken or not; the third one.
fn pass_two(mut signals: impl Iterator<Item = i32>, pass: &Sender<i32>) -> Option<i32> {
    for signal in signals.by_ref().take(2) {
        // Whoever asks lives as long as the process.
        let _ = pass.send(signal);
    }
    signals.next()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_third_signal_is_heard_although_nobody_takes_the_first() {
        let (pass, passed) = mpsc::channel();
        assert_eq!(pass_two([SIGINT, SIGTERM, SIGHUP].into_iter(), &pass), Some(SIGHUP));
        drop(pass);
        assert_eq!(passed.iter().collect::<Vec<_>>(), [SIGINT, SIGTERM]);
    }
}
